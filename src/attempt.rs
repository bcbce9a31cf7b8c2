//! One run of a transaction's program: its snapshot, what it has read, what it wants to write. Every operation either
//! answers, or has left the caller's waker where it will be woken and says [`Pause::Parked`]: the same code serves a thread
//! that parks and a task that awaits. Nothing is locked unless the program asks or the retry policy says so; nothing is
//! sent before the commit. Described in `docs/protocol.md`, step 1.
//!
//! *Locking runs.* A read under its own lock reads the newest version: what was read before is locked too, so it is still
//! the newest, and all of it together is one state. Without locks everything is read at one snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use foldhash::fast::FixedState;
use hypermnesia_replication::{Unavailable, Why};
use hypermnesia_store::work::{Blocked, Conflict, LockMode, Locked, Op, RangeNote, ReadNote, Work, Write};
use hypermnesia_store::{
    Ack, Body, IndexDef, Key, KeyRange, Kind, Row, SchemaVersion, Snapshot, Status, Table, TableDef, TableId,
    Timestamp, TxId, Txn,
};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::READS_MAX;
use crate::options::{Span, Walk};
use crate::overlay::Overlay;
use crate::running;

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

    /// Locks a key of the local copy.
    pub(crate) fn lock(&mut self, table: &Arc<Table>, key: &Key, mode: LockMode, waker: &Waker) -> Step<()> {
        self.touch_copy(table)?;
        let def = table.def();
        let txn = self.locker();
        let locked = self.core.store.lock(&txn, def.id, key, mode, waker);
        self.on_locked(locked, def.id, Some(key))
    }

    /// Locks a whole table of the local copy.
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
                    let version = found.as_ref().map_or(Timestamp::NEVER, |(_, at)| *at);
                    if self.reads.len() >= READS_MAX {
                        return Err(Error::TooLarge { what: "reads", bound: READS_MAX }.into());
                    }
                    self.reads.entry((def.id, key.clone())).or_insert(version);
                    self.fixed |= !locked || !self.locking;
                    return Ok(found.map(|(body, _)| body));
                }
                Err(blocked) => self.on_blocked(blocked, waker)?,
            }
        }
    }

    /// The version of what a read of the key has found; [`Timestamp::NEVER`] where it found nothing, or own writes.
    pub(crate) fn version(&self, table: TableId, key: &Key) -> Timestamp {
        if self.overlay.wrote(table, key) {
            return Timestamp::NEVER;
        }
        self.reads.get(&(table, key.clone())).copied().unwrap_or(Timestamp::NEVER)
    }

    /// Every key within the span and what it holds, own writes included.
    pub(crate) fn scan(&mut self, table: &Arc<Table>, span: &Span, waker: &Waker) -> Step<Vec<(Key, Body)>> {
        self.touch_copy(table)?;
        let def = table.def();
        if self.locking {
            self.lock_table(table, LockMode::Read, waker)?;
        }
        loop {
            match self.scan_once(table, def, span) {
                Ok((found, range)) => {
                    let note = RangeNote { table: def.id, index: None, range, snapshot: self.snapshot.at() };
                    self.ranges.push(note);
                    self.fixed |= !self.locking;
                    return Ok(found);
                }
                Err(blocked) => self.on_blocked(blocked, waker)?,
            }
        }
    }

    fn scan_once(
        &self,
        table: &Arc<Table>,
        def: &TableDef,
        span: &Span,
    ) -> Result<(Vec<(Key, Body)>, KeyRange), Blocked> {
        let mut own = self.overlay.keys_in(def.id, &span.range);
        if span.walk == Walk::Forward {
            // Taken from the end, so the next one in the direction of the walk is the last.
            own.reverse();
        }
        let ordered = def.kind == Kind::OrderedSet;
        let before = |own: &Key, key: &Key| match span.walk {
            Walk::Forward => own < key,
            Walk::Backward => own > key,
        };
        let mut found = Vec::new();
        for item in table.cursor(span.range.clone(), span.walk.into(), self.snapshot.at()) {
            let (key, body, _) = item?;
            while ordered && found.len() < span.limit && own.last().is_some_and(|next| before(next, &key)) {
                self.push_own(def, own.pop(), &mut found);
            }
            if found.len() >= span.limit {
                let range = narrowed(span, ordered, &found);
                return Ok((found, range));
            }
            own.retain(|written| *written != key);
            if let Some(body) = self.overlay.over(def.id, def.kind, &key, Some(body)) {
                found.push((key, body));
            }
            if found.len() >= span.limit && !own.iter().any(|own| before(own, &found[found.len() - 1].0)) {
                let range = narrowed(span, ordered, &found);
                return Ok((found, range));
            }
        }
        while found.len() < span.limit && !own.is_empty() {
            self.push_own(def, own.pop(), &mut found);
        }
        Ok((found, span.range.clone()))
    }

    fn push_own(&self, def: &TableDef, key: Option<Key>, found: &mut Vec<(Key, Body)>) {
        if let Some(key) = key
            && let Some(body) = self.overlay.over(def.id, def.kind, &key, None)
        {
            found.push((key, body));
        }
    }

    /// Every row whose entry in the index lies within the span, in the order of entries, own writes included.
    pub(crate) fn index_scan(
        &mut self,
        table: &Arc<Table>,
        index: &IndexDef,
        span: &Span,
        waker: &Waker,
    ) -> Step<Vec<(Key, Row)>> {
        self.touch_copy(table)?;
        let def = table.def();
        if self.locking {
            self.lock_table(table, LockMode::Read, waker)?;
        }
        loop {
            match self.index_once(table, def, index, span) {
                Ok(found) => {
                    let range = span.range.clone();
                    let note = RangeNote {
                        table: def.id,
                        index: Some(index.id),
                        range,
                        snapshot: self.snapshot.at(),
                    };
                    self.ranges.push(note);
                    self.fixed |= !self.locking;
                    return Ok(found);
                }
                Err(blocked) => self.on_blocked(blocked, waker)?,
            }
        }
    }

    fn index_once(
        &self,
        table: &Arc<Table>,
        def: &TableDef,
        index: &IndexDef,
        span: &Span,
    ) -> Result<Vec<(Key, Row)>, Blocked> {
        let written = self.overlay.keys_in(def.id, &KeyRange::all());
        let limit = if written.is_empty() { span.limit } else { usize::MAX };
        let mut found = Vec::new();
        for item in table.index_cursor(index.id, span.range.clone(), span.walk.into(), self.snapshot.at()) {
            if found.len() >= limit {
                break;
            }
            let (key, body, _) = item?;
            if written.binary_search(&key).is_err() {
                found.extend(body.rows().iter().map(|row| (key.clone(), row.clone())));
            }
        }
        if written.is_empty() {
            return Ok(found);
        }
        // With own writes in between, entries are put in order here: those found, and those of rows as they will be.
        let entries = |key: &Key, row: &Row| -> Vec<Key> {
            let values = def.index_keys(index, row).unwrap_or_default().into_iter();
            values.map(|value| value.join(key)).filter(|entry| span.range.contains(entry)).collect()
        };
        let mut all: Vec<(Key, Key, Row)> = Vec::new();
        // A row with several entries in the span was found once for each.
        let mut seen = HashSet::new();
        found.retain(|one| seen.insert(one.clone()));
        for (key, row) in found {
            all.extend(entries(&key, &row).into_iter().map(|entry| (entry, key.clone(), row.clone())));
        }
        for key in &written {
            let committed = table.read(key, self.snapshot.at())?.map(|(body, _)| body);
            let body = self.overlay.over(def.id, def.kind, key, committed);
            for row in body.as_ref().map_or(&[][..], Body::rows) {
                all.extend(entries(key, row).into_iter().map(|entry| (entry, key.clone(), row.clone())));
            }
        }
        all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        if span.walk == Walk::Backward {
            all.reverse();
        }
        all.truncate(span.limit);
        Ok(all.into_iter().map(|(_, key, row)| (key, row)).collect())
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

/// The part of a span that was really read when its limit was met.
fn narrowed(span: &Span, ordered: bool, found: &[(Key, Body)]) -> KeyRange {
    use std::ops::Bound;
    let mut range = span.range.clone();
    if ordered && let Some((last, _)) = found.last() {
        match span.walk {
            Walk::Forward => range.end = Bound::Included(last.clone()),
            Walk::Backward => range.start = Bound::Included(last.clone()),
        }
    }
    range
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
