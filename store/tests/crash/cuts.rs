//! The run cut at every operation, torn, and on discs that fail.

use hypermnesia_store::disc::{Crash, DiscError, Fault, FaultKind, MemDisc, Position, Record};
use hypermnesia_store::{Op, Storage, Timestamp, Work, Write};

use crate::session::{
    Promised, Session, T, TRANSACTIONS, check, held, key, model, row, run, run_and_stop, txid,
};

/// How often the power goes at one place with each unsynced write lost, kept or torn by chance.
const TORN: u64 = 4;

fn power_cuts(at: u64) -> impl Iterator<Item = Crash> {
    let torn = (0..TORN).map(move |n| Crash::Torn(at + n * 1_000_000));
    [Crash::DropUnsynced, Crash::KeepUnsynced].into_iter().chain(torn)
}

/// A disc on which this goes wrong at this operation.
fn faulty(at: u64, kind: FaultKind) -> MemDisc {
    let disc = MemDisc::new();
    disc.set_fault(Some(Fault { at, kind }));
    disc
}

/// The operations of a whole run, which is well.
fn operations(storage: Storage) -> std::ops::Range<u64> {
    let whole = MemDisc::new();
    let (_, error) = run_and_stop(&whole, storage);
    assert!(error.is_none(), "{error:?}");
    assert!(
        whole.bytes("image.redb").is_some() && whole.bytes("log-000000000001.seg").is_none(),
        "it was trimmed"
    );
    check(&whole.crash(Crash::DropUnsynced), TRANSACTIONS, TRANSACTIONS, "no crash");
    0..whole.operations()
}

/// The run cut at every operation, and reopened in each way.
fn cut_everywhere(storage: Storage) {
    for at in operations(storage) {
        let disc = faulty(at, FaultKind::Cut);
        let (promised, _) = run_and_stop(&disc, storage);
        check(&disc.crash(Crash::Kill), promised.written, promised.appended, &format!("killed at {at}"));
        for crash in power_cuts(at) {
            let what = format!("{crash:?} at {at}");
            let reopened = disc.crash(crash);
            let count = check(&reopened, promised.synced, promised.appended, &what);
            // Opened once more, after whatever the first time has mended, which is there for good.
            check(&reopened, count, count, &format!("{what}, again"));
            check(&reopened.crash(Crash::DropUnsynced), count, count, &format!("{what}, and once more"));
        }
    }
}

#[test]
fn whatever_the_disc_forgets_what_was_acknowledged_is_there_and_nothing_in_part() {
    // Aim: the promise of each ack level, through rotation, checkpoint, trimming and a clean stop. Method: see the file's
    // header.
    let disc = MemDisc::new();
    let (promised, error) = run(&disc);
    assert!(error.is_none(), "{error:?}");
    let count = check(&disc.crash(Crash::Kill), promised.written, TRANSACTIONS, "killed at the end");
    assert_eq!(count, promised.written, "what was not written is not there");
    cut_everywhere(Storage::Disc);
}

#[test]
fn tables_on_disc_alone_keep_the_same_promises() {
    // Aim: as above for tables whose rows are read from the image, which is not read at the start: rows of it, of the log's
    // tail and of both at once. Method: as above.
    cut_everywhere(Storage::DISC_ONLY);
}

#[test]
fn a_recovery_that_is_cut_short_is_made_again() {
    // Aim: opening a directory after a crash loses nothing when it is itself cut, and neither does the next one. Method: the
    // run cut by a power cut at every operation; the opening behind it cut at every operation of its own, torn again.
    let mut cuts = 0;
    for at in operations(Storage::Disc) {
        let disc = faulty(at, FaultKind::Cut);
        let (promised, _) = run_and_stop(&disc, Storage::Disc);
        for operation in 0.. {
            let reopened = disc.crash(Crash::Torn(at));
            reopened.set_fault(Some(Fault { at: operation, kind: FaultKind::Cut }));
            drop(Session::open(&reopened));
            if reopened.operations() <= operation {
                break;
            }
            cuts += 1;
            let again = reopened.crash(Crash::Torn(at + operation));
            let what = format!("cut at {at}, and opening it at {operation}");
            check(&again, promised.synced, promised.appended, &what);
        }
    }
    assert!(cuts > 100, "{cuts} openings were cut");
}

