//! A file in which every block has a checksum beside it, looked at whenever the block is read. redb has checksums of its own
//! and looks at them when it is asked to, not when it reads a page: a flipped bit in a page that leads to others would hide
//! rows until somebody looked through the whole file.
//!
//! | bytes of the file | hold |
//! |---|---|
//! | block 0 | the head ([`Head`]): what kind of file this is, and what is known of redb's own header |
//! | block 1 | the checksums of the next 1,024 blocks, four bytes each |
//! | blocks 2 to 1,025 | the first 1,024 blocks of what is kept here |
//! | block 1,026, ... | the next checksums, and so on |
//!
//! A checksum is over the block's number and its bytes, so one that stands in the wrong place is damaged too; zero means that
//! the block was never written, and nobody reads such a one. The first block of what is kept is redb's header, which is
//! overwritten where it stands, so that no checksum beside it could change with it in one step: [`Head`] says how it is kept.
//!
//! Why a crash leaves nothing that is wrongly called damaged: redb never overwrites a page that a commit which may be in force
//! leads to, and a sync lies between the pages of a commit and the header that brings it into force. Checksums are written
//! before that sync. Whatever a crash does to blocks and checksums behind the last sync, those before it keep both: their
//! checksums are written again as they are. A block of checksums that is torn is a mixture of two that agree on them.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::file::File;
use super::head::{Head, REDB_HEADER_BYTES};
use super::limits::CHECKSUM_PARTS;

mod checks;

use checks::Checks;

/// Bytes of a block: what redb calls a page.
pub(super) const BLOCK: u64 = 4096;
const BLOCK_BYTES: usize = BLOCK as usize;
/// Checksums in a block.
const CHECKS: u64 = BLOCK / 4;

/// A block that is not what was written. The kind of the `io::Error` around it is `InvalidData`.
#[derive(Debug)]
pub(super) struct Damage {
    /// Where it begins, in bytes from the start of the file.
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for Damage {}

impl Damage {
    pub(super) fn at(offset: u64, what: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Damage { offset, what })
    }
}

/// See the file's header.
#[derive(Debug)]
pub(super) struct Blocks {
    file: Arc<dyn File>,
    head: Mutex<Head>,
    /// By the number of the group, so that those who read in different places seldom wait for each other's disc.
    checks: [Mutex<Checks>; CHECKSUM_PARTS],
}

impl Blocks {
    /// Makes an empty one in an empty file.
    pub(super) fn make(file: Arc<dyn File>) -> io::Result<Blocks> {
        let head = Head::new();
        file.set_len(BLOCK)?;
        file.write_at(0, &head.to_bytes())?;
        Ok(Blocks { file, head: Mutex::new(head), checks: Default::default() })
    }

    /// One that is there; `None` where the file is of another kind.
    pub(super) fn find(file: &Arc<dyn File>) -> io::Result<Option<Blocks>> {
        let mut bytes = [0; Head::BYTES];
        if file.len()? < BLOCK {
            return Ok(None);
        }
        file.read_at(0, &mut bytes)?;
        let Some(head) = Head::read(&bytes)? else { return Ok(None) };
        let blocks = Blocks { file: Arc::clone(file), head: Mutex::new(head), checks: Default::default() };
        if blocks.len()? == 0 {
            return Err(Damage::at(file.len()?, "the file is cut off here"));
        }
        Ok(Some(blocks))
    }

    /// Bytes of what is kept here.
    pub(super) fn len(&self) -> io::Result<u64> {
        let behind_head = (self.file.len()? / BLOCK).saturating_sub(1);
        // The last group may have its checksums and nothing else.
        Ok((behind_head - behind_head.div_ceil(CHECKS + 1)) * BLOCK)
    }

