//! Tables that change while they are used: more attributes, other attributes, another name, no rows.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hypermnesia::{
    Attribute, Body, DynTable, Error, EventDetail, Heard, Kind, Lifetime, Node, NodeId, Record, Span,
    Storage, TableDef, Type, Value,
};

use crate::{hard_stop::killed, key, node, row, sorted, table};

#[derive(Record, Debug, PartialEq, Clone)]
#[record(table = "people")]
struct First {
    #[record(key)]
    id: i64,
    name: String,
}

#[derive(Record, Debug, PartialEq, Clone)]
#[record(table = "people", version = 2, index(by_city(city)))]
struct Second {
    #[record(key)]
    id: i64,
    name: String,
    city: Option<String>,
    #[record(default)]
    visits: i64,
}

#[derive(Record, Debug, PartialEq, Clone)]
#[record(table = "people", version = 3)]
struct Third {
    #[record(key)]
    id: i64,
    first: String,
    last: String,
}

/// Differs from the first without a newer version.
#[derive(Record, Debug, PartialEq, Clone)]
#[record(table = "people")]
struct Rival {
    #[record(key)]
    id: i64,
    name: String,
    city: Option<String>,
}

fn ada() -> First {
    First { id: 1, name: "Ada Lovelace".into() }
}

fn attribute(name: &str, ty: Type, default: Option<Value>) -> Attribute {
    Attribute { name: name.into(), ty, nullable: default.is_none(), default }
}

#[test]
fn a_newer_record_reads_older_rows_before_and_after_the_table_follows() {
    // Aim: opening with other attributes is a typed error unless the record is newer; then old rows read as new ones, in every
    // way to read, and can be written once the table has followed. Method: three records of one table.
    let node = node();
    let first = node.create_table_of::<First>().expect("new");
    first.insert(&ada()).expect("written");
    node.add_index("people", "by_name", &["name"], false).expect("new");
    assert!(matches!(node.table::<Rival>(), Err(Error::Record { .. })));
    assert!(matches!(node.upgrade_table_of::<Rival>(), Err(Error::Record { .. })));
    let ada_now = Second { id: 1, name: ada().name, city: None, visits: 0 };
    let before = node.table::<Second>().expect("it is newer");
    assert_eq!(before.get(&1), Ok(Some(ada_now.clone())));
    assert!(matches!(before.insert(&ada_now), Err(Error::Row(_))), "the table is not changed yet");

    let second = node.upgrade_table_of::<Second>().expect("all members are up");
    node.upgrade_table_of::<Second>().expect("nothing is left to do");
    assert_eq!(second.get(&1), Ok(Some(ada_now.clone())));
    let bob = Second { id: 2, name: "Bob".into(), city: Some("Ghent".into()), visits: 3 };
    second.insert(&bob).expect("the table is changed");
    assert!(matches!(node.table::<First>(), Err(Error::Record { .. })), "an older record does not know it");
    assert!(first.insert(&ada()).is_err(), "nor does an older handle write to it");
    let people = second.dynamic();
    let old = vec![Value::Int(1), ada().name.into(), Value::Null, Value::Int(0)];
    let new = vec![Value::Int(2), "Bob".into(), "Ghent".into(), Value::Int(3)];
    assert_eq!(people.get(&key(1)), Ok(Some(old.clone())));
    assert_eq!(people.dirty_get(&key(1)), Ok(Some(old.clone())));
    assert_eq!(sorted(people.to_vec().expect("read")), [old.clone(), new.clone()]);
    assert_eq!(people.view(&key(1), |row| row.len()), Ok(Some(4)));
    assert_eq!(people.index_read("by_city", &[Value::Null]), Ok(vec![old.clone()]), "the new index has it");
    assert_eq!(people.index_read("by_name", &[ada().name.into()]), Ok(vec![old.clone()]));
    assert_eq!(node.transaction(|tx| tx.get(&people, &key(1))), Ok(Some(old.clone())));
    assert_eq!(
        node.query("SELECT visits, city FROM people WHERE id = 1", &[]).expect("runs").rows,
        [[Value::Int(0), Value::Null]]
    );
    let changes = people.subscribe(EventDetail::WithOldRows).expect("served");
    assert_eq!(people.increment(&key(1), "visits", 1), Ok(Some(1)), "it is written with all attributes then");
    let Some(Heard::Event(event)) = changes.try_next() else { panic!("one change") };
    let values = |body: Option<Body>| body.expect("a row").rows()[0].to_values();
    assert_eq!((values(event.old)[3].clone(), values(event.new)[3].clone()), (Value::Int(0), Value::Int(1)));
    assert_eq!(second.outdated(), Ok(0));
}

