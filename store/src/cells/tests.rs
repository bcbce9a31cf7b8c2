//! Cells of one table against sets beside them.

use std::collections::BTreeSet;

use super::groups::{GROUPS_MIN, SPARE};
use super::*;
use crate::value::Value;

fn key(n: i64) -> Key {
    Key::encode(&[Value::Int(n)]).expect("a number is a key")
}

fn put(cells: &Cells, n: i64, guard: &LocalGuard<'_>) {
    cells.put(CellRef::new(Cell::new(key(n))), guard);
}

#[test]
fn what_is_put_is_found_until_it_is_removed() {
    // Aim: no key is lost or left over while shards grow and words are used again. Method: a set beside it.
    let collector = Collector::new();
    let (cells, mut known, mut dice) = (Cells::new(), BTreeSet::new(), 1_u64);
    for _ in 0..if cfg!(miri) { 400 } else { 40_000 } {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (n, guard) = ((dice >> 40) as i64 % 3_000, collector.enter());
        match cells.get(&key(n), &guard).map(|cell| cell.clone_arc()) {
            Some(cell) => {
                assert!(known.remove(&n) && cells.remove(&cell, &guard) && !cells.remove(&cell, &guard));
            }
            None => {
                assert!(known.insert(n));
                put(&cells, n, &guard);
            }
        }
    }
    let guard = collector.enter();
    assert_eq!(cells.len(), known.len());
    assert!((0..3_000).all(|n| cells.get(&key(n), &guard).is_some() == known.contains(&n)));
    cells.clear(&guard);
    assert!(cells.len() == 0 && cells.get(&key(*known.first().expect("some are left")), &guard).is_none());
}

#[test]
fn cells_come_in_any_order_of_their_hashes() {
    // Aim: rows that are read from one table and put into another come in the order of their hashes; whatever the order,
    // there is room for the next one, and not much more than is needed. Method: up, down, from the middle, by two
    // writers from both ends, and only some of one shard.
    let count = if cfg!(miri) { 600 } else { 40_000 };
    let mut up: Vec<i64> = (0..count).collect();
    up.sort_by_key(|n| Place::of(key(*n).hashed()));
    let down: Vec<i64> = up.iter().rev().copied().collect();
    let middle: Vec<i64> = up[up.len() / 2..].iter().chain(&up[..up.len() / 2]).copied().collect();
    let ends: Vec<i64> = (0..up.len()).map(|n| if n % 2 == 0 { up[n / 2] } else { down[n / 2] }).collect();
    let last: Vec<i64> = down[..down.len() / 640].to_vec();
    for (order, bytes_max) in [(&up, 30), (&down, 30), (&middle, 30), (&ends, 30), (&last, 1_000)] {
        let (collector, cells) = (Collector::new(), Cells::new());
        for (n, one) in order.iter().enumerate() {
            put(&cells, *one, &collector.enter());
            assert_eq!(cells.len(), n + 1);
        }
        assert!(order.iter().all(|n| cells.get(&key(*n), &collector.enter()).is_some()));
        let (bytes, fixed) = (cells.bytes(), Cells::new().bytes() + (64 * (GROUPS_MIN + SPARE)) * 64);
        assert!(bytes.saturating_sub(fixed) <= order.len() * bytes_max, "{bytes} for {}", order.len());
    }
}

#[test]
fn room_that_was_made_is_used_and_grows() {
    // Aim: reserving loses nothing and is worth something. Method: fewer, as many and more cells than there is room for.
    // Four thousand fit whatever their hashes are: a shard gets 62 of them on the average and has room for 85.
    for count in [10, 4_000, 20_000] {
        let (collector, cells) = (Collector::new(), Cells::new());
        cells.reserve(5_000, &collector.enter());
        let before = cells.bytes();
        (0..count).for_each(|n| put(&cells, n, &collector.enter()));
        cells.reserve(50_000, &collector.enter());
        assert_eq!(cells.len(), count as usize);
        assert!((0..count).all(|n| cells.get(&key(n), &collector.enter()).is_some()));
        assert_eq!(cells.bytes() > before, count == 20_000, "{count} cells: {} bytes", cells.bytes());
    }
}

#[test]
fn chunks_show_each_cell_once_however_the_table_grows_in_between() {
    // Aim: a scan in steps neither loses nor repeats a cell that is there all the while. Method: other cells are put
    // in and taken out between chunks, enough for every shard to grow several times.
    let collector = Collector::new();
    let cells = Cells::new();
    (0..500).for_each(|n| put(&cells, n, &collector.enter()));
    let (mut seen, mut from, mut next) = (Vec::new(), Some(Place::START), 500);
    while let Some(place) = from {
        let guard = collector.enter();
        let show = |cell: CellAt<'_>| {
            seen.push(cell.key.clone());
            Ok::<_, ()>(())
        };
        from = cells.chunk(place, 16, &guard, show).expect("showing does not fail");
        (0..12).for_each(|n| put(&cells, next + n, &guard));
        next += 12;
        for n in next - 12..next - 8 {
            let cell = cells.get(&key(n), &guard).map(|cell| cell.clone_arc());
            assert!(cell.is_some_and(|cell| cells.remove(&cell, &guard)));
        }
    }
    let all: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(all.len(), seen.len(), "one was shown twice");
    assert!((0..500).all(|n| all.contains(&key(n))), "one was not shown");
}

#[test]
fn a_removed_cell_is_not_found_by_who_comes_after_it_was_freed() {
    // Aim: a reader that enters when a removed cell may be freed finds neither its tag nor its place. Method: one key
    // put in and taken out, freed at once, beside readers that look at what they find; with weak memory, as miri has
    // it (see docs/trust.md), a tag read from the past leads to freed memory.
    let (collector, cells) = (Collector::new().batch_size(1), Cells::new());
    let rounds = if cfg!(miri) { 30 } else { 3_000 };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let guard = collector.enter();
                    let found = cells.get(&key(1), &guard);
                    assert!(found.is_none_or(|cell| cell.key == key(1)));
                    let mut seen = 0;
                    let show = |cell: CellAt<'_>| {
                        seen += usize::from(cell.key == key(1));
                        Ok::<_, ()>(ControlFlow::Continue(()))
                    };
                    cells.each(&guard, show).expect("showing does not fail");
                    assert!(seen <= 1);
                }
            });
        }
        for _ in 0..rounds {
            put(&cells, 1, &collector.enter());
            let guard = collector.enter();
            let cell = cells.get(&key(1), &guard).map(|cell| cell.clone_arc());
            assert!(cell.is_some_and(|cell| cells.remove(&cell, &guard)));
        }
    });
    assert_eq!(cells.len(), 0);
}
