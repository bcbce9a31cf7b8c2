//! Changes of the schema, read from SQL as data. This room checks what the text alone can tell; whoever executes them
//! (the engine, as a transaction of the schema table) checks them against the tables that exist.

use std::time::Duration;

use hypermnesia_store::{Ack, Attribute, Kind, Storage};

/// What a CREATE or DROP statement asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// CREATE TABLE.
    CreateTable(CreateTable),
    /// CREATE INDEX.
    CreateIndex(CreateIndex),
    /// DROP TABLE.
    DropTable {
        /// The table.
        name: String,
        /// A missing table is no error.
        if_exists: bool,
    },
    /// DROP INDEX name, or DROP INDEX name ON table.
    DropIndex {
        /// The index.
        name: String,
        /// Its table; without it the name must be that of one index among all tables.
        table: Option<String>,
        /// A missing index is no error.
        if_exists: bool,
    },
}

/// A table to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTable {
    /// Its name.
    pub name: String,
    /// A table that is there already is no error.
    pub if_not_exists: bool,
    /// From `WITH (kind = 'ordered_set')`; a set by default.
    pub kind: Kind,
    /// The attributes in order.
    pub attributes: Vec<Attribute>,
    /// Names of the key's attributes, in order: PRIMARY KEY, else the first attribute.
    pub key: Vec<String>,
    /// From UNIQUE.
    pub indexes: Vec<NewIndex>,
    /// From `WITH (storage = 'disc')`, for `disc_only` with `cache = '64MiB'` beside it; the creator's default without it.
    pub storage: Option<Storage>,
    /// From `WITH (ack = 'synced')`; the creator's default without it.
    pub ack: Option<Ack>,
    /// From `WITH (copies = 'n1,n2')`: names of members; all of them without it.
    pub copies: Option<Vec<String>>,
    /// From `WITH (local = true)`: each member has rows of its own.
    pub local: bool,
    /// From `WITH (duplicates = true)`: a local bag keeps a row that is put again as another one.
    pub duplicates: bool,
    /// From `WITH (ttl = '90s')`: how long a row lives after it was put.
    pub ttl: Option<Duration>,
    /// From `WITH (max_idle = '1h')`: how long a row stays that nobody reads or writes.
    pub max_idle: Option<Duration>,
    /// From `WITH (rows_max = 10000)`.
    pub rows_max: Option<u64>,
    /// From `WITH (bytes_max = '64MiB')`: bytes of keys and rows.
    pub bytes_max: Option<u64>,
    /// From `WITH (evict = true)`: a full table lets rows go instead of refusing more.
    pub evict: bool,
}

/// An index to be created with its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIndex {
    /// Its name.
    pub name: String,
    /// Names of its attributes, in order.
    pub attributes: Vec<String>,
    /// Whether no two rows may have the same values.
    pub unique: bool,
    /// Whether its one attribute is a list, and a row has an entry for each value of it.
    pub multi: bool,
}

/// An index to be created on a table that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateIndex {
    /// The table.
    pub table: String,
    /// An index that is there already is no error.
    pub if_not_exists: bool,
    /// The index.
    pub index: NewIndex,
}
