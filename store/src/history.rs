//! Old versions, deleted keys and index entries without a row: when they go. A commit cuts what no live snapshot needs at
//! once; what it must leave is queued here and looked at again by later commits and by [`Store::tidy`].
//!
//! An old version is queued once, when it is replaced, and waits until every snapshot that is not settled is above its
//! successor (`old`). If a settled one reads it then, it waits on until all are (`pinned`); else it goes. So a snapshot that is
//! held keeps one version of a key, however often that is written. What a pinned version alone kept, its index entries and a
//! deletion behind it, is queued as gone when it goes itself.
//!
//! Deletions and vanished index entries stay a little longer (`DELETION_KEPT_MS`) even if no snapshot needs them: another
//! member may still prepare a transaction that read the range before, and finds out by meeting them. What is forgotten is
//! remembered as one timestamp per table, and a range read before it is refused.
//!
//! A key dies in its lock shard while nobody holds its lock, and is born by who holds it: so never both at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use seize::{Guard as _, LocalGuard};

use crate::backing::Backing;
use crate::cell::{Cell, CellRef};
use crate::clock::Timestamp;
use crate::ids::IndexId;
use crate::key::Key;
use crate::limits::{DELETION_KEPT_MS, DELETIONS_KEPT_MAX, QUEUE_KEPT_MIN, STRIPES};
use crate::row::Body;
use crate::snapshot::Pins;
use crate::spare;
use crate::store::Store;
use crate::table::Table;

/// What waits to go, striped by the thread that queued it.
pub(crate) struct History {
    /// Held for a push or a pop; a leaf lock.
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    /// Something may wait: set behind every push, so who takes it back and finds nothing has missed no push. The locks of the
    /// stripes order the two.
    waits: AtomicBool,
}

#[derive(Default)]
struct Stripe {
    /// Replaced versions.
    old: VecDeque<Old>,
    /// Those of them that a settled snapshot read when they were looked at.
    pinned: VecDeque<Old>,
    gone: VecDeque<Gone>,
    /// What old versions and stale entries hold.
    bytes: usize,
}

/// A commit that left an older version behind.
struct Old {
    at: Timestamp,
    /// When the older one was committed.
    of: Timestamp,
    cell: CellRef,
    /// What the older version holds.
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
        let stripes = (0..STRIPES).map(|_| CachePadded::default()).collect();
        History { stripes, waits: AtomicBool::new(false) }
    }
}

