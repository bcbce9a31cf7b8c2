//! What a table is: its name, kind, attributes, key, indexes and copies. A definition is data: it is built and checked
//! here, stored as a row of the schema table, and says how values become a row of its table and which key a row has.

mod attribute;
mod builder;
mod format;
mod growth;
mod placement;
mod retention;
mod table_def;

pub use attribute::{Attribute, Type};
pub use builder::{SchemaError, TableBuilder};
pub use placement::{Ack, Kind, Mode, Storage, TableCopy};
pub use retention::Retention;
pub use table_def::{IndexDef, Layout, NotCounted, RowError, TableDef};
