//! Leases, both ends: a member reads from its own memory only while it holds one, and the leader of the control plane
//! excludes nobody who may. Described in `docs/protocol.md` (lease) and checked in `tests/model/src/plane.rs`; leases of this
//! kind are Gray and Cheriton's (SOSP 1989).
//!
//! *What is believed.* That every clock handed in runs at a rate between `1 - drift` and `1 + drift` of true time, counts
//! suspended time, and never goes back; nothing about what two clocks show. Messages take any time, get lost, and come in any
//! order.
//!
//! *Why it holds.* In true time no lease outlives `authority + lease`, where authority is the moment at which the leader sent
//! the last round that a majority acknowledged in its term. The leader grants what is left of that, counting the time
//! since as if its clock were slow; the member counts from the moment it asked, which was before the grant, as if its own
//! were slow. Who leads next was elected by a majority, one of which acknowledged that round before: so its
//! leadership begins after the authority of all before it, and one lease later, counted as if its clock were fast, nothing
//! that they granted is left. What it grants itself it notes. It does not know what the leaders before it
//! agreed on until it has applied all of that, so it grants nothing before.
//!
//! *From asking to exclude until it is agreed* is not one moment. Whoever is to be excluded is therefore granted nothing from
//! [`Grantor::exclude`] on until an epoch with that number, or a later one, is agreed; looking at [`Grantor::may_exclude`] alone
//! and granting on while the proposal is under way would give a lease to somebody who is out.
//!
//! *What never happens:* an end is put off by anything but a grant, authority goes back, a refusal changes anything.

use hypermnesia_store::NodeId;
use serde::{Deserialize, Serialize};

use crate::member::Peer;

mod grantor;
mod holder;

pub use grantor::Grantor;
pub use holder::Holder;

const MILLION: u64 = 1_000_000;

/// What both ends have agreed on beforehand: configuration, the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A lease, ns.
    pub lease_ns: u64,
    /// How much faster or slower than true time a clock may run, in parts per million; below a million.
    pub drift_ppm: u64,
    /// What is shorter than this is not granted: it would be over when it arrives, ns.
    pub useful_ns_min: u64,
}

impl Terms {
    /// How much a clock that runs as slow as it may shows of a true length: rounded down.
    fn shown_by_slow(self, length_ns: u64) -> u64 {
        scaled(length_ns, MILLION - self.drift_ppm, MILLION)
    }

    /// How much a clock that runs as fast as it may shows of a true length: rounded up.
    fn shown_by_fast(self, length_ns: u64) -> u64 {
        scaled(length_ns, MILLION + self.drift_ppm, MILLION).saturating_add(1)
    }

    /// The most that can truly have passed while a clock showed this: rounded up.
    fn true_at_most(self, shown_ns: u64) -> u64 {
        scaled(shown_ns, MILLION, MILLION - self.drift_ppm).saturating_add(1)
    }
}

fn scaled(ns: u64, times: u64, over: u64) -> u64 {
    u64::try_from(u128::from(ns) * u128::from(times) / u128::from(over)).unwrap_or(u64::MAX)
}

/// A member asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub peer: Peer,
    /// When, on its own clock, ns. It comes back with the grant; nobody else can do anything with it.
    pub sent_ns: u64,
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When it was asked for, on the asker's clock, ns.
    pub sent_ns: u64,
    /// How long it lasts from then, in true time, ns.
    pub length_ns: u64,
    /// The latest epoch that the grantor knows; the asker is a member of it.
    pub epoch: u64,
}

/// A member gives its lease back: it is about to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Whose.
    pub peer: Peer,
    /// Nothing that was asked for until then, on its own clock, is held or will be, ns.
    pub released_ns: u64,
}

/// Why no lease was granted. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The leader is new and has not applied everything that was agreed before it was elected.
    #[error("the leader has not yet applied what was agreed before its election: ask again")]
    CatchingUp,
    /// It is no member of the latest epoch, or not in this life.
    #[error("node {node} is no member of epoch {epoch} in this life: it has to join first")]
    NoMember {
        /// Who asked.
        node: NodeId,
        /// The latest epoch.
        epoch: u64,
    },
    /// The leader is about to exclude it.
    #[error("node {node} is being excluded: wait for epoch {epoch}")]
    Excluding {
        /// Who asked.
        node: NodeId,
        /// The number of the epoch without it.
        epoch: u64,
    },
    /// Too little is left of the leader's own authority: no majority has answered it of late.
    #[error("the leader has authority for {left_ns} ns more, too little for a lease: ask again")]
    NoAuthority {
        /// What is left.
        left_ns: u64,
    },
}

/// Not all of those to be excluded have surely lost their leases. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease of those to be excluded may last until {until_ns} ns on this clock: wait for it")]
pub struct StillHeld {
    /// When the last of them is over, on the leader's clock, ns.
    pub until_ns: u64,
}

#[cfg(test)]
mod tests;
