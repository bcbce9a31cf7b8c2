//! A store with a log, driven as a node does it, and a plain map of what it should hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypermnesia_store::disc::{
    self, BootId, Checkpointer, DirectoryId, Disc, DiscError, LockGuard, LogWriter, Opener, Record,
};
use hypermnesia_store::{
    Body, CommittedLocal, Direction, Incarnation, Key, KeyRange, Kind, NodeId, Op, Prepared, Role, Row,
    SchemaVersion, Storage, Store, StoreConfig, Table, TableBuilder, TableCopy, TableDef, TableId, Timestamp,
    TxId, Type, Value, Work, Write, codec, define,
};

pub(crate) const ME: NodeId = NodeId(7);
pub(crate) const T: TableId = TableId(20);
pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;

/// What the table should hold: the rows of each key, in order.
pub(crate) type Model = BTreeMap<i64, Vec<(i64, i64)>>;

/// xorshift: the same on every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

pub(crate) fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

pub(crate) fn row(k: i64, v: i64, filler: usize) -> Row {
    let values = [Value::Int(k), Value::Int(v), Value::Bytes(vec![v as u8; filler])];
    Row::encode(SchemaVersion::FIRST, &values).expect("small")
}

pub(crate) fn put(k: i64, v: i64, filler: usize) -> Write {
    Write { table: T, key: key(k), op: Op::Put(row(k, v, filler)) }
}

