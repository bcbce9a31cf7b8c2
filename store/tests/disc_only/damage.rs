//! Rows that are not what was written, and a disc that fails while rows are read: told by table and key, never served.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hypermnesia_store::disc::{Crash, Disc, DiscError, Fault, FaultKind, MemDisc, check};
use hypermnesia_store::{
    Blocked, Conflict, Direction, KeyRange, Kind, LeafCount, Op, Prepared, Role, Work, Write,
};

use crate::house::{House, Model, T, builder, defined, key, pairs, put, row};

const ROWS: i64 = 400;

/// Where redb's header stands in the image: behind the head and the first checksums.
const HEADER: usize = 2 * 4096;

/// A directory with a table on disc alone, stopped cleanly, and what is in it.
fn stopped() -> (MemDisc, Model) {
    let disc = MemDisc::new();
    let home: Arc<dyn Disc> = Arc::new(disc.clone());
    let mut house = House::open(&home, 1_000).expect("new");
    house.define(&defined(builder(Kind::Set), 1 << 20));
    house.commit((0..ROWS).map(|k| put(k, k % 9, 200)).collect());
    house.bring_all();
    let model = house.held();
    house.writer.close().expect("no fault is planted");
    drop(house);
    (disc.crash(Crash::Kill), model)
}

fn home(disc: &MemDisc) -> Arc<dyn Disc> {
    Arc::new(disc.clone())
}

#[test]
fn a_flipped_bit_is_never_served_and_hides_no_row() {
    // Aim: whatever is changed in the image, no reader gets a row that was not written or misses one that was, from points,
    // scans and writers alike, and none panics; the error names the file and the place in it, and table and key where a row was
    // asked for; the node hears that it should stop. Method: bits flipped all over the image of a table that is not read at the
    // start: in rows, in pages that lead to them, in checksums, in redb's header and in the head of the file.
    let (disc, model) = stopped();
    let bytes = disc.bytes("image.redb").expect("it is there");
    let (mut met, mut named, mut placed) = (0, 0, 0);
    let heads = (0..80).chain(HEADER..HEADER + 320).flat_map(|at| [0, 3, 6].map(|bit| (at, bit)));
    let everywhere = (0..bytes.len()).step_by(bytes.len() / 500).map(|at| (at, at % 8));
    for (at, bit) in heads.chain(everywhere) {
        let changed = disc.crash(Crash::Kill);
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << bit;
        changed.overwrite("image.redb", bytes);
        let tried = catch_unwind(AssertUnwindSafe(|| read_all(&changed, &model, at)));
        let (errors, hidden) = tried.unwrap_or_else(|_| panic!("byte {at}: a panic"));
        assert!(!(hidden && errors.is_empty()), "byte {at}: a row is hidden");
        met += usize::from(!errors.is_empty());
        named +=
            usize::from(errors.iter().any(|error| error.contains(&T.to_string()) && error.contains("key")));
        placed += usize::from(errors.iter().any(|error| error.contains("image.redb is damaged at byte")));
        // Whoever looks through the directory finds all that a reader met, and perhaps what nobody asked for.
        let checked = check(&home(&changed));
        let sound = matches!(&checked, Ok(tables) if tables.iter().all(|table| table.damage.is_none()));
        assert!(errors.is_empty() || !sound, "byte {at}: {errors:?} and nothing is found");
    }
    assert!(
        met > 300 && named > 100 && placed > 250,
        "{met} were met, {named} of them named, {placed} with their place"
    );
}

#[test]
fn an_index_that_misses_rows_is_not_read() {
    // Aim: a row that cannot be read when an index is filled leaves nobody an index without it. Method: a bit of each row in
    // turn, the index added all the same as another member's commit would, every value looked for in it.
    let (disc, model) = stopped();
    let bytes = disc.bytes("image.redb").expect("it is there");
    let (first, mut met) = (bytes.windows(200).position(|part| part == [7; 200]).expect("rows are there"), 0);
    for at in (first..bytes.len()).step_by(3_000) {
        let changed = disc.crash(Crash::Kill);
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        changed.overwrite("image.redb", bytes);
        // Of rows nothing is read at the start; of definitions all.
        let Ok(mut house) = House::open(&home(&changed), 2_000_000) else { continue };
        let mut def = defined(builder(Kind::Set).index("by_v", ["v"]), 1 << 20);
        def.version = def.version.next();
        house.define(&def);
        let is_met = house.store.disc_fault().is_some();
        let (table, at) = (house.table(), house.store.snapshot());
        for v in 0..9 {
            let mut seen = 0;
            let range = KeyRange::prefix(&key(v));
            let show = |_: &_, body: &_, _| {
                seen += pairs(body).len();
                std::ops::ControlFlow::Continue(())
            };
            let read = table.visit_index(def.indexes[0].id, &range, Direction::Forward, at.at(), show);
            let wanted = model.values().flatten().filter(|(_, n)| *n == v).count();
            match read {
                Ok(()) => assert!(!is_met && seen == wanted, "byte {at:?}, value {v}: {seen} of {wanted}"),
                Err(blocked) => assert!(is_met && matches!(blocked, Blocked::Unreadable(_)), "{blocked:?}"),
            }
        }
        met += usize::from(is_met);
    }
    assert!(met > 5, "{met} were met");
}

