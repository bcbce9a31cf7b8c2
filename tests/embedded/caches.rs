//! Tables that are caches: bounds, eviction, idle rows, rows computed once, counters.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hypermnesia::{DynTable, Error, Kind, Lifetime, Node, SchemaError, TableBuilder, TableDef, Type, Value};

use crate::until::until;
use crate::{key, node, row};

fn def() -> TableBuilder {
    TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int).index("by_n", ["n"])
}

fn cache(node: &Node, rows: u64) -> DynTable {
    node.create_table(def().local().rows_max(rows).evict()).expect("new")
}

#[test]
fn a_full_table_refuses_to_grow_and_nothing_else() {
    // Aim: a bound is kept by refusal, whole transactions at a time. Method: fill, replace, shrink, exchange, overfill.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let node = node();
        let t = node.create_table(def().kind(kind).rows_max(10)).expect("new");
        t.insert_many((0..10).map(|id| row(id, id)).collect::<Vec<_>>().iter().map(|row| &row[..]))
            .expect("it fits");
        let full = || Error::TableFull { table: "t".into() };
        assert_eq!(t.insert(&row(10, 0)), Err(full()));
        assert_eq!(t.len(), Ok(10));
        assert!(t.delete_object(&row(0, 0)).expect("shrinking is fine"));
        t.insert(&row(0, 1)).expect("there is room again");
        node.transaction(|tx| {
            tx.delete(&t, &key(1))?;
            tx.insert(&t, &row(11, 1))
        })
        .expect("one goes, one comes");
        let two = node.transaction(|tx| {
            tx.insert(&t, &row(20, 0))?;
            tx.insert(&t, &row(21, 0))
        });
        assert_eq!((two, t.contains(&key(20))), (Err(full()), Ok(false)));
    }
    let node = node();
    let t = node.create_table(def().bytes_max(1_000)).expect("new");
    let fitted = (0..).take_while(|id| t.insert(&row(*id, 0)).is_ok()).count();
    assert!((10..60).contains(&fitted) && t.bytes().expect("read") <= 1_000, "{fitted} rows");
}

#[test]
fn a_bounded_cache_makes_room() {
    // Aim: bounds are kept by eviction, with indexes and counters right behind it. Method: many more rows than fit.
    let node = node();
    let t = cache(&node, 100);
    for id in 0..5_000 {
        t.insert(&row(id, id % 7)).expect("there is always room");
        t.contains(&key(0)).expect("read");
    }
    let left = t.to_vec().expect("read");
    assert!((50..=100).contains(&left.len()) && t.len() == Ok(left.len() as u64), "{} rows", left.len());
    let by_index: usize = (0..7).map(|n| t.index_read("by_n", &key(n)).expect("read").len()).sum();
    assert_eq!(by_index, left.len());
    assert!(t.contains(&key(0)).expect("read"), "what is asked for all the time stays");
    let counted = t.statistics().expect("read");
    assert_eq!(counted.evictions + left.len() as u64, 5_000);
    assert!(counted.hits >= 5_000, "{counted:?}");
}

#[test]
fn a_row_too_large_for_a_cache_is_refused_and_pushes_nothing_out() {
    // Aim: no write is answered with yes whose row is gone at once. Method: rows around the largest one that fits, alone, in
    // a transaction, many at a time, and grown in place; small rows are still there.
    let node = node();
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("text", Type::Text);
    let t = node.create_table(def.local().bytes_max(64 << 10).evict()).expect("new");
    let of = |id: i64, bytes: usize| [Value::Int(id), Value::Text("x".repeat(bytes))];
    (0..10).for_each(|id| t.insert(&of(id, 10)).expect("room"));
    let refused = |ended: hypermnesia::Result<()>| match ended {
        Err(Error::RowTooLarge { table, key, bytes, bound }) => {
            assert_eq!((&*table, &*key, bound), ("t", "20", 62 << 10));
            assert!(bytes > bound && bytes < 71_000, "{bytes}");
        }
        other => panic!("{other:?}"),
    };
    let large = of(20, 70_000);
    refused(t.insert(&large));
    refused(t.insert_new(&large).map(drop));
    refused(t.insert_many([&of(21, 1)[..], &large]));
    refused(node.transaction(|tx| {
        tx.insert(&t, &of(21, 1))?;
        tx.insert(&t, &large)
    }));
    t.insert(&of(20, 1)).expect("room");
    refused(t.update_attributes(&key(20), &[("text", large[1].clone())]).map(drop));
    assert_eq!((t.len(), t.contains(&key(21))), (Ok(11), Ok(false)));
    assert_eq!(t.statistics().expect("read").evictions, 0);
    // Larger than a sixteenth of the bound, and the largest of all.
    for bytes in [10_000, 63_400] {
        let row = of(30, bytes);
        t.insert(&row).expect("it fits");
        assert_eq!(t.get(&key(30)), Ok(Some(row.to_vec())));
    }
    assert!(t.bytes().expect("read") <= 64 << 10);
}

