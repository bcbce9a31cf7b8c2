//! All cells of a table by key: what point operations of every kind go through. Open addressing over the cells themselves,
//! where a general map has an entry in between.
//!
//! A table is cut into shards by the first bits of the hash. A shard is a row of groups of seven places; seven tags of a
//! byte each, in one word before them, say which of a group's places may hold a key, so that a foreign cell is looked at
//! once in some hundred times. A group is one line of the caches: finding a cell costs one miss. A key's home is the group
//! that its next hash bits name, scaled to the number of groups; what finds it full goes to a later one, without wrapping. So the cells of a shard
//! stand in the order of their hashes as far as full groups let them, a scan can stop at any hash and go on behind it,
//! however often the shard has grown meanwhile ([`Cells::chunk`]).
//!
//! Readers lock nothing: they load the shard's groups and search them under a guard. Writers of a shard lock it for the
//! length of one change of a place. A tag is stored behind its cell, so who finds the tag finds that cell or a later one. A
//! place goes from empty to a cell to removed, never back to empty, so a search may end at the first group with an empty
//! one. A shard that is full is copied into a longer one; the old groups stay as they are until the last reader has left.
//! Sources of the ideas: linear probing (Knuth, The Art of Computer Programming, 6.4); tags of a byte (Abseil's Swiss tables).

use std::ops::ControlFlow;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use seize::{Collector, Guard as _, LocalGuard};

use crate::cell::{Cell, CellAt, CellRef};
use crate::key::Key;
use crate::prefetch::prefetch;

/// Shards: writers that make or remove keys at the same time rarely meet, and growing one moves a small part only.
const SHARD_BITS: u32 = 6;
/// Bits of a hash that say where in its shard a cell stands.
const HOME_BITS: u32 = 32;
/// Bits of a hash below both. The lowest seven of them make the tag.
const REST_BITS: u32 = 64 - SHARD_BITS - HOME_BITS;

/// Places of a group: with the word of their tags a line of 64 bytes.
const GROUP: usize = 7;
/// Tags of places that hold no cell. Those of cells have the highest bit.
const EMPTY: u8 = 0;
const REMOVED: u8 = 1;
/// One in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;
/// The tags of a new group: all empty, and none for the eighth byte, which is no place's.
const NO_TAGS: u64 = (REMOVED as u64) << (8 * GROUP);
/// The highest bits of the bytes that are places' tags.
const PLACES: u64 = HIGHS >> 8;

/// Groups behind the last home at first, so that a search never has to wrap.
const SPARE: usize = 3;
/// How far from its home a cell is put, in groups, while the shard may still be spread wider.
const REACH: usize = 24;
/// How many times as many homes as its cells fill a shard may have, to spread them: those that come in the order of their
/// hashes crowd in a part of it until the others are there.
const SPREAD: usize = 8;
/// Of the groups of a shard with one or two cells.
const GROUPS_MIN: usize = 1;
/// Cells looked at together in a scan, so that their lines are fetched at the same time.
const AHEAD: usize = 4 * GROUP;

/// See the file's header.
pub(crate) struct Cells {
    shards: Box<[CachePadded<Shard>]>,
    hasher: FixedState,
}

#[derive(Default)]
struct Shard {
    /// Null until the first cell comes.
    groups: AtomicPtr<Groups>,
    /// Held for one change of a place, or for copying them all.
    fill: Mutex<Fill>,
}

#[derive(Default)]
struct Fill {
    cells: usize,
    /// With those that were removed.
    used: usize,
}

/// One length of a shard.
struct Groups {
    homes: usize,
    all: Box<[Group]>,
}

/// One line.
#[repr(C, align(64))]
struct Group {
    /// The tag of the first place in the lowest byte. Changed under the shard's lock only.
    tags: AtomicU64,
    places: [AtomicPtr<Cell>; GROUP],
}

const _: () = assert!(size_of::<Group>() == 64);

impl Default for Group {
    fn default() -> Group {
        Group { tags: AtomicU64::new(NO_TAGS), places: Default::default() }
    }
}