#[test]
fn rows_are_equal_whatever_the_definition_was_when_they_were_written() {
    // Aim: a change of the definition changes no row: compare and swap, deletion of an object and the rows of a bag see equal
    // values. Method: rows from before an index and from before more attributes came.
    let node = node();
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let t = table(&node, kind);
        (1..5).for_each(|id| t.insert(&row(id, id)).expect("written"));
        node.add_index("t", "again", &["n"], false).expect("new");
        t.insert(&row(1, 1)).expect("written again");
        assert_eq!(t.read(&key(1)).expect("read").len(), 1, "{kind:?}: it is the same row");
        assert_eq!(t.delete_object(&row(2, 2)), Ok(true));
        node.add_attributes("t", &[attribute("more", Type::Int, Some(7.into()))]).expect("has a default");
        let more = |id: i64| [id.into(), id.into(), Value::Int(7)];
        t.insert(&more(3)).expect("written again");
        assert_eq!(t.read(&key(3)), Ok(vec![more(3).to_vec()]), "{kind:?}");
        assert_eq!(t.delete_object(&more(3)), Ok(true), "{kind:?}");
        assert_eq!(t.delete_object(&more(4)), Ok(true), "{kind:?}: not rewritten before");
        if kind != Kind::Bag {
            assert_eq!(t.compare_and_swap(&key(1), Some(&more(1)), None), Ok(true));
        }
        node.drop_table("t").expect("there");
    }
}

#[test]
fn what_was_added_is_found_by_its_defaults() {
    // Aim: unique and plain indexes over added attributes hold for rows that do not have them yet. Method: two rows whose
    // default is the same under a unique index, then one that takes a value of its own.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 1)).expect("written");
    node.add_attributes("t", &[attribute("code", Type::Int, Some(9.into()))]).expect("added");
    node.add_index("t", "by_code", &["code"], true).expect("one row has 9");
    let second = t.insert(&[2.into(), 2.into(), 9.into()]);
    assert!(matches!(second, Err(Error::Unique { .. })), "{second:?}");
    t.insert(&[2.into(), 2.into(), 8.into()]).expect("its own");
    assert_eq!(t.index_read("by_code", &[9.into()]).expect("read").len(), 1);
    node.drop_index("t", "by_code").expect("there");
    t.insert(&[3.into(), 3.into(), 9.into()]).expect("written");
    assert!(matches!(node.add_index("t", "by_code", &["code"], true), Err(Error::Unique { .. })));
    for (name, wanted) in [("", "bad"), ("n", "same"), ("x", "none")] {
        let mut one = attribute(name, Type::Int, Some(1.into()));
        if wanted == "none" {
            one.default = None;
        }
        assert!(matches!(node.add_attributes("t", &[one]), Err(Error::Schema(_))), "{wanted}");
    }
    assert_eq!(t.definition().expect("there").attributes.len(), 3, "nothing was added");
    assert!(matches!(node.add_attributes("_schema", &[]), Err(Error::SystemTable { .. })));
    assert!(matches!(node.add_attributes("nope", &[]), Err(Error::NoSuchTable { .. })));
}