    /// Cuts or grows it; what is new is zeros.
    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(BLOCK) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} bytes are no whole blocks"),
            ));
        }
        let blocks = len / BLOCK;
        let groups = blocks.div_ceil(CHECKS);
        if len < self.len()? {
            self.checks.iter().for_each(|part| part.lock().kept.retain(|group, _| *group < groups));
            if !blocks.is_multiple_of(CHECKS) {
                // They may come back, and are new then.
                let from = (blocks % CHECKS) as usize * 4;
                let mut part = self.part(groups - 1).lock();
                part.changing(&*self.file, groups - 1)?.change(|bytes| bytes[from..].fill(0));
            }
        }
        self.file.set_len((1 + groups + blocks) * BLOCK)
    }

    /// Fills `out`; every block that it touches is looked at as a whole.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if !(offset.is_multiple_of(BLOCK) && (out.len() as u64).is_multiple_of(BLOCK)) {
            return self.read_around(offset, out);
        }
        let mut first = offset / BLOCK;
        let mut rest = out;
        while !rest.is_empty() {
            // As many as lie side by side.
            let most = (CHECKS - first % CHECKS).min(rest.len() as u64 / BLOCK);
            let (here, behind) = rest.split_at_mut(most as usize * BLOCK_BYTES);
            self.file.read_at(place(first), here)?;
            for (block, bytes) in (first..).zip(here.chunks_exact(BLOCK_BYTES)) {
                self.look(block, bytes)?;
            }
            (first, rest) = (first + most, behind);
        }
        Ok(())
    }

    /// A part of blocks: the blocks as a whole, and the part of them.
    fn read_around(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = offset - offset % BLOCK;
        let end = (offset + out.len() as u64).next_multiple_of(BLOCK);
        let mut whole = vec![0; (end - from) as usize];
        self.read(from, &mut whole)?;
        let start = (offset - from) as usize;
        out.copy_from_slice(&whole[start..start + out.len()]);
        Ok(())
    }

    fn part(&self, group: u64) -> &Mutex<Checks> {
        &self.checks[group as usize % CHECKSUM_PARTS]
    }

    fn look(&self, block: u64, bytes: &[u8]) -> io::Result<()> {
        if block == 0 {
            return self.head.lock().look(&bytes[..REDB_HEADER_BYTES], place(0));
        }
        let stated = self.part(block / CHECKS).lock().stated(&*self.file, block)?;
        match stated {
            0 => Err(Damage::at(place(block), "a block that is wanted was never written")),
            stated if stated == check(block, bytes) => Ok(()),
            _ => Err(Damage::at(place(block), "the checksum of a block does not match")),
        }
    }

    /// Writes whole blocks; of the first one it may be a part.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset == 0 {
            let (header, behind) = bytes.split_at(bytes.len().min(BLOCK_BYTES));
            self.write_header(header)?;
            return if behind.is_empty() { Ok(()) } else { self.write(BLOCK, behind) };
        }
        if !(offset.is_multiple_of(BLOCK) && (bytes.len() as u64).is_multiple_of(BLOCK)) {
            let what = format!("{} bytes at {offset} are no whole blocks", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let mut first = offset / BLOCK;
        let mut rest = bytes;
        while !rest.is_empty() {
            let most = (CHECKS - first % CHECKS).min(rest.len() as u64 / BLOCK);
            let (here, behind) = rest.split_at(most as usize * BLOCK_BYTES);
            self.note(first, here)?;
            self.file.write_at(place(first), here)?;
            (first, rest) = (first + most, behind);
        }
        Ok(())
    }

    fn write_header(&self, bytes: &[u8]) -> io::Result<()> {
        let change = self.head.lock().follow(bytes)?;
        if let Some((at, field)) = change {
            self.file.write_at(at, &field)?;
        }
        self.file.write_at(place(0), bytes)
    }

    /// Enters the checksums of blocks of one group.
    fn note(&self, first: u64, bytes: &[u8]) -> io::Result<()> {
        let of_each: Vec<u8> = (first..)
            .zip(bytes.chunks_exact(BLOCK_BYTES))
            .flat_map(|(block, bytes)| check(block, bytes).to_le_bytes())
            .collect();
        let from = (first % CHECKS) as usize * 4;
        let group = first / CHECKS;
        let mut part = self.part(group).lock();
        let kept = part.changing(&*self.file, group)?;
        kept.change(|bytes| bytes[from..from + of_each.len()].copy_from_slice(&of_each));
        Ok(())
    }

    /// Makes all of it survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.checks.iter().try_for_each(|part| part.lock().write_changed(&*self.file))?;
        self.file.sync()?;
        // The header that was written before this is in force for good now.
        let reached = self.head.lock().reached();
        if let Some((at, field)) = reached {
            self.file.write_at(at, &field)?;
            self.file.sync()?;
        }
        Ok(())
    }
}

