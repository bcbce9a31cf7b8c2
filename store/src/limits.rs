//! Every bound of this room, by name, with the sum behind the number. What would pass a bound is refused with a typed
//! error that names it; nothing is cut short and nothing grows past it.

/// Longest encoded key of a row, in bytes. A key is hashed, compared and copied on every operation, so it is meant to be
/// a few dozen bytes; 16 KiB leaves room for paths and URLs and keeps a page of redb (4 KiB) from spilling far.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of freed blocks that a thread keeps for rows and nodes to come, at most: what one round of reclamation
/// ([`RETIRED_AT_ONCE`]) gives back of nodes, or twice what it does of rows of two hundred bytes.
pub(crate) const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Versions of its key that a commit looks through for those that nobody reads any more. A snapshot that is held keeps all
/// that come behind it, and a write that walked past them would take longer with each; what it leaves goes with the tidying.
pub(crate) const CUT_WITHIN: usize = 16;

/// Longest entry of a secondary index: the index key with the primary key behind it, each within [`KEY_BYTES_MAX`].
pub const INDEX_ENTRY_BYTES_MAX: usize = 2 * KEY_BYTES_MAX;

/// Longest encoded row, in bytes. A row travels in one frame and is copied whole on every change, and a transaction may
/// carry several, so a row must stay well below [`MESSAGE_BYTES_MAX`].
pub const ROW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most attributes of a table. The header of a row has two or four bytes for each.
pub const ATTRIBUTES_MAX: usize = 1024;

/// Most secondary indexes of a table. Each write touches every one of them.
pub const INDEXES_MAX: usize = 64;

/// Most attributes of one key or one index.
pub const KEY_ATTRIBUTES_MAX: usize = 32;

/// Deepest nesting of lists and maps: a plain value has depth 1, a list of plain values depth 2. Decoding recurses once
/// per level, so this also bounds the stack: 32 levels need a few KiB.
pub const VALUE_DEPTH_MAX: usize = 32;

/// Longest name of a table, attribute or index, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Longest message or log record that the codec decodes, in bytes: eight of the longest rows, or one transaction of
/// hundreds of thousands of ordinary ones.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far ahead of this node's wall clock a timestamp from elsewhere may be, in milliseconds. A clock that is further
/// off would drag every member's clock along for good; ten seconds is far beyond what NTP leaves and far below what a
/// wrong time zone makes.
pub const CLOCK_AHEAD_MS_MAX: u64 = 10_000;

/// Snapshots that find a slot of their own; more are kept in a map under a lock. 256 slots of a cache line are 16 KiB, and
/// only slots that were ever used are looked at.
pub const SNAPSHOT_SLOTS: usize = 256;

/// Shards of the lock table. With a few dozen threads two of them rarely want one shard at a time.
pub const LOCK_SHARDS: usize = 64;

/// Stripes of a table's counters and queues: more than the threads that write at a time on the machines meant here.
pub const STRIPES: usize = 16;

/// Bytes that one writer may add before it is measured what all tables hold, where that is bounded: with all stripes 16 MiB
/// that nobody knows of.
pub(crate) const MEMORY_STEP_BYTES_MAX: u64 = 1 << 20;

/// The same where the bound is small: a measure takes some microseconds.
pub(crate) const MEMORY_STEP_BYTES_MIN: u64 = 16 << 10;

/// How long a deletion (and an index entry that no row has any more) stays findable after its commit, in milliseconds, so
/// that a transaction which read the range before can be told. One that took longer to prepare is refused in that range.
pub const DELETION_KEPT_MS: u64 = 2_000;

/// Deletions that wait for that in one stripe of a table; past it the oldest go early: 16 x 16 Ki cells are a few tens of MB.
pub const DELETIONS_KEPT_MAX: usize = 16 * 1024;

/// Places of such a queue that stay when it empties: what commits leave behind in a busy while, without asking the allocator.
pub const QUEUE_KEPT_MIN: usize = 256;

/// Rows that a cursor fetches under one guard: few enough that it holds back reclamation for microseconds only.
pub const CURSOR_CHUNK_ROWS: usize = 256;

/// Transactions remembered per stripe that committed above their local proposal; for settling snapshots taken before.
pub const STRETCHED_KEPT: usize = 256;

