//! Single operations, the schema, and what is refused.

use hypermnesia::{Count, DynTable, Error, Kind, Node, Span, TableDef, Type, Value};

use crate::{key, node, row, table};

#[test]
fn single_operations_do_what_they_say() {
    // Aim: the table of single operations. Method: each one, on a row that is there and one that is not.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    assert!(t.insert_new(&row(1, 1)).expect("done"));
    assert!(!t.insert_new(&row(1, 2)).expect("done"));
    assert_eq!(t.increment(&key(1), "n", 4).expect("done"), Some(5));
    assert_eq!(t.increment(&key(9), "n", 4).expect("done"), None);
    let count = [Count::new("n", 1).wrapping(5, 0)];
    assert_eq!(t.update_counter(&key(1), &count, None).expect("done"), Some(vec![0]));
    assert_eq!(t.update_counter(&key(2), &count, Some(&row(2, 3))).expect("done"), Some(vec![4]));
    assert!(!t.compare_and_swap(&key(2), Some(&row(2, 3)), None).expect("done"));
    assert!(t.compare_and_swap(&key(2), Some(&row(2, 4)), Some(&row(2, 7))).expect("done"));
    assert!(t.compare_and_swap(&key(3), None, Some(&row(3, 3))).expect("done"));
    assert!(t.update_attributes(&key(3), &[("n", Value::Int(8))]).expect("done"));
    assert_eq!(t.lookup(&key(3), "n", Value::Null).expect("done"), Value::Int(8));
    assert_eq!(t.lookup(&key(4), "n", Value::Null).expect("done"), Value::Null);
    assert_eq!(t.take(&key(3)).expect("done"), [row(3, 8).to_vec()]);
    assert_eq!(t.first().expect("done"), Some(row(1, 0).to_vec()));
    assert_eq!(t.last().expect("done"), Some(row(2, 7).to_vec()));
    assert_eq!(t.next(&key(0)).expect("from an absent key"), Some(row(1, 0).to_vec()));
    assert_eq!(t.prev(&key(1)).expect("done"), None);
    assert_eq!(t.range(&t.span(key(2)..).expect("keys")).expect("done"), [row(2, 7).to_vec()]);
    assert_eq!(t.len().expect("done"), 2);
    t.clear().expect("done");
    assert!(t.is_empty().expect("done"));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    // Aim: contract case 10. Method: wrong table, type, arity, null, size, kind, system table.
    let node = node();
    let t = table(&node, Kind::Set);
    assert_eq!(node.dyn_table("nope").map(drop), Err(Error::NoSuchTable { name: "nope".into() }));
    assert!(matches!(t.insert(&[Value::Int(1), Value::from("x")]), Err(Error::Row(_))));
    assert!(matches!(t.insert(&[Value::Int(1)]), Err(Error::Row(_))));
    assert!(matches!(t.insert(&[Value::Int(1), Value::Null]), Err(Error::Row(_))));
    assert!(matches!(t.get(&[Value::from("x")]), Err(Error::Row(_))));
    assert!(matches!(t.first(), Err(Error::WrongKind { .. })));
    assert!(matches!(t.index_read("nope", &[]), Err(Error::NoSuchIndex { .. })));
    assert!(matches!(t.increment(&key(1), "nope", 1), Ok(None) | Err(Error::NoSuchAttribute { .. })));
    let big =
        node.create_table(TableDef::builder("big").attribute("id", Type::Int).attribute("b", Type::Bytes));
    let big = big.expect("it is new");
    let oversized = big.insert(&[Value::Int(1), Value::Bytes(vec![0; 9 * 1024 * 1024])]);
    assert!(matches!(oversized, Err(Error::Row(_) | Error::Value(_))), "{oversized:?}");
    let schema: DynTable = node.dyn_table("_schema").expect("it is always there");
    assert!(matches!(schema.delete(&key(16)), Err(Error::SystemTable { .. })));
    assert!(matches!(node.drop_table("_schema"), Err(Error::SystemTable { .. })));
    let twice = node.create_table(TableDef::builder("t").attribute("id", Type::Int)).map(drop);
    assert_eq!(twice, Err(Error::TableExists { name: "t".into() }));
    assert!(t.is_empty().expect("nothing was written"));
}

