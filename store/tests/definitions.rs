//! Table definitions: every rule of the builder, and which values a table takes. Method: one case on each side of a rule.

use hypermnesia_store::{
    Kind, NodeId, Row, RowError, SchemaError, SchemaVersion, Storage, TableCopy, TableDef, Type, Value, codec,
};

fn people() -> TableDef {
    TableDef::builder("people")
        .kind(Kind::OrderedSet)
        .attribute("id", Type::Int)
        .attribute("name", Type::Text)
        .nullable("height", Type::Float)
        .key(["name", "id"])
        .index("by_height", ["height"])
        .unique_index("by_id", ["id"])
        .unique_index("by_both", ["height", "id"])
        .copy(NodeId(1), Storage::Disc)
        .build()
        .expect("a good definition")
}

#[test]
fn every_rule_of_a_definition_is_kept() {
    // Aim: no definition that cannot work is built. Method: one broken rule at a time.
    let base = || TableDef::builder("t").attribute("a", Type::Int).attribute("b", Type::Any);
    assert_eq!(base().build().expect("good").key, [0]);
    let refused = |builder: hypermnesia_store::TableBuilder| builder.build().expect_err("must be refused");
    assert!(matches!(refused(TableDef::builder("").attribute("a", Type::Int)), SchemaError::BadName { .. }));
    assert!(matches!(
        refused(TableDef::builder("x".repeat(129)).attribute("a", Type::Int)),
        SchemaError::BadName { .. }
    ));
    assert!(matches!(refused(base().attribute("c\n", Type::Int)), SchemaError::BadName { .. }));
    assert!(matches!(refused(base().attribute("a", Type::Int)), SchemaError::SameName { .. }));
    assert!(matches!(refused(base().index("i", ["a"]).index("i", ["b"])), SchemaError::SameName { .. }));
    assert!(matches!(refused(base().key(["c"])), SchemaError::NoSuchAttribute { .. }));
    assert!(matches!(refused(base().key(["a", "a"])), SchemaError::BadKey { .. }));
    assert!(matches!(refused(base().index("i", Vec::<String>::new())), SchemaError::BadKey { .. }));
    assert!(matches!(refused(TableDef::builder("t")), SchemaError::AttributeCount { count: 0, .. }));
    let twice = base().copy(NodeId(1), Storage::Ram).copy(NodeId(1), Storage::Disc);
    assert!(matches!(refused(twice), SchemaError::SameNode { .. }));
}

#[test]
fn values_that_do_not_fit_are_named() {
    // Aim: wrong arity, type and null are typed errors naming the attribute. Method: one misfit at a time.
    let table = people();
    let (id, name) = (Value::Int(1), Value::from("Ann"));
    let arity = RowError::Arity { what: "a row", table: "people".into(), wanted: 3, given: 2 };
    assert_eq!(table.check_row(&[id.clone(), name.clone()]), Err(arity));
    let misfit = table.encode_row(&[id.clone(), Value::Int(2), Value::Null]).expect_err("int for text");
    assert_eq!(
        misfit.to_string(),
        "attribute \"name\" of table \"people\" is of type text, the value is of type int"
    );
    let null = RowError::Null { table: "people".into(), attribute: "id".into() };
    assert_eq!(table.check_row(&[Value::Null, name.clone(), Value::Null]), Err(null));
    assert!(matches!(table.encode_key(&[name]), Err(RowError::Arity { what: "the key", .. })));
}

#[test]
fn exact_whole_numbers_become_floats() {
    // Aim: a float attribute holds floats only, and never a rounded number. Method: exact and inexact whole numbers.
    let table = people();
    let with = |height: Value| table.encode_row(&[Value::Int(1), Value::from("Ann"), height]);
    assert!(
        matches!(with(Value::Int(2)).expect("exact").attribute(2), hypermnesia_store::ValueRef::Float(x) if x == 2.0)
    );
    assert!(with(Value::Int(1 << 53)).is_ok());
    assert!(matches!(with(Value::Int((1 << 53) + 1)), Err(RowError::Type { .. })));
    assert!(matches!(with(Value::Uint(u64::MAX)), Err(RowError::Type { .. })));
}

#[test]
fn keys_follow_the_definition() {
    // Aim: the key of a row equals the key made from its values, and unique keys pass over nulls. Method: compare.
    let table = people();
    let row = table.encode_row(&[Value::Int(1), Value::from("Ann"), Value::Null]).expect("fits");
    let key = table.key_of(&row).expect("small");
    assert_eq!(key, table.encode_key(&[Value::from("Ann"), Value::Int(1)]).expect("fits"));
    let index = |name| table.index_named(name).expect("it has that index");
    assert_eq!(
        table.index_keys(index("by_height"), &row).expect("small")[0].decode().expect("own"),
        [Value::Null]
    );
    assert_eq!(table.unique_keys(index("by_height"), &row), Ok(vec![]), "not unique");
    assert_eq!(table.unique_keys(index("by_both"), &row), Ok(vec![]), "a null in it");
    let id = table.unique_keys(index("by_id"), &row).expect("small");
    assert_eq!(id[0].decode().expect("own"), [Value::Int(1)]);
}

