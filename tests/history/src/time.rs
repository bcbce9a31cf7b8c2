//! The order of real time: who was over before another began. Pairs of them would be a square number of edges; here all
//! ends stand on one chain of moments. An end leads to its moment, a moment to the next one, and the last moment before
//! a beginning to who begins. So there is a way from one transaction to another exactly when it was over before.

use crate::graph::{About, Graph, Why};
use crate::{Outcome, Transaction};

/// Adds the order of real time. Who was told nothing is never over.
pub(crate) fn order(all: &[Transaction], happened: &[bool], graph: &mut Graph) {
    let mut ends: Vec<_> =
        all.iter().filter(|one| one.outcome == Outcome::Ok).map(|one| one.completed).collect();
    ends.sort_unstable();
    ends.dedup();
    let moments: Vec<usize> = ends.iter().map(|_| graph.point()).collect();
    moments.windows(2).for_each(|two| graph.add(two[0], two[1], Why::Time, About::default()));
    for (at, one) in all.iter().enumerate().filter(|(at, _)| happened[*at]) {
        let before = ends.partition_point(|end| *end < one.invoked);
        if before > 0 {
            graph.add(moments[before - 1], at, Why::Time, About::default());
        }
        if one.outcome == Outcome::Ok {
            graph.add(
                at,
                moments[ends.partition_point(|end| *end < one.completed)],
                Why::Time,
                About::default(),
            );
        }
    }
}
