//! Building a table's definition step by step, and the rules it must keep. Names are resolved and all rules checked once,
//! in [`TableBuilder::build`], so that the steps can come in any order.

use std::collections::BTreeSet;
use std::time::Duration;

use super::attribute::{Attribute, Type};
use super::placement::{Ack, Kind, Mode, Storage, TableCopy};
use super::retention::Retention;
use super::table_def::{IndexDef, Layout, TableDef};
use crate::clock::Timestamp;
use crate::ids::{IndexId, NodeId, SchemaVersion, TableId};
use crate::limits::{
    ATTRIBUTES_MAX, CACHE_BYTES_MAX, CACHE_BYTES_MIN, INDEXES_MAX, KEY_ATTRIBUTES_MAX, NAME_BYTES_MAX,
};
use crate::value::Value;

/// A definition that cannot be one. Nothing was created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A name is empty, too long, or has control characters.
    #[error("{what} name {name:?} must have 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    BadName {
        /// Whose name: "table", "attribute", "index".
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two attributes or two indexes have one name.
    #[error("two {what} of table {table:?} are called {name:?}")]
    SameName {
        /// "attributes" or "indexes".
        what: &'static str,
        /// The table.
        table: String,
        /// The name.
        name: String,
    },
    /// The key or an index names an attribute that the table does not have.
    #[error("table {table:?} has no attribute {name:?}, which its {what} names")]
    NoSuchAttribute {
        /// "key", or "index" and its name.
        what: String,
        /// The table.
        table: String,
        /// The name.
        name: String,
    },
    /// No attributes, or more than a table may have.
    #[error("table {table:?} has {count} attributes; 1 to {ATTRIBUTES_MAX} are possible")]
    AttributeCount {
        /// The table.
        table: String,
        /// How many.
        count: usize,
    },
    /// More indexes than a table may have.
    #[error("table {table:?} has {count} indexes, at most {INDEXES_MAX} are possible")]
    IndexCount {
        /// The table.
        table: String,
        /// How many.
        count: usize,
    },
    /// A key or index without attributes, with too many, or with one twice.
    #[error("the {what} of table {table:?} must have 1 to {KEY_ATTRIBUTES_MAX} different attributes")]
    BadKey {
        /// "key", or "index" and its name.
        what: String,
        /// The table.
        table: String,
    },
    /// A default that its attribute does not take.
    #[error(
        "the default of attribute {attribute:?} of table {table:?} is of type {given}, the attribute is not"
    )]
    BadDefault {
        /// The table.
        table: String,
        /// The attribute.
        attribute: String,
        /// The type of the default.
        given: &'static str,
    },
    /// An attribute that is added to a table is never null and has no default: what would the rows have that are there?
    #[error("attribute {attribute:?} is added to table {table:?} and must be nullable or have a default")]
    NoDefault {
        /// The table.
        table: String,
        /// The attribute.
        attribute: String,
    },
    /// A multi-value index over anything but one attribute that is a list.
    #[error("multi-value index {index:?} of table {table:?} must be over one attribute of type list or any")]
    BadMulti {
        /// The table.
        table: String,
        /// The index.
        index: String,
    },
    /// Bounds or times to live that the table cannot have.
    #[error("table {table:?} cannot be kept so: {why}")]
    BadRetention {
        /// The table.
        table: String,
        /// Why not.
        why: &'static str,
    },
    /// A table other than a local bag that is to keep identical rows.
    #[error("table {table:?} can keep a row that is put again as another one only if it is a local bag")]
    BadDuplicates {
        /// The table.
        table: String,
    },
    /// A cache of a table on disc alone that is too small or too large.
    #[error(
        "the cache of table {table:?} cannot have {bytes} bytes: at least {CACHE_BYTES_MIN}, at most {CACHE_BYTES_MAX}"
    )]
    BadCache {
        /// The table.
        table: String,
        /// What was asked for.
        bytes: u64,
    },
    /// Two copies on one member.
    #[error("table {table:?} has two copies on member {node}")]
    SameNode {
        /// The table.
        table: String,
        /// The member.
        node: NodeId,
    },
}

/// An index before its names are resolved.
#[derive(Clone, Debug)]
struct NewIndex {
    name: String,
    attributes: Vec<String>,
    unique: bool,
    multi: bool,
}

/// Builds a [`TableDef`]. See [`TableDef::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct TableBuilder {
    name: String,
    kind: Kind,
    attributes: Vec<Attribute>,
    key: Vec<String>,
    indexes: Vec<NewIndex>,
    copies: Vec<TableCopy>,
    version: SchemaVersion,
    ack: Ack,
    mode: Mode,
    retention: Retention,
    local: bool,
    duplicates: bool,
    defaults: Vec<(String, Value)>,
}

