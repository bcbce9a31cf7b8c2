//! Requests that are done once, whichever member is asked.

use std::net::TcpListener;
use std::sync::Barrier;

use hypermnesia::{DynTable, Error, Node, NodeBuilder, RequestId, Storage, TableDef, Type, Value};

use crate::trio::{LONG, Trio};
use crate::until::until;

/// A table of one counter with a copy on each of these.
fn counters(nodes: &[&Node], storage: Storage) {
    let def = TableDef::builder("counters").attribute("id", Type::Int).attribute("n", Type::Int);
    let def = nodes.iter().fold(def, |def, node| def.copy(node.id(), storage));
    nodes[0].create_table(def).expect("all are there");
}

fn table(node: &Node) -> DynTable {
    node.dyn_table("counters").expect("it is there")
}

/// Adds one to the counter and says what it is then.
fn counted(node: &Node, id: &str) -> Result<i64, Error> {
    let t = table(node);
    let key = [Value::Int(1)];
    node.transaction_once(&RequestId::new(id).asking(b"one more"), |tx| {
        let n = match tx.lookup(&t, &key, "n", Value::Int(0))? {
            Value::Int(n) => n + 1,
            other => panic!("{other:?}"),
        };
        tx.insert(&t, &[Value::Int(1), Value::Int(n)]).map(|()| n)
    })
}

fn held(node: &Node) -> Value {
    table(node).lookup(&[Value::Int(1)], "n", Value::Int(0)).expect("read")
}

