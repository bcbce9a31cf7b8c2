//! The transactions that run on this thread, one inside the program of another, and what each of them has locked. An inner
//! one that needs such a lock would wait for a transaction that cannot end before it: it is refused at once instead of at
//! its deadline. Transactions of tasks are not known here, and wait.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use hypermnesia_store::work::Write;
use hypermnesia_store::{Key, TableId, TxId};

use crate::core::Core;
use crate::error::{Error, Result};

/// One run of a program.
struct Run {
    /// Which node, since a program may use several: its address, which is never followed.
    node: usize,
    id: TxId,
    /// Keys, and tables as a whole.
    locks: BTreeSet<(TableId, Option<Key>)>,
}

thread_local! {
    /// The outermost first.
    static RUNS: RefCell<Vec<Run>> = const { RefCell::new(Vec::new()) };
}

fn address(core: &Arc<Core>) -> usize {
    Arc::as_ptr(core) as usize
}

/// A run that is on this thread until this is dropped.
pub(crate) struct Running(());

impl Running {
    pub(crate) fn enter(core: &Arc<Core>, id: TxId) -> Running {
        RUNS.with_borrow_mut(|runs| runs.push(Run { node: address(core), id, locks: BTreeSet::new() }));
        Running(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNS.with_borrow_mut(|runs| drop(runs.pop()));
    }
}

/// The run has locked a key, or the table when there is none.
pub(crate) fn note_lock(core: &Arc<Core>, id: TxId, table: TableId, key: Option<&Key>) {
    RUNS.with_borrow_mut(|runs| {
        if let Some(run) = runs.last_mut().filter(|run| run.id == id && run.node == address(core)) {
            run.locks.insert((table, key.cloned()));
        }
    });
}

/// Refuses to wait for a key, or for the table when there is none, that a run around this one has locked.
pub(crate) fn check_lock(core: &Arc<Core>, id: TxId, table: TableId, key: Option<&Key>) -> Result<()> {
    let same = |(locked, held): &(TableId, Option<Key>)| {
        *locked == table && (key.is_none() || held.is_none() || held.as_ref() == key)
    };
    refuse_if(core, |run| run.id != id && run.locks.iter().any(same))
}

/// The same for all keys that are to be committed.
pub(crate) fn check_writes(core: &Arc<Core>, id: TxId, writes: &[Write]) -> Result<()> {
    if RUNS.with_borrow(|runs| runs.len() < 2) {
        return Ok(());
    }
    writes.iter().try_for_each(|write| check_lock(core, id, write.table, Some(&write.key)))
}

/// Refuses to wait for the end of a run around this one.
pub(crate) fn check_holder(core: &Arc<Core>, holder: TxId) -> Result<()> {
    refuse_if(core, |run| run.id == holder)
}

fn refuse_if(core: &Arc<Core>, in_the_way: impl Fn(&Run) -> bool) -> Result<()> {
    let found = RUNS.with_borrow(|runs| {
        runs.iter().find(|run| run.node == address(core) && in_the_way(run)).map(|run| run.id)
    });
    found.map_or(Ok(()), |txid| Err(Error::BlockedByOuter { txid }))
}
