//! Values as the client sees them, and the one place where they turn into messages and back. What comes from the wire is
//! checked here once: a kind that is missing, a map key given twice and nesting too deep are refused with the path of the
//! field. Equality and order are the store's business; here values are only carried.

use std::fmt;

use crate::errors::Error;
use crate::limits::VALUE_DEPTH_MAX;
use crate::proto::{self, value::Kind};

/// One value of one attribute, or one parameter of a query.
///
/// ```
/// use hypermnesia_rpc::Value;
/// assert_eq!(Value::from(7), Value::Int(7));
/// assert_eq!(Value::from("seven"), Value::Text("seven".into()));
/// assert_eq!(Value::from(u64::MAX), Value::Uint(u64::MAX));
/// assert_eq!(Value::from(None::<i64>), Value::Null);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number that fits an `i64`.
    Int(i64),
    /// A whole number above `i64::MAX`.
    Uint(u64),
    /// A double.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Values in order.
    List(Vec<Value>),
    /// Values by key; in answers sorted by key.
    Map(Vec<(Value, Value)>),
}

macro_rules! from_integers {
    ($($int:ty),*) => { $(
        impl From<$int> for Value {
            fn from(n: $int) -> Value {
                Value::Int(i64::from(n))
            }
        }
    )* };
}
from_integers!(i8, i16, i32, i64, u8, u16, u32);

impl From<u64> for Value {
    fn from(n: u64) -> Value {
        i64::try_from(n).map_or(Value::Uint(n), Value::Int)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Value {
        Value::Float(x)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bytes(bytes)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Value {
        Value::List(values)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// Text as the query language writes it: `null`, `1`, `'it''s'`, `x'00ff'`, `[1, 2]`, `{'a': 1}`; a timestamp in
/// microseconds.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Uint(n) => write!(f, "{n}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Value::Bytes(bytes) => {
                f.write_str("x'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("'")
            }
            Value::Timestamp(us) => write!(f, "timestamp {us}"),
            Value::List(values) => {
                f.write_str("[")?;
                for (n, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Map(entries) => {
                f.write_str("{")?;
                for (n, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

impl From<Value> for proto::Value {
    fn from(value: Value) -> proto::Value {
        let kind = match value {
            Value::Null => Kind::Null(proto::Null {}),
            Value::Bool(b) => Kind::Bool(b),
            Value::Int(n) => Kind::Int(n),
            Value::Uint(n) => Kind::Uint(n),
            Value::Float(x) => Kind::Float(x),
            Value::Text(text) => Kind::Text(text),
            Value::Bytes(bytes) => Kind::Bytes(bytes),
            Value::Timestamp(us) => Kind::TimestampUs(us),
            Value::List(values) => Kind::List(proto::List { values: into_messages(values) }),
            Value::Map(entries) => Kind::Map(proto::Map {
                entries: entries
                    .into_iter()
                    .map(|(key, value)| proto::MapEntry { key: Some(key.into()), value: Some(value.into()) })
                    .collect(),
            }),
        };
        proto::Value { kind: Some(kind) }
    }
}

impl From<Vec<Value>> for proto::Row {
    fn from(values: Vec<Value>) -> proto::Row {
        proto::Row { values: into_messages(values) }
    }
}

impl From<Vec<Value>> for proto::Key {
    fn from(values: Vec<Value>) -> proto::Key {
        proto::Key { values: into_messages(values) }
    }
}

/// Values as messages.
pub fn into_messages(values: Vec<Value>) -> Vec<proto::Value> {
    values.into_iter().map(Into::into).collect()
}

/// Values from messages; `field` is the path of the list they stand in.
pub fn from_messages(values: Vec<proto::Value>, field: &str) -> Result<Vec<Value>, Error> {
    let numbered = values.into_iter().enumerate();
    numbered.map(|(n, value)| from_message(value, &|| format!("{field}[{n}]"), 1)).collect()
}

/// One value; the path is built only when it is needed.
fn from_message(value: proto::Value, path: &dyn Fn() -> String, depth: usize) -> Result<Value, Error> {
    if depth > VALUE_DEPTH_MAX {
        return Err(Error::invalid(path(), format!("nested deeper than {VALUE_DEPTH_MAX}")));
    }
    Ok(
        match value
            .kind
            .ok_or_else(|| Error::invalid(path(), "no kind is set (null is a kind of its own)"))?
        {
            Kind::Null(_) => Value::Null,
            Kind::Bool(b) => Value::Bool(b),
            Kind::Int(n) => Value::Int(n),
            Kind::Uint(n) => Value::from(n),
            Kind::Float(x) => Value::Float(x),
            Kind::Text(text) => Value::Text(text),
            Kind::Bytes(bytes) => Value::Bytes(bytes),
            Kind::TimestampUs(us) => Value::Timestamp(us),
            Kind::List(list) => Value::List(list_from(list, path, depth)?),
            Kind::Map(map) => Value::Map(map_from(map, path, depth)?),
        },
    )
}

fn list_from(list: proto::List, path: &dyn Fn() -> String, depth: usize) -> Result<Vec<Value>, Error> {
    let numbered = list.values.into_iter().enumerate();
    numbered.map(|(n, value)| from_message(value, &|| format!("{}.list[{n}]", path()), depth + 1)).collect()
}

fn map_from(map: proto::Map, path: &dyn Fn() -> String, depth: usize) -> Result<Vec<(Value, Value)>, Error> {
    let entry = |(n, entry): (usize, proto::MapEntry)| {
        let key_path = || format!("{}.map[{n}].key", path());
        let value_path = || format!("{}.map[{n}].value", path());
        let key = from_message(entry.key.unwrap_or_default(), &key_path, depth + 1)?;
        let value = from_message(entry.value.unwrap_or_default(), &value_path, depth + 1)?;
        Ok((key, value))
    };
    map.entries.into_iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    //! Aim: values survive the wire, wrong ones are named by their path. Method: there and back, and single wrong ones.

    use super::*;

    #[test]
    fn every_kind_survives() {
        let values = vec![
            Value::Null,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Uint(u64::MAX),
            Value::Float(-0.5),
            Value::from("text"),
            Value::Bytes(vec![0, 255]),
            Value::Timestamp(-1),
            Value::List(vec![Value::Int(1), Value::List(vec![])]),
            Value::Map(vec![(Value::from("a"), Value::Null)]),
        ];
        assert_eq!(from_messages(into_messages(values.clone()), "row.values").expect("valid"), values);
    }

    #[test]
    fn a_value_without_kind_is_named() {
        let list = proto::List { values: vec![proto::Value { kind: None }] };
        let values = vec![Value::Null.into(), proto::Value { kind: Some(Kind::List(list)) }];
        let error = from_messages(values, "row.values").expect_err("no kind");
        assert_eq!(error.field(), Some("row.values[1].list[0]"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = (0..VALUE_DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        let error = from_messages(into_messages(vec![nested]), "parameters").expect_err("too deep");
        assert!(error.message().contains("nested deeper than 32"), "{error}");
    }
}
