//! One table of one definition. Reading (`point`, `scan`) takes a guard, walks hash or tree, and writes to no shared memory,
//! unless the table is on disc alone: then what is read comes into memory (`resident`).
//! The rows (`rows`) outlive a change of the definition, which makes a new `Table` around them; a handle with an older
//! definition is refused for scans. Writing goes through `store` only.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use seize::{Guard as _, LocalGuard};

use crate::event::{EventDetail, Place, Subscription};
use crate::eviction::Eviction;
use crate::heap::Heap;
use crate::ids::{IndexId, TableId};
use crate::index::Index;
use crate::key::Key;
use crate::row::Form;
use crate::schema::{Kind, TableDef};
use crate::statistics::TableStatistics;
use crate::work::Blocked;

mod point;
mod rows;
mod scan;
mod unchanged;

pub(crate) use rows::Rows;

/// Schema version of rows whose table was dropped.
pub(crate) const DROPPED: u32 = u32::MAX;

/// A table as one definition of it sees it. Clones of the `Arc` are handles; all share the rows.
pub struct Table {
    pub(crate) def: TableDef,
    pub(crate) rows: Arc<Rows>,
    pub(crate) indexes: Vec<Arc<Index>>,
    /// It counts who asks for its rows.
    cache: bool,
    /// Rows may have been written before attributes were added.
    grown: bool,
    /// Neither, and all of it is in memory: what a cell says is all there is to say.
    plain: bool,
    /// How a row begins that has all attributes, in the layout in force.
    pub(crate) form: Form,
    /// Its rows may change in place, as it is defined.
    shifting: bool,
    /// Most bytes of one key with its row; no bound of its own where that is the largest number.
    pub(crate) row_bytes_max: u64,
    /// Keeps alive what rows are made of, for handles that outlive the store.
    pub(crate) heap: Arc<Heap>,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key.
    Forward,
    /// From the greatest key.
    Backward,
}

impl Table {
    pub(crate) fn new(def: TableDef, rows: Arc<Rows>, indexes: Vec<Arc<Index>>, heap: &Arc<Heap>) -> Table {
        let (cache, grown) = (def.retention.is_cache(), def.has_grown());
        Table {
            cache,
            grown,
            plain: !cache && !grown && rows.backing.is_none(),
            form: Form::of(def.layout().since, def.attributes.len()),
            shifting: def.kind != Kind::Bag
                && indexes.is_empty()
                && rows.eviction.is_none()
                && rows.backing.is_none()
                && !def.is_system(),
            row_bytes_max: def.retention.row_bytes_max().unwrap_or(u64::MAX),
            def,
            rows,
            indexes,
            heap: Arc::clone(heap),
        }
    }

    /// Whether its rows may ever change in place, as it is defined (`count`).
    #[inline]
    pub(crate) fn may_shift(&self) -> bool {
        self.shifting
    }

    /// Its definition.
    #[inline]
    pub fn def(&self) -> &TableDef {
        &self.def
    }

    /// Its id.
    #[inline]
    pub fn id(&self) -> TableId {
        self.def.id
    }

    /// Committed live rows. Exact when idle; every row of a bag counts, and so do rows past their deadline until they are
    /// removed. O(1).
    pub fn len(&self) -> u64 {
        self.rows.counted().rows.max(0) as u64
    }

    /// Keys that memory is held for: those with rows, and those whose deletion is still kept. Of a table on disc alone those
    /// in the cache and those that are not in the image yet. O(1).
    pub fn cells(&self) -> usize {
        self.rows.cells.len()
    }

    /// Whether no committed row lives in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of committed live keys and rows, without what holds them. O(1). See [`Table::memory_bytes`] for all it takes.
    pub fn bytes(&self) -> u64 {
        self.rows.counted().bytes.max(0) as u64
    }

    /// Keys of rows whose deadline has come at this millisecond, the oldest deadlines first, at most `limit`: what a
    /// removal should name. A key may have been written again meanwhile; [`crate::Op::Expire`] looks.
    pub fn expired(&self, wall_ms: u64, limit: usize) -> Vec<Key> {
        self.rows.deadlines.due(wall_ms, limit)
    }

    /// Rows that should go because the table is full or they lie idle, at most `limit`. Whom the caller cannot delete it
    /// hands to [`Table::spare`].
    pub fn victims(&self, wall_ms: u64, limit: usize) -> Vec<Key> {
        self.rows.eviction.as_ref().map_or_else(Vec::new, |eviction| eviction.victims(wall_ms, limit))
    }

    /// Whether rows should go at once.
    pub fn has_victims(&self) -> bool {
        self.rows.eviction.as_ref().is_some_and(Eviction::has_victims)
    }

