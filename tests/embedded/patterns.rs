//! Rows by what they hold, against an evaluator that knows no paths; changes by pattern; what they must not do.

use std::cmp::Ordering;
use std::time::Duration;

use hypermnesia::{DynTable, Error, Filter, Kind, Node, Pattern, QueryErrorKind, TableDef, Type, Value};

use crate::{key, node, row, sorted, table};

const ATTRIBUTES: [&str; 6] = ["id", "a", "b", "c", "d", "e"];

/// A filter, and how it is judged by hand.
#[derive(Clone, Debug)]
enum Ask {
    Compare(usize, &'static str, Value),
    Between(usize, Value, Value),
    OneOf(usize, Vec<Value>),
    Prefix(usize, String),
    IsNull(usize),
    Contains(usize, Value),
    Not(Box<Ask>),
    All(Vec<Ask>),
    Any(Vec<Ask>),
}

impl Ask {
    fn filter(&self) -> Filter {
        let name = |at: &usize| ATTRIBUTES[*at];
        let each = |parts: &[Ask]| parts.iter().map(Ask::filter).collect::<Vec<_>>();
        match self {
            Ask::Compare(at, "=", value) => Filter::equal(name(at), value.clone()),
            Ask::Compare(at, "<>", value) => Filter::not_equal(name(at), value.clone()),
            Ask::Compare(at, "<", value) => Filter::less(name(at), value.clone()),
            Ask::Compare(at, "<=", value) => Filter::at_most(name(at), value.clone()),
            Ask::Compare(at, ">", value) => Filter::greater(name(at), value.clone()),
            Ask::Compare(at, _, value) => Filter::at_least(name(at), value.clone()),
            Ask::Between(at, low, high) => Filter::between(name(at), low.clone(), high.clone()),
            Ask::OneOf(at, values) => Filter::one_of(name(at), values.clone()),
            Ask::Prefix(at, text) => Filter::prefix(name(at), text),
            Ask::IsNull(at) => Filter::is_null(name(at)),
            Ask::Contains(at, value) => Filter::contains(name(at), value.clone()),
            Ask::Not(part) => !part.filter(),
            Ask::All(parts) => Filter::all(each(parts)),
            Ask::Any(parts) => each(parts).into_iter().fold(Filter::any([]), Filter::or),
        }
    }

    fn holds(&self, row: &[Value]) -> Option<bool> {
        match self {
            Ask::Compare(at, "=", Value::Null) | Ask::IsNull(at) => Some(row[*at] == Value::Null),
            Ask::Compare(at, "<>", Value::Null) => Some(row[*at] != Value::Null),
            Ask::Compare(at, sign, value) => compare(&row[*at], value).map(|order| match *sign {
                "=" => order.is_eq(),
                "<>" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            }),
            Ask::Between(at, low, high) => all([
                compare(&row[*at], low).map(Ordering::is_ge),
                compare(&row[*at], high).map(Ordering::is_le),
            ]
            .into_iter()),
            Ask::OneOf(at, values) if row[*at] == Value::Null => {
                let nothing = values.iter().all(|value| *value == Value::Null);
                if values.contains(&Value::Null) {
                    Some(true)
                } else if nothing {
                    Some(false)
                } else {
                    None
                }
            }
            Ask::OneOf(at, values) => {
                Some(values.iter().any(|v| compare(&row[*at], v) == Some(Ordering::Equal)))
            }
            Ask::Prefix(at, text) => match &row[*at] {
                Value::Text(own) => Some(own.starts_with(text)),
                Value::Null if *at != 4 => None,
                _ => Some(false),
            },
            Ask::Contains(at, value) => match (&row[*at], value) {
                (Value::Null, _) | (_, Value::Null) => None,
                (Value::List(items), value) => {
                    Some(items.iter().any(|item| compare(item, value) == Some(Ordering::Equal)))
                }
                (single, value) => Some(compare(single, value) == Some(Ordering::Equal)),
            },
            Ask::Not(part) => part.holds(row).map(|truth| !truth),
            Ask::All(parts) => all(parts.iter().map(|part| part.holds(row))),
            Ask::Any(parts) => all(parts.iter().map(|part| part.holds(row).map(|t| !t))).map(|t| !t),
        }
    }
}

/// False if one is, else unknown if one is, else true.
fn all(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let truths: Vec<_> = truths.collect();
    if truths.contains(&Some(false)) { Some(false) } else { (!truths.contains(&None)).then_some(true) }
}

/// Numbers by what they are worth, everything else by the order of values; null compares with nothing.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    let number = |value: &Value| match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    };
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => None,
        (a, b) => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => Some(a.cmp(b)),
        },
    }
}

