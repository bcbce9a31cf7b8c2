//! The bytes of a log segment: one header, then frames, then zeros.
//!
//! A segment is filled with zeros and synced before it is used, so that appending changes neither length nor
//! allocation and fdatasync has only data to write. A frame states its own position, so bytes that ended up
//! elsewhere never pass for a frame. It also states how far the log was synced when it was appended. That is what
//! tells a torn tail from damage: unsynced writes may reach the disc in any order, so a hole before a whole frame
//! is ordinary after a power cut, unless that later frame says that the hole had been synced. Where no power was cut since
//! the log was written, it is damage always: a killed process leaves every write that returned.
//!
//! ```text
//! header (64 bytes)  magic 8 | format u32 | index u64 | start position u64 | capacity u64 | directory id 16 | zeros | crc32
//! frame              length u32 | crc32 | position u64 | synced position u64 | payload
//! ```
//! All numbers are little endian; a frame's checksum covers everything in it but itself. A frame without payload
//! is a mark: it only carries the synced position. Frames never cross into the next segment. Format 1 had no directory id.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{DiscError, Result};
use super::identity::DirectoryId;
use super::limits::FRAME_PAYLOAD_BYTES_MAX;

/// The format of segments this program writes; it reads this one and [`NAMELESS_FORMAT`].
pub(crate) const LOG_FORMAT: u32 = 2;

/// The format of segments that do not name their directory.
const NAMELESS_FORMAT: u32 = 1;

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: u64 = 64;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER_BYTES: u64 = 24;

const MAGIC: [u8; 8] = *b"HMNLOG\x1a\n";
const DIRECTORY_AT: usize = 36;
const CRC_AT: usize = HEADER_BYTES as usize - 4;

/// A place in the log, in bytes since the log began. Positions only grow, across segments and restarts; the
/// position *after* a record is what has to be written or synced for the record to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position(pub u64);

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Counts segments from 1; part of the file name.
    pub(crate) index: u64,
    /// The position of the first frame.
    pub(crate) start: Position,
    /// The length of the file, header included.
    pub(crate) capacity: u64,
    /// The directory it was made for.
    pub(crate) directory: Option<DirectoryId>,
}

/// The name of the segment with this index.
pub(crate) fn segment_name(index: u64) -> String {
    format!("log-{index:012}.seg")
}

/// The index in a segment's name; `None` for other files.
pub(crate) fn segment_index(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    if digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        let format = if self.directory.is_some() { LOG_FORMAT } else { NAMELESS_FORMAT };
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.index.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.start.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.capacity.to_le_bytes());
        if let Some(DirectoryId(id)) = &self.directory {
            bytes[DIRECTORY_AT..DIRECTORY_AT + 16].copy_from_slice(id);
        }
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `path` is for the error. The format is judged before the checksum, so that a later format
    /// may move it.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Header> {
        if bytes.len() < HEADER_BYTES as usize {
            return Err(DiscError::corrupt(path, bytes.len() as u64, "the file ends inside its header"));
        }
        if bytes[..8] != MAGIC {
            return Err(DiscError::corrupt(path, 0, "this is not a log segment (wrong first bytes)"));
        }
        let found = u32_at(bytes, 8);
        let intact = u32_at(bytes, CRC_AT) == crc32fast::hash(&bytes[..CRC_AT]);
        let known = [NAMELESS_FORMAT, LOG_FORMAT].contains(&found);
        if !known && (intact || found > LOG_FORMAT && found < 1 << 16) {
            return Err(DiscError::Version { file: path.to_owned(), found, expected: LOG_FORMAT });
        }
        if !intact {
            return Err(DiscError::corrupt(path, 0, "the header's checksum does not match"));
        }
        let id = bytes[DIRECTORY_AT..DIRECTORY_AT + 16].try_into().expect("sixteen bytes");
        Ok(Header {
            index: u64_at(bytes, 12),
            start: Position(u64_at(bytes, 20)),
            capacity: u64_at(bytes, 28),
            directory: (found == LOG_FORMAT).then_some(DirectoryId(id)),
        })
    }
}

/// Appends one frame to `out`.
pub(crate) fn encode_frame(out: &mut Vec<u8>, position: Position, synced: Position, payload: &[u8]) {
    let at = out.len();
    let length = u32::try_from(payload.len()).expect("append refuses payloads above FRAME_PAYLOAD_BYTES_MAX");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&position.0.to_le_bytes());
    out.extend_from_slice(&synced.0.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = frame_crc(&out[at..]);
    out[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What stands at one place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// Zeros, or nothing: the log ends here, or what came here was lost.
    Blank,
    /// Something else.
    Broken(&'static str),
}

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) synced: Position,
}

impl Frame<'_> {
    pub(crate) fn bytes(&self) -> u64 {
        FRAME_HEADER_BYTES + self.payload.len() as u64
    }
}

