//! The service `Events`: subscriptions of the node as streams. A task waits for each, takes what has come as one message, and
//! waits for the reader as long as that takes: nothing is pinned meanwhile, and the table's list of events bounds what there
//! is. Rows that a watch begins with come from a thread that walks a snapshot, as a scan's do. Who goes away is expected back
//! for a while.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use hypermnesia::{DynTable, EventDetail, EventPosition, Heard, Snapshot, Span, Subscription, TableEvent};
use prost::Message;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert;
use super::deadline::Deadline;
use super::door::Door;
use super::outlet::Outlet;
use super::places::Place;
use super::scan::Batch;
use super::{Services, told};
use crate::errors::{Error, ErrorKind};
use crate::limits::{IDLE_MAX, MESSAGE_BYTES_MAX, STREAM_BATCH_BYTES, STREAM_BATCH_ROWS};
use crate::proto::events_server::Events;
use crate::proto::{self, WatchMemberRequest, WatchMemberResponse, WatchRequest, WatchResponse};

mod member;

/// Of one change; what a message needs beside it is far less than the rest.
const CHANGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1024;

type Stepwise<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Events for Services {
    type WatchStream = Stepwise<WatchResponse>;
    type WatchMemberStream = Stepwise<WatchMemberResponse>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Stepwise<WatchResponse>>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(Box::pin(self.door.watch(request, by).await?)))
    }

    async fn watch_member(
        &self,
        _request: Request<WatchMemberRequest>,
    ) -> Result<Response<Stepwise<WatchMemberResponse>>, Status> {
        Ok(Response::new(Box::pin(self.door.watch_member()?)))
    }
}

impl Door {
    async fn watch(
        self: &Arc<Door>,
        request: WatchRequest,
        by: Deadline,
    ) -> Result<impl Stream<Item = Result<WatchResponse, Status>> + Send + use<>, Error> {
        let place = self.places.watch()?;
        let table = self.table(&request.table)?;
        let detail = if request.old_rows { EventDetail::WithOldRows } else { EventDetail::Simple };
        if request.rows {
            if !request.from.is_empty() {
                return Err(Error::invalid("from", "excludes rows"));
            }
            return self.watch_with_rows(table, detail, place, by).await;
        }
        let changes = match request.from.is_empty() {
            true => table.subscribe(detail)?,
            false => table.subscribe_from(position(&request.from)?, detail)?,
        };
        let (outlet, messages) = Outlet::of_any_age();
        let began = WatchResponse { position: changes.position().to_string(), ..WatchResponse::default() };
        outlet.offer(began);
        tokio::spawn(follow(table, changes, outlet.into_sender(), self.stopped(), place));
        Ok(ReceiverStream::new(messages))
    }

    async fn watch_with_rows(
        self: &Arc<Door>,
        table: DynTable,
        detail: EventDetail,
        place: Place,
        by: Deadline,
    ) -> Result<ReceiverStream<Result<WatchResponse, Status>>, Error> {
        let thread = self.places.thread(by).await?;
        let (snapshot, changes) = table.subscribe_with_rows(detail)?;
        let (outlet, messages) = Outlet::open();
        let stopped = self.stopped();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            if let Some(outlet) = send_rows(&table, snapshot, &changes, outlet) {
                runtime.spawn(follow(table, changes, outlet.into_sender(), stopped, place));
            }
            drop(thread);
        });
        Ok(ReceiverStream::new(messages))
    }
}

/// Sends the rows of a snapshot and that they are all; gives the outlet back unless it has ended.
fn send_rows(
    table: &DynTable,
    snapshot: Snapshot,
    changes: &Subscription,
    outlet: Outlet<WatchResponse>,
) -> Option<Outlet<WatchResponse>> {
    // A change of the definition ends the snapshot, so this is that of all its rows.
    let definition = table.definition().map_or(0, |def| def.version.0);
    let mut batch = Batch::new(outlet, |rows| WatchResponse { rows, ..WatchResponse::default() });
    let position = changes.position().to_string();
    let began = WatchResponse { position, definition, ..WatchResponse::default() };
    if batch.send(began).is_break() {
        return None;
    }
    let mut open = ControlFlow::Continue(());
    let shown = snapshot.each_stored(table, &Span::all(), |row| {
        open = batch.push(convert::row_message(row));
        open
    });
    drop(snapshot);
    if let Err(error) = shown {
        batch.finish(Err(error.into()));
        return None;
    }
    if open.is_break() || batch.flush().is_break() {
        return None;
    }
    let complete = WatchResponse { rows_complete: true, ..WatchResponse::default() };
    batch.send(complete).is_continue().then(|| batch.into_outlet())
}

