//! Whether what callers have seen is strictly serializable: there is an order of all transactions that explains every read,
//! and that nobody with a watch can contradict. Histories are short, so orders are simply tried.

use crate::cluster::{Cluster, KEYS, Set, each};
use crate::obligation::Obligation;
use crate::scenario::Scenario;

/// One transaction or read as its caller saw it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The keys it has read, and which transaction's version, counted from 1.
    pub reads: Set,
    /// See `reads`.
    pub seen: [u8; KEYS],
    /// The keys it has written, by which transaction, counted from 1.
    pub writes: Set,
    /// See `writes`.
    pub writer: u8,
    /// The entries that were over before it began.
    pub after: Set,
}

/// Whether an order exists. `timed`: one that keeps what was over before something else began before it.
pub fn is_serializable(entries: &[Option<Entry>], timed: bool) -> bool {
    let all = entries.iter().enumerate().filter(|(_, entry)| entry.is_some());
    let all = all.fold(0, |set, (at, _)| set | 1 << at);
    extend(entries, timed, all, 0, [0; KEYS])
}

fn extend(entries: &[Option<Entry>], timed: bool, all: Set, placed: Set, last: [u8; KEYS]) -> bool {
    if placed == all {
        return true;
    }
    each(all & !placed).any(|at| {
        let Some(entry) = entries[at] else { return false };
        let waits = timed && entry.after & all & !placed > 0;
        if waits || !each(entry.reads).all(|key| entry.seen[key] == last[key]) {
            return false;
        }
        let mut next = last;
        each(entry.writes).for_each(|key| next[key] = entry.writer);
        extend(entries, timed, all, placed | 1 << at, next)
    })
}

impl Cluster {
    /// Looks at everything that callers have heard, and at what they saw of those that have heard nothing.
    pub(crate) fn check_history(&mut self, scenario: &Scenario) {
        let entries = self.history(scenario);
        if !is_serializable(&entries, false) {
            self.break_off(Obligation::O5);
        } else if !is_serializable(&entries, true) {
            self.break_off(Obligation::O6);
        }
    }

    fn history(&self, scenario: &Scenario) -> Vec<Option<Entry>> {
        let count = scenario.transactions.len();
        let mut entries = vec![None; count + scenario.reads.len()];
        for (read, one) in scenario.reads.iter().enumerate().filter(|(read, _)| self.readings[*read].done) {
            let reading = &self.readings[read];
            let reads = one.keys.iter().fold(0, |set, key| set | 1 << key);
            entries[count + read] =
                Some(Entry { reads, seen: reading.seen, writes: 0, writer: 0, after: reading.after });
        }
        let mut wanted: Set =
            (0..count).filter(|tx| self.calls[*tx].committed).fold(0, |set, tx| set | 1 << tx);
        for entry in entries.iter().flatten() {
            wanted |= seen(entry);
        }
        // What was seen has happened, and so has what it had seen.
        while let Some(tx) = each(wanted).find(|tx| entries[*tx].is_none()) {
            let (one, call) = (scenario.transactions[tx], self.calls[tx]);
            let entry = Entry {
                reads: one.reads,
                seen: call.seen,
                writes: one.writes,
                writer: tx as u8 + 1,
                after: call.after,
            };
            wanted |= seen(&entry);
            entries[tx] = Some(entry);
        }
        entries
    }
}

/// The transactions whose versions it has read.
fn seen(entry: &Entry) -> Set {
    let versions = each(entry.reads).map(|key| entry.seen[key]).filter(|version| *version > 0);
    versions.fold(0, |set, version| set | 1 << (version - 1))
}
