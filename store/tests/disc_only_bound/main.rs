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
const CACHE: i64 = 4 * MIB;
/// What the node needs whatever its tables hold: redb's own cache (16 MiB, `IMAGE_CACHE_BYTES`) with what it needs to know of
/// the file, and the hash's places from when much was written at once.
const IMAGE: i64 = 28 * MIB;
/// Rows of a kilobyte: 20 times the cache.
const ROWS: i64 = 80 << 10;

#[test]
fn a_table_twenty_times_its_cache_stays_within_it() {
    // Aim: what a table on disc alone takes of memory is bounded by its cache, not by its rows; also while it is read at random
    // and from end to end, and when it is opened, which reads nothing of it. Method: 80 MiB of rows on a real disc through a
    // cache of 4 MiB, the log's tail brought into the image now and then; memory counted. Other tests of this binary run in a
    // process of their own.
    let _alone = alone();
    let home =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bound-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a directory of its own");
    let disc: Arc<dyn Disc> = Arc::new(RealDisc::open(&home).expect("it is there"));
    let before = HELD.load(Ordering::Relaxed);
    let used = |what: &str, most: i64| {
        let used = HELD.load(Ordering::Relaxed) - before;
        assert!(used <= most, "{what}: {} KiB of memory, {} are allowed", used >> 10, most >> 10);
    };
    let mut house = House::open_with(&disc, 1_000, 1 << 20).expect("new");
    house.define(&defined(builder(Kind::OrderedSet), CACHE as u64));
    for from in (0..ROWS).step_by(64) {
        house.commit((from..from + 64).map(|k| put(k, k % 100, 1_000)).collect());
        if from % 2_048 == 0 {
            house.write();
            house.pass(3_000);
            house.checkpoint().expect("the disc is well");
            house.trim();
            used("while it is written", CACHE + IMAGE + 12 * MIB);
        }
    }
    house.bring_all();
    house.pass(10_000);
    let table = house.table();
    assert_eq!(table.len() as i64, ROWS);
    assert!(table.bytes() as i64 > 20 * CACHE, "{} bytes", table.bytes());
    assert!(table.statistics().cache_bytes as i64 <= CACHE, "{:?}", table.statistics());
    used("at rest", CACHE + IMAGE);
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let k = dice.roll(ROWS as u64) as i64;
        assert!(table.latest(&key(k)).expect("the disc is well").is_some(), "key {k}");
    }
    used("after reads at random", CACHE + IMAGE);
    let snapshot = house.store.snapshot();
    assert_eq!(table.cursor(KeyRange::all(), Direction::Forward, snapshot.at()).count() as i64, ROWS);
    drop(snapshot);
    used("after a walk over all of it", CACHE + IMAGE);
    drop(table);
    house.writer.close().expect("the disc is well");
    let wall_ms = house.wall_ms;
    drop(house);
    let house = House::open_with(&disc, wall_ms, 1 << 20).expect("it was closed well");
    assert_eq!(house.table().len() as i64, ROWS, "counted without reading them");
    assert!(house.table().cells() < 6_000, "{} rows are in memory", house.table().cells());
    used("when it was opened", CACHE + IMAGE);
    drop(house);
    std::fs::remove_dir_all(&home).expect("it was made above");
}
