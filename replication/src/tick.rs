//! What time alone brings about: deadlines, retries, and the marks that let everyone forget settled outcomes (see
//! `outcome.rs`).

use std::sync::atomic::Ordering;

use hypermnesia_store::{Ack, TxId};

use crate::effect::{Fact, LogToken, Sink};
use crate::era::Era;
use crate::limits::{ABORT_GRACE_NS, LOST_VOTE_NS, MARK_NS, OUTCOME_KEEP_NS, OUTCOMES_MAX, SHARDS, TICK_NS};
use crate::member::NodeSet;
use crate::message::Message;
use crate::outcome::Stamped;
use crate::replica::{Replica, Turn};
use crate::shard::{Deciding, Holding, Shard};
use crate::time::Now;

impl Replica {
    /// Lets time pass. To be called at [`Replica::next_deadline`]; more often does no harm.
    pub fn on_tick(&self, now: Now, out: &mut dyn Sink) {
        let mut turn = Turn { now, out, freed: Vec::new() };
        let rare = {
            let era = self.shared();
            self.expire(&era, &mut turn);
            self.finish_in(&era, &mut turn);
            !era.is_open()
                || era.loading.is_some()
                || era.leading.is_some()
                || now.mono_ns.saturating_sub(era.marked_ns) >= MARK_NS
        };
        if rare {
            let mut era = self.alone();
            self.retry_flush(&mut era, &mut turn);
            self.retry_copy(&mut era, &mut turn);
            if now.mono_ns.saturating_sub(era.marked_ns) >= MARK_NS {
                self.mark(&mut era, &mut turn);
            }
            self.finish_in(&era, &mut turn);
        }
    }

    /// When [`Replica::on_tick`] is wanted next, on the clock of [`Now::mono_ns`]. Deadlines are kept to this resolution.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let busy = self.shards.each().any(|shard| !shard.coordinated.is_empty() || !shard.held.is_empty());
        let era = self.shared();
        if busy || !era.is_open() || era.loading.is_some() {
            now.mono_ns + TICK_NS
        } else {
            (era.marked_ns + MARK_NS).max(now.mono_ns + TICK_NS)
        }
    }

    fn expire(&self, era: &Era, turn: &mut Turn<'_>) {
        let (mut own, mut held) = (Vec::new(), Vec::new());
        for shard in self.shards.each() {
            expired(&shard, turn.now.mono_ns, &mut own, &mut held);
        }
        own.sort_unstable();
        held.sort_unstable();
        own.into_iter().for_each(|txid| self.coordinated_expired(era, txid, turn));
        held.into_iter().for_each(|txid| self.held_expired(era, txid, turn));
    }

    /// Whoever waits for the word of a member that is gone waits a moment for its return, and then hears that the outcome is
    /// not known instead of sitting out its deadline.
    pub(crate) fn hurry(&self, gone: usize, now: Now) {
        let decide_ns = now.mono_ns + LOST_VOTE_NS;
        for mut shard in self.shards.each() {
            for one in shard.coordinated.values_mut() {
                let waits = match one.phase {
                    Deciding::Voting { missing, .. } => missing.has(gone),
                    Deciding::Aborting { .. } => one.participants.has(gone),
                    Deciding::Queueing(_) | Deciding::Logging(_) | Deciding::Syncing { .. } => false,
                };
                if waits {
                    one.decide_ns = one.decide_ns.min(decide_ns);
                    one.deadline_ns = one.deadline_ns.min(decide_ns + ABORT_GRACE_NS);
                }
            }
        }
    }

    /// Closes the generation that collects, and tells everyone what is settled.
    fn mark(&self, era: &mut Era, turn: &mut Turn<'_>) {
        era.marked_ns = turn.now.mono_ns;
        if !era.is_open() {
            return;
        }
        self.drop_what_is_kept_no_longer(turn);
        let generations = &mut era.generations;
        let involved = NodeSet::from_bits(generations.involved.swap(0, Ordering::Relaxed));
        let closing = !involved.is_empty();
        if closing {
            generations.closed.push((generations.current, involved));
            generations.current += 1;
        }
        if closing || generations.settled > generations.told {
            let (generation, settled) = (generations.current - 1, generations.settled);
            generations.told = settled;
            self.tell_others(era, &Message::Mark { epoch: era.number(), generation, settled }, turn);
        }
        self.forget(era, turn.now);
    }

    /// Whether all who took part have its outcome in their logs, or the epoch that was entered settled it.
    pub(crate) fn is_settled(&self, era: &Era, stamped: &Stamped) -> bool {
        let own = stamped.coordinator == self.at;
        let upto = if own { era.generations.settled } else { era.peers[stamped.coordinator].settled };
        stamped.epoch < era.number() || stamped.generation <= upto
    }

    fn forget(&self, era: &Era, now: Now) {
        let before_ns = now.mono_ns.saturating_sub(OUTCOME_KEEP_NS);
        for mut shard in self.shards.each() {
            let settled = |stamped: &Stamped| self.is_settled(era, stamped);
            shard.outcomes.forget(before_ns, OUTCOMES_MAX / SHARDS, settled);
        }
    }

    pub(crate) fn on_mark(
        &self,
        era: &mut Era,
        from: usize,
        epoch: u64,
        generation: u64,
        settled: u64,
        turn: &mut Turn<'_>,
    ) {
        if !era.is_open() || epoch != era.number() {
            return;
        }
        era.peers[from].generation = generation + 1;
        era.peers[from].settled = settled;
        if self.durable {
            let token = LogToken::Marked { coordinator: from, epoch, generation };
            turn.log(Fact::Barrier, Ack::Synced, Some(token));
        } else {
            turn.send(era.life(from), Message::Marked { epoch, generation });
        }
    }

    pub(crate) fn on_marked(&self, era: &mut Era, from: usize, epoch: u64, generation: u64) {
        if epoch != era.number() {
            return;
        }
        let generations = &mut era.generations;
        for (number, missing) in &mut generations.closed {
            if *number <= generation {
                *missing = missing.without(from);
            }
        }
        while let Some((number, _)) = generations.closed.first().filter(|(_, missing)| missing.is_empty()) {
            generations.settled = *number;
            generations.closed.remove(0);
        }
    }
}

fn expired(shard: &Shard, now_ns: u64, own: &mut Vec<TxId>, held: &mut Vec<TxId>) {
    for (txid, one) in &shard.coordinated {
        let due = match one.phase {
            Deciding::Queueing(_) | Deciding::Voting { .. } if !one.answered => one.decide_ns,
            _ => one.deadline_ns,
        };
        if now_ns >= due {
            own.push(*txid);
        }
    }
    for (txid, one) in &shard.held {
        let waits = matches!(one.phase, Holding::Queueing(_) | Holding::AwaitingSchema);
        if waits && now_ns >= one.deadline_ns {
            held.push(*txid);
        }
    }
}
