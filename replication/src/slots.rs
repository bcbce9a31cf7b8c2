//! Who is at which slot. A slot is a member's position in every set of nodes and every message, for as long as it is enlisted. Slots
//! are filled while the node runs, and given back, never given to another one in the same process: what is still under way
//! may name the one before. Reading them takes no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hypermnesia_store::NodeId;

use crate::limits::MEMBERS_MAX;
use crate::member::{Member, NodeSet};

/// See the file's header. What is there of a member depends on who keeps it.
#[derive(Debug)]
pub struct Slots<T> {
    held: Box<[OnceLock<T>]>,
    /// Those whose members are enlisted.
    here: AtomicU64,
}

/// A slot has another member in this process, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot {slot} is that of another member in this process: start it again")]
pub struct SlotTaken {
    /// Which.
    pub slot: usize,
}

/// What one member is known by.
pub trait Placed {
    /// Whose it is.
    fn node(&self) -> NodeId;
}

impl<T: Placed> Placed for Arc<T> {
    fn node(&self) -> NodeId {
        T::node(self)
    }
}

impl Placed for Member {
    fn node(&self) -> NodeId {
        self.node
    }
}

impl<T: Placed> Slots<T> {
    /// Puts it at a slot, and says whether it was not there before: what is there of the same member stays as it is.
    ///
    /// # Errors
    /// [`SlotTaken`]; nothing changed.
    pub fn fill(&self, slot: usize, new: T) -> Result<bool, SlotTaken> {
        let place = self.held.get(slot).ok_or(SlotTaken { slot })?;
        let node = new.node();
        if place.get_or_init(|| new).node() != node {
            return Err(SlotTaken { slot });
        }
        let one = NodeSet::only(slot).bits();
        Ok(self.here.fetch_or(one, Ordering::AcqRel) & one == 0)
    }

    /// The slot of a member that is enlisted.
    pub fn position_of(&self, node: NodeId) -> Option<usize> {
        self.iter().find(|(_, one)| one.node() == node).map(|(slot, _)| slot)
    }
}

impl<T> Slots<T> {
    /// What is at a slot is there no longer.
    pub fn give_back(&self, slot: usize) {
        self.here.fetch_and(!NodeSet::only(slot).bits(), Ordering::AcqRel);
    }

    /// The slots that have something.
    pub fn here(&self) -> NodeSet {
        NodeSet::from_bits(self.here.load(Ordering::Acquire))
    }

    /// What is at a slot, or was last.
    pub fn get(&self, slot: usize) -> Option<&T> {
        self.held.get(slot)?.get()
    }

    /// All that is there, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.here().iter().filter_map(|slot| Some((slot, self.get(slot)?)))
    }
}

impl<T> Default for Slots<T> {
    /// Nothing at any of [`MEMBERS_MAX`] slots.
    fn default() -> Slots<T> {
        Slots { held: (0..MEMBERS_MAX).map(|_| OnceLock::new()).collect(), here: AtomicU64::new(0) }
    }
}

impl Slots<Member> {
    /// These members at their slots.
    pub(crate) fn of(members: Vec<(usize, Member)>) -> Slots<Member> {
        let slots = Slots::default();
        for (slot, member) in members {
            assert!(slots.position_of(member.node).is_none(), "a member is named twice");
            slots.fill(slot, member).expect("each slot is filled once");
        }
        slots
    }

    /// The id of who is at a slot. Only of slots that were filled.
    pub(crate) fn node(&self, slot: usize) -> NodeId {
        self.get(slot).expect("only slots of members are asked about").node
    }
}

/// The slots that members get who begin a cluster together: by id.
pub fn first_slots(mut members: Vec<Member>) -> Vec<(usize, Member)> {
    members.sort_by_key(|member| member.node);
    members.into_iter().enumerate().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member { node: NodeId::of_name(name), name: name.into(), address: String::new() }
    }

    #[test]
    fn a_slot_is_one_members() {
        // Aim: who is at which slot, through enlisting, leaving and coming back. Method: one of each.
        let slots = Slots::of(vec![(0, member("a")), (2, member("c"))]);
        assert_eq!(slots.here().iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((slots.position_of(NodeId::of_name("c")), slots.get(1)), (Some(2), None));
        assert_eq!(slots.fill(1, member("b")), Ok(true), "it is free");
        assert_eq!(
            slots.fill(1, Member { address: "elsewhere".into(), ..member("b") }),
            Ok(false),
            "it is the same"
        );
        assert_eq!(slots.fill(1, member("d")), Err(SlotTaken { slot: 1 }));
        assert!(slots.fill(MEMBERS_MAX, member("d")).is_err(), "there is no such slot");
        slots.give_back(2);
        assert_eq!(slots.position_of(NodeId::of_name("c")), None);
        assert_eq!(slots.node(2), NodeId::of_name("c"), "it is known who it was");
        slots.fill(3, member("c")).expect("it comes back at another one");
        assert_eq!(slots.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn those_who_begin_are_ordered_by_id() {
        // Aim: all who begin a cluster give each other the same slots. Method: two orders of one list.
        let there = first_slots(vec![member("a"), member("b"), member("c")]);
        assert_eq!(there, first_slots(vec![member("c"), member("a"), member("b")]));
        assert!(there.windows(2).all(|two| two[0].1.node < two[1].1.node && two[0].0 + 1 == two[1].0));
    }
}
