//! Clusters whose members come and go while they serve.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use hypermnesia::{DynTable, Error, Node, NodeBuilder, Storage, TableDef, Type, Value};

use crate::trio::{LONG, Trio};
use crate::until::until;

fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}

/// A member to be, with a way to be reached.
fn coming(name: &str) -> NodeBuilder {
    Node::builder().name(name).peer_listener(free())
}

fn address(node: &Node) -> String {
    node.peer_addr().expect("it listens for members").to_string()
}

fn on_disc(builder: NodeBuilder, home: &Path) -> NodeBuilder {
    builder.data_dir(home)
}

fn table(node: &Node, name: &str) -> DynTable {
    node.open_table(TableDef::builder(name).attribute("id", Type::Int)).expect("it is there or made")
}

fn rows(node: &Node, name: &str) -> Vec<Value> {
    let table = node.dyn_table(name).expect("it is known here");
    let mut rows: Vec<_> = table.to_vec().expect("served").into_iter().map(|row| row[0].clone()).collect();
    rows.sort();
    rows
}

/// Until this one is a member of the epoch that all others are in, and they serve.
fn are_together(nodes: &[&Node]) {
    for node in nodes {
        node.wait_for_members(LONG).unwrap_or_else(|error| panic!("{}: {error}", node.name()));
    }
}

#[test]
fn a_fourth_member_joins_while_the_others_write() {
    // Aim: a cluster grows while it serves, and the new member is one like the others. Method: rows are written all the while a
    // fourth one asks a member that may not lead; tables made later are on it too; it is stopped and comes back.
    let trio = Trio::start();
    let before = table(trio.node(0), "before");
    let home = tempfile::tempdir().expect("a directory");
    let whom = trio.addresses()[1].1.clone();
    let (four, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            until(|| {
                written += i64::from(before.insert(&[Value::Int(written)]).is_ok());
                trio.node(0).status().members.len() == 4 && written > 200
            });
            written
        });
        let four = on_disc(coming("n4"), home.path()).join([whom.as_str()]).build().expect("it is let in");
        (four, writer.join().expect("it writes"))
    });

    are_together(&[trio.node(0), trio.node(1), trio.node(2), &four]);
    assert_eq!(rows(trio.node(2), "before").len(), written as usize);
    // It has the schema, and no copy of what was there: it asks the others for that.
    assert_eq!(rows(&four, "before"), rows(trio.node(0), "before"));
    let def = TableDef::builder("after").attribute("id", Type::Int);
    four.create_table(def).expect("all are there").insert(&[Value::Int(7)]).expect("written");
    assert_eq!(rows(trio.node(0), "after"), [Value::Int(7)]);
    trio.node(1).dyn_table("after").expect("known").insert(&[Value::Int(8)]).expect("written");
    assert_eq!(rows(&four, "after"), [Value::Int(7), Value::Int(8)]);
    let leader = || four.status().control.and_then(|control| control.leader);
    until(|| leader().is_some() && four.status().control.is_some_and(|control| control.voters.len() == 4));
    // It comes back with what it was started with, at another port.
    let was = address(&four);
    four.close();
    let written = |n: i64| trio.node(0).dyn_table("after").expect("known").insert(&[Value::Int(n)]);
    until(|| written(9).is_ok());
    let four = on_disc(coming("n4"), home.path()).join([whom]).build().expect("it is a member");
    are_together(&[trio.node(0), trio.node(1), trio.node(2), &four]);
    assert_ne!(was, address(&four));
    assert_eq!(rows(&four, "after"), [7, 8, 9].map(Value::Int));
}

#[test]
fn a_cluster_of_one_grows_to_three() {
    // Aim: a cluster begins with one command and grows by one more for each member, in memory and on disc; what the first one
    // had is kept. Method: one, with rows; two more; the first one is stopped, then all, then they start again.
    let homes = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let one = on_disc(coming("n1"), homes[0].path()).build().expect("a cluster of one");
    one.wait_for_tables(&[], LONG).expect("it serves alone");
    let def = TableDef::builder("t").attribute("id", Type::Int).copy(one.id(), Storage::Disc);
    one.create_table(def).expect("new").insert(&[Value::Int(1)]).expect("written");
    let first = address(&one);
    let joined = |at: usize, whom: &str| {
        on_disc(coming(&format!("n{}", at + 1)), homes[at].path()).join([whom]).build().expect("it is let in")
    };
    let two = joined(1, &first);
    are_together(&[&one, &two]);
    let three = joined(2, &address(&two));
    are_together(&[&one, &two, &three]);
    table(&three, "u").insert(&[Value::Int(2)]).expect("written");
    assert_eq!((rows(&one, "t"), rows(&one, "u")), (vec![Value::Int(1)], vec![Value::Int(2)]));
    // The other two are a majority now.
    until(|| two.status().control.is_some_and(|control| control.voters.len() == 3));
    one.close();
    let u = two.dyn_table("u").expect("known");
    until(|| u.insert(&[Value::Int(3)]).is_ok());
    assert_eq!(rows(&three, "u"), [2, 3].map(Value::Int));
}

