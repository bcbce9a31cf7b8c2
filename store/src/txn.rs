//! One attempt of a transaction as this node knows it. Its status is one word, so that one store commits all its keys at
//! once: marks in cells point here and are judged by it until they are folded. This file never touches a cell or a lock.
//!
//! The proposal goes through three states: none, being drawn, drawn. It is set to *being drawn* before the clock is
//! touched. A reader loads the clock first. If it then sees *none*, the clock's read-modify-write comes after its load:
//! had its load seen that or a later value, it would (acquire) also see the store before it. So a mark without a proposal
//! is above every snapshot that meets it and is passed over; only the instant of drawing is waited out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::cell::CellRef;
use crate::clock::{Clock, Timestamp};
use crate::ids::{TableId, TxId};
use crate::lock::{Grants, LockKey};
use crate::work::{LockMode, Work};

const PENDING: u64 = 0;
const ABORTED: u64 = u64::MAX;
const NOT_DRAWN: u64 = 0;
const DRAWING: u64 = u64::MAX;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not decided, or not known here.
    Pending,
    /// Committed at this timestamp.
    Committed(Timestamp),
    /// Aborted.
    Aborted,
}

/// The status word and who waits for it.
#[derive(Debug, Default)]
pub struct TxnStatus {
    /// 0 pending, all ones aborted, else the commit timestamp. Written once.
    word: AtomicU64,
    /// Who wants to know. Held for a push or a take; a leaf lock.
    wakers: Mutex<Vec<Waker>>,
}

impl TxnStatus {
    /// The status now.
    pub fn get(&self) -> Status {
        match self.word.load(Ordering::Acquire) {
            PENDING => Status::Pending,
            ABORTED => Status::Aborted,
            at => Status::Committed(Timestamp(at)),
        }
    }

    /// Asks to be woken when it is decided, and says the status after asking: when that is not pending, the waker may
    /// never be called. Works from threads and futures alike.
    pub fn subscribe(&self, waker: &Waker) -> Status {
        let mut wakers = self.wakers.lock();
        let status = self.get();
        if status == Status::Pending && !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        status
    }

    /// Writes the status once; false when it was decided before.
    pub(crate) fn decide(&self, status: Status) -> bool {
        let word = match status {
            Status::Pending => unreachable!("pending is not a decision"),
            Status::Committed(at) => at.0,
            Status::Aborted => ABORTED,
        };
        self.word.compare_exchange(PENDING, word, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Calls whoever waits. The lock orders it with `subscribe`: who came before is called, who comes after sees the word.
    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One attempt of a transaction known on this node.
pub struct Txn {
    /// Its name and age.
    pub id: TxId,
    /// Whether it is decided.
    pub status: TxnStatus,
    /// See the file's header.
    proposal: AtomicU64,
    /// Serialises lock, prepare, commit and abort of this one transaction. Taken before any lock of the lock table.
    pub(crate) gate: Mutex<Progress>,
    /// What it holds and where it waits. Taken inside a shard of the lock table; a leaf lock.
    pub(crate) grants: Mutex<Grants>,
}

/// How far a transaction has come on this node.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    /// Locks of its prepare, sorted, and how many of them it has.
    pub(crate) locks: Vec<(LockKey, LockMode)>,
    pub(crate) locked: usize,
    pub(crate) planned: bool,
    /// Cells it has marked, by table and key.
    pub(crate) marks: Vec<Mark>,
    /// Tables in which it has range notes.
    pub(crate) noted: Vec<TableId>,
    /// What it prepared, for who lists transactions in doubt.
    pub(crate) work: Option<Arc<Work>>,
}

/// A cell whose newest version is this transaction's.
pub(crate) struct Mark {
    pub(crate) table: TableId,
    pub(crate) cell: CellRef,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not prepared; may hold locks.
    #[default]
    Open,
    /// Voted yes at this proposal.
    Prepared(Timestamp),
    /// Committed or aborted, and everything released.
    Done,
}

impl Txn {
    pub(crate) fn new(id: TxId) -> Txn {
        Txn {
            id,
            status: TxnStatus::default(),
            proposal: AtomicU64::new(NOT_DRAWN),
            gate: Mutex::default(),
            grants: Mutex::default(),
        }
    }

    /// The proposal of this node, once it has prepared.
    pub fn proposal(&self) -> Option<Timestamp> {
        loop {
            match self.proposal.load(Ordering::Acquire) {
                NOT_DRAWN => return None,
                DRAWING => std::hint::spin_loop(),
                at => return Some(Timestamp(at)),
            }
        }
    }

    /// What it prepared here.
    pub fn work(&self) -> Option<Arc<Work>> {
        self.gate.lock().work.clone()
    }

    /// Draws the proposal from the clock. All marks must be placed.
    pub(crate) fn draw(&self, clock: &Clock, wall_ms: u64) -> Timestamp {
        self.proposal.store(DRAWING, Ordering::SeqCst);
        let at = clock.propose(wall_ms);
        self.proposal.store(at.0, Ordering::SeqCst);
        at
    }
}

impl fmt::Debug for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txn")
            .field("id", &self.id)
            .field("status", &self.status.get())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Txn {
    fn eq(&self, other: &Txn) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Txn {}
