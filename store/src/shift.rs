//! Rows that change in place, and those who read them.
//!
//! Elsewhere the bytes of a row never change, and readers hold no count of what they look at: a guard keeps it. In a table
//! whose rows are written again and again, making a new row for each change, and giving the old one back, is most of the
//! work, and rows that are made anew stand far from their cells. So a table may *shift*: its readers count the row before
//! they look at it, and whoever has the key's lock shard, finds that nobody counts the row but the table, and marks the
//! count (`row::Thin::shift`), changes it where it stands (`in_place`); a reader that comes meanwhile waits for the mark to
//! go, which takes some nanoseconds, or a turn of the system's where it stops the writer just then.
//!
//! A table begins *fixed*. When [`CHANGED_OFTEN`] of its rows were changed within one second it is *told*: readers that come
//! from now on count. Readers that came before may still look at rows without a count: they are waited for as a freed row
//! waits for them, through the collector. Then it shifts.
//!
//! Counting costs readers a little, and many who read the same row meet in it. So a table that was not changed in place for
//! [`STILL_SECONDS`] *rests*: nobody changes a row in place any more, those who may be doing so are waited for by passing
//! through the lock shards, and then it is fixed. Each time it is told anew counts: what the collector says of an earlier
//! time must not be taken for this one's.
//!
//! Who reads what: at a snapshot that is alive nothing shifts (`quiet`), nor under a key's lock; so those read as ever. All
//! others go by [`Shift::is_told`], or always count; who only wants a deadline reads its bytes, which do not change, and no
//! others ([`crate::version::Version::deadline_ms`]).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use seize::{Collector, Guard as _, LocalGuard};

use crate::limits::{CHANGED_OFTEN, STILL_SECONDS};
use crate::lock::LockTable;
use crate::table::Rows;

const FIXED: u32 = 0;
const TOLD: u32 = 1;
const SHIFTS: u32 = 2;
const RESTS: u32 = 3;
/// Bits of the state that say which of these. Those above count how often it was fixed again.
const PHASE: u32 = 3;

/// The upper half of a count of changes.
const SECOND: u64 = !0 << 32;

/// Whether a table's rows may change in place.
#[derive(Default)]
pub(crate) struct Shift {
    state: AtomicU32,
    /// How often rows were changed while it was fixed, in the second of the upper half.
    changed: AtomicU64,
    /// The second of the last change in place, nearly.
    last: AtomicU32,
}

impl Shift {
    /// Whether readers without snapshot or lock must count. Under a guard that was entered before.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        // As the collector's own loads are where it has no cheap barrier: see `cells`.
        self.state.load(Ordering::SeqCst) & PHASE != FIXED
    }

    /// Whether all readers know. To be asked in the lock shard of the change.
    #[inline]
    pub(crate) fn shifts(&self) -> bool {
        self.state.load(Ordering::Acquire) & PHASE == SHIFTS
    }

    /// A row has changed in place.
    #[inline]
    pub(crate) fn used(&self, wall_ms: u64) {
        let second = second_of(wall_ms);
        if self.last.load(Ordering::Relaxed) != second {
            self.last.store(second, Ordering::Relaxed);
        }
    }

    /// A row of the table is about to be changed to one as large. Where somebody listens that would not be done in place, and
    /// readers need not count for it.
    pub(crate) fn changed(rows: &Arc<Rows>, wall_ms: u64, guard: &LocalGuard<'_>) {
        if rows.events.has_listeners() {
            return;
        }
        let second = u64::from(second_of(wall_ms)) << 32;
        let changed = &rows.shift.changed;
        // Others may do the same; it is about whether they are many.
        if changed.load(Ordering::Relaxed) & SECOND != second {
            changed.store(second, Ordering::Relaxed);
        }
        let many = changed.fetch_add(1, Ordering::Relaxed) as u32 + 1;
        // Said again as long as nothing comes of it: the collector puts off a thread that has retired little.
        if many.is_multiple_of(CHANGED_OFTEN) {
            rows.shift.used(wall_ms);
            Shift::tell(rows, guard);
        }
    }

    fn tell(rows: &Arc<Rows>, guard: &LocalGuard<'_>) {
        let state = rows.shift.state.load(Ordering::SeqCst);
        let told = state & !PHASE | TOLD;
        // It may have been told a moment ago.
        if state & PHASE == FIXED {
            _ = rows.shift.state.compare_exchange(state, told, Ordering::SeqCst, Ordering::SeqCst);
        }
        let notice = Box::into_raw(Box::new(Notice { rows: Arc::downgrade(rows), told }));
        // SAFETY: nobody else has the pointer, so nobody that enters from now on finds it.
        unsafe { guard.defer_retire(notice, arrived) };
        guard.flush();
    }

    /// Makes it fixed again if it was not changed in place for long. Not in a lock shard.
    pub(crate) fn let_rest(&self, wall_ms: u64, locks: &LockTable) {
        let state = self.state.load(Ordering::SeqCst);
        let still = second_of(wall_ms).wrapping_sub(self.last.load(Ordering::Relaxed));
        if state & PHASE != SHIFTS || !(STILL_SECONDS..u32::MAX / 2).contains(&still) {
            return;
        }
        let rests = state & !PHASE | RESTS;
        if self.state.compare_exchange(state, rests, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            locks.pass_all();
            self.state.store(rests.wrapping_add(1), Ordering::SeqCst);
        }
    }
}

/// `RESTS` plus one is `FIXED` with the count one up.
const _: () = assert!(RESTS + 1 == PHASE + 1 + FIXED);

fn second_of(wall_ms: u64) -> u32 {
    (wall_ms / 1_000) as u32
}

/// That a table was told, on its way through the collector.
struct Notice {
    rows: Weak<Rows>,
    /// The state that it was given then.
    told: u32,
}

/// Called when all who entered before the table was told have left.
///
/// # Safety
/// By the collector, once, with a pointer made in `Shift::tell`.
unsafe fn arrived(notice: *mut Notice, _: &Collector) {
    // SAFETY: see above.
    let notice = unsafe { Box::from_raw(notice) };
    if let Some(rows) = notice.rows.upgrade() {
        let shifts = notice.told & !PHASE | SHIFTS;
        // Not where it shifts already, or where that time is over.
        _ = rows.shift.state.compare_exchange(notice.told, shifts, Ordering::SeqCst, Ordering::SeqCst);
    }
}
