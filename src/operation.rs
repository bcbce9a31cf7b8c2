//! The operations of a transaction on one table, each as one step on an attempt: all reads before the first write, so a
//! step that has to wait is simply made again. Transactions for threads and for tasks both run these.

use std::task::Waker;

use hypermnesia_store::work::{LockMode, Op};
use hypermnesia_store::{
    Body, Key, KeyRange, Kind, Row, RowError, TableDef, Timestamp, Type, Value, ValueRef,
};

use crate::attempt::{Attempt, Step};
use crate::error::{Error, Result};
use crate::options::{Lifetime, Span};
use crate::shape::Shape;
use crate::table::Table;
use crate::version::Versioned;

/// A change of one numeric attribute by [`Transaction::update_counter`](crate::Transaction::update_counter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The attribute, an integer.
    pub attribute: String,
    /// What is added.
    pub by: i64,
    /// When the sum passes the threshold (above it for a positive `by`, below it for a negative one) it becomes the reset
    /// value instead: `(threshold, reset)`.
    pub wrap: Option<(i64, i64)>,
}

impl Count {
    /// Adds to an attribute.
    pub fn new(attribute: impl Into<String>, by: i64) -> Count {
        Count { attribute: attribute.into(), by, wrap: None }
    }

    /// With a threshold and what the attribute becomes behind it.
    #[must_use]
    pub fn wrapping(mut self, threshold: i64, reset: i64) -> Count {
        self.wrap = Some((threshold, reset));
        self
    }
}

/// What compare-and-swap compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    Absent,
    Row(&'a Row),
    Version(Timestamp),
}

pub(crate) fn rows<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    mode: Option<LockMode>,
) -> Step<Vec<Row>> {
    let body = attempt.read(&table.open()?, key, mode, waker)?;
    Ok(body.map_or_else(Vec::new, |body| body.rows().to_vec()))
}

/// All rows of a key with its version.
pub(crate) fn versioned<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
) -> Step<Versioned<Vec<Row>>> {
    let row = rows(attempt, waker, table, key, None)?;
    let version = if row.is_empty() { Timestamp::NEVER } else { attempt.version(table.id(), key) };
    Ok(Versioned { row, version })
}

pub(crate) fn one<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    mode: Option<LockMode>,
) -> Step<Option<Row>> {
    let body = attempt.read(&table.open()?, key, mode, waker)?;
    Ok(body.and_then(|body| body.rows().first().cloned()))
}

pub(crate) fn put<S: Shape>(
    attempt: &mut Attempt,
    table: &Table<S>,
    row: &Row,
    lifetime: Lifetime,
) -> Step<()> {
    let open = table.open()?;
    let key = open.def().key_of(row).map_err(Error::from)?;
    let row = timed(open.def(), row, lifetime)?;
    attempt.write(&open, key, Op::Put(row))
}

/// The row as it is stored when it is put with this lifetime.
pub(crate) fn timed(def: &TableDef, row: &Row, lifetime: Lifetime) -> Result<Row> {
    let deadline = lifetime.deadline_ms(&def.retention);
    if deadline.is_some() {
        no_bag(def, "a lifetime")?;
    }
    Ok(row.with_deadline(deadline)?)
}

/// Gives the row of a key another lifetime, its values untouched; says whether there is one.
pub(crate) fn retime<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    lifetime: Lifetime,
) -> Step<bool> {
    let open = table.open()?;
    no_bag(open.def(), "a lifetime")?;
    let Some(row) = one(attempt, waker, table, key, None)? else { return Ok(false) };
    let row = timed(open.def(), &row, lifetime)?;
    attempt.write(&open, key.clone(), Op::Put(row))?;
    Ok(true)
}

pub(crate) fn put_new<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    row: &Row,
    lifetime: Lifetime,
) -> Step<bool> {
    let open = table.open()?;
    let key = open.def().key_of(row).map_err(Error::from)?;
    let row = timed(open.def(), row, lifetime)?;
    if attempt.read(&open, &key, None, waker)?.is_some() {
        return Ok(false);
    }
    attempt.write(&open, key, Op::Put(row))?;
    Ok(true)
}

pub(crate) fn put_all<S: Shape>(
    attempt: &mut Attempt,
    table: &Table<S>,
    rows: &[Row],
    lifetime: Lifetime,
) -> Step<()> {
    rows.iter().try_for_each(|row| put(attempt, table, row, lifetime))
}

/// Puts all rows if no key of them has one; says whether it did.
pub(crate) fn put_all_new<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    rows: &[Row],
    lifetime: Lifetime,
) -> Step<bool> {
    let open = table.open()?;
    for row in rows {
        let key = open.def().key_of(row).map_err(Error::from)?;
        timed(open.def(), row, lifetime)?;
        if attempt.read(&open, &key, None, waker)?.is_some() {
            return Ok(false);
        }
    }
    put_all(attempt, table, rows, lifetime)?;
    Ok(true)
}

