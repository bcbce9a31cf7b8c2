//! How long a call may take: what its caller names, by the header `grpc-timeout` or a field of the request, or what the call
//! takes by default. Whoever names a time is willing to wait, so such a call also waits for tables that are still loading;
//! the others hear at once that they are not there yet.

use std::time::{Duration, Instant};

use hypermnesia::{Error as NodeError, TxOptions};
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::Services;
use super::door::Door;
use crate::errors::Error;
use crate::limits::{ANSWER_TIME_MAX, LOADING_LOOK, TIMEOUT_DEFAULT, TIMEOUT_MAX};

/// As good as never; keeps additions from overflowing.
const NEVER: Duration = Duration::from_secs(86_400);

/// When a call ends at the latest, where its caller named that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadline {
    until: Option<Instant>,
}

impl Deadline {
    /// Of a call with this header. A little before the caller's own: an answer that says what came of the call is worth more
    /// than the transport's, which only says that time is over.
    pub(super) fn of(metadata: &MetadataMap) -> Deadline {
        let named = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(duration);
        Deadline::default().sooner(named.map(|time| time - (time / 10).min(ANSWER_TIME_MAX)))
    }

    /// The same, ended by a field of the request too, in milliseconds; 0 names nothing.
    pub(super) fn named(self, timeout_ms: u32) -> Deadline {
        self.sooner((timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into())))
    }

    fn sooner(self, time: Option<Duration>) -> Deadline {
        let named = time.map(|time| Instant::now() + time.min(NEVER));
        Deadline { until: self.until.into_iter().chain(named).min() }
    }

    /// The time that is left, within [`TIMEOUT_MAX`], or what a call takes that names none.
    pub(super) fn time(self, default: Duration) -> Duration {
        self.until.map_or(default, |until| until.saturating_duration_since(Instant::now()).min(TIMEOUT_MAX))
    }

    /// The options of a transaction that ends by then.
    pub(super) fn options(self) -> TxOptions {
        TxOptions::new().deadline(self.time(TIMEOUT_DEFAULT))
    }
}

impl Door {
    /// Comes back when the tables here are loaded. Waits for that as long as the caller named, and not at all where it named
    /// nothing. Nothing is held meanwhile, so [`TIMEOUT_MAX`] is no bound here.
    pub(super) async fn loaded(&self, by: Deadline) -> Result<(), Error> {
        if by.until.is_none() {
            return Ok(());
        }
        while let Err(error) = self.node.wait_for_tables(&[], Duration::ZERO) {
            let left = by.time(Duration::ZERO);
            if left.is_zero() || !matches!(error, NodeError::NotReady { .. }) {
                return Err(error.into());
            }
            // The node tells nobody when it becomes ready.
            tokio::time::sleep(left.min(LOADING_LOOK)).await;
        }
        Ok(())
    }
}

impl Services {
    /// A request about tables, once they are loaded, and how long it may take.
    pub(super) async fn admit<T>(&self, request: Request<T>) -> Result<(T, Deadline), Error> {
        let by = Deadline::of(request.metadata());
        self.door.loaded(by).await?;
        Ok((request.into_inner(), by))
    }
}

/// The value of `grpc-timeout`: at most eight digits and a unit.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the soonest of what a caller names counts, and what is no time names none. Method: headers and fields.

    use super::*;

    fn by(header: &str) -> Deadline {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", header.parse().expect("text"));
        Deadline::of(&metadata)
    }

    #[test]
    fn the_header_counts_in_every_unit() {
        let day = Duration::from_secs(86_400);
        for (header, most) in [("1H", 60_000), ("1M", 60_000), ("3S", 3_000), ("500m", 500), ("2000u", 2)] {
            let (time, most) = (by(header).time(day), Duration::from_millis(most));
            assert!(time <= most && time > most / 2, "{header}: {time:?}");
        }
        for wrong in ["", "S", "x1S", "-1S", "123456789S", "1s", "1.5S"] {
            assert_eq!(by(wrong).time(day), day, "{wrong:?}");
        }
        assert_eq!(by("0S").time(day), Duration::ZERO);
    }

    #[test]
    fn the_soonest_ends_the_call() {
        let second = Duration::from_secs(1);
        assert!(by("10S").named(1000).time(second * 60) <= second);
        assert!(by("1S").named(10_000).time(second * 60) <= second);
        assert_eq!(Deadline::default().named(0).time(second * 5), second * 5);
    }
}
