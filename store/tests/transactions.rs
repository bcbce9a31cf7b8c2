//! Transactions on one store, step by step: what each answer is, and that nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use hypermnesia_store::{
    Blocked, Body, CommittedLocal, Conflict, Direction, Key, KeyRange, Kind, LeafCount, LockMode, Locked,
    NodeId, Op, Prepared, RangeNote, ReadNote, Role, SchemaVersion, Status, Store, StoreConfig, Table,
    TableDef, TableId, Timestamp, TxId, Txn, Type, Value, Work, Write, define, undefine,
};

const WALL: u64 = 1_000_000;
const T: TableId = TableId(10);

struct Bench {
    store: Store,
    sequence: AtomicU64,
}

impl Bench {
    fn new(kind: Kind) -> Bench {
        let bench = Bench { store: Store::new(StoreConfig { wall_ms: WALL }), sequence: AtomicU64::new(1) };
        bench.run(vec![define(&def(kind))]);
        bench
    }

    fn begin(&self) -> Arc<Txn> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        self.store.begin(TxId { age: Timestamp(sequence), node: NodeId(1), sequence })
    }

    fn run(&self, writes: Vec<Write>) -> Timestamp {
        self.run_work(Work { writes, ..Work::default() }).expect("nothing is in the way")
    }

    fn run_work(&self, work: Work) -> Result<Timestamp, Conflict> {
        match self.store.commit_local(&self.begin(), &Arc::new(work), WALL) {
            CommittedLocal::Yes(at, freed) => {
                assert!(freed.ready.is_empty());
                Ok(at)
            }
            CommittedLocal::Refused(conflict, _) => Err(conflict),
            CommittedLocal::Parked => panic!("nobody is in the way"),
        }
    }

    fn prepare(&self, txn: &Arc<Txn>, work: Work) -> Prepared {
        self.store.prepare(txn, &Arc::new(work), WALL, Role::Participant)
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("it was created")
    }
}

fn def(kind: Kind) -> TableDef {
    let mut def = TableDef::builder("t")
        .kind(kind)
        .attribute("k", Type::Int)
        .attribute("v", Type::Int)
        .index("by_v", ["v"])
        .build()
        .expect("a good definition");
    def.id = T;
    def
}

fn row(k: i64, v: i64) -> hypermnesia_store::Row {
    hypermnesia_store::Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small")
}

fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

fn put(k: i64, v: i64) -> Write {
    Write { table: T, key: key(k), op: Op::Put(row(k, v)) }
}

fn delete(k: i64) -> Write {
    Write { table: T, key: key(k), op: Op::Delete }
}

fn writes(writes: Vec<Write>) -> Work {
    Work { writes, ..Work::default() }
}

