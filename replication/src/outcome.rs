//! Remembered outcomes. A node remembers what became of a transaction until nobody can be in doubt about it any more, and
//! then a stated time and count for those who ask. It never guesses: a forgotten transaction is "unknown", and an abort
//! is told only when it may be heard (every participant that did not refuse has recorded it, or an epoch has opened since, which
//! serves all tables).
//!
//! *When nobody can be in doubt.* Every second a coordinator closes a generation of its outcomes and sends a mark down
//! the same ordered streams that carried them. A participant answers a mark once everything before it is in its log. What
//! all participants of a generation have answered is settled; the next mark tells that to the participants. An epoch that
//! opens settles everything before it, if it serves all tables. Else whoever has the copies that are away may come back in
//! doubt about what was not settled: that is kept until all tables are served again.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::FixedState;
use hypermnesia_store::{Timestamp, TxId};
use serde::{Deserialize, Serialize};

/// What became of a transaction, as far as this node may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Visible in every snapshot at or above the timestamp.
    Committed(Timestamp),
    /// It never happened and never will.
    Aborted,
    /// Not known here, not known yet, or forgotten.
    Unknown,
}

/// A record of what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Committed(Timestamp),
    /// `sayable`: see the file's header. Until then it counts in a flush and is "unknown" to those who ask.
    Aborted {
        sayable: bool,
    },
}

impl Record {
    /// What someone who asks may hear.
    pub(crate) fn told(self) -> Outcome {
        match self {
            Record::Committed(ts) => Outcome::Committed(ts),
            Record::Aborted { sayable: true } => Outcome::Aborted,
            Record::Aborted { sayable: false } => Outcome::Unknown,
        }
    }

    /// What the flush makes of it: there, an abort counts as soon as it is recorded.
    pub(crate) fn fact(self) -> Outcome {
        match self {
            Record::Committed(ts) => Outcome::Committed(ts),
            Record::Aborted { .. } => Outcome::Aborted,
        }
    }
}

/// When a record was made, in whose generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped {
    pub(crate) txid: TxId,
    pub(crate) coordinator: usize,
    pub(crate) epoch: u64,
    pub(crate) generation: u64,
    pub(crate) at_ns: u64,
}

/// The outcomes of one shard.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    records: HashMap<TxId, Record, FixedState>,
    /// In the order they were made, to forget the oldest first.
    order: VecDeque<Stamped>,
    /// Those that who is away may be in doubt about.
    kept: HashSet<TxId, FixedState>,
    /// Commits that no other node took part in, in their order: nobody but those who ask needs them, which is rare, so they
    /// are written down one behind the other and looked for one by one.
    alone: VecDeque<Alone>,
}

/// A commit that no other node took part in.
#[derive(Clone, Copy, Debug)]
struct Alone {
    txid: TxId,
    ts: Timestamp,
    at_ns: u64,
}

impl Outcomes {
    pub(crate) fn get(&self, txid: &TxId) -> Option<Record> {
        self.records.get(txid).copied()
    }

    /// What someone who asks may hear.
    pub(crate) fn told(&self, txid: &TxId) -> Outcome {
        let alone = || self.alone.iter().rfind(|one| one.txid == *txid).map(|one| Record::Committed(one.ts));
        self.get(txid).or_else(alone).map_or(Outcome::Unknown, Record::told)
    }

    /// Remembers a commit that no other node took part in.
    pub(crate) fn remember_alone(&mut self, txid: TxId, ts: Timestamp, at_ns: u64) {
        self.alone.push_back(Alone { txid, ts, at_ns });
    }

    /// Remembers a record. A commit is never replaced; an abort may become sayable.
    pub(crate) fn remember(&mut self, record: Record, stamped: Stamped) {
        match self.records.get_mut(&stamped.txid) {
            None => {
                self.records.insert(stamped.txid, record);
                self.order.push_back(stamped);
            }
            Some(Record::Aborted { sayable }) => *sayable |= record == Record::Aborted { sayable: true },
            Some(Record::Committed(_)) => assert!(
                matches!(record, Record::Committed(_)),
                "transaction {} is committed here and aborted elsewhere",
                stamped.txid
            ),
        }
    }

    /// Remembers what the chain says of a transaction. A commit may have had another timestamp at who committed it alone, and an
    /// abort that nobody was told of may have been recorded by who is no witness any more.
    pub(crate) fn learn(&mut self, record: Record, stamped: Stamped) {
        match (self.records.get_mut(&stamped.txid), record) {
            (
                Some(own @ (Record::Committed(_) | Record::Aborted { sayable: false })),
                Record::Committed(_),
            ) => *own = record,
            _ => self.remember(record, stamped),
        }
    }

