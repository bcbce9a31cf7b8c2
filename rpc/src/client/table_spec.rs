//! A table to be created, written down step by step.

use std::time::Duration;

use crate::Value;
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

    /// Adds an index over the values of a list: a row has an entry for each of them.
    pub fn multi_index(mut self, name: impl Into<String>, attribute: impl Into<String>) -> TableSpec {
        let (name, attributes) = (name.into(), vec![attribute.into()]);
        self.0.indexes.push(proto::Index { name, attributes, unique: false, multi: true });
        self
    }

    /// What an attribute becomes where a row is written by names and this one is not among them.
    pub fn default(mut self, attribute: &str, value: impl Into<Value>) -> TableSpec {
        if let Some(known) = self.0.attributes.iter_mut().find(|known| known.name == attribute) {
            known.default = Some(value.into().into());
        }
        self
    }

    /// Rows that are put without a lifetime of their own expire so much later, in whole milliseconds.
    pub fn ttl(mut self, ttl: Duration) -> TableSpec {
        self.retention().ttl_ms = milliseconds(ttl);
        self
    }

    /// Rows that were neither read nor written for so long go. Local tables only.
    pub fn max_idle(mut self, idle: Duration) -> TableSpec {
        self.retention().max_idle_ms = milliseconds(idle);
        self
    }

    /// At most this many rows: a full table refuses to grow, or evicts.
    pub fn rows_max(mut self, rows: u64) -> TableSpec {
        self.retention().rows_max = rows;
        self
    }

    /// At most this many bytes of keys and rows.
    pub fn bytes_max(mut self, bytes: u64) -> TableSpec {
        self.retention().bytes_max = bytes;
        self
    }

    /// When it is full, rows that are asked for least go. Local tables only.
    pub fn evict(mut self) -> TableSpec {
        self.retention().evict = true;
        self
    }

    /// A row that is put again is kept once more. Local bags only.
    pub fn duplicates(mut self) -> TableSpec {
        self.0.duplicates = true;
        self
    }

    /// Each member has rows of its own, which never leave it.
    pub fn local(mut self) -> TableSpec {
        self.0.local = true;
        self
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

    /// Every member keeps its copy on disc alone, with a cache of this many bytes; 0 for the usual size.
    pub fn disc_only(mut self, cache_bytes: u64) -> TableSpec {
        self.0.cache_bytes = cache_bytes;
        self.storage(Storage::DiscOnly)
    }

    /// Gives a member a copy; only members named so have one.
    pub fn copy(mut self, member: impl Into<String>, storage: Storage) -> TableSpec {
        let (member, storage, cache_bytes) = (member.into(), storage.into(), 0);
        self.0.copies.push(proto::Copy { member, storage, cache_bytes });
        self
    }

    /// Gives a member a copy on disc alone, with a cache of this many bytes; 0 for the usual size.
    pub fn copy_disc_only(mut self, member: impl Into<String>, cache_bytes: u64) -> TableSpec {
        let (member, storage) = (member.into(), Storage::DiscOnly.into());
        self.0.copies.push(proto::Copy { member, storage, cache_bytes });
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
        self.0.attributes.push(proto::Attribute { name, r#type: kind.into(), nullable, default: None });
        self
    }

    fn add_index(mut self, name: String, attributes: Vec<String>, unique: bool) -> TableSpec {
        self.0.indexes.push(proto::Index { name, attributes, unique, multi: false });
        self
    }

    fn retention(&mut self) -> &mut proto::Retention {
        self.0.retention.get_or_insert_default()
    }
}

/// At least one, which is what the smallest time to live is.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
