//! The reading end of a link: the bytes of its present connection that are not yet a whole frame. Whoever holds it reads,
//! cuts and handles; that is the I/O thread, and at times a thread that waits for its own commit (see `drive`). Frames are
//! handled under the reader's lock, so in their order whoever reads.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::sync::Arc;

use bytes::BytesMut;
use hypermnesia_replication::{Arrival, Message, Peer};
use hypermnesia_store::{codec, limits::MESSAGE_BYTES_MAX};

use super::Link;
use super::frame;
use super::wire::Wire;
use crate::carry::Carry;
use crate::control::Word;
use crate::core::Core;

/// Why a connection is read no longer.
const REPLACED: &str = "it was replaced or closed";

/// One connection as its reader knows it.
pub(crate) struct Reader {
    wire: Arc<Wire>,
    peer: Peer,
    connection: u64,
    bytes: BytesMut,
    /// Where a glance reads to, and with TLS everything; made at the first read.
    raw: Box<[u8]>,
}

impl Reader {
    /// `bytes` are those that came behind the hello.
    pub(crate) fn new(wire: Arc<Wire>, peer: Peer, connection: u64, bytes: BytesMut) -> Reader {
        Reader { wire, peer, connection, bytes, raw: Box::default() }
    }

    /// The connection's number.
    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// Reads once and handles every whole frame. For the I/O thread, after the socket said that there is something.
    pub(crate) fn take(&mut self, core: &Core, link: &Link) -> IoResult<()> {
        let taken = self.wire.take(&mut self.raw, &mut self.bytes);
        // What came before an end, or before what cannot be opened, is whole.
        self.handle(core, link)?;
        taken
    }

    /// Reads what is there, if anything, whatever the I/O thread knows of it. The end of a connection is left to that
    /// thread, which finds the same.
    pub(crate) fn glance(&mut self, core: &Core, link: &Link) -> IoResult<()> {
        self.wire.glance(&mut self.raw, &mut self.bytes)?;
        self.handle(core, link)
    }

    /// Handles the frames that came with the hello.
    pub(crate) fn begin(&mut self, core: &Core, link: &Link) -> IoResult<()> {
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
            if frame.number == 0 && !frame.payload.is_empty() {
                let word = Word::decode(&frame.payload).map_err(invalid)?;
                match link.arrive(self.connection, 0, frame.acknowledged) {
                    None => return Err(IoError::other(REPLACED)),
                    Some(_) => core.on_word(self.peer, word),
                }
                continue;
            }
            // Read before it is counted as taken: what cannot be read comes again on the next connection.
            let message = match frame.number {
                0 => None,
                _ => Some(codec::decode(&frame.payload, MESSAGE_BYTES_MAX).map_err(invalid)?),
            };
            match link.arrive(self.connection, frame.number, frame.acknowledged) {
                None => return Err(IoError::other(REPLACED)),
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
