//! The same question asked of differently built tables, and of an evaluator that knows no plans, has one answer.

use hypermnesia_store::Value;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::memory::Memory;

/// One row of `t` as it is inserted: key, two small numbers and a text that may be null, anything, and a list.
type Row = (i64, Option<i64>, Option<i64>, Option<String>, Value, Value);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let number = || proptest::option::weighted(0.8, 0..6_i64);
    let text = proptest::option::weighted(0.8, "[ab]{0,3}");
    let anything = || {
        prop_oneof![
            Just(Value::Null),
            (0..3_i64).prop_map(Value::Int),
            (0..5_i64).prop_map(|n| Value::Float(n as f64 / 2.0)),
            "[ab]{0,2}".prop_map(Value::from),
            any::<bool>().prop_map(Value::Bool),
        ]
    };
    let list = proptest::collection::vec(anything(), 0..4).prop_map(Value::List);
    let list = prop_oneof![9 => list, 1 => Just(Value::Null)];
    proptest::collection::vec((0..1_000_i64, number(), number(), text, anything(), list), 0..40).prop_map(
        |mut rows| {
            rows.iter_mut().zip(0..).for_each(|(row, id)| row.0 = id);
            rows
        },
    )
}

/// A condition over the columns of the table called `t`.
fn condition(t: &'static str) -> impl Strategy<Value = String> {
    let op = || prop_oneof![Just("="), Just("<>"), Just("<"), Just("<="), Just(">"), Just(">=")];
    let number = || {
        prop_oneof![
            (-1..7_i64).prop_map(|n| n.to_string()),
            Just("2.0".to_owned()),
            Just("1.5".to_owned()),
            Just("NULL".to_owned())
        ]
    };
    let text = || "[ab]{0,2}".prop_map(|text| format!("'{text}'"));
    let anything = || prop_oneof![number(), text(), Just("TRUE".to_owned())];
    let numeric = || prop_oneof![Just("id"), Just("a"), Just("b")];
    let leaf = prop_oneof![
        (numeric(), op(), number()).prop_map(move |(c, op, n)| format!("{t}.{c} {op} {n}")),
        (number(), op(), numeric()).prop_map(move |(n, op, c)| format!("{n} {op} {t}.{c}")),
        (op(), text()).prop_map(move |(op, x)| format!("{t}.c {op} {x}")),
        (op(), anything()).prop_map(move |(op, x)| format!("{t}.d {op} {x}")),
        anything().prop_map(move |x| format!("{x} = ANY({t}.e)")),
        anything().prop_map(move |x| format!("contains({t}.e, {x})")),
        (numeric(), number(), number()).prop_map(move |(c, x, y)| format!("{t}.{c} BETWEEN {x} AND {y}")),
        (numeric(), proptest::collection::vec(number(), 1..4))
            .prop_map(move |(c, all)| format!("{t}.{c} IN ({})", all.join(", "))),
        prop_oneof![Just("a"), Just("c"), Just("d")].prop_map(move |c| format!("{t}.{c} IS NULL")),
        "[ab%_]{0,3}".prop_map(move |pattern| format!("{t}.c LIKE '{pattern}'")),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            3 => proptest::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" AND "))),
            1 => proptest::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" OR "))),
            1 => inner.prop_map(|one| format!("(NOT {one})")),
        ]
    })
}

/// The ways to build the table: kind and key, then indexes; `each e` is one over the values of the list.
const BUILDS: &[(&str, &[&str])] = &[
    ("PRIMARY KEY (id)) WITH (kind = 'set')", &[]),
    ("PRIMARY KEY (id)) WITH (kind = 'ordered_set')", &[]),
    ("PRIMARY KEY (id)) WITH (kind = 'set')", &["(a, b)", "(c)", "(d)", "(EACH e)"]),
    ("PRIMARY KEY (id)) WITH (kind = 'ordered_set')", &["(b)", "(c, a)", "(d, b)"]),
    ("PRIMARY KEY (id)) WITH (kind = 'bag')", &["(a)", "(d)", "(EACH e)"]),
];

fn build(tables: &[(&str, &[Row])], build: usize) -> Memory {
    let memory = Memory::default();
    let (key, indexes) = BUILDS[build];
    for (name, rows) in tables {
        memory.rows(&format!("CREATE TABLE {name} (id INT, a INT, b INT, c TEXT, d ANY, e LIST, {key}"));
        for columns in indexes {
            memory.rows(&format!("CREATE INDEX ON {name} {columns}"));
        }
        for (id, a, b, c, d, e) in *rows {
            let [a, b] = [a, b].map(|number| Value::from(*number));
            let values = [Value::Int(*id), a, b, Value::from(c.clone()), d.clone(), e.clone()];
            memory
                .run(&format!("INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?)"), &values)
                .expect("the row fits");
        }
    }
    memory
}

fn runner() -> TestRunner {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, b"the same questions in every run!");
    TestRunner::new_with_rng(Config { cases: 150, failure_persistence: None, ..Config::default() }, seed)
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort();
    rows
}