impl TableBuilder {
    pub(super) fn new(name: String) -> TableBuilder {
        TableBuilder {
            name,
            kind: Kind::default(),
            attributes: Vec::new(),
            key: Vec::new(),
            indexes: Vec::new(),
            copies: Vec::new(),
            version: SchemaVersion::FIRST,
            ack: Ack::default(),
            mode: Mode::default(),
            retention: Retention::default(),
            local: false,
            duplicates: false,
            defaults: Vec::new(),
        }
    }

    /// The kind; a set if never called.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds an attribute that is never null.
    pub fn attribute(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.attributes.push(Attribute { name: name.into(), ty, nullable: false, default: None });
        self
    }

    /// Adds an attribute that may be null.
    pub fn nullable(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.attributes.push(Attribute { name: name.into(), ty, nullable: true, default: None });
        self
    }

    /// The attributes of the key, in this order; the first attribute if never called.
    pub fn key<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.key = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an index over these attributes, in this order.
    pub fn index<S: Into<String>>(self, name: impl Into<String>, names: impl IntoIterator<Item = S>) -> Self {
        self.add_index(name.into(), names, false, false)
    }

    /// Adds an index in which no two rows have the same values (rows with a null among them aside).
    pub fn unique_index<S: Into<String>>(
        self,
        name: impl Into<String>,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.add_index(name.into(), names, true, false)
    }

    /// Adds an index over the values of a list: a row has an entry for each of them, so that rows are found by any.
    pub fn multi_index(self, name: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.add_index(name.into(), [attribute], false, true)
    }

    /// As [`TableBuilder::multi_index`], in which no two rows share a value.
    pub fn unique_multi_index(self, name: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.add_index(name.into(), [attribute], true, true)
    }

    fn add_index<S: Into<String>>(
        mut self,
        name: String,
        names: impl IntoIterator<Item = S>,
        unique: bool,
        multi: bool,
    ) -> Self {
        let attributes = names.into_iter().map(Into::into).collect();
        self.indexes.push(NewIndex { name, attributes, unique, multi });
        self
    }

    /// What an attribute becomes where a row is written by names and this one is not among them.
    pub fn default(mut self, attribute: impl Into<String>, value: impl Into<Value>) -> Self {
        self.defaults.push((attribute.into(), value.into()));
        self
    }

    /// Rows count as absent this long after they were last put, unless they are put with a time of their own. In whole
    /// milliseconds, at least one. Sets and ordered sets only.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.retention.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Adds a copy. A definition without copies leaves the choice to whoever creates the table.
    pub fn copy(mut self, node: NodeId, storage: Storage) -> Self {
        self.copies.push(TableCopy { node, storage });
        self
    }

    /// The version of the definition, as its program counts it; 1 if never called. A definition with a newer version may have
    /// more attributes than the table that it is opened on.
    pub fn version(mut self, version: SchemaVersion) -> Self {
        self.version = version;
        self
    }

    /// What a commit waits for; `logged` if never called.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// What it does in a partition; `strong` if never called.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Rows that were neither read nor written for so long go, within a second or so. Local tables only.
    pub fn max_idle(mut self, idle: Duration) -> Self {
        self.retention.idle_ms = Some(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// At most this many rows. What comes behind is refused, or pushes others out: see [`TableBuilder::evict`]. Writers at
    /// the same time may pass it by one row each.
    pub fn rows_max(mut self, rows: u64) -> Self {
        self.retention.rows_max = Some(rows);
        self
    }

    /// At most this many bytes of keys and rows; otherwise as [`TableBuilder::rows_max`].
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.retention.bytes_max = Some(bytes);
        self
    }

    /// When it is full, rows that are asked for least go. Local tables only.
    pub fn evict(mut self) -> Self {
        self.retention.evict = true;
        self
    }

    /// Each member has rows of its own, which never leave it: a cache, a scratch table. What is written on one is not seen
    /// on another.
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// A row that is put again is kept once more, instead of once. Local bags only.
    pub fn duplicates(mut self) -> Self {
        self.duplicates = true;
        self
    }

    /// Resolves the names and checks all rules. The table's id is 0 until it is created; indexes are numbered from 1.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn build(self) -> Result<TableDef, SchemaError> {
        check_name("table", &self.name)?;
        let count = self.attributes.len();
        if count == 0 || count > ATTRIBUTES_MAX {
            return Err(SchemaError::AttributeCount { table: self.name, count });
        }
        self.check_names("attributes", "attribute", self.attributes.iter().map(|a| &a.name))?;
        self.check_names("indexes", "index", self.indexes.iter().map(|index| &index.name))?;
        if self.indexes.len() > INDEXES_MAX {
            return Err(SchemaError::IndexCount { count: self.indexes.len(), table: self.name });
        }
        if self.duplicates && (self.kind != Kind::Bag || !self.local) {
            return Err(SchemaError::BadDuplicates { table: self.name });
        }
        self.check_retention()?;
        let key = if self.key.is_empty() { vec![0] } else { self.positions("key".into(), &self.key)? };
        let indexes = self.number_indexes()?;
        let mut attributes = self.with_defaults()?;
        key.iter().for_each(|&position| attributes[position].nullable = false);
        let def = TableDef {
            id: TableId(0),
            name: self.name,
            version: self.version,
            kind: self.kind,
            attributes,
            key,
            indexes,
            copies: self.copies,
            ack: self.ack,
            mode: self.mode,
            retention: self.retention,
            local: self.local,
            duplicates: self.duplicates,
            layouts: vec![Layout { since: self.version, record: self.version.0 }],
            cleared: Timestamp::NEVER,
            reshaped: Timestamp::NEVER,
            coming: Vec::new(),
        };
        def.check_copies()?;
        Ok(def)
    }

