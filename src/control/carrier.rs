//! Carries requests of the consensus over the connections between members, and their answers back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::word::Word;
use crate::core::Core;
use crate::plane::{RaftId, Reply, Unreachable, Voter, Wire};

/// Requests that wait for their answer, by number. Each leaves when its answer came or nobody waits for it any more.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>>;

/// See the file's header.
pub(super) struct Carrier {
    /// Not for good: the core holds what holds this.
    core: Weak<Core>,
    next: AtomicU64,
    waiting: Waiting,
}

impl Carrier {
    pub(super) fn new(core: &Arc<Core>) -> Carrier {
        Carrier { core: Arc::downgrade(core), next: AtomicU64::new(1), waiting: Waiting::default() }
    }

    /// An answer came. One that nobody waits for was too late.
    pub(super) fn answered(&self, id: u64, bytes: Vec<u8>) {
        if let Some(waits) = self.waiting.lock().remove(&id) {
            drop(waits.send(bytes));
        }
    }
}

/// Forgets a request that nobody waits for any more.
struct Place {
    id: u64,
    waiting: Waiting,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

impl Wire for Carrier {
    fn send(&self, _: RaftId, voter: &Voter, request: Vec<u8>) -> Reply {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, comes) = oneshot::channel();
        self.waiting.lock().insert(id, answer);
        let place = Place { id, waiting: Arc::clone(&self.waiting) };
        let word = Word::Request { id, bytes: request };
        let said = self.core.upgrade().is_some_and(|core| core.say(voter.node, &word));
        let name = voter.name.clone();
        Box::pin(async move {
            let _place = place;
            if !said {
                return Err(Unreachable(format!("{name} is not connected")));
            }
            comes.await.map_err(|_| Unreachable(format!("{name} was asked and this node stops")))
        })
    }
}
