//! The value of a bound expression over a joined row. Truth has three values; whole numbers are computed exactly and
//! what does not fit 64 bits is an error; text is not copied where looking at it is enough.

use std::cmp::Ordering;

use hypermnesia_store::{Row, Type, Value, ValueRef, order};

use crate::error::{ErrorKind, Fault, Span};
use crate::expression::{Expr, Place};
use crate::limits::VALUE_BYTES_MAX;
use crate::syntax::Binary;

pub(crate) mod cast;
pub(crate) mod like;
pub(crate) mod number;

pub(crate) type Evaluated<T> = Result<T, Fault>;

/// What expressions read: the row of each table (none where an outer join found none), or the values of a group.
#[derive(Clone, Copy)]
pub(crate) struct Tuple<'a> {
    pub(crate) rows: &'a [Option<Row>],
    pub(crate) slots: &'a [Value],
}

impl Tuple<'_> {
    pub(crate) const EMPTY: Tuple<'static> = Tuple { rows: &[], slots: &[] };
}

/// A value, borrowed where it lies somewhere already.
pub(crate) enum Datum<'a> {
    Borrowed(ValueRef<'a>),
    Owned(Value),
}

impl Datum<'_> {
    pub(crate) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Datum::Borrowed(value) => *value,
            Datum::Owned(value) => value.as_ref(),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        match self {
            Datum::Borrowed(value) => value.to_value(),
            Datum::Owned(value) => value,
        }
    }
}

impl From<Option<bool>> for Datum<'_> {
    fn from(truth: Option<bool>) -> Self {
        Datum::Borrowed(truth.map_or(ValueRef::Null, ValueRef::Bool))
    }
}

/// Compares as `=` and `<` do: `None` where one is null; numbers by value alone; all else by the one total order.
pub(crate) fn compare(a: ValueRef<'_>, b: ValueRef<'_>) -> Option<Ordering> {
    if a.is_null() || b.is_null() {
        return None;
    }
    Some(order::compare_numbers(a, b).unwrap_or_else(|| a.cmp(&b)))
}

pub(crate) fn value<'a>(expr: &'a Expr, tuple: Tuple<'a>) -> Evaluated<Datum<'a>> {
    Ok(match expr {
        Expr::Constant(value) => Datum::Borrowed(value.as_ref()),
        Expr::Column { slot, attribute, .. } => {
            let row = tuple.rows.get(*slot).and_then(Option::as_ref);
            Datum::Borrowed(row.map_or(ValueRef::Null, |row| row.attribute(*attribute)))
        }
        Expr::Slot(n) => Datum::Borrowed(tuple.slots.get(*n).map_or(ValueRef::Null, Value::as_ref)),
        Expr::Aggregate(_) => {
            unreachable!("grouping replaces aggregates by slots before anything is evaluated")
        }
        Expr::Not(..)
        | Expr::And(..)
        | Expr::Or(..)
        | Expr::IsTruth(..)
        | Expr::IsNull(_)
        | Expr::InList(..)
        | Expr::Between(..)
        | Expr::Like { .. } => truth_of(expr, tuple)?.into(),
        Expr::Binary(op, ..) if op.is_comparison() => truth_of(expr, tuple)?.into(),
        Expr::Binary(op, a, b, place) => {
            let (a, b) = (value(a, tuple)?, value(b, tuple)?);
            Datum::Owned(arithmetic(*op, a.as_ref(), b.as_ref(), place.0)?)
        }
        Expr::Negate(e, place) => {
            let zero_minus = value(e, tuple)?;
            Datum::Owned(number::negate(zero_minus.as_ref(), place.0)?)
        }
        Expr::Case { operand, branches, otherwise, .. } => {
            return case(operand.as_deref(), branches, otherwise, tuple);
        }
        Expr::Cast(e, ty, place) => {
            let from = value(e, tuple)?;
            Datum::Owned(cast::cast(from.as_ref(), *ty, place.0)?)
        }
        Expr::List(all) => {
            let items =
                all.iter().map(|e| value(e, tuple).map(Datum::into_value)).collect::<Evaluated<_>>()?;
            Datum::Owned(Value::List(items))
        }
        Expr::Map(pairs) => {
            let pair =
                |(k, v): &'a (Expr, Expr)| Ok((value(k, tuple)?.into_value(), value(v, tuple)?.into_value()));
            Datum::Owned(Value::Map(pairs.iter().map(pair).collect::<Evaluated<_>>()?))
        }
        Expr::Call(function, arguments, place) => return function.call(arguments, tuple, place.0),
    })
}

