//! Registers that change by compare-and-swap alone. Every version names the one before it, so nothing is guessed: two
//! successors of one version are an update that was lost.

use std::collections::BTreeMap;

use crate::graph::{About, Graph, Why};
use crate::{Anomaly, Found, Kind, Op, Outcome, Transaction};

/// A version of a register; nothing is the one before the first.
type Version = (u64, Option<u64>);

/// What one transaction does with one register.
struct Touch {
    by: usize,
    key: u64,
    /// The version that it found.
    before: Option<u64>,
    /// Versions that it wrote; the last one is there afterwards.
    wrote: Vec<u64>,
}

/// What the history says of its registers.
pub(crate) struct Registers {
    touches: Vec<Touch>,
    /// Which touch wrote a version.
    writers: BTreeMap<(u64, u64), usize>,
    /// Who replaced a version.
    next: BTreeMap<Version, usize>,
}

impl Registers {
    /// Reads a history, and notes which transactions happened after all.
    pub(crate) fn read(all: &[Transaction], happened: &mut [bool], found: &mut Vec<Anomaly>) -> Registers {
        let mut registers =
            Registers { touches: touches(all, found), writers: BTreeMap::new(), next: BTreeMap::new() };
        registers.note_writers(all, found);
        registers.check_found(all, happened, found);
        registers.note_next(all, happened, found);
        registers
    }

    fn note_writers(&mut self, all: &[Transaction], found: &mut Vec<Anomaly>) {
        for (at, touch) in self.touches.iter().enumerate() {
            for value in &touch.wrote {
                if self.writers.insert((touch.key, *value), at).is_some() {
                    let words = format!("{value} is written to {} twice: {}", touch.key, all[touch.by]);
                    found.push(Anomaly::new(Kind::Malformed, words));
                }
            }
        }
    }

    /// What was found had been written, as the last of a transaction that did not fail. Whoever wrote it found a version
    /// too, and so on back.
    fn check_found(&self, all: &[Transaction], happened: &mut [bool], found: &mut Vec<Anomaly>) {
        let mut open: Vec<usize> =
            (0..self.touches.len()).filter(|at| happened[self.touches[*at].by]).collect();
        let mut known = vec![false; self.touches.len()];
        while let Some(at) = open.pop() {
            if std::mem::replace(&mut known[at], true) {
                continue;
            }
            let touch = &self.touches[at];
            let Some(value) = touch.before else { continue };
            let Some(before) = self.writers.get(&(touch.key, value)) else {
                let words =
                    format!("nobody wrote the {value} in {} that was found by {}", touch.key, all[touch.by]);
                found.push(Anomaly::new(Kind::MadeUp, words));
                continue;
            };
            let writer = &self.touches[*before];
            if all[writer.by].outcome == Outcome::Failed {
                let words = format!("{} found the {value} of {}", all[touch.by], all[writer.by]);
                found.push(Anomaly::new(Kind::G1a, words));
                continue;
            }
            if writer.wrote.last() != Some(&value) {
                let words = format!("{} saw the middle of {}", all[touch.by], all[writer.by]);
                found.push(Anomaly::new(Kind::G1b, words));
            }
            happened[writer.by] = true;
            // All that it touched has happened with it.
            open.extend(self.of(writer.by));
        }
    }

    /// The touches of one transaction: they stand in the order of transactions.
    fn of(&self, by: usize) -> std::ops::Range<usize> {
        let end = |by| self.touches.partition_point(|touch| touch.by < by);
        end(by)..end(by + 1)
    }

    fn note_next(&mut self, all: &[Transaction], happened: &[bool], found: &mut Vec<Anomaly>) {
        for (at, touch) in self.touches.iter().enumerate() {
            if touch.wrote.is_empty() || !happened[touch.by] {
                continue;
            }
            if let Some(other) = self.next.insert((touch.key, touch.before), at) {
                let words = format!(
                    "{} and {} both replaced {:?} in {}",
                    all[self.touches[other].by], all[touch.by], touch.before, touch.key
                );
                found.push(Anomaly::new(Kind::LostUpdate, words));
            }
        }
    }

    /// Adds who depends on whom. Nothing may be wrong with the versions.
    pub(crate) fn depend(&self, happened: &[bool], graph: &mut Graph) {
        for touch in self.touches.iter().filter(|touch| happened[touch.by]) {
            let about = |value: u64| About { key: touch.key, value };
            if let Some(value) = touch.before {
                let why = if touch.wrote.is_empty() { Why::Wr } else { Why::Ww };
                let version = touch.wrote.last().copied().unwrap_or(value);
                graph.add(self.touches[self.writers[&(touch.key, value)]].by, touch.by, why, about(version));
            }
            if let Some(next) = self.next.get(&(touch.key, touch.before)).map(|at| &self.touches[*at]) {
                graph.add(touch.by, next.by, Why::Rw, about(next.wrote.last().copied().unwrap_or_default()));
            }
        }
    }
}

fn touches(all: &[Transaction], found: &mut Vec<Anomaly>) -> Vec<Touch> {
    let swapped: std::collections::BTreeSet<u64> =
        all.iter().flat_map(|one| &one.ops).filter_map(swapped).collect();
    let mut touches = Vec::new();
    for (by, one) in all.iter().enumerate() {
        let mut own: BTreeMap<u64, Touch> = BTreeMap::new();
        for op in &one.ops {
            let (key, before, wrote) = match op {
                Op::Read { .. } if one.outcome != Outcome::Ok => continue,
                Op::Read { key, found: Found::Register(value) } => (*key, Some(*value), None),
                Op::Read { key, found: Found::Nothing } if swapped.contains(key) => (*key, None, None),
                Op::Swap { key, old, new } => (*key, *old, Some(*new)),
                _ => continue,
            };
            let touch = own.entry(key).or_insert_with(|| Touch { by, key, before, wrote: Vec::new() });
            let now = touch.wrote.last().copied().or(touch.before);
            if now != before {
                found.push(Anomaly::new(Kind::Internal, format!("{key} changes inside of {one}")));
            }
            touch.wrote.extend(wrote);
        }
        touches.extend(own.into_values());
    }
    touches
}

fn swapped(op: &Op) -> Option<u64> {
    match op {
        Op::Swap { key, .. } => Some(*key),
        _ => None,
    }
}
