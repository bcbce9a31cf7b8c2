//! How long rows of a table live, and how many there may be. A deadline is a moment of the clock that is written into the row, so every copy, every
//! restart and every catch-up sees the same one; whether it has come is decided by the timestamp that is read at.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What becomes of rows that nobody touches. Nothing, if nothing is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retention {
    /// Rows written without a deadline of their own get one this many milliseconds after the write.
    pub ttl_ms: Option<u64>,
    /// Rows that were neither read nor written for this many milliseconds go. Local tables only.
    pub idle_ms: Option<u64>,
    /// Most rows.
    pub rows_max: Option<u64>,
    /// Most bytes of keys and rows.
    pub bytes_max: Option<u64>,
    /// Whether rows go when the table is full, those that are asked for least first. Local tables only. Without it a full
    /// table refuses to grow.
    pub evict: bool,
}

impl Retention {
    /// The deadline of a row that is written now without one of its own, in milliseconds since 1970.
    pub fn deadline_ms(&self, wall_ms: u64) -> Option<u64> {
        self.ttl_ms.map(|ttl| wall_ms.saturating_add(ttl))
    }

    /// Whether the table has a bound that it refuses to pass.
    pub fn refuses(&self) -> bool {
        !self.evict && (self.rows_max.is_some() || self.bytes_max.is_some())
    }

    /// Most bytes of one key with its row, where the table evicts: a row that fills the bound would push out all others, and
    /// itself, for the order in which rows go keeps a little of it for those that are new.
    pub fn row_bytes_max(&self) -> Option<u64> {
        let bound = self.bytes_max.filter(|_| self.evict)?;
        Some(if self.rows_max == Some(1) { bound } else { bound - bound.div_ceil(32) })
    }

    /// Whether it is used as a cache: then it counts hits and misses.
    #[inline]
    pub fn is_cache(&self) -> bool {
        *self != Retention::default()
    }

    /// The time to live as a duration.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }
}