/// Opens the directory, reads everything in every way, and gives the errors that were told, and whether rows were missing.
fn read_all(disc: &MemDisc, model: &Model, at: usize) -> (Vec<String>, bool) {
    let mut house = match House::open(&home(disc), 2_000_000) {
        Ok(house) => house,
        Err(error) => {
            assert!(error.is_corruption(), "byte {at}: {error}");
            return (vec![error.to_string()], false);
        }
    };
    let (table, mut errors, mut hidden) = (house.table(), Vec::new(), false);
    let mut told = |blocked: Blocked| match blocked {
        Blocked::Unreadable(unreadable) => errors.push(unreadable.to_string()),
        other => panic!("byte {at}: {other:?}"),
    };
    for (k, rows) in model {
        match table.latest(&key(*k)) {
            Ok(found) => {
                let found = found.map(|(body, _)| pairs(&body));
                hidden |= found.is_none();
                let found = found.as_ref().unwrap_or(rows);
                assert_eq!(found, rows, "byte {at}, key {k}: served although it was changed");
            }
            Err(blocked) => told(blocked),
        }
    }
    let snapshot = house.store.snapshot();
    let mut scanned = Vec::new();
    for found in table.cursor(KeyRange::all(), Direction::Forward, snapshot.at()) {
        match found {
            Ok((key, body, _)) => {
                let k = pairs(&body)[0].0;
                assert_eq!(
                    (key, Some(&pairs(&body))),
                    (crate::house::key(k), model.get(&k)),
                    "byte {at}: scanned"
                );
                scanned.push(k);
            }
            Err(blocked) => {
                told(blocked);
                break;
            }
        }
    }
    if let Err(blocked) = table.leaves(LeafCount::for_rows(table.len())) {
        told(blocked);
    }
    if errors.is_empty() {
        hidden |= scanned != model.keys().copied().collect::<Vec<_>>();
    } else {
        assert!(house.store.disc_fault().is_some(), "byte {at}: the node does not hear of it");
        let k = (0..ROWS).find(|k| table.latest(&key(*k)).is_err());
        if let Some(k) = k {
            let txid = house.id();
            let txn = house.store.begin(txid);
            let work = Work { writes: vec![put(k, 1, 1)], ..Work::default() };
            let refused = house.store.prepare(&txn, &Arc::new(work), house.wall_ms, Role::Participant);
            assert!(matches!(refused, Prepared::Refused(_)), "byte {at}: written over what cannot be read");
            let _ = house.store.abort(&txn);
        }
    }
    (errors, hidden)
}

#[test]
fn a_failed_step_is_taken_up_again_and_reads_go_on() {
    // Aim: after a checkpoint that failed, whatever came of it, memory and image are one again. Method: a failing write or sync
    // at each operation of a checkpoint, reopen as the node does, go on, compare, and let memory go.
    let disc = MemDisc::new();
    let mut house = House::open(&home(&disc), 1_000).expect("new");
    house.define(&defined(builder(Kind::OrderedSet).unique_index("by_v", ["v"]), 100 << 10));
    house.commit((0..ROWS).map(|k| put(k, k, 100)).collect());
    house.bring_all();
    let (mut failed, mut n) = (0, 0);
    let mut wanted = house.held();
    for step in 0..60 {
        n += 1;
        house.commit((0..40).map(|k| put(k * 7, n * 1_000 + k, 100)).collect());
        let gone = 300 + n % 90;
        house.commit(vec![Write { table: T, key: key(gone), op: Op::Delete }]);
        (0..40).for_each(|k| drop(wanted.insert(k * 7, vec![(k * 7, n * 1_000 + k)])));
        wanted.remove(&gone);
        house.fill_segment();
        disc.set_fault(Some(Fault { at: disc.operations() + step % 30, kind: FaultKind::ErrorOnce }));
        let taken = house.checkpoint();
        disc.set_fault(None);
        match taken {
            Ok(()) => {}
            Err(DiscError::Poisoned { .. }) => panic!("the log has nothing to do with it"),
            Err(_) => {
                failed += 1;
                house.reopen_image();
            }
        }
        house.trim();
        house.pass(3_000);
        assert_eq!(house.held(), wanted, "step {step}");
    }
    assert!(failed > 10, "{failed} steps failed");
    house.bring_all();
    house.pass(10_000);
    assert!(house.table().cells() < wanted.len(), "{} are in memory", house.table().cells());
    assert_eq!(house.held(), wanted);
    assert!(house.store.disc_fault().is_none());
}

#[test]
fn an_image_that_is_closed_is_told_to_readers() {
    // Aim: an error that passes, and not a wait or a panic, when the image is closed under a reader. Method: close it, read.
    let (disc, _) = stopped();
    let mut house = House::open(&home(&disc), 2_000_000).expect("it was well");
    house.checkpointer.close();
    let table = house.table();
    assert!(matches!(table.latest(&key(1)), Err(Blocked::Unreadable(unreadable)) if unreadable.passes()));
    assert!(house.store.disc_fault().is_none());
    let txid = house.id();
    let txn = house.store.begin(txid);
    let work =
        Work { writes: vec![Write { table: T, key: key(1), op: Op::Put(row(1, 1, 1)) }], ..Work::default() };
    let refused = house.store.prepare(&txn, &Arc::new(work), house.wall_ms, Role::Participant);
    assert_eq!(refused, Prepared::Refused(Conflict::NotNow { table: T }));
    let _ = house.store.abort(&txn);
}
