//! A disc without space: the log goes on where it can, keeps what it cannot write, and loses nothing.

use hypermnesia_store::disc::{Crash, DiscError, Fault, FaultKind, MemDisc, Record, Warning};
use hypermnesia_store::{Op, Row, SchemaVersion, Timestamp, Value, Write};

use crate::session::{Session, T, TRANSACTIONS, check, held, key, model, txid};

fn fill(disc: &MemDisc) {
    disc.set_fault(Some(Fault { at: disc.operations(), kind: FaultKind::Full }));
}

fn begun() -> (MemDisc, Session) {
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    (disc, session)
}

/// Transactions that are written until there is no space for one, from this one on; how many were.
fn until_full(session: &mut Session, from: u64) -> u64 {
    for n in from.. {
        match session.logged(n) {
            Ok(_) => {}
            Err(DiscError::NoSpace { .. }) => return n - 1,
            Err(error) => panic!("{n}: {error}"),
        }
    }
    0
}

#[test]
fn a_spare_segment_that_cannot_be_made_hurts_nobody() {
    // Aim: the log goes on in the segment it has, until that is full. Method: fill the disc, ask for a spare, write.
    let (disc, mut session) = begun();
    fill(&disc);
    let job = session.writer.spare_job().expect("none is ready");
    assert!(matches!(job.run(), Err(DiscError::Full { .. })));
    let count = until_full(&mut session, 1);
    assert!(count > 3, "the segment has space for some: {count}");
    assert!(session.writer.spare_job().is_some(), "it may be tried again");
    drop(session);
    assert_eq!(check(&disc.crash(Crash::Kill), count, count, "killed"), count);
}

#[test]
fn what_has_no_space_waits_in_memory_in_order() {
    // Aim: no space for the next segment is no failure of the log. Method: fill the disc, write until it says so and more,
    // make space, write on, and look at everything.
    let (disc, mut session) = begun();
    fill(&disc);
    let count = until_full(&mut session, 1);
    let written = session.log.written();
    for n in count + 2..count + 20 {
        assert!(matches!(session.logged(n), Err(DiscError::NoSpace { .. })), "there is no space for {n}");
    }
    assert_eq!(session.log.written(), written, "nothing was written");
    assert_eq!(check(&disc.crash(Crash::Kill), count, count, "killed while full"), count);
    disc.set_fault(None);
    assert_eq!(session.writer.write().expect("there is space"), session.log.end());
    for n in count + 20..=TRANSACTIONS {
        session.logged(n).expect("there is space");
    }
    session.writer.close().expect("no fault is planted");
    drop(session);
    assert_eq!(check(&disc, TRANSACTIONS, TRANSACTIONS, "space again"), TRANSACTIONS);
}

#[test]
fn a_full_disc_can_be_opened_and_read() {
    // Aim: a start needs no space. Method: stop with little space in the segment, fill the disc, open, write until it is full.
    let (disc, mut session) = begun();
    session.logged(1).expect("no fault is planted");
    drop(session);
    let disc = disc.crash(Crash::Kill);
    fill(&disc);
    let mut session = Session::open(&disc).expect("it can be read");
    assert!(matches!(session.warnings[..], [Warning::NotNoted { .. }]), "{:?}", session.warnings);
    assert_eq!(held(&session.store)[&(T, 0)], [1]);
    let count = until_full(&mut session, 2);
    drop(session);
    let session = Session::open(&disc).expect("it can be read, with a full segment too");
    assert_eq!(held(&session.store)[&(T, 0)], [count as i64]);
}

#[test]
fn a_checkpoint_without_room_is_made_later() {
    // Aim: an image that cannot grow is no end of the node. Method: log a row that is larger than the image, fill the disc,
    // take segments, make space, take them again.
    let (disc, mut session) = begun();
    let values = [Value::Int(500), Value::Int(1), Value::Bytes(vec![1; 4 << 20])];
    let large = Row::encode(SchemaVersion::FIRST, &values).expect("it fits a row");
    let writes = vec![Write { table: T, key: key(500), op: Op::Put(large) }];
    let record = Record::Applied { txid: txid(500), ts: Timestamp(1000), writes: writes.into() };
    session.append(&record).expect("no fault is planted");
    for n in 1..=60 {
        session.logged(n).expect("no fault is planted");
    }
    fill(&disc);
    assert!(matches!(session.checkpoint(), Err(DiscError::Full { .. })), "there is no space");
    assert!(matches!(session.checkpoint(), Err(DiscError::Poisoned { .. })), "it says that it failed before");
    disc.set_fault(None);
    let imaged = session.checkpointer.reopen().expect("there is space");
    session.store.imaged(imaged);
    session.checkpoint().expect("there is space");
    assert!(session.checkpointer.applied().0 > 4 << 20);
    session.writer.close().expect("no fault is planted");
    drop(session);
    let session = Session::open(&disc).expect("no fault is planted");
    let mut wanted = model(60);
    wanted.insert((T, 500), vec![1]);
    assert_eq!(held(&session.store), wanted);
}
