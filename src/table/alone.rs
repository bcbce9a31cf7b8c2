//! Writes outside a transaction. Where the table's only copy is here and no log waits, they are one step under the key's
//! lock ([`hypermnesia_store::Store::alter`]); else, and whenever that cannot be done at once, they are transactions.

use hypermnesia_store::work::Op;
use hypermnesia_store::{Body, Decision, Key, Numbers, Row, TableDef};

use super::{OpenTable, Table};
use crate::decision::timed;
use crate::error::{Error, Result};
use crate::operation;
use crate::options::Lifetime;
use crate::shape::Shape;

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
        let row = S::encode(open.def(), row)?;
        let key = open.def().key_of(&row).map_err(Error::from)?;
        let row = timed(open.def(), &row, lifetime)?;
        self.alter_alone(&open, &key, |_| Ok((Some(Op::Put(row)), ()))).transpose().map(|done| done.is_some())
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

    fn is_alone(&self, open: &OpenTable<'_>) -> bool {
        match open {
            OpenTable::Known(_) => self.alone,
            OpenTable::Found(open) => self.core.alone_with(open.def()),
        }
    }

    fn writable(&self) -> Result<OpenTable<'_>> {
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
        let clock = self.core.store.clock();
        let answer = self.core.store.alter(open, key, clock.wall_ms(), decide)?;
        if open.has_victims() {
            self.core.sweep.make_room(&self.core, open);
        }
        Some(answer)
    }
}
