//! Values typed by people: keys and rows on the command line, cells of files. A value is read as what it looks like
//! (`7`, `1.5`, `true`, `null`, JSON lists and objects, `"7"` for the text), or as the type that is wanted.

use anyhow::{Result, anyhow, bail};
use hypermnesia::calendar::Moment;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::AttributeType;

use crate::json;

/// Reads text as what it looks like. Only JSON that says something no table can hold is wrong.
pub(crate) fn guess(text: &str) -> Result<Value> {
    let looks_like_json = text.starts_with(['"', '[', '{']) || matches!(text, "null" | "true" | "false");
    match looks_like_json.then(|| json::read(text)).flatten() {
        Some(read) => read,
        None => Ok(number(text).unwrap_or_else(|| text.into())),
    }
}

/// Reads text as a value of an attribute; empty text is null.
pub(crate) fn of_type(text: &str, wanted: AttributeType) -> Result<Value> {
    use AttributeType as T;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let wrong = |what: &str| anyhow!("{text:?} is not {what}");
    if let Some(spelled) = spelled(text, wanted)? {
        return Ok(spelled);
    }
    Ok(match wanted {
        T::Unspecified | T::Any => guess(text)?,
        T::Text => text.into(),
        T::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "1" => true.into(),
            "false" | "f" | "no" | "0" => false.into(),
            _ => bail!(wrong("true or false")),
        },
        T::Int => integer(text).ok_or_else(|| wrong("a whole number from -2^63 to 2^64-1"))?,
        T::Float => {
            let not = || wrong("a number (those that JSON has no word for are nan, inf and -inf)");
            let float = text.parse::<f64>().map_err(|_| not())?;
            if float.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
                bail!(wrong("within what a float can hold"));
            }
            Value::Float(float)
        }
        T::Timestamp => Value::Timestamp(moment(text).ok_or_else(|| {
            wrong(
                "a moment like 2026-11-21 or 2026-11-21T02:09:41.5Z, nor a number of microseconds since 1970",
            )
        })?),
        T::Bytes => bytes(text)?,
        T::List | T::Map => match (json::read(text).transpose()?, wanted) {
            (Some(list @ Value::List(_)), T::List) => list,
            (Some(map @ Value::Map(_)), T::Map) => map,
            _ => bail!(wrong(if wanted == T::List { "a JSON list" } else { "a JSON object" })),
        },
    })
}

/// What JSON has no word for may be written as in JSON also where the type is known: `{"$float":"inf"}`.
fn spelled(text: &str, wanted: AttributeType) -> Result<Option<Value>> {
    use AttributeType as T;
    if !text.starts_with('{') || !matches!(wanted, T::Float | T::Bytes | T::Timestamp) {
        return Ok(None);
    }
    Ok(json::read(text).transpose()?.filter(|value| match value {
        Value::Float(_) => wanted == T::Float,
        Value::Bytes(_) => wanted == T::Bytes,
        Value::Timestamp(_) => wanted == T::Timestamp,
        _ => false,
    }))
}

/// A whole number of the kind that tables hold, written plainly: no plus sign, no zero in front, so that `007` stays text.
pub(crate) fn integer(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    if !plain || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || text == "-0" {
        return None;
    }
    text.parse::<i64>().map(Value::Int).ok().or_else(|| text.parse::<u64>().map(Value::Uint).ok())
}

/// A number, whole or not. `NaN`, `inf` and the like are words, not numbers: `Nan` and `Inf` are names of places.
pub(crate) fn number(text: &str) -> Option<Value> {
    integer(text).or_else(|| {
        let starts = text.strip_prefix('-').unwrap_or(text);
        let digits_first = starts.starts_with(|first: char| first.is_ascii_digit());
        let zero_padded = starts.len() > 1
            && starts.starts_with('0')
            && !starts.starts_with("0.")
            && !starts.starts_with("0e");
        let float = text.parse::<f64>().ok().filter(|_| digits_first && !zero_padded)?;
        // Too large for an integer and without a point: a float would change its digits, so it is not a number to us.
        (text.contains(['.', 'e', 'E']) && float.is_finite()).then_some(Value::Float(float))
    })
}

/// Bytes from hexadecimal digits.
pub(crate) fn bytes(digits: &str) -> Result<Value> {
    let wrong = || anyhow!("{digits:?} is not an even number of hexadecimal digits");
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || !digits.len().is_multiple_of(2) {
        bail!(wrong());
    }
    let pairs = (0..digits.len()).step_by(2);
    let bytes: Result<Vec<u8>, _> = pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16)).collect();
    Ok(Value::Bytes(bytes.map_err(|_| wrong())?))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}"); // writing into a text cannot fail
        digits
    })
}

fn moment(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| Moment::parse(text).map(|moment| moment.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_what_it_looks_like() {
        // Aim: no surprise on the command line. Method: numbers at the edges, words that parse as floats, quoted text.
        for (text, value) in [
            ("7", Value::Int(7)),
            ("18446744073709551615", Value::Uint(u64::MAX)),
            ("18446744073709551616", "18446744073709551616".into()),
            ("1.5", Value::Float(1.5)),
            ("-2e3", Value::Float(-2000.0)),
            ("nan", "nan".into()),
            ("Inf", "Inf".into()),
            ("007", "007".into()),
            ("\"7\"", "7".into()),
            ("[1, \"a\"]", Value::List(vec![Value::Int(1), "a".into()])),
            ("null", Value::Null),
            ("AD.03", "AD.03".into()),
            ("[draft", "[draft".into()),
            ("", "".into()),
        ] {
            assert_eq!(guess(text).unwrap(), value, "{text:?}");
        }
    }

    #[test]
    fn a_wanted_type_is_kept_or_the_text_refused() {
        // Aim: what does not fit is named. Method: one good and one bad text for each type.
        assert_eq!(of_type("7", AttributeType::Text).unwrap(), "7".into());
        assert_eq!(of_type("7", AttributeType::Float).unwrap(), Value::Float(7.0));
        assert_eq!(of_type("00ff", AttributeType::Bytes).unwrap(), Value::Bytes(vec![0, 255]));
        assert_eq!(of_type("", AttributeType::Int).unwrap(), Value::Null);
        for (text, wanted, value) in [
            ("{\"$float\":\"inf\"}", AttributeType::Float, Value::Float(f64::INFINITY)),
            ("-inf", AttributeType::Float, Value::Float(f64::NEG_INFINITY)),
            ("{\"$bytes\":\"ff\"}", AttributeType::Bytes, Value::Bytes(vec![255])),
            ("{\"$timestamp\":7}", AttributeType::Timestamp, Value::Timestamp(7)),
        ] {
            assert_eq!(of_type(text, wanted).unwrap(), value, "{text}");
        }
        assert!(of_type("{\"$float\":\"large\"}", AttributeType::Float).is_err());
        for text in ["1709164800000000", "2024-02-29", "2024-02-29T00:00:00Z"] {
            let moment = Value::Timestamp(1_709_164_800_000_000);
            assert_eq!(of_type(text, AttributeType::Timestamp).unwrap(), moment);
        }
        for (text, wanted) in [
            ("x", AttributeType::Int),
            ("much", AttributeType::Float),
            ("{}", AttributeType::Float),
            ("1e400", AttributeType::Float),
            ("f0f", AttributeType::Bytes),
            ("{}", AttributeType::List),
            ("2024-02-30", AttributeType::Timestamp),
        ] {
            assert!(of_type(text, wanted).unwrap_err().to_string().contains(text));
        }
    }
}
