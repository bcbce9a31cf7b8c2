//! Ends and neighbours, ranges, keys, folds and index reads: typed and dynamic, outside and inside, from absent keys too.

use std::sync::atomic::{AtomicBool, Ordering};

use hypermnesia::{DynTable, Error, Filter, Kind, Node, Record, Span, TableDef, Type, Value};

use crate::{key, node, row, sorted, table};

#[derive(Record, Clone, Debug, PartialEq)]
#[record(table = "cities", kind = "ordered_set", index(by_place(country, size)))]
struct City {
    #[record(key)]
    country: String,
    #[record(key)]
    id: i64,
    #[record(unique)]
    name: String,
    size: i64,
}

fn city(country: &str, id: i64, name: &str, size: i64) -> City {
    City { country: country.into(), id, name: name.into(), size }
}

#[test]
fn records_are_walked_as_values_are() {
    let node = node();
    let cities = node.create_table_of::<City>().expect("new");
    let all = [city("BE", 1, "Ghent", 3), city("BE", 5, "Mons", 1), city("NL", 2, "Breda", 2)];
    all.iter().rev().for_each(|city| cities.insert(city).expect("fits"));
    assert_eq!(cities.first().expect("read"), Some(all[0].clone()));
    assert_eq!(cities.last().expect("read"), Some(all[2].clone()));
    assert_eq!(cities.next(&("BE", 3)).expect("an absent key is a place too"), Some(all[1].clone()));
    assert_eq!(cities.prev(&("NL", 0)).expect("read"), Some(all[1].clone()));
    assert_eq!(cities.prev(&("BE", 1)).expect("read"), None);
    let belgian = cities.prefix(&["BE".into()]).expect("fits");
    assert_eq!(cities.range(&belgian.clone().backward().limit(1)).expect("read"), [all[1].clone()]);
    let keys: Vec<(String, i64)> = cities.keys().expect("read");
    assert_eq!(keys, all.clone().map(|city| (city.country, city.id)));
    let names = |names: String, city: City| names + &city.name[..1];
    assert_eq!(cities.foldl(String::new(), names).expect("read"), "GMB");
    assert_eq!(cities.foldr(String::new(), names).expect("read"), "BMG");
    assert_eq!(cities.matching(Filter::at_least("size", 2)).expect("read"), [all[0].clone(), all[2].clone()]);
    let small = cities.index_span("by_place", &["BE".into()], ..=Value::Int(2)).expect("fits");
    assert_eq!(cities.index_range("by_place", &small).expect("read"), [all[1].clone()]);
    node.transaction(|tx| {
        tx.delete(&cities, &("BE", 5))?;
        assert_eq!(tx.next(&cities, &("BE", 3))?, Some(all[2].clone()));
        assert_eq!(tx.keys(&cities)?.len(), 2);
        assert_eq!(tx.foldr(&cities, String::new(), names)?, "BG");
        assert!(tx.index_range(&cities, "by_place", &small)?.is_empty());
        assert_eq!(cities.keys()?.len(), 3, "outside");
        Ok(())
    })
    .expect("commits");
}

#[test]
fn ends_and_neighbours_are_those_of_a_sorted_list() {
    // Aim: first, last, next, prev and ranges, from every key there is and every one between. Method: against a sorted list.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    let ids: Vec<i64> =
        (0..40).map(|n| n * n % 83 * 2).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    ids.iter().for_each(|id| t.insert(&row(*id, 0)).expect("fits"));
    let shown = |id: Option<&i64>| id.map(|id| row(*id, 0).to_vec());
    assert_eq!(t.first().expect("read"), shown(ids.first()));
    assert_eq!(t.last().expect("read"), shown(ids.last()));
    for at in -1..=ids[ids.len() - 1] + 1 {
        assert_eq!(t.next(&key(at)).expect("read"), shown(ids.iter().find(|id| **id > at)));
        assert_eq!(t.prev(&key(at)).expect("read"), shown(ids.iter().rev().find(|id| **id < at)));
        let span = t.span(key(at)..key(at + 20)).expect("fits");
        let mut within: Vec<i64> = ids.iter().filter(|id| (at..at + 20).contains(id)).copied().collect();
        let found = |span: &Span| {
            t.range(span).expect("read").into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&span), within.iter().map(|id| Value::Int(*id)).collect::<Vec<_>>());
        within.reverse();
        within.truncate(3);
        assert_eq!(
            found(&span.backward().limit(3)),
            within.iter().map(|id| Value::Int(*id)).collect::<Vec<_>>()
        );
    }
    let bag = node.create_table(
        TableDef::builder("b").kind(Kind::Bag).attribute("id", Type::Int).attribute("n", Type::Int),
    );
    let bag = bag.expect("new");
    bag.insert_many([&row(1, 1)[..], &row(1, 2)[..], &row(2, 1)[..]]).expect("fits");
    assert!(matches!(bag.first(), Err(Error::WrongKind { .. })));
    assert_eq!(sorted(bag.keys().expect("read")), [key(1), key(2)], "each once");
    assert_eq!(bag.foldr(0, |count, _| count + 1).expect("read"), 3);
}

