//! What a client has sent of a message that is not whole yet. gRPC collects it as it comes, for every call that is open, for
//! as long as the client answers pings; so it is collected here, where all clients together have so much room for it and
//! each message so much time. What goes on to the service are whole messages.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prost::bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{EncodeBody, EncodeBuf, Encoder};
use tonic::codegen::{Body as _, Service, http};
use tonic::server::NamedService;

use super::places::Share;
use crate::errors::{Error, ErrorKind};
use crate::limits::{AGE_MAX, HALF_MESSAGE_BYTES_FREE, HALF_MESSAGES_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Room for messages that are not whole yet, of all clients.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(HALF_MESSAGES_BYTES_MAX))
}

/// A service behind its intake, which puts what it has collected into envelopes again: tonic hands a body on as a type that
/// it does not name to others, and takes one that it made itself.
#[derive(Clone)]
pub(super) struct Intake<S> {
    service: S,
    room: Arc<Semaphore>,
}

impl<S> Intake<S> {
    pub(super) fn of(service: S, room: &Arc<Semaphore>) -> Intake<S> {
        Intake { service, room: Arc::clone(room) }
    }
}

impl<S: NamedService> NamedService for Intake<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Intake<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<Share, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let room = Arc::clone(&self.room);
        let share = request.extensions().get::<Share>().cloned().unwrap_or_else(Share::new);
        share.during(self.service.call(request.map(|body| {
            let messages = Messages { body, begun: BytesMut::new(), room, held: None, until: None };
            Body::new(EncodeBody::new_client(Whole, messages, None, Some(MESSAGE_BYTES_MAX)))
        })))
    }
}

/// A message is its bytes.
struct Whole;

impl Encoder for Whole {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

/// The whole messages of a request.
struct Messages {
    body: Body,
    /// What has come of the next ones.
    begun: BytesMut,
    room: Arc<Semaphore>,
    /// The room that it takes.
    held: Option<OwnedSemaphorePermit>,
    /// When the next message has to be whole; counts from when it was first waited for.
    until: Option<Pin<Box<Sleep>>>,
}

impl Messages {
    /// The next message, if it is whole.
    fn whole(&mut self) -> Result<Option<Bytes>, Status> {
        let [compressed, length @ ..] = match self.begun.first_chunk::<HEAD_BYTES>() {
            None => return Ok(None),
            Some(head) => *head,
        };
        let length = u32::from_be_bytes(length) as usize;
        if compressed != 0 {
            return Err(Status::internal("messages are not compressed here"));
        }
        if length > MESSAGE_BYTES_MAX {
            let message = format!("a message of {length} bytes, at most {MESSAGE_BYTES_MAX} are possible");
            return Err(Status::out_of_range(message));
        }
        if self.begun.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.begun.advance(HEAD_BYTES);
        let message = self.begun.split_to(length).freeze();
        (self.held, self.until) = (None, None);
        Ok(Some(message))
    }

    /// Takes what room the bytes of a message need that have come so far.
    fn take_room(&mut self) -> Result<(), Status> {
        let has = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = self.begun.len().saturating_sub(HALF_MESSAGE_BYTES_FREE);
        let Ok(more @ 1..) = u32::try_from(needs.saturating_sub(has)) else { return Ok(()) };
        let full = |_| {
            let message = format!("messages that are not whole yet take {HALF_MESSAGES_BYTES_MAX} bytes");
            Status::from(Error::new(ErrorKind::Limit, message))
        };
        let more = Arc::clone(&self.room).try_acquire_many_owned(more).map_err(full)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// More of the body, or its end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Status>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if next.is_pending() && !self.begun.is_empty() {
            let until = self.until.get_or_insert_with(|| Box::pin(sleep(AGE_MAX)));
            ready!(until.as_mut().poll(context));
            return Poll::Ready(Err(Status::deadline_exceeded("the message was not whole in time")));
        }
        match ready!(next) {
            None if self.begun.is_empty() => Poll::Ready(Ok(false)),
            None => Poll::Ready(Err(Status::internal("the request ends within a message"))),
            Some(Err(status)) => Poll::Ready(Err(status)),
            Some(Ok(frame)) => {
                // Nothing is said in trailers of a request.
                if let Ok(data) = frame.into_data() {
                    self.begun.extend_from_slice(&data);
                }
                Poll::Ready(Ok(true))
            }
        }
    }
}

impl Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.whole().transpose() {
                return Poll::Ready(Some(message));
            }
            if let Err(full) = self.take_room() {
                return Poll::Ready(Some(Err(full)));
            }
            match ready!(self.poll_more(context)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
        }
    }
}
