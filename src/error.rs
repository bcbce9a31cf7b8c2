//! What can go wrong for a caller. Every variant says whether state changed and whether a retry is safe. A refusal inside
//! the commit protocol never gets here as it is: the engine retries it, and what is left over is one of these.

use std::time::Duration;

use hypermnesia_store::backup::BackupError;
use hypermnesia_store::limits::KEY_BYTES_MAX;
use hypermnesia_store::{RowError, SchemaError, TxId, ValueError};

use crate::limits::REQUEST_ID_KEPT;

/// Result of most calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Unless a variant says otherwise nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration of the node cannot work. Nothing was started.
    #[error("configuration: {0}")]
    Config(String),
    /// No table of this name. Nothing changed; a retry helps only after it is created.
    #[error("there is no table {name:?}")]
    NoSuchTable {
        /// As asked for.
        name: String,
    },
    /// A table of this name exists. Nothing changed.
    #[error("table {name:?} exists already")]
    TableExists {
        /// As asked for.
        name: String,
    },
    /// The table, or none of all tables, has an index of this name. Nothing changed.
    #[error("{}", no_index(table, index))]
    NoSuchIndex {
        /// The table; empty where `DROP INDEX` named none.
        table: String,
        /// As asked for.
        index: String,
    },
    /// The table has an index of this name. Nothing changed.
    #[error("table {table:?} has an index {index:?} already")]
    IndexExists {
        /// The table.
        table: String,
        /// As asked for.
        index: String,
    },
    /// The table has no attribute of this name. Nothing changed.
    #[error("table {table:?} has no attribute {attribute:?}")]
    NoSuchAttribute {
        /// The table.
        table: String,
        /// As asked for.
        attribute: String,
    },
    /// What was asked for is done with a copy of the table here, and this node keeps none: a snapshot of several reads, a
    /// subscription, statistics, a dirty read, a backup, a change of all rows; or the rows are each member's own. Nothing changed;
    /// ask a member that has one. Other reads, and transactions, need no copy here: they ask such a member by themselves.
    #[error(
        "this needs a copy of table {table:?}, and this node keeps none: ask {members}, or read it in a transaction"
    )]
    NoCopy {
        /// The table.
        table: String,
        /// The names of the members that keep one.
        members: String,
    },
    /// System tables are written by the system alone. Nothing changed.
    #[error("table {table:?} belongs to the system and cannot be written")]
    SystemTable {
        /// The table.
        table: String,
    },
    /// The operation has no meaning for this kind of table (for example `first` on a set). Nothing changed.
    #[error("{operation} does not work on table {table:?}, which is a {kind}")]
    WrongKind {
        /// The table.
        table: String,
        /// What was asked for.
        operation: &'static str,
        /// What the table is.
        kind: &'static str,
    },
    /// The values do not make a row or key of the table. Nothing changed; the same values will not fit next time.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A value cannot be stored. Nothing changed; it will not fit next time.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The definition of a table is wrong. Nothing changed.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A record type does not match the table. Nothing changed.
    #[error("record {record} does not fit: {reason}")]
    Record {
        /// The record type.
        record: &'static str,
        /// The table.
        table: String,
        /// What differs, which names the table.
        reason: String,
    },
    /// Another row has these values under a unique index. The whole transaction was aborted; a retry helps only when that
    /// row is gone.
    #[error("another row of table {table:?} has the same values under the unique index {index:?}: {key}")]
    Unique {
        /// The table.
        table: String,
        /// The index.
        index: String,
        /// The values.
        key: String,
    },
    /// The program aborted its transaction. Nothing changed.
    #[error("aborted: {reason}")]
    Aborted {
        /// As the program gave it.
        reason: String,
    },
    /// Other transactions were in the way in every attempt. Nothing changed; a retry is safe.
    #[error("conflict with other transactions in {attempts} attempts")]
    Conflict {
        /// How often it ran.
        attempts: u32,
    },
    /// The deadline passed before there was a decision to commit, or a vote was missing so shortly before it that only an
    /// abort was left ([`TxOptions::deadline`](crate::TxOptions::deadline)). Nothing changed; a retry is safe. A task that
    /// begins a transaction inside another one and needs what that one has locked waits until here.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// A transaction inside the program of another one needs what the outer one has locked, and the outer one cannot end
    /// before it. The inner one changed nothing; a retry will fail alike. Use the handle of the outer transaction, or
    /// [`Transaction::nested`](crate::Transaction::nested).
    #[error(
        "waits for transaction {txid}, inside of which it runs: use the outer transaction's handle instead of a new one"
    )]
    BlockedByOuter {
        /// The outer one.
        txid: TxId,
    },
    /// A member that keeps a copy of a touched table cannot take part now. Nothing was sent and nothing changed; a retry is
    /// safe, and will succeed once the member is back or the others have agreed to go on without it, about a second.
    #[error("member {member} {why}")]
    Unavailable {
        /// Its name.
        member: String,
        /// What is wrong with it.
        why: String,
    },
    /// This node has not loaded its tables yet. Nothing changed; wait with `wait_for_tables`.
    #[error("not ready: {waits_for}")]
    NotReady {
        /// What is missing.
        waits_for: String,
    },
    /// Too much is under way on this node. Nothing changed; a retry after a pause is safe.
    #[error("overloaded: {what}")]
    Overloaded {
        /// Which bound was met.
        what: &'static str,
    },
    /// The request id was used for another request: the digests differ, or its answer is of another type. Nothing changed by
    /// this call; the id stays taken.
    #[error("request id {id:?} was used for another request")]
    RequestReused {
        /// The id.
        id: String,
    },
    /// As many request ids are remembered as there is room for. None is forgotten early, since its work could be done twice.
    /// Nothing changed; a retry is safe, and succeeds when some are as old as they become.
    #[error("too many request ids are remembered: the oldest go {} minutes after their commit", REQUEST_ID_KEPT.as_secs() / 60)]
    RequestsFull,
    /// Nobody knows yet whether it committed. State may have changed or may still change: ask
    /// [`Node::outcome`](crate::Node::outcome); a blind retry may do it twice.
    #[error("the outcome of transaction {txid} is unknown")]
    Unknown {
        /// Whom to ask about.
        txid: TxId,
    },
    /// A row that was to be read belongs to a transaction whose coordinator is lost, and the deadline passed. Nothing
    /// changed; a retry is safe and will succeed once the members that know of it are there, or a majority has settled it.
    #[error(
        "the row is part of transaction {txid}, which is in doubt until the members that know of it are there"
    )]
    InDoubt {
        /// The one in doubt.
        txid: TxId,
    },
    /// The definition of the table changed under an open cursor, snapshot or interactive transaction. Nothing changed;
    /// begin again.
    #[error("the definition of table {table:?} has changed")]
    SchemaChanged {
        /// The table.
        table: String,
    },
    /// A transaction passes a bound of [`limits`](crate::limits). Nothing changed; the same will not pass next time.
    #[error("the transaction is too large: more than {bound} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        bound: usize,
    },
    /// A table is to have a copy on disc here, and this node was started without a data directory. Nothing changed; give the
    /// node a directory, or keep the copy in memory.
    #[error(
        "table {table:?} is to be kept on disc, and this node has no data directory: start it with one, or choose ram"
    )]
    NoDataDirectory {
        /// The table.
        table: String,
    },
    /// There is no sequence of this name, or it was dropped. Nothing changed.
    #[error("there is no sequence {name:?}")]
    NoSuchSequence {
        /// The name.
        name: String,
    },
    /// A sequence has given out its last number. Nothing changed; a reset makes it begin again.
    #[error("sequence {name:?} has given out its last number")]
    SequenceExhausted {
        /// The name.
        name: String,
    },
    /// The table has a bound in rows or bytes and the transaction would grow it past that. Nothing changed; a retry may
    /// succeed when rows have gone.
    #[error("table {table:?} is full: it has as many rows or bytes as its definition allows")]
    TableFull {
        /// The table.
        table: String,
    },
    /// The tables of a member that keeps a copy hold as much memory as they may
    /// ([`NodeBuilder::memory_max`](crate::NodeBuilder::memory_max)), and the transaction would grow one of them. Nothing
    /// changed; a retry may succeed when rows have gone.
    #[error(
        "the tables of member {member} hold {held} bytes of memory and may hold {bound}: delete rows, or start it with a larger bound"
    )]
    MemoryFull {
        /// Its name.
        member: String,
        /// What they hold.
        held: u64,
        /// What they may hold.
        bound: u64,
    },
    /// The table pushes rows out when it is full, and this one is so large that it would push out all others and itself.
    /// Nothing changed; the same row will not fit next time.
    #[error(
        "table {table:?}, key {key}: a row of {bytes} bytes is too large for a table that evicts, its bound in bytes takes rows of at most {bound} bytes"
    )]
    RowTooLarge {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        /// Of key and row.
        bytes: u64,
        /// Most bytes of one row and its key: 31/32 of the bound.
        bound: u64,
    },
    /// The loader of [`Table::get_or_insert_with`](crate::Table::get_or_insert_with) asks for the row that it is to compute, and
    /// would wait for itself. Nothing changed; the same loader will fail alike.
    #[error("the loader of the row of table {table:?} with the key {key} asks for that row itself")]
    LoadsItself {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// Another caller computes the row with [`Table::get_or_insert_with`](crate::Table::get_or_insert_with) and did not end
    /// in time. Nothing changed by this call; a retry is safe. Two loaders that need each other's rows fail so each time.
    #[error(
        "the row of table {table:?} with the key {key} is being computed by another caller, which has not ended in {} s",
        waited.as_secs()
    )]
    LoadTooLong {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        /// How long was waited.
        waited: Duration,
    },
    /// What a row would put into an index is longer than an entry may be. Nothing changed; a shorter value passes.
    #[error(
        "table {table:?}, key {key}: the indexed values are too long, an index entry has at most {KEY_BYTES_MAX} bytes"
    )]
    IndexEntryTooLong {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
    },
    /// What pins old versions of rows for a caller was not used, or was open, for too long, and was let go. Nothing changed;
    /// start again.
    #[error("the {what} was {how} for more than {} s and has ended: start again", limit.as_secs())]
    Expired {
        /// What ended.
        what: &'static str,
        /// `idle` or `open`.
        how: &'static str,
        /// The limit that was met.
        limit: Duration,
    },
    /// The changes behind a position are not all there any more, or it is none of this table here. Nothing changed; subscribe
    /// anew, with the rows.
    #[error(
        "the events of table {table:?} cannot be gone on with: {why}. Subscribe anew, with the rows as they are"
    )]
    EventsGone {
        /// The table.
        table: String,
        /// Why.
        why: &'static str,
    },
    /// The transaction has ended. Nothing changed by this call.
    #[error("the transaction has ended")]
    Ended,
    /// A row on this node cannot be read as what its table says. Nothing changed; the data is damaged or from a newer
    /// version.
    #[error("table {table:?} holds a row that cannot be read: {reason}")]
    Damaged {
        /// The table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// The disc failed or its files are damaged. The node has stopped serving; what was not acknowledged may or may not be
    /// there after a restart.
    #[error("disc: {0}")]
    Disc(String),
    /// A backup file cannot be written, or is none, or is not whole. No table was changed, and no file stands under the name
    /// that was to be written but the one that stood there before.
    #[error("{file}: {error}")]
    Backup {
        /// Its name.
        file: String,
        /// What is wrong with it.
        error: BackupError,
    },
    /// Backups that do not belong together: an incremental one and another one than its base, a base of another cluster, a
    /// table that is not in them. Nothing changed.
    #[error("{0}")]
    BackupChain(String),
    /// A table that is there is not what the backup holds. Nothing changed, no other table either.
    #[error(
        "table {table:?} cannot take the backup's rows: {reason}; restore it with the mode recreate, which drops it first, or skip it"
    )]
    RestoreMismatch {
        /// The table.
        table: String,
        /// What differs.
        reason: String,
    },
    /// A restore ended in the middle. The tables before this one in the backup are restored, this one holds so many rows of
    /// the backup (with the modes clear and recreate: and no others), those behind it are as they were. Restoring again is
    /// safe, and makes all of it whole.
    #[error(
        "the restore stopped in table {table:?}, with {rows} of its rows in, and nothing of the tables behind it: {cause}. Restore again when the cause is gone"
    )]
    RestoreStopped {
        /// The table.
        table: String,
        /// Its rows that are in for certain.
        rows: u64,
        /// Why.
        cause: Box<Error>,
    },
    /// A query is wrong, with the place in its text. Nothing changed.
    #[error(transparent)]
    Query(#[from] hypermnesia_query::QueryError),
    /// Another process with this node's name has taken its place among the members: this one serves no longer, since it no
    /// longer hears what is agreed. Nothing changed by this call.
    #[error(
        "a newer process with the name {name:?} has taken this one's place among the members; stop that one and start this \
         one again, or leave it. (If there is none, the clock of this machine was set back.)"
    )]
    Replaced {
        /// The node.
        name: String,
    },
    /// There is no member of that name. Nothing changed.
    #[error("there is no member {name:?}: the members are {members}")]
    NoSuchMember {
        /// The name.
        name: String,
        /// All members.
        members: String,
    },
    /// A member has the only copy of tables, which would be lost with it. Nothing changed.
    #[error("{member:?} has the only copy of {tables}: drop these tables, or keep it")]
    LastCopy {
        /// The member.
        member: String,
        /// Their names.
        tables: String,
    },
    /// This member was removed from its cluster: it serves no longer. Nothing changed by this call.
    #[error(
        "{name:?} was removed from the cluster. To have it back, start it with an empty data directory and --join and the address of a member"
    )]
    Removed {
        /// The node.
        name: String,
    },
    /// A part of the node panicked: something that must always hold did not. The node has stopped serving; what was under
    /// way may or may not have happened, and a restart finds on disc what was acknowledged.
    #[error("a fault of the program stopped the node: {0}")]
    Broken(String),
    /// The node was closed. Nothing changed by this call.
    #[error("the node is closed")]
    Closed,
}

fn no_index(table: &str, index: &str) -> String {
    match table {
        "" => format!("no table has an index {index:?}"),
        table => format!("table {table:?} has no index {index:?}"),
    }
}

impl Error {
    /// The program's own reason to abort its transaction: `return Err(Error::abort("not enough money"))`.
    pub fn abort(reason: impl Into<String>) -> Error {
        Error::Aborted { reason: reason.into() }
    }

    /// Whether what was to be read here may have to be asked for now.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Error::NoCopy { .. } | Error::Unavailable { .. })
    }

    /// Whether the same call may simply be made again: nothing changed, and the cause is one that passes.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::Conflict { .. }
                | Error::DeadlineExceeded
                | Error::LoadTooLong { .. }
                | Error::Unavailable { .. }
                | Error::NotReady { .. }
                | Error::Overloaded { .. }
                | Error::InDoubt { .. }
                | Error::SchemaChanged { .. }
        )
    }
}
