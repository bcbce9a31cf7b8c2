//! What happens to the clusters. Each is a test, one at a time.

use std::process::Command;
use std::time::Duration;

use fastrand::Rng;

use crate::cluster::{Cluster, Shape};
use crate::inside::{can, inside, tell};
use crate::judge::writes_again_ms;
use crate::network::WEATHER;

/// Longer than the silence after which a connection counts as lost.
const LONG_MS: u64 = 5000;

/// After a silent cut somebody writes again within this: two leases, an election, what it takes to notice, and some more.
const WRITES_AGAIN_WITHIN_MS: u64 = 2500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// How often what happens is repeated: once, and by hand as often as fits in so many seconds.
fn rounds(seconds_each: u64) -> u64 {
    number("HMN_PARTITIONS_SECONDS").map_or(1, |seconds| (seconds / seconds_each).max(1))
}

/// Runs one in a world of its own. A client's call may take two seconds: less than the silence after which a connection
/// counts as lost, so that some callers hear that nobody knows.
fn run(name: &'static str, disc: bool, what: impl Fn(&mut Cluster)) {
    run_for(name, disc, "2", what);
}

fn run_for(name: &'static str, disc: bool, timeout: &str, what: impl Fn(&mut Cluster)) {
    run_with(3, name, disc, timeout, what);
}

fn run_with(members: usize, name: &'static str, disc: bool, timeout: &str, what: impl Fn(&mut Cluster)) {
    let timeout = std::env::var("HMN_PARTITIONS_TIMEOUT").unwrap_or(timeout.to_owned());
    let bound = Duration::from_secs(90 + 3 * number("HMN_PARTITIONS_SECONDS").unwrap_or(0));
    let seeds = number("HMN_PARTITIONS_SEEDS").unwrap_or(1);
    let bound = bound * u32::try_from(seeds).expect("not so many");
    inside(&format!("scenarios::{name}"), bound, || {
        let first = number("HMN_PARTITIONS_FIRST").unwrap_or(1);
        for seed in first..first + seeds {
            let mut cluster = Cluster::start(Shape { name, members, disc, seed, timeout: timeout.clone() });
            what(&mut cluster);
            cluster.finish();
        }
    });
}

#[test]
fn killed_members_come_back_equal() {
    // Aim: rows 1 and 17: A D R U K L. Method: kill -9 of one, of one whose transactions are under way at another one, and of two
    // at once; the tables are in memory, and one is left.
    run("killed_members_come_back_equal", false, |cluster| {
        for round in 0..rounds(8) as usize {
            let (one, two) = (round % 3, (round + 1) % 3);
            cluster.kill(one);
            cluster.goes_on();
            cluster.restart(one);
            cluster.whole();
            cluster.work(500);
            cluster.kill_in_flight(two, one);
            cluster.restart(two);
            cluster.whole();
            cluster.work(500);
            cluster.kill(one);
            cluster.kill(two);
            cluster.work(300);
            cluster.restart(two);
            cluster.restart(one);
            cluster.whole();
            cluster.work(500);
        }
    });
}

#[test]
fn all_are_killed_and_nothing_acknowledged_is_lost() {
    // Aim: rows 1 and 17: a full restart from the discs, whoever starts first. Method: kill -9 of all, one after another, then
    // start the last to die first; again with the first one first; once while one is being started.
    run("all_are_killed_and_nothing_acknowledged_is_lost", true, |cluster| {
        for round in 0..rounds(6) {
            (0..3).for_each(|at| cluster.kill(at));
            let order = if round % 2 == 0 { [2, 1, 0] } else { [0, 1, 2] };
            cluster.restart(order[0]);
            cluster.kill(order[0]);
            order.into_iter().for_each(|at| cluster.restart(at));
            cluster.whole();
            cluster.work(700);
        }
    });
}

#[test]
fn stopped_members_go_on_and_serve_nothing_stale() {
    // Aim: row 3: A R K. Method: SIGSTOP for less, about and more than a call may take, and more than the silence after which
    // a connection counts as lost; by hand up to half a minute.
    run("stopped_members_go_on_and_serve_nothing_stale", false, |cluster| {
        let (long, each) = if rounds(33) > 1 { (30_000, 33) } else { (LONG_MS, 7) };
        for round in 0..rounds(each) {
            for (at, ms) in [100, 1000, long].into_iter().enumerate() {
                cluster.pause((round as usize + at) % 3, ms);
                cluster.work(500);
            }
        }
    });
}

