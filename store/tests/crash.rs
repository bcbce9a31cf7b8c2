//! Crashes of the log and the image, on a disc that forgets. Method: a seeded run of transactions at all ack levels, with
//! checkpoints and trimming, is cut at every operation of the disc (or an even share of them: all with `HMN_CRASH_ALL=1`),
//! reopened in several ways, and compared with what a plain map held after so many transactions. Every transaction writes a
//! counter, so the reopened directory says itself how many it has: at least all that were acknowledged at a level that
//! survives, each whole.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hypermnesia_store::disc::{
    self, Checkpointer, Crash, Disc, DiscError, Fault, FaultKind, Log, LogWriter, MemDisc, Opened, Position,
    Record,
};
use hypermnesia_store::{
    Ack, Direction, Incarnation, Key, KeyRange, Kind, NodeId, Op, Row, SchemaVersion, Storage, Store,
    StoreConfig, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write, codec, define,
};

const ME: NodeId = NodeId(7);
const T: TableId = TableId(10);
const BAG: TableId = TableId(11);
const RAM: TableId = TableId(12);
const SEGMENT_BYTES: u64 = 4096;
const TRANSACTIONS: u64 = 90;

/// What tables hold: rows by key, each as its number.
type Rows = BTreeMap<(TableId, i64), Vec<i64>>;

fn def(id: TableId, kind: Kind, storage: Storage) -> TableDef {
    let builder = TableDef::builder(format!("t{}", id.0)).kind(kind).attribute("k", Type::Int);
    let builder = builder.attribute("n", Type::Int).attribute("filler", Type::Bytes).index("by_n", ["n"]);
    let mut def = builder.copy(ME, storage).build().expect("no fault is planted");
    def.id = id;
    def
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("no fault is planted")
}

fn row(k: i64, n: i64) -> Row {
    Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(n), Value::Bytes(vec![n as u8; 60])])
        .expect("no fault is planted")
}

fn txid(n: u64) -> TxId {
    TxId { age: Timestamp(n), node: ME, sequence: n }
}

/// A small generator: the same seed, the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The writes of the transaction with this number. Key 0 counts them.
fn writes_of(n: u64) -> Vec<Write> {
    let mut dice = Dice(n);
    let k = 1 + dice.roll(20) as i64;
    let put = |table, k, n| Write { table, key: key(k), op: Op::Put(row(k, n)) };
    let mut writes = vec![put(T, 0, n as i64)];
    match dice.roll(5) {
        0 => writes.push(Write { table: T, key: key(k), op: Op::Delete }),
        1 => writes.push(Write { table: BAG, key: key(k), op: Op::BagAdd(row(k, n as i64 % 4)) }),
        2 => writes.push(Write { table: BAG, key: key(k), op: Op::BagRemove(row(k, n as i64 % 4)) }),
        3 => writes.extend([put(RAM, k, n as i64), put(T, k, n as i64)]),
        _ => writes.extend([put(T, k, n as i64), put(T, k + 20, n as i64)]),
    }
    writes
}

/// What is on disc after so many transactions.
fn model(count: u64) -> Rows {
    let mut rows = Rows::new();
    for n in 1..=count {
        for write in writes_of(n).into_iter().filter(|write| write.table != RAM) {
            let Value::Int(k) = write.key.decode().expect("no fault is planted")[0] else {
                panic!("keys are numbers")
            };
            let number = |row: &Row| row.to_values()[1].clone();
            let held = rows.entry((write.table, k)).or_default();
            match write.op {
                Op::Put(row) => *held = vec![int(&number(&row))],
                Op::Delete => held.clear(),
                Op::BagAdd(row) if held.contains(&int(&number(&row))) => {}
                Op::BagAdd(row) => held.push(int(&number(&row))),
                Op::BagRemove(row) => held.retain(|n| *n != int(&number(&row))),
            }
        }
    }
    rows.retain(|_, held| !held.is_empty());
    rows
}

fn int(value: &Value) -> i64 {
    let Value::Int(n) = value else { panic!("a number") };
    *n
}

