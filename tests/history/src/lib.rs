//! Judges histories: what clients asked for, when, and what they were told. Nothing here knows how the store works, so the
//! simulation and clusters of real processes are held against the same rules, and what is found can be shown to others.
//!
//! Lists that are only appended to tell their own order of versions, and so do registers that change by compare-and-swap
//! alone. So who must come before whom is known, and with the order of real time added a cycle means that no order of one
//! after another explains what was seen (the method of Elle, Kingsbury and Alvaro 2020; the names are Adya's, 1999). Bank
//! and counter are judged by what must and what may have happened when they were read.
//!
//! | file | what |
//! |---|---|
//! | `transaction.rs` | one transaction as its client saw it |
//! | `lines.rs` | histories as lines of JSON, in the form that Elle and `adya` read |
//! | `lists.rs`, `registers.rs` | versions, and who depends on whom |
//! | `time.rs` | the order of real time, with one edge for each beginning and end |
//! | `graph.rs`, `cycle.rs` | components; the worst and smallest cycle |
//! | `bank.rs`, `counter.rs` | bounds for what is read |
//! | `anomaly.rs` | what can be wrong, by name |

mod anomaly;
mod bank;
mod counter;
mod cycle;
mod graph;
mod lines;
mod lists;
mod registers;
mod sums;
mod time;
mod transaction;

use std::collections::BTreeMap;

pub use anomaly::{Anomaly, Kind};
pub use lines::Unreadable;
pub use transaction::{Found, Op, Outcome, Transaction};

use graph::Graph;

/// Everything that clients saw in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The accounts before the first transfer.
    pub opening: BTreeMap<u64, i64>,
    /// In any order.
    pub transactions: Vec<Transaction>,
}

impl History {
    /// What is wrong with it; nothing when some order of one after another, which keeps to real time, explains all of it.
    /// Takes time in proportion to the history's size (times its logarithm), as long as nothing is wrong.
    #[must_use]
    pub fn anomalies(&self) -> Vec<Anomaly> {
        let all = &self.transactions;
        let mut found = Vec::new();
        let mut graph = Graph::new(all.len());
        let mut happened: Vec<bool> = all.iter().map(|one| one.outcome == Outcome::Ok).collect();
        let lists = lists::Lists::read(all, &mut happened, &mut found);
        let registers = registers::Registers::read(all, &mut happened, &mut found);
        // Of versions that contradict each other no order can be made.
        if found.is_empty() {
            lists.depend(&happened, &mut graph);
            registers.depend(&happened, &mut graph);
            time::order(all, &happened, &mut graph);
            found.extend(cycle::worst(&graph.close(), all));
        }
        bank::check(self, &mut found);
        counter::check(all, &mut found);
        found
    }
}
