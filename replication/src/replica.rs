//! One node's part in the agreement: its doors and what is behind them. Every door is one event; the effects go to the
//! sink; nothing waits. All doors take `&self` and may be used from many threads at once, with one rule: messages from
//! one peer are handed in one after another, in the order of their stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use foldhash::fast::FixedState;
use hypermnesia_store::{
    Ack, Incarnation, LoadError, NodeId, Storage, Store, TableId, Timestamp, TxId, Txn, Work,
};
use parking_lot::Mutex;

use crate::catchup::Tail;
use crate::effect::{Effect, Event, Fact, LogState, LogToken, Reply, Sink};
use crate::epoch::EpochFact;
use crate::era::{Era, Known};
use crate::limits::{CopyBounds, MEMBERS_MAX};
use crate::member::{Member, NodeSet, Peer};
use crate::message::Message;
use crate::outcome::{Outcome, Record, Stamped};
use crate::shard::Shards;
use crate::slots::{SlotTaken, Slots};
use crate::status::Loads;
use crate::time::Now;

/// The fixed facts about a node.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This node.
    pub node: NodeId,
    /// This life of it.
    pub incarnation: Incarnation,
    /// All members at their slots, this one among them; see [`first_slots`](crate::first_slots).
    pub members: Vec<(usize, Member)>,
    /// Whether there is a commit log. Without one no [`Effect::Log`] is ever emitted.
    pub durable: bool,
    /// How tables are cut when they are copied.
    pub copy: CopyBounds,
}

/// A transaction that was prepared before the restart and has no outcome in the log.
#[derive(Clone, Debug)]
pub struct RecoveredPrepare {
    /// The transaction.
    pub txid: TxId,
    /// Its epoch.
    pub epoch: u64,
    /// What it does.
    pub work: Arc<Work>,
}

/// What the log knew at the start. The store already holds everything that was committed.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Undecided ones.
    pub prepared: Vec<RecoveredPrepare>,
    /// What the log says of others: committed when, or aborted.
    pub outcomes: Vec<(TxId, Option<Timestamp>)>,
    /// The last [`Fact::Epoch`].
    pub epoch: Option<Vec<u8>>,
    /// The highest commit timestamp in the image and the log.
    pub last_commit: Timestamp,
}

/// A transaction to be committed.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// Reads, ranges, writes, schema versions.
    pub work: Arc<Work>,
    /// What must have happened on every disc copy before the caller hears "committed".
    pub ack: Ack,
    /// Whether the caller waits until every copy has applied it.
    pub sync: bool,
    /// When the caller must have heard something, on the clock of [`Now::mono_ns`].
    pub deadline_ns: u64,
}

/// See the file's header.
pub struct Replica {
    pub(crate) me: Peer,
    /// My slot.
    pub(crate) at: usize,
    pub(crate) slots: Slots<Member>,
    /// The id of the cluster, from when it is known: it stands in the log beside the slots.
    pub(crate) cluster: OnceLock<u128>,
    pub(crate) durable: bool,
    pub(crate) copy: CopyBounds,
    pub(crate) store: Arc<Store>,
    /// The epoch gate. Guards the [`Era`]; shared by handlers of transactions for the length of one handler, alone for rare
    /// events. Sharded, so that handlers on different cores do not write the same line.
    gate: ShardedLock<Era>,
    pub(crate) shards: Shards,
    /// Undecided transactions of an earlier life. Only touched with the gate held alone, or to list them.
    pub(crate) recovered: Mutex<HashMap<TxId, RecoveredPrepare, FixedState>>,
    /// Highest commit timestamp that the log knew at the start.
    pub(crate) recovered_commit: Timestamp,
    /// Whether local reads may be served: an epoch opened in this life and all tables are loaded. Read by every read, so
    /// it stands outside the gate. False again when this node is excluded.
    pub(crate) serving: AtomicBool,
    /// Some table is not served in the entered epoch.
    pub(crate) partial: AtomicBool,
    /// Counts how often rows here have come under other timestamps than before: see [`Replica::tenure`].
    pub(crate) tenure: AtomicU64,
    /// Whether the log takes more. Read by every transaction that has to be logged, so it stands outside the gate; one that
    /// reads it late waits for the log like those before it.
    log: AtomicU8,
    /// What loading found, for the status.
    pub(crate) loads: Mutex<Loads>,
    /// What was committed in the entered epoch to tables that are still being loaded.
    pub(crate) tail: Mutex<Tail>,
}

/// One event being handled: the time, the effects, and the prepares that were freed and are still to be continued.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut dyn Sink,
    pub(crate) freed: Vec<Arc<Txn>>,
}

