//! One table of one definition: its cells and how they are found. Reading takes a guard, walks hash or tree, and writes to
//! no shared memory. The rows (`Rows`) outlive a change of the definition, which makes a new `Table` around them; a handle
//! with an older definition is refused for scans. Writing goes through `store` only.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use seize::{Guard as _, LocalGuard};

use crate::backing::Backing;
use crate::cell::{Cell, CellAt, CellRef};
use crate::cells::Cells;
use crate::clock::Timestamp;
use crate::deadline::Deadlines;
use crate::event::{EventDetail, Hub, Subscription};
use crate::eviction::Eviction;
use crate::heap::Heap;
use crate::history::History;
use crate::ids::{IndexId, TableId};
use crate::index::Index;
use crate::key::{Key, KeyRange};
use crate::limits::STRIPES;
use crate::memory;
use crate::range_lock::RangeLocks;
use crate::row::Body;
use crate::schema::{Kind, TableDef};
use crate::statistics::{TableStatistics, Tallies};
use crate::tree::{Tree, walk_tree};
use crate::version::Seen;
use crate::work::Blocked;

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
    /// Keeps alive what rows are made of, for handles that outlive the store.
    pub(crate) heap: Arc<Heap>,
}

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
    pub(crate) events: Arc<Hub>,
    /// The schema version in force, or [`DROPPED`].
    pub(crate) version: AtomicU32,
    /// The newest deletion (or vanished index entry) that can no longer be found. Raised before the cell goes.
    pub(crate) forgotten: AtomicU64,
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
    /// No rows yet, kept by the heap from now on.
    pub(crate) fn create(def: &TableDef, heap: &Heap) -> Arc<Rows> {
        let backing = Backing::of(def, heap.attached.get());
        let rows = Arc::new(Rows {
            cells: Cells::new(),
            tree: (def.kind == Kind::OrderedSet || backing.is_some()).then(Tree::new),
            ranges: RangeLocks::default(),
            history: History::default(),
            deadlines: Deadlines::default(),
            eviction: Eviction::of(&def.retention),
            backing,
            tallies: Tallies::default(),
            events: Arc::default(),
            version: AtomicU32::new(def.version.0),
            forgotten: AtomicU64::new(0),
            counts: (0..STRIPES).map(|_| CachePadded::default()).collect(),
        });
        heap.keep(&rows);
        rows
    }

    pub(crate) fn cell<'g>(&self, key: &Key, guard: &'g LocalGuard<'_>) -> Option<CellAt<'g>> {
        self.cells.get(key, guard)
    }

    /// Makes the key's cell. Under the key's write lock or lock shard, so nobody else makes or removes it.
    pub(crate) fn born(&self, key: &Key, guard: &LocalGuard<'_>) -> CellRef {
        let cell = CellRef::new(Cell::new(key.clone()));
        self.enter(&cell, guard);
        cell
    }

    /// Makes a cell of what the image has. As [`Rows::born`], but nobody meets it empty: a reader goes by the cell where there
    /// is one, and has found nothing then.
    pub(crate) fn fetched(&self, key: &Key, body: Body, at: Timestamp, guard: &LocalGuard<'_>) -> CellRef {
        let cell = CellRef::new(Cell::new(key.clone()));
        cell.load(Some(body), at);
        self.enter(&cell, guard);
        cell
    }

    fn enter(&self, cell: &CellRef, guard: &LocalGuard<'_>) {
        self.cells.put(CellRef::clone(cell), guard);
        if let Some(tree) = &self.tree {
            tree.put(&cell.key, cell, guard);
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
        let frame = |body: Option<&Body>| body.map_or(0, |body| memory::frame_bytes(body) as i64);
        let over = frame(new) - frame(old) + keys * (key.heap_bytes() as i64 - key.len() as i64);
        if over != 0 {
            stripe.over.fetch_add(over, Ordering::Relaxed);
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
            def,
            rows,
            indexes,
            heap: Arc::clone(heap),
        }
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
        self.rows.counts.iter().map(|c| c.rows.load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
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
        self.rows.counts.iter().map(|c| c.bytes.load(Ordering::Relaxed)).sum::<i64>().max(0) as u64
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

    /// Drops every row at once. Nobody writes meanwhile, and no snapshot of it is in use.
    pub(crate) fn empty(&self, guard: &LocalGuard<'_>) {
        self.rows.backing.iter().for_each(Backing::empty);
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

    /// What the key holds at a snapshot that is alive ([`crate::Store::snapshot`]), and the commit timestamp of it.
    ///
    /// # Errors
    /// When a transaction that may be, or was, committed around the snapshot stands in the way.
    pub fn read(&self, key: &Key, at: Timestamp) -> Result<Option<(Body, Timestamp)>, Blocked> {
        self.read_with(key, at, |body, version| (body.clone(), version))
    }

    /// As [`Table::read`], without counting a reference: `look` sees the row in place.
    ///
    /// # Errors
    /// As [`Table::read`].
    #[inline]
    pub fn read_with<R>(
        &self,
        key: &Key,
        at: Timestamp,
        look: impl FnOnce(&Body, Timestamp) -> R,
    ) -> Result<Option<R>, Blocked> {
        self.check_kept(at)?;
        let guard = self.pin();
        let found = match self.rows.cell(key, &guard) {
            Some(cell) => cell.read(at, &guard)?,
            None => {
                let Some(backing) = &self.rows.backing else {
                    self.asked(key, false, &guard);
                    return Ok(None);
                };
                let found = self.read_image(backing, key, at, &guard)?;
                self.asked(key, found.is_some(), &guard);
                return Ok(found.map(|(body, version)| look(&self.whole(&body), version)));
            }
        };
        self.asked(key, found.is_some(), &guard);
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    /// What a key holds, with what was added to the definition since its row was written. A branch where nothing was.
    #[inline]
    pub(crate) fn whole<'b>(&self, body: &'b Body) -> Cow<'b, Body> {
        if self.grown { self.def.whole(body) } else { Cow::Borrowed(body) }
    }

    /// What the key holds now: linearizable, needs no snapshot, writes nothing. Nearly always the version on top is
    /// committed and folded, and then it is the answer. Else the clock is loaded before the cell; a newer version than that
    /// means the clock has moved (a commit raises it before its status word), so look again.
    ///
    /// # Errors
    /// [`Blocked::Pending`] when a transaction on the key may have been told committed.
    pub fn latest(&self, key: &Key) -> Result<Option<(Body, Timestamp)>, Blocked> {
        self.latest_with(key, |body, version| (body.clone(), version))
    }

    /// As [`Table::latest_with`], as far as one look at a settled row can tell, which is nearly always: short enough that
    /// the machine begins the next one while this one waits for its memory.
    ///
    /// # Errors
    /// Gives `look` back, not called, where it takes more: ask [`Table::latest_with`].
    #[inline]
    pub fn glance<R, F: FnOnce(&Body, Timestamp) -> R>(&self, key: &Key, look: F) -> Result<Option<R>, F> {
        if !self.plain {
            return Err(look);
        }
        let guard = self.pin();
        let Some(cell) = self.rows.cells.get(key, &guard) else { return Ok(None) };
        match cell.settled(&guard).map(|(version, at)| (version.body(), at)) {
            Some((Some(body), at)) if !body.has_deadline() => Ok(Some(look(&body, at))),
            Some((None, _)) => Ok(None),
            _ => Err(look),
        }
    }

    /// As [`Table::latest`], without counting a reference: `look` sees the row in place.
    ///
    /// # Errors
    /// As [`Table::latest`].
    #[inline]
    pub fn latest_with<R>(
        &self,
        key: &Key,
        look: impl FnOnce(&Body, Timestamp) -> R,
    ) -> Result<Option<R>, Blocked> {
        let guard = self.pin();
        let Some(cell) = self.rows.cell(key, &guard) else {
            return self.latest_without_cell(key, look, &guard);
        };
        let found = match cell.settled(&guard) {
            Some((version, at)) => version.body().filter(|body| !self.is_past(body)).map(|body| (body, at)),
            None => self.newest_of(&cell, &guard)?,
        };
        self.asked(key, found.is_some(), &guard);
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    /// A key without a cell has no row, unless it is one of a table on disc alone.
    #[inline]
    fn latest_without_cell<R>(
        &self,
        key: &Key,
        look: impl FnOnce(&Body, Timestamp) -> R,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<R>, Blocked> {
        let found = match &self.rows.backing {
            None => None,
            Some(backing) => self.latest_on_disc(backing, key, guard)?,
        };
        self.asked(key, found.is_some(), guard);
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    #[cold]
    fn latest_on_disc(
        &self,
        backing: &Backing,
        key: &Key,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<(Body, Timestamp)>, Blocked> {
        loop {
            if let Some(cell) = self.rows.cell(key, guard) {
                let found = self.newest_of(&cell, guard)?;
                return Ok(found.map(|(body, at)| (body.clone(), at)));
            }
            if let Some(found) = self.latest_in_image(backing, key, guard)? {
                return Ok(found);
            }
        }
    }

    /// Whether a row counts as absent now. Only rows with a deadline need the clock.
    #[inline]
    pub(crate) fn is_past(&self, body: &Body) -> bool {
        body.has_deadline() && body.is_expired(self.heap.clock.read())
    }

    #[cold]
    fn newest_of<'g>(
        &self,
        cell: &Cell,
        guard: &'g LocalGuard<'_>,
    ) -> Result<Option<(Seen<'g>, Timestamp)>, Blocked> {
        loop {
            let now = self.heap.clock.read();
            // A newer commit shows as a version above `now`: then what `read` looks for may have been cut already.
            let seen = cell.read(now, guard);
            match (cell.newest(guard), seen) {
                (Some((_, at)), _) if at > now => {}
                (_, Err(Blocked::Raise(_))) => {}
                (_, seen) => return seen,
            }
        }
    }

    /// The newest committed version, whatever is pending: a dirty read. Waits for nothing but the disc.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`].
    pub fn newest(&self, key: &Key) -> Result<Option<(Body, Timestamp)>, Blocked> {
        let found = self.newest_anywhere(key, &self.pin())?;
        let live = found.filter(|(body, _)| !body.is_expired(self.heap.clock.read()));
        Ok(live.map(|(body, at)| (self.whole(&body).into_owned(), at)))
    }

    /// Shows every key in the range at a live snapshot, in key order for ordered tables and in no order for others, until
    /// told to stop. Holds one guard all the while: for long work in between use [`Table::cursor`].
    ///
    /// # Errors
    /// As [`Table::read`]; keys shown before stay shown.
    pub fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        at: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        self.check_version()?;
        self.check_kept(at)?;
        let guard = self.pin();
        if let Some(backing) = &self.rows.backing {
            return self.each_place(backing, range, direction, |key, place| {
                Ok(match place.read(at, &guard)? {
                    Some((body, version)) => show(key, &self.whole(&body), version),
                    None => ControlFlow::Continue(()),
                })
            });
        }
        let each = |cell: CellAt<'_>| {
            Ok(match cell.read(at, &guard)? {
                Some((body, version)) => show(&cell.key, &self.whole(&body), version),
                None => ControlFlow::Continue(()),
            })
        };
        self.walk(range, direction, &guard, each)
    }

    /// Every cell in a range: of a table on disc alone what is in memory.
    pub(crate) fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        guard: &LocalGuard<'_>,
        mut each: impl FnMut(CellAt<'_>) -> Result<ControlFlow<()>, Blocked>,
    ) -> Result<(), Blocked> {
        match &self.rows.tree {
            Some(tree) => walk_tree(tree, range, direction, guard, |_, cell| each(cell)),
            None if *range == KeyRange::all() => self.rows.cells.each(guard, each),
            None => self.rows.cells.each(guard, |cell| match range.contains(&cell.key) {
                true => each(cell),
                false => Ok(ControlFlow::Continue(())),
            }),
        }
    }

    /// Shows every key with a row whose index entry (index key, then primary key) is in the range, in the order of entries,
    /// until told to stop. A bag's key is shown once per entry, with the rows of that entry.
    ///
    /// # Errors
    /// As [`Table::read`], and [`Blocked::SchemaChanged`] when there is no such index (any more).
    pub fn visit_index(
        &self,
        index: IndexId,
        range: &KeyRange,
        direction: Direction,
        at: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        self.check_version()?;
        self.check_kept(at)?;
        let index = self.index(index).ok_or(Blocked::SchemaChanged(self.id()))?;
        let guard = self.pin();
        if self.rows.backing.is_some() {
            return self.visit_entries(index, range, direction, at, show);
        }
        walk_tree(&index.tree, range, direction, &guard, |entry, cell| {
            Ok(match cell.read(at, &guard)? {
                Some((body, version)) => match self.matching(index, entry, &cell.key, &body) {
                    Some(body) => show(&cell.key, &self.whole(&body), version),
                    None => ControlFlow::Continue(()),
                },
                None => ControlFlow::Continue(()),
            })
        })
    }

    /// The rows of a key that belong to this index entry.
    pub(crate) fn matching(&self, index: &Index, entry: &Key, key: &Key, body: &Body) -> Option<Body> {
        let fits = |row: &&crate::row::Row| index.holds(&self.def, key, row, entry);
        match body {
            Body::Row(row) => fits(&row).then(|| body.clone()),
            Body::Bag(rows) => {
                let rows: Vec<_> = rows.iter().filter(fits).cloned().collect();
                (!rows.is_empty()).then(|| Body::Bag(rows.into()))
            }
        }
    }

    pub(crate) fn index(&self, id: IndexId) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|index| index.def.id == id)
    }

    /// Whether its definition is in force: not changed and not dropped since.
    #[inline]
    pub fn is_current(&self) -> bool {
        self.rows.version.load(Ordering::Acquire) == self.def.version.0
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
