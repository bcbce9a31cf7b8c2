//! Operations on one key of a table whose only copy is here and that no log waits for: read, decide, write and commit in one
//! step under the key's lock shard, on the caller's thread. What is left of a transaction is what others must be able to
//! rely on:
//!
//! 1. The shard is held and nobody has the key's lock or the table's, so the newest committed version is what the key holds,
//!    and nobody prepares on it before this ends.
//! 2. The new version is placed, undecided, with its index entries. Readers pass it over (`version`).
//! 3. Ranges that others have read are looked at behind that, as in `prepare`: of an announced range and a placed version at
//!    least one is seen by the other side.
//! 4. A timestamp is drawn and stored in the version: that commits it, for readers of the newest and of snapshots alike.
//! 5. Counters, events, deadlines and old versions follow, as behind every commit; then the shard is let go.
//!
//! Whatever does not fit this (the lock is held, a unique index, a full table, a range read by another) is left to an
//! ordinary transaction, with nothing changed. Another key's lock is never taken inside.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use seize::{Guard as _, LocalGuard};

use crate::admission::{Growth, size};
use crate::cell::CellRef;
use crate::change;
use crate::commit::TIDY_PER_MARK;
use crate::ids::IndexId;
use crate::key::{Key, KeyHash};
use crate::limits::STRIPES;
use crate::range_lock::RangeLocks;
use crate::row::Body;
use crate::schema::Kind;
use crate::store::Store;
use crate::table::Table;
use crate::version::Seen;
use crate::work::Op;

/// What a single operation makes of a key, and what it answers.
pub type Decision<T> = (Option<Op>, T);

/// How it ended under the shard.
enum Ended<T> {
    /// With something left to tidy up.
    Untidy(T),
    Done(T),
}

impl Store {
    /// Changes what one key holds, atomically: `decide` sees what it holds now and says what happens to it. `None` means
    /// that nothing was changed and an ordinary transaction is needed; `decide` may have been called all the same, so it
    /// must have no effect of its own. It must not use the store.
    ///
    /// The caller answers for the table: its only copy is here, and nothing has to be logged.
    pub fn alter<T, E>(
        &self,
        table: &Arc<Table>,
        key: &Key,
        wall_ms: u64,
        decide: impl FnOnce(Option<&Body>) -> Result<Decision<T>, E>,
    ) -> Option<Result<T, E>> {
        self.alter_with(table, key, wall_ms, || Ok(()), |held, ()| decide(held))
    }

    /// As [`Store::alter`]. What `prepare` gives to `decide` is made while the key's memory is on its way.
    pub fn alter_with<P, T, E>(
        &self,
        table: &Arc<Table>,
        key: &Key,
        wall_ms: u64,
        prepare: impl FnOnce() -> Result<P, E>,
        decide: impl FnOnce(Option<&Body>, P) -> Result<Decision<T>, E>,
    ) -> Option<Result<T, E>> {
        // What is on disc alone is fetched under a lock that is held while the disc is read, never in the shard.
        if table.is_on_disc_alone()
            || table.def.is_system()
            || table.def.indexes.iter().any(|index| index.unique)
        {
            return None;
        }
        let hash = key.hashed();
        table.rows.cells.ask_for(hash);
        let guard = table.pin();
        let prepared = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        table.rows.cells.ask_for_cell(hash, &guard);
        if table.rows.shift.shifts() {
            self.ask_for_quiet(wall_ms);
        }
        let decide = |held: Option<&Body>| decide(held, prepared);
        let step = || self.alter_alone(table, key, hash, wall_ms, decide, &guard);
        match self.locks.alone_hashed(table.id(), key, hash, step)?? {
            Err(error) => Some(Err(error)),
            Ok(Ended::Done(answer)) => Some(Ok(answer)),
            Ok(Ended::Untidy(answer)) => {
                let stripe = guard.thread_id() % STRIPES;
                self.tidy_stripe(table, stripe, TIDY_PER_MARK, &guard);
                Some(Ok(answer))
            }
        }
    }