fn value(body: Option<(Body, Timestamp)>) -> Option<i64> {
    let (body, _) = body?;
    match body.rows()[0].attribute(1).to_value() {
        Value::Int(v) => Some(v),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_is_seen_at_and_above_its_timestamp_only() {
    // Aim: snapshots. Method: one snapshot on each side of a change and of a deletion, all read at the end.
    let bench = Bench::new(Kind::Set);
    let table = bench.table();
    let before = bench.store.snapshot();
    bench.run(vec![put(1, 10)]);
    let first = bench.store.snapshot();
    bench.run(vec![put(1, 11)]);
    let second = bench.store.snapshot();
    bench.run(vec![delete(1)]);
    let third = bench.store.snapshot();
    for (snapshot, wanted) in [(&before, None), (&first, Some(10)), (&second, Some(11)), (&third, None)] {
        assert_eq!(value(table.read(&key(1), snapshot.at()).expect("nothing pending")), wanted);
    }
    assert_eq!(value(table.latest(&key(1)).expect("nothing pending")), None);
    assert_eq!((table.len(), table.bytes()), (0, 0));
    assert_eq!(bench.store.lock_counts(), (0, 0));
}

#[test]
fn a_mark_blocks_snapshots_from_its_proposal_on_and_no_other() {
    // Aim: readers wait only where the outcome matters, and an outcome above the snapshot raises it (wrong text 1).
    let bench = Bench::new(Kind::OrderedSet);
    let table = bench.table();
    bench.run(vec![put(1, 1)]);
    let below = bench.store.snapshot();
    let txn = bench.begin();
    let Prepared::Yes { proposal } = bench.prepare(&txn, writes(vec![put(1, 2)])) else { panic!("free") };
    let above = bench.store.snapshot();
    assert!(below.at() < proposal && proposal <= above.at());
    assert_eq!(value(table.read(&key(1), below.at()).expect("below")), Some(1));
    let Err(Blocked::Pending(met)) = table.read(&key(1), above.at()) else { panic!("must wait") };
    assert_eq!(met.id, txn.id);
    assert!(matches!(bench.store.settled(above.at()), Err(Blocked::Pending(_))));
    let late = Timestamp(above.at().0 + 100);
    let _ = bench.store.commit(&txn, late);
    assert_eq!(txn.status.get(), Status::Committed(late));
    assert!(matches!(table.read(&key(1), above.at()), Err(Blocked::Raise(to)) if to == late));
    assert!(matches!(bench.store.settled(above.at()), Err(Blocked::Raise(to)) if to == late));
    assert_eq!(value(table.read(&key(1), below.at()).expect("below")), Some(1));
    assert_eq!(value(table.latest(&key(1)).expect("decided")), Some(2));
    assert!(bench.store.clock().read() >= late, "a commit moves the clock");
    assert!(bench.store.commit(&txn, late).ready.is_empty(), "idempotent");
}

#[test]
fn an_abort_leaves_nothing() {
    // Aim: no key, index entry, count or lock stays. Method: insert, change and delete, then abort, then look everywhere.
    let bench = Bench::new(Kind::OrderedSet);
    let table = bench.table();
    bench.run(vec![put(1, 1), put(2, 2)]);
    let txn = bench.begin();
    let all = writes(vec![put(1, 7), delete(2), put(3, 3)]);
    assert!(matches!(bench.prepare(&txn, all), Prepared::Yes { .. }));
    let _ = bench.store.abort(&txn);
    let _ = bench.store.abort(&txn);
    let snapshot = bench.store.snapshot();
    let rows: Vec<_> =
        table.cursor(KeyRange::all(), Direction::Forward, snapshot.at()).map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|(k, ..)| k.clone()).collect::<Vec<_>>(), [key(1), key(2)]);
    assert_eq!(value(table.newest(&key(1)).expect("in memory")), Some(1));
    assert_eq!(table.len(), 2);
    assert_eq!(bench.store.lock_counts(), (0, 0));
}

#[test]
fn what_was_read_must_be_the_newest() {
    // Aim: lost updates, write skew on keys and on an absent key are refused. Method: stale and fresh notes.
    let bench = Bench::new(Kind::Set);
    let seen = bench.run(vec![put(1, 1)]);
    let note = |k, version| ReadNote { table: T, key: key(k), version };
    let fresh = Work { reads: vec![note(1, seen), note(2, Timestamp::NEVER)], ..writes(vec![put(3, 1)]) };
    assert!(bench.run_work(fresh.clone()).is_ok());
    bench.run(vec![put(1, 2)]);
    assert_eq!(bench.run_work(fresh), Err(Conflict::Read { table: T, key: key(1) }));
    bench.run(vec![put(2, 1)]);
    let absent = Work { reads: vec![note(2, Timestamp::NEVER)], ..writes(vec![put(3, 1)]) };
    assert_eq!(bench.run_work(absent), Err(Conflict::Read { table: T, key: key(2) }));
    // Skew: each reads what the other writes; the second to prepare meets the first one's locks.
    let (a, b) = (bench.begin(), bench.begin());
    let seen = |k| bench.table().newest(&key(k)).expect("in memory").expect("there").1;
    let skew = |read, write| Work { reads: vec![note(read, seen(read))], ..writes(vec![put(write, 9)]) };
    assert!(matches!(bench.prepare(&a, skew(1, 2)), Prepared::Yes { .. }));
    assert!(matches!(bench.prepare(&b, skew(2, 1)), Prepared::Refused(Conflict::Locked { .. })));
    let _ = bench.store.abort(&b);
    let _ = bench.store.abort(&a);
    assert_eq!(bench.store.lock_counts(), (0, 0));
}

