//! The rule that settles in-doubt transactions in an epoch change, as a function of what all members reported. Described
//! in `docs/protocol.md`.
//!
//! Any commit record: commit, at its timestamp. Any abort record: abort. Else commit exactly when it is prepared at every
//! *decider*. The deciders are, table by table, the survivors among its holders; where a table has none left, the holders
//! that report from a log; a table without either is empty, whatever was decided.
//!
//! Why table by table: the holders of a table are the ones that validated and locked its reads. "Prepared at every
//! survivor" would, with copies on some members only, commit a transaction whose only validator of some table refused
//! and died. Why a restarted process counts only where no survivor does: what it voted below the level `logged` it has
//! forgotten, so its silence says nothing as long as somebody remembers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;
use hypermnesia_store::{TableId, Timestamp, TxId};

use crate::member::NodeSet;
use crate::message::Report;
use crate::outcome::Outcome;

/// Everything that is known about the transactions in doubt.
#[derive(Debug, Default)]
pub struct Evidence<'a> {
    /// One per member, by position.
    pub reports: Vec<&'a Report>,
    /// Members of the last opened epoch in the same life.
    pub survivors: NodeSet,
    /// Every record that somebody has of a transaction in doubt.
    pub records: HashMap<TxId, Outcome, FixedState>,
    /// Above every reported clock.
    pub stamp: Timestamp,
}

struct Doubt<'a> {
    holders: &'a [(TableId, NodeSet)],
    prepared: NodeSet,
}

impl Evidence<'_> {
    /// The transactions that are prepared somewhere.
    pub fn in_doubt(&self) -> BTreeSet<TxId> {
        self.reports.iter().flat_map(|report| report.prepared.iter().map(|(txid, _)| *txid)).collect()
    }

    /// One outcome for each transaction in doubt, in the order of their ids.
    pub fn settle(&self) -> Vec<(TxId, Outcome)> {
        self.doubts().into_iter().map(|(txid, doubt)| (txid, self.outcome(&txid, &doubt))).collect()
    }

    fn doubts(&self) -> BTreeMap<TxId, Doubt<'_>> {
        let mut doubts = BTreeMap::new();
        for (position, report) in self.reports.iter().enumerate() {
            for (txid, holders) in &report.prepared {
                let doubt = doubts.entry(*txid).or_insert(Doubt { holders, prepared: NodeSet::EMPTY });
                doubt.prepared = doubt.prepared.with(position);
            }
        }
        doubts
    }

    fn outcome(&self, txid: &TxId, doubt: &Doubt<'_>) -> Outcome {
        match self.records.get(txid) {
            Some(Outcome::Committed(ts)) => Outcome::Committed(*ts),
            Some(Outcome::Aborted) => Outcome::Aborted,
            Some(Outcome::Unknown) | None => {
                let everywhere = doubt
                    .holders
                    .iter()
                    .all(|(_, holders)| self.deciders(*holders).minus(doubt.prepared).is_empty());
                if everywhere { Outcome::Committed(self.stamp) } else { Outcome::Aborted }
            }
        }
    }

    fn deciders(&self, holders: NodeSet) -> NodeSet {
        let survivors = holders.common(self.survivors);
        if !survivors.is_empty() {
            return survivors;
        }
        let from_log = |at: &usize| self.reports.get(*at).is_some_and(|report| report.from_log);
        holders.iter().filter(from_log).fold(NodeSet::EMPTY, NodeSet::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermnesia_store::NodeId;

    fn txid(n: u64) -> TxId {
        TxId { age: Timestamp(n), node: NodeId(1), sequence: n }
    }

    /// Members that prepared transaction 1, which touches tables held by `holders`.
    fn settle(
        prepared: NodeSet,
        survivors: NodeSet,
        from_log: NodeSet,
        holders: &[NodeSet],
        record: Option<Outcome>,
    ) -> Outcome {
        let tables: Vec<_> =
            holders.iter().enumerate().map(|(n, set)| (TableId(n as u32 + 2), *set)).collect();
        let reports: Vec<Report> = (0..3)
            .map(|at| Report {
                prepared: if prepared.has(at) { vec![(txid(1), tables.clone())] } else { Vec::new() },
                from_log: from_log.has(at),
                clock: Timestamp(9),
                standing: Default::default(),
            })
            .collect();
        let records = record.map(|outcome| (txid(1), outcome)).into_iter().collect();
        let evidence =
            Evidence { reports: reports.iter().collect(), survivors, records, stamp: Timestamp(100) };
        let settled = evidence.settle();
        assert_eq!(settled.len(), 1);
        settled[0].1
    }

    fn set(positions: &[usize]) -> NodeSet {
        positions.iter().fold(NodeSet::EMPTY, |set, at| set.with(*at))
    }

    #[test]
    fn records_decide_and_else_every_decider_must_have_prepared() {
        // Aim: the settle rule. Method: each line of it, three members, member 0 dead where it says so.
        let all = [NodeSet::first(3)];
        let commit = Outcome::Committed(Timestamp(100));
        let none = NodeSet::EMPTY;
        assert_eq!(settle(set(&[1, 2]), set(&[1, 2]), none, &all, None), commit);
        assert_eq!(settle(set(&[1]), set(&[1, 2]), none, &all, None), Outcome::Aborted);
        let early = Outcome::Committed(Timestamp(5));
        assert_eq!(settle(set(&[1]), set(&[1, 2]), none, &all, Some(early)), early);
        assert_eq!(settle(set(&[1, 2]), set(&[1, 2]), none, &all, Some(Outcome::Aborted)), Outcome::Aborted);
    }

    #[test]
    fn a_table_whose_only_validator_died_is_not_taken_for_validated() {
        // Aim: reads of a table with copies on some members only. Method: table 3 is on member 0 alone, which refused,
        // kept its refusal in its log by having no prepare there, and died.
        let holders = [NodeSet::first(3), set(&[0])];
        let survivors = set(&[1, 2]);
        assert_eq!(settle(set(&[1, 2]), survivors, set(&[0]), &holders, None), Outcome::Aborted);
        let commit = Outcome::Committed(Timestamp(100));
        assert_eq!(settle(set(&[0, 1, 2]), survivors, set(&[0]), &holders, None), commit);
        // Without a log the table is gone, and with it whatever its reads meant.
        assert_eq!(settle(set(&[1, 2]), survivors, NodeSet::EMPTY, &holders, None), commit);
    }

    #[test]
    fn after_a_cold_start_the_logs_decide() {
        // Aim: whole-cluster restart. Method: nobody survives; two of three have logs.
        let all = [NodeSet::first(3)];
        let logs = set(&[0, 1]);
        let commit = Outcome::Committed(Timestamp(100));
        assert_eq!(settle(set(&[0, 1]), NodeSet::EMPTY, logs, &all, None), commit);
        assert_eq!(settle(set(&[0]), NodeSet::EMPTY, logs, &all, None), Outcome::Aborted);
    }

    #[test]
    fn a_restarted_process_is_not_asked_where_somebody_survives() {
        // Aim: wrong text "restarted process as survivor". Method: member 0 restarted without the prepare, 1 and 2 hold it.
        let all = [NodeSet::first(3)];
        let commit = Outcome::Committed(Timestamp(100));
        assert_eq!(settle(set(&[1, 2]), set(&[1, 2]), set(&[0]), &all, None), commit);
    }
}
