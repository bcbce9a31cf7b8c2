//! Memory under churn, by a counting allocator: rows that come, change and go for ever need no more memory than they did
//! after the first while, and a held snapshot pins what it may read and nothing for longer than it lives.
//!
//! `ten_minutes_of_churn` is run by hand (`CHURN_MINUTES` says how many); its figures stand in `docs/trust.md`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hypermnesia_store::{
    Body, CommittedLocal, Direction, Key, KeyRange, Kind, NodeId, Op, Row, SchemaVersion, Snapshot, Store,
    StoreConfig, Table, TableBuilder, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write, define,
};

#[path = "shared/counting.rs"]
mod counting;

use counting::{HELD, alone};

/// Keys that are written at a time; the window of them moves on.
const KEYS: i64 = 2_000;
/// Operations in which the window moves by one key, and what it leaves is deleted.
const MOVES_EVERY: u64 = 4;
const ROW_BYTES: usize = 100;
const TIDIES_EVERY: u64 = 1_000;
/// Operations until a table is as large as it gets.
const WARM_STEPS: usize = 20_000;

/// One way in which rows come and go.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Set,
    OrderedSet,
    Bag,
    /// Rows with a time to live, which nobody deletes.
    Expiring,
    /// A local table of at most a thousand rows that pushes out what is asked for least.
    Evicting,
}

const SHAPES: [Shape; 5] = [Shape::Set, Shape::OrderedSet, Shape::Bag, Shape::Expiring, Shape::Evicting];

impl Shape {
    fn build(self, table: TableBuilder) -> TableBuilder {
        match self {
            Shape::Set => table,
            Shape::OrderedSet => table.kind(Kind::OrderedSet),
            Shape::Bag => table.kind(Kind::Bag),
            Shape::Expiring => table.kind(Kind::OrderedSet).ttl(Duration::from_secs(1)),
            Shape::Evicting => table.local().rows_max(KEYS as u64 / 2).evict(),
        }
    }
}

struct Churn {
    store: Arc<Store>,
    table: Arc<Table>,
    shape: Shape,
    dice: u64,
    steps: u64,
}

impl Churn {
    fn new(shape: Shape) -> Churn {
        let store = Arc::new(Store::new(StoreConfig { wall_ms: 1_000 }));
        let def = TableDef::builder("t").attribute("k", Type::Int).attribute("b", Type::Bytes);
        let mut def = shape.build(def).index("by_b", ["b"]).build().expect("right");
        def.id = TableId(10);
        let (id, work) = (transaction(1), Work { writes: vec![define(&def)], ..Work::default() });
        assert!(matches!(store.commit_local(&store.begin(id), &work.into(), 1_000), CommittedLocal::Yes(..)));
        let table = store.table(def.id).expect("created");
        Churn { store, table, shape, dice: 7, steps: 1 }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    /// Where the window of keys begins.
    fn low(&self) -> i64 {
        (self.steps / MOVES_EVERY) as i64
    }

    /// An operation a millisecond, so that deletions are forgotten and deadlines come.
    fn step(&mut self) {
        self.steps += 1;
        let wall_ms = 1_000 + self.steps;
        let (k, what, byte) = (self.low() + self.roll(KEYS as u64) as i64, self.roll(9), self.roll(50) as u8);
        let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Bytes(vec![byte; ROW_BYTES])]);
        let deadline = matches!(self.shape, Shape::Expiring).then(|| wall_ms + 1 + self.roll(2_000));
        let row = row.and_then(|row| row.with_deadline(deadline)).expect("small");
        let op = match (self.shape, what) {
            (Shape::Expiring | Shape::Evicting, _) | (_, 0..=5) => Op::Put(row),
            (_, 6) => Op::BagRemove(row),
            _ => Op::Delete,
        };
        self.change(k, op, wall_ms);
        if self.steps.is_multiple_of(MOVES_EVERY) && !matches!(self.shape, Shape::Expiring | Shape::Evicting)
        {
            self.change(self.low() - 1, Op::Delete, wall_ms);
        }
        self.sweep(wall_ms);
        if self.steps.is_multiple_of(TIDIES_EVERY) {
            self.store.tidy(usize::MAX);
        }
    }

    /// Now as a single operation and now as a transaction.
    fn change(&mut self, k: i64, op: Op, wall_ms: u64) {
        let key = Key::encode(&[Value::Int(k)]).expect("small");
        if self.roll(8) == 0 {
            return self.commit(vec![(key, op)], wall_ms);
        }
        let decide = |_: Option<&Body>| Ok::<_, ()>((Some(op.clone()), ()));
        if self.store.alter(&self.table, &key, wall_ms, decide).is_none() {
            self.commit(vec![(key, op)], wall_ms); // Its lock shard is being tidied.
        }
    }

    fn commit(&self, changes: Vec<(Key, Op)>, wall_ms: u64) {
        let table = self.table.id();
        let writes = changes.into_iter().map(|(key, op)| Write { table, key, op }).collect();
        let txn = self.store.begin(transaction(self.steps));
        let done = self.store.commit_local(&txn, &Work { writes, ..Work::default() }.into(), wall_ms);
        assert!(matches!(done, CommittedLocal::Yes(..)), "{done:?}");
    }

    /// Removes rows as a node does: what is past its deadline now and then, what is pushed out at once.
    fn sweep(&self, wall_ms: u64) {
        let (gone, op) = match self.shape {
            Shape::Expiring if self.steps.is_multiple_of(100) => {
                (self.table.expired(wall_ms, 1_000), Op::Expire(Timestamp::from_wall_ms(wall_ms)))
            }
            Shape::Evicting => (self.table.victims(wall_ms, 100), Op::Delete),
            _ => return,
        };
        if !gone.is_empty() {
            self.commit(gone.into_iter().map(|key| (key, op.clone())).collect(), wall_ms);
        }
    }

    /// Bytes held after this many steps, when what is not needed has gone.
    fn held_after(&mut self, steps: usize) -> i64 {
        (0..steps).for_each(|_| self.step());
        self.store.tidy(usize::MAX);
        HELD.load(Ordering::Relaxed)
    }

    fn said(&self) -> i64 {
        self.table.memory_bytes() as i64
    }
}

