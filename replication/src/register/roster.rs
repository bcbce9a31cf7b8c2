//! Who is enlisted, each at a slot of its own. A slot that was given back is left empty for as long as there is another one,
//! since sets of slots of old epochs may still be around. See [`register`](crate::register).

use hypermnesia_store::limits::NAME_BYTES_MAX;
use hypermnesia_store::{NodeId, codec};
use serde::{Deserialize, Serialize};

use super::{Change, Enlisting, Refusal, Role};
use crate::limits::{ADDRESS_BYTES_MAX, MEMBERS_MAX};

/// An enlisted node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enlisted {
    /// Its id: follows from its name.
    pub node: NodeId,
    /// What people call it.
    #[serde(deserialize_with = "codec::text")]
    pub name: String,
    /// Where other nodes reach it.
    #[serde(deserialize_with = "codec::text")]
    pub address: String,
    /// What it is for.
    pub role: Role,
    /// The id of its voting store, if it has one.
    pub raft: Option<u64>,
    /// It is to leave in good order.
    pub draining: bool,
}

impl Enlisted {
    fn of(new: &Enlisting) -> Enlisted {
        let Enlisting { name, address, role, raft } = new.clone();
        Enlisted { node: NodeId::of_name(&name), name, address, role, raft, draining: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Slot {
    node: Option<Enlisted>,
    /// The revision with which it became free last; 0 if it never did.
    freed: u64,
}

/// See the file's header. A slot's position is its number; those behind the last were never used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roster {
    slots: Vec<Slot>,
}

impl Roster {
    /// The first nodes: at these slots, or by id.
    pub(super) fn of(nodes: &[Enlisting], slots: &[u8]) -> Result<Roster, Refusal> {
        let mut nodes: Vec<_> = nodes.iter().collect();
        let mut roster = Roster::default();
        if slots.is_empty() {
            nodes.sort_by_key(|new| NodeId::of_name(&new.name));
            nodes.iter().try_for_each(|new| roster.enlist(new))?;
            return if nodes.is_empty() { Err(Refusal::NoNodes) } else { Ok(roster) };
        }
        let count = slots.iter().map(|slot| usize::from(*slot) + 1).max().unwrap_or(0);
        if count > MEMBERS_MAX || slots.len() != nodes.len() {
            return Err(Refusal::BadSlots);
        }
        let mut placed: Vec<_> = slots.iter().zip(nodes).collect();
        placed.sort_by_key(|(slot, _)| **slot);
        for (slot, new) in placed {
            // Somebody was there who is gone.
            roster.slots.resize(usize::from(*slot).max(roster.slots.len()), Slot { node: None, freed: 0 });
            if roster.slots.len() != usize::from(*slot) {
                return Err(Refusal::BadSlots);
            }
            roster.enlist(new)?;
        }
        Ok(roster)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (usize, &Enlisted)> {
        self.slots.iter().enumerate().filter_map(|(slot, held)| Some((slot, held.node.as_ref()?)))
    }

    pub(super) fn slot_of(&self, node: NodeId) -> Option<usize> {
        self.nodes().find(|(_, enlisted)| enlisted.node == node).map(|(slot, _)| slot)
    }

    pub(super) fn at(&self, slot: usize) -> Option<&Enlisted> {
        self.slots.get(slot)?.node.as_ref()
    }

    pub(super) fn is_struck(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|held| held.node.is_none())
    }

    fn known(&mut self, node: NodeId) -> Result<&mut Enlisted, Refusal> {
        let mut nodes = self.slots.iter_mut().filter_map(|held| held.node.as_mut());
        nodes.find(|enlisted| enlisted.node == node).ok_or(Refusal::NotEnlisted { node })
    }

    /// Why a node cannot be a member of an epoch, if it cannot.
    pub(super) fn refuses_member(&self, node: NodeId) -> Option<Refusal> {
        match self.slot_of(node).and_then(|slot| self.at(slot)) {
            None => Some(Refusal::NotEnlisted { node }),
            Some(Enlisted { role: Role::Data, .. }) => None,
            Some(Enlisted { role, .. }) => Some(Refusal::NoDataNode { node, role: *role }),
        }
    }

    /// Whether a change would leave everything as it is.
    pub(super) fn is_so(&self, change: &Change) -> bool {
        let is = |node: NodeId, so: &dyn Fn(&Enlisted) -> bool| {
            self.slot_of(node).and_then(|slot| self.at(slot)).is_some_and(so)
        };
        match change {
            Change::Enlist(new) => {
                let new = Enlisted::of(new);
                is(new.node, &|one| Enlisted { draining: false, ..one.clone() } == new)
            }
            Change::Readdress { node, address, raft } => {
                is(*node, &|one| one.address == *address && one.raft == *raft)
            }
            Change::Drain(node) => is(*node, &|one| one.draining),
            Change::Undrain(node) => is(*node, &|one| !one.draining),
            Change::Strike(_) => false,
        }
    }

    /// Makes a change that leads to this revision. A refused one leaves everything as it is.
    pub(super) fn change(&mut self, change: &Change, revision: u64) -> Result<(), Refusal> {
        match change {
            Change::Enlist(new) => self.enlist(new)?,
            Change::Readdress { node, address, raft } => self.readdress(*node, address, *raft)?,
            Change::Drain(node) => self.known(*node)?.draining = true,
            Change::Undrain(node) => self.known(*node)?.draining = false,
            Change::Strike(node) => {
                let slot = self.slot_of(*node).ok_or(Refusal::NotEnlisted { node: *node })?;
                self.slots[slot] = Slot { node: None, freed: revision };
            }
        }
        Ok(())
    }

    fn enlist(&mut self, new: &Enlisting) -> Result<(), Refusal> {
        check_text(&new.name, NAME_BYTES_MAX)?;
        check_text(&new.address, ADDRESS_BYTES_MAX)?;
        let new = Enlisted::of(new);
        if self.slot_of(new.node).is_some() {
            return Err(Refusal::EnlistedOtherwise { node: new.node });
        }
        self.check_store(new.node, new.raft)?;
        if self.slots.len() < MEMBERS_MAX {
            self.slots.push(Slot { node: Some(new), freed: 0 });
            return Ok(());
        }
        let free = self.slots.iter_mut().filter(|slot| slot.node.is_none());
        free.min_by_key(|slot| slot.freed).ok_or(Refusal::Full)?.node = Some(new);
        Ok(())
    }

    fn readdress(&mut self, node: NodeId, address: &str, raft: Option<u64>) -> Result<(), Refusal> {
        check_text(address, ADDRESS_BYTES_MAX)?;
        self.check_store(node, raft)?;
        let known = self.known(node)?;
        known.address = address.to_owned();
        known.raft = raft;
        Ok(())
    }

    /// A voting store is one node's: two with the same would be one voter.
    fn check_store(&self, node: NodeId, raft: Option<u64>) -> Result<(), Refusal> {
        let mut others = self.nodes().filter(|(_, other)| other.node != node);
        match raft
            .and_then(|raft| others.find(|(_, other)| other.raft == Some(raft)).map(|other| (raft, other)))
        {
            Some((raft, (_, other))) => Err(Refusal::StoreTaken { raft, node: other.node }),
            None => Ok(()),
        }
    }

    pub(super) fn is_sound(&self, revision: u64) -> Result<(), &'static str> {
        if self.slots.len() > MEMBERS_MAX {
            return Err("there are more slots than nodes can be");
        }
        if self.slots.iter().any(|slot| slot.freed > revision) {
            return Err("a slot became free in a revision to come");
        }
        for (slot, one) in self.nodes() {
            let named =
                check_text(&one.name, NAME_BYTES_MAX).is_ok() && one.node == NodeId::of_name(&one.name);
            if !named || check_text(&one.address, ADDRESS_BYTES_MAX).is_err() {
                return Err("a node's name, id or address is none");
            }
            if self.slot_of(one.node) != Some(slot) || self.check_store(one.node, one.raft).is_err() {
                return Err("two nodes are one");
            }
        }
        Ok(())
    }
}

/// Names and addresses have something to see, and a bound.
pub(super) fn check_text(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        return Err(Refusal::BadText { bytes_max: bytes_max as u64 });
    }
    Ok(())
}

#[cfg(test)]
impl Roster {
    /// Breaks what holds of each node, for tests.
    pub(super) fn spoil(&mut self, spoil: impl FnMut(&mut Enlisted)) {
        self.slots.iter_mut().filter_map(|slot| slot.node.as_mut()).for_each(spoil);
    }
}
