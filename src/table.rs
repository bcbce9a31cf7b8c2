//! A table as the program holds it: a name for the rows, in the shape of a record or of plain values. A handle costs two
//! counted references, may be cloned and sent anywhere, and stays good through changes of the definition.
//!
//! The operations here stand outside any transaction. Reads look at local memory and wait only for a row that is being
//! committed; writes are transactions of one operation, retried inside. The `dirty_` ones do less: see each.

use std::marker::PhantomData;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia_store::{
    Body, IndexDef, Key, KeyRange, Row, Table as Open, TableDef, TableId, TableStatistics, Timestamp, Value,
};

use crate::core::Core;
use crate::decision::{self, Expected};
use crate::error::{Error, Result};
use crate::event::{EventDetail, Subscription};
use crate::limits::SCHEMA_DEADLINE_DEFAULT;
use crate::operation::Count;
use crate::options::{Lifetime, Span, TxOptions};
use crate::record::{Record, check_table};
use crate::shape::{Dynamic, Shape, ShapeKey, Stored};
use crate::snapshot::Snapshot;
use crate::transaction::{self, Transaction};

mod alone;
mod computed;
mod rows;

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
        self.shaped()
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
        Ok(Table::over(core, &open))
    }

    /// As a table of records.
    ///
    /// # Errors
    /// [`Error::Record`] when its attributes are not the record's.
    pub fn of<R: Record>(&self) -> Result<Table<R>> {
        let open = self.open()?;
        check_table::<R>(open.def()).map_err(|mismatch| Error::Record {
            record: std::any::type_name::<R>(),
            table: self.name.to_string(),
            reason: mismatch.to_string(),
        })?;
        Ok(Table::over(&self.core, &open))
    }
}

impl<S> Table<S> {
    fn over(core: &Arc<Core>, open: &Arc<Open>) -> Table<S> {
        let name = Arc::from(open.def().name.as_str());
        let (here, alone) = (core.has_copy(open.def()), core.alone_with(open.def()));
        Table { core: Arc::clone(core), known: Arc::clone(open), here, alone, name, shape: PhantomData }
    }

    /// The same table in another shape.
    fn shaped<T>(&self) -> Table<T> {
        let (core, known, name) = (Arc::clone(&self.core), Arc::clone(&self.known), Arc::clone(&self.name));
        Table { core, known, here: self.here, alone: self.alone, name, shape: PhantomData }
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
        Ok(self.open()?.def().clone())
    }

    /// The same table with plain values as rows.
    pub fn dynamic(&self) -> DynTable {
        self.shaped()
    }

    /// The same table with rows as they are stored.
    pub fn stored(&self) -> Table<Stored> {
        self.shaped()
    }

