//! Backup files: rows of chosen tables at one timestamp, as bytes. Here the bytes are made and read; where they go to and
//! come from is passed in (`Write`, `Read`), so the same serves files, streams and memory. Who uses it: `src/backup.rs`.
//!
//! ```text
//! file   = ["HmBackup"][format 2][zero 2][CRC-32 of these twelve bytes 4] frame...
//! frame  = [kind 1][length of the payload 4][CRC-32 4][payload]
//! frames = opening sequences (table (rows | unchanged)... table end)... closing          format 1 has no sequences
//! rows      = ([commit timestamp 8][length 4][row])...      rows of one key of a bag stand behind each other, in their order
//! unchanged = ([commit timestamp 8][length 4][key])...      in an incremental backup: keys that are as they were at its base
//! ```
//! Numbers are little-endian. A frame's checksum is over the backup's id (zeros in the opening, which tells it), the number
//! of the frame in the file, kind, length and payload: frames that changed places or come from another backup are found like
//! changed bytes are. Sequences are told whole in every backup, incremental ones too. The table end counts what stands between, the closing counts everything, and nothing stands behind it:
//! a file that was cut anywhere is not whole. The headers of tables and the opening are encoded by `codec`, definitions in
//! their own numbered format; golden files hold all of it fixed.
//!
//! Nothing here holds more than one frame: [`crate::limits::BACKUP_CHUNK_BYTES`] and the longest row.

mod error;
mod frame;
mod headers;
mod reader;
mod writer;

pub use error::BackupError;
pub use frame::FORMAT;
pub use headers::{
    BackedUpSequence, BackupBase, BackupId, Closing, Contents, Opening, Scope, TableClosing, TableContents,
};
pub use reader::{BackupReader, Item, check};
pub use writer::BackupWriter;
