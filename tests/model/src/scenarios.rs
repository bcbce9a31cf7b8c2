//! The scenarios that are checked. Ten of them have been visited whole, the others are larger (`docs/model.md` says which, and
//! how far they were visited); together they have every part of the protocol and every mutant (`tests/obligations.rs` says
//! which catches which).

use crate::mutant::Mutant;
use crate::obligation::Sight;
use crate::scenario::{Faults, Read, Scenario, Transaction};

const fn write(at: usize, writes: u8) -> Transaction {
    Transaction { at, reads: 0, writes }
}

const fn update(at: usize, reads: u8, writes: u8) -> Transaction {
    Transaction { at, reads, writes }
}

const fn read(at: usize, keys: &'static [usize]) -> Read {
    Read { at, keys }
}

const X: u8 = 0b01;
const Y: u8 = 0b10;
const NONE: Faults = Scenario::CALM.faults;

/// Each of two transactions reads that the key of the other is absent and writes its own; up to two members are lost.
pub const SKEW: Scenario = Scenario {
    name: "skew",
    transactions: &[update(0, X, Y), update(1, Y, X)],
    reads: &[read(2, &[0, 1])],
    faults: Faults { exclusions: 2, ..NONE },
    wanted: &[Sight::Committed, Sight::Aborted, Sight::SettledCommit, Sight::SettledAbort, Sight::Opened],
    ..Scenario::CALM
};

/// Two writers and two readers of two keys, and a member that is excluded, dead or not.
pub const READERS: Scenario = Scenario {
    name: "readers",
    transactions: &[write(0, X), write(1, Y)],
    reads: &[read(0, &[0, 1]), read(2, &[0, 1])],
    faults: Faults { exclusions: 1, ..NONE },
    wanted: &[Sight::AllCommitted, Sight::SettledCommit, Sight::Read, Sight::Opened],
    ..Scenario::CALM
};

/// Writers of one key, one of which stops waiting; somebody asks what became of them.
pub const ABORTS: Scenario = Scenario {
    name: "aborts",
    holders: &[0b111],
    transactions: &[write(0, X), write(1, X)],
    faults: Faults { exclusions: 1, timeouts: 1, questions: 1, resets: 1, ..NONE },
    wanted: &[Sight::Committed, Sight::Aborted, Sight::SettledCommit, Sight::SettledAbort],
    ..Scenario::CALM
};

/// One write, and members that are lost one after another, also while an epoch is about to open.
pub const TWICE: Scenario = Scenario {
    name: "twice",
    holders: &[0b111],
    transactions: &[write(0, X)],
    reads: &[read(2, &[0])],
    faults: Faults { exclusions: 2, timeouts: 1, questions: 1, forgets: 1, ..NONE },
    wanted: &[Sight::Committed, Sight::Aborted, Sight::SettledCommit, Sight::SettledAbort, Sight::Read],
    ..Scenario::CALM
};

/// A write before and one behind the loss of a member, and a reader.
pub const LATER: Scenario = Scenario {
    name: "later",
    holders: &[0b111],
    transactions: &[write(0, X), write(1, X)],
    reads: &[read(1, &[0]), read(2, &[0])],
    faults: Faults { exclusions: 1, ..NONE },
    wanted: &[Sight::AllCommitted, Sight::Read, Sight::Opened],
    ..Scenario::CALM
};

/// A member without a disc is excluded, or dies and starts again, and joins while others write.
pub const JOIN: Scenario = Scenario {
    name: "join",
    holders: &[0b111],
    transactions: &[write(0, X), write(1, X)],
    reads: &[read(2, &[0])],
    faults: Faults { crashes: 1, restarts: 1, exclusions: 1, joins: 1, ..NONE },
    wanted: &[Sight::AllCommitted, Sight::Joined, Sight::Read],
    ..Scenario::CALM
};

/// The same with discs: only what changed is copied.
pub const REJOIN: Scenario = Scenario { name: "rejoin", discs: true, ..JOIN };

/// A joiner whose epoch does not open since another member is lost.
pub const JOIN_AND_LOSS: Scenario = Scenario {
    name: "join and loss",
    transactions: &[write(0, X)],
    reads: &[read(1, &[0])],
    faults: Faults { exclusions: 2, joins: 1, ..NONE },
    wanted: &[Sight::Committed, Sight::Joined, Sight::SettledCommit, Sight::Read],
    ..JOIN
};

/// Every process ends and starts again from its disc.
pub const RECOVERY: Scenario = Scenario {
    name: "recovery",
    nodes: 2,
    voters: 0b11,
    holders: &[0b11],
    transactions: &[write(0, X), write(1, X)],
    reads: &[read(1, &[0])],
    faults: Faults { crashes: 2, restarts: 2, exclusions: 1, joins: 2, timeouts: 1, ..NONE },
    discs: true,
    wanted: &[Sight::Committed, Sight::Joined, Sight::SettledCommit, Sight::SettledAbort],
    ..Scenario::CALM
};

/// One table is on the first node alone, the other on the two others; the first node returns.
pub const PARTIAL: Scenario = Scenario {
    name: "partial copies",
    holders: &[0b001, 0b110],
    transactions: &[write(0, X), update(1, X, Y)],
    reads: &[read(2, &[1])],
    faults: Faults { exclusions: 2, joins: 1, ..NONE },
    discs: true,
    wanted: &[Sight::Committed, Sight::Carried, Sight::Joined, Sight::Read],
    ..Scenario::CALM
};

