//! Says that it is over when it goes: also when a test fails, so that threads that go on until then end too.

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Over<'f>(pub(crate) &'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
