//! Counting: numbers of a row become others, in place where that may be. As an operation on one key it is one of `single`, and
//! what is said there holds: under the key's lock shard, with nobody who has the key's lock or the table's, where the only
//! copy is here and no log waits. What it spares is the new version: the row, the timestamp of its own, and the old version's end.
//!
//! It may be done where nobody can tell the difference:
//!
//! 1. no snapshot is alive (`quiet`), and nobody counts the row but its table (`shift`): so nobody looks at it;
//! 2. it is one settled version, so nobody waits for an older one to go or to come back;
//! 3. nobody listens, no order of eviction wants to know, and no index has entries of its row;
//! 4. no range of the table is announced. Who announces one looks for changes behind that; who counts marks the row first,
//!    by a read-modify-write, and looks for announcements then, and a marked row is a change. All four are SeqCst: one of
//!    the two sees the other.
//!
//! A listener that comes in the middle is found behind the change and told, since it may have been told that it listens
//! before the change was.
//!
//! The timestamp is what the clock says, so that threads which count do not meet in it: see [`Clock::behind`] and `quiet`.

use std::sync::Arc;

use seize::LocalGuard;

use crate::cell::Cell;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::key::{Key, KeyHash};
use crate::row::{Body, Numbers, Row};
use crate::shift::Shift;
use crate::store::Store;
use crate::table::Table;
use crate::value_ref::ValueRef;
use crate::version::Version;

impl Store {
    /// Puts whole numbers at some positions of a key's row in place of whole numbers of the same lengths, atomically: `decide`
    /// sees the row and says which, with what the caller wants to know, or nothing when this is no case for it. `None` means
    /// that nothing was changed and it takes [`Store::alter`]; `decide` may have been called all the same, so it must have no
    /// effect of its own. It must not use the store. What `prepare` gives it is made while the row is on its way from memory.
    /// A table that is counted often changes its rows in place after a while, and this does nothing before.
    ///
    /// The caller answers for the table as there, and for the numbers: the definition allows them.
    pub fn count<P, T, E>(
        &self,
        table: &Arc<Table>,
        key: &Key,
        wall_ms: u64,
        prepare: impl FnOnce() -> Result<P, E>,
        decide: impl FnOnce(&Row, P) -> Option<Result<(Numbers, T), E>>,
    ) -> Option<Result<T, E>> {
        let hash = key.hashed();
        table.rows.cells.ask_for(hash);
        let guard = self.counts_in(table, wall_ms)?;
        let prepared = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        table.rows.cells.ask_for_cell(hash, &guard);
        let decide = |row: &Row| decide(row, prepared);
        let count = || self.count_alone(table, key, hash, decide, &guard);
        let counted = self.locks.alone_hashed(table.id(), key, hash, count)??;
        table.rows.shift.used(wall_ms);
        Some(counted)
    }

    /// Adds to the whole number at a position of a key's row, which `position` says while the row is on its way from memory,
    /// and gives the sum: [`Store::count`] for most calls, in as few steps as it takes. `None` means that nothing was
    /// changed and it takes [`Store::alter`], which knows what is wrong if something is.
    ///
    /// The caller answers for the table as there; the definition allows every number at the position.
    #[inline]
    pub fn increment(
        &self,
        table: &Arc<Table>,
        key: &Key,
        wall_ms: u64,
        position: impl FnOnce() -> Option<usize>,
        by: i64,
    ) -> Option<i64> {
        let hash = key.hashed();
        table.rows.cells.ask_for(hash);
        let guard = self.counts_in(table, wall_ms)?;
        let position = position()?;
        table.rows.cells.ask_for_cell(hash, &guard);
        let add = || self.increment_alone(table, key, hash, position, by, &guard);
        let sum = self.locks.alone_hashed(table.id(), key, hash, add)??;
        table.rows.shift.used(wall_ms);
        Some(sum)
    }

