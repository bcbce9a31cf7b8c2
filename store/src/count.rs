//! Counting: numbers of a row become others, where they stand (`in_place`). As an operation on one key it is one of `single`,
//! and what is said there holds: under the key's lock shard, with nobody who has the key's lock or the table's, where the only
//! copy is here and no log waits.

use std::sync::Arc;

use seize::LocalGuard;

use crate::key::{Key, KeyHash};
use crate::row::{Body, Numbers, Row};
use crate::store::Store;
use crate::table::Table;
use crate::value_ref::ValueRef;

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
        let guard = self.may_change_in(table, wall_ms)?;
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
        let guard = self.may_change_in(table, wall_ms)?;
        let position = position()?;
        table.rows.cells.ask_for_cell(hash, &guard);
        let add = || self.increment_alone(table, key, hash, position, by, &guard);
        let sum = self.locks.alone_hashed(table.id(), key, hash, add)??;
        table.rows.shift.used(wall_ms);
        Some(sum)
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
        if !self.may_still_change(table) {
            return None;
        }
        let rows = &table.rows;
        let cell = rows.cells.get_hashed(key, hash, guard)?;
        cell.ask_for_row(guard);
        let version = cell.versions(guard).next()?;
        let is_past = || version.deadline_ms().is_some_and(|deadline| self.clock.read().reaches(deadline));
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
        if !self.may_still_change(table) {
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
}
