//! Whether a peer is suspected: the phi-accrual failure detector (Hayashibara, Défago, Yared, Katayama: "The φ accrual
//! failure detector", SRDS 2004). It learns from the intervals between signs of life how late the next one may be, and says
//! as a number how unlikely a silence is: at phi 8 one in 10^8 intervals of a normal distribution would be as long. The
//! tail of that distribution is the logistic approximation of Bowling, Khasawneh, Kaewkuekool and Cho (2009), off by at most
//! 1.4e-4. So far out it is thinner than the normal one: phi 8 is 5.2 deviations behind the mean, not 5.6.
//!
//! It believes that a peer sends at least one heartbeat per interval, and that what a peer sends beyond that says nothing
//! about its pace: an expected interval is never shorter than the heartbeat. A closed connection suspects at once. Above a
//! stated silence everything is suspect, so that a peer that slowed down step by step is found as well.
//!
//! It never decides: a suspect that is heard again is none any more, and only the control plane excludes. It reads no clock.
//! A process that stood still itself has heard nobody, which says nothing about them: see [`Pause`].

use std::collections::VecDeque;

use crate::limits::{SUSPICION_INTERVALS_ASSUMED, SUSPICION_INTERVALS_MAX};

/// How a peer is watched. The same for all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// How often a peer lets hear of itself when it has nothing else to say, ns.
    pub heartbeat_ns: u64,
    /// The phi from which on it is suspect.
    pub threshold: f64,
    /// Silence above which it is suspect, whatever was seen before, ns.
    pub silence_ns_max: u64,
}

impl Pace {
    /// Threshold 8, and ten heartbeats for the silence.
    pub fn of_heartbeat(heartbeat_ns: u64) -> Pace {
        Pace { heartbeat_ns, threshold: 8.0, silence_ns_max: heartbeat_ns.saturating_mul(10) }
    }

    /// The least deviation that is assumed: half a heartbeat. With it and threshold 8 a steady peer is suspect after 3.6
    /// heartbeats. A packet lost on a quiet TCP connection comes 200 ms late (the least timeout of Linux), which with
    /// heartbeats of 100 ms is a silence of 300 ms: that must not do.
    fn deviation_ns_min(&self) -> f64 {
        self.heartbeat_ns as f64 / 2.0
    }
}

/// What is known of one peer's signs of life.
#[derive(Clone, Debug)]
pub struct Suspicion {
    pace: Pace,
    /// The latest intervals, at most [`SUSPICION_INTERVALS_MAX`], none longer than the silence that suspects.
    intervals: VecDeque<u64>,
    /// When it was heard last; at first, when the watch began.
    heard_ns: u64,
    closed: bool,
}

impl Suspicion {
    /// Watches a peer from `now` on, as if it had been heard in time until now.
    pub fn new(pace: Pace, now_ns: u64) -> Suspicion {
        let intervals = VecDeque::from(vec![pace.heartbeat_ns; SUSPICION_INTERVALS_ASSUMED]);
        Suspicion { pace, intervals, heard_ns: now_ns, closed: false }
    }

    /// A sign of life: a heartbeat or anything else.
    pub fn heard(&mut self, now_ns: u64) {
        let interval = now_ns.saturating_sub(self.heard_ns);
        self.heard_ns = self.heard_ns.max(now_ns);
        self.closed = false;
        // A longer one was an outage and says nothing about the pace.
        if interval <= self.pace.silence_ns_max {
            if self.intervals.len() == SUSPICION_INTERVALS_MAX {
                self.intervals.pop_front();
            }
            self.intervals.push_back(interval);
        }
    }

    /// Its connection was closed: suspect until it is heard again.
    pub fn on_closed(&mut self) {
        self.closed = true;
    }

    /// This process stood still for `gap_ns` before `now`; that silence does not count. To be called before anything that
    /// has arrived meanwhile is told to [`Suspicion::heard`].
    pub fn shift(&mut self, gap_ns: u64, now_ns: u64) {
        self.heard_ns = self.heard_ns.saturating_add(gap_ns).min(now_ns.max(self.heard_ns));
    }

    /// How unlikely the present silence is: minus the decimal logarithm of the probability of a longer one.
    pub fn phi(&self, now_ns: u64) -> f64 {
        let (mean, deviation) = self.expected();
        let late = (now_ns.saturating_sub(self.heard_ns) as f64 - mean) / deviation;
        let odds = late * (1.5976 + 0.070566 * late * late);
        // The tail is 1 / (1 + e^odds), whose logarithm is taken without computing e^odds where that would overflow.
        let logarithm = if odds > 0.0 { odds + (-odds).exp().ln_1p() } else { odds.exp().ln_1p() };
        logarithm / std::f64::consts::LN_10
    }

