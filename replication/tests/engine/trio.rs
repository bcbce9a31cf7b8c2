//! Members in one thread, messages carried by hand: what a test does not carry has not arrived.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hypermnesia_replication::limits::CopyBounds;
use hypermnesia_replication::{
    Agreement, CommitRequest, Effect, Epoch, Fact, LogToken, Member, Message, Now, Opened, Peer, Reading,
    Recovered, RecoveredPrepare, Replica, ReplicaConfig, Reply, first_slots,
};
use hypermnesia_store::{
    Ack, Incarnation, Key, NodeId, Op, Row, SchemaVersion, Storage, Store, StoreConfig, TableDef, TableId,
    Timestamp, TxId, Type, Value, Work, Write, define,
};

pub(crate) const TABLE: TableId = TableId(2);

/// How large the chunks of a copy are here.
pub(crate) const CHUNK: CopyBounds = CopyBounds { chunk_bytes: 256 * 1024, chunk_rows: 4_096 };

/// Some members and what they have said.
pub(crate) struct Trio {
    pub(crate) nodes: Vec<Replica>,
    pub(crate) stores: Vec<Arc<Store>>,
    pub(crate) peers: Vec<Peer>,
    /// Messages not yet carried: from, to, what.
    pub(crate) wire: VecDeque<(usize, usize, Message)>,
    pub(crate) logged: Vec<(usize, LogToken)>,
    /// Tables that are to be read for copies.
    pub(crate) reads: VecDeque<(usize, Reading)>,
    /// Everything that was handed to each member's log.
    pub(crate) logs: Vec<Vec<Fact>>,
    pub(crate) replies: Vec<(TxId, Reply)>,
    pub(crate) effects: Vec<(usize, Effect)>,
    pub(crate) now: Now,
    /// What the control plane has agreed on.
    pub(crate) agreed: Agreement,
    /// What it was asked to record.
    pub(crate) opens: Option<Opened>,
    sequence: u64,
}

pub(crate) fn table(copies: &[NodeId], storage: Storage) -> TableDef {
    let builder = TableDef::builder("t").attribute("id", Type::Int).attribute("value", Type::Int);
    let builder = copies.iter().fold(builder, |builder, node| builder.copy(*node, storage));
    let mut def = builder.build().expect("a good definition");
    def.id = TABLE;
    def
}

/// The ids of so many members.
pub(crate) fn nodes(count: u32) -> Vec<NodeId> {
    (1..=count).map(NodeId).collect()
}

impl Trio {
    /// Members 1 to `count`, table 2 on all of them; connected, and their first epoch open.
    pub(crate) fn open(count: u32, durable: bool) -> Trio {
        let mut trio = Trio::apart(count, durable);
        trio.begin();
        trio.carry_all();
        for node in &trio.nodes {
            let status = node.status(trio.now);
            assert!(status.open && status.complete && status.epoch == 1, "{status:?}");
        }
        trio.effects.clear();
        trio
    }

    pub(crate) fn apart(count: u32, durable: bool) -> Trio {
        Trio::stopped(count, durable, Incarnation(1), |_| None)
    }

    /// Members that have started on what their logs hold; none means a new one whose table is there by agreement.
    fn stopped(
        count: u32,
        durable: bool,
        incarnation: Incarnation,
        log: impl Fn(usize) -> Option<Vec<Fact>>,
    ) -> Trio {
        let copies = nodes(count);
        let storage = if durable { Storage::Disc } else { Storage::Ram };
        let begun = |at: usize| {
            let store = Arc::new(Store::new(StoreConfig { wall_ms: 1_000 }));
            let log = log(at);
            if log.as_ref().is_none_or(|log| !log.is_empty()) {
                store.load_writes(Timestamp(1), &[define(&table(&copies, storage))]).expect("an empty store");
            }
            let recovered = log.as_ref().map_or_else(Recovered::default, |log| replay(log, &store));
            (store, recovered, log.unwrap_or_default())
        };
        Trio::started((0..count as usize).map(begun).collect(), durable, incarnation)
    }

    /// Members that have started on these stores, on what was recovered with them, and on their logs.
    pub(crate) fn started(
        begun: Vec<(Arc<Store>, Recovered, Vec<Fact>)>,
        durable: bool,
        incarnation: Incarnation,
    ) -> Trio {
        let count = begun.len();
        let member = |node: NodeId| Member { node, name: format!("n{}", node.0), address: String::new() };
        let members: Vec<Member> = nodes(count as u32).into_iter().map(member).collect();
        let mut trio = Trio {
            nodes: Vec::new(),
            stores: Vec::new(),
            peers: Vec::new(),
            wire: VecDeque::new(),
            logged: Vec::new(),
            reads: VecDeque::new(),
            logs: Vec::new(),
            replies: Vec::new(),
            effects: Vec::new(),
            now: Now { mono_ns: 1_000_000, wall_ms: 1_000 },
            agreed: Agreement::default(),
            opens: None,
            sequence: 1,
        };
        for (member, (store, recovered, log)) in members.iter().zip(begun) {
            let config = ReplicaConfig {
                node: member.node,
                incarnation,
                members: first_slots(members.clone()),
                durable,
                copy: CHUNK,
            };
            trio.nodes.push(Replica::new(config, Arc::clone(&store), recovered));
            trio.stores.push(store);
            trio.peers.push(Peer { node: member.node, incarnation });
            trio.logs.push(log);
        }
        for at in 0..count {
            trio.event(at, |replica, now, out| replica.start(now, out));
        }
        trio
    }

