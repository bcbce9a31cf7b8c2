//! What is behind the epoch gate: where this node stands in the chain of epochs and what it knows of its peers. Handlers
//! of transactions hold the gate shared and find all of this still; connections, fences, flushes, marks and copies hold
//! it alone. While somebody holds it alone no transaction is half-way through a handler.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermnesia_store::{Incarnation, Snapshot, TableId};

use crate::catchup::{Loading, Serving};
use crate::epoch::{Epoch, Opened, Stage};
use crate::flush::Leading;
use crate::lacks::Lacks;
use crate::member::{NodeSet, Peer};

/// What is known of a member.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Its life, once it was ever connected.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) connected: bool,
    /// Does not take its messages fast enough.
    pub(crate) congested: bool,
    /// The last epoch in which it said that it takes prepares.
    pub(crate) taking: u64,
    /// The last epoch in which it said that it serves all its tables.
    pub(crate) ready: u64,
    /// Its outcomes that arrive now belong to this generation (as a coordinator).
    pub(crate) generation: u64,
    /// Its generations up to this one may be forgotten.
    pub(crate) settled: u64,
}

/// The generations of this node's own outcomes.
#[derive(Debug)]
pub(crate) struct Generations {
    /// The one that collects now.
    pub(crate) current: u64,
    /// Members that take part in an outcome of the current one. Set by handlers, so atomic; a handler only writes what is
    /// not there yet.
    pub(crate) involved: AtomicU64,
    /// Closed ones and who has not answered their mark yet, oldest first.
    pub(crate) closed: Vec<(u64, NodeSet)>,
    /// All up to this one are settled.
    pub(crate) settled: u64,
    /// The settled number that the last mark told.
    pub(crate) told: u64,
}

impl Default for Generations {
    fn default() -> Generations {
        Generations { current: 1, involved: AtomicU64::new(0), closed: Vec::new(), settled: 0, told: 0 }
    }
}

impl Generations {
    /// Notes who takes part in an outcome of the current generation.
    pub(crate) fn involve(&self, members: u64) {
        if self.involved.load(Ordering::Relaxed) & members != members {
            self.involved.fetch_or(members, Ordering::Relaxed);
        }
    }
}

/// See the file's header.
#[derive(Debug, Default)]
pub(crate) struct Era {
    /// The last epoch that this node entered, in this life or in its log.
    pub(crate) opened: Option<Epoch>,
    /// And what it began with.
    pub(crate) opening: Option<Stage>,
    /// It entered it in this life, so this node is a member of it.
    pub(crate) live: bool,
    /// It entered one in this life: what is in memory is of that epoch.
    pub(crate) in_memory: bool,
    /// The last epoch that was opened, as the control plane has it. Behind `opened` never; ahead of it while this node is
    /// outside.
    pub(crate) chain: Option<Opened>,
    /// The last epoch that was agreed on, as far as this node has heard. It takes part in none before it.
    pub(crate) agreed: Option<Epoch>,
    /// The last stage; counts until a later epoch is agreed on.
    pub(crate) staged: Option<Stage>,
    /// The stage is safe in the log (or there is none).
    pub(crate) stage_kept: bool,
    /// All tables are loaded.
    pub(crate) complete: bool,
    /// In the epoch that it is in: the tables that are still to be loaded. Behind it until the next one has settled its
    /// transactions.
    pub(crate) lacks: Lacks,
    /// The rows as they were when the epoch opened, for those who load them; nothing once all are ready.
    pub(crate) base: Option<Snapshot>,
    /// Else: which of them are as they were in which epoch.
    pub(crate) whole: BTreeMap<TableId, u64>,
    /// By slot, this node's own included.
    pub(crate) peers: Vec<Known>,
    pub(crate) leading: Option<Leading>,
    pub(crate) loading: Option<Loading>,
    pub(crate) serving: Vec<Serving>,
    pub(crate) generations: Generations,
    /// When marks went out last, ns.
    pub(crate) marked_ns: u64,
}

impl Era {
    /// The number of the epoch that this node entered last; 0 if none.
    pub(crate) fn number(&self) -> u64 {
        self.opened.as_ref().map_or(0, |epoch| epoch.number)
    }

    /// The number of the last epoch that was opened anywhere; 0 if none.
    pub(crate) fn chain_number(&self) -> u64 {
        self.chain.as_ref().map_or(0, |opened| opened.epoch.number)
    }

    /// The number of the last epoch agreed on; 0 if none.
    pub(crate) fn agreed_number(&self) -> u64 {
        self.agreed.as_ref().map_or(0, |epoch| epoch.number)
    }

    /// Takes part in transactions of the epoch that it entered: no later one has been agreed on.
    pub(crate) fn is_open(&self) -> bool {
        self.live && self.agreed_number() <= self.number()
    }

    /// The members of the entered epoch.
    pub(crate) fn present(&self) -> NodeSet {
        self.opened.as_ref().map_or(NodeSet::EMPTY, Epoch::present)
    }

    /// The life of a member in the entered epoch. Only of those that are present.
    pub(crate) fn life(&self, slot: usize) -> Peer {
        let life = self.opened.as_ref().and_then(|epoch| epoch.life(slot));
        life.expect("only asked of members of an entered epoch")
    }

    /// The last epoch that served a table, before the one that is to be.
    pub(crate) fn home(&self, table: TableId) -> u64 {
        let unserved = self.chain.iter().flat_map(|opened| &opened.opening.unserved);
        unserved.into_iter().find(|(id, _)| *id == table).map_or(self.chain_number(), |(_, home)| *home)
    }

    /// Whether this node's copy is said to have all of a table as it is in the entered epoch: to the others, and in the log.
    pub(crate) fn says_whole(&self, table: TableId) -> bool {
        self.whole.get(&table) == Some(&self.number())
    }

    /// Whether the entered epoch serves a table.
    pub(crate) fn serves(&self, table: TableId) -> bool {
        self.opening.as_ref().is_some_and(|stage| stage.unserved.iter().all(|(id, _)| *id != table))
    }
}
