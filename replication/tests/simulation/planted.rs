//! Known mistakes, planted between the engine under test and the world: each is a simpler text of the protocol that looks
//! right. A simulation that does not catch them proves nothing.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// None: the protocol as it is.
    Nothing,
    /// The caller hears "aborted" as soon as the abort is sent.
    AbortToldEarly,
    /// A reader that meets a pending mark takes the version below it.
    ReadIgnoresMarks,
    /// A reader returns the old version when a commit above its snapshot was proposed below it.
    ReadNeverRaised,
    /// The flush aborts whatever is in doubt, records or not.
    FlushAborts,
    /// A reset connection starts a new stream: what was under way is gone.
    ResetLoses,
    /// Votes leave before the log has the prepare.
    VoteBeforeLog,
    /// "Unknown" is told as "aborted".
    UnknownIsAborted,
    /// The flush commits whatever is in doubt, prepared everywhere or not.
    FlushCommits,
    /// Who joins does not get what stays in doubt with the rows.
    CarriedNotCopied,
    /// Who joins does not get the outcomes that who is away may ask for.
    OutcomesNotCopied,
    /// A joiner is told that its copy is equal.
    CopySkipped,
}
