//! Clearing a table as one step: every row goes at once, whatever their number. Whoever listens hears of each of them.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use seize::LocalGuard;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::TableId;
use crate::key::{Key, KeyRange};
use crate::load::LoadError;
use crate::row::Body;
use crate::store::Store;
use crate::table::{Direction, Table};
use crate::work::Blocked;

impl Table {
    /// Takes all rows away and tells listeners. Nobody writes meanwhile.
    pub(crate) fn clear_away(&self, at: Timestamp, guard: &LocalGuard<'_>) {
        if let Some(backing) = self.rows.backing.as_ref().filter(|_| self.rows.events.has_listeners()) {
            // A row that cannot be read stops the node: nobody would hear of it, so nobody hears of anything behind it.
            let told = self.each_place(backing, &KeyRange::all(), Direction::Forward, |key, place| {
                if let Some((body, _)) = place.newest(guard).filter(|(body, _)| !body.is_expired(at)) {
                    self.tell_cleared(key, &body, at);
                }
                Ok(ControlFlow::Continue(()))
            });
            told.unwrap_or_else(|blocked| {
                backing.give_up(&blocked);
                self.rows.events.end();
            });
        } else if self.rows.events.has_listeners() {
            let told: Result<(), Infallible> = self.rows.cells.each(guard, |cell| {
                // Counted: a schema that is loaded, not agreed on, comes without the table's lock.
                let newest = cell.chain(guard).newest_kept().filter(|(body, _)| !body.is_expired(at));
                if let Some((body, _)) = newest {
                    self.tell_cleared(&cell.key, &body, at);
                }
                Ok(ControlFlow::Continue(()))
            });
            let Ok(()) = told;
        }
        self.empty(guard);
    }

    fn tell_cleared(&self, key: &Key, body: &Body, commit_ts: Timestamp) {
        let old = Some(self.whole(body).into_owned());
        self.rows.events.emit(Event::of(&self.def, commit_ts, key, old, None));
    }

    /// Whether what was there at a snapshot may still be found: not when the table was cleared or rewritten since.
    #[inline]
    pub(crate) fn check_kept(&self, at: Timestamp) -> Result<(), Blocked> {
        let gone = Timestamp(self.rows.gone.load(Ordering::SeqCst));
        let gone = gone.max(self.def.cleared).max(self.def.reshaped);
        if at <= gone && gone != Timestamp::NEVER {
            return Err(Blocked::SchemaChanged(self.id()));
        }
        Ok(())
    }
}

impl Store {
    /// Takes all rows of a table away that are this node's own, and says how many there were. The caller holds the table's
    /// lock for writing.
    ///
    /// # Errors
    /// [`LoadError::NoSuchTable`].
    pub fn clear_own(&self, table: TableId) -> Result<u64, LoadError> {
        let guard = self.pin();
        let table = self.catalog.get(table, &guard).ok_or(LoadError::NoSuchTable(table))?;
        let rows = table.len();
        table.rows.vanish(&self.clock, |at| table.clear_away(at, &guard));
        Ok(rows)
    }
}
