//! A backup file that was read from its beginning to its end and found whole, and its rows, without any node.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypermnesia_store::backup::{self, BackupError, BackupReader, Contents, Item, TableContents};
use hypermnesia_store::{Row, Timestamp};

use super::options::Baseline;
use crate::error::{Error, Result};

/// Bytes that are read from a file at a time.
const READ_BYTES: usize = 256 * 1024;

/// A whole backup file.
///
/// ```
/// use hypermnesia::backup::{BackupFile, BackupOptions};
/// use hypermnesia::{Node, TableDef, Type, Value};
///
/// let home = tempfile::tempdir()?;
/// let path = home.path().join("all.hmb");
/// let node = Node::builder().build()?;
/// let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int))?;
/// notes.insert(&[Value::Int(7)])?;
/// node.backup(&path, &BackupOptions::new())?;
/// drop(node);
///
/// let file = BackupFile::open(&path)?;
/// for row in file.rows("notes")? {
///     assert_eq!(row?.0.attribute(0).to_value(), Value::Int(7));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BackupFile {
    file: Arc<File>,
    path: Option<PathBuf>,
    name: String,
    contents: Arc<Contents>,
}

impl BackupFile {
    /// Opens a file and reads all of it: what is cut off or damaged anywhere is found here.
    ///
    /// # Errors
    /// [`Error::Backup`] with the place in the file.
    pub fn open(path: impl AsRef<Path>) -> Result<BackupFile> {
        BackupFile::open_with(path, |_, _| {})
    }

    /// As [`BackupFile::open`]; `progress` is told how many bytes were found right, and how many there are.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(path: impl AsRef<Path>, progress: impl FnMut(u64, u64)) -> Result<BackupFile> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let file = File::open(path).and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("a regular file is wanted")),
        });
        let file = file.map_err(|error| failed(&name, "cannot be opened", &error))?;
        BackupFile::of(file, Some(path.to_owned()), name, progress)
    }

    /// As [`BackupFile::open`], of a file that has no name any more, or another one: `name` stands in errors.
    ///
    /// # Errors
    /// As there.
    pub fn of_file(file: File, name: impl Into<String>) -> Result<BackupFile> {
        BackupFile::of(file, None, name.into(), |_, _| {})
    }

    fn of(
        file: File,
        path: Option<PathBuf>,
        name: String,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<BackupFile> {
        let file = Arc::new(file);
        let total = file.metadata().map_err(|error| failed(&name, "cannot be read", &error))?.len();
        let contents = backup::check(source(&file, 0), |seen| progress(seen, total));
        let contents = contents.map_err(|error| Error::Backup { file: name.clone(), error })?;
        Ok(BackupFile { file, path, name, contents: Arc::new(contents) })
    }

    /// What the file is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Its tables, in the order of the file.
    pub fn tables(&self) -> &[TableContents] {
        &self.contents.tables
    }

    /// What has to be known of it to go on from it.
    pub fn baseline(&self) -> Baseline {
        let opening = &self.contents.opening;
        Baseline {
            base: backup::BackupBase { id: opening.id, position: opening.position },
            cluster: opening.cluster.clone(),
            node: opening.node.clone(),
            tables: self.contents.tables.iter().map(|table| table.def.id).collect(),
            path: self.path.clone(),
        }
    }

    /// The rows of one of its tables, one at a time, with the commit timestamps of their keys. Of an incremental backup those
    /// that have changed since its base. They are as they were stored: where attributes were added later,
    /// [`TableDef::value_of`](crate::TableDef::value_of) of the table's definition in the file says what they show.
    ///
    /// # Errors
    /// [`Error::BackupChain`] when it has no such table.
    pub fn rows(&self, table: &str) -> Result<BackupRows> {
        let known = self.contents.table(table).ok_or_else(|| self.lacks(table))?;
        Ok(BackupRows { reader: Some(self.reader(known)), name: self.name.clone() })
    }

    pub(super) fn lacks(&self, table: &str) -> Error {
        let known: Vec<_> = self.tables().iter().map(|table| table.def.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::BackupChain(format!("{} has no table {table:?}; its tables: {known}", self.name))
    }

    pub(super) fn reader(&self, table: &TableContents) -> BackupReader<BufReader<Place>> {
        BackupReader::table(source(&self.file, table.offset), &self.contents, table)
    }

    pub(super) fn failed(&self, error: BackupError) -> Error {
        Error::Backup { file: self.name.clone(), error }
    }
}

fn failed(name: &str, doing: &'static str, error: &io::Error) -> Error {
    let error = BackupError::Io { doing, error: error.to_string() };
    Error::Backup { file: name.to_owned(), error }
}

/// The rows of a table in a backup, one at a time. After an error there are no more.
pub struct BackupRows {
    reader: Option<BackupReader<BufReader<Place>>>,
    name: String,
}

impl Iterator for BackupRows {
    type Item = Result<(Row, Timestamp)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.reader.as_mut()?.next() {
                Ok(Some(Item::Row(row, at))) => return Some(Ok((row, at))),
                Ok(Some(_)) => {}
                Ok(None) => self.reader = None,
                Err(error) => {
                    self.reader = None;
                    return Some(Err(Error::Backup { file: self.name.clone(), error }));
                }
            }
        }
    }
}

/// A place in a file, read from without moving anybody else's.
pub(super) struct Place {
    file: Arc<File>,
    at: u64,
}

impl Read for Place {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn source(file: &Arc<File>, at: u64) -> BufReader<Place> {
    BufReader::with_capacity(READ_BYTES, Place { file: Arc::clone(file), at })
}
