//! Dialling, listening, and waiting for sockets, all on the I/O thread. What a socket has is cut into frames and handled in
//! place (see `reader`); what follows from all frames of one read is written once behind them.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use hypermnesia_replication::Peer;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::Link;
use super::frame::{self, HEADER_BYTES};
use super::hello::{HELLO_BYTES_MAX, Hello, Listener, Refused};
use super::reader::Reader;
use crate::core::{Core, wall_ms};
use crate::life::spawn;
use crate::limits::{DIAL_WAIT_MAX, DIAL_WAIT_MIN, HELLO_WAIT_MAX, REFUSAL_TOLD_EVERY, STRANGERS_MAX, TICK};

/// Runs all connections and timers of a node until it is closed.
pub(crate) async fn run(core: Arc<Core>, listener: Option<TcpListener>) {
    if let Some(listener) = listener {
        spawn(&core, listen(Arc::clone(&core), listener));
    }
    spawn(&core, write_left(Arc::clone(&core)));
    for link in core.peers.links() {
        spawn(&core, write_rest(Arc::clone(&core), Arc::clone(link)));
        // The lower id dials, so there is one connection per pair.
        if core.me.node < link.node {
            spawn(&core, dial(Arc::clone(&core), Arc::clone(link)));
        }
    }
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !core.is_closed() {
        ticks.tick().await;
        core.tick();
        look_after(&core, Instant::now());
    }
}

/// Heartbeats, silence, congestion.
fn look_after(core: &Core, now: Instant) {
    for link in core.peers.links() {
        link.keep_alive(now);
        link.drop_if_silent(now);
        if let Some(congested) = link.congestion_change() {
            core.replica.set_congested(link.node, congested);
        }
        if link.has_overflowed() {
            core.fail(crate::Error::Overloaded { what: "bytes that a member has not acknowledged" });
        }
    }
}

/// Writes what a full socket left over.
async fn write_rest(core: Arc<Core>, link: Arc<Link>) {
    while !core.is_closed() {
        link.full.notified().await;
        while let Some(socket) = link.write_on() {
            if socket.writable().await.is_err() {
                break;
            }
        }
    }
}

/// Writes what other threads left to this one, behind whatever else it has to do at the moment.
async fn write_left(core: Arc<Core>) {
    while !core.is_closed() {
        core.peers.left().await;
        tokio::task::yield_now().await;
        core.peers.flush_all();
    }
}

