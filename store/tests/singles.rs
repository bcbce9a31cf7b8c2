//! Single operations ([`Store::alter`]): one step without a transaction, beside transactions, snapshots and ranges that must
//! not notice the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use hypermnesia_store::{
    Body, CommittedLocal, Direction, Key, KeyRange, Kind, LockMode, NodeId, Op, RangeNote, ReadNote, Row,
    Store, StoreConfig, Table, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write, define,
};

#[path = "shared/numbers.rs"]
mod numbers;

use numbers::{int, key, row};

const T: TableId = TableId(10);
const WALL: u64 = 1_000_000;

struct Node {
    store: Store,
    sequence: AtomicU64,
}

impl Node {
    fn new(kind: Kind, unique: bool) -> Node {
        let node = Node { store: Store::new(StoreConfig { wall_ms: WALL }), sequence: AtomicU64::new(1) };
        let def = TableDef::builder("t").kind(kind).attribute("k", Type::Int).attribute("v", Type::Int);
        let def = if unique { def.unique_index("by_v", ["v"]) } else { def.index("by_v", ["v"]) };
        let mut def = def.build().expect("good");
        def.id = T;
        let created = node.transact(|_| Work { writes: vec![define(&def)], ..Work::default() });
        assert!(created > Timestamp::NEVER);
        node
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    /// Runs a closure as a transaction until it commits. Nobody parks for long here: it is simply asked again.
    fn transact(&self, work: impl Fn(Timestamp) -> Work) -> Timestamp {
        let age = self.store.clock().read();
        loop {
            let snapshot = self.store.snapshot();
            let work = Arc::new(work(snapshot.at()));
            let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
            let txn = self.store.begin(TxId { age, node: NodeId(1), sequence });
            loop {
                match self.store.commit_local(&txn, &work, WALL) {
                    CommittedLocal::Yes(at, freed) => {
                        drop(freed);
                        return at;
                    }
                    CommittedLocal::Refused(_, freed) => {
                        drop(freed);
                        break;
                    }
                    CommittedLocal::Parked => thread::yield_now(),
                }
            }
        }
    }

    fn alter<T>(&self, k: i64, decide: impl Fn(Option<&Body>) -> (Option<Op>, T)) -> Option<T> {
        let done = self.store.alter(&self.table(), &key(k), WALL, |held| Ok::<_, ()>(decide(held)));
        done.map(|answer| answer.expect("it decides"))
    }

    /// The same until the key is free.
    fn surely<T>(&self, k: i64, decide: impl Fn(Option<&Body>) -> (Option<Op>, T)) -> T {
        loop {
            match self.alter(k, &decide) {
                Some(answer) => return answer,
                None => thread::yield_now(),
            }
        }
    }

    fn put(&self, k: i64, v: i64) {
        self.surely(k, |_| (Some(Op::Put(row(k, v))), ()));
    }

    fn read(&self, k: i64, at: Timestamp) -> Option<(i64, Timestamp)> {
        loop {
            if let Ok(found) = self.table().read(&key(k), at) {
                return found.map(|(body, version)| (int(&body), version));
            }
        }
    }
}

#[test]
fn counts_of_single_operations_and_of_transactions_add_up() {
    // Aim: none of both loses the other's update. Method: half of the threads count by single operations, half by
    // transactions that read and write, all on one key.
    let node = Node::new(Kind::Set, false);
    node.put(1, 0);
    let count = |held: Option<&Body>| (Some(Op::Put(row(1, held.map_or(0, int) + 1))), ());
    thread::scope(|scope| {
        for n in 0..4 {
            let node = &node;
            scope.spawn(move || {
                for _ in 0..500 {
                    if n % 2 == 0 {
                        node.surely(1, count);
                        continue;
                    }
                    node.transact(|at| {
                        let (value, version) = node.read(1, at).expect("it is never deleted");
                        let write = Write { table: T, key: key(1), op: Op::Put(row(1, value + 1)) };
                        let read = ReadNote { table: T, key: key(1), version };
                        Work { reads: vec![read], writes: vec![write], ..Work::default() }
                    });
                }
            });
        }
    });
    assert_eq!(node.read(1, node.store.clock().read()).map(|(value, _)| value), Some(2_000));
    assert_eq!(node.store.lock_counts(), (0, 0));
}

#[test]
fn a_snapshot_sees_single_operations_in_the_order_they_were_made() {
    // Aim: what commits by its own stamp alone is at one time for all readers: a snapshot that has the second write has the
    // first, reads the same twice, and the newest row never goes back. Method: a writer that writes two keys one behind the
    // other, again and again, and readers of both kinds.
    let node = Node::new(Kind::OrderedSet, false);
    let stop = AtomicBool::new(false);
    node.put(1, 0);
    node.put(2, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..20_000 {
                node.put(1, n);
                node.put(2, n);
            }
            stop.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            let mut last = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let snapshot = node.store.snapshot();
                let second = node.read(2, snapshot.at()).expect("it is there");
                let first = node.read(1, snapshot.at()).expect("it is there");
                assert!(first.0 == second.0 || first.0 == second.0 + 1, "{first:?} {second:?}");
                assert!(first.1 <= snapshot.at() && second.1 <= snapshot.at());
                assert_eq!(node.read(2, snapshot.at()), Some(second), "a snapshot changed");
                assert!(first.0 >= last.0 && second.0 >= last.1, "time went back");
                last = (first.0, second.0);
            }
        });
        scope.spawn(|| {
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                let now =
                    node.table().latest(&key(1)).expect("nothing is pending").map(|(body, _)| int(&body));
                assert!(now >= Some(last), "the newest row went back");
                last = now.unwrap_or(0);
            }
        });
    });
}

