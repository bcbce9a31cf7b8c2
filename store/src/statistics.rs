//! What a table counts about its use, striped by thread so that readers do not meet.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::limits::STRIPES;

/// How a table was used since the node started. Hits and misses are counted for tables with a time to live or a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStatistics {
    /// Reads of a key that had a row.
    pub hits: u64,
    /// Reads of a key that had none.
    pub misses: u64,
    /// Rows deleted because the table was full or they lay idle.
    pub evictions: u64,
    /// Rows removed because their deadline had come.
    pub expirations: u64,
    /// Rows with a deadline now.
    pub deadlines: u64,
    /// Old versions of rows that are kept because a live snapshot may read them (see [`crate::Store::oldest_snapshot`]).
    pub old_versions: u64,
    /// Deletions and vanished index entries that are kept, for a snapshot or for two seconds.
    pub deletions: u64,
    /// As [`crate::Table::memory_bytes`].
    pub memory_bytes: u64,
    /// Bytes of memory that the cache of a table on disc alone takes now.
    pub cache_bytes: u64,
    /// How often a row of such a table was looked for on disc.
    pub image_reads: u64,
}

/// One stripe.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) expirations: AtomicU64,
}

pub(crate) struct Tallies(Box<[CachePadded<Tally>]>);

impl Default for Tallies {
    fn default() -> Tallies {
        Tallies((0..STRIPES).map(|_| CachePadded::default()).collect())
    }
}

impl Tallies {
    pub(crate) fn of(&self, thread: usize) -> &Tally {
        &self.0[thread % STRIPES]
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    pub(crate) fn sum(&self) -> TableStatistics {
        let mut sum = TableStatistics::default();
        for tally in &self.0 {
            sum.hits += tally.hits.load(Ordering::Relaxed);
            sum.misses += tally.misses.load(Ordering::Relaxed);
            sum.evictions += tally.evictions.load(Ordering::Relaxed);
            sum.expirations += tally.expirations.load(Ordering::Relaxed);
        }
        sum
    }
}
