//! Counting in place ([`Store::count`]): rows that change where they stand, beside all those who must not notice: snapshots,
//! transactions, readers of the newest row, holders of rows, ranges, listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;

use hypermnesia_store::{
    Body, CommittedLocal, EventDetail, Key, KeyRange, Kind, NodeId, Numbers, Op, RangeNote, ReadNote, Row,
    Store, StoreConfig, Table, TableBuilder, TableDef, TableId, Timestamp, TxId, Type, Value, ValueRef, Work,
    Write, define,
};

const T: TableId = TableId(10);
const WALL: u64 = 1_000_000;
/// Of threads that run until another one is done: not to go on for ever should that one fail.
const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };

struct Node {
    store: Store,
    sequence: AtomicU64,
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("a number is a key")
}

/// The second number has as many bytes from here to 2^31.
const START: i64 = 1 << 20;

fn number(row: &Row, at: usize) -> i64 {
    match row.attribute(at) {
        ValueRef::Int(n) => n,
        other => panic!("no number: {other:?}"),
    }
}

fn pair(body: &Body) -> (i64, i64) {
    let row = &body.rows()[0];
    (number(row, 1), number(row, 2))
}

impl Node {
    fn of(def: TableBuilder) -> Node {
        let node = Node { store: Store::new(StoreConfig { wall_ms: WALL }), sequence: AtomicU64::new(1) };
        let mut def = def.build().expect("good");
        def.id = T;
        node.transact(|_| Work { writes: vec![define(&def)], ..Work::default() });
        node
    }

