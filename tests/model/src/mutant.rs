//! Simpler texts that look right and are wrong. The first eighteen are those of the protocol's own list; the others were
//! tempting while the model was written.

/// One of them, planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A snapshot waits for marks it can see, and takes no notice of a commit whose mark was below it and is gone.
    VisibleMarksOnly,
    /// Reads are validated and locked at the coordinator alone.
    ReadsAtCoordinatorOnly,
    /// A flush commits at the largest proposal that is left, in place of one stamp above all clocks.
    SurvivorsProposals,
    /// A decision of a flush is applied, shown and told when it is staged.
    DecisionsBeforeOpening,
    /// Who was a member of an epoch that never opened counts as its survivor.
    UnopenedMemberSurvives,
    /// Whoever has a record of an abort says "aborted".
    AnyMemberSaysAborted,
    /// A reset connection loses what was on it.
    ResetLosesMessages,
    /// A joiner serves when it hears of its epoch.
    JoinerServesEarly,
    /// A proposal is later than every snapshot served, and takes no notice of commits applied.
    ClockIgnoresCommits,
    /// A fenced node still records aborts, behind its report.
    FenceForgetsAborts,
    /// The caller hears "aborted" when it is decided.
    AbortToldEarly,
    /// A leader without a majority goes on granting leases.
    CutOffLeaderGrants,
    /// A coordinator that misses a vote tells "aborted" by itself.
    AloneOnTimeout,
    /// Outcomes are forgotten when they are applied.
    ForgottenOnApply,
    /// The coordinator's own proposal is the commit timestamp.
    CoordinatorsTimestamp,
    /// A node is excluded while it may hold a lease.
    ExcludedBeforeItsLease,
    /// Prepares go to those that are believed alive.
    PreparesToTheLiving,
    /// A process that was started anew, without what it had prepared, counts as survivor.
    RestartedSurvives,
    /// "Prepared at every survivor" commits, also where a table has no survivor.
    NoSurvivorNeeded,
    /// What a flush leaves in doubt is held by those who had prepared it, and by nobody who has copied the rows since.
    CarriedBySurvivorsOnly,
    /// A range is validated and locked by the rows that were found in it.
    RangesByRowsFound,
    /// A joiner asks for what is later than its own clock.
    DeltaFromOwnClock,
    /// A new leader excludes at once, whatever its predecessor granted.
    NewLeaderExcludesAtOnce,
    /// A joiner stages its epoch while commits are still on their way to it.
    StagedBeforeTheTail,
    /// Any copy of a table without survivors may bring it back.
    OldCopyBrings,
    /// Without a lease a reader asks a majority of the epoch's members, in place of the voters.
    MembersAskedForVoters,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 26] = [
        Mutant::VisibleMarksOnly,
        Mutant::ReadsAtCoordinatorOnly,
        Mutant::SurvivorsProposals,
        Mutant::DecisionsBeforeOpening,
        Mutant::UnopenedMemberSurvives,
        Mutant::AnyMemberSaysAborted,
        Mutant::ResetLosesMessages,
        Mutant::JoinerServesEarly,
        Mutant::ClockIgnoresCommits,
        Mutant::FenceForgetsAborts,
        Mutant::AbortToldEarly,
        Mutant::CutOffLeaderGrants,
        Mutant::AloneOnTimeout,
        Mutant::ForgottenOnApply,
        Mutant::CoordinatorsTimestamp,
        Mutant::ExcludedBeforeItsLease,
        Mutant::PreparesToTheLiving,
        Mutant::RestartedSurvives,
        Mutant::NoSurvivorNeeded,
        Mutant::CarriedBySurvivorsOnly,
        Mutant::RangesByRowsFound,
        Mutant::DeltaFromOwnClock,
        Mutant::NewLeaderExcludesAtOnce,
        Mutant::StagedBeforeTheTail,
        Mutant::OldCopyBrings,
        Mutant::MembersAskedForVoters,
    ];
}
