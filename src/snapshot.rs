//! Read-only transactions. A snapshot is settled when it is taken: every transaction that may have committed at or below
//! its timestamp is decided. After that it reads without waiting and without restarting, and sends nothing.
//! Described in `docs/protocol.md`, "Read-only transactions".

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia_store::work::Blocked;
use hypermnesia_store::{Body, IndexDef, Key, Row, Snapshot as Live, Table as Open, Timestamp, Value};

use crate::core::Core;
use crate::error::Result;
use crate::limits::{DEADLINE_DEFAULT, READ_AGAIN_PAUSE, READS_AGAIN_MAX};
use crate::operation::{entries_with, ordered, ordered_unless_all};
use crate::options::Span;
use crate::shape::{Shape, ShapeKey};
use crate::table::Table;
use crate::vouch::passes;
use crate::wait::{Parker, deadline_in};

/// One state of all tables: everything that was acknowledged before it was taken, and nothing of what came later. While it
/// lives the versions it reads are kept, one of each key, and the entries of indexes that lead to them.
///
/// ```
/// use hypermnesia::{Node, Type, Value, TableDef};
///
/// let node = Node::builder().build()?;
/// let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int).attribute("text", Type::Text))?;
/// notes.insert(&[Value::Int(1), Value::from("before")])?;
/// let snapshot = node.snapshot()?;
/// notes.insert(&[Value::Int(1), Value::from("after")])?;
/// assert_eq!(snapshot.get(&notes, &[Value::Int(1)])?, Some(vec![Value::Int(1), Value::from("before")]));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
pub struct Snapshot {
    pub(crate) core: Arc<Core>,
    live: Live,
    /// Of the node, when it was taken: it ends with that.
    tenure: u64,
    deadline: Instant,
}

/// How often a read has met a change of the definition ([`Error::SchemaChanged`](crate::Error::SchemaChanged)): for who reads at a snapshot taken for that
/// alone, and may take another one.
#[derive(Debug, Default)]
pub struct Again(u32);

impl Again {
    /// Waits a little before it is tried again; false when it was tried often enough. Blocks the thread for a millisecond, but
    /// not at the first time.
    pub fn pause(&mut self) -> bool {
        self.0 += 1;
        if self.0 > 1 {
            Parker::current().park_until(Instant::now() + READ_AGAIN_PAUSE);
        }
        self.0 <= READS_AGAIN_MAX
    }
}

impl Snapshot {
    pub(crate) fn take(core: &Arc<Core>) -> Result<Snapshot> {
        Snapshot::take_within(core, DEADLINE_DEFAULT)
    }

    /// As [`Snapshot::take`]; its waits end after this time.
    pub(crate) fn take_within(core: &Arc<Core>, time: Duration) -> Result<Snapshot> {
        let mut again = Again::default();
        loop {
            match Snapshot::take_once(core, time) {
                Err(error) if passes(&error) && again.pause() => {}
                taken => return taken,
            }
        }
    }

    fn take_once(core: &Arc<Core>, time: Duration) -> Result<Snapshot> {
        core.check_serving()?;
        let mut snapshot = Snapshot {
            tenure: core.replica.tenure(),
            core: Arc::clone(core),
            live: core.store.snapshot(),
            deadline: deadline_in(time),
        };
        loop {
            match core.store.settled(snapshot.live.at()) {
                Ok(()) => {
                    snapshot.live.settle();
                    core.vouch(snapshot.tenure)?;
                    return Ok(snapshot);
                }
                Err(Blocked::Raise(to)) => snapshot.live.raise(to),
                Err(blocked) => snapshot.wait(blocked)?,
            }
        }
    }

    /// Reads at a snapshot taken for that alone. Where the definition of a table changes in the middle, or its rows go all at
    /// once, it reads again at another one, behind that.
    pub(crate) fn once<T>(core: &Arc<Core>, mut read: impl FnMut(&Snapshot) -> Result<T>) -> Result<T> {
        let mut again = Again::default();
        loop {
            match read(&Snapshot::take(core)?) {
                Err(error) if passes(&error) && again.pause() => {}
                other => return other,
            }
        }
    }

    /// The timestamp it reads at.
    pub fn at(&self) -> Timestamp {
        self.live.at()
    }

    /// Whether what it has read is of one state: it ends when its node is outside of the cluster for a while, since rows come back
    /// under other timestamps then.
    pub(crate) fn still(&self) -> Result<()> {
        self.core.check_tenure(self.tenure)
    }

    /// Whether a table may be read here, at this snapshot.
    pub(crate) fn check(&self, def: &hypermnesia_store::TableDef) -> Result<()> {
        self.still()?;
        self.core.check_copy(def)
    }