#[test]
fn a_transform_changes_all_rows_or_none() {
    // Aim: other attributes and a function over the rows, in one transaction. Method: records and values; functions that fail
    // in the middle, rows that do not fit, keys that change, unique values that meet; then the table is as it was.
    let node = node();
    let first = node.create_table_of::<First>().expect("new");
    let names = ["Ada Lovelace", "Grace Hopper", "Alan Turing"];
    let people: Vec<First> = (1..).zip(names).map(|(id, name)| First { id, name: name.into() }).collect();
    first.insert_many(&people).expect("written");
    first.insert_with(&people[0], Lifetime::For(std::time::Duration::from_secs(3_600))).expect("written");
    let snapshot = node.snapshot().expect("ready");
    let split = |old: First| {
        let (first, last) = old.name.split_once(' ').expect("two words");
        Third { id: old.id, first: first.into(), last: last.into() }
    };
    let other_key = node.transform_of::<First, Third>(|old| Third { id: old.id + 1, ..split(old) });
    assert!(matches!(other_key, Err(Error::Aborted { .. })), "{other_key:?}");
    let unique = Third::definition().unique_index("by_last", ["last"]);
    let same = node.transform("people", unique, |row| Ok(vec![row[0].clone(), "x".into(), "y".into()]));
    assert!(matches!(same, Err(Error::Unique { .. })), "{same:?}");
    let failing = |row: Vec<Value>| match row[0] {
        Value::Int(2) => Err(Error::abort("not this one")),
        _ => Ok(vec![row[0].clone(), "x".into(), "y".into()]),
    };
    assert_eq!(
        node.transform("people", Third::definition(), failing).map(drop),
        Err(Error::abort("not this one"))
    );
    let misfit = node.transform("people", Third::definition(), |row| Ok(vec![row[0].clone()]));
    assert!(matches!(misfit, Err(Error::Row(_))), "{misfit:?}");
    let ordered = Third::definition().kind(Kind::OrderedSet);
    assert!(matches!(node.transform("people", ordered, Ok), Err(Error::WrongKind { .. })));
    assert_eq!(first.get(&3), Ok(Some(people[2].clone())), "nothing has changed");

    let third = node.transform_of::<First, Third>(split).expect("all fit");
    assert_eq!(third.get(&2), Ok(Some(Third { id: 2, first: "Grace".into(), last: "Hopper".into() })));
    assert!(third.deadline(&1).expect("read").is_some(), "deadlines stay");
    assert!(third.to_vec().expect("read").len() == 3 && third.outdated() == Ok(0));
    let looked = snapshot.range(&third, &Span::all());
    assert!(matches!(looked, Err(Error::SchemaChanged { .. })), "a look at before: {looked:?}");
    assert!(matches!(snapshot.get(&third, &1), Err(Error::SchemaChanged { .. })));
}

#[test]
fn a_rewrite_goes_on_where_it_was() {
    // Aim: rows are rewritten batch by batch while others write, each once, and after an interruption the rest. Method: a
    // function that fails at a row, then again without failing; a writer all the while, whose rows are left alone.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    let rows: Vec<_> = (0..1_000).map(|id| row(id, id)).collect();
    t.insert_many(rows.iter().map(|row| &row[..])).expect("written");
    node.add_attributes("t", &[attribute("double", Type::Int, Some(0.into()))]).expect("added");
    assert_eq!(t.outdated(), Ok(1_000));
    let doubled = |row: Vec<Value>| {
        let Value::Int(n) = row[1] else { panic!("a number") };
        let Value::Int(before) = row[2] else { panic!("a number") };
        vec![row[0].clone(), row[1].clone(), (before + 2 * n).into()]
    };
    let interrupted = t.rewrite(64, |row| match &row[0] {
        Value::Int(600) => Err(Error::abort("the power is gone")),
        _ => Ok(doubled(row)),
    });
    assert_eq!(interrupted, Err(Error::abort("the power is gone")));
    let left = t.outdated().expect("read");
    assert!((400..1_000).contains(&left), "whole batches are done: {left}");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut id = 0;
            while !stop.load(Ordering::Relaxed) {
                t.insert(&[id.into(), 5.into(), (-1).into()]).expect("written");
                id = (id + 97) % 1_000;
            }
        });
        let done = t.rewrite(10, |row| Ok(doubled(row))).expect("none fails");
        assert!(done <= left);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(t.outdated(), Ok(0));
    for row in t.to_vec().expect("read") {
        let (Value::Int(n), Value::Int(double)) = (&row[1], &row[2]) else { panic!("numbers") };
        assert!(*double == 2 * n || (*n, *double) == (5, -1), "once and no more: {row:?}");
    }
    assert_eq!(t.rewrite(10, |row| Ok(doubled(row))), Ok(0));
}

