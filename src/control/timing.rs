//! How long things take in the control plane. All of it follows from one length, the lease, which the members of a cluster have
//! in common: whoever leads counts how long another one's lease may last by its own.

use std::time::Duration;

use hypermnesia_replication::lease::Terms;
use hypermnesia_replication::suspicion::Pace;

use crate::error::{Error, Result};
use crate::limits::{
    CONTROL_DRIFT_PPM, CONTROL_HEARTBEAT_MAX, CONTROL_HEARTBEAT_MIN, CONTROL_WAIT_MAX, CONTROL_WAIT_MIN,
    LEASE_DEFAULT, LEASE_MAX, LEASE_MIN,
};

/// See the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long a member may show what it has read after it has last asked the leader of the control plane. In whole milliseconds.
    pub(crate) lease: Duration,
    /// How often members let hear of themselves, ask for a lease, and how often a leader is confirmed. A fifth of a lease, so that
    /// reads go on while one or two rounds are lost.
    pub(crate) heartbeat: Duration,
    /// Who has not heard a leader for the longer of these, and then for a time drawn between both, stands for election. A lease,
    /// so that five heartbeats have to be missed, and half of one.
    pub(crate) election_max: Duration,
    /// See `election_max`.
    pub(crate) election_min: Duration,
    /// How long a member waits for something to be agreed on.
    pub(crate) patience: Duration,
    /// A leader whom no majority has answered for so long leads nobody: two elections, and what comes between them.
    pub(crate) silence: Duration,
    /// A member that has not looked for so long has stood still itself, and judges nobody for what it has not heard meanwhile.
    pub(crate) pause: Duration,
    /// How long who has read something waits for a lease that has run out: in four leases a new leader is elected and its
    /// predecessor excluded.
    pub(crate) read_wait: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::follow(LEASE_DEFAULT)
    }
}

impl Timing {
    /// What follows from a lease of this length.
    ///
    /// # Errors
    /// [`Error::Config`] where it is too short or too long.
    pub(crate) fn of_lease(lease: Duration) -> Result<Timing> {
        if lease < LEASE_MIN {
            return Err(Error::Config(format!(
                "a lease of {lease:?} is too short: at least {LEASE_MIN:?}, since members are heard five times in one; \
                 {LEASE_DEFAULT:?} suits most networks"
            )));
        }
        if lease > LEASE_MAX {
            return Err(Error::Config(format!(
                "a lease of {lease:?} is too long: at most {LEASE_MAX:?}, since nobody is given up before one is over; \
                 {LEASE_DEFAULT:?} suits most networks"
            )));
        }
        Ok(Timing::follow(Duration::from_millis(lease.as_millis() as u64)))
    }

    fn follow(lease: Duration) -> Timing {
        let heartbeat = (lease / 5).clamp(CONTROL_HEARTBEAT_MIN, CONTROL_HEARTBEAT_MAX);
        let wait = (lease * 4).clamp(CONTROL_WAIT_MIN, CONTROL_WAIT_MAX);
        Timing {
            lease,
            heartbeat,
            election_min: lease / 2,
            election_max: lease,
            patience: wait,
            silence: lease * 4,
            pause: heartbeat * 2,
            read_wait: wait,
        }
    }

    /// What grantors and holders of leases go by.
    pub(crate) fn terms(&self) -> Terms {
        Terms { lease_ns: ns(self.lease), drift_ppm: CONTROL_DRIFT_PPM, useful_ns_min: ns(self.heartbeat) }
    }

    /// How whoever leads watches the others.
    pub(crate) fn watch(&self) -> Pace {
        Pace::of_heartbeat(ns(self.heartbeat))
    }

    /// The lease as members tell it each other and people.
    pub(crate) fn lease_ms(&self) -> u64 {
        self.lease.as_millis() as u64
    }
}

/// Within the bounds of a lease, so nothing is cut off.
pub(crate) fn ns(length: Duration) -> u64 {
    length.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_follows_from_the_lease_within_bounds() {
        // Aim: what nobody sets is as it was before there was a setting, what somebody sets is in proportion, and what cannot work
        // is refused with what can. Method: the default, both bounds and what lies beyond them.
        let ms = Duration::from_millis;
        let usual = Timing::default();
        assert_eq!((usual.lease, usual.heartbeat, usual.pause), (ms(500), ms(100), ms(200)));
        assert_eq!((usual.election_min, usual.election_max), (ms(250), ms(500)));
        assert_eq!((usual.patience, usual.silence, usual.read_wait), (ms(2000), ms(2000), ms(2000)));
        let short = Timing::of_lease(LEASE_MIN).expect("it is in the bounds");
        assert_eq!((short.heartbeat, short.election_min, short.silence), (ms(20), ms(50), ms(400)));
        let long = Timing::of_lease(LEASE_MAX).expect("it is in the bounds");
        assert_eq!((long.heartbeat, long.election_max, long.read_wait), (ms(1000), LEASE_MAX, ms(10_000)));
        let odd = Timing::of_lease(Duration::from_micros(150_700)).expect("it is in the bounds");
        assert_eq!((odd.lease, odd.lease_ms()), (ms(150), 150));
        for (wrong, bound) in [(ms(99), "100ms"), (ms(60_001), "60s")] {
            let Err(Error::Config(why)) = Timing::of_lease(wrong) else { panic!("{wrong:?}") };
            assert!(why.contains(bound) && why.contains("500ms"), "{why}");
        }
    }
}
