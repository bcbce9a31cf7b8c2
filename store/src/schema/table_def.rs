//! A table's definition, and what follows from it: which values make a row, and which keys a row has.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::attribute::{Attribute, Type};
use super::builder::TableBuilder;
use super::placement::{Ack, Kind, Mode, TableCopy};
use super::retention::Retention;
use crate::clock::Timestamp;
use crate::error::ValueError;
use crate::ids::{IndexId, NodeId, SchemaVersion, TableId};
use crate::key::Key;
use crate::row::{Body, Row};
use crate::value::Value;
use crate::value_ref::ValueRef;

/// A secondary index of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IndexDef {
    /// Its number in the table.
    pub id: IndexId,
    /// Unique in its table.
    #[serde(deserialize_with = "crate::codec::text")]
    pub name: String,
    /// Positions of its attributes, in the order in which the index sorts.
    pub attributes: Vec<usize>,
    /// Whether no two rows may have the same values. Rows with a null among them are not compared, as in SQL.
    pub unique: bool,
    /// Whether its one attribute is a list with an entry for each of its values, instead of one for the whole list.
    pub multi: bool,
}

/// Since when rows of a table have their present attributes, and what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layout {
    /// Rows of this schema version and later ones have it, until the next layout.
    pub since: SchemaVersion,
    /// The version of the record (see `TableBuilder::version`) that it belongs to.
    pub record: u32,
}

/// Everything that is known about a table but its rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableDef {
    /// 0 until the table is created.
    pub id: TableId,
    /// Unique among the tables of the cluster. Names that begin with `_` are the system's own.
    #[serde(deserialize_with = "crate::codec::text")]
    pub name: String,
    /// How often it has changed.
    pub version: SchemaVersion,
    /// Rows per key, and order.
    pub kind: Kind,
    /// In the order of a row's values.
    pub attributes: Vec<Attribute>,
    /// Positions of the key's attributes, in the order in which the key sorts. Never empty.
    pub key: Vec<usize>,
    /// Secondary indexes.
    pub indexes: Vec<IndexDef>,
    /// Where it is kept.
    pub copies: Vec<TableCopy>,
    /// What a commit waits for.
    pub ack: Ack,
    /// What it does in a partition.
    pub mode: Mode,
    /// How long its rows live, and how many there may be.
    pub retention: Retention,
    /// Whether each member has rows of its own, which never leave it, instead of copies of the same.
    pub local: bool,
    /// Whether a bag keeps a row that is put again as another one. Local bags only.
    pub duplicates: bool,
    /// How its attributes came about, the present ones last. Never empty. Attributes are only ever added behind the others
    /// without rewriting rows, so an earlier row is a shorter one.
    pub layouts: Vec<Layout>,
    /// Rows of commits up to this timestamp were cleared away and count no more.
    pub cleared: Timestamp,
    /// All rows were rewritten in other attributes after this timestamp: what was there up to it cannot be read any more.
    pub reshaped: Timestamp,
    /// Of copies that were added to a table that was there before: from which epoch on they count. Until then nobody writes to them.
    #[serde(skip)]
    pub coming: Vec<(NodeId, u64)>,
}

/// Values that do not fit a table. Nothing was written; the same values will not fit next time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// Too few or too many values for a row or a key.
    #[error("{what} of table {table:?} has {wanted} values, {given} were given")]
    Arity {
        /// "a row" or "the key".
        what: &'static str,
        /// The table.
        table: String,
        /// How many there should be.
        wanted: usize,
        /// How many there are.
        given: usize,
    },
    /// A value of another type than its attribute.
    #[error("attribute {attribute:?} of table {table:?} is of type {wanted}, the value is of type {given}")]
    Type {
        /// The table.
        table: String,
        /// The attribute.
        attribute: String,
        /// Its type.
        wanted: Type,
        /// The type of the value.
        given: &'static str,
    },
    /// A counter on what is no whole number. In a box: a second variant of the largest size would give this type, and with it
    /// every `Result` of a key, another layout, in which keys are moved in pieces (docs/performance.md).
    #[error(transparent)]
    NotCounted(Box<NotCounted>),
    /// Null for an attribute that is never null.
    #[error("attribute {attribute:?} of table {table:?} cannot be null")]
    Null {
        /// The table.
        table: String,
        /// The attribute.
        attribute: String,
    },
    /// A row by names leaves out an attribute that is never null and has no default.
    #[error("attribute {attribute:?} of table {table:?} was given no value and has no default")]
    Missing {
        /// The table.
        table: String,
        /// The attribute.
        attribute: String,
    },
    /// A row by names has a name that no attribute has, or one twice.
    #[error("table {table:?} has no attribute {attribute:?}, or it was given twice")]
    Unnamed {
        /// The table.
        table: String,
        /// The name.
        attribute: String,
    },
    /// The value cannot be stored at all.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// As large as its largest variant, without a tag beside it: see [`RowError::NotCounted`].
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<RowError>() <= 72);

