//! Histories of a few keys written and read by several threads at once are looked at afterwards: for each key there must be
//! one order of all operations that a register would show, or a bag, in which nothing is moved before its call or behind its return.
//!
//! The search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993) with the states already refuted
//! remembered, as Lowe does (Testing for linearizability, 2017). Linearizability is local, so each key is searched alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use hypermnesia_store::{
    Body, CommittedLocal, Kind, NodeId, Op, ReadNote, Store, StoreConfig, Table, TableDef, TableId,
    Timestamp, TxId, Type, Work, Write, define,
};

#[path = "shared/numbers.rs"]
mod numbers;

use numbers::{int, key, row};

const T: TableId = TableId(10);
const WALL: u64 = 1_000_000;
const KEYS: i64 = 2;
const THREADS: u64 = 4;
/// Operations of a thread in one history, at most 64 per key in all.
const STEPS: usize = 12;
const HISTORIES: u64 = 300;

/// Different objects of a bag's key: few, so that one is added that is there, and one removed that is not.
const OBJECTS: u64 = 4;

/// What a key holds: in a register nothing or one value, in a bag its objects in the order in which they came.
type Held = Vec<i64>;

#[derive(Clone, Debug, PartialEq)]
enum Did {
    Read(Held),
    Put(i64),
    Delete,
    /// Compared with the first; when that was held, the second was put. Says whether it was.
    Swap(Held, i64, bool),
    /// Behind the others, unless it was there. Says whether it was there, if anybody looked.
    Add(i64, Option<bool>),
    /// Says whether it was there, if anybody looked.
    Remove(i64, Option<bool>),
}

/// One operation on one key: when it was called, when it had returned, and what happened.
#[derive(Clone, Debug)]
struct Call {
    key: i64,
    from: u64,
    to: u64,
    did: Did,
}

impl Did {
    /// What the key holds after it, when it fits what the key held before.
    fn after(&self, held: &Held) -> Option<Held> {
        match self {
            Did::Read(seen) => (seen == held).then(|| held.clone()),
            Did::Put(new) => Some(vec![*new]),
            Did::Delete => Some(Held::new()),
            Did::Swap(expected, _, false) => (expected != held).then(|| held.clone()),
            Did::Swap(expected, new, true) => (expected == held).then(|| vec![*new]),
            Did::Add(v, there) | Did::Remove(v, there) if *there == Some(!held.contains(v)) => None,
            Did::Add(v, _) if held.contains(v) => Some(held.clone()),
            Did::Add(v, _) => Some([held, &[*v][..]].concat()),
            Did::Remove(v, _) => Some(without(held, *v)),
        }
    }
}

fn without(held: &Held, v: i64) -> Held {
    held.iter().copied().filter(|known| *known != v).collect()
}

/// Whether one order explains all calls of a key that began absent.
fn explains(calls: &[Call]) -> bool {
    assert!(calls.len() <= 64, "a bit for each call");
    search(calls, 0, Held::new(), &mut HashSet::new())
}

fn search(calls: &[Call], done: u64, held: Held, refuted: &mut HashSet<(u64, Held)>) -> bool {
    let open = |n: &usize| done & (1 << n) == 0;
    // Only who was called before any open one had returned may be next.
    let Some(first) = (0..calls.len()).filter(open).map(|n| calls[n].to).min() else { return true };
    if !refuted.insert((done, held.clone())) {
        return false;
    }
    let next = (0..calls.len()).filter(open).filter(|n| calls[*n].from <= first);
    next.filter_map(|n| calls[n].did.after(&held).map(|after| (n, after)))
        .any(|(n, after)| search(calls, done | 1 << n, after, refuted))
}

/// What a body holds.
fn values(body: Option<&Body>) -> Held {
    let rows = body.map_or(&[][..], Body::rows);
    rows.iter().map(|row| int(&Body::Row(row.clone()))).collect()
}

struct Node {
    store: Store,
    table: Arc<Table>,
    sequence: AtomicU64,
    /// Orders calls and returns of all threads.
    time: AtomicU64,
}

impl Node {
    fn new(kind: Kind) -> Node {
        let store = Store::new(StoreConfig { wall_ms: WALL });
        let def = TableDef::builder("t").kind(kind).attribute("k", Type::Int).attribute("v", Type::Int);
        let mut def = def.build().expect("good");
        def.id = T;
        let txn = store.begin(TxId { age: Timestamp(1), node: NodeId(1), sequence: 1 });
        let work = Arc::new(Work { writes: vec![define(&def)], ..Work::default() });
        assert!(matches!(store.commit_local(&txn, &work, WALL), CommittedLocal::Yes(..)));
        let table = store.table(T).expect("created");
        Node { store, table, sequence: AtomicU64::new(2), time: AtomicU64::new(0) }
    }

