//! The head of a file of [`super::blocks`], and what it knows of the header that redb keeps.
//!
//! redb overwrites its header where it stands: with the new commit in one of two slots, and then with the bit that says which
//! slot is in force. The slots have checksums that redb looks at. What has none is
//!
//! - the form of the file (sizes of pages and regions). It never changes, so the head has a checksum of it;
//! - which slot is in force. A flipped bit would bring back the commit before, whose pages may have been given to others. So
//!   the head has the number of the last commit that is known to be durable: a header with an older one in force is damaged.
//!   It is written and synced behind the sync that made the commit durable, by turns in two places, each with a checksum, so
//!   that a crash leaves one of them. A power cut before it has reached the disc leaves the number before: then such a flip
//!   would bring back one commit, whose pages are still there;
//! - how many pages there are, and whether the file was closed. redb compares the first with the length of the file; the
//!   second only makes it look closer.
//!
//! A commit in one phase is refused: its header and its pages become durable in any order, and redb tells afterwards by its own
//! checksums which of them did. Ours would call that damage. Every step is in two phases; redb makes one that is not when it is
//! closed behind a panic, to keep what is free, and goes on without it.

use std::fmt;
use std::io;
use std::ops::Range;

use super::blocks::{BLOCK, Damage};

const MAGIC: [u8; 8] = *b"HMNBLOCK";
/// The form of the file.
pub(super) const FORM: u32 = 1;

/// What redb's header takes, and where its parts stand, as docs/design.md of redb has them under "Super-header".
pub(super) const REDB_HEADER_BYTES: usize = 320;
const REDB_FLAGS: usize = 9;
/// The flag that says which slot is in force.
const REDB_PRIMARY: u8 = 1;
/// The one that says that the commit in force was made in two phases.
const REDB_TWO_PHASES: u8 = 4;
const REDB_FORM: Range<usize> = 12..24;
const REDB_SLOTS: [usize; 2] = [64, 192];
/// The commit's number within its slot.
const REDB_COMMIT: usize = 104;

/// Where the head has the checksum of redb's form, and the two numbers; each with what is behind it up to the next.
const FORM_CHECK: usize = 32;
const NUMBERS: [usize; 2] = [48, 64];
const FIELD_BYTES: usize = 16;

/// What is to be written to the head, and where.
pub(super) type Change = (u64, [u8; FIELD_BYTES]);

/// See the file's header.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Of redb's form, once there is one.
    form: Option<u32>,
    /// The commit in force by the last header that was written, and the last one that is noted.
    written: u64,
    noted: u64,
    /// Where the next number goes.
    turn: usize,
}

/// A file of a form that this program does not know.
#[derive(Debug)]
pub(super) struct OtherForm(pub(super) u32);

impl fmt::Display for OtherForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocks of form {}, and this program reads form {FORM}", self.0)
    }
}

impl std::error::Error for OtherForm {}

impl Head {
    pub(super) const BYTES: usize = 80;

    pub(super) fn new() -> Head {
        Head { form: None, written: 0, noted: 0, turn: 0 }
    }

    pub(super) fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORM.to_le_bytes());
        bytes[12..16].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        let check = crc32fast::hash(&bytes[..16]);
        bytes[16..20].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// What a file's first bytes say; `None` where they are those of redb, as images of earlier versions begin.
    pub(super) fn read(bytes: &[u8; Self::BYTES]) -> io::Result<Option<Head>> {
        if bytes.starts_with(b"redb") {
            return Ok(None);
        }
        if bytes[..8] != MAGIC || word(bytes, 16) != crc32fast::hash(&bytes[..16]) {
            return Err(Damage::at(0, "the head of the file is not what it should be"));
        }
        if (word(bytes, 8), u64::from(word(bytes, 12))) != (FORM, BLOCK) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, OtherForm(word(bytes, 8))));
        }
        let numbers = NUMBERS.map(|at| number(bytes, at));
        let turn = usize::from(numbers[0] > numbers[1]);
        let noted = numbers.into_iter().flatten().max().unwrap_or(0);
        Ok(Some(Head { form: Some(word(bytes, FORM_CHECK)), written: noted, noted, turn }))
    }

    /// Compares redb's header with what is known of it.
    pub(super) fn look(&self, header: &[u8], offset: u64) -> io::Result<()> {
        if self.form.is_some_and(|form| form != form_check(header)) {
            let what = "the header does not have the form that the head of the file says it was made with";
            return Err(Damage::at(offset, what));
        }
        if in_force(header) < self.noted {
            return Err(Damage::at(offset, "the header does not lead to the last commit"));
        }
        Ok(())
    }

    /// A header is being written. Gives what the head must say of it, if anything; refuses a commit in one phase.
    pub(super) fn follow(&mut self, header: &[u8]) -> io::Result<Option<Change>> {
        if header.len() < REDB_HEADER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a part of a header"));
        }
        let commit = in_force(header);
        if self.form.is_some() && commit > self.written && header[REDB_FLAGS] & REDB_TWO_PHASES == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a commit in one phase"));
        }
        self.written = commit;
        if self.form.is_some() {
            return Ok(None);
        }
        let check = form_check(header);
        self.form = Some(check);
        let mut field = [0; FIELD_BYTES];
        field[..4].copy_from_slice(&check.to_le_bytes());
        Ok(Some((FORM_CHECK as u64, field)))
    }

    /// All that was written is durable. Gives the number to note, if it is a new one.
    pub(super) fn reached(&mut self) -> Option<Change> {
        if self.written <= self.noted {
            return None;
        }
        self.noted = self.written;
        let at = NUMBERS[self.turn];
        self.turn = 1 - self.turn;
        let mut field = [0; FIELD_BYTES];
        field[..8].copy_from_slice(&self.noted.to_le_bytes());
        let check = crc32fast::hash(&field[..8]);
        field[8..12].copy_from_slice(&check.to_le_bytes());
        Some((at as u64, field))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |long| u64::from_le_bytes(*long))
}

