//! Ranges of keys and of indexes inside a run, with the own writes over what was committed.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::Waker;

use hypermnesia_store::work::{Blocked, LockMode, RangeNote};
use hypermnesia_store::{Body, Found, IndexDef, IndexId, Key, KeyRange, Kind, Row, Table, TableDef, TableId};

use super::{Attempt, Step};
use crate::error::Result;
use crate::options::{Span, Walk};

impl Attempt {
    /// Every key within the span and what it holds, own writes included.
    pub(crate) fn scan(&mut self, table: &Arc<Table>, span: &Span, waker: &Waker) -> Step<Vec<(Key, Body)>> {
        if self.is_remote(table, waker)? {
            return self.scan_from_afar(table, span, waker);
        }
        self.touch_copy(table)?;
        let def = table.def();
        if self.locking {
            self.lock_table(table, LockMode::Read, waker)?;
        }
        loop {
            let rows = table.cursor(span.range.clone(), span.walk.into(), self.snapshot.at());
            match self.overlaid(def, span, rows) {
                Ok((found, range)) => {
                    self.note_range(def.id, None, range);
                    self.fixed |= !self.locking;
                    return Ok(found);
                }
                Err(blocked) => self.on_blocked(blocked, waker)?,
            }
        }
    }

    /// Rows with the own writes over them, and the part of the span that was really read.
    pub(super) fn overlaid(
        &self,
        def: &TableDef,
        span: &Span,
        rows: impl Iterator<Item = Result<Found, Blocked>>,
    ) -> Result<(Vec<(Key, Body)>, KeyRange), Blocked> {
        let mut own = self.overlay.keys_in(def.id, &span.range);
        if span.walk == Walk::Forward {
            // Taken from the end, so the next one in the direction of the walk is the last.
            own.reverse();
        }
        let ordered = def.kind == Kind::OrderedSet;
        let before = |own: &Key, key: &Key| match span.walk {
            Walk::Forward => own < key,
            Walk::Backward => own > key,
        };
        let mut found = Vec::new();
        for item in rows {
            let (key, body, _) = item?;
            while ordered && found.len() < span.limit && own.last().is_some_and(|next| before(next, &key)) {
                self.push_own(def, own.pop(), &mut found);
            }
            if found.len() >= span.limit {
                let range = narrowed(span, ordered, &found);
                return Ok((found, range));
            }
            own.retain(|written| *written != key);
            if let Some(body) = self.overlay.over(def.id, def.kind, &key, Some(body)) {
                found.push((key, body));
            }
            if found.len() >= span.limit && !own.iter().any(|own| before(own, &found[found.len() - 1].0)) {
                let range = narrowed(span, ordered, &found);
                return Ok((found, range));
            }
        }
        while found.len() < span.limit && !own.is_empty() {
            self.push_own(def, own.pop(), &mut found);
        }
        Ok((found, span.range.clone()))
    }

    fn push_own(&self, def: &TableDef, key: Option<Key>, found: &mut Vec<(Key, Body)>) {
        if let Some(key) = key
            && let Some(body) = self.overlay.over(def.id, def.kind, &key, None)
        {
            found.push((key, body));
        }
    }

    /// Every row whose entry in the index lies within the span, in the order of entries, own writes included.
    pub(crate) fn index_scan(
        &mut self,
        table: &Arc<Table>,
        index: &IndexDef,
        span: &Span,
        waker: &Waker,
    ) -> Step<Vec<(Key, Row)>> {
        if self.is_remote(table, waker)? {
            return self.index_scan_from_afar(table, index, span, waker);
        }
        self.touch_copy(table)?;
        let def = table.def();
        if self.locking {
            self.lock_table(table, LockMode::Read, waker)?;
        }
        loop {
            let at = self.snapshot.at();
            let rows = table.index_cursor(index.id, span.range.clone(), span.walk.into(), at);
            let committed = |key: &Key| Ok(table.read(key, at)?.map(|(body, _)| body));
            match self.index_overlaid(def, index, span, rows, committed) {
                Ok(found) => {
                    self.note_range(def.id, Some(index.id), span.range.clone());
                    self.fixed |= !self.locking;
                    return Ok(found);
                }
                Err(blocked) => self.on_blocked(blocked, waker)?,
            }
        }
    }

    /// The rows of entries of an index, with the own writes over them. What was committed of the keys written is looked up.
    pub(super) fn index_overlaid(
        &self,
        def: &TableDef,
        index: &IndexDef,
        span: &Span,
        rows: impl Iterator<Item = Result<Found, Blocked>>,
        committed: impl Fn(&Key) -> Result<Option<Body>, Blocked>,
    ) -> Result<Vec<(Key, Row)>, Blocked> {
        let written = self.overlay.keys_in(def.id, &KeyRange::all());
        let limit = if written.is_empty() { span.limit } else { usize::MAX };
        let mut found = Vec::new();
        for item in rows {
            if found.len() >= limit {
                break;
            }
            let (key, body, _) = item?;
            if written.binary_search(&key).is_err() {
                found.extend(body.rows().iter().map(|row| (key.clone(), row.clone())));
            }
        }
        if written.is_empty() {
            return Ok(found);
        }
        // With own writes in between, entries are put in order here: those found, and those of rows as they will be.
        let entries = |key: &Key, row: &Row| -> Vec<Key> {
            let values = def.index_keys(index, row).unwrap_or_default().into_iter();
            values.map(|value| value.join(key)).filter(|entry| span.range.contains(entry)).collect()
        };
        let mut all: Vec<(Key, Key, Row)> = Vec::new();
        // A row with several entries in the span was found once for each.
        let mut seen = HashSet::new();
        found.retain(|one| seen.insert(one.clone()));
        for (key, row) in found {
            all.extend(entries(&key, &row).into_iter().map(|entry| (entry, key.clone(), row.clone())));
        }
        for key in &written {
            let body = self.overlay.over(def.id, def.kind, key, committed(key)?);
            for row in body.as_ref().map_or(&[][..], Body::rows) {
                all.extend(entries(key, row).into_iter().map(|entry| (entry, key.clone(), row.clone())));
            }
        }
        all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        if span.walk == Walk::Backward {
            all.reverse();
        }
        all.truncate(span.limit);
        Ok(all.into_iter().map(|(_, key, row)| (key, row)).collect())
    }

    pub(super) fn note_range(&mut self, table: TableId, index: Option<IndexId>, range: KeyRange) {
        self.ranges.push(RangeNote { table, index, range, snapshot: self.snapshot.at() });
    }
}

/// The part of a span that was really read when its limit was met.
fn narrowed(span: &Span, ordered: bool, found: &[(Key, Body)]) -> KeyRange {
    use std::ops::Bound;
    let mut range = span.range.clone();
    if ordered && let Some((last, _)) = found.last() {
        match span.walk {
            Walk::Forward => range.end = Bound::Included(last.clone()),
            Walk::Backward => range.start = Bound::Included(last.clone()),
        }
    }
    range
}
