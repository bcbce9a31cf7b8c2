//! How an epoch changes: fence, collect, inquire, stage, open. Described in `docs/protocol.md`; the rules that decide are
//! in `epoch.rs` and `settle.rs`. One leader at a time asks all members and waits for all of them; it dies, or any member
//! comes in another life, and the attempt is void: the next one has a higher number.
//!
//! What holds, and by which line:
//! - A number has one membership: a member promises it to one leader ([`Replica::on_fence`]) and stages it for that one.
//! - After the promise nothing of the old epoch happens here: every handler of transactions asks [`Era::is_open`], and the
//!   fence holds the gate alone, so none is half-way. What was parked is withdrawn: it never voted.
//! - An epoch opens after all have staged it, durably. Only then are its decisions applied, shown, told or answered.
//! - Who has staged an epoch and hears that it opened applies it before it reports for the next one (`Collect`).
//!
//! | who dies | after | then |
//! |---|---|---|
//! | a member | any step before it staged | the epoch cannot open; its survivors stay fenced until it is back; the next attempt settles the same parent again |
//! | a member | staged | it may open without it; the member comes back as a joiner of the next one |
//! | the leader | fence, collect, inquire | nothing was kept anywhere |
//! | the leader | some staged | a decider without the stage makes it void |
//! | the leader | all staged, opened or not, told or not | all deciders have the stage: the next leader takes it as opened |
//! | all | staged, synced | as above, the deciders being those whose log knows the parent |

use std::collections::HashMap;

use foldhash::fast::FixedState;
use hypermnesia_store::{Ack, Timestamp, TxId};

use crate::effect::{LogToken, Reply, Unavailable, Why};
use crate::epoch::{Epoch, Stage, Standing, State, flush_needed, last_opened, leader};
use crate::era::Era;
use crate::limits::{FLUSH_RETRY_NS, STATE_RETRY_NS};
use crate::member::{NodeSet, Peer};
use crate::message::{FlushStep, Message, Report};
use crate::outcome::Outcome;
use crate::replica::{Replica, Turn};
use crate::settle::Evidence;
use crate::shard::{Deciding, Holding};

/// An attempt that this node leads.
#[derive(Debug)]
pub(crate) struct Leading {
    pub(crate) number: u64,
    members: Vec<Peer>,
    /// Who has not answered the step that is under way.
    missing: NodeSet,
    /// That step is the first.
    fencing: bool,
    states: Vec<State>,
    stages: Vec<Stage>,
    reports: Vec<Option<Report>>,
    records: HashMap<TxId, Outcome, FixedState>,
    /// The last opened epoch, once all are fenced.
    parent: u64,
    /// Members of it that are still the same processes.
    survivors: NodeSet,
    began_ns: u64,
}

impl Replica {
    /// The lives of all members, if each is connected.
    fn lives(&self, era: &Era) -> Option<Vec<Peer>> {
        let all = era.peers.iter().all(|known| known.connected && known.incarnation.is_some());
        all.then(|| (0..era.peers.len()).map(|at| self.peer(era, at)).collect())
    }

    /// Starts an epoch change when one is wanted, all members are there, and it is this node's to lead.
    pub(crate) fn consider_flush(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if era.leading.is_some() {
            return;
        }
        let Some(lives) = self.lives(era) else { return };
        era.peers[self.at].state = Some(era.state());
        let states: Vec<State> = era.peers.iter().filter_map(|known| known.state.clone()).collect();
        if states.len() < lives.len() || !flush_needed(&states, &lives) || leader(&states, &lives) != self.at
        {
            return;
        }
        let seen = states.iter().map(|s| s.promised.max(s.staged.0).max(s.opened_number())).max();
        let number = seen.unwrap_or(0) + 1;
        era.leading = Some(Leading {
            number,
            members: lives.clone(),
            missing: NodeSet::first(lives.len()),
            fencing: true,
            states,
            stages: Vec::new(),
            reports: lives.iter().map(|_| None).collect(),
            records: HashMap::default(),
            parent: 0,
            survivors: NodeSet::EMPTY,
            began_ns: turn.now.mono_ns,
        });
        self.ask_all(era, FlushStep::Fence { members: lives }, turn);
    }

    /// Who is in no open epoch says so again and again.
    fn tell_state(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if era.is_open() || turn.now.mono_ns.saturating_sub(era.told_ns) < STATE_RETRY_NS {
            return;
        }
        era.told_ns = turn.now.mono_ns;
        let connected = |at: &usize| *at != self.at && era.peers[*at].connected;
        for at in (0..self.members.len()).filter(connected) {
            turn.send(self.peer(era, at), Message::State(era.state()));
        }
    }

