//! One version of a key: the block of its row (`row::Head`), or a small block of its own for the rows of a bag and for a
//! deletion. Readers look at it under a guard; it is linked into one cell's chain once and retired once.
//!
//! A version begins undecided: its stamp is 0. Then either
//!
//! - it is a *mark*: `whose` points to its transaction, whose status word says what it is. Folding stores the commit
//!   timestamp as its stamp and then takes `whose` away, and after that nobody looks at the transaction through it; or
//! - it is a *single* operation being placed: `whose` names nobody, and its stamp alone decides. Whoever wrote it draws a
//!   timestamp and stores it by compare-and-swap. A reader at a snapshot that meets it undecided leaves its snapshot in the
//!   stamp as a floor: the writer then finds its timestamp at or below the floor and draws a later one. So neither waits.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use seize::{Collector, Guard as _, LocalGuard};

use crate::clock::{Clock, Timestamp};
use crate::limits::RETIRED_SOON_BYTES;
use crate::row::{self, Body, Form, Head, Numbers, Row};
use crate::txn::{Status, Txn};

/// `len` of a block with the rows of a bag.
const BAG: u32 = u32::MAX;
/// `len` of a block that says that the key was deleted. Rows are far shorter than either.
const GONE: u32 = u32::MAX - 1;

/// Bit of `whose` that no address has (they end at 2^47 on the machines of today) and no timestamp before the year 2248.
const FOLDED: usize = 1 << 63;
/// Bit of a stamp that is no timestamp yet but a floor for it.
const FLOOR: u64 = 1 << 63;

/// The rows of a bag as a version.
#[repr(C)]
struct BagBlock {
    head: Head,
    rows: Arc<Vec<Row>>,
}

/// Of the block of a bag.
pub(crate) const BAG_BYTES: usize = size_of::<BagBlock>();

/// Whether a version is a row, neither a bag's rows nor a deletion.
#[inline]
pub(crate) fn is_row(head: &Head) -> bool {
    head.len() < GONE
}

/// A proposal as it stands in `whose`. It is never followed as a pointer.
pub(crate) fn folded(proposal: Timestamp) -> *mut Txn {
    ptr::without_provenance_mut(FOLDED | proposal.0 as usize)
}

/// A block of its own for a version, not linked yet.
pub(crate) fn block(body: Option<Body>, whose: *mut Txn, stamp: u64) -> NonNull<Head> {
    let block = match body {
        Some(Body::Row(row)) => row.claim(whose),
        Some(Body::Bag(rows)) => {
            let block = Box::new(BagBlock { head: Head::new(BAG), rows });
            NonNull::from(Box::leak(block)).cast()
        }
        None => NonNull::from(Box::leak(Box::new(Head::new(GONE)))),
    };
    // SAFETY: made or claimed above, so alive, and no reader finds it before it is linked.
    let head = unsafe { block.as_ref() };
    head.whose.store(whose, Ordering::Relaxed);
    head.stamp.store(stamp, Ordering::Relaxed);
    block
}

/// Gives up a chain's reference to a version.
///
/// # Safety
/// The block came from [`block`] and is in no chain any more; nobody follows a pointer to it that it had from a chain.
pub(crate) unsafe fn free(block: NonNull<Head>) {
    // SAFETY: alive until this call.
    match unsafe { block.as_ref() }.len() {
        // SAFETY: the kind says how it was made.
        BAG => drop(unsafe { Box::from_raw(block.cast::<BagBlock>().as_ptr()) }),
        // SAFETY: as above.
        GONE => drop(unsafe { Box::from_raw(block.as_ptr()) }),
        // SAFETY: as above; the chain's count is given up.
        _ => drop(unsafe { Row::from_block(block) }),
    }
}

