//! JSON as values and values as JSON, with nothing lost between: an integer that no table can hold and an object that names
//! a key twice are refused, never bent. What JSON has no word for is an object with one key: `{"$float":"nan"}` (also
//! `inf`, `-inf`), `{"$bytes":"00ff"}`, `{"$timestamp":7}`, and `{"$map":[[KEY,VALUE],...]}` for a map whose keys are not
//! all texts, or which would itself look like one of these.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result, anyhow, bail};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::AttributeType;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::literal;

/// Deepest nesting that is read: each of the 32 levels that a value may have can take three, written as `$map`. Deeper text
/// must be refused here, before it exhausts the stack.
const DEPTH_MAX: usize = 100;

/// What to write where JSON has no word.
const SPELLED: &str = r#"write {"$float":"nan"} (or "inf", "-inf")"#;

/// An object as it is written: names in their order, none twice, values unread.
#[derive(Debug)]
pub(crate) struct Object(pub(crate) Vec<(String, Box<RawValue>)>);

impl Object {
    /// Reads one object.
    pub(crate) fn read(text: &[u8]) -> Result<Object> {
        // The text is one line of a file that has a number of its own.
        serde_json::from_slice(text).map_err(|error| {
            let said = error.to_string().replace(" at line 1 column ", " at column ");
            // Some programs write them all the same.
            let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| {
                text.get(error.column().saturating_sub(1)..).is_some_and(|at| at.starts_with(word.as_bytes()))
            });
            match word {
                Some(word) => anyhow!("{said}: JSON has no word for {word}, {SPELLED}"),
                None => anyhow!(said),
            }
        })
    }

    /// The value under this name, unread.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let (mut fields, mut seen) = (Vec::new(), HashSet::new());
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if !seen.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("the key {name:?} stands there twice")));
            }
            fields.push((name, value));
        }
        Ok(Object(fields))
    }
}

/// Reads text that is JSON; `None` when it is none.
pub(crate) fn read(text: &str) -> Option<Result<Value>> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    Some(value(raw))
}

/// JSON that was read without being looked at, as a value.
pub(crate) fn from(json: &serde_json::Value) -> Result<Value> {
    value_at(&json.to_string(), 0)
}

/// Reads JSON as what it says.
pub(crate) fn value(raw: &RawValue) -> Result<Value> {
    value_at(raw.get(), 0)
}

/// Reads JSON as a value of an attribute: JSON says itself what it is, except that bytes, timestamps and floats may be
/// written as text and whole numbers, and that everything has a text.
pub(crate) fn of_type(raw: &RawValue, wanted: AttributeType) -> Result<Value> {
    use AttributeType as T;
    let text = raw.get();
    match (wanted, text.as_bytes()) {
        (T::Text, [b'-' | b'0'..=b'9' | b't' | b'f' | b'[' | b'{', ..]) => Ok(text.into()),
        (T::Float, [b'-' | b'0'..=b'9', ..]) => match literal::integer(text) {
            Some(whole) => Ok(whole),
            None => float(text),
        },
        (T::Float, [b'"', ..]) => bail!("{text} is a text and no float; for what is no number {SPELLED}"),
        (T::Bytes, [b'"', ..]) => literal::bytes(&serde_json::from_str::<String>(text)?),
        (T::Timestamp, [b'-' | b'0'..=b'9', ..]) => literal::of_type(text, wanted),
        _ => value(raw),
    }
}

fn value_at(text: &str, depth: usize) -> Result<Value> {
    if depth > DEPTH_MAX {
        bail!("lists and objects are nested deeper than {DEPTH_MAX}");
    }
    Ok(match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => true.into(),
        Some(b'f') => false.into(),
        Some(b'"') => Value::Text(serde_json::from_str(text)?),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            Value::List(items.iter().map(|item| value_at(item.get(), depth + 1)).collect::<Result<_>>()?)
        }
        Some(b'{') => object(serde_json::from_str(text)?, depth)?,
        _ => number(text)?,
    })
}

fn object(Object(fields): Object, depth: usize) -> Result<Value> {
    if let [(name, inner)] = &fields[..]
        && is_spelling(name)
    {
        return spelled(name, inner.get(), depth).with_context(|| format!("{{{name:?}: ...}}"));
    }
    let pair = |(name, raw): (String, Box<RawValue>)| Ok((name.into(), value_at(raw.get(), depth + 1)?));
    Ok(Value::Map(fields.into_iter().map(pair).collect::<Result<_>>()?))
}

fn is_spelling(name: &str) -> bool {
    matches!(name, "$float" | "$bytes" | "$timestamp" | "$map")
}

fn spelled(name: &str, text: &str, depth: usize) -> Result<Value> {
    Ok(match (name, value_at(text, depth + 1)?) {
        ("$float", Value::Text(word)) => match word.as_str() {
            "nan" => Value::Float(f64::NAN),
            "inf" => Value::Float(f64::INFINITY),
            "-inf" => Value::Float(f64::NEG_INFINITY),
            _ => bail!("\"nan\", \"inf\" or \"-inf\" is wanted"),
        },
        ("$bytes", Value::Text(digits)) => literal::bytes(&digits)?,
        ("$timestamp", Value::Int(us)) => Value::Timestamp(us),
        ("$map", Value::List(pairs)) => Value::Map(pairs.into_iter().map(pair).collect::<Result<_>>()?),
        _ => bail!(
            "a text is wanted behind $float and $bytes, a whole number behind $timestamp, pairs behind $map"
        ),
    })
}

