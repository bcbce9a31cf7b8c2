//! A moment as text and back: RFC 3339 in UTC with as many decimals as it needs. It knows the Gregorian calendar and no
//! time zones, and reads no clock. The day arithmetic is Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".

use std::fmt;

const DAY_US: i64 = 86_400_000_000;

/// Units of a length of time and their milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a length of time, a whole number and a unit: `500ms`, `90s`, `15m`, `12h`, `7d`. In milliseconds; `None` for
/// everything else.
///
/// ```
/// use hypermnesia_store::calendar::{length, length_text};
/// assert_eq!(length("15m"), Some(900_000));
/// assert_eq!(length("soon"), None);
/// assert_eq!(length_text(5_400_000), "90m");
/// ```
pub fn length(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*ms)
}

/// Milliseconds in the longest unit that says them exactly, as [`length`] reads it.
pub fn length_text(ms: u64) -> String {
    let exact = UNITS.iter().find(|(_, unit)| ms.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{ms}ms"), |(name, unit)| format!("{}{name}", ms / unit))
}

/// Microseconds since 1970-01-01T00:00:00 UTC, printed as `2026-11-21T02:09:41.5Z`. Years outside 0 to 9999 are printed
/// with a sign, as ISO 8601 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_US));
        let in_day = self.0.rem_euclid(DAY_US);
        let (seconds, us) = (in_day / 1_000_000, in_day % 1_000_000);
        match year {
            0..=9999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+05}")?,
        }
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if us != 0 {
            f.write_str(".")?;
            f.write_str(format!("{us:06}").trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl Moment {
    /// Reads `YYYY-MM-DD`, or `YYYY-MM-DDThh:mm:ss` (`T` or a space) with up to six decimals and `Z`, `+hh:mm` or nothing
    /// behind it, which means UTC. `None` for everything else, also for days that do not exist.
    ///
    /// ```
    /// use hypermnesia_store::calendar::Moment;
    /// assert_eq!(Moment::parse("1970-01-02"), Some(Moment(86_400_000_000)));
    /// assert_eq!(Moment::parse("1970-01-01T01:00:00.5+01:00"), Some(Moment(500_000)));
    /// assert_eq!(Moment::parse("2026-02-29"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Moment> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..10])?);
        let days = days_from_civil(year, month, day);
        if civil_from_days(days) != (year, month, day) {
            return None;
        }
        let in_day = if bytes.len() == 10 { 0 } else { time_of_day(&text[10..])? };
        Some(Moment(days * DAY_US + in_day))
    }
}

/// What follows the date, in microseconds; below zero or above a day where an offset moves it there.
fn time_of_day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 9 || !matches!(bytes[0], b'T' | b't' | b' ') || bytes[3] != b':' || bytes[6] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&text[1..3])?, number(&text[4..6])?, number(&text[7..9])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut us = ((hour * 60 + minute) * 60 + second) * 1_000_000;
    let mut rest = &text[9..];
    if let Some(decimals) = rest.strip_prefix('.') {
        let count = decimals.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=6).contains(&count) {
            return None;
        }
        let scale = 10_i64.pow(6 - u32::try_from(count).ok()?);
        us += number(&decimals[..count])? * scale;
        rest = &decimals[count..];
    }
    Some(us - offset_us(rest)?)
}

fn offset_us(text: &str) -> Option<i64> {
    let sign = match text.as_bytes() {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(&text[1..3])?, number(&text[4..6])?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month_from_march) = (year.div_euclid(400), (month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_print_as_known() {
        // Aim: calendar and signs are right. Method: moments whose text is known from elsewhere.
        for (us, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_000_000_000_500_000, "2001-09-09T01:46:40.5Z"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
            (i64::MAX, "+294247-01-10T04:00:54.775807Z"),
        ] {
            assert_eq!(Moment(us).to_string(), text);
        }
    }

    #[test]
    fn text_reads_back_and_nonsense_does_not() {
        // Aim: parse is the inverse of print within four-digit years. Method: steps of a prime number of us, then misfits.
        for n in -500..500_i64 {
            let moment = Moment(n * 61_234_567_890_123);
            assert_eq!(Moment::parse(&moment.to_string()), Some(moment), "{moment}");
        }
        for wrong in [
            "",
            "2026",
            "2026-13-01",
            "2026-1-01",
            "2026-01-01T24:00:00",
            "2026-01-01T00:00:00.",
            "2026-01-01x",
            "2026-01-01T00:00:00+1:00",
            "２０２６-01-01",
            "+026-01-01",
        ] {
            assert_eq!(Moment::parse(wrong), None, "{wrong:?}");
        }
    }
}