    /// Forgets the aborts that nobody may be told of. Of what this node had prepared by then the epoch that it joins has said
    /// what became of it, and others may have committed it while it was away.
    pub(crate) fn forget_untold_aborts(&mut self) {
        let untold = |record: &Record| *record == Record::Aborted { sayable: false };
        self.records.retain(|_, record| !untold(record));
        let records = &self.records;
        self.order.retain(|stamped| records.contains_key(&stamped.txid));
    }

    /// Every abort that is remembered may be told: nobody can commit these any more.
    pub(crate) fn tell_aborts(&mut self) {
        for record in self.records.values_mut() {
            if let Record::Aborted { sayable } = record {
                *sayable = true;
            }
        }
    }

    /// Keeps what is not settled, and what it keeps already.
    pub(crate) fn keep(&mut self, settled: impl Fn(&Stamped) -> bool) {
        self.kept.extend(self.order.iter().filter(|stamped| !settled(stamped)).map(|stamped| stamped.txid));
    }

    /// Keeps this one, if it is remembered.
    pub(crate) fn keep_one(&mut self, txid: TxId) {
        if self.records.contains_key(&txid) {
            self.kept.insert(txid);
        }
    }

    /// Nobody can come back in doubt any more.
    pub(crate) fn keep_none(&mut self) {
        self.kept.clear();
    }

