//! Each kind of table against a plain map, by random transactions with a fixed seed; old states are kept beside snapshots
//! and compared later. 10^6 operations over the three kinds in the release profile of the numbers below.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use hypermnesia_store::{
    Body, CommittedLocal, Direction, Key, KeyRange, Kind, NodeId, Op, Prepared, Role, Row, SchemaVersion,
    Snapshot, Store, StoreConfig, Table, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write,
    define,
};

const T: TableId = TableId(10);
const OPERATIONS_PER_KIND: usize = 340_000;
const KEYS: u64 = 300;

/// What the table should hold: the rows of each key, in order.
type Model = BTreeMap<i64, Vec<(i64, i64)>>;

/// xorshift: the same operations on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

struct Run {
    kind: Kind,
    store: Store,
    model: Model,
    dice: Dice,
    sequence: u64,
    wall_ms: u64,
    operations: usize,
    kept: Vec<(Snapshot, Model)>,
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

fn row(k: i64, v: i64) -> Row {
    Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small")
}

fn int(row: &Row, at: usize) -> i64 {
    match row.attribute(at).to_value() {
        Value::Int(n) => n,
        other => panic!("{other:?}"),
    }
}

fn pairs(body: &Body) -> Vec<(i64, i64)> {
    body.rows().iter().map(|row| (int(row, 0), int(row, 1))).collect()
}

impl Run {
    fn new(kind: Kind, seed: u64) -> Run {
        let mut def = TableDef::builder("t")
            .kind(kind)
            .attribute("k", Type::Int)
            .attribute("v", Type::Int)
            .index("by_v", ["v"])
            .build()
            .expect("good");
        def.id = T;
        let store = Store::new(StoreConfig { wall_ms: 1_000 });
        let mut run = Run {
            kind,
            store,
            model: Model::new(),
            dice: Dice(seed),
            sequence: 1,
            wall_ms: 1_000,
            operations: 0,
            kept: Vec::new(),
        };
        run.commit(vec![define(&def)]);
        run
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    fn id(&mut self) -> TxId {
        self.sequence += 1;
        TxId { age: Timestamp(self.sequence), node: NodeId(1), sequence: self.sequence }
    }

    fn commit(&mut self, writes: Vec<Write>) {
        let id = self.id();
        let txn = self.store.begin(id);
        let work = Arc::new(Work { writes, ..Work::default() });
        if self.dice.roll(4) != 0 {
            let done = self.store.commit_local(&txn, &work, self.wall_ms);
            assert!(matches!(done, CommittedLocal::Yes(..)));
            return;
        }
        // As a participant: the commit timestamp is above the local proposal, after the decision or its opposite.
        let id = self.id();
        let doomed = self.store.begin(id);
        assert!(matches!(
            self.store.prepare(&doomed, &work, self.wall_ms, Role::Participant),
            Prepared::Yes { .. }
        ));
        let _ = self.store.abort(&doomed);
        let Prepared::Yes { proposal } = self.store.prepare(&txn, &work, self.wall_ms, Role::Participant)
        else {
            panic!("nothing is in the way")
        };
        let _ = self.store.commit(&txn, Timestamp(proposal.0 + self.dice.roll(1_000)));
    }

    fn step(&mut self) {
        let count = 1 + self.dice.roll(8) as usize;
        let mut writes = Vec::with_capacity(count);
        let mut model = std::mem::take(&mut self.model);
        for _ in 0..count {
            let k = self.dice.roll(KEYS) as i64;
            let v = self.dice.roll(20) as i64;
            let op = match self.dice.roll(10) {
                0..5 => Op::Put(row(k, v)),
                5..7 => Op::BagAdd(row(k, v)),
                7 => Op::BagRemove(row(k, v)),
                _ => Op::Delete,
            };
            apply(self.kind, &mut model, k, v, &op);
            writes.push(Write { table: T, key: key(k), op });
        }
        self.operations += count;
        self.model = model;
        self.commit(writes);
        self.read_some();
    }

    fn read_some(&mut self) {
        let table = self.table();
        for _ in 0..2 {
            let k = self.dice.roll(KEYS) as i64;
            let found = table.latest(&key(k)).expect("nothing is pending").map(|(body, _)| pairs(&body));
            assert_eq!(found.as_ref(), self.model.get(&k));
            self.operations += 1;
        }
        assert_eq!(table.len(), self.model.values().map(|rows| rows.len() as u64).sum::<u64>());
    }

    fn keep_or_compare(&mut self) {
        if self.kept.len() < 6 {
            self.kept.push((self.store.snapshot(), self.model.clone()));
        } else {
            let at = self.dice.roll(6) as usize;
            let (snapshot, model) = self.kept.swap_remove(at);
            compare(&self.table(), snapshot.at(), &model, &mut self.dice);
        }
        self.wall_ms += self.dice.roll(400);
        self.store.clock().advance(self.wall_ms);
        self.store.tidy(50);
    }
}

fn apply(kind: Kind, model: &mut Model, k: i64, v: i64, op: &Op) {
    let held = model.entry(k).or_default();
    match (kind, op) {
        (_, Op::Delete) => held.clear(),
        (Kind::Bag, Op::Put(_) | Op::BagAdd(_)) if held.contains(&(k, v)) => {}
        (Kind::Bag, Op::Put(_) | Op::BagAdd(_)) => held.push((k, v)),
        (_, Op::Put(_) | Op::BagAdd(_)) => *held = vec![(k, v)],
        (_, Op::Expire(_)) => unreachable!("no row here has a deadline"),
        (_, Op::BagAppend(_)) => unreachable!("no bag here keeps identical rows"),
        (_, Op::BagRemove(_)) => held.retain(|known| *known != (k, v)),
    }
    if held.is_empty() {
        model.remove(&k);
    }
}

/// A scan, a range both ways, steps, and the index, all at one snapshot.
fn compare(table: &Arc<Table>, at: Timestamp, model: &Model, dice: &mut Dice) {
    let scan = |range: KeyRange, direction| -> Vec<(Key, Vec<(i64, i64)>)> {
        let found = table.cursor(range, direction, at).map(|found| found.expect("settled"));
        found.map(|(key, body, _)| (key, pairs(&body))).collect()
    };
    let sorted = |mut rows: Vec<(Key, Vec<(i64, i64)>)>| {
        if table.def().kind != Kind::OrderedSet {
            rows.sort();
        }
        rows
    };
    let wanted = |from: i64, to: i64| -> Vec<_> {
        model.range(from..to).map(|(k, rows)| (key(*k), rows.clone())).collect()
    };
    assert_eq!(sorted(scan(KeyRange::all(), Direction::Forward)), wanted(i64::MIN, i64::MAX));
    let from = dice.roll(KEYS) as i64;
    let to = from + dice.roll(100) as i64;
    let range = KeyRange { start: Bound::Included(key(from)), end: Bound::Excluded(key(to)) };
    assert_eq!(sorted(scan(range.clone(), Direction::Forward)), wanted(from, to));
    let mut back = scan(range, Direction::Backward);
    back.reverse();
    assert_eq!(sorted(back), wanted(from, to));
    let next = table.next(&key(from), at).expect("settled").map(|(key, ..)| key);
    assert_eq!(next, model.range(from + 1..).next().map(|(k, _)| key(*k)));
    compare_index(table, at, model);
}

fn compare_index(table: &Arc<Table>, at: Timestamp, model: &Model) {
    let index = table.def().indexes[0].id;
    let mut wanted: Vec<(i64, i64)> = model.values().flatten().map(|(k, v)| (*v, *k)).collect();
    wanted.sort_unstable();
    let mut found = Vec::new();
    for entry in table.index_cursor(index, KeyRange::all(), Direction::Forward, at) {
        let (_, body, _) = entry.expect("settled");
        found.extend(pairs(&body).into_iter().map(|(k, v)| (v, k)));
    }
    assert_eq!(found, wanted);
    let mut backward = Vec::new();
    table
        .visit_index(index, &KeyRange::prefix(&key(7)), Direction::Backward, at, |_, body, _| {
            backward.extend(pairs(body).into_iter().map(|(k, v)| (v, k)));
            std::ops::ControlFlow::Continue(())
        })
        .expect("settled");
    backward.reverse();
    assert_eq!(backward, wanted.into_iter().filter(|(v, _)| *v == 7).collect::<Vec<_>>());
}

fn run(kind: Kind, seed: u64) {
    let mut run = Run::new(kind, seed);
    let mut round = 0;
    while run.operations < OPERATIONS_PER_KIND {
        run.step();
        round += 1;
        if round % 64 == 0 {
            run.keep_or_compare();
        }
    }
    run.kept.clear();
    let now = run.store.snapshot();
    compare(&run.table(), now.at(), &run.model, &mut run.dice);
    drop(now);
    // Everything that only snapshots or time kept can go, and nothing else.
    run.store.clock().advance(run.wall_ms + 10_000);
    run.store.tidy(usize::MAX);
    let now = run.store.snapshot();
    compare(&run.table(), now.at(), &run.model, &mut run.dice);
    assert_eq!(run.table().cells(), run.model.len());
    assert_eq!(run.store.lock_counts(), (0, 0));
}

#[test]
fn a_set_is_a_map() {
    run(Kind::Set, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn an_ordered_set_is_a_sorted_map() {
    run(Kind::OrderedSet, 0xdead_beef_cafe_f00d);
}

#[test]
fn a_bag_is_a_map_of_lists() {
    run(Kind::Bag, 0x0123_4567_89ab_cdef);
}
