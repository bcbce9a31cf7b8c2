//! What must hold after a run, by the letters of the fault matrix: A the history is strictly serializable, D and R all
//! members hold the same and all that was acknowledged, K nothing is locked or in doubt, L a majority goes on without the others,
//! M who did not reach a majority acknowledged no write, U what nobody knows was not told as failed (then it shows as an
//! aborted read). And that the run did something at all.

use std::time::{Duration, Instant};

use hypermnesia_history::{History, Op, Outcome, Transaction};
use serde_json::Value as Json;

use crate::cluster::{Cluster, Cut};
use crate::inside::tell;
use crate::member::Member;

/// Longer than any deadline of what clients asked for.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// Waits until each member has acknowledged a write that was asked for after everything had healed. Links that were cut for a
/// while heal later than they are mended: what was lost is sent again at ever longer intervals, about as long as the cut.
pub(crate) fn silent(cluster: &Cluster) -> Option<String> {
    let until = Instant::now() + SETTLES_WITHIN;
    loop {
        let history = cluster.record.history();
        let after =
            |one: &&Transaction| one.invoked > cluster.healed && one.outcome == Outcome::Ok && writes(one);
        let wrote = |name: &str| history.transactions.iter().filter(after).any(|one| one.note == name);
        let silent: Vec<_> = cluster.members.iter().map(Member::name).filter(|name| !wrote(name)).collect();
        if silent.is_empty() {
            return None;
        }
        if Instant::now() > until {
            return Some(format!("{} acknowledged no write after everything had healed", silent.join(", ")));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// K: within a bound nothing is locked, waited for or in doubt on any member.
pub(crate) fn unsettled(cluster: &Cluster) -> Option<String> {
    let until = Instant::now() + SETTLES_WITHIN;
    for at in 0..cluster.members.len() {
        loop {
            let status = cluster.status(at);
            if is_settled(&status) {
                break;
            }
            if Instant::now() > until {
                return Some(format!("locks or doubts outlive their deadlines on n{}: {status}", at + 1));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    None
}

fn is_settled(status: &Json) -> bool {
    let none = |value: &Json| value.as_array().is_some_and(Vec::is_empty);
    let held = &status["held"];
    none(&status["in_doubt"]) && none(&status["waits"]) && held["locks"] == 0 && held["locks_waited_for"] == 0
}

/// Everything that does not hold.
pub(crate) fn judge(cluster: &Cluster) -> Vec<String> {
    let history = cluster.record.history();
    let mut found: Vec<String> = history.anomalies().iter().map(ToString::to_string).collect();
    found.extend(copies(cluster));
    found.extend(cut_off(cluster, &history));
    found.extend(stood_still(cluster, &history));
    found.extend(did_nothing(cluster, &history));
    let count = |outcome| history.transactions.iter().filter(|one| one.outcome == outcome).count();
    let unknown = count(Outcome::Unknown);
    if cluster.none_unknown && unknown > 0 {
        found.push(format!("{unknown} callers were told that nobody knows"));
    }
    tell(&format!(
        "told: {}: {} transactions ok, {} failed, {} unknown, in {:.1} s",
        cluster.shape.name,
        count(Outcome::Ok),
        count(Outcome::Failed),
        unknown,
        cluster.record.now() as f64 / 1e9
    ));
    found
}

/// R: every member answers with the same rows from its own copy.
fn copies(cluster: &Cluster) -> Option<String> {
    let all = ["query", "SELECT * FROM exec ORDER BY space, key", "--format", "json"];
    let copies: Vec<_> = (0..cluster.members.len()).map(|at| cluster.hmn(at, &all)).collect();
    let text = |at: usize| {
        let copy = &copies[at];
        format!(
            "n{}, {}: {}{}",
            at + 1,
            copy.status,
            String::from_utf8_lossy(&copy.stdout),
            String::from_utf8_lossy(&copy.stderr)
        )
    };
    let equal = copies.windows(2).all(|two| two[0] == two[1]) && copies[0].status.success();
    let whole = copies[0].stdout.iter().filter(|byte| **byte == b'\n').count() >= 10;
    let texts = || (0..copies.len()).map(text).collect::<Vec<_>>().join("\n");
    (!equal || !whole).then(|| format!("the copies differ, or there is nothing to read:\n{}", texts()))
}

/// L: somebody acknowledged a write that began and ended in each time in which a majority had had long enough to go on.
fn stood_still(cluster: &Cluster, history: &History) -> Vec<String> {
    let ok = |one: &&Transaction| one.outcome == Outcome::Ok && writes(one);
    let written: Vec<_> = history.transactions.iter().filter(ok).collect();
    let within =
        |(from, until): &(u64, u64)| written.iter().any(|one| one.invoked > *from && one.completed < *until);
    let missing = cluster.lively.iter().filter(|time| !within(time));
    missing
        .map(|(from, until)| {
            let ms = |ns: &u64| ns / 1_000_000;
            format!(
                "no write was acknowledged from {} to {} ms, and a majority was there",
                ms(from),
                ms(until)
            )
        })
        .collect()
}

/// How long after a cut somebody who reaches a majority acknowledged a write that began behind it, in milliseconds.
pub(crate) fn writes_again_ms(cluster: &Cluster, cut: &Cut) -> Option<u64> {
    let history = cluster.record.history();
    let away = |one: &Transaction| cut.members.iter().any(|at| one.note == cluster.members[*at].name());
    let ok = |one: &&Transaction| one.outcome == Outcome::Ok && writes(one) && !away(one);
    let after = history.transactions.iter().filter(ok).filter(|one| one.invoked > cut.from);
    let first = after.map(|one| one.completed).filter(|completed| *completed < cut.until).min()?;
    Some((first - cut.began) / 1_000_000)
}

/// M: who could not reach a majority acknowledged no write that began and ended while that was so.
fn cut_off(cluster: &Cluster, history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for cut in &cluster.cuts {
        let began = |one: &&Transaction| one.invoked > cut.from && one.invoked < cut.until;
        let there = |one: &&Transaction| cut.members.iter().any(|at| one.note == cluster.members[*at].name());
        let mut tried = 0;
        for one in history.transactions.iter().filter(began).filter(there).filter(|one| writes(one)) {
            tried += 1;
            if one.outcome == Outcome::Ok && one.completed < cut.until {
                found.push(format!(
                    "a write was acknowledged by a member that was cut off from the majority: {one}"
                ));
            }
        }
        if tried == 0 && !cut.members.is_empty() && cut.until - cut.from > 3_000_000_000 {
            found.push("nobody tried to write during a cut".to_owned());
        }
    }
    found
}

fn writes(one: &Transaction) -> bool {
    one.ops
        .iter()
        .any(|op| matches!(op, Op::Append { .. } | Op::Swap { .. } | Op::Transfer { .. } | Op::Add(_)))
}

/// A run counts only if it did something before the faults; [`silent`] is about after them.
fn did_nothing(cluster: &Cluster, history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let calm_until = cluster.calm_until.unwrap_or(u64::MAX);
    let calm: Vec<_> = history.transactions.iter().filter(|one| one.completed < calm_until).collect();
    let ok = calm.iter().filter(|one| one.outcome == Outcome::Ok).count();
    if calm.len() < 20 || ok * 10 < calm.len() * 3 {
        found.push(format!("only {ok} of {} transactions were ok before the first fault", calm.len()));
    }
    found
}
