//! What people want to see: who is there, which epoch it is, what is in doubt and since when, what loading found.

use hypermnesia_store::{Incarnation, NodeId, TableId, TxId};

use crate::member::{Member, Peer};
use crate::replica::Replica;
use crate::shard::{Deciding, Held, Holding};
use crate::time::Now;

/// A transaction that is prepared here and waits for its outcome. Its keys are pending until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// The transaction.
    pub txid: TxId,
    /// Since it was prepared here, in milliseconds. 0 for one that was read from the log.
    pub age_ms: u64,
    /// Keys it writes, over all tables.
    pub keys: usize,
    /// The coordinator, who knows or knew what became of it.
    pub holder: NodeId,
}

/// A member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its life, once it was seen.
    pub incarnation: Option<Incarnation>,
    /// There is a connection. True for this node itself.
    pub connected: bool,
    /// It serves all its tables in the present epoch.
    pub ready: bool,
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node in this life.
    pub me: Peer,
    /// The last opened epoch; 0 before the first.
    pub epoch: u64,
    /// Transactions can be committed here as far as this node is concerned; else an epoch change is awaited.
    pub open: bool,
    /// All tables are loaded and reads are served.
    pub complete: bool,
    /// By id.
    pub members: Vec<MemberStatus>,
    /// Prepared transactions without an outcome: those of other coordinators, and own ones past their deadline.
    pub in_doubt: usize,
    /// Outcomes remembered.
    pub outcomes: usize,
    /// Tables whose copies were all in memory and lost.
    pub came_back_empty: Vec<TableId>,
    /// Tables in which rows of this node were replaced by the chain's: table, rows, newer ones among them.
    pub replaced: Vec<(TableId, u64, u64)>,
    /// Bytes of rows and digests that came in copies, since this life began.
    pub copied_bytes: u64,
    /// Transactions that were committed to tables while they were copied, since this life began.
    pub copied_commits: u64,
}

/// What loading found in this life.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    pub(crate) came_back_empty: Vec<TableId>,
    pub(crate) replaced: Vec<(TableId, u64, u64)>,
    pub(crate) copied_bytes: u64,
    pub(crate) copied_commits: u64,
}

impl Replica {
    /// Where this node stands. Takes every lock in turn; for people, not for paths.
    pub fn status(&self, now: Now) -> Status {
        let in_doubt = self.in_doubt(now).len();
        let outcomes = self.shards.each().map(|shard| shard.outcomes.len()).sum();
        let era = self.shared();
        let loads = self.loads.lock();
        let member = |(at, member): (usize, &Member)| MemberStatus {
            node: member.node,
            name: member.name.clone(),
            incarnation: era.peers[at].incarnation,
            connected: era.peers[at].connected,
            ready: era.is_open() && era.peers[at].ready == era.number(),
        };
        Status {
            me: self.me,
            epoch: era.number(),
            open: era.is_open(),
            complete: era.complete && era.live,
            members: self.slots.iter().map(member).collect(),
            in_doubt,
            outcomes,
            came_back_empty: loads.came_back_empty.clone(),
            replaced: loads.replaced.clone(),
            copied_bytes: loads.copied_bytes,
            copied_commits: loads.copied_commits,
        }
    }

    /// The transactions prepared here that wait for an outcome, oldest first. In a calm cluster this is what is under way.
    pub fn in_doubt(&self, now: Now) -> Vec<InDoubt> {
        let age_ms = |began_ns: u64| now.mono_ns.saturating_sub(began_ns) / 1_000_000;
        let mut doubts = Vec::new();
        for shard in self.shards.each() {
            let prepared =
                |held: &Held| matches!(held.phase, Holding::Logging(_) | Holding::Voted | Holding::Aborting);
            doubts.extend(shard.held.iter().filter(|(_, held)| prepared(held)).map(|(txid, held)| InDoubt {
                txid: *txid,
                age_ms: age_ms(held.began_ns),
                keys: held.work.writes.len(),
                holder: self.slots.node(held.coordinator),
            }));
            let own = shard.coordinated.iter().filter(|(_, one)| {
                one.answered && matches!(one.phase, Deciding::Voting { .. } | Deciding::Aborting { .. })
            });
            doubts.extend(own.map(|(txid, one)| InDoubt {
                txid: *txid,
                age_ms: age_ms(one.began_ns),
                keys: one.work.writes.len(),
                holder: self.me.node,
            }));
        }
        let recovered = self.recovered.lock();
        doubts.extend(recovered.values().map(|one| InDoubt {
            txid: one.txid,
            age_ms: 0,
            keys: one.work.writes.len(),
            holder: one.txid.node,
        }));
        doubts.sort_by_key(|doubt| (std::cmp::Reverse(doubt.age_ms), doubt.txid));
        doubts
    }
}