struct Dice(fastrand::Rng);

impl Dice {
    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())].clone()
    }

    fn text(&mut self) -> String {
        let len = self.0.usize(..4);
        (0..len).map(|_| self.one_of(&['a', 'b', '%'])).collect()
    }

    fn anything(&mut self) -> Value {
        match self.0.u8(..6) {
            0 => Value::Null,
            1 | 2 => Value::Int(self.0.i64(0..3)),
            3 => Value::Float(self.0.i64(0..5) as f64 / 2.0),
            4 => Value::Bool(self.0.bool()),
            _ => Value::Text(self.text()),
        }
    }

    fn value(&mut self, at: usize) -> Value {
        if self.0.u8(..8) == 0 {
            return Value::Null;
        }
        match at {
            0 => Value::Int(self.0.i64(0..30)),
            1 => Value::Int(self.0.i64(0..5)),
            2 => Value::Float(self.0.i64(0..6) as f64 / 2.0),
            3 => Value::Text(self.text()),
            4 => self.anything(),
            _ => {
                let len = self.0.usize(..4);
                let mut list: Vec<Value> = (0..len).map(|_| self.anything()).collect();
                // Often both forms of one number, which are two entries of an index and one value to who asks.
                if let Some(Value::Int(n)) = list.first().filter(|_| self.0.bool()) {
                    list.push(Value::Float(*n as f64));
                }
                Value::List(list)
            }
        }
    }

    fn row(&mut self) -> Vec<Value> {
        let id = Value::Int(self.0.i64(0..30));
        std::iter::once(id).chain((1..6).map(|at| self.value(at))).collect()
    }

    fn ask(&mut self, depth: usize) -> Ask {
        let at = self.0.usize(..6);
        match self.0.u8(..if depth == 0 { 10 } else { 16 }) {
            0..=2 => {
                let sign = self.one_of(&["=", "=", "=", "<>", "<", "<=", ">", ">="]);
                Ask::Compare(at, sign, self.value(at))
            }
            3 => Ask::Between(at, self.value(at), self.value(at)),
            4 => {
                let count = self.0.usize(..4);
                Ask::OneOf(at, (0..count).map(|_| self.value(at)).collect())
            }
            5 => Ask::Prefix(self.one_of(&[3, 4]), self.text()),
            6 => Ask::IsNull(at),
            7..=9 => Ask::Contains(self.one_of(&[4, 5, 5]), self.anything()),
            10 | 11 => Ask::Any((0..self.0.usize(..3)).map(|_| self.ask(depth - 1)).collect()),
            12 => Ask::Not(Box::new(self.ask(depth - 1))),
            _ => Ask::All((0..self.0.usize(..4)).map(|_| self.ask(depth - 1)).collect()),
        }
    }
}

/// A table in one of several builds, with rows.
fn random_table(node: &Node, dice: &mut Dice, build: usize) -> DynTable {
    let kind = [Kind::Set, Kind::OrderedSet, Kind::Bag][build % 3];
    let mut def = TableDef::builder("t").kind(kind).attribute("id", Type::Int);
    let types = [Type::Int, Type::Float, Type::Text, Type::Any, Type::List];
    for (name, ty) in ATTRIBUTES[1..].iter().zip(types) {
        def = def.nullable(*name, ty);
    }
    match build / 3 {
        0 => {}
        1 => def = def.index("by_ab", ["a", "b"]).index("by_c", ["c"]).multi_index("by_e", "e"),
        _ => def = def.index("by_d", ["d", "c"]).index("by_b", ["b"]).multi_index("by_any", "d"),
    }
    let t = node.create_table(def).expect("new");
    for _ in 0..dice.0.usize(..40) {
        t.insert(&dice.row()).expect("fits");
    }
    t
}