    /// In the key's lock shard, with nobody in it.
    fn alter_alone<T, E>(
        &self,
        table: &Arc<Table>,
        key: &Key,
        hash: KeyHash,
        wall_ms: u64,
        decide: impl FnOnce(Option<&Body>) -> Result<Decision<T>, E>,
        guard: &LocalGuard<'_>,
    ) -> Option<Result<Ended<T>, E>> {
        // A change of the definition has the table's lock, so this stays as it is.
        table.check_version().ok()?;
        let rows = &table.rows;
        let known = rows.cells.get_hashed(key, hash, guard);
        if let Some(cell) = known.as_ref().filter(|_| rows.shift.shifts()) {
            cell.ask_for_row(guard);
        }
        // Looked up now, so that its memory is there when the key is born.
        let spot = if known.is_none() { rows.seek(key, guard) } else { None };
        let old = known.as_ref().and_then(|cell| cell.newest_body(guard)).map(|(body, _)| body);
        let live = old.as_deref().filter(|body| !table.is_past(body));
        let live = live.map(|body| table.whole(body));
        let (op, answer) = match decide(live.as_deref()) {
            Ok((Some(op), answer)) => (op.in_table(&table.def), answer),
            Ok((None, answer)) => return Some(Ok(Ended::Done(answer))),
            Err(error) => return Some(Err(error)),
        };
        let new = changed(table.def.kind, old.as_deref(), op);
        let Some(mut new) = new else { return Some(Ok(Ended::Done(answer))) };
        let misfit = !table.fits(new.as_ref()) || table.oversized(key, new.as_ref()).is_some();
        if misfit
            || (self.may_refuse(table) && !self.has_room(table, key, old.as_deref(), new.as_ref(), guard))
        {
            return None;
        }
        if let (Some(cell), Some(Body::Row(row))) = (&known, &mut new)
            && self.put_in_place(table, cell, row, wall_ms, guard)
        {
            return Some(Ok(Ended::Done(answer)));
        }
        let cell = known.map_or_else(|| rows.born_at(spot, key, guard), |cell| cell.clone_arc());
        let fresh = old.is_none() && cell.is_empty();
        let new = place(table, &cell, new, guard);
        // What is placed, entries in trees included, and this look are in one order for all, as the announcement and the look
        // at what it covers are: one of the two sees the other. The version's own place needs no fence (it is stored SeqCst),
        // but the trees promise nothing about their stores.
        if fresh || !table.indexes.is_empty() {
            fence(Ordering::SeqCst);
        }
        if rows.ranges.any() && table.lies_in(key, [old.as_deref(), new.as_deref()], read_by_any) {
            self.unmark(table, &cell, guard);
            return None;
        }
        let at = cell.commit_placed(&self.clock, wall_ms, guard);
        // A key's first version has nothing behind it.
        let oldest = if fresh { at } else { self.snapshots.oldest() };
        let left = self.follow_commit(table, &cell, old.as_deref(), new.as_deref(), at, oldest, guard);
        Some(Ok(if left { Ended::Untidy(answer) } else { Ended::Done(answer) }))
    }
}

impl Store {
    fn may_refuse(&self, table: &Table) -> bool {
        table.def.retention.refuses() || self.memory_is_bounded()
    }

    #[cold]
    fn has_room(
        &self,
        table: &Table,
        key: &Key,
        old: Option<&Body>,
        new: Option<&Body>,
        guard: &LocalGuard<'_>,
    ) -> bool {
        let growth = Growth::of(key, old, new);
        let let_in = || self.let_in(table, growth, size(key, new), guard.thread_id()).is_ok();
        table.has_room(growth) && (!self.memory_is_bounded() || let_in())
    }
}

fn read_by_any(ranges: &RangeLocks, index: Option<IndexId>, key: &Key) -> bool {
    ranges.covers(None, index, key)
}

/// Puts the version and its index entries where readers find them, and says what it holds, in place.
fn place<'g>(
    table: &Table,
    cell: &CellRef,
    new: Option<Body>,
    guard: &'g LocalGuard<'_>,
) -> Option<Seen<'g>> {
    cell.place(new);
    let new = cell.versions(guard).next().and_then(|version| version.body());
    for index in &table.indexes {
        for entry in index.entries(&table.def, &cell.key, new.as_deref()) {
            index.put(&entry, cell, guard);
        }
    }
    new
}

/// What the key holds after the operation; nothing when that is what it holds already.
fn changed(kind: Kind, old: Option<&Body>, op: Op) -> Option<Option<Body>> {
    match (kind, op) {
        // The common case, without a count of the row.
        (Kind::Set | Kind::OrderedSet, Op::Put(row)) => Some(Some(Body::Row(row))),
        (_, op) => change::changed(kind, old, std::iter::once(&op)),
    }
}
