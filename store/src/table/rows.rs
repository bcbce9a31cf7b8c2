//! What a table holds, whatever its definition: cells and how they are found, and what is counted where rows change.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use seize::{Guard as _, LocalGuard};

use crate::backing::Backing;
use crate::cell::{Cell, CellAt, CellRef};
use crate::cells::Cells;
use crate::clock::{Clock, Timestamp};
use crate::deadline::Deadlines;
use crate::event::Hub;
use crate::eviction::Eviction;
use crate::heap::Heap;
use crate::history::History;
use crate::key::Key;
use crate::limits::STRIPES;
use crate::memory;
use crate::range_lock::RangeLocks;
use crate::row::Body;
use crate::schema::{Kind, TableDef};
use crate::shift::Shift;
use crate::statistics::Tallies;
use crate::tree::{Spot, Tree};

/// What a table holds, whatever its definition.
pub(crate) struct Rows {
    /// Every cell, by key.
    pub(crate) cells: Cells,
    /// Every cell in key order; ordered tables, and those on disc alone, only. Changed when a key is born or dies.
    pub(crate) tree: Option<Tree>,
    pub(crate) ranges: RangeLocks,
    pub(crate) history: History,
    pub(crate) deadlines: Deadlines,
    /// For tables that evict or let idle rows go.
    pub(crate) eviction: Option<Eviction>,
    /// For tables on disc alone: then a key without a cell may be in the image.
    pub(crate) backing: Option<Backing>,
    pub(crate) tallies: Tallies,
    pub(crate) shift: Shift,
    pub(crate) events: Arc<Hub>,
    /// The schema version in force, or [`DROPPED`].
    pub(crate) version: AtomicU32,
    /// The newest deletion (or vanished index entry) that can no longer be found. Raised before the cell goes.
    pub(crate) forgotten: AtomicU64,
    /// Snapshots up to here may have seen rows that went all at once, and find them no more.
    pub(crate) gone: AtomicU64,
    counts: Box<[CachePadded<Count>]>,
}

#[derive(Default)]
struct Count {
    rows: AtomicI64,
    bytes: AtomicI64,
    /// What bodies and keys hold beyond `bytes` and a head for each row. Unchanged where a row replaces another.
    over: AtomicI64,
    /// Keys that hold a row, less those whose deletion is newer.
    keys: AtomicI64,
}

/// What all stripes of a table's counters say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
    pub(crate) over: i64,
    pub(crate) keys: i64,
}

impl Rows {
    /// No rows yet.
    pub(crate) fn create(def: &TableDef, heap: &Heap) -> Arc<Rows> {
        let backing = Backing::of(def, heap.attached.get());
        Arc::new(Rows {
            cells: Cells::new(),
            tree: (def.kind == Kind::OrderedSet || backing.is_some()).then(Tree::new),
            ranges: RangeLocks::default(),
            history: History::default(),
            deadlines: Deadlines::default(),
            eviction: Eviction::of(&def.retention),
            backing,
            tallies: Tallies::default(),
            shift: Shift::default(),
            events: Arc::default(),
            version: AtomicU32::new(def.version.0),
            forgotten: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            counts: (0..STRIPES).map(|_| CachePadded::default()).collect(),
        })
    }

    /// Whether rows of this definition are kept here in the same way: in memory, or on disc alone.
    pub(crate) fn is_kept_as(&self, def: &TableDef, heap: &Heap) -> bool {
        self.backing.is_some() == Backing::is_wanted(def, heap.attached.get())
    }

    /// Does what takes all rows away, or makes others of them, at once. Who has a snapshot from before that, or takes one in the
    /// middle of it, is refused from then on; `change` is told a time that lies above those from before.
    pub(crate) fn vanish(&self, clock: &Clock, change: impl FnOnce(Timestamp)) {
        self.gone.store(Timestamp::MAX.0, Ordering::SeqCst);
        change(clock.propose(0));
        // Whoever takes one from now on is at this or above it.
        self.gone.store(clock.propose(0).0 - 1, Ordering::SeqCst);
    }

    pub(crate) fn cell<'g>(&self, key: &Key, guard: &'g LocalGuard<'_>) -> Option<CellAt<'g>> {
        self.cells.get(key, guard)
    }

    /// Where the cell of a key will stand that has none, its memory asked for, for tables that keep cells in order.
    pub(crate) fn seek<'g>(&self, key: &Key, guard: &'g LocalGuard<'_>) -> Option<Spot<'g>> {
        self.tree.as_ref().map(|tree| tree.seek(key, guard))
    }

    /// Makes the key's cell. Under the key's write lock or lock shard, so nobody else makes or removes it.
    pub(crate) fn born(&self, key: &Key, guard: &LocalGuard<'_>) -> CellRef {
        self.born_at(self.seek(key, guard), key, guard)
    }

    /// The same where the key was looked up under this guard.
    pub(crate) fn born_at(&self, spot: Option<Spot<'_>>, key: &Key, guard: &LocalGuard<'_>) -> CellRef {
        let cell = CellRef::new(Cell::new(key.clone()));
        self.enter(spot, &cell, guard);
        cell
    }

