//! Rows with their versions, many rows as one step, and the ends of an order, for tasks.

use hypermnesia_store::{Row, Timestamp, Value};

use super::AsyncTransaction;
use crate::decision::Expected;
use crate::error::Result;
use crate::operation;
use crate::options::{Lifetime, Span};
use crate::shape::{Shape, ShapeKey};
use crate::table::Table;
use crate::transaction::encoded;
use crate::version::Versioned;

impl AsyncTransaction {
    /// See [`Transaction::get_versioned`](crate::Transaction::get_versioned).
    ///
    /// # Errors
    /// As there.
    pub async fn get_versioned<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<Versioned<S::Shown>>> {
        let Versioned { row, version } = self.read_versioned(table, key).await?;
        Ok(row.into_iter().next().map(|row| Versioned { row, version }))
    }

    /// See [`Transaction::read_versioned`](crate::Transaction::read_versioned).
    ///
    /// # Errors
    /// As there.
    pub async fn read_versioned<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Versioned<Vec<S::Shown>>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let found = self.step(|attempt, waker| operation::versioned(attempt, waker, table, &key)).await?;
        let shown = found.row.iter().map(|row| S::decode(open.def(), row)).collect::<Result<_>>()?;
        Ok(Versioned { row: shown, version: found.version })
    }

    /// See [`Transaction::swap_if_version`](crate::Transaction::swap_if_version).
    ///
    /// # Errors
    /// As there.
    pub async fn swap_if_version<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
        version: Timestamp,
        new: Option<&S::Given>,
    ) -> Result<bool> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let new = new.map(|row| S::encode(open.def(), row)).transpose()?;
        let expected = Expected::Version(version);
        self.step(|attempt, waker| operation::swap(attempt, waker, table, &key, expected, new.clone())).await
    }

    /// See [`Transaction::insert_many`](crate::Transaction::insert_many).
    ///
    /// # Errors
    /// As there.
    pub async fn insert_many<'r, S: Shape>(
        &self,
        table: &Table<S>,
        rows: impl IntoIterator<Item = &'r S::Given>,
    ) -> Result<()>
    where
        S::Given: 'r,
    {
        let rows = encoded(table, rows)?;
        self.step(|attempt, _| operation::put_all(attempt, table, &rows, Lifetime::OfTable)).await
    }

    /// See [`Transaction::insert_new_many`](crate::Transaction::insert_new_many).
    ///
    /// # Errors
    /// As there.
    pub async fn insert_new_many<'r, S: Shape>(
        &self,
        table: &Table<S>,
        rows: impl IntoIterator<Item = &'r S::Given>,
    ) -> Result<bool>
    where
        S::Given: 'r,
    {
        self.insert_new_many_with(table, rows, Lifetime::OfTable).await
    }

    /// As [`AsyncTransaction::insert_new_many`], with a lifetime of the rows' own. Not for bags.
    ///
    /// # Errors
    /// As there, and [`Error::WrongKind`](crate::Error::WrongKind).
    pub async fn insert_new_many_with<'r, S: Shape>(
        &self,
        table: &Table<S>,
        rows: impl IntoIterator<Item = &'r S::Given>,
        lifetime: Lifetime,
    ) -> Result<bool>
    where
        S::Given: 'r,
    {
        let rows = encoded(table, rows)?;
        self.step(|attempt, waker| operation::put_all_new(attempt, waker, table, &rows, lifetime)).await
    }

    /// See [`Transaction::lookup`](crate::Transaction::lookup).
    ///
    /// # Errors
    /// As there.
    pub async fn lookup<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
        attribute: &str,
        default: Value,
    ) -> Result<Value> {
        let key = table.key(key)?;
        let found = |row: Option<Value>| row.unwrap_or(default);
        self.step(|attempt, waker| operation::lookup(attempt, waker, table, &key, attribute)).await.map(found)
    }

    /// See [`Transaction::fold`](crate::Transaction::fold).
    ///
    /// # Errors
    /// As there.
    pub async fn fold<S: Shape, T>(
        &self,
        table: &Table<S>,
        start: T,
        each: impl FnMut(T, S::Shown) -> T,
    ) -> Result<T> {
        Ok(self.range(table, &Span::all()).await?.into_iter().fold(start, each))
    }

    /// See [`Transaction::first`](crate::Transaction::first).
    ///
    /// # Errors
    /// As there.
    pub async fn first<S: Shape>(&self, table: &Table<S>) -> Result<Option<S::Shown>> {
        self.edge(table, &Span::all(), "first").await
    }

    /// See [`Transaction::last`](crate::Transaction::last).
    ///
    /// # Errors
    /// As there.
    pub async fn last<S: Shape>(&self, table: &Table<S>) -> Result<Option<S::Shown>> {
        self.edge(table, &Span::all().backward(), "last").await
    }

    /// See [`Transaction::next`](crate::Transaction::next).
    ///
    /// # Errors
    /// As there.
    pub async fn next<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<S::Shown>> {
        self.edge(table, &Span::behind(table.key(key)?), "next").await
    }

    /// See [`Transaction::prev`](crate::Transaction::prev).
    ///
    /// # Errors
    /// As there.
    pub async fn prev<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<S::Shown>> {
        self.edge(table, &Span::before(table.key(key)?), "prev").await
    }

    async fn edge<S: Shape>(
        &self,
        table: &Table<S>,
        span: &Span,
        name: &'static str,
    ) -> Result<Option<S::Shown>> {
        let open = table.open()?;
        let row: Option<Row> =
            self.step(|attempt, waker| operation::edge(attempt, waker, table, span, name)).await?;
        row.map(|row| S::decode(open.def(), &row)).transpose()
    }
}
