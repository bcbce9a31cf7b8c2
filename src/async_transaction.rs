//! Transactions of tasks: an owned, cloneable handle whose operations are futures. They wait in no thread; what wakes them
//! is what wakes a thread in `transaction.rs`, and the operations are the same ones.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hypermnesia_replication::Reply;
use hypermnesia_store::work::LockMode;
use hypermnesia_store::{Row, Status, Timestamp, TxId, Value};
use parking_lot::Mutex;

use crate::attempt::{Attempt, Lost, Pause, Step};
use crate::core::Core;
use crate::decision::Expected;
use crate::error::{Error, Result};
use crate::limits::YIELDS_MAX;
use crate::operation::{self, Count};
use crate::options::{Lifetime, Span, TxOptions};
use crate::runs::{Runs, run_again_at_end};
use crate::shape::{Shape, ShapeKey};
use crate::table::Table;
use crate::transaction::{told, too_late};
use crate::wait::Answer;

mod rows;

/// A transaction that is running in a task. Clones are handles to the same one; once it has ended they answer
/// [`Error::Ended`]. Dropping the last one releases everything at once.
#[derive(Clone)]
pub struct AsyncTransaction {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    id: TxId,
    deadline: Instant,
    /// Held for one step, never across an await.
    attempt: Mutex<Option<Attempt>>,
    /// Of a transaction that was begun by itself: how to commit it.
    runs: Mutex<Option<Runs>>,
}

/// Runs a program as a transaction until it is committed or fails for good.
pub(crate) async fn run<T, E, F>(
    core: &Arc<Core>,
    options: &TxOptions,
    mut program: impl FnMut(AsyncTransaction) -> F,
) -> Result<T, E>
where
    E: From<Error>,
    F: Future<Output = Result<T, E>>,
{
    let mut runs = Runs::begin(core, options)?;
    loop {
        let tx = AsyncTransaction::new(core, runs.attempt(), None);
        let keys = std::mem::take(&mut runs.queue);
        let queued = keys.is_empty() || tx.step(|attempt, waker| attempt.queue(&keys, waker)).await.is_ok();
        let result = if queued { Some(program(tx.clone()).await) } else { None };
        let Some(attempt) = tx.inner.attempt.lock().take() else { return Err(Error::Ended.into()) };
        runs.remember(&attempt, keys);
        let lost = match (attempt.lost.clone(), result) {
            (Some(lost), _) => {
                drop(attempt);
                lost
            }
            (None, Some(Err(error))) => return Err(error),
            (None, None) => return Err(Error::DeadlineExceeded.into()),
            (None, Some(Ok(value))) => match commit(core, &runs, attempt).await? {
                Ok(_) => return Ok(value),
                Err(lost) => lost,
            },
        };
        runs.again(&lost)?;
        breathe(core, &runs, &lost).await;
    }
}

async fn commit(core: &Arc<Core>, runs: &Runs, attempt: Attempt) -> Result<Result<Option<Timestamp>, Lost>> {
    let (tenure, writes) = (attempt.tenure, attempt.writes());
    let Some((id, answer)) = runs.hand_over(attempt) else {
        return run_again_at_end(core.vouch_async(tenure).await).map(|lost| lost.map_or(Ok(None), Err));
    };
    let reply = hear(core, &answer, runs.word_by()).await;
    Ok(runs.judge(id, reply)?.map(|at| writes.then_some(at)))
}

/// The reply to a commit; "unknown" when it does not come in time.
async fn hear(core: &Arc<Core>, answer: &Arc<Answer<Reply>>, until: Instant) -> Reply {
    let mut alarm = core.alarms.at(until);
    poll_fn(|context| {
        if let Some(reply) = answer.take(context.waker()) {
            return Poll::Ready(reply);
        }
        if Instant::now() >= until {
            return Poll::Ready(Reply::Unknown);
        }
        alarm.wake(context.waker());
        Poll::Pending
    })
    .await
}

