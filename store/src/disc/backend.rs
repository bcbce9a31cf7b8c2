//! The file under redb: one of ours, so that what crashes, fills up or fails below the log does so below the image too, and so
//! that what redb reads is what it wrote.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use super::blocks::{Blocks, Damage};
use super::file::File;

/// A file below a database of redb, with a checksum of every block, so that redb is given what it wrote or an error of the kind
/// `InvalidData`. What is committed must be committed in two phases, as `set_quick_repair` has it.
#[derive(Debug)]
pub struct Backend(Under);

#[derive(Debug)]
enum Under {
    /// With a checksum beside every block.
    Checked(Blocks),
    /// As redb has it: images of earlier versions.
    Plain(Arc<dyn File>),
}

impl Backend {
    /// Of an empty file.
    ///
    /// # Errors
    /// What the disc said. The file may have been written to.
    pub fn make(file: Arc<dyn File>) -> io::Result<Backend> {
        Blocks::make(file).map(|blocks| Backend(Under::Checked(blocks)))
    }

    /// Of a file that was one before.
    ///
    /// # Errors
    /// Of the kind `InvalidData` where its head is not what was written, `Unsupported` where a later version wrote it; else what the
    /// disc said. Nothing was written.
    pub fn find(file: Arc<dyn File>) -> io::Result<Backend> {
        // redb would make a new database of an empty file.
        if file.is_empty()? {
            return Err(Damage::at(0, "the file is empty"));
        }
        Ok(Backend(Blocks::find(&file)?.map_or(Under::Plain(file), Under::Checked)))
    }

    /// Of a file of an earlier version.
    #[cfg(test)]
    pub(super) fn plain(file: Arc<dyn File>) -> Backend {
        Backend(Under::Plain(file))
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.0, Under::Plain(_))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Under::Checked(blocks) => blocks.len(),
            Under::Plain(file) => file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.0 {
            Under::Checked(blocks) => blocks.read(offset, out),
            Under::Plain(file) => file.read_at(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            Under::Checked(blocks) => blocks.set_len(len),
            Under::Plain(file) => file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            Under::Checked(blocks) => blocks.sync(),
            Under::Plain(file) => file.sync(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match &self.0 {
            Under::Checked(blocks) => blocks.write(offset, data),
            Under::Plain(file) => file.write_at(offset, data),
        }
    }
}
