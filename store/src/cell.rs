//! One key's versions, newest first. Readers follow pointers under a guard and lock nothing (`chain`). Changing the chain needs the
//! key's write lock (or its lock shard with nobody in it), so there is one changer at a time and at most one version that
//! is not decided: the head. What a version is, is said in `version`.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use seize::{Guard as _, LocalGuard};

use crate::chain::{Chain, Versions};
use crate::clock::{Clock, Timestamp};
use crate::key::Key;
use crate::prefetch::prefetch;
use crate::row::{Body, Head};
use crate::snapshot::Pins;
use crate::txn::Txn;
use crate::version::{self, Fate, Seen, Version, folded};
use crate::work::Blocked;

/// A cell shared by hash, tree, indexes and queues: a counted pointer without the second count that nobody needs.
pub(crate) type CellRef = triomphe::Arc<Cell>;

/// A cell that somebody looks at under a guard; `clone_arc` keeps it.
pub(crate) type CellAt<'g> = triomphe::ArcBorrow<'g, Cell>;

/// Of the caches.
const LINE: usize = 64;

/// One key and its versions.
pub(crate) struct Cell {
    pub(crate) key: Key,
    head: AtomicPtr<Head>,
    _owns: PhantomData<Box<Head>>,
}

impl Cell {
    pub(crate) fn new(key: Key) -> Cell {
        Cell { key, head: AtomicPtr::new(ptr::null_mut()), _owns: PhantomData }
    }

    /// Asks for the memory of a cell, and for the lines before it: a key's first row is made before its cell, and allocators
    /// put what comes one after the other side by side. So both are there after one wait, if the row is of middling size;
    /// of a larger one its end is, and where it stands elsewhere three lines were asked for in vain.
    #[inline]
    pub(crate) fn ask_for(cell: *const Cell) {
        for lines in 0..=3 {
            prefetch(cell.wrapping_byte_sub(lines * LINE));
        }
    }

    /// Asks for the memory of its newest version as far as a row of middling size goes, lines that are met one after the other.
    #[inline]
    pub(crate) fn ask_for_row(&self, guard: &LocalGuard<'_>) {
        let row = guard.protect(&self.head, Ordering::Acquire).cast_const();
        prefetch(row);
        prefetch(row.wrapping_byte_add(LINE));
        prefetch(row.wrapping_byte_add(2 * LINE));
    }

    /// Its versions.
    #[inline]
    pub(crate) fn chain<'g>(&self, guard: &'g LocalGuard<'_>) -> Chain<'g> {
        // SAFETY: from the cell, under the guard.
        unsafe { Chain::from(guard.protect(&self.head, Ordering::Acquire), guard) }
    }

    /// As [`Chain::versions`].
    #[inline]
    pub(crate) fn versions<'g>(&self, guard: &'g LocalGuard<'_>) -> Versions<'g> {
        self.chain(guard).versions()
    }