#[test]
fn after_a_crash_the_directory_goes_on() {
    // Aim: what recovery leaves can be written to. Method: crash at every operation, run the rest on what is left, crash again.
    for at in operations(Storage::Disc) {
        let disc = faulty(at, FaultKind::Cut);
        let (promised, _) = run_and_stop(&disc, Storage::Disc);
        let disc = disc.crash(Crash::Torn(at));
        let from = check(&disc, promised.synced, TRANSACTIONS, &format!("first crash at {at}"));
        let mut promised = Promised { appended: from, written: from, synced: from };
        let mut session = Session::open(&disc).expect("no fault is planted");
        if session.store.table(T).is_none() {
            session.begin().expect("no fault is planted");
        }
        for n in from + 1..=TRANSACTIONS {
            session.transaction(n, &mut promised).expect("no fault is planted");
        }
        drop(session);
        let disc = disc.crash(Crash::Torn(at + 99));
        check(&disc, promised.synced, TRANSACTIONS, &format!("second crash, the first at {at}"));
    }
}

/// The run on a disc that fails, at every operation and in each way.
fn fail_everywhere(storage: Storage) {
    for at in operations(storage) {
        for kind in [FaultKind::ErrorOnce, FaultKind::ErrorForGood, FaultKind::Full] {
            let disc = faulty(at, kind);
            let (promised, error) = run_and_stop(&disc, storage);
            let what = format!("{kind:?} at {at}");
            match error {
                Some(DiscError::Io { .. } | DiscError::Full { .. } | DiscError::NoSpace { .. }) => {}
                Some(DiscError::Poisoned { .. }) => {}
                Some(DiscError::Corrupt { .. }) => {} // redb says of a file that failed that it cannot be used
                None => {
                    assert_eq!(promised.appended, TRANSACTIONS, "{what}: it did not stop, so it did not fail")
                }
                Some(other) => panic!("{what}: {other}"),
            }
            check(&disc.crash(Crash::Kill), promised.written, promised.appended, &what);
            check(&disc.crash(Crash::DropUnsynced), promised.synced, promised.appended, &what);
        }
    }
}

#[test]
fn a_failing_write_or_sync_stops_everything_and_loses_nothing_acknowledged() {
    // Aim: no second try after a failed sync, a clear error, and a directory that opens again. Method: one failure, failure
    // for good, and a full disc, at every operation of the run, for both ways to keep a table on disc.
    fail_everywhere(Storage::Disc);
    fail_everywhere(Storage::DISC_ONLY);
}

#[test]
fn a_poisoned_log_refuses_everything_after_the_first_failure() {
    // Aim: a sync that failed is never tried again as if nothing was. Method: one failing sync, then all calls.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    session.append(&Record::Aborted { txid: txid(1) }).expect("no fault is planted");
    session.writer.write().expect("no fault is planted");
    disc.set_fault(Some(Fault { at: disc.operations(), kind: FaultKind::ErrorOnce }));
    assert!(matches!(session.writer.sync(), Err(DiscError::Io { .. })));
    disc.set_fault(None);
    assert!(matches!(session.append(&Record::Aborted { txid: txid(2) }), Err(DiscError::Poisoned { .. })));
    assert!(matches!(session.writer.write(), Err(DiscError::Poisoned { .. })));
    assert!(matches!(session.writer.sync(), Err(DiscError::Poisoned { .. })));
    assert!(matches!(session.writer.trim(Position(0)), Err(DiscError::Poisoned { .. })));
}

#[test]
fn a_torn_tail_at_every_byte_ends_the_log_before_it() {
    // Aim: the last record is there whole or not at all. Method: zero the tail from each byte of the last records on.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let mut promised = Promised::default();
    (1..=8).for_each(|n| session.transaction(n, &mut promised).expect("no fault is planted"));
    drop(session);
    let file = "log-000000000001.seg";
    let bytes = disc.bytes(file).expect("no fault is planted");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("no fault is planted") + 1;
    let mut counts = std::collections::BTreeSet::new();
    for at in used - 700..used {
        let torn = disc.crash(Crash::Kill);
        let mut bytes = bytes.clone();
        bytes[at..].fill(0);
        torn.overwrite(file, bytes);
        counts.insert(check(&torn, 0, 8, &format!("torn at {at}")));
    }
    assert!(counts.len() > 2, "{counts:?}");
}

