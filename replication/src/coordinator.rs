//! The coordinator's part of a transaction. It believes nobody but the votes, and it never tells an abort early.
//! Described in `docs/protocol.md`.
//!
//! Phases, as [`Deciding`] names them:
//! 1. *Queueing.* Every replica of every touched table must be connected and ready, else `Unavailable` and nothing is
//!    sent. Prepare here first: writers of one node queue here, so a hot key costs a queue and no storm of retries.
//! 2. *Voting.* One Prepare to every other participant; this node's own vote may wait for the log meanwhile.
//! 3. All yes: the transaction *is* committed, at the largest proposal. Commit is queued to all others, then applied
//!    here, then the locks go, then the caller hears: one round trip. With `sync` it hears after all have applied.
//! 4. Any no, or a vote missing shortly before the deadline: *Aborting.* Abort goes to every participant that did not
//!    refuse; the caller hears of it when all of them have recorded it, and `Unknown` if that does not happen in time.
//!
//! | this node dies | others know | what becomes of it |
//! |---|---|---|
//! | while queueing | nothing | it never was |
//! | some Prepares out, some votes in | some are prepared | the flush: commit if all survivors prepared, else abort; nobody was told anything |
//! | all votes in, not told | all are prepared | the flush commits |
//! | told, no Commit out | all are prepared | the flush commits: what was told holds |
//! | some Commits out | a commit record | the flush commits, at that timestamp |
//! | decided to abort, some recorded | a refusal or silence, abort records | the flush aborts where a record or an unprepared survivor is left; else it commits, and nobody was told "aborted" |
//! | abort told | an abort record at every one that did not refuse | whoever survives has a record or never prepared: the flush aborts |
//! | single-node record logged, not told | | the log applies it: committed, nobody was told otherwise |
//!
//! The local prepare of a disc table is logged like everyone's; the decision is not waited for, since after a restart of
//! all the prepares of all decide the same.

use std::sync::Arc;

use hypermnesia_store::{Ack, CommittedLocal, Conflict, Prepared, Role, TableId, Timestamp, TxId, Txn, Work};

use crate::catchup::SCHEMA_TABLE;
use crate::effect::{Effect, Fact, LogToken, Reply, Unavailable, Why};
use crate::era::Era;
use crate::limits::{ABORT_GRACE_NS, COORDINATED_MAX, DEADLINE_NS_MAX, SHARDS};
use crate::member::NodeSet;
use crate::message::{Message, Prepare, Refusal, Vote};
use crate::outcome::{Outcome, Record};
use crate::replica::{CommitRequest, Replica, Turn};
use crate::shard::{Coordinated, Deciding, Queue};

/// What a change of phase leads to, done after the shard is let go.
enum Next {
    Nothing,
    Commit(Committed),
    Abort,
}

/// A transaction that has just been decided to commit.
struct Committed {
    txn: Arc<Txn>,
    participants: NodeSet,
    logged: bool,
    sync: bool,
    /// It changes a definition: prepares from elsewhere may wait for that.
    schema: bool,
    ts: Timestamp,
}

/// What the caller hears of a refusal by this node's own store.
fn refused(conflict: Conflict) -> Reply {
    match conflict {
        Conflict::SchemaChanged { .. } => Reply::SchemaChanged,
        other => Reply::Conflict(other),
    }
}

