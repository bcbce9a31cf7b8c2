//! Rows with their versions, and many rows as one step.

use hypermnesia_store::{Row, Timestamp};

use super::Transaction;
use crate::decision::Expected;
use crate::error::Result;
use crate::operation;
use crate::options::Lifetime;
use crate::shape::{Shape, ShapeKey};
use crate::table::Table;
use crate::version::Versioned;

impl Transaction {
    /// The row of a key with its version; of a bag the oldest row, with the version of the key.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_versioned<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<Versioned<S::Shown>>> {
        let Versioned { row, version } = self.read_versioned(table, key)?;
        Ok(row.into_iter().next().map(|row| Versioned { row, version }))
    }

    /// All rows of a key, with the key's version.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn read_versioned<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Versioned<Vec<S::Shown>>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let found = self.step(|attempt, waker| operation::versioned(attempt, waker, table, &key))?;
        let shown = found.row.iter().map(|row| S::decode(open.def(), row)).collect::<Result<_>>()?;
        Ok(Versioned { row: shown, version: found.version })
    }

    /// Puts `new` (or deletes, when `None`) if the key has a row of this version; says whether it did. See [`Versioned`].
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::WrongKind`](crate::Error::WrongKind) on a bag.
    pub fn swap_if_version<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        version: Timestamp,
        new: Option<&S::Given>,
    ) -> Result<bool> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let new = new.map(|row| S::encode(open.def(), row)).transpose()?;
        let expected = Expected::Version(version);
        self.step(|attempt, waker| operation::swap(attempt, waker, table, &key, expected, new.clone()))
    }

    /// Puts many rows. One that does not fit is told before any is put.
    ///
    /// # Errors
    /// As [`Transaction::insert`].
    pub fn insert_many<'r, S: Shape>(
        &mut self,
        table: &Table<S>,
        rows: impl IntoIterator<Item = &'r S::Given>,
    ) -> Result<()>
    where
        S::Given: 'r,
    {
        let rows = encoded(table, rows)?;
        self.step(|attempt, _| operation::put_all(attempt, table, &rows, Lifetime::OfTable))
    }

    /// Puts many rows if none of their keys has a row; says whether it did. Of several rows with one key the last one
    /// stays; in a bag all do.
    ///
    /// # Errors
    /// As [`Transaction::insert_new`].
    pub fn insert_new_many<'r, S: Shape>(
        &mut self,
        table: &Table<S>,
        rows: impl IntoIterator<Item = &'r S::Given>,
    ) -> Result<bool>
    where
        S::Given: 'r,
    {
        let rows = encoded(table, rows)?;
        self.step(|attempt, waker| operation::put_all_new(attempt, waker, table, &rows, Lifetime::OfTable))
    }
}

/// The rows in the table's bytes, all of them checked.
pub(crate) fn encoded<'r, S: Shape>(
    table: &Table<S>,
    rows: impl IntoIterator<Item = &'r S::Given>,
) -> Result<Vec<Row>>
where
    S::Given: 'r,
{
    let open = table.open()?;
    rows.into_iter().map(|row| S::encode(open.def(), row)).collect()
}
