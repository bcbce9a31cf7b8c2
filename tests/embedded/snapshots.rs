//! Reads of many rows see one state, however long they take and whoever writes meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hypermnesia::{Error, Filter, Kind, Pattern, Span, TxOptions, Value};

use crate::until::until;
use crate::{key, node, row, sorted, table};

fn n(row: &[Value]) -> i64 {
    if let Value::Int(n) = row[1] { n } else { 0 }
}

#[test]
fn no_read_of_many_rows_is_torn() {
    // Aim: a sum over rows that every transaction keeps is whole in match, fold, range, index and chunks. Method: writers move
    // amounts between rows without a pause; every way to read adds up.
    for kind in [Kind::Set, Kind::OrderedSet] {
        let node = node();
        let t = table(&node, kind);
        (0..20).for_each(|id| t.insert(&row(id, 50)).expect("fits"));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in [5, 6] {
                let (node, t, stop) = (&node, &t, &stop);
                scope.spawn(move || {
                    let mut dice = fastrand::Rng::with_seed(seed);
                    while !stop.load(Ordering::Relaxed) {
                        let (from, to, by) = (dice.i64(0..20), dice.i64(0..20), dice.i64(1..5));
                        node.transaction(|tx| {
                            tx.update_counter(t, &key(from), &[hypermnesia::Count::new("n", -by)], None)?;
                            tx.update_counter(t, &key(to), &[hypermnesia::Count::new("n", by)], None)?;
                            Ok(())
                        })
                        .expect("commits");
                    }
                });
            }
            let total = |rows: Vec<Vec<Value>>| rows.iter().map(|row| n(row)).sum::<i64>();
            for _ in 0..150 {
                assert_eq!(total(t.matching(Filter::everything()).expect("read")), 1_000);
                assert_eq!(total(t.to_vec().expect("read")), 1_000);
                assert_eq!(t.foldl(0, |sum, row| sum + n(&row)).expect("read"), 1_000);
                let by_index = Pattern::of(Filter::greater("n", i64::MIN)).along_index("by_n");
                assert_eq!(total(t.matching(&by_index).expect("read")), 1_000);
                let span = t.index_span("by_n", &[], ..).expect("fits");
                assert_eq!(total(t.index_range("by_n", &span).expect("read")), 1_000);
                let mut chunks = t.chunks(&by_index, 3).expect("opens");
                let mut sum = 0;
                while let Some(chunk) = chunks.next_chunk().expect("open") {
                    sum += total(chunk);
                }
                assert_eq!(sum, 1_000);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(node.status().snapshots, 0);
    }
}

#[test]
fn chunks_go_on_where_they_were_whatever_is_written_between_them() {
    // Aim: one snapshot, no row twice, none left out. Method: between chunks rows are deleted, changed, put before and behind
    // where the reader stands, by key and by index, forward and backward.
    for (kind, backward, along) in [
        (Kind::Set, false, None),
        (Kind::OrderedSet, false, None),
        (Kind::OrderedSet, true, None),
        (Kind::OrderedSet, false, Some("by_n")),
        (Kind::Set, true, Some("by_n")),
        (Kind::Bag, false, None),
    ] {
        let node = node();
        let t = table(&node, kind);
        (0..1_000).for_each(|id| t.insert(&row(id * 2, id % 10)).expect("fits"));
        let before = sorted(t.to_vec().expect("read"));
        let mut pattern = Pattern::of(Filter::at_least("n", 0));
        match along {
            Some(index) => pattern = pattern.along_index(index),
            None if kind == Kind::OrderedSet => pattern = pattern.in_key_order(),
            None => {}
        }
        if backward {
            pattern = pattern.backward();
        }
        let mut chunks = t.chunks(pattern, 170).expect("opens");
        let (mut found, mut turn) = (Vec::new(), 0);
        while let Some(chunk) = chunks.next_chunk().expect("open") {
            found.extend(chunk);
            for id in (turn..2_000).step_by(7) {
                match id % 3 {
                    0 => t.delete(&key(id)).expect("done"),
                    _ => t.insert(&row(id, 99 - id)).expect("done"),
                }
            }
            turn += 1;
        }
        assert!(turn > 4);
        let ordered = kind == Kind::OrderedSet && along.is_none();
        assert!(!ordered || found.is_sorted_by(|a, b| (a < b) != backward), "in order");
        assert_eq!(sorted(found), before, "{kind:?} {backward} {along:?}");
    }
}

#[test]
fn a_dropped_table_ends_its_continuations_and_a_closed_node_too() {
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    (0..1_000).for_each(|id| t.insert(&row(id, 1)).expect("fits"));
    let mut chunks = t.chunks(Filter::everything(), 1).expect("opens");
    assert!(chunks.next_chunk().expect("open").is_some());
    node.drop_index("t", "by_n").expect("there");
    let ended = loop {
        match chunks.next_chunk() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(matches!(ended, Err(Error::SchemaChanged { .. })), "{ended:?}");
    assert!(chunks.is_ended());
    assert_eq!((node.status().continuations, node.status().snapshots), (0, 0));
    let mut open = t.chunks(Filter::everything(), 1).expect("opens");
    node.close();
    assert!(matches!(open.next_chunk(), Err(Error::Closed)));
}

#[test]
fn a_pattern_guards_what_it_did_not_find() {
    // Aim: contract case 9 through a pattern: two transactions that each count and then insert do not both do so. Method: they
    // meet after counting.
    let node = node();
    let t = table(&node, Kind::Set);
    let meet = std::sync::Barrier::new(2);
    let runs = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for id in [1, 2] {
            let (node, t, meet, runs) = (&node, &t, &meet, &runs);
            scope.spawn(move || {
                let mut first = true;
                node.transaction(|tx| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    let count = tx.count_matching(t, Filter::equal("n", 5))?;
                    if std::mem::take(&mut first) {
                        meet.wait();
                    }
                    if count == 0 { tx.insert(t, &row(id, 5)) } else { Ok(()) }
                })
                .expect("both end");
            });
        }
    });
    assert_eq!(t.range(&Span::all()).expect("read").len(), 1, "only one of them");
    assert!(runs.into_inner() >= 3);
}