impl Replica {
    pub(crate) fn begin_commit(&self, era: &Era, txn: Arc<Txn>, request: CommitRequest, turn: &mut Turn<'_>) {
        let holders = self.holders(era, &request.work);
        let participants = holders.iter().fold(NodeSet::EMPTY, |set, (_, holders)| set.and(*holders));
        if let Some(loading) = self.waits_with_schema(era, &request.work) {
            return self.refuse(&txn, Reply::Unavailable(loading), turn);
        }
        if let Some(why) = self.not_served(era, &holders) {
            let why = Unavailable { member: self.me.node, why };
            return self.refuse(&txn, Reply::Unavailable(why), turn);
        }
        if let Err(unavailable) = self.missing(era, participants) {
            return self.refuse(&txn, Reply::Unavailable(unavailable), turn);
        }
        let logging = self.logging_of(&request.work, &holders, request.ack);
        if let Some(why) = self.log_state().refusal().filter(|_| logging.on) {
            let unavailable = Unavailable { member: self.me.node, why };
            return self.refuse(&txn, Reply::Unavailable(unavailable), turn);
        }
        if self.is_alone_in(&request.work) && self.commits_alone(&txn, &request, turn) {
            return;
        }
        let now_ns = turn.now.mono_ns;
        let left_ns = request.deadline_ns.saturating_sub(now_ns).min(DEADLINE_NS_MAX);
        let coordinated = Coordinated {
            logging,
            txn: Arc::clone(&txn),
            work: request.work,
            holders,
            participants,
            sync: request.sync,
            decide_ns: now_ns + left_ns - ABORT_GRACE_NS.min(left_ns / 4),
            deadline_ns: now_ns + left_ns,
            answered: false,
            began_ns: now_ns,
            phase: Deciding::Queueing(Queue::default()),
        };
        let mut shard = self.shards.of(&txn.id);
        if shard.coordinated.len() >= COORDINATED_MAX / SHARDS {
            drop(shard);
            return self.refuse(&txn, Reply::Overloaded, turn);
        }
        shard.coordinated.insert(txn.id, coordinated);
        drop(shard);
        if participants.has(self.at) {
            self.prepare_here(era, &txn.id, turn);
        } else {
            self.send_prepares(era, &txn.id, Timestamp::NEVER, turn);
        }
    }

    /// Why a touched table cannot be touched now, whoever is ready.
    fn not_served(&self, era: &Era, holders: &[(TableId, NodeSet)]) -> Option<Why> {
        let unserved =
            |(table, _): &&(TableId, NodeSet)| era.live && !self.is_local(*table) && !era.serves(*table);
        if holders.iter().any(|one| unserved(&one)) {
            return Some(Why::Unserved);
        }
        if holders.iter().any(|(table, holders)| holders.has(self.at) && self.is_behind_with(era, *table)) {
            return Some(Why::Loading);
        }
        // Before the first epoch nobody is present, which is said in other words.
        let nobody = |(_, holders): &(TableId, NodeSet)| era.live && holders.is_empty();
        holders.iter().any(nobody).then_some(Why::NoCopies)
    }

    /// A transaction that only this node takes part in and no log waits for: over before it is entered anywhere, unless it
    /// must queue.
    fn commits_alone(&self, txn: &Arc<Txn>, request: &CommitRequest, turn: &mut Turn<'_>) -> bool {
        match self.commit_here(txn, request, turn) {
            Some(reply) => turn.done(txn.id, reply),
            None => return false,
        }
        true
    }

    /// As [`Replica::commits_alone`]; the reply is the caller's to give.
    pub(crate) fn commit_here(
        &self,
        txn: &Arc<Txn>,
        request: &CommitRequest,
        turn: &mut Turn<'_>,
    ) -> Option<Reply> {
        match self.store.commit_local(txn, &request.work, turn.now.wall_ms) {
            CommittedLocal::Yes(ts, freed) => {
                turn.freed.extend(freed);
                self.shards.of(&txn.id).outcomes.remember_alone(txn.id, ts, turn.now.mono_ns);
                Some(Reply::Committed(ts))
            }
            CommittedLocal::Refused(conflict, freed) => {
                turn.freed.extend(freed);
                Some(refused(conflict))
            }
            CommittedLocal::Parked => None,
        }
    }

    /// Nothing was sent: ends the transaction here and says why.
    fn refuse(&self, txn: &Arc<Txn>, reply: Reply, turn: &mut Turn<'_>) {
        turn.freed.extend(self.store.abort(txn));
        turn.done(txn.id, reply);
    }

    /// Prepares at this node, or continues to.
    pub(crate) fn prepare_here(&self, era: &Era, txid: &TxId, turn: &mut Turn<'_>) {
        loop {
            let Some((txn, work)) = self.coordinated_work(era, txid) else { return };
            match self.store.prepare(&txn, &work, turn.now.wall_ms, Role::Coordinator) {
                Prepared::Yes { proposal } => return self.prepared_here(era, txid, proposal, turn),
                Prepared::Refused(conflict) => {
                    let _ = self.shards.of(txid).coordinated.remove(txid);
                    return self.refuse(&txn, refused(conflict), turn);
                }
                Prepared::Parked => {
                    let mut shard = self.shards.of(txid);
                    let Some(Coordinated { phase: Deciding::Queueing(queue), .. }) =
                        shard.coordinated.get_mut(txid)
                    else {
                        return;
                    };
                    if queue.withdrawn {
                        shard.coordinated.remove(txid);
                        drop(shard);
                        return self.refuse(&txn, Reply::TimedOut, turn);
                    }
                    if !std::mem::take(&mut queue.again) {
                        queue.parked = true;
                        return;
                    }
                }
            }
        }
    }