async fn listen(core: Arc<Core>, listener: TcpListener) {
    let strangers = Arc::new(AtomicUsize::new(0));
    let refusals = Arc::new(Refusals::default());
    while !core.is_closed() {
        let Ok((socket, from)) = listener.accept().await else {
            sleep(DIAL_WAIT_MIN).await;
            continue;
        };
        if strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS_MAX {
            strangers.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (node, strangers, refusals) = (Arc::clone(&core), Arc::clone(&strangers), Arc::clone(&refusals));
        spawn(&core, async move {
            let core = node;
            let greeted = timeout(HELLO_WAIT_MAX, greet(&core, socket)).await;
            strangers.fetch_sub(1, Ordering::Relaxed);
            match greeted {
                Ok(Ok((link, socket, peer, connection))) => {
                    read(&core, &link, &socket, peer, connection).await
                }
                Ok(Err(error)) => refusals.tell(&core, from, error.to_string()),
                Err(_) => refusals.tell(&core, from, "it did not say hello".to_owned()),
            }
        });
    }
}

/// What was told last about connections that were refused.
#[derive(Default)]
struct Refusals {
    /// Held for a look.
    last: Mutex<Option<(String, Instant)>>,
}

impl Refusals {
    fn tell(&self, core: &Core, from: SocketAddr, why: String) {
        if self.is_news(&why, Instant::now()) {
            tracing::warn!(node = %core.name, %from, %why, "a connection was refused");
        } else {
            tracing::debug!(node = %core.name, %from, %why, "a connection was refused again");
        }
    }

    fn is_news(&self, why: &str, now: Instant) -> bool {
        let mut last = self.last.lock();
        let again = last.as_ref().is_some_and(|(told, at)| told == why && now - *at < REFUSAL_TOLD_EVERY);
        if !again {
            *last = Some((why.to_owned(), now));
        }
        !again
    }
}

/// Hears the hello of who dialled, and answers it.
async fn greet(core: &Core, mut socket: TcpStream) -> IoResult<(Arc<Link>, Arc<TcpStream>, Peer, u64)> {
    socket.set_nodelay(true)?;
    let hello = hear(&mut socket).await?;
    let link = core.peers.link(hello.node).filter(|_| hello.node < core.me.node);
    let link = Arc::clone(link.ok_or_else(|| refuse(Refused::Member(hello.node)))?);
    // Answered before it is judged: who is refused finds the same reason in our hello.
    say(core, &link, &socket).await?;
    check(core, &link, &hello)?;
    take_up(core, link, socket, &hello)
}

async fn dial(core: Arc<Core>, link: Arc<Link>) {
    let mut wait = DIAL_WAIT_MIN;
    while !core.is_closed() {
        match timeout(HELLO_WAIT_MAX, meet(&core, &link)).await {
            Ok(Ok((socket, peer, connection))) => {
                wait = DIAL_WAIT_MIN;
                read(&core, &link, &socket, peer, connection).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(node = %core.name, member = %link.name, %error, "no connection")
            }
            Err(_) => tracing::debug!(node = %core.name, member = %link.name, "no answer"),
        }
        sleep(wait).await;
        wait = (wait * 2).min(DIAL_WAIT_MAX);
    }
}

/// Dials, says hello and hears the answer.
async fn meet(core: &Core, link: &Arc<Link>) -> IoResult<(Arc<TcpStream>, Peer, u64)> {
    let mut socket = TcpStream::connect(&link.address).await?;
    socket.set_nodelay(true)?;
    say(core, link, &socket).await?;
    let hello = hear(&mut socket).await?;
    if hello.node != link.node {
        return Err(refuse(Refused::Member(hello.node)));
    }
    check(core, link, &hello)?;
    let (_, socket, peer, connection) = take_up(core, Arc::clone(link), socket, &hello)?;
    Ok((socket, peer, connection))
}

/// Judges a hello. A node that learns that it was replaced stops: others have agreed without it, and it would go on
/// showing what was true before.
fn check(core: &Core, link: &Link, hello: &Hello) -> IoResult<()> {
    let here =
        Listener { cluster: &core.cluster, members: core.fingerprint, me: core.me, wall_ms: wall_ms() };
    let Err(why) = hello.check(&here) else { return Ok(()) };
    if link.note_trouble(Some(why.to_string())) {
        tracing::warn!(node = %core.name, member = %link.name, %why, "no connection");
    }
    if why == Refused::Replaced {
        core.fail(crate::Error::Replaced { name: core.name.clone() });
    }
    Err(refuse(why))
}

fn take_up(
    core: &Core,
    link: Arc<Link>,
    socket: TcpStream,
    hello: &Hello,
) -> IoResult<(Arc<Link>, Arc<TcpStream>, Peer, u64)> {
    let socket = Arc::new(socket);
    let known = hello.known.filter(|(life, _)| *life == core.me.incarnation);
    let taken = known.map_or(0, |(_, taken)| taken);
    let connection = link.connect(Arc::clone(&socket), hello.incarnation, taken).map_err(refuse)?;
    let peer = Peer { node: hello.node, incarnation: hello.incarnation };
    tracing::info!(node = %core.name, member = %link.name, incarnation = %peer.incarnation, "connected");
    link.note_trouble(None);
    core.on_connected(peer);
    link.flush();
    Ok((link, socket, peer, connection))
}

fn refuse(why: Refused) -> IoError {
    IoError::new(ErrorKind::InvalidData, why)
}

async fn say(core: &Core, link: &Link, socket: &TcpStream) -> IoResult<()> {
    let hello = Hello {
        cluster: core.cluster.clone(),
        members: core.fingerprint,
        node: core.me.node,
        incarnation: core.me.incarnation,
        to: link.node,
        known: link.known(),
    };
    let mut bytes = BytesMut::new();
    frame::put(&mut bytes, 0, 0, &hello.encode());
    let mut left = &bytes[..];
    while !left.is_empty() {
        socket.writable().await?;
        match socket.try_write(left) {
            Ok(written) => left = &left[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads exactly one frame, so that nothing of the stream behind it is lost.
async fn hear(socket: &mut TcpStream) -> IoResult<Hello> {
    let mut header = [0; HEADER_BYTES];
    socket.read_exact(&mut header).await?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length > HELLO_BYTES_MAX {
        return Err(refuse(Refused::Stranger));
    }
    let mut bytes = BytesMut::zeroed(HEADER_BYTES + length);
    bytes[..HEADER_BYTES].copy_from_slice(&header);
    socket.read_exact(&mut bytes[HEADER_BYTES..]).await?;
    let frame = frame::cut(&mut bytes).map_err(|_| refuse(Refused::Stranger))?;
    let frame = frame.ok_or_else(|| refuse(Refused::Stranger))?;
    Hello::decode(&frame.payload).map_err(refuse)
}

/// Reads until the connection ends, for whatever reason, and says so.
async fn read(core: &Arc<Core>, link: &Link, socket: &Arc<TcpStream>, peer: Peer, connection: u64) {
    link.begin_reading(Reader::new(Arc::clone(socket), peer, connection));
    let why = loop {
        let ended = link.ended.notified();
        if !link.is_present(connection) {
            break IoError::other("it was replaced or closed");
        }
        let ready = tokio::select! {
            ready = socket.readable() => ready,
            () = ended => continue,
        };
        match ready.and_then(|()| link.read(core, connection)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => break error,
        }
    };
    if link.disconnect(connection) && !core.is_closed() {
        tracing::info!(node = %core.name, member = %link.name, %why, "disconnected");
        core.on_disconnected(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_in_a_while() {
        // Aim: who is refused twice a second does not fill the log, and nothing new is kept quiet. Method: the same reason
        // again, another one, the same one later.
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.is_news("another cluster", now));
        assert!(!refusals.is_news("another cluster", now));
        assert!(refusals.is_news("another protocol", now));
        assert!(refusals.is_news("another protocol", now + REFUSAL_TOLD_EVERY));
    }
}
