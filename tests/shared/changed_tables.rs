//! What data directories have since their fourth form: tables that were changed while they had rows (attributes added, another
//! name, cleared), a bag that keeps equal rows, rows on disc alone, a sequence. Written in two parts, of which the first reaches
//! the image.

use hypermnesia::{Attribute, Kind, Node, NodeId, Storage, TableBuilder, TableDef, Type, Value};

/// The largest number that was given out.
const INVOICES: i64 = 4_711;
/// Rows of the table on disc alone.
const ALONE: i64 = 300;
/// Rows of the grown table that were written before it grew.
const OLDER: i64 = 20;

/// Name, kind and number of indexes of each, by name.
pub(crate) const TABLES: [(&str, Kind, usize); 4] = [
    ("alone", Kind::OrderedSet, 1),
    ("cleared", Kind::Set, 0),
    ("equal", Kind::Bag, 0),
    ("grown", Kind::Set, 1),
];

fn table(name: &str, storage: Storage) -> TableBuilder {
    let builder = TableDef::builder(name).copy(NodeId::of_name("golden"), storage);
    builder.attribute("id", Type::Int).attribute("name", Type::Text)
}

fn row(id: i64, name: &str) -> [Value; 2] {
    [Value::Int(id), name.into()]
}

fn grown(id: i64, town: &str, visits: i64) -> Vec<Value> {
    let town = if town.is_empty() { Value::Null } else { town.into() };
    vec![Value::Int(id), format!("name {id}").into(), town, visits.into()]
}

pub(crate) fn write(node: &Node) {
    let made = |table| node.create_table(table).expect("created");
    let growing = made(table("growing", Storage::Disc));
    (0..OLDER).for_each(|id| growing.insert(&row(id, &format!("name {id}"))).expect("written"));
    let added = |name: &str, ty, default: Option<Value>| Attribute {
        name: name.into(),
        ty,
        nullable: default.is_none(),
        default,
    };
    let towns = [added("town", Type::Text, None), added("visits", Type::Int, Some(Value::Int(7)))];
    node.add_attributes("growing", &towns).expect("they have defaults");
    node.add_index("growing", "by_town", &["town"], false).expect("alone");
    node.rename_table("growing", "grown").expect("the name is free");
    let cleared = made(table("cleared", Storage::Disc));
    (0..5).for_each(|id| cleared.insert(&row(id, "before")).expect("written"));
    cleared.clear().expect("alone");
    cleared.insert(&row(9, "after")).expect("written");
    let equal = made(table("equal", Storage::Disc).kind(Kind::Bag).local().duplicates());
    (0..3).for_each(|_| equal.insert(&row(1, "again")).expect("written"));
    let alone = made(table("alone", Storage::DISC_ONLY).kind(Kind::OrderedSet).index("by_name", ["name"]));
    (0..ALONE).for_each(|id| alone.insert(&row(id, &format!("name {}", id % 10))).expect("written"));
    node.sequence("invoices").expect("made").next_block(INVOICES as u32).expect("given");
}

pub(crate) fn write_more(node: &Node) {
    let there = |name| node.dyn_table(name).expect("there");
    (OLDER..OLDER + 3).for_each(|id| there("grown").insert(&grown(id, "Ghent", id)).expect("written"));
    there("equal").insert(&row(1, "again")).expect("written");
    for id in (0..ALONE).filter(|id| id % 7 == 0) {
        match id % 2 {
            0 => there("alone").delete(&[Value::Int(id)]).expect("deleted"),
            _ => there("alone").insert(&row(id, "changed")).expect("written"),
        }
    }
}

pub(crate) fn check(node: &Node, what: &str) {
    let there = |name| node.dyn_table(name).expect("there");
    let sorted = |name| {
        let mut rows = there(name).to_vec().expect("read");
        rows.sort();
        rows
    };
    let mut wanted: Vec<_> = (0..OLDER).map(|id| grown(id, "", 7)).collect();
    wanted.extend((OLDER..OLDER + 3).map(|id| grown(id, "Ghent", id)));
    assert_eq!((sorted("grown"), there("grown").outdated()), (wanted, Ok(OLDER as u64)), "{what}");
    let in_ghent = there("grown").index_read("by_town", &["Ghent".into()]).expect("read").len();
    assert_eq!((in_ghent, node.dyn_table("growing").is_err()), (3, true), "{what}");
    assert_eq!(sorted("cleared"), [row(9, "after").to_vec()], "{what}");
    assert_eq!(sorted("equal"), vec![row(1, "again").to_vec(); 4], "{what}");
    let left = |id: &i64| id % 14 != 0;
    let name = |id: i64| if id % 7 == 0 { "changed".to_owned() } else { format!("name {}", id % 10) };
    let wanted: Vec<_> = (0..ALONE).filter(left).map(|id| row(id, &name(id)).to_vec()).collect();
    assert_eq!(there("alone").to_vec().expect("read"), wanted, "{what}: in order");
    for named in ["changed", "name 3"] {
        let by_name = there("alone").index_read("by_name", &[named.into()]).expect("read");
        let wanted: Vec<_> = wanted.iter().filter(|row| row[1] == Value::from(named)).cloned().collect();
        assert_eq!(by_name, wanted, "{what}: {named}");
    }
    let invoices = node.existing_sequence("invoices").expect("there");
    assert!(invoices.next().expect("given") > INVOICES, "{what}");
}
