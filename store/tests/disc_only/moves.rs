//! Rows that move between memory and image while others read and write them, on several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hypermnesia_store::disc::{Disc, MemDisc};
use hypermnesia_store::{
    Blocked, CommittedLocal, Direction, KeyRange, Kind, NodeId, Op, ReadNote, Store, Timestamp, TxId, Work,
    Write,
};
use parking_lot::{Mutex, MutexGuard};

use crate::house::{Dice, House, ME, T, builder, defined, key, pairs, put};
use crate::over::Over;

const KEYS: i64 = 600;
/// Checkpoints while the others run, and more of them until so many rows were read from the image.
const STEPS: u64 = 25;
const READ: u64 = 1_000;

/// What a row holds before anything happens.
const START: i64 = 100;

#[test]
fn no_row_is_lost_seen_twice_or_seen_old_while_it_moves() {
    // Aim: every scan and every set of points at one snapshot is one state: the sum of all rows stays what it was, whatever
    // leaves memory or comes back meanwhile. Method: two threads move amounts between keys of a table with a cache for a tenth of
    // them, two read sums by scans from either end and by points, and the image follows and memory is let go all the while.
    let disc: Arc<dyn Disc> = Arc::new(MemDisc::new());
    let mut house = House::open_with(&disc, 1_000, 16 << 10).expect("new");
    house.define(&defined(builder(Kind::OrderedSet), 40 << 10));
    house.commit((0..KEYS).map(|k| put(k, START, 50)).collect());
    house.bring_all();
    house.pass(10_000);
    let (store, read_before) = (Arc::clone(&house.store), house.table().statistics().image_reads);
    let (house, over) = (Mutex::new(house), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (house, store, over) = (&house, &*store, &over);
        let movers: Vec<_> = (0..2).map(|n| scope.spawn(move || transfers(house, n, over))).collect();
        let readers = [Direction::Forward, Direction::Backward]
            .map(|direction| scope.spawn(move || sums(store, direction, over)));
        let follower = scope.spawn(move || {
            let _over = Over(over);
            for step in 0..100 * STEPS {
                let mut house = house.lock();
                if step >= STEPS && house.table().statistics().image_reads - read_before > READ {
                    break;
                }
                house.pass(500);
                house.bring_all();
                MutexGuard::unlock_fair(house);
            }
        });
        follower.join().expect("it follows");
        let moved: u64 = movers.into_iter().map(|mover| mover.join().expect("it moves")).sum();
        readers.into_iter().for_each(|reader| reader.join().expect("it reads"));
        assert!(moved > 20, "{moved} were moved");
    });
    let mut house = house.into_inner();
    // They did move: rows were read from the image while others ran, and most of them are there alone now.
    let read = house.table().statistics().image_reads - read_before;
    assert!(read > READ, "{read} rows were looked for in the image");
    house.bring_all();
    house.pass(10_000);
    assert!((house.table().cells() as i64) < KEYS / 2, "{} of {KEYS} are in memory", house.table().cells());
    let all = house.held();
    assert_eq!(all.len() as i64, KEYS);
    assert_eq!(all.values().flatten().map(|(_, v)| v).sum::<i64>(), KEYS * START);
    assert_eq!(house.store.lock_counts(), (0, 0));
}

#[test]
fn readers_of_ranges_do_not_keep_rows_in_memory() {
    // Aim: rows that make room leave also while somebody always reads a range: the cache's bound holds, but for those that
    // may wait. Method: three threads that scan without pause beside one that reads every key in turn.
    const MANY: i64 = 20_000;
    let disc: Arc<dyn Disc> = Arc::new(MemDisc::new());
    let mut house = House::open(&disc, 1_000).expect("new");
    house.define(&defined(builder(Kind::OrderedSet), 200 << 10));
    for from in (0..MANY).step_by(1_000) {
        house.commit((from..from + 1_000).map(|k| put(k, k, 20)).collect());
    }
    house.bring_all();
    house.pass(10_000);
    house.pass(10_000);
    let (table, over) = (house.table(), AtomicBool::new(false));
    assert!(table.cells() < 2_000, "{} in memory", table.cells());
    let most = std::thread::scope(|scope| {
        let (store, over, guard) = (&*house.store, &over, Over(&over));
        for _ in 0..3 {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let (snapshot, table) = (store.snapshot(), store.table(T).expect("created"));
                    let found = table.cursor(KeyRange::all(), Direction::Forward, snapshot.at());
                    found.take_while(|_| !over.load(Ordering::Relaxed)).for_each(drop);
                }
            });
        }
        let most = (0..MANY).map(|k| {
            assert!(table.latest(&key(k)).expect("the disc is well").is_some(), "key {k}");
            table.cells()
        });
        let most = most.max().expect("some");
        drop(guard);
        most
    });
    assert!(most < 6_000, "{most} of {MANY} rows were in memory");
}

