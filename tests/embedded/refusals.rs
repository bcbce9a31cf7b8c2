//! What is refused says what, where and what to do.

use hypermnesia::{Error, Node, NodeId, Storage, TableDef, Type, Value};

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