    /// All are connected, and the control plane agrees on an epoch of all of them.
    pub(crate) fn begin(&mut self) {
        self.connect_all();
        self.agree(&(0..self.nodes.len()).collect::<Vec<_>>());
    }

    /// The control plane agrees on an epoch of these, and everybody hears of it.
    pub(crate) fn agree(&mut self, members: &[usize]) {
        let number = self.agreed.latest.as_ref().map_or(0, |latest| latest.number) + 1;
        let parent = self.agreed.opened.as_ref().map_or(0, |opened| opened.epoch.number);
        let life = |at: usize| members.contains(&at).then(|| self.peers[at]);
        let epoch = Epoch { number, parent, members: (0..self.nodes.len()).map(life).collect() };
        self.agreed.latest = Some(epoch);
        self.tell_all();
    }

    fn tell_all(&mut self) {
        for at in 0..self.nodes.len() {
            let agreed = self.agreed.clone();
            self.event(at, |replica, now, out| replica.on_agreed(now, agreed, out));
        }
    }

    /// The control plane records the opening that it was asked for, and everybody hears of it.
    fn record_opening(&mut self) -> bool {
        let latest = self.agreed.latest.as_ref().map(|latest| latest.number);
        let Some(opened) = self.opens.take().filter(|opened| Some(opened.epoch.number) == latest) else {
            return false;
        };
        self.agreed.chain.push(opened.epoch.number);
        self.agreed.opened = Some(opened);
        self.tell_all();
        true
    }

    pub(crate) fn connect_all(&mut self) {
        for at in 0..self.nodes.len() {
            for peer in (0..self.nodes.len()).filter(|peer| *peer != at) {
                let peer = self.peers[peer];
                self.event(at, |replica, now, out| replica.on_connected(now, peer, out));
            }
        }
    }

    /// One event at one node; its effects are sorted onto the wire, the log and the replies, and returned.
    pub(crate) fn event(
        &mut self,
        at: usize,
        event: impl FnOnce(&Replica, Now, &mut Vec<Effect>),
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        event(&self.nodes[at], self.now, &mut effects);
        for effect in &effects {
            if let Effect::Log { fact, .. } = effect {
                self.logs[at].push(fact.clone());
            }
            match effect {
                Effect::Send { to, message } => {
                    let to = self.peers.iter().position(|peer| peer == to).expect("a living peer");
                    self.wire.push_back((at, to, message.clone()));
                }
                Effect::Log { token: Some(token), .. } => self.logged.push((at, *token)),
                Effect::Done { txid, reply } => self.replies.push((*txid, reply.clone())),
                Effect::ProposeOpening(opened) => self.opens = Some(opened.clone()),
                Effect::Read(reading) => self.reads.push_back((at, reading.clone())),
                _ => {}
            }
            self.effects.push((at, effect.clone()));
        }
        effects
    }

    /// Carries the oldest message to this node (from anyone) and returns what comes of it.
    pub(crate) fn carry_to(&mut self, to: usize) -> Vec<Effect> {
        let at = self.wire.iter().position(|(_, target, _)| *target == to).expect("a message for it");
        let (from, to, message) = self.wire.remove(at).expect("just found");
        let peer = self.peers[from];
        self.event(to, |replica, now, out| replica.on_message(now, peer, message, out))
    }

    /// Reads the table that waits longest for it to be read, if there is one.
    pub(crate) fn read_one(&mut self) -> bool {
        let Some((at, reading)) = self.reads.pop_front() else { return false };
        let read = self.nodes[at].read(reading);
        self.event(at, |replica, now, out| replica.on_read(now, read, out));
        true
    }

    /// Carries messages and completes log writes until nothing moves.
    pub(crate) fn carry_all(&mut self) {
        while self.carry_one() {}
    }

    /// Carries the oldest message; reads a table, or completes the oldest log write, when there is none.
    pub(crate) fn carry_one(&mut self) -> bool {
        if let Some((_, to, _)) = self.wire.front() {
            let to = *to;
            self.carry_to(to);
            return true;
        }
        if self.read_one() {
            return true;
        }
        if self.logged.is_empty() {
            return self.record_opening();
        }
        let (at, token) = self.logged.remove(0);
        self.event(at, |replica, now, out| replica.on_logged(now, token, out));
        true
    }

