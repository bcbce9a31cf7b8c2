//! Rows: self-describing bytes, made once where a row enters and from then on the same in memory, on the wire, in the log
//! and in the image. A `Row` in hand is always well-formed: it was made by [`Row::encode`] or checked by [`Row::parse`], so
//! reading an attribute checks nothing again.
//!
//! ```text
//! [format 1][schema version 4][count 2][end of attribute 0 .. count-1: 2 or 4 each][values][deadline 0 or 8]
//! ```
//! Numbers are little-endian. The format byte is 1 with two-byte ends, 2 with four-byte ends (used when, and only when,
//! the values need more than 65,535 bytes), plus 16 where a deadline stands at the end: the millisecond since 1970 from
//! which the row counts as absent. An attribute's value lies between the end before it and its own end, so
//! finding it is two loads. Null is the empty span: that is the null bitmap, without the bitmap. How the bytes of one
//! value look is said in `value_bytes`. There is one encoding of a row: equal rows are equal bytes.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::{Malformed, ValueError};
use crate::ids::SchemaVersion;
use crate::limits::{ATTRIBUTES_MAX, ROW_BYTES_MAX};
use crate::txn::Txn;
use crate::value::Value;
use crate::value_ref::ValueRef;

mod body;
mod in_place;
mod thin;
pub(crate) mod value_bytes;

pub use body::Body;
pub use in_place::Numbers;
pub(crate) use in_place::{Form, add_int, deadline_of, put_ints};
pub(crate) use thin::Head;
use thin::Thin;

const NARROW: u8 = 1;
const WIDE: u8 = 2;
/// Bit of the format byte: a deadline stands behind the values.
const TIMED: u8 = 0x10;
/// Format, schema version, count.
const HEADER_BYTES: usize = 7;
/// Where the count begins, behind format and schema version.
const VERSION_END: usize = 5;
const DEADLINE_BYTES: usize = 8;

/// One row. Cloning it counts a reference. Equality, hash and order are those of its bytes.
///
/// ```
/// use hypermnesia_store::{Row, SchemaVersion, Value, ValueRef};
/// let row = Row::encode(SchemaVersion::FIRST, &[Value::Int(7), Value::from("seven"), Value::Null])?;
/// assert_eq!(row.attribute(1), ValueRef::Text("seven"));
/// assert_eq!(row.attribute(2), ValueRef::Null);
/// assert_eq!(Row::parse(row.as_bytes())?, row);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row(Thin);

impl Row {
    /// Encodes a row of these values. One allocation.
    ///
    /// # Errors
    /// When it has too many attributes, is too large, or nests too deeply (see [`crate::limits`]).
    pub fn encode(version: SchemaVersion, values: &[Value]) -> Result<Row, ValueError> {
        Row::encode_refs(version, values.iter().map(Value::as_ref))
    }

    /// Encodes a row of borrowed values. One allocation; the iterator is walked twice, for the size and for the bytes.
    ///
    /// # Errors
    /// As [`Row::encode`].
    pub fn encode_refs<'a, I>(version: SchemaVersion, values: I) -> Result<Row, ValueError>
    where
        I: IntoIterator<Item = ValueRef<'a>>,
        I::IntoIter: Clone,
    {
        let values = values.into_iter();
        let (mut count, mut value_len) = (0_usize, 0_usize);
        for value in values.clone() {
            count += 1;
            value_len = value_len.saturating_add(value_bytes::encoded_len(value)?);
        }
        if count > ATTRIBUTES_MAX {
            return Err(ValueError::TooManyAttributes { count });
        }
        let width = if value_len > usize::from(u16::MAX) { 4 } else { 2 };
        let start = HEADER_BYTES + width * count;
        let bytes = start.saturating_add(value_len);
        if bytes > ROW_BYTES_MAX {
            return Err(ValueError::RowTooLarge { bytes });
        }
        Ok(Row(Thin::with(bytes, |out| {
            out[0] = if width == 2 { NARROW } else { WIDE };
            out[1..5].copy_from_slice(&version.0.to_le_bytes());
            out[5..7].copy_from_slice(&(count as u16).to_le_bytes());
            let (header, mut rest) = out.split_at_mut(start);
            for (value, end) in values.zip(header[HEADER_BYTES..].chunks_exact_mut(width)) {
                value_bytes::write(value, &mut rest);
                let so_far = value_len - rest.len();
                end.copy_from_slice(&(so_far as u32).to_le_bytes()[..width]);
            }
        })))
    }

