//! Changes by a pattern that are too large for one transaction: chunk by chunk, each a transaction of its own. Which rows are
//! meant is read in one snapshot; each is looked at again before it is changed, so that what others have changed meanwhile
//! and is no longer meant stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia_query::{MatchPlan, Pattern};
use hypermnesia_store::{Key, Row, Table as Open, Value};

use super::change;
use crate::attempt::{Attempt, Step};
use crate::error::{Error, Result};
use crate::limits::CONTINUATION_AGE_MAX;
use crate::options::TxOptions;
use crate::shape::Shape;
use crate::table::Table;
use crate::transaction;
use crate::wait::deadline_in;

/// What is done to one row.
type Change<'c> = dyn FnMut(&mut Attempt, &Arc<Open>, &Key, &Row) -> Step<()> + 'c;

impl<S: Shape> Table<S> {
    /// As [`Table::delete_matching`], for any number of rows, in transactions of so many rows each (0 counts as 1). Each chunk is atomic, all
    /// of them together are not: readers see it happen, and after an error the chunks before it stay deleted. Calling it
    /// again goes on.
    ///
    /// # Errors
    /// As [`Table::delete_matching`], and [`Error::Expired`] when it takes longer than a snapshot may be pinned
    /// ([`CONTINUATION_AGE_MAX`](crate::limits::CONTINUATION_AGE_MAX)).
    pub fn delete_matching_in_chunks(&self, pattern: impl Into<Pattern>, rows: usize) -> Result<u64> {
        self.delete_matching_in_chunks_within(pattern, rows, CONTINUATION_AGE_MAX)
    }

    /// As [`Table::delete_matching_in_chunks`], all chunks within this time.
    ///
    /// # Errors
    /// As there, and [`Error::DeadlineExceeded`] after the last chunk that was in time.
    pub fn delete_matching_in_chunks_within(
        &self,
        pattern: impl Into<Pattern>,
        rows: usize,
        time: Duration,
    ) -> Result<u64> {
        self.change_in_chunks(&pattern.into(), rows, time, &mut change::remove)
    }

    /// As [`Table::update_matching`], for any number of rows; see [`Table::delete_matching_in_chunks`]. No row is changed
    /// twice.
    ///
    /// # Errors
    /// As there, and as [`Table::update_matching`].
    pub fn update_matching_in_chunks(
        &self,
        pattern: impl Into<Pattern>,
        changes: &[(&str, Value)],
        rows: usize,
    ) -> Result<u64> {
        self.update_matching_in_chunks_within(pattern, changes, rows, CONTINUATION_AGE_MAX)
    }

    /// As [`Table::update_matching_in_chunks`], all chunks within this time.
    ///
    /// # Errors
    /// As there, and [`Error::DeadlineExceeded`] after the last chunk that was in time.
    pub fn update_matching_in_chunks_within(
        &self,
        pattern: impl Into<Pattern>,
        changes: &[(&str, Value)],
        rows: usize,
        time: Duration,
    ) -> Result<u64> {
        let changes = change::changes_of(self.open()?.def(), changes)?;
        self.change_in_chunks(&pattern.into(), rows, time, &mut |attempt, open, key, row| {
            let new = change::changed(open.def(), row, &changes)?;
            change::put_instead(attempt, open, key, row, &new)
        })
    }

    fn change_in_chunks(
        &self,
        pattern: &Pattern,
        rows: usize,
        time: Duration,
        change: &mut Change<'_>,
    ) -> Result<u64> {
        let until = deadline_in(time);
        let mut meant = self.stored().chunks(pattern, rows)?;
        let mut changed = 0;
        while let Some(chunk) = meant.next_chunk()? {
            let open = self.open()?;
            let plan = super::plan(&open, pattern)?;
            let options = TxOptions::new().deadline(until.saturating_duration_since(Instant::now()));
            let keyed = |row: Row| Ok((open.def().key_of(&row).map_err(Error::from)?, row));
            let chunk = chunk.into_iter().map(keyed).collect::<Result<Vec<_>>>()?;
            changed += transaction::run(&self.core, &options, |tx| {
                tx.step(|attempt, waker| {
                    let mut still = Vec::with_capacity(chunk.len());
                    for (key, row) in &chunk {
                        still.extend(
                            still_meant(attempt, waker, &open, &plan, key, row)?.map(|row| (key, row)),
                        );
                    }
                    let mut write = |attempt: &mut Attempt| {
                        still.iter().try_for_each(|(key, row)| change(attempt, &open, key, row))
                    };
                    change::whole(attempt, &mut write)?;
                    Ok(still.len() as u64)
                })
            })?;
        }
        Ok(changed)
    }
}

/// The row as it is now, if it is still meant: of a bag this very row, else the row of its key.
fn still_meant(
    attempt: &mut Attempt,
    waker: &std::task::Waker,
    open: &Arc<Open>,
    plan: &MatchPlan,
    key: &Key,
    row: &Row,
) -> Step<Option<Row>> {
    let Some(body) = attempt.read(open, key, None, waker)? else { return Ok(None) };
    let bag = open.def().kind == hypermnesia_store::Kind::Bag;
    let now = body.rows().iter().find(|now| !bag || now.same_values(row)).cloned();
    match now {
        Some(now) if plan.fulfils(&now).map_err(Error::from)? => Ok(Some(now)),
        _ => Ok(None),
    }
}
