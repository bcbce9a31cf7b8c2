//! Lists that are only appended to. The longest read of a list is its order of versions; every other read has to be a
//! beginning of it. What was appended and never read stands behind all that was.

use std::collections::BTreeMap;

use crate::graph::{About, Graph, Why};
use crate::{Anomaly, Found, Kind, Op, Outcome, Transaction};

/// A read without the reader's own appends: who, of what, and how long the list was.
struct Seen {
    reader: usize,
    key: u64,
    length: usize,
}

/// What the history says of its lists.
#[derive(Default)]
pub(crate) struct Lists {
    /// Who appended a value to a list.
    writers: BTreeMap<(u64, u64), usize>,
    /// The longest read of each list.
    longest: BTreeMap<u64, Vec<u64>>,
    seen: Vec<Seen>,
    /// When the last look at each list began.
    looked: BTreeMap<u64, u64>,
    /// Appends that nobody read.
    unseen: Vec<(u64, u64)>,
}

impl Lists {
    /// Reads a history, and notes which transactions happened after all.
    pub(crate) fn read(all: &[Transaction], happened: &mut [bool], found: &mut Vec<Anomaly>) -> Lists {
        let mut lists = Lists::default();
        lists.note_writers(all, found);
        let ok = || all.iter().enumerate().filter(|(_, one)| one.outcome == Outcome::Ok);
        ok().for_each(|(_, one)| lists.note_longest(one));
        ok().for_each(|(at, one)| lists.note_reads(at, one, found));
        lists.check_versions(all, happened, found);
        lists.check_ends(all, found);
        lists.check_unseen(all, found);
        lists
    }

    fn note_writers(&mut self, all: &[Transaction], found: &mut Vec<Anomaly>) {
        for (at, one) in all.iter().enumerate() {
            for op in &one.ops {
                let Op::Append { key, value } = op else { continue };
                if self.writers.insert((*key, *value), at).is_some() {
                    found.push(Anomaly::new(
                        Kind::Malformed,
                        format!("{value} is appended to {key} twice: {one}"),
                    ));
                }
            }
        }
    }

    fn note_longest(&mut self, one: &Transaction) {
        for (key, list) in one.ops.iter().filter_map(list_of) {
            let longest = self.longest.entry(key).or_default();
            if list.len() > longest.len() {
                *longest = list.to_vec();
            }
            let looked = self.looked.entry(key).or_default();
            *looked = one.invoked.max(*looked);
        }
    }

    /// The reads of one transaction: each is a beginning of the longest one, and they agree with each other and with what
    /// it appended itself.
    fn note_reads(&mut self, reader: usize, one: &Transaction, found: &mut Vec<Anomaly>) {
        let mut own: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut before: BTreeMap<u64, usize> = BTreeMap::new();
        for op in &one.ops {
            if let Op::Append { key, value } = op {
                own.entry(*key).or_default().push(*value);
            }
            let Some((key, list)) = list_of(op) else { continue };
            if !self.longest[&key].starts_with(list) {
                let words = format!("{key} was read as {:?}, and by {one}", self.longest[&key]);
                found.push(Anomaly::new(Kind::Fork, words));
            }
            let appended = own.get(&key).map_or(&[][..], Vec::as_slice);
            let length = list.len().saturating_sub(appended.len());
            if !list.ends_with(appended) || before.get(&key).is_some_and(|first| *first != length) {
                found.push(Anomaly::new(Kind::Internal, format!("{key} changes inside of {one}")));
            } else if before.insert(key, length).is_none() {
                self.seen.push(Seen { reader, key, length });
            }
        }
    }

    /// Each version was written once, by somebody who did not fail.
    fn check_versions(&self, all: &[Transaction], happened: &mut [bool], found: &mut Vec<Anomaly>) {
        for (key, list) in &self.longest {
            let mut once = std::collections::BTreeSet::new();
            for value in list {
                if !once.insert(value) {
                    found.push(Anomaly::new(
                        Kind::Duplicate,
                        format!("{value} stands twice in list {key}: {list:?}"),
                    ));
                }
                match self.writers.get(&(*key, *value)) {
                    None => {
                        let words = format!("nobody appended the {value} in list {key}: {list:?}");
                        found.push(Anomaly::new(Kind::MadeUp, words));
                    }
                    Some(at) if all[*at].outcome == Outcome::Failed => {
                        let words = format!("list {key} has {value}, told as failed: {}", all[*at]);
                        found.push(Anomaly::new(Kind::G1a, words));
                    }
                    Some(at) => happened[*at] = true,
                }
            }
        }
    }

