//! Rows that live for a time, defaults, and indexes with several entries a row.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia::{Error, Kind, Lifetime, Storage, TableDef, Type, Value};

use crate::until::until;
use crate::{key, node, row, table};

const PAST: Lifetime = Lifetime::Until(UNIX_EPOCH);
const HOUR: Lifetime = Lifetime::For(Duration::from_secs(3600));

#[test]
fn what_is_past_is_absent_everywhere_and_then_gone() {
    // Aim: one rule for every way to read and write. Method: a row whose deadline has passed beside one that lives.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    t.insert_with(&row(1, 1), PAST).expect("written");
    t.insert_with(&row(2, 2), HOUR).expect("written");
    t.insert(&row(3, 3)).expect("written");
    assert_eq!(t.get(&key(1)).expect("read"), None);
    assert_eq!(t.to_vec().expect("read"), [row(2, 2).to_vec(), row(3, 3).to_vec()]);
    assert_eq!(t.first().expect("read"), Some(row(2, 2).to_vec()));
    assert!(t.index_read("by_n", &key(1)).expect("read").is_empty());
    assert_eq!(t.increment(&key(1), "n", 1).expect("done"), None);
    let found = node.query("SELECT count(*) FROM t", &[]).expect("read");
    assert_eq!(found.rows, [[Value::Int(2)]]);
    until(|| t.len().expect("read") == 2);
    t.insert_with(&row(1, 1), PAST).expect("written");
    assert!(t.insert_new(&row(1, 5)).expect("written"), "the key is free");
    assert_eq!(t.deadline(&key(1)).expect("read"), None, "the new row has a life of its own");
    assert!(!t.set_lifetime(&key(9), HOUR).expect("done"));
    assert!(t.set_lifetime(&key(1), HOUR).expect("done"));
    let far = SystemTime::now() + Duration::from_secs(3000);
    assert!(t.deadline(&key(1)).expect("read").is_some_and(|deadline| deadline > far));
    assert!(t.set_lifetime(&key(1), PAST).expect("done"));
    assert!(!t.contains(&key(1)).expect("read"));
    let bag =
        node.create_table(TableDef::builder("b").kind(Kind::Bag).attribute("id", Type::Int)).expect("new");
    assert!(matches!(bag.insert_with(&key(1), HOUR), Err(Error::WrongKind { .. })));
}

#[test]
fn a_tables_time_to_live_is_for_rows_that_are_put() {
    // Aim: puts get it, changes in place keep what the row has, compare-and-swap compares values. Method: each, looked at.
    let node = node();
    let hour = Duration::from_secs(3600);
    let t = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).ttl(hour);
    let t = node.create_table(t).expect("new");
    let deadline = |id| t.deadline(&key(id)).expect("read");
    t.insert(&row(1, 1)).expect("written");
    assert!(deadline(1).is_some_and(|at| at > SystemTime::now() + hour / 2));
    t.insert_with(&row(2, 2), Lifetime::Forever).expect("written");
    assert_eq!(deadline(2), None);
    t.increment(&key(2), "n", 1).expect("done");
    node.query("UPDATE t SET n = n + 1 WHERE id = 2", &[]).expect("done");
    assert_eq!((deadline(2), t.get(&key(2)).expect("read")), (None, Some(row(2, 4).to_vec())));
    t.insert_with(&row(3, 3), Lifetime::For(hour / 4)).expect("written");
    t.update_attributes(&key(3), &[("n", Value::Int(7))]).expect("done");
    assert!(deadline(3).is_some_and(|at| at < SystemTime::now() + hour / 2), "it kept its own");
    assert!(
        t.compare_and_swap(&key(3), Some(&row(3, 7)), Some(&row(3, 8))).expect("done"),
        "values are compared"
    );
    assert!(deadline(3).is_some_and(|at| at > SystemTime::now() + hour / 2), "a new row has the table's");
    assert!(t.delete_object(&row(3, 8)).expect("done"));
    node.query("INSERT INTO t (id, n) VALUES (4, 4)", &[]).expect("done");
    assert!(deadline(4).is_some());
    node.query("CREATE TABLE s (id INT PRIMARY KEY, n INT DEFAULT 3 + 4) WITH (ttl = '90s')", &[])
        .expect("new");
    node.query("INSERT INTO s (id) VALUES (1)", &[]).expect("done");
    let s = node.dyn_table("s").expect("created");
    assert_eq!(s.get(&key(1)).expect("read"), Some(row(1, 7).to_vec()));
    assert!(
        s.deadline(&key(1)).expect("read").is_some_and(|at| at < SystemTime::now() + Duration::from_secs(91))
    );
}

