//! Each kind of table against a plain map, by random transactions from a fixed seed, with a cache for a small part of the
//! rows, checkpoints and restarts at random points, and snapshots that are kept and compared later.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use hypermnesia_store::disc::{Disc, MemDisc};
use hypermnesia_store::{
    Body, Direction, Key, KeyRange, Kind, LeafCount, LeafSet, Leaves, Op, Row, Snapshot, Table, Timestamp,
    Value, Write,
};

use crate::house::{Dice, House, Model, T, builder, defined, key, pairs, row};

const OPERATIONS_PER_KIND: usize = 34_000;
const KEYS: u64 = 2_000;
/// A cache for some two hundred rows.
const CACHE_BYTES: u64 = 100 << 10;

struct Run {
    kind: Kind,
    disc: Arc<dyn Disc>,
    /// Empty while it moves out and in again.
    house: Option<House>,
    model: Model,
    dice: Dice,
    operations: usize,
    kept: Vec<(Snapshot, Model)>,
    /// In lives before this one.
    image_reads: u64,
}

/// The row of a key and a value: the filler follows from it.
fn made(k: i64, v: i64) -> Row {
    row(k, v, 20 + (v as usize * 7) % 100)
}

impl Run {
    fn new(kind: Kind, seed: u64) -> Run {
        let disc: Arc<dyn Disc> = Arc::new(MemDisc::new());
        let mut house = House::open(&disc, 1_000).expect("new");
        house.define(&defined(builder(kind).index("by_v", ["v"]), CACHE_BYTES));
        let (model, dice, kept) = (Model::new(), Dice(seed), Vec::new());
        Run { kind, disc, house: Some(house), model, dice, operations: 0, kept, image_reads: 0 }
    }

    fn house(&mut self) -> &mut House {
        self.house.as_mut().expect("it is in")
    }

    fn table(&mut self) -> Arc<Table> {
        self.house().table()
    }

    fn writes(&mut self) -> Vec<Write> {
        let count = 1 + self.dice.roll(8) as usize;
        let one = |dice: &mut Dice| {
            let (k, v) = (dice.roll(KEYS) as i64, dice.roll(40) as i64);
            let op = match dice.roll(10) {
                0..5 => Op::Put(made(k, v)),
                5..7 => Op::BagAdd(made(k, v)),
                7 => Op::BagRemove(made(k, v)),
                _ => Op::Delete,
            };
            Write { table: T, key: key(k), op }
        };
        (0..count).map(|_| one(&mut self.dice)).collect()
    }

    fn step(&mut self) {
        let writes = self.writes();
        self.operations += writes.len();
        if self.dice.roll(8) == 0 {
            let aborted = self.writes();
            self.house().abort(aborted);
        }
        writes.iter().for_each(|write| apply(self.kind, &mut self.model, write));
        if self.dice.roll(4) == 0 {
            let (above, checkpoints) = (self.dice.roll(1_000), self.dice.roll(4) == 0);
            self.house().commit_prepared(writes, above, |house| {
                if checkpoints {
                    house.bring_all();
                }
            });
        } else {
            self.house().commit(writes);
        }
        self.read_some();
    }

    fn read_some(&mut self) {
        let table = self.table();
        for _ in 0..3 {
            let k = self.dice.roll(KEYS) as i64;
            let found = table.latest(&key(k)).expect("nothing is pending").map(|(body, _)| pairs(&body));
            assert_eq!(found.as_ref(), self.model.get(&k), "key {k}");
            let dirty = table.newest(&key(k)).expect("the disc is well").map(|(body, _)| pairs(&body));
            assert_eq!(dirty, found);
            self.operations += 1;
        }
        assert_eq!(table.len(), self.model.values().map(|rows| rows.len() as u64).sum::<u64>());
    }

    fn keep_or_compare(&mut self) {
        if self.kept.len() < 4 {
            let mut snapshot = self.house().store.snapshot();
            // One that stays where it is lets versions behind it go.
            if self.dice.roll(2) == 0 {
                snapshot.settle();
            }
            let kept = (snapshot, self.model.clone());
            self.kept.push(kept);
        } else {
            let at = self.dice.roll(4) as usize;
            let (snapshot, model) = self.kept.swap_remove(at);
            compare(&self.table(), snapshot.at(), &model, &mut self.dice);
        }
        let ms = self.dice.roll(3_000);
        self.house().pass(ms);
    }

