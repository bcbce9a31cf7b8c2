//! HTTP/2 by hand: frames as bytes (RFC 9113, section 4.1) on a plain socket, so that they can be wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Longest payload that the server takes: what HTTP/2 starts with, which it does not change.
pub(crate) const PAYLOAD_MAX: usize = 16_384;

/// A frame with the length that its payload has.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(payload.len(), kind, flags, stream);
    bytes.extend(payload);
    bytes
}

/// The nine bytes before a payload of this length.
pub(crate) fn head(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut bytes = (length as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes
}

/// A field of a header block as plain text (RFC 7541, section 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127, "a length in one byte");
    let mut bytes = vec![0, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.as_bytes());
    bytes
}

/// The header block of a gRPC call.
pub(crate) fn call(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// What stands before a gRPC message of this length.
pub(crate) fn envelope(length: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection that says what it likes.
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    /// For whoever reads that it failed.
    what: String,
}

impl Wire {
    /// Says this first.
    pub(crate) fn saying(address: &str, first: &[u8]) -> Wire {
        let socket = TcpStream::connect(address).expect("the port is open");
        let mut wire = Wire { socket, what: "a connection".into() };
        wire.say(first);
        wire
    }

    /// The same, called this in what fails.
    pub(crate) fn called(mut self, what: &str) -> Wire {
        what.clone_into(&mut self.what);
        self
    }

    /// Begins as a client does.
    pub(crate) fn greeting(address: &str) -> Wire {
        Wire::saying(address, &[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
    }

    /// Says more; that the other side has closed meanwhile shows when it is listened to.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    /// The next frame; none when the server has closed.
    pub(crate) fn hear(&mut self, within: Duration) -> Option<Frame> {
        let until = Instant::now() + within;
        let mut head = [0; 9];
        self.fill(&mut head, until)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let mut payload = vec![0; length];
        self.fill(&mut payload, until)?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn fill(&mut self, mut bytes: &mut [u8], until: Instant) -> Option<()> {
        while !bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{}: the server neither spoke nor closed", self.what);
            self.socket.set_read_timeout(Some(left)).expect("more than nothing");
            match self.socket.read(bytes) {
                Ok(0) => return None,
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Listens until the server closes; the code of its farewell, if it gave a reason.
    pub(crate) fn closed(&mut self, within: Duration) -> Option<u32> {
        let until = Instant::now() + within;
        let mut reason = None;
        while let Some(frame) = self.hear(until.saturating_duration_since(Instant::now())) {
            if frame.kind == GOAWAY {
                reason = Some(u32::from_be_bytes(frame.payload[4..8].try_into().expect("four")));
            }
        }
        reason
    }

    /// Whether the call of a stream was answered with a message; without one it was refused.
    pub(crate) fn answered(&mut self, stream: u32, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut message = false;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let frame = self.hear(left).expect("the connection stays");
            if frame.stream != stream {
                continue;
            }
            message |= frame.kind == DATA && !frame.payload.is_empty();
            let ended = [HEADERS, DATA].contains(&frame.kind) && frame.flags & END_STREAM != 0;
            if ended || frame.kind == RST_STREAM {
                return message;
            }
        }
    }

    /// Whether the server answers on this connection.
    pub(crate) fn pings(&mut self, within: Duration) -> bool {
        self.say(&frame(PING, 0, 0, b"whatever"));
        let until = Instant::now() + within;
        while let Some(frame) = self.hear(until.saturating_duration_since(Instant::now())) {
            if frame.kind == PING && frame.flags & ACK != 0 {
                return true;
            }
        }
        false
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It may be closed already.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}