#[test]
fn a_rewrite_in_batches_of_nothing_is_one_row_by_row() {
    // Aim: no panic and no endless loop. Method: a batch of 0.
    let node = node();
    let t = table(&node, Kind::Set);
    (0..3).for_each(|id| t.insert(&row(id, id)).expect("written"));
    node.add_attributes("t", &[attribute("more", Type::Int, Some(0.into()))]).expect("added");
    assert_eq!((t.rewrite(0, |row: Vec<Value>| Ok(row)), t.outdated()), (Ok(3), Ok(0)));
}

fn kept(node: &Node, name: &str, kind: Kind) -> DynTable {
    let definition = TableDef::builder(name).kind(kind).copy(NodeId::of_name("n"), Storage::Disc);
    let definition = definition.attribute("id", Type::Int).attribute("n", Type::Int).index("by_n", ["n"]);
    node.create_table(definition).expect("new")
}

fn open(home: &Path) -> Node {
    Node::builder().name("n").data_dir(home).build().expect("free")
}

#[test]
fn changes_are_there_after_a_stop_and_after_a_crash() {
    // Aim: more attributes, a transform, a rename and a clear hold on disc, whatever was written before and behind them. Method:
    // each on a table of each kind, with rows of before and after, through a stop and a crash, checked twice.
    let first = tempfile::tempdir().expect("a directory");
    let node = open(first.path());
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let name = |what: &str| format!("{what} {kind:?}");
        let [grown, shaped, renamed, cleared] =
            ["grown", "shaped", "before", "cleared"].map(|what| kept(&node, &name(what), kind));
        for t in [&grown, &shaped, &renamed, &cleared] {
            (0..50).for_each(|id| t.insert(&row(id, id)).expect("written"));
        }
        node.add_attributes(&name("grown"), &[attribute("more", Type::Text, Some("x".into()))])
            .expect("added");
        grown.insert(&[7.into(), 7.into(), "own".into()]).expect("written");
        let swapped = TableDef::builder(name("shaped"))
            .kind(kind)
            .attribute("n", Type::Text)
            .attribute("id", Type::Int);
        let swapped = swapped.key(["id"]).index("by_n", ["n"]);
        node.transform(&name("shaped"), swapped, |row| {
            Ok(vec![format!("{}", row[1]).into(), row[0].clone()])
        })
        .expect("fits");
        node.rename_table(&name("before"), &name("after")).expect("free");
        renamed.insert(&row(99, 99)).expect("the handle goes on");
        cleared.clear().expect("done");
        cleared.insert(&row(3, 3)).expect("written behind");
    }
    let crashed = killed(first.path());
    drop(node);
    for home in [crashed.path(), first.path(), crashed.path()] {
        let node = open(home);
        for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
            let at = |what: &str| node.dyn_table(&format!("{what} {kind:?}")).expect("there");
            let grown = at("grown").read(&key(7)).expect("read");
            assert_eq!(grown.last(), Some(&vec![7.into(), 7.into(), "own".into()]), "{kind:?}");
            assert_eq!(at("grown").get(&key(8)), Ok(Some(vec![8.into(), 8.into(), "x".into()])), "{kind:?}");
            assert_eq!(at("grown").index_read("by_n", &[8.into()]).expect("read").len(), 1);
            assert_eq!(at("shaped").get(&key(8)), Ok(Some(vec!["8".into(), 8.into()])), "{kind:?}");
            assert_eq!(at("shaped").index_read("by_n", &["8".into()]).expect("read").len(), 1);
            assert_eq!((at("shaped").len(), at("after").len()), (Ok(50), Ok(51)), "{kind:?}");
            assert_eq!(at("cleared").to_vec(), Ok(vec![row(3, 3).to_vec()]), "{kind:?}");
            assert_eq!(at("cleared").index_read("by_n", &[4.into()]), Ok(vec![]));
            assert!(node.dyn_table(&format!("before {kind:?}")).is_err());
        }
    }
}

