//! Changes of a table as its subscribers see them: in the order in which conflicting transactions committed, numbered,
//! kept in a bounded ring per subscriber. A slow subscriber loses the oldest and is told how many; nobody waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::ids::TableId;
use crate::key::Key;
use crate::limits::EVENTS_KEPT_MAX;
use crate::row::Body;

/// One key of a table changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The table.
    pub table: TableId,
    /// Counts the table's events while anybody listens, without gaps.
    pub sequence: u64,
    /// The commit it belongs to.
    pub commit_ts: Timestamp,
    /// The key.
    pub key: Key,
    /// What the key holds now; nothing when it was deleted.
    pub new: Option<Body>,
    /// What it held before; only with [`EventDetail::WithOldRows`].
    pub old: Option<Body>,
}

/// What a subscriber gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A change.
    Event(Event),
    /// It was too slow: this many events before the next one were dropped.
    Missed(u64),
}

/// How much an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventDetail {
    /// The new rows.
    Simple,
    /// The old rows too.
    WithOldRows,
}

/// One listener. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    ring: Arc<Ring>,
    hub: Arc<Hub>,
}

impl Subscription {
    /// The next event, if one is there.
    pub fn next(&self) -> Option<Heard> {
        self.ring.state.lock().pop()
    }

    /// The next event, or a promise to call the waker when one comes. It is called with a lock of the store held, so it may
    /// say that there is something to do, as those of runtimes do, and must not do it at once.
    pub fn poll(&self, waker: &Waker) -> Option<Heard> {
        let mut state = self.ring.state.lock();
        let next = state.pop();
        if next.is_none() {
            state.waker = Some(waker.clone());
        }
        next
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.state.lock();
        state.rings.retain(|ring| !Arc::ptr_eq(ring, &self.ring));
        self.hub.listeners.store(state.rings.len(), Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Ring {
    detail: EventDetail,
    state: Mutex<RingState>,
}

#[derive(Debug, Default)]
struct RingState {
    events: VecDeque<Event>,
    missed: u64,
    waker: Option<Waker>,
}

impl RingState {
    fn pop(&mut self) -> Option<Heard> {
        if self.missed > 0 {
            return Some(Heard::Missed(std::mem::take(&mut self.missed)));
        }
        self.events.pop_front().map(Heard::Event)
    }
}

/// Where a table's events go.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// Looked at by every commit: nothing else is done while it is 0.
    listeners: AtomicUsize,
    state: Mutex<HubState>,
}

#[derive(Debug, Default)]
struct HubState {
    sequence: u64,
    rings: Vec<Arc<Ring>>,
}

impl Hub {
    pub(crate) fn subscribe(self: &Arc<Hub>, detail: EventDetail) -> Subscription {
        let ring = Arc::new(Ring { detail, state: Mutex::default() });
        let mut state = self.state.lock();
        state.rings.push(Arc::clone(&ring));
        self.listeners.store(state.rings.len(), Ordering::SeqCst);
        Subscription { ring, hub: Arc::clone(self) }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) != 0
    }

    /// Gives a change to everybody. Called under the key's write lock, so changes of one key come in commit order.
    pub(crate) fn emit(&self, mut event: Event) {
        let mut wakers = Vec::new();
        let mut hub = self.state.lock();
        hub.sequence += 1;
        event.sequence = hub.sequence;
        for ring in &hub.rings {
            let mut state = ring.state.lock();
            if state.events.len() >= EVENTS_KEPT_MAX {
                state.events.pop_front();
                state.missed += 1;
            }
            let old = event.old.as_ref().filter(|_| ring.detail == EventDetail::WithOldRows);
            let (key, new, old) = (event.key.clone(), event.new.clone(), old.cloned());
            state.events.push_back(Event { key, new, old, ..event });
            wakers.extend(state.waker.take());
        }
        drop(hub);
        wakers.into_iter().for_each(Waker::wake);
    }
}
