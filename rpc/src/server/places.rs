//! Places: whatever pins a snapshot or locks for a client takes one of the member's and one of its connection's. A connection
//! has half of the member's of each sort, so that no client alone keeps the others out. Both come back together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::futures::TaskLocalFuture;

use super::deadline::Deadline;
use crate::errors::{Error, ErrorKind};
use crate::limits::{
    BLOCKING_CALLS_MAX, BLOCKING_CALLS_PER_CONNECTION, INTERACTIVE_MAX, INTERACTIVE_PER_CONNECTION,
    TIMEOUT_DEFAULT, WATCHES_MAX, WATCHES_PER_CONNECTION,
};
use crate::proto;

/// Of a member, or of a connection.
pub(super) struct Places {
    /// Threads for scans and queries.
    blocking: Arc<Semaphore>,
    interactive: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

/// The places of one connection.
#[derive(Clone)]
pub(super) struct Share(Arc<Places>);

/// Given back when dropped.
pub(super) struct Place {
    _of_member: OwnedSemaphorePermit,
    _of_connection: OwnedSemaphorePermit,
}

tokio::task_local! {
    /// Of the connection whose call is being worked on.
    static SHARE: Share;
}

impl Share {
    pub(super) fn new() -> Share {
        Share(Arc::new(Places::new(
            BLOCKING_CALLS_PER_CONNECTION,
            INTERACTIVE_PER_CONNECTION,
            WATCHES_PER_CONNECTION,
        )))
    }

    /// That of the call this is part of: to be kept by what goes on behind it on another task.
    pub(super) fn of_call() -> Share {
        SHARE.try_with(Share::clone).unwrap_or_else(|_| Share::new())
    }

    /// A call of this connection.
    pub(super) fn during<F: Future>(self, call: F) -> TaskLocalFuture<Share, F> {
        SHARE.scope(self, call)
    }
}

impl Places {
    pub(super) fn of_member() -> Places {
        Places::new(BLOCKING_CALLS_MAX, INTERACTIVE_MAX, WATCHES_MAX)
    }

    fn new(blocking: usize, interactive: usize, watches: usize) -> Places {
        let places = |count| Arc::new(Semaphore::new(count));
        Places { blocking: places(blocking), interactive: places(interactive), watches: places(watches) }
    }

    /// A place among the scans and queries; waits for one as long as the call may take.
    pub(super) async fn thread(&self, by: Deadline) -> Result<Place, Error> {
        let share = Share::of_call();
        let both = async {
            // The connection's first: who waits for that keeps nobody else out.
            let of_connection = Arc::clone(&share.0.blocking).acquire_owned().await;
            (of_connection, Arc::clone(&self.blocking).acquire_owned().await)
        };
        match tokio::time::timeout(by.time(TIMEOUT_DEFAULT), both).await {
            Ok((Ok(of_connection), Ok(of_member))) => {
                Ok(Place { _of_member: of_member, _of_connection: of_connection })
            }
            _ => {
                Err(full("scans and queries are running", BLOCKING_CALLS_MAX, BLOCKING_CALLS_PER_CONNECTION))
            }
        }
    }

    /// A place among the interactive transactions.
    pub(super) fn interactive(&self, share: &Share) -> Result<Place, Error> {
        let place = taken(&self.interactive, &share.0.interactive);
        place.ok_or_else(|| {
            full("interactive transactions are open", INTERACTIVE_MAX, INTERACTIVE_PER_CONNECTION)
        })
    }

    /// A place among the watches.
    pub(super) fn watch(&self) -> Result<Place, Error> {
        let place = taken(&self.watches, &Share::of_call().0.watches);
        place.ok_or_else(|| full("watches are open", WATCHES_MAX, WATCHES_PER_CONNECTION))
    }

    /// What is taken of a member's places, and how many there are.
    pub(super) fn counts(&self) -> (u64, u64, u64, proto::ClientBounds) {
        let taken = |most: usize, places: &Semaphore| (most - places.available_permits().min(most)) as u64;
        let bounds = proto::ClientBounds {
            streams: BLOCKING_CALLS_MAX as u64,
            interactive: INTERACTIVE_MAX as u64,
            watches: WATCHES_MAX as u64,
            streams_per_connection: BLOCKING_CALLS_PER_CONNECTION as u64,
            interactive_per_connection: INTERACTIVE_PER_CONNECTION as u64,
            watches_per_connection: WATCHES_PER_CONNECTION as u64,
        };
        (
            taken(BLOCKING_CALLS_MAX, &self.blocking),
            taken(INTERACTIVE_MAX, &self.interactive),
            taken(WATCHES_MAX, &self.watches),
            bounds,
        )
    }
}

fn taken(of_member: &Arc<Semaphore>, of_connection: &Arc<Semaphore>) -> Option<Place> {
    let of_connection = Arc::clone(of_connection).try_acquire_owned().ok()?;
    let of_member = Arc::clone(of_member).try_acquire_owned().ok()?;
    Some(Place { _of_member: of_member, _of_connection: of_connection })
}

fn full(what: &str, most: usize, most_of_one: usize) -> Error {
    let text = format!("too many {what}: {most_of_one} at a time on a connection, {most} on this member");
    Error::new(ErrorKind::Limit, text)
}