#[test]
fn a_renamed_table_is_the_same_table() {
    // Aim: handles, snapshots and subscriptions go by the id; the old name is free; names that cannot be are refused.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    t.insert(&row(1, 1)).expect("written");
    let changes = t.subscribe(EventDetail::Simple).expect("served");
    let snapshot = node.snapshot().expect("ready");
    node.rename_table("t", "u").expect("free");
    assert_eq!(
        (snapshot.get(&t, &key(1)), t.get(&key(1))),
        (Ok(Some(row(1, 1).to_vec())), Ok(Some(row(1, 1).to_vec())))
    );
    t.insert(&row(2, 2)).expect("written");
    assert!(matches!(changes.try_next(), Some(Heard::Event(_))));
    assert_eq!(node.query("SELECT n FROM u WHERE id = 2", &[]).expect("runs").rows.len(), 1);
    assert!(node.query("SELECT n FROM t", &[]).is_err());
    let again = table(&node, Kind::Set);
    assert!(again.is_empty().expect("another one") && again.id() != t.id());
    assert_eq!(node.rename_table("t", "u"), Err(Error::TableExists { name: "u".into() }));
    assert_eq!(node.rename_table("v", "w"), Err(Error::NoSuchTable { name: "v".into() }));
    assert!(matches!(node.rename_table("t", "_t"), Err(Error::SystemTable { .. })));
    assert!(matches!(node.rename_table("_schema", "s"), Err(Error::SystemTable { .. })));
    assert!(matches!(node.rename_table("t", "\n"), Err(Error::Schema(_))));
    node.drop_table("u").expect("there");
    node.rename_table("t", "u").expect("free again");
    assert_eq!(node.dyn_table("u").map(|u| u.id()), Ok(again.id()));
}

#[test]
fn a_clear_is_one_step() {
    // Aim: every row at once, more than a transaction may write; heard once each; unseen in part; snapshots of before are
    // told; transactions that read before it run again. Method: each kind, and a local table.
    let node = node();
    for (kind, local) in
        [(Kind::Set, false), (Kind::OrderedSet, false), (Kind::Bag, false), (Kind::Set, true)]
    {
        let definition =
            TableDef::builder("t").kind(kind).attribute("id", Type::Int).attribute("n", Type::Int);
        let definition = definition.index("by_n", ["n"]);
        let t = node.create_table(if local { definition.local() } else { definition }).expect("new");
        let rows: Vec<_> = (0..2_000).map(|id| row(id, id % 10)).collect();
        t.insert_many(rows.iter().map(|row| &row[..])).expect("written");
        let (snapshot, changes) =
            (node.snapshot().expect("ready"), t.subscribe(EventDetail::WithOldRows).expect("served"));
        t.clear().expect("done");
        assert_eq!((t.len(), t.bytes(), t.get(&key(1))), (Ok(0), Ok(0), Ok(None)), "{kind:?}");
        assert_eq!((t.to_vec(), t.index_read("by_n", &[3.into()])), (Ok(vec![]), Ok(vec![])));
        let gone = std::iter::from_fn(|| changes.try_next()).filter(
            |heard| matches!(heard, Heard::Event(event) if event.new.is_none() && event.old.is_some()),
        );
        assert_eq!(gone.count(), 2_000, "{kind:?}: each is heard");
        assert!(matches!(snapshot.get(&t, &key(1)), Err(Error::SchemaChanged { .. })), "{kind:?}");
        assert!(matches!(snapshot.range(&t, &Span::all()), Err(Error::SchemaChanged { .. })), "{kind:?}");
        for _ in 0..20 {
            t.clear().expect("done");
            let behind = node.snapshot().expect("ready");
            assert_eq!(behind.get(&t, &key(1)), Ok(None), "{kind:?}: nothing passed in between");
        }
        t.insert(&row(1, 1)).expect("it goes on");
        let mut runs = 0;
        let moved = node.transaction(|tx| {
            runs += 1;
            let seen = tx.get(&t, &key(1))?;
            if runs == 1 {
                t.clear()?;
            }
            tx.insert(&t, &row(2, seen.map_or(0, |_| 1)))
        });
        assert_eq!((moved, runs), (Ok(()), 2), "{kind:?}: what it read is gone");
        assert_eq!(t.to_vec(), Ok(vec![row(2, 0).to_vec()]), "{kind:?}");
        node.drop_table("t").expect("there");
        assert_eq!(t.clear(), Err(Error::NoSuchTable { name: "t".into() }));
    }
    let schema = node.dyn_table("_schema").expect("always");
    assert!(matches!(schema.clear(), Err(Error::SystemTable { .. })));
}

