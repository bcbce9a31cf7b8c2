//! What one key holds: a row, or for a bag all rows of the key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Row;
use crate::clock::Timestamp;

/// The value of one version of one key. Cloning it counts a reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// The row of a set or ordered set.
    Row(Row),
    /// The rows of a bag, in the order they came, all different, at least one.
    Bag(Arc<Vec<Row>>),
}

impl Body {
    /// Its rows: one, or those of the bag.
    #[inline]
    pub fn rows(&self) -> &[Row] {
        match self {
            Body::Row(row) => std::slice::from_ref(row),
            Body::Bag(rows) => rows,
        }
    }

    /// Whether it counts as absent at this timestamp. Rows of bags have no deadlines.
    #[inline]
    pub fn is_expired(&self, at: Timestamp) -> bool {
        matches!(self, Body::Row(row) if row.is_expired(at))
    }

    /// Whether it will count as absent some day.
    #[inline]
    pub fn has_deadline(&self) -> bool {
        matches!(self, Body::Row(row) if row.deadline_ms().is_some())
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> usize {
        self.rows().iter().map(|row| row.as_bytes().len()).sum()
    }
}
