//! All cells of an ordered table in the order of their keys, or the entries of an index: a B+ tree whose readers lock
//! nothing and are never waited for.
//!
//! What a reader sees changes in two ways only, each by one store. Within a node the word of ranks makes an entry come or go
//! (`node`). Between nodes a pointer leads to others: a leaf that is full, or nearly empty, is replaced by new leaves that
//! say the same, and so are inner nodes. A node that was replaced stays as it was until the last reader has left; a slot is
//! never used twice. So readers check nothing afterwards, and a walk that stands on a node of the past goes on to what was
//! beside it then.
//!
//! | who | holds | changes | what a reader sees meanwhile |
//! |---|---|---|---|
//! | `put`, `remove` | the leaf's `state` | one word, or one cell of a slot | before or after |
//! | `make_room`, `thin` (`reshape`) | `shape`, then the leaves' `state` | neighbours' links, then one place or the word above, then `gone` | old leaves or new ones: they say the same until all is done, since their `state` is held |
//! | `clear`, `drop` | `shape`; everything | the root | all or nothing |
//!
//! A writer that has waited for a leaf which is `gone` begins again. `state` is never held by who asks for `shape`.
//!
//! *Each entry once.* A leaf has the keys between two bounds, and the leaf behind it those from the upper one on. Bounds
//! come closer only in a leaf that is used up, for a new neighbour that has nothing yet: no key moves out of a leaf that
//! stays. Where keys move, all leaves concerned are replaced at once, with their links as they were. So from any leaf, of the
//! past or not, the links lead through every key that is there all the while, once and in order.
//!
//! *What is freed.* Keys and cells belong to the leaf that is in the tree, and to no replaced one; they are retired when
//! their entry is removed or gets another cell. A replaced node is retired when nothing in the tree leads to it. What it
//! leads to itself was in the tree when it was replaced, so it is retired later than that, and a reader that could reach the
//! node has been there since before.
//!
//! Writers of one key are kept apart by the key's lock shard, not here. Sources: permutations and slots of Masstree (Mao,
//! Kohler, Morris, EuroSys 2012); replacing nodes instead of changing them under readers is read-copy-update.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use parking_lot::Mutex;
use seize::{Collector, Guard as _, LocalGuard};

use crate::cell::{Cell, CellRef};
use crate::key::{Key, PackedKey, Probe};

mod node;
mod ranks;
mod reshape;
#[cfg(test)]
mod tests;
mod walk;

use node::{Entry, Node};
use ranks::SLOTS;
pub(crate) use walk::walk_tree;

/// See the file's header. All guards are of one collector.
pub(crate) struct Tree {
    /// Null until the first entry comes.
    root: AtomicPtr<Node>,
    /// Held for one change of more than one leaf: once in eight to fifteen times that an entry comes, for some hundred
    /// nanoseconds. One lock for all of them, so that no such change meets another one half done.
    shape: Mutex<()>,
    /// Of nodes and separators. Changed under `shape`.
    bytes: AtomicUsize,
}

