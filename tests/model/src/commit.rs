//! A transaction from begin to decision, at the coordinator and at the participants, and the rule for aborts.

use crate::cluster::{Cluster, Desk, Message, Number, Record, Set, Ts, each};
use crate::mutant::Mutant;
use crate::obligation::Obligation;
use crate::scenario::Scenario;

impl Cluster {
    /// The members of an epoch that have a copy of what a transaction touches.
    pub(crate) fn participants(&self, scenario: &Scenario, epoch: Number, tx: usize) -> Set {
        scenario.holders_of(scenario.keys_of(tx)) & self.members(epoch)
    }

    /// Nothing is sent unless every key is served and every copy ready.
    pub(crate) fn may_begin(&self, scenario: &Scenario, tx: usize) -> bool {
        let at = scenario.transactions[tx].at;
        let node = &self.nodes[at];
        if self.calls[tx].begun || !node.is_open() {
            return false;
        }
        let served = each(scenario.keys_of(tx)).all(|key| self.epoch(node.epoch).home[key] == node.epoch);
        let living = scenario.has(Mutant::PreparesToTheLiving);
        let ready = each(self.participants(scenario, node.epoch, tx)).all(|other| {
            let other = &self.nodes[other];
            living || (other.live && other.epoch == node.epoch)
        });
        let free = each(scenario.keys_of(tx)).all(|key| node.cells[key].mark.is_none());
        served && ready && free && self.is_free(scenario, at, tx)
    }

    /// Reads, prepares here, and sends the rest.
    pub(crate) fn begin(&mut self, scenario: &Scenario, tx: usize) {
        let at = scenario.transactions[tx].at;
        let epoch = self.nodes[at].epoch;
        let after = self.over(scenario);
        let call = &mut self.calls[tx];
        (call.begun, call.after) = (true, after);
        for key in each(scenario.transactions[tx].reads) {
            call.seen[key] = self.nodes[at].cells[key].newest(Ts::MAX);
        }
        let mut participants = self.participants(scenario, epoch, tx);
        if scenario.has(Mutant::PreparesToTheLiving) {
            participants =
                each(participants).filter(|to| self.nodes[*to].up).fold(0, |set, to| set | 1 << to);
        }
        let ts = self.prepare(scenario, at, tx);
        let missing = participants & !(1 << at);
        self.nodes[at].desks[tx] = Desk::Voting { missing, ts };
        for to in each(missing) {
            self.send(scenario, at, to, Message::Prepare(epoch, tx as u8));
        }
        if missing == 0 {
            self.decide(scenario, at, tx, ts);
        }
    }

    /// The keys of a transaction that a node validates.
    fn validated(&self, scenario: &Scenario, at: usize, tx: usize) -> Set {
        let transaction = scenario.transactions[tx];
        if scenario.has(Mutant::ReadsAtCoordinatorOnly) && at != transaction.at {
            return 0;
        }
        let mut keys = transaction.reads & scenario.held_by(at);
        if scenario.has(Mutant::RangesByRowsFound) {
            keys = each(keys).filter(|key| self.calls[tx].seen[*key] > 0).fold(0, |set, key| set | 1 << key);
        }
        keys
    }

    /// Whether nothing stands in the way of a transaction at a node.
    fn is_free(&self, scenario: &Scenario, at: usize, tx: usize) -> bool {
        let cells = &self.nodes[at].cells;
        let writes = scenario.transactions[tx].writes & scenario.held_by(at);
        let others = !(1 << tx);
        each(self.validated(scenario, at, tx))
            .all(|key| cells[key].mark.is_none_or(|mark| usize::from(mark) == tx))
            && each(writes).all(|key| cells[key].mark.is_none() && cells[key].shared & others == 0)
    }

    /// Locks, marks and proposes.
    pub(crate) fn prepare(&mut self, scenario: &Scenario, at: usize, tx: usize) -> Ts {
        let reads = self.validated(scenario, at, tx);
        let node = &mut self.nodes[at];
        node.clock += 1;
        node.held[tx] = Some(node.clock);
        each(reads).for_each(|key| node.cells[key].shared |= 1 << tx);
        for key in each(scenario.transactions[tx].writes & scenario.held_by(at)) {
            node.cells[key].mark = Some(tx as u8);
        }
        node.clock
    }

