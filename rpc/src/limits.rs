//! Every bound of the remote interface, by name, with the sum behind the number. What would pass one is refused with
//! `LIMIT` or `INVALID` and the name of the field; nothing is cut short. `docs/grpc.md` lists them for clients.

use std::time::Duration;

/// Longest message either side takes, in bytes: the longest row (8 MiB) twice over, for a compare-and-write of it.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of messages that are on their way in and not whole yet, of all clients together: sixteen of the longest. Whoever
/// would pass it is refused; a message that comes in one piece needs none of it.
pub const HALF_MESSAGES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of each message that do not count for that: a frame of HTTP/2, so that short messages always come through.
pub const HALF_MESSAGE_BYTES_FREE: usize = 16 * 1024;

/// Longest request id, in bytes. A UUID takes 36.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Most keys or rows of one batch call, and most conditions, reads and writes of one transaction.
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// Deepest nesting of lists and maps; the same as the store's, so that nothing deeper is built before it is refused.
pub const VALUE_DEPTH_MAX: usize = 32;

/// Rows of a scan or a query that go into one message at most: enough to make the cost of a message vanish.
pub const STREAM_BATCH_ROWS: usize = 256;

/// Bytes of values after which a message of a stream is sent although it has fewer rows.
pub const STREAM_BATCH_BYTES: usize = 64 * 1024;

/// Messages of a stream that wait for a slow reader: with [`STREAM_BATCH_BYTES`] about half a MiB.
pub const STREAM_BATCHES_QUEUED: usize = 8;

/// How long a stream may wait for its reader, and an interactive transaction for its next step.
pub const IDLE_MAX: Duration = Duration::from_secs(10);

/// How old a stream or an interactive transaction may become: it pins old versions, or holds locks.
pub const AGE_MAX: Duration = Duration::from_secs(60);

/// Operations in flight on one pipelined stream. 1,024 of 30 us each keep a core busy for 30 ms.
pub const OPERATIONS_IN_FLIGHT: usize = 1024;

/// Blocking pieces of work (scans, queries, dirty reads of large rows) that run at a time, for all clients together. Each
/// takes a thread; past this, callers queue until their deadline.
pub const BLOCKING_CALLS_MAX: usize = 64;

/// The same of one connection, so that no client alone keeps the others out.
pub const BLOCKING_CALLS_PER_CONNECTION: usize = BLOCKING_CALLS_MAX / 2;

/// Interactive transactions at a time on one node. Each pins a snapshot and takes a thread.
pub const INTERACTIVE_MAX: usize = 256;

/// The same of one connection.
pub const INTERACTIVE_PER_CONNECTION: usize = INTERACTIVE_MAX / 2;

/// Watches at a time on one node. Each costs a task, and as many messages as [`STREAM_BATCHES_QUEUED`].
pub const WATCHES_MAX: usize = 1024;

/// The same of one connection.
pub const WATCHES_PER_CONNECTION: usize = WATCHES_MAX / 2;

/// Time for a call that names none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Time for a query that names none.
pub const QUERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Longest time that a call may name.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What an answer gets of a caller's deadline for its way back, at most; a tenth of a shorter one.
pub const ANSWER_TIME_MAX: Duration = Duration::from_millis(200);

/// How often a call that waits for loading tables looks for them.
pub const LOADING_LOOK: Duration = Duration::from_millis(20);

/// Clients connected to one server at a time, unless it is told otherwise; more are turned away. Each costs a descriptor, a
/// task and some tens of kilobytes.
pub const CONNECTIONS_MAX: usize = 4096;

/// Connections that have not begun to speak HTTP/2, at most: a newer one takes the place of the oldest. A client speaks with
/// its first packet, so only silent connections get that old.
pub const STRANGERS_MAX: usize = 64;

/// How long a connection may take to begin to speak.
pub const GREETING_WAIT_MAX: Duration = Duration::from_secs(5);

/// Between two looks at a connection that has begun its first line and not ended it.
pub const GREETING_LOOK: Duration = Duration::from_millis(50);

/// Rest after the system has refused to accept a connection: it will not change its mind at once.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// HTTP/2 streams at a time on one connection.
pub const STREAMS_PER_CONNECTION: u32 = 1024;

/// How often an idle connection is asked whether its client is still there, and how long the answer may take: a half-open
/// connection is found, and its transactions freed, within their sum.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// See [`KEEPALIVE_INTERVAL`].
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time that a stopping server waits for calls that are being worked on.
pub const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Bytes of a backup in one message of its stream.
pub const BACKUP_CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of backup files that one restore takes in: they stand in a temporary file of the member meanwhile. The disc is the
/// nearer bound on most machines; this one ends a stream that never would.
pub const UPLOAD_BYTES_MAX: u64 = 1 << 40;

/// How often the health service looks at the node: the time within which a load balancer may be a step behind.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// Most bytes of rows that a query inside an interactive transaction answers: they are held until they are sent.
pub const HELD_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
