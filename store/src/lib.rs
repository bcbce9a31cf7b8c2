//! What one node of Hypermnesia knows: values, tables, versions, locks, and their image on disc.
//!
//! This room sees no network, no runtime, no clock and no randomness: time is passed in, and what must wait is handed back
//! to the caller. Who may use it, and how a write travels through it, is in `docs/architecture.md`.
//!
//! | module | noun |
//! |---|---|
//! | [`value`], [`value_ref`] | one value, owned and borrowed |
//! | [`order`] | the one total order over values |
//! | [`key`] | keys and ranges of keys: bytes that sort as their values do |
//! | [`row`] | rows: bytes with every attribute in reach |
//! | [`schema`] | what a table is: attributes, key, indexes, copies |
//! | [`ids`], [`clock`] | numbers with names; time |
//! | [`codec`] | messages and records to bytes and back |
//! | [`store`], [`table`], [`cursor`] | the door: transactions, tables, scans |
//! | [`work`], [`txn`] | what a transaction asks, and where it stands |
//! | [`event`], [`load`], [`catalog`] | changes told; filling without transactions; tables from the schema table |
//! | [`leaves`] | digests of a table, in parts |
//! | [`calendar`], [`size`] | moments and numbers of bytes as text |
//! | [`disc`] | the commit log, and reading it at the start |
//! | [`backup`] | rows at one timestamp as a file |
//! | `backing`, `resident` | tables on disc alone: what of them is in memory |
//! | [`limits`], [`error`] | every bound; what can be wrong with values and bytes |

mod admission;
mod backing;
pub mod backup;
pub mod calendar;
pub mod catalog;
mod cell;
mod cells;
mod chain;
mod change;
mod clearing;
pub mod clock;
pub mod codec;
mod commit;
mod count;
pub mod cursor;
mod deadline;
pub mod disc;
pub mod error;
pub mod event;
mod eviction;
mod flight;
mod heap;
mod history;
pub mod ids;
mod in_place;
mod index;
pub mod key;
pub mod leaves;
pub mod limits;
pub mod load;
mod lock;
mod memory;
mod memory_bound;
pub mod order;
mod prefetch;
mod prepare;
mod quiet;
mod range_lock;
mod resident;
pub mod row;
pub mod schema;
mod shift;
mod single;
pub mod size;
mod snapshot;
mod spare;
mod statistics;
pub mod store;
pub mod table;
mod tree;
pub mod txn;
pub mod value;
pub mod value_ref;
mod version;
pub mod work;

pub use catalog::{SCHEMA_TABLE, define, defined_by, schema_key, undefine};
pub use change::change;
pub use clock::{Clock, ClockAhead, Timestamp};
pub use commit::CommittedLocal;
pub use cursor::{Cursor, Found};
pub use error::{Malformed, ValueError};
pub use event::{Event, EventDetail, Heard, Place, Subscription};
pub use ids::{Incarnation, IndexId, NodeId, SchemaVersion, TableId, TxId};
pub use key::{Key, KeyRange};
pub use leaves::{LeafCount, LeafSet, Leaves};
pub use load::LoadError;
pub use lock::Wait;
pub use row::{Body, Numbers, Row};
pub use schema::{
    Ack, Attribute, IndexDef, Kind, Layout, Mode, NotCounted, Retention, RowError, SchemaError, Storage,
    TableBuilder, TableCopy, TableDef, Type,
};
pub use single::Decision;
pub use snapshot::Snapshot;
pub use statistics::TableStatistics;
pub use store::{Store, StoreConfig};
pub use table::{Direction, Table};
pub use txn::{Status, Txn, TxnStatus};
pub use value::Value;
pub use value_ref::ValueRef;
pub use work::{
    Blocked, Conflict, Freed, LockMode, Locked, Op, Prepared, RangeNote, ReadNote, Role, Unreadable, Work,
    Write,
};
