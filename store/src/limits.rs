//! Every bound of this room, by name, with the sum behind the number. What would pass a bound is refused with a typed
//! error that names it; nothing is cut short and nothing grows past it.

/// Longest encoded key of a row, in bytes. A key is hashed, compared and copied on every operation, so it is meant to be
/// a few dozen bytes; 16 KiB leaves room for paths and URLs and keeps a page of redb (4 KiB) from spilling far.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

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
