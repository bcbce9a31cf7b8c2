//! Rows into one table by transactions of many rows, two at a time. The thread that reads them fills batches; threads of the
//! load's own write them. Rows of a bag are written by one thread, since their order counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};
use hypermnesia_store::work::Op;
use hypermnesia_store::{Key, Kind, Row, Table as Open, TableDef, Timestamp};
use parking_lot::Mutex;

use crate::core::{Core, wall_ms};
use crate::error::{Error, Result};
use crate::limits::{RESTORE_BYTES, RESTORE_DEADLINE, RESTORE_ROWS, RESTORE_WRITERS};
use crate::options::TxOptions;
use crate::snapshot::Snapshot;
use crate::table::DynTable;
use crate::transaction;

/// What one transaction writes.
#[derive(Default)]
struct Batch {
    writes: Vec<(Key, Op)>,
    /// Of the rows.
    bytes: u64,
}

/// Rows that are in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) expired: u64,
}

/// One table that is being loaded.
pub(super) struct Load {
    core: Arc<Core>,
    open: Arc<Open>,
    rows: AtomicU64,
    bytes: AtomicU64,
    expired: u64,
}

impl Load {
    pub(super) fn into(core: &Arc<Core>, table: &DynTable) -> Result<Load> {
        let (core, open) = (Arc::clone(core), table.open()?);
        Ok(Load {
            core,
            open: Arc::clone(&open),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            expired: 0,
        })
    }

    pub(super) fn counts(&self) -> Counts {
        let (rows, bytes) = (self.rows.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire));
        Counts { rows, bytes, expired: self.expired }
    }

    /// Deletes every row.
    pub(super) fn clear(&mut self) -> Result<()> {
        let core = Arc::clone(&self.core);
        let snapshot = Snapshot::take(&core)?;
        let open = Arc::clone(&self.open);
        self.write_all(|feed| {
            let mut failed = None;
            snapshot.visit_versions(&open, |key, _, _| match feed.add(key.clone(), Op::Delete, 0) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    std::ops::ControlFlow::Break(())
                }
            })?;
            failed.map_or(Ok(()), Err)
        })?;
        (self.rows, self.bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(())
    }

    /// Writes the rows that `each` shows.
    pub(super) fn rows(
        &mut self,
        told: &mut dyn FnMut(u64),
        each: impl FnOnce(&mut dyn FnMut(Row, Timestamp) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let (now_ms, mut expired, mut last) = (wall_ms(), 0, 0);
        let written = self.write_all(|feed| {
            let def = feed.open.def().clone();
            each(&mut |row, _| {
                if row.deadline_ms().is_some_and(|deadline| deadline <= now_ms) {
                    expired += 1;
                    return Ok(());
                }
                feed.row(&def, &row)?;
                let written = feed.written();
                if written != last {
                    last = written;
                    told(written);
                }
                Ok(())
            })
        });
        self.expired = expired;
        written
    }

    /// Runs the writing threads beside `fill`.
    fn write_all(&self, fill: impl FnOnce(&mut Feed<'_>) -> Result<()>) -> Result<()> {
        let writers = if self.open.def().kind == Kind::Bag { 1 } else { RESTORE_WRITERS };
        let (batches, waiting) = bounded(writers);
        let failed = Mutex::new(None);
        let filled = std::thread::scope(|scope| {
            for _ in 0..writers {
                let waiting = waiting.clone();
                scope.spawn(|| self.write(waiting, &failed));
            }
            drop(waiting);
            let mut feed =
                Feed { open: Arc::clone(&self.open), batches, batch: Batch::default(), load: self };
            fill(&mut feed).and_then(|()| feed.send())
        });
        // A writer's own reason says more than that it takes no more.
        failed.into_inner().map_or(filled, Err)
    }

    /// One writing thread: until there are no more batches, or one of the threads has failed.
    fn write(&self, batches: Receiver<Batch>, failed: &Mutex<Option<Error>>) {
        for batch in batches {
            if failed.lock().is_some() {
                return;
            }
            match self.commit(&batch) {
                Ok(()) => {
                    self.rows.fetch_add(batch.writes.len() as u64, Ordering::AcqRel);
                    self.bytes.fetch_add(batch.bytes, Ordering::AcqRel);
                }
                Err(error) => {
                    failed.lock().get_or_insert(error);
                    return;
                }
            }
        }
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        let options = TxOptions::new().deadline(RESTORE_DEADLINE);
        transaction::run(&self.core, &options, |tx| {
            batch.writes.iter().try_for_each(|(key, op)| {
                tx.step(|attempt, _| attempt.write(&self.open, key.clone(), op.clone()))
            })
        })
    }
}

/// Gathers batches and hands them to the writing threads.
struct Feed<'a> {
    open: Arc<Open>,
    batches: Sender<Batch>,
    batch: Batch,
    load: &'a Load,
}

impl Feed<'_> {
    fn row(&mut self, def: &TableDef, row: &Row) -> Result<()> {
        let row = def.adopt(row)?;
        let (key, bytes) = (def.key_of(&row)?, row.as_bytes().len() as u64);
        let op = if def.kind == Kind::Bag { Op::BagAdd(row) } else { Op::Put(row) };
        self.add(key, op, bytes)
    }

    fn add(&mut self, key: Key, op: Op, bytes: u64) -> Result<()> {
        self.batch.writes.push((key, op));
        self.batch.bytes += bytes;
        if self.batch.writes.len() >= RESTORE_ROWS || self.batch.bytes >= RESTORE_BYTES as u64 {
            return self.send();
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.writes.is_empty() {
            return Ok(());
        }
        // Nobody takes it: a writer has failed and says why.
        self.batches.send(batch).map_err(|_| Error::Closed)
    }

    fn written(&self) -> u64 {
        self.load.rows.load(Ordering::Relaxed)
    }
}
