//! A member that was away for a while and comes back with nearly all that the others have.

use std::sync::atomic::{AtomicBool, Ordering};

use hypermnesia::{Ack, DynTable, Kind, Node, Storage, TableDef, Type, Value};

use crate::trio::Trio;
use crate::until::until;

/// A hundred thousand; more by hand, with `HMN_REJOIN_ROWS=1000000`.
fn rows() -> i64 {
    std::env::var("HMN_REJOIN_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

/// Who is away.
const AWAY: usize = 2;

fn row(id: i64, n: i64) -> [Value; 3] {
    [Value::Int(id), Value::Int(n), Value::Bytes(vec![(id % 251) as u8; 80])]
}

fn create(trio: &Trio) {
    let nodes: Vec<Node> = (0..3).map(|at| trio.node(at).clone()).collect();
    let def = TableDef::builder("known").attribute("id", Type::Int).attribute("n", Type::Int);
    let def = def.attribute("filler", Type::Bytes).ack(Ack::Memory);
    let def = nodes.iter().fold(def, |def, node| def.copy(node.id(), Storage::Disc));
    nodes[0].create_table(def).expect("all members are up");
}

fn table(trio: &Trio, at: usize) -> DynTable {
    trio.node(at).dyn_table("known").expect("it was created")
}

fn write(trio: &Trio, ids: impl Iterator<Item = i64>, n: i64) {
    let rows: Vec<_> = ids.map(|id| row(id, n)).collect();
    for some in rows.chunks(2_000) {
        // Not while somebody leaves or joins.
        until(|| table(trio, 0).insert_many(some.iter().map(|row| &row[..])).is_ok());
    }
}

/// A hundredth is changed, a thousandth goes.
fn change(trio: &Trio) {
    write(trio, (0..rows()).step_by(100), 2);
    let table = table(trio, 0);
    for id in (50..rows()).step_by(1_000) {
        until(|| table.delete(&[Value::Int(id)]).is_ok());
    }
}

fn sorted(table: &DynTable) -> Vec<Vec<Value>> {
    let mut rows = table.to_vec().expect("served");
    rows.sort();
    rows
}

#[test]
fn a_member_that_comes_back_gets_only_what_changed() {
    // Aim: who knows nearly all of a table is not sent it once more, and has all of it in the end. Method: a table on the discs
    // of all; one member is away while a hundredth of the rows changes and a thousandth goes; the bytes that it got in copies, and
    // its rows.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    create(&trio);
    write(&trio, 0..rows(), 1);
    // It has heard of the last commit.
    until(|| table(&trio, AWAY).len().expect("served") == rows() as u64);
    trio.stop(AWAY);
    change(&trio);
    trio.restart(AWAY);
    trio.settle();
    let copied = trio.node(AWAY).status().copied_bytes;
    let bytes = trio.node(AWAY).status().tables.iter().map(|table| table.bytes).sum::<u64>();
    println!("{copied} bytes came over, of {bytes}");
    assert!(copied > 0 && copied * 20 < bytes, "{copied} bytes came over, of {bytes}");
    assert_eq!(trio.node(0).status().copied_bytes, 0, "nobody else copies anything");
    assert_eq!(table(&trio, AWAY).len().expect("served"), rows() as u64 * 999 / 1_000);
    assert!(sorted(&table(&trio, AWAY)) == sorted(&table(&trio, 0)), "rows differ");
}

/// Rows of a bag under one key, and a row that comes and goes: what is done to them depends on what is there.
const NOTES: &str = "notes";

fn notes(trio: &Trio, at: usize) -> DynTable {
    trio.node(at).dyn_table(NOTES).expect("it was created")
}

/// Changes rows of both tables until it is told to stop: some are changed again and again, some go, some come back.
fn churn(trio: &Trio, stop: &AtomicBool) -> u64 {
    let (rows, notes) = (table(trio, 0), notes(trio, 0));
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = done * 7 % 1_000;
        let both = trio.node(0).transaction(|tx| {
            match done % 3 {
                0 => drop(tx.delete(&rows, &[Value::Int(id)])?),
                _ => tx.insert(&rows, &row(id, done))?,
            }
            tx.insert(&notes, &[Value::Int(id % 10), Value::Int(done % 50)])?;
            tx.delete_object(&notes, &[Value::Int(id % 10), Value::Int((done + 25) % 50)]).map(drop)
        });
        both.expect("whoever is loading is no reason not to write");
        done += 1;
    }
    done as u64
}

#[test]
fn writes_go_on_while_a_member_loads_its_tables() {
    // Aim: a table is written to while a copy of it is made, and the copy is right. Method: two tables, one of them a bag, on the
    // discs of all; one member loses its disc and loads all rows anew while another one changes and deletes some of them all the time; it has
    // what the others have, also when it is started once more.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    create(&trio);
    let bag = TableDef::builder(NOTES).kind(Kind::Bag).attribute("id", Type::Int).attribute("n", Type::Int);
    let bag = (0..3).fold(bag.ack(Ack::Memory), |bag, at| bag.copy(trio.node(at).id(), Storage::Disc));
    trio.node(0).create_table(bag).expect("all members are up");
    write(&trio, 0..rows() / 2, 1);
    trio.stop(AWAY);
    until(|| notes(&trio, 0).insert(&[Value::Int(0), Value::Int(0)]).is_ok());

    trio.restart_empty(AWAY);
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let churning = scope.spawn(|| churn(&trio, &stop));
        until(|| trio.node(AWAY).is_ready());
        stop.store(true, Ordering::Relaxed);
        churning.join().expect("it goes on")
    });
    let meanwhile = trio.node(AWAY).status().copied_commits;
    println!("{done} transactions since it was started, {meanwhile} of them while it loaded");
    assert!(meanwhile > 0, "{done} transactions, none of them while it loaded");
    for again in [false, true] {
        if again {
            trio.crash(&[AWAY]);
            trio.restart(AWAY);
        }
        trio.settle();
        assert!(sorted(&table(&trio, AWAY)) == sorted(&table(&trio, 0)), "rows differ, again: {again}");
        assert_eq!(sorted(&notes(&trio, AWAY)), sorted(&notes(&trio, 0)), "notes differ, again: {again}");
    }
    assert_eq!(trio.node(AWAY).status().copied_commits, 0, "what it loaded was in its log");
}