#[test]
fn a_held_snapshot_tells_what_it_pins() {
    // Aim: whoever wonders where the memory is sees that a snapshot keeps old versions, how many, and since when. Method:
    // rows written over under one snapshot; then it goes, and later commits take them away.
    let node = node();
    // Before the commits whose time the snapshot may have.
    let begun = Instant::now();
    let t = table(&node, Kind::OrderedSet);
    (0..100).for_each(|id| t.insert(&row(id, 1)).expect("fits"));
    let before = t.memory_bytes().expect("read");
    assert!(before > t.bytes().expect("read") && before <= node.status().memory_bytes);
    assert!(t.index_entries().expect("read").iter().any(|(index, count)| index == "by_n" && *count == 100));
    let snapshot = node.snapshot().expect("ready");
    (0..100).for_each(|id| t.insert(&row(id, 2)).expect("fits"));
    assert_eq!(t.statistics().expect("read").old_versions, 100);
    let held = node.status();
    let told = held.tables.iter().find(|told| told.name == t.name()).expect("told");
    assert!(told.old_versions == 100 && told.deletions > 0 && told.memory_bytes > before, "{told:?}");
    assert_eq!(held.snapshots, 1);
    // The clock of commits has milliseconds: one will have passed.
    let age = loop {
        let age = node.status().oldest_snapshot_age_ms;
        assert!(age > 0 || begun.elapsed() < Duration::from_secs(20), "it never gets older");
        if age > 0 {
            break age;
        }
    };
    assert!(u128::from(age) <= begun.elapsed().as_millis() + 1, "{age} ms");
    let younger = node.snapshot().expect("ready");
    assert!(node.status().oldest_snapshot_age_ms >= age, "the oldest is the first one still");
    drop((snapshot, younger));
    (0..100).for_each(|id| t.insert(&row(id, 3)).expect("fits"));
    assert!(t.statistics().expect("read").old_versions < 100);
    let free = node.status();
    assert_eq!((free.snapshots, free.oldest_snapshot_age_ms), (0, 0));
}

#[test]
fn what_a_snapshot_kept_goes_when_nobody_writes_any_more() {
    // Aim: memory that a snapshot kept comes back although no later commit tidies up behind it. Method: rows written over and
    // deleted under a snapshot; then nothing but time.
    let node = node();
    let t = table(&node, Kind::Set);
    (0..100).for_each(|id| t.insert(&row(id, 1)).expect("fits"));
    let snapshot = node.snapshot().expect("ready");
    (0..50).for_each(|id| t.insert(&row(id, 2)).expect("fits"));
    (50..100).for_each(|id| t.delete(&key(id)).expect("it is there"));
    assert_eq!(t.statistics().expect("read").old_versions, 100);
    drop(snapshot);
    until(|| {
        let told = t.statistics().expect("read");
        (told.old_versions, told.deletions) == (0, 0)
    });
}

#[test]
fn a_key_that_is_written_on_and_on_under_a_snapshot_takes_no_longer_each_time() {
    // Aim: a write does not walk past all that a transaction's snapshot keeps of its key, and one that a program holds keeps one
    // version. Method: a hundred thousand writes of one key, half a second's work, and a quarter of an hour's where each walks
    // past those before; what is seen stays, and what was kept goes with it.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 0)).expect("fits");
    let snapshot = node.snapshot().expect("ready");
    let tx = node.begin(&TxOptions::new().deadline(Duration::from_secs(60))).expect("begun");
    (1..=100_000).for_each(|n| t.insert(&row(1, n)).expect("fits"));
    assert_eq!(t.get(&key(1)), Ok(Some(row(1, 100_000).to_vec())));
    assert_eq!(snapshot.get(&t, &key(1)), Ok(Some(row(1, 0).to_vec())));
    assert_eq!(t.statistics().expect("read").old_versions, 100_000);
    drop(tx);
    until(|| t.statistics().expect("read").old_versions == 1);
    assert_eq!(snapshot.get(&t, &key(1)), Ok(Some(row(1, 0).to_vec())));
    (1..=1_000).for_each(|n| t.insert(&row(1, n)).expect("fits"));
    assert_eq!(t.statistics().expect("read").old_versions, 1);
    drop(snapshot);
    until(|| t.statistics().expect("read").old_versions == 0);
}
