//! CAST, and the text of values.

use hypermnesia_store::calendar::Moment;
use hypermnesia_store::{Type, Value, ValueRef};

use super::{Evaluated, number};
use crate::error::{ErrorKind, Fault, Span};

/// The text that CAST and `||` make: as printed, but text without quotes.
pub(crate) fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => text.to_owned(),
        ValueRef::Timestamp(us) => Moment(us).to_string(),
        other => other.to_string(),
    }
}

pub(crate) fn cast(value: ValueRef<'_>, ty: Type, span: Span) -> Evaluated<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(admitted) = ty.admit(value) {
        return Ok(admitted.to_value());
    }
    let cast = match (ty, value) {
        (Type::Text, ValueRef::Bytes(bytes)) => std::str::from_utf8(bytes).ok().map(Value::from),
        (Type::Text, other) => Some(Value::Text(text(other))),
        (Type::Bytes, ValueRef::Text(text)) => Some(Value::Bytes(text.as_bytes().to_vec())),
        (Type::Float, ValueRef::Text(text)) => float(text.trim()).map(Value::Float),
        (Type::Float, whole) => number::float(whole).map(Value::Float),
        (Type::Int, ValueRef::Bool(truth)) => Some(Value::Int(i64::from(truth))),
        (Type::Int, ValueRef::Timestamp(us)) => Some(Value::Int(us)),
        (Type::Int, ValueRef::Text(text)) => {
            text.trim().parse::<i128>().ok().and_then(|n| number::narrow(n, span).ok())
        }
        (Type::Int, ValueRef::Float(x)) => rounded(x, span),
        (Type::Bool, ValueRef::Int(n)) => Some(Value::Bool(n != 0)),
        (Type::Bool, ValueRef::Text(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        (Type::Timestamp, ValueRef::Text(text)) => {
            Moment::parse(text).map(|moment| Value::Timestamp(moment.0))
        }
        (Type::Timestamp, ValueRef::Int(us)) => Some(Value::Timestamp(us)),
        _ => None,
    };
    cast.ok_or_else(|| {
        let shown: String = value.to_string().chars().take(40).collect();
        Fault::new(ErrorKind::Value, span, format!("{shown} cannot be cast to {ty}"))
    })
}

/// Infinity is what is called so; digits that are beyond the floats are none.
fn float(text: &str) -> Option<f64> {
    let digits = text.contains(|c: char| c.is_ascii_digit());
    text.parse().ok().filter(|x: &f64| x.is_finite() || !digits)
}

/// To the nearest whole number, halves away from zero; nothing beyond 64 bits.
fn rounded(x: f64, span: Span) -> Option<Value> {
    // 2^64; beyond it, and for NaN, the cast below would saturate.
    const ABOVE: f64 = 18_446_744_073_709_551_616.0;
    (x.abs() < ABOVE).then(|| number::narrow(x.round() as i128, span).ok())?
}
