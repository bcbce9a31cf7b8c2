//! Many threads in one replica at once: commits from several threads on each node, a reader thread per peer, a ticking
//! thread. Sharded state, parked prepares and the epoch gate must lose no wake-up and no update. No network, no clock:
//! channels carry the messages and the ticker counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use hypermnesia_replication::limits::CopyBounds;
use hypermnesia_replication::{
    Agreement, CommitRequest, Effect, Epoch, Member, Message, Now, Opened, Peer, Recovered, Replica,
    ReplicaConfig, Reply, Sink, first_slots,
};
use hypermnesia_store::{
    Ack, Incarnation, Key, NodeId, Op, ReadNote, Row, SchemaVersion, Storage, Store, StoreConfig, TableDef,
    TableId, Timestamp, TxId, Type, Value, ValueRef, Work, Write, define,
};

const TABLE: TableId = TableId(2);
const NODES: usize = 3;
const THREADS: usize = 3;
const INCREMENTS: u64 = 60;

struct Node {
    replica: Replica,
    store: Arc<Store>,
    peer: Peer,
    /// To each other node.
    wires: Vec<Option<SyncSender<(Peer, Message)>>>,
    waiting: Mutex<HashMap<TxId, SyncSender<Reply>>>,
    /// What the control plane was asked to record.
    opens: Mutex<Option<Opened>>,
    time: AtomicU64,
    sequence: AtomicU64,
}

struct Out<'a>(&'a Node);

impl Sink for Out<'_> {
    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                let wire = self.0.wires[to.node.0 as usize - 1].as_ref().expect("not to itself");
                // The other side may have ended already.
                let _ = wire.send((self.0.peer, message));
            }
            Effect::Done { txid, reply } => {
                let waiter = self.0.waiting.lock().expect("no panic").remove(&txid).expect("answered once");
                waiter.send(reply).expect("it waits");
            }
            Effect::ProposeOpening(opened) => *self.0.opens.lock().expect("no panic") = Some(opened),
            _ => {}
        }
    }
}

impl Node {
    fn now(&self) -> Now {
        let ms = self.time.load(Ordering::Relaxed);
        Now { mono_ns: ms * 1_000_000, wall_ms: 1_000 + ms }
    }

    fn event(&self, event: impl FnOnce(&Replica, Now, &mut Out<'_>)) {
        event(&self.replica, self.now(), &mut Out(self));
    }

    /// One increment of the only key; runs again on conflict, at its old age.
    fn increment(&self) -> Reply {
        let mut age = None;
        loop {
            let snapshot = self.store.snapshot();
            let age = *age.get_or_insert(snapshot.at());
            let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
            let txid = TxId { age, node: self.peer.node, sequence };
            let table = self.store.table(TABLE).expect("it exists");
            let Ok(found) = table.read(&key(), snapshot.at()) else {
                std::thread::yield_now();
                continue;
            };
            let (count, version) = found.map_or((0, Timestamp::NEVER), |(body, at)| (number(&body), at));
            let (sender, receiver) = sync_channel(1);
            self.waiting.lock().expect("no panic").insert(txid, sender);
            let txn = self.store.begin(txid);
            let work = Arc::new(put(count + 1, version));
            let deadline_ns = self.now().mono_ns + 3_600_000_000_000;
            let request = CommitRequest { work, ack: Ack::Memory, sync: false, deadline_ns };
            self.event(|replica, now, out| replica.commit(now, txn, request, out));
            match receiver.recv().expect("answered once") {
                Reply::Conflict(_) => {}
                reply => return reply,
            }
        }
    }
}

fn key() -> Key {
    Key::encode(&[Value::Int(1)]).expect("a short key")
}

fn number(body: &hypermnesia_store::Body) -> i64 {
    match body.rows()[0].attribute(1) {
        ValueRef::Int(count) => count,
        other => panic!("not a count: {other:?}"),
    }
}

fn put(count: i64, version: Timestamp) -> Work {
    let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(1), Value::Int(count)]).expect("short");
    Work {
        reads: vec![ReadNote { table: TABLE, key: key(), version }],
        writes: vec![Write { table: TABLE, key: key(), op: Op::Put(row) }],
        schema: vec![(TABLE, SchemaVersion::FIRST)],
        ..Work::default()
    }
}

type Wires = Vec<Receiver<(Peer, Message)>>;

