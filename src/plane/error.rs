//! What can go wrong in a control plane. Every variant says whether state changed and whether a retry is safe.

use std::io;
use std::path::PathBuf;

use super::voter::{RaftId, Voter};

/// Why a control plane could not be opened. Nothing was changed, but for a missing file that may have been made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{doing} {}: {error}", file.display())]
    Io { file: PathBuf, doing: &'static str, error: io::Error },
    /// A voter without its votes must not come back as the same one.
    #[error(
        "{} is damaged: {what}. Move it away and start again: this node comes back as a new voter, \
         and the others must take it in the place of the old one",
        file.display()
    )]
    Damaged { file: PathBuf, what: String },
    #[error("{} is no file of a control plane: move it away, or name another directory", file.display())]
    Foreign { file: PathBuf },
    #[error("{} has format {found}, this release knows {known}: run the release that wrote it", file.display())]
    Version { file: PathBuf, found: u16, known: u16 },
    #[error("{} belongs to cluster {found:?}, not to {wanted:?}: name another directory", file.display())]
    OtherCluster { file: PathBuf, found: String, wanted: String },
    #[error(
        "the snapshot in the file of the control plane is not understood: {0}. Run the release that wrote it"
    )]
    Machine(String),
    #[error("configuration of the control plane: {0}")]
    Config(String),
    /// What the consensus library found wrong with what is in the file.
    #[error("the control plane does not start: {0}")]
    Raft(String),
}

/// What a store said. Each of them stops the plane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The change may be in the file or not. Opening it again finds out.
    #[error("{}: whether the last change is in it is unknown ({what}): start the node again", file.display())]
    Unknown { file: PathBuf, what: String },
    /// Nothing changed.
    #[error("reading {}: {what}", file.display())]
    Unreadable { file: PathBuf, what: String },
    /// The machine did not take a snapshot. The machine did not change.
    #[error("a snapshot of the control plane is not understood: {0}")]
    Machine(String),
    /// It could be sent to nobody and not be read again, so it was not kept. Nothing changed.
    #[error(
        "a snapshot of the control plane has {bytes} bytes, at most {limit} can be kept: remove members that are gone"
    )]
    TooLong { bytes: usize, limit: usize },
    /// The plane was shut down. Nothing changed.
    #[error("the control plane was shut down")]
    Closed,
}

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    /// Nothing changed. Safe to retry, at the leader if one is known.
    #[error("this node does not lead the control plane{}", named(leader))]
    NotLeader { leader: Option<(RaftId, Voter)> },
    /// Nothing changed, and nothing will.
    #[error("a command of {bytes} bytes, at most {limit} are taken")]
    TooLong { bytes: usize, limit: usize },
    /// It may have been applied, may be yet, or never. A retry is safe only if the machine takes the command twice.
    #[error("whether the command is agreed is unknown: leadership was lost or confirmed too late")]
    Unknown,
    /// Nothing changed. Retry at another node, or here after it was started again.
    #[error("the control plane of this node has stopped: {0}")]
    Stopped(String),
}

/// Why the voters were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Nothing changed. Safe to retry, at the leader if one is known.
    #[error("this node does not lead the control plane{}", named(leader))]
    NotLeader { leader: Option<(RaftId, Voter)> },
    /// Nothing changed. Retry when the members are settled.
    #[error("another change of the voters is not yet agreed")]
    InProgress,
    /// Nothing changed: who votes must have been a learner before.
    #[error("voter {0} is not known: add it as a learner first")]
    NotALearner(RaftId),
    /// Nothing changed. Another leader can do it, once this node has stopped. A change that was left half way by an earlier leader
    /// is ended here by asking for voters that include this one.
    #[error("a leader does not remove itself, and a control plane is not left without voters")]
    Needed,
    /// It may be agreed, may be yet, by half (then both lists count together) or never. Asking for the same voters again,
    /// of who leads, is safe and ends a change that was left half way.
    #[error(
        "whether the change of the voters is agreed is unknown: leadership was lost or confirmed too late"
    )]
    Unknown,
    /// Nothing changed.
    #[error("the control plane of this node has stopped: {0}")]
    Stopped(String),
}

/// Why a control plane was not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InitializeError {
    /// Nothing changed, and nothing needs to: it was begun before.
    #[error("this control plane has begun already")]
    Already,
    /// Nothing changed.
    #[error("this voter is not among the first ones")]
    NotAmongThem,
    #[error("the control plane of this node has stopped: {0}")]
    Stopped(String),
}

fn named(leader: &Option<(RaftId, Voter)>) -> String {
    leader.as_ref().map_or(String::new(), |(_, voter)| format!(", ask {} at {}", voter.name, voter.address))
}
