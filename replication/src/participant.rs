//! The participant's part of a transaction: a yes is never taken back, and what is asked again is not done again.
//! Described in `docs/protocol.md`. The coordinator's own copy prepares in `coordinator.rs`.
//!
//! Phases, as [`Holding`] names them: *Queueing* (behind older locks, bounded) or *AwaitingSchema* (a newer version is on
//! its way, bounded), nothing promised yet; *Logging*, prepared, the vote waits for the log; *Voted*; *Aborting*, told to
//! abort, the record waits for the log. Then only the outcome is left.
//!
//! | this node dies | what its log says | what becomes of it |
//! |---|---|---|
//! | before it prepared, or refusing | nothing | no yes was sent: the survivors decide, and where its copy was a table's only one, the silence of its log aborts |
//! | prepared, vote not sent | perhaps the prepare | the coordinator has no yes of it: not committed; the flush may commit or abort it, nobody was told anything |
//! | vote sent | the prepare, at levels `logged` and `synced` | whatever the survivors or, without any, all logs say |
//! | abort told, not recorded | the prepare | it owes the record: "aborted" was not told; the coordinator's record or a refuser decides the flush |
//! | abort recorded | the abort | the flush aborts |
//! | commit applied | perhaps the commit | the flush commits; its copy is compared and loaded anyway |

use std::sync::Arc;

use hypermnesia_store::{
    Ack, ClockAhead, Conflict, NodeId, Op, Prepared, Role, TableDef, TableId, Timestamp, TxId, Txn, Work,
    defined_by,
};

use parking_lot::MutexGuard;

use crate::catchup::SCHEMA_TABLE;
use crate::effect::{Event, Fact, LogState, LogToken};
use crate::era::Era;
use crate::limits::{HELD_MAX, PARK_NS_MAX, SHARDS};
use crate::member::NodeSet;
use crate::message::{Message, Prepare, Refusal, Vote};
use crate::outcome::Record;
use crate::replica::{Replica, Turn};
use crate::shard::{Coordinated, Deciding, Held, Holding, Queue, Shard};

impl Replica {
    pub(crate) fn on_prepare(&self, era: &Era, from: usize, prepare: Prepare, turn: &mut Turn<'_>) {
        let txid = prepare.txid;
        let mut shard = self.shards.of(&txid);
        if shard.held.contains_key(&txid) || shard.outcomes.get(&txid).is_some() {
            return;
        }
        if !self.takes(era, &prepare.work) {
            return self.vote_no(era, from, txid, Refusal::NotReady, turn);
        }
        if shard.held.len() >= HELD_MAX / SHARDS {
            return self.vote_no(era, from, txid, Refusal::Overloaded, turn);
        }
        let logging = self.logging_of(&prepare.work, &prepare.holders, prepare.level);
        let refusal = match self.log_state() {
            LogState::Open => None,
            LogState::NoSpace => Some(Refusal::NoSpace),
            LogState::Slow => Some(Refusal::SlowDisc),
        };
        if let Some(refusal) = refusal.filter(|_| logging.on) {
            return self.vote_no(era, from, txid, refusal, turn);
        }
        let held = Held {
            txn: self.store.begin(txid),
            logging,
            work: prepare.work,
            holders: prepare.holders,
            coordinator: from,
            deadline_ns: turn.now.mono_ns + PARK_NS_MAX.min(u64::from(prepare.wait_ms) * 1_000_000),
            began_ns: turn.now.mono_ns,
            phase: Holding::Queueing(Queue::default()),
        };
        shard.held.insert(txid, held);
        drop(shard);
        self.prepare_held(era, &txid, turn);
    }

    fn vote_no(&self, era: &Era, coordinator: usize, txid: TxId, refusal: Refusal, turn: &mut Turn<'_>) {
        let vote = Vote::Refused(refusal);
        turn.send(era.life(coordinator), Message::Vote { epoch: era.number(), txid, vote });
    }

