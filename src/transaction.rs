//! Transactions on the caller's thread: the closure runs, perhaps several times, and what it wrote is committed everywhere
//! or nowhere. The rule of retries, which tasks use too: the age is kept; a run that lost waits, holding nothing, until the
//! transaction it lost to has ended, if this node knows that one; then it first queues on the keys that the last run wrote;
//! after the third conflict it locks as it reads, so that the oldest one ends.

use std::sync::Arc;
use std::task::Waker;

use hypermnesia_store::work::LockMode;
use hypermnesia_store::{Row, TxId, Value};

use crate::attempt::{Attempt, Pause, Step};
use crate::core::Core;
use crate::decision::Expected;
use crate::error::{Error, Result};
use crate::limits::NESTING_MAX;
use crate::operation::{self, Count};
use crate::options::{Lifetime, Span, TxOptions};
use crate::query::{self, QueryResult};
use crate::running::Running;
use crate::runs::Runs;
use crate::shape::{Shape, ShapeKey};
use crate::table::Table;
use crate::wait::Parker;

mod rows;

pub(crate) use rows::encoded;

/// A transaction that is running. Everything read belongs to one state of all tables, with the own writes over it;
/// nothing written is seen by others before the commit. An error of an operation that asks for another run (a conflict)
/// should be passed on with `?`; swallowing it changes nothing, the run is lost.
pub struct Transaction {
    pub(crate) attempt: Attempt,
    depth: usize,
}

/// Runs a program as a transaction until it is committed or fails for good.
pub(crate) fn run<T, E: From<Error>>(
    core: &Arc<Core>,
    options: &TxOptions,
    mut program: impl FnMut(&mut Transaction) -> Result<T, E>,
) -> Result<T, E> {
    let mut runs = Runs::begin(core, options)?;
    loop {
        let mut tx = Transaction { attempt: runs.attempt(), depth: 0 };
        let _running = Running::enter(core, tx.attempt.id);
        let keys = std::mem::take(&mut runs.queue);
        let queued = keys.is_empty() || tx.step(|attempt, waker| attempt.queue(&keys, waker)).is_ok();
        let result = if queued { Some(program(&mut tx)) } else { None };
        runs.remember(&tx.attempt, keys);
        let lost = match (tx.attempt.lost.clone(), result) {
            (Some(lost), _) => {
                drop(tx);
                lost
            }
            (None, Some(Err(error))) => return Err(error),
            (None, None) => return Err(Error::DeadlineExceeded.into()),
            (None, Some(Ok(value))) => match runs.commit(tx.attempt)? {
                None => return Ok(value),
                Some(lost) => lost,
            },
        };
        runs.again(&lost)?;
        runs.breathe(&lost);
    }
}

/// What the end of a wait at the deadline means.
pub(crate) fn too_late(waited_for: Option<TxId>) -> Error {
    waited_for.map_or(Error::DeadlineExceeded, |txid| Error::InDoubt { txid })
}

/// A pause that is no wait, as the program hears it.
pub(crate) fn told(pause: Pause) -> Error {
    match pause {
        Pause::Again => Error::Conflict { attempts: 1 },
        Pause::Fail(error) => error,
        Pause::Parked(waited_for) => too_late(waited_for),
    }
}

/// A nested transaction. It ends when it is dropped, because the outer program may catch a panic and go on.
struct Nest<'t> {
    outer: &'t mut Transaction,
    mark: usize,
    keep: bool,
}

impl Nest<'_> {
    fn begin(outer: &mut Transaction) -> Nest<'_> {
        outer.depth += 1;
        Nest { mark: outer.attempt.overlay.len(), outer, keep: false }
    }
}

impl Drop for Nest<'_> {
    fn drop(&mut self) {
        self.outer.depth -= 1;
        if !self.keep {
            self.outer.attempt.overlay.cut(self.mark);
        }
    }
}

