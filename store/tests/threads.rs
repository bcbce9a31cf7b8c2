//! Several threads on one store. Each test has an invariant that a torn commit, a lost update, a phantom, a lost wake-up or
//! a lock left over would break. Waiting is parking on the transaction's waker, never sleeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

use hypermnesia_store::{
    Blocked, Body, CommittedLocal, Conflict, Direction, Freed, Key, KeyRange, Kind, LockMode, Locked, NodeId,
    Op, Prepared, RangeNote, ReadNote, Role, Row, SchemaVersion, Status, Store, StoreConfig, Table, TableDef,
    TableId, Timestamp, TxId, Txn, Type, Value, Work, Write, define,
};

const T: TableId = TableId(10);
const WALL: u64 = 1_000_000;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

struct Node {
    store: Store,
    sequence: AtomicU64,
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

fn put(k: i64, v: i64) -> Write {
    let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small");
    Write { table: T, key: key(k), op: Op::Put(row) }
}

fn int(body: &Body) -> i64 {
    match body.rows()[0].attribute(1).to_value() {
        Value::Int(n) => n,
        other => panic!("{other:?}"),
    }
}

impl Node {
    fn new(kind: Kind, rows: i64) -> Arc<Node> {
        let node = Node { store: Store::new(StoreConfig { wall_ms: WALL }), sequence: AtomicU64::new(1) };
        let mut def = TableDef::builder("t")
            .kind(kind)
            .attribute("k", Type::Int)
            .attribute("v", Type::Int)
            .index("by_v", ["v"])
            .build()
            .expect("good");
        def.id = T;
        node.write(vec![define(&def)]);
        node.write((0..rows).map(|k| put(k, 100)).collect());
        Arc::new(node)
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    fn begin(&self, age: Option<Timestamp>) -> Arc<Txn> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let age = age.unwrap_or_else(|| self.store.clock().read());
        self.store.begin(TxId { age, node: NodeId(1), sequence })
    }

    fn write(&self, writes: Vec<Write>) {
        self.retry(|_| Some(Work { writes: writes.clone(), ..Work::default() }));
    }

    /// Runs a closure as a transaction until it commits: at its first age, parked when told to.
    fn retry(&self, mut work: impl FnMut(Timestamp) -> Option<Work>) -> Timestamp {
        let age = self.store.clock().read();
        loop {
            let snapshot = self.store.snapshot();
            let Some(work) = work(snapshot.at()).map(Arc::new) else { continue };
            let txn = self.begin(Some(age));
            loop {
                match self.store.commit_local(&txn, &work, WALL) {
                    CommittedLocal::Yes(at, freed) => {
                        self.go_on(freed);
                        return at;
                    }
                    CommittedLocal::Refused(_, freed) => {
                        self.go_on(freed);
                        break;
                    }
                    CommittedLocal::Parked => self.park(&txn),
                }
            }
        }
    }

    /// A parked prepare is continued by its own thread here: who frees it wakes it.
    fn park(&self, txn: &Arc<Txn>) {
        let mut parked = PARKED.lock().expect("no panic inside");
        while !parked.remove(&(self as *const Node as usize, txn.id)) {
            parked = FREED.wait(parked).expect("no panic inside");
        }
    }

    fn go_on(&self, freed: Freed) {
        if freed.ready.is_empty() {
            return;
        }
        let mut parked = PARKED.lock().expect("no panic inside");
        parked.extend(freed.into_iter().map(|txn| (self as *const Node as usize, txn.id)));
        FREED.notify_all();
    }

    fn read(&self, k: i64, at: Timestamp) -> Option<(i64, Timestamp)> {
        loop {
            match self.table().read(&key(k), at) {
                Ok(found) => return found.map(|(body, ts)| (int(&body), ts)),
                Err(Blocked::Pending(txn)) => wait_for(&txn),
                Err(_) => return None,
            }
        }
    }
}

static PARKED: std::sync::Mutex<std::collections::BTreeSet<(usize, TxId)>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());
static FREED: std::sync::Condvar = std::sync::Condvar::new();

fn wait_for(txn: &Arc<Txn>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while txn.status.subscribe(&waker) == Status::Pending {
        thread::park();
    }
}

fn note(k: i64, version: Timestamp) -> ReadNote {
    ReadNote { table: T, key: key(k), version }
}

