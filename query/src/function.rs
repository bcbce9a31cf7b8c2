//! The functions of one row. Unless its line in [`Function::TABLE`] says otherwise, a function of null is null.

use hypermnesia_store::{Type, Value, ValueRef};

use crate::error::{ErrorKind, Fault, Span};
use crate::eval::{self, Datum, Evaluated, Tuple, number};
use crate::expression::Expr;
use crate::limits::VALUE_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Ceil,
    Coalesce,
    Concat,
    Contains,
    Element,
    Floor,
    Greatest,
    Least,
    Length,
    Lower,
    Mod,
    NullIf,
    Position,
    Power,
    Replace,
    Round,
    Sign,
    Sqrt,
    StartsWith,
    Substr,
    Trim,
    TrimLeft,
    TrimRight,
    TypeOf,
    Upper,
}

/// Name, function, fewest and most arguments, type of the result (`Any`: that of the arguments).
type Line = (&'static str, Function, usize, usize, Type);

impl Function {
    pub(crate) const TABLE: &'static [Line] = &[
        ("abs", Function::Abs, 1, 1, Type::Any),
        ("contains", Function::Contains, 2, 2, Type::Bool),
        ("array_contains", Function::Contains, 2, 2, Type::Bool),
        ("list_contains", Function::Contains, 2, 2, Type::Bool),
        ("ceil", Function::Ceil, 1, 1, Type::Any),
        ("ceiling", Function::Ceil, 1, 1, Type::Any),
        ("coalesce", Function::Coalesce, 1, 255, Type::Any),
        ("concat", Function::Concat, 1, 255, Type::Text),
        ("element", Function::Element, 2, 2, Type::Any),
        ("floor", Function::Floor, 1, 1, Type::Any),
        ("greatest", Function::Greatest, 1, 255, Type::Any),
        ("ifnull", Function::Coalesce, 2, 2, Type::Any),
        ("least", Function::Least, 1, 255, Type::Any),
        ("length", Function::Length, 1, 1, Type::Int),
        ("char_length", Function::Length, 1, 1, Type::Int),
        ("lower", Function::Lower, 1, 1, Type::Text),
        ("ltrim", Function::TrimLeft, 1, 1, Type::Text),
        ("mod", Function::Mod, 2, 2, Type::Any),
        ("nullif", Function::NullIf, 2, 2, Type::Any),
        ("position", Function::Position, 2, 2, Type::Int),
        ("power", Function::Power, 2, 2, Type::Float),
        ("replace", Function::Replace, 3, 3, Type::Text),
        ("round", Function::Round, 1, 2, Type::Any),
        ("rtrim", Function::TrimRight, 1, 1, Type::Text),
        ("sign", Function::Sign, 1, 1, Type::Int),
        ("sqrt", Function::Sqrt, 1, 1, Type::Float),
        ("starts_with", Function::StartsWith, 2, 2, Type::Bool),
        ("substr", Function::Substr, 2, 3, Type::Text),
        ("substring", Function::Substr, 2, 3, Type::Text),
        ("trim", Function::Trim, 1, 1, Type::Text),
        ("typeof", Function::TypeOf, 1, 1, Type::Text),
        ("upper", Function::Upper, 1, 1, Type::Text),
    ];

    pub(crate) fn named(name: &str) -> Option<&'static Line> {
        Function::TABLE.iter().find(|line| line.0.eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        Function::TABLE.iter().find(|line| line.1 == self).map_or("?", |line| line.0)
    }

    pub(crate) fn call<'a>(
        self,
        arguments: &'a [Expr],
        tuple: Tuple<'a>,
        span: Span,
    ) -> Evaluated<Datum<'a>> {
        if self == Function::Coalesce {
            for argument in arguments {
                let value = eval::value(argument, tuple)?;
                if !value.as_ref().is_null() {
                    return Ok(value);
                }
            }
            return Ok(Datum::Borrowed(ValueRef::Null));
        }
        let values = arguments.iter().map(|e| eval::value(e, tuple)).collect::<Evaluated<Vec<_>>>()?;
        let refs: Vec<ValueRef<'_>> = values.iter().map(Datum::as_ref).collect();
        self.apply(&refs, span).map(Datum::Owned)
    }

    fn apply(self, values: &[ValueRef<'_>], span: Span) -> Evaluated<Value> {
        match self {
            Function::Concat => return concat(values, span),
            Function::TypeOf => return Ok(Value::from(values[0].type_name())),
            Function::Greatest | Function::Least => return Ok(extreme(self, values)),
            Function::NullIf => {
                let equal = eval::compare(values[0], values[1]) == Some(std::cmp::Ordering::Equal);
                return Ok(if equal { Value::Null } else { values[0].to_value() });
            }
            _ if values.iter().any(|value| value.is_null()) => return Ok(Value::Null),
            _ => {}
        }
        let wrong = |value: ValueRef<'_>| eval::wrong_type(self.name(), value, span);
        let float = |value| number::float(value).ok_or_else(|| wrong(value));
        let text = |value| if let ValueRef::Text(text) = value { Ok(text) } else { Err(wrong(value)) };
        Ok(match self {
            Function::Lower => sized(text(values[0])?.to_lowercase(), span)?,
            Function::Upper => sized(text(values[0])?.to_uppercase(), span)?,
            Function::Trim => Value::from(text(values[0])?.trim()),
            Function::TrimLeft => Value::from(text(values[0])?.trim_start()),
            Function::TrimRight => Value::from(text(values[0])?.trim_end()),
            Function::StartsWith => Value::Bool(text(values[0])?.starts_with(text(values[1])?)),
            Function::Replace => replace(text(values[0])?, text(values[1])?, text(values[2])?, span)?,
            Function::Substr => substr(text(values[0])?, &values[1..], span)?,
            Function::Position => position(text(values[0])?, text(values[1])?),
            Function::Length => Value::from(length(values[0]).ok_or_else(|| wrong(values[0]))? as u64),
            Function::Mod => {
                number::arithmetic(crate::syntax::Binary::Remainder, values[0], values[1], span)?
            }
            Function::Abs => match values[0] {
                ValueRef::Float(x) => Value::Float(x.abs()),
                other => number::narrow(number::whole(other).ok_or_else(|| wrong(other))?.abs(), span)?,
            },
            Function::Sign => Value::Int(match float(values[0])? {
                x if x > 0.0 => 1,
                x if x < 0.0 => -1,
                _ => 0,
            }),
            Function::Sqrt => match float(values[0])? {
                x if x < 0.0 => {
                    return Err(Fault::new(ErrorKind::Value, span, "square root of a negative number"));
                }
                x => Value::Float(x.sqrt()),
            },
            Function::Power => {
                let (base, exponent) = (float(values[0])?, float(values[1])?);
                Value::Float(number::finite(base.powf(exponent), &[base, exponent], span)?)
            }
            Function::Ceil | Function::Floor | Function::Round => self.rounded(values, span)?,
            Function::Contains => Value::Bool(contains(values[0], values[1])),
            Function::Element => element(values[0], values[1]).ok_or_else(|| wrong(values[0]))?,
            Function::Coalesce
            | Function::Concat
            | Function::TypeOf
            | Function::Greatest
            | Function::Least
            | Function::NullIf => unreachable!("answered above"),
        })
    }

    fn rounded(self, values: &[ValueRef<'_>], span: Span) -> Evaluated<Value> {
        let ValueRef::Float(x) = values[0] else {
            let whole =
                number::whole(values[0]).ok_or_else(|| eval::wrong_type(self.name(), values[0], span))?;
            return number::narrow(whole, span);
        };
        Ok(Value::Float(match (self, values.get(1)) {
            (Function::Ceil, _) => x.ceil(),
            (Function::Floor, _) => x.floor(),
            (_, None) => x.round(),
            (_, Some(places)) => {
                let places =
                    number::whole(*places).ok_or_else(|| eval::wrong_type("round", *places, span))?;
                // A float has fewer than 330 decimal places before and behind the point.
                let scale = 10_f64.powi(places.clamp(-330, 330) as i32);
                let scaled = x * scale;
                if scaled.is_finite() && scale > 0.0 { scaled.round() / scale } else { x }
            }
        }))
    }
}

fn sized(text: String, span: Span) -> Evaluated<Value> {
    if text.len() > VALUE_BYTES_MAX { Err(too_long(span)) } else { Ok(Value::Text(text)) }
}

fn too_long(span: Span) -> Fault {
    Fault::new(ErrorKind::Limit, span, format!("the result is longer than {VALUE_BYTES_MAX} bytes"))
}

/// Nulls count as empty.
fn concat(values: &[ValueRef<'_>], span: Span) -> Evaluated<Value> {
    let mut all = String::new();
    for value in values.iter().filter(|value| !value.is_null()) {
        all.push_str(&eval::cast::text(*value));
        if all.len() > VALUE_BYTES_MAX {
            break;
        }
    }
    sized(all, span)
}

/// Nulls are passed over.
fn extreme(function: Function, values: &[ValueRef<'_>]) -> Value {
    let known = values.iter().copied().filter(|value| !value.is_null());
    let extreme = if function == Function::Greatest { known.max() } else { known.min() };
    extreme.map_or(Value::Null, ValueRef::to_value)
}

fn replace(text: &str, from: &str, to: &str, span: Span) -> Evaluated<Value> {
    if from.is_empty() {
        return Ok(Value::from(text));
    }
    let found = text.matches(from).count();
    if text.len().saturating_add(found.saturating_mul(to.len())) > 2 * VALUE_BYTES_MAX {
        return Err(too_long(span));
    }
    sized(text.replace(from, to), span)
}

/// From a character counted from 1, so many characters; what lies outside of the text is left out.
fn substr(text: &str, numbers: &[ValueRef<'_>], span: Span) -> Evaluated<Value> {
    let whole = |value| number::whole(value).ok_or_else(|| eval::wrong_type("substr", value, span));
    let start = whole(numbers[0])?;
    let end = match numbers.get(1) {
        Some(&count) => {
            let count = whole(count)?;
            if count < 0 {
                return Err(Fault::new(ErrorKind::Value, span, "the length of a part cannot be negative"));
            }
            start + count
        }
        None => i128::MAX,
    };
    let inside = (1_i128..).zip(text.chars()).filter(|(n, _)| (start..end).contains(n));
    Ok(Value::Text(inside.map(|(_, c)| c).collect()))
}

/// `position('b' IN 'abc')` is 2; 0 where it is not found.
fn position(part: &str, text: &str) -> Value {
    Value::from(text.find(part).map_or(0, |at| text[..at].chars().count() as u64 + 1))
}

/// Characters, bytes or elements.
fn length(value: ValueRef<'_>) -> Option<usize> {
    match value {
        ValueRef::Text(text) => Some(text.chars().count()),
        ValueRef::Bytes(bytes) => Some(bytes.len()),
        ValueRef::List(list) => Some(list.len()),
        ValueRef::Map(map) => Some(map.iter().count()),
        _ => None,
    }
}

/// Whether one of the elements of a list equals the value; what is no list is its own only element, as for an index with
/// an entry for each value. Null elements equal nothing.
fn contains(from: ValueRef<'_>, wanted: ValueRef<'_>) -> bool {
    let equals = |item| eval::compare(item, wanted) == Some(std::cmp::Ordering::Equal);
    match from {
        ValueRef::List(items) => items.iter().any(equals),
        single => equals(single),
    }
}

/// Of a list by its position from 1, of a map by its key; null where there is none.
fn element(from: ValueRef<'_>, which: ValueRef<'_>) -> Option<Value> {
    let found = match from {
        ValueRef::List(list) => {
            let index = number::whole(which).and_then(|n| usize::try_from(n - 1).ok());
            index.and_then(|index| list.iter().nth(index))
        }
        ValueRef::Map(map) => map.iter().find(|(key, _)| *key == which).map(|(_, value)| value),
        _ => return None,
    };
    Some(found.map_or(Value::Null, ValueRef::to_value))
}
