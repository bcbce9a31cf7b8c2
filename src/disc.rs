//! The commit log's writer. No node has one yet.

use hypermnesia_replication::{Fact, LogToken};
use hypermnesia_store::Ack;

use crate::carry::Carry;
use crate::core::Core;

/// A log and who writes it.
pub(crate) enum Disc {}

impl Disc {
    /// Takes a record.
    pub(crate) fn queue(&self, _fact: Fact, _level: Ack, _token: Option<LogToken>) {
        match *self {}
    }

    /// Writes what was queued, and says so to the replica.
    pub(crate) fn drain(&self, _core: &Core, _out: &mut Carry<'_>) {
        match *self {}
    }
}
