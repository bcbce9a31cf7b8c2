//! What most members can do without the others: everything. And what few cannot do.

use std::time::{Duration, Instant};

use hypermnesia::{DynTable, Error, Node, Storage, TableBuilder, TableDef, Type, Value};

use crate::loopback::free_ports;
use crate::trio::{LONG, Trio};

fn counters_def() -> TableBuilder {
    TableDef::builder("counters").attribute("id", Type::Int).attribute("n", Type::Int)
}

fn counters(node: &Node) -> DynTable {
    node.open_table(counters_def()).expect("it is there or made")
}

/// What a call gives as soon as it can.
fn patiently<T>(mut call: impl FnMut() -> Result<T, Error>) -> T {
    let end = Instant::now() + LONG;
    loop {
        match call() {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < end, "it never can: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes as soon as that is possible.
fn written(table: &DynTable, id: i64, n: i64) {
    patiently(|| table.insert(&[Value::Int(id), Value::Int(n)]));
}

fn rows(table: &DynTable) -> Vec<(i64, i64)> {
    let int = |value: &Value| if let Value::Int(n) = value { *n } else { panic!("{value:?}") };
    let mut all: Vec<_> =
        table.to_vec().expect("served").iter().map(|row| (int(&row[0]), int(&row[1]))).collect();
    all.sort_unstable();
    all
}

#[test]
fn most_members_go_on_without_one_and_it_comes_back_equal() {
    // Aim: no member is needed, whoever leads the control plane; who comes back has everything before it serves. Method: each of
    // three in turn is stopped; the others write and read; it comes back, in memory and on disc.
    for on_disc in [false, true] {
        let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let homes = on_disc.then(|| directories.iter().map(|home| home.path().to_owned()).collect());
        let mut trio = Trio::start_on(homes);
        counters(trio.node(0));
        for lost in [0, 1, 2] {
            trio.stop(lost);
            let left: Vec<usize> = (0..3).filter(|at| *at != lost).collect();
            for at in &left {
                written(&counters(trio.node(*at)), *at as i64, lost as i64);
            }
            for at in &left {
                let seen = rows(&counters(trio.node(*at)));
                assert!(left.iter().all(|id| seen.contains(&(*id as i64, lost as i64))), "{seen:?}");
            }
            // So do changes of the schema, which it learns of.
            let def = TableDef::builder(format!("t{lost}")).attribute("id", Type::Int);
            let made = trio.node(left[1]).create_table(def).expect("most are there");
            made.insert(&[Value::Int(7)]).expect("most are there");
            trio.restart(lost);
            trio.settle();
            let made = trio.node(lost).dyn_table(&format!("t{lost}")).expect("it has the schema");
            assert_eq!(made.get(&[Value::Int(7)]).expect("served"), Some(vec![Value::Int(7)]));
            let all = rows(&counters(trio.node(left[0])));
            (0..3).for_each(|at| assert_eq!(rows(&counters(trio.node(at))), all, "member {at}"));
        }
    }
}

#[test]
fn members_with_short_leases_go_on_without_one() {
    // Aim: what follows from a lease works for another length too. Method: three members with leases of 150 ms; whoever leads is
    // stopped, the others write, it comes back with what they wrote.
    let listeners = free_ports(3);
    let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
    let addresses: Vec<_> = (0..3).map(|at| (format!("n{}", at + 1), address(at))).collect();
    let builder = |at| Trio::builder(&addresses, None, at).lease(Duration::from_millis(150));
    let start =
        |(at, listener)| Some(builder(at).peer_listener(listener).build().expect("a good configuration"));
    let mut nodes: Vec<Option<Node>> = listeners.into_iter().enumerate().map(start).collect();
    let node = |nodes: &[Option<Node>], at: usize| nodes[at].clone().expect("it is up");
    nodes.iter().flatten().for_each(|node| node.wait_for_members(LONG).expect("the members meet"));
    let control = node(&nodes, 0).status().control.expect("a member has one");
    assert_eq!(control.lease_ms, 150);
    let led = |at: &usize| Some(format!("n{}", at + 1)) == control.leader;
    let lost = (0..3).find(led).expect("somebody leads");
    // On a busy machine somebody may be given up for a moment at any time.
    let table = |node: &Node| patiently(|| node.open_table(counters_def()));
    written(&table(&node(&nodes, lost)), 1, 1);
    nodes[lost] = None;
    written(&table(&node(&nodes, (lost + 1) % 3)), 2, 2);
    nodes[lost] = Some(builder(lost).build().expect("its port is free again"));
    let back = node(&nodes, lost);
    back.wait_for_members(LONG).expect("the members meet");
    assert_eq!(patiently(|| table(&back).to_vec()).len(), 2);
}

#[test]
fn one_of_three_alone_shows_and_changes_nothing() {
    // Aim: who may be outside of the cluster shows nothing that others may have changed. Method: two of three are stopped; the
    // third refuses reads and writes by a typed error, and goes on when one comes back.
    let mut trio = Trio::start();
    let table = counters(trio.node(0));
    written(&table, 1, 1);
    trio.stop(1);
    trio.stop(2);
    let end = Instant::now() + LONG;
    let refused = loop {
        match table.get(&[Value::Int(1)]) {
            Ok(_) => assert!(Instant::now() < end, "it shows for ever what others may have changed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::NotReady { .. }), "{refused}");
    assert!(!trio.node(0).is_ready());
    let refused = table.insert(&[Value::Int(1), Value::Int(2)]).expect_err("nobody else is there");
    assert!(matches!(refused, Error::NotReady { .. } | Error::Unavailable { .. }), "{refused}");
}

#[test]
fn two_of_three_without_discs_are_lost_together_and_the_third_has_everything() {
    // Aim: what one member still has in memory is not lost, and nobody has to stop it, when most stores of votes are gone. Method:
    // rows, two stop and start at once; the third, which cannot decide alone, and they serve the same rows.
    let mut trio = Trio::start();
    let table = counters(trio.node(0));
    (0..10).for_each(|id| written(&table, id, id));
    for round in 0..2 {
        trio.stop(1);
        trio.stop(2);
        trio.restart(1);
        trio.restart(2);
        trio.settle();
        for at in 0..3 {
            assert_eq!(
                rows(&counters(trio.node(at))),
                (0..10).map(|id| (id, id)).collect::<Vec<_>>(),
                "{round} {at}"
            );
        }
        written(&counters(trio.node(2)), 1, 1);
    }
}

#[test]
fn the_last_of_three_without_discs_brings_back_what_it_has() {
    // Aim: the rows of whoever is left last, after one member was lost behind the other. Method: one stops, the others go on; another
    // one stops; both start.
    let mut trio = Trio::start();
    written(&counters(trio.node(0)), 1, 1);
    trio.stop(2);
    written(&counters(trio.node(0)), 2, 2);
    trio.stop(1);
    trio.restart(1);
    trio.restart(2);
    trio.settle();
    (0..3).for_each(|at| assert_eq!(rows(&counters(trio.node(at))), [(1, 1), (2, 2)], "member {at}"));
}

#[test]
fn members_start_again_whoever_was_away_in_their_last_epoch() {
    // Aim: a directory belongs to its cluster also when somebody was away last. Method: one is stopped, another one starts again beside
    // the third; then those two start again from nothing but their discs, the one that was away behind them.
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(directories.iter().map(|home| home.path().to_owned()).collect()));
    let def = TableDef::builder("kept").attribute("id", Type::Int).attribute("n", Type::Int);
    let nodes = trio.nodes.iter().flatten().map(Node::id).collect::<Vec<_>>();
    let def = nodes.into_iter().fold(def, |def, node| def.copy(node, Storage::Disc));
    let kept = |trio: &Trio, at: usize| trio.node(at).dyn_table("kept").expect("it is there");
    trio.node(0).create_table(def).expect("all are there");
    trio.stop(2);
    written(&kept(&trio, 0), 1, 1);
    trio.stop(1);
    trio.restart(1);
    written(&kept(&trio, 0), 2, 2);
    trio.stop(0);
    trio.stop(1);
    trio.restart(0);
    trio.restart(1);
    trio.node(0).wait_for_tables(&["kept"], LONG).expect("two of three");
    written(&kept(&trio, 0), 3, 3);
    trio.restart(2);
    trio.settle();
    (0..3).for_each(|at| assert_eq!(rows(&kept(&trio, at)), [(1, 1), (2, 2), (3, 3)], "member {at}"));
}
