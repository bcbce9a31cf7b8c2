//! What a backup says of itself: its name, its position, its tables, and how much there is of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::schema::TableDef;

/// The name of a backup, which no other one has: 128 random bits, passed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackupId(pub [u8; 16]);

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for BackupId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<BackupId, Self::Err> {
        u128::from_str_radix(text, 16).map(|number| BackupId(number.to_be_bytes()))
    }
}

/// The backup that an incremental one goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupBase {
    /// Which.
    pub id: BackupId,
    /// Its position: what was committed at or below it is in it.
    pub position: Timestamp,
}

/// The first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The backup's name.
    pub id: BackupId,
    /// The snapshot it shows: everything committed at or below it, nothing above.
    pub position: Timestamp,
    /// For an incremental backup: what it goes on from.
    pub base: Option<BackupBase>,
    /// The cluster it is of.
    #[serde(deserialize_with = "crate::codec::text")]
    pub cluster: String,
    /// The node that wrote it.
    #[serde(deserialize_with = "crate::codec::text")]
    pub node: String,
    /// When it was begun, in milliseconds since 1970.
    pub written_ms: u64,
    /// Version of the program that wrote it.
    #[serde(deserialize_with = "crate::codec::text")]
    pub program: String,
}

/// A sequence of numbers, as it was at the position of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpSequence {
    /// Its name.
    #[serde(deserialize_with = "crate::codec::text")]
    pub name: String,
    /// Its first number that nobody had reserved: all that were given out are below.
    pub next: i64,
}

/// Which rows of a table are in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All of them.
    Full,
    /// Those whose key has changed since the base, and the names of all other keys that are there.
    Changes,
}

/// A table's first frame, as it is encoded.
#[derive(Serialize, Deserialize)]
pub(super) struct TableHeader<'a> {
    pub(super) scope: Scope,
    #[serde(with = "serde_bytes", borrow)]
    pub(super) definition: &'a [u8],
}

/// A table's last frame: how much there is of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableClosing {
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    /// Keys that are there and unchanged since the base.
    pub unchanged: u64,
}

/// The last frame: how much there is in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Tables.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    /// Frames before this one.
    pub frames: u64,
}

/// One table of a backup, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContents {
    /// Its definition when the backup was made.
    pub def: TableDef,
    /// Which of its rows are there.
    pub scope: Scope,
    /// How many.
    pub closing: TableClosing,
    /// Byte of the file at which its first frame begins.
    pub offset: u64,
    /// Number of that frame.
    pub frame: u64,
}

/// What a backup holds, known once all of it was read and found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its name and position.
    pub opening: Opening,
    /// The sequences, by name. None where they were left out, and in files of format 1.
    pub sequences: Option<Vec<BackedUpSequence>>,
    /// Its tables, in the order of the file.
    pub tables: Vec<TableContents>,
    /// How much there is in all.
    pub closing: Closing,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl Contents {
    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&TableContents> {
        self.tables.iter().find(|table| table.def.name == name)
    }
}
