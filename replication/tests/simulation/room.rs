//! The tables of the simulation and what its transactions do with their rows. Lists by number; accounts with a balance.

use std::collections::BTreeMap;

use hypermnesia_replication::Member;
use hypermnesia_store::{
    Blocked, Body, Key, NodeId, Op, ReadNote, Row, SchemaVersion, Storage, Store, StoreConfig, TableDef,
    TableId, Timestamp, Type, Value, ValueRef, Work, Write, define,
};

use crate::client::Which;

const LISTS: TableId = TableId(2);
const ACCOUNTS: TableId = TableId(3);

/// A store with both tables, as every member of a new cluster has it. Accounts have copies on all members, lists on the
/// first three.
pub(crate) fn open(_node: NodeId, durable: bool, members: &[Member], wall_ms: u64) -> Store {
    let store = Store::new(StoreConfig { wall_ms });
    let storage = if durable { Storage::Disc } else { Storage::Ram };
    let table = |id: TableId, name: &str, second: &str, ty: Type, copies: usize| {
        let mut builder = TableDef::builder(name).attribute("id", Type::Int).attribute(second, ty);
        for member in members.iter().take(copies) {
            builder = builder.copy(member.node, storage);
        }
        let mut def = builder.build().expect("a good definition");
        def.id = id;
        def
    };
    let defs = [
        define(&table(LISTS, "lists", "items", Type::List, 3)),
        define(&table(ACCOUNTS, "accounts", "balance", Type::Int, members.len())),
    ];
    store.load_writes(Timestamp(1), &defs).expect("an empty store");
    store
}

fn key(number: u64) -> Key {
    Key::encode(&[Value::Int(number as i64)]).expect("a short key")
}

fn table(which: Which) -> TableId {
    match which {
        Which::Lists => LISTS,
        Which::Accounts => ACCOUNTS,
    }
}

pub(crate) fn read(
    store: &Store,
    which: Which,
    number: u64,
    at: Timestamp,
) -> Result<Option<(Body, Timestamp)>, Blocked> {
    store.table(table(which)).expect("it exists").read(&key(number), at)
}

/// What a careless reader takes: the newest committed version, if it is not above its snapshot.
pub(crate) fn below(store: &Store, which: Which, number: u64, _at: Timestamp) -> Option<(Body, Timestamp)> {
    store.table(table(which)).expect("it exists").newest(&key(number))
}

pub(crate) fn newest(store: &Store, which: Which, number: u64) -> Option<(Body, Timestamp)> {
    store.table(table(which)).expect("it exists").newest(&key(number))
}

pub(crate) fn list(body: &Body) -> Vec<u64> {
    let Value::List(items) = body.rows()[0].attribute(1).to_value() else { panic!("not a list") };
    let number = |item: &Value| match item {
        Value::Int(number) => *number as u64,
        other => panic!("not a number: {other:?}"),
    };
    items.iter().map(number).collect()
}

pub(crate) fn balance(body: &Body) -> i64 {
    match body.rows()[0].attribute(1) {
        ValueRef::Int(balance) => balance,
        other => panic!("not a balance: {other:?}"),
    }
}

fn put(which: Which, number: u64, value: Value) -> Write {
    let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(number as i64), value]).expect("a short row");
    Write { table: table(which), key: key(number), op: Op::Put(row) }
}

/// Reads of whole lists and appends to some of them.
pub(crate) fn append_work(lists: &BTreeMap<u64, (Vec<u64>, Timestamp)>, appends: &[(u64, u64)]) -> Work {
    let note = |(number, (_, version)): (&u64, &(Vec<u64>, Timestamp))| ReadNote {
        table: LISTS,
        key: key(*number),
        version: *version,
    };
    let write = |(number, value): &(u64, u64)| {
        let items = lists[number].0.iter().chain([value]).map(|item| Value::Int(*item as i64)).collect();
        put(Which::Lists, *number, Value::List(items))
    };
    Work {
        reads: lists.iter().map(note).collect(),
        writes: appends.iter().map(write).collect(),
        schema: vec![(LISTS, SchemaVersion::FIRST)],
        ..Work::default()
    }
}

/// Reads of two balances and writes of both.
pub(crate) fn transfer_work(
    balances: &BTreeMap<u64, (i64, Timestamp)>,
    from: u64,
    to: u64,
    amount: i64,
) -> Work {
    let note = |(number, (_, version)): (&u64, &(i64, Timestamp))| ReadNote {
        table: ACCOUNTS,
        key: key(*number),
        version: *version,
    };
    Work {
        reads: balances.iter().map(note).collect(),
        writes: vec![
            put(Which::Accounts, from, Value::Int(balances[&from].0 - amount)),
            put(Which::Accounts, to, Value::Int(balances[&to].0 + amount)),
        ],
        schema: vec![(ACCOUNTS, SchemaVersion::FIRST)],
        ..Work::default()
    }
}

/// The part of a work that this node's log brings back.
pub(crate) fn on_disc(work: &Work) -> Vec<Write> {
    work.writes.clone()
}

pub(crate) fn apply(store: &Store, ts: Timestamp, writes: &[Write]) {
    store.load_writes(ts, writes).expect("nothing else runs");
}
