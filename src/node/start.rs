//! How a node begins: its directory, its replica, and its threads.

use std::sync::Arc;

use hypermnesia_replication::limits::CopyBounds;
use hypermnesia_replication::{
    LogState, Member, Peer, Recovered, RecoveredPrepare, Replica, ReplicaConfig, check_members, members_of,
};
use hypermnesia_store::disc::{self, Opened, Opener, RealDisc, Replayed};
use hypermnesia_store::{Incarnation, NodeId, Store, StoreConfig};

use super::Node;
use crate::builder::{NodeBuilder, Plan};
use crate::core::{Core, Parts, wall_ms};
use crate::disc::Disc;
use crate::error::{Error, Result};
use crate::life::Life;
use crate::machine;
use crate::peer::{self, Peers};

impl Node {
    /// Starts it, with what its directory has.
    pub(crate) fn start(builder: NodeBuilder) -> Result<Node> {
        let plan = builder.check()?;
        let disc = plan.data_dir.as_deref().map(RealDisc::open).transpose();
        let disc = disc.map_err(|error| Error::Disc(error.to_string()))?;
        Node::start_on(disc.map(|disc| Arc::new(disc) as _), plan)
    }

    /// Starts it with its log and image on this disc, if on any.
    pub(crate) fn start_on(disc: Option<Arc<dyn disc::Disc>>, plan: Plan) -> Result<Node> {
        let votes = disc.clone();
        let now_ms = wall_ms();
        let store = Arc::new(Store::new(StoreConfig { wall_ms: now_ms }));
        let opened = disc.map(|disc| open(disc, &store, &plan)).transpose()?;
        let known = opened.as_ref().map(|opened| members_now(&plan, opened)).transpose()?.flatten();
        let (founded, members) = match known {
            Some(known) => known,
            None if plan.join.is_empty() => (None, plan.slots()),
            None => peer::ask(&plan).map(|(founded, members)| (Some(founded), members))?,
        };
        let (parts, replayed) = match opened {
            Some(Opened { writer, checkpointer, replayed, lock, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!(node = %plan.name, "{warning}"));
                (Some((writer, checkpointer, lock)), replayed)
            }
            None => (None, Replayed::default()),
        };
        // Above the life before, whatever the wall clock says.
        let incarnation = Incarnation(now_ms.max(replayed.incarnation.map_or(0, |last| last.0 + 1)));
        let me = Peer { node: plan.me, incarnation };
        let checkpoint_bytes = plan.disc.checkpoint_bytes;
        let disc =
            parts.map(|(writer, checkpointer, lock)| Disc::new(writer, checkpointer, lock, checkpoint_bytes));
        if let Some(disc) = &disc {
            disc.begin(incarnation)?;
        }
        if plan.memory_max > 0 {
            store.bound_memory(plan.me, plan.memory_max);
        }
        let config = ReplicaConfig {
            node: plan.me,
            incarnation: me.incarnation,
            members: members.clone(),
            durable: disc.is_some(),
            copy: CopyBounds::default(),
        };
        let replica = Replica::new(config, Arc::clone(&store), recovered(replayed));
        if let Some(founded) = founded {
            replica.belongs_to(founded);
        }
        let alone = plan.is_alone();
        let Plan { name, cluster, listener, address, tls, timing, .. } = plan;
        let peers = Peers::default();
        for (slot, member) in members.iter().filter(|(_, member)| member.node != me.node) {
            peers.add(*slot, member).map_err(|error| Error::Config(error.to_string()))?;
        }
        let core = Arc::new(Core::new(Parts {
            name,
            cluster,
            peer_address: address.map(|address| address.to_string()).unwrap_or_default(),
            peers,
            alone,
            store,
            replica,
            me,
            tls,
            disc,
            timing,
        }));
        if core.disc.as_ref().is_some_and(Disc::lacks_space) {
            core.replica.set_log(LogState::NoSpace);
        }
        core.start();
        if let Some(disc) = core.disc.as_ref().filter(|_| core.is_alone()) {
            // Alone: its first epoch opens as soon as it is on disc, which nobody else has to hear of.
            while !core.replica.is_serving() && !core.is_closed() {
                disc.sync_once(&core)?;
                if disc.lacks_space() {
                    disc.open_unlogged(&core);
                }
            }
        }
        core.check_open()?;
        let life = Arc::new(Life::begin(&core, listener, address, votes)?);
        Ok(Node { core, life })
    }
}

fn open(disc: Arc<dyn disc::Disc>, store: &Store, plan: &Plan) -> Result<Opened> {
    let opener = Opener {
        node: plan.me,
        name: plan.name.clone(),
        cluster: plan.cluster.clone(),
        fresh: machine::fresh_id(),
        boot: machine::boot(),
    };
    disc::open(disc, store, &opener, plan.disc.segment_bytes).map_err(|error| Error::Disc(error.to_string()))
}

/// The id of the cluster, as far as it is known, and its members at their slots.
type Known = (Option<u128>, Vec<(usize, Member)>);

/// Whom a directory was written among: members come and go, and it knows better than the list that its process is started with.
/// That list says where they are reached now. Refused is only what was alone among several, and the other way round.
fn members_now(plan: &Plan, opened: &Opened) -> Result<Option<Known>> {
    let wanted = plan.slots();
    let Some(epoch) = opened.replayed.epoch.as_deref() else { return Ok(None) };
    let (mut known, founded) = members_of(epoch);
    if known.is_empty() {
        let now: Vec<NodeId> = wanted.iter().map(|(_, member)| member.node).collect();
        return check_members(epoch, &now)
            .map(|()| Some((None, wanted)))
            .map_err(|before| others(plan, &before));
    }
    if known.len() == 1 && wanted.len() > 1 || plan.is_alone() && known.len() > 1 {
        let known: Vec<_> = known.iter().map(|(_, member)| Some(member.node)).collect();
        return Err(others(plan, &known));
    }
    for (_, member) in &mut known {
        let now = wanted.iter().find(|(_, wanted)| wanted.node == member.node);
        member.address = now.map_or_else(|| member.address.clone(), |(_, now)| now.address.clone());
    }
    Ok(Some((founded, known)))
}

fn others(plan: &Plan, before: &[Option<NodeId>]) -> Error {
    let named = |node: &Option<NodeId>| {
        let Some(node) = node else { return "one that was away last".to_owned() };
        let known = plan.members.iter().find(|(known, ..)| known == node);
        known.map_or_else(|| format!("one not in the list now (id {node})"), |(_, name, _)| name.clone())
    };
    let now: Vec<&str> = plan.members.iter().map(|(_, name, _)| name.as_str()).collect();
    Error::Config(format!(
        "the data directory was written as a member of {} ({}), and now the members are to be {}: the list that a member is started \
         with does not change them. Start with the former list, and use \"hmn node\" and --join; to move to another cluster, export \
         the tables, start with an empty directory and import them",
        if before.len() == 1 {
            "a cluster of one".to_owned()
        } else {
            format!("a cluster of {}", before.len())
        },
        before.iter().map(named).collect::<Vec<_>>().join(", "),
        now.join(", ")
    ))
}

fn recovered(replayed: Replayed) -> Recovered {
    let prepared = replayed.prepared.into_iter();
    Recovered {
        prepared: prepared.map(|(txid, epoch, work)| RecoveredPrepare { txid, epoch, work }).collect(),
        outcomes: replayed.outcomes,
        epoch: replayed.epoch,
        last_commit: replayed.last_commit,
    }
}
