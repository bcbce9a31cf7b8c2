//! What all tables of a store share, and what must outlive every handle to any of them: the collector that frees versions
//! and hash entries, and the transactions that marks point to.
//!
//! Two collectors, on purpose. papaya frees everything its collector still holds when a map is dropped, whoever else uses
//! that collector. So no hash of rows may be dropped while another one lives: they are all kept here until the last handle
//! goes. The catalog's map, which is dropped with the store, has a collector of its own.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use seize::{Collector, LocalGuard};

use crate::backing::Attached;
use crate::clock::Clock;
use crate::flight::Flight;
use crate::limits::RETIRED_AT_ONCE;
use crate::table::Rows;

pub(crate) struct Heap {
    /// The rows of every table there ever was; dropped tables are empty. Locked when a table is created.
    rows: Mutex<Vec<Arc<Rows>>>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) collector: Arc<Collector>,
    pub(crate) flight: Flight,
    /// What tables on disc alone are read from; without it they are tables in memory.
    pub(crate) attached: OnceLock<Attached>,
}

impl Heap {
    pub(crate) fn new(clock: &Arc<Clock>) -> Heap {
        Heap {
            rows: Mutex::default(),
            clock: Arc::clone(clock),
            collector: Arc::new(Collector::new().batch_size(RETIRED_AT_ONCE)),
            flight: Flight::default(),
            attached: OnceLock::new(),
        }
    }

    pub(crate) fn keep(&self, rows: &Arc<Rows>) {
        self.rows.lock().push(Arc::clone(rows));
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
