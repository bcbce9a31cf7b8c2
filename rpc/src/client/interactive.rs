//! An interactive transaction: step by step over a stream, for work whose writes depend on what it read.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::connection::Timed;
use super::{Change, Changed, Row, Scan, TransactionId, TransactionOptions, Values, values};
use crate::proto::transactions_client::TransactionsClient;
use crate::proto::{self, execute_response::Part, interact_request::Step, interact_response::Answer};
use crate::{Error, ErrorKind};

/// A transaction that is open at the server. Dropping it aborts it there, with all locks freed at once. The server ends it
/// by itself when it is idle for 10 s or 60 s old: the next step then fails with [`ErrorKind::Expired`].
///
/// ```no_run
/// use hypermnesia_rpc::Value;
/// use hypermnesia_rpc::client::{Client, TransactionOptions};
///
/// # async fn example(client: Client) -> Result<(), hypermnesia_rpc::Error> {
/// let mut tx = client.begin(TransactionOptions::new()).await?;
/// let visits = match tx.get_for_update("visits", "ada").await?.first() {
///     Some(row) => match row[1] { Value::Int(n) => n, _ => 0 },
///     None => 0,
/// };
/// tx.put("visits", ("ada", visits + 1)).await?;
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Interactive {
    requests: mpsc::Sender<proto::InteractRequest>,
    answers: Streaming<proto::InteractResponse>,
    transaction: Option<TransactionId>,
    next_id: u64,
    ended: bool,
}

