//! What a transaction asks of a node and what the node says: the work that Prepare carries, refusals, grants and waits.
//! Plain data; the rules are in `store` (prepare, commit) and in `lock` (who waits for whom).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::disc::DiscError;
use crate::ids::{IndexId, NodeId, SchemaVersion, TableId, TxId};
use crate::key::{Key, KeyRange};
use crate::row::Row;
use crate::schema::TableDef;
use crate::txn::Txn;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Key,
    /// What happens to it.
    pub op: Op,
}

/// What a write does to a key. Several writes to one key in a transaction are applied in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The row replaces what the key holds; in a bag it is added.
    Put(Row),
    /// The key holds nothing afterwards.
    Delete,
    /// The row is added behind the key's rows unless an identical one is there; in a set it replaces.
    BagAdd(Row),
    /// The identical row goes, if it is there; in a set only when the key holds exactly it (delete_object).
    BagRemove(Row),
    /// The row goes if its deadline is not later than this: the removal of what nobody sees any more.
    Expire(Timestamp),
    /// The row is added behind the key's rows of a bag, whether or not an identical one is there.
    BagAppend(Row),
}

impl Op {
    /// As the table means it: a row that is put into a bag with duplicates is added whatever is there.
    #[must_use]
    pub fn in_table(self, def: &TableDef) -> Op {
        match self {
            Op::Put(row) if def.duplicates => Op::BagAppend(row),
            other => other,
        }
    }
}

/// A transaction has read this key and saw this version of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadNote {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Key,
    /// The commit timestamp of the version it saw; [`Timestamp::NEVER`] when it saw nothing.
    pub version: Timestamp,
}

/// A transaction has read every row in this range, and the absence of all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeNote {
    /// The table.
    pub table: TableId,
    /// The index whose entries (index key, then primary key) the range is over; none for the table's own keys.
    pub index: Option<IndexId>,
    /// What was read.
    pub range: KeyRange,
    /// The snapshot it was read at.
    pub snapshot: Timestamp,
}

/// All that a transaction has read and wants to write: what Prepare carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Keys read.
    pub reads: Vec<ReadNote>,
    /// Ranges read.
    pub ranges: Vec<RangeNote>,
    /// Changes, in the order they were made.
    pub writes: Vec<Write>,
    /// The schema version of each table at first touch.
    pub schema: Vec<(TableId, SchemaVersion)>,
}

/// Why a transaction cannot go on as it is. A refusal, not an error: most are answered by running it again at its old age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Conflict {
    /// An older transaction holds the key or table, or waits for it; the younger must not wait (wait-die).
    #[error("{holder} holds or awaits a lock in {table}")]
    Locked {
        /// Where.
        table: TableId,
        /// The oldest one in the way.
        holder: TxId,
    },
    /// A key that was read has another version now.
    #[error("a key that was read in {table} has changed")]
    Read {
        /// Where.
        table: TableId,
        /// Which key.
        key: Key,
    },
    /// A range that was read has changed or is being changed, or the write falls into a range another one has read.
    #[error("a range that was read in {table} is being changed")]
    Range {
        /// Where.
        table: TableId,
    },
    /// Another row has this value in a unique index. Running again does not help while that row is there.
    #[error("unique {index} of {table} already has {value}")]
    Unique {
        /// Where.
        table: TableId,
        /// Which index.
        index: IndexId,
        /// The value both rows have.
        value: Key,
        /// The key of the row that has it.
        owner: Key,
    },
    /// The table's definition is newer here than the transaction knew: run it again.
    #[error("the definition of {table} has changed")]
    SchemaChanged {
        /// Where.
        table: TableId,
    },
    /// The table's definition is older here than the transaction knew: it arrives soon.
    #[error("the new definition of {table} has not arrived here")]
    SchemaBehind {
        /// Where.
        table: TableId,
    },
    /// There is no such table here.
    #[error("{table} does not exist")]
    NoSuchTable {
        /// Which.
        table: TableId,
    },
    /// The row cannot stand in this table (its key or an index entry would be too long).
    #[error("a row does not fit {table}")]
    Unfit {
        /// Where.
        table: TableId,
        /// Which key.
        key: Key,
    },
    /// The table has a bound in rows or bytes and the transaction would grow it past that. Nothing was changed; it may
    /// succeed when rows have gone.
    #[error("{table} is full")]
    Full {
        /// Where.
        table: TableId,
    },
    /// This attempt was aborted already.
    #[error("the transaction was aborted")]
    Aborted,
    /// A row that is on disc alone could not be read. The node that says so serves no longer.
    #[error("a row of {table} cannot be read from disc")]
    Unreadable {
        /// Where.
        table: TableId,
    },
    /// A row that is on disc alone could not be read now, while the image is opened again: see [`Unreadable::passes`].
    #[error("a row of {table} cannot be read while the image of the disc is opened again")]
    NotNow {
        /// Where.
        table: TableId,
    },
    /// The table pushes rows out, and this one is larger than what it can keep: see [`crate::Retention::row_bytes_max`].
    #[error("a row of {bytes} bytes is too large for {table}")]
    Oversized {
        /// Where.
        table: TableId,
        /// Which key.
        key: Key,
        /// Its bytes, with the key's.
        bytes: u64,
    },
    /// A member's tables hold as much memory as they may. Nothing was changed; it may succeed when rows have gone.
    #[error("the tables of {member} hold {held} bytes of memory, and may hold {most}")]
    OutOfMemory {
        /// Whose.
        member: NodeId,
        /// What they hold.
        held: u64,
        /// What they may.
        most: u64,
    },
}

