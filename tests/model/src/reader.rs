//! Read-only transactions: a snapshot at the node's clock, and keys one after another, each under a lease that is looked at
//! when the row has been fetched. They send nothing.

use crate::cluster::{Cluster, Reading, each};
use crate::mutant::Mutant;
use crate::obligation::Obligation;
use crate::scenario::Scenario;

impl Cluster {
    /// Whether a node may show rows, as far as it knows.
    fn serves(&self, scenario: &Scenario, at: usize) -> bool {
        let node = &self.nodes[at];
        let early = scenario.has(Mutant::JoinerServesEarly)
            && node.up
            && !node.live
            && node.fence == self.latest()
            && self.is_member(self.latest(), at);
        early
            || (node.is_open() && (self.has_lease(scenario, at) || self.is_told_by_a_majority(scenario, at)))
    }

    fn has_lease(&self, scenario: &Scenario, at: usize) -> bool {
        match scenario.lease {
            // From the epoch that it is in on, nobody has decided to exclude it.
            0 => {
                !scenario.asks
                    && (self.nodes[at].epoch..=self.latest()).all(|epoch| self.is_member(epoch, at))
            }
            _ => self.nodes[at].lease > 0,
        }
    }

    /// A majority of the voters has nothing about a later epoch in its log: none was agreed on before the row was fetched.
    fn is_told_by_a_majority(&self, scenario: &Scenario, at: usize) -> bool {
        if !scenario.asks {
            return false;
        }
        let epoch = self.nodes[at].epoch;
        let members = scenario.has(Mutant::MembersAskedForVoters);
        let asked = if members { self.members(epoch) } else { scenario.voters };
        let stays = |other: &usize| {
            let node = &self.nodes[*other];
            node.up && if members { node.fence <= epoch } else { node.knows.max(node.fence) <= epoch }
        };
        each(asked).filter(stays).count() * 2 > asked.count_ones() as usize
    }

    pub(crate) fn may_look(&self, scenario: &Scenario, read: usize) -> bool {
        !self.readings[read].begun && self.serves(scenario, scenario.reads[read].at)
    }

    pub(crate) fn look(&mut self, scenario: &Scenario, read: usize) {
        let node = &self.nodes[scenario.reads[read].at];
        let (life, snapshot) = (node.life, node.clock);
        let after = self.over(scenario);
        self.readings[read] = Reading { begun: true, life, snapshot, after, ..Reading::default() };
    }

    /// A mark that was proposed at or below the snapshot is waited for.
    pub(crate) fn may_fetch(&self, scenario: &Scenario, read: usize) -> bool {
        let reading = &self.readings[read];
        let one = &scenario.reads[read];
        let node = &self.nodes[one.at];
        if !reading.begun || reading.done || node.life != reading.life || !self.serves(scenario, one.at) {
            return false;
        }
        let key = one.keys[usize::from(reading.read)];
        if !scenario.has(Mutant::JoinerServesEarly) && self.epoch(node.epoch).home[key] != node.epoch {
            return false;
        }
        let mark = node.cells[key].mark.and_then(|tx| node.held[usize::from(tx)]);
        mark.is_none_or(|proposed| proposed > reading.snapshot)
    }

    /// Reads one key. A commit above the snapshot that was proposed at or below it moves the snapshot up, and what was read
    /// before is read again.
    pub(crate) fn fetch(&mut self, scenario: &Scenario, read: usize) {
        let one = &scenario.reads[read];
        let node = &self.nodes[one.at];
        if node.fence > node.epoch && !scenario.has(Mutant::JoinerServesEarly) {
            self.break_off(Obligation::O2);
        }
        let node = &self.nodes[one.at];
        let mut reading = self.readings[read];
        let key = one.keys[usize::from(reading.read)];
        let cell = node.cells[key];
        let late = cell
            .at
            .iter()
            .zip(cell.proposed)
            .filter(|(at, proposed)| **at > reading.snapshot && *proposed <= reading.snapshot);
        let late = late.map(|(at, _)| *at).max().filter(|_| !scenario.has(Mutant::VisibleMarksOnly));
        if let Some(later) = late {
            (reading.snapshot, reading.read, reading.seen) = (later, 0, Default::default());
        } else {
            reading.seen[key] = cell.newest(reading.snapshot);
            reading.read += 1;
            reading.done = usize::from(reading.read) == one.keys.len();
        }
        self.readings[read] = reading;
        if reading.done {
            self.check_history(scenario);
        }
    }

    /// The process that ran them is gone, or it comes back as a joiner: its rows then carry other timestamps than before, and
    /// a snapshot from before means nothing.
    pub(crate) fn end_readings(&mut self, scenario: &Scenario, at: usize) {
        for (read, _) in scenario.reads.iter().enumerate().filter(|(_, one)| one.at == at) {
            if self.readings[read].begun && !self.readings[read].done {
                self.readings[read] = Reading { begun: true, ..Reading::default() };
            }
        }
    }
}
