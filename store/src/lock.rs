//! Who holds which key, unique value or table, and who waits. Sharded by key, so that disjoint keys share no lock; a table
//! lock has an entry in every shard, so that a key lock looks at its own shard only.
//!
//! Wait-die: a request that cannot be granted may wait only if its transaction is older than every holder and every waiter
//! in its way; else it is refused. So every wait leads from old to young and there is no cycle. A transaction that holds
//! nothing may wait whatever its age: nobody waits for what it holds, and who queues behind it is older than it *and* older
//! than all it waits for, so a cycle through it would be one without it. Queues are first come, first served, except that an
//! older one goes ahead of younger ones that hold nothing: it makes them wait for it, which is always safe, and the oldest,
//! which no other node refuses, has its turn first. Nobody goes ahead of one that holds something: that one would then wait
//! for an older one, which may come to wait for it. An upgrade goes to the front: it holds already, this lock or one across
//! the table border (its table's, or a key's of its table).
//!
//! Lock order: `Txn::gate`, then one shard, then `Txn::grants`. Never two shards at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::ids::{IndexId, TableId, TxId};
use crate::key::{Key, KeyHash};
use crate::limits::LOCK_SHARDS;
use crate::txn::Txn;
use crate::work::{Conflict, Freed, LockMode, Locked};

mod waits;

pub use waits::Wait;

/// What one key lock is on: a row, or a value of a unique index (then `index` says which).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LockKey {
    pub(crate) table: TableId,
    pub(crate) index: Option<IndexId>,
    pub(crate) key: Key,
}

/// The lock of a row.
pub(crate) fn row_lock(table: TableId, key: &Key) -> LockKey {
    LockKey { table, index: None, key: key.clone() }
}

/// Something that can be locked within one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Key(LockKey),
    /// The shard's part of a table lock.
    Table(TableId),
}

/// What a transaction holds and where it waits, with the shard.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    held: SmallVec<[(usize, Held); 2]>,
    parked: Option<(usize, Held)>,
}

impl Grants {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// A request as it comes to a shard.
pub(crate) struct Request<'a> {
    pub(crate) txn: &'a Arc<Txn>,
    pub(crate) mode: LockMode,
    /// It may wait whatever its age, if it holds nothing.
    pub(crate) may_queue_free: bool,
    pub(crate) waker: Option<&'a Waker>,
}

struct Waiter {
    txn: Arc<Txn>,
    mode: LockMode,
    /// When it came, within the shard; 0 for an upgrade.
    ticket: u64,
    waker: Option<Waker>,
    /// It holds nothing anywhere, so nobody waits for it whom it could wait for.
    free: bool,
}

#[derive(Default)]
struct Entry {
    holders: SmallVec<[(Arc<Txn>, LockMode); 1]>,
    queue: VecDeque<Waiter>,
}

fn excludes(a: LockMode, b: LockMode) -> bool {
    a == LockMode::Write || b == LockMode::Write
}

impl Entry {
    fn mode_of(&self, txn: &Arc<Txn>) -> Option<LockMode> {
        self.holders.iter().find(|(holder, _)| Arc::ptr_eq(holder, txn)).map(|(_, mode)| *mode)
    }

    fn held_against(&self, txn: &Arc<Txn>, mode: LockMode) -> bool {
        self.holders.iter().any(|(holder, held)| !Arc::ptr_eq(holder, txn) && excludes(*held, mode))
    }

    fn awaited_before(&self, txn: &Arc<Txn>, mode: LockMode, ticket: u64) -> bool {
        self.queue.iter().any(|w| w.ticket < ticket && !Arc::ptr_eq(&w.txn, txn) && excludes(w.mode, mode))
    }

    /// The oldest other one here.
    fn oldest(&self, txn: &Arc<Txn>, with_queue: bool) -> Option<TxId> {
        let waiting = self.queue.iter().filter(|_| with_queue).map(|w| &w.txn);
        let all = self.holders.iter().map(|(holder, _)| holder).chain(waiting);
        all.filter(|other| !Arc::ptr_eq(other, txn)).map(|other| other.id).min()
    }

    fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty()
    }
}

#[derive(Default)]
struct Shard {
    keys: HashMap<LockKey, Entry, FixedState>,
    tables: HashMap<TableId, Entry, FixedState>,
    tickets: u64,
}

impl Shard {
    /// Whether somebody has or waits for the lock of this row, or has the table's.
    #[cold]
    fn is_held(&self, table: TableId, key: &Key) -> bool {
        self.keys.contains_key(&row_lock(table, key))
            || self.tables.get(&table).is_some_and(|entry| !entry.holders.is_empty())
    }

    fn entry(&self, what: &Held) -> Option<&Entry> {
        match what {
            Held::Key(key) => self.keys.get(key),
            Held::Table(table) => self.tables.get(table),
        }
    }

    fn entry_mut(&mut self, what: &Held) -> &mut Entry {
        match what {
            Held::Key(key) => self.keys.entry(key.clone()).or_default(),
            Held::Table(table) => self.tables.entry(*table).or_default(),
        }
    }

    fn drop_if_idle(&mut self, what: &Held) {
        if self.entry(what).is_some_and(Entry::is_idle) {
            match what {
                Held::Key(key) => drop(self.keys.remove(key)),
                Held::Table(table) => drop(self.tables.remove(table)),
            }
        }
    }

    /// Entries that a lock must be compatible with beside its own: for a key its table's, for a table all its keys'.
    fn others<'a>(&'a self, what: &'a Held) -> impl Iterator<Item = &'a Entry> + 'a {
        let (above, below) = match what {
            Held::Key(_) if self.tables.is_empty() => (None, None),
            Held::Key(key) => (self.tables.get(&key.table), None),
            Held::Table(table) => (None, Some((*table, &self.keys))),
        };
        let below = below.into_iter().flat_map(|(table, keys)| {
            keys.iter().filter(move |(key, _)| key.table == table).map(|(_, entry)| entry)
        });
        above.into_iter().chain(below)
    }

    fn grantable(&self, what: &Held, txn: &Arc<Txn>, mode: LockMode, ticket: u64) -> bool {
        let own = self.entry(what).is_none_or(|entry| !entry.held_against(txn, mode));
        own && self.others(what).all(|e| !e.held_against(txn, mode) && !e.awaited_before(txn, mode, ticket))
    }

    fn request(&mut self, at: usize, what: &Held, request: &Request<'_>) -> Locked {
        let (txn, mode) = (request.txn, request.mode);
        let (held, parked, queued) = match self.entry(what) {
            Some(e) => {
                (e.mode_of(txn), e.queue.iter().any(|w| Arc::ptr_eq(&w.txn, txn)), !e.queue.is_empty())
            }
            None => (None, false, false),
        };
        if held.is_some_and(|held| held >= mode) {
            return Locked::Granted;
        }
        if parked {
            return Locked::Parked;
        }
        // Whoever holds across the table border is in the way of those who wait here: behind them it would wait for itself.
        let upgrade = held.is_some() || self.others(what).any(|entry| entry.mode_of(txn).is_some());
        self.tickets += 1;
        let ticket = if upgrade { 0 } else { self.tickets };
        if (upgrade || !queued) && self.grantable(what, txn, mode, ticket) {
            self.grant(at, what, txn, mode);
            return Locked::Granted;
        }
        let free = request.may_queue_free && txn.grants.lock().is_empty();
        if let Some(holder) = self.in_the_way(what, txn, upgrade)
            && holder < txn.id
            && !free
        {
            let (Held::Key(LockKey { table, .. }) | Held::Table(table)) = what;
            return Locked::Refused(Conflict::Locked { table: *table, holder });
        }
        let waiter = Waiter { txn: Arc::clone(txn), mode, ticket, waker: request.waker.cloned(), free };
        if upgrade {
            self.entry_mut(what).queue.push_front(waiter)
        } else {
            self.enqueue(what, waiter)
        }
        txn.grants.lock().parked = Some((at, what.clone()));
        Locked::Parked
    }

    /// Puts a waiter behind all others, but ahead of younger ones that are free: it takes the ticket of the first of them.
    /// Across the table border tickets are the only order, so with somebody waiting there nobody is overtaken.
    fn enqueue(&mut self, what: &Held, mut waiter: Waiter) {
        let awaited_across = self.others(what).any(|entry| !entry.queue.is_empty());
        let queue = &mut self.entry_mut(what).queue;
        let younger = |other: &&Waiter| other.free && other.txn.id > waiter.txn.id && !awaited_across;
        let overtaken = queue.iter().rev().take_while(younger).count();
        let at = queue.len() - overtaken;
        if let Some(first) = queue.get(at) {
            waiter.ticket = first.ticket;
        }
        queue.insert(at, waiter);
    }

    /// The oldest transaction that a request would wait for, directly or behind others.
    fn in_the_way(&self, what: &Held, txn: &Arc<Txn>, upgrade: bool) -> Option<TxId> {
        let own = self.entry(what).and_then(|entry| entry.oldest(txn, !upgrade));
        let others = self.others(what).filter_map(|entry| entry.oldest(txn, !upgrade)).min();
        own.into_iter().chain(others).min()
    }

    fn grant(&mut self, at: usize, what: &Held, txn: &Arc<Txn>, mode: LockMode) {
        let entry = self.entry_mut(what);
        match entry.holders.iter_mut().find(|(holder, _)| Arc::ptr_eq(holder, txn)) {
            Some((_, held)) => *held = mode,
            None => {
                entry.holders.push((Arc::clone(txn), mode));
                txn.grants.lock().held.push((at, what.clone()));
            }
        }
    }

    /// Hands the lock to waiters at the front for as long as they can have it.
    fn hand_on(&mut self, at: usize, what: &Held, freed: &mut Waking) {
        while let Some(front) = self.entry(what).and_then(|entry| entry.queue.front()) {
            let (txn, mode, ticket) = (Arc::clone(&front.txn), front.mode, front.ticket);
            if !self.grantable(what, &txn, mode, ticket) {
                break;
            }
            let waiter = self.entry_mut(what).queue.pop_front().expect("it was looked at above");
            self.grant(at, what, &txn, mode);
            txn.grants.lock().parked = None;
            freed.wakers.extend(waiter.waker);
            freed.ready.push(txn);
        }
        self.drop_if_idle(what);
    }

    /// After something about this lock was released or withdrawn: all who may now go on, here and across the table border.
    fn settle(&mut self, at: usize, what: &Held, freed: &mut Waking) {
        self.hand_on(at, what, freed);
        match what {
            Held::Key(key) if !self.tables.is_empty() => self.hand_on(at, &Held::Table(key.table), freed),
            Held::Key(_) => {}
            Held::Table(table) => {
                let waited = self.keys.iter().filter(|(k, e)| k.table == *table && !e.queue.is_empty());
                let waited: Vec<_> = waited.map(|(key, _)| Held::Key(key.clone())).collect();
                waited.iter().for_each(|key| self.hand_on(at, key, freed));
            }
        }
    }
}

