//! Old versions, deleted keys and index entries without a row: when they go. A commit cuts what no live snapshot needs at
//! once; what it must leave is queued here and looked at again by later commits and by [`Store::tidy`].
//!
//! Deletions and vanished index entries stay a little longer (`DELETION_KEPT_MS`) even if no snapshot needs them: another
//! member may still prepare a transaction that read the range before, and finds out by meeting them. What is forgotten is
//! remembered as one timestamp per table, and a range read before it is refused.
//!
//! A key dies in its lock shard while nobody holds its lock, and is born by who holds it: so never both at once.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use seize::{Guard as _, LocalGuard};

use crate::cell::{Cell, CellRef};
use crate::clock::Timestamp;
use crate::ids::{IndexId, TableId};
use crate::key::Key;
use crate::limits::{DELETION_KEPT_MS, DELETIONS_KEPT_MAX, QUEUE_KEPT_MIN, STRIPES};
use crate::lock::LockKey;
use crate::row;
use crate::store::Store;
use crate::table::Table;

/// What waits to go, striped by the thread that queued it.
pub(crate) struct History {
    /// Held for a push or a pop; a leaf lock.
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
}

#[derive(Default)]
struct Stripe {
    /// Cells with more versions than one.
    old: VecDeque<Old>,
    gone: VecDeque<Gone>,
    /// Of `old`, those that name a version.
    versions: usize,
    /// What old versions and stale entries hold.
    bytes: usize,
}

/// A commit that left an older version behind.
struct Old {
    at: Timestamp,
    cell: CellRef,
    /// What the older version holds; 0 when it is looked at again.
    bytes: u32,
}

/// What waits to go in a table.
#[derive(Clone, Copy, Default)]
pub(crate) struct Kept {
    pub(crate) versions: usize,
    pub(crate) deletions: usize,
    /// Of all that, and of the queues themselves.
    pub(crate) bytes: usize,
}

/// A commit after which a key is deleted, or some index entries have no row.
pub(crate) struct Gone {
    pub(crate) at: Timestamp,
    pub(crate) cell: CellRef,
    pub(crate) stale: Vec<(IndexId, Key)>,
}

impl Gone {
    fn bytes(&self) -> usize {
        let keys: usize = self.stale.iter().map(|(_, entry)| entry.heap_bytes()).sum();
        keys + self.stale.capacity() * size_of::<(IndexId, Key)>()
    }
}

impl Default for History {
    fn default() -> History {
        History { stripes: (0..STRIPES).map(|_| CachePadded::default()).collect() }
    }
}

impl History {
    /// Queues a cell for another look; the version behind its newest holds this many bytes.
    pub(crate) fn keep_old(&self, at: Timestamp, cell: &CellRef, bytes: usize, guard: &LocalGuard<'_>) {
        let old = Old { at, cell: CellRef::clone(cell), bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
        let mut stripe = self.stripes[guard.thread_id() % STRIPES].lock();
        stripe.versions += usize::from(old.bytes != 0);
        stripe.bytes += old.bytes as usize;
        stripe.old.push_back(old);
    }

    pub(crate) fn keep_gone(&self, gone: Gone, guard: &LocalGuard<'_>) {
        let mut stripe = self.stripes[guard.thread_id() % STRIPES].lock();
        stripe.bytes += gone.bytes();
        stripe.gone.push_back(gone);
    }

    /// What waits. O(1).
    pub(crate) fn kept(&self) -> Kept {
        let mut kept = Kept { bytes: size_of_val(&*self.stripes), ..Kept::default() };
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            kept.versions += stripe.versions;
            kept.deletions += stripe.gone.len();
            kept.bytes += stripe.bytes
                + stripe.old.capacity() * size_of::<Old>()
                + stripe.gone.capacity() * size_of::<Gone>();
        }
        kept
    }

    /// Forgets everything queued, when the table is emptied as a whole.
    pub(crate) fn clear(&self) {
        self.stripes.iter().for_each(|stripe| *stripe.lock() = Stripe::default());
    }

    /// What waits in a stripe: a round looks at each once, also at what it puts back.
    fn waiting(&self, stripe: usize) -> usize {
        let stripe = self.stripes[stripe].lock();
        stripe.old.len().max(stripe.gone.len())
    }

    fn next_old(&self, stripe: usize, oldest: Timestamp) -> Option<(Timestamp, CellRef)> {
        let mut stripe = self.stripes[stripe].lock();
        let old =
            stripe.old.front().is_some_and(|old| old.at <= oldest).then(|| stripe.old.pop_front())??;
        stripe.versions -= usize::from(old.bytes != 0);
        stripe.bytes -= old.bytes as usize;
        give_back(&mut stripe.old);
        Some((old.at, old.cell))
    }

    fn next_gone(&self, stripe: usize, oldest: Timestamp, now: Timestamp) -> Option<Gone> {
        let mut stripe = self.stripes[stripe].lock();
        let full = stripe.gone.len() > DELETIONS_KEPT_MAX;
        let due = |gone: &Gone| {
            gone.at <= oldest && (full || gone.at.wall_ms() + DELETION_KEPT_MS <= now.wall_ms())
        };
        let gone = stripe.gone.front().is_some_and(due).then(|| stripe.gone.pop_front())??;
        stripe.bytes -= gone.bytes();
        give_back(&mut stripe.gone);
        Some(gone)
    }
}

