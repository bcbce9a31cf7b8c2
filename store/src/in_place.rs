//! Rows that become others where they stand: when that may be, and puts that do it. What it spares is the new version: the
//! row, a timestamp of its own, and the old version's end.
//!
//! It may be done in a table that shifts (`shift`), under the key's lock shard with nobody in it, where nobody can tell the
//! difference:
//!
//! 1. no snapshot is alive (`quiet`), and nobody counts the row but its table: so nobody looks at it;
//! 2. it is one settled version, so nobody waits for an older one to go or to come back;
//! 3. nobody listens, no order of eviction wants to know, and no index has entries of its row;
//! 4. no range of the table is announced. Who announces one looks for changes behind that; who changes the row marks it first,
//!    by a read-modify-write, and looks for announcements then, and a marked row is a change. All four are SeqCst: one of
//!    the two sees the other.
//!
//! A listener that comes in the middle is found behind the change and told, since it may have been told that it listens
//! before the change was.
//!
//! The timestamp is what the clock says, so that threads which change rows do not meet in it: see [`Clock::behind`] and
//! `quiet`. What happens to the bytes is said in `row`.
//!
//! [`Clock::behind`]: crate::clock::Clock::behind

use seize::LocalGuard;

use crate::cell::Cell;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::key::Key;
use crate::row::{Body, Row};
use crate::shift::Shift;
use crate::store::Store;
use crate::table::Table;
use crate::version::Version;

impl Store {
    /// Whether a table's rows may change in place now, under a guard that was entered before.
    #[inline(always)]
    pub(crate) fn may_change_in<'t>(&self, table: &'t Table, wall_ms: u64) -> Option<LocalGuard<'t>> {
        if !table.may_shift() {
            return None;
        }
        let guard = table.pin();
        if !table.rows.shift.shifts() {
            return None;
        }
        self.ask_for_quiet(wall_ms);
        self.snapshots.quiet.holds().then_some(guard)
    }

    /// Whether a table's rows may still change in place, in a lock shard.
    #[inline]
    pub(crate) fn may_still_change(&self, table: &Table) -> bool {
        let rows = &table.rows;
        table.is_current()
            && rows.shift.shifts()
            && self.snapshots.quiet.holds()
            && !rows.events.has_listeners()
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
        if !self.may_still_change(table) {
            return false;
        }
        let len = new.as_bytes().len() as i64;
        let Some(at) = version.exchange(new, &self.clock, || !rows.ranges.any()) else { return false };
        rows.shift.used(wall_ms);
        rows.resized(len - new.as_bytes().len() as i64, guard);
        table.tell_changed(&cell.key, &version, at, |_| Some(new.clone()));
        true
    }

    /// Makes it so that no snapshot is alive, if none is and it is time to look. Not in a lock shard.
    #[inline]
    pub(crate) fn ask_for_quiet(&self, wall_ms: u64) {
        let quiet = &self.snapshots.quiet;
        if !quiet.holds() && quiet.is_wanted() {
            self.snapshots.be_quiet(wall_ms);
        }
    }
}

impl Table {
    /// Tells who listens now of a row that has changed in place; `before` makes what it was of what it is.
    #[inline]
    pub(crate) fn tell_changed(
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
        let (old, new) = (old.map(shown), Some(shown(new.clone())));
        self.rows.events.emit(Event::of(&self.def, commit_ts, key, old, new));
    }
}
