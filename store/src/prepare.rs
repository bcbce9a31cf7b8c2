//! Prepare: lock, look, mark, check, propose. The order matters:
//!
//! 1. Locks on all keys read and written, in sorted order, then on unique values given up or taken. Whoever is parked here
//!    has marked nothing and is continued from here. A write to the schema table locks the table it is about.
//! 2. Schema versions, under the locks: a change of the definition would need the table's lock.
//! 3. Marks on all written keys, index entries for the new values, and announcements of the ranges read; a full fence.
//! 4. Checks: versions read are the newest, ranges are quiet, marks lie in nobody's announced range.
//! 5. Only then the proposal is drawn. Marks came before it, so a reader at or above it meets them (see `clock`).
//!
//! A refusal leaves what was locked and marked to `abort`, which the caller must call next. Marks without a proposal stop
//! no reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use seize::Guard as _;

use crate::admission::{Growth, size};
use crate::catalog::{SCHEMA_TABLE, defined_by, table_of_schema_key};
use crate::cell::CellRef;
use crate::change::changed;
use crate::clock::Timestamp;
use crate::heap::Pin;
use crate::ids::{IndexId, TableId};
use crate::key::Key;
use crate::lock::{LockKey, Request, row_lock};
use crate::range_lock::RangeLocks;
use crate::row::Body;
use crate::schema::TableDef;
use crate::store::Store;
use crate::table::Table;
use crate::txn::{Mark, Phase, Progress, Status, Txn};
use crate::work::{Conflict, LockMode, Locked, Op, Prepared, RangeNote, ReadNote, Role, Work, Write};

/// Why prepare stops before its end.
enum Stop {
    Park,
    Refuse(Conflict),
}

impl From<Conflict> for Stop {
    fn from(conflict: Conflict) -> Stop {
        Stop::Refuse(conflict)
    }
}

/// One key as the transaction leaves it.
struct Change<'g> {
    table: &'g Arc<Table>,
    key: &'g Key,
    cell: Option<CellRef>,
    old: Option<Body>,
    new: Option<Body>,
}

/// What all steps of one prepare share.
struct Steps<'a> {
    store: &'a Store,
    txn: &'a Arc<Txn>,
    work: &'a Work,
    role: Role,
    guard: &'a Pin<'a>,
}

impl Store {
    /// Prepares a transaction, or goes on preparing it after it was parked (with the same work). Idempotent once it has
    /// said yes. After a refusal call [`Store::abort`].
    pub fn prepare(&self, txn: &Arc<Txn>, work: &Arc<Work>, wall_ms: u64, role: Role) -> Prepared {
        let mut progress = txn.gate.lock();
        self.prepare_gated(txn, &mut progress, work, wall_ms, role)
    }

    pub(crate) fn prepare_gated(
        &self,
        txn: &Arc<Txn>,
        progress: &mut Progress,
        work: &Arc<Work>,
        wall_ms: u64,
        role: Role,
    ) -> Prepared {
        match (progress.phase, txn.status.get()) {
            (Phase::Prepared(proposal), _) => return Prepared::Yes { proposal },
            (Phase::Done, _) | (_, Status::Aborted) => return Prepared::Refused(Conflict::Aborted),
            _ => {}
        }
        let guard = self.pin();
        let steps = Steps { store: self, txn, work, role, guard: &guard };
        match steps.run(progress) {
            Ok(()) => {
                let proposal = txn.draw(&self.clock, wall_ms);
                progress.phase = Phase::Prepared(proposal);
                progress.work = Some(Arc::clone(work));
                Prepared::Yes { proposal }
            }
            Err(Stop::Park) => Prepared::Parked,
            Err(Stop::Refuse(conflict)) => Prepared::Refused(conflict),
        }
    }
}

