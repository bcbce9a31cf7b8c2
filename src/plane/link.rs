//! The consensus library's network over a [`Wire`]. An answer that is none counts as no answer.
//! What a leader sends as such passes the [`Gate`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::SnapshotResponse;

use super::gate::Gate;
use super::kind::{Append, Appended, Fatal, Kind, Snapshot, Vote, VoteAnswer, VoteRequest};
use super::message::{Answer, Ask, BadMessage, Refusal, Request};
use super::voter::{RaftId, Voter};
use super::wire::{self, Wire};

/// Makes links, and holds what all of them share.
#[derive(Clone)]
pub(super) struct Links {
    cluster: Arc<str>,
    wire: Arc<dyn Wire>,
    gate: Arc<Gate>,
    /// Between two attempts at who does not answer.
    pause: Duration,
}

/// Towards one voter or learner.
pub(super) struct Link {
    links: Links,
    to: RaftId,
    voter: Voter,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error(transparent)]
    Unreachable(#[from] wire::Unreachable),
    #[error(transparent)]
    Bad(#[from] BadMessage),
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("it was not sent: this node leads no more, or is silent so that another one can be elected")]
    Shut,
    #[error("no answer in time")]
    Late,
}

type Failed = RPCError<RaftId, Voter, RaftError<RaftId>>;

impl Links {
    pub(super) fn new(cluster: &str, wire: Arc<dyn Wire>, gate: Arc<Gate>, pause: Duration) -> Links {
        Links { cluster: cluster.into(), wire, gate, pause }
    }

    pub(super) fn link(&self, to: RaftId, voter: &Voter) -> Link {
        Link { links: self.clone(), to, voter: voter.clone() }
    }
}

impl Link {
    /// Asks, and waits for as long as the wire does.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, NoAnswer> {
        let led = match &ask {
            Ask::Append(append) => Some(append.vote),
            Ask::Snapshot { vote, .. } => Some(*vote),
            Ask::Vote(_) | Ask::Canvass { .. } => None,
        };
        if led.is_some_and(|vote| !self.links.gate.passes(vote.leader_id.into())) {
            return Err(NoAnswer::Shut);
        }
        let asked = ask.asked();
        let request = Request { cluster: self.links.cluster.to_string(), to: self.to, ask }.encode();
        let bytes = self.links.wire.send(self.to, &self.voter, request).await?;
        match Answer::decode(&bytes, &asked)? {
            Answer::Refused(refusal) => Err(NoAnswer::Refused(refusal)),
            answer => Ok(answer),
        }
    }

    async fn snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<Vote, NoAnswer> {
        let unsound = |what| NoAnswer::Bad(BadMessage::Unsound(what));
        let last = snapshot.meta.last_log_id.ok_or(unsound("a snapshot of nothing"))?;
        let members = snapshot.meta.last_membership;
        match self.ask(Ask::Snapshot { vote, last, members, bytes: *snapshot.snapshot }).await? {
            Answer::Snapshot(vote) => Ok(vote),
            _ => Err(unsound("an answer to another question")),
        }
    }
}

/// Waiting a little before the next attempt is right for all of them.
fn failed(why: &NoAnswer) -> Unreachable {
    Unreachable::new(why)
}

const OTHER: NoAnswer = NoAnswer::Bad(BadMessage::Unsound("an answer to another question"));

impl RaftNetwork<Kind> for Link {
    async fn append_entries(&mut self, append: Append, _: RPCOption) -> Result<Appended, Failed> {
        match self.ask(Ask::Append(append)).await {
            Ok(Answer::Append(answer)) => Ok(answer),
            Ok(_) => Err(failed(&OTHER).into()),
            Err(why) => Err(failed(&why).into()),
        }
    }

    async fn vote(&mut self, ask: VoteRequest, _: RPCOption) -> Result<VoteAnswer, Failed> {
        match self.ask(Ask::Vote(ask)).await {
            Ok(Answer::Vote(answer)) => Ok(answer),
            Ok(_) => Err(failed(&OTHER).into()),
            Err(why) => Err(failed(&why).into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<RaftId>, StreamingError<Kind, Fatal>> {
        let sent = tokio::time::timeout(option.hard_ttl(), self.snapshot(vote, snapshot));
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            answer = sent => answer.unwrap_or(Err(NoAnswer::Late)),
        };
        answer.map(SnapshotResponse::new).map_err(|why| failed(&why).into())
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.links.pause))
    }
}

impl RaftNetworkFactory<Kind> for Links {
    type Network = Link;

    async fn new_client(&mut self, to: RaftId, voter: &Voter) -> Link {
        self.link(to, voter)
    }
}
