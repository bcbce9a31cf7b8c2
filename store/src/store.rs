//! The store of one node: tables, locks, snapshots and the clock behind one door. Everything takes `&self`; nothing here
//! blocks, reads a clock or starts a thread. What must wait is handed back ([`Locked::Parked`], [`crate::Prepared::Parked`],
//! [`Blocked`]) and continued by whoever frees it ([`crate::Freed`]).
//!
//! The life of a transaction here: [`Store::begin`], reads at a snapshot, perhaps [`Store::lock`]; then [`Store::prepare`]
//! and [`Store::commit`] or [`Store::abort`] (each in its own file). A transaction that was begun must end in one of them.

use std::sync::Arc;
use std::task::Waker;

use crate::backing::Attached;
use crate::catalog::Catalog;
use crate::clock::{Clock, Timestamp};
use crate::disc::{DiscError, View};
use crate::heap::{Heap, Pin};
use crate::ids::{NodeId, TableId, TxId};
use crate::key::Key;
use crate::load::LoadError;
use crate::lock::{LockTable, Request, Wait, row_lock};
use crate::snapshot::{Snapshot, Snapshots};
use crate::table::Table;
use crate::txn::{Phase, Status, Txn};
use crate::work::{Blocked, Conflict, LockMode, Locked};

/// How a store begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreConfig {
    /// The wall clock at the start, in milliseconds since 1970.
    pub wall_ms: u64,
}

/// All that one node knows.
pub struct Store {
    pub(crate) clock: Arc<Clock>,
    pub(crate) heap: Arc<Heap>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) catalog: Catalog,
}

impl Store {
    /// A store with no table but the schema table.
    pub fn new(config: StoreConfig) -> Store {
        let clock = Arc::new(Clock::new(config.wall_ms));
        let heap = Arc::new(Heap::new(&clock));
        Store {
            snapshots: Arc::new(Snapshots::new(Arc::clone(&clock))),
            catalog: Catalog::new(&heap),
            locks: Arc::new(LockTable::new()),
            clock,
            heap,
        }
    }

    /// Gives it the image from which tables are read that live on disc alone at this member. Before the first definition.
    pub(crate) fn attach(&self, me: NodeId, view: Arc<View>) {
        let (locks, snapshots) = (Arc::clone(&self.locks), Arc::clone(&self.snapshots));
        let attached = self.heap.attached.set(Attached { me, view, locks, snapshots });
        assert!(attached.is_ok(), "a store is opened once");
    }

    /// Why a row on disc could not be read, once one could not: the node should serve no longer.
    pub fn disc_fault(&self) -> Option<&DiscError> {
        self.heap.attached.get()?.view.fault()
    }

    /// What was committed could not be put into memory, and nobody will try again: the node should serve no longer, as
    /// [`Store::disc_fault`] says from now on. Its log has it.
    pub fn give_up(&self, why: &LoadError) {
        if let Some(attached) = self.heap.attached.get() {
            attached.view.give_up(&DiscError::Poisoned { first: why.to_string().into() });
        }
    }

    /// The node's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A table by its id.
    pub fn table(&self, id: TableId) -> Option<Arc<Table>> {
        self.catalog.get(id, &self.pin()).cloned()
    }

    /// A table by its name.
    pub fn table_named(&self, name: &str) -> Option<Arc<Table>> {
        let guard = self.pin();
        let id = self.catalog.names.get(name, &guard.catalog)?;
        self.catalog.get(*id, &guard).cloned()
    }

