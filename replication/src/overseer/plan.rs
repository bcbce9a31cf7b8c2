//! Which epoch should be next: a function of the register, of what was heard, and of the time. It names only; leases and
//! what is under way are the overseer's.
//!
//! *The beginning.* The first epoch is that of all who are enlisted as data nodes and do not drain, once they hear each other: a
//! cluster begins with all who founded it. The same holds while the last epoch is one that the founders brought with them.
//!
//! *Who stays.* Members of the latest epoch that are not suspect, in the same life, without those who drain, as far as they
//! are a full mesh ([`mesh`](crate::mesh)). Survivors of the last opened epoch are looked at first: no other member makes one
//! go, because without any there is no next epoch at all. A draining survivor stays as long as it is the only one.
//!
//! *Who joins.* Every other present life of an enlisted data node that hears all who stay, and each other one who joins, both
//! ways. Whoever must go does not wait for them: they come along if they are ready, else in an epoch of their own.
//! Who was a member in the same life has to be steady first.
//!
//! *What waits.* Whoever nobody forces, joiners and those who drain, waits until the latest epoch is open, else a flush could
//! be started over for ever. And nobody is taken into an epoch whom this leader has not heard itself: a new one would
//! name the dead.
//!
//! *Nobody is left.* Without a survivor the cluster goes on from what is on disc, as soon as every node of the last opened
//! epoch is there in a later life, draining or not: one that is absent may have the newest copy, or be alive. The same is
//! asked of the latest epoch, except that keeping one of its lives will do: its opening may be under way.

use std::collections::BTreeMap;

use hypermnesia_store::NodeId;

use super::life::{Life, Placed, is_cut, linked_since};
use crate::limits::{EPOCHS_KEPT_MAX, OVERSEER_REJOIN_HEARTBEATS};
use crate::member::{NodeSet, Peer};
use crate::mesh::{Linked, Report, exclusion};
use crate::register::{Agreed, Cause, Register, Role};

/// The epoch that should be next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) number: u64,
    /// By node id.
    pub(super) members: Vec<Peer>,
    pub(super) why: Cause,
    /// The slots of those of the latest epoch that are not in it, or not in the same life.
    pub(super) leaving: NodeSet,
}

/// What there is to see.
pub(super) struct View<'a> {
    pub(super) now_ns: u64,
    pub(super) heartbeat_ns: u64,
    pub(super) me: Peer,
    pub(super) register: &'a Register,
    /// The present life of each data node, as far as one is known.
    pub(super) lives: &'a BTreeMap<NodeId, Life>,
    /// Whether an epoch is wanted even if its members are those of the latest one.
    pub(super) anew: bool,
}