#[test]
fn deadlines_survive_a_restart() {
    // Aim: absolute deadlines in log and image. Method: a living and a dying row on disc, opened again.
    let home = tempfile::tempdir().expect("a directory");
    let open = || hypermnesia::Node::builder().data_dir(home.path()).build().expect("free");
    let first = open();
    let t = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int);
    let t = first.create_table(t.copy(first.id(), Storage::Disc)).expect("new");
    t.insert_with(&row(1, 1), HOUR).expect("written");
    t.insert_with(&row(2, 2), PAST).expect("written");
    let deadline = t.deadline(&key(1)).expect("read");
    first.close();
    let second = open();
    let t = second.dyn_table("t").expect("kept");
    assert_eq!((t.deadline(&key(1)).expect("read"), t.get(&key(2)).expect("read")), (deadline, None));
    until(|| t.len().expect("read") == 1);
}

#[test]
fn an_index_over_a_list_finds_a_row_by_each_value() {
    // Aim: multi-value indexes, outside and inside a transaction, unique too. Method: rows with shared and repeated tags.
    let node = node();
    let def = TableDef::builder("t").attribute("id", Type::Int).nullable("tags", Type::List);
    let t = node.create_table(def.multi_index("by_tag", "tags")).expect("new");
    let tags = |id: i64, tags: &[&str]| {
        [Value::Int(id), Value::List(tags.iter().map(|t| Value::from(*t)).collect())]
    };
    t.insert(&tags(1, &["red", "big", "red"])).expect("written");
    t.insert(&tags(2, &["red"])).expect("written");
    t.insert(&[Value::Int(3), Value::Null]).expect("written");
    let by = |tag: &str| t.index_read("by_tag", &[tag.into()]).expect("read").len();
    assert_eq!((by("red"), by("big"), by("blue")), (2, 1, 0));
    node.transaction(|tx| {
        tx.insert(&t, &tags(2, &["blue", "big"]))?;
        tx.insert(&t, &tags(4, &["red"]))?;
        let mut found = |tag: &str| tx.index_read(&t, "by_tag", &[tag.into()]).map(|rows| rows.len());
        assert_eq!((found("red")?, found("big")?, found("blue")?), (2, 2, 1));
        let span = hypermnesia::Span::all();
        assert_eq!(tx.index_range(&t, "by_tag", &span)?.len(), 5, "once for each value");
        Ok(())
    })
    .expect("committed");
    assert_eq!((by("red"), by("big"), by("blue")), (2, 2, 1));
    let list = node.query("SELECT id FROM t WHERE tags = $1", &[tags(4, &["red"])[1].clone()]).expect("read");
    assert_eq!(
        list.rows,
        [[Value::Int(4)]],
        "a condition on the whole list does not go through entries of its values"
    );
    assert_eq!(
        node.query("SELECT id FROM t ORDER BY tags", &[]).expect("read").rows.len(),
        4,
        "nor does an order"
    );
    t.delete(&key(1)).expect("deleted");
    assert_eq!((by("red"), by("big")), (1, 1));
    let def = TableDef::builder("u").attribute("id", Type::Int).nullable("tags", Type::List);
    let u = node.create_table(def.unique_multi_index("mail", "tags")).expect("new");
    u.insert(&tags(1, &["a", "b"])).expect("written");
    assert!(matches!(u.insert(&tags(2, &["c", "b"])), Err(Error::Unique { .. })));
    u.insert(&tags(1, &["c"])).expect("its own values change");
    u.insert(&tags(2, &["b"])).expect("and are free then");
}