/// How a lock excludes others: readers share, a writer is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LockMode {
    /// Shared with other readers.
    Read,
    /// Alone.
    Write,
}

/// Who prepares: decides whether a transaction that holds nothing yet may queue whatever its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This node coordinates it and has asked no other node yet.
    Coordinator,
    /// Another node coordinates it, and may hold locks for it elsewhere.
    Participant,
}

/// The answer to a request for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// It holds the lock.
    Granted,
    /// It must not wait. What it holds it holds until it is aborted.
    Refused(Conflict),
    /// It waits. It has the lock once it is listed in a [`Freed`] (or its waker is called); then ask again.
    Parked,
}

/// The answer to Prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Everything is locked, checked and marked; the commit timestamp is at least this.
    Yes {
        /// The proposed commit timestamp.
        proposal: Timestamp,
    },
    /// No. What it holds it holds until it is aborted: call `abort` next.
    Refused(Conflict),
    /// It waits for a lock. Call again when it is listed in a [`Freed`].
    Parked,
}

/// Transactions that were parked and may go on: whoever freed them continues their `prepare` or `lock`, in this order.
#[derive(Debug, Default)]
#[must_use = "a parked transaction that nobody continues waits for ever"]
pub struct Freed {
    /// In the order they were granted. Their wakers have been called.
    pub ready: Vec<Arc<Txn>>,
}

impl IntoIterator for Freed {
    type Item = Arc<Txn>;
    type IntoIter = std::vec::IntoIter<Arc<Txn>>;

    fn into_iter(self) -> Self::IntoIter {
        self.ready.into_iter()
    }
}

/// A read that cannot be answered at its snapshot now.
#[derive(Clone, Debug)]
pub enum Blocked {
    /// This transaction may commit at or below the snapshot: wait for its status, then read again.
    Pending(Arc<Txn>),
    /// A transaction that was proposed at or below the snapshot committed above it, and may have been told so before the
    /// snapshot was taken: read again at this timestamp, or restart if rows were already handed out.
    Raise(Timestamp),
    /// The table was dropped or its definition changed since the cursor was opened.
    SchemaChanged(TableId),
    /// A row that is on disc alone could not be read, or is not what was written. Nothing of it is served; the node should
    /// serve no longer, unless it [passes](Unreadable::passes).
    Unreadable(Box<Unreadable>),
}

/// A row on disc that could not be read, or that its checksum does not fit.
#[derive(Clone, Debug, thiserror::Error)]
#[error("table {table}{}: {error}", of_key(key.as_ref()))]
pub struct Unreadable {
    /// Of which table.
    pub table: TableId,
    /// Which key; none where a range was read, then the error says it.
    pub key: Option<Key>,
    /// What the disc said.
    pub error: DiscError,
}

impl Unreadable {
    /// Whether the image is only opened again, behind a step that found no space: the same read may be tried again. If it does
    /// not pass, the node stops as soon as whoever opens it says so.
    pub fn passes(&self) -> bool {
        matches!(self.error, DiscError::Poisoned { .. })
    }
}

fn of_key(key: Option<&Key>) -> String {
    key.map_or_else(String::new, |key| format!(", key {key}"))
}

impl From<Box<Unreadable>> for Blocked {
    fn from(unreadable: Box<Unreadable>) -> Blocked {
        Blocked::Unreadable(unreadable)
    }
}

impl From<Box<Unreadable>> for Conflict {
    fn from(unreadable: Box<Unreadable>) -> Conflict {
        let table = unreadable.table;
        if unreadable.passes() { Conflict::NotNow { table } } else { Conflict::Unreadable { table } }
    }
}
