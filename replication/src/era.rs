//! What is behind the epoch gate: where this node stands in the chain of epochs and what it knows of its peers. Handlers
//! of transactions hold the gate shared and find all of this still; connections, fences, flushes, marks and copies hold
//! it alone. While somebody holds it alone no transaction is half-way through a handler.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermnesia_store::{Incarnation, TableId};

use crate::catchup::{Loading, Serving};
use crate::epoch::{Epoch, Stage, State};
use crate::flush::Leading;
use crate::member::{NodeSet, Peer};

/// What is known of a member.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Its life, once it was ever connected.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) connected: bool,
    /// Does not take its messages fast enough.
    pub(crate) congested: bool,
    /// The last that it said of itself in this life.
    pub(crate) state: Option<State>,
    /// The last epoch in which it said that it serves.
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
    /// The last epoch that this node knows to be opened, by itself or from its log.
    pub(crate) opened: Option<Epoch>,
    /// And what it began with.
    pub(crate) opening: Option<Stage>,
    /// It opened in this life, so this node is a member of it.
    pub(crate) live: bool,
    /// The opened epoch of which only others told this node: its own log, if it has one, says nothing about what was
    /// prepared here in it, so its silence is no evidence. 0 if there is none. Kept in the log with the epoch itself.
    pub(crate) hearsay: u64,
    /// The last stage; counts until a later one.
    pub(crate) staged: Option<Stage>,
    /// The stage is safe in the log (or there is none).
    pub(crate) stage_kept: bool,
    /// The highest number promised to a leader, and the leader.
    pub(crate) promised: u64,
    pub(crate) leader: Option<Peer>,
    /// Takes part in nothing until an epoch opens.
    pub(crate) fenced: bool,
    /// All tables are loaded.
    pub(crate) complete: bool,
    /// Else: which of them are as they were in which epoch.
    pub(crate) whole: BTreeMap<TableId, u64>,
    /// By position, this node's own included.
    pub(crate) peers: Vec<Known>,
    pub(crate) leading: Option<Leading>,
    pub(crate) loading: Option<Loading>,
    pub(crate) serving: Vec<Serving>,
    pub(crate) generations: Generations,
    /// When this node last told all peers where it stands, ns.
    pub(crate) told_ns: u64,
    /// When marks went out last, ns.
    pub(crate) marked_ns: u64,
}

impl Era {
    /// The number of the last opened epoch; 0 if none.
    pub(crate) fn number(&self) -> u64 {
        self.opened.as_ref().map_or(0, |epoch| epoch.number)
    }

    /// Takes part in transactions of the opened epoch.
    pub(crate) fn is_open(&self) -> bool {
        self.live && !self.fenced
    }

    /// The life of a member in the opened epoch. Only where there is one.
    pub(crate) fn life(&self, position: usize) -> Peer {
        self.opened.as_ref().expect("only asked within an opened epoch").members[position]
    }

    /// What this node says of itself.
    pub(crate) fn state(&self) -> State {
        let staged = self.staged.as_ref().filter(|_| self.stage_kept);
        State {
            opened: self.opened.clone(),
            staged: staged.map_or((0, 0), |stage| (stage.epoch.number, stage.epoch.parent)),
            promised: self.promised,
            fenced: self.fenced,
        }
    }
}