#[test]
fn a_released_transaction_is_in_doubt_no_more_and_has_no_outcome() {
    // Aim: what others settled while this node was away is forgotten here, and nothing of it is said or applied. Method:
    // prepare, release, restart; then checkpoints, which pass it, and restart.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let work =
        Work { writes: vec![Write { table: T, key: key(77), op: Op::Put(row(77, 1)) }], ..Work::default() };
    let (work, participants) = (std::borrow::Cow::Owned(work), Vec::new().into());
    let released = txid(9999);
    for record in [
        Record::Prepared { txid: released, epoch: 3, participants, work },
        Record::Released { txid: released },
    ] {
        session.append(&record).expect("no fault is planted");
    }
    session.writer.write().expect("no fault is planted");
    drop(session);
    let known = |session: &Session| session.outcomes.iter().any(|(txid, _)| *txid == released);
    let mut session = Session::open(&disc).expect("no fault is planted");
    assert!(session.prepared.is_empty() && !known(&session));
    let mut promised = Promised::default();
    (1..=60).for_each(|n| session.transaction(n, &mut promised).expect("no fault is planted"));
    session.writer.write().expect("no fault is planted");
    assert_eq!(session.checkpointer.applied(), session.checkpointer.read_to(), "nothing holds the image up");
    drop(session);
    let session = Session::open(&disc).expect("no fault is planted");
    assert!(session.prepared.is_empty() && !known(&session));
    assert_eq!(held(&session.store), model(60));
}

#[test]
fn a_transaction_in_doubt_outlives_checkpoints_and_restarts() {
    // Aim: the image does not run past a prepare without an outcome. Method: prepare, much else with checkpoints, restart;
    // then the outcome, again with checkpoints, and restart.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let work =
        Work { writes: vec![Write { table: T, key: key(77), op: Op::Put(row(77, 1)) }], ..Work::default() };
    let (work, participants) = (std::borrow::Cow::Owned(work), Vec::new().into());
    session
        .append(&Record::Prepared { txid: txid(9999), epoch: 3, participants, work })
        .expect("no fault is planted");
    let mut promised = Promised::default();
    (1..=60).for_each(|n| session.transaction(n, &mut promised).expect("no fault is planted"));
    session.writer.sync().expect("no fault is planted");
    let (applied, read_to) = (session.checkpointer.applied(), session.checkpointer.read_to());
    assert!(applied < read_to, "the image went on and its position did not: {applied} {read_to}");
    drop(session);
    let mut session = Session::open(&disc).expect("no fault is planted");
    assert_eq!(session.prepared, [txid(9999)]);
    session
        .append(&Record::Committed { txid: txid(9999), ts: Timestamp(5000) })
        .expect("no fault is planted");
    (61..=TRANSACTIONS).for_each(|n| session.transaction(n, &mut promised).expect("no fault is planted"));
    session.writer.write().expect("no fault is planted");
    session.checkpoint().expect("no fault is planted");
    assert!(session.checkpointer.applied() > read_to);
    drop(session);
    let session = Session::open(&disc).expect("no fault is planted");
    assert!(session.prepared.is_empty());
    let mut wanted = model(TRANSACTIONS);
    wanted.insert((T, 77), vec![1]);
    assert_eq!(held(&session.store), wanted);
}

#[test]
fn a_directory_serves_one_at_a_time() {
    // Aim: two processes never write one log. Method: open twice.
    let disc = MemDisc::new();
    let _held = Session::open(&disc).expect("no fault is planted");
    assert!(matches!(Session::open(&disc), Err(DiscError::Locked { .. })));
}

#[test]
fn a_spare_segment_that_is_being_made_does_not_meet_a_rotation() {
    // Aim: the file that a rotation makes for itself is not the one that the spare job works on. Method: the job's file is
    // made, rotations go on without it, and then it is handed over.
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let mut promised = Promised::default();
    let job = session.writer.spare_job().expect("none is ready");
    let spare = job.run().expect("no fault is planted");
    (1..=TRANSACTIONS / 2).for_each(|n| session.transaction(n, &mut promised).expect("it rotates by itself"));
    session.writer.give_spare(spare);
    (TRANSACTIONS / 2 + 1..=TRANSACTIONS)
        .for_each(|n| session.transaction(n, &mut promised).expect("it rotates into the spare"));
    session.writer.close().expect("no fault is planted");
    assert_eq!(check(&disc.crash(Crash::Kill), 0, TRANSACTIONS, "closed"), TRANSACTIONS);
}
