//! Tables into files and back on one node: what comes back, what a backup under load holds, what an incremental one adds, what
//! each mode of a restore leaves, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypermnesia::backup::{
    Action, BackupError, BackupFile, BackupOptions, Chain, RestoreMode, RestoreOptions,
};
use hypermnesia::{DynTable, Error, Kind, Lifetime, Node, Storage, TableDef, Type, Value};

use crate::{key, node, row, sorted, table};

pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Home {
        Home(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("it is there");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn full(node: &Node, path: &Path) {
    node.backup(path, &BackupOptions::new()).expect("written");
}

pub(crate) fn since(node: &Node, base: &Path, path: &Path) -> hypermnesia::backup::BackupSummary {
    let base = BackupFile::open(base).expect("whole");
    node.backup(path, &BackupOptions::new().since(&base)).expect("written")
}

pub(crate) fn restore(
    node: &Node,
    files: &[&Path],
    mode: RestoreMode,
) -> hypermnesia::backup::RestoreSummary {
    node.restore(files, &RestoreOptions::new().mode(mode)).expect("restored")
}

pub(crate) fn rows(node: &Node) -> Vec<Vec<Value>> {
    sorted(node.dyn_table("t").expect("it is there").to_vec().expect("read"))
}

/// Every kind of value.
fn any(n: i64) -> Value {
    match n % 9 {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 => Value::Uint(u64::MAX - n as u64),
        3 => Value::Float(n as f64 / 8.0),
        4 => Value::Text(format!("Straße {n}\0")),
        5 => Value::Bytes(vec![0, 255, n as u8]),
        6 => Value::List(vec![Value::Int(n), Value::Null]),
        7 => Value::Map(BTreeMap::from([(Value::Int(n), Value::Timestamp(n))])),
        _ => Value::Timestamp(1_700_000_000_000_000 + n),
    }
}

fn far() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(4_102_444_800)
}

#[test]
fn everything_comes_back() {
    // Aim: kinds, composite keys, all values, deadlines, indexes, defaults, bounds, order in bags. Method: three tables into a
    // file, into another node, table by table.
    let (home, from, to) = (Home::new(), node(), node());
    for (name, kind) in [("set", Kind::Set), ("ordered", Kind::OrderedSet), ("bag", Kind::Bag)] {
        let mut def = TableDef::builder(name).kind(kind).attribute("a", Type::Text).attribute("b", Type::Int);
        def = def.nullable("c", Type::Any).attribute("d", Type::Int).default("d", 7);
        def = def.key(["a", "b"]).index("by_c", ["c"]);
        if kind == Kind::Set {
            def = def.unique_index("by_d", ["d"]).rows_max(10_000).ttl(Duration::from_secs(86_400 * 365));
        }
        let table = from.create_table(def).expect("new");
        for n in 0..2_500_i64 {
            let b = if kind == Kind::Bag { n % 50 } else { n };
            let row = [Value::from("k"), b.into(), any(n), n.into()];
            let lifetime = match n % 3 {
                _ if kind == Kind::Bag => Lifetime::OfTable,
                0 => Lifetime::Until(far()),
                1 => Lifetime::Forever,
                _ => Lifetime::OfTable,
            };
            table.insert_with(&row, lifetime).expect("fits");
        }
    }
    let file = home.file("all.hmb");
    let summary = from.backup(&file, &BackupOptions::new()).expect("written");
    assert_eq!((summary.rows, summary.tables.len()), (7_500, 3));
    assert_eq!(summary.file_bytes, std::fs::metadata(&file).expect("there").len());
    let restored = restore(&to, &[&file], RestoreMode::Clear);
    assert_eq!((restored.rows, restored.bytes), (7_500, summary.bytes));
    assert!(restored.tables.iter().all(|table| table.action == Action::Created));
    for name in ["set", "ordered", "bag"] {
        let [a, b] = [&from, &to].map(|node| node.dyn_table(name).expect("there"));
        let [mut wanted, got] = [&a, &b].map(|table| table.definition().expect("there"));
        wanted.id = got.id;
        assert_eq!(got, wanted);
        let [a_rows, b_rows] = [&a, &b].map(|table| table.to_vec().expect("read"));
        match name {
            "set" => assert_eq!(sorted(b_rows), sorted(a_rows)),
            "ordered" => assert_eq!(b_rows, a_rows),
            _ => {
                for n in 0..50_i64 {
                    let key = ["k".into(), n.into()];
                    assert_eq!(b.read(&key).expect("read"), a.read(&key).expect("read"), "in their order");
                }
            }
        }
        let by_index = |table: &DynTable| sorted(table.index_read("by_c", &[any(1)]).expect("read"));
        assert_eq!(by_index(&b), by_index(&a));
        for n in (0..2_500_i64).filter(|_| name != "bag") {
            let key = ["k".into(), n.into()];
            assert_eq!(b.deadline(&key).expect("read"), a.deadline(&key).expect("read"), "{name} {n}");
        }
    }
    let clash = [Value::from("other"), 1.into(), Value::Null, 5.into()];
    assert!(matches!(to.dyn_table("set").expect("there").insert(&clash), Err(Error::Unique { .. })));
    assert_eq!(home.names(), ["all.hmb"], "nothing is left beside it");
}

#[test]
fn a_backup_under_load_balances() {
    // Aim: contract case 23. Method: money moves between accounts of two tables while backups are made; in each the sum is
    // what it was, also after a restore.
    let (home, bank) = (Home::new(), node());
    let def = |name: &str| TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int);
    let tables = ["a", "b"].map(|name| bank.create_table(def(name)).expect("new"));
    for table in &tables {
        (0..500).for_each(|id| table.insert(&row(id, 100)).expect("fits"));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 1..=2_u64 {
            let (bank, tables, done) = (&bank, &tables, &done);
            scope.spawn(move || {
                let mut dice = fastrand::Rng::with_seed(seed);
                while !done.load(Ordering::Relaxed) {
                    let (from, to) = (dice.i64(0..500), dice.i64(0..500));
                    let moved = bank.transaction(|tx| {
                        let have = tx.lookup(&tables[0], &key(from), "n", Value::Int(0))?;
                        let there = tx.lookup(&tables[1], &key(to), "n", Value::Int(0))?;
                        let (Value::Int(have), Value::Int(there)) = (have, there) else { return Ok(()) };
                        tx.insert(&tables[0], &row(from, have - 1))?;
                        tx.insert(&tables[1], &row(to, there + 1))
                    });
                    moved.expect("both are there");
                }
            });
        }
        let mut base: Option<PathBuf> = None;
        let mut moved = Vec::new();
        for n in 0..6 {
            let file = home.file(&format!("{n}.hmb"));
            match &base {
                None => full(&bank, &file),
                Some(base) => drop(since(&bank, base, &file)),
            }
            base = Some(file);
            let chain: Vec<_> =
                (0..=n).map(|n| BackupFile::open(home.file(&format!("{n}.hmb"))).expect("whole")).collect();
            let chain = Chain::of(chain).expect("they belong together");
            let mut sums = [0, 0];
            for (name, sum) in ["a", "b"].iter().zip(&mut sums) {
                let mut add = |row: hypermnesia::Row, _| match row.attribute(1).to_value() {
                    Value::Int(n) => {
                        *sum += n;
                        Ok(())
                    }
                    other => panic!("{other}"),
                };
                chain.each(name, &mut add).expect("of one history");
            }
            assert_eq!(sums[0] + sums[1], 100_000, "backup {n}");
            moved.push(sums[1]);
        }
        done.store(true, Ordering::Relaxed);
        assert!(moved[5] > moved[0], "money moved meanwhile: {moved:?}");
    });
}

