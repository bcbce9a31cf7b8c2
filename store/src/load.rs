//! Filling tables without transactions: recovery from the log and image, and full copies from another member. Nobody is
//! served meanwhile; each key is changed in its lock shard all the same, so a forgotten lock refuses instead of corrupting.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use seize::LocalGuard;

use crate::catalog::{SCHEMA_TABLE, defined_by};
use crate::cell::CellRef;
use crate::change::changed;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::heap::Pin;
use crate::ids::TableId;
use crate::key::{Key, KeyRange};
use crate::leaves::row_digest;
use crate::limits::RESERVED_KEYS_MAX;
use crate::memory;
use crate::row::Body;
use crate::store::Store;
use crate::table::Direction;
use crate::table::Table;
use crate::work::{Blocked, Unreadable, Write};

/// Why a row could not be loaded. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// There is no such table; its row of the schema table must be loaded first.
    #[error("{0} does not exist")]
    NoSuchTable(TableId),
    /// A transaction holds the key.
    #[error("a transaction holds a key of {0}")]
    Busy(TableId),
    /// A row of the schema table defines nothing that this version knows.
    #[error("the definition of a table is not readable: {0}")]
    Definition(CodecError),
    /// What the key held is on disc alone and cannot be read.
    #[error("a row of {table} cannot be read: {why}")]
    Unreadable {
        /// Of which table.
        table: TableId,
        /// What the disc said.
        why: String,
    },
}

impl From<Box<Unreadable>> for LoadError {
    fn from(unreadable: Box<Unreadable>) -> LoadError {
        LoadError::Unreadable { table: unreadable.table, why: unreadable.to_string() }
    }
}

/// A row as the image has it.
pub(crate) struct LoadedRow {
    pub(crate) table: TableId,
    pub(crate) key: Key,
    pub(crate) at: Timestamp,
    pub(crate) body: Body,
}

/// Rows whose places in memory are asked for at once.
const ASKED_AT_ONCE: usize = 16;

impl Store {
    /// Makes `body` (or its absence) the newest version of a key, unless what is there is as new. Loading a row of the
    /// schema table creates, changes or drops the table.
    ///
    /// # Errors
    /// [`LoadError`]; nothing was changed.
    pub fn load_row(
        &self,
        table: TableId,
        key: &Key,
        commit_ts: Timestamp,
        body: Option<Body>,
    ) -> Result<(), LoadError> {
        self.load_with(table, key, commit_ts, |_, _| Some(body))
    }

    /// Applies the writes of a committed transaction, as the log has them. Applying them again changes nothing.
    ///
    /// # Errors
    /// [`LoadError`]; writes before the failing key were applied.
    pub fn load_writes(&self, commit_ts: Timestamp, writes: &[Write]) -> Result<(), LoadError> {
        let mut order: Vec<&Write> = writes.iter().collect();
        order.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        for same in order.chunk_by(|a, b| a.table == b.table && a.key == b.key) {
            self.load_with(same[0].table, &same[0].key, commit_ts, |table, old| {
                changed(table.def.kind, old.as_ref(), same.iter().map(|write| &write.op))
            })?;
        }
        Ok(())
    }

