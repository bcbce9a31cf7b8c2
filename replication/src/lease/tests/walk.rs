//! Two leaders one after another, a member that may be excluded, clocks that run at different rates, and messages that take
//! any time, arrive twice or in any order. True time is known here and to nobody inside.

use proptest::prelude::*;

use super::*;

/// Long compared with one nanosecond of rounding, and much drift, so that a mistake with either shows.
const TERMS: Terms = Terms { lease_ns: 1_000_000, drift_ppm: 200_000, useful_ns_min: 1_000 };

/// A clock that nobody can see through.
#[derive(Clone, Copy, Debug)]
struct Clock {
    ahead_ns: u64,
    /// What it shows in a million nanoseconds.
    rate: u64,
}

impl Clock {
    fn at(self, true_ns: u64) -> u64 {
        self.ahead_ns + true_ns * self.rate / MILLION
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// True time goes on.
    Wait(u64),
    /// The member asks the first leader or the second.
    Ask(usize),
    /// Some question arrives where it was sent.
    Asked(usize),
    /// Some grant arrives.
    Granted(usize),
    /// A leader sends a round.
    Round(usize),
    /// A leader hears that a majority acknowledged some round.
    Acknowledged(usize),
    /// The second leader is elected.
    Elect,
    /// It has applied what was agreed on before.
    CatchUp,
    /// The leader of the day wants to exclude the member.
    Exclude,
    /// What it proposed is agreed on.
    Agree,
    /// The member gives its lease back.
    Release,
    /// Some release arrives at both.
    Released(usize),
}

/// Texts that look right and are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Authority from when the answers were there.
    AuthorityAtNow,
    /// The new leader excludes at once.
    NoWait,
    /// Clocks are believed.
    NoDrift,
    /// The new leader grants before it knows what was agreed on.
    GrantsBeforeCaughtUp,
    /// The leader looks whether it may exclude and grants on while it proposes.
    LooksOnly,
}

struct World {
    mistake: Mistake,
    true_ns: u64,
    clocks: [Clock; 3],
    leaders: [Grantor; 2],
    holder: Holder,
    elected_ns: Option<u64>,
    asks: Vec<(usize, Ask)>,
    grants: Vec<Grant>,
    /// By whom, when on its clock, and when in truth.
    rounds: Vec<(usize, u64, u64)>,
    releases: Vec<Release>,
    proposed: bool,
    excluded: bool,
}

impl World {
    fn new(mistake: Mistake, clocks: [Clock; 3]) -> World {
        let drift_ppm = if mistake == Mistake::NoDrift { 0 } else { TERMS.drift_ppm };
        let terms = Terms { drift_ppm, ..TERMS };
        let first = Grantor::new(terms, clocks[0].at(0));
        let mut leaders = [first.clone(), first];
        leaders[0].on_agreed(1, only(peer(1)));
        leaders[0].on_caught_up();
        let mut holder = Holder::new(terms, peer(1));
        holder.on_epoch(1);
        let (asks, grants, rounds, releases) = (vec![], vec![], vec![], vec![]);
        let (elected_ns, proposed, excluded) = (None, false, false);
        World {
            mistake,
            true_ns: 0,
            clocks,
            leaders,
            holder,
            elected_ns,
            asks,
            grants,
            rounds,
            releases,
            proposed,
            excluded,
        }
    }

    fn leading(&self) -> usize {
        usize::from(self.elected_ns.is_some())
    }

    fn now(&self, who: usize) -> u64 {
        self.clocks[who].at(self.true_ns)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(ns) => self.true_ns += ns,
            Step::Ask(leader) => self.asks.push((leader, self.holder.ask(self.now(2)))),
            Step::Asked(at) => self.asked(at),
            Step::Granted(at) => {
                let now = self.now(2);
                pick(&self.grants, at).into_iter().for_each(|grant| self.holder.on_grant(now, &grant));
            }
            Step::Round(leader) => self.rounds.push((leader, self.now(leader), self.true_ns)),
            Step::Acknowledged(at) => self.acknowledged(at),
            Step::Elect => self.elect(),
            Step::CatchUp => self.catch_up(),
            Step::Exclude => self.exclude(),
            Step::Agree => self.agree(),
            Step::Release => {
                let now = self.now(2);
                let release = self.holder.release(now);
                self.releases.push(release);
            }
            Step::Released(at) => {
                let release = pick(&self.releases, at);
                self.leaders
                    .iter_mut()
                    .for_each(|leader| release.iter().for_each(|one| leader.on_release(one)));
            }
        }
    }

    fn asked(&mut self, at: usize) {
        let Some((leader, ask)) = pick(&self.asks, at) else { return };
        if leader <= self.leading() {
            let now = self.now(leader);
            self.grants.extend(self.leaders[leader].grant(now, &ask));
        }
    }

    /// A majority that elected the second leader answers the first one no more; what it answered before may be heard late.
    fn acknowledged(&mut self, at: usize) {
        let Some((leader, sent_ns, truly_ns)) = pick(&self.rounds, at) else { return };
        let counts = match (leader, self.elected_ns) {
            (0, Some(elected_ns)) => truly_ns <= elected_ns,
            (0, None) => true,
            (_, elected_ns) => elected_ns.is_some_and(|elected_ns| truly_ns >= elected_ns),
        };
        if counts {
            let at_now = self.mistake == Mistake::AuthorityAtNow;
            let sent_ns = if at_now { self.now(leader) } else { sent_ns };
            self.leaders[leader].on_authority(sent_ns);
        }
    }

    fn elect(&mut self) {
        if self.elected_ns.is_some() {
            return;
        }
        self.elected_ns = Some(self.true_ns);
        self.proposed = false;
        let mut terms = TERMS;
        if self.mistake == Mistake::NoDrift {
            terms.drift_ppm = 0;
        }
        let since = if self.mistake == Mistake::NoWait { 0 } else { self.now(1) };
        self.leaders[1] = Grantor::new(terms, since);
        self.leaders[1].on_agreed(1, only(peer(1)));
        if self.mistake == Mistake::GrantsBeforeCaughtUp {
            self.leaders[1].on_caught_up();
        }
    }

    fn catch_up(&mut self) {
        if self.elected_ns.is_some() {
            if self.excluded {
                self.leaders[1].on_agreed(2, vec![]);
            }
            self.leaders[1].on_caught_up();
        }
    }

    fn exclude(&mut self) {
        let (leading, now) = (self.leading(), self.now(self.leading()));
        let leader = &mut self.leaders[leading];
        let may = match self.mistake {
            Mistake::LooksOnly => leader.may_exclude(SLOT, now),
            _ => leader.exclude(NodeSet::only(SLOT), 2, now).is_ok(),
        };
        self.proposed |= may;
    }

    fn agree(&mut self) {
        if self.proposed {
            self.excluded = true;
            let leading = self.leading();
            self.leaders[leading].on_agreed(2, vec![]);
        }
    }

    /// Whether the member is out and reads.
    fn is_broken(&self) -> bool {
        self.excluded && self.holder.left(self.now(2)) > 0
    }
}

