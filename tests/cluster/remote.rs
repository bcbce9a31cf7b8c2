//! Tables that have no copy on the member that reads and writes them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use hypermnesia::{
    DynTable, Error, Filter, Kind, LockMode, Node, Outcome, Span, Storage, TableBuilder, TableDef,
    Transaction, TxOptions, Type, Value,
};

use crate::trio::{LONG, Trio};
use crate::until::until;

fn row(id: i64, n: i64) -> Vec<Value> {
    vec![Value::Int(id), Value::Int(n)]
}

fn key(id: i64) -> [Value; 1] {
    [Value::Int(id)]
}

fn def(name: &str) -> TableBuilder {
    TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int)
}

/// With copies on these members alone.
fn kept_on(trio: &Trio, members: &[usize], def: TableBuilder) -> TableBuilder {
    members.iter().fold(def, |def, at| def.copy(trio.node(*at).id(), Storage::Ram))
}

fn on(node: &Node, name: &str) -> DynTable {
    node.dyn_table(name).expect("created")
}

#[test]
fn rows_are_read_outside_of_transactions_without_a_copy() {
    // Aim: every read gives what a member with a copy gives, everything acknowledged included. Method: a set, an ordered set and a
    // bag on two members; the third one reads in all ways what the first one has just written.
    let trio = Trio::start();
    let kinds = [("set", Kind::Set), ("ordered", Kind::OrderedSet), ("bag", Kind::Bag)];
    for (name, kind) in kinds {
        let def = kept_on(&trio, &[0, 1], def(name).kind(kind).index("by_n", ["n"]));
        trio.node(0).create_table(def).expect("all are up");
        let (here, afar) = (on(trio.node(0), name), on(trio.node(2), name));
        for id in 0..20 {
            here.insert(&row(id, id % 4)).expect("written");
            assert_eq!(afar.get(&key(id)), Ok(Some(row(id, id % 4))), "{name} {id}");
            // A copy counts a row when it has applied it, a moment behind the acknowledgement.
            until(|| afar.len() == Ok(id as u64 + 1));
        }
        here.insert(&row(7, 9)).expect("written");
        here.delete(&key(8)).expect("deleted");
        assert_eq!((afar.get(&key(8)), afar.contains(&key(9))), (Ok(None), Ok(true)));
        let mut all = afar.to_vec().expect("read");
        let mut there = here.to_vec().expect("read");
        all.sort();
        there.sort();
        assert_eq!(all, there);
        assert_eq!(afar.read(&key(7)), here.read(&key(7)));
        assert_eq!(afar.index_read("by_n", &[Value::Int(9)]), Ok(vec![row(7, 9)]));
        assert_eq!(afar.get_versioned(&key(3)), here.get_versioned(&key(3)));
        assert_eq!(afar.lookup(&key(3), "n", Value::Null), Ok(Value::Int(3)));
    }
    let (here, afar) = (on(trio.node(1), "ordered"), on(trio.node(2), "ordered"));
    for span in
        [Span::all().limit(3), Span::all().backward().limit(2), here.span(key(3)..key(9)).expect("keys")]
    {
        assert_eq!(afar.range(&span), here.range(&span));
    }
    for span in [Span::all().limit(5), Span::all().backward()] {
        assert_eq!(afar.index_range("by_n", &span), here.index_range("by_n", &span));
    }
    assert_eq!((afar.keys(), afar.foldr(0, |n, _| n + 1)), (here.keys(), Ok(19)));
    let zeros = Filter::equal("n", 0);
    assert_eq!(
        (afar.matching(zeros.clone()), afar.count_matching(zeros.clone())),
        (here.matching(zeros), Ok(4))
    );
    let select = "SELECT o.id, s.n FROM ordered o JOIN set s ON s.id = o.id WHERE o.n = 9";
    assert_eq!(trio.node(2).query(select, &[]).map(|found| found.rows), Ok(vec![row(7, 9)]));
    let refused = trio.node(2).snapshot().and_then(|snapshot| snapshot.get(&afar, &key(1)));
    assert!(matches!(&refused, Err(Error::NoCopy { members, .. }) if members == "n1 or n2"), "{refused:?}");
    assert_eq!((afar.first(), afar.last()), (Ok(Some(row(0, 0))), Ok(Some(row(19, 3)))));
    assert_eq!((afar.next(&key(7)), afar.prev(&key(0))), (Ok(Some(row(9, 1))), Ok(None)));
    let refused = on(trio.node(2), "set").first();
    assert!(matches!(refused, Err(Error::WrongKind { .. })), "{refused:?}");
}

