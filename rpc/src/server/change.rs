//! Changes as they stand in requests: checked, encoded, made in a transaction, each with what it did.

use hypermnesia::{AsyncTransaction, Count, DynTable, Lifetime, Timestamp, Value};

use super::convert;
use super::door::Door;
use crate::errors::Error;
use crate::proto::{self, WriteResult, swap_write, write};

/// A change with its table and values.
pub(super) enum Change {
    Put(DynTable, Vec<Value>, Lifetime),
    Delete(DynTable, Vec<Value>),
    DeleteRow(DynTable, Vec<Value>),
    InsertNew(DynTable, Vec<Value>, Lifetime),
    Take(DynTable, Vec<Value>),
    Update(DynTable, Vec<Value>, Vec<(String, Value)>),
    Count(DynTable, Vec<Value>, Vec<Count>, Option<Vec<Value>>),
    Swap { table: DynTable, key: Vec<Value>, expected: Expected, new: Option<Vec<Value>> },
}

/// What a row is taken for that is to be swapped.
pub(super) enum Expected {
    Absent,
    Equals(Vec<Value>),
    Version(Timestamp),
}

impl Door {
    /// A change of a request, checked.
    pub(super) fn change(&self, write: proto::Write, path: &str) -> Result<Change, Error> {
        match write.write.ok_or_else(|| Error::invalid(format!("{path}.write"), "is required"))? {
            write::Write::Put(put) => {
                let table = self.table(&put.table)?;
                let row = self.checked_row(&table, put.row, &format!("{path}.put.row"))?;
                Ok(Change::Put(table, row, convert::lifetime(put.lifetime)))
            }
            write::Write::Delete(delete) => {
                let table = self.table(&delete.table)?;
                let key = self.checked_key(&table, delete.key, &format!("{path}.delete.key"))?;
                Ok(Change::Delete(table, key))
            }
            write::Write::DeleteRow(delete) => {
                let table = self.table(&delete.table)?;
                let row = self.checked_row(&table, delete.row, &format!("{path}.delete_row.row"))?;
                Ok(Change::DeleteRow(table, row))
            }
            write::Write::InsertNew(put) => {
                let table = self.table(&put.table)?;
                let row = self.checked_row(&table, put.row, &format!("{path}.insert_new.row"))?;
                Ok(Change::InsertNew(table, row, convert::lifetime(put.lifetime)))
            }
            write::Write::Take(take) => {
                let table = self.table(&take.table)?;
                let key = self.checked_key(&table, take.key, &format!("{path}.take.key"))?;
                Ok(Change::Take(table, key))
            }
            write::Write::Update(update) => self.update(update, &format!("{path}.update")),
            write::Write::Count(count) => self.count(count, &format!("{path}.count")),
            write::Write::Swap(swap) => self.swap(swap, &format!("{path}.swap")),
        }
    }

    fn update(&self, update: proto::UpdateWrite, path: &str) -> Result<Change, Error> {
        let table = self.table(&update.table)?;
        let key = self.checked_key(&table, update.key, &format!("{path}.key"))?;
        let assigned = |(n, change): (usize, proto::Assignment)| {
            let field = format!("{path}.changes[{n}].value");
            let value = change.value.ok_or_else(|| Error::invalid(&field, "is required"))?;
            Ok((change.attribute, convert::one_value(value, &field)?))
        };
        let changes = update.changes.into_iter().enumerate().map(assigned);
        let changes = changes.collect::<Result<Vec<_>, Error>>()?;
        check_attributes(&table, changes.iter().map(|(name, _)| name.as_str()), &format!("{path}.changes"))?;
        Ok(Change::Update(table, key, changes))
    }

