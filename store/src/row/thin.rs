//! Shared bytes behind a pointer of one word: a count, a length, and what a version of a key needs stand before them, so
//! that a row in a table is one allocation: the newest version of a key is its row. `Arc<[u8]>` takes two words for the
//! pointer and two for its counts, and a version of its own one more load that misses the caches for every read.
//!
//! Why it is sound: a `Thin` is made with one count and its bytes written before anybody else sees it; they never change
//! after while somebody may look at them (`shift` says who changes them when). Cloning counts up (relaxed: who clones holds
//! one), dropping counts down (release), and who takes the last one away has an acquire fence behind all drops before it
//! frees, as `std::sync::Arc` does. The words of a version are atomic and belong to whoever claimed the block for a key
//! (`claim`), once in its life.

use std::hash::{Hash, Hasher};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

use crate::spare;
use crate::txn::Txn;

/// What stands before the bytes.
#[repr(C)]
pub(crate) struct Head {
    count: AtomicU32,
    /// Of the bytes behind it, or what the block is instead of a row (see `version`). Of a row it changes with the bytes.
    len: AtomicU32,
    /// As a version: when it was committed. See `version` for these three.
    pub(crate) stamp: AtomicU64,
    /// As a version: whose it is. Null until the block is claimed.
    pub(crate) whose: AtomicPtr<Txn>,
    /// As a version: the next older one.
    pub(crate) next: AtomicPtr<Head>,
}

impl Head {
    /// Whether somebody changes the row in place.
    pub(crate) fn is_shifting(&self) -> bool {
        self.count.load(Ordering::SeqCst) & SHIFTING != 0
    }

    /// Of the bytes behind it, or what it is instead of a row.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn new(len: u32) -> Head {
        Head {
            count: AtomicU32::new(1),
            len: AtomicU32::new(len),
            stamp: AtomicU64::new(0),
            whose: AtomicPtr::default(),
            next: AtomicPtr::default(),
        }
    }
}

/// Bit of the count: somebody changes the bytes in place.
const SHIFTING: u32 = 1 << 31;
/// References that are more than anybody can have.
const COUNT_MAX: u32 = 1 << 30;

/// Bytes that are shared and do not change while they are.
pub(crate) struct Thin(NonNull<Head>);

// SAFETY: the bytes do not change while somebody may look at them, and the words are atomic.
unsafe impl Send for Thin {}
// SAFETY: as above.
unsafe impl Sync for Thin {}

impl Thin {
    /// `len` bytes, zero at first, written by `fill`.
    ///
    /// # Panics
    /// When there are 4 GiB or more; rows are far below.
    pub(crate) fn with(len: usize, fill: impl FnOnce(&mut [u8])) -> Thin {
        let thin = Thin::allocated(len);
        // SAFETY: allocated with room for `len` bytes, by us alone so far.
        let bytes = unsafe {
            let own = thin.0.add(1).cast::<u8>().as_ptr();
            own.write_bytes(0, len);
            std::slice::from_raw_parts_mut(own, len)
        };
        fill(bytes);
        thin
    }

