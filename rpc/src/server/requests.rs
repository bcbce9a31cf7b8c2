//! What became of requests that carry a request id, so that one that is sent again is answered and not done again. Kept in
//! the memory of this process: who asks another member, or asks after a restart, is not protected.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Mutex as TaskMutex, OwnedMutexGuard};

use hypermnesia::TxId;

use crate::errors::{Error, ErrorKind};
use crate::limits::{REQUEST_ID_BYTES_MAX, REQUEST_ID_KEPT, REQUEST_IDS_KEPT_MAX};
use crate::proto;

/// What is known of one request.
#[derive(Clone, Debug, Default)]
pub(super) enum Known {
    /// Nothing was done yet, or what was begun has certainly changed nothing.
    #[default]
    Nothing,
    /// It was done, with this answer.
    Done(proto::TransactResponse),
    /// It was begun, and its outcome was not known.
    Unknown(TxId, String),
}

/// One request, held by whoever works on it: a second sender of the same id waits here.
pub(super) type Claim = OwnedMutexGuard<Known>;

struct Entry {
    /// A hash of the request, so that an id used for two different requests is refused.
    digest: u64,
    known: Arc<TaskMutex<Known>>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// Ids in the order in which they came.
    order: VecDeque<(Instant, String)>,
}

/// See the file's header.
#[derive(Default)]
pub(super) struct Requests {
    /// Guards lookups and inserts, for their time only; work on a request holds its own lock.
    table: Mutex<Table>,
}

impl Requests {
    /// Claims a request id; waits while another call works on it.
    pub(super) async fn claim(&self, id: &str, digest: u64) -> Result<Claim, Error> {
        if id.len() > REQUEST_ID_BYTES_MAX {
            let message = format!("longer than {REQUEST_ID_BYTES_MAX} bytes");
            return Err(Error::invalid("options.request_id", message));
        }
        let known = self.entry(id, digest)?;
        Ok(known.lock_owned().await)
    }

    fn entry(&self, id: &str, digest: u64) -> Result<Arc<TaskMutex<Known>>, Error> {
        let mut table = self.table();
        table.forget_old(Instant::now());
        if let Some(entry) = table.entries.get(id) {
            if entry.digest != digest {
                return Err(Error::invalid("options.request_id", "was used for another request"));
            }
            return Ok(Arc::clone(&entry.known));
        }
        if table.entries.len() >= REQUEST_IDS_KEPT_MAX {
            return Err(Error::new(ErrorKind::Limit, "too many request ids within 10 minutes"));
        }
        let known = Arc::new(TaskMutex::new(Known::Nothing));
        table.entries.insert(id.to_owned(), Entry { digest, known: Arc::clone(&known) });
        table.order.push_back((Instant::now(), id.to_owned()));
        Ok(known)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_old(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            if now.duration_since(*since) < REQUEST_ID_KEPT {
                return;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.entries.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: a request id is one piece of work. Method: claim it from two tasks, with the same and with another request.

    use super::*;

    #[tokio::test]
    async fn the_second_sender_waits_and_sees_the_first_outcome() {
        let requests = Arc::new(Requests::default());
        let mut first = requests.claim("a", 1).await.expect("free");
        let second = tokio::spawn({
            let requests = Arc::clone(&requests);
            async move { requests.claim("a", 1).await.expect("the same request").clone() }
        });
        *first = Known::Done(proto::TransactResponse { committed_at: 7, ..Default::default() });
        drop(first);
        assert!(
            matches!(second.await.expect("no panic"), Known::Done(response) if response.committed_at == 7)
        );
    }

    #[tokio::test]
    async fn an_id_is_not_used_for_two_requests() {
        let requests = Requests::default();
        drop(requests.claim("a", 1).await.expect("free"));
        assert_eq!(
            requests.claim("a", 2).await.expect_err("other request").field(),
            Some("options.request_id")
        );
        assert_eq!(
            requests.claim(&"a".repeat(129), 1).await.expect_err("too long").kind(),
            ErrorKind::Invalid
        );
    }
}
