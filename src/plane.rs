//! The control plane of a cluster: consensus among a few voters over a few small facts. No data goes through it; a command
//! is a membership event. What the facts mean is a [`Machine`]'s, what carries requests is a [`Wire`]'s, consensus itself is
//! openraft's.
//!
//! What is believed: a majority of the voters keeps its stores; clocks run, but need not agree. What never happens: two
//! orders of commands, a command that is lost after its proposer was told, a voter that votes twice because it forgot, a
//! leader whose [`Authority`] reaches into the time of a later one.
//!
//! Two things are done here and not by openraft 0.9, whose own timers are off. *Elections* (`campaign`): it draws the
//! election timeout once in a life (openraft#1838, changed in 0.10 only), so voters that collide once are likely to collide
//! again, and without asking first a voter that was cut off comes back with a high term and ends the leadership of a leader
//! that served everybody. *Rounds* (`rounds`): a leader without a majority keeps its followers from electing another one
//! for as long as they hear it (openraft#2080), and never says when it was last confirmed.
//!
//! A leader is not removed from the voters: while that is not yet agreed it has the newest log and may not stand, and
//! nobody else may be elected (openraft#2091). Whoever leads removes others; a node that leaves stops first.
//!
//! | module | noun |
//! |---|---|
//! | [`machine`], [`wire`] | the borders: what commands mean; the network |
//! | [`voter`], [`view`], [`error`] | who takes part; how things stand; what can go wrong |
//! | `kind`, `log`, `state`, `link`, `message` | openraft with our types, storage and network |
//! | `gate` | what may still be said as a leader |
//! | `store`, `keeper` | the file; the thread that may wait for it |
//! | `campaign`, `rounds` | becoming leader; staying it |

mod campaign;
mod config;
mod core;
mod error;
mod gate;
mod keeper;
mod kind;
mod link;
mod log;
mod machine;
mod message;
mod rounds;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod voter;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hypermnesia_store::disc::Disc;
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::core::Core;
pub(crate) use config::{Config, Place};
pub(crate) use error::{ChangeError, InitializeError, OpenError, ProposeError};
pub(crate) use machine::Machine;
pub(crate) use message::BadMessage;
pub(crate) use view::{Authority, View};
pub(crate) use voter::{RaftId, Term, Voter};
pub(crate) use wire::{Reply, Unreachable, Wire};

use crate::limits::PLANE_COMMAND_BYTES_MAX;
use gate::Gate;
use kind::{Raft, Snapshot};
use link::Links;
use log::Log;
use message::{Answer, Ask, Refusal, Request};

type Written = openraft::raft::ClientWriteResponse<kind::Kind>;
type WriteFailed = RaftError<RaftId, ClientWriteError<RaftId, Voter>>;

/// Takes the file of a control plane away that was shut down, if there is one.
pub(crate) fn remove(disc: &dyn Disc) -> std::io::Result<()> {
    match disc.remove(store::FILE_NAME) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => disc.sync_names(),
    }
}

