//! Every bound of the engine, by name, with the sum behind the number. What would pass a bound is refused with a typed
//! error that names it.

use std::time::Duration;

/// How long a transaction may take, retries included, when the caller says nothing.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// How long a change of the schema may take when the caller says nothing: it waits for the transactions in its way, and
/// fills indexes.
pub const SCHEMA_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// How often a transaction runs again after a conflict, when the caller says nothing. A run that lost waits for the one it
/// lost to and keeps its age, so it ends long before; the deadline ends most of what does not, and this a program that
/// conflicts with itself.
pub const RETRIES_DEFAULT: u32 = 10_000;

/// Conflicts after which a retry locks what it reads.
pub const OPTIMISTIC_RUNS: u32 = 3;

/// Conflicts with transactions that are not known after which a task, or a thread of a node that is alone, only lets others run
/// once before it tries again.
pub const YIELDS_MAX: u32 = 8;

/// Deepest nesting of transactions. Each level is one mark in the write buffer.
pub const NESTING_MAX: usize = 64;

/// Most writes in one transaction. They travel in one frame, so the frame's bytes are the other bound.
pub const WRITES_MAX: usize = 1_000_000;

/// Most bytes of keys and rows that one transaction writes: half of the longest message, so that reads fit beside them.
pub const WRITE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most reads that one transaction notes one by one; beyond it use a range, which is one note.
pub const READS_MAX: usize = 500_000;

/// Ticks of timers: deadlines of waiting transactions, the wall clock, heartbeats.
pub const TICK: Duration = Duration::from_millis(10);

/// Version of the peer protocol. A peer that speaks another one is refused by name.
pub const PEER_PROTOCOL: u32 = 6;

/// How many members vote in the control plane; others follow it.
pub const VOTERS_MAX: usize = 7;

/// How many changes of the members wait for whoever leads the control plane; more are asked for again.
pub const CHANGES_WANTED_MAX: usize = 16;

/// Longest answer to a node that asks to join, in bytes: all members with their addresses.
pub const ADMISSION_BYTES_MAX: usize = 256 * 1024;

/// How long a node asks to join before it gives up, when nobody lets it in.
pub const ADMISSION_WAIT_MAX: Duration = Duration::from_secs(30);

/// Most addresses of members that are taken from one name or one file; the first ones count. Any member will do, and each that does
/// not answer costs a try its wait.
pub const DISCOVERY_ADDRESSES_MAX: usize = 64;

/// Longest file with addresses of members, in bytes: as many addresses as are taken, with long names, and room for comments.
pub const DISCOVERY_FILE_BYTES_MAX: usize = 64 * 1024;

/// How far ahead of this node's wall clock the life of a peer may have begun, in milliseconds. Lives are numbered by the wall
/// clock at their start, so one that is further ahead is a clock that is days wrong, or a lie that would shut the true
/// member out.
pub const LIFE_AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Longest payload of a peer frame: the longest message of the codec, and a little for its envelope.
pub const FRAME_BYTES_MAX: usize = hypermnesia_store::limits::MESSAGE_BYTES_MAX + 4096;

/// Bytes taken from a peer's socket at a time.
pub const READ_CHUNK_BYTES: usize = 256 * 1024;

/// Bytes that a glance at a socket takes: votes are less than a hundred.
pub const GLANCE_BYTES: usize = 16 * 1024;

/// How long a thread looks at the sockets itself before it parks: a round trip with one wake-up of an idle processor at the
/// other end, 30-60 us, with some room.
pub const DRIVE: Duration = Duration::from_micros(100);

/// Most commits that park at once after driving did not help: at worst a commit in a thousand wastes [`DRIVE`].
pub const DRIVE_SKIPS_MAX: u32 = 1024;

/// How long a thread looks whether another one is done before it parks: what a transaction of one node takes, a few times.
pub const SPIN: Duration = Duration::from_micros(20);

/// Most waits of a thread that park at once after spinning did not help.
pub const SPIN_SKIPS_MAX: u32 = 256;

/// First wait before a lost peer is dialled again; doubles up to [`DIAL_WAIT_MAX`].
pub const DIAL_WAIT_MIN: Duration = Duration::from_millis(20);

/// Longest wait between two attempts to dial a peer.
pub const DIAL_WAIT_MAX: Duration = Duration::from_millis(500);