#[test]
fn a_range_that_a_transaction_has_read_is_not_written_into_behind_its_back() {
    // Aim: no phantom through single operations, by keys or by an index. Method: a transaction counts the rows of a range
    // and writes the sum while rows are put there one by one; each sum must be the count as of its commit.
    let node = Node::new(Kind::OrderedSet, false);
    let range = KeyRange { start: Bound::Included(key(0)), end: Bound::Excluded(key(1_000)) };
    let index = node.table().def().indexes[0].id;
    let sums = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| (0..400).for_each(|k| node.put(k, k % 7)));
        for by_index in [false, true] {
            let (node, sums, range) = (&node, &sums, &range);
            scope.spawn(move || {
                for n in 0..40 {
                    let counted = std::cell::Cell::new(0);
                    let at = node.transact(|at| {
                        let span = if by_index { KeyRange::all() } else { range.clone() };
                        let cursor = match by_index {
                            true => node.table().index_cursor(index, span.clone(), Direction::Forward, at),
                            false => node.table().cursor(span.clone(), Direction::Forward, at),
                        };
                        let keys: Vec<Key> = cursor.filter_map(Result::ok).map(|(key, ..)| key).collect();
                        counted.set(keys.iter().filter(|key| range.contains(key)).count());
                        let index = by_index.then_some(index);
                        let note = RangeNote { table: T, index, range: span, snapshot: at };
                        let sum = 5_000 + n + i64::from(by_index) * 1_000;
                        let write = Write { table: T, key: key(sum), op: Op::Put(row(sum, 100_000)) };
                        let writes = if by_index { vec![] } else { vec![write] };
                        Work { ranges: vec![note], writes, ..Work::default() }
                    });
                    sums.lock().expect("no panic inside").push((at, counted.get()));
                }
            });
        }
    });
    let now = node.store.clock().read();
    let born: Vec<Timestamp> = (0..400).map(|k| node.read(k, now).expect("all were put").1).collect();
    for (at, counted) in sums.into_inner().expect("no panic inside") {
        assert_eq!(counted, born.iter().filter(|born| **born < at).count(), "at {at}");
    }
}

