//! Replicated in-memory tables for Rust programs: what Mnesia is to Erlang.
//!
//! Tables live in the memory of every node that holds a copy. Transactions over any number of tables are strictly
//! serializable and committed on all copies or nowhere, in one round trip. Reads are local.
//!
//! ```
//! use hypermnesia::{Node, Record};
//!
//! #[derive(Record, Debug, PartialEq)]
//! #[record(table = "cities", kind = "ordered_set")]
//! struct City {
//!     #[record(key)]
//!     id: i64,
//!     #[record(index)]
//!     country: String,
//!     name: String,
//! }
//!
//! let node = Node::builder().build()?; // embedded; name members to make it one of a cluster
//! let cities = node.create_table_of::<City>()?;
//! cities.insert(&City { id: 1, country: "BE".into(), name: "Ghent".into() })?;
//!
//! node.transaction(|tx| {
//!     let mut city = tx.get(&cities, &1)?.expect("it was just inserted");
//!     city.name.push_str(" (Gent)");
//!     tx.insert(&cities, &city)
//! })?;
//! assert_eq!(cities.get(&1)?.expect("still there").name, "Ghent (Gent)");
//! assert_eq!(cities.index_read("by_country", &["BE".into()])?.len(), 1);
//! # Ok::<(), hypermnesia::Error>(())
//! ```
//!
//! | module | noun |
//! |---|---|
//! | [`Node`], [`NodeBuilder`] | a member of a cluster, or an embedded node |
//! | [`Table`], [`DynTable`], [`record`], [`shape`] | tables of structs and of plain values |
//! | [`Transaction`], [`AsyncTransaction`], [`TxOptions`] | changes that happen wholly or not at all |
//! | [`Snapshot`], [`Span`] | reading one state of everything; which part of it |
//! | [`Filter`], [`Pattern`], [`Continuation`] | rows by what they hold; chunk by chunk |
//! | [`Subscription`], [`SystemEvents`] | what happens |
//! | [`backup`] | tables into files and back |
//! | [`Status`], [`Error`], [`limits`] | where a node stands; what can go wrong; every bound |

mod alter;
mod async_transaction;
mod attempt;
pub mod backup;
mod builder;
mod carry;
mod check;
mod continuation;
mod control;
mod core;
mod decision;
mod disc;
mod discovery;
mod drive;
mod error;
mod event;
mod index_span;
mod keys;
mod life;
pub mod limits;
mod load;
mod lockers;
mod machine;
pub mod metrics;
mod node;
mod operation;
mod options;
mod overlay;
mod pattern;
mod peer;
mod plane;
mod query;
mod reading;
pub mod record;
mod remote;
mod request;
mod running;
mod runs;
mod schema;
mod sequence;
pub mod shape;
mod snapshot;
mod space;
mod spin;
pub mod status;
mod survey;
mod sweep;
mod table;
mod tls;
mod transaction;
mod unique;
mod version;
mod vouch;
mod wait;
mod within;

pub use async_transaction::{AsyncTransaction, Mark};
pub use builder::NodeBuilder;
pub use check::{check_directory, check_log};
pub use continuation::Continuation;
pub use error::{Error, Result};
pub use event::{
    EventDetail, EventPosition, Heard, NotAPosition, Subscription, SystemEvent, SystemEvents, TableEvent,
};
pub use hypermnesia_query as sql;
pub use hypermnesia_query::{Column, ErrorKind as QueryErrorKind, Filter, Pattern, QueryError, Sink};
pub use hypermnesia_replication::{Event as ClusterEvent, Outcome};
pub use hypermnesia_store::disc::{CheckedFile, CheckedTable};
pub use hypermnesia_store::work::LockMode;
pub use hypermnesia_store::{
    Ack, Attribute, Body, IndexDef, Key, KeyRange, Kind, NodeId, NotCounted, Retention, Row, RowError,
    SchemaError, Storage, TableBuilder, TableCopy, TableDef, TableId, TableStatistics, Timestamp, TxId, Type,
    Value, ValueRef, calendar, size,
};
pub use node::Node;
pub use operation::Count;
pub use options::{DiscOptions, Lifetime, Span, TxOptions, Walk};
pub use query::QueryResult;
pub use record::Record;
pub use request::{Answered, RequestId};
pub use sequence::Sequence;
pub use shape::{Dynamic, Encoded, Stored};
pub use snapshot::{Again, Snapshot};
pub use status::Status;
pub use table::{DynTable, Table};
pub use tls::uri as member_uri;
pub use transaction::Transaction;
pub use unique::{NotAnId, UniqueId};
pub use version::Versioned;

/// The README's example is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So are those of the page on patterns.
#[cfg(doctest)]
#[doc = include_str!("../docs/patterns.md")]
struct Patterns;

/// And so is that of the page about backups.
#[cfg(doctest)]
#[doc = include_str!("../docs/backup.md")]
struct BackupPage;