    fn reopen(&mut self) {
        self.kept.clear();
        let table = self.table();
        self.image_reads += table.statistics().image_reads;
        let before = (table.len(), table.bytes(), table.digest_with_versions().expect("the disc is well"));
        compare_leaves(&table, before.2);
        drop(table);
        let mut house = self.house.take().expect("it is in");
        house.write();
        let wall_ms = house.wall_ms + 1;
        drop(house);
        self.house = Some(House::open(&self.disc, wall_ms).expect("it was well"));
        let table = self.table();
        let after = (table.len(), table.bytes(), table.digest_with_versions().expect("the disc is well"));
        assert_eq!(after, before, "rows, bytes, and all of it with its versions");
        compare_leaves(&table, before.2);
    }

    /// A copy of what differs: some rows come, some go, and what was written before and is written after stays in order.
    fn copy_some(&mut self) {
        self.kept.clear();
        self.house().pass(1);
        let mut wanted = Vec::new();
        for _ in 0..40 {
            let (k, v) = (self.dice.roll(KEYS) as i64, self.dice.roll(40) as i64);
            let row = (self.dice.roll(2) == 0).then(|| made(k, v));
            if wanted.iter().any(|(known, _)| *known == key(k)) {
                continue;
            }
            match &row {
                Some(_) => self.model.insert(k, vec![(k, v)]),
                None => self.model.remove(&k),
            };
            let body =
                |row| if self.kind == Kind::Bag { Body::Bag(vec![row].into()) } else { Body::Row(row) };
            wanted.push((key(k), row.map(body)));
        }
        self.house().copy_some(wanted);
        self.house().pass(1);
    }

    /// Clears the table in one step, as its definition says: the image follows with the log, some time later.
    fn clear(&mut self) {
        self.kept.clear();
        self.house().pass(1);
        let mut def = self.table().def().clone();
        def.cleared = self.house().store.clock().read();
        def.version = def.version.next();
        self.house().define(&def);
        self.model.clear();
        assert_eq!((self.table().len(), self.table().bytes()), (0, 0));
        for _ in 0..20 {
            self.step();
        }
        let (now, model) = (self.house().store.snapshot(), self.model.clone());
        compare(&self.table(), now.at(), &model, &mut self.dice);
    }

    /// Lets everything go that may go.
    fn rest(&mut self) {
        self.kept.clear();
        self.house().bring_all();
        self.house().pass(10_000);
    }
}

fn apply(kind: Kind, model: &mut Model, write: &Write) {
    let Value::Int(k) = write.key.decode().expect("a key")[0] else { panic!("a number") };
    let held = model.entry(k).or_default();
    let pair = |row: &Row| pairs(&Body::Row(row.clone()))[0];
    match (kind, &write.op) {
        (_, Op::Delete) => held.clear(),
        (Kind::Bag, Op::Put(row) | Op::BagAdd(row)) if held.contains(&pair(row)) => {}
        (Kind::Bag, Op::Put(row) | Op::BagAdd(row)) => held.push(pair(row)),
        (_, Op::Put(row) | Op::BagAdd(row)) => *held = vec![pair(row)],
        (_, Op::BagRemove(row)) => held.retain(|known| *known != pair(row)),
        (_, Op::Expire(_) | Op::BagAppend(_)) => unreachable!("see `Run::writes`"),
    }
    if held.is_empty() {
        model.remove(&k);
    }
}

/// Points, a scan, ranges both ways, steps, and the index, all at one snapshot.
fn compare(table: &Arc<Table>, at: Timestamp, model: &Model, dice: &mut Dice) {
    let scan = |range: KeyRange, direction| -> Vec<(Key, Vec<(i64, i64)>)> {
        let found = table.cursor(range, direction, at).map(|found| found.expect("settled"));
        found.map(|(key, body, _)| (key, pairs(&body))).collect()
    };
    let wanted = |from: i64, to: i64| -> Vec<_> {
        model.range(from..to).map(|(k, rows)| (key(*k), rows.clone())).collect()
    };
    same(scan(KeyRange::all(), Direction::Forward), wanted(i64::MIN, i64::MAX), "a scan");
    let from = dice.roll(KEYS) as i64;
    let to = from + dice.roll(600) as i64;
    let range = KeyRange { start: Bound::Included(key(from)), end: Bound::Excluded(key(to)) };
    same(scan(range.clone(), Direction::Forward), wanted(from, to), "a range");
    let mut back = scan(range, Direction::Backward);
    back.reverse();
    same(back, wanted(from, to), "a range from its end");
    let next = table.next(&key(from), at).expect("settled").map(|(key, ..)| key);
    assert_eq!(next, model.range(from + 1..).next().map(|(k, _)| key(*k)));
    let prev = table.prev(&key(from), at).expect("settled").map(|(key, ..)| key);
    assert_eq!(prev, model.range(..from).next_back().map(|(k, _)| key(*k)));
    for _ in 0..100 {
        let k = dice.roll(KEYS) as i64;
        let found = table.read(&key(k), at).expect("settled").map(|(body, _)| pairs(&body));
        assert_eq!(found.as_ref(), model.get(&k), "key {k} at a snapshot");
    }
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
    same(found, wanted.clone(), "an index");
    let mut backward = Vec::new();
    table
        .visit_index(index, &KeyRange::prefix(&key(7)), Direction::Backward, at, |_, body, _| {
            backward.extend(pairs(body).into_iter().map(|(k, v)| (v, k)));
            ControlFlow::Continue(())
        })
        .expect("settled");
    backward.reverse();
    same(backward, wanted.into_iter().filter(|(v, _)| *v == 7).collect(), "an index from its end");
}