    pub(crate) fn on_prepare(&mut self, scenario: &Scenario, from: usize, at: usize, epoch: Number, tx: u8) {
        let node = &self.nodes[at];
        if !node.is_open() || node.epoch != epoch {
            return;
        }
        let one = usize::from(tx);
        let newest = |key: usize| node.cells[key].newest(Ts::MAX);
        let valid =
            each(self.validated(scenario, at, one)).all(|key| newest(key) == self.calls[one].seen[key]);
        let vote = (valid && self.is_free(scenario, at, one)).then(|| self.prepare(scenario, at, one));
        self.send(scenario, at, from, Message::Vote(epoch, tx, vote));
    }

    pub(crate) fn on_vote(
        &mut self,
        scenario: &Scenario,
        from: usize,
        at: usize,
        epoch: Number,
        tx: u8,
        vote: Option<Ts>,
    ) {
        let node = &mut self.nodes[at];
        if !node.is_open() || node.epoch != epoch {
            return;
        }
        let one = usize::from(tx);
        match (node.desks[one], vote) {
            (Desk::Voting { missing, ts }, Some(proposal)) => {
                let ts = if scenario.has(Mutant::CoordinatorsTimestamp) { ts } else { ts.max(proposal) };
                let missing = missing & !(1 << from);
                node.desks[one] = Desk::Voting { missing, ts };
                if missing == 0 {
                    self.decide(scenario, at, one, ts);
                }
            }
            (Desk::Voting { .. }, None) => self.give_up(scenario, at, one, 1 << from),
            // A refuser owes no record.
            (Desk::Aborting { .. }, None) => self.abort_recorded(from, at, one),
            _ => {}
        }
    }

    /// All said yes: this is the moment.
    fn decide(&mut self, scenario: &Scenario, at: usize, tx: usize, ts: Ts) {
        let epoch = self.nodes[at].epoch;
        if !self.nodes[at].is_open() {
            self.break_off(Obligation::O2);
        }
        for other in each(self.participants(scenario, epoch, tx)) {
            let node = &self.nodes[other];
            let there = node.up && node.live && node.epoch == epoch;
            if there && node.held[tx].is_none() && node.records[tx] == Record::None {
                self.break_off(Obligation::O3);
            }
        }
        self.apply(scenario, at, tx, ts);
        self.nodes[at].desks[tx] = Desk::Idle;
        self.tell_committed(scenario, tx);
        for to in each(self.participants(scenario, epoch, tx) & !(1 << at)) {
            self.send(scenario, at, to, Message::Commit(epoch, tx as u8, ts));
        }
    }

    pub(crate) fn on_commit(&mut self, scenario: &Scenario, at: usize, epoch: Number, tx: u8, ts: Ts) {
        let node = &self.nodes[at];
        if node.is_open() && node.epoch == epoch && node.held[usize::from(tx)].is_some() {
            self.apply(scenario, at, usize::from(tx), ts);
        }
    }

    /// Makes a commit visible at a node, and passes it on to those that copy from it.
    pub(crate) fn apply(&mut self, scenario: &Scenario, at: usize, tx: usize, ts: Ts) {
        let node = &mut self.nodes[at];
        let proposed = node.held[tx].unwrap_or(ts);
        for key in each(scenario.transactions[tx].writes & scenario.held_by(at)) {
            (node.cells[key].at[tx], node.cells[key].proposed[tx]) = (ts, proposed);
        }
        if !scenario.has(Mutant::ClockIgnoresCommits) {
            node.clock = node.clock.max(ts);
        }
        node.records[tx] = Record::Committed(ts);
        if scenario.has(Mutant::ForgottenOnApply) {
            node.records[tx] = Record::None;
        }
        self.release(at, tx);
        for to in each(self.nodes[at].feeds) {
            self.send(scenario, at, to, Message::Tail(tx as u8, ts));
        }
    }

    /// Locks and marks go.
    pub(crate) fn release(&mut self, at: usize, tx: usize) {
        let node = &mut self.nodes[at];
        node.held[tx] = None;
        for cell in &mut node.cells {
            cell.shared &= !(1 << tx);
            if cell.mark == Some(tx as u8) {
                cell.mark = None;
            }
        }
    }

    /// A coordinator decides to abort; `refused` owe no record.
    fn give_up(&mut self, scenario: &Scenario, at: usize, tx: usize, refused: Set) {
        let epoch = self.nodes[at].epoch;
        let missing = self.participants(scenario, epoch, tx) & !(1 << at) & !refused;
        self.release(at, tx);
        self.nodes[at].records[tx] = Record::Aborted { sayable: false };
        self.nodes[at].desks[tx] = Desk::Aborting { missing };
        for to in each(missing) {
            self.send(scenario, at, to, Message::Abort(epoch, tx as u8));
        }
        if missing == 0 || scenario.has(Mutant::AbortToldEarly) {
            self.tell_aborted(at, tx);
        }
    }

