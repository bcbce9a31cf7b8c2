//! One run of a transaction's program: its snapshot, what it has read, what it wants to write. Every operation either
//! answers, or has left the caller's waker where it will be woken and says [`Pause::Parked`]: the same code serves a thread
//! that parks and a task that awaits. Nothing is locked unless the program asks or the retry policy says so; nothing is
//! sent before the commit. Described in `docs/protocol.md`, step 1.
//!
//! *Tables without a copy here* are read on another member (`remote`), without a lock: what is read so is at the snapshot, which
//! cannot move from then on, and is looked at again where the copies are when the transaction is prepared.
//!
//! *Locking runs.* A read under its own lock reads the newest version: what was read before is locked too, so it is still
//! the newest, and all of it together is one state. Without locks everything is read at one snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use foldhash::fast::FixedState;
use hypermnesia_replication::{Unavailable, Why};
use hypermnesia_store::work::{Blocked, Conflict, LockMode, Locked, Op, RangeNote, ReadNote, Work, Write};
use hypermnesia_store::{
    Ack, Body, Key, SchemaVersion, Snapshot, Status, Table, TableDef, TableId, Timestamp, TxId, Txn,
};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::READS_MAX;
use crate::overlay::Overlay;
use crate::running;

mod remote;
mod scan;
#[cfg(test)]
mod tests;

use remote::Remote;

/// Why an operation has no answer now.
#[derive(Debug)]
pub(crate) enum Pause {
    /// Woken when it may go on. Names the transaction it waits for, where that is known.
    Parked(Option<TxId>),
    /// This run is lost: run the program again.
    Again,
    /// It failed for good.
    Fail(Error),
}

/// Why a run is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Another transaction was in the way: which one, where that is known.
    Conflict(Option<TxId>),
    /// A definition changed since the first touch.
    Schema(TableId),
    /// A member that is needed cannot take part just now. Nothing was sent.
    Away(Unavailable),
}

impl From<Error> for Pause {
    fn from(error: Error) -> Pause {
        Pause::Fail(error)
    }
}

/// The answer of an operation.
pub(crate) type Step<T> = Result<T, Pause>;

/// See the file's header.
pub(crate) struct Attempt {
    pub(crate) core: Arc<Core>,
    pub(crate) id: TxId,
    /// In the store only once it locks or commits.
    txn: Option<Arc<Txn>>,
    snapshot: Snapshot,
    /// Of this node, when the snapshot was taken.
    pub(crate) tenure: u64,
    reads: HashMap<(TableId, Key), Timestamp, FixedState>,
    ranges: Vec<RangeNote>,
    /// The tables touched: few, so they are looked at one by one.
    schema: Vec<Arc<Table>>,
    pub(crate) overlay: Overlay,
    /// What it reads of tables that have no copy here.
    remote: Remote,
    /// It is among the node's lockers.
    locks: bool,
    /// Locks whatever it reads.
    locking: bool,
    /// Something was read without a lock, so the snapshot cannot move.
    fixed: bool,
    /// When its waits end.
    pub(crate) deadline: Instant,
    /// Why the run is lost, noted where it was found, so that a program that swallows the error cannot commit.
    pub(crate) lost: Option<Lost>,
    ended: bool,
}

impl Attempt {
    pub(crate) fn new(core: &Arc<Core>, id: TxId, deadline: Instant, locking: bool) -> Attempt {
        Attempt {
            core: Arc::clone(core),
            id,
            txn: None,
            tenure: core.replica.tenure(),
            snapshot: core.store.snapshot(),
            reads: HashMap::default(),
            ranges: Vec::new(),
            schema: Vec::new(),
            overlay: Overlay::default(),
            remote: Remote::default(),
            locks: false,
            locking,
            fixed: false,
            deadline,
            lost: None,
            ended: false,
        }
    }

    fn txn(&mut self) -> Arc<Txn> {
        let (core, id) = (&self.core, self.id);
        Arc::clone(self.txn.get_or_insert_with(|| core.store.begin(id)))
    }

