//! Something happens at every step: whatever a member sends, hands to its log or tells is the last thing that it does for a
//! while, or the last that one of the others hears of it. Steps are those of a run from its first epoch to the forgetting of
//! outcomes; with two harms, those of the epoch change and of the copies behind the first one too.

use hypermnesia_history::Outcome as Told;

use crate::planted::Planted;
use crate::world::{Harm, Shape, What, World};
use crate::{first_seed, must_hold, seeds, shape};

/// Three members and a few transactions; nothing happens but what a test wants.
fn short(seed: u64) -> Shape {
    Shape { faults: false, transactions: 5, clients: 2, ..shape(first_seed() - 1 + seed) }
}

/// How many steps there are without any harm.
fn steps(shape: &Shape) -> u64 {
    must_hold(shape).steps_until_healing
}

/// Every so many of the steps, and all where there are seeds enough.
fn some(steps: u64, one_of: usize) -> impl Iterator<Item = u64> {
    (1..=steps).step_by(if seeds(0) > 0 { 1 } else { one_of })
}

/// What all runs of a test did, so that none of them is about nothing.
#[derive(Debug, Default)]
struct Done {
    runs: usize,
    crashes: u64,
    pauses: u64,
    cuts: u64,
    unknown: usize,
    committed: usize,
    aborted: usize,
    epochs: u64,
    ok: usize,
    begun: usize,
}

impl Done {
    fn add(&mut self, world: &World) {
        self.runs += 1;
        self.crashes += world.crashes;
        self.pauses += world.pauses;
        self.cuts += world.cuts;
        let told = &world.history.transactions;
        self.unknown += told.iter().filter(|one| one.outcome == Told::Unknown).count();
        self.committed += world.settled.0;
        self.aborted += world.settled.1;
        self.epochs += world.register.latest().map_or(0, |latest| latest.number);
        self.ok += crate::acknowledged(world);
        self.begun += world.history.transactions.len();
    }

    /// Most transactions happen in spite of everything.
    fn is_something(&self) {
        println!("{self:?}");
        assert!(self.ok * 10 > self.begun * 3, "{self:?}");
    }
}

fn behind(behind: u64, what: What) -> Harm {
    Harm { behind, what }
}

fn crash(at: u64, also: &[usize]) -> Harm {
    behind(at, What::Crash { also: also.to_vec() })
}

#[test]
fn a_crash_at_every_step_of_every_node() {
    // Aim: whatever a member does last, there is one outcome, what was told holds, nothing stays locked. Method: each step of a
    // run in turn is the last one of who does it, until outcomes are being forgotten; with logs and without.
    let mut done = Done::default();
    for durable in [true, false] {
        let calm = Shape { durable, lasts_ms: 1_500, transactions: 12, clients: 4, ..short(7) };
        for at in some(steps(&calm), 1) {
            done.add(&must_hold(&Shape { harms: vec![crash(at, &[])], ..calm.clone() }));
        }
    }
    done.is_something();
    assert_eq!(done.crashes, done.runs as u64, "each crash happens");
    assert!(done.unknown > 0 && done.committed > 0 && done.aborted > 0, "{done:?}");
}

#[test]
fn two_or_all_that_crash_together_at_every_step() {
    // Aim: the same where one who knows ends together with another one, or with all: what was acknowledged is in the logs, and
    // without logs at whoever is left. Method: as above; then one of the others ends in the same moment, or both.
    let mut done = Done::default();
    for (durable, also) in [(true, &[1][..]), (true, &[2]), (true, &[1, 2]), (false, &[1]), (false, &[2])] {
        let calm = Shape { durable, ..short(8) };
        for at in some(steps(&calm), 1) {
            done.add(&must_hold(&Shape { harms: vec![crash(at, also)], ..calm.clone() }));
        }
    }
    done.is_something();
    assert!(done.unknown > 0 && done.committed > 0 && done.aborted > 0, "{done:?}");
}

#[test]
fn a_second_crash_at_every_step_behind_the_first() {
    // Aim: what the first crash leaves in doubt is settled also if whoever settles, or hears of it, or copies, ends in the middle of that.
    // Method: pairs of steps; the second is one of those that follow the first crash: votes, fence and flush, the epoch after it, copies.
    let mut done = Done::default();
    for durable in [true, false] {
        let calm = Shape { durable, transactions: 3, ..short(9) };
        for first in some(steps(&calm), 2) {
            for later in some(120, 11) {
                // The second ones of different first ones are different ones.
                let second = first + later + first % 11;
                let harms = vec![crash(first, &[]), crash(second, &[])];
                done.add(&must_hold(&Shape { harms, ..calm.clone() }));
            }
        }
    }
    done.is_something();
    assert!(done.crashes as usize * 10 > done.runs * 13, "many second ones happen too: {done:?}");
    assert!(done.unknown > 0 && done.committed > 0 && done.aborted > 0, "{done:?}");
}