    /// Names victims again that could not be deleted.
    pub fn spare(&self, keys: impl IntoIterator<Item = Key>) {
        if let Some(eviction) = &self.rows.eviction {
            eviction.give_back(keys);
        }
    }

    /// Counts rows that were deleted as victims.
    pub fn count_evicted(&self, rows: u64) {
        self.rows.tallies.of(0).evictions.fetch_add(rows, Ordering::Relaxed);
    }

    /// How it was used since the node started.
    pub fn statistics(&self) -> TableStatistics {
        let kept = self.rows.history.kept();
        let (deadlines, backing) = (self.deadlines() as u64, self.rows.backing.as_ref());
        let (cache_bytes, image_reads) =
            backing.map_or((0, 0), |backing| (backing.cache_bytes(), backing.image_reads()));
        TableStatistics {
            deadlines,
            old_versions: kept.versions as u64,
            deletions: kept.deletions as u64,
            memory_bytes: self.memory_bytes(),
            cache_bytes,
            image_reads,
            ..self.rows.tallies.sum()
        }
    }

    /// A key was read: counts it, and remembers that it was asked for. Costs a branch where the table is no cache.
    #[inline]
    fn asked(&self, key: &Key, found: bool, guard: &LocalGuard<'_>) {
        if let Some(backing) = self.rows.backing.as_ref().filter(|_| found) {
            backing.touched(key);
        }
        if self.cache {
            self.count_asked(key, found, guard);
        }
    }

    #[cold]
    fn count_asked(&self, key: &Key, found: bool, guard: &LocalGuard<'_>) {
        let tally = self.rows.tallies.of(guard.thread_id());
        if !found {
            tally.misses.fetch_add(1, Ordering::Relaxed);
            return;
        }
        tally.hits.fetch_add(1, Ordering::Relaxed);
        if let Some(eviction) = &self.rows.eviction {
            eviction.touched(key, self.heap.clock.wall_ms());
        }
    }

    /// Rows with a deadline, past or not.
    pub fn deadlines(&self) -> usize {
        self.rows.deadlines.len()
    }

    /// Listens to its changes from now on.
    pub fn subscribe(&self, detail: EventDetail) -> Subscription {
        self.rows.events.subscribe(detail)
    }

    /// Listens to its changes from where another subscription stood; `None` when what came behind that was not kept, or it
    /// was another table's.
    pub fn subscribe_from(&self, place: Place, detail: EventDetail) -> Option<Subscription> {
        self.rows.events.subscribe_from(place, detail)
    }

    /// Tells all who listen to it that nothing comes any more. Who begins to listen later hears what comes then.
    pub fn end_events(&self) {
        self.rows.events.end();
    }

    /// How many listen to it, and how many events are kept for them.
    pub fn listeners(&self) -> (usize, usize) {
        self.rows.events.counts()
    }

    /// Drops every row at once. Nobody writes meanwhile, and no snapshot of it is in use.
    pub(crate) fn empty(&self, guard: &LocalGuard<'_>) {
        if let Some(backing) = &self.rows.backing {
            backing.empty();
            // Who found a row in the image before that, and was told that nothing had left, makes its cell before this ends.
            backing.locks.pass_all();
        }
        self.rows.cells.clear(guard);
        if let Some(tree) = &self.rows.tree {
            tree.clear(guard);
        }
        self.indexes.iter().for_each(|index| index.clear(guard));
        self.rows.history.clear();
        self.rows.deadlines.clear();
        self.rows.eviction.iter().for_each(Eviction::clear);
        self.rows.forgotten.fetch_max(self.heap.clock.read().0, Ordering::SeqCst);
        self.rows.begin_counts(0, 0, 0);
    }

    #[inline]
    pub(crate) fn pin(&self) -> LocalGuard<'_> {
        self.heap.collector.enter()
    }

    pub(crate) fn index(&self, id: IndexId) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|index| index.def.id == id)
    }

    /// Whether its definition is in force: not changed and not dropped since.
    #[inline]
    pub fn is_current(&self) -> bool {
        self.rows.version.load(Ordering::Acquire) == self.def.version.0
    }

    /// Whether both are the same rows, perhaps by other definitions.
    pub fn has_rows_of(&self, other: &Table) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }

    pub(crate) fn check_version(&self) -> Result<(), Blocked> {
        match self.is_current() {
            true => Ok(()),
            false => Err(Blocked::SchemaChanged(self.id())),
        }
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.def.name)
            .field("rows", &self.len())
            .finish_non_exhaustive()
    }
}
