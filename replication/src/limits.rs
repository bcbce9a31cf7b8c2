//! Every bound of this room, by name, with the sum behind the number. What would pass a bound is refused with a typed
//! answer or postponed until there is room; nothing grows past it.

/// Most members of a cluster: sets of members are one word ([`NodeSet`](crate::NodeSet)).
pub const MEMBERS_MAX: usize = 64;

/// Transactions that one node coordinates at a time. Each holds its work and a few hundred bytes; at 1 ms each this is
/// 32 million commits a second, so whoever meets it has peers that stand still.
pub const COORDINATED_MAX: usize = 32_768;

/// Transactions of other coordinators that one node has under way as a participant: three busy coordinators' worth.
pub const HELD_MAX: usize = 3 * COORDINATED_MAX;

/// Outcomes a node remembers at most once nobody can be in doubt about them: about 100 bytes each, 100 MB. An eighth more
/// while a member is away that has not said that it knows them.
pub const OUTCOMES_MAX: usize = 1_000_000;

/// How long a settled outcome is remembered for those who ask, in nanoseconds: ten minutes.
pub const OUTCOME_KEEP_NS: u64 = 600 * 1_000_000_000;

/// Longest a participant lets a prepare wait behind an older lock or for a newer schema, in nanoseconds. The coordinator's
/// deadline is usually nearer; this bounds those without one.
pub const PARK_NS_MAX: u64 = 10 * 1_000_000_000;

/// Longest a coordinator waits for votes and records, in nanoseconds, whatever deadline its caller asked for.
pub const DEADLINE_NS_MAX: u64 = 3_600 * 1_000_000_000;

/// How long before its caller's deadline a coordinator that still misses a vote decides to abort, in nanoseconds: room for
/// the abort to be recorded everywhere, so that the caller hears "aborted" and not "unknown". At most a quarter of the time.
pub const ABORT_GRACE_NS: u64 = 250 * 1_000_000;

/// How long a coordinator waits for the vote of a member whose connection went down. After a blip of the network it is
/// back within that; a process that is gone is not.
pub const LOST_VOTE_NS: u64 = 1_000 * 1_000_000;

/// How often the housekeeping of an otherwise idle node runs (marks, expiries, retries), in nanoseconds.
pub const TICK_NS: u64 = 10 * 1_000_000;

/// How often marks go out, which let everyone forget settled outcomes, in nanoseconds.
pub const MARK_NS: u64 = 1_000 * 1_000_000;

/// After this long without progress the leader of a flush starts over, in nanoseconds. Only a lost member stops a flush,
/// and then it is the member's return that starts the next one; this is the net below that.
pub const FLUSH_RETRY_NS: u64 = 5_000 * 1_000_000;

/// How often a node that is in no open epoch says so to all peers, in nanoseconds. Whoever leads the next epoch change may
/// have opened the last one after it last heard of this node.
pub const STATE_RETRY_NS: u64 = 100 * 1_000_000;

/// After this long without an answer a joiner asks its source again, in nanoseconds. A source that still loads its own
/// schema does not answer.
pub const COPY_RETRY_NS: u64 = 100 * 1_000_000;

/// Bytes of writes that a member keeps of what is committed to tables while it loads them. Past it writers of these tables wait
/// until they are loaded.
pub const TAIL_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of rows in one chunk of a copy (one more row may pass it). While a member takes one in it votes on nothing else: this
/// takes it some 2 ms, which every write waits for that comes just then.
pub const COPY_CHUNK_BYTES: usize = 64 * 1024;

/// Rows in one chunk of a copy.
pub const COPY_CHUNK_ROWS: usize = 1_024;

/// How large the first chunk of the schema may be: see `catchup/place.rs`. Nobody writes before it is there.
pub const SCHEMA_CHUNK: CopyBounds = CopyBounds { chunk_bytes: 8 * 1024 * 1024, chunk_rows: 16_384 };

/// How large the chunks of a copy are, in bytes and in rows; as many digests come at once as rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyBounds {
    /// One more row may pass it.
    pub chunk_bytes: usize,
    /// Not 0.
    pub chunk_rows: usize,
}

impl Default for CopyBounds {
    fn default() -> CopyBounds {
        CopyBounds { chunk_bytes: COPY_CHUNK_BYTES, chunk_rows: COPY_CHUNK_ROWS }
    }
}

