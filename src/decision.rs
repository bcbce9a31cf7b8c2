//! What a single operation makes of what a key holds: pure decisions, run inside transactions and, where a table has its
//! only copy here, under the key's lock alone. None of them has an effect of its own, so a decision may be made again.

use hypermnesia_store::work::Op;
use hypermnesia_store::{
    Body, Decision, Key, Kind, NotCounted, Numbers, Row, RowError, TableDef, Timestamp, Type, Value, ValueRef,
};
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::operation::{Count, kind_name};
use crate::options::Lifetime;

/// What compare-and-swap compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected<'a> {
    Absent,
    Row(&'a Row),
    Version(Timestamp),
}

fn row_of(held: Option<&Body>) -> Option<&Row> {
    held.and_then(|body| body.rows().first())
}

/// The row as it is stored when it is put with this lifetime.
pub(crate) fn timed(def: &TableDef, row: Row, lifetime: Lifetime) -> Result<Row> {
    let deadline = lifetime.deadline_ms(&def.retention);
    if deadline.is_some() {
        no_bag(def, "a lifetime")?;
    }
    Ok(if row.deadline_ms() == deadline { row } else { row.with_deadline(deadline)? })
}

pub(crate) fn retime(def: &TableDef, held: Option<&Body>, lifetime: Lifetime) -> Result<Decision<bool>> {
    no_bag(def, "a lifetime")?;
    let Some(row) = row_of(held) else { return Ok((None, false)) };
    Ok((Some(Op::Put(timed(def, row.clone(), lifetime)?)), true))
}

pub(crate) fn put_new(
    def: &TableDef,
    held: Option<&Body>,
    row: &Row,
    lifetime: Lifetime,
) -> Result<Decision<bool>> {
    if held.is_some() {
        return Ok((None, false));
    }
    Ok((Some(Op::Put(timed(def, row.clone(), lifetime)?)), true))
}

pub(crate) fn take(held: Option<&Body>) -> Decision<Vec<Row>> {
    (held.map(|_| Op::Delete), held.map_or_else(Vec::new, |body| body.rows().to_vec()))
}

pub(crate) fn delete_object(def: &TableDef, held: Option<&Body>, row: &Row) -> Decision<bool> {
    let there = held.is_some_and(|body| body.rows().iter().any(|known| known.same_values(row)));
    // The row of a set is the one that was just looked at. It may be stored without the attributes that came later, so its
    // bytes do not say which row is meant.
    let op = || if def.kind == Kind::Bag { Op::BagRemove(row.clone()) } else { Op::Delete };
    (there.then(op), there)
}

pub(crate) fn swap(
    def: &TableDef,
    held: Option<&Body>,
    version: Timestamp,
    key: &Key,
    expected: &Expected<'_>,
    new: Option<&Row>,
) -> Result<Decision<bool>> {
    no_bag(def, "compare_and_swap")?;
    let equal = match (expected, row_of(held)) {
        (Expected::Absent, None) => true,
        (Expected::Row(expected), Some(found)) => expected.same_values(found),
        (Expected::Version(expected), Some(_)) => *expected != Timestamp::NEVER && *expected == version,
        _ => false,
    };
    if !equal {
        return Ok((None, false));
    }
    match new {
        Some(row) if def.key_of(row).map_err(Error::from)? != *key => {
            Err(Error::abort("the new row of compare_and_swap has another key"))
        }
        Some(row) => Ok((Some(Op::Put(timed(def, row.clone(), Lifetime::OfTable)?)), true)),
        None => Ok((Some(Op::Delete), true)),
    }
}

pub(crate) fn update(
    def: &TableDef,
    held: Option<&Body>,
    changes: &[(&str, Value)],
) -> Result<Decision<bool>> {
    no_bag(def, "update_attributes")?;
    let positions = changes.iter().map(|(name, _)| position_outside_key(def, name));
    let positions = positions.collect::<Result<Vec<usize>>>()?;
    let Some(row) = row_of(held) else { return Ok((None, false)) };
    let new = |position: usize| {
        // Of several changes of one attribute the last counts.
        let at = positions.iter().rposition(|changed| *changed == position)?;
        Some(changes[at].1.as_ref())
    };
    Ok((Some(Op::Put(rewritten(def, row, new)?)), true))
}

/// The sums, or nothing when there is neither a row nor a default.
pub(crate) fn count(
    def: &TableDef,
    held: Option<&Body>,
    key: &Key,
    counts: &[Count],
    default: Option<&Row>,
) -> Result<Decision<Option<Vec<i64>>>> {
    no_bag(def, "update_counter")?;
    let positions = positions_of(def, counts)?;
    if let Some(default) = default
        && def.key_of(default).map_err(Error::from)? != *key
    {
        return Err(Error::abort("the default row of update_counter has another key"));
    }
    let fresh;
    let row = match (row_of(held), default) {
        (Some(row), _) => row,
        (None, Some(default)) => {
            fresh = timed(def, default.clone(), Lifetime::OfTable)?;
            &fresh
        }
        (None, None) => return Ok((None, None)),
    };
    let sums = sums_of(def, row, counts, &positions)?;
    let numbers = numbers(&positions, &sums);
    // An integer where an integer was: of a row as it is written today nothing else needs to be looked at.
    let counted = match def.is_own(row) {
        true => {
            let changes: SmallVec<[_; 2]> = numbers.iter().map(|&(at, n)| (at, ValueRef::Int(n))).collect();
            row.replacing(&changes)?
        }
        false => {
            let sum = |position| numbers.iter().find(|(at, _)| *at == position);
            rewritten(def, row, |position| sum(position).map(|&(_, n)| ValueRef::Int(n)))?
        }
    };
    Ok((Some(Op::Put(counted)), Some(sums)))
}

