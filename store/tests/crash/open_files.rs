//! A directory that is refused leaves no file of it open.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use hypermnesia_store::disc::{self, Crash, Disc, DiscError, File, LockGuard, MemDisc};
use hypermnesia_store::{Store, StoreConfig};

use crate::damage::stopped;
use crate::session::{SEGMENT_BYTES, opener};

/// A file's name, and the file as long as somebody holds it.
type Handed = (String, Weak<dyn File>);

/// A disc that knows which of its files somebody still holds.
#[derive(Clone, Debug)]
struct Watched {
    disc: MemDisc,
    files: Arc<Mutex<Vec<Handed>>>,
}

impl Watched {
    fn seen(&self, name: &str, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        let file = file?;
        self.files.lock().expect("no panic").push((name.to_owned(), Arc::downgrade(&file)));
        Ok(file)
    }

    fn open_files(&self) -> Vec<String> {
        let files = self.files.lock().expect("no panic");
        files.iter().filter(|(_, file)| file.strong_count() > 0).map(|(name, _)| name.clone()).collect()
    }
}

impl Disc for Watched {
    fn lock(&self) -> Result<LockGuard, DiscError> {
        self.disc.lock()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disc.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.seen(name, self.disc.open(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.seen(name, self.disc.create(name))
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

#[test]
fn an_image_that_is_refused_is_closed() {
    // Aim: damage that is found behind the opening of the image lets go of its file and its cache; both stayed for as long as
    // the process lived. Method: bytes flipped through the image, each opened once; when the refusal is there, no file is held.
    let directory = stopped();
    let bytes = directory.bytes("image.redb").expect("it was stopped");
    // Most of it are zeros of pages that nobody reads.
    let written: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut refused = 0;
    for &at in written.iter().step_by((written.len() / 300).max(1)) {
        let disc = directory.crash(Crash::Kill);
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        disc.overwrite("image.redb", changed);
        let watched = Watched { disc, files: Arc::default() };
        let store = Store::new(StoreConfig { wall_ms: 1 });
        let opened = disc::open(Arc::new(watched.clone()), &store, &opener(Some(0)), SEGMENT_BYTES);
        refused += usize::from(opened.is_err());
        drop((opened, store));
        assert_eq!(watched.open_files(), Vec::<String>::new(), "flipped at {at}");
    }
    assert!(refused > 10, "{refused} were refused");
}
