//! What can happen next: a message arrives, a caller does something, something goes wrong, the control plane decides, time
//! passes. Each is one step.

use crate::cluster::{Cluster, Desk, Message, Set, each, has};
use crate::mutant::Mutant;
use crate::scenario::Scenario;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The next message from one node to another arrives.
    Deliver(usize, usize),
    /// A transaction has read and prepares.
    Begin(usize),
    /// A coordinator stops waiting for votes.
    TimeOut(usize),
    /// Somebody asks a node about a transaction.
    Question(usize, usize),
    /// A node forgets an outcome.
    Forget(usize, usize),
    /// A read-only transaction takes its snapshot.
    Look(usize),
    /// It reads its next key.
    Fetch(usize),
    /// A process ends.
    Crash(usize),
    /// And starts again.
    Restart(usize),
    /// A connection is reset.
    Reset(usize, usize),
    /// The control plane agrees on an epoch without this member. Some voters have it in their log at once.
    Exclude(usize, Set),
    /// The control plane agrees on an epoch of those whose logs know the last one, when no process of it is left.
    Recover,
    /// A node begins to copy from another one.
    Copy(usize, usize),
    /// The control plane agrees on an epoch with this joiner.
    Include(usize),
    /// A node hears of the last epoch agreed on.
    Fence(usize),
    /// The leader of a flush records its epoch as open.
    Open(usize),
    /// A node hears that what it staged is open.
    Enter(usize),
    /// Time passes.
    Tick,
    /// A majority acknowledges the leader of the control plane.
    Round(usize),
    /// A node asks for a lease.
    Request(usize),
    /// A leader, or who takes itself for one, grants it.
    Grant(usize, usize),
    /// Somebody else leads the control plane.
    Elect(usize),
}

impl Cluster {
    /// What can happen in this state.
    pub(crate) fn possible(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        self.protocol_steps(scenario, actions);
        self.caller_steps(scenario, actions);
        self.faults(scenario, actions);
        if scenario.lease > 0 {
            self.lease_steps(scenario, actions);
        }
    }

