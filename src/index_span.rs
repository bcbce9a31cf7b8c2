//! Spans of an index: entries are the values of its attributes with the key behind them, in their order, so a span may fix
//! the first few, and limit the next one to a range, across the border between index and key.

use std::ops::{Bound, RangeBounds};

use hypermnesia_store::{IndexDef, Key, KeyRange, RowError, TableDef, Type, Value, ValueRef};

use crate::error::Result;
use crate::options::Span;
use crate::shape::Shape;
use crate::table::Table;

impl<S> Table<S> {
    /// The span of an index whose entries begin with these values and have the next value in a range: of the index's
    /// attributes first, then of the key's. `..` is every value, null included; a range with a lower bound leaves null out.
    /// For [`Table::index_range`] and the `index_range` of transactions and snapshots.
    ///
    /// ```
    /// use hypermnesia::{Node, TableDef, Type, Value};
    /// let node = Node::builder().build()?;
    /// let def = TableDef::builder("sales").attribute("id", Type::Int).attribute("shop", Type::Text).attribute("day", Type::Int);
    /// let sales = node.create_table(def.index("by_shop", ["shop", "day"]))?;
    /// for (id, shop, day) in [(1, "A", 5), (2, "A", 9), (3, "B", 6), (4, "A", 7)] {
    ///     sales.insert(&[Value::Int(id), shop.into(), Value::Int(day)])?;
    /// }
    /// let ids = |span| -> hypermnesia::Result<Vec<_>> {
    ///     Ok(sales.index_range("by_shop", &span)?.into_iter().map(|row| row[0].clone()).collect())
    /// };
    /// let from_7 = sales.index_span("by_shop", &["A".into()], Value::Int(7)..)?;
    /// assert_eq!(ids(from_7.clone())?, [Value::Int(4), Value::Int(2)]);
    /// assert_eq!(ids(from_7.backward().limit(1))?, [Value::Int(2)]);
    /// let key_prefix = sales.index_span("by_shop", &["A".into(), Value::Int(7), Value::Int(4)], ..)?;
    /// assert_eq!(ids(key_prefix)?, [Value::Int(4)]);
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`](crate::Error::NoSuchIndex); [`Error::Row`](crate::Error::Row) for values that do not fit or are
    /// too many; [`Error::Value`](crate::Error::Value) for one that is too large.
    pub fn index_span(&self, index: &str, values: &[Value], next: impl RangeBounds<Value>) -> Result<Span> {
        let (open, index) = (self.open()?, self.index_named(index)?);
        let bounds = (next.start_bound().cloned(), next.end_bound().cloned());
        let bounded = usize::from(bounds != (Bound::Unbounded, Bound::Unbounded));
        let types = entry_types(open.def(), &index);
        if values.len() + bounded > types.len() {
            let (wanted, given) = (types.len(), values.len() + bounded);
            let what = "an entry of an index with its key";
            return Err(RowError::Arity { what, table: self.name().to_owned(), wanted, given }.into());
        }
        let fit = |at: usize, value: &Value| fitting(open.def(), &types[at], value);
        let first =
            values.iter().enumerate().map(|(at, value)| fit(at, value)).collect::<Result<Vec<_>, _>>()?;
        let bound = |bound: Bound<Value>| {
            Ok::<_, RowError>(match bound {
                Bound::Included(value) => Bound::Included(fit(first.len(), &value)?),
                Bound::Excluded(value) => Bound::Excluded(fit(first.len(), &value)?),
                Bound::Unbounded => Bound::Unbounded,
            })
        };
        Ok(Span::of(range_of(&first, bound(bounds.0)?, bound(bounds.1)?)?))
    }
}

impl<S: Shape> Table<S> {
    /// The rows whose entry in an index lies within a span, in the order of entries, in one snapshot. Of an index over the
    /// values of a list a row comes once for each of its values in the span. See [`Table::index_span`].
    ///
    /// # Errors
    /// As [`Table::index_read`].
    pub fn index_range(&self, index: &str, span: &Span) -> Result<Vec<S::Shown>> {
        self.here_or(
            |snapshot| snapshot.index_range(self, index, span),
            || self.range_from_afar(Some(index), span),
        )
    }
}

/// Names and types of the values that an entry is made of.
fn entry_types<'d>(def: &'d TableDef, index: &IndexDef) -> Vec<(&'d str, Type)> {
    let of = |position: &usize| (def.attributes[*position].name.as_str(), def.attributes[*position].ty);
    // Values of a list may be of any type.
    let own =
        index.attributes.iter().map(of).map(|(name, ty)| (name, if index.multi { Type::Any } else { ty }));
    own.chain(def.key.iter().map(of)).collect()
}

/// The first values of a key as they are stored, whole numbers as floats where a float is. What the key cannot hold stays as
/// it is, and has its place in the order all the same.
pub(crate) fn as_stored(def: &TableDef, values: &[Value]) -> Vec<Value> {
    let types =
        def.key.iter().map(|position| def.attributes[*position].ty).chain(std::iter::repeat(Type::Any));
    let stored = |(ty, value): (Type, &Value)| {
        ty.admit(value.as_ref()).map_or_else(|| value.clone(), ValueRef::to_value)
    };
    types.zip(values).map(stored).collect()
}

/// The value as it is stored.
fn fitting(def: &TableDef, (name, ty): &(&str, Type), value: &Value) -> Result<Value, RowError> {
    ty.admit(value.as_ref()).map(ValueRef::to_value).ok_or_else(|| RowError::Type {
        table: def.name.clone(),
        attribute: (*name).to_owned(),
        wanted: *ty,
        given: value.type_name(),
    })
}

fn range_of(first: &[Value], low: Bound<Value>, high: Bound<Value>) -> Result<KeyRange> {
    let with = |value: &Value| Key::encode_refs(first.iter().chain([value]).map(Value::as_ref));
    let whole = Key::prefix_range(first)?;
    let start = match &low {
        Bound::Included(value) => Bound::Included(with(value)?),
        Bound::Excluded(value) => KeyRange::behind_prefix(&with(value)?),
        Bound::Unbounded => whole.start,
    };
    let end = match &high {
        Bound::Included(value) => KeyRange::prefix(&with(value)?).end,
        Bound::Excluded(value) => Bound::Excluded(with(value)?),
        Bound::Unbounded => whole.end,
    };
    Ok(KeyRange { start, end })
}
