//! The frames of a backup file: one at a time out of a reader, each checked before anybody looks into it.

use std::io::{Read, Write};

use super::error::BackupError;
use super::headers::BackupId;
use crate::limits::{BACKUP_CHUNK_BYTES, BACKUP_FRAME_BYTES_MAX};

/// The newest format of backup files, which is written. Every earlier one is read.
pub const FORMAT: u16 = 2;

const MAGIC: [u8; 8] = *b"HmBackup";
/// Magic, format, two zeros, checksum.
pub(super) const FILE_HEADER_BYTES: usize = 16;
/// Kind, length, checksum.
const FRAME_HEADER_BYTES: usize = 9;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Opening = 1,
    Table = 2,
    Rows = 3,
    Unchanged = 4,
    TableEnd = 5,
    Closing = 6,
    Sequences = 7,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        use Kind::{Closing, Opening, Rows, Sequences, Table, TableEnd, Unchanged};
        let all = [Opening, Table, Rows, Unchanged, TableEnd, Closing, Sequences];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

fn checksum(id: BackupId, number: u64, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.0);
    hasher.update(&number.to_le_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Frames on their way out: payload is gathered in one buffer with room for the header, so that a frame is one write.
pub(super) struct FrameWriter<W> {
    sink: W,
    pub(super) id: BackupId,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    frame: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn begin(mut sink: W) -> Result<FrameWriter<W>, BackupError> {
        let mut header = [0; FILE_HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        let sum = crc32fast::hash(&header[..12]);
        header[12..].copy_from_slice(&sum.to_le_bytes());
        sink.write_all(&header).map_err(BackupError::io("cannot write"))?;
        let mut frame = Vec::with_capacity(BACKUP_CHUNK_BYTES + FRAME_HEADER_BYTES);
        frame.resize(FRAME_HEADER_BYTES, 0);
        Ok(FrameWriter { sink, id: BackupId::default(), frames: 0, bytes: FILE_HEADER_BYTES as u64, frame })
    }

    /// The payload of the present frame, to be added to.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// Bytes of payload so far.
    pub(super) fn len(&self) -> usize {
        self.frame.len() - FRAME_HEADER_BYTES
    }

    /// Writes what was gathered as one frame.
    pub(super) fn end(&mut self, kind: Kind) -> Result<(), BackupError> {
        let len = u32::try_from(self.len()).expect("a frame is a chunk and one row, far below 4 GiB");
        self.frame[0] = kind as u8;
        self.frame[1..5].copy_from_slice(&len.to_le_bytes());
        let (head, payload) = self.frame.split_at(FRAME_HEADER_BYTES);
        let sum = checksum(self.id, self.frames, &head[..5], payload);
        self.frame[5..9].copy_from_slice(&sum.to_le_bytes());
        self.sink.write_all(&self.frame).map_err(BackupError::io("cannot write"))?;
        self.frames += 1;
        self.bytes += self.frame.len() as u64;
        self.frame.truncate(FRAME_HEADER_BYTES);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        self.sink.flush().map_err(BackupError::io("cannot write"))?;
        Ok(self.sink)
    }
}

/// Frames on their way in.
pub(super) struct FrameReader<R> {
    source: R,
    /// Of the file.
    pub(super) format: u16,
    pub(super) id: BackupId,
    /// Number of the next frame.
    pub(super) number: u64,
    /// Where the next frame begins.
    pub(super) offset: u64,
    payload: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    /// Reads and checks the beginning of a file.
    pub(super) fn open(mut source: R) -> Result<FrameReader<R>, BackupError> {
        let mut header = [0; FILE_HEADER_BYTES];
        let got = fill(&mut source, &mut header)?;
        if header[..got.min(MAGIC.len())] != MAGIC[..got.min(MAGIC.len())] || got == 0 {
            let why = if got == 0 { "it is empty" } else { "it begins otherwise" };
            return Err(BackupError::NotABackup { why });
        }
        if got < FILE_HEADER_BYTES {
            return Err(BackupError::Truncated { offset: got as u64, inside: "in its first line" });
        }
        if word(&header, 12) != crc32fast::hash(&header[..12]) {
            return Err(BackupError::Damaged {
                offset: 0,
                why: "the checksum of its beginning is wrong".into(),
            });
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if !(1..=FORMAT).contains(&found) {
            return Err(BackupError::NewerFormat { found });
        }
        let at = FILE_HEADER_BYTES as u64;
        Ok(FrameReader { format: found, ..FrameReader::at(source, BackupId::default(), 0, at) })
    }

    /// Goes on at a frame whose place is known.
    pub(super) fn at(source: R, id: BackupId, number: u64, offset: u64) -> FrameReader<R> {
        FrameReader { source, format: FORMAT, id, number, offset, payload: Vec::new() }
    }

    /// The next frame, whole and unchanged.
    pub(super) fn next(&mut self) -> Result<(Kind, &[u8]), BackupError> {
        let offset = self.offset;
        let mut header = [0; FRAME_HEADER_BYTES];
        let got = fill(&mut self.source, &mut header)?;
        if got < FRAME_HEADER_BYTES {
            let inside = if got == 0 { "between two parts" } else { "in the header of a part" };
            return Err(BackupError::Truncated { offset: offset + got as u64, inside });
        }
        let len = word(&header, 1) as usize;
        if len > BACKUP_FRAME_BYTES_MAX {
            return Err(damaged(offset, "a part that is longer than any is written"));
        }
        self.payload.clear();
        let mut part = (&mut self.source).take(len as u64);
        part.read_to_end(&mut self.payload).map_err(BackupError::io("cannot read"))?;
        if self.payload.len() < len {
            let end = offset + (FRAME_HEADER_BYTES + self.payload.len()) as u64;
            return Err(BackupError::Truncated { offset: end, inside: "in the middle of a part" });
        }
        if word(&header, 5) != checksum(self.id, self.number, &header[..5], &self.payload) {
            return Err(damaged(offset, "the checksum of the part that begins here is wrong"));
        }
        let kind =
            Kind::of(header[0]).ok_or_else(|| damaged(offset, "a part of a kind that is not known"))?;
        self.offset += (FRAME_HEADER_BYTES + len) as u64;
        self.number += 1;
        Ok((kind, &self.payload))
    }

    /// The frame that was read last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Makes sure that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        let mut one = [0];
        match fill(&mut self.source, &mut one)? {
            0 => Ok(()),
            _ => Err(damaged(self.offset, "bytes behind its end")),
        }
    }
}

pub(super) fn damaged(offset: u64, why: &str) -> BackupError {
    BackupError::Damaged { offset, why: why.to_owned() }
}

/// Reads until the buffer is full or the source ends; says how much came.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, BackupError> {
    let mut got = 0;
    while got < buffer.len() {
        match source.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BackupError::io("cannot read")(error)),
        }
    }
    Ok(got)
}