    fn coordinated_work(&self, era: &Era, txid: &TxId) -> Option<(Arc<Txn>, Arc<Work>)> {
        let shard = self.shards.of(txid);
        shard
            .coordinated
            .get(txid)
            .map(|one| (Arc::clone(&one.txn), self.part_held_here(era, &one.work, &one.holders)))
    }

    fn prepared_here(&self, era: &Era, txid: &TxId, proposal: Timestamp, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(txid);
        let Some(one) = shard.coordinated.get_mut(txid) else { return };
        if one.participants != NodeSet::only(self.at) {
            drop(shard);
            return self.send_prepares(era, txid, proposal, turn);
        }
        if !one.logging.waits() {
            let one = shard.coordinated.remove(txid).expect("found just above");
            let stamped = self.stamped(era, *txid, self.at, turn.now);
            shard.outcomes.remember(Record::Committed(proposal), stamped);
            drop(shard);
            if one.logging.on {
                let fact = Fact::Applied { txid: *txid, ts: proposal, work: Arc::clone(&one.work) };
                turn.log(fact, one.logging.level, None);
            }
            turn.freed.extend(self.store.commit(&one.txn, proposal));
            return turn.done(*txid, Reply::Committed(proposal));
        }
        one.phase = Deciding::Logging(proposal);
        let fact = Fact::Applied { txid: *txid, ts: proposal, work: Arc::clone(&one.work) };
        let level = one.logging.level;
        drop(shard);
        turn.log(fact, level, Some(LogToken::Applied(*txid)));
    }

    /// A transaction of this node alone is in the log: nobody else has a say, not even a flush.
    pub(crate) fn on_applied_logged(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let Some(Coordinated { phase: Deciding::Logging(ts), .. }) = shard.coordinated.get(&txid) else {
            return;
        };
        let ts = *ts;
        let one = shard.coordinated.remove(&txid).expect("found just above");
        shard.outcomes.remember(Record::Committed(ts), self.stamped(era, txid, self.at, turn.now));
        drop(shard);
        turn.freed.extend(self.store.commit(&one.txn, ts));
        turn.done(txid, Reply::Committed(ts));
    }

    fn send_prepares(&self, era: &Era, txid: &TxId, proposal: Timestamp, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(txid);
        let Some(one) = shard.coordinated.get_mut(txid) else { return };
        let here = one.participants.has(self.at);
        let waits = here && one.logging.waits();
        let missing = if waits { one.participants } else { one.participants.without(self.at) };
        one.phase = Deciding::Voting { missing, ts: proposal };
        let prepare = Prepare {
            epoch: era.number(),
            txid: *txid,
            holders: one.holders.iter().filter(|(table, _)| !self.is_local(*table)).copied().collect(),
            work: self.shared_part(&one.work),
            level: one.logging.level,
            wait_ms: (one.decide_ns.saturating_sub(turn.now.mono_ns) / 1_000_000).min(u64::from(u32::MAX))
                as u32,
        };
        // Under the shard's lock: an abort by deadline on another thread must not be ahead of its prepare.
        let (others, logging) = (one.participants.without(self.at), one.logging);
        let (holders, work) = (one.holders.clone(), Arc::clone(&one.work));
        for at in others.iter() {
            turn.send(era.life(at), Message::Prepare(prepare.clone()));
        }
        if here && logging.on {
            let token = waits.then_some(LogToken::Prepared(*txid));
            self.log_prepared(era, *txid, &holders, &work, logging.level, token, turn);
        }
    }

    pub(crate) fn on_vote(&self, era: &Era, from: usize, txid: TxId, vote: Vote, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let Some(one) = shard.coordinated.get_mut(&txid) else { return };
        let Deciding::Voting { missing, ts } = &mut one.phase else {
            // Decided to abort before this vote came. A refuser owes no record.
            let refused = matches!(vote, Vote::Refused(_));
            drop(shard);
            if refused {
                self.abort_recorded(era, from, txid, turn);
            }
            return;
        };
        if !missing.has(from) {
            return;
        }
        let next = match vote {
            Vote::Yes { proposal } => {
                *missing = missing.without(from);
                *ts = (*ts).max(proposal);
                let (all, ts) = (missing.is_empty(), *ts);
                if all { self.decide_commit(era, &mut shard, txid, ts, turn) } else { Next::Nothing }
            }
            Vote::Refused(refusal) => {
                let reply = self.reply_to(from, refusal);
                self.decide_abort(era, &mut shard, txid, NodeSet::only(from), reply, turn);
                Next::Abort
            }
        };
        drop(shard);
        self.follow(era, txid, next, turn);
    }