pub(crate) fn delete<S: Shape>(attempt: &mut Attempt, table: &Table<S>, key: Key) -> Step<()> {
    attempt.write(&table.open()?, key, Op::Delete)
}

pub(crate) fn take<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: Key,
) -> Step<Vec<Row>> {
    let taken = rows(attempt, waker, table, &key, None)?;
    if !taken.is_empty() {
        delete(attempt, table, key)?;
    }
    Ok(taken)
}

pub(crate) fn delete_object<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    row: Row,
) -> Step<bool> {
    let open = table.open()?;
    let key = open.def().key_of(&row).map_err(Error::from)?;
    let found = attempt.read(&open, &key, None, waker)?;
    let there = found.is_some_and(|body| body.rows().iter().any(|known| known.same_values(&row)));
    if there {
        // The row of a set was read a moment ago, and that it is still so is checked by the commit. It may be stored without
        // the attributes that came later, so its bytes do not say which row is meant.
        let op = if open.def().kind == Kind::Bag { Op::BagRemove(row) } else { Op::Delete };
        attempt.write(&open, key, op)?;
    }
    Ok(there)
}

pub(crate) fn swap<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    expected: Expected<'_>,
    new: Option<Row>,
) -> Step<bool> {
    let open = table.open()?;
    no_bag(open.def(), "compare_and_swap")?;
    let found = one(attempt, waker, table, key, None)?;
    let equal = match (&expected, &found) {
        (Expected::Absent, None) => true,
        (Expected::Row(expected), Some(found)) => expected.same_values(found),
        (Expected::Version(version), Some(_)) => {
            *version != Timestamp::NEVER && attempt.version(open.id(), key) == *version
        }
        _ => false,
    };
    if !equal {
        return Ok(false);
    }
    match new {
        Some(row) if open.def().key_of(&row).map_err(Error::from)? != *key => {
            return Err(
                Error::Aborted { reason: "the new row of compare_and_swap has another key".into() }.into()
            );
        }
        Some(row) => {
            let row = timed(open.def(), &row, Lifetime::OfTable)?;
            attempt.write(&open, key.clone(), Op::Put(row))?;
        }
        None => attempt.write(&open, key.clone(), Op::Delete)?,
    }
    Ok(true)
}

pub(crate) fn update<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    changes: &[(&str, Value)],
) -> Step<bool> {
    let open = table.open()?;
    let def = open.def();
    no_bag(def, "update_attributes")?;
    let positions = changes.iter().map(|(name, _)| position_outside_key(def, name));
    let positions = positions.collect::<Result<Vec<usize>>>()?;
    let Some(row) = one(attempt, waker, table, key, None)? else { return Ok(false) };
    let mut values = row.to_values();
    for (position, (_, value)) in positions.into_iter().zip(changes) {
        values[position] = value.clone();
    }
    attempt.write(&open, key.clone(), Op::Put(rewritten(def, &values, row.deadline_ms())?))?;
    Ok(true)
}

pub(crate) fn count<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    counts: &[Count],
    default: Option<&Row>,
) -> Step<Option<Vec<i64>>> {
    let open = table.open()?;
    let def = open.def();
    no_bag(def, "update_counter")?;
    let positions = counts.iter().map(|count| position_outside_key(def, &count.attribute));
    let positions = positions.collect::<Result<Vec<usize>>>()?;
    if let Some(default) = default
        && def.key_of(default).map_err(Error::from)? != *key
    {
        return Err(Error::abort("the default row of update_counter has another key").into());
    }
    let row = match (one(attempt, waker, table, key, None)?, default) {
        (Some(row), _) => row,
        (None, Some(default)) => timed(def, default, Lifetime::OfTable)?,
        (None, None) => return Ok(None),
    };
    let mut values = row.to_values();
    let mut sums = Vec::with_capacity(counts.len());
    for (position, count) in positions.into_iter().zip(counts) {
        let sum = add(def, &count.attribute, &values[position], count)?;
        values[position] = Value::Int(sum);
        sums.push(sum);
    }
    attempt.write(&open, key.clone(), Op::Put(rewritten(def, &values, row.deadline_ms())?))?;
    Ok(Some(sums))
}

/// A row whose attributes changed in place: it keeps its deadline.
fn rewritten(def: &TableDef, values: &[Value], deadline_ms: Option<u64>) -> Result<Row> {
    Ok(def.encode_row(values)?.with_deadline(deadline_ms)?)
}

