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
//! | [`calendar`] | moments as text |
//! | [`limits`], [`error`] | every bound; what can be wrong with values and bytes |

pub mod calendar;
pub mod clock;
pub mod codec;
pub mod error;
pub mod ids;
pub mod key;
pub mod limits;
pub mod order;
pub mod row;
pub mod schema;
pub mod value;
pub mod value_ref;

pub use clock::{Clock, ClockAhead, Timestamp};
pub use error::{Malformed, ValueError};
pub use ids::{Incarnation, IndexId, NodeId, SchemaVersion, TableId, TxId};
pub use key::{Key, KeyRange};
pub use row::{Body, Row};
pub use schema::{
    Ack, Attribute, IndexDef, Kind, Mode, RowError, SchemaError, Storage, TableBuilder, TableCopy, TableDef,
    Type,
};
pub use value::Value;
pub use value_ref::ValueRef;
