//! Where the events of one table go: a list of the newest, bounded in number and bytes. It is kept while anybody listens, and
//! for a while behind one who said that he would be back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::{Event, EventDetail, Heard, Place, Subscription, Taken};
use crate::clock::Timestamp;
use crate::limits::{
    EVENTS_AWAIT_MS, EVENTS_BYTES_MAX, EVENTS_KEPT_MAX, EVENTS_TAKEN_AT_ONCE, EVENTS_TAKEN_BYTES,
};
use crate::row::Body;

/// See the file's header.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// How many listen or are awaited. Looked at by every commit behind its timestamp: nothing else is done while it is 0. Who
    /// listens and then takes a snapshot hears of all that the snapshot does not show, since the clock and this are in one
    /// order for all (SeqCst).
    listeners: AtomicUsize,
    /// Held for an event, or for some that are taken; a leaf lock but for wakers.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stream: u32,
    /// The number of the event that came last.
    last: u64,
    events: VecDeque<Event>,
    /// Of the events: see [`bytes_of`].
    bytes: usize,
    /// Those of their old rows.
    old_bytes: usize,
    subscribers: usize,
    awaited: Awaited,
    /// Ids that were given out.
    ids: u64,
    waiting: Vec<(u64, Waker)>,
    /// Nothing more comes for those with an id up to the first number than the events up to the second one. Those that listen again later
    /// have greater ids.
    ends: Vec<(u64, u64)>,
}

/// Whether somebody who went said that he would be back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    Nobody,
    /// Since the last tick.
    Newly,
    /// Since this millisecond.
    Since(u64),
}

impl Hub {
    pub(crate) fn subscribe(self: &Arc<Hub>, detail: EventDetail) -> Subscription {
        let mut state = self.state.lock();
        if state.is_deserted() {
            state.stream += 1;
        }
        let place = Place { stream: state.stream, after: state.last, behind: Timestamp::NEVER };
        self.join(&mut state, detail, place)
    }

    /// Goes on from a place; `None` when the events behind it were not kept, or it is no place of this hub.
    pub(crate) fn subscribe_from(self: &Arc<Hub>, place: Place, detail: EventDetail) -> Option<Subscription> {
        let mut state = self.state.lock();
        let known = !state.is_deserted() && place.stream == state.stream && place.after <= state.last;
        known.then(|| self.join(&mut state, detail, place))
    }

    fn join(self: &Arc<Hub>, state: &mut State, detail: EventDetail, place: Place) -> Subscription {
        state.ids += 1;
        state.subscribers += 1;
        self.listeners.store(state.subscribers, Ordering::SeqCst);
        let taken = Mutex::new(Taken { events: VecDeque::new(), place });
        Subscription { hub: Arc::clone(self), id: state.ids, detail, taken }
    }

