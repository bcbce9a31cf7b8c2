//! How an epoch changes: fence, report, inquire, stage, open. Described in `docs/protocol.md`; the rules that decide are in
//! `epoch.rs` and `settle.rs`, their model in `tests/model`. The control plane has agreed on the members; the lowest survivor
//! asks all of them and waits for all of them. One dies, and the control plane agrees on the next epoch: this one is void.
//!
//! What holds, and by which line:
//! - A number has one membership: the control plane gives it once.
//! - From the moment a node hears of an epoch nothing of the one before happens there: every handler of transactions asks
//!   [`Era::is_open`], and the fence holds the gate alone, so none is half-way. What was parked is withdrawn: it never voted.
//! - An epoch opens after all its members have staged it, durably, and the control plane has recorded it. Only then are its decisions
//!   applied, shown, told or answered.
//! - Who has staged an epoch and hears that it opened applies it before it reports for the next one ([`Replica::on_agreed`]).
//!
//! | who dies | after | then |
//! |---|---|---|
//! | a member | any step before all have staged | the epoch cannot open; the next one settles the same parent again |
//! | a member | all have staged | it opens with it; the next one is without it |
//! | the leader | anything before the opening is recorded | nothing of it was shown anywhere; the next epoch decides anew |
//! | the leader | it was recorded | every member hears of it and applies what it has staged |
//! | all | staged, synced | the register says whether it was opened |
//! | a joiner | it entered, before a table is loaded | its copy stays of the epoch that it was of, and does not count |
//! | a joiner | a table is loaded, not all | that copy counts, and with it what is carried on its rows: both are in the log |
//! | the only copies of a table | anything | it is unserved until one is back; what touches it stays in doubt |

use std::collections::HashMap;

use foldhash::fast::FixedState;
use hypermnesia_store::{Ack, TableId, Timestamp, TxId};

use crate::catchup::SCHEMA_TABLE;
use crate::effect::{Effect, LogToken, Reply, Sink, Unavailable, Why};
use crate::epoch::{Agreement, Epoch, Opened, Stage, Standing, speakers, standing_of};
use crate::era::Era;
use crate::limits::FLUSH_RETRY_NS;
use crate::member::NodeSet;
use crate::message::{FlushStep, Message, Report};
use crate::outcome::Outcome;
use crate::register::Opening;
use crate::replica::{Replica, Turn};
use crate::settle::Evidence;
use crate::shard::{Deciding, Holding};
use crate::time::Now;

/// An epoch change that this node leads.
#[derive(Debug)]
pub(crate) struct Leading {
    epoch: Epoch,
    /// What is asked now, and who has not answered.
    asked: FlushStep,
    missing: NodeSet,
    asked_ns: u64,
    /// By slot.
    reports: Vec<Option<Report>>,
    records: HashMap<TxId, Outcome, FixedState>,
    /// Records of joiners: they count only where no survivor has one.
    hearsay: HashMap<TxId, Outcome, FixedState>,
    /// Members that took part in the opened epoch before it, as the same processes.
    survivors: NodeSet,
    /// What it is to open with, once all have staged it.
    opens: Option<Opened>,
}

impl Leading {
    /// Where each member stands, by slot; nothing known of who takes no part.
    fn standings(&self) -> Vec<Standing> {
        let standing = |report: &Option<Report>| report.as_ref().map(|one| one.standing.clone());
        self.reports.iter().map(|report| standing(report).unwrap_or_default()).collect()
    }
}

impl Replica {
    /// The control plane has agreed on something, or this node starts and is told how things stand. May be called again with
    /// the same, and with what skips epochs that never opened.
    pub fn on_agreed(&self, now: Now, agreement: Agreement, out: &mut dyn Sink) {
        let mut era = self.alone();
        let mut turn = Turn { now, out, freed: Vec::new() };
        if let Some(opened) = agreement.opened.filter(|opened| opened.epoch.is_of(&self.slots)) {
            self.hear_opened(&mut era, opened, &agreement.chain, &mut turn);
        }
        if let Some(latest) = agreement.latest.filter(|latest| latest.is_of(&self.slots)) {
            self.hear_agreed(&mut era, latest, &mut turn);
        }
        self.finish_in(&era, &mut turn);
    }

