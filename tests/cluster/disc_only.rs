//! Tables on disc alone in a cluster and in a node of its own: as other tables, through restarts and catching up.

use hypermnesia::{Ack, DiscOptions, DynTable, Kind, Node, Span, Storage, TableDef, Type, Value};

use crate::trio::Trio;

/// The smallest cache there may be: a small part of what these tests write.
const STORAGE: Storage = Storage::DiscOnly { cache_bytes: 1 << 20 };

fn row(id: i64, n: i64) -> [Value; 3] {
    [Value::Int(id), Value::Int(n), Value::Bytes(vec![n as u8; 1_000])]
}

fn large(node: &Node, name: &str, nodes: &[Node]) -> DynTable {
    let definition = TableDef::builder(name).kind(Kind::OrderedSet).attribute("id", Type::Int);
    let definition = definition.attribute("n", Type::Int).attribute("filler", Type::Bytes).ack(Ack::Logged);
    let definition = nodes.iter().fold(definition, |definition, node| definition.copy(node.id(), STORAGE));
    node.create_table(definition.index("by_n", ["n"])).expect("all members are up")
}

#[test]
fn an_embedded_node_keeps_a_table_larger_than_its_cache() {
    // Aim: everything a table does works when most of its rows are on disc only, before and after a restart, and memory keeps
    // no more than the cache once the image has followed. Method: four thousand rows of a kilobyte through a cache of one
    // mebibyte, with checkpoints as soon as there is something to take.
    let home = tempfile::tempdir().expect("a directory");
    let small = DiscOptions::new().segment_bytes(64 << 10).checkpoint_bytes(64 << 10);
    let build = || Node::builder().data_dir(home.path()).disc_options(small).build();
    let node = build().expect("free");
    let t = large(&node, "large", std::slice::from_ref(&node));
    for from in (0..4_000).step_by(100) {
        let rows: Vec<_> = (from..from + 100).map(|id| row(id, id % 50)).collect();
        t.insert_many(rows.iter().map(|row| &row[..])).expect("written");
    }
    t.delete(&[Value::Int(17)]).expect("deleted");
    assert_eq!(t.len().expect("read"), 3_999);
    drop((t, node));
    for _ in 0..2 {
        let node = build().expect("free again");
        let t = node.dyn_table("large").expect("its definition is kept");
        assert_eq!(t.len().expect("read"), 3_999);
        for id in (0..4_000).step_by(7) {
            let wanted = (id != 17).then(|| row(id, id % 50).to_vec());
            assert_eq!(t.get(&[Value::Int(id)]).expect("read"), wanted, "{id}");
        }
        assert_eq!(t.index_read("by_n", &[Value::Int(3)]).expect("read").len(), 80);
        let ids: Vec<_> = t.range(&Span::all().backward().limit(3)).expect("read");
        assert_eq!(
            ids.iter().map(|row| row[0].clone()).collect::<Vec<_>>(),
            [3_999, 3_998, 3_997].map(Value::Int)
        );
        let used = t.statistics().expect("served");
        assert!(used.image_reads > 400 && used.cache_bytes <= 1 << 20, "{used:?}");
        let moved = node.transaction(|tx| {
            let mut one = tx.get(&t, &[Value::Int(1)])?.expect("it is there");
            one[1] = Value::Int(3);
            tx.insert(&t, &one)?;
            tx.index_read(&t, "by_n", &[Value::Int(3)]).map(|rows| rows.len())
        });
        assert_eq!(moved.expect("nothing is in the way"), 81);
        t.insert(&row(1, 1)).expect("written");
        let counted = node.query("SELECT count(*) FROM large WHERE n < 10", &[]).expect("read");
        assert_eq!(counted.rows, [[Value::Int(800)]]);
    }
}

#[test]
fn a_node_that_met_damage_leaves_the_image_as_it_is() {
    // Aim: what a node has in its log when a row on disc turns out to be damaged does not go into that image any more, not at
    // its end either. Method: a byte of a row changed between two lives; in the second one rows are written, full segments of
    // them, and then the row is read.
    let home = tempfile::tempdir().expect("a directory");
    let rare = DiscOptions::new().segment_bytes(64 << 10).checkpoint_bytes(1 << 30);
    let build = || Node::builder().data_dir(home.path()).disc_options(rare).build();
    let fill = |node: &Node, ids: std::ops::Range<i64>| {
        let t = node.dyn_table("large").expect("there");
        ids.for_each(|id| t.insert(&row(id, id % 200)).expect("written"));
    };
    let node = build().expect("free");
    // Without an index: it is not read at the start.
    let definition = TableDef::builder("large").attribute("id", Type::Int).attribute("n", Type::Int);
    let definition = definition.attribute("filler", Type::Bytes).copy(node.id(), STORAGE);
    drop(node.create_table(definition).expect("new"));
    fill(&node, 0..300);
    drop(node);
    let keys = || {
        let tables = hypermnesia::check_directory(home.path()).expect("the pages are well").into_iter();
        tables.filter(|table| table.name.as_deref() == Some("large")).map(|table| table.keys).sum::<u64>()
    };
    let before = keys();
    let image = home.path().join("image.redb");
    let mut bytes = std::fs::read(&image).expect("it is there");
    let filler = [7; 1_000];
    let at = bytes.windows(1_000).position(|part| part == filler).expect("row 7 is in the image");
    bytes[at + 500] ^= 1;
    std::fs::write(&image, bytes).expect("written");
    let node = build().expect("it is not read at the start");
    fill(&node, 1_000..1_300);
    let t = node.dyn_table("large").expect("there");
    let read = t.get(&[Value::Int(7)]).expect_err("it is damaged");
    assert!(matches!(read, hypermnesia::Error::Damaged { .. }), "{read}");
    drop((t, node));
    assert_eq!(keys(), before);
}