impl Turn<'_> {
    pub(crate) fn send(&mut self, to: Peer, message: Message) {
        self.out.effect(Effect::Send { to, message });
    }

    pub(crate) fn log(&mut self, fact: Fact, level: Ack, token: Option<LogToken>) {
        self.out.effect(Effect::Log { fact, level, token });
    }

    pub(crate) fn done(&mut self, txid: TxId, reply: Reply) {
        self.out.effect(Effect::Done { txid, reply });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.effect(Effect::Event(event));
    }
}

const GATE: &str = "a handler that panicked has stopped the node";

impl Replica {
    /// A node at its start. Call [`Replica::start`] once the engine is ready for effects.
    ///
    /// # Panics
    /// When the node is not among the members, a member or a slot is named twice, there are more than [`MEMBERS_MAX`] slots, or what
    /// was recovered is of other members ([`crate::members_of`] and [`crate::check_members`] tell).
    pub fn new(config: ReplicaConfig, store: Arc<Store>, recovered: Recovered) -> Replica {
        let slots = Slots::of(config.members);
        let at = slots.position_of(config.node).expect("the configuration names this node as a member");
        let me = Peer { node: config.node, incarnation: config.incarnation };
        let era = recover_era(recovered.epoch.as_deref(), me, at, &slots);
        let shards = Shards::new();
        for (txid, ts) in &recovered.outcomes {
            let record = ts.map_or(Record::Aborted { sayable: false }, Record::Committed);
            let coordinator = slots.position_of(txid.node).unwrap_or(at);
            let stamped = Stamped { txid: *txid, coordinator, epoch: era.number(), generation: 1, at_ns: 0 };
            shards.of(txid).outcomes.learn(record, stamped);
        }
        Replica {
            me,
            at,
            slots,
            cluster: OnceLock::new(),
            durable: config.durable,
            copy: config.copy,
            store,
            gate: ShardedLock::new(era),
            shards,
            recovered: Mutex::new(recovered.prepared.into_iter().map(|one| (one.txid, one)).collect()),
            recovered_commit: recovered.last_commit,
            serving: AtomicBool::new(false),
            partial: AtomicBool::new(false),
            tenure: AtomicU64::new(0),
            log: AtomicU8::new(LogState::default() as u8),
            loads: Mutex::new(Loads::default()),
            tail: Mutex::new(Tail::default()),
        }
    }

