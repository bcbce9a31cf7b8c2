//! A writer keeps no reader waiting but those of the very keys whose outcome is open.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use hypermnesia_store::{
    Blocked, Body, CommittedLocal, Direction, Key, KeyRange, Kind, LockMode, Locked, NodeId, Op, Prepared,
    Role, Snapshot, Store, StoreConfig, Table, TableDef, TableId, Timestamp, TxId, Txn, Type, Work, Write,
    define,
};

#[path = "shared/numbers.rs"]
mod numbers;

use numbers::{int, key, row};

const WALL: u64 = 1_000_000;
const A: TableId = TableId(10);
const B: TableId = TableId(11);
/// Keys of each table. The writer writes those below `WRITTEN`, and as many that are new.
const KEYS: i64 = 400;
const WRITTEN: i64 = 200;
/// Longer than any machine takes for a few hundred reads.
const LONG: Duration = Duration::from_secs(20);

/// What the writer has when it stops in the middle.
#[derive(Clone, Copy, Debug)]
enum Holds {
    Prepared,
    TableLock,
    Both,
}

fn begin(store: &Store, sequence: u64) -> Arc<Txn> {
    store.begin(TxId { age: Timestamp(sequence), node: NodeId(1), sequence })
}

fn commit(store: &Store, sequence: u64, writes: Vec<Write>) {
    let work = Arc::new(Work { writes, ..Work::default() });
    let done = store.commit_local(&begin(store, sequence), &work, WALL);
    assert!(matches!(done, CommittedLocal::Yes(..)), "nobody is in the way");
}

fn put(table: TableId, k: i64, v: i64) -> Write {
    Write { table, key: key(k), op: Op::Put(row(k, v)) }
}

/// Two tables of the same rows.
fn filled(kind: Kind) -> Store {
    let store = Store::new(StoreConfig { wall_ms: WALL });
    let def = |id: TableId| {
        let def = TableDef::builder(format!("t{}", id.0)).kind(kind).attribute("k", Type::Int);
        let mut def = def.attribute("v", Type::Int).index("by_v", ["v"]).build().expect("good");
        def.id = id;
        define(&def)
    };
    commit(&store, 1, vec![def(A), def(B)]);
    commit(&store, 2, (0..KEYS).flat_map(|k| [put(A, k, k % 7), put(B, k, k % 7)]).collect());
    store
}

/// The writer as far as it gets, undecided.
fn stopped_writer(store: &Store, holds: Holds) -> Arc<Txn> {
    let txn = begin(store, 3);
    if matches!(holds, Holds::TableLock | Holds::Both) {
        assert_eq!(store.lock_table(&txn, A, LockMode::Write, Waker::noop()), Locked::Granted);
    }
    if matches!(holds, Holds::Prepared | Holds::Both) {
        let changed = (0..WRITTEN).map(|k| match k % 3 {
            0 => Write { table: A, key: key(k), op: Op::Delete },
            _ => put(A, k, 100),
        });
        let writes = changed.chain((KEYS..KEYS + WRITTEN).map(|k| put(A, k, 100))).collect();
        let work = Arc::new(Work { writes, ..Work::default() });
        assert!(matches!(store.prepare(&txn, &work, WALL, Role::Participant), Prepared::Yes { .. }));
    }
    txn
}

/// A key, as its number, and its value, in any order.
fn sorted(found: impl Iterator<Item = Result<(Key, Body, Timestamp), Blocked>>) -> Vec<(Key, i64)> {
    let mut rows: Vec<_> =
        found.map(|found| found.expect("nothing is open here")).map(|(k, body, _)| (k, int(&body))).collect();
    rows.sort();
    rows
}

/// Every way to read some keys, at the snapshot and newest.
fn read_keys(table: &Arc<Table>, keys: impl Iterator<Item = i64>, at: Timestamp) {
    for k in keys {
        let value = |body: &Body, _: Timestamp| int(body);
        let found = match table.glance(&key(k), value) {
            Ok(found) => found,
            Err(look) => table.latest_with(&key(k), look).expect("it is settled"),
        };
        let newest = table.latest(&key(k)).expect("it is settled");
        let then = table.read(&key(k), at).expect("it is settled");
        let values = [found, newest.map(|(body, _)| int(&body)), then.map(|(body, _)| int(&body))];
        assert_eq!(values, [Some(k % 7); 3], "key {k}");
    }
}

/// Every way to read a whole table at a snapshot.
fn read_all(table: &Arc<Table>, at: Timestamp) {
    let wanted: Vec<_> = (0..KEYS).map(|k| (key(k), k % 7)).collect();
    let index = table.def().indexes[0].id;
    for direction in [Direction::Forward, Direction::Backward] {
        assert_eq!(sorted(table.cursor(KeyRange::all(), direction, at)), wanted);
        assert_eq!(sorted(table.index_cursor(index, KeyRange::all(), direction, at)), wanted);
    }
    assert!(table.next(&key(WRITTEN), at).expect("it is settled").is_some());
    assert_eq!(table.len(), KEYS as u64);
}

/// All that must not wait, and one look at what must.
fn read(store: &Store, before: &Snapshot, holds: Holds) {
    let [a, b] = [A, B].map(|id| store.table(id).expect("created"));
    let now = store.snapshot();
    read_keys(&b, 0..KEYS, now.at());
    read_all(&b, now.at());
    read_keys(&a, WRITTEN..KEYS, now.at());
    read_all(&a, before.at());
    match holds {
        Holds::TableLock => {
            read_keys(&a, 0..WRITTEN, now.at());
            read_all(&a, now.at());
        }
        Holds::Prepared | Holds::Both => {
            let open = a.read(&key(1), now.at());
            assert!(matches!(open, Err(Blocked::Pending(_))), "it is undecided: {open:?}");
        }
    }
}

#[test]
fn a_writer_of_one_table_blocks_no_reader_of_any() {
    // Aim: while a transaction that wrote half of a table, or locked all of it, is undecided, whoever reads another table,
    // other keys of this one, or what was there before comes through. Method: a writer that stops in the middle, for each
    // kind, and a thread that reads all of that and says so; it fails by the thread's silence.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        for holds in [Holds::Prepared, Holds::TableLock, Holds::Both] {
            let store = Arc::new(filled(kind));
            let before = store.snapshot();
            let writer = stopped_writer(&store, holds);
            let (say, heard) = sync_channel(1);
            let reader = thread::spawn({
                let store = store.clone();
                move || {
                    read(&store, &before, holds);
                    say.send(()).expect("the writer waits to hear it");
                }
            });
            let told = heard.recv_timeout(LONG);
            assert!(told.is_ok(), "{kind:?}, {holds:?}: the reader has not come through: {told:?}");
            reader.join().expect("it said so");
            drop(store.abort(&writer));
            assert_eq!(store.lock_counts(), (0, 0));
            read_all(&store.table(A).expect("created"), store.snapshot().at());
        }
    }
}