#[test]
fn operations_in_any_order_leave_rows_index_and_counters_as_a_map_has_them() {
    // Aim: each kind, each operation, old snapshots included. Method: seeded operations against plain maps; snapshots held
    // for a while and compared; all access paths compared at the end.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let (node, mut dice) = (Node::new(kind, false), 7_u64);
        let mut roll = |sides: i64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((dice >> 33) as i64) % sides
        };
        let mut model: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let mut held = Vec::new();
        for n in 0..30_000 {
            let (k, v) = (roll(60), roll(5));
            let op = match roll(5) {
                0 => Op::Delete,
                1 => Op::BagRemove(row(k, v)),
                _ if kind == Kind::Bag => Op::BagAdd(row(k, v)),
                _ => Op::Put(row(k, v)),
            };
            apply(&mut model, kind, k, v, &op);
            assert!(node.alter(k, |_| (Some(op.clone()), ())).is_some(), "nobody is in the way");
            if n % 500 == 0 {
                held.push((node.store.snapshot(), model.clone()));
                if held.len() > 3 {
                    let (snapshot, then) = held.remove(0);
                    assert_eq!(shown(&node, snapshot.at()), then, "{kind:?} at {}", snapshot.at());
                }
            }
        }
        held.clear();
        let now = node.store.clock().read();
        assert_eq!(shown(&node, now), model);
        assert_eq!(node.table().len(), model.values().map(Vec::len).sum::<usize>() as u64);
        let entries: BTreeSet<(i64, i64)> =
            model.iter().flat_map(|(k, vs)| vs.iter().map(|v| (*v, *k))).collect();
        let index = node.table().def().indexes[0].id;
        let cursor = node.table().index_cursor(index, KeyRange::all(), Direction::Forward, now);
        let found: BTreeSet<(i64, i64)> = cursor
            .map(|found| found.expect("nothing is pending"))
            .flat_map(|(_, body, _)| body.rows().to_vec())
            .map(|row| match (row.attribute(0).to_value(), row.attribute(1).to_value()) {
                (Value::Int(k), Value::Int(v)) => (v, k),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, entries, "{kind:?}");
        node.store.tidy(usize::MAX);
    }
}

fn apply(model: &mut BTreeMap<i64, Vec<i64>>, kind: Kind, k: i64, v: i64, op: &Op) {
    let rows = model.entry(k).or_default();
    match op {
        Op::Delete => rows.clear(),
        Op::BagRemove(_) => rows.retain(|known| *known != v),
        _ if kind == Kind::Bag && rows.contains(&v) => {}
        _ if kind == Kind::Bag => rows.push(v),
        _ => *rows = vec![v],
    }
    if rows.is_empty() {
        model.remove(&k);
    }
}

fn shown(node: &Node, at: Timestamp) -> BTreeMap<i64, Vec<i64>> {
    let number = |row: &Row, position| match row.attribute(position).to_value() {
        Value::Int(n) => n,
        other => panic!("{other:?}"),
    };
    let cursor =
        node.table().cursor(KeyRange::all(), Direction::Forward, at).map(|found| found.expect("settled"));
    cursor
        .map(|(_, body, _)| {
            let rows = body.rows();
            (number(&rows[0], 0), rows.iter().map(|row| number(row, 1)).collect())
        })
        .collect()
}

#[test]
fn what_does_not_fit_a_single_step_is_left_to_a_transaction_with_nothing_changed() {
    // Aim: a locked key, an index with unique values, a table that has changed: `None`, and nothing happened. Method: one of
    // each; a decision that fails or does nothing is an answer.
    let node = Node::new(Kind::Set, false);
    let old = node.table();
    node.put(1, 1);
    let txn = node.store.begin(TxId { age: Timestamp(1), node: NodeId(1), sequence: 77 });
    let granted = node.store.lock(&txn, T, &key(1), LockMode::Read, std::task::Waker::noop());
    assert_eq!(granted, hypermnesia_store::Locked::Granted);
    assert!(node.alter(1, |_| (Some(Op::Delete), ())).is_none());
    drop(node.store.abort(&txn));
    let failed = node.store.alter(&old, &key(1), WALL, |_| Err::<(Option<Op>, ()), _>("no"));
    assert_eq!(failed, Some(Err("no")));
    assert_eq!(node.alter(1, |held| (None, held.map(int))), Some(Some(1)));
    let mut def = old.def().clone();
    def.version = def.version.next();
    node.transact(|_| Work { writes: vec![define(&def)], ..Work::default() });
    let stale = node.store.alter(&old, &key(1), WALL, |_| Ok::<_, ()>((Some(Op::Delete), ())));
    assert!(stale.is_none() && !old.is_current() && node.table().is_current());
    assert_eq!(node.read(1, node.store.clock().read()).map(|(v, _)| v), Some(1));
    let unique = Node::new(Kind::Set, true);
    assert!(unique.alter(1, |_| (Some(Op::Put(row(1, 1))), ())).is_none());
}