#[test]
fn a_clear_is_seen_whole_or_not_at_all() {
    // Aim: a snapshot that a clear falls into sees all rows, none, or is refused; and what it saw once it does not miss later.
    // Method: a thread that fills a table in one transaction and clears it, a reader of ranges and single rows beside it.
    const ROWS: i64 = 1_000;
    const ROUNDS_MIN: usize = 150;
    const ROUNDS_MAX: usize = 10_000;
    let node = node();
    for local in [false, true] {
        let name = if local { "own" } else { "shared" };
        let definition = TableDef::builder(name).kind(Kind::OrderedSet).attribute("id", Type::Int);
        let definition = definition.attribute("n", Type::Int);
        let t = node.create_table(if local { definition.local() } else { definition }).expect("new");
        let seen_both = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clearer = scope.spawn(|| {
                let rows: Vec<_> = (0..ROWS).map(|id| row(id, 0)).collect();
                for round in 0..ROUNDS_MAX {
                    if round >= ROUNDS_MIN && seen_both.load(Ordering::Relaxed) {
                        break;
                    }
                    t.insert_many(rows.iter().map(|row| &row[..])).expect("written");
                    t.clear().expect("cleared");
                }
            });
            let (mut all, mut none) = (0, 0);
            while !clearer.is_finished() {
                let snapshot = node.snapshot().expect("ready");
                let first = snapshot.get(&t, &key(ROWS / 2));
                let counted = snapshot.range(&t, &Span::all()).map(|rows| rows.len() as i64);
                let last = snapshot.get(&t, &key(ROWS / 2));
                if let Ok(rows) = counted {
                    assert!([0, ROWS].contains(&rows), "{name}: {rows} rows of a snapshot");
                    (all, none) = (all + i64::from(rows == ROWS), none + i64::from(rows == 0));
                    seen_both.store(all > 0 && none > 0, Ordering::Relaxed);
                }
                if let (Ok(first), Ok(last)) = (first, last) {
                    assert_eq!(first.is_some(), last.is_some(), "{name}: one snapshot");
                }
            }
            assert!(all > 0 && none > 0, "{name}: {all} full, {none} empty");
        });
    }
}

#[test]
fn a_clear_lies_between_the_writes_of_others() {
    // Aim: a row is there exactly when it was written behind the last clear. Method: two threads write rows of growing numbers,
    // a third clears; at the end what is left is what came last, and index and rows agree.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    std::thread::scope(|scope| {
        for part in 0..2 {
            let t = &t;
            scope.spawn(move || (0..400).for_each(|n| t.insert(&row(part * 1_000 + n, n)).expect("written")));
        }
        scope.spawn(|| (0..20).for_each(|_| t.clear().expect("done")));
    });
    let left = t.to_vec().expect("read");
    assert_eq!(left.len() as u64, t.len().expect("read"));
    for part in [0, 1_000] {
        let own: Vec<i64> = left
            .iter()
            .filter_map(|row| if let Value::Int(id) = row[0] { Some(id) } else { None })
            .filter(|id| (part..part + 1_000).contains(id))
            .collect();
        assert!(own.windows(2).all(|two| two[0] + 1 == two[1]), "without a gap: {own:?}");
        assert!(own.last().is_none_or(|last| *last == part + 399), "up to the last: {own:?}");
    }
    for n in 0..400 {
        let found = t.index_read("by_n", &[n.into()]).expect("read").len();
        assert_eq!(found, left.iter().filter(|row| row[1] == Value::Int(n)).count());
    }
}

