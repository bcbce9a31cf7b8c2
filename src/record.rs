//! Records: Rust structs as rows of a table. This part turns structs into values and back and knows no node and no
//! transaction; typed tables are built on it. The derive macro writes the implementation.

mod attribute_type;
mod key_form;

pub use attribute_type::{AttributeType, FromValue, Lent, Misfit, ToValue};
pub use key_form::{KeyForm, KeyPart};

use std::ops::Range;

use hypermnesia_store::{Key, Row, RowError, TableBuilder, TableDef};

use crate::operation::kind_name;

/// A struct that is a row of a table. Use `#[derive(Record)]`.
///
/// | on the struct | |
/// |---|---|
/// | `table = "name"` | the table; the struct's name in snake case if left out |
/// | `kind = "set"` | or `"ordered_set"`, or `"bag"` |
/// | `version = 2` | of the definition, from 1; a record with a newer version reads older rows |
/// | `index(by_place(lat, lng))` | an index over several fields |
/// | `unique(by_place(lat, lng))` | a unique one |
/// | `view = "Name"` | the name of the borrowed form; `<Struct>View` if left out |
///
/// | on a field | |
/// |---|---|
/// | `key` | part of the key; several in their order make a composite key, a tuple |
/// | `index`, `index = "name"` | an index over this field, called `by_<attribute>` if not named |
/// | `unique`, `unique = "name"` | a unique one |
/// | `rename = "name"` | the attribute's name where it is not the field's |
/// | `default` | `Default::default()` where an older row ends before it, and where a row is written by names without it |
///
/// Fields are of types that are [`AttributeType`]: `bool`, all integers up to 64 bits, `f32`, `f64`, `String`, `Vec<u8>`,
/// [`Moment`](hypermnesia_store::calendar::Moment), `SystemTime`, `Value`, and `Option`, `Vec` and `BTreeMap` of these.
///
/// ```
/// use hypermnesia::record::{Record, TableMismatch, check_table};
///
/// #[derive(Record, Debug, PartialEq)]
/// #[record(table = "cities", kind = "ordered_set")]
/// struct City {
///     #[record(key)]
///     country: String,
///     #[record(key)]
///     id: u32,
///     #[record(index)]
///     name: String,
///     lat: Option<f64>,
/// }
///
/// let table = City::definition().build()?;
/// let ghent = City { country: "BE".into(), id: 9, name: "Ghent".into(), lat: Some(51.05) };
/// let row = ghent.encode(&table)?;
/// assert_eq!(City::decode(&row)?, ghent);
/// assert_eq!(City::view(&row).name()?, "Ghent"); // a &str within the row
/// assert!(check_table::<City>(&table).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A struct without a key does not compile:
/// ```compile_fail
/// #[derive(hypermnesia::record::Record)]
/// struct NoKey {
///     name: String,
/// }
/// ```
pub trait Record: Sized {
    /// The type of the key: the key field's, or a tuple of the key fields'.
    type Key: KeyForm<Self::Key>;
    /// The borrowed form: attributes are read from the row one by one, without allocating.
    type View<'r>;
    /// The name of the table.
    const TABLE: &'static str;
    /// The version of the definition.
    const VERSION: u32;

    /// The definition of the table, without copies.
    fn definition() -> TableBuilder;

    /// The key, cloned.
    fn key(&self) -> Self::Key;

    /// The key, encoded.
    ///
    /// # Errors
    /// [`RowError`] when the key does not fit the table.
    fn encode_key(&self, table: &TableDef) -> Result<Key, RowError>;

    /// The row of this record.
    ///
    /// # Errors
    /// [`RowError`] when it does not fit the table or is too large.
    fn encode(&self, table: &TableDef) -> Result<Row, RowError>;

    /// The record of a row.
    ///
    /// # Errors
    /// [`RecordError`] when an attribute holds what its field cannot, such as 300 for a `u8`.
    fn decode(row: &Row) -> Result<Self, RecordError>;

    /// The borrowed form of a row.
    fn view(row: &Row) -> Self::View<'_>;
}

pub use hypermnesia_derive::Record;

/// A row holds what the record's field cannot. Nothing was changed; reading the row as values works.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {attribute:?} of a row of table {table:?}: {misfit}")]
pub struct RecordError {
    /// The table.
    pub table: &'static str,
    /// The attribute.
    pub attribute: &'static str,
    /// What was wanted and what was found.
    pub misfit: Misfit,
}

