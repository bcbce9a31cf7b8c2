//! Rows that are being computed because somebody asked for them and they were not there. Whoever asks first computes; all
//! others of this node wait for that one and share what came of it, the row or the error.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use hypermnesia_store::{Key, Row, TableId};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::limits::LOAD_LOOK;
use crate::wait::Parker;

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
            return Asked::Other(Arc::clone(load));
        }
        let load = Arc::new(Load::default());
        running.insert(place.clone(), Arc::clone(&load));
        Asked::First(Computing { loads: self, place, load, end: End::Abandoned })
    }
}

impl Computing<'_> {
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
    fn poll(&self, waker: &Waker) -> Option<Option<Result<Row>>> {
        let mut state = self.state.lock();
        match &state.0 {
            Some(End::Row(row)) => Some(Some(Ok(row.clone()))),
            Some(End::Failed(error)) => Some(Some(Err(error.clone()))),
            Some(End::Abandoned) => Some(None),
            None => {
                if !state.1.iter().any(|known| known.will_wake(waker)) {
                    state.1.push(waker.clone());
                }
                None
            }
        }
    }

    /// Parks the thread until it has ended; `None` when somebody else has to compute.
    pub(crate) fn wait(&self) -> Option<Result<Row>> {
        let parker = Parker::current();
        loop {
            if let Some(end) = self.poll(parker.waker()) {
                return end;
            }
            parker.park_until(Instant::now() + LOAD_LOOK);
        }
    }

    /// The same for a task.
    pub(crate) async fn heard(&self) -> Option<Result<Row>> {
        poll_fn(|context| self.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }
}