fn transaction(sequence: u64) -> TxId {
    TxId { age: Timestamp(sequence), node: NodeId(1), sequence }
}

/// Every key with its version at a snapshot; nothing where a transaction is just being committed.
fn seen(table: &Table, at: &Snapshot) -> Option<Vec<(Key, Timestamp)>> {
    let mut seen = Vec::new();
    let visited = table.visit(&KeyRange::all(), Direction::Forward, at.at(), |key, _, version| {
        seen.push((key.clone(), version));
        std::ops::ControlFlow::Continue(())
    });
    seen.sort();
    visited.ok().map(|()| seen)
}

#[test]
fn rows_that_come_and_go_need_no_more_memory_in_the_end_than_at_first() {
    // Aim: versions, cells, places, entries of trees, deadlines and queues are given back. Method: operations over keys that
    // move on and never come back; the bytes held at the end against those after the first part.
    let _alone = alone();
    for shape in SHAPES {
        let mut churn = Churn::new(shape);
        let first = churn.held_after(WARM_STEPS);
        let last = churn.held_after(80_000);
        println!("{shape:?}: {first} bytes at first, {last} in the end, {} rows", churn.table.len());
        assert!(last <= first + first / 10, "{shape:?}: {first} bytes became {last}");
        assert!(churn.table.cells() as i64 <= 2 * KEYS, "{} cells", churn.table.cells());
    }
}

#[test]
fn a_held_snapshot_pins_what_was_written_since_and_no_longer_than_it_lives() {
    // Aim: memory beside a snapshot grows with what was written since and no more, the table says how much that is, and it
    // falls back when the snapshot goes. Method: count before, while it is held, and behind it.
    const STEPS: usize = 20_000;
    // A version with its row, its cell and index entry with their keys, and their places in queues, groups and leaves.
    const EACH_MAX: i64 = ROW_BYTES as i64 + 700;
    let _alone = alone();
    for shape in SHAPES {
        let mut churn = Churn::new(shape);
        let (before, said_before) = (churn.held_after(WARM_STEPS), churn.said());
        let snapshot = churn.store.snapshot();
        let rows = seen(&churn.table, &snapshot).expect("nothing is undecided");
        let (held, said) = (churn.held_after(STEPS), churn.said());
        let (pinned, figures) = (held - before, churn.table.statistics());
        println!("{shape:?}: {before} bytes before, {held} beside the snapshot: {figures:?}");
        assert!(
            pinned > STEPS as i64 * ROW_BYTES as i64 / 2,
            "{shape:?}: the snapshot pinned {pinned} bytes"
        );
        assert!(pinned < STEPS as i64 * EACH_MAX, "{shape:?}: {} bytes a step", pinned / STEPS as i64);
        let off = said - said_before - pinned;
        assert!(off.abs() <= pinned / 10, "{shape:?}: {said_before}, then {said} said");
        assert!(figures.old_versions + figures.deletions > STEPS as u64, "{figures:?}");
        assert_eq!(
            seen(&churn.table, &snapshot).as_ref(),
            Some(&rows),
            "{shape:?}: what the snapshot sees has changed"
        );
        drop((snapshot, rows));
        let behind = churn.held_after(STEPS);
        let figures = churn.table.statistics();
        println!("{shape:?}: {behind} behind it: {figures:?}");
        assert!(behind <= before + before / 5, "{shape:?}: {before} bytes became {behind}");
        assert_eq!(figures.old_versions, 0, "{shape:?}");
    }
}