    /// Whether it is suspected.
    pub fn is_suspect(&self, now_ns: u64) -> bool {
        let silence = now_ns.saturating_sub(self.heard_ns);
        self.closed || silence > self.pace.silence_ns_max || self.phi(now_ns) >= self.pace.threshold
    }

    /// Mean and deviation of the intervals, ns, with their floors.
    fn expected(&self) -> (f64, f64) {
        let count = self.intervals.len() as f64;
        let mean = self.intervals.iter().map(|ns| *ns as f64).sum::<f64>() / count;
        let squares = self.intervals.iter().map(|ns| (*ns as f64 - mean).powi(2)).sum::<f64>();
        let deviation = (squares / count).sqrt().max(self.pace.deviation_ns_min());
        (mean.max(self.pace.heartbeat_ns as f64), deviation)
    }
}

/// This process's own pauses: a suspended machine, a debugger, a starved scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    bound_ns: u64,
    ticked_ns: u64,
}

impl Pause {
    /// Gaps between ticks longer than `bound_ns` are pauses. A few times the interval at which it is told.
    pub fn new(bound_ns: u64, now_ns: u64) -> Pause {
        Pause { bound_ns, ticked_ns: now_ns }
    }

    /// To be told regularly. Says how long this process stood still, if it did: by that much all detectors are shifted.
    pub fn tick(&mut self, now_ns: u64) -> Option<u64> {
        let gap = now_ns.saturating_sub(self.ticked_ns);
        self.ticked_ns = self.ticked_ns.max(now_ns);
        (gap > self.bound_ns).then_some(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const HEARTBEAT: u64 = 100 * MS;

    /// Numbers that look random, the same ones every time: a linear congruential generator (Knuth's MMIX).
    struct Jitter(u64);

    impl Jitter {
        /// Within `width` around `middle`.
        fn around(&mut self, middle: u64, width: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            middle - width + (self.0 >> 33) % (2 * width + 1)
        }
    }

    /// Hears a heartbeat sent every 100 ms that arrives up to `width` early or late, and fails if the peer is ever suspect.
    /// The detector and the moment of the last arrival.
    fn steady(seconds: u64, width: u64) -> (Suspicion, u64) {
        let mut peer = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 0);
        let mut jitter = Jitter(width + 1);
        let mut now = 0;
        for sent in 1..=seconds * 10 {
            now = jitter.around(sent * HEARTBEAT + width, width);
            assert!(!peer.is_suspect(now), "at {} ms, phi {}", now / MS, peer.phi(now));
            peer.heard(now);
        }
        (peer, now)
    }

    /// After how long a silence it is suspect, ms.
    fn found_after(peer: &Suspicion, since: u64) -> u64 {
        (0..).find(|ms| peer.is_suspect(since + ms * MS)).expect("the silence has a bound")
    }

    #[test]
    fn silence_is_found_in_time_and_jitter_is_not_suspected() {
        // Aim: nobody is suspected who sends, and who stops is found within the table. Method: a minute of heartbeats with
        // jitter, then silence, to the millisecond. Up to 50 ms the floor of the deviation decides.
        for (width, from, within) in [(0, 355, 365), (20, 355, 365), (50, 355, 400), (100, 400, 650)] {
            let (peer, last) = steady(60, width * MS);
            assert!(peer.intervals.len() <= SUSPICION_INTERVALS_MAX, "the window is bounded");
            let found = found_after(&peer, last);
            assert!((from..=within).contains(&found), "jitter {width} ms: found after {found} ms");
        }
    }

    #[test]
    fn the_first_silence_is_found_as_well() {
        // Aim: a peer that never sends is found by the assumed intervals. Method: nothing is heard at all.
        let peer = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 5 * MS);
        assert_eq!(found_after(&peer, 5 * MS), 362);
    }

