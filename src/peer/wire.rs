//! The socket of a connection, with TLS over it or without. TLS is one object for both directions, so its lock is the innermost:
//! who reads takes it under the reader's lock, who writes under the link's, for as long as the bytes of some records are
//! opened or sealed. Nothing blocks under it, and no other lock is taken.

use std::io::{BufRead, Error as IoError, ErrorKind, IoSlice, Read, Result as IoResult, Write};

use bytes::BytesMut;
use parking_lot::Mutex;
use rustls::Connection;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::{GLANCE_BYTES, PARTING, PARTING_BYTES, READ_CHUNK_BYTES, SEALED_BYTES};

/// Bytes of a read before the hello.
const SIP_BYTES: usize = 1024;

/// See the file's header.
pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<Mutex<Connection>>,
    /// Whom the certificate of the other end names.
    names: Vec<String>,
}

impl Wire {
    /// A socket as it is.
    pub(super) fn plain(socket: TcpStream) -> Wire {
        Wire { socket, tls: None, names: Vec::new() }
    }

    /// A socket behind a handshake.
    pub(super) fn sealed(socket: TcpStream, mut tls: Connection) -> Wire {
        // What is sealed goes to the socket before more is: this is all that a full socket leaves here.
        tls.set_buffer_limit(Some(SEALED_BYTES));
        let certificate = tls.peer_certificates().and_then(<[_]>::first);
        let names = certificate.map(crate::tls::names_of).unwrap_or_default();
        Wire { socket, tls: Some(Mutex::new(tls)), names }
    }

    /// Whom the certificate of the other end names.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it has TLS.
    pub(super) fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) async fn readable(&self) -> IoResult<()> {
        self.socket.readable().await
    }

    pub(super) async fn writable(&self) -> IoResult<()> {
        self.socket.writable().await
    }

    /// Lets go of the connection so that the other end can read what was said last.
    pub(super) async fn part(&self) {
        part(&self.socket).await;
    }

    /// Reads once what the socket has, for who was told that there is something.
    pub(super) fn take(&self, raw: &mut Box<[u8]>, into: &mut BytesMut) -> IoResult<()> {
        let Some(tls) = &self.tls else {
            into.reserve(READ_CHUNK_BYTES);
            return some(self.socket.try_read_buf(into)?).map(drop);
        };
        let raw = of_length(raw, READ_CHUNK_BYTES);
        let taken = some(self.socket.try_read(raw)?)?;
        self.open(tls, &raw[..taken], into)
    }

    /// Reads a little, for who waits for a hello.
    pub(super) fn sip(&self, into: &mut BytesMut) -> IoResult<()> {
        let mut raw = [0; SIP_BYTES];
        let taken = some(self.socket.try_read(&mut raw)?)?;
        match &self.tls {
            None => into.extend_from_slice(&raw[..taken]),
            Some(tls) => self.open(tls, &raw[..taken], into)?,
        }
        Ok(())
    }

    /// Reads what is there, if anything, whatever the I/O thread knows of it.
    pub(super) fn glance(&self, raw: &mut Box<[u8]>, into: &mut BytesMut) -> IoResult<()> {
        let raw = &mut of_length(raw, GLANCE_BYTES)[..GLANCE_BYTES];
        let taken = (&*SockRef::from(&self.socket)).read(raw)?;
        match &self.tls {
            None => into.extend_from_slice(&raw[..taken]),
            Some(tls) => self.open(tls, &raw[..taken], into)?,
        }
        Ok(())
    }

    /// Opens what came in. In pieces, so that nobody who writes waits for long.
    fn open(&self, tls: &Mutex<Connection>, raw: &[u8], into: &mut BytesMut) -> IoResult<()> {
        raw.chunks(GLANCE_BYTES).try_for_each(|piece| {
            let mut tls = tls.lock();
            let opened = open(&mut tls, piece, into);
            if tls.wants_write() {
                // An alert, or the answer to new keys. What the socket does not take goes with the next write.
                drop(tls.write_tls(&mut Socket(&self.socket)));
            }
            opened
        })
    }

    /// Writes once. How many of the bytes were taken; none of none when nothing is left here either.
    pub(super) fn write(&self, bytes: &[u8]) -> IoResult<usize> {
        match &self.tls {
            None if bytes.is_empty() => Ok(0),
            None => self.socket.try_write(bytes),
            Some(tls) => seal(&mut tls.lock(), &self.socket, bytes),
        }
    }

    /// Bytes that are sealed and not yet with the socket.
    #[cfg(test)]
    pub(super) fn sealed_bytes(&self) -> usize {
        let mut tls = self.tls.as_ref().expect("it has TLS").lock();
        let mut counted = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut counted).expect("a vector takes all");
        }
        counted.len()
    }
}

