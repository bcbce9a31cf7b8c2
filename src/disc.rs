//! The commit log's writer. Records are appended in the order of the effects; then whoever has the event writes them with
//! one write(2), everything that others have appended meanwhile included: no thread is woken for a commit at level
//! `logged`. Only what has to be synced is left to a thread of its own, one fdatasync for all that wait; it also syncs once a
//! second what nobody waits for. Another thread takes full segments into the image.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hypermnesia_replication::{Fact, LogToken};
use hypermnesia_store::disc::{Checkpointer, DiscError, Imaged, LockGuard, Log, LogWriter, Position, Record};
use hypermnesia_store::{Ack, codec};
use parking_lot::{Condvar, Mutex};

use crate::carry::Carry;
use crate::core::Core;
use crate::error::Error;
use crate::limits::{
    CHECKPOINT_BATCH_BYTES, CHECKPOINT_LOOK, LOG_BACKLOG_BYTES, LOG_RESERVE_BYTES, LOG_SYNC_EVERY, TICK,
};
use crate::space::{Later, Space};

/// A log and who writes it.
pub(crate) struct Disc {
    /// Keeps other processes out of the directory until the node is closed. Held for a move.
    lock: Mutex<Option<LockGuard>>,
    log: Log,
    /// Held for one write(2), or for taking a sync job. Whoever does not get it at once leaves its records to who has it.
    writer: Mutex<LogWriter>,
    /// What the replica wants to hear of, by position. Held for a push or a sweep; the append happens inside, so that
    /// positions rise.
    waiting: Mutex<VecDeque<Waiting>>,
    /// Keeps the image behind the log. Held for a checkpoint, by the one thread that makes them.
    checkpointer: Mutex<Checkpointer>,
    /// Bytes of full segments that are worth a checkpoint.
    checkpoint_bytes: u64,
    space: Space,
    /// Bytes of disc that log and image took when somebody last looked.
    log_bytes: AtomicU64,
    image_bytes: AtomicU64,
    /// Somebody waits for a sync. Held for a move.
    wanted: Mutex<bool>,
    sync: Condvar,
}

struct Waiting {
    position: Position,
    level: Ack,
    token: LogToken,
}

impl Disc {
    pub(crate) fn new(
        writer: LogWriter,
        checkpointer: Checkpointer,
        lock: LockGuard,
        checkpoint_bytes: u64,
    ) -> Disc {
        Disc {
            lock: Mutex::new(Some(lock)),
            log: writer.log(),
            log_bytes: AtomicU64::new(writer.disc_bytes()),
            image_bytes: AtomicU64::new(checkpointer.disc_bytes()),
            writer: Mutex::new(writer),
            checkpointer: Mutex::new(checkpointer),
            checkpoint_bytes,
            space: Space::default(),
            waiting: Mutex::default(),
            wanted: Mutex::default(),
            sync: Condvar::new(),
        }
    }
}

