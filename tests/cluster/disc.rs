//! What survives on disc.

use hypermnesia::{Ack, DynTable, Error, Node, Storage, TableDef, Type, Value};

use crate::trio::Trio;

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn kept(node: &Node, name: &str, nodes: &[Node], ack: Ack) -> DynTable {
    let definition = TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int).ack(ack);
    let definition =
        nodes.iter().fold(definition, |definition, node| definition.copy(node.id(), Storage::Disc));
    node.create_table(definition.index("by_n", ["n"])).expect("all members are up")
}

#[test]
fn an_embedded_node_finds_its_tables_again() {
    // Aim: restart loads from the log; tables in memory come back empty; the directory is locked. Method: one node, twice.
    let home = tempfile::tempdir().expect("a directory");
    let build = || Node::builder().data_dir(home.path()).build();
    for ack in [Ack::Memory, Ack::Logged, Ack::Synced] {
        let node = build().expect("free");
        let name = format!("t{ack:?}").to_lowercase();
        let t = kept(&node, &name, std::slice::from_ref(&node), ack);
        for id in 0..100 {
            t.insert(&row(id, id % 7)).expect("written");
        }
        t.delete(&[Value::Int(5)]).expect("deleted");
        assert!(matches!(build(), Err(Error::Disc(_))), "a second one is refused");
        drop(node);
        let node = build().expect("free again");
        let t = node.dyn_table(&name).expect("the schema is on disc");
        assert_eq!(t.len().expect("read"), 99, "{ack:?}");
        assert_eq!(t.get(&[Value::Int(5)]).expect("read"), None);
        assert_eq!(t.index_read("by_n", &[Value::Int(3)]).expect("read").len(), 14);
        t.insert(&row(5, 5)).expect("writes go on");
    }
    let node = build().expect("free again");
    node.create_table(TableDef::builder("ram").attribute("id", Type::Int)).expect("new");
    let ram = node.dyn_table("ram").expect("created");
    ram.insert(&[Value::Int(1)]).expect("written");
    drop(node);
    let node = build().expect("free again");
    assert!(node.dyn_table("ram").expect("its definition is kept").is_empty().expect("read"));
    assert_eq!(node.dyn_table("tsynced").expect("kept").len().expect("read"), 100);
}

#[test]
fn three_members_come_back_from_disc_together() {
    // Aim: whole-cluster restart, after a kill and after a clean stop. Method: write from all, stop all, by turns in either
    // way, start all, compare; again.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let nodes: Vec<Node> = (0..3).map(|at| trio.node(at).clone()).collect();
    kept(trio.node(0), "kept", &nodes, Ack::Logged);
    drop(nodes);
    for life in 0..4 {
        for n in 0..60 {
            let table = trio.node(n as usize % 3).dyn_table("kept").expect("there");
            table.insert(&row(life * 100 + n, n)).expect("written");
        }
        match life % 2 {
            0 => trio.crash(&[0, 1, 2]),
            _ => (0..3).for_each(|at| trio.stop(at)),
        }
        (0..3).for_each(|at| trio.restart(at));
        trio.settle();
        for at in 0..3 {
            let table = trio.node(at).dyn_table("kept").expect("there");
            assert_eq!(table.len().expect("served"), 60 * (life as u64 + 1), "node {at} in life {life}");
        }
    }
}

#[test]
fn one_member_on_disc_catches_up() {
    // Aim: a member that was killed loads what it missed, over what it had. Method: crash one, settle, start it, compare.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let nodes: Vec<Node> = (0..3).map(|at| trio.node(at).clone()).collect();
    let table = kept(trio.node(0), "kept", &nodes, Ack::Logged);
    drop(nodes);
    for id in 0..200 {
        table.insert(&row(id, id)).expect("written");
    }
    trio.crash(&[1]);
    trio.restart(1);
    trio.settle();
    let mut rows = trio.node(1).dyn_table("kept").expect("there").to_vec().expect("served");
    rows.sort();
    assert_eq!(rows, (0..200).map(|id| row(id, id).to_vec()).collect::<Vec<_>>());
}
