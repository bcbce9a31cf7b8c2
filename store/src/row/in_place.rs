//! Rows where they stand: what is looked at, and changed, in the block of a row that others may be changing or reading. Who
//! may do so when is said in `shift` and beside [`Thin::shift`]; here is what it does to the bytes.

use std::ops::Range;
use std::ptr::NonNull;

use smallvec::SmallVec;

use super::thin::{self, Head};
use super::{DEADLINE_BYTES, HEADER_BYTES, NARROW, Row, TIMED, VERSION_END, value_bytes};
use crate::ids::SchemaVersion;
use crate::limits::SHIFTED_BYTES_MAX;

impl Row {
    /// Whether it may be exchanged for the row in a block: there is room for each in the other's, it does not take long, and
    /// neither has a deadline. Reads no byte of the other that may change.
    ///
    /// # Safety
    /// The block is a row's, alive.
    pub(crate) unsafe fn is_like(&self, block: NonNull<Head>) -> bool {
        // SAFETY: as the caller says.
        let (len, format) = unsafe { (block.as_ref().len() as usize, *block.add(1).cast::<u8>().as_ptr()) };
        let fits = thin::room(self.0.len()) == thin::room(len) && len <= SHIFTED_BYTES_MAX;
        fits && self.0[0] == format && format & TIMED == 0
    }

    /// Exchanges its bytes for those of a row that shifts, but the first, which says how it looks and is the same in both
    /// (`is_like`). Nothing, and nothing was changed, where somebody else has this one.
    ///
    /// # Safety
    /// As in [`Thin::exchange`], and the other is like this one.
    pub(crate) unsafe fn exchange(&mut self, block: NonNull<Head>) -> Option<()> {
        // SAFETY: as the caller says.
        unsafe { self.0.exchange(block) }
    }
}

/// When the row in a block expires; reads what says so and no other byte.
///
/// # Safety
/// The block is a row's.
pub(crate) unsafe fn deadline_of(block: NonNull<Head>) -> Option<u64> {
    // SAFETY: as the caller says; a row with this bit has its deadline in its last bytes.
    unsafe {
        let row = block.add(1).cast::<u8>().as_ptr().cast_const();
        let behind = row.add(block.as_ref().len() as usize);
        (*row & TIMED != 0).then(|| u64::from_le(behind.sub(DEADLINE_BYTES).cast::<u64>().read_unaligned()))
    }
}

/// Whole numbers at positions of a row.
pub type Numbers = SmallVec<[(usize, i64); 2]>;

/// Puts whole numbers where others of the same lengths stand in a row, and gives those; nothing, and nothing was changed,
/// where one does not. Done while the row shifts.
///
/// # Safety
/// As in [`Thin::shift`].
pub(crate) unsafe fn put_ints(row: *mut u8, numbers: &[(usize, i64)]) -> Option<Numbers> {
    // SAFETY: as the caller says; one value at a time.
    let swap =
        |&(position, new): &(usize, i64)| unsafe { value_bytes::swap_int(value_at(row, position), new) };
    let mut before = Numbers::new();
    for number in numbers {
        let Some(old) = swap(number) else {
            // Each fits where it stood.
            before.iter().for_each(|number| {
                swap(number);
            });
            return None;
        };
        before.push((number.0, old));
    }
    Some(before)
}

/// How a row begins, behind the byte that says how its ends are written: the schema version it was written under, and how
/// many attributes it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form(u32, u16);

impl Form {
    pub(crate) fn of(version: SchemaVersion, attributes: usize) -> Form {
        Form(version.0, attributes as u16)
    }
}

/// Adds to the whole number at a position of a row that begins so, if the sum takes as many bytes, and gives the sum;
/// nothing, and nothing was changed, where that is not so. Done while the row shifts.
///
/// # Safety
/// As in [`Thin::shift`].
#[inline]
pub(crate) unsafe fn add_int(row: *mut u8, form: Form, position: usize, by: i64) -> Option<i64> {
    // SAFETY: as the caller says.
    unsafe {
        let version = u32::from_le(row.add(1).cast::<u32>().read_unaligned());
        let count = u16::from_le(row.add(VERSION_END).cast::<u16>().read_unaligned());
        if Form(version, count) != form {
            return None;
        }
        value_bytes::add_int(value_at(row, position), by)
    }
}

/// The bytes of an attribute's value, to be changed.
///
/// # Safety
/// The bytes from there on are those of a row, and for `'r` nobody else looks at those of this value.
#[inline]
unsafe fn value_at<'r>(row: *mut u8, position: usize) -> &'r mut [u8] {
    // SAFETY: as the caller says; the value lies within the row.
    unsafe {
        let place = attribute_place(row, position);
        std::slice::from_raw_parts_mut(row.add(place.start), place.len())
    }
}

/// Where the bytes of an attribute's value stand in a row.
///
/// # Safety
/// The bytes from there on are those of a row, so what it says of itself lies within it.
#[inline]
pub(super) unsafe fn attribute_place(row: *const u8, position: usize) -> Range<usize> {
    // SAFETY: as the caller says.
    unsafe {
        let count = usize::from(u16::from_le(row.add(VERSION_END).cast::<u16>().read_unaligned()));
        if position >= count {
            return 0..0;
        }
        let narrow = *row & !TIMED == NARROW;
        let ends = row.add(HEADER_BYTES);
        let end = |position: usize| match narrow {
            true => usize::from(u16::from_le(ends.cast::<u16>().add(position).read_unaligned())),
            false => u32::from_le(ends.cast::<u32>().add(position).read_unaligned()) as usize,
        };
        let start = HEADER_BYTES + if narrow { 2 } else { 4 } * count;
        start + if position == 0 { 0 } else { end(position - 1) }..start + end(position)
    }
}
