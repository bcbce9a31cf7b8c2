//! Looking through a data directory that nobody serves.

use std::path::Path;
use std::sync::Arc;

use hypermnesia_store::disc::{self, CheckedTable, DiscError, RealDisc};

use crate::error::{Error, Result};

/// Reads every page and every row of the image in a data directory, and says of each table what is wrong with it, if anything.
/// Tables on disc alone are not read when a node starts, so this finds damage that nobody has met yet. No node may have the
/// directory open; nothing is changed but pages of the image's own book-keeping that can be mended.
///
/// # Errors
/// [`Error::Disc`]: the directory is in use, is none, or is damaged beyond telling tables apart.
///
/// ```
/// use hypermnesia::{DiscOptions, Node};
///
/// let home = tempfile::tempdir().unwrap();
/// drop(Node::builder().data_dir(home.path()).build()?);
/// assert!(hypermnesia::check_directory(home.path())?.iter().all(|table| table.damage.is_none()));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
pub fn check_directory(directory: impl AsRef<Path>) -> Result<Vec<CheckedTable>> {
    let told = |error: DiscError| Error::Disc(error.to_string());
    let directory = directory.as_ref();
    if !directory.is_dir() {
        return Err(Error::Disc(format!("{} is no directory", directory.display())));
    }
    disc::check(&(Arc::new(RealDisc::open(directory).map_err(told)?) as _)).map_err(told)
}
