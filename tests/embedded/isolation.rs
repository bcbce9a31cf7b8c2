//! Transactions that get in each other's way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use hypermnesia::{
    DynTable, Error, Kind, LockMode, Node, Result, Span, TableDef, Transaction, TxOptions, Type, Value,
};

use crate::{key, node, row, table};

/// A program and where it meets the other one in its first run.
type Program<'a> = dyn Fn(&mut Transaction, &dyn Fn()) -> Result<()> + Sync + 'a;

/// Runs two transactions whose first runs have both read before either commits; says how often each ran.
fn collide(
    node: &Node,
    one: impl Fn(&mut Transaction, &dyn Fn()) -> Result<()> + Sync,
    two: impl Fn(&mut Transaction, &dyn Fn()) -> Result<()> + Sync,
) -> (u32, u32) {
    let meet = Barrier::new(2);
    let runs = (AtomicU32::new(0), AtomicU32::new(0));
    let run = |count: &AtomicU32, program: &Program<'_>| {
        node.transaction(|tx| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            program(tx, &|| {
                if first {
                    meet.wait();
                }
            })
        })
        .expect("both commit in the end");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(&runs.0, &one));
        run(&runs.1, &two);
    });
    (runs.0.into_inner(), runs.1.into_inner())
}

fn n(row: Option<Vec<Value>>) -> i64 {
    match row.as_ref().map(|row| &row[1]) {
        Some(Value::Int(n)) => *n,
        _ => 0,
    }
}

#[test]
fn write_skew_is_retried() {
    // Aim: contract case 9, each reads what the other writes. Method: two on call, each leaves if the other stays.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert_many([&row(1, 1)[..], &row(2, 1)[..]]).expect("written");
    let leave = |mine: i64, other: i64| {
        let t = t.clone();
        move |tx: &mut Transaction, meet: &dyn Fn()| {
            let stays = n(tx.get(&t, &key(other))?);
            meet();
            if stays == 1 { tx.insert(&t, &row(mine, 0)) } else { Ok(()) }
        }
    };
    let runs = collide(&node, leave(1, 2), leave(2, 1));
    assert!(
        (3..=9).contains(&(runs.0 + runs.1)),
        "at least one of them ran again, and soon both are through: {runs:?}"
    );
    assert_eq!(n(t.get(&key(1)).expect("read")) + n(t.get(&key(2)).expect("read")), 1, "somebody stays");
}

fn phantom(kind: Kind, count: impl Fn(&mut Transaction, &DynTable) -> Result<usize> + Sync) {
    let node = node();
    let t = table(&node, kind);
    t.insert(&row(0, 5)).expect("written");
    let add = |id: i64| {
        let (t, count) = (&t, &count);
        move |tx: &mut Transaction, meet: &dyn Fn()| {
            let rows = count(tx, t)?;
            meet();
            if rows < 2 { tx.insert(t, &row(id, 5)) } else { Ok(()) }
        }
    };
    let runs = collide(&node, add(1), add(2));
    assert!(
        (3..=9).contains(&(runs.0 + runs.1)),
        "at least one of them ran again, and soon both are through: {runs:?}"
    );
    assert_eq!(t.len().expect("read"), 2);
}

#[test]
fn phantoms_are_seen_in_ranges_and_scans_and_indexes() {
    // Aim: contract case 9, one reads a range into which the other inserts. Method: "at most two" through three doors.
    phantom(Kind::OrderedSet, |tx, t| Ok(tx.range(t, &t.span(key(0)..key(9))?)?.len()));
    phantom(Kind::Set, |tx, t| Ok(tx.range(t, &Span::all())?.len()));
    phantom(Kind::Set, |tx, t| Ok(tx.index_read(t, "by_n", &[Value::Int(5)])?.len()));
}

#[test]
fn an_absent_key_that_was_read_is_guarded() {
    // Aim: contract case 9 through an absent key. Method: both read "absent", both insert the other's.
    let node = node();
    let t = table(&node, Kind::Set);
    let put = |mine: i64, other: i64| {
        let t = t.clone();
        move |tx: &mut Transaction, meet: &dyn Fn()| {
            let there = tx.contains(&t, &key(other))?;
            meet();
            if there { Ok(()) } else { tx.insert(&t, &row(mine, 1)) }
        }
    };
    let runs = collide(&node, put(1, 2), put(2, 1));
    assert_eq!(runs.0 + runs.1, 3, "{runs:?}");
    assert_eq!(t.len().expect("read"), 1);
}