    /// Nobody reads a list that ends between two appends of one transaction.
    fn check_ends(&self, all: &[Transaction], found: &mut Vec<Anomaly>) {
        let mut last = BTreeMap::new();
        for (at, one) in all.iter().enumerate() {
            for op in &one.ops {
                if let Op::Append { key, value } = op {
                    last.insert((at, *key), *value);
                }
            }
        }
        for seen in &self.seen {
            let Some(value) = seen.length.checked_sub(1).map(|end| self.longest[&seen.key][end]) else {
                continue;
            };
            let Some(writer) = self.writers.get(&(seen.key, value)) else { continue };
            if *writer != seen.reader && last[&(*writer, seen.key)] != value {
                let words = format!("{} saw the middle of {}", all[seen.reader], all[*writer]);
                found.push(Anomaly::new(Kind::G1b, words));
            }
        }
    }

    /// Appends that are in no read. An acknowledged one is lost when somebody looked later.
    fn check_unseen(&mut self, all: &[Transaction], found: &mut Vec<Anomaly>) {
        let seen: std::collections::BTreeSet<(u64, u64)> =
            self.longest.iter().flat_map(|(key, list)| list.iter().map(|value| (*key, *value))).collect();
        self.unseen = self.writers.keys().filter(|append| !seen.contains(append)).copied().collect();
        for (key, value) in &self.unseen {
            let one = &all[self.writers[&(*key, *value)]];
            let looked = self.looked.get(key).is_some_and(|looked| *looked > one.completed);
            if one.outcome == Outcome::Ok && looked {
                let words = format!("{value} was acknowledged and is in no read of {key}: {one}");
                found.push(Anomaly::new(Kind::LostWrite, words));
            }
        }
    }

    /// Adds who depends on whom. Nothing may be wrong with the versions.
    pub(crate) fn depend(&self, happened: &[bool], graph: &mut Graph) {
        let writers =
            |key: u64, list: &[u64]| list.iter().map(|value| self.writers[&(key, *value)]).collect();
        let chains: BTreeMap<u64, Vec<usize>> =
            self.longest.iter().map(|(key, list)| (*key, writers(*key, list))).collect();
        let mut ends = self.ends(happened, graph);
        for (key, chain) in &chains {
            (1..chain.len())
                .for_each(|at| graph.add(chain[at - 1], chain[at], Why::Ww, self.about(*key, at)));
            if let (Some(last), Some(end)) = (chain.last(), ends.get_mut(key)) {
                end.follows(*last, Why::Ww, graph);
            }
        }
        for Seen { reader, key, length } in &self.seen {
            let chain = &chains[key];
            if let Some(at) = length.checked_sub(1) {
                graph.add(chain[at], *reader, Why::Wr, self.about(*key, at));
            }
            match (chain.get(*length), ends.get_mut(key)) {
                (Some(next), _) => graph.add(*reader, *next, Why::Rw, self.about(*key, *length)),
                (None, Some(end)) => end.follows(*reader, Why::Rw, graph),
                (None, None) => {}
            }
        }
    }

    fn about(&self, key: u64, at: usize) -> About {
        About { key, value: self.longest[&key][at] }
    }

    fn ends(&self, happened: &[bool], graph: &mut Graph) -> BTreeMap<u64, End> {
        let mut ends = BTreeMap::new();
        for (key, value) in &self.unseen {
            let (writer, about) = (self.writers[&(*key, *value)], About { key: *key, value: *value });
            if happened[writer] {
                let end = ends.entry(*key).or_insert_with(|| End {
                    point: graph.point(),
                    unseen: Vec::new(),
                    direct: 0,
                });
                graph.add(end.point, writer, Why::Pass, about);
                end.unseen.push((writer, about));
            }
        }
        ends
    }
}

/// The end of a list as far as anybody read it, where appends follow that nobody read.
struct End {
    point: usize,
    /// Who appended them: sorted by what they appended, not by who.
    unseen: Vec<(usize, About)>,
    /// How many of those read or wrote the end themselves.
    direct: usize,
}

impl End {
    /// One read or wrote the end: what nobody read comes behind it. The way over the point would lead one that appended
    /// such a thing itself back to itself, so it is led to the others. Two of them contradict each other already.
    fn follows(&mut self, one: usize, why: Why, graph: &mut Graph) {
        if !self.unseen.iter().any(|(writer, _)| *writer == one) {
            graph.add(one, self.point, why, About::default());
        } else if self.direct < 3 {
            self.direct += 1;
            self.unseen.iter().for_each(|(writer, about)| graph.add(one, *writer, why, *about));
        }
    }
}

/// A read of a list. Nothing is an empty one, which does no harm where it is a register's.
fn list_of(op: &Op) -> Option<(u64, &[u64])> {
    match op {
        Op::Read { key, found: Found::List(list) } => Some((*key, list)),
        Op::Read { key, found: Found::Nothing } => Some((*key, &[])),
        _ => None,
    }
}