fn int(row: &Row, at: usize) -> i64 {
    match row.attribute(at).to_value() {
        Value::Int(n) => n,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn pairs(body: &Body) -> Vec<(i64, i64)> {
    body.rows().iter().map(|row| (int(row, 0), int(row, 1))).collect()
}

/// The table of these tests.
pub(crate) fn builder(kind: Kind) -> TableBuilder {
    let builder = TableDef::builder("large").kind(kind).attribute("k", Type::Int).attribute("v", Type::Int);
    builder.attribute("filler", Type::Bytes)
}

/// On disc alone here, with a cache of this size, which may be below what a definition may ask for.
pub(crate) fn defined(builder: TableBuilder, cache_bytes: u64) -> TableDef {
    let copies = vec![TableCopy { node: ME, storage: Storage::DiscOnly { cache_bytes } }];
    TableDef { id: T, copies, ..builder.build().expect("right") }
}

/// See the file's header.
pub(crate) struct House {
    pub(crate) store: Arc<Store>,
    pub(crate) writer: LogWriter,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) wall_ms: u64,
    sequence: u64,
    _lock: LockGuard,
}

impl House {
    /// Opens a directory at this moment.
    pub(crate) fn open(disc: &Arc<dyn Disc>, wall_ms: u64) -> Result<House, DiscError> {
        House::open_with(disc, wall_ms, SEGMENT_BYTES)
    }

    pub(crate) fn open_with(disc: &Arc<dyn Disc>, wall_ms: u64, segment: u64) -> Result<House, DiscError> {
        let opener = Opener {
            node: ME,
            name: "n7".to_owned(),
            cluster: "disc only".to_owned(),
            fresh: DirectoryId([7; 16]),
            boot: Some(BootId([1; 16])),
        };
        let store = Arc::new(Store::new(StoreConfig { wall_ms }));
        let opened = disc::open(Arc::clone(disc), &store, &opener, segment)?;
        store.clock().advance(wall_ms);
        let house = House {
            store,
            writer: opened.writer,
            checkpointer: opened.checkpointer,
            wall_ms,
            sequence: wall_ms << 20,
            _lock: opened.lock,
        };
        house.append(&Record::Started(Incarnation(wall_ms)));
        Ok(house)
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    pub(crate) fn id(&mut self) -> TxId {
        self.sequence += 1;
        TxId { age: Timestamp(self.sequence), node: ME, sequence: self.sequence }
    }

    pub(crate) fn append(&self, record: &Record<'_>) {
        self.writer.log().append(&[&codec::encode(record)]).expect("the log takes it");
    }

    pub(crate) fn define(&mut self, def: &TableDef) {
        self.commit(vec![define(def)]);
    }

    /// Commits on this node alone, logged as one record.
    pub(crate) fn commit(&mut self, writes: Vec<Write>) -> Timestamp {
        let txid = self.id();
        let work = Arc::new(Work { writes, ..Work::default() });
        let done = self.store.commit_local(&self.store.begin(txid), &work, self.wall_ms);
        let CommittedLocal::Yes(ts, _) = done else { panic!("nothing is in the way: {done:?}") };
        self.append(&Record::Applied { txid, ts, writes: work.writes.as_slice().into() });
        ts
    }

    /// Commits as a participant does, logged as a prepare and an outcome; above its own proposal. The outcome is in the log
    /// before it is in the store, and `between` runs between the two.
    pub(crate) fn commit_prepared(
        &mut self,
        writes: Vec<Write>,
        above: u64,
        between: impl FnOnce(&mut House),
    ) {
        let txid = self.id();
        let txn = self.store.begin(txid);
        let work = Arc::new(Work { writes, ..Work::default() });
        let Prepared::Yes { proposal } = self.store.prepare(&txn, &work, self.wall_ms, Role::Participant)
        else {
            panic!("nothing is in the way")
        };
        let ts = Timestamp(proposal.0 + above);
        let participants = Vec::new().into();
        let logged = std::borrow::Cow::Borrowed(&*work);
        self.append(&Record::Prepared { txid, epoch: 1, participants, work: logged });
        self.append(&Record::Committed { txid, ts });
        between(self);
        let _ = self.store.commit(&txn, ts);
    }

    /// Logs what was committed in the store already.
    pub(crate) fn log_applied(&self, txid: TxId, ts: Timestamp, writes: &[Write]) {
        self.append(&Record::Applied { txid, ts, writes: writes.into() });
    }

    /// Prepares, and aborts.
    pub(crate) fn abort(&mut self, writes: Vec<Write>) {
        let txid = self.id();
        let txn = self.store.begin(txid);
        let work = Arc::new(Work { writes, ..Work::default() });
        let prepared = self.store.prepare(&txn, &work, self.wall_ms, Role::Participant);
        assert!(matches!(prepared, Prepared::Yes { .. }), "{prepared:?}");
        let _ = self.store.abort(&txn);
    }

    /// The table is a copy of these rows now, whatever it had: as a node does it that loads from another one.
    pub(crate) fn copy(&mut self, rows: &[(i64, i64)]) {
        self.store.clear(T).expect("it is there");
        let at = self.store.clock().read();
        let one = |(k, v): &(i64, i64)| (key(*k), at, Some(Body::Row(row(*k, *v, 100))));
        let rows: Vec<_> = rows.iter().map(one).collect();
        for (key, at, body) in &rows {
            self.store.load_row(T, key, *at, body.clone()).expect("nobody holds it");
        }
        self.append(&Record::Loaded { table: T, clear: true, rows: rows.into() });
    }

    /// Under these keys the table holds these rows now, or nothing: as a node does it that gets from another one what differs.
    pub(crate) fn copy_some(&mut self, wanted: Vec<(Key, Option<Body>)>) {
        let (now, mut loaded) = (self.store.clock().read(), Vec::new());
        for (key, body) in wanted {
            let at = match (&body, self.table().newest_stored(&key).expect("the disc is well")) {
                (None, None) => continue,
                (None, Some((_, since))) => self.store.unload_row(T, &key, since).expect("nobody holds it"),
                (Some(body), _) => {
                    self.store.load_row(T, &key, now, Some(body.clone())).expect("nobody holds it");
                    now
                }
            };
            loaded.push((key, at, body));
        }
        self.append(&Record::Loaded { table: T, clear: false, rows: loaded.into() });
    }

    /// Opens the image behind a step that failed.
    pub(crate) fn reopen_image(&mut self) {
        let imaged = self.checkpointer.reopen().expect("the disc is well again");
        self.store.imaged(imaged);
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.wall_ms += ms;
        self.store.clock().advance(self.wall_ms);
        self.store.tidy(usize::MAX);
    }

    pub(crate) fn write(&mut self) {
        self.writer.write().expect("no fault is planted");
    }

    /// Brings the image up to the last closed segment.
    pub(crate) fn checkpoint(&mut self) -> Result<(), DiscError> {
        self.writer.write()?;
        let closed = self.writer.closed();
        for batch in self.checkpointer.batches(&closed, 3 * self.writer.segment_bytes()) {
            let imaged = self.checkpointer.take(&batch)?;
            self.store.imaged(imaged);
        }
        Ok(())
    }

    /// Removes what the image has of the log.
    pub(crate) fn trim(&mut self) {
        self.writer.trim(self.checkpointer.applied()).expect("no fault is planted");
    }

    /// Fills the present segment with nothing, so that all that was committed comes into the image.
    pub(crate) fn bring_all(&mut self) {
        self.fill_segment();
        self.checkpoint().expect("no fault is planted");
        self.trim();
    }

    pub(crate) fn fill_segment(&mut self) {
        let bytes = self.writer.segment_bytes() as usize / 3;
        for _ in 0..4 {
            self.append(&Record::Epoch(vec![0; bytes].into()));
        }
        self.write();
    }

    /// Everything in the table now, by a scan.
    pub(crate) fn held(&self) -> Model {
        let snapshot = self.store.snapshot();
        let found = self.table().cursor(KeyRange::all(), Direction::Forward, snapshot.at());
        let one = |found: Result<(Key, Body, Timestamp), _>| {
            let (key, body, _) = found.expect("settled");
            let Value::Int(k) = key.decode().expect("a key")[0] else { panic!("a number") };
            (k, pairs(&body))
        };
        found.map(one).collect()
    }
}
