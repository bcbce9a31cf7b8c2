//! How a row stands in the image: where, and with which checksum.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::codec;
use crate::disc::held::Held;
use crate::ids::TableId;
use crate::key::Key;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::row::Body;

/// What a stored row adds to its table.
pub(super) fn measure(place: &[u8], value: &[u8]) -> std::result::Result<Held, String> {
    let (_, key, _, body, check) = decode_row(place, value)?;
    Ok(Held::of(&key, &body, check))
}

/// A row by its place, for messages.
pub(super) fn named(place: &[u8]) -> String {
    match place.split_first_chunk::<4>() {
        Some((table, key)) => {
            format!("the row of {} with key {}", TableId(u32::from_be_bytes(*table)), Key::from_encoded(key))
        }
        None => "a row".to_owned(),
    }
}

/// What lies behind a row, or behind where its table begins, for messages.
pub(super) fn behind(place: &[u8]) -> String {
    match place.split_first_chunk::<4>() {
        Some((table, [])) => format!("where {} begins", TableId(u32::from_be_bytes(*table))),
        _ => format!("behind {}", named(place)),
    }
}

/// Where a row stands.
pub(in crate::disc) fn place(table: TableId, key: &Key) -> Vec<u8> {
    let mut place = Vec::with_capacity(4 + key.as_bytes().len());
    place.extend_from_slice(&table.0.to_be_bytes());
    place.extend_from_slice(key.as_bytes());
    place
}

/// A value with the checksum over its place and itself in front, and that checksum.
pub(super) fn with_check(place: &[u8], head: &[u8], rest: &[u8]) -> (Vec<u8>, u64) {
    let mut value = Vec::with_capacity(4 + head.len() + rest.len());
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(head);
    value.extend_from_slice(rest);
    let check = crc(place, &value[4..]);
    value[..4].copy_from_slice(&check.to_le_bytes());
    (value, u64::from(check))
}

/// The checksum that a value states.
pub(super) fn check_of(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |check| u64::from(u32::from_le_bytes(*check)))
}

fn crc(place: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(place);
    hasher.update(rest);
    hasher.finalize()
}

pub(super) fn checked<'v>(place: &[u8], value: &'v [u8]) -> std::result::Result<(u64, &'v [u8]), String> {
    let (check, rest) = value.split_first_chunk::<4>().ok_or("a value is cut off")?;
    if u32::from_le_bytes(*check) != crc(place, rest) {
        return Err("the checksum of a value does not match".to_owned());
    }
    Ok((check_of(value), rest))
}

pub(super) fn decoded<T: for<'v> Deserialize<'v>>(bytes: &[u8]) -> std::result::Result<T, String> {
    codec::decode(bytes, MESSAGE_BYTES_MAX).map_err(|error| error.to_string())
}

/// Of which table, its key, since when, what it holds, and the checksum.
pub(in crate::disc) type Found = (TableId, Key, Timestamp, Body, u64);

/// What a row says that stands at a place; in words what is wrong with it.
pub(in crate::disc) fn decode_row(place: &[u8], value: &[u8]) -> std::result::Result<Found, String> {
    let (check, rest) = checked(place, value)?;
    let (table, key) = place.split_first_chunk::<4>().ok_or("a row has no table")?;
    let (ts, body) = rest.split_first_chunk::<8>().ok_or("a row has no timestamp")?;
    let (table, ts) = (TableId(u32::from_be_bytes(*table)), Timestamp(u64::from_le_bytes(*ts)));
    Ok((table, Key::from_encoded(key), ts, decoded(body)?, check))
}
