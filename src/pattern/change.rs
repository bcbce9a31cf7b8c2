//! Patterns as steps of an attempt: everything is read before the first write, so a step that has to wait is made again; and
//! a step that fails takes its writes back, so it is done wholly or not at all.

use std::sync::Arc;
use std::task::Waker;

use hypermnesia_query::{Direction, MatchPlan, Reach};
use hypermnesia_store::work::Op;
use hypermnesia_store::{Key, Kind, Row, Table as Open, TableDef, Value};

use super::walker::Sieve;
use crate::attempt::{Attempt, Step};
use crate::decision::position_outside_key;
use crate::error::{Error, Result};
use crate::options::{Span, Walk};

/// The rows of a plan with their keys, own writes included.
pub(super) fn search(
    attempt: &mut Attempt,
    waker: &Waker,
    open: &Arc<Open>,
    plan: &MatchPlan,
) -> Step<Vec<(Key, Row)>> {
    let reaches = plan.reaches().map_err(Error::from)?;
    let mut sieve = Sieve::new(plan, reaches.len());
    let mut found = Vec::new();
    for reach in reaches {
        for (key, row) in look(attempt, waker, open, plan, reach)? {
            if sieve.passes(plan, &row)? {
                found.push((key, row));
            }
        }
        if sieve.is_full() {
            break;
        }
    }
    Ok(found)
}

fn look(
    attempt: &mut Attempt,
    waker: &Waker,
    open: &Arc<Open>,
    plan: &MatchPlan,
    reach: Reach,
) -> Step<Vec<(Key, Row)>> {
    let span = |range| {
        let mut span = Span::of(range);
        if plan.direction() == Direction::Backward {
            span.walk = Walk::Backward;
        }
        span
    };
    let rows = |key: Key, rows: &[Row]| rows.iter().map(|row| (key.clone(), row.clone())).collect::<Vec<_>>();
    Ok(match reach {
        Reach::Key(key) => match attempt.read(open, &key, None, waker)? {
            Some(body) => rows(key, body.rows()),
            None => Vec::new(),
        },
        Reach::Keys(range) => {
            let found = attempt.scan(open, &span(range), waker)?;
            found.into_iter().flat_map(|(key, body)| rows(key, body.rows())).collect()
        }
        Reach::Entries(index, range) => {
            let changed = || Error::SchemaChanged { table: open.def().name.clone() };
            let index = open.def().index(index).cloned().ok_or_else(changed)?;
            attempt.index_scan(open, &index, &span(range), waker)?
        }
    })
}

/// Deletes the rows of a plan.
pub(super) fn delete(attempt: &mut Attempt, waker: &Waker, open: &Arc<Open>, plan: &MatchPlan) -> Step<u64> {
    let found = search(attempt, waker, open, plan)?;
    whole(attempt, |attempt| found.iter().try_for_each(|(key, row)| remove(attempt, open, key, row)))?;
    Ok(found.len() as u64)
}

/// Puts other rows in the place of those of a plan.
pub(super) fn replace(
    attempt: &mut Attempt,
    waker: &Waker,
    open: &Arc<Open>,
    plan: &MatchPlan,
    change: &mut dyn FnMut(&Row) -> Result<Row>,
) -> Step<u64> {
    let found = search(attempt, waker, open, plan)?;
    whole(attempt, |attempt| {
        found.iter().try_for_each(|(key, row)| {
            let new = change(row)?;
            put_instead(attempt, open, key, row, &new)
        })
    })?;
    Ok(found.len() as u64)
}

/// Deletes one row that was read before.
pub(super) fn remove(attempt: &mut Attempt, open: &Arc<Open>, key: &Key, row: &Row) -> Step<()> {
    let op = if open.def().kind == Kind::Bag { Op::BagRemove(row.clone()) } else { Op::Delete };
    attempt.write(open, key.clone(), op)
}

/// Puts a row of the same key in the place of one that was read before. In a bag it comes behind the others then.
pub(super) fn put_instead(
    attempt: &mut Attempt,
    open: &Arc<Open>,
    key: &Key,
    old: &Row,
    new: &Row,
) -> Step<()> {
    let def = open.def();
    if def.key_of(new).map_err(Error::from)? != *key {
        return Err(Error::abort(format!("a changed row of table {:?} has another key", def.name)).into());
    }
    let new = new.with_deadline(old.deadline_ms()).map_err(Error::from)?;
    if def.kind == Kind::Bag {
        attempt.write(open, key.clone(), Op::BagRemove(old.clone()))?;
    }
    attempt.write(open, key.clone(), Op::Put(new))
}

/// The positions and new values that a list of changes means.
pub(super) fn changes_of(def: &TableDef, changes: &[(&str, Value)]) -> Result<Vec<(usize, Value)>> {
    let one = |(name, value): &(&str, Value)| Ok((position_outside_key(def, name)?, value.clone()));
    changes.iter().map(one).collect()
}

/// The row with these values.
pub(super) fn changed(def: &TableDef, row: &Row, changes: &[(usize, Value)]) -> Result<Row> {
    let mut values = row.to_values();
    values.resize(def.attributes.len(), Value::Null);
    for (position, value) in changes {
        values[*position] = value.clone();
    }
    Ok(def.encode_row(&values)?)
}

/// Makes writes wholly or not at all.
pub(super) fn whole(attempt: &mut Attempt, write: impl FnOnce(&mut Attempt) -> Step<()>) -> Step<()> {
    let mark = attempt.overlay.len();
    let written = write(attempt);
    if written.is_err() {
        attempt.overlay.cut(mark);
    }
    written
}
