//! Data directories that earlier versions wrote stay readable. Method: the directory of each version is copied, opened, and
//! everything in it is looked at; then it is written to and opened again. `GOLDEN_WRITE=1` writes the directory of the
//! present version where there is none yet; one that was released is never written again. The same for backup files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use hypermnesia::backup::{BackupFile, BackupOptions, RestoreOptions};
use hypermnesia::{
    DiscOptions, Error, Kind, Lifetime, Node, NodeId, Record, Storage, TableBuilder, TableDef, Type, Value,
};

#[path = "shared/changed_tables.rs"]
mod changed_tables;

/// The forms that data directories had, the present one last.
const VERSIONS: [&str; 7] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7"];

/// What the present version has just written.
const NOW: &str = "written now";

/// Rows of the set; the others have less.
const ROWS: i64 = 200;

fn build(home: &Path) -> Node {
    let small = DiscOptions::new().segment_bytes(16 << 10).checkpoint_bytes(16 << 10);
    Node::builder().name("golden").data_dir(home).disc_options(small).build().expect("it opens")
}

fn definitions() -> [TableBuilder; 3] {
    let table = |name: &str, kind| {
        let builder = TableDef::builder(name).kind(kind).copy(NodeId::of_name("golden"), Storage::Disc);
        builder.attribute("id", Type::Int).attribute("name", Type::Text).nullable("note", Type::Any)
    };
    [
        table("people", Kind::Set).unique_index("by_name", ["name"]).index("by_note", ["note"]),
        table("places", Kind::OrderedSet).index("by_name", ["name"]),
        table("notes", Kind::Bag),
    ]
}

/// Since the third version: rows with deadlines, a time to live, a default, an index over the values of a list.
fn sessions() -> TableBuilder {
    let builder = TableDef::builder("sessions").copy(NodeId::of_name("golden"), Storage::Disc);
    let builder =
        builder.attribute("id", Type::Int).nullable("tags", Type::List).attribute("hits", Type::Int);
    builder.default("hits", 7).multi_index("by_tag", "tags").ttl(Duration::from_secs(3_600)).rows_max(1_000)
}

/// The year 2100.
fn far() -> Lifetime {
    Lifetime::Until(UNIX_EPOCH + Duration::from_secs(4_102_444_800))
}

/// One that has been.
const PAST: Lifetime = Lifetime::Until(UNIX_EPOCH);

fn session(id: i64) -> [Value; 3] {
    [Value::Int(id), Value::List(vec!["all".into(), format!("tag {id}").into()]), Value::Int(id)]
}

fn write_sessions(node: &Node) {
    let sessions = node.create_table(sessions()).expect("created");
    for (id, lifetime) in [(1, far()), (2, PAST), (3, Lifetime::Forever)] {
        sessions.insert_with(&session(id), lifetime).expect("written");
    }
}

fn check_sessions(node: &Node, what: &str) {
    let table = node.dyn_table("sessions").expect("it is there");
    let now = table.definition().expect("it is there");
    let wanted = sessions().build().expect("right");
    assert_eq!(
        (&now.attributes, &now.indexes, now.retention),
        (&wanted.attributes, &wanted.indexes, wanted.retention),
        "{what}"
    );
    let seen = |id: i64| table.get(&[Value::Int(id)]).expect("read");
    assert_eq!(
        (seen(1), seen(2), seen(3)),
        (Some(session(1).to_vec()), None, Some(session(3).to_vec())),
        "{what}"
    );
    let held = table.deadline(&[Value::Int(1)]).expect("read");
    assert_eq!(
        (held.map(Lifetime::Until), table.deadline(&[Value::Int(3)]).expect("read")),
        (Some(far()), None),
        "{what}"
    );
    assert_eq!(table.index_read("by_tag", &["all".into()]).expect("read").len(), 2, "{what}");
}

/// Every kind of value stands in some note.
fn note(id: i64) -> Value {
    match id % 9 {
        0 => Value::Null,
        1 => Value::Bool(id % 2 == 0),
        2 => Value::Int(-id),
        3 => Value::Uint(u64::MAX - id as u64),
        4 => Value::Float(id as f64 / 8.0),
        5 => Value::Text(format!("Straße {id}\0\u{1f600}")),
        6 => Value::Bytes(vec![0, 255, id as u8]),
        7 => Value::List(vec![Value::Int(id), Value::Null, Value::Text("x".into())]),
        _ => Value::Timestamp(1_700_000_000_000_000 + id),
    }
}

fn row(id: i64) -> Vec<Value> {
    vec![Value::Int(id), Value::Text(format!("name {id}")), note(id)]
}

