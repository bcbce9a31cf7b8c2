//! The file under redb: one of ours, so that what crashes, fills up or fails below the log does so below the image too, and so
//! that what redb reads is what it wrote.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use super::blocks::{Blocks, Damage};
use super::file::File;

/// See the file's header.
#[derive(Debug)]
pub(super) enum Backend {
    /// With a checksum beside every block.
    Checked(Blocks),
    /// As redb has it: images of earlier versions.
    Plain(Arc<dyn File>),
}

impl Backend {
    /// Of an empty file.
    pub(super) fn make(file: Arc<dyn File>) -> io::Result<Backend> {
        Blocks::make(file).map(Backend::Checked)
    }

    /// Of a file that was one before.
    pub(super) fn find(file: Arc<dyn File>) -> io::Result<Backend> {
        // redb would make a new database of an empty file.
        if file.is_empty()? {
            return Err(Damage::at(0, "the file is empty"));
        }
        Ok(Blocks::find(&file)?.map_or(Backend::Plain(file), Backend::Checked))
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Backend::Plain(_))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match self {
            Backend::Checked(blocks) => blocks.len(),
            Backend::Plain(file) => file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Backend::Checked(blocks) => blocks.read(offset, out),
            Backend::Plain(file) => file.read_at(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Backend::Checked(blocks) => blocks.set_len(len),
            Backend::Plain(file) => file.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match self {
            Backend::Checked(blocks) => blocks.sync(),
            Backend::Plain(file) => file.sync(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Backend::Checked(blocks) => blocks.write(offset, data),
            Backend::Plain(file) => file.write_at(offset, data),
        }
    }
}
