//! Many small operations in flight on one stream. One task reads the answers and wakes whoever waits for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Row, Transact, Transacted, Values, values};
use crate::limits::OPERATIONS_IN_FLIGHT;
use crate::proto::operations_client::OperationsClient;
use crate::proto::{self, operate_request::Operation, operate_response::Answer};
use crate::{Error, ErrorKind};

type Waiter = oneshot::Sender<Result<Answer, Error>>;

/// A stream of operations. Cheap to clone; clones share the stream. At most 1,024 operations are in flight, more wait here.
/// Operations run side by side at the server: await one before sending what must come after it.
///
/// ```no_run
/// # async fn example(client: hypermnesia_rpc::client::Client) -> Result<(), hypermnesia_rpc::Error> {
/// let operations = client.operations().await?;
/// let (a, b) = tokio::join!(operations.put("visits", ("ada", 1)), operations.put("visits", ("bob", 1)));
/// a?;
/// b?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Operations {
    requests: mpsc::Sender<proto::OperateRequest>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    next_id: AtomicU64,
    /// Who waits for which answer. Held for one insert or remove; `None` once the stream has ended.
    waiting: Mutex<Option<HashMap<u64, Waiter>>>,
    in_flight: Semaphore,
}

impl Operations {
    pub(super) async fn open(mut client: OperationsClient<Channel>) -> Result<Operations, Error> {
        let (requests, outgoing) = mpsc::channel(OPERATIONS_IN_FLIGHT);
        let answers = client.operate(ReceiverStream::new(outgoing)).await?.into_inner();
        let shared = Arc::new(Shared {
            next_id: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            in_flight: Semaphore::new(OPERATIONS_IN_FLIGHT),
        });
        tokio::spawn(read_answers(answers, Arc::clone(&shared)));
        Ok(Operations { requests, shared })
    }

    /// All rows of a key.
    pub async fn get(&self, table: impl Into<String>, key: impl Into<Values>) -> Result<Vec<Row>, Error> {
        self.read(table.into(), key.into(), false).await
    }

    /// The newest committed rows of the connected member.
    pub async fn dirty_get(
        &self,
        table: impl Into<String>,
        key: impl Into<Values>,
    ) -> Result<Vec<Row>, Error> {
        self.read(table.into(), key.into(), true).await
    }

    /// Writes a row; returns the commit's timestamp.
    pub async fn put(&self, table: impl Into<String>, row: impl Into<Values>) -> Result<u64, Error> {
        self.write(table.into(), row.into(), false).await
    }

    /// Writes a row blindly.
    pub async fn dirty_put(&self, table: impl Into<String>, row: impl Into<Values>) -> Result<(), Error> {
        self.write(table.into(), row.into(), true).await.map(drop)
    }

    /// Deletes all rows of a key; returns the commit's timestamp.
    pub async fn delete(&self, table: impl Into<String>, key: impl Into<Values>) -> Result<u64, Error> {
        let request = proto::DeleteRequest {
            table: table.into(),
            key: Some(key.into().into()),
            row: None,
            dirty: false,
        };
        match self.run(Operation::Delete(request)).await? {
            Answer::Delete(response) => Ok(response.committed_at),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a whole transaction.
    pub async fn transact(&self, transaction: Transact) -> Result<Transacted, Error> {
        match self.run(Operation::Transact(transaction.into_message())).await? {
            Answer::Transact(response) => Transacted::from_message(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn read(&self, table: String, key: Values, dirty: bool) -> Result<Vec<Row>, Error> {
        let request = proto::GetRequest { table, key: Some(key.into()), dirty, attributes: Vec::new() };
        match self.run(Operation::Get(request)).await? {
            Answer::Get(response) => values::rows(response.rows),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(&self, table: String, row: Values, dirty: bool) -> Result<u64, Error> {
        let request = proto::PutRequest { table, row: Some(row.into()), dirty, lifetime: None };
        match self.run(Operation::Put(request)).await? {
            Answer::Put(response) => Ok(response.committed_at),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends any operation and waits for its answer.
    pub async fn run(&self, operation: Operation) -> Result<Answer, Error> {
        let _permit = self.shared.in_flight.acquire().await.map_err(|_| ended())?;
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (waiter, answer) = oneshot::channel();
        match self.shared.waiting().as_mut() {
            Some(waiting) => waiting.insert(id, waiter),
            None => return Err(ended()),
        };
        let request = proto::OperateRequest { id, operation: Some(operation) };
        if self.requests.send(request).await.is_err() {
            return Err(ended());
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiter>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands answers to those who wait; at the stream's end tells all of them that it has ended.
async fn read_answers(mut answers: Streaming<proto::OperateResponse>, shared: Arc<Shared>) {
    let reason = loop {
        match answers.message().await {
            Ok(Some(response)) => {
                let waiter = shared.waiting().as_mut().and_then(|waiting| waiting.remove(&response.id));
                if let Some(waiter) = waiter {
                    // Who has given up waiting does not want the answer.
                    let _ = waiter.send(outcome(response.answer));
                }
            }
            Ok(None) => break ended(),
            Err(status) => break Error::from(status),
        }
    };
    for (_, waiter) in shared.waiting().take().into_iter().flatten() {
        let _ = waiter.send(Err(reason.clone()));
    }
}

fn outcome(answer: Option<Answer>) -> Result<Answer, Error> {
    match answer {
        Some(Answer::Failed(error)) => Err(error.into()),
        Some(answer) => Ok(answer),
        None => Err(Error::new(ErrorKind::Internal, "an answer of a kind that this client does not know")),
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Cancelled, "the stream of operations has ended")
}

fn unexpected(answer: &Answer) -> Error {
    Error::new(ErrorKind::Internal, format!("an answer of another kind than the operation: {answer:?}"))
}
