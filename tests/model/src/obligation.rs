//! What must hold in every state, by the numbers of the protocol's obligations, and what must happen in some state, so that
//! a scenario shows something.

use stateright::Property;

use crate::cluster::{Cluster, Desk, Record, each, has};
use crate::scenario::Scenario;

/// An obligation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Obligation {
    /// One membership per number; opened epochs form a chain.
    O1,
    /// Nothing is done for an epoch by who has heard of a later one.
    O2,
    /// What is committed is prepared at every participant, and stays at every copy.
    O3,
    /// No transaction has two outcomes, for members or for callers.
    O4,
    /// What callers see is serializable.
    O5,
    /// And in the order of real time, reads under leases included.
    O6,
    /// No epoch opens while who was excluded holds a lease.
    O7,
    /// When all members are there and nothing is on its way, nothing is in doubt.
    O8,
    /// And all copies are equal, those of joiners included.
    O9,
}

impl Obligation {
    /// All of them.
    pub const ALL: [Obligation; 9] = [
        Obligation::O1,
        Obligation::O2,
        Obligation::O3,
        Obligation::O4,
        Obligation::O5,
        Obligation::O6,
        Obligation::O7,
        Obligation::O8,
        Obligation::O9,
    ];

    /// As stateright names its findings.
    pub fn name(self) -> &'static str {
        match self {
            Obligation::O1 => "O1 one membership per epoch, in a chain",
            Obligation::O2 => "O2 nothing for an epoch behind its fence",
            Obligation::O3 => "O3 committed is prepared at every copy, and stays",
            Obligation::O4 => "O4 one outcome",
            Obligation::O5 => "O5 serializable",
            Obligation::O6 => "O6 in the order of real time",
            Obligation::O7 => "O7 leases are over before an epoch opens",
            Obligation::O8 => "O8 nothing stays in doubt",
            Obligation::O9 => "O9 equal copies",
        }
    }
}

/// Something that a scenario is there to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// A caller hears "committed".
    Committed,
    /// A caller hears "aborted".
    Aborted,
    /// A flush commits what nobody had a record of.
    SettledCommit,
    /// A flush aborts it.
    SettledAbort,
    /// A flush leaves it in doubt.
    Carried,
    /// A second epoch opens.
    Opened,
    /// A joiner takes part.
    Joined,
    /// A reader has read all its keys, and something that was written.
    Read,
    /// All transactions commit.
    AllCommitted,
}

type Condition = fn(&Scenario, &Cluster) -> bool;

/// As stateright wants them.
pub(crate) fn properties(scenario: &Scenario) -> Vec<Property<Scenario>> {
    let unbroken: [(Obligation, Condition); 9] = [
        (Obligation::O1, |_, state| state.broken != Some(Obligation::O1)),
        (Obligation::O2, |_, state| state.broken != Some(Obligation::O2)),
        (Obligation::O3, |scenario, state| {
            state.broken != Some(Obligation::O3) && state.keeps_what_it_told(scenario)
        }),
        (Obligation::O4, |scenario, state| {
            state.broken != Some(Obligation::O4) && state.has_one_outcome(scenario)
        }),
        (Obligation::O5, |_, state| state.broken != Some(Obligation::O5)),
        (Obligation::O6, |scenario, state| {
            state.broken != Some(Obligation::O6) && state.has_versions_in_order(scenario)
        }),
        (Obligation::O7, |_, state| state.broken != Some(Obligation::O7)),
        (Obligation::O8, |scenario, state| !state.is_in_doubt_for_good(scenario)),
        (Obligation::O9, |scenario, state| state.has_equal_copies(scenario)),
    ];
    let always = unbroken.map(|(obligation, holds)| Property::always(obligation.name(), holds));
    always.into_iter().chain(scenario.wanted.iter().map(|sight| sight.property())).collect()
}

impl Sight {
    /// As stateright names its findings.
    pub fn name(self) -> &'static str {
        self.condition().0
    }

    fn property(self) -> Property<Scenario> {
        let (name, seen) = self.condition();
        Property::sometimes(name, seen)
    }

    fn condition(self) -> (&'static str, Condition) {
        match self {
            Sight::Committed => ("committed", |_, s| s.calls.iter().any(|call| call.committed)),
            Sight::Aborted => ("aborted", |_, s| s.calls.iter().any(|call| call.aborted)),
            Sight::SettledCommit => ("a flush commits", |_, s| s.settled[0]),
            Sight::SettledAbort => ("a flush aborts", |_, s| s.settled[1]),
            Sight::Carried => ("a flush leaves it open", |_, s| s.settled[2]),
            Sight::Opened => ("an epoch opens", |_, s| s.opened() > 1),
            Sight::Joined => ("a joiner takes part", |_, s| s.has_joined()),
            Sight::Read => ("a reader sees a write", |_, s| {
                s.readings.iter().any(|one| one.done && one.seen.iter().any(|version| *version > 0))
            }),
            Sight::AllCommitted => ("all transactions commit", |scenario, s| {
                s.calls[..scenario.transactions.len()].iter().all(|call| call.committed)
            }),
        }
    }
}

