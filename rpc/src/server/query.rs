//! The service `Query`, and queries inside interactive transactions. A query runs on a thread of its own: a SELECT over a
//! snapshot, streaming; a change of rows as a transaction; a change of the schema by the calls for it.

mod access;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use hypermnesia::limits::{DEADLINE_DEFAULT, SCHEMA_DEADLINE_DEFAULT};
use hypermnesia::sql::{Column, Late, Limits, Sink, Statement, StatementKind};
use hypermnesia::{Again, AsyncTransaction, Node, TxOptions, Value};
use prost::Message;
use tokio::runtime::Handle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use super::convert;
use super::deadline::Deadline;
use super::door::Door;
use super::outlet::Outlet;
use super::scan::Batch;
use crate::errors::{Error, ErrorKind};
use crate::limits::{HELD_ANSWER_BYTES_MAX, QUERY_TIMEOUT_DEFAULT, STREAM_BATCH_ROWS};
use crate::proto::query_server::Query;
use crate::proto::{
    self, ExecuteRequest, ExecuteResponse, QueryHeader, QuerySummary, RowBatch, execute_response::Part,
};
use access::{OfTask, OnThread, Over, State, Watch};

type Answer = Pin<Box<dyn Stream<Item = Result<ExecuteResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Query for Services {
    type ExecuteStream = Answer;

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<Answer>, Status> {
        let by = Deadline::of(request.metadata());
        Ok(Response::new(self.door.execute(request.into_inner(), by).await?))
    }
}

/// A statement with its parameters, checked as far as that goes without the tables.
struct Prepared {
    statement: Statement,
    parameters: Vec<Value>,
}

fn prepare(request: ExecuteRequest) -> Result<Prepared, Error> {
    let statement = Statement::parse(&request.statement).map_err(Error::from)?;
    Ok(Prepared { statement, parameters: convert::values(request.parameters, "parameters")? })
}

impl Prepared {
    /// Runs it over a state of the tables; returns the number of rows sent or changed.
    fn run<S: State>(
        &self,
        node: &Node,
        state: &S,
        watch: &Watch<'_>,
        sink: &mut dyn Sink,
    ) -> Result<u64, Error> {
        let over = Over { node, state, watch };
        let outcome = self.statement.execute(&over, &self.parameters, Limits::default(), sink);
        if watch.stopped() {
            return Err(Error::new(ErrorKind::Deadline, "the query was stopped: its time is over"));
        }
        match outcome {
            Ok(outcome) => Ok(outcome.rows),
            Err(hypermnesia::sql::Error::Query(error)) => Err(error.into()),
            Err(hypermnesia::sql::Error::Access(error)) => Err(error.into()),
        }
    }
}