    /// All tables, the schema table included, by id.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        let guard = self.pin();
        let mut tables: Vec<_> = self.catalog.tables.values(&guard.catalog).cloned().collect();
        tables.sort_by_key(|table| table.id());
        tables
    }

    /// The tables from which rows may have to be removed, by id: those with deadlines, those that evict.
    pub fn tables_to_sweep(&self) -> Vec<Arc<Table>> {
        let guard = self.pin();
        let all = self.catalog.tables.values(&guard.catalog);
        let swept = |table: &&Arc<Table>| table.deadlines() > 0 || table.rows.eviction.is_some();
        let mut tables: Vec<_> = all.filter(swept).cloned().collect();
        tables.sort_by_key(|table| table.id());
        tables
    }

    /// Lets tables rest whose rows were changed in place before and are not any more: their readers are a little faster then;
    /// and forgets events that were kept for listeners who did not come back. To be called now and then.
    pub fn let_rest(&self, wall_ms: u64) {
        for table in self.catalog.tables.values(&self.pin().catalog) {
            table.rows.shift.let_rest(wall_ms, &self.locks);
            table.rows.events.tick(wall_ms);
        }
    }

    /// Tells all who listen to a table that nothing comes any more.
    pub fn end_events(&self) {
        for table in self.catalog.tables.values(&self.pin().catalog) {
            table.end_events();
        }
    }

    /// Registers a snapshot at the clock's time: everything it may read stays until it is dropped.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshots.take(&self.locks)
    }

    /// No live snapshot reads below this.
    pub fn oldest_snapshot(&self) -> Timestamp {
        self.snapshots.oldest()
    }

    /// How many snapshots are alive.
    pub fn snapshots_alive(&self) -> usize {
        self.snapshots.count()
    }

    /// Begins an attempt of a transaction on this node.
    pub fn begin(&self, id: TxId) -> Arc<Txn> {
        Arc::new(Txn::new(id))
    }

    /// Locks a key for a transaction that this node coordinates and that is not prepared yet. Re-entrant; a read lock is
    /// raised to a write lock. When parked, the waker is called (and the transaction listed in a [`crate::Freed`]) once it has it.
    pub fn lock(&self, txn: &Arc<Txn>, table: TableId, key: &Key, mode: LockMode, waker: &Waker) -> Locked {
        let progress = txn.gate.lock();
        if progress.phase != Phase::Open || txn.status.get() != Status::Pending {
            return Locked::Refused(Conflict::Aborted);
        }
        let request = Request { txn, mode, may_queue_free: true, waker: Some(waker) };
        self.locks.key(&row_lock(table, key), &request)
    }

    /// Locks a whole table: excludes all key and range locks of others in it that the mode excludes. Otherwise as
    /// [`Store::lock`]; when continued after parking, call it again.
    pub fn lock_table(&self, txn: &Arc<Txn>, table: TableId, mode: LockMode, waker: &Waker) -> Locked {
        let progress = txn.gate.lock();
        if progress.phase != Phase::Open || txn.status.get() != Status::Pending {
            return Locked::Refused(Conflict::Aborted);
        }
        let request = Request { txn, mode, may_queue_free: true, waker: Some(waker) };
        match self.locks.table(table, &request) {
            Locked::Granted if mode == LockMode::Write && self.range_read_by_other(table, txn) => {
                Locked::Refused(Conflict::Range { table })
            }
            other => other,
        }
    }

    pub(crate) fn range_read_by_other(&self, table: TableId, txn: &Arc<Txn>) -> bool {
        let guard = self.pin();
        self.catalog.get(table, &guard).is_some_and(|table| table.rows.ranges.held_by_other(txn))
    }

    /// Whether everything that was proposed at or below a snapshot is decided at or below it. A stream asks this before
    /// its first row; then it never has to restart.
    ///
    /// # Errors
    /// What to wait for, or where to raise the snapshot to, before asking again.
    pub fn settled(&self, at: Timestamp) -> Result<(), Blocked> {
        self.heap.flight.settled(at)
    }

    /// Transactions that voted yes here and whose outcome is not known here.
    pub fn undecided(&self) -> Vec<Arc<Txn>> {
        self.heap.flight.undecided()
    }

    /// Locks held and requests waiting, over all shards: (0, 0) when nothing runs. Slow; for status and tests.
    pub fn lock_counts(&self) -> (usize, usize) {
        self.locks.counts()
    }

    /// Transactions that wait for locks now, and for whom; at most so many. Slow; for status.
    pub fn waits(&self, limit: usize) -> Vec<Wait> {
        self.locks.waits(limit)
    }

    pub(crate) fn pin(&self) -> Pin<'_> {
        Pin { rows: self.heap.collector.enter(), catalog: self.catalog.collector.enter() }
    }
}
