//! What happens on a member when the epoch it staged is open: decisions are applied, shown and told, here and not one step
//! earlier; what no decision names is ended; the member takes its place. Described in `docs/protocol.md`, and with its
//! crash table in `flush.rs`.

use std::sync::atomic::Ordering;

use hypermnesia_store::{Ack, Snapshot, Timestamp, TxId, Txn};

use crate::effect::{Effect, Event, Fact, LogToken, Reply, Unavailable, Why};
use crate::epoch::{EpochFact, Stage, is_as_good_as_any};
use crate::era::{Era, Generations};
use crate::lacks::Lacks;
use crate::message::Message;
use crate::outcome::{Outcome, Record, Stamped};
use crate::register::Carried;
use crate::replica::{Replica, Turn};
use crate::shard::{Coordinated, Deciding, Held, Holding};

impl Replica {
    /// The epoch that this node has staged was opened: it enters it.
    pub(crate) fn open_staged(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let Some(stage) = era.staged.clone() else { return };
        let parent = era.number();
        let number = stage.epoch.number;
        let survivor = stage.standing(self.at).survivor;
        self.note_whole(era);
        self.keep_outcomes(era, &stage);
        // Untouched since, until it begins to load.
        era.complete &= survivor;
        era.live = stage.epoch.life(self.at) == Some(self.me);
        era.in_memory |= era.live;
        era.opened = Some(stage.epoch.clone());
        era.opening = Some(stage.clone());
        era.complete &= self.keep_the_truth(era, &stage);
        self.partial.store(!era.complete || !stage.unserved.is_empty(), Ordering::Release);
        self.log_epoch(era, Ack::Logged, None, turn);
        self.follow_clock(self.me.node, stage.stamp, turn);
        if !survivor {
            self.forget_untold_aborts();
        } else if stage.unserved.is_empty() {
            self.tell_aborts();
        }
        let settled = self.apply_decisions(era, parent, &stage, turn);
        self.keep_decisions(&stage);
        self.end_what_is_left(era, parent, survivor, turn);
        // What was kept of tables that were being loaded is among the rows that are loaded now.
        self.tail.lock().clear();
        era.lacks = if era.complete { Lacks::Nothing } else { Lacks::Everything };
        era.base = Some(self.store.snapshot());
        era.base.iter_mut().for_each(Snapshot::settle);
        era.generations = Generations::default();
        // Tables change between epochs.
        era.serving.clear();
        for known in &mut era.peers {
            (known.generation, known.settled) = (1, 0);
        }
        let joiners = stage.epoch.present().iter().filter(|at| !stage.standing(*at).survivor);
        let joiners = joiners.map(|at| self.slots.node(at)).collect();
        turn.event(Event::EpochOpened { number, joiners, settled });
        if era.is_open() {
            self.enter(era, turn);
        }
    }

    /// The last opened epoch that this node entered, in this life or in its log: what a register begins with where there
    /// were epochs before it. `None` if it never entered one. Of several nodes the one with the highest number counts.
    pub fn carried(&self) -> Option<Carried> {
        self.shared().opening.as_ref().map(Stage::carried)
    }

    /// The highest number of an epoch that this node has heard of; 0 if none.
    pub fn highest_epoch(&self) -> u64 {
        let era = self.shared();
        let staged = era.staged.as_ref().map_or(0, |stage| stage.epoch.number);
        staged.max(era.agreed_number()).max(era.chain_number()).max(era.number())
    }

    /// Writes down what is known of epochs.
    pub(crate) fn log_epoch(&self, era: &Era, level: Ack, token: Option<LogToken>, turn: &mut Turn<'_>) {
        if self.durable {
            let fact = EpochFact {
                staged: era.staged.clone(),
                opened: era.opening.clone(),
                cluster: self.cluster.get().copied(),
                slots: self.slots.iter().map(|(slot, member)| (slot, member.clone())).collect(),
                complete: era.complete,
                whole: era.whole.iter().map(|(table, number)| (*table, *number)).collect(),
            };
            turn.log(Fact::Epoch(fact.encode()), level, token);
        }
    }

    /// What a complete node has is whole as of the epoch it is in, except what that did not serve.
    fn note_whole(&self, era: &mut Era) {
        let number = era.number();
        if era.complete && number > 0 {
            let mut tables: Vec<_> = self.store.tables().iter().map(|table| table.id()).collect();
            tables.retain(|table| era.serves(*table) && self.has_copy_in(*table, number));
            era.whole.extend(tables.into_iter().map(|table| (table, number)));
        }
    }

