//! Changes of a table as its subscribers see them: in the order in which conflicting transactions committed, numbered, from
//! one bounded list that all subscribers of the table read at their own pace (`hub`). A slow subscriber loses the oldest and is
//! told how many; nobody waits for it. Whoever says where it stands can go on from there later, as long as the list reaches
//! back that far.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::ids::{SchemaVersion, TableId};
use crate::key::Key;
use crate::row::{Body, Row};
use crate::schema::TableDef;

mod hub;

pub(crate) use hub::Hub;

/// One key of a table changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The table.
    pub table: TableId,
    /// Counts the table's events while anybody listens: without gaps, but for those that a snapshot has shown to who listens
    /// behind one.
    pub sequence: u64,
    /// The commit it belongs to.
    pub commit_ts: Timestamp,
    /// The key.
    pub key: Key,
    /// The definition whose attributes the new rows have: that in force, or the next one where the change came with it.
    pub form: SchemaVersion,
    /// That of the old rows.
    pub old_form: SchemaVersion,
    /// What the key holds now; nothing when it was deleted.
    pub new: Option<Body>,
    /// What it held before; only with [`EventDetail::WithOldRows`].
    pub old: Option<Body>,
}

impl Event {
    /// A change of a key, not numbered yet.
    pub(crate) fn of(
        def: &TableDef,
        commit_ts: Timestamp,
        key: &Key,
        old: Option<Body>,
        new: Option<Body>,
    ) -> Event {
        let rows = new.as_ref().map_or(&[][..], Body::rows);
        let form = rows.iter().map(Row::version).fold(def.version, SchemaVersion::max);
        let (table, old_form, key) = (def.id, def.version, key.clone());
        Event { table, sequence: 0, commit_ts, key, form, old_form, new, old }
    }
}

/// What a subscriber gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A change.
    Event(Event),
    /// It was too slow: this many events before the next one were dropped.
    Missed(u64),
    /// The table was dropped, or the node was closed: nothing comes any more. Said again whenever it is asked.
    Ended,
}

/// How much an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventDetail {
    /// The new rows.
    Simple,
    /// The old rows too.
    WithOldRows,
}

/// Where a subscription stands: behind which event, of which run of events without a break. Means something to the hub it came
/// from only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counts the times that a table began to be listened to.
    pub stream: u32,
    /// The last event that was taken; 0 before the first.
    pub after: u64,
    /// Changes committed up to here are left out: they were seen in a snapshot.
    pub behind: Timestamp,
}

/// One listener. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    /// Tells it from the others of its hub.
    id: u64,
    detail: EventDetail,
    /// Held while events are taken; before the hub's.
    taken: Mutex<Taken>,
}

/// What was taken out of the hub, some at a time.
#[derive(Debug)]
struct Taken {
    events: VecDeque<Event>,
    place: Place,
}

impl Subscription {
    /// The next event, if one is there.
    pub fn next(&self) -> Option<Heard> {
        self.take(None)
    }

    /// The next event, or a promise to call the waker when one comes. It is called with a lock of the store held, so it may
    /// say that there is something to do, as those of runtimes do, and must not do it at once.
    pub fn poll(&self, waker: &Waker) -> Option<Heard> {
        self.take(Some(waker))
    }

    /// Where it stands: behind what was taken last.
    pub fn place(&self) -> Place {
        self.taken.lock().place
    }

    /// Leaves out what was committed up to here, from now on.
    pub fn skip_to(&self, behind: Timestamp) {
        let mut taken = self.taken.lock();
        taken.place.behind = behind;
        taken.events.retain(|event| event.commit_ts > behind);
    }

    /// Ends it and says where it stood. What happens from now on is kept for who comes back to that place, within the
    /// bounds and for as long as [`crate::limits::EVENTS_AWAIT_MS`] says.
    pub fn pause(self) -> Place {
        self.hub.pause();
        self.place()
    }

    fn take(&self, waker: Option<&Waker>) -> Option<Heard> {
        let mut taken = self.taken.lock();
        let Taken { events, place } = &mut *taken;
        if events.is_empty()
            && let Some(told) = self.hub.refill(self.id, self.detail, place, events, waker)
        {
            return Some(told);
        }
        let event = events.pop_front()?;
        place.after = event.sequence;
        Some(Heard::Event(event))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}
