//! One key's versions, newest first. Readers follow pointers under a guard and lock nothing. Changing the chain needs the
//! key's write lock (or its lock shard with nobody in it), so there is one changer at a time and at most one mark: the head.
//!
//! A version begins as a mark: its stamp is 0 and it points to its transaction, whose status word says what it is. Folding
//! stores the commit timestamp as its stamp, and after that nobody looks at the transaction through it.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use seize::{Collector, Guard as _, LocalGuard};

use crate::clock::Timestamp;
use crate::key::Key;
use crate::row::Body;
use crate::txn::{Status, Txn};
use crate::work::Blocked;

/// One version of a row; without a body it says that the key was deleted.
pub(crate) struct Version {
    /// The commit timestamp; 0 while it is a mark.
    stamp: AtomicU64,
    /// This node's proposal, kept while a live snapshot is below the commit timestamp; else 0. Written before the stamp.
    proposal: AtomicU64,
    pub(crate) body: Option<Body>,
    /// Whose mark it is. Looked at only while the stamp is 0.
    txn: *const Txn,
    next: AtomicPtr<Version>,
}

// SAFETY: `txn` points to a `Txn` (Send and Sync) and is read only; the rest is Send and Sync by itself.
unsafe impl Send for Version {}
// SAFETY: as above.
unsafe impl Sync for Version {}

/// What a version is at the moment of looking.
pub(crate) enum Fate<'g> {
    Committed { at: Timestamp, proposal: Timestamp },
    Pending(&'g Txn),
    Aborted,
}

impl Version {
    fn fate(&self) -> Fate<'_> {
        // SeqCst, as the collector's own loads are where it has no cheap barrier: the stamp is what keeps readers that
        // enter later away from the transaction.
        let stamp = self.stamp.load(Ordering::SeqCst);
        if stamp != 0 {
            let proposal = Timestamp(self.proposal.load(Ordering::Relaxed));
            return Fate::Committed { at: Timestamp(stamp), proposal };
        }
        // SAFETY: whoever placed the mark keeps the transaction (`flight`) until every one of its marks is folded
        // or unlinked, and then retires it through the collector. A `&Version` exists under a guard or under the key's
        // write lock; the guard was entered before the stamp was seen as 0, so the retired transaction outlives it.
        let txn = unsafe { &*self.txn };
        match txn.status.get() {
            Status::Committed(at) => Fate::Committed { at, proposal: txn.proposal().unwrap_or(at) },
            Status::Aborted => Fate::Aborted,
            Status::Pending => Fate::Pending(txn),
        }
    }

    /// The commit timestamp, when it is committed.
    pub(crate) fn committed(&self) -> Option<Timestamp> {
        match self.fate() {
            Fate::Committed { at, .. } => Some(at),
            Fate::Pending(_) | Fate::Aborted => None,
        }
    }
}

/// One key and its versions.
pub(crate) struct Cell {
    pub(crate) key: Key,
    head: AtomicPtr<Version>,
    _owns: PhantomData<Box<Version>>,
}

impl Cell {
    pub(crate) fn new(key: Key) -> Cell {
        Cell { key, head: AtomicPtr::new(ptr::null_mut()), _owns: PhantomData }
    }

    /// All versions, newest first, aborted marks included.
    pub(crate) fn versions<'g>(&self, guard: &'g LocalGuard<'_>) -> Versions<'g> {
        Versions { at: guard.protect(&self.head, Ordering::Acquire), guard }
    }

