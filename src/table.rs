//! A table as the program holds it: a name for the rows, in the shape of a record or of plain values. A handle costs two
//! counted references, may be cloned and sent anywhere, and stays good through changes of the definition.
//!
//! The operations here stand outside any transaction. Reads look at local memory and wait only for a row that is being
//! committed; writes are transactions of one operation, retried inside. The `dirty_` ones do less: see each.

use std::marker::PhantomData;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

use hypermnesia_replication::Peer;
use hypermnesia_store::{
    Body, IndexDef, Key, KeyRange, Table as Open, TableDef, TableId, TableStatistics, Value,
};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::{EventDetail, EventPosition, Subscription};
use crate::options::Span;
use crate::record::{Record, TableMismatch, check_beginning, check_table};
use crate::shape::{Dynamic, Shape, ShapeKey, Stored};
use crate::snapshot::{Again, Snapshot};
use crate::vouch::passes;

mod alone;
mod computed;
mod reads;
pub(crate) mod remote;
mod rows;
mod writes;

/// A table whose rows are records (`Table<City>`) or plain values ([`DynTable`]).
///
/// ```
/// use hypermnesia::{Node, Record};
///
/// #[derive(Record, Debug, PartialEq)]
/// struct Visit {
///     #[record(key)]
///     user: String,
///     count: i64,
/// }
///
/// let node = Node::builder().build()?;
/// let visits = node.create_table_of::<Visit>()?;
/// visits.insert(&Visit { user: "ann".into(), count: 1 })?;
/// assert_eq!(visits.get("ann")?.map(|visit| visit.count), Some(1));
/// assert_eq!(visits.increment("ann", "count", 2)?, Some(3));
/// assert_eq!(visits.len()?, 1);
/// # Ok::<(), hypermnesia::Error>(())
/// ```
pub struct Table<S> {
    pub(crate) core: Arc<Core>,
    /// As it was when the handle was made: used for as long as its definition is in force, so that finding the table costs
    /// an operation one look at a number.
    known: Arc<Open>,
    /// As [`Core::has_copy`] says of it.
    here: bool,
    /// As [`Core::alone_with`] says of it.
    alone: bool,
    name: Arc<str>,
    /// The type of its records, where its rows are some: then the attributes that it was made with have to be there.
    record: Option<&'static str>,
    shape: PhantomData<fn() -> S>,
}

/// The table with its definition in force, for the length of an operation.
pub(crate) enum OpenTable<'t> {
    Known(&'t Arc<Open>),
    /// The definition has changed since the handle was made.
    Found(Arc<Open>),
}

impl Deref for OpenTable<'_> {
    type Target = Arc<Open>;

    fn deref(&self) -> &Arc<Open> {
        match self {
            OpenTable::Known(open) => open,
            OpenTable::Found(open) => open,
        }
    }
}

/// A table whose rows are plain values, in the order of the table's attributes.
pub type DynTable = Table<Dynamic>;

impl<S> Clone for Table<S> {
    fn clone(&self) -> Table<S> {
        self.shaped(self.record)
    }
}

impl<S> std::fmt::Debug for Table<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

impl DynTable {
    pub(crate) fn named(core: &Arc<Core>, name: &str) -> Result<DynTable> {
        let open =
            core.store.table_named(name).ok_or_else(|| Error::NoSuchTable { name: name.to_owned() })?;
        Ok(Table::over(core, &open, None))
    }

    /// As a table of records.
    ///
    /// # Errors
    /// [`Error::Record`] when its attributes are not the record's.
    pub fn of<R: Record>(&self) -> Result<Table<R>> {
        let open = self.open()?;
        let record = std::any::type_name::<R>();
        check_table::<R>(open.def()).map_err(|mismatch| self.is_no(record, &mismatch))?;
        Ok(Table::over(&self.core, &open, Some(record)))
    }
}

impl<S> Table<S> {
    fn over(core: &Arc<Core>, open: &Arc<Open>, record: Option<&'static str>) -> Table<S> {
        let name = Arc::from(open.def().name.as_str());
        let (here, alone) = (core.has_copy(open.def()), core.alone_with(open.def()));
        Table {
            core: Arc::clone(core),
            known: Arc::clone(open),
            here,
            alone,
            name,
            record,
            shape: PhantomData,
        }
    }

    /// The same table in another shape.
    fn shaped<T>(&self, record: Option<&'static str>) -> Table<T> {
        let (core, known, name) = (Arc::clone(&self.core), Arc::clone(&self.known), Arc::clone(&self.name));
        Table { core, known, here: self.here, alone: self.alone, name, record, shape: PhantomData }
    }