    fn single<A>(&self, k: i64, decide: impl Fn(Held) -> (Option<Op>, A)) -> A {
        loop {
            let decide = |held: Option<&Body>| Ok::<_, ()>(decide(values(held)));
            match self.store.alter(&self.table, &key(k), WALL, decide) {
                Some(answer) => return answer.expect("it decides"),
                None => thread::yield_now(),
            }
        }
    }

    /// The same by a transaction that reads and writes: what it read is validated when it commits.
    fn transaction<A>(&self, k: i64, decide: impl Fn(Held) -> (Option<Op>, A)) -> A {
        loop {
            let snapshot = self.store.snapshot();
            let Ok(found) = self.table.read(&key(k), snapshot.at()) else {
                thread::yield_now();
                continue;
            };
            let version = found.as_ref().map_or(Timestamp::NEVER, |(_, version)| *version);
            let (op, answer) = decide(values(found.map(|(body, _)| body).as_ref()));
            let reads = vec![ReadNote { table: T, key: key(k), version }];
            let writes = op.into_iter().map(|op| Write { table: T, key: key(k), op }).collect();
            if self.commit(Work { reads, writes, ..Work::default() }) {
                return answer;
            }
        }
    }

    /// By a transaction that has read nothing.
    fn blind(&self, k: i64, op: &Op) {
        let writes = || vec![Write { table: T, key: key(k), op: op.clone() }];
        while !self.commit(Work { writes: writes(), ..Work::default() }) {
            thread::yield_now();
        }
    }

    fn commit(&self, work: Work) -> bool {
        let (work, sequence) = (Arc::new(work), self.sequence.fetch_add(1, Ordering::Relaxed));
        let age = self.store.clock().read();
        let txn = self.store.begin(TxId { age, node: NodeId(1), sequence });
        loop {
            match self.store.commit_local(&txn, &work, WALL) {
                CommittedLocal::Yes(_, freed) => {
                    drop(freed);
                    return true;
                }
                CommittedLocal::Refused(_, freed) => {
                    drop(freed);
                    return false;
                }
                CommittedLocal::Parked => thread::yield_now(),
            }
        }
    }

    fn latest(&self, k: i64) -> Held {
        loop {
            match self.table.latest(&key(k)) {
                Ok(found) => return values(found.map(|(body, _)| body).as_ref()),
                Err(_) => thread::yield_now(),
            }
        }
    }

    /// What a snapshot taken now reads; a transaction in its way is waited for at a later one.
    fn at_snapshot(&self, k: i64) -> Held {
        loop {
            let snapshot = self.store.snapshot();
            match self.table.read(&key(k), snapshot.at()) {
                Ok(found) => return values(found.map(|(body, _)| body).as_ref()),
                Err(_) => thread::yield_now(),
            }
        }
    }

    fn alter(&self, k: i64, dice: u64, decide: impl Fn(Held) -> (Option<Op>, Did)) -> Did {
        match dice & 1 {
            0 => self.single(k, decide),
            _ => self.transaction(k, decide),
        }
    }

    fn on_register(&self, k: i64, v: i64, dice: u64) -> Did {
        let alter = |k, decide: &dyn Fn(Held) -> (Option<Op>, Did)| self.alter(k, dice, decide);
        match (dice >> 1) % 6 {
            0 => Did::Read(self.latest(k)),
            1 => Did::Read(self.at_snapshot(k)),
            2 => alter(k, &|_| (Some(Op::Put(row(k, v))), Did::Put(v))),
            3 => alter(k, &|_| (Some(Op::Delete), Did::Delete)),
            _ => {
                let expected = self.latest(k);
                alter(k, &|held| match held == expected {
                    true => (Some(Op::Put(row(k, v))), Did::Swap(expected.clone(), v, true)),
                    false => (None, Did::Swap(expected.clone(), v, false)),
                })
            }
        }
    }

    fn on_bag(&self, k: i64, v: i64, dice: u64) -> Did {
        let alter = |decide: &dyn Fn(Held) -> (Option<Op>, Did)| self.alter(k, dice, decide);
        let (add, remove) = (Op::BagAdd(row(k, v)), Op::BagRemove(row(k, v)));
        match (dice >> 1) % 10 {
            0 => Did::Read(self.latest(k)),
            1 => Did::Read(self.at_snapshot(k)),
            2..5 => alter(&|held| (Some(add.clone()), Did::Add(v, Some(held.contains(&v))))),
            5 => {
                self.blind(k, &add);
                Did::Add(v, None)
            }
            6..8 => alter(&|held| (Some(remove.clone()), Did::Remove(v, Some(held.contains(&v))))),
            8 => {
                self.blind(k, &remove);
                Did::Remove(v, None)
            }
            _ => alter(&|_| (Some(Op::Delete), Did::Delete)),
        }
    }