fn meant(rows: &[Vec<Value>], ask: &Ask) -> Vec<Vec<Value>> {
    sorted(rows.iter().filter(|row| ask.holds(row) == Some(true)).cloned().collect())
}

#[test]
fn a_pattern_finds_what_a_look_at_every_row_finds() {
    // Aim: no path loses or adds a row, whatever the kind, the indexes and the filter; every door gives the same. Method:
    // random tables and filters, judged row by row by an evaluator of its own.
    let mut dice = Dice(fastrand::Rng::with_seed(11));
    for round in 0..90 {
        let node = node();
        let t = random_table(&node, &mut dice, round % 9);
        let rows = t.to_vec().expect("read");
        for _ in 0..12 {
            let ask = dice.ask(2);
            let filter = ask.filter();
            let expected = meant(&rows, &ask);
            let told = || format!("round {round}, {filter}: {}", t.explain(&filter).expect("fits"));
            assert_eq!(sorted(t.matching(&filter).expect("fits")), expected, "{}", told());
            assert_eq!(t.count_matching(&filter).expect("fits"), expected.len() as u64, "{}", told());
            let mut chunks = t.chunks(&filter, 3).expect("fits");
            let mut chunked = Vec::new();
            while let Some(chunk) = chunks.next_chunk().expect("open") {
                assert!(chunk.len() <= 3 && !chunk.is_empty());
                chunked.extend(chunk);
            }
            assert_eq!(sorted(chunked), expected, "{}", told());
            let inside = node.transaction(|tx| tx.matching(&t, &filter)).expect("read");
            assert_eq!(sorted(inside), expected, "{}", told());
            let few = t.matching(Pattern::of(filter.clone()).limit(2)).expect("fits");
            assert_eq!(few.len(), expected.len().min(2), "{}", told());
            assert!(few.iter().all(|row| expected.contains(row)), "{}", told());
        }
    }
}

#[test]
fn own_writes_are_met_by_every_pattern() {
    // Aim: contract case 6 for patterns: inside as if committed, outside not at all. Method: random writes in a transaction,
    // both sides judged by hand, then once more after the commit.
    let mut dice = Dice(fastrand::Rng::with_seed(12));
    for round in 0..45 {
        let node = node();
        let t = random_table(&node, &mut dice, round % 9);
        let before = t.to_vec().expect("read");
        let ask = dice.ask(1);
        let filter = ask.filter();
        let writes: Vec<(Vec<Value>, bool)> = (0..8).map(|_| (dice.row(), dice.0.bool())).collect();
        node.transaction(|tx| {
            for (row, put) in &writes {
                if *put { tx.insert(&t, row)? } else { tx.delete(&t, &row[..1])? }
            }
            let own = tx.range(&t, &hypermnesia::Span::all())?;
            assert_eq!(sorted(tx.matching(&t, &filter)?), meant(&own, &ask), "{filter}");
            assert_eq!(tx.count_matching(&t, &filter)?, meant(&own, &ask).len() as u64);
            assert_eq!(sorted(t.matching(&filter)?), meant(&before, &ask), "outside: {filter}");
            Ok(())
        })
        .expect("commits");
        let after = t.to_vec().expect("read");
        assert_eq!(sorted(t.matching(&filter).expect("read")), meant(&after, &ask), "{filter}");
    }
}

