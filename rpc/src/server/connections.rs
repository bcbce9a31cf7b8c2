//! The client port: who is let in. A connection is a stranger until it has begun to speak HTTP/2. Strangers are few, have
//! little time, and give way to newer ones, so that silent connections never keep a client out; clients have places, and
//! when all are taken the next one is turned away. Descriptors and memory of the port are bounded by both.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::places::Share;
use crate::limits::{ACCEPT_PAUSE, GREETING_LOOK, GREETING_WAIT_MAX, STRANGERS_MAX};

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Clients that were let in and not yet taken over.
const GUESTS_QUEUED: usize = 16;

/// A client's connection, with its place.
pub(super) struct Guest {
    socket: TcpStream,
    share: Share,
    _place: OwnedSemaphorePermit,
}

/// The clients that were let in, as they come.
pub(super) type Guests = ReceiverStream<io::Result<Guest>>;

/// The guests of a port, at most so many at a time, and the work that lets them in, for whoever serves them to run beside.
/// Dropping that work closes the port at once.
pub(super) fn open(listener: TcpListener, places: usize) -> (Guests, impl Future<Output = ()>) {
    let (guests, arrived) = mpsc::channel(GUESTS_QUEUED);
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    let porter = Porter { places, guests, strangers: JoinSet::new(), oldest: VecDeque::new(), full: false };
    (ReceiverStream::new(arrived), porter.receive(listener))
}

struct Porter {
    places: Arc<Semaphore>,
    guests: mpsc::Sender<io::Result<Guest>>,
    /// Each listens to one stranger.
    strangers: JoinSet<Option<TcpStream>>,
    /// The same, oldest first; some of them may have ended.
    oldest: VecDeque<AbortHandle>,
    /// The last client was turned away, which is told once.
    full: bool,
}

impl Porter {
    async fn receive(mut self, listener: TcpListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => self.listen_to(socket),
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the client port could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(heard) = self.strangers.join_next() => {
                    // One that was closed while it was listened to has ended too.
                    if let Ok(Some(socket)) = heard && self.let_in(socket).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn listen_to(&mut self, socket: TcpStream) {
        if self.oldest.len() >= STRANGERS_MAX {
            self.oldest.retain(|stranger| !stranger.is_finished());
        }
        if self.oldest.len() >= STRANGERS_MAX
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let heard = timeout(GREETING_WAIT_MAX, greeting(socket));
        self.oldest.push_back(self.strangers.spawn(async { heard.await.ok().flatten() }));
    }

    /// Fails when nobody takes guests any more.
    async fn let_in(&mut self, socket: TcpStream) -> Result<(), ()> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!("every place for a client is taken: further ones are turned away");
            }
            return Ok(());
        };
        self.full = false;
        // Without it answers are only slower.
        let _ = socket.set_nodelay(true);
        self.guests.send(Ok(Guest { socket, share: Share::new(), _place: place })).await.map_err(drop)
    }
}

/// Gives the connection back once it has said what an HTTP/2 client says first. Nothing is taken from it.
async fn greeting(socket: TcpStream) -> Option<TcpStream> {
    let mut said = [0; PREFACE.len()];
    loop {
        let count = socket.peek(&mut said).await.ok()?;
        if count == 0 || said[..count] != PREFACE[..count] {
            return None;
        }
        if count == PREFACE.len() {
            return Some(socket);
        }
        // What is there already makes the next look answer at once.
        sleep(GREETING_LOOK).await;
    }
}

impl Connected for Guest {
    /// Every call of the connection gets it.
    type ConnectInfo = Share;

    fn connect_info(&self) -> Share {
        self.share.clone()
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