    /// Whether a table's rows may change in place now, under a guard that was entered before.
    #[inline(always)]
    fn counts_in<'t>(&self, table: &'t Table, wall_ms: u64) -> Option<LocalGuard<'t>> {
        if !table.may_shift() {
            return None;
        }
        let guard = table.pin();
        (table.rows.shift.shifts() && self.is_quiet(wall_ms)).then_some(guard)
    }

    /// Whether a table's rows may still change in place, in a lock shard.
    #[inline]
    fn still_counts(&self, table: &Table) -> bool {
        let rows = &table.rows;
        table.is_current()
            && rows.shift.shifts()
            && self.snapshots.quiet.holds()
            && !rows.events.has_listeners()
    }

    /// In the key's lock shard, with nobody in it.
    #[inline(always)]
    fn increment_alone(
        &self,
        table: &Table,
        key: &Key,
        hash: KeyHash,
        position: usize,
        by: i64,
        guard: &LocalGuard<'_>,
    ) -> Option<i64> {
        if !self.still_counts(table) {
            return None;
        }
        let rows = &table.rows;
        let cell = rows.cells.get_hashed(key, hash, guard)?;
        cell.ask_for_row(guard);
        let version = cell.versions(guard).next()?;
        let is_past = || version.deadline_ms().is_some_and(|deadline| self.clock.is_past(deadline));
        let may = || !rows.ranges.any() && !is_past();
        let (at, sum) = version.add(table.form, position, by, &self.clock, may)?;
        let before = |row: &Row| row.replacing(&[(position, ValueRef::Int(sum.wrapping_sub(by)))]).ok();
        table.tell_changed(key, &version, at, before);
        Some(sum)
    }

    /// In the key's lock shard, with nobody in it.
    fn count_alone<T, E>(
        &self,
        table: &Table,
        key: &Key,
        hash: KeyHash,
        decide: impl FnOnce(&Row) -> Option<Result<(Numbers, T), E>>,
        guard: &LocalGuard<'_>,
    ) -> Option<Result<T, E>> {
        if !self.still_counts(table) {
            return None;
        }
        let rows = &table.rows;
        let cell = rows.cells.get_hashed(key, hash, guard)?;
        cell.ask_for_row(guard);
        let (version, _) = cell.settled(guard)?;
        let held = version.body()?;
        let Body::Row(row) = &*held else { return None };
        if table.is_past(&held) {
            return None;
        }
        let (numbers, answer) = match decide(row)? {
            Ok(decided) => decided,
            Err(error) => return Some(Err(error)),
        };
        let (at, before) = version.count(&numbers, &self.clock, || !rows.ranges.any())?;
        table.tell_changed(key, &version, at, |row| {
            let before: Vec<_> = before.iter().map(|&(at, n)| (at, ValueRef::Int(n))).collect();
            row.replacing(&before).ok()
        });
        Some(Ok(answer))
    }

    /// Puts a row where the key's row stands, and gives that in exchange; says whether it did. In the key's lock shard, with
    /// nobody in it, and the definition is in force.
    pub(crate) fn put_in_place(
        &self,
        table: &Table,
        cell: &Cell,
        new: &mut Row,
        wall_ms: u64,
        guard: &LocalGuard<'_>,
    ) -> bool {
        let rows = &table.rows;
        let Some((version, _)) = cell.settled(guard) else { return false };
        if !table.may_shift() || !version.is_like(new) {
            return false;
        }
        if !rows.shift.shifts() {
            Shift::changed(rows, wall_ms, guard);
            return false;
        }
        if !self.still_counts(table) {
            return false;
        }
        let len = new.as_bytes().len() as i64;
        let Some(at) = version.exchange(new, &self.clock, || !rows.ranges.any()) else { return false };
        rows.shift.used(wall_ms);
        rows.resized(len - new.as_bytes().len() as i64, guard);
        table.tell_changed(&cell.key, &version, at, |_| Some(new.clone()));
        true
    }

    /// Whether no snapshot is alive, after a try to make it so now and then. Not in a lock shard.
    #[inline]
    pub(crate) fn is_quiet(&self, wall_ms: u64) -> bool {
        let quiet = &self.snapshots.quiet;
        if !quiet.holds() && quiet.is_wanted() {
            self.snapshots.be_quiet(wall_ms);
        }
        quiet.holds()
    }
}

impl Table {
    /// Tells who listens now of a row that has changed in place; `before` makes what it was of what it is.
    #[inline]
    fn tell_changed(
        &self,
        key: &Key,
        version: &Version<'_>,
        commit_ts: Timestamp,
        before: impl FnOnce(&Row) -> Option<Row>,
    ) {
        if self.rows.events.has_listeners()
            && let Some(Body::Row(row)) = version.body().as_deref()
        {
            self.tell_listeners(key, before(row), row, commit_ts);
        }
    }

    #[cold]
    fn tell_listeners(&self, key: &Key, old: Option<Row>, new: &Row, commit_ts: Timestamp) {
        let shown = |row: Row| self.whole(&Body::Row(row)).into_owned();
        let (table, key, new, old) = (self.id(), key.clone(), Some(shown(new.clone())), old.map(shown));
        self.rows.events.emit(Event { table, sequence: 0, commit_ts, key, new, old });
    }
}
