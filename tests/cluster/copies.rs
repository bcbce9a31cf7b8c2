//! Copies of tables that come, go and move while the tables are used.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use hypermnesia::{Ack, DynTable, Error, Node, Storage, TableDef, Type, Value};

use crate::trio::{LONG, Trio};
use crate::until::until;

const ROWS: i64 = 3_000;

fn create(trio: &Trio, name: &str, copies: &[(usize, Storage)]) {
    let def = TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int).ack(Ack::Memory);
    let def = copies
        .iter()
        .fold(def.index("by_n", ["n"]), |def, (at, storage)| def.copy(trio.node(*at).id(), *storage));
    let table = trio.node(copies[0].0).create_table(def).expect("all members are up");
    let rows: Vec<_> = (0..ROWS).map(|id| [Value::Int(id), Value::Int(0)]).collect();
    table.insert_many(rows.iter().map(|row| &row[..])).expect("all members are up");
}

fn table(node: &Node, name: &str) -> DynTable {
    node.dyn_table(name).expect("it is known everywhere")
}

fn sorted(node: &Node, name: &str) -> Vec<Vec<Value>> {
    let mut rows = table(node, name).to_vec().expect("served");
    rows.sort();
    rows
}

fn holders(node: &Node, name: &str) -> Vec<String> {
    let tables = node.status().tables;
    let found = tables.into_iter().find(|table| table.name == name).expect("it is known everywhere");
    let mut holders: Vec<_> = found.copies.into_iter().map(|(member, _)| member).collect();
    holders.sort();
    holders
}

/// Changes rows on a member until it is told to stop, and counts.
fn churn(node: &Node, name: &str, stop: &AtomicBool, count: &AtomicI64) {
    let table = table(node, name);
    while !stop.load(Ordering::Relaxed) {
        let done = count.load(Ordering::Relaxed);
        let id = done * 7 % ROWS;
        let changed = match done % 4 {
            0 => table.delete(&[Value::Int(id)]),
            _ => table.insert(&[Value::Int(id), Value::Int(done)]),
        };
        changed.expect("copies that come and go are no reason not to write");
        count.store(done + 1, Ordering::Relaxed);
    }
}

/// Does something while a member changes rows all the time.
fn meanwhile(node: &Node, name: &str, act: impl FnOnce()) {
    let (stop, count) = (AtomicBool::new(false), AtomicI64::new(0));
    let goes_on = || {
        let before = count.load(Ordering::Relaxed);
        until(|| count.load(Ordering::Relaxed) > before);
    };
    std::thread::scope(|scope| {
        let churning = scope.spawn(|| churn(node, name, &stop, &count));
        goes_on();
        act();
        goes_on();
        stop.store(true, Ordering::Relaxed);
        churning.join().expect("it goes on");
    });
}

#[test]
fn copies_come_go_and_move_while_rows_change() {
    // Aim: a table is wherever it is wanted, and loses and doubles nothing on its way. Method: a table on two members, written by a third
    // thread all the time; the third member gets a copy, the first one loses its own, then gets that of the second; after
    // each step who has a copy has the same rows, indexes included, and who has none says so.
    let trio = Trio::start();
    let [one, two, three] = [0, 1, 2].map(|at| trio.node(at));
    create(&trio, "moving", &[(0, Storage::Ram), (1, Storage::Ram)]);

    meanwhile(one, "moving", || one.add_copy("moving", "n3", Storage::Ram, LONG).expect("all are there"));
    assert_eq!(holders(two, "moving"), ["n1", "n2", "n3"]);
    let rows = sorted(one, "moving");
    assert!(rows == sorted(two, "moving") && rows == sorted(three, "moving"), "rows differ");
    let by_index = |node: &Node| {
        let found = table(node, "moving").index_read("by_n", &[Value::Int(0)]);
        found.expect("served").len()
    };
    assert_eq!(by_index(three), by_index(one));
    one.add_copy("moving", "n3", Storage::Ram, LONG).expect("it is there already");

    meanwhile(two, "moving", || two.drop_copy("moving", "n1", LONG).expect("two others are there"));
    assert_eq!(holders(three, "moving"), ["n2", "n3"]);
    assert!(sorted(two, "moving") == sorted(three, "moving"), "rows differ");
    // What it had goes, and is not taken for anything when it gets a copy again.
    let kept = || one.status().tables.iter().find(|table| table.name == "moving").map(|table| table.rows);
    until(|| kept() == Some(0));

    meanwhile(three, "moving", || three.move_copy("moving", "n2", "n1", LONG).expect("all are there"));
    assert_eq!(holders(one, "moving"), ["n1", "n3"]);
    assert!(sorted(one, "moving") == sorted(three, "moving"), "rows differ");
}

