//! What happens on a member when the epoch it staged is open: decisions are applied, shown and told, here and not one step
//! earlier; what no decision names is ended; the member takes its place. Described in `docs/protocol.md`, and with its
//! crash table in `flush.rs`.

use hypermnesia_store::{Ack, Timestamp, TxId, Txn};

use crate::effect::{Effect, Event, Fact, LogToken, Reply, Unavailable, Why};
use crate::epoch::{EpochFact, Stage};
use crate::era::{Era, Generations};
use crate::message::Message;
use crate::outcome::{Outcome, Record, Stamped};
use crate::replica::{Replica, Turn};
use crate::shard::{Coordinated, Deciding, Held, Holding};

impl Replica {
    pub(crate) fn open_staged(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let stage = era.staged.clone().expect("the caller looked");
        let parent = era.number();
        let survivor = stage.standings[self.at].survivor;
        if era.complete && !survivor {
            // Whole as of the epoch before, and untouched since, until it begins to load.
            let mine = self.store.tables().into_iter().map(|table| table.id());
            era.whole = mine.map(|table| (table, parent)).collect();
            era.complete = false;
        }
        era.live = stage.epoch.members[self.at] == self.me;
        self.keep_the_truth(era, &stage);
        era.opened = Some(stage.epoch.clone());
        era.opening = Some(stage.clone());
        self.log_epoch(era, Ack::Logged, None, turn);
        self.follow_clock(self.me.node, stage.stamp, turn);
        let settled = self.apply_decisions(parent, &stage, turn);
        self.end_what_is_left(parent, turn);
        let number = stage.epoch.number;
        era.fenced = era.promised > number;
        era.generations = Generations::default();
        // Tables change between epochs.
        era.serving.clear();
        for (at, known) in era.peers.iter_mut().enumerate() {
            (known.generation, known.settled) = (1, 0);
            let behind = known.state.as_ref().is_some_and(|state| state.opened_number() < number);
            if at != self.at && behind {
                known.state = None;
            }
        }
        let joiner = |at: &usize| !stage.standings[*at].survivor;
        let joiners = (0..self.members.len()).filter(joiner).map(|at| self.members[at].node).collect();
        turn.event(Event::EpochOpened { number, joiners, settled });
        if era.live && !era.fenced {
            self.enter(era, turn);
        }
    }

    /// Writes down what is known of epochs.
    pub(crate) fn log_epoch(&self, era: &Era, level: Ack, token: Option<LogToken>, turn: &mut Turn<'_>) {
        if self.durable {
            let fact = EpochFact {
                staged: era.staged.clone(),
                opened: era.opening.clone(),
                complete: era.complete,
                whole: era.whole.iter().map(|(table, number)| (*table, *number)).collect(),
                hearsay: era.hearsay,
            };
            turn.log(Fact::Epoch(fact.encode()), level, token);
        }
    }

    /// The tables of which this node's copy was chosen as the one that all others load: nothing better exists, so it is
    /// whole by definition, from this moment on and whoever leads the next epoch change.
    fn keep_the_truth(&self, era: &mut Era, stage: &Stage) {
        for table in self.store.tables() {
            if self.source_in(&stage.standings, table.id()) == Some(self.at) {
                era.whole.insert(table.id(), stage.epoch.number);
            }
        }
    }

    /// After a restart: the log has the stage and the opening of its epoch, and may have lost the outcomes behind them.
    pub(crate) fn repeat_decisions(&self, era: &Era, turn: &mut Turn<'_>) {
        let Some(stage) = era.staged.as_ref().filter(|stage| stage.epoch.number == era.number()) else {
            return;
        };
        let undecided = |txid: &TxId| self.recovered.lock().contains_key(txid);
        for (txid, outcome) in stage.decisions.iter().filter(|(txid, _)| undecided(txid)) {
            self.settle_here(stage.epoch.parent, *txid, record_of(*outcome), turn);
        }
    }

    /// Takes its place in the epoch that has just opened.
    fn enter(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let state = era.state();
        self.tell_others(era, &Message::State(state), turn);
        if era.complete {
            self.become_ready(era, turn);
        } else {
            self.begin_loading(era, turn);
        }
    }

    pub(crate) fn tell_others(&self, era: &Era, message: &Message, turn: &mut Turn<'_>) {
        for at in (0..self.members.len()).filter(|at| *at != self.at) {
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
        era.peers[self.at].ready = epoch;
        self.serve();
        self.tell_others(era, &Message::Ready { epoch }, turn);
        turn.event(Event::Ready { epoch });
    }

    fn apply_decisions(&self, parent: u64, stage: &Stage, turn: &mut Turn<'_>) -> (usize, usize) {
        let mut settled = (0, 0);
        for (txid, outcome) in &stage.decisions {
            match outcome {
                Outcome::Committed(_) => settled.0 += 1,
                Outcome::Aborted | Outcome::Unknown => settled.1 += 1,
            }
            self.settle_here(parent, *txid, record_of(*outcome), turn);
        }
        settled
    }

    /// Applies, remembers and tells one decision of an opened epoch.
    fn settle_here(&self, parent: u64, txid: TxId, record: Record, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let stamped =
            Stamped { txid, coordinator: self.at, epoch: parent, generation: 0, at_ns: turn.now.mono_ns };
        shard.outcomes.remember(record, stamped);
        let coordinated = shard.coordinated.remove(&txid);
        let held = shard.held.remove(&txid);
        drop(shard);
        if let Some(one) = coordinated {
            self.settle_coordinated(txid, one, record, turn);
        } else if let Some(held) = held {
            self.settle_txn(txid, &held.txn, held.logging.on, record, turn);
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

    fn log_outcome(&self, txid: TxId, record: Record, turn: &mut Turn<'_>) {
        if self.durable {
            let fact = match record {
                Record::Committed(ts) => Fact::Committed { txid, ts },
                Record::Aborted { .. } => Fact::Aborted { txid },
            };
            turn.log(fact, Ack::Memory, None);
        }
    }

    /// What no decision names was prepared at no member that reported: it never happened. Except what is decided already.
    fn end_what_is_left(&self, parent: u64, turn: &mut Turn<'_>) {
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
        left.sort_unstable();
        for (txid, ts) in left {
            let record = ts.map_or(Record::Aborted { sayable: true }, Record::Committed);
            self.settle_here(parent, txid, record, turn);
        }
        // Of epochs before the parent: settled then, without this node, whose tables are compared and loaded. What
        // became of them is not known here, so nothing is remembered.
        let mut stale: Vec<TxId> = self.recovered.lock().drain().map(|(txid, _)| txid).collect();
        stale.sort_unstable();
        stale.into_iter().for_each(|txid| self.log_outcome(txid, Record::Aborted { sayable: false }, turn));
    }
}

/// A decision of an opened epoch may be told.
fn record_of(outcome: Outcome) -> Record {
    match outcome {
        Outcome::Committed(ts) => Record::Committed(ts),
        Outcome::Aborted | Outcome::Unknown => Record::Aborted { sayable: true },
    }
}
