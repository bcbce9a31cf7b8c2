//! What the image holds of each table, counted as it changes, so that it is known without reading the rows: how many keys,
//! their checksums added up, and for tables on disc alone what their definition in memory counts: rows, bytes, deadlines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::TableId;
use crate::key::Key;
use crate::row::Body;

/// What the image holds of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Keys with a row.
    pub(crate) keys: u64,
    /// Their checksums, added up.
    pub(crate) sum: u64,
    /// Rows: those of a bag one by one. This and what follows is 0 for tables that are loaded at the start.
    pub(crate) rows: u64,
    /// Bytes of keys and rows.
    pub(crate) bytes: u64,
    /// Rows with a deadline.
    pub(crate) deadlines: u64,
}

impl Held {
    /// What one key adds.
    pub(crate) fn of(key: &Key, body: &Body, check: u64) -> Held {
        let deadline = matches!(body, Body::Row(row) if row.deadline_ms().is_some());
        Held {
            keys: 1,
            sum: check,
            rows: body.rows().len() as u64,
            bytes: (body.bytes() + key.len()) as u64,
            deadlines: u64::from(deadline),
        }
    }

    /// What one key adds whose row is not measured.
    pub(super) fn of_check(check: u64) -> Held {
        Held { keys: 1, sum: check, ..Held::default() }
    }

    pub(super) fn plus(self, more: &Held) -> Held {
        Held {
            keys: self.keys + more.keys,
            sum: self.sum.wrapping_add(more.sum),
            rows: self.rows + more.rows,
            bytes: self.bytes + more.bytes,
            deadlines: self.deadlines + more.deadlines,
        }
    }

    pub(super) fn minus(self, less: &Held) -> Held {
        Held {
            keys: self.keys.saturating_sub(less.keys),
            sum: self.sum.wrapping_sub(less.sum),
            rows: self.rows.saturating_sub(less.rows),
            bytes: self.bytes.saturating_sub(less.bytes),
            deadlines: self.deadlines.saturating_sub(less.deadlines),
        }
    }
}

/// What the image holds of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldTables(BTreeMap<TableId, Held>);

impl HeldTables {
    pub(super) fn get(&self, table: TableId) -> Held {
        self.0.get(&table).copied().unwrap_or_default()
    }

    pub(super) fn change(&mut self, table: TableId, change: impl FnOnce(Held) -> Held) {
        let held = self.0.entry(table).or_default();
        *held = change(*held);
        if *held == Held::default() {
            self.0.remove(&table);
        }
    }

    /// Keys and checksums of all together.
    pub(super) fn total(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(keys, sum), held| (keys + held.keys, sum.wrapping_add(held.sum)))
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (TableId, Held)> {
        self.0.iter().map(|(table, held)| (*table, *held))
    }
}

impl FromIterator<(TableId, Held)> for HeldTables {
    fn from_iter<I: IntoIterator<Item = (TableId, Held)>>(tables: I) -> HeldTables {
        HeldTables(tables.into_iter().collect())
    }
}
