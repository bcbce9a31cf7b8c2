//! The control plane: a register that a majority of the voters agrees on, whose leaders change, and the leases that its
//! leaders grant. A leader that was cut off does not know it; what it may still grant ends one lease after the last round
//! that a majority acknowledged in its term.

use crate::action::Action;
use crate::cluster::{Cluster, Epoch, Lead, NODES, Set, each, first, has};
use crate::mutant::Mutant;
use crate::scenario::Scenario;

impl Cluster {
    fn has_majority(&self, scenario: &Scenario) -> bool {
        let up = each(scenario.voters).filter(|at| self.nodes[*at].up).count();
        up * 2 > scenario.voters.count_ones() as usize
    }

    /// Whether the leader may exclude a member.
    pub(crate) fn may_exclude(&self, scenario: &Scenario, at: usize) -> bool {
        let latest = self.epoch(self.latest());
        let parent = self.epoch(self.opened());
        let stays = |other: usize| other != at && latest.members[other] > 0;
        let survivor = (0..NODES).any(|other| stays(other) && latest.members[other] == parent.members[other]);
        latest.members[at] > 0
            && survivor
            && self.has_majority(scenario)
            && (scenario.lease == 0 || self.leases_are_over(scenario, at))
    }

    fn leases_are_over(&self, scenario: &Scenario, at: usize) -> bool {
        let leader = &self.nodes[usize::from(self.leader)];
        let over = |lead: &Lead| {
            let granted = lead.granted[at] == 0 || scenario.has(Mutant::ExcludedBeforeItsLease);
            granted && (lead.waits == 0 || scenario.has(Mutant::NewLeaderExcludesAtOnce))
        };
        leader.up && leader.lead.as_ref().is_some_and(over)
    }

    /// With each majority of voters that may have the decision in its log first. Only readers that ask care.
    pub(crate) fn ways_to_exclude(&self, scenario: &Scenario, at: usize, actions: &mut Vec<Action>) {
        if !scenario.asks {
            actions.push(Action::Exclude(at, 0));
            return;
        }
        let voters = scenario.voters;
        let majority = voters.count_ones() / 2 + 1;
        let up = |set: Set| each(set).all(|at| self.nodes[at].up);
        let sets = (0..=first(self.nodes.len())).filter(|set| set & !voters == 0 && up(*set));
        actions.extend(sets.filter(|set| set.count_ones() == majority).map(|set| Action::Exclude(at, set)));
    }

    pub(crate) fn exclude(&mut self, at: usize, knowing: Set) {
        self.left.exclusions -= 1;
        let mut members = self.epoch(self.latest()).members;
        members[at] = 0;
        for (joiner, node) in self.nodes.iter().enumerate() {
            let source = node.copy.map(|copy| usize::from(copy.source));
            if members[joiner] == node.life && source == Some(at) {
                members[joiner] = 0;
            }
        }
        self.agree(members);
        let latest = self.latest();
        each(knowing).for_each(|voter| self.nodes[voter].knows = latest);
    }

    fn agree(&mut self, members: [u8; NODES]) {
        let parent = self.opened();
        let home = self.epoch(parent).home;
        self.epochs.push(Epoch { members, parent, open: false, stamp: 0, home });
        let latest = self.latest();
        self.nodes[usize::from(self.leader)].knows = latest;
    }

    /// Whether a joiner that has its copies can be taken in: its source asks for it, since the joiner may have missed an epoch. One whose keys are all its own has nothing to copy.
    pub(crate) fn may_include(&self, scenario: &Scenario, at: usize) -> bool {
        let node = &self.nodes[at];
        let opened = self.opened();
        let outside = node.up && !self.is_member(self.latest(), at) && self.latest() == opened;
        let served = each(scenario.held_by(at)).any(|key| self.epoch(opened).home[key] == opened);
        let whole = match node.copy {
            None => !served && node.epoch > 0,
            Some(copy) => {
                let source = usize::from(copy.source);
                let feeds = has(self.nodes[source].feeds, at);
                feeds && copy.tailing && self.is_current(source) && self.nodes[source].life == copy.life
            }
        };
        outside && whole && self.has_majority(scenario)
    }

    pub(crate) fn include(&mut self, scenario: &Scenario, at: usize) {
        self.left.joins -= 1;
        let mut members = self.epoch(self.latest()).members;
        members[at] = self.nodes[at].life;
        self.nodes[at].live = false;
        self.end_readings(scenario, at);
        self.agree(members);
    }

