//! Whom to exclude when links are missing: the smallest set of members whose removal leaves a full mesh among those that the
//! leader reaches (`docs/protocol.md`: partial cuts). Every member has to prepare at every other, so two that cannot hear
//! each other cannot both stay.
//!
//! It believes reports of a bounded age, and of a link only what both ends say: one that works one way is down. A member
//! without a fresh report, or without a link to the leader, is unreachable; of its other links nothing is asked. It never
//! names the leader among the others, never looks at a clock or at the order of its input, and only names: who is named keeps
//! its lease until it has run out (see [`lease`](crate::lease)).
//!
//! *Exact.* The members are the nodes of a graph, its edges the missing links, and what has to go is a minimum vertex
//! cover of it. Members that miss no link are in no minimum cover; with at most [`MESH_EXACT_MAX`] others all sets of them are
//! tried by size, and within a size in the order of preference, so the first cover found is the answer. *Greedy* above
//! that: who misses most links goes, ties by preference, until none is missing; then whoever turns out not to be needed stays after
//! all, the least preferred first. That leaves a set of which no part would do, though a smaller one may exist.
//!
//! *Preference* among equals: the youngest, then the highest id. So the result is the same wherever it is computed.

use std::cmp::Reverse;

use hypermnesia_store::NodeId;

use crate::limits::MESH_EXACT_MAX;
use crate::member::NodeSet;

/// What a member said last of whom it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// When the leader received it, on the leader's clock, ns.
    pub at_ns: u64,
    /// The slots of those it hears.
    pub hears: NodeSet,
}

/// A member as the leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Its place in sets of nodes.
    pub slot: usize,
    /// Its id.
    pub node: NodeId,
    /// The epoch since which it has been a member without a break: the higher, the younger.
    pub joined: u64,
    /// `None` if it has never reported.
    pub report: Option<Report>,
}

/// Whom to exclude, by slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusion {
    /// Those that the leader does not reach.
    pub unreachable: NodeSet,
    /// Those that have to go although it reaches them.
    pub cut: NodeSet,
}

/// Who has to go so that the others are a full mesh. `leader` is among `members` if it is a data node; if it is not, it
/// reaches whoever reports to it. Reports older than `report_ns_max` at `now_ns` count as none.
pub fn exclusion(members: &[Linked], leader: usize, now_ns: u64, report_ns_max: u64) -> Exclusion {
    debug_assert!(
        members.iter().fold(NodeSet::EMPTY, |set, one| set.with(one.slot)).len() == members.len(),
        "each member has a slot of its own"
    );
    let fresh =
        |one: &&Linked| one.report.is_some_and(|report| now_ns.saturating_sub(report.at_ns) <= report_ns_max);
    let leading = members.iter().find(|one| one.slot == leader);
    let reached = |one: &Linked| leading.is_none_or(|leading| is_linked(leading, one));
    let (mut within, mut unreachable) = (Vec::new(), NodeSet::EMPTY);
    for member in members {
        if member.slot == leader || fresh(&member) && reached(member) {
            within.push(member);
        } else {
            unreachable = unreachable.with(member.slot);
        }
    }
    Exclusion { unreachable, cut: Graph::of(within).cover() }
}

/// Whether both hear each other. A member needs no link to itself.
fn is_linked(one: &Linked, other: &Linked) -> bool {
    let hears = |from: &Linked, to: &Linked| from.report.is_some_and(|report| report.hears.has(to.slot));
    one.slot == other.slot || hears(one, other) && hears(other, one)
}

/// Members that miss a link, and which. Places are positions in the order of preference.
struct Graph {
    /// The slot at each place.
    slots: Vec<usize>,
    /// The places to which each misses a link.
    missing: Vec<NodeSet>,
}

impl Graph {
    fn of(mut members: Vec<&Linked>) -> Graph {
        members.sort_by_key(|one| Reverse((one.joined, one.node)));
        let complete = |one: &Linked, among: &[&Linked]| among.iter().all(|other| is_linked(one, other));
        let incomplete: Vec<&Linked> =
            members.iter().copied().filter(|one| !complete(one, &members)).collect();
        let missing = |one: &&Linked| {
            let others = incomplete.iter().enumerate().filter(|(_, other)| !is_linked(one, other));
            others.fold(NodeSet::EMPTY, |set, (place, _)| set.with(place))
        };
        let slots = incomplete.iter().map(|one| one.slot).collect();
        Graph { slots, missing: incomplete.iter().map(missing).collect() }
    }

    /// The slots of those whose removal leaves no missing link.
    fn cover(&self) -> NodeSet {
        let count = self.slots.len();
        let places = if count <= MESH_EXACT_MAX { self.smallest_cover() } else { self.greedy_cover() };
        places.iter().fold(NodeSet::EMPTY, |set, place| set.with(self.slots[place]))
    }

    fn is_cover(&self, gone: NodeSet) -> bool {
        let left = NodeSet::first(self.slots.len()).minus(gone);
        left.iter().all(|place| self.missing[place].common(left).is_empty())
    }

    fn smallest_cover(&self) -> NodeSet {
        let all = NodeSet::first(self.slots.len());
        (0..=all.len())
            .find_map(|size| self.cover_of(size, NodeSet::EMPTY, 0))
            .expect("without all of them no link is missing")
    }

    /// The most preferred cover with `size` places more than `taken`, all of them at `from` or behind.
    fn cover_of(&self, size: usize, taken: NodeSet, from: usize) -> Option<NodeSet> {
        if size == 0 {
            return self.is_cover(taken).then_some(taken);
        }
        (from..self.slots.len()).find_map(|place| self.cover_of(size - 1, taken.with(place), place + 1))
    }

    fn greedy_cover(&self) -> NodeSet {
        let mut left = NodeSet::first(self.slots.len());
        while let Some(worst) = self.worst_of(left) {
            left = left.without(worst);
        }
        let mut gone = NodeSet::first(self.slots.len()).minus(left);
        for place in (0..self.slots.len()).rev().filter(|place| !left.has(*place)) {
            if self.is_cover(gone.without(place)) {
                gone = gone.without(place);
            }
        }
        gone
    }

    /// Who misses most links to those that are left; `None` if nobody misses any.
    fn worst_of(&self, left: NodeSet) -> Option<usize> {
        let missing = |place: usize| self.missing[place].common(left).len();
        left.iter().filter(|place| missing(*place) > 0).max_by_key(|place| (missing(*place), Reverse(*place)))
    }
}

#[cfg(test)]
mod tests;
