//! What a node tells about itself: plain data, made to be shown and sent.

use serde::{Deserialize, Serialize};

/// Where a node and its cluster stand, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This node's name.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
    /// This process: milliseconds since 1970 at its start.
    pub incarnation: u64,
    /// The last opened epoch; 0 before the first.
    pub epoch: u64,
    /// Reads are served, and writes as far as this node is concerned.
    pub ready: bool,
    /// What it waits for, when it is not ready.
    pub waits_for: Option<String>,
    /// All members, by name.
    pub members: Vec<MemberStatus>,
    /// All tables, by name, the system's own left out.
    pub tables: Vec<TableStatus>,
    /// Prepared transactions without an outcome, oldest first. Their keys wait for it.
    pub in_doubt: Vec<InDoubtStatus>,
    /// Tables whose copies were all in memory when every process that had one ended: they came back empty.
    pub came_back_empty: Vec<String>,
    /// Bytes of rows, and of digests of rows, that came in copies of tables since the process began.
    pub copied_bytes: u64,
    /// Transactions that others committed to tables while this process copied them.
    pub copied_commits: u64,
    /// Locks held and requests waiting for one.
    pub locks: (usize, usize),
    /// Who waits for whom: transactions that wait for a lock now, at most a thousand.
    pub waits: Vec<WaitStatus>,
    /// Live snapshots.
    pub snapshots: usize,
    /// Age of the oldest live snapshot in milliseconds, by the clock of commits; 0 without any. What it reads is kept, one
    /// version of a key; of a running transaction's all that came behind it: see [`TableStatus::old_versions`].
    pub oldest_snapshot_age_ms: u64,
    /// Bytes of memory that all tables hold here, the system's own included.
    pub memory_bytes: u64,
    /// Bytes of disc that the log takes, with what is made ready for it. 0 without a data directory, as the next one.
    pub log_bytes: u64,
    /// Bytes of disc that the image takes, as of the last checkpoint.
    pub image_bytes: u64,
    /// Open continuations: each pins a snapshot until it is through, dropped, or past its limits.
    pub continuations: usize,
    /// Its part in the control plane; a node that is alone has none.
    pub control: Option<ControlStatus>,
}

/// The control plane of a cluster as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// The id that the cluster was founded with, 32 hexadecimal digits; none before.
    pub cluster_id: Option<String>,
    /// The member that leads, as far as is known here.
    pub leader: Option<String>,
    /// The term of that leadership, or of the latest candidate.
    pub term: u64,
    /// How long a lease lasts, in milliseconds ([`NodeBuilder::lease`](crate::NodeBuilder::lease)).
    pub lease_ms: u64,
    /// Who votes, by name.
    pub voters: Vec<String>,
    /// Members that are here and whose votes do not count (yet): their stores of votes are new ones, which take the place of the
    /// old ones by and by. Before they have, losing another member is losing two.
    pub without_vote: Vec<String>,
    /// Why this member's part of it has stopped, if it has: it votes no more until it is started again.
    pub stopped: Option<String>,
}

/// A member as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Where it listens for the others; empty for an embedded node.
    pub peer_address: String,
    /// Its process, once it was seen.
    pub incarnation: Option<u64>,
    /// There is a connection. True for the node itself.
    pub connected: bool,
    /// It serves all its tables in the present epoch.
    pub ready: bool,
    /// Bytes sent to it that it has not acknowledged.
    pub unacknowledged_bytes: usize,
    /// It is to leave, or has left, in good order.
    pub draining: bool,
    /// It takes part in the last epoch that the node knows of.
    pub in_epoch: bool,
    /// It votes in the control plane.
    pub votes: bool,
}

/// A table as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// `set`, `ordered_set` or `bag`.
    pub kind: String,
    /// Rows here; 0 without a copy here.
    pub rows: u64,
    /// Bytes of its keys and rows here; on disc for the most part where it lives on disc alone.
    pub bytes: u64,
    /// Bytes of memory that it holds here with all that finds its rows, as asked for from the allocator; within 1 % (3 % with deadlines).
    pub memory_bytes: u64,
    /// Old versions of rows, kept because a live snapshot may read them.
    pub old_versions: u64,
    /// Deletions and vanished index entries, kept for a snapshot or for two seconds.
    pub deletions: u64,
    /// Rows with a deadline.
    pub deadlines: u64,
    /// Its indexes by name, and how many entries each has.
    pub index_entries: Vec<(String, u64)>,
    /// Where its copies are: member and `ram`, `disc` or `disc_only`.
    pub copies: Vec<(String, String)>,
    /// How often its definition has changed, from 1.
    pub version: u32,
    /// Its rows here may be read.
    pub loaded: bool,
    /// Whether its rows are this member's own.
    pub local: bool,
    /// Reads of a key that had a row, since the node started; for tables with a time to live or a bound.
    pub hits: u64,
    /// Reads of a key that had none.
    pub misses: u64,
    /// Rows that went to make room or lay idle.
    pub evictions: u64,
    /// Rows that were removed past their deadline.
    pub expirations: u64,
    /// Who listens to its changes, watches from afar included.
    pub listeners: usize,
    /// Changes that are kept for them.
    pub events: usize,
}

/// A transaction that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitStatus {
    /// Its id, as text.
    pub txid: String,
    /// The member that coordinates it.
    pub coordinator: String,
    /// The table.
    pub table: String,
    /// The unique index, where the lock is on a value of one.
    pub index: Option<String>,
    /// The key or value; none where it is the whole table.
    pub key: Option<String>,
    /// `read` or `write`.
    pub mode: String,
    /// Ids of the transactions in its way, the first sixteen: those who hold it, then those who wait before it.
    pub behind: Vec<String>,
}

/// A prepared transaction without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubtStatus {
    /// Its id, as text.
    pub txid: String,
    /// Since when, in milliseconds; 0 for one that was found in the log.
    pub age_ms: u64,
    /// How many keys it writes.
    pub keys: usize,
    /// The member that coordinates it.
    pub coordinator: String,
}