fn cluster() -> (Vec<Arc<Node>>, Vec<Wires>) {
    let members: Vec<Member> = (1..=NODES as u32)
        .map(|n| Member { node: NodeId(n), name: format!("n{n}"), address: String::new() })
        .collect();
    let mut senders: Vec<Vec<Option<_>>> = (0..NODES).map(|_| (0..NODES).map(|_| None).collect()).collect();
    let mut receivers: Vec<Wires> = (0..NODES).map(|_| Vec::new()).collect();
    for (from, wires) in senders.iter_mut().enumerate() {
        for to in (0..NODES).filter(|to| *to != from) {
            let (sender, receiver) = sync_channel(1_000_000);
            wires[to] = Some(sender);
            receivers[to].push(receiver);
        }
    }
    let mut def = members
        .iter()
        .fold(
            TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int),
            |builder, member| builder.copy(member.node, Storage::Ram),
        )
        .build()
        .expect("a good definition");
    def.id = TABLE;
    let node = |(member, wires): (&Member, Vec<Option<_>>)| {
        let store = Arc::new(Store::new(StoreConfig { wall_ms: 1_000 }));
        store.load_writes(Timestamp(1), &[define(&def)]).expect("an empty store");
        let incarnation = Incarnation(1);
        let config = ReplicaConfig {
            node: member.node,
            incarnation,
            members: first_slots(members.clone()),
            durable: false,
            copy: CopyBounds::default(),
        };
        Arc::new(Node {
            replica: Replica::new(config, Arc::clone(&store), Recovered::default()),
            store,
            peer: Peer { node: member.node, incarnation },
            wires,
            waiting: Mutex::default(),
            opens: Mutex::default(),
            time: AtomicU64::new(1),
            sequence: AtomicU64::new(1 << 22),
        })
    };
    (members.iter().zip(senders).map(node).collect(), receivers)
}

#[test]
fn increments_of_one_key_from_many_threads_are_all_there() {
    // Aim: contract case 5 inside one process, no lost update, no lost wake-up. Method: 3 nodes x 3 threads on one hot
    // key, reader threads and a ticker beside them; the sum at the end, on every node.
    let (nodes, receivers) = cluster();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (node, wires) in nodes.iter().zip(receivers) {
            for wire in wires {
                let ended = &ended;
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        let Ok((from, message)) = wire.recv_timeout(std::time::Duration::from_millis(20))
                        else {
                            continue;
                        };
                        node.event(|replica, now, out| replica.on_message(now, from, message, out));
                    }
                });
            }
        }
        for node in &nodes {
            node.event(|replica, now, out| replica.start(now, out));
            for peer in nodes.iter().map(|other| other.peer).filter(|peer| *peer != node.peer) {
                node.event(|replica, now, out| replica.on_connected(now, peer, out));
            }
        }
        let members = nodes.iter().map(|node| Some(node.peer)).collect();
        let latest = Some(Epoch { number: 1, parent: 0, members });
        let tell = |agreement: &Agreement| {
            nodes.iter().for_each(|node| {
                node.event(|replica, now, out| replica.on_agreed(now, agreement.clone(), out));
            });
        };
        tell(&Agreement { opened: None, latest: latest.clone(), chain: Vec::new() });
        let opened = loop {
            let asked = |node: &Arc<Node>| node.opens.lock().expect("no panic").take();
            match nodes.iter().find_map(asked) {
                Some(opened) => break Some(opened),
                None => std::thread::yield_now(),
            }
        };
        tell(&Agreement { opened, latest, chain: vec![1] });
        while nodes.iter().any(|node| node.replica.available(&[TABLE]).is_err()) {
            std::thread::yield_now();
        }
        let ticking = AtomicBool::new(true);
        std::thread::scope(|clients| {
            clients.spawn(|| {
                while ticking.load(Ordering::Relaxed) {
                    for node in &nodes {
                        node.time.fetch_add(1, Ordering::Relaxed);
                        node.event(|replica, now, out| replica.on_tick(now, out));
                    }
                    std::thread::yield_now();
                }
            });
            let work = |node: &Arc<Node>| {
                let node = Arc::clone(node);
                move || {
                    for _ in 0..INCREMENTS {
                        let reply = node.increment();
                        assert!(matches!(reply, Reply::Committed(_)), "{reply:?}");
                    }
                }
            };
            let threads: Vec<_> = nodes
                .iter()
                .flat_map(|node| (0..THREADS).map(|_| clients.spawn(work(node))).collect::<Vec<_>>())
                .collect();
            let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
            ticking.store(false, Ordering::Relaxed);
            assert!(outcomes.iter().all(Result::is_ok));
        });
        while nodes.iter().any(|node| node.store.lock_counts() != (0, 0)) {
            std::thread::yield_now();
        }
        ended.store(true, Ordering::Relaxed);
    });
    for node in &nodes {
        let (body, _) =
            node.store.table(TABLE).expect("it exists").newest(&key()).expect("in memory").expect("written");
        assert_eq!(number(&body), (NODES * THREADS) as i64 * INCREMENTS as i64);
        assert!(node.replica.in_doubt(node.now()).is_empty());
    }
}
