//! What is committed while a table loads. A joiner is a participant from the moment it knows the schema of its epoch: it is asked
//! about every transaction of the epoch like everybody else, and says yes without a look at rows that it does not have. So its
//! yes stands for nothing but that it will not lose the writes: those who have the rows have validated and locked them, and the
//! flush does not count its copy (`Standing::whole` does not name it). What is committed it keeps here, in no order, and its log says
//! of it only what concerns tables that it has.
//!
//! When all rows of the table have come, as they were when the epoch opened, nothing new is taken for the table until every transaction
//! that was taken for it has its outcome (who asks meanwhile is refused and asks again). Then all commits of the epoch on the
//! table are known. They are put behind the rows in the order of their timestamps, and written to the log as rows, and from there
//! on this copy is one like the others: it locks and validates.
//!
//! | what is lost | then |
//! |---|---|
//! | this process | its copy is not whole: it is compared and loaded anew, tail and all |
//! | the source, any member | the next epoch settles what was under way; who survives has it among its rows, and the copy begins anew from there. What was kept here is part of that and is dropped |
//! | everybody, with their discs left | this copy does not speak for the table, whatever its log has |
//! | the last whole copy | the table waits for its return, with or without a copy that was being made |

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use hypermnesia_store::{Ack, Body, Key, LoadError, Op, TableId, Timestamp, TxId, Work, Write};

use super::SCHEMA_TABLE;
use crate::effect::Fact;
use crate::era::Era;
use crate::holders::part_of;
use crate::limits::TAIL_BYTES_MAX;
use crate::replica::{Replica, Turn};
use crate::shard::Held;

/// Commits of the entered epoch, by table.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    commits: HashMap<TableId, Vec<(Timestamp, Vec<Write>)>, FixedState>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn clear(&mut self) {
        *self = Tail::default();
    }

    fn push(&mut self, ts: Timestamp, writes: Vec<Write>) {
        self.bytes += writes.iter().map(bytes_of).sum::<usize>();
        for same in writes.chunk_by(|a, b| a.table == b.table) {
            self.commits.entry(same[0].table).or_default().push((ts, same.to_vec()));
        }
    }

    /// Those of a table, in the order in which they happened.
    fn of(&self, table: TableId) -> Vec<(Timestamp, Vec<Write>)> {
        let mut commits = self.commits.get(&table).cloned().unwrap_or_default();
        commits.sort_by_key(|(ts, _)| *ts);
        commits
    }

    fn forget(&mut self, table: TableId) {
        let gone = self.commits.remove(&table).unwrap_or_default();
        self.bytes -= gone.iter().flat_map(|(_, writes)| writes).map(bytes_of).sum::<usize>();
    }
}

/// What a write counts for in [`TAIL_BYTES_MAX`].
fn bytes_of(write: &Write) -> usize {
    let row = match &write.op {
        Op::Put(row) | Op::BagAdd(row) | Op::BagRemove(row) | Op::BagAppend(row) => row.as_bytes().len(),
        Op::Delete | Op::Expire(_) => 0,
    };
    write.key.as_bytes().len() + row + size_of::<Write>()
}

impl Replica {
    /// Whether a copy of a table here does not have all of its rows yet.
    pub(crate) fn is_behind_with(&self, era: &Era, table: TableId) -> bool {
        era.lacks.has(table) && !self.is_local(table)
    }

    /// The same of any table that a transaction touches.
    pub(crate) fn is_behind(&self, era: &Era, work: &Work) -> bool {
        !era.lacks.is_nothing() && touches(work, |table| self.is_behind_with(era, table))
    }

