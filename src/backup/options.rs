//! What a caller may ask of a backup and a restore, and what is told about it afterwards.

use std::path::{Path, PathBuf};

use hypermnesia_store::backup::{BackedUpSequence, BackupBase, BackupId, Scope};
use hypermnesia_store::{Storage, TableId, Timestamp};

use super::file::BackupFile;
use crate::error::{Error, Result};

/// What a backup takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupOptions {
    /// Names of tables; none means all but the system's own.
    pub tables: Vec<String>,
    /// For an incremental backup: what it goes on from.
    pub base: Option<Baseline>,
    /// Leave the sequences out.
    pub without_sequences: bool,
}

/// What has to be known of a backup to go on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// Its name and position.
    pub base: BackupBase,
    /// The cluster it is of.
    pub cluster: String,
    /// The node that wrote it: rows of local tables are that node's alone.
    pub node: String,
    /// The tables in it. Others are taken whole.
    pub tables: Vec<TableId>,
    /// Where it is, if it is a file here: not to be written over.
    pub path: Option<PathBuf>,
}

impl BackupOptions {
    /// A full backup of all tables.
    pub fn new() -> BackupOptions {
        BackupOptions::default()
    }

    /// With this table, and no others but those named alike.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>) -> BackupOptions {
        self.tables.push(name.into());
        self
    }

    /// What has changed since another backup, which may be an incremental one itself.
    #[must_use]
    pub fn since(self, file: &BackupFile) -> BackupOptions {
        self.since_baseline(file.baseline())
    }

    /// As [`BackupOptions::since`], for a backup that is not here.
    #[must_use]
    pub fn since_baseline(mut self, base: Baseline) -> BackupOptions {
        self.base = Some(base);
        self
    }

    /// Without the sequences: tables alone.
    #[must_use]
    pub fn without_sequences(mut self) -> BackupOptions {
        self.without_sequences = true;
        self
    }

    /// Refuses to write an incremental backup over its base.
    ///
    /// # Errors
    /// [`Error::BackupChain`] when `path` is the file that the base is in.
    pub fn check_target(&self, path: &Path) -> Result<()> {
        let known = self.base.as_ref().and_then(|base| base.path.as_ref()?.canonicalize().ok());
        match (known, path.canonicalize().ok()) {
            (Some(base), Some(target)) if base == target => Err(Error::BackupChain(format!(
                "{} is the base of the incremental backup and would be lost: write it into another file",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// What became of one table in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableBackup {
    /// Its name.
    pub name: String,
    /// Whether all its rows are in the file or those that have changed.
    pub scope: Scope,
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    /// Keys that have not changed since the base.
    pub unchanged: u64,
}

/// What a backup became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// Its name.
    pub id: BackupId,
    /// The snapshot it shows.
    pub position: Timestamp,
    /// For an incremental one: what it goes on from.
    pub base: Option<BackupBase>,
    /// Its sequences, by name.
    pub sequences: Vec<BackedUpSequence>,
    /// Its tables, in the order of the file.
    pub tables: Vec<TableBackup>,
    /// Rows in all.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// What a restore does with a table that is in the backup and on the node. One that is not on the node is created as the
/// backup has it, whatever the mode, unless it is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestoreMode {
    /// The table is left as it is.
    Skip,
    /// All its rows are deleted, then the backup's are written: it holds the backup's rows and no others. Its definition
    /// (indexes, copies, bounds) stays.
    #[default]
    Clear,
    /// The backup's rows are written over it: keys of the backup hold what the backup has (in a bag: also), other keys what
    /// they held. Its definition stays.
    Keep,
    /// It is dropped, and created with the definition and rows of the backup.
    Recreate,
}

/// How a backup is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// What is done with tables that are there.
    pub mode: RestoreMode,
    /// The same for single tables.
    pub modes: Vec<(String, RestoreMode)>,
    /// Restore these tables only; none means all of the backup.
    pub only: Vec<String>,
    /// Create tables with a copy of this storage on every member, instead of the copies they had: as many of them as there
    /// are members, or on every member if there is none of them.
    pub storage: Option<Storage>,
    /// Leave the sequences as they are.
    pub without_sequences: bool,
}

impl RestoreOptions {
    /// All tables, with the mode [`RestoreMode::Clear`].
    pub fn new() -> RestoreOptions {
        RestoreOptions::default()
    }

    /// With this mode for all tables that have none of their own.
    #[must_use]
    pub fn mode(mut self, mode: RestoreMode) -> RestoreOptions {
        self.mode = mode;
        self
    }

    /// With this mode for one table; the last one that is named counts.
    #[must_use]
    pub fn table_mode(mut self, table: impl Into<String>, mode: RestoreMode) -> RestoreOptions {
        self.modes.push((table.into(), mode));
        self
    }

    /// With this table, and no others but those named alike.
    #[must_use]
    pub fn only(mut self, table: impl Into<String>) -> RestoreOptions {
        self.only.push(table.into());
        self
    }

    /// With this storage of the tables that are created, on every member.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> RestoreOptions {
        self.storage = Some(storage);
        self
    }

    /// Without the sequences of the backup: tables alone. Numbers that its rows have may be given out again then.
    #[must_use]
    pub fn without_sequences(mut self) -> RestoreOptions {
        self.without_sequences = true;
        self
    }

    pub(super) fn mode_of(&self, table: &str) -> RestoreMode {
        if !self.only.is_empty() && !self.only.iter().any(|name| name == table) {
            return RestoreMode::Skip;
        }
        let own = self.modes.iter().rev().find(|(name, _)| name == table);
        own.map_or(self.mode, |(_, mode)| *mode)
    }
}

/// What a restore did with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing.
    Skipped,
    /// It was not there.
    Created,
    /// Its rows were deleted first.
    Cleared,
    /// The rows came over those it had.
    Kept,
    /// It was dropped first.
    Recreated,
}

/// What became of one table in a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRestore {
    /// Its name.
    pub name: String,
    /// What was done.
    pub action: Action,
    /// Rows written.
    pub rows: u64,
    /// Rows of the backup that were not written since their deadline has passed.
    pub expired: u64,
}

/// What became of one sequence in a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceRestore {
    /// Its name.
    pub name: String,
    /// It was not there.
    pub created: bool,
    /// The number it goes on with: behind all that the backup and the cluster may have given out.
    pub next: i64,
}

/// What a restore became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// The sequences of the backup, by name.
    pub sequences: Vec<SequenceRestore>,
    /// The tables of the backup, in the order of the file.
    pub tables: Vec<TableRestore>,
    /// Rows written in all.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
}