/// How long a connection may take to say hello.
pub const HELLO_WAIT_MAX: Duration = Duration::from_secs(3);

/// An idle connection carries a heartbeat this often, which also acknowledges what came in.
pub const HEARTBEAT: Duration = Duration::from_millis(250);

/// A connection that carried nothing for this long is closed. Twelve heartbeats: with several processes on two cores
/// shorter silences happen for no reason.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Commits under way above which their threads leave the writing to the I/O thread. A few threads write sooner themselves
/// than another one wakes; many save a system call each.
pub const WRITERS_MAX: usize = 4;

/// Frames taken from a peer before an acknowledgement goes out without waiting for something to carry it.
pub const ACKNOWLEDGE_EVERY: u64 = 64;

/// How often the same reason to refuse a connection is told: who is refused comes back twice a second.
pub const REFUSAL_TOLD_EVERY: Duration = Duration::from_secs(30);

/// Different reasons that are told within [`REFUSAL_TOLD_EVERY`]: strangers can make up as many as they like.
pub const REFUSALS_TOLD_MAX: usize = 16;

/// Connections that have not said hello yet, at most. For one more the oldest one goes, of the address that has most: with TLS each
/// holds 100 KB or so at worst.
pub const STRANGERS_MAX: usize = 64;

/// How long a connection that is refused is kept, so that the other end can read why.
pub const PARTING: Duration = Duration::from_millis(500);

/// Bytes that are taken from it meanwhile.
pub const PARTING_BYTES: usize = 256 * 1024;

/// Bytes that TLS may hold sealed when a socket is full, and that are sealed in one go: 30 us or so.
pub const SEALED_BYTES: usize = 64 * 1024;

/// How often the files of certificates are looked at. A change is taken at the second look that finds it.
pub const TLS_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest file of certificates or a key.
pub const TLS_FILE_BYTES_MAX: u64 = 1 << 20;

/// How long before its end the end of a member's own certificate is told.
pub const TLS_END_TOLD_BEFORE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often it is told.
pub const TLS_END_TOLD_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of full log segments after which they go into the image, when nobody says otherwise: read again in a second.
pub const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Bytes of log that go into the image in one step: their keys are held in memory meanwhile.
pub const CHECKPOINT_BATCH_BYTES: u64 = 64 << 20;

/// How far the thread that makes the image stands back behind others (nice).
pub const IMAGE_NICENESS: i32 = 10;

/// Smallest segment of the commit log: its header and some records.
pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Largest segment of the commit log: it is held in memory while it is read.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Bytes of log records that nobody waits for, above which they are written before the next tick.
pub const LOG_BACKLOG_BYTES: u64 = 1 << 20;

/// How often the log is synced although nobody waits for it: what a power cut can take at the level `logged`, and how far
/// behind its end damage may be taken for a torn tail. One fdatasync a second is nothing to a disc.
pub const LOG_SYNC_EVERY: Duration = Duration::from_secs(1);

/// Bytes of the present segment that are left to what is under way and to the next starts when the disc has no space for
/// another segment: outcomes of ten thousand transactions.
pub const LOG_RESERVE_BYTES: u64 = 1 << 20;

/// Bytes of records that wait for space in memory; with more the node stops. As many as one frame may have: those are
/// outcomes and what was under way when the disc was found full, nothing new is taken.
pub const LOG_WAITING_BYTES_MAX: u64 = hypermnesia_store::disc::limits::FRAME_PAYLOAD_BYTES_MAX;

/// Bytes of records that wait for a slow disc in memory before new ones are refused, which are taken again when half of
/// them are written. Some seconds of a slow disc; what is under way at that moment comes on top.
pub const LOG_BEHIND_BYTES_MAX: u64 = 32 << 20;

/// How long nothing is tried after there was no space on the disc for the next segment or for the image. Each try takes what
/// space is left and gives it back, which others on the disc should not meet too often.
pub const DISC_RETRY: Duration = Duration::from_secs(5);

/// Old versions and deletions of each table that a tick looks at, and rows of a table on disc alone that it lets out of
/// memory, at most: a million a second.
pub const TIDIED_ROWS: usize = 10_000;

/// How often it is looked whether the image should follow the log.
pub const CHECKPOINT_LOOK: Duration = Duration::from_millis(100);

