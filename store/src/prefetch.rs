//! Asks for memory before it is looked at. A scan of a table without order meets each row in a line of memory that no cache
//! has; asking for a few dozen ahead lets the machine fetch them at the same time.

/// Asks for the line at this address, which need not be mapped. Changes nothing.
#[inline]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is allowed and has no effect but on the caches.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