#[test]
fn many_rows_come_in_chunks() {
    // Aim: no answer holds more than a chunk, and all chunks are of one state. Method: more rows than three chunks have, of a table
    // with and one without an order, while the first member writes all of them again and again in one transaction each.
    const ROWS: i64 = 4_000;
    let trio = Trio::start();
    for (name, kind) in [("set", Kind::Set), ("ordered", Kind::OrderedSet)] {
        let def = kept_on(&trio, &[0], def(name).kind(kind));
        trio.node(0).create_table(def).expect("all are up");
        let (here, afar) = (on(trio.node(0), name), on(trio.node(2), name));
        let write = |n| {
            let rows: Vec<_> = (0..ROWS).map(|id| row(id, n)).collect();
            here.insert_many(rows.iter().map(Vec::as_slice)).expect("written");
        };
        write(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !done.load(Ordering::Relaxed) {
                    n += 1;
                    write(n);
                }
            });
            let _over = Over(&done);
            for _ in 0..5 {
                let rows = afar.to_vec().expect("read");
                assert_eq!(rows.len(), ROWS as usize);
                assert!(rows.iter().all(|row| row[1] == rows[0][1]), "rows of two states");
            }
        });
    }
}

/// Says when it is dropped, by a panic too, that other threads may end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The number of a row, which must be there.
fn n_of(row: Option<Vec<Value>>) -> i64 {
    let Some(Value::Int(n)) = row.as_ref().map(|row| row[1].clone()) else { panic!("{row:?}") };
    n
}

#[test]
fn a_transaction_without_a_copy_sees_its_own_writes() {
    // Aim: own writes over rows that are elsewhere, in keys, ranges and indexes; then the commit is seen everywhere. Method: the three
    // kinds on two members; the third one puts, replaces and deletes, and looks in all ways before it commits; nothing of an abort.
    let trio = Trio::start();
    for (name, kind) in [("set", Kind::Set), ("ordered", Kind::OrderedSet), ("bag", Kind::Bag)] {
        let def = kept_on(&trio, &[0, 1], def(name).kind(kind).index("by_n", ["n"]));
        trio.node(0).create_table(def).expect("all are up");
        let (here, afar) = (on(trio.node(1), name), on(trio.node(2), name));
        (0..10).for_each(|id| here.insert(&row(id, 0)).expect("written"));
        let sorted = |mut rows: Vec<Vec<Value>>| {
            rows.sort();
            rows
        };
        let ours = |tx: &mut Transaction| {
            tx.delete(&afar, &key(3))?;
            tx.insert(&afar, &row(4, 1))?;
            tx.insert(&afar, &row(20, 1))?;
            assert_eq!((tx.get(&afar, &key(3))?, tx.get(&afar, &key(20))?), (None, Some(row(20, 1))));
            let all = sorted(tx.range(&afar, &Span::all())?);
            let extra = usize::from(kind == Kind::Bag);
            assert_eq!(all.len(), 10 + extra, "{all:?}");
            assert_eq!(sorted(tx.index_read(&afar, "by_n", &[Value::Int(1)])?), [row(4, 1), row(20, 1)]);
            if kind == Kind::OrderedSet {
                let first = tx.range(&afar, &Span::all().limit(5))?;
                assert_eq!(first, [row(0, 0), row(1, 0), row(2, 0), row(4, 1), row(5, 0)]);
                assert_eq!(tx.range(&afar, &Span::all().backward().limit(1))?, [row(20, 1)]);
            }
            Ok(all)
        };
        let aborted =
            trio.node(2).transaction(|tx| ours(tx).and_then(|_| Err::<(), _>(Error::abort("enough"))));
        assert!(matches!(aborted, Err(Error::Aborted { .. })), "{aborted:?}");
        assert_eq!(here.len(), Ok(10));
        let all = trio.node(2).transaction(ours).expect("committed");
        for at in 0..3 {
            assert_eq!(sorted(on(trio.node(at), name).to_vec().expect("read")), all, "{name} on {at}");
        }
    }
}

