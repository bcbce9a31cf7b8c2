//! Records: structs to rows and back through the public API. Method: round trips over every supported type, the forms in
//! which keys may be given, and each way in which a table or a row can differ from the record.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia::record::{KeyForm, Record, TableMismatch, check_table};
use hypermnesia_store::calendar::Moment;
use hypermnesia_store::{Kind, Row, SchemaVersion, TableDef, Type, Value, ValueRef};
use proptest::prelude::*;

#[derive(Record, Clone, Debug, PartialEq)]
#[record(table = "everything", kind = "ordered_set", index(by_both(small, text)), unique(one(big)))]
struct Everything {
    #[record(key)]
    id: u64,
    yes: bool,
    #[record(index)]
    small: i8,
    big: u64,
    ratio: f64,
    half: f32,
    text: String,
    blob: Vec<u8>,
    names: Vec<String>,
    counts: BTreeMap<String, u32>,
    nested: Vec<Vec<Option<i64>>>,
    maybe: Option<String>,
    at: Moment,
    since: SystemTime,
    anything: Value,
    #[record(rename = "type")]
    r#type: Option<f32>,
}

fn table<R: Record>() -> TableDef {
    R::definition().build().expect("a good definition")
}

fn everything() -> impl Strategy<Value = Everything> {
    let numbers = (any::<u64>(), any::<bool>(), any::<i8>(), any::<u64>(), -1e300..1e300, any::<i32>());
    let lists = (
        ".{0,8}",
        prop::collection::vec(any::<u8>(), 0..8),
        prop::collection::vec(".{0,3}", 0..3),
        prop::collection::btree_map("[a-z]{0,3}", any::<u32>(), 0..3),
        prop::collection::vec(prop::collection::vec(any::<Option<i64>>(), 0..3), 0..3),
    );
    let rest = (any::<Option<bool>>(), any::<i64>(), 0_u64..1 << 50);
    (numbers, lists, rest).prop_map(
        |((id, yes, small, big, ratio, half), (text, blob, names, counts, nested), rest)| {
            let (maybe, at, since) = rest;
            Everything {
                id,
                yes,
                small,
                big,
                ratio,
                half: half as f32,
                maybe: maybe.map(|_| text.clone()),
                anything: Value::List(vec![Value::from(text.as_str()), Value::Null]),
                text,
                blob,
                names,
                counts,
                nested,
                at: Moment(at),
                since: UNIX_EPOCH + Duration::from_micros(since),
                r#type: maybe.map(|_| 1.5),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_record_comes_back_from_its_row(record in everything()) {
        // Aim: encode and decode are inverse for every type. Method: random records; the key from record and row agree.
        let table = table::<Everything>();
        let row = record.encode(&table).expect("fits");
        prop_assert_eq!(Everything::decode(&row).expect("own row"), record.clone());
        prop_assert_eq!(table.key_of(&row).expect("small"), record.encode_key(&table).expect("small"));
        prop_assert_eq!(record.key(), record.id);
        let view = Everything::view(&row);
        prop_assert_eq!(view.text().expect("text"), record.text.as_str());
        prop_assert_eq!(view.blob().expect("bytes"), record.blob.as_slice());
        prop_assert_eq!(view.maybe().expect("text or null"), record.maybe.as_deref());
        prop_assert_eq!(view.names().expect("texts"), record.names.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(view.big().expect("number"), record.big);
    }
}

#[test]
fn the_definition_says_what_the_struct_says() {
    // Aim: derive maps options and types to the definition. Method: look at all of it.
    let table = table::<Everything>();
    assert_eq!(
        (table.name.as_str(), table.kind, table.version),
        ("everything", Kind::OrderedSet, SchemaVersion(1))
    );
    let types: Vec<_> = table.attributes.iter().map(|a| (a.name.as_str(), a.ty, a.nullable)).collect();
    assert_eq!(
        types,
        [
            ("id", Type::Int, false),
            ("yes", Type::Bool, false),
            ("small", Type::Int, false),
            ("big", Type::Int, false),
            ("ratio", Type::Float, false),
            ("half", Type::Float, false),
            ("text", Type::Text, false),
            ("blob", Type::Bytes, false),
            ("names", Type::List, false),
            ("counts", Type::Map, false),
            ("nested", Type::List, false),
            ("maybe", Type::Text, true),
            ("at", Type::Timestamp, false),
            ("since", Type::Timestamp, false),
            ("anything", Type::Any, true),
            ("type", Type::Float, true),
        ]
    );
    let indexes: Vec<_> =
        table.indexes.iter().map(|i| (i.name.as_str(), &i.attributes[..], i.unique)).collect();
    assert_eq!(indexes, [("by_small", &[2][..], false), ("by_both", &[2, 6], false), ("one", &[3], true)]);
}

#[derive(Record, Clone, Debug, PartialEq)]
struct Visit {
    user: String,
    #[record(key)]
    country: String,
    #[record(key)]
    day: u32,
}

#[derive(Record)]
struct Session {
    #[record(key)]
    token: String,
}

/// As a typed table's `get` would.
fn encoded<R: Record, Q: ?Sized>(key: &Q) -> hypermnesia_store::Key
where
    R::Key: KeyForm<Q>,
{
    R::Key::encode_key(key, &table::<R>()).expect("fits")
}

#[test]
fn keys_are_given_in_borrowed_forms() {
    // Aim: no String has to be made to look something up, and plain numbers need no suffix. Method: forms side by side.
    let token = "abc".to_owned();
    assert_eq!(encoded::<Session, _>("abc"), encoded::<Session, _>(&token));
    assert_eq!(encoded::<Session, _>(&"abc"), encoded::<Session, _>("abc"));
    let full = encoded::<Visit, _>(&("BE".to_owned(), 3_u32));
    assert_eq!(encoded::<Visit, _>(&("BE", 3)), full);
    let visit = Visit { user: "ann".into(), country: "BE".into(), day: 3 };
    assert_eq!(visit.encode_key(&table::<Visit>()).expect("fits"), full);
    assert_eq!(encoded::<Visit, _>(&visit.key()), full);
    assert_eq!(full.decode().expect("own"), [Value::from("BE"), Value::Int(3)]);
    assert_eq!(encoded::<Everything, _>(&7).decode().expect("own"), [Value::Int(7)]);
}

#[derive(Record, Debug, PartialEq)]
#[record(table = "session", version = 2)]
struct NewSession {
    #[record(key)]
    token: String,
    #[record(default)]
    uses: u32,
    user: Option<String>,
}

#[test]
fn a_newer_record_reads_older_rows() {
    // Aim: records grow without rewriting rows. Method: a row of version 1 through the record of version 2.
    let old = Session { token: "abc".into() }.encode(&table::<Session>()).expect("fits");
    let read = NewSession::decode(&old).expect("older rows are read");
    assert_eq!(read, NewSession { token: "abc".into(), uses: 0, user: None });
    assert_eq!(check_table::<NewSession>(&table::<Session>()), Ok(()));
    assert!(matches!(
        check_table::<Session>(&table::<NewSession>()),
        Err(TableMismatch::Attribute { position: 1, .. })
    ));
}

#[test]
fn a_table_that_differs_is_refused() {
    // Aim: a typed table over another table's rows is a typed error that names the difference. Method: one at a time.
    let other =
        |builder: hypermnesia_store::TableBuilder| check_table::<Visit>(&builder.build().expect("good"));
    let base = || TableDef::builder("visit").attribute("user", Type::Text);
    let same = || base().attribute("country", Type::Text).attribute("day", Type::Int);
    assert_eq!(other(same().key(["country", "day"])), Ok(()));
    assert!(matches!(other(same().key(["day", "country"])), Err(TableMismatch::Key { .. })));
    assert!(matches!(other(same().kind(Kind::Bag).key(["country", "day"])), Err(TableMismatch::Kind { .. })));
    let wrong = other(base().attribute("country", Type::Text).nullable("day", Type::Int).key(["country"]));
    assert_eq!(
        wrong.expect_err("nullable").to_string(),
        "table \"visit\" has \"day\" of type int or null as attribute 2 where the record has \"day\" of type int"
    );
    assert!(
        matches!(other(base()), Err(TableMismatch::Attribute { position: 1, .. })),
        "older is no excuse here"
    );
}

#[test]
fn values_out_of_a_fields_range_are_named() {
    // Aim: reading never rounds or wraps. Method: rows a dynamic writer may have written.
    let row = |day: Value| Row::encode(SchemaVersion(1), &["ann".into(), "BE".into(), day]).expect("small");
    for (day, words) in [
        (
            Value::Int(-1),
            "attribute \"day\" of a row of table \"visit\": an int out of range where u32 was wanted",
        ),
        (
            Value::Uint(u64::MAX),
            "attribute \"day\" of a row of table \"visit\": an int out of range where u32 was wanted",
        ),
        (Value::from("3"), "attribute \"day\" of a row of table \"visit\": text where u32 was wanted"),
        (Value::Null, "attribute \"day\" of a row of table \"visit\": null where u32 was wanted"),
    ] {
        assert_eq!(Visit::decode(&row(day)).expect_err("does not fit").to_string(), words);
    }
    let kept = row(Value::Int(3));
    assert_eq!(kept.attribute(0), ValueRef::Text("ann"));
}