impl View<'_> {
    /// The epoch that should be next; `None` if all is well or something has to be waited for.
    pub(super) fn plan(&self) -> Option<Plan> {
        self.register.cluster()?;
        let wanted = if has_begun(self.register) { self.going_on()? } else { self.beginning()? };
        let mut members: Vec<Peer> =
            wanted.iter().filter_map(|slot| self.life(slot)).map(|life| life.peer).collect();
        members.sort();
        let latest = self.register.latest();
        let leaving = latest.map_or(NodeSet::EMPTY, |latest| self.missing(latest, &members));
        let same = latest.is_some_and(|latest| latest.members == members);
        if members.is_empty() || same && !self.anew || !self.are_heard(wanted) {
            return None;
        }
        let forced = leaving.iter().any(|slot| !self.leaves_well(slot));
        if !forced && latest.is_some_and(|latest| latest.opening.is_none()) {
            return None;
        }
        let number = self.register.next_number();
        Some(Plan { number, why: self.cause(&members, leaving)?, members, leaving })
    }

    /// The slots of members of an epoch that are not among these.
    fn missing(&self, epoch: &Agreed, members: &[Peer]) -> NodeSet {
        let gone = epoch.members.iter().filter(|member| members.binary_search(member).is_err());
        gone.filter_map(|member| self.register.slot_of(member.node)).fold(NodeSet::EMPTY, NodeSet::with)
    }

    fn are_heard(&self, slots: NodeSet) -> bool {
        slots.iter().all(|slot| self.life(slot).is_some_and(Life::is_heard))
    }

    /// Whether the member of the latest epoch at this slot is there and leaves only because it drains.
    fn leaves_well(&self, slot: usize) -> bool {
        self.draining().has(slot) && self.register.latest().is_some_and(|latest| self.alive(latest).has(slot))
    }

    /// What it would be for; `None` if there cannot be one with these members.
    fn cause(&self, members: &[Peer], leaving: NodeSet) -> Option<Cause> {
        let Some(opened) = self.register.opened() else { return Some(Cause::Founded) };
        if keeps(members, opened) {
            return Some(match leaving {
                NodeSet::EMPTY => Cause::Joined,
                leaving if leaving.minus(self.draining()).is_empty() => Cause::Left,
                _ => Cause::Lost,
            });
        }
        let latest =
            self.register.latest().is_none_or(|latest| keeps(members, latest) || self.is_over(latest));
        (latest && self.is_over(opened)).then_some(Cause::Restarted)
    }

    /// Whether a later life of each of its members is known.
    fn is_over(&self, epoch: &Agreed) -> bool {
        let later = |member: &Peer| self.lives.get(&member.node).is_some_and(|life| life.peer > *member);
        epoch.members.iter().all(later)
    }

    fn beginning(&self) -> Option<NodeSet> {
        let brought = self.register.opened().map_or(NodeSet::EMPTY, |opened| self.register.slots_of(opened));
        let wanted = self.data().minus(self.draining()).and(brought);
        self.is_mesh(wanted).then_some(wanted)
    }

    fn going_on(&self) -> Option<NodeSet> {
        let (latest, opened) = (self.register.latest()?, self.register.opened()?);
        let (alive, survivors) = (self.alive(latest), self.alive(opened));
        let staying = alive.minus(self.draining());
        let first = [staying.common(survivors), alive.common(survivors), survivors];
        let first = first.into_iter().find(|slots| !slots.is_empty());
        let kept = match first {
            Some(first) => self.fit(NodeSet::EMPTY, first, Self::holds),
            None => Some(self.register.slots_of(opened)).filter(|all| self.is_mesh(*all))?,
        };
        let kept = self.fit(kept, staying.minus(kept), Self::holds);
        let out = self.data().minus(kept).minus(self.draining());
        let joining = out.iter().filter(|slot| self.is_steady(*slot, kept));
        Some(self.fit(kept, joining.fold(NodeSet::EMPTY, NodeSet::with), Self::is_linked))
    }

    /// Those kept, and of the others the most that are a full mesh among each other and with all of them.
    fn fit(&self, kept: NodeSet, others: NodeSet, linked: fn(&Self, usize, usize) -> bool) -> NodeSet {
        let with =
            |slot: usize, set: NodeSet| set.without(slot).iter().all(|other| linked(self, slot, other));
        let others = others.iter().filter(|slot| with(*slot, kept)).fold(NodeSet::EMPTY, NodeSet::with);
        if others.iter().all(|slot| with(slot, others)) {
            return kept.and(others);
        }
        let heard_by = |slot: usize| others.iter().filter(move |other| linked(self, slot, *other));
        let members: Vec<Linked> = others
            .iter()
            .filter_map(|slot| {
                let hears = heard_by(slot).fold(NodeSet::EMPTY, NodeSet::with);
                let (node, report) =
                    (self.register.node_at(slot)?.node, Some(Report { at_ns: self.now_ns, hears }));
                Some(Linked { slot, node, joined: self.joined(slot), report })
            })
            .collect();
        let leader = self.register.slot_of(self.me.node).unwrap_or(usize::MAX);
        let gone = exclusion(&members, leader, self.now_ns, 0);
        kept.and(others.minus(gone.unreachable).minus(gone.cut))
    }

    /// The epoch since which the life at this slot has been a member without a break.
    fn joined(&self, slot: usize) -> u64 {
        let is_member = |epoch: &&Agreed| self.life(slot).is_some_and(|life| names(epoch, life.peer));
        self.epochs().take_while(is_member).last().map_or(u64::MAX, |epoch| epoch.number)
    }

    /// The latest epochs, back to the last one that the register has forgotten.
    fn epochs(&self) -> impl Iterator<Item = &Agreed> {
        let latest = self.register.latest().map_or(0, |latest| latest.number);
        (0..EPOCHS_KEPT_MAX as u64).map_while(move |back| self.register.epoch(latest.checked_sub(back)?))
    }

    /// Whether a life that is no member may become one together with these: at once if it never was one.
    fn is_steady(&self, slot: usize, kept: NodeSet) -> bool {
        let Some(life) = self.life(slot).filter(|life| self.is_present(life)) else { return false };
        if !self.epochs().any(|epoch| names(epoch, life.peer)) {
            return true;
        }
        let while_ns = self.heartbeat_ns.saturating_mul(OVERSEER_REJOIN_HEARTBEATS);
        let since = kept.iter().map(|other| linked_since((slot, life), self.placed(other)?));
        since
            .chain([Some(life.steady_ns())])
            .all(|since| since.is_some_and(|since_ns| self.now_ns.saturating_sub(since_ns) >= while_ns))
    }

    /// Whether all of these are there and say that they hear each other.
    fn is_mesh(&self, slots: NodeSet) -> bool {
        let present =
            |slot: usize| self.life(slot).is_some_and(|life| self.is_present(life) && life.is_heard());
        let linked = |slot: usize| slots.without(slot).iter().all(|other| self.is_linked(slot, other));
        slots.iter().all(|slot| present(slot) && linked(slot))
    }

    fn is_linked(&self, one: usize, other: usize) -> bool {
        let both = self.placed(one).zip(self.placed(other));
        both.is_some_and(|(one, other)| linked_since(one, other).is_some())
    }

    /// Whether nothing speaks against a link between two members.
    fn holds(&self, one: usize, other: usize) -> bool {
        let both = self.placed(one).zip(self.placed(other));
        both.is_some_and(|(one, other)| !is_cut(one, other, self.heartbeat_ns))
    }

    /// The slots of an epoch's members that are there in the same life.
    fn alive(&self, epoch: &Agreed) -> NodeSet {
        let is_alive = |member: &&Peer| {
            self.lives.get(&member.node).is_some_and(|life| life.peer == **member && self.is_present(life))
        };
        let alive = epoch.members.iter().filter(is_alive);
        alive.filter_map(|member| self.register.slot_of(member.node)).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// This process itself is there, whatever it heard of itself.
    fn is_present(&self, life: &Life) -> bool {
        life.peer == self.me || !life.is_suspect(self.now_ns)
    }

    fn data(&self) -> NodeSet {
        let data = self.register.nodes().filter(|(_, one)| one.role == Role::Data);
        data.fold(NodeSet::EMPTY, |set, (slot, _)| set.with(slot))
    }

    fn draining(&self) -> NodeSet {
        let draining = self.register.nodes().filter(|(_, one)| one.draining);
        draining.fold(NodeSet::EMPTY, |set, (slot, _)| set.with(slot))
    }

    fn life(&self, slot: usize) -> Option<&Life> {
        self.lives.get(&self.register.node_at(slot)?.node)
    }

    fn placed(&self, slot: usize) -> Option<Placed<'_>> {
        Some((slot, self.life(slot)?))
    }
}

fn keeps(members: &[Peer], epoch: &Agreed) -> bool {
    members.iter().any(|member| names(epoch, *member))
}

fn names(epoch: &Agreed, peer: Peer) -> bool {
    epoch.members.binary_search(&peer).is_ok()
}

/// Whether an epoch has opened, and the latest one is of this register: the founders may have brought an earlier one.
pub(super) fn has_begun(register: &Register) -> bool {
    register.opened().is_some() && register.latest().is_some_and(|latest| latest.number > register.floor())
}