    /// What happens by itself as long as processes run and messages arrive.
    pub(crate) fn protocol_steps(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                if self.is_deliverable(from, to) {
                    actions.push(Action::Deliver(from, to));
                }
            }
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            if !node.up || has(scenario.witnesses, at) {
                continue;
            }
            if node.fence < self.latest() {
                actions.push(Action::Fence(at));
            }
            if node.stage.is_some_and(|stage| self.epoch(stage.epoch).open && node.epoch < stage.epoch) {
                actions.push(Action::Enter(at));
            }
            if self.may_open(at) {
                actions.push(Action::Open(at));
            }
        }
    }

    /// A message of a flush waits for a receiver that has not heard of the epoch.
    fn is_deliverable(&self, from: usize, to: usize) -> bool {
        let Some(message) = self.links[from * self.nodes.len() + to].first() else { return false };
        let early = match message {
            Message::Report(epoch, _) => self.nodes[to].fence < *epoch,
            Message::Stage(stage) => self.nodes[to].fence < stage.epoch,
            _ => false,
        };
        self.nodes[to].up && !early
    }

    fn caller_steps(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        for tx in 0..scenario.transactions.len() {
            if self.may_begin(scenario, tx) {
                actions.push(Action::Begin(tx));
            }
            let at = scenario.transactions[tx].at;
            let votes = matches!(self.nodes[at].desks[tx], Desk::Voting { .. });
            if self.left.timeouts > 0 && votes && self.nodes[at].is_open() {
                actions.push(Action::TimeOut(tx));
            }
            let open = self.calls[tx].begun && !self.calls[tx].committed && !self.calls[tx].aborted;
            if self.left.questions > 0 && open {
                let up = (0..self.nodes.len()).filter(|at| self.nodes[*at].up);
                actions.extend(up.map(|at| Action::Question(at, tx)));
            }
            if self.left.forgets > 0 {
                let may = (0..self.nodes.len()).filter(|at| self.may_forget(scenario, *at, tx));
                actions.extend(may.map(|at| Action::Forget(at, tx)));
            }
        }
        for read in 0..scenario.reads.len() {
            if self.may_look(scenario, read) {
                actions.push(Action::Look(read));
            }
            if self.may_fetch(scenario, read) {
                actions.push(Action::Fetch(read));
            }
        }
    }

    fn faults(&self, scenario: &Scenario, actions: &mut Vec<Action>) {
        for at in each(scenario.data()) {
            let node = &self.nodes[at];
            if self.left.crashes > 0 && node.up {
                actions.push(Action::Crash(at));
            }
            if self.left.restarts > 0 && !node.up {
                actions.push(Action::Restart(at));
            }
            if self.left.exclusions > 0 && self.may_exclude(scenario, at) {
                self.ways_to_exclude(scenario, at, actions);
            }
            if self.left.joins > 0 {
                let sources = (0..self.nodes.len()).filter(|source| self.may_copy(scenario, at, *source));
                actions.extend(sources.map(|source| Action::Copy(at, source)));
                if self.may_include(scenario, at) {
                    actions.push(Action::Include(at));
                }
            }
        }
        if self.left.joins > 0 && self.may_recover(scenario) {
            actions.push(Action::Recover);
        }
        if self.left.resets > 0 && scenario.has(Mutant::ResetLosesMessages) {
            for from in 0..self.nodes.len() {
                for to in 0..self.nodes.len() {
                    if !self.links[from * self.nodes.len() + to].is_empty() {
                        actions.push(Action::Reset(from, to));
                    }
                }
            }
        }
    }

    /// Takes a step.
    pub(crate) fn act(&mut self, scenario: &Scenario, action: Action) {
        match action {
            Action::Deliver(from, to) => {
                let link = from * self.nodes.len() + to;
                let message = self.links[link].remove(0);
                self.take(scenario, from, to, message);
            }
            Action::Begin(tx) => self.begin(scenario, tx),
            Action::TimeOut(tx) => self.time_out(scenario, tx),
            Action::Question(at, tx) => self.question(scenario, at, tx),
            Action::Forget(at, tx) => self.forget(at, tx),
            Action::Look(read) => self.look(scenario, read),
            Action::Fetch(read) => self.fetch(scenario, read),
            Action::Crash(at) => self.crash(scenario, at),
            Action::Restart(at) => self.restart(scenario, at),
            Action::Reset(from, to) => {
                self.left.resets -= 1;
                let link = from * self.nodes.len() + to;
                self.links[link].clear();
            }
            Action::Exclude(at, knowing) => self.exclude(at, knowing),
            Action::Recover => self.recover(scenario),
            Action::Copy(at, source) => self.copy(scenario, at, source),
            Action::Include(at) => self.include(scenario, at),
            Action::Fence(at) => self.fence(scenario, at),
            Action::Open(at) => self.open(at),
            Action::Enter(at) => self.enter(scenario, at),
            Action::Tick => self.tick(),
            Action::Round(at) => self.round(scenario, at),
            Action::Request(at) => self.nodes[at].request = scenario.lease,
            Action::Grant(from, to) => self.grant(scenario, from, to),
            Action::Elect(at) => self.elect(scenario, at),
        }
    }

    /// A message has arrived.
    pub(crate) fn take(&mut self, scenario: &Scenario, from: usize, to: usize, message: Message) {
        match message {
            Message::Prepare(epoch, tx) => self.on_prepare(scenario, from, to, epoch, tx),
            Message::Vote(epoch, tx, vote) => self.on_vote(scenario, from, to, epoch, tx, vote),
            Message::Commit(epoch, tx, ts) => self.on_commit(scenario, to, epoch, tx, ts),
            Message::Abort(epoch, tx) => self.on_abort(scenario, from, to, epoch, tx),
            Message::Recorded(epoch, tx) => self.on_recorded(from, to, epoch, tx),
            Message::Report(epoch, report) => self.on_report(scenario, from, to, epoch, report),
            Message::Stage(stage) => self.on_stage(scenario, from, to, stage),
            Message::Staged(epoch) => self.on_staged(from, to, epoch),
            Message::Rows(cells, since, records) => self.on_rows(scenario, from, to, &cells, since, records),
            Message::Tail(tx, ts) => self.on_tail(scenario, from, to, tx, ts),
            Message::TailEnd(epoch) => self.on_tail_end(scenario, from, to, epoch),
        }
    }
}
