//! What stays in doubt from one epoch to the next, since only who is away knows whether it happened: see `settle.rs`. Who
//! has a copy of a table that such a transaction touches holds its locks and marks, and has it in its log: else it would show
//! rows past it, could not apply it once it is decided, and would be asked in the next epoch change as one who had refused.
//!
//! A joiner gets these transactions with the rows of each table, from who it copies them from. It has one in its log before it
//! says of the table that its copy is whole, and takes locks and marks when all tables are there, before it serves.
//!
//! The same holds of outcomes: who comes back with the only copy of a table may be in doubt about what the others have settled.
//! They keep what was not settled when the table was served last ([`Outcomes::keep`](crate::outcome::Outcomes::keep)), and a
//! joiner gets it with the rows: it may be the only one of them that is left then.

use std::sync::Arc;

use hypermnesia_store::{Ack, Prepared, Role, TableId, TxId, Work};

use parking_lot::MutexGuard;

use crate::effect::Fact;
use crate::epoch::Stage;
use crate::era::Era;
use crate::holders::part_of;
use crate::limits::COPY_CHUNK_ROWS;
use crate::member::NodeSet;
use crate::message::{CopyStep, Message};
use crate::outcome::{Outcome, Record, Stamped};
use crate::replica::{RecoveredPrepare, Replica, Turn};
use crate::shard::{Held, Holding, Shard};

impl Era {
    /// Whether the entered epoch left this transaction in doubt.
    pub(crate) fn carries(&self, txid: &TxId) -> bool {
        let decisions = self.opening.as_ref().map_or(&[][..], |stage| &stage.decisions);
        let named = decisions.binary_search_by_key(txid, |(txid, _)| *txid);
        named.is_ok_and(|at| decisions[at].1 == Outcome::Unknown)
    }

    /// Whether it left any in doubt.
    pub(crate) fn carries_any(&self) -> bool {
        !self.carried().is_empty()
    }

    /// All that it left in doubt.
    fn carried(&self) -> Vec<TxId> {
        let decisions = self.opening.iter().flat_map(|stage| &stage.decisions);
        decisions.filter(|(_, outcome)| *outcome == Outcome::Unknown).map(|(txid, _)| *txid).collect()
    }
}

impl Replica {
    /// It stays in doubt in the epoch that is being entered. Who still has to load lets go of its locks and marks, as rows come
    /// anew beneath them, and shows nothing until it has taken them again.
    pub(crate) fn carry(&self, era: &Era, txid: &TxId, turn: &mut Turn<'_>) {
        if era.complete {
            return self.hold_carried(era, txid, turn);
        }
        let Some(held) = self.shards.of(txid).held.remove(txid) else { return };
        self.serve(false);
        self.end_tenure();
        turn.freed.extend(self.store.abort(&held.txn));
        let recovered = RecoveredPrepare { txid: *txid, epoch: era.number(), work: held.work };
        self.recovered.lock().insert(*txid, recovered);
    }

    /// The tables are there: takes the locks and marks of all that is carried, before anything else happens in the epoch.
    pub(crate) fn hold_all_carried(&self, era: &Era, turn: &mut Turn<'_>) {
        era.carried().iter().for_each(|txid| self.hold_carried(era, txid, turn));
    }

    /// Prepared, here or where the rows came from: its vote counts, whether or not its log has come to that.
    fn hold_carried(&self, era: &Era, txid: &TxId, turn: &mut Turn<'_>) {
        let known = self.shards.of(txid).held.get(txid).map(|held| Arc::clone(&held.work));
        if let Some(work) = known {
            let work = self.what_is_left(era, work);
            let holders = self.holders_in_any(&work);
            if let Some(held) = self.shards.of(txid).held.get_mut(txid) {
                (held.phase, held.holders, held.work) = (Holding::Voted, holders, work);
            }
            return;
        }
        let Some(mut recovered) = self.recovered.lock().remove(txid) else { return };
        recovered.work = self.what_is_left(era, recovered.work);
        let holders = self.holders_in_any(&recovered.work);
        let txn = self.store.begin(*txid);
        let part = self.part_held_here(era, &recovered.work, &served(era, &holders));
        let part = self.under_present_definitions(&part);
        let prepared = self.store.prepare(&txn, &part, turn.now.wall_ms, Role::Participant);
        assert!(
            matches!(prepared, Prepared::Yes { .. }),
            "others hold its locks on the same rows: {prepared:?}"
        );
        let logging = self.logging_of(&recovered.work, &holders, Ack::Logged);
        if logging.on {
            // Once more, behind the rows that were loaded: who reads the log from there on finds what its outcome is about.
            let (epoch, work) = (era.number(), Arc::clone(&recovered.work));
            let fact = Fact::Prepared { txid: *txid, epoch, participants: Vec::new(), work };
            turn.log(fact, Ack::Memory, None);
        }
        let held = Held {
            txn,
            logging,
            work: recovered.work,
            holders,
            coordinator: self.slots.position_of(txid.node).unwrap_or(self.at),
            deadline_ns: turn.now.mono_ns,
            began_ns: turn.now.mono_ns,
            phase: Holding::Voted,
        };
        self.shards.of(txid).held.insert(*txid, held);
    }

