//! Many keys of a table at one snapshot, under one guard: by the order of keys or of an index, or in none.

use std::ops::ControlFlow;

use seize::LocalGuard;

use super::{Direction, Table};
use crate::cell::CellAt;
use crate::clock::Timestamp;
use crate::ids::IndexId;
use crate::index::Index;
use crate::key::{Key, KeyRange};
use crate::row::Body;
use crate::tree::walk_tree;
use crate::work::Blocked;

impl Table {
    /// Shows every key in the range at a live snapshot, in key order for ordered tables and in no order for others, until
    /// told to stop. Of a table in memory it holds one guard all the while: for long work in between use [`Table::cursor`].
    ///
    /// # Errors
    /// As [`Table::read`]; keys shown before stay shown.
    pub fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        at: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        self.check_version()?;
        self.check_kept(at)?;
        if let Some(backing) = &self.rows.backing {
            self.each_place(backing, range, direction, |key, place| {
                // No guard longer than for this row: the disc is read in between.
                Ok(match place.read(at, &self.pin())? {
                    Some((body, version)) => show(key, &self.whole(&body), version),
                    None => ControlFlow::Continue(()),
                })
            })?;
            return self.check_kept(at);
        }
        let guard = self.pin();
        let each = |cell: CellAt<'_>| {
            Ok(match cell.read(at, &guard)? {
                Some((body, version)) => show(&cell.key, &self.whole(&body), version),
                None => ControlFlow::Continue(()),
            })
        };
        self.walk(range, direction, &guard, each)?;
        // Rows may have gone all at once meanwhile.
        self.check_kept(at)
    }

    /// Every cell in a range: of a table on disc alone what is in memory.
    pub(crate) fn walk(
        &self,
        range: &KeyRange,
        direction: Direction,
        guard: &LocalGuard<'_>,
        mut each: impl FnMut(CellAt<'_>) -> Result<ControlFlow<()>, Blocked>,
    ) -> Result<(), Blocked> {
        match &self.rows.tree {
            Some(tree) => walk_tree(tree, range, direction, guard, |_, cell| each(cell)),
            None if *range == KeyRange::all() => self.rows.cells.each(guard, each),
            None => self.rows.cells.each(guard, |cell| match range.contains(&cell.key) {
                true => each(cell),
                false => Ok(ControlFlow::Continue(())),
            }),
        }
    }

    /// Shows every key with a row whose index entry (index key, then primary key) is in the range, in the order of entries,
    /// until told to stop. A bag's key is shown once per entry, with the rows of that entry.
    ///
    /// # Errors
    /// As [`Table::read`], and [`Blocked::SchemaChanged`] when there is no such index (any more).
    pub fn visit_index(
        &self,
        index: IndexId,
        range: &KeyRange,
        direction: Direction,
        at: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        self.check_version()?;
        self.check_kept(at)?;
        let index = self.index(index).ok_or(Blocked::SchemaChanged(self.id()))?;
        if self.rows.backing.is_some() {
            self.visit_entries(index, range, direction, at, show)?;
            return self.check_kept(at);
        }
        let guard = self.pin();
        walk_tree(&index.tree, range, direction, &guard, |entry, cell| {
            Ok(match cell.read(at, &guard)? {
                Some((body, version)) => match self.matching(index, entry, &cell.key, &body) {
                    Some(body) => show(&cell.key, &self.whole(&body), version),
                    None => ControlFlow::Continue(()),
                },
                None => ControlFlow::Continue(()),
            })
        })?;
        self.check_kept(at)
    }

    /// The rows of a key that belong to this index entry.
    pub(crate) fn matching(&self, index: &Index, entry: &Key, key: &Key, body: &Body) -> Option<Body> {
        let fits = |row: &&crate::row::Row| index.holds(&self.def, key, row, entry);
        match body {
            Body::Row(row) => fits(&row).then(|| body.clone()),
            Body::Bag(rows) => {
                let rows: Vec<_> = rows.iter().filter(fits).cloned().collect();
                (!rows.is_empty()).then(|| Body::Bag(rows.into()))
            }
        }
    }
}
