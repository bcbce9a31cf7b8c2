//! What three members agree on.

use std::time::Instant;

use hypermnesia::{DynTable, Error, Node, TableDef, TxOptions, Type, Value};

use crate::trio::{LONG, Trio};

fn counters(node: &Node) -> DynTable {
    let definition = TableDef::builder("counters").attribute("id", Type::Int).attribute("n", Type::Int);
    node.create_table(definition).expect("all members are up")
}

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn on(trio: &Trio, at: usize) -> DynTable {
    trio.node(at).dyn_table("counters").expect("created")
}

#[test]
fn a_thousand_increments_from_three_nodes_are_a_thousand() {
    // Aim: contract case 5, no lost update. Method: three threads, one per node, one key.
    let trio = Trio::start();
    counters(trio.node(0)).insert(&row(1, 0)).expect("written");
    std::thread::scope(|scope| {
        for at in 0..3 {
            let node = trio.node(at);
            scope.spawn(move || {
                node.wait_for_tables(&["counters"], LONG).expect("created");
                let table = node.dyn_table("counters").expect("created");
                for _ in 0..(if at == 0 { 334 } else { 333 }) {
                    let options = TxOptions::new().deadline(LONG).retries(u32::MAX);
                    let done = node.transaction_with(&options, |tx| {
                        let Some(row) = tx.get(&table, &[Value::Int(1)])? else {
                            return Err(Error::abort("gone"));
                        };
                        let Value::Int(n) = row[1] else { return Err(Error::abort("no number")) };
                        tx.insert(&table, &[Value::Int(1), Value::Int(n + 1)])
                    });
                    done.expect("it ends");
                }
            });
        }
    });
    for at in 0..3 {
        assert_eq!(
            on(&trio, at).get(&[Value::Int(1)]).expect("served"),
            Some(row(1, 1000).to_vec()),
            "node {at}"
        );
    }
}

#[test]
fn an_acknowledged_write_is_read_on_every_node_at_once() {
    // Aim: strict serializability of local reads. Method: write on one node, read on another as soon as it is told.
    let trio = Trio::start();
    let tables = [counters(trio.node(0)), on(&trio, 1), on(&trio, 2)];
    for n in 0..300 {
        let (writer, reader) = (n as usize % 3, (n as usize + 1) % 3);
        tables[writer].insert(&row(7, n)).expect("written");
        assert_eq!(tables[reader].get(&[Value::Int(7)]).expect("read"), Some(row(7, n).to_vec()));
    }
}

#[test]
fn a_dead_member_is_done_without_and_comes_back_equal() {
    // Aim: a loss costs its callers time and no error; catch-up. Method: drop a node, write, start it again, write, compare.
    let mut trio = Trio::start();
    let table = counters(trio.node(0));
    for id in 0..100 {
        table.insert(&row(id, id)).expect("written");
    }
    trio.stop(2);
    while let Err(error) = table.insert(&row(1, -1)) {
        // It was on its way when the member was lost.
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
    }
    assert_eq!(on(&trio, 1).get(&[Value::Int(1)]).expect("served"), Some(row(1, -1).to_vec()));
    trio.restart(2);
    table.insert(&row(200, 200)).expect("it waits until the other has loaded");
    trio.settle();
    let rows = |at| {
        let mut rows = on(&trio, at).to_vec().expect("served");
        rows.sort();
        rows
    };
    assert_eq!(rows(2), rows(0));
    assert_eq!(rows(2).len(), 101);
}

#[test]
fn two_nodes_that_lock_two_keys_crosswise_both_end() {
    // Aim: contract case 4 over two keys and two nodes, also over two tables: no deadlock outlives its transactions. Method:
    // each node locks what the other locks, in the other order, 40 times; every transaction commits in the end.
    let trio = Trio::start();
    let first = counters(trio.node(0));
    let second = TableDef::builder("others").attribute("id", Type::Int).attribute("n", Type::Int);
    trio.node(0).create_table(second).expect("all members are up");
    for id in 1..=2 {
        first.insert(&row(id, 0)).expect("written");
        trio.node(0).dyn_table("others").expect("created").insert(&row(id, 0)).expect("written");
    }
    std::thread::scope(|scope| {
        for at in 0..2 {
            let node = trio.node(at);
            scope.spawn(move || {
                let tables = ["counters", "others"].map(|name| node.dyn_table(name).expect("created"));
                let mut places = [(&tables[0], 1), (&tables[0], 2), (&tables[1], 1), (&tables[1], 2)];
                if at == 1 {
                    places.reverse();
                }
                let options = TxOptions::new().deadline(LONG);
                for _ in 0..40 {
                    let done = node.transaction_with(&options, |tx| {
                        for (table, id) in places {
                            let held = tx.get_for_update(table, &[Value::Int(id)][..])?;
                            let Some(Value::Int(n)) = held.map(|row| row[1].clone()) else {
                                return Err(Error::abort("gone"));
                            };
                            tx.insert(table, &row(id, n + 1))?;
                        }
                        Ok(())
                    });
                    done.expect("it ends, committed");
                }
            });
        }
    });
    for at in 0..3 {
        for (name, id) in [("counters", 1), ("counters", 2), ("others", 1), ("others", 2)] {
            let table = trio.node(at).dyn_table(name).expect("created");
            assert_eq!(
                table.get(&[Value::Int(id)]).expect("served"),
                Some(row(id, 80).to_vec()),
                "{name} {id} at {at}"
            );
        }
        // They go right behind the commit that was just read.
        let until = Instant::now() + LONG;
        while trio.node(at).status().locks != (0, 0) {
            assert!(Instant::now() < until, "locks are left on node {at}");
            std::thread::yield_now();
        }
    }
}
