//! One named, typed attribute of a table, and which values it takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::Value;
use crate::value_ref::ValueRef;

/// Which values an attribute takes. Null is taken by nullable attributes, whatever their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// Every value.
    Any,
    /// `true` and `false`.
    Bool,
    /// Whole numbers from `i64::MIN` to `u64::MAX`.
    Int,
    /// binary64. Whole numbers that are exactly a float are taken and stored as that float.
    Float,
    /// UTF-8.
    Text,
    /// Bytes.
    Bytes,
    /// Microseconds since 1970, UTC.
    Timestamp,
    /// Lists of any values.
    List,
    /// Maps of any values.
    Map,
}

impl Type {
    /// All types, in the order in which they are listed to users.
    pub const ALL: [Type; 9] = [
        Type::Any,
        Type::Bool,
        Type::Int,
        Type::Float,
        Type::Text,
        Type::Bytes,
        Type::Timestamp,
        Type::List,
        Type::Map,
    ];

    /// The word for it in the query language, the command line and messages.
    pub fn name(self) -> &'static str {
        match self {
            Type::Any => "any",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Float => "float",
            Type::Text => "text",
            Type::Bytes => "bytes",
            Type::Timestamp => "timestamp",
            Type::List => "list",
            Type::Map => "map",
        }
    }

    /// The value as an attribute of this type stores it, `None` if it takes no such value. Null is taken by every type.
    #[inline]
    pub fn admit(self, value: ValueRef<'_>) -> Option<ValueRef<'_>> {
        match (self, value) {
            (Type::Any, _)
            | (_, ValueRef::Null)
            | (Type::Bool, ValueRef::Bool(_))
            | (Type::Int, ValueRef::Int(_) | ValueRef::Uint(_))
            | (Type::Float, ValueRef::Float(_))
            | (Type::Text, ValueRef::Text(_))
            | (Type::Bytes, ValueRef::Bytes(_))
            | (Type::Timestamp, ValueRef::Timestamp(_))
            | (Type::List, ValueRef::List(_))
            | (Type::Map, ValueRef::Map(_)) => Some(value),
            (Type::Float, whole) => {
                let n = whole.as_whole()?;
                // Within u64 and i64 by origin, so both casts stay in range and the comparison is exact.
                let x = n as f64;
                (x as i128 == n).then_some(ValueRef::Float(x))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no type is called {0:?} (there are any, bool, int, float, text, bytes, timestamp, list, map)")]
pub struct NoSuchType(pub String);

impl FromStr for Type {
    type Err = NoSuchType;

    fn from_str(text: &str) -> Result<Type, NoSuchType> {
        let named = Type::ALL.into_iter().find(|each| each.name().eq_ignore_ascii_case(text));
        named.ok_or_else(|| NoSuchType(text.chars().take(64).collect()))
    }
}

/// One attribute of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attribute {
    /// Unique in its table, compared exactly.
    #[serde(deserialize_with = "crate::codec::text")]
    pub name: String,
    /// What it takes.
    #[serde(rename = "type")]
    pub ty: Type,
    /// Whether it also takes null. Attributes of the key never do.
    pub nullable: bool,
    /// What it becomes where a row is written by the names of its attributes and this one is not among them.
    pub default: Option<Value>,
}
