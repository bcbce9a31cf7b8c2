//! Waiting. Everything that waits here waits for a [`Waker`], so a thread and a task wait for the same things in the same
//! way. A thread parks; on a worker of a multi-thread runtime it tells the runtime first, so that other tasks go on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::spin::spun;

/// Wakes one thread, at most once per park.
struct Bell {
    /// Set by the waker, taken by the sleeper. Acquire/release: what was done before the wake is seen after it.
    rung: AtomicBool,
    thread: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

/// The calling thread as something that can be woken. One per thread, made once.
#[derive(Clone)]
pub(crate) struct Parker {
    bell: Arc<Bell>,
    waker: Waker,
}

thread_local! {
    static PARKER: RefCell<Option<Parker>> = const { RefCell::new(None) };
}

impl Parker {
    /// The parker of the calling thread.
    pub(crate) fn current() -> Parker {
        PARKER.with(|slot| {
            slot.borrow_mut()
                .get_or_insert_with(|| {
                    let bell =
                        Arc::new(Bell { rung: AtomicBool::new(false), thread: std::thread::current() });
                    Parker { waker: Waker::from(Arc::clone(&bell)), bell }
                })
                .clone()
        })
    }

    /// What wakes it. Old wakers of the same thread wake it too, so whoever waits looks at its condition again.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sleeps until woken or until the deadline. False when the deadline has passed. May wake for nothing.
    pub(crate) fn park_until(&self, deadline: Instant) -> bool {
        if self.is_rung() {
            return true;
        }
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        without_blocking_others(|| std::thread::park_timeout(deadline - now));
        self.bell.rung.swap(false, Ordering::Acquire) || Instant::now() < deadline
    }

    /// The same for what another thread of this process may do any moment: looks for that before it sleeps.
    pub(crate) fn look_until(&self, deadline: Instant) -> bool {
        self.is_rung() || spun(|| self.is_rung()) || self.park_until(deadline)
    }

    fn is_rung(&self) -> bool {
        self.bell.rung.load(Ordering::Relaxed) && self.bell.rung.swap(false, Ordering::Acquire)
    }
}

/// Runs something that blocks. A worker of a multi-thread runtime hands its other tasks to another worker first.
pub(crate) fn without_blocking_others<T>(block: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(block)
        }
        _ => block(),
    }
}

/// A place for one answer and whoever waits for it.
pub(crate) struct Answer<T> {
    /// Guards answer and waker together; held for a move.
    slot: Mutex<(Option<T>, Option<Waker>)>,
}

impl<T> Answer<T> {
    pub(crate) fn new() -> Arc<Answer<T>> {
        Arc::new(Answer { slot: Mutex::new((None, None)) })
    }

    /// Gives the answer and wakes who waits. A second answer is dropped.
    pub(crate) fn give(&self, answer: T) {
        let mut slot = self.slot.lock();
        if slot.0.is_none() {
            slot.0 = Some(answer);
        }
        let waker = slot.1.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it is there.
    pub(crate) fn is_given(&self) -> bool {
        self.slot.lock().0.is_some()
    }

    /// The answer, or the waker is kept for it.
    pub(crate) fn take(&self, waker: &Waker) -> Option<T> {
        let mut slot = self.slot.lock();
        if slot.0.is_none() {
            slot.1 = Some(waker.clone());
        }
        slot.0.take()
    }

    /// Parks the calling thread until the answer is there; `None` at the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<T> {
        let parker = Parker::current();
        loop {
            if let Some(answer) = self.take(parker.waker()) {
                return Some(answer);
            }
            if !parker.park_until(deadline) {
                return self.take(parker.waker());
            }
        }
    }
}

/// Wakers to be woken at a time, for tasks: threads have a clock of their own in `park_timeout`. The timer thread asks.
#[derive(Default)]
pub(crate) struct Alarms {
    /// One per async call that really waits, by time. Held for a map operation or a sweep.
    set: Mutex<BTreeMap<(Instant, u64), Waker>>,
    /// Tells alarms of one moment apart.
    next: AtomicU64,
}

/// An alarm of one call; dropping it takes it back.
pub(crate) struct Alarm<'a> {
    alarms: &'a Alarms,
    at: (Instant, u64),
    set: bool,
}

impl Alarms {
    /// An alarm at the first tick after the moment. It is set by the first [`Alarm::wake`].
    pub(crate) fn at(&self, moment: Instant) -> Alarm<'_> {
        Alarm { alarms: self, at: (moment, self.next.fetch_add(1, Ordering::Relaxed)), set: false }
    }

    /// Comes back at the first tick after the moment.
    pub(crate) async fn sleep_until(&self, moment: Instant) {
        let mut alarm = self.at(moment);
        poll_fn(|context| {
            if Instant::now() >= moment {
                return Poll::Ready(());
            }
            alarm.wake(context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Wakes those whose time has come.
    pub(crate) fn ring(&self, now: Instant) {
        let due = {
            let mut set = self.set.lock();
            let later = set.split_off(&(now, u64::MAX));
            std::mem::replace(&mut *set, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}

impl Alarm<'_> {
    /// Wakes this waker then, and no earlier one.
    pub(crate) fn wake(&mut self, waker: &Waker) {
        self.set = true;
        self.alarms.set.lock().insert(self.at, waker.clone());
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if self.set {
            self.alarms.set.lock().remove(&self.at);
        }
    }
}

/// A deadline this far ahead counts as never; keeps additions from overflowing.
pub(crate) fn deadline_in(after: Duration) -> Instant {
    Instant::now() + after.min(Duration::from_secs(86_400 * 365))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_a_parked_thread() {
        // Aim: no lost wake-up. Method: ten thousand handovers between two threads, each of which would hang.
        let (there, back): (Vec<_>, Vec<_>) = (0..10_000).map(|_| (Answer::new(), Answer::new())).unzip();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for (there, back) in there.iter().zip(&back) {
                    let n: u32 = there.wait(deadline_in(Duration::from_secs(60))).expect("it comes");
                    back.give(n + 1);
                }
            });
            for (n, (there, back)) in there.iter().zip(&back).enumerate() {
                there.give(n as u32);
                assert_eq!(back.wait(deadline_in(Duration::from_secs(60))), Some(n as u32 + 1));
            }
        });
    }

    #[test]
    fn alarms_ring_when_due_and_go_with_their_calls() {
        // Aim: a call that ended leaves nothing behind. Method: one due, one later, one taken back.
        let (alarms, parker, now) = (Alarms::default(), Parker::current(), Instant::now());
        let mut due = alarms.at(now);
        let mut later = alarms.at(now + Duration::from_secs(60));
        let mut gone = alarms.at(now);
        for alarm in [&mut due, &mut later, &mut gone] {
            alarm.wake(parker.waker());
        }
        drop(gone);
        assert_eq!(alarms.set.lock().len(), 2);
        alarms.ring(now);
        assert!(parker.park_until(now), "woken");
        assert_eq!(alarms.set.lock().len(), 1);
        drop(later);
        assert!(alarms.set.lock().is_empty());
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        // Aim: who waits for nothing comes back. Method: a deadline that has passed, and one that is near.
        assert_eq!(Answer::<()>::new().wait(Instant::now()), None);
        assert_eq!(Answer::<()>::new().wait(deadline_in(Duration::from_millis(5))), None);
    }
}
