//! "Did you mean": the known name that is nearest to the one that was written, if it is near at all.

use crate::error::Fault;

/// Adds a hint if a known name differs in a third of its letters at most; a name of one or two letters only in their case.
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
        Some((steps, name)) if steps <= written.chars().count().max(name.chars().count()) / 3 => {
            fault.hint(format!("did you mean {name:?}?"))
        }
        _ => fault,
    }
}

/// How many letters to insert, delete, replace or exchange with their neighbour: Levenshtein's, as restricted by Damerau.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (mut above, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replace = row[j] + usize::from(a[i] != b[j]);
            let mut steps = replace.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                steps = steps.min(above[j - 1] + 1);
            }
            next.push(steps);
        }
        above = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Span};

    #[test]
    fn only_near_names_are_suggested() {
        // Aim: a hint helps or is not there. Method: names written wrongly beside one that is known.
        let hint = |written, known| {
            let fault = Fault::new(ErrorKind::Name, Span::NONE, "");
            with_suggestion(fault, written, [known]).hint.is_some()
        };
        for (written, known) in
            [("nmae", "name"), ("nam", "name"), ("citeis", "cities"), ("A", "a"), ("idd", "id"), ("Id", "iD")]
        {
            assert!(hint(written, known), "{written} for {known}");
        }
        for (written, known) in [("x", "a"), ("tt", "t"), ("id", "od"), ("town", "name"), ("", "a")] {
            assert!(!hint(written, known), "{written} for {known}");
        }
    }
}
