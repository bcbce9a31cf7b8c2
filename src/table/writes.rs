//! Writes outside a transaction: what is offered. How they are done is in `alone`.

use hypermnesia_store::{Key, Row, TableDef, Timestamp, Value};

use super::Table;
use crate::decision::{self, Expected};
use crate::error::Result;
use crate::limits::SCHEMA_DEADLINE_DEFAULT;
use crate::operation::Count;
use crate::options::{Lifetime, TxOptions};
use crate::shape::{Shape, ShapeKey};
use crate::transaction::{self, Transaction};

/// Writes outside a transaction: each is a transaction of its own, retried inside, or one step under the key's lock where
/// the only copy is here. When it returns, every copy has it at the table's ack level. Errors as in [`Node::transaction`](crate::Node::transaction).
impl<S: Shape> Table<S> {
    pub(crate) fn run<T>(&self, operation: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        transaction::run(&self.core, &TxOptions::default(), operation)
    }

    /// Puts a row: replaces the row of its key; in a bag it is added unless an identical one is there.
    ///
    /// # Errors
    /// As a transaction, and [`Error::Row`](crate::Error::Row).
    pub fn insert(&self, row: &S::Given) -> Result<()> {
        self.insert_with(row, Lifetime::OfTable)
    }

    /// Puts a row with a lifetime of its own.
    ///
    /// # Errors
    /// As [`Table::insert`]; [`Error::WrongKind`](crate::Error::WrongKind) on a bag.
    pub fn insert_with(&self, row: &S::Given, lifetime: Lifetime) -> Result<()> {
        match self.put_alone(row, lifetime)? {
            true => Ok(()),
            false => self.run(|tx| tx.insert_with(self, row, lifetime)),
        }
    }