    /// An attempt that stands still is given up and started anew.
    pub(crate) fn retry_flush(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let stuck = |one: &Leading| turn.now.mono_ns.saturating_sub(one.began_ns) > FLUSH_RETRY_NS;
        if era.leading.as_ref().is_some_and(stuck) {
            era.leading = None;
        }
        self.tell_state(era, turn);
        self.consider_flush(era, turn);
    }

    /// Sends a step to all members, this node last: its own answer may already complete the step.
    fn ask_all(&self, era: &mut Era, step: FlushStep, turn: &mut Turn<'_>) {
        let leading = era.leading.as_mut().expect("only a leader asks");
        leading.missing = NodeSet::first(self.members.len());
        let (number, members) = (leading.number, leading.members.clone());
        for (at, life) in members.iter().enumerate() {
            if at != self.at {
                turn.send(*life, Message::Flush { number, step: step.clone() });
            }
        }
        self.on_flush(era, self.at, number, step, turn);
    }

    fn answer(&self, era: &mut Era, to: usize, number: u64, step: FlushStep, turn: &mut Turn<'_>) {
        if to == self.at {
            self.on_flush(era, self.at, number, step, turn);
        } else {
            turn.send(self.peer(era, to), Message::Flush { number, step });
        }
    }

    pub(crate) fn on_flush(
        &self,
        era: &mut Era,
        from: usize,
        number: u64,
        step: FlushStep,
        turn: &mut Turn<'_>,
    ) {
        if let FlushStep::Fence { members } = step {
            return self.on_fence(era, from, number, &members, turn);
        }
        if let FlushStep::Open = step {
            return self.on_open(era, number, turn);
        }
        // The steps of a member: only for the leader it has promised to.
        let promised = era.promised == number && era.leader == Some(self.peer(era, from));
        match step {
            FlushStep::Collect { opened } if promised => self.on_collect(era, from, number, opened, turn),
            FlushStep::Inquire(txids) if promised => {
                let known = self.known(&txids);
                self.answer(era, from, number, FlushStep::Known(known), turn);
            }
            FlushStep::Stage(stage)
                if promised && stage.epoch.number == number && stage.is_of(&self.members) =>
            {
                self.on_stage(era, stage, turn);
            }
            answer => self.on_flush_answer(era, from, number, answer, turn),
        }
    }

    /// The leader's side: an answer to the step that is under way.
    fn on_flush_answer(&self, era: &mut Era, from: usize, number: u64, step: FlushStep, turn: &mut Turn<'_>) {
        let Some(leading) = era.leading.as_mut().filter(|leading| leading.number == number) else { return };
        if !leading.missing.has(from) {
            return;
        }
        leading.missing = leading.missing.without(from);
        let last = leading.missing.is_empty();
        match step {
            FlushStep::Fenced { state, stages } => {
                leading.states[from] = state;
                leading.stages.extend(stages.into_iter().filter(|stage| stage.is_of(&self.members)));
                if last {
                    self.collect(era, turn);
                }
            }
            FlushStep::Report(report) => {
                leading.reports[from] = Some(report);
                if last {
                    self.inquire(era, turn);
                }
            }
            FlushStep::Known(records) => {
                for (txid, outcome) in records {
                    let before = leading.records.insert(txid, outcome);
                    assert!(
                        before.is_none_or(|before| matches!(
                            (before, outcome),
                            (Outcome::Committed(a), Outcome::Committed(b)) if a == b
                        ) || before == outcome),
                        "members have different records of {txid}"
                    );
                }
                if last {
                    self.stage(era, turn);
                }
            }
            FlushStep::Staged if last => self.open(era, turn),
            _ => {}
        }
    }

    // The member's side.

    fn on_fence(&self, era: &mut Era, from: usize, number: u64, members: &[Peer], turn: &mut Turn<'_>) {
        let ids = self.members.iter().map(|member| member.node);
        if members.get(self.at) != Some(&self.me) || !members.iter().map(|member| member.node).eq(ids) {
            return;
        }
        if number <= era.promised {
            if from != self.at {
                turn.send(self.peer(era, from), Message::State(era.state()));
            }
            return;
        }
        era.promised = number;
        era.leader = Some(self.peer(era, from));
        era.fenced = true;
        if from != self.at {
            era.leading = None;
        }
        era.loading = None;
        self.withdraw_unvoted(turn);
        let kept = era.staged.as_ref().filter(|_| era.stage_kept);
        let stages = era.opening.iter().chain(kept).cloned().collect();
        let state = era.state();
        self.answer(era, from, number, FlushStep::Fenced { state, stages }, turn);
    }

