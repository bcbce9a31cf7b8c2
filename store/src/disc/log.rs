//! The commit log: appending, writing and syncing, kept apart so that one writer thread can group commits.
//!
//! [`Log`] is the front: any thread appends to a buffer in memory and learns the position that has to be reached.
//! [`LogWriter`] is the back, owned by one thread of the engine: it writes the whole buffer with one write(2) and
//! syncs it with one fdatasync, however many transactions wait. Neither has a thread or waits for anything.
//!
//! After the first failing write or sync the log is poisoned: whether those bytes arrived is unknown, and the
//! kernel may have dropped them and call the next sync a success. So nothing is retried; everything is refused
//! until the directory is opened again. Segments are described in `segment.rs`.
//!
//! One failure is none of the log: a disc without space for the next segment. Nothing was asked of a file of the log then, so
//! the records that have no place stay in memory, in order, and the next write tries again.
//!
//! Rotation, in crash-safe order: sync the full segment; write and sync the header of the next one under a
//! temporary name; rename it; sync the directory; only then write frames to it. So every segment but the last is
//! whole, and a segment that has its name has its header.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::{DiscError, Result};
use super::file::{Disc, File};
use super::identity::{BootId, Identity, Promise};
use super::limits::FRAME_PAYLOAD_BYTES_MAX;
use super::segment::{
    FRAME_HEADER_BYTES, HEADER_BYTES, Header, Position, encode_frame, offset_at, segment_name, u32_at,
};
use super::spare::{NEXT_NAME, Spare, SpareJob};

/// The front of the commit log; clones are handles to the same log.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Frames not yet handed to the writer. Held for a memory copy, or for taking the whole buffer.
    buffer: Mutex<Buffer>,
    /// Everything below was given to write(2). Written by the writer after the call returned.
    written: AtomicU64,
    /// Everything below survives a power cut. Raised with fetch_max, since syncs may end out of order.
    synced: AtomicU64,
    /// The first failure; set once, checked before anything is acknowledged.
    failure: OnceLock<Arc<str>>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: Position,
    end: Position,
}

impl Log {
    /// Adds one record to the log's buffer and returns the position that `written` or `synced` has to reach for
    /// it to be safe. The payloads of one call stand next to each other. Costs a memory copy; nothing is on disc
    /// yet.
    ///
    /// # Errors
    /// `TooLarge` (nothing appended) and `Poisoned`.
    pub fn append(&self, payloads: &[&[u8]]) -> Result<Position> {
        self.check()?;
        for payload in payloads {
            let bytes = payload.len() as u64;
            if bytes > FRAME_PAYLOAD_BYTES_MAX {
                return Err(DiscError::TooLarge { bytes, max: FRAME_PAYLOAD_BYTES_MAX });
            }
        }
        let synced = self.synced();
        let mut buffer = self.shared.buffer.lock();
        for payload in payloads {
            let position = buffer.end;
            encode_frame(&mut buffer.bytes, position, synced, payload);
            buffer.end = Position(buffer.start.0 + buffer.bytes.len() as u64);
        }
        Ok(buffer.end)
    }

    /// The position after the last appended record.
    pub fn end(&self) -> Position {
        self.shared.buffer.lock().end
    }

    /// Records that end at or below this position survive the death of the process.
    pub fn written(&self) -> Position {
        Position(self.shared.written.load(Ordering::Acquire))
    }

    /// Records that end at or below this position survive a power cut.
    pub fn synced(&self) -> Position {
        Position(self.shared.synced.load(Ordering::Acquire))
    }

    /// Appended bytes that the writer has not written yet; for back-pressure.
    pub fn backlog_bytes(&self) -> u64 {
        // In this order: what is written moves on meanwhile, up to the end of then, which may lie behind an end seen before.
        let written = self.written();
        self.end().0 - written.0
    }

    /// `Err(Poisoned)` once anything failed.
    pub fn check(&self) -> Result<()> {
        match self.shared.failure.get() {
            Some(first) => Err(DiscError::Poisoned { first: first.clone() }),
            None => Ok(()),
        }
    }

    /// Poisons the log because of a failure elsewhere in the directory (the image, say).
    pub fn poison(&self, error: &DiscError) {
        self.shared.failure.get_or_init(|| error.to_string().into());
    }

    fn mark_written(&self, position: Position) {
        self.shared.written.fetch_max(position.0, Ordering::AcqRel);
    }

    fn mark_synced(&self, position: Position) {
        self.shared.synced.fetch_max(position.0, Ordering::AcqRel);
    }
}

/// A segment that is closed: full, synced, and followed by another.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    pub(crate) index: u64,
    pub(crate) end: Position,
    pub(crate) bytes: u64,
}

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) header: Header,
    pub(crate) file: Arc<dyn File>,
}

