//! What the agreed commands mean: the border to the code that keeps members and epochs. It is handed every command in the
//! same order on every node, and never reads a clock, rolls dice or looks at anything else.

/// A state that is a function of the commands applied to it.
pub(crate) trait Machine: Send + Sync + 'static {
    /// Applies a command and returns what its proposer is told. A refusal is an answer like any other. It is called once for
    /// each command in a life of the process, and again for those behind the last snapshot after a restart, so it must have
    /// no effect outside the machine.
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8>;

    /// All of it as bytes, at most [`PLANE_SNAPSHOT_BYTES_MAX`](crate::limits::PLANE_SNAPSHOT_BYTES_MAX) of them.
    fn snapshot(&self) -> Vec<u8>;

    /// Becomes what [`Machine::snapshot`] returned elsewhere or earlier.
    ///
    /// # Errors
    /// The bytes are none of its own; it stays as it was, and the plane stops.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}