/// Where a block of what is kept here stands in the file.
fn place(block: u64) -> u64 {
    (1 + block / CHECKS + 1 + block) * BLOCK
}

/// The checksum of a block that was written; never zero.
fn check(block: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize().max(1)
}

#[cfg(test)]
mod tests {
    use super::super::file::Disc;
    use super::super::limits::CHECKSUM_BLOCKS_KEPT;
    use super::super::mem::MemDisc;
    use super::checks::place_of_checks;
    use super::*;

    fn made(disc: &MemDisc) -> Blocks {
        Blocks::make(disc.create("blocks").expect("no fault is planted")).expect("no fault is planted")
    }

    fn again(disc: &MemDisc) -> Blocks {
        let file = disc.open("blocks").expect("it is there");
        Blocks::find(&file).expect("its head is whole").expect("it is one")
    }

    fn block(fill: u8) -> Vec<u8> {
        vec![fill; BLOCK_BYTES]
    }

    /// A number below `sides`.
    fn roll(state: &mut u64, sides: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % sides
    }

    #[test]
    fn it_holds_what_was_written_across_groups_and_cuts() {
        // Aim: blocks come back as they were written, whatever part is asked for, across the border of groups, grown and cut,
        // from memory and from the file. Method: random writes, reads, lengths, syncs and openings beside plain bytes.
        let disc = MemDisc::new();
        let (mut blocks, mut plain, mut dice) = (made(&disc), Vec::new(), 7);
        // Which blocks were written since they were new: of the others nobody reads a byte.
        let (mut written, mut seen, mut last) = (Vec::new(), 0, (1, 1));
        let most = 2 * CHECKS + 40;
        for round in 0..2_000 {
            let len = plain.len() as u64 / BLOCK;
            match roll(&mut dice, 12) {
                0 => {
                    let new = match roll(&mut dice, 3) {
                        0 => CHECKS + roll(&mut dice, 3) - 1,
                        _ => 1 + roll(&mut dice, most),
                    };
                    blocks.set_len(new * BLOCK).expect("whole blocks");
                    plain.resize((new * BLOCK) as usize, 0);
                    written.resize(new as usize, false);
                }
                1 => blocks.sync().expect("no fault is planted"),
                2 if len > 0 => {
                    blocks.sync().expect("no fault is planted");
                    blocks = again(&disc);
                }
                3..=7 if len > 1 => {
                    let first = match roll(&mut dice, 2) {
                        0 => 1 + roll(&mut dice, len - 1),
                        _ => (CHECKS - 3 + roll(&mut dice, 4)).min(len - 1),
                    };
                    let count = 1 + roll(&mut dice, (len - first).min(8));
                    let bytes: Vec<u8> = (0..count).flat_map(|_| block(roll(&mut dice, 256) as u8)).collect();
                    blocks.write(first * BLOCK, &bytes).expect("whole blocks");
                    plain[(first * BLOCK) as usize..][..bytes.len()].copy_from_slice(&bytes);
                    written[first as usize..(first + count) as usize].fill(true);
                    last = (first, count);
                }
                _ if len > 1 => {
                    // Anywhere, or of what was written last.
                    let (first, count) = match roll(&mut dice, 3) {
                        0 => (1 + roll(&mut dice, len - 1), 5),
                        _ => last,
                    };
                    if first >= len {
                        continue;
                    }
                    let from = first * BLOCK + roll(&mut dice, BLOCK);
                    let end = ((first + count) * BLOCK).min(plain.len() as u64);
                    let count = 1 + roll(&mut dice, end - from);
                    let mut out = vec![1; count as usize];
                    let read = blocks.read(from, &mut out);
                    let all = &written[(from / BLOCK) as usize..(from + count).div_ceil(BLOCK) as usize];
                    assert_eq!(read.is_ok(), all.iter().all(|one| *one), "round {round}: {read:?}");
                    if read.is_ok() {
                        seen += 1;
                        assert!(
                            out == plain[from as usize..][..out.len()],
                            "round {round}: {count} at {from}"
                        );
                    }
                }
                _ => {}
            }
            assert_eq!(blocks.len().expect("no fault is planted"), plain.len() as u64, "round {round}");
        }
        assert!(seen > 300, "{seen} reads were of blocks that had been written");
    }