#[test]
fn a_settled_snapshot_pins_one_version_of_each_key_it_sees_however_long_it_is_held() {
    // Aim: memory beside a snapshot that stays where it is is bounded by what the snapshot sees, not by how much is written, also
    // where transactions come and go beside it, and two are held; what it sees stays; all of it comes back. Method: count
    // beside it, then again after twice as many operations more; entries of the index and deletions included.
    const STEPS: usize = 20_000;
    let _alone = alone();
    for shape in SHAPES {
        let mut churn = Churn::new(shape);
        let before = churn.held_after(WARM_STEPS);
        let (mut held, mut keys) = (Vec::new(), 0);
        for _ in 0..2 {
            // With those that are past their deadline and not removed yet, and those whose deletion is still kept.
            keys = keys.max(churn.table.cells() as u64);
            let mut snapshot = churn.store.snapshot();
            snapshot.settle();
            let rows = seen(&churn.table, &snapshot).expect("nothing is undecided");
            held.push((snapshot, rows));
            (0..500).for_each(|_| churn.step());
        }
        let mut sizes = Vec::new();
        for part in [3 * STEPS, 6 * STEPS] {
            for _ in 0..part / 100 {
                // A transaction's, which is not settled: while it lives nothing that comes behind it goes.
                let short = churn.store.snapshot();
                (0..50).for_each(|_| churn.step());
                drop(short);
                (0..50).for_each(|_| churn.step());
            }
            sizes.push(churn.held_after(0));
        }
        let figures = churn.table.statistics();
        println!(
            "{shape:?}: {before} bytes before, {sizes:?} beside two snapshots of {keys} keys: {figures:?}"
        );
        assert!(sizes[1] <= sizes[0] + sizes[0] / 10, "{shape:?}: {sizes:?}");
        assert!(figures.old_versions <= 2 * keys, "{shape:?}: {figures:?} for {keys} keys");
        for (snapshot, rows) in &held {
            assert_eq!(
                seen(&churn.table, snapshot).as_ref(),
                Some(rows),
                "{shape:?}: what is seen has changed"
            );
        }
        drop(held);
        let behind = churn.held_after(STEPS);
        let figures = churn.table.statistics();
        assert!(behind <= before + before / 5, "{shape:?}: {before} bytes became {behind}");
        assert_eq!(figures.old_versions, 0, "{shape:?}");
        churn.store.clock().advance(10_000 + churn.steps + 10_000);
        churn.store.tidy(usize::MAX);
        let entries = churn.table.index_entries().map(|(_, entries)| entries).sum::<u64>();
        assert_eq!(entries, churn.table.len(), "{shape:?}: an entry for each row");
    }
}

/// What somebody else does meanwhile: looks at each table in turn, at one snapshot.
fn read(tables: &[(Arc<Store>, Arc<Table>)], stop: &AtomicBool) -> u64 {
    let mut rows = 0;
    while !stop.load(Ordering::Relaxed) {
        for (store, table) in tables {
            let snapshot = store.snapshot();
            rows += seen(table, &snapshot).map_or(0, |rows| rows.len() as u64);
            let index = table.def().indexes[0].id;
            let entries = table.index_cursor(index, KeyRange::all(), Direction::Backward, snapshot.at());
            rows += entries.take(100).count() as u64;
        }
    }
    rows
}

#[test]
#[ignore = "takes minutes; run by hand"]
#[expect(clippy::disallowed_methods, reason = "it lasts as long as it is told to")]
fn ten_minutes_of_churn() {
    // Aim: the same for long and beside a reader. Method: all shapes in turn on one thread, scans on another; what tables
    // say and what the allocator says, each minute, the last against the first.
    let minutes = std::env::var("CHURN_MINUTES").map_or(10, |minutes| minutes.parse().expect("a number"));
    let _alone = alone();
    let mut all: Vec<Churn> = SHAPES.into_iter().map(Churn::new).collect();
    let tables: Vec<_> =
        all.iter().map(|churn| (Arc::clone(&churn.store), Arc::clone(&churn.table))).collect();
    let stop = AtomicBool::new(false);
    let mut held = VecDeque::new();
    println!("| minute | operations | {SHAPES:?} | allocator | resident |");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&tables, &stop));
        let start = Instant::now();
        for minute in 1..=minutes {
            while start.elapsed() < Duration::from_secs(60) * minute {
                all.iter_mut().for_each(|churn| (0..1_000).for_each(|_| churn.step()));
            }
            let operations: u64 = all.iter().map(|churn| churn.steps).sum();
            let said: Vec<i64> = all.iter().map(Churn::said).collect();
            let sum = HELD.load(Ordering::Relaxed);
            println!("| {minute} | {operations} | {said:?} | {sum} | {} kB |", resident_kb());
            held.push_back(sum);
        }
        stop.store(true, Ordering::Relaxed);
        println!("{} rows read meanwhile", reader.join().expect("the reader ends"));
    });
    let (first, last) = (held[0], held[held.len() - 1]);
    assert!(last <= first + first / 10, "{first} bytes became {last}");
}

/// What the system says of this process; nothing where it has no such file.
fn resident_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(String::new, |kb| kb.trim().trim_end_matches(" kB").to_owned())
}
