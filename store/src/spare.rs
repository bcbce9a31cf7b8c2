//! Blocks of memory that were freed a moment ago, kept by the thread that freed them for the next one of the same size: of rows
//! and of nodes of trees. A general allocator hands out what was freed longest ago, whose memory no cache has any more, and
//! looks at its neighbours to join them; what replaces another needs neither. What a thread keeps is bounded in bytes and
//! goes when it ends.
//!
//! Only blocks of exactly the size that is asked for are handed out, so what is held and what is asked for stay the same.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

use crate::limits::KEPT_BYTES_MAX;

/// Larger ones are not kept.
pub(crate) const SIZE_MAX: usize = 512;
/// Of all blocks.
const ALIGN: usize = align_of::<u64>();
/// Whether freed blocks go to the allocator at once: under miri, and with `--cfg freed_at_once` for a sanitizer, which would
/// not see else who uses one that is free.
const AT_ONCE: bool = cfg!(any(miri, freed_at_once));

/// A block that waits, with the next one of its size in its first word.
struct Free(Option<NonNull<Free>>);

struct Spare {
    first: [Option<NonNull<Free>>; SIZE_MAX + 1],
    bytes: usize,
    /// The size that all which is kept is of, since others were let go for it; 0 where that is not known.
    only: usize,
}

thread_local! {
    static SPARE: UnsafeCell<Spare> = const { UnsafeCell::new(Spare { first: [None; SIZE_MAX + 1], bytes: 0, only: 0 }) };
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, ALIGN).expect("blocks are far below the address space")
}

/// A block of this many bytes, aligned for words, its memory as it was left: one that was freed before, or a new one.
///
/// # Panics
/// When it is for less than a word, or for more than the address space.
#[inline]
pub(crate) fn allocate(size: usize) -> NonNull<u8> {
    assert!(size >= size_of::<Free>());
    take(size).unwrap_or_else(|| {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc(layout(size)) }).unwrap_or_else(|| handle_alloc_error(layout(size)))
    })
}

/// Gives a block back.
///
/// # Safety
/// [`allocate`] has given it for as many bytes, and nobody has it any more.
#[inline]
pub(crate) unsafe fn free(block: NonNull<u8>, size: usize) {
    // SAFETY: as the caller says.
    unsafe {
        if !keep(block, size) {
            dealloc(block.as_ptr(), layout(size));
        }
    }
}

/// A block that was freed.
#[inline]
fn take(size: usize) -> Option<NonNull<u8>> {
    if size > SIZE_MAX || AT_ONCE {
        return None;
    }
    let taken = SPARE.try_with(|spare| {
        // SAFETY: of this thread alone, and nothing in here runs anything else that looks at it.
        let spare = unsafe { &mut *spare.get() };
        let block = spare.first[size]?;
        // SAFETY: put there by `keep`, and nobody else has it.
        spare.first[size] = unsafe { block.as_ref() }.0;
        spare.bytes -= size;
        Some(block.cast())
    });
    taken.ok().flatten()
}

/// Keeps a block, if there is room for it.
///
/// # Safety
/// As for [`free`].
#[inline]
unsafe fn keep(block: NonNull<u8>, size: usize) -> bool {
    if size > SIZE_MAX || AT_ONCE {
        return false;
    }
    let kept = SPARE.try_with(|spare| {
        // SAFETY: as in `take`.
        let spare = unsafe { &mut *spare.get() };
        if spare.bytes + size > KEPT_BYTES_MAX && !spare.make_room(size) {
            return false;
        }
        if spare.only != size {
            spare.only = 0;
        }
        let free = block.cast::<Free>();
        // SAFETY: it has room for a word and is aligned for one.
        unsafe { free.write(Free(spare.first[size])) };
        spare.first[size] = Some(free);
        spare.bytes += size;
        true
    });
    kept.unwrap_or(false)
}

/// Gives back all that the caller's thread keeps.
pub(crate) fn give_back() {
    // A thread that is ending has given it back already.
    // SAFETY: as in `take`.
    let _ = SPARE.try_with(|spare| unsafe { &mut *spare.get() }.clear());
}

impl Spare {
    /// Lets blocks of all other sizes go: nobody has asked for them while these came. Says whether there is room now.
    #[cold]
    fn make_room(&mut self, size: usize) -> bool {
        if self.only != size {
            self.clear_but(size);
            self.only = size;
        }
        self.bytes + size <= KEPT_BYTES_MAX
    }

    fn clear(&mut self) {
        self.clear_but(0);
    }

    /// Gives back all blocks but those of this size.
    fn clear_but(&mut self, kept: usize) {
        for (size, first) in self.first.iter_mut().enumerate().filter(|(size, _)| *size != kept) {
            while let Some(block) = *first {
                // SAFETY: put there by `keep`, with this size.
                unsafe {
                    *first = block.as_ref().0;
                    dealloc(block.as_ptr().cast(), layout(size));
                }
                self.bytes -= size;
            }
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(all(test, not(miri), not(freed_at_once)))]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_for_its_own_size_only() {
        // Aim: who asks for a block has one of the size that was asked for, the last one first. Method: two of one size, one
        // of another, one that is too large to be kept; a sanitizer sees what is freed wrongly or not at all.
        give_back();
        let (first, second, other, large) =
            (allocate(152), allocate(152), allocate(160), allocate(SIZE_MAX + 1));
        // SAFETY: allocated above with these sizes, and given up here.
        unsafe {
            free(first, 152);
            free(second, 152);
            free(other, 160);
            free(large, SIZE_MAX + 1);
        }
        assert_eq!(take(168), None);
        assert_eq!(take(SIZE_MAX + 1), None);
        assert_eq!([152, 152, 152].map(take), [Some(second), Some(first), None]);
        // SAFETY: they are ours again.
        unsafe { [first, second].into_iter().for_each(|block| free(block, 152)) };
        give_back();
        assert_eq!(take(160), None, "what is given back is not handed out");
    }

    #[test]
    fn a_size_that_nobody_asks_for_makes_room_for_others() {
        // Aim: a thread that has let many rows of one size go keeps blocks of another one too, when it works with those.
        // Method: as many blocks of one size as are kept, then one of another size, freed and asked for.
        give_back();
        let filled: Vec<_> = (0..KEPT_BYTES_MAX / 128).map(|_| allocate(128)).collect();
        // SAFETY: allocated with this size, and given up here.
        filled.into_iter().for_each(|block| unsafe { free(block, 128) });
        let other = allocate(512);
        // SAFETY: as above.
        unsafe { free(other, 512) };
        assert_eq!(take(512), Some(other));
        // SAFETY: it is ours again.
        unsafe { dealloc(other.as_ptr(), layout(512)) };
        give_back();
    }

    #[test]
    fn what_a_thread_keeps_is_bounded_and_goes_with_it() {
        // Aim: a thread keeps its bound and no more, and nothing when it has ended. Method: as many blocks as fit and one
        // more; the thread ends without giving back.
        let kept = std::thread::spawn(|| {
            let blocks: Vec<_> = (0..=KEPT_BYTES_MAX / 256).map(|_| allocate(256)).collect();
            // SAFETY: allocated with this size, and given up here.
            blocks.into_iter().for_each(|block| unsafe { free(block, 256) });
            let again: Vec<_> = std::iter::from_fn(|| take(256)).collect();
            // SAFETY: they are ours again.
            again.iter().for_each(|block| unsafe { dealloc(block.as_ptr(), layout(256)) });
            again.len()
        });
        assert_eq!(kept.join().expect("it ends"), KEPT_BYTES_MAX / 256);
    }
}
