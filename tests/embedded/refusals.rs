//! What is refused says what, where and what to do.

use std::time::{Duration, Instant};

use hypermnesia::record::Record;
use hypermnesia::{Error, Kind, LockMode, Node, NodeId, RowError, Storage, TableDef, TxOptions, Type, Value};

use crate::{key, node, row, table};

#[test]
fn a_text_too_long_for_its_index_is_refused_by_name() {
    // Aim: the error names table, key and bound, and nothing changed. Method: a long text with and without an index on it.
    let node = Node::builder().build().expect("embedded");
    let definition = TableDef::builder("notes").attribute("id", Type::Int).attribute("text", Type::Text);
    let notes = node.create_table(definition.index("by_text", ["text"])).expect("created");
    let long = [Value::Int(7), Value::Text("x".repeat(100_000))];
    let refused = notes.insert(&long).expect_err("an entry would be too long");
    assert!(
        matches!(&refused, Error::IndexEntryTooLong { table, key } if table == "notes" && key == "7"),
        "{refused}"
    );
    assert!(refused.to_string().contains("16384 bytes"), "{refused}");
    assert!(notes.is_empty().expect("read"));
    node.drop_index("notes", "by_text").expect("dropped");
    notes.insert(&long).expect("a row may be that long");
}

#[test]
fn a_table_on_disc_needs_a_data_directory() {
    // Aim: nothing that was to be kept is silently kept in memory only. Method: a node without a directory, and one with.
    let kept =
        || TableDef::builder("kept").attribute("id", Type::Int).copy(NodeId::of_name("n1"), Storage::Disc);
    let node = Node::builder().build().expect("embedded");
    let refused = node.create_table(kept()).expect_err("there is nowhere to keep it");
    assert!(matches!(&refused, Error::NoDataDirectory { table } if table == "kept"), "{refused}");
    assert!(node.tables().is_empty());
    let home = tempfile::tempdir().expect("a directory");
    let node = Node::builder().data_dir(home.path()).build().expect("embedded");
    node.create_table(kept()).expect("here it can be kept");
}

#[test]
fn names_of_the_system_are_refused() {
    // Aim: users cannot make or break the system's own tables. Method: each way to them.
    let node = Node::builder().build().expect("embedded");
    let mine = TableDef::builder("_mine").attribute("id", Type::Int);
    assert!(matches!(node.create_table(mine), Err(Error::SystemTable { .. })));
    assert!(matches!(node.drop_table("_schema"), Err(Error::SystemTable { .. })));
    let schema = node.dyn_table("_schema").expect("it can be read");
    let row = [Value::Int(9), Value::Text("x".into()), Value::Bytes(vec![1])];
    assert!(matches!(schema.insert(&row), Err(Error::SystemTable { .. })));
    assert!(matches!(schema.delete(&[Value::Int(1)]), Err(Error::SystemTable { .. })));
}

#[test]
fn values_that_an_index_cannot_hold_are_refused() {
    // Aim: a mistake is not answered with "no rows". Method: a wrong type and one value too many, each way in; a whole
    // number for a float is none.
    let node = Node::builder().build().expect("embedded");
    let definition = TableDef::builder("cars").attribute("id", Type::Int).attribute("owner", Type::Text);
    let cars = node
        .create_table(
            definition
                .attribute("length", Type::Float)
                .index("by_owner", ["owner"])
                .index("by_length", ["length"]),
        )
        .expect("created");
    cars.insert(&[Value::Int(1), "ann".into(), Value::Float(4.0)]).expect("written");
    let wrong = |asked: hypermnesia::Result<Vec<Vec<Value>>>| match asked {
        Err(Error::Row(RowError::Type { attribute, wanted: Type::Text, .. })) => {
            assert_eq!(attribute, "owner")
        }
        other => panic!("{other:?}"),
    };
    wrong(cars.index_read("by_owner", &[Value::Int(1)]));
    wrong(node.transaction(|tx| tx.index_read(&cars, "by_owner", &[Value::Int(1)])));
    let many = cars.index_read("by_owner", &["ann".into(), Value::Int(1)]);
    assert!(matches!(many, Err(Error::Row(RowError::Arity { wanted: 1, given: 2, .. }))), "{many:?}");
    assert_eq!(cars.index_read("by_owner", &["ann".into()]).expect("read").len(), 1);
    assert_eq!(cars.index_read("by_length", &[Value::Int(4)]).expect("read").len(), 1);
}

