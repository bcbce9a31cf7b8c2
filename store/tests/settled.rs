//! Snapshots that stay where they are, beside threads that write: versions between two of them are taken out of the chains that
//! readers walk along. Small enough for miri.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use hypermnesia_store::{
    Blocked, CommittedLocal, Direction, KeyRange, Kind, NodeId, Op, Snapshot, Store, StoreConfig, Table,
    TableDef, TableId, TxId, Type, Work, Write, define,
};

#[path = "shared/numbers.rs"]
mod numbers;

use numbers::{int, key, row};

const T: TableId = TableId(10);
const WALL: u64 = 1_000_000;
const KEYS: i64 = 4;
/// Transactions of each writer at most, snapshots of each reader, and how many of those are held at a time.
const WRITES_MAX: i64 = 10_000_000;
const LOOKS: usize = if cfg!(miri) { 12 } else { 300 };
const HELD: usize = 4;
/// Looks for a write of another thread.
const WAITS_MAX: u64 = 1_000_000_000;

fn commit(store: &Store, sequence: &AtomicU64, writes: Vec<Write>) -> bool {
    let id = TxId {
        age: store.clock().read(),
        node: NodeId(1),
        sequence: sequence.fetch_add(1, Ordering::Relaxed),
    };
    let txn = store.begin(id);
    match store.commit_local(&txn, &Arc::new(Work { writes, ..Work::default() }), WALL) {
        CommittedLocal::Yes(..) => true,
        CommittedLocal::Refused(..) => false,
        CommittedLocal::Parked => panic!("it has no reads, so it waits for nobody's outcome"),
    }
}

/// A snapshot that is not moved any more.
fn settled(store: &Store) -> Snapshot {
    let mut snapshot = store.snapshot();
    loop {
        match store.settled(snapshot.at()) {
            Ok(()) => break,
            Err(Blocked::Raise(to)) => snapshot.raise(to),
            Err(Blocked::Pending(_)) => thread::yield_now(),
            Err(other) => panic!("{other:?}"),
        }
    }
    snapshot.settle();
    snapshot
}

/// Asks until no outcome that it is about is open.
fn answered<T>(mut ask: impl FnMut() -> Result<T, Blocked>) -> T {
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(Blocked::Pending(_)) => thread::yield_now(),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// What a snapshot sees, by a walk in its order and by each key.
fn seen(table: &Table, at: &Snapshot) -> Vec<Option<i64>> {
    let mut walked = answered(|| {
        let mut rows = Vec::new();
        let keep = |_: &_, body: &_, _| {
            rows.push(int(body));
            ControlFlow::Continue(())
        };
        table.visit(&KeyRange::all(), Direction::Forward, at.at(), keep).map(|()| rows)
    });
    let points: Vec<_> =
        (0..KEYS).map(|k| answered(|| table.read(&key(k), at.at())).map(|(body, _)| int(&body))).collect();
    let mut values: Vec<_> = points.iter().copied().flatten().collect();
    walked.sort_unstable();
    values.sort_unstable();
    assert_eq!(walked, values, "a walk and its points");
    points
}

#[test]
fn what_a_settled_snapshot_has_seen_it_sees_at_its_end() {
    // Aim: taking versions out of the middle of a chain takes none that a snapshot reads, and hurts nobody who stands on one.
    // Method: two writers that replace and delete rows of their own keys, two readers that hold some settled snapshots each,
    // of different ages, and look through every one when it is taken and when it is let go; both kinds of order.
    for kind in [Kind::Set, Kind::OrderedSet] {
        let store = Store::new(StoreConfig { wall_ms: WALL });
        let def = TableDef::builder("t").kind(kind).attribute("k", Type::Int).attribute("v", Type::Int);
        let mut def = def.build().expect("good");
        def.id = T;
        let sequence = AtomicU64::new(1);
        assert!(commit(&store, &sequence, vec![define(&def)]));
        let table = store.table(T).expect("created");
        let writes = AtomicU64::new(0);
        let looks_done = AtomicBool::new(false);
        thread::scope(|scope| {
            for writer in 0..2 {
                let (store, sequence, writes, looks_done) = (&store, &sequence, &writes, &looks_done);
                scope.spawn(move || {
                    for n in 0..WRITES_MAX {
                        let k = writer + 2 * (n % (KEYS / 2));
                        let op = if n % 7 == 6 { Op::Delete } else { Op::Put(row(k, n)) };
                        assert!(commit(store, sequence, vec![Write { table: T, key: key(k), op }]));
                        writes.fetch_add(1, Ordering::Relaxed);
                        if looks_done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            let reader = || {
                let mut held = VecDeque::new();
                for _ in 0..LOOKS {
                    let snapshot = settled(&store);
                    held.push_back((seen(&table, &snapshot), snapshot));
                    if held.len() > HELD {
                        let (first, snapshot) = held.pop_front().expect("some are held");
                        assert_eq!(seen(&table, &snapshot), first, "{kind:?}");
                    }
                    // The writers go on in between.
                    let now = writes.load(Ordering::Relaxed);
                    let mut waits = 0..WAITS_MAX;
                    while writes.load(Ordering::Relaxed) < now + 4 {
                        waits.next().expect("the writers go on");
                        thread::yield_now();
                    }
                }
            };
            let readers = [scope.spawn(reader), scope.spawn(reader)];
            let ended = readers.map(|reader| reader.join());
            looks_done.store(true, Ordering::Relaxed);
            ended.into_iter().for_each(|ended| ended.expect("it saw what it saw"));
        });
        let written = writes.into_inner();
        store.tidy(usize::MAX);
        assert!(written > 4 * LOOKS as u64 && table.statistics().old_versions < 100, "{kind:?}");
    }
}