#[test]
fn threads_fill_a_cache_and_it_stays_bounded() {
    // Aim: eviction keeps up with concurrent writers. Method: four threads, rows and bytes bounded, then look at the sums.
    let node = node();
    let t = node.create_table(def().local().rows_max(200).bytes_max(5_000).evict()).expect("new");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let t = &t;
            scope.spawn(move || {
                (0..2_000).for_each(|n| t.insert(&row(thread * 10_000 + n, n)).expect("room"))
            });
        }
    });
    until(|| t.len().expect("read") <= 200 && t.bytes().expect("read") <= 5_000);
    assert_eq!(t.to_vec().expect("read").len() as u64, t.len().expect("read"));
}

#[test]
fn idle_rows_go() {
    // Aim: max idle. Method: a short idle time; one row is read until the other is gone.
    let node = node();
    let t = node.create_table(def().local().max_idle(Duration::from_millis(300))).expect("new");
    t.insert(&row(1, 1)).expect("written");
    t.insert(&row(2, 2)).expect("written");
    until(|| {
        assert!(t.contains(&key(1)).expect("read"), "it is read all the time");
        t.len().expect("read") == 1
    });
    // Counted right behind the removal.
    until(|| t.statistics().expect("read").evictions == 1);
}

#[test]
fn what_cannot_be_kept_is_refused_at_creation() {
    // Aim: no promise that would tear copies apart. Method: eviction and idleness on replicated tables, bounds of nothing.
    let node = node();
    let refused = |def: TableBuilder| {
        matches!(node.create_table(def), Err(Error::Schema(SchemaError::BadRetention { .. })))
    };
    assert!(refused(def().rows_max(10).evict()));
    assert!(refused(def().max_idle(Duration::from_secs(1))));
    assert!(refused(def().local().evict()));
    assert!(refused(def().rows_max(0)));
    assert!(refused(def().kind(Kind::Bag).local().rows_max(5).evict()));
}

#[test]
fn a_row_is_computed_once_however_many_ask() {
    // Aim: one loader at a time, its row or error for all, and nobody hangs when it panics. Method: eight threads, one key.
    let node = node();
    let t = cache(&node, 100);
    let (calls, together, here) = (AtomicU32::new(0), Barrier::new(8), AtomicU32::new(0));
    // The loader goes on once all have come, so that most of them really wait for it.
    let all_are_here = || {
        while here.load(Ordering::SeqCst) < 8 {
            std::thread::yield_now()
        }
    };
    let ask = |load: &(dyn Fn() -> hypermnesia::Result<Vec<Value>> + Sync)| {
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        here.fetch_add(1, Ordering::SeqCst);
                        t.get_or_insert_with(&key(1), load)
                    })
                })
                .collect();
            asked.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        })
    };
    let fails = || {
        calls.fetch_add(1, Ordering::SeqCst);
        all_are_here();
        Err(Error::abort("no such page"))
    };
    let failed = ask(&fails);
    assert!(failed.iter().all(|end| matches!(end, Ok(Err(Error::Aborted { .. })))), "{failed:?}");
    assert_eq!(t.len(), Ok(0));
    calls.store(0, Ordering::SeqCst);
    here.store(0, Ordering::SeqCst);
    let loads = || {
        calls.fetch_add(1, Ordering::SeqCst);
        all_are_here();
        Ok(row(1, 7).to_vec())
    };
    let loaded = ask(&loads);
    assert!(loaded.iter().all(|end| matches!(end, Ok(Ok(found)) if *found == row(1, 7))), "{loaded:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    t.delete(&key(1)).expect("deleted");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        t.get_or_insert_with(&key(1), || -> hypermnesia::Result<Vec<Value>> { panic!("a bug of the loader") })
    }));
    assert!(panicked.is_err());
    assert_eq!(t.get_or_insert_with(&key(1), || Ok(row(1, 8).to_vec())), Ok(row(1, 8).to_vec()));
    let other = t.get_or_insert_with(&key(5), || Ok(row(6, 0).to_vec()));
    assert!(matches!(other, Err(Error::Aborted { .. })), "{other:?}");
}

