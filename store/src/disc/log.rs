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
//! Rotation, in crash-safe order: sync the full segment; write and sync the header of the next one under a
//! temporary name; rename it; sync the directory; only then write frames to it. So every segment but the last is
//! whole, and a segment that has its name has its header.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::{DiscError, Result};
use super::file::{Disc, File};
use super::limits::{FRAME_PAYLOAD_BYTES_MAX, ZERO_CHUNK_BYTES};
use super::segment::{
    FRAME_HEADER_BYTES, HEADER_BYTES, Header, Position, encode_frame, offset_at, segment_name, u32_at,
};

/// The name under which the next segment is made ready ahead of time.
pub(crate) const SPARE_NAME: &str = "log-spare.tmp";

/// The name under which rotation makes a segment when none is ready: another one, since the job that makes the spare may be
/// at work at that moment.
const NEXT_NAME: &str = "log-next.tmp";

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
        self.end().0 - self.written().0
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
    closed: VecDeque<Closed>,
    current: Current,
    spare: Option<Spare>,
    /// The buffer taken from the front; kept to reuse its memory.
    taken: Vec<u8>,
}

impl LogWriter {
    /// A writer that goes on at `end`, everything before it being synced.
    pub(crate) fn resume(
        disc: Arc<dyn Disc>,
        segment_bytes: u64,
        closed: VecDeque<Closed>,
        current: Current,
        end: Position,
    ) -> Self {
        let shared = Shared {
            buffer: Mutex::new(Buffer { bytes: Vec::new(), start: end, end }),
            written: AtomicU64::new(end.0),
            synced: AtomicU64::new(end.0),
            failure: OnceLock::new(),
        };
        let log = Log { shared: Arc::new(shared) };
        LogWriter { log, disc, segment_bytes, closed, current, spare: None, taken: Vec::new() }
    }

    /// Starts a log where there is none: makes the first segment, durably.
    pub(crate) fn begin(
        disc: Arc<dyn Disc>,
        segment_bytes: u64,
        index: u64,
        start: Position,
    ) -> Result<Self> {
        let spare = Spare::make(&*disc, NEXT_NAME, segment_bytes)?;
        let current = spare.install(&*disc, index, start)?;
        Ok(LogWriter::resume(disc, segment_bytes, VecDeque::new(), current, start))
    }

    /// The front that belongs to this writer.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// Writes everything appended so far and returns the position reached: records up to there survive the death
    /// of the process.
    ///
    /// # Errors
    /// `Io` and `Full`, which poison the log; `Poisoned` afterwards.
    pub fn write(&mut self) -> Result<Position> {
        self.log.check()?;
        let mut bytes = std::mem::take(&mut self.taken);
        bytes.clear();
        let (start, end) = {
            let mut buffer = self.log.shared.buffer.lock();
            std::mem::swap(&mut buffer.bytes, &mut bytes);
            let end = buffer.end;
            (std::mem::replace(&mut buffer.start, end), end)
        };
        let outcome = self.write_frames(&bytes, start);
        self.taken = bytes;
        self.guard(outcome)?;
        self.log.mark_written(end);
        Ok(end)
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

    /// Appends a frame that only says how far the log is synced, writes and syncs it. Done at a clean stop: with it
    /// every later damage to the log is told from a torn tail.
    pub fn close(mut self) -> Result<()> {
        self.write()?;
        self.sync()?;
        self.log.append(&[&[]])?;
        self.write()?;
        self.sync()?;
        Ok(())
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

    /// When there is no next segment ready: the job that makes one, to be run on any thread and handed to
    /// [`give_spare`](LogWriter::give_spare). At most one such job may run. Without it rotation makes its own
    /// segment and commits wait for that.
    pub fn spare_job(&self) -> Option<SpareJob> {
        let job = || SpareJob { disc: self.disc.clone(), bytes: self.segment_bytes };
        self.spare.is_none().then(job)
    }

    /// Takes a segment made by [`SpareJob::run`]; a failure of that job poisons the log.
    pub fn give_spare(&mut self, spare: Result<Spare>) -> Result<()> {
        let spare = self.guard(spare)?;
        self.spare = Some(spare);
        Ok(())
    }

    fn guard<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.log.poison(error);
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
            .map_err(|e| DiscError::io(self.disc.path(&name), "writing", e))
    }

    fn rotate(&mut self, start: Position, frame: u64) -> Result<()> {
        let Header { index, capacity, .. } = self.current.header;
        let name = segment_name(index);
        self.current.file.sync().map_err(|e| DiscError::io(self.disc.path(&name), "syncing", e))?;
        self.log.mark_synced(start);
        let needed = HEADER_BYTES + frame;
        let spare = match self.spare.take() {
            Some(spare) if spare.bytes >= needed => spare,
            _ => Spare::make(&*self.disc, NEXT_NAME, self.segment_bytes.max(needed))?,
        };
        self.current = spare.install(&*self.disc, index + 1, start)?;
        self.closed.push_back(Closed { index, end: start, bytes: capacity });
        Ok(())
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

/// The making of the next segment.
#[derive(Debug)]
pub struct SpareJob {
    disc: Arc<dyn Disc>,
    bytes: u64,
}

impl SpareJob {
    /// Writes and syncs a segment full of zeros.
    ///
    /// # Errors
    /// `Io` and `Full`; to be handed to [`LogWriter::give_spare`].
    pub fn run(self) -> Result<Spare> {
        Spare::make(&*self.disc, SPARE_NAME, self.bytes)
    }
}

/// A segment full of zeros, synced, without a place in the log yet.
#[derive(Debug)]
pub struct Spare {
    file: Arc<dyn File>,
    /// Its name until it is installed.
    name: &'static str,
    bytes: u64,
}

impl Spare {
    fn make(disc: &dyn Disc, name: &'static str, bytes: u64) -> Result<Spare> {
        let failed = |doing| move |e| DiscError::io(disc.path(name), doing, e);
        let file = disc.create(name).map_err(failed("creating"))?;
        let zeros = vec![0; ZERO_CHUNK_BYTES.min(bytes as usize)];
        let mut at = 0;
        while at < bytes {
            let chunk = (bytes - at).min(zeros.len() as u64);
            file.write_at(at, &zeros[..chunk as usize]).map_err(failed("filling"))?;
            at += chunk;
        }
        file.sync().map_err(failed("syncing"))?;
        Ok(Spare { file, name, bytes })
    }

    fn install(self, disc: &dyn Disc, index: u64, start: Position) -> Result<Current> {
        let name = segment_name(index);
        let header = Header { index, start, capacity: self.bytes };
        let place = || -> std::io::Result<()> {
            self.file.write_at(0, &header.encode())?;
            self.file.sync()?;
            disc.rename(self.name, &name)?;
            disc.sync_names()
        };
        place().map_err(|e| DiscError::io(disc.path(&name), "creating", e))?;
        Ok(Current { header, file: self.file })
    }
}
