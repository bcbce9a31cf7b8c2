//! The bytes of one value inside a key. Tags ascend as the types do in [`crate::order`], and every encoding ends in a way
//! that is smaller than any continuation, so byte order is value order.
//!
//! ```text
//! null       10
//! bool       20 | 21
//! number     30, then the float at or below it: 8 bytes, big-endian, sign flipped to sort, then
//!               00 a whole number that is that float | 01 that float | 02 a whole number that much (2 bytes) above it
//! text       40, then UTF-8 with each 00 as 00 ff, then 00 01
//! bytes      50, likewise
//! timestamp  60, then 8 bytes, big-endian, sign bit flipped
//! list       70, then the elements, then 00
//! map        80, then key and value of each pair, then 00
//! ```
//! Whole numbers and floats share one form because they share one order. A whole number beyond 2^53 lies less than
//! 2,048 above the float below it (floats between 2^63 and 2^64 are that far apart), so two bytes hold the rest.

use super::{INLINE_BYTES, INLINE_TAG, Key, Repr, WORDS};
use crate::error::{Malformed, ValueError};
use crate::limits::{KEY_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::order::canonical_bits;
use crate::value::Value;
use crate::value_ref::ValueRef;

const NULL: u8 = 0x10;
const FALSE: u8 = 0x20;
const TRUE: u8 = 0x21;
const NUMBER: u8 = 0x30;
const TEXT: u8 = 0x40;
const BYTES: u8 = 0x50;
const TIMESTAMP: u8 = 0x60;
const LIST: u8 = 0x70;
const MAP: u8 = 0x80;

/// Ends a list or map: below every tag.
const END: u8 = 0x00;
const WHOLE: u8 = 0;
const FLOAT: u8 = 1;
const WHOLE_ABOVE: u8 = 2;
/// After 00 in text and bytes: an escaped zero, above the end of the text.
const ZERO_BYTE: u8 = 0xff;
const TEXT_END: u8 = 0x01;

const SIGN: u64 = 1 << 63;
/// Bytes of the key of such a number: tag, float, what is above it.
const EXACT_LEN: u64 = 10;
/// Whole numbers up to here are floats exactly.
const EXACT: u64 = 1 << 53;

/// A key being encoded: on the stack until it outgrows what a [`Key`] holds inline.
pub(crate) struct KeyBuffer {
    len: usize,
    inline: [u8; INLINE_BYTES],
    /// Everything, once `len` is above `INLINE_BYTES`; empty before.
    spilled: Vec<u8>,
}

impl KeyBuffer {
    pub(crate) fn new() -> KeyBuffer {
        KeyBuffer { len: 0, inline: [0; INLINE_BYTES], spilled: Vec::new() }
    }

    /// Appends one value.
    pub(crate) fn push(&mut self, value: ValueRef<'_>) -> Result<(), ValueError> {
        self.push_at(value, 1)
    }

    pub(crate) fn finish(self) -> Result<Key, ValueError> {
        if self.len > KEY_BYTES_MAX {
            return Err(ValueError::KeyTooLarge);
        }
        Ok(Key(match u8::try_from(self.len) {
            Ok(len) if self.len <= INLINE_BYTES => Repr::Inline(len, self.inline),
            _ => Repr::Shared(self.spilled.into()),
        }))
    }

    fn push_at(&mut self, value: ValueRef<'_>, depth: usize) -> Result<(), ValueError> {
        // Checked before each value, so that a long list is refused without being copied to its end.
        if self.len > KEY_BYTES_MAX {
            return Err(ValueError::KeyTooLarge);
        }
        match value {
            ValueRef::Null => self.extend(&[NULL]),
            ValueRef::Bool(b) => self.extend(&[if b { TRUE } else { FALSE }]),
            ValueRef::Int(n) if n.unsigned_abs() <= EXACT => self.push_exact(n as f64),
            ValueRef::Int(n) => self.push_whole(i128::from(n)),
            ValueRef::Uint(n) => self.push_whole(i128::from(n)),
            ValueRef::Float(x) => {
                self.push_number(f64::from_bits(canonical_bits(x)));
                self.extend(&[FLOAT]);
            }
            ValueRef::Text(s) => self.push_escaped(TEXT, s.as_bytes())?,
            ValueRef::Bytes(b) => self.push_escaped(BYTES, b)?,
            ValueRef::Timestamp(us) => {
                self.extend(&[TIMESTAMP]);
                self.extend(&(us as u64 ^ SIGN).to_be_bytes());
            }
            ValueRef::List(list) => self.push_elements(LIST, list.iter(), depth)?,
            ValueRef::Map(map) => self.push_elements(MAP, map.iter().flat_map(|(k, v)| [k, v]), depth)?,
        }
        Ok(())
    }

    /// A whole number that is a float: nearly all of them.
    fn push_exact(&mut self, n: f64) {
        self.push_number(n);
        self.extend(&[WHOLE]);
    }

    fn push_whole(&mut self, n: i128) {
        let below = float_at_or_below(n);
        self.push_number(below);
        // Exact: the float is whole and within the range of i64 and u64.
        match n - below as i128 {
            0 => self.extend(&[WHOLE]),
            above => {
                let [high, low] = (above as u16).to_be_bytes();
                self.extend(&[WHOLE_ABOVE, high, low]);
            }
        }
    }

    fn push_number(&mut self, x: f64) {
        let mut bytes = [NUMBER; 9];
        bytes[1..].copy_from_slice(&sortable(x).to_be_bytes());
        self.extend(&bytes);
    }

    fn push_escaped(&mut self, tag: u8, bytes: &[u8]) -> Result<(), ValueError> {
        if bytes.len() > KEY_BYTES_MAX {
            return Err(ValueError::KeyTooLarge);
        }
        self.extend(&[tag]);
        for (n, piece) in bytes.split(|&byte| byte == 0).enumerate() {
            if n > 0 {
                self.extend(&[0, ZERO_BYTE]);
            }
            self.extend(piece);
        }
        self.extend(&[0, TEXT_END]);
        Ok(())
    }

    fn push_elements<'a>(
        &mut self,
        tag: u8,
        elements: impl Iterator<Item = ValueRef<'a>>,
        depth: usize,
    ) -> Result<(), ValueError> {
        if depth == VALUE_DEPTH_MAX {
            return Err(ValueError::TooDeep);
        }
        self.extend(&[tag]);
        for element in elements {
            self.push_at(element, depth + 1)?;
        }
        self.extend(&[END]);
        Ok(())
    }

    fn extend(&mut self, bytes: &[u8]) {
        let len = self.len + bytes.len();
        if len <= INLINE_BYTES {
            self.inline[self.len..len].copy_from_slice(bytes);
        } else {
            if self.len <= INLINE_BYTES {
                self.spilled.reserve(len.max(2 * INLINE_BYTES));
                self.spilled.extend_from_slice(&self.inline[..self.len]);
            }
            self.spilled.extend_from_slice(bytes);
        }
        self.len = len;
    }
}