impl Group {
    /// The cells in it.
    fn cells<'g>(&'g self, guard: &'g LocalGuard<'_>) -> impl Iterator<Item = *mut Cell> + 'g {
        let tags = seen(&self.tags);
        marked(tags & HIGHS).map(move |at| guard.protect(&self.places[at], Ordering::Acquire))
    }
}

/// Where a cell belongs: its shard, and within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

impl Place {
    /// Before the first.
    pub(crate) const START: Place = Place(0);

    #[inline]
    fn of(hash: u64) -> Place {
        Place(hash >> REST_BITS)
    }

    #[inline]
    fn shard(self) -> usize {
        (self.0 >> HOME_BITS) as usize
    }

    /// The group it belongs to. 32 bits times fewer than 2^32 groups stay within 64.
    #[inline]
    fn home(self, homes: usize) -> usize {
        ((u64::from(self.0 as u32) * homes as u64) >> HOME_BITS) as usize
    }

    /// The first place of a shard; of the one behind the last, what is behind everything.
    fn of_shard(shard: usize) -> Place {
        Place((shard as u64) << HOME_BITS)
    }

    /// The first place of this shard whose home is not below `home`.
    fn of_home(shard: usize, home: usize, homes: usize) -> Place {
        Place(Place::of_shard(shard).0 + ((home as u64) << HOME_BITS).div_ceil(homes as u64))
    }
}

#[inline]
fn tag(hash: u64) -> u8 {
    hash as u8 | 0x80
}

/// The highest bit of every byte of `tags` that is `tag`; perhaps of some above such a one as well, which hold another.
/// Source: Warren, Hacker's Delight, 6-1.
#[inline]
fn equal_to(tags: u64, tag: u8) -> u64 {
    let differs = tags ^ (ONES * u64::from(tag));
    differs.wrapping_sub(ONES) & !differs & HIGHS
}

/// The tags of a group as a reader sees them that follows them to cells. It is a tag that keeps who enters later away from
/// a removed cell, since its place still names it: so tags are loaded as the collector's own loads are, where it has no
/// cheap barrier (SeqCst, which costs nothing more than Acquire on most processors).
#[inline]
fn seen(tags: &AtomicU64) -> u64 {
    tags.load(Ordering::SeqCst)
}

/// The bytes marked by their highest bit, from the lowest on.
#[inline]
fn marked(marks: u64) -> impl Iterator<Item = usize> {
    let first = Some(marks).filter(|marks| *marks != 0);
    std::iter::successors(first, |marks| Some(marks & (marks - 1)).filter(|marks| *marks != 0))
        .map(|marks| marks.trailing_zeros() as usize / 8)
}

impl Groups {
    fn new(size: Size) -> Groups {
        Groups { homes: size.homes, all: (0..size.homes + size.spare).map(|_| Group::default()).collect() }
    }

    fn size(&self) -> Size {
        Size { homes: self.homes, spare: self.all.len() - self.homes }
    }

    /// Whether a group was never full: what belongs before or into it stands nowhere behind it.
    #[inline]
    fn ends(tags: u64) -> bool {
        equal_to(tags, EMPTY) != 0
    }

    /// Puts a cell into the first place from `home` on that has none; says what was there, nothing when all within reach
    /// are full. `cells` is how many the shard has with this one. Under the shard's lock.
    fn put(&self, home: usize, tag: u8, cell: *mut Cell, cells: usize) -> Option<u8> {
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

    fn is_over(&self, used: usize) -> bool {
        used * 8 > self.homes * GROUP * 7
    }
}

/// How long a shard is.
#[derive(Clone, Copy)]
struct Size {
    homes: usize,
    /// Groups behind the last home.
    spare: usize,
}

impl Size {
    /// With room for half as many cells again.
    fn of(cells: usize) -> Size {
        Size { homes: (cells * 12 / 7 / GROUP).max(GROUPS_MIN), spare: SPARE }
    }

    fn homes_max(cells: usize) -> usize {
        (cells / GROUP + 1) * SPREAD
    }

