//! Rows with their versions, and many rows as one step, outside a transaction.

use hypermnesia_replication::Outcome;
use hypermnesia_store::{Body, TableDef, Timestamp};

use super::Table;
use crate::error::Result;
use crate::shape::{Shape, ShapeKey};
use crate::version::Versioned;

impl<S: Shape> Table<S> {
    /// The row of a key with its version; of a bag the oldest row, with the version of the key. See [`Versioned`].
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_versioned<Q: ?Sized>(&self, key: &Q) -> Result<Option<Versioned<S::Shown>>>
    where
        S: ShapeKey<Q>,
    {
        let first = |def: &TableDef, body: &Body, version: Timestamp| {
            let row = body.rows().first().map(|row| S::decode(def, row))?;
            Some(row.map(|row| Versioned { row, version }))
        };
        self.surely_shown(key, first)?.flatten().transpose()
    }

    /// Puts `new` (or deletes, when `None`) if the key has a row of this version, and gives the version that the key has
    /// then; `None` when it has another one, or no row, and nothing was changed. See [`Versioned`].
    ///
    /// # Errors
    /// As a transaction; [`Error::WrongKind`](crate::Error::WrongKind) on a bag.
    pub fn swap_if_version<Q: ?Sized>(
        &self,
        key: &Q,
        version: Timestamp,
        new: Option<&S::Given>,
    ) -> Result<Option<Timestamp>>
    where
        S: ShapeKey<Q>,
    {
        let mut last_run = None;
        let swapped = self.run(|tx| {
            last_run = Some(tx.id());
            tx.swap_if_version(self, key, version, new)
        })?;
        let committed = last_run.filter(|_| swapped).map(|run| self.core.outcome(run));
        Ok(committed.map(|outcome| match outcome {
            Outcome::Committed(at) => at,
            // Outcomes are kept for minutes: one that is gone already says no more than that it was committed.
            Outcome::Aborted | Outcome::Unknown => Timestamp::NEVER,
        }))
    }

    /// Puts many rows, all or none.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert_many<'r>(&self, rows: impl IntoIterator<Item = &'r S::Given> + Clone) -> Result<()>
    where
        S::Given: 'r,
    {
        self.run(|tx| tx.insert_many(self, rows.clone()))
    }

    /// Puts many rows, all if none of their keys has a row, else none; says whether it did. Of several rows with one key
    /// the last one stays; in a bag all do.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert_new_many<'r>(&self, rows: impl IntoIterator<Item = &'r S::Given> + Clone) -> Result<bool>
    where
        S::Given: 'r,
    {
        self.run(|tx| tx.insert_new_many(self, rows.clone()))
    }
}
