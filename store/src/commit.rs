//! Commit and abort: decide, fold, release.
//!
//! Commit raises the clock first, so that who meets the outcome can read at it; then one store of the status word commits
//! every key at once; only then versions are folded one by one, counted, told to subscribers and queued for forgetting, and
//! the locks go last, so that the next writer of a key finds everything in place. A reader in between judges a mark by the
//! status word and sees the same as after. Both are idempotent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use seize::{Guard as _, LocalGuard};

use crate::catalog::SCHEMA_TABLE;
use crate::cell::CellRef;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::heap::Pin;
use crate::history::{Gone, has_entry};
use crate::key::Key;
use crate::limits::{CUT_WITHIN, STRIPES};
use crate::memory;
use crate::row::Body;
use crate::store::Store;
use crate::table::Table;
use crate::txn::{Mark, Phase, Progress, Status, Txn};
use crate::work::{Conflict, Freed, Prepared, Role, Work};

/// Queued cells that a commit looks at in passing: more than it can queue itself, so that queues shrink under load.
pub(crate) const TIDY_PER_MARK: usize = 2;

/// The end of a transaction that only this node takes part in.
#[derive(Debug)]
pub enum CommittedLocal {
    /// Done, at this timestamp.
    Yes(Timestamp, Freed),
    /// Nothing happened, everything is released. It may run again at its old age.
    Refused(Conflict, Freed),
    /// It waits for a lock: call again when it is freed.
    Parked,
}

impl Store {
    /// Prepares and commits a transaction that has no other participant, on the caller's thread.
    pub fn commit_local(&self, txn: &Arc<Txn>, work: &Arc<Work>, wall_ms: u64) -> CommittedLocal {
        let mut progress = txn.gate.lock();
        let done = match self.prepare_gated(txn, &mut progress, work, wall_ms, Role::Coordinator) {
            Prepared::Parked => return CommittedLocal::Parked,
            Prepared::Refused(conflict) => {
                CommittedLocal::Refused(conflict, self.abort_gated(txn, &mut progress))
            }
            Prepared::Yes { proposal } => {
                CommittedLocal::Yes(proposal, self.commit_gated(txn, &mut progress, proposal))
            }
        };
        drop(progress);
        txn.status.wake();
        done
    }

    /// Commits a prepared transaction at the largest of its participants' proposals. Committing again changes nothing.
    ///
    /// # Panics
    /// When it was aborted here: an outcome is never changed.
    pub fn commit(&self, txn: &Arc<Txn>, commit_ts: Timestamp) -> Freed {
        let freed = self.commit_gated(txn, &mut txn.gate.lock(), commit_ts);
        // With the gate open: who is woken may look at the transaction at once.
        txn.status.wake();
        freed
    }

    fn commit_gated(&self, txn: &Arc<Txn>, progress: &mut Progress, commit_ts: Timestamp) -> Freed {
        if progress.phase == Phase::Done && txn.status.get() != Status::Aborted {
            return Freed::default();
        }
        self.raise_clock(commit_ts);
        let decided = txn.status.decide(Status::Committed(commit_ts));
        assert!(decided || txn.status.get() != Status::Aborted, "{} was aborted and cannot commit", txn.id);
        let guard = self.pin();
        let oldest = self.snapshots.oldest();
        let marks = std::mem::take(&mut progress.marks);
        for mark in &marks {
            self.fold(txn, mark, commit_ts, oldest, &guard);
        }
        for mark in of_schema(&marks) {
            let body = mark.cell.newest_body(&guard).map(|(body, _)| body);
            self.follow_schema(&mark.cell.key, body.as_deref(), &guard);
        }
        self.catalog.end_changes(of_schema(&marks).count());
        let freed = self.let_go(txn, progress, &marks, &guard);
        self.tidy_behind(&marks, &guard);
        freed
    }

    /// Aborts a transaction: its marks go, its locks go, and if it is parked it waits no longer. Aborting again, or aborting
    /// what is committed, changes nothing.
    pub fn abort(&self, txn: &Arc<Txn>) -> Freed {
        let freed = self.abort_gated(txn, &mut txn.gate.lock());
        txn.status.wake();
        freed
    }

    fn abort_gated(&self, txn: &Arc<Txn>, progress: &mut Progress) -> Freed {
        if progress.phase == Phase::Done {
            return Freed::default();
        }
        txn.status.decide(Status::Aborted);
        let guard = self.pin();
        let marks = std::mem::take(&mut progress.marks);
        for mark in &marks {
            let table =
                self.catalog.get(mark.table, &guard).expect("a marked table is locked against dropping");
            self.unmark(table, &mark.cell, &guard);
        }
        self.catalog.end_changes(of_schema(&marks).count());
        self.let_go(txn, progress, &marks, &guard)
    }

    /// Raises the clock to an outcome, however far ahead it is: it was agreed, so it cannot be refused any more.
    pub(crate) fn raise_clock(&self, to: Timestamp) {
        if self.clock.read() < to && self.clock.observe(to).is_err() {
            self.clock.propose(to.wall_ms() + 1);
        }
    }