    /// For cells that found no room in this one, though it has some elsewhere: more homes to spread them, and when that has
    /// been enough, more groups behind the last. So there is room after some steps whatever the hashes are.
    fn wider(self, cells: usize) -> Size {
        let most = Size::homes_max(cells);
        match self.homes < most {
            true => Size { homes: (self.homes + self.homes.div_ceil(2)).min(most), ..self },
            false => Size { spare: self.spare * 2, ..self },
        }
    }
}

impl Cells {
    pub(crate) fn new() -> Cells {
        let shards = (0..1 << SHARD_BITS).map(|_| CachePadded::default()).collect();
        Cells { shards, hasher: FixedState::default() }
    }

    #[inline]
    fn hash(&self, key: &Key) -> u64 {
        key.hash_with(&self.hasher)
    }

    /// How many there are. O(1).
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.fill.lock().cells).sum()
    }

    /// Bytes of the shards and their groups, without the cells. O(1).
    pub(crate) fn bytes(&self) -> usize {
        let of_shard = |shard: &CachePadded<Shard>| {
            let _fill = shard.fill.lock();
            // SAFETY: null, or groups that nobody replaces or retires while the shard is locked.
            let groups = unsafe { shard.groups.load(Ordering::Acquire).as_ref() };
            groups.map_or(0, |groups| size_of::<Groups>() + size_of_val(&*groups.all))
        };
        size_of_val(&*self.shards) + self.shards.iter().map(of_shard).sum::<usize>()
    }

    /// At most `count` cells from all over the table. O(count), unless most of it was deleted.
    pub(crate) fn some<'g>(
        &'g self,
        count: usize,
        guard: &'g LocalGuard<'_>,
    ) -> impl Iterator<Item = CellAt<'g>> + 'g {
        let shards = (0..self.shards.len()).step_by((self.shards.len() / count).max(1));
        shards.filter_map(move |shard| {
            let groups = self.groups(shard, guard)?;
            let cell = groups.all.iter().find_map(|group| group.cells(guard).next())?;
            // SAFETY: as in `get`.
            Some(unsafe { CellAt::from_ptr(cell) })
        })
    }

    /// A shard's groups.
    #[inline]
    fn groups<'g>(&self, shard: usize, guard: &'g LocalGuard<'_>) -> Option<&'g Groups> {
        // SAFETY: null, or groups that are retired only after others have taken their place.
        unsafe { guard.protect(&self.shards[shard].groups, Ordering::Acquire).as_ref() }
    }

    /// The key's cell.
    #[inline(always)]
    pub(crate) fn get<'g>(&self, key: &Key, guard: &'g LocalGuard<'_>) -> Option<CellAt<'g>> {
        let hash = self.hash(key);
        let place = Place::of(hash);
        let groups = self.groups(place.shard(), guard)?;
        for group in &groups.all[place.home(groups.homes)..] {
            let tags = seen(&group.tags);
            for at in marked(equal_to(tags, tag(hash))) {
                let cell = guard.protect(&group.places[at], Ordering::Acquire);
                // SAFETY: put there by `put` with a count, which is given up through the collector after it was removed.
                let cell = unsafe { CellAt::from_ptr(cell) };
                if cell.key == *key {
                    return Some(cell);
                }
            }
            if Groups::ends(tags) {
                break;
            }
        }
        None
    }

    /// Asks for the memory that finding a key takes first.
    #[inline]
    pub(crate) fn ask_for(&self, key: &Key, guard: &LocalGuard<'_>) {
        let place = Place::of(self.hash(key));
        if let Some(groups) = self.groups(place.shard(), guard) {
            prefetch(&raw const groups.all[place.home(groups.homes)]);
        }
    }

    /// Asks for the memory that finding these keys takes, for all of them at once.
    pub(crate) fn ask<'k>(&self, keys: impl Iterator<Item = &'k Key> + Clone, guard: &LocalGuard<'_>) {
        let groups = |key: &Key| {
            let hash = self.hash(key);
            let place = Place::of(hash);
            let groups = self.groups(place.shard(), guard)?;
            Some((&groups.all[place.home(groups.homes)], tag(hash)))
        };
        for (group, _) in keys.clone().filter_map(groups) {
            prefetch(group);
        }
        for (group, tag) in keys.filter_map(groups) {
            let tags = group.tags.load(Ordering::Acquire);
            if let Some(at) = marked(equal_to(tags, tag)).next() {
                prefetch(guard.protect(&group.places[at], Ordering::Acquire));
            }
        }
    }

    /// Puts a cell in whose key has none. Under the key's write lock or lock shard, so nobody else makes or removes it.
    pub(crate) fn put(&self, cell: CellRef, guard: &LocalGuard<'_>) {
        let hash = self.hash(&cell.key);
        let place = Place::of(hash);
        let shard = &self.shards[place.shard()];
        let mut fill = shard.fill.lock();
        let cell = CellRef::into_raw(cell).cast_mut();
        loop {
            let groups = self.groups(place.shard(), guard);
            if let Some(groups) = groups.filter(|groups| !groups.is_over(fill.used + 1))
                && let Some(before) = groups.put(place.home(groups.homes), tag(hash), cell, fill.cells + 1)
            {
                fill.used += usize::from(before == EMPTY);
                fill.cells += 1;
                return;
            }
            self.grow(shard, &mut fill, groups, guard);
        }
    }

    /// Makes room for so many cells at once, where there are none yet: shards that are filled step by step copy theirs twice
    /// on the average.
    pub(crate) fn reserve(&self, cells: usize, guard: &LocalGuard<'_>) {
        // A shard gets its part, a little more or less; what is more grows as ever.
        let part = cells.div_ceil(self.shards.len());
        let homes = ((part + part / 16) * 8).div_ceil(7 * GROUP).max(GROUPS_MIN);
        for (n, shard) in self.shards.iter().enumerate() {
            let _fill = shard.fill.lock();
            if self.groups(n, guard).is_none() {
                let groups = Groups::new(Size { homes, spare: SPARE });
                shard.groups.store(Box::into_raw(Box::new(groups)), Ordering::SeqCst);
            }
        }
    }

    /// Copies a shard's cells into groups with room for half as many again.
    fn grow(&self, shard: &Shard, fill: &mut Fill, old: Option<&Groups>, guard: &LocalGuard<'_>) {
        // Where there is room but not for this one, the same length again would not help.
        let crowded = old.filter(|old| !old.is_over(fill.used + 1));
        let least = Size::of(fill.cells);
        let mut size = crowded.map_or(least, |old| old.size().wider(fill.cells + 1));
        let new = loop {
            let new = Groups::new(size);
            if old.is_none_or(|old| self.copy(old, &new, fill.cells, guard)) && !new.is_over(fill.cells + 1) {
                break new;
            }
            size = size.wider(fill.cells + 1);
        };
        fill.used = fill.cells;
        let old = shard.groups.swap(Box::into_raw(Box::new(new)), Ordering::SeqCst);
        if !old.is_null() {
            // SAFETY: made by `Box::into_raw`, and out of the shard, so no reader that enters from now on finds it.
            unsafe { guard.defer_retire(old, free_groups) };
            // They are large, and without this they would stay until the thread has retired enough of anything.
            guard.flush();
        }
    }

    fn copy(&self, old: &Groups, new: &Groups, count: usize, guard: &LocalGuard<'_>) -> bool {
        let cells: Vec<_> = old.all.iter().flat_map(|group| group.cells(guard)).collect();
        for (n, cell) in cells.iter().enumerate() {
            if let Some(ahead) = cells.get(n + AHEAD) {
                prefetch(*ahead);
            }
            // SAFETY: it is in the shard, which is locked, so it is not removed meanwhile.
            let hash = self.hash(unsafe { &(**cell).key });
            if new.put(Place::of(hash).home(new.homes), tag(hash), *cell, count + 1).is_none() {
                return false;
            }
        }
        true
    }

    /// Takes this cell out; false when it is not there (any more). Under its key's write lock or lock shard.
    pub(crate) fn remove(&self, cell: &CellRef, guard: &LocalGuard<'_>) -> bool {
        let hash = self.hash(&cell.key);
        let place = Place::of(hash);
        let mut fill = self.shards[place.shard()].fill.lock();
        let Some(groups) = self.groups(place.shard(), guard) else { return false };
        for group in &groups.all[place.home(groups.homes)..] {
            let tags = group.tags.load(Ordering::Relaxed);
            for at in marked(equal_to(tags, tag(hash))) {
                let known = group.places[at].load(Ordering::Relaxed);
                if known.cast_const() != CellRef::as_ptr(cell) {
                    continue;
                }
                let removed = u64::from(tag(hash) ^ REMOVED) << (at * 8);
                group.tags.store(tags ^ removed, Ordering::SeqCst);
                fill.cells -= 1;
                // SAFETY: the count that `put` gave to the place; its tag is gone, so no reader that enters from now on
                // finds it there.
                unsafe { guard.defer_retire(known, drop_cell) };
                return true;
            }
            if Groups::ends(tags) {
                break;
            }
        }
        false
    }

    /// Takes all cells out. Nobody makes or removes any meanwhile.
    pub(crate) fn clear(&self, guard: &LocalGuard<'_>) {
        for shard in &self.shards {
            let mut fill = shard.fill.lock();
            *fill = Fill::default();
            let old = shard.groups.swap(ptr::null_mut(), Ordering::SeqCst);
            // SAFETY: null, or the groups that were in force until now, protected by the guard.
            let Some(groups) = (unsafe { old.as_ref() }) else { continue };
            for cell in groups.all.iter().flat_map(|group| group.cells(guard)) {
                // SAFETY: as in `remove`.
                unsafe { guard.defer_retire(cell, drop_cell) };
            }
            // SAFETY: as in `grow`.
            unsafe { guard.defer_retire(old, free_groups) };
        }
    }

    /// Shows every cell that was there when it began and still is, until told to stop. Asks for the memory of what comes
    /// next while it shows.
    pub(crate) fn each<'g, E>(
        &self,
        guard: &'g LocalGuard<'_>,
        mut show: impl FnMut(CellAt<'g>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        for groups in (0..self.shards.len()).filter_map(|shard| self.groups(shard, guard)) {
            for some in groups.all.chunks(AHEAD / GROUP) {
                let cells = Ahead::of(some, guard);
                for cell in cells.iter() {
                    if show(cell)?.is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Shows every cell that belongs at or behind `from`, up to a place at least `least` cells' room further on, and says
    /// where that is: a cell that is there all the while is shown once. Nothing to go on with means the end.
    pub(crate) fn chunk<'g, E>(
        &self,
        from: Place,
        least: usize,
        guard: &'g LocalGuard<'_>,
        mut show: impl FnMut(CellAt<'g>) -> Result<(), E>,
    ) -> Result<Option<Place>, E> {
        let mut from = from;
        while from.shard() < self.shards.len() {
            if let Some(groups) = self.groups(from.shard(), guard) {
                return self.chunk_of(groups, from, least.div_ceil(GROUP), guard, &mut show).map(Some);
            }
            from = Place::of_shard(from.shard() + 1);
        }
        Ok(None)
    }

    fn chunk_of<'g, E>(
        &self,
        groups: &'g Groups,
        from: Place,
        least: usize,
        guard: &'g LocalGuard<'_>,
        show: &mut impl FnMut(CellAt<'g>) -> Result<(), E>,
    ) -> Result<Place, E> {
        let home = from.home(groups.homes);
        let behind = (home + least).min(groups.homes);
        let end = match behind == groups.homes {
            true => Place::of_shard(from.shard() + 1),
            false => Place::of_home(from.shard(), behind, groups.homes),
        };
        // All whose home is below `behind` stand there, or further on up to the first group that was never full.
        let full = |group: &&Group| !Groups::ends(group.tags.load(Ordering::Acquire));
        let last = groups.all[behind..].iter().take_while(full).count() + behind;
        let last = (last + 1).min(groups.all.len());
        for some in groups.all[home..last].chunks(AHEAD / GROUP) {
            let cells = Ahead::of(some, guard);
            let own = |cell: &CellAt<'g>| (from..end).contains(&Place::of(self.hash(&cell.key)));
            cells.iter().filter(own).try_for_each(&mut *show)?;
        }
        Ok(end)
    }
}

/// Some cells whose memory has been asked for.
struct Ahead<'g> {
    cells: [Option<CellAt<'g>>; AHEAD],
    len: usize,
}

impl<'g> Ahead<'g> {
    fn of(some: &'g [Group], guard: &'g LocalGuard<'_>) -> Ahead<'g> {
        let mut ahead = Ahead { cells: [None; AHEAD], len: 0 };
        for cell in some.iter().flat_map(|group| group.cells(guard)) {
            prefetch(cell);
            // SAFETY: as in `Cells::get`.
            ahead.cells[ahead.len] = Some(unsafe { CellAt::from_ptr(cell) });
            ahead.len += 1;
        }
        ahead.iter().for_each(|cell| cell.ask(guard));
        ahead
    }

    fn iter(&self) -> impl Iterator<Item = CellAt<'g>> + '_ {
        self.cells[..self.len].iter().flatten().copied()
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let groups = *shard.groups.get_mut();
            if groups.is_null() {
                continue;
            }
            // SAFETY: made by `Box::into_raw` and in force until now; nobody else can look at it any more.
            let groups = unsafe { Box::from_raw(groups) };
            for group in &groups.all {
                for at in marked(group.tags.load(Ordering::Relaxed) & HIGHS) {
                    let cell = group.places[at].load(Ordering::Relaxed);
                    // SAFETY: the count that `put` gave to the place.
                    drop(unsafe { CellRef::from_raw(cell) });
                }
            }
        }
    }
}

/// # Safety
/// Called by the collector once, with a pointer made by `Box::into_raw` in `Cells::grow`.
unsafe fn free_groups(groups: *mut Groups, _: &Collector) {
    // SAFETY: see above.
    drop(unsafe { Box::from_raw(groups) });
}

/// # Safety
/// Called by the collector once, with a count that a place had.
unsafe fn drop_cell(cell: *mut Cell, _: &Collector) {
    // SAFETY: see above.
    drop(unsafe { CellRef::from_raw(cell) });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::value::Value;

    fn key(n: i64) -> Key {
        Key::encode(&[Value::Int(n)]).expect("a number is a key")
    }

    fn put(cells: &Cells, n: i64, guard: &LocalGuard<'_>) {
        cells.put(CellRef::new(Cell::new(key(n))), guard);
    }

    #[test]
    fn what_is_put_is_found_until_it_is_removed() {
        // Aim: no key is lost or left over while shards grow and words are used again. Method: a set beside it.
        let collector = Collector::new();
        let (cells, mut known, mut dice) = (Cells::new(), BTreeSet::new(), 1_u64);
        for _ in 0..if cfg!(miri) { 400 } else { 40_000 } {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (n, guard) = ((dice >> 40) as i64 % 3_000, collector.enter());
            match cells.get(&key(n), &guard).map(|cell| cell.clone_arc()) {
                Some(cell) => {
                    assert!(known.remove(&n) && cells.remove(&cell, &guard) && !cells.remove(&cell, &guard));
                }
                None => {
                    assert!(known.insert(n));
                    put(&cells, n, &guard);
                }
            }
        }
        let guard = collector.enter();
        assert_eq!(cells.len(), known.len());
        assert!((0..3_000).all(|n| cells.get(&key(n), &guard).is_some() == known.contains(&n)));
        cells.clear(&guard);
        assert!(
            cells.len() == 0 && cells.get(&key(*known.first().expect("some are left")), &guard).is_none()
        );
    }

    #[test]
    fn cells_come_in_any_order_of_their_hashes() {
        // Aim: rows that are read from one table and put into another come in the order of their hashes; whatever the order,
        // there is room for the next one, and not much more than is needed. Method: up, down, from the middle, by two
        // writers from both ends, and only some of one shard.
        let count = if cfg!(miri) { 600 } else { 40_000 };
        let cells = Cells::new();
        let mut up: Vec<i64> = (0..count).collect();
        up.sort_by_key(|n| Place::of(cells.hash(&key(*n))));
        let down: Vec<i64> = up.iter().rev().copied().collect();
        let middle: Vec<i64> = up[up.len() / 2..].iter().chain(&up[..up.len() / 2]).copied().collect();
        let ends: Vec<i64> =
            (0..up.len()).map(|n| if n % 2 == 0 { up[n / 2] } else { down[n / 2] }).collect();
        let last: Vec<i64> = down[..down.len() / 640].to_vec();
        for (order, bytes_max) in [(&up, 30), (&down, 30), (&middle, 30), (&ends, 30), (&last, 1_000)] {
            let (collector, cells) = (Collector::new(), Cells::new());
            for (n, one) in order.iter().enumerate() {
                put(&cells, *one, &collector.enter());
                assert_eq!(cells.len(), n + 1);
            }
            assert!(order.iter().all(|n| cells.get(&key(*n), &collector.enter()).is_some()));
            let (bytes, fixed) = (cells.bytes(), Cells::new().bytes() + (64 * (GROUPS_MIN + SPARE)) * 64);
            assert!(bytes.saturating_sub(fixed) <= order.len() * bytes_max, "{bytes} for {}", order.len());
        }
    }

    #[test]
    fn room_that_was_made_is_used_and_grows() {
        // Aim: reserving loses nothing and is worth something. Method: fewer, as many and more cells than there is room for.
        for count in [10, 5_000, 20_000] {
            let (collector, cells) = (Collector::new(), Cells::new());
            cells.reserve(5_000, &collector.enter());
            let before = cells.bytes();
            (0..count).for_each(|n| put(&cells, n, &collector.enter()));
            cells.reserve(50_000, &collector.enter());
            assert_eq!(cells.len(), count as usize);
            assert!((0..count).all(|n| cells.get(&key(n), &collector.enter()).is_some()));
            assert_eq!(cells.bytes() > before, count == 20_000, "{count} cells: {} bytes", cells.bytes());
        }
    }

    #[test]
    fn chunks_show_each_cell_once_however_the_table_grows_in_between() {
        // Aim: a scan in steps neither loses nor repeats a cell that is there all the while. Method: other cells are put
        // in and taken out between chunks, enough for every shard to grow several times.
        let collector = Collector::new();
        let cells = Cells::new();
        (0..500).for_each(|n| put(&cells, n, &collector.enter()));
        let (mut seen, mut from, mut next) = (Vec::new(), Some(Place::START), 500);
        while let Some(place) = from {
            let guard = collector.enter();
            let show = |cell: CellAt<'_>| {
                seen.push(cell.key.clone());
                Ok::<_, ()>(())
            };
            from = cells.chunk(place, 16, &guard, show).expect("showing does not fail");
            (0..12).for_each(|n| put(&cells, next + n, &guard));
            next += 12;
            for n in next - 12..next - 8 {
                let cell = cells.get(&key(n), &guard).map(|cell| cell.clone_arc());
                assert!(cell.is_some_and(|cell| cells.remove(&cell, &guard)));
            }
        }
        let all: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(all.len(), seen.len(), "one was shown twice");
        assert!((0..500).all(|n| all.contains(&key(n))), "one was not shown");
    }

    #[test]
    fn a_removed_cell_is_not_found_by_who_comes_after_it_was_freed() {
        // Aim: a reader that enters when a removed cell may be freed finds neither its tag nor its place. Method: one key
        // put in and taken out, freed at once, beside readers that look at what they find; with weak memory, as miri has
        // it (see docs/trust.md), a tag read from the past leads to freed memory.
        let (collector, cells) = (Collector::new().batch_size(1), Cells::new());
        let rounds = if cfg!(miri) { 30 } else { 3_000 };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let guard = collector.enter();
                        let found = cells.get(&key(1), &guard);
                        assert!(found.is_none_or(|cell| cell.key == key(1)));
                        let mut seen = 0;
                        let show = |cell: CellAt<'_>| {
                            seen += usize::from(cell.key == key(1));
                            Ok::<_, ()>(ControlFlow::Continue(()))
                        };
                        cells.each(&guard, show).expect("showing does not fail");
                        assert!(seen <= 1);
                    }
                });
            }
            for _ in 0..rounds {
                put(&cells, 1, &collector.enter());
                let guard = collector.enter();
                let cell = cells.get(&key(1), &guard).map(|cell| cell.clone_arc());
                assert!(cell.is_some_and(|cell| cells.remove(&cell, &guard)));
            }
        });
        assert_eq!(cells.len(), 0);
    }
}
