//! Rows out of a backup, one frame at a time. What the reader hands out stood under a checksum and is well-formed; that the
//! file is whole is known only when it has ended, so whoever must not act on half a file calls [`check`] first.

use std::io::Read;

use serde::Deserialize;

use super::error::BackupError;
use super::frame::{FrameReader, Kind, damaged};
use super::headers::{
    BackedUpSequence, Closing, Contents, Opening, Scope, TableClosing, TableContents, TableHeader,
};
use crate::clock::Timestamp;
use crate::codec;
use crate::key::Key;
use crate::limits::{BACKUP_FRAME_BYTES_MAX, KEY_BYTES_MAX};
use crate::row::Row;
use crate::schema::TableDef;

/// Bytes of an entry before its row or key: timestamp and length.
pub(super) const ENTRY_BYTES: usize = 12;

/// What stands next in a backup.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A table begins.
    Table {
        /// Its definition when the backup was made.
        def: TableDef,
        /// Which of its rows follow.
        scope: Scope,
    },
    /// A row and the commit timestamp of its key. Rows of one key of a bag follow each other in their order.
    Row(Row, Timestamp),
    /// A key that has not changed since the base, and its commit timestamp.
    Unchanged(Key, Timestamp),
    /// The table ends.
    TableEnd(TableClosing),
}

/// A row or key where it stands, and its commit timestamp.
type Entry<'a> = (Kind, &'a [u8], Timestamp);

/// Where in the grammar of frames the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BetweenTables,
    InTable,
    Ended,
}

/// Reads one backup from its beginning to its end, or one of its tables. Holds one frame.
pub struct BackupReader<R> {
    frames: FrameReader<R>,
    opening: Opening,
    sequences: Option<Vec<BackedUpSequence>>,
    place: Place,
    /// Of the present table, so far.
    table: TableClosing,
    /// Of the whole file, so far.
    total: Closing,
    /// What the present frame holds, and how far it was read.
    chunk: Option<(Kind, usize)>,
    chunk_offset: u64,
    /// Stops behind the first table.
    one: bool,
}

impl<R: Read> BackupReader<R> {
    /// Opens a backup at its beginning.
    ///
    /// # Errors
    /// [`BackupError`], in all its variants.
    pub fn open(source: R) -> Result<BackupReader<R>, BackupError> {
        let mut frames = FrameReader::open(source)?;
        let at = frames.offset;
        let (kind, payload) = frames.next()?;
        if kind != Kind::Opening {
            return Err(damaged(at, "it does not begin with its name"));
        }
        let opening: Opening = decoded(payload, at)?;
        frames.id = opening.id;
        let sequences = sequences(&mut frames)?;
        Ok(BackupReader { sequences, ..BackupReader::over(frames, opening, false) })
    }

    /// Goes straight to one table of a backup that was found whole: `source` stands at [`TableContents::offset`].
    pub fn table(source: R, contents: &Contents, table: &TableContents) -> BackupReader<R> {
        let frames = FrameReader::at(source, contents.opening.id, table.frame, table.offset);
        BackupReader::over(frames, contents.opening.clone(), true)
    }

    fn over(frames: FrameReader<R>, opening: Opening, one: bool) -> BackupReader<R> {
        BackupReader {
            frames,
            opening,
            sequences: None,
            place: Place::BetweenTables,
            table: TableClosing::default(),
            total: Closing::default(),
            chunk: None,
            chunk_offset: 0,
            one,
        }
    }

    /// The backup's name and position.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Bytes of the file that were read and found right.
    pub fn offset(&self) -> u64 {
        self.frames.offset
    }