    /// As [`Chain::read`].
    #[inline]
    pub(crate) fn read<'g>(
        &self,
        at: Timestamp,
        guard: &'g LocalGuard<'_>,
    ) -> Result<Option<(Seen<'g>, Timestamp)>, Blocked> {
        self.chain(guard).read(at)
    }

    /// As [`Chain::settled`].
    #[inline]
    pub(crate) fn settled<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<(Version<'g>, Timestamp)> {
        self.chain(guard).settled()
    }

    /// As [`Chain::newest`].
    pub(crate) fn newest<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<(Version<'g>, Timestamp)> {
        self.chain(guard).newest()
    }

    /// As [`Chain::newest_body`].
    pub(crate) fn newest_body<'g>(&self, guard: &'g LocalGuard<'_>) -> Option<(Seen<'g>, Timestamp)> {
        self.chain(guard).newest_body()
    }

    /// Whether a version of somebody else than this transaction is undecided.
    pub(crate) fn changed_by_other(&self, txn: &Txn, guard: &LocalGuard<'_>) -> bool {
        match self.versions(guard).next().map(|version| version.fate()) {
            Some(Fate::Pending(other)) => other.id != txn.id,
            Some(Fate::Placing) => true,
            _ => false,
        }
    }

    /// Whether somebody changes its row in place. Before a look at the version's timestamp.
    pub(crate) fn is_shifting(&self, guard: &LocalGuard<'_>) -> bool {
        self.versions(guard).next().is_some_and(|version| version.is_shifting())
    }

    /// Puts a mark on top. Under the write lock; the transaction is kept in `flight` until the mark is gone.
    pub(crate) fn mark(&self, txn: &Arc<Txn>, body: Option<Body>) {
        self.push(version::block(body, Arc::as_ptr(txn).cast_mut(), 0));
    }

    /// Puts a version on top that a single operation is about to commit. Under the key's lock shard.
    pub(crate) fn place(&self, body: Option<Body>) {
        self.push(version::block(body, folded(Timestamp::NEVER), 0));
    }

    /// Commits what was placed. Under the key's lock shard, by whoever placed it.
    pub(crate) fn commit_placed(&self, clock: &Clock, wall_ms: u64, guard: &LocalGuard<'_>) -> Timestamp {
        self.top(guard).commit_single(clock, wall_ms)
    }

    /// Puts a committed version on top, as loading does. Under the key's lock shard.
    pub(crate) fn load(&self, body: Option<Body>, at: Timestamp) {
        self.push(version::block(body, folded(Timestamp::NEVER), at.0));
    }

    fn push(&self, block: NonNull<Head>) {
        // SAFETY: just made, so alive, and not linked yet.
        unsafe { block.as_ref() }.next.store(self.head.load(Ordering::Relaxed), Ordering::Relaxed);
        // Who sees the pointer sees the version.
        self.head.store(block.as_ptr(), Ordering::SeqCst);
    }

    fn top<'g>(&self, guard: &'g LocalGuard<'_>) -> Version<'g> {
        self.versions(guard).next().expect("the changed cell has its version on top")
    }

    /// Turns the mark on top into a committed version. Under the write lock.
    pub(crate) fn fold(&self, at: Timestamp, proposal: Option<Timestamp>, guard: &LocalGuard<'_>) {
        self.top(guard).fold(at, proposal.unwrap_or_default());
    }

    /// Takes the undecided version on top away. Under the write lock.
    pub(crate) fn unmark(&self, guard: &LocalGuard<'_>) {
        let top = self.head.load(Ordering::Acquire);
        self.head.store(self.top(guard).next(guard), Ordering::Release);
        // SAFETY: unlinked above, so no reader that enters from now on finds it; only the holder of the write lock, who is
        // us, unlinks it, so it is retired once.
        if unsafe { version::retire(top, guard) } {
            guard.flush();
        }
    }

    /// Drops every version that no snapshot at or above `oldest` reads, if that is to be seen in the newest `within` of them.
    /// Under the write lock or the empty lock shard. Says whether more than one version is left.
    pub(crate) fn cut(&self, oldest: Timestamp, within: usize, guard: &LocalGuard<'_>) -> bool {
        let mut kept = 0;
        for version in self.versions(guard).take(within) {
            kept += 1;
            if version.committed().is_some_and(|at| at <= oldest) {
                version.forget_proposal();
                let (mut tail, mut large) = (NonNull::new(version.cut()), false);
                while let Some(block) = tail {
                    // SAFETY: the tail was linked and we, the only changer, have just cut it off; each is retired once.
                    tail = NonNull::new(unsafe { Version::at(block) }.next(guard));
                    // SAFETY: as above.
                    large |= unsafe { version::retire(block.as_ptr(), guard) };
                }
                if large {
                    guard.flush();
                }
                break;
            }
        }
        kept > 1
    }

    /// Drops versions that nobody reads from between those that somebody does, among the newest `within`. Under the write lock
    /// or the empty lock shard. A reader that stands on one goes on from it as before, for as long as its guard lives.
    pub(crate) fn prune(&self, pins: &Pins, within: usize, guard: &LocalGuard<'_>) {
        let (mut kept, mut followed): (Option<Version<'_>>, Option<Timestamp>) = (None, None);
        let mut large = false;
        for version in self.versions(guard).take(within) {
            let committed = version.committed();
            match (kept, committed, followed) {
                (Some(newer), Some(from), Some(to)) if pins.spare(from, to) => {
                    let block = newer.skip(&version, guard);
                    // SAFETY: it was linked and we, the only changer, have just taken it out; it is retired once.
                    large |= unsafe { version::retire(block, guard) };
                }
                _ => kept = Some(version),
            }
            followed = committed;
        }
        if large {
            guard.flush();
        }
    }

    /// When the version behind the newest was committed.
    pub(crate) fn replaced(&self, guard: &LocalGuard<'_>) -> Option<Timestamp> {
        self.versions(guard).nth(1).and_then(|version| version.committed())
    }

    /// Whether it has a version of this time behind its newest.
    pub(crate) fn has_behind(&self, at: Timestamp, guard: &LocalGuard<'_>) -> bool {
        self.versions(guard).skip(1).any(|version| version.committed() == Some(at))
    }

    /// Whether no version is left at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let mut at = NonNull::new(*self.head.get_mut());
        while let Some(block) = at {
            // SAFETY: the last reference to the cell is being dropped, so nobody else can follow its chain; what was cut off
            // before is no longer in it.
            at = NonNull::new(unsafe { block.as_ref() }.next.load(Ordering::Relaxed));
            // SAFETY: as above.
            unsafe { version::free(block) };
        }
    }
}
