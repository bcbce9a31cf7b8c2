//! LIKE: `%` stands for any text, `_` for one character, an escape character (backslash unless ESCAPE says otherwise)
//! takes the next one literally.

use super::Evaluated;
use crate::error::{ErrorKind, Fault, Span};

enum Part {
    Any,
    One,
    Char(char),
}

/// Whether the text matches. Backtracks to the last `%` only, so the cost is at most the product of the lengths; `fold`
/// compares without regard to case.
pub(crate) fn matches(
    text: &str,
    pattern: &str,
    escape: Option<char>,
    fold: bool,
    span: Span,
) -> Evaluated<bool> {
    let (lower_text, lower_pattern);
    let (text, pattern) = if fold {
        (lower_text, lower_pattern) = (text.to_lowercase(), pattern.to_lowercase());
        (lower_text.as_str(), lower_pattern.as_str())
    } else {
        (text, pattern)
    };
    let parts = parts(pattern, escape, span)?;
    let (mut rest, mut part) = (text, 0);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let mut chars = rest.chars();
        let next = chars.next();
        match (parts.get(part), next) {
            (Some(Part::Any), _) => {
                retry = Some((part, rest));
                part += 1;
            }
            (Some(Part::One), Some(_)) => (part, rest) = (part + 1, chars.as_str()),
            (Some(Part::Char(wanted)), Some(found)) if *wanted == found => {
                (part, rest) = (part + 1, chars.as_str())
            }
            (None, None) => return Ok(true),
            _ => {
                let Some((any, from)) = retry else { return Ok(false) };
                let mut chars = from.chars();
                if chars.next().is_none() {
                    return Ok(false);
                }
                (part, rest) = (any + 1, chars.as_str());
                retry = Some((any, rest));
            }
        }
    }
}

fn parts(pattern: &str, escape: Option<char>, span: Span) -> Evaluated<Vec<Part>> {
    let escape = escape.unwrap_or('\\');
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            c if c == escape => Part::Char(chars.next().ok_or_else(|| {
                Fault::new(ErrorKind::Value, span, "the pattern ends with its escape character")
            })?),
            '%' => Part::Any,
            '_' => Part::One,
            c => Part::Char(c),
        });
    }
    Ok(parts)
}

/// The text before the first wildcard, and whether the pattern is that and a final `%` alone. `None` without wildcards.
pub(crate) fn prefix(pattern: &str, escape: Option<char>) -> Option<(String, bool)> {
    let parts = parts(pattern, escape, Span::NONE).ok()?;
    let mut prefix = String::new();
    for (n, part) in parts.iter().enumerate() {
        match part {
            Part::Char(c) => prefix.push(*c),
            Part::Any => return Some((prefix, n + 1 == parts.len())),
            Part::One => return Some((prefix, false)),
        }
    }
    Some((prefix, false))
}
