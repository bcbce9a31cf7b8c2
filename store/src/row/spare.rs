//! Blocks of rows that were freed a moment ago, kept by the thread that freed them for the next row of the same size. A
//! general allocator hands out what was freed longest ago, whose memory no cache has any more, and looks at its neighbours
//! to join them; rows that replace rows need neither. What a thread keeps is bounded in bytes and goes when it ends.
//!
//! Only blocks of exactly the size that is asked for are handed out, so what is held and what is asked for stay the same.

use std::alloc::{Layout, dealloc};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

use super::thin::Head;

/// Sizes kept are below this, and multiples of nothing: a list each.
const SIZES: usize = 512;
/// Bytes that a thread keeps at most: what one round of reclamation gives back of rows of two hundred bytes.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// A block that waits, with the next one of its size in its first word.
struct Free(Option<NonNull<Free>>);

struct Spare {
    first: [Option<NonNull<Free>>; SIZES],
    bytes: usize,
}

thread_local! {
    static SPARE: UnsafeCell<Spare> = const { UnsafeCell::new(Spare { first: [None; SIZES], bytes: 0 }) };
}

/// A block of this layout that was freed before, its memory as it was left.
#[inline]
pub(super) fn take(layout: Layout) -> Option<NonNull<Head>> {
    let size = layout.size();
    if size >= SIZES {
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

/// Keeps a block that nobody has any more, if there is room for it.
///
/// # Safety
/// The block was allocated with this layout, and this gives it up.
#[inline]
pub(super) unsafe fn keep(block: NonNull<Head>, layout: Layout) -> bool {
    let size = layout.size();
    if size >= SIZES {
        return false;
    }
    let kept = SPARE.try_with(|spare| {
        // SAFETY: as in `take`.
        let spare = unsafe { &mut *spare.get() };
        if spare.bytes + size > KEPT_BYTES_MAX {
            return false;
        }
        let free = block.cast::<Free>();
        // SAFETY: a block has room for a head, which is larger and at least as aligned.
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
    fn clear(&mut self) {
        self.bytes = 0;
        for (size, first) in self.first.iter_mut().enumerate() {
            while let Some(block) = *first {
                // SAFETY: put there by `keep`, with this size and the alignment of a head.
                unsafe {
                    *first = block.as_ref().0;
                    dealloc(
                        block.as_ptr().cast(),
                        Layout::from_size_align_unchecked(size, align_of::<Head>()),
                    );
                }
            }
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::alloc;

    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, align_of::<Head>()).expect("small")
    }

    fn block(size: usize) -> NonNull<Head> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { alloc(layout(size)) }.cast()).expect("there is memory")
    }

    #[test]
    fn a_block_comes_back_for_its_own_size_only() {
        // Aim: who takes a block has one of the size that it asked for, the last one first. Method: two of one size, one of
        // another, one that is too large to be kept; a sanitizer or miri sees what is freed wrongly or not at all.
        give_back();
        let (first, second, other) = (block(152), block(152), block(160));
        // SAFETY: allocated above with these layouts, and given up here.
        unsafe {
            assert!(keep(first, layout(152)) && keep(second, layout(152)) && keep(other, layout(160)));
            let large = block(SIZES);
            assert!(!keep(large, layout(SIZES)));
            dealloc(large.as_ptr().cast(), layout(SIZES));
        }
        assert_eq!(take(layout(168)), None);
        assert_eq!([152, 152, 152].map(|size| take(layout(size))), [Some(second), Some(first), None]);
        // SAFETY: they are ours again.
        unsafe { [first, second].into_iter().for_each(|block| dealloc(block.as_ptr().cast(), layout(152))) };
        give_back();
        assert_eq!(take(layout(160)), None, "what is given back is not handed out");
    }

    #[test]
    fn what_a_thread_keeps_is_bounded_and_goes_with_it() {
        // Aim: a thread keeps its bound and no more, and nothing when it has ended. Method: as many blocks as fit and one
        // more; the thread ends without giving back.
        let kept = std::thread::spawn(|| {
            let fits = KEPT_BYTES_MAX / 256;
            let refused = (0..=fits).filter(|_| {
                let block = block(256);
                // SAFETY: as above.
                let kept = unsafe { keep(block, layout(256)) };
                if !kept {
                    // SAFETY: it was not taken.
                    unsafe { dealloc(block.as_ptr().cast(), layout(256)) };
                }
                !kept
            });
            refused.count()
        });
        assert_eq!(kept.join().expect("it ends"), 1);
    }
}
