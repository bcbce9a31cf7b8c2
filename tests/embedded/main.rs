//! One node without a network: what tables and transactions promise. One file per group of promises of `docs/contract.md`.

mod alter;
mod backup_chains;
mod backup_sequences;
mod backups;
mod caches;
mod callers;
mod directory;
mod evolution;
#[path = "../shared/hard_stop.rs"]
mod hard_stop;
mod isolation;
mod lifetimes;
mod listen;
mod memory;
mod orders;
mod patterns;
mod readers;
mod refusals;
mod requests;
mod rows;
mod sequences;
mod shadows;
mod snapshots;
mod tables;
#[path = "../shared/until.rs"]
mod until;

use hypermnesia::{DynTable, Kind, Node, TableDef, Type, Value};

fn node() -> Node {
    Node::builder().build().expect("an embedded node needs nothing")
}

/// A table `t` of (id, n) with an index over n.
fn table(node: &Node, kind: Kind) -> DynTable {
    let definition = TableDef::builder("t").kind(kind).attribute("id", Type::Int).attribute("n", Type::Int);
    node.create_table(definition.index("by_n", ["n"])).expect("it is new")
}

fn row(id: i64, n: i64) -> [Value; 2] {
    [Value::Int(id), Value::Int(n)]
}

fn key(id: i64) -> [Value; 1] {
    [Value::Int(id)]
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort();
    rows
}
