//! Building a table's definition step by step, and the rules it must keep. Names are resolved and all rules checked once,
//! in [`TableBuilder::build`], so that the steps can come in any order.

use std::collections::BTreeSet;

use super::attribute::{Attribute, Type};
use super::placement::{Ack, Kind, Mode, Storage, TableCopy};
use super::table_def::{IndexDef, TableDef};
use crate::ids::{IndexId, NodeId, SchemaVersion, TableId};
use crate::limits::{ATTRIBUTES_MAX, INDEXES_MAX, KEY_ATTRIBUTES_MAX, NAME_BYTES_MAX};

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
    /// Two copies on one member.
    #[error("table {table:?} has two copies on member {node}")]
    SameNode {
        /// The table.
        table: String,
        /// The member.
        node: NodeId,
    },
}

/// Builds a [`TableDef`]. See [`TableDef::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct TableBuilder {
    name: String,
    kind: Kind,
    attributes: Vec<Attribute>,
    key: Vec<String>,
    indexes: Vec<(String, Vec<String>, bool)>,
    copies: Vec<TableCopy>,
    version: SchemaVersion,
    ack: Ack,
    mode: Mode,
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
        }
    }

    /// The kind; a set if never called.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds an attribute that is never null.
    pub fn attribute(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.attributes.push(Attribute { name: name.into(), ty, nullable: false });
        self
    }

    /// Adds an attribute that may be null.
    pub fn nullable(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.attributes.push(Attribute { name: name.into(), ty, nullable: true });
        self
    }

    /// The attributes of the key, in this order; the first attribute if never called.
    pub fn key<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.key = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an index over these attributes, in this order.
    pub fn index<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.indexes.push((name.into(), names.into_iter().map(Into::into).collect(), false));
        self
    }

    /// Adds an index in which no two rows have the same values (rows with a null among them aside).
    pub fn unique_index<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.indexes.push((name.into(), names.into_iter().map(Into::into).collect(), true));
        self
    }

    /// Adds a copy. A definition without copies leaves the choice to whoever creates the table.
    pub fn copy(mut self, node: NodeId, storage: Storage) -> Self {
        self.copies.push(TableCopy { node, storage });
        self
    }

    /// The version of the definition; 1 if never called.
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
        self.check_names("indexes", "index", self.indexes.iter().map(|index| &index.0))?;
        if self.indexes.len() > INDEXES_MAX {
            return Err(SchemaError::IndexCount { count: self.indexes.len(), table: self.name });
        }
        let key = if self.key.is_empty() { vec![0] } else { self.positions("key".into(), &self.key)? };
        let indexes = self.number_indexes()?;
        let mut nodes = BTreeSet::new();
        if let Some(twice) = self.copies.iter().find(|copy| !nodes.insert(copy.node)) {
            return Err(SchemaError::SameNode { node: twice.node, table: self.name });
        }
        let mut attributes = self.attributes;
        key.iter().for_each(|&position| attributes[position].nullable = false);
        Ok(TableDef {
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
        })
    }

    fn number_indexes(&self) -> Result<Vec<IndexDef>, SchemaError> {
        let numbered = (1..).zip(&self.indexes);
        numbered
            .map(|(id, (name, attributes, unique))| {
                let attributes = self.positions(format!("index {name:?}"), attributes)?;
                Ok(IndexDef { id: IndexId(id), name: name.clone(), attributes, unique: *unique })
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

fn check_name(what: &'static str, name: &str) -> Result<(), SchemaError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(SchemaError::BadName { what, name: name.chars().take(NAME_BYTES_MAX).collect() });
    }
    Ok(())
}