/// What a store holds, by walking and by index, which must agree.
fn held(store: &Store) -> Rows {
    let mut rows = Rows::new();
    for id in [T, BAG] {
        let Some(table) = store.table(id) else { continue };
        let (mut by_index, mut walked) = (Vec::new(), Vec::new());
        for item in table.cursor(KeyRange::all(), Direction::Forward, store.clock().read()) {
            let (key, body, _) = item.expect("nothing is pending");
            let numbers: Vec<i64> = body.rows().iter().map(|row| int(&row.to_values()[1])).collect();
            walked.extend(numbers.iter().map(|n| (*n, key.clone())));
            rows.insert((id, int(&key.decode().expect("no fault is planted")[0])), numbers);
        }
        let index = table.def().indexes[0].id;
        for item in table.index_cursor(index, KeyRange::all(), Direction::Forward, store.clock().read()) {
            let (key, body, _) = item.expect("nothing is pending");
            by_index.extend(body.rows().iter().map(|row| (int(&row.to_values()[1]), key.clone())));
        }
        walked.sort();
        by_index.sort();
        by_index.dedup();
        assert_eq!(walked, by_index, "the index of {id} says what the rows say");
    }
    rows
}

/// A directory in use.
struct Session {
    store: Store,
    log: Log,
    writer: LogWriter,
    checkpointer: Checkpointer,
    prepared: Vec<TxId>,
    _lock: disc::LockGuard,
}

/// What was promised, by what it survives.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    appended: u64,
    written: u64,
    synced: u64,
}

impl Session {
    fn open(disc: &MemDisc) -> Result<Session, DiscError> {
        let store = Store::new(StoreConfig { wall_ms: 1 });
        let Opened { writer, checkpointer, replayed, lock } =
            disc::open(Arc::new(disc.clone()), &store, ME, SEGMENT_BYTES)?;
        let prepared = replayed.prepared.iter().map(|(txid, ..)| *txid).collect();
        Ok(Session { store, log: writer.log(), writer, checkpointer, prepared, _lock: lock })
    }

    fn append(&self, record: &Record<'_>) -> Result<Position, DiscError> {
        self.log.append(&[&codec::encode(record)])
    }

    fn begin(&mut self) -> Result<(), DiscError> {
        self.append(&Record::Started(Incarnation(1)))?;
        let tables = [def(T, Kind::OrderedSet, Storage::Disc), def(BAG, Kind::Bag, Storage::Disc)];
        let defs = tables.iter().chain([&def(RAM, Kind::Set, Storage::Ram)]).map(define).collect::<Vec<_>>();
        self.append(&Record::Applied { txid: txid(1000), ts: Timestamp(1), writes: defs.into() })?;
        self.writer.write()?;
        self.writer.sync()?;
        Ok(())
    }

    /// One transaction at the level that its number says; some as a prepare and an outcome with an aborted one between.
    fn transaction(&mut self, n: u64, promised: &mut Promised) -> Result<(), DiscError> {
        let (writes, ts) = (writes_of(n), Timestamp(1000 + n));
        if n.is_multiple_of(3) {
            let prepared = |n, writes| Record::Prepared {
                txid: txid(n),
                epoch: 1,
                participants: Vec::new().into(),
                work: std::borrow::Cow::Owned(Work { writes, ..Work::default() }),
            };
            self.append(&prepared(n, writes))?;
            self.append(&prepared(n + 5000, writes_of(n + 1)))?;
            self.append(&Record::Aborted { txid: txid(n + 5000) })?;
            self.append(&Record::Committed { txid: txid(n), ts })?;
        } else {
            self.append(&Record::Applied { txid: txid(n), ts, writes: writes.into() })?;
        }
        promised.appended = n;
        match [Ack::Memory, Ack::Logged, Ack::Synced][n as usize % 3] {
            Ack::Memory => return Ok(()),
            Ack::Logged => {
                self.writer.write()?;
            }
            Ack::Synced => {
                self.writer.write()?;
                self.writer.sync()?;
                promised.synced = n;
            }
        }
        promised.written = n;
        if n.is_multiple_of(25) { self.checkpoint() } else { Ok(()) }
    }

