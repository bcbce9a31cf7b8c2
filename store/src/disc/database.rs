//! redb as the image uses it: its errors in our words, its panics as damage, and the database closed under guard whichever way
//! it goes, so that an opening that finds damage closes the file too.
//!
//! A panic that is caught here is told as an error, so it is not printed as a fault of the program before: the hook of the
//! process is wrapped once, in one that is silent on a thread inside such a call and passes everything else on.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;

use redb::Database;

use super::blocks::Damage;
use super::error::{DiscError, Result};
use super::head::{FORM, OtherForm};

/// An open database. redb writes when it is closed, and asserts on pages that are not what they should be.
#[derive(Debug)]
pub struct OpenDatabase(ManuallyDrop<Database>);

impl OpenDatabase {
    /// Takes a database into care.
    pub fn new(database: Database) -> OpenDatabase {
        OpenDatabase(ManuallyDrop::new(database))
    }
}

impl Deref for OpenDatabase {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl DerefMut for OpenDatabase {
    fn deref_mut(&mut self) -> &mut Database {
        &mut self.0
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // SAFETY: it is not used again: this is the only place that takes it, and it runs once.
        let database = unsafe { ManuallyDrop::take(&mut self.0) };
        // What goes wrong here is found at the next opening.
        drop(caught(|| drop(database)));
    }
}

/// What redb says, in our words.
pub(super) fn told(path: &PathBuf, doing: &'static str, error: impl Into<redb::Error>) -> DiscError {
    match error.into() {
        redb::Error::Io(error) => read_or_failed(path, doing, error),
        redb::Error::Corrupted(what) => DiscError::corrupt(path, 0, what),
        // Another call has failed and was told why. This one has found nothing out, of the bytes least of all.
        closed @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed) => {
            DiscError::Poisoned { first: format!("{doing} {}: {closed}", path.display()).into() }
        }
        other => DiscError::corrupt(path, 0, other.to_string()),
    }
}

/// What a file said to whoever read it or wrote it.
pub(super) fn read_or_failed(path: &PathBuf, doing: &'static str, error: io::Error) -> DiscError {
    if let Some(Damage { offset, what }) = inner(&error) {
        return DiscError::corrupt(path, *offset, *what);
    }
    if let Some(OtherForm(found)) = inner(&error) {
        return DiscError::Version { file: path.clone(), found: *found, expected: FORM };
    }
    match error.kind() {
        // The disc did what it was asked to: what it gave is not what was written.
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => DiscError::corrupt(path, 0, error.to_string()),
        _ => DiscError::io(path, doing, error),
    }
}

/// What our file below redb said, if it is of this type.
fn inner<E: std::error::Error + 'static>(error: &io::Error) -> Option<&E> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// redb asserts on pages that are not what they should be: that is damage, and no end of the process.
pub(super) fn guarded<T>(path: &PathBuf, read: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(read).unwrap_or_else(|panic| {
        let what = format!("a page of the image is not what it should be ({})", words(&*panic));
        Err(DiscError::corrupt(path, 0, what))
    })
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a check of redb failed")
}

thread_local! {
    /// Calls that this thread is in whose panics are caught.
    static CAUGHT: Cell<u32> = const { Cell::new(0) };
}

static WRAPPED: Once = Once::new();

/// As `catch_unwind`, without a word of the panic elsewhere: for calls of redb, which asserts on pages that are not what they
/// should be.
///
/// # Errors
/// What the panic carried.
pub fn caught<T>(call: impl FnOnce() -> T) -> std::thread::Result<T> {
    // The hook cannot be changed by a thread that panics, as one may that closes a database. Then a second panic is told.
    if !std::thread::panicking() {
        WRAPPED.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if CAUGHT.get() == 0 {
                    before(info);
                }
            }));
        });
    }
    CAUGHT.set(CAUGHT.get() + 1);
    let ended = catch_unwind(AssertUnwindSafe(call));
    CAUGHT.set(CAUGHT.get() - 1);
    ended
}
