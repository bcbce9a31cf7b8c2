//! What can go wrong with the files of a data directory, worded for whoever has to act on it.
//!
//! Three families, never mixed: the machine failed us (`Io`, `Full`, `NoSpace`, and `Poisoned` for everything after the
//! first failure), the bytes are not what was written (`Corrupt`, `Version`) or not those of this
//! node (`Foreign`, `Stray`), and the request cannot be served (`Locked`, `TooLarge`). After an `Io` or `Full` on the log or the image the outcome of that write is unknown:
//! nothing is retried on the same handles, the node stops acknowledging, and reopening the directory finds out.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// The result of an operation on a data directory.
pub type Result<T> = std::result::Result<T, DiscError>;

/// Why a data directory could not be opened, read or written.
#[derive(Debug, Clone, Error)]
pub enum DiscError {
    /// The operating system refused a file operation. Whether the bytes arrived is unknown; do not retry on the
    /// same handle, stop and reopen the directory.
    #[error("{doing} {}: {source}", file.display())]
    Io {
        /// The file the operation was for.
        file: PathBuf,
        /// What was being done, as a gerund ("writing", "syncing").
        doing: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },

    /// There is no space left on the disc. Nothing that was acknowledged is lost; free some space and start again.
    #[error("disc full while {doing} {}: free some space; acknowledged data is safe", file.display())]
    Full {
        /// The file the operation was for.
        file: PathBuf,
        /// What was being done, as a gerund ("writing", "syncing").
        doing: &'static str,
    },

    /// There is no space on the disc for the next segment of the log. The log is whole, and so is what was acknowledged;
    /// records wait in memory. The same call may be made again, and passes once there is space.
    #[error("no space on the disc for the next segment of the log, {}: free some space", file.display())]
    NoSpace {
        /// The segment in the making.
        file: PathBuf,
    },

    /// Bytes on disc are not those that were written. Nothing of the file was served.
    #[error("{} is damaged{}: {what}; {advice}", file.display(), at(*offset))]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file the damage was met, in bytes from its start; 0 where that is not known, as in the image.
        offset: u64,
        /// What was found there.
        what: String,
        /// What the operator can do.
        advice: &'static str,
    },

    /// The file was written by another version of the program, or is no file of ours. Nothing was changed.
    #[error("{} has format {found}, this program reads format {expected}: start the program that wrote it", file.display())]
    Version {
        /// The file of the other version.
        file: PathBuf,
        /// The format it states.
        found: u32,
        /// The format this program reads and writes.
        expected: u32,
    },

    /// Another process has the data directory open. Nothing was changed.
    #[error("data directory {} is in use by process {holder}: stop it, or give this node a directory of its own", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, as far as the lock file tells.
        holder: String,
    },

    /// The data directory belongs to another node, or to another cluster. Nothing was changed.
    #[error(
        "data directory {} belongs to {owner}, and {opener} was started on it: start there the node it belongs to, or give \
         this one the directory that is its own, or an empty one",
        path.display()
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// Whom it was made for: node and cluster.
        owner: String,
        /// Who was started on it: node and cluster.
        opener: String,
    },

    /// A file in the data directory is one of another data directory. Nothing was changed.
    #[error(
        "{} is not of data directory {}, which belongs to {owner}, who opened it ({ids}): put back the file that was there, \
         or move the directory away and start the node empty",
        file.display(), directory.display()
    )]
    Stray {
        /// The file that does not belong here.
        file: PathBuf,
        /// The data directory.
        directory: PathBuf,
        /// Whom it was made for, and who opened it: node and cluster.
        owner: String,
        /// The ids that the file and the directory have.
        ids: String,
    },

    /// An earlier write or sync failed, so everything after it is refused. Reopen the directory to go on.
    #[error("the disc failed earlier ({first}); nothing is written until the node is started again")]
    Poisoned {
        /// The first failure, in words.
        first: Arc<str>,
    },

    /// One record is larger than a log frame may be. Nothing was written.
    #[error("a log record of {bytes} bytes is larger than the allowed {max}")]
    TooLarge {
        /// The size of the record.
        bytes: u64,
        /// The largest one allowed.
        max: u64,
    },
}

fn at(offset: u64) -> String {
    if offset == 0 { String::new() } else { format!(" at byte {offset}") }
}

/// The advice that goes with damage nobody can repair locally.
pub(crate) const ADVICE_RESTORE: &str = "move the data directory away and start the node empty so that it copies its tables from another member, or restore a backup";

impl DiscError {
    /// Wraps what the operating system said about `file`; a full disc becomes [`DiscError::Full`].
    pub(crate) fn io(file: impl Into<PathBuf>, doing: &'static str, source: io::Error) -> Self {
        let file = file.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiscError::Full { file, doing },
            _ => DiscError::Io { file, doing, source: Arc::new(source) },
        }
    }

    /// Damage at `offset` of `file`.
    pub(crate) fn corrupt(file: impl Into<PathBuf>, offset: u64, what: impl Into<String>) -> Self {
        DiscError::Corrupt { file: file.into(), offset, what: what.into(), advice: ADVICE_RESTORE }
    }

    /// Whether this is damage or a foreign file rather than a failing machine.
    pub fn is_corruption(&self) -> bool {
        use DiscError::{Corrupt, Foreign, Stray, Version};
        matches!(self, Corrupt { .. } | Version { .. } | Foreign { .. } | Stray { .. })
    }
}
