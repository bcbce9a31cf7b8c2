//! Ids that are unique in the cluster and for all time, made on a node without asking anybody: the moment, the node, the
//! node's life, and a count. They sort by the moment they were made at.
//!
//! ```text
//! [milliseconds since 1970 48][7 4][count 12][2 2][node 32][life 30]     bits, the layout of a UUID of version 7
//! ```
//! Two ids of one life of a node differ in moment or count, which together only grow. Two nodes differ in their numbers. Two
//! lives of a node differ in the moment their process started, which is written down with the data; where no data is kept a
//! number would come again only if a clock were set back by exactly a multiple of 12 days, 10 hours, 15 minutes and 41.824 s.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use hypermnesia_store::{Incarnation, NodeId, Value};

use crate::core::wall_ms;
use crate::node::Node;

/// Bits of the count within a millisecond.
const COUNT_BITS: u32 = 12;
const LIFE_BITS: u32 = 30;

/// An id that no other node and no other call gives: 16 bytes in the form of a UUID of version 7. Ids of one node are
/// strictly ascending; ids of several nodes sort by time as well as their clocks agree.
///
/// ```
/// use hypermnesia::{Node, UniqueId};
/// let node = Node::builder().build()?;
/// let (first, second) = (node.unique_id(), node.unique_id());
/// assert!(first < second);
/// assert_eq!(first.to_string().parse::<UniqueId>(), Ok(first));
/// # Ok::<(), hypermnesia::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UniqueId([u8; 16]);

impl UniqueId {
    /// Its bytes, which sort as the ids do: a key of type bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When it was made: milliseconds since 1970 on the clock of its node.
    pub fn unix_ms(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl From<UniqueId> for Value {
    fn from(id: UniqueId) -> Value {
        Value::Bytes(id.0.to_vec())
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

/// The text is not an id as [`UniqueId`] shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id (32 hexadecimal digits in groups of 8, 4, 4, 4 and 12): {0:?}")]
pub struct NotAnId(pub String);

impl FromStr for UniqueId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<UniqueId, NotAnId> {
        let refuse = || NotAnId(text.chars().take(64).collect());
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let digits = groups.concat();
        if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| refuse())?;
        Ok(UniqueId(number.to_be_bytes()))
    }
}

/// Where the ids of a node come from.
pub(crate) struct UniqueIds {
    /// Node and life with the bits of the variant: the lower half of every id.
    lower: u64,
    /// Milliseconds and count of the last id. One atomic, so that no two threads get the same.
    last: AtomicU64,
}

impl UniqueIds {
    pub(crate) fn new(node: NodeId, life: Incarnation) -> UniqueIds {
        let life = life.0 & ((1 << LIFE_BITS) - 1);
        UniqueIds { lower: 0b10 << 62 | u64::from(node.0) << LIFE_BITS | life, last: AtomicU64::new(0) }
    }

    /// The next id. A clock that stands or goes back is passed over: the count goes on, and behind its end the milliseconds
    /// do.
    fn next(&self, wall_ms: u64) -> UniqueId {
        let now = wall_ms << COUNT_BITS;
        let follow = |last: u64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, follow);
        let this = now.max(last.expect("the closure always gives a value") + 1);
        let (ms, count) = (this >> COUNT_BITS, this & ((1 << COUNT_BITS) - 1));
        let upper = ms << 16 | 0x7000 | count;
        UniqueId((u128::from(upper) << 64 | u128::from(self.lower)).to_be_bytes())
    }
}

impl Node {
    /// An id that no other node and no other call gives, made without a message, a lock or a wait. See [`UniqueId`].
    pub fn unique_id(&self) -> UniqueId {
        self.core.unique_ids.next(wall_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_whatever_the_clock_does() {
        // Aim: no id twice and none smaller than one before. Method: clocks that stand, jump and go back; more in one
        // millisecond than it has counts; four threads.
        let ids = UniqueIds::new(NodeId(7), Incarnation(1_700_000_000_000));
        let clocks = [5, 5, 9, 3, 9, 10].into_iter().chain(std::iter::repeat_n(10, 10_000));
        let made: Vec<UniqueId> = clocks.map(|ms| ids.next(ms)).collect();
        assert!(made.windows(2).all(|two| two[0] < two[1]));
        assert_eq!((made[0].unix_ms(), made[2].unix_ms()), (5, 9));
        let parts: Vec<Vec<UniqueId>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..5_000).map(|_| ids.next(50)).collect())).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let mut all: Vec<_> = parts.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 20_000);
    }

    #[test]
    fn nodes_and_lives_are_told_apart() {
        // Aim: the same moment on two nodes, and in two lives of one, gives different ids. Method: all three with one clock.
        let sources = [(1, 10), (2, 10), (1, 11)];
        let made = sources.map(|(node, life)| UniqueIds::new(NodeId(node), Incarnation(life)).next(99));
        assert!(made[0] != made[1] && made[0] != made[2]);
        let text = made[0].to_string();
        assert_eq!((&text[14..15], text.len()), ("7", 36), "a UUID of version 7: {text}");
        assert!(["8", "9", "a", "b"].contains(&&text[19..20]), "of the usual variant: {text}");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let id = UniqueIds::new(NodeId(1), Incarnation(1)).next(1).to_string();
        assert!(id.parse::<UniqueId>().is_ok());
        for wrong in ["", "1", &id[1..], &id.replace('-', ""), &id.replace('0', "g"), &format!("{id}0")] {
            assert!(wrong.parse::<UniqueId>().is_err(), "{wrong}");
        }
    }
}