impl Transaction {
    /// Runs a step until it answers, parking the thread while it has to wait.
    pub(crate) fn step<T>(&mut self, mut step: impl FnMut(&mut Attempt, &Waker) -> Step<T>) -> Result<T> {
        let parker = Parker::current();
        let answer = loop {
            match step(&mut self.attempt, parker.waker()) {
                Ok(answer) => break Ok(answer),
                Err(Pause::Parked(waited_for)) => {
                    if !self.attempt.core.wait(&parker, self.attempt.deadline) {
                        break Err(too_late(waited_for));
                    }
                }
                Err(other) => break Err(told(other)),
            }
        };
        self.attempt.stepped();
        answer
    }

    /// The transaction's id, which [`Node::outcome`](crate::Node::outcome) understands. Each run has its own.
    pub fn id(&self) -> TxId {
        self.attempt.id
    }

    /// Runs a nested transaction: its writes are dropped when it fails or panics, and become this transaction's own when it
    /// succeeds.
    ///
    /// # Errors
    /// The program's own; the outer transaction goes on.
    pub fn nested<T, E: From<Error>>(
        &mut self,
        program: impl FnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.depth >= NESTING_MAX {
            return Err(Error::TooLarge { what: "nested transactions", bound: NESTING_MAX }.into());
        }
        let mut nest = Nest::begin(self);
        let result = program(nest.outer);
        nest.keep = result.is_ok();
        result
    }

    /// The row of a key; of a bag the oldest one.
    ///
    /// # Errors
    /// [`Error::Conflict`] asks for another run; [`Error::InDoubt`] and [`Error::DeadlineExceeded`] end the transaction.
    pub fn get<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<Option<S::Shown>> {
        self.get_with(table, key, None)
    }

    /// As [`Transaction::get`], and the key is locked at this node until the transaction ends: for rows that will be
    /// written and that many want to write. Where this node has no copy of the table nothing is locked: the row is compared with
    /// the copies at the commit, as with [`Transaction::get`].
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn get_for_update<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<S::Shown>> {
        self.get_with(table, key, Some(LockMode::Write))
    }

