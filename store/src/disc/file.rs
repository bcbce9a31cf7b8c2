//! The border between the store and a disc: a flat directory of named files.
//!
//! Everything the store keeps on disc goes through these two traits, so that a crash test can put a disc
//! underneath that forgets, reorders and tears what was not synced. An implementation never caches on its own and
//! never hides an error. The promises a caller builds on are the weak ones of a real file system: a write is safe
//! from a killed process at once, from a power cut after `sync` of the file, and a file's name after `sync_names`.

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Result;

/// A directory of files.
pub trait Disc: Debug + Send + Sync + 'static {
    /// Takes the directory for this process until the guard is dropped; a second taker gets
    /// [`Locked`](super::DiscError::Locked).
    fn lock(&self) -> Result<LockGuard>;

    /// The names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing; `NotFound` when there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Makes an empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file, replacing one of the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far survive a power cut (fsync of the directory).
    fn sync_names(&self) -> io::Result<()>;

    /// The path of a file of this directory, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file. All calls are safe from several threads at once.
pub trait File: Debug + Send + Sync + 'static {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset`; `UnexpectedEof` when the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file when needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or grows the file; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes all bytes written so far, and the length, survive a power cut (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// Holds a directory for this process; dropping it lets the next process in.
pub struct LockGuard(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Any + Send + Sync>);

impl LockGuard {
    /// Keeps `held` (a locked file, say) for as long as the guard lives.
    pub fn holding(held: impl Any + Send + Sync) -> Self {
        LockGuard(Box::new(held))
    }
}

impl Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}