#[test]
fn changes_by_pattern_change_the_rows_that_are_meant() {
    // Aim: delete, update and replace touch what matching finds and nothing else, at once and in chunks. Method: the whole
    // table before and after, against the same done by hand.
    let mut dice = Dice(fastrand::Rng::with_seed(13));
    for round in 0..72 {
        let node = node();
        let t = random_table(&node, &mut dice, round % 9);
        let before = t.to_vec().expect("read");
        let ask = dice.ask(1);
        let filter = ask.filter();
        let hit = meant(&before, &ask).len() as u64;
        let seven = |row: &Vec<Value>| {
            let mut row = row.clone();
            row[1] = Value::Int(7);
            row
        };
        let with = |change: &dyn Fn(&Vec<Value>) -> Option<Vec<Value>>| {
            let one =
                |row: &Vec<Value>| if ask.holds(row) == Some(true) { change(row) } else { Some(row.clone()) };
            let mut rows = sorted(before.iter().filter_map(one).collect());
            // A bag keeps identical rows once.
            rows.dedup();
            rows
        };
        let (count, expected) = match (round / 9) % 5 {
            0 => (t.delete_matching(&filter), with(&|_| None)),
            1 => (t.update_matching(&filter, &[("a", Value::Int(7))]), with(&|row| Some(seven(row)))),
            2 => (t.replace_matching(&filter, |row| seven(&row)), with(&|row| Some(seven(row)))),
            3 => (t.delete_matching_in_chunks(&filter, 3), with(&|_| None)),
            _ => {
                (t.update_matching_in_chunks(&filter, &[("a", Value::Int(7))], 2), with(&|r| Some(seven(r))))
            }
        };
        assert_eq!(count.expect("done"), hit, "{filter}");
        assert_eq!(sorted(t.to_vec().expect("read")), expected, "{filter}");
    }
}

#[test]
fn a_path_is_used_where_there_is_one_and_its_order_is_kept() {
    let node = node();
    let def =
        TableDef::builder("t").kind(Kind::OrderedSet).attribute("id", Type::Int).attribute("n", Type::Int);
    let t = node
        .create_table(def.index("by_n", ["n"]).nullable("tags", Type::List).multi_index("by_tag", "tags"));
    let t = t.expect("new");
    for id in 0..200 {
        let tags = Value::List(vec![Value::Int(id % 7), "all".into()]);
        t.insert(&[Value::Int(id), Value::Int((id * 7) % 20), tags]).expect("fits");
    }
    let path = |pattern: Pattern| t.explain(pattern).expect("fits");
    for (filter, word) in [
        (Filter::equal("id", 7), "key lookup (id = 7)"),
        (Filter::one_of("id", [1, 2]), "key lookup (id in 2 values)"),
        (Filter::between("id", 3, 9), "key range (id >= 3, id <= 9)"),
        (Filter::equal("n", 3), "index by_n range (n = 3)"),
        (Filter::contains("tags", 3), "index by_tag range (tags contains 3)"),
        (Filter::sql("n = ? AND id % 2 = 0", [3]), "index by_n range (n = 3)"),
        (Filter::equal("id", 3).or(Filter::equal("n", 3)), "full scan in key order"),
        (Filter::any([]), "nothing"),
    ] {
        assert!(path(Pattern::of(filter)).contains(word), "{word}");
    }
    let ids = |pattern: Pattern| -> Vec<i64> {
        let rows = t.project(&pattern, &["id"]).expect("fits");
        rows.into_iter().map(|row| if let Value::Int(id) = row[0] { id } else { -1 }).collect()
    };
    let odd = || Filter::sql("id % 2 = 1", [Value::Null; 0]);
    assert_eq!(ids(Pattern::of(odd()).in_key_order().limit(3)), [1, 3, 5]);
    assert_eq!(ids(Pattern::of(odd()).in_key_order().backward().limit(3)), [199, 197, 195]);
    let by_n = Pattern::of(Filter::less("n", 2)).along_index("by_n");
    let (up, mut down) = (ids(by_n.clone()), ids(by_n.backward()));
    down.reverse();
    assert_eq!(up, down);
    assert_eq!(up[..3], [0, 20, 40], "of one value in the order of keys");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 10)).expect("fits");
    let query = |result: hypermnesia::Result<u64>, kind: QueryErrorKind, word: &str| match result {
        Err(Error::Query(error)) => {
            assert!(error.kind == kind && error.to_string().contains(word), "{error}")
        }
        other => panic!("{word}: {other:?}"),
    };
    query(t.count_matching(Filter::equal("m", 1)), QueryErrorKind::Name, "it has id, n");
    query(t.delete_matching(Filter::equal("n", "x")), QueryErrorKind::Type, "cannot compare int with text");
    query(t.count_matching(Filter::contains("n", 1)), QueryErrorKind::Type, "looks into a list");
    query(t.delete_matching(Filter::sql("n = ", [1])), QueryErrorKind::Syntax, "end");
    query(t.delete_matching(Filter::sql("n = ?", [1, 2])), QueryErrorKind::Parameters, "1, given: 2");
    query(
        t.delete_matching(Filter::sql("TRUE; DROP TABLE t", [1])),
        QueryErrorKind::Syntax,
        "end of the condition",
    );
    query(t.delete_matching(Filter::sql("n / 0 = 1", [0; 0])), QueryErrorKind::Value, "  n / 0 = 1\n  ^^^^^");
    let everything = || Pattern::of(Filter::everything());
    query(t.count_matching(everything().in_key_order()), QueryErrorKind::Unsupported, "ordered set");
    query(t.count_matching(everything().along_index("by_m")), QueryErrorKind::Name, "did you mean \"by_n\"?");
    let deep = (0..200).fold(Filter::equal("n", 1), |filter, _| filter.not());
    query(t.count_matching(deep), QueryErrorKind::Limit, "nested");
    assert!(matches!(t.project(everything(), &["m"]), Err(Error::Query(_))));
    assert!(matches!(t.update_matching(everything(), &[("id", Value::Int(2))]), Err(Error::Aborted { .. })));
    let moved = t.replace_matching(everything(), |row| vec![Value::Int(9), row[1].clone()]);
    assert!(matches!(moved, Err(Error::Aborted { .. })));
    assert!(matches!(t.update_matching(everything(), &[("n", "x".into())]), Err(Error::Row(_))));
    assert_eq!(t.to_vec().expect("read"), [row(1, 10).to_vec()]);
    node.drop_table("t").expect("there");
    assert!(matches!(t.matching(everything()), Err(Error::NoSuchTable { .. })));
}