    fn check_retention(&self) -> Result<(), SchemaError> {
        let Retention { ttl_ms, idle_ms, rows_max, bytes_max, evict } = self.retention;
        let bounded = rows_max.is_some() || bytes_max.is_some();
        let why = if [ttl_ms, idle_ms].contains(&Some(0)) {
            "a time to live is at least one millisecond"
        } else if [rows_max, bytes_max].contains(&Some(0)) {
            "a bound is at least one"
        } else if ttl_ms.is_some() && self.kind == Kind::Bag {
            "rows of a bag have no deadlines; use a set"
        } else if (evict || idle_ms.is_some()) && !self.local {
            "only local tables evict or let idle rows go; others refuse when they are full"
        } else if evict && !bounded {
            "eviction needs a bound in rows or bytes"
        } else if (evict || idle_ms.is_some()) && self.kind == Kind::Bag {
            "a bag does not evict; use a set"
        } else {
            return Ok(());
        };
        Err(SchemaError::BadRetention { table: self.name.clone(), why })
    }

    fn with_defaults(&self) -> Result<Vec<Attribute>, SchemaError> {
        let mut attributes = self.attributes.clone();
        for (name, value) in &self.defaults {
            let position = self.positions("default".into(), std::slice::from_ref(name))?[0];
            let attribute = &mut attributes[position];
            let taken =
                attribute.ty.admit(value.as_ref()).filter(|value| attribute.nullable || !value.is_null());
            let Some(taken) = taken else {
                let given = value.as_ref().type_name();
                return Err(SchemaError::BadDefault {
                    table: self.name.clone(),
                    attribute: name.clone(),
                    given,
                });
            };
            attribute.default = Some(taken.to_value());
        }
        Ok(attributes)
    }

    fn number_indexes(&self) -> Result<Vec<IndexDef>, SchemaError> {
        let numbered = (1..).zip(&self.indexes);
        numbered
            .map(|(id, NewIndex { name, attributes, unique, multi })| {
                let attributes = self.positions(format!("index {name:?}"), attributes)?;
                let index = IndexDef {
                    id: IndexId(id),
                    name: name.clone(),
                    attributes,
                    unique: *unique,
                    multi: *multi,
                };
                index.check(&self.name, &self.attributes)?;
                Ok(index)
            })
            .collect()
    }

    fn positions(&self, what: String, names: &[String]) -> Result<Vec<usize>, SchemaError> {
        let mut positions = Vec::with_capacity(names.len());
        for name in names {
            let Some(position) = self.attributes.iter().position(|attribute| attribute.name == *name) else {
                return Err(SchemaError::NoSuchAttribute {
                    what,
                    table: self.name.clone(),
                    name: name.clone(),
                });
            };
            positions.push(position);
        }
        let different: BTreeSet<_> = positions.iter().collect();
        if positions.is_empty() || positions.len() > KEY_ATTRIBUTES_MAX || different.len() < positions.len() {
            return Err(SchemaError::BadKey { what, table: self.name.clone() });
        }
        Ok(positions)
    }

    fn check_names<'a>(
        &self,
        plural: &'static str,
        what: &'static str,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<(), SchemaError> {
        let mut seen = BTreeSet::new();
        for name in names {
            check_name(what, name)?;
            if !seen.insert(name) {
                return Err(SchemaError::SameName {
                    what: plural,
                    table: self.name.clone(),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }
}

impl IndexDef {
    /// Checks the rule of multi-value indexes, for an index that is added to a table.
    ///
    /// # Errors
    /// [`SchemaError::BadMulti`].
    pub fn check(&self, table: &str, attributes: &[Attribute]) -> Result<(), SchemaError> {
        let lists = |position: &usize| matches!(attributes[*position].ty, Type::List | Type::Any);
        if !self.multi || (self.attributes.len() == 1 && self.attributes.iter().all(lists)) {
            return Ok(());
        }
        Err(SchemaError::BadMulti { table: table.to_owned(), index: self.name.clone() })
    }
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), SchemaError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(SchemaError::BadName { what, name: name.chars().take(NAME_BYTES_MAX).collect() });
    }
    Ok(())
}
