//! What happens, for those who want to know: changes of tables, and changes of the node's place in the cluster. A slow
//! listener loses the oldest and is told how many; nobody waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hypermnesia_replication::Peer;
use hypermnesia_replication::{Event as ReplicaEvent, Outcome};
pub use hypermnesia_store::event::{Event as TableEvent, EventDetail, Heard};
use hypermnesia_store::{NodeId, TableId, Timestamp, TxId};
use parking_lot::Mutex;

use crate::limits::SUBSCRIPTION_EVENTS;
use crate::wait::{Parker, deadline_in};

mod position;

pub use position::{EventPosition, NotAPosition};

/// Changes of one table from the moment of subscribing, in commit order, each once. Dropping it ends it; [`Subscription::pause`]
/// ends it for a while. A subscriber that is more than 65,536 changes or 64 MiB of rows behind is told how many it missed and
/// goes on with the oldest there is; nobody waits for it.
///
/// ```
/// use std::time::Duration;
/// use hypermnesia::{EventDetail, Heard, Node, TableDef, Type, Value};
///
/// let node = Node::builder().build()?;
/// let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int))?;
/// let changes = notes.subscribe(EventDetail::WithOldRows)?;
/// notes.insert(&[Value::Int(7)])?;
/// let Some(Heard::Event(event)) = changes.next_within(Duration::from_secs(1)) else { panic!("no event") };
/// assert_eq!((event.old, event.new.map(|body| body.rows().len())), (None, Some(1)));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    inner: hypermnesia_store::event::Subscription,
    /// Of the process and the table.
    origin: EventPosition,
}

impl Subscription {
    pub(crate) fn new(
        me: Peer,
        table: TableId,
        inner: hypermnesia_store::event::Subscription,
    ) -> Subscription {
        let Peer { node, incarnation } = me;
        let origin = EventPosition { node, incarnation, table, place: inner.place() };
        Subscription { inner, origin }
    }

    /// Where it stands: behind the change that was taken last.
    pub fn position(&self) -> EventPosition {
        EventPosition { place: self.inner.place(), ..self.origin }
    }

    /// Ends it, and says where to go on with [`Table::subscribe_from`](crate::Table::subscribe_from). The changes from here on are
    /// kept for a minute, as many as are kept for a slow subscriber.
    pub fn pause(self) -> EventPosition {
        EventPosition { place: self.inner.pause(), ..self.origin }
    }

    /// Leaves out what was committed up to this point, from now on.
    pub(crate) fn skip_to(&self, seen: Timestamp) {
        self.inner.skip_to(seen);
    }

    /// The next event, if one is there.
    pub fn try_next(&self) -> Option<Heard> {
        self.inner.next()
    }

    /// The next event; parks the thread until one comes or the time is over.
    pub fn next_within(&self, time: Duration) -> Option<Heard> {
        park_for(deadline_in(time), |waker| self.inner.poll(waker))
    }

    /// The next event.
    pub async fn next(&self) -> Heard {
        poll_fn(|context| self.inner.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }
}

fn park_for<T>(deadline: Instant, mut poll: impl FnMut(&Waker) -> Option<T>) -> Option<T> {
    let parker = Parker::current();
    loop {
        if let Some(found) = poll(parker.waker()) {
            return Some(found);
        }
        if !parker.park_until(deadline) {
            return poll(parker.waker());
        }
    }
}

/// Something that happened to the node or the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// About epochs and loading.
    Cluster(ReplicaEvent),
    /// Another member is connected.
    MemberUp(NodeId),
    /// Another member is not connected any more.
    MemberDown(NodeId),
    /// A transaction whose caller was told "unknown" has an outcome now.
    Settled {
        /// The transaction.
        txid: TxId,
        /// What became of it.
        outcome: Outcome,
    },
    /// The listener was too slow: so many events were dropped before the next one.
    Missed(u64),
    /// The node was closed: nothing comes any more. Said again whenever it is asked.
    Ended,
}

/// Events of the node, from the moment of subscribing. Dropping it ends it.
pub struct SystemEvents {
    ring: Arc<Ring>,
}

#[derive(Default)]
struct Ring {
    /// Guards events and waker; held for a push or a pop.
    state: Mutex<RingState>,
}

#[derive(Default)]
struct RingState {
    events: VecDeque<SystemEvent>,
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

impl SystemEvents {
    /// The next event, if one is there.
    pub fn try_next(&self) -> Option<SystemEvent> {
        self.ring.pop(None)
    }

    /// The next event; parks the thread until one comes or the time is over.
    pub fn next_within(&self, time: Duration) -> Option<SystemEvent> {
        park_for(deadline_in(time), |waker| self.ring.pop(Some(waker)))
    }

    /// The next event.
    pub async fn next(&self) -> SystemEvent {
        poll_fn(|context| self.ring.pop(Some(context.waker())).map_or(Poll::Pending, Poll::Ready)).await
    }
}

impl Ring {
    fn pop(&self, waker: Option<&Waker>) -> Option<SystemEvent> {
        let mut state = self.state.lock();
        if state.missed > 0 {
            return Some(SystemEvent::Missed(std::mem::take(&mut state.missed)));
        }
        let event = state.events.pop_front().or(state.ended.then_some(SystemEvent::Ended));
        if event.is_none() {
            state.waker = waker.cloned();
        }
        event
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn push(&self, event: SystemEvent) {
        let mut state = self.state.lock();
        if state.events.len() >= SUBSCRIPTION_EVENTS {
            state.events.pop_front();
            state.missed += 1;
        }
        state.events.push_back(event);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// All listeners of a node.
#[derive(Default)]
pub(crate) struct Bus {
    /// Held for a push or a sweep. A leaf but for the rings.
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    rings: Vec<Weak<Ring>>,
    /// Nothing comes any more.
    ended: bool,
}

impl Bus {
    pub(crate) fn subscribe(&self) -> SystemEvents {
        let ring = Arc::new(Ring::default());
        let mut listeners = self.listeners.lock();
        // Those that went are forgotten here too, where nothing happens for long.
        listeners.rings.retain(|ring| ring.strong_count() > 0);
        listeners.rings.push(Arc::downgrade(&ring));
        if listeners.ended {
            ring.end();
        }
        drop(listeners);
        SystemEvents { ring }
    }

    /// Something happened to the replica.
    pub(crate) fn happened(&self, event: ReplicaEvent) {
        tracing::info!(?event, "cluster");
        self.tell(&SystemEvent::Cluster(event));
    }

    /// The connection to another member came or went.
    pub(crate) fn connected(&self, member: NodeId, up: bool) {
        self.tell(&if up { SystemEvent::MemberUp(member) } else { SystemEvent::MemberDown(member) });
    }

    /// A transaction in doubt was settled.
    pub(crate) fn settled(&self, txid: TxId, outcome: Outcome) {
        self.tell(&SystemEvent::Settled { txid, outcome });
    }

    /// The node was closed.
    pub(crate) fn end(&self) {
        let mut listeners = self.listeners.lock();
        listeners.ended = true;
        listeners.rings.iter().filter_map(Weak::upgrade).for_each(|ring| ring.end());
    }

    fn tell(&self, event: &SystemEvent) {
        self.listeners
            .lock()
            .rings
            .retain(|ring| ring.upgrade().map(|ring| ring.push(event.clone())).is_some());
    }
}