/// What is written, in two parts: the first reaches the image.
fn write(node: &Node, ids: std::ops::Range<i64>) {
    let [people, places, notes] =
        ["people", "places", "notes"].map(|name| node.dyn_table(name).expect("it is there"));
    for id in ids {
        people.insert(&row(id)).expect("written");
        if id % 2 == 0 {
            places.insert(&row(id)).expect("written");
        }
        if id % 5 == 0 {
            people.delete(&[Value::Int(id)]).expect("deleted");
        }
        let many = [Value::Int(id % 7), Value::Text("many".into()), note(id)];
        notes.insert(&many).expect("written");
    }
}

fn check(node: &Node, what: &str) {
    let tables: Vec<_> =
        node.tables().into_iter().map(|def| (def.name.clone(), def.kind, def.indexes.len())).collect();
    let mut wanted = vec![("notes", Kind::Bag, 0), ("people", Kind::Set, 2), ("places", Kind::OrderedSet, 1)];
    if !["v1", "v2"].iter().any(|before| what.starts_with(before)) {
        wanted.push(("sessions", Kind::Set, 1));
        check_sessions(node, what);
    }
    if ["v4", "v5", "v6", "v7", NOW].iter().any(|since| what.starts_with(since)) {
        wanted.extend(changed_tables::TABLES);
        changed_tables::check(node, what);
    }
    wanted.sort_by_key(|(name, ..)| *name);
    let wanted: Vec<_> =
        wanted.into_iter().map(|(name, kind, indexes)| (name.to_owned(), kind, indexes)).collect();
    assert_eq!(tables, wanted, "{what}");
    let [people, places, notes] =
        ["people", "places", "notes"].map(|name| node.dyn_table(name).expect("it is there"));
    for id in 0..ROWS {
        let expected = (id % 5 != 0).then(|| row(id));
        assert_eq!(people.get(&[Value::Int(id)]).expect("read"), expected, "{what}: person {id}");
        let by_name = people.index_read("by_name", &[Value::Text(format!("name {id}"))]).expect("read");
        assert_eq!(by_name, expected.into_iter().collect::<Vec<_>>(), "{what}: person {id} by name");
    }
    let ordered: Vec<_> = (0..ROWS).filter(|id| id % 2 == 0).map(row).collect();
    assert_eq!(places.to_vec().expect("read"), ordered, "{what}");
    let bag = notes.read(&[Value::Int(3)]).expect("read");
    let expected = (0..ROWS)
        .filter(|id| id % 7 == 3)
        .map(|id| vec![Value::Int(3), Value::Text("many".into()), note(id)]);
    let mut seen = Vec::new();
    expected.for_each(|row| {
        if !seen.contains(&row) {
            seen.push(row)
        }
    });
    assert_eq!(bag, seen, "{what}: in the order they came");
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn has_image_and_log(home: &Path) -> bool {
    let names: Vec<_> = fs::read_dir(home)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    let first = "log-000000000001.seg";
    names.iter().any(|name| name == "image.redb") && !names.iter().any(|name| name == first)
}

fn write_directory(home: &Path) {
    let node = build(home);
    definitions().into_iter().for_each(|table| drop(node.create_table(table).expect("created")));
    write_sessions(&node);
    changed_tables::write(&node);
    write(&node, 0..ROWS - 20);
    let until = Instant::now() + Duration::from_secs(20);
    while !has_image_and_log(home) {
        assert!(Instant::now() < until, "a checkpoint is made");
        std::thread::sleep(Duration::from_millis(20));
    }
    write(&node, ROWS - 20..ROWS);
    changed_tables::write_more(&node);
    node.close();
    for leftover in ["LOCK", "log-spare.tmp", "log-next.tmp"] {
        let _ = fs::remove_file(home.join(leftover));
    }
}

#[test]
fn directories_of_every_version_are_read() {
    let present = golden().join(VERSIONS[VERSIONS.len() - 1]);
    if std::env::var_os("GOLDEN_WRITE").is_some() && !present.exists() {
        write_directory(&present);
    }
    for version in VERSIONS {
        let home = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(golden().join(version)).expect("it is part of the project") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), home.path().join(entry.file_name())).expect("copied");
        }
        assert!(has_image_and_log(home.path()), "{version} has both");
        let has_checksums =
            || fs::read(home.path().join("image.redb")).expect("it is there").starts_with(b"HMNBLOCK");
        assert_eq!(has_checksums(), version >= "v5", "{version}");
        check(&build(home.path()), version);
        assert!(has_checksums(), "{version}: every block has one from the first start on");
        // The first version had no owner, and has one from now on.
        let stranger = Node::builder().name("stranger").data_dir(home.path()).build().err();
        let refusal = stranger.expect("it is another node's").to_string();
        assert!(refusal.contains("belongs to node \"golden\""), "{version}: {refusal}");
        let node = build(home.path());
        let people = node.dyn_table("people").expect("it is there");
        people.insert(&row(ROWS + 1)).expect("it can be written to");
        people.delete(&[Value::Int(ROWS + 1)]).expect("deleted");
        drop((people, node));
        check(&build(home.path()), &format!("{version}, written to"));
    }
}

