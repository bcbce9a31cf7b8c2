//! The reading end of a link: the bytes of its present connection that are not yet a whole frame. Whoever holds it reads,
//! cuts and handles; that is the I/O thread, and at times a thread that waits for its own commit (see `drive`). Frames are
//! handled under the reader's lock, so in their order whoever reads.

use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult};
use std::sync::Arc;

use bytes::BytesMut;
use hypermnesia_replication::{Arrival, Message, Peer};
use hypermnesia_store::{codec, limits::MESSAGE_BYTES_MAX};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Link;
use super::frame;
use crate::carry::Carry;
use crate::core::Core;
use crate::limits::{GLANCE_BYTES, READ_CHUNK_BYTES};

/// One connection as its reader knows it.
pub(crate) struct Reader {
    socket: Arc<TcpStream>,
    peer: Peer,
    connection: u64,
    bytes: BytesMut,
    /// Where a glance reads to; made at the first one.
    glanced: Box<[u8]>,
}

impl Reader {
    pub(crate) fn new(socket: Arc<TcpStream>, peer: Peer, connection: u64) -> Reader {
        let bytes = BytesMut::with_capacity(READ_CHUNK_BYTES);
        Reader { socket, peer, connection, bytes, glanced: Box::default() }
    }

    /// The connection's number.
    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// Reads once and handles every whole frame. For the I/O thread, after the socket said that there is something.
    pub(crate) fn take(&mut self, core: &Core, link: &Link) -> IoResult<()> {
        self.bytes.reserve(READ_CHUNK_BYTES);
        if self.socket.try_read_buf(&mut self.bytes)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.handle(core, link)
    }

    /// Reads what is there, if anything, whatever the I/O thread knows of it. The end of a connection is left to that
    /// thread, which finds the same.
    pub(crate) fn glance(&mut self, core: &Core, link: &Link) -> IoResult<()> {
        if self.glanced.is_empty() {
            self.glanced = vec![0; GLANCE_BYTES].into();
        }
        let taken = (&*SockRef::from(&*self.socket)).read(&mut self.glanced)?;
        self.bytes.extend_from_slice(&self.glanced[..taken]);
        self.handle(core, link)
    }

    fn handle(&mut self, core: &Core, link: &Link) -> IoResult<()> {
        let mut out = Carry::new(core);
        let taken = self.take_whole(core, link, &mut out);
        out.finish();
        taken
    }

    fn take_whole(&mut self, core: &Core, link: &Link, out: &mut Carry<'_>) -> IoResult<()> {
        let invalid = |error| IoError::new(ErrorKind::InvalidData, error);
        while let Some(frame) =
            frame::cut(&mut self.bytes).map_err(|bad| IoError::new(ErrorKind::InvalidData, bad))?
        {
            // Read before it is counted as taken: what cannot be read comes again on the next connection.
            let message = match frame.number {
                0 => None,
                _ => Some(codec::decode(&frame.payload, MESSAGE_BYTES_MAX).map_err(invalid)?),
            };
            match link.arrive(self.connection, frame.number, frame.acknowledged) {
                None => return Err(IoError::other("it was replaced or closed")),
                Some(Arrival::Again) => {}
                Some(Arrival::Gap) => {
                    return Err(IoError::new(ErrorKind::InvalidData, "a message is missing"));
                }
                Some(Arrival::Next) => {
                    let message: Message = message.expect("numbered frames carry one");
                    core.on_message(self.peer, message, out);
                }
            }
        }
        Ok(())
    }
}
