//! ALTER TABLE: what it does to rows, and that it does so to all of them or to none.

use std::path::Path;
use std::time::Duration;

use hypermnesia::{Error, Lifetime, Node, TableDef, Type, Value};

use crate::{hard_stop::killed, key, node, sorted};

/// What a statement gives.
fn rows(node: &Node, sql: &str) -> Vec<Vec<Value>> {
    node.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}\n{error}")).rows
}

fn refused(node: &Node, sql: &str) -> Error {
    node.query(sql, &[]).expect_err("it is refused")
}

/// A table `t` of (id, a text, b int, tags list) with a row for each of these: a is the number as text, b is n * 10.
fn filled(node: &Node, kind: &str, numbers: std::ops::Range<i64>) {
    rows(
        node,
        &format!("CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b INT, tags LIST) WITH (kind = '{kind}')"),
    );
    rows(node, "CREATE UNIQUE INDEX by_b ON t (b)");
    let values: Vec<String> = numbers.map(|n| format!("({n}, '{n}', {}, ['x', {n}])", n * 10)).collect();
    rows(node, &format!("INSERT INTO t VALUES {}", values.join(", ")));
}

#[test]
fn a_cast_that_one_row_refuses_changes_nothing_and_names_the_row() {
    // Aim: all rows or none. Method: one row of a hundred has no such value; table, rows and index are compared with before,
    // and the table's next version is the one that it would have been.
    for kind in ["set", "ordered_set", "bag"] {
        let node = node();
        filled(&node, kind, 0..100);
        rows(&node, "UPDATE t SET a = 'none' WHERE id = 57");
        let (before, def) =
            (rows(&node, "SELECT * FROM t"), node.dyn_table("t").expect("there").definition());
        let statement = "ALTER TABLE t DROP COLUMN tags, ALTER COLUMN a TYPE INT, ADD COLUMN c INT";
        let error = refused(&node, statement);
        assert!(matches!(error, Error::Query(_)), "{error:?}");
        let told = error.to_string();
        assert!(told.contains("'none'") && told.contains("key 57;") && told.contains('^'), "{told}");
        assert_eq!(sorted(rows(&node, "SELECT * FROM t")), sorted(before), "{kind}");
        assert_eq!(node.dyn_table("t").expect("there").definition().expect("there"), def.expect("there"));
        assert_eq!(rows(&node, "SELECT id FROM t WHERE b = 570"), [[57.into()]]);
        rows(&node, "UPDATE t SET a = '57' WHERE id = 57");
        rows(&node, statement);
        let expected = |n: i64| vec![n.into(), n.into(), (n * 10).into(), Value::Null];
        assert_eq!(sorted(rows(&node, "SELECT * FROM t")), (0..100).map(expected).collect::<Vec<_>>());
    }
}

#[test]
fn indexes_follow_columns_that_move_and_change() {
    // Aim: after each change every index gives what a scan gives, and a unique one is in force. Method: the columns before
    // theirs go, theirs gets another name and another type, one value at a time through the index and by a scan.
    let node = node();
    filled(&node, "set", 0..50);
    node.add_index("t", "both", &["b", "tags"], false).expect("added");
    for statement in [
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t RENAME COLUMN b TO beta",
        "ALTER TABLE t ALTER COLUMN beta TYPE TEXT",
        "ALTER TABLE t ALTER COLUMN beta TYPE INT USING CAST(beta AS INT) + 1",
        "ALTER TABLE t ADD COLUMN z INT DEFAULT 4",
        "ALTER TABLE t ALTER COLUMN z TYPE TEXT",
    ] {
        rows(&node, statement);
        let column = if statement.contains("DROP") { "b" } else { "beta" };
        for row in rows(&node, &format!("SELECT {column}, id FROM t")) {
            let [value, id] = &row[..] else { panic!("two columns") };
            let by_index =
                node.dyn_table("t").expect("there").index_read("by_b", std::slice::from_ref(value));
            let found = by_index.expect("an index");
            assert_eq!(found.iter().map(|row| &row[0]).collect::<Vec<_>>(), [id], "{statement}: {value}");
            let plan = rows(&node, &format!("EXPLAIN SELECT id FROM t WHERE {column} = {value}"));
            assert!(format!("{plan:?}").contains("by_b"), "{statement}: {plan:?}");
        }
        let taken = rows(&node, &format!("SELECT {column} FROM t WHERE id = 1")).remove(0).remove(0);
        let error = refused(&node, &format!("INSERT INTO t (id, {column}) VALUES (99, {taken})"));
        assert!(matches!(error, Error::Unique { .. }), "{statement}: {error:?}");
    }
    let error = refused(&node, "ALTER TABLE t ALTER COLUMN beta TYPE INT USING 1");
    assert!(matches!(error, Error::Unique { .. }), "all rows would have one value: {error:?}");
    assert_eq!(rows(&node, "SELECT count(DISTINCT beta) FROM t")[0][0], 50_u64.into());
    assert!(refused(&node, "ALTER TABLE t DROP COLUMN beta").to_string().contains("by_b"));
}

