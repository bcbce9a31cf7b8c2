//! Which snapshots are alive, so that no version one of them may read is dropped.
//!
//! A snapshot announces a lower bound in a slot, then (after a full fence) loads the clock again and reads at that. The
//! collector loads the clock, then (after a full fence) looks at the slots. If it missed the announcement, its fence came
//! first, so the clock it loaded is not above the snapshot's; if it saw it, the bound is. Either way what it keeps is enough.
//!
//! A snapshot that will not move any more may say so ([`Snapshot::settle`]): its slot then has the timestamp that it reads at,
//! marked as such. Of each key it needs one version, and those that came behind it may go as soon as nobody else reads them
//! ([`Pins`]). The others, those of transactions, are short, and may still move up: what is current from their bound on stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::clock::{Clock, Timestamp};
use crate::limits::SNAPSHOT_SLOTS;
use crate::lock::LockTable;
use crate::quiet::Quiet;

const FREE: u64 = u64::MAX;
/// Marks a slot whose timestamp is the one that is read at. No timestamp before the year 2248 has this bit.
const SETTLED: u64 = 1 << 63;

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

/// What live snapshots may read.
#[derive(Debug)]
pub(crate) struct Pins {
    /// No live or coming snapshot reads below this.
    pub(crate) oldest: Timestamp,
    /// No live or coming snapshot reads below this but those that are settled.
    pub(crate) open: Timestamp,
    /// Where the settled ones read. A handful.
    settled: SmallVec<[Timestamp; 4]>,
}

impl Pins {
    /// Whether nobody reads a version that was current from one commit to the next.
    pub(crate) fn spare(&self, from: Timestamp, to: Timestamp) -> bool {
        to <= self.open && !self.settled.iter().any(|at| from <= *at && *at < to)
    }
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
        Snapshot { at: self.clock.read(), settled: false, place }
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
        let mut oldest = slots.fold(now, |oldest, word| oldest.min(bound_in(word)));
        if used == self.slots.len() {
            oldest = self.more.lock().keys().next().map_or(oldest, |bound| oldest.min(*bound));
        }
        Timestamp(oldest)
    }

    /// What live and coming snapshots may read. As [`Snapshots::oldest`], told apart.
    pub(crate) fn pins(&self) -> Pins {
        let mut open = self.clock.read().0;
        fence(Ordering::SeqCst);
        let (mut settled, mut oldest) = (SmallVec::new(), open);
        let used = self.used.load(Ordering::SeqCst);
        for slot in &self.slots[..used] {
            let word = slot.load(Ordering::SeqCst);
            oldest = oldest.min(bound_in(word));
            match word {
                FREE => {}
                word if word & SETTLED != 0 => settled.push(Timestamp(word & !SETTLED)),
                bound => open = open.min(bound),
            }
        }
        if used == self.slots.len()
            && let Some(bound) = self.more.lock().keys().next()
        {
            (open, oldest) = (open.min(*bound), oldest.min(*bound));
        }
        Pins { oldest: Timestamp(oldest), open: Timestamp(open), settled }
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

/// The bound in a slot's word; above all others in that of a free one.
fn bound_in(word: u64) -> u64 {
    if word == FREE { FREE } else { word & !SETTLED }
}

/// A live snapshot: while it exists every version it may read is kept. Dropping it lets them go.
#[derive(Debug)]
pub struct Snapshot {
    at: Timestamp,
    settled: bool,
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
    ///
    /// # Panics
    /// When it is settled: what it would read there may have gone.
    pub fn raise(&mut self, to: Timestamp) {
        assert!(!self.settled || to <= self.at, "a settled snapshot does not move");
        self.at = self.at.max(to);
    }

    /// Says that it stays where it is: of each key it then keeps the version that it reads, and none that came behind it.
    pub fn settle(&mut self) {
        self.settled = true;
        if let Place::Slot(slot) = &self.place {
            slot.store(SETTLED | self.at.0, Ordering::SeqCst);
        }
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