    pub(crate) fn wait(&self, blocked: Blocked) -> Result<()> {
        match blocked {
            Blocked::Pending(txn) => self.core.wait_for(&txn, &Parker::current(), self.deadline),
            // A settled snapshot is never to be raised; while it is being settled that is done instead.
            blocked => Err(self.core.unanswered(blocked)),
        }
    }

    /// What a key holds.
    pub(crate) fn body(&self, open: &Open, key: &Key) -> Result<Option<Body>> {
        self.check(open.def())?;
        loop {
            match open.read(key, self.live.at()) {
                Ok(found) => return self.still().map(|()| found.map(|(body, _)| body)),
                Err(blocked) => self.wait(blocked)?,
            }
        }
    }

    /// Shows every key within a span and what it holds.
    pub(crate) fn visit(
        &self,
        open: &Arc<Open>,
        span: &Span,
        mut show: impl FnMut(&Key, &Body) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check(open.def())?;
        let cursor = open.cursor(span.range.clone(), span.walk.into(), self.live.at());
        self.drain(cursor, span.limit, &mut |key, body, _| show(key, body))
    }

    /// Shows every key, what it holds, and the commit timestamp of that.
    pub(crate) fn visit_versions(
        &self,
        open: &Arc<Open>,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check(open.def())?;
        let all = Span::all();
        self.drain(open.cursor(all.range, all.walk.into(), self.live.at()), usize::MAX, &mut show)
    }

    /// Shows the keys and rows whose entries in an index lie within a span.
    pub(crate) fn visit_index(
        &self,
        open: &Arc<Open>,
        index: &IndexDef,
        span: &Span,
        mut show: impl FnMut(&Key, &Body) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check(open.def())?;
        let cursor = open.index_cursor(index.id, span.range.clone(), span.walk.into(), self.live.at());
        self.drain(cursor, span.limit, &mut |key, body, _| show(key, body))
    }

    fn drain(
        &self,
        cursor: hypermnesia_store::Cursor,
        limit: usize,
        show: &mut dyn FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut left, mut cursor) = (limit, cursor);
        if left == 0 {
            return Ok(());
        }
        loop {
            let done = cursor.each(|key, body, at| {
                left -= 1;
                match show(key, body, at) {
                    ControlFlow::Continue(()) if left > 0 => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            });
            match done {
                Ok(()) => return self.still(),
                Err(blocked) => self.wait(blocked)?,
            }
        }
    }

    /// The row of a key; of a bag the oldest one.
    ///
    /// # Errors
    /// [`Error::NoCopy`](crate::Error::NoCopy), [`Error::NoSuchTable`](crate::Error::NoSuchTable), [`Error::Row`](crate::Error::Row).
    pub fn get<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Option<S::Shown>> {
        Ok(self.read(table, key)?.into_iter().next())
    }

