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
        // Of the log a part is in the image, another one in each life.
        let imaged = self.log.len() * (self.lives as usize * 5 % 8) / 8;
        let recovered = recover(&self.log, imaged, &store, self.id.0 as usize - 1, members.len());
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
                Fact::Committed { txid, .. }
                | Fact::Applied { txid, .. }
                | Fact::Aborted { txid }
                | Fact::Released { txid } => {
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

/// What has been read of a log so far.
#[derive(Default)]
struct Read {
    /// Prepared, without an outcome: where in the log, in which epoch.
    open: BTreeMap<TxId, (usize, u64, Arc<Work>)>,
    outcomes: HashMap<TxId, Option<Timestamp>>,
    recovered: Recovered,
}

/// What the engine's recovery does with a log: rows into the store, the rest to the replica. An image has the rows as they are after
/// a part of the log; from the first prepare on that had no outcome then the log is read again.
fn recover(log: &[Fact], imaged: usize, store: &Store, at: usize, members: usize) -> Recovered {
    let mut read = Read::default();
    read.facts(&log[..imaged], 0, store, (at, members));
    room::keep_rows_only(store);
    let from = read.open.values().map(|(position, ..)| *position).min().unwrap_or(imaged);
    read.open.clear();
    read.facts(&log[from..], from, store, (at, members));
    let Read { open, outcomes, mut recovered } = read;
    recovered.prepared =
        open.into_iter().map(|(txid, (_, epoch, work))| RecoveredPrepare { txid, epoch, work }).collect();
    recovered.outcomes = outcomes.into_iter().collect();
    recovered.outcomes.sort_unstable();
    recovered
}

impl Read {
    fn facts(&mut self, log: &[Fact], from: usize, store: &Store, (at, members): (usize, usize)) {
        let Read { open, outcomes, recovered } = self;
        let mut last_commit = recovered.last_commit;
        let mut apply = |ts: Timestamp, work: Option<&Work>| {
            work.iter().for_each(|work| room::apply(store, ts, &room::held(work, at, members)));
            last_commit = last_commit.max(ts);
        };
        for (position, fact) in (from..).zip(log) {
            match fact {
                Fact::Prepared { txid, epoch, work, .. } => {
                    open.insert(*txid, (position, *epoch, Arc::clone(work)));
                }
                Fact::Committed { txid, ts } => {
                    apply(*ts, open.remove(txid).as_ref().map(|(.., work)| &**work));
                    outcomes.insert(*txid, Some(*ts));
                }
                Fact::Applied { txid, ts, work } => {
                    open.remove(txid);
                    apply(*ts, Some(work));
                    outcomes.insert(*txid, Some(*ts));
                }
                Fact::Aborted { txid } => {
                    open.remove(txid);
                    outcomes.insert(*txid, None);
                }
                Fact::Released { txid } => {
                    open.remove(txid);
                }
                Fact::Epoch(bytes) => recovered.epoch = Some(bytes.clone()),
                Fact::Loaded { table, clear, rows } => {
                    if *clear {
                        store.clear(*table).expect("the schema is loaded before");
                    }
                    for (key, ts, body) in rows {
                        store.load_row(*table, key, *ts, body.clone()).expect("nothing else runs");
                        apply(*ts, None);
                    }
                }
                Fact::Barrier => {}
            }
        }
        recovered.last_commit = last_commit;
    }
}