#[test]
fn cuts_of_every_shape_heal() {
    // Aim: rows 4 and 5, cases 27, 28 and 30: A M R U K L. Method: one away from the others, one link both ways while the third
    // sees both, one link one way, everybody alone; each longer than a connection lives without a word.
    run("cuts_of_every_shape_heal", false, |cluster| {
        let shapes: [&[(usize, usize)]; 4] = [
            &[(0, 1), (1, 0), (0, 2), (2, 0)],
            &[(0, 1), (1, 0)],
            &[(1, 2)],
            &[(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)],
        ];
        for _ in 0..rounds(24) {
            for links in shapes {
                cluster.cut(links, LONG_MS);
                cluster.whole();
                cluster.work(500);
            }
        }
    });
}

/// All links, both ways, between members of which these sets do not have both.
fn apart(sets: &[&[usize]]) -> Vec<(usize, usize)> {
    let together = |a: usize, b: usize| sets.iter().any(|set| set.contains(&a) && set.contains(&b));
    let pairs = (0..5).flat_map(|a| (0..5).map(move |b| (a, b)));
    pairs.filter(|(a, b)| a != b && !together(*a, *b)).collect()
}

#[test]
fn five_members_in_every_shape() {
    // Aim: rows 5, 6 and 7 with more members than three: A M R U K L. Method: three and two, two and two and one, a bridge, and a ring, in which
    // everybody sees another majority; each for longer than it takes to be given up. Then links that are gone for less than, about as
    // long as, and twice as long as a lease, and are freed one by one.
    run_with(5, "five_members_in_every_shape", false, "2", |cluster| {
        // Where no majority is left that sees itself nobody has to go on, and there is less to wait for.
        let shapes: [(&[&[usize]], u64); 4] = [
            (&[&[0, 1, 2], &[3, 4]], LONG_MS),
            (&[&[1, 2], &[3, 4], &[0]], LONG_MS / 2),
            (&[&[0, 1, 2], &[2, 3, 4]], LONG_MS),
            (&[&[0, 1], &[1, 2], &[2, 3], &[3, 4], &[4, 0]], LONG_MS / 2),
        ];
        let mut rng = Rng::with_seed(cluster.shape.seed);
        for _ in 0..rounds(36) {
            for (sets, ms) in shapes {
                cluster.cut(&apart(sets), ms);
                cluster.whole();
                cluster.work(300);
            }
            for round in 0..6 {
                let links: Vec<_> = apart(&[]).into_iter().filter(|(a, b)| a < b && rng.bool()).collect();
                let mut freed = [0, 1, 2, 3, 4];
                rng.shuffle(&mut freed);
                cluster.flap(&links, [50, 500, 1000][round % 3], &freed);
                cluster.work(100);
            }
            cluster.whole();
            cluster.work(500);
        }
    });
}

#[test]
fn others_write_again_soon_after_a_silent_cut() {
    // Aim: a member whose packets are dropped, so that no connection ends, is given up for its silence, sooner than a connection that
    // carries nothing is closed. Method: a follower of the control plane is cut off, then its leader; the time until a write is
    // acknowledged is told and bounded. By hand for longer it is a figure.
    run("others_write_again_soon_after_a_silent_cut", false, |cluster| {
        for _ in 0..rounds(14) {
            for who in ["a follower", "the leader"] {
                let leader = cluster.who_leads();
                let away = if who == "the leader" { leader } else { (leader + 1) % 3 };
                let others = [(away + 1) % 3, (away + 2) % 3];
                cluster.cut(&others.map(|other| [(away, other), (other, away)]).concat(), LONG_MS);
                let took = writes_again_ms(cluster, cluster.cuts.last().expect("there was one"));
                let took = took.expect("somebody writes before it heals");
                tell(&format!("told: writes again after a silent cut of {who}: {took} ms"));
                assert!(took < WRITES_AGAIN_WITHIN_MS, "{who}: {took} ms");
                cluster.whole();
                cluster.work(500);
            }
        }
    });
}

#[test]
fn blips_disturb_nobody() {
    // Aim: row 7, case 29: links that are gone for 5 ms cost nothing but time. Method: one every 100 ms, and nobody hears
    // "unknown" who is ready to wait.
    run_for("blips_disturb_nobody", false, "15", |cluster| {
        for _ in 0..rounds(5) {
            cluster.fault("25 blips of 5 ms");
            for _ in 0..25 {
                cluster.network.blip();
                cluster.work(100);
            }
        }
        cluster.none_unknown = true;
    });
}