    fn checkpoint(&mut self) -> Result<(), DiscError> {
        let read_to = self.checkpointer.read_to();
        let closed = self.writer.closed().into_iter().filter(|(_, end)| *end > read_to);
        let indexes: Vec<u64> = closed.map(|(index, _)| index).collect();
        for two in indexes.chunks(2) {
            self.checkpointer.take(two)?;
        }
        self.writer.trim(self.checkpointer.applied())?;
        Ok(())
    }
}

/// The whole run, as far as the disc lets it.
fn run(disc: &MemDisc) -> (Promised, Option<DiscError>) {
    let mut promised = Promised::default();
    let mut all = || {
        let mut session = Session::open(disc)?;
        session.begin()?;
        (1..=TRANSACTIONS).try_for_each(|n| session.transaction(n, &mut promised))
    };
    let error = all().err();
    (promised, error)
}

/// Reopens, and compares with what so many transactions make.
fn check(disc: &MemDisc, least: u64, most: u64, what: &str) -> u64 {
    let session = Session::open(disc).unwrap_or_else(|error| panic!("{what}: {error}"));
    let held = held(&session.store);
    let count = held.get(&(T, 0)).map_or(0, |numbers| numbers[0]) as u64;
    assert!(
        (least..=most).contains(&count),
        "{what}: {count} transactions are there, {least} to {most} should be"
    );
    assert_eq!(held, model(count), "{what}: after {count} transactions");
    assert!(
        session.store.table(RAM).is_none_or(|table| table.is_empty()),
        "{what}: tables in memory are empty"
    );
    count
}

/// Which operations to cut at: all, or an even share of them.
fn places(operations: u64, share: u64) -> impl Iterator<Item = u64> {
    let step = if std::env::var_os("HMN_CRASH_ALL").is_some() { 1 } else { operations.div_ceil(share) };
    (0..operations).step_by(step as usize)
}

#[test]
fn whatever_the_disc_forgets_what_was_acknowledged_is_there_and_nothing_in_part() {
    // Aim: the promise of each ack level, through rotation, checkpoint and trimming. Method: see the file's header.
    let whole = MemDisc::new();
    let (promised, error) = run(&whole);
    assert!(error.is_none(), "{error:?}");
    assert!(
        whole.bytes("image.redb").is_some() && whole.bytes("log-000000000001.seg").is_none(),
        "it was trimmed"
    );
    assert_eq!(
        check(&whole.crash(Crash::Kill), promised.written, TRANSACTIONS, "no crash"),
        promised.written
    );
    for at in places(whole.operations(), 150) {
        let disc = MemDisc::new();
        disc.set_fault(Some(Fault { at, kind: FaultKind::Cut }));
        let (promised, _) = run(&disc);
        check(&disc.crash(Crash::Kill), promised.written, promised.appended, &format!("killed at {at}"));
        for crash in [Crash::DropUnsynced, Crash::KeepUnsynced, Crash::Torn(at), Crash::Torn(at + 1_000_000)]
        {
            let what = format!("{crash:?} at {at}");
            let reopened = disc.crash(crash);
            let count = check(&reopened, promised.synced, promised.appended, &what);
            // Opened once more, after whatever the first time has mended.
            check(&reopened, count, count, &format!("{what}, again"));
        }
    }
}

#[test]
fn after_a_crash_the_directory_goes_on() {
    // Aim: what recovery leaves can be written to. Method: crash in the middle, run the rest on what is left, crash again.
    for seed in 0..20 {
        let disc = MemDisc::new();
        disc.set_fault(Some(Fault { at: 100 + seed * 37, kind: FaultKind::Cut }));
        run(&disc);
        let disc = disc.crash(Crash::Torn(seed));
        let from = check(&disc, 0, TRANSACTIONS, "first crash");
        let mut promised = Promised { appended: from, written: from, synced: from };
        let mut session = Session::open(&disc).expect("no fault is planted");
        if session.store.table(T).is_none() {
            session.begin().expect("no fault is planted");
        }
        for n in from + 1..=TRANSACTIONS {
            session.transaction(n, &mut promised).expect("no fault is planted");
        }
        drop(session);
        check(
            &disc.crash(Crash::Torn(seed + 99)),
            promised.synced,
            TRANSACTIONS,
            &format!("second crash, {seed}"),
        );
    }
}

