//! Rows that are being computed because somebody asked for them and they were not there. Whoever asks first computes; all
//! others of this node wait for that one and share what came of it, the row or the error.
//!
//! A computation that asks for its own row would wait for itself: it is refused at once, wherever it asks on the thread on
//! which it runs. One that has others ask for it, or two that need each other's rows on different threads, are not seen
//! through: for them every wait has a deadline.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use hypermnesia_store::{Key, Row, TableId};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::wait::{Alarms, Parker};

thread_local! {
    /// What is being computed on this thread, the outermost first: at which node (an address, which is never followed), in
    /// which table, under which key.
    static INSIDE: RefCell<Vec<(usize, TableId, Key)>> = const { RefCell::new(Vec::new()) };
}

/// What is being computed on a node.
#[derive(Default)]
pub(crate) struct Loads {
    /// Held for a map operation; a leaf lock.
    running: Mutex<HashMap<(TableId, Key), Arc<Load>>>,
}

/// One computation.
#[derive(Default)]
pub(crate) struct Load {
    /// What came of it, and who waits. Held for a move; a leaf lock.
    state: Mutex<(Option<End>, Vec<Waker>)>,
}

/// How a computation ended.
#[derive(Clone)]
enum End {
    Row(Row),
    Failed(Error),
    /// It panicked or was dropped: somebody else has to compute.
    Abandoned,
}

/// Whoever asks for a row that is not there.
pub(crate) enum Asked<'a> {
    /// Is to compute it, and to say what came of it.
    First(Computing<'a>),
    /// Waits.
    Other(Arc<Load>),
    /// Is the one who computes it, and would wait for itself.
    Itself,
}

/// How a wait ended.
pub(crate) enum Waited {
    /// With what came of the computation.
    Ended(Result<Row>),
    /// Nobody computes it any more: somebody else has to.
    Abandoned,
    /// At the deadline.
    TooLong,
}

/// The right and duty to compute. Dropped without a word, it passes to somebody else.
pub(crate) struct Computing<'a> {
    loads: &'a Loads,
    place: (TableId, Key),
    load: Arc<Load>,
    end: End,
}

impl Loads {
    pub(crate) fn ask(&self, table: TableId, key: &Key) -> Asked<'_> {
        let place = (table, key.clone());
        let mut running = self.running.lock();
        if let Some(load) = running.get(&place) {
            let here = |inside: &Vec<_>| {
                inside.iter().any(|(node, t, k)| (*node, *t, k) == (self.address(), table, key))
            };
            return if INSIDE.with_borrow(here) { Asked::Itself } else { Asked::Other(Arc::clone(load)) };
        }
        let load = Arc::new(Load::default());
        running.insert(place.clone(), Arc::clone(&load));
        Asked::First(Computing { loads: self, place, load, end: End::Abandoned })
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }
}

/// A computation that is on this thread until this is dropped.
struct Inside(());

impl Inside {
    fn enter(computing: &Computing<'_>) -> Inside {
        let (table, key) = computing.place.clone();
        INSIDE.with_borrow_mut(|inside| inside.push((computing.loads.address(), table, key)));
        Inside(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| drop(inside.pop()));
    }
}

impl Computing<'_> {
    /// Runs what computes the row.
    pub(crate) fn run<T>(&self, load: impl FnOnce() -> T) -> T {
        let _inside = Inside::enter(self);
        load()
    }

    /// The same for a task. It may go on on another thread each time.
    pub(crate) async fn polled<F: Future>(&self, load: impl FnOnce() -> F) -> F::Output {
        let mut load = pin!(self.run(load));
        poll_fn(|context| self.run(|| load.as_mut().poll(context))).await
    }

    /// Tells all who wait.
    pub(crate) fn ended(mut self, outcome: &Result<Row>) {
        self.end = match outcome {
            Ok(row) => End::Row(row.clone()),
            Err(error) => End::Failed(error.clone()),
        };
    }
}

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        // Out of the map first: who asks from now on looks at the table, where the row is.
        self.loads.running.lock().remove(&self.place);
        let wakers = {
            let mut state = self.load.state.lock();
            state.0 = Some(self.end.clone());
            std::mem::take(&mut state.1)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Load {
    fn poll(&self, waker: &Waker) -> Option<Waited> {
        let mut state = self.state.lock();
        match &state.0 {
            Some(End::Row(row)) => Some(Waited::Ended(Ok(row.clone()))),
            Some(End::Failed(error)) => Some(Waited::Ended(Err(error.clone()))),
            Some(End::Abandoned) => Some(Waited::Abandoned),
            None => {
                if !state.1.iter().any(|known| known.will_wake(waker)) {
                    state.1.push(waker.clone());
                }
                None
            }
        }
    }

    /// Parks the thread until it has ended, or until the deadline.
    pub(crate) fn wait(&self, until: Instant) -> Waited {
        let parker = Parker::current();
        loop {
            if let Some(end) = self.poll(parker.waker()) {
                return end;
            }
            if !parker.park_until(until) {
                let end = self.poll(parker.waker());
                self.forget(parker.waker());
                return end.unwrap_or(Waited::TooLong);
            }
        }
    }

    /// The same for a task.
    pub(crate) async fn heard(&self, alarms: &Alarms, until: Instant) -> Waited {
        let mut alarm = alarms.at(until);
        let mut waiter = Waiter { load: self, waker: None };
        poll_fn(|context| match self.poll(context.waker()) {
            Some(end) => Poll::Ready(end),
            None if Instant::now() >= until => Poll::Ready(Waited::TooLong),
            None => {
                waiter.is_woken_by(context.waker());
                alarm.wake(context.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// Wakes this one no more.
    fn forget(&self, waker: &Waker) {
        self.state.lock().1.retain(|known| !known.will_wake(waker));
    }
}

/// A task that waits; it is forgotten when it goes, done or not.
struct Waiter<'a> {
    load: &'a Load,
    waker: Option<Waker>,
}

impl Waiter<'_> {
    fn is_woken_by(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        if let Some(before) = self.waker.replace(waker.clone()) {
            self.load.forget(&before);
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            self.load.forget(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hypermnesia_store::Value;

    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline() {
        // Aim: two computations that need each other's rows do not wait for good. Method: somebody computes and never ends;
        // a thread and a task wait for it.
        let (loads, alarms) = (Loads::default(), Alarms::default());
        let key = Key::encode(&[Value::Int(1)]).expect("small");
        let Asked::First(computing) = loads.ask(TableId(7), &key) else { panic!("nobody computes yet") };
        let Asked::Other(other) = loads.ask(TableId(7), &key) else { panic!("somebody does") };
        assert!(matches!(other.wait(Instant::now() + Duration::from_millis(5)), Waited::TooLong));
        let parker = Parker::current();
        let mut context = std::task::Context::from_waker(parker.waker());
        let until = Instant::now() + Duration::from_millis(5);
        let mut heard = pin!(other.heard(&alarms, until));
        while heard.as_mut().poll(&mut context).is_pending() {
            parker.park_until(until);
            alarms.ring(Instant::now());
        }
        let mut left = Box::pin(other.heard(&alarms, Instant::now() + Duration::from_secs(60)));
        assert!(left.as_mut().poll(&mut context).is_pending());
        drop(left);
        assert!(other.state.lock().1.is_empty(), "who waits no longer is forgotten");
        drop(computing);
        assert!(matches!(other.wait(Instant::now()), Waited::Abandoned));
    }
}