    #[test]
    fn checksums_that_memory_let_go_are_in_the_file() {
        // Aim: the bound on checksums in memory loses none. Method: a block in each of more groups than are kept, all read.
        let disc = MemDisc::new();
        let blocks = made(&disc);
        let groups = CHECKSUM_BLOCKS_KEPT as u64 + 20;
        // A file with holes would be wanted here; the checksums alone are looked at.
        let file = disc.open("blocks").expect("it is there");
        file.set_len(place_of_checks(groups)).expect("no fault is planted");
        for group in 0..groups {
            let mut part = blocks.part(group).lock();
            let of_group = part.changing(&*file, group).expect("no fault is planted");
            of_group.change(|bytes| bytes[..4].copy_from_slice(&(group as u32 + 1).to_le_bytes()));
        }
        let kept = || blocks.checks.iter().map(|part| part.lock().kept.len()).sum::<usize>();
        assert_eq!(kept(), CHECKSUM_BLOCKS_KEPT);
        // All that are kept have been changed, so a read keeps none and writes none; behind a sync it may.
        for sync in [false, true] {
            if sync {
                blocks.sync().expect("no fault is planted");
            }
            let before = disc.operations();
            for group in 0..groups {
                let stated = blocks.part(group).lock().stated(&*file, group * CHECKS);
                assert_eq!(stated.expect("no fault is planted"), group as u32 + 1, "group {group}");
            }
            assert_eq!((kept(), disc.operations()), (CHECKSUM_BLOCKS_KEPT, before));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_block_or_its_checksum_is_met() {
        // Aim: nothing that was changed is read. Method: blocks that were written, one that was not, every 37th bit of them and
        // of their checksums; a block in the place of another.
        let disc = MemDisc::new();
        let blocks = made(&disc);
        blocks.set_len(4 * BLOCK).expect("whole blocks");
        blocks.write(BLOCK, &block(5)).expect("whole blocks");
        blocks.write(2 * BLOCK, &block(6)).expect("whole blocks");
        blocks.sync().expect("no fault is planted");
        let whole = disc.bytes("blocks").expect("it is there");
        let read_all = |bytes: Vec<u8>| {
            disc.overwrite("blocks", bytes);
            let (blocks, mut out) = (again(&disc), block(0));
            (1..4).map(|at| blocks.read(at * BLOCK, &mut out).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(read_all(whole.clone()), [true, true, false], "one was never written");
        let (first, checks) = (place(1) as usize, place_of_checks(0) as usize);
        let bits = (first * 8..(first + 3 * BLOCK_BYTES) * 8).step_by(37).map(|bit| (bit, bit / 8 - first));
        let bits = bits.map(|(bit, at)| (bit, at / BLOCK_BYTES));
        let of_checks = ((checks + 4) * 8..(checks + 16) * 8).map(|bit| (bit, (bit / 8 - checks) / 4 - 1));
        for (bit, hit) in bits.chain(of_checks) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut wanted = [true, true, false];
            wanted[hit] = false;
            assert_eq!(read_all(bytes), wanted, "bit {bit}");
        }
        let mut bytes = whole.clone();
        for (from, len) in [(first, BLOCK_BYTES), (checks + 4, 4)] {
            let (one, other) = bytes[from..from + 2 * len].split_at_mut(len);
            one.swap_with_slice(other);
        }
        assert_eq!(read_all(bytes), [false; 3], "exchanged with their checksums");
    }

    #[test]
    fn a_file_of_another_form_is_told_from_a_damaged_one() {
        // Aim: a newer program's file is no damage. Method: the head with another number of its form, and with a flipped bit.
        let disc = MemDisc::new();
        drop(made(&disc));
        let whole = disc.bytes("blocks").expect("it is there");
        let mut newer = whole.clone();
        newer[8] = 2;
        let check = crc32fast::hash(&newer[..16]);
        newer[16..20].copy_from_slice(&check.to_le_bytes());
        let mut flipped = whole;
        flipped[8] = 2;
        for (bytes, kind) in [(newer, io::ErrorKind::Unsupported), (flipped, io::ErrorKind::InvalidData)] {
            disc.overwrite("blocks", bytes);
            let found = Blocks::find(&disc.open("blocks").expect("it is there"));
            assert_eq!(found.err().map(|error| error.kind()), Some(kind));
        }
    }
}