#[test]
fn indexes_come_and_go_and_hold() {
    // Aim: add, use, violate and drop an index on a table with rows. Method: plain and unique, compared with a scan.
    let node = node();
    let t = table(&node, Kind::Set);
    for id in 0..20 {
        t.insert(&row(id, id / 2)).expect("written");
    }
    node.drop_index("t", "by_n").expect("it is there");
    assert!(matches!(t.index_read("by_n", &[]), Err(Error::NoSuchIndex { .. })));
    node.add_index("t", "again", &["n"], false).expect("it is new");
    assert_eq!(t.index_read("again", &[Value::Int(3)]).expect("read").len(), 2);
    let unique = node.add_index("t", "one", &["n"], true);
    assert!(matches!(unique, Err(Error::Unique { .. })), "{unique:?}");
    node.add_index("t", "own", &["id", "n"], true).expect("all differ");
    let violating = node.query("UPDATE t SET n = 0 WHERE id = 1", &[]).expect("differs in id");
    assert_eq!(violating.count, 1);
    node.add_index("t", "as", &["n"], true).expect_err("two rows have n = 0");
}

#[test]
fn an_index_over_the_values_of_a_list_comes_to_a_table_with_rows() {
    // Aim: the same index by definition, by call and by statement; a unique one lets no two rows share a value. Method: each
    // on rows that are there, read through the index; what is no list is refused.
    let node = node();
    let definition = TableDef::builder("posts").attribute("id", Type::Int).attribute("tags", Type::List);
    let posts = node.create_table(definition.multi_index("defined", "tags")).expect("new");
    let tags = |tags: &[&str]| Value::List(tags.iter().map(|&tag| tag.into()).collect());
    for (id, list) in [(1, ["a", "b"]), (2, ["b", "c"])] {
        posts.insert(&[id.into(), tags(&list)]).expect("it fits");
    }
    node.add_multi_index("posts", "called", "tags", false).expect("added");
    node.query("CREATE INDEX stated ON posts (EACH tags)", &[]).expect("added");
    posts.insert(&[3.into(), tags(&["c"])]).expect("it fits");
    for index in ["defined", "called", "stated"] {
        for (tag, ids) in [("a", &[1][..]), ("b", &[1, 2]), ("c", &[2, 3]), ("d", &[])] {
            let found = posts.index_read(index, &[tag.into()]).expect("an index");
            let found: Vec<Value> = found.into_iter().map(|mut row| row.remove(0)).collect();
            assert_eq!(found, ids.iter().map(|&id: &i64| id.into()).collect::<Vec<Value>>(), "{index} {tag}");
        }
    }
    let twice = node.query("CREATE UNIQUE INDEX once ON posts (EACH tags)", &[]);
    assert!(matches!(twice, Err(Error::Unique { .. })), "{twice:?}");
    posts.delete(&key(2)).expect("there");
    node.query("CREATE UNIQUE INDEX once ON posts (EACH tags)", &[]).expect("all differ");
    let shared = posts.insert(&[4.into(), tags(&["x", "a"])]);
    assert!(matches!(shared, Err(Error::Unique { .. })), "{shared:?}");
    for wrong in [
        node.add_multi_index("posts", "wrong", "id", false),
        node.query("CREATE INDEX wrong ON posts (EACH id)", &[]).map(drop),
    ] {
        assert!(matches!(wrong, Err(Error::Schema(_))), "{wrong:?}");
    }
}

