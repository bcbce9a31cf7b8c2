//! From one epoch to the next: fence, report, decide, stage, open, enter. Every member of the new epoch reports; what a
//! joiner says counts only for keys that no survivor speaks for.

use crate::cluster::{
    Cluster, Decision, Desk, Flush, KEYS, Message, Number, Record, Report, Set, Stage, TXS, each, has,
};
use crate::mutant::Mutant;
use crate::obligation::Obligation;
use crate::scenario::Scenario;

impl Cluster {
    /// Whether a member of an epoch is the same process as in the opened one before it.
    pub(crate) fn is_survivor(&self, scenario: &Scenario, number: Number, at: usize) -> bool {
        let epoch = self.epoch(number);
        let before = if scenario.has(Mutant::UnopenedMemberSurvives) { number - 1 } else { epoch.parent };
        let (life, before) = (epoch.members[at], self.epoch(before).members[at]);
        life > 0 && (life == before || (scenario.has(Mutant::RestartedSurvives) && before > 0))
    }

    /// Who leads the flush: the lowest survivor, or the lowest member when there is none.
    fn flush_leader(&self, scenario: &Scenario, number: Number) -> usize {
        let members = self.members(number);
        let survivor = each(members).find(|at| self.is_survivor(scenario, number, *at));
        survivor.or(each(members).next()).expect("an epoch has members")
    }

    /// Stops taking part in the epoch it is in, and reports for the last one agreed on.
    pub(crate) fn fence(&mut self, scenario: &Scenario, at: usize) {
        self.absorb(scenario, at);
        let number = self.latest();
        let node = &mut self.nodes[at];
        // What was staged for an epoch that did not open is void.
        (node.fence, node.knows, node.flush, node.stage) = (number, number, None, None);
        if !self.is_member(number, at) {
            return;
        }
        for joiner in each(self.nodes[at].feeds & self.members(number)) {
            self.send(scenario, at, joiner, Message::TailEnd(number));
        }
        let report = self.report(scenario, number, at);
        let leader = self.flush_leader(scenario, number);
        if leader == at {
            let flush = Flush { epoch: number, reports: Default::default(), decided: false, staged: 0 };
            self.nodes[at].flush = Some(Box::new(flush));
        }
        self.send(scenario, at, leader, Message::Report(number, report));
    }

    /// The keys of whose last served copies a node has one.
    fn speaks(&self, scenario: &Scenario, parent: Number, at: usize) -> Set {
        let home = self.epoch(parent).home;
        let node = &self.nodes[at];
        let any = scenario.has(Mutant::OldCopyBrings);
        if scenario.has(Mutant::UnopenedMemberSurvives) && self.is_survivor(scenario, self.latest(), at) {
            return scenario.held_by(at);
        }
        let keys = each(scenario.held_by(at));
        let last = |key: &usize| node.as_of[*key] == home[*key] || (any && home[*key] < parent);
        keys.filter(last).fold(0, |set, key| set | 1 << key)
    }

    fn report(&self, scenario: &Scenario, number: Number, at: usize) -> Report {
        let node = &self.nodes[at];
        let set = |wanted: &dyn Fn(usize) -> bool| {
            (0..TXS).filter(|tx| wanted(*tx)).fold(0, |set, tx| set | 1 << tx)
        };
        Report {
            prepared: set(&|tx| node.held[tx].is_some()),
            records: node.records,
            clock: node.clock,
            speaks: self.speaks(scenario, self.epoch(number).parent, at),
            survivor: self.is_survivor(scenario, number, at),
            undecided: set(&|tx| node.desks[tx] != Desk::Idle),
        }
    }

    pub(crate) fn on_report(
        &mut self,
        scenario: &Scenario,
        from: usize,
        at: usize,
        epoch: Number,
        report: Report,
    ) {
        let members = self.members(epoch);
        let Some(flush) = self.nodes[at].flush.as_mut().filter(|flush| flush.epoch == epoch) else { return };
        flush.reports[from] = Some(report);
        if flush.decided || each(members).any(|member| flush.reports[member].is_none()) {
            return;
        }
        flush.decided = true;
        let stage = self.settle(scenario, at, epoch);
        for to in each(members) {
            self.send(scenario, at, to, Message::Stage(stage));
        }
    }

