//! A store that does one transaction after another, seen by clients whose times overlap: no alarm. With a mistake of its
//! own: alarm.

use std::collections::BTreeMap;
use std::time::Instant;

use fastrand::Rng;
use hypermnesia_history::{Found, History, Op, Outcome, Transaction};

/// What the store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    Nothing,
    /// Reads are of some moments ago.
    OldReads,
    /// An acknowledged transaction was not done.
    Forgets,
    /// A failed transaction was done.
    DoesWhatFailed,
    /// Half of a transaction was done.
    Halves,
}

const ACCOUNTS: u64 = 6;
const OPENING: i64 = 50;
/// After so many transactions other lists and registers are taken.
const ROUND: u64 = 200;

#[derive(Clone, Default)]
struct State {
    lists: BTreeMap<u64, Vec<u64>>,
    registers: BTreeMap<u64, u64>,
    accounts: BTreeMap<u64, i64>,
    counter: i64,
}

/// Runs so many transactions.
fn history(seed: u64, count: u64, mistake: Mistake) -> History {
    let mut rng = Rng::with_seed(seed);
    let opening: BTreeMap<u64, i64> = (0..ACCOUNTS).map(|account| (account, OPENING)).collect();
    let mut state = State { accounts: opening.clone(), ..State::default() };
    let mut old = state.clone();
    let mut all = state.clone();
    let mut transactions = Vec::new();
    for number in 1..=count {
        if number % ROUND == 0 {
            all.lists.append(&mut state.lists);
            all.registers.append(&mut state.registers);
            old = state.clone();
        }
        let moment = number * 1000;
        let outcome = match rng.u64(..20) {
            0 => Outcome::Failed,
            1 | 2 => Outcome::Unknown,
            _ => Outcome::Ok,
        };
        let mut done = outcome == Outcome::Ok || outcome == Outcome::Unknown && rng.bool();
        done ^= mistake == Mistake::Forgets && outcome == Outcome::Ok && rng.u8(..30) == 0;
        done ^= mistake == Mistake::DoesWhatFailed && outcome == Outcome::Failed && rng.u8(..3) == 0;
        let view = if mistake == Mistake::OldReads && rng.u8(..30) == 0 { &old } else { &state };
        let mut after = view.clone();
        let ops = steps(&mut rng, number, &mut after);
        if mistake == Mistake::OldReads && number % 7 == 0 {
            old = state.clone();
        }
        if done {
            let whole = mistake != Mistake::Halves || rng.u8(..30) != 0;
            state =
                if whole { after } else { State { accounts: state.accounts, lists: state.lists, ..after } };
        }
        let (invoked, completed) = (moment - rng.u64(..900), moment + rng.u64(1..9000));
        transactions.push(Transaction {
            process: number,
            invoked,
            completed,
            outcome,
            ops,
            note: String::new(),
        });
    }
    all.lists.append(&mut state.lists);
    all.registers.append(&mut state.registers);
    transactions.push(look(count, &State { lists: all.lists, registers: all.registers, ..state }));
    History { opening, transactions }
}

/// What one transaction does; what it finds is filled in.
fn steps(rng: &mut Rng, number: u64, state: &mut State) -> Vec<Op> {
    let round = number / ROUND * 100;
    match rng.u8(..10) {
        0 => {
            let (from, to, amount) = (rng.u64(..ACCOUNTS), rng.u64(..ACCOUNTS), rng.i64(0..5));
            if state.accounts[&from] < amount {
                return Vec::new();
            }
            *state.accounts.entry(from).or_default() -= amount;
            *state.accounts.entry(to).or_default() += amount;
            vec![Op::Transfer { from, to, amount }]
        }
        1 => vec![Op::Accounts(state.accounts.clone())],
        2 => {
            state.counter += 3;
            vec![Op::Add(3)]
        }
        3 => vec![Op::Counter(state.counter)],
        4 | 5 => {
            let key = round + 50 + rng.u64(..2);
            let old = state.registers.insert(key, number);
            vec![Op::Swap { key, old, new: number }]
        }
        _ => (0..rng.u64(1..4)).map(|at| step(rng, round, number * 10 + at, state)).collect(),
    }
}

fn step(rng: &mut Rng, round: u64, value: u64, state: &mut State) -> Op {
    let key = round + rng.u64(..3);
    match rng.u8(..4) {
        0 | 1 => {
            state.lists.entry(key).or_default().push(value);
            Op::Append { key, value }
        }
        2 => Op::Read {
            key,
            found: state.lists.get(&key).map_or(Found::Nothing, |list| Found::List(list.clone())),
        },
        _ => {
            let key = key + 50;
            Op::Read {
                key,
                found: state.registers.get(&key).map_or(Found::Nothing, |value| Found::Register(*value)),
            }
        }
    }
}

/// Everything is read at the end.
fn look(count: u64, state: &State) -> Transaction {
    let lists =
        state.lists.iter().map(|(key, list)| Op::Read { key: *key, found: Found::List(list.clone()) });
    let registers =
        state.registers.iter().map(|(key, value)| Op::Read { key: *key, found: Found::Register(*value) });
    let mut ops: Vec<Op> = lists.chain(registers).collect();
    ops.extend([Op::Accounts(state.accounts.clone()), Op::Counter(state.counter)]);
    let invoked = (count + 20) * 1000;
    Transaction {
        process: 0,
        invoked,
        completed: invoked + 1,
        outcome: Outcome::Ok,
        ops,
        note: "the end".to_owned(),
    }
}

#[test]
fn one_after_another_is_accepted() {
    // Aim: no false alarms. Method: many seeds of a store without a mistake, with transactions whose outcome nobody knows.
    for seed in 0..200 {
        let history = history(seed, 300, Mistake::Nothing);
        let found = history.anomalies();
        assert!(found.is_empty(), "seed {seed}: {}", found[0]);
    }
}

#[test]
fn mistakes_are_found() {
    // Aim: the judge has teeth beyond the textbook. Method: seeds of a store with each mistake; nearly all show it.
    for mistake in [Mistake::OldReads, Mistake::Forgets, Mistake::DoesWhatFailed, Mistake::Halves] {
        let seen = (0..40).filter(|seed| !history(*seed, 300, mistake).anomalies().is_empty()).count();
        assert!(seen >= 36, "{mistake:?} is seen in {seen} of 40");
    }
}

#[test]
fn a_hundred_thousand_transactions_take_about_a_second() {
    // Aim: no step takes time beyond the history's size; with the square of it this would take hours. Method: judge a long
    // one, good and bad.
    let good = history(1, 100_000, Mistake::Nothing);
    let begin = Instant::now();
    assert!(good.anomalies().is_empty());
    println!("{} transactions judged in {:?}", good.transactions.len(), begin.elapsed());
    let bad = history(1, 100_000, Mistake::OldReads);
    let begin = Instant::now();
    assert!(!bad.anomalies().is_empty());
    println!("{} bad ones in {:?}", bad.transactions.len(), begin.elapsed());
}