impl<'a> Steps<'a> {
    fn run(&self, progress: &mut Progress) -> Result<(), Stop> {
        if !progress.planned {
            progress.locks = plan_locks(self.work);
            progress.planned = true;
        }
        while let Some((key, mode)) = progress.locks.get(progress.locked) {
            self.granted(self.store.locks.key(key, &self.request(*mode)))?;
            progress.locked += 1;
        }
        self.lock_changed_tables()?;
        self.check_schema()?;
        let mut order: Vec<&Write> = self.work.writes.iter().collect();
        order.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        let reformed = self.reformed();
        let mut changes = self.changes(&order, &reformed)?;
        changes.chunk_by(|a, b| a.table.id() == b.table.id()).try_for_each(|same| self.check_room(same))?;
        self.lock_unique_values(&changes, &reformed)?;
        self.place_marks(&mut changes, progress)?;
        self.announce_ranges(progress)?;
        fence(Ordering::SeqCst);
        self.work.reads.iter().try_for_each(|note| self.check_read(note))?;
        self.work.ranges.iter().try_for_each(|note| self.check_range(note))?;
        changes.iter().try_for_each(|change| self.check_against_ranges(change))?;
        Ok(())
    }

    fn request(&self, mode: LockMode) -> Request<'_> {
        Request { txn: self.txn, mode, may_queue_free: self.role == Role::Coordinator, waker: None }
    }

    fn granted(&self, locked: Locked) -> Result<(), Stop> {
        match locked {
            Locked::Granted => Ok(()),
            Locked::Parked => Err(Stop::Park),
            Locked::Refused(conflict) => Err(Stop::Refuse(conflict)),
        }
    }

    fn table(&self, id: TableId) -> Result<&'a Arc<Table>, Conflict> {
        self.store.catalog.get(id, self.guard).ok_or(Conflict::NoSuchTable { table: id })
    }

    fn lock_changed_tables(&self) -> Result<(), Stop> {
        for write in self.work.writes.iter().filter(|write| write.table == SCHEMA_TABLE) {
            let Some(table) = table_of_schema_key(&write.key) else { continue };
            self.granted(self.store.locks.table(table, &self.request(LockMode::Write)))?;
            if self.store.range_read_by_other(table, self.txn) {
                return Err(Conflict::Range { table }.into());
            }
        }
        Ok(())
    }

    fn check_schema(&self) -> Result<(), Conflict> {
        for (id, noted) in &self.work.schema {
            let here = self.table(*id)?.def.version;
            if here > *noted {
                return Err(Conflict::SchemaChanged { table: *id });
            }
            if here < *noted {
                return Err(Conflict::SchemaBehind { table: *id });
            }
        }
        Ok(())
    }

    /// Tables all of whose rows are given another form here, together with a definition that says so: then they are none of the
    /// definition in force. Who does that has the table to itself, and has looked whether they fit the new one.
    fn reformed(&self) -> Vec<TableId> {
        let defined = |write: &Write| match &write.op {
            Op::Put(row) if write.table == SCHEMA_TABLE => defined_by(row).ok().flatten(),
            _ => None,
        };
        let reshaped =
            |def: &TableDef| self.table(def.id).is_ok_and(|table| def.reshaped > table.def.reshaped);
        self.work.writes.iter().filter_map(defined).filter(reshaped).map(|def| def.id).collect()
    }

    /// What each written key becomes. Under its write lock, so the newest committed version is what it is now.
    fn changes<'w: 'a>(
        &self,
        order: &[&'w Write],
        reformed: &[TableId],
    ) -> Result<Vec<Change<'a>>, Conflict> {
        for same in order.chunk_by(|a, b| a.table == b.table).filter(|same| same.len() > 1) {
            self.table(same[0].table)?.rows.cells.ask(same.iter().map(|write| &write.key), self.guard);
        }
        let mut changes = Vec::with_capacity(order.len());
        for writes in order.chunk_by(|a, b| a.table == b.table && a.key == b.key) {
            let (table, key) = (self.table(writes[0].table)?, &writes[0].key);
            let cell = table.cell_to_write(key, self.guard)?;
            let old =
                cell.as_ref().and_then(|cell| cell.newest_body(self.guard)).map(|(body, _)| body.clone());
            let ops = writes.iter().map(|write| &write.op);
            let Some(new) = changed(table.def.kind, old.as_ref(), ops) else { continue };
            if !reformed.contains(&table.id()) && !table.fits(new.as_ref()) {
                return Err(Conflict::Unfit { table: table.id(), key: key.clone() });
            }
            if let Some(bytes) = table.oversized(key, new.as_ref()) {
                return Err(Conflict::Oversized { table: table.id(), key: key.clone(), bytes });
            }
            changes.push(Change { table, key, cell, old, new });
        }
        Ok(changes)
    }

    /// The changes of one table do not grow it past its bounds, nor all tables past theirs.
    fn check_room(&self, changes: &[Change<'_>]) -> Result<(), Conflict> {
        let (table, bounded) = (changes[0].table, self.store.memory_is_bounded());
        let growth = |change: &Change<'_>| Growth::of(change.key, change.old.as_ref(), change.new.as_ref());
        if !table.def.retention.refuses() && !bounded {
            return Ok(());
        }
        let growth = changes.iter().map(growth).sum();
        if !table.has_room(growth) {
            return Err(Conflict::Full { table: table.id() });
        }
        if !bounded {
            return Ok(());
        }
        let largest = changes.iter().map(|change| size(change.key, change.new.as_ref())).max().unwrap_or(0);
        self.store.let_in(table, growth, largest, self.guard.thread_id())
    }

    fn lock_unique_values(&self, changes: &[Change<'_>], reformed: &[TableId]) -> Result<(), Stop> {
        let mut taken: BTreeMap<(TableId, IndexId, Key), &Key> = BTreeMap::new();
        for change in changes.iter().filter(|change| !reformed.contains(&change.table.id())) {
            for index in change.table.def.indexes.iter().filter(|index| index.unique) {
                let values = |body: &Option<Body>| unique_values(change.table, index.id, body.as_ref());
                let (old, new) = (values(&change.old), values(&change.new));
                for value in old.iter().chain(&new).filter(|v| !(old.contains(v) && new.contains(v))) {
                    let lock =
                        LockKey { table: change.table.id(), index: Some(index.id), key: value.clone() };
                    self.granted(self.store.locks.key(&lock, &self.request(LockMode::Write)))?;
                }
                for (at, value) in new.iter().enumerate() {
                    let claim = (change.table.id(), index.id, value.clone());
                    let other = taken.insert(claim, change.key);
                    if other.is_some() || new[..at].contains(value) {
                        return Err(self
                            .violated(change, index.id, value, other.unwrap_or(change.key))
                            .into());
                    }
                }
            }
        }
        for ((table, index, value), key) in &taken {
            self.check_unique(changes, *table, *index, value, key)?;
        }
        Ok(())
    }

    /// No row but those this transaction changes has the value. Under the value's lock.
    fn check_unique(
        &self,
        changes: &[Change<'_>],
        table: TableId,
        index: IndexId,
        value: &Key,
        key: &Key,
    ) -> Result<(), Conflict> {
        let table = self.table(table)?;
        let entries = table.index(index).expect("the definition names it");
        for owner in entries.maybe(value, self.guard).into_iter().filter(|owner| *owner != *key) {
            let at = changes.binary_search_by(|c| (c.table.id(), c.key).cmp(&(table.id(), &owner)));
            let body = match at {
                Ok(_) => continue, // its new values are among those taken, and were compared there
                Err(_) => self.newest_live(table, &owner)?.map(|(body, _)| body),
            };
            if unique_values(table, index, body.as_ref()).contains(value) {
                let value = value.clone();
                return Err(Conflict::Unique { table: table.id(), index, value, owner });
            }
        }
        Ok(())
    }

    /// What a key holds now, wherever it is.
    fn newest_live(&self, table: &Table, key: &Key) -> Result<Option<(Body, Timestamp)>, Conflict> {
        let newest = table.newest_anywhere(key, self.guard)?;
        Ok(newest.filter(|(body, _)| !body.is_expired(self.store.clock.read())))
    }

    fn violated(&self, change: &Change<'_>, index: IndexId, value: &Key, owner: &Key) -> Conflict {
        let (table, value, owner) = (change.table.id(), value.clone(), owner.clone());
        Conflict::Unique { table, index, value, owner }
    }

    fn place_marks(&self, changes: &mut [Change<'_>], progress: &mut Progress) -> Result<(), Conflict> {
        if changes.is_empty() {
            return Ok(());
        }
        self.store.heap.flight.enter(self.txn);
        progress.marks.reserve_exact(changes.len());
        for change in changes {
            let rows = &change.table.rows;
            let cell = change.cell.get_or_insert_with(|| rows.born(change.key, self.guard));
            if change.table.id() == SCHEMA_TABLE {
                self.store.catalog.begin_change();
            }
            cell.mark(self.txn, change.new.clone());
            progress.marks.push(Mark { table: change.table.id(), cell: CellRef::clone(cell) });
            for index in &change.table.indexes {
                for entry in index.entries(&change.table.def, change.key, change.new.as_ref()) {
                    index.put(&entry, cell, self.guard);
                }
            }
        }
        Ok(())
    }

    fn announce_ranges(&self, progress: &mut Progress) -> Result<(), Conflict> {
        for note in &self.work.ranges {
            let table = self.table(note.table)?;
            if !progress.noted.contains(&note.table) {
                progress.noted.push(note.table);
            }
            table.rows.ranges.announce(self.txn, note.index, note.range.clone());
            if let Some(holder) = self.store.locks.table_written_by_other(note.table, self.txn) {
                return Err(Conflict::Locked { table: note.table, holder });
            }
            // Looked up again after announcing: a definition that changed before is seen here, one that changes later sees us.
            if self.store.catalog.get(note.table, self.guard).is_none_or(|now| !Arc::ptr_eq(now, table)) {
                return Err(Conflict::SchemaChanged { table: note.table });
            }
        }
        Ok(())
    }

    /// The version read is the newest. Under a read lock, so it stays so, and no foreign mark is there. A row whose
    /// deadline came since it was read has changed as if it had been deleted then.
    fn check_read(&self, note: &ReadNote) -> Result<(), Conflict> {
        let table = self.table(note.table)?;
        let newest = self.newest_live(table, &note.key)?;
        match newest.map_or(Timestamp::NEVER, |(_, at)| at) == note.version {
            true => Ok(()),
            false => Err(Conflict::Read { table: note.table, key: note.key.clone() }),
        }
    }

    /// Nothing in the range is newer than its snapshot, marked by another, or past its deadline since.
    fn check_range(&self, note: &RangeNote) -> Result<(), Conflict> {
        let table = self.table(note.table)?;
        match table.is_unchanged(note.index, &note.range, note.snapshot, Some(self.txn), self.guard) {
            None => Err(Conflict::SchemaChanged { table: note.table }),
            Some(false) => Err(Conflict::Range { table: note.table }),
            Some(true) => Ok(()),
        }
    }

    /// The marked key, with its old and its new index entries, lies in no range that another one has read.
    fn check_against_ranges(&self, change: &Change<'_>) -> Result<(), Conflict> {
        let ranges = &change.table.rows.ranges;
        if !ranges.any() {
            return Ok(());
        }
        let bodies = [change.old.as_ref(), change.new.as_ref()];
        let covers = |ranges: &RangeLocks, index, key: &Key| ranges.covers(Some(self.txn), index, key);
        match change.table.lies_in(change.key, bodies, covers) {
            true => Err(Conflict::Range { table: change.table.id() }),
            false => Ok(()),
        }
    }
}

/// Every key read or written, once, in order, at the stronger of its modes.
fn plan_locks(work: &Work) -> Vec<(LockKey, LockMode)> {
    let reads = work.reads.iter().map(|note| (row_lock(note.table, &note.key), LockMode::Read));
    let writes = work.writes.iter().map(|write| (row_lock(write.table, &write.key), LockMode::Write));
    let mut locks: Vec<_> = reads.chain(writes).collect();
    locks.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    locks.dedup_by(|later, kept| later.0 == kept.0);
    locks
}

fn unique_values(table: &Table, index: IndexId, body: Option<&Body>) -> Vec<Key> {
    let Some(index) = table.def.index(index) else { return Vec::new() };
    let rows = body.map_or(&[][..], Body::rows);
    rows.iter().flat_map(|row| table.def.unique_keys(index, row).unwrap_or_default()).collect()
}
