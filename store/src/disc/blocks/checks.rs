//! The checksums of blocks that are kept in memory, a part of all with a lock of its own: read from the file when they are wanted,
//! changed here, and written before each sync. Whoever reads writes nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;

use super::{BLOCK, BLOCK_BYTES, CHECKS};
use crate::disc::file::File;
use crate::disc::limits::{CHECKSUM_BLOCKS_KEPT, CHECKSUM_PARTS};

/// Blocks of checksums that are kept in memory, by their number among those.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) kept: HashMap<u64, Kept>,
    /// Counts looks, so that the one that was not looked at for longest goes first.
    now: u64,
}

pub(super) struct Kept {
    bytes: Box<[u8]>,
    /// Not in the file as it is here.
    changed: bool,
    looked: u64,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl Checks {
    /// What is said of a block. Makes room for its group where that costs no write: whoever reads writes nothing.
    pub(super) fn stated(&mut self, file: &dyn File, block: u64) -> io::Result<u32> {
        let group = block / CHECKS;
        if !self.kept.contains_key(&group) && self.is_full() && !self.let_go(|kept| !kept.changed) {
            let mut check = [0; 4];
            file.read_at(place_of_checks(group) + block % CHECKS * 4, &mut check)?;
            return Ok(u32::from_le_bytes(check));
        }
        Ok(self.of(file, group)?.get(block))
    }

    /// The checksums of a group, to be changed.
    pub(super) fn changing(&mut self, file: &dyn File, group: u64) -> io::Result<&mut Kept> {
        if !self.kept.contains_key(&group) && self.is_full() && !self.let_go(|kept| !kept.changed) {
            self.write_changed(file)?;
            self.let_go(|_| true);
        }
        self.of(file, group)
    }

    fn of(&mut self, file: &dyn File, group: u64) -> io::Result<&mut Kept> {
        self.now += 1;
        let kept = match self.kept.entry(group) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(free) => {
                let mut bytes = vec![0; BLOCK_BYTES].into_boxed_slice();
                file.read_at(place_of_checks(group), &mut bytes)?;
                free.insert(Kept { bytes, changed: false, looked: 0 })
            }
        };
        kept.looked = self.now;
        Ok(kept)
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= CHECKSUM_BLOCKS_KEPT / CHECKSUM_PARTS
    }

    /// Lets the one go that was not looked at for longest, of those that may.
    fn let_go(&mut self, may: impl Fn(&Kept) -> bool) -> bool {
        let those = self.kept.iter().filter(|(_, kept)| may(kept));
        let oldest = those.min_by_key(|(_, kept)| kept.looked).map(|(group, _)| *group);
        oldest.is_some_and(|group| self.kept.remove(&group).is_some())
    }

    pub(super) fn write_changed(&mut self, file: &dyn File) -> io::Result<()> {
        let mut changed: Vec<_> = self.kept.iter_mut().filter(|(_, kept)| kept.changed).collect();
        // In the order of the file.
        changed.sort_unstable_by_key(|(group, _)| **group);
        changed.into_iter().try_for_each(|(group, kept)| kept.write(file, *group))
    }
}

impl Kept {
    fn get(&self, block: u64) -> u32 {
        let from = (block % CHECKS) as usize * 4;
        self.bytes[from..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut [u8])) {
        change(&mut self.bytes);
        self.changed = true;
    }

    fn write(&mut self, file: &dyn File, group: u64) -> io::Result<()> {
        if self.changed {
            file.write_at(place_of_checks(group), &self.bytes)?;
            self.changed = false;
        }
        Ok(())
    }
}

pub(super) fn place_of_checks(group: u64) -> u64 {
    (1 + group * (CHECKS + 1)) * BLOCK
}
