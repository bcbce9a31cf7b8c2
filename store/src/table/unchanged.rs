//! Whether something that was read at an earlier timestamp is still so. Whoever asks need not have had a snapshot alive since:
//! a version that is newer shows, and so do a deletion and a vanished index entry for as long as they are kept; what was
//! forgotten of them is one timestamp, and what was read before that counts as changed.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use seize::LocalGuard;

use super::{Direction, Table};
use crate::cell::{Cell, CellAt};
use crate::clock::Timestamp;
use crate::ids::IndexId;
use crate::key::{Key, KeyRange};
use crate::tree::walk_tree;
use crate::txn::Txn;
use crate::work::{Blocked, Unreadable};

impl Table {
    /// Whether every key in the range, or in that range of an index, holds what it held at this timestamp. What is pending is
    /// no change. `None` when there is no such index (any more).
    pub fn is_range_unchanged(
        &self,
        index: Option<IndexId>,
        range: &KeyRange,
        since: Timestamp,
    ) -> Option<bool> {
        self.is_unchanged(index, range, since, None, &self.pin())
    }

    /// Whether a key holds what it held at this timestamp. What is pending is no change.
    ///
    /// # Errors
    /// When it is on disc alone and cannot be read.
    pub fn is_key_unchanged(&self, key: &Key, since: Timestamp) -> Result<bool, Box<Unreadable>> {
        let guard = self.pin();
        let now = self.heap.clock.read();
        if let Some(cell) = self.rows.cell(key, &guard)
            && cell.newest(&guard).is_some()
        {
            return Ok(self.is_cell_unchanged(&cell, since, now, &guard));
        }
        Ok(match self.newest_anywhere(key, &guard)? {
            Some((body, at)) => at <= since && body.is_expired(since) == body.is_expired(now),
            // It may have had a row, and what says that it was deleted may be forgotten.
            None => self.forgotten() <= since,
        })
    }

    fn is_cell_unchanged(
        &self,
        cell: &Cell,
        since: Timestamp,
        now: Timestamp,
        guard: &LocalGuard<'_>,
    ) -> bool {
        let expired = |deadline| {
            let deadline = Timestamp::from_wall_ms(deadline);
            since < deadline && deadline <= now
        };
        cell.newest(guard)
            .is_none_or(|(version, at)| at <= since && !version.deadline_ms().is_some_and(expired))
    }

    fn forgotten(&self) -> Timestamp {
        Timestamp(self.rows.forgotten.load(Ordering::SeqCst))
    }

    /// As [`Table::is_range_unchanged`]; where a transaction asks, a mark of another one is a change too.
    pub(crate) fn is_unchanged(
        &self,
        index: Option<IndexId>,
        range: &KeyRange,
        since: Timestamp,
        by: Option<&Txn>,
        guard: &LocalGuard<'_>,
    ) -> Option<bool> {
        if self.rows.backing.is_some() {
            return self.are_residents_unchanged(index, range, since, by, guard);
        }
        let now = self.heap.clock.read();
        let mut quiet = true;
        let mut look = |cell: CellAt<'_>| {
            let foreign = by.is_some_and(|txn| cell.changed_by_other(txn, guard)) || cell.is_shifting(guard);
            quiet = !foreign && self.is_cell_unchanged(&cell, since, now, guard);
            Ok::<_, Blocked>(if quiet { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        };
        let walked = match index {
            None => self.walk(range, Direction::Forward, guard, look),
            Some(index) => {
                walk_tree(&self.index(index)?.tree, range, Direction::Forward, guard, |_, cell| look(cell))
            }
        };
        walked.expect("looking at cells waits for nobody");
        Some(quiet && self.forgotten() <= since)
    }

    /// As [`Table::is_unchanged`], for a table on disc alone: what is not in memory has left, so it is not newer than what
    /// is forgotten; but its deadline may have come.
    fn are_residents_unchanged(
        &self,
        index: Option<IndexId>,
        range: &KeyRange,
        since: Timestamp,
        by: Option<&Txn>,
        guard: &LocalGuard<'_>,
    ) -> Option<bool> {
        let now = self.heap.clock.read();
        let changed = |cell: &Cell| {
            let foreign = by.is_some_and(|txn| cell.changed_by_other(txn, guard));
            foreign || cell.newest(guard).is_some_and(|(_, at)| at > since)
        };
        let tree = self.rows.tree.as_ref().expect("what lives on disc alone has its cells in order");
        let (mut quiet, mut passed) = (true, self.rows.deadlines.between(since, now));
        let mut look = |cell: Option<CellAt<'_>>| {
            quiet = !cell.is_some_and(|cell| changed(&cell));
            Ok::<_, Blocked>(if quiet { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        };
        let walked = match index {
            None => {
                passed.retain(|key| range.contains(key));
                walk_tree(tree, range, Direction::Forward, guard, |_, cell| look(Some(cell)))
            }
            Some(id) => {
                let index = self.index(id)?;
                passed.retain(|key| {
                    // One that cannot be read has changed for all that is known.
                    self.newest_anywhere(key, guard).map_or(true, |found| {
                        let entries = index.entries(&self.def, key, found.as_ref().map(|(body, _)| body));
                        entries.iter().any(|entry| range.contains(entry))
                    })
                });
                walk_tree(&index.tree, range, Direction::Forward, guard, |entry, _| {
                    let key = index.key_of(entry);
                    look(key.and_then(|key| self.rows.cell(&key, guard)))
                })
            }
        };
        walked.expect("looking at cells waits for nobody");
        Some(quiet && passed.is_empty() && self.forgotten() <= since)
    }
}
