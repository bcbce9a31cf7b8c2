//! Whether the log has room on its disc, and who was told. Without room the node goes on: reads are served, tables in memory
//! are written, and whatever would have to be logged is refused, by name, until somebody frees some space.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hypermnesia_store::disc::DiscError;
use parking_lot::Mutex;

use crate::core::Core;
use crate::error::Error;
use crate::limits::{DISC_RETRY, LOG_ROOM_LOOK, LOG_WAITING_BYTES_MAX};

/// See the file's header.
#[derive(Default)]
pub(crate) struct Room {
    /// Stands beside the moment below so that every write can look at it.
    lacking: AtomicBool,
    /// When it was last tried. Held for a move.
    tried: Mutex<Option<Instant>>,
}

impl Room {
    pub(crate) fn is_lacking(&self) -> bool {
        self.lacking.load(Ordering::Acquire)
    }

    /// Whether a write should be tried now.
    pub(crate) fn may_try(&self) -> bool {
        !self.is_lacking() || self.tried.lock().is_none_or(|tried| tried.elapsed() >= LOG_ROOM_LOOK)
    }

    /// The log found none. Said once; whoever hands records over hears it each time it can.
    pub(crate) fn lacks(&self, error: &DiscError) {
        *self.tried.lock() = Some(Instant::now());
        if !self.lacking.swap(true, Ordering::AcqRel) {
            tracing::warn!(%error, "what has to be logged is refused until there is room; reads are served");
        }
    }

    /// As [`Room::lacks`], for a node that runs already: its transactions are refused, and with too much in memory it stops.
    pub(crate) fn lacks_for(&self, core: &Core, error: &DiscError, waiting_bytes: u64) {
        self.lacks(error);
        core.replica.set_room(false);
        if waiting_bytes > LOG_WAITING_BYTES_MAX {
            core.fail(Error::Disc(format!("{error}; {waiting_bytes} bytes wait for it in memory")));
        }
    }

    /// The log was written.
    pub(crate) fn found(&self, core: &Core) {
        if self.is_lacking() && self.lacking.swap(false, Ordering::AcqRel) {
            tracing::info!(node = %core.name, "there is room on the disc again");
            core.replica.set_room(true);
        }
    }
}

/// Something that failed, hurts nobody yet, and is tried again later. Owned by the thread that does it.
#[derive(Default)]
pub(crate) struct Later {
    failed: Option<Instant>,
    said: bool,
}

impl Later {
    pub(crate) fn may_try(&self) -> bool {
        self.failed.is_none_or(|failed| failed.elapsed() >= DISC_RETRY)
    }

    /// Said once, until it succeeds.
    pub(crate) fn failed(&mut self, what: &str, error: &DiscError) {
        self.failed = Some(Instant::now());
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(%error, "{what}; it is tried again later");
        }
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Later::default();
    }
}
