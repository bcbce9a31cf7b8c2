//! Histories of a few keys written and read by several threads at once are looked at afterwards: for each key there must be
//! one order of all operations that a register would show, in which nothing is moved before its call or behind its return.
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

/// What a key holds.
type Held = Option<i64>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Did {
    Read(Held),
    Put(i64),
    Delete,
    /// Compared with the first; when that was held, the second was put. Says whether it was.
    Swap(Held, i64, bool),
}

/// One operation on one key: when it was called, when it had returned, and what happened.
#[derive(Clone, Copy, Debug)]
struct Call {
    key: i64,
    from: u64,
    to: u64,
    did: Did,
}

impl Did {
    /// What the key holds after it, when it fits what the key held before.
    fn after(self, held: Held) -> Option<Held> {
        match self {
            Did::Read(seen) => (seen == held).then_some(held),
            Did::Put(new) => Some(Some(new)),
            Did::Delete => Some(None),
            Did::Swap(expected, new, true) => (expected == held).then_some(Some(new)),
            Did::Swap(expected, _, false) => (expected != held).then_some(held),
        }
    }
}

/// Whether one order explains all calls of a key that began absent.
fn explains(calls: &[Call]) -> bool {
    assert!(calls.len() <= 64, "a bit for each call");
    search(calls, 0, None, &mut HashSet::new())
}

fn search(calls: &[Call], done: u64, held: Held, refuted: &mut HashSet<(u64, Held)>) -> bool {
    let open = |n: &usize| done & (1 << n) == 0;
    // Only who was called before any open one had returned may be next.
    let Some(first) = (0..calls.len()).filter(open).map(|n| calls[n].to).min() else { return true };
    if !refuted.insert((done, held)) {
        return false;
    }
    let next = (0..calls.len()).filter(open).filter(|n| calls[*n].from <= first);
    next.filter_map(|n| calls[n].did.after(held).map(|after| (n, after)))
        .any(|(n, after)| search(calls, done | 1 << n, after, refuted))
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
            let decide = |held: Option<&Body>| Ok::<_, ()>(decide(held.map(int)));
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
            let (op, answer) = decide(found.map(|(body, _)| int(&body)));
            let reads = vec![ReadNote { table: T, key: key(k), version }];
            let writes = op.into_iter().map(|op| Write { table: T, key: key(k), op }).collect();
            if self.commit(Work { reads, writes, ..Work::default() }) {
                return answer;
            }
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
                Ok(found) => return found.map(|(body, _)| int(&body)),
                Err(_) => thread::yield_now(),
            }
        }
    }

    /// What a snapshot taken now reads; a transaction in its way is waited for at a later one.
    fn at_snapshot(&self, k: i64) -> Held {
        loop {
            let snapshot = self.store.snapshot();
            match self.table.read(&key(k), snapshot.at()) {
                Ok(found) => return found.map(|(body, _)| int(&body)),
                Err(_) => thread::yield_now(),
            }
        }
    }

    fn perform(&self, k: i64, v: i64, dice: u64) -> Did {
        let alter = |k, decide: &dyn Fn(Held) -> (Option<Op>, Did)| match dice & 1 {
            0 => self.single(k, decide),
            _ => self.transaction(k, decide),
        };
        match (dice >> 1) % 6 {
            0 => Did::Read(self.latest(k)),
            1 => Did::Read(self.at_snapshot(k)),
            2 => alter(k, &|_| (Some(Op::Put(row(k, v))), Did::Put(v))),
            3 => alter(k, &|_| (Some(Op::Delete), Did::Delete)),
            _ => {
                let expected = self.latest(k);
                alter(k, &|held| match held == expected {
                    true => (Some(Op::Put(row(k, v))), Did::Swap(expected, v, true)),
                    false => (None, Did::Swap(expected, v, false)),
                })
            }
        }
    }

    fn run(&self, seed: u64, thread: u64) -> Vec<Call> {
        let mut dice = seed.wrapping_mul(THREADS).wrapping_add(thread);
        let mut calls = Vec::with_capacity(STEPS);
        for step in 0..STEPS as u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let k = (dice >> 60) as i64 % KEYS;
            let from = self.time.fetch_add(1, Ordering::SeqCst);
            let did = self.perform(k, (thread * 100 + step) as i64, dice >> 33);
            calls.push(Call { key: k, from, to: self.time.fetch_add(1, Ordering::SeqCst), did });
        }
        calls
    }
}

#[test]
fn every_history_of_a_key_has_an_order_that_explains_it() {
    // Aim: single operations, transactions, reads of the newest and at fresh snapshots are one register per key. Method:
    // short histories by four threads from a seed each; the schedule is the machine's, the search accepts any right one.
    for kind in [Kind::Set, Kind::OrderedSet] {
        for seed in 0..HISTORIES {
            let node = Node::new(kind);
            let all: Vec<Call> = thread::scope(|scope| {
                let node = &node;
                let runs: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || node.run(seed, n))).collect();
                runs.into_iter().flat_map(|run| run.join().expect("no panic inside")).collect()
            });
            for k in 0..KEYS {
                let calls: Vec<Call> = all.iter().filter(|call| call.key == k).copied().collect();
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
    let with = |more: &[Call]| explains(&[&put, more].concat());
    assert!(with(&[call(3, 4, Did::Read(Some(1))), call(6, 7, Did::Read(Some(2)))]));
    assert!(!with(&[call(6, 7, Did::Read(Some(1)))]), "an old value after the new one was there");
    let (new, old) = (Did::Read(Some(2)), Did::Read(Some(1)));
    assert!(with(&[call(3, 4, old), call(4, 5, new)]));
    assert!(!with(&[call(2, 3, new), call(4, 5, old)]), "time went back");
    let swap = |v| Did::Swap(Some(2), v, true);
    assert!(with(&[call(6, 9, swap(3)), call(7, 8, Did::Swap(Some(2), 4, false))]));
    assert!(!with(&[call(6, 9, swap(3)), call(7, 8, swap(4))]), "a lost update");
    assert!(!with(&[call(6, 7, Did::Delete), call(8, 9, Did::Read(Some(2)))]), "a deleted row came back");
}
