//! How much memory a table holds: what is counted where rows change, and what follows from it. Nothing is counted for this
//! on the way of a read. Blocks, cells, the hash's groups and the queues are known to the byte; how full the leaves of trees
//! are depends on the order in which keys came and went, so some leaves are looked at when somebody asks.

use std::ptr;

use scc::{Guard, TreeIndex};
use seize::LocalGuard;

use crate::cell::{Cell, CellRef};
use crate::index::Index;
use crate::key::Key;
use crate::row::{Body, Head, Row};
use crate::table::Table;
use crate::version::BAG_BYTES;

/// A cell with its count.
const CELL_BYTES: usize = size_of::<usize>() + size_of::<Cell>();
/// What stands before a row, and is all there is of a deletion.
const HEAD_BYTES: usize = size_of::<Head>();
/// The counts and the vector of the rows of a bag.
const VECTOR_BYTES: usize = 2 * size_of::<usize>() + size_of::<Vec<Row>>();

/// Entries of a leaf of scc 3.8.
const LEAF_ENTRIES: usize = 15;
/// A leaf of scc 3.8 for keys and cells, with its share of the nodes above. Measured by a counting allocator over trees of
/// 20,000 entries, divided by the leaves that [`LeafCount`] finds in them: 575 where keys came in order (39 bytes an entry),
/// 620 where they came in none (71 bytes an entry) and nodes are less full too. Right in the middle is 4 % off at most.
const LEAF_BYTES: usize = 590;
/// How far apart the keys of one leaf stand at most: they are one array.
const LEAF_KEYS_SPAN: usize = (LEAF_ENTRIES - 1) * size_of::<Key>();
/// Places where leaves are looked at, and entries looked at from each: three full leaves and more. Together some tens of
/// microseconds.
const LOOKS: usize = 32;
const LOOK_ENTRIES: usize = 48;
/// Entries of a leaf where none was seen whole: in trees of a few leaves.
const LEAF_ENTRIES_TYPICAL: usize = 9;

/// A deadline or a moment with its key in a `BTreeSet`: 32 bytes in nodes of eleven that are between a half and two thirds
/// full. Measured like the leaves.
pub(crate) const QUEUED_BYTES: usize = 56;

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
    let rows = |body: &Body| body.bytes() + body.rows().len() * HEAD_BYTES;
    match (old, new) {
        (None, _) => HEAD_BYTES,
        (Some(old @ Body::Bag(_)), Some(new)) => frame_bytes(old) + rows(old).saturating_sub(rows(new)),
        (Some(old), _) => frame_bytes(old) + rows(old),
    }
}

/// Entries seen in whole leaves, and how many leaves.
#[derive(Clone, Copy, Default)]
struct LeafCount {
    entries: usize,
    leaves: usize,
}

impl LeafCount {
    /// Looks at the leaves behind the one that `from` is in. Entries of a leaf are told by where their keys stand.
    fn look(&mut self, tree: &TreeIndex<Key, CellRef>, from: &Key) {
        let guard = Guard::new();
        let (mut low, mut high, mut entries, mut leaves) = (0, 0, 0, 0);
        for (key, _) in tree.range::<Key, _>(from.., &guard).take(LOOK_ENTRIES) {
            let at = ptr::from_ref(key).addr();
            if entries > 0 && high.max(at) - low.min(at) <= LEAF_KEYS_SPAN {
                (low, high, entries) = (low.min(at), high.max(at), entries + 1);
                continue;
            }
            // The first leaf was entered somewhere in the middle.
            if leaves > 1 {
                self.entries += entries;
                self.leaves += 1;
            }
            (low, high, entries, leaves) = (at, at, 1, leaves + 1);
        }
    }

    /// Leaves of a tree of this many entries.
    fn leaves(self, entries: usize) -> usize {
        match self.leaves {
            0 => entries.div_ceil(LEAF_ENTRIES_TYPICAL),
            leaves => (entries * leaves).div_ceil(self.entries),
        }
    }
}

