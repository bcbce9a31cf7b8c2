//! The register: the small state that the control plane replicates, and the one place where it is decided who is enlisted,
//! who is a member, and which epoch is open. Consensus is elsewhere; it hands in one sequence of commands, each perhaps more
//! than once, and every node that applies it comes to the same state and the same answers. That makes it a replicated
//! state machine (Schneider, "Implementing fault-tolerant services", 1990). What epochs are for is in `docs/protocol.md`.
//!
//! *What it holds to.* A number has one membership, numbers are dense, and an epoch opens only while it is the latest, so
//! opened epochs form a chain in which each names its predecessor. Nodes that had epochs before there was a register found it
//! with the last one, and the chain goes on from there. A new epoch keeps somebody of the last opened one in
//! the same life, unless everything restarted. A slot belongs to one node from its enlisting until it is struck, and
//! nobody is struck whom the latest or the last opened epoch names: their sets of nodes are sets of slots.
//!
//! *A command counts at most once,* however late it comes again. Epochs have numbers for that; changes of the roster say which
//! revision their sender saw, and only the very next change fits it. So a node that was struck is not enlisted again by an
//! old command, and an address does not fall back. What came too late is sent anew by whoever still wants it.
//!
//! An epoch that was refused may yet be agreed on by the same command as long as its number is the next one: whoever
//! proposed it keeps to that until the number is taken ([`Grantor::exclude`](crate::lease::Grantor::exclude)).
//!
//! *What it never does:* look at a clock, wait for a lease ([`lease`](crate::lease) is asked before anything is proposed), judge
//! whether somebody is alive, or change with a refusal.

use hypermnesia_store::NodeId;
use hypermnesia_store::codec::{self, CodecError};
use hypermnesia_store::limits::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::member::{NodeSet, Peer};

mod answer;
mod chain;
mod command;
mod roster;

pub use answer::{Answer, Refusal};
pub use chain::{Agreed, Carried, Cause, Opening};
pub use command::{Change, Command, Enlisting, Role};
pub use roster::Enlisted;

use chain::Chain;
use roster::Roster;

const REGISTER_KIND: u16 = 0x5203;
const FORMAT: u16 = 1;

/// Bytes that are no command, answer or register of this version. Nothing came of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// They are damaged or something else.
    #[error("{what} cannot be read: {error}; it has to come from another node")]
    Unreadable {
        /// What was wanted.
        what: &'static str,
        /// What is wrong with the bytes.
        error: CodecError,
    },
    /// A later version wrote them. Whoever cannot read a command must not apply those behind it.
    #[error("{what} has format {found}, this version reads {FORMAT}: upgrade this node")]
    Version {
        /// What was wanted.
        what: &'static str,
        /// Its format.
        found: u16,
    },
    /// They spell a register that no commands lead to.
    #[error("a register in which {0}: it has to come from another node")]
    Unsound(&'static str),
}

fn seal<T: Serialize>(kind: u16, value: &T) -> Vec<u8> {
    codec::seal(kind, FORMAT, &codec::encode(value))
}

fn open<'a, T: Deserialize<'a>>(kind: u16, what: &'static str, bytes: &'a [u8]) -> Result<T, RegisterError> {
    let unreadable = |error| RegisterError::Unreadable { what, error };
    match codec::open(kind, bytes).map_err(unreadable)? {
        (FORMAT, payload) => codec::decode(payload, MESSAGE_BYTES_MAX).map_err(unreadable),
        (found, _) => Err(RegisterError::Version { what, found }),
    }
}

/// Which cluster this is, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cluster {
    id: u128,
    #[serde(deserialize_with = "codec::text")]
    name: String,
}

/// See the file's header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// How often it has changed.
    revision: u64,
    cluster: Option<Cluster>,
    roster: Roster,
    chain: Chain,
}

impl Register {
    /// Applies the next command. The same commands in the same order give the same register and the same answers.
    pub fn apply(&mut self, command: &Command) -> Answer {
        let answer = match command {
            Command::Found { cluster, name, nodes, slots, carried, floor } => {
                self.found((*cluster, name), (nodes, slots), carried.as_ref(), *floor)
            }
            _ if self.cluster.is_none() => Answer::Refused(Refusal::NotFounded),
            Command::Roster { seen, change } => self.change(*seen, change),
            Command::Agree { number, members, why } => self.agree(*number, members, *why),
            Command::Open { number, opening } => self.open(*number, opening),
        };
        if answer == Answer::Done {
            self.revision += 1;
        }
        answer
    }

    fn found(
        &mut self,
        (id, name): (u128, &str),
        (nodes, slots): (&[Enlisting], &[u8]),
        carried: Option<&Carried>,
        floor: u64,
    ) -> Answer {
        if let Some(cluster) = &self.cluster {
            let same = cluster.id == id && cluster.name == name;
            return if same {
                Answer::Already
            } else {
                Refusal::FoundedOtherwise { cluster: cluster.id }.into()
            };
        }
        let founded = roster::check_text(name, NAME_BYTES_MAX)
            .and_then(|()| Roster::of(nodes, slots))
            .and_then(|roster| {
                let mut members = carried.iter().flat_map(|carried| &carried.members);
                let refused = members.find_map(|member| roster.refuses_member(member.node));
                Ok((Chain::of(carried, floor, refused)?, roster))
            });
        match founded {
            Ok((chain, roster)) => (self.chain, self.roster) = (chain, roster),
            Err(refusal) => return refusal.into(),
        }
        self.cluster = Some(Cluster { id, name: name.to_owned() });
        Answer::Done
    }