fn range(snapshot: Timestamp, index: Option<hypermnesia_store::IndexId>, from: i64, to: i64) -> RangeNote {
    let range = KeyRange { start: std::ops::Bound::Included(key(from)), end: KeyRange::prefix(&key(to)).end };
    RangeNote { table: T, index, range, snapshot }
}

#[test]
fn phantoms_are_refused_both_ways_and_through_an_index() {
    // Aim: a range read and a write into it never both prepare. Method: each order, over keys, index entries, deletions
    // and rows that move out of the range; and the same beside the range, which must pass.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let by_v = Some(def(kind).indexes[0].id);
        for (index, inside, outside) in [(None, put(5, 50), put(90, 5)), (by_v, put(70, 5), put(70, 50))] {
            let bench = Bench::new(kind);
            let snapshot = bench.store.snapshot().at();
            let reader = Work { ranges: vec![range(snapshot, index, 1, 9)], ..writes(vec![put(200, 200)]) };
            for (write, fits) in [(&inside, false), (&outside, true)] {
                let (a, b) = (bench.begin(), bench.begin());
                assert!(matches!(bench.prepare(&a, reader.clone()), Prepared::Yes { .. }));
                assert_eq!(
                    matches!(bench.prepare(&b, writes(vec![write.clone()])), Prepared::Yes { .. }),
                    fits
                );
                let _ = bench.store.abort(&a);
                let _ = bench.store.abort(&b);
                let (a, b) = (bench.begin(), bench.begin());
                assert!(matches!(bench.prepare(&b, writes(vec![write.clone()])), Prepared::Yes { .. }));
                assert_eq!(matches!(bench.prepare(&a, reader.clone()), Prepared::Yes { .. }), fits);
                let _ = bench.store.abort(&a);
                let _ = bench.store.abort(&b);
            }
            bench.run(vec![inside.clone()]);
            assert_eq!(bench.run_work(reader.clone()), Err(Conflict::Range { table: T }), "newer inside");
            let snapshot = bench.store.snapshot().at();
            let again = Work { ranges: vec![range(snapshot, index, 1, 9)], ..writes(vec![put(200, 200)]) };
            assert!(bench.run_work(again.clone()).is_ok());
            bench.run(vec![Write { op: Op::Delete, ..inside.clone() }]);
            assert_eq!(bench.run_work(again), Err(Conflict::Range { table: T }), "deleted inside");
            assert_eq!(bench.store.lock_counts(), (0, 0));
        }
    }
}

#[test]
fn a_forgotten_deletion_refuses_older_ranges() {
    // Aim: a range read is not passed just because the deletion inside it was cleaned up. Method: let the time pass.
    let bench = Bench::new(Kind::OrderedSet);
    bench.run(vec![put(5, 5)]);
    let snapshot = bench.store.snapshot().at();
    bench.run(vec![delete(5)]);
    bench.store.clock().advance(WALL + 10_000);
    bench.store.tidy(100);
    let work = |snapshot| Work { ranges: vec![range(snapshot, None, 1, 9)], ..writes(vec![put(200, 200)]) };
    assert_eq!(bench.run_work(work(snapshot)), Err(Conflict::Range { table: T }));
    assert!(bench.run_work(work(bench.store.snapshot().at())).is_ok());
}

