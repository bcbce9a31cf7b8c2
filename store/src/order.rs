//! The one total order over all values: keys, indexes, ranges, ORDER BY and replicas all use it, and the key encoding
//! ([`crate::key`]) is defined by it. Nothing else in the project compares values.
//!
//! null < bool < numbers < text < bytes < timestamp < list < map. Numbers compare mathematically, exactly, whatever their
//! type; of two equal ones the whole number comes before the float. NaN is one value, greater than every number; -0.0
//! is 0.0. Lists and maps compare element by element, and the shorter of two that agree so far comes first.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::value::Value;
use crate::value_ref::ValueRef;

/// The bits of a float as they are stored: one NaN, no -0.0.
pub(crate) fn canonical_bits(x: f64) -> u64 {
    if x.is_nan() {
        f64::NAN.to_bits()
    } else if x == 0.0 {
        0
    } else {
        x.to_bits()
    }
}

/// Compares two numbers by value alone, so that 1 equals 1.0: what `=` and `<` of the query language mean. `None` when
/// either is no number. NaN equals NaN and is greater than all others.
///
/// ```
/// use hypermnesia_store::{Value, order};
/// use std::cmp::Ordering;
/// let (one, also_one) = (Value::Int(1), Value::Float(1.0));
/// assert_ne!(one, also_one);
/// assert_eq!(order::compare_numbers(one.as_ref(), also_one.as_ref()), Some(Ordering::Equal));
/// ```
pub fn compare_numbers(a: ValueRef<'_>, b: ValueRef<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        (ValueRef::Float(x), ValueRef::Float(y)) => compare_floats(x, y),
        (ValueRef::Float(x), _) => compare_whole_with_float(b.as_whole()?, x).reverse(),
        (_, ValueRef::Float(y)) => compare_whole_with_float(a.as_whole()?, y),
        _ => a.as_whole()?.cmp(&b.as_whole()?),
    })
}

fn compare_floats(x: f64, y: f64) -> Ordering {
    f64::from_bits(canonical_bits(x)).total_cmp(&f64::from_bits(canonical_bits(y)))
}

/// Exact: the float is not rounded to an integer and the integer is not rounded to a float.
fn compare_whole_with_float(n: i128, x: f64) -> Ordering {
    // Beyond every i64 and u64; these powers of two are exact in binary64.
    const ABOVE: f64 = 18_446_744_073_709_551_616.0;
    const BELOW: f64 = -9_223_372_036_854_775_808.0;
    if x.is_nan() || x >= ABOVE {
        Ordering::Less
    } else if x < BELOW {
        Ordering::Greater
    } else {
        let whole = x.trunc();
        // In range by the two tests above, so the cast is exact.
        n.cmp(&(whole as i128)).then_with(|| whole.total_cmp(&x))
    }
}

/// The place of a value's type in the order.
fn rank(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Bool(_) => 1,
        ValueRef::Int(_) | ValueRef::Uint(_) | ValueRef::Float(_) => 2,
        ValueRef::Text(_) => 3,
        ValueRef::Bytes(_) => 4,
        ValueRef::Timestamp(_) => 5,
        ValueRef::List(_) => 6,
        ValueRef::Map(_) => 7,
    }
}

impl Ord for ValueRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (ValueRef::Int(a), ValueRef::Int(b)) => a.cmp(&b),
            (ValueRef::Text(a), ValueRef::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (ValueRef::Bool(a), ValueRef::Bool(b)) => a.cmp(&b),
            (ValueRef::Bytes(a), ValueRef::Bytes(b)) => a.cmp(b),
            (ValueRef::Timestamp(a), ValueRef::Timestamp(b)) => a.cmp(&b),
            (ValueRef::List(a), ValueRef::List(b)) => a.iter().cmp(b.iter()),
            (ValueRef::Map(a), ValueRef::Map(b)) => a.iter().cmp(b.iter()),
            (a, b) => match compare_numbers(a, b) {
                Some(order) => {
                    order.then(matches!(a, ValueRef::Float(_)).cmp(&matches!(b, ValueRef::Float(_))))
                }
                None => rank(a).cmp(&rank(b)),
            },
        }
    }
}

