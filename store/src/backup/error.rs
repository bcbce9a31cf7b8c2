//! What can be wrong with a backup file.

use super::frame::FORMAT;

/// Why a backup cannot be written or read. Nothing but the file is concerned; its place in the file is counted in bytes from
/// its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It does not begin as a backup does. Another file was meant.
    #[error("it is no backup: {why}")]
    NotABackup {
        /// What it is not.
        why: &'static str,
    },
    /// A later version of this program wrote it.
    #[error(
        "it is a backup of format {found}, this version reads up to {FORMAT}: use the version that wrote it, or a later one"
    )]
    NewerFormat {
        /// The number it has.
        found: u16,
    },
    /// It ends too early: the writing or a copy was interrupted.
    #[error(
        "it is cut off at byte {offset}, {inside}: it is not whole; copy it again, or use another backup"
    )]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// Where in the format that is.
        inside: &'static str,
    },
    /// Bytes were changed since it was written.
    #[error("it is damaged at byte {offset}: {why}; copy it again, or use another backup")]
    Damaged {
        /// Where the part begins that is not what was written.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused to read or write it. A retry may succeed when the cause is gone.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: String,
    },
}

impl BackupError {
    pub(super) fn io(doing: &'static str) -> impl Fn(std::io::Error) -> BackupError {
        move |error| BackupError::Io { doing, error: error.to_string() }
    }
}
