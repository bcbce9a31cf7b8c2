//! One secondary index of a table: entries of (index key, then primary key) to the row's cell. An entry is there from
//! before the first mark that needs it is proposed until no kept version has its value, and a while longer (`history`), so
//! it says *maybe*: readers look at the version they see and compare. This file never decides what is visible.

use std::ops::ControlFlow;

use scc::TreeIndex;
use seize::LocalGuard;

use crate::cell::CellRef;
use crate::key::{Key, KeyRange};
use crate::row::{Body, Row};
use crate::schema::{IndexDef, TableDef};
use crate::table::Direction;
use crate::tree::walk_tree;

pub(crate) struct Index {
    pub(crate) def: IndexDef,
    pub(crate) tree: TreeIndex<Key, CellRef>,
}

impl Index {
    pub(crate) fn new(def: IndexDef) -> Index {
        Index { def, tree: TreeIndex::new() }
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

    /// Puts an entry in, or points an old one to this cell (the key may have died and been born again meanwhile).
    pub(crate) fn put(&self, entry: &Key, cell: &CellRef) {
        let known = self.tree.peek_with(entry, |_, known| CellRef::ptr_eq(known, cell));
        match known {
            Some(true) => {}
            Some(false) => self.tree.upsert_sync(entry.clone(), CellRef::clone(cell)),
            None => {
                if let Err((entry, cell)) = self.tree.insert_sync(entry.clone(), CellRef::clone(cell)) {
                    self.tree.upsert_sync(entry, cell);
                }
            }
        }
    }

    pub(crate) fn remove(&self, entry: &Key) {
        self.tree.remove_sync(entry);
    }

    /// The cells whose rows may have this value.
    pub(crate) fn maybe(&self, value: &Key, guard: &LocalGuard<'_>) -> Vec<CellRef> {
        let mut cells = Vec::new();
        let walked = walk_tree(&self.tree, &KeyRange::prefix(value), Direction::Forward, guard, |_, cell| {
            cells.push(CellRef::clone(cell));
            Ok(ControlFlow::Continue(()))
        });
        walked.expect("looking at entries waits for nobody");
        cells
    }
}
