//! What the clients saw, and whether any one-after-another order explains it. Lists that are only appended to tell their
//! own version order; every read is a prefix of the final list, so all dependencies are known: who appended before whom,
//! who read what, who read before an append. With the order of real time added, a cycle means that the history is not
//! strictly serializable (the method of Elle, Kingsbury and Alvaro 2020).

use std::collections::{BTreeMap, BTreeSet};

/// What the client knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It happened.
    Ok,
    /// It did not and never will.
    Fail,
    /// Nobody has said.
    Info,
}

/// One transaction of one client.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) invoked_ns: u64,
    /// When the client heard; nothing ends an `Info`.
    pub(crate) completed_ns: u64,
    pub(crate) verdict: Verdict,
    /// Lists as they were before its own appends.
    pub(crate) reads: BTreeMap<u64, Vec<u64>>,
    pub(crate) appends: Vec<(u64, u64)>,
    /// Where it ran, for people.
    pub(crate) note: String,
}

/// Checks a history against the lists as they are at the end.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(history: &[Entry], finals: &BTreeMap<u64, Vec<u64>>) -> Result<(), String> {
    let mut writer = BTreeMap::new();
    for (at, entry) in history.iter().enumerate() {
        for append in &entry.appends {
            writer.insert(*append, at);
        }
    }
    check_finals(history, finals, &writer)?;
    check_reads(history, finals)?;
    let edges = edges(history, finals, &writer);
    match cycle(&edges) {
        None => Ok(()),
        Some(cycle) => {
            let lines: Vec<_> = cycle
                .iter()
                .map(|at| format!("  {at} on {}: {:?}", history[*at].note, history[*at]))
                .collect();
            Err(format!("not strictly serializable:\n{}", lines.join("\n")))
        }
    }
}

fn check_finals(
    history: &[Entry],
    finals: &BTreeMap<u64, Vec<u64>>,
    writer: &BTreeMap<(u64, u64), usize>,
) -> Result<(), String> {
    let mut visible = BTreeSet::new();
    for (key, list) in finals {
        for value in list {
            if !visible.insert((*key, *value)) {
                return Err(format!("{value} stands twice in list {key}: {list:?}"));
            }
            match writer.get(&(*key, *value)) {
                None => return Err(format!("nobody appended {value} to list {key}")),
                Some(at) if history[*at].verdict == Verdict::Fail => {
                    return Err(format!("told as aborted and yet there: {:?}", history[*at]));
                }
                Some(_) => {}
            }
        }
    }
    for entry in history {
        let there = entry.appends.iter().filter(|append| visible.contains(append)).count();
        if entry.verdict == Verdict::Ok && there < entry.appends.len() {
            return Err(format!("acknowledged and gone: {entry:?}"));
        }
        if there != 0 && there != entry.appends.len() {
            return Err(format!("half of it is there: {entry:?}"));
        }
    }
    Ok(())
}

fn check_reads(history: &[Entry], finals: &BTreeMap<u64, Vec<u64>>) -> Result<(), String> {
    for entry in history.iter().filter(|entry| entry.verdict == Verdict::Ok) {
        for (key, list) in &entry.reads {
            let end = finals.get(key).map_or(&[][..], Vec::as_slice);
            if !end.starts_with(list) {
                return Err(format!("list {key} was {list:?} and became {end:?}: {entry:?}"));
            }
        }
    }
    Ok(())
}