    /// As [`Store::load_row`], for many rows, none of the schema table. They may be loaded in part when it fails.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn load_rows(&self, rows: Vec<LoadedRow>) -> Result<(), LoadError> {
        let guard = self.pin();
        let mut rows = rows.into_iter();
        while let Some(first) = rows.as_slice().first() {
            let id = first.table;
            let table = self.catalog.get(id, &guard).ok_or(LoadError::NoSuchTable(id))?;
            let some = rows.as_slice().iter().take(ASKED_AT_ONCE).take_while(|row| row.table == id);
            let count = some.inspect(|row| table.rows.cells.ask_for(row.key.hashed())).count();
            for LoadedRow { key, at, body, .. } in rows.by_ref().take(count) {
                self.load_in(table, &key, at, |_, _| Some(Some(body)), &guard)?;
            }
        }
        Ok(())
    }

    fn load_with(
        &self,
        id: TableId,
        key: &Key,
        at: Timestamp,
        body: impl FnOnce(&Table, Option<Body>) -> Option<Option<Body>>,
    ) -> Result<(), LoadError> {
        let guard = self.pin();
        let table = self.catalog.get(id, &guard).ok_or(LoadError::NoSuchTable(id))?;
        self.load_in(table, key, at, body, &guard)
    }

    fn load_in(
        &self,
        table: &Table,
        key: &Key,
        at: Timestamp,
        body: impl FnOnce(&Table, Option<Body>) -> Option<Option<Body>>,
        guard: &Pin<'_>,
    ) -> Result<(), LoadError> {
        let id = table.id();
        self.raise_clock(at);
        if at <= table.def.cleared && table.def.cleared != Timestamp::NEVER {
            // From before the table was cleared, read once more.
            return Ok(());
        }
        let oldest = self.snapshots.oldest();
        let body = |table: &Table, old| {
            let new = body(table, old);
            new.iter().flatten().try_for_each(|new| check_definition(id, new)).map(|()| new)
        };
        let change = || install(table, key, at, oldest, body, guard);
        let loaded = self.locks.alone(id, key, change).ok_or(LoadError::Busy(id))??;
        if id == SCHEMA_TABLE
            && let Some(body) = loaded
        {
            self.follow_schema(key, body.as_ref(), guard);
        }
        Ok(())
    }

    /// Takes away what a key holds since then, as a copy of the table has nothing under it: by a deletion right behind it, which
    /// is given, so that whatever was written there since is newer. When it was deleted in truth nobody knows here, so ranges that
    /// were read before now are refused, as after [`Store::clear`].
    ///
    /// # Errors
    /// [`LoadError`]; nothing was changed.
    pub fn unload_row(&self, table: TableId, key: &Key, since: Timestamp) -> Result<Timestamp, LoadError> {
        let guard = self.pin();
        let open = self.catalog.get(table, &guard).ok_or(LoadError::NoSuchTable(table))?;
        open.rows.forgotten.fetch_max(self.clock.read().0, Ordering::SeqCst);
        self.load_in(open, key, since.next(), |_, _| Some(None), &guard)?;
        Ok(since.next())
    }

    /// Makes room in memory for so many keys of a table that has none, before they are loaded. Changes nothing else.
    pub fn reserve(&self, table: TableId, keys: u64) {
        let guard = self.pin();
        if let Some(table) = self.catalog.get(table, &guard) {
            table
                .rows
                .cells
                .reserve(usize::try_from(keys).unwrap_or(usize::MAX).min(RESERVED_KEYS_MAX), &guard);
        }
    }

    /// Drops every row of a table at once. Who reads it at a snapshot of before is refused from then on.
    ///
    /// # Errors
    /// [`LoadError::NoSuchTable`].
    pub fn clear(&self, table: TableId) -> Result<(), LoadError> {
        let guard = self.pin();
        let table = self.catalog.get(table, &guard).ok_or(LoadError::NoSuchTable(table))?;
        table.rows.vanish(&self.clock, |_| table.empty(&guard));
        Ok(())
    }
}

/// In the key's lock shard. Says what the key holds now, if that changed.
fn install(
    table: &Table,
    key: &Key,
    at: Timestamp,
    oldest: Timestamp,
    body: impl FnOnce(&Table, Option<Body>) -> Result<Option<Option<Body>>, LoadError>,
    guard: &LocalGuard<'_>,
) -> Result<Option<Option<Body>>, LoadError> {
    let known = table.cell_to_write(key, guard)?;
    let newest = known.as_ref().and_then(|cell| cell.newest(guard));
    if newest.as_ref().is_some_and(|(_, newest)| *newest >= at) {
        return Ok(None);
    }
    let old = newest.and_then(|(version, _)| version.body()).map(|body| body.clone());
    let Some(new) = body(table, old.clone())? else { return Ok(None) };
    if old.is_none() && new.is_none() {
        return Ok(None);
    }
    let cell = known.unwrap_or_else(|| table.rows.born(key, guard));
    for index in &table.indexes {
        for entry in index.entries(&table.def, key, new.as_ref()) {
            index.put(&entry, &cell, guard);
        }
    }
    cell.load(new.clone(), at);
    table.rows.count(key, old.as_ref(), new.as_ref(), guard);
    let gone = |index: &Arc<crate::index::Index>| {
        let kept = index.entries(&table.def, key, new.as_ref());
        let gone =
            index.entries(&table.def, key, old.as_ref()).into_iter().filter(move |e| !kept.contains(e));
        gone.map(|entry| (index.def.id, entry)).collect::<Vec<_>>()
    };
    let stale: Vec<_> = table.indexes.iter().flat_map(gone).collect();
    if new.is_none() || !stale.is_empty() {
        let gone = crate::history::Gone { at, cell: CellRef::clone(&cell), stale };
        table.rows.history.keep_gone(gone, guard);
    }
    if cell.cut(oldest, crate::limits::CUT_WITHIN, guard)
        && let Some(of) = cell.replaced(guard)
    {
        let bytes = memory::old_bytes(old.as_ref(), new.as_ref());
        table.rows.history.keep_old(at, of, &cell, bytes, guard);
    }
    table.rows.deadlines.moved(key, old.as_ref(), new.as_ref());
    table.rows.follow(key, new.as_ref(), at.wall_ms());
    Ok(Some(new))
}