#[test]
fn single_writes_that_look_first_work_without_a_copy() {
    // Aim: the operations that read before they write. Method: each once on a member without a copy, seen on one that has it; locks
    // are nothing there.
    let trio = Trio::start();
    trio.node(0).create_table(kept_on(&trio, &[0], def("t"))).expect("all are up");
    let (here, afar) = (on(trio.node(0), "t"), on(trio.node(2), "t"));
    assert_eq!((afar.insert_new(&row(1, 1)), afar.insert_new(&row(1, 2))), (Ok(true), Ok(false)));
    assert_eq!(afar.increment(&key(1), "n", 4), Ok(Some(5)));
    assert_eq!(afar.compare_and_swap(&key(1), Some(&row(1, 5)), Some(&row(1, 6))), Ok(true));
    assert_eq!(afar.compare_and_swap(&key(1), Some(&row(1, 5)), None), Ok(false));
    let read = afar.get_versioned(&key(1)).expect("read").expect("there");
    assert!(matches!(afar.swap_if_version(&key(1), read.version, Some(&row(1, 7))), Ok(Some(_))));
    assert_eq!(here.get(&key(1)), Ok(Some(row(1, 7))));
    assert_eq!(afar.take(&key(1)), Ok(vec![row(1, 7)]));
    assert_eq!(here.to_vec(), Ok(vec![]));
    let many: Vec<_> = (0..50).map(|id| row(id, 0)).collect();
    assert_eq!(afar.insert_new_many(many.iter().map(Vec::as_slice)), Ok(true));
    let locked = trio.node(2).transaction(|tx| {
        tx.lock_table(&afar, LockMode::Write)?;
        let n = n_of(tx.get_for_update(&afar, &key(2))?);
        tx.insert(&afar, &row(2, n + 1))
    });
    assert_eq!((locked, here.get(&key(2))), (Ok(()), Ok(Some(row(2, 1)))));
    // What only reads is agreed on where the copies are: an acknowledged write may be later than this member's clock.
    let read = trio.node(2).transaction(|tx| tx.get(&afar, &key(2)).map(|_| tx.id()));
    let outcome = trio.node(2).outcome(read.expect("committed"));
    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    let loaded = || Ok(row(99, 3));
    assert_eq!(afar.get_or_insert_with(&key(99), loaded), Ok(row(99, 3)));
    assert_eq!(here.to_vec().map(|rows| rows.len()), Ok(51));
}

/// Says when it is dropped, by a panic too, that one thread less writes.
struct Through<'a>(&'a AtomicUsize);

impl Drop for Through<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn transfers_between_tables_of_different_members_keep_the_sum() {
    // Aim: reads elsewhere are part of the same state as those here, in runs that are committed, and in those that only read; none of
    // two transactions that touch the same rows is lost. Method: one table on two members, one on the third; all three transfer both
    // ways, in threads and as tasks, while all read the sum, by keys and by ranges, inside transactions that only read.
    const ACCOUNTS: i64 = 4;
    let trio = Trio::start();
    trio.node(0).create_table(kept_on(&trio, &[0, 1], def("a").kind(Kind::OrderedSet))).expect("all are up");
    trio.node(0).create_table(kept_on(&trio, &[2], def("b"))).expect("all are up");
    for name in ["a", "b"] {
        (0..ACCOUNTS).for_each(|id| on(trio.node(0), name).insert(&row(id, 100)).expect("written"));
    }
    let sum = |node: &Node, by_keys: bool| {
        let tables = [on(node, "a"), on(node, "b")];
        node.transaction(|tx| {
            let mut sum = 0;
            for table in &tables {
                let rows = match by_keys {
                    true => (0..ACCOUNTS).map(|id| tx.get(table, &key(id))).collect::<Result<Vec<_>, _>>()?,
                    false => tx.range(table, &Span::all())?.into_iter().map(Some).collect(),
                };
                sum += rows.into_iter().map(n_of).sum::<i64>();
            }
            assert_eq!(sum, 2 * ACCOUNTS * 100, "a program saw two states");
            Ok::<_, Error>(sum)
        })
    };
    let (writing, trio) = (&AtomicUsize::new(3), &trio);
    std::thread::scope(|scope| {
        for at in 0..3 {
            scope.spawn(move || {
                let _through = Through(writing);
                let node = trio.node(at);
                let (a, b) = (on(node, "a"), on(node, "b"));
                for n in 0..40 {
                    let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
                    let (one, other) = (key((n + at as i64) % ACCOUNTS), key(n % ACCOUNTS));
                    let moved = node.transaction(|tx| {
                        let left = n_of(tx.get(from, &one)?);
                        let there = n_of(tx.get(to, &other)?);
                        tx.update_attributes(from, &one, &[("n", Value::Int(left - 1))])?;
                        tx.update_attributes(to, &other, &[("n", Value::Int(there + 1))])
                    });
                    moved.expect("it ends");
                }
            });
        }
        scope.spawn(|| {
            let mut read = 0;
            while writing.load(Ordering::Relaxed) > 0 {
                for at in 0..3 {
                    sum(trio.node(at), read % 2 == 0).expect("it ends");
                    read += 1;
                }
            }
        });
    });
    for at in 0..3 {
        assert_eq!((sum(trio.node(at), true), sum(trio.node(at), false)), (Ok(800), Ok(800)), "on {at}");
    }
    let counted = |name: &str| {
        on(trio.node(1), name).to_vec().expect("read").into_iter().map(|row| n_of(Some(row))).sum::<i64>()
    };
    assert_eq!(counted("a") + counted("b"), 800);
}

