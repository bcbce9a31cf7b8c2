//! One step forward of the image, and the rows within it.

use std::path::PathBuf;

use redb::{ReadableTable, Table, WriteTransaction};

use super::stored::{check_of, decode_row, measure, place, with_check};
use super::{HELD_KIND, IMAGE_FORMAT, Image, META, OUTCOMES, Outcomes, ROWS, STATE_KIND, State};
use crate::clock::Timestamp;
use crate::codec;
use crate::disc::database::told;
use crate::disc::error::{DiscError, Result};
use crate::disc::held::{Held, HeldTables};
use crate::disc::limits::OUTCOMES_KEPT;
use crate::disc::segment::Position;
use crate::ids::TableId;
use crate::key::Key;
use crate::row::Body;

/// One step forward of the image: all of it or nothing.
pub(in crate::disc) struct Step<'i> {
    txn: WriteTransaction,
    state: State,
    held: HeldTables,
    image: &'i mut Image,
}

/// The rows within a step.
pub(in crate::disc) struct Rows<'t> {
    table: Table<'t, &'static [u8], &'static [u8]>,
    /// How many, and their checksums added up.
    counts: (u64, u64),
    held: &'t mut HeldTables,
    path: &'t PathBuf,
}

impl Image {
    /// Begins a step.
    pub(in crate::disc) fn step(&mut self) -> Result<Step<'_>> {
        let txn = self.db.begin_write().map_err(|error| told(&self.path, "writing", error))?;
        Ok(Step { txn, state: self.state.clone(), held: self.held.clone(), image: self })
    }
}

impl Step<'_> {
    /// What the image will say.
    pub(in crate::disc) fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// Its rows, to be read and changed.
    pub(in crate::disc) fn rows<R>(&mut self, change: impl FnOnce(&mut Rows<'_>) -> Result<R>) -> Result<R> {
        let path = &self.image.path;
        let table = self.txn.open_table(ROWS).map_err(|error| told(path, "writing", error))?;
        let counts = (self.state.rows, self.state.sum);
        let mut rows = Rows { table, counts, held: &mut self.held, path };
        let changed = change(&mut rows)?;
        (self.state.rows, self.state.sum) = rows.counts;
        Ok(changed)
    }

    /// Makes it so, durably.
    pub(in crate::disc) fn commit(mut self, at: Position, outcomes: &Outcomes) -> Result<()> {
        let path = self.image.path.clone();
        let told = |error: redb::Error| told(&path, "writing", error);
        {
            // Made here if they are not there, so that readers find them.
            self.txn.open_table(ROWS).map_err(|error| told(error.into()))?;
            let mut table = self.txn.open_table(OUTCOMES).map_err(|error| told(error.into()))?;
            if !outcomes.is_empty() {
                let value = with_check(&at.0.to_be_bytes(), &[], &codec::encode(outcomes)).0;
                table.insert(at.0, value.as_slice()).map_err(|error| told(error.into()))?;
            }
            forget_oldest(&mut table).map_err(told)?;
            let mut meta = self.txn.open_table(META).map_err(|error| told(error.into()))?;
            let sealed = codec::seal(STATE_KIND, IMAGE_FORMAT, &codec::encode(&self.state));
            meta.insert("state", sealed.as_slice()).map_err(|error| told(error.into()))?;
            let sealed = codec::seal(HELD_KIND, IMAGE_FORMAT, &codec::encode(&self.held));
            meta.insert("held", sealed.as_slice()).map_err(|error| told(error.into()))?;
        }
        // A restart after a crash then need not walk the whole file.
        self.txn.set_quick_repair(true);
        self.txn.commit().map_err(|error| told(error.into()))?;
        self.image.state = std::mem::take(&mut self.state);
        self.image.held = std::mem::take(&mut self.held);
        Ok(())
    }
}