#[test]
fn a_counter_beyond_counting_says_so() {
    // Aim: the error names the value and the end, not a type that is right. Method: 2^63, and a text.
    let node = Node::builder().build().expect("embedded");
    let definition = TableDef::builder("counts").attribute("id", Type::Int).attribute("n", Type::Any);
    let counts = node.create_table(definition).expect("created");
    counts.insert(&[Value::Int(1), Value::Uint(1 << 63)]).expect("written");
    let refused = counts.increment(&key(1), "n", 1).expect_err("too far").to_string();
    assert!(refused.contains("9223372036854775808") && refused.contains("2^63 - 1"), "{refused}");
    counts.insert(&[Value::Int(1), "x".into()]).expect("written");
    let refused = counts.increment(&key(1), "n", 1);
    let held = |error| match error {
        Error::Row(RowError::NotCounted(not)) => Some(not.held),
        _ => None,
    };
    assert_eq!(refused.err().and_then(held), Some("text"));
}

#[test]
fn a_counter_on_no_int_names_the_type() {
    // Aim: the error says what the attribute is, not what it should be. Method: a float, counted outside and inside a
    // transaction.
    let node = Node::builder().build().expect("embedded");
    let definition = TableDef::builder("sums").attribute("id", Type::Int).attribute("mean", Type::Float);
    let sums = node.create_table(definition).expect("created");
    sums.insert(&[Value::Int(1), Value::Float(0.5)]).expect("written");
    let alone = sums.increment(&key(1), "mean", 1).expect_err("no int");
    let counts = [hypermnesia::Count::new("mean", 1)];
    let inside = node.transaction(|tx| tx.update_counter(&sums, &key(1), &counts, None)).expect_err("no int");
    assert_eq!(alone, inside);
    assert_eq!(
        alone.to_string(),
        "attribute \"mean\" of table \"sums\" cannot be counted: it is of type float and holds float, and counters need int"
    );
}

#[test]
fn a_record_of_another_kind_is_told_in_words() {
    // Aim: one sentence that names the table once. Method: a record over a table of another kind.
    #[derive(Record)]
    #[record(table = "t", kind = "ordered_set")]
    struct Sorted {
        #[record(key)]
        id: i64,
        n: i64,
    }
    let node = node();
    let refused = table(&node, Kind::Set).of::<Sorted>().expect_err("a set").to_string();
    assert!(
        refused.ends_with("does not fit: table \"t\" is of kind set, the record of kind ordered set"),
        "{refused}"
    );
}

#[test]
fn what_would_wait_for_the_transaction_around_it_is_refused() {
    // Aim: a mistake is told at once and not after ten seconds. Method: each way to need a lock of the outer transaction;
    // other keys go through.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 1)).expect("written");
    let begun = Instant::now();
    let refused =
        |inner: &dyn Fn() -> hypermnesia::Result<()>,
         lock: &dyn Fn(&mut hypermnesia::Transaction) -> hypermnesia::Result<()>| {
            let outer = node.transaction(|tx| {
                lock(tx)?;
                t.insert(&row(2, 2))?;
                match inner() {
                    Err(Error::BlockedByOuter { txid }) => assert_eq!(txid, tx.id()),
                    other => panic!("{other:?}"),
                }
                tx.insert(&t, &row(1, 3))
            });
            outer.expect("the outer one goes on");
        };
    let key_lock = |tx: &mut hypermnesia::Transaction| tx.get_for_update(&t, &key(1)).map(drop);
    refused(&|| t.insert(&row(1, 2)), &key_lock);
    refused(&|| node.transaction(|tx| tx.get_for_update(&t, &key(1)).map(drop)), &key_lock);
    refused(&|| node.transaction(|tx| tx.lock_table(&t, LockMode::Read)), &key_lock);
    let locking = TxOptions::new().locking();
    refused(&|| node.transaction_with(&locking, |tx| tx.get(&t, &key(1)).map(drop)), &key_lock);
    assert!(begun.elapsed() < TxOptions::new().deadline, "no deadline was waited for");
}

#[test]
fn a_deadline_of_nothing_has_passed() {
    // Aim: zero is no special word. Method: a program that would commit at once.
    let node = node();
    let t = table(&node, Kind::Set);
    let options = TxOptions::new().deadline(Duration::ZERO);
    let ended = node.transaction_with(&options, |tx| tx.insert(&t, &row(1, 1)));
    assert_eq!(ended, Err(Error::DeadlineExceeded));
    assert!(t.is_empty().expect("read"));
}

#[test]
fn an_index_that_no_table_has_is_named_alone() {
    // Aim: the error names what was asked for and no more. Method: DROP INDEX without a table and with one.
    let node = node();
    table(&node, Kind::Set);
    let refused = |sql| node.query(sql, &[]).expect_err("there is none").to_string();
    assert_eq!(refused("DROP INDEX by_b"), "no table has an index \"by_b\"");
    assert_eq!(refused("DROP INDEX by_b ON t"), "table \"t\" has no index \"by_b\"");
}