/// Up to which part of a table's rows those that a joiner cannot have come alone: seven eighths, so that a copy that was
/// interrupted goes on, and a joiner with nearly nothing is not sent its rest twice.
pub const NEWER_SHARE_MAX: (u64, u64) = (7, 8);

/// Up to which part of a table's leaves those that differ come alone: three quarters.
pub const LEAVES_SHARE_MAX: (u32, u32) = (3, 4);

/// How often that time doubles while no answer comes: a source that reads a large table to compare it answers all that it was
/// asked meanwhile. 1.6 s.
pub const COPY_RETRY_DOUBLINGS: u32 = 4;

/// Rows of a table that are remembered one by one while a copy of it is loaded, to count those that went: 50 MB.
pub const OWN_ROWS_MAX: usize = 1_800_000;

/// Parts in which rows past that are added up: 24 MB, and with a million rows that differ the count is still half of them.
pub const OWN_PARTS: usize = 1 << 20;

/// Unacknowledged bytes of one stream above which its peer counts as congested: coordinators refuse before they prepare.
pub const STREAM_PRESSURE_BYTES: usize = 64 * 1024 * 1024;

/// Unacknowledged bytes of one stream above which it refuses more. Above the pressure mark only answers to what is already
/// under way are added, so a stream that gets here belongs to a peer that no longer reads: the node cannot keep its
/// promises to it any more and must stop.
pub const STREAM_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Parts of the transaction state, so that threads with different transactions rarely meet: a power of two well above the
/// number of threads.
pub const SHARDS: usize = 64;

/// Intervals between signs of life that the failure detector of one peer remembers: at a heartbeat of 100 ms the last 13 s,
/// 1 KiB.
pub const SUSPICION_INTERVALS_MAX: usize = 128;

/// How many of them are assumed to have been as configured when nothing was seen yet: a few, so that the first odd one does
/// not decide alone, and gone from the window after it has been filled once.
pub const SUSPICION_INTERVALS_ASSUMED: usize = 8;

/// Members with a missing link up to which the smallest set to exclude is found exactly: at most 2^9 sets are looked at, some
/// microseconds, and clusters of nine data nodes are large ones. More are thinned out by a greedy rule.
pub const MESH_EXACT_MAX: usize = 9;

/// For how many heartbeats a link between two members that are heard has to be missing before one of them goes for it: about
/// as long as a silence that suspects, so that a connection that is made anew excludes nobody.
pub const OVERSEER_LINK_HEARTBEATS: u64 = 3;

/// For how many heartbeats somebody who was excluded has to be heard, with all links and without a break, before the same life
/// joins again: with heartbeats of 100 ms a link that comes and goes costs at most one exclusion and one return in a second.
pub const OVERSEER_REJOIN_HEARTBEATS: u64 = 10;

/// How often the overseer looks within a heartbeat whether a silence has become suspicious: 25 ms late at most, beside the 360
/// ms that it takes to suspect.
pub const OVERSEER_LOOKS_PER_HEARTBEAT: u64 = 4;

/// A lease where the configuration says nothing else, in nanoseconds: five heartbeats of 100 ms, so that reads go on while one
/// or two rounds of the control plane are lost.
pub const LEASE_NS: u64 = 500 * 1_000_000;

/// How much faster or slower than true time a node's clock may run, in parts per million: quartz drifts by 100, NTP slews by
/// at most 500, virtual machines are worse. At one percent a lease loses 5 ms at each end.
pub const LEASE_DRIFT_PPM: u64 = 10_000;

/// Leases shorter than this are not granted, in nanoseconds: a tenth, well above the way there and back in one data centre.
pub const LEASE_NS_MIN: u64 = LEASE_NS / 10;

/// Epochs that the register keeps, the last opened one in any case: who was away longer takes the last one as it is.
pub const EPOCHS_KEPT_MAX: usize = 64;

/// Longest address of a node, in bytes: a host name has at most 253, and a port five behind a colon.
pub const ADDRESS_BYTES_MAX: usize = 259;

/// Tables that can be noted as not served in one epoch: with all epochs kept, a snapshot of the register stays below the
/// longest message.
pub const UNSERVED_MAX: usize = 65_536;