/// Says where two lists differ, not all that is in them.
fn same<T: PartialEq + std::fmt::Debug>(found: Vec<T>, wanted: Vec<T>, what: &str) {
    if found == wanted {
        return;
    }
    let missing: Vec<_> = wanted.iter().filter(|one| !found.contains(one)).take(5).collect();
    let more: Vec<_> = found.iter().filter(|one| !wanted.contains(one)).take(5).collect();
    panic!("{what}: {missing:?} missing, {more:?} too much; or in another order");
}

fn run(kind: Kind, seed: u64) {
    let mut run = Run::new(kind, seed);
    let mut round = 0;
    while run.operations < OPERATIONS_PER_KIND {
        run.step();
        round += 1;
        if round % 32 == 0 {
            run.keep_or_compare();
        }
        if round % 50 == 0 && run.dice.roll(2) == 0 {
            run.house().checkpoint().expect("no fault is planted");
            run.house().trim();
        }
        if round % 400 == 0 && run.dice.roll(2) == 0 {
            run.reopen();
        }
        if round % 90 == 0 {
            run.copy_some();
        }
        if round % 700 == 0 {
            run.clear();
            match run.dice.roll(3) {
                0 => run.reopen(),
                1 => run.rest(),
                _ => {}
            }
        }
    }
    // All that memory had to keep can go: what is left is the cache.
    run.rest();
    let table = run.table();
    assert!(table.statistics().cache_bytes <= CACHE_BYTES, "{:?}", table.statistics());
    assert!(table.cells() <= 320, "{} of {} are in memory", table.cells(), run.model.len());
    assert!(run.image_reads > 1_000, "{} rows were looked for in the image", run.image_reads);
    let (now, model) = (run.house().store.snapshot(), run.model.clone());
    compare(&table, now.at(), &model, &mut run.dice);
    drop(now);
    run.reopen();
    let now = run.house().store.snapshot();
    let table = run.table();
    compare(&table, now.at(), &model, &mut run.dice);
    assert_eq!(run.house().store.lock_counts(), (0, 0));
    assert!(run.house().store.disc_fault().is_none());
}

#[test]
fn a_set_on_disc_alone_is_a_map() {
    // Aim and method: see the file's header; so too below.
    run(Kind::Set, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn an_ordered_set_on_disc_alone_is_a_sorted_map() {
    run(Kind::OrderedSet, 0xdead_beef_cafe_f00d);
}

#[test]
fn a_bag_on_disc_alone_is_a_map_of_lists() {
    run(Kind::Bag, 0x0123_4567_89ab_cdef);
}

/// Leaves add up to the table, and half of them show their rows, wherever these are.
fn compare_leaves(table: &Table, digest: u64) {
    let count = LeafCount::for_rows(table.len());
    let leaves = table.leaves(count).expect("the disc is well");
    assert_eq!(leaves.whole(), digest);
    let mut chosen = LeafSet::none(count);
    (0..count.get() as usize).step_by(2).for_each(|leaf| chosen.insert(leaf));
    let mut shown = Leaves::empty(count);
    let show = |key: &Key, body: &Body, at| {
        assert_eq!(table.newest_stored(key).expect("the disc is well"), Some((body.clone(), at)));
        shown.add(key, body, at);
    };
    table.visit_leaves(&chosen, show).expect("the disc is well");
    for (leaf, (shown, all)) in shown.digests().iter().zip(leaves.digests()).enumerate() {
        assert_eq!(*shown, if leaf % 2 == 0 { *all } else { 0 });
    }
}