    /// Prepares in the store, or continues to. The caller has set the phase to queueing and not parked.
    fn prepare_held(&self, era: &Era, txid: &TxId, turn: &mut Turn<'_>) {
        loop {
            let Some((txn, work)) = self.held_work(era, txid) else { return };
            match self.schema_of(&work) {
                Schema::Same => {}
                Schema::NewerHere => return self.refuse_held(era, txid, Refusal::SchemaChanged, turn),
                Schema::OlderHere => return self.await_schema(era, txid, turn),
            }
            if !self.durable && wants_disc(&work, self.me.node) {
                return self.refuse_held(era, txid, Refusal::NoDisc, turn);
            }
            match self.store.prepare(&txn, &work, turn.now.wall_ms, Role::Participant) {
                Prepared::Yes { proposal } => return self.prepared_held(era, txid, proposal, turn),
                Prepared::Refused(conflict) => {
                    let refusal = match conflict {
                        Conflict::SchemaChanged { .. } | Conflict::SchemaBehind { .. } => {
                            Refusal::SchemaChanged
                        }
                        other => Refusal::Conflict(other),
                    };
                    return self.refuse_held(era, txid, refusal, turn);
                }
                Prepared::Parked => {
                    let mut shard = self.shards.of(txid);
                    let Some(Held { phase: Holding::Queueing(queue), .. }) = shard.held.get_mut(txid) else {
                        return;
                    };
                    if queue.withdrawn {
                        return self.withdraw_held(era, shard, txid, turn);
                    }
                    if !std::mem::take(&mut queue.again) {
                        queue.parked = true;
                        return;
                    }
                }
            }
        }
    }

    fn held_work(&self, era: &Era, txid: &TxId) -> Option<(Arc<Txn>, Arc<Work>)> {
        let shard = self.shards.of(txid);
        shard
            .held
            .get(txid)
            .map(|held| (Arc::clone(&held.txn), self.part_held_here(era, &held.work, &held.holders)))
    }

    /// Compares the schema versions that a transaction noted with this node's.
    fn schema_of(&self, work: &Work) -> Schema {
        let mut schema = Schema::Same;
        for (table, noted) in &work.schema {
            let here = self.store.table(*table).map(|table| table.def().version);
            match here.cmp(&Some(*noted)) {
                std::cmp::Ordering::Greater => return Schema::NewerHere,
                std::cmp::Ordering::Less if self.copies_of(*table).has(self.at) => schema = Schema::OlderHere,
                _ => {}
            }
        }
        schema
    }

    fn await_schema(&self, era: &Era, txid: &TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(txid);
        let Some(held) = shard.held.get_mut(txid) else { return };
        // Aborted while this thread looked: who waits now would wait for a commit that never comes.
        if matches!(held.phase, Holding::Queueing(Queue { withdrawn: true, .. })) {
            return self.withdraw_held(era, shard, txid, turn);
        }
        held.phase = Holding::AwaitingSchema;
    }

    /// Nothing was promised: forgets the transaction and says no.
    fn refuse_held(&self, era: &Era, txid: &TxId, refusal: Refusal, turn: &mut Turn<'_>) {
        let Some(held) = self.shards.of(txid).held.remove(txid) else { return };
        turn.freed.extend(self.store.abort(&held.txn));
        self.vote_no(era, held.coordinator, *txid, refusal, turn);
    }