#[test]
fn old_versions_go_when_no_snapshot_needs_them() {
    // Aim: memory is bounded by what snapshots pin. Method: a weak look through reads is not possible, so count what a
    // snapshot at each time still sees while it lives, and that index entries of gone values are gone.
    let bench = Bench::new(Kind::OrderedSet);
    let table = bench.table();
    let by_v = table.def().indexes[0].id;
    bench.run(vec![put(1, 1)]);
    let held = bench.store.snapshot();
    for v in 2..100 {
        bench.run(vec![put(1, v)]);
    }
    let found = |at| {
        let all = table.index_cursor(by_v, KeyRange::all(), Direction::Forward, at);
        all.map(|found| value(found.ok().map(|(_, body, ts)| (body, ts)))).collect::<Vec<_>>()
    };
    assert_eq!(found(held.at()), [Some(1)]);
    drop(held);
    bench.store.clock().advance(WALL + 10_000);
    bench.store.tidy(1_000);
    assert_eq!(found(bench.store.snapshot().at()), [Some(99)]);
}

#[test]
fn unique_values_are_keys_of_their_own() {
    // Aim: no two rows with one unique value, whoever prepares first; giving a value up and taking it in one transaction
    // passes; null is no value. Method: each case.
    let bench = Bench::new(Kind::Set);
    let mut unique = TableDef::builder("u")
        .attribute("k", Type::Int)
        .nullable("v", Type::Int)
        .unique_index("one_v", ["v"])
        .build()
        .expect("good");
    unique.id = TableId(11);
    bench.run(vec![define(&unique)]);
    let put = |k, v| Write { table: TableId(11), ..put(k, v) };
    bench.run(vec![put(1, 7)]);
    assert!(
        matches!(bench.run_work(writes(vec![put(2, 7)])), Err(Conflict::Unique { owner, .. }) if owner == key(1))
    );
    assert!(matches!(bench.run_work(writes(vec![put(3, 8), put(4, 8)])), Err(Conflict::Unique { .. })));
    bench.run(vec![put(1, 8), put(2, 7)]);
    bench.run(vec![put(1, 7), put(2, 8)]);
    let (a, b) = (bench.begin(), bench.begin());
    let gone = Write { op: Op::Delete, ..put(1, 7) };
    assert!(matches!(bench.prepare(&a, writes(vec![gone])), Prepared::Yes { .. }));
    assert!(matches!(bench.prepare(&b, writes(vec![put(5, 7)])), Prepared::Refused(Conflict::Locked { .. })));
    let _ = bench.store.abort(&b);
    let _ = bench.store.abort(&a);
    let null =
        hypermnesia_store::Row::encode(SchemaVersion::FIRST, &[Value::Int(8), Value::Null]).expect("small");
    let null = |k| Write { table: TableId(11), key: key(k), op: Op::Put(null.clone()) };
    bench.run(vec![null(8), null(9)]);
    assert_eq!(bench.store.lock_counts(), (0, 0));
}

#[test]
fn bags_keep_each_row_once_in_order() {
    // Aim: bag operations. Method: adds, a double, a removal, delete and add in one transaction.
    let bench = Bench::new(Kind::Bag);
    let table = bench.table();
    let add = |v| Write { table: T, key: key(1), op: Op::BagAdd(row(1, v)) };
    let remove = |v| Write { table: T, key: key(1), op: Op::BagRemove(row(1, v)) };
    let held = || {
        table.newest(&key(1)).expect("in memory").map(|(body, _)| body.rows().to_vec()).unwrap_or_default()
    };
    bench.run(vec![add(3), add(1), add(3)]);
    bench.run(vec![add(2), add(1)]);
    assert_eq!(held(), [row(1, 3), row(1, 1), row(1, 2)]);
    assert_eq!(table.len(), 3);
    bench.run(vec![remove(1), remove(9)]);
    assert_eq!(held(), [row(1, 3), row(1, 2)]);
    bench.run(vec![delete(1), add(5)]);
    assert_eq!(held(), [row(1, 5)]);
    bench.run(vec![remove(5)]);
    assert!(held().is_empty() && table.is_empty());
}