    /// The served tables of which this node's copy is one of the best: nothing better exists, so it is whole by definition,
    /// from this moment on and whoever leads the next epoch change. Says whether that is so for all that it has copies of: one that
    /// was not served before may have come back with somebody else.
    fn keep_the_truth(&self, era: &mut Era, stage: &Stage) -> bool {
        let mut all = true;
        let number = stage.epoch.number;
        // A copy that was taken away and is to be made again begins from nothing.
        era.whole.retain(|table, _| self.has_copy_in(*table, number));
        let mut tables: Vec<_> = self.store.tables().iter().map(|table| table.id()).collect();
        tables.retain(|table| era.serves(*table));
        for table in tables {
            let holders = self.holders_of(era, table);
            let best = holders.iter().map(|at| stage.standing(at).as_of(table)).max().unwrap_or(0);
            let own = stage.standing(self.at).as_of(table);
            if is_as_good_as_any(&stage.standings, self.at, table, holders) {
                era.whole.insert(table, number);
            }
            // Where nobody has it, it begins empty at all of them: rows of an interrupted copy may be left here.
            let is_best = own == best && best > 0;
            all &= is_best || !holders.has(self.at) || self.is_local(table);
        }
        all
    }

    /// After a restart: the log has the stage and that its epoch was entered, and may have lost the outcomes behind them.
    pub(crate) fn repeat_decisions(&self, era: &Era, turn: &mut Turn<'_>) {
        let Some(stage) = era.staged.as_ref().filter(|stage| stage.epoch.number == era.number()) else {
            return;
        };
        let undecided = |txid: &TxId| self.recovered.lock().contains_key(txid);
        for (txid, outcome) in stage.decisions.iter().filter(|(txid, _)| undecided(txid)) {
            if let Some(record) = record_of(*outcome) {
                self.settle_here(era, stage.epoch.parent, *txid, record, turn);
            }
        }
    }

    /// Every abort of before that this node has recorded may be told, its coordinator being here or not. Of each table somebody who
    /// speaks for it is in this epoch. Where all of those had the transaction prepared, this epoch has settled it, and a record
    /// of an abort counts first. Where one had not, it never will have; and who comes back with it prepared is heard only where
    /// nobody is who was in this epoch with the table.
    fn tell_aborts(&self) {
        self.shards.each().for_each(|mut shard| shard.outcomes.tell_aborts());
    }

    /// What the last epoch that was entered has settled, as it is known to a node that starts: of what was in no log its record is
    /// the only one.
    pub(crate) fn remember_decisions(&self, era: &Era) {
        let Some(stage) = &era.opening else { return };
        for (txid, outcome) in &stage.decisions {
            if let Some(record) = record_of(*outcome) {
                let (coordinator, epoch) = (self.at, stage.epoch.parent);
                let stamped = Stamped { txid: *txid, coordinator, epoch, generation: 0, at_ns: 0 };
                let mut shard = self.shards.of(txid);
                // Its own log comes first.
                if !matches!(shard.outcomes.get(txid), Some(Record::Committed(_))) {
                    shard.outcomes.learn(record, stamped);
                }
            }
        }
    }

    /// Takes its place in the epoch that has just opened.
    fn enter(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if era.complete {
            self.become_ready(era, turn);
        } else {
            self.begin_loading(era, turn);
        }
    }

    pub(crate) fn tell_others(&self, era: &Era, message: &Message, turn: &mut Turn<'_>) {
        for at in era.present().without(self.at).iter() {
            if era.peers[at].incarnation == Some(era.life(at).incarnation) {
                turn.send(era.life(at), message.clone());
            }
        }
    }

    /// All tables are here: coordinators may count on this node, and reads are served.
    pub(crate) fn become_ready(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if self.store.disc_fault().is_some() {
            // It stops: what it has is not what its log says.
            return;
        }
        let epoch = era.number();
        let serves_all = era.opening.as_ref().is_none_or(|stage| stage.unserved.is_empty());
        self.partial.store(!serves_all, Ordering::Release);
        self.serve(true);
        self.on_ready(era, self.at, epoch);
        self.tell_others(era, &Message::Ready { epoch }, turn);
        turn.event(Event::Ready { epoch });
    }

    fn apply_decisions(&self, era: &Era, parent: u64, stage: &Stage, turn: &mut Turn<'_>) -> (usize, usize) {
        let mut settled = (0, 0);
        for (txid, outcome) in &stage.decisions {
            let Some(record) = record_of(*outcome) else {
                self.carry(era, txid, turn);
                continue;
            };
            match record {
                Record::Committed(_) => settled.0 += 1,
                Record::Aborted { .. } => settled.1 += 1,
            }
            self.settle_here(era, parent, *txid, record, turn);
        }
        settled
    }

    /// Applies, remembers and tells one decision of an opened epoch.
    fn settle_here(&self, era: &Era, parent: u64, txid: TxId, record: Record, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let stamped =
            Stamped { txid, coordinator: self.at, epoch: parent, generation: 0, at_ns: turn.now.mono_ns };
        shard.outcomes.learn(record, stamped);
        let coordinated = shard.coordinated.remove(&txid);
        let held = shard.held.remove(&txid);
        drop(shard);
        if let Some(one) = coordinated {
            self.settle_coordinated(txid, one, record, turn);
        } else if let Some(held) = held {
            self.settle_held(era, txid, &held, record, turn);
        } else if let Some(recovered) = self.recovered.lock().remove(&txid) {
            if let Record::Committed(ts) = record {
                self.apply_recovered(ts, &recovered.work);
            }
            self.log_outcome(txid, record, turn);
        }
    }