    fn get_with<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        mode: Option<LockMode>,
    ) -> Result<Option<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let row = self.step(|attempt, waker| operation::one(attempt, waker, table, &key, mode))?;
        row.map(|row| S::decode(open.def(), &row)).transpose()
    }

    /// All rows of a key: of a bag in the order they came.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn read<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let rows = self.step(|attempt, waker| operation::rows(attempt, waker, table, &key, None))?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// Whether the key has a row.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn contains<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<bool> {
        let key = table.key(key)?;
        Ok(self.step(|attempt, waker| operation::one(attempt, waker, table, &key, None))?.is_some())
    }

    /// Locks the whole table at this node: readers share it, a writer has it alone. Where this node has no copy of it nothing
    /// is locked: what is read of it is compared with the copies at the commit.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn lock_table<S>(&mut self, table: &Table<S>, mode: LockMode) -> Result<()> {
        let open = table.open()?;
        self.step(|attempt, waker| attempt.lock_copy(&open, mode, waker))
    }

    /// Puts a row: replaces the row of its key; in a bag it is added unless an identical one is there.
    ///
    /// # Errors
    /// [`Error::Row`] when it does not fit; the transaction may go on without it.
    pub fn insert<S: Shape>(&mut self, table: &Table<S>, row: &S::Given) -> Result<()> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, _| operation::put(attempt, table, &row, Lifetime::OfTable))
    }

    /// Puts a row if its key has none; says whether it did.
    ///
    /// # Errors
    /// As [`Transaction::get`] and [`Transaction::insert`].
    pub fn insert_new<S: Shape>(&mut self, table: &Table<S>, row: &S::Given) -> Result<bool> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, waker| operation::put_new(attempt, waker, table, &row, Lifetime::OfTable))
    }

    /// As [`Transaction::insert_new`], of a row that is encoded already.
    pub(crate) fn insert_row_new<S: Shape>(&mut self, table: &Table<S>, row: &Row) -> Result<bool> {
        self.step(|attempt, waker| operation::put_new(attempt, waker, table, row, Lifetime::OfTable))
    }

    /// As [`Transaction::insert`], with a lifetime of the row's own. Not for bags.
    ///
    /// # Errors
    /// As there, and [`Error::WrongKind`].
    pub fn insert_with<S: Shape>(
        &mut self,
        table: &Table<S>,
        row: &S::Given,
        lifetime: Lifetime,
    ) -> Result<()> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, _| operation::put(attempt, table, &row, lifetime))
    }

    /// Gives the row of a key another lifetime, counted from now; says whether there is such a row. Not for bags.
    ///
    /// # Errors
    /// As [`Transaction::get`], and [`Error::WrongKind`].
    pub fn set_lifetime<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        lifetime: Lifetime,
    ) -> Result<bool> {
        let key = table.key(key)?;
        self.step(|attempt, waker| operation::retime(attempt, waker, table, &key, lifetime))
    }

    /// Deletes the row of a key, or all rows of it in a bag.
    ///
    /// # Errors
    /// [`Error::Row`] when it is no key of the table.
    pub fn delete<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<()> {
        let key = table.key(key)?;
        self.step(|attempt, _| operation::delete(attempt, table, key.clone()))
    }

    /// Deletes this row if it is there exactly so; says whether it was.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn delete_object<S: Shape>(&mut self, table: &Table<S>, row: &S::Given) -> Result<bool> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, waker| operation::delete_object(attempt, waker, table, row.clone()))
    }

    /// Deletes the rows of a key and gives them back.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn take<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let rows = self.step(|attempt, waker| operation::take(attempt, waker, table, key.clone()))?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// Puts `new` (or deletes, when `None`) if the row of the key is `expected` (or absent, when `None`).
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::WrongKind`] on a bag.
    pub fn compare_and_swap<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        expected: Option<&S::Given>,
        new: Option<&S::Given>,
    ) -> Result<bool> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let expected = expected.map(|row| S::encode(open.def(), row)).transpose()?;
        let new = new.map(|row| S::encode(open.def(), row)).transpose()?;
        self.step(|attempt, waker| {
            let expected = expected.as_ref().map_or(Expected::Absent, Expected::Row);
            operation::swap(attempt, waker, table, &key, expected, new.clone())
        })
    }

    /// Changes attributes of the row of a key; says whether there is one.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::NoSuchAttribute`], [`Error::Row`].
    pub fn update_attributes<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        changes: &[(&str, Value)],
    ) -> Result<bool> {
        let key = table.key(key)?;
        self.step(|attempt, waker| operation::update(attempt, waker, table, &key, changes))
    }

    /// Adds to integer attributes of the row of a key, or of the default row when there is none, and gives the sums.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::NoSuchAttribute`], [`Error::Row`].
    pub fn update_counter<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        counts: &[Count],
        default: Option<&S::Given>,
    ) -> Result<Option<Vec<i64>>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let default = default.map(|row| S::encode(open.def(), row)).transpose()?;
        self.step(|attempt, waker| operation::count(attempt, waker, table, &key, counts, default.as_ref()))
    }

    /// One attribute of the row of a key, or the default when there is no row.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::NoSuchAttribute`].
    pub fn lookup<S: ShapeKey<Q>, Q: ?Sized>(
        &mut self,
        table: &Table<S>,
        key: &Q,
        attribute: &str,
        default: Value,
    ) -> Result<Value> {
        let key = table.key(key)?;
        let found = self.step(|attempt, waker| operation::lookup(attempt, waker, table, &key, attribute))?;
        Ok(found.unwrap_or(default))
    }

    /// The rows within a span. Sets and bags only take [`Span::all`], in no order.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::WrongKind`].
    pub fn range<S: Shape>(&mut self, table: &Table<S>, span: &Span) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let found = self.step(|attempt, waker| operation::scan(attempt, waker, table, span))?;
        let rows = found.iter().flat_map(|(_, body)| body.rows());
        rows.map(|row| S::decode(open.def(), row)).collect()
    }

    /// The rows that have these values under an index (or begin with them), in the order of the index.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::NoSuchIndex`]; [`Error::Row`] for values that the index
    /// cannot hold.
    pub fn index_read<S: Shape>(
        &mut self,
        table: &Table<S>,
        index: &str,
        values: &[Value],
    ) -> Result<Vec<S::Shown>> {
        let span = Span::of(operation::entries_with(table.open()?.def(), index, values)?);
        self.index_range(table, index, &span)
    }

    /// The rows whose entry in an index (its values with the key behind them) lies within a span, in the order of the
    /// index.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::NoSuchIndex`].
    pub fn index_range<S: Shape>(
        &mut self,
        table: &Table<S>,
        index: &str,
        span: &Span,
    ) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let rows = self.step(|attempt, waker| operation::index(attempt, waker, table, index, span))?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// Every row, one after another, into one value.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn fold<S: Shape, T>(
        &mut self,
        table: &Table<S>,
        start: T,
        mut each: impl FnMut(T, S::Shown) -> T,
    ) -> Result<T> {
        let rows = self.range(table, &Span::all())?;
        Ok(rows.into_iter().fold(start, &mut each))
    }

    /// The rows for which the condition holds.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn select<S: Shape>(
        &mut self,
        table: &Table<S>,
        keep: impl Fn(&S::Shown) -> bool,
    ) -> Result<Vec<S::Shown>> {
        let mut rows = self.range(table, &Span::all())?;
        rows.retain(|row| keep(row));
        Ok(rows)
    }

    /// The row of the smallest key of an ordered set.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::WrongKind`].
    pub fn first<S: Shape>(&mut self, table: &Table<S>) -> Result<Option<S::Shown>> {
        self.edge(table, &Span::all(), "first")
    }

    /// The row of the largest key of an ordered set.
    ///
    /// # Errors
    /// As [`Transaction::first`].
    pub fn last<S: Shape>(&mut self, table: &Table<S>) -> Result<Option<S::Shown>> {
        self.edge(table, &Span::all().backward(), "last")
    }

    /// The row behind a key, which need not be there.
    ///
    /// # Errors
    /// As [`Transaction::first`].
    pub fn next<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<Option<S::Shown>> {
        let span = Span::behind(table.key(key)?);
        self.edge(table, &span, "next")
    }

    /// The row before a key, which need not be there.
    ///
    /// # Errors
    /// As [`Transaction::first`].
    pub fn prev<S: ShapeKey<Q>, Q: ?Sized>(&mut self, table: &Table<S>, key: &Q) -> Result<Option<S::Shown>> {
        let span = Span::before(table.key(key)?);
        self.edge(table, &span, "prev")
    }

    fn edge<S: Shape>(
        &mut self,
        table: &Table<S>,
        span: &Span,
        name: &'static str,
    ) -> Result<Option<S::Shown>> {
        let open = table.open()?;
        let row = self.step(|attempt, waker| operation::edge(attempt, waker, table, span, name))?;
        row.map(|row| S::decode(open.def(), &row)).transpose()
    }

    /// Runs one SQL statement that reads or writes rows; it sees this transaction's own writes.
    ///
    /// # Errors
    /// [`Error::Query`]; otherwise as [`Transaction::get`]. A write that failed may have changed rows of this
    /// transaction: pass the error on, or run it nested.
    pub fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<QueryResult> {
        let mut rows = hypermnesia_query::Rows::default();
        let statement = hypermnesia_query::Statement::parse(sql)?;
        let count = query::execute(self, &statement, parameters, &mut rows)?;
        Ok(QueryResult { columns: rows.columns, rows: rows.rows, count })
    }

    /// Deletes every row.
    ///
    /// # Errors
    /// As [`Transaction::get`]; [`Error::TooLarge`].
    pub fn clear<S: Shape>(&mut self, table: &Table<S>) -> Result<()> {
        let open = table.open()?;
        let found = self.step(|attempt, waker| attempt.scan(&open, &Span::all(), waker))?;
        for (key, _) in found {
            self.step(|attempt, _| operation::delete(attempt, table, key.clone()))?;
        }
        Ok(())
    }
}
