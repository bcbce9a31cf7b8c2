//! A table, its model, and random transactions on both.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypermnesia_store::{
    Body, CommittedLocal, Key, Kind, NodeId, Op, Prepared, Role, Row, SchemaVersion, Snapshot, Store,
    StoreConfig, Table, TableDef, TableId, Timestamp, TxId, Type, Value, Work, Write, define,
};

use crate::compare::compare;

pub(crate) const T: TableId = TableId(10);
pub(crate) const KEYS: u64 = 300;
/// Rounds of one era: by turns with snapshots held all the time, and with none, so that rows may change in place.
const ERA: usize = 4_096;

/// What the table should hold: the rows of each key, in order.
pub(crate) type Model = BTreeMap<i64, Vec<(i64, i64)>>;

/// xorshift: the same operations on every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) store: Store,
    pub(crate) model: Model,
    pub(crate) dice: Dice,
    sequence: u64,
    pub(crate) wall_ms: u64,
    pub(crate) operations: usize,
    /// Counters that changed a row where it stands.
    pub(crate) in_place: usize,
    rounds: usize,
    kept: Vec<(Snapshot, Model)>,
}

pub(crate) fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

pub(crate) fn row(k: i64, v: i64) -> Row {
    Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small")
}

pub(crate) fn int(row: &Row, at: usize) -> i64 {
    match row.attribute(at).to_value() {
        Value::Int(n) => n,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn pairs(body: &Body) -> Vec<(i64, i64)> {
    body.rows().iter().map(|row| (int(row, 0), int(row, 1))).collect()
}

impl Run {
    /// With an index the rows of a table do not change in place.
    pub(crate) fn new(kind: Kind, with_index: bool, seed: u64) -> Run {
        let def = TableDef::builder("t").kind(kind).attribute("k", Type::Int).attribute("v", Type::Int);
        let def = if with_index { def.index("by_v", ["v"]) } else { def };
        let mut def = def.build().expect("good");
        def.id = T;
        let store = Store::new(StoreConfig { wall_ms: 1_000 });
        let mut run = Run {
            kind,
            store,
            model: Model::new(),
            dice: Dice(seed),
            sequence: 1,
            wall_ms: 1_000,
            operations: 0,
            in_place: 0,
            rounds: 0,
            kept: Vec::new(),
        };
        run.commit(vec![define(&def)]);
        run
    }

    pub(crate) fn table(&self) -> Arc<Table> {
        self.store.table(T).expect("created")
    }

    fn id(&mut self) -> TxId {
        self.sequence += 1;
        TxId { age: Timestamp(self.sequence), node: NodeId(1), sequence: self.sequence }
    }

    pub(crate) fn any_key(&mut self) -> i64 {
        self.dice.roll(KEYS) as i64
    }

    pub(crate) fn value(&mut self) -> i64 {
        self.dice.roll(20) as i64
    }

    /// What a key holds from now on.
    pub(crate) fn hold(&mut self, k: i64, rows: Vec<(i64, i64)>) {
        match rows.is_empty() {
            true => _ = self.model.remove(&k),
            false => _ = self.model.insert(k, rows),
        }
    }

    /// Commits alone, unless it is refused.
    pub(crate) fn commit_work(&mut self, work: Work) -> bool {
        let id = self.id();
        match self.store.commit_local(&self.store.begin(id), &Arc::new(work), self.wall_ms) {
            CommittedLocal::Yes(..) => true,
            CommittedLocal::Refused(..) => false,
            CommittedLocal::Parked => panic!("nobody is in the way"),
        }
    }

    fn commit(&mut self, writes: Vec<Write>) {
        let id = self.id();
        let txn = self.store.begin(id);
        let work = Arc::new(Work { writes, ..Work::default() });
        if self.dice.roll(4) != 0 {
            let done = self.store.commit_local(&txn, &work, self.wall_ms);
            assert!(matches!(done, CommittedLocal::Yes(..)));
            return;
        }
        // As a participant: the commit timestamp is above the local proposal, after the decision or its opposite.
        let id = self.id();
        let doomed = self.store.begin(id);
        assert!(matches!(
            self.store.prepare(&doomed, &work, self.wall_ms, Role::Participant),
            Prepared::Yes { .. }
        ));
        let _ = self.store.abort(&doomed);
        let Prepared::Yes { proposal } = self.store.prepare(&txn, &work, self.wall_ms, Role::Participant)
        else {
            panic!("nothing is in the way")
        };
        let _ = self.store.commit(&txn, Timestamp(proposal.0 + self.dice.roll(1_000)));
    }

    /// A transaction, some operations in one step each, or a swap by version.
    pub(crate) fn step(&mut self) {
        match self.dice.roll(8) {
            0..4 => self.transaction(),
            4..7 => self.singles(),
            _ => self.swap_by_version(),
        }
        self.read_some();
        self.rounds += 1;
        if self.rounds.is_multiple_of(64) {
            self.keep_or_compare();
        }
    }

    fn transaction(&mut self) {
        let count = 1 + self.dice.roll(8) as usize;
        let mut writes = Vec::with_capacity(count);
        let mut model = std::mem::take(&mut self.model);
        for _ in 0..count {
            let (k, v) = (self.any_key(), self.value());
            let op = match self.dice.roll(10) {
                0..5 => Op::Put(row(k, v)),
                5..7 => Op::BagAdd(row(k, v)),
                7 => Op::BagRemove(row(k, v)),
                _ => Op::Delete,
            };
            apply(self.kind, &mut model, k, v, &op);
            writes.push(Write { table: T, key: key(k), op });
        }
        self.operations += count;
        self.model = model;
        self.commit(writes);
    }

    /// The newest of one key.
    pub(crate) fn look_at(&self, k: i64) {
        let found = self.table().latest(&key(k)).expect("nothing is pending").map(|(body, _)| pairs(&body));
        assert_eq!(found.as_ref(), self.model.get(&k), "key {k}");
    }

    fn read_some(&mut self) {
        for _ in 0..2 {
            let k = self.any_key();
            self.look_at(k);
            self.operations += 1;
        }
        assert_eq!(self.table().len(), self.model.values().map(|rows| rows.len() as u64).sum::<u64>());
    }

    fn keep_or_compare(&mut self) {
        let is_calm = (self.rounds / ERA) % 2 == 1;
        if is_calm {
            let kept = std::mem::take(&mut self.kept);
            kept.iter().for_each(|(then, model)| compare(&self.table(), then.at(), model, &mut self.dice));
        } else if self.kept.len() < 6 {
            // Those that are settled let go of what comes behind them.
            let mut snapshot = self.store.snapshot();
            if self.dice.roll(3) != 0 {
                snapshot.settle();
            }
            self.kept.push((snapshot, self.model.clone()));
        } else {
            let at = self.dice.roll(6) as usize;
            let (snapshot, model) = self.kept.swap_remove(at);
            compare(&self.table(), snapshot.at(), &model, &mut self.dice);
        }
        // Rows change in place where many did within a second.
        self.wall_ms += self.dice.roll(if is_calm { 20 } else { 400 });
        self.store.clock().advance(self.wall_ms);
        self.store.let_rest(self.wall_ms);
        self.store.tidy(50);
    }

    /// All that was kept goes, and what is left is the model.
    pub(crate) fn finish(mut self) {
        self.kept.clear();
        let now = self.store.snapshot();
        compare(&self.table(), now.at(), &self.model, &mut self.dice);
        drop(now);
        // Everything that only snapshots or time kept can go, and nothing else.
        self.store.clock().advance(self.wall_ms + 10_000);
        self.store.tidy(usize::MAX);
        let now = self.store.snapshot();
        compare(&self.table(), now.at(), &self.model, &mut self.dice);
        assert_eq!(self.table().cells(), self.model.len());
        assert_eq!(self.store.lock_counts(), (0, 0));
    }
}

fn apply(kind: Kind, model: &mut Model, k: i64, v: i64, op: &Op) {
    let held = model.entry(k).or_default();
    match (kind, op) {
        (_, Op::Delete) => held.clear(),
        (Kind::Bag, Op::Put(_) | Op::BagAdd(_)) if held.contains(&(k, v)) => {}
        (Kind::Bag, Op::Put(_) | Op::BagAdd(_)) => held.push((k, v)),
        (_, Op::Put(_) | Op::BagAdd(_)) => *held = vec![(k, v)],
        (_, Op::Expire(_)) => unreachable!("no row here has a deadline"),
        (_, Op::BagAppend(_)) => unreachable!("no bag here keeps identical rows"),
        (_, Op::BagRemove(_)) => held.retain(|known| *known != (k, v)),
    }
    if held.is_empty() {
        model.remove(&k);
    }
}
