//! Steps of the image behind one that failed: the log is read again from where it may be trimmed, and memory has let go of
//! some of it.

use std::sync::Arc;

use hypermnesia_store::disc::{Disc, Fault, FaultKind, MemDisc, Record};
use hypermnesia_store::{Kind, Op, Work, Write};

use crate::house::{House, Model, T, builder, defined, key, put};

const ROWS: i64 = 200;

/// A table of some rows, all of them in the image alone.
fn begun(disc: &MemDisc) -> House {
    let home: Arc<dyn Disc> = Arc::new(disc.clone());
    let mut house = House::open(&home, 1_000).expect("new");
    house.define(&defined(builder(Kind::OrderedSet), 100 << 10));
    house.commit((0..ROWS).map(|k| put(k, k, 100)).collect());
    rest(&mut house);
    house
}

/// Everything goes into the image, and from memory.
fn rest(house: &mut House) {
    house.bring_all();
    house.pass(10_000);
}

/// From here on the log cannot be trimmed, and is read again behind a failure: somebody is in doubt.
fn in_doubt(house: &mut House) {
    let (txid, work) = (house.id(), Work { writes: vec![put(ROWS, 0, 1)], ..Work::default() });
    let work = std::borrow::Cow::Owned(work);
    house.append(&Record::Prepared { txid, epoch: 1, participants: Vec::new().into(), work });
}

fn fail_a_step(house: &mut House, disc: &MemDisc) {
    house.fill_segment();
    disc.set_fault(Some(Fault { at: disc.operations(), kind: FaultKind::ErrorForGood }));
    house.checkpoint().expect_err("the disc fails");
    disc.set_fault(None);
    house.reopen_image();
}

fn copied(v: i64, count: i64) -> (Vec<(i64, i64)>, Model) {
    let rows: Vec<_> = (0..count).map(|k| (k, v)).collect();
    let model = rows.iter().map(|row| (row.0, vec![*row])).collect();
    (rows, model)
}

#[test]
fn a_clearing_that_did_not_reach_the_image_is_not_told() {
    // Aim: behind a step that failed before it came to an end, rows of before a copy stay hidden. Method: a segment that is
    // damaged behind the record of the copy when it is read first, and whole when it is read again.
    let disc = MemDisc::new();
    let mut house = begun(&disc);
    let (rows, wanted) = copied(7, 20);
    house.copy(&rows);
    house.fill_segment();
    let read_to = house.checkpointer.read_to();
    let (index, _) = house.writer.closed().into_iter().find(|(_, end)| *end > read_to).expect("it is full");
    let name = format!("log-{index:012}.seg");
    let whole = disc.bytes(&name).expect("it is there");
    let mut damaged = whole.clone();
    let last = damaged.iter().rposition(|byte| *byte != 0).expect("it has records");
    damaged[last] ^= 1;
    disc.overwrite(&name, damaged);
    let error = house.checkpoint().expect_err("it is damaged");
    assert!(error.is_corruption(), "{error}");
    disc.overwrite(&name, whole);
    house.reopen_image();
    assert_eq!(house.held(), wanted);
    rest(&mut house);
    assert_eq!(house.held(), wanted);
}

#[test]
fn a_clearing_is_told_once() {
    // Aim: as long as the image has not taken the newest copy it is passed over, however often it reads of those before.
    // Method: a copy that the image has and reads again, while another one is in the log alone.
    let disc = MemDisc::new();
    let mut house = begun(&disc);
    in_doubt(&mut house);
    house.copy(&copied(7, 100).0);
    rest(&mut house);
    house.fill_segment();
    let (rows, wanted) = copied(8, 20);
    house.copy(&rows);
    house.write();
    disc.set_fault(Some(Fault { at: disc.operations(), kind: FaultKind::ErrorForGood }));
    house.checkpoint().expect_err("the disc fails");
    disc.set_fault(None);
    house.reopen_image();
    house.checkpoint().expect("it is well again");
    assert_eq!(house.held(), wanted);
    rest(&mut house);
    assert_eq!(house.held(), wanted);
    let reads = || house.table().statistics().image_reads;
    let before = reads();
    assert_eq!(house.table().latest(&key(150)).expect("the disc is well"), None);
    assert_eq!(reads(), before + 1, "and then it is read again");
}

#[test]
fn what_was_deleted_stays_so_while_the_log_is_read_again() {
    // Aim: no step shows a state of the image from before one that memory was told of. Method: rows put, put again and deleted
    // in segments of their own, all of that in the image and not in memory; a failure, and then the smallest steps.
    let disc = MemDisc::new();
    let mut house = begun(&disc);
    in_doubt(&mut house);
    for v in 1..4 {
        house.commit((ROWS..ROWS + 50).map(|k| put(k, v, 100)).collect());
        house.fill_segment();
    }
    let gone = |k| Write { table: T, key: key(k), op: Op::Delete };
    house.commit((ROWS..ROWS + 25).map(gone).collect());
    rest(&mut house);
    let wanted = house.held();
    assert_eq!(wanted.len() as i64, ROWS + 25);
    fail_a_step(&mut house, &disc);
    let (closed, before) = (house.writer.closed(), house.checkpointer.read_to());
    for batch in house.checkpointer.batches(&closed, 1) {
        let imaged = house.checkpointer.take(&batch).expect("it is well again");
        house.store.imaged(imaged);
        assert_eq!(house.held(), wanted, "up to {:?}", batch.last());
    }
    assert!(house.checkpointer.read_to() > before, "nothing was taken");
}
