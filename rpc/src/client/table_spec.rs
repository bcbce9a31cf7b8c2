//! A table to be created, written down step by step.

use crate::proto::{self, Acknowledge, AttributeType, Storage, TableKind};

/// The definition of a table to be created. Unless told otherwise the first attribute is the key, and every member keeps a
/// copy in memory.
///
/// ```
/// use hypermnesia_rpc::client::{AttributeType, TableSpec};
/// let cities = TableSpec::set("cities")
///     .attribute("id", AttributeType::Int)
///     .attribute("country", AttributeType::Text)
///     .nullable("name", AttributeType::Text)
///     .index("by_country", ["country"])
///     .disc();
/// ```
#[derive(Clone, Debug)]
pub struct TableSpec(proto::Table);

impl TableSpec {
    /// One row per key, not in order.
    pub fn set(name: impl Into<String>) -> TableSpec {
        TableSpec::new(name, TableKind::Set)
    }

    /// One row per key, in the order of keys.
    pub fn ordered_set(name: impl Into<String>) -> TableSpec {
        TableSpec::new(name, TableKind::OrderedSet)
    }

    /// Several different rows per key.
    pub fn bag(name: impl Into<String>) -> TableSpec {
        TableSpec::new(name, TableKind::Bag)
    }

    /// A table of a kind that is known at run time only.
    pub fn new(name: impl Into<String>, kind: TableKind) -> TableSpec {
        TableSpec(proto::Table { name: name.into(), kind: kind.into(), ..proto::Table::default() })
    }

    /// Adds an attribute that may not be null.
    pub fn attribute(self, name: impl Into<String>, kind: AttributeType) -> TableSpec {
        self.add(name.into(), kind, false)
    }

    /// Adds an attribute that may be null.
    pub fn nullable(self, name: impl Into<String>, kind: AttributeType) -> TableSpec {
        self.add(name.into(), kind, true)
    }

    /// Names the key attributes, in the order of the key.
    pub fn key<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> TableSpec {
        self.0.key = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds an index over these attributes.
    pub fn index<S: Into<String>>(
        self,
        name: impl Into<String>,
        attributes: impl IntoIterator<Item = S>,
    ) -> TableSpec {
        self.add_index(name.into(), attributes.into_iter().map(Into::into).collect(), false)
    }

    /// Adds an index in which no two rows may be equal.
    pub fn unique_index<S: Into<String>>(
        self,
        name: impl Into<String>,
        attributes: impl IntoIterator<Item = S>,
    ) -> TableSpec {
        self.add_index(name.into(), attributes.into_iter().map(Into::into).collect(), true)
    }

    /// Every member keeps its copy on disc too.
    pub fn disc(self) -> TableSpec {
        self.storage(Storage::Disc)
    }

    /// How every member keeps its copy.
    pub fn storage(mut self, storage: Storage) -> TableSpec {
        self.0.storage = storage.into();
        self
    }

    /// Gives a member a copy; only members named so have one.
    pub fn copy(mut self, member: impl Into<String>, storage: Storage) -> TableSpec {
        self.0.copies.push(proto::Copy { member: member.into(), storage: storage.into() });
        self
    }

    /// When a commit is acknowledged.
    pub fn acknowledge(mut self, level: Acknowledge) -> TableSpec {
        self.0.acknowledge = level.into();
        self
    }

    pub(super) fn into_message(self) -> proto::Table {
        self.0
    }

    fn add(mut self, name: String, kind: AttributeType, nullable: bool) -> TableSpec {
        self.0.attributes.push(proto::Attribute { name, r#type: kind.into(), nullable });
        self
    }

    fn add_index(mut self, name: String, attributes: Vec<String>, unique: bool) -> TableSpec {
        self.0.indexes.push(proto::Index { name, attributes, unique });
        self
    }
}