    fn settle_coordinated(&self, txid: TxId, one: Coordinated, record: Record, turn: &mut Turn<'_>) {
        // While syncing or behind a single-node log record it is applied already or not the flush's business.
        if !matches!(one.phase, Deciding::Syncing { .. }) {
            self.settle_txn(txid, &one.txn, one.logging.on, record, turn);
        }
        let why = Unavailable { member: self.me.node, why: Why::EpochChange };
        let reply = match (record, one.phase) {
            (Record::Committed(ts), _) => Reply::Committed(ts),
            (Record::Aborted { .. }, Deciding::Aborting { reply, .. }) => reply,
            (Record::Aborted { .. }, _) => Reply::Unavailable(why),
        };
        if one.answered {
            turn.out.effect(Effect::Settled { txid, outcome: record.told() });
        } else {
            turn.done(txid, reply);
        }
    }

    /// Of tables that it was loading the rows come anew.
    fn settle_held(&self, era: &Era, txid: TxId, held: &Held, record: Record, turn: &mut Turn<'_>) {
        match record {
            Record::Committed(ts) if self.is_behind(era, &held.work) => {
                self.log_commit(era, txid, ts, held, turn);
                turn.freed.extend(self.store.commit(&held.txn, ts));
            }
            record => self.settle_txn(txid, &held.txn, held.logging.on, record, turn),
        }
    }

    fn settle_txn(
        &self,
        txid: TxId,
        txn: &std::sync::Arc<Txn>,
        logged: bool,
        record: Record,
        turn: &mut Turn<'_>,
    ) {
        if logged {
            self.log_outcome(txid, record, turn);
        }
        let freed = match record {
            Record::Committed(ts) => self.store.commit(txn, ts),
            Record::Aborted { .. } => self.store.abort(txn),
        };
        turn.freed.extend(freed);
    }

    pub(crate) fn log_outcome(&self, txid: TxId, record: Record, turn: &mut Turn<'_>) {
        if self.durable {
            let fact = match record {
                Record::Committed(ts) => Fact::Committed { txid, ts },
                Record::Aborted { .. } => Fact::Aborted { txid },
            };
            turn.log(fact, Ack::Memory, None);
        }
    }

    /// What no decision names was prepared at no member that counts. Of a survivor's own that never happened: only it could
    /// have decided. A joiner does not know what became of its own while it was away, and of nobody's what others have settled.
    fn end_what_is_left(&self, era: &Era, parent: u64, survivor: bool, turn: &mut Turn<'_>) {
        let mut left: Vec<(TxId, Option<Timestamp>)> = Vec::new();
        for shard in self.shards.each() {
            let coordinated = shard.coordinated.iter();
            left.extend(coordinated.filter_map(|(txid, one)| match one.phase {
                Deciding::Logging(_) | Deciding::Queueing(_) => None,
                Deciding::Syncing { ts, .. } => Some((*txid, Some(ts))),
                Deciding::Voting { .. } | Deciding::Aborting { .. } => Some((*txid, None)),
            }));
            let prepared = |(_, held): &(&TxId, &Held)| !matches!(held.phase, Holding::Queueing(_));
            left.extend(shard.held.iter().filter(prepared).map(|(txid, _)| (*txid, None)));
        }
        left.retain(|(txid, _)| !era.carries(txid));
        left.sort_unstable();
        for (txid, ts) in left {
            match ts {
                Some(ts) => self.settle_here(era, parent, txid, Record::Committed(ts), turn),
                None if survivor => {
                    self.settle_here(era, parent, txid, Record::Aborted { sayable: true }, turn);
                }
                None => self.release(txid, turn),
            }
        }
        let mut recovered = self.recovered.lock();
        let mut stale: Vec<TxId> = recovered.keys().copied().filter(|txid| !era.carries(txid)).collect();
        stale.iter().for_each(|txid| drop(recovered.remove(txid)));
        drop(recovered);
        stale.sort_unstable();
        stale.into_iter().for_each(|txid| self.log_release(txid, turn));
    }

    /// Others have settled it while this node was away. An abort remembered here would speak against a commit.
    fn release(&self, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let coordinated = shard.coordinated.remove(&txid);
        let held = shard.held.remove(&txid);
        drop(shard);
        let ended = match (coordinated, held) {
            (Some(one), _) => {
                if !one.answered {
                    turn.done(txid, Reply::Unknown);
                }
                Some((one.txn, one.logging.on))
            }
            (None, held) => held.map(|held| (held.txn, held.logging.on)),
        };
        if let Some((txn, logged)) = ended {
            turn.freed.extend(self.store.abort(&txn));
            if logged {
                self.log_release(txid, turn);
            }
        }
    }

    fn log_release(&self, txid: TxId, turn: &mut Turn<'_>) {
        if self.durable {
            turn.log(Fact::Released { txid }, Ack::Memory, None);
        }
    }
}

/// A decision of an opened epoch may be told; nothing for what stays in doubt.
fn record_of(outcome: Outcome) -> Option<Record> {
    match outcome {
        Outcome::Committed(ts) => Some(Record::Committed(ts)),
        Outcome::Aborted => Some(Record::Aborted { sayable: true }),
        Outcome::Unknown => None,
    }
}