#[test]
fn a_change_that_is_too_large_changes_nothing_and_chunks_get_it_done() {
    // Aim: one transaction up to its bound, nothing beyond, also where a program swallows the error. Method: forty rows of a
    // megabyte, which no transaction may write.
    let node = node();
    let def = TableDef::builder("t")
        .attribute("id", Type::Int)
        .attribute("n", Type::Int)
        .attribute("c", Type::Text);
    let t = node.create_table(def).expect("new");
    let long = "x".repeat(1 << 20);
    (0..40).for_each(|id| t.insert(&[Value::Int(id), Value::Int(0), long.as_str().into()]).expect("fits"));
    let zeros = || Filter::equal("n", 0);
    let one = [("n", Value::Int(1))];
    assert!(matches!(t.update_matching(zeros(), &one), Err(Error::TooLarge { .. })));
    assert_eq!(t.count_matching(zeros()).expect("read"), 40);
    node.transaction(|tx| {
        tx.insert(&t, &[Value::Int(99), Value::Int(5), "".into()])?;
        assert!(matches!(tx.update_matching(&t, zeros(), &one), Err(Error::TooLarge { .. })));
        assert_eq!(tx.count_matching(&t, zeros())?, 40, "none of it was done");
        Ok(())
    })
    .expect("the rest commits");
    assert_eq!(t.update_matching_in_chunks(zeros(), &one, 10).expect("done"), 40);
    assert_eq!(t.count_matching(Filter::equal("n", 1)).expect("read"), 40);
    assert_eq!(t.len().expect("read"), 41);
}