    /// What is visible at a snapshot. Absent and deleted are alike.
    pub(crate) fn read<'g>(
        &self,
        at: Timestamp,
        guard: &'g LocalGuard<'_>,
    ) -> Result<Option<(&'g Body, Timestamp)>, Blocked> {
        for version in self.versions(guard) {
            match version.fate() {
                Fate::Committed { at: committed, .. } if committed <= at => {
                    return Ok(version.body.as_ref().map(|body| (body, committed)));
                }
                // Proposed at or below the snapshot, committed above it: wrong text 1 of the protocol.
                Fate::Committed { at: committed, proposal } if proposal.0 != 0 && proposal <= at => {
                    return Err(Blocked::Raise(committed));
                }
                Fate::Pending(txn) if txn.proposal().is_some_and(|proposal| proposal <= at) => {
                    return Err(Blocked::Pending(share(txn)));
                }
                Fate::Committed { .. } | Fate::Pending(_) | Fate::Aborted => {}
            }
        }
        Ok(None)
    }

    /// The newest committed version, deletions included, whatever stands pending above it.
    pub(crate) fn newest<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<(&'g Version, Timestamp)> {
        self.versions(guard).find_map(|version| version.committed().map(|at| (version, at)))
    }

    /// The newest committed row or bag.
    pub(crate) fn newest_body<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<(&'g Body, Timestamp)> {
        self.newest(guard).and_then(|(version, at)| version.body.as_ref().map(|body| (body, at)))
    }

    /// The undecided mark on top, if there is one.
    pub(crate) fn pending<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<&'g Txn> {
        match self.versions(guard).next().map(Version::fate) {
            Some(Fate::Pending(txn)) => Some(txn),
            _ => None,
        }
    }

    /// Puts a mark on top. Under the write lock; the transaction is kept in `flight` until the mark is gone.
    pub(crate) fn mark(&self, txn: &Arc<Txn>, body: Option<Body>) {
        self.push(Version {
            stamp: AtomicU64::new(0),
            proposal: AtomicU64::new(0),
            body,
            txn: Arc::as_ptr(txn),
            next: AtomicPtr::default(),
        });
    }

    /// Puts a committed version on top, as loading does. Under the key's lock shard.
    pub(crate) fn load(&self, body: Option<Body>, at: Timestamp) {
        self.push(Version {
            stamp: AtomicU64::new(at.0),
            proposal: AtomicU64::new(0),
            body,
            txn: ptr::null(),
            next: AtomicPtr::default(),
        });
    }

    fn push(&self, mut version: Version) {
        *version.next.get_mut() = self.head.load(Ordering::Relaxed);
        // Release: who sees the pointer sees the version.
        self.head.store(Box::into_raw(Box::new(version)), Ordering::SeqCst);
    }

    /// Turns the mark on top into a committed version. Under the write lock.
    pub(crate) fn fold(&self, at: Timestamp, proposal: Option<Timestamp>, guard: &LocalGuard<'_>) {
        let version = self.versions(guard).next().expect("the marked cell has its mark on top");
        version.proposal.store(proposal.map_or(0, |p| p.0), Ordering::Relaxed);
        version.stamp.store(at.0, Ordering::SeqCst);
    }

    /// Takes an aborted mark away. Under the write lock.
    pub(crate) fn unmark(&self, guard: &LocalGuard<'_>) {
        let top = self.head.load(Ordering::Acquire);
        assert!(!top.is_null(), "the marked cell has its mark on top");
        // SAFETY: the mark is ours and linked; only the holder of the write lock, who is us, unlinks it.
        let next = unsafe { (*top).next.load(Ordering::Acquire) };
        self.head.store(next, Ordering::Release);
        // SAFETY: unlinked above, so no reader that enters from now on finds it; retired once.
        unsafe { guard.defer_retire(top, free_version) };
    }

    /// Drops every version that no snapshot at or above `oldest` reads. Under the write lock or the empty lock shard.
    /// Says whether more than one version is left.
    pub(crate) fn cut(&self, oldest: Timestamp, guard: &LocalGuard<'_>) -> bool {
        let mut kept = 0;
        for version in self.versions(guard) {
            kept += 1;
            if version.committed().is_some_and(|at| at <= oldest) {
                version.proposal.store(0, Ordering::Relaxed);
                let mut tail = version.next.swap(ptr::null_mut(), Ordering::AcqRel);
                while !tail.is_null() {
                    // SAFETY: the tail was linked and we, the only changer, have just cut it off; each is retired once.
                    let next = unsafe { (*tail).next.load(Ordering::Acquire) };
                    // SAFETY: as above.
                    unsafe { guard.defer_retire(tail, free_version) };
                    tail = next;
                }
                break;
            }
        }
        kept > 1
    }

    /// Whether no version is left at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let mut at = *self.head.get_mut();
        while !at.is_null() {
            // SAFETY: the last reference to the cell is being dropped, so nobody else can follow its chain; what was cut off
            // before is no longer in it.
            let mut version = unsafe { Box::from_raw(at) };
            at = *version.next.get_mut();
        }
    }
}

/// # Safety
/// Called by the collector once, with a pointer made by `Box::into_raw` in `Cell::push`.
unsafe fn free_version(version: *mut Version, _: &Collector) {
    // SAFETY: see above.
    drop(unsafe { Box::from_raw(version) });
}

/// A counted reference to a transaction that a mark points to.
fn share(txn: &Txn) -> Arc<Txn> {
    let raw = ptr::from_ref(txn);
    // SAFETY: every `Txn` that a mark points to lives in an `Arc` (see `Cell::mark`), which is alive as said in `fate`.
    unsafe {
        Arc::increment_strong_count(raw);
        Arc::from_raw(raw)
    }
}

/// Versions from the newest on.
pub(crate) struct Versions<'g> {
    at: *mut Version,
    guard: &'g LocalGuard<'g>,
}

impl<'g> Iterator for Versions<'g> {
    type Item = &'g Version;

    fn next(&mut self) -> Option<&'g Version> {
        // SAFETY: loaded through the guard from a linked version or the head; retired only after it is unlinked, so it
        // outlives the guard.
        let version = unsafe { self.at.as_ref() }?;
        self.at = self.guard.protect(&version.next, Ordering::Acquire);
        Some(version)
    }
}

/// A cell as the hash holds it: found by its key, without a second copy of the key.
pub(crate) struct Handle(pub(crate) Arc<Cell>);

impl Borrow<Key> for Handle {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Handle) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Handle {}
