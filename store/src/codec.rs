//! The one place where bincode is used: peer messages and log records to bytes and back. Everybody else calls [`encode`]
//! and [`decode`], and what lies in files or opens a connection goes through [`seal`] and [`open`], which add a kind, a
//! version, a length and a checksum.
//!
//! Decoding borrows from its input where it can and never asks for more memory than the input can account for: byte
//! strings (rows, keys) are cut from the input, sequences grow as their elements are read. All bytes must be used.
//!
//! bincode is finished (its successor release is empty), which is why it stands behind four functions and why the golden
//! bytes below fix its output: another codec can take its place at the next version of the envelope.

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::MESSAGE_BYTES_MAX;

/// Bytes that could not be decoded. Nothing came of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More bytes than the caller allows here.
    #[error("{bytes} bytes, at most {limit} are decoded here")]
    TooLong {
        /// How many there are.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// They do not spell what was asked for.
    #[error("not decodable: {0}")]
    Undecodable(String),
    /// The value cannot be written down.
    #[error("not encodable: {0}")]
    Unencodable(String),
    /// They go on behind the end of what was asked for.
    #[error("{0} bytes behind the end")]
    Trailing(usize),
    /// The envelope is cut off or is none.
    #[error("no envelope: {0}")]
    NoEnvelope(&'static str),
    /// The envelope holds something else.
    #[error("holds kind {found:#06x} where {wanted:#06x} was wanted")]
    WrongKind {
        /// What it says it holds.
        found: u16,
        /// What was asked for.
        wanted: u16,
    },
    /// The checksum does not match: the bytes were changed.
    #[error("checksum does not match")]
    Checksum,
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>()
}

/// Encodes a message or record.
///
/// # Panics
/// When the type's `Serialize` fails or hides the length of a sequence, which none of ours does.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// As [`encode`], of a type that is not ours.
///
/// # Errors
/// [`CodecError`] when the type's `Serialize` fails or hides the length of a sequence.
pub fn encode_checked<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, configuration())
        .map_err(|wrong| CodecError::Unencodable(wrong.to_string()))
}

/// Encodes behind what the buffer already holds, so that a batch is one buffer.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, configuration())
        .expect("writing to memory does not fail and our types know their lengths");
}

/// Decodes exactly these bytes, at most `limit` of them.
///
/// # Errors
/// [`CodecError`]; no state is involved.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: usize) -> Result<T, CodecError> {
    let limit = limit.min(MESSAGE_BYTES_MAX);
    if bytes.len() > limit {
        return Err(CodecError::TooLong { bytes: bytes.len(), limit });
    }
    let (value, used) = bincode::serde::borrow_decode_from_slice(bytes, configuration())
        .map_err(|wrong| CodecError::Undecodable(wrong.to_string()))?;
    if used != bytes.len() {
        return Err(CodecError::Trailing(bytes.len() - used));
    }
    Ok(value)
}

/// Text in messages and records, for `#[serde(deserialize_with)]`: cut from the input before it is owned. By itself a `String`
/// takes memory for the length it claims before a byte of it is seen.
///
/// # Errors
/// As the input has it.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    <&'de str>::deserialize(deserializer).map(str::to_owned)
}

const MAGIC: [u8; 2] = *b"Hm";
/// Magic, kind, version, length, checksum.
pub const ENVELOPE_BYTES: usize = 2 + 2 + 2 + 4 + 4;

/// Puts a payload into an envelope: `"Hm"`, kind, version, length of the payload, CRC-32 of all that and the payload, then
/// the payload. Numbers are little-endian, and two bytes long but for length and checksum, which have four.
///
/// # Panics
/// When the payload is longer than [`MESSAGE_BYTES_MAX`]; whoever builds it keeps it below.
pub fn seal(kind: u16, version: u16, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= MESSAGE_BYTES_MAX, "payload of {} bytes in an envelope", payload.len());
    let mut sealed = Vec::with_capacity(ENVELOPE_BYTES + payload.len());
    sealed.extend_from_slice(&MAGIC);
    sealed.extend_from_slice(&kind.to_le_bytes());
    sealed.extend_from_slice(&version.to_le_bytes());
    sealed.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let sum = checksum(&sealed, payload);
    sealed.extend_from_slice(&sum.to_le_bytes());
    sealed.extend_from_slice(payload);
    sealed
}

/// Takes the payload and its version out of an envelope of this kind.
///
/// # Errors
/// [`CodecError`] when it is cut off, longer than it says, of another kind, or changed.
pub fn open(kind: u16, sealed: &[u8]) -> Result<(u16, &[u8]), CodecError> {
    let Some((header, payload)) = sealed.split_at_checked(ENVELOPE_BYTES) else {
        return Err(CodecError::NoEnvelope("cut off in its header"));
    };
    if header[..2] != MAGIC {
        return Err(CodecError::NoEnvelope("does not begin as one"));
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(6) as usize != payload.len() {
        return Err(CodecError::NoEnvelope("not of the length it states"));
    }
    if number(10) != checksum(&header[..10], payload) {
        return Err(CodecError::Checksum);
    }
    let found = u16::from_le_bytes([header[2], header[3]]);
    if found != kind {
        return Err(CodecError::WrongKind { found, wanted: kind });
    }
    Ok((u16::from_le_bytes([header[4], header[5]]), payload))
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}