    /// Whether nobody is left of the last opened epoch, and somebody is back whose log has all of it.
    pub(crate) fn may_recover(&self, scenario: &Scenario) -> bool {
        let opened = self.epoch(self.opened());
        let left = (0..self.nodes.len()).any(|at| {
            opened.members[at] > 0 && self.nodes[at].life == opened.members[at] && self.nodes[at].up
        });
        let again =
            (0..self.nodes.len()).any(|at| self.epoch(self.latest()).members[at] == self.nodes[at].life);
        scenario.discs && !left && !again && self.has_majority(scenario) && self.who_knows(scenario) > 0
    }

    fn who_knows(&self, scenario: &Scenario) -> Set {
        let opened = self.opened();
        let knows = |at: &usize| {
            let node = &self.nodes[*at];
            let staged = node.stage.is_some_and(|stage| stage.epoch == opened);
            let was = self.epoch(opened).members[*at] > 0;
            node.up && was && (node.epoch == opened || staged)
        };
        each(scenario.data()).filter(knows).fold(0, |set, at| set | 1 << at)
    }

    pub(crate) fn recover(&mut self, scenario: &Scenario) {
        self.left.joins -= 1;
        let mut members = [0; NODES];
        each(self.who_knows(scenario)).for_each(|at| members[at] = self.nodes[at].life);
        self.agree(members);
    }

    pub(crate) fn lease_steps(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        let counts = |lead: &Lead| lead.authority + lead.waits + lead.granted.iter().max().unwrap_or(&0);
        let counting = |at: usize| {
            let node = &self.nodes[at];
            node.lease + node.request + node.lead.as_ref().map_or(0, counts) > 0
        };
        if (0..self.nodes.len()).any(counting) {
            actions.push(Action::Tick);
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if !node.up {
                continue;
            }
            let leads = node.lead.as_ref().is_some_and(|lead| lead.term == self.term);
            let fresh = node.lead.as_ref().is_some_and(|lead| lead.authority == scenario.lease);
            if leads && !fresh && self.has_majority(scenario) {
                actions.push(Action::Round(at));
            }
            if node.is_open() && node.lease < scenario.lease && node.request < scenario.lease {
                actions.push(Action::Request(at));
            }
            if node.lead.is_some() {
                let asking = (0..self.nodes.len()).filter(|to| self.may_grant(at, *to));
                actions.extend(asking.map(|to| Action::Grant(at, to)));
            }
            if self.left.elections > 0 && has(scenario.voters, at) && usize::from(self.leader) != at {
                actions.push(Action::Elect(at));
            }
        }
    }

    /// A leader grants to members of the last epoch it knows; one that still leads knows the last one.
    fn may_grant(&self, from: usize, to: usize) -> bool {
        let leads = usize::from(self.leader) == from;
        let one = &self.nodes[from];
        let known = if leads { self.latest() } else { one.fence.max(one.knows) };
        self.nodes[to].request > 0 && self.nodes[to].up && self.is_member(known, to)
    }

    pub(crate) fn grant(&mut self, scenario: &Scenario, from: usize, to: usize) {
        let asked = std::mem::take(&mut self.nodes[to].request);
        let Some(lead) = &mut self.nodes[from].lead else { return };
        let lease = if scenario.has(Mutant::CutOffLeaderGrants) { asked } else { asked.min(lead.authority) };
        lead.granted[to] = lead.granted[to].max(lease);
        self.nodes[to].lease = self.nodes[to].lease.max(lease);
    }

    pub(crate) fn round(&mut self, scenario: &Scenario, at: usize) {
        if let Some(lead) = &mut self.nodes[at].lead {
            lead.authority = scenario.lease;
        }
    }

    pub(crate) fn elect(&mut self, scenario: &Scenario, at: usize) {
        self.left.elections -= 1;
        self.term += 1;
        self.leader = at as u8;
        let lead = Lead { term: self.term, authority: 0, waits: scenario.lease, granted: [0; NODES] };
        self.nodes[at].lead = Some(lead);
        // Everything agreed on before is in its log; it grants nothing before it has applied it.
        self.nodes[at].knows = self.latest();
    }

    pub(crate) fn tick(&mut self) {
        for node in &mut self.nodes {
            node.lease = node.lease.saturating_sub(1);
            node.request = node.request.saturating_sub(1);
            if let Some(lead) = &mut node.lead {
                lead.authority = lead.authority.saturating_sub(1);
                lead.waits = lead.waits.saturating_sub(1);
                lead.granted = lead.granted.map(|ticks| ticks.saturating_sub(1));
            }
        }
    }
}
