//! What all tables of a store share, and what must outlive every handle to any of them: the collector that frees versions,
//! cells and nodes, and the transactions that marks point to.
//!
//! Two collectors, on purpose: papaya frees everything its collector still holds when a map is dropped, whoever else uses
//! that collector, so the catalog's map has one of its own. What is retired here points to nothing of its table, but for the
//! notice of `shift`, which holds the rows weakly.

use std::sync::{Arc, OnceLock};

use seize::{Collector, LocalGuard};

use crate::backing::Attached;
use crate::clock::Clock;
use crate::flight::Flight;
use crate::limits::RETIRED_AT_ONCE;
use crate::memory_bound::MemoryBound;

pub(crate) struct Heap {
    pub(crate) clock: Arc<Clock>,
    pub(crate) collector: Arc<Collector>,
    pub(crate) flight: Flight,
    /// What tables on disc alone are read from; without it they are tables in memory.
    pub(crate) attached: OnceLock<Attached>,
    /// Of what all tables hold together.
    pub(crate) memory: MemoryBound,
}

impl Heap {
    pub(crate) fn new(clock: &Arc<Clock>) -> Heap {
        Heap {
            clock: Arc::clone(clock),
            collector: Arc::new(Collector::new().batch_size(RETIRED_AT_ONCE)),
            flight: Flight::default(),
            attached: OnceLock::new(),
            memory: MemoryBound::default(),
        }
    }
}

/// A guard over both collectors: rows through `Deref`, the catalog by name.
pub(crate) struct Pin<'a> {
    pub(crate) rows: LocalGuard<'a>,
    pub(crate) catalog: LocalGuard<'a>,
}

impl<'a> std::ops::Deref for Pin<'a> {
    type Target = LocalGuard<'a>;

    fn deref(&self) -> &LocalGuard<'a> {
        &self.rows
    }
}