    /// A table of two numbers a row, both the same, that are counted in place.
    fn counting() -> Node {
        let node = Node::of(plain(Kind::Set));
        (0..3).for_each(|k| node.put(k, START, START));
        node.warm();
        node
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    fn def(&self) -> TableDef {
        self.table().def().clone()
    }

    fn put(&self, k: i64, a: i64, b: i64) {
        let row = self.def().encode_row(&[k.into(), a.into(), b.into()]).expect("fits");
        while self
            .store
            .alter(&self.table(), &key(k), WALL, |_| Ok::<_, ()>((Some(Op::Put(row.clone())), ())))
            .is_none()
        {
            thread::yield_now();
        }
    }

    /// Adds to both numbers in place; nothing when that may not be now.
    fn in_place(&self, k: i64, by: i64) -> Option<i64> {
        let both = |row: &Row, ()| {
            let (a, b) = (number(row, 1) + by, number(row, 2) + by);
            Some(Ok::<_, ()>((Numbers::from_slice(&[(1, a), (2, b)]), a)))
        };
        let done = self.store.count(&self.table(), &key(k), WALL, || Ok(()), both)?;
        Some(done.expect("it decides"))
    }

    /// The same in any way.
    fn add(&self, k: i64, by: i64) -> i64 {
        let def = self.def();
        loop {
            if let Some(sum) = self.in_place(k, by) {
                return sum;
            }
            let both = |held: Option<&Body>| {
                let (a, b) = held.map(pair).expect("it is never deleted");
                let row = def.encode_row(&[k.into(), (a + by).into(), (b + by).into()]).expect("fits");
                Ok::<_, ()>((Some(Op::Put(row)), a + by))
            };
            if let Some(done) = self.store.alter(&self.table(), &key(k), WALL, both) {
                return done.expect("it decides");
            }
            thread::yield_now();
        }
    }

    /// Counts by nothing until that is done in place.
    fn warm(&self) {
        for _ in 0..10_000 {
            if self.in_place(0, 0).is_some() {
                return;
            }
            self.add(0, 0);
        }
        panic!("it is counted often, and nobody is in the way");
    }

    fn newest(&self, k: i64) -> ((i64, i64), Timestamp) {
        loop {
            if let Ok(found) = self.table().latest_with(&key(k), |body, at| (pair(body), at)) {
                return found.expect("it is never deleted");
            }
            thread::yield_now();
        }
    }

    fn at(&self, k: i64, at: Timestamp) -> ((i64, i64), Timestamp) {
        loop {
            if let Ok(found) = self.table().read(&key(k), at) {
                return found.map(|(body, version)| (pair(&body), version)).expect("it is never deleted");
            }
            thread::yield_now();
        }
    }

    /// Runs a closure as a transaction once; says whether it committed.
    fn attempt(&self, work: impl Fn(Timestamp) -> Work) -> bool {
        let snapshot = self.store.snapshot();
        let work = Arc::new(work(snapshot.at()));
        // What was read is checked without the snapshot.
        drop(snapshot);
        let age = self.store.clock().read();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let txn = self.store.begin(TxId { age, node: NodeId(1), sequence });
        loop {
            match self.store.commit_local(&txn, &work, WALL) {
                CommittedLocal::Yes(..) => return true,
                CommittedLocal::Refused(..) => return false,
                CommittedLocal::Parked => thread::yield_now(),
            }
        }
    }

    fn transact(&self, work: impl Fn(Timestamp) -> Work) {
        while !self.attempt(&work) {
            thread::yield_now();
        }
    }
}

fn plain(kind: Kind) -> TableBuilder {
    let def = TableDef::builder("t").kind(kind).attribute("k", Type::Int);
    def.attribute("a", Type::Int).attribute("b", Type::Int)
}

#[test]
fn what_is_counted_in_place_is_counted_once_for_all_who_look() {
    // Aim: no count is lost whatever way it goes, both numbers of a row are always seen together, the newest row never goes
    // back and its timestamp never stands, rows that somebody holds do not change, and a snapshot reads the same twice.
    // Method: two threads that count, one that counts in transactions, readers of all kinds; the sum is exact.
    let (node, stop, each) = (Node::counting(), AtomicBool::new(false), ROUNDS as i64);
    let in_place = AtomicI64::new(0);
    thread::scope(|scope| {
        let counting: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..each {
                        _ = match node.in_place(n % 2, 1) {
                            Some(_) => in_place.fetch_add(1, Ordering::Relaxed),
                            None => node.add(n % 2, 1),
                        };
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let (mut last, mut held) = (vec![((0, 0), Timestamp::NEVER); 2], Vec::new());
            while !stop.load(Ordering::Relaxed) {
                for (k, last) in (0..).zip(&mut last) {
                    let now = node.newest(k);
                    assert_eq!(now.0.0, now.0.1, "torn");
                    assert!(now.0 >= last.0 && now.1 >= last.1, "back from {last:?} to {now:?}");
                    assert!(now.0 == last.0 || now.1 > last.1, "changed without a new timestamp");
                    *last = now;
                }
                if let Ok(Some((Body::Row(row), _))) = node.table().latest(&key(0)) {
                    held.push((row.clone(), row.as_bytes().to_vec()));
                }
                held.drain(..held.len().saturating_sub(20));
                assert!(
                    held.iter().all(|(row, bytes)| row.as_bytes() == bytes),
                    "a row changed that is held"
                );
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let snapshot = node.store.snapshot();
                let seen = [0, 1].map(|k| node.at(k, snapshot.at()));
                assert!(seen.iter().all(|((a, b), at)| a == b && *at <= snapshot.at()));
                thread::yield_now();
                assert_eq!([0, 1].map(|k| node.at(k, snapshot.at())), seen, "a snapshot changed");
                drop(snapshot);
                (0..200).for_each(|_| thread::yield_now());
            }
        });
        scope.spawn(|| {
            for _ in 0..ROUNDS / 40 {
                node.transact(|at| {
                    let ((a, _), version) = node.at(0, at);
                    let row =
                        node.def().encode_row(&[0.into(), (a + 1).into(), (a + 1).into()]).expect("fits");
                    let read = ReadNote { table: T, key: key(0), version };
                    let write = Write { table: T, key: key(0), op: Op::Put(row) };
                    Work { reads: vec![read], writes: vec![write], ..Work::default() }
                });
                (0..50).for_each(|_| thread::yield_now());
            }
        });
        counting.into_iter().for_each(|thread| thread.join().expect("it counts"));
        stop.store(true, Ordering::Relaxed);
    });
    let sum: i64 = [0, 1].map(|k| node.newest(k).0.0 - START).iter().sum();
    assert_eq!(sum, 2 * each + ROUNDS as i64 / 40);
    assert!(in_place.into_inner() > 0, "nothing was counted in place");
    assert_eq!(node.store.lock_counts(), (0, 0));
}

#[test]
fn a_snapshot_ends_counting_in_place_and_its_end_begins_it() {
    // Aim: while a snapshot lives nothing changes in place, and what comes after it has later timestamps, so that who goes on
    // from there (a backup) finds it. Method: one thread, step by step.
    let node = Node::counting();
    for n in 1..=if cfg!(miri) { 2 } else { 20 } {
        let snapshot = node.store.snapshot();
        let before = node.at(1, snapshot.at());
        assert_eq!(node.in_place(1, 1), None);
        assert_eq!(node.add(1, 1), START + 2 * n - 1);
        assert_eq!(node.at(1, snapshot.at()), before);
        let then = snapshot.at();
        drop(snapshot);
        node.warm();
        assert_eq!(node.in_place(1, 1), None, "the version of before is still there");
        node.add(1, 0);
        assert_eq!(node.in_place(1, 1), Some(START + 2 * n));
        let (_, version) = node.newest(1);
        assert!(version > then && version <= node.store.clock().read());
        assert_eq!(node.in_place(1, 0), Some(START + 2 * n));
        assert!(node.newest(1).1 > version, "two changes, two timestamps");
    }
}

