//! Whether the log has space on its disc, and who was told. Without space the node goes on: reads are served, tables in memory
//! are written, and whatever would have to be logged is refused, by name, until somebody frees some space.
//!
//! It is refused while the present segment still has a reserve, as soon as the next one cannot be made: what is under way
//! ends in order, and the records of the next starts have a place. Should the reserve be used up, records wait in memory.
//!
//! The same is done while a disc that hangs, or is slower than the writers, leaves more records in memory than may wait there:
//! those whose level waits for no disc would fill the memory otherwise.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hypermnesia_replication::LogState;
use hypermnesia_store::disc::DiscError;
use parking_lot::Mutex;

use crate::core::Core;
use crate::error::Error;
use crate::limits::{DISC_RETRY, LOG_BEHIND_BYTES_MAX, LOG_WAITING_BYTES_MAX};

/// See the file's header.
#[derive(Default)]
pub(crate) struct Space {
    /// New records are refused. Stands beside the moment below so that every write can look at it.
    lacking: AtomicBool,
    /// More waits for the disc than may.
    slow: AtomicBool,
    /// The next segment could not be made, at the last try.
    no_spare: AtomicBool,
    /// When records found no place at all; `None` while there is a reserve. Held for a move.
    stuck: Mutex<Option<Instant>>,
}

impl Space {
    pub(crate) fn is_lacking(&self) -> bool {
        self.lacking.load(Ordering::Acquire)
    }

    /// Whether a write should be tried now.
    pub(crate) fn may_try(&self) -> bool {
        !self.is_lacking() || self.stuck.lock().is_none_or(|since| since.elapsed() >= DISC_RETRY)
    }

    pub(crate) fn next_is_made(&self, made: bool) {
        self.no_spare.store(!made, Ordering::Release);
    }

    /// Records have no place, before the node runs.
    pub(crate) fn begin_stuck(&self, error: &DiscError) {
        *self.stuck.lock() = Some(Instant::now());
        if !self.lacking.swap(true, Ordering::AcqRel) {
            tracing::warn!(%error, "what has to be logged is refused until there is space; reads are served");
        }
    }

    /// Records have no place; with too many of them in memory the node stops.
    pub(crate) fn stuck(&self, core: &Core, error: &DiscError, waiting_bytes: u64) {
        self.begin_stuck(error);
        self.tell(core);
        if waiting_bytes > LOG_WAITING_BYTES_MAX {
            core.fail(Error::Disc(format!("{error}; {waiting_bytes} bytes wait for it in memory")));
        }
    }

    /// So many bytes wait for the disc: with too many nothing new is taken until half of them are gone.
    pub(crate) fn look(&self, core: &Core, waiting_bytes: u64) {
        let slow = self.slow.load(Ordering::Acquire);
        let now = waiting_bytes > if slow { LOG_BEHIND_BYTES_MAX / 2 } else { LOG_BEHIND_BYTES_MAX };
        if slow == now || self.slow.swap(now, Ordering::AcqRel) == now {
            return;
        }
        self.tell(core);
        let node = &core.name;
        match now {
            true => tracing::warn!(
                %node, waiting_bytes, "the disc is slower than what has to be logged comes, or hangs: it is refused for now"
            ),
            false => tracing::info!(%node, "the disc has caught up with the log"),
        }
    }

    fn tell(&self, core: &Core) {
        // One at a time, so that the last one tells how it is.
        let _one = self.stuck.lock();
        core.replica.set_log(match (self.is_lacking(), self.slow.load(Ordering::Acquire)) {
            (true, _) => LogState::NoSpace,
            (false, true) => LogState::Slow,
            (false, false) => LogState::Open,
        });
    }

    /// Everything was written, and less than the reserve is left, or more.
    pub(crate) fn written(&self, core: &Core, is_low: bool) {
        let lacking = is_low && self.no_spare.load(Ordering::Acquire);
        if lacking == self.is_lacking() {
            return;
        }
        *self.stuck.lock() = None;
        self.lacking.store(lacking, Ordering::Release);
        self.tell(core);
        let node = &core.name;
        match lacking {
            true => tracing::warn!(
                %node,
                "there is no space on the disc for the next segment of the log: what has to be logged is refused, reads are served"
            ),
            false => tracing::info!(%node, "there is space on the disc again"),
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
