//! Removes rows that are past their deadline, and rows of local tables that lie idle or must make room. Nobody sees the
//! former any more (the store decides that at every read), so this is about memory and disc. Each removal is an ordinary
//! transaction on all copies, so that they stay equal byte by byte: logs, images, digests, indexes and subscribers need no
//! rule of their own. One member does it for a table, the first that keeps a copy; of a local table each its own.
//!
//! A removal that fails (a member is away, a key is being written) is forgotten or named again: what is due is found anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use hypermnesia_replication::{CommitRequest, Reply};
use hypermnesia_store::work::{Op, Work, Write};
use hypermnesia_store::{Ack, Key, Table, Timestamp};
use parking_lot::Mutex;

use crate::core::Core;
use crate::limits::{EVICTED_ROWS, SWEEP_DEADLINE, SWEEP_EVERY, SWEEP_ROWS};
use crate::wait::Answer;

/// A removal under way.
struct Removal {
    table: Arc<Table>,
    keys: Vec<Key>,
    /// To make room, so that its keys are named again if it fails.
    evicts: bool,
    answer: Arc<Answer<Reply>>,
}

/// The removals of a node.
#[derive(Default)]
pub(crate) struct Sweep {
    /// Not answered yet: at most one of expired rows for a table, and few that make room. A leaf lock, never held while
    /// something is committed.
    under_way: Mutex<Vec<Removal>>,
    /// When to look next, on the clock of `Now::mono_ns`.
    next_ns: AtomicU64,
}

impl Sweep {
    /// Time has passed.
    pub(crate) fn tick(&self, core: &Core) {
        let now = core.now();
        if now.mono_ns < self.next_ns.load(Ordering::Relaxed) || core.check_serving().is_err() {
            return;
        }
        self.next_ns.store(now.mono_ns + SWEEP_EVERY.as_nanos() as u64, Ordering::Relaxed);
        let under_way = std::mem::take(&mut *self.under_way.lock());
        under_way.into_iter().for_each(|removal| self.settle(removal));
        core.store.let_rest(now.wall_ms);
        core.store.weigh(now.mono_ns / 1_000_000);
        for table in core.store.tables_to_sweep() {
            if core.replica.sweeps(table.id()) && !self.removes_expired(&table) {
                self.expire(core, &table, now.wall_ms);
            }
            self.make_room(core, &table);
        }
    }

    fn removes_expired(&self, table: &Table) -> bool {
        self.under_way.lock().iter().any(|removal| !removal.evicts && removal.table.id() == table.id())
    }

    fn expire(&self, core: &Core, table: &Arc<Table>, wall_ms: u64) {
        let keys = table.expired(wall_ms, SWEEP_ROWS);
        if !keys.is_empty() {
            self.remove(core, table, keys, Op::Expire(Timestamp::from_wall_ms(wall_ms)));
        }
    }

    /// Deletes the rows that a table has named as those to go. Called by whoever has just filled it, and by the tick for
    /// idle ones.
    pub(crate) fn make_room(&self, core: &Core, table: &Arc<Table>) {
        loop {
            let keys = table.victims(core.store.clock().wall_ms(), EVICTED_ROWS);
            if keys.is_empty() || !self.remove(core, table, keys, Op::Delete) {
                return;
            }
        }
    }

    /// Whether it was answered at once.
    fn remove(&self, core: &Core, table: &Arc<Table>, keys: Vec<Key>, op: Op) -> bool {
        let id = table.id();
        let evicts = op == Op::Delete;
        let writes = keys.iter().map(|key| Write { table: id, key: key.clone(), op: op.clone() }).collect();
        let work = Work { writes, schema: vec![(id, table.def().version)], ..Work::default() };
        let txn = core.store.begin(core.next_txid(None));
        let deadline_ns = core.now().mono_ns + SWEEP_DEADLINE.as_nanos() as u64;
        // Nobody waits for it: if it is lost in a crash, the rows come back and are removed again.
        let request = CommitRequest { work: Arc::new(work), ack: Ack::Memory, sync: false, deadline_ns };
        let answer = core.commit(txn, request);
        let answered = answer.is_given();
        self.settle(Removal { table: Arc::clone(table), keys, evicts, answer });
        answered
    }

    /// Counts a removal that was answered, names its keys again if it failed, and keeps one that is still under way.
    fn settle(&self, removal: Removal) {
        match removal.answer.take(Waker::noop()) {
            None => self.under_way.lock().push(removal),
            Some(Reply::Committed(_)) if removal.evicts => {
                removal.table.count_evicted(removal.keys.len() as u64);
            }
            Some(_) if removal.evicts => removal.table.spare(removal.keys),
            Some(_) => {}
        }
    }
}
