//! Arithmetic. Whole numbers are computed in 128 bits and must fit `i64` or `u64` at the end; a float on either side
//! makes the result a float.

use hypermnesia_store::{Value, ValueRef};

use super::{Evaluated, wrong_type};
use crate::error::{ErrorKind, Fault, Span};
use crate::syntax::Binary;

pub(crate) fn whole(value: ValueRef<'_>) -> Option<i128> {
    match value {
        ValueRef::Int(n) => Some(i128::from(n)),
        ValueRef::Uint(n) => Some(i128::from(n)),
        _ => None,
    }
}

pub(crate) fn float(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Float(x) => Some(x),
        // Nearest float; who mixes them asks for it.
        other => whole(other).map(|n| n as f64),
    }
}

/// A whole number as a value, if it fits.
pub(crate) fn narrow(n: i128, span: Span) -> Evaluated<Value> {
    i64::try_from(n)
        .map(Value::Int)
        .or_else(|_| u64::try_from(n).map(Value::Uint))
        .map_err(|_| Fault::new(ErrorKind::Value, span, "the whole number does not fit 64 bits"))
}

pub(crate) fn negate(value: ValueRef<'_>, span: Span) -> Evaluated<Value> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Float(x) => Ok(Value::Float(-x)),
        other => narrow(-whole(other).ok_or_else(|| wrong_type("-", other, span))?, span),
    }
}

pub(crate) fn arithmetic(op: Binary, a: ValueRef<'_>, b: ValueRef<'_>, span: Span) -> Evaluated<Value> {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
        return whole_arithmetic(op, a, b, span);
    }
    let x = float(a).ok_or_else(|| wrong_type(op.sign(), a, span))?;
    let y = float(b).ok_or_else(|| wrong_type(op.sign(), b, span))?;
    let result = match op {
        Binary::Add => x + y,
        Binary::Subtract => x - y,
        Binary::Multiply => x * y,
        Binary::Divide | Binary::Remainder if y == 0.0 => return Err(by_zero(span)),
        Binary::Divide => x / y,
        _ => x % y,
    };
    finite(result, &[x, y], span).map(Value::Float)
}

/// A result that has left the floats although its operands were some. Infinities and NaN that are stored stay what they are.
pub(crate) fn finite(result: f64, operands: &[f64], span: Span) -> Evaluated<f64> {
    if result.is_finite() || !operands.iter().all(|operand| operand.is_finite()) {
        return Ok(result);
    }
    let why =
        if result.is_nan() { "the result is no real number" } else { "the result does not fit a float" };
    Err(Fault::new(ErrorKind::Value, span, why))
}

fn whole_arithmetic(op: Binary, a: i128, b: i128, span: Span) -> Evaluated<Value> {
    let result = match op {
        // Both sides have at most 64 bits and a sign, so only the product may leave 128 bits: 2^64 squared.
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a.saturating_mul(b),
        Binary::Divide | Binary::Remainder if b == 0 => return Err(by_zero(span)),
        Binary::Divide => a / b,
        _ => a % b,
    };
    narrow(result, span)
}

fn by_zero(span: Span) -> Fault {
    Fault::new(ErrorKind::Value, span, "division by zero")
}