/// Entries of an index as they must be: the values of its attributes, the key, the row; a row once per entry.
fn entries(rows: &[Vec<Value>], attributes: &[usize], multi: bool) -> Vec<(Vec<Value>, Vec<Value>)> {
    let mut all = Vec::new();
    for row in rows {
        let firsts: Vec<Vec<Value>> = match (&row[attributes[0]], multi) {
            (Value::List(items), true) => items
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .map(|v| vec![v.clone()])
                .collect(),
            (Value::Null, true) => Vec::new(),
            _ => vec![attributes.iter().map(|at| row[*at].clone()).collect()],
        };
        all.extend(firsts.into_iter().map(|mut entry| {
            entry.push(row[0].clone());
            (entry, row.clone())
        }));
    }
    all.sort();
    all
}

fn check_index(
    t: &DynTable,
    node: &Node,
    index: &str,
    attributes: &[usize],
    multi: bool,
    dice: &mut fastrand::Rng,
) {
    let all = entries(&t.to_vec().expect("read"), attributes, multi);
    for _ in 0..12 {
        let Some((entry, _)) = (!all.is_empty()).then(|| &all[dice.usize(..all.len())]) else { return };
        let fixed = dice.usize(..=entry.len());
        let low = (fixed < entry.len() && dice.bool()).then(|| entry[fixed].clone());
        let values = &entry[..fixed];
        let within = |candidate: &Vec<Value>| {
            candidate[..fixed] == *values && low.as_ref().is_none_or(|low| candidate[fixed] >= *low)
        };
        let expected: Vec<_> =
            all.iter().filter(|(entry, _)| within(entry)).map(|(_, row)| row.clone()).collect();
        let span = match &low {
            Some(low) => t.index_span(index, values, low.clone()..),
            None => t.index_span(index, values, ..),
        };
        let span = span.expect("fits");
        let told = format!("{index} {values:?} from {low:?}");
        assert_eq!(t.index_range(index, &span).expect("read"), expected, "{told}");
        let back: Vec<_> = expected.iter().rev().take(2).cloned().collect();
        assert_eq!(t.index_range(index, &span.clone().backward().limit(2)).expect("read"), back, "{told}");
        let inside = node.transaction(|tx| tx.index_range(t, index, &span)).expect("read");
        assert_eq!(inside, expected, "{told}");
    }
}

