//! The bound of all that a node's tables hold in memory together. Past it what would grow a table is refused, before the
//! kernel ends the process; what others have agreed on is never refused, nor are reads, deletions and the schema.
//!
//! What is held is measured some times a second by whoever keeps the time ([`Store::weigh`]), which takes microseconds for
//! each table: too long for a write. In between every writer adds up what it was let in with, in a counter of its own, and
//! measures anew after each step of it. So the bound is passed by what is in those counters (a sixty-fourth of it, at least
//! 256 KiB and at most 16 MiB, and what indexes take for that), and by transactions that prepare at the same moment.
//!
//! Tables that evict give way: while memory is short they keep a sixteenth less than they held, and less again as long as
//! that does not help.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

use crate::admission::Growth;
use crate::catalog::SCHEMA_TABLE;
use crate::ids::NodeId;
use crate::limits::{MEMORY_STEP_BYTES_MAX, MEMORY_STEP_BYTES_MIN, STRIPES};
use crate::store::Store;
use crate::table::Table;
use crate::work::Conflict;

/// No bound.
const NONE: u64 = u64::MAX;

/// Between two steps back of tables that evict: what the last one let go has been deleted by then.
const SQUEEZED_EVERY_MS: u64 = 250;

/// What a new row takes beside its bytes: a cell, a version, a place in hash or tree.
const ROW_BYTES: u64 = 128;
/// What a new entry of an index takes.
const ENTRY_BYTES: u64 = 64;

/// See the file's header.
pub(crate) struct MemoryBound {
    /// Written once, and read by every write.
    most: AtomicU64,
    /// As last measured.
    held: AtomicU64,
    /// Whose it is, for messages.
    member: AtomicU32,
    /// What was let in since, by writer, as far as it is no step of its own.
    grown: [CachePadded<AtomicU64>; STRIPES],
    /// When tables that evict stepped back last; 0 while they may fill up. Only `weigh` uses it.
    squeezed_ms: AtomicU64,
}

impl Default for MemoryBound {
    fn default() -> MemoryBound {
        MemoryBound {
            most: AtomicU64::new(NONE),
            held: AtomicU64::new(0),
            member: AtomicU32::new(0),
            grown: Default::default(),
            squeezed_ms: AtomicU64::new(0),
        }
    }
}

impl MemoryBound {
    fn measured(&self, held: u64) {
        self.grown.iter().for_each(|grown| grown.store(0, Ordering::Relaxed));
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether tables that evict are to step back now, or may fill up again. `held` is without what goes by itself.
    fn pressure(&self, held: u64, mono_ms: u64) -> Option<Pressure> {
        let most = self.most.load(Ordering::Relaxed);
        let since = self.squeezed_ms.load(Ordering::Relaxed);
        if held > most - most / 32 {
            if since != 0 && mono_ms < since + SQUEEZED_EVERY_MS {
                return None;
            }
            self.squeezed_ms.store(mono_ms.max(1), Ordering::Relaxed);
            return Some(Pressure::Short);
        }
        if since != 0 && held < most - most / 8 {
            self.squeezed_ms.store(0, Ordering::Relaxed);
            return Some(Pressure::Over);
        }
        None
    }
}

enum Pressure {
    Short,
    Over,
}

impl Growth {
    /// About how much memory it takes; nothing where the table does not grow.
    fn memory_bytes(self, table: &Table) -> u64 {
        let rows = self.rows().max(0) as u64;
        self.bytes().max(0) as u64 + rows * (ROW_BYTES + ENTRY_BYTES * table.indexes.len() as u64)
    }
}

impl Store {
    /// Whether what all tables hold in memory is bounded.
    #[inline]
    pub(crate) fn memory_is_bounded(&self) -> bool {
        self.heap.memory.most.load(Ordering::Relaxed) != NONE
    }

    /// Lets a table grow, or says what is in the way. `largest` is the longest of the rows with its key; `thread` tells
    /// writers apart.
    #[cold]
    pub(crate) fn let_in(
        &self,
        table: &Table,
        growth: Growth,
        largest: u64,
        thread: usize,
    ) -> Result<(), Conflict> {
        let (bound, more) = (&self.heap.memory, growth.memory_bytes(table));
        if more == 0 || table.id() == SCHEMA_TABLE {
            return Ok(());
        }
        let most = bound.most.load(Ordering::Relaxed);
        let passes = |held: u64| held.saturating_add(more) > most;
        // Who evicts is let in as long as it has others to push out, and not otherwise: the row would push out itself.
        let pushes = table.rows.eviction.as_ref().and_then(|order| order.takes(largest));
        // What it pushes out makes room a little later; where rows become longer that may not be enough.
        let passed = |held: u64| match pushes {
            None => passes(held),
            Some(true) => passes(held.saturating_sub(most / 64)),
            Some(false) => true,
        };
        if passed(bound.held.load(Ordering::Relaxed)) {
            // Something may have gone since it was measured.
            let held = self.tables_hold();
            bound.held.store(held, Ordering::Relaxed);
            if passed(held) {
                let member = NodeId(bound.member.load(Ordering::Relaxed));
                return Err(Conflict::OutOfMemory { member, held, most });
            }
        }
        let grown = &bound.grown[thread % STRIPES];
        let step = (most / 1024).clamp(MEMORY_STEP_BYTES_MIN, MEMORY_STEP_BYTES_MAX);
        if grown.fetch_add(more, Ordering::Relaxed) + more >= step {
            grown.store(0, Ordering::Relaxed);
            // What is let in now comes behind the measure.
            bound.held.store(self.tables_hold() + more, Ordering::Relaxed);
        }
        Ok(())
    }

    fn tables_hold(&self) -> u64 {
        self.tables().iter().map(|table| table.memory_bytes()).sum()
    }

    /// Bounds what all tables hold in memory together. The member is who is named where something is refused.
    pub fn bound_memory(&self, member: NodeId, most: u64) {
        let bound = &self.heap.memory;
        bound.member.store(member.0, Ordering::Relaxed);
        bound.most.store(most.min(NONE - 1), Ordering::Relaxed);
        self.weigh(0);
    }

    /// Measures what all tables hold, where there is a bound, and has tables that evict step back while that is too much.
    /// Time is in milliseconds from anywhere. To be called some times a second; who evicts has victims then.
    pub fn weigh(&self, mono_ms: u64) {
        let bound = &self.heap.memory;
        if !self.memory_is_bounded() {
            return;
        }
        let held = self.tables_hold();
        bound.measured(held);
        let tables = self.tables();
        let leaving: u64 = tables.iter().map(|table| table.leaving_bytes()).sum();
        let Some(pressure) = bound.pressure(held.saturating_sub(leaving), mono_ms) else { return };
        let evicting = tables.iter().filter(|table| table.def.retention.evict);
        for order in evicting.filter_map(|table| table.rows.eviction.as_ref()) {
            match pressure {
                Pressure::Short => order.squeeze(),
                Pressure::Over => order.relax(),
            }
        }
    }
}