fn pair(item: Value) -> Result<(Value, Value)> {
    match item {
        Value::List(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([key, value]) => Ok((key, value)),
            Err(_) => bail!("a pair [KEY, VALUE] is wanted"),
        },
        _ => bail!("a pair [KEY, VALUE] is wanted"),
    }
}

fn number(text: &str) -> Result<Value> {
    if let Some(whole) = literal::integer(text) {
        return Ok(whole);
    }
    if text.contains(['.', 'e', 'E']) || text == "-0" {
        return float(text);
    }
    bail!(
        "{text} is beyond the whole numbers, which go from -2^63 to 2^64-1 (a float is written with a point)"
    )
}

fn float(text: &str) -> Result<Value> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Value::Float(x)),
        _ => bail!("{text} is beyond what a float can hold"),
    }
}

/// A value as JSON where nothing else says its type.
pub(crate) fn of(value: &Value) -> serde_json::Value {
    use serde_json::{Value as Json, json};
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(n) => (*n).into(),
        Value::Uint(n) => (*n).into(),
        Value::Float(x) if x.is_nan() => json!({"$float": "nan"}),
        Value::Float(x) if x.is_infinite() => json!({"$float": if *x > 0.0 { "inf" } else { "-inf" }}),
        Value::Float(x) => (*x).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => json!({"$bytes": literal::hex(bytes)}),
        Value::Timestamp(us) => json!({"$timestamp": us}),
        Value::List(values) => values.iter().map(of).collect(),
        Value::Map(pairs) => map(pairs),
    }
}

/// A value as JSON where its place says its type: bytes as hexadecimal text, timestamps as microseconds.
pub(crate) fn of_typed(value: &Value) -> serde_json::Value {
    match value {
        Value::Bytes(bytes) => literal::hex(bytes).into(),
        Value::Timestamp(us) => (*us).into(),
        other => of(other),
    }
}

fn map(pairs: &[(Value, Value)]) -> serde_json::Value {
    let name = |key: &Value| if let Value::Text(text) = key { Some(text.clone()) } else { None };
    let object: Option<serde_json::Map<_, _>> =
        pairs.iter().map(|(key, value)| Some((name(key)?, of(value)))).collect();
    match object {
        Some(object) if object.len() != 1 || !object.keys().all(|name| is_spelling(name)) => object.into(),
        _ => {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| [of(key), of(value)]).collect();
            serde_json::json!({"$map": pairs})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_json() {
        // Aim: what JSON has no word for is not lost. Method: each such value, alone and inside a list and a map, and maps
        // that look like a spelling; compared as text, since NaN equals nothing.
        let values = [
            Value::Float(f64::NAN),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(-0.0),
            Value::Float(1e300),
            Value::Uint(u64::MAX),
            Value::Int(i64::MIN),
            Value::Bytes(vec![]),
            Value::Timestamp(-7),
            Value::Map(vec![(Value::Int(1), Value::Bytes(vec![255])), (Value::Null, Value::Null)]),
            Value::Map(vec![("$float".into(), "nan".into())]),
            Value::Map(vec![("$ref".into(), 1.into())]),
            Value::Map(vec![]),
            "".into(),
        ];
        let nested = Value::List(vec![Value::Map(vec![("a".into(), Value::List(values.to_vec()))])]);
        for value in values.iter().chain([&nested]) {
            let text = of(value).to_string();
            let back = read(&text).expect("it is JSON").unwrap();
            assert_eq!(format!("{back:?}"), format!("{value:?}"), "{text}");
        }
    }

    #[test]
    fn what_would_be_bent_is_refused() {
        // Aim: no number changes, no key is dropped. Method: one case each, alone and nested; the float column takes it.
        for text in [
            "99999999999999999999",
            "[-9223372036854775809]",
            "{\"a\":1,\"a\":2}",
            "[{\"a\":{\"b\":1,\"b\":1}}]",
        ] {
            assert!(read(text).expect("it is JSON").is_err(), "{text}");
        }
        assert!(read("{\"$float\":\"x\"}").expect("it is JSON").is_err());
        assert!(read("1e999").expect("it is JSON").is_err());
        assert!(read(&format!("{}{}", "[".repeat(200), "]".repeat(200))).expect("it is JSON").is_err());
        assert!(read("[1").is_none());
        let large: &RawValue = serde_json::from_str("99999999999999999999").unwrap();
        assert_eq!(of_type(large, AttributeType::Float).unwrap(), Value::Float(1e20));
        assert!(of_type(large, AttributeType::Int).is_err());
        let text: &RawValue = serde_json::from_str("\"inf\"").unwrap();
        assert!(of_type(text, AttributeType::Float).unwrap_err().to_string().contains("{\"$float\":"));
        assert_eq!(of_type(text, AttributeType::Any).unwrap(), "inf".into());
        for line in ["{\"a\":NaN}", "{\"a\":[1,-Infinity]}"] {
            let told = Object::read(line.as_bytes()).unwrap_err().to_string();
            assert!(told.contains("{\"$float\":"), "{told}");
        }
    }
}
