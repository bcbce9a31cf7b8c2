//! A node of a tree: fifteen slots, each filled at most once, and a word that says which of them are entries and in which
//! order ([`Ranks`]). So a slot that a reader has found by the word never changes under it, and the word alone, stored
//! behind the slot, makes an entry come and go. A node whose slots are used up is replaced by others.
//!
//! A leaf's entries are keys with their cells; it owns both. An inner node's are separators with the child for keys from
//! there on; its first separator is below every key. It owns the separators, the tree owns the nodes. What a node that was
//! replaced had has gone over to those in its place: only its own memory is freed.

use std::cell::UnsafeCell;
use std::cmp::Ordering::{Equal, Greater, Less};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use seize::{Guard as _, LocalGuard};
use smallvec::SmallVec;

use super::ranks::{Ranks, SLOTS};
use crate::cell::Cell;
use crate::key::{PackedKey, Probe, Rest};
use crate::prefetch::prefetch;
use crate::spare;

/// Bytes of a line of memory.
const LINE: usize = 64;
const NEVER_FILLED: u64 = u64::MAX >> 1;

/// The order of fields is that of a search; its slots stand in arrays of their parts. Every byte is in an atomic or a cell:
/// a node is freed by pointers that were references to it, and to bytes that may not change they would give no right.
#[repr(C)]
pub(super) struct Node {
    ranks: AtomicU64,
    /// Held by who changes the node, for the length of that; a leaf's by who replaces it, until that is done.
    pub(super) state: Mutex<State>,
    /// Nodes below it; 0 is a leaf. Never changes.
    level: AtomicU8,
    _room: [AtomicU8; 4],
    /// Of slots that were never filled, a number that is above all keys'.
    firsts: [AtomicU64; SLOTS],
    /// Cells of a leaf, children of an inner node.
    places: [AtomicPtr<()>; SLOTS],
    rests: UnsafeCell<[Rest; SLOTS]>,
    /// The leaves beside it. Changed under the tree's `shape` only.
    pub(super) next: AtomicPtr<Node>,
    pub(super) prev: AtomicPtr<Node>,
}

const _: () = assert!(size_of::<Node>() == Node::LINES * LINE && align_of::<Node>() == align_of::<u64>());
// Else those that were freed would not be kept for others.
const _: () = assert!(size_of::<Node>() <= spare::SIZE_MAX);

#[derive(Default)]
pub(super) struct State {
    /// Slots that are filled, or were.
    pub(super) used: u8,
    /// Others stand in its place.
    pub(super) gone: bool,
}

// SAFETY: what is not atomic are the parts of keys, written under `state` into a slot that no word has named before, and
// read in slots that a word names. The keys may be looked at from and moved to any thread.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// What stands in a slot, moved as bytes.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: PackedKey,
    pub(super) place: *mut (),
}

/// Entries of a node that is taken apart, with those that come to it.
pub(super) type Entries = SmallVec<[Entry; 2 * SLOTS]>;

impl Node {
    /// A node of these entries, at most fifteen, which go over to it.
    pub(super) fn new(level: u8, entries: &[Entry]) -> *mut Node {
        let node = Node {
            ranks: AtomicU64::new(Ranks::in_order(entries.len()).0),
            state: Mutex::new(State { used: entries.len() as u8, gone: false }),
            level: AtomicU8::new(level),
            _room: Default::default(),
            firsts: [const { AtomicU64::new(NEVER_FILLED) }; SLOTS],
            places: [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS],
            rests: UnsafeCell::new([[MaybeUninit::uninit(); 2]; SLOTS]),
            next: AtomicPtr::default(),
            prev: AtomicPtr::default(),
        };
        entries.iter().enumerate().for_each(|(slot, entry)| node.write(slot, *entry));
        let block = spare::allocate(size_of::<Node>()).cast::<Node>();
        // SAFETY: as large and aligned as a node, and nobody else's.
        unsafe { block.write(node) };
        block.as_ptr()
    }

    /// Gives a node's own memory back: not what it owns.
    ///
    /// # Safety
    /// [`Node::new`] has made it, and nobody looks at it any more.
    pub(super) unsafe fn free(node: NonNull<Node>) {
        // SAFETY: as the caller says.
        unsafe {
            node.drop_in_place();
            spare::free(node.cast(), size_of::<Node>());
        }
    }

    /// Lines of memory of a node, and those that a search for a child looks at: word, first parts of keys, places.
    pub(super) const LINES: usize = 8;
    pub(super) const SEARCHED: usize = 4;

    #[inline]
    pub(super) fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    /// Asks for this many lines of the node at this address.
    #[inline]
    pub(super) fn ask(node: *const Node, lines: usize) {
        (0..lines).for_each(|line| prefetch(node.cast::<u8>().wrapping_add(line * LINE)));
    }