#[test]
fn locks_pass_on_and_none_is_left() {
    // Aim: contract case 3. Method: every pair of key and table locks, two threads; all end, exclusive ones one by one.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 0)).expect("written");
    #[derive(Clone, Copy, Debug)]
    enum Take {
        KeyWrite,
        TableRead,
        TableWrite,
    }
    let all = [Take::KeyWrite, Take::TableRead, Take::TableWrite];
    for pair in all.into_iter().flat_map(|a| all.map(|b| [a, b])) {
        let options = TxOptions::new().deadline(Duration::from_secs(30));
        std::thread::scope(|scope| {
            for take in pair {
                let (node, t, options) = (&node, &t, &options);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let done = node.transaction_with(options, |tx| {
                            match take {
                                Take::KeyWrite => drop(tx.get_for_update(t, &key(1))?),
                                Take::TableRead => tx.lock_table(t, LockMode::Read)?,
                                Take::TableWrite => tx.lock_table(t, LockMode::Write)?,
                            }
                            let old = n(tx.get(t, &key(1))?);
                            tx.insert(t, &row(1, old + 1))
                        });
                        done.unwrap_or_else(|error| panic!("{pair:?}: {error}"));
                    }
                });
            }
        });
    }
    assert_eq!(n(t.get(&key(1)).expect("read")), 9 * 100);
    assert_eq!(node.status().locks, (0, 0));
}

#[test]
fn status_says_who_waits_for_whom() {
    // Aim: who looks at a node that stands still sees why. Method: two older transactions, one that wants a key and one a whole
    // table, and a younger one that has both; what the status says; nothing when all are through.
    let node = node();
    let t = table(&node, Kind::Set);
    let u = node.create_table(TableDef::builder("u").attribute("id", Type::Int)).expect("new");
    let options = TxOptions::new().deadline(Duration::from_secs(60));
    let (begun, held, let_go) = (Barrier::new(3), Barrier::new(3), Barrier::new(2));
    let waits = std::thread::scope(|scope| {
        scope.spawn(|| {
            let older = node.transaction_with(&options, |tx| {
                begun.wait();
                held.wait();
                tx.get_for_update(&t, &key(1)).map(drop)
            });
            older.expect("it waits");
        });
        scope.spawn(|| {
            let older = node.transaction_with(&options, |tx| {
                begun.wait();
                held.wait();
                tx.lock_table(&u, LockMode::Read)
            });
            older.expect("it waits");
        });
        begun.wait();
        scope.spawn(|| {
            let younger = node.transaction_with(&options, |tx| {
                tx.get_for_update(&t, &key(1))?;
                tx.get_for_update(&u, &key(1))?;
                held.wait();
                let_go.wait();
                Ok(())
            });
            younger.expect("nobody was in the way");
        });
        let end = Instant::now() + Duration::from_secs(30);
        let mut waits = node.status().waits;
        while waits.len() < 2 && Instant::now() < end {
            std::thread::yield_now();
            waits = node.status().waits;
        }
        let_go.wait();
        waits
    });
    let mut said: Vec<_> = waits
        .iter()
        .map(|wait| (&*wait.table, wait.key.as_deref(), &*wait.mode, wait.behind.len()))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [("t", Some("1"), "write", 1), ("u", None, "read", 1)]);
    assert!(waits[0].behind == waits[1].behind && waits[0].txid != waits[1].txid, "{waits:?}");
    let status = node.status();
    assert_eq!((status.waits, status.locks), (vec![], (0, 0)));
}

#[test]
fn a_deadlock_over_two_keys_ends() {
    // Aim: contract case 4 on one node. Method: two transactions lock two keys in opposite order, a hundred times.
    let node = node();
    let t = table(&node, Kind::Set);
    std::thread::scope(|scope| {
        for (first, second) in [(1, 2), (2, 1)] {
            let (node, t) = (&node, &t);
            scope.spawn(move || {
                for _ in 0..100 {
                    let options = TxOptions::new().deadline(Duration::from_secs(30)).retries(u32::MAX);
                    node.transaction_with(&options, |tx| {
                        let a = n(tx.get_for_update(t, &key(first))?);
                        let b = n(tx.get_for_update(t, &key(second))?);
                        tx.insert(t, &row(first, a + 1))?;
                        tx.insert(t, &row(second, b + 1))
                    })
                    .expect("it ends");
                }
            });
        }
    });
    assert_eq!(n(t.get(&key(1)).expect("read")) + n(t.get(&key(2)).expect("read")), 400);
}

#[test]
fn a_fold_under_writers_ends() {
    // Aim: after three conflicts a run locks as it reads. Method: four writers without a pause, one fold that also writes.
    let node = node();
    let t = table(&node, Kind::Set);
    for id in 0..50 {
        t.insert(&row(id, 1)).expect("written");
    }
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (t, stop) = (&t, Arc::clone(&stop));
            scope.spawn(move || {
                let mut id = writer;
                while !stop.load(Ordering::Relaxed) {
                    id = (id + 7) % 50;
                    match t.insert(&row(id, 1)) {
                        Ok(()) | Err(Error::Conflict { .. } | Error::DeadlineExceeded) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        let options = TxOptions::new().deadline(Duration::from_secs(30));
        let folded = node.transaction_with(&options, |tx| {
            let sum = tx.fold(&t, 0, |sum, row| sum + n(Some(row)))?;
            tx.insert(&t, &row(1000, sum))
        });
        stop.store(true, Ordering::Relaxed);
        folded.expect("it ends");
    });
    assert_eq!(n(t.get(&key(1000)).expect("read")), 50);
}
