//! Changes of a tree that concern more than one leaf: making room where a leaf is used up, and joining leaves that are nearly
//! empty. Always under `shape`, so a path that was walked down stays true.
//!
//! New leaves are linked to their neighbours first and put into the parent last, all with their `state` held. One store
//! puts them in: a place pointed to another child, or a new parent in a place above. Only a leaf that comes behind a parent's
//! last child is put in by the parent's word alone. Never by word and place together: a reader who has the old word and the
//! new place would take the first of two children for both (store `tests/tree_interleavings.rs` plants that).

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use seize::{Collector, Guard as _, LocalGuard};
use smallvec::{SmallVec, smallvec};

use super::node::{Entries, Entry, Node};
use super::ranks::SLOTS;
use super::{Tree, retire_key};
use crate::key::{Key, PackedKey, Probe, parting};

/// A leaf that is used up with fewer entries than this is copied without what was removed; two that have no more together
/// are joined: what comes of it has some slots left.
const ROOMY: usize = 10;
/// An inner node that has no more children than this is joined with one beside it, or shares its children.
const FEW_CHILDREN: usize = 2;

/// Whether a leaf that an entry was removed from should be joined with one beside it. Not at each removal, since those beside
/// it may be full; an empty one can always go.
pub(super) fn is_thin(entries: usize) -> bool {
    matches!(entries, 0 | 2 | 4)
}

/// The way from the root to a leaf.
#[derive(Default)]
struct Path<'t> {
    nodes: SmallVec<[&'t Node; 12]>,
    /// In each node but the last the rank of the next one.
    ranks: SmallVec<[usize; 12]>,
}

impl<'t> Path<'t> {
    /// Where the leaf is: the root is at 0.
    fn depth(&self) -> usize {
        self.nodes.len() - 1
    }

    fn leaf(&self) -> &'t Node {
        self.nodes[self.depth()]
    }
}

/// What was replaced, to be retired when all is done.
#[derive(Default)]
struct Replaced {
    nodes: SmallVec<[*mut Node; 4]>,
    separators: SmallVec<[PackedKey; 2]>,
}

impl Tree {
    /// Makes the first leaf.
    pub(super) fn plant(&self) {
        let _shape = self.shape.lock();
        if self.root.load(Ordering::Relaxed).is_null() {
            self.root.store(self.make(0, &[]), Ordering::SeqCst);
        }
    }

    /// Sees to it that the leaf for this key, which is not in the tree, has a slot left.
    #[cold]
    pub(super) fn make_room(&self, probe: &Probe<'_>, key: &Key, guard: &LocalGuard<'_>) {
        let shape = self.shape.lock();
        let Some(path) = self.path(probe, guard) else { return };
        let (leaf, mut replaced) = (path.leaf(), Replaced::default());
        let mut state = leaf.state.lock();
        if usize::from(state.used) < SLOTS {
            return;
        }
        let ranks = leaf.ranks();
        let rank = leaf.cut(ranks, probe, false);
        // Keys that come in order fill one leaf after the other: then the new key begins one, and none is moved.
        let newest = |rank: usize| rank < ranks.len() && ranks.slot(rank) == SLOTS - 1;
        let (follows, precedes) = (rank.checked_sub(1).is_some_and(newest), newest(rank));
        if (follows && rank == SLOTS) || (precedes && rank == 0 && ranks.len() == SLOTS) {
            self.begin_beside(&path, leaf, key, rank == SLOTS, &mut replaced);
        } else {
            let entries = leaf.entries(ranks);
            let cut = (entries.len() > ROOMY).then(|| cut(&entries, rank, key, follows, precedes));
            self.put_in_place(&path, &[leaf], &entries, cut, &mut replaced);
            state.gone = true;
        }
        drop(state);
        drop(shape);
        retire(replaced, guard);
    }

    /// Makes an empty leaf for a key beyond all others of a leaf, and what comes behind it.
    fn begin_beside(&self, path: &Path<'_>, leaf: &Node, key: &Key, above: bool, replaced: &mut Replaced) {
        let new = self.make(0, &[]);
        let ranks = leaf.ranks();
        // SAFETY: the leaf is in the tree and locked, so it owns its keys.
        let outermost = unsafe { leaf.key(ranks.slot(if above { SLOTS - 1 } else { 0 })).key() };
        let old = std::ptr::from_ref(leaf).cast_mut();
        let (left, right, separator) = match above {
            true => (old, new, parting(&outermost, key)),
            false => (new, old, parting(key, &outermost)),
        };
        let (before, behind) = match above {
            true => (old, leaf.next.load(Ordering::Relaxed)),
            false => (leaf.prev.load(Ordering::Relaxed), old),
        };
        // SAFETY: just made, and in no tree yet.
        let node = unsafe { &*new };
        let _held = node.state.lock();
        link(before, node, node, behind);
        let children = [
            Entry { key: PackedKey::LEAST, place: left.cast() },
            Entry { key: self.separator(separator), place: right.cast() },
        ];
        self.replace(path, path.depth(), 1, &children, replaced);
    }