/// What trees hold, and how many places of them have an entry that was removed, at most.
#[derive(Clone, Copy, Default)]
struct Trees {
    bytes: usize,
    places: usize,
}

impl Trees {
    /// Says how many of its places may still have an entry that was removed.
    fn add(&mut self, entries: usize, seen: LeafCount) -> usize {
        let leaves = seen.leaves(entries);
        let places = (leaves * LEAF_ENTRIES).saturating_sub(entries);
        self.bytes += leaves * LEAF_BYTES;
        self.places = self.places.max(places);
        places
    }

    fn add_index(&mut self, index: &Index, seen: LeafCount) {
        let (entries, keys) = (index.len() as usize, index.heap_bytes() as usize);
        let removed = (index.removed() as usize).min(self.add(entries, seen));
        self.bytes += index.fixed_bytes() + keys + removed * (keys / entries.max(1));
    }
}

impl Table {
    /// Bytes of memory it holds, as they were asked for from the allocator: rows, keys and what finds them, index entries,
    /// deadlines, old versions and deletions that are kept. Within 5 % for tables of some thousands of rows (8 % in
    /// the two seconds after most entries of an index were replaced); what rows that
    /// were replaced a moment ago held may not have been given back yet: 512 of them, and 128 KiB, for each thread that
    /// writes, until it writes on or somebody tidies. Takes some tens of microseconds for each index and
    /// the order of keys, whatever the size of the table. Of a table on disc alone rows in memory are taken to be as large as
    /// all are on the average.
    pub fn memory_bytes(&self) -> u64 {
        let guard = self.pin();
        let rows = &self.rows;
        let counted = rows.counted();
        let cells = rows.cells.len();
        let all = (counted.bytes + counted.over + counted.rows * HEAD_BYTES as i64).max(0) as usize;
        let keys = (counted.keys.max(0) as usize).min(cells);
        let live = match rows.backing {
            None => all,
            Some(_) => (all as u128 * keys as u128 / (counted.keys.max(1) as u128)) as usize,
        };
        let trees = self.trees(cells, &guard);
        // Who deletes a key removes its entries, but the places of trees keep what they had until their leaf goes.
        let dead = (counted.dead as usize).min(trees.places);
        let deleted = (cells - keys + dead) * (HEAD_BYTES + self.key_heap_bytes(&guard));
        let all = live
            + (cells + dead) * CELL_BYTES
            + deleted
            + trees.bytes
            + rows.cells.bytes()
            + rows.history.kept().bytes
            + rows.deadlines.bytes()
            + rows.tallies.bytes()
            + rows.eviction.as_ref().map_or(0, |eviction| eviction.bytes())
            + rows.fixed_bytes();
        all as u64
    }

    /// Its indexes by name, each with its entries: those of rows, and those that no row has any more and that are kept a
    /// little longer. O(1) for each.
    pub fn index_entries(&self) -> impl Iterator<Item = (&str, u64)> {
        self.indexes.iter().map(|index| (index.def.name.as_str(), index.len()))
    }

    fn trees(&self, cells: usize, guard: &LocalGuard<'_>) -> Trees {
        let mut trees = Trees::default();
        if let Some(tree) = &self.rows.tree {
            let mut seen = LeafCount::default();
            self.rows.cells.some(LOOKS, guard).for_each(|cell| seen.look(tree, &cell.key));
            trees.add(cells, seen);
        }
        for index in &self.indexes {
            trees.add_index(index, self.look_at(index, guard));
        }
        trees
    }

    fn look_at(&self, index: &Index, guard: &LocalGuard<'_>) -> LeafCount {
        let mut seen = LeafCount::default();
        for (n, cell) in self.rows.cells.some(LOOKS, guard).enumerate() {
            let body = cell.newest_body(guard).map(|(body, _)| body);
            let entries = index.entries(&self.def, &cell.key, body.as_deref());
            if !entries.is_empty() {
                seen.look(&index.tree, &entries[n % entries.len()]);
            }
        }
        seen
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
