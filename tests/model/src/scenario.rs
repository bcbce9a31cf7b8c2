//! What is run and how much may go wrong. A scenario is the model that stateright checks.

use stateright::{Model, Property};

use crate::action::Action;
use crate::cluster::{Cluster, Set, first};
use crate::mutant::Mutant;
use crate::obligation::{Sight, properties};

/// A transaction: reads some keys, then writes some, at one node.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    /// The coordinator.
    pub at: usize,
    /// Keys that it reads, absent ones included: a range is the set of keys that may be in it.
    pub reads: Set,
    /// Keys that it writes.
    pub writes: Set,
}

/// A read-only transaction over some keys, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Where.
    pub at: usize,
    /// Which keys.
    pub keys: &'static [usize],
}

/// How much may go wrong, in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Processes that end.
    pub crashes: u8,
    /// Processes that start again.
    pub restarts: u8,
    /// Members that are excluded, dead or not.
    pub exclusions: u8,
    /// Nodes that join.
    pub joins: u8,
    /// Votes that a coordinator stops waiting for.
    pub timeouts: u8,
    /// Connections that are reset.
    pub resets: u8,
    /// Leaders of the control plane that are elected.
    pub elections: u8,
    /// Questions about an outcome.
    pub questions: u8,
    /// Outcomes that are forgotten.
    pub forgets: u8,
}

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What people call it.
    pub name: &'static str,
    /// Nodes, at most [`NODES`](crate::cluster::NODES); all are members of the first epoch unless they are witnesses.
    pub nodes: usize,
    /// Nodes that vote in the control plane.
    pub voters: Set,
    /// Nodes without data.
    pub witnesses: Set,
    /// Per key, who has a copy.
    pub holders: &'static [Set],
    /// What is run.
    pub transactions: &'static [Transaction],
    /// What is read.
    pub reads: &'static [Read],
    /// What may go wrong.
    pub faults: Faults,
    /// The length of a lease in ticks. 0: leases are ideal, a node has one exactly until its exclusion is decided.
    pub lease: u8,
    /// Whether a process that starts again has what it had.
    pub discs: bool,
    /// Readers without a lease ask a majority whether it has left the epoch.
    pub asks: bool,
    /// What is planted.
    pub mutant: Option<Mutant>,
    /// What must happen in some state, or the scenario shows nothing.
    pub wanted: &'static [Sight],
}

impl Scenario {
    /// Three nodes with copies of everything, nothing run, nothing wrong.
    pub const CALM: Scenario = Scenario {
        name: "calm",
        nodes: 3,
        voters: 0b111,
        witnesses: 0,
        holders: &[0b111, 0b111],
        transactions: &[],
        reads: &[],
        faults: Faults {
            crashes: 0,
            restarts: 0,
            exclusions: 0,
            joins: 0,
            timeouts: 0,
            resets: 0,
            elections: 0,
            questions: 0,
            forgets: 0,
        },
        lease: 0,
        discs: false,
        asks: false,
        mutant: None,
        wanted: &[],
    };

    /// Whether this one is planted.
    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The keys that a transaction touches.
    pub(crate) fn keys_of(&self, tx: usize) -> Set {
        self.transactions[tx].reads | self.transactions[tx].writes
    }

    /// The keys that a node has a copy of.
    pub(crate) fn held_by(&self, node: usize) -> Set {
        let keys = self.holders.iter().enumerate();
        keys.filter(|(_, holders)| **holders >> node & 1 == 1).fold(0, |set, (key, _)| set | 1 << key)
    }

    /// The nodes with a copy of any of these keys.
    pub(crate) fn holders_of(&self, keys: Set) -> Set {
        crate::cluster::each(keys).fold(0, |set, key| set | self.holders[key])
    }

    /// The nodes with data.
    pub(crate) fn data(&self) -> Set {
        first(self.nodes) & !self.witnesses
    }
}

impl Model for Scenario {
    type State = Cluster;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster> {
        vec![Cluster::new(self)]
    }

    fn actions(&self, state: &Cluster, actions: &mut Vec<Action>) {
        if state.broken.is_none() {
            state.possible(self, actions);
        }
    }

    fn next_state(&self, last: &Cluster, action: Action) -> Option<Cluster> {
        let mut state = last.clone();
        state.act(self, action);
        state.tidy(self);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Scenario>> {
        properties(self)
    }
}
