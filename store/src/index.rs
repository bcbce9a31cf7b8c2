//! One secondary index of a table: entries of (index key, then primary key) to the row's cell. An entry is there from
//! before the first mark that needs it is proposed until no kept version has its value, and a while longer (`history`), so
//! it says *maybe*: readers look at the version they see and compare. This file never decides what is visible.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, Ordering};

use crossbeam::utils::CachePadded;
use seize::{Guard as _, LocalGuard};

use crate::cell::{Cell, CellRef};
use crate::key::{Key, KeyRange};
use crate::limits::STRIPES;
use crate::row::{Body, Row};
use crate::schema::{IndexDef, TableDef};
use crate::table::Direction;
use crate::tree::{Tree, walk_tree};

pub(crate) struct Index {
    pub(crate) def: IndexDef,
    pub(crate) tree: Tree,
    /// What the tree holds, striped by thread.
    tallies: Box<[CachePadded<Tally>]>,
    /// What stands in the tree for every row of a table on disc alone, whose rows come and go: its readers go by the key.
    stands_in: Option<CellRef>,
}

#[derive(Default)]
struct Tally {
    entries: AtomicI64,
    /// Of their keys, beyond the entries themselves.
    heap_bytes: AtomicI64,
}

impl Index {
    pub(crate) fn new(def: IndexDef, disc_only: bool) -> Index {
        let tallies = (0..STRIPES).map(|_| CachePadded::default()).collect();
        let stands_in = disc_only.then(|| CellRef::new(Cell::new(Key::from_encoded(&[]))));
        Index { def, tree: Tree::new(), tallies, stands_in }
    }

    /// The key of the row that an entry is of.
    pub(crate) fn key_of(&self, entry: &Key) -> Option<Key> {
        let values = if self.def.multi { 1 } else { self.def.attributes.len() };
        entry.split_after(values).ok().map(|(_, key)| Key::from_encoded(key))
    }

    /// The entries of one row. None where one would be too long, which `Store::prepare` refuses before anything is stored.
    fn entries_of(&self, table: &TableDef, key: &Key, row: &Row) -> impl Iterator<Item = Key> {
        let values = table.index_keys(&self.def, row).unwrap_or_default();
        values.into_iter().map(move |value| value.join(key))
    }

    /// Whether a row of the key has this entry.
    pub(crate) fn holds(&self, table: &TableDef, key: &Key, row: &Row, entry: &Key) -> bool {
        if self.def.multi {
            return self.entries_of(table, key, row).any(|own| own == *entry);
        }
        let values = self.def.attributes.iter().map(|&position| table.value_of(row, position));
        let value = Key::encode_refs(values);
        value.is_ok_and(|value| value.join(key) == *entry)
    }

    /// The entries of all rows of a key, each once.
    pub(crate) fn entries(&self, table: &TableDef, key: &Key, body: Option<&Body>) -> Vec<Key> {
        let rows = body.map_or(&[][..], Body::rows);
        let mut entries: Vec<Key> = rows.iter().flat_map(|row| self.entries_of(table, key, row)).collect();
        if entries.len() > 1 {
            entries.sort_unstable();
            entries.dedup();
        }
        entries
    }

    /// Puts an entry in, or points an old one to this cell (the key may have died and been born again meanwhile). As whatever
    /// changes its entries, by whoever may write the row's key.
    pub(crate) fn put(&self, entry: &Key, cell: &CellRef, guard: &LocalGuard<'_>) {
        if self.tree.put(entry, self.stands_in.as_ref().unwrap_or(cell), guard) {
            self.count(entry, 1, guard);
        }
    }

    /// As [`Index::put`], for a row that is not in memory.
    pub(crate) fn put_alone(&self, entry: &Key, guard: &LocalGuard<'_>) {
        if let Some(cell) = &self.stands_in {
            self.put(entry, cell, guard);
        }
    }

    pub(crate) fn remove(&self, entry: &Key, guard: &LocalGuard<'_>) {
        if self.tree.remove(entry, guard) {
            self.count(entry, -1, guard);
        }
    }

    /// Takes all entries out. Nobody puts any in meanwhile.
    pub(crate) fn clear(&self, guard: &LocalGuard<'_>) {
        self.tree.clear(guard);
        for tally in &self.tallies {
            tally.entries.store(0, Ordering::Relaxed);
            tally.heap_bytes.store(0, Ordering::Relaxed);
        }
    }

    fn count(&self, entry: &Key, more: i64, guard: &LocalGuard<'_>) {
        let tally = &self.tallies[guard.thread_id() % STRIPES];
        tally.entries.fetch_add(more, Ordering::Relaxed);
        let heap_bytes = entry.heap_bytes() as i64;
        if heap_bytes != 0 {
            tally.heap_bytes.fetch_add(more * heap_bytes, Ordering::Relaxed);
        }
    }

    fn sum(&self, of: impl Fn(&Tally) -> &AtomicI64) -> usize {
        self.tallies.iter().map(|tally| of(tally).load(Ordering::Relaxed)).sum::<i64>().max(0) as usize
    }

    /// Its entries, those included that no row has any more and that are kept a little longer. O(1).
    pub(crate) fn len(&self) -> u64 {
        self.sum(|tally| &tally.entries) as u64
    }

    /// Bytes it holds. O(1).
    pub(crate) fn bytes(&self) -> usize {
        let keys = self.sum(|tally| &tally.heap_bytes);
        size_of::<Index>() + size_of_val(&*self.tallies) + self.tree.bytes() + keys
    }

    /// The keys whose rows may have this value.
    pub(crate) fn maybe(&self, value: &Key, guard: &LocalGuard<'_>) -> Vec<Key> {
        let mut keys = Vec::new();
        let walked =
            walk_tree(&self.tree, &KeyRange::prefix(value), Direction::Forward, guard, |entry, _| {
                keys.extend(self.key_of(entry));
                Ok(ControlFlow::Continue(()))
            });
        walked.expect("looking at entries waits for nobody");
        keys
    }
}
