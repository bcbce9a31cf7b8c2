//! The consensus library with our types in it.

use openraft::impls::OneshotResponder;
use openraft::{CommittedLeaderId, RaftTypeConfig, TokioRuntime};
use serde::{Deserialize, Serialize};

use super::voter::{RaftId, Term, Voter};

/// Commands and answers are bytes; so is a snapshot, which is sent whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Kind;

impl RaftTypeConfig for Kind {
    type D = Vec<u8>;
    type R = Vec<u8>;
    type NodeId = RaftId;
    type Node = Voter;
    type Entry = openraft::Entry<Kind>;
    type SnapshotData = Vec<u8>;
    type AsyncRuntime = TokioRuntime;
    type Responder = OneshotResponder<Kind>;
}

pub(super) type Raft = openraft::Raft<Kind>;
pub(super) type Entry = openraft::Entry<Kind>;
pub(super) type LogId = openraft::LogId<RaftId>;
pub(super) type Vote = openraft::Vote<RaftId>;
pub(super) type Members = openraft::StoredMembership<RaftId, Voter>;
pub(super) type Meta = openraft::SnapshotMeta<RaftId, Voter>;
pub(super) type Snapshot = openraft::Snapshot<Kind>;
pub(super) type StorageError = openraft::StorageError<RaftId>;
pub(super) type Append = openraft::raft::AppendEntriesRequest<Kind>;
pub(super) type Appended = openraft::raft::AppendEntriesResponse<RaftId>;
pub(super) type VoteRequest = openraft::raft::VoteRequest<RaftId>;
pub(super) type VoteAnswer = openraft::raft::VoteResponse<RaftId>;
pub(super) type Fatal = openraft::error::Fatal<RaftId>;

impl From<CommittedLeaderId<RaftId>> for Term {
    fn from(id: CommittedLeaderId<RaftId>) -> Term {
        Term { number: id.term, leader: id.node_id }
    }
}