fn transfer(node: &Node, from: i64, to: i64) {
    node.retry(|at| {
        let (a, version_a) = node.read(from, at)?;
        let (b, version_b) = node.read(to, at)?;
        Some(Work {
            reads: vec![note(from, version_a), note(to, version_b)],
            writes: vec![put(from, a - 1), put(to, b + 1)],
            ..Work::default()
        })
    });
}

#[test]
fn sums_are_never_torn_and_nothing_is_lost() {
    // Aim: one status word commits all keys: a scan, a point read pair and an index scan at one snapshot always see the
    // whole sum. Method: writers move money between few rows while readers add up.
    for kind in [Kind::Set, Kind::OrderedSet] {
        const ROWS: i64 = 8;
        let node = Node::new(kind, ROWS);
        let stop = Arc::new(AtomicBool::new(false));
        let by_v = node.table().def().indexes[0].id;
        thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|w| {
                    let node = &node;
                    scope.spawn(move || {
                        for i in 0..3_000_i64 {
                            let from = (i * 7 + w) % ROWS;
                            transfer(node, from, (from + 1 + i % (ROWS - 1)) % ROWS);
                        }
                    })
                })
                .collect();
            for index in [false, true] {
                let (node, stop) = (&node, &stop);
                scope.spawn(move || {
                    let mut sums = 0;
                    while !stop.load(Ordering::Relaxed) || sums == 0 {
                        let snapshot = node.store.snapshot();
                        let table = node.table();
                        let mut cursor = match index {
                            false => table.cursor(KeyRange::all(), Direction::Forward, snapshot.at()),
                            true => {
                                table.index_cursor(by_v, KeyRange::all(), Direction::Backward, snapshot.at())
                            }
                        };
                        let (mut sum, mut rows) = (0, 0);
                        loop {
                            match cursor.next() {
                                Some(Ok((_, body, _))) => (sum, rows) = (sum + int(&body), rows + 1),
                                Some(Err(Blocked::Pending(txn))) => wait_for(&txn),
                                Some(Err(other)) => panic!("{other:?}"),
                                None => break,
                            }
                        }
                        assert_eq!((rows, sum), (ROWS, ROWS * 100), "index {index}");
                        sums += 1;
                    }
                });
            }
            writers.into_iter().for_each(|w| w.join().expect("no writer panics"));
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(node.store.lock_counts(), (0, 0));
        assert_eq!(node.table().len(), ROWS as u64);
    }
}

#[test]
fn increments_are_exact() {
    // Aim: no lost update, no lost wake-up on one hot key. Method: four threads add one; births and deaths in between.
    let node = Node::new(Kind::OrderedSet, 1);
    const EACH: i64 = 2_000;
    thread::scope(|scope| {
        for w in 0..4_i64 {
            let node = &node;
            scope.spawn(move || {
                for i in 0..EACH {
                    node.retry(|at| {
                        let (v, version) = node.read(0, at)?;
                        let mine = Write { op: Op::Delete, ..put(1_000 + w, 0) };
                        let side = if i % 2 == 0 { put(1_000 + w, i) } else { mine };
                        Some(Work {
                            reads: vec![note(0, version)],
                            writes: vec![put(0, v + 1), side],
                            ..Work::default()
                        })
                    });
                    if i % 64 == 0 {
                        node.store.clock().advance(WALL + (i as u64) * 100);
                        node.store.tidy(10);
                    }
                }
            });
        }
    });
    let (body, _) = node.table().newest(&key(0)).expect("in memory").expect("there");
    assert_eq!(int(&body), 100 + 4 * EACH);
    assert_eq!(node.store.lock_counts(), (0, 0));
    assert_eq!(node.table().len(), 1);
}

#[test]
fn write_skew_over_a_range_is_refused() {
    // Aim: announce-then-check. Method: each of two threads inserts a row only if the range is empty, over and over, at the
    // same time; there must never be two.
    let node = Node::new(Kind::OrderedSet, 0);
    let rounds = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        for w in 0..2_i64 {
            let (node, rounds) = (&node, &rounds);
            scope.spawn(move || {
                for round in 0..2_000_i64 {
                    rounds.wait();
                    let range = KeyRange {
                        start: std::ops::Bound::Included(key(round * 10)),
                        end: KeyRange::prefix(&key(round * 10 + 9)).end,
                    };
                    node.retry(|at| {
                        let table = node.table();
                        let mut empty = true;
                        let seen = table.visit(&range, Direction::Forward, at, |_, _, _| {
                            empty = false;
                            std::ops::ControlFlow::Break(())
                        });
                        match seen {
                            Err(Blocked::Pending(txn)) => {
                                wait_for(&txn);
                                return None;
                            }
                            other => other.expect("one node"),
                        }
                        let note = RangeNote { table: T, index: None, range: range.clone(), snapshot: at };
                        let writes = if empty { vec![put(round * 10 + w, round)] } else { vec![] };
                        Some(Work { ranges: vec![note], writes, ..Work::default() })
                    });
                }
            });
        }
    });
    assert_eq!(node.table().len(), 2_000, "exactly one of two in each round");
    assert_eq!(node.store.lock_counts(), (0, 0));
}