/// Gives back what a queue that was long needs no more. Half of what is left stays free, so its entries are moved once for as
/// many taken at least.
fn give_back<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > QUEUE_KEPT_MIN && queue.len() < queue.capacity() / 4 {
        queue.shrink_to((queue.len() * 2).max(QUEUE_KEPT_MIN));
    }
}

impl Store {
    /// Drops what no live snapshot needs any more, in every table, up to `budget` cells each. Called by a tick; commits do
    /// a little of it themselves.
    pub fn tidy(&self, budget: usize) {
        let guard = self.pin();
        let oldest = self.snapshots.oldest();
        for table in self.catalog.tables.values(&guard.catalog) {
            for stripe in 0..STRIPES {
                let budget = budget.min(table.rows.history.waiting(stripe));
                self.tidy_stripe(table, stripe, budget, oldest, &guard);
            }
            table.settle_residents(budget, &guard);
        }
        // What this thread has retired goes with the guard, however little it is.
        guard.rows.flush();
        drop(guard);
        // What the caller's thread keeps for rows to come is not needed by one that tidies.
        row::give_back();
    }

    /// The same for tables on disc alone, and lets rows out of memory that a snapshot or a lock kept there, up to `budget` of
    /// each table: to be called several times a second where there are such tables.
    pub fn settle(&self, budget: usize) {
        let guard = self.pin();
        let oldest = self.snapshots.oldest();
        let all = self.catalog.tables.values(&guard.catalog);
        for table in all.filter(|table| table.is_on_disc_alone()) {
            for stripe in 0..STRIPES {
                let budget = budget.div_ceil(STRIPES).min(table.rows.history.waiting(stripe));
                self.tidy_stripe(table, stripe, budget, oldest, &guard);
            }
            table.settle_residents(budget, &guard);
        }
        guard.rows.flush();
    }

    pub(crate) fn tidy_stripe(
        &self,
        table: &Table,
        stripe: usize,
        budget: usize,
        oldest: Timestamp,
        guard: &LocalGuard<'_>,
    ) {
        let history = &table.rows.history;
        for _ in 0..budget {
            let Some((at, cell)) = history.next_old(stripe, oldest) else { break };
            // Whoever holds the lock cuts at its commit, or the cell is looked at again.
            let left = self.locks.alone(&row_lock(table.id(), &cell.key), || cell.cut(oldest, guard));
            if left != Some(false) {
                history.keep_old(at, &cell, 0, guard);
            }
        }
        let now = self.clock.read();
        for _ in 0..budget {
            let Some(gone) = history.next_gone(stripe, oldest, now) else { break };
            let lock = row_lock(table.id(), &gone.cell.key);
            if self.locks.alone(&lock, || forget(table, &gone, oldest, guard)).is_none() {
                history.keep_gone(gone, guard);
            }
        }
    }
}

pub(crate) fn row_lock(table: TableId, key: &Key) -> LockKey {
    LockKey { table, index: None, key: key.clone() }
}

/// In the key's lock shard, with nobody in it.
fn forget(table: &Table, gone: &Gone, oldest: Timestamp, guard: &LocalGuard<'_>) {
    // Raised first: who checks a range looks at cells and then at this.
    table.rows.forgotten.fetch_max(gone.at.0, Ordering::SeqCst);
    gone.cell.cut(oldest, guard);
    for (index, entry) in &gone.stale {
        let Some(index) = table.index(*index) else { continue };
        let now = table.rows.cell(&gone.cell.key, guard);
        let kept = |cell: &Cell| has_entry(table, index, cell, entry, guard);
        let in_image = || now.is_none() && image_has_entry(table, index, &gone.cell.key, entry, guard);
        if !kept(&gone.cell) && !now.as_ref().is_some_and(|cell| kept(cell)) && !in_image() {
            index.remove(entry, guard);
        }
    }
    if table.rows.backing.is_some() {
        return; // Its cell stays until the image has the deletion: see `backing`.
    }
    let deleted = matches!(gone.cell.newest(guard), Some((top, at)) if at == gone.at && top.body().is_none());
    if deleted && gone.cell.versions(guard).count() == 1 {
        table.rows.dead(&gone.cell, guard);
    }
}

/// Whether the row of a table on disc alone has this index entry, when its cell has left. One that cannot be read keeps it.
fn image_has_entry(
    table: &Table,
    index: &crate::index::Index,
    key: &Key,
    entry: &Key,
    guard: &LocalGuard<'_>,
) -> bool {
    match table.newest_anywhere(key, guard) {
        Ok(Some((body, _))) => body.rows().iter().any(|row| index.holds(&table.def, key, row, entry)),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// Whether any kept version of the cell has this index entry.
pub(crate) fn has_entry(
    table: &Table,
    index: &crate::index::Index,
    cell: &Cell,
    entry: &Key,
    guard: &LocalGuard<'_>,
) -> bool {
    let mut bodies = cell.versions(guard).filter_map(|version| version.body());
    bodies.any(|body| body.rows().iter().any(|row| index.holds(&table.def, &cell.key, row, entry)))
}
