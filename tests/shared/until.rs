//! Waiting for what comes by itself.

use std::time::{Duration, Instant};

/// Returns when it holds; long enough for any machine, and no longer than needed.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "it never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}
