//! What became of a command. A refusal is a value: it says why, and that nothing changed. See
//! [`register`](crate::register).

use hypermnesia_store::{NodeId, TableId};
use serde::{Deserialize, Serialize};

use super::{RegisterError, Role};
use crate::limits::{MEMBERS_MAX, UNSERVED_MAX};

const ANSWER_KIND: u16 = 0x5202;

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The register has changed.
    Done,
    /// It was so already; nothing has changed.
    Already,
    /// Nothing has changed.
    Refused(Refusal),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        Answer::Refused(refusal)
    }
}

impl Answer {
    /// It is so now.
    pub fn is_done(&self) -> bool {
        !matches!(self, Answer::Refused(_))
    }

    /// For whoever proposed the command.
    pub fn encode(&self) -> Vec<u8> {
        super::seal(ANSWER_KIND, self)
    }

    /// The answer to a command.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn decode(bytes: &[u8]) -> Result<Answer, RegisterError> {
        super::open(ANSWER_KIND, "an answer", bytes)
    }
}

/// Why a command was refused. Each time it may be sent anew once the cause is gone, with what the register says then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Nothing works before the founding command.
    #[error("the cluster is not founded yet: found it first")]
    NotFounded,
    /// There is a cluster already, and it is another one.
    #[error("this is cluster {cluster:032x} already: a cluster is founded once")]
    FoundedOtherwise {
        /// Its id.
        cluster: u128,
    },
    /// Founding without nodes.
    #[error("a cluster begins with at least one node: name it")]
    NoNodes,
    /// A name or address is unusable.
    #[error("a name or address must have 1 to {bytes_max} bytes and no control characters: choose another")]
    BadText {
        /// The most it may have.
        bytes_max: u64,
    },
    /// No slot is free.
    #[error("{MEMBERS_MAX} nodes are enlisted, the most there can be: strike one first")]
    Full,
    /// The register has changed since the sender looked.
    #[error("the command is for revision {seen}, the register has {revision}: look again")]
    Stale {
        /// What the sender saw.
        seen: u64,
        /// The present one.
        revision: u64,
    },
    /// There is no such node.
    #[error("node {node} is not enlisted: enlist it first")]
    NotEnlisted {
        /// Which.
        node: NodeId,
    },
    /// A node with this id is enlisted with another name, address, role or store.
    #[error("node {node} is enlisted otherwise: change its address, strike it, or choose another name")]
    EnlistedOtherwise {
        /// Which.
        node: NodeId,
    },
    /// Two nodes would have the same voting store.
    #[error("voting store {raft} is that of node {node}: a data directory must not be copied")]
    StoreTaken {
        /// The store.
        raft: u64,
        /// Whose it is.
        node: NodeId,
    },
    /// An epoch needs the node.
    #[error("node {node} is a member of epoch {epoch}: take it out and wait for the next epoch to open")]
    IsMember {
        /// Which.
        node: NodeId,
        /// The epoch.
        epoch: u64,
    },
    /// It keeps no tables.
    #[error("node {node} is a {role:?}: only data nodes are members")]
    NoDataNode {
        /// Which.
        node: NodeId,
        /// What it is.
        role: Role,
    },
    /// Another epoch was agreed on first, or this one long ago.
    #[error("epoch {latest} is the latest: the next one has the number behind it")]
    NotNext {
        /// The latest; 0 if there is none.
        latest: u64,
    },
    /// Members are to be named once each, by id, and at least one.
    #[error("an epoch has at least one member, and names each once, by id")]
    BadMembers,
    /// What the founders bring with them has no number.
    #[error("epochs are numbered from 1: found the cluster with what its nodes know, or with nothing")]
    BadCarried,
    /// The first epochs, until one opens, are for founding, and no later ones are.
    #[error("epochs are for founding exactly until one has opened, and {opened} is the last opened one")]
    BadCause {
        /// Its number; 0 if none ever was.
        opened: u64,
    },
    /// Everything that is known would be lost.
    #[error(
        "nobody of epoch {opened} would be left in the same life: wait for one, or restart from what is on disc"
    )]
    NoSurvivor {
        /// The last opened one.
        opened: u64,
    },
    /// Only the latest epoch opens.
    #[error("epoch {latest} is the latest: no other one can open")]
    NotLatest {
        /// The latest; 0 if there is none.
        latest: u64,
    },
    /// It is open, and began with something else.
    #[error("epoch {number} is open and began otherwise: take it from the register")]
    OpenedOtherwise {
        /// Which.
        number: u64,
    },
    /// Tables are to be named once each, by id, with earlier epochs.
    #[error("{table} is named twice, out of order, or as served in an epoch that has not been")]
    BadUnserved {
        /// Which.
        table: TableId,
    },
    /// More than the register keeps.
    #[error(
        "{tables} tables are not served, at most {UNSERVED_MAX} can be noted: bring their nodes back first"
    )]
    TooManyUnserved {
        /// How many there are.
        tables: u64,
    },
    /// A slot is named twice, or is none, or not each node has one.
    #[error("each node of a founding needs a slot of its own below {MEMBERS_MAX}: begin again")]
    BadSlots,
}
