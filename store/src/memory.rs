//! How much memory a table holds: what is counted where rows change, and what follows from it. Nothing is counted for this
//! on the way of a read. Blocks, cells, the hash's groups, the nodes of trees and the queues are known to the byte; what lies
//! in the nodes of the queue of deadlines and in the keys of rows that are gone is taken as on the average.

use std::sync::Arc;

use seize::LocalGuard;

use crate::cell::Cell;
use crate::index::Index;
use crate::row::{Body, Head, Row};
use crate::table::Table;
use crate::tree::Tree;
use crate::version::BAG_BYTES;

/// A cell with its count.
const CELL_BYTES: usize = size_of::<usize>() + size_of::<Cell>();
/// What stands before a row, and is all there is of a deletion.
const HEAD_BYTES: usize = size_of::<Head>();
/// The counts and the vector of the rows of a bag.
const VECTOR_BYTES: usize = 2 * size_of::<usize>() + size_of::<Vec<Row>>();

/// What blocks of rows leave free on the average: from nothing to fifteen.
const SLACK_BYTES: usize = 7;

/// Keys looked at for how long they are, where some are gone.
const LOOKS: usize = 32;

/// A deadline or a moment with its key in a `BTreeSet`: 32 bytes in nodes of eleven that are between a half and two thirds
/// full.
pub(crate) const QUEUED_BYTES: usize = 56;

/// What the blocks of its rows leave free.
#[inline]
pub(crate) fn slack_bytes(body: &Body) -> usize {
    body.rows().iter().map(Row::slack).sum()
}

/// What holds the rows of a body together.
#[inline]
pub(crate) fn frame_bytes(body: &Body) -> usize {
    match body {
        Body::Row(_) => 0,
        Body::Bag(rows) => BAG_BYTES + VECTOR_BYTES + rows.capacity() * size_of::<Row>(),
    }
}

/// What a version holds that has been replaced. The rows that a bag still has are the same in both.
pub(crate) fn old_bytes(old: Option<&Body>, new: Option<&Body>) -> usize {
    let rows = |body: &Body| body.bytes() + slack_bytes(body) + body.rows().len() * HEAD_BYTES;
    match (old, new) {
        (None, _) => HEAD_BYTES,
        (Some(old @ Body::Bag(_)), Some(new)) => frame_bytes(old) + rows(old).saturating_sub(rows(new)),
        (Some(old), _) => frame_bytes(old) + rows(old),
    }
}

impl Table {
    /// Bytes of memory it holds, as they were asked for from the allocator: rows, keys and what finds them, index entries,
    /// deadlines, old versions and deletions that are kept, events that are kept for listeners. Within 1 % for tables of some thousands of rows (3 %
    /// where they have deadlines); what rows that were replaced a moment ago held may not have been given back yet: 512 of
    /// them for each thread that writes, until it writes on or somebody tidies. Beside that a thread that writes, or that was
    /// the last to let rows go, keeps up to 256 KiB of freed blocks for rows to come, until it ends. Takes a few microseconds,
    /// whatever the size of the table. Of a table on disc alone rows in memory are taken to be as large as
    /// all are on the average, and long keys of its deadlines are left out.
    pub fn memory_bytes(&self) -> u64 {
        let guard = self.pin();
        let rows = &self.rows;
        let counted = rows.counted();
        let cells = rows.cells.len();
        let all = (counted.bytes + counted.over + counted.rows * HEAD_BYTES as i64).max(0) as usize;
        let keys = (counted.keys.max(0) as usize).min(cells);
        let live = match rows.backing {
            None => all,
            Some(_) => {
                let own = (all as u128 * keys as u128 / (counted.keys.max(1) as u128)) as usize;
                own + keys * SLACK_BYTES
            }
        };
        let deleted = (cells - keys) * (HEAD_BYTES + self.key_heap_bytes(&guard));
        let all = live
            + cells * CELL_BYTES
            + deleted
            + rows.tree.as_ref().map_or(0, Tree::bytes)
            + self.indexes.iter().map(|index| index.bytes()).sum::<usize>()
            + rows.cells.bytes()
            + rows.history.kept().bytes
            + rows.deadlines.bytes()
            + rows.tallies.bytes()
            + rows.events.memory_bytes()
            + rows.eviction.as_ref().map_or(0, |eviction| eviction.bytes())
            + rows.backing.as_ref().map_or(0, |backing| backing.bytes())
            + rows.fixed_bytes();
        all as u64
    }

    /// Bytes of what has been deleted and is kept a little longer: keys, and entries of indexes that have one for each row.
    pub(crate) fn leaving_bytes(&self) -> u64 {
        let guard = self.pin();
        let counted = self.rows.counted();
        let (cells, keys) = (self.rows.cells.len(), counted.keys.max(0) as usize);
        let deleted = cells.saturating_sub(keys) * (CELL_BYTES + HEAD_BYTES + self.key_heap_bytes(&guard));
        let vanished = |index: &Arc<Index>| {
            let (entries, rows) = (index.len(), counted.rows.max(0) as u64);
            index.bytes() as u64 * entries.saturating_sub(rows) / entries.max(1)
        };
        let plain = self.indexes.iter().filter(|index| !index.def.multi);
        deleted as u64 + plain.map(vanished).sum::<u64>()
    }

    /// Its indexes by name, each with its entries: those of rows, and those that no row has any more and that are kept a
    /// little longer. O(1) for each.
    pub fn index_entries(&self) -> impl Iterator<Item = (&str, u64)> {
        self.indexes.iter().map(|index| (index.def.name.as_str(), index.len()))
    }

    /// What a key holds beyond itself, on the average of some.
    fn key_heap_bytes(&self, guard: &LocalGuard<'_>) -> usize {
        let (mut count, mut bytes) = (0, 0);
        for cell in self.rows.cells.some(LOOKS, guard) {
            (count, bytes) = (count + 1, bytes + cell.key.heap_bytes());
        }
        bytes / count.max(1)
    }
}
