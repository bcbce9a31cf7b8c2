//! Interactive transactions. One task per stream carries out the steps one after the other; it holds the transaction, so
//! that the end of the stream, of the time, or of the task frees every lock. While a step waits for a lock the task also
//! watches whether the client is still there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia::{AsyncTransaction, Kind, LockMode, Timestamp};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::convert;
use super::deadline::Deadline;
use super::door::{Door, found};
use super::places::{Place, Share};
use super::transact::options;
use crate::errors::{Error, ErrorKind};
use crate::limits::{AGE_MAX, IDLE_MAX, STREAM_BATCH_ROWS, STREAM_BATCHES_QUEUED};
use crate::proto::{
    self, InteractRequest, InteractResponse, interact_request::Step, interact_response::Answer,
};

/// The answers of a stream.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<InteractResponse, Status>> + Send>>;

/// An open transaction.
struct Open {
    tx: AsyncTransaction,
    since: Instant,
    /// When its waits end.
    until: Instant,
    _place: Place,
}

/// A query that still runs on a thread holds a handle too: it finds the transaction ended.
impl Drop for Open {
    fn drop(&mut self) {
        self.tx.abort();
    }
}

/// Nobody takes the answers any more.
struct Gone;

struct Session {
    door: Arc<Door>,
    answers: mpsc::Sender<Result<InteractResponse, Status>>,
    open: Option<Open>,
    /// Of the whole stream.
    by: Deadline,
    share: Share,
}

/// Serves one stream.
pub(super) fn run(door: &Arc<Door>, requests: Streaming<InteractRequest>, by: Deadline) -> Answers {
    let (answers, outgoing) = mpsc::channel(STREAM_BATCHES_QUEUED);
    let session = Session { door: Arc::clone(door), answers, open: None, by, share: Share::of_call() };
    tokio::spawn(session.serve(requests));
    Box::pin(ReceiverStream::new(outgoing))
}

impl Session {
    async fn serve(mut self, mut requests: Streaming<InteractRequest>) {
        loop {
            let request = match timeout(self.time_left(), requests.message()).await {
                Ok(Ok(Some(request))) => request,
                // Closed or broken: dropping the transaction aborts it.
                Ok(_) => return,
                Err(_) if self.open.is_some() => {
                    self.expire();
                    let why = Error::new(
                        ErrorKind::Expired,
                        "the interactive transaction was idle or open too long",
                    );
                    if self.fail(0, why, true).await.is_err() {
                        return;
                    }
                    continue;
                }
                // A stream without a transaction costs little, but not for ever.
                Err(_) => return,
            };
            let answers = self.answers.clone();
            let gone = tokio::select! {
                done = self.step(request) => done.is_err(),
                () = answers.closed() => true,
            };
            if gone {
                return;
            }
        }
    }

    /// How long the next step may be waited for.
    fn time_left(&self) -> Duration {
        match &self.open {
            Some(open) => IDLE_MAX.min(AGE_MAX.saturating_sub(open.since.elapsed())),
            None => AGE_MAX,
        }
    }

    fn expire(&mut self) {
        self.open = None;
    }

    async fn step(&mut self, request: InteractRequest) -> Result<(), Gone> {
        let id = request.id;
        let Some(step) = request.step.filter(|_| id != 0) else {
            let error = Error::invalid(if id == 0 { "id" } else { "step" }, "is required");
            return self.fail(id, error, self.open.is_none()).await;
        };
        let answer = match step {
            Step::Begin(wanted) => self.begin(wanted).await,
            Step::Commit(_) => self.commit().await,
            Step::Abort(_) => {
                self.expire();
                Ok(Answer::Aborted(proto::Aborted {}))
            }
            Step::Scan(request) => return self.scan(id, request).await,
            Step::Query(request) => return self.query(id, request).await,
            Step::Select(request) => {
                let rows = match self.tx() {
                    Ok(tx) => self.door.selected_inside(tx, request).await,
                    Err(error) => Err(error),
                };
                return self.parts(id, rows).await;
            }
            Step::Get(read) => self.read(read, None).await,
            Step::GetForUpdate(read) => self.read(read, Some(LockMode::Write)).await,
            Step::Write(write) => self.write(write).await,
            other => self.by_pattern(other).await,
        };
        match answer {
            Ok(answer) => self.answer(id, answer).await,
            Err(error) => self.failed(id, error).await,
        }
    }

    async fn begin(&mut self, wanted: proto::TransactionOptions) -> Result<Answer, Error> {
        if self.open.is_some() {
            return Err(Error::new(ErrorKind::Refused, "a transaction is open on this stream already"));
        }
        if !wanted.request_id.is_empty() {
            return Err(Error::invalid("begin.request_id", "is for one-shot transactions"));
        }
        let by = self.by.named(wanted.timeout_ms);
        self.door.loaded(by).await?;
        let (place, time) = (self.door.places.interactive(&self.share)?, by.time(AGE_MAX));
        let tx = self.door.node.begin(&options(wanted, time))?;
        let transaction = Some(convert::transaction_message(tx.id()));
        let since = Instant::now();
        self.open = Some(Open { tx, since, until: since + time, _place: place });
        Ok(Answer::Began(proto::Began { transaction }))
    }

