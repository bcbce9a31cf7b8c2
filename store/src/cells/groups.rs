//! One length of a shard: groups of seven places with their tags, each one line of the caches. Who may change what is said
//! in `cells`.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use seize::{Guard as _, LocalGuard};

use crate::cell::Cell;

/// Places of a group: with the word of their tags a line of 64 bytes.
pub(super) const GROUP: usize = 7;
/// Tags of places that hold no cell. Those of cells have the highest bit.
pub(super) const EMPTY: u8 = 0;
const REMOVED: u8 = 1;
/// One in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGHS: u64 = ONES << 7;
/// The tags of a new group: all empty, and none for the eighth byte, which is no place's.
const NO_TAGS: u64 = (REMOVED as u64) << (8 * GROUP);
/// The highest bits of the bytes that are places' tags.
const PLACES: u64 = HIGHS >> 8;

/// Groups behind the last home at first, so that a search never has to wrap.
pub(super) const SPARE: usize = 3;
/// How far from its home a cell is put, in groups, while the shard may still be spread wider.
const REACH: usize = 24;
/// How many times as many homes as its cells fill a shard may have, to spread them: those that come in the order of their
/// hashes crowd in a part of it until the others are there.
const SPREAD: usize = 8;
/// Of the groups of a shard with one or two cells.
pub(super) const GROUPS_MIN: usize = 1;

/// One length of a shard.
pub(super) struct Groups {
    pub(super) homes: usize,
    pub(super) all: Box<[Group]>,
}

/// One line.
#[repr(C, align(64))]
pub(super) struct Group {
    /// The tag of the first place in the lowest byte. Changed under the shard's lock only.
    pub(super) tags: AtomicU64,
    pub(super) places: [AtomicPtr<Cell>; GROUP],
}

const _: () = assert!(size_of::<Group>() == 64);

impl Default for Group {
    fn default() -> Group {
        Group { tags: AtomicU64::new(NO_TAGS), places: Default::default() }
    }
}

impl Group {
    /// The cells in it.
    pub(super) fn cells<'g>(&'g self, guard: &'g LocalGuard<'_>) -> impl Iterator<Item = *mut Cell> + 'g {
        let tags = seen(&self.tags);
        marked(tags & HIGHS).map(move |at| guard.protect(&self.places[at], Ordering::Acquire))
    }

    /// Takes the tag of a cell away: who enters from now on does not find the cell. Under the shard's lock.
    pub(super) fn forget(&self, at: usize) {
        let tags = self.tags.load(Ordering::Relaxed);
        let tag = (tags >> (at * 8)) as u8;
        self.tags.store(tags ^ (u64::from(tag ^ REMOVED) << (at * 8)), Ordering::SeqCst);
    }
}

/// The highest bit of every byte of `tags` that is `tag`; perhaps of some above such a one as well, which hold another.
/// Source: Warren, Hacker's Delight, 6-1.
#[inline]
pub(super) fn equal_to(tags: u64, tag: u8) -> u64 {
    let differs = tags ^ (ONES * u64::from(tag));
    differs.wrapping_sub(ONES) & !differs & HIGHS
}

/// The tags of a group as a reader sees them that follows them to cells. It is a tag that keeps who enters later away from
/// a removed cell, since its place still names it: so tags are loaded as the collector's own loads are, where it has no
/// cheap barrier (SeqCst, which costs nothing more than Acquire on most processors).
#[inline]
pub(super) fn seen(tags: &AtomicU64) -> u64 {
    tags.load(Ordering::SeqCst)
}

/// The bytes marked by their highest bit, from the lowest on.
#[inline]
pub(super) fn marked(marks: u64) -> impl Iterator<Item = usize> {
    let first = Some(marks).filter(|marks| *marks != 0);
    std::iter::successors(first, |marks| Some(marks & (marks - 1)).filter(|marks| *marks != 0))
        .map(|marks| marks.trailing_zeros() as usize / 8)
}

impl Groups {
    pub(super) fn new(size: Size) -> Groups {
        Groups { homes: size.homes, all: (0..size.homes + size.spare).map(|_| Group::default()).collect() }
    }

    pub(super) fn size(&self) -> Size {
        Size { homes: self.homes, spare: self.all.len() - self.homes }
    }

    /// Whether a group was never full: what belongs before or into it stands nowhere behind it.
    #[inline]
    pub(super) fn ends(tags: u64) -> bool {
        equal_to(tags, EMPTY) != 0
    }

    /// Puts a cell into the first place from `home` on that has none; says what was there, nothing when all within reach
    /// are full. `cells` is how many the shard has with this one. Under the shard's lock.
    pub(super) fn put(&self, home: usize, tag: u8, cell: *mut Cell, cells: usize) -> Option<u8> {
        let reach = if self.homes < Size::homes_max(cells) { REACH } else { self.all.len() };
        for group in self.all[home..].iter().take(reach) {
            let tags = group.tags.load(Ordering::Relaxed);
            let Some(at) = marked(!tags & PLACES).next() else { continue };
            group.places[at].store(cell, Ordering::SeqCst);
            let before = (tags >> (at * 8)) as u8;
            group.tags.store(tags ^ (u64::from(before ^ tag) << (at * 8)), Ordering::SeqCst);
            return Some(before);
        }
        None
    }

    pub(super) fn is_over(&self, used: usize) -> bool {
        used * 8 > self.homes * GROUP * 7
    }
}

/// How long a shard is.
#[derive(Clone, Copy)]
pub(super) struct Size {
    homes: usize,
    /// Groups behind the last home.
    spare: usize,
}

impl Size {
    /// With room for so many cells, and a little more: what their hashes differ by from shard to shard.
    pub(super) fn holding(cells: usize) -> Size {
        Size { homes: ((cells + cells / 16) * 8).div_ceil(7 * GROUP).max(GROUPS_MIN), spare: SPARE }
    }

    /// With room for a third as many cells again: the groups of a large table should stay in the caches as far as they can.
    pub(super) fn of(cells: usize) -> Size {
        Size { homes: (cells * 32 / (21 * GROUP)).max(GROUPS_MIN), spare: SPARE }
    }

    pub(super) fn homes_max(cells: usize) -> usize {
        (cells / GROUP + 1) * SPREAD
    }

    /// For cells that found no room in this one, though it has some elsewhere: more homes to spread them, and when that has
    /// been enough, more groups behind the last. So there is room after some steps whatever the hashes are.
    pub(super) fn wider(self, cells: usize) -> Size {
        let most = Size::homes_max(cells);
        match self.homes < most {
            true => Size { homes: (self.homes + self.homes.div_ceil(2)).min(most), ..self },
            false => Size { spare: self.spare * 2, ..self },
        }
    }
}