fn case<'a>(
    operand: Option<&'a Expr>,
    branches: &'a [(Expr, Expr)],
    otherwise: &'a Expr,
    tuple: Tuple<'a>,
) -> Evaluated<Datum<'a>> {
    let operand = operand.map(|e| value(e, tuple)).transpose()?;
    for (when, then) in branches {
        let taken = match &operand {
            Some(operand) => compare(operand.as_ref(), value(when, tuple)?.as_ref()) == Some(Ordering::Equal),
            None => truth_of(when, tuple)? == Some(true),
        };
        if taken {
            return value(then, tuple);
        }
    }
    value(otherwise, tuple)
}

/// The truth of a condition; `None` is unknown.
pub(crate) fn truth_of(expr: &Expr, tuple: Tuple<'_>) -> Evaluated<Option<bool>> {
    match expr {
        Expr::Not(e, _) => Ok(truth_of(e, tuple)?.map(|truth| !truth)),
        Expr::And(all, _) => chain(all, tuple, false),
        Expr::Or(all, _) => chain(all, tuple, true),
        Expr::IsNull(e) => Ok(Some(value(e, tuple)?.as_ref().is_null())),
        Expr::IsTruth(e, wanted, _) => Ok(Some(truth_of(e, tuple)? == *wanted)),
        Expr::Binary(op, a, b, _) if op.is_comparison() => {
            let (a, b) = (value(a, tuple)?, value(b, tuple)?);
            Ok(comparison(*op, a.as_ref(), b.as_ref()))
        }
        Expr::InList(e, list) => in_list(e, list, tuple),
        Expr::Between(e, low, high) => {
            let e = value(e, tuple)?;
            let above = comparison(Binary::GreaterOrEqual, e.as_ref(), value(low, tuple)?.as_ref());
            let below = comparison(Binary::LessOrEqual, e.as_ref(), value(high, tuple)?.as_ref());
            Ok(match (above, below) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            })
        }
        Expr::Like { value: e, pattern, escape, fold, place } => {
            let (e, pattern) = (value(e, tuple)?, value(pattern, tuple)?);
            match (e.as_ref(), pattern.as_ref()) {
                (ValueRef::Text(text), ValueRef::Text(pattern)) => {
                    like::matches(text, pattern, *escape, *fold, place.0).map(Some)
                }
                (ValueRef::Null, _) | (_, ValueRef::Null) => Ok(None),
                (other, ValueRef::Text(_)) | (_, other) => Err(wrong_type("LIKE", other, place.0)),
            }
        }
        _ => match value(expr, tuple)?.as_ref() {
            ValueRef::Bool(truth) => Ok(Some(truth)),
            ValueRef::Null => Ok(None),
            other => {
                let message = format!("a condition must be true or false, this is {}", other.type_name());
                Err(Fault::new(ErrorKind::Type, place_of(expr), message))
            }
        },
    }
}