    #[test]
    fn phi_is_the_tail_of_the_normal_distribution() {
        // Aim: the number means what the header says. Method: known quantiles; the deviation is at its floor of 50 ms.
        let peer = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 0);
        for (deviations, tail) in [(0_u64, 0.5_f64), (1, 0.158_66), (2, 0.022_75), (3, 0.001_35)] {
            let phi = peer.phi(HEARTBEAT + deviations * 50 * MS);
            assert!((phi + tail.log10()).abs() < 0.05, "{deviations} deviations: phi {phi}");
        }
        let mut before = 0.0;
        for ms in 0..10_000 {
            let phi = peer.phi(ms * MS);
            assert!(phi >= before && phi.is_finite(), "at {ms} ms: {phi} after {before}");
            before = phi;
        }
    }

    #[test]
    fn blips_are_nothing() {
        // Aim: 5 ms without a network, now and then, suspect nobody. Method: every 7th heartbeat is 5 ms late, and looked at
        // each millisecond.
        let mut peer = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 0);
        let mut next = HEARTBEAT;
        for now in (0..60_000).map(|ms| ms * MS) {
            let sent = now / HEARTBEAT;
            if now >= next + if sent.is_multiple_of(7) { 5 * MS } else { 0 } {
                peer.heard(now);
                next += HEARTBEAT;
            }
            assert!(peer.phi(now) < 1.0, "at {} ms", now / MS);
        }
    }

    #[test]
    fn a_growing_delay_is_learnt() {
        // Aim: a network that gets slower step by step is not suspected, one that does so at once is. Method: intervals from
        // 100 to 500 ms in steps of 2 ms; then the same interval to a detector that has seen only 100 ms.
        let mut peer = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 0);
        let mut now = 0;
        for interval in (100..=500).step_by(2).map(|ms| ms * MS) {
            now += interval;
            assert!(!peer.is_suspect(now), "after {} ms, phi {}", interval / MS, peer.phi(now));
            peer.heard(now);
        }
        let (fresh, last) = steady(60, 0);
        assert!(fresh.is_suspect(last + 500 * MS));
    }

    #[test]
    fn a_busy_peer_that_falls_idle_is_not_suspected() {
        // Aim: messages beyond heartbeats do not shorten what is expected. Method: one message a millisecond for a second,
        // then heartbeats only.
        let mut peer = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 0);
        (1..=1_000).for_each(|ms| peer.heard(ms * MS));
        assert!(!peer.is_suspect(1_000 * MS + HEARTBEAT + 20 * MS));
        assert_eq!(found_after(&peer, 1_000 * MS), 362);
    }

    #[test]
    fn silence_has_a_bound_and_outages_are_not_learnt() {
        // Aim: however slow the peer has been, above the bound it is suspect; and an outage does not make the next one
        // harder to find. Method: intervals that alternate between nothing and 900 ms; an hour of silence.
        let mut slow = Suspicion::new(Pace::of_heartbeat(HEARTBEAT), 0);
        let mut now = 0;
        for at in 0..400_u64 {
            now += if at.is_multiple_of(2) { 900 * MS } else { 0 };
            slow.heard(now);
        }
        assert!(slow.phi(now + 1_000 * MS) < 8.0, "the window alone would wait longer");
        assert_eq!(found_after(&slow, now), 1_001);
        let (mut peer, last) = steady(60, 0);
        let back = last + 3_600_000 * MS;
        assert!(peer.is_suspect(back));
        peer.heard(back);
        assert!(!peer.is_suspect(back + HEARTBEAT));
        assert_eq!(found_after(&peer, back), 362);
    }

    #[test]
    fn a_closed_connection_suspects_until_something_is_heard() {
        // Aim: at once, and not for longer. Method: closed right behind a heartbeat, then heard.
        let (mut peer, last) = steady(1, 0);
        peer.on_closed();
        assert!(peer.is_suspect(last));
        peer.heard(last + MS);
        assert!(!peer.is_suspect(last + MS));
    }

    #[test]
    fn a_pause_of_this_process_suspects_nobody() {
        // Aim: after a pause everybody has as much time left as before, and no more. Method: two peers, heard 0 and 300 ms
        // before a pause of an hour, with and without the shift.
        let mut pause = Pause::new(50 * MS, 0);
        let (mut peer, last) = steady(1, 0);
        let mut silent = peer.clone();
        for now in (0..=last + 300 * MS).step_by(10 * MS as usize) {
            assert_eq!(pause.tick(now), None);
            if now > last && now.is_multiple_of(HEARTBEAT) {
                peer.heard(now);
            }
        }
        let woken = last + 300 * MS + 3_600_000 * MS;
        assert!(peer.is_suspect(woken) && silent.is_suspect(woken));
        let gap = pause.tick(woken).expect("a gap");
        assert_eq!((gap, pause.tick(woken + 10 * MS)), (3_600_000 * MS, None));
        peer.shift(gap, woken);
        silent.shift(gap, woken);
        assert!(!peer.is_suspect(woken) && !silent.is_suspect(woken));
        assert!(!silent.is_suspect(woken + 50 * MS) && silent.is_suspect(woken + 70 * MS));
        assert_eq!(found_after(&peer, woken), 362);
        // What was heard right after it woke is not moved into the future.
        peer.heard(woken);
        peer.shift(gap, woken);
        assert_eq!(found_after(&peer, woken), 362);
    }
}