impl History {
    /// Queues a version that was replaced by a commit, and holds this many bytes.
    pub(crate) fn keep_old(
        &self,
        at: Timestamp,
        of: Timestamp,
        cell: &CellRef,
        bytes: usize,
        guard: &LocalGuard<'_>,
    ) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.put(Old { at, of, cell: CellRef::clone(cell), bytes }, |stripe| &mut stripe.old, guard);
    }

    fn put(&self, old: Old, queue: impl Fn(&mut Stripe) -> &mut VecDeque<Old>, guard: &LocalGuard<'_>) {
        let mut stripe = self.stripes[guard.thread_id() % STRIPES].lock();
        stripe.bytes += old.bytes as usize;
        queue(&mut stripe).push_back(old);
        drop(stripe);
        self.wake();
    }

    pub(crate) fn keep_gone(&self, gone: Gone, guard: &LocalGuard<'_>) {
        let mut stripe = self.stripes[guard.thread_id() % STRIPES].lock();
        stripe.bytes += gone.bytes();
        stripe.gone.push_back(gone);
        drop(stripe);
        self.wake();
    }

    fn wake(&self) {
        if !self.waits.load(Ordering::Relaxed) {
            self.waits.store(true, Ordering::Relaxed);
        }
    }

    fn may_wait(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Whether something may wait that nobody has begun to look at.
    fn begins(&self) -> bool {
        self.may_wait() && self.waits.swap(false, Ordering::Relaxed)
    }

    /// What waits. O(1).
    pub(crate) fn kept(&self) -> Kept {
        let mut kept = Kept { bytes: size_of_val(&*self.stripes), ..Kept::default() };
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            kept.versions += stripe.old.len() + stripe.pinned.len();
            kept.deletions += stripe.gone.len();
            kept.bytes += stripe.bytes
                + (stripe.old.capacity() + stripe.pinned.capacity()) * size_of::<Old>()
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
        stripe.old.len().max(stripe.pinned.len()).max(stripe.gone.len())
    }

    fn next_old(
        &self,
        stripe: usize,
        until: Timestamp,
        queue: impl Fn(&mut Stripe) -> &mut VecDeque<Old>,
    ) -> Option<Old> {
        let mut stripe = self.stripes[stripe].lock();
        let waiting = queue(&mut stripe);
        let old = waiting.front().is_some_and(|old| old.at <= until).then(|| waiting.pop_front())??;
        give_back(waiting);
        stripe.bytes -= old.bytes as usize;
        Some(old)
    }

    fn next_gone(&self, stripe: usize, until: Timestamp, now: Timestamp) -> Option<Gone> {
        let mut stripe = self.stripes[stripe].lock();
        let full = stripe.gone.len() > DELETIONS_KEPT_MAX;
        let due =
            |gone: &Gone| gone.at <= until && (full || gone.at.wall_ms() + DELETION_KEPT_MS <= now.wall_ms());
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
    /// Whether there is anything for [`Store::tidy`], which stops all processors for a moment whether there is or not.
    pub fn is_untidy(&self) -> bool {
        let guard = self.pin();
        let mut all = self.catalog.tables.values(&guard.catalog);
        all.any(|table| {
            table.rows.history.may_wait() || table.rows.backing.as_ref().is_some_and(Backing::is_unsettled)
        })
    }

    /// Drops what no live snapshot needs any more, in every table, up to `budget` cells of each; lets rows of tables on disc
    /// alone out of memory that a snapshot or a lock kept there, as many. To be called several times a second: commits tidy
    /// a little behind themselves, but when the last one has come only this does.
    pub fn tidy(&self, budget: usize) {
        let guard = self.pin();
        for table in self.catalog.tables.values(&guard.catalog) {
            if table.rows.history.begins() {
                self.tidy_table(table, budget, &guard);
            }
            table.settle_residents(budget, &guard);
        }
        // What this thread has retired goes with the guard, however little it is.
        guard.rows.flush();
        drop(guard);
        // What the caller's thread keeps for rows and nodes to come is not needed by one that tidies.
        spare::give_back();
    }

    fn tidy_table(&self, table: &Table, budget: usize, guard: &LocalGuard<'_>) {
        let history = &table.rows.history;
        for stripe in 0..STRIPES {
            let budget = budget.div_ceil(STRIPES).min(history.waiting(stripe));
            self.tidy_stripe(table, stripe, budget, guard);
            if history.waiting(stripe) > 0 {
                history.wake();
            }
        }
    }

    pub(crate) fn tidy_stripe(&self, table: &Table, stripe: usize, budget: usize, guard: &LocalGuard<'_>) {
        let (history, pins) = (&table.rows.history, self.snapshots.pins());
        for _ in 0..budget {
            let Some(old) = history.next_old(stripe, pins.open, |stripe| &mut stripe.old) else { break };
            let pinned = self.locks.alone(table.id(), &old.cell.key, || {
                shorten(&old.cell, &pins, guard);
                old.cell.has_behind(old.of, guard)
            });
            match pinned {
                Some(false) => {}
                Some(true) => history.put(old, |stripe| &mut stripe.pinned, guard),
                // Whoever holds the lock cuts at its commit, or the cell is looked at again.
                None => history.put(old, |stripe| &mut stripe.old, guard),
            }
        }
        for _ in 0..budget {
            let Some(old) = history.next_old(stripe, pins.oldest, |stripe| &mut stripe.pinned) else { break };
            match self.locks.alone(table.id(), &old.cell.key, || release(table, &old.cell, &pins, guard)) {
                Some(gone) => gone.into_iter().for_each(|gone| history.keep_gone(gone, guard)),
                None => history.put(old, |stripe| &mut stripe.pinned, guard),
            }
        }
        let now = self.clock.read();
        for _ in 0..budget {
            let Some(gone) = history.next_gone(stripe, pins.open, now) else { break };
            let imaged = ask_image(table, &gone, guard);
            let forgotten =
                self.locks.alone(table.id(), &gone.cell.key, || forget(table, &gone, imaged, &pins, guard));
            if forgotten != Some(true) {
                history.keep_gone(gone, guard);
            }
        }
    }
}

/// Drops every version of a cell that nobody reads. In the key's lock shard, with nobody in it.
fn shorten(cell: &Cell, pins: &Pins, guard: &LocalGuard<'_>) {
    cell.cut(pins.oldest, usize::MAX, guard);
    cell.prune(pins, usize::MAX, guard);
}

/// Drops versions that settled snapshots kept, and says what went with them: entries that no version has any more, and a
/// deletion that nothing stands behind. In the key's lock shard, with nobody in it.
fn release(table: &Table, cell: &CellRef, pins: &Pins, guard: &LocalGuard<'_>) -> Option<Gone> {
    let mut stale: Vec<(IndexId, Key)> = Vec::new();
    for body in cell.versions(guard).skip(1).filter_map(|version| version.body()) {
        for index in &table.indexes {
            let entries = index.entries(&table.def, &cell.key, Some(&*body));
            stale.extend(entries.into_iter().map(|entry| (index.def.id, entry)));
        }
    }
    shorten(cell, pins, guard);
    stale.retain(|(id, entry)| {
        table.index(*id).is_some_and(|index| !has_entry(table, index, cell, entry, guard))
    });
    let (top, at) = cell.newest(guard)?;
    let deleted = top.body().is_none() && cell.versions(guard).nth(1).is_none();
    (deleted || !stale.is_empty()).then(|| Gone { at, cell: CellRef::clone(cell), stale })
}

/// What the image of a table on disc alone has under a key whose cell has left, and how many cells of the key's stripe had
/// left before it was asked: it holds as long as that is so and the key has no cell.
struct Imaged {
    body: Option<Body>,
    departed: u64,
}

/// Asked outside the lock shard, which a disc must not keep. Nothing where it needs not be asked, or says nothing now.
fn ask_image(table: &Table, gone: &Gone, guard: &LocalGuard<'_>) -> Option<Imaged> {
    let backing = table.rows.backing.as_ref().filter(|_| !gone.stale.is_empty())?;
    let (key, departed) = (&gone.cell.key, backing.departed(&gone.cell.key));
    if table.rows.cell(key, guard).is_some() {
        return None;
    }
    let body = backing.fetch(key).ok()?.map(|(_, body)| body);
    Some(Imaged { body, departed })
}

/// In the key's lock shard, with nobody in it. False when the image has to be asked (again) before.
fn forget(table: &Table, gone: &Gone, imaged: Option<Imaged>, pins: &Pins, guard: &LocalGuard<'_>) -> bool {
    let key = &gone.cell.key;
    let now = table.rows.cell(key, guard);
    let away = table.rows.backing.as_ref().filter(|_| now.is_none() && !gone.stale.is_empty());
    let imaged = imaged.filter(|imaged| away.is_some_and(|backing| backing.departed(key) == imaged.departed));
    if away.is_some() && imaged.is_none() {
        return false;
    }
    // Raised first: who checks a range looks at cells and then at this.
    table.rows.forgotten.fetch_max(gone.at.0, Ordering::SeqCst);
    shorten(&gone.cell, pins, guard);
    let in_image = imaged.and_then(|imaged| imaged.body);
    for (index, entry) in &gone.stale {
        let Some(index) = table.index(*index) else { continue };
        let kept = |cell: &Cell| has_entry(table, index, cell, entry, guard);
        let holds = |body: &Body| body.rows().iter().any(|row| index.holds(&table.def, key, row, entry));
        let wanted = kept(&gone.cell)
            || now.as_ref().is_some_and(|cell| kept(cell))
            || in_image.as_ref().is_some_and(holds);
        if !wanted {
            index.remove(entry, guard);
        }
    }
    if table.rows.backing.is_some() {
        return true; // Its cell stays until the image has the deletion: see `backing`.
    }
    let deleted = matches!(gone.cell.newest(guard), Some((top, at)) if at == gone.at && top.body().is_none());
    if deleted && gone.cell.versions(guard).count() == 1 {
        table.rows.dead(&gone.cell, guard);
    }
    true
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