/// A member's part of the control plane.
pub(crate) struct Plane {
    core: Arc<Core>,
    stop: watch::Sender<bool>,
    /// Held for a move.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Plane {
    /// Opens the store, or makes one, and takes part from then on: as nothing until it is a learner or a voter somewhere. Runs on
    /// the runtime it is called on, until [`Plane::shutdown`] or the end of that runtime; who only drops it leaves it running.
    pub(crate) async fn open(
        config: Config,
        machine: Box<dyn Machine>,
        wire: Arc<dyn Wire>,
    ) -> Result<Plane, OpenError> {
        let settings = config.raft()?;
        let keeper = Arc::new(config.keeper().await?);
        let me = keeper.run(|store| Ok(store.raft())).await;
        let me = me.map_err(|error| OpenError::Raft(error.to_string()))?;
        let gate = Arc::new(Gate::default());
        let links = Links::new(&config.cluster, wire, gate.clone(), config.heartbeat);
        let state = state::State::restored(machine, keeper.clone()).await;
        let raft = match state {
            Ok(state) => {
                Raft::new(
                    me,
                    settings,
                    links.clone(),
                    Log { keeper: keeper.clone(), gate: gate.clone() },
                    state,
                )
                .await
            }
            Err(error) => {
                keeper.close().await;
                return Err(error);
            }
        };
        let raft = match raft {
            Ok(raft) => raft,
            Err(error) => {
                keeper.close().await;
                return Err(OpenError::Raft(error.to_string()));
            }
        };
        let core = Arc::new(Core::new(me, raft, links, gate, keeper, config));
        let (stop, stopping) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(until(stopping.clone(), campaign::stand(core.clone()))),
            tokio::spawn(until(stopping.clone(), rounds::lead(core.clone()))),
            tokio::spawn(until(stopping, view::publish(core.clone()))),
        ];
        Ok(Plane { core, stop, tasks: Mutex::new(tasks) })
    }

    /// The id of this store of votes.
    pub(crate) fn raft_id(&self) -> RaftId {
        self.core.me
    }

    /// Begins a control plane with these voters, this one among them. Safe to call on several of them with the same voters, and
    /// again; with other voters it makes two control planes, so a cluster begins once. Until a first command is agreed the voters
    /// may be known to this one alone: if its store is lost by then, the others' must be made anew.
    pub(crate) async fn initialize(&self, voters: BTreeMap<RaftId, Voter>) -> Result<(), InitializeError> {
        use openraft::error::InitializeError::{NotAllowed, NotInMembers};
        match self.core.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(NotAllowed(_))) => Err(InitializeError::Already),
            Err(RaftError::APIError(NotInMembers(_))) => Err(InitializeError::NotAmongThem),
            Err(RaftError::Fatal(error)) => Err(InitializeError::Stopped(error.to_string())),
        }
    }

    /// Has a command agreed and applied; the index it got, and what the machine answered.
    pub(crate) async fn propose(&self, command: Vec<u8>) -> Result<(u64, Vec<u8>), ProposeError> {
        if command.len() > PLANE_COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes: command.len(), limit: PLANE_COMMAND_BYTES_MAX });
        }
        self.leading().map_err(|refused| match refused {
            NotLeading::Stopped(why) => ProposeError::Stopped(why),
            NotLeading::Other(leader) => ProposeError::NotLeader { leader },
        })?;
        // Who led when it was asked and says no then may have had the command in its log: openraft says the same of a command
        // that was cut off a log that another leader's replaced. Somebody else may hold it still, and be elected.
        let written =
            self.bounded(self.core.raft.client_write(command)).await.ok_or(ProposeError::Unknown)?;
        let written = written.map_err(|_| ProposeError::Unknown)?;
        Ok((written.log_id.index, written.data))
    }

    /// Lets a node follow without a vote, and waits until it has caught up. Unless it does in time, [`ChangeError::Unknown`] is
    /// the answer, and it may be one already.
    pub(crate) async fn add_learner(&self, id: RaftId, voter: Voter) -> Result<(), ChangeError> {
        // Not openraft's own waiting: who has nothing at all has caught up for it, as long as the log is short.
        let added = self.changed(self.core.raft.add_learner(id, voter, false)).await?;
        let mut metrics = self.core.raft.metrics();
        let caught_up = metrics.wait_for(|metrics| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
            metrics.replication.is_none() || matched >= Some(added.log_id)
        });
        match self.bounded(caught_up).await {
            Some(Ok(metrics)) if metrics.replication.is_some() => Ok(()),
            _ => Err(ChangeError::Unknown),
        }
    }

    /// Lets a learner follow no more.
    pub(crate) async fn remove_learner(&self, id: RaftId) -> Result<(), ChangeError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
        self.changed(self.core.raft.change_membership(change, false)).await.map(drop)
    }

    /// Makes these the voters, all of whom are learners or voters by now. Who is no voter any more is forgotten.
    pub(crate) async fn change_voters(&self, voters: BTreeSet<RaftId>) -> Result<(), ChangeError> {
        if !voters.contains(&self.core.me) && self.view().leading {
            return Err(ChangeError::Needed);
        }
        self.changed(self.core.raft.change_membership(voters, false)).await.map(drop)
    }

    /// Lets another voter lead, if this one does: it is silent until one is elected, or for as long as that may take.
    pub(crate) fn hand_over(&self) {
        self.core.hands_over.store(true, Ordering::Release);
    }

    /// How things stand.
    pub(crate) fn view(&self) -> View {
        self.core.view()
    }

    /// The same, each time it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.core.views.subscribe()
    }

    /// Handles a request that came by the wire. Dropping the future may leave the request handled and the answer untold.
    ///
    /// # Errors
    /// The bytes are no request of ours; nothing changed, and who sent them is not to be trusted.
    pub(crate) async fn on_request(&self, request: &[u8]) -> Result<Vec<u8>, BadMessage> {
        let Request { cluster, to, ask } = Request::decode(request)?;
        let answer = if cluster != self.core.config.cluster {
            Answer::Refused(Refusal::Cluster)
        } else if to != self.core.me {
            Answer::Refused(Refusal::NotMe)
        } else {
            self.answer(ask).await.unwrap_or(Answer::Refused(Refusal::Stopped))
        };
        Ok(answer.encode())
    }

    async fn answer(&self, ask: Ask) -> Option<Answer> {
        let raft = &self.core.raft;
        match ask {
            Ask::Append(append) => raft.append_entries(append).await.ok().map(Answer::Append),
            Ask::Vote(ask) => raft.vote(ask).await.ok().map(Answer::Vote),
            Ask::Snapshot { vote, last, members, bytes } => {
                let held = store::Held { last: Some(last), members, bytes };
                let snapshot: Snapshot = state::snapshot(held);
                let installed = raft.install_full_snapshot(vote, snapshot).await;
                installed.ok().map(|answer| Answer::Snapshot(answer.vote))
            }
            Ask::Canvass { last } => campaign::on_canvass(&self.core, last).await.map(Answer::Canvass),
        }
    }

    /// Takes no further part, and waits until nothing of it runs but requests that the wire still carries, which end within an
    /// election timeout.
    pub(crate) async fn shutdown(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the control plane did not end well");
            }
        }
        if let Err(error) = self.core.raft.shutdown().await {
            tracing::error!(%error, "the consensus of the control plane did not end well");
        }
        self.core.keeper.close().await;
        self.core.publish();
    }

    /// Whether this node may be asked to change anything.
    fn leading(&self) -> Result<(), NotLeading> {
        let view = self.view();
        match &view.stopped {
            Some(why) => Err(NotLeading::Stopped(why.clone())),
            None if !view.leading || self.core.gate.is_silent() => {
                let other = view.leader.filter(|(id, _)| *id != self.core.me);
                Err(NotLeading::Other(other))
            }
            None => Ok(()),
        }
    }

    async fn changed(
        &self,
        change: impl Future<Output = Result<Written, WriteFailed>>,
    ) -> Result<Written, ChangeError> {
        self.leading().map_err(|refused| match refused {
            NotLeading::Stopped(why) => ChangeError::Stopped(why),
            NotLeading::Other(leader) => ChangeError::NotLeader { leader },
        })?;
        let failed = match self.bounded(change).await {
            Some(Ok(written)) => return Ok(written),
            Some(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(failed)))) => failed,
            Some(Err(_)) | None => return Err(ChangeError::Unknown),
        };
        Err(match failed {
            ChangeMembershipError::InProgress(_) => ChangeError::InProgress,
            ChangeMembershipError::EmptyMembership(_) => ChangeError::Needed,
            ChangeMembershipError::LearnerNotFound(missing) => ChangeError::NotALearner(missing.node_id),
        })
    }

    async fn bounded<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.core.config.patience, call).await.ok()
    }
}

/// Why this node cannot be asked.
enum NotLeading {
    Stopped(String),
    Other(Option<(RaftId, Voter)>),
}

/// Runs a part of the plane until it is to stop, or has nothing more to do.
async fn until(mut stopping: watch::Receiver<bool>, part: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        _ = stopping.wait_for(|stop| *stop) => {}
        () = part => {}
    }
}
