//! A disc in memory with something before its writes and syncs: what hangs, or is slow.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hypermnesia_store::disc::{self, LockGuard, MemDisc};

use crate::{DiscOptions, Node};

/// What happens before an operation on the file of this name.
pub(super) trait Before: Debug + Default + Send + Sync + 'static {
    fn write(&self, name: &str, bytes: usize);

    fn sync(&self, name: &str);
}

/// See the file's header.
#[derive(Clone, Debug, Default)]
pub(super) struct Between<B> {
    pub(super) disc: MemDisc,
    pub(super) before: Arc<B>,
}

#[derive(Debug)]
struct FileBetween<B> {
    name: String,
    file: Arc<dyn disc::File>,
    before: Arc<B>,
}

impl<B: Before> Between<B> {
    pub(super) fn over(disc: MemDisc) -> Between<B> {
        Between { disc, before: Arc::default() }
    }

    /// An embedded node on it.
    pub(super) fn node(&self, options: DiscOptions) -> Node {
        let plan = Node::builder().disc_options(options).check().expect("a good configuration");
        let disc = Between { disc: self.disc.clone(), before: Arc::clone(&self.before) };
        Node::start_on(Some(Arc::new(disc)), plan).expect("nothing is in the way yet")
    }

    fn file(&self, name: &str, file: Arc<dyn disc::File>) -> Arc<dyn disc::File> {
        Arc::new(FileBetween { name: name.to_owned(), file, before: Arc::clone(&self.before) })
    }
}

impl<B: Before> disc::Disc for Between<B> {
    fn lock(&self) -> Result<LockGuard, disc::DiscError> {
        self.disc.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disc.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn disc::File>> {
        Ok(self.file(name, self.disc.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn disc::File>> {
        Ok(self.file(name, self.disc.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disc.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disc.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disc.sync_names()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disc.path(name)
    }
}

impl<B: Before> disc::File for FileBetween<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.before.write(&self.name, bytes.len());
        self.file.write_at(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.before.sync(&self.name);
        self.file.sync()
    }
}
