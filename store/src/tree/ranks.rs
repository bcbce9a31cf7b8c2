//! Which slot of a node holds its first entry, its second and so on: one word, so that readers see all of a change or
//! nothing. Four bits tell how many entries there are, then four for each its slot. Source: Masstree's permutation (Mao,
//! Kohler, Morris: Cache craftiness for fast multicore key-value storage, EuroSys 2012).

/// Slots of a node: as many as one word can order.
pub(super) const SLOTS: usize = 15;
const BITS: usize = 4;
/// The slots in order, none left out.
const IN_ORDER: u64 = 0xedc_ba98_7654_3210;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ranks(pub(super) u64);

impl Ranks {
    /// The first slots in their order.
    pub(super) fn in_order(len: usize) -> Ranks {
        Ranks((IN_ORDER & ((1 << (BITS * len)) - 1)) << BITS | len as u64)
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.0 & 15) as usize
    }

    #[inline]
    pub(super) fn slot(self, rank: usize) -> usize {
        debug_assert!(rank < self.len());
        (self.0 >> (BITS * rank + BITS) & 15) as usize
    }

    /// With this slot at a rank, and what was there and behind it one further.
    pub(super) fn with(self, rank: usize, slot: usize) -> Ranks {
        let at = BITS * rank + BITS;
        let before = self.0 & ((1 << at) - 1);
        Ranks((before | (slot as u64) << at | self.0 >> at << at << BITS) + 1)
    }

    /// Without the slot at a rank.
    pub(super) fn without(self, rank: usize) -> Ranks {
        let at = BITS * rank + BITS;
        let before = self.0 & ((1 << at) - 1);
        Ranks((before | self.0 >> at >> BITS << at) - 1)
    }

    /// So many ranks from this one on.
    #[inline]
    pub(super) fn part(self, rank: usize, len: usize) -> Ranks {
        let slots = self.0 >> BITS >> (BITS * rank) & ((1 << (BITS * len)) - 1);
        Ranks(slots << BITS | len as u64)
    }

    /// The last one first.
    #[inline]
    pub(super) fn reversed(self) -> Ranks {
        self.slots().fold(Ranks(0), |all, slot| {
            let slots = all.0 & !15 | slot as u64;
            Ranks((slots << BITS) | ((all.0 & 15) + 1))
        })
    }

    #[inline]
    pub(super) fn slots(self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(move |rank| self.slot(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_and_go_at_every_rank() {
        // Aim: the word says the same as a list, full and empty included. Method: every rank of every length.
        for len in 0..=SLOTS {
            let list: Vec<usize> = (0..len).collect();
            assert_eq!(Ranks::in_order(len).slots().collect::<Vec<_>>(), list);
            assert!(Ranks::in_order(len).reversed().slots().eq((0..len).rev()));
            for rank in 0..=len {
                assert!(Ranks::in_order(len).part(rank, len - rank).slots().eq(rank..len));
                if len < SLOTS {
                    let mut list = list.clone();
                    list.insert(rank, len);
                    let ranks = Ranks::in_order(len).with(rank, len);
                    assert_eq!(ranks.slots().collect::<Vec<_>>(), list);
                    assert_eq!(ranks.without(rank), Ranks::in_order(len));
                }
                if rank < len {
                    let mut list = list.clone();
                    list.remove(rank);
                    assert_eq!(Ranks::in_order(len).without(rank).slots().collect::<Vec<_>>(), list);
                }
            }
        }
    }
}
