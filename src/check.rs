//! Looking through a data directory that nobody serves.

use std::path::Path;
use std::sync::Arc;

use hypermnesia_store::disc::{self, CheckedFile, CheckedTable, Disc, DiscError, IMAGE_NAME, RealDisc};

use crate::error::{Error, Result};
use crate::machine;

/// Says what was given, and which directories below it may have been meant.
fn no_data_directory(given: &Path) -> String {
    let below = std::fs::read_dir(given).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut meant: Vec<_> = below.filter(|path| path.join(IMAGE_NAME).exists()).collect();
    meant.sort();
    let what = format!("{} is no data directory: there is no {IMAGE_NAME} in it", given.display());
    let meant: Vec<_> = meant.iter().take(3).map(|path| path.display().to_string()).collect();
    if meant.is_empty() { what } else { format!("{what}; did you mean {}?", meant.join(" or ")) }
}

/// Reads every page and every row of the image in a data directory, and says of each table what is wrong with it, if anything.
/// Tables on disc alone are not read when a node starts, so this finds damage that nobody has met yet. No node may have the
/// directory open; nothing is changed but pages of the image's own book-keeping: those that can be mended, and those that say
/// that it was open.
///
/// Rows that no checkpoint has taken yet are in the log alone, which [`check_log`] reads.
///
/// # Errors
/// [`Error::Disc`]: the directory is in use, is none, or is damaged beyond telling tables apart.
///
/// ```
/// use hypermnesia::Node;
///
/// let home = tempfile::tempdir().unwrap();
/// drop(Node::builder().data_dir(home.path()).build()?);
/// assert!(hypermnesia::check_directory(home.path())?.iter().all(|table| table.damage.is_none()));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
pub fn check_directory(directory: impl AsRef<Path>) -> Result<Vec<CheckedTable>> {
    disc::check(&opened(directory.as_ref())?).map_err(told)
}

/// Reads the identity of a data directory and every record of its log, and says of each file what is wrong with it, if
/// anything: what a node would refuse to start with. It goes on behind what is damaged. No node may have the directory open;
/// nothing is changed but what says that the image was open.
///
/// # Errors
/// [`Error::Disc`]: the directory is in use, is none, or cannot be read.
pub fn check_log(directory: impl AsRef<Path>) -> Result<Vec<CheckedFile>> {
    disc::check_log(&opened(directory.as_ref())?, machine::boot()).map_err(told)
}

fn told(error: DiscError) -> Error {
    Error::Disc(error.to_string())
}

fn opened(directory: &Path) -> Result<Arc<dyn Disc>> {
    if !directory.is_dir() {
        return Err(Error::Disc(format!("{} is no directory", directory.display())));
    }
    if !directory.join(IMAGE_NAME).exists() {
        return Err(Error::Disc(no_data_directory(directory)));
    }
    Ok(Arc::new(RealDisc::open(directory).map_err(told)?))
}
