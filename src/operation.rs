//! The operations of a transaction on one table, each as one step on an attempt: all reads before the first write, so a
//! step that has to wait is simply made again. Transactions for threads and for tasks both run these.

use std::borrow::Cow;
use std::task::Waker;

use hypermnesia_store::work::{LockMode, Op};
use hypermnesia_store::{
    Body, Decision, Key, KeyRange, Kind, Row, RowError, TableDef, Timestamp, Value, ValueRef,
};

use crate::attempt::{Attempt, Step};
use crate::decision::{self, Expected};
use crate::error::{Error, Result};
use crate::options::{Lifetime, Span};
use crate::shape::Shape;
use crate::table::Table;
use crate::version::Versioned;

/// A change of one numeric attribute by [`Transaction::update_counter`](crate::Transaction::update_counter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The attribute, an integer.
    pub attribute: Cow<'static, str>,
    /// What is added.
    pub by: i64,
    /// When the sum passes the threshold (above it for a positive `by`, below it for a negative one) it becomes the reset
    /// value instead: `(threshold, reset)`.
    pub wrap: Option<(i64, i64)>,
}

impl Count {
    /// Adds to an attribute.
    pub fn new(attribute: impl Into<Cow<'static, str>>, by: i64) -> Count {
        Count { attribute: attribute.into(), by, wrap: None }
    }

    /// With a threshold and what the attribute becomes behind it.
    #[must_use]
    pub fn wrapping(mut self, threshold: i64, reset: i64) -> Count {
        self.wrap = Some((threshold, reset));
        self
    }
}

pub(crate) fn rows<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    mode: Option<LockMode>,
) -> Step<Vec<Row>> {
    let open = table.open()?;
    let body = attempt.read(&open, key, mode, waker)?;
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
    let open = table.open()?;
    let body = attempt.read(&open, key, mode, waker)?;
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
    let row = decision::timed(open.def(), row.clone(), lifetime)?;
    attempt.write(&open, key, Op::Put(row))
}

/// Reads a key, decides what becomes of it, and writes that.
pub(crate) fn decide<S: Shape, T>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    decision: impl FnOnce(&TableDef, Option<&Body>) -> Result<Decision<T>>,
) -> Step<T> {
    let open = table.open()?;
    let held = attempt.read(&open, key, None, waker)?;
    let (op, answer) = decision(open.def(), held.as_ref())?;
    if let Some(op) = op {
        attempt.write(&open, key.clone(), op)?;
    }
    Ok(answer)
}

/// Gives the row of a key another lifetime, its values untouched; says whether there is one.
pub(crate) fn retime<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    lifetime: Lifetime,
) -> Step<bool> {
    decide(attempt, waker, table, key, |def, held| decision::retime(def, held, lifetime))
}

pub(crate) fn put_new<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    row: &Row,
    lifetime: Lifetime,
) -> Step<bool> {
    let key = table.open()?.def().key_of(row).map_err(Error::from)?;
    decide(attempt, waker, table, &key, |def, held| decision::put_new(def, held, row, lifetime))
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
        decision::timed(open.def(), row.clone(), lifetime)?;
        if attempt.read(&open, &key, None, waker)?.is_some() {
            return Ok(false);
        }
    }
    put_all(attempt, table, rows, lifetime)?;
    Ok(true)
}

pub(crate) fn delete<S: Shape>(attempt: &mut Attempt, table: &Table<S>, key: Key) -> Step<()> {
    let open = table.open()?;
    attempt.write(&open, key, Op::Delete)
}

pub(crate) fn take<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: Key,
) -> Step<Vec<Row>> {
    decide(attempt, waker, table, &key, |_, held| Ok(decision::take(held)))
}

pub(crate) fn delete_object<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    row: Row,
) -> Step<bool> {
    let key = table.open()?.def().key_of(&row).map_err(Error::from)?;
    decide(attempt, waker, table, &key, |def, held| Ok(decision::delete_object(def, held, &row)))
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
    let held = attempt.read(&open, key, None, waker)?;
    let version = attempt.version(open.id(), key);
    let (op, answer) = decision::swap(open.def(), held.as_ref(), version, key, &expected, new.as_ref())?;
    if let Some(op) = op {
        attempt.write(&open, key.clone(), op)?;
    }
    Ok(answer)
}

pub(crate) fn update<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    changes: &[(&str, Value)],
) -> Step<bool> {
    decide(attempt, waker, table, key, |def, held| decision::update(def, held, changes))
}

pub(crate) fn count<S: Shape>(
    attempt: &mut Attempt,
    waker: &Waker,
    table: &Table<S>,
    key: &Key,
    counts: &[Count],
    default: Option<&Row>,
) -> Step<Option<Vec<i64>>> {
    decide(attempt, waker, table, key, |def, held| decision::count(def, held, key, counts, default))
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

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Set => "set",
        Kind::OrderedSet => "ordered set",
        Kind::Bag => "bag",
    }
}