    /// As [`Attempt::txn`], known to others of this node that may lose to it.
    fn locker(&mut self) -> Arc<Txn> {
        let txn = self.txn();
        if !std::mem::replace(&mut self.locks, true) {
            self.core.lockers.enter(&txn);
        }
        txn
    }

    fn leave_lockers(&mut self) {
        if std::mem::take(&mut self.locks) {
            self.core.lockers.leave(self.id);
        }
    }

    /// Notes the definition at first touch; a later change of it loses the run.
    fn touch(&mut self, table: &Arc<Table>) -> Step<()> {
        if self.ended {
            return Err(Error::Ended.into());
        }
        let def = table.def();
        match self.schema.iter().find(|known| known.id() == def.id) {
            Some(known) if known.def().version != def.version => Err(self.lose(Lost::Schema(def.id))),
            Some(_) => Ok(()),
            None => {
                self.schema.push(Arc::clone(table));
                Ok(())
            }
        }
    }

    /// As [`Attempt::touch`], for a table that is to be read here.
    fn touch_copy(&mut self, table: &Arc<Table>) -> Step<()> {
        if let Err(error) = self.core.check_copy(table.def()) {
            return Err(self.unserved(table.def(), error));
        }
        if self.core.replica.tenure() != self.tenure {
            return Err(self.lose(Lost::Conflict(None)));
        }
        self.touch(table)
    }

    /// A copy that is being loaded is waited for.
    #[cold]
    fn unserved(&mut self, def: &TableDef, error: Error) -> Pause {
        match self.core.not_served(def) {
            away if self.core.has_copy(def) && away.why == Why::Loading => self.lose(Lost::Away(away)),
            _ => error.into(),
        }
    }

    fn lose(&mut self, why: Lost) -> Pause {
        self.lost.get_or_insert(why);
        Pause::Again
    }

    /// What follows from a read that cannot be answered: `Ok` means read again.
    fn on_blocked(&mut self, blocked: Blocked, waker: &Waker) -> Step<()> {
        match blocked {
            Blocked::Pending(txn) => match txn.status.subscribe(waker) {
                // As for a lock: the older one of two may wait for the younger one, and never the other way round too.
                Status::Pending if self.locks && txn.id < self.id => {
                    Err(self.lose(Lost::Conflict(Some(txn.id))))
                }
                Status::Pending => Err(Pause::Parked(Some(txn.id))),
                _ => Ok(()),
            },
            Blocked::Raise(to) if !self.fixed => {
                self.snapshot.raise(to);
                Ok(())
            }
            Blocked::Raise(_) => Err(self.lose(Lost::Conflict(None))),
            Blocked::SchemaChanged(table) => Err(self.lose(Lost::Schema(table))),
            Blocked::Unreadable(unreadable) => match self.core.unreadable(&unreadable) {
                Error::NotReady { .. } => Err(self.lose(Lost::Conflict(None))),
                error => Err(error.into()),
            },
        }
    }

    fn on_locked(&mut self, locked: Locked, table: TableId, key: Option<&Key>) -> Step<()> {
        match locked {
            Locked::Granted => {
                running::note_lock(&self.core, self.id, table, key);
                Ok(())
            }
            Locked::Parked => {
                running::check_lock(&self.core, self.id, table, key)?;
                Err(Pause::Parked(None))
            }
            Locked::Refused(conflict) => {
                let lost = lost_by(&conflict).unwrap_or(Lost::Conflict(None));
                Err(self.lose(lost))
            }
        }
    }

    /// Locks a key of the local copy; nothing where there is none.
    pub(crate) fn lock(&mut self, table: &Arc<Table>, key: &Key, mode: LockMode, waker: &Waker) -> Step<()> {
        if self.is_remote(table, waker)? {
            return self.touch(table);
        }
        self.touch_copy(table)?;
        let def = table.def();
        let txn = self.locker();
        let locked = self.core.store.lock(&txn, def.id, key, mode, waker);
        self.on_locked(locked, def.id, Some(key))
    }

