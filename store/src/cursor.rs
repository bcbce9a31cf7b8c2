//! Scans that may take long: a cursor fetches a chunk under one guard, remembers the last key, and holds nothing between
//! chunks but its snapshot (which the caller keeps alive). Ordered tables and indexes continue behind the last entry; other
//! tables list their cells once, at the first step, which at a snapshot is all it can ever see.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::cell::CellRef;
use crate::clock::Timestamp;
use crate::ids::IndexId;
use crate::key::{Key, KeyRange};
use crate::limits::CURSOR_CHUNK_ROWS;
use crate::row::Body;
use crate::table::{Direction, Table, walk_tree};
use crate::work::Blocked;

/// What a cursor shows: the key, what it holds, and the commit timestamp of that.
pub type Found = (Key, Body, Timestamp);

/// A scan in steps. Send, holds no guard. After an error it stands where it stood: [`Cursor::raise`] or wait, then go on.
pub struct Cursor {
    table: Arc<Table>,
    index: Option<IndexId>,
    /// What is still to come.
    rest: KeyRange,
    direction: Direction,
    at: Timestamp,
    ready: VecDeque<Found>,
    /// Cells still to be looked at, for tables without order; listed at the first step.
    listed: Option<std::vec::IntoIter<CellRef>>,
    /// The listed cell that blocked the last step.
    again: Option<CellRef>,
    blocked: Option<Blocked>,
    ended: bool,
}

impl Table {
    /// Opens a cursor over a range at a live snapshot, in key order for ordered tables and in no order for others.
    pub fn cursor(self: &Arc<Self>, range: KeyRange, direction: Direction, at: Timestamp) -> Cursor {
        Cursor::open(Arc::clone(self), None, range, direction, at)
    }

    /// Opens a cursor over a range of index entries at a live snapshot; see [`Table::visit_index`].
    pub fn index_cursor(
        self: &Arc<Self>,
        index: IndexId,
        range: KeyRange,
        direction: Direction,
        at: Timestamp,
    ) -> Cursor {
        Cursor::open(Arc::clone(self), Some(index), range, direction, at)
    }

    /// The first key in the range at a snapshot, seen from the given end: first, last, next and prev in one. Ordered
    /// tables answer in O(log n); others look at every key for the smallest or greatest.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn edge(
        &self,
        range: &KeyRange,
        direction: Direction,
        at: Timestamp,
    ) -> Result<Option<Found>, Blocked> {
        let mut best: Option<Found> = None;
        let ordered = self.rows.tree.is_some();
        self.visit(range, direction, at, |key, body, version| {
            let better = best.as_ref().is_none_or(|(known, ..)| match direction {
                Direction::Forward => key < known,
                Direction::Backward => key > known,
            });
            if better {
                best = Some((key.clone(), body.clone(), version));
            }
            if ordered { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(best)
    }

    /// The smallest key and what it holds.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn first(&self, at: Timestamp) -> Result<Option<Found>, Blocked> {
        self.edge(&KeyRange::all(), Direction::Forward, at)
    }

    /// The greatest key and what it holds.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn last(&self, at: Timestamp) -> Result<Option<Found>, Blocked> {
        self.edge(&KeyRange::all(), Direction::Backward, at)
    }

    /// The smallest key above this one, which need not be there.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn next(&self, key: &Key, at: Timestamp) -> Result<Option<Found>, Blocked> {
        let range = KeyRange { start: Bound::Excluded(key.clone()), end: Bound::Unbounded };
        self.edge(&range, Direction::Forward, at)
    }

    /// The greatest key below this one, which need not be there.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn prev(&self, key: &Key, at: Timestamp) -> Result<Option<Found>, Blocked> {
        let range = KeyRange { start: Bound::Unbounded, end: Bound::Excluded(key.clone()) };
        self.edge(&range, Direction::Backward, at)
    }
}

impl Cursor {
    fn open(
        table: Arc<Table>,
        index: Option<IndexId>,
        rest: KeyRange,
        direction: Direction,
        at: Timestamp,
    ) -> Cursor {
        Cursor {
            table,
            index,
            rest,
            direction,
            at,
            ready: VecDeque::new(),
            listed: None,
            again: None,
            blocked: None,
            ended: false,
        }
    }