/// A leaf that a key belongs to, or belonged to a moment ago.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'g>(Option<&'g Node>);

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree { root: AtomicPtr::default(), shape: Mutex::new(()), bytes: AtomicUsize::new(0) }
    }

    /// Where an entry of this key stands or would stand, its memory asked for: to be looked up a while before it is put.
    pub(crate) fn seek<'g>(&self, key: &Key, guard: &'g LocalGuard<'_>) -> Spot<'g> {
        let leaf = self.leaf_for(&Probe::new(key), guard);
        leaf.into_iter().for_each(|leaf| Node::ask(leaf, Node::LINES));
        Spot(leaf)
    }

    /// Puts an entry in, or points the one of this key to this cell; says whether there was none. Nobody else writes the key
    /// meanwhile.
    pub(crate) fn put(&self, key: &Key, cell: &CellRef, guard: &LocalGuard<'_>) -> bool {
        self.put_at(self.seek(key, guard), key, cell, guard)
    }

    /// As [`Tree::put`], of a key that was looked up under this guard, however much the tree has changed since: a leaf where
    /// the key does not belong any more is gone or used up.
    pub(crate) fn put_at(&self, spot: Spot<'_>, key: &Key, cell: &CellRef, guard: &LocalGuard<'_>) -> bool {
        let (probe, mut leaf) = (Probe::new(key), spot.0);
        loop {
            match leaf.map(|leaf| self.put_in(leaf, &probe, key, cell, guard)) {
                Some(Some(is_new)) => return is_new,
                Some(None) => {}
                None => self.plant(),
            }
            leaf = self.leaf_for(&probe, guard);
        }
    }

    /// The same in a leaf; nothing when it is gone, or had no room left and was replaced.
    fn put_in(
        &self,
        leaf: &Node,
        probe: &Probe<'_>,
        key: &Key,
        cell: &CellRef,
        guard: &LocalGuard<'_>,
    ) -> Option<bool> {
        let ranks = leaf.ranks();
        match leaf.find(ranks, probe) {
            Ok(rank) => {
                let slot = ranks.slot(rank);
                let is_same = leaf.cell(slot, guard).cast_const() == CellRef::as_ptr(cell);
                (is_same || self.point(leaf, slot, cell, guard)).then_some(false)
            }
            Err(rank) => {
                let mut state = leaf.state.lock();
                if state.gone {
                    return None;
                }
                if usize::from(state.used) == SLOTS {
                    drop(state);
                    self.make_room(probe, key, guard);
                    return None;
                }
                let now = leaf.ranks();
                let rank = if now == ranks { rank } else { leaf.cut(now, probe, false) };
                let place = CellRef::into_raw(CellRef::clone(cell)).cast_mut().cast();
                let entry = Entry { key: PackedKey::of(key.clone()), place };
                leaf.insert(&mut state, now, rank, entry);
                Some(true)
            }
        }
    }

    /// Points an entry to another cell; false when its leaf is gone.
    fn point(&self, leaf: &Node, slot: usize, cell: &CellRef, guard: &LocalGuard<'_>) -> bool {
        let state = leaf.state.lock();
        if state.gone {
            return false;
        }
        let cell = CellRef::into_raw(CellRef::clone(cell)).cast_mut();
        let known = leaf.place(slot).swap(cell.cast(), Ordering::SeqCst).cast::<Cell>();
        drop(state);
        // SAFETY: the count that the slot had; nobody that enters from now on finds it there.
        unsafe { guard.defer_retire(known, free_cell) };
        true
    }

    /// Takes an entry out; false where there is none. Nobody else writes the key meanwhile.
    pub(crate) fn remove(&self, key: &Key, guard: &LocalGuard<'_>) -> bool {
        let probe = Probe::new(key);
        loop {
            let Some(leaf) = self.leaf_for(&probe, guard) else { return false };
            if leaf.find(leaf.ranks(), &probe).is_err() {
                return false;
            }
            let state = leaf.state.lock();
            if state.gone {
                continue;
            }
            let ranks = leaf.ranks();
            let Ok(rank) = leaf.find(ranks, &probe) else { return false };
            let entry = leaf.entry(ranks.slot(rank));
            leaf.hide(ranks.without(rank));
            drop(state);
            // SAFETY: the word does not name the slot any more, and nobody but its leaf had a part in what it owned; nobody
            // that enters from now on finds it.
            unsafe {
                guard.defer_retire(entry.place.cast::<Cell>(), free_cell);
                retire_key(entry.key, guard);
            }
            if reshape::is_thin(ranks.len() - 1) {
                self.thin(&probe, guard);
            }
            return true;
        }
    }

    /// The cell of an entry.
    #[cfg(test)]
    pub(crate) fn get<'g>(&self, key: &Key, guard: &'g LocalGuard<'_>) -> Option<crate::cell::CellAt<'g>> {
        let probe = Probe::new(key);
        let leaf = self.leaf_for(&probe, guard)?;
        let ranks = leaf.ranks();
        let slot = ranks.slot(leaf.find(ranks, &probe).ok()?);
        // SAFETY: as in `walk`.
        Some(unsafe { crate::cell::CellAt::from_ptr(leaf.cell(slot, guard)) })
    }

    /// Takes all entries out. Nobody puts any in meanwhile.
    pub(crate) fn clear(&self, guard: &LocalGuard<'_>) {
        let shape = self.shape.lock();
        let mut leaf = self.down(guard, |_| 0).map(|way| way.leaf);
        while let Some(gone) = leaf {
            gone.state.lock().gone = true;
            // SAFETY: null, or the next leaf of the tree, which nobody else changes now.
            leaf = unsafe { gone.next.load(Ordering::Relaxed).as_ref() };
        }
        let root = self.root.swap(ptr::null_mut(), Ordering::SeqCst);
        self.bytes.store(0, Ordering::Relaxed);
        drop(shape);
        if !root.is_null() {
            // SAFETY: out of the tree, with all that it leads to; what was replaced before owned nothing of it.
            unsafe { guard.defer_retire(root, free_tree) };
            // It may be large, and would stay until the thread has retired enough of anything.
            guard.flush();
        }
    }

    /// Bytes that it holds, without what keys of entries and cells hold outside of it. Exact when idle, but for what was
    /// replaced and that the collector has not freed yet. O(1).
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The leaf that a key belongs to.
    #[inline]
    fn leaf_for<'g>(&self, probe: &Probe<'_>, guard: &'g LocalGuard<'_>) -> Option<&'g Node> {
        self.down(guard, |node| node.child_for(node.ranks(), probe)).map(|way| way.leaf)
    }

    /// The way to a leaf, by the rank of the child in each node.
    #[inline]
    fn down<'g>(&self, guard: &'g LocalGuard<'_>, rank: impl Fn(&Node) -> usize) -> Option<Way<'g>> {
        let root = guard.protect(&self.root, Ordering::Acquire);
        // SAFETY: null, or a node that was in the tree, or one of the past that this guard is older than the end of.
        let mut way = Way { leaf: unsafe { root.as_ref() }?, above: [None; 2] };
        while way.leaf.level() > 0 {
            let (node, rank) = (way.leaf, rank(way.leaf));
            let child = node.child(rank, guard);
            match node.level() {
                1 => Node::ask(child, Node::LINES),
                _ => Node::ask(child, Node::SEARCHED),
            }
            // SAFETY: as above; the places of inner nodes that a word names are never null.
            way = Way { leaf: unsafe { &*child }, above: [Some((node, rank)), way.above[0]] };
        }
        Some(way)
    }
}

