//! The steps in which a tree changes under walks that lock nothing, in random orders that a scheduler can choose: a model of
//! a few leaves with the names of store `tree`, run by shuttle. What this shows and what not stands in `interleavings.rs`.
//!
//! Four mistakes are planted on purpose and must be caught: see `Planted`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use shuttle::{Config, Runner, thread};

const SCHEDULES: usize = 2_000;
/// See `interleavings.rs`.
const DEPTH: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// The word names a slot before it is filled.
    WordFirst,
    /// The leaf before new ones leads to them before they lead on.
    LinkFirst,
    /// A leaf that is cut stays, without the half that has moved.
    HalfMoves,
    /// Two new children are put in by the word and by a place, one store behind the other.
    TwoStores,
}

const NOWHERE: usize = usize::MAX;
const SLOTS: usize = 6;

/// A leaf with keys, or the node above with separators and children.
struct Node {
    /// Slots in order, each as its number and one more, from the lowest four bits on.
    word: AtomicU64,
    keys: [AtomicUsize; SLOTS],
    children: [AtomicUsize; SLOTS],
    next: AtomicUsize,
    prev: AtomicUsize,
}

fn word(slots: &[usize]) -> u64 {
    slots.iter().rev().fold(0, |word, slot| word << 4 | (*slot as u64 + 1))
}

fn slots(word: u64) -> impl DoubleEndedIterator<Item = usize> {
    let named: Vec<usize> =
        (0..16).map(|at| (word >> (4 * at) & 15) as usize).take_while(|at| *at > 0).collect();
    named.into_iter().map(|slot| slot - 1)
}

struct Tree {
    root: AtomicUsize,
    nodes: [Node; 12],
    /// Walks that are on their way: what the collector waits for.
    inside: AtomicUsize,
    /// A bit for each node.
    freed: AtomicUsize,
}

const ROOTS: [usize; 4] = [8, 9, 10, 11];

impl Tree {
    fn new() -> Tree {
        let nodes = std::array::from_fn(|_| Node {
            word: AtomicU64::new(0),
            keys: Default::default(),
            children: Default::default(),
            next: AtomicUsize::new(NOWHERE),
            prev: AtomicUsize::new(NOWHERE),
        });
        let tree = Tree {
            root: AtomicUsize::new(ROOTS[0]),
            nodes,
            inside: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
        };
        tree.fill(0, &[10, 20, 30, 40]);
        tree.fill(1, &[60, 70]);
        tree.link(NOWHERE, 0, 0, 1, Planted::Nothing);
        tree.fill(ROOTS[0], &[0, 50]);
        [0, 1].into_iter().enumerate().for_each(|(at, child)| tree.point(ROOTS[0], at, child));
        tree
    }

    /// `Node::new`: nobody sees it yet.
    fn fill(&self, node: usize, keys: &[usize]) {
        keys.iter().zip(&self.nodes[node].keys).for_each(|(key, slot)| slot.store(*key, SeqCst));
        self.nodes[node].word.store(word(&(0..keys.len()).collect::<Vec<_>>()), SeqCst);
    }

    fn point(&self, node: usize, slot: usize, child: usize) {
        self.nodes[node].children[slot].store(child, SeqCst);
    }

    /// `Node::insert`.
    fn insert(&self, node: usize, slot: usize, key: usize, slots: &[usize], planted: Planted) {
        let node = &self.nodes[node];
        if planted == Planted::WordFirst {
            node.word.store(word(slots), SeqCst);
        }
        node.keys[slot].store(key, SeqCst);
        node.word.store(word(slots), SeqCst);
    }

    /// `reshape::link`.
    fn link(&self, before: usize, first: usize, last: usize, behind: usize, planted: Planted) {
        let lead_to = || {
            if before != NOWHERE {
                self.nodes[before].next.store(first, SeqCst);
            }
            if behind != NOWHERE {
                self.nodes[behind].prev.store(last, SeqCst);
            }
        };
        if planted == Planted::LinkFirst {
            lead_to();
        }
        self.nodes[first].prev.store(before, SeqCst);
        self.nodes[last].next.store(behind, SeqCst);
        lead_to();
    }

    fn join(&self, left: usize, right: usize) {
        self.nodes[left].next.store(right, SeqCst);
        self.nodes[right].prev.store(left, SeqCst);
    }

    /// Retired: freed at once when nobody is inside.
    fn retire(&self, node: usize) {
        if self.inside.load(SeqCst) == 0 {
            self.freed.fetch_or(1 << node, SeqCst);
        }
    }