/// Looks at the frame that would start at `offset` of a segment's bytes and have this position.
pub(crate) fn spot(bytes: &[u8], offset: u64, position: Position) -> Spot<'_> {
    let rest = &bytes[(offset as usize).min(bytes.len())..];
    let head = &rest[..rest.len().min(FRAME_HEADER_BYTES as usize)];
    if head.iter().all(|b| *b == 0) {
        return Spot::Blank;
    }
    if head.len() < FRAME_HEADER_BYTES as usize {
        return Spot::Broken("a record's header is cut off");
    }
    if u64_at(rest, 8) != position.0 {
        return Spot::Broken("a record's header names another position");
    }
    let length = u64::from(u32_at(rest, 0));
    if length > FRAME_PAYLOAD_BYTES_MAX {
        return Spot::Broken("a record's length is above the limit");
    }
    let Some(frame) = rest.get(..(FRAME_HEADER_BYTES + length) as usize) else {
        return Spot::Broken("a record is cut off");
    };
    if frame_crc(frame) != u32_at(frame, 4) {
        return Spot::Broken("a record's checksum does not match");
    }
    let payload = &frame[FRAME_HEADER_BYTES as usize..];
    Spot::Frame(Frame { payload, synced: Position(u64_at(frame, 16)) })
}

/// Searches the bytes after a bad spot for a whole frame which proves that something stood there: one that knew that the spot
/// had been synced, or any, where every write that returned has to be there. Returns the offset of that frame.
pub(crate) fn proof_of_damage(bytes: &[u8], bad: u64, start: Position, unbroken: bool) -> Option<u64> {
    let end = used_bytes(bytes);
    let bad_position = position_at(bad, start);
    (bad + 1..end).find(|offset| {
        let position = position_at(*offset, start);
        let at = *offset as usize;
        bytes.len() >= at + FRAME_HEADER_BYTES as usize
            && u64_at(bytes, at + 8) == position.0
            && matches!(spot(bytes, *offset, position), Spot::Frame(f) if unbroken || f.synced > bad_position)
    })
}

/// The length of the bytes without the zeros at their end.
pub(crate) fn used_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1)
}

/// The position that belongs to an offset in the segment that starts at `start`.
pub(crate) fn position_at(offset: u64, start: Position) -> Position {
    Position(start.0 + (offset - HEADER_BYTES))
}

/// The offset that belongs to a position in the segment that starts at `start`.
pub(crate) fn offset_at(position: Position, start: Position) -> u64 {
    HEADER_BYTES + (position.0 - start.0)
}

fn frame_crc(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..4]);
    hasher.update(&frame[8..]);
    hasher.finalize()
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment_of(frames: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        for (synced, payload) in frames {
            let position = position_at(bytes.len() as u64, Position(1000));
            encode_frame(&mut bytes, position, Position(*synced), payload);
        }
        bytes.resize(bytes.len() + 100, 0);
        bytes
    }

    /// Aim: every flipped bit of a frame is noticed. Method: flip each bit of one frame.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = segment_of(&[(0, b"hello, world")]);
        assert!(
            matches!(spot(&good, HEADER_BYTES, Position(1000)), Spot::Frame(f) if f.payload == b"hello, world")
        );
        for bit in HEADER_BYTES * 8..(HEADER_BYTES + FRAME_HEADER_BYTES + 12) * 8 {
            let mut bad = good.clone();
            bad[bit as usize / 8] ^= 1 << (bit % 8);
            assert!(matches!(spot(&bad, HEADER_BYTES, Position(1000)), Spot::Broken(_)), "bit {bit}");
        }
        assert!(matches!(spot(&good, HEADER_BYTES, Position(1001)), Spot::Broken(_)));
    }

    /// Aim: a hole is damage when a later frame proves that it was synced, and where no power was cut. Method: both kinds of
    /// later frame, both kinds of past.
    #[test]
    fn later_frame_proves_damage_only_when_it_knew_of_a_sync() {
        let second_at = HEADER_BYTES + FRAME_HEADER_BYTES + 3;
        for (synced, proven) in [(1000, None), (1001, Some(second_at))] {
            let mut bytes = segment_of(&[(0, b"one"), (synced, b"two")]);
            bytes[HEADER_BYTES as usize + 25] ^= 1;
            assert_eq!(proof_of_damage(&bytes, HEADER_BYTES, Position(1000), false), proven);
            assert_eq!(proof_of_damage(&bytes, HEADER_BYTES, Position(1000), true), Some(second_at));
        }
    }

    /// Aim: a header names its trouble. Method: a good one, another format, a flipped byte, a short file.
    #[test]
    fn header_names_what_is_wrong() {
        let directory = Some(DirectoryId([5; 16]));
        let header = Header { index: 3, start: Position(77), capacity: 4096, directory };
        let nameless = Header { directory: None, ..header };
        let path = Path::new("x.seg");
        assert_eq!(Header::decode(&nameless.encode(), path).expect("format 1 is read"), nameless);
        let good = header.encode();
        assert_eq!(Header::decode(&good, path).expect("no fault is planted"), header);
        let mut newer = good;
        newer[8] = 9;
        assert!(matches!(Header::decode(&newer, path), Err(DiscError::Version { found: 9, .. })));
        let mut flipped = good;
        flipped[21] ^= 4;
        assert!(matches!(Header::decode(&flipped, path), Err(DiscError::Corrupt { .. })));
        assert!(matches!(Header::decode(&good[..10], path), Err(DiscError::Corrupt { offset: 10, .. })));
        assert_eq!(segment_index(&segment_name(42)), Some(42));
        assert_eq!(segment_index("log-1.seg"), None);
    }
}