#[test]
fn who_has_read_a_range_and_who_counts_in_it_do_not_miss_each_other() {
    // Aim: a transaction that has read a range commits as if it had read it then, whatever is counted in place meanwhile, also
    // when its snapshot is gone. Method: transactions write down what they have seen; who counts looks: what was written down
    // after a count had returned is not older than that.
    let node = Node::counting();
    let stop = AtomicBool::new(false);
    let noted = AtomicI64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let done = node.attempt(|at| {
                    let ((seen, _), _) = node.at(1, at);
                    let row = node.def().encode_row(&[2.into(), seen.into(), seen.into()]).expect("fits");
                    let note = RangeNote { table: T, index: None, range: range_of(1), snapshot: at };
                    let write = Write { table: T, key: key(2), op: Op::Put(row) };
                    Work { ranges: vec![note], writes: vec![write], ..Work::default() }
                });
                noted.fetch_add(i64::from(done), Ordering::Relaxed);
            }
        });
        let (mut before, mut counted) = (node.newest(2).0.0, START);
        for _ in 0..ROUNDS {
            let now = node.add(1, 1);
            let written = node.newest(2).0.0;
            assert!(written == before || written >= counted, "{written} after {counted} had been counted");
            (before, counted) = (written, now);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(noted.into_inner() > 0);
}

fn range_of(k: i64) -> KeyRange {
    KeyRange::prefix(&key(k))
}

#[test]
fn who_listens_hears_of_every_count_from_then_on() {
    // Aim: a listener that comes while rows change in place misses nothing that was counted after it came. Method: again and
    // again one that comes, beside a thread that counts: no gap, right old rows, and nothing missing at either end.
    let (node, stop) = (Node::counting(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                node.add(1, 1);
            }
        });
        for _ in 0..if cfg!(miri) { 3 } else { 300 } {
            let listener = node.table().subscribe(EventDetail::WithOldRows);
            let first = node.newest(1).0.0;
            while node.newest(1).0.0 < first + 5 {
                thread::yield_now();
            }
            let last = node.newest(1).0.0;
            let mut heard = Vec::new();
            while heard.last().is_none_or(|(_, new)| *new < last) {
                match listener.next() {
                    Some(hypermnesia_store::Heard::Event(event)) => {
                        let [old, new] = [event.old, event.new].map(|body| pair(&body.expect("a row")));
                        assert!(old.0 == old.1 && new.0 == new.1);
                        heard.push((old.0, new.0));
                    }
                    Some(other) => panic!("{other:?}"),
                    None => thread::yield_now(),
                }
            }
            assert!(
                heard[0].1 <= first + 1,
                "{} was counted before the first that was heard, {:?}",
                first + 1,
                heard[0]
            );
            assert!(heard.iter().all(|(old, new)| old + 1 == *new));
            assert!(heard.windows(2).all(|two| two[0].1 == two[1].0), "a gap");
            drop(listener);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_does_not_fit_in_place_goes_the_other_way() {
    // Aim: longer and shorter numbers, other types, rows that are not there or past their deadline, other kinds of tables:
    // nothing is changed in place there. Method: each once.
    let node = Node::counting();
    node.put(1, 127, 127);
    assert_eq!((node.in_place(1, -1), node.in_place(1, 1)), (Some(126), Some(127)));
    assert_eq!(node.in_place(1, 1), None);
    assert_eq!(node.newest(1).0, (127, 127));
    node.put(1, 5, 300);
    assert_eq!((node.in_place(1, 200), node.newest(1).0), (None, (5, 300)), "one of two does not fit");
    assert_eq!((node.add(1, 200), node.in_place(1, 1)), (205, Some(206)));
    assert_eq!(node.in_place(77, 1), None);
    let past = node.def().encode_row(&[1.into(), 1.into(), 1.into()]).expect("fits");
    let past = past.with_deadline(Some(WALL - 1)).expect("short");
    let put = |_: Option<&Body>| Ok::<_, ()>((Some(Op::Put(past.clone())), ()));
    assert!(node.store.alter(&node.table(), &key(1), WALL, put).is_some());
    assert_eq!(node.in_place(1, 1), None);
    for def in [
        plain(Kind::Bag),
        plain(Kind::Set).index("by_a", ["a"]),
        plain(Kind::Set).rows_max(10).evict().local(),
    ] {
        let node = Node::of(def);
        node.put(0, 1, 1);
        for _ in 0..5_000 {
            assert_eq!(node.in_place(0, 1), None);
        }
    }
}
