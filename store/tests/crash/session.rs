//! The run that is cut, a plain map that says what it should leave, and a directory in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypermnesia_store::disc::{
    self, BootId, Checkpointer, DirectoryId, DiscError, Log, LogWriter, MemDisc, Opened, Opener, Position,
    Record, Warning,
};
use hypermnesia_store::{
    Ack, Direction, Incarnation, Key, KeyRange, Kind, NodeId, Op, Row, SchemaVersion, Storage, Store,
    StoreConfig, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write, codec, define,
};

pub(crate) const ME: NodeId = NodeId(7);
pub(crate) const T: TableId = TableId(10);
pub(crate) const BAG: TableId = TableId(11);
pub(crate) const RAM: TableId = TableId(12);
pub(crate) const SEGMENT_BYTES: u64 = 4096;
pub(crate) const TRANSACTIONS: u64 = 90;

/// What tables hold: rows by key, each as its number.
pub(crate) type Rows = BTreeMap<(TableId, i64), Vec<i64>>;

pub(crate) fn def(id: TableId, kind: Kind, storage: Storage) -> TableDef {
    let builder = TableDef::builder(format!("t{}", id.0)).kind(kind).attribute("k", Type::Int);
    let builder = builder.attribute("n", Type::Int).attribute("filler", Type::Bytes).index("by_n", ["n"]);
    let mut def = builder.copy(ME, storage).build().expect("no fault is planted");
    def.id = id;
    def
}

pub(crate) fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("no fault is planted")
}

pub(crate) fn row(k: i64, n: i64) -> Row {
    Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(n), Value::Bytes(vec![n as u8; 60])])
        .expect("no fault is planted")
}

pub(crate) fn txid(n: u64) -> TxId {
    TxId { age: Timestamp(n), node: ME, sequence: n }
}

/// A small generator: the same seed, the same run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The writes of the transaction with this number. Key 0 counts them.
pub(crate) fn writes_of(n: u64) -> Vec<Write> {
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
pub(crate) fn model(count: u64) -> Rows {
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
                Op::BagAdd(row) | Op::BagAppend(row) => held.push(int(&number(&row))),
                Op::BagRemove(row) => held.retain(|n| *n != int(&number(&row))),
                Op::Expire(_) => unreachable!("no row here has a deadline"),
            }
        }
    }
    rows.retain(|_, held| !held.is_empty());
    rows
}

pub(crate) fn int(value: &Value) -> i64 {
    let Value::Int(n) = value else { panic!("a number") };
    *n
}

/// What a store holds, by walking and by index, which must agree.
pub(crate) fn held(store: &Store) -> Rows {
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

/// The node these directories belong to, in this boot of its machine.
pub(crate) fn opener(boot: Option<u64>) -> Opener {
    Opener {
        node: ME,
        name: "n7".to_owned(),
        cluster: "crash".to_owned(),
        fresh: DirectoryId([7; 16]),
        boot: boot.map(|boot| BootId([boot as u8; 16])),
    }
}

/// A directory in use.
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) writer: LogWriter,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) prepared: Vec<TxId>,
    pub(crate) outcomes: Vec<(TxId, Option<Timestamp>)>,
    pub(crate) warnings: Vec<Warning>,
    _lock: disc::LockGuard,
}

/// What was promised, by what it survives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promised {
    pub(crate) appended: u64,
    pub(crate) written: u64,
    pub(crate) synced: u64,
}

impl Session {
    pub(crate) fn open(disc: &MemDisc) -> Result<Session, DiscError> {
        Session::open_as(disc, &opener(Some(disc.boots())))
    }

    pub(crate) fn open_as(disc: &MemDisc, opener: &Opener) -> Result<Session, DiscError> {
        let store = Store::new(StoreConfig { wall_ms: 1 });
        let Opened { writer, checkpointer, replayed, lock, warnings } =
            disc::open(Arc::new(disc.clone()), &store, opener, SEGMENT_BYTES)?;
        let prepared = replayed.prepared.iter().map(|(txid, ..)| *txid).collect();
        let outcomes = replayed.outcomes;
        Ok(Session {
            store,
            log: writer.log(),
            writer,
            checkpointer,
            prepared,
            outcomes,
            warnings,
            _lock: lock,
        })
    }

    pub(crate) fn append(&self, record: &Record<'_>) -> Result<Position, DiscError> {
        self.log.append(&[&codec::encode(record)])
    }

    pub(crate) fn begin(&mut self) -> Result<(), DiscError> {
        self.begin_on(Storage::Disc)
    }

    /// Begins with tables that are kept so.
    pub(crate) fn begin_on(&mut self, storage: Storage) -> Result<(), DiscError> {
        self.append(&Record::Started(Incarnation(1)))?;
        let tables = [def(T, Kind::OrderedSet, storage), def(BAG, Kind::Bag, storage)];
        let defs = tables.iter().chain([&def(RAM, Kind::Set, Storage::Ram)]).map(define).collect::<Vec<_>>();
        self.append(&Record::Applied { txid: txid(1000), ts: Timestamp(1), writes: defs.into() })?;
        self.writer.write()?;
        self.writer.sync()?;
        Ok(())
    }

    /// One transaction at the level that its number says; some as a prepare and an outcome with an aborted one between.
    pub(crate) fn transaction(&mut self, n: u64, promised: &mut Promised) -> Result<(), DiscError> {
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

    /// One transaction in one record, written and not synced.
    pub(crate) fn logged(&mut self, n: u64) -> Result<Position, DiscError> {
        let writes = writes_of(n).into();
        self.append(&Record::Applied { txid: txid(n), ts: Timestamp(1000 + n), writes })?;
        self.writer.write()
    }

    /// A clean stop, as a node makes one.
    pub(crate) fn stop(mut self) -> Result<(), DiscError> {
        self.checkpoint()?;
        self.checkpointer.close();
        self.writer.close()
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), DiscError> {
        let closed = self.writer.closed();
        for two in self.checkpointer.batches(&closed, 2 * SEGMENT_BYTES) {
            let imaged = self.checkpointer.take(&two)?;
            self.store.imaged(imaged);
        }
        self.writer.trim(self.checkpointer.applied())?;
        Ok(())
    }
}

/// The whole run, as far as the disc lets it; the process is killed at its end.
pub(crate) fn run(disc: &MemDisc) -> (Promised, Option<DiscError>) {
    let mut promised = Promised::default();
    let error = begun_and_run(disc, Storage::Disc, &mut promised).err();
    (promised, error)
}

/// The same with tables that are kept so, and a clean stop.
pub(crate) fn run_and_stop(disc: &MemDisc, storage: Storage) -> (Promised, Option<DiscError>) {
    let mut promised = Promised::default();
    let stopped = begun_and_run(disc, storage, &mut promised).and_then(|session| session.stop());
    if stopped.is_ok() {
        promised.synced = TRANSACTIONS;
    }
    (promised, stopped.err())
}

fn begun_and_run(disc: &MemDisc, storage: Storage, promised: &mut Promised) -> Result<Session, DiscError> {
    let mut session = Session::open(disc)?;
    session.begin_on(storage)?;
    (1..=TRANSACTIONS).try_for_each(|n| session.transaction(n, promised))?;
    Ok(session)
}

/// Reopens, and compares with what so many transactions make.
pub(crate) fn check(disc: &MemDisc, least: u64, most: u64, what: &str) -> u64 {
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
