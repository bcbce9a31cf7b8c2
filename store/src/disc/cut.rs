//! What stands behind the end of the log after a power cut: parts of records that nobody was promised. It is cut off, so that
//! it never looks like a record later, and kept in a file beside the log: nothing goes unsaid.
//!
//! Bytes there that are no part of a record are cut off alike. As long as the machine runs in which the log was written, a
//! record that was not written to its end has its beginning at the end of the log: where there are zeros, what comes later
//! has changed on the disc, and nobody's record is missing. In another boot the beginning may be what was lost.
//!
//! Order: the file is written and synced under its name before the first byte is cleared. A crash between leaves one file more.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::error::{DiscError, Result};
use super::file::{Disc, File};
use super::limits::{CUT_BYTES_MAX, CUT_FILES_MAX};
use super::segment::{FRAME_HEADER_BYTES, segment_name, used_bytes};

/// Something that whoever runs the node should hear of. The directory was opened all the same.
#[derive(Debug, Clone)]
pub enum Warning {
    /// What stands behind the end of the log is no whole record, and was cut off: torn, in all likelihood.
    Cut {
        /// The segment.
        file: PathBuf,
        /// Where the log ends now, in bytes from the start of the segment.
        offset: u64,
        /// How many bytes were cut off.
        bytes: u64,
        /// Where they are kept.
        saved: PathBuf,
        /// The oldest file of that kind, which was removed for this one.
        removed: Option<PathBuf>,
    },
    /// Behind the end of the log, where nothing was written, bytes are not zero. They were cleared; no record is missing.
    Strayed {
        /// The segment.
        file: PathBuf,
        /// The first of these bytes.
        offset: u64,
        /// Where the log ends.
        end: u64,
        /// Where all is kept that stood behind the end.
        saved: PathBuf,
    },
    /// A directory that belonged to nobody now belongs to the node that opened it.
    TakenOver {
        /// The data directory.
        path: PathBuf,
    },
    /// How far the log has come could not be noted. Nothing is lost by that; less is noticed when files are damaged.
    NotNoted {
        /// Why.
        error: DiscError,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Cut { file, offset, bytes, saved, removed } => {
                let (file, saved) = (file.display(), saved.display());
                write!(
                    f,
                    "the log ends at byte {offset} of {file}: what stands behind it is no whole record, as a power cut or an end by "
                )?;
                write!(f, "force leaves it, or has changed on the disc: {bytes} bytes were ")?;
                write!(f, "cut off and are kept in {saved}, up to {CUT_BYTES_MAX} of them")?;
                match removed {
                    Some(removed) => {
                        write!(f, "; {}, the oldest of its kind, was removed", removed.display())
                    }
                    None => Ok(()),
                }
            }
            Warning::Strayed { file, offset, end, saved } => {
                let (file, saved) = (file.display(), saved.display());
                write!(
                    f,
                    "byte {offset} of {file} has changed on the disc, behind the end of the log at byte {end}, "
                )?;
                write!(
                    f,
                    "where nothing was written. No record is missing; what stood there was cleared and is kept in "
                )?;
                write!(f, "{saved}, up to {CUT_BYTES_MAX} bytes from the end on. Look at the disc")
            }
            Warning::TakenOver { path } => {
                write!(
                    f,
                    "data directory {} said not whose it is; from now on it is this node's",
                    path.display()
                )
            }
            Warning::NotNoted { error } => {
                write!(
                    f,
                    "how far the log has come could not be noted, so less damage would be noticed: {error}"
                )
            }
        }
    }
}

/// Ends the log here: what stands behind is saved and cleared. Synced in any case, so that everything before the end
/// survives a power cut. `unbroken` says that no power was cut since the log was written.
pub(super) fn end_log(
    disc: &dyn Disc,
    index: u64,
    file: &dyn File,
    bytes: &[u8],
    from: u64,
    unbroken: bool,
) -> Result<Option<Warning>> {
    let path = disc.path(&segment_name(index));
    let tail = &bytes[(from as usize).min(bytes.len())..];
    let tail = &tail[..used_bytes(tail) as usize];
    let mut warning = None;
    if !tail.is_empty() {
        let (saved, removed) = save(disc, index, tail)?;
        let (file, bytes) = (path.clone(), tail.len() as u64);
        let first = tail.iter().position(|byte| *byte != 0).unwrap_or(0) as u64;
        warning = Some(match unbroken && first >= FRAME_HEADER_BYTES {
            true => Warning::Strayed { file, offset: from + first, end: from, saved },
            false => Warning::Cut { file, offset: from, bytes, saved, removed },
        });
    }
    let clear = || {
        if !tail.is_empty() {
            file.write_at(from, &vec![0; tail.len()])?;
        }
        file.sync()
    };
    clear().map_err(|error| DiscError::io(path, "clearing the end of", error))?;
    Ok(warning)
}

/// Writes a file of its own for a tail; its path, and that of the one that had to go.
fn save(disc: &dyn Disc, index: u64, tail: &[u8]) -> Result<(PathBuf, Option<PathBuf>)> {
    let names = disc.list().map_err(|error| DiscError::io(disc.path(""), "listing", error))?;
    let mut there: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((number_of(name)?, name))).collect();
    there.sort_unstable();
    let oldest = (there.len() >= CUT_FILES_MAX).then(|| there[0].1);
    let name = cut_name(index, there.last().map_or(1, |(last, _)| last + 1));
    let path = disc.path(&name);
    let place = || -> io::Result<()> {
        let file = disc.create(&name)?;
        file.write_at(0, &tail[..tail.len().min(CUT_BYTES_MAX as usize)])?;
        file.sync()?;
        oldest.map_or(Ok(()), |oldest| disc.remove(oldest))?;
        disc.sync_names()
    };
    place().map_err(|error| DiscError::io(&path, "saving the end of the log to", error))?;
    Ok((path, oldest.map(|oldest| disc.path(oldest))))
}

/// The name of a file with a cut off tail: the segment it comes from, and a number that rises.
fn cut_name(index: u64, number: u64) -> String {
    format!("log-{index:012}-{number}.cut")
}

/// The number in such a name; `None` for other files.
fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("log-")?.strip_suffix(".cut")?.split_once('-')?.1.parse().ok()
}