    /// What becomes of everything that is in doubt, and which keys are served.
    fn settle(&self, scenario: &Scenario, at: usize, number: Number) -> Stage {
        let flush = self.nodes[at].flush.as_ref().expect("the caller leads it");
        let reports = &flush.reports;
        let all = || reports.iter().flatten();
        let stamp = all().map(|report| report.clock).max().unwrap_or(0) + 1;
        let mut decisions = [Decision::None; TXS];
        for (tx, decision) in decisions.iter_mut().enumerate().take(scenario.transactions.len()) {
            let counts = |report: &&Report| is_heard(scenario, reports, report, tx);
            // Survivors first: what a joiner remembers may carry another timestamp than the chain's.
            let survivors = || all().filter(|report| report.survivor);
            let joiners = || all().filter(|report| !report.survivor);
            let records = || survivors().chain(joiners()).map(|report| report.records[tx]);
            let committed = records().find_map(|record| match record {
                Record::Committed(ts) => Some(ts),
                _ => None,
            });
            let aborted = records().any(|record| matches!(record, Record::Aborted { .. }));
            let in_doubt = all().filter(counts).any(|report| has(report.prepared, tx));
            *decision = match committed {
                _ if !in_doubt => Decision::None,
                Some(ts) => Decision::Commit(ts),
                None if aborted => Decision::Abort,
                None => self.settle_one(scenario, reports, tx, stamp),
            };
        }
        Stage { epoch: number, decisions, stamp, home: self.served(scenario, reports, number) }
    }

    /// No record of it anywhere: commit exactly when every copy that was there for its keys has prepared it.
    fn settle_one(&self, scenario: &Scenario, reports: &[Option<Report>], tx: usize, stamp: u8) -> Decision {
        let mut nobody = false;
        for key in each(scenario.keys_of(tx)) {
            let speakers = deciders(reports, key);
            if each(speakers).any(|at| reports[at].is_none_or(|report| !has(report.prepared, tx))) {
                return Decision::Abort;
            }
            nobody |= speakers == 0;
        }
        let coordinator = reports[scenario.transactions[tx].at];
        let undecided = coordinator.is_some_and(|report| has(report.undecided, tx));
        match nobody && !scenario.has(Mutant::NoSurvivorNeeded) {
            true if undecided => Decision::Abort,
            true => Decision::Carry,
            false if scenario.has(Mutant::SurvivorsProposals) => {
                let proposals = (0..self.nodes.len()).filter(|at| reports[*at].is_some());
                Decision::Commit(proposals.filter_map(|at| self.nodes[at].held[tx]).max().unwrap_or(stamp))
            }
            false => Decision::Commit(stamp),
        }
    }

    /// A key is served when a copy of the last epoch that served it is here, and every other copy here is one too or was
    /// loaded from one.
    fn served(&self, scenario: &Scenario, reports: &[Option<Report>], number: Number) -> [Number; KEYS] {
        let mut home = self.epoch(self.epoch(number).parent).home;
        for (key, holders) in scenario.holders.iter().enumerate() {
            let here = holders & self.members(number);
            let speakers = deciders(reports, key);
            let is_whole = |at: usize| {
                let copied = self.nodes[at].copy.is_some_and(|copy| has(speakers, usize::from(copy.source)));
                has(speakers, at) || reports[at].is_some_and(|r| has(r.speaks, key)) || copied
            };
            if speakers > 0 && each(here).all(is_whole) {
                home[key] = number;
            }
        }
        home
    }

    pub(crate) fn on_stage(&mut self, scenario: &Scenario, from: usize, at: usize, stage: Stage) {
        if self.nodes[at].fence != stage.epoch {
            return;
        }
        self.nodes[at].stage = Some(stage);
        if scenario.has(Mutant::DecisionsBeforeOpening) {
            self.apply_decisions(scenario, at, &stage);
        }
        self.consider_staged(scenario, from, at, stage.epoch);
    }

    /// A joiner has staged its epoch only when all that was committed before it is here too.
    pub(crate) fn consider_staged(&mut self, scenario: &Scenario, leader: usize, at: usize, epoch: Number) {
        let whole = match self.nodes[at].copy {
            Some(copy) => copy.ended == epoch || (copy.tailing && scenario.has(Mutant::StagedBeforeTheTail)),
            None => true,
        };
        if whole {
            self.send(scenario, at, leader, Message::Staged(epoch));
        }
    }

    /// The leader of the flush that a node takes part in.
    pub(crate) fn leader_of(&self, scenario: &Scenario, number: Number) -> usize {
        self.flush_leader(scenario, number)
    }

    pub(crate) fn on_staged(&mut self, from: usize, at: usize, epoch: Number) {
        if let Some(flush) = self.nodes[at].flush.as_mut().filter(|flush| flush.epoch == epoch) {
            flush.staged |= 1 << from;
        }
    }

    /// All have staged it, and the control plane has agreed on nothing since.
    pub(crate) fn may_open(&self, at: usize) -> bool {
        let Some(flush) = &self.nodes[at].flush else { return false };
        flush.epoch == self.latest()
            && !self.epoch(flush.epoch).open
            && self.members(flush.epoch) & !flush.staged == 0
    }

