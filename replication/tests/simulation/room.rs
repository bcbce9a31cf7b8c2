//! The tables of the simulation and what its transactions do with their rows. Lists by number; accounts with a balance.

use std::collections::BTreeMap;

use hypermnesia_replication::Member;
use hypermnesia_store::{
    Blocked, Body, IndexDef, IndexId, Key, Op, ReadNote, Row, SCHEMA_TABLE, SchemaVersion, Storage, Store,
    StoreConfig, TableDef, TableId, Timestamp, Type, Value, ValueRef, Work, Write, define, defined_by,
    schema_key,
};

use crate::client::Which;
use crate::rng::Rng;

const LISTS: TableId = TableId(2);
const ACCOUNTS: TableId = TableId(3);

/// A store with both tables, as every member of a new cluster has it. Lists have copies on the first three members,
/// accounts on the last three: with four members, none holds everything but the two in the middle.
///
/// Who keeps nothing on disc is empty when it comes back.
pub(crate) fn open(durable: bool, is_empty: bool, members: &[Member], wall_ms: u64) -> Store {
    let store = Store::new(StoreConfig { wall_ms });
    let storage = if durable { Storage::Disc } else { Storage::Ram };
    let table = |which: Which, id: TableId, name: &str, second: &str, ty: Type| {
        let mut builder = TableDef::builder(name).attribute("id", Type::Int).attribute(second, ty);
        for member in &members[holders(which, members.len())] {
            builder = builder.copy(member.node, storage);
        }
        let mut def = builder.build().expect("a good definition");
        def.id = id;
        def
    };
    let defs = [
        define(&table(Which::Lists, LISTS, "lists", "items", Type::List)),
        define(&table(Which::Accounts, ACCOUNTS, "accounts", "balance", Type::Int)),
    ];
    store.load_writes(Timestamp(1), &defs).expect("an empty store");
    let crowd = [Which::Lists, Which::Accounts].into_iter().flat_map(|which| {
        (CROWD_FROM..CROWD_FROM + CROWD).map(move |number| member_of_crowd(which, number, 0))
    });
    if !is_empty {
        store.load_writes(Timestamp(2), &crowd.collect::<Vec<_>>()).expect("nobody else is there");
    }
    store
}

/// Rows that nobody reads stand beside the others from the beginning, so that tables are large enough for a part of them to be
/// copied: more than a chunk, some in each leaf.
const CROWD: u64 = 120;
const CROWD_FROM: u64 = 1_000;

fn member_of_crowd(which: Which, number: u64, value: i64) -> Write {
    let value = match which {
        Which::Lists => Value::List(vec![Value::Int(value)]),
        Which::Accounts => Value::Int(value),
    };
    put(which, number, value)
}

/// Some rows of the crowd are written, and some go, with whatever else a transaction does to their table.
pub(crate) fn stir(work: &mut Work, rng: &mut Rng) {
    for which in [Which::Lists, Which::Accounts] {
        let touched = work.schema.iter().any(|(id, _)| *id == table(which));
        for _ in 0..if touched { rng.below(4) } else { 0 } {
            let mut write = member_of_crowd(which, CROWD_FROM + rng.below(CROWD), rng.below(1_000) as i64);
            if rng.chance(1, 3) {
                write.op = Op::Delete;
            }
            work.writes.retain(|other| (other.table, &other.key) != (write.table, &write.key));
            work.writes.push(write);
        }
    }
}

/// All that a copy of a table holds, in one number.
pub(crate) fn digest(store: &Store, which: Which) -> u64 {
    store.table(table(which)).expect("it exists").digest_with_versions().expect("in memory")
}

/// The positions of the members that hold a table.
pub(crate) fn holders(which: Which, members: usize) -> std::ops::Range<usize> {
    match which {
        Which::Lists => 0..members.min(3),
        Which::Accounts => members.saturating_sub(3)..members,
    }
}

fn key(number: u64) -> Key {
    Key::encode(&[Value::Int(number as i64)]).expect("a short key")
}