    /// Why the log takes nothing new, or that it does: then whatever would have to be logged here is refused.
    pub fn set_log(&self, state: LogState) {
        self.log.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn log_state(&self) -> LogState {
        let now = self.log.load(Ordering::Relaxed);
        [LogState::NoSpace, LogState::Slow].into_iter().find(|state| *state as u8 == now).unwrap_or_default()
    }

    /// Begins. Nothing is served before [`Replica::on_agreed`] has told of an epoch.
    pub fn start(&self, now: Now, out: &mut dyn Sink) {
        let era = self.alone();
        let mut turn = Turn { now, out, freed: Vec::new() };
        self.remember_decisions(&era);
        self.repeat_decisions(&era, &mut turn);
        self.finish(&era, turn);
    }

    /// Commits a transaction that ran here. Exactly one [`Effect::Done`] comes of it, now or later.
    pub fn commit(&self, now: Now, txn: Arc<Txn>, request: CommitRequest, out: &mut dyn Sink) {
        let era = self.shared();
        let mut turn = Turn { now, out, freed: Vec::new() };
        self.begin_commit(&era, txn, request, &mut turn);
        self.finish(&era, turn);
    }

    /// Commits a transaction that no other node takes part in and no log waits for, unless it has to queue or is not of that
    /// kind: `None`, and [`Replica::commit`] goes on with it. No [`Effect::Done`] comes of it.
    pub fn commit_alone(
        &self,
        now: Now,
        txn: &Arc<Txn>,
        request: &CommitRequest,
        out: &mut dyn Sink,
    ) -> Option<Reply> {
        let era = self.shared();
        if !era.is_open()
            || !era.lacks.is_nothing()
            || !self.is_alone_in(&request.work)
            || self.missing(&era, NodeSet::only(self.at)).is_err()
        {
            return None;
        }
        let mut turn = Turn { now, out, freed: Vec::new() };
        let reply = self.commit_here(txn, request, &mut turn);
        self.finish(&era, turn);
        reply
    }

    /// Takes all rows of a table away that are this node's own, on disc too, and says how many there were; `None` when there
    /// is no such table. Called with the table locked for writing, so the log has it between what was written before and after.
    pub fn clear_own(&self, now: Now, table: TableId, out: &mut dyn Sink) -> Option<u64> {
        let era = self.shared();
        let mut turn = Turn { now, out, freed: Vec::new() };
        let rows = self.store.clear_own(table).ok();
        if rows.is_some() && self.durable && self.copies_where(table, Storage::is_on_disc).has(self.at) {
            turn.log(Fact::Loaded { table, clear: true, rows: Vec::new() }, Ack::Logged, None);
        }
        self.finish(&era, turn);
        rows
    }

    /// Ends a transaction that ran here, perhaps holds locks, and was never handed to [`Replica::commit`]. Nobody else has
    /// heard of it. Whoever waits for its locks goes on.
    pub fn abandon(&self, now: Now, txn: &Arc<Txn>, out: &mut dyn Sink) {
        let era = self.shared();
        let mut turn = Turn { now, out, freed: Vec::new() };
        turn.freed.extend(self.store.abort(txn));
        self.finish(&era, turn);
    }

    /// Takes a message. Those from another life than the one that is connected are dropped.
    pub fn on_message(&self, now: Now, from: Peer, message: Message, out: &mut dyn Sink) {
        let mut turn = Turn { now, out, freed: Vec::new() };
        match message {
            Message::Flush { .. }
            | Message::Ready { .. }
            | Message::Taking { .. }
            | Message::Copy { .. }
            | Message::Mark { .. }
            | Message::Marked { .. } => {
                let mut era = self.alone();
                if let Some(from) = self.life_of(&era, from) {
                    self.on_rare(&mut era, from, message, &mut turn);
                }
                self.finish(&era, turn);
            }
            _ => {
                let era = self.shared();
                if let Some(from) = self.life_of(&era, from) {
                    self.on_common(&era, from, message, &mut turn);
                }
                self.finish(&era, turn);
            }
        }
    }

    fn on_rare(&self, era: &mut Era, from: usize, message: Message, turn: &mut Turn<'_>) {
        match message {
            Message::Flush { number, step } => self.on_flush(era, from, number, step, turn),
            Message::Ready { epoch } => self.on_ready(era, from, epoch),
            Message::Taking { epoch } => era.peers[from].taking = era.peers[from].taking.max(epoch),
            Message::Copy { epoch, table, step } => self.on_copy(era, from, epoch, table, step, turn),
            Message::Mark { epoch, generation, settled } => {
                self.on_mark(era, from, epoch, generation, settled, turn);
            }
            Message::Marked { epoch, generation } => self.on_marked(era, from, epoch, generation),
            _ => unreachable!("the caller sorted it"),
        }
    }

    fn on_common(&self, era: &Era, from: usize, message: Message, turn: &mut Turn<'_>) {
        let current = |epoch: u64| era.is_open() && epoch == era.number() && era.present().has(from);
        match message {
            Message::Ask { txid } => {
                let answer = Message::Answer { txid, outcome: self.outcome(txid) };
                turn.send(self.peer(era, from), answer);
            }
            Message::Answer { txid, outcome } => self.on_answer(era, txid, outcome, turn),
            Message::Prepare(prepare) if current(prepare.epoch) => self.on_prepare(era, from, prepare, turn),
            Message::Vote { epoch, txid, vote } if current(epoch) => {
                self.on_vote(era, from, txid, vote, turn)
            }
            Message::Commit { epoch, txid, ts, acknowledge } if current(epoch) => {
                self.on_commit(era, from, txid, ts, acknowledge, turn);
            }
            Message::Applied { epoch, txid } if current(epoch) => self.on_applied(from, txid, turn),
            Message::Abort { epoch, txid } if current(epoch) => self.on_abort(era, from, txid, turn),
            Message::AbortRecorded { epoch, txid } if current(epoch) => {
                self.on_abort_recorded(era, from, txid, turn);
            }
            Message::Fetch { epoch, id, fetch } if current(epoch) => {
                self.on_fetch(era, from, id, fetch, turn)
            }
            Message::Fetched { epoch, id, answer } if current(epoch) => {
                turn.out.effect(Effect::Fetched { id, answer });
            }
            // Of another epoch, or this node is fenced: the flush settles what it was about.
            _ => {}
        }
    }

    /// The log has reached the level asked for.
    pub fn on_logged(&self, now: Now, token: LogToken, out: &mut dyn Sink) {
        let mut turn = Turn { now, out, freed: Vec::new() };
        match token {
            LogToken::Prepared(txid) => {
                let era = self.shared();
                self.on_prepared_logged(&era, txid, &mut turn);
                self.finish(&era, turn);
            }
            LogToken::Aborted(txid) => {
                let era = self.shared();
                self.on_abort_logged(&era, txid, &mut turn);
                self.finish(&era, turn);
            }
            LogToken::Applied(txid) => {
                let era = self.shared();
                self.on_applied_logged(&era, txid, &mut turn);
                self.finish(&era, turn);
            }
            LogToken::Staged(_) | LogToken::Complete(_) | LogToken::Marked { .. } => {
                let mut era = self.alone();
                self.on_rare_logged(&mut era, token, &mut turn);
                self.finish(&era, turn);
            }
        }
    }

    fn on_rare_logged(&self, era: &mut Era, token: LogToken, turn: &mut Turn<'_>) {
        match token {
            LogToken::Staged(number) => self.on_stage_kept(era, number, turn),
            LogToken::Complete(number) => self.on_complete_logged(era, number, turn),
            LogToken::Marked { coordinator, epoch, generation } if epoch == era.number() => {
                turn.send(self.peer(era, coordinator), Message::Marked { epoch, generation });
            }
            _ => {}
        }
    }

    /// The control plane says who is at a slot. Again with the same changes nothing.
    ///
    /// # Errors
    /// [`SlotTaken`]: this process knows another member there. Nothing changed; a new process gets it right.
    pub fn enlist(&self, slot: usize, member: Member) -> Result<(), SlotTaken> {
        self.slots.fill(slot, member).map(drop)
    }

    /// The id of the cluster that this node belongs to, for good.
    pub fn belongs_to(&self, cluster: u128) {
        // Whoever says another one is no cluster of this node's; it was asked before.
        self.cluster.get_or_init(|| cluster);
    }

    /// That id, from when it is known.
    pub fn cluster(&self) -> Option<u128> {
        self.cluster.get().copied()
    }

    /// This node's own slot.
    pub fn slot(&self) -> usize {
        self.at
    }

    /// Who is enlisted, as far as this node knows, by slot.
    pub fn slots(&self) -> &Slots<Member> {
        &self.slots
    }

    /// Who is at a slot is enlisted no longer: it is in no epoch, and will not be.
    pub fn strike(&self, slot: usize) {
        self.slots.give_back(slot);
    }

    /// The stream to a member is up. Whether a new life of it takes part is for the control plane to decide.
    pub fn on_connected(&self, now: Now, peer: Peer, out: &mut dyn Sink) {
        let mut era = self.alone();
        let mut turn = Turn { now, out, freed: Vec::new() };
        if let Some(at) = self.slots.position_of(peer.node).filter(|at| *at != self.at) {
            let known = &mut era.peers[at];
            if known.incarnation > Some(peer.incarnation) {
                return;
            }
            if known.incarnation != Some(peer.incarnation) {
                *known = Known { incarnation: Some(peer.incarnation), generation: 1, ..Known::default() };
                era.serving.retain(|copy| copy.joiner != at);
            }
            era.peers[at].connected = true;
            let member = era.opened.as_ref().is_some_and(|epoch| epoch.life(at) == Some(peer));
            if era.is_open() && member {
                self.tell_readiness(&era, peer, &mut turn);
            }
            // What was sent before the first connection went nowhere.
            self.ask_missing(&era, &mut turn);
            if era.agreed_number() > era.chain_number() {
                self.report_to_leader(&era, &mut turn);
            }
        }
        self.finish(&era, turn);
    }

    /// The stream to a member is down. What is on it will arrive when the same life connects again.
    pub fn on_disconnected(&self, now: Now, peer: Peer, _out: &mut dyn Sink) {
        let mut era = self.alone();
        if let Some(at) = self.life_of(&era, peer) {
            era.peers[at].connected = false;
            self.hurry(at, now);
        }
    }

    /// The stream to a member has become congested, or is no longer: see [`crate::stream::Outbox::is_congested`].
    pub fn set_congested(&self, node: NodeId, congested: bool) {
        if let Some(at) = self.slots.position_of(node) {
            self.alone().peers[at].congested = congested;
        }
    }

    /// What became of a transaction, as far as this node may say.
    pub fn outcome(&self, txid: TxId) -> Outcome {
        self.shards.of(&txid).outcomes.told(&txid)
    }

    /// A transaction that is being agreed on here and has no outcome yet, to wait for its status.
    pub fn under_way(&self, txid: TxId) -> Option<Arc<Txn>> {
        let shard = self.shards.of(&txid);
        let held = shard.held.get(&txid).map(|held| &held.txn);
        held.or_else(|| shard.coordinated.get(&txid).map(|one| &one.txn)).cloned()
    }

    /// Asks the coordinator of a transaction what became of it; [`Effect::Settled`] brings the answer if there is one.
    pub fn ask(&self, now: Now, txid: TxId, out: &mut dyn Sink) {
        let era = self.shared();
        let turn = Turn { now, out, freed: Vec::new() };
        let known = self.outcome(txid);
        if known != Outcome::Unknown {
            turn.out.effect(Effect::Settled { txid, outcome: known });
            return;
        }
        for at in self.slots.here().without(self.at).iter().filter(|at| era.peers[*at].connected) {
            turn.out.effect(Effect::Send { to: self.peer(&era, at), message: Message::Ask { txid } });
        }
    }

    fn on_answer(&self, era: &Era, txid: TxId, outcome: Outcome, turn: &mut Turn<'_>) {
        let record = match outcome {
            Outcome::Committed(ts) => Record::Committed(ts),
            Outcome::Aborted => Record::Aborted { sayable: true },
            Outcome::Unknown => return,
        };
        // Only said, not remembered, while this node may itself take part: its own record comes from the protocol.
        let mut shard = self.shards.of(&txid);
        if !shard.coordinated.contains_key(&txid) && !shard.held.contains_key(&txid) {
            let stamped = self.stamped(era, txid, self.at, turn.now);
            shard.outcomes.remember(record, Stamped { epoch: 0, ..stamped });
        }
        drop(shard);
        turn.out.effect(Effect::Settled { txid, outcome });
    }

    /// Applies a commit that this node had prepared in an earlier life. Nothing is served yet, so nothing is locked. Where a
    /// row that it changes cannot be read the node stops: the outcome is in the log, and the next start applies it.
    pub(crate) fn apply_recovered(&self, ts: Timestamp, work: &Work) {
        let mut here = work.writes.clone();
        here.retain(|write| self.copies_of(write.table).has(self.at));
        match self.store.load_writes(ts, &here) {
            Ok(()) => {}
            Err(error @ LoadError::Unreadable { .. }) => self.store.give_up(&error),
            Err(error) => panic!("its tables were locked by the prepare, so they are there: {error}"),
        }
    }

    // What the parts of this room use.

    pub(crate) fn shared(&self) -> ShardedLockReadGuard<'_, Era> {
        self.gate.read().expect(GATE)
    }

