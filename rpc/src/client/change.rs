//! One change of a transaction, whole or step by step.

use super::{Row, Values, values};
use crate::proto::{self, swap_write, write};
use crate::{Error, Value};

/// An amount that is added to one integer attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Count(proto::Count);

impl Count {
    /// Adds to an attribute.
    pub fn new(attribute: impl Into<String>, by: i64) -> Count {
        Count(proto::Count { attribute: attribute.into(), by, wrap: None })
    }

    /// A sum that passes the threshold becomes `reset` instead.
    #[must_use]
    pub fn wrapping(mut self, threshold: i64, reset: i64) -> Count {
        self.0.wrap = Some(proto::Wrap { threshold, reset });
        self
    }
}

/// What a row is taken for that is to be swapped.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// There is none.
    Absent,
    /// It equals this one.
    Equals(Values),
    /// It has this version.
    Version(u64),
}

impl Expected {
    /// It equals this one.
    pub fn equals(row: impl Into<Values>) -> Expected {
        Expected::Equals(row.into())
    }
}

/// One change: for [`Transact::change`](super::Transact::change) and [`Interactive::change`](super::Interactive::change).
///
/// ```
/// use hypermnesia_rpc::client::{Change, Count, Expected, Transact};
/// let visit = Transact::new()
///     .change(Change::count("visits", "ada", [Count::new("count", 1)]).or_from(("ada", 0)))
///     .change(Change::swap("locks", "door", Expected::Absent, Some(("door", "ada"))));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Change(write::Write);

impl Change {
    /// Writes a row: replaces the row of its key; in a bag, adds it.
    pub fn put(table: impl Into<String>, row: impl Into<Values>) -> Change {
        let put = proto::PutWrite { table: table.into(), row: Some(row.into().into()), lifetime: None };
        Change(write::Write::Put(put))
    }

    /// Writes a row if its key has none.
    pub fn insert_new(table: impl Into<String>, row: impl Into<Values>) -> Change {
        let (table, row) = (table.into(), Some(row.into().into()));
        Change(write::Write::InsertNew(proto::InsertNewWrite { table, row, lifetime: None }))
    }

    /// Deletes all rows of a key.
    pub fn delete(table: impl Into<String>, key: impl Into<Values>) -> Change {
        Change(write::Write::Delete(proto::DeleteWrite { table: table.into(), key: Some(key.into().into()) }))
    }

    /// Deletes one row.
    pub fn delete_row(table: impl Into<String>, row: impl Into<Values>) -> Change {
        let (table, row) = (table.into(), Some(row.into().into()));
        Change(write::Write::DeleteRow(proto::DeleteRowWrite { table, row }))
    }

    /// Deletes all rows of a key; the result has them.
    pub fn take(table: impl Into<String>, key: impl Into<Values>) -> Change {
        Change(write::Write::Take(proto::TakeWrite { table: table.into(), key: Some(key.into().into()) }))
    }

    /// Changes attributes of the row of a key.
    pub fn update<N: Into<String>, V: Into<Value>>(
        table: impl Into<String>,
        key: impl Into<Values>,
        changes: impl IntoIterator<Item = (N, V)>,
    ) -> Change {
        let assigned = |(name, value): (N, V)| {
            let value: Value = value.into();
            proto::Assignment { attribute: name.into(), value: Some(value.into()) }
        };
        let (table, key) = (table.into(), Some(key.into().into()));
        let changes = changes.into_iter().map(assigned).collect();
        Change(write::Write::Update(proto::UpdateWrite { table, key, changes }))
    }

    /// Adds to attributes of the row of a key.
    pub fn count(
        table: impl Into<String>,
        key: impl Into<Values>,
        counts: impl IntoIterator<Item = Count>,
    ) -> Change {
        let (table, key) = (table.into(), Some(key.into().into()));
        let counts = counts.into_iter().map(|count| count.0).collect();
        Change(write::Write::Count(proto::CountWrite { table, key, counts, default: None }))
    }

    /// Of [`Change::count`]: the row that is counted on where the key has none.
    #[must_use]
    pub fn or_from(mut self, row: impl Into<Values>) -> Change {
        if let write::Write::Count(count) = &mut self.0 {
            count.default = Some(row.into().into());
        }
        self
    }

    /// Replaces the row of a key, or deletes it for `None`, if it is what it is taken for.
    pub fn swap<R: Into<Values>>(
        table: impl Into<String>,
        key: impl Into<Values>,
        expected: Expected,
        new: Option<R>,
    ) -> Change {
        let expected = match expected {
            Expected::Absent => swap_write::Expected::Absent(true),
            Expected::Equals(row) => swap_write::Expected::Equals(row.into()),
            Expected::Version(version) => swap_write::Expected::Version(version),
        };
        let (table, key, expected) = (table.into(), Some(key.into().into()), Some(expected));
        let new = new.map(|row| row.into().into());
        Change(write::Write::Swap(proto::SwapWrite { table, key, expected, new }))
    }

    pub(super) fn into_message(self) -> proto::Write {
        proto::Write { write: Some(self.0) }
    }
}

/// What a change did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// Whether it was made: false where what it needs was not so.
    pub applied: bool,
    /// Of a take: the rows that were there.
    pub rows: Vec<Row>,
    /// Of a count: what the attributes became.
    pub sums: Vec<i64>,
}

impl Changed {
    pub(super) fn from_message(result: proto::WriteResult) -> Result<Changed, Error> {
        let proto::WriteResult { applied, rows, sums } = result;
        Ok(Changed { applied, rows: values::rows(rows)?, sums })
    }
}
