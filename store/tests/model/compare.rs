//! A table beside its model: a scan, a range both ways, steps, and the index, all at one snapshot.

use std::ops::Bound;
use std::sync::Arc;

use hypermnesia_store::{Direction, Key, KeyRange, Kind, Table, Timestamp};

use crate::run::{Dice, KEYS, Model, key, pairs};

pub(crate) fn compare(table: &Arc<Table>, at: Timestamp, model: &Model, dice: &mut Dice) {
    let scan = |range: KeyRange, direction| -> Vec<(Key, Vec<(i64, i64)>)> {
        let found = table.cursor(range, direction, at).map(|found| found.expect("settled"));
        found.map(|(key, body, _)| (key, pairs(&body))).collect()
    };
    let sorted = |mut rows: Vec<(Key, Vec<(i64, i64)>)>| {
        if table.def().kind != Kind::OrderedSet {
            rows.sort();
        }
        rows
    };
    let wanted = |from: i64, to: i64| -> Vec<_> {
        model.range(from..to).map(|(k, rows)| (key(*k), rows.clone())).collect()
    };
    assert_eq!(sorted(scan(KeyRange::all(), Direction::Forward)), wanted(i64::MIN, i64::MAX));
    let from = dice.roll(KEYS) as i64;
    let to = from + dice.roll(100) as i64;
    let range = KeyRange { start: Bound::Included(key(from)), end: Bound::Excluded(key(to)) };
    assert_eq!(sorted(scan(range.clone(), Direction::Forward)), wanted(from, to));
    let mut back = scan(range, Direction::Backward);
    back.reverse();
    assert_eq!(sorted(back), wanted(from, to));
    let next = table.next(&key(from), at).expect("settled").map(|(key, ..)| key);
    assert_eq!(next, model.range(from + 1..).next().map(|(k, _)| key(*k)));
    if !table.def().indexes.is_empty() {
        compare_index(table, at, model);
    }
}

fn compare_index(table: &Arc<Table>, at: Timestamp, model: &Model) {
    let index = table.def().indexes[0].id;
    let mut wanted: Vec<(i64, i64)> = model.values().flatten().map(|(k, v)| (*v, *k)).collect();
    wanted.sort_unstable();
    let mut found = Vec::new();
    for entry in table.index_cursor(index, KeyRange::all(), Direction::Forward, at) {
        let (_, body, _) = entry.expect("settled");
        found.extend(pairs(&body).into_iter().map(|(k, v)| (v, k)));
    }
    assert_eq!(found, wanted);
    let mut backward = Vec::new();
    table
        .visit_index(index, &KeyRange::prefix(&key(7)), Direction::Backward, at, |_, body, _| {
            backward.extend(pairs(body).into_iter().map(|(k, v)| (v, k)));
            std::ops::ControlFlow::Continue(())
        })
        .expect("settled");
    backward.reverse();
    assert_eq!(backward, wanted.into_iter().filter(|(v, _)| *v == 7).collect::<Vec<_>>());
}