    /// Reads the rest at a later timestamp. Only sound while nothing was handed out, or for a caller that accepts two
    /// snapshots.
    pub fn raise(&mut self, at: Timestamp) {
        self.at = self.at.max(at);
    }

    fn fill(&mut self) -> Result<(), Blocked> {
        let table = Arc::clone(&self.table);
        table.check_version()?;
        table.check_kept(self.at)?;
        match self.index {
            Some(index) => self.fill_from_index(&table, index),
            None if table.rows.tree.is_some() => self.fill_from_tree(&table),
            None => self.fill_from_list(&table),
        }
    }

    fn fill_from_tree(&mut self, table: &Table) -> Result<(), Blocked> {
        let guard = table.pin();
        let (rest, mut looked, mut last, ready) = (self.rest.clone(), 0, None, &mut self.ready);
        let at = self.at;
        let done = table.walk(&rest, self.direction, &guard, |cell| {
            if let Some((body, version)) = cell.read(at, &guard)? {
                ready.push_back((cell.key.clone(), body.clone(), version));
            }
            last = Some(cell.key.clone());
            looked += 1;
            Ok(if looked < CURSOR_CHUNK_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        self.pass(last, looked, done)
    }

    fn fill_from_index(&mut self, table: &Table, index: IndexId) -> Result<(), Blocked> {
        let index = table.index(index).ok_or(Blocked::SchemaChanged(table.id()))?;
        let guard = table.pin();
        let (rest, mut looked, mut last, ready) = (self.rest.clone(), 0, None, &mut self.ready);
        let at = self.at;
        let done = walk_tree(&index.tree, &rest, self.direction, |entry, cell| {
            if let Some((body, version)) = cell.read(at, &guard)?
                && let Some(body) = table.matching(index, entry, &cell.key, body)
            {
                ready.push_back((cell.key.clone(), body, version));
            }
            last = Some(entry.clone());
            looked += 1;
            Ok(if looked < CURSOR_CHUNK_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        self.pass(last, looked, done)
    }

    /// Moves behind the last entry looked at. A block in mid-chunk is told after what came before it.
    fn pass(&mut self, last: Option<Key>, looked: usize, done: Result<(), Blocked>) -> Result<(), Blocked> {
        if let Some(last) = last {
            match self.direction {
                Direction::Forward => self.rest.start = Bound::Excluded(last),
                Direction::Backward => self.rest.end = Bound::Excluded(last),
            }
        }
        match done {
            Err(blocked) if self.ready.is_empty() => return Err(blocked),
            Err(blocked) => self.blocked = Some(blocked),
            Ok(()) => self.ended = looked < CURSOR_CHUNK_ROWS,
        }
        Ok(())
    }

    fn fill_from_list(&mut self, table: &Table) -> Result<(), Blocked> {
        let guard = table.pin();
        if self.listed.is_none() {
            let mut cells = Vec::new();
            table.walk(&self.rest, self.direction, &guard, |cell| {
                cells.push(CellRef::clone(cell));
                Ok(ControlFlow::Continue(()))
            })?;
            self.listed = Some(cells.into_iter());
        }
        let listed = self.listed.as_mut().expect("listed above");
        for _ in 0..CURSOR_CHUNK_ROWS {
            let Some(cell) = self.again.take().or_else(|| listed.next()) else {
                self.ended = true;
                break;
            };
            match cell.read(self.at, &guard) {
                Ok(Some((body, version))) => self.ready.push_back((cell.key.clone(), body.clone(), version)),
                Ok(None) => {}
                Err(blocked) => {
                    self.again = Some(cell);
                    if self.ready.is_empty() {
                        return Err(blocked);
                    }
                    self.blocked = Some(blocked);
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Cursor {
    type Item = Result<Found, Blocked>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                let (key, body, version) = found;
                let whole = match self.table.whole(&body) {
                    Cow::Borrowed(_) => None,
                    Cow::Owned(whole) => Some(whole),
                };
                return Some(Ok((key, whole.unwrap_or(body), version)));
            }
            if let Some(blocked) = self.blocked.take() {
                return Some(Err(blocked));
            }
            if self.ended {
                return None;
            }
            if let Err(blocked) = self.fill() {
                return Some(Err(blocked));
            }
        }
    }
}
