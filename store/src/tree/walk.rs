//! Walks over a range of a tree. Entries stand beside each other in a leaf, but the cells they point to stand anywhere, so
//! some entries are taken ahead and their memory is asked for before the first is looked at: few at first, since many a walk
//! ends at its first row.

use std::ops::{Bound, ControlFlow};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use seize::{Guard as _, LocalGuard};

use super::Tree;
use super::node::Node;
use super::ranks::{Ranks, SLOTS};
use crate::cell::CellAt;
use crate::key::{Key, KeyRange, Probe};
use crate::prefetch::prefetch;
use crate::table::Direction;
use crate::work::Blocked;

/// Entries whose memory is asked for at first; then a leaf's at a time.
const AHEAD_FIRST: usize = 2;
/// Leaves asked for ahead: each is read faster than memory answers.
const LEAVES_AHEAD: usize = 4;

/// Walks a tree's entries in a range. The tree shows every entry that was there when the walk began and still is.
pub(crate) fn walk_tree(
    tree: &Tree,
    range: &KeyRange,
    direction: Direction,
    guard: &LocalGuard<'_>,
    mut each: impl FnMut(&Key, CellAt<'_>) -> Result<ControlFlow<()>, Blocked>,
) -> Result<(), Blocked> {
    if range.is_empty() {
        return Ok(());
    }
    match direction {
        Direction::Forward => ahead(Steps::<true>::new(tree, range, guard), &mut each),
        Direction::Backward => ahead(Steps::<false>::new(tree, range, guard), &mut each),
    }
}

/// Shows entries, asking for the memory of some of them ahead.
fn ahead<const FORWARD: bool>(
    mut steps: Steps<'_, FORWARD>,
    each: &mut impl FnMut(&Key, CellAt<'_>) -> Result<ControlFlow<()>, Blocked>,
) -> Result<(), Blocked> {
    let mut most = AHEAD_FIRST;
    while let Some((leaf, run)) = steps.run(most) {
        let mut cells = [ptr::null_mut(); SLOTS];
        for (at, slot) in run.slots().enumerate() {
            cells[at] = leaf.cell(slot, steps.guard);
            prefetch(cells[at]);
        }
        // SAFETY: the entry has a count of the cell, which is retired only after the entry is out of the word; the guard was
        // there when the word was loaded.
        let cell = |at: usize| unsafe { CellAt::from_ptr(cells[at]) };
        (0..run.len()).for_each(|at| cell(at).ask_for_row(steps.guard));
        if most > AHEAD_FIRST {
            steps.ask_behind();
        }
        for (at, slot) in run.slots().enumerate() {
            // SAFETY: as for the cell.
            let key = unsafe { leaf.key(slot).key() };
            if each(&key, cell(at))?.is_break() {
                return Ok(());
            }
        }
        most = SLOTS;
    }
    Ok(())
}

/// Entries in the order of a walk. What a leaf's word said when the walk came to it is what is shown of it.
struct Steps<'g, const FORWARD: bool> {
    guard: &'g LocalGuard<'g>,
    leaf: Option<&'g Node>,
    ranks: Ranks,
    /// Ranks of the leaf that are still to come.
    from: usize,
    to: usize,
    /// Where the walk ends, with what equals it on this side of the end or not.
    end: Option<(Probe<'g>, bool)>,
    /// No leaf behind this one has anything in the range.
    last: bool,
    /// Where the leaf was found, to know those that are further on. They may be others by now: they are only asked for.
    above: [Option<(&'g Node, usize)>; 2],
    asked: bool,
}

/// A bound as a place between keys: before or after the ones that equal it.
fn cut(bound: &Bound<Key>, start: bool) -> Option<(Probe<'_>, bool)> {
    match bound {
        Bound::Included(key) => Some((Probe::new(key), !start)),
        Bound::Excluded(key) => Some((Probe::new(key), start)),
        Bound::Unbounded => None,
    }
}

impl<'g, const FORWARD: bool> Steps<'g, FORWARD> {
    fn new(tree: &'g Tree, range: &'g KeyRange, guard: &'g LocalGuard<'g>) -> Self {
        let (start, end) = (cut(&range.start, true), cut(&range.end, false));
        let (begin, end) = if FORWARD { (start, end) } else { (end, start) };
        let (ranks, above) = (Ranks::in_order(0), [None; 2]);
        let mut steps =
            Steps { guard, leaf: None, ranks, from: 0, to: 0, end, last: false, above, asked: false };
        let way = tree.down(guard, |node| match &begin {
            Some((probe, _)) => node.child_for(node.ranks(), probe),
            None if FORWARD => 0,
            None => node.ranks().len() - 1,
        });
        if let Some(way) = way {
            steps.above = way.above;
            steps.come_to(way.leaf, begin);
        }
        steps
    }

    fn come_to(&mut self, leaf: &'g Node, begin: Option<(Probe<'g>, bool)>) {
        let ranks = leaf.ranks();
        (self.leaf, self.ranks, self.from, self.to) = (Some(leaf), ranks, 0, ranks.len());
        if let Some((probe, after)) = begin {
            let rank = leaf.cut(ranks, &probe, after);
            *(if FORWARD { &mut self.from } else { &mut self.to }) = rank;
        }
        let Some((probe, after)) = &self.end else { return };
        if self.from == self.to {
            return;
        }
        let outermost = if FORWARD { self.to - 1 } else { self.from };
        let order = leaf.compare(ranks.slot(outermost), probe);
        let before = order.is_lt() || order.is_eq() && *after;
        // The end of a walk backward is where the range begins.
        if before != FORWARD {
            self.last = true;
            let rank = leaf.cut(ranks, probe, *after);
            if FORWARD {
                self.to = rank.max(self.from);
            } else {
                self.from = rank.min(self.to);
            }
        }
    }

    /// The next entries that stand in one leaf, at most so many, as ranks in the order of the walk.
    fn run(&mut self, most: usize) -> Option<(&'g Node, Ranks)> {
        let mut leaf = self.leaf?;
        while self.from == self.to {
            if self.last {
                return None;
            }
            // Behind the word, so that what it does not name for being new is found there.
            let beside = self.guard.protect(Self::beside(leaf), Ordering::Acquire);
            // SAFETY: null, or a leaf that was retired after this guard was made: see the header of `tree`.
            leaf = unsafe { beside.as_ref() }?;
            self.step_above();
            self.come_to(leaf, None);
        }
        let len = most.min(self.to - self.from);
        let run = match FORWARD {
            true => {
                self.from += len;
                self.ranks.part(self.from - len, len)
            }
            false => {
                self.to -= len;
                self.ranks.part(self.to, len).reversed()
            }
        };
        Some((leaf, run))
    }

    fn beside(leaf: &Node) -> &AtomicPtr<Node> {
        if FORWARD { &leaf.next } else { &leaf.prev }
    }

    /// Asks for the leaves behind this one, and for the cells of the next when that was asked for a leaf ago: not to wait for
    /// it here.
    fn ask_behind(&mut self) {
        let Some(leaf) = self.leaf.filter(|_| !self.last) else { return };
        (1..=LEAVES_AHEAD).for_each(|ahead| self.ask_leaf(ahead));
        if !std::mem::replace(&mut self.asked, true) {
            return;
        }
        let beside = self.guard.protect(Self::beside(leaf), Ordering::Acquire);
        // SAFETY: as in `run`.
        let Some(beside) = (unsafe { beside.as_ref() }) else { return };
        beside.ranks().slots().for_each(|slot| prefetch(beside.cell(slot, self.guard)));
    }

    /// So many ranks further on in a node, or how many there are behind its end.
    fn further(node: &Node, rank: usize, by: usize) -> Result<usize, usize> {
        let len = node.ranks().len();
        match FORWARD {
            true if rank + by < len => Ok(rank + by),
            true => Err(rank + by - len),
            false => rank.checked_sub(by).ok_or(by.wrapping_sub(rank + 1)),
        }
    }

    /// The node beside the one above the leaves, and the rank of one of its children, counted from this side.
    fn beside_above(&self, nth: usize) -> Option<(&'g Node, usize)> {
        let (over, rank) = self.above[1]?;
        let child = over.child(Self::further(over, rank, 1).ok()?, self.guard);
        // SAFETY: a node that was in the tree since this guard was made, as `over` is.
        let node = unsafe { &*child };
        let len = node.ranks().len();
        (nth < len).then(|| (node, if FORWARD { nth } else { len - 1 - nth }))
    }

    fn ask_leaf(&self, ahead: usize) {
        let Some((above, rank)) = self.above[0] else { return };
        let (node, rank) = match Self::further(above, rank, ahead) {
            Ok(rank) => (above, rank),
            Err(nth) => match self.beside_above(nth) {
                Some(beside) => beside,
                None => return,
            },
        };
        Node::ask(node.child(rank, self.guard), Node::LINES);
    }

    fn step_above(&mut self) {
        let Some((above, rank)) = self.above[0] else { return };
        self.above[0] = match Self::further(above, rank, 1) {
            Ok(rank) => Some((above, rank)),
            Err(nth) => {
                let beside = self.beside_above(nth);
                if let Some((_, rank)) = &mut self.above[1] {
                    *rank = if FORWARD { *rank + 1 } else { rank.wrapping_sub(1) };
                }
                beside
            }
        };
    }
}