    pub(crate) fn time_out(&mut self, scenario: &Scenario, tx: usize) {
        self.left.timeouts -= 1;
        let at = scenario.transactions[tx].at;
        self.give_up(scenario, at, tx, 0);
        if scenario.has(Mutant::AloneOnTimeout) {
            self.tell_aborted(at, tx);
        }
    }

    pub(crate) fn on_abort(&mut self, scenario: &Scenario, from: usize, at: usize, epoch: Number, tx: u8) {
        let node = &self.nodes[at];
        let forgets = scenario.has(Mutant::FenceForgetsAborts) && node.live && node.epoch == epoch;
        if !(node.is_open() && node.epoch == epoch || forgets) {
            return;
        }
        self.release(at, usize::from(tx));
        self.nodes[at].records[usize::from(tx)] = Record::Aborted { sayable: false };
        self.send(scenario, at, from, Message::Recorded(epoch, tx));
    }

    pub(crate) fn on_recorded(&mut self, from: usize, at: usize, epoch: Number, tx: u8) {
        let node = &self.nodes[at];
        if node.is_open() && node.epoch == epoch {
            self.abort_recorded(from, at, usize::from(tx));
        }
    }

    fn abort_recorded(&mut self, from: usize, at: usize, tx: usize) {
        let Desk::Aborting { missing } = self.nodes[at].desks[tx] else { return };
        let missing = missing & !(1 << from);
        self.nodes[at].desks[tx] = Desk::Aborting { missing };
        if missing == 0 {
            self.tell_aborted(at, tx);
        }
    }

    pub(crate) fn tell_committed(&mut self, scenario: &Scenario, tx: usize) {
        self.calls[tx].committed = true;
        self.check_told(tx);
        self.check_history(scenario);
    }

    pub(crate) fn tell_aborted(&mut self, at: usize, tx: usize) {
        self.nodes[at].desks[tx] = Desk::Idle;
        self.nodes[at].records[tx] = Record::Aborted { sayable: true };
        self.calls[tx].aborted = true;
        self.check_told(tx);
    }

    fn check_told(&mut self, tx: usize) {
        if self.calls[tx].committed && self.calls[tx].aborted {
            self.break_off(Obligation::O4);
        }
    }

    /// "Committed" only from a record; "aborted" only when the caller may hear it.
    pub(crate) fn question(&mut self, scenario: &Scenario, at: usize, tx: usize) {
        self.left.questions -= 1;
        match self.nodes[at].records[tx] {
            Record::Committed(_) => self.tell_committed(scenario, tx),
            Record::Aborted { sayable } if sayable || scenario.has(Mutant::AnyMemberSaysAborted) => {
                self.calls[tx].aborted = true;
                self.check_told(tx);
            }
            _ => {}
        }
    }

    /// An outcome may go when every participant that is a member has it.
    pub(crate) fn may_forget(&self, scenario: &Scenario, at: usize, tx: usize) -> bool {
        let opened = self.opened();
        let has_it = |other: usize| self.is_current(other) && self.nodes[other].records[tx] != Record::None;
        self.nodes[at].records[tx] != Record::None
            && opened == self.latest()
            && self.is_current(at)
            && each(self.participants(scenario, opened, tx)).all(has_it)
    }

    pub(crate) fn forget(&mut self, at: usize, tx: usize) {
        self.left.forgets -= 1;
        self.nodes[at].records[tx] = Record::None;
    }

    /// Whether a transaction has left anything at a node that has to be decided.
    pub(crate) fn is_in_doubt(&self, at: usize, tx: usize) -> bool {
        self.nodes[at].held[tx].is_some()
    }

    /// Ghost: the callers that have heard something that is in a history, transactions first.
    pub(crate) fn over(&self, scenario: &Scenario) -> Set {
        let transactions = scenario.transactions.len();
        let mut over = 0;
        for (tx, call) in self.calls.iter().enumerate() {
            over |= u8::from(call.committed) << tx;
        }
        for (read, reading) in self.readings.iter().enumerate() {
            over |= u8::from(reading.done) << (transactions + read);
        }
        over
    }
}
