//! The rule that settles in-doubt transactions in an epoch change, as a function of what all members reported. Described
//! in `docs/protocol.md`, modelled in `tests/model`.
//!
//! Any commit record: commit, at its timestamp. Any abort record: abort. Else commit exactly when it is prepared at every
//! *decider*. The deciders are, table by table, the survivors among its holders; where a table has none left, the holders
//! whose copy was part of the last epoch that served it, from their logs or their memory. A table whose copies are all lost is
//! empty, whatever was decided. Of a table whose copies are only away nobody here can say whether it refused: then the transaction stays
//! in doubt, unless its coordinator is here and says that it never decided.
//!
//! Why table by table: the holders of a table are the ones that validated and locked its reads. "Prepared at every
//! survivor" would, with copies on some members only, commit a transaction whose only validator of some table refused
//! and died. Why a restarted process counts only where no survivor does: what it voted below the level `logged` it has
//! forgotten, so its silence says nothing as long as somebody remembers. Why joiners' records come second: a transaction
//! that they committed alone may carry another timestamp in the chain.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use hypermnesia_store::{TableId, Timestamp, TxId};

use crate::epoch::{Standing, speakers, standing_of};
use crate::member::NodeSet;
use crate::message::Report;
use crate::outcome::Outcome;

/// Outcomes that members have records of.
pub type Records = HashMap<TxId, Outcome, FixedState>;

/// Everything that is known about the transactions in doubt.
pub struct Evidence<'a> {
    /// By slot.
    pub reports: &'a [Option<Report>],
    /// By slot: where each stands.
    pub standings: &'a [Standing],
    /// Records that survivors have of transactions in doubt.
    pub records: &'a Records,
    /// Records of joiners.
    pub hearsay: &'a Records,
    /// The last epoch that served a table.
    pub home: &'a dyn Fn(TableId) -> u64,
    /// Tables of which no good copy is here.
    pub unserved: &'a [(TableId, u64)],
    /// Above every reported clock.
    pub stamp: Timestamp,
}

struct Doubt<'a> {
    holders: &'a [(TableId, NodeSet)],
    prepared: NodeSet,
    /// A survivor or a speaker for one of its tables has it.
    counts: bool,
}

