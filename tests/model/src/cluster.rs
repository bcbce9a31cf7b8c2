//! A state of the model: nodes, what is on its way between them, the control plane, and what callers have seen. Times are
//! small numbers; a version is named by the transaction that wrote it. Some fields exist for the obligations only and are
//! read by no node: they are marked as ghosts.

use crate::mutant::Mutant;
use crate::obligation::Obligation;
use crate::scenario::{Faults, Scenario};

/// Most nodes.
pub const NODES: usize = 4;
/// Most transactions.
pub const TXS: usize = 4;
/// Most keys.
pub const KEYS: usize = 3;
/// Most read-only transactions.
pub const READS: usize = 3;

/// A set of nodes, keys or transactions, one bit each.
pub type Set = u8;
/// A point of the hybrid logical clock.
pub type Ts = u8;
/// The number of an epoch, from 1.
pub type Number = u8;

/// The first `count`.
pub const fn first(count: usize) -> Set {
    ((1_u16 << count) - 1) as Set
}

/// The members of a set, from the lowest.
pub fn each(set: Set) -> impl Iterator<Item = usize> {
    (0..8).filter(move |at| set >> at & 1 == 1)
}

/// Whether it is in the set.
pub const fn has(set: Set, at: usize) -> bool {
    set >> at & 1 == 1
}

/// One key at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cell {
    /// When each transaction's version was committed; 0: not here.
    pub at: [Ts; TXS],
    /// What was proposed for it here.
    pub proposed: [Ts; TXS],
    /// The transaction whose mark stands here.
    pub mark: Option<u8>,
    /// The prepared transactions that have read it.
    pub shared: Set,
}

impl Cell {
    /// The newest version at or below a time: the transaction, counted from 1, or 0 for the row as it was at first.
    pub fn newest(&self, upto: Ts) -> u8 {
        let mut newest = (0, 0);
        for (tx, at) in self.at.iter().enumerate().filter(|(_, at)| **at > 0 && **at <= upto) {
            newest = newest.max((*at, tx as u8 + 1));
        }
        newest.1
    }
}

/// What a node remembers of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Record {
    /// Nothing.
    #[default]
    None,
    /// Committed, when.
    Committed(Ts),
    /// Aborted, and whether whoever asks may hear it.
    Aborted {
        /// It may be told.
        sayable: bool,
    },
}

/// What a coordinator does with a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Desk {
    /// Nothing, or no longer anything.
    #[default]
    Idle,
    /// Waits for votes.
    Voting {
        /// Whose.
        missing: Set,
        /// The largest proposal so far.
        ts: Ts,
    },
    /// Waits for aborts to be recorded.
    Aborting {
        /// Whose.
        missing: Set,
    },
}

/// What a flush says of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Nobody reported it.
    #[default]
    None,
    /// It is committed.
    Commit(Ts),
    /// It is aborted.
    Abort,
    /// Only who is not here can say: it stays in doubt.
    Carry,
}

/// What an epoch begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stage {
    /// Which one.
    pub epoch: Number,
    /// Per transaction.
    pub decisions: [Decision; TXS],
    /// Above all clocks reported.
    pub stamp: Ts,
    /// Per key, the last epoch in which it was served, this one if it is.
    pub home: [Number; KEYS],
}

/// What a member says when it is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Report {
    /// What it has prepared.
    pub prepared: Set,
    /// What it remembers.
    pub records: [Record; TXS],
    /// Its clock.
    pub clock: Ts,
    /// The keys that it speaks for: those it has a copy of that was in the last epoch in which the key was served.
    pub speaks: Set,
    /// It is a survivor.
    pub survivor: bool,
    /// Transactions that it coordinates and has not decided. While it is fenced it never will.
    pub undecided: Set,
}

/// A flush that a node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flush {
    /// The epoch that is to be.
    pub epoch: Number,
    /// What has been reported.
    pub reports: [Option<Report>; NODES],
    /// It has been decided.
    pub decided: bool,
    /// Who has staged it.
    pub staged: Set,
}

/// A joiner's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copying {
    /// Whom from.
    pub source: u8,
    /// In which life.
    pub life: u8,
    /// The rows are here; commits follow.
    pub tailing: bool,
    /// The epoch up to whose fence everything is here.
    pub ended: Number,
}