    fn count(&self, count: proto::CountWrite, path: &str) -> Result<Change, Error> {
        let table = self.table(&count.table)?;
        let key = self.checked_key(&table, count.key, &format!("{path}.key"))?;
        let counts: Vec<Count> = count.counts.into_iter().map(counted).collect();
        check_attributes(&table, counts.iter().map(|count| &*count.attribute), &format!("{path}.counts"))?;
        let default = match count.default {
            None => None,
            Some(row) => Some(self.checked_row(&table, Some(row), &format!("{path}.default"))?),
        };
        Ok(Change::Count(table, key, counts, default))
    }

    fn swap(&self, swap: proto::SwapWrite, path: &str) -> Result<Change, Error> {
        let table = self.table(&swap.table)?;
        let key = self.checked_key(&table, swap.key, &format!("{path}.key"))?;
        let expected = match swap.expected {
            None => return Err(Error::invalid(format!("{path}.expected"), "is required")),
            Some(swap_write::Expected::Absent(true)) => Expected::Absent,
            Some(swap_write::Expected::Absent(false)) => {
                return Err(Error::invalid(format!("{path}.absent"), "must be true where it is given"));
            }
            Some(swap_write::Expected::Equals(row)) => {
                Expected::Equals(self.checked_row(&table, Some(row), &format!("{path}.equals"))?)
            }
            Some(swap_write::Expected::Version(version)) => Expected::Version(Timestamp(version)),
        };
        let new = match swap.new {
            None => None,
            Some(row) => Some(self.checked_row(&table, Some(row), &format!("{path}.new"))?),
        };
        Ok(Change::Swap { table, key, expected, new })
    }
}

fn counted(count: proto::Count) -> Count {
    let counted = Count::new(count.attribute, count.by);
    match count.wrap {
        None => counted,
        Some(wrap) => counted.wrapping(wrap.threshold, wrap.reset),
    }
}

fn check_attributes<'a>(
    table: &DynTable,
    names: impl Iterator<Item = &'a str>,
    path: &str,
) -> Result<(), Error> {
    let def = table.definition()?;
    for (n, name) in names.enumerate() {
        let field = format!("{path}[{n}].attribute");
        match def.position(name) {
            None => return Err(Error::invalid(field, format!("no attribute {name:?}"))),
            Some(at) if def.key.contains(&at) => {
                return Err(Error::invalid(field, format!("{name:?} is part of the key")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

impl Change {
    /// Buffers the change in the transaction and says what it did.
    pub(super) async fn make(&self, tx: &AsyncTransaction) -> Result<WriteResult, Error> {
        let applied = match self {
            Change::Put(table, row, lifetime) => {
                tx.insert_with(table, row, *lifetime).await?;
                true
            }
            Change::Delete(table, key) => {
                tx.delete(table, key).await?;
                true
            }
            Change::DeleteRow(table, row) => tx.delete_object(table, row).await?,
            Change::InsertNew(table, row, lifetime) => {
                tx.insert_new_many_with(table, [&row[..]], *lifetime).await?
            }
            Change::Take(table, key) => {
                let taken = tx.take(table, key).await?;
                let rows: Vec<_> = taken.iter().map(|row| convert::values_message(row)).collect();
                return Ok(WriteResult { applied: !rows.is_empty(), rows, sums: Vec::new() });
            }
            Change::Update(table, key, changes) => {
                let changes: Vec<_> =
                    changes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
                tx.update_attributes(table, key, &changes).await?
            }
            Change::Count(table, key, counts, default) => {
                let sums = tx.update_counter(table, key, counts, default.as_deref()).await?;
                let (applied, sums) = (sums.is_some(), sums.unwrap_or_default());
                return Ok(WriteResult { applied, rows: Vec::new(), sums });
            }
            Change::Swap { table, key, expected, new } => {
                let new = new.as_deref();
                match expected {
                    Expected::Absent => tx.compare_and_swap(table, key, None, new).await?,
                    Expected::Equals(row) => tx.compare_and_swap(table, key, Some(row), new).await?,
                    Expected::Version(version) => tx.swap_if_version(table, key, *version, new).await?,
                }
            }
        };
        Ok(WriteResult { applied, ..WriteResult::default() })
    }
}