#[test]
fn an_index_that_is_added_keeps_to_the_rules_of_definitions() {
    // Aim: what a definition cannot have cannot be added to one. Method: names, columns twice, none, and one index too many.
    let node = node();
    table(&node, Kind::Set);
    for (name, attributes) in [("", &["n"][..]), ("a\nb", &["n"]), ("twice", &["n", "n"]), ("none", &[])] {
        let wrong = node.add_index("t", name, attributes, false);
        assert!(matches!(wrong, Err(Error::Schema(_))), "{name:?}: {wrong:?}");
    }
    let mut added = (1..100).map(|n| node.add_index("t", &format!("i{n}"), &["n"], false));
    let refused = added.find_map(Result::err);
    assert!(matches!(refused, Some(Error::Schema(_))), "{refused:?}");
}

#[test]
fn a_unique_value_refuses_a_second_row() {
    // Aim: the violation names table, index and value and aborts all. Method: two writes in one transaction.
    let node = node();
    let users = TableDef::builder("users").attribute("id", Type::Int).attribute("mail", Type::Text);
    let users = node.create_table(users.unique_index("by_mail", ["mail"])).expect("it is new");
    users.insert(&[Value::Int(1), Value::from("a@x")]).expect("written");
    let second = node.transaction(|tx| {
        tx.insert(&users, &[Value::Int(3), Value::from("c@x")])?;
        tx.insert(&users, &[Value::Int(2), Value::from("a@x")])
    });
    assert!(
        matches!(&second, Err(Error::Unique { table, index, .. }) if table == "users" && index == "by_mail"),
        "{second:?}"
    );
    assert_eq!(users.len().expect("read"), 1);
}

#[test]
fn a_dropped_table_is_gone_and_its_name_is_free() {
    // Aim: handles and snapshots of a dropped table say so. Method: drop, use, create again under the name.
    let node: Node = node();
    let t = table(&node, Kind::OrderedSet);
    t.insert(&row(1, 1)).expect("written");
    let snapshot = node.snapshot().expect("ready");
    node.drop_table("t").expect("it is there");
    assert_eq!(t.get(&key(1)), Err(Error::NoSuchTable { name: "t".into() }));
    assert!(snapshot.range(&t, &Span::all()).is_err());
    let again = table(&node, Kind::Set);
    assert_ne!(again.id(), t.id());
    assert!(again.is_empty().expect("new"));
}

#[test]
fn a_unique_index_is_never_in_force_over_rows_that_break_it() {
    // Aim: no write comes between the look at the rows and the index. Method: an index is added to a large table while
    // another thread inserts the row that would break it; whichever is first, not both succeed.
    for round in 0..8 {
        let node = node();
        let t = table(&node, Kind::Set);
        for part in 0..4 {
            let rows: Vec<_> = (part * 500..(part + 1) * 500).map(|id| row(id, id)).collect();
            t.insert_many(rows.iter().map(|row| &row[..])).expect("written");
        }
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| node.add_index("t", "by_n_once", &["n"], true));
            (0..round * 50).for_each(|id| t.insert(&row(10_000 + id, 10_000 + id)).expect("its own value"));
            let inserted = t.insert(&row(100_000, 3)).is_ok();
            let added = adding.join().expect("no panic").is_ok();
            assert!(!(inserted && added), "round {round}: both succeeded");
        });
    }
}

#[test]
fn a_bag_counts_the_rows_it_keeps() {
    // Aim: a count of SQL is what was really added or changed. Method: identical rows in one statement, in the table, and
    // by an update.
    let node = node();
    let t = table(&node, Kind::Bag);
    let count = |sql| node.query(sql, &[]).expect("runs").count;
    assert_eq!(count("INSERT INTO t VALUES (1, 1), (1, 1), (1, 2)"), 2);
    assert_eq!(count("INSERT INTO t VALUES (1, 2), (1, 3)"), 1);
    assert_eq!(count("UPDATE t SET n = 9"), 1);
    assert_eq!(t.to_vec().expect("read"), [row(1, 9).to_vec()]);
}
