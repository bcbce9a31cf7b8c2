//! What the control parts of two lives say to each other. It goes in frames outside of the numbered stream: what a broken
//! connection takes with it is not repeated, and whoever asked asks again.

use hypermnesia_replication::NodeSet;
use hypermnesia_replication::lease::{Ask, Grant};
use hypermnesia_replication::register::{Carried, Change};
use hypermnesia_store::codec;
use serde::{Deserialize, Serialize};

use crate::limits::PLANE_MESSAGE_BYTES_MAX;

/// Bytes that a word may have: a request of the consensus, and its envelope.
const WORD_BYTES_MAX: usize = PLANE_MESSAGE_BYTES_MAX + 64;

/// One of them. The order of variants and fields is what is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// Said over and over: the sender lives, and this is so.
    Beat(Beat),
    /// A request of the consensus.
    Request {
        /// Comes back with the answer.
        id: u64,
        /// The request.
        bytes: Vec<u8>,
    },
    /// The answer to a request.
    Answer {
        /// Of the request.
        id: u64,
        /// The answer.
        bytes: Vec<u8>,
    },
    /// To the leader: a lease is wanted.
    Ask(Ask),
    /// From the leader: it is granted.
    Grant(Grant),
    /// To the leader: all members of an epoch have staged it.
    Open(Vec<u8>),
    /// To the leader: somebody is to be drained, kept or struck.
    Change(Change),
}

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// The sender's store of votes.
    pub(crate) raft: u64,
    /// That store is on a disc: one that is gone may come back.
    pub(crate) durable: bool,
    /// It knows who the voters are.
    pub(crate) begun: bool,
    /// It knows of a leader, and that leader is there.
    pub(crate) led: bool,
    /// Whom it has a connection with, itself included: positions among the configured members.
    pub(crate) hears: NodeSet,
    /// As long as it knows of no cluster: the last epoch that it took part in.
    pub(crate) carried: Option<Carried>,
    /// The highest number of an epoch that it has heard of.
    pub(crate) highest: u64,
    /// The id of the cluster that it belongs to, if it knows one.
    pub(crate) founded: Option<u128>,
}

impl Word {
    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// # Errors
    /// Bytes that are none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Word, codec::CodecError> {
        codec::decode(bytes, WORD_BYTES_MAX)
    }
}