/// Lets the others finish before the next run, as a thread does; a pause ends with a tick of the node's timer.
async fn breathe(core: &Arc<Core>, runs: &Runs, lost: &Lost) {
    if let Some(txn) = runs.in_the_way(lost) {
        let mut alarm = core.alarms.at(runs.deadline);
        return poll_fn(|context| {
            if txn.status.subscribe(context.waker()) != Status::Pending || Instant::now() >= runs.deadline {
                return Poll::Ready(());
            }
            alarm.wake(context.waker());
            Poll::Pending
        })
        .await;
    }
    if runs.conflicts() <= YIELDS_MAX && !matches!(lost, Lost::Away(_)) {
        return yield_once().await;
    }
    core.alarms.sleep_until(Instant::now() + runs.pause(lost)).await;
}

/// Lets other tasks run once.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context: &mut Context<'_>| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl AsyncTransaction {
    fn new(core: &Arc<Core>, attempt: Attempt, runs: Option<Runs>) -> AsyncTransaction {
        let inner = Inner {
            core: Arc::clone(core),
            id: attempt.id,
            deadline: attempt.deadline,
            attempt: Mutex::new(Some(attempt)),
            runs: Mutex::new(runs),
        };
        AsyncTransaction { inner: Arc::new(inner) }
    }

    /// A transaction that is committed by hand; it runs once and is never retried.
    pub(crate) fn begin(core: &Arc<Core>, options: &TxOptions) -> Result<AsyncTransaction> {
        let mut runs = Runs::begin(core, options)?;
        let attempt = runs.attempt();
        Ok(AsyncTransaction::new(core, attempt, Some(runs)))
    }

    pub(crate) async fn step<T>(&self, mut step: impl FnMut(&mut Attempt, &Waker) -> Step<T>) -> Result<T> {
        let mut alarm = self.inner.core.alarms.at(self.inner.deadline);
        poll_fn(|context| {
            let mut attempt = self.inner.attempt.lock();
            let Some(attempt) = attempt.as_mut() else { return Poll::Ready(Err(Error::Ended)) };
            let answer = match step(attempt, context.waker()) {
                Ok(answer) => Ok(answer),
                Err(Pause::Parked(waited_for)) if Instant::now() >= self.inner.deadline => {
                    Err(too_late(waited_for))
                }
                Err(Pause::Parked(_)) => {
                    alarm.wake(context.waker());
                    return Poll::Pending;
                }
                Err(other) => Err(told(other)),
            };
            attempt.stepped();
            Poll::Ready(answer)
        })
        .await
    }

    /// The transaction's id, which [`Node::outcome`](crate::Node::outcome) understands. Each run has its own.
    pub fn id(&self) -> TxId {
        self.inner.id
    }

    /// Commits a transaction that [`Node::begin`](crate::Node::begin) began. The timestamp is `None` when nothing was
    /// written.
    ///
    /// # Errors
    /// As [`Node::transaction`](crate::Node::transaction), but a conflict is not retried: begin again. [`Error::Ended`]
    /// inside `transaction_async`, which commits by itself.
    pub async fn commit(&self) -> Result<Option<Timestamp>> {
        let Some(runs) = self.inner.runs.lock().take() else { return Err(Error::Ended) };
        let Some(attempt) = self.inner.attempt.lock().take() else { return Err(Error::Ended) };
        let lost = match attempt.lost.clone() {
            Some(lost) => lost,
            None => match commit(&self.inner.core, &runs, attempt).await? {
                Ok(at) => return Ok(at),
                Err(lost) => lost,
            },
        };
        let core = &self.inner.core;
        Err(match lost {
            Lost::Conflict(_) => Error::Conflict { attempts: 1 },
            Lost::Schema(table) => Error::SchemaChanged { table: core.table_name(table) },
            Lost::Away(away) => core.unavailable(away),
        })
    }

    /// Ends it without a trace and releases everything at once.
    pub fn abort(&self) {
        self.inner.runs.lock().take();
        let attempt = self.inner.attempt.lock().take();
        drop(attempt);
    }

    /// A mark in the writes, for [`AsyncTransaction::roll_back`]: the form of nesting that futures can have.
    ///
    /// # Errors
    /// [`Error::Ended`].
    pub fn mark(&self) -> Result<Mark> {
        let attempt = self.inner.attempt.lock();
        let attempt = attempt.as_ref().ok_or(Error::Ended)?;
        Ok(Mark { id: self.inner.id, writes: attempt.overlay.len() })
    }

    /// Drops every write behind the mark.
    ///
    /// # Errors
    /// [`Error::Ended`], also for a mark of another transaction.
    pub fn roll_back(&self, mark: &Mark) -> Result<()> {
        let mut attempt = self.inner.attempt.lock();
        let attempt = attempt.as_mut().filter(|_| mark.id == self.inner.id).ok_or(Error::Ended)?;
        attempt.overlay.cut(mark.writes.min(attempt.overlay.len()));
        Ok(())
    }

    /// Runs a nested transaction: its writes are dropped when it fails, when it panics, and when the future is dropped
    /// before it has ended.
    ///
    /// # Errors
    /// The program's own, [`Error::Ended`]; the outer transaction goes on.
    pub async fn nested<T, E: From<Error>, F>(
        &self,
        program: impl FnOnce(AsyncTransaction) -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut nest = Nest { outer: self, mark: self.mark()?, keep: false };
        let result = program(self.clone()).await;
        nest.keep = result.is_ok();
        result
    }

    /// See [`Transaction::get`](crate::Transaction::get).
    ///
    /// # Errors
    /// As there.
    pub async fn get<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let row = self.step(|attempt, waker| operation::one(attempt, waker, table, &key, None)).await?;
        row.map(|row| S::decode(open.def(), &row)).transpose()
    }

    /// See [`Transaction::get_for_update`](crate::Transaction::get_for_update).
    ///
    /// # Errors
    /// As there.
    pub async fn get_for_update<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
    ) -> Result<Option<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let mode = Some(LockMode::Write);
        let row = self.step(|attempt, waker| operation::one(attempt, waker, table, &key, mode)).await?;
        row.map(|row| S::decode(open.def(), &row)).transpose()
    }

    /// See [`Transaction::read`](crate::Transaction::read).
    ///
    /// # Errors
    /// As there.
    pub async fn read<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let rows = self.step(|attempt, waker| operation::rows(attempt, waker, table, &key, None)).await?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// See [`Transaction::contains`](crate::Transaction::contains).
    ///
    /// # Errors
    /// As there.
    pub async fn contains<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<bool> {
        let key = table.key(key)?;
        Ok(self.step(|attempt, waker| operation::one(attempt, waker, table, &key, None)).await?.is_some())
    }

    /// See [`Transaction::lock_table`](crate::Transaction::lock_table).
    ///
    /// # Errors
    /// As there.
    pub async fn lock_table<S>(&self, table: &Table<S>, mode: LockMode) -> Result<()> {
        let open = table.open()?;
        self.step(|attempt, waker| attempt.lock_copy(&open, mode, waker)).await
    }

    /// See [`Transaction::insert`](crate::Transaction::insert).
    ///
    /// # Errors
    /// As there.
    pub async fn insert<S: Shape>(&self, table: &Table<S>, row: &S::Given) -> Result<()> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, _| operation::put(attempt, table, &row, Lifetime::OfTable)).await
    }

    /// See [`Transaction::insert_new`](crate::Transaction::insert_new).
    ///
    /// # Errors
    /// As there.
    pub async fn insert_new<S: Shape>(&self, table: &Table<S>, row: &S::Given) -> Result<bool> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, waker| operation::put_new(attempt, waker, table, &row, Lifetime::OfTable)).await
    }

    /// As [`AsyncTransaction::insert_new`], of a row that is encoded already.
    pub(crate) async fn insert_row_new<S: Shape>(&self, table: &Table<S>, row: &Row) -> Result<bool> {
        self.step(|attempt, waker| operation::put_new(attempt, waker, table, row, Lifetime::OfTable)).await
    }

    /// See [`Transaction::insert_with`](crate::Transaction::insert_with).
    ///
    /// # Errors
    /// As there.
    pub async fn insert_with<S: Shape>(
        &self,
        table: &Table<S>,
        row: &S::Given,
        lifetime: Lifetime,
    ) -> Result<()> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, _| operation::put(attempt, table, &row, lifetime)).await
    }

    /// See [`Transaction::set_lifetime`](crate::Transaction::set_lifetime).
    ///
    /// # Errors
    /// As there.
    pub async fn set_lifetime<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
        lifetime: Lifetime,
    ) -> Result<bool> {
        let key = table.key(key)?;
        self.step(|attempt, waker| operation::retime(attempt, waker, table, &key, lifetime)).await
    }

    /// See [`Transaction::delete`](crate::Transaction::delete).
    ///
    /// # Errors
    /// As there.
    pub async fn delete<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<()> {
        let key = table.key(key)?;
        self.step(|attempt, _| operation::delete(attempt, table, key.clone())).await
    }

    /// See [`Transaction::delete_object`](crate::Transaction::delete_object).
    ///
    /// # Errors
    /// As there.
    pub async fn delete_object<S: Shape>(&self, table: &Table<S>, row: &S::Given) -> Result<bool> {
        let row = S::encode(table.open()?.def(), row)?;
        self.step(|attempt, waker| operation::delete_object(attempt, waker, table, row.clone())).await
    }

    /// See [`Transaction::take`](crate::Transaction::take).
    ///
    /// # Errors
    /// As there.
    pub async fn take<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let rows = self.step(|attempt, waker| operation::take(attempt, waker, table, key.clone())).await?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// See [`Transaction::compare_and_swap`](crate::Transaction::compare_and_swap).
    ///
    /// # Errors
    /// As there.
    pub async fn compare_and_swap<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
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
        .await
    }

    /// See [`Transaction::update_attributes`](crate::Transaction::update_attributes).
    ///
    /// # Errors
    /// As there.
    pub async fn update_attributes<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
        changes: &[(&str, Value)],
    ) -> Result<bool> {
        let key = table.key(key)?;
        self.step(|attempt, waker| operation::update(attempt, waker, table, &key, changes)).await
    }

    /// See [`Transaction::update_counter`](crate::Transaction::update_counter).
    ///
    /// # Errors
    /// As there.
    pub async fn update_counter<S: ShapeKey<Q>, Q: ?Sized>(
        &self,
        table: &Table<S>,
        key: &Q,
        counts: &[Count],
        default: Option<&S::Given>,
    ) -> Result<Option<Vec<i64>>> {
        let open = table.open()?;
        let key = S::encode_key(open.def(), key)?;
        let default = default.map(|row| S::encode(open.def(), row)).transpose()?;
        self.step(|attempt, waker| operation::count(attempt, waker, table, &key, counts, default.as_ref()))
            .await
    }

    /// See [`Transaction::range`](crate::Transaction::range).
    ///
    /// # Errors
    /// As there.
    pub async fn range<S: Shape>(&self, table: &Table<S>, span: &Span) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let found = self.step(|attempt, waker| operation::scan(attempt, waker, table, span)).await?;
        let rows = found.iter().flat_map(|(_, body)| body.rows());
        rows.map(|row| S::decode(open.def(), row)).collect()
    }

    /// See [`Transaction::index_read`](crate::Transaction::index_read).
    ///
    /// # Errors
    /// As there.
    pub async fn index_read<S: Shape>(
        &self,
        table: &Table<S>,
        index: &str,
        values: &[Value],
    ) -> Result<Vec<S::Shown>> {
        let span = Span::of(operation::entries_with(table.open()?.def(), index, values)?);
        self.index_range(table, index, &span).await
    }

    /// See [`Transaction::index_range`](crate::Transaction::index_range).
    ///
    /// # Errors
    /// As there.
    pub async fn index_range<S: Shape>(
        &self,
        table: &Table<S>,
        index: &str,
        span: &Span,
    ) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let rows = self.step(|attempt, waker| operation::index(attempt, waker, table, index, span)).await?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }
}

/// A nested transaction. It ends when it is dropped, which a future may be at every await.
struct Nest<'t> {
    outer: &'t AsyncTransaction,
    mark: Mark,
    keep: bool,
}

impl Drop for Nest<'_> {
    fn drop(&mut self) {
        if !self.keep {
            // A transaction that has ended has no writes left to drop.
            let _ = self.outer.roll_back(&self.mark);
        }
    }
}

/// A place in the writes of an [`AsyncTransaction`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    id: TxId,
    writes: usize,
}