#[test]
fn a_copy_on_disc_is_there_after_a_restart_of_all() {
    // Aim: a copy that came is as good as one from the beginning. Method: a table on the disc of one member gets a copy on the disc of
    // another one, and one on disc alone; the first copy goes; all members end at once and start again.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    create(&trio, "kept", &[(0, Storage::Disc)]);
    meanwhile(trio.node(0), "kept", || {
        trio.node(0).add_copy("kept", "n2", Storage::Disc, LONG).expect("all are there");
        trio.node(0).add_copy("kept", "n3", Storage::DISC_ONLY, LONG).expect("all are there");
    });
    meanwhile(trio.node(1), "kept", || trio.node(1).drop_copy("kept", "n1", LONG).expect("two are left"));
    let rows = sorted(trio.node(1), "kept");
    assert!(rows == sorted(trio.node(2), "kept"), "rows differ");

    trio.crash(&[0, 1, 2]);
    (0..3).for_each(|at| trio.restart(at));
    trio.settle();
    assert!(rows == sorted(trio.node(1), "kept") && rows == sorted(trio.node(2), "kept"), "rows differ");
    assert_eq!(holders(trio.node(0), "kept"), ["n2", "n3"]);
    assert!(trio.node(2).status().came_back_empty.is_empty());
    // Back where it was on disc before, and nothing of before counts.
    trio.node(1).add_copy("kept", "n1", Storage::Disc, LONG).expect("all are there");
    assert!(rows == sorted(trio.node(0), "kept"), "rows differ");
}

#[test]
fn a_member_that_is_lost_while_it_gets_a_copy_has_it_when_it_is_back() {
    // Aim: wherever it is interrupted the others go on, and it is done in the end. Method: a member is given a copy by a thread that gives up
    // at once, and is stopped; the others write; it comes back.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    create(&trio, "given", &[(0, Storage::Disc), (1, Storage::Disc)]);
    for _ in 0..3 {
        // Done or not, as far as it comes in a moment.
        let _ = trio.node(0).add_copy("given", "n3", Storage::Disc, Duration::from_millis(60));
        trio.crash(&[2]);
        let table = table(trio.node(0), "given");
        until(|| table.insert(&[Value::Int(-1), Value::Int(1)]).is_ok());
        trio.restart(2);
        trio.settle();
    }
    trio.node(0).add_copy("given", "n3", Storage::Disc, LONG).expect("all are there");
    assert!(sorted(trio.node(2), "given") == sorted(trio.node(0), "given"), "rows differ");
}

#[test]
fn who_has_the_only_whole_copy_is_not_removed_while_another_one_is_made() {
    // Aim: a copy that a definition names and nobody has yet saves nothing. Method: a member is given a copy by one thread, and put in
    // the place of the one that it is made from by another one, as soon as the definition names it.
    let trio = Trio::start();
    create(&trio, "only", &[(0, Storage::Ram)]);
    let two = trio.node(1);
    std::thread::scope(|scope| {
        scope.spawn(|| two.add_copy("only", "n3", Storage::Ram, LONG));
        until(|| holders(two, "only").len() == 2);
        until(|| two.replace_member("n1", "n3", LONG).is_ok());
    });
    assert_eq!(holders(two, "only"), ["n3"]);
    assert_eq!(sorted(trio.node(2), "only").len() as i64, ROWS);
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    // Aim: nobody loses a table by a slip. Method: the last copy, members and tables that are not there, a copy that is there in another way, a
    // copy on disc where there is none, a local table.
    let mut trio = Trio::start();
    create(&trio, "only", &[(0, Storage::Ram)]);
    let one = trio.node(0);
    let refused = |result: hypermnesia::Result<()>| result.expect_err("it cannot be done").to_string();
    assert!(matches!(one.drop_copy("only", "n1", LONG), Err(Error::LastCopy { .. })));
    assert!(refused(one.drop_copy("only", "n2", LONG)).contains("has no copy on n2"));
    assert!(matches!(one.drop_copy("only", "n9", LONG), Err(Error::NoSuchMember { .. })));
    assert!(matches!(one.add_copy("none", "n2", Storage::Ram, LONG), Err(Error::NoSuchTable { .. })));
    assert!(refused(one.add_copy("only", "n1", Storage::Disc, LONG)).contains("in another way"));
    assert!(refused(one.move_copy("only", "n2", "n3", LONG)).contains("has no copy on n2"));
    let on_disc = one.add_copy("only", "n2", Storage::Disc, LONG);
    assert!(matches!(on_disc, Err(Error::Unavailable { .. })), "{on_disc:?}");
    let local = TableDef::builder("own").attribute("id", Type::Int).local();
    one.create_table(local).expect("all members are up");
    assert!(refused(one.add_copy("own", "n2", Storage::Ram, LONG)).contains("is local"));
    assert_eq!(holders(one, "only"), ["n1"]);
    // The other copy is on a member that is away: the one that is there is the last.
    one.add_copy("only", "n2", Storage::Ram, LONG).expect("all are there");
    trio.stop(1);
    let one = trio.node(0);
    until(|| table(one, "only").insert(&[Value::Int(1), Value::Int(1)]).is_ok());
    assert!(matches!(one.drop_copy("only", "n1", LONG), Err(Error::LastCopy { .. })));
    let away = one.add_copy("only", "n2", Storage::Ram, LONG);
    assert!(matches!(away, Err(Error::Unavailable { .. })), "{away:?}");
}
