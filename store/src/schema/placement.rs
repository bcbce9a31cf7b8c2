//! How and where a table is kept: its kind, its copies, and what a commit waits for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::builder::SchemaError;
use super::table_def::TableDef;
use crate::ids::NodeId;
use crate::limits::{CACHE_BYTES_DEFAULT, CACHE_BYTES_MAX, CACHE_BYTES_MIN};

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

impl TableDef {
    /// Whether its copies are on a node each, and such as its rows can be kept in: to be asked again whenever they are
    /// changed in a definition that was built before.
    ///
    /// # Errors
    /// [`SchemaError::SameNode`], [`SchemaError::BadCache`], [`SchemaError::BadRetention`].
    pub fn check_copies(&self) -> Result<(), SchemaError> {
        let (table, mut nodes) = (|| self.name.clone(), BTreeSet::new());
        if let Some(twice) = self.copies.iter().find(|copy| !nodes.insert(copy.node)) {
            return Err(SchemaError::SameNode { node: twice.node, table: table() });
        }
        let caches = self.copies.iter().filter_map(|copy| copy.storage.cache_bytes());
        for bytes in caches {
            if !(CACHE_BYTES_MIN..=CACHE_BYTES_MAX).contains(&bytes) {
                return Err(SchemaError::BadCache { table: table(), bytes });
            }
        }
        let goes = self.retention.evict || self.retention.idle_ms.is_some();
        if goes && self.copies.iter().any(|copy| copy.storage.is_disc_only()) {
            let why = "a table on disc alone does not evict or let idle rows go; its cache does, and the rows stay on disc";
            return Err(SchemaError::BadRetention { table: table(), why });
        }
        Ok(())
    }
}