/// AND stops at the first false, OR at the first true; an unknown on the way makes the rest unknown.
fn chain(all: &[Expr], tuple: Tuple<'_>, stop_at: bool) -> Evaluated<Option<bool>> {
    let mut result = Some(!stop_at);
    for e in all {
        match truth_of(e, tuple)? {
            Some(truth) if truth == stop_at => return Ok(Some(stop_at)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn in_list(e: &Expr, list: &[Expr], tuple: Tuple<'_>) -> Evaluated<Option<bool>> {
    let e = value(e, tuple)?;
    let mut result = Some(false);
    for item in list {
        match comparison(Binary::Equal, e.as_ref(), value(item, tuple)?.as_ref()) {
            Some(true) => return Ok(Some(true)),
            Some(false) => {}
            None => result = None,
        }
    }
    Ok(result)
}

pub(crate) fn comparison(op: Binary, a: ValueRef<'_>, b: ValueRef<'_>) -> Option<bool> {
    if matches!(op, Binary::DistinctFrom | Binary::NotDistinctFrom) {
        let same = match compare(a, b) {
            Some(ordering) => ordering == Ordering::Equal,
            None => a.is_null() && b.is_null(),
        };
        return Some(same == (op == Binary::NotDistinctFrom));
    }
    let ordering = compare(a, b)?;
    Some(match op {
        Binary::Equal => ordering == Ordering::Equal,
        Binary::NotEqual => ordering != Ordering::Equal,
        Binary::Less => ordering == Ordering::Less,
        Binary::LessOrEqual => ordering != Ordering::Greater,
        Binary::Greater => ordering == Ordering::Greater,
        _ => ordering != Ordering::Less,
    })
}

fn arithmetic(op: Binary, a: ValueRef<'_>, b: ValueRef<'_>, span: Span) -> Evaluated<Value> {
    if a.is_null() || b.is_null() {
        return Ok(Value::Null);
    }
    if op != Binary::Concat {
        return number::arithmetic(op, a, b, span);
    }
    let too_long = |bytes: usize| {
        (bytes > VALUE_BYTES_MAX).then(|| {
            Fault::new(ErrorKind::Limit, span, format!("the result is longer than {VALUE_BYTES_MAX} bytes"))
        })
    };
    match (a, b) {
        (ValueRef::Bytes(a), ValueRef::Bytes(b)) => {
            too_long(a.len() + b.len()).map_or_else(|| Ok(Value::Bytes([a, b].concat())), Err)
        }
        (ValueRef::List(a), ValueRef::List(b)) => {
            // An element takes a Value at least.
            too_long((a.len() + b.len()).saturating_mul(size_of::<Value>())).map_or_else(
                || Ok(Value::List(a.iter().chain(b.iter()).map(ValueRef::to_value).collect())),
                Err,
            )
        }
        (a @ (ValueRef::List(_) | ValueRef::Map(_) | ValueRef::Bytes(_)), _)
        | (_, a @ (ValueRef::List(_) | ValueRef::Map(_) | ValueRef::Bytes(_))) => {
            Err(wrong_type("||", a, span))
        }
        (a, b) => {
            let (a, b) = (cast::text(a), cast::text(b));
            too_long(a.len() + b.len()).map_or_else(|| Ok(Value::Text(a + &b)), Err)
        }
    }
}

pub(crate) fn wrong_type(operation: &str, value: ValueRef<'_>, span: Span) -> Fault {
    Fault::new(
        ErrorKind::Type,
        span,
        format!("{operation} does not take a value of type {}", value.type_name()),
    )
}

/// Where an expression stands, as far as it knows.
pub(crate) fn place_of(expr: &Expr) -> Span {
    match expr {
        Expr::Column { place, .. }
        | Expr::Not(_, place)
        | Expr::And(_, place)
        | Expr::Or(_, place)
        | Expr::Negate(_, place)
        | Expr::Binary(_, _, _, place)
        | Expr::IsTruth(_, _, place)
        | Expr::Like { place, .. }
        | Expr::Case { place, .. }
        | Expr::Cast(_, _, place)
        | Expr::Call(_, _, place) => place.0,
        other => other.children().first().map_or(Span::NONE, |child| place_of(child)),
    }
}

/// Computes now what depends on nothing. What fails now may never be reached, so it is left to fail then.
pub(crate) fn fold(expr: Expr) -> Expr {
    if expr.is_constant() || !expr.children().iter().all(|child| child.is_constant()) {
        return expr;
    }
    if matches!(expr, Expr::Column { .. } | Expr::Slot(_) | Expr::Aggregate(_)) {
        return expr;
    }
    match value(&expr, Tuple::EMPTY).map(Datum::into_value) {
        Ok(value) => Expr::Constant(value),
        Err(_) => expr,
    }
}

/// The type of a constant.
pub(crate) fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Any,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) | Value::Uint(_) => Type::Int,
        Value::Float(_) => Type::Float,
        Value::Text(_) => Type::Text,
        Value::Bytes(_) => Type::Bytes,
        Value::Timestamp(_) => Type::Timestamp,
        Value::List(_) => Type::List,
        Value::Map(_) => Type::Map,
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Place {
        Place(span)
    }
}
