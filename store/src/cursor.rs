//! Scans that may take long: a cursor fetches a chunk under one guard, remembers the last key, and holds nothing between
//! chunks but its snapshot (which the caller keeps alive). Ordered tables and indexes continue behind the last entry; other
//! tables go on behind the last place of their hash, which growing does not change.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::backing::Backing;
use crate::cell::{CellAt, CellRef};
use crate::cells::Place;
use crate::clock::Timestamp;
use crate::ids::IndexId;
use crate::key::{Key, KeyRange};
use crate::limits::CURSOR_CHUNK_ROWS;
use crate::row::Body;
use crate::table::{Direction, Table};
use crate::tree::walk_tree;
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
    /// Where to go on in a table without order.
    place: Place,
    /// There, what blocked an earlier step.
    again: Vec<CellRef>,
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
            place: Place::START,
            again: Vec::new(),
            blocked: None,
            ended: false,
        }
    }

    /// Reads the rest at a later timestamp. Only sound while nothing was handed out, or for a caller that accepts two
    /// snapshots.
    pub fn raise(&mut self, at: Timestamp) {
        self.at = self.at.max(at);
    }

    /// Shows everything that is still to come where it stands, a chunk under one guard, until told to stop, which ends it.
    /// For looks that are short: what others free waits for them.
    ///
    /// # Errors
    /// As [`Table::read`]: call it again then, and it goes on behind what was shown.
    pub fn each(
        &mut self,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        loop {
            while let Some((key, body, at)) = self.ready.pop_front() {
                if show(&key, &body, at).is_break() {
                    self.ended = true;
                    return Ok(());
                }
            }
            if let Some(blocked) = self.blocked.take() {
                return Err(blocked);
            }
            if self.ended && self.again.is_empty() {
                return Ok(());
            }
            self.step(&mut show)?;
        }
    }

    /// Shows a chunk.
    fn step(
        &mut self,
        show: &mut impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let table = Arc::clone(&self.table);
        table.check_version()?;
        table.check_kept(self.at)?;
        let mut show = |key: &Key, body: &Body, at| show(key, &table.whole(body), at);
        let stepped = match (self.index, &table.rows.backing) {
            (Some(index), Some(_)) => self.step_entries(&table, index, &mut show),
            (None, Some(backing)) => self.step_image(&table, backing, &mut show),
            (Some(index), None) => self.step_index(&table, index, &mut show),
            (None, None) if table.rows.tree.is_some() => self.step_tree(&table, &mut show),
            (None, None) => self.step_cells(&table, &mut show),
        };
        // Rows may have gone all at once meanwhile.
        stepped.and_then(|done| table.check_kept(self.at).map(|()| done))
    }

    fn step_tree(
        &mut self,
        table: &Table,
        show: &mut impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let guard = table.pin();
        let (rest, at, mut stop) = (self.rest.clone(), self.at, Stop::default());
        let done = table.walk(&rest, self.direction, &guard, |cell| {
            let seen = cell.read(at, &guard).inspect_err(|_| stop.before = Some(cell.key.clone()))?;
            Ok(stop.count(
                &cell.key,
                seen.map_or(ControlFlow::Continue(()), |(body, at)| show(&cell.key, &body, at)),
            ))
        });
        self.pass(stop, done)
    }

    fn step_index(
        &mut self,
        table: &Table,
        index: IndexId,
        show: &mut impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let index = table.index(index).ok_or(Blocked::SchemaChanged(table.id()))?;
        let guard = table.pin();
        let (rest, at, mut stop) = (self.rest.clone(), self.at, Stop::default());
        let done = walk_tree(&index.tree, &rest, self.direction, &guard, |entry, cell| {
            let seen = cell.read(at, &guard).inspect_err(|_| stop.before = Some(entry.clone()))?;
            let body =
                seen.and_then(|(body, at)| Some((table.matching(index, entry, &cell.key, &body)?, at)));
            let flow = body.map_or(ControlFlow::Continue(()), |(body, at)| show(&cell.key, &body, at));
            Ok(stop.count(entry, flow))
        });
        self.pass(stop, done)
    }

    /// A stretch of a table on disc alone: memory and image as one.
    fn step_image(
        &mut self,
        table: &Table,
        backing: &Backing,
        show: &mut impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let stretch = table.stretch(backing, &self.rest, self.direction, CURSOR_CHUNK_ROWS)?;
        let guard = table.pin();
        for (key, place) in stretch.found {
            match place.read(self.at, &guard) {
                Ok(None) => {}
                Ok(Some((body, at))) => {
                    if show(&key, &body, at).is_break() {
                        self.ended = true;
                        return Ok(());
                    }
                }
                Err(blocked) => {
                    return self.pass(Stop { before: Some(key), ..Stop::default() }, Err(blocked));
                }
            }
        }
        match stretch.rest {
            Some(rest) => self.rest = rest,
            None => self.ended = true,
        }
        Ok(())
    }

    /// A few entries of an index of a table on disc alone, whose rows are read by their keys.
    fn step_entries(
        &mut self,
        table: &Table,
        index: IndexId,
        show: &mut impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let index = table.index(index).ok_or(Blocked::SchemaChanged(table.id()))?;
        let entries = table.entries_in(index, &self.rest, self.direction, CURSOR_CHUNK_ROWS)?;
        let mut stop = Stop::default();
        let read = table.each_entry(index, &entries, self.at, |entry, found| {
            let flow = found.map_or(ControlFlow::Continue(()), |(key, body, at)| show(key, body, at));
            stop.count(entry, flow)
        });
        let done = read.map_err(|(entry, blocked)| {
            stop.before = Some(entry);
            blocked
        });
        self.pass(stop, done)
    }

    /// Moves behind the last entry looked at, or before the one that blocked.
    fn pass(&mut self, stop: Stop, done: Result<(), Blocked>) -> Result<(), Blocked> {
        let whole = done.is_ok() && stop.behind.is_none();
        self.ended |= whole || stop.told;
        let bound = stop.before.map(Bound::Included).or(stop.behind.map(Bound::Excluded));
        match (self.direction, bound) {
            (_, None) => {}
            (Direction::Forward, Some(bound)) => self.rest.start = bound,
            (Direction::Backward, Some(bound)) => self.rest.end = bound,
        }
        done
    }

    /// A chunk's cells come in no order, so those that block are put aside and looked at again before the next chunk.
    fn step_cells(
        &mut self,
        table: &Table,
        show: &mut impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let guard = table.pin();
        let everything = self.rest == KeyRange::all();
        let (at, rest, mut again, mut blocked) = (self.at, &self.rest, Vec::new(), None);
        let mut look = |cell: CellAt<'_>| {
            let wanted = everything || rest.contains(&cell.key);
            match if wanted { cell.read(at, &guard) } else { Ok(None) } {
                Ok(None) => ControlFlow::Continue(()),
                Ok(Some((body, at))) => show(&cell.key, &body, at),
                Err(error) => {
                    again.push(cell.clone_arc());
                    blocked = Some(error);
                    ControlFlow::Continue(())
                }
            }
        };
        let aside = std::mem::take(&mut self.again);
        let mut told = aside.iter().any(|cell| look(cell.borrow_arc()).is_break());
        if aside.is_empty() {
            let next =
                table.rows.cells.chunk(self.place, CURSOR_CHUNK_ROWS, &guard, |cell| match look(cell) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(()),
                });
            match next {
                Ok(Some(next)) => self.place = next,
                Ok(None) => self.ended = true,
                Err(()) => told = true,
            }
        }
        self.ended |= told;
        self.again = if told { Vec::new() } else { again };
        blocked.filter(|_| !told).map_or(Ok(()), Err)
    }
}

/// Where a chunk of ordered entries stopped.
#[derive(Default)]
struct Stop {
    looked: usize,
    /// The chunk ended with this one.
    behind: Option<Key>,
    /// This one blocked.
    before: Option<Key>,
    /// Whoever looked has seen enough.
    told: bool,
}

impl Stop {
    /// After an entry was looked at.
    fn count(&mut self, entry: &Key, flow: ControlFlow<()>) -> ControlFlow<()> {
        self.looked += 1;
        self.told = flow.is_break();
        if self.told || self.looked == CURSOR_CHUNK_ROWS {
            self.behind = Some(entry.clone());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Iterator for Cursor {
    type Item = Result<Found, Blocked>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(Ok(found));
            }
            if let Some(blocked) = self.blocked.take() {
                return Some(Err(blocked));
            }
            if self.ended && self.again.is_empty() {
                return None;
            }
            let mut ready = std::mem::take(&mut self.ready);
            let done = self.step(&mut |key: &Key, body: &Body, at| {
                ready.push_back((key.clone(), body.clone(), at));
                ControlFlow::Continue(())
            });
            self.ready = ready;
            // What came before it is told first.
            self.blocked = done.err();
        }
    }
}