    /// This node's own prepare is in the log: its vote counts.
    pub(crate) fn vote_here(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        // The local proposal is in the phase already.
        self.on_vote(era, self.at, txid, Vote::Yes { proposal: Timestamp::NEVER }, turn);
    }

    fn reply_to(&self, from: usize, refusal: Refusal) -> Reply {
        let member = self.slots.node(from);
        match refusal {
            Refusal::Conflict(conflict) => Reply::Conflict(conflict),
            Refusal::SchemaChanged => Reply::SchemaChanged,
            Refusal::Waited => Reply::TimedOut,
            Refusal::NotReady => Reply::Unavailable(Unavailable { member, why: Why::Loading }),
            Refusal::NoSpace => Reply::Unavailable(Unavailable { member, why: Why::NoSpace }),
            Refusal::SlowDisc => Reply::Unavailable(Unavailable { member, why: Why::SlowDisc }),
            Refusal::Overloaded => Reply::Overloaded,
            Refusal::NoDisc => Reply::Unavailable(Unavailable { member, why: Why::NoDisc }),
        }
    }

    fn follow(&self, era: &Era, txid: TxId, next: Next, turn: &mut Turn<'_>) {
        match next {
            Next::Nothing => {}
            Next::Commit(one) => self.tell_commit(era, txid, &one, turn),
            Next::Abort => self.tell_abort(era, txid, turn),
        }
    }

    /// The moment of the decision. The outcome is remembered before anyone can hear of it.
    fn decide_commit(
        &self,
        era: &Era,
        shard: &mut crate::shard::Shard,
        txid: TxId,
        ts: Timestamp,
        turn: &Turn<'_>,
    ) -> Next {
        shard.outcomes.remember(Record::Committed(ts), self.stamped(era, txid, self.at, turn.now));
        let one = shard.coordinated.get_mut(&txid).expect("its phase was just looked at");
        let others = one.participants.without(self.at);
        era.generations.involve(others.bits());
        let committed = Committed {
            txn: Arc::clone(&one.txn),
            participants: one.participants,
            logged: one.logging.on && one.participants.has(self.at),
            sync: one.sync,
            schema: one.work.writes.iter().any(|write| write.table == SCHEMA_TABLE),
            ts,
        };
        if one.sync {
            one.phase = Deciding::Syncing { missing: others, ts };
        } else {
            shard.coordinated.remove(&txid);
        }
        Next::Commit(committed)
    }

    /// Commit is queued to everyone before the locks go, so that no later prepare of the same keys is ahead of it.
    fn tell_commit(&self, era: &Era, txid: TxId, one: &Committed, turn: &mut Turn<'_>) {
        let ts = one.ts;
        for at in one.participants.without(self.at).iter() {
            let commit = Message::Commit { epoch: era.number(), txid, ts, acknowledge: one.sync };
            turn.send(era.life(at), commit);
        }
        if one.logged {
            turn.log(Fact::Committed { txid, ts }, Ack::Memory, None);
        }
        self.follow_clock(txid.node, ts, turn);
        turn.freed.extend(self.store.commit(&one.txn, ts));
        if one.schema {
            self.schema_moved(era, turn);
        }
        if !one.sync {
            turn.done(txid, Reply::Committed(ts));
        }
    }

    pub(crate) fn on_applied(&self, from: usize, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let Some(one) = shard.coordinated.get_mut(&txid) else { return };
        let Deciding::Syncing { missing, ts } = &mut one.phase else { return };
        *missing = missing.without(from);
        let (all, ts, answered) = (missing.is_empty(), *ts, one.answered);
        if all {
            shard.coordinated.remove(&txid);
            drop(shard);
            if !answered {
                turn.done(txid, Reply::Committed(ts));
            }
        }
    }

