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
    /// Whose mark it is; once it is folded, this node's proposal instead, with [`FOLDED`] set: kept while a live snapshot is
    /// below the commit timestamp, else 0. Written behind the stamp, so who finds it folded finds the stamp.
    whose: AtomicPtr<Txn>,
    pub(crate) body: Option<Body>,
    next: AtomicPtr<Version>,
}

/// Bit of `whose` that no address has (they end at 2^47 on the machines of today) and no timestamp before the year 2248.
const FOLDED: usize = 1 << 63;

/// A proposal as it stands in `whose`. It is never followed as a pointer.
fn folded(proposal: Timestamp) -> *mut Txn {
    ptr::without_provenance_mut(FOLDED | proposal.0 as usize)
}

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
        let whose = self.whose.load(Ordering::SeqCst);
        if whose.addr() & FOLDED != 0 {
            // The stamp was written before: look again where it was missed by a moment.
            let stamp = if stamp == 0 { self.stamp.load(Ordering::SeqCst) } else { stamp };
            let proposal = Timestamp((whose.addr() & !FOLDED) as u64);
            return Fate::Committed { at: Timestamp(stamp), proposal };
        }
        // SAFETY: whoever placed the mark keeps the transaction (`flight`) until every one of its marks is folded
        // or unlinked, and then retires it through the collector. A `&Version` exists under a guard or under the key's
        // write lock; the guard was entered before the pointer was seen unfolded, so the retired transaction outlives it.
        let txn = unsafe { &*whose };
        if stamp != 0 {
            // Between the two stores of `fold`.
            return Fate::Committed { at: Timestamp(stamp), proposal: txn.proposal().unwrap_or_default() };
        }
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

/// A cell shared by hash, tree, indexes and queues: a counted pointer without the second count that nobody needs.
pub(crate) type CellRef = triomphe::Arc<Cell>;

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

    /// What is visible at a snapshot. Absent, deleted and past its deadline are alike.
    pub(crate) fn read<'g>(
        &self,
        at: Timestamp,
        guard: &'g LocalGuard<'_>,
    ) -> Result<Option<(&'g Body, Timestamp)>, Blocked> {
        for version in self.versions(guard) {
            match version.fate() {
                Fate::Committed { at: committed, .. } if committed <= at => {
                    let body = version.body.as_ref().filter(|body| !body.is_expired(at));
                    return Ok(body.map(|body| (body, committed)));
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

    /// The newest committed row or bag that counts at this time.
    pub(crate) fn newest_live<'g>(
        &self,
        now: Timestamp,
        guard: &'g LocalGuard<'_>,
    ) -> Option<(&'g Body, Timestamp)> {
        self.newest_body(guard).filter(|(body, _)| !body.is_expired(now))
    }

    /// The newest committed row or bag, past its deadline or not.
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
            whose: AtomicPtr::new(Arc::as_ptr(txn).cast_mut()),
            body,
            next: AtomicPtr::default(),
        });
    }

    /// Puts a committed version on top, as loading does. Under the key's lock shard.
    pub(crate) fn load(&self, body: Option<Body>, at: Timestamp) {
        self.push(Version {
            stamp: AtomicU64::new(at.0),
            whose: AtomicPtr::new(folded(Timestamp::NEVER)),
            body,
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
        version.stamp.store(at.0, Ordering::SeqCst);
        version.whose.store(folded(proposal.unwrap_or_default()), Ordering::SeqCst);
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
                // Whoever else reads it finds it folded either way: the holder of the lock has folded it before.
                version.whose.store(folded(Timestamp::NEVER), Ordering::SeqCst);
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
pub(crate) struct Handle(pub(crate) CellRef);

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