#[test]
fn participants_in_any_order_end_and_leave_no_lock() {
    // Aim: wait-die ends; marks, parked ones, aborts of others' transactions and late commit timestamps leave the sum
    // whole. Method: transfers prepared as a participant would, keys in either order, a third of them aborted.
    const ROWS: i64 = 4;
    let node = Node::new(Kind::Set, ROWS);
    thread::scope(|scope| {
        for w in 0..4_i64 {
            let node = &node;
            scope.spawn(move || {
                for i in 0..2_000_i64 {
                    one_transfer(node, (i + w) % ROWS, (i * 3 + w + 1) % ROWS, i % 3 == 0);
                }
            });
        }
    });
    let snapshot = node.store.snapshot();
    let sum: i64 = (0..ROWS).map(|k| node.read(k, snapshot.at()).expect("there").0).sum();
    assert_eq!(sum, ROWS * 100);
    assert_eq!(node.store.lock_counts(), (0, 0));
    assert!(node.store.undecided().is_empty());
}

fn one_transfer(node: &Node, from: i64, to: i64, abort: bool) {
    if from == to {
        return;
    }
    let age = node.store.clock().read();
    loop {
        let snapshot = node.store.snapshot();
        let (Some((a, va)), Some((b, vb))) = (node.read(from, snapshot.at()), node.read(to, snapshot.at()))
        else {
            continue;
        };
        let work = Arc::new(Work {
            reads: vec![note(from, va), note(to, vb)],
            writes: vec![put(from, a - 1), put(to, b + 1)],
            ..Work::default()
        });
        let txn = node.begin(Some(age));
        let answer = loop {
            match node.store.prepare(&txn, &work, WALL, Role::Participant) {
                Prepared::Parked => node.park(&txn),
                other => break other,
            }
        };
        match answer {
            Prepared::Yes { proposal } if !abort => {
                node.go_on(node.store.commit(&txn, Timestamp(proposal.0 + 3)));
                return;
            }
            Prepared::Yes { .. } => {
                node.go_on(node.store.abort(&txn));
                return;
            }
            _ => node.go_on(node.store.abort(&txn)),
        }
    }
}

#[test]
fn a_table_lock_shuts_out_and_lets_in_again() {
    // Aim: a fold that locks the table finishes under writers, sees a still table, and loses nobody. Method: writers run,
    // one thread takes the table's read lock again and again (older each time it is refused) and adds up twice.
    const ROWS: i64 = 6;
    let node = Node::new(Kind::Set, ROWS);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for w in 0..2_i64 {
            let (node, stop) = (&node, &stop);
            scope.spawn(move || {
                let mut i = w;
                while !stop.load(Ordering::Relaxed) {
                    transfer(node, i % ROWS, (i + 1) % ROWS);
                    i += 1;
                }
            });
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        for _ in 0..50 {
            let age = node.store.clock().read();
            let txn = loop {
                let txn = node.begin(Some(age));
                let granted = loop {
                    match node.store.lock_table(&txn, T, LockMode::Read, &waker) {
                        Locked::Granted => break true,
                        Locked::Parked => thread::park(),
                        Locked::Refused(Conflict::Locked { .. }) => break false,
                        other => panic!("{other:?}"),
                    }
                };
                if granted {
                    break txn;
                }
                node.go_on(node.store.abort(&txn));
            };
            let add = || {
                (0..ROWS)
                    .map(|k| node.table().newest(&key(k)).expect("in memory").map_or(0, |(b, _)| int(&b)))
                    .collect::<Vec<_>>()
            };
            let (first, second) = (add(), add());
            assert_eq!(first, second);
            assert_eq!(first.iter().sum::<i64>(), ROWS * 100);
            node.go_on(node.store.abort(&txn));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(node.store.lock_counts(), (0, 0));
}