pub(crate) fn table(which: Which) -> TableId {
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

/// What a careless reader takes who finds something undecided or raised at its snapshot: the version before that.
pub(crate) fn below(store: &Store, which: Which, number: u64, at: Timestamp) -> Option<(Body, Timestamp)> {
    let earlier = (0..44).map(|shift| Timestamp(at.0.saturating_sub(1 << shift)));
    earlier.filter_map(|at| read(store, which, number, at).ok()).next().flatten()
}

pub(crate) fn newest(store: &Store, which: Which, number: u64) -> Option<(Body, Timestamp)> {
    store.table(table(which)).expect("it exists").newest(&key(number)).expect("in memory")
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

/// The definitions of both tables, as they are here now.
pub(crate) fn versions(store: &Store) -> Vec<(TableId, SchemaVersion)> {
    [LISTS, ACCOUNTS].map(|id| (id, store.table(id).expect("it exists").def().version)).to_vec()
}

/// All that a member knows of both tables: their definitions, and the rows that say so.
pub(crate) fn definitions(store: &Store) -> (Vec<TableDef>, u64) {
    let schema = store.table(SCHEMA_TABLE).expect("it exists").digest_with_versions().expect("in memory");
    ([LISTS, ACCOUNTS].map(|id| store.table(id).expect("it exists").def().clone()).to_vec(), schema)
}

/// Adds an index to a table that has none, or takes it away: over the definition as a snapshot shows it, if it shows one.
pub(crate) fn redefine(store: &Store, which: Which, at: Timestamp) -> Result<Option<Work>, Blocked> {
    let key = schema_key(table(which));
    let found = store.table(SCHEMA_TABLE).expect("it exists").read(&key, at)?;
    let Some((body, version)) = found else { return Ok(None) };
    let mut def = defined_by(&body.rows()[0]).expect("it can be read").expect("a definition");
    if def.indexes.pop().is_none() {
        let (name, attributes, multi) = ("second".to_owned(), vec![1], which == Which::Lists);
        def.indexes.push(IndexDef { id: IndexId(1), name, attributes, unique: false, multi });
    }
    def.version = def.version.next();
    Ok(Some(Work {
        reads: vec![ReadNote { table: SCHEMA_TABLE, key, version }],
        writes: vec![define(&def)],
        schema: vec![(SCHEMA_TABLE, SchemaVersion::FIRST)],
        ..Work::default()
    }))
}

/// What a transaction has read, with versions.
fn notes(lists: &Lists, balances: &Balances) -> Work {
    let note =
        |table, number: &u64, version: &Timestamp| ReadNote { table, key: key(*number), version: *version };
    let mut work = Work::default();
    work.reads.extend(lists.iter().map(|(number, (_, version))| note(LISTS, number, version)));
    work.reads.extend(balances.iter().map(|(number, (_, version))| note(ACCOUNTS, number, version)));
    let noted = [(LISTS, lists.is_empty()), (ACCOUNTS, balances.is_empty())];
    let noted = noted.iter().filter(|(_, empty)| !empty);
    work.schema = noted.map(|(table, _)| (*table, SchemaVersion::FIRST)).collect();
    work
}

/// Lists and balances as they were read, with versions.
pub(crate) type Lists = BTreeMap<u64, (Vec<u64>, Timestamp)>;
pub(crate) type Balances = BTreeMap<u64, (i64, Timestamp)>;

/// Appends to lists and moves money, over everything that was read.
pub(crate) fn work(
    lists: &Lists,
    balances: &Balances,
    appends: &[(u64, u64)],
    transfer: Option<(u64, u64, i64)>,
) -> Work {
    let append = |(number, value): &(u64, u64)| {
        let items = lists[number].0.iter().chain([value]).map(|item| Value::Int(*item as i64)).collect();
        put(Which::Lists, *number, Value::List(items))
    };
    let mut work = notes(lists, balances);
    work.writes.extend(appends.iter().map(append));
    if let Some((from, to, amount)) = transfer {
        work.writes.push(put(Which::Accounts, from, Value::Int(balances[&from].0 - amount)));
        work.writes.push(put(Which::Accounts, to, Value::Int(balances[&to].0 + amount)));
    }
    work
}

/// The part of a work that the log of this node brings back: the tables it holds.
pub(crate) fn held(work: &Work, at: usize, members: usize) -> Vec<Write> {
    let here = |write: &&Write| {
        let which = if write.table == LISTS { Which::Lists } else { Which::Accounts };
        write.table == SCHEMA_TABLE || holders(which, members).contains(&at)
    };
    work.writes.iter().filter(here).cloned().collect()
}

pub(crate) fn apply(store: &Store, ts: Timestamp, writes: &[Write]) {
    store.load_writes(ts, writes).expect("nothing else runs");
}

/// As an image has them: of what was deleted nothing is known.
pub(crate) fn keep_rows_only(store: &Store) {
    for id in [LISTS, ACCOUNTS] {
        let mut rows = Vec::new();
        let table = store.table(id).expect("it exists");
        table.visit_newest(|key, body, at| rows.push((key.clone(), at, body.clone()))).expect("in memory");
        store.clear(id).expect("it exists");
        for (key, at, body) in rows {
            store.load_row(id, &key, at, Some(body)).expect("nothing else runs");
        }
    }
}