/// Who must come before whom: dependencies and real time.
fn edges(
    history: &[Entry],
    finals: &BTreeMap<u64, Vec<u64>>,
    writer: &BTreeMap<(u64, u64), usize>,
) -> Vec<BTreeSet<usize>> {
    let mut edges = vec![BTreeSet::new(); history.len()];
    let mut add = |before: usize, after: usize| {
        if before != after {
            edges[before].insert(after);
        }
    };
    for (key, list) in finals {
        let writers: Vec<usize> = list.iter().map(|value| writer[&(*key, *value)]).collect();
        writers.windows(2).for_each(|two| add(two[0], two[1]));
        for (at, entry) in history.iter().enumerate().filter(|(_, entry)| entry.verdict == Verdict::Ok) {
            let Some(read) = entry.reads.get(key) else { continue };
            if let Some(last) = read.len().checked_sub(1) {
                add(writers[last], at);
            }
            if let Some(next) = writers.get(read.len()) {
                add(at, *next);
            }
        }
    }
    let happened = |entry: &Entry| {
        entry.verdict == Verdict::Ok
            || entry
                .appends
                .first()
                .is_some_and(|(key, v)| finals.get(key).is_some_and(|list| list.contains(v)))
    };
    for (a, first) in history.iter().enumerate().filter(|(_, entry)| entry.verdict == Verdict::Ok) {
        for (b, second) in history.iter().enumerate().filter(|(_, entry)| happened(entry)) {
            if first.completed_ns < second.invoked_ns {
                add(a, b);
            }
        }
    }
    edges
}

/// A cycle, if there is one: depth-first, with an explicit stack.
fn cycle(edges: &[BTreeSet<usize>]) -> Option<Vec<usize>> {
    let mut state = vec![0_u8; edges.len()];
    for root in 0..edges.len() {
        if state[root] != 0 {
            continue;
        }
        let mut path = vec![(root, edges[root].iter())];
        state[root] = 1;
        while let Some((at, next)) = path.last_mut() {
            match next.next() {
                None => {
                    state[*at] = 2;
                    path.pop();
                }
                Some(to) if state[*to] == 1 => {
                    let begin = path.iter().position(|(at, _)| at == to).expect("it is on the path");
                    return Some(path[begin..].iter().map(|(at, _)| *at).collect());
                }
                Some(to) if state[*to] == 0 => {
                    state[*to] = 1;
                    path.push((*to, edges[*to].iter()));
                }
                Some(_) => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(invoked_ns: u64, completed_ns: u64, reads: &[(u64, &[u64])], appends: &[(u64, u64)]) -> Entry {
        let reads = reads.iter().map(|(key, list)| (*key, list.to_vec())).collect();
        Entry {
            invoked_ns,
            completed_ns,
            verdict: Verdict::Ok,
            reads,
            appends: appends.to_vec(),
            note: String::new(),
        }
    }

    #[test]
    fn the_checker_sees_the_classic_anomalies() {
        // Aim: a checker that cannot fail proves nothing. Method: write skew, stale read, long fork, and a good history.
        let finals =
            |lists: &[(u64, &[u64])]| lists.iter().map(|(k, l)| (*k, l.to_vec())).collect::<BTreeMap<_, _>>();
        let skew =
            [entry(0, 9, &[(1, &[]), (2, &[])], &[(1, 1)]), entry(0, 9, &[(1, &[]), (2, &[])], &[(2, 2)])];
        assert!(check(&skew, &finals(&[(1, &[1]), (2, &[2])])).is_err());
        let stale = [entry(0, 1, &[(1, &[])], &[(1, 1)]), entry(2, 3, &[(1, &[])], &[])];
        assert!(check(&stale, &finals(&[(1, &[1])])).is_err());
        let fork = [
            entry(0, 9, &[], &[(1, 1)]),
            entry(0, 9, &[], &[(2, 2)]),
            entry(0, 9, &[(1, &[1]), (2, &[])], &[]),
            entry(0, 9, &[(1, &[]), (2, &[2])], &[]),
        ];
        assert!(check(&fork, &finals(&[(1, &[1]), (2, &[2])])).is_err());
        let good = [entry(0, 1, &[(1, &[])], &[(1, 1)]), entry(2, 3, &[(1, &[1])], &[(1, 2)])];
        assert_eq!(check(&good, &finals(&[(1, &[1, 2])])), Ok(()));
        assert!(check(&good, &finals(&[(1, &[1])])).is_err(), "an acknowledged append is gone");
    }
}