#[test]
fn rows_that_were_written_before_a_column_came_are_changed_as_they_are_shown() {
    // Aim: what a short row is completed with counts for expressions, and stays what it is when the default changes. Method:
    // rows from before and after each change; deadlines of rows stay.
    let node = node();
    filled(&node, "set", 0..2);
    let table = node.dyn_table("t").expect("there");
    let far = Lifetime::For(Duration::from_secs(1_000_000));
    table.set_lifetime(&key(1), far).expect("there");
    rows(&node, "ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 5");
    assert_eq!(table.outdated().expect("looked"), 2, "no row was touched");
    rows(&node, "INSERT INTO t (id, b, c) VALUES (2, 7, 6)");
    rows(&node, "ALTER TABLE t ALTER COLUMN c SET DEFAULT 9");
    rows(&node, "INSERT INTO t (id, b) VALUES (3, 8)");
    assert_eq!(rows(&node, "SELECT c FROM t ORDER BY id"), [[5.into()], [5.into()], [6.into()], [9.into()]]);
    rows(&node, "ALTER TABLE t ALTER COLUMN c TYPE TEXT USING 'c' || c || coalesce(a, '')");
    let texts: Vec<[Value; 1]> = ["c50", "c51", "c6", "c9"].map(|text| [text.into()]).to_vec();
    assert_eq!(rows(&node, "SELECT c FROM t ORDER BY id"), texts);
    assert!(table.deadline(&key(1)).expect("there").is_some(), "its lifetime is its own");
}

#[test]
fn what_is_too_large_or_not_shared_is_refused_whole() {
    // Aim: the bounds of a transform. Method: more bytes than a transaction takes; a local table, whose rows are each
    // member's own.
    let node = node();
    filled(&node, "set", 0..2);
    let table =
        node.create_table(TableDef::builder("large").attribute("id", Type::Int).attribute("a", Type::Bytes));
    let table = table.expect("new");
    for n in 0..40 {
        table.insert(&[n.into(), Value::Bytes(vec![7; 1 << 20])]).expect("it fits");
    }
    let error = refused(&node, "ALTER TABLE large ALTER COLUMN a TYPE LIST USING [a]");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    assert_eq!(table.get(&key(0)).expect("read").expect("there")[1], Value::Bytes(vec![7; 1 << 20]));
    let local = TableDef::builder("own").attribute("id", Type::Int).attribute("a", Type::Int).local();
    node.create_table(local).expect("new").insert(&[1.into(), 2.into()]).expect("it fits");
    refused(&node, "ALTER TABLE own DROP COLUMN a");
    rows(&node, "ALTER TABLE own ADD COLUMN b INT DEFAULT 3");
    assert_eq!(rows(&node, "SELECT * FROM own"), [[1.into(), 2.into(), 3.into()]]);
    assert!(refused(&node, "ALTER TABLE _schema ADD COLUMN b INT").to_string().contains("_schema"));
}

