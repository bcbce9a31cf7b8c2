//! Rows with deadlines: who sees them when, and that nothing of them is left behind.

use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::{
    Body, CommittedLocal, Conflict, EventDetail, Heard, Key, KeyRange, Kind, NodeId, Op, RangeNote, ReadNote,
    Row, Store, StoreConfig, Table, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write, define,
};

const T: TableId = TableId(10);
/// The wall clock at the start, in milliseconds.
const WALL: u64 = 1_000_000;

/// A store whose wall clock is moved by hand.
struct Bench {
    store: Store,
    wall_ms: u64,
    sequence: u64,
}

impl Bench {
    fn new(kind: Kind) -> Bench {
        let mut bench =
            Bench { store: Store::new(StoreConfig { wall_ms: WALL }), wall_ms: WALL, sequence: 0 };
        let def = TableDef::builder("t").kind(kind).attribute("k", Type::Int).attribute("v", Type::Int);
        let mut def = def.unique_index("by_v", ["v"]).ttl(Duration::from_secs(9)).build().expect("right");
        def.id = T;
        bench.run(vec![define(&def)]).expect("new");
        bench
    }

    fn run(&mut self, writes: Vec<Write>) -> Result<Timestamp, Conflict> {
        self.run_work(Work { writes, ..Work::default() })
    }