    /// As [`Attempt::lock_table`]; nothing where there is no copy here.
    pub(crate) fn lock_copy(&mut self, table: &Arc<Table>, mode: LockMode, waker: &Waker) -> Step<()> {
        match self.is_remote(table, waker)? {
            true => self.touch(table),
            false => self.lock_table(table, mode, waker),
        }
    }

    /// Locks a whole table of the local copy, which there must be.
    pub(crate) fn lock_table(&mut self, table: &Arc<Table>, mode: LockMode, waker: &Waker) -> Step<()> {
        self.touch_copy(table)?;
        let def = table.def();
        let txn = self.locker();
        let locked = self.core.store.lock_table(&txn, def.id, mode, waker);
        self.on_locked(locked, def.id, None)?;
        self.catch_up();
        Ok(())
    }

    /// Locks keys that an earlier run wrote, before anything is read: a hot key costs a queue, not a storm of retries.
    pub(crate) fn queue(&mut self, keys: &[(TableId, Key)], waker: &Waker) -> Step<()> {
        for (id, key) in keys {
            let Some(table) = self.core.store.table(*id) else { continue };
            self.lock(&table, key, LockMode::Write, waker)?;
        }
        self.catch_up();
        Ok(())
    }

    /// Moves the snapshot up to now where nothing read so far can have changed.
    fn catch_up(&mut self) {
        if !self.fixed {
            self.snapshot.raise(self.core.store.clock().read());
        }
    }

    /// What the key holds, own writes included. With `Write` as mode it is locked first and then stays as it is.
    pub(crate) fn read(
        &mut self,
        table: &Arc<Table>,
        key: &Key,
        mode: Option<LockMode>,
        waker: &Waker,
    ) -> Step<Option<Body>> {
        if self.is_remote(table, waker)? {
            return self.read_from_afar(table, key, waker);
        }
        self.touch_copy(table)?;
        let def = table.def();
        let mode = mode.or(self.locking.then_some(LockMode::Read));
        if let Some(mode) = mode {
            self.lock(table, key, mode, waker)?;
            self.catch_up();
        }
        if let Some(own) = self.overlay.alone(def.id, def.kind, key) {
            return Ok(own);
        }
        let committed = self.committed(table, def, key, mode.is_some(), waker)?;
        Ok(self.overlay.over(def.id, def.kind, key, committed))
    }

    fn committed(
        &mut self,
        table: &Arc<Table>,
        def: &TableDef,
        key: &Key,
        locked: bool,
        waker: &Waker,
    ) -> Step<Option<Body>> {
        loop {
            match table.read(key, self.snapshot.at()) {
                Ok(found) => {
                    self.note_read(def.id, key, found.as_ref().map_or(Timestamp::NEVER, |(_, at)| *at))?;
                    self.fixed |= !locked || !self.locking;
                    return Ok(found.map(|(body, _)| body));
                }
                Err(blocked) => self.on_blocked(blocked, waker)?,
            }
        }
    }

    fn note_read(&mut self, table: TableId, key: &Key, version: Timestamp) -> Step<()> {
        if self.reads.len() >= READS_MAX {
            return Err(Error::TooLarge { what: "reads", bound: READS_MAX }.into());
        }
        self.reads.entry((table, key.clone())).or_insert(version);
        Ok(())
    }

    /// The version of what a read of the key has found; [`Timestamp::NEVER`] where it found nothing, or own writes.
    pub(crate) fn version(&self, table: TableId, key: &Key) -> Timestamp {
        if self.overlay.wrote(table, key) {
            return Timestamp::NEVER;
        }
        self.reads.get(&(table, key.clone())).copied().unwrap_or(Timestamp::NEVER)
    }

