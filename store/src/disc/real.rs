//! A directory of the operating system.
//!
//! Plain positioned reads and writes, fdatasync for files, fsync for the directory, and one locked file that
//! names the process holding the directory. The lock is the kernel's (flock), so it never outlives the process.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::error::{DiscError, Result};
use super::file::{Disc, File, LockGuard};

/// The file whose lock stands for the whole directory.
const LOCK_FILE: &str = "LOCK";

/// A data directory on a real disc.
#[derive(Debug, Clone)]
pub struct RealDisc {
    directory: PathBuf,
}

impl RealDisc {
    /// The directory at `path`, made if it is not there (with its parents).
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let directory = path.into();
        make_durably(&directory).map_err(|e| DiscError::io(&directory, "creating", e))?;
        Ok(RealDisc { directory })
    }

    /// The directory's path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn holder(lock: &mut fs::File) -> String {
        let mut holder = String::new();
        match lock.read_to_string(&mut holder) {
            Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
            _ => "unknown".to_owned(),
        }
    }
}

/// Creates a directory and its missing parents, each synced into its own parent: else a power cut could take the
/// whole directory with every synced file in it.
fn make_durably(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durably(parent)?;
    match fs::create_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

impl Disc for RealDisc {
    fn lock(&self) -> Result<LockGuard> {
        let path = self.directory.join(LOCK_FILE);
        let failed = |e: io::Error| DiscError::io(&path, "locking", e);
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = Self::holder(&mut file);
                return Err(DiscError::Locked { path: self.directory.clone(), holder });
            }
            Err(e) => return Err(failed(e.into())),
        }
        file.set_len(0).map_err(failed)?;
        write!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(LockGuard::holding(file))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(name);
        let file = fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aim: a directory serves one holder at a time and names it. Method: lock twice, drop, lock again.
    #[test]
    fn second_holder_is_refused_and_told_who() {
        let directory = tempfile::tempdir().expect("no fault is planted");
        let disc = RealDisc::open(directory.path().join("a/b")).expect("no fault is planted");
        let held = disc.lock().expect("no fault is planted");
        let refused = disc.lock().unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, DiscError::Locked { .. }), "{text}");
        assert!(text.contains(&std::process::id().to_string()) && text.contains("a/b"), "{text}");
        drop(held);
        disc.lock().expect("no fault is planted");
    }

    /// Aim: files behave as the trait says. Method: one pass over every call.
    #[test]
    fn files_read_back_what_was_written() {
        let directory = tempfile::tempdir().expect("no fault is planted");
        let disc = RealDisc::open(directory.path()).expect("no fault is planted");
        let file = disc.create("one").expect("no fault is planted");
        file.write_at(4, b"abcd").expect("no fault is planted");
        file.set_len(6).expect("no fault is planted");
        file.sync().expect("no fault is planted");
        disc.rename("one", "two").expect("no fault is planted");
        disc.sync_names().expect("no fault is planted");
        let file = disc.open("two").expect("no fault is planted");
        let mut bytes = vec![9; 6];
        file.read_at(0, &mut bytes).expect("no fault is planted");
        assert_eq!(bytes, b"\0\0\0\0ab");
        assert_eq!(file.read_at(0, &mut [0; 7]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(disc.list().expect("no fault is planted"), ["two"]);
        disc.remove("two").expect("no fault is planted");
        assert_eq!(disc.open("two").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
