//! How much memory a table takes that is much larger than its cache: by the table's own figures, and by an allocator that
//! counts what the process asks for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hypermnesia_store::disc::{Disc, RealDisc};
use hypermnesia_store::{Direction, KeyRange, Kind};

#[path = "../shared/counting.rs"]
mod counting;
#[path = "../disc_only/house.rs"]
#[expect(dead_code, reason = "of what another binary uses too")]
mod house;

use counting::{HELD, alone};
use house::{Dice, House, builder, defined, key, put};

const MIB: i64 = 1 << 20;
const CACHE: i64 = 2 * MIB;
/// Of a second table, to see that the size is heeded.
const LARGER_CACHE: i64 = 12 * MIB;
/// What the node needs whatever its tables hold: redb's own cache (16 MiB, `IMAGE_CACHE_BYTES`) with what it needs to know of
/// the file, and the hash's places from when much was written at once.
const IMAGE: i64 = 28 * MIB;
/// Rows of a kilobyte: 20 times the cache.
const ROWS: i64 = 40 << 10;

/// Bytes of memory that were in use at some moments.
struct Used {
    written: i64,
    read: i64,
    walked: i64,
    opened: i64,
}

#[test]
fn a_table_twenty_times_its_cache_stays_within_it() {
    // Aim: what a table on disc alone takes of memory is bounded by its cache, not by its rows; also while it is read at random
    // and from end to end, and when it is opened, which reads nothing of it. Method: 40 MiB of rows on a real disc through a
    // cache of 2 MiB, the log's tail brought into the image now and then; memory counted. Then the same through a cache of
    // 12 MiB: as much more memory as its cache is larger.
    let _alone = alone();
    let [small, larger] = [CACHE, LARGER_CACHE].map(used_with);
    let within = |what: &str, used: i64| {
        assert!(used <= CACHE + IMAGE, "{what}: {} KiB of memory", used >> 10);
    };
    within("at rest", small.written);
    within("after reads at random", small.read);
    within("after a walk over all of it", small.walked);
    within("when it was opened", small.opened);
    let more = LARGER_CACHE - CACHE;
    for (what, found) in [("reads", larger.read - small.read), ("a walk", larger.walked - small.walked)] {
        let wanted = more / 2..=more + more / 4;
        assert!(wanted.contains(&found), "after {what}: {} KiB more with the larger cache", found >> 10);
    }
    assert!(larger.opened - small.opened < MIB, "a cache is filled when the table is opened");
}

fn used_with(cache: i64) -> Used {
    let home = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let home = home.join(format!("bound-{}-{cache}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a directory of its own");
    let disc: Arc<dyn Disc> = Arc::new(RealDisc::open(&home).expect("it is there"));
    let before = HELD.load(Ordering::Relaxed);
    let used = || HELD.load(Ordering::Relaxed) - before;
    let mut house = filled(&disc, cache, &used);
    let written = used();
    let table = house.table();
    let mut dice = Dice(7);
    for _ in 0..40_000 {
        let k = dice.roll(ROWS as u64) as i64;
        assert!(table.latest(&key(k)).expect("the disc is well").is_some(), "key {k}");
    }
    let read = used();
    let snapshot = house.store.snapshot();
    assert_eq!(table.cursor(KeyRange::all(), Direction::Forward, snapshot.at()).count() as i64, ROWS);
    drop(snapshot);
    assert!(table.statistics().cache_bytes as i64 <= cache, "{:?}", table.statistics());
    let walked = used();
    drop(table);
    house.writer.close().expect("the disc is well");
    let wall_ms = house.wall_ms;
    drop(house);
    let house = House::open_with(&disc, wall_ms, 1 << 20).expect("it was closed well");
    assert_eq!(house.table().len() as i64, ROWS, "counted without reading them");
    assert!(house.table().cells() < 6_000, "{} rows are in memory", house.table().cells());
    let opened = used();
    drop(house);
    std::fs::remove_dir_all(&home).expect("it was made above");
    Used { written, read, walked, opened }
}

/// A node with the table, all of it in the image.
fn filled(disc: &Arc<dyn Disc>, cache: i64, used: &dyn Fn() -> i64) -> House {
    let mut house = House::open_with(disc, 1_000, 1 << 20).expect("new");
    house.define(&defined(builder(Kind::OrderedSet), cache as u64));
    for from in (0..ROWS).step_by(64) {
        house.commit((from..from + 64).map(|k| put(k, k % 100, 1_000)).collect());
        if from % 2_048 == 0 {
            house.write();
            house.pass(3_000);
            house.checkpoint().expect("the disc is well");
            house.trim();
            assert!(used() <= cache + IMAGE + 12 * MIB, "{} KiB while it is written", used() >> 10);
        }
    }
    house.bring_all();
    house.pass(10_000);
    assert_eq!(house.table().len() as i64, ROWS);
    assert!(house.table().bytes() as i64 > 20 * CACHE, "{} bytes", house.table().bytes());
    house
}