/// The back of the commit log: owns the files, used by one thread.
#[derive(Debug)]
pub struct LogWriter {
    log: Log,
    disc: Arc<dyn Disc>,
    segment_bytes: u64,
    /// Repeated in every segment; says at a clean stop how far the log goes.
    identity: Identity,
    boot: Option<BootId>,
    closed: VecDeque<Closed>,
    current: Current,
    spare: Option<Spare>,
    /// Frames taken from the front and not written; they begin at `written`. Empty but during a write, or while the disc has
    /// no space for them.
    taken: Vec<u8>,
}

/// Where a log goes on, everything before `end` being synced.
#[derive(Debug)]
pub(crate) struct Tip {
    pub(crate) closed: VecDeque<Closed>,
    pub(crate) current: Current,
    pub(crate) end: Position,
}

impl LogWriter {
    /// A writer that goes on there.
    pub(crate) fn resume(
        disc: Arc<dyn Disc>,
        segment_bytes: u64,
        identity: Identity,
        boot: Option<BootId>,
        tip: Tip,
    ) -> Self {
        let Tip { closed, current, end } = tip;
        let shared = Shared {
            buffer: Mutex::new(Buffer { bytes: Vec::new(), start: end, end }),
            written: AtomicU64::new(end.0),
            synced: AtomicU64::new(end.0),
            failure: OnceLock::new(),
        };
        let log = Log { shared: Arc::new(shared) };
        let taken = Vec::new();
        LogWriter { log, disc, segment_bytes, identity, boot, closed, current, spare: None, taken }
    }

    /// Starts a log where there is none: makes the first segment, durably.
    pub(crate) fn begin(disc: &dyn Disc, segment_bytes: u64, identity: &Identity) -> Result<Tip> {
        let spare = Spare::make(disc, NEXT_NAME, segment_bytes)?;
        let current = spare.install(disc, identity.id, 1, Position(0))?;
        Ok(Tip { closed: VecDeque::new(), current, end: Position(0) })
    }

    /// Notes beside the log how far it is synced and in which boot it goes on: what a later opening may ask of it.
    ///
    /// # Errors
    /// `Io` and `Full`. The log has nothing to do with it and goes on.
    pub(crate) fn note(&mut self) -> Result<()> {
        self.identity.log = Some(Promise { boot: self.boot, synced: self.log.synced() });
        self.identity.write(&*self.disc)
    }

    /// The front that belongs to this writer.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// Writes everything appended so far and returns the position reached: records up to there survive the death
    /// of the process.
    ///
    /// # Errors
    /// `NoSpace`: records up to [`Log::written`] are written, the others wait in memory for the next call. `Io` and `Full`,
    /// which poison the log; `Poisoned` afterwards.
    pub fn write(&mut self) -> Result<Position> {
        self.log.check()?;
        let mut bytes = std::mem::take(&mut self.taken);
        let (start, end) = (self.log.written(), self.take_appended(&mut bytes));
        let outcome = self.write_frames(&bytes, start);
        bytes.drain(..(self.log.written().0 - start.0) as usize);
        self.taken = bytes;
        self.guard(outcome)?;
        Ok(end)
    }

    /// Moves what was appended behind what is taken already; the position behind it. Usually nothing is, and the two buffers
    /// change places.
    fn take_appended(&self, taken: &mut Vec<u8>) -> Position {
        let mut buffer = self.log.shared.buffer.lock();
        if taken.is_empty() {
            std::mem::swap(&mut buffer.bytes, taken);
        } else {
            taken.append(&mut buffer.bytes);
        }
        buffer.start = buffer.end;
        buffer.end
    }

    /// Makes everything written so far survive a power cut and returns the position reached.
    ///
    /// # Errors
    /// As [`write`](LogWriter::write).
    pub fn sync(&mut self) -> Result<Position> {
        self.begin_sync()?.run()
    }

    /// The sync of everything written so far, to be run on another thread while this one goes on writing.
    pub fn begin_sync(&mut self) -> Result<SyncJob> {
        self.log.check()?;
        let path = self.disc.path(&segment_name(self.current.header.index)).into();
        Ok(SyncJob { log: self.log(), file: self.current.file.clone(), path, position: self.log.written() })
    }

    /// Appends a frame that only says how far the log is synced, writes and syncs it, and notes the end beside the log. Done
    /// at a clean stop: with it all later damage to the log is told from a torn tail.
    ///
    /// # Errors
    /// As [`write`](LogWriter::write).
    pub fn close(&mut self) -> Result<()> {
        self.write()?;
        self.sync()?;
        self.log.append(&[&[]])?;
        self.write()?;
        self.sync()?;
        self.note()
    }

