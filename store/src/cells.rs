//! All cells of a table by key: what point operations of every kind go through. Open addressing over the cells themselves,
//! where a general map has an entry in between.
//!
//! A table is cut into shards by the first bits of the hash. A shard is a row of groups of seven places (`groups`); seven
//! tags of a byte each, in one word before them, say which of a group's places may hold a key, so that a foreign cell is
//! looked at once in some hundred times. A group is one line of the caches: finding a cell costs one miss. A key's home is
//! the group that its next hash bits name, scaled to the number of groups; what finds it full goes to a later one, without
//! wrapping. So the cells of a shard stand in the order of their hashes as far as full groups let them, a scan can stop at
//! any hash and go on behind it, however often the shard has grown meanwhile ([`Cells::chunk`]). Cells that come in the
//! order of their hashes, as a scan of another table gives them, crowd in a part of the shard: it is spread wider for them.
//!
//! Readers lock nothing: they load the shard's groups and search them under a guard. Writers of a shard lock it for the
//! length of one change of a place. A tag is stored behind its cell, so who finds the tag finds that cell or a later one. A
//! place goes from empty to a cell to removed, never back to empty, so a search may end at the first group with an empty
//! one. A shard that is full is copied into a longer one; the old groups stay as they are until the last reader has left.
//! Sources of the ideas: linear probing (Knuth, The Art of Computer Programming, 6.4); tags of a byte (Abseil's Swiss tables).

use std::ops::ControlFlow;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use seize::{Collector, Guard as _, LocalGuard};

use self::groups::{EMPTY, GROUP, Group, Groups, HIGHS, Size, equal_to, marked, seen};
use crate::cell::{Cell, CellAt, CellRef};
use crate::key::{Key, KeyHash};
use crate::prefetch::prefetch;

mod groups;
#[cfg(test)]
mod tests;

/// Shards: writers that make or remove keys at the same time rarely meet, and growing one moves a small part only.
const SHARD_BITS: u32 = 6;
/// Bits of a hash that say where in its shard a cell stands.
const HOME_BITS: u32 = 32;
/// Bits of a hash below both. The lowest seven of them make the tag.
const REST_BITS: u32 = 64 - SHARD_BITS - HOME_BITS;

/// Cells looked at together in a scan, so that their lines are fetched at the same time.
const AHEAD: usize = 8 * GROUP;

/// See the file's header.
pub(crate) struct Cells {
    shards: Box<[CachePadded<Shard>]>,
}

#[derive(Default)]
struct Shard {
    /// Null until the first cell comes.
    groups: AtomicPtr<Groups>,
    /// Where its groups begin and how many are homes, as it was a moment ago: for who only asks for memory and has no guard
    /// yet. Never followed.
    begin: AtomicPtr<Group>,
    homes: AtomicUsize,
    /// Held for one change of a place, or for copying them all.
    fill: Mutex<Fill>,
}

#[derive(Default)]
struct Fill {
    cells: usize,
    /// With those that were removed.
    used: usize,
}

impl Shard {
    /// Puts other groups in force, or none, and gives those that were. Under its lock.
    fn install(&self, groups: Option<Groups>) -> *mut Groups {
        let groups = groups.map(Box::new);
        let (begin, homes) =
            groups.as_ref().map_or((ptr::null(), 0), |groups| (groups.all.as_ptr(), groups.homes));
        self.begin.store(begin.cast_mut(), Ordering::Relaxed);
        self.homes.store(homes, Ordering::Relaxed);
        self.groups.swap(groups.map_or(ptr::null_mut(), Box::into_raw), Ordering::SeqCst)
    }
}

/// Where a cell belongs: its shard, and within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u64);

impl Place {
    /// Before the first.
    pub(crate) const START: Place = Place(0);