/// The same as numbers that take the place of others, for a row that is there as it is written today; nothing for another.
pub(crate) fn count_in_place(
    def: &TableDef,
    row: &Row,
    counts: &[Count],
    positions: &[usize],
) -> Option<Result<(Numbers, Vec<i64>)>> {
    let sums = def.is_own(row).then(|| sums_of(def, row, counts, positions))?;
    Some(sums.map(|sums| (numbers(positions, &sums), sums)))
}

pub(crate) type Positions = SmallVec<[usize; 2]>;

pub(crate) fn positions_of(def: &TableDef, counts: &[Count]) -> Result<Positions> {
    counts.iter().map(|count| position_outside_key(def, &count.attribute)).collect()
}

/// What each count comes to. Counting one attribute twice counts on from the first sum.
fn sums_of(def: &TableDef, row: &Row, counts: &[Count], positions: &[usize]) -> Result<Vec<i64>> {
    let mut sums: Vec<i64> = Vec::with_capacity(counts.len());
    for (n, count) in counts.iter().enumerate() {
        let before = positions[..n].iter().rposition(|earlier| *earlier == positions[n]);
        let old = before.map_or_else(|| row.attribute(positions[n]), |before| ValueRef::Int(sums[before]));
        sums.push(add(def, || &*count.attribute, old, count.by, count.wrap)?);
    }
    Ok(sums)
}

/// Each counted position once, with its last sum.
fn numbers(positions: &[usize], sums: &[i64]) -> Numbers {
    let last = |(n, at): &(usize, &usize)| !positions[n + 1..].contains(*at);
    positions.iter().enumerate().filter(last).map(|(n, &at)| (at, sums[n])).collect()
}

/// A row some of whose attributes changed in place: it keeps its deadline.
fn rewritten<'v>(def: &TableDef, row: &'v Row, new: impl Fn(usize) -> Option<ValueRef<'v>>) -> Result<Row> {
    // A row of an older definition ends before the attributes that were added since.
    let values = (0..def.attributes.len()).map(|at| new(at).unwrap_or_else(|| row.attribute(at)));
    Ok(def.encode_row_refs(values)?.with_deadline(row.deadline_ms())?)
}

/// The sum; when it passes the threshold of `wrap`, the reset value.
#[inline]
fn add<'n>(
    def: &TableDef,
    attribute: impl Fn() -> &'n str,
    value: ValueRef<'_>,
    by: i64,
    wrap: Option<(i64, i64)>,
) -> Result<i64> {
    let sum = match value {
        ValueRef::Int(old) => old.checked_add(by),
        other => return Err(not_counted(def, attribute(), other)),
    };
    let overflow = || Error::abort(format!("counter {:?} of table {:?} overflows", attribute(), def.name));
    let sum = sum.ok_or_else(overflow)?;
    Ok(match wrap {
        Some((threshold, reset)) if by >= 0 && sum > threshold => reset,
        Some((threshold, reset)) if by < 0 && sum < threshold => reset,
        _ => sum,
    })
}

#[cold]
fn not_counted(def: &TableDef, attribute: &str, value: ValueRef<'_>) -> Error {
    match value {
        // A whole number is a Uint only where it does not fit an Int.
        ValueRef::Uint(old) => Error::abort(format!(
            "counter {attribute:?} of table {:?} stands at {old}, and counting ends at 2^63 - 1",
            def.name
        )),
        other => Error::Row(RowError::NotCounted(Box::new(NotCounted {
            table: def.name.clone(),
            attribute: attribute.to_owned(),
            ty: def.position(attribute).map_or(Type::Any, |at| def.attributes[at].ty),
            held: other.type_name(),
        }))),
    }
}

pub(crate) fn position_outside_key(def: &TableDef, name: &str) -> Result<usize> {
    let missing = || Error::NoSuchAttribute { table: def.name.clone(), attribute: name.to_owned() };
    let position = def.position(name).ok_or_else(missing)?;
    if def.key.contains(&position) {
        return Err(Error::abort(format!("attribute {name:?} is part of the key of table {:?}", def.name)));
    }
    Ok(position)
}

fn no_bag(def: &TableDef, operation: &'static str) -> Result<()> {
    if def.kind != Kind::Bag {
        return Ok(());
    }
    Err(Error::WrongKind { table: def.name.clone(), operation, kind: kind_name(def.kind) })
}
