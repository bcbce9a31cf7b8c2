//! Which snapshots are alive, so that no version one of them may read is dropped.
//!
//! A snapshot announces a lower bound in a slot, then (after a full fence) loads the clock again and reads at that. The
//! collector loads the clock, then (after a full fence) looks at the slots. If it missed the announcement, its fence came
//! first, so the clock it loaded is not above the snapshot's; if it saw it, the bound is. Either way what it keeps is enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::limits::SNAPSHOT_SLOTS;
use crate::lock::LockTable;
use crate::quiet::Quiet;

const FREE: u64 = u64::MAX;

/// All live snapshots of a node.
#[derive(Debug)]
pub(crate) struct Snapshots {
    clock: Arc<Clock>,
    /// Lower bounds; each on its own cache line, so that readers on different threads do not meet.
    /// Counted one by one, so that a snapshot keeps its own slot and no counter that all of them share.
    slots: Box<[Slot]>,
    /// Slots at or above it were never used. Only grows.
    used: AtomicUsize,
    /// Snapshots that found no slot: bound and how many. Rare; held for a map operation; a leaf lock.
    more: Arc<Mutex<BTreeMap<u64, usize>>>,
    pub(crate) quiet: Quiet,
}

type Slot = Arc<CachePadded<AtomicU64>>;

thread_local! {
    /// Where this thread found a free slot last.
    static LAST_SLOT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Snapshots {
    pub(crate) fn new(clock: Arc<Clock>) -> Snapshots {
        let slots = (0..SNAPSHOT_SLOTS).map(|_| Arc::new(CachePadded::new(AtomicU64::new(FREE)))).collect();
        Snapshots { clock, slots, used: AtomicUsize::new(0), more: Arc::default(), quiet: Quiet::default() }
    }

    pub(crate) fn take(&self, locks: &LockTable) -> Snapshot {
        let bound = self.clock.read().0;
        let place = self.claim(bound).map_or_else(|| self.overflow(bound), Place::Slot);
        fence(Ordering::SeqCst);
        self.quiet.wake(locks);
        Snapshot { at: self.clock.read(), place }
    }

    fn overflow(&self, bound: u64) -> Place {
        *self.more.lock().entry(bound).or_insert(0) += 1;
        Place::More(bound, Arc::clone(&self.more))
    }

    fn claim(&self, bound: u64) -> Option<Slot> {
        let first = LAST_SLOT.get();
        for probe in 0..self.slots.len() {
            let slot = (first + probe) % self.slots.len();
            let word = &self.slots[slot];
            if word.load(Ordering::Relaxed) == FREE {
                // `used` grows before the slot is filled, so a collector that sees the old `used` fenced before us.
                if self.used.load(Ordering::SeqCst) <= slot {
                    self.used.fetch_max(slot + 1, Ordering::SeqCst);
                }
                if word.compare_exchange(FREE, bound, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                    LAST_SLOT.set(slot);
                    return Some(Arc::clone(word));
                }
            }
        }
        None
    }

    /// No live or coming snapshot reads below this.
    pub(crate) fn oldest(&self) -> Timestamp {
        let now = self.clock.read().0;
        fence(Ordering::SeqCst);
        let used = self.used.load(Ordering::SeqCst);
        let slots = self.slots[..used].iter().map(|slot| slot.load(Ordering::SeqCst));
        let mut oldest = slots.fold(now, u64::min);
        if used == self.slots.len() {
            oldest = self.more.lock().keys().next().map_or(oldest, |bound| oldest.min(*bound));
        }
        Timestamp(oldest)
    }

    /// Makes the store quiet, if no snapshot is alive. Not within a lock shard.
    pub(crate) fn be_quiet(&self, wall_ms: u64) {
        self.quiet.begin(|| self.is_any_alive(), || self.clock.propose(wall_ms));
    }

    /// Whether one is alive. What those that went have looked at is over.
    fn is_any_alive(&self) -> bool {
        let used = self.used.load(Ordering::SeqCst);
        self.slots[..used].iter().any(|slot| slot.load(Ordering::Acquire) != FREE)
            || !self.more.lock().is_empty()
    }

    /// How many are alive.
    pub(crate) fn count(&self) -> usize {
        let slots = self.slots.iter().filter(|slot| slot.load(Ordering::Relaxed) != FREE).count();
        slots + self.more.lock().values().sum::<usize>()
    }
}

/// A live snapshot: while it exists every version it may read is kept. Dropping it lets them go.
#[derive(Debug)]
pub struct Snapshot {
    at: Timestamp,
    place: Place,
}

/// Where a snapshot is announced.
#[derive(Debug)]
enum Place {
    Slot(Slot),
    More(u64, Arc<Mutex<BTreeMap<u64, usize>>>),
}

impl Snapshot {
    /// The timestamp it reads at.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Moves it up (never down), as [`crate::work::Blocked::Raise`] asks.
    pub fn raise(&mut self, to: Timestamp) {
        self.at = self.at.max(to);
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        match &self.place {
            Place::Slot(slot) => slot.store(FREE, Ordering::Release),
            Place::More(bound, more) => {
                let mut more = more.lock();
                if let Some(count) = more.get_mut(bound) {
                    *count -= 1;
                    if *count == 0 {
                        more.remove(bound);
                    }
                }
            }
        }
    }
}
