//! What one key of a table holds: at a snapshot, now, or whatever is pending.

use std::borrow::Cow;

use seize::LocalGuard;

use super::Table;
use crate::backing::Backing;
use crate::cell::Cell;
use crate::chain::Chain;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::row::Body;
use crate::work::Blocked;

impl Table {
    /// What the key holds at a snapshot that is alive ([`crate::Store::snapshot`]), and the commit timestamp of it.
    ///
    /// # Errors
    /// When a transaction that may be, or was, committed around the snapshot stands in the way.
    pub fn read(&self, key: &Key, at: Timestamp) -> Result<Option<(Body, Timestamp)>, Blocked> {
        self.read_with(key, at, |body, version| (body.clone(), version))
    }

    /// As [`Table::read`], without counting a reference: `look` sees the row in place.
    ///
    /// # Errors
    /// As [`Table::read`].
    #[inline]
    pub fn read_with<R>(
        &self,
        key: &Key,
        at: Timestamp,
        look: impl FnOnce(&Body, Timestamp) -> R,
    ) -> Result<Option<R>, Blocked> {
        self.check_kept(at)?;
        let guard = self.pin();
        let found = match self.rows.cell(key, &guard) {
            Some(cell) => cell.read(at, &guard)?,
            None => {
                let Some(backing) = &self.rows.backing else {
                    self.asked(key, false, &guard);
                    return self.check_kept(at).map(|()| None);
                };
                let found = self.read_image(backing, key, at, &guard)?;
                self.asked(key, found.is_some(), &guard);
                if found.is_none() {
                    self.check_kept(at)?;
                }
                return Ok(found.map(|(body, version)| look(&self.whole(&body), version)));
            }
        };
        self.asked(key, found.is_some(), &guard);
        if found.is_none() {
            // It may have gone with all others meanwhile.
            self.check_kept(at)?;
        }
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    /// What a key holds, with what was added to the definition since its row was written. A branch where nothing was.
    #[inline]
    pub(crate) fn whole<'b>(&self, body: &'b Body) -> Cow<'b, Body> {
        if self.grown { self.def.whole(body) } else { Cow::Borrowed(body) }
    }

    /// What the key holds now: linearizable, needs no snapshot, writes nothing. Nearly always the version on top is
    /// committed and folded, and then it is the answer. Else the clock is loaded before the cell; a newer version than that
    /// means the clock has moved (a commit raises it before its status word), so look again.
    ///
    /// # Errors
    /// [`Blocked::Pending`] when a transaction on the key may have been told committed.
    pub fn latest(&self, key: &Key) -> Result<Option<(Body, Timestamp)>, Blocked> {
        self.latest_with(key, |body, version| (body.clone(), version))
    }

    /// As [`Table::latest_with`], as far as one look at a settled row can tell, which is nearly always: short enough that
    /// the machine begins the next one while this one waits for its memory.
    ///
    /// # Errors
    /// Gives `look` back, not called, where it takes more: ask [`Table::latest_with`].
    #[inline]
    pub fn glance<R, F: FnOnce(&Body, Timestamp) -> R>(&self, key: &Key, look: F) -> Result<Option<R>, F> {
        if !self.plain {
            return Err(look);
        }
        let guard = self.pin();
        // Before the cell is looked for: see `shift`.
        let told = self.rows.shift.is_told();
        let Some(cell) = self.rows.cells.get(key, &guard) else { return Ok(None) };
        let Some((version, at)) = cell.settled(&guard) else { return Err(look) };
        let kept = if told { version.keep() } else { None };
        match version.body() {
            Some(body) if body.has_deadline() => Err(look),
            Some(body) => Ok(Some(look(&body, if kept.is_some() { version.stamp() } else { at }))),
            None => Ok(None),
        }
    }

    /// As [`Table::latest`], without counting a reference: `look` sees the row in place.
    ///
    /// # Errors
    /// As [`Table::latest`].
    #[inline]
    pub fn latest_with<R>(
        &self,
        key: &Key,
        look: impl FnOnce(&Body, Timestamp) -> R,
    ) -> Result<Option<R>, Blocked> {
        let guard = self.pin();
        let Some(cell) = self.rows.cell(key, &guard) else {
            return self.latest_without_cell(key, look, &guard);
        };
        if self.rows.shift.is_told() {
            return self.latest_kept(key, &cell, look, &guard);
        }
        let found = match cell.settled(&guard) {
            Some((version, at)) => version.body().filter(|body| !self.is_past(body)).map(|body| (body, at)),
            None => self.newest_of(&cell, &guard, Chain::read)?,
        };
        self.asked(key, found.is_some(), &guard);
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    /// As [`Table::latest_with`], where rows may change in place.
    fn latest_kept<R>(
        &self,
        key: &Key,
        cell: &Cell,
        look: impl FnOnce(&Body, Timestamp) -> R,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<R>, Blocked> {
        let found = match cell.chain(guard).settled_kept() {
            Some(found) => found.filter(|(body, _)| !self.is_past(body)),
            None => self.newest_of(cell, guard, Chain::read_kept)?,
        };
        self.asked(key, found.is_some(), guard);
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    /// A key without a cell has no row, unless it is one of a table on disc alone.
    #[inline]
    fn latest_without_cell<R>(
        &self,
        key: &Key,
        look: impl FnOnce(&Body, Timestamp) -> R,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<R>, Blocked> {
        let found = match &self.rows.backing {
            None => None,
            Some(backing) => self.latest_on_disc(backing, key, guard)?,
        };
        self.asked(key, found.is_some(), guard);
        Ok(found.map(|(body, version)| look(&self.whole(&body), version)))
    }

    #[cold]
    fn latest_on_disc(
        &self,
        backing: &Backing,
        key: &Key,
        guard: &LocalGuard<'_>,
    ) -> Result<Option<(Body, Timestamp)>, Blocked> {
        loop {
            if let Some(cell) = self.rows.cell(key, guard) {
                let found = self.newest_of(&cell, guard, Chain::read)?;
                return Ok(found.map(|(body, at)| (body.clone(), at)));
            }
            if let Some(found) = self.latest_in_image(backing, key, guard)? {
                return Ok(found);
            }
        }
    }

    /// Whether a row counts as absent now. Only rows with a deadline need the clock.
    #[inline]
    pub(crate) fn is_past(&self, body: &Body) -> bool {
        body.has_deadline() && body.is_expired(self.heap.clock.read())
    }

    #[cold]
    fn newest_of<'g, B>(
        &self,
        cell: &Cell,
        guard: &'g LocalGuard<'_>,
        read: impl Fn(Chain<'g>, Timestamp) -> Result<Option<(B, Timestamp)>, Blocked>,
    ) -> Result<Option<(B, Timestamp)>, Blocked> {
        loop {
            let now = self.heap.clock.read();
            // A newer commit shows as a version above `now`: then what `read` looks for may have been cut already.
            let seen = read(cell.chain(guard), now);
            match (cell.newest(guard), seen) {
                (Some((_, at)), _) if at > now => {}
                (_, Err(Blocked::Raise(_))) => {}
                (_, seen) => return seen,
            }
        }
    }

    /// The newest committed version, whatever is pending: a dirty read. Waits for nothing but the disc.
    ///
    /// # Errors
    /// [`Blocked::Unreadable`].
    pub fn newest(&self, key: &Key) -> Result<Option<(Body, Timestamp)>, Blocked> {
        let found = self.newest_anywhere(key, &self.pin())?;
        let live = found.filter(|(body, _)| !body.is_expired(self.heap.clock.read()));
        Ok(live.map(|(body, at)| (self.whole(&body).into_owned(), at)))
    }
}