#[test]
fn each_mode_does_what_it_says() {
    // Aim: skip, clear, keep, recreate. Method: a table with rows of its own and another index, in each mode.
    let (home, from) = (Home::new(), node());
    let t = table(&from, Kind::Set);
    (1..=3).for_each(|id| t.insert(&row(id, id)).expect("fits"));
    let file = home.file("a.hmb");
    full(&from, &file);
    let modes = [
        (RestoreMode::Skip, Action::Skipped, vec![row(1, 100), row(4, 4)], vec!["own"]),
        (RestoreMode::Clear, Action::Cleared, vec![row(1, 1), row(2, 2), row(3, 3)], vec!["own"]),
        (RestoreMode::Keep, Action::Kept, vec![row(1, 1), row(2, 2), row(3, 3), row(4, 4)], vec!["own"]),
        (RestoreMode::Recreate, Action::Recreated, vec![row(1, 1), row(2, 2), row(3, 3)], vec!["by_n"]),
    ];
    for (mode, action, wanted, indexes) in modes {
        let to = node();
        let def =
            TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).index("own", ["n"]);
        let mine = to.create_table(def).expect("new");
        mine.insert(&row(1, 100)).expect("fits");
        mine.insert(&row(4, 4)).expect("fits");
        // The same through the mode of all tables and of this one.
        let options = RestoreOptions::new().mode(RestoreMode::Skip).table_mode("t", mode);
        let summary = to.restore(&[&file], &options).expect("restored");
        assert_eq!(summary.tables[0].action, action);
        assert_eq!(rows(&to), wanted, "{mode:?}");
        let def = to.dyn_table("t").expect("there").definition().expect("there");
        assert_eq!(def.indexes.iter().map(|index| &*index.name).collect::<Vec<_>>(), indexes, "{mode:?}");
        let by_index = to.dyn_table("t").expect("there").index_read(indexes[0], &[2.into()]).expect("read");
        assert_eq!(by_index.len(), wanted.iter().filter(|one| one[1] == Value::Int(2)).count(), "{mode:?}");
    }
    let to = node();
    restore(&to, &[&file], RestoreMode::Skip);
    assert!(to.tables().is_empty(), "skipped means not created");
}

