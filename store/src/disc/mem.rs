//! A disc in memory that forgets like a real one, for crash tests and simulations.
//!
//! It believes the least a file system promises: what was not synced may be lost, kept, or torn into sectors, in
//! any combination and so in any order; a name exists for sure only after the directory was synced. A crash makes
//! a *new* disc out of what survived, chosen by a seed. Faults are set by operation number, so that a test can cut
//! a recorded run at every single write and sync. It never invents bytes nobody wrote.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::{DiscError, Result};
use super::file::{Disc, File, LockGuard};

/// The unit a torn write breaks into.
const SECTOR_BYTES: u64 = 512;

/// What a power cut does to the writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process died, the machine lives: everything written is there.
    Kill,
    /// Power cut, all unsynced writes are lost.
    DropUnsynced,
    /// Power cut, all unsynced writes had reached the disc already.
    KeepUnsynced,
    /// Power cut, each unsynced write is lost, kept or torn as this seed says.
    Torn(u64),
}

/// What goes wrong at the operation a [`Fault`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The operation and all after it fail: the machine has stopped.
    Cut,
    /// This one write or sync fails with EIO and changes nothing; later ones work again.
    ErrorOnce,
    /// This and all later writes and syncs fail with EIO.
    ErrorForGood,
    /// From here on writes that make files grow fail: no space.
    Full,
}

/// A fault set for one operation, counted from the first one of the disc.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The number of the operation (see [`MemDisc::operations`]).
    pub at: u64,
    /// What happens there.
    pub kind: FaultKind,
}

/// The in-memory disc. Clones are handles to the same disc.
#[derive(Debug, Clone, Default)]
pub struct MemDisc {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
    next_inode: u64,
    operations: u64,
    fault: Option<Fault>,
    locked: bool,
    /// How often the machine lost power.
    boots: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Inode {
    fn resize(&mut self, len: u64) {
        self.current.resize(len as usize, 0);
        self.pending.push(Change::Resize(len));
    }

    /// What is pending is made again where it is safe, which takes less than a copy of all.
    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write(offset, data) => put(&mut self.durable, offset, &data),
                Change::Resize(len) => self.durable.resize(len as usize, 0),
            }
        }
        debug_assert!(self.durable == self.current, "all that changed it was pending");
    }
}

impl MemDisc {
    /// An empty disc.
    pub fn new() -> Self {
        MemDisc::default()
    }

    /// How many changing operations (writes, resizes, syncs, name changes) were asked for so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Which boot of its machine this is: one more after every power cut.
    pub fn boots(&self) -> u64 {
        self.state.lock().boots
    }

    /// Sets what goes wrong, replacing an earlier fault; `None` heals the disc.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state.lock().fault = fault;
    }

    /// The disc as the next process finds it. This disc stays as it is, so one run can be crashed in many ways.
    pub fn crash(&self, crash: Crash) -> MemDisc {
        let state = self.state.lock();
        let mut dice = match crash {
            Crash::Torn(seed) => Dice(seed),
            _ => Dice(0),
        };
        let names = match crash {
            Crash::Kill => state.names.clone(),
            _ => surviving_names(&state, crash, &mut dice),
        };
        let mut inodes = BTreeMap::new();
        for (&id, inode) in &state.inodes {
            let bytes = match crash {
                Crash::Kill | Crash::KeepUnsynced => inode.current.clone(),
                Crash::DropUnsynced => inode.durable.clone(),
                Crash::Torn(_) => torn(inode, &mut dice),
            };
            inodes.insert(id, Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        let next = State {
            inodes,
            durable_names: names.clone(),
            names,
            next_inode: state.next_inode,
            boots: state.boots + u64::from(crash != Crash::Kill),
            ..State::default()
        };
        MemDisc { state: Arc::new(Mutex::new(next)) }
    }

    /// The bytes of a file as a reader sees them now.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let id = state.names.get(name)?;
        Some(state.inodes[id].current.clone())
    }

    /// Replaces a file's bytes behind the program's back: bit rot, a truncated file, an old backup put back.
    pub fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let id = match state.names.get(name) {
            Some(&id) => id,
            None => state.add_name(name),
        };
        state.inodes.insert(id, Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() });
    }
}