    /// Takes bytes from a disc or a peer for a row, after checking every rule of the encoding, in one pass.
    ///
    /// # Errors
    /// [`Malformed`] names the first broken rule. Nothing is allocated before the check has passed.
    pub fn parse(bytes: impl AsRef<[u8]>) -> Result<Row, Malformed> {
        check(bytes.as_ref())?;
        Ok(Row(Thin::from(bytes.as_ref())))
    }

    /// As [`Row::parse`], for who only wants to know.
    ///
    /// # Errors
    /// As there.
    pub fn check(bytes: &[u8]) -> Result<(), Malformed> {
        check(bytes)
    }

    /// The schema version it was written under.
    pub fn version(&self) -> SchemaVersion {
        SchemaVersion(u32::from_le_bytes([self.0[1], self.0[2], self.0[3], self.0[4]]))
    }

    /// How many attributes it has.
    pub fn len(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[5], self.0[6]]))
    }

    /// Whether it has no attribute at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the attribute at this position, borrowed from the row. O(1), no allocation. Null for a position the
    /// row does not have: a row written before an attribute was added reads as if it were null there.
    #[inline]
    pub fn attribute(&self, position: usize) -> ValueRef<'_> {
        value_bytes::read(self.attribute_bytes(position))
    }

    /// The bytes of one attribute's value; equal bytes are equal values.
    #[inline]
    fn attribute_bytes(&self, position: usize) -> &[u8] {
        &self.0[self.attribute_place(position)]
    }

    /// Where the bytes of an attribute's value stand.
    #[inline]
    fn attribute_place(&self, position: usize) -> Range<usize> {
        // SAFETY: the bytes are a row's.
        unsafe { in_place::attribute_place(self.0.as_ptr(), position) }
    }

    /// All values in order, borrowed.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ValueRef<'_>> + Clone {
        (0..self.len()).map(|position| self.attribute(position))
    }

    /// All values in order, owned.
    pub fn to_values(&self) -> Vec<Value> {
        self.iter().map(ValueRef::to_value).collect()
    }

    /// The millisecond since 1970 from which the row counts as absent, if it has one.
    #[inline]
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.0[0] & TIMED == 0 {
            return None;
        }
        let last = self.0.last_chunk::<DEADLINE_BYTES>().expect("checked when the row was made");
        Some(u64::from_le_bytes(*last))
    }

    /// Whether it counts as absent at this timestamp: its deadline has come.
    #[inline]
    pub fn is_expired(&self, at: Timestamp) -> bool {
        self.deadline_ms().is_some_and(|deadline| at.reaches(deadline))
    }

    /// The same values with another deadline, or with none.
    ///
    /// # Errors
    /// [`ValueError::RowTooLarge`] when the deadline makes it so.
    pub fn with_deadline(&self, deadline_ms: Option<u64>) -> Result<Row, ValueError> {
        if self.deadline_ms() == deadline_ms {
            return Ok(self.clone());
        }
        let values = self.without_deadline();
        let behind = deadline_ms.map(u64::to_le_bytes);
        let behind = behind.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        let bytes = values.len() + behind.len();
        if bytes > ROW_BYTES_MAX {
            return Err(ValueError::RowTooLarge { bytes });
        }
        Ok(Row(Thin::with(bytes, |out| {
            out[..values.len()].copy_from_slice(values);
            out[values.len()..].copy_from_slice(behind);
            out[0] = if behind.is_empty() { values[0] & !TIMED } else { values[0] | TIMED };
        })))
    }

    /// The same row, its deadline included, with other values at some positions that it has, each named once. The bytes of
    /// the others are taken as they are, so this knows nothing of a definition. One allocation.
    ///
    /// # Errors
    /// As [`Row::encode`].
    ///
    /// # Panics
    /// When it has no such position.
    pub fn replacing(&self, changes: &[(usize, ValueRef<'_>)]) -> Result<Row, ValueError> {
        let mut fits = true;
        for (position, value) in changes {
            assert!(*position < self.len(), "a row of {} values has no position {position}", self.len());
            fits &= value_bytes::encoded_len(*value)? == self.attribute_bytes(*position).len();
        }
        if !fits {
            return self.reshaped(changes);
        }
        Ok(Row(Thin::copied(&self.0, |out| {
            for (position, value) in changes {
                let place = self.attribute_place(*position);
                value_bytes::write(*value, &mut &mut out[place]);
            }
        })))
    }

    /// As [`Row::replacing`], where values get longer or shorter.
    fn reshaped(&self, changes: &[(usize, ValueRef<'_>)]) -> Result<Row, ValueError> {
        let values = (0..self.len()).map(|position| {
            let new = changes.iter().find(|(changed, _)| *changed == position);
            new.map_or_else(|| self.attribute(position), |(_, value)| *value)
        });
        Row::encode_refs(self.version(), values)?.with_deadline(self.deadline_ms())
    }

    /// Whether both have the same values, whatever their deadlines and the schema versions they were written under: a new
    /// index counts up the version and changes no row.
    pub fn same_values(&self, other: &Row) -> bool {
        let (ours, theirs) = (self.without_deadline(), other.without_deadline());
        ours[VERSION_END..] == theirs[VERSION_END..] && ours[0] & !TIMED == theirs[0] & !TIMED
    }

    fn without_deadline(&self) -> &[u8] {
        let behind = if self.0[0] & TIMED == 0 { 0 } else { DEADLINE_BYTES };
        &self.0[..self.0.len() - behind]
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes its block a version of a key. See [`Thin::claim`].
    pub(crate) fn claim(self, whose: *mut Txn) -> NonNull<Head> {
        self.0.claim(whose)
    }

    /// # Safety
    /// As [`Thin::from_block`].
    pub(crate) unsafe fn from_block(block: NonNull<Head>) -> Row {
        // SAFETY: the caller says so.
        Row(unsafe { Thin::from_block(block) })
    }

    /// As [`Thin::keep`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub(crate) unsafe fn keep(block: NonNull<Head>) -> Row {
        // SAFETY: the caller says so.
        Row(unsafe { Thin::keep(block) })
    }

    /// As [`Thin::shift`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn shift<R>(block: NonNull<Head>, change: impl FnOnce(*mut u8) -> R) -> Option<R> {
        // SAFETY: the caller says so.
        unsafe { Thin::shift(block, change) }
    }

    /// Bytes of its block that are neither the head's nor its own.
    pub(crate) fn slack(&self) -> usize {
        thin::room(self.0.len()) - self.0.len()
    }

    /// Whether both are the very same allocation, which is quicker to see than equal bytes.
    pub fn same_allocation(&self, other: &Row) -> bool {
        self.0.is_same(&other.0)
    }
}

#[inline]
fn end_at(row: &[u8], width: usize, position: usize) -> usize {
    let at = HEADER_BYTES + width * position;
    if width == 2 {
        usize::from(u16::from_le_bytes([row[at], row[at + 1]]))
    } else {
        u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]) as usize
    }
}