    fn run(&self, seed: u64, thread: u64) -> Vec<Call> {
        let mut dice = seed.wrapping_mul(THREADS).wrapping_add(thread);
        let mut calls = Vec::with_capacity(STEPS);
        for step in 0..STEPS as u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let k = (dice >> 60) as i64 % KEYS;
            let from = self.time.fetch_add(1, Ordering::SeqCst);
            let did = match self.table.def().kind {
                Kind::Bag => self.on_bag(k, (dice >> 50) as i64 % OBJECTS as i64, dice >> 33),
                _ => self.on_register(k, (thread * 100 + step) as i64, dice >> 33),
            };
            calls.push(Call { key: k, from, to: self.time.fetch_add(1, Ordering::SeqCst), did });
        }
        calls
    }
}

#[test]
fn every_history_of_a_key_has_an_order_that_explains_it() {
    // Aim: single operations, transactions, reads of the newest and at fresh snapshots are one register per key, in a bag one
    // list. Method: short histories by four threads from a seed each; the schedule is the machine's, the search accepts any
    // right one.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        for seed in 0..HISTORIES {
            let node = Node::new(kind);
            let all: Vec<Call> = thread::scope(|scope| {
                let node = &node;
                let runs: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || node.run(seed, n))).collect();
                runs.into_iter().flat_map(|run| run.join().expect("no panic inside")).collect()
            });
            for k in 0..KEYS {
                let calls: Vec<Call> = all.iter().filter(|call| call.key == k).cloned().collect();
                assert!(explains(&calls), "{kind:?}, seed {seed}, key {k}: no order explains {calls:#?}");
            }
            assert_eq!(node.store.lock_counts(), (0, 0));
        }
    }
}

#[test]
fn the_search_refuses_what_no_register_does() {
    // Aim: the search can fail. Method: small histories with one known mistake each, beside the same without it.
    let call = |from, to, did| Call { key: 0, from, to, did };
    let put = [call(0, 1, Did::Put(1)), call(2, 5, Did::Put(2))];
    let with = |more: &[Call]| explains(&[&put[..], more].concat());
    assert!(with(&[call(3, 4, Did::Read(vec![1])), call(6, 7, Did::Read(vec![2]))]));
    assert!(!with(&[call(6, 7, Did::Read(vec![1]))]), "an old value after the new one was there");
    let (new, old) = (|| Did::Read(vec![2]), || Did::Read(vec![1]));
    assert!(with(&[call(3, 4, old()), call(4, 5, new())]));
    assert!(!with(&[call(2, 3, new()), call(4, 5, old())]), "time went back");
    let swap = |v| Did::Swap(vec![2], v, true);
    assert!(with(&[call(6, 9, swap(3)), call(7, 8, Did::Swap(vec![2], 4, false))]));
    assert!(!with(&[call(6, 9, swap(3)), call(7, 8, swap(4))]), "a lost update");
    assert!(!with(&[call(6, 7, Did::Delete), call(8, 9, Did::Read(vec![2]))]), "a deleted row came back");
}

#[test]
fn the_search_refuses_what_no_bag_does() {
    // Aim: the search can fail for bags. Method: as for registers.
    let call = |from, to, did| Call { key: 0, from, to, did };
    let read = |held: &[i64]| Did::Read(held.to_vec());
    let begun = [call(0, 1, Did::Add(1, None)), call(2, 5, Did::Add(2, Some(false)))];
    let with = |more: &[Call]| explains(&[&begun[..], more].concat());
    assert!(with(&[call(3, 4, read(&[1])), call(6, 7, read(&[1, 2]))]));
    assert!(!with(&[call(6, 7, read(&[2, 1]))]), "not in the order in which they came");
    assert!(!with(&[call(6, 7, read(&[2]))]), "an object was lost");
    assert!(with(&[call(6, 7, Did::Add(1, Some(true))), call(8, 9, read(&[1, 2]))]));
    assert!(!with(&[call(6, 7, Did::Add(1, Some(true))), call(8, 9, read(&[1, 2, 1]))]), "it is there twice");
    assert!(!with(&[call(6, 7, Did::Add(2, Some(false)))]), "both have added it anew");
    let gone = |told| call(6, 9, Did::Remove(1, told));
    assert!(with(&[gone(Some(true)), call(7, 8, Did::Remove(1, Some(false))), call(10, 11, read(&[2]))]));
    assert!(!with(&[gone(Some(true)), call(7, 8, Did::Remove(1, Some(true)))]), "both have removed it");
    assert!(!with(&[gone(None), call(10, 11, read(&[1, 2]))]), "a removed object came back");
    assert!(with(&[gone(None), call(8, 10, Did::Add(1, None)), call(11, 12, read(&[2, 1]))]));
    assert!(!with(&[call(6, 7, Did::Delete), call(8, 9, read(&[1]))]), "a deleted object came back");
}
