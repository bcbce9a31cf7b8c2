//! Text that nobody should write: it is refused or answered, but nothing panics and no stack overflows.

use hypermnesia_query::{ErrorKind, Limits, Statement};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::memory::{Failed, Memory};

fn kind(sql: &str) -> ErrorKind {
    let memory = Memory::default();
    memory.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, c TEXT)", &[]).expect("creates");
    match memory.run(sql, &[]) {
        Err(Failed::Query(error)) => error.kind,
        other => panic!("{:.80}... gave {other:?}", sql),
    }
}

fn answers(sql: &str) {
    let memory = Memory::default();
    memory.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, c TEXT)", &[]).expect("creates");
    if let Err(error) = memory.run(sql, &[]) {
        panic!("{:.80}... gave {error}", sql);
    }
}

#[test]
fn deep_text_is_refused_before_it_is_deep() {
    // Aim: nesting costs an error, not the stack. Method: each construct that nests, far deeper than any stack takes, on
    // a test thread (2 MiB) without optimisation.
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("NOT ", "TRUE", ""),
        ("- ", "1", ""),
        ("lower(", "'a'", ")"),
        ("CASE WHEN TRUE THEN ", "1", " END"),
        ("CAST(", "1", " AS int)"),
        ("[", "1", "]"),
        ("{'a': ", "1", "}"),
        ("", "1", " + 1"),
        ("", "TRUE", " IS NULL"),
        ("", "1", "::int"),
        ("", "'a'", " || 'a'"),
        ("1 IN (", "1", ")"),
        ("1 BETWEEN ", "0", " AND 1"),
        ("(SELECT ", "1", ")"),
        ("EXISTS (SELECT ", "1", ")"),
        ("((1 + 1) + ", "1", ")"),
        ("", "a", ".b"),
        ("", "1", " COLLATE x"),
        ("'a' LIKE ", "'a'", ""),
    ] {
        for times in [200, 1_500, 20_000] {
            let sql = format!("SELECT {}{middle}{}", open.repeat(times), close.repeat(times));
            let found = kind(&sql);
            assert!(
                matches!(
                    found,
                    ErrorKind::Limit | ErrorKind::Syntax | ErrorKind::Unsupported | ErrorKind::Type
                ),
                "{open}...{close} x {times}: {found:?}"
            );
        }
    }
    let unions = "SELECT 1 UNION ".repeat(10_000) + "SELECT 1";
    assert_eq!(kind(&unions), ErrorKind::Limit);
    assert_eq!(kind(&("EXPLAIN ".repeat(10_000) + "SELECT 1")), ErrorKind::Limit);
}

#[test]
fn the_place_of_a_long_chain_is_found() {
    // Aim: looking for the place of what is refused needs no more stack than the tree itself. Method: the longest chains
    // that are read, below what is not supported, on a test thread (2 MiB) without optimisation.
    let chains =
        [vec!["1"; 990].join(" + "), format!("1{}", "::int".repeat(950)), vec!["1"; 990].join(" = 1 AND ")];
    for chain in chains {
        for sql in [
            format!("SELECT {chain} -> 1"),
            format!("SELECT ({chain}) SIMILAR TO 'x'"),
            format!("SELECT 1 = ANY ({chain})"),
            format!("SELECT ({chain}, 1)"),
            format!("SELECT ({chain})[1]"),
            format!("SELECT 1 FROM (t JOIN t u ON {chain})"),
            format!("SELECT 1 FROM unnest({chain})"),
            format!("VALUES ({chain})"),
            format!("SELECT interval {chain}"),
        ] {
            let found = kind(&sql);
            assert!(
                matches!(found, ErrorKind::Unsupported | ErrorKind::Limit | ErrorKind::Syntax),
                "{found:?}"
            );
        }
    }
    assert_eq!(kind(&("SELECT 1 UNION ".repeat(600) + "SELECT 1")), ErrorKind::Unsupported);
}

#[test]
fn what_is_wide_but_not_deep_is_answered() {
    // Aim: the bounds leave room for generated statements. Method: long lists, chains of AND and OR, many rows.
    let list: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    answers(&format!("SELECT id FROM t WHERE id IN ({})", list.join(", ")));
    answers(&format!("SELECT id FROM t WHERE {}", vec!["a = 1"; 400].join(" OR ")));
    answers(&format!("SELECT id FROM t WHERE {}", vec!["a = 1"; 400].join(" AND ")));
    let rows: Vec<String> = (0..8_000).map(|n| format!("({n}, {n}, 'text {n}')")).collect();
    answers(&format!("INSERT INTO t VALUES {}", rows.join(", ")));
    answers(&format!("SELECT {}", vec!["1"; 1024].join(", ")));
    answers(&format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60)));
    answers(&format!("SELECT {}", vec!["1"; 100].join(" + ")));
}