#[test]
fn schema_changes_wait_for_the_table_and_build_indexes() {
    // Aim: data and schema have one order. Method: alter beside a prepared writer, add an index, drop, old cursors.
    let bench = Bench::new(Kind::OrderedSet);
    bench.run(vec![put(1, 5), put(2, 6)]);
    let old = bench.table();
    let snapshot = bench.store.snapshot();
    let mut cursor = old.cursor(KeyRange::all(), Direction::Forward, snapshot.at());
    let mut next = def(Kind::OrderedSet);
    next.version = next.version.next();
    next.indexes.push(hypermnesia_store::IndexDef {
        id: hypermnesia_store::IndexId(77),
        name: "again".into(),
        attributes: vec![1, 0],
        unique: false,
        multi: false,
    });
    let writer = bench.begin();
    assert!(matches!(bench.prepare(&writer, writes(vec![put(3, 3)])), Prepared::Yes { .. }));
    assert!(matches!(bench.run_work(writes(vec![define(&next)])), Err(Conflict::Locked { .. })));
    let _ = bench.store.abort(&writer);
    bench.run(vec![define(&next)]);
    assert!(matches!(cursor.next(), Some(Err(Blocked::SchemaChanged(T)))));
    let table = bench.table();
    let at = bench.store.snapshot();
    let found =
        table.index_cursor(hypermnesia_store::IndexId(77), KeyRange::all(), Direction::Backward, at.at());
    assert_eq!(found.map(|f| f.expect("settled").0).collect::<Vec<_>>(), [key(2), key(1)]);
    let stale = Work { schema: vec![(T, SchemaVersion::FIRST)], ..writes(vec![put(4, 4)]) };
    assert_eq!(bench.run_work(stale), Err(Conflict::SchemaChanged { table: T }));
    let mut twin = def(Kind::Set);
    twin.id = TableId(99);
    assert!(
        matches!(bench.run_work(writes(vec![define(&twin)])), Err(Conflict::Unique { .. })),
        "one name, one table"
    );
    bench.run(vec![undefine(T)]);
    assert!(bench.store.table_named("t").is_none());
    assert_eq!(bench.run_work(writes(vec![put(1, 1)])), Err(Conflict::NoSuchTable { table: T }));
}

#[test]
fn loading_is_idempotent_and_equal_tables_have_equal_digests() {
    // Aim: recovery and copies. Method: the same writes as transactions, as loads in another order, and twice.
    let (a, b) = (Bench::new(Kind::OrderedSet), Bench::new(Kind::OrderedSet));
    for k in 0..100 {
        a.run(vec![put(k, k), put(k + 1, -k)]);
    }
    let mut rows = Vec::new();
    a.table().visit_newest(|key, body, at| rows.push((key.clone(), body.clone(), at))).expect("in memory");
    rows.reverse();
    for (key, body, at) in rows.iter().chain(&rows) {
        b.store.load_row(T, key, *at, Some(body.clone())).expect("nobody holds it");
    }
    assert_eq!(a.table().digest().expect("in memory"), b.table().digest().expect("in memory"));
    assert_eq!((a.table().len(), a.table().bytes()), (b.table().len(), b.table().bytes()));
    let count = LeafCount::for_rows(a.table().len());
    let leaves = [&a, &b].map(|bench| bench.table().leaves(count).expect("in memory"));
    assert_eq!(leaves[0], leaves[1]);
    assert_eq!(leaves[0].whole(), a.table().digest_with_versions().expect("in memory"));
    let last = rows.iter().map(|(.., at)| *at).max().expect("some");
    b.store.load_writes(last.next(), &[put(0, 5)]).expect("free");
    b.store.load_writes(last.next(), &[put(0, 6)]).expect("free");
    assert_eq!(
        value(b.table().newest(&key(0)).expect("in memory")),
        Some(5),
        "what is as new is not replaced"
    );
    assert_ne!(a.table().digest().expect("in memory"), b.table().digest().expect("in memory"));
    b.store.clear(T).expect("there");
    assert_eq!((b.table().len(), b.table().digest().expect("in memory")), (0, 0));
}