#[test]
fn a_local_bag_may_keep_identical_rows() {
    // Aim: a bag that keeps duplicates keeps every row that is put, in order, through a crash; deleting the object deletes all
    // of them; SQL counts them; other tables cannot have it. Method: on disc, checked before and after.
    let home = tempfile::tempdir().expect("a directory");
    let definition = |name: &str| {
        let definition = TableDef::builder(name).copy(NodeId::of_name("n"), Storage::Disc);
        definition.attribute("id", Type::Int).attribute("n", Type::Int)
    };
    let node = open(home.path());
    for wrong in [definition("w"), definition("w").kind(Kind::Bag), definition("w").local()] {
        assert!(matches!(node.create_table(wrong.duplicates()), Err(Error::Schema(_))));
    }
    let log = node.create_table(definition("log").kind(Kind::Bag).local().duplicates()).expect("a local bag");
    let [a, b] = [row(1, 1).to_vec(), row(1, 2).to_vec()];
    log.insert_many([&a[..], &b, &a]).expect("written");
    log.insert(&a).expect("written");
    let all = vec![a.clone(), b.clone(), a.clone(), a.clone()];
    assert_eq!((log.read(&key(1)), log.len()), (Ok(all.clone()), Ok(4)));
    assert_eq!(node.query("INSERT INTO log VALUES (2, 1), (2, 1)", &[]).expect("runs").count, 2);
    let crashed = killed(home.path());
    drop((log, node));
    for home in [home.path(), crashed.path()] {
        let node = open(home);
        let log = node.dyn_table("log").expect("there");
        assert_eq!((log.read(&key(1)), log.read(&key(2)).map(|rows| rows.len())), (Ok(all.clone()), Ok(2)));
        assert_eq!(log.delete_object(&a), Ok(true));
        assert_eq!(log.read(&key(1)), Ok(vec![b.clone()]), "all of them");
        assert_eq!(log.take(&key(2)).map(|rows| rows.len()), Ok(2));
    }
}

#[test]
fn a_handle_from_before_a_transform_does_not_take_one_attribute_for_another() {
    // Aim: a handle of records whose attributes changed places is refused, reading and writing, inside transactions and out, and
    // nothing is stored; one of plain values goes on, and so does the records' where attributes only came behind. Method: two
    // numbers that change places, then an attribute more for a record made anew.
    #[derive(Record, Debug, PartialEq)]
    #[record(table = "pairs")]
    struct Pair {
        #[record(key)]
        id: i64,
        n: i64,
    }
    let node = node();
    let pairs = node.create_table_of::<Pair>().expect("new");
    pairs.insert(&Pair { id: 1, n: 10 }).expect("written");
    let swapped = TableDef::builder("pairs").attribute("n", Type::Int).attribute("id", Type::Int).key(["id"]);
    node.transform("pairs", swapped, |row| Ok(vec![row[1].clone(), row[0].clone()])).expect("fits");
    #[track_caller]
    fn refused(error: Option<Error>) {
        assert!(matches!(error, Some(Error::Record { .. })), "{error:?}");
    }
    refused(pairs.insert(&Pair { id: 5, n: 6 }).err());
    refused(pairs.get(&1).err());
    refused(pairs.increment(&1, "n", 1).err());
    refused(node.transaction(|tx| tx.insert(&pairs, &Pair { id: 5, n: 6 })).err());
    refused(node.transaction(|tx| tx.get(&pairs, &1)).err());
    refused(pairs.to_vec().err());
    let all = pairs.dynamic();
    assert_eq!(all.to_vec(), Ok(vec![vec![10.into(), 1.into()]]));
    assert_eq!((pairs.len(), pairs.definition().map(|def| def.attributes.len())), (Ok(1), Ok(2)));

    let back = TableDef::builder("pairs").attribute("id", Type::Int).attribute("n", Type::Int).key(["id"]);
    node.transform("pairs", back, |row| Ok(vec![row[1].clone(), row[0].clone()])).expect("fits");
    assert_eq!(pairs.get(&1), Ok(Some(Pair { id: 1, n: 10 })), "they are in their places again");
    let more = back_with_more();
    node.transform("pairs", more, |row| Ok(vec![row[0].clone(), row[1].clone(), "more".into()]))
        .expect("fits");
    assert_eq!(pairs.get(&1), Ok(Some(Pair { id: 1, n: 10 })));
}

fn back_with_more() -> hypermnesia_store::TableBuilder {
    TableDef::builder("pairs")
        .attribute("id", Type::Int)
        .attribute("n", Type::Int)
        .attribute("more", Type::Text)
        .key(["id"])
}
