//! What the leader knows of one life of a node: when it was heard, and of which links it told. A report that a link is missing
//! counts against a member only when the link has been missing for a while and both ends have been heard since: a member that
//! died is missed by all others before its own silence says so, and none of them is to go for that. A report that there is
//! a link counts for a joiner at once, but only what both ends say of their present lives. See
//! [`overseer`](crate::overseer).

use crate::limits::{MEMBERS_MAX, OVERSEER_LINK_HEARTBEATS};
use crate::member::{NodeSet, Peer};
use crate::suspicion::{Pace, Suspicion};

/// The latest report of whom a life hears.
#[derive(Clone, Debug)]
struct Links {
    at_ns: u64,
    hears: NodeSet,
    /// Per slot, since when it says of it what it says now.
    since_ns: [u64; MEMBERS_MAX],
}

/// See the file's header.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) peer: Peer,
    suspicion: Suspicion,
    /// Since when it is watched, and since when it has been heard without a break.
    watched_ns: u64,
    steady_ns: u64,
    /// `None` as long as this leader has not heard it: it is known from the register.
    links: Option<Links>,
}

impl Life {
    /// Watches a life from now on.
    pub(super) fn new(peer: Peer, pace: Pace, now_ns: u64) -> Life {
        let suspicion = Suspicion::new(pace, now_ns);
        Life { peer, suspicion, watched_ns: now_ns, steady_ns: now_ns, links: None }
    }

    pub(super) fn on_beat(&mut self, now_ns: u64, hears: NodeSet) {
        if self.links.is_none() || self.suspicion.is_suspect(now_ns) {
            self.steady_ns = now_ns;
        }
        self.suspicion.heard(now_ns);
        let before = self.links.take();
        let mut since_ns = before.as_ref().map_or([now_ns; MEMBERS_MAX], |links| links.since_ns);
        let said = before.map_or(hears, |links| links.hears);
        let changed = said.minus(hears).and(hears.minus(said));
        changed.iter().for_each(|slot| since_ns[slot] = now_ns);
        self.links = Some(Links { at_ns: now_ns, hears, since_ns });
    }

    pub(super) fn on_closed(&mut self) {
        self.suspicion.on_closed();
    }

    /// The leader stood still: no silence is as long, and no link as long there or missing, as its clock says.
    pub(super) fn on_pause(&mut self, now_ns: u64, gap_ns: u64) {
        self.suspicion.shift(gap_ns, now_ns);
        let since = self.links.iter_mut().flat_map(|links| &mut links.since_ns);
        since.for_each(|since_ns| *since_ns = since_ns.saturating_add(gap_ns).min(now_ns.max(*since_ns)));
    }

    /// Whether this leader has heard it itself.
    pub(super) fn is_heard(&self) -> bool {
        self.links.is_some()
    }

    pub(super) fn is_suspect(&self, now_ns: u64) -> bool {
        self.suspicion.is_suspect(now_ns)
    }

    /// Since when it has been heard without a break.
    pub(super) fn steady_ns(&self) -> u64 {
        self.steady_ns
    }

    /// Since when it says that it hears the other one in its present life; `None` if it does not say so.
    fn hears_since(&self, slot: usize, other: &Life) -> Option<u64> {
        let links = self.links.as_ref()?;
        // What it said before the other one was there it said of an earlier life.
        let hears = links.hears.has(slot) && links.at_ns >= other.watched_ns;
        hears.then(|| links.since_ns[slot].max(other.watched_ns))
    }

    /// Since when it says that it does not hear the other one.
    fn misses_since(&self, slot: usize) -> Option<u64> {
        let links = self.links.as_ref()?;
        (!links.hears.has(slot)).then(|| links.since_ns[slot])
    }

    fn heard_ns(&self) -> Option<u64> {
        self.links.as_ref().map(|links| links.at_ns)
    }
}

/// A life at its slot.
pub(super) type Placed<'a> = (usize, &'a Life);

/// Since when both have said that they hear each other; `None` if one of them does not.
pub(super) fn linked_since((one_slot, one): Placed<'_>, (other_slot, other): Placed<'_>) -> Option<u64> {
    Some(one.hears_since(other_slot, other)?.max(other.hears_since(one_slot, one)?))
}

/// Whether one of them has said for a while that it does not hear the other, while both were heard.
pub(super) fn is_cut(
    (one_slot, one): Placed<'_>,
    (other_slot, other): Placed<'_>,
    heartbeat_ns: u64,
) -> bool {
    let while_ns = heartbeat_ns.saturating_mul(OVERSEER_LINK_HEARTBEATS);
    // Who comes back from a silence is missed until the others have told that it is back.
    let steady_ns = one.steady_ns.max(other.steady_ns);
    let since = [one.misses_since(other_slot), other.misses_since(one_slot)];
    let lasts = |since_ns: u64| {
        let until_ns = one.heard_ns().min(other.heard_ns());
        until_ns.is_some_and(|until_ns| until_ns >= since_ns.max(steady_ns).saturating_add(while_ns))
    };
    since.into_iter().flatten().any(lasts)
}
