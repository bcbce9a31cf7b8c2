//! What is told of connections that are refused: every reason once in a while, since who is refused comes back twice a second,
//! and not more reasons than anybody reads, since strangers make them up.

use std::net::SocketAddr;
use std::time::Instant;

use parking_lot::Mutex;

use crate::core::Core;
use crate::limits::{REFUSAL_TOLD_EVERY, REFUSALS_TOLD_MAX};

/// See the file's header.
#[derive(Default)]
pub(super) struct Refusals {
    /// What was told last, and when. Held for a look.
    told: Mutex<Vec<(String, Instant)>>,
}

impl Refusals {
    pub(super) fn tell(&self, core: &Core, from: SocketAddr, why: String) {
        if self.is_news(&why, Instant::now()) {
            tracing::warn!(node = %core.name, %from, %why, "a connection was refused");
        } else {
            tracing::debug!(node = %core.name, %from, %why, "a connection was refused again");
        }
    }

    fn is_news(&self, why: &str, now: Instant) -> bool {
        let mut told = self.told.lock();
        told.retain(|(_, at)| now.saturating_duration_since(*at) < REFUSAL_TOLD_EVERY);
        let news = told.len() < REFUSALS_TOLD_MAX && !told.iter().any(|(known, _)| known == why);
        if news {
            told.push((why.to_owned(), now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_in_a_while() {
        // Aim: who is refused twice a second does not fill the log, nothing new is kept quiet, and made-up reasons end. Method:
        // the same reason again, two that take turns, the same one later; then more reasons than are told.
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.is_news("another cluster", now));
        assert!(!refusals.is_news("another cluster", now));
        assert!(refusals.is_news("another protocol", now));
        assert!(!refusals.is_news("another cluster", now) && !refusals.is_news("another protocol", now));
        let later = now + REFUSAL_TOLD_EVERY;
        assert!(refusals.is_news("another protocol", later));
        let told = (0..1_000).filter(|number| refusals.is_news(&number.to_string(), later)).count();
        assert_eq!(told, REFUSALS_TOLD_MAX - 1);
    }
}