#[test]
fn a_path_finds_what_a_scan_finds() {
    // Aim: key, range and index paths lose and add nothing. Method: the condition as a column of a query that cannot use
    // it for a path says which rows fulfil it; WHERE must find just those, in each build, as written and negated.
    let outcome = runner().run(&(rows(), condition("t")), |(rows, condition)| {
        for build_number in 0..BUILDS.len() {
            let memory = build(&[("t", &rows)], build_number);
            let all = memory.rows(&format!("SELECT id, {condition} FROM t"));
            let expected = |truth: &Value| -> Vec<Vec<Value>> {
                sorted(all.iter().filter(|row| row[1] == *truth).map(|row| vec![row[0].clone()]).collect())
            };
            let found = sorted(memory.rows(&format!("SELECT id FROM t WHERE {condition}")));
            prop_assert_eq!(&found, &expected(&Value::Bool(true)), "build {}", build_number);
            let negated = sorted(memory.rows(&format!("SELECT id FROM t WHERE NOT ({condition})")));
            prop_assert_eq!(&negated, &expected(&Value::Bool(false)), "build {}, negated", build_number);
        }
        Ok(())
    });
    outcome.expect("same rows");
}

#[test]
fn an_order_that_is_not_sorted_is_the_sorted_order() {
    // Aim: leaving out the sort changes nothing. Method: the same ORDER BY with and without a path that gives it, where
    // `+ 0` and `|| ''` hide the columns from the planner; the id makes the order total.
    let column = prop_oneof![
        Just(("a", "t.a + 0")),
        Just(("b", "t.b + 0")),
        Just(("c", "t.c || ''")),
        Just(("id", "t.id + 0"))
    ];
    let key = (column, any::<bool>(), proptest::option::weighted(0.3, any::<bool>()));
    let keys = proptest::collection::vec(key, 1..3);
    let outcome = runner().run(&(rows(), condition("t"), keys, 0..8_u64, 0..3_u64), |(rows, condition, keys, limit, offset)| {
        let text = |hidden: bool| -> String {
            let parts = keys.iter().map(|((plain, hide), descending, nulls)| {
                let nulls = nulls.map_or("", |first| if first { " NULLS FIRST" } else { " NULLS LAST" });
                format!("{}{}{nulls}, ", if hidden { hide } else { plain }, if *descending { " DESC" } else { "" })
            });
            parts.collect()
        };
        let down = if keys[0].1 { " DESC" } else { "" };
        for build_number in 0..BUILDS.len() {
            let memory = build(&[("t", &rows)], build_number);
            let ask = |hidden: bool, id: &str| {
                let order = text(hidden);
                let query = format!("SELECT * FROM t WHERE {condition} ORDER BY {order}{id}{down} LIMIT {limit} OFFSET {offset}");
                memory.rows(&query)
            };
            prop_assert_eq!(ask(false, "id"), ask(true, "t.id + 0"), "build {}", build_number);
        }
        Ok(())
    });
    outcome.expect("same order");
}

#[test]
fn joins_give_what_all_pairs_give() {
    // Aim: lookups, hashes and join orders find the same partners. Method: each pair of rows is judged by the condition as
    // a column of a cross join (the naive evaluator); the inner and the left join must be made of those pairs.
    let link = prop_oneof![
        Just("t.a = u.a"),
        Just("t.id = u.id"),
        Just("t.a = u.id"),
        Just("u.c = t.c"),
        Just("t.d = u.d"),
        Just("t.d = u.a"),
        Just("t.d = ANY(u.e)"),
        Just("contains(u.e, t.a)"),
        Just("t.a < u.b"),
        Just("t.a = u.a AND t.b = u.b"),
        Just("t.id + 1 = u.id"),
        Just("TRUE"),
    ];
    let few = || {
        rows().prop_map(|mut rows| {
            rows.truncate(12);
            rows
        })
    };
    let outcome =
        runner().run(&(few(), few(), link, condition("u"), condition("t")), |(t, u, link, on, filter)| {
            for build_number in 0..BUILDS.len() {
                let memory = build(&[("t", &t), ("u", &u)], build_number);
                let pairs = memory
                    .rows(&format!("SELECT t.id, u.id, ({link}) AND {on}, {filter} FROM t CROSS JOIN u"));
                prop_assert_eq!(pairs.len(), t.len() * u.len());
                let yes = Value::Bool(true);
                let partners = |row: &&Vec<Value>| row[2] == yes && row[3] == yes;
                let inner = sorted(pairs.iter().filter(partners).map(|row| row[..2].to_vec()).collect());
                for query in [
                    format!("SELECT t.id, u.id FROM t JOIN u ON {link} AND {on} WHERE {filter}"),
                    format!("SELECT t.id, u.id FROM u JOIN t ON {link} WHERE {filter} AND {on}"),
                    format!("SELECT t.id, u.id FROM t, u WHERE {link} AND {on} AND {filter}"),
                ] {
                    prop_assert_eq!(
                        &sorted(memory.rows(&query)),
                        &inner,
                        "build {}: {}",
                        build_number,
                        query
                    );
                }
                let mut left = inner.clone();
                for row in memory.rows(&format!("SELECT id FROM t WHERE {filter}")) {
                    if !inner.iter().any(|pair| pair[0] == row[0]) {
                        left.push(vec![row[0].clone(), Value::Null]);
                    }
                }
                let query = format!("SELECT t.id, u.id FROM t LEFT JOIN u ON {link} AND {on} WHERE {filter}");
                prop_assert_eq!(
                    sorted(memory.rows(&query)),
                    sorted(left),
                    "build {}: {}",
                    build_number,
                    query
                );
            }
            Ok(())
        });
    outcome.expect("same pairs");
}