/// Gives a version up once every reader that may have found it has left. Says whether it is so large that it should not wait
/// for others: then the guard is to be flushed, once for all that are retired together.
///
/// # Safety
/// The block came from [`block`], was linked into one chain and is unlinked; this is called once for it.
pub(crate) unsafe fn retire(block: *mut Head, guard: &LocalGuard<'_>) -> bool {
    // SAFETY: unlinked a moment ago by the caller, and nobody frees it before it is retired.
    let bytes = match unsafe { (*block).len() } {
        GONE => 0,
        // SAFETY: the kind says how it was made, and what it was made with is never changed.
        BAG => unsafe { &*block.cast::<BagBlock>() }.rows.capacity() * size_of::<Row>(),
        row => row as usize,
    };
    // SAFETY: as the caller says.
    unsafe { guard.defer_retire(block, free_retired) };
    bytes >= RETIRED_SOON_BYTES
}

/// # Safety
/// Called by the collector once, for what was retired after it was unlinked.
unsafe fn free_retired(block: *mut Head, _: &Collector) {
    if let Some(block) = NonNull::new(block) {
        // SAFETY: see above.
        unsafe { free(block) };
    }
}

/// What a version is at the moment of looking.
pub(crate) enum Fate<'g> {
    Committed {
        at: Timestamp,
        proposal: Timestamp,
    },
    Pending(&'g Txn),
    /// A single operation whose timestamp is being drawn.
    Placing,
    Aborted,
}

/// A version that somebody looks at, alive for `'g`.
#[derive(Clone, Copy)]
pub(crate) struct Version<'g> {
    block: NonNull<Head>,
    alive: PhantomData<&'g Head>,
}

