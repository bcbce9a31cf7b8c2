//! One mistake each, made by hand, and its neighbour without the mistake.

use std::collections::BTreeMap;

use hypermnesia_history::{Found, History, Kind, Op, Outcome, Transaction};

fn append(key: u64, value: u64) -> Op {
    Op::Append { key, value }
}

fn list(key: u64, found: &[u64]) -> Op {
    Op::Read { key, found: Found::List(found.to_vec()) }
}

fn register(key: u64, found: Option<u64>) -> Op {
    Op::Read { key, found: found.map_or(Found::Nothing, Found::Register) }
}

fn swap(key: u64, old: Option<u64>, new: u64) -> Op {
    Op::Swap { key, old, new }
}

/// From when to when, how it ended, its steps.
fn one(from: u64, to: u64, outcome: Outcome, ops: &[Op]) -> Transaction {
    let (process, note) = (from * 1000 + to, String::new());
    Transaction { process, invoked: from, completed: to, outcome, ops: ops.to_vec(), note }
}

fn ok(from: u64, to: u64, ops: &[Op]) -> Transaction {
    one(from, to, Outcome::Ok, ops)
}

fn kinds(transactions: &[Transaction]) -> Vec<Kind> {
    with_accounts(&[], transactions)
}

fn with_accounts(opening: &[i64], transactions: &[Transaction]) -> Vec<Kind> {
    let opening: BTreeMap<u64, i64> = (0..).zip(opening.iter().copied()).collect();
    let mut history = History { opening, transactions: transactions.to_vec() };
    (0..).zip(&mut history.transactions).for_each(|(process, one)| one.process = process);
    let found = history.anomalies();
    assert!(found.iter().all(|anomaly| !anomaly.words.is_empty()));
    // What is written and read back is judged the same, if it can be written.
    let again = History::from_lines(&history.to_lines()).expect("it was written by the same");
    assert_eq!(again.anomalies().len(), found.len(), "{}", history.to_lines());
    found.into_iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn nothing_is_wrong_with_what_one_after_another_gives() {
    // Aim: no false alarms in the places where an order is easily got wrong. Method: reads and appends of one's own, at the
    // same moment, unknown ones that did and did not happen, and an end of a list that nobody read.
    assert_eq!(kinds(&[]), []);
    assert_eq!(
        kinds(&[ok(1, 2, &[list(1, &[]), append(1, 1)]), ok(3, 4, &[list(1, &[1]), append(1, 2)])]),
        []
    );
    assert_eq!(kinds(&[ok(1, 2, &[append(1, 1), list(1, &[1]), append(1, 2)])]), []);
    assert_eq!(
        kinds(&[ok(1, 5, &[append(1, 1)]), ok(5, 6, &[list(1, &[])])]),
        [],
        "at one moment both are under way"
    );
    let unknown = one(1, 2, Outcome::Unknown, &[append(1, 1), append(2, 1)]);
    assert_eq!(
        kinds(&[unknown.clone(), ok(3, 4, &[list(1, &[])]), ok(5, 6, &[list(1, &[1]), list(2, &[1])])]),
        []
    );
    assert_eq!(kinds(&[unknown, ok(3, 4, &[list(1, &[]), list(2, &[])])]), []);
    assert_eq!(kinds(&[one(1, 2, Outcome::Failed, &[append(1, 1)]), ok(3, 4, &[list(1, &[])])]), []);
    let swaps = [ok(1, 2, &[swap(9, None, 1)]), ok(3, 4, &[swap(9, Some(1), 2), register(9, Some(2))])];
    assert_eq!(kinds(&swaps), []);
    let unknown = one(1, 2, Outcome::Unknown, &[swap(9, None, 1)]);
    assert_eq!(kinds(&[unknown, ok(3, 4, &[register(9, None)]), ok(3, 9, &[register(9, Some(1))])]), []);
}

#[test]
fn versions_that_cannot_be_are_found() {
    // Aim: what needs no order is found by name. Method: one history for each.
    let failed = |ops: &[Op]| one(1, 2, Outcome::Failed, ops);
    assert_eq!(kinds(&[ok(1, 2, &[list(1, &[7])])]), [Kind::MadeUp]);
    assert_eq!(kinds(&[ok(1, 2, &[register(1, Some(7))])]), [Kind::MadeUp]);
    assert_eq!(kinds(&[ok(1, 2, &[append(1, 1)]), ok(3, 4, &[list(1, &[1, 1])])]), [Kind::Duplicate]);
    assert_eq!(kinds(&[failed(&[append(1, 1)]), ok(3, 4, &[list(1, &[1])])]), [Kind::G1a]);
    assert_eq!(kinds(&[failed(&[swap(9, None, 1)]), ok(3, 4, &[register(9, Some(1))])]), [Kind::G1a]);
    let middle =
        [ok(1, 9, &[append(1, 1), append(1, 2)]), ok(1, 9, &[list(1, &[1])]), ok(1, 9, &[list(1, &[1, 2])])];
    assert_eq!(kinds(&middle), [Kind::G1b]);
    assert_eq!(
        kinds(&[ok(1, 9, &[swap(9, None, 1), swap(9, Some(1), 2)]), ok(1, 9, &[register(9, Some(1))])]),
        [Kind::G1b]
    );
    assert_eq!(kinds(&[ok(1, 2, &[append(1, 1), list(1, &[])])]), [Kind::Internal]);
    assert_eq!(
        kinds(&[ok(1, 2, &[append(1, 1)]), ok(1, 9, &[list(1, &[]), list(1, &[1])])]),
        [Kind::Internal]
    );
    assert_eq!(kinds(&[ok(1, 9, &[swap(9, None, 1), register(9, None)])]), [Kind::Internal]);
    let appends = [ok(1, 9, &[append(1, 1)]), ok(1, 9, &[append(1, 2)])];
    let fork =
        [appends[0].clone(), appends[1].clone(), ok(1, 9, &[list(1, &[1, 2])]), ok(1, 9, &[list(1, &[2])])];
    assert_eq!(kinds(&fork), [Kind::Fork]);
    assert_eq!(kinds(&[ok(1, 2, &[append(1, 1)]), ok(1, 2, &[append(1, 1)])])[0], Kind::Malformed);
}

#[test]
fn lost_writes_and_updates_are_found() {
    // Aim: an acknowledged write that is gone is seen, which a plain serializable order would let go. Method: somebody looks
    // after the acknowledgement, and before it.
    assert_eq!(kinds(&[ok(1, 2, &[append(1, 1)]), ok(3, 4, &[list(1, &[])])]), [Kind::LostWrite]);
    assert_eq!(kinds(&[ok(1, 5, &[append(1, 1)]), ok(3, 4, &[list(1, &[])])]), []);
    assert_eq!(kinds(&[ok(1, 2, &[swap(9, None, 1)]), ok(3, 4, &[swap(9, None, 2)])]), [Kind::LostUpdate]);
    assert_eq!(kinds(&[ok(1, 2, &[swap(9, None, 1)]), ok(3, 4, &[register(9, None)])]), [Kind::StaleRead]);
    let both = [ok(1, 9, &[list(1, &[]), append(1, 1)]), ok(1, 9, &[list(1, &[]), append(1, 2)])];
    assert_eq!(kinds(&both), [Kind::G2], "nobody read either");
    assert_eq!(kinds(&[both[0].clone(), both[1].clone(), ok(10, 11, &[list(1, &[1, 2])])]), [Kind::GSingle]);
    let half = one(1, 2, Outcome::Unknown, &[append(1, 1), append(2, 1)]);
    assert_eq!(
        kinds(&[half, ok(3, 4, &[list(1, &[1]), list(2, &[])])]),
        [Kind::GSingle],
        "half of it is there"
    );
}

#[test]
fn cycles_are_found_and_named_by_the_worst_kind() {
    // Aim: G0, G1c, G-single, G2, each with and without real time. Method: the textbook history of each.
    let g0 = [
        ok(1, 9, &[append(1, 1), append(2, 1)]),
        ok(1, 9, &[append(1, 2), append(2, 2)]),
        ok(1, 9, &[list(1, &[1, 2]), list(2, &[2, 1])]),
    ];
    assert_eq!(kinds(&g0), [Kind::G0]);
    let g1c = [ok(1, 9, &[append(1, 1), list(2, &[1])]), ok(1, 9, &[append(2, 1), list(1, &[1])])];
    assert_eq!(kinds(&g1c), [Kind::G1c]);
    let skewed_read = [ok(1, 9, &[append(1, 1), append(2, 1)]), ok(1, 9, &[list(1, &[1]), list(2, &[])])];
    assert_eq!(kinds(&skewed_read), [Kind::GSingle]);
    let skewed_write = [
        ok(1, 9, &[list(1, &[]), list(2, &[]), append(1, 1)]),
        ok(1, 9, &[list(1, &[]), list(2, &[]), append(2, 2)]),
        ok(10, 11, &[list(1, &[1]), list(2, &[2])]),
    ];
    assert_eq!(kinds(&skewed_write), [Kind::G2]);
    let fork = [
        ok(1, 9, &[append(1, 1)]),
        ok(1, 9, &[append(2, 2)]),
        ok(1, 9, &[list(1, &[1]), list(2, &[])]),
        ok(1, 9, &[list(1, &[]), list(2, &[2])]),
    ];
    assert_eq!(kinds(&fork), [Kind::G2], "a long fork");
    let order = [ok(1, 2, &[append(1, 1)]), ok(3, 4, &[append(1, 2)]), ok(5, 6, &[list(1, &[2, 1])])];
    assert_eq!(kinds(&order), [Kind::G0RealTime]);
    let early = [ok(1, 2, &[list(1, &[1])]), ok(3, 4, &[append(1, 1)])];
    assert_eq!(kinds(&early), [Kind::G1cRealTime]);
    let stale = [ok(1, 2, &[append(1, 1)]), ok(3, 4, &[list(1, &[])]), ok(5, 6, &[list(1, &[1])])];
    assert_eq!(kinds(&stale), [Kind::StaleRead]);
    let back_and_forth = [
        ok(1, 20, &[append(1, 1)]),
        ok(1, 20, &[append(2, 2)]),
        ok(2, 3, &[list(1, &[1])]),
        ok(4, 5, &[list(2, &[])]),
        ok(2, 3, &[list(2, &[2])]),
        ok(4, 5, &[list(1, &[])]),
    ];
    assert_eq!(kinds(&back_and_forth), [Kind::StaleRead]);
    let written_over = [
        ok(1, 20, &[list(2, &[]), append(1, 1)]),
        ok(2, 3, &[append(2, 2)]),
        ok(4, 5, &[list(1, &[])]),
        ok(21, 22, &[list(1, &[1]), list(2, &[2])]),
    ];
    assert_eq!(kinds(&written_over), [Kind::G2RealTime]);
}

#[test]
fn a_cycle_is_told_in_words_and_is_the_smallest() {
    // Aim: people can follow what was found. Method: a cycle of three, then one of two as well; a cycle beside many reads,
    // and the text.
    let around = |of: &[u64]| -> Vec<Transaction> {
        let before = of.iter().cycle().skip(of.len() - 1);
        of.iter()
            .zip(before)
            .map(|(key, before)| ok(1, 9, &[append(*key, *key), list(*before, &[*before])]))
            .collect()
    };
    let words = |all: Vec<Transaction>| {
        History { opening: BTreeMap::new(), transactions: all }.anomalies()[0].to_string()
    };
    assert!(words(around(&[1, 2, 3])).contains("G1c: a cycle of 3 transactions"));
    assert!(words([around(&[1, 2, 3]), around(&[4, 5])].concat()).contains("G1c: a cycle of 2 transactions"));
    let mut all: Vec<_> =
        (0..50).map(|at| ok(100 + at, 300 + at, &[list(5, &[]), append(5 + at, at)])).collect();
    all.push(ok(1, 2, &[append(1, 1)]));
    all.push(ok(3, 4, &[list(1, &[])]));
    all.push(ok(5, 6, &[list(1, &[1])]));
    let words = words(all);
    assert!(words.contains("stale read") && words.contains("a cycle of 2 transactions"), "{words}");
    assert!(words.contains("T50 comes before T51: T50 was over before T51 began"), "{words}");
    assert!(words.contains("T51 comes before T50: T51 read 1 as it was before T50 wrote 1"), "{words}");
}

#[test]
fn money_and_counters_keep_to_what_happened() {
    // Aim: sums, bounds of each account, overdrafts, missing accounts; a counter's bounds, and that it does not fall. Method:
    // one history for each beside a good one.
    let accounts = |balances: &[i64]| Op::Accounts((0..).zip(balances.iter().copied()).collect());
    let moved = |from, to, amount| Op::Transfer { from, to, amount };
    let bank = |all: &[Transaction]| with_accounts(&[10, 10], all);
    assert_eq!(bank(&[ok(1, 2, &[moved(0, 1, 4)]), ok(3, 4, &[accounts(&[6, 14])])]), []);
    let unknown = one(1, 2, Outcome::Unknown, &[moved(0, 1, 4)]);
    assert_eq!(bank(&[unknown, ok(3, 4, &[accounts(&[10, 10])]), ok(3, 4, &[accounts(&[6, 14])])]), []);
    assert_eq!(bank(&[ok(1, 2, &[moved(0, 1, 4)]), ok(3, 4, &[accounts(&[10, 10])])]), [Kind::Bank], "lost");
    assert_eq!(
        bank(&[one(1, 2, Outcome::Failed, &[moved(0, 1, 4)]), ok(3, 4, &[accounts(&[6, 14])])]),
        [Kind::Bank]
    );
    assert_eq!(bank(&[ok(1, 9, &[moved(0, 1, 4)]), ok(3, 4, &[accounts(&[6, 10])])]), [Kind::Bank], "half");
    assert_eq!(bank(&[ok(1, 9, &[moved(0, 1, 12)]), ok(3, 4, &[accounts(&[-2, 22])])]), [Kind::Bank]);
    assert_eq!(bank(&[ok(3, 4, &[accounts(&[20])])]), [Kind::Bank]);
    let (add, read) = (|by| Op::Add(by), |sum| Op::Counter(sum));
    assert_eq!(
        kinds(&[ok(1, 2, &[add(3)]), ok(3, 9, &[add(-1)]), ok(4, 5, &[read(2)]), ok(6, 7, &[read(3)])]),
        []
    );
    assert_eq!(kinds(&[ok(1, 2, &[add(3)]), ok(3, 4, &[read(0)])]), [Kind::Counter]);
    assert_eq!(kinds(&[one(1, 2, Outcome::Failed, &[add(3)]), ok(3, 4, &[read(3)])]), [Kind::Counter]);
    let falls = [ok(1, 9, &[add(3)]), ok(2, 3, &[read(3)]), ok(4, 5, &[read(0)])];
    assert_eq!(kinds(&falls), [Kind::Counter]);
}

#[test]
fn lines_are_read_back_and_bad_ones_are_named() {
    // Aim: a file of a run is the run. Method: everything that can be written, there and back; then lines that are wrong.
    let transactions = vec![
        ok(1, 2, &[append(1, 1), list(1, &[1]), register(2, Some(5)), register(3, None), swap(4, None, 1)]),
        one(3, 4, Outcome::Failed, &[Op::Transfer { from: 0, to: 1, amount: 2 }]),
        one(5, 6, Outcome::Unknown, &[Op::Add(-7)]),
        ok(7, 8, &[Op::Counter(-7)]),
        ok(9, 10, &[Op::Accounts(BTreeMap::from([(0, 4), (1, 4)]))]),
    ];
    let history = History { opening: BTreeMap::from([(0, 4), (1, 4)]), transactions };
    assert_eq!(History::from_lines(&history.to_lines()), Ok(history));
    let asked = "{\"process\":1,\"type\":\"invoke\",\"value\":[[\"append\",1,7]]}\n";
    let faults = "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"cut\"}\n\n";
    let open =
        History::from_lines(&format!("{asked}{faults}")).expect("it has no end, which is none of its faults");
    assert_eq!(open.transactions[0].outcome, Outcome::Unknown);
    for (text, line, why) in [
        (format!("{asked}{asked}"), 2, "under way"),
        ("{}\n{\"process\":1,\"type\":\"ok\"}".to_owned(), 2, "asked for nothing"),
        ("{".to_owned(), 1, "no JSON"),
        (format!("{asked}{{\"process\":1,\"type\":\"ok\",\"value\":[[\"w\",1,2]]}}"), 2, "no transaction"),
    ] {
        let wrong = History::from_lines(&text).expect_err(&text);
        assert!(wrong.line == line && wrong.why.contains(why), "{wrong}");
    }
}