    /// What is kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (TxId, Record)> {
        self.kept.iter().filter_map(|txid| Some((*txid, self.get(txid)?)))
    }

    /// Forgets what `settled` allows and is older than `before_ns`, or more than `keep` in number. What was committed here
    /// alone goes first, since nobody needs it.
    pub(crate) fn forget(&mut self, before_ns: u64, keep: usize, settled: impl Fn(&Stamped) -> bool) {
        let kept = std::mem::take(&mut self.kept);
        self.forget_but(before_ns, keep, |stamped| settled(stamped) && !kept.contains(&stamped.txid));
        self.kept = kept;
    }

    fn forget_but(&mut self, before_ns: u64, keep: usize, settled: impl Fn(&Stamped) -> bool) {
        while let Some(first) = self.alone.front()
            && (first.at_ns < before_ns || self.len() > keep)
        {
            self.alone.pop_front();
        }
        while let Some(first) = self.order.front() {
            let old = first.at_ns < before_ns || self.order.len() > keep;
            if !old || !settled(first) {
                break;
            }
            self.records.remove(&first.txid);
            self.order.pop_front();
        }
        // Not each time: it looks at all of them.
        if self.order.len() > keep.saturating_add(keep / 8) {
            self.forget_behind_a_stuck_one(keep, settled);
        }
    }

    /// An unsettled record at the front (its member is away) must not hold up all others.
    fn forget_behind_a_stuck_one(&mut self, keep: usize, settled: impl Fn(&Stamped) -> bool) {
        let mut surplus = self.order.len() - keep;
        let records = &mut self.records;
        self.order.retain(|stamped| {
            let drop = surplus > 0 && settled(stamped);
            if drop {
                surplus -= 1;
                records.remove(&stamped.txid);
            }
            !drop
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len() + self.alone.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermnesia_store::NodeId;

    fn stamped(n: u64, generation: u64) -> Stamped {
        let txid = TxId { age: Timestamp(n), node: NodeId(1), sequence: n };
        Stamped { txid, coordinator: 0, epoch: 1, generation, at_ns: n }
    }

    #[test]
    fn commits_of_this_node_alone_are_told_and_forgotten_in_time_and_number() {
        // Aim: who asks hears of them, and they are bounded. Method: some, asked for, then forgotten by age, then by number.
        let mut outcomes = Outcomes::default();
        (1..=10).for_each(|n| outcomes.remember_alone(stamped(n, 1).txid, Timestamp(100 + n), n));
        assert_eq!(outcomes.told(&stamped(3, 1).txid), Outcome::Committed(Timestamp(103)));
        outcomes.forget(4, 100, |_| true);
        assert_eq!((outcomes.told(&stamped(3, 1).txid), outcomes.len()), (Outcome::Unknown, 7));
        outcomes.forget(0, 2, |_| true);
        assert_eq!(
            (outcomes.told(&stamped(10, 1).txid), outcomes.len()),
            (Outcome::Committed(Timestamp(110)), 2)
        );
        // The bound is one for all: what others took part in counts in it too.
        outcomes.remember(Record::Committed(Timestamp(120)), stamped(20, 1));
        outcomes.forget(0, 2, |_| true);
        let told = [9, 10, 20].map(|n| outcomes.told(&stamped(n, 1).txid) != Outcome::Unknown);
        assert_eq!((told, outcomes.len()), ([false, true, true], 2));
    }

    #[test]
    fn an_abort_is_not_told_before_it_may_be_heard() {
        // Aim: wrong text 6, any member may answer "aborted". Method: the two kinds of abort record, asked and flushed.
        let mut outcomes = Outcomes::default();
        outcomes.remember(Record::Aborted { sayable: false }, stamped(1, 1));
        let record = outcomes.get(&stamped(1, 1).txid).expect("remembered");
        assert_eq!((record.told(), record.fact()), (Outcome::Unknown, Outcome::Aborted));
        outcomes.remember(Record::Aborted { sayable: true }, stamped(1, 1));
        assert_eq!(outcomes.get(&stamped(1, 1).txid).map(Record::told), Some(Outcome::Aborted));
    }

    #[test]
    fn what_is_kept_for_who_is_away_is_forgotten_when_nobody_is() {
        // Aim: an epoch without all tables settles less. Method: two records, one of them not settled when it opens; pressure;
        // then all tables are served again.
        let mut outcomes = Outcomes::default();
        (1..=2).for_each(|n| outcomes.remember(Record::Committed(Timestamp(n)), stamped(n, n)));
        outcomes.keep(|stamped| stamped.generation <= 1);
        outcomes.forget(u64::MAX, 0, |_| true);
        let kept: Vec<_> = outcomes.kept().collect();
        assert_eq!(kept, [(stamped(2, 2).txid, Record::Committed(Timestamp(2)))]);
        assert_eq!(outcomes.len(), 1);
        outcomes.keep_none();
        outcomes.forget(u64::MAX, 0, |_| true);
        assert_eq!((outcomes.len(), outcomes.kept().count()), (0, 0));
    }

    #[test]
    fn the_chain_s_timestamp_replaces_that_of_a_commit_made_alone() {
        // Aim: all who say when a transaction committed say the same. Method: a commit, and what the chain says of it; an abort.
        let mut outcomes = Outcomes::default();
        outcomes.remember(Record::Committed(Timestamp(5)), stamped(1, 1));
        outcomes.learn(Record::Committed(Timestamp(9)), stamped(1, 1));
        assert_eq!(outcomes.told(&stamped(1, 1).txid), Outcome::Committed(Timestamp(9)));
        outcomes.learn(Record::Aborted { sayable: true }, stamped(2, 1));
        assert_eq!(outcomes.told(&stamped(2, 1).txid), Outcome::Aborted);
    }

    #[test]
    fn an_abort_that_nobody_was_told_of_does_not_outlive_joining() {
        // Aim: who was away does not speak against a commit that it has missed. Method: an abort of each kind and a commit; then
        // the commit of the one that was not to be told.
        let mut outcomes = Outcomes::default();
        outcomes.remember(Record::Aborted { sayable: false }, stamped(1, 1));
        outcomes.remember(Record::Aborted { sayable: true }, stamped(2, 1));
        outcomes.remember(Record::Committed(Timestamp(9)), stamped(3, 1));
        let mut later = Outcomes::default();
        later.remember(Record::Aborted { sayable: false }, stamped(1, 1));
        later.learn(Record::Committed(Timestamp(7)), stamped(1, 1));
        assert_eq!(later.told(&stamped(1, 1).txid), Outcome::Committed(Timestamp(7)));
        outcomes.forget_untold_aborts();
        let left = [1, 2, 3].map(|n| outcomes.get(&stamped(n, 1).txid).is_some());
        assert_eq!((left, outcomes.len()), ([false, true, true], 2));
    }

    #[test]
    fn what_is_not_settled_is_never_forgotten() {
        // Aim: "outcome forgotten" cannot meet a participant in doubt. Method: age and count press, generation 2 is open.
        let mut outcomes = Outcomes::default();
        (1..=10).for_each(|n| {
            outcomes.remember(Record::Committed(Timestamp(n)), stamped(n, if n == 3 { 2 } else { 1 }))
        });
        outcomes.forget(u64::MAX, 0, |s| s.generation <= 1);
        assert_eq!(outcomes.get(&stamped(3, 2).txid), Some(Record::Committed(Timestamp(3))));
        assert_eq!(outcomes.len(), 1, "the settled ones behind it went");
    }
}
