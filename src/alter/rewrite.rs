//! Rows that were written before attributes were added are given their new form batch by batch, while everybody reads and
//! writes. What is done is known from the rows themselves.

use std::borrow::Borrow;
use std::ops::ControlFlow;

use hypermnesia_store::work::Op;
use hypermnesia_store::{Key, Kind, Row, TableDef};

use crate::error::{Error, Result};
use crate::limits::REWRITE_KEYS;
use crate::options::{Span, TxOptions};
use crate::shape::Shape;
use crate::snapshot::Snapshot;
use crate::table::Table;
use crate::transaction;

impl<S: Shape> Table<S> {
    /// How many rows were written before the table had its present attributes: what [`Table::rewrite`] has still to do.
    /// Looks at every row.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn outdated(&self) -> Result<u64> {
        let mut rows = 0;
        self.each_outdated(|_| {
            rows += 1;
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Gives every row that was written before the table had its present attributes a new form, `batch` rows (0
    /// counts as 1) in a transaction; says how many it rewrote. The function is given the row with the defaults of what was added, may be
    /// called more than once for a row, and must not change its key. Rows that were written since are left alone.
    ///
    /// Each batch is done or not; when it is interrupted, calling it again goes on with the rows that are left, on any
    /// member. Deadlines stay. Until its batch comes a row shows the defaults.
    ///
    /// # Errors
    /// The function's own, [`Error::Row`], [`Error::Aborted`] for a key that changes; [`Error::WrongKind`] on a bag, whose
    /// rows are rewritten with the change of the attributes; otherwise as a transaction. Batches before stay done.
    pub fn rewrite<B: Borrow<S::Given>>(
        &self,
        batch: usize,
        form: impl Fn(S::Shown) -> Result<B>,
    ) -> Result<u64> {
        if self.definition()?.kind == Kind::Bag {
            let (table, kind) = (self.name().to_owned(), "bag");
            return Err(Error::WrongKind { table, operation: "a rewrite", kind });
        }
        let mut rewritten = 0;
        loop {
            let mut keys = Vec::new();
            self.each_outdated(|key| {
                keys.push(key.clone());
                if keys.len() < REWRITE_KEYS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if keys.is_empty() {
                return Ok(rewritten);
            }
            for some in keys.chunks(batch.max(1)) {
                rewritten += self.rewrite_some(some, &form)?;
            }
        }
    }

    fn rewrite_some<B: Borrow<S::Given>>(
        &self,
        keys: &[Key],
        form: &impl Fn(S::Shown) -> Result<B>,
    ) -> Result<u64> {
        transaction::run(&self.core, &TxOptions::default(), |tx| {
            let open = self.open()?;
            let mut rows = 0;
            for key in keys {
                let held = tx.step(|attempt, waker| attempt.read(&open, key, None, waker))?;
                let old = held.as_ref().and_then(|body| body.rows().first());
                let Some(old) = old.filter(|row| is_outdated(open.def(), row)) else { continue };
                let new = S::encode(open.def(), form(S::decode(open.def(), old)?)?.borrow())?;
                let new = new.with_deadline(old.deadline_ms())?;
                if open.def().key_of(&new)? != *key {
                    let what =
                        format!("the rewrite of table {:?} changes the key {key} of a row", self.name());
                    return Err(Error::abort(what));
                }
                tx.step(|attempt, _| attempt.write(&open, key.clone(), Op::Put(new.clone())))?;
                rows += 1;
            }
            Ok(rows)
        })
    }

    fn each_outdated(&self, mut show: impl FnMut(&Key) -> ControlFlow<()>) -> Result<()> {
        let open = self.open()?;
        if !open.def().has_grown() {
            return Ok(());
        }
        Snapshot::take(&self.core)?.visit(&open, &Span::all(), |key, body| {
            let old = body.rows().iter().any(|row| is_outdated(open.def(), row));
            if old { show(key) } else { ControlFlow::Continue(()) }
        })
    }
}

/// A row that was completed when it was read still says under which version it was written.
fn is_outdated(def: &TableDef, row: &Row) -> bool {
    row.version() < def.layout().since
}