#[test]
fn reads_go_on_with_another_copy_and_are_refused_without_any() {
    // Aim: a member with a copy that goes away costs time or an error, never a wrong answer. Method: a counter on two members, written
    // on one of them; the third one reads it in both ways all the while, and never less than was acknowledged before; the other copy
    // is stopped, and then the writer too.
    let mut trio = Trio::start();
    trio.node(0).create_table(kept_on(&trio, &[0, 1], def("t"))).expect("all are up");
    let (here, afar) = (on(trio.node(0), "t"), on(trio.node(2), "t"));
    here.insert(&row(1, 0)).expect("written");
    let (acknowledged, over, writer, reader) =
        (AtomicI64::new(0), AtomicBool::new(false), trio.node(0).clone(), trio.node(2).clone());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // What is not known to have happened may have: the next one counts on from there.
                if let Ok(Some(n)) = on(&writer, "t").increment(&key(1), "n", 1) {
                    acknowledged.fetch_max(n, Ordering::SeqCst);
                }
            }
        });
        let reads = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                let least = acknowledged.load(Ordering::SeqCst);
                let read = match reads % 2 {
                    0 => afar.get(&key(1)),
                    _ => reader.transaction(|tx| tx.get(&afar, &key(1))),
                };
                match read {
                    Ok(found) => assert!(n_of(found) >= least, "older than what was acknowledged"),
                    Err(error) => assert!(is_away(&error), "{error}"),
                }
                reads += 1;
            }
            reads
        });
        let ends = Over(&over);
        until(|| acknowledged.load(Ordering::SeqCst) > 20);
        trio.stop(1);
        let then = acknowledged.load(Ordering::SeqCst);
        until(|| acknowledged.load(Ordering::SeqCst) > then + 20 || reads.is_finished());
        drop(ends);
        assert!(reads.join().expect("no panic") > 0);
    });
    until(|| afar.get(&key(1)).is_ok());
    drop(writer);
    trio.stop(0);
    drop(here);
    for read in [afar.get(&key(1)), reader.transaction(|tx| tx.get(&afar, &key(1)))] {
        let error = read.expect_err("no copy is left");
        assert!(is_away(&error), "{error}");
    }
}

/// What a caller hears while a member is away that is needed.
fn is_away(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. } | Error::NotReady { .. } | Error::InDoubt { .. } | Error::DeadlineExceeded
    )
}

#[test]
fn definitions_change_while_rows_are_read_and_written_from_afar() {
    // Aim: no row is read by a definition that it is not of, and none gets lost. Method: an index and attributes come while the third
    // member, which has no copy, counts in single operations and in transactions and reads by key and as a whole.
    let trio = Trio::start();
    trio.node(0).create_table(kept_on(&trio, &[0, 1], def("t"))).expect("all are up");
    let afar = on(trio.node(2), "t");
    (0..5).for_each(|id| afar.insert(&row(id, 0)).expect("written"));
    let over = AtomicBool::new(false);
    let counted = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut counted = 0;
            while !over.load(Ordering::Relaxed) {
                afar.increment(&key(1), "n", 1).expect("counted");
                let added = trio.node(2).transaction(|tx| {
                    let n = n_of(tx.get(&afar, &key(2))?);
                    tx.update_attributes(&afar, &key(2), &[("n", Value::Int(n + 1))])
                });
                assert_eq!(added, Ok(true));
                counted += 1;
                let all = afar.to_vec().expect("read");
                assert_eq!(all.len(), 5);
                assert!(all.iter().all(|row| row.len() == all[0].len()), "{all:?}");
            }
            counted
        });
        let ends = Over(&over);
        for n in 0..4 {
            let added = format!("ALTER TABLE t ADD COLUMN a{n} INT DEFAULT {n}");
            trio.node(n % 2).query(&added, &[]).expect("all are up");
            let name = format!("by_a{n}");
            trio.node(1).add_index("t", &name, &[&format!("a{n}")], false).expect("all are up");
            assert_eq!(afar.index_read(&name, &[Value::Int(n as i64)]).map(|rows| rows.len()), Ok(5));
        }
        drop(ends);
        counting.join().expect("no panic")
    });
    let n = |id| n_of(on(trio.node(1), "t").get(&key(id)).expect("read"));
    assert_eq!((n(1), n(2)), (counted, counted));
}

