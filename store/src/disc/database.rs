//! The image's database as redb has it, closed under guard whichever way it goes: an opening that finds damage behind it closes
//! the file too.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Database;

/// An open database. redb writes when it is closed, and asserts on pages that are not what they should be.
#[derive(Debug)]
pub(super) struct OpenDatabase(ManuallyDrop<Database>);

impl OpenDatabase {
    pub(super) fn new(database: Database) -> OpenDatabase {
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
        drop(catch_unwind(AssertUnwindSafe(|| drop(database))));
    }
}