/// Rows past their deadline that one transaction removes: its locks are held for milliseconds.
pub const SWEEP_ROWS: usize = 4_096;

/// How often it is looked for rows past their deadline: 80,000 a second and table are removed at most.
pub const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// Rows that one transaction deletes to make room: whoever filled the table waits for that.
pub const EVICTED_ROWS: usize = 64;

/// How long the removal of expired rows may take before it is tried anew.
pub const SWEEP_DEADLINE: Duration = Duration::from_secs(5);

/// How long a continuation may lie between two chunks: it pins old versions of rows.
pub const CONTINUATION_IDLE_MAX: Duration = Duration::from_secs(10);

/// How old a continuation may become.
pub const CONTINUATION_AGE_MAX: Duration = Duration::from_secs(60);

/// Continuations open on a node at a time. Each pins a snapshot; one over a set also lists its cells, eight bytes a row.
pub const CONTINUATIONS_MAX: usize = 1_024;

/// Events that wait for one slow subscriber; older ones are dropped and counted.
pub const SUBSCRIPTION_EVENTS: usize = 4_096;

/// Numbers of a sequence that a node reserves at a time: what a crash loses at most, and one transaction in so many calls.
pub const SEQUENCE_BLOCK: i64 = 1_000;

/// Most numbers of one block that a caller asks for.
pub const SEQUENCE_BLOCK_MAX: u32 = 1_000_000;

/// Most sequences. With their rows the schema table still goes to another member in one piece.
pub const SEQUENCES_MAX: usize = 1_024;

/// Longest request id, in bytes. A UUID takes 36.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// How long a request id is remembered behind its commit: longer than a client goes on to send a request again.
pub const REQUEST_ID_KEPT: Duration = Duration::from_secs(600);

/// Request ids that are remembered at a time, 1,600 a second for as long as they are kept.
pub const REQUEST_IDS_MAX: u64 = 1_000_000;

/// Bytes of remembered request ids with their answers: with small answers all ids fit.
pub const REQUEST_BYTES_MAX: u64 = 512 << 20;

/// Longest answer of a request that is remembered, encoded. All ids together have room for thousands of these.
pub const REQUEST_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Rows that one transaction of a restore writes: enough that the cost of a transaction vanishes among them, few enough that
/// its locks are held for a millisecond or so.
pub const RESTORE_ROWS: usize = 1_000;

/// Bytes of rows after which a transaction of a restore is full although it has fewer.
pub const RESTORE_BYTES: usize = 1 << 20;

/// Transactions of a restore at a time: while one waits for its copies or its log, the other one works.
pub const RESTORE_WRITERS: usize = 2;

/// How long one transaction of a restore may take.
pub const RESTORE_DEADLINE: Duration = Duration::from_secs(60);

/// Keys that are held while incremental backups are put together; of tables with more keys the files are read once for each
/// so many. About 100 MB.
pub const RESTORE_KEYS_HELD: u64 = 1_000_000;

/// Rows between two calls of a function that is told how far a backup is.
pub const BACKUP_TOLD_EVERY: u64 = 4_096;

/// Keys of rows to be rewritten that are held at a time.
pub const REWRITE_KEYS: usize = 65_536;

/// Waiting transactions that a status shows.
pub const WAITS_SHOWN_MAX: usize = 1_000;

/// How often a read outside a transaction is made anew when the definition changes in the middle of it.
pub const READS_AGAIN_MAX: u32 = 100;

/// Between two of these: what changes a definition takes some milliseconds.
pub const READ_AGAIN_PAUSE: Duration = Duration::from_millis(1);

/// Applied entries after which the control plane's log becomes a snapshot. Each is one membership event, so this is days.
pub const PLANE_LOG_ENTRIES: u64 = 256;

/// Entries that stay behind a snapshot, for a voter that was away shortly: it gets those instead of the snapshot.
pub const PLANE_LOG_KEPT: u64 = 64;

/// Longest command of the control plane: a whole list of members with their addresses is a few KB.
pub const PLANE_COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Longest snapshot of the control plane. It is sent whole.
pub const PLANE_SNAPSHOT_BYTES_MAX: usize = 1024 * 1024;