#[test]
fn a_clock_that_is_wrong_by_an_hour_harms_nobody() {
    // Aim: row 10: A D, nothing safe rests on the time of day. Method: one member's clock is an hour ahead, then an hour
    // behind, so that it steps back by two; the clock that hypermnesia measures with goes on as it is.
    let Some(library) = fake_clock() else {
        return tell(
            "a_clock_that_is_wrong_by_an_hour is skipped: libfaketime is not there (Debian: apt install libfaketime)",
        );
    };
    run("a_clock_that_is_wrong_by_an_hour_harms_nobody", true, |cluster| {
        for hour in ["+3600", "-3600"] {
            cluster.kill(1);
            cluster.fault(&format!("n2 starts with a clock that is wrong by {hour} s"));
            let clock = clock(library, hour);
            assert!(is_wrong(&clock), "{library} does nothing");
            cluster.start_member(1, &clock);
            cluster.whole();
            cluster.work(1000);
        }
    });
}

fn clock(library: &str, offset: &str) -> Vec<(String, String)> {
    let clock = [("LD_PRELOAD", library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    clock.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Whether a program that is started so has another time of day.
fn is_wrong(clock: &[(String, String)]) -> bool {
    let now = |clock: &[(String, String)]| -> i64 {
        let output =
            Command::new("date").arg("+%s").envs(clock.iter().cloned()).output().expect("it is there");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("seconds")
    };
    (now(clock) - now(&[])).abs() > 3000
}

fn fake_clock() -> Option<&'static str> {
    let places = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib64/faketime/libfaketimeMT.so.1",
        "/usr/lib/faketime/libfaketimeMT.so.1",
    ];
    places.into_iter().find(|place| std::path::Path::new(place).exists())
}

#[test]
fn delay_and_loss_cost_nothing_but_time() {
    // Aim: row 8: A D U. Method: 20 ms with jitter and 5 % loss at one member, then at all. The queue that does this is a part
    // of the kernel that cannot be installed, so where it is missing this is skipped everywhere.
    if let Err(why) = can(WEATHER) {
        return tell(&format!(
            "delay_and_loss_cost_nothing_but_time is skipped, this kernel has no netem: {why}"
        ));
    }
    run("delay_and_loss_cost_nothing_but_time", false, |cluster| {
        for members in [0..1, 0..3] {
            cluster.fault("delay and loss");
            for at in members {
                cluster.network.weather(at);
            }
            cluster.work(2500 * rounds(5));
        }
    });
}

#[test]
fn anything_may_happen() {
    // Aim: rows 1, 3 to 7 and 17 in any order and at once. Method: a seed chooses what and for how long.
    run("anything_may_happen", true, |cluster| {
        let mut rng = Rng::with_seed(cluster.shape.seed);
        let until = cluster.record.now() + 1_000_000_000 * number("HMN_PARTITIONS_SECONDS").unwrap_or(8);
        while cluster.record.now() < until {
            anything(cluster, &mut rng);
            if rng.bool() {
                cluster.whole();
                cluster.work(rng.u64(100..1000));
            }
        }
    });
}

/// One fault; what is cut or stopped is whole again after it, and all members run.
fn anything(cluster: &mut Cluster, rng: &mut Rng) {
    let (one, two) = (rng.usize(0..3), rng.usize(1..3));
    let two = (one + two) % 3;
    let ms = [100, 500, 1500, 3500][rng.usize(0..4)];
    match rng.u8(0..6) {
        0 => cluster.pause(one, ms),
        1 => cluster.cut(&[(one, two)], ms),
        2 => cluster.cut(&[(one, two), (two, one)], ms),
        3 => {
            let third = 3 - one - two;
            cluster.cut(&[(one, two), (two, one), (one, third), (third, one)], ms);
        }
        4 => {
            cluster.kill(one);
            cluster.work(ms / 2);
            cluster.pause(two, ms / 2);
            cluster.restart(one);
        }
        _ => {
            cluster.kill(one);
            cluster.cut(&[(two, 3 - one - two)], ms / 2);
            cluster.kill(two);
            cluster.restart(one);
            cluster.restart(two);
        }
    }
}