#[test]
fn who_cannot_join_is_told_why() {
    // Aim: bad ways to join. Method: another cluster's name, a name whose place is nowhere, a list beside it.
    let home = tempfile::tempdir().expect("a directory");
    let one = on_disc(coming("n1"), home.path()).cluster("here").build().expect("a cluster of one");
    one.wait_for_tables(&[], LONG).expect("it serves alone");
    let refused = |builder: NodeBuilder| match builder.build() {
        Err(Error::Config(why)) => why,
        other => panic!("{:?}", other.map(drop)),
    };
    let why = refused(coming("n2").cluster("there").join([address(&one)]));
    assert!(why.contains("\"here\"") && why.contains("\"there\""), "{why}");
    let lease = Duration::from_secs(2);
    let why = refused(coming("n2").cluster("here").lease(lease).join([address(&one)]));
    assert!(why.contains("2000 ms") && why.contains("500 ms"), "{why}");
    let why = refused(coming("n2").cluster("here"));
    assert!(why.contains("data directory"), "it would begin another one each time: {why}");
    let why = refused(Node::builder().name("n2").join([address(&one)]));
    assert!(why.contains("address"), "{why}");
    let why =
        refused(coming("n2").member("n2", "127.0.0.1:1").member("n1", address(&one)).join([address(&one)]));
    assert!(why.contains("either"), "{why}");
    assert_eq!(one.status().members.len(), 1);
}

#[test]
fn a_member_finds_the_others_by_a_name_and_passes_over_those_who_refuse() {
    // Aim: the addresses of a name suggest whom to ask, and somebody else's cluster at one of them keeps nobody out. Method: two clusters
    // of one; a member asks the wrong one, by its address, before the right one, by its name.
    let homes = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let wrong = on_disc(coming("n1"), homes[0].path()).cluster("wrong").build().expect("a cluster of one");
    let right = on_disc(coming("n1"), homes[1].path()).cluster("right").build().expect("a cluster of one");
    let by_name = format!("dns:localhost:{}", right.peer_addr().expect("it listens for members").port());
    let two = coming("n2").cluster("right").join([address(&wrong), by_name]).build().expect("it is let in");
    are_together(&[&right, &two]);
    assert_eq!(wrong.status().members.len(), 1);
}

#[test]
fn a_drained_member_is_not_missed_and_comes_back() {
    // Aim: a member leaves in good order, and nobody notices. Method: writers on the others all the while; it is drained, stopped,
    // started and let back in, by a member that may not lead; it has everything then.
    let mut trio = Trio::start();
    let t = table(trio.node(0), "t");
    let drained = |trio: &Trio, at: usize| trio.node(at).status().members.iter().any(|one| one.draining);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..)
                .map_while(|id| (!drained(&trio, 0) || id < 100).then(|| t.insert(&[Value::Int(id)])))
                .count()
        });
        trio.node(1).drain_member("n3", LONG).expect("the others go on");
        assert!(writer.join().expect("no panic") >= 100);
    });
    assert!(
        matches!(trio.node(2).dyn_table("t").expect("known").to_vec(), Err(Error::NotReady { waits_for }) if waits_for.contains("drained"))
    );
    assert!(trio.node(1).status().members.iter().all(|one| one.in_epoch != one.draining));
    t.insert(&[Value::Int(-1)]).expect("it is not missed");
    trio.stop(2);
    t.insert(&[Value::Int(-2)]).expect("it is not missed at all");
    trio.restart(2);
    until(|| trio.node(2).status().members.iter().all(|one| one.connected));
    trio.node(0).undrain_member("n3", LONG).expect("it is known");
    until(|| trio.node(0).status().members.iter().all(|one| one.in_epoch && one.ready));
    assert_eq!(rows(trio.node(2), "t"), rows(trio.node(0), "t"));
    let refused = trio.node(0).drain_member("n1", LONG);
    assert!(matches!(&refused, Err(Error::Config(why)) if why.contains("another")), "{refused:?}");
    let refused = trio.node(0).drain_member("n9", LONG);
    assert!(
        matches!(&refused, Err(Error::NoSuchMember { members, .. }) if members.contains("n3")),
        "{refused:?}"
    );
}