#[test]
fn altered_tables_are_what_they_were_after_a_kill() {
    // Aim: a change that was told is on disc. Method: changes of each sort, then the process is as good as killed.
    let home = tempfile::tempdir().expect("a directory");
    let open = |home: &Path| Node::builder().data_dir(home).build().expect("opens");
    let node = open(home.path());
    rows(&node, "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b INT) WITH (storage = 'disc')");
    rows(&node, "INSERT INTO t VALUES (1, '4', 40), (2, '5', 50)");
    for statement in [
        "ALTER TABLE t ADD COLUMN c INT DEFAULT 1",
        "ALTER TABLE t ALTER COLUMN a TYPE INT USING CAST(a AS INT) + c",
        "ALTER TABLE t DROP COLUMN b, RENAME a TO sum",
        "ALTER TABLE t RENAME TO u",
    ] {
        rows(&node, statement);
    }
    refused(&node, "ALTER TABLE u ALTER COLUMN sum TYPE INT USING 1 / (sum - 6)");
    let left = killed(home.path());
    let node = open(left.path());
    assert_eq!(
        rows(&node, "SELECT id, sum, c FROM u ORDER BY id"),
        [[1.into(), 5.into(), 1.into()], [2.into(), 6.into(), 1.into()]]
    );
    assert!(node.dyn_table("t").is_err());
}

#[test]
fn unique_values_are_those_of_the_columns_that_are_left() {
    // Aim: rows of the new form are not judged by the old one's places, and who listens hears them as they are. Method: a
    // unique column between two that move, equal values behind it; the events of the same change; a real violation.
    let node = node();
    node.query("CREATE TABLE t (id INT PRIMARY KEY, a INT, u INT UNIQUE, b INT)", &[]).expect("new");
    node.query("INSERT INTO t (id, a, u, b) VALUES (1, 1, 10, 5), (2, 2, 20, 5)", &[]).expect("written");
    node.query("ALTER TABLE t ADD COLUMN m INT DEFAULT 7", &[]).expect("added");
    let t = node.dyn_table("t").expect("there");
    let changes = t.subscribe(hypermnesia::EventDetail::Simple).expect("served");
    node.query("ALTER TABLE t DROP COLUMN a", &[]).expect("no two have the same u");
    let found = node.query("SELECT id, u, b, m FROM t ORDER BY id", &[]).expect("read").rows;
    assert_eq!(found, [[1, 10, 5, 7], [2, 20, 5, 7]].map(|row| row.map(Value::Int)));
    let mut heard = Vec::new();
    while let Some(hypermnesia::Heard::Event(event)) = changes.try_next() {
        heard.extend(event.new.iter().flat_map(|body| body.rows().iter().map(|row| row.to_values())));
    }
    heard.sort();
    assert_eq!(heard, found, "what is heard is what is there");
    let same = node.query("INSERT INTO t (id, u, b, m) VALUES (3, 20, 1, 1)", &[]).expect_err("u is unique");
    assert!(same.to_string().contains("unique"), "{same}");
}

#[test]
fn reads_go_on_while_a_table_changes_its_form() {
    // Aim: a read outside a transaction that falls into a change of the definition, or a clear, is made at another instant.
    // Method: readers of every sort beside columns that are renamed and a table that is cleared.
    let node = node();
    node.query("CREATE TABLE t (id INT PRIMARY KEY, a INT)", &[]).expect("new");
    let t = node.dyn_table("t").expect("there");
    (0..200).for_each(|id| t.insert(&[id.into(), 1.into()]).expect("written"));
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            for n in 0..40 {
                let (from, to) = if n % 2 == 0 { ("a", "b") } else { ("b", "a") };
                node.query(&format!("ALTER TABLE t RENAME COLUMN {from} TO {to}"), &[]).expect("renamed");
                if n == 20 {
                    t.clear().expect("cleared");
                }
            }
        });
        let mut reads = 0;
        while !changer.is_finished() {
            let rows = t.to_vec().expect("made again").len();
            assert!([0, 200].contains(&rows), "{rows}");
            reads += 1;
            let counted = node.query("SELECT count(*) FROM t", &[]).expect("made again").rows;
            assert!([0, 200].map(|n| vec![vec![Value::Int(n)]]).contains(&counted), "{counted:?}");
            t.count_matching(hypermnesia::Filter::everything()).expect("made again");
        }
        assert!(reads > 0, "nobody read beside the changes");
    });
    assert_eq!(t.len(), Ok(0));
}