#[test]
fn an_index_over_damaged_rows_is_refused() {
    // Aim: whoever adds an index is told of damage before the index is there. Method: a byte of a row changed between two lives;
    // an index by the library, and by a statement.
    let home = tempfile::tempdir().expect("a directory");
    let rare = DiscOptions::new().segment_bytes(64 << 10);
    let build = || Node::builder().data_dir(home.path()).disc_options(rare).build().expect("it starts");
    let node = build();
    let definition = TableDef::builder("large").attribute("id", Type::Int).attribute("n", Type::Int);
    let definition = definition.attribute("filler", Type::Bytes).copy(node.id(), STORAGE);
    let t = node.create_table(definition).expect("new");
    (0..300).for_each(|id| t.insert(&row(id, id % 200)).expect("written"));
    drop((t, node));
    let image = home.path().join("image.redb");
    let whole = std::fs::read(&image).expect("it is there");
    for by_statement in [false, true] {
        let mut bytes = whole.clone();
        let at = bytes.windows(1_000).position(|part| part == [7; 1_000]).expect("row 7 is in the image");
        bytes[at + 500] ^= 1;
        std::fs::write(&image, bytes).expect("written");
        let node = build();
        let refused = match by_statement {
            false => node.add_index("large", "by_n", &["n"], false).expect_err("it is damaged"),
            true => node.query("CREATE INDEX by_n ON large (n)", &[]).map(drop).expect_err("it is damaged"),
        };
        assert!(refused.to_string().contains("image.redb is damaged at byte"), "{refused}");
        drop(node);
        std::fs::write(&image, &whole).expect("written");
        let node = build();
        assert!(node.dyn_table("large").expect("there").definition().expect("there").indexes.is_empty());
    }
}

#[test]
fn three_members_agree_on_a_table_on_disc_alone() {
    // Aim: commits from all members, a whole restart, a member that comes back with its directory of before and one that comes
    // back empty. Method: write from all, crash one in the middle, start it, compare by rows; stop all, start all; a copy of
    // one directory, more rows, and that member on the copy; the same with no directory.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let nodes: Vec<Node> = (0..3).map(|at| trio.node(at).clone()).collect();
    large(trio.node(0), "large", &nodes);
    drop(nodes);
    let write = |trio: &Trio, from: i64| {
        for id in from..from + 300 {
            let table = trio.node(id as usize % 3).dyn_table("large").expect("there");
            table.insert(&row(id, id % 10)).expect("written");
        }
    };
    let same = |trio: &Trio, most: i64| {
        for at in 0..3 {
            let table = trio.node(at).dyn_table("large").expect("there");
            assert_eq!(table.len().expect("served"), most as u64, "node {at}");
            let rows = table.to_vec().expect("served");
            assert_eq!(rows, (0..most).map(|id| row(id, id % 10).to_vec()).collect::<Vec<_>>(), "node {at}");
            assert_eq!(table.index_read("by_n", &[Value::Int(4)]).expect("served").len() as i64, most / 10);
        }
    };
    write(&trio, 0);
    trio.crash(&[1]);
    trio.restart(1);
    trio.settle();
    same(&trio, 300);
    write(&trio, 300);
    trio.crash(&[0, 1, 2]);
    (0..3).for_each(|at| trio.restart(at));
    trio.settle();
    same(&trio, 600);
    write(&trio, 600);
    (0..3).for_each(|at| trio.stop(at));
    let older = trio.saved(1);
    (0..3).for_each(|at| trio.restart(at));
    trio.settle();
    same(&trio, 900);
    write(&trio, 900);
    trio.stop(1);
    trio.restart_on(1, older);
    trio.settle();
    same(&trio, 1_200);
    trio.stop(2);
    trio.restart_empty(2);
    trio.settle();
    same(&trio, 1_200);
    write(&trio, 1_200);
    (0..3).for_each(|at| trio.stop(at));
    (0..3).for_each(|at| trio.restart(at));
    trio.settle();
    same(&trio, 1_500);
}
