//! A frame of a peer connection: `[length u32][crc32 u32][number u64][acknowledged u64][payload]`, little-endian. The
//! length counts the payload, the checksum covers everything behind it. Number 0 carries no message (a heartbeat); the
//! acknowledgement says which number of the other direction was taken last.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::FRAME_BYTES_MAX;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 24;

/// A frame that came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) number: u64,
    pub(crate) acknowledged: u64,
    pub(crate) payload: Bytes,
}

/// The bytes are no frame: the connection cannot be trusted any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("a frame of {0} bytes is longer than any frame may be")]
    TooLong(usize),
    #[error("the checksum of a frame is wrong")]
    Checksum,
}

/// Appends a frame.
pub(crate) fn put(out: &mut BytesMut, number: u64, acknowledged: u64, payload: &[u8]) {
    let start = out.len();
    out.reserve(HEADER_BYTES + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&acknowledged.to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Cuts the next frame off; `None` when it is not whole yet.
pub(crate) fn cut(bytes: &mut BytesMut) -> Result<Option<Frame>, BadFrame> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (length, checksum) = (word(0) as usize, word(4));
    if length > FRAME_BYTES_MAX {
        return Err(BadFrame::TooLong(length));
    }
    if bytes.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    let mut frame = bytes.split_to(HEADER_BYTES + length).freeze();
    frame.advance(8);
    if crc32fast::hash(&frame) != checksum {
        return Err(BadFrame::Checksum);
    }
    Ok(Some(Frame { number: frame.get_u64_le(), acknowledged: frame.get_u64_le(), payload: frame }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        // Aim: framing under any split of the stream. Method: two frames, cut at every byte.
        let mut whole = BytesMut::new();
        put(&mut whole, 1, 7, b"first");
        put(&mut whole, 0, 8, b"");
        for at in 0..whole.len() {
            let mut bytes = BytesMut::from(&whole[..at]);
            let mut frames = Vec::new();
            while let Some(frame) = cut(&mut bytes).expect("whole") {
                frames.push(frame);
            }
            bytes.extend_from_slice(&whole[at..]);
            while let Some(frame) = cut(&mut bytes).expect("whole") {
                frames.push(frame);
            }
            let seen: Vec<_> = frames.iter().map(|f| (f.number, f.acknowledged, &f.payload[..])).collect();
            assert_eq!(seen, [(1, 7, &b"first"[..]), (0, 8, &b""[..])]);
        }
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        // Aim: no damaged frame is handled. Method: flip each bit behind the length.
        let mut whole = BytesMut::new();
        put(&mut whole, 1, 7, b"payload");
        for bit in 32..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cut(&mut bytes), Err(BadFrame::Checksum), "bit {bit}");
        }
        assert_eq!(cut(&mut BytesMut::from(&[0xff; 24][..])), Err(BadFrame::TooLong(u32::MAX as usize)));
    }
}
