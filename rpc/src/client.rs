//! The Rust client: what an application uses instead of the embedded library when the tables live in other processes. It
//! keeps no state but one HTTP/2 connection, which many tasks share and which is opened again by itself. It never repeats a
//! call: whether that is safe is told by [`Error::is_retry_safe`](crate::Error::is_retry_safe).
//!
//! ```no_run
//! use hypermnesia_rpc::client::{AttributeType, Client, TableSpec};
//!
//! # async fn example() -> Result<(), hypermnesia_rpc::Error> {
//! let client = Client::connect("127.0.0.1:7400").await?;
//! let spec = TableSpec::ordered_set("people").attribute("id", AttributeType::Int).nullable("name", AttributeType::Text);
//! client.create_table(spec).await?;
//!
//! let people = client.table("people");
//! people.put((1, "Ada")).await?;
//! assert_eq!(people.get_one(1).await?, Some(vec![1.into(), "Ada".into()]));
//!
//! let mut rows = client.query("SELECT name FROM people WHERE id = ?", [1]).await?;
//! while let Some(row) = rows.next().await? {
//!     println!("{}", row[0]);
//! }
//! # Ok(())
//! # }
//! ```

mod backups;
mod change;
mod cluster;
mod connection;
mod events;
mod interactive;
mod lifetime;
mod operations;
mod pattern;
mod query;
mod scan;
mod sequence;
mod table;
mod table_spec;
mod transact;
mod values;

pub use crate::proto::{
    Acknowledge, AttributeType, Comparison, InDoubtTransaction, Member, MemberEvent, Outcome,
    StatusResponse as ClusterStatus, Storage, Table as TableDefinition, TableInfo, TableKind, TransactionId,
    WaitingTransaction, WatchMemberResponse,
};
pub use crate::proto::{
    BackedUpTable, BackupBase, BackupDone, BackupRequest, RestoreAction, RestoreDone, RestoreMode,
    RestoreOptions, RestoredTable, TableRestoreMode,
};
pub use backups::{Backup, BackupPart, Restore};
pub use change::{Change, Changed, Count, Expected};
pub use connection::Client;
pub use events::{Changes, MemberEvents, TableChange, Watch, Watched};
pub use interactive::Interactive;
pub use lifetime::Lifetime;
pub use operations::Operations;
pub use pattern::{Filter, Pattern};
pub use query::QueryRows;
pub use scan::{Scan, ScanRows};
pub use table::Table;
pub use table_spec::TableSpec;
pub use transact::{Transact, Transacted, TransactionOptions};
pub use values::{Row, Values};