    /// Puts leaves of these entries in the place of leaves that stand beside each other, whose `state` is held. The path leads
    /// to the first of them.
    fn put_in_place(
        &self,
        path: &Path<'_>,
        old: &[&Node],
        entries: &[Entry],
        cut: Option<(usize, Key)>,
        replaced: &mut Replaced,
    ) {
        let before = old[0].prev.load(Ordering::Relaxed);
        let behind = old[old.len() - 1].next.load(Ordering::Relaxed);
        let (left, right) = entries.split_at(cut.as_ref().map_or(entries.len(), |(left, _)| *left));
        let mut children: SmallVec<[Entry; 2]> =
            smallvec![Entry { key: PackedKey::LEAST, place: self.make(0, left).cast() }];
        if let Some((_, separator)) = cut {
            children.push(Entry { key: self.separator(separator), place: self.make(0, right).cast() });
        }
        // SAFETY: just made, and in no tree yet.
        let new: SmallVec<[&Node; 2]> = children.iter().map(|new| unsafe { &*new.place.cast() }).collect();
        let _held: SmallVec<[_; 2]> = new.iter().map(|node| node.state.lock()).collect();
        if let [first, second] = new[..] {
            first.next.store(children[1].place.cast(), Ordering::Relaxed);
            second.prev.store(children[0].place.cast(), Ordering::Relaxed);
        }
        link(before, new[0], new[new.len() - 1], behind);
        self.replace(path, path.depth(), old.len(), &children, replaced);
        old.iter().for_each(|node| self.drop_node(node, replaced));
    }

    /// Joins the leaf for this key with one beside it, if they have few entries.
    #[cold]
    pub(super) fn thin(&self, probe: &Probe<'_>, guard: &LocalGuard<'_>) {
        let shape = self.shape.lock();
        let Some(mut path) = self.path(probe, guard) else { return };
        let Some(above) = path.depth().checked_sub(1) else { return };
        let (parent, rank, mut replaced) = (path.nodes[above], path.ranks[above], Replaced::default());
        let children = parent.ranks().len();
        let beside = [rank.checked_sub(1), Some(rank)];
        for left in beside.into_iter().flatten().filter(|left| left + 1 < children) {
            // SAFETY: children of a node of the tree, which nobody replaces meanwhile.
            let [left_leaf, right_leaf] = [left, left + 1].map(|rank| unsafe { &*parent.child(rank, guard) });
            let (mut left_state, mut right_state) = (left_leaf.state.lock(), right_leaf.state.lock());
            let mut entries = left_leaf.entries(left_leaf.ranks());
            entries.extend(right_leaf.entries(right_leaf.ranks()));
            if entries.len() > ROOMY && path.leaf().ranks().len() > 0 || entries.len() > SLOTS {
                continue;
            }
            path.ranks[above] = left;
            path.nodes[above + 1] = left_leaf;
            replaced.separators.push(self.drop_separator(parent.key(left + 1)));
            self.put_in_place(&path, &[left_leaf, right_leaf], &entries, None, &mut replaced);
            (left_state.gone, right_state.gone) = (true, true);
            break;
        }
        drop(shape);
        retire(replaced, guard);
    }

    /// Puts new children in the place of some of a node's that stand beside each other: from the one that the path leads to at
    /// this depth on. Their first key stays that of the first replaced one; separators of the others belong to the caller.
    fn replace(&self, path: &Path<'_>, depth: usize, count: usize, new: &[Entry], replaced: &mut Replaced) {
        let Some(above) = depth.checked_sub(1) else {
            let root = match new {
                [only] => only.place.cast(),
                _ => self.make(path.nodes[0].level() + 1, new),
            };
            return self.root.store(root, Ordering::SeqCst);
        };
        let (parent, rank) = (path.nodes[above], path.ranks[above]);
        let (ranks, mut state) = (parent.ranks(), parent.state.lock());
        match (count, new) {
            (1, [only]) => parent.place(rank).store(only.place, Ordering::SeqCst),
            (1, [first, second])
                if first.place == parent.entry(rank).place && rank + 1 == ranks.len() && rank + 1 < SLOTS =>
            {
                parent.insert(&mut state, ranks, rank + 1, *second);
            }
            _ => {
                let mut entries = parent.entries(ranks);
                entries[rank].place = new[0].place;
                let rest = new.get(1).copied();
                entries.drain(rank + 1..rank + count);
                entries.insert_many(rank + 1, rest);
                self.drop_node(parent, replaced);
                self.replace_inner(path, above, entries, rank + 2, replaced);
            }
        }
    }

