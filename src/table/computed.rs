//! Rows that are computed when somebody asks for them and they are not there. Who computes and who waits is decided in
//! [`crate::load`].

use std::borrow::Borrow;

use hypermnesia_store::{Key, Row};

use super::Table;
use crate::async_transaction::{self, AsyncTransaction};
use crate::error::{Error, Result};
use crate::load::Asked;
use crate::options::TxOptions;
use crate::shape::{Shape, ShapeKey};

/// What somebody finds who asks for a row.
enum Look<'a, R> {
    There(R),
    Ask(Asked<'a>),
}

impl<S: Shape> Table<S> {
    /// The row of a key, computed if it is not there: `load` runs once on this node however many ask at the same time, and
    /// all share the row it gives, which is inserted, or its error, which is kept nowhere. If another member inserts a row
    /// meanwhile, that one counts.
    ///
    /// ```
    /// use hypermnesia::{Node, TableDef, Type, Value};
    /// let node = Node::builder().build()?;
    /// let def = TableDef::builder("pages").attribute("path", Type::Text).attribute("html", Type::Text);
    /// let pages = node.create_table(def.local().rows_max(1_000).evict())?;
    /// let render = || Ok(vec![Value::from("/"), Value::from("<h1>slow</h1>")]);
    /// assert_eq!(pages.get_or_insert_with(&[Value::from("/")], render)?[1], Value::from("<h1>slow</h1>"));
    /// let never = || -> hypermnesia::Result<Vec<Value>> { unreachable!("it is there") };
    /// assert_eq!(pages.get_or_insert_with(&[Value::from("/")], never)?[1], Value::from("<h1>slow</h1>"));
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `load` fails with; otherwise as [`Table::get`] and [`Table::insert`]; [`Error::Aborted`] when the loaded row has
    /// another key.
    pub fn get_or_insert_with<Q: ?Sized, B>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<B>,
    ) -> Result<S::Shown>
    where
        S: ShapeKey<Q>,
        B: Borrow<S::Given>,
    {
        let open = self.readable()?;
        let encoded = S::encode_key(open.def(), key)?;
        let mut load = Some(load);
        loop {
            let computing = match self.look(key, &encoded)? {
                Look::There(row) => return Ok(row),
                Look::Ask(Asked::First(computing)) => computing,
                Look::Ask(Asked::Other(other)) => match other.wait() {
                    Some(row) => return S::decode(open.def(), &row?),
                    None => continue,
                },
            };
            let load = load.take().expect("only the first one computes, and then returns");
            let row = load().and_then(|row| self.checked(&encoded, row.borrow())).and_then(|row| match self
                .run(|tx| tx.insert_row_new(self, &row))?
            {
                true => Ok(row),
                false => Ok(self.view(key, Row::clone)?.unwrap_or(row)),
            });
            computing.ended(&row);
            return S::decode(open.def(), &row?);
        }
    }

    /// As [`Table::get_or_insert_with`], for tasks: `load` gives a future.
    ///
    /// # Errors
    /// As there.
    pub async fn get_or_insert_async<Q: ?Sized, B, F>(
        &self,
        key: &Q,
        load: impl FnOnce() -> F,
    ) -> Result<S::Shown>
    where
        S: ShapeKey<Q>,
        B: Borrow<S::Given>,
        F: Future<Output = Result<B>>,
    {
        let open = self.readable()?;
        let encoded = S::encode_key(open.def(), key)?;
        let mut load = Some(load);
        loop {
            let computing = match self.look(key, &encoded)? {
                Look::There(row) => return Ok(row),
                Look::Ask(Asked::First(computing)) => computing,
                Look::Ask(Asked::Other(other)) => match other.heard().await {
                    Some(row) => return S::decode(open.def(), &row?),
                    None => continue,
                },
            };
            let load = load.take().expect("only the first one computes, and then returns");
            let row = match load().await.and_then(|row| self.checked(&encoded, row.borrow())) {
                Ok(row) => self.insert_loaded(key, row).await,
                Err(error) => Err(error),
            };
            computing.ended(&row);
            return S::decode(open.def(), &row?);
        }
    }

    /// The row, or who computes it. Looks again behind the question: another computation may have ended in between.
    fn look<Q: ?Sized>(&self, key: &Q, encoded: &Key) -> Result<Look<'_, S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        if let Some(row) = self.get(key)? {
            return Ok(Look::There(row));
        }
        let asked = self.core.loads.ask(self.id(), encoded);
        match (&asked, self.get(key)?) {
            (Asked::First(_), Some(row)) => Ok(Look::There(row)),
            _ => Ok(Look::Ask(asked)),
        }
    }

    async fn insert_loaded<Q: ?Sized>(&self, key: &Q, row: Row) -> Result<Row>
    where
        S: ShapeKey<Q>,
    {
        let insert = |tx: AsyncTransaction| {
            let (table, row) = (self.clone(), row.clone());
            async move { tx.insert_row_new(&table, &row).await }
        };
        match async_transaction::run(&self.core, &TxOptions::default(), insert).await? {
            true => Ok(row),
            false => Ok(self.view(key, Row::clone)?.unwrap_or(row)),
        }
    }

    /// A loaded row, encoded; it must be of the key that was asked for.
    fn checked(&self, key: &Key, row: &S::Given) -> Result<Row> {
        let open = self.open()?;
        let row = S::encode(open.def(), row)?;
        match open.def().key_of(&row)? == *key {
            true => Ok(row),
            false => Err(Error::abort("the row that was loaded has another key than the one asked for")),
        }
    }
}
