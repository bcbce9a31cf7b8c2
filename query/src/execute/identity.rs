//! The bytes by which groups, DISTINCT and hash joins find equal values: the same bytes exactly where `=` holds, so a
//! whole number and its float have the same; nulls are alike too, and a join passes them over before it asks.

use hypermnesia_store::ValueRef;

/// Adds a value. Every value ends where it says itself, so several in a row are never mistaken.
pub(crate) fn push(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Float(x) if x.fract() == 0.0 && x.abs() < 18_446_744_073_709_551_616.0 => {
            whole(out, x as i128)
        }
        other => exact(out, other),
    }
}

fn whole(out: &mut Vec<u8>, n: i128) {
    out.push(2);
    out.extend(n.to_le_bytes());
}

/// Inside lists and maps equality is that of the one total order, which tells 1 and 1.0 apart.
fn exact(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push(0),
        ValueRef::Bool(truth) => out.extend([1, u8::from(truth)]),
        ValueRef::Int(n) => whole(out, i128::from(n)),
        ValueRef::Uint(n) => whole(out, i128::from(n)),
        ValueRef::Float(x) => {
            out.push(3);
            let canonical = if x.is_nan() {
                f64::NAN
            } else if x == 0.0 {
                0.0
            } else {
                x
            };
            out.extend(canonical.to_bits().to_le_bytes());
        }
        ValueRef::Text(text) => block(out, 4, text.as_bytes()),
        ValueRef::Bytes(bytes) => block(out, 5, bytes),
        ValueRef::Timestamp(us) => {
            out.push(6);
            out.extend(us.to_le_bytes());
        }
        ValueRef::List(list) => {
            out.push(7);
            out.extend((list.len() as u64).to_le_bytes());
            list.iter().for_each(|item| exact(out, item));
        }
        ValueRef::Map(map) => {
            out.push(8);
            out.extend((map.iter().count() as u64).to_le_bytes());
            map.iter().for_each(|(key, value)| {
                exact(out, key);
                exact(out, value);
            });
        }
    }
}

fn block(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}
