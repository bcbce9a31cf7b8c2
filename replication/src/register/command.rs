//! What the control plane is asked to agree on. A command says all that its effect depends on, so that it means the same
//! wherever and whenever it is applied. See [`register`](crate::register).

use hypermnesia_store::{NodeId, codec};
use serde::{Deserialize, Serialize};

use super::{Carried, Cause, Opening, RegisterError};
use crate::member::Peer;

const COMMAND_KIND: u16 = 0x5201;

/// What an enlisted node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It can be a member of epochs, and votes.
    Data,
    /// It only votes in the control plane.
    Witness,
}

/// A node to enlist. Its id follows from its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enlisting {
    /// What people call it.
    #[serde(deserialize_with = "codec::text")]
    pub name: String,
    /// Where other nodes reach it.
    #[serde(deserialize_with = "codec::text")]
    pub address: String,
    /// What it is for, for good: another role takes striking it first.
    pub role: Role,
    /// The id of its voting store, if it has one. A store that was lost comes back as another one.
    pub raft: Option<u64>,
}

/// A change of who is enlisted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node becomes known and gets a slot.
    Enlist(Enlisting),
    /// It is reached somewhere else, or has another voting store.
    Readdress {
        /// Who.
        node: NodeId,
        /// Where it is reached from now on.
        #[serde(deserialize_with = "codec::text")]
        address: String,
        /// Its voting store from now on.
        raft: Option<u64>,
    },
    /// It is to leave in good order.
    Drain(NodeId),
    /// It is to stay after all.
    Undrain(NodeId),
    /// It is forgotten and its slot is free.
    Strike(NodeId),
}

/// See the file's header. The order of variants and fields is what is on disc and on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster begins. Slots are given by node id.
    Found {
        /// Random, for good.
        cluster: u128,
        /// What people call it.
        #[serde(deserialize_with = "codec::text")]
        name: String,
        /// Whom it begins with.
        nodes: Vec<Enlisting>,
        /// The slot of each; nothing: they get theirs by id. Whoever begins anew keeps those that all know.
        slots: Vec<u8>,
        /// The last opened epoch that any of them knows of, if there was one before there was a register.
        carried: Option<Carried>,
        /// The highest number of an epoch that any of them has heard of; 0 if none: what was agreed on before this, and is
        /// forgotten, keeps its number.
        floor: u64,
    },
    /// Somebody is enlisted, changes, or is struck.
    Roster {
        /// The register's revision that the sender saw: this is to be the next change.
        seen: u64,
        /// What changes.
        change: Change,
    },
    /// The next epoch.
    Agree {
        /// One more than the latest.
        number: u64,
        /// By node id.
        members: Vec<Peer>,
        /// What it is for.
        why: Cause,
    },
    /// All members of the latest epoch have staged it.
    Open {
        /// Which.
        number: u64,
        /// With what.
        opening: Opening,
    },
}

impl Command {
    /// For the log of the control plane.
    pub fn encode(&self) -> Vec<u8> {
        super::seal(COMMAND_KIND, self)
    }

    /// A command from that log.
    ///
    /// # Errors
    /// [`RegisterError`]: whoever cannot read a command must not apply those behind it.
    pub fn decode(bytes: &[u8]) -> Result<Command, RegisterError> {
        super::open(COMMAND_KIND, "a command", bytes)
    }
}