    /// Removes segments that hold only records below `applied`; returns how many bytes were freed.
    ///
    /// # Errors
    /// As [`write`](LogWriter::write).
    pub fn trim(&mut self, applied: Position) -> Result<u64> {
        self.log.check()?;
        let mut freed = 0;
        while let Some(oldest) = self.closed.front().filter(|s| s.end <= applied) {
            let name = segment_name(oldest.index);
            let outcome =
                self.disc.remove(&name).map_err(|e| DiscError::io(self.disc.path(&name), "removing", e));
            freed += oldest.bytes;
            self.guard(outcome)?;
            self.closed.pop_front();
        }
        Ok(freed)
    }

    /// Closed segments by index, with the position behind each, oldest first: what a checkpoint may take.
    pub fn closed(&self) -> Vec<(u64, Position)> {
        self.closed.iter().map(|segment| (segment.index, segment.end)).collect()
    }

    /// Bytes of disc the log takes, the prepared next segment included.
    pub fn disc_bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|s| s.bytes).sum();
        closed + self.current.header.capacity + self.spare.as_ref().map_or(0, |s| s.bytes)
    }

    /// Bytes that still fit into the present segment.
    pub fn left_bytes(&self) -> u64 {
        let Header { start, capacity, .. } = self.current.header;
        capacity.saturating_sub(offset_at(self.log.written(), start))
    }

    /// Bytes of a segment.
    pub fn segment_bytes(&self) -> u64 {
        self.current.header.capacity
    }

    /// When there is no next segment ready: the job that makes one, to be run on any thread and handed to
    /// [`give_spare`](LogWriter::give_spare). At most one such job may run. Without it rotation makes its own
    /// segment and commits wait for that; so a job that fails may be tried again later.
    pub fn spare_job(&self) -> Option<SpareJob> {
        let job = || SpareJob { disc: self.disc.clone(), bytes: self.segment_bytes };
        self.spare.is_none().then(job)
    }

    /// Takes a segment made by [`SpareJob::run`].
    pub fn give_spare(&mut self, spare: Spare) {
        self.spare = Some(spare);
    }

    fn guard<T>(&self, outcome: Result<T>) -> Result<T> {
        match &outcome {
            Ok(_) | Err(DiscError::NoSpace { .. }) => {}
            Err(error) => self.log.poison(error),
        }
        outcome
    }

    /// Writes frames in the longest runs that fit into one segment.
    fn write_frames(&mut self, bytes: &[u8], start: Position) -> Result<()> {
        let mut from = 0;
        let mut at = 0;
        while at < bytes.len() {
            let frame = FRAME_HEADER_BYTES + u64::from(u32_at(bytes, at));
            let offset = offset_at(Position(start.0 + at as u64), self.current.header.start);
            if offset + frame > self.current.header.capacity {
                self.write_run(&bytes[from..at], Position(start.0 + from as u64))?;
                self.rotate(Position(start.0 + at as u64), frame)?;
                from = at;
            }
            at += frame as usize;
        }
        self.write_run(&bytes[from..], Position(start.0 + from as u64))
    }

    fn write_run(&mut self, run: &[u8], start: Position) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        let offset = offset_at(start, self.current.header.start);
        let name = segment_name(self.current.header.index);
        self.current
            .file
            .write_at(offset, run)
            .map_err(|e| DiscError::io(self.disc.path(&name), "writing", e))?;
        self.log.mark_written(Position(start.0 + run.len() as u64));
        Ok(())
    }

    fn rotate(&mut self, start: Position, frame: u64) -> Result<()> {
        let Header { index, capacity, .. } = self.current.header;
        let name = segment_name(index);
        self.current.file.sync().map_err(|e| DiscError::io(self.disc.path(&name), "syncing", e))?;
        self.log.mark_synced(start);
        let needed = HEADER_BYTES + frame;
        let spare = match self.spare.take() {
            Some(spare) if spare.bytes >= needed => spare,
            _ => Spare::make(&*self.disc, NEXT_NAME, self.segment_bytes.max(needed)).map_err(no_space)?,
        };
        self.current = spare.install(&*self.disc, self.identity.id, index + 1, start)?;
        self.closed.push_back(Closed { index, end: start, bytes: capacity });
        Ok(())
    }
}

/// The next segment was asked for and nothing of the log was touched.
fn no_space(error: DiscError) -> DiscError {
    match error {
        DiscError::Full { file, .. } => DiscError::NoSpace { file },
        other => other,
    }
}

/// One fdatasync, ready to run on any thread.
#[derive(Debug)]
pub struct SyncJob {
    log: Log,
    file: Arc<dyn File>,
    path: Arc<std::path::Path>,
    position: Position,
}

impl SyncJob {
    /// Syncs and publishes the position reached; older segments were synced when they were left.
    ///
    /// # Errors
    /// `Io` and `Full`, which poison the log.
    pub fn run(self) -> Result<Position> {
        if let Err(e) = self.file.sync() {
            let error = DiscError::io(&*self.path, "syncing", e);
            self.log.poison(&error);
            return Err(error);
        }
        self.log.mark_synced(self.position);
        Ok(self.position)
    }
}
