//! The member's end of a lease. It holds one from the arrival of a grant until the length it was given has passed since it
//! asked, on its own clock, counted as if that were slow. It believes a grant only for the epoch it is in; hearing of a
//! later one ends it. See [`lease`](crate::lease).

use super::{Ask, Grant, Release, Terms};
use crate::member::Peer;

/// What one life of a member holds.
#[derive(Clone, Debug)]
pub struct Holder {
    terms: Terms,
    peer: Peer,
    /// The epoch it takes part in, or waits for.
    epoch: u64,
    /// The latest that a grant told of.
    heard: u64,
    /// It is over from then on, ns; 0 if there is none.
    until_ns: u64,
    /// Grants asked for until then are void: the lease was given back.
    released_ns: Option<u64>,
}

impl Holder {
    /// Holds nothing yet.
    pub fn new(terms: Terms, peer: Peer) -> Holder {
        Holder { terms, peer, epoch: 0, heard: 0, until_ns: 0, released_ns: None }
    }

    /// Asks for a lease: for a first one, or for a longer one in good time. `now` must be taken before the question leaves.
    pub fn ask(&self, now_ns: u64) -> Ask {
        Ask { peer: self.peer, sent_ns: now_ns }
    }

    /// This member is in this epoch now, or fenced for it: with a later one than before the lease ends.
    pub fn on_epoch(&mut self, number: u64) {
        if number > self.epoch {
            self.epoch = number;
            self.until_ns = 0;
        }
    }

    /// An answer arrived. One that was given back, is for an earlier epoch or shorter than what is held changes nothing. One
    /// for a later epoch ends the lease, and nothing is held until this member is in that epoch: it would else read on in
    /// the old one after the new one is open.
    pub fn on_grant(&mut self, now_ns: u64, grant: &Grant) {
        self.heard = self.heard.max(grant.epoch);
        if self.heard > self.epoch {
            self.until_ns = 0;
            return;
        }
        let released = self.released_ns.is_some_and(|released| grant.sent_ns <= released);
        // No question of this life can have been asked later than now, whatever the answer says.
        if grant.epoch == self.epoch && !released && grant.sent_ns <= now_ns {
            let length = self.terms.shown_by_slow(grant.length_ns.min(self.terms.lease_ns));
            self.until_ns = self.until_ns.max(grant.sent_ns.saturating_add(length));
        }
    }

    /// From when on it is over, ns; 0 if there is none. For a place where readers look at it.
    pub fn until_ns(&self) -> u64 {
        self.until_ns
    }

    /// How long it lasts still, ns; 0 if there is none. What was read counts if this is asked after the reading.
    pub fn left(&self, now_ns: u64) -> u64 {
        self.until_ns.saturating_sub(now_ns)
    }

    /// Gives it back. Grants that are still on their way are void; to hold one again, ask again, later than now.
    pub fn release(&mut self, now_ns: u64) -> Release {
        self.until_ns = 0;
        self.released_ns = Some(now_ns);
        Release { peer: self.peer, released_ns: now_ns }
    }
}
