//! Backup and restore: tables into files while everybody goes on writing, and back. Described in `docs/backup.md`.
//!
//! A backup is one snapshot of the chosen tables: it takes no lock and no writer waits for it; what it reads is kept until it
//! has ended, however long that takes. A file appears under its name only when all of it is on the disc. An incremental
//! backup holds what has changed since another one, and the names of the keys that have not: so it tells deletions, however
//! long ago they were. A restore reads all of a backup before it changes anything, and then writes its rows by ordinary
//! transactions, so that every copy has them. Sequences are in it too, and are only ever raised.
//!
//! ```
//! use hypermnesia::backup::{BackupOptions, RestoreOptions};
//! use hypermnesia::{Node, TableDef, Type, Value};
//!
//! let home = tempfile::tempdir()?;
//! let (full, more) = (home.path().join("full.hmb"), home.path().join("more.hmb"));
//! let node = Node::builder().build()?;
//! let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int).attribute("text", Type::Text))?;
//! notes.insert_many([&[Value::Int(1), "kept".into()][..], &[Value::Int(2), "deleted".into()][..]])?;
//!
//! node.backup(&full, &BackupOptions::new())?;
//! notes.delete(&[Value::Int(2)])?;
//! let base = hypermnesia::backup::BackupFile::open(&full)?;
//! let summary = node.backup(&more, &BackupOptions::new().since(&base))?;
//! assert_eq!((summary.rows, summary.tables[0].unchanged), (0, 1));
//!
//! let other = Node::builder().build()?;
//! other.restore(&[&full, &more], &RestoreOptions::new())?;
//! assert_eq!(other.dyn_table("notes")?.to_vec()?, [[Value::Int(1), "kept".into()]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::table::{DynTable, Table};

mod chain;
mod file;
mod load;
mod options;
mod restore;
mod rewrite;
mod save;
mod target;

pub use chain::Chain;
pub use file::{BackupFile, BackupRows};
pub use hypermnesia_store::backup::{
    BackedUpSequence, BackupBase, BackupError, BackupId, Scope, TableClosing, TableContents,
};
pub use options::{
    Action, BackupOptions, BackupSummary, Baseline, RestoreMode, RestoreOptions, RestoreSummary,
    SequenceRestore, TableBackup, TableRestore,
};
pub use target::Target;

impl Node {
    /// Writes a backup of the chosen tables into a file, which appears under its name when it is whole and on the disc. What
    /// stood there before stays until then. Needs a copy of each table on this node.
    ///
    /// # Errors
    /// [`Error::Backup`] when the file cannot be written, [`Error::BackupChain`] when the base of an incremental backup is of
    /// another cluster or the very file that is to be written, [`Error::NoSuchTable`], [`Error::NoCopy`],
    /// [`Error::SchemaChanged`] when the definition of a table changes meanwhile (a retry is safe), and as
    /// [`Node::snapshot`]. No file is left then.
    pub fn backup(&self, path: impl AsRef<Path>, options: &BackupOptions) -> Result<BackupSummary> {
        self.backup_with(path, options, &mut |_, _| {})
    }

    /// As [`Node::backup`]; `progress` is told how many rows were looked at, and how many there are more or less.
    ///
    /// # Errors
    /// As there.
    pub fn backup_with(
        &self,
        path: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BackupSummary> {
        let path = path.as_ref();
        options.check_target(path)?;
        let target = Target::create(path)?;
        let name = path.display().to_string();
        let summary = save::save(&self.core, &name, options, &mut target.file(), progress)?;
        target.keep()?;
        Ok(summary)
    }

    /// Writes a backup into anything that takes bytes. Whoever reads it finds out whether all of it came.
    ///
    /// # Errors
    /// As [`Node::backup`]; what was written before an error is no backup.
    pub fn backup_into(
        &self,
        sink: &mut dyn Write,
        options: &BackupOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BackupSummary> {
        save::save(&self.core, "the backup", options, sink, progress)
    }

    /// Restores a backup from its files: one, or a full one and the incremental ones behind it in their order. All of them
    /// are read and checked before anything is changed. The rows are written by transactions of about a thousand rows, two at
    /// a time, on every copy; tables one after the other. Others may read and write meanwhile, and see it happen. Sequences
    /// come first: none gives a number out from then on that had been given out when the backup was made.
    ///
    /// # Errors
    /// [`Error::Backup`], [`Error::BackupChain`], [`Error::RestoreMismatch`], [`Error::NoDataDirectory`]: nothing changed.
    /// [`Error::RestoreStopped`] says how far it came.
    pub fn restore<P: AsRef<Path>>(&self, files: &[P], options: &RestoreOptions) -> Result<RestoreSummary> {
        let files = files.iter().map(BackupFile::open).collect::<Result<_>>()?;
        self.restore_chain(&Chain::of(files)?, options, &mut |_, _| {})
    }

    /// As [`Node::restore`], of files that were opened; `progress` is told how many rows are in, and how many will be.
    ///
    /// # Errors
    /// As there.
    pub fn restore_chain(
        &self,
        chain: &Chain,
        options: &RestoreOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<RestoreSummary> {
        restore::restore(&self.core, chain, options, progress)
    }

    /// Creates a table from a file that [`Table::to_file`] wrote, with the name, definition and rows it had.
    ///
    /// # Errors
    /// As [`Node::restore`]; [`Error::TableExists`] when there is one of its name; [`Error::BackupChain`] when the file
    /// holds several tables.
    pub fn table_from_file(&self, path: impl AsRef<Path>) -> Result<DynTable> {
        let file = BackupFile::open(path)?;
        let [table] = file.tables() else {
            let (name, tables) = (file.name(), file.tables().len());
            return Err(Error::BackupChain(format!("{name} holds {tables} tables: restore it as a backup")));
        };
        let name = table.def.name.clone();
        if self.core.store.table_named(&name).is_some() {
            return Err(Error::TableExists { name });
        }
        self.restore_chain(&Chain::of(vec![file])?, &RestoreOptions::new(), &mut |_, _| {})?;
        self.dyn_table(&name)
    }
}

impl<S> Table<S> {
    /// Writes the table into a file: a backup of this table alone, without sequences, which [`Node::table_from_file`] and [`Node::restore`]
    /// read.
    ///
    /// # Errors
    /// As [`Node::backup`].
    pub fn to_file(&self, path: impl AsRef<Path>) -> Result<BackupSummary> {
        let path = path.as_ref();
        let options = BackupOptions::new().table(self.definition()?.name).without_sequences();
        let target = Target::create(path)?;
        let name = path.display().to_string();
        let summary = save::save(&self.core, &name, &options, &mut target.file(), &mut |_, _| {})?;
        target.keep()?;
        Ok(summary)
    }
}
