//! The shapes in which rows come and go: as records (structs), as plain values, and as they are stored. The table underneath
//! is the same.

use hypermnesia_store::{Key, Row, TableDef, Value};

use crate::error::{Error, Result};
use crate::record::{KeyForm, Record};

/// Rows as plain values, in the order of the table's attributes: the shape of a [`DynTable`](crate::DynTable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {}

/// Rows as they are stored, deadlines included: for who passes them on, or changes some attributes and keeps the rest. What
/// is given is checked like plain values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {}

/// How the rows of a table handle are given and shown. Every [`Record`] is a shape, and so are [`Dynamic`] and [`Stored`].
pub trait Shape {
    /// A row as it is given to be written.
    type Given: ?Sized;
    /// A row as it is shown.
    type Shown;

    /// The row in the table's bytes.
    ///
    /// # Errors
    /// [`Error::Row`] when it does not fit the table.
    fn encode(def: &TableDef, row: &Self::Given) -> Result<Row>;

    /// The key of a row, where it can be told before the row is encoded, so that its memory is looked for meanwhile. `None`
    /// where it cannot.
    ///
    /// # Errors
    /// When the key does not fit the table.
    fn key_ahead(_def: &TableDef, _row: &Self::Given) -> Option<Result<Key>> {
        None
    }

    /// The row out of the table's bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not what the table says.
    fn decode(def: &TableDef, row: &Row) -> Result<Self::Shown>;
}

/// A form in which the key of a shape may be given: for a record what [`KeyForm`] says, for plain values a slice, an
/// array or a vector, one value for each attribute of the key or an encoded key as [`Encoded`].
pub trait ShapeKey<Q: ?Sized>: Shape {
    /// The key in the table's bytes.
    ///
    /// # Errors
    /// [`Error::Row`] when it does not fit the table's key.
    fn encode_key(def: &TableDef, key: &Q) -> Result<Key>;
}

/// The key of a shape's rows as it is shown: for a record its [`Record::Key`], for plain values the values of the key's
/// attributes, for stored rows the encoded key.
pub trait KeyShape: Shape {
    /// A key.
    type Key;

    /// The key of a row.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the row is not what the table says.
    fn key_of(def: &TableDef, key: &Key, row: &Row) -> Result<Self::Key>;
}

impl<R: Record> KeyShape for R {
    type Key = R::Key;

    fn key_of(def: &TableDef, _key: &Key, row: &Row) -> Result<R::Key> {
        Ok(<R as Record>::key(&<R as Shape>::decode(def, row)?))
    }
}

impl KeyShape for Dynamic {
    type Key = Vec<Value>;

    fn key_of(def: &TableDef, _key: &Key, row: &Row) -> Result<Vec<Value>> {
        Ok(def.key.iter().map(|position| row.attribute(*position).to_value()).collect())
    }
}

impl KeyShape for Stored {
    type Key = Encoded;

    fn key_of(_def: &TableDef, key: &Key, _row: &Row) -> Result<Encoded> {
        Ok(Encoded(key.clone()))
    }
}

/// A key that is encoded already, for whoever got it from a scan or another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(pub Key);

impl<R: Record> Shape for R {
    type Given = R;
    type Shown = R;

    fn encode(def: &TableDef, row: &R) -> Result<Row> {
        Ok(Record::encode(row, def)?)
    }

    #[inline]
    fn key_ahead(def: &TableDef, row: &R) -> Option<Result<Key>> {
        Some(Record::encode_key(row, def).map_err(Error::from))
    }

    fn decode(def: &TableDef, row: &Row) -> Result<R> {
        <R as Record>::decode(row)
            .map_err(|error| Error::Damaged { table: def.name.clone(), reason: error.to_string() })
    }
}

impl<R: Record, Q: ?Sized> ShapeKey<Q> for R
where
    R::Key: KeyForm<Q>,
{
    #[inline]
    fn encode_key(def: &TableDef, key: &Q) -> Result<Key> {
        Ok(<R::Key as KeyForm<Q>>::encode_key(key, def)?)
    }
}

impl Shape for Dynamic {
    type Given = [Value];
    type Shown = Vec<Value>;

    fn encode(def: &TableDef, row: &[Value]) -> Result<Row> {
        Ok(def.encode_row(row)?)
    }

    fn decode(_def: &TableDef, row: &Row) -> Result<Vec<Value>> {
        Ok(row.to_values())
    }
}

impl ShapeKey<[Value]> for Dynamic {
    fn encode_key(def: &TableDef, key: &[Value]) -> Result<Key> {
        Ok(def.encode_key(key)?)
    }
}

impl<const N: usize> ShapeKey<[Value; N]> for Dynamic {
    fn encode_key(def: &TableDef, key: &[Value; N]) -> Result<Key> {
        Ok(def.encode_key(key)?)
    }
}

impl ShapeKey<Vec<Value>> for Dynamic {
    fn encode_key(def: &TableDef, key: &Vec<Value>) -> Result<Key> {
        Ok(def.encode_key(key)?)
    }
}

impl ShapeKey<Encoded> for Dynamic {
    fn encode_key(_def: &TableDef, key: &Encoded) -> Result<Key> {
        Ok(key.0.clone())
    }
}

impl Shape for Stored {
    type Given = Row;
    type Shown = Row;

    fn encode(def: &TableDef, row: &Row) -> Result<Row> {
        Ok(def.encode_row_refs(row.iter())?)
    }

    fn decode(_def: &TableDef, row: &Row) -> Result<Row> {
        Ok(row.clone())
    }
}

impl ShapeKey<Encoded> for Stored {
    fn encode_key(_def: &TableDef, key: &Encoded) -> Result<Key> {
        Ok(key.0.clone())
    }
}
