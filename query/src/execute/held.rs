//! The account of what an execution holds.

use std::cell::Cell;

use hypermnesia_store::{Value, ValueRef};

use crate::error::{ErrorKind, Fault, Span};
use crate::limits::Limits;

/// Counts rows and bytes held; one execution runs on one thread.
pub(crate) struct Held {
    limits: Limits,
    rows: Cell<usize>,
    bytes: Cell<usize>,
}

impl Held {
    pub(crate) fn new(limits: Limits) -> Held {
        Held { limits, rows: Cell::new(0), bytes: Cell::new(0) }
    }

    /// One more row of so many bytes.
    pub(crate) fn add_row(&self, bytes: usize) -> Result<(), Fault> {
        self.rows.set(self.rows.get() + 1);
        if self.rows.get() > self.limits.held_rows_max {
            let message = format!("the query holds more than {} rows at once", self.limits.held_rows_max);
            return Err(Fault::new(ErrorKind::Limit, Span::NONE, message).hint(HINT));
        }
        self.add_bytes(bytes)
    }

    pub(crate) fn add_bytes(&self, bytes: usize) -> Result<(), Fault> {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        if self.bytes.get() > self.limits.held_bytes_max {
            let message = format!("the query holds more than {} bytes at once", self.limits.held_bytes_max);
            return Err(Fault::new(ErrorKind::Limit, Span::NONE, message).hint(HINT));
        }
        Ok(())
    }

    pub(crate) fn remove(&self, rows: usize, bytes: usize) {
        self.rows.set(self.rows.get().saturating_sub(rows));
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

const HINT: &str = "narrow it with WHERE, add LIMIT to ORDER BY, or order by a key or an index";

/// About the memory of a value, its own place included.
pub(crate) fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value.as_ref() {
            ValueRef::Text(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len(),
            ValueRef::List(list) => list.iter().map(|item| value_bytes(&item.to_value())).sum(),
            ValueRef::Map(map) => {
                map.iter().map(|(k, v)| value_bytes(&k.to_value()) + value_bytes(&v.to_value())).sum()
            }
            _ => 0,
        }
}

pub(crate) fn values_bytes(values: &[Value]) -> usize {
    values.iter().map(value_bytes).sum::<usize>() + size_of::<Vec<Value>>()
}