#[test]
fn every_bound_refuses_with_its_name() {
    // Aim: what is too large is refused, not tried. Method: one past each bound.
    assert_eq!(
        kind(&format!("SELECT '{}'", "x".repeat(hypermnesia_query::limits::TEXT_BYTES_MAX))),
        ErrorKind::Limit
    );
    assert_eq!(kind(&format!("SELECT {}", vec!["1"; 1025].join(", "))), ErrorKind::Limit);
    let tables: Vec<String> = (0..17).map(|n| format!("t t{n}")).collect();
    assert_eq!(kind(&format!("SELECT 1 FROM {}", tables.join(", "))), ErrorKind::Limit);
    assert_eq!(kind("SELECT $65536"), ErrorKind::Limit);
    assert_eq!(kind("SELECT $99999999999999999999"), ErrorKind::Parameters);
    let memory = Memory::default();
    let mega = "x".repeat(1 << 20);
    let doubled = "($1 || $1 || $1 || $1 || $1 || $1 || $1 || $1 || $1)";
    let error = memory.run_limited(&format!("SELECT {doubled}"), &[mega.as_str().into()], Limits::default());
    assert!(matches!(error, Err(Failed::Query(error)) if error.kind == ErrorKind::Limit));
    let sql = "SELECT replace($1, 'x', $1)";
    let error = memory.run_limited(sql, &[mega.as_str().into()], Limits::default());
    assert!(matches!(error, Err(Failed::Query(error)) if error.kind == ErrorKind::Limit));
}

fn runner(cases: u32) -> TestRunner {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, b"the same nonsense in every run !");
    TestRunner::new_with_rng(Config { cases, failure_persistence: None, ..Config::default() }, seed)
}

#[test]
fn random_text_is_an_error_with_a_place_in_it() {
    // Aim: no text panics, and an error's place lies in the text. Method: random characters, then random words of SQL.
    let memory = Memory::default();
    memory.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, c TEXT)", &[]).expect("creates");
    let words = prop_oneof![
        Just("SELECT"),
        Just("FROM"),
        Just("WHERE"),
        Just("t"),
        Just("id"),
        Just("a"),
        Just("c"),
        Just("("),
        Just(")"),
        Just(","),
        Just("="),
        Just("<"),
        Just("AND"),
        Just("OR"),
        Just("NOT"),
        Just("NULL"),
        Just("1"),
        Just("2.5"),
        Just("'x'"),
        Just("*"),
        Just("+"),
        Just("GROUP BY"),
        Just("ORDER BY"),
        Just("LIMIT"),
        Just("JOIN"),
        Just("ON"),
        Just("count"),
        Just("sum"),
        Just("IN"),
        Just("BETWEEN"),
        Just("LIKE"),
        Just("CASE"),
        Just("WHEN"),
        Just("END"),
        Just("INSERT INTO"),
        Just("VALUES"),
        Just("UPDATE"),
        Just("SET"),
        Just("DELETE"),
        Just("CREATE TABLE"),
        Just("DROP"),
        Just("EXPLAIN"),
        Just("INT"),
        Just("PRIMARY KEY"),
        Just("."),
        Just(";"),
        Just("::"),
        Just("-"),
        Just("AS"),
        Just("DISTINCT"),
        Just("LEFT"),
        Just("USING"),
        Just("WITH"),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("/"),
        Just("||"),
        Just("\""),
        Just("'"),
        Just("\n"),
        Just("--"),
        Just("é"),
        Just("IS"),
        Just("HAVING"),
    ];
    let nonsense = prop_oneof![
        "\\PC{0,60}",
        proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
        proptest::collection::vec(words.clone(), 0..25).prop_map(|all| all.join(" ")),
        proptest::collection::vec(words, 0..20).prop_map(|all| format!("SELECT {}", all.join(" "))),
    ];
    let outcome = runner(4_000).run(&nonsense, |sql| {
        let Ok(statement) = Statement::parse(&sql) else {
            let error = Statement::parse(&sql).expect_err("it was one a moment ago");
            if let Some(position) = error.position {
                prop_assert!(position.line as usize <= sql.split('\n').count(), "{}", error);
            }
            return Ok(());
        };
        // Whatever it means, it is answered or refused; only reads are run, for the next case's sake.
        if statement.kind() == hypermnesia_query::StatementKind::Read && statement.parameters() == 0 {
            let _ = memory.run(&sql, &[]);
        }
        Ok(())
    });
    outcome.expect("no panic, and places inside");
}