impl State {
    fn add_name(&mut self, name: &str) -> u64 {
        self.next_inode += 1;
        let id = self.next_inode;
        self.inodes.insert(id, Inode::default());
        self.names.insert(name.to_owned(), id);
        self.pending_names.push(NameChange::Add(name.to_owned(), id));
        id
    }

    /// Counts a changing operation and fails it where the fault says so.
    fn operate(&mut self, grows: bool) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Some(Fault { at, kind: FaultKind::ErrorOnce }) if number == at => {
                Err(io::Error::other("injected: input/output error"))
            }
            Some(Fault { at, kind: FaultKind::ErrorForGood }) if number >= at => {
                Err(io::Error::other("injected: input/output error"))
            }
            Some(Fault { at, kind: FaultKind::Cut }) if number >= at => {
                Err(io::Error::other("injected: the machine has stopped"))
            }
            Some(Fault { at, kind: FaultKind::Full }) if number >= at && grows => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "injected: no space left on device"))
            }
            _ => Ok(()),
        }
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name}: no such file"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn inode(&mut self, id: u64) -> &mut Inode {
        self.inodes.get_mut(&id).expect("an inode is never dropped while its disc lives")
    }
}

fn change_name(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Add(name, id) => {
            names.insert(name.clone(), *id);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

fn surviving_names(state: &State, crash: Crash, dice: &mut Dice) -> BTreeMap<String, u64> {
    let mut names = state.durable_names.clone();
    for change in &state.pending_names {
        let kept = match crash {
            Crash::DropUnsynced => false,
            Crash::Torn(_) => dice.roll(2) == 0,
            Crash::Kill | Crash::KeepUnsynced => true,
        };
        if kept {
            change_name(&mut names, change);
        }
    }
    names
}

/// What is left of a file when each unsynced write survives by chance, whole or in sectors.
fn torn(inode: &Inode, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = inode.durable.clone();
    for change in &inode.pending {
        match change {
            Change::Resize(len) if dice.roll(2) == 0 => bytes.resize(*len as usize, 0),
            Change::Resize(_) => {}
            Change::Write(offset, data) => match dice.roll(4) {
                0 => {}
                1 => tear(&mut bytes, *offset, data, dice),
                _ => put(&mut bytes, *offset, data),
            },
        }
    }
    bytes
}

/// Keeps some sectors of a write and loses the others.
fn tear(bytes: &mut Vec<u8>, offset: u64, data: &[u8], dice: &mut Dice) {
    let mut at = offset;
    while at < offset + data.len() as u64 {
        let end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(offset + data.len() as u64);
        if dice.roll(2) == 0 {
            put(bytes, at, &data[(at - offset) as usize..(end - offset) as usize]);
        }
        at = end;
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let end = offset as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(data);
}

impl Disc for MemDisc {
    fn lock(&self) -> Result<LockGuard> {
        let mut state = self.state.lock();
        if state.locked {
            return Err(DiscError::Locked { path: self.path(""), holder: "in memory".to_owned() });
        }
        state.locked = true;
        Ok(LockGuard::holding(MemLock { disc: self.clone() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let id = self.state.lock().id(name)?;
        Ok(Arc::new(MemFile { disc: self.clone(), id }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.operate(true)?;
        let id = match state.names.get(name) {
            Some(&id) => {
                state.inode(id).resize(0);
                id
            }
            None => state.add_name(name),
        };
        Ok(Arc::new(MemFile { disc: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(false)?;
        state.id(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        change_name(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(false)?;
        state.id(name)?;
        let change = NameChange::Remove(name.to_owned());
        change_name(&mut state.names, &change);
        state.pending_names.push(change);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate(false)?;
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/memory").join(name)
    }
}

#[derive(Debug)]
struct MemLock {
    disc: MemDisc,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disc.state.lock().locked = false;
    }
}

#[derive(Debug)]
struct MemFile {
    disc: MemDisc,
    id: u64,
}

impl File for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disc.state.lock().inode(self.id).current.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disc.state.lock();
        let bytes = &state.inode(self.id).current;
        let end = offset as usize + out.len();
        if bytes.len() < end {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "file ends before"));
        }
        out.copy_from_slice(&bytes[offset as usize..end]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disc.state.lock();
        let grows = offset + bytes.len() as u64 > state.inode(self.id).current.len() as u64;
        state.operate(grows)?;
        let inode = state.inode(self.id);
        put(&mut inode.current, offset, bytes);
        inode.pending.push(Change::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disc.state.lock();
        let grows = len > state.inode(self.id).current.len() as u64;
        state.operate(grows)?;
        state.inode(self.id).resize(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disc.state.lock();
        state.operate(false)?;
        state.inode(self.id).sync();
        Ok(())
    }
}

/// A small seeded generator (splitmix64): the same seed crashes the same way.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disc_with_unsynced_write() -> MemDisc {
        let disc = MemDisc::new();
        let file = disc.create("f").expect("no fault is planted");
        disc.sync_names().expect("no fault is planted");
        file.write_at(0, &[1; 2048]).expect("no fault is planted");
        file.sync().expect("no fault is planted");
        file.write_at(0, &[2; 2048]).expect("no fault is planted");
        disc
    }

    /// Aim: synced bytes survive, unsynced ones as the crash says. Method: each crash of one unsynced overwrite.
    #[test]
    fn crash_keeps_synced_and_plays_with_the_rest() {
        let disc = disc_with_unsynced_write();
        assert_eq!(disc.crash(Crash::Kill).bytes("f").expect("no fault is planted"), [2; 2048]);
        assert_eq!(disc.crash(Crash::KeepUnsynced).bytes("f").expect("no fault is planted"), [2; 2048]);
        assert_eq!(disc.crash(Crash::DropUnsynced).bytes("f").expect("no fault is planted"), [1; 2048]);
        let mut seen = [false; 3];
        for seed in 0..64 {
            let bytes = disc.crash(Crash::Torn(seed)).bytes("f").expect("no fault is planted");
            let new = bytes.iter().filter(|b| **b == 2).count();
            assert_eq!(new % 512, 0);
            seen[match new {
                0 => 0,
                2048 => 1,
                _ => 2,
            }] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    /// Aim: names need the directory synced. Method: create and rename without it, then drop what is unsynced.
    #[test]
    fn names_need_a_directory_sync() {
        let disc = disc_with_unsynced_write();
        disc.create("g").expect("no fault is planted");
        disc.rename("f", "h").expect("no fault is planted");
        assert_eq!(disc.crash(Crash::DropUnsynced).list().expect("no fault is planted"), ["f"]);
        assert_eq!(disc.crash(Crash::Kill).list().expect("no fault is planted"), ["g", "h"]);
        disc.sync_names().expect("no fault is planted");
        assert_eq!(disc.crash(Crash::DropUnsynced).list().expect("no fault is planted"), ["g", "h"]);
    }

    /// Aim: a file that is made again is the same one, emptied, as on a real disc: its old bytes come back under no other name.
    /// Method: make a synced file again, rename it, and lose names by chance.
    #[test]
    fn a_file_made_again_is_the_same_one() {
        for seed in 0..32 {
            let disc = disc_with_unsynced_write();
            let file = disc.create("f").expect("no fault is planted");
            file.write_at(0, &[3; 10]).expect("no fault is planted");
            file.sync().expect("no fault is planted");
            disc.rename("f", "g").expect("no fault is planted");
            let left = disc.crash(Crash::Torn(seed));
            assert_eq!(left.bytes("g").or(left.bytes("f")).expect("one of them"), [3; 10]);
        }
    }

    /// Aim: faults hit the named operation. Method: each kind at the next operation.
    #[test]
    fn faults_fire_where_set() {
        let disc = disc_with_unsynced_write();
        let file = disc.open("f").expect("no fault is planted");
        let fault = |kind| disc.set_fault(Some(Fault { at: disc.operations(), kind }));
        fault(FaultKind::ErrorOnce);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        fault(FaultKind::Full);
        assert!(file.write_at(0, b"x").is_ok());
        assert_eq!(file.write_at(4096, b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        fault(FaultKind::Cut);
        assert!(file.sync().is_err() && file.sync().is_err());
    }
}