/// Keeps the newest outcomes; whole batches go, never the newest one.
fn forget_oldest(table: &mut Table<'_, u64, &'static [u8]>) -> std::result::Result<(), redb::Error> {
    let (mut kept, mut drop_below) = (0, None);
    for batch in table.iter()?.rev() {
        let (position, value) = batch?;
        if kept >= OUTCOMES_KEPT {
            drop_below = Some(position.value());
            break;
        }
        // 30 bytes are about what one outcome takes.
        kept += value.value().len() / 30 + 1;
    }
    if let Some(below) = drop_below {
        table.retain(|position, _| position > below)?;
    }
    Ok(())
}

impl Rows<'_> {
    /// What a key holds and since when.
    pub(in crate::disc) fn get(&self, table: TableId, key: &Key) -> Result<Option<(Timestamp, Body)>> {
        let place = place(table, key);
        let found = self.table.get(place.as_slice()).map_err(|error| told(self.path, "reading", error))?;
        let Some(value) = found else { return Ok(None) };
        let (_, _, ts, body, _) =
            decode_row(&place, value.value()).map_err(|what| DiscError::corrupt(self.path, 0, what))?;
        Ok(Some((ts, body)))
    }

    /// Puts what a key holds, or nothing. Of a table on disc alone the rows are measured too.
    pub(in crate::disc) fn put(
        &mut self,
        table: TableId,
        key: &Key,
        ts: Timestamp,
        body: Option<&Body>,
        alone: bool,
    ) -> Result<()> {
        let place = place(table, key);
        let path = self.path;
        let told = |error: redb::StorageError| told(path, "writing", error);
        let measured = |value: &[u8]| match alone {
            true => measure(&place, value).map_err(|what| DiscError::corrupt(path, 0, what)),
            false => Ok(Held::of_check(check_of(value))),
        };
        let (new, old) = match body {
            Some(body) => {
                let (value, check) = with_check(&place, &ts.0.to_le_bytes(), &codec::encode(body));
                let new = if alone { Held::of(key, body, check) } else { Held::of_check(check) };
                let old = self.table.insert(place.as_slice(), value.as_slice()).map_err(told)?;
                (new, old.map(|old| measured(old.value())).transpose()?)
            }
            None => {
                let old = self.table.remove(place.as_slice()).map_err(told)?;
                (Held::default(), old.map(|old| measured(old.value())).transpose()?)
            }
        };
        let old = old.unwrap_or_default();
        self.held.change(table, |held| held.plus(&new).minus(&old));
        self.counts.0 = (self.counts.0 + new.keys).saturating_sub(old.keys);
        self.counts.1 = self.counts.1.wrapping_add(new.sum).wrapping_sub(old.sum);
        Ok(())
    }

    /// Drops every row of a table.
    pub(in crate::disc) fn clear(&mut self, table: TableId) -> Result<()> {
        let told = |error: redb::StorageError| told(self.path, "writing", error);
        let (from, to) = (table.0.to_be_bytes(), table.0.saturating_add(1).to_be_bytes());
        let (mut rows, mut sum) = (0, 0_u64);
        let gone = self.table.extract_from_if(from.as_slice()..to.as_slice(), |_, _| true).map_err(told)?;
        for row in gone {
            let (_, value) = row.map_err(told)?;
            rows += 1;
            sum = sum.wrapping_add(check_of(value.value()));
        }
        self.counts = (self.counts.0.saturating_sub(rows), self.counts.1.wrapping_sub(sum));
        self.held.change(table, |_| Held::default());
        Ok(())
    }

    /// Every row of a table.
    pub(in crate::disc) fn each(&self, table: TableId, mut show: impl FnMut(&Key, &Body)) -> Result<()> {
        let told = |error: redb::StorageError| told(self.path, "reading", error);
        let (from, to) = (table.0.to_be_bytes(), table.0.saturating_add(1).to_be_bytes());
        for row in self.table.range(from.as_slice()..to.as_slice()).map_err(told)? {
            let (key, value) = row.map_err(told)?;
            let found = decode_row(key.value(), value.value());
            let (_, key, _, body, _) = found.map_err(|what| DiscError::corrupt(self.path, 0, what))?;
            show(&key, &body);
        }
        Ok(())
    }
}
