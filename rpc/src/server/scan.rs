//! Streamed scans: a thread walks a snapshot and sends what it finds, batch by batch.

use std::ops::ControlFlow;
use std::sync::Arc;

use hypermnesia::limits::DEADLINE_DEFAULT;
use prost::Message;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert;
use super::deadline::Deadline;
use super::door::Door;
use super::outlet::Outlet;
use crate::errors::Error;
use crate::limits::{STREAM_BATCH_BYTES, STREAM_BATCH_ROWS};
use crate::proto::{self, ScanRequest, ScanResponse};

/// Rows on their way into messages of a stream.
pub(super) struct Batch<T> {
    outlet: Outlet<T>,
    wrap: fn(Vec<proto::Row>) -> T,
    rows: Vec<proto::Row>,
    bytes: usize,
}

impl<T: Send + 'static> Batch<T> {
    pub(super) fn new(outlet: Outlet<T>, wrap: fn(Vec<proto::Row>) -> T) -> Batch<T> {
        Batch { outlet, wrap, rows: Vec::new(), bytes: 0 }
    }

    /// Adds a row; breaks when nobody takes any more.
    pub(super) fn push(&mut self, row: proto::Row) -> ControlFlow<()> {
        self.bytes += row.encoded_len();
        self.rows.push(row);
        if self.rows.len() >= STREAM_BATCH_ROWS || self.bytes >= STREAM_BATCH_BYTES {
            return self.flush();
        }
        if self.outlet.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Sends what is there.
    pub(super) fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return ControlFlow::Continue(());
        }
        self.send((self.wrap)(rows))
    }

    /// Sends a message of another kind.
    pub(super) fn send(&mut self, message: T) -> ControlFlow<()> {
        if self.outlet.send(message).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// The outlet, when all that was pushed is sent.
    pub(super) fn into_outlet(self) -> Outlet<T> {
        self.outlet
    }

    /// Sends what is left, or the error that ended it.
    pub(super) fn finish(mut self, result: Result<(), Error>) {
        match result {
            // Nobody takes it: there is nobody to tell.
            Ok(()) => drop(self.flush()),
            Err(error) => self.outlet.fail(error),
        }
    }
}

impl Door {
    pub(super) async fn scan(
        self: &Arc<Door>,
        request: ScanRequest,
        by: Deadline,
    ) -> Result<impl Stream<Item = Result<ScanResponse, Status>> + Send + use<>, Error> {
        let table = self.table(&request.table)?;
        let (definition, span) = (table.definition()?, convert::span(&request, &table.definition()?)?);
        if !request.index.is_empty() && definition.index_named(&request.index).is_none() {
            let (table, index) = (request.table, request.index);
            return Err(hypermnesia::Error::NoSuchIndex { table, index }.into());
        }
        let place = self.places.thread(by).await?;
        let (outlet, messages) = Outlet::open();
        let door = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let mut batch = Batch::new(outlet, |rows| ScanResponse { rows });
            let show = |row: &hypermnesia::Row| batch.push(convert::row_message(row));
            let snapshot = door.node.snapshot_within(by.time(DEADLINE_DEFAULT));
            let result = snapshot.and_then(|snapshot| match request.index.is_empty() {
                true => snapshot.each_stored(&table, &span, show),
                false => snapshot.each_indexed(&table, &request.index, &span, show),
            });
            batch.finish(result.map_err(Error::from));
            drop(place);
        });
        Ok(ReceiverStream::new(messages))
    }
}
