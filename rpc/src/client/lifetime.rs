//! How long a row lives that is put.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::{self, lifetime::End};

/// How long one row lives. Past its deadline it counts as absent in every read, on every member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// The table's time to live, or no end if it has none.
    #[default]
    OfTable,
    /// So long from when the server puts it, in whole milliseconds.
    For(Duration),
    /// Until this moment.
    Until(SystemTime),
    /// No end, whatever the table says.
    Forever,
}

impl Lifetime {
    pub(super) fn into_message(self) -> Option<proto::Lifetime> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let end = match self {
            Lifetime::OfTable => return None,
            Lifetime::For(time) => End::TtlMs(ms(time)),
            Lifetime::Until(moment) => End::UntilMs(moment.duration_since(UNIX_EPOCH).map_or(0, ms)),
            Lifetime::Forever => End::Forever(true),
        };
        Some(proto::Lifetime { end: Some(end) })
    }
}
