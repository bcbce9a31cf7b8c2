//! An allocator that counts what each thread asks for, whatever it gives back. For test binaries in which many tests run at a
//! time: what the others ask for is theirs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

/// Bytes of memory that a thread asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Over all, also what was given back meanwhile.
    pub(crate) sum: usize,
    /// At once, the most.
    pub(crate) largest: usize,
}

impl Asked {
    const NOTHING: Asked = Asked { sum: 0, largest: 0 };

    fn and(self, bytes: usize) -> Asked {
        Asked { sum: self.sum.saturating_add(bytes), largest: self.largest.max(bytes) }
    }
}

thread_local! {
    /// By this thread since the last [`asked`] began.
    static ASKED: Cell<Asked> = const { Cell::new(Asked::NOTHING) };
}

fn note(bytes: usize) {
    // A thread that is ending has no counter any more; nobody asks it.
    let _ = ASKED.try_with(|asked| asked.set(asked.get().and(bytes)));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // As if it were new: whoever grows may have to be copied.
        note(bytes);
        // SAFETY: the caller keeps the rules of `realloc`.
        unsafe { System.realloc(at, layout, bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a call gives, and what this thread asked for within it. Not for one within another.
pub(crate) fn asked<R>(call: impl FnOnce() -> R) -> (R, Asked) {
    ASKED.set(Asked::NOTHING);
    let given = call();
    (given, ASKED.get())
}