    fn hear_opened(&self, era: &mut Era, opened: Opened, chain: &[u64], turn: &mut Turn<'_>) {
        let number = opened.epoch.number;
        if number <= era.chain_number() {
            return;
        }
        if era.agreed_number() < number {
            era.agreed = Some(opened.epoch.clone());
        }
        era.chain = Some(opened);
        let staged = era.staged.as_ref().map_or(0, |stage| stage.epoch.number);
        if era.stage_kept && era.number() < staged && (staged == number || chain.contains(&staged)) {
            self.open_staged(era, turn);
        }
        if era.number() < number {
            self.leave(era);
        }
        era.leading = era.leading.take().filter(|leading| leading.epoch.number > number);
    }

    fn hear_agreed(&self, era: &mut Era, latest: Epoch, turn: &mut Turn<'_>) {
        if latest.number <= era.agreed_number() || latest.number <= era.chain_number() {
            return;
        }
        let member = latest.life(self.at) == Some(self.me);
        let before = era.chain.as_ref().map(|opened| &opened.epoch);
        let leads = latest.leader(before) == Some(self.at);
        let survivors = latest.survivors(before);
        era.agreed = Some(latest.clone());
        (era.leading, era.loading) = (None, None);
        self.withdraw_unvoted(turn);
        if !member {
            return self.leave(era);
        }
        match leads {
            true => self.lead(era, latest, survivors, turn),
            false => self.report_to_leader(era, turn),
        }
    }

    fn lead(&self, era: &mut Era, epoch: Epoch, survivors: NodeSet, turn: &mut Turn<'_>) {
        era.leading = Some(Leading {
            missing: epoch.present(),
            asked: FlushStep::Call,
            asked_ns: turn.now.mono_ns,
            reports: epoch.members.iter().map(|_| None).collect(),
            records: HashMap::default(),
            hearsay: HashMap::default(),
            survivors,
            opens: None,
            epoch,
        });
        self.ask_all(era, FlushStep::Call, turn);
    }

    pub(crate) fn report_to_leader(&self, era: &Era, turn: &mut Turn<'_>) {
        let before = era.chain.as_ref().map(|opened| &opened.epoch);
        let Some(agreed) = &era.agreed else { return };
        let (number, leader) = (agreed.number, agreed.leader(before).and_then(|at| agreed.life(at)));
        if let Some(leader) = leader.filter(|leader| *leader != self.me) {
            let report = self.report(era);
            turn.send(leader, Message::Flush { number, step: FlushStep::Report(report) });
        }
    }

    /// An epoch change that stands still is asked for again: who connected late has not heard.
    pub(crate) fn retry_flush(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let now_ns = turn.now.mono_ns;
        let Some(leading) = era.leading.as_mut() else { return };
        if now_ns.saturating_sub(leading.asked_ns) < FLUSH_RETRY_NS {
            return;
        }
        leading.asked_ns = now_ns;
        if let Some(opens) = leading.opens.clone() {
            return self.propose_opening(&opens, turn);
        }
        self.ask_missing(era, turn);
    }

    /// Asks those who have not answered once more.
    pub(crate) fn ask_missing(&self, era: &Era, turn: &mut Turn<'_>) {
        let Some(leading) = &era.leading else { return };
        let number = leading.epoch.number;
        for life in leading.missing.without(self.at).iter().filter_map(|at| leading.epoch.life(at)) {
            turn.send(life, Message::Flush { number, step: leading.asked.clone() });
        }
    }

