//! Rows of a table on disc alone as they come into memory and leave it, and reading memory and image as one. The rules that
//! make this sound stand in `backing`; tables in memory never get here.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;

use seize::LocalGuard;

use crate::backing::Backing;
use crate::cell::CellRef;
use crate::clock::Timestamp;
use crate::disc::{Chunk, Imaged};
use crate::index::Index;
use crate::key::{Key, KeyRange};
use crate::limits::{CURSOR_CHUNK_ROWS, DELETION_KEPT_MS, LEAVING_AT_ONCE, LEAVING_MAX, STAYED_MAX};
use crate::row::Body;
use crate::store::Store;
use crate::table::{Direction, Rows, Table};
use crate::tree::walk_tree;
use crate::work::{Blocked, Unreadable};

/// Where a key was found: what its cell says counts, or what the image has.
pub(crate) enum Place {
    Memory(CellRef),
    Image(Timestamp, Body),
}

/// A stretch of a range, in the order it was asked for.
pub(crate) struct Stretch {
    pub(crate) found: VecDeque<(Key, Place)>,
    /// What of the range lies behind it.
    pub(crate) rest: Option<KeyRange>,
}

/// What became of a row that was to leave memory.
enum Departure {
    /// It is not there any more, or holds something newer.
    Void,
    NotYet,
    Gone,
}