    async fn commit(&mut self) -> Result<Answer, Error> {
        let open = self.open.take().ok_or_else(none_open)?;
        let committed_at = open.tx.commit().await?.map_or(0, |at| at.0);
        Ok(Answer::Committed(proto::Committed { committed_at }))
    }

    fn tx(&self) -> Result<&AsyncTransaction, Error> {
        self.open.as_ref().map(|open| &open.tx).ok_or_else(none_open)
    }

    async fn read(&self, read: proto::Read, lock: Option<LockMode>) -> Result<Answer, Error> {
        let (table, key) = self.door.read(read, "get")?;
        let tx = self.tx()?;
        if lock.is_some() {
            let row = tx.get_for_update(&table, &key).await?;
            if table.definition()?.kind != Kind::Bag {
                // Locked, so this finds the same.
                let version = match row.is_some() {
                    true => tx.read_versioned(&table, &key).await?.version,
                    false => Timestamp::NEVER,
                };
                return Ok(Answer::Rows(found(row.as_slice(), version)));
            }
        }
        let seen = tx.read_versioned(&table, &key).await?;
        Ok(Answer::Rows(found(&seen.row, seen.version)))
    }

    async fn write(&self, write: proto::Write) -> Result<Answer, Error> {
        let result = self.door.change(write, "write")?.make(self.tx()?).await?;
        Ok(Answer::Buffered(proto::Buffered { result: Some(result) }))
    }

    async fn by_pattern(&self, step: Step) -> Result<Answer, Error> {
        let tx = self.tx()?;
        Ok(match step {
            Step::CountMatching(request) => Answer::Matched(self.door.counted_inside(tx, request).await?),
            Step::DeleteMatching(request) => Answer::Matched(self.door.deleted_inside(tx, request).await?),
            Step::UpdateMatching(request) => Answer::Matched(self.door.updated_inside(tx, request).await?),
            Step::Neighbour(request) => Answer::Rows(self.door.neighbour_inside(tx, request).await?),
            _ => return Err(Error::invalid("step", "is not known here")),
        })
    }

    async fn scan(&mut self, id: u64, request: proto::ScanRequest) -> Result<(), Gone> {
        let rows = self.scanned(request).await;
        self.parts(id, rows).await
    }

    /// Rows in parts, the last one marked.
    async fn parts(
        &mut self,
        id: u64,
        rows: Result<Vec<Vec<hypermnesia::Value>>, Error>,
    ) -> Result<(), Gone> {
        match rows {
            Ok(rows) => {
                let parts = rows.chunks(STREAM_BATCH_ROWS);
                for part in parts {
                    let rows = part.iter().map(|row| convert::values_message(row)).collect();
                    self.answer(id, Answer::Scan(proto::ScanPart { rows, last: false })).await?;
                }
                self.answer(id, Answer::Scan(proto::ScanPart { rows: Vec::new(), last: true })).await
            }
            Err(error) => self.failed(id, error).await,
        }
    }

    async fn scanned(&self, request: proto::ScanRequest) -> Result<Vec<Vec<hypermnesia::Value>>, Error> {
        let table = self.door.table(&request.table)?;
        let span = convert::span(&request, &table.definition()?)?;
        Ok(match request.index.is_empty() {
            true => self.tx()?.range(&table, &span).await?,
            false => self.tx()?.index_range(&table, &request.index, &span).await?,
        })
    }

    async fn query(&mut self, id: u64, request: proto::ExecuteRequest) -> Result<(), Gone> {
        let parts = match &self.open {
            Some(open) => super::query::inside(&self.door.node, &open.tx, request, open.until).await,
            None => Err(none_open()),
        };
        match parts {
            Ok(parts) => {
                for part in parts {
                    self.answer(id, Answer::Query(proto::ExecuteResponse { part: Some(part) })).await?;
                }
                Ok(())
            }
            Err(error) => self.failed(id, error).await,
        }
    }

    /// Tells an error. One after which the transaction cannot commit any more ends it.
    async fn failed(&mut self, id: u64, error: Error) -> Result<(), Gone> {
        let goes_on = matches!(
            error.kind(),
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Refused | ErrorKind::Limit
        );
        if !goes_on {
            self.expire();
        }
        self.fail(id, error, self.open.is_none()).await
    }

    async fn fail(&self, id: u64, error: Error, ended: bool) -> Result<(), Gone> {
        self.answer(id, Answer::Failed(proto::StepFailed { error: Some(error.into_message()), ended })).await
    }

    async fn answer(&self, id: u64, answer: Answer) -> Result<(), Gone> {
        let response = InteractResponse { id, answer: Some(answer) };
        // Who takes no answer for so long loses the transaction with the stream.
        match timeout(IDLE_MAX, self.answers.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

fn none_open() -> Error {
    Error::new(ErrorKind::Expired, "no transaction is open on this stream: begin one")
}
