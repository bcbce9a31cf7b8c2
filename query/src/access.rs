//! What a query needs from whoever holds the rows. The engine implements it over a snapshot (reads) and over a transaction
//! (reads that see its own writes, and writes). Everything is `&self`, because a join looks up inner rows from within the
//! visit of an outer row: an implementation must not hold a lock across a call of the visitor.

use std::ops::ControlFlow;
use std::sync::Arc;

use hypermnesia_store::{IndexDef, Key, KeyRange, Row, TableDef};

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the greatest key down.
    Backward,
}

/// Called for each row found. `Break` ends the scan at once; that is no error.
pub type Visit<'a> = dyn FnMut(&Row) -> ControlFlow<()> + 'a;

/// The rows of one snapshot or transaction. All calls of one execution must see the same state, own writes included.
pub trait Access {
    /// What can go wrong below; passed through to the caller of the query as [`crate::Error::Access`].
    type Error;

    /// The definition of the table with exactly this name.
    ///
    /// # Errors
    /// Whatever stands in the way of answering.
    fn table(&self, name: &str) -> Result<Option<Arc<TableDef>>, Self::Error>;

    /// All tables, for SHOW TABLES, for finding the table of an index, and for suggestions in messages.
    ///
    /// # Errors
    /// As [`Access::table`].
    fn tables(&self) -> Result<Vec<Arc<TableDef>>, Self::Error>;

    /// About how many rows the table has. Only costs are judged by it, so it may be late.
    fn row_count(&self, table: &TableDef) -> u64;

    /// The row of this key, or the rows of a bag in their order.
    ///
    /// # Errors
    /// As [`Access::table`].
    fn get(&self, table: &TableDef, key: &Key, visit: &mut Visit<'_>) -> Result<(), Self::Error>;

    /// All rows whose key lies in the range. An ordered set is walked in the order of its keys; of the other kinds only
    /// [`KeyRange::all`] is asked for, in any order (a bag's rows of one key together, in their order).
    ///
    /// # Errors
    /// As [`Access::table`].
    fn scan(
        &self,
        table: &TableDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Self::Error>;

    /// All rows whose entry (index key with the primary key behind it) lies in the range, in the order of entries.
    ///
    /// # Errors
    /// As [`Access::table`].
    fn index_scan(
        &self,
        table: &TableDef,
        index: &IndexDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Self::Error>;

    /// Asked now and then while rows are joined that were read before, so that a deadline ends also what touches no table.
    ///
    /// # Errors
    /// Whatever ends the execution; nothing by default.
    fn check(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Puts the row under its key: replaces the row of a set, adds to a bag.
    ///
    /// # Errors
    /// As [`Access::table`], and that nothing can be written here.
    fn put(&self, table: &TableDef, key: &Key, row: Row) -> Result<(), Self::Error>;

    /// Puts a row in the place of one whose attributes it changes: as it is, with the deadline it carries.
    ///
    /// # Errors
    /// As [`Access::put`].
    fn replace(&self, table: &TableDef, key: &Key, row: Row) -> Result<(), Self::Error> {
        self.put(table, key, row)
    }

    /// Deletes the row of this key, of a bag all of them.
    ///
    /// # Errors
    /// As [`Access::put`].
    fn delete(&self, table: &TableDef, key: &Key) -> Result<(), Self::Error>;

    /// Deletes this one row of a bag.
    ///
    /// # Errors
    /// As [`Access::put`].
    fn delete_row(&self, table: &TableDef, key: &Key, row: &Row) -> Result<(), Self::Error>;
}
