//! Whether any snapshot may be alive: what changes in place must know, since a snapshot has to find what was there before.
//!
//! A store is *loud* unless somebody has made it *quiet*, and it is made so only while no snapshot is alive. What is done in
//! quiet is done within a lock shard ([`LockTable::alone`]) and looks there first. A snapshot that begins announces itself and
//! then looks here; where it does not find the store loud it makes it loud and passes through all shards. So whatever saw
//! quiet has ended before the snapshot draws its timestamp, and whatever comes after sees that it is loud.
//!
//! Making it quiet takes two steps, since a snapshot may begin meanwhile: first *trying*, then a look at the snapshots. Of
//! two that meet, the snapshot sees trying and ends it, or the other sees the snapshot. Between the two the clock is
//! raised: what is changed in quiet may take the clock's reading for its timestamp, which is then above every snapshot
//! that there ever was.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::limits::QUIET_TRIED_EVERY;
use crate::lock::LockTable;

const LOUD: u8 = 0;
const TRYING: u8 = 1;
const QUIET: u8 = 2;
/// A snapshot is passing through the shards.
const WAKING: u8 = 3;

/// See the file's header.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    state: AtomicU8,
    /// Held for a look at the snapshots; a leaf lock.
    tries: Mutex<()>,
    /// How often it was asked for in vain.
    asked: AtomicU32,
}

impl Quiet {
    /// Whether no snapshot is alive, until the end of the lock shard that the caller is in.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        self.state.load(Ordering::SeqCst) == QUIET
    }

    /// Wakes it for a snapshot that has announced itself, with a full fence behind that.
    #[inline]
    pub(crate) fn wake(&self, locks: &LockTable) {
        if self.state.load(Ordering::SeqCst) != LOUD {
            self.wake_up(locks);
        }
    }

    #[cold]
    fn wake_up(&self, locks: &LockTable) {
        let change =
            |from, to| self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // As long as this snapshot is announced nobody makes it quiet again, so this ends.
        loop {
            match self.state.load(Ordering::SeqCst) {
                LOUD => return,
                // Nothing was done yet.
                TRYING => change(TRYING, LOUD),
                QUIET => change(QUIET, WAKING),
                _ => {
                    locks.pass_all();
                    change(WAKING, LOUD)
                }
            };
        }
    }

    /// Makes it quiet if no snapshot is alive. `raise` raises the clock. Not within a lock shard.
    pub(crate) fn begin(&self, is_alive: impl Fn() -> bool, raise: impl FnOnce() -> Timestamp) {
        // One at a time: who comes back to a second one's trying would take it for its own, and go by an old look.
        let Some(_one) = self.tries.try_lock() else { return };
        if self.state.compare_exchange(LOUD, TRYING, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        fence(Ordering::SeqCst);
        let to = if is_alive() {
            LOUD
        } else {
            raise();
            QUIET
        };
        // Fails where a snapshot has ended it meanwhile.
        _ = self.state.compare_exchange(TRYING, to, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Somebody would have had it quiet: whether it is time to try. Seldom, since a snapshot that ends it waits a little.
    pub(crate) fn is_wanted(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(QUIET_TRIED_EVERY)
    }
}
