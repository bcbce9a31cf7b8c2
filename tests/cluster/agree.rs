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
fn a_dead_member_refuses_writes_and_comes_back_equal() {
    // Aim: kill, what is refused, what answers, catch-up. Method: drop a node, write, start it again, compare.
    let mut trio = Trio::start();
    let table = counters(trio.node(0));
    for id in 0..100 {
        table.insert(&row(id, id)).expect("written");
    }
    trio.kill(2);
    let refused = loop {
        match table.insert(&row(1, -1)) {
            Err(Error::Unavailable { member, .. }) => break member,
            // It had not noticed yet: the write may hang in the air.
            Err(Error::Unknown { .. } | Error::DeadlineExceeded) | Ok(()) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(refused, "n3");
    assert_eq!(on(&trio, 1).get(&[Value::Int(5)]).expect("served"), Some(row(5, 5).to_vec()));
    trio.restart(2);
    trio.settle();
    let deadline = Instant::now() + LONG;
    while table.insert(&row(200, 200)).is_err() {
        assert!(Instant::now() < deadline, "writes go on");
        std::thread::yield_now();
    }
    let rows = |at| {
        let mut rows = on(&trio, at).to_vec().expect("served");
        rows.sort();
        rows
    };
    assert_eq!(rows(2), rows(0));
    assert_eq!(rows(2).len(), 101);
}
