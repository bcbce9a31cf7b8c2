//! Copies that come and go under those who read, write and listen on the very member that loses and gets them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use hypermnesia::{
    Ack, Count, DynTable, EventDetail, EventPosition, Heard, Kind, Node, Result, Span, Storage, TableBuilder,
    TableDef, Type, Value,
};

use crate::trio::{LONG, Trio};

const ROWS: i64 = 500;

fn def(name: &str) -> TableBuilder {
    let def = TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int).ack(Ack::Memory);
    def.kind(Kind::OrderedSet).index("by_n", ["n"])
}

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn create(trio: &Trio, name: &str, members: &[usize], rows: i64) -> DynTable {
    let def = members.iter().fold(def(name), |def, at| def.copy(trio.node(*at).id(), Storage::Ram));
    let table = trio.node(0).create_table(def).expect("all members are up");
    let all: Vec<_> = (0..rows).map(|id| row(id, 0)).collect();
    table.insert_many(all.iter().map(|row| &row[..])).expect("its members are up");
    for at in 0..3 {
        assert_eq!(on(trio.node(at), name).to_vec().map(|all| all.len() as i64), Ok(rows));
    }
    table
}

fn on(node: &Node, name: &str) -> DynTable {
    node.dyn_table(name).expect("it was created everywhere")
}

fn number(row: Option<Vec<Value>>) -> i64 {
    match row.as_deref() {
        Some([_, Value::Int(n)]) => *n,
        _ => panic!("a row of two numbers is there, not {row:?}"),
    }
}

/// Says that it is over when it goes, by a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Over<'_> {
    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Takes the second member's copy away and gives it back, again and again, until somebody fails.
fn drop_and_add(trio: &Trio, name: &str, over: &AtomicBool) {
    let over = Over(over);
    for _ in 0..10 {
        if over.is_over() {
            break;
        }
        trio.node(0).drop_copy(name, "n2", LONG).expect("there is another one");
        trio.node(0).add_copy(name, "n2", Storage::Ram, LONG).expect("all members are up");
    }
}

#[test]
fn nobody_reads_what_is_older_than_what_was_acknowledged() {
    // Aim: who loses its copy does not go on to read it while others write without it; who gets one does not read it before it has all.
    // Method: one member counts in a row; another one, whose copy comes and goes, reads it in each way, and finds at least what
    // was acknowledged before it asked.
    let trio = Trio::start();
    let counted = create(&trio, "t", &[0, 1], 10);
    let (acknowledged, over) = (AtomicI64::new(0), AtomicBool::new(false));
    let (node, key) = (trio.node(1), [Value::Int(1)]);
    let table = on(node, "t");
    let alone = || table.get(&key);
    let inside = || node.transaction(|tx| tx.get(&table, &key));
    let ranged = || Ok(table.range(&Span::all())?.into_iter().nth(1));
    let by_sql = || Ok(node.query("SELECT id, n FROM t WHERE id = 1", &[])?.rows.into_iter().next());
    let ways: [&(dyn Fn() -> Result<Option<Vec<Value>>> + Sync); 4] = [&alone, &inside, &ranged, &by_sql];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let over = Over(&over);
            while !over.is_over() {
                let n =
                    counted.increment(&key, "n", 1).expect("a copy is always there").expect("so is the row");
                acknowledged.fetch_max(n, Ordering::SeqCst);
            }
        });
        for (way, read) in ways.into_iter().enumerate() {
            let (over, acknowledged) = (&over, &acknowledged);
            scope.spawn(move || {
                let over = Over(over);
                while !over.is_over() {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let read = number(read().expect("it is read from others meanwhile"));
                    assert!(read >= least, "way {way}: {read} is older than {least}");
                }
            });
        }
        drop_and_add(&trio, "t", &over);
    });
    assert!(acknowledged.into_inner() > 0);
}

#[test]
fn rows_that_are_always_there_are_always_found() {
    // Aim: a table whose copy goes is never seen empty, and reads meet no error meanwhile. Method: one member's copy comes and goes, and its
    // rows are counted in each way.
    let trio = Trio::start();
    create(&trio, "t", &[0, 1], ROWS);
    let over = AtomicBool::new(false);
    let (node, table) = (trio.node(1), on(trio.node(1), "t"));
    let rows = |found: usize| found as i64;
    let one = || Ok(table.get(&[Value::Int(7)])?.map_or(0, |_| ROWS));
    let all = || Ok(rows(table.to_vec()?.len()));
    let indexed = || Ok(rows(table.index_read("by_n", &[Value::Int(0)])?.len()));
    let inside = || Ok(rows(node.transaction(|tx| tx.range(&table, &Span::all()))?.len()));
    let length = || Ok(table.len()? as i64);
    let keys = || Ok(rows(table.keys()?.len()));
    let by_sql = || Ok(rows(node.query("SELECT id FROM t", &[])?.rows.len()));
    let ways: [&(dyn Fn() -> Result<i64> + Sync); 7] =
        [&one, &all, &indexed, &inside, &length, &keys, &by_sql];
    std::thread::scope(|scope| {
        for (way, count) in ways.into_iter().enumerate() {
            let over = &over;
            scope.spawn(move || {
                let over = Over(over);
                while !over.is_over() {
                    let counted = count().unwrap_or_else(|error| panic!("way {way}: {error}"));
                    assert_eq!(counted, ROWS, "way {way}");
                }
            });
        }
        drop_and_add(&trio, "t", &over);
    });
}