    #[inline]
    fn of(hash: KeyHash) -> Place {
        Place(hash.0 >> REST_BITS)
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
fn tag(hash: KeyHash) -> u8 {
    hash.0 as u8 | 0x80
}

impl Cells {
    pub(crate) fn new() -> Cells {
        let shards = (0..1 << SHARD_BITS).map(|_| CachePadded::default()).collect();
        Cells { shards }
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
        self.get_hashed(key, key.hashed(), guard)
    }

    /// The same where the hash is known.
    #[inline(always)]
    pub(crate) fn get_hashed<'g>(
        &self,
        key: &Key,
        hash: KeyHash,
        guard: &'g LocalGuard<'_>,
    ) -> Option<CellAt<'g>> {
        let place = Place::of(hash);
        let groups = self.groups(place.shard(), guard)?;
        for group in &groups.all[place.home(groups.homes)..] {
            let tags = seen(&group.tags);
            for at in marked(equal_to(tags, tag(hash))) {
                let cell = guard.protect(&group.places[at], Ordering::Acquire);
                Cell::ask_for(cell);
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
    pub(crate) fn ask_for(&self, key: KeyHash) {
        let place = Place::of(key);
        let shard = &self.shards[place.shard()];
        let home = place.home(shard.homes.load(Ordering::Relaxed));
        prefetch(shard.begin.load(Ordering::Relaxed).cast_const().wrapping_add(home));
    }

    /// Asks for the memory that finding a key takes then, waiting for the first.
    #[inline]
    pub(crate) fn ask_for_cell(&self, key: KeyHash, guard: &LocalGuard<'_>) {
        let place = Place::of(key);
        let Some(groups) = self.groups(place.shard(), guard) else { return };
        let group = &groups.all[place.home(groups.homes)];
        if let Some(at) = marked(equal_to(group.tags.load(Ordering::Acquire), tag(key))).next() {
            Cell::ask_for(guard.protect(&group.places[at], Ordering::Acquire));
        }
    }

    /// Asks for the memory that finding these keys takes, for all of them at once.
    pub(crate) fn ask<'k>(&self, keys: impl Iterator<Item = &'k Key> + Clone, guard: &LocalGuard<'_>) {
        keys.clone().for_each(|key| self.ask_for(key.hashed()));
        keys.for_each(|key| self.ask_for_cell(key.hashed(), guard));
    }

    /// Puts a cell in whose key has none. Under the key's write lock or lock shard, so nobody else makes or removes it.
    pub(crate) fn put(&self, cell: CellRef, guard: &LocalGuard<'_>) {
        let hash = cell.key.hashed();
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

    /// Makes room for so many cells at once, where there are none yet: shards that are filled step by step copy theirs three
    /// to four times.
    pub(crate) fn reserve(&self, cells: usize, guard: &LocalGuard<'_>) {
        // A shard gets its part, a little more or less; what is more grows as ever.
        let size = Size::holding(cells.div_ceil(self.shards.len()));
        for (n, shard) in self.shards.iter().enumerate() {
            let _fill = shard.fill.lock();
            if self.groups(n, guard).is_none() {
                shard.install(Some(Groups::new(size)));
            }
        }
    }

    /// Copies a shard's cells into groups with room for a third more.
    fn grow(&self, shard: &Shard, fill: &mut Fill, old: Option<&Groups>, guard: &LocalGuard<'_>) {
        // Where there is room but not for this one, the same length again would not help.
        let crowded = old.filter(|old| !old.is_over(fill.used + 1));
        let least = Size::of(fill.cells);
        let mut size = crowded.map_or(least, |old| old.size().wider(fill.cells + 1));
        let new = loop {
            let new = Groups::new(size);
            if !new.is_over(fill.cells + 1) && old.is_none_or(|old| self.copy(old, &new, fill.cells, guard)) {
                break new;
            }
            size = size.wider(fill.cells + 1);
        };
        fill.used = fill.cells;
        let old = shard.install(Some(new));
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
            let hash = unsafe { &(**cell).key }.hashed();
            if new.put(Place::of(hash).home(new.homes), tag(hash), *cell, count + 1).is_none() {
                return false;
            }
        }
        true
    }

    /// Takes this cell out; false when it is not there (any more). Under its key's write lock or lock shard.
    pub(crate) fn remove(&self, cell: &CellRef, guard: &LocalGuard<'_>) -> bool {
        let hash = cell.key.hashed();
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
                group.forget(at);
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
            let old = shard.install(None);
            // SAFETY: null, or the groups that were in force until now, protected by the guard.
            let Some(groups) = (unsafe { old.as_ref() }) else { continue };
            for cell in groups.all.iter().flat_map(|group| group.cells(guard)) {
                // SAFETY: as in `remove`.
                unsafe { guard.defer_retire(cell, drop_cell) };
            }
            // SAFETY: as in `grow`.
            unsafe { guard.defer_retire(old, free_groups) };
        }
        guard.flush();
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
            let own = |cell: &CellAt<'g>| (from..end).contains(&Place::of(cell.key.hashed()));
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
        ahead.iter().for_each(|cell| cell.ask_for_row(guard));
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