    fn change(&mut self, seen: u64, change: &Change) -> Answer {
        if self.roster.is_so(change) {
            return Answer::Already;
        }
        if seen != self.revision {
            return Refusal::Stale { seen, revision: self.revision }.into();
        }
        if let Change::Strike(node) = change
            && let Some(epoch) = self.chain.needs(*node)
        {
            return Refusal::IsMember { node: *node, epoch }.into();
        }
        self.roster.change(change, self.revision + 1).map_or_else(Answer::from, |()| Answer::Done)
    }

    fn agree(&mut self, number: u64, members: &[Peer], why: Cause) -> Answer {
        if self.chain.is_agreed(number, members, why) {
            return Answer::Already;
        }
        let enlisted = members.iter().find_map(|member| self.roster.refuses_member(member.node));
        match self.chain.agree(number, members, why, enlisted) {
            Ok(()) => Answer::Done,
            Err(refusal) => refusal.into(),
        }
    }

    fn open(&mut self, number: u64, opening: &Opening) -> Answer {
        match self.chain.open(number, opening) {
            Ok(true) => Answer::Done,
            Ok(false) => Answer::Already,
            Err(refusal) => refusal.into(),
        }
    }

    /// How often it has changed: what a change of the roster has to have seen.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Id and name of the cluster; `None` before it was founded.
    pub fn cluster(&self) -> Option<(u128, &str)> {
        self.cluster.as_ref().map(|cluster| (cluster.id, cluster.name.as_str()))
    }

    /// The enlisted nodes and their slots, by slot.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Enlisted)> {
        self.roster.nodes()
    }

    /// What is known of a node; `None` if it is not enlisted.
    pub fn enlisted(&self, node: NodeId) -> Option<&Enlisted> {
        self.slot_of(node).and_then(|slot| self.node_at(slot))
    }

    /// A node's place in sets of nodes; `None` if it is not enlisted.
    pub fn slot_of(&self, node: NodeId) -> Option<usize> {
        self.roster.slot_of(node)
    }

    /// Who has this place.
    pub fn node_at(&self, slot: usize) -> Option<&Enlisted> {
        self.roster.at(slot)
    }

    /// Whether somebody had this place who was struck, and nobody has it since. Not so of places that nobody had yet.
    pub fn is_struck(&self, slot: usize) -> bool {
        self.roster.is_struck(slot)
    }

    /// The latest epoch, open or not.
    pub fn latest(&self) -> Option<&Agreed> {
        self.chain.latest()
    }

    /// The last opened epoch.
    pub fn opened(&self) -> Option<&Agreed> {
        self.chain.opened()
    }

    /// The highest number that may have been given before the founding; 0 if none.
    pub fn floor(&self) -> u64 {
        self.chain.floor()
    }

    /// The number of the next epoch.
    pub fn next_number(&self) -> u64 {
        self.chain.next_number()
    }

    /// The epoch with this number, if it is kept.
    pub fn epoch(&self, number: u64) -> Option<&Agreed> {
        self.chain.epoch(number)
    }

    /// The opened epochs that are kept, the oldest first: each is the parent of the next.
    pub fn chain(&self) -> impl Iterator<Item = &Agreed> {
        self.chain.kept().iter().filter(|epoch| epoch.opening.is_some())
    }

    /// Whether this life is one of the last opened epoch.
    pub fn is_survivor(&self, peer: Peer) -> bool {
        self.opened().is_some_and(|epoch| epoch.members.contains(&peer))
    }

    /// The members of an epoch at their slots. All of them for the latest and the last opened one; of earlier ones those
    /// that are enlisted still.
    pub fn by_slot(&self, epoch: &Agreed) -> Vec<Option<Peer>> {
        let mut slots = Vec::new();
        for member in &epoch.members {
            if let Some(slot) = self.slot_of(member.node) {
                slots.resize(slots.len().max(slot + 1), None);
                slots[slot] = Some(*member);
            }
        }
        slots
    }

    /// The same as a set.
    pub fn slots_of(&self, epoch: &Agreed) -> NodeSet {
        let slots = epoch.members.iter().filter_map(|member| self.slot_of(member.node));
        slots.fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// All of it, for a snapshot of the log of commands.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.is_sound(), Ok(()));
        seal(REGISTER_KIND, self)
    }

    /// The register of a snapshot.
    ///
    /// # Errors
    /// [`RegisterError`]: bytes that no register wrote, or one in a state that no commands lead to.
    pub fn decode(bytes: &[u8]) -> Result<Register, RegisterError> {
        let register: Register = open(REGISTER_KIND, "a register", bytes)?;
        register.is_sound().map_err(RegisterError::Unsound)?;
        Ok(register)
    }

    /// What must hold after every command.
    fn is_sound(&self) -> Result<(), &'static str> {
        if self.cluster.is_none() && *self != Register::default() {
            return Err("something is known of a cluster that was never founded");
        }
        self.roster.is_sound(self.revision)?;
        self.chain.is_sound()?;
        let named = self.chain.opened().into_iter().chain(self.chain.latest());
        let mut members = named.flat_map(|epoch| &epoch.members);
        if members.any(|member| self.roster.refuses_member(member.node).is_some()) {
            return Err("a member is not enlisted as a data node");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