fn add(def: &TableDef, attribute: &str, value: &Value, count: &Count) -> Result<i64> {
    let old = match value {
        Value::Int(old) => *old,
        // A whole number is a Uint only where it does not fit an Int.
        Value::Uint(old) => {
            return Err(Error::abort(format!(
                "counter {attribute:?} of table {:?} stands at {old}, and counting ends at 2^63 - 1",
                def.name
            )));
        }
        other => {
            return Err(Error::Row(RowError::Type {
                table: def.name.clone(),
                attribute: attribute.to_owned(),
                wanted: Type::Int,
                given: other.type_name(),
            }));
        }
    };
    let overflow = || Error::abort(format!("counter {attribute:?} of table {:?} overflows", def.name));
    let sum = old.checked_add(count.by).ok_or_else(overflow)?;
    Ok(match count.wrap {
        Some((threshold, reset)) if count.by >= 0 && sum > threshold => reset,
        Some((threshold, reset)) if count.by < 0 && sum < threshold => reset,
        _ => sum,
    })
}

pub(crate) fn position_outside_key(def: &TableDef, name: &str) -> Result<usize> {
    let missing = || Error::NoSuchAttribute { table: def.name.clone(), attribute: name.to_owned() };
    let position = def.position(name).ok_or_else(missing)?;
    if def.key.contains(&position) {
        return Err(Error::abort(format!("attribute {name:?} is part of the key of table {:?}", def.name)));
    }
    Ok(position)
}

pub(crate) fn lookup<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    attribute: &str,
) -> Step<Option<Value>> {
    let open = table.open()?;
    let def = open.def();
    let missing = || Error::NoSuchAttribute { table: def.name.clone(), attribute: attribute.to_owned() };
    let position = def.position(attribute).ok_or_else(missing)?;
    Ok(one(attempt, waker, table, key, None)?.map(|row| row.attribute(position).to_value()))
}

pub(crate) fn scan<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    span: &Span,
) -> Step<Vec<(Key, Body)>> {
    let open = table.open()?;
    ordered_unless_all(open.def(), &span.range, "a range")?;
    attempt.scan(&open, span, waker)
}

/// All entries of an index that begin with these values, which are what its attributes hold, first ones first.
pub(crate) fn entries_with(def: &TableDef, index: &str, values: &[Value]) -> Result<KeyRange> {
    let missing = || Error::NoSuchIndex { table: def.name.clone(), index: index.to_owned() };
    let index = def.index_named(index).ok_or_else(missing)?;
    let attributes = &index.attributes;
    if values.len() > attributes.len() {
        let (wanted, given) = (attributes.len(), values.len());
        let what = "an entry of an index";
        return Err(RowError::Arity { what, table: def.name.clone(), wanted, given }.into());
    }
    if index.multi {
        // Values of a list, which may be of any type.
        return Ok(Key::prefix_range(values)?);
    }
    let stored = |(position, value): (&usize, &Value)| {
        let attribute = &def.attributes[*position];
        let misfit = || RowError::Type {
            table: def.name.clone(),
            attribute: attribute.name.clone(),
            wanted: attribute.ty,
            given: value.type_name(),
        };
        attribute.ty.admit(value.as_ref()).map(ValueRef::to_value).ok_or_else(misfit)
    };
    let stored = attributes.iter().zip(values).map(stored).collect::<Result<Vec<Value>, RowError>>()?;
    Ok(Key::prefix_range(&stored)?)
}

pub(crate) fn index<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    name: &str,
    span: &Span,
) -> Step<Vec<Row>> {
    let open = table.open()?;
    let index = open.def().index_named(name).cloned();
    let missing = || Error::NoSuchIndex { table: open.def().name.clone(), index: name.to_owned() };
    let index = index.ok_or_else(missing)?;
    let found = attempt.index_scan(&open, &index, span, waker)?;
    Ok(found.into_iter().map(|(_, row)| row).collect())
}

/// The first row within a range in a direction.
pub(crate) fn edge<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    span: &Span,
    operation: &'static str,
) -> Step<Option<Row>> {
    let open = table.open()?;
    ordered(open.def(), operation)?;
    let found = attempt.scan(&open, &span.clone().limit(1), waker)?;
    Ok(found.first().and_then(|(_, body)| body.rows().first().cloned()))
}

pub(crate) fn ordered(def: &TableDef, operation: &'static str) -> Result<()> {
    if def.kind == Kind::OrderedSet {
        return Ok(());
    }
    Err(Error::WrongKind { table: def.name.clone(), operation, kind: kind_name(def.kind) })
}

pub(crate) fn ordered_unless_all(def: &TableDef, range: &KeyRange, operation: &'static str) -> Result<()> {
    if *range == KeyRange::all() { Ok(()) } else { ordered(def, operation) }
}

fn no_bag(def: &TableDef, operation: &'static str) -> Result<()> {
    if def.kind != Kind::Bag {
        return Ok(());
    }
    Err(Error::WrongKind { table: def.name.clone(), operation, kind: kind_name(def.kind) })
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Set => "set",
        Kind::OrderedSet => "ordered set",
        Kind::Bag => "bag",
    }
}
