//! Tables whose rows are each member's own, and rows with deadlines on all.

use std::time::{Duration, Instant, UNIX_EPOCH};

use hypermnesia::{DynTable, Error, Lifetime, Storage, TableBuilder, TableDef, Type, Value};

use crate::trio::{LONG, Trio};

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn def(name: &str) -> TableBuilder {
    TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int)
}

fn on(trio: &Trio, at: usize, name: &str) -> DynTable {
    trio.node(at).dyn_table(name).expect("created")
}

#[test]
fn rows_of_a_local_table_never_leave_their_member() {
    // Aim: private tables, also in transactions with shared ones and while others are away. Method: write on each, look on
    // each, with a member down too.
    let mut trio = Trio::start();
    trio.node(0).create_table(def("mine").local().unique_index("by_n", ["n"])).expect("all are up");
    trio.node(0).create_table(def("ours")).expect("all are up");
    for at in 0..3 {
        let (mine, ours) = (on(&trio, at, "mine"), on(&trio, at, "ours"));
        let n = at as i64;
        trio.node(at)
            .transaction(|tx| {
                tx.insert(&mine, &row(1, n))?;
                tx.insert(&ours, &row(n, n))
            })
            .expect("committed");
    }
    for at in 0..3 {
        assert_eq!(on(&trio, at, "mine").to_vec().expect("read"), [row(1, at as i64).to_vec()]);
        assert_eq!(on(&trio, at, "ours").len(), Ok(3));
    }
    trio.stop(2);
    on(&trio, 0, "mine").insert(&row(2, 5)).expect("nobody else has a say");
    while let Err(error) = on(&trio, 0, "ours").insert(&row(9, 9)) {
        // It was on its way when the member was lost.
        assert!(matches!(error, Error::Unknown { .. }), "{error}");
    }
    trio.restart(2);
    trio.settle();
    assert_eq!(on(&trio, 2, "mine").len(), Ok(0), "it was in that process's memory alone");
    assert_eq!(on(&trio, 0, "mine").len(), Ok(2), "and this one was not touched");
    assert_eq!(on(&trio, 2, "ours").len(), Ok(4));
}

#[test]
fn a_local_table_on_disc_is_found_again() {
    // Aim: private rows in the log of their member. Method: three members with directories, all ended and started.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let copies = (0..3).fold(def("mine").local(), |def, at| def.copy(trio.node(at).id(), Storage::Disc));
    trio.node(0).create_table(copies).expect("all are up");
    (0..3).for_each(|at| on(&trio, at, "mine").insert(&row(1, at as i64)).expect("written"));
    trio.crash(&[0, 1, 2]);
    (0..3).for_each(|at| trio.restart(at));
    trio.settle();
    for at in 0..3 {
        assert_eq!(on(&trio, at, "mine").to_vec().expect("read"), [row(1, at as i64).to_vec()]);
    }
}

#[test]
fn expired_rows_go_on_all_copies() {
    // Aim: one member removes for all, and copies stay equal. Method: rows past their deadline and rows that live, written
    // on different members; wait until all have forgotten the former.
    let trio = Trio::start();
    trio.node(0).create_table(def("t")).expect("all are up");
    for at in 0..3 {
        let t = on(&trio, at, "t");
        t.insert_with(&row(at as i64, 0), Lifetime::Until(UNIX_EPOCH)).expect("written");
        t.insert_with(&row(10 + at as i64, 0), Lifetime::For(Duration::from_secs(3600))).expect("written");
        assert_eq!(t.get(&[Value::Int(at as i64)]).expect("read"), None);
    }
    let end = Instant::now() + LONG;
    while (0..3).any(|at| on(&trio, at, "t").len() != Ok(3)) {
        assert!(Instant::now() < end, "they never went");
        std::thread::yield_now();
    }
}