#[test]
fn a_loader_that_asks_for_its_own_row_is_refused_at_once() {
    // Aim: it does not wait for itself. Method: directly, through the loader of another row, and in a task; rows that
    // loaders ask for otherwise are loaded, and the key is free behind it.
    let node = node();
    let t = cache(&node, 100);
    let itself = |refused: hypermnesia::Result<Vec<Value>>| {
        let named = matches!(&refused, Err(Error::LoadsItself { table, key }) if table == "t" && key == "1");
        assert!(named, "{refused:?}");
    };
    let plain = |id| move || Ok(row(id, 0).to_vec());
    itself(t.get_or_insert_with(&key(1), || t.get_or_insert_with(&key(1), plain(1))));
    itself(t.get_or_insert_with(&key(1), || {
        t.get_or_insert_with(&key(2), || t.get_or_insert_with(&key(1), plain(1)))
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let inner = || async { Ok(row(1, 0).to_vec()) };
    itself(runtime.block_on(t.get_or_insert_async(&key(1), || async {
        tokio::task::yield_now().await;
        t.get_or_insert_async(&key(1), inner).await
    })));
    assert!(t.is_empty().expect("read"));
    let loaded = t.get_or_insert_with(&key(1), || {
        t.get_or_insert_with(&key(2), plain(2))?;
        plain(1)()
    });
    assert_eq!((loaded, t.len()), (Ok(row(1, 0).to_vec()), Ok(2)));
}

#[test]
fn hits_misses_and_expirations_are_counted() {
    // Aim: counters tell what happened. Method: known reads of a table with a time to live.
    let node = node();
    let t = node.create_table(def().ttl(Duration::from_secs(3600))).expect("new");
    t.insert(&row(1, 1)).expect("written");
    t.insert_with(&row(2, 2), Lifetime::Until(std::time::UNIX_EPOCH)).expect("written");
    for id in [1, 1, 2, 3] {
        t.get(&key(id)).expect("read");
    }
    until(|| t.len() == Ok(1));
    let counted = t.statistics().expect("read");
    assert_eq!((counted.hits, counted.misses, counted.expirations, counted.deadlines), (2, 2, 1, 1));
}

#[test]
fn a_statement_says_of_a_table_all_that_a_definition_says() {
    // Aim: options of CREATE TABLE arrive. Method: the definitions of tables that were made both ways; what the statement
    // does not look at itself is refused as by a definition.
    let node = Node::builder().build().expect("an embedded node needs nothing");
    let plain = || TableDef::builder("t").attribute("id", Type::Int);
    let day = Duration::from_secs(86_400);
    for (options, builder) in [
        ("ttl = '1d', rows_max = 10", plain().ttl(day).rows_max(10)),
        ("bytes_max = '1MiB', kind = 'bag'", plain().bytes_max(1 << 20).kind(Kind::Bag)),
        ("local = true, max_idle = '1d'", plain().local().max_idle(day)),
        ("rows_max = 5, evict = true, local = true", plain().rows_max(5).evict().local()),
        ("kind = bag, local = true, duplicates = true", plain().kind(Kind::Bag).local().duplicates()),
    ] {
        let [stated, built] = [true, false].map(|by_statement| {
            match by_statement {
                true => drop(
                    node.query(&format!("CREATE TABLE t (id INT) WITH ({options})"), &[]).expect(options),
                ),
                false => drop(node.create_table(builder.clone()).expect(options)),
            }
            let mut def = node.dyn_table("t").expect("there").definition().expect("there");
            node.drop_table("t").expect("there");
            def.id = hypermnesia::TableId(0);
            def
        });
        assert_eq!(stated, built, "{options}");
    }
    let refused = node.query("CREATE TABLE t (id INT) WITH (kind = bag, ttl = '1d')", &[]);
    assert!(matches!(refused, Err(Error::Schema(SchemaError::BadRetention { .. }))), "{refused:?}");
}
