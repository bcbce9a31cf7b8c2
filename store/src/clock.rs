//! The hybrid logical clock that stamps versions. It believes no wall clock: the wall time is passed in, only pushes the
//! clock forward, and nothing that must hold rests on it. Reading it writes nothing, so readers share its cache line.
//!
//! Why acquire and release suffice: a writer places its mark and then proposes; a reader loads the clock and then looks
//! at the cell. A reader whose snapshot is at or above a proposal has loaded a value that was written by that proposal
//! or by a later read-modify-write of the same word (there are no plain stores, so the release sequence is never
//! broken); it therefore sees the mark. A reader below the proposal does not have to see it. That its changes are SeqCst all
//! the same is for listeners: who begins to listen and then takes a snapshot is seen by every commit above that (`event::hub`).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::limits::CLOCK_AHEAD_MS_MAX;

/// Bits of a timestamp below the milliseconds: a million stamps per millisecond before the clock runs ahead of the wall.
const COUNTER_BITS: u32 = 20;

/// A point of the hybrid logical clock: milliseconds since 1970 shifted left by 20 bits, plus a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Before everything: the version of a key that was never written.
    pub const NEVER: Timestamp = Timestamp(0);
    /// After everything that will be written.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a millisecond since 1970. Milliseconds past the year 2527 are cut to the last one.
    pub fn from_wall_ms(wall_ms: u64) -> Timestamp {
        Timestamp(wall_ms.min(u64::MAX >> COUNTER_BITS) << COUNTER_BITS)
    }

    /// Whether this millisecond since 1970, when a row expires, has come by then.
    #[inline]
    pub(crate) fn reaches(self, wall_ms: u64) -> bool {
        Timestamp::from_wall_ms(wall_ms) <= self
    }

    /// The milliseconds since 1970 in it.
    pub fn wall_ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The smallest timestamp above this one.
    #[must_use]
    pub fn next(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall_ms(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

/// A timestamp from elsewhere is too far ahead of this node's wall clock. The clock did not move; the sender must not be
/// listened to before its clock or ours is set right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clock elsewhere is {ahead_ms} ms ahead of ours (at most {CLOCK_AHEAD_MS_MAX} ms are followed)")]
pub struct ClockAhead {
    /// By how much, in milliseconds.
    pub ahead_ms: u64,
}

/// The clock of one node. All methods take `&self` and are lock-free.
///
/// ```
/// use hypermnesia_store::Clock;
/// let clock = Clock::new(1_000);
/// let snapshot = clock.read();
/// assert!(clock.propose(1_000) > snapshot);
/// ```
#[derive(Debug)]
pub struct Clock {
    /// The newest timestamp read, proposed or heard of. Changed by read-modify-write only (see the file's header).
    now: AtomicU64,
    /// The wall clock as last passed in, in ms. Only compared with, so relaxed; may step back as wall clocks do.
    wall_ms: AtomicU64,
}

impl Clock {
    /// A clock that has seen nothing but this wall time.
    pub fn new(wall_ms: u64) -> Clock {
        Clock { now: AtomicU64::new(Timestamp::from_wall_ms(wall_ms).0), wall_ms: AtomicU64::new(wall_ms) }
    }

    /// A snapshot: everything committed at or below it is either visible or marked pending. One load.
    pub fn read(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Acquire))
    }

    /// A timestamp above every one that was read, proposed or observed here before, and not below the wall time.
    pub fn propose(&self, wall_ms: u64) -> Timestamp {
        let wall = Timestamp::from_wall_ms(wall_ms).0;
        let mut seen = self.now.load(Ordering::Relaxed);
        loop {
            let next = wall.max(seen.saturating_add(1));
            match self.now.compare_exchange_weak(seen, next, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Timestamp(next),
                Err(newer) => seen = newer,
            }
        }
    }

    /// A timestamp above this one that every snapshot from now on is at or above: what the clock says, raised if need be.
    /// Others may have the same, unless somebody has read the clock since it stood there (see `quiet`).
    #[inline]
    pub(crate) fn behind(&self, before: Timestamp) -> Timestamp {
        let now = self.read();
        if now > before {
            return now;
        }
        let next = Timestamp(before.0 + 1);
        self.now.fetch_max(next.0, Ordering::SeqCst);
        next
    }

    /// Raises the clock to a timestamp heard from a peer or found on disc.
    ///
    /// # Errors
    /// [`ClockAhead`] when it is more than ten seconds ahead of the wall time last passed in; the clock has not moved.
    pub fn observe(&self, heard: Timestamp) -> Result<(), ClockAhead> {
        let ahead_ms = heard.wall_ms().saturating_sub(self.wall_ms.load(Ordering::Relaxed));
        // A clock that is itself ahead (its wall stepped back) may follow up to where it already is.
        if ahead_ms > CLOCK_AHEAD_MS_MAX && heard > self.read() {
            return Err(ClockAhead { ahead_ms });
        }
        self.now.fetch_max(heard.0, Ordering::SeqCst);
        Ok(())
    }

    /// Tells the clock the wall time, called by a tick, so that the hot path needs no system clock.
    pub fn advance(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
        self.now.fetch_max(Timestamp::from_wall_ms(wall_ms).0, Ordering::SeqCst);
    }

    /// The wall time last passed in, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_above_everything_seen() {
        // Aim: a proposal is later than any snapshot served before it. Method: walls that stand, jump and step back.
        let clock = Clock::new(1_000);
        let mut last = clock.read();
        for wall_ms in [1_000, 1_000, 900, 5_000, 4_000] {
            let proposal = clock.propose(wall_ms);
            assert!(proposal > last && proposal >= Timestamp::from_wall_ms(wall_ms));
            assert_eq!(clock.read(), proposal);
            last = proposal;
        }
    }

    #[test]
    fn a_far_clock_is_refused_and_moves_nothing() {
        // Aim: one wrong clock does not drag the others. Method: just inside the bound, then just outside.
        let clock = Clock::new(1_000);
        let inside = Timestamp::from_wall_ms(1_000 + CLOCK_AHEAD_MS_MAX);
        assert_eq!(clock.observe(inside), Ok(()));
        let outside = Timestamp::from_wall_ms(1_001 + CLOCK_AHEAD_MS_MAX);
        assert_eq!(clock.observe(outside), Err(ClockAhead { ahead_ms: CLOCK_AHEAD_MS_MAX + 1 }));
        assert_eq!(clock.read(), inside);
    }

    #[test]
    fn a_wall_that_steps_back_does_not_cut_off_what_was_already_seen() {
        // Aim: stamps at or below our own clock are always followed. Method: step the wall back by an hour.
        let clock = Clock::new(3_600_000);
        let seen = clock.propose(3_600_000);
        clock.advance(0);
        assert_eq!(clock.read(), seen);
        assert_eq!(clock.observe(seen), Ok(()));
    }

    #[test]
    fn threads_never_get_the_same_proposal() {
        // Aim: proposals are unique on a node. Method: four threads, all proposals in one set.
        let clock = Clock::new(7);
        let all = std::thread::scope(|scope| {
            let each: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).map(|_| clock.propose(7)).collect::<Vec<_>>()))
                .collect();
            each.into_iter().flat_map(|t| t.join().expect("a proposer does not panic")).collect::<Vec<_>>()
        });
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4_000);
    }
}
