//! What an execution holds is bounded; what streams is not.

use hypermnesia_query::{ErrorKind, Limits};

use crate::memory::{Failed, Memory};

fn filled() -> Memory {
    let memory = Memory::default();
    memory.rows("CREATE TABLE t (id INT PRIMARY KEY, a INT, c TEXT) WITH (kind = 'ordered_set')");
    let rows: Vec<String> = (0..2_000).map(|n| format!("({n}, {}, 'text {n}')", n % 7)).collect();
    memory.rows(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
    memory
}

#[test]
fn held_rows_are_bounded_and_streamed_rows_are_not() {
    // Aim: sort, groups, DISTINCT, hash joins and writes stop at the bound; a scan does not care. Method: a bound of 100
    // rows on a table of 2,000.
    let memory = filled();
    let limits = Limits { held_rows_max: 100, ..Limits::default() };
    for sql in [
        "SELECT * FROM t ORDER BY c",
        "SELECT c, count(*) FROM t GROUP BY c",
        "SELECT DISTINCT c FROM t",
        "SELECT count(DISTINCT c) FROM t",
        "SELECT count(*) FROM t x JOIN t y ON x.c = y.c",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "INSERT INTO t SELECT id + 10000, a, c FROM t",
    ] {
        match memory.run_limited(sql, &[], limits) {
            Err(Failed::Query(error)) => assert_eq!(error.kind, ErrorKind::Limit, "{sql}"),
            other => panic!("{sql} gave {other:?}"),
        }
    }
    for (sql, rows) in [
        ("SELECT * FROM t", 2_000),
        ("SELECT * FROM t ORDER BY id DESC", 2_000),
        ("SELECT a, count(*) FROM t GROUP BY a", 7),
        ("SELECT DISTINCT a FROM t", 7),
        ("SELECT x.id FROM t x JOIN t y ON x.id = y.id", 2_000),
    ] {
        assert_eq!(memory.run_limited(sql, &[], limits).expect(sql).0.rows.len(), rows, "{sql}");
    }
    assert_eq!(
        memory.rows("SELECT count(*) FROM t")[0][0],
        2_000_u64.into(),
        "the refused writes wrote nothing"
    );
}

#[test]
fn held_bytes_are_bounded() {
    // Aim: few rows of long text count as what they are. Method: a bound of 10 kB.
    let memory = filled();
    let limits = Limits { held_bytes_max: 10_000, ..Limits::default() };
    let error = memory.run_limited("SELECT * FROM t ORDER BY c", &[], limits);
    assert!(matches!(error, Err(Failed::Query(error)) if error.kind == ErrorKind::Limit));
}

#[test]
fn a_sort_with_a_limit_holds_little_more_than_the_limit() {
    // Aim: the first rows of a long sort fit a small bound. Method: a bound of 1,100 rows, of which 1,024 are slack.
    let memory = filled();
    let limits = Limits { held_rows_max: 1_100, ..Limits::default() };
    let rows = memory
        .run_limited("SELECT id FROM t ORDER BY a DESC, c LIMIT 3 OFFSET 1", &[], limits)
        .expect("fits")
        .0
        .rows;
    let all = memory.rows("SELECT id FROM t ORDER BY a DESC, c");
    assert_eq!(rows, all[1..4]);
}
