//! A data directory that is replaced by an older copy of itself.

use hypermnesia::{Ack, DynTable, Error, Node, Result, Storage, TableDef, Type, Value};

use crate::hard_stop::killed;
use crate::trio::{LONG, Trio};

const ROWS: i64 = 120;
/// Whose directory is put back.
const OLD: usize = 1;

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn kept(node: &Node, on: &[Node]) -> DynTable {
    let def = TableDef::builder("kept").attribute("id", Type::Int).attribute("n", Type::Int).ack(Ack::Logged);
    let def = on.iter().fold(def, |def, node| def.copy(node.id(), Storage::Disc));
    node.create_table(def.index("by_n", ["n"])).expect("all members are up")
}

fn sorted(table: &DynTable) -> Result<Vec<Vec<Value>>> {
    let mut rows = table.to_vec()?;
    rows.sort();
    Ok(rows)
}

/// What was written before the copy was made: a third of it is changed later, a third deleted.
fn write_old(table: &DynTable) {
    (0..ROWS).for_each(|id| table.insert(&row(id, 1)).expect("written"));
}

/// What was written after it.
fn write_new(table: &DynTable) {
    (0..ROWS).filter(|id| id % 3 == 0).for_each(|id| table.insert(&row(id, 2)).expect("written"));
    (0..ROWS).filter(|id| id % 3 == 1).for_each(|id| table.delete(&[Value::Int(id)]).expect("deleted"));
    (ROWS..2 * ROWS).for_each(|id| table.insert(&row(id, 2)).expect("written"));
}

fn new_rows() -> Vec<Vec<Value>> {
    let of = |id: i64| (id >= ROWS || id % 3 == 0).then_some(2).or((id % 3 == 2).then_some(1));
    (0..2 * ROWS).filter_map(|id| Some(row(id, of(id)?).to_vec())).collect()
}

/// Three members that have written all, and a copy of one member's files from the middle of it, left by a clean stop or as
/// a killed process leaves them.
fn written(cleanly: bool) -> (Trio, tempfile::TempDir, Vec<tempfile::TempDir>) {
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let nodes: Vec<Node> = (0..3).map(|at| trio.node(at).clone()).collect();
    kept(trio.node(0), &nodes);
    drop(nodes);
    write_old(&table(&trio, 2));
    let copy = match cleanly {
        true => {
            trio.stop(OLD);
            let copy = trio.saved(OLD);
            trio.restart(OLD);
            trio.settle();
            copy
        }
        false => trio.saved(OLD),
    };
    write_new(&table(&trio, OLD));
    (trio, copy, homes)
}

fn table(trio: &Trio, at: usize) -> DynTable {
    trio.node(at).dyn_table("kept").expect("it was created")
}

/// Reads at the member until it is one of them again: nothing, or what is new.
fn served_only_new(trio: &Trio) {
    let node = trio.node(OLD);
    loop {
        match node.dyn_table("kept").and_then(|table| sorted(&table)) {
            Ok(rows) => return assert_eq!(rows, new_rows(), "an older copy was served"),
            Err(Error::NotReady { .. } | Error::NoSuchTable { .. } | Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(node.wait_for_tables(&["kept"], LONG).is_ok(), "it comes back");
    }
}

fn all_equal(trio: &Trio, what: &str) {
    for at in 0..3 {
        let table = table(trio, at);
        assert_eq!(sorted(&table).expect("served"), new_rows(), "member {at}, {what}");
        let by_index = table.index_read("by_n", &[Value::Int(1)]).expect("served").len();
        assert_eq!(by_index, ROWS as usize / 3, "member {at}, {what}: its index");
    }
    table(trio, OLD).insert(&row(0, 2)).expect("writes go on");
}

#[test]
fn a_member_with_an_older_copy_takes_what_it_lacks_from_the_others() {
    // Aim: faults row 14, an old backup put back on one node: it serves nothing that is older than what the others have, ends
    // equal to them, deleted rows stay deleted. Method: a member's directory replaced by an older copy of itself, from a
    // clean stop and from a kill; rows changed, deleted and added behind it.
    for cleanly in [true, false] {
        let (mut trio, copy, _homes) = written(cleanly);
        trio.stop(OLD);
        trio.restart_on(OLD, copy);
        served_only_new(&trio);
        trio.settle();
        all_equal(&trio, &format!("a clean copy: {cleanly}"));
    }
}

#[test]
fn a_cluster_that_starts_with_an_older_copy_among_its_directories_loses_nothing() {
    // Aim: the same when nobody was up meanwhile: nothing acknowledged is lost, and no member starts from the older copy.
    // Method: all stop, one directory is replaced, all start, that one first or last.
    for first in [true, false] {
        let (mut trio, copy, _homes) = written(true);
        (0..3).for_each(|at| trio.stop(at));
        let mut copy = Some(copy);
        let order = if first { [OLD, 0, 2] } else { [0, 2, OLD] };
        for at in order {
            match copy.take_if(|_| at == OLD) {
                Some(copy) => trio.restart_on(at, copy),
                None => trio.restart(at),
            }
        }
        served_only_new(&trio);
        trio.settle();
        all_equal(&trio, &format!("the older copy started first: {first}"));
    }
}

#[test]
fn a_node_alone_opens_an_older_copy_of_its_directory_as_it_was() {
    // Aim: what nobody else knows cannot be missed: the older state is there whole, and none of the newer one. Method: a copy
    // of the files of a running node, opened after the original went on.
    let home = tempfile::tempdir().expect("a directory");
    let build = |home: &std::path::Path| Node::builder().data_dir(home).build().expect("free");
    let node = build(home.path());
    let rows = kept(&node, std::slice::from_ref(&node));
    write_old(&rows);
    let copy = killed(home.path());
    write_new(&rows);
    drop((rows, node));
    let old = build(copy.path()).dyn_table("kept").expect("kept").to_vec().expect("read");
    assert_eq!(old.len(), ROWS as usize);
    assert!(old.iter().all(|row| row[1] == Value::Int(1)), "{old:?}");
    let rows = sorted(&build(home.path()).dyn_table("kept").expect("kept"));
    assert_eq!(rows, Ok(new_rows()));
}