    /// What stands next; `None` at the end, when everything was there.
    ///
    /// # Errors
    /// [`BackupError`], at every call from then on or not: the reader must not be used further.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator of results goes on behind an error; this must not"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, BackupError> {
        loop {
            let offset = self.chunk_offset;
            match self.entry()? {
                Some((Kind::Rows, bytes, at)) => return Ok(Some(Item::Row(row(bytes, offset)?, at))),
                Some((_, bytes, at)) => return Ok(Some(Item::Unchanged(Key::from_encoded(bytes), at))),
                None => {}
            }
            match self.frame()? {
                Step::Item(item) => return Ok(Some(item)),
                Step::Chunk => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// The next entry of the present chunk.
    fn entry(&mut self) -> Result<Option<Entry<'_>>, BackupError> {
        let Some((kind, from)) = self.chunk else { return Ok(None) };
        let payload = self.frames.payload();
        if from == payload.len() {
            self.chunk = None;
            return Ok(None);
        }
        let wrong = |why| damaged(self.chunk_offset, why);
        let head = payload.get(from..from + ENTRY_BYTES).ok_or_else(|| wrong("a row that is cut off"))?;
        let (at, len) = head.split_at(8);
        let at = Timestamp(u64::from_le_bytes(at.try_into().expect("eight bytes were split off")));
        let len = u32::from_le_bytes(len.try_into().expect("four bytes are left")) as usize;
        let end = (from + ENTRY_BYTES).saturating_add(len);
        let bytes = payload.get(from + ENTRY_BYTES..end).ok_or_else(|| wrong("a row that is cut off"))?;
        if kind == Kind::Unchanged && len > KEY_BYTES_MAX {
            return Err(wrong("a key that is longer than keys are"));
        }
        match kind {
            Kind::Rows => {
                self.table.rows += 1;
                self.table.bytes += len as u64;
            }
            _ => self.table.unchanged += 1,
        }
        self.chunk = Some((kind, end));
        Ok(Some((kind, bytes, at)))
    }

    /// The next frame, in its place in the grammar.
    fn frame(&mut self) -> Result<Step, BackupError> {
        if self.place == Place::Ended {
            return Ok(Step::End);
        }
        let at = self.frames.offset;
        let (kind, payload) = self.frames.next()?;
        match (self.place, kind) {
            (Place::BetweenTables, Kind::Table) => {
                let header: TableHeader<'_> = decoded(payload, at)?;
                let def = TableDef::from_bytes(header.definition);
                let def = def.map_err(|error| BackupError::Damaged { offset: at, why: error.to_string() })?;
                let scope = header.scope;
                if scope == Scope::Changes && self.opening.base.is_none() {
                    return Err(damaged(at, "changes of a table, and nothing they are changes of"));
                }
                (self.place, self.table) = (Place::InTable, TableClosing::default());
                Ok(Step::Item(Item::Table { def, scope }))
            }
            (Place::InTable, Kind::Rows | Kind::Unchanged) => {
                (self.chunk, self.chunk_offset) = (Some((kind, 0)), at);
                Ok(Step::Chunk)
            }
            (Place::InTable, Kind::TableEnd) => {
                let closing: TableClosing = decoded(payload, at)?;
                self.end_table(closing, at)
            }
            (Place::BetweenTables, Kind::Closing) => {
                let closing: Closing = decoded(payload, at)?;
                self.end(closing, at)
            }
            _ => Err(damaged(at, "a part that does not belong here")),
        }
    }

    fn end_table(&mut self, closing: TableClosing, at: u64) -> Result<Step, BackupError> {
        if closing != self.table {
            return Err(damaged(at, "the table has not as many rows as its end says"));
        }
        self.total.tables += 1;
        self.total.rows += closing.rows;
        self.total.bytes += closing.bytes;
        self.place = if self.one { Place::Ended } else { Place::BetweenTables };
        Ok(Step::Item(Item::TableEnd(closing)))
    }

    fn end(&mut self, closing: Closing, at: u64) -> Result<Step, BackupError> {
        self.total.frames = self.frames.number - 1;
        if closing != self.total {
            return Err(damaged(at, "there are not as many tables and rows as its end says"));
        }
        self.frames.end()?;
        self.place = Place::Ended;
        Ok(Step::End)
    }
}

/// What stands behind the opening, since format 2.
fn sequences<R: Read>(frames: &mut FrameReader<R>) -> Result<Option<Vec<BackedUpSequence>>, BackupError> {
    if frames.format < 2 {
        return Ok(None);
    }
    let at = frames.offset;
    match frames.next()? {
        (Kind::Sequences, payload) => decoded(payload, at),
        _ => Err(damaged(at, "the sequences are missing")),
    }
}

enum Step {
    Item(Item),
    Chunk,
    End,
}

fn decoded<'a, T: Deserialize<'a>>(payload: &'a [u8], at: u64) -> Result<T, BackupError> {
    codec::decode(payload, BACKUP_FRAME_BYTES_MAX)
        .map_err(|error| BackupError::Damaged { offset: at, why: error.to_string() })
}

fn row(bytes: &[u8], at: u64) -> Result<Row, BackupError> {
    Row::parse(bytes).map_err(|error| BackupError::Damaged { offset: at, why: error.to_string() })
}

/// Reads a backup to its end and says what is in it, or where it is damaged. `seen` is told now and then how many bytes were
/// found right. Rows are checked where they stand: nothing is held.
///
/// # Errors
/// [`BackupError`].
pub fn check<R: Read>(source: R, mut seen: impl FnMut(u64)) -> Result<Contents, BackupError> {
    let mut reader = BackupReader::open(source)?;
    let mut tables = Vec::new();
    loop {
        while let Some((kind, bytes, _)) = reader.entry()? {
            if kind == Kind::Rows {
                let checked = Row::check(bytes);
                checked.map_err(|error| BackupError::Damaged {
                    offset: reader.chunk_offset,
                    why: error.to_string(),
                })?;
            }
        }
        let (offset, frame) = (reader.frames.offset, reader.frames.number);
        match reader.frame()? {
            Step::Item(Item::Table { def, scope }) => {
                tables.push(TableContents { def, scope, closing: TableClosing::default(), offset, frame });
            }
            Step::Item(Item::TableEnd(closing)) => {
                if let Some(table) = tables.last_mut() {
                    table.closing = closing;
                }
            }
            Step::Item(_) => {}
            Step::Chunk => seen(reader.frames.offset),
            Step::End => break,
        }
    }
    let BackupReader { opening, sequences, total: closing, frames, .. } = reader;
    Ok(Contents { opening, sequences, tables, closing, file_bytes: frames.offset })
}
