//! The named bounds of the disc module, each with the sum behind the number.

/// Size of one log segment. 16 MiB are written and synced in well under a second on a slow disc, so preparing one
/// ahead is cheap, and at 200 bytes per record one segment still holds 80,000 transactions.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Largest payload of one log frame. A transaction is held in memory several times over while it commits, so a
/// larger one is refused before it can hurt; a frame above [`SEGMENT_BYTES`] gets a segment of its own size.
pub const FRAME_PAYLOAD_BYTES_MAX: u64 = 64 << 20;

/// Zero-filling a segment writes this much per call.
pub(crate) const ZERO_CHUNK_BYTES: usize = 1 << 20;

/// Bytes of a table on disc alone after which a scan has read enough at a time: what it holds of the image, and how long it
/// keeps the checkpointer from showing its next step. A longer row is read by itself.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// Bytes of the image that redb keeps in memory: the image is written behind the log, what tables in memory hold is read once
/// at the start, and tables on disc alone have caches of their own, so this one only has to hold the inner pages.
pub(crate) const IMAGE_CACHE_BYTES: usize = 16 << 20;

/// Blocks of checksums of the image that are kept in memory, of 4 KiB each: those of 1 GiB of it.
pub(crate) const CHECKSUM_BLOCKS_KEPT: usize = 256;
/// Parts of them with a lock each.
pub(crate) const CHECKSUM_PARTS: usize = 16;

/// An image that gets checksums is copied in parts of this size; whole blocks.
pub(crate) const COPY_BYTES: usize = 1 << 20;

/// Outcomes that the image remembers at least, newest first, for members that were in doubt while this node went on: what
/// a busy cluster does in some ten seconds. Six megabytes.
pub(crate) const OUTCOMES_KEPT: usize = 200_000;

/// Files of cut off log tails that are kept beside the log; the oldest goes when another one comes. Each is the trace of a
/// power cut, so eight are a bad year.
pub const CUT_FILES_MAX: usize = 8;

/// Bytes of one such file; of a longer tail the beginning is kept. As much as a segment of the usual size.
pub const CUT_BYTES_MAX: u64 = SEGMENT_BYTES;

/// An image of this many rows is loaded by several threads. One of fewer is loaded in order by one, so that what follows
/// from it is a function of the file alone.
pub(super) const SHARED_ROWS_MIN: u64 = 50_000;
/// Threads that load an image, at most: more would wait for the one that reads.
pub(super) const LOADERS_MAX: usize = 4;