    #[inline]
    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::SeqCst) != 0
    }

    /// How many listen, and how many events are kept for them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.subscribers, state.events.len())
    }

    /// Bytes of memory of the events and of the old rows in them. The new rows are the table's, or older ones.
    pub(crate) fn memory_bytes(&self) -> usize {
        let state = self.state.lock();
        state.events.capacity() * size_of::<Event>() + state.old_bytes
    }

    /// Gives a change to everybody. Called under the key's write lock, so changes of one key come in commit order.
    pub(crate) fn emit(&self, mut event: Event) {
        let mut state = self.state.lock();
        if state.is_deserted() {
            return;
        }
        state.last += 1;
        event.sequence = state.last;
        state.push(event);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Takes events that come behind a place; says what is to be told before them.
    pub(super) fn refill(
        &self,
        id: u64,
        detail: EventDetail,
        place: &mut Place,
        into: &mut VecDeque<Event>,
        waker: Option<&Waker>,
    ) -> Option<Heard> {
        let mut state = self.state.lock();
        let first = state.events.front().map_or(state.last + 1, |event| event.sequence);
        let missed = first.saturating_sub(place.after + 1);
        if missed > 0 {
            place.after += missed;
            return Some(Heard::Missed(missed));
        }
        let (mut bytes, end) = (0, state.end_of(id));
        for event in state.events.range((place.after + 1 - first) as usize..) {
            let is_behind_end = end.is_some_and(|last| event.sequence > last);
            if is_behind_end || into.len() >= EVENTS_TAKEN_AT_ONCE || bytes >= EVENTS_TAKEN_BYTES {
                break;
            }
            if event.commit_ts <= place.behind {
                continue;
            }
            let mut event = event.clone();
            bytes += bytes_of(&event).0;
            event.old = event.old.filter(|_| detail == EventDetail::WithOldRows);
            into.push_back(event);
        }
        if !into.is_empty() {
            return None;
        }
        // All that is there was to be left out.
        if end.is_some() {
            return Some(Heard::Ended);
        }
        place.after = state.last;
        let before = waker.and_then(|waker| {
            let before = state.take_waker(id);
            state.waiting.push((id, waker.clone()));
            before
        });
        // Without the lock: it may be the last of a task that has a subscription of its own.
        drop(state);
        drop(before);
        None
    }

    /// A subscriber that goes will be back.
    pub(super) fn pause(&self) {
        self.state.lock().awaited = Awaited::Newly;
    }

    /// A subscriber is gone.
    pub(super) fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        state.subscribers -= 1;
        let waker = state.take_waker(id);
        self.forget_if_deserted(&mut state);
        drop(state);
        drop(waker);
    }

    /// Waits no longer for who did not come back. To be called now and then.
    pub(crate) fn tick(&self, wall_ms: u64) {
        if !self.has_listeners() {
            return;
        }
        let mut state = self.state.lock();
        match state.awaited {
            Awaited::Nobody => return,
            Awaited::Newly => state.awaited = Awaited::Since(wall_ms),
            Awaited::Since(since) if wall_ms.saturating_sub(since) >= EVENTS_AWAIT_MS => {
                state.awaited = Awaited::Nobody;
            }
            Awaited::Since(_) => return,
        }
        self.forget_if_deserted(&mut state);
    }

    fn forget_if_deserted(&self, state: &mut State) {
        if state.is_deserted() {
            state.events = VecDeque::new();
            (state.bytes, state.old_bytes) = (0, 0);
            state.ends.clear();
        }
        let awaited = usize::from(state.awaited != Awaited::Nobody);
        self.listeners.store(state.subscribers.max(awaited), Ordering::SeqCst);
    }

    /// Nothing more comes for who listens now: everybody is told, behind what there is, and no place of before is known any more.
    pub(crate) fn end(&self) {
        if !self.has_listeners() {
            return;
        }
        let mut state = self.state.lock();
        let end = (state.ids, state.last);
        state.ends.push(end);
        state.stream += 1;
        state.awaited = Awaited::Nobody;
        self.forget_if_deserted(&mut state);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl State {
    fn is_deserted(&self) -> bool {
        self.subscribers == 0 && self.awaited == Awaited::Nobody
    }

    /// The number of the last event that comes for one who listens, where nothing comes behind it.
    fn end_of(&self, id: u64) -> Option<u64> {
        self.ends.iter().find(|(ids, _)| id <= *ids).map(|(_, last)| *last)
    }

    fn take_waker(&mut self, id: u64) -> Option<Waker> {
        let at = self.waiting.iter().position(|(other, _)| *other == id)?;
        Some(self.waiting.swap_remove(at).1)
    }

    fn push(&mut self, event: Event) {
        let (bytes, old_bytes) = bytes_of(&event);
        self.bytes += bytes;
        self.old_bytes += old_bytes;
        self.events.push_back(event);
        while self.events.len() > EVENTS_KEPT_MAX || self.bytes > EVENTS_BYTES_MAX {
            // The last one goes too when it alone is too large: its number says that it was there.
            let Some(event) = self.events.pop_front() else { break };
            let (bytes, old_bytes) = bytes_of(&event);
            self.bytes -= bytes;
            self.old_bytes -= old_bytes;
        }
    }
}

/// Bytes that an event keeps in memory, and those of its old rows.
fn bytes_of(event: &Event) -> (usize, usize) {
    let rows = |body: &Option<Body>| body.as_ref().map_or(0, Body::bytes);
    let old = rows(&event.old);
    (size_of::<Event>() + event.key.heap_bytes() + rows(&event.new) + old, old)
}
