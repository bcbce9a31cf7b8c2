//! A node whose disc fails once, or for good: what its callers are told, and what the next one finds.

use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::disc::{Crash, Fault, FaultKind, MemDisc};

use super::until::until;
use crate::{Ack, DiscOptions, Error, Node, Storage, TableDef, TxOptions, Type, Value};

fn node(disc: &MemDisc) -> Node {
    let small = DiscOptions::new().segment_bytes(64 << 10);
    let plan = Node::builder().disc_options(small).check().expect("a good configuration");
    Node::start_on(Some(Arc::new(disc.clone())), plan).expect("nothing fails yet")
}

fn row(id: i64) -> [Value; 1] {
    [Value::Int(id)]
}

/// Rows that are written before the disc fails, and tries behind that.
const BEFORE: i64 = 10;
const TRIES: i64 = 3;

/// What a disc that fails some operations from now leaves, and how many rows were acknowledged.
fn failed(ack: Ack, kind: FaultKind, within: u64) -> (MemDisc, i64) {
    let disc = MemDisc::new();
    let node = node(&disc);
    let def = TableDef::builder("t").attribute("id", Type::Int).copy(node.id(), Storage::Disc).ack(ack);
    let rows = node.create_table(def).expect("new");
    (0..BEFORE).for_each(|id| rows.insert(&row(id)).expect("written"));
    // A segment that cannot be made ahead hurts nobody, so that is done before.
    let writer = &node.core.disc.as_ref().expect("it has one").writer;
    until(|| writer.lock().spare_job().is_none());
    disc.set_fault(Some(Fault { at: disc.operations() + within, kind }));
    let soon = TxOptions::new().deadline(Duration::from_secs(5));
    let mut acknowledged = BEFORE;
    let (mut id, mut refused) = (BEFORE, 0);
    while refused < TRIES {
        match node.transaction_with(&soon, |tx| tx.insert(&rows, &row(id))) {
            Ok(()) => {
                assert_eq!(refused, 0, "{ack:?}, {kind:?}: acknowledged after a failure");
                acknowledged += 1;
                assert!(acknowledged < 10 * BEFORE, "{ack:?}, {kind:?}: nothing failed");
            }
            // It is on disc or not: nobody knows.
            Err(Error::Unknown { .. }) => refused += 1,
            Err(Error::Disc(why)) => {
                assert!(why.contains("/memory/log-") || why.contains("refused"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{ack:?}, {kind:?}: {other}"),
        }
        id += 1;
    }
    until(|| !node.status().ready);
    let read = rows.get(&row(0));
    assert!(matches!(read, Err(Error::Disc(_))), "{ack:?}, {kind:?}: it serves on: {read:?}");
    (disc, acknowledged)
}

#[test]
fn a_failing_disc_ends_the_node_and_takes_nothing_acknowledged() {
    // Aim: faults row 12: nothing is acknowledged behind a failed write or sync, also when the next one would work; callers
    // hear the reason or that the outcome is unknown; the node serves no longer; the directory opens again by itself. Method:
    // the next operations fail one by one, once and for good, at both levels; reopened as the level promises.
    for (ack, crash) in
        [(Ack::Logged, Crash::Kill), (Ack::Synced, Crash::Kill), (Ack::Synced, Crash::DropUnsynced)]
    {
        for kind in [FaultKind::ErrorOnce, FaultKind::ErrorForGood] {
            for within in 0..3 {
                let (disc, acknowledged) = failed(ack, kind, within);
                let again = node(&disc.crash(crash));
                let rows = again.dyn_table("t").expect("kept").to_vec().expect("read");
                let there = |id: i64| rows.contains(&row(id).to_vec());
                let what = format!("{ack:?}, {kind:?} within {within}, {crash:?}");
                assert!((0..acknowledged).all(there), "{what}: {acknowledged} were acknowledged, {rows:?}");
                assert!(rows.len() as i64 <= acknowledged + TRIES, "{what}: {rows:?}");
                again.dyn_table("t").expect("kept").insert(&row(1_000)).expect("it goes on");
            }
        }
    }
}
