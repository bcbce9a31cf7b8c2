//! The bound of all that a node's tables hold in memory.

use std::time::{Duration, Instant};

use hypermnesia::{DynTable, Error, Kind, Node, TableDef, Type, Value};

use crate::until::until;
use crate::{key, sorted};

const BOUND: u64 = 4 << 20;

/// What is not counted yet.
const PAST: u64 = 256 << 10;

fn bounded() -> Node {
    Node::builder().memory_max(BOUND).build().expect("embedded")
}

fn table(node: &Node, name: &str, kind: Kind) -> DynTable {
    let def = TableDef::builder(name).kind(kind).attribute("id", Type::Int).attribute("text", Type::Text);
    node.create_table(def.index("by_text", ["text"])).expect("new")
}

fn row(id: i64) -> [Value; 2] {
    of_bytes(id, 500)
}

fn of_bytes(id: i64, bytes: usize) -> [Value; 2] {
    [id.into(), Value::Text(format!("{id:0bytes$}"))]
}

/// Puts rows until one is refused; says which.
fn fill(t: &DynTable, from: i64) -> i64 {
    (from..from + 20_000).find(|id| is_refused(t.insert(&row(*id)))).expect("memory ends")
}

fn is_refused(ended: hypermnesia::Result<()>) -> bool {
    match ended {
        Ok(()) => false,
        Err(Error::MemoryFull { member, held, bound }) => {
            assert_eq!((&*member, bound), ("n1", BOUND));
            assert!(held > BOUND / 2, "{held}");
            true
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn memory_ends_in_a_refusal_and_goes_on_behind_a_deletion() {
    // Aim: the bound holds over all tables, what is refused changes nothing, everything else goes on. Method: two tables of
    // a kind grow until one is refused; then every way to write, then deletions, then growth again.
    for kind in [Kind::Set, Kind::Bag] {
        let node = bounded();
        let (one, two) = (table(&node, "one", kind), table(&node, "two", kind));
        (0..1_000).for_each(|id| one.insert(&row(id)).expect("there is memory"));
        let end = fill(&two, 0);
        assert!(end > 1_000, "{end} rows");
        let held = node.status().memory_bytes;
        assert!(held > BOUND - PAST && held < BOUND + PAST, "{held}");
        let before = sorted(one.to_vec().expect("read"));
        let many: Vec<_> = (5_000..5_100).map(row).collect();
        assert!(is_refused(one.insert_many(many.iter().map(|row| &row[..]))));
        assert!(is_refused(node.transaction(|tx| {
            tx.delete(&two, &key(1))?;
            many.iter().try_for_each(|row| tx.insert(&one, row))
        })));
        assert!(is_refused(node.query("INSERT INTO one VALUES (?, ?)", &of_bytes(7_000, 9_000)).map(drop)));
        assert_eq!(sorted(one.to_vec().expect("read")), before);
        assert!(two.contains(&key(1)).expect("read"));
        one.delete(&key(0)).expect("what shrinks is let in");
        if kind != Kind::Bag {
            one.insert(&of_bytes(1, 499)).expect("what does not grow is let in");
        }
        table(&node, "three", kind).to_vec().expect("a table may be made");
        (0..500).for_each(|id| two.delete(&key(id)).expect("deleted"));
        until(|| !is_refused(one.insert(&row(9_000))));
    }
}

#[test]
fn one_large_transaction_does_not_pass_the_bound() {
    // Aim: what a transaction adds is looked at as a whole. Method: one of twice the bound on an empty node.
    let node = bounded();
    let t = table(&node, "t", Kind::Set);
    let rows: Vec<_> = (0..20).map(|id| of_bytes(id, 10_000)).collect();
    t.insert_many(rows.iter().map(|row| &row[..])).expect("there is memory");
    let rows: Vec<_> = (100..900).map(|id| of_bytes(id, 10_000)).collect();
    match t.insert_many(rows.iter().map(|row| &row[..])) {
        Err(Error::MemoryFull { bound: BOUND, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(t.len(), Ok(20));
}

#[test]
fn tables_that_evict_make_room() {
    // Aim: a cache gives way instead of refusing, also to other tables, and fills up again. Method: a cache with a bound that
    // is no bound here takes twice the memory; another table needs half of it; a row that is read all the time stays.
    let node = bounded();
    let def = TableDef::builder("cache").attribute("id", Type::Int).attribute("text", Type::Text);
    let cache = node.create_table(def.local().rows_max(1_000_000).evict()).expect("new");
    for id in 0..8_000 {
        cache.insert(&row(id)).expect("there is always room");
        cache.contains(&key(0)).expect("read");
        if id % 100 == 0 {
            // The node looks some times a second.
            until_looked(&node);
        }
    }
    let held = node.status().memory_bytes;
    assert!(held < BOUND + BOUND / 4, "{held}");
    assert!(cache.contains(&key(0)).expect("read") && cache.contains(&key(7_999)).expect("read"));
    let kept = table(&node, "kept", Kind::Set);
    let mut id = 0;
    until(|| {
        id += i64::from(kept.insert(&of_bytes(id, 500)).is_ok());
        id == 1_000
    });
    assert_eq!(kept.len(), Ok(1_000));
    assert!(cache.len().expect("read") < 5_000);
}

/// Waits until the bound has been looked at, or for a moment while it is not near.
fn until_looked(node: &Node) {
    let begun = Instant::now();
    while node.status().memory_bytes > BOUND && begun.elapsed() < Duration::from_millis(100) {
        std::thread::yield_now();
    }
}