    #[inline]
    pub(crate) fn open(&self) -> Result<OpenTable<'_>> {
        if self.known.is_current() {
            return Ok(OpenTable::Known(&self.known));
        }
        let found = self.core.store.table(self.id()).map(OpenTable::Found);
        found.ok_or_else(|| Error::NoSuchTable { name: self.name.to_string() })
    }

    fn readable(&self) -> Result<OpenTable<'_>> {
        self.core.check_serving()?;
        let open = self.open()?;
        self.core.check_copy(open.def())?;
        Ok(open)
    }

    /// The table as it was when the handle was made, when that may be read as it is.
    #[inline]
    fn at_hand(&self) -> Option<&Open> {
        (self.here && self.core.is_serving() && self.known.is_current()).then_some(&*self.known)
    }

    /// Shows what the key holds now, where it stands.
    #[inline]
    fn shown<Q: ?Sized, T>(
        &self,
        key: &Q,
        show: impl FnOnce(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        let Some(open) = self.at_hand() else { return self.shown_anew(key, show) };
        let key = S::encode_key(open.def(), key)?;
        match open.glance(&key, |body, version| show(open.def(), body, version)) {
            Ok(found) => Ok(found),
            Err(show) => self.core.latest_version(open, &key, show),
        }
    }

    #[cold]
    fn shown_anew<Q: ?Sized, T>(
        &self,
        key: &Q,
        show: impl FnOnce(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        let open = self.readable()?;
        let key = S::encode_key(open.def(), key)?;
        self.core.latest_version(&open, &key, |body, version| show(open.def(), body, version))
    }

    /// Rows, committed and alive. O(1); exact when nothing is being committed.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::NoCopy`].
    pub fn len(&self) -> Result<u64> {
        Ok(self.readable()?.len())
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
        Ok(self.readable()?.statistics())
    }

    /// Bytes of memory it holds: rows, keys and all that finds them, index entries, deadlines, what is kept for snapshots;
    /// as asked for from the allocator, within 5 %. Takes some tens of microseconds, whatever its size.
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn memory_bytes(&self) -> Result<u64> {
        Ok(self.readable()?.memory_bytes())
    }

    /// Its indexes by name, and how many entries each has; those included that no row has any more and that are kept for
    /// two seconds, or for a snapshot.
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn index_entries(&self) -> Result<Vec<(String, u64)>> {
        Ok(self.readable()?.index_entries().map(|(name, entries)| (name.to_owned(), entries)).collect())
    }

    /// Bytes of its keys and rows in memory. O(1).
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.readable()?.bytes())
    }

    /// Every change from now on, as it is committed on this node. See [`Subscription`].
    ///
    /// # Errors
    /// As [`Table::len`].
    pub fn subscribe(&self, detail: EventDetail) -> Result<Subscription> {
        Ok(Subscription::new(self.readable()?.subscribe(detail)))
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

/// Reads outside a transaction. Each sees everything that was acknowledged anywhere before it began.
impl<S: Shape> Table<S> {
    /// The row of a key; of a bag the oldest one.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::NoCopy`], [`Error::InDoubt`]. Nothing changed.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        let first = |def: &TableDef, body: &Body| body.rows().first().map(|row| S::decode(def, row));
        self.shown(key, |def, body, _| first(def, body))?.flatten().transpose()
    }

    /// All rows of a key: of a bag in the order they came.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn read<Q: ?Sized>(&self, key: &Q) -> Result<Vec<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        let all = |def: &TableDef, body: &Body| body.rows().iter().map(|row| S::decode(def, row)).collect();
        self.shown(key, |def, body, _| all(def, body))?.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Looks at the row of a key where it stands, without copying anything.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn view<Q: ?Sized, T>(&self, key: &Q, look: impl FnOnce(&Row) -> T) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        Ok(self.shown(key, |_, body, _| body.rows().first().map(look))?.flatten())
    }

    /// When the row of a key expires; `None` when it does not, or is not there.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn deadline<Q: ?Sized>(&self, key: &Q) -> Result<Option<SystemTime>>
    where
        S: ShapeKey<Q>,
    {
        let deadline = self.view(key, Row::deadline_ms)?.flatten();
        Ok(deadline.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))))
    }

    /// Whether the key has a row.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn contains<Q: ?Sized>(&self, key: &Q) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        Ok(self.view(key, |_| ())?.is_some())
    }

    /// One attribute of the row of a key, or the default when there is no row.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::NoSuchAttribute`].
    pub fn lookup<Q: ?Sized>(&self, key: &Q, attribute: &str, default: Value) -> Result<Value>
    where
        S: ShapeKey<Q>,
    {
        let missing =
            || Error::NoSuchAttribute { table: self.name.to_string(), attribute: attribute.to_owned() };
        let position = self.open()?.def().position(attribute).ok_or_else(missing)?;
        Ok(self.view(key, |row| row.attribute(position).to_value())?.unwrap_or(default))
    }

    /// The newest committed row of a key on this node, whatever is under way. Waits for nothing; may be older than what
    /// another node has acknowledged.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::NoCopy`].
    pub fn dirty_get<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        let open = self.readable()?;
        let key = S::encode_key(open.def(), key)?;
        let body = open.newest(&key).map_err(|blocked| self.core.unanswered(blocked))?.map(|(body, _)| body);
        body.and_then(|body| body.rows().first().map(|row| S::decode(open.def(), row))).transpose()
    }

    /// The rows within a span, in one snapshot. Sets and bags only take [`Span::all`], in no order.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::WrongKind`].
    pub fn range(&self, span: &Span) -> Result<Vec<S::Shown>> {
        Snapshot::take(&self.core)?.range(self, span)
    }

    /// All rows, in one snapshot.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn to_vec(&self) -> Result<Vec<S::Shown>> {
        self.range(&Span::all())
    }

    /// The rows that have these values under an index (or begin with them), in the order of the index, in one snapshot.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::NoSuchIndex`].
    pub fn index_read(&self, index: &str, values: &[Value]) -> Result<Vec<S::Shown>> {
        Snapshot::take(&self.core)?.index_read(self, index, values)
    }

    /// The row of the smallest key of an ordered set.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::WrongKind`].
    pub fn first(&self) -> Result<Option<S::Shown>> {
        Snapshot::take(&self.core)?.first(self)
    }

    /// The row of the largest key of an ordered set.
    ///
    /// # Errors
    /// As [`Table::first`].
    pub fn last(&self) -> Result<Option<S::Shown>> {
        Snapshot::take(&self.core)?.last(self)
    }

    /// The row behind a key, which need not be there.
    ///
    /// # Errors
    /// As [`Table::first`].
    pub fn next<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        Snapshot::take(&self.core)?.next(self, key)
    }

    /// The row before a key, which need not be there.
    ///
    /// # Errors
    /// As [`Table::first`].
    pub fn prev<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        Snapshot::take(&self.core)?.prev(self, key)
    }
}