/// An attribute that cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "attribute {attribute:?} of table {table:?} cannot be counted: it is of type {ty} and holds {held}, and counters need int"
)]
pub struct NotCounted {
    /// The table.
    pub table: String,
    /// The attribute.
    pub attribute: String,
    /// Its type.
    pub ty: Type,
    /// The type of the value that it holds.
    pub held: &'static str,
}

impl TableDef {
    /// Begins a definition.
    ///
    /// ```
    /// use hypermnesia_store::{Kind, TableDef, Type, Value};
    /// let cities = TableDef::builder("cities")
    ///     .kind(Kind::OrderedSet)
    ///     .attribute("id", Type::Int)
    ///     .attribute("name", Type::Text)
    ///     .nullable("lat", Type::Float)
    ///     .index("by_name", ["name"])
    ///     .build()?;
    /// let row = cities.encode_row(&[Value::Int(1), Value::from("Ghent"), Value::Int(51)])?;
    /// assert_eq!(row.attribute(2).to_value(), Value::Float(51.0));
    /// assert_eq!(cities.key_of(&row)?, cities.encode_key(&[Value::Int(1)])?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(name: impl Into<String>) -> TableBuilder {
        TableBuilder::new(name.into())
    }

    /// The position of the attribute with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.attributes.iter().position(|attribute| attribute.name == name)
    }

    /// The index with this name.
    pub fn index_named(&self, name: &str) -> Option<&IndexDef> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// The index with this number.
    pub fn index(&self, id: IndexId) -> Option<&IndexDef> {
        self.indexes.iter().find(|index| index.id == id)
    }

    /// The copy that this member keeps.
    #[inline]
    pub fn copy_on(&self, node: NodeId) -> Option<&TableCopy> {
        self.copies.iter().find(|copy| copy.node == node)
    }

    /// The copy that this member keeps, where it counts in an epoch.
    #[inline]
    pub fn copy_in(&self, node: NodeId, epoch: u64) -> Option<&TableCopy> {
        self.copy_on(node).filter(|_| self.counts(node, epoch))
    }

    /// Whether the copy of a member, if it keeps one, counts in an epoch.
    #[inline]
    pub fn counts(&self, node: NodeId, epoch: u64) -> bool {
        self.coming.iter().all(|(coming, since)| *coming != node || *since <= epoch)
    }

    /// The layout of rows that are written now.
    pub fn layout(&self) -> Layout {
        *self.layouts.last().expect("a definition has at least one")
    }

    /// The version of the record that a row belongs to.
    pub fn record_of(&self, row: &Row) -> u32 {
        let reached = self.layouts.iter().rev().find(|layout| layout.since <= row.version());
        reached.or(self.layouts.first()).map_or(1, |layout| layout.record)
    }

    /// Whether rows may be shorter than the definition.
    #[inline]
    pub fn has_grown(&self) -> bool {
        self.layouts.len() > 1
    }

    /// What a row has as this attribute: one that was written before the attribute was added has its default.
    pub fn value_of<'a>(&'a self, row: &'a Row, position: usize) -> ValueRef<'a> {
        match self.attributes.get(position).and_then(|attribute| attribute.default.as_ref()) {
            Some(default) if position >= row.len() => default.as_ref(),
            _ => row.attribute(position),
        }
    }

    /// The body with every row as long as the definition: what was added since a row was written has its default. A row keeps
    /// its schema version, which tells that it was completed.
    pub fn whole<'b>(&self, body: &'b Body) -> Cow<'b, Body> {
        match body {
            // One of a newer form is none of this definition's.
            Body::Row(row) if row.len() < self.attributes.len() && row.version() <= self.version => {
                let values = (0..self.attributes.len()).map(|position| self.value_of(row, position));
                let whole = Row::encode_refs(row.version(), values);
                let whole = whole.and_then(|whole| whole.with_deadline(row.deadline_ms()));
                // One that defaults make too large is shown as it is.
                whole.map_or(Cow::Borrowed(body), |whole| Cow::Owned(Body::Row(whole)))
            }
            // Rows of bags are rewritten when attributes are added.
            _ => Cow::Borrowed(body),
        }
    }

    /// Whether it belongs to the system: readable by all, written by the system alone.
    pub fn is_system(&self) -> bool {
        self.name.starts_with('_')
    }

    /// Checks that the values make a row: their number, their types, and that what must not be null is not.
    ///
    /// # Errors
    /// [`RowError`] naming the attribute.
    pub fn check_row(&self, values: &[Value]) -> Result<(), RowError> {
        self.check_arity("a row", self.attributes.len(), values.len())?;
        self.attributes
            .iter()
            .zip(values)
            .try_for_each(|(attribute, value)| self.admit(attribute, value.as_ref()).map(drop))
    }

    /// Checks the values and encodes them as a row of the present layout, whole numbers as floats where a float is wanted.
    ///
    /// # Errors
    /// As [`TableDef::check_row`], or [`RowError::Value`] where the row is too large or nests too deeply.
    pub fn encode_row(&self, values: &[Value]) -> Result<Row, RowError> {
        self.encode_row_refs(values.iter().map(Value::as_ref))
    }

    /// As [`TableDef::encode_row`], for borrowed values.
    ///
    /// # Errors
    /// As [`TableDef::encode_row`].
    pub fn encode_row_refs<'a, I>(&self, values: I) -> Result<Row, RowError>
    where
        I: IntoIterator<Item = ValueRef<'a>>,
        I::IntoIter: Clone,
    {
        let values = values.into_iter();
        let mut stored: SmallVec<[ValueRef<'_>; 8]> = SmallVec::with_capacity(self.attributes.len());
        for (attribute, value) in self.attributes.iter().zip(values.clone()) {
            match self.admit(attribute, value) {
                Ok(value) => stored.push(value),
                Err(misfit) => {
                    // Too many or too few is said first: then the others may only seem to be of wrong types.
                    self.check_arity("a row", self.attributes.len(), values.count())?;
                    return Err(misfit);
                }
            }
        }
        if stored.len() < self.attributes.len() || values.size_hint() != (stored.len(), Some(stored.len())) {
            self.check_arity("a row", self.attributes.len(), values.count())?;
        }
        Ok(Row::encode_refs(self.layout().since, stored.iter().copied())?)
    }

    /// Whether a row is as this definition writes rows now: with all attributes, and in the layout in force.
    #[inline]
    pub fn is_own(&self, row: &Row) -> bool {
        row.version() == self.layout().since && row.len() == self.attributes.len()
    }

    /// A row of another definition (an older one of this table, the same table elsewhere) as this one stores it, its deadline
    /// included. Costs nothing but the look where it is that already.
    ///
    /// # Errors
    /// As [`TableDef::encode_row`].
    pub fn adopt(&self, row: &Row) -> Result<Row, RowError> {
        if row.len() > self.attributes.len() {
            self.check_arity("a row", self.attributes.len(), row.len())?;
        }
        let mut same = self.is_own(row);
        for (position, attribute) in self.attributes.iter().enumerate() {
            let value = self.value_of(row, position);
            same &= self.admit(attribute, value)?.type_name() == value.type_name();
        }
        if same {
            return Ok(row.clone());
        }
        // One that was written before an attribute was added has its default there.
        let values = (0..self.attributes.len()).map(|position| self.value_of(row, position));
        Ok(self.encode_row_refs(values)?.with_deadline(row.deadline_ms())?)
    }

    /// The values of a row in the order of the attributes, from values by name. What is not named has its default, or null.
    ///
    /// # Errors
    /// [`RowError::Missing`] and [`RowError::Unnamed`]; the values themselves are checked by who encodes the row.
    pub fn complete<S: AsRef<str>>(
        &self,
        named: impl IntoIterator<Item = (S, Value)>,
    ) -> Result<Vec<Value>, RowError> {
        let mut given: Vec<Option<Value>> = vec![None; self.attributes.len()];
        for (name, value) in named {
            let unnamed =
                || RowError::Unnamed { table: self.name.clone(), attribute: name.as_ref().to_owned() };
            let place = &mut given[self.position(name.as_ref()).ok_or_else(unnamed)?];
            if place.replace(value).is_some() {
                return Err(unnamed());
            }
        }
        let filled = self.attributes.iter().zip(given);
        filled.map(|(attribute, value)| value.map_or_else(|| self.absent(attribute), Ok)).collect()
    }

    /// What an attribute becomes that a row by names leaves out.
    ///
    /// # Errors
    /// [`RowError::Missing`] when it is never null and has no default.
    pub fn absent(&self, attribute: &Attribute) -> Result<Value, RowError> {
        match &attribute.default {
            Some(default) => Ok(default.clone()),
            None if attribute.nullable => Ok(Value::Null),
            None => Err(RowError::Missing { table: self.name.clone(), attribute: attribute.name.clone() }),
        }
    }

    /// Checks the values of a key and encodes them, whole numbers as floats where a float is wanted.
    ///
    /// # Errors
    /// [`RowError`] naming the attribute, or that the key is too large.
    pub fn encode_key(&self, values: &[Value]) -> Result<Key, RowError> {
        self.encode_key_refs(values.iter().map(Value::as_ref))
    }

    /// As [`TableDef::encode_key`], for borrowed values.
    ///
    /// # Errors
    /// As [`TableDef::encode_key`].
    pub fn encode_key_refs<'a, I>(&self, values: I) -> Result<Key, RowError>
    where
        I: IntoIterator<Item = ValueRef<'a>>,
        I::IntoIter: Clone,
    {
        let values = values.into_iter();
        self.check_arity("the key", self.key.len(), values.clone().count())?;
        let mut buffer = crate::key::KeyBuffer::new();
        for (&position, value) in self.key.iter().zip(values) {
            buffer.push(self.admit(&self.attributes[position], value)?)?;
        }
        Ok(buffer.finish()?)
    }

    /// The key that is this whole number, where the key is one whole number: [`TableDef::encode_key`] for most calls.
    #[inline]
    pub fn whole_key(&self, n: i64) -> Option<Key> {
        match *self.key {
            [position] if self.attributes[position].ty == Type::Int => Key::of_whole(n),
            _ => None,
        }
    }

    /// The key of a row of this table.
    ///
    /// # Errors
    /// When the row's key is longer than a key may be.
    pub fn key_of(&self, row: &Row) -> Result<Key, ValueError> {
        if let [position] = *self.key
            && let ValueRef::Int(n) = row.attribute(position)
            && let Some(key) = Key::of_whole(n)
        {
            return Ok(key);
        }
        Key::encode_refs(self.key.iter().map(|&position| row.attribute(position)))
    }

    /// The values of a row under an index, as keys: one, or for a multi-value index one for each different value of the
    /// list. The index's entries for the row are these with the row's own key behind them.
    ///
    /// # Errors
    /// When one is longer than a key may be.
    pub fn index_keys(&self, index: &IndexDef, row: &Row) -> Result<Vec<Key>, ValueError> {
        let attributes = index.attributes.iter().map(|&position| self.value_of(row, position));
        if !index.multi {
            return Ok(vec![Key::encode_refs(attributes)?]);
        }
        let mut keys = Vec::new();
        for value in attributes {
            match value {
                ValueRef::List(items) => {
                    for item in items.iter() {
                        keys.push(Key::encode_refs([item])?);
                    }
                }
                ValueRef::Null => {}
                other => keys.push(Key::encode_refs([other])?),
            }
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// The values that no other row may have under a unique index; none where the index is not unique or one of the row's
    /// values is null.
    ///
    /// # Errors
    /// As [`TableDef::index_keys`].
    pub fn unique_keys(&self, index: &IndexDef, row: &Row) -> Result<Vec<Key>, ValueError> {
        if !index.unique || index.attributes.iter().any(|&position| self.value_of(row, position).is_null()) {
            return Ok(Vec::new());
        }
        self.index_keys(index, row)
    }

    fn check_arity(&self, what: &'static str, wanted: usize, given: usize) -> Result<(), RowError> {
        if wanted == given {
            return Ok(());
        }
        Err(RowError::Arity { what, table: self.name.clone(), wanted, given })
    }

    /// The value as this attribute stores it.
    #[inline]
    fn admit<'a>(&self, attribute: &Attribute, value: ValueRef<'a>) -> Result<ValueRef<'a>, RowError> {
        let (table, name) = (|| self.name.clone(), || attribute.name.clone());
        if value.is_null() && !attribute.nullable {
            return Err(RowError::Null { table: table(), attribute: name() });
        }
        attribute.ty.admit(value).ok_or_else(|| RowError::Type {
            table: table(),
            attribute: name(),
            wanted: attribute.ty,
            given: value.type_name(),
        })
    }
}
