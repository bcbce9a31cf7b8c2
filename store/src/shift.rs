//! Rows that change in place, and those who read them.
//!
//! Elsewhere the bytes of a row never change, and readers hold no count of what they look at: a guard keeps it. In a table
//! whose numbers are counted again and again, making a new row for each step is most of the work. So a table may *shift*:
//! its readers count the row before they look at it, and whoever has the key's lock shard, finds that nobody counts the row
//! but the table, and marks the count (`row::Thin::shift`), changes the number where it stands; a reader that comes
//! meanwhile waits for the mark to go, which takes some nanoseconds, or a turn of the system's where it stops the writer
//! just then.
//!
//! A table begins as one that does not. When it was counted [`COUNTED_OFTEN`] times it is *told*: readers that come from now
//! on count. Readers that came before may still look at rows without a count: they are waited for as a freed row waits for
//! them, through the collector. Then it shifts, and goes on doing so.
//!
//! Who reads what: at a snapshot that is alive nothing shifts (`quiet`), nor under a key's lock; so those read as ever. All
//! others go by [`Shift::is_told`], or always count; who only wants a deadline reads its bytes, which do not change, and no
//! others ([`crate::version::Version::deadline_ms`]).

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use seize::{Collector, Guard as _, LocalGuard};

use crate::limits::COUNTED_OFTEN;
use crate::table::Rows;

const FIXED: u8 = 0;
const TOLD: u8 = 1;
const SHIFTS: u8 = 2;

/// Whether a table's rows may change in place.
#[derive(Default)]
pub(crate) struct Shift {
    state: AtomicU8,
    counted: AtomicU32,
}

impl Shift {
    /// Whether readers without snapshot or lock must count. Under a guard that was entered before.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        // As the collector's own loads are where it has no cheap barrier: see `cells`.
        self.state.load(Ordering::SeqCst) != FIXED
    }

    /// Whether all readers know.
    #[inline]
    pub(crate) fn shifts(&self) -> bool {
        self.state.load(Ordering::Acquire) == SHIFTS
    }

    /// A number of the table was counted.
    pub(crate) fn counted(rows: &Arc<Rows>, guard: &LocalGuard<'_>) {
        let counted = rows.shift.counted.fetch_add(1, Ordering::Relaxed) + 1;
        // Said again as long as nothing comes of it: the collector puts off a thread that has retired little.
        if counted.is_multiple_of(COUNTED_OFTEN) {
            Shift::tell(rows, guard);
        }
    }

    fn tell(rows: &Arc<Rows>, guard: &LocalGuard<'_>) {
        // It may shift since a moment ago.
        _ = rows.shift.state.compare_exchange(FIXED, TOLD, Ordering::SeqCst, Ordering::SeqCst);
        let rows = Box::into_raw(Box::new(Arc::downgrade(rows)));
        // SAFETY: nobody else has the pointer, so nobody that enters from now on finds it.
        unsafe { guard.defer_retire(rows, told) };
        guard.flush();
    }
}

/// Called when all who entered before the table was told have left.
///
/// # Safety
/// By the collector, once, with a pointer made in `Shift::tell`.
unsafe fn told(rows: *mut Weak<Rows>, _: &Collector) {
    // SAFETY: see above.
    let rows = unsafe { Box::from_raw(rows) };
    if let Some(rows) = rows.upgrade() {
        rows.shift.state.store(SHIFTS, Ordering::Release);
    }
}