#[test]
fn counters_add_up_while_the_only_copy_goes_round() {
    // Aim: no write is lost, done twice or refused while copies move. Method: every member counts in the rows of one table and in one of
    // another, in each way, while the only copy of the first one goes from member to member.
    let trio = Trio::start();
    create(&trio, "t", &[0], ROWS);
    create(&trio, "u", &[1], 1);
    let (over, done, both) = (AtomicBool::new(false), AtomicI64::new(0), AtomicI64::new(0));
    std::thread::scope(|scope| {
        for at in 0..3 {
            let (over, done, both, node) = (&over, &done, &both, trio.node(at));
            scope.spawn(move || {
                let over = Over(over);
                let (t, u) = (on(node, "t"), on(node, "u"));
                for turn in 0.. {
                    if over.is_over() {
                        break;
                    }
                    let key = [Value::Int(turn % 10)];
                    let counted = match turn % 3 {
                        0 => t.increment(&key, "n", 1).map(drop),
                        1 => node.transaction(|tx| {
                            let (n, m) = (number(tx.get(&t, &key)?), number(tx.get(&u, &[Value::Int(0)])?));
                            tx.insert(&t, &row(turn % 10, n + 1))?;
                            tx.insert(&u, &row(0, m + 1))
                        }),
                        _ => node.transaction(|tx| {
                            tx.update_counter(&t, &key, &[Count::new("n", 1)], None).map(drop)
                        }),
                    };
                    counted.unwrap_or_else(|error| panic!("n{} in turn {turn}: {error}", at + 1));
                    done.fetch_add(1, Ordering::Relaxed);
                    both.fetch_add(i64::from(turn % 3 == 1), Ordering::Relaxed);
                }
            });
        }
        let over = Over(&over);
        for (from, to) in [("n1", "n2"), ("n2", "n3"), ("n3", "n1"), ("n1", "n3"), ("n3", "n2"), ("n2", "n1")]
        {
            if over.is_over() {
                break;
            }
            trio.node(2).move_copy("t", from, to, LONG).expect("all members are up");
        }
    });
    for node in (0..3).map(|at| trio.node(at)) {
        let rows = on(node, "t").to_vec().expect("its member is up");
        assert_eq!(rows.len() as i64, ROWS);
        assert_eq!(rows.into_iter().map(|row| number(Some(row))).sum::<i64>(), done.load(Ordering::Relaxed));
        let other = on(node, "u").get(&[Value::Int(0)]).expect("its member is up");
        assert_eq!(number(other), both.load(Ordering::Relaxed));
    }
}

#[test]
fn who_listens_to_a_copy_that_goes_hears_its_end() {
    // Aim: nobody waits for ever for changes that come no more, and none that came while there was no copy are skipped unsaid. Method: one
    // listens, hears a change, the copy goes, others write, and it comes back; then the place is asked for again, and one listens anew.
    let trio = Trio::start();
    let first = create(&trio, "t", &[0, 1], 3);
    let table = on(trio.node(1), "t");
    let changes = table.subscribe(EventDetail::Simple).expect("it has a copy");
    first.insert(&row(1, 5)).expect("its members are up");
    trio.node(0).drop_copy("t", "n2", LONG).expect("there is another one");
    let heard = |changes: &hypermnesia::Subscription| changes.next_within(Duration::from_secs(10));
    assert!(matches!(heard(&changes), Some(Heard::Event(event)) if event.new.is_some()));
    let place: EventPosition = changes.position();
    assert_eq!(heard(&changes), Some(Heard::Ended));
    first.insert(&row(1, 6)).expect("its member is up");
    trio.node(0).add_copy("t", "n2", Storage::Ram, LONG).expect("all members are up");
    assert_eq!(heard(&changes), Some(Heard::Ended));
    assert!(
        table.subscribe_from(place, EventDetail::Simple).is_err(),
        "what came meanwhile was not heard here"
    );
    let anew = table.subscribe(EventDetail::Simple).expect("it has a copy");
    first.insert(&row(1, 7)).expect("its members are up");
    assert!(matches!(heard(&anew), Some(Heard::Event(_))));
    assert_eq!(heard(&changes), Some(Heard::Ended));
}
