//! Rows that are computed when somebody asks for them and they are not there. Who computes and who waits is decided in
//! [`crate::load`].

use std::borrow::Borrow;
use std::sync::Arc;

use hypermnesia_store::{Key, Row};

use super::Table;
use crate::async_transaction::{self, AsyncTransaction};
use crate::error::{Error, Result};
use crate::limits::DEADLINE_DEFAULT;
use crate::load::{Asked, Computing, Load, Waited};
use crate::options::TxOptions;
use crate::shape::{Shape, ShapeKey};
use crate::wait::deadline_in;

/// What somebody finds who asks for a row.
enum Look<'a, R> {
    There(R),
    First(Computing<'a>),
    Other(Arc<Load>),
}

impl<S: Shape> Table<S> {
    /// The row of a key, computed if it is not there: `load` runs once on this node however many ask at the same time, and
    /// all share the row it gives, which is inserted, or its error, which is kept nowhere. If another member inserts a row
    /// meanwhile, that one counts.
    ///
    /// `load` may ask for other rows in the same way, but not for its own one. Who waits for another caller's `load` does so
    /// for ten seconds ([`DEADLINE_DEFAULT`]) at most; that one goes on.
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
    /// another key; [`Error::LoadsItself`] where `load` asks for this row, at once; [`Error::LoadTooLong`] behind a wait of
    /// ten seconds.
    pub fn get_or_insert_with<Q: ?Sized, B>(
        &self,
        key: &Q,
        load: impl FnOnce() -> Result<B>,
    ) -> Result<S::Shown>
    where
        S: ShapeKey<Q>,
        B: Borrow<S::Given>,
    {
        let open = self.writable()?;
        let encoded = S::encode_key(open.def(), key)?;
        let (mut load, until) = (Some(load), deadline_in(DEADLINE_DEFAULT));
        loop {
            let computing = match self.look(key, &encoded)? {
                Look::There(row) => return Ok(row),
                Look::First(computing) => computing,
                Look::Other(other) => match other.wait(until) {
                    Waited::Ended(row) => return S::decode(open.def(), &row?),
                    Waited::Abandoned => continue,
                    Waited::TooLong => return Err(self.too_long(&encoded)),
                },
            };
            let load = load.take().expect("only the first one computes, and then returns");
            let row =
                computing.run(load).and_then(|row| self.checked(&encoded, row.borrow())).and_then(|row| {
                    match self.run(|tx| tx.insert_row_new(self, &row))? {
                        true => Ok(row),
                        false => Ok(self.seen(key, Row::clone)?.unwrap_or(row)),
                    }
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
        let open = self.writable()?;
        let encoded = S::encode_key(open.def(), key)?;
        let (mut load, until) = (Some(load), deadline_in(DEADLINE_DEFAULT));
        loop {
            let computing = match self.look(key, &encoded)? {
                Look::There(row) => return Ok(row),
                Look::First(computing) => computing,
                Look::Other(other) => match other.heard(&self.core.alarms, until).await {
                    Waited::Ended(row) => return S::decode(open.def(), &row?),
                    Waited::Abandoned => continue,
                    Waited::TooLong => return Err(self.too_long(&encoded)),
                },
            };
            let load = load.take().expect("only the first one computes, and then returns");
            let row = match computing.polled(load).await.and_then(|row| self.checked(&encoded, row.borrow()))
            {
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
        let computing = match asked {
            Asked::First(computing) => computing,
            Asked::Other(other) => return Ok(Look::Other(other)),
            Asked::Itself => {
                return Err(Error::LoadsItself { table: self.name().to_owned(), key: encoded.to_string() });
            }
        };
        Ok(self.get(key)?.map_or(Look::First(computing), Look::There))
    }

    fn too_long(&self, key: &Key) -> Error {
        Error::LoadTooLong { table: self.name().to_owned(), key: key.to_string(), waited: DEADLINE_DEFAULT }
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
            false => Ok(self.seen(key, Row::clone)?.unwrap_or(row)),
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
