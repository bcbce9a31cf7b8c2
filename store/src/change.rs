//! What a write makes of what a key holds. Used by prepare, by the replay of a log, and by a transaction that looks at its
//! own writes, so that all three agree.

use std::sync::Arc;

use crate::row::{Body, Row};
use crate::schema::Kind;
use crate::work::Op;

/// What a key of a table of this kind holds after `op`, given what it held before.
///
/// ```
/// use hypermnesia_store::{Body, Kind, Op, Row, SchemaVersion, Value, change};
/// let row = |n| Row::encode(SchemaVersion::FIRST, &[Value::Int(1), Value::Int(n)]).unwrap();
/// let one = change(Kind::Bag, None, &Op::BagAdd(row(1)));
/// let two = change(Kind::Bag, one, &Op::BagAdd(row(2)));
/// assert_eq!(two.clone().unwrap().rows(), [row(1), row(2)]);
/// assert_eq!(change(Kind::Bag, two.clone(), &Op::BagAdd(row(1))), two); // identical: stored once
/// ```
pub fn change(kind: Kind, held: Option<Body>, op: &Op) -> Option<Body> {
    match (kind, op) {
        (_, Op::Delete) => None,
        (_, Op::Expire(now)) => held.filter(|body| !body.is_expired(*now)),
        (Kind::Bag, Op::Put(row) | Op::BagAdd(row)) => Some(with(held, row)),
        (Kind::Bag, Op::BagAppend(row)) => Some(behind(held.as_ref(), row)),
        (Kind::Bag, Op::BagRemove(row)) => without(held?, row),
        (Kind::Set | Kind::OrderedSet, Op::Put(row) | Op::BagAdd(row) | Op::BagAppend(row)) => {
            Some(Body::Row(row.clone()))
        }
        (Kind::Set | Kind::OrderedSet, Op::BagRemove(row)) => {
            held.filter(|body| !body.rows().iter().any(|known| known.same_values(row)))
        }
    }
}

/// What a key holds after these writes to it, in their order; nothing when they leave it as it was, so that it keeps its
/// version: a row that was not there to be removed, a bag that had the row already. A row that is put is a new version also
/// where it is the same. Memory, log and image all go by this, so that what a key holds has one timestamp everywhere.
pub(crate) fn changed<'w>(
    kind: Kind,
    old: Option<&Body>,
    writes: impl Iterator<Item = &'w Op> + Clone,
) -> Option<Option<Body>> {
    let new = writes.clone().fold(old.cloned(), |held, op| change(kind, held, op));
    let conditional = || writes.clone().all(|op| matches!(op, Op::BagRemove(_) | Op::Expire(_)));
    let unchanged = match (old, &new) {
        (Some(Body::Bag(a)), Some(Body::Bag(b))) => Arc::ptr_eq(a, b),
        (Some(Body::Row(a)), Some(Body::Row(b))) => a.same_allocation(b) && conditional(),
        (None, None) => true,
        _ => false,
    };
    (!unchanged).then_some(new)
}

fn with(held: Option<Body>, row: &Row) -> Body {
    let rows = held.as_ref().map_or(&[][..], Body::rows);
    match rows.iter().any(|known| known.same_values(row)) {
        true => held.expect("rows came from it"),
        false => behind(held.as_ref(), row),
    }
}

fn behind(held: Option<&Body>, row: &Row) -> Body {
    let rows = held.map_or(&[][..], Body::rows);
    Body::Bag(Arc::new(rows.iter().chain([row]).cloned().collect()))
}

fn without(held: Body, row: &Row) -> Option<Body> {
    if !held.rows().iter().any(|known| known.same_values(row)) {
        return Some(held);
    }
    let rows: Vec<Row> = held.rows().iter().filter(|known| !known.same_values(row)).cloned().collect();
    (!rows.is_empty()).then(|| Body::Bag(Arc::new(rows)))
}