    /// All rows of a key: of a bag in the order they came.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn read<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Vec<S::Shown>> {
        let open = table.open()?;
        let body = self.body(&open, &S::encode_key(open.def(), key)?)?;
        body.as_ref().map_or(&[][..], Body::rows).iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// Shows every row within a span, one at a time, until told to stop: for tables larger than should be held at once.
    /// Sets and bags only take [`Span::all`], in no order.
    ///
    /// # Errors
    /// As [`Snapshot::get`], [`Error::WrongKind`](crate::Error::WrongKind), and [`Error::SchemaChanged`](crate::Error::SchemaChanged) when the definition changes meanwhile.
    pub fn each<S: Shape>(
        &self,
        table: &Table<S>,
        span: &Span,
        mut show: impl FnMut(S::Shown) -> ControlFlow<()>,
    ) -> Result<()> {
        let open = table.open()?;
        ordered_unless_all(open.def(), &span.range, "a range")?;
        let mut failed = None;
        self.visit(&open, span, |_, body| {
            for row in body.rows() {
                match S::decode(open.def(), row) {
                    Ok(row) => show(row)?,
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// As [`Snapshot::each`], with rows as they are stored: nothing is decoded.
    ///
    /// # Errors
    /// As [`Snapshot::each`].
    pub fn each_stored<S: Shape>(
        &self,
        table: &Table<S>,
        span: &Span,
        mut show: impl FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<()> {
        let open = table.open()?;
        ordered_unless_all(open.def(), &span.range, "a range")?;
        self.visit(&open, span, |_, body| body.rows().iter().try_for_each(&mut show))
    }

    /// Shows every stored row whose entry in an index (its values with the key behind them) lies within a span, one at a
    /// time, until told to stop.
    ///
    /// # Errors
    /// As [`Snapshot::index_read`].
    pub fn each_indexed<S: Shape>(
        &self,
        table: &Table<S>,
        index: &str,
        span: &Span,
        mut show: impl FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<()> {
        let (open, index) = (table.open()?, table.index_named(index)?);
        self.visit_index(&open, &index, span, |_, body| body.rows().iter().try_for_each(&mut show))
    }

    /// The stored rows of a key.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn stored<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Vec<Row>> {
        let open = table.open()?;
        let body = self.body(&open, &S::encode_key(open.def(), key)?)?;
        Ok(body.as_ref().map_or(&[][..], Body::rows).to_vec())
    }

    /// The rows within a span, with their encoded keys, at most `span.limit` keys: to be continued with a span behind the
    /// last key.
    ///
    /// # Errors
    /// As [`Snapshot::each`].
    pub fn entries<S: Shape>(&self, table: &Table<S>, span: &Span) -> Result<Vec<(Key, Vec<S::Shown>)>> {
        let open = table.open()?;
        ordered_unless_all(open.def(), &span.range, "a range")?;
        let mut found = Vec::new();
        self.visit(&open, span, |key, body| {
            found.push((key.clone(), body.clone()));
            ControlFlow::Continue(())
        })?;
        let shown = |body: &Body| -> Result<Vec<S::Shown>> {
            body.rows().iter().map(|row| S::decode(open.def(), row)).collect()
        };
        found.into_iter().map(|(key, body)| Ok((key, shown(&body)?))).collect()
    }

    /// The rows within a span.
    ///
    /// # Errors
    /// As [`Snapshot::each`].
    pub fn range<S: Shape>(&self, table: &Table<S>, span: &Span) -> Result<Vec<S::Shown>> {
        let mut rows = Vec::new();
        self.each(table, span, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// The rows that have these values under an index (or begin with them), in the order of the index.
    ///
    /// # Errors
    /// As [`Snapshot::get`]; [`Error::NoSuchIndex`](crate::Error::NoSuchIndex); [`Error::Row`](crate::Error::Row) for values that the index
    /// cannot hold.
    pub fn index_read<S: Shape>(
        &self,
        table: &Table<S>,
        index: &str,
        values: &[Value],
    ) -> Result<Vec<S::Shown>> {
        let span = Span::of(entries_with(table.open()?.def(), index, values)?);
        self.index_range(table, index, &span)
    }

    /// The rows whose entry in an index (its values with the key behind them) lies within a span.
    ///
    /// # Errors
    /// As [`Snapshot::index_read`].
    pub fn index_range<S: Shape>(&self, table: &Table<S>, index: &str, span: &Span) -> Result<Vec<S::Shown>> {
        let (open, index) = (table.open()?, table.index_named(index)?);
        let mut found = Vec::new();
        self.visit_index(&open, &index, span, |_, body| {
            found.push(body.clone());
            ControlFlow::Continue(())
        })?;
        found.iter().flat_map(Body::rows).map(|row| S::decode(open.def(), row)).collect()
    }

    /// The row of the smallest key of an ordered set.
    ///
    /// # Errors
    /// As [`Snapshot::get`]; [`Error::WrongKind`](crate::Error::WrongKind).
    pub fn first<S: Shape>(&self, table: &Table<S>) -> Result<Option<S::Shown>> {
        self.edge(table, Span::all(), "first")
    }

    /// The row of the largest key of an ordered set.
    ///
    /// # Errors
    /// As [`Snapshot::first`].
    pub fn last<S: Shape>(&self, table: &Table<S>) -> Result<Option<S::Shown>> {
        self.edge(table, Span::all().backward(), "last")
    }

    /// The row behind a key, which need not be there.
    ///
    /// # Errors
    /// As [`Snapshot::first`].
    pub fn next<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Option<S::Shown>> {
        self.edge(table, Span::behind(table.key(key)?), "next")
    }

    /// The row before a key, which need not be there.
    ///
    /// # Errors
    /// As [`Snapshot::first`].
    pub fn prev<S: ShapeKey<Q>, Q: ?Sized>(&self, table: &Table<S>, key: &Q) -> Result<Option<S::Shown>> {
        self.edge(table, Span::before(table.key(key)?), "prev")
    }

    fn edge<S: Shape>(
        &self,
        table: &Table<S>,
        span: Span,
        operation: &'static str,
    ) -> Result<Option<S::Shown>> {
        ordered(table.open()?.def(), operation)?;
        Ok(self.range(table, &span.limit(1))?.into_iter().next())
    }
}
