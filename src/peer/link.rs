//! The link to one member: the numbered stream to its present life, and the socket under it, which comes and goes. Any
//! thread may write: under the link's small lock, straight to the non-blocking socket, until the socket is full.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use hypermnesia_replication::{Arrival, Inbox, Outbox, Peer};
use hypermnesia_store::{Incarnation, NodeId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::frame;
use super::hello::Refused;
use super::reader::Reader;
use super::wire::Wire;
use crate::core::Core;
use crate::limits::{ACKNOWLEDGE_EVERY, HEARTBEAT, SAID_BYTES_MAX, SILENCE_MAX};

/// Bytes that stand ready for the socket before more are taken from the stream: a few full socket buffers.
const READY_BYTES: usize = 1024 * 1024;

/// See the file's header.
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    /// Where it is reached. Held for a copy. A leaf lock.
    address: Mutex<String>,
    /// Guards stream and socket; held for a push, or for a write that never blocks.
    state: Mutex<State>,
    /// The reading end of the present connection, or of the last one. Held while what one read brought is handled, which
    /// blocks nowhere. Taken before `state`, never under it.
    reader: Mutex<Option<Reader>>,
    /// The socket did not take everything: the I/O thread goes on when it can.
    pub(crate) full: Notify,
    /// The connection ended, or the node.
    pub(crate) ended: Notify,
    /// Why there is no connection, as far as that is known; for people. A leaf lock.
    trouble: Mutex<Option<String>>,
}

#[derive(Default)]
struct State {
    /// The life at the other end; the boxes belong to it.
    life: Option<Incarnation>,
    outbox: Outbox<Bytes>,
    inbox: Inbox,
    /// The last number of the outbox that was put into `ready` on this connection.
    taken: u64,
    /// What goes to the socket next.
    ready: BytesMut,
    wire: Option<Arc<Wire>>,
    /// Counts connections, so that an old one's end is told from the present one's.
    connection: u64,
    /// The last number that went out as an acknowledgement.
    acknowledged: u64,
    last_heard: Option<Instant>,
    last_wrote: Option<Instant>,
    congested: bool,
    /// The connection that was given up, for its silence or for what it carried.
    silenced: u64,
    closed: bool,
    /// The outbox would not take a message: the node cannot keep what it owes.
    overflowed: bool,
}

impl Link {
    pub(crate) fn new(node: NodeId, name: String, address: String) -> Link {
        Link {
            node,
            name,
            address: Mutex::new(address),
            state: Mutex::default(),
            reader: Mutex::default(),
            full: Notify::new(),
            ended: Notify::new(),
            trouble: Mutex::default(),
        }
    }

    /// Where it is reached.
    pub(crate) fn address(&self) -> String {
        self.address.lock().clone()
    }

    /// It is reached somewhere else from now on.
    pub(crate) fn moved(&self, address: &str) {
        address.clone_into(&mut self.address.lock());
    }

    /// Notes why there is no connection, or that there is one again. True when that is news.
    pub(crate) fn note_trouble(&self, trouble: Option<String>) -> bool {
        let mut known = self.trouble.lock();
        let news = *known != trouble;
        *known = trouble;
        news
    }

    /// Why there is no connection, as far as that is known.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// A connection was taken into use and is to be read. Handles what came with its hello.
    pub(crate) fn begin_reading(&self, core: &Core, reader: Reader) -> IoResult<()> {
        self.reader.lock().insert(reader).begin(core, self)
    }

    /// Reads and handles what the socket has, for the I/O thread.
    pub(crate) fn read(&self, core: &Core, connection: u64) -> IoResult<()> {
        match &mut *self.reader.lock() {
            Some(reader) if reader.connection() == connection => reader.take(core, self),
            _ => Err(IoError::other("it was replaced")),
        }
    }

