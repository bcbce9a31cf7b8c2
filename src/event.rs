//! What happens, for those who want to know: changes of tables, and changes of the node's place in the cluster. A slow
//! listener loses the oldest and is told how many; nobody waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use hypermnesia_replication::{Event as ReplicaEvent, Outcome};
use hypermnesia_store::TxId;
pub use hypermnesia_store::event::{Event as TableEvent, EventDetail, Heard};
use parking_lot::Mutex;

use crate::limits::SUBSCRIPTION_EVENTS;
use crate::wait::{Parker, deadline_in};

/// Changes of one table from the moment of subscribing, in commit order. Dropping it ends it.
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
}

impl Subscription {
    pub(crate) fn new(inner: hypermnesia_store::event::Subscription) -> Subscription {
        Subscription { inner }
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
    /// A transaction whose caller was told "unknown" has an outcome now.
    Settled {
        /// The transaction.
        txid: TxId,
        /// What became of it.
        outcome: Outcome,
    },
    /// The listener was too slow: so many events were dropped before the next one.
    Missed(u64),
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
        let event = state.events.pop_front();
        if event.is_none() {
            state.waker = waker.cloned();
        }
        event
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
    rings: Mutex<Vec<std::sync::Weak<Ring>>>,
}

impl Bus {
    pub(crate) fn subscribe(&self) -> SystemEvents {
        let ring = Arc::new(Ring::default());
        self.rings.lock().push(Arc::downgrade(&ring));
        SystemEvents { ring }
    }

    /// Something happened to the replica.
    pub(crate) fn happened(&self, event: ReplicaEvent) {
        tracing::info!(?event, "cluster");
        self.tell(&SystemEvent::Cluster(event));
    }

    /// A transaction in doubt was settled.
    pub(crate) fn settled(&self, txid: TxId, outcome: Outcome) {
        self.tell(&SystemEvent::Settled { txid, outcome });
    }

    fn tell(&self, event: &SystemEvent) {
        self.rings.lock().retain(|ring| ring.upgrade().map(|ring| ring.push(event.clone())).is_some());
    }
}
