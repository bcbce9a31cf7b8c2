//! The table of the plain workloads: `{key, 100 bytes made anew for every write, small integer}`, and the same with an index
//! on the integer, ten records to each of its values.

use anyhow::Result;
use hypermnesia::{Ack, Node, NodeId, Record, Storage, Table};

/// Rows of one loading transaction.
const LOADED_AT_ONCE: u64 = 1000;
/// Records of one value of the index.
pub(crate) const RECORDS_OF_VALUE: u64 = 10;

/// One row.
#[derive(Clone, Debug, Record)]
#[record(table = "bench_records")]
pub(crate) struct Plain {
    #[record(key)]
    pub(crate) key: u64,
    pub(crate) value: Vec<u8>,
    pub(crate) small: i64,
}

impl Plain {
    /// A row of the shape, its value a fresh allocation.
    pub(crate) fn new(key: u64) -> Plain {
        let mut value = vec![0; 100];
        value[..8].copy_from_slice(&key.to_be_bytes());
        Plain { key, value, small: 0 }
    }
}

/// One row of the table with an index.
#[derive(Clone, Debug, Record)]
#[record(table = "bench_indexed")]
pub(crate) struct Indexed {
    #[record(key)]
    pub(crate) key: u64,
    pub(crate) value: Vec<u8>,
    #[record(index = "by_small")]
    pub(crate) small: u64,
}

impl Indexed {
    /// A row of the shape, of a table with so many records.
    pub(crate) fn new(key: u64, records: u64) -> Indexed {
        Indexed { key, value: Plain::new(key).value, small: key % values(records) }
    }
}

/// Values of the index over so many records.
pub(crate) fn values(records: u64) -> u64 {
    (records / RECORDS_OF_VALUE).max(1)
}

/// How tables are kept: where, and what has happened when a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) storage: Storage,
    pub(crate) ack: Ack,
}

/// Creates a record's table with a copy of that storage on every member.
pub(crate) fn create<R: Record>(node: &Node, kept: Kept) -> Result<Table<R>> {
    let copies = node.status().members.into_iter().map(|member| NodeId::of_name(&member.name));
    let definition = copies
        .fold(R::definition().ack(kept.ack), |definition, member| definition.copy(member, kept.storage));
    Ok(node.create_table(definition)?.of()?)
}

/// Writes these rows, a thousand at a time.
pub(crate) fn load<R: Record>(table: &Table<R>, count: u64, row: impl Fn(u64) -> R) -> Result<()> {
    for first in (0..count).step_by(LOADED_AT_ONCE as usize) {
        let rows: Vec<R> = (first..count.min(first + LOADED_AT_ONCE)).map(&row).collect();
        table.insert_many(&rows)?;
    }
    Ok(())
}
