//! Counting and putting in place ([`Store::count`]): rows that change where they stand, beside all those who must not notice:
//! snapshots, transactions, readers of the newest row, holders of rows, ranges, listeners, and a table that comes to rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;

use hypermnesia_store::{
    Body, CommittedLocal, EventDetail, Key, KeyRange, Kind, NodeId, Numbers, Op, Prepared, RangeNote,
    ReadNote, Role, Row, Store, StoreConfig, Table, TableBuilder, TableDef, TableId, Timestamp, TxId, Type,
    Value, ValueRef, Work, Write, define,
};

const T: TableId = TableId(10);
const WALL: u64 = 1_000_000;
/// When a table that was not changed in place since rests.
const LATER: u64 = WALL + 11_000;
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
    if let ValueRef::Text(pad) = row.attribute(3) {
        assert_eq!(pad, pad_of(pad.len()), "torn");
    }
    (number(row, 1), number(row, 2))
}

/// A text that says how long it is.
fn pad_of(len: usize) -> String {
    char::from(b'a' + len as u8).to_string().repeat(len)
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
        let row = self.def().encode_row(&[k.into(), a.into(), b.into(), Value::Null]).expect("fits");
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

    /// The same by a put, of a row that is a little longer or shorter as a rule.
    fn add_by_put(&self, k: i64, by: i64) -> i64 {
        loop {
            let put = |held: Option<&Body>| {
                let (a, b) = held.map(pair).expect("it is never deleted");
                let pad = pad_of((a as usize * 5) % 24);
                let row = self.def().encode_row(&[k.into(), (a + by).into(), (b + by).into(), pad.into()]);
                Ok::<_, ()>((Some(Op::Put(row.expect("fits"))), a + by))
            };
            if let Some(done) = self.store.alter(&self.table(), &key(k), WALL, put) {
                return done.expect("it decides");
            }
            thread::yield_now();
        }
    }

    /// Adds to the first number alone, in place.
    fn increment(&self, k: i64, by: i64) -> Option<i64> {
        self.store.increment(&self.table(), &key(k), WALL, || Some(1), by)
    }

    /// Where the newest row of a key stands in memory.
    fn place(&self, k: i64) -> usize {
        let found = self.table().latest_with(&key(k), |body, _| body.rows()[0].as_bytes().as_ptr().addr());
        found.expect("nobody is in the way").expect("it is there")
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
                let row =
                    def.encode_row(&[k.into(), (a + by).into(), (b + by).into(), Value::Null]).expect("fits");
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
        let look = |body: &Body, at| (pair(body), at);
        loop {
            let found = match self.table().glance(&key(k), look) {
                Ok(found) => Ok(found),
                Err(look) => self.table().latest_with(&key(k), look),
            };
            if let Ok(found) = found {
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
    def.attribute("a", Type::Int).attribute("b", Type::Int).nullable("pad", Type::Text)
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
                        node.add_by_put(n / 2 % 2, 1);
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
                    let row = node
                        .def()
                        .encode_row(&[0.into(), (a + 1).into(), (a + 1).into(), Value::Null])
                        .expect("fits");
                    let read = ReadNote { table: T, key: key(0), version };
                    let write = Write { table: T, key: key(0), op: Op::Put(row) };
                    Work { reads: vec![read], writes: vec![write], ..Work::default() }
                });
                (0..50).for_each(|_| thread::yield_now());
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                (0..5_000).for_each(|_| thread::yield_now());
                node.store.let_rest(LATER);
            }
        });
        counting.into_iter().for_each(|thread| thread.join().expect("it counts"));
        stop.store(true, Ordering::Relaxed);
    });
    let sum: i64 = [0, 1].map(|k| node.newest(k).0.0 - START).iter().sum();
    assert_eq!(sum, 4 * each + ROUNDS as i64 / 40);
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
                    let row = node
                        .def()
                        .encode_row(&[2.into(), seen.into(), seen.into(), Value::Null])
                        .expect("fits");
                    let note = RangeNote { table: T, index: None, range: range_of(1), snapshot: at };
                    let write = Write { table: T, key: key(2), op: Op::Put(row) };
                    Work { ranges: vec![note], writes: vec![write], ..Work::default() }
                });
                noted.fetch_add(i64::from(done), Ordering::Relaxed);
            }
        });
        let (mut before, mut counted) = (node.newest(2).0.0, START);
        for n in 0..ROUNDS {
            let now = if n % 2 == 0 { node.add(1, 1) } else { node.add_by_put(1, 1) };
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
                node.add_by_put(1, 1);
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
    let past = node.def().encode_row(&[1.into(), 1.into(), 1.into(), Value::Null]).expect("fits");
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

#[test]
fn a_row_is_put_where_the_old_one_stands_if_nobody_can_tell() {
    // Aim: a row that fits where the old one stands is put there, longer or shorter, and all that is counted stays right; it is
    // put elsewhere where somebody has the old row, or reads at a snapshot, or it does not fit, or a deadline comes or goes.
    // Method: where it stands, step by step.
    let node = Node::counting();
    let row = |k: i64, pad: &str| {
        node.def().encode_row(&[k.into(), START.into(), START.into(), pad.into()]).expect("fits")
    };
    let put = |row: Row| {
        let put = |_: Option<&Body>| Ok::<_, ()>((Some(Op::Put(row.clone())), ()));
        let shared = node.store.alter(&node.table(), &key(1), WALL, put);
        assert!(shared.is_some());
    };
    let put_own = |row: Row| {
        let put = |_: Option<&Body>| Ok::<_, ()>((Some(Op::Put(row)), ()));
        assert!(node.store.alter(&node.table(), &key(1), WALL, put).is_some());
    };
    let shown = || node.table().latest(&key(1)).expect("readable").expect("there").0;
    put_own(row(1, "hh"));
    let (first, bytes) = (node.place(1), node.table().bytes());
    // Blocks grow by sixteen bytes: of two pads that differ by one, one step in sixteen is another block.
    let mut stayed = 0;
    for pad in ["iii", "h", "jj", "", "kkkk"] {
        put_own(row(1, pad));
        stayed += usize::from(node.place(1) == first);
        assert_eq!(shown(), Body::Row(row(1, pad)));
        assert_eq!(node.table().bytes() as usize, bytes as usize + pad.len() - 2);
    }
    assert!(stayed >= 3, "it stayed {stayed} times of 5");
    let there = node.place(1);
    let held = shown();
    put_own(row(1, "llll"));
    assert!(node.place(1) != there && held == Body::Row(row(1, "kkkk")));
    drop(held);
    let there = node.place(1);
    put(row(1, "mmmm"));
    assert_ne!(node.place(1), there, "the caller has the row too");
    let there = node.place(1);
    put_own(row(1, &"n".repeat(40)));
    assert_ne!(node.place(1), there, "it does not fit");
    let timed = || row(1, &"o".repeat(40)).with_deadline(Some(WALL + 9)).expect("short");
    for row in [timed(), timed(), row(1, &"p".repeat(40))] {
        let there = node.place(1);
        put_own(row);
        assert_ne!(node.place(1), there, "one of them has a deadline");
    }
    let snapshot = node.store.snapshot();
    let (there, seen) = (node.place(1), node.table().read(&key(1), snapshot.at()).expect("readable"));
    put_own(row(1, &"q".repeat(40)));
    assert_ne!(node.place(1), there, "a snapshot is alive");
    assert_eq!(node.table().read(&key(1), snapshot.at()).expect("readable"), seen);
}

#[test]
fn what_a_prepared_transaction_has_read_does_not_change_in_place() {
    // Aim: of a change in place and a range that was read one sees the other. Method: a transaction that has read a key as a
    // range and is prepared; nothing of the table changes in place, and that key not at all, until it is gone.
    let node = Node::counting();
    let at = node.store.snapshot().at();
    let note = RangeNote { table: T, index: None, range: range_of(1), snapshot: at };
    let row = node.def().encode_row(&[2.into(), START.into(), START.into(), Value::Null]).expect("fits");
    let write = Write { table: T, key: key(2), op: Op::Put(row.clone()) };
    let work = Arc::new(Work { ranges: vec![note], writes: vec![write], ..Work::default() });
    let txn = node.store.begin(TxId { age: node.store.clock().read(), node: NodeId(1), sequence: 1 });
    assert!(matches!(node.store.prepare(&txn, &work, WALL, Role::Participant), Prepared::Yes { .. }));
    for _ in 0..2_000 {
        assert_eq!((node.in_place(0, 1), node.increment(0, 1)), (None, None));
    }
    let put = || node.def().encode_row(&[1.into(), START.into(), START.into(), Value::Null]).expect("fits");
    let put_in =
        |row| node.store.alter(&node.table(), &key(1), WALL, |_| Ok::<_, ()>((Some(Op::Put(row)), ())));
    assert_eq!(put_in(put()), None);
    assert!(node.store.abort(&txn).ready.is_empty());
    let there = node.place(1);
    assert!(put_in(put()).is_some() && node.place(1) == there);
    assert!(node.in_place(0, 1).is_some() && node.increment(0, 1).is_some());
}

#[test]
fn an_increment_is_exact_or_refused() {
    // Aim: a step in place adds what is asked for, and leaves alone what it cannot: sums of another length, overflows, rows
    // past their deadline or not there, attributes that hold no whole number; a listener that comes in
    // the middle hears of a count. Method: each once, of every length of a number.
    let node = Node::counting();
    for (from, to) in
        [(-5, 120), (300, -300), (40_000, 32_767), (70_000, -70_000), (1 << 40, -(1 << 61)), (0, 128)]
    {
        node.put(1, from, 0);
        let same_length = from != 0 && from != 40_000;
        assert_eq!(node.increment(1, to - from), same_length.then_some(to));
        assert_eq!(node.newest(1).0, (if same_length { to } else { from }, 0));
    }
    node.put(1, i64::MAX - 3, 7);
    assert_eq!([3, 1, -1].map(|by| node.increment(1, by)), [Some(i64::MAX), None, Some(i64::MAX - 1)]);
    node.put(1, i64::MIN + 3, 7);
    assert_eq!([-3, -1, 1].map(|by| node.increment(1, by)), [Some(i64::MIN), None, Some(i64::MIN + 1)]);
    assert_eq!(node.newest(1).0, (i64::MIN + 1, 7));
    assert_eq!(node.increment(77, 1), None);
    let at_none = |position| node.store.increment(&node.table(), &key(1), WALL, || position, 1);
    assert_eq!([None, Some(3), Some(4), Some(77)].map(at_none), [None; 4]);
    let listener = &mut None;
    let subscribing = |row: &Row, ()| {
        *listener = Some(node.table().subscribe(EventDetail::WithOldRows));
        Some(Ok::<_, ()>((Numbers::from_slice(&[(2, number(row, 2) + 1)]), ())))
    };
    assert_eq!(node.store.count(&node.table(), &key(1), WALL, || Ok(()), subscribing), Some(Ok(())));
    match listener.take().and_then(|listener| listener.next()) {
        Some(hypermnesia_store::Heard::Event(event)) => {
            assert_eq!([event.old, event.new].map(|body| body.map(|body| pair(&body).1)), [Some(7), Some(8)]);
        }
        other => panic!("{other:?}"),
    }
    for (deadline, found) in [(WALL - 1, None), (WALL + 9, Some(2))] {
        let row = node.def().encode_row(&[1.into(), 1.into(), 1.into(), Value::Null]).expect("fits");
        let row = row.with_deadline(Some(deadline)).expect("short");
        let put = |_: Option<&Body>| Ok::<_, ()>((Some(Op::Put(row)), ()));
        assert!(node.store.alter(&node.table(), &key(1), WALL, put).is_some());
        assert_eq!(node.increment(1, 1), found);
    }
}

#[test]
fn a_table_whose_rows_are_not_changed_any_more_comes_to_rest() {
    // Aim: a table rests when nothing was changed in place for ten seconds, not before, and begins again when its rows are
    // changed often within a second. Method: the time is passed in.
    let node = Node::counting();
    assert!(node.increment(1, 1).is_some());
    node.store.let_rest(WALL + 9_000);
    assert!(node.increment(1, 1).is_some());
    node.store.let_rest(LATER);
    assert_eq!((node.increment(1, 1), node.in_place(1, 1)), (None, None));
    let there = node.place(1);
    node.add_by_put(1, 1);
    assert_ne!(node.place(1), there);
    for n in 0..3_000 {
        let row = node.def().encode_row(&[1.into(), START.into(), START.into(), Value::Null]).expect("fits");
        let put = |_: Option<&Body>| Ok::<_, ()>((Some(Op::Put(row)), ()));
        assert!(node.store.alter(&node.table(), &key(1), LATER + n * 10, put).is_some());
    }
    assert_eq!(node.increment(1, 1), None, "a hundred in a second are few");
    let listener = node.table().subscribe(EventDetail::Simple);
    (0..5_000).for_each(|_| _ = node.add_by_put(1, 0));
    drop(listener);
    assert_eq!(node.increment(1, 1), None, "nobody was told while somebody listened");
    node.warm();
    assert!(node.increment(1, 1).is_some());
}