impl Door {
    async fn execute(self: &Arc<Door>, request: ExecuteRequest, by: Deadline) -> Result<Answer, Error> {
        let started = Instant::now();
        let by = by.named(request.timeout_ms);
        let until = started + by.time(QUERY_TIMEOUT_DEFAULT);
        let prepared = prepare(request)?;
        self.loaded(by).await?;
        let place = self.places.thread(by).await?;
        let (outlet, messages) = Outlet::open();
        let door = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let closed = outlet.watcher();
            let gone = move || closed.is_closed();
            let watch = Watch::new(until, &gone);
            let mut answer = Streamed { batch: Batch::new(outlet, in_batch), headed: false };
            let result = match prepared.statement.kind() {
                StatementKind::Read => door.read_rows(&prepared, &watch, &mut answer, by),
                StatementKind::Write => door.change_rows(&prepared, &watch, by),
                StatementKind::Schema => door.change_schema_by(&prepared, by),
            };
            answer.finish(result, started);
            drop(place);
        });
        Ok(Box::pin(ReceiverStream::new(messages)))
    }

    fn read_rows(
        &self,
        prepared: &Prepared,
        watch: &Watch<'_>,
        sink: &mut Streamed,
        by: Deadline,
    ) -> Result<u64, Error> {
        let (mut late, mut again) = (Late::new(sink), Again::default());
        loop {
            let snapshot = self.node.snapshot_within(by.time(DEADLINE_DEFAULT))?;
            match prepared.run(&self.node, &snapshot, watch, &mut late) {
                Ok(rows) => {
                    late.finish();
                    return Ok(rows);
                }
                // A definition changed in the middle.
                Err(error)
                    if error.kind() == ErrorKind::SchemaChanged && late.begin_anew() && again.pause() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn change_schema_by(&self, prepared: &Prepared, by: Deadline) -> Result<u64, Error> {
        let options = TxOptions::new().deadline(by.time(SCHEMA_DEADLINE_DEFAULT));
        let (text, mut rows) = (prepared.statement.text(), hypermnesia::sql::Rows::default());
        Ok(self.node.query_into(text, &prepared.parameters, &options, &mut rows)?)
    }

    fn change_rows(&self, prepared: &Prepared, watch: &Watch<'_>, by: Deadline) -> Result<u64, Error> {
        let options = TxOptions::new().deadline(by.time(QUERY_TIMEOUT_DEFAULT));
        self.node.try_transaction(&options, |tx| {
            let state: OnThread<'_> = RefCell::new(tx);
            prepared.run(&self.node, &state, watch, &mut hypermnesia::sql::Rows::default())
        })
    }
}

/// The answer as it streams.
struct Streamed {
    batch: Batch<ExecuteResponse>,
    headed: bool,
}

impl Streamed {
    fn finish(mut self, result: Result<u64, Error>, started: Instant) {
        let result = result.map(|rows| {
            if !self.headed {
                // A change has no columns. Nobody listening any more is found when the summary is sent.
                let _ = self.batch.send(header(&[]));
            }
            if self.batch.flush().is_continue() {
                let _ = self.batch.send(summary(rows, started));
            }
        });
        self.batch.finish(result);
    }
}

impl Sink for Streamed {
    fn columns(&mut self, columns: &[Column]) {
        self.headed = true;
        // Nobody listening any more is found with the first row.
        let _ = self.batch.send(header(columns));
    }

    fn row(&mut self, values: Vec<Value>) -> ControlFlow<()> {
        self.batch.push(convert::values_message(&values))
    }
}

/// The whole answer to a query inside an interactive transaction.
#[derive(Default)]
struct Held {
    columns: Vec<Column>,
    rows: Vec<proto::Row>,
    bytes: usize,
    too_large: bool,
}

impl Sink for Held {
    fn columns(&mut self, columns: &[Column]) {
        self.columns = columns.to_vec();
    }

    fn row(&mut self, values: Vec<Value>) -> ControlFlow<()> {
        let row = convert::values_message(&values);
        self.bytes += row.encoded_len();
        self.rows.push(row);
        self.too_large = self.bytes > HELD_ANSWER_BYTES_MAX;
        if self.too_large { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Runs a statement inside an interactive transaction. When it fails, what it has changed so far is taken back.
pub(super) async fn inside(
    node: &Node,
    tx: &AsyncTransaction,
    request: ExecuteRequest,
    deadline: Instant,
) -> Result<Vec<Part>, Error> {
    let started = Instant::now();
    let prepared = prepare(request)?;
    let (node, runtime, mark) = (node.clone(), Handle::current(), tx.mark()?);
    let state = OfTask { tx: tx.clone(), runtime };
    let task = tokio::task::spawn_blocking(move || {
        let mut held = Held::default();
        let rows = prepared.run(&node, &state, &Watch::new(deadline, &|| false), &mut held)?;
        if held.too_large {
            let message = format!("more than {HELD_ANSWER_BYTES_MAX} bytes of rows inside a transaction");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok((rows, held))
    });
    let result = task.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the query failed")));
    let (rows, held) = match result {
        Ok(done) => done,
        Err(error) => {
            // It has ended by itself when there is nothing to be taken back.
            let _ = tx.roll_back(&mark);
            return Err(error);
        }
    };
    let mut parts: Vec<_> = header(&held.columns).part.into_iter().collect();
    let mut left = held.rows;
    while !left.is_empty() {
        let rest = left.split_off(left.len().min(STREAM_BATCH_ROWS));
        parts.push(Part::Batch(RowBatch { rows: left }));
        left = rest;
    }
    parts.extend(summary(rows, started).part);
    Ok(parts)
}

fn in_batch(rows: Vec<proto::Row>) -> ExecuteResponse {
    ExecuteResponse { part: Some(Part::Batch(RowBatch { rows })) }
}

fn header(columns: &[Column]) -> ExecuteResponse {
    let columns = columns.iter().map(|column| column.name.clone()).collect();
    ExecuteResponse { part: Some(Part::Header(QueryHeader { columns })) }
}

fn summary(rows: u64, started: Instant) -> ExecuteResponse {
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    ExecuteResponse { part: Some(Part::Summary(QuerySummary { rows, elapsed_us })) }
}