    /// Where a table was not served nobody had its locks, and its definition may have changed: rows keep the form in which they were
    /// written, and what was validated under the former one was validated.
    fn under_present_definitions(&self, work: &Arc<Work>) -> Arc<Work> {
        let mut work = Work::clone(work);
        for (table, version) in &mut work.schema {
            *version = self.store.table(*table).map_or(*version, |open| open.def().version);
        }
        Arc::new(work)
    }

    /// Without what it did in tables that began empty in this epoch: what it has read there is gone, and not all members that
    /// have a copy of them from now on know what it would change.
    fn what_is_left(&self, era: &Era, work: Arc<Work>) -> Arc<Work> {
        let gone = |(table, _): &(TableId, NodeSet)| self.begins_empty(era, *table);
        if !self.holders_in_any(&work).iter().any(gone) {
            return work;
        }
        part_of(&work, |table| !self.begins_empty(era, table))
    }

    /// Before an epoch is entered: who has the copies of a table that it does not serve may come back in doubt about whatever is
    /// not settled by now.
    pub(crate) fn keep_outcomes(&self, era: &Era, stage: &Stage) {
        for mut shard in self.shards.each() {
            match stage.unserved.is_empty() {
                true => shard.outcomes.keep_none(),
                false => shard.outcomes.keep(|stamped| self.is_settled(era, stamped)),
            }
        }
    }

    /// The same of what it decided.
    pub(crate) fn keep_decisions(&self, stage: &Stage) {
        if !stage.unserved.is_empty() {
            for (txid, _) in &stage.decisions {
                self.shards.of(txid).outcomes.keep_one(*txid);
            }
        }
    }

    /// What a joiner remembers counts in the flush that takes it in, and is of no more use behind it.
    pub(crate) fn forget_untold_aborts(&self) {
        self.shards.each().for_each(|mut shard| shard.outcomes.forget_untold_aborts());
    }

    fn send_kept(&self, era: &Era, joiner: usize, table: TableId, turn: &mut Turn<'_>) {
        let of = |shard: MutexGuard<'_, Shard>| {
            shard.outcomes.kept().map(|(txid, record)| (txid, record.fact())).collect::<Vec<_>>()
        };
        let mut kept: Vec<_> = self.shards.each().flat_map(of).collect();
        kept.sort_unstable_by_key(|(txid, _)| *txid);
        for some in kept.chunks(COPY_CHUNK_ROWS) {
            let step = CopyStep::Settled(some.to_vec());
            turn.send(era.life(joiner), Message::Copy { epoch: era.number(), table, step });
        }
    }

    /// The joiner's side.
    pub(crate) fn on_kept(&self, era: &Era, outcomes: Vec<(TxId, Outcome)>, turn: &mut Turn<'_>) {
        for (txid, outcome) in outcomes {
            let record = match outcome {
                Outcome::Committed(ts) => Record::Committed(ts),
                Outcome::Aborted => Record::Aborted { sayable: false },
                Outcome::Unknown => continue,
            };
            let mut shard = self.shards.of(&txid);
            if shard.outcomes.get(&txid).map(Record::fact) != Some(outcome) {
                let stamped = Stamped { generation: 0, ..self.stamped(era, txid, self.at, turn.now) };
                shard.outcomes.learn(record, stamped);
                drop(shard);
                self.log_outcome(txid, record, turn);
                shard = self.shards.of(&txid);
            }
            shard.outcomes.keep_one(txid);
        }
    }

    /// What is carried in the entered epoch and touches a table, to the joiner that has all rows of it with the next message.
    pub(crate) fn send_carried(&self, era: &Era, joiner: usize, table: TableId, turn: &mut Turn<'_>) {
        self.send_kept(era, joiner, table, turn);
        for txid in era.carried() {
            let held = self.shards.of(&txid).held.get(&txid).map(|held| Arc::clone(&held.work));
            let recovered = || self.recovered.lock().get(&txid).map(|one| Arc::clone(&one.work));
            let work = held.or_else(recovered).filter(|work| self.touches(work, table));
            if let Some(work) = work {
                let step = CopyStep::InDoubt { txid, work };
                turn.send(era.life(joiner), Message::Copy { epoch: era.number(), table, step });
            }
        }
    }

    fn touches(&self, work: &Work, table: TableId) -> bool {
        self.holders_in_any(work).iter().any(|(id, _)| *id == table)
    }

    /// The joiner's side: as if it had prepared it and started again since. What the log says of the table comes behind this.
    pub(crate) fn on_carried(&self, era: &Era, txid: TxId, work: Arc<Work>, turn: &mut Turn<'_>) {
        let known =
            self.shards.of(&txid).held.contains_key(&txid) || self.recovered.lock().contains_key(&txid);
        if known || !era.carries(&txid) {
            return;
        }
        if self.logging(&self.holders_in_any(&work), Ack::Logged).on {
            let (epoch, participants) = (era.number(), Vec::new());
            let fact = Fact::Prepared { txid, epoch, participants, work: Arc::clone(&work) };
            turn.log(fact, Ack::Memory, None);
        }
        self.recovered.lock().insert(txid, RecoveredPrepare { txid, epoch: era.number(), work });
    }
}

/// Who holds what of it where the entered epoch serves it: other copies are not as they were when it was prepared.
fn served(era: &Era, holders: &[(TableId, NodeSet)]) -> Vec<(TableId, NodeSet)> {
    let served = |(table, holders): &(TableId, NodeSet)| {
        (*table, if era.serves(*table) { *holders } else { NodeSet::EMPTY })
    };
    holders.iter().map(served).collect()
}