    fn run_work(&mut self, work: Work) -> Result<Timestamp, Conflict> {
        self.sequence += 1;
        let id = TxId { age: Timestamp(self.sequence), node: NodeId(1), sequence: self.sequence };
        match self.store.commit_local(&self.store.begin(id), &Arc::new(work), self.wall_ms) {
            CommittedLocal::Yes(at, _) => Ok(at),
            CommittedLocal::Refused(conflict, _) => Err(conflict),
            CommittedLocal::Parked => panic!("nobody is in the way"),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.wall_ms += ms;
        self.store.clock().advance(self.wall_ms);
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    /// Removes what is due; says how many keys.
    fn sweep(&mut self) -> usize {
        let now = self.wall_ms;
        let keys = self.table().expired(now, 100);
        let expire =
            |key: &Key| Write { table: T, key: key.clone(), op: Op::Expire(Timestamp::from_wall_ms(now)) };
        self.run(keys.iter().map(expire).collect()).expect("nobody is in the way");
        keys.len()
    }
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

/// A row that counts until so many milliseconds after the start.
fn until(k: i64, v: i64, ms: u64) -> Write {
    let row =
        Row::encode(hypermnesia_store::SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small");
    Write { table: T, key: key(k), op: Op::Put(row.with_deadline(Some(WALL + ms)).expect("small")) }
}

fn seen(found: Option<(Body, Timestamp)>) -> bool {
    found.is_some()
}

#[test]
fn a_row_counts_until_its_deadline_and_no_longer() {
    // Aim: expiry belongs to the read. Method: one row, snapshots before and after, every way to read.
    for kind in [Kind::Set, Kind::OrderedSet] {
        let mut bench = Bench::new(kind);
        bench.run(vec![until(1, 10, 50), until(2, 20, 500)]).expect("free");
        let table = bench.table();
        bench.pass(49);
        let before = bench.store.snapshot();
        assert!(
            seen(table.latest(&key(1)).expect("free")) && seen(table.newest(&key(1)).expect("in memory"))
        );
        bench.pass(1);
        let after = bench.store.snapshot();
        assert!(
            !seen(table.latest(&key(1)).expect("free")) && !seen(table.newest(&key(1)).expect("in memory"))
        );
        assert!(seen(table.read(&key(1), before.at()).expect("free")), "an older snapshot still sees it");
        assert!(!seen(table.read(&key(1), after.at()).expect("free")));
        let all = |at| {
            let mut keys = Vec::new();
            let show = |key: &Key, _: &Body, _| {
                keys.push(key.clone());
                std::ops::ControlFlow::Continue(())
            };
            table.visit(&KeyRange::all(), hypermnesia_store::Direction::Forward, at, show).expect("free");
            keys.sort();
            keys
        };
        assert_eq!(all(before.at()), [key(1), key(2)]);
        assert_eq!(all(after.at()), [key(2)]);
        assert_eq!(table.first(after.at()).expect("free").map(|found| found.0), Some(key(2)));
        let index = table.def().indexes[0].id;
        let by_v = |at| {
            table.index_cursor(index, KeyRange::all(), hypermnesia_store::Direction::Forward, at).count()
        };
        assert_eq!((by_v(before.at()), by_v(after.at())), (2, 1));
    }
}

#[test]
fn what_is_past_its_deadline_is_as_good_as_gone_for_writers() {
    // Aim: insert-if-absent, unique values and notes treat it as absent; a deadline that came since a read is a conflict.
    let mut bench = Bench::new(Kind::OrderedSet);
    let at = bench.run(vec![until(1, 10, 50)]).expect("free");
    let saw = |version| Work {
        reads: vec![ReadNote { table: T, key: key(1), version }],
        writes: vec![until(9, 9, 1_000)],
        ..Work::default()
    };
    let snapshot = bench.store.clock().read();
    let range = |snapshot| Work {
        ranges: vec![RangeNote { table: T, index: None, range: KeyRange::all(), snapshot }],
        writes: vec![until(8, 8, 1_000)],
        ..Work::default()
    };
    bench.run_work(saw(at)).expect("it is still there");
    bench.pass(50);
    assert_eq!(bench.run_work(saw(at)), Err(Conflict::Read { table: T, key: key(1) }), "it went since");
    assert_eq!(bench.run_work(range(snapshot)), Err(Conflict::Range { table: T }), "it went since");
    bench.run_work(saw(Timestamp::NEVER)).expect("who saw nothing is right");
    let now = bench.store.clock().read();
    bench.run_work(range(now)).expect("who read after it is right");
    bench.run(vec![until(2, 10, 1_000)]).expect("its unique value is free");
    assert!(matches!(bench.run(vec![until(3, 10, 1_000)]), Err(Conflict::Unique { .. })), "this one counts");
}

#[test]
fn removal_leaves_nothing_and_takes_nothing_else() {
    // Aim: no memory of expired rows is kept, rows written again stay. Method: expire many, rewrite some, sweep, count.
    let mut bench = Bench::new(Kind::Set);
    let events = bench.table().subscribe(EventDetail::WithOldRows);
    bench.run((0..50).map(|k| until(k, k, 10)).collect()).expect("free");
    bench.run((0..10).map(|k| until(k, k, 10_000)).collect()).expect("free");
    assert_eq!((bench.table().len(), bench.table().deadlines()), (50, 50));
    bench.pass(9);
    assert_eq!(bench.sweep(), 0);
    bench.pass(1);
    assert_eq!(bench.sweep(), 40);
    assert_eq!((bench.table().len(), bench.table().deadlines()), (10, 10));
    let told: Vec<_> = std::iter::from_fn(|| events.next()).collect();
    let removed =
        |heard: &&Heard| matches!(heard, Heard::Event(event) if event.new.is_none() && event.old.is_some());
    assert_eq!(told.iter().filter(removed).count(), 40, "each removal is told, with what went");
    bench.pass(60_000);
    assert_eq!(bench.sweep(), 10);
    bench.pass(60_000);
    bench.store.tidy(1_000);
    assert_eq!((bench.table().len(), bench.table().bytes(), bench.table().cells()), (0, 0, 0));
}

#[test]
fn a_removal_looks_again() {
    // Aim: a removal that comes late takes no row that was written meanwhile. Method: name the key, rewrite, then remove.
    let mut bench = Bench::new(Kind::Set);
    bench.run(vec![until(1, 1, 10)]).expect("free");
    bench.pass(10);
    let due = bench.table().expired(bench.wall_ms, 10);
    let now = Timestamp::from_wall_ms(bench.wall_ms);
    bench.run(vec![until(1, 1, 1_000)]).expect("free");
    let version = bench.table().latest(&key(1)).expect("free").expect("there").1;
    bench
        .run(due.into_iter().map(|key| Write { table: T, key, op: Op::Expire(now) }).collect())
        .expect("free");
    assert_eq!(
        bench.table().latest(&key(1)).expect("free").map(|found| found.1),
        Some(version),
        "not even rewritten"
    );
}