impl Evidence<'_> {
    /// The transactions in doubt, in the order of their ids.
    pub fn in_doubt(&self) -> Vec<TxId> {
        self.doubts().into_iter().filter(|(_, doubt)| doubt.counts).map(|(txid, _)| txid).collect()
    }

    /// One outcome for each transaction in doubt, in the order of their ids; unknown for those that stay in doubt.
    pub fn settle(&self) -> Vec<(TxId, Outcome)> {
        let doubts = self.doubts().into_iter().filter(|(_, doubt)| doubt.counts);
        doubts.map(|(txid, doubt)| (txid, self.outcome(&txid, &doubt))).collect()
    }

    fn doubts(&self) -> BTreeMap<TxId, Doubt<'_>> {
        let mut doubts = BTreeMap::new();
        for (slot, report) in self.reports.iter().enumerate() {
            for (txid, holders) in report.iter().flat_map(|report| &report.prepared) {
                let doubt =
                    doubts.entry(*txid).or_insert(Doubt { holders, prepared: NodeSet::EMPTY, counts: false });
                doubt.prepared = doubt.prepared.with(slot);
                let speaks =
                    |(table, holders): &(TableId, NodeSet)| self.deciders(*table, *holders).has(slot);
                doubt.counts |= standing_of(self.standings, slot).survivor || holders.iter().any(speaks);
            }
        }
        doubts
    }

    fn outcome(&self, txid: &TxId, doubt: &Doubt<'_>) -> Outcome {
        let record = self.records.get(txid).or_else(|| self.hearsay.get(txid));
        match record {
            Some(Outcome::Committed(ts)) => return Outcome::Committed(*ts),
            Some(Outcome::Aborted) => return Outcome::Aborted,
            Some(Outcome::Unknown) | None => {}
        }
        let mut nobody = false;
        for (table, holders) in doubt.holders {
            let deciders = self.deciders(*table, *holders);
            if !deciders.minus(doubt.prepared).is_empty() {
                return Outcome::Aborted;
            }
            nobody |= deciders.is_empty() && self.unserved.iter().any(|(id, _)| id == table);
        }
        let undecided = || self.reports.iter().flatten().any(|report| report.undecided.contains(txid));
        match nobody {
            false => Outcome::Committed(self.stamp),
            true if undecided() => Outcome::Aborted,
            true => Outcome::Unknown,
        }
    }

    fn deciders(&self, table: TableId, holders: NodeSet) -> NodeSet {
        let speak = |holders| speakers(self.standings, table, holders, (self.home)(table));
        let own = speak(holders);
        if !own.is_empty() {
            return own;
        }
        // None of those that it was sent to speaks for the table any more. Somebody else may, who has loaded it since: without
        // the transaction, which the epochs in between have not settled.
        let reported = self.reports.iter().flatten().flat_map(|report| &report.tables);
        speak(reported.filter(|(id, _)| *id == table).fold(holders, |all, (_, copies)| all.and(*copies)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypermnesia_store::NodeId;

    const NONE: NodeSet = NodeSet::EMPTY;
    const COMMIT: Outcome = Outcome::Committed(Timestamp(100));

    fn txid(n: u64) -> TxId {
        TxId { age: Timestamp(n), node: NodeId(1), sequence: n }
    }

    fn set(slots: &[usize]) -> NodeSet {
        slots.iter().fold(NodeSet::EMPTY, |set, at| set.with(*at))
    }

    /// Transaction 1 touches tables 2, 3, .. with copies at `holders`; who has prepared it, who survived, whose copies were
    /// part of the last epoch.
    #[derive(Clone, Default)]
    struct Case {
        prepared: NodeSet,
        survivors: NodeSet,
        whole: NodeSet,
        holders: Vec<NodeSet>,
        record: Option<Outcome>,
        hearsay: Option<Outcome>,
        unserved: Vec<(TableId, u64)>,
        undecided: NodeSet,
    }

    impl Case {
        fn settle(&self) -> Option<Outcome> {
            let table = |n: usize| TableId(n as u32 + 2);
            let tables: Vec<_> = self.holders.iter().enumerate().map(|(n, set)| (table(n), *set)).collect();
            let standing = |at: usize| Standing {
                survivor: self.survivors.has(at),
                whole: match self.whole.has(at) {
                    true => tables.iter().filter(|(_, set)| set.has(at)).map(|(id, _)| (*id, 7)).collect(),
                    false => Vec::new(),
                },
                ..Standing::default()
            };
            let standings: Vec<Standing> = (0..3).map(standing).collect();
            let report = |at: usize| Report {
                prepared: if self.prepared.has(at) { vec![(txid(1), tables.clone())] } else { Vec::new() },
                undecided: if self.undecided.has(at) { vec![txid(1)] } else { Vec::new() },
                ..Report::default()
            };
            let reports: Vec<Option<Report>> = (0..3).map(|at| Some(report(at))).collect();
            let of =
                |outcome: Option<Outcome>| outcome.map(|outcome| (txid(1), outcome)).into_iter().collect();
            let evidence = Evidence {
                reports: &reports,
                standings: &standings,
                records: &of(self.record),
                hearsay: &of(self.hearsay),
                home: &|_| 7,
                unserved: &self.unserved,
                stamp: Timestamp(100),
            };
            let settled = evidence.settle();
            assert!(settled.len() <= 1);
            settled.first().map(|(_, outcome)| *outcome)
        }
    }

    /// All of three have copies; member 0 is dead.
    fn two_left() -> Case {
        let two = set(&[1, 2]);
        Case { survivors: two, whole: two, holders: vec![NodeSet::first(3)], ..Case::default() }
    }

    #[test]
    fn records_decide_and_else_every_decider_must_have_prepared() {
        // Aim: the settle rule. Method: each line of it.
        let prepared = |slots: &[usize]| Case { prepared: set(slots), ..two_left() };
        assert_eq!(prepared(&[1, 2]).settle(), Some(COMMIT));
        assert_eq!(prepared(&[1]).settle(), Some(Outcome::Aborted));
        let early = Outcome::Committed(Timestamp(5));
        assert_eq!(Case { record: Some(early), ..prepared(&[1]) }.settle(), Some(early));
        assert_eq!(
            Case { record: Some(Outcome::Aborted), ..prepared(&[1, 2]) }.settle(),
            Some(Outcome::Aborted)
        );
        let later = Outcome::Committed(Timestamp(9));
        assert_eq!(Case { hearsay: Some(later), ..prepared(&[1, 2]) }.settle(), Some(later));
        let both = Case { record: Some(early), hearsay: Some(later), ..prepared(&[1]) };
        assert_eq!(both.settle(), Some(early), "a joiner's record comes second");
    }

    #[test]
    fn a_table_whose_only_copy_is_away_keeps_what_touched_it_in_doubt() {
        // Aim: decision 15, "a flush does not decide what only absent nodes can know". Method: table 3 is on member 0 alone; it
        // is away, back with its copy, back without any; the coordinator says that it has not decided.
        let away = Case {
            prepared: set(&[1, 2]),
            holders: vec![NodeSet::first(3), set(&[0])],
            unserved: vec![(TableId(3), 7)],
            ..two_left()
        };
        assert_eq!(away.settle(), Some(Outcome::Unknown));
        assert_eq!(Case { undecided: set(&[1]), ..away.clone() }.settle(), Some(Outcome::Aborted));
        let back = Case { whole: NodeSet::first(3), unserved: Vec::new(), ..away.clone() };
        assert_eq!(back.settle(), Some(Outcome::Aborted), "it had refused: nothing is prepared there");
        assert_eq!(Case { prepared: NodeSet::first(3), ..back }.settle(), Some(COMMIT));
        let empty = Case { unserved: Vec::new(), ..away };
        assert_eq!(empty.settle(), Some(COMMIT), "the table is gone, and with it whatever its reads meant");
    }

    #[test]
    fn after_a_cold_start_the_logs_decide() {
        // Aim: whole-cluster restart. Method: nobody survives; two of three have logs of the last epoch.
        let logs = |slots: &[usize]| Case {
            survivors: NONE,
            whole: set(&[0, 1]),
            prepared: set(slots),
            ..two_left()
        };
        assert_eq!(logs(&[0, 1]).settle(), Some(COMMIT));
        assert_eq!(logs(&[0]).settle(), Some(Outcome::Aborted));
        assert_eq!(logs(&[2]).settle(), None, "what an older log is in doubt about was settled long ago");
    }

    #[test]
    fn a_restarted_process_is_not_asked_where_somebody_survives() {
        // Aim: wrong text "restarted process as survivor". Method: member 0 restarted without the prepare, 1 and 2 hold it.
        let case = Case { prepared: set(&[1, 2]), whole: NodeSet::first(3), ..two_left() };
        assert_eq!(case.settle(), Some(COMMIT));
    }

    #[test]
    fn who_has_loaded_a_table_since_speaks_for_it() {
        // Aim: a member that was excluded in mid-vote does not commit what the epochs in between knew nothing of. Method: it comes
        // back with a transaction prepared over table 2, which it shared with member 0, and table 3, which it has alone;
        // member 0 is away, and member 2 has loaded table 2 in an epoch that served it.
        let (shared, own) = (TableId(2), TableId(3));
        let sent_to = vec![(shared, set(&[0, 1])), (own, set(&[1]))];
        let back = Report { prepared: vec![(txid(1), sent_to)], ..Report::default() };
        let settled = |tables: Vec<(TableId, NodeSet)>| {
            let survivor = Report { tables, ..Report::default() };
            let standings = [
                Standing::default(),
                Standing { whole: vec![(shared, 6), (own, 7)], ..Standing::default() },
                Standing { survivor: true, whole: vec![(shared, 7)], ..Standing::default() },
            ];
            let evidence = Evidence {
                reports: &[None, Some(back.clone()), Some(survivor)],
                standings: &standings,
                records: &Records::default(),
                hearsay: &Records::default(),
                home: &|_| 7,
                unserved: &[],
                stamp: Timestamp(100),
            };
            evidence.settle()
        };
        let copies = vec![(shared, NodeSet::first(3)), (own, set(&[1]))];
        assert_eq!(settled(copies), [(txid(1), Outcome::Aborted)]);
    }
}
