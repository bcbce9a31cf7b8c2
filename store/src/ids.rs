//! The names of things that are numbers: nodes, their lives, tables, indexes, schema versions, transactions. All are
//! newtypes, so that one is never passed for another. Nothing here allocates numbers; who does is said at each type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A member of the cluster, the same through restarts and address changes.
///
/// It is the CRC-32 of the member's name, so that every member derives the same number from the same configuration. Two
/// names with one number are refused when the configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The id of the member with this name.
    ///
    /// ```
    /// use hypermnesia_store::NodeId;
    /// assert_eq!(NodeId::of_name("n1"), NodeId::of_name("n1"));
    /// assert_ne!(NodeId::of_name("n1"), NodeId::of_name("n2"));
    /// ```
    pub fn of_name(name: &str) -> NodeId {
        NodeId(crc32fast::hash(name.as_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// One life of a node's process: the wall clock in milliseconds at its start, and at least one more than the life before
/// (the last one is stored where there is a data directory). What a process with another incarnation knew is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A table, for good: a table that is dropped and created again under its old name has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(pub u32);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.0)
    }
}

/// A secondary index within its table; not used again after the index is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexId(pub u32);

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index {}", self.0)
    }
}

/// How often a table's definition has changed, from 1. A transaction notes it at first touch and every participant
/// compares it with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SchemaVersion(pub u32);

impl SchemaVersion {
    /// The version of a table that was never changed.
    pub const FIRST: SchemaVersion = SchemaVersion(1);

    /// The version after this one.
    #[must_use]
    pub fn next(self) -> SchemaVersion {
        SchemaVersion(self.0 + 1)
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One attempt of one transaction, unique in the cluster and for all time.
///
/// The order of ids is the order of ages: the smaller is the older, and the older may wait for the younger, never the
/// other way round (wait-die).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TxId {
    /// The snapshot of the first attempt. Kept when a conflict makes the transaction run again, so it grows older and
    /// in the end wins.
    pub age: Timestamp,
    /// The coordinator.
    pub node: NodeId,
    /// Different for every attempt of a node: the incarnation shifted left by 22 bits plus a count, so a number is not
    /// used again after a restart.
    pub sequence: u64,
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.age.0, self.node.0, self.sequence)
    }
}

/// The text is not a transaction id as [`TxId`] prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a transaction id (three hexadecimal numbers with '-' between them): {0:?}")]
pub struct NotATxId(pub String);

impl FromStr for TxId {
    type Err = NotATxId;

    fn from_str(text: &str) -> Result<TxId, NotATxId> {
        let refuse = || NotATxId(text.chars().take(64).collect());
        let mut parts = text.split('-');
        let (Some(age), Some(node), Some(sequence), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        Ok(TxId {
            age: Timestamp(u64::from_str_radix(age, 16).map_err(|_| refuse())?),
            node: NodeId(u32::from_str_radix(node, 16).map_err(|_| refuse())?),
            sequence: u64::from_str_radix(sequence, 16).map_err(|_| refuse())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_txid_reads_back_from_its_text() {
        // Aim: what `outcome` is asked with is what a caller was told. Method: print, parse, and near misses.
        let id = TxId { age: Timestamp(u64::MAX - 3), node: NodeId::of_name("n1"), sequence: 17 << 22 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "1-2", "1-2-3-4", "x-2-3", "1-fffffffff-3", "1--3"] {
            assert!(wrong.parse::<TxId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn older_transactions_are_smaller() {
        // Aim: wait-die compares ids. Method: age decides before node and sequence.
        let old = TxId { age: Timestamp(1), node: NodeId(9), sequence: 9 };
        let young = TxId { age: Timestamp(2), node: NodeId(0), sequence: 0 };
        assert!(old < young);
    }
}