#[test]
fn a_failing_write_or_sync_stops_everything_and_loses_nothing_acknowledged() {
    // Aim: no second try after a failed sync, a clear error, and a directory that opens again. Method: one failure, failure
    // for good, and a full disc, at operations all over the run.
    let whole = MemDisc::new();
    run(&whole);
    for at in places(whole.operations(), 60) {
        for kind in [FaultKind::ErrorOnce, FaultKind::ErrorForGood, FaultKind::Full] {
            let disc = MemDisc::new();
            disc.set_fault(Some(Fault { at, kind }));
            let (promised, error) = run(&disc);
            let what = format!("{kind:?} at {at}");
            match error {
                Some(DiscError::Io { .. } | DiscError::Full { .. } | DiscError::Poisoned { .. }) => {}
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

/// A directory that was stopped cleanly, with an image and two log segments.
fn stopped() -> MemDisc {
    let disc = MemDisc::new();
    let mut session = Session::open(&disc).expect("no fault is planted");
    session.begin().expect("no fault is planted");
    let mut promised = Promised::default();
    (1..=TRANSACTIONS).try_for_each(|n| session.transaction(n, &mut promised)).expect("no fault is planted");
    session.writer.close().expect("no fault is planted");
    disc.crash(Crash::Kill)
}

/// What a changed directory does: it opens and holds everything, or it is refused and the file is named.
fn all_or_named(disc: &MemDisc, file: &str, what: &str) -> bool {
    match catch_unwind(AssertUnwindSafe(|| Session::open(disc))) {
        Err(_) => panic!("{what}: a panic"),
        Ok(Ok(session)) => {
            assert_eq!(held(&session.store), model(TRANSACTIONS), "{what}: served although it was changed");
            false
        }
        Ok(Err(error)) => {
            assert!(error.is_corruption(), "{what}: {error}");
            assert!(
                error.to_string().contains(file.split('-').next().expect("no fault is planted")),
                "{what}: {error} names no file"
            );
            true
        }
    }
}

#[test]
fn flipped_bytes_and_cut_files_are_named_and_never_served() {
    // Aim: no damage is served, none panics. Method: flip bytes at even steps through every file, and cut files.
    let disc = stopped();
    let mut noticed = BTreeMap::new();
    for file in disc.list().expect("no fault is planted") {
        let bytes = disc.bytes(&file).expect("no fault is planted");
        let steps = if file.ends_with(".seg") { 300 } else { 400 };
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(steps).max(1)) {
            let changed = disc.crash(Crash::Kill);
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            changed.overwrite(&file, bytes);
            let found = all_or_named(&changed, &file, &format!("{file} flipped at {at}"));
            *noticed.entry(file.clone()).or_insert(0) += u32::from(found);
        }
        for length in [0, 1, 63, 64, bytes.len() / 2, bytes.len() - 1] {
            let changed = disc.crash(Crash::Kill);
            changed.overwrite(&file, bytes[..length.min(bytes.len())].to_vec());
            all_or_named(&changed, &file, &format!("{file} cut to {length}"));
        }
    }
    assert!(noticed.len() >= 2 && noticed.values().all(|found| *found > 3), "{noticed:?}");
}

#[test]
fn a_missing_file_is_named() {
    // Aim: half a directory is refused. Method: take away the image, and each segment but the newest, without which a log
    // cannot be told from one that ended there.
    let disc = stopped();
    let files = disc.list().expect("no fault is planted");
    assert!(files.len() > 2, "{files:?}");
    for file in &files[..files.len() - 1] {
        let changed = disc.crash(Crash::Kill);
        changed.remove(file).expect("no fault is planted");
        assert!(all_or_named(&changed, file, &format!("without {file}")), "without {file}");
    }
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
    let spare = job.run();
    (1..=TRANSACTIONS / 2).for_each(|n| session.transaction(n, &mut promised).expect("it rotates by itself"));
    session.writer.give_spare(spare).expect("it is whole");
    (TRANSACTIONS / 2 + 1..=TRANSACTIONS)
        .for_each(|n| session.transaction(n, &mut promised).expect("it rotates into the spare"));
    session.writer.close().expect("no fault is planted");
    assert_eq!(check(&disc.crash(Crash::Kill), 0, TRANSACTIONS, "closed"), TRANSACTIONS);
}