fn check_definition(table: TableId, body: &Body) -> Result<(), LoadError> {
    let rows = if table == SCHEMA_TABLE { body.rows() } else { &[] };
    rows.iter().try_for_each(|row| defined_by(row).map(drop)).map_err(LoadError::Definition)
}

impl Table {
    /// A number that is equal for equal contents, whatever the order of insertion: keys and the newest committed rows (not
    /// their timestamps). Looks at every row; exact when idle.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`].
    pub fn digest(&self) -> Result<u64, Blocked> {
        self.digest_of(|_| 0)
    }

    /// The same with the commit timestamps: equal when the copies are interchangeable, also for who checks the versions
    /// that a transaction has read.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`].
    pub fn digest_with_versions(&self) -> Result<u64, Blocked> {
        self.digest_of(|at| at.0)
    }

    fn digest_of(&self, version: impl Fn(Timestamp) -> u64) -> Result<u64, Blocked> {
        let mut sum = 0_u64;
        self.visit_newest(|key, body, at| sum = sum.wrapping_add(row_digest(key, body, version(at))))?;
        Ok(sum)
    }

    /// The newest committed version of a key, whatever is pending, past its deadline or not, as it is stored: what
    /// [`Table::visit_newest`] shows of it.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`].
    pub fn newest_stored(&self, key: &Key) -> Result<Option<(Body, Timestamp)>, Blocked> {
        Ok(self.newest_anywhere(key, &self.pin())?)
    }

    /// Shows the newest committed version of every key that has one, whatever is pending, in no order.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`]; keys shown before stay shown.
    pub fn visit_newest(&self, show: impl FnMut(&Key, &Body, Timestamp)) -> Result<(), Blocked> {
        self.visit_stored(Timestamp::MAX, show)
    }

    /// As [`Table::visit_newest`], of what was committed up to a timestamp: that of a live snapshot, or the greatest.
    ///
    /// # Errors
    /// As there.
    pub fn visit_stored(
        &self,
        upto: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp),
    ) -> Result<(), Blocked> {
        if self.is_on_disc_alone() {
            return self.visit_stored_behind(None, upto, |key, body, at| {
                show(key, body, at);
                ControlFlow::Continue(())
            });
        }
        let guard = self.pin();
        let done: Result<(), std::convert::Infallible> = self.rows.cells.each(&guard, |cell| {
            if let Some((body, at)) = cell.chain(&guard).stored_kept(upto) {
                show(&cell.key, &body, at);
            }
            Ok(ControlFlow::Continue(()))
        });
        let Ok(()) = done;
        Ok(())
    }

    /// Whether its rows are read from disc where they are not in memory. Then it may be larger than memory, and should not be
    /// held as a whole.
    pub fn is_on_disc_alone(&self) -> bool {
        self.rows.backing.is_some()
    }

    /// As [`Table::visit_stored`], in the order of keys from behind this one on, until told to stop. Only for tables on disc
    /// alone: others have no order to go on in.
    ///
    /// # Errors
    /// As there.
    pub fn visit_stored_behind(
        &self,
        behind: Option<&Key>,
        upto: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let Some(backing) = &self.rows.backing else { return Ok(()) };
        let start = behind.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let range = KeyRange { start, end: Bound::Unbounded };
        self.each_place(backing, &range, Direction::Forward, |key, place| {
            // No longer than for this row: the disc is read in between.
            let stored = place.stored(upto, &self.pin());
            Ok(stored.map_or(ControlFlow::Continue(()), |(body, at)| show(key, &body, at)))
        })
    }
}