    /// Gives the row of a key another lifetime, counted from now; says whether there is such a row.
    ///
    /// # Errors
    /// As a transaction; [`Error::WrongKind`](crate::Error::WrongKind) on a bag.
    pub fn set_lifetime<Q: ?Sized>(&self, key: &Q, lifetime: Lifetime) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        self.alter(&self.key(key)?, |def, held| decision::retime(def, held, lifetime))
    }

    /// Puts a row if its key has none; says whether it did.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert_new(&self, row: &S::Given) -> Result<bool> {
        let (key, row) = self.encoded(row)?;
        self.alter(&key, |def, held| decision::put_new(def, held, &row, Lifetime::OfTable))
    }

    /// Deletes the row of a key, or all rows of it in a bag.
    ///
    /// # Errors
    /// As a transaction.
    pub fn delete<Q: ?Sized>(&self, key: &Q) -> Result<()>
    where
        S: ShapeKey<Q>,
    {
        match self.delete_alone(&self.key(key)?)? {
            true => Ok(()),
            false => self.run(|tx| tx.delete(self, key)),
        }
    }

    /// Deletes this row if it is there exactly so; says whether it was.
    ///
    /// # Errors
    /// As a transaction.
    pub fn delete_object(&self, row: &S::Given) -> Result<bool> {
        let (key, row) = self.encoded(row)?;
        self.alter(&key, |def, held| Ok(decision::delete_object(def, held, &row)))
    }

    /// Deletes the rows of a key and gives them back.
    ///
    /// # Errors
    /// As a transaction.
    pub fn take<Q: ?Sized>(&self, key: &Q) -> Result<Vec<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        let rows = self.alter(&self.key(key)?, |_, held| Ok(decision::take(held)))?;
        let open = self.open()?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// Puts `new` (or deletes, when `None`) if the row of the key is `expected` (or absent, when `None`).
    ///
    /// # Errors
    /// As a transaction; [`Error::WrongKind`](crate::Error::WrongKind) on a bag.
    pub fn compare_and_swap<Q: ?Sized>(
        &self,
        key: &Q,
        expected: Option<&S::Given>,
        new: Option<&S::Given>,
    ) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        let encode = |row| self.encoded(row).map(|(_, row)| row);
        let (expected, new) = (expected.map(encode).transpose()?, new.map(encode).transpose()?);
        let (key, expected) = (self.key(key)?, expected.as_ref().map_or(Expected::Absent, Expected::Row));
        self.alter(&key, |def, held| {
            decision::swap(def, held, Timestamp::NEVER, &key, &expected, new.as_ref())
        })
    }

    /// Changes attributes of the row of a key; says whether there is one.
    ///
    /// # Errors
    /// As a transaction; [`Error::NoSuchAttribute`](crate::Error::NoSuchAttribute), [`Error::Row`](crate::Error::Row).
    pub fn update_attributes<Q: ?Sized>(&self, key: &Q, changes: &[(&str, Value)]) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        self.alter(&self.key(key)?, |def, held| decision::update(def, held, changes))
    }

    /// Adds to integer attributes of the row of a key, or of the default row when there is none, and gives the sums.
    ///
    /// # Errors
    /// As a transaction; [`Error::NoSuchAttribute`](crate::Error::NoSuchAttribute), [`Error::Row`](crate::Error::Row).
    pub fn update_counter<Q: ?Sized>(
        &self,
        key: &Q,
        counts: &[Count],
        default: Option<&S::Given>,
    ) -> Result<Option<Vec<i64>>>
    where
        S: ShapeKey<Q>,
    {
        let (default, key) = (default.map(|row| self.encoded(row)).transpose()?, self.key(key)?);
        if default.as_ref().is_none_or(|(own, _)| *own == key)
            && let Some(sums) = self.count_in_place(&key, counts)?
        {
            return Ok(Some(sums));
        }
        let default = default.map(|(_, row)| row);
        self.alter(&key, |def, held| decision::count(def, held, &key, counts, default.as_ref()))
    }

    /// Adds to one integer attribute and gives the sum; `None` when the key has no row.
    ///
    /// # Errors
    /// As [`Table::update_counter`].
    pub fn increment<Q: ?Sized>(&self, key: &Q, attribute: &str, by: i64) -> Result<Option<i64>>
    where
        S: ShapeKey<Q>,
    {
        if let Some(sum) = self.increment_alone(key, attribute, by) {
            return Ok(Some(sum));
        }
        self.increment_anyhow(&self.key(key)?, attribute, by)
    }

    #[cold]
    fn increment_anyhow(&self, found: &Key, attribute: &str, by: i64) -> Result<Option<i64>> {
        let count = [Count::new(attribute.to_owned(), by)];
        let sums = self.alter(found, |def, held| decision::count(def, held, found, &count, None))?;
        Ok(sums.and_then(|sums| sums.first().copied()))
    }

    fn count_in_place(&self, key: &Key, counts: &[Count]) -> Result<Option<Vec<i64>>> {
        let prepare = |def: &TableDef| decision::positions_of(def, counts);
        let decide = |def: &TableDef, row: &Row, positions: decision::Positions| {
            decision::count_in_place(def, row, counts, &positions)
        };
        self.count_alone(key, prepare, decide)
    }

    /// Takes every row away in one step, whatever their number: on all copies, or of a local table those of this node.
    /// Writers of the table wait for it; readers see all rows or none; subscribers hear of every row that went. Snapshots
    /// of before say [`Error::SchemaChanged`](crate::Error::SchemaChanged) when they look into the table. Inside a transaction with others, see [`Transaction::clear`].
    ///
    /// # Errors
    /// As a transaction; [`Error::NoCopy`](crate::Error::NoCopy).
    pub fn clear(&self) -> Result<()> {
        let open = self.open()?;
        crate::alter::clear(&self.core, &open, SCHEMA_DEADLINE_DEFAULT)
    }

    /// Puts a row without looking at what is there: a blind write on the same path, so that replicas end equal.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn dirty_put(&self, row: &S::Given) -> Result<()> {
        self.insert(row)
    }

    /// Deletes without looking at what is there.
    ///
    /// # Errors
    /// As [`Table::delete`].
    pub fn dirty_delete<Q: ?Sized>(&self, key: &Q) -> Result<()>
    where
        S: ShapeKey<Q>,
    {
        self.delete(key)
    }

    /// As [`Table::dirty_put`], and every copy has applied it when it returns.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn dirty_sync_put(&self, row: &S::Given) -> Result<()> {
        transaction::run(&self.core, &TxOptions::new().sync(), |tx| tx.insert(self, row))
    }
}
