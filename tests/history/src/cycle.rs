//! The worst cycle, and the smallest one of its kind that is found within a bound on the work. Which is the worst: of
//! writes alone, of writes and reads, with one read of what was replaced, with several; each first without real time.

use std::collections::VecDeque;

use crate::graph::{Closed, Edge, Why};
use crate::{Anomaly, Kind, Transaction};

/// So many edges are walked for the smallest cycle of a kind. The kinds that need no certain edge always have one by then.
const STEPS_MAX: usize = 20_000_000;
/// So many transactions of a cycle are told.
const TOLD_MAX: usize = 12;

const WRITES: u8 = Why::Ww.bit() | Why::Pass.bit();
const READS: u8 = WRITES | Why::Wr.bit();
const ALL: u8 = READS | Why::Rw.bit();
const TIME: u8 = Why::Time.bit();

/// A kind of cycle.
struct Class {
    kind: Kind,
    /// The reasons that may occur.
    reasons: u8,
    /// The reason that must, and where a cycle is looked for; from there back, these may occur.
    begin: u8,
    back: u8,
}

const CLASSES: [Class; 8] = [
    Class { kind: Kind::G0, reasons: WRITES, begin: WRITES, back: WRITES },
    Class { kind: Kind::G1c, reasons: READS, begin: READS, back: READS },
    Class { kind: Kind::GSingle, reasons: ALL, begin: Why::Rw.bit(), back: READS },
    Class { kind: Kind::G2, reasons: ALL, begin: Why::Rw.bit(), back: ALL },
    Class { kind: Kind::G0RealTime, reasons: WRITES | TIME, begin: WRITES, back: WRITES | TIME },
    Class { kind: Kind::G1cRealTime, reasons: READS | TIME, begin: READS, back: READS | TIME },
    Class { kind: Kind::StaleRead, reasons: ALL | TIME, begin: Why::Rw.bit(), back: READS | TIME },
    Class { kind: Kind::G2RealTime, reasons: ALL | TIME, begin: Why::Rw.bit(), back: ALL | TIME },
];

/// The worst cycle, in words.
pub(crate) fn worst(graph: &Closed, all: &[Transaction]) -> Option<Anomaly> {
    let tangled = graph.components(ALL | TIME);
    let entangled = (0..all.len()).filter(|at| tangled[*at].is_some()).count();
    if entangled == 0 {
        return None;
    }
    CLASSES.iter().find_map(|class| {
        let cycle = smallest(graph, class)?;
        Some(Anomaly::new(class.kind, words(graph, &cycle, all, entangled)))
    })
}

/// The smallest cycle of a kind: its edges.
fn smallest(graph: &Closed, class: &Class) -> Option<Vec<Edge>> {
    let components = graph.components(class.reasons);
    let mut ways = Ways::new(graph, class.back);
    let mut best: Option<(usize, Vec<Edge>)> = None;
    for first in &graph.edges {
        let (from, to) = (first.from as usize, first.to as usize);
        if first.why.bit() & class.begin == 0
            || components[from].is_none()
            || components[from] != components[to]
        {
            continue;
        }
        if ways.steps > STEPS_MAX {
            break;
        }
        let Some(back) = ways.shortest(to, from) else { continue };
        let cycle: Vec<_> = std::iter::once(*first).chain(back).collect();
        let length = cycle.iter().filter(|edge| graph.is_transaction(edge.to as usize)).count();
        if best.as_ref().is_none_or(|(least, _)| length < *least) {
            best = Some((length, cycle));
        }
        if length == 2 {
            break;
        }
    }
    best.map(|(_, cycle)| cycle)
}

/// Shortest ways, counted in transactions: points between cost nothing.
struct Ways<'a> {
    graph: &'a Closed,
    reasons: u8,
    steps: usize,
    /// The last search that came to a node, and by which edge.
    done: Vec<usize>,
    by: Vec<usize>,
    search: usize,
}

impl<'a> Ways<'a> {
    fn new(graph: &'a Closed, reasons: u8) -> Ways<'a> {
        let nodes = graph.nodes();
        Ways { graph, reasons, steps: 0, done: vec![0; nodes], by: vec![0; nodes], search: 0 }
    }

    fn shortest(&mut self, from: usize, to: usize) -> Option<Vec<Edge>> {
        self.search += 1;
        let mut next = VecDeque::from([(from, 0)]);
        while let Some((node, by)) = next.pop_front() {
            if std::mem::replace(&mut self.done[node], self.search) == self.search {
                continue;
            }
            self.by[node] = by;
            if node == to {
                return Some(self.way(from, to));
            }
            for at in self.graph.of(node) {
                self.steps += 1;
                let edge = self.graph.edges[at];
                let end = edge.to as usize;
                if edge.why.bit() & self.reasons == 0 || self.done[end] == self.search {
                    continue;
                }
                match self.graph.is_transaction(end) {
                    true => next.push_back((end, at)),
                    false => next.push_front((end, at)),
                }
            }
        }
        None
    }

    fn way(&self, from: usize, to: usize) -> Vec<Edge> {
        let mut edges = Vec::new();
        let mut at = to;
        while at != from {
            let edge = self.graph.edges[self.by[at]];
            edges.push(edge);
            at = edge.from as usize;
        }
        edges.reverse();
        edges
    }
}

fn words(graph: &Closed, cycle: &[Edge], all: &[Transaction], entangled: usize) -> String {
    let begin = cycle.iter().position(|edge| graph.is_transaction(edge.from as usize)).unwrap_or_default();
    let mut told: Vec<usize> = cycle.iter().map(|edge| edge.from as usize).collect();
    told.retain(|node| graph.is_transaction(*node));
    let mut lines = vec![format!(
        "a cycle of {} transactions ({entangled} of {} stand on cycles)",
        told.len(),
        all.len()
    )];
    lines.extend(told.iter().take(TOLD_MAX).map(|at| format!("  T{at}: {}", all[*at])));
    // What leads over points between is one reason: that of its first edge.
    let mut first = None;
    for edge in cycle[begin..].iter().chain(&cycle[..begin]) {
        let reason = *first.get_or_insert(*edge);
        if graph.is_transaction(edge.to as usize) {
            lines.push(format!("  T{} comes before T{}: {}", reason.from, edge.to, reason_of(&reason, edge)));
            first = None;
        }
    }
    lines.truncate(2 + 2 * TOLD_MAX);
    lines.join("\n")
}

fn reason_of(first: &Edge, last: &Edge) -> String {
    let (from, to, about) = (first.from, last.to, last.about);
    let (key, value) = (about.key, about.value);
    match first.why {
        Why::Ww | Why::Pass => format!("T{to} wrote {value} to {key} behind what T{from} wrote"),
        Why::Wr => format!("T{to} read the {value} that T{from} wrote to {key}"),
        Why::Rw => format!("T{from} read {key} as it was before T{to} wrote {value}"),
        Why::Time => format!("T{from} was over before T{to} began"),
    }
}