#[test]
fn a_crash_at_every_step_of_a_definition() {
    // Aim: the same for changes of definitions, which lock whole tables and bring another form of them about. Method: as above, with
    // transactions of which many define; one ends, one and another one, or all.
    let mut done = Done::default();
    let mut defined = 0;
    for (durable, also) in [(true, &[][..]), (true, &[1]), (true, &[1, 2]), (false, &[]), (false, &[2])] {
        let calm = Shape { durable, definitions: true, transactions: 8, ..short(13) };
        for at in some(steps(&calm), 1) {
            let world = must_hold(&Shape { harms: vec![crash(at, also)], ..calm.clone() });
            defined += world.defined;
            done.add(&world);
        }
    }
    done.is_something();
    assert!(defined as usize > done.runs, "{defined} definitions changed");
    assert!(done.unknown > 0 && done.committed > 0 && done.aborted > 0, "{done:?}");
}

#[test]
fn a_message_that_is_late_at_every_step() {
    // Aim: what does not arrive is waited for, sent again, and changes nothing twice. Method: behind each step in turn a link of who
    // did it is cut, for less than a transaction may take and for more; nobody is excluded for it.
    let mut done = Done::default();
    for (to, ms) in [(1, 3), (2, 3), (1, 500), (2, 500)] {
        let calm = short(10);
        for at in some(steps(&calm), 3) {
            let world = must_hold(&Shape { harms: vec![behind(at, What::Cut { to, ms })], ..calm.clone() });
            assert_eq!(world.register.latest().map(|latest| latest.number), Some(1));
            done.add(&world);
        }
    }
    done.is_something();
    assert!(done.cuts > 0 && done.crashes == 0 && done.unknown > 0, "{done:?}");
}

#[test]
fn a_pause_at_every_step() {
    // Aim: a member that stands still between any two things that it does, a coordinator between prepare and commit among them, shows
    // nothing that is stale and decides nothing alone when it goes on. Method: behind each step who did it is stopped in the middle
    // of it: for less than it takes to be excluded, for about as long, and for more.
    let mut done = Done::default();
    for ms in [2, 20, 300] {
        let calm = Shape { transactions: 8, ..short(11) };
        for at in some(steps(&calm), 3) {
            done.add(&must_hold(&Shape { harms: vec![behind(at, What::Pause { ms })], ..calm.clone() }));
        }
    }
    done.is_something();
    assert!(done.pauses > 0 && done.crashes == 0, "{done:?}");
    assert!(done.epochs > done.runs as u64, "some are excluded meanwhile: {done:?}");
    assert!(done.unknown > 0 && done.committed > 0 && done.aborted > 0, "{done:?}");
}

#[test]
fn a_pause_and_then_a_crash() {
    // Aim: what a stopped member is excluded for is settled also if one of the others is lost before it goes on. Method: pairs of steps.
    let mut done = Done::default();
    let calm = short(12);
    for first in some(steps(&calm), 5) {
        for later in some(80, 17) {
            let second = first + later + first % 17;
            let harms = vec![behind(first, What::Pause { ms: 60 }), crash(second, &[])];
            done.add(&must_hold(&Shape { harms, ..calm.clone() }));
        }
    }
    done.is_something();
    assert!(done.pauses > 0 && done.crashes > 0 && done.committed > 0 && done.aborted > 0, "{done:?}");
}

#[test]
fn mistakes_are_noticed_at_some_step() {
    // Aim: the above have teeth. Method: known mistakes; some step is the one that shows each of them.
    let at_a_step = |planted, also: &[usize]| {
        // Whatever seeds the others have: not each of them shows each mistake.
        let calm = Shape { planted, seed: 8, ..short(8) };
        let is_noticed = |at: &u64| {
            let shape = Shape { harms: vec![crash(*at, also)], ..calm.clone() };
            !matches!(std::panic::catch_unwind(|| crate::run(&shape).map(|_| ())), Ok(Ok(())))
        };
        let found = (1..=steps(&Shape { planted: Planted::Nothing, ..calm.clone() })).find(is_noticed);
        println!(
            "{planted:?}: behind step {:?}",
            found.unwrap_or_else(|| panic!("{planted:?} is not noticed"))
        );
    };
    at_a_step(Planted::FlushAborts, &[]);
    at_a_step(Planted::FlushCommits, &[]);
    at_a_step(Planted::VoteBeforeLog, &[1, 2]);
}