/// Every rule of the encoding, so that nothing else ever has to check.
fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let refuse = |offset, why| Err(Malformed { what: "row", offset, why });
    if bytes.len() < HEADER_BYTES {
        return refuse(bytes.len(), "shorter than its header");
    }
    if bytes.len() > ROW_BYTES_MAX {
        return refuse(ROW_BYTES_MAX, "longer than a row may be");
    }
    let width = match bytes[0] & !TIMED {
        NARROW => 2,
        WIDE => 4,
        _ => return refuse(0, "unknown format"),
    };
    let count = usize::from(u16::from_le_bytes([bytes[5], bytes[6]]));
    if count > ATTRIBUTES_MAX {
        return refuse(5, "more attributes than a row may have");
    }
    let start = HEADER_BYTES + width * count;
    let behind = if bytes[0] & TIMED == 0 { 0 } else { DEADLINE_BYTES };
    let Some(value_len) = bytes.len().checked_sub(start + behind) else {
        return refuse(bytes.len(), "shorter than the ends of its attributes");
    };
    if (value_len > usize::from(u16::MAX)) != (width == 4) {
        return refuse(0, "not the format for its size");
    }
    let mut from = 0;
    for position in 0..count {
        let end = end_at(bytes, width, position);
        if end < from || end > value_len {
            return refuse(HEADER_BYTES + width * position, "end of an attribute out of order");
        }
        value_bytes::check(&bytes[start + from..start + end]).map_err(|wrong| Malformed {
            what: "row",
            offset: start + from + wrong.offset,
            ..wrong
        })?;
        from = end;
    }
    if from != value_len {
        return refuse(start + from, "bytes behind the last attribute");
    }
    Ok(())
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.version())?;
        f.debug_list().entries(self.iter().map(|value| format_args!("{value}").to_string())).finish()
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row, D::Error> {
        let bytes: &serde_bytes::Bytes = Deserialize::deserialize(deserializer)?;
        Row::parse(&**bytes).map_err(serde::de::Error::custom)
    }
}
