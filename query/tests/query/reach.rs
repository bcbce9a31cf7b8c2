//! How far an execution reaches into the tables, and what it does when they fail.

use std::ops::ControlFlow;

use hypermnesia_query::{Column, Error, Limits, Rows, Sink, Statement, StatementKind};
use hypermnesia_store::{Type, Value};

use crate::memory::{Memory, ReadsNothing};

fn filled() -> Memory {
    let memory = Memory::default();
    memory.rows("CREATE TABLE t (id INT PRIMARY KEY, a INT, c TEXT) WITH (kind = 'ordered_set')");
    memory.rows("CREATE INDEX by_a ON t (a)");
    memory.rows("CREATE TABLE u (id INT PRIMARY KEY, c TEXT)");
    for table in ["t (id, a, c)", "u (id, c)"] {
        let a = if table.starts_with('t') { "7, " } else { "" };
        let rows: Vec<String> = (0..1_000).map(|n| format!("({n}, {a}'x')")).collect();
        memory.rows(&format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
    }
    memory
}

#[test]
fn only_the_rows_that_are_needed_are_visited() {
    // Aim: keys, ranges, limits and ends spare the rest of the table. Method: rows shown by the access, out of 1,000.
    let memory = filled();
    for (sql, most) in [
        ("SELECT * FROM t WHERE id = 5", 1),
        ("SELECT * FROM t WHERE id = 5.0 AND c = 'x'", 1),
        ("SELECT * FROM u WHERE id IN (1, 2, 3)", 3),
        ("SELECT * FROM t WHERE id >= 10 AND id < 20", 10),
        ("SELECT * FROM t WHERE id BETWEEN 10 AND 19 ORDER BY id DESC LIMIT 2", 2),
        ("SELECT * FROM t LIMIT 4 OFFSET 3", 7),
        ("SELECT * FROM t ORDER BY id DESC LIMIT 4", 4),
        ("SELECT max(id) FROM t", 1),
        ("SELECT min(id) FROM t WHERE id > 500", 1),
        ("SELECT * FROM t WHERE a = 8", 0),
        ("SELECT * FROM t WHERE a = 7 LIMIT 1", 1),
        ("SELECT * FROM t WHERE 1 = 2", 0),
        ("SELECT * FROM t LIMIT 0", 0),
        ("SELECT * FROM t WHERE id = NULL", 0),
        ("SELECT t.id, u.c FROM u JOIN t ON t.id = u.id WHERE t.id = 3", 2),
        ("SELECT t.id, u.c FROM t JOIN u ON t.id = u.id WHERE t.id < 5", 10),
        ("DELETE FROM u WHERE id = 3", 1),
        ("UPDATE t SET c = 'y' WHERE id = 3", 1),
    ] {
        memory.visited.set(0);
        memory.rows(sql);
        assert!(memory.visited.get() <= most, "{sql}: {} rows visited", memory.visited.get());
    }
}

struct Three(Vec<Vec<Value>>);

impl Sink for Three {
    fn columns(&mut self, columns: &[Column]) {
        assert_eq!(columns, [Column { name: "id".into(), ty: Type::Int }]);
    }

    fn row(&mut self, values: Vec<Value>) -> ControlFlow<()> {
        self.0.push(values);
        if self.0.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[test]
fn a_sink_that_breaks_ends_the_scan() {
    // Aim: rows are pushed one at a time and a consumer that has enough stops all work. Method: three rows of 1,000.
    let memory = filled();
    let statement = Statement::parse("SELECT id FROM t").expect("parses");
    let mut three = Three(Vec::new());
    memory.visited.set(0);
    let outcome = statement.execute(&memory, &[], Limits::default(), &mut three).expect("runs");
    assert_eq!((outcome.rows, three.0.len(), memory.visited.get()), (3, 3, 3));
}

#[test]
fn what_the_access_refuses_comes_through() {
    // Aim: an error below is neither swallowed nor dressed up. Method: an access that fails at every touch of rows.
    let memory = filled();
    let broken = ReadsNothing(&memory);
    for (sql, why) in [
        ("SELECT * FROM t", "no scan"),
        ("SELECT count(*) FROM t", "no scan"),
        ("SELECT * FROM t WHERE id = 1", "no get"),
        ("SELECT * FROM t WHERE a = 1", "no index"),
        ("SELECT x.id FROM t x JOIN u ON u.id = x.id", "no get"),
        ("SELECT x.id FROM t x JOIN u ON u.c = x.c", "no scan"),
        ("INSERT INTO t VALUES (1, 1, '')", "no get"),
        ("DELETE FROM t", "no scan"),
    ] {
        let statement = Statement::parse(sql).expect("parses");
        match statement.execute(&broken, &[], Limits::default(), &mut Rows::default()) {
            Err(Error::Access(error)) => assert_eq!(error.to_string(), why, "{sql}"),
            other => panic!("{sql} gave {other:?}"),
        }
    }
}

#[test]
fn a_statement_is_kept_and_run_again() {
    // Aim: one statement serves many parameters and tables that change under it. Method: the same one before and after.
    let memory = filled();
    let statement = Statement::parse("SELECT c FROM t WHERE id = $1 AND c = $2;").expect("parses");
    assert_eq!((statement.kind(), statement.parameters()), (StatementKind::Read, 2));
    let columns = statement.columns(&memory).expect("known without parameters");
    assert_eq!(columns, [Column { name: "c".into(), ty: Type::Text }]);
    let ask = |id: Value| {
        let mut rows = Rows::default();
        statement.execute(&memory, &[id, "x".into()], Limits::default(), &mut rows).map(|_| rows.rows)
    };
    assert_eq!(ask(3.into()).expect("runs"), [[Value::from("x")]]);
    assert_eq!(ask(3.5.into()).expect("runs"), Vec::<Vec<Value>>::new());
    assert!(matches!(ask("three".into()), Err(Error::Query(_))), "a text is no id");
    memory.rows("DROP TABLE t");
    assert!(matches!(ask(3.into()), Err(Error::Query(_))), "the table is gone");
    let send = |_: &(dyn Send + Sync)| {};
    send(&statement);
}

#[test]
fn a_deadline_ends_what_touches_no_table() {
    // Aim: a join of held rows without a result can be ended. Method: 10^9 pairs of pairs and an access that has expired.
    let memory = filled();
    memory.expired.set(true);
    let sql = "SELECT 1 FROM t x, t y, t z WHERE x.c || y.c || z.c = 'never'";
    match memory.run(sql, &[]) {
        Err(Error::Access(error)) => assert_eq!(error.to_string(), "expired"),
        other => panic!("{other:?}"),
    }
}
