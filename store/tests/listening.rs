//! Those who listen to a table: what they hear, from where on, and when it ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::task::Waker;
use std::thread;

use hypermnesia_store::limits::{EVENTS_AWAIT_MS, EVENTS_KEPT_MAX};
use hypermnesia_store::{
    Blocked, Body, CommittedLocal, Event, EventDetail, Heard, Key, KeyRange, Kind, NodeId, Op, Prepared,
    Role, Row, SchemaVersion, Store, StoreConfig, Subscription, Table, TableDef, TableId, Timestamp, TxId,
    Txn, Type, Value, Work, Write, define, undefine,
};

const WALL: u64 = 1_000_000;
const T: TableId = TableId(10);

struct Bench {
    store: Store,
    sequence: AtomicU64,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { store: Store::new(StoreConfig { wall_ms: WALL }), sequence: AtomicU64::new(0) };
        bench.run(define(&def()));
        bench
    }

    fn begin(&self) -> Arc<Txn> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        self.store.begin(TxId { age: Timestamp(sequence), node: NodeId(1), sequence })
    }

    fn run(&self, write: Write) -> Timestamp {
        let work = Arc::new(Work { writes: vec![write], ..Work::default() });
        loop {
            let txn = self.begin();
            match self.store.commit_local(&txn, &work, WALL) {
                CommittedLocal::Yes(at, _) => return at,
                // Another thread's lock.
                CommittedLocal::Refused(..) => thread::yield_now(),
                CommittedLocal::Parked => drop(self.store.abort(&txn)),
            }
        }
    }

    fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("it was created")
    }

    fn rows_at(&self, at: Timestamp) -> Result<Vec<(i64, i64)>, Blocked> {
        let mut rows = Vec::new();
        let mut cursor = self.table().cursor(KeyRange::all(), hypermnesia_store::Direction::Forward, at);
        cursor.each(|_, body, _| {
            rows.push(pair(body));
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(rows)
    }
}

fn def() -> TableDef {
    let def =
        TableDef::builder("t").kind(Kind::OrderedSet).attribute("k", Type::Int).attribute("v", Type::Int);
    let mut def = def.build().expect("a good definition");
    def.id = T;
    def
}

fn row(k: i64, v: i64) -> Row {
    Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small")
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

fn pair(body: &Body) -> (i64, i64) {
    let values = body.rows()[0].to_values();
    match values[..] {
        [Value::Int(k), Value::Int(v)] => (k, v),
        _ => panic!("{values:?}"),
    }
}

fn heard(subscription: &Subscription) -> Event {
    match subscription.next() {
        Some(Heard::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_tell_each_change_once_in_order() {
    // Aim: exact events, old rows when asked, none after unsubscribing, misses counted. Method: each operation.
    let bench = Bench::new();
    let table = bench.table();
    bench.run(put(1, 1));
    let (simple, full) = (table.subscribe(EventDetail::Simple), table.subscribe(EventDetail::WithOldRows));
    let at = bench.run(put(1, 2));
    bench.run(delete(1));
    bench.run(delete(5));
    let first = heard(&full);
    assert_eq!((first.sequence, first.commit_ts, first.key.clone()), (1, at, key(1)));
    assert_eq!((first.old, first.new), (Some(Body::Row(row(1, 1))), Some(Body::Row(row(1, 2)))));
    assert_eq!(heard(&simple).old, None);
    let second = heard(&full);
    assert_eq!((second.sequence, second.new), (2, None));
    assert_eq!(full.next(), None, "deleting what is not there is no change");
    drop(full);
    bench.run(put(1, 3));
    assert_eq!(heard(&simple).sequence, 2);
    assert_eq!(heard(&simple).sequence, 3);
}

#[test]
fn who_goes_on_from_a_place_hears_neither_twice_nor_too_little() {
    // Aim: contract case 26, resume. Method: leave at each place of a run of changes, some before and some behind the leaving,
    // and come back: the numbers go on without a gap. Then what cannot be gone on from.
    let bench = Bench::new();
    let table = bench.table();
    for taken in 0..=6 {
        let first = table.subscribe(EventDetail::Simple);
        (0..6).for_each(|n| _ = bench.run(put(n, taken)));
        let before: Vec<u64> = (0..taken).map(|_| heard(&first).sequence).collect();
        let place = first.pause();
        (6..9).for_each(|n| _ = bench.run(put(n, taken)));
        let second = table.subscribe_from(place, EventDetail::WithOldRows).expect("it was kept");
        let behind: Vec<(u64, i64)> = (taken..9)
            .map(|_| heard(&second))
            .map(|event| (event.sequence, pair(&event.new.expect("put")).0))
            .collect();
        assert_eq!(second.next(), None);
        let numbers: Vec<u64> = before.iter().copied().chain(behind.iter().map(|(n, _)| *n)).collect();
        assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{numbers:?}");
        assert!(behind.iter().map(|(_, key)| *key).eq(taken..9));
    }
    let bench = Bench::new();
    let table = bench.table();
    let ended = table.subscribe(EventDetail::Simple);
    let place = ended.place();
    drop(ended);
    assert!(table.subscribe_from(place, EventDetail::Simple).is_none(), "nothing was kept behind it");
    let other = table.subscribe(EventDetail::Simple);
    assert!(table.subscribe_from(place, EventDetail::Simple).is_none(), "another run of events");
    let ahead = hypermnesia_store::Place { after: other.place().after + 1, ..other.place() };
    assert!(table.subscribe_from(ahead, EventDetail::Simple).is_none(), "it has not come to that");
}

#[test]
fn events_are_kept_so_long_for_who_said_that_it_would_be_back() {
    // Aim: a bound in time. Method: the tick on both sides of it, while nobody listens, and while somebody else does.
    let bench = Bench::new();
    let table = bench.table();
    let place = table.subscribe(EventDetail::Simple).pause();
    bench.run(put(1, 1));
    bench.store.let_rest(WALL);
    bench.store.let_rest(WALL + EVENTS_AWAIT_MS - 1);
    assert_eq!(table.listeners(), (0, 1));
    let back = table.subscribe_from(place, EventDetail::Simple).expect("in time");
    let place = back.pause();
    bench.store.let_rest(WALL + EVENTS_AWAIT_MS);
    bench.store.let_rest(WALL + 2 * EVENTS_AWAIT_MS);
    assert_eq!(table.listeners(), (0, 0));
    assert!(table.subscribe_from(place, EventDetail::Simple).is_none(), "too late");
    let (one, other) = (table.subscribe(EventDetail::Simple), table.subscribe(EventDetail::Simple));
    let place = one.pause();
    drop(table.subscribe(EventDetail::Simple));
    bench.run(put(1, 2));
    assert_eq!(heard(&other).sequence, 2);
    drop(other);
    let back = table.subscribe_from(place, EventDetail::Simple).expect("whoever else comes and goes");
    assert_eq!(heard(&back).sequence, 2);
}

#[test]
fn who_is_too_slow_is_told_how_much_it_missed() {
    // Aim: a bound in number, and nobody waits. Method: more than the bound; who took none, some, and who comes back.
    let bench = Bench::new();
    let table = bench.table();
    let (slow, quick) = (table.subscribe(EventDetail::Simple), table.subscribe(EventDetail::Simple));
    let place = slow.place();
    for n in 0..EVENTS_KEPT_MAX as u64 + 10 {
        bench.run(put(1, n as i64));
        assert_eq!(heard(&quick).sequence, n + 1);
    }
    assert_eq!(slow.next(), Some(Heard::Missed(10)));
    assert_eq!(heard(&slow).sequence, 11);
    let back = table.subscribe_from(place, EventDetail::Simple).expect("it is the same run of events");
    assert_eq!(back.next(), Some(Heard::Missed(10)));
    assert_eq!(table.listeners(), (3, EVENTS_KEPT_MAX));
}

#[test]
fn a_snapshot_and_what_comes_behind_it_are_all_there_is() {
    // Aim: rows as they are, then their changes, without a gap. Method: threads that write, some of them in place; again and
    // again a subscription and then a snapshot, whose rows with the changes put to them are what the table holds when they rest.
    let (bench, stop, writing) = (Bench::new(), AtomicBool::new(false), RwLock::new(()));
    thread::scope(|scope| {
        let _over = Over(&stop);
        for thread in 0..2 {
            let (bench, stop, writing) = (&bench, &stop, &writing);
            scope.spawn(move || {
                let mut dice = 77_u64 + thread;
                for n in 0_i64.. {
                    dice =
                        dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let k = (dice >> 33) as i64 % 20;
                    let op = if n % 5 == 0 { Op::Delete } else { Op::Put(row(k, n)) };
                    let _writes = writing.read().expect("nobody panicked");
                    let decide = |_: Option<&Body>| Ok::<_, ()>((Some(op.clone()), ()));
                    if bench.store.alter(&bench.table(), &key(k), WALL, decide).is_none() {
                        bench.run(Write { table: T, key: key(k), op });
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        for _ in 0..if cfg!(miri) { 2 } else { 200 } {
            let listener = bench.table().subscribe(EventDetail::WithOldRows);
            let snapshot = bench.store.snapshot();
            while bench.store.settled(snapshot.at()).is_err() {
                thread::yield_now();
            }
            listener.skip_to(snapshot.at());
            let mut rows: std::collections::BTreeMap<i64, i64> =
                bench.rows_at(snapshot.at()).expect("settled").into_iter().collect();
            drop(snapshot);
            thread::yield_now();
            let _still = writing.write().expect("nobody panicked");
            while let Some(heard) = listener.next() {
                let Heard::Event(event) = heard else { panic!("{heard:?}") };
                let k = decoded(&event.key);
                let before = event.old.as_ref().map(|body| pair(body).1);
                assert_eq!(rows.get(&k).copied(), before, "a change is missing, or told twice");
                match event.new.as_ref().map(pair) {
                    Some((_, v)) => drop(rows.insert(k, v)),
                    None => drop(rows.remove(&k)),
                }
            }
            let found = bench.rows_at(bench.store.snapshot().at()).expect("nobody writes");
            assert_eq!(rows.into_iter().collect::<Vec<_>>(), found);
        }
    });
}

/// Lets the other threads end, however this one does.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn decoded(key: &Key) -> i64 {
    match key.decode().expect("a key")[..] {
        [Value::Int(k)] => k,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_that_began_before_a_clear_does_not_find_the_table_empty() {
    // Aim: no snapshot sees rows and then none. Method: a clear whose time was read, then a snapshot, then its commit: the
    // snapshot is refused from then on, and who listens behind it hears what went.
    let bench = Bench::new();
    bench.run(put(1, 1));
    let mut cleared = def();
    (cleared.cleared, cleared.version) = (bench.store.clock().read(), cleared.version.next());
    let txn = bench.begin();
    let work = Arc::new(Work { writes: vec![define(&cleared)], ..Work::default() });
    let Prepared::Yes { proposal } = bench.store.prepare(&txn, &work, WALL, Role::Participant) else {
        panic!("nothing is in the way")
    };
    let listener = bench.table().subscribe(EventDetail::WithOldRows);
    let own = bench.store.snapshot();
    assert!(own.at() > cleared.cleared || own.at() >= proposal);
    listener.skip_to(own.at());
    let seen = bench.table().latest(&key(1)).expect("nothing is pending").map(|(body, _)| pair(&body));
    assert_eq!(seen, Some((1, 1)));
    _ = bench.store.commit(&txn, Timestamp(own.at().0 + 5));
    assert!(matches!(bench.rows_at(own.at()), Err(Blocked::SchemaChanged(_))), "it has seen a row");
    assert_eq!(heard(&listener).old.as_ref().map(pair), Some((1, 1)));
}

#[test]
fn who_listens_to_a_table_that_is_dropped_is_told_and_woken() {
    // Aim: nobody waits for what cannot come. Method: a waker that counts; what came before is told first.
    let bench = Bench::new();
    let listener = bench.table().subscribe(EventDetail::Simple);
    let woken = Arc::new(Count::default());
    assert_eq!(listener.poll(&Waker::from(Arc::clone(&woken))), None);
    bench.run(put(1, 1));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    bench.run(undefine(T));
    assert_eq!(heard(&listener).sequence, 1);
    assert_eq!((listener.next(), listener.next()), (Some(Heard::Ended), Some(Heard::Ended)));
    let bench = Bench::new();
    let listener = bench.table().subscribe(EventDetail::Simple);
    assert_eq!(listener.poll(&Waker::from(Arc::clone(&woken))), None);
    bench.store.end_events();
    assert_eq!((woken.0.load(Ordering::SeqCst), listener.next()), (2, Some(Heard::Ended)));
}

#[derive(Default)]
struct Count(AtomicU64);

impl std::task::Wake for Count {
    fn wake(self: Arc<Count>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