    fn fold(&self, txn: &Txn, mark: &Mark, commit_ts: Timestamp, oldest: Timestamp, guard: &Pin<'_>) {
        let table = self.catalog.get(mark.table, guard).expect("a marked table is locked against dropping");
        let mut versions = mark.cell.versions(guard);
        let new = versions.next().and_then(|version| version.body());
        let old = versions.find(|version| version.committed().is_some()).and_then(|version| version.body());
        mark.cell.fold(commit_ts, txn.proposal(), guard);
        let (old, new) = (old.as_deref(), new.as_deref());
        self.follow_commit(table, &mark.cell, old, new, commit_ts, oldest, guard);
    }

    /// What follows when a key has changed: counters, deadlines, events, and what is not needed any more. Under the key's
    /// write lock or lock shard. Says whether something was queued to go later.
    #[expect(clippy::too_many_arguments, reason = "one change of one key, said once")]
    pub(crate) fn follow_commit(
        &self,
        table: &Table,
        cell: &CellRef,
        old: Option<&Body>,
        new: Option<&Body>,
        commit_ts: Timestamp,
        oldest: Timestamp,
        guard: &LocalGuard<'_>,
    ) -> bool {
        let rows = &table.rows;
        rows.deadlines.moved(&cell.key, old, new);
        rows.follow(&cell.key, new, self.clock.wall_ms());
        if new.is_none() && old.is_some_and(|body| body.is_expired(commit_ts)) {
            rows.tallies.of(guard.thread_id()).expirations.fetch_add(1, Ordering::Relaxed);
        }
        // Behind the rest, so who sees the size sees that too.
        rows.count(&cell.key, old, new, guard);
        if rows.events.has_listeners() {
            // What nobody saw any more was not replaced; its removal still tells what went.
            let old = old.filter(|body| new.is_none() || !body.is_expired(commit_ts));
            let shown = |body: &Body| table.whole(body).into_owned();
            rows.events.emit(Event::of(&table.def, commit_ts, &cell.key, old.map(shown), new.map(shown)));
        }
        let stale = stale_entries(table, &cell.key, old, new);
        let gone = new.is_none() || !stale.is_empty();
        if gone {
            rows.history.keep_gone(Gone { at: commit_ts, cell: CellRef::clone(cell), stale }, guard);
        }
        let left = cell.cut(oldest, CUT_WITHIN, guard).then(|| self.left_behind(cell, guard)).flatten();
        if let Some(of) = left {
            rows.history.keep_old(commit_ts, of, cell, memory::old_bytes(old, new), guard);
        }
        gone || left.is_some()
    }

    /// Where a cell has more versions than one, behind a change: drops those that nobody reads, and says of when the one is that
    /// has just been replaced, if it stays.
    pub(crate) fn left_behind(&self, cell: &CellRef, guard: &LocalGuard<'_>) -> Option<Timestamp> {
        let replaced = cell.replaced(guard)?;
        cell.prune(&self.snapshots.pins(), CUT_WITHIN, guard);
        cell.has_behind(replaced, guard).then_some(replaced)
    }

    pub(crate) fn unmark(&self, table: &Table, cell: &CellRef, guard: &LocalGuard<'_>) {
        let new = cell.versions(guard).next().and_then(|version| version.body());
        cell.unmark(guard);
        for index in &table.indexes {
            for entry in index.entries(&table.def, &cell.key, new.as_deref()) {
                if !has_entry(table, index, cell, &entry, guard) {
                    index.remove(&entry, guard);
                }
            }
        }
        if cell.is_empty() {
            table.rows.dead(cell, guard);
        }
    }

    /// After the last mark: announcements, locks, references, and whoever waits.
    fn let_go(&self, txn: &Arc<Txn>, progress: &mut Progress, marks: &[Mark], guard: &Pin<'_>) -> Freed {
        for table in std::mem::take(&mut progress.noted) {
            if let Some(table) = self.catalog.get(table, guard) {
                table.rows.ranges.withdraw(txn);
            }
        }
        if !marks.is_empty() {
            self.heap.flight.leave(txn, guard);
        }
        progress.phase = Phase::Done;
        progress.locks = Vec::new();
        progress.work = None;
        self.locks.release(txn)
    }

    fn tidy_behind(&self, marks: &[Mark], guard: &Pin<'_>) {
        let stripe = guard.thread_id() % STRIPES;
        for same in marks.chunk_by(|a, b| a.table == b.table) {
            if let Some(table) = self.catalog.get(same[0].table, guard) {
                self.tidy_stripe(table, stripe, TIDY_PER_MARK * same.len(), guard);
            }
        }
    }
}

/// The marks on definitions.
fn of_schema(marks: &[Mark]) -> impl Iterator<Item = &Mark> {
    marks.iter().filter(|mark| mark.table == SCHEMA_TABLE)
}

/// Index entries that the old version has and the new one has not.
fn stale_entries(
    table: &Table,
    key: &Key,
    old: Option<&Body>,
    new: Option<&Body>,
) -> Vec<(crate::ids::IndexId, Key)> {
    let mut stale = Vec::new();
    for index in &table.indexes {
        let kept = index.entries(&table.def, key, new);
        let gone = index.entries(&table.def, key, old).into_iter().filter(|entry| !kept.contains(entry));
        stale.extend(gone.map(|entry| (index.def.id, entry)));
    }
    stale
}