/// Writes outside a transaction: each is a transaction of its own, retried inside, or one step under the key's lock where
/// the only copy is here. When it returns, every copy has it at the table's ack level. Errors as in [`Node::transaction`](crate::Node::transaction).
impl<S: Shape> Table<S> {
    fn run<T>(&self, operation: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        transaction::run(&self.core, &TxOptions::default(), operation)
    }

    /// Puts a row: replaces the row of its key; in a bag it is added unless an identical one is there.
    ///
    /// # Errors
    /// As a transaction, and [`Error::Row`].
    pub fn insert(&self, row: &S::Given) -> Result<()> {
        self.insert_with(row, Lifetime::OfTable)
    }

    /// Puts a row with a lifetime of its own.
    ///
    /// # Errors
    /// As [`Table::insert`]; [`Error::WrongKind`] on a bag.
    pub fn insert_with(&self, row: &S::Given, lifetime: Lifetime) -> Result<()> {
        match self.put_alone(row, lifetime)? {
            true => Ok(()),
            false => self.run(|tx| tx.insert_with(self, row, lifetime)),
        }
    }

    /// Gives the row of a key another lifetime, counted from now; says whether there is such a row.
    ///
    /// # Errors
    /// As a transaction; [`Error::WrongKind`] on a bag.
    pub fn set_lifetime<Q: ?Sized>(&self, key: &Q, lifetime: Lifetime) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        self.alter(&self.key(key)?, |def, held| decision::retime(def, held, lifetime))
    }

    /// Puts a row if its key has none; says whether it did.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn insert_new(&self, row: &S::Given) -> Result<bool> {
        let (key, row) = self.encoded(row)?;
        self.alter(&key, |def, held| decision::put_new(def, held, &row, Lifetime::OfTable))
    }

    /// Deletes the row of a key, or all rows of it in a bag.
    ///
    /// # Errors
    /// As a transaction.
    pub fn delete<Q: ?Sized>(&self, key: &Q) -> Result<()>
    where
        S: ShapeKey<Q>,
    {
        match self.delete_alone(&self.key(key)?)? {
            true => Ok(()),
            false => self.run(|tx| tx.delete(self, key)),
        }
    }

    /// Deletes this row if it is there exactly so; says whether it was.
    ///
    /// # Errors
    /// As a transaction.
    pub fn delete_object(&self, row: &S::Given) -> Result<bool> {
        let (key, row) = self.encoded(row)?;
        self.alter(&key, |def, held| Ok(decision::delete_object(def, held, &row)))
    }

    /// Deletes the rows of a key and gives them back.
    ///
    /// # Errors
    /// As a transaction.
    pub fn take<Q: ?Sized>(&self, key: &Q) -> Result<Vec<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        let rows = self.alter(&self.key(key)?, |_, held| Ok(decision::take(held)))?;
        let open = self.open()?;
        rows.iter().map(|row| S::decode(open.def(), row)).collect()
    }

    /// Puts `new` (or deletes, when `None`) if the row of the key is `expected` (or absent, when `None`).
    ///
    /// # Errors
    /// As a transaction; [`Error::WrongKind`] on a bag.
    pub fn compare_and_swap<Q: ?Sized>(
        &self,
        key: &Q,
        expected: Option<&S::Given>,
        new: Option<&S::Given>,
    ) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        let encode = |row| self.encoded(row).map(|(_, row)| row);
        let (expected, new) = (expected.map(encode).transpose()?, new.map(encode).transpose()?);
        let (key, expected) = (self.key(key)?, expected.as_ref().map_or(Expected::Absent, Expected::Row));
        self.alter(&key, |def, held| {
            decision::swap(def, held, Timestamp::NEVER, &key, &expected, new.as_ref())
        })
    }

    /// Changes attributes of the row of a key; says whether there is one.
    ///
    /// # Errors
    /// As a transaction; [`Error::NoSuchAttribute`], [`Error::Row`].
    pub fn update_attributes<Q: ?Sized>(&self, key: &Q, changes: &[(&str, Value)]) -> Result<bool>
    where
        S: ShapeKey<Q>,
    {
        self.alter(&self.key(key)?, |def, held| decision::update(def, held, changes))
    }

    /// Adds to integer attributes of the row of a key, or of the default row when there is none, and gives the sums.
    ///
    /// # Errors
    /// As a transaction; [`Error::NoSuchAttribute`], [`Error::Row`].
    pub fn update_counter<Q: ?Sized>(
        &self,
        key: &Q,
        counts: &[Count],
        default: Option<&S::Given>,
    ) -> Result<Option<Vec<i64>>>
    where
        S: ShapeKey<Q>,
    {
        let default = default.map(|row| self.encoded(row).map(|(_, row)| row)).transpose()?;
        let key = self.key(key)?;
        self.alter(&key, |def, held| decision::count(def, held, &key, counts, default.as_ref()))
    }

    /// Adds to one integer attribute and gives the sum; `None` when the key has no row.
    ///
    /// # Errors
    /// As [`Table::update_counter`].
    pub fn increment<Q: ?Sized>(&self, key: &Q, attribute: &str, by: i64) -> Result<Option<i64>>
    where
        S: ShapeKey<Q>,
    {
        let sums = self.update_counter(key, &[Count::new(attribute.to_owned(), by)], None)?;
        Ok(sums.and_then(|sums| sums.first().copied()))
    }

    /// Takes every row away in one step, whatever their number: on all copies, or of a local table those of this node.
    /// Writers of the table wait for it; readers see all rows or none; subscribers hear of every row that went. Snapshots
    /// of before say [`Error::SchemaChanged`] when they look into the table. All members have to be up unless the table is
    /// local. Inside a transaction with others, see [`Transaction::clear`].
    ///
    /// # Errors
    /// As a transaction; [`Error::NoCopy`].
    pub fn clear(&self) -> Result<()> {
        let open = self.open()?;
        crate::alter::clear(&self.core, &open, SCHEMA_DEADLINE_DEFAULT)
    }

    /// Puts a row without looking at what is there: a blind write on the same path, so that replicas end equal.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn dirty_put(&self, row: &S::Given) -> Result<()> {
        self.insert(row)
    }

    /// Deletes without looking at what is there.
    ///
    /// # Errors
    /// As [`Table::delete`].
    pub fn dirty_delete<Q: ?Sized>(&self, key: &Q) -> Result<()>
    where
        S: ShapeKey<Q>,
    {
        self.delete(key)
    }

    /// As [`Table::dirty_put`], and every copy has applied it when it returns.
    ///
    /// # Errors
    /// As [`Table::insert`].
    pub fn dirty_sync_put(&self, row: &S::Given) -> Result<()> {
        transaction::run(&self.core, &TxOptions::new().sync(), |tx| tx.insert(self, row))
    }
}
