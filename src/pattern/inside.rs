//! Patterns inside transactions, for threads and for tasks: they see the transaction's own writes, and what they did not
//! find guards the commit as what they found does.

use std::borrow::Borrow;

use hypermnesia_query::Pattern;
use hypermnesia_store::Value;

use super::{change, plan, projected};
use crate::async_transaction::AsyncTransaction;
use crate::error::Result;
use crate::shape::Shape;
use crate::table::Table;
use crate::transaction::Transaction;

/// Rows by a pattern, own writes included.
impl Transaction {
    /// The rows of a pattern.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::Query`](crate::Error::Query) for a pattern that does not fit the table.
    pub fn matching<S: Shape>(
        &mut self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
    ) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let found = self.step(|attempt, waker| change::search(attempt, waker, &open, &plan))?;
        found.iter().map(|(_, row)| S::decode(open.def(), row)).collect()
    }

    /// Some attributes of the rows of a pattern, in this order.
    ///
    /// # Errors
    /// As [`Transaction::matching`].
    pub fn project<S: Shape>(
        &mut self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        attributes: &[&str],
    ) -> Result<Vec<Vec<Value>>> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let positions = plan.positions(attributes)?;
        let found = self.step(|attempt, waker| change::search(attempt, waker, &open, &plan))?;
        Ok(found.iter().map(|(_, row)| projected(row, &positions)).collect())
    }

    /// How many rows a pattern has.
    ///
    /// # Errors
    /// As [`Transaction::matching`].
    pub fn count_matching<S: Shape>(&mut self, table: &Table<S>, pattern: impl Into<Pattern>) -> Result<u64> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let found = self.step(|attempt, waker| change::search(attempt, waker, &open, &plan))?;
        Ok(found.len() as u64)
    }

    /// Deletes the rows of a pattern and says how many there were.
    ///
    /// # Errors
    /// As [`Transaction::matching`]; [`Error::TooLarge`](crate::Error::TooLarge), and then none is deleted.
    pub fn delete_matching<S: Shape>(
        &mut self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
    ) -> Result<u64> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        self.step(|attempt, waker| change::delete(attempt, waker, &open, &plan))
    }

    /// Gives attributes of the rows of a pattern new values and says how many rows that were. See
    /// [`Table::update_matching`].
    ///
    /// # Errors
    /// As [`Transaction::delete_matching`]; [`Error::NoSuchAttribute`](crate::Error::NoSuchAttribute),
    /// [`Error::Row`](crate::Error::Row); then no row is changed.
    pub fn update_matching<S: Shape>(
        &mut self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        changes: &[(&str, Value)],
    ) -> Result<u64> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let changes = change::changes_of(open.def(), changes)?;
        self.step(|attempt, waker| {
            change::replace(attempt, waker, &open, &plan, &mut |row| {
                change::changed(open.def(), row, &changes)
            })
        })
    }

    /// Puts what `change` makes of each row of a pattern in its place and says how many rows that were. See
    /// [`Table::replace_matching`].
    ///
    /// # Errors
    /// As [`Transaction::delete_matching`]; [`Error::Aborted`](crate::Error::Aborted) when a row got another key.
    pub fn replace_matching<S: Shape>(
        &mut self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        mut change: impl FnMut(S::Shown) -> S::Shown,
    ) -> Result<u64>
    where
        S::Shown: Borrow<S::Given>,
    {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        self.step(|attempt, waker| {
            change::replace(attempt, waker, &open, &plan, &mut |row| {
                S::encode(open.def(), change(S::decode(open.def(), row)?).borrow())
            })
        })
    }
}

/// Rows by a pattern, own writes included.
impl AsyncTransaction {
    /// See [`Transaction::matching`].
    ///
    /// # Errors
    /// As there.
    pub async fn matching<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
    ) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let found = self.step(|attempt, waker| change::search(attempt, waker, &open, &plan)).await?;
        found.iter().map(|(_, row)| S::decode(open.def(), row)).collect()
    }

    /// See [`Transaction::project`].
    ///
    /// # Errors
    /// As there.
    pub async fn project<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        attributes: &[&str],
    ) -> Result<Vec<Vec<Value>>> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let positions = plan.positions(attributes)?;
        let found = self.step(|attempt, waker| change::search(attempt, waker, &open, &plan)).await?;
        Ok(found.iter().map(|(_, row)| projected(row, &positions)).collect())
    }

    /// See [`Transaction::count_matching`].
    ///
    /// # Errors
    /// As there.
    pub async fn count_matching<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
    ) -> Result<u64> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let found = self.step(|attempt, waker| change::search(attempt, waker, &open, &plan)).await?;
        Ok(found.len() as u64)
    }

    /// See [`Transaction::delete_matching`].
    ///
    /// # Errors
    /// As there.
    pub async fn delete_matching<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
    ) -> Result<u64> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        self.step(|attempt, waker| change::delete(attempt, waker, &open, &plan)).await
    }

    /// See [`Transaction::update_matching`].
    ///
    /// # Errors
    /// As there.
    pub async fn update_matching<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        changes: &[(&str, Value)],
    ) -> Result<u64> {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        let changes = change::changes_of(open.def(), changes)?;
        self.step(|attempt, waker| {
            change::replace(attempt, waker, &open, &plan, &mut |row| {
                change::changed(open.def(), row, &changes)
            })
        })
        .await
    }

    /// See [`Transaction::replace_matching`].
    ///
    /// # Errors
    /// As there.
    pub async fn replace_matching<S: Shape>(
        &self,
        table: &Table<S>,
        pattern: impl Into<Pattern>,
        mut change: impl FnMut(S::Shown) -> S::Shown,
    ) -> Result<u64>
    where
        S::Shown: Borrow<S::Given>,
    {
        let open = table.open()?;
        let plan = plan(&open, &pattern.into())?;
        self.step(|attempt, waker| {
            change::replace(attempt, waker, &open, &plan, &mut |row| {
                S::encode(open.def(), change(S::decode(open.def(), row)?).borrow())
            })
        })
        .await
    }
}