    /// Whether a prepare may be taken now.
    pub(crate) fn takes(&self, era: &Era, work: &Work) -> bool {
        if era.complete {
            return true;
        }
        let drains = |table| era.loading.as_ref().is_some_and(|loading| loading.is_draining(table));
        // As good as any when the epoch opened, and compared only to be sure: what is said of it has to stay true meanwhile.
        let is_compared = |table| self.is_behind_with(era, table) && era.says_whole(table);
        let is_full = || self.is_behind(era, work) && self.tail.lock().bytes > TAIL_BYTES_MAX;
        era.peers[self.at].taking == era.number()
            && !touches(work, |table| table == SCHEMA_TABLE || drains(table) || is_compared(table))
            && !is_full()
    }

    /// A transaction that was prepared here is committed: keeps what it writes to tables that are not loaded yet.
    pub(crate) fn keep_tail(&self, era: &Era, ts: Timestamp, work: &Work) {
        if !self.is_behind(era, work) {
            return;
        }
        let kept = |write: &&Write| {
            self.is_behind_with(era, write.table) && self.copies_of(write.table).has(self.at)
        };
        let mut writes: Vec<Write> = work.writes.iter().filter(kept).cloned().collect();
        // In each table as they were made.
        writes.sort_by_key(|write| write.table);
        self.tail.lock().push(ts, writes);
    }

    /// Into the log what a commit means here.
    pub(crate) fn log_commit(&self, era: &Era, txid: TxId, ts: Timestamp, held: &Held, turn: &mut Turn<'_>) {
        if !held.logging.on {
            return;
        }
        let fact = match self.is_behind(era, &held.work) {
            false => Fact::Committed { txid, ts },
            true => {
                let work = part_of(&held.work, |table| !self.is_behind_with(era, table));
                Fact::Applied { txid, ts, work }
            }
        };
        turn.log(fact, Ack::Memory, None);
    }

    /// Whether a transaction that touches the table was taken and has no outcome.
    pub(crate) fn is_under_way(&self, table: TableId) -> bool {
        let touched = |held: &Held| touches(&held.work, |one| one == table);
        self.shards.each().any(|shard| shard.held.values().any(touched))
    }

    /// All rows are here, and the outcome of all that was taken: puts what was committed behind them, and says how many
    /// transactions that were. Nothing where a row cannot be read now.
    pub(super) fn catch_up(&self, table: TableId, turn: &mut Turn<'_>) -> Option<u64> {
        let commits = self.tail.lock().of(table);
        let mut last = BTreeMap::new();
        for (ts, writes) in &commits {
            match self.store.load_writes(*ts, writes) {
                Ok(()) => last.extend(writes.iter().map(|write| (write.key.clone(), *ts))),
                Err(LoadError::Unreadable { .. }) => return None,
                Err(error) => panic!("its definition is the one that they were written under: {error}"),
            }
        }
        let rows = self.as_they_are(table, last)?;
        for some in rows.chunks(self.copy.chunk_rows) {
            self.log_loaded(table, false, some.to_vec(), turn);
        }
        self.tail.lock().forget(table);
        let commits = commits.len() as u64;
        self.loads.lock().copied_commits += commits;
        Some(commits)
    }

    /// What keys hold that were written last at these times. Nothing where one cannot be read now.
    fn as_they_are(
        &self,
        table: TableId,
        keys: BTreeMap<Key, Timestamp>,
    ) -> Option<Vec<(Key, Timestamp, Option<Body>)>> {
        let Some(open) = self.store.table(table) else { return Some(Vec::new()) };
        let row = |(key, ts): (Key, Timestamp)| {
            let stored = open.newest_stored(&key).ok()?;
            Some(match stored {
                Some((body, at)) => (key, at, Some(body)),
                None => (key, ts, None),
            })
        };
        keys.into_iter().map(row).collect()
    }
}

/// Whether a transaction reads or writes such a table.
fn touches(work: &Work, mut wanted: impl FnMut(TableId) -> bool) -> bool {
    let mut last = None;
    let reads = work.reads.iter().map(|note| note.table);
    let ranges = work.ranges.iter().map(|note| note.table);
    let writes = work.writes.iter().map(|write| write.table);
    reads.chain(ranges).chain(writes).any(|table| last.replace(table) != Some(table) && wanted(table))
}