/// A number that is whole.
fn number(bytes: &[u8], at: usize) -> Option<u64> {
    (word(bytes, at + 8) == crc32fast::hash(&bytes[at..at + 8])).then(|| long(bytes, at))
}

fn form_check(header: &[u8]) -> u32 {
    crc32fast::hash(&header[REDB_FORM])
}

/// The number of the commit that a header says is in force.
fn in_force(header: &[u8]) -> u64 {
    long(header, REDB_SLOTS[usize::from(header[REDB_FLAGS] & REDB_PRIMARY)] + REDB_COMMIT)
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableTable, StorageBackend, TableDefinition};

    use super::super::backend::Backend;
    use super::super::file::Disc;
    use super::super::mem::{Crash, MemDisc};
    use super::*;

    #[test]
    fn redb_has_its_header_as_the_head_reads_it() {
        // Aim: the parts of redb's header stand where the head looks for them, in the version that we build with. Method:
        // commits; the number in force goes on with each, is noted once it is durable, and a header that goes back, or has
        // another form, is refused; what says which slot is in force is flipped as well.
        const TABLE: TableDefinition<'static, u64, u64> = TableDefinition::new("t");
        let disc = MemDisc::new();
        let backend = Backend::make(disc.create("blocks").expect("no fault is planted"));
        let builder = Database::builder();
        let db = builder.create_with_backend(backend.expect("no fault is planted")).expect("it is new");
        let noted = |disc: &MemDisc| {
            let bytes = disc.bytes("blocks").expect("it is there");
            let head = Head::read(bytes.first_chunk().expect("it is whole"));
            head.expect("it is whole").expect("it is one").noted
        };
        let mut before = noted(&disc);
        for n in 0..5 {
            let mut txn = db.begin_write().expect("it is open");
            txn.set_quick_repair(true);
            txn.open_table(TABLE).expect("it is free").insert(n, n).expect("there is room");
            txn.commit().expect("no fault is planted");
            let now = noted(&disc);
            assert!(now > before, "commit {n}: {now} behind {before}");
            before = now;
        }
        drop(db);
        disc.sync_names().expect("no fault is planted");
        let closed = disc.crash(Crash::DropUnsynced);
        assert!(noted(&closed) > before, "the last one is durable too");
        let whole = closed.bytes("blocks").expect("it is there");
        let header = 2 * BLOCK as usize;
        for (at, bit) in [(9, 0), (12, 3), (16, 0), (20, 7)] {
            let mut bytes = whole.clone();
            bytes[header + at] ^= 1 << bit;
            closed.overwrite("blocks", bytes);
            let backend =
                Backend::find(closed.open("blocks").expect("it is there")).expect("its head is whole");
            let read = backend.read(0, &mut [0; REDB_HEADER_BYTES]);
            assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData), "byte {at}");
        }
        closed.overwrite("blocks", whole);
        let backend = Backend::find(closed.open("blocks").expect("it is there")).expect("it is whole");
        assert!(backend.len().expect("no fault is planted") > 0);
        let db = builder.create_with_backend(backend).expect("it is whole");
        let txn = db.begin_write().expect("it is open");
        assert_eq!(txn.open_table(TABLE).expect("it is there").iter().expect("it is whole").count(), 5);
    }
}
