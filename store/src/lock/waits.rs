//! Who waits for whom: a look at all queues, for people.

use super::{Entry, Held, LockKey, LockTable, Shard, Waiter, excludes};
use crate::ids::{IndexId, TableId, TxId};
use crate::key::Key;
use crate::work::LockMode;

/// Of those in the way of one that are shown.
const BEHIND_SHOWN: usize = 16;

/// A transaction that waits for a lock, and those in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who waits.
    pub txn: TxId,
    /// For what: a table,
    pub table: TableId,
    /// or a value of one of its unique indexes,
    pub index: Option<IndexId>,
    /// or, without an index, a key. Without either, the table as a whole.
    pub key: Option<Key>,
    /// How it wants it.
    pub mode: LockMode,
    /// Those who hold it, or what lies across it; then those who wait before it. At least one, and the first sixteen.
    pub behind: Vec<TxId>,
}

impl LockTable {
    /// Transactions that wait now, at most so many, shard by shard: a look at a moment each.
    pub(crate) fn waits(&self, limit: usize) -> Vec<Wait> {
        let mut waits = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let keys = shard.keys.keys().map(|key| Held::Key(key.clone()));
            let all = keys.chain(shard.tables.keys().map(|table| Held::Table(*table)));
            for what in all {
                shard.waits_for(&what, limit, &mut waits);
                if waits.len() >= limit {
                    return waits;
                }
            }
        }
        waits
    }
}

impl Shard {
    fn waits_for(&self, what: &Held, limit: usize, waits: &mut Vec<Wait>) {
        let Some(entry) = self.entry(what).filter(|entry| !entry.queue.is_empty()) else { return };
        let (table, index, key) = match what {
            Held::Key(LockKey { table, index, key }) => (*table, *index, Some(key.clone())),
            Held::Table(table) => (*table, None, None),
        };
        for (place, waiter) in entry.queue.iter().enumerate().take(limit - waits.len()) {
            let in_the_way =
                |(id, mode): &(TxId, LockMode)| *id != waiter.txn.id && excludes(*mode, waiter.mode);
            let queued = |other: &Waiter| (other.txn.id, other.mode);
            let across = || self.others(what);
            let earlier = |other: &&Waiter| other.ticket < waiter.ticket;
            let holders = holders(entry).chain(across().flat_map(holders));
            let before = entry.queue.iter().take(place).map(queued);
            let before =
                before.chain(across().flat_map(|other| other.queue.iter().filter(earlier).map(queued)));
            let behind =
                holders.chain(before).filter(in_the_way).map(|(id, _)| id).take(BEHIND_SHOWN).collect();
            let (txn, mode, key) = (waiter.txn.id, waiter.mode, key.clone());
            waits.push(Wait { txn, table, index, key, mode, behind });
        }
    }
}

fn holders(entry: &Entry) -> impl Iterator<Item = (TxId, LockMode)> + '_ {
    entry.holders.iter().map(|(holder, mode)| (holder.id, *mode))
}
