//! The bytes of one value inside a row. The length is known from outside (the ends in the row's header, or the length
//! before each element of a list or map), so null is no bytes at all and numbers take what they need.
//!
//! ```text
//! null       (nothing)
//! bool       01 | 02                          false, true
//! int        03 then 1, 2, 4 or 8 bytes       two's complement, the fewest that hold it
//! uint       04 then 8 bytes                  only above i64::MAX
//! float      05 then 8 bytes                  one NaN, no -0.0
//! text       06 then UTF-8
//! bytes      07 then the bytes
//! timestamp  08 then 8 bytes
//! list       09 count:4, then each element as length:4, value
//! map        0a count:4, then each key and each value likewise, keys strictly ascending
//! ```
//! Numbers are little-endian. Each value has exactly one form, and [`check`] accepts no other.

use crate::error::{Malformed, ValueError};
use crate::limits::VALUE_DEPTH_MAX;
use crate::order::canonical_bits;
use crate::value_ref::{ListRef, MapRef, ValueRef};

const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const BYTES: u8 = 7;
const TIMESTAMP: u8 = 8;
const LIST: u8 = 9;
const MAP: u8 = 10;

/// How many bytes [`write()`] will write. Also the one place where depth is checked on the way in.
#[inline]
pub(crate) fn encoded_len(value: ValueRef<'_>) -> Result<usize, ValueError> {
    encoded_len_at(value, 1)
}

fn encoded_len_at(value: ValueRef<'_>, depth: usize) -> Result<usize, ValueError> {
    Ok(match value {
        ValueRef::Null => 0,
        ValueRef::Bool(_) => 1,
        ValueRef::Int(n) => 1 + int_len(n),
        ValueRef::Uint(n) => 1 + i64::try_from(n).map_or(8, int_len),
        ValueRef::Float(_) | ValueRef::Timestamp(_) => 9,
        ValueRef::Text(s) => 1 + s.len(),
        ValueRef::Bytes(b) => 1 + b.len(),
        ValueRef::List(list) => elements_len(list.iter(), depth)?,
        ValueRef::Map(map) => elements_len(map.iter().flat_map(|(k, v)| [k, v]), depth)?,
    })
}

fn elements_len<'a>(elements: impl Iterator<Item = ValueRef<'a>>, depth: usize) -> Result<usize, ValueError> {
    if depth == VALUE_DEPTH_MAX {
        return Err(ValueError::TooDeep);
    }
    let mut len = 5_usize;
    for element in elements {
        len = len.saturating_add(4 + encoded_len_at(element, depth + 1)?);
    }
    Ok(len)
}

#[inline]
fn int_len(n: i64) -> usize {
    if i8::try_from(n).is_ok() {
        1
    } else if i16::try_from(n).is_ok() {
        2
    } else if i32::try_from(n).is_ok() {
        4
    } else {
        8
    }
}

/// Puts a whole number where another of the same length stands, and gives that. Nothing where another value stands, or a
/// number of another length.
#[inline]
pub(crate) fn swap_int(bytes: &mut [u8], new: i64) -> Option<i64> {
    let old = int(bytes)?;
    if bytes.len() != 1 + int_len(new) {
        return None;
    }
    write_int(new, &mut &mut *bytes);
    Some(old)
}

/// Adds to a whole number where the sum takes as many bytes, and gives the sum. Nothing where another value stands, or where
/// it takes more or fewer or overflows.
#[inline]
pub(crate) fn add_int(bytes: &mut [u8], by: i64) -> Option<i64> {
    let sum = int(bytes)?.checked_add(by)?;
    swap_int(bytes, sum).map(|_| sum)
}

#[inline]
fn int(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [INT, number @ ..] => Some(read_int(number)),
        _ => None,
    }
}

/// Writes one value at the front of `out` and moves `out` behind it. `out` has the room [`encoded_len`] asked for.
pub(crate) fn write(value: ValueRef<'_>, out: &mut &mut [u8]) {
    match value {
        ValueRef::Null => {}
        ValueRef::Bool(b) => put(out, &[if b { TRUE } else { FALSE }]),
        ValueRef::Int(n) => write_int(n, out),
        ValueRef::Uint(n) => match i64::try_from(n) {
            Ok(n) => write_int(n, out),
            Err(_) => put_tagged(out, UINT, &n.to_le_bytes()),
        },
        ValueRef::Float(x) => put_tagged(out, FLOAT, &canonical_bits(x).to_le_bytes()),
        ValueRef::Text(s) => put_tagged(out, TEXT, s.as_bytes()),
        ValueRef::Bytes(b) => put_tagged(out, BYTES, b),
        ValueRef::Timestamp(us) => put_tagged(out, TIMESTAMP, &us.to_le_bytes()),
        ValueRef::List(list) => {
            put_tagged(out, LIST, &(list.len() as u32).to_le_bytes());
            list.iter().for_each(|item| write_element(item, out));
        }
        ValueRef::Map(map) => {
            put_tagged(out, MAP, &(map.len() as u32).to_le_bytes());
            for (key, value) in map.iter() {
                write_element(key, out);
                write_element(value, out);
            }
        }
    }
}

#[inline]
fn write_int(n: i64, out: &mut &mut [u8]) {
    put_tagged(out, INT, &n.to_le_bytes()[..int_len(n)]);
}

