//! Who takes part in the consensus. A [`RaftId`] is drawn when a store is made and lost with it: who has forgotten his votes
//! must not count as the voter who gave them. Which node that is, and where it is found, is said by its [`Voter`].

use std::fmt;

use hypermnesia_store::{NodeId, codec};
use serde::{Deserialize, Serialize};

/// One store of votes, for its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RaftId(pub(crate) u64);

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The node behind a raft id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Voter {
    pub(crate) node: NodeId,
    #[serde(deserialize_with = "codec::text")]
    pub(crate) name: String,
    #[serde(deserialize_with = "codec::text")]
    pub(crate) address: String,
}

impl Default for Voter {
    /// Nobody. The consensus library wants one for members without a node, which we never make.
    fn default() -> Voter {
        Voter { node: NodeId(0), name: String::new(), address: String::new() }
    }
}

/// A leadership. Terms of the same number belong to different leaders when two were elected one after the other in it; the
/// one with the higher raft id is the later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term {
    pub(crate) number: u64,
    pub(crate) leader: RaftId,
}