    /// Reads and handles what the socket has, if anything and if nobody else is at it.
    pub(crate) fn glance(&self, core: &Core) {
        if let Some(mut reader) = self.reader.try_lock()
            && let Some(reader) = &mut *reader
        {
            match reader.glance(core, self) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Bytes that are no frames: they are gone from the socket, so the I/O thread has to be told.
                Err(error) if error.kind() == ErrorKind::InvalidData => self.give_up(reader.connection()),
                // The I/O thread finds the same.
                Err(_) => {}
            }
        }
    }

    /// Ends a connection that cannot be trusted any more: its reader sees to the rest.
    fn give_up(&self, connection: u64) {
        let mut state = self.state.lock();
        if state.connection == connection {
            state.silenced = connection;
            self.ended.notify_waiters();
        }
    }

    /// What our hello says we know of the other end.
    pub(crate) fn known(&self) -> Option<(Incarnation, u64)> {
        let state = self.state.lock();
        state.life.map(|life| (life, state.inbox.taken()))
    }

    /// Takes a connection into use that has exchanged hellos. `taken` is what that life has taken of our stream, if it knew
    /// this life of ours. Returns the number of the connection.
    pub(crate) fn connect(&self, wire: Arc<Wire>, life: Incarnation, taken: u64) -> Result<u64, Refused> {
        let mut state = self.state.lock();
        if state.closed || state.life > Some(life) {
            return Err(Refused::Older);
        }
        if state.life != Some(life) {
            state.life = Some(life);
            state.outbox = Outbox::default();
            state.inbox = Inbox::default();
            state.overflowed = false;
        }
        state.outbox.acknowledged(taken);
        state.taken = taken;
        state.ready.clear();
        state.acknowledged = state.inbox.taken();
        state.wire = Some(wire);
        state.connection += 1;
        state.last_heard = Some(Instant::now());
        self.ended.notify_waiters();
        Ok(state.connection)
    }

    /// Ends that connection if it is still the present one; true if it was.
    pub(crate) fn disconnect(&self, connection: u64) -> bool {
        let mut state = self.state.lock();
        let present = state.connection == connection && state.wire.is_some();
        if present {
            state.wire = None;
            state.ready.clear();
            self.ended.notify_waiters();
        }
        present
    }

    /// Whether that connection is still in use.
    pub(crate) fn is_present(&self, connection: u64) -> bool {
        let state = self.state.lock();
        state.connection == connection && state.wire.is_some() && state.silenced != connection
    }

    /// No connection any more, for good.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.wire = None;
        self.ended.notify_waiters();
        self.full.notify_waiters();
    }

    /// Whether it was closed for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Queues a message for that life. Dropped when another life is there. True when it can be flushed.
    pub(crate) fn push(&self, to: Peer, payload: Bytes) -> bool {
        let mut state = self.state.lock();
        if state.life != Some(to.incarnation) {
            return false;
        }
        let bytes = payload.len() + frame::HEADER_BYTES;
        if state.outbox.push(payload, bytes).is_err() {
            state.overflowed = true;
        }
        state.wire.is_some()
    }

    /// Says something outside of the numbered stream, behind what stands ready for the socket. It is lost with the connection,
    /// and not said where there is none or the peer is too far behind: false then.
    pub(crate) fn say(&self, payload: &[u8]) -> bool {
        let mut state = self.state.lock();
        if state.wire.is_none() || state.ready.len() + payload.len() > SAID_BYTES_MAX {
            return false;
        }
        let taken = state.inbox.taken();
        frame::put(&mut state.ready, 0, taken, payload);
        state.acknowledged = taken;
        if !state.write() {
            drop(state);
            self.full.notify_one();
        }
        true
    }

    /// Whether there is a connection.
    pub(crate) fn is_up(&self) -> bool {
        self.state.lock().wire.is_some()
    }

    /// Whether there is one to this life.
    pub(crate) fn is_up_to(&self, life: Incarnation) -> bool {
        let state = self.state.lock();
        state.wire.is_some() && state.life == Some(life)
    }

    /// Whether something is queued that was not yet put out.
    pub(crate) fn has_unsent(&self) -> bool {
        let state = self.state.lock();
        state.wire.is_some() && state.taken < state.outbox.last()
    }

    /// Writes as much as the socket takes.
    pub(crate) fn flush(&self) {
        let mut state = self.state.lock();
        if !state.write() {
            drop(state);
            self.full.notify_one();
        }
    }

    /// As [`Link::flush`], for the I/O thread: whether everything was written, and to which socket the rest goes.
    pub(crate) fn write_on(&self) -> Option<Arc<Wire>> {
        let mut state = self.state.lock();
        if state.write() { None } else { state.wire.clone() }
    }

    /// A frame came in on that connection. `Next` counts it as taken; `None` when the connection is no longer the present
    /// one, whose stream this frame has nothing to do with.
    pub(crate) fn arrive(&self, connection: u64, number: u64, acknowledged: u64) -> Option<Arrival> {
        let mut state = self.state.lock();
        if state.connection != connection || state.wire.is_none() || state.silenced == connection {
            return None;
        }
        state.last_heard = Some(Instant::now());
        state.outbox.acknowledged(acknowledged);
        Some(if number == 0 { Arrival::Again } else { state.inbox.arrive(number) })
    }

    /// Sends an acknowledgement if much was taken since the last one went out, or a heartbeat if nothing went out for long.
    pub(crate) fn keep_alive(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.wire.is_none() {
            return;
        }
        let taken = state.inbox.taken();
        let silent = state.last_wrote.is_none_or(|at| now.duration_since(at) >= HEARTBEAT);
        if taken >= state.acknowledged + ACKNOWLEDGE_EVERY || silent {
            state.acknowledged = taken;
            frame::put(&mut state.ready, 0, taken, &[]);
            if !state.write() {
                drop(state);
                self.full.notify_one();
            }
        }
    }

    /// Gives the connection up when nothing was heard on it for too long: the peer may be gone without a word.
    pub(crate) fn drop_if_silent(&self, now: Instant) {
        let mut state = self.state.lock();
        let silent = state.last_heard.is_some_and(|at| now.saturating_duration_since(at) >= SILENCE_MAX);
        if silent && state.wire.is_some() {
            state.silenced = state.connection;
            self.ended.notify_waiters();
        }
    }

    /// Whether the stream has become congested or is no longer, since the last call.
    pub(crate) fn congestion_change(&self) -> Option<bool> {
        let mut state = self.state.lock();
        let congested = state.outbox.is_congested();
        let changed = congested != state.congested;
        state.congested = congested;
        changed.then_some(congested)
    }

    /// Whether the outbox would not take a message.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.state.lock().overflowed
    }

    /// Bytes that the peer has not acknowledged.
    pub(crate) fn unacknowledged_bytes(&self) -> usize {
        self.state.lock().outbox.bytes()
    }
}

impl State {
    /// False when the socket is full. An error is left for the reader, who sees it too.
    fn write(&mut self) -> bool {
        let Some(wire) = self.wire.clone() else { return true };
        loop {
            self.fill();
            match wire.write(&self.ready) {
                Ok(0) if self.ready.is_empty() => return true,
                Ok(written) => {
                    self.ready.advance(written);
                    self.last_wrote = Some(Instant::now());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Takes what stands behind the last one taken from the stream.
    fn fill(&mut self) {
        if self.taken >= self.outbox.last() || self.ready.len() >= READY_BYTES {
            return;
        }
        let acknowledged = self.inbox.taken();
        let State { outbox, ready, taken, .. } = self;
        for (number, payload) in outbox.behind(*taken) {
            frame::put(ready, number, acknowledged, payload);
            *taken = number;
            if ready.len() >= READY_BYTES {
                break;
            }
        }
        self.acknowledged = acknowledged;
    }
}