impl PartialOrd for ValueRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ValueRef<'_> {}

impl Hash for ValueRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Both whole types hash alike because they may be equal; floats never equal a whole number.
        state.write_u8(if matches!(self, ValueRef::Float(_)) { 8 } else { rank(*self) });
        match *self {
            ValueRef::Null => {}
            ValueRef::Bool(b) => b.hash(state),
            ValueRef::Int(n) => state.write_i128(i128::from(n)),
            ValueRef::Uint(n) => state.write_i128(i128::from(n)),
            ValueRef::Float(x) => state.write_u64(canonical_bits(x)),
            ValueRef::Text(s) => s.hash(state),
            ValueRef::Bytes(b) => b.hash(state),
            ValueRef::Timestamp(us) => us.hash(state),
            ValueRef::List(list) => {
                state.write_usize(list.len());
                list.iter().for_each(|item| item.hash(state));
            }
            ValueRef::Map(map) => {
                state.write_usize(map.len());
                map.iter().for_each(|pair| pair.hash(state));
            }
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_ref().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_written_one() {
        // Aim: the documented order, with the borders where it is easily wrong. Method: one ascending list, all pairs.
        let ascending = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(f64::MIN),
            Value::Int(i64::MIN),
            Value::Float(i64::MIN as f64),
            Value::Int(i64::MIN + 1),
            Value::Int(-1),
            Value::Float(-0.5),
            Value::Float(-f64::from_bits(1)),
            Value::Int(0),
            Value::Float(-0.0),
            Value::Float(f64::from_bits(1)),
            Value::Float(0.5),
            Value::Int(1),
            Value::Float(1.0),
            Value::Float(1.5),
            Value::Int((1 << 53) - 1),
            Value::Int(1 << 53),
            Value::Float((1_u64 << 53) as f64),
            Value::Int((1 << 53) + 1),
            Value::Int((1 << 53) + 2),
            Value::Float(((1_u64 << 53) + 2) as f64),
            Value::Int(i64::MAX),
            Value::Uint(1 << 63),
            Value::Float((1_u64 << 63) as f64),
            Value::Uint((1 << 63) + 1),
            Value::Uint(u64::MAX),
            Value::Float(u64::MAX as f64),
            Value::Float(f64::MAX),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NAN),
            Value::from(""),
            Value::from("\0"),
            Value::from("a"),
            Value::from("a\0"),
            Value::from("ab"),
            Value::from("\u{10ffff}"),
            Value::Bytes(vec![]),
            Value::Bytes(vec![0]),
            Value::Bytes(vec![0xff]),
            Value::Timestamp(i64::MIN),
            Value::Timestamp(0),
            Value::List(vec![]),
            Value::List(vec![Value::Null]),
            Value::List(vec![Value::Int(1)]),
            Value::List(vec![Value::Int(1), Value::Null]),
            Value::List(vec![Value::Float(1.0)]),
            Value::Map(BTreeMap::new()),
            Value::Map([(Value::Int(1), Value::Int(2))].into()),
            Value::Map([(Value::Int(1), Value::Int(2)), (Value::Int(3), Value::Null)].into()),
            Value::Map([(Value::Int(1), Value::Int(3))].into()),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} and {b}");
            }
        }
    }

    use std::collections::BTreeMap;

    #[test]
    fn equal_values_hash_alike() {
        // Aim: Hash agrees with Eq. Method: the pairs that are equal without being the same bits.
        use std::hash::BuildHasher;
        let hasher = foldhash::fast::FixedState::with_seed(1);
        let pairs = [
            (Value::Int(5), Value::Uint(5)),
            (Value::Float(0.0), Value::Float(-0.0)),
            (Value::Float(f64::NAN), Value::Float(-f64::NAN)),
        ];
        for (a, b) in pairs {
            assert_eq!(a, b);
            assert_eq!(hasher.hash_one(&a), hasher.hash_one(&b));
        }
    }
}