#[test]
fn many_rows_are_cleared_and_restored_in_parts() {
    // Aim: nothing is bounded by one transaction. Method: more rows than several transactions of a restore hold, twice over
    // each other; progress grows to its end.
    let (home, node) = (Home::new(), node());
    let t = table(&node, Kind::OrderedSet);
    let all: Vec<_> = (0..12_345).map(|id| row(id, -id)).collect();
    t.insert_many(all.iter().map(|row| &row[..])).expect("fit");
    let file = home.file("a.hmb");
    let mut told = Vec::new();
    let options = BackupOptions::new();
    node.backup_with(&file, &options, &mut |done, total| told.push((done, total))).expect("written");
    assert!(told.len() > 2 && told.is_sorted() && told.last() == Some(&(12_345, 12_345)), "{told:?}");
    (0..100).for_each(|id| t.insert(&row(id + 20_000, 0)).expect("fits"));
    let chain = Chain::of(vec![BackupFile::open(&file).expect("whole")]).expect("one");
    let mut told = Vec::new();
    let summary =
        node.restore_chain(&chain, &RestoreOptions::new(), &mut |done, total| told.push((done, total)));
    assert_eq!(summary.expect("restored").rows, 12_345);
    assert!(told.is_sorted() && told.last() == Some(&(12_345, 12_345)));
    assert_eq!(t.to_vec().expect("read"), all);
}

