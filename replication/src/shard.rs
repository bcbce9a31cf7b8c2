//! Where the transactions under way are kept, split by their ids so that threads with different transactions rarely meet.
//! A shard's lock is held to look at an entry and move it to its next phase, never across a call into the store: what
//! follows from the move is done behind it, by the thread that made it.

use std::hash::BuildHasher;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;
use hypermnesia_store::{Ack, TableId, Timestamp, TxId, Txn, Work};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;

use crate::effect::Reply;
use crate::limits::SHARDS;
use crate::member::NodeSet;
use crate::outcome::Outcomes;

/// Whether a prepare in the store runs, waits, or is to be looked at again. A prepare that is freed while the thread that
/// was told "parked" has not yet noted so must not be forgotten: hence `again`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Waits in the store; who frees it continues it.
    pub(crate) parked: bool,
    /// Freed while it was running.
    pub(crate) again: bool,
    /// To be withdrawn as soon as it stops running.
    pub(crate) withdrawn: bool,
}

/// What happens to a transaction that this node coordinates.
#[derive(Debug)]
pub(crate) enum Deciding {
    /// Being prepared or queued here; nothing was sent.
    Queueing(Queue),
    /// A transaction of this node alone waits for its log record, to be applied at this timestamp.
    Logging(Timestamp),
    /// Prepares are out.
    Voting {
        /// Who has not voted.
        missing: NodeSet,
        /// The largest proposal so far.
        ts: Timestamp,
    },
    /// Decided to abort.
    Aborting {
        /// Who has not recorded it.
        missing: NodeSet,
        /// What the caller hears when all have.
        reply: Reply,
    },
    /// Committed and answered for; its caller waits until all have applied it.
    Syncing {
        /// Who has not said so.
        missing: NodeSet,
        /// When it committed.
        ts: Timestamp,
    },
}

/// A transaction that this node coordinates.
#[derive(Debug)]
pub(crate) struct Coordinated {
    pub(crate) txn: Arc<Txn>,
    pub(crate) work: Arc<Work>,
    pub(crate) holders: Vec<(TableId, NodeSet)>,
    pub(crate) participants: NodeSet,
    pub(crate) logging: Logging,
    pub(crate) sync: bool,
    /// When an undecided one is aborted, ns.
    pub(crate) decide_ns: u64,
    /// When the caller hears "unknown", ns.
    pub(crate) deadline_ns: u64,
    /// The caller has heard something.
    pub(crate) answered: bool,
    pub(crate) began_ns: u64,
    pub(crate) phase: Deciding,
}

/// What a transaction leaves in this node's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    /// There is a log and the transaction touches a disc table, here or elsewhere.
    pub(crate) on: bool,
    /// What must have happened before the vote.
    pub(crate) level: Ack,
}

impl Logging {
    /// Whether the vote and the record of an abort wait for the log.
    pub(crate) fn waits(self) -> bool {
        self.on && self.level > Ack::Memory
    }
}

/// What happens to a transaction of another coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Being prepared or queued here; not voted.
    Queueing(Queue),
    /// Waits for a schema version that it has seen elsewhere; not voted.
    AwaitingSchema,
    /// Prepared; the vote waits for the log.
    Logging(Timestamp),
    /// Prepared and voted: only the coordinator or an epoch that opens may end it.
    Voted,
    /// Told to abort; the record waits for the log.
    Aborting,
}

/// A transaction of another coordinator.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) txn: Arc<Txn>,
    pub(crate) work: Arc<Work>,
    pub(crate) holders: Vec<(TableId, NodeSet)>,
    /// Position of the coordinator.
    pub(crate) coordinator: usize,
    pub(crate) logging: Logging,
    /// Until when it may wait, ns.
    pub(crate) deadline_ns: u64,
    pub(crate) began_ns: u64,
    pub(crate) phase: Holding,
}

/// One part of the transactions under way.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) coordinated: HashMap<TxId, Coordinated, FixedState>,
    pub(crate) held: HashMap<TxId, Held, FixedState>,
    pub(crate) outcomes: Outcomes,
}

/// All parts. Lock order: the epoch gate, then one shard, then whatever the sink locks; never two shards.
#[derive(Debug)]
pub(crate) struct Shards {
    /// Guards one part; held for a map access and a phase change.
    parts: Box<[CachePadded<Mutex<Shard>>]>,
    hasher: FixedState,
}

impl Shards {
    pub(crate) fn new() -> Shards {
        let parts = (0..SHARDS).map(|_| CachePadded::new(Mutex::new(Shard::default()))).collect();
        Shards { parts, hasher: FixedState::default() }
    }

    /// The part that a transaction is in.
    pub(crate) fn of(&self, txid: &TxId) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one((txid.node, txid.sequence));
        self.parts[hash as usize % SHARDS].lock()
    }

    /// Each part in turn.
    pub(crate) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.parts.iter().map(|part| part.lock())
    }
}