/// Sends changes as they come, until the reader goes, the table is dropped, or the server stops.
async fn follow(
    table: DynTable,
    changes: Subscription,
    reader: Sender<Result<WatchResponse, Status>>,
    stopped: watch::Receiver<bool>,
    place: Place,
) {
    let end = tokio::select! {
        end = send_changes(&table, &changes, &reader) => end,
        () = reader.closed() => None,
        () = told(stopped) => Some(stopping()),
    };
    match end {
        // Who does not read on in time finds the stream at its end.
        Some(end) => drop(timeout(IDLE_MAX, reader.send(Err(end.into()))).await),
        None => drop(changes.pause()),
    }
    drop(place);
}

async fn send_changes(
    table: &DynTable,
    changes: &Subscription,
    reader: &Sender<Result<WatchResponse, Status>>,
) -> Option<Error> {
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(heard) => heard,
            None => changes.next().await,
        };
        let (message, next) = match gather(first, changes) {
            Ok(gathered) => gathered,
            Err(error) => return Some(error),
        };
        if (message.missed > 0 || !message.changes.is_empty()) && reader.send(Ok(message)).await.is_err() {
            return None;
        }
        if next == Some(Heard::Ended) {
            // The table was dropped, or the node is closed.
            return Some(match table.definition() {
                Ok(_) => stopping(),
                Err(_) => dropped(table.name()),
            });
        }
        left = next;
    }
}

/// What is there, as one message, and what was heard behind that and goes into the next one: what was missed stands before the
/// changes of a message, and a message has a bound.
fn gather(first: Heard, changes: &Subscription) -> Result<(WatchResponse, Option<Heard>), Error> {
    let (mut message, mut bytes, mut next) = (WatchResponse::default(), 0, Some(first));
    while let Some(heard) = next.take() {
        match heard {
            Heard::Event(event) => {
                let change = change_message(&event)?;
                let more = change.encoded_len();
                let (is_empty, fits) = (message.changes.is_empty(), bytes + more <= STREAM_BATCH_BYTES);
                if !is_empty && !fits {
                    return Ok((message, Some(Heard::Event(event))));
                }
                if more > CHANGE_BYTES_MAX {
                    // No message has room for it: its number is passed.
                    message.missed += 1;
                } else {
                    bytes += more;
                    message.changes.push(change);
                }
            }
            Heard::Missed(count) if message.changes.is_empty() => message.missed += count,
            other => return Ok((message, Some(other))),
        }
        if message.changes.len() >= STREAM_BATCH_ROWS || bytes >= STREAM_BATCH_BYTES {
            break;
        }
        next = changes.try_next();
    }
    Ok((message, None))
}

fn change_message(event: &TableEvent) -> Result<proto::TableChange, Error> {
    let rows = |body: &Option<hypermnesia::Body>| {
        body.as_ref().map_or(&[][..], |body| body.rows()).iter().map(convert::row_message).collect()
    };
    let damaged = |error| Error::new(ErrorKind::Internal, format!("a key cannot be read: {error}"));
    let key = event.key.decode().map_err(damaged)?;
    Ok(proto::TableChange {
        sequence: event.sequence,
        committed_at: event.commit_ts.0,
        key: Some(proto::Key { values: convert::values_message(&key).values }),
        rows: rows(&event.new),
        old_rows: rows(&event.old),
        definition: event.form.0,
        old_definition: event.old_form.0,
    })
}

fn position(text: &str) -> Result<EventPosition, Error> {
    text.parse().map_err(|error: hypermnesia::NotAPosition| Error::invalid("from", error.to_string()))
}

fn dropped(table: &str) -> Error {
    let what =
        format!("there is no table any more that was watched as {table:?}: it was dropped, or made anew");
    Error::new(ErrorKind::NotFound, what)
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "this member stops")
}