    fn prepared_held(&self, era: &Era, txid: &TxId, proposal: Timestamp, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(txid);
        let Some(held) = shard.held.get_mut(txid) else { return };
        if matches!(held.phase, Holding::Queueing(Queue { withdrawn: true, .. })) {
            return self.withdraw_held(era, shard, txid, turn);
        }
        // Under the shard's lock: what follows from an abort must not be ahead of this in the log.
        let (logging, coordinator) = (held.logging, held.coordinator);
        held.phase = if logging.waits() { Holding::Logging(proposal) } else { Holding::Voted };
        if logging.on {
            let token = logging.waits().then_some(LogToken::Prepared(*txid));
            self.log_prepared(era, *txid, &held.holders, &held.work, logging.level, token, turn);
        }
        if !logging.waits() {
            let vote = Vote::Yes { proposal };
            turn.send(era.life(coordinator), Message::Vote { epoch: era.number(), txid: *txid, vote });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one record, used at two places")]
    pub(crate) fn log_prepared(
        &self,
        era: &Era,
        txid: TxId,
        holders: &[(TableId, NodeSet)],
        work: &Arc<Work>,
        level: Ack,
        token: Option<LogToken>,
        turn: &mut Turn<'_>,
    ) {
        let all = holders.iter().fold(NodeSet::EMPTY, |set, (_, holders)| set.and(*holders));
        let participants =
            all.iter().map(|at| era.life(at)).map(|life| (life.node, life.incarnation)).collect();
        let fact = Fact::Prepared { txid, epoch: era.number(), participants, work: Arc::clone(work) };
        turn.log(fact, level, token);
    }

    pub(crate) fn on_prepared_logged(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        if !era.is_open() {
            return; // Fenced: it has been reported as prepared, and the flush decides.
        }
        let mut shard = self.shards.of(&txid);
        if let Some(Coordinated { phase: Deciding::Voting { .. }, .. }) = shard.coordinated.get(&txid) {
            drop(shard);
            return self.vote_here(era, txid, turn);
        }
        let Some(held) = shard.held.get_mut(&txid) else { return };
        if let Holding::Logging(proposal) = held.phase {
            held.phase = Holding::Voted;
            let vote = Vote::Yes { proposal };
            turn.send(era.life(held.coordinator), Message::Vote { epoch: era.number(), txid, vote });
        }
    }

    pub(crate) fn on_commit(
        &self,
        era: &Era,
        from: usize,
        txid: TxId,
        ts: Timestamp,
        acknowledge: bool,
        turn: &mut Turn<'_>,
    ) {
        let mut shard = self.shards.of(&txid);
        let voted = matches!(shard.held.get(&txid), Some(Held { phase: Holding::Voted, coordinator, .. }) if *coordinator == from);
        if !voted {
            return;
        }
        let held = shard.held.remove(&txid).expect("found just above");
        shard.outcomes.remember(Record::Committed(ts), self.stamped(era, txid, from, turn.now));
        drop(shard);
        self.follow_clock(txid.node, ts, turn);
        self.keep_tail(era, ts, &held.work);
        self.log_commit(era, txid, ts, &held, turn);
        turn.freed.extend(self.store.commit(&held.txn, ts));
        if acknowledge {
            turn.send(era.life(from), Message::Applied { epoch: era.number(), txid });
        }
        if held.work.writes.iter().any(|write| write.table == SCHEMA_TABLE) {
            self.schema_moved(era, turn);
        }
    }

    pub(crate) fn on_abort(&self, era: &Era, from: usize, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let Some(held) = shard.held.get_mut(&txid).filter(|held| held.coordinator == from) else { return };
        match &mut held.phase {
            // It runs on another thread, which will see this.
            Holding::Queueing(queue) if !queue.parked => queue.withdrawn = true,
            Holding::Queueing(_) | Holding::AwaitingSchema => {
                self.withdraw_held(era, shard, &txid, turn);
            }
            Holding::Logging(_) | Holding::Voted => self.record_abort(era, from, shard, txid, turn),
            Holding::Aborting => {}
        }
    }

    /// Never voted, never will: as good as recorded, since a prepare that comes again would have to come from this
    /// coordinator, and nothing of it is in the log.
    fn withdraw_held(&self, era: &Era, mut shard: MutexGuard<'_, Shard>, txid: &TxId, turn: &mut Turn<'_>) {
        let Some(held) = shard.held.remove(txid) else { return };
        let stamped = self.stamped(era, *txid, held.coordinator, turn.now);
        shard.outcomes.remember(Record::Aborted { sayable: false }, stamped);
        drop(shard);
        turn.freed.extend(self.store.abort(&held.txn));
        let recorded = Message::AbortRecorded { epoch: era.number(), txid: *txid };
        turn.send(era.life(held.coordinator), recorded);
    }

    fn record_abort(
        &self,
        era: &Era,
        from: usize,
        mut shard: MutexGuard<'_, Shard>,
        txid: TxId,
        turn: &mut Turn<'_>,
    ) {
        shard.outcomes.remember(Record::Aborted { sayable: false }, self.stamped(era, txid, from, turn.now));
        let held = shard.held.get_mut(&txid).expect("the caller found it");
        held.phase = Holding::Aborting;
        let logging = held.logging;
        if logging.on {
            let token = logging.waits().then_some(LogToken::Aborted(txid));
            turn.log(Fact::Aborted { txid }, logging.level, token);
        }
        drop(shard);
        if !logging.waits() {
            self.end_abort(era, txid, turn);
        }
    }

    /// Recorded: the keys are free and the coordinator may count it.
    fn end_abort(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        if !matches!(shard.held.get(&txid), Some(Held { phase: Holding::Aborting, .. })) {
            return;
        }
        let held = shard.held.remove(&txid).expect("found just above");
        drop(shard);
        turn.freed.extend(self.store.abort(&held.txn));
        turn.send(era.life(held.coordinator), Message::AbortRecorded { epoch: era.number(), txid });
    }

    pub(crate) fn on_abort_logged(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        if !era.is_open() {
            return; // Fenced: it was reported as aborted; nothing more is told for this epoch.
        }
        let coordinated = self.shards.of(&txid).coordinated.contains_key(&txid);
        if coordinated { self.own_abort_logged(era, txid, turn) } else { self.end_abort(era, txid, turn) }
    }

    /// A prepare that waited in the store may go on.
    pub(crate) fn resume(&self, era: &Era, txid: &TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(txid);
        if let Some(Coordinated { phase: Deciding::Queueing(queue), .. }) = shard.coordinated.get_mut(txid) {
            if wake(queue) {
                drop(shard);
                self.prepare_here(era, txid, turn);
            }
            return;
        }
        if let Some(Held { phase: Holding::Queueing(queue), .. }) = shard.held.get_mut(txid)
            && wake(queue)
        {
            drop(shard);
            self.prepare_held(era, txid, turn);
        }
    }

    /// The schema has changed here: whoever waited for that looks again.
    pub(crate) fn schema_moved(&self, era: &Era, turn: &mut Turn<'_>) {
        let mut waiting = Vec::new();
        for mut shard in self.shards.each() {
            for (txid, held) in &mut shard.held {
                if held.phase == Holding::AwaitingSchema {
                    held.phase = Holding::Queueing(Queue::default());
                    waiting.push(*txid);
                }
            }
        }
        waiting.sort_unstable();
        waiting.iter().for_each(|txid| self.prepare_held(era, txid, turn));
    }

    /// Time has passed for a transaction that waits here.
    pub(crate) fn held_expired(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let refusal = match shard.held.get(&txid).map(|held| held.phase) {
            Some(Holding::Queueing(queue)) if queue.parked => Refusal::Waited,
            Some(Holding::AwaitingSchema) => Refusal::SchemaChanged,
            _ => return,
        };
        // Taken out under the same look that found it parked: nobody is running it and nobody will.
        let held = shard.held.remove(&txid).expect("found just above");
        drop(shard);
        turn.freed.extend(self.store.abort(&held.txn));
        self.vote_no(era, held.coordinator, txid, refusal, turn);
    }

    /// Raises the clock to a timestamp heard. One that is too far ahead is not followed, and people hear of it.
    pub(crate) fn follow_clock(&self, member: NodeId, ts: Timestamp, turn: &mut Turn<'_>) {
        if let Err(ClockAhead { ahead_ms }) = self.store.clock().observe(ts) {
            turn.event(Event::ClockAhead { member, ahead_ms });
        }
    }
}

/// Whether a definition in it gives this member a copy on disc. The system's own tables are on disc wherever there is one.
fn wants_disc(work: &Work, me: NodeId) -> bool {
    let defined =
        work.writes.iter().filter(|write| write.table == SCHEMA_TABLE).filter_map(|write| match &write.op {
            Op::Put(row) => defined_by(row).ok().flatten(),
            _ => None,
        });
    let on_disc = |def: &TableDef| def.copy_on(me).is_some_and(|copy| copy.storage.is_on_disc());
    defined.into_iter().any(|def| !def.is_system() && on_disc(&def))
}

/// How this node's schema compares with what a transaction noted.
enum Schema {
    Same,
    NewerHere,
    OlderHere,
}

/// Whether the caller is to continue it: it was parked and now is running. Else whoever runs it will look again.
fn wake(queue: &mut Queue) -> bool {
    if queue.parked {
        queue.parked = false;
        return true;
    }
    queue.again = true;
    false
}
