//! The questions that this node has asked, until they are answered, nobody wants the answer any more, or none will come: the
//! member is gone, its time is over, or the epoch is another one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hypermnesia_replication::fetch::Fetched;
use hypermnesia_replication::{Peer, Unavailable, Why};
use parking_lot::Mutex;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::FETCHES_ASKED_MAX;
use crate::wait::Answer;

/// What is heard of a question: the answer, or why none comes.
pub(super) type Told = Result<Fetched, Unavailable>;

struct Question {
    to: Peer,
    epoch: u64,
    until: Instant,
    answer: Arc<Answer<Told>>,
}

/// See the file's header.
#[derive(Default)]
pub(crate) struct Asked {
    /// By number. Held for a map operation or a look at all; a leaf lock.
    open: Mutex<HashMap<u64, Question>>,
    next: AtomicU64,
}

impl Asked {
    /// A number that no question of this life has had.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Before it is sent.
    pub(super) fn enter(
        &self,
        id: u64,
        to: Peer,
        epoch: u64,
        until: Instant,
        answer: &Arc<Answer<Told>>,
    ) -> Result<()> {
        let mut open = self.open.lock();
        if open.len() >= FETCHES_ASKED_MAX {
            return Err(Error::Overloaded { what: "reads from other members" });
        }
        open.insert(id, Question { to, epoch, until, answer: Arc::clone(answer) });
        Ok(())
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    /// The answer has come.
    pub(crate) fn on_fetched(&self, id: u64, answer: Fetched) {
        let question = self.open.lock().remove(&id);
        if let Some(question) = question {
            question.answer.give(Ok(answer));
        }
    }

    pub(super) fn on_disconnected(&self, peer: Peer) {
        self.end(Why::NotConnected, |question| question.to == peer);
    }

    pub(super) fn tick(&self, core: &Core, now: Instant) {
        if self.open.lock().is_empty() {
            return;
        }
        let epoch = core.replica.open_epoch();
        self.end(Why::EpochChange, |question| Some(question.epoch) != epoch);
        self.end(Why::Congested, |question| question.until <= now);
    }

    /// No answer will come, for this reason.
    fn end(&self, why: Why, ends: impl Fn(&Question) -> bool) {
        let ended: Vec<_> = self.open.lock().extract_if(|_, question| ends(question)).collect();
        for (_, question) in ended {
            question.answer.give(Err(Unavailable { member: question.to.node, why }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hypermnesia_store::{Incarnation, NodeId};

    use super::*;

    fn peer(node: u32) -> Peer {
        Peer { node: NodeId(node), incarnation: Incarnation(1) }
    }

    #[test]
    fn questions_are_bounded_and_end_with_their_member() {
        // Aim: nobody waits for what will not come, and what waits is bounded. Method: as many questions as may be, to two members; one
        // more is refused; one member goes; then there is room again, and only those of the other one are open.
        let asked = Asked::default();
        let until = Instant::now() + Duration::from_secs(60);
        let answers: Vec<_> = (0..FETCHES_ASKED_MAX).map(|_| Answer::new()).collect();
        let enter = |at: usize| {
            asked.enter(at as u64, peer(2 + at as u32 % 2), 1, until, &answers[at % answers.len()])
        };
        assert!((0..FETCHES_ASKED_MAX).all(|at| enter(at).is_ok()));
        assert!(matches!(enter(FETCHES_ASKED_MAX), Err(Error::Overloaded { .. })));
        asked.on_disconnected(peer(2));
        let away = Unavailable { member: NodeId(2), why: Why::NotConnected };
        assert_eq!(answers[0].wait(Instant::now()), Some(Err(away)));
        assert!(!answers[1].is_given() && enter(FETCHES_ASKED_MAX).is_ok());
        asked.on_fetched(1, Fetched::Count(4));
        assert_eq!(answers[1].wait(Instant::now()), Some(Ok(Fetched::Count(4))));
        asked.forget(3);
        asked.on_fetched(3, Fetched::Count(4));
        assert!(!answers[3].is_given(), "nobody wanted it any more");
    }
}
