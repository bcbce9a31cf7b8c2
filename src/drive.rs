//! Driving: a thread that waits for its own commit looks at the peers' sockets itself for a moment before it parks. The
//! votes then need no wake-up of the I/O thread and none of the caller, which on an idle machine cost more than all the
//! work of a commit. One thread drives at a time, for no longer than a commit takes when all is well; where that does not
//! help (the log is synced, a member is slow, processors are short) it is tried ever less often.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use hypermnesia_replication::Reply;

use crate::core::Core;
use crate::limits::{DRIVE, DRIVE_SKIPS_MAX};
use crate::wait::Answer;

/// The seat of the driver.
pub(crate) struct Seat {
    /// There is more than one processor, and there are peers or may be.
    useful: bool,
    taken: AtomicBool,
    /// Commits that park at once before the next one drives.
    skips: AtomicU32,
    /// What `skips` becomes when driving does not help; doubles.
    patience: AtomicU32,
}

impl Seat {
    /// The seat of a node.
    pub(crate) fn new(alone: bool) -> Seat {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Seat {
            useful: !alone && processors > 1,
            taken: AtomicBool::new(false),
            skips: AtomicU32::new(0),
            patience: AtomicU32::new(1),
        }
    }

    /// Relaxed: how often it is tried is a guess anyway.
    fn wants_a_driver(&self) -> bool {
        if !self.useful {
            return false;
        }
        let skips = self.skips.load(Ordering::Relaxed);
        if skips > 0 {
            self.skips.store(skips - 1, Ordering::Relaxed);
            return false;
        }
        !self.taken.swap(true, Ordering::Acquire)
    }

    fn leave(&self, helped: bool) {
        if helped {
            self.patience.store(1, Ordering::Relaxed);
        } else {
            let patience = self.patience.load(Ordering::Relaxed);
            self.skips.store(patience, Ordering::Relaxed);
            self.patience.store((patience * 2).min(DRIVE_SKIPS_MAX), Ordering::Relaxed);
        }
        self.taken.store(false, Ordering::Release);
    }
}

impl Core {
    /// Drives until the answer is there or the moment is over.
    pub(crate) fn drive(&self, answer: &Answer<Reply>) {
        if answer.is_given() || !self.seat.wants_a_driver() {
            return;
        }
        let until = Instant::now() + DRIVE;
        let mut helped = false;
        while !helped && Instant::now() < until {
            self.peers.links().for_each(|link| link.glance(self));
            std::hint::spin_loop();
            helped = answer.is_given();
        }
        self.seat.leave(helped);
    }
}
