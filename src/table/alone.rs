//! Writes outside a transaction. Where the table's only copy is here and no log waits, they are one step under the key's
//! lock ([`hypermnesia_store::Store::alter`]); else, and whenever that cannot be done at once, they are transactions.

use hypermnesia_store::work::Op;
use hypermnesia_store::{Body, Decision, Key, Numbers, Row, TableDef};

use super::{OpenTable, Table};
use crate::decision::timed;
use crate::error::{Error, Result};
use crate::operation;
use crate::options::Lifetime;
use crate::shape::{Shape, ShapeKey};

impl<S: Shape> Table<S> {
    /// A row in the table's bytes, and its key.
    pub(super) fn encoded(&self, row: &S::Given) -> Result<(Key, Row)> {
        let open = self.open()?;
        let row = S::encode(open.def(), row)?;
        Ok((open.def().key_of(&row).map_err(Error::from)?, row))
    }

    /// Decides what becomes of a key by what it holds.
    pub(super) fn alter<T>(
        &self,
        key: &Key,
        decide: impl Fn(&TableDef, Option<&Body>) -> Result<Decision<T>>,
    ) -> Result<T> {
        let open = self.writable()?;
        match self.alter_alone(&open, key, |held| decide(open.def(), held)) {
            Some(answer) => answer,
            None => {
                self.run(|tx| tx.step(|attempt, waker| operation::decide(attempt, waker, self, key, &decide)))
            }
        }
    }

    /// Puts a row without looking; false when it takes a transaction.
    pub(super) fn put_alone(&self, row: &S::Given, lifetime: Lifetime) -> Result<bool> {
        let open = self.writable()?;
        if !self.is_alone(&open) {
            return Ok(false);
        }
        let encode = || timed(open.def(), S::encode(open.def(), row)?, lifetime);
        let key_of = |row: &Row| open.def().key_of(row).map_err(Error::from);
        // Not moved: it is read a moment later as the words that were stored (see `Key`).
        let ahead = S::key_ahead(open.def(), row);
        let behind;
        let (key, encoded) = match &ahead {
            Some(Ok(key)) => (key, None),
            _ => {
                let row = encode()?;
                behind = key_of(&row)?;
                (&behind, Some(row))
            }
        };
        // A record that somebody wrote by hand may say another key than its row has.
        let under_key = |row: Row| Ok((key_of(&row)? == *key).then_some(row));
        let prepare = || encoded.map_or_else(|| under_key(encode()?), |row| Ok(Some(row)));
        let put = |_: Option<&Body>, row: Option<Row>| {
            let there = row.is_some();
            Ok((row.map(Op::Put), there))
        };
        let done = self.alter_prepared(&open, key, prepare, put).transpose()?;
        Ok(done == Some(true))
    }

    /// Deletes without looking; false when it takes a transaction.
    pub(super) fn delete_alone(&self, key: &Key) -> Result<bool> {
        let open = self.writable()?;
        self.alter_alone(&open, key, |_| Ok((Some(Op::Delete), ()))).transpose().map(|done| done.is_some())
    }

    /// Counts in place, where the table's rows change so and the key has one; nothing when it takes more, with nothing
    /// changed. What `prepare` finds out of the definition is done while the row is on its way from memory.
    pub(super) fn count_alone<P, T>(
        &self,
        key: &Key,
        prepare: impl FnOnce(&TableDef) -> Result<P>,
        decide: impl FnOnce(&TableDef, &Row, P) -> Option<Result<(Numbers, T)>>,
    ) -> Result<Option<T>> {
        let open = self.writable()?;
        if !self.is_alone(&open) {
            return Ok(None);
        }
        let store = &self.core.store;
        let (prepare, decide) =
            (|| prepare(open.def()), |row: &Row, prepared| decide(open.def(), row, prepared));
        store.count(&open, key, store.clock().wall_ms(), prepare, decide).transpose()
    }

    /// Adds to one attribute in place, as [`Table::count_alone`]; nothing too where something is wrong.
    #[inline]
    pub(super) fn increment_alone<Q: ?Sized>(&self, key: &Q, attribute: &str, by: i64) -> Option<i64>
    where
        S: ShapeKey<Q>,
    {
        if !self.alone {
            return None;
        }
        let (open, store) = (self.at_hand()?, &self.core.store);
        // Not moved: it is read a moment later as the words that were stored (see `Key`).
        let key = S::encode_key(open.def(), key);
        let Ok(key) = &key else { return None };
        let position = || open.def().position(attribute).filter(|at| !open.def().key.contains(at));
        store.increment(open, key, store.clock().wall_ms(), position, by)
    }

    fn is_alone(&self, open: &OpenTable<'_>) -> bool {
        match open {
            OpenTable::Known(_) => self.alone,
            OpenTable::Found(open) => self.core.alone_with(open.def()),
        }
    }

    pub(super) fn writable(&self) -> Result<OpenTable<'_>> {
        self.core.check_serving()?;
        self.open()
    }

    /// `None` when it takes a transaction: nothing was changed.
    fn alter_alone<T>(
        &self,
        open: &OpenTable<'_>,
        key: &Key,
        decide: impl FnOnce(Option<&Body>) -> Result<Decision<T>>,
    ) -> Option<Result<T>> {
        if !self.is_alone(open) {
            return None;
        }
        self.alter_prepared(open, key, || Ok(()), |held, ()| decide(held))
    }

    /// As [`Table::alter_alone`] of a table that is known to be alone; `prepare` is called while the key's memory is on its
    /// way.
    fn alter_prepared<P, T>(
        &self,
        open: &OpenTable<'_>,
        key: &Key,
        prepare: impl FnOnce() -> Result<P>,
        decide: impl FnOnce(Option<&Body>, P) -> Result<Decision<T>>,
    ) -> Option<Result<T>> {
        let store = &self.core.store;
        let answer = store.alter_with(open, key, store.clock().wall_ms(), prepare, decide)?;
        if open.has_victims() {
            self.core.sweep.make_room(&self.core, open);
        }
        Some(answer)
    }
}