/// What a node believes that leads, or led, the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lead {
    /// Its term.
    pub term: u8,
    /// Ticks until a lease from the last round that a majority acknowledged is over.
    pub authority: u8,
    /// Ticks in which it excludes nobody.
    pub waits: u8,
    /// Ticks until the last lease of each node is over.
    pub granted: [u8; NODES],
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its process runs.
    pub up: bool,
    /// Which process it is.
    pub life: u8,
    /// Its clock.
    pub clock: Ts,
    /// The last epoch that it knows to have opened with it.
    pub epoch: Number,
    /// It is in it, in this life.
    pub live: bool,
    /// The highest epoch that it has heard of. Above `epoch` it is fenced.
    pub fence: Number,
    /// The highest epoch in its log of the control plane, as a voter.
    pub knows: Number,
    /// By key.
    pub cells: [Cell; KEYS],
    /// By key: the last epoch in which this copy was served.
    pub as_of: [Number; KEYS],
    /// By transaction: prepared here, and proposed what.
    pub held: [Option<Ts>; TXS],
    /// By transaction.
    pub records: [Record; TXS],
    /// By transaction.
    pub desks: [Desk; TXS],
    /// What it has staged.
    pub stage: Option<Stage>,
    /// What it leads.
    pub flush: Option<Box<Flush>>,
    /// What it loads.
    pub copy: Option<Copying>,
    /// Who gets every commit from it.
    pub feeds: Set,
    /// Ticks of its lease.
    pub lease: u8,
    /// Ticks since it asked for one, counted down from a lease.
    pub request: u8,
    /// What it believes to lead.
    pub lead: Option<Lead>,
}

impl Node {
    /// It takes part in an epoch.
    pub fn is_open(&self) -> bool {
        self.up && self.live && self.fence == self.epoch
    }
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// To a participant.
    Prepare(Number, u8),
    /// Yes at a proposal, or no.
    Vote(Number, u8, Option<Ts>),
    /// Committed.
    Commit(Number, u8, Ts),
    /// To be aborted.
    Abort(Number, u8),
    /// The abort is recorded.
    Recorded(Number, u8),
    /// To the leader of a flush.
    Report(Number, Report),
    /// From the leader of a flush.
    Stage(Stage),
    /// It is kept.
    Staged(Number),
    /// A copy: versions, from which time on, and what is remembered.
    Rows([Cell; KEYS], Ts, [Record; TXS]),
    /// A commit behind a copy.
    Tail(u8, Ts),
    /// Nothing follows before this epoch.
    TailEnd(Number),
}

/// One membership, as the control plane has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The life of each member, counted from 1; 0: not a member.
    pub members: [u8; NODES],
    /// The opened epoch before it.
    pub parent: Number,
    /// It was opened.
    pub open: bool,
    /// What it was opened with.
    pub stamp: Ts,
    /// Per key, the last epoch in which it was served, this one if it is.
    pub home: [Number; KEYS],
}

/// What a caller knows, and ghosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Call {
    /// It was begun.
    pub begun: bool,
    /// Heard "committed".
    pub committed: bool,
    /// Heard "aborted".
    pub aborted: bool,
    /// The version that was read of each key.
    pub seen: [u8; KEYS],
    /// Ghost: what was over before it began, transactions first, then reads.
    pub after: Set,
}

/// A read-only transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    /// It was begun.
    pub begun: bool,
    /// Keys read so far.
    pub read: u8,
    /// All keys were read.
    pub done: bool,
    /// The process it runs in.
    pub life: u8,
    /// Its snapshot.
    pub snapshot: Ts,
    /// The version that was read of each key.
    pub seen: [u8; KEYS],
    /// Ghost, as in [`Call`].
    pub after: Set,
}

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// By position.
    pub nodes: Vec<Node>,
    /// By sender and receiver.
    pub links: Vec<Vec<Message>>,
    /// The control plane: every epoch that was agreed on; number 1 is the first.
    pub epochs: Vec<Epoch>,
    /// Its term, and who leads it.
    pub term: u8,
    /// See `term`.
    pub leader: u8,
    /// By transaction.
    pub calls: [Call; TXS],
    /// By read.
    pub readings: [Reading; READS],
    /// What may still go wrong.
    pub left: Faults,
    /// Ghost: what was broken by the last step.
    pub broken: Option<Obligation>,
    /// Ghost: decisions without a record that were opened: commits, aborts, carried.
    pub settled: [bool; 3],
}