#[test]
fn a_row_that_a_copy_takes_away_is_older_than_what_comes_and_newer_than_what_was_read() {
    // Aim: whoever read it in a range finds out, although nobody knows when it went; what was written under its key since is
    // loaded. Method: a row taken away long after it was written, a range from in between, and a row of the moment after it.
    for kind in [Kind::Set, Kind::OrderedSet] {
        let bench = Bench::new(kind);
        bench.run(vec![put(1, 1), put(2, 2)]);
        let table = bench.table();
        let stored = || table.newest_stored(&key(1)).expect("in memory");
        let (body, at) = stored().expect("written");
        bench.store.clock().advance(WALL + 5_000);
        let read = range(bench.store.clock().read(), None, 0, 9);
        bench.store.clock().advance(WALL + 9_000);
        assert_eq!(bench.store.unload_row(T, &key(1), at), Ok(at.next()));
        assert_eq!((table.len(), stored()), (1, None));
        let work = Work { ranges: vec![read], ..writes(vec![put(5, 5)]) };
        assert_eq!(bench.run_work(work), Err(Conflict::Range { table: T }));
        bench.store.load_row(T, &key(1), at.next(), Some(body.clone())).expect("nobody holds it");
        assert_eq!(stored(), None, "no newer than its deletion");
        let later = at.next().next();
        bench.store.load_row(T, &key(1), later, Some(body.clone())).expect("nobody holds it");
        assert_eq!(stored(), Some((body, later)));
    }
}

#[test]
fn first_last_next_prev_step_through_the_keys() {
    // Aim: order operations, also from absent keys, on every kind. Method: every step over a gapped set of keys.
    for kind in [Kind::Set, Kind::OrderedSet] {
        let bench = Bench::new(kind);
        let table = bench.table();
        bench.run((0..10).map(|k| put(k * 2, k)).collect());
        let snapshot = bench.store.snapshot();
        let k = |found: Option<hypermnesia_store::Found>| found.map(|(key, ..)| key);
        assert_eq!(k(table.first(snapshot.at()).expect("settled")), Some(key(0)));
        assert_eq!(k(table.last(snapshot.at()).expect("settled")), Some(key(18)));
        for at in 0..18 {
            assert_eq!(k(table.next(&key(at), snapshot.at()).expect("settled")), Some(key(at / 2 * 2 + 2)));
        }
        assert_eq!(k(table.prev(&key(0), snapshot.at()).expect("settled")), None);
        assert_eq!(k(table.prev(&key(7), snapshot.at()).expect("settled")), Some(key(6)));
    }
}

#[test]
fn the_ends_of_a_table_are_found_when_rows_beyond_them_have_gone() {
    // Aim: ordered tables and indexes have no blind ends where many keys in a row were deleted and forgotten: queues, and
    // stacks. Method: keys from both ends go, a few at a time; first, last, ranges and a unique-like look at the index.
    for (from, to) in [(0, 100), (100, 300), (37, 222)] {
        let bench = Bench::new(Kind::OrderedSet);
        bench.run((0..300).map(|k| put(k, k)).collect());
        for k in (0..from).chain(to..300) {
            bench.run(vec![delete(k)]);
        }
        bench.store.clock().advance(WALL + 10_000);
        bench.store.tidy(usize::MAX);
        let (table, snapshot) = (bench.table(), bench.store.snapshot());
        assert_eq!(table.cells() as i64, to - from);
        let edge = |found: Option<hypermnesia_store::Found>| found.map(|(key, ..)| key);
        assert_eq!(edge(table.first(snapshot.at()).expect("settled")), Some(key(from)));
        assert_eq!(edge(table.last(snapshot.at()).expect("settled")), Some(key(to - 1)));
        assert_eq!(edge(table.prev(&key(300), snapshot.at()).expect("settled")), Some(key(to - 1)));
        assert_eq!(edge(table.next(&key(-1), snapshot.at()).expect("settled")), Some(key(from)));
        assert_eq!(edge(table.prev(&key(from), snapshot.at()).expect("settled")), None);
        let index = table.def().indexes[0].id;
        for direction in [Direction::Forward, Direction::Backward] {
            assert_eq!(table.cursor(KeyRange::all(), direction, snapshot.at()).count() as i64, to - from);
            let found = table.index_cursor(index, KeyRange::all(), direction, snapshot.at());
            assert_eq!(found.count() as i64, to - from, "{direction:?} {from}..{to}");
        }
    }
}