#[test]
fn tasks_read_and_write_without_a_copy() {
    // Aim: the same for tasks, also where several of them share a transaction: each is woken by its own answer, and by the one that
    // they all wait for. Method: tasks of two threads count one row, and read it and others in four more tasks each.
    let trio = Trio::start();
    trio.node(0).create_table(kept_on(&trio, &[0], def("t"))).expect("all are up");
    let (here, afar) = (on(trio.node(0), "t"), on(trio.node(2), "t"));
    (0..5).for_each(|id| here.insert(&row(id, 0)).expect("written"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let count = |node: Node, table: DynTable| async move {
        for _ in 0..10 {
            let counted = node.transaction_async(|tx| {
                let table = table.clone();
                async move {
                    let reads = [1, 1, 2, 3].map(|id| {
                        let (tx, table) = (tx.clone(), table.clone());
                        tokio::spawn(async move { tx.get(&table, &key(id)).await })
                    });
                    let mut found = Vec::new();
                    for read in reads {
                        found.push(read.await.expect("no panic")?);
                    }
                    assert_eq!(found[0], found[1]);
                    tx.insert(&table, &row(1, n_of(found.swap_remove(0)) + 1)).await
                }
            });
            counted.await.expect("it ends");
        }
    };
    runtime.block_on(async {
        let tasks = [(); 2].map(|()| tokio::spawn(count(trio.node(2).clone(), afar.clone())));
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    assert_eq!(here.get(&key(1)), Ok(Some(row(1, 20))));
}

#[test]
fn who_holds_a_lock_gives_way_to_an_older_one_that_wants_it() {
    // Aim: no two transactions wait for each other, one for a lock and one for a row on another member. Method: an older one writes
    // a row of each of two tables on different members; a younger one has locked the second table where it is, and reads the first one
    // without a copy: it hears of a conflict, and the older one is committed.
    let trio = Trio::start();
    trio.node(0).create_table(kept_on(&trio, &[0], def("a"))).expect("all are up");
    trio.node(0).create_table(kept_on(&trio, &[2], def("b"))).expect("all are up");
    ["a", "b"].iter().for_each(|name| on(trio.node(0), name).insert(&row(1, 0)).expect("written"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let older = trio.node(0).begin(&TxOptions::new().deadline(LONG / 3)).expect("it serves");
    runtime.block_on(async {
        for name in ["a", "b"] {
            older.insert(&on(trio.node(0), name), &row(1, 1)).await.expect("buffered");
        }
        let younger = loop {
            let begun = trio.node(2).begin(&TxOptions::new().deadline(LONG)).expect("it serves");
            // Not a row, which would fix what it reads to a moment before the older one's writes. The first rows may still be on
            // their way.
            let locked = begun.lock_table(&on(trio.node(2), "b"), LockMode::Write).await;
            if begun.id() > older.id() && locked.is_ok() {
                break begun;
            }
            begun.abort();
        };
        let committing = tokio::spawn({
            let older = older.clone();
            async move { older.commit().await }
        });
        until(|| !trio.node(2).status().waits.is_empty());
        let read = younger.get(&on(trio.node(2), "a"), &key(1)).await;
        assert!(matches!(read, Err(Error::Conflict { .. })), "{read:?}");
        younger.abort();
        let committed = committing.await.expect("no panic");
        assert!(matches!(committed, Ok(Some(_))), "{committed:?}");
    });
    assert_eq!(on(trio.node(2), "a").get(&key(1)), Ok(Some(row(1, 1))));
}