impl Interactive {
    pub(super) async fn begin(
        mut client: TransactionsClient<Timed>,
        options: TransactionOptions,
    ) -> Result<Interactive, Error> {
        let (requests, outgoing) = mpsc::channel(1);
        let begin = proto::InteractRequest { id: 1, step: Some(Step::Begin(options.into_message())) };
        requests.send(begin).await.map_err(|_| broken())?;
        let answers = client.interact(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut opened = Interactive { requests, answers, transaction: None, next_id: 2, ended: false };
        match opened.answer(1).await? {
            Answer::Began(began) => opened.transaction = began.transaction,
            other => return Err(unexpected(&other)),
        }
        Ok(opened)
    }

    /// Its identity, where the server has chosen it already.
    pub fn id(&self) -> Option<TransactionId> {
        self.transaction
    }

    /// All rows of a key, own writes included.
    pub async fn get(&mut self, table: impl Into<String>, key: impl Into<Values>) -> Result<Vec<Row>, Error> {
        self.read(Step::Get(proto::Read { table: table.into(), key: Some(key.into().into()) })).await
    }

    /// All rows of a key, locked: nobody else writes them before this transaction ends.
    pub async fn get_for_update(
        &mut self,
        table: impl Into<String>,
        key: impl Into<Values>,
    ) -> Result<Vec<Row>, Error> {
        self.read(Step::GetForUpdate(proto::Read { table: table.into(), key: Some(key.into().into()) })).await
    }

    /// The rows of a range, own writes included.
    pub async fn scan(&mut self, table: impl Into<String>, scan: Scan) -> Result<Vec<Row>, Error> {
        self.rows_in_parts(Step::Scan(scan.into_message(table.into()))).await
    }

    pub(super) async fn rows_in_parts(&mut self, step: Step) -> Result<Vec<Row>, Error> {
        let id = self.send(step).await?;
        let mut rows = Vec::new();
        loop {
            match self.answer(id).await? {
                Answer::Scan(part) => {
                    rows.extend(values::rows(part.rows)?);
                    if part.last {
                        return Ok(rows);
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    pub(super) async fn matched(&mut self, step: Step) -> Result<u64, Error> {
        let id = self.send(step).await?;
        match self.answer(id).await? {
            Answer::Matched(matched) => Ok(matched.rows),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a row when it commits.
    pub async fn put(&mut self, table: impl Into<String>, row: impl Into<Values>) -> Result<(), Error> {
        self.change(Change::put(table, row)).await.map(drop)
    }

    /// Deletes all rows of a key when it commits.
    pub async fn delete(&mut self, table: impl Into<String>, key: impl Into<Values>) -> Result<(), Error> {
        self.change(Change::delete(table, key)).await.map(drop)
    }

    /// Deletes one row of a bag when it commits.
    pub async fn delete_row(
        &mut self,
        table: impl Into<String>,
        row: impl Into<Values>,
    ) -> Result<(), Error> {
        self.change(Change::delete_row(table, row)).await.map(drop)
    }

    /// Makes any change when it commits; says now what it does then.
    pub async fn change(&mut self, change: Change) -> Result<Changed, Error> {
        let id = self.send(Step::Write(change.into_message())).await?;
        match self.answer(id).await? {
            Answer::Buffered(buffered) => Changed::from_message(buffered.result.unwrap_or_default()),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a statement inside the transaction: its rows, or for INSERT, UPDATE, DELETE none. Second: the number of rows
    /// found or changed.
    pub async fn query(
        &mut self,
        statement: impl Into<String>,
        parameters: impl Into<Values>,
    ) -> Result<(Vec<Row>, u64), Error> {
        let parameters = crate::value::into_messages(parameters.into().0);
        let request = proto::ExecuteRequest { statement: statement.into(), parameters, timeout_ms: 0 };
        let id = self.send(Step::Query(request)).await?;
        let mut rows = Vec::new();
        loop {
            match self.answer(id).await? {
                Answer::Query(proto::ExecuteResponse { part: Some(part) }) => match part {
                    Part::Header(_) => {}
                    Part::Batch(batch) => rows.extend(values::rows(batch.rows)?),
                    Part::Summary(summary) => return Ok((rows, summary.rows)),
                },
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Commits: returns the commit's timestamp, 0 when nothing was written.
    pub async fn commit(mut self) -> Result<u64, Error> {
        let id = self.send(Step::Commit(proto::Commit {})).await?;
        match self.answer(id).await.map_err(|error| self.unknown_if_broken(error))? {
            Answer::Committed(committed) => Ok(committed.committed_at),
            other => Err(unexpected(&other)),
        }
    }

    /// Aborts, and returns when the server has freed everything.
    pub async fn abort(mut self) -> Result<(), Error> {
        let id = self.send(Step::Abort(proto::Abort {})).await?;
        match self.answer(id).await? {
            Answer::Aborted(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// All rows of a key, with its version: 0 where there are none or this transaction has written it.
    pub async fn get_versioned(
        &mut self,
        table: impl Into<String>,
        key: impl Into<Values>,
    ) -> Result<(Vec<Row>, u64), Error> {
        self.found(Step::Get(proto::Read { table: table.into(), key: Some(key.into().into()) })).await
    }

    pub(super) async fn read(&mut self, step: Step) -> Result<Vec<Row>, Error> {
        self.found(step).await.map(|(rows, _)| rows)
    }

    async fn found(&mut self, step: Step) -> Result<(Vec<Row>, u64), Error> {
        let id = self.send(step).await?;
        match self.answer(id).await? {
            Answer::Rows(found) => Ok((values::rows(found.rows)?, found.version)),
            other => Err(unexpected(&other)),
        }
    }

    async fn send(&mut self, step: Step) -> Result<u64, Error> {
        if self.ended {
            return Err(Error::new(ErrorKind::Expired, "the transaction is over"));
        }
        let id = self.next_id;
        self.next_id += 1;
        // A closed channel means that the server has ended the stream: the reason waits among the answers.
        let _ = self.requests.send(proto::InteractRequest { id, step: Some(step) }).await;
        Ok(id)
    }

    /// The next answer to a step. Answers to earlier steps whose rest nobody waits for any more are passed over.
    async fn answer(&mut self, id: u64) -> Result<Answer, Error> {
        loop {
            let response = match self.answers.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Err(self.ended_by(broken())),
                Err(status) => return Err(self.ended_by(status.into())),
            };
            match response.answer {
                Some(Answer::Failed(failed)) if response.id == id || response.id == 0 => {
                    self.ended |= failed.ended;
                    return Err(failed.error.unwrap_or_default().into());
                }
                Some(answer) if response.id == id => return Ok(answer),
                _ => {}
            }
        }
    }

    fn ended_by(&mut self, error: Error) -> Error {
        self.ended = true;
        error
    }

    /// A stream that broke after the commit was sent leaves its outcome open.
    fn unknown_if_broken(&self, error: Error) -> Error {
        if error.changed_nothing() || error.kind() == ErrorKind::OutcomeUnknown {
            return error;
        }
        let unknown = Error::new(ErrorKind::OutcomeUnknown, format!("no answer to the commit: {error}"));
        match self.transaction {
            Some(transaction) => unknown.with_transaction(transaction),
            None => unknown,
        }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Cancelled, "the server ended the stream")
}

fn unexpected(answer: &Answer) -> Error {
    Error::new(ErrorKind::Internal, format!("an answer of another kind than the step: {answer:?}"))
}
