//! How and where a table is kept: its kind, its copies, and what a commit waits for.

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::limits::CACHE_BYTES_DEFAULT;

/// How many rows a key has, and whether keys have an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// One row per key, found by key only.
    #[default]
    Set,
    /// One row per key, walked in the order of keys.
    OrderedSet,
    /// Any number of different rows per key, in the order they came.
    Bag,
}

/// Where one copy of a table lives on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Storage {
    /// In memory: gone when the node's process ends, and then fetched from another copy.
    Ram,
    /// In memory and on disc: read from disc when the process starts again.
    Disc,
    /// On disc, with a cache in memory: for tables larger than memory. Rows that are not in the cache are read from disc.
    DiscOnly {
        /// Bytes of memory that rows may take which are on disc as well.
        cache_bytes: u64,
    },
}

impl Storage {
    /// On disc, with a cache of the usual size.
    pub const DISC_ONLY: Storage = Storage::DiscOnly { cache_bytes: CACHE_BYTES_DEFAULT };

    /// Whether it is there again when the process starts again.
    pub fn is_on_disc(self) -> bool {
        self != Storage::Ram
    }

    /// The bytes of its cache, where it has one.
    pub fn cache_bytes(self) -> Option<u64> {
        match self {
            Storage::DiscOnly { cache_bytes } => Some(cache_bytes),
            Storage::Ram | Storage::Disc => None,
        }
    }

    /// Whether it lives on disc alone.
    pub fn is_disc_only(self) -> bool {
        matches!(self, Storage::DiscOnly { .. })
    }
}

/// One copy of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableCopy {
    /// The member that keeps it.
    pub node: NodeId,
    /// How it keeps it.
    pub storage: Storage,
}

/// What has happened when a commit is acknowledged. Every level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ack {
    /// It is in the memory of every copy.
    Memory,
    /// Every disc copy has handed it to its operating system: it survives the end of all processes.
    #[default]
    Logged,
    /// Every disc copy has it on its disc: it survives the loss of power.
    Synced,
}

/// What a table does while its members do not all see each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing is acknowledged that could be lost or contradicted.
    #[default]
    Strong,
}