#[derive(Default)]
struct Waking {
    ready: Vec<Arc<Txn>>,
    wakers: Vec<Waker>,
}

/// Where a key's locks are. One key has different shards in different tables and indexes.
#[inline]
fn shard_of(table: TableId, index: Option<IndexId>, hash: KeyHash) -> usize {
    let space = u64::from(table.0) << 32 | index.map_or(0, |index| u64::from(index.0) + 1);
    ((hash.0 ^ space).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % LOCK_SHARDS
}

/// All locks of a node.
pub(crate) struct LockTable {
    /// Held for a look-up and a few pushes. parking_lot: small and unfair, which is fine as nobody sleeps inside.
    shards: Box<[CachePadded<Mutex<Shard>>]>,
}

impl LockTable {
    pub(crate) fn new() -> LockTable {
        LockTable { shards: (0..LOCK_SHARDS).map(|_| CachePadded::default()).collect() }
    }

    pub(crate) fn key(&self, key: &LockKey, request: &Request<'_>) -> Locked {
        let at = shard_of(key.table, key.index, key.key.hashed());
        self.shards[at].lock().request(at, &Held::Key(key.clone()), request)
    }

    /// Locks a table shard by shard; called again after parking it goes on where it was, since locks are re-entrant.
    pub(crate) fn table(&self, table: TableId, request: &Request<'_>) -> Locked {
        for (at, shard) in self.shards.iter().enumerate() {
            match shard.lock().request(at, &Held::Table(table), request) {
                Locked::Granted => {}
                other => return other,
            }
        }
        Locked::Granted
    }

    /// Whether another transaction holds this table as a whole, for writing. Any shard says so once it has them all; who
    /// asks has announced itself before, and the holder looks for announcements after its last shard.
    pub(crate) fn table_written_by_other(&self, table: TableId, txn: &Arc<Txn>) -> Option<TxId> {
        let shard = self.shards[0].lock();
        let entry = shard.tables.get(&table)?;
        let mut others = entry.holders.iter().filter(|(holder, _)| !Arc::ptr_eq(holder, txn));
        others.find(|(_, mode)| *mode == LockMode::Write).map(|(holder, _)| holder.id)
    }

    /// Releases all a transaction holds and withdraws it from where it waits.
    pub(crate) fn release(&self, txn: &Arc<Txn>) -> Freed {
        let mut freed = Waking::default();
        let parked = txn.grants.lock().parked.take();
        if let Some((at, what)) = parked {
            let mut shard = self.shards[at].lock();
            // It may have been handed the lock meanwhile; then it is among the held ones below.
            if shard.entry(&what).is_some() {
                shard.entry_mut(&what).queue.retain(|w| !Arc::ptr_eq(&w.txn, txn));
                shard.settle(at, &what, &mut freed);
            }
        }
        let held = std::mem::take(&mut txn.grants.lock().held);
        for (at, what) in held {
            let mut shard = self.shards[at].lock();
            shard.entry_mut(&what).holders.retain(|(holder, _)| !Arc::ptr_eq(holder, txn));
            shard.settle(at, &what, &mut freed);
        }
        freed.wakers.into_iter().for_each(Waker::wake);
        Freed { ready: freed.ready }
    }

    /// Runs `change` while nobody can get the lock of this row, unless somebody has it.
    pub(crate) fn alone<R>(&self, table: TableId, key: &Key, change: impl FnOnce() -> R) -> Option<R> {
        self.alone_hashed(table, key, key.hashed(), change)
    }

    /// The same where the key's hash is known.
    #[inline]
    pub(crate) fn alone_hashed<R>(
        &self,
        table: TableId,
        key: &Key,
        hash: KeyHash,
        change: impl FnOnce() -> R,
    ) -> Option<R> {
        let shard = self.shards[shard_of(table, None, hash)].lock();
        // Most often nobody holds anything, and that is seen without a hash.
        let busy = !(shard.keys.is_empty() && shard.tables.is_empty()) && shard.is_held(table, key);
        (!busy).then(change)
    }

    /// Waits until whoever is in a shard now (see [`LockTable::alone`]) has left it.
    pub(crate) fn pass_all(&self) {
        self.shards.iter().for_each(|shard| drop(shard.lock()));
    }

    /// Locks held and waited for, for tests and status.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let mut all = (0, 0);
        for shard in &self.shards {
            let shard = shard.lock();
            for entry in shard.keys.values().chain(shard.tables.values()) {
                all.0 += entry.holders.len();
                all.1 += entry.queue.len();
            }
        }
        all
    }
}