/// Rows for which the order of eviction makes room at once; it grows with the table.
pub const EVICTION_ESTIMATE_ROWS: u64 = 16 * 1024;

/// Parts of that order, each under a lock of its own, at most. A bound in bytes has as many as can each take the longest row.
pub const EVICTION_SHARDS: usize = 16;

/// Events kept for the subscribers of a table; past it the oldest are dropped, and who had not taken them is told how many.
pub const EVENTS_KEPT_MAX: usize = 64 * 1024;

/// Bytes of keys and rows, old and new, in the events that are kept for the subscribers of a table.
pub const EVENTS_BYTES_MAX: usize = 64 << 20;

/// Events that a subscriber takes at once, so that it meets writers less often.
pub const EVENTS_TAKEN_AT_ONCE: usize = 64;

/// Bytes of keys and rows after which it takes no further one with them.
pub const EVENTS_TAKEN_BYTES: usize = 64 << 10;

/// How long events are kept for a subscriber that said that it would be back, in milliseconds.
pub const EVENTS_AWAIT_MS: u64 = 60_000;

/// Bytes of rows after which a backup begins its next part: one checksum, one write, one message of a stream. Large enough
/// that their cost vanishes, small enough to be held by many at a time.
pub const BACKUP_CHUNK_BYTES: usize = 256 * 1024;

/// Longest part of a backup: a chunk, which is one row where that is longer. Nothing longer is read.
pub const BACKUP_FRAME_BYTES_MAX: usize = ROW_BYTES_MAX + BACKUP_CHUNK_BYTES;

/// Bytes of memory for rows of a table on disc alone that are on disc as well, where its definition says nothing.
pub const CACHE_BYTES_DEFAULT: u64 = 64 << 20;

/// What a row in such a cache is taken to need beside its own bytes: a cell, a version, and places in hash, tree and cache.
pub const CACHED_ROW_BYTES: u64 = 320;

/// Rows on their way out of memory that are looked at by whoever brings another one in.
pub const LEAVING_AT_ONCE: usize = 16;

/// Rows on their way out of memory that may wait for those who read a range. With more of them readers are made to wait.
pub(crate) const LEAVING_MAX: usize = 4096;

/// Those of them that had to stay, one behind the other, after which nobody looks further for now: each look takes a lock.
pub const STAYED_MAX: usize = 64;

/// Smallest such cache: some thousand small rows. With less, a transaction would push out what it has just read.
pub const CACHE_BYTES_MIN: u64 = 1 << 20;

/// Largest such cache: what no machine has, so that a slip of units is refused.
pub const CACHE_BYTES_MAX: u64 = 1 << 42;

/// Versions and cells that a thread retires before it asks all threads whether they are done with them. Asking stops every
/// other processor for some microseconds.
pub(crate) const RETIRED_AT_ONCE: usize = 512;
/// Versions of this many bytes are not left to wait for others to be retired.
pub(crate) const RETIRED_SOON_BYTES: usize = 2 << 10;

/// Keys that room is made for at once, whatever somebody says that will come: 700 MB of places.
pub(crate) const RESERVED_KEYS_MAX: usize = 64 << 20;

/// A table whose rows are changed so often in one second, to rows as large, changes them in place from then on.
pub(crate) const CHANGED_OFTEN: u32 = 1_024;

/// Rows that are longer are never put where others stand: readers of the row, and writers of other keys, wait meanwhile.
pub(crate) const SHIFTED_BYTES_MAX: usize = 2 << 10;

/// A table none of whose rows was changed in place for so long does not change them so any more.
pub(crate) const STILL_SECONDS: u32 = 10;

/// Changes in place wait for a moment without snapshots; one in so many that found none looks for it.
pub(crate) const QUIET_TRIED_EVERY: u32 = 256;

/// Fewest leaves that a table's digest is divided in.
pub const LEAVES_MIN: u32 = 1 << 4;

/// Most of them: a mebibyte of digests.
pub const LEAVES_MAX: u32 = 1 << 17;

/// Rows in a leaf, half as many at least, as long as there are not more than leaves for them: then a leaf with one row that
/// differs costs some of its neighbours, and the digests of all leaves cost about a byte for each row.
pub const LEAF_ROWS_MAX: u64 = 8;