/// A table is not what a record takes it for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableMismatch {
    /// The definition of the record itself breaks a rule.
    #[error(transparent)]
    Definition(#[from] hypermnesia_store::SchemaError),
    /// Attribute by attribute, they differ here first.
    #[error("table {table:?} has {found} as attribute {position} where the record has {wanted}")]
    Attribute {
        /// The table.
        table: String,
        /// From 0.
        position: usize,
        /// The table's, in words.
        found: String,
        /// The record's, in words.
        wanted: String,
    },
    /// Other attributes make the key, or in another order.
    #[error("the key of table {table:?} is not the record's")]
    Key {
        /// The table.
        table: String,
    },
    /// One row per key against many.
    #[error("table {table:?} is of kind {}, the record of kind {}", kind_name(*found), kind_name(*wanted))]
    Kind {
        /// The table.
        table: String,
        /// The table's.
        found: hypermnesia_store::Kind,
        /// The record's.
        wanted: hypermnesia_store::Kind,
    },
}

/// Checks that a table can be opened with a record: same kind, key and attributes. A record with a newer version may have
/// more attributes behind the table's; it reads the table's rows, and can write once the table is changed to match.
///
/// # Errors
/// The first difference.
pub fn check_table<R: Record>(table: &TableDef) -> Result<(), TableMismatch> {
    check_definition(&R::definition().build()?, table)
}

/// As [`check_table`], for a definition.
///
/// # Errors
/// The first difference.
pub fn check_definition(wanted: &TableDef, table: &TableDef) -> Result<(), TableMismatch> {
    let name = || table.name.clone();
    if wanted.kind != table.kind {
        return Err(TableMismatch::Kind { table: name(), found: table.kind, wanted: wanted.kind });
    }
    let newer = wanted.layout().record > table.layout().record;
    let positions = 0..wanted.attributes.len().max(table.attributes.len());
    check_attributes(wanted, table, positions, newer)
}

/// Checks that a table still begins with the attributes that it had at some time: others may have come behind them.
pub(crate) fn check_beginning(before: &TableDef, now: &TableDef) -> Result<(), TableMismatch> {
    check_attributes(before, now, 0..before.attributes.len(), false)
}

fn check_attributes(
    wanted: &TableDef,
    table: &TableDef,
    positions: Range<usize>,
    newer: bool,
) -> Result<(), TableMismatch> {
    let name = || table.name.clone();
    for position in positions {
        let (ours, theirs) = (wanted.attributes.get(position), table.attributes.get(position));
        let shape = |one: Option<&hypermnesia_store::Attribute>| {
            one.map(|attribute| (attribute.name.clone(), attribute.ty, attribute.nullable))
        };
        if shape(ours) == shape(theirs) || (newer && theirs.is_none()) {
            continue;
        }
        let words = |attribute: Option<&hypermnesia_store::Attribute>| match attribute {
            Some(a) => format!("{:?} of type {}{}", a.name, a.ty, if a.nullable { " or null" } else { "" }),
            None => "nothing".to_owned(),
        };
        let (found, wanted) = (words(theirs), words(ours));
        return Err(TableMismatch::Attribute { table: name(), position, found, wanted });
    }
    if wanted.key != table.key {
        return Err(TableMismatch::Key { table: name() });
    }
    Ok(())
}

/// What derived code needs, under one path. Not for hand-written code.
#[doc(hidden)]
pub mod derived {
    use super::{AttributeType, FromValue, RecordError, ToValue};
    pub use hypermnesia_store::{Key, Kind, Row, RowError, SchemaVersion, TableBuilder, TableDef};

    /// Adds an attribute of the type that holds a `T`.
    pub fn attribute<T: AttributeType>(builder: TableBuilder, name: &'static str) -> TableBuilder {
        if T::NULLABLE { builder.nullable(name, T::TYPE) } else { builder.attribute(name, T::TYPE) }
    }

    /// The default of an attribute whose field has one.
    pub fn default_of<T: ToValue + Default>() -> hypermnesia_store::Value {
        T::default().lend().as_ref().to_value()
    }

    /// Reads the attribute at a position.
    pub fn read<'r, T: FromValue<'r>>(
        row: &'r Row,
        position: usize,
        table: &'static str,
        attribute: &'static str,
    ) -> Result<T, RecordError> {
        T::from_value(row.attribute(position)).map_err(|misfit| RecordError { table, attribute, misfit })
    }

    /// As `read`, with a default where the row ends before the position.
    pub fn read_or_default<'r, T: FromValue<'r> + Default>(
        row: &'r Row,
        position: usize,
        table: &'static str,
        attribute: &'static str,
    ) -> Result<T, RecordError> {
        if position < row.len() { read(row, position, table, attribute) } else { Ok(T::default()) }
    }
}