fn pick<T: Clone>(sent: &[T], at: usize) -> Option<T> {
    // From the newest back.
    sent.len().checked_sub(1 + at % sent.len().max(1)).map(|at| sent[at].clone())
}

impl Step {
    /// Any number is a step. The lower bits say which, the higher ones how long or which message.
    fn of(number: u32) -> Step {
        let (which, how) = (number % 32, u64::from(number / 32));
        // The newest message as often as any other.
        let at = if how.is_multiple_of(2) { 0 } else { how as usize / 2 % 8 };
        match which {
            0..6 => Step::Wait(Step::wait(how)),
            6..9 => Step::Ask(how as usize % 2),
            9..13 => Step::Asked(at),
            13..17 => Step::Granted(at),
            17..20 => Step::Round(how as usize % 2),
            20..24 => Step::Acknowledged(at),
            24 => Step::Elect,
            25 => Step::CatchUp,
            26..28 => Step::Exclude,
            28..30 => Step::Agree,
            30 => Step::Release,
            _ => Step::Released(at),
        }
    }

    fn wait(how: u64) -> u64 {
        let lease = TERMS.lease_ns;
        match how % 4 {
            0 => 1,
            1 => lease / 50,
            2 => how % (lease / 3),
            _ => how % (lease * 3 / 2),
        }
    }
}

/// Clocks as fast and as slow as they may be, and right ones.
fn clocks(number: u32) -> [Clock; 3] {
    let rate = |digit: u32| MILLION - TERMS.drift_ppm + TERMS.drift_ppm * u64::from(digit % 3);
    let clock = |digit: u32| Clock { ahead_ns: u64::from(digit) * 1_000, rate: rate(digit) };
    [clock(number % 3), clock(number / 3 % 3), clock(number / 9 % 3)]
}

/// How many steps until the member reads although it is out; `None` if it never does.
fn broken_after(mistake: Mistake, clocks: [Clock; 3], steps: &[u32]) -> Option<usize> {
    let mut world = World::new(mistake, clocks);
    steps.iter().position(|number| {
        world.step(Step::of(*number));
        world.is_broken()
    })
}

proptest! {
    #[test]
    fn nobody_reads_who_is_excluded(which in 0..27_u32, steps in proptest::collection::vec(any::<u32>(), 1..80)) {
        // Aim: O7, whatever the clocks and the network do. Method: random walks; the lease is looked at after each step.
        let told: Vec<_> = steps.iter().map(|number| Step::of(*number)).collect();
        prop_assert_eq!(broken_after(Mistake::None, clocks(which), &steps), None, "{:?}", told);
    }
}

/// Numbers that look random, the same ones every time: a linear congruential generator (Knuth's MMIX).
fn walks() -> impl Iterator<Item = (u32, Vec<u32>)> {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    std::iter::repeat_with(move || (next() >> 8, (0..80).map(|_| next()).collect()))
}

#[test]
fn each_mistake_is_found() {
    // Aim: the walks get to where it matters, so each wrong text breaks in them, and what is right breaks in none. Method: the
    // same walks for all.
    const WALKS: usize = 60_000;
    let mistakes = [
        Mistake::AuthorityAtNow,
        Mistake::NoWait,
        Mistake::NoDrift,
        Mistake::GrantsBeforeCaughtUp,
        Mistake::LooksOnly,
    ];
    for mistake in mistakes {
        let found = walks()
            .take(WALKS)
            .position(|(which, steps)| broken_after(mistake, clocks(which), &steps).is_some());
        println!("{mistake:?}: walk {found:?}");
        assert!(found.is_some(), "{mistake:?} was not found in {WALKS} walks");
    }
    let wrong = walks()
        .take(WALKS)
        .find(|(which, steps)| broken_after(Mistake::None, clocks(*which), steps).is_some());
    assert_eq!(wrong, None);
}