#[test]
fn rows_by_names_are_completed_by_defaults() {
    // Aim: defaults, and what is missing or unknown is named. Method: rows by names, whole, short, wrong.
    let table = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Float).default("n", 3);
    let table = table.nullable("note", Type::Text).attribute("must", Type::Bool).build().expect("right");
    let given = |names: &[(&'static str, Value)]| table.complete(names.iter().cloned());
    let whole = given(&[("must", Value::Bool(true)), ("id", Value::Int(1))]);
    assert_eq!(whole, Ok(vec![Value::Int(1), Value::Float(3.0), Value::Null, Value::Bool(true)]));
    assert!(
        matches!(given(&[("id", Value::Int(1))]), Err(RowError::Missing { attribute, .. }) if attribute == "must")
    );
    assert!(matches!(given(&[("nope", Value::Int(1))]), Err(RowError::Unnamed { .. })));
    assert!(matches!(given(&[("id", Value::Int(1)), ("id", Value::Int(1))]), Err(RowError::Unnamed { .. })));
    let wrong = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).default("n", "x");
    assert!(matches!(wrong.build(), Err(SchemaError::BadDefault { .. })));
    let null =
        TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).default("n", Value::Null);
    assert!(matches!(null.build(), Err(SchemaError::BadDefault { .. })));
}

#[test]
fn what_lives_for_a_time_and_what_has_many_values_is_checked() {
    // Aim: no definition that could not be kept. Method: time to live of zero, on a bag; multi-value over what is no list.
    let base = || TableDef::builder("t").attribute("id", Type::Int).nullable("tags", Type::List);
    let ms = std::time::Duration::from_millis;
    assert!(base().ttl(ms(1)).multi_index("by_tag", "tags").build().is_ok());
    assert!(matches!(base().ttl(ms(0)).build(), Err(SchemaError::BadRetention { .. })));
    assert!(matches!(base().kind(Kind::Bag).ttl(ms(5)).build(), Err(SchemaError::BadRetention { .. })));
    assert!(matches!(base().multi_index("by_id", "id").build(), Err(SchemaError::BadMulti { .. })));
}

#[test]
fn copies_that_are_changed_later_are_checked_again() {
    // Aim: a definition that gets other copies after it was built (a restore does that) is held to the same rules. Method: a
    // cache put on disc alone, a cache that is too small, two copies on a node.
    let copy = |storage| TableCopy { node: NodeId(1), storage };
    let base = TableDef::builder("t").attribute("id", Type::Int).local().rows_max(10).evict();
    let cache = base.build().expect("in memory it is a cache");
    assert!(cache.check_copies().is_ok());
    let plain = TableDef::builder("t").attribute("id", Type::Int).build().expect("right");
    let with = |def: &TableDef, copies| TableDef { copies, ..def.clone() }.check_copies();
    let refused = with(&cache, vec![copy(Storage::DISC_ONLY)]);
    assert!(matches!(refused, Err(SchemaError::BadRetention { .. })), "{refused:?}");
    let refused = with(&plain, vec![copy(Storage::DiscOnly { cache_bytes: 1 })]);
    assert!(matches!(refused, Err(SchemaError::BadCache { bytes: 1, .. })), "{refused:?}");
    let refused = with(&plain, vec![copy(Storage::Ram), copy(Storage::Disc)]);
    assert!(matches!(refused, Err(SchemaError::SameNode { .. })), "{refused:?}");
    assert!(with(&plain, vec![copy(Storage::DISC_ONLY)]).is_ok());
}

#[test]
fn a_definition_travels() {
    // Aim: definitions are stored in the schema table and sent to peers. Method: through the codec and back.
    let table = people();
    assert_eq!(codec::decode::<TableDef>(&codec::encode(&table), 10_000), Ok(table.clone()));
    assert_eq!(TableDef::from_bytes(&table.to_bytes()), Ok(table));
}

#[test]
fn older_rows_read_as_null_where_they_end() {
    // Aim: a row written before an attribute was added can be read by the new definition. Method: a shorter row.
    let row = Row::encode(SchemaVersion(1), &[Value::Int(1), Value::from("Ann")]).expect("small");
    assert!(row.attribute(2).is_null());
    assert!(people().key_of(&row).is_ok());
}