impl Cluster {
    /// All members in the first epoch, which is open.
    pub fn new(scenario: &Scenario) -> Cluster {
        assert!(scenario.nodes <= NODES && scenario.transactions.len() <= TXS, "too many for the model");
        assert!(scenario.holders.len() <= KEYS && scenario.reads.len() <= READS, "too many for the model");
        let lead = Lead { term: 1, authority: scenario.lease, waits: 0, granted: [scenario.lease; NODES] };
        let node = |at: usize| Node {
            up: true,
            life: 1,
            epoch: 1,
            fence: 1,
            knows: 1,
            live: has(scenario.data(), at),
            as_of: [1; KEYS],
            lease: scenario.lease,
            lead: (at == 0).then_some(lead),
            ..Node::default()
        };
        let mut members = [0; NODES];
        each(scenario.data()).for_each(|at| members[at] = 1);
        let first = Epoch { members, parent: 0, open: true, stamp: 0, home: [1; KEYS] };
        Cluster {
            nodes: (0..scenario.nodes).map(node).collect(),
            links: vec![Vec::new(); scenario.nodes * scenario.nodes],
            epochs: vec![first],
            term: 1,
            leader: 0,
            calls: Default::default(),
            readings: Default::default(),
            left: scenario.faults,
            broken: None,
            settled: [false; 3],
        }
    }

    /// An epoch by its number.
    pub fn epoch(&self, number: Number) -> &Epoch {
        &self.epochs[usize::from(number) - 1]
    }

    /// The number of the last epoch that was agreed on.
    pub fn latest(&self) -> Number {
        self.epochs.len() as Number
    }

    /// The number of the last epoch that was opened.
    pub fn opened(&self) -> Number {
        let open = self.epochs.iter().rposition(|epoch| epoch.open).expect("the first one is");
        open as Number + 1
    }

    /// Whether a node is a member of an epoch in its present life.
    pub fn is_member(&self, number: Number, at: usize) -> bool {
        self.epoch(number).members[at] == self.nodes[at].life
    }

    /// The members of an epoch, in whatever life.
    pub fn members(&self, number: Number) -> Set {
        let members = self.epoch(number).members.iter().enumerate();
        members.filter(|(_, life)| **life > 0).fold(0, |set, (at, _)| set | 1 << at)
    }

    /// Whether a node takes part in the last epoch that was opened.
    pub fn is_current(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.up && node.live && node.epoch == self.opened() && self.is_member(node.epoch, at)
    }

    /// Puts a message on its way; to itself it is there at once.
    pub(crate) fn send(&mut self, scenario: &Scenario, from: usize, to: usize, message: Message) {
        if from == to {
            self.take(scenario, from, to, message);
        } else {
            let link = from * self.nodes.len() + to;
            self.links[link].push(message);
        }
    }

    /// Takes away what cannot have an effect any more, so that states that differ in nothing else are one.
    pub(crate) fn tidy(&mut self, scenario: &Scenario) {
        let latest = self.latest();
        let early = scenario.has(Mutant::DecisionsBeforeOpening);
        let records_late = scenario.has(Mutant::FenceForgetsAborts);
        let nodes = self.nodes.len();
        for (link, messages) in self.links.iter_mut().enumerate() {
            let to = &self.nodes[link % nodes];
            messages.retain(|message| match message {
                Message::Abort(epoch, _) if records_late => to.up && *epoch == to.epoch,
                Message::Prepare(epoch, _)
                | Message::Vote(epoch, ..)
                | Message::Commit(epoch, ..)
                | Message::Abort(epoch, _)
                | Message::Recorded(epoch, _) => to.up && to.live && *epoch >= to.fence,
                Message::Stage(stage) => to.up && (stage.epoch == latest || early),
                Message::Report(epoch, _) | Message::Staged(epoch) | Message::TailEnd(epoch) => {
                    to.up && *epoch == latest
                }
                Message::Rows(..) | Message::Tail(..) => to.up && to.copy.is_some(),
            });
        }
        for at in 0..nodes {
            let node = &self.nodes[at];
            let void = |epoch: Number| epoch < latest && !self.epochs[usize::from(epoch) - 1].open;
            if node.stage.is_some_and(|stage| void(stage.epoch)) {
                self.nodes[at].stage = None;
            }
            let node = &mut self.nodes[at];
            node.flush = node.flush.take().filter(|flush| flush.epoch == latest);
        }
    }

    pub(crate) fn break_off(&mut self, obligation: Obligation) {
        self.broken.get_or_insert(obligation);
    }
}