    /// Whatever has not voted never was: nobody outside this node can have counted on it.
    fn withdraw_unvoted(&self, turn: &mut Turn<'_>) {
        let mut ended = Vec::new();
        let why = Unavailable { member: self.me.node, why: Why::EpochChange };
        for mut shard in self.shards.each() {
            shard.coordinated.retain(|txid, one| {
                let unsent = matches!(one.phase, Deciding::Queueing(_));
                if unsent {
                    ended.push((*txid, one.txn.clone(), true));
                }
                !unsent
            });
            shard.held.retain(|txid, held| {
                let unvoted = matches!(held.phase, Holding::Queueing(_) | Holding::AwaitingSchema);
                if unvoted {
                    ended.push((*txid, held.txn.clone(), false));
                }
                !unvoted
            });
        }
        ended.sort_by_key(|(txid, ..)| *txid);
        for (txid, txn, own) in ended {
            // Those that this frees are withdrawn as well, so there is nobody to continue.
            let _ = self.store.abort(&txn);
            if own {
                turn.done(txid, Reply::Unavailable(why));
            }
        }
    }

    /// Applies what counts as opened, in order: its own stage when that is the parent, then the one the leader sent. It
    /// is synced before the report, so a member is never more than one epoch behind what was taken as opened.
    fn on_collect(
        &self,
        era: &mut Era,
        from: usize,
        number: u64,
        opened: Option<Box<Stage>>,
        turn: &mut Turn<'_>,
    ) {
        let newer = |stage: &Stage| era.number() < stage.epoch.number && stage.is_of(&self.members);
        let Some(opened) = opened.filter(|stage| newer(stage)) else {
            return self.send_report(era, from, number, turn);
        };
        let parent = opened.epoch.parent;
        if era.staged.as_ref().is_some_and(|own| own.epoch.number == parent && era.number() < parent) {
            self.open_staged(era, turn);
        }
        let last = opened.epoch.number;
        // A member whose directory was lost, or is an old one put back: it was there, perhaps promised much, and knows nothing.
        if era.staged.as_ref().is_none_or(|own| own.epoch.number != last) {
            era.hearsay = last;
        }
        era.staged = Some(*opened);
        era.stage_kept = true;
        self.open_staged(era, turn);
        if self.durable {
            let token = LogToken::Collected { number, opened: last };
            self.log_epoch(era, Ack::Synced, Some(token), turn);
        } else {
            self.send_report(era, from, number, turn);
        }
    }

    pub(crate) fn on_collected(&self, era: &mut Era, number: u64, opened: u64, turn: &mut Turn<'_>) {
        if era.promised == number && era.number() == opened {
            let leader = era.leader.expect("it has promised to somebody");
            if let Some(at) = self.at_of(era, leader) {
                self.send_report(era, at, number, turn);
            }
        }
    }

    /// The position of the leader, while it is in the life that was promised to.
    fn at_of(&self, era: &Era, leader: Peer) -> Option<usize> {
        let at = crate::epoch::position_of(&self.members, leader.node);
        at.filter(|at| era.peers[*at].incarnation == Some(leader.incarnation))
    }

    fn send_report(&self, era: &mut Era, to: usize, number: u64, turn: &mut Turn<'_>) {
        let report = self.report(era, era.number());
        self.answer(era, to, number, FlushStep::Report(report), turn);
    }

    fn report(&self, era: &Era, opened: u64) -> Report {
        let survivor = era.live && era.number() == opened;
        let own = opened != 0 && opened != era.hearsay;
        let from_log = !era.live && self.durable && own && era.number() == opened;
        let mut prepared = Vec::new();
        if survivor {
            prepared = self.prepared_here_and_held();
        } else if from_log {
            let recovered = self.recovered.lock();
            let of_epoch = recovered.values().filter(|one| one.epoch == opened);
            prepared = of_epoch.map(|one| (one.txid, self.holders(&one.work))).collect();
        }
        prepared.sort_unstable_by_key(|(txid, _)| *txid);
        let clock = self.store.clock().read();
        let standing = Standing {
            survivor,
            complete: era.complete,
            whole: era.whole.iter().map(|(table, number)| (*table, *number)).collect(),
            durable: self.durable,
            opened: era.number(),
            last_commit: if era.live { clock } else { self.recovered_commit },
        };
        Report { prepared, from_log, clock: clock.max(self.recovered_commit), standing }
    }

    fn prepared_here_and_held(&self) -> Vec<(TxId, Vec<(hypermnesia_store::TableId, NodeSet)>)> {
        let mut prepared = Vec::new();
        for shard in self.shards.each() {
            for (txid, one) in &shard.coordinated {
                if matches!(one.phase, Deciding::Voting { .. }) && one.participants.has(self.at) {
                    prepared.push((*txid, one.holders.clone()));
                }
            }
            for (txid, held) in &shard.held {
                if matches!(held.phase, Holding::Logging(_) | Holding::Voted) {
                    prepared.push((*txid, held.holders.clone()));
                }
            }
        }
        prepared
    }

