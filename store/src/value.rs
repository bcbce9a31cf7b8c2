//! The values of attributes, owned. What they are equal to and how they sort is said once, in [`crate::order`]; how they
//! look in bytes is said in [`crate::key`] (sortable) and [`crate::row`] (compact).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::ROW_BYTES_MAX;
use crate::row::value_bytes;
use crate::value_ref::{ListRef, MapRef, ValueRef};

/// One value of one attribute.
///
/// Equality, hashing and order follow [`crate::order`]: `Int(1)` and `Float(1.0)` are different values that stand next
/// to each other, a NaN equals every other NaN, and -0.0 equals 0.0.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value. Sorts before everything.
    #[default]
    Null,
    /// `false` sorts before `true`.
    Bool(bool),
    /// A whole number that fits an `i64`.
    Int(i64),
    /// A whole number above `i64::MAX`. A smaller one is taken for the [`Value::Int`] it equals.
    Uint(u64),
    /// A binary64 number. Stored with one NaN and without -0.0.
    Float(f64),
    /// UTF-8 text, compared byte by byte (which is the order of code points).
    Text(String),
    /// Bytes, compared one by one.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00 UTC, negative before.
    Timestamp(i64),
    /// Values in order, compared one by one; a list sorts before its continuations.
    List(Vec<Value>),
    /// Values by key, compared pair by pair in the order of the keys.
    Map(BTreeMap<Value, Value>),
}

impl Value {
    /// The same value, borrowed. Costs nothing.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(b) => ValueRef::Bool(*b),
            Value::Int(n) => ValueRef::Int(*n),
            Value::Uint(n) => ValueRef::Uint(*n),
            Value::Float(x) => ValueRef::Float(*x),
            Value::Text(s) => ValueRef::Text(s),
            Value::Bytes(b) => ValueRef::Bytes(b),
            Value::Timestamp(us) => ValueRef::Timestamp(*us),
            Value::List(items) => ValueRef::List(ListRef::from_values(items)),
            Value::Map(pairs) => ValueRef::Map(MapRef::from_tree(pairs)),
        }
    }

    /// Whether it is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The word for its type, as error messages use it.
    pub fn type_name(&self) -> &'static str {
        self.as_ref().type_name()
    }
}

/// Text in the notation of the query language: `null`, `true`, `1`, `1.0`, `'it''s'`, `x'00ff'`, `[1, 2]`, `{'a': 1}`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// As one byte string, the form a value has within a row, so that bytes from a peer are checked like a row's and nesting
/// cannot exhaust the stack.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let len = value_bytes::encoded_len(self.as_ref()).map_err(serde::ser::Error::custom)?;
        if len > ROW_BYTES_MAX {
            return Err(serde::ser::Error::custom("value is larger than a row may be"));
        }
        let mut bytes = vec![0; len];
        value_bytes::write(self.as_ref(), &mut &mut *bytes);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let bytes: &serde_bytes::Bytes = Deserialize::deserialize(deserializer)?;
        value_bytes::check(bytes).map_err(serde::de::Error::custom)?;
        Ok(value_bytes::read(bytes).to_value())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

macro_rules! from_small_integers {
    ($($int:ty),*) => { $(
        impl From<$int> for Value {
            fn from(n: $int) -> Value {
                Value::Int(i64::from(n))
            }
        }
    )* };
}
from_small_integers!(i8, i16, i32, i64, u8, u16, u32);

impl From<u64> for Value {
    fn from(n: u64) -> Value {
        i64::try_from(n).map_or(Value::Uint(n), Value::Int)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Value {
        Value::Float(x)
    }
}

impl From<f32> for Value {
    fn from(x: f32) -> Value {
        Value::Float(f64::from(x))
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::Text(s.to_owned())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Value {
        Value::Text(s)
    }
}

impl From<Vec<u8>> for Value {
    fn from(b: Vec<u8>) -> Value {
        Value::Bytes(b)
    }
}

impl From<&[u8]> for Value {
    fn from(b: &[u8]) -> Value {
        Value::Bytes(b.to_vec())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Value {
        Value::List(items)
    }
}

impl From<BTreeMap<Value, Value>> for Value {
    fn from(pairs: BTreeMap<Value, Value>) -> Value {
        Value::Map(pairs)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}