impl Table {
    /// What a key holds at a live snapshot, its cell missing.
    pub(crate) fn read_image(
        &self,
        backing: &Backing,
        key: &Key,
        at: Timestamp,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<(Body, Timestamp)>, Blocked> {
        loop {
            let departed = backing.departed(key);
            if let Some(cell) = self.rows.cell(key, guard) {
                return Ok(cell.read(at, guard)?.map(|(body, version)| (body.clone(), version)));
            }
            match backing.fetch(key)? {
                Some((version, body)) if version <= at => {
                    self.publish(backing, key, version, &body, departed, guard);
                    return Ok((!body.is_expired(at)).then_some((body, version)));
                }
                // Whoever changed the image since the look above left the version below in a cell.
                _ if self.rows.cell(key, guard).is_some() => {}
                _ => return Ok(None),
            }
        }
    }

    /// What a key holds now, its cell missing: nothing when a cell has come meanwhile, to be looked at instead.
    pub(crate) fn latest_in_image(
        &self,
        backing: &Backing,
        key: &Key,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<Option<(Body, Timestamp)>>, Blocked> {
        let departed = backing.departed(key);
        if self.rows.cell(key, guard).is_some() {
            return Ok(None);
        }
        match backing.fetch(key)? {
            Some((version, body)) => {
                self.publish(backing, key, version, &body, departed, guard);
                let now = self.heap.clock.read();
                Ok(Some((!body.is_expired(now)).then_some((body, version))))
            }
            None if self.rows.cell(key, guard).is_some() => Ok(None),
            None => Ok(Some(None)),
        }
    }

    /// The newest committed version of a key, past its deadline or not, wherever it is. What it says holds as long as
    /// nobody writes the key.
    pub(crate) fn newest_anywhere(
        &self,
        key: &Key,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<(Body, Timestamp)>, Box<Unreadable>> {
        loop {
            if let Some(cell) = self.rows.cell(key, guard) {
                return Ok(cell.chain(guard).newest_kept());
            }
            let Some(backing) = &self.rows.backing else { return Ok(None) };
            match backing.fetch(key)? {
                Some((at, body)) => return Ok(Some((body, at))),
                None if self.rows.cell(key, guard).is_some() => {}
                None => return Ok(None),
            }
        }
    }

    /// The cell of a key that is to be written, with what the key holds. Under the key's write lock or lock shard.
    pub(crate) fn cell_to_write(
        &self,
        key: &Key,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<CellRef>, Box<Unreadable>> {
        if let Some(cell) = self.rows.cell(key, guard) {
            return Ok(Some(cell.clone_arc()));
        }
        let Some(backing) = &self.rows.backing else { return Ok(None) };
        let Some((at, body)) = backing.fetch(key)? else { return Ok(None) };
        let cell = self.rows.fetched(key, body.clone(), at, guard);
        backing.keep(key, at, &body);
        Ok(Some(cell))
    }

    /// Makes a cell of what was read in the image, unless that may be old by now.
    fn publish(
        &self,
        backing: &Backing,
        key: &Key,
        at: Timestamp,
        body: &Body,
        departed: u64,
        guard: &LocalGuard<'_>,
    ) {
        let published = backing.locks.alone(self.id(), key, || {
            let is_new = backing.departed(key) == departed && self.rows.cell(key, guard).is_none();
            if is_new {
                self.rows.fetched(key, body.clone(), at, guard);
            }
            is_new
        });
        if published == Some(true) {
            backing.keep(key, at, body);
            self.let_leave(backing, LEAVING_AT_ONCE, guard);
        }
    }

    /// The image holds this key since this timestamp: memory need not keep it for that.
    fn imaged(&self, backing: &Backing, key: Key, at: Timestamp, guard: &LocalGuard<'_>) {
        // With nobody holding the lock every commit that the log has is in the cell too.
        let seen = backing.locks.alone(self.id(), &key, || {
            // Rows that came since a clearing are not those that the image has.
            backing.view()?;
            let (version, newest) = self.rows.cell(&key, guard)?.newest(guard)?;
            (newest == at).then(|| version.body().map(|body| body.clone()))
        });
        match seen {
            None => backing.settling.lock().push_back((key, at)),
            Some(None) => {}
            Some(Some(None)) => backing.leave(key, at),
            Some(Some(Some(body))) => backing.keep(&key, at, &body),
        }
    }

    /// Takes rows out of memory that are on their way, as far as nobody needs them, and looks at no more than so many.
    /// Leaves it to the next one while somebody reads a range, unless there are too many on their way.
    pub(crate) fn let_leave(&self, backing: &Backing, budget: usize, guard: &LocalGuard<'_>) {
        let waiting = backing.leaving.lock().len();
        let gate = match waiting > LEAVING_MAX {
            true => Some(backing.gate.write()),
            false => backing.gate.try_write(),
        };
        let (Some(_gate), count @ 1..) = (gate, waiting.min(budget)) else { return };
        let oldest = backing.snapshots.oldest();
        let mut stayed = 0;
        for _ in 0..count {
            let Some((key, at)) = backing.leaving.lock().pop_front() else { return };
            let departure =
                backing.locks.alone(self.id(), &key, || self.depart(backing, &key, at, oldest, guard));
            if matches!(departure, None | Some(Departure::NotYet)) {
                backing.leaving.lock().push_back((key, at));
                stayed += 1;
            } else {
                stayed = 0;
            }
            // What keeps so many keeps the others behind them: a snapshot, or that they are fresh.
            if stayed == STAYED_MAX {
                return;
            }
        }
    }

    /// In the key's lock shard, with nobody holding its lock.
    fn depart(
        &self,
        backing: &Backing,
        key: &Key,
        at: Timestamp,
        oldest: Timestamp,
        guard: &LocalGuard<'_>,
    ) -> Departure {
        let Some(cell) = self.rows.cell(key, guard).map(|cell| cell.clone_arc()) else {
            return Departure::Void;
        };
        match cell.newest(guard) {
            Some((_, newest)) if newest == at && backing.view().is_some() => {}
            _ => return Departure::Void,
        }
        let fresh = at.wall_ms() + DELETION_KEPT_MS > self.heap.clock.read().wall_ms();
        if at > oldest || fresh || cell.cut(oldest, usize::MAX, guard) {
            return Departure::NotYet;
        }
        // Raised first: who checks a range looks at cells and then at this.
        self.rows.forgotten.fetch_max(at.0, Ordering::SeqCst);
        self.rows.dead(&cell, guard);
        backing.has_left(key);
        Departure::Gone
    }

    /// Looks again at what was on its way in or out of the cache, no more than so many.
    pub(crate) fn settle_residents(&self, budget: usize, guard: &LocalGuard<'_>) {
        let Some(backing) = &self.rows.backing else { return };
        let count = backing.settling.lock().len().min(budget);
        for _ in 0..count {
            let Some((key, at)) = backing.settling.lock().pop_front() else { break };
            self.imaged(backing, key, at, guard);
        }
        self.let_leave(backing, budget, guard);
    }

    /// The beginning of a range, seen from the given end: at most so many keys, each once, from memory or image. What
    /// comes from memory is to be looked at for what the reader may see.
    pub(crate) fn stretch(
        &self,
        backing: &Backing,
        range: &KeyRange,
        direction: Direction,
        most: usize,
    ) -> Result<Stretch, Blocked> {
        let _gate = backing.gate.read();
        let chunk = match backing.view() {
            Some(view) => {
                let read = view.chunk(self.id(), range, direction, most);
                read.map_err(|error| backing.unreadable(error))?
            }
            None => Chunk::default(),
        };
        let mut part = range.clone();
        let mut ends = !chunk.more;
        if let Some((last, ..)) = chunk.rows.back().filter(|_| chunk.more) {
            end_at(&mut part, direction, last);
        }
        // Behind the disc, so that nothing waits to be freed for as long as that takes.
        let guard = &self.pin();
        let mut cells = VecDeque::new();
        let tree = self.rows.tree.as_ref().expect("what lives on disc alone has its cells in order");
        walk_tree(tree, &part, direction, guard, |key, cell| {
            cells.push_back((key.clone(), cell.clone_arc()));
            Ok(if cells.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if let Some((last, _)) = cells.back().filter(|_| cells.len() >= most) {
            end_at(&mut part, direction, last);
            ends = false;
        }
        let mut found = VecDeque::with_capacity(chunk.rows.len() + cells.len());
        for (key, at, body) in chunk.rows.into_iter().take_while(|(key, ..)| part.contains(key)) {
            let comes_first = |cell: &Key| match direction {
                Direction::Forward => *cell < key,
                Direction::Backward => *cell > key,
            };
            while cells.front().is_some_and(|(cell, _)| comes_first(cell)) {
                found.extend(cells.pop_front().map(|(key, cell)| (key, Place::Memory(cell))));
            }
            match cells.front() {
                Some((cell, _)) if *cell == key => {}
                _ => found.push_back((key, Place::Image(at, body))),
            }
        }
        found.extend(cells.into_iter().map(|(key, cell)| (key, Place::Memory(cell))));
        Ok(Stretch { found, rest: (!ends).then(|| behind(range, &part, direction)) })
    }

    /// Shows every key in a range with its place, a stretch at a time.
    pub(crate) fn each_place(
        &self,
        backing: &Backing,
        range: &KeyRange,
        direction: Direction,
        mut each: impl FnMut(&Key, &Place) -> Result<ControlFlow<()>, Blocked>,
    ) -> Result<(), Blocked> {
        let mut rest = Some(range.clone());
        // Small at first: `first` and `next` want one.
        let mut most = 8;
        while let Some(range) = rest {
            let stretch = self.stretch(backing, &range, direction, most)?;
            for (key, place) in &stretch.found {
                if each(key, place)?.is_break() {
                    return Ok(());
                }
            }
            rest = stretch.rest;
            most = CURSOR_CHUNK_ROWS.min(most * 4);
        }
        Ok(())
    }

    /// As [`Table::visit_index`], for a table on disc alone: entries are taken a few at a time and rows read by their keys, so
    /// that no tree is held while the disc is read.
    pub(crate) fn visit_entries(
        &self,
        index: &Index,
        range: &KeyRange,
        direction: Direction,
        at: Timestamp,
        mut show: impl FnMut(&Key, &Body, Timestamp) -> ControlFlow<()>,
    ) -> Result<(), Blocked> {
        let (mut rest, mut most) = (range.clone(), 8);
        loop {
            let entries = self.entries_in(index, &rest, direction, most)?;
            let mut told = false;
            let read = self.each_entry(index, &entries, at, |_, found| {
                let flow =
                    found.map_or(ControlFlow::Continue(()), |(key, body, version)| show(key, body, version));
                told = flow.is_break();
                flow
            });
            read.map_err(|(_, blocked)| blocked)?;
            if told {
                return Ok(());
            }
            let Some((last, _)) = entries.last().filter(|_| entries.len() >= most) else { return Ok(()) };
            match direction {
                Direction::Forward => rest.start = Bound::Excluded(last.clone()),
                Direction::Backward => rest.end = Bound::Excluded(last.clone()),
            }
            most = CURSOR_CHUNK_ROWS.min(most * 4);
        }
    }

    /// Shows entries of an index with the rows that belong to them, if they are there at a live snapshot, until told to stop.
    /// What cannot be read is given with the entry before which it ended.
    pub(crate) fn each_entry(
        &self,
        index: &Index,
        entries: &[(Key, Key)],
        at: Timestamp,
        mut each: impl FnMut(&Key, Option<(&Key, &Body, Timestamp)>) -> ControlFlow<()>,
    ) -> Result<(), (Key, Blocked)> {
        for (entry, key) in entries {
            let found = self.read(key, at).map_err(|blocked| (entry.clone(), blocked))?;
            let matched =
                found.and_then(|(body, version)| Some((self.matching(index, entry, key, &body)?, version)));
            let flow = each(entry, matched.as_ref().map(|(body, version)| (key, body, *version)));
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Keys whose rows may have entries in this range of an index, with the entries: no more than so many. Not behind a row that
    /// could not be read: an index that was filled then has no entries of it, and of those behind it.
    pub(crate) fn entries_in(
        &self,
        index: &Index,
        range: &KeyRange,
        direction: Direction,
        most: usize,
    ) -> Result<Vec<(Key, Key)>, Blocked> {
        if let Some(backing) = &self.rows.backing {
            backing.check_readable()?;
        }
        let (mut entries, guard) = (Vec::new(), self.pin());
        let walked = walk_tree(&index.tree, range, direction, &guard, |entry, _| {
            entries.extend(index.key_of(entry).map(|key| (entry.clone(), key)));
            Ok(if entries.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
        walked.map(|()| entries)
    }
}

impl Place {
    /// What is visible at a snapshot.
    pub(crate) fn read(
        &self,
        at: Timestamp,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<(Body, Timestamp)>, Blocked> {
        match self {
            Place::Memory(cell) => Ok(cell.read(at, guard)?.map(|(body, version)| (body.clone(), version))),
            Place::Image(version, body) => {
                Ok((*version <= at && !body.is_expired(at)).then(|| (body.clone(), *version)))
            }
        }
    }

    /// The newest committed row or bag, past its deadline or not.
    pub(crate) fn newest(&self, guard: &LocalGuard<'_>) -> Option<(Body, Timestamp)> {
        self.stored(Timestamp::MAX, guard)
    }

    /// The newest row or bag that was committed up to a timestamp, past its deadline or not.
    pub(crate) fn stored(&self, upto: Timestamp, guard: &LocalGuard<'_>) -> Option<(Body, Timestamp)> {
        match self {
            Place::Memory(cell) => cell.chain(guard).stored_kept(upto),
            // What came behind a live snapshot is in memory.
            Place::Image(at, body) => (*at <= upto).then(|| (body.clone(), *at)),
        }
    }
}

/// The part of a range that ends with this key.
fn end_at(range: &mut KeyRange, direction: Direction, last: &Key) {
    match direction {
        Direction::Forward => range.end = Bound::Included(last.clone()),
        Direction::Backward => range.start = Bound::Included(last.clone()),
    }
}

/// What of a range lies behind its part.
fn behind(range: &KeyRange, part: &KeyRange, direction: Direction) -> KeyRange {
    let edge = match direction {
        Direction::Forward => &part.end,
        Direction::Backward => &part.start,
    };
    let edge = match edge {
        Bound::Included(key) => Bound::Excluded(key.clone()),
        other => other.clone(),
    };
    match direction {
        Direction::Forward => KeyRange { start: edge, end: range.end.clone() },
        Direction::Backward => KeyRange { start: range.start.clone(), end: edge },
    }
}

impl Rows {
    /// Takes over what the image says of the table: how much it holds.
    pub(crate) fn take_over(&self) {
        if let Some(backing) = &self.backing {
            let held = backing.held();
            self.begin_counts(held.keys, held.rows, held.bytes);
        }
    }
}

impl Store {
    /// Lets rows go that a checkpoint has brought into the image: tables on disc alone need not keep them in memory.
    pub fn imaged(&self, imaged: Imaged) {
        let guard = self.pin();
        for table in imaged.cleared {
            if let Some(table) = self.catalog.get(table, &guard)
                && let Some(backing) = &table.rows.backing
            {
                backing.cleared();
            }
        }
        for (table, key, at) in imaged.keys {
            if let Some(table) = self.catalog.get(table, &guard)
                && let Some(backing) = &table.rows.backing
            {
                table.imaged(backing, key, at, &guard);
                table.let_leave(backing, LEAVING_AT_ONCE, &guard);
            }
        }
    }
}
