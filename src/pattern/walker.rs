//! Walks what a plan names, row by row, over a snapshot that the caller holds. Between two rows it holds no guard and no
//! lock, so it may lie for as long as the snapshot lives; what is left to walk is all in here.

use std::collections::{HashSet, VecDeque, vec_deque};
use std::sync::Arc;

use hypermnesia_query::{Direction, MatchPlan, Reach};
use hypermnesia_store::{Body, Cursor, Key, Row, Table as Open};

use crate::error::Result;
use crate::snapshot::Snapshot;

/// See the file's header.
pub(crate) struct Walker {
    open: Arc<Open>,
    pub(crate) plan: MatchPlan,
    /// Not walked yet.
    reaches: vec_deque::IntoIter<Reach>,
    /// Over the reach that is being walked.
    cursor: Option<Cursor>,
    /// Of the last key, not looked at yet.
    found: VecDeque<(Key, Row)>,
    sieve: Sieve,
    /// Rows looked at so far.
    looked: u64,
}

/// Rows that are looked at between two questions whether to stop: they take some 100 ns each.
const ROWS_PER_QUESTION: u64 = 1_024;

/// Lets pass what is meant, once, up to the limit.
pub(crate) struct Sieve {
    /// Rows given so far, where one may be met twice.
    seen: Option<HashSet<Row>>,
    left: usize,
}

impl Sieve {
    pub(crate) fn new(plan: &MatchPlan, reaches: usize) -> Sieve {
        Sieve { seen: plan.may_repeat(reaches).then(HashSet::new), left: plan.limit() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn passes(&mut self, plan: &MatchPlan, row: &Row) -> Result<bool> {
        if self.left == 0 || !plan.holds(row)? {
            return Ok(false);
        }
        let new = self.seen.as_mut().is_none_or(|seen| seen.insert(row.clone()));
        self.left -= usize::from(new);
        Ok(new)
    }
}

impl Walker {
    pub(crate) fn new(open: &Arc<Open>, plan: MatchPlan) -> Result<Walker> {
        let reaches = plan.reaches()?;
        Ok(Walker {
            open: Arc::clone(open),
            sieve: Sieve::new(&plan, reaches.len()),
            reaches: VecDeque::from(reaches).into_iter(),
            plan,
            cursor: None,
            found: VecDeque::new(),
            looked: 0,
        })
    }

    /// The next row and its key. Always over the same snapshot.
    pub(crate) fn next(&mut self, snapshot: &Snapshot) -> Result<Option<(Key, Row)>> {
        self.next_unless(snapshot, &|| false)
    }

    /// As [`Walker::next`]; ends when it is told to stop, which it asks now and then, also while no row is meant.
    pub(crate) fn next_unless(
        &mut self,
        snapshot: &Snapshot,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(Key, Row)>> {
        while !self.sieve.is_full() {
            if let Some((key, row)) = self.found.pop_front() {
                self.looked += 1;
                if self.looked.is_multiple_of(ROWS_PER_QUESTION) && stop() {
                    return Ok(None);
                }
                if self.sieve.passes(&self.plan, &row)? {
                    return snapshot.still().map(|()| Some((key, row)));
                }
                continue;
            }
            let Some(cursor) = &mut self.cursor else {
                let Some(reach) = self.reaches.next() else { return Ok(None) };
                self.begin(reach, snapshot)?;
                continue;
            };
            match cursor.next() {
                None => self.cursor = None,
                Some(Err(blocked)) => snapshot.wait(blocked)?,
                Some(Ok((key, body, _))) => self.find(&key, &body),
            }
        }
        Ok(None)
    }

    fn begin(&mut self, reach: Reach, snapshot: &Snapshot) -> Result<()> {
        let direction = match self.plan.direction() {
            Direction::Forward => hypermnesia_store::Direction::Forward,
            Direction::Backward => hypermnesia_store::Direction::Backward,
        };
        match reach {
            Reach::Key(key) => {
                if let Some(body) = snapshot.body(&self.open, &key)? {
                    self.find(&key, &body);
                }
            }
            Reach::Keys(range) => self.cursor = Some(self.open.cursor(range, direction, snapshot.at())),
            Reach::Entries(index, range) => {
                self.cursor = Some(self.open.index_cursor(index, range, direction, snapshot.at()));
            }
        }
        Ok(())
    }

    fn find(&mut self, key: &Key, body: &Body) {
        self.found.extend(body.rows().iter().map(|row| (key.clone(), row.clone())));
    }
}