/// The key of a whole number that is a float, as words of a short key: its tag and length in the first two bytes, then what
/// `push_exact` writes.
#[inline]
pub(super) fn exact(n: i64) -> Option<[u64; WORDS]> {
    if n.unsigned_abs() > EXACT {
        return None;
    }
    // The first byte of the big-endian form is the lowest of this.
    let sorted = sortable(n as f64).swap_bytes();
    let first = u64::from(INLINE_TAG) | EXACT_LEN << 8 | u64::from(NUMBER) << 16 | sorted << 24;
    Some([first.to_le(), (sorted >> 40 | u64::from(WHOLE) << 24).to_le(), 0])
}

/// The bits of a float so that they sort as it does.
#[inline]
fn sortable(x: f64) -> u64 {
    let bits = x.to_bits();
    // Positive numbers sort as their bits do, above the negative ones, whose bits sort backwards.
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The largest float that is not above a whole number in the range of i64 and u64.
fn float_at_or_below(n: i128) -> f64 {
    // Rounds to nearest; one step down where that went up.
    let near = n as f64;
    if near as i128 > n { near.next_down() } else { near }
}

/// Reads values from the front of a key's bytes, which may be anything.
pub(super) struct KeyReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> KeyReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> KeyReader<'a> {
        KeyReader { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    pub(super) fn take_value(&mut self) -> Result<Value, Malformed> {
        self.take_value_at(1)
    }

    /// Moves behind the next value without building it.
    pub(super) fn skip_value(&mut self) -> Result<(), Malformed> {
        self.skip_value_at(1)
    }

    fn skip_value_at(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.take_byte()? {
            NULL | FALSE | TRUE => {}
            NUMBER => {
                self.take::<8>()?;
                if self.take_byte()? == WHOLE_ABOVE {
                    self.take::<2>()?;
                }
            }
            TEXT | BYTES => while self.take_piece()?.1 {},
            TIMESTAMP => {
                self.take::<8>()?;
            }
            LIST | MAP if depth == VALUE_DEPTH_MAX => return Err(self.refuse("nested too deeply")),
            LIST | MAP => {
                while !self.take_end()? {
                    self.skip_value_at(depth + 1)?;
                }
            }
            _ => return Err(self.refuse("unknown tag")),
        }
        Ok(())
    }

    fn take_value_at(&mut self, depth: usize) -> Result<Value, Malformed> {
        Ok(match self.take_byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            NUMBER => self.take_number()?,
            TEXT => {
                let bytes = self.take_escaped()?;
                Value::Text(String::from_utf8(bytes).map_err(|_| self.refuse("text that is not UTF-8"))?)
            }
            BYTES => Value::Bytes(self.take_escaped()?),
            TIMESTAMP => Value::Timestamp((u64::from_be_bytes(self.take()?) ^ SIGN) as i64),
            LIST | MAP if depth == VALUE_DEPTH_MAX => return Err(self.refuse("nested too deeply")),
            LIST => {
                let mut items = Vec::new();
                while !self.take_end()? {
                    items.push(self.take_value_at(depth + 1)?);
                }
                Value::List(items)
            }
            MAP => {
                let mut pairs = std::collections::BTreeMap::new();
                while !self.take_end()? {
                    let key = self.take_value_at(depth + 1)?;
                    if pairs.last_key_value().is_some_and(|(last, _)| *last >= key) {
                        return Err(self.refuse("keys of a map out of order"));
                    }
                    pairs.insert(key, self.take_value_at(depth + 1)?);
                }
                Value::Map(pairs)
            }
            _ => return Err(self.refuse("unknown tag")),
        })
    }

    fn take_number(&mut self) -> Result<Value, Malformed> {
        let flipped = u64::from_be_bytes(self.take()?);
        let below = f64::from_bits(if flipped & SIGN == 0 { !flipped } else { flipped & !SIGN });
        if canonical_bits(below) != below.to_bits() {
            return Err(self.refuse("float in a form that is not stored"));
        }
        let above = match self.take_byte()? {
            FLOAT => return Ok(Value::Float(below)),
            WHOLE => 0,
            WHOLE_ABOVE => match u16::from_be_bytes(self.take()?) {
                0 => return Err(self.refuse("whole number that is none")),
                above => above,
            },
            _ => return Err(self.refuse("unknown kind of number")),
        };
        // The cast saturates far outside of u64 and makes NaN zero, and then what is encoded differs from what was read.
        let n = (below as i128).saturating_add(i128::from(above));
        let exact = float_at_or_below(n) == below;
        let value = i64::try_from(n).map(Value::Int).or_else(|_| u64::try_from(n).map(Value::Uint));
        match value {
            Ok(value) if exact => Ok(value),
            _ => Err(self.refuse("whole number that is none")),
        }
    }

    fn take_escaped(&mut self) -> Result<Vec<u8>, Malformed> {
        let (piece, mut more) = self.take_piece()?;
        let mut bytes = piece.to_vec();
        while more {
            bytes.push(0);
            let (piece, again) = self.take_piece()?;
            bytes.extend_from_slice(piece);
            more = again;
        }
        Ok(bytes)
    }

    /// The bytes up to the next zero, and whether it was an escaped one, so that more follow.
    fn take_piece(&mut self) -> Result<(&'a [u8], bool), Malformed> {
        let rest = &self.bytes[self.position..];
        let Some(len) = rest.iter().position(|&byte| byte == 0) else {
            return Err(self.refuse("text or bytes without an end"));
        };
        self.position += len + 1;
        match self.take_byte()? {
            ZERO_BYTE => Ok((&rest[..len], true)),
            TEXT_END => Ok((&rest[..len], false)),
            _ => Err(self.refuse("unknown escape")),
        }
    }

    fn take_end(&mut self) -> Result<bool, Malformed> {
        let at_end = self.bytes.get(self.position) == Some(&END);
        self.position += usize::from(at_end);
        Ok(at_end)
    }

    fn take_byte(&mut self) -> Result<u8, Malformed> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.bytes[self.position..].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.refuse("cut off")),
        }
    }

    fn refuse(&self, why: &'static str) -> Malformed {
        Malformed { what: "key", offset: self.position, why }
    }
}