impl<'g> Version<'g> {
    /// # Safety
    /// The block is alive for `'g`: it was found under a guard that lives as long, or its key's write lock is held.
    #[inline]
    pub(crate) unsafe fn at(block: NonNull<Head>) -> Version<'g> {
        Version { block, alive: PhantomData }
    }

    #[inline]
    fn head(&self) -> &'g Head {
        // SAFETY: alive for `'g`.
        unsafe { self.block.as_ref() }
    }

    #[inline]
    pub(crate) fn next(&self, guard: &LocalGuard<'_>) -> *mut Head {
        guard.protect(&self.head().next, Ordering::Acquire)
    }

    /// Cuts off what is behind it. Under the key's write lock.
    pub(crate) fn cut(&self) -> *mut Head {
        let next = self.head().next.load(Ordering::Acquire);
        if !next.is_null() {
            self.head().next.store(ptr::null_mut(), Ordering::Release);
        }
        next
    }

    /// Takes the version behind it out of the chain, and gives its block. Under the key's write lock.
    pub(crate) fn skip(&self, next: &Version<'_>, guard: &LocalGuard<'_>) -> *mut Head {
        self.head().next.store(next.next(guard), Ordering::Release);
        next.block.as_ptr()
    }

    /// What it says the key holds; nothing when it is a deletion.
    #[inline]
    pub(crate) fn body(&self) -> Option<Seen<'g>> {
        let body = match self.head().len() {
            GONE => return None,
            BAG => {
                // SAFETY: the kind says what it is; the copy of the counted pointer is never dropped.
                Body::Bag(unsafe { ptr::read(&raw const (*self.block.cast::<BagBlock>().as_ptr()).rows) })
            }
            // SAFETY: the kind says what it is; the pointer is never dropped, so it needs no count.
            _ => Body::Row(unsafe { Row::from_block(self.block) }),
        };
        Some(Seen { body: ManuallyDrop::new(body), alive: PhantomData })
    }

    /// Counts its row, so that it does not change before that is given back (`shift`).
    #[inline]
    pub(crate) fn keep(&self) -> Option<Row> {
        // SAFETY: it is a row, alive for `'g`.
        self.is_row().then(|| unsafe { Row::keep(self.block) })
    }

    /// The commit timestamp of what is settled, as it is now.
    #[inline]
    pub(crate) fn stamp(&self) -> Timestamp {
        Timestamp(self.head().stamp.load(Ordering::SeqCst))
    }

    /// As [`Version::body`], counted: for who holds no lock and no snapshot while rows may change in place (`shift`).
    pub(crate) fn kept(&self) -> Option<Body> {
        match self.keep() {
            Some(row) => Some(Body::Row(row)),
            None => self.body().map(|body| body.clone()),
        }
    }

    fn is_row(&self) -> bool {
        is_row(self.head())
    }

    /// Whether somebody changes it in place.
    pub(crate) fn is_shifting(&self) -> bool {
        self.is_row() && self.head().is_shifting()
    }

    /// When it expires, without a look at what may change.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        // SAFETY: it is a row, alive.
        if self.is_row() { unsafe { row::deadline_of(self.block) } } else { None }
    }

    /// Puts whole numbers in place of those of the same lengths, and gives those: see [`Version::change`].
    pub(crate) fn count(
        &self,
        numbers: &[(usize, i64)],
        clock: &Clock,
        may: impl FnOnce() -> bool,
    ) -> Option<(Timestamp, Numbers)> {
        // SAFETY: nobody looks at the row, as `Thin::shift` has seen.
        self.change(clock, may, |row| unsafe { row::put_ints(row, numbers) })
    }

    /// Adds to the whole number at a position, if the row begins so and the sum takes as many bytes, and gives the sum: see
    /// [`Version::change`].
    #[inline]
    pub(crate) fn add(
        &self,
        form: Form,
        position: usize,
        by: i64,
        clock: &Clock,
        may: impl FnOnce() -> bool,
    ) -> Option<(Timestamp, i64)> {
        // SAFETY: nobody looks at the row, as `Thin::shift` has seen.
        self.change(clock, may, |row| unsafe { row::add_int(row, form, position, by) })
    }

    /// Exchanges its row for one that nobody else has: see [`Version::change`]. Nothing where the rows do not look alike.
    pub(crate) fn exchange(
        &self,
        row: &mut Row,
        clock: &Clock,
        may: impl FnOnce() -> bool,
    ) -> Option<Timestamp> {
        if !self.is_like(row) {
            return None;
        }
        // SAFETY: nobody looks at the row, as `Thin::shift` has seen, and they are alike.
        let (at, ()) = self.change(clock, may, |_| unsafe { row.exchange(self.block) })?;
        Some(at)
    }

    /// Whether a row could stand where this one does, and the other way round; neither has a deadline.
    pub(crate) fn is_like(&self, row: &Row) -> bool {
        // SAFETY: it is a row, alive.
        self.is_row() && unsafe { row.is_like(self.block) }
    }

    /// Changes its row in place, if that may be done now: it is a settled row without an older version, which nobody counts
    /// but its table, and `may` says so in the middle of it. Gives the timestamp, which is new and not above the clock, and
    /// what `put` says; nothing where that says nothing, and then it has changed nothing. Under the key's lock shard, in
    /// quiet (`quiet`).
    #[inline(always)]
    fn change<R>(
        &self,
        clock: &Clock,
        may: impl FnOnce() -> bool,
        put: impl FnOnce(*mut u8) -> Option<R>,
    ) -> Option<(Timestamp, R)> {
        let before = self.settled()?;
        if !self.is_row() || !self.head().next.load(Ordering::Acquire).is_null() {
            return None;
        }
        let change = |row: *mut u8| {
            if !may() {
                return None;
            }
            let old = put(row)?;
            let at = clock.behind(before);
            // Whoever looks has seen the end of the shift.
            self.head().stamp.store(at.0, Ordering::Release);
            self.forget_proposal();
            Some((at, old))
        };
        // SAFETY: a row, alive; the caller has its key's lock shard, and there is no snapshot. Who has neither counts it.
        unsafe { Row::shift(self.block, change) }.flatten()
    }

    /// The commit timestamp, when it is committed and folded: nearly always, and then nothing else needs to be looked at.
    #[inline]
    pub(crate) fn settled(&self) -> Option<Timestamp> {
        // The stamp is stored before `whose`, so who finds it folded finds the stamp, unless it is being placed.
        let whose = self.head().whose.load(Ordering::Acquire);
        let stamp = self.head().stamp.load(Ordering::SeqCst);
        (whose.addr() & FOLDED != 0 && is_timestamp(stamp)).then_some(Timestamp(stamp))
    }

    pub(crate) fn fate(&self) -> Fate<'g> {
        // SeqCst, as the collector's own loads are where it has no cheap barrier: the stamp is what keeps readers that
        // enter later away from the transaction.
        let stamp = self.head().stamp.load(Ordering::SeqCst);
        let whose = self.head().whose.load(Ordering::SeqCst);
        if whose.addr() & FOLDED != 0 {
            // The stamp was written before: look again where it was missed by a moment.
            let stamp = if is_timestamp(stamp) { stamp } else { self.head().stamp.load(Ordering::SeqCst) };
            if !is_timestamp(stamp) {
                return Fate::Placing;
            }
            let proposal = Timestamp((whose.addr() & !FOLDED) as u64);
            return Fate::Committed { at: Timestamp(stamp), proposal };
        }
        // SAFETY: whoever placed the mark keeps the transaction (`flight`) until every one of its marks is folded
        // or unlinked, and then retires it through the collector. A `Version` exists under a guard or under the key's
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
            Fate::Pending(_) | Fate::Placing | Fate::Aborted => None,
        }
    }

    /// Makes sure that what is being placed will commit above a snapshot, unless it has committed meanwhile: then when.
    pub(crate) fn keep_above(&self, snapshot: Timestamp) -> Option<Timestamp> {
        let stamp = &self.head().stamp;
        let mut seen = stamp.load(Ordering::SeqCst);
        loop {
            if is_timestamp(seen) {
                return Some(Timestamp(seen));
            }
            if seen & !FLOOR >= snapshot.0 {
                return None;
            }
            match stamp.compare_exchange_weak(seen, FLOOR | snapshot.0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return None,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Commits what is being placed, at a timestamp above all floors. By whoever placed it.
    pub(crate) fn commit_single(&self, clock: &Clock, wall_ms: u64) -> Timestamp {
        let stamp = &self.head().stamp;
        loop {
            let at = clock.propose(wall_ms);
            let mut seen = stamp.load(Ordering::SeqCst);
            while seen & !FLOOR < at.0 {
                match stamp.compare_exchange_weak(seen, at.0, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(_) => return at,
                    Err(newer) => seen = newer,
                }
            }
        }
    }

    /// Turns a mark into a committed version. Under the write lock.
    pub(crate) fn fold(&self, at: Timestamp, proposal: Timestamp) {
        self.head().stamp.store(at.0, Ordering::SeqCst);
        self.head().whose.store(folded(proposal), Ordering::SeqCst);
    }

    /// Forgets its proposal: every live snapshot is above it. Under the write lock, of a committed version.
    pub(crate) fn forget_proposal(&self) {
        // Whoever else reads it finds it folded either way: the holder of the lock has folded it before.
        if self.head().whose.load(Ordering::Relaxed) != folded(Timestamp::NEVER) {
            self.head().whose.store(folded(Timestamp::NEVER), Ordering::SeqCst);
        }
    }
}

/// Whether a stamp says when: neither undecided nor a floor.
#[inline]
fn is_timestamp(stamp: u64) -> bool {
    stamp != 0 && stamp & FLOOR == 0
}

/// What a key holds, looked at in place: it holds no count, so cloning the [`Body`] in it is what keeps the row.
pub(crate) struct Seen<'g> {
    body: ManuallyDrop<Body>,
    alive: PhantomData<&'g Head>,
}

impl Deref for Seen<'_> {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        &self.body
    }
}
