//! Who a node is, and what happens when it is not who others take it for.

use std::net::TcpListener;
use std::time::Duration;

use hypermnesia::{Error, Node, Storage, TableDef, Type, Value};

use crate::trio::{LONG, Trio};
use crate::until::until;

#[test]
fn a_directory_of_other_members_is_refused_and_left_as_it_is() {
    // Aim: what a log says of other members is never taken for these. Method: alone, then as one of two, then alone again.
    let home = tempfile::tempdir().expect("a directory");
    let alone = || Node::builder().name("n1").data_dir(home.path()).build();
    let node = alone().expect("free");
    let t = TableDef::builder("t").attribute("id", Type::Int).copy(node.id(), Storage::Disc);
    node.create_table(t).expect("new").insert(&[Value::Int(1)]).expect("written");
    node.close();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let two = [("n1", address.as_str()), ("n2", "127.0.0.1:9")];
    let refused =
        Node::builder().name("n1").members(two).peer_listener(listener).data_dir(home.path()).build();
    let Err(Error::Config(why)) = refused else { panic!("{:?}", refused.map(drop)) };
    assert!(why.contains("n1") && why.contains("n2") && why.contains("does not change them"), "{why}");
    let rows = alone().expect("as before").dyn_table("t").expect("kept").len();
    assert_eq!(rows, Ok(1));
}

#[test]
fn a_process_that_was_replaced_serves_no_longer() {
    // Aim: no stale reads from a process whose name another one has taken. Method: a second process of the member that
    // dials the others (the one with the lowest id) joins from another port; the first one must stop by itself.
    let trio = Trio::start();
    let at = (0..3).min_by_key(|at| trio.node(*at).id()).expect("there are three");
    let second = Trio::builder(&trio.addresses(), None, at)
        .peer_listener(TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .build()
        .expect("a good configuration");
    until(|| matches!(trio.node(at).snapshot().map(drop), Err(Error::Replaced { .. })));
    second.wait_for_members(LONG).expect("it is one of them now");
}

#[test]
fn members_with_other_lists_say_so() {
    // Aim: a cluster that cannot form names the reason. Method: two members, one of which also names a third.
    let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
    let two = vec![("n1".to_owned(), address(0)), ("n2".to_owned(), address(1))];
    let mut three = two.clone();
    three.push(("n3".to_owned(), "127.0.0.1:9".to_owned()));
    let mut listeners = listeners.into_iter();
    let mut start = |name: &str, members: Vec<(String, String)>| {
        let listener = listeners.next().expect("one each");
        Node::builder().name(name).members(members).peer_listener(listener).build().expect("good by itself")
    };
    let nodes = [start("n1", two), start("n2", three)];
    for node in &nodes {
        until(
            || matches!(node.snapshot().map(drop), Err(Error::NotReady { waits_for }) if waits_for.contains("list of members")),
        );
    }
}

#[test]
fn members_with_other_leases_say_so() {
    // Aim: nobody is granted a lease by somebody who counts another length. Method: two members, one of which was given no lease and
    // the other one a longer one; both name both, and the member.
    let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
    let members = [("n1", address(0)), ("n2", address(1))];
    let of =
        |name: &str, listener| Node::builder().name(name).members(members.clone()).peer_listener(listener);
    let [first, second] = <[TcpListener; 2]>::try_from(listeners).expect("there are two");
    let usual = of("n1", first).build().expect("good by itself");
    let longer = of("n2", second).lease(Duration::from_millis(700)).build().expect("good by itself");
    for (node, other) in [(&usual, "n2"), (&longer, "n1")] {
        let names = |why: &str| ["700 ms", "500 ms", "--lease", other].iter().all(|name| why.contains(name));
        until(
            || matches!(node.snapshot().map(drop), Err(Error::NotReady { waits_for }) if names(&waits_for)),
        );
    }
    assert_eq!(longer.status().control.expect("a member has one").lease_ms, 700);
}

#[test]
fn a_member_without_a_disc_takes_no_part_in_tables_on_disc() {
    // Aim: nothing is acknowledged as logged by who has no log. Method: two members of three have directories; a table with
    // a copy on the third's disc is refused, one without is fine.
    let homes: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let members: Vec<(String, String)> = (0..3)
        .map(|at| (format!("n{}", at + 1), listeners[at].local_addr().expect("bound").to_string()))
        .collect();
    let start = |(at, listener): (usize, TcpListener)| {
        let builder =
            Node::builder().name(&members[at].0).members(members.iter().cloned()).peer_listener(listener);
        match homes.get(at) {
            Some(home) => builder.data_dir(home.path()).build(),
            None => builder.build(),
        }
        .expect("a good configuration")
    };
    let nodes: Vec<Node> = listeners.into_iter().enumerate().map(start).collect();
    nodes.iter().for_each(|node| node.wait_for_members(LONG).expect("they meet"));
    let table = |name: &str, on: &[Node]| {
        let def = TableDef::builder(name).attribute("id", Type::Int);
        nodes[0].create_table(on.iter().fold(def, |def, node| def.copy(node.id(), Storage::Disc)))
    };
    let refused = table("all", &nodes).map(drop);
    assert!(
        matches!(&refused, Err(Error::Unavailable { member, why }) if member == "n3" && why.contains("data directory")),
        "{refused:?}"
    );
    table("two", &nodes[..2]).expect("they have discs").insert(&[Value::Int(1)]).expect("written");
}

#[test]
fn programs_that_start_together_open_one_table() {
    // Aim: the same program on one node or on each of three, whoever comes first. Method: three threads open at once.
    let trio = Trio::start();
    let def = || TableDef::builder("t").attribute("id", Type::Int);
    std::thread::scope(|scope| {
        let open = |at: usize| {
            scope.spawn({
                let node = trio.node(at);
                move || node.open_table(def()).expect("there or new").id()
            })
        };
        let ids: Vec<_> =
            (0..3).map(open).collect::<Vec<_>>().into_iter().map(|t| t.join().expect("done")).collect();
        assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
    });
    let other = trio.node(0).open_table(TableDef::builder("t").attribute("id", Type::Text)).map(drop);
    assert!(matches!(other, Err(Error::Record { .. })), "{other:?}");
}
