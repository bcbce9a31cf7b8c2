//! What comes before the hello: nothing on a plain connection, the handshake on one with TLS. Whoever began it, the first bytes
//! say whether the other end speaks TLS; when only one of both does, either is told in a way that it understands.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};

use bytes::BytesMut;
use rustls::Connection;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::frame;
use super::hello::Refused;
use super::wire::{self, Wire};
use crate::tls::{self, Tls};

/// A connection on which hellos can be said, and what came behind the handshake already.
pub(super) type Opened = (Wire, BytesMut);

/// Bytes that tell TLS from everything else.
pub(super) const TOLD_APART_BY: usize = 3;

/// Bytes that a handshake takes from the socket at a time.
const PIECE_BYTES: usize = 4096;

/// Whether these first bytes are those of a TLS record: its kind, and a version of 3.x. As the length of a frame they would be
/// above that of any hello.
pub(super) fn is_tls(first: &[u8]) -> bool {
    matches!(first, [20..=24, 3, 0..=4, ..])
}

/// Prepares a connection that this member has dialled.
pub(super) async fn dialled(tls: Option<&Tls>, socket: TcpStream) -> IoResult<Opened> {
    socket.set_nodelay(true)?;
    match tls {
        None => Ok((Wire::plain(socket), BytesMut::new())),
        Some(tls) => shake(socket, tls.dialled().map_err(IoError::other)?, None).await,
    }
}

/// Prepares a connection that came. With TLS, a step of a handshake costs a tenth of a millisecond to a whole one: `turns` has one
/// turn, which is kept until everything else that is ready had its own, so members are served between any two steps.
pub(super) async fn accepted(tls: Option<&Tls>, socket: TcpStream, turns: &Semaphore) -> IoResult<Opened> {
    socket.set_nodelay(true)?;
    match tls {
        None => Ok((Wire::plain(socket), BytesMut::new())),
        Some(tls) => shake(socket, tls.accepted().map_err(IoError::other)?, Some(turns)).await,
    }
}

/// The handshake of either end.
pub(super) async fn shake(
    socket: TcpStream,
    mut tls: Connection,
    turns: Option<&Semaphore>,
) -> IoResult<Opened> {
    let mut rest = BytesMut::new();
    match steps(&socket, &mut tls, turns, &mut rest).await {
        Ok(()) => Ok((Wire::sealed(socket, tls), rest)),
        Err(error) => {
            // The alert, by which the other end learns why.
            drop(wire::flush(&mut tls, &socket));
            wire::part(&socket).await;
            Err(error)
        }
    }
}

async fn steps(
    socket: &TcpStream,
    tls: &mut Connection,
    turns: Option<&Semaphore>,
    rest: &mut BytesMut,
) -> IoResult<()> {
    let (mut first, mut piece) = (Vec::new(), [0; PIECE_BYTES]);
    while tls.is_handshaking() || tls.wants_write() {
        if tls.wants_write() {
            socket.writable().await?;
            let flushed = wire::flush(tls, socket);
            flushed
                .or_else(|error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) })?;
            continue;
        }
        socket.readable().await?;
        let taken = match socket.try_read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(taken) => taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        told_apart(&mut first, &piece[..taken], tls)?;
        step(tls, &piece[..taken], turns, rest).await?;
    }
    Ok(())
}

/// Refuses who does not speak TLS, as soon as that can be seen.
fn told_apart(first: &mut Vec<u8>, piece: &[u8], tls: &mut Connection) -> IoResult<()> {
    if first.len() >= TOLD_APART_BY {
        return Ok(());
    }
    first.extend_from_slice(piece);
    if first.len() < TOLD_APART_BY || is_tls(first) {
        return Ok(());
    }
    // For its alert, which a plain member understands.
    drop(tls.read_tls(&mut &b"\0\0\0\0\0\0\0\0"[..]));
    drop(tls.process_new_packets());
    Err(refuse(Refused::SpeaksPlain))
}

async fn step(
    tls: &mut Connection,
    piece: &[u8],
    turns: Option<&Semaphore>,
    rest: &mut BytesMut,
) -> IoResult<()> {
    let _turn = match turns {
        Some(turns) => Some(turns.acquire().await.map_err(IoError::other)?),
        None => None,
    };
    let opened = wire::open(tls, piece, rest);
    tokio::task::yield_now().await;
    opened.map_err(in_words)
}

/// An error of TLS in the words of a refusal.
pub(super) fn in_words(error: IoError) -> IoError {
    let why = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(tls::said_of);
    why.map_or(error, |why| refuse(Refused::Tls(why)))
}

pub(super) fn refuse(why: Refused) -> IoError {
    IoError::new(ErrorKind::InvalidData, why)
}

/// What a plain member says to one that speaks TLS: a frame without content, which is no TLS and says nothing about us.
pub(super) fn plain_word() -> BytesMut {
    let mut word = BytesMut::new();
    frame::put(&mut word, 0, 0, &[]);
    word
}