#[test]
fn chunks_of_nothing_are_of_one_row() {
    // Aim: no endless loop, and nothing is left out. Method: chunks of 0 of each operation that has them.
    let node = node();
    let t = table(&node, Kind::Set);
    (0..3).for_each(|id| t.insert(&row(id, 0)).expect("written"));
    let mut open = t.chunks(Filter::everything(), 0).expect("opens");
    let chunks = std::iter::from_fn(|| open.next_chunk().expect("read")).map(|chunk| chunk.len());
    assert_eq!(chunks.take(10).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(t.update_matching_in_chunks(Filter::everything(), &[("n", 1.into())], 0), Ok(3));
    assert_eq!(t.delete_matching_in_chunks(Filter::equal("n", 1), 0), Ok(3));
    assert!(t.is_empty().expect("read"));
}

#[test]
fn sql_looks_into_lists_through_the_index_of_the_engine() {
    // Aim: what EXPLAIN promises holds over snapshots and transactions, own writes included, each row once. Method: the same
    // condition with the index and behind a function that hides it.
    let node = node();
    let mut dice = Dice(fastrand::Rng::with_seed(15));
    let t = random_table(&node, &mut dice, 3);
    let explained = node.query("EXPLAIN SELECT id FROM t WHERE 1 = ANY(e)", &[]).expect("valid");
    assert!(explained.rows[0][0].to_string().contains("index by_e range (e contains 1)"), "{explained:?}");
    for round in 0..20 {
        let wanted = dice.anything();
        let by_index = "SELECT id, e FROM t WHERE $1 = ANY(e) ORDER BY id";
        let by_scan = "SELECT id, e FROM t WHERE coalesce(contains(e, $1), FALSE) ORDER BY id";
        let both = |node: &Node| {
            let ask = |sql| node.query(sql, std::slice::from_ref(&wanted)).expect("valid").rows;
            assert_eq!(ask(by_index), ask(by_scan), "round {round}: {wanted}");
        };
        both(&node);
        let (put, gone) = (dice.row(), dice.row());
        node.transaction(|tx| {
            tx.insert(&t, &put)?;
            tx.delete(&t, &gone[..1])?;
            let mut ask = |sql| tx.query(sql, std::slice::from_ref(&wanted)).map(|found| found.rows);
            assert_eq!(ask(by_index)?, ask(by_scan)?, "inside, round {round}: {wanted}");
            Ok(())
        })
        .expect("commits");
        both(&node);
    }
}

#[test]
fn a_row_with_both_forms_of_a_number_is_met_once() {
    // Aim: 1 and 1.0 are two entries of an index and one value in a filter. Method: a list with both, through every door.
    let node = node();
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("tags", Type::List);
    let t = node.create_table(def.multi_index("by_tag", "tags")).expect("new");
    let both = || Value::List(vec![Value::Int(1), Value::Float(1.0), Value::Int(2)]);
    (0..3).for_each(|id| t.insert(&[Value::Int(id), both()]).expect("fits"));
    let one = || Filter::contains("tags", 1);
    assert!(t.explain(one()).expect("fits").contains("index by_tag"));
    assert_eq!(t.count_matching(one()).expect("read"), 3);
    assert_eq!(t.matching(Pattern::of(one()).limit(2)).expect("read").len(), 2);
    let mut chunks = t.chunks(one(), 2).expect("opens");
    let mut sizes = Vec::new();
    while let Some(chunk) = chunks.next_chunk().expect("open") {
        sizes.push(chunk.len());
    }
    assert_eq!(sizes, [2, 1]);
    node.transaction(|tx| {
        tx.insert(&t, &[Value::Int(9), both()])?;
        assert_eq!(tx.count_matching(&t, one())?, 4);
        assert_eq!(tx.query("SELECT id FROM t WHERE 1.0 = ANY(tags)", &[])?.rows.len(), 4);
        assert_eq!(tx.delete_matching(&t, one())?, 4);
        Ok(())
    })
    .expect("commits");
    assert!(t.is_empty().expect("read"));
}

#[test]
fn a_search_can_be_stopped_although_it_finds_nothing() {
    // Aim: who has a deadline is asked while rows are looked at, not only when one is meant. Method: count the questions.
    let node = node();
    let t = table(&node, Kind::Set);
    let rows: Vec<_> = (0..5_000).map(|id| row(id, 1)).collect();
    t.insert_many(rows.iter().map(|row| &row[..])).expect("fits");
    let asked = std::cell::Cell::new(0);
    let search = |stop_at: u32| {
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() == stop_at
        };
        let never = Filter::sql("n + id < 0", [Value::Null; 0]);
        let none = |_: &hypermnesia::Row| panic!("no row is meant");
        node.snapshot().expect("serves").each_matching_unless(&t, never, stop, none).expect("read");
        asked.get()
    };
    assert_eq!(search(u32::MAX), 4, "once in a thousand rows");
    assert_eq!(search(2), 2, "and no more after it said so");
}