    /// Buffers a write.
    pub(crate) fn write(&mut self, table: &Arc<Table>, key: Key, op: Op) -> Step<()> {
        self.touch(table)?;
        let def = table.def();
        if def.is_system() {
            return Err(Error::SystemTable { table: def.name.clone() }.into());
        }
        Ok(self.overlay.push(Write { table: def.id, key, op: op.in_table(def) })?)
    }

    /// Buffers a write of a system table, for the system itself.
    pub(crate) fn write_system(&mut self, table: &Arc<Table>, key: Key, op: Op) -> Step<()> {
        self.touch(table)?;
        let def = table.def();
        Ok(self.overlay.push(Write { table: def.id, key, op })?)
    }

    /// Everything that has to be prepared, and the ack level its tables ask for. The attempt has ended then.
    pub(crate) fn finish(&mut self) -> (Arc<Txn>, Work, Ack) {
        let txn = self.txn();
        let mut reads: Vec<_> = std::mem::take(&mut self.reads)
            .into_iter()
            .map(|((table, key), version)| ReadNote { table, key, version })
            .collect();
        reads.sort_unstable_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        let writes = self.overlay.take();
        let schema: Vec<(TableId, SchemaVersion)> =
            self.schema.iter().map(|table| (table.id(), table.def().version)).collect();
        let ack = self.ack(&writes);
        let work = Work { reads, ranges: std::mem::take(&mut self.ranges), writes, schema };
        self.ended = true;
        self.txn = None;
        self.leave_lockers();
        (txn, work, ack)
    }

    fn ack(&self, writes: &[Write]) -> Ack {
        let on_disc = |def: &TableDef| def.copies.iter().any(|copy| copy.storage.is_on_disc());
        let defs = self.schema.iter().map(|table| table.def());
        let written = defs.filter(|def| writes.iter().any(|write| write.table == def.id));
        // The schema is on disc wherever there is a disc.
        written.filter(|def| def.is_system() || on_disc(def)).map(|def| def.ack).max().unwrap_or(Ack::Memory)
    }

    /// The tables that may have to make room for what it writes.
    pub(crate) fn bounded(&self) -> Vec<Arc<Table>> {
        let evicts = |table: &&Arc<Table>| table.def().retention.evict;
        self.schema.iter().filter(evicts).cloned().collect()
    }

    /// Whether there is anything to commit.
    pub(crate) fn writes(&self) -> bool {
        !self.overlay.is_empty()
    }

    /// Whether the commit protocol has to see it. What was read on other members counts only if nothing of it has changed when
    /// it is prepared there: an acknowledged write may be later than this node's clock when it began.
    pub(crate) fn is_to_be_agreed(&self) -> bool {
        self.writes() || self.remote.is_touched()
    }

    /// An operation has its answer, or has failed.
    pub(crate) fn stepped(&mut self) {
        self.remote.stepped();
    }

    /// Ends it without a commit and lets go of every lock at once.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.leave_lockers();
        if let Some(txn) = self.txn.take() {
            self.core.abandon(&txn);
        }
    }
}

/// Whoever drops it, by an early return or a panic, holds no lock afterwards.
impl Drop for Attempt {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether running again can help.
pub(crate) fn lost_by(conflict: &Conflict) -> Option<Lost> {
    match conflict {
        Conflict::SchemaChanged { table }
        | Conflict::SchemaBehind { table }
        | Conflict::NoSuchTable { table } => Some(Lost::Schema(*table)),
        Conflict::Unique { .. }
        | Conflict::Unfit { .. }
        | Conflict::Full { .. }
        | Conflict::Oversized { .. }
        | Conflict::OutOfMemory { .. }
        | Conflict::Unreadable { .. } => None,
        Conflict::Locked { holder, .. } => Some(Lost::Conflict(Some(*holder))),
        Conflict::Read { .. } | Conflict::Range { .. } | Conflict::Aborted | Conflict::NotNow { .. } => {
            Some(Lost::Conflict(None))
        }
    }
}
