//! Tables of two numbers: keys, rows and what is in them.

use hypermnesia_store::{Body, Key, Row, SchemaVersion, Value};

pub(crate) fn key(k: i64) -> Key {
    Key::encode(&[Value::Int(k)]).expect("small")
}

pub(crate) fn row(k: i64, v: i64) -> Row {
    Row::encode(SchemaVersion::FIRST, &[Value::Int(k), Value::Int(v)]).expect("small")
}

/// The second number of a key's first row.
pub(crate) fn int(body: &Body) -> i64 {
    match body.rows()[0].attribute(1).to_value() {
        Value::Int(n) => n,
        other => panic!("{other:?}"),
    }
}
