//! What time it is, passed in by the engine with every event. Nothing in this room reads a clock.

/// The moment of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A monotonic clock in nanoseconds: deadlines, ages and retries. Its zero means nothing.
    pub mono_ns: u64,
    /// Milliseconds since 1970: pushes the hybrid clock forward. Nothing that must hold rests on it.
    pub wall_ms: u64,
}
