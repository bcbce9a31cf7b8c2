//! Spinning: a thread that waits for another one looks for a moment whether it is done before it parks. A transaction of one
//! node holds its locks for some microseconds, and a wake-up costs tens of them on either side. No more threads spin at a time
//! than there are processors for beside one that works; where it does not help a thread tries it ever less often. For nodes that
//! are alone: where others have a vote their words come by threads that need the processors.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::limits::{SPIN, SPIN_SKIPS_MAX};

/// Threads that may spin at a time.
static ROOM: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(0, |processors| processors.get() - 1));
/// Those that do.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// Looks between two of the clock.
const LOOKS: u32 = 16;

thread_local! {
    static HOPE: Cell<Hope> = const { Cell::new(Hope { skips: 0, patience: 1 }) };
}

/// Whether it is worth while.
#[derive(Clone, Copy)]
struct Hope {
    /// Waits that park at once before the next one spins.
    skips: u32,
    /// What `skips` becomes when it did not help; doubles.
    patience: u32,
}

impl Hope {
    fn after(self, helped: bool) -> Hope {
        match helped {
            true => Hope { skips: 0, patience: 1 },
            false => Hope { skips: self.patience, patience: (self.patience * 2).min(SPIN_SKIPS_MAX) },
        }
    }
}

/// Looks until it is done, or the moment is over. Says whether it is done.
pub(crate) fn spun(mut is_done: impl FnMut() -> bool) -> bool {
    let hope = HOPE.get();
    if hope.skips > 0 {
        HOPE.set(Hope { skips: hope.skips - 1, ..hope });
        return false;
    }
    // Relaxed: how many there are is a guess anyway.
    if SPINNING.fetch_add(1, Ordering::Relaxed) >= *ROOM {
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    let until = Instant::now() + SPIN;
    let mut helped = false;
    while !helped && Instant::now() < until {
        for _ in 0..LOOKS {
            helped = is_done();
            if helped {
                break;
            }
            std::hint::spin_loop();
        }
    }
    SPINNING.fetch_sub(1, Ordering::Relaxed);
    HOPE.set(hope.after(helped));
    helped
}
