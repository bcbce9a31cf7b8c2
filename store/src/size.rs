//! Numbers of bytes as text: `64MiB`, `1GiB`, `4096`. With the letters alone too (`64M`); always powers of two, since that is
//! what memory comes in.

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// The bytes that a text names; nothing where it names none, or more than 2^64 of them.
///
/// ```
/// use hypermnesia_store::size::{size, size_text};
/// assert_eq!(size("64MiB"), Some(64 << 20));
/// assert_eq!(size("64m"), Some(64 << 20));
/// assert_eq!(size("1000"), Some(1000));
/// assert_eq!(size("1.5GiB"), None);
/// assert_eq!(size_text(64 << 20), "64MiB");
/// ```
pub fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let named =
        |(name, _): &&(&str, u64)| unit.eq_ignore_ascii_case(name) || unit.eq_ignore_ascii_case(&name[..1]);
    match unit {
        "" => Some(number),
        _ => number.checked_mul(UNITS.iter().find(named)?.1),
    }
}

/// The same the other way, in the largest unit that divides it.
pub fn size_text(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_said() {
        // Aim: what is said is read again, and the rest refused. Method: each unit, wrong ones.
        for bytes in [0, 1, 1000, 1 << 10, 3 << 20, 5 << 30, 7 << 40, u64::MAX] {
            assert_eq!(size(&size_text(bytes)), Some(bytes));
        }
        for wrong in
            ["", "MiB", "-1", "1 MiB", "1PiB", "1MB", "99999999999999999999", "18446744073709551615KiB"]
        {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