#[test]
fn aggregates_are_those_of_the_rows() {
    // Aim: groups are complete and their aggregates right, also min and max taken from one end of a path. Method: the
    // plain rows, grouped and added up here.
    let outcome = runner().run(&(rows(), condition("t")), |(rows, condition)| {
        for build_number in 0..BUILDS.len() {
            let memory = build(&[("t", &rows)], build_number);
            let plain = memory.rows(&format!("SELECT a, b, id FROM t WHERE {condition}"));
            let mut groups: std::collections::BTreeMap<Value, Vec<&Vec<Value>>> = Default::default();
            plain.iter().for_each(|row| groups.entry(row[0].clone()).or_default().push(row));
            let summary = |rows: &[&Vec<Value>]| {
                let known: Vec<&Value> = rows.iter().map(|row| &row[1]).filter(|b| !b.is_null()).collect();
                let sum: i64 = known.iter().map(|b| if let Value::Int(n) = b { *n } else { 0 }).sum();
                let sum = if known.is_empty() { Value::Null } else { Value::Int(sum) };
                let (least, most) = (known.iter().min(), known.iter().max());
                let value = |found: Option<&&Value>| found.map_or(Value::Null, |v| (*v).clone());
                vec![
                    Value::from(rows.len() as u64),
                    Value::from(known.len() as u64),
                    sum,
                    value(least),
                    value(most),
                ]
            };
            let expected: Vec<Vec<Value>> =
                groups.iter().map(|(a, rows)| [vec![a.clone()], summary(rows)].concat()).collect();
            let list = "count(*), count(b), sum(b), min(b), max(b)";
            let found =
                memory.rows(&format!("SELECT a, {list} FROM t WHERE {condition} GROUP BY a ORDER BY a"));
            prop_assert_eq!(found, expected, "build {}", build_number);
            let whole = summary(&plain.iter().collect::<Vec<_>>());
            prop_assert_eq!(
                memory.rows(&format!("SELECT {list} FROM t WHERE {condition}")),
                vec![whole.clone()]
            );
            for (n, end) in [(3, "min"), (4, "max")] {
                let one = memory.rows(&format!("SELECT {end}(b) FROM t WHERE {condition}"));
                prop_assert_eq!(one, vec![vec![whole[n].clone()]], "build {}: {}", build_number, end);
            }
            let distinct = memory.rows(&format!("SELECT DISTINCT a FROM t WHERE {condition} ORDER BY a"));
            prop_assert_eq!(distinct, groups.keys().map(|a| vec![a.clone()]).collect::<Vec<_>>());
        }
        Ok(())
    });
    outcome.expect("same sums");
}

#[test]
fn writes_change_the_rows_that_a_query_names() {
    // Aim: UPDATE and DELETE find their rows by the same paths as SELECT and change nothing else. Method: the rows after
    // them against those of a SELECT before.
    let outcome = runner().run(&(rows(), condition("t")), |(rows, condition)| {
        for build_number in 0..BUILDS.len() {
            let memory = build(&[("t", &rows)], build_number);
            let before = format!(
                "SELECT id, CASE WHEN {condition} THEN coalesce(a, 0) + 100 ELSE a END, b FROM t ORDER BY id"
            );
            let expected = memory.rows(&before);
            let updated =
                memory.run(&format!("UPDATE t SET a = coalesce(a, 0) + 100 WHERE {condition}"), &[]);
            let hit =
                expected.iter().filter(|row| row[1] >= Value::Int(100) && !row[1].is_null()).count() as u64;
            prop_assert_eq!(updated.expect("runs").1.rows, hit);
            prop_assert_eq!(memory.rows("SELECT id, a, b FROM t ORDER BY id"), expected);
            let kept = memory.rows(&format!("SELECT id FROM t WHERE ({condition}) IS NOT TRUE ORDER BY id"));
            memory.run(&format!("DELETE FROM t WHERE {condition}"), &[]).expect("runs");
            prop_assert_eq!(memory.rows("SELECT id FROM t ORDER BY id"), kept, "build {}", build_number);
        }
        Ok(())
    });
    outcome.expect("same rows");
}