    /// The word. It is what keeps who enters later away from entries that were removed, so it is loaded as the collector's
    /// own loads are where it has no cheap barrier: see `cells`.
    #[inline]
    pub(super) fn ranks(&self) -> Ranks {
        Ranks(self.ranks.load(Ordering::SeqCst))
    }

    /// Makes an entry go, which is going to be retired. Under `state`.
    pub(super) fn hide(&self, ranks: Ranks) {
        self.ranks.store(ranks.0, Ordering::SeqCst);
    }

    fn write(&self, slot: usize, entry: Entry) {
        self.firsts[slot].store(entry.key.first, Ordering::Relaxed);
        // SAFETY: within the array, as above; through a pointer to one element: readers look at others at the same time.
        unsafe { self.rests.get().cast::<Rest>().add(slot).write(entry.key.rest) };
        self.places[slot].store(entry.place, Ordering::Relaxed);
    }

    /// Puts an entry in at a rank. Under `state`, with a slot left.
    pub(super) fn insert(&self, state: &mut State, ranks: Ranks, rank: usize, entry: Entry) {
        let slot = usize::from(state.used);
        self.write(slot, entry);
        state.used += 1;
        // Who sees the word sees the slot.
        self.ranks.store(ranks.with(rank, slot).0, Ordering::Release);
    }

    #[inline]
    fn first(&self, slot: usize) -> u64 {
        self.firsts[slot].load(Ordering::Relaxed)
    }

    /// The key in a slot that a word of this node has named.
    #[inline]
    pub(super) fn key(&self, slot: usize) -> PackedKey {
        assert!(slot < SLOTS);
        // SAFETY: a word named the slot, so it was written before and is not again; within the array.
        let rest = unsafe { self.rests.get().cast::<Rest>().add(slot).read() };
        PackedKey { first: self.first(slot), rest }
    }

    #[inline]
    pub(super) fn place(&self, slot: usize) -> &AtomicPtr<()> {
        &self.places[slot]
    }

    #[inline]
    pub(super) fn cell(&self, slot: usize, guard: &LocalGuard<'_>) -> *mut Cell {
        guard.protect(&self.places[slot], Ordering::Acquire).cast()
    }

    #[inline]
    pub(super) fn child(&self, slot: usize, guard: &LocalGuard<'_>) -> *mut Node {
        guard.protect(&self.places[slot], Ordering::Acquire).cast()
    }

    pub(super) fn entry(&self, slot: usize) -> Entry {
        Entry { key: self.key(slot), place: self.places[slot].load(Ordering::Relaxed) }
    }

    pub(super) fn entries(&self, ranks: Ranks) -> Entries {
        ranks.slots().map(|slot| self.entry(slot)).collect()
    }

    /// How the key in a slot stands to a probe. Most are told apart by their first parts, and the line with the rest is not
    /// asked for.
    #[inline]
    pub(super) fn compare(&self, slot: usize, probe: &Probe<'_>) -> std::cmp::Ordering {
        match probe.below(self.first(slot)) {
            Some(true) => Less,
            Some(false) => Greater,
            // SAFETY: whoever can see the slot has a guard from before its key was retired.
            None => unsafe { probe.compare(self.key(slot)) },
        }
    }

    /// How many keys are below the probe, or, with `after`, not above it.
    #[inline]
    pub(super) fn cut(&self, ranks: Ranks, probe: &Probe<'_>, after: bool) -> usize {
        let (mut from, mut len) = (0, ranks.len());
        while len > 0 {
            let half = len / 2;
            let slot = ranks.slot(from + half);
            let left = match self.compare(slot, probe) {
                Less => true,
                Equal => after,
                Greater => false,
            };
            from = if left { from + half + 1 } else { from };
            len = if left { len - half - 1 } else { half };
        }
        from
    }

    /// The rank of a key, or the one that it would have.
    #[inline]
    pub(super) fn find(&self, ranks: Ranks, probe: &Probe<'_>) -> Result<usize, usize> {
        let rank = self.cut(ranks, probe, false);
        match rank < ranks.len() && self.compare(ranks.slot(rank), probe) == Equal {
            true => Ok(rank),
            false => Err(rank),
        }
    }

    /// The rank of the child for a key. Children stand in slots in the order of their ranks, so this needs no jumps: it
    /// counts. The first separator is below every key.
    #[inline]
    pub(super) fn child_for(&self, ranks: Ranks, probe: &Probe<'_>) -> usize {
        let below = self.firsts.iter().map(|first| probe.above(first.load(Ordering::Relaxed))).sum::<u64>();
        // What was put in since the word was read does not count; what begins with the same bytes is compared in full.
        let rank = (below as usize).min(ranks.len());
        let alike = rank < ranks.len() && probe.below(self.first(rank)).is_none();
        let behind = if alike { self.cut(ranks, probe, true) } else { rank };
        behind.max(1) - 1
    }
}