/// Formats of backup files, the present one last.
const BACKUPS: [&str; 2] = ["v1", "v2"];

/// The largest number that was given out when the backups were made. Since the second format.
const INVOICES: i64 = 4_711;

/// A full backup of the first rows and an incremental one with the rest: together what a directory holds.
fn write_backups(full: &Path, more: &Path) {
    let home = tempfile::tempdir().expect("a directory");
    let node = build(home.path());
    definitions().into_iter().for_each(|table| drop(node.create_table(table).expect("created")));
    write(&node, 0..ROWS - 20);
    // Deleted later, so that the second file has a deletion.
    node.dyn_table("people").expect("it is there").insert(&row(ROWS + 1)).expect("written");
    node.backup(full, &BackupOptions::new()).expect("written");
    node.dyn_table("people").expect("it is there").delete(&[Value::Int(ROWS + 1)]).expect("deleted");
    write(&node, ROWS - 20..ROWS);
    write_sessions(&node);
    let invoices = node.sequence("invoices").expect("made");
    assert_eq!(invoices.next_block(INVOICES as u32).expect("given").end - 1, INVOICES);
    let base = BackupFile::open(full).expect("whole");
    node.backup(more, &BackupOptions::new().since(&base)).expect("written");
}

#[test]
fn backups_of_every_format_are_restored() {
    for format in BACKUPS {
        let [full, more] = ["full", "more"].map(|name| golden().join(format!("backup-{format}-{name}.hmb")));
        if std::env::var_os("GOLDEN_WRITE").is_some() && !full.exists() {
            write_backups(&full, &more);
        }
        let home = tempfile::tempdir().expect("a directory");
        let node = build(home.path());
        node.restore(&[&full, &more], &RestoreOptions::new()).expect("restored");
        check(&node, &format!("backup {format}"));
        let people = node.dyn_table("people").expect("it is there");
        assert_eq!(people.get(&[Value::Int(ROWS + 1)]).expect("read"), None, "{format}: it was deleted");
        let restored =
            node.existing_sequence("invoices").ok().map(|invoices| invoices.next().expect("given"));
        assert_eq!(restored.is_some(), format != "v1", "{format}");
        assert!(restored.is_none_or(|number| number > INVOICES), "{format}: {restored:?}");
    }
}

/// The people of every version, with more than they had.
#[derive(Record, Debug, PartialEq, Clone)]
#[record(table = "people", version = 2, index(by_town(town)))]
struct Person {
    #[record(key)]
    id: i64,
    name: String,
    note: Value,
    town: Option<String>,
    #[record(default)]
    visits: i64,
}

#[test]
fn a_newer_record_opens_the_tables_of_every_version() {
    // Aim: record types evolve over data that earlier programs wrote: read at once, written once the table has followed, and
    // rewritten, through restarts. Method: the directory of each version; the older definition is refused as soon as the
    // table has more than it knows.
    for version in VERSIONS {
        let home = tempfile::tempdir().expect("a directory");
        for entry in fs::read_dir(golden().join(version)).expect("it is part of the project") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), home.path().join(entry.file_name())).expect("copied");
        }
        let person = |id: i64, visits: i64| {
            let (name, note) = (format!("name {id}"), note(id));
            Person { id, name, note, town: None, visits }
        };
        let node = build(home.path());
        assert_eq!(node.table::<Person>().expect("newer").get(&1), Ok(Some(person(1, 0))), "{version}");
        let people = node.upgrade_table_of::<Person>().expect("alone");
        people.insert(&person(2, 5)).expect("written");
        let older = node.open_table(definitions()[0].clone());
        assert!(matches!(older, Err(Error::Record { .. })), "{version}: it does not know the new attributes");
        drop((people, node));
        let node = build(home.path());
        let people = node.table::<Person>().expect("as new");
        let there = (0..ROWS).filter(|id| id % 5 != 0).count() as u64;
        assert_eq!((people.len(), people.outdated()), (Ok(there), Ok(there - 1)), "{version}");
        assert_eq!(people.index_read("by_town", &[Value::Null]).expect("read").len() as u64, there);
        let counted = people.rewrite(50, |old| Ok(Person { visits: old.visits + 1, ..old }));
        assert_eq!(counted, Ok(there - 1), "{version}");
        drop((people, node));
        let node = build(home.path());
        let people = node.table::<Person>().expect("as new");
        assert_eq!(people.outdated(), Ok(0), "{version}");
        for id in (0..ROWS).filter(|id| id % 5 != 0) {
            let wanted = person(id, if id == 2 { 5 } else { 1 });
            assert_eq!(people.get(&id), Ok(Some(wanted)), "{version}: person {id}");
        }
    }
}

#[test]
fn what_this_version_writes_it_reads() {
    // Aim: the same through a checkpoint of the library, and the log stays small. Method: write, restart, look.
    let home = tempfile::tempdir().expect("a directory");
    write_directory(home.path());
    check(&build(home.path()), NOW);
}