/// A leaf, and the two nodes above it, each with the rank of what the way leads to, as far as there are any.
struct Way<'g> {
    leaf: &'g Node,
    above: [Option<(&'g Node, usize)>; 2],
}

impl Drop for Tree {
    fn drop(&mut self) {
        let root = *self.root.get_mut();
        if !root.is_null() {
            // SAFETY: nobody else can look at it any more.
            unsafe { free_all(root) };
        }
    }
}

/// Frees a node and all below it, with what they own.
///
/// # Safety
/// It is in no tree any more, and nobody looks at it.
unsafe fn free_all(node: *mut Node) {
    // SAFETY: made by `Node::new`; a root or a child is not null.
    let (node, block) = unsafe { (&*node, NonNull::new_unchecked(node)) };
    for entry in node.entries(node.ranks()) {
        // SAFETY: it owned the key, and the count of the cell or the child. The first separator has nothing to own.
        unsafe {
            entry.key.free();
            match node.level() {
                0 => drop(CellRef::from_raw(entry.place.cast())),
                _ => free_all(entry.place.cast()),
            }
        }
    }
    // SAFETY: as above; freed once.
    unsafe { Node::free(block) };
}

/// # Safety
/// Called by the collector once, with a count that a slot had.
unsafe fn free_cell(cell: *mut Cell, _: &Collector) {
    // SAFETY: see above.
    drop(unsafe { CellRef::from_raw(cell) });
}

/// # Safety
/// Called by the collector once, with the root of nodes that no tree has.
unsafe fn free_tree(root: *mut Node, _: &Collector) {
    // SAFETY: see above.
    unsafe { free_all(root) };
}

/// # Safety
/// Called by the collector once, with a key made in `retire_key`.
unsafe fn free_key(key: *mut Key, _: &Collector) {
    // SAFETY: see above.
    drop(unsafe { Box::from_raw(key) });
}

/// Lets a key go when nobody can look at it any more.
///
/// # Safety
/// It was owned by a slot that nobody who enters from now on finds.
unsafe fn retire_key(key: PackedKey, guard: &LocalGuard<'_>) {
    if key.is_long() {
        // SAFETY: as the caller says.
        let key = Box::into_raw(Box::new(unsafe { key.key() }));
        // SAFETY: made here; freed once, with the key.
        unsafe { guard.defer_retire(key.cast::<Key>(), free_key) };
    }
}
