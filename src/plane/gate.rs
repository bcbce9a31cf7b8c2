//! What a node may still say as a leader. Everything that is sent in the name of a leadership passes here.
//!
//! **Old leaderships.** A task that replicates outlives the leadership it belongs to: openraft lets it go when the next one
//! begins. Meanwhile the log it reads may be cut and written anew; it would put entries of the new leader behind its own old
//! ones and send them in the name of the old term, and a follower that has not heard of the new one would take a log that
//! never was (openraft#1077); or it goes on trying, and keeps that follower from voting for anybody else. So nothing passes
//! but what is of the vote this node gave last. The vote is noted here before it is saved, it is saved before the log is
//! touched in its name, and a request passes after its entries were read: none that were written under another vote pass.
//!
//! **Silence**: see `rounds`.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::voter::Term;

#[derive(Default)]
pub(super) struct Gate {
    /// Nothing of a leader leaves. A leader's own affair, so no other memory depends on it.
    silent: AtomicBool,
    /// Held for a copy.
    voted: Mutex<Term>,
}

impl Gate {
    /// Notes the vote that is about to be saved, or was read.
    pub(super) fn note(&self, voted: Term) {
        *self.voted.lock() = voted;
    }

    pub(super) fn passes(&self, term: Term) -> bool {
        !self.is_silent() && *self.voted.lock() == term
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::RaftId;

    #[test]
    fn only_the_present_leadership_passes() {
        // Aim: an earlier leadership of the same node says nothing more, nor does a silent one. Method: both, beside the present one.
        let gate = Gate::default();
        let term = |number| Term { number, leader: RaftId(1) };
        gate.note(term(1));
        assert!(gate.passes(term(1)));
        gate.note(Term { number: 2, leader: RaftId(2) });
        gate.note(term(3));
        assert!(!gate.passes(term(1)) && gate.passes(term(3)));
        gate.set_silent(true);
        assert!(!gate.passes(term(3)));
    }
}