#[test]
fn indexes_are_read_by_values_prefix_range_and_key() {
    // Aim: every sort of index, cut anywhere between its first value and the last of the key, forward and backward, outside
    // and inside. Method: random rows, against entries made by hand.
    let mut dice = fastrand::Rng::with_seed(14);
    for round in 0..20 {
        let node = node();
        let kind = [Kind::Set, Kind::OrderedSet][round % 2];
        let def = TableDef::builder("t").kind(kind).attribute("id", Type::Int).nullable("a", Type::Int);
        let def = def.nullable("b", Type::Text).nullable("tags", Type::List).attribute("u", Type::Int);
        let def = def.index("by_a", ["a"]).index("by_ba", ["b", "a"]).multi_index("by_tag", "tags");
        let t = node.create_table(def.unique_index("by_u", ["u"])).expect("new");
        for id in 0..dice.i64(1..30) {
            let null =
                |dice: &mut fastrand::Rng, value: Value| if dice.u8(..5) == 0 { Value::Null } else { value };
            let a = Value::Int(dice.i64(0..4));
            let b = Value::from(["", "x", "xy", "y"][dice.usize(..4)]);
            let tags = Value::List((0..dice.usize(..4)).map(|_| Value::Int(dice.i64(0..4))).collect());
            let row = [
                Value::Int(id),
                null(&mut dice, a),
                null(&mut dice, b),
                null(&mut dice, tags),
                Value::Int(100 - id),
            ];
            t.insert(&row).expect("fits");
        }
        check_index(&t, &node, "by_a", &[1], false, &mut dice);
        check_index(&t, &node, "by_ba", &[2, 1], false, &mut dice);
        check_index(&t, &node, "by_tag", &[3], true, &mut dice);
        check_index(&t, &node, "by_u", &[4], false, &mut dice);
    }
    let node = node();
    let t = table(&node, Kind::Set);
    let too_many = [Value::Int(1), Value::Int(2), Value::Int(3)];
    assert!(matches!(t.index_span("by_n", &too_many, ..), Err(Error::Row(_))));
    assert!(matches!(t.index_span("by_n", &["x".into()], ..), Err(Error::Row(_))));
    assert!(matches!(t.index_span("by_m", &[], ..), Err(Error::NoSuchIndex { .. })));
}

#[test]
fn an_index_equals_a_scan_while_writers_write_and_it_comes_and_goes() {
    // Aim: contract case 11. Method: two writers change, delete and insert; beside them an index is dropped and built again,
    // and in one transaction at a time what it gives is compared with a scan.
    let node = node();
    let t = table(&node, Kind::Set);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            let (t, stop) = (&t, &stop);
            scope.spawn(move || {
                let mut dice = fastrand::Rng::with_seed(seed);
                while !stop.load(Ordering::Relaxed) {
                    let id = dice.i64(0..60);
                    let done = if dice.u8(..4) == 0 {
                        t.delete(&key(id))
                    } else {
                        t.insert(&row(id, dice.i64(0..6)))
                    };
                    match done {
                        Ok(()) | Err(Error::SchemaChanged { .. } | Error::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        for round in 0..12 {
            for n in 0..6 {
                let snapshot = node.snapshot().expect("serves");
                let by_index = snapshot.index_read(&t, "by_n", &[Value::Int(n)]).expect("read");
                let by_scan = snapshot.range(&t, &Span::all()).expect("read");
                let by_scan = by_scan.into_iter().filter(|row| row[1] == Value::Int(n)).collect();
                assert_eq!(sorted(by_index), sorted(by_scan), "round {round}");
                let (by_pattern, counted) = node
                    .transaction(|tx| {
                        Ok((
                            tx.matching(&t, Filter::equal("n", n))?,
                            tx.select(&t, |row| row[1] == Value::Int(n))?,
                        ))
                    })
                    .expect("read");
                assert_eq!(sorted(by_pattern), sorted(counted), "round {round}");
            }
            node.drop_index("t", "by_n").expect("there");
            assert!(matches!(t.index_read("by_n", &[Value::Int(1)]), Err(Error::NoSuchIndex { .. })));
            node.add_index("t", "by_n", &["n"], false).expect("built");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_unique_violation_aborts_all_of_a_transaction_and_names_the_key() {
    let node = node();
    let cities = node.create_table_of::<City>().expect("new");
    cities.insert(&city("BE", 1, "Ghent", 3)).expect("fits");
    let twice = node.transaction(|tx| {
        tx.insert(&cities, &city("NL", 1, "Breda", 1))?;
        tx.insert(&cities, &city("NL", 2, "Ghent", 1))
    });
    let Err(Error::Unique { table, index, key }) = twice else { panic!("{twice:?}") };
    assert_eq!((table.as_str(), index.as_str()), ("cities", "by_name"));
    assert!(key.contains("Ghent"), "{key}");
    assert_eq!(cities.len().expect("read"), 1, "none of it happened");
    let renamed = cities.update_matching(Filter::everything(), &[("name", "Gent".into())]);
    assert_eq!(renamed.expect("alone"), 1);
    cities.insert(&city("NL", 1, "Breda", 1)).expect("fits");
    let same = cities.update_matching(Filter::everything(), &[("name", "Gent".into())]);
    assert!(matches!(same, Err(Error::Unique { .. })), "{same:?}");
    assert_eq!(cities.count_matching(Filter::equal("name", "Gent")).expect("read"), 1);
}
