//! Rows into a backup. What is written goes out in chunks as it comes; nothing is held but the present chunk.

use std::io::Write;

use super::error::BackupError;
use super::frame::{FrameWriter, Kind};
use super::headers::{BackedUpSequence, Closing, Opening, Scope, TableClosing, TableHeader};
use crate::clock::Timestamp;
use crate::codec;
use crate::key::Key;
use crate::limits::BACKUP_CHUNK_BYTES;
use crate::row::Row;
use crate::schema::TableDef;

/// Writes one backup: its tables one behind the other, each with its rows, then the end. A backup without
/// [`BackupWriter::finish`] is not whole, and is refused by whoever reads it.
///
/// ```
/// use hypermnesia_store::backup::{BackupId, BackupReader, BackupWriter, Item, Opening, Scope};
/// use hypermnesia_store::{TableDef, Timestamp, Type, Value};
///
/// let def = TableDef::builder("cities").attribute("id", Type::Int).attribute("name", Type::Text).build()?;
/// let opening = Opening {
///     id: BackupId([7; 16]),
///     position: Timestamp(9),
///     base: None,
///     cluster: "c".into(),
///     node: "n1".into(),
///     written_ms: 0,
///     program: "0.1".into(),
/// };
/// let mut writer = BackupWriter::begin(Vec::new(), &opening, None)?;
/// writer.table(&def, Scope::Full)?;
/// writer.row(&def.encode_row(&[Value::Int(1), "Ghent".into()])?, Timestamp(5))?;
/// writer.end_table()?;
/// let (bytes, closing, _) = writer.finish()?;
/// assert_eq!(closing.rows, 1);
///
/// let mut reader = BackupReader::open(&bytes[..])?;
/// assert!(matches!(reader.next()?, Some(Item::Table { .. })));
/// assert!(matches!(reader.next()?, Some(Item::Row(row, Timestamp(5))) if row.attribute(1).to_value() == "Ghent".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BackupWriter<W> {
    frames: FrameWriter<W>,
    table: TableClosing,
    total: Closing,
    /// What the present chunk holds.
    chunk: Kind,
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup, with all sequences or without a word of them.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn begin(
        sink: W,
        opening: &Opening,
        sequences: Option<&[BackedUpSequence]>,
    ) -> Result<BackupWriter<W>, BackupError> {
        let mut frames = FrameWriter::begin(sink)?;
        codec::encode_into(opening, frames.payload());
        frames.end(Kind::Opening)?;
        frames.id = opening.id;
        codec::encode_into(&sequences, frames.payload());
        frames.end(Kind::Sequences)?;
        Ok(BackupWriter {
            frames,
            table: TableClosing::default(),
            total: Closing::default(),
            chunk: Kind::Rows,
        })
    }

    /// Begins a table. The one before must have ended.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn table(&mut self, def: &TableDef, scope: Scope) -> Result<(), BackupError> {
        let header = TableHeader { scope, definition: &def.to_bytes() };
        codec::encode_into(&header, self.frames.payload());
        self.table = TableClosing::default();
        self.frames.end(Kind::Table)
    }

    /// Adds a row and the commit timestamp of its key. Rows of one key of a bag follow each other in their order.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn row(&mut self, row: &Row, at: Timestamp) -> Result<(), BackupError> {
        self.table.rows += 1;
        self.table.bytes += row.as_bytes().len() as u64;
        self.push(Kind::Rows, row.as_bytes(), at)
    }

    /// Adds the name of a key that has not changed since the base, and its commit timestamp.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn unchanged(&mut self, key: &Key, at: Timestamp) -> Result<(), BackupError> {
        self.table.unchanged += 1;
        self.push(Kind::Unchanged, key.as_bytes(), at)
    }

    fn push(&mut self, kind: Kind, bytes: &[u8], at: Timestamp) -> Result<(), BackupError> {
        if self.chunk != kind
            || self.frames.len() + bytes.len() + super::reader::ENTRY_BYTES > BACKUP_CHUNK_BYTES
        {
            self.flush()?;
            self.chunk = kind;
        }
        let len = u32::try_from(bytes.len()).expect("rows and keys are far below 4 GiB");
        let chunk = self.frames.payload();
        chunk.extend_from_slice(&at.0.to_le_bytes());
        chunk.extend_from_slice(&len.to_le_bytes());
        chunk.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        if self.frames.len() == 0 { Ok(()) } else { self.frames.end(self.chunk) }
    }

    /// Ends the table; says how much there was of it.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn end_table(&mut self) -> Result<TableClosing, BackupError> {
        self.flush()?;
        codec::encode_into(&self.table, self.frames.payload());
        self.frames.end(Kind::TableEnd)?;
        self.total.tables += 1;
        self.total.rows += self.table.rows;
        self.total.bytes += self.table.bytes;
        Ok(self.table)
    }

    /// Ends the backup and gives the sink back, flushed; says how much there was in all, and the bytes of the file.
    ///
    /// # Errors
    /// [`BackupError::Io`].
    pub fn finish(mut self) -> Result<(W, Closing, u64), BackupError> {
        self.total.frames = self.frames.frames;
        codec::encode_into(&self.total, self.frames.payload());
        self.frames.end(Kind::Closing)?;
        let bytes = self.frames.bytes;
        Ok((self.frames.finish()?, self.total, bytes))
    }
}
