//! The clients: each runs one transaction after another on a node of its choice, as a library user's closure would: reads
//! at one snapshot, one key per step, then commit. What it saw goes into the history.

use std::collections::BTreeMap;

use hypermnesia_store::{SchemaVersion, Snapshot, TableId, Timestamp, TxId};

/// What a transaction does.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// Reads some lists and appends to some of them.
    Append { reads: Vec<u64>, appends: Vec<(u64, u64)> },
    /// Moves money between two accounts.
    Transfer { from: u64, to: u64, amount: i64 },
    /// Moves money and writes the booking into a list.
    Book { from: u64, to: u64, amount: i64, append: (u64, u64) },
    /// Reads all lists and all accounts at one snapshot.
    Look,
    /// Gives a table an index, or takes it away.
    Define(Which),
}

/// How far a transaction has come.
pub(crate) struct Attempt {
    pub(crate) node: usize,
    pub(crate) incarnation: u64,
    pub(crate) txid: TxId,
    /// As it was when the snapshot was taken.
    pub(crate) tenure: u64,
    pub(crate) snapshot: Snapshot,
    /// The definitions of the tables as they were then.
    pub(crate) versions: Vec<(TableId, SchemaVersion)>,
    /// Keys still to be read, the next one last: table and key.
    pub(crate) to_read: Vec<(Which, u64)>,
    pub(crate) lists: BTreeMap<u64, (Vec<u64>, Timestamp)>,
    pub(crate) balances: BTreeMap<u64, (i64, Timestamp)>,
    /// Commit was called and has not answered.
    pub(crate) committing: bool,
}

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Lists,
    Accounts,
}

/// A client and its present transaction.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) plan: Option<Plan>,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) invoked_ns: u64,
    pub(crate) deadline_ns: u64,
    pub(crate) age: Option<Timestamp>,
    pub(crate) tries: u32,
}