#[test]
fn every_pair_of_locks_waits_or_passes_as_it_should() {
    // Aim: contract case 3 and wait-die. Method: all pairs of key/table read/write, older and younger requester, both of
    // which hold something else already; the parked one is freed by the other's abort; no lock is left.
    let modes = [LockMode::Read, LockMode::Write];
    for (held_mode, wanted_mode) in modes.iter().flat_map(|h| modes.map(|w| (*h, w))) {
        for (held_table, wanted_table, older_wants) in [false, true]
            .iter()
            .flat_map(|h| [false, true].iter().flat_map(move |w| [false, true].map(|o| (*h, *w, o))))
        {
            let bench = Bench::new(Kind::Set);
            let (old, young) = (bench.begin(), bench.begin());
            let (holder, wanter) = if older_wants { (&young, &old) } else { (&old, &young) };
            let lock = |txn: &Arc<Txn>, table: bool, mode| match table {
                true => bench.store.lock_table(txn, T, mode, Waker::noop()),
                false => bench.store.lock(txn, T, &key(1), mode, Waker::noop()),
            };
            let own = bench.store.lock(wanter, TableId(77), &key(9), LockMode::Write, Waker::noop());
            assert_eq!(own, Locked::Granted);
            assert_eq!(lock(holder, held_table, held_mode), Locked::Granted);
            let answer = lock(wanter, wanted_table, wanted_mode);
            let compatible = held_mode == LockMode::Read && wanted_mode == LockMode::Read;
            match (compatible, older_wants) {
                (true, _) => assert_eq!(answer, Locked::Granted),
                (false, false) => assert!(matches!(answer, Locked::Refused(Conflict::Locked { .. }))),
                (false, true) => {
                    assert_eq!(answer, Locked::Parked);
                    let mut rounds = 0;
                    let mut freed = bench.store.abort(holder).ready;
                    while freed.pop().is_some() || rounds == 0 {
                        rounds += 1;
                        assert_eq!(lock(wanter, wanted_table, wanted_mode), Locked::Granted);
                    }
                }
            }
            let _ = bench.store.abort(&old);
            let _ = bench.store.abort(&young);
            assert_eq!(bench.store.lock_counts(), (0, 0));
        }
    }
}

#[test]
fn a_young_one_that_holds_nothing_may_queue_and_can_be_withdrawn() {
    // Aim: a hot key is a queue on its own node; withdrawing loses nobody's turn. Method: four queue, the second leaves.
    let bench = Bench::new(Kind::Set);
    let txns: Vec<_> = (0..4).map(|_| bench.begin()).collect();
    let work = Arc::new(writes(vec![put(1, 1)]));
    let ask = |txn: &Arc<Txn>| bench.store.prepare(txn, &work, WALL, Role::Coordinator);
    assert!(matches!(ask(&txns[0]), Prepared::Yes { .. }));
    assert!(txns[1..].iter().all(|txn| ask(txn) == Prepared::Parked));
    assert!(bench.store.abort(&txns[1]).ready.is_empty());
    let freed = bench.store.commit(&txns[0], txns[0].proposal().expect("prepared"));
    assert_eq!(freed.ready.iter().map(|t| t.id).collect::<Vec<_>>(), [txns[2].id]);
    let Prepared::Yes { proposal } = ask(&txns[2]) else { panic!("it has the lock") };
    let freed = bench.store.commit(&txns[2], proposal);
    assert_eq!(freed.ready.iter().map(|t| t.id).collect::<Vec<_>>(), [txns[3].id]);
    assert_eq!(ask(&txns[1]), Prepared::Refused(Conflict::Aborted));
    let _ = bench.store.abort(&txns[3]);
    assert_eq!(bench.store.lock_counts(), (0, 0));
}