    pub(crate) fn alone(&self) -> ShardedLockWriteGuard<'_, Era> {
        self.gate.write().expect(GATE)
    }

    /// Continues every prepare that the event freed, and those that these free.
    fn finish(&self, era: &Era, mut turn: Turn<'_>) {
        self.finish_in(era, &mut turn);
    }

    /// The same, when the event is not over yet.
    pub(crate) fn finish_in(&self, era: &Era, turn: &mut Turn<'_>) {
        while !turn.freed.is_empty() {
            for txn in std::mem::take(&mut turn.freed) {
                self.resume(era, &txn.id, turn);
            }
        }
    }

    /// The position of a peer, if it is the life that this node knows.
    fn life_of(&self, era: &Era, peer: Peer) -> Option<usize> {
        self.slots
            .position_of(peer.node)
            .filter(|at| *at != self.at && era.peers[*at].incarnation == Some(peer.incarnation))
    }

    /// The life of a member that is known now. Only for members that were connected.
    pub(crate) fn peer(&self, era: &Era, at: usize) -> Peer {
        let incarnation = era.peers[at].incarnation.expect("it has spoken to us or is this node");
        Peer { node: self.slots.node(at), incarnation }
    }

    pub(crate) fn stamped(&self, era: &Era, txid: TxId, coordinator: usize, now: Now) -> Stamped {
        let own = coordinator == self.at;
        let generation = if own { era.generations.current } else { era.peers[coordinator].generation };
        Stamped { txid, coordinator, epoch: era.number(), generation, at_ns: now.mono_ns }
    }
}

/// Reads back from the log what was known of epochs. Nothing of them is live: this is another life.
fn recover_era(epoch: Option<&[u8]>, me: Peer, at: usize, slots: &Slots<Member>) -> Era {
    let mut era = Era { complete: true, stage_kept: true, ..Era::default() };
    era.peers.resize_with(MEMBERS_MAX, Known::default);
    era.peers[at].incarnation = Some(me.incarnation);
    era.peers[at].connected = true;
    if let Some(fact) = epoch.and_then(EpochFact::decode) {
        era.opened = fact.opened.as_ref().map(|stage| stage.epoch.clone());
        (era.staged, era.opening, era.complete) = (fact.staged, fact.opened, fact.complete);
        era.whole = fact.whole.into_iter().collect();
        let own = era.opening.iter().chain(&era.staged).all(|stage| stage.is_of(slots));
        assert!(own, "the log is of other members; see `members_of`");
    }
    era
}
