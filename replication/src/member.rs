//! Who takes part: members, one life of one of them, and sets of them. A member has a position for as long as it is enlisted: its
//! slot in the register, which stands for it in every message. Which members take part in an epoch is another matter.

use hypermnesia_store::{Incarnation, NodeId, codec};
use serde::{Deserialize, Serialize};

/// A member of the cluster, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id: follows from its name.
    pub node: NodeId,
    /// What people call it.
    #[serde(deserialize_with = "codec::text")]
    pub name: String,
    /// Where other members reach it, as far as is known.
    #[serde(deserialize_with = "codec::text")]
    pub address: String,
}

/// One life of a member. Messages go to and come from lives: what was meant for a process that is gone must not reach the
/// one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// The member.
    pub node: NodeId,
    /// Which of its processes.
    pub incarnation: Incarnation,
}

/// A set of members, by their position among all members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeSet(u64);

impl NodeSet {
    /// Nobody.
    pub const EMPTY: NodeSet = NodeSet(0);

    /// The first `count` members, at most 64.
    pub fn first(count: usize) -> NodeSet {
        if count >= 64 { NodeSet(u64::MAX) } else { NodeSet((1 << count) - 1) }
    }

    /// Only this one.
    pub fn only(position: usize) -> NodeSet {
        NodeSet(1 << position)
    }

    /// Whether it is in the set.
    pub fn has(self, position: usize) -> bool {
        self.0 >> position & 1 == 1
    }

    /// With this one.
    #[must_use]
    pub fn with(self, position: usize) -> NodeSet {
        NodeSet(self.0 | 1 << position)
    }

    /// Without this one.
    #[must_use]
    pub fn without(self, position: usize) -> NodeSet {
        NodeSet(self.0 & !(1 << position))
    }

    /// With all of these.
    #[must_use]
    pub fn and(self, others: NodeSet) -> NodeSet {
        NodeSet(self.0 | others.0)
    }

    /// Those that are in both.
    #[must_use]
    pub fn common(self, others: NodeSet) -> NodeSet {
        NodeSet(self.0 & others.0)
    }

    /// Without all of these.
    #[must_use]
    pub fn minus(self, others: NodeSet) -> NodeSet {
        NodeSet(self.0 & !others.0)
    }

    /// Whether nobody is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn from_bits(bits: u64) -> NodeSet {
        NodeSet(bits)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// How many are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Their positions, from the lowest.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let position = left.trailing_zeros() as usize;
                left &= left - 1;
                position
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        // Aim: positions survive the set operations. Method: both ends of the word.
        let set = NodeSet::only(0).with(63).with(5);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!(set.without(5).minus(NodeSet::only(63)), NodeSet::only(0));
        assert_eq!(NodeSet::first(64).len(), 64);
        assert_eq!(NodeSet::first(3).common(set), NodeSet::only(0));
        assert!(NodeSet::first(0).is_empty());
    }
}
