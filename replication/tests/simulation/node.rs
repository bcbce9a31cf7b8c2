//! One simulated node: the engine under test with a real store, its log, and its ends of the streams. A crash leaves the
//! log up to a random point behind what was promised safe, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hypermnesia_replication::limits::CopyBounds;
use hypermnesia_replication::{
    Fact, Inbox, Member, Message, Outbox, Recovered, RecoveredPrepare, Replica, ReplicaConfig, first_slots,
};
use hypermnesia_store::{Incarnation, NodeId, Store, Timestamp, TxId, Work};

use crate::room;

/// One life of a node.
pub(crate) struct Life {
    pub(crate) incarnation: Incarnation,
    pub(crate) replica: Replica,
    pub(crate) store: Arc<Store>,
    /// By position of the peer.
    pub(crate) outboxes: Vec<Outbox<Message>>,
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) peers: Vec<Option<Incarnation>>,
    /// When the last message on its way to each peer arrives, ns: messages of a pair do not overtake.
    pub(crate) arrivals: Vec<u64>,
    pub(crate) sequence: u64,
}

/// A node through its lives.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) life: Option<Life>,
    pub(crate) lives: u64,
    /// Empty for a node without a log.
    pub(crate) log: Vec<Fact>,
    /// How much of it a crash leaves for certain.
    pub(crate) safe: usize,
    pub(crate) durable: bool,
}

impl Node {
    pub(crate) fn new(id: NodeId, durable: bool) -> Node {
        Node { id, life: None, lives: 0, log: Vec::new(), safe: 0, durable }
    }

    /// Starts a process on what the log holds, in a cluster that is new or had epochs before.
    pub(crate) fn start(&mut self, members: &[Member], wall_ms: u64, is_new: bool) {
        self.lives += 1;
        let incarnation = Incarnation(self.lives);
        let store = Arc::new(room::open(self.durable, !self.durable && !is_new, members, wall_ms));
        let recovered = replay(&self.log, &store, self.id.0 as usize - 1, members.len());
        self.safe = self.log.len();
        let config = ReplicaConfig {
            node: self.id,
            incarnation,
            members: first_slots(members.to_vec()),
            durable: self.durable,
            copy: CopyBounds { chunk_bytes: 2_000, chunk_rows: 8 },
        };
        let replica = Replica::new(config, Arc::clone(&store), recovered);
        let count = members.len();
        self.life = Some(Life {
            incarnation,
            replica,
            store,
            outboxes: (0..count).map(|_| Outbox::default()).collect(),
            inboxes: vec![Inbox::default(); count],
            peers: vec![None; count],
            arrivals: vec![0; count],
            sequence: incarnation.0 << 22,
        });
    }

    /// Ends the process. `keep` chooses how much of the unsafe tail of the log survives.
    pub(crate) fn crash(&mut self, keep: impl FnOnce(u64) -> u64) {
        self.life = None;
        let tail = (self.log.len() - self.safe) as u64;
        self.log.truncate(self.safe + keep(tail + 1) as usize);
        self.safe = self.log.len();
    }
}

impl Node {
    /// Whether nothing is in doubt in its log.
    pub(crate) fn has_all_outcomes(&self) -> bool {
        let mut open = BTreeSet::new();
        for fact in &self.log {
            match fact {
                Fact::Prepared { txid, .. } => drop(open.insert(*txid)),
                Fact::Committed { txid, .. } | Fact::Aborted { txid } | Fact::Released { txid } => {
                    open.remove(txid);
                }
                _ => {}
            }
        }
        open.is_empty()
    }

    /// A crashed node keeps only the beginning of its log.
    pub(crate) fn lose(&mut self, kept: usize) {
        assert!(self.life.is_none(), "only a process that has ended loses its disc");
        self.log.truncate(kept);
        self.safe = self.log.len();
    }
}

/// What the engine's recovery does with a log: rows into the store, the rest to the replica.
fn replay(log: &[Fact], store: &Store, at: usize, members: usize) -> Recovered {
    let mut open: BTreeMap<TxId, (u64, Arc<Work>)> = BTreeMap::new();
    let mut outcomes: HashMap<TxId, Option<Timestamp>> = HashMap::new();
    let mut recovered = Recovered::default();
    for fact in log {
        match fact {
            Fact::Prepared { txid, epoch, work, .. } => {
                open.insert(*txid, (*epoch, Arc::clone(work)));
            }
            Fact::Committed { txid, ts } => {
                if let Some((_, work)) = open.remove(txid) {
                    room::apply(store, *ts, &room::held(&work, at, members));
                }
                recovered.last_commit = recovered.last_commit.max(*ts);
                outcomes.insert(*txid, Some(*ts));
            }
            Fact::Aborted { txid } => {
                open.remove(txid);
                outcomes.insert(*txid, None);
            }
            Fact::Released { txid } => {
                open.remove(txid);
            }
            Fact::Applied { txid, ts, work } => {
                room::apply(store, *ts, &room::held(work, at, members));
                recovered.last_commit = recovered.last_commit.max(*ts);
                outcomes.insert(*txid, Some(*ts));
            }
            Fact::Epoch(bytes) => recovered.epoch = Some(bytes.clone()),
            Fact::Loaded { table, clear, rows } => {
                if *clear {
                    store.clear(*table).expect("the schema is loaded before");
                }
                for (key, ts, body) in rows {
                    store.load_row(*table, key, *ts, body.clone()).expect("nothing else runs");
                    recovered.last_commit = recovered.last_commit.max(*ts);
                }
            }
            Fact::Barrier => {}
        }
    }
    recovered.prepared =
        open.into_iter().map(|(txid, (epoch, work))| RecoveredPrepare { txid, epoch, work }).collect();
    let mut outcomes: Vec<_> = outcomes.into_iter().collect();
    outcomes.sort_unstable();
    recovered.outcomes = outcomes;
    recovered
}
