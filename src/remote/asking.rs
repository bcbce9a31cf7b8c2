//! One question for rows, to one member, and the answers to it. Dropping it takes the question back.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use hypermnesia_replication::fetch::{Ask, At, Fetch, Fetched, NotFetched};
use hypermnesia_replication::{Effect, Message, Peer, Sink, Unavailable};
use hypermnesia_store::{Found, Table, Timestamp};
use parking_lot::Mutex;

use super::asked::Told;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::FETCH_GRACE;
use crate::machine::dice;
use crate::wait::Answer;

/// All that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// The state that it is of.
    pub(crate) at: Timestamp,
    pub(crate) rows: Vec<Found>,
    /// Where only that was asked for.
    pub(crate) count: u64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nobody can be asked now, or who was asked is gone.
    Away(Unavailable),
    /// The member says why not.
    Refused(NotFetched),
    /// This node refuses.
    Failed(Error),
}

/// Wakes all who wait for the same answer: tasks that share a transaction.
#[derive(Default)]
struct Bell {
    /// Held for a push or a move; a leaf lock.
    wakers: Mutex<Vec<Waker>>,
}

impl Bell {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// See the file's header.
pub(crate) struct Asking {
    core: Arc<Core>,
    id: u64,
    pub(crate) to: Peer,
    pub(crate) epoch: u64,
    fetch: Fetch,
    until: Instant,
    /// How long the member may wait for what is being committed.
    patience: Duration,
    answer: Arc<Answer<Told>>,
    bell: Arc<Bell>,
    /// The member keeps a place for it, as far as this node knows.
    placed: bool,
    so_far: Whole,
}

impl Asking {
    /// Asks a member that has a copy, not this one where there is another one. Waits neither here nor there past a moment, and the
    /// member for what is being committed no longer than it is told.
    pub(crate) fn begin(
        core: &Arc<Core>,
        table: &Table,
        at: At,
        ask: Ask,
        (until, patience): (Instant, Duration),
        not: Option<Peer>,
    ) -> Result<Asking, Unanswered> {
        let asked = core.replica.holder_to_ask(table.id(), dice(), not);
        let (to, epoch) = asked.map_err(Unanswered::Away)?;
        let placed = matches!(ask, Ask::Range { .. });
        let fetch = Fetch { table: table.id(), version: table.def().version, at, ask, wait_ms: 0 };
        let (id, core) = (core.remote.asked.number(), Arc::clone(core));
        let (answer, so_far) = (Answer::new(), Whole::default());
        let bell = Arc::default();
        let mut asking = Asking { core, id, to, epoch, fetch, until, patience, answer, bell, placed, so_far };
        asking.send().map_err(Unanswered::Failed)?;
        Ok(asking)
    }

    fn send(&mut self) -> Result<()> {
        let now = Instant::now();
        let wait = self.until.saturating_duration_since(now).min(self.patience);
        self.fetch.wait_ms = wait.as_millis() as u32;
        self.answer = Answer::new();
        let until = now + wait + FETCH_GRACE;
        self.core.remote.asked.enter(self.id, self.to, self.epoch, until, &self.answer)?;
        self.say(self.fetch.clone());
        Ok(())
    }

    fn say(&self, fetch: Fetch) {
        let (to, message) = (self.to, Message::Fetch { epoch: self.epoch, id: self.id, fetch });
        self.core.event(|_, _, out| out.effect(Effect::Send { to, message }));
    }

    /// All that was asked for, once it is there; the waker is kept for it otherwise.
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Result<Whole, Unanswered>> {
        self.bell.add(waker);
        let waker = Waker::from(Arc::clone(&self.bell));
        while let Some(told) = self.answer.take(&waker) {
            match self.on_told(told) {
                Ok(false) => {}
                Ok(true) => return Some(Ok(std::mem::take(&mut self.so_far))),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    /// The same for a thread, which waits no longer than its deadline.
    pub(crate) fn wait(mut self) -> Result<Whole, Unanswered> {
        loop {
            let until = self.until + FETCH_GRACE + Duration::from_secs(1);
            let told = self.answer.wait(until);
            match told.map(|told| self.on_told(told)) {
                Some(Ok(false)) => {}
                Some(Ok(true)) => return Ok(std::mem::take(&mut self.so_far)),
                Some(Err(error)) => return Err(error),
                None => return Err(Unanswered::Failed(Error::DeadlineExceeded)),
            }
        }
    }

    /// Whether nothing more is to come.
    fn on_told(&mut self, told: Told) -> Result<bool, Unanswered> {
        match told.map_err(Unanswered::Away)? {
            Fetched::Rows { at, rows, more } => {
                self.placed = more;
                self.follow(at)?;
                self.so_far.at = at;
                self.so_far.rows.extend(rows);
                if more {
                    self.fetch.ask = Ask::Next;
                    self.send().map_err(Unanswered::Failed)?;
                }
                Ok(!more)
            }
            Fetched::Count(count) => {
                self.so_far.count = count;
                Ok(true)
            }
            Fetched::Refused { clock, why } => {
                self.placed = false;
                self.follow(clock)?;
                Err(Unanswered::Refused(why))
            }
        }
    }

    /// What this node reads from now on is not before what it was shown.
    fn follow(&self, clock: Timestamp) -> Result<(), Unanswered> {
        let ahead = |_| Unanswered::Refused(NotFetched::ClockAhead);
        self.core.store.clock().observe(clock).map_err(ahead)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.core.remote.asked.forget(self.id);
        if self.placed && !self.core.is_closed() {
            self.say(Fetch { ask: Ask::Enough, ..self.fetch.clone() });
        }
    }
}