    /// Sends a step to all members, this node last: its own answer may already complete the step.
    fn ask_all(&self, era: &mut Era, step: FlushStep, turn: &mut Turn<'_>) {
        let leading = era.leading.as_mut().expect("only a leader asks");
        (leading.missing, leading.asked, leading.asked_ns) =
            (leading.epoch.present(), step.clone(), turn.now.mono_ns);
        let number = leading.epoch.number;
        self.ask_missing(era, turn);
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
        // A call that is early is made again.
        if era.agreed_number() != number || era.chain_number() >= number {
            return;
        }
        match step {
            FlushStep::Call => {
                let report = self.report(era);
                self.answer(era, from, number, FlushStep::Report(report), turn);
            }
            FlushStep::Inquire(txids) => {
                let known = self.known(&txids);
                self.answer(era, from, number, FlushStep::Known(known), turn);
            }
            FlushStep::Stage(stage) => {
                if stage.epoch.number == number && stage.is_of(&self.slots) {
                    self.on_stage(era, stage, turn);
                }
            }
            answer => self.on_flush_answer(era, from, answer, turn),
        }
    }

    /// The leader's side: an answer to the step that is under way.
    fn on_flush_answer(&self, era: &mut Era, from: usize, step: FlushStep, turn: &mut Turn<'_>) {
        let Some(leading) = era.leading.as_mut() else { return };
        let awaited = matches!(
            (&leading.asked, &step),
            (FlushStep::Call, FlushStep::Report(_))
                | (FlushStep::Inquire(_), FlushStep::Known(_))
                | (FlushStep::Stage(_), FlushStep::Staged)
        );
        if !awaited || !leading.missing.has(from) {
            return;
        }
        leading.missing = leading.missing.without(from);
        let last = leading.missing.is_empty();
        match step {
            FlushStep::Report(report) => {
                leading.reports[from] = Some(report);
                if last {
                    self.inquire(era, turn);
                }
            }
            FlushStep::Known(records) => {
                let survivor = leading.survivors.has(from);
                let into = if survivor { &mut leading.records } else { &mut leading.hearsay };
                for (txid, outcome) in records {
                    // A joiner may remember an abort of its own of what others have committed since.
                    let known = into.get(&txid).copied();
                    if !survivor && matches!(known, Some(Outcome::Committed(_))) {
                        continue;
                    }
                    let before = into.insert(txid, outcome);
                    assert!(
                        !survivor || before.is_none_or(|before| before == outcome),
                        "members have different records of {txid}"
                    );
                }
                if last {
                    self.stage(era, turn);
                }
            }
            FlushStep::Staged if last => self.all_staged(era, turn),
            _ => {}
        }
    }

    // The member's side.

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

    /// A member that was excluded serves nothing until it is one again.
    fn leave(&self, era: &mut Era) {
        (era.peers[self.at].taking, era.peers[self.at].ready, era.base) = (0, 0, None);
        self.serve(false);
        self.end_tenure();
    }

    fn report(&self, era: &Era) -> Report {
        let clock = self.store.clock().read();
        let (mut prepared, undecided) = self.prepared_here_and_held();
        let recovered = self.recovered.lock();
        prepared.extend(recovered.values().map(|one| (one.txid, self.holders_in_any(&one.work))));
        prepared.sort_unstable_by_key(|(txid, _)| *txid);
        let tables = self.shared_tables(era);
        let standing = Standing {
            survivor: self.survives(era),
            whole: self.whole(era, &tables),
            opened: era.number(),
            last_commit: if era.live { clock } else { self.recovered_commit },
        };
        let clock = clock.max(self.recovered_commit);
        Report { prepared, undecided, clock, standing, tables }
    }

    /// The tables that are not local, and who has a copy of each that counts in the epoch that is to be.
    fn shared_tables(&self, era: &Era) -> Vec<(TableId, NodeSet)> {
        let tables = self.store.tables();
        let shared = tables.iter().filter(|table| !table.def().local);
        let counted = |table: TableId| self.copies_in(table, era.agreed_number());
        let mut all: Vec<_> = shared.map(|table| (table.id(), counted(table.id()))).collect();
        all.sort_unstable_by_key(|(table, _)| *table);
        all
    }