#[test]
fn a_table_goes_into_a_file_and_comes_back() {
    // Aim: tab2file and file2tab. Method: to a file, dropped, from the file; while it is there it is refused; a backup of two
    // tables is refused.
    let (home, node) = (Home::new(), node());
    let t = table(&node, Kind::Bag);
    for n in [3, 1, 2] {
        t.insert(&row(1, n)).expect("fits");
    }
    let file = home.file("t.hmb");
    let before = t.read(&key(1)).expect("read");
    assert_eq!(t.to_file(&file).expect("written").rows, 3);
    assert!(matches!(node.table_from_file(&file), Err(Error::TableExists { .. })));
    node.drop_table("t").expect("dropped");
    let again = node.table_from_file(&file).expect("restored");
    assert_eq!(again.read(&key(1)).expect("read"), before);
    node.create_table(TableDef::builder("u").attribute("id", Type::Int)).expect("new");
    let both = home.file("both.hmb");
    full(&node, &both);
    let error = self::node().table_from_file(&both).expect_err("two tables");
    assert!(error.to_string().contains("2 tables"), "{error}");
}

#[test]
fn chosen_tables_alone() {
    // Aim: a backup of some tables, a restore of some of a backup; unknown names are told with those there are. Method: two
    // tables, one at a time.
    let (home, from) = (Home::new(), node());
    for name in ["a", "b"] {
        from.create_table(TableDef::builder(name).attribute("id", Type::Int))
            .expect("new")
            .insert(&key(1))
            .expect("fits");
    }
    let (one, both) = (home.file("one"), home.file("both"));
    from.backup(&one, &BackupOptions::new().table("b").table("b")).expect("written");
    assert_eq!(BackupFile::open(&one).expect("whole").tables().len(), 1);
    assert!(matches!(from.backup(&both, &BackupOptions::new().table("c")), Err(Error::NoSuchTable { .. })));
    assert!(matches!(
        from.backup(&both, &BackupOptions::new().table("_schema")),
        Err(Error::SystemTable { .. })
    ));
    full(&from, &both);
    let to = node();
    to.restore(&[&both], &RestoreOptions::new().only("b")).expect("restored");
    assert_eq!(to.tables().len(), 1);
    let error = to.restore(&[&both], &RestoreOptions::new().only("c")).expect_err("unknown");
    assert!(error.to_string().contains("a, b"), "{error}");
}

#[test]
fn what_is_wrong_is_found_before_anything_changes() {
    // Aim: wrong input is told with what, where and what to do; the table is as it was. Method: no file, a directory, text, a
    // cut and a flipped byte in the middle, a table of another shape, one for a disc that is not there.
    let (home, from, to) = (Home::new(), node(), node());
    let t = table(&from, Kind::Set);
    t.insert_many((0..500).map(|id| row(id, id)).collect::<Vec<_>>().iter().map(|row| &row[..]))
        .expect("fit");
    let good = home.file("good");
    full(&from, &good);
    let mine = table(&to, Kind::Set);
    mine.insert(&row(9, 9)).expect("fits");
    let bytes = std::fs::read(&good).expect("read");
    let middle = bytes.len() / 2;
    let mut flipped = bytes.clone();
    flipped[middle] ^= 4;
    let files = [
        ("text", &b"id,n\n1,2\n"[..], "no backup"),
        ("cut", &bytes[..middle], "cut off at byte"),
        ("flipped", &flipped, "damaged at byte"),
    ];
    for (name, content, wanted) in files {
        let path = home.file(name);
        std::fs::write(&path, content).expect("written");
        let error = to.restore(&[&path], &RestoreOptions::new()).expect_err("refused");
        assert!(matches!(error, Error::Backup { .. }), "{error}");
        assert!(error.to_string().contains(wanted) && error.to_string().contains(name), "{error}");
    }
    for missing in [home.file("nothing"), home.0.path().to_owned()] {
        let error = to.restore(&[&missing], &RestoreOptions::new()).expect_err("refused");
        assert!(matches!(error, Error::Backup { error: BackupError::Io { .. }, .. }), "{error}");
    }
    let shaped = node();
    shaped.create_table(TableDef::builder("t").attribute("id", Type::Text)).expect("new");
    for mode in [RestoreMode::Clear, RestoreMode::Keep] {
        let error = shaped.restore(&[&good], &RestoreOptions::new().mode(mode)).expect_err("another shape");
        assert!(
            matches!(error, Error::RestoreMismatch { .. }) && error.to_string().contains("recreate"),
            "{error}"
        );
    }
    restore(&shaped, &[&good], RestoreMode::Recreate);
    let error = node().restore(&[&good], &RestoreOptions::new().storage(Storage::Disc)).expect_err("no disc");
    assert!(matches!(error, Error::NoDataDirectory { .. }), "{error}");
    assert_eq!(rows(&to), [row(9, 9)]);
}