    /// Puts an inner node of these children in the place of the one at this depth: two where they are too many, and one with
    /// its neighbour where they are too few. `newest` is behind the rank that was put in last.
    fn replace_inner(
        &self,
        path: &Path<'_>,
        depth: usize,
        mut entries: Entries,
        newest: usize,
        replaced: &mut Replaced,
    ) {
        let (len, level) = (entries.len(), path.nodes[depth].level());
        let above = depth.checked_sub(1);
        if len == 1 && above.is_none() {
            return self.root.store(entries[0].place.cast(), Ordering::SeqCst);
        }
        let Some(above) = above.filter(|_| len <= FEW_CHILDREN) else {
            // Where children come in order the left node stays as full as it can.
            let left = || if newest == len { len - FEW_CHILDREN - 1 } else { len / 2 };
            let parts = self.inner(level, &mut entries, (len > SLOTS).then(left));
            return self.replace(path, depth, 1, &parts, replaced);
        };
        let (parent, rank) = (path.nodes[above], path.ranks[above]);
        // Every inner node has some children, so there is one beside it.
        let left = rank.saturating_sub(1);
        let beside = parent.entry(if left < rank { left } else { rank + 1 }).place.cast::<Node>();
        // SAFETY: a child of a node of the tree, which nobody replaces meanwhile.
        let beside = unsafe { &*beside };
        let mut right = beside.entries(beside.ranks());
        if left < rank {
            std::mem::swap(&mut entries, &mut right);
        }
        right[0].key = parent.key(left + 1);
        entries.extend(right);
        let middle = (entries.len() > ROOMY).then_some(entries.len() / 2);
        let parts = self.inner(level, &mut entries, middle);
        self.drop_node(beside, replaced);
        let mut path = Path { nodes: path.nodes.clone(), ranks: path.ranks.clone() };
        path.ranks[above] = left;
        self.replace(&path, depth, 2, &parts, replaced);
    }

    /// Inner nodes of these children: one, or two cut at this rank, whose separator goes up.
    fn inner(&self, level: u8, entries: &mut Entries, cut: Option<usize>) -> SmallVec<[Entry; 2]> {
        let Some(cut) = cut else {
            return smallvec![Entry { key: PackedKey::LEAST, place: self.make(level, entries).cast() }];
        };
        let key = std::mem::replace(&mut entries[cut].key, PackedKey::LEAST);
        let (left, right) = entries.split_at(cut);
        smallvec![
            Entry { key: PackedKey::LEAST, place: self.make(level, left).cast() },
            Entry { key, place: self.make(level, right).cast() },
        ]
    }

    fn path<'g>(&self, probe: &Probe<'_>, guard: &'g LocalGuard<'_>) -> Option<Path<'g>> {
        let mut path = Path::default();
        // SAFETY: null or the root, then children of nodes of the tree, which nobody replaces meanwhile.
        let mut node = unsafe { self.root.load(Ordering::Relaxed).as_ref() }?;
        while node.level() > 0 {
            let rank = node.child_for(node.ranks(), probe);
            path.nodes.push(node);
            path.ranks.push(rank);
            // SAFETY: as above.
            node = unsafe { &*node.child(rank, guard) };
        }
        path.nodes.push(node);
        Some(path)
    }

    fn make(&self, level: u8, entries: &[Entry]) -> *mut Node {
        self.add_bytes(size_of::<Node>() as isize);
        Node::new(level, entries)
    }

    fn drop_node(&self, node: &Node, replaced: &mut Replaced) {
        self.add_bytes(-(size_of::<Node>() as isize));
        replaced.nodes.push(std::ptr::from_ref(node).cast_mut());
    }

    fn separator(&self, key: Key) -> PackedKey {
        self.add_bytes(key.heap_bytes() as isize);
        PackedKey::of(key)
    }

    fn drop_separator(&self, key: PackedKey) -> PackedKey {
        // SAFETY: it stands in a node of the tree.
        self.add_bytes(-(unsafe { key.key() }.heap_bytes() as isize));
        key
    }

    fn add_bytes(&self, more: isize) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.bytes.store(bytes.wrapping_add_signed(more), Ordering::Relaxed);
    }
}