fn write_element(value: ValueRef<'_>, out: &mut &mut [u8]) {
    let room = out.len();
    let (length, mut rest) = std::mem::take(out).split_at_mut(4);
    write(value, &mut rest);
    length.copy_from_slice(&((room - 4 - rest.len()) as u32).to_le_bytes());
    *out = rest;
}

#[inline]
fn put_tagged(out: &mut &mut [u8], tag: u8, bytes: &[u8]) {
    put(out, &[tag]);
    put(out, bytes);
}

#[inline]
fn put(out: &mut &mut [u8], bytes: &[u8]) {
    let (here, rest) = std::mem::take(out).split_at_mut(bytes.len());
    here.copy_from_slice(bytes);
    *out = rest;
}

/// Reads one value from its checked bytes.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> ValueRef<'_> {
    let Some((&tag, rest)) = bytes.split_first() else {
        return ValueRef::Null;
    };
    match tag {
        INT => ValueRef::Int(read_int(rest)),
        // SAFETY: `bytes` is an attribute of a `Row` or an element within one. A `Row` holds either what `write` made of
        // a `&str`, or bytes that `check` has found to be UTF-8 here; they do not change while somebody
        // looks at them.
        TEXT => ValueRef::Text(unsafe { std::str::from_utf8_unchecked(rest) }),
        FALSE => ValueRef::Bool(false),
        TRUE => ValueRef::Bool(true),
        UINT => ValueRef::Uint(u64::from_le_bytes(eight(rest))),
        FLOAT => ValueRef::Float(f64::from_le_bytes(eight(rest))),
        BYTES => ValueRef::Bytes(rest),
        TIMESTAMP => ValueRef::Timestamp(i64::from_le_bytes(eight(rest))),
        LIST => ValueRef::List(ListRef::from_encoded(four(rest), &rest[4..])),
        MAP => ValueRef::Map(MapRef::from_encoded(four(rest), &rest[4..])),
        _ => unreachable!("a row is checked when it is made"),
    }
}

#[inline]
fn read_int(bytes: &[u8]) -> i64 {
    match *bytes {
        [a] => i64::from(a as i8),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(eight(bytes)),
    }
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().expect("a row is checked when it is made")
}

fn four(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

/// Takes the next element of a list or map from checked bytes.
pub(crate) fn take_element<'a>(bytes: &mut &'a [u8]) -> ValueRef<'a> {
    let (element, rest) = bytes[4..].split_at(four(bytes));
    *bytes = rest;
    read(element)
}

/// Checks the bytes of one value from outside; the offset of an error counts from their start.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Malformed> {
    check_at(bytes, 0, 1)
}

fn check_at(bytes: &[u8], offset: usize, depth: usize) -> Result<(), Malformed> {
    let Some((&tag, rest)) = bytes.split_first() else {
        return Ok(());
    };
    let broken = match tag {
        FALSE | TRUE => (!rest.is_empty()).then_some("bytes behind a bool"),
        INT => check_int(rest),
        UINT | FLOAT | TIMESTAMP if rest.len() != 8 => Some("number of a wrong length"),
        UINT => i64::try_from(u64::from_le_bytes(eight(rest))).is_ok().then_some("uint that is an int"),
        FLOAT => {
            let bits = u64::from_le_bytes(eight(rest));
            (canonical_bits(f64::from_bits(bits)) != bits).then_some("float in a form that is not stored")
        }
        TEXT => std::str::from_utf8(rest).is_err().then_some("text that is not UTF-8"),
        BYTES | TIMESTAMP => None,
        LIST | MAP => return check_elements(tag, rest, offset + 1, depth),
        _ => Some("unknown tag"),
    };
    broken.map_or(Ok(()), |why| Err(Malformed { what: "value", offset, why }))
}

fn check_int(bytes: &[u8]) -> Option<&'static str> {
    match bytes.len() {
        1 | 2 | 4 | 8 if int_len(read_int(bytes)) == bytes.len() => None,
        1 | 2 | 4 | 8 => Some("int longer than it needs to be"),
        _ => Some("int of a wrong length"),
    }
}

fn check_elements(tag: u8, bytes: &[u8], offset: usize, depth: usize) -> Result<(), Malformed> {
    let refuse = |offset, why| Err(Malformed { what: "value", offset, why });
    if depth == VALUE_DEPTH_MAX {
        return refuse(offset, "nested too deeply");
    }
    let Some((count, mut rest)) = bytes.split_first_chunk::<4>() else {
        return refuse(offset, "list or map without a count");
    };
    let elements = u64::from(u32::from_le_bytes(*count)) * if tag == MAP { 2 } else { 1 };
    let mut last_key = None;
    for n in 0..elements {
        let at = offset + bytes.len() - rest.len();
        let Some((length, behind)) = rest.split_first_chunk::<4>() else {
            return refuse(at, "fewer elements than counted");
        };
        let Some((element, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize) else {
            return refuse(at, "element longer than what holds it");
        };
        check_at(element, at + 4, depth + 1)?;
        if tag == MAP && n % 2 == 0 {
            let key = read(element);
            if last_key.is_some_and(|last| last >= key) {
                return refuse(at, "keys of a map out of order");
            }
            last_key = Some(key);
        }
        rest = behind;
    }
    if !rest.is_empty() {
        return refuse(offset + bytes.len() - rest.len(), "bytes behind the last element");
    }
    Ok(())
}