    /// The last epoch that served each copy here. What was only in the memory of an earlier process is gone.
    fn whole(&self, era: &Era, tables: &[(TableId, NodeSet)]) -> Vec<(TableId, u64)> {
        let has_all = |table| era.complete && era.serves(table) && self.has_copy_in(table, era.number());
        let as_of = |table: TableId| match has_all(table) {
            true => era.number(),
            false => era.whole.get(&table).copied().unwrap_or(0),
        };
        let kept = |table: TableId| {
            let on_disc = || self.durable && self.is_on_disc_here(table);
            era.in_memory || on_disc()
        };
        let here = tables.iter().filter(|(table, holders)| holders.has(self.at) && kept(*table));
        let all = here.map(|(table, _)| (*table, as_of(*table)));
        all.filter(|(_, number)| *number > 0).collect()
    }

    /// Whether it takes part in the epoch that is to be as the process that took part in the one before.
    fn survives(&self, era: &Era) -> bool {
        let before = era.chain.as_ref().map(|opened| &opened.epoch);
        era.live && era.agreed.as_ref().is_some_and(|agreed| agreed.survivors(before).has(self.at))
    }

    /// Of each it names all who have a copy: since its epoch the tables may have gone on with others, who know nothing of it where it
    /// never happened.
    #[expect(clippy::type_complexity, reason = "two lists of one walk")]
    fn prepared_here_and_held(&self) -> (Vec<(TxId, Vec<(TableId, NodeSet)>)>, Vec<TxId>) {
        let (mut prepared, mut undecided) = (Vec::new(), Vec::new());
        for shard in self.shards.each() {
            for (txid, one) in &shard.coordinated {
                if matches!(one.phase, Deciding::Voting { .. } | Deciding::Aborting { .. }) {
                    undecided.push(*txid);
                }
                if matches!(one.phase, Deciding::Voting { .. }) && one.participants.has(self.at) {
                    prepared.push((*txid, self.holders_in_any(&one.work)));
                }
            }
            for (txid, held) in &shard.held {
                if matches!(held.phase, Holding::Logging(_) | Holding::Voted) {
                    prepared.push((*txid, self.holders_in_any(&held.work)));
                }
            }
        }
        undecided.sort_unstable();
        (prepared, undecided)
    }

    fn known(&self, txids: &[TxId]) -> Vec<(TxId, Outcome)> {
        let record = |txid: &TxId| self.shards.of(txid).outcomes.get(txid);
        txids.iter().filter_map(|txid| record(txid).map(|record| (*txid, record.fact()))).collect()
    }

    fn on_stage(&self, era: &mut Era, stage: Stage, turn: &mut Turn<'_>) {
        let number = stage.epoch.number;
        if era.staged.as_ref() == Some(&stage) {
            if era.stage_kept {
                self.on_stage_kept(era, number, turn);
            }
            return;
        }
        era.staged = Some(stage);
        if self.durable {
            era.stage_kept = false;
            self.log_epoch(era, Ack::Synced, Some(LogToken::Staged(number)), turn);
        } else {
            self.on_stage_kept(era, number, turn);
        }
    }

    pub(crate) fn on_stage_kept(&self, era: &mut Era, number: u64, turn: &mut Turn<'_>) {
        if era.staged.as_ref().is_none_or(|stage| stage.epoch.number != number) {
            return;
        }
        era.stage_kept = true;
        if era.agreed_number() != number || era.chain_number() > number {
            return;
        }
        if era.chain_number() == number {
            // Opened while the log took its time.
            if era.number() < number {
                self.open_staged(era, turn);
            }
            return;
        }
        let before = era.chain.as_ref().map(|opened| &opened.epoch);
        let leader = era.agreed.as_ref().and_then(|agreed| agreed.leader(before));
        if let Some(at) = leader.filter(|at| *at == self.at || era.peers[*at].incarnation.is_some()) {
            self.answer(era, at, number, FlushStep::Staged, turn);
        }
    }

