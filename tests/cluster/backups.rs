//! Backups of a cluster: made at any member, restored on all.

use hypermnesia::backup::{BackupFile, BackupOptions, RestoreMode, RestoreOptions, Scope};
use hypermnesia::{DynTable, Error, Kind, Node, Storage, TableBuilder, TableCopy, TableDef, Type, Value};

use crate::trio::Trio;

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn def(name: &str) -> TableBuilder {
    TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int)
}

fn on(node: &Node, name: &str) -> DynTable {
    node.dyn_table(name).expect("created")
}

fn rows(node: &Node, name: &str) -> Vec<Vec<Value>> {
    let mut rows = on(node, name).to_vec().expect("read");
    rows.sort();
    rows
}

#[test]
fn a_backup_of_one_member_goes_on_at_another_and_is_restored_on_all() {
    // Aim: positions mean the same on every copy, restores go through transactions. Method: full at n1, changes, incremental
    // at n2, restored by n3 over other rows; all three hold the state of the second backup, and rows of local tables are those
    // of the member that backed them up, on the member that restores.
    let (trio, home) = (Trio::start(), tempfile::tempdir().expect("a directory"));
    let (full, more) = (home.path().join("full"), home.path().join("more"));
    let n1 = trio.node(0);
    n1.create_table(def("t").kind(Kind::OrderedSet).index("by_n", ["n"])).expect("all are up");
    n1.create_table(def("mine").local()).expect("all are up");
    (0..2_000).for_each(|id| {
        if id % 200 == 0 {
            let part: Vec<_> = (id..id + 200).map(|id| row(id, id)).collect();
            on(n1, "t").insert_many(part.iter().map(|row| &row[..])).expect("written");
        }
    });
    (0..3).for_each(|at| on(trio.node(at), "mine").insert(&row(1, at as i64)).expect("written"));
    n1.backup(&full, &BackupOptions::new()).expect("written");
    on(n1, "t").delete(&[Value::Int(7)]).expect("deleted");
    on(n1, "t").insert(&row(8, -8)).expect("written");
    let base = BackupFile::open(&full).expect("whole");
    let summary = trio.node(1).backup(&more, &BackupOptions::new().since(&base)).expect("written");
    let told: Vec<_> = summary.tables.iter().map(|t| (&*t.name, t.scope, t.rows, t.unchanged)).collect();
    assert_eq!(told, [("mine", Scope::Full, 1, 0), ("t", Scope::Changes, 1, 1_998)]);
    let wanted = rows(n1, "t");
    on(n1, "t").insert(&row(8, 0)).expect("written");
    on(n1, "t").insert(&row(9_999, 0)).expect("written");
    trio.node(2).restore(&[&full, &more], &RestoreOptions::new()).expect("restored");
    for at in 0..3 {
        let node = trio.node(at);
        assert_eq!(rows(node, "t"), wanted, "n{}", at + 1);
        assert_eq!(on(node, "t").index_read("by_n", &[Value::Int(-8)]).expect("read"), [row(8, -8).to_vec()]);
    }
    let mine = |at: usize| rows(trio.node(at), "mine");
    assert_eq!((mine(0), mine(2)), (vec![row(1, 0).to_vec()], vec![row(1, 1).to_vec()]));
    trio.node(1).restore(&[&full], &RestoreOptions::new().mode(RestoreMode::Recreate)).expect("restored");
    assert_eq!(rows(trio.node(2), "t").len(), 2_000);
}

#[test]
fn copies_are_placed_where_there_are_members() {
    // Aim: a backup of three goes into one node and back, on discs or not. Method: copies on n1 and n2, on disc; restored on
    // an embedded n1, on a stranger, in memory; a member without copy cannot back it up and says who can.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("a");
    let ids: Vec<_> = (0..3).map(|at| trio.node(at).id()).collect();
    let copies = def("t").copy(ids[0], Storage::Disc).copy(ids[1], Storage::Disc);
    let table = trio.node(0).create_table(copies).expect("all are up");
    table.insert(&row(1, 1)).expect("written");
    let error = trio.node(2).backup(&file, &BackupOptions::new()).expect_err("no copy");
    assert!(matches!(error, Error::NoCopy { .. }) && error.to_string().contains("n1 or n2"), "{error}");
    trio.node(0).backup(&file, &BackupOptions::new()).expect("written");
    let restored = |node: &Node, options: &RestoreOptions| -> Result<Vec<TableCopy>, Error> {
        node.restore(&[&file], options)?;
        assert_eq!(rows(node, "t"), [row(1, 1).to_vec()]);
        Ok(on(node, "t").definition()?.copies)
    };
    let copy = |node: &Node, storage| TableCopy { node: node.id(), storage };
    let directory = tempfile::tempdir().expect("a directory");
    let n1 = Node::builder().name("n1").data_dir(directory.path()).build().expect("embedded");
    assert_eq!(restored(&n1, &RestoreOptions::new()), Ok(vec![copy(&n1, Storage::Disc)]));
    let stranger = Node::builder().name("stranger").build().expect("embedded");
    assert!(matches!(restored(&stranger, &RestoreOptions::new()), Err(Error::NoDataDirectory { .. })));
    let in_memory = RestoreOptions::new().storage(Storage::Ram);
    assert_eq!(restored(&stranger, &in_memory), Ok(vec![copy(&stranger, Storage::Ram)]));
}

#[test]
fn restored_sequences_are_heeded_by_all_members() {
    // Aim: behind a restore no member gives out what the backup had given out, nor what another one gives. Method: all three
    // have reserved numbers below the backup's; it is restored at one of them.
    let (from, trio) = (Node::builder().build().expect("alone"), Trio::start());
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("all");
    let last = from.sequence("orders").expect("made").next_block(5_000).expect("given").end - 1;
    from.backup(&file, &BackupOptions::new()).expect("written");
    let take = |at: usize| trio.node(at).sequence("orders").expect("there").next().expect("given");
    assert!((0..3).all(|at| take(at) < last), "they have reserved some, and more below");
    trio.node(1).restore(&[&file], &RestoreOptions::new()).expect("restored");
    let mut taken: Vec<i64> = (0..3).flat_map(|at| [take(at), take(at)]).collect();
    assert!(taken.iter().all(|number| *number > last), "{taken:?}");
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 6, "{taken:?}");
}