/// Where a leaf of these entries is cut, and what parts the halves: in the middle; or where a key comes that follows the one
/// that came last, or precedes it, so that those that come in order fill what they have begun.
fn cut(entries: &[Entry], rank: usize, key: &Key, follows: bool, precedes: bool) -> (usize, Key) {
    let between = rank > 0 && rank < entries.len();
    let at = if between && (follows || precedes) { rank } else { entries.len() / 2 };
    // SAFETY: the leaf is in the tree and locked, so it owns its keys.
    let (last, first) = unsafe { (entries[at - 1].key.key(), entries[at].key.key()) };
    let separator = match (between && follows, between && precedes) {
        (true, _) => parting(key, &first),
        (_, true) => parting(&last, key),
        _ => parting(&last, &first),
    };
    (at, separator)
}

/// Leads to new leaves from those on both sides, either of which may be none. The new ones lead on before anyone is led to
/// them.
fn link(before: *mut Node, first: &Node, last: &Node, behind: *mut Node) {
    first.prev.store(before, Ordering::Relaxed);
    last.next.store(behind, Ordering::Relaxed);
    // SAFETY: null, or leaves of the tree that nobody replaces meanwhile.
    let (before, behind) = unsafe { (before.as_ref(), behind.as_ref()) };
    if let Some(before) = before {
        before.next.store(std::ptr::from_ref(first).cast_mut(), Ordering::SeqCst);
    }
    if let Some(behind) = behind {
        behind.prev.store(std::ptr::from_ref(last).cast_mut(), Ordering::SeqCst);
    }
}

fn retire(replaced: Replaced, guard: &LocalGuard<'_>) {
    for node in replaced.nodes {
        // SAFETY: made by `Node::new`; nothing in the tree leads to it any more, and what it had is owned by others.
        unsafe { guard.defer_retire(node, free_node) };
    }
    for key in replaced.separators {
        // SAFETY: no node of the tree has it any more.
        unsafe { retire_key(key, guard) };
    }
}

/// # Safety
/// Called by the collector once, with a node made by `Node::new`.
unsafe fn free_node(node: *mut Node, _: &Collector) {
    // SAFETY: see above.
    unsafe { Node::free(NonNull::new_unchecked(node)) };
}

#[cfg(test)]
impl Tree {
    /// Panics where its shape is not what this file keeps. Nobody writes meanwhile. Says how many nodes there are.
    pub(super) fn check(&self) -> usize {
        let root = self.root.load(Ordering::Relaxed);
        let mut leaves = Vec::new();
        // SAFETY: null or a node of the tree, which nobody changes.
        let nodes = unsafe { root.as_ref() }.map_or(0, |root| check(root, None, None, true, &mut leaves));
        let mut before = std::ptr::null_mut();
        for (n, leaf) in leaves.iter().enumerate() {
            assert_eq!(leaf.prev.load(Ordering::Relaxed), before);
            before = std::ptr::from_ref(*leaf).cast_mut();
            let next =
                leaves.get(n + 1).map_or(std::ptr::null_mut(), |next| std::ptr::from_ref(*next).cast_mut());
            assert_eq!(leaf.next.load(Ordering::Relaxed), next);
        }
        nodes
    }
}

#[cfg(test)]
fn check<'t>(
    node: &'t Node,
    low: Option<&Key>,
    high: Option<&Key>,
    root: bool,
    leaves: &mut Vec<&'t Node>,
) -> usize {
    let ranks = node.ranks();
    // SAFETY: what nodes of the tree have is there.
    let keys: Vec<_> = ranks.slots().map(|slot| unsafe { node.key(slot).key() }).collect();
    assert!(keys.windows(2).all(|two| two[0] < two[1]) && !node.state.lock().gone);
    let own = if node.level() == 0 { &keys[..] } else { &keys[1..] };
    assert!(
        own.iter().all(|key| low.is_none_or(|low| low <= &**key) && high.is_none_or(|high| &**key < high))
    );
    if node.level() == 0 {
        leaves.push(node);
        return 1;
    }
    assert!(keys[0].is_empty() && keys.len() > if root { 1 } else { FEW_CHILDREN });
    let mut nodes = 1;
    for (rank, slot) in ranks.slots().enumerate() {
        // SAFETY: as above.
        let child = unsafe { &*node.entry(slot).place.cast::<Node>() };
        assert_eq!(child.level() + 1, node.level());
        let low = if rank == 0 { low } else { Some(&*keys[rank]) };
        let high = keys.get(rank + 1).map(|key| &**key).or(high);
        nodes += check(child, low, high, false, leaves);
    }
    nodes
}