#[test]
fn three_members_do_one_request_once() {
    // Aim: no two members do the work of one id, nor make two tables of ids. Method: all three with the same ids at the same time,
    // from the first id on; one later, at each; with another digest.
    let trio = Trio::start();
    counters(&[trio.node(0), trio.node(1), trio.node(2)], Storage::Ram);
    let together = Barrier::new(3);
    let answers: Vec<Vec<i64>> = std::thread::scope(|scope| {
        let all = |at: usize| {
            let (node, together) = (trio.node(at), &together);
            move || {
                // Each waits for the two others, so whoever fails does so behind the last one.
                let one = |n: i64| {
                    together.wait();
                    counted(node, &format!("request {n}"))
                };
                (0..50).map(one).collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..3).map(|at| scope.spawn(all(at))).collect();
        let answers = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        answers.map(|own| own.into_iter().map(|one| one.expect("answered")).collect()).collect()
    });
    let one_to_fifty: Vec<i64> = (1..=50).collect();
    assert!(answers.iter().all(|own| *own == one_to_fifty), "{answers:?}");
    assert_eq!(counted(trio.node(2), "request 7"), Ok(8));
    let other =
        trio.node(1).transaction_once::<i64>(&RequestId::new("request 7").asking(b"two more"), |_| Ok(0));
    assert_eq!(other, Err(Error::RequestReused { id: "request 7".into() }));
    (0..3).for_each(|at| assert_eq!(held(trio.node(at)), Value::Int(50), "member {at}"));
}

#[test]
fn an_id_outlives_members_and_on_disc_all_of_them() {
    // Aim: an id is known while its work is. Method: it is used at a member that is stopped then; asked for at another one, and
    // at the first when it is back; members with discs are killed all at once and asked each.
    for on_disc in [false, true] {
        let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let paths = on_disc.then(|| homes.iter().map(|home| home.path().to_owned()).collect());
        let mut trio = Trio::start_on(paths);
        let storage = if on_disc { Storage::Disc } else { Storage::Ram };
        counters(&[trio.node(0), trio.node(1), trio.node(2)], storage);
        assert_eq!(counted(trio.node(0), "a"), Ok(1));
        trio.stop(0);
        until(|| counted(trio.node(1), "b") == Ok(2));
        assert_eq!(counted(trio.node(1), "a"), Ok(1));
        trio.restart(0);
        trio.settle();
        assert_eq!((counted(trio.node(0), "a"), counted(trio.node(0), "b")), (Ok(1), Ok(2)));
        if on_disc {
            trio.crash(&[0, 1, 2]);
            (0..3).for_each(|at| trio.restart(at));
            trio.settle();
            for at in 0..3 {
                assert_eq!(
                    (counted(trio.node(at), "a"), counted(trio.node(at), "b")),
                    (Ok(1), Ok(2)),
                    "{at}"
                );
            }
        }
        (0..3).for_each(|at| assert_eq!(held(trio.node(at)), Value::Int(2), "member {at}"));
    }
}

#[test]
fn members_without_a_disc_keep_ids_beside_some_with_one() {
    // Aim: the table of ids is on disc wherever there is one, and asks nobody else for one. Method: one member of two has a data
    // directory; ids from both; the one without restarts.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addresses: Vec<(String, String)> = (listeners.iter().enumerate())
        .map(|(at, one)| (format!("n{}", at + 1), one.local_addr().expect("bound").to_string()))
        .collect();
    let home = tempfile::tempdir().expect("a directory");
    let [first, second] = listeners;
    let builder = |at: usize| Node::builder().name(&addresses[at].0).members(addresses.iter().cloned());
    let one = builder(0).peer_listener(first).data_dir(home.path()).build().expect("it starts");
    let two = builder(1).peer_listener(second).build().expect("it starts");
    [&one, &two].into_iter().for_each(|node| node.wait_for_members(LONG).expect("they meet"));
    counters(&[&one, &two], Storage::Ram);
    assert_eq!((counted(&two, "a"), counted(&one, "b"), counted(&one, "a")), (Ok(1), Ok(2), Ok(1)));
    two.close();
    let two = builder(1).build().expect("its port is free again");
    [&one, &two].into_iter().for_each(|node| node.wait_for_members(LONG).expect("they meet"));
    assert_eq!((counted(&two, "b"), two.failure()), (Ok(2), None));
}

/// A member that listens on a port of its own.
fn coming(name: &str) -> NodeBuilder {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    Node::builder().name(name).peer_listener(listener)
}

fn whom(node: &Node) -> String {
    node.peer_addr().expect("it listens").to_string()
}

#[test]
fn who_joined_later_asks_those_who_know_the_ids_and_knows_them_before_they_go() {
    // Aim: a member without a copy does not take its empty one for the truth, and what was done once stays so when the only member that
    // knows of it is removed. Method: a second member joins, and gets the first answer; the first one is removed for good.
    let homes = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let one = coming("n1").data_dir(homes[0].path()).build().expect("a cluster of one");
    one.wait_for_tables(&[], LONG).expect("it serves alone");
    let id = RequestId::new("a");
    assert_eq!(one.transaction_once(&id, |_| Ok(1)), Ok(1));
    let two = coming("n2").data_dir(homes[1].path()).join([whom(&one)]).build().expect("it is let in");
    [&one, &two].into_iter().for_each(|node| node.wait_for_members(LONG).expect("they meet"));
    assert_eq!(two.transaction_once(&id, |_| Ok(2)), Ok(1));
    assert_eq!(one.transaction_once(&id, |_| Ok(3)), Ok(1));
    until(|| two.status().control.is_some_and(|control| control.voters.len() == 2));
    two.remove_member("n1", LONG).expect("it is told to go");
    assert_eq!(two.transaction_once(&id, |_| Ok(4)), Ok(1));
}

#[test]
fn ids_that_only_a_lost_member_knew_are_free_again() {
    // Aim: nobody waits for ever for what is lost. Method: two members join one that has done a request, and that one is lost for good; then
    // nobody knows its ids, and the table is made anew.
    let home = tempfile::tempdir().expect("a directory");
    let one = coming("n1").data_dir(home.path()).build().expect("a cluster of one");
    one.wait_for_tables(&[], LONG).expect("it serves alone");
    let id = RequestId::new("a");
    assert_eq!(one.transaction_once(&id, |_| Ok(1)), Ok(1));
    let [two, three] =
        ["n2", "n3"].map(|name| coming(name).join([whom(&one)]).build().expect("it is let in"));
    [&one, &two, &three].into_iter().for_each(|node| node.wait_for_members(LONG).expect("they meet"));
    assert_eq!(three.transaction_once(&id, |_| Ok(2)), Ok(1));
    until(|| two.status().control.is_some_and(|control| control.voters.len() == 3));
    one.close();
    until(|| two.remove_member("n1", LONG).is_ok());
    until(|| two.transaction_once(&id, |_| Ok(4)) == Ok(4));
    assert_eq!(three.transaction_once(&id, |_| Ok(5)), Ok(4));
}