/// The same, and the coordinator, without a disc, is lost with the first node: what stays in doubt has to be held by who copies from
/// the node that is left.
pub const CARRIED: Scenario = Scenario {
    name: "carried",
    transactions: &[update(1, X, Y)],
    reads: &[read(2, &[1])],
    faults: Faults { crashes: 1, restarts: 1, exclusions: 2, joins: 2, ..NONE },
    discs: false,
    wanted: &[Sight::Committed, Sight::Carried, Sight::Joined, Sight::Read],
    ..PARTIAL
};

/// A table on two of three nodes, which are lost one after another and return in either order.
pub const HOME: Scenario = Scenario {
    name: "home",
    holders: &[0b011],
    transactions: &[write(1, X), write(0, X)],
    reads: &[read(0, &[0])],
    faults: Faults { exclusions: 2, joins: 2, ..NONE },
    discs: true,
    wanted: &[Sight::AllCommitted, Sight::Joined, Sight::Read],
    ..Scenario::CALM
};

/// A node whose clock is ahead of the others', since it has a table for itself, is lost.
pub const AHEAD: Scenario = Scenario {
    name: "ahead",
    holders: &[0b111, 0b001],
    transactions: &[write(0, Y), write(0, Y), write(0, X), write(1, X)],
    faults: Faults { exclusions: 1, ..NONE },
    wanted: &[Sight::AllCommitted, Sight::SettledCommit, Sight::Opened],
    ..Scenario::CALM
};

/// And joins again.
pub const AHEAD_AND_BACK: Scenario = Scenario {
    name: "ahead and back",
    transactions: &[write(0, Y), write(0, Y), write(1, X)],
    reads: &[read(0, &[0])],
    faults: Faults { exclusions: 1, joins: 1, ..NONE },
    discs: true,
    wanted: &[Sight::AllCommitted, Sight::Joined, Sight::Read],
    ..AHEAD
};

/// Leases by the clock, under leaders of the control plane that change.
pub const LEASES: Scenario = Scenario {
    name: "leases",
    transactions: &[],
    reads: &[],
    faults: Faults { exclusions: 1, elections: 2, ..NONE },
    wanted: &[Sight::Opened],
    ..LEASED_READ
};

/// Leases by the clock, under leaders of the control plane that change.
pub const LEASED_READ: Scenario = Scenario {
    name: "leased read",
    holders: &[0b111],
    transactions: &[write(0, X)],
    reads: &[read(2, &[0])],
    faults: Faults { exclusions: 1, elections: 1, ..NONE },
    lease: 2,
    wanted: &[Sight::Committed, Sight::Read, Sight::Opened],
    ..Scenario::CALM
};

/// Without leases: a reader asks the voters, one of which has no data.
pub const WITNESS: Scenario = Scenario {
    name: "witness",
    nodes: 4,
    voters: 0b1011,
    witnesses: 0b1000,
    holders: &[0b111],
    transactions: &[write(1, X)],
    reads: &[read(0, &[0])],
    faults: Faults { exclusions: 2, ..NONE },
    asks: true,
    wanted: &[Sight::Committed, Sight::Read, Sight::Opened],
    ..Scenario::CALM
};

/// Every scenario.
pub const ALL: [Scenario; 17] = [
    SKEW,
    READERS,
    ABORTS,
    TWICE,
    LATER,
    JOIN,
    REJOIN,
    JOIN_AND_LOSS,
    RECOVERY,
    PARTIAL,
    CARRIED,
    HOME,
    AHEAD,
    AHEAD_AND_BACK,
    LEASES,
    LEASED_READ,
    WITNESS,
];

/// The scenario that catches a mutant, with the mutant in it.
pub fn that_catches(mutant: Mutant) -> Scenario {
    let scenario = match mutant {
        Mutant::VisibleMarksOnly => READERS,
        Mutant::ReadsAtCoordinatorOnly => SKEW,
        Mutant::SurvivorsProposals => RECOVERY,
        Mutant::DecisionsBeforeOpening => TWICE,
        Mutant::UnopenedMemberSurvives => JOIN_AND_LOSS,
        Mutant::AnyMemberSaysAborted => ABORTS,
        Mutant::ResetLosesMessages => ABORTS,
        Mutant::JoinerServesEarly => JOIN,
        Mutant::ClockIgnoresCommits => AHEAD,
        Mutant::FenceForgetsAborts => ABORTS,
        Mutant::AbortToldEarly => ABORTS,
        Mutant::CutOffLeaderGrants => LEASES,
        Mutant::AloneOnTimeout => ABORTS,
        Mutant::ForgottenOnApply => TWICE,
        Mutant::CoordinatorsTimestamp => READERS,
        Mutant::ExcludedBeforeItsLease => LEASES,
        Mutant::PreparesToTheLiving => JOIN,
        Mutant::RestartedSurvives => REJOIN,
        Mutant::NoSurvivorNeeded => PARTIAL,
        Mutant::CarriedBySurvivorsOnly => CARRIED,
        Mutant::RangesByRowsFound => SKEW,
        Mutant::DeltaFromOwnClock => AHEAD_AND_BACK,
        Mutant::NewLeaderExcludesAtOnce => LEASES,
        Mutant::StagedBeforeTheTail => JOIN,
        Mutant::OldCopyBrings => HOME,
        Mutant::MembersAskedForVoters => WITNESS,
    };
    Scenario { mutant: Some(mutant), ..scenario }
}
