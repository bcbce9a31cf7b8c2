//! A member whose disc fails, beside others whose discs are well.

use hypermnesia::{Ack, DynTable, Error, Node, Storage, TableDef, Type, Value};

use crate::trio::Trio;
use crate::until::until;

/// Whose disc it is.
const BAD: usize = 2;

fn kept(trio: &Trio, at: usize) -> DynTable {
    trio.node(at).dyn_table("kept").expect("it was created")
}

fn ids(trio: &Trio, at: usize) -> Vec<i64> {
    let rows = kept(trio, at).to_vec().expect("served");
    let id = |row: Vec<Value>| if let Value::Int(id) = row[0] { id } else { panic!("{row:?}") };
    let mut ids: Vec<_> = rows.into_iter().map(id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_member_whose_disc_fails_is_done_without_and_comes_back_with_another_one() {
    // Aim: faults row 12 in a cluster: a member that cannot write its log acknowledges nothing more and leaves, the others go on
    // without it, nothing that was acknowledged is lost, and with an empty directory it gets everything. Method: rows from all
    // members, through several segments of the log, while the directory of one is taken away; what it says; its new life.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let def = TableDef::builder("kept").attribute("id", Type::Int).attribute("bytes", Type::Bytes);
    let nodes: Vec<_> = trio.nodes.iter().flatten().map(Node::id).collect();
    let def = nodes.into_iter().fold(def, |def, node| def.copy(node, Storage::Disc)).ack(Ack::Logged);
    trio.node(0).create_table(def).expect("all members are up");
    let row = |id: i64| [Value::Int(id), Value::Bytes(vec![id as u8; 200_000])];
    let mut acknowledged = Vec::new();
    let mut write = |at: usize, id: i64| {
        let done = kept(&trio, at).insert(&row(id));
        acknowledged.extend(done.is_ok().then_some(id));
        done
    };
    (0..6).for_each(|id| write(id as usize % 3, id).expect("all discs are well"));
    std::fs::remove_dir_all(homes[BAD].path()).expect("it is ours");
    let failed = (6..60).find_map(|id| write(BAD, id).err()).expect("it needs another file");
    let typed = matches!(
        failed,
        Error::Disc(_) | Error::Unknown { .. } | Error::NotReady { .. } | Error::Unavailable { .. }
    );
    assert!(typed, "{failed:?}");
    // Not even what is in memory: nobody knows how old it is soon.
    until(|| matches!(kept(&trio, BAD).get(&[Value::Int(0)]), Err(Error::NotReady { .. } | Error::Disc(_))));
    assert!(!trio.node(BAD).is_ready());
    (100..110).for_each(|id| write(id as usize % 2, id).expect("two are well, and wait for nobody else"));
    for at in [0, 1] {
        let ids = ids(&trio, at);
        assert!(acknowledged.iter().all(|id| ids.contains(id)), "member {at}: {acknowledged:?}, {ids:?}");
    }
    assert_eq!(ids(&trio, 0), ids(&trio, 1));
    trio.stop(BAD);
    trio.restart_empty(BAD);
    trio.settle();
    assert_eq!(ids(&trio, BAD), ids(&trio, 0));
    kept(&trio, BAD).insert(&row(200)).expect("it goes on");
}
