//! What is measured: the workloads by name, and the cheap random choices of a client.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One kind of operation. What each does is said in `benches/peers/README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Workload {
    /// A transaction that writes one record.
    WriteTxn,
    /// A transaction that reads one record.
    ReadTxn,
    /// Read one record with a write lock, write it back plus one; keys uniform.
    RmwTxnUniform,
    /// The same, always on one key.
    #[value(name = "rmw_txn_1key")]
    #[serde(rename = "rmw_txn_1key")]
    RmwTxn1key,
    /// A transaction of ten writes.
    #[value(name = "write10_txn")]
    #[serde(rename = "write10_txn")]
    Write10Txn,
    /// A transaction that reads the ten records of one value of an index.
    #[value(name = "index_read10_txn")]
    #[serde(rename = "index_read10_txn")]
    IndexRead10Txn,
    /// TPC-B-like: three balances and a history row.
    Tpcb,
    /// One record outside a transaction.
    DirtyRead,
    /// One write outside a transaction.
    DirtyWrite,
}

impl Workload {
    /// Its name in figures and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::WriteTxn => "write_txn",
            Workload::ReadTxn => "read_txn",
            Workload::RmwTxnUniform => "rmw_txn_uniform",
            Workload::RmwTxn1key => "rmw_txn_1key",
            Workload::Write10Txn => "write10_txn",
            Workload::IndexRead10Txn => "index_read10_txn",
            Workload::Tpcb => "tpcb",
            Workload::DirtyRead => "dirty_read",
            Workload::DirtyWrite => "dirty_write",
        }
    }

    /// Whether it only reads, which never leaves the node.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, Workload::ReadTxn | Workload::IndexRead10Txn | Workload::DirtyRead)
    }

    /// Operations between two looks at the clock. Only the first of a batch is timed; more than one where an operation is
    /// not much longer than a look.
    pub(crate) fn batch(self) -> u64 {
        if self == Workload::DirtyRead { 16 } else { 1 }
    }
}

/// A client's choices: a generator of its own, and the numbers of the rows it adds.
pub(crate) struct Choices {
    random: fastrand::Rng,
    records: u64,
    scale: u64,
    next_row: u64,
}

impl Choices {
    /// The choices of the client with this number, among all clients of all nodes.
    pub(crate) fn new(client: u64, round: u64, records: u64, scale: u64) -> Choices {
        // Rows that different clients add in different rounds must not meet.
        let next_row = round << 48 | client << 36;
        Choices { random: fastrand::Rng::with_seed(client * 7919 + round), records, scale, next_row }
    }

    /// A uniform key.
    pub(crate) fn key(&mut self) -> u64 {
        self.random.u64(0..self.records)
    }

    /// A uniform value of the indexed attribute.
    pub(crate) fn value(&mut self) -> u64 {
        self.random.u64(0..super::records::values(self.records))
    }

    /// How many rows such a value has at least.
    pub(crate) fn rows_of_value(&self) -> usize {
        super::records::RECORDS_OF_VALUE as usize
    }

    /// One TPC-B transaction's inputs.
    pub(crate) fn transfer(&mut self) -> super::bank::Transfer {
        self.next_row += 1;
        super::bank::Transfer::choose(&mut self.random, self.scale, self.next_row)
    }
}