#[test]
fn members_are_removed_dead_or_alive() {
    // Aim: a member that is gone is no member, whatever became of it. Method: of three one has the only copy of a table and is kept;
    // a dead one is removed, one that lives is, and the last one is alone with all rows; the first comes back as a new one.
    let mut trio = Trio::start();
    let t = table(trio.node(0), "t");
    t.insert(&[Value::Int(1)]).expect("written");
    let only = TableDef::builder("only").attribute("id", Type::Int).copy(trio.node(1).id(), Storage::Ram);
    trio.node(0).create_table(only).expect("new");
    let refused = trio.node(0).remove_member("n2", LONG);
    assert!(matches!(&refused, Err(Error::LastCopy { tables, .. }) if tables == "only"), "{refused:?}");
    assert!(trio.node(0).status().members.iter().all(|one| !one.draining), "nothing changed");
    trio.node(0).drop_table("only").expect("it is there");
    trio.stop(2);
    until(|| trio.node(0).remove_member("n3", LONG).is_ok());
    assert_eq!(trio.node(0).status().members.len(), 2);
    until(|| trio.node(0).status().control.is_some_and(|control| control.voters == ["n1", "n2"]));
    assert_eq!(t.definition().expect("known").copies.len(), 2);
    trio.node(0).remove_member("n2", LONG).expect("it is there");
    until(|| matches!(trio.node(1).snapshot().map(drop), Err(Error::Removed { .. })));
    let mine = trio.node(0);
    t.insert(&[Value::Int(2)]).expect("it goes on alone");
    assert_eq!(rows(mine, "t"), [1, 2].map(Value::Int));
    until(|| mine.status().control.is_some_and(|control| control.voters == ["n1"]));
    let again = coming("n3").join([address(mine)]).build().expect("it is let in");
    are_together(&[mine, &again]);
    assert_eq!(again.tables().len(), 1);
    // It has read all that was agreed on while it was a member the first time.
    until(|| again.status().control.is_some_and(|control| control.voters.len() == 2));
    assert!(again.is_ready());
}

#[test]
fn who_was_away_hears_who_came_and_who_was_removed() {
    // Aim: a member that knows a list of before comes back by its former command line, and one that was removed does not, whatever is
    // on its disc. Method: three on disc; one is down while a fourth joins; the fourth is removed dead, and its directory started; all
    // are stopped and start again with the list of before.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let def = TableDef::builder("t").attribute("id", Type::Int);
    let def = (0..3).fold(def, |def, at| def.copy(trio.node(at).id(), Storage::Disc));
    trio.node(0).create_table(def).expect("new").insert(&[Value::Int(1)]).expect("written");
    let home = tempfile::tempdir().expect("a directory");
    trio.stop(2);
    let whom = trio.addresses()[0].1.clone();
    let four = || on_disc(coming("n4"), home.path()).join([whom.as_str()]).build().expect("it starts");
    let first = four();
    until(|| first.is_ready());
    trio.restart(2);
    are_together(&[trio.node(0), trio.node(1), trio.node(2), &first]);
    first.close();
    until(|| trio.node(0).remove_member("n4", LONG).is_ok());
    let again = four();
    until(|| matches!(again.snapshot().map(drop), Err(Error::Removed { .. })));
    assert_eq!(trio.node(0).status().members.len(), 3, "it is not taken in by that");
    again.close();
    trio.node(1).remove_member("n3", LONG).expect("it is there");
    until(|| trio.node(0).status().members.len() == 2);
    (0..3).for_each(|at| trio.stop(at));
    (0..2).for_each(|at| trio.restart(at));
    let left = [trio.node(0), trio.node(1)];
    until(|| left.iter().all(|node| node.is_ready() && node.status().members.len() == 2));
    table(trio.node(1), "t").insert(&[Value::Int(2)]).expect("written");
    assert_eq!(rows(trio.node(0), "t"), [1, 2].map(Value::Int));
}