impl Disc {
    /// Bytes of disc that the log takes, with what is made ready for it, and the image. As of a moment ago where the disc keeps
    /// somebody waiting just now: this waits for nobody.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        if let Some(writer) = self.writer.try_lock() {
            self.log_bytes.store(writer.disc_bytes(), Ordering::Relaxed);
        }
        (self.log_bytes.load(Ordering::Relaxed), self.image_bytes.load(Ordering::Relaxed))
    }

    /// Appends a record; with a token the replica hears when it is as safe as it has to be. True when it should be written
    /// now: somebody waits for it, or much has come together. What nobody waits for goes with the next write, or with the
    /// next tick; a record that is written has all before it written too.
    pub(crate) fn append(&self, core: &Core, fact: Fact, level: Ack, token: Option<LogToken>) -> bool {
        if core.is_closed() {
            return false;
        }
        let awaited = token.is_some();
        let encoded = encode(&fact);
        let payload: &[&[u8]] = &[&encoded];
        let mut waiting = self.waiting.lock();
        match self.log.append(payload) {
            Ok(position) => waiting.extend(token.map(|token| Waiting { position, level, token })),
            Err(error) => {
                drop(waiting);
                core.fail(Error::Disc(error.to_string()));
                return false;
            }
        }
        drop(waiting);
        let waiting_bytes = self.log.backlog_bytes();
        self.space.look(core, waiting_bytes);
        awaited || waiting_bytes >= LOG_BACKLOG_BYTES
    }

    /// Writes what was appended and not awaited.
    pub(crate) fn tick(&self, core: &Core) {
        let waiting_bytes = self.log.backlog_bytes();
        // Whoever wrote last may have looked before another one appended.
        self.space.look(core, waiting_bytes);
        if waiting_bytes > 0 {
            let mut out = Carry::new(core);
            self.drain(core, &mut out);
            out.finish();
        }
    }

    /// Writes what was appended, unless another thread is at it, which then writes this too; and tells the replica.
    pub(crate) fn drain(&self, core: &Core, out: &mut Carry<'_>) {
        while self.space.may_try()
            && let Some(mut writer) = self.writer.try_lock()
        {
            let (written, is_low) = (writer.write(), is_low(&writer));
            drop(writer);
            match written {
                Ok(position) => {
                    self.space.written(core, is_low);
                    self.tell(core, position, Ack::Logged, out);
                }
                Err(_) if core.is_closed() => return,
                Err(error @ DiscError::NoSpace { .. }) => {
                    self.space.stuck(core, &error, self.log.backlog_bytes());
                    self.tell(core, self.log.written(), Ack::Logged, out);
                }
                Err(error) => return core.fail(Error::Disc(error.to_string())),
            }
            let waiting_bytes = self.log.backlog_bytes();
            self.space.look(core, waiting_bytes);
            if waiting_bytes == 0 {
                break;
            }
        }
        let syncs = self.waiting.lock().iter().any(|one| one.level == Ack::Synced);
        if syncs {
            *self.wanted.lock() = true;
            self.sync.notify_one();
        }
    }

    /// Tells the replica of everything up to the position that asked for no more than this level.
    fn tell(&self, core: &Core, position: Position, level: Ack, out: &mut Carry<'_>) {
        let mut safe = Vec::new();
        self.waiting.lock().retain(|one| {
            let is_safe = one.position <= position && one.level <= level;
            if is_safe {
                safe.push(one.token);
            }
            !is_safe
        });
        safe.into_iter().for_each(|token| core.on_logged(token, out));
    }

    /// The node is closed and its threads have ended: writes what is there and that it is all, and lets the next process in.
    /// A node that is not well puts nothing into its image any more: the log has it.
    pub(crate) fn close(&self, is_well: bool) {
        let Some(lock) = self.lock.lock().take() else { return };
        // The next start reads the image faster than the log. What is not taken now is read from the log then.
        if is_well
            && self.log.check().is_ok()
            && let Err(error) = self.checkpoint(1, |_| true)
        {
            tracing::warn!(%error, "the image could not take what the log has; the next start reads it there");
        }
        self.checkpointer.lock().close();
        if let Err(error) = self.writer.lock().close() {
            tracing::error!(%error, "the log could not be written at the end");
        }
        // Whoever still holds the writer finds it refusing: the directory belongs to somebody else now.
        self.log.poison(&DiscError::Poisoned { first: "the node was closed".into() });
        drop(lock);
    }

    /// The life of the node that begins, so that the next one is another; durable before its first acknowledgement. Without
    /// space for it on the disc nothing is acknowledged.
    pub(crate) fn begin(&self, life: hypermnesia_store::Incarnation) -> Result<(), Error> {
        let told = |error: DiscError| Error::Disc(error.to_string());
        let encoded = codec::encode(&Record::Started(life));
        self.log.append(&[&encoded]).map_err(told)?;
        let mut writer = self.writer.lock();
        match writer.write() {
            Ok(_) => writer.sync().map(drop).map_err(told),
            Err(error @ DiscError::NoSpace { .. }) => {
                self.space.begin_stuck(&error);
                Ok(())
            }
            Err(error) => Err(told(error)),
        }
    }

    /// Whether what has to be logged is refused for want of space.
    pub(crate) fn lacks_space(&self) -> bool {
        self.space.is_lacking()
    }

    /// Lets a node that is alone open its first epoch although the disc has no space for it, so that it can be read. Nobody
    /// else has to hear of that epoch, and whatever is written later stands behind it in the log.
    pub(crate) fn open_unlogged(&self, core: &Core) {
        let mut out = Carry::new(core);
        self.tell(core, self.log.end(), Ack::Synced, &mut out);
        out.finish();
    }

    /// Makes the next segment ready before it is needed. Where that fails the log goes on in the one it has.
    fn prepare_segment(&self, core: &Core, later: &mut Later) {
        if !later.may_try() {
            return;
        }
        let Some(job) = self.writer.lock().spare_job() else { return };
        let made = job.run();
        self.space.next_is_made(made.is_ok());
        match made {
            Ok(spare) => {
                self.writer.lock().give_spare(spare);
                later.succeeded();
            }
            Err(error) => later.failed("the next segment of the log cannot be made ready", &error),
        }
        // Looks whether what is left is enough.
        let mut out = Carry::new(core);
        self.drain(core, &mut out);
        out.finish();
    }

    /// The thread that syncs, until the node is closed.
    pub(crate) fn sync_until_closed(&self, core: &Arc<Core>) {
        let (mut spare, mut synced) = (Later::default(), Instant::now());
        while !core.is_closed() {
            self.prepare_segment(core, &mut spare);
            let mut wanted = self.wanted.lock();
            let is_due = synced.elapsed() >= LOG_SYNC_EVERY && self.log.synced() < self.log.written();
            if !std::mem::take(&mut *wanted) && !is_due {
                self.sync.wait_for(&mut wanted, TICK * 10);
                continue;
            }
            drop(wanted);
            if let Err(error) = self.sync_once(core)
                && !core.is_closed()
            {
                core.fail(error);
            }
            synced = Instant::now();
        }
    }

    /// The thread that makes checkpoints, until the node is closed.
    pub(crate) fn checkpoint_until_closed(&self, core: &Arc<Core>) {
        let mut later = Later::default();
        while !core.is_closed() {
            if later.may_try() {
                let made = match later.is_failed() {
                    true => self.reopen_image(core),
                    false => Ok(()),
                };
                match made.and_then(|()| self.checkpoint_if_due(core)) {
                    Ok(()) => later.succeeded(),
                    Err(_) if core.is_closed() => return,
                    Err(error @ DiscError::Full { .. }) => {
                        later.failed("the image cannot follow the log", &error);
                        // At once, since tables on disc alone are read through it. If that fails too it is tried again later.
                        if let Err(again) = self.reopen_image(core) {
                            tracing::warn!(error = %again, "the image cannot be opened again");
                        }
                    }
                    // A reader that met the damage first has it by its place; behind it redb says nothing more.
                    Err(error) => {
                        let first =
                            core.store.disc_fault().filter(|_| matches!(error, DiscError::Poisoned { .. }));
                        return core.fail(Error::Disc(first.unwrap_or(&error).to_string()));
                    }
                }
            }
            std::thread::park_timeout(CHECKPOINT_LOOK);
        }
    }

    /// Opens the image behind a step that failed, unless that was done.
    fn reopen_image(&self, core: &Core) -> Result<(), DiscError> {
        let mut checkpointer = self.checkpointer.lock();
        if !checkpointer.is_open() {
            let imaged = checkpointer.reopen()?;
            core.store.imaged(imaged);
        }
        Ok(())
    }

    /// Takes full segments into the image once there are enough of them, and removes those that nobody needs any more.
    /// Writers are stopped for no longer than it takes to look at the list of segments, or to remove a file.
    fn checkpoint_if_due(&self, core: &Core) -> Result<(), DiscError> {
        self.checkpoint(self.checkpoint_bytes, |imaged| {
            core.store.imaged(imaged);
            !core.is_closed()
        })
    }

    /// Takes full segments into the image if they have at least so many bytes. `step` hears what each step has brought, and
    /// says whether to go on.
    fn checkpoint(&self, least: u64, step: impl Fn(Imaged) -> bool) -> Result<(), DiscError> {
        let mut checkpointer = self.checkpointer.lock();
        let closed = self.writer.lock().closed();
        let new_bytes = closed.last().map_or(0, |(_, end)| end.0.saturating_sub(checkpointer.read_to().0));
        if new_bytes < least {
            return Ok(());
        }
        for batch in checkpointer.batches(&closed, self.checkpoint_bytes.min(CHECKPOINT_BATCH_BYTES)) {
            let imaged = checkpointer.take(&batch)?;
            let freed = self.writer.lock().trim(checkpointer.applied())?;
            self.image_bytes.store(checkpointer.disc_bytes(), Ordering::Relaxed);
            tracing::debug!(segments = batch.len(), freed, "the image has taken log segments");
            if !step(imaged) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes and syncs what is there and tells the replica.
    pub(crate) fn sync_once(&self, core: &Core) -> Result<(), Error> {
        let told = |error: DiscError| Error::Disc(error.to_string());
        let job = {
            let mut writer = self.writer.lock();
            if self.space.may_try() {
                match writer.write() {
                    Ok(_) => self.space.written(core, is_low(&writer)),
                    Err(error @ DiscError::NoSpace { .. }) => {
                        self.space.stuck(core, &error, self.log.backlog_bytes());
                    }
                    Err(error) => return Err(told(error)),
                }
            }
            writer.begin_sync().map_err(told)?
        };
        let position = job.run().map_err(told)?;
        let mut out = Carry::new(core);
        self.tell(core, position, Ack::Synced, &mut out);
        out.finish();
        Ok(())
    }
}

/// Whether no more than the reserve is left in the present segment; a quarter of small ones.
fn is_low(writer: &LogWriter) -> bool {
    writer.left_bytes() < LOG_RESERVE_BYTES.min(writer.segment_bytes() / 4)
}

/// The frame of a fact. Nothing is encoded for a barrier: its place in the log is what counts.
fn encode(fact: &Fact) -> Vec<u8> {
    let record = match fact {
        Fact::Prepared { txid, epoch, participants, work } => Record::Prepared {
            txid: *txid,
            epoch: *epoch,
            participants: participants.as_slice().into(),
            work: std::borrow::Cow::Borrowed(work),
        },
        Fact::Committed { txid, ts } => Record::Committed { txid: *txid, ts: *ts },
        Fact::Aborted { txid } => Record::Aborted { txid: *txid },
        Fact::Released { txid } => Record::Released { txid: *txid },
        Fact::Applied { txid, ts, work } => {
            Record::Applied { txid: *txid, ts: *ts, writes: work.writes.as_slice().into() }
        }
        Fact::Epoch(bytes) => Record::Epoch(bytes.as_slice().into()),
        Fact::Loaded { table, clear, rows } => {
            Record::Loaded { table: *table, clear: *clear, rows: rows.as_slice().into() }
        }
        Fact::Barrier => return Vec::new(),
    };
    codec::encode(&record)
}

#[cfg(test)]
mod between;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod hanging;
#[cfg(test)]
mod slow;
#[cfg(test)]
#[path = "../tests/shared/until.rs"]
mod until;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Error, Node, Outcome, Storage, TableDef, TxOptions, Type, Value};

    #[test]
    fn while_the_image_is_opened_again_callers_may_try_again() {
        // Aim: between a step that found no space and the next opening nothing is damaged and the node goes on: a read says
        // that it may be made again, a transaction runs again until its deadline. Method: the image closed as such a step
        // leaves it, and opened again.
        let home = tempfile::tempdir().expect("a directory");
        let node = Node::builder().data_dir(home.path()).build().expect("it starts");
        let def = TableDef::builder("t").attribute("id", Type::Int).copy(node.id(), Storage::DISC_ONLY);
        let table = node.create_table(def).expect("new");
        let row = [Value::Int(1)];
        let disc = node.core.disc.as_ref().expect("it has one");
        disc.checkpointer.lock().close();
        let read = table.get(&row).expect_err("the image is closed");
        assert!(matches!(read, Error::NotReady { .. }), "{read}");
        let soon = TxOptions { deadline: Duration::from_millis(50), ..TxOptions::default() };
        let seen = node.transaction_with(&soon, |tx| tx.get(&table, &row)).expect_err("the image is closed");
        let written = node.transaction_with(&soon, |tx| tx.insert(&table, &row)).expect_err("so it is");
        assert!(seen.is_retryable() && written.is_retryable(), "{seen}; {written}");
        disc.reopen_image(&node.core).expect("the disc is well");
        table.insert(&row).expect("written");
        assert_eq!(table.get(&row).expect("read"), Some(row.to_vec()));
    }

    #[test]
    fn a_disc_that_hangs_keeps_only_those_who_wait_for_it() {
        // Aim: while a write hangs nothing is acknowledged that waits for it, and who waits hears that the outcome is unknown;
        // reads, tables in memory and the status go on; when it comes through the outcome is known, the row is there whole,
        // and no lock is left. Method: the writer held, as by a thread that does not come back from the system.
        let home = tempfile::tempdir().expect("a directory");
        let node = Node::builder().data_dir(home.path()).build().expect("it starts");
        let def = |name| TableDef::builder(name).attribute("id", Type::Int);
        let kept = node.create_table(def("kept").copy(node.id(), Storage::Disc)).expect("new");
        let free = node.create_table(def("free").local()).expect("new");
        let row = |id| [Value::Int(id)];
        kept.insert(&row(1)).expect("written");
        let disc = node.core.disc.as_ref().expect("it has one");
        let hangs = disc.writer.lock();
        let soon = TxOptions { deadline: Duration::from_millis(100), ..TxOptions::default() };
        let told = node.transaction_with(&soon, |tx| tx.insert(&kept, &row(2)));
        let Err(Error::Unknown { txid }) = told else { panic!("{told:?}") };
        free.insert(&row(1)).expect("no log waits for it");
        assert_eq!((kept.contains(&row(1)), free.contains(&row(1))), (Ok(true), Ok(true)));
        assert!(node.status().ready);
        drop(hangs);
        // It needs the row's lock, so it waits for the outcome.
        let found = node.transaction(|tx| tx.get(&kept, &row(2)));
        assert_eq!(found, Ok(Some(row(2).to_vec())));
        assert!(matches!(node.outcome(txid), Outcome::Committed(_)), "{:?}", node.outcome(txid));
        kept.delete(&row(2)).expect("nobody holds it");
    }
}
