//! Bounds that one member has and others have not.

use hypermnesia::{DynTable, Error, Node, TableDef, Type, Value};

use crate::loopback::free_ports;
use crate::trio::{LONG, Trio};
use crate::until::until;

const BOUND: u64 = 2 << 20;

fn three_with_one_bounded() -> Vec<Node> {
    let listeners = free_ports(3);
    let address = |at: usize| listeners[at].local_addr().expect("bound").to_string();
    let addresses: Vec<_> = (0..3).map(|at| (format!("n{}", at + 1), address(at))).collect();
    let start = |(at, listener)| {
        let builder = Trio::builder(&addresses, None, at).peer_listener(listener);
        builder.memory_max(if at == 2 { BOUND } else { 0 }).build().expect("a good configuration")
    };
    let nodes: Vec<Node> = listeners.into_iter().enumerate().map(start).collect();
    nodes.iter().for_each(|node| node.wait_for_members(LONG).expect("the members meet"));
    nodes
}

#[test]
fn a_member_without_memory_refuses_for_all() {
    // Aim: no copy has what another one could not take, and the caller hears whose memory it is. Method: every member fills
    // a table, one of them has a bound; then copies are compared, rows deleted, and more written.
    let nodes = three_with_one_bounded();
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("text", Type::Text);
    nodes[0].create_table(def).expect("all are up");
    let on = |at: usize| -> DynTable { nodes[at].dyn_table("t").expect("created") };
    let row = |id: i64| [id.into(), Value::Text(format!("{id:02000}"))];
    let refused = |at: usize, id: i64| match on(at).insert(&row(id)) {
        Ok(()) => false,
        Err(Error::MemoryFull { member, bound, .. }) => {
            assert_eq!((&*member, bound), ("n3", BOUND));
            true
        }
        Err(other) => panic!("{other}"),
    };
    let end = (0..5_000).find(|id| refused(*id as usize % 3, *id)).expect("memory ends");
    assert!(end > 500, "{end} rows");
    (0..3).for_each(|at| assert!(refused(at, end), "whoever asks"));
    let keys = |at: usize| {
        let mut rows = on(at).to_vec().expect("read");
        rows.sort();
        rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
    };
    let all: Vec<Value> = (0..end).map(Value::Int).collect();
    (0..3).for_each(|at| until(|| keys(at) == all));
    (0..200).for_each(|id| on(1).delete(&[id.into()]).expect("deleted"));
    until(|| !refused(0, end));
}
