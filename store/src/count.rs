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

use crate::clock::Timestamp;
use crate::event::Event;
use crate::history::row_lock;
use crate::key::Key;
use crate::row::{Body, Numbers, Row};
use crate::schema::Kind;
use crate::shift::Shift;
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
        if !table.may_shift() {
            return None;
        }
        let guard = table.pin();
        let rows = &table.rows;
        if !rows.shift.shifts() {
            Shift::counted(rows, &guard);
            return None;
        }
        if !self.snapshots.quiet.holds() {
            if self.snapshots.quiet.is_wanted() {
                self.snapshots.be_quiet(wall_ms);
            }
            return None;
        }
        rows.cells.ask_for(key, &guard);
        let lock = row_lock(table.id(), key);
        let prepared = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        rows.cells.ask_for_cell(key, &guard);
        let decide = |row: &Row| decide(row, prepared);
        self.locks.alone(&lock, || self.count_alone(table, key, decide, &guard))?
    }

    /// In the key's lock shard, with nobody in it.
    fn count_alone<T, E>(
        &self,
        table: &Table,
        key: &Key,
        decide: impl FnOnce(&Row) -> Option<Result<(Numbers, T), E>>,
        guard: &LocalGuard<'_>,
    ) -> Option<Result<T, E>> {
        table.check_version().ok()?;
        let rows = &table.rows;
        if !self.snapshots.quiet.holds() || rows.events.has_listeners() {
            return None;
        }
        let cell = rows.cell(key, guard)?;
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
        if rows.events.has_listeners() {
            table.tell_counted(key, row, &before, at);
        }
        Some(Ok(answer))
    }
}

impl Table {
    /// Tells who listens of a row whose numbers were others before.
    #[cold]
    fn tell_counted(&self, key: &Key, row: &Row, before: &Numbers, commit_ts: Timestamp) {
        let before: Vec<_> = before.iter().map(|&(at, n)| (at, ValueRef::Int(n))).collect();
        let old = row.replacing(&before).ok().map(Body::Row);
        let (table, key, new) = (self.id(), key.clone(), Some(Body::Row(row.clone())));
        self.rows.events.emit(Event { table, sequence: 0, commit_ts, key, new, old });
    }

    /// Whether its rows may ever change in place, as it is defined.
    fn may_shift(&self) -> bool {
        self.def.kind != Kind::Bag
            && self.indexes.is_empty()
            && self.rows.eviction.is_none()
            && self.rows.backing.is_none()
            && !self.def.is_system()
    }
}