    fn is_no(&self, record: &'static str, mismatch: &TableMismatch) -> Error {
        Error::Record { record, table: self.name.to_string(), reason: mismatch.to_string() }
    }

    /// Its name when the handle was made.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, which it keeps for good.
    pub fn id(&self) -> TableId {
        self.known.id()
    }

    /// Its definition now.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] when it was dropped.
    pub fn definition(&self) -> Result<TableDef> {
        Ok(self.found()?.def().clone())
    }

    /// The same table with plain values as rows.
    pub fn dynamic(&self) -> DynTable {
        self.shaped(None)
    }

    /// The same table with rows as they are stored.
    pub fn stored(&self) -> Table<Stored> {
        self.shaped(None)
    }

    /// As it is now, for its rows: a record's table must still have the attributes that it had when the handle was made, in
    /// their places.
    #[inline]
    pub(crate) fn open(&self) -> Result<OpenTable<'_>> {
        let open = self.found()?;
        if let (OpenTable::Found(found), Some(record)) = (&open, self.record)
            && found.def().layout().since != self.known.def().layout().since
        {
            check_beginning(self.known.def(), found.def())
                .map_err(|mismatch| self.is_no(record, &mismatch))?;
        }
        Ok(open)
    }

    /// As it is now, whatever its rows look like.
    #[inline]
    fn found(&self) -> Result<OpenTable<'_>> {
        if self.known.is_current() {
            return Ok(OpenTable::Known(&self.known));
        }
        let found = self.core.store.table(self.id()).map(OpenTable::Found);
        found.ok_or_else(|| Error::NoSuchTable { name: self.name.to_string() })
    }

    fn readable(&self) -> Result<OpenTable<'_>> {
        self.core.check_serving()?;
        self.core.await_definition(self.id())?;
        let open = self.open()?;
        self.core.check_copy(open.def())?;
        Ok(open)
    }

    /// As [`Table::readable`]; none where its rows have to be asked for.
    fn readable_here(&self) -> Result<Option<OpenTable<'_>>> {
        let mut again = Again::default();
        loop {
            if self.is_remote()? {
                return Ok(None);
            }
            match self.readable() {
                Err(error) if error.is_elsewhere() && again.pause() => {}
                open => return open.map(Some),
            }
        }
    }

    /// As [`Table::readable`], for who looks at no row.
    fn counted<T>(&self, count: impl FnOnce(&Open) -> T) -> Result<T> {
        let tenure = self.core.replica.tenure();
        self.core.check_serving()?;
        self.core.await_definition(self.id())?;
        let open = self.found()?;
        self.core.check_copy(open.def())?;
        let counted = count(&open);
        self.core.vouch_in(&open, tenure).map(|()| counted)
    }

    /// Rows, committed and alive. O(1); exact when nothing is being committed.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::NoCopy`].
    pub fn len(&self) -> Result<u64> {
        let mut again = Again::default();
        loop {
            if self.at_hand().is_none() && self.is_remote()? {
                return self.count_from_afar();
            }
            match self.counted(Open::len) {
                Err(error) if (passes(&error) || error.is_elsewhere()) && again.pause() => {}
                counted => return counted,
            }
        }
    }

    /// Whether there are no rows.
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// How it was used since the node started. Hits and misses are counted for tables with a time to live or a bound.
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn statistics(&self) -> Result<TableStatistics> {
        self.counted(Open::statistics)
    }

    /// Bytes of memory it holds: rows, keys and all that finds them, index entries, deadlines, what is kept for snapshots;
    /// as asked for from the allocator, within 1 % (3 % with deadlines). Takes a few microseconds, whatever its size.
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn memory_bytes(&self) -> Result<u64> {
        self.counted(Open::memory_bytes)
    }

    /// Its indexes by name, and how many entries each has; those included that no row has any more and that are kept for
    /// two seconds, or for a snapshot.
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn index_entries(&self) -> Result<Vec<(String, u64)>> {
        self.counted(|open| open.index_entries().map(|(name, entries)| (name.to_owned(), entries)).collect())
    }

    /// Bytes of its keys and rows, wherever they are: in memory, or on disc for the most part where the table lives on disc
    /// alone. What it takes of memory is [`Table::memory_bytes`]. O(1).
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn bytes(&self) -> Result<u64> {
        self.counted(Open::bytes)
    }

    /// Every change from now on, as it is committed on this node. See [`Subscription`].
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn subscribe(&self, detail: EventDetail) -> Result<Subscription> {
        let open = self.readable()?;
        Ok(self.listening(open.subscribe(detail)))
    }

    /// Every change behind the position of another subscription to this table at this node, each once.
    ///
    /// # Errors
    /// [`Error::EventsGone`] when they were not kept: then what changed is only seen by looking at the rows, as
    /// [`Table::subscribe_with_rows`] does. Otherwise as [`Table::len`].
    pub fn subscribe_from(&self, position: EventPosition, detail: EventDetail) -> Result<Subscription> {
        let open = self.readable()?;
        let gone = |why| Error::EventsGone { table: self.name.to_string(), why };
        let Peer { node, incarnation } = self.core.me;
        if (position.node, position.incarnation) != (node, incarnation) {
            return Err(gone(
                "the position was told by another member, or before this one was started again",
            ));
        }
        if position.table != open.id() {
            return Err(gone("the position is one of another table"));
        }
        let from = open.subscribe_from(position.place, detail);
        Ok(self.listening(from.ok_or_else(|| {
            gone("it lies behind the last change, or nobody listened for a while and they were not kept")
        })?))
    }

    /// A snapshot, and every change of this table that it does not show: together all there is, without a gap and with
    /// nothing twice. Read the table's rows in the snapshot first, and let it go.
    ///
    /// ```
    /// use hypermnesia::{EventDetail, Heard, Node, Span, TableDef, Type, Value};
    ///
    /// let node = Node::builder().build()?;
    /// let notes = node.create_table(TableDef::builder("notes").attribute("id", Type::Int))?;
    /// notes.insert(&[Value::Int(1)])?;
    /// let (snapshot, changes) = notes.subscribe_with_rows(EventDetail::Simple)?;
    /// notes.insert(&[Value::Int(2)])?;
    /// assert_eq!(snapshot.range(&notes, &Span::all())?, [[Value::Int(1)]]);
    /// let Some(Heard::Event(event)) = changes.try_next() else { panic!("no event") };
    /// assert_eq!(notes.rows_of(event.new.as_ref())?, [[Value::Int(2)]]);
    /// assert_eq!(changes.try_next(), None);
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Table::len`] and [`Node::snapshot`](crate::Node::snapshot).
    pub fn subscribe_with_rows(&self, detail: EventDetail) -> Result<(Snapshot, Subscription)> {
        let changes = self.subscribe(detail)?;
        let snapshot = Snapshot::take(&self.core)?;
        changes.skip_to(snapshot.at());
        Ok((snapshot, changes))
    }

    fn listening(&self, inner: hypermnesia_store::Subscription) -> Subscription {
        Subscription::new(self.core.me, self.id(), inner)
    }

    /// The rows of an event, old or new, as this table shows them: none, one, or those of a bag.
    ///
    /// # Errors
    /// [`Error::Record`], [`Error::NoSuchTable`].
    pub fn rows_of(&self, body: Option<&Body>) -> Result<Vec<S::Shown>>
    where
        S: Shape,
    {
        let open = self.open()?;
        body.map_or(&[][..], Body::rows).iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// The span from one key to another, for range reads.
    ///
    /// # Errors
    /// [`Error::Row`] when a bound is no key of the table.
    pub fn span<Q>(&self, bounds: impl RangeBounds<Q>) -> Result<Span>
    where
        S: ShapeKey<Q>,
    {
        let open = self.open()?;
        let encode = |bound: Bound<&Q>| {
            Ok::<_, Error>(match bound {
                Bound::Included(key) => Bound::Included(S::encode_key(open.def(), key)?),
                Bound::Excluded(key) => Bound::Excluded(S::encode_key(open.def(), key)?),
                Bound::Unbounded => Bound::Unbounded,
            })
        };
        let (start, end) = (encode(bounds.start_bound())?, encode(bounds.end_bound())?);
        Ok(Span::of(KeyRange { start, end }))
    }

    /// The span of all keys that begin with these values.
    ///
    /// # Errors
    /// [`Error::Value`] when they are too large for a key.
    pub fn prefix(&self, values: &[Value]) -> Result<Span> {
        Ok(Span::of(Key::prefix_range(&crate::index_span::as_stored(self.open()?.def(), values))?))
    }

    pub(crate) fn index_named(&self, name: &str) -> Result<IndexDef> {
        let missing = || Error::NoSuchIndex { table: self.name.to_string(), index: name.to_owned() };
        self.open()?.def().index_named(name).cloned().ok_or_else(missing)
    }

    /// The encoded key.
    ///
    /// # Errors
    /// [`Error::Row`] when it is no key of the table.
    pub fn key<Q: ?Sized>(&self, key: &Q) -> Result<Key>
    where
        S: ShapeKey<Q>,
    {
        S::encode_key(self.open()?.def(), key)
    }
}