#[test]
fn a_target_that_cannot_take_it_leaves_what_was_there() {
    // Aim: a name is given to whole files only. Method: a device, a directory, a directory that is not there, and a table
    // without copy; the backup that was there before is whole.
    let (home, node) = (Home::new(), node());
    table(&node, Kind::Set).insert(&row(1, 1)).expect("fits");
    let file = home.file("a.hmb");
    full(&node, &file);
    for target in [Path::new("/dev/full"), home.0.path(), &home.file("no/such/folder")] {
        let error = node.backup(target, &BackupOptions::new()).expect_err("refused");
        assert!(error.to_string().contains(target.to_str().expect("text")), "{error}");
    }
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = node.backup_into(&mut Full, &BackupOptions::new(), &mut |_, _| {}).expect_err("full");
    assert!(error.to_string().contains("space"), "{error}");
    node.backup(&file, &BackupOptions::new().table("nothing")).expect_err("no table");
    assert_eq!(BackupFile::open(&file).expect("whole").contents().closing.rows, 1);
    assert_eq!(home.names(), ["a.hmb"]);
}

#[test]
fn a_restore_that_stops_says_how_far_it_came() {
    // Aim: a failure in the middle is told, and what is in is in. Method: a table with a bound below the backup's rows; then
    // the bound is taken away and it is restored again.
    let (home, from, to) = (Home::new(), node(), node());
    let t = table(&from, Kind::Set);
    t.insert_many((0..5_000).map(|id| row(id, id)).collect::<Vec<_>>().iter().map(|row| &row[..]))
        .expect("fit");
    let file = home.file("a");
    full(&from, &file);
    let small = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).rows_max(2_500);
    to.create_table(small).expect("new");
    let error = to.restore(&[&file], &RestoreOptions::new()).expect_err("full");
    let Error::RestoreStopped { table, rows: told, cause } = &error else { panic!("{error}") };
    assert_eq!((&**table, matches!(**cause, Error::TableFull { .. })), ("t", true));
    assert_eq!(*told, rows(&to).len() as u64, "{error}");
    assert!(*told > 0);
    restore(&to, &[&file], RestoreMode::Recreate);
    assert_eq!(rows(&to).len(), 5_000);
}

#[test]
fn rows_whose_deadline_has_passed_stay_away() {
    // Aim: a restore brings no row back that nobody could see. Method: a deadline that passes between backup and restore; it
    // is waited for by the clock that reads.
    let (home, from, to) = (Home::new(), node(), node());
    let t = table(&from, Kind::Set);
    let soon = SystemTime::now() + Duration::from_millis(300);
    t.insert_with(&row(1, 1), Lifetime::Until(soon)).expect("fits");
    t.insert_with(&row(2, 2), Lifetime::Until(far())).expect("fits");
    let file = home.file("a");
    full(&from, &file);
    while t.contains(&key(1)).expect("read") {
        std::thread::yield_now();
    }
    let summary = restore(&to, &[&file], RestoreMode::Clear);
    assert_eq!((summary.rows, summary.tables[0].expired), (1, 1));
    assert_eq!(rows(&to), [row(2, 2)]);
}
