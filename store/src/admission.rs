//! What a change of one key must pass beside locks: its index entries fit, its row can be kept, its table has room, and it lies in no range that
//! another transaction has read. Used by transactions (`prepare`) and by single operations (`single`).

use crate::index::Index;
use crate::key::Key;
use crate::range_lock::RangeLocks;
use crate::row::Body;
use crate::table::Table;

/// Bytes of a key with its rows; nothing where it has none.
pub(crate) fn size(key: &Key, body: Option<&Body>) -> u64 {
    body.map_or(0, |body| (body.bytes() + key.len()) as u64)
}

/// How much a change adds, less what it takes away.
#[derive(Clone, Copy, Default)]
pub(crate) struct Growth {
    rows: i64,
    bytes: i64,
}

impl Growth {
    /// Of a key that changes from one body to another.
    pub(crate) fn of(key: &Key, old: Option<&Body>, new: Option<&Body>) -> Growth {
        let rows = |body: Option<&Body>| body.map_or(0, |body| body.rows().len() as i64);
        let bytes = |body: Option<&Body>| size(key, body) as i64;
        Growth { rows: rows(new) - rows(old), bytes: bytes(new) - bytes(old) }
    }
}

impl Growth {
    pub(crate) fn rows(self) -> i64 {
        self.rows
    }

    pub(crate) fn bytes(self) -> i64 {
        self.bytes
    }
}

impl std::iter::Sum for Growth {
    fn sum<I: Iterator<Item = Growth>>(all: I) -> Growth {
        all.fold(Growth::default(), |a, b| Growth { rows: a.rows + b.rows, bytes: a.bytes + b.bytes })
    }
}

impl Table {
    /// Whether no index entry of these rows is longer than an entry may be.
    pub(crate) fn fits(&self, new: Option<&Body>) -> bool {
        let rows = || new.map_or(&[][..], Body::rows).iter();
        self.def.indexes.iter().all(|index| rows().all(|row| self.def.index_keys(index, row).is_ok()))
    }

    /// How many bytes too large this is to be kept among others where rows are pushed out; nothing where it is not.
    #[inline]
    pub(crate) fn oversized(&self, key: &Key, new: Option<&Body>) -> Option<u64> {
        let bytes = size(key, new);
        (bytes > self.row_bytes_max).then_some(bytes)
    }

    /// Whether it may grow by this much. What shrinks it is never refused.
    pub(crate) fn has_room(&self, growth: Growth) -> bool {
        let retention = &self.def.retention;
        if !retention.refuses() {
            return true;
        }
        let passes = |held: u64, more: i64, most: Option<u64>| {
            more > 0 && most.is_some_and(|most| held.saturating_add_signed(more) > most)
        };
        !passes(self.len(), growth.rows, retention.rows_max)
            && !passes(self.bytes(), growth.bytes, retention.bytes_max)
    }

    /// Whether a changed key, with its old and its new index entries, lies in a range that `covers` says is read by another.
    pub(crate) fn lies_in(
        &self,
        key: &Key,
        bodies: [Option<&Body>; 2],
        covers: impl Fn(&RangeLocks, Option<crate::ids::IndexId>, &Key) -> bool,
    ) -> bool {
        let ranges = &self.rows.ranges;
        let in_index = |index: &Index| {
            let entries = bodies.iter().flat_map(|body| index.entries(&self.def, key, *body));
            entries.into_iter().any(|entry| covers(ranges, Some(index.def.id), &entry))
        };
        covers(ranges, None, key) || self.indexes.iter().any(|index| in_index(index))
    }
}
