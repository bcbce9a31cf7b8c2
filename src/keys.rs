//! Whole tables, key by key and row by row: keys and folds from either end. Outside a transaction each reads one snapshot.

use std::ops::ControlFlow;

use hypermnesia_store::{Body, Key};

use crate::async_transaction::AsyncTransaction;
use crate::error::Result;
use crate::operation::{self, ordered_unless_all};
use crate::options::Span;
use crate::shape::{KeyShape, Shape};
use crate::snapshot::Snapshot;
use crate::table::Table;
use crate::transaction::Transaction;

/// Keys and folds, in one snapshot.
///
/// ```
/// use hypermnesia::{Kind, Node, TableDef, Type, Value};
/// let node = Node::builder().build()?;
/// let words = TableDef::builder("words").kind(Kind::OrderedSet).attribute("n", Type::Int).attribute("word", Type::Text);
/// let words = node.create_table(words)?;
/// for (n, word) in [(2, "there"), (1, "hello")] {
///     words.insert(&[Value::Int(n), word.into()])?;
/// }
/// assert_eq!(words.keys()?, [[Value::Int(1)], [Value::Int(2)]]);
/// let text = |mut text: String, row: Vec<Value>| {
///     text.push_str(&row[1].to_string());
///     text
/// };
/// assert_eq!(words.foldl(String::new(), text)?, "'hello''there'");
/// assert_eq!(words.foldr(String::new(), text)?, "'there''hello'");
/// # Ok::<(), hypermnesia::Error>(())
/// ```
impl<S: Shape> Table<S> {
    /// Every key, once; of an ordered set in their order.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn keys(&self) -> Result<Vec<S::Key>>
    where
        S: KeyShape,
    {
        self.here_or(|snapshot| snapshot.keys(self, &Span::all()), || self.run(|tx| tx.keys(self)))
    }

    /// Every row, one after another, into one value; of an ordered set from the smallest key.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::SchemaChanged`](crate::Error::SchemaChanged) when the definition changes, or the table is
    /// cleared, in the middle: what was folded cannot be taken back, so it is not made again by itself.
    pub fn foldl<T>(&self, start: T, each: impl FnMut(T, S::Shown) -> T) -> Result<T> {
        self.folded(&Span::all(), start, each)
    }

    /// As [`Table::foldl`], of an ordered set from the greatest key. The other kinds have no order, and this is the same.
    ///
    /// # Errors
    /// As there.
    pub fn foldr<T>(&self, start: T, each: impl FnMut(T, S::Shown) -> T) -> Result<T> {
        self.folded(&Span::all().backward(), start, each)
    }

    fn folded<T>(&self, span: &Span, start: T, each: impl FnMut(T, S::Shown) -> T) -> Result<T> {
        match self.is_remote()? {
            true => Ok(self.range(span)?.into_iter().fold(start, each)),
            false => Snapshot::take(&self.core)?.fold(self, span, start, each),
        }
    }
}

impl Snapshot {
    /// Every key within a span, once.
    ///
    /// # Errors
    /// As [`Snapshot::each`].
    pub fn keys<S: KeyShape>(&self, table: &Table<S>, span: &Span) -> Result<Vec<S::Key>> {
        let open = table.open()?;
        ordered_unless_all(open.def(), &span.range, "a range")?;
        let mut found: Vec<(Key, Body)> = Vec::new();
        self.visit(&open, span, |key, body| {
            found.push((key.clone(), body.clone()));
            ControlFlow::Continue(())
        })?;
        keys_of::<S>(open.def(), &found)
    }

    /// Every row within a span, one after another, into one value.
    ///
    /// # Errors
    /// As [`Snapshot::each`].
    pub fn fold<S: Shape, T>(
        &self,
        table: &Table<S>,
        span: &Span,
        start: T,
        mut each: impl FnMut(T, S::Shown) -> T,
    ) -> Result<T> {
        // Always there but while `each` has it.
        let mut folded = Some(start);
        self.each(table, span, |row| {
            folded = folded.take().map(|so_far| each(so_far, row));
            ControlFlow::Continue(())
        })?;
        Ok(folded.expect("each gives back what it takes"))
    }
}

fn keys_of<S: KeyShape>(def: &hypermnesia_store::TableDef, found: &[(Key, Body)]) -> Result<Vec<S::Key>> {
    let first = |(key, body): &(Key, Body)| body.rows().first().map(|row| S::key_of(def, key, row));
    found.iter().filter_map(first).collect()
}

impl Transaction {
    /// Every key, once, own writes included; of an ordered set in their order.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn keys<S: KeyShape>(&mut self, table: &Table<S>) -> Result<Vec<S::Key>> {
        let open = table.open()?;
        let found = self.step(|attempt, waker| operation::scan(attempt, waker, table, &Span::all()))?;
        keys_of::<S>(open.def(), &found)
    }

    /// As [`Transaction::fold`], of an ordered set from the greatest key.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn foldr<S: Shape, T>(
        &mut self,
        table: &Table<S>,
        start: T,
        each: impl FnMut(T, S::Shown) -> T,
    ) -> Result<T> {
        Ok(self.range(table, &Span::all().backward())?.into_iter().fold(start, each))
    }
}

/// Keys and the rest of the folds, own writes included.
impl AsyncTransaction {
    /// See [`Transaction::keys`].
    ///
    /// # Errors
    /// As there.
    pub async fn keys<S: KeyShape>(&self, table: &Table<S>) -> Result<Vec<S::Key>> {
        let open = table.open()?;
        let found = self.step(|attempt, waker| operation::scan(attempt, waker, table, &Span::all())).await?;
        keys_of::<S>(open.def(), &found)
    }

    /// See [`Transaction::foldr`].
    ///
    /// # Errors
    /// As there.
    pub async fn foldr<S: Shape, T>(
        &self,
        table: &Table<S>,
        start: T,
        each: impl FnMut(T, S::Shown) -> T,
    ) -> Result<T> {
        Ok(self.range(table, &Span::all().backward()).await?.into_iter().fold(start, each))
    }

    /// See [`Transaction::select`].
    ///
    /// # Errors
    /// As there.
    pub async fn select<S: Shape>(
        &self,
        table: &Table<S>,
        keep: impl Fn(&S::Shown) -> bool,
    ) -> Result<Vec<S::Shown>> {
        let mut rows = self.range(table, &Span::all()).await?;
        rows.retain(|row| keep(row));
        Ok(rows)
    }
}