    /// All processes end at once and start again on all that they had handed to their logs; one may have lost it. They
    /// are connected, and nothing is carried yet.
    pub(crate) fn reborn(&self, lost: Option<usize>) -> Trio {
        let count = self.nodes.len() as u32;
        let mut trio = Trio::stopped(count, true, Incarnation(self.peers[0].incarnation.0 + 1), |at| {
            Some(if lost == Some(at) { Vec::new() } else { self.logs[at].clone() })
        });
        trio.sequence = self.sequence + 100;
        trio.agreed = self.agreed.clone();
        trio.begin();
        trio
    }

    /// Time passes until everything is agreed.
    pub(crate) fn settle(&mut self) {
        for _ in 0..50 {
            self.carry_all();
            self.pass_ms(200);
            (0..self.nodes.len()).for_each(|at| drop(self.tick(at)));
        }
        self.carry_all();
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.now.wall_ms += ms;
    }

    pub(crate) fn tick(&mut self, at: usize) -> Vec<Effect> {
        self.event(at, |replica, now, out| replica.on_tick(now, out))
    }

    pub(crate) fn txid(&mut self, at: usize) -> TxId {
        self.sequence += 1;
        TxId { age: self.stores[at].clock().read(), node: self.peers[at].node, sequence: self.sequence }
    }

    /// Commits a blind write of one key at a node, with a deadline of 400 ms.
    pub(crate) fn commit(&mut self, at: usize, key: i64, value: i64) -> (TxId, Vec<Effect>) {
        self.commit_within(at, key, value, 400)
    }

    /// The same with another deadline.
    pub(crate) fn commit_within(&mut self, at: usize, key: i64, value: i64, ms: u64) -> (TxId, Vec<Effect>) {
        let txid = self.txid(at);
        let txn = self.stores[at].begin(txid);
        let request = CommitRequest {
            work: Arc::new(put(key, value)),
            ack: Ack::Logged,
            sync: false,
            deadline_ns: self.now.mono_ns + ms * 1_000_000,
        };
        (txid, self.event(at, |replica, now, out| replica.commit(now, txn, request, out)))
    }

    pub(crate) fn reply(&self, txid: TxId) -> Option<&Reply> {
        self.replies.iter().find(|(told, _)| *told == txid).map(|(_, reply)| reply)
    }

    pub(crate) fn value(&self, at: usize, wanted: i64) -> Option<Value> {
        let found = self.stores[at].table(TABLE).expect("it exists").newest(&key(wanted)).expect("in memory");
        found.map(|(body, _)| body.rows()[0].attribute(1).to_value())
    }
}

/// What a start makes of a log.
pub(crate) fn replay(log: &[Fact], store: &Store) -> Recovered {
    let mut open: BTreeMap<TxId, RecoveredPrepare> = BTreeMap::new();
    let mut recovered = Recovered::default();
    for fact in log {
        match fact {
            Fact::Prepared { txid, epoch, work, .. } => {
                open.insert(*txid, RecoveredPrepare { txid: *txid, epoch: *epoch, work: Arc::clone(work) });
            }
            Fact::Committed { txid, ts } => {
                if let Some(one) = open.remove(txid) {
                    store.load_writes(*ts, &one.work.writes).expect("nobody serves");
                }
                recovered.last_commit = recovered.last_commit.max(*ts);
                recovered.outcomes.push((*txid, Some(*ts)));
            }
            Fact::Released { txid } => {
                open.remove(txid);
            }
            Fact::Aborted { txid } => {
                open.remove(txid);
                recovered.outcomes.push((*txid, None));
            }
            Fact::Epoch(bytes) => recovered.epoch = Some(bytes.clone()),
            Fact::Loaded { table, clear, rows } => {
                if *clear {
                    store.clear(*table).expect("the schema is loaded before");
                }
                for (key, ts, body) in rows {
                    store.load_row(*table, key, *ts, body.clone()).expect("nobody serves");
                    recovered.last_commit = recovered.last_commit.max(*ts);
                }
            }
            Fact::Applied { txid, ts, work } => {
                open.remove(txid);
                store.load_writes(*ts, &work.writes).expect("nobody serves");
                recovered.last_commit = recovered.last_commit.max(*ts);
                recovered.outcomes.push((*txid, Some(*ts)));
            }
            Fact::Barrier => {}
        }
    }
    recovered.prepared = open.into_values().collect();
    recovered
}

pub(crate) fn key(number: i64) -> Key {
    Key::encode(&[Value::Int(number)]).expect("a short key")
}

pub(crate) fn put(number: i64, value: i64) -> Work {
    let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(number), Value::Int(value)]).expect("short");
    Work {
        writes: vec![Write { table: TABLE, key: key(number), op: Op::Put(row) }],
        schema: vec![(TABLE, SchemaVersion::FIRST)],
        ..Work::default()
    }
}

/// The messages among effects.
pub(crate) fn sent(effects: &[Effect]) -> Vec<&Message> {
    fn message(effect: &Effect) -> Option<&Message> {
        match effect {
            Effect::Send { message, .. } => Some(message),
            _ => None,
        }
    }
    effects.iter().filter_map(message).collect()
}