#[test]
fn rows_keep_their_deadlines_when_patterns_change_them() {
    let node = node();
    let hour = Duration::from_secs(3600);
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).ttl(hour);
    let t = node.create_table(def).expect("new");
    t.insert(&row(1, 1)).expect("fits");
    t.insert_with(&row(2, 1), hypermnesia::Lifetime::Forever).expect("fits");
    let deadlines = || [1, 2].map(|id| t.deadline(&key(id)).expect("read"));
    let before = deadlines();
    assert_eq!(t.update_matching(Filter::equal("n", 1), &[("n", Value::Int(2))]).expect("done"), 2);
    assert_eq!(t.replace_matching(Filter::equal("n", 2), |row| row).expect("done"), 2);
    assert_eq!((deadlines(), before[1]), (before, None));
}

#[test]
fn tasks_have_the_same_operations() {
    // Aim: the async transaction answers as the one of threads does, and its futures may be spawned. Method: each once.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    (0..6).for_each(|id| t.insert(&row(id, id / 2)).expect("fits"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let (task_node, task_table) = (node.clone(), t.clone());
    let spawned = runtime.spawn(async move {
        let t = task_table;
        let program = |tx: hypermnesia::AsyncTransaction| {
            let t = t.clone();
            async move {
                assert_eq!(tx.update_matching(&t, Filter::equal("n", 0), &[("n", Value::Int(9))]).await?, 2);
                assert_eq!(tx.delete_matching(&t, Filter::equal("n", 1)).await?, 2);
                let doubled = |row: Vec<Value>| vec![row[0].clone(), Value::Int(4)];
                assert_eq!(tx.replace_matching(&t, Filter::equal("n", 2), doubled).await?, 2);
                assert_eq!(tx.count_matching(&t, Filter::everything()).await?, 4);
                assert_eq!(tx.project(&t, Filter::equal("n", 9), &["id"]).await?, [key(0), key(1)]);
                assert_eq!(tx.matching(&t, Filter::equal("id", 4)).await?, [row(4, 4).to_vec()]);
                assert_eq!(tx.keys(&t).await?, [key(0), key(1), key(4), key(5)]);
                assert_eq!(tx.fold(&t, 0, |n, _| n + 1).await?, 4);
                assert_eq!(
                    tx.foldr(&t, Vec::new(), |mut all, row| {
                        all.push(row[0].clone());
                        all
                    })
                    .await?[0],
                    Value::Int(5)
                );
                assert_eq!(tx.select(&t, |row| row[1] == Value::Int(9)).await?.len(), 2);
                assert_eq!(tx.lookup(&t, &key(4), "n", Value::Null).await?, Value::Int(4));
                assert_eq!(tx.first(&t).await?, Some(row(0, 9).to_vec()));
                assert_eq!(tx.last(&t).await?, Some(row(5, 4).to_vec()));
                assert_eq!(tx.next(&t, &key(2)).await?, Some(row(4, 4).to_vec()));
                assert_eq!(tx.prev(&t, &key(3)).await?, Some(row(1, 9).to_vec()));
                Ok::<_, Error>(())
            }
        };
        task_node.transaction_async(program).await
    });
    runtime.block_on(spawned).expect("no panic").expect("commits");
    assert_eq!(t.len().expect("read"), 4);
}