    /// Everything that a tree does to its leaves, one after the other.
    fn change(&self, planted: Planted) {
        self.insert(0, 4, 15, &[0, 4, 1, 2, 3], planted);
        // The last leaf is cut.
        self.fill(2, &[60]);
        self.fill(3, &[70]);
        self.join(2, 3);
        self.link(0, 2, 3, NOWHERE, planted);
        if planted == Planted::TwoStores {
            self.point(ROOTS[0], 2, 3);
            self.insert(ROOTS[0], 2, 70, &[0, 1, 2], Planted::Nothing);
            self.point(ROOTS[0], 1, 2);
        }
        self.renew(0, 1, &[(0, 0), (50, 2), (70, 3)]);
        self.retire(1);
        // One begins behind it, in a slot that the root has left.
        self.link(3, 4, 4, NOWHERE, planted);
        self.point(ROOTS[1], 3, 4);
        self.insert(ROOTS[1], 3, 80, &[0, 1, 2, 3], Planted::Nothing);
        self.insert(4, 0, 80, &[0], planted);
        // The first one is cut.
        let (left, right) = if planted == Planted::HalfMoves { (0, 6) } else { (5, 6) };
        self.fill(right, &[30, 40]);
        if left != 0 {
            self.fill(left, &[10, 15, 20]);
        }
        self.join(left, right);
        self.link(NOWHERE, left, right, 2, planted);
        if left == 0 {
            self.nodes[0].word.store(word(&[0, 4, 1]), SeqCst);
        }
        self.renew(1, 2, &[(0, left), (30, right), (50, 2), (70, 3), (80, 4)]);
        if left != 0 {
            self.retire(0);
        }
        // An entry goes, and the two leaves in the middle are joined.
        let entries = self.nodes[left].word.load(SeqCst);
        let without = slots(entries).filter(|slot| self.nodes[left].keys[*slot].load(SeqCst) != 15);
        self.nodes[left].word.store(word(&without.collect::<Vec<_>>()), SeqCst);
        self.fill(7, &[30, 40, 60]);
        self.link(left, 7, 7, 3, planted);
        self.renew(2, 3, &[(0, left), (30, 7), (70, 3), (80, 4)]);
        self.retire(right);
        self.retire(2);
    }

    /// A new root in the place of the old one.
    fn renew(&self, old: usize, new: usize, children: &[(usize, usize)]) {
        let keys: Vec<usize> = children.iter().map(|(key, _)| *key).collect();
        children.iter().enumerate().for_each(|(slot, (_, child))| self.point(ROOTS[new], slot, *child));
        self.fill(ROOTS[new], &keys);
        self.root.store(ROOTS[new], SeqCst);
        self.retire(ROOTS[old]);
    }

    fn node(&self, node: usize) -> &Node {
        assert_eq!(self.freed.load(SeqCst) & (1 << node), 0, "node {node} was freed");
        &self.nodes[node]
    }

    /// `walk_tree` from a key on, or backward from what is below it.
    fn walk(&self, from: usize, forward: bool) -> Vec<usize> {
        self.inside.fetch_add(1, SeqCst);
        let root = self.node(self.root.load(SeqCst));
        let named = slots(root.word.load(SeqCst));
        let slot = named.filter(|slot| root.keys[*slot].load(SeqCst) <= from).last();
        let mut at = root.children[slot.expect("the first separator is below all keys")].load(SeqCst);
        let mut shown = Vec::new();
        while at != NOWHERE {
            let leaf = self.node(at);
            let keys: Vec<usize> =
                slots(leaf.word.load(SeqCst)).map(|slot| leaf.keys[slot].load(SeqCst)).collect();
            if forward {
                shown.extend(keys.iter().filter(|key| **key >= from));
            } else {
                shown.extend(keys.iter().rev().filter(|key| **key < from));
            }
            at = if forward { leaf.next.load(SeqCst) } else { leaf.prev.load(SeqCst) };
        }
        self.inside.fetch_sub(1, SeqCst);
        if !forward {
            shown.reverse();
        }
        shown
    }
}

const STAY: [usize; 6] = [10, 20, 30, 40, 60, 70];
const COME: [usize; 2] = [15, 80];

fn walks(planted: Planted) {
    let tree = Arc::new(Tree::new());
    let look = |tree: &Tree, from: usize, forward: bool| {
        let shown = tree.walk(from, forward);
        assert!(shown.windows(2).all(|two| two[0] < two[1]), "out of order, or twice: {shown:?}");
        let stay = STAY.into_iter().filter(|key| (*key >= from) == forward);
        assert!(shown.iter().copied().filter(|key| !COME.contains(key)).eq(stay), "not all: {shown:?}");
    };
    let writer = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || tree.change(planted))
    };
    let other = {
        let tree = Arc::clone(&tree);
        thread::spawn(move || {
            [(100, false), (30, false), (70, true)].map(|(from, way)| look(&tree, from, way))
        })
    };
    for (from, forward) in [(0, true), (30, true), (60, false)] {
        look(&tree, from, forward);
    }
    writer.join().expect("it does not panic");
    other.join().expect("it does not panic");
    let all = [&STAY[..], &[80]].concat();
    assert!(tree.walk(0, true) == all && tree.walk(100, false) == all);
}

fn every_order(planted: Planted) {
    let mut config = Config::default();
    // A failed check tells where it stands, which takes more than a model does.
    config.stack_size = 1 << 19;
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(move || walks(planted));
    Runner::new(PctScheduler::new(DEPTH, SCHEDULES), config).run(move || walks(planted));
}

#[test]
fn walks_show_what_stays_once_and_in_order() {
    // Aim: whatever step of a cut, a joint or a new root a walk falls into, it shows all that stays, and no node that was
    // freed. Method: the model in random orders.
    every_order(Planted::Nothing);
}

#[test]
fn mistakes_in_the_order_of_steps_are_caught() {
    // Aim: the model is able to see what it looks for. Method: each of four mistakes planted in it.
    for planted in [Planted::WordFirst, Planted::LinkFirst, Planted::HalfMoves, Planted::TwoStores] {
        assert!(catch_unwind(AssertUnwindSafe(|| every_order(planted))).is_err());
    }
}