impl Cluster {
    fn current(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|at| self.is_current(*at))
    }

    fn is_served(&self, key: usize) -> bool {
        self.epoch(self.opened()).home[key] == self.opened()
    }

    fn has_joined(&self) -> bool {
        let epoch = self.epoch(self.opened());
        let before = |at: usize| if epoch.parent == 0 { 0 } else { self.epoch(epoch.parent).members[at] };
        self.current().any(|at| epoch.parent > 0 && before(at) != self.nodes[at].life)
    }

    /// An acknowledged write is applied or prepared at every copy.
    fn keeps_what_it_told(&self, scenario: &Scenario) -> bool {
        let told = (0..scenario.transactions.len()).filter(|tx| self.calls[*tx].committed);
        told.into_iter().all(|tx| {
            self.current().all(|at| {
                let keys = scenario.transactions[tx].writes & scenario.held_by(at);
                let node = &self.nodes[at];
                let mut served = each(keys).filter(|key| self.is_served(*key));
                served.all(|key| node.cells[key].at[tx] > 0 || node.held[tx].is_some())
            })
        })
    }

    /// Who began when another one was over has the later version of what both wrote.
    fn has_versions_in_order(&self, scenario: &Scenario) -> bool {
        let transactions = 0..scenario.transactions.len();
        transactions.into_iter().all(|tx| {
            let before = (0..scenario.transactions.len()).filter(|other| has(self.calls[tx].after, *other));
            before.into_iter().all(|other| {
                let both = scenario.transactions[tx].writes & scenario.transactions[other].writes;
                self.current().all(|at| {
                    let keys = each(both & scenario.held_by(at)).filter(|key| self.is_served(*key));
                    let version = |key: usize, tx: usize| self.nodes[at].cells[key].at[tx];
                    keys.into_iter()
                        .all(|key| version(key, tx) == 0 || version(key, other) < version(key, tx))
                })
            })
        })
    }

    fn has_one_outcome(&self, scenario: &Scenario) -> bool {
        (0..scenario.transactions.len()).all(|tx| {
            let (mut committed, mut aborted, mut chain) = (false, false, None);
            for at in self.current() {
                let mut served = each(scenario.keys_of(tx) & scenario.held_by(at));
                match self.nodes[at].records[tx] {
                    // A former member may remember a timestamp of its own for what it has no part in any more.
                    Record::Committed(ts) if served.any(|key| self.is_served(key)) => {
                        if chain.is_some_and(|other| other != ts) {
                            return false;
                        }
                        (committed, chain) = (true, Some(ts));
                    }
                    Record::Committed(_) => committed = true,
                    Record::Aborted { .. } => aborted = true,
                    Record::None => {}
                }
            }
            let call = &self.calls[tx];
            let both = |told: bool, other: bool| told && other;
            !both(call.committed, aborted) && !both(call.aborted, committed) && !both(aborted, committed)
        })
    }

    /// All members of the last epoch take part and nothing happens by itself any more.
    fn is_at_rest(&self, scenario: &Scenario) -> bool {
        let opened = self.opened();
        let mut steps = Vec::new();
        if opened != self.latest() || !each(self.members(opened)).all(|at| self.is_current(at)) {
            return false;
        }
        self.protocol_steps(scenario, &mut steps);
        steps.is_empty()
    }

    fn is_in_doubt_for_good(&self, scenario: &Scenario) -> bool {
        let doubtful = |at: usize, tx: usize| {
            let served = each(scenario.keys_of(tx)).all(|key| self.is_served(key));
            let node = &self.nodes[at];
            (node.held[tx].is_some() && served) || node.desks[tx] != Desk::Idle
        };
        let mut doubts =
            self.current().flat_map(|at| (0..scenario.transactions.len()).map(move |tx| (at, tx)));
        doubts.any(|(at, tx)| doubtful(at, tx)) && self.is_at_rest(scenario)
    }

    fn has_equal_copies(&self, scenario: &Scenario) -> bool {
        let differ = (0..scenario.holders.len()).filter(|key| self.is_served(*key)).any(|key| {
            let mut copies = self.current().filter(|at| has(scenario.holders[key], *at)).map(|at| {
                let cell = &self.nodes[at].cells[key];
                let newest = cell.newest(u8::MAX);
                (newest, newest.checked_sub(1).map(|tx| cell.at[usize::from(tx)]))
            });
            let first = copies.next();
            copies.any(|copy| Some(copy) != first)
        });
        !differ || !self.is_at_rest(scenario)
    }
}