    /// Decided: from here on it cannot commit. `refused` owe no record.
    fn decide_abort(
        &self,
        era: &Era,
        shard: &mut crate::shard::Shard,
        txid: TxId,
        refused: NodeSet,
        reply: Reply,
        turn: &Turn<'_>,
    ) {
        let record = Record::Aborted { sayable: false };
        shard.outcomes.remember(record, self.stamped(era, txid, self.at, turn.now));
        let one = shard.coordinated.get_mut(&txid).expect("its phase was just looked at");
        era.generations.involve(one.participants.without(self.at).bits());
        one.phase = Deciding::Aborting { missing: one.participants.minus(refused), reply };
    }

    fn tell_abort(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        let shard = self.shards.of(&txid);
        let Some(Coordinated {
            phase: Deciding::Aborting { missing, .. }, txn, logging, participants, ..
        }) = shard.coordinated.get(&txid)
        else {
            return;
        };
        let (missing, txn, logging, here) = (*missing, Arc::clone(txn), *logging, participants.has(self.at));
        drop(shard);
        for at in missing.without(self.at).iter() {
            turn.send(era.life(at), Message::Abort { epoch: era.number(), txid });
        }
        if here && logging.on {
            let token = logging.waits().then_some(LogToken::Aborted(txid));
            turn.log(Fact::Aborted { txid }, logging.level, token);
            if token.is_some() {
                return;
            }
        }
        turn.freed.extend(self.store.abort(&txn));
        self.abort_recorded(era, self.at, txid, turn);
    }

    /// The abort of a transaction that this node coordinates is in its own log.
    pub(crate) fn own_abort_logged(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        let Some((txn, _)) = self.coordinated_work(era, &txid) else { return };
        turn.freed.extend(self.store.abort(&txn));
        self.abort_recorded(era, self.at, txid, turn);
    }

    pub(crate) fn on_abort_recorded(&self, era: &Era, from: usize, txid: TxId, turn: &mut Turn<'_>) {
        self.abort_recorded(era, from, txid, turn);
    }

    /// One more has recorded it, or refused and so owes no record. After the last one the abort may be heard.
    fn abort_recorded(&self, era: &Era, from: usize, txid: TxId, turn: &mut Turn<'_>) {
        let mut shard = self.shards.of(&txid);
        let Some(one) = shard.coordinated.get_mut(&txid) else { return };
        let Deciding::Aborting { missing, reply } = &mut one.phase else { return };
        *missing = missing.without(from);
        if !missing.is_empty() {
            return;
        }
        let (reply, answered) = (reply.clone(), one.answered);
        shard.coordinated.remove(&txid);
        let record = Record::Aborted { sayable: true };
        shard.outcomes.remember(record, self.stamped(era, txid, self.at, turn.now));
        drop(shard);
        if answered {
            turn.out.effect(Effect::Settled { txid, outcome: Outcome::Aborted });
        } else {
            turn.done(txid, reply);
        }
    }

    /// Time has passed for a transaction that this node coordinates.
    pub(crate) fn coordinated_expired(&self, era: &Era, txid: TxId, turn: &mut Turn<'_>) {
        let now_ns = turn.now.mono_ns;
        let mut shard = self.shards.of(&txid);
        let Some(one) = shard.coordinated.get_mut(&txid) else { return };
        match &mut one.phase {
            Deciding::Queueing(queue) if !queue.parked => queue.withdrawn = true,
            Deciding::Queueing(_) => {
                let txn = Arc::clone(&one.txn);
                shard.coordinated.remove(&txid);
                drop(shard);
                self.refuse(&txn, Reply::TimedOut, turn);
            }
            // A cut-off or fenced coordinator decides nothing; it only stops keeping its caller.
            Deciding::Voting { .. } if era.is_open() && !one.answered => {
                self.decide_abort(era, &mut shard, txid, NodeSet::EMPTY, Reply::TimedOut, turn);
                drop(shard);
                self.tell_abort(era, txid, turn);
            }
            Deciding::Voting { .. } | Deciding::Aborting { .. }
                if now_ns >= one.deadline_ns && !one.answered =>
            {
                one.answered = true;
                drop(shard);
                turn.done(txid, Reply::Unknown);
            }
            // It is committed; only some copies have not yet said that they applied it.
            Deciding::Syncing { ts, .. } if now_ns >= one.deadline_ns && !one.answered => {
                let ts = *ts;
                one.answered = true;
                drop(shard);
                turn.done(txid, Reply::Committed(ts));
            }
            _ => {}
        }
    }
}