    /// A copy of these bytes, with what `change` makes of it.
    pub(crate) fn copied(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Thin {
        let thin = Thin::allocated(bytes.len());
        // SAFETY: allocated with room for as many bytes as there are, by us alone so far.
        let own = unsafe {
            let own = thin.0.add(1).cast::<u8>().as_ptr();
            ptr::copy_nonoverlapping(bytes.as_ptr(), own, bytes.len());
            std::slice::from_raw_parts_mut(own, bytes.len())
        };
        change(own);
        thin
    }

    /// A block with one count, its bytes not written yet: whoever calls this writes them before anything else.
    fn allocated(len: usize) -> Thin {
        let head = spare::allocate(size(len)).cast::<Head>();
        let short = u32::try_from(len).expect("rows are below 4 GiB");
        // SAFETY: just allocated with room for the head, and aligned for it.
        unsafe { head.write(Head::new(short)) };
        Thin(head)
    }

    /// Whether both are the very same bytes in memory.
    pub(crate) fn is_same(&self, other: &Thin) -> bool {
        self.0 == other.0
    }

    /// Claims the block for a version of a key, or makes a copy of it when it has been one before: a block is one version
    /// only. The count goes with the pointer; [`Thin::from_block`] takes it back. The caller fills in the version's words.
    pub(crate) fn claim(self, whose: *mut Txn) -> NonNull<Head> {
        let claimed = |thin: &Thin| {
            let word = &thin.head().whose;
            // Nobody else has the row: a version of a key counts too.
            if thin.head().count.load(Ordering::Acquire) == 1 && word.load(Ordering::Relaxed).is_null() {
                word.store(whose, Ordering::Relaxed);
                return true;
            }
            word.compare_exchange(ptr::null_mut(), whose, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        let own = if claimed(&self) { self } else { Thin::from(&*self) };
        ManuallyDrop::new(own).0
    }

    /// # Safety
    /// The block is a row's, and the caller has a count of it that it gives to the result.
    pub(crate) unsafe fn from_block(block: NonNull<Head>) -> Thin {
        Thin(block)
    }

    /// Counts a reference to a block that somebody may be changing, and waits until that is done.
    ///
    /// # Safety
    /// The block is a row's, and alive.
    #[inline]
    pub(crate) unsafe fn keep(block: NonNull<Head>) -> Thin {
        // SAFETY: alive, and its words are atomic.
        let count = unsafe { &block.as_ref().count };
        let before = count.fetch_add(1, Ordering::Acquire);
        let kept = Thin(block);
        if before & !SHIFTING > COUNT_MAX {
            std::process::abort();
        }
        if before & SHIFTING != 0 {
            kept.wait();
        }
        kept
    }

    #[cold]
    fn wait(&self) {
        let backoff = crossbeam::utils::Backoff::new();
        while self.head().count.load(Ordering::Acquire) & SHIFTING != 0 {
            backoff.snooze();
        }
    }

    /// Changes bytes of a row in place, if nobody counts it but the caller: `change` gets a pointer to the first. Whoever
    /// comes meanwhile waits ([`Thin::keep`]), so `change` is short. Says what it says.
    ///
    /// # Safety
    /// The block is a row's and alive, and the caller alone may shift it. Nobody looks at the bytes that change without a
    /// count, and what they are afterwards is a row.
    pub(crate) unsafe fn shift<R>(block: NonNull<Head>, change: impl FnOnce(*mut u8) -> R) -> Option<R> {
        // SAFETY: alive, and its words are atomic.
        let count = unsafe { &block.as_ref().count };
        // Acquire: whoever has looked has given its count back before. SeqCst: see `in_place`.
        count.compare_exchange(1, 1 | SHIFTING, Ordering::SeqCst, Ordering::Relaxed).ok()?;
        let _shifting = Shifting(count);
        // SAFETY: the bytes stand behind the head.
        Some(change(unsafe { block.add(1) }.cast::<u8>().as_ptr()))
    }

    /// Exchanges its bytes, but the first, for those behind a block that is as large and that somebody shifts. Nothing, and
    /// nothing was changed, where somebody else has these.
    ///
    /// # Safety
    /// As in [`Thin::shift`], in the middle of that; both have room for as many bytes.
    pub(crate) unsafe fn exchange(&mut self, block: NonNull<Head>) -> Option<()> {
        // Acquire: whoever else had them has given them back.
        if self.head().count.load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: as the caller says, and the only count of this one is ours; they are two blocks, since the other counts too.
        let (own, other) = unsafe { (self.0.as_ref(), block.as_ref()) };
        let lens = (own.len(), other.len());
        let bytes = |block: NonNull<Head>| {
            // SAFETY: behind the head; not all of it may have been written.
            unsafe { block.add(1).cast::<MaybeUninit<u8>>().add(1).as_ptr() }
        };
        // SAFETY: as above; both have room for the longer one.
        unsafe { ptr::swap_nonoverlapping(bytes(self.0), bytes(block), lens.0.max(lens.1) as usize - 1) };
        own.len.store(lens.1, Ordering::Relaxed);
        other.len.store(lens.0, Ordering::Relaxed);
        Some(())
    }

    fn head(&self) -> &Head {
        // SAFETY: alive as long as this counted pointer is.
        unsafe { self.0.as_ref() }
    }
}

/// A count that is marked until this goes, whatever happens.
struct Shifting<'c>(&'c AtomicU32);

impl Drop for Shifting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(SHIFTING, Ordering::Release);
    }
}

/// Bytes of a block for a row of so many.
fn size(len: usize) -> usize {
    size_of::<Head>() + room(len)
}

const _: () = assert!(align_of::<Head>() == align_of::<u64>());

/// Bytes that a block for so many has room for: what common allocators would leave unused behind them otherwise, since they
/// hand out sixteen at a time less a word. So a row that gets a little longer or shorter fits where it stands.
pub(crate) fn room(len: usize) -> usize {
    const STEP: usize = 16;
    let asked = size_of::<Head>() + len + size_of::<usize>();
    asked.next_multiple_of(STEP) - size_of::<usize>() - size_of::<Head>()
}

impl From<&[u8]> for Thin {
    fn from(bytes: &[u8]) -> Thin {
        Thin::copied(bytes, |_| {})
    }
}

impl Deref for Thin {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let len = self.head().len() as usize;
        // SAFETY: `len` bytes stand behind the head, and nobody writes them while somebody counts this or looks at it under a
        // guard (`shift`).
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast::<u8>().as_ptr(), len) }
    }
}

impl Clone for Thin {
    #[inline]
    fn clone(&self) -> Thin {
        let before = self.head().count.fetch_add(1, Ordering::Relaxed);
        if before > COUNT_MAX {
            // References leaked by somebody, a thousand million of them: a count that overflowed would free what is in use. Or
            // somebody changes what is looked at, which must not be.
            std::process::abort();
        }
        Thin(self.0)
    }
}

impl Drop for Thin {
    #[inline]
    fn drop(&mut self) {
        if self.head().count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: the last counted pointer is going, so nobody reads it.
            unsafe { free(self.0) };
        }
    }
}

/// Gives the memory of a block back.
///
/// # Safety
/// Nobody has the block any more.
#[cold]
unsafe fn free(block: NonNull<Head>) {
    // SAFETY: alive until this call, and allocated with this size.
    unsafe { spare::free(block.cast(), size(block.as_ref().len() as usize)) };
}

impl PartialEq for Thin {
    fn eq(&self, other: &Thin) -> bool {
        **self == **other
    }
}

impl Eq for Thin {}

impl PartialOrd for Thin {
    fn partial_cmp(&self, other: &Thin) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Thin {
    fn cmp(&self, other: &Thin) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Thin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_until_the_last_one_goes() {
        // Aim: what is written is read, by all clones, on all threads, and freed once. Method: clones dropped in turn on four
        // threads; a sanitizer or miri sees a mistake of the counts.
        for len in [0, 1, 7, 8, 100, 70_000] {
            let thin =
                Thin::with(len, |out| out.iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8));
            assert_eq!(thin.len(), len);
            assert!(
                thin.is_same(&thin.clone())
                    && !thin.is_same(&Thin::from(&*thin))
                    && thin == Thin::from(&*thin)
            );
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let own = thin.clone();
                    scope.spawn(move || (0..100).for_each(|_| assert_eq!(own.clone().last(), own.last())));
                }
            });
        }
    }
}
