//! A file that appears under its name when it is whole: written beside it, synced, renamed, and the rename synced too.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use hypermnesia_store::backup::BackupError;

use crate::error::{Error, Result};

/// Symbolic links that are followed before they are taken for a circle, as Linux counts them.
const LINKS_MAX: usize = 40;

/// A file on its way to its name. Dropped before [`Target::keep`] it is gone.
#[derive(Debug)]
pub struct Target {
    file: File,
    beside: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Target {
    /// Begins a file for this name. The name itself is untouched.
    ///
    /// # Errors
    /// [`Error::Backup`] when there is something that is no regular file, or nothing can be written there.
    pub fn create(path: &Path) -> Result<Target> {
        let failed = |doing| move |error: io::Error| failed(path, doing, &error);
        let target = followed(path).map_err(failed("cannot follow the link"))?;
        match fs::metadata(&target) {
            Ok(there) if !there.is_file() => {
                let what = if there.is_dir() { "it is a directory" } else { "it is a device or a pipe" };
                let error = io::Error::other(format!(
                    "{what}; a backup takes the place of a regular file, once it is whole"
                ));
                return Err(failed("cannot be written")(error));
            }
            _ => {}
        }
        let beside = beside(&target);
        let file = OpenOptions::new().write(true).create_new(true).open(&beside);
        let file = file.map_err(failed("cannot be written"))?;
        Ok(Target { file, beside, path: target, kept: false })
    }

    /// Where to write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Backup`]; nothing has the name then but what had it before. An error of the very last step, syncing the
    /// directory, leaves the file under its name.
    pub fn keep(mut self) -> Result<()> {
        let path = self.path.clone();
        let failed = |doing| move |error: io::Error| failed(&path, doing, &error);
        self.file.sync_all().map_err(failed.clone()("cannot be synced to the disc"))?;
        fs::rename(&self.beside, &self.path).map_err(failed.clone()("cannot be given its name"))?;
        self.kept = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new(".")));
        folder
            .and_then(|folder| folder.sync_all())
            .map_err(failed("its directory cannot be synced to the disc"))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.kept {
            // The failure that led here is what is told.
            drop(fs::remove_file(&self.beside));
        }
    }
}

fn failed(path: &Path, doing: &'static str, error: &io::Error) -> Error {
    let error = BackupError::Io { doing, error: error.to_string() };
    Error::Backup { file: path.display().to_string(), error }
}

/// Where symbolic links lead, whether or not there is a file yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            // A link is relative to its own directory.
            Ok(link) => path = path.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// A name in the same directory that nobody else uses.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(OsString::new, OsString::from);
    let own = crate::machine::fresh_id().0;
    name.push(format!(".part{}-{:02x}{:02x}{:02x}", std::process::id(), own[0], own[1], own[2]));
    target.with_file_name(name)
}