/// The bytes of a read; none is the end.
fn some(taken: usize) -> IoResult<usize> {
    if taken == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(taken) }
}

/// The buffer, with room for that many bytes.
fn of_length(raw: &mut Box<[u8]>, length: usize) -> &mut [u8] {
    if raw.len() < length {
        *raw = vec![0; length].into();
    }
    raw
}

/// Opens records. What cannot be opened ends the connection.
pub(super) fn open(tls: &mut Connection, mut raw: &[u8], into: &mut BytesMut) -> IoResult<()> {
    while !raw.is_empty() {
        if tls.read_tls(&mut raw)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        tls.process_new_packets().map_err(|error| IoError::new(ErrorKind::InvalidData, error))?;
        loop {
            let mut reader = tls.reader();
            let opened = match reader.fill_buf() {
                Ok(opened) => opened,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            into.extend_from_slice(opened);
            match opened.len() {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                taken => reader.consume(taken),
            }
        }
    }
    Ok(())
}

/// Seals as much as goes with one turn, behind what the socket did not take the last time.
fn seal(tls: &mut Connection, socket: &TcpStream, bytes: &[u8]) -> IoResult<usize> {
    flush(tls, socket)?;
    if bytes.is_empty() {
        return Ok(0);
    }
    let taken = tls.writer().write(bytes)?;
    // It is sealed, so it counts as taken whatever becomes of it: the rest of it goes before whatever comes next, which finds
    // the same error if it is one.
    drop(flush(tls, socket));
    Ok(taken)
}

/// Hands what is sealed to the socket.
pub(super) fn flush(tls: &mut Connection, socket: &TcpStream) -> IoResult<()> {
    while tls.wants_write() {
        tls.write_tls(&mut Socket(socket))?;
    }
    Ok(())
}

/// Says that nothing follows, and takes what still comes for a moment: a socket that is closed with something in it takes
/// back what was said last.
pub(super) async fn part(socket: &TcpStream) {
    drop(SockRef::from(socket).shutdown(std::net::Shutdown::Write));
    let rest = async {
        let mut bytes = [0; 4096];
        let mut left = PARTING_BYTES;
        while left > 0 && socket.readable().await.is_ok() {
            match socket.try_read(&mut bytes) {
                Ok(1..) => left = left.saturating_sub(bytes.len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    };
    drop(timeout(PARTING, rest).await);
}

/// A socket that never blocks, for rustls.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> IoResult<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::secured::pair;
    use bytes::Buf;

    /// A number for a place in a stream.
    fn letter(at: usize) -> u8 {
        (at * 31 + at / 251) as u8
    }

    /// Writes so many bytes, and reads as many, in pieces of all lengths.
    async fn talk(wire: &Wire, length: usize) {
        let whole: Vec<u8> = (0..length).map(letter).collect();
        let (mut left, mut raw, mut heard) = (BytesMut::from(&whole[..]), Box::default(), BytesMut::new());
        let mut piece = 1;
        let mut wrote_all = false;
        while !wrote_all || heard.len() < length {
            piece = piece * 3 % 200_003;
            match wire.write(&left[..piece.min(left.len())]) {
                Ok(0) => wrote_all = true,
                Ok(written) => left.advance(written),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            match if piece % 2 == 0 {
                wire.glance(&mut raw, &mut heard)
            } else {
                wire.take(&mut raw, &mut heard)
            } {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            tokio::task::yield_now().await;
        }
        assert!(heard[..] == whole[..]);
    }

    #[tokio::test]
    async fn all_bytes_come_through_both_ways() {
        // Aim: TLS loses, doubles and moves nothing, whatever the sockets take and however it is read. Method: both ends send
        // more than the sockets hold, in pieces from one byte to many records, and read in both ways meanwhile.
        let (one, other) = pair().await;
        tokio::join!(talk(&one, 9_000_000), talk(&other, 9_000_000));
    }

    #[tokio::test]
    async fn a_peer_that_stops_reading_costs_a_bounded_memory() {
        // Aim: what TLS holds for a full socket is bounded, and nothing of it is lost. Method: one end writes until it is told
        // to wait, and then ten thousand times more; then the other one reads all that was taken.
        let (one, other) = pair().await;
        let piece = vec![7; 1 << 20];
        let (mut taken, mut refused) = (0, 0);
        while refused < 10_000 {
            match one.write(&piece) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let (mut raw, mut heard) = (Box::default(), BytesMut::new());
        while heard.len() < taken {
            drop(one.write(&[]));
            if let Err(error) = other.take(&mut raw, &mut heard) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(heard.len(), taken);
        while one.write(&piece).is_ok() {}
        let held = one.sealed_bytes();
        assert!(0 < held && held <= SEALED_BYTES + SEALED_BYTES / 8, "{held} bytes");
    }
}