    // The leader's side.

    fn inquire(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let doubts = self.evidence(era, &[], Timestamp::NEVER, |evidence| evidence.in_doubt());
        match doubts.is_empty() {
            true => self.stage(era, turn),
            false => self.ask_all(era, FlushStep::Inquire(doubts), turn),
        }
    }

    fn stage(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let leading = era.leading.as_ref().expect("only a leader stages");
        let reports = leading.reports.iter().flatten();
        let highest = reports.map(|report| report.clock).max().unwrap_or_default();
        self.follow_clock(self.me.node, highest, turn);
        let stamp = self.store.clock().propose(turn.now.wall_ms).max(highest.next());
        let unserved = self.unserved(era).filter(|all| all.iter().all(|(table, _)| *table != SCHEMA_TABLE));
        // Without the schema nothing can be served: the next epoch may have somebody who knows it.
        let Some(unserved) = unserved else { return };
        let decisions = self.evidence(era, &unserved, stamp, |evidence| evidence.settle());
        let leading = era.leading.as_ref().expect("only a leader stages");
        let standings = leading.standings();
        let stage = Stage { epoch: leading.epoch.clone(), stamp, decisions, standings, unserved };
        self.ask_all(era, FlushStep::Stage(stage), turn);
    }

    fn evidence<T>(
        &self,
        era: &Era,
        unserved: &[(TableId, u64)],
        stamp: Timestamp,
        look: impl FnOnce(&Evidence<'_>) -> T,
    ) -> T {
        let leading = era.leading.as_ref().expect("only a leader settles");
        look(&Evidence {
            reports: &leading.reports,
            standings: &leading.standings(),
            records: &leading.records,
            hearsay: &leading.hearsay,
            home: &|table| era.home(table),
            unserved,
            stamp,
        })
    }

    /// The tables of which no good copy is among the members, and the last epoch that served each. Nothing where nobody here
    /// has the schema.
    fn unserved(&self, era: &Era) -> Option<Vec<(TableId, u64)>> {
        let leading = era.leading.as_ref().expect("only a leader stages");
        let best = leading
            .reports
            .iter()
            .flatten()
            .max_by_key(|report| (report.standing.survivor, report.standing.as_of(SCHEMA_TABLE)))?;
        let present = leading.epoch.present();
        let standing =
            |report: &Option<Report>| report.as_ref().map(|one| one.standing.clone()).unwrap_or_default();
        let standings: Vec<Standing> = leading.reports.iter().map(standing).collect();
        let is_unserved = |(table, holders): &&(TableId, NodeSet)| {
            let here = holders.common(present);
            let nobody = speakers(&standings, *table, here, era.home(*table)).is_empty();
            // An older copy is not served as if it were the newest. Copies that are nowhere any more are not waited for: the
            // table comes back empty.
            let older = || here.iter().any(|at| standing_of(&standings, at).as_of(*table) > 0);
            nobody && era.home(*table) > 0 && (older() || !holders.minus(present).is_empty())
        };
        Some(best.tables.iter().filter(is_unserved).map(|(table, _)| (*table, era.home(*table))).collect())
    }

    fn all_staged(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let Some(leading) = era.leading.as_mut() else { return };
        let FlushStep::Stage(stage) = &leading.asked else { return };
        let opening = Opening { stamp: stage.stamp, unserved: stage.unserved.clone() };
        let opens = Opened { epoch: leading.epoch.clone(), opening };
        leading.opens = Some(opens.clone());
        self.propose_opening(&opens, turn);
    }

    /// The control plane records it: that is the moment.
    fn propose_opening(&self, opens: &Opened, turn: &mut Turn<'_>) {
        turn.out.effect(Effect::ProposeOpening(opens.clone()));
    }
}
