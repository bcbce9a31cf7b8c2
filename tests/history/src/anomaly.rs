//! What can be wrong with a history, by name.

use std::fmt;

/// What is wrong. Cycles are named by the worst kind of dependency they need: the fewer they need the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The history itself cannot be judged: a value is written twice, a key is list and register.
    Malformed,
    /// A value that nobody wrote.
    MadeUp,
    /// A value stands twice in a list.
    Duplicate,
    /// A transaction that surely did not happen was seen.
    G1a,
    /// A state in the middle of a transaction was seen.
    G1b,
    /// A transaction does not see its own writes, or its reads change.
    Internal,
    /// Two reads of a list, neither of which is the beginning of the other.
    Fork,
    /// Two writers replaced the same version of a register.
    LostUpdate,
    /// An acknowledged write that nobody saw, though somebody looked later.
    LostWrite,
    /// A cycle of writes.
    G0,
    /// A cycle of writes and reads of them.
    G1c,
    /// A cycle with one read of a version that another one replaced.
    GSingle,
    /// A cycle with several of those.
    G2,
    /// As `G0`, of orders of writes and of real time.
    G0RealTime,
    /// As `G1c`, with real time.
    G1cRealTime,
    /// A read of a version that had been replaced before the read began.
    StaleRead,
    /// As `G2`, with real time.
    G2RealTime,
    /// Accounts that do not sum up, are overdrawn, or hold what no order of transfers gives.
    Bank,
    /// A counter that no order of additions gives.
    Counter,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Malformed => "no history",
            Kind::MadeUp => "made up",
            Kind::Duplicate => "duplicate",
            Kind::G1a => "G1a, aborted read",
            Kind::G1b => "G1b, intermediate read",
            Kind::Internal => "internal",
            Kind::Fork => "fork",
            Kind::LostUpdate => "lost update",
            Kind::LostWrite => "lost write",
            Kind::G0 => "G0",
            Kind::G1c => "G1c",
            Kind::GSingle => "G-single",
            Kind::G2 => "G2",
            Kind::G0RealTime => "G0 against real time",
            Kind::G1cRealTime => "G1c against real time",
            Kind::StaleRead => "stale read (G-single against real time)",
            Kind::G2RealTime => "G2 against real time",
            Kind::Bank => "bank",
            Kind::Counter => "counter",
        })
    }
}

/// One thing that is wrong, and how that is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Its name.
    pub kind: Kind,
    /// How it is seen, with the transactions.
    pub words: String,
}

impl Anomaly {
    pub(crate) fn new(kind: Kind, words: impl Into<String>) -> Anomaly {
        Anomaly { kind, words: words.into() }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.kind, self.words)
    }
}