    pub(crate) fn open(&mut self, at: usize) {
        let stage = self.nodes[at].stage.expect("its leader has staged it");
        let number = stage.epoch;
        if self.epoch(number).parent != self.opened() {
            self.break_off(Obligation::O1);
        }
        let excluded = (0..self.nodes.len()).filter(|at| !self.is_member(number, *at));
        let mut excluded = excluded.filter(|at| self.nodes[*at].lease > 0);
        if excluded.next().is_some() {
            self.break_off(Obligation::O7);
        }
        let epoch = &mut self.epochs[usize::from(number) - 1];
        (epoch.open, epoch.stamp, epoch.home) = (true, stage.stamp, stage.home);
        for (tx, decision) in stage.decisions.iter().enumerate() {
            let recorded = self.nodes.iter().any(|node| node.records[tx] != Record::None);
            match decision {
                Decision::Commit(_) if !recorded => self.settled[0] = true,
                Decision::Abort if !recorded => self.settled[1] = true,
                Decision::Carry => self.settled[2] = true,
                _ => {}
            }
        }
    }

    /// Takes its place in the epoch that it has staged and that is open.
    pub(crate) fn enter(&mut self, scenario: &Scenario, at: usize) {
        let Some(stage) = self.nodes[at].stage.take() else { return };
        self.apply_decisions(scenario, at, &stage);
        let member = self.is_member(stage.epoch, at);
        let node = &mut self.nodes[at];
        if !scenario.has(Mutant::ClockIgnoresCommits) {
            node.clock = node.clock.max(stage.stamp);
        }
        (node.epoch, node.live, node.copy, node.flush) = (stage.epoch, member && node.up, None, None);
        node.desks = Default::default();
        for (key, home) in stage.home.iter().enumerate() {
            if *home == stage.epoch {
                node.as_of[key] = stage.epoch;
            }
        }
        let entered = each(self.nodes[at].feeds).filter(|joiner| self.is_member(stage.epoch, *joiner));
        let entered = entered.fold(0, |set, joiner| set | 1 << joiner);
        self.nodes[at].feeds &= !entered;
    }

    /// Enters what it staged if that is open. It has to be done before anything else is done about epochs.
    pub(crate) fn absorb(&mut self, scenario: &Scenario, at: usize) {
        let node = &self.nodes[at];
        if node.stage.is_some_and(|stage| self.epoch(stage.epoch).open && node.epoch < stage.epoch) {
            self.enter(scenario, at);
        }
    }

    fn apply_decisions(&mut self, scenario: &Scenario, at: usize, stage: &Stage) {
        for tx in 0..scenario.transactions.len() {
            let touched = scenario.keys_of(tx) & scenario.held_by(at) > 0;
            let coordinates = self.nodes[at].desks[tx] != Desk::Idle;
            match stage.decisions[tx] {
                Decision::Commit(ts) => {
                    let (record, live) = (self.nodes[at].records[tx], self.nodes[at].live);
                    if live && matches!(record, Record::Committed(at) if at != ts) {
                        self.break_off(Obligation::O4);
                    }
                    // What a joiner remembers says nothing of the rows that it has copied.
                    if touched && (!live || record != Record::Committed(ts)) {
                        self.apply(scenario, at, tx, ts);
                    }
                    if coordinates {
                        self.nodes[at].desks[tx] = Desk::Idle;
                        self.tell_committed(scenario, tx);
                    }
                }
                Decision::Abort => {
                    self.release(at, tx);
                    self.nodes[at].records[tx] = Record::Aborted { sayable: true };
                    if coordinates {
                        self.tell_aborted(at, tx);
                    }
                }
                // Prepared nowhere, and this is the only node that could have decided.
                Decision::None if coordinates && self.nodes[at].live => self.tell_aborted(at, tx),
                // Who has copied the rows has to hold what stands on them too.
                Decision::Carry if touched && !self.is_in_doubt(at, tx) => {
                    if !scenario.has(Mutant::CarriedBySurvivorsOnly) {
                        self.prepare(scenario, at, tx);
                    }
                }
                Decision::Carry | Decision::None => {}
            }
        }
    }
}

/// Whether what a member has prepared counts: a survivor's word, and that of a joiner with a key that no survivor has.
fn is_heard(scenario: &Scenario, reports: &[Option<Report>], report: &Report, tx: usize) -> bool {
    let brings = |key: usize| {
        let speakers = deciders(reports, key);
        has(report.speaks, key) && each(speakers).any(|at| reports[at].as_ref() == Some(report))
    };
    report.survivor || each(scenario.keys_of(tx)).any(brings)
}

/// Who decides about a key: the survivors that speak for it, or, when there is none, whoever else does.
fn deciders(reports: &[Option<Report>], key: usize) -> Set {
    let speak = |survivors: bool| {
        let wanted = |report: &Report| report.survivor == survivors && has(report.speaks, key);
        let at = reports.iter().enumerate();
        at.filter(|(_, report)| report.is_some_and(|report| wanted(&report)))
            .fold(0, |set, (at, _)| set | 1 << at)
    };
    match speak(true) {
        0 => speak(false),
        survivors => survivors,
    }
}