/// Moves an amount from one key to another, if neither changed since it was read.
fn transfers(house: &Mutex<House>, n: u32, over: &AtomicBool) -> u64 {
    let mut dice = Dice(0x9e37_79b9 + u64::from(n));
    let (mut moved, mut sequence) = (0, 1_000_000 * u64::from(n + 1));
    while !over.load(Ordering::Relaxed) {
        let (table, wall_ms) = {
            let house = house.lock();
            (house.table(), house.wall_ms)
        };
        let (from, to) = (dice.roll(KEYS as u64) as i64, dice.roll(KEYS as u64) as i64);
        if from == to {
            continue;
        }
        let Ok(Some((a, at_a))) = table.latest(&key(from)) else { continue };
        let Ok(Some((b, at_b))) = table.latest(&key(to)) else { continue };
        let (a, b, amount) = (pairs(&a)[0].1, pairs(&b)[0].1, dice.roll(9) as i64);
        let note = |k, version| ReadNote { table: T, key: key(k), version };
        let work = Work {
            reads: vec![note(from, at_a), note(to, at_b)],
            writes: vec![put(from, a - amount, 50), put(to, b + amount, 50)],
            ..Work::default()
        };
        sequence += 1;
        let txid = TxId { age: Timestamp(sequence), node: NodeId(n), sequence };
        // Committed and logged as one: the log has the order of the commits of a key.
        let house = house.lock();
        let txn = house.store.begin(txid);
        match house.store.commit_local(&txn, &Arc::new(work.clone()), wall_ms) {
            CommittedLocal::Yes(ts, _) => {
                house.log_applied(TxId { node: ME, ..txid }, ts, &work.writes);
                moved += 1;
            }
            CommittedLocal::Refused(..) => {}
            CommittedLocal::Parked => panic!("one commits at a time"),
        }
    }
    moved
}

/// Sums of all rows, by scans and by points, each at one snapshot, until it is over.
fn sums(store: &Store, direction: Direction, over: &AtomicBool) {
    for taken in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let (table, mut snapshot) = (store.table(T).expect("created"), store.snapshot());
        loop {
            match store.settled(snapshot.at()) {
                Ok(()) => break,
                Err(Blocked::Raise(to)) => snapshot.raise(to),
                Err(_) => std::thread::yield_now(),
            }
        }
        let values: Vec<i64> = match taken % 3 {
            0 => (0..KEYS)
                .map(|k| {
                    let found = table.read(&key(k), snapshot.at()).expect("nothing is undecided");
                    pairs(&found.unwrap_or_else(|| panic!("key {k} is missing at a point")).0)[0].1
                })
                .collect(),
            _ => table
                .cursor(KeyRange::all(), direction, snapshot.at())
                .map(|found| pairs(&found.expect("nothing is undecided").1)[0].1)
                .collect(),
        };
        assert_eq!(values.len() as i64, KEYS, "{direction:?}, {taken}");
        assert_eq!(values.iter().sum::<i64>(), KEYS * START, "{direction:?}, {taken}");
    }
}

#[test]
fn a_settled_snapshot_keeps_one_version_of_each_key_in_memory() {
    // Aim: what memory holds beside a snapshot that is held is bounded by what the snapshot sees, not by what is written, and goes
    // with it; what it sees stays. Method: rows overwritten, deleted and written again many times beside two of them, checkpoints
    // and time in between, with an index.
    let disc: Arc<dyn Disc> = Arc::new(MemDisc::new());
    let mut house = House::open_with(&disc, 1_000, 16 << 10).expect("new");
    house.define(&defined(builder(Kind::OrderedSet).index("by_v", ["v"]), 40 << 10));
    house.commit((0..KEYS).map(|k| put(k, START, 50)).collect());
    house.bring_all();
    house.pass(10_000);
    let seen = |house: &House, at: Timestamp| {
        let mut rows = Vec::new();
        for found in house.table().cursor(KeyRange::all(), Direction::Forward, at) {
            let (_, body, _) = found.expect("nothing is open, and the disc is well");
            rows.extend(pairs(&body));
        }
        rows
    };
    let mut held = Vec::new();
    let mut sizes = Vec::new();
    for round in 1..=40 {
        if round == 1 || round == 8 {
            let mut snapshot = house.store.snapshot();
            snapshot.settle();
            held.push((seen(&house, snapshot.at()), snapshot));
        }
        let gone = |k: i64| (k + round) % 11 == 0;
        let write = |k: i64| match gone(k) {
            true => Write { table: T, key: key(k), op: Op::Delete },
            false => put(k, round, 50),
        };
        house.commit((0..KEYS).map(write).collect());
        house.pass(500);
        house.bring_all();
        sizes.push(house.table().statistics().old_versions);
    }
    for (rows, snapshot) in &held {
        assert_eq!(&seen(&house, snapshot.at()), rows);
    }
    assert!(sizes.iter().all(|size| *size <= 4 * KEYS as u64), "{sizes:?} versions of {KEYS} keys");
    drop(held);
    house.pass(10_000);
    (0..4).for_each(|_| house.pass(10_000));
    let figures = house.table().statistics();
    assert_eq!(figures.old_versions, 0, "{figures:?}");
    assert!(house.table().cells() < KEYS as usize / 2, "{} are in memory", house.table().cells());
    let entries: u64 = house.table().index_entries().map(|(_, entries)| entries).sum();
    assert_eq!(entries, house.table().len(), "an entry for each row");
}