#[test]
fn an_older_one_goes_ahead_of_younger_ones_that_hold_nothing_and_of_nobody_else() {
    // Aim: the oldest, which no other node refuses, has its turn first, and nobody waits for an older one while it holds
    // something. Method: free waiters come youngest first; then an old one arrives behind one that holds a lock.
    let bench = Bench::new(Kind::Set);
    let txns: Vec<_> = (0..5).map(|_| bench.begin()).collect();
    let work = Arc::new(writes(vec![put(1, 1)]));
    let ask = |txn: &Arc<Txn>| bench.store.prepare(txn, &work, WALL, Role::Coordinator);
    let grants = |from: &Arc<Txn>| {
        let freed = bench.store.commit(from, from.proposal().expect("prepared"));
        freed.ready.iter().map(|txn| txn.id.sequence).collect::<Vec<_>>()
    };
    assert!(matches!(ask(&txns[0]), Prepared::Yes { .. }));
    for young_first in [3, 2, 4] {
        assert_eq!(ask(&txns[young_first]), Prepared::Parked);
    }
    assert_eq!(grants(&txns[0]), [txns[2].id.sequence]);
    assert!(matches!(ask(&txns[2]), Prepared::Yes { .. }));
    // Older than all here, so it may wait although it holds another lock; the oldest then does not go ahead of it.
    let other = bench.store.lock(&txns[1], TableId(77), &key(9), LockMode::Write, Waker::noop());
    assert_eq!(other, Locked::Granted);
    assert_eq!(bench.store.lock(&txns[1], T, &key(1), LockMode::Write, Waker::noop()), Locked::Parked);
    assert_eq!(grants(&txns[2]), [txns[1].id.sequence], "ahead of 3 and 4, which hold nothing");
    let holds = bench.begin();
    let old = bench.store.begin(TxId { age: Timestamp::NEVER, node: NodeId(1), sequence: 99 });
    assert_eq!(bench.store.abort(&txns[3]).ready.len() + bench.store.abort(&txns[4]).ready.len(), 0);
    let _ = bench.store.lock(&holds, TableId(77), &key(8), LockMode::Write, Waker::noop());
    assert!(matches!(
        bench.store.lock(&holds, T, &key(1), LockMode::Write, Waker::noop()),
        Locked::Refused(Conflict::Locked { .. })
    ));
    assert_eq!(ask(&old), Prepared::Parked);
    let freed = bench.store.abort(&txns[1]);
    assert_eq!(freed.ready.iter().map(|txn| txn.id.sequence).collect::<Vec<_>>(), [99]);
    for txn in [&holds, &old] {
        let _ = bench.store.abort(txn);
    }
    assert_eq!(bench.store.lock_counts(), (0, 0));
}

#[test]
fn locks_are_reentrant_and_upgrade() {
    // Aim: a read lock becomes a write lock when its holder is alone, waits for other readers when older, and two that
    // both want to upgrade do not wait for each other. Method: each.
    let bench = Bench::new(Kind::Set);
    let (old, young) = (bench.begin(), bench.begin());
    let lock = |txn: &Arc<Txn>, mode| bench.store.lock(txn, T, &key(1), mode, Waker::noop());
    assert_eq!(lock(&old, LockMode::Read), Locked::Granted);
    assert_eq!(lock(&young, LockMode::Read), Locked::Granted);
    assert_eq!(lock(&old, LockMode::Write), Locked::Parked);
    assert!(matches!(lock(&young, LockMode::Write), Locked::Refused(_)));
    let freed = bench.store.abort(&young);
    assert_eq!(freed.ready.len(), 1);
    assert_eq!(lock(&old, LockMode::Write), Locked::Granted);
    assert_eq!(lock(&old, LockMode::Read), Locked::Granted);
    let _ = bench.store.abort(&old);
    assert_eq!(bench.store.lock_counts(), (0, 0));
}
