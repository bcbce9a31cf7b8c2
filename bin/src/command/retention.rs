//! How long rows of a table live and how many there may be, as the command line says it.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use hypermnesia::{calendar, size};
use hypermnesia_rpc::client::{Lifetime, TableDefinition, TableSpec};
use serde::Deserialize;

use crate::output::many;

/// A length of time: `500ms`, `90s`, `15m`, `12h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Length(pub(crate) Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Length, String> {
        let ms = calendar::length(text).filter(|ms| *ms > 0);
        let wrong = || {
            format!("{text:?} is no length of time of 1ms or more; one looks like 500ms, 90s, 15m, 12h or 7d")
        };
        ms.map(|ms| Length(Duration::from_millis(ms))).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Length, String> {
        text.parse()
    }
}

/// A number of bytes: `64MiB`, `2GiB`, `4194304`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || format!("{text:?} is no size; one looks like 64MiB, 2GiB or 4194304");
        size::size(text).filter(|bytes| *bytes > 0).map(Size).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Size, String> {
        text.parse()
    }
}

/// A number of rows that a table may have.
fn rows(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("a table of no rows holds nothing; without the option it has no bound".to_owned()),
        Ok(rows) => Ok(rows),
        Err(_) => Err("a number of rows is wanted, at least 1".to_owned()),
    }
}

/// Options of `table create` for tables whose rows do not stay for ever.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RetentionArgs {
    /// Rows expire so long after they were put (90s, 15m, 12h, 7d), unless they are put with a time of their own.
    #[arg(long, value_name = "TIME")]
    ttl: Option<Length>,
    /// Rows that were neither read nor written for so long go; with --local.
    #[arg(long, value_name = "TIME", requires = "local")]
    max_idle: Option<Length>,
    /// At most this many rows; a full table refuses to grow.
    #[arg(long, value_name = "N", value_parser = rows)]
    rows_max: Option<u64>,
    /// At most this many bytes of keys and rows (64MiB, 2GiB, 4194304).
    #[arg(long, value_name = "SIZE")]
    bytes_max: Option<Size>,
    /// A full table lets rows go, those that are asked for least; with --local.
    #[arg(long, requires = "local")]
    evict: bool,
    /// Each member has rows of its own, which never leave it.
    #[arg(long)]
    local: bool,
    /// A bag keeps a row that is put again as another one; with --local.
    #[arg(long, requires = "local")]
    duplicates: bool,
}

impl RetentionArgs {
    /// Adds what was asked for.
    pub(crate) fn apply(&self, mut spec: TableSpec) -> TableSpec {
        if let Some(Length(ttl)) = self.ttl {
            spec = spec.ttl(ttl);
        }
        if let Some(Length(idle)) = self.max_idle {
            spec = spec.max_idle(idle);
        }
        if let Some(rows) = self.rows_max {
            spec = spec.rows_max(rows);
        }
        if let Some(Size(bytes)) = self.bytes_max {
            spec = spec.bytes_max(bytes);
        }
        if self.evict {
            spec = spec.evict();
        }
        let spec = if self.local { spec.local() } else { spec };
        if self.duplicates { spec.duplicates() } else { spec }
    }
}

/// How long a row lives that is put.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LifetimeArgs {
    /// The row expires so long from now (90s, 15m, 12h, 7d). Default: as the table says.
    #[arg(long, value_name = "TIME", conflicts_with = "forever")]
    ttl: Option<Length>,
    /// The row does not expire, whatever the table says.
    #[arg(long)]
    forever: bool,
}

impl LifetimeArgs {
    pub(crate) fn lifetime(&self) -> Lifetime {
        match self.ttl {
            Some(Length(ttl)) => Lifetime::For(ttl),
            None if self.forever => Lifetime::Forever,
            None => Lifetime::OfTable,
        }
    }
}

/// A bound as it was said: in units where they say it exactly.
fn bytes_text(bytes: u64) -> String {
    match bytes.is_multiple_of(1 << 10) {
        true => size::size_text(bytes),
        false => many(bytes, "byte", "bytes"),
    }
}

/// What a table says about the life of its rows, in words; nothing where it says nothing.
pub(crate) fn words(table: &TableDefinition) -> Vec<String> {
    let retention = table.retention.unwrap_or_default();
    let mut words = Vec::new();
    if table.local {
        words.push("local to each member".to_owned());
    }
    if table.duplicates {
        words.push("identical rows kept".to_owned());
    }
    if retention.ttl_ms > 0 {
        words.push(format!("rows live {}", calendar::length_text(retention.ttl_ms)));
    }
    if retention.max_idle_ms > 0 {
        words.push(format!("rows go when idle for {}", calendar::length_text(retention.max_idle_ms)));
    }
    let full = if retention.evict { "evicts" } else { "refuses" };
    if retention.rows_max > 0 {
        words.push(format!("{full} beyond {}", many(retention.rows_max, "row", "rows")));
    }
    if retention.bytes_max > 0 {
        words.push(format!("{full} beyond {}", bytes_text(retention.bytes_max)));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_in_units_and_never_none() {
        // Aim: a bound of no rows or bytes is no bound at all on the wire, so nobody may ask for one. Method: good and wrong
        // texts.
        assert_eq!(("64MiB".parse(), "4096".parse()), (Ok(Size(64 << 20)), Ok(Size(4096))));
        assert!(
            "0".parse::<Size>().is_err() && "1 MB".parse::<Size>().is_err_and(|why| why.contains("64MiB"))
        );
        assert_eq!(rows("1"), Ok(1));
        assert!(rows("0").is_err_and(|why| why.contains("no bound")) && rows("-1").is_err());
        assert_eq!((bytes_text(64 << 20), bytes_text(1)), ("64MiB".to_owned(), "1 byte".to_owned()));
    }

    #[test]
    fn lengths_of_time_are_read_and_said() {
        // Aim: what help promises is understood and said again; the rest is refused with examples. Method: each unit, wrong ones.
        for (text, ms) in
            [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("12h", 43_200_000), ("7d", 604_800_000)]
        {
            assert_eq!(text.parse::<Length>(), Ok(Length(Duration::from_millis(ms))));
            assert_eq!(calendar::length_text(ms).parse::<Length>(), Ok(Length(Duration::from_millis(ms))));
        }
        for wrong in ["", "5", "s", "-1s", "1.5s", "1w", "0s", "99999999999999999999d", "1 s"] {
            assert!(wrong.parse::<Length>().is_err_and(|why| why.contains("15m")), "{wrong}");
        }
    }
}