    /// Makes a cell of what the image has. As [`Rows::born`], but nobody meets it empty: a reader goes by the cell where there
    /// is one, and has found nothing then.
    pub(crate) fn fetched(&self, key: &Key, body: Body, at: Timestamp, guard: &LocalGuard<'_>) -> CellRef {
        let cell = CellRef::new(Cell::new(key.clone()));
        cell.load(Some(body), at);
        self.enter(self.seek(key, guard), &cell, guard);
        cell
    }

    fn enter(&self, spot: Option<Spot<'_>>, cell: &CellRef, guard: &LocalGuard<'_>) {
        self.cells.put(CellRef::clone(cell), guard);
        if let (Some(tree), Some(spot)) = (&self.tree, spot) {
            tree.put_at(spot, &cell.key, cell, guard);
        }
    }

    /// Takes the key's cell away. Under the key's write lock or lock shard.
    pub(crate) fn dead(&self, cell: &CellRef, guard: &LocalGuard<'_>) {
        if !self.cells.remove(cell, guard) {
            return;
        }
        if let Some(tree) = &self.tree {
            tree.remove(&cell.key, guard);
        }
    }

    /// Counts a key's change from one body to another.
    pub(crate) fn count(&self, key: &Key, old: Option<&Body>, new: Option<&Body>, guard: &LocalGuard<'_>) {
        let rows = |body: Option<&Body>| body.map_or(0, |b| b.rows().len() as i64);
        let bytes = |body: Option<&Body>| body.map_or(0, |b| (b.bytes() + key.len()) as i64);
        let stripe = &self.counts[guard.thread_id() % STRIPES];
        let (more_rows, more_bytes) = (rows(new) - rows(old), bytes(new) - bytes(old));
        if more_rows != 0 {
            stripe.rows.fetch_add(more_rows, Ordering::Relaxed);
        }
        if more_bytes != 0 {
            stripe.bytes.fetch_add(more_bytes, Ordering::Relaxed);
        }
        let keys = i64::from(new.is_some()) - i64::from(old.is_some());
        if keys != 0 {
            stripe.keys.fetch_add(keys, Ordering::Relaxed);
        }
        // What the image has of a table on disc alone is known by its bytes only.
        let slack = |body: &Body| if self.backing.is_none() { memory::slack_bytes(body) } else { 0 };
        let held = |body: &Body| (memory::frame_bytes(body) + slack(body)) as i64;
        let frame = |body: Option<&Body>| body.map_or(0, held);
        let over = frame(new) - frame(old) + keys * (key.heap_bytes() as i64 - key.len() as i64);
        if over != 0 {
            stripe.over.fetch_add(over, Ordering::Relaxed);
        }
    }

    /// Counts that a row has become longer, or shorter, in its block.
    pub(crate) fn resized(&self, more: i64, guard: &LocalGuard<'_>) {
        if more != 0 {
            let stripe = &self.counts[guard.thread_id() % STRIPES];
            stripe.bytes.fetch_add(more, Ordering::Relaxed);
            stripe.over.fetch_sub(more, Ordering::Relaxed);
        }
    }

    /// What has been counted. O(1).
    pub(crate) fn counted(&self) -> Counted {
        self.counts.iter().fold(Counted::default(), |sum, stripe| Counted {
            rows: sum.rows + stripe.rows.load(Ordering::Relaxed),
            bytes: sum.bytes + stripe.bytes.load(Ordering::Relaxed),
            over: sum.over + stripe.over.load(Ordering::Relaxed),
            keys: sum.keys + stripe.keys.load(Ordering::Relaxed),
        })
    }

    /// Bytes of the rows' own frame, whatever they hold.
    pub(crate) fn fixed_bytes(&self) -> usize {
        size_of::<Rows>() + size_of_val(&*self.counts) + size_of::<Hub>()
    }

    /// Tells the order of eviction what became of a key. Under the key's write lock or lock shard.
    pub(crate) fn follow(&self, key: &Key, new: Option<&Body>, now_ms: u64) {
        if let Some(backing) = &self.backing {
            backing.written(key);
        }
        match (&self.eviction, new) {
            (None, _) => {}
            (Some(eviction), Some(body)) => eviction.written(key, body.bytes() + key.len(), now_ms),
            (Some(eviction), None) => eviction.removed(key),
        }
    }

    /// Sets what is counted. Nobody writes meanwhile.
    pub(crate) fn begin_counts(&self, keys: u64, rows: u64, bytes: u64) {
        for stripe in &self.counts {
            stripe.rows.store(0, Ordering::Relaxed);
            stripe.bytes.store(0, Ordering::Relaxed);
            stripe.over.store(0, Ordering::Relaxed);
            stripe.keys.store(0, Ordering::Relaxed);
        }
        self.counts[0].keys.store(keys as i64, Ordering::Relaxed);
        self.counts[0].rows.store(rows as i64, Ordering::Relaxed);
        self.counts[0].bytes.store(bytes as i64, Ordering::Relaxed);
    }
}
