//! "Did you mean": the known name that is nearest to the one that was written.

use crate::error::Fault;

/// Adds a hint if a known name differs in few letters.
pub(crate) fn with_suggestion<'a>(
    fault: Fault,
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Fault {
    // Comparing costs the product of the lengths; no sensible near miss is long.
    const CHARS_MAX: usize = 64;
    if fault.hint.is_some() || written.chars().count() > CHARS_MAX {
        return fault;
    }
    let near = known
        .into_iter()
        .filter(|name| name.chars().count() <= CHARS_MAX)
        .map(|name| (distance(&written.to_lowercase(), &name.to_lowercase()), name))
        .min();
    match near {
        Some((steps, name)) if steps <= 1 + written.chars().count() / 4 => {
            fault.hint(format!("did you mean {name:?}?"))
        }
        _ => fault,
    }
}

/// Levenshtein's: how many letters to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