/// Entries in one request of the control plane: together they are no longer than a snapshot.
pub const PLANE_APPEND_ENTRIES_MAX: u64 = (PLANE_SNAPSHOT_BYTES_MAX / PLANE_COMMAND_BYTES_MAX) as u64;

/// Longest request of the control plane: commands or a snapshot, and room for members and log ids around them.
pub const PLANE_MESSAGE_BYTES_MAX: usize = PLANE_SNAPSHOT_BYTES_MAX + 256 * 1024;

/// Longest name of a cluster, and longest name or address of a voter, in the control plane's messages and file.
pub const PLANE_TEXT_BYTES_MAX: usize = 1024;

/// Calls that wait for the thread of the control plane's file. Each replicated member has at most two, and the core one.
pub const PLANE_JOBS_MAX: usize = 64;

/// How long a snapshot of the control plane may take to be sent and installed, in election timeouts.
pub const PLANE_SNAPSHOT_TIMEOUTS: u32 = 10;

/// Election timeouts without a confirmed round after which a leader falls silent: voters hold on to a leader they hear for
/// one, so two say that it is not a matter of one lost round.
pub const PLANE_PATIENCE_TIMEOUTS: u32 = 2;

/// How long it is silent then, in election timeouts: one until the voters let go, one until the first of them stands, and one
/// for a second try.
pub const PLANE_SILENCE_TIMEOUTS: u32 = 3;

/// Highest term that is believed. One election a millisecond reaches it in thirty thousand years.
pub const PLANE_TERM_MAX: u64 = 1 << 50;

/// Length of a lease when nobody says otherwise: five heartbeats of 100 ms. A packet lost on a quiet TCP connection comes 200 ms late
/// (the least timeout of Linux), which is no silence yet.
pub const LEASE_DEFAULT: Duration = Duration::from_millis(500);

/// Shortest lease: five heartbeats, which several processes on few processors still send in time.
pub const LEASE_MIN: Duration = Duration::from_millis(100);

/// Longest lease: so long nobody writes after a member was lost.
pub const LEASE_MAX: Duration = Duration::from_secs(60);

/// Shortest time between two heartbeats of a member in the control plane, which are a fifth of a lease apart.
pub const CONTROL_HEARTBEAT_MIN: Duration = Duration::from_millis(20);

/// Longest one: a cluster begins by what members hear of each other, however long its leases are.
pub const CONTROL_HEARTBEAT_MAX: Duration = Duration::from_secs(1);

/// Shortest wait for an agreement or a lease, which is four leases: a disc may take that long to sync.
pub const CONTROL_WAIT_MIN: Duration = Duration::from_secs(1);

/// Longest one: what a call may take when nobody says otherwise.
pub const CONTROL_WAIT_MAX: Duration = DEADLINE_DEFAULT;

/// Requests of the control plane that a member handles at a time: each voter has at most two under way, and a few that nobody
/// waits for any more.
pub const CONTROL_REQUESTS_MAX: usize = 64;

/// Bytes that stand ready for a peer's socket above which nothing is said to it outside of the numbered stream: a few times
/// what the stream puts there.
pub const SAID_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much faster or slower than true time the clock of a member may run, in parts per million.
pub const CONTROL_DRIFT_PPM: u64 = 1000;

/// Rows of a table without a copy here that a member sends in one answer: a millisecond of work for it, and a wait of less than
/// that for the votes behind it.
pub const FETCH_ROWS: usize = 1_024;

/// Bytes of keys and rows after which such an answer ends; one more row may pass it.
pub const FETCH_BYTES: usize = 256 * 1024;

/// Questions for such rows that a member answers at a time, for each member that asks. One more is refused.
pub const FETCHES_SERVED_MAX: usize = 256;

/// Questions for such rows that a node has under way at a time. One more is refused to its caller.
pub const FETCHES_ASKED_MAX: usize = 4_096;

/// Places in tables that a member keeps for those who fetch more rows than one answer has. Each pins a snapshot.
pub const FETCH_PLACES_MAX: usize = 256;

/// How long such a place is kept for the next question. Who comes later begins again.
pub const FETCH_PLACE_IDLE_MAX: Duration = Duration::from_secs(10);

/// How much longer than the source may wait its answer is waited for, before another member is asked.
pub const FETCH_GRACE: Duration = Duration::from_secs(1);

/// How long the source may wait for what is being committed, before it says so: another one may have heard more.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(2);