    fn known(&self, txids: &[TxId]) -> Vec<(TxId, Outcome)> {
        let record = |txid: &TxId| self.shards.of(txid).outcomes.get(txid);
        txids.iter().filter_map(|txid| record(txid).map(|record| (*txid, record.fact()))).collect()
    }

    fn on_stage(&self, era: &mut Era, stage: Stage, turn: &mut Turn<'_>) {
        let number = stage.epoch.number;
        if self.durable {
            era.staged = Some(stage);
            era.stage_kept = false;
            self.log_epoch(era, Ack::Synced, Some(LogToken::Staged(number)), turn);
        } else {
            era.staged = Some(stage);
            self.on_stage_kept(era, number, turn);
        }
    }

    pub(crate) fn on_stage_kept(&self, era: &mut Era, number: u64, turn: &mut Turn<'_>) {
        if era.staged.as_ref().is_none_or(|stage| stage.epoch.number != number) {
            return;
        }
        era.stage_kept = true;
        let leader = era.leader.filter(|_| era.promised == number);
        if let Some(at) = leader.and_then(|leader| self.at_of(era, leader)) {
            self.answer(era, at, number, FlushStep::Staged, turn);
        }
    }

    fn on_open(&self, era: &mut Era, number: u64, turn: &mut Turn<'_>) {
        let staged = era.staged.as_ref().is_some_and(|stage| stage.epoch.number == number);
        if staged && era.number() < number {
            self.open_staged(era, turn);
        }
    }

    // The leader's side.

    fn collect(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let leading = era.leading.as_mut().expect("only a leader collects");
        let opened = last_opened(&leading.states, &leading.members);
        (leading.parent, leading.fencing) = (opened, false);
        let stage = leading.stages.drain(..).find(|stage| stage.epoch.number == opened).map(Box::new);
        leading.stages.clear();
        assert!(opened == 0 || stage.is_some(), "who says that {opened} opened knows what it began with");
        self.ask_all(era, FlushStep::Collect { opened: stage }, turn);
    }

    fn inquire(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let leading = era.leading.as_mut().expect("only a leader inquires");
        leading.survivors = NodeSet::EMPTY;
        for (at, report) in leading.reports.iter().enumerate() {
            if report.as_ref().is_some_and(|report| report.standing.survivor) {
                leading.survivors = leading.survivors.with(at);
            }
        }
        let doubts = evidence(leading, Timestamp::NEVER).in_doubt().into_iter().collect();
        self.ask_all(era, FlushStep::Inquire(doubts), turn);
    }

    fn stage(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let leading = era.leading.as_ref().expect("only a leader stages");
        let reports = leading.reports.iter().flatten();
        let highest = reports.clone().map(|report| report.clock).max().unwrap_or_default();
        self.follow_clock(self.me.node, highest, turn);
        let stamp = self.store.clock().propose(turn.now.wall_ms).max(highest.next());
        let leading = era.leading.as_ref().expect("only a leader stages");
        let stage = Stage {
            epoch: Epoch { number: leading.number, parent: leading.parent, members: leading.members.clone() },
            stamp,
            decisions: evidence(leading, stamp).settle(),
            standings: leading.reports.iter().flatten().map(|report| report.standing.clone()).collect(),
        };
        self.ask_all(era, FlushStep::Stage(stage), turn);
    }

    /// All have staged it: this is the moment.
    fn open(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let leading = era.leading.take().expect("only a leader opens");
        for (at, life) in leading.members.iter().enumerate() {
            if at != self.at {
                turn.send(*life, Message::Flush { number: leading.number, step: FlushStep::Open });
            }
        }
        self.open_staged(era, turn);
    }
}

fn evidence(leading: &Leading, stamp: Timestamp) -> Evidence<'_> {
    Evidence {
        reports: leading.reports.iter().flatten().collect(),
        survivors: leading.survivors,
        records: leading.records.clone(),
        stamp,
    }
}

impl Replica {
    /// A peer says where it stands.
    pub(crate) fn on_state(&self, era: &mut Era, from: usize, state: State, turn: &mut Turn<'_>) {
        if let Some(leading) = &era.leading
            && (state.promised > leading.number
                || (state.promised == leading.number && leading.fencing && leading.missing.has(from)))
        {
            // Promised to somebody else.
            era.leading = None;
        }
        era.peers[from].state = Some(state);
        self.consider_flush(era, turn);
    }
}
