//! Reads outside a transaction.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia_store::{Body, Key, Row, Table as Open, TableDef, Timestamp, Value};

use super::Table;
use crate::error::{Error, Result};
use crate::operation::entries_with;
use crate::options::Span;
use crate::shape::{Shape, ShapeKey};
use crate::snapshot::Again;
use crate::vouch::passes;

impl<S> Table<S> {
    /// The table as it was when the handle was made, when that may be read as it is.
    #[inline]
    pub(super) fn at_hand(&self) -> Option<&Arc<Open>> {
        let core = &self.core;
        // In this order: see `Store::changing`.
        (self.here
            && core.is_serving()
            && core.replica.serves_all()
            && !core.store.is_changing()
            && self.known.is_current())
        .then_some(&self.known)
    }

    /// Shows what the key holds now, where it stands.
    #[inline]
    pub(super) fn shown<Q: ?Sized, T>(
        &self,
        key: &Q,
        show: impl FnOnce(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        let tenure = self.core.replica.tenure();
        let Some(open) = self.at_hand() else {
            return self.shown_late(tenure, |def| S::encode_key(def, key), show);
        };
        let encoded = S::encode_key(open.def(), key)?;
        let mut show = Some(show);
        let glanced = open
            .glance(&encoded, |body, version| show.take().map(|show| show(open.def(), body, version)))
            .map_err(drop);
        match (glanced, show) {
            (Err(()), Some(show)) => self.shown_late(tenure, |def| S::encode_key(def, key), show),
            (glanced, _) => self.core.vouch_in(open, tenure).map(|()| glanced.unwrap_or_default().flatten()),
        }
    }

    /// The same, whatever comes or goes in the middle.
    #[inline]
    pub(super) fn surely_shown<Q: ?Sized, T>(
        &self,
        key: &Q,
        show: impl Fn(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        match self.shown(key, &show) {
            Err(error) if passes(&error) => self.shown_again(key, show),
            shown => shown,
        }
    }

    #[cold]
    fn shown_again<Q: ?Sized, T>(
        &self,
        key: &Q,
        show: impl Fn(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        let mut again = Again::default();
        loop {
            match self.shown(key, &show) {
                Err(error) if passes(&error) && again.pause() => {}
                shown => return shown,
            }
        }
    }

    #[cold]
    fn shown_late<T>(
        &self,
        tenure: u64,
        encode: impl Fn(&TableDef) -> Result<Key>,
        show: impl FnOnce(&TableDef, &Body, Timestamp) -> T,
    ) -> Result<Option<T>> {
        // While it is alive no copy here loses its rows.
        let live = (!self.core.is_alone()).then(|| self.core.store.snapshot());
        let Some(open) = self.readable_here()? else {
            drop(live);
            return self.shown_from_afar(encode, show);
        };
        let key = encode(open.def())?;
        self.core.latest_version(tenure, &open, &key, |body, version| show(open.def(), body, version))
    }
}

/// Reads outside a transaction. Each sees everything that was acknowledged anywhere before it began.
impl<S: Shape> Table<S> {
    /// The row of a key; of a bag the oldest one.
    ///
    /// # Errors
    /// [`Error::NotReady`](crate::Error::NotReady), [`Error::NoCopy`](crate::Error::NoCopy), [`Error::InDoubt`](crate::Error::InDoubt). Nothing changed.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        let first = |def: &TableDef, body: &Body| body.rows().first().map(|row| S::decode(def, row));
        self.surely_shown(key, |def, body, _| first(def, body))?.flatten().transpose()
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
        self.surely_shown(key, |def, body, _| all(def, body))?.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Looks at the row of a key where it stands, without copying anything.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::SchemaChanged`](crate::Error::SchemaChanged) where the table's copy here goes just then: it may
    /// have looked.
    pub fn view<Q: ?Sized, T>(&self, key: &Q, look: impl FnOnce(&Row) -> T) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        Ok(self.shown(key, |_, body, _| body.rows().first().map(look))?.flatten())
    }

    /// As [`Table::view`], whatever comes or goes in the middle.
    pub(super) fn seen<Q: ?Sized, T>(&self, key: &Q, look: impl Fn(&Row) -> T) -> Result<Option<T>>
    where
        S: ShapeKey<Q>,
    {
        Ok(self.surely_shown(key, |_, body, _| body.rows().first().map(&look))?.flatten())
    }

    /// When the row of a key expires; `None` when it does not, or is not there.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn deadline<Q: ?Sized>(&self, key: &Q) -> Result<Option<SystemTime>>
    where
        S: ShapeKey<Q>,
    {
        let deadline = self.seen(key, Row::deadline_ms)?.flatten();
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
        Ok(self.seen(key, |_| ())?.is_some())
    }

    /// One attribute of the row of a key, or the default when there is no row.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::NoSuchAttribute`](crate::Error::NoSuchAttribute).
    pub fn lookup<Q: ?Sized>(&self, key: &Q, attribute: &str, default: Value) -> Result<Value>
    where
        S: ShapeKey<Q>,
    {
        let missing =
            || Error::NoSuchAttribute { table: self.name.to_string(), attribute: attribute.to_owned() };
        let position = self.open()?.def().position(attribute).ok_or_else(missing)?;
        Ok(self.seen(key, |row| row.attribute(position).to_value())?.unwrap_or(default))
    }

    /// The newest committed row of a key on this node, whatever is under way. Waits for nothing; may be older than what
    /// another node has acknowledged.
    ///
    /// # Errors
    /// [`Error::NotReady`](crate::Error::NotReady), [`Error::NoCopy`](crate::Error::NoCopy).
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
    /// As [`Table::get`], and [`Error::WrongKind`](crate::Error::WrongKind).
    pub fn range(&self, span: &Span) -> Result<Vec<S::Shown>> {
        self.here_or(|snapshot| snapshot.range(self, span), || self.range_from_afar(None, span))
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
    /// As [`Table::get`], and [`Error::NoSuchIndex`](crate::Error::NoSuchIndex).
    pub fn index_read(&self, index: &str, values: &[Value]) -> Result<Vec<S::Shown>> {
        let afar = || {
            let span = Span::of(entries_with(self.open()?.def(), index, values)?);
            self.range_from_afar(Some(index), &span)
        };
        self.here_or(|snapshot| snapshot.index_read(self, index, values), afar)
    }

    /// The row of the smallest key of an ordered set.
    ///
    /// # Errors
    /// As [`Table::get`], and [`Error::WrongKind`](crate::Error::WrongKind).
    pub fn first(&self) -> Result<Option<S::Shown>> {
        self.here_or(|snapshot| snapshot.first(self), || self.edge_from_afar(Span::all(), "first"))
    }

    /// The row of the largest key of an ordered set.
    ///
    /// # Errors
    /// As [`Table::first`].
    pub fn last(&self) -> Result<Option<S::Shown>> {
        self.here_or(|snapshot| snapshot.last(self), || self.edge_from_afar(Span::all().backward(), "last"))
    }

    /// The row behind a key, which need not be there.
    ///
    /// # Errors
    /// As [`Table::first`].
    pub fn next<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        self.here_or(
            |snapshot| snapshot.next(self, key),
            || self.edge_from_afar(Span::behind(self.key(key)?), "next"),
        )
    }

    /// The row before a key, which need not be there.
    ///
    /// # Errors
    /// As [`Table::first`].
    pub fn prev<Q: ?Sized>(&self, key: &Q) -> Result<Option<S::Shown>>
    where
        S: ShapeKey<Q>,
    {
        self.here_or(
            |snapshot| snapshot.prev(self, key),
            || self.edge_from_afar(Span::before(self.key(key)?), "prev"),
        )
    }
}
