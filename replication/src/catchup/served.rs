//! Rows of a table as a source gives them: in the order of keys, in chunks, one at a time and again when it is asked for again.
//! Those of a table in memory are taken together at the first request, which counts them and copies none; those of a table on
//! disc alone are read chunk by chunk.

use std::ops::ControlFlow;

use hypermnesia_store::{Body, Key, LeafSet, TableId, Timestamp};

use super::{CopyRows, SCHEMA_TABLE, row_bytes};
use crate::limits::{CopyBounds, SCHEMA_CHUNK};
use crate::message::CopyRequest;
use crate::replica::Replica;

/// Rows as they were when the epoch opened.
#[derive(Debug)]
pub(super) enum Served {
    /// All of them, and where each chunk begins.
    Held { rows: CopyRows, begins: Vec<usize> },
    /// They are read when they are asked for: behind which keys the chunk that was sent last begins, and the one after it.
    Read { wanted: Wanted, upto: Timestamp, chunk: u64, behind: [Option<Key>; 2] },
}

/// Which rows of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// What a joiner cannot have.
    Lacking(CopyRequest),
    Leaves(LeafSet),
}

impl Wanted {
    fn has(&self, key: &Key, at: Timestamp) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Lacking(asked) => asked.lacks(key, at),
            Wanted::Leaves(leaves) => leaves.covers(key),
        }
    }
}

impl Served {
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Served::Held { .. })
    }
}

impl Replica {
    /// Whether rows of the table that are to be sent are read together before.
    pub(super) fn is_to_be_read(&self, table: TableId) -> bool {
        self.store.table(table).is_none_or(|open| !open.is_on_disc_alone())
    }

    pub(super) fn serve_rows(&self, table: TableId, wanted: Wanted, upto: Timestamp) -> Served {
        if !self.is_to_be_read(table) {
            return Served::Read { wanted, upto, chunk: 0, behind: [None, None] };
        }
        let rows = self.stored_rows(table, upto, |key, at| wanted.has(key, at));
        let bounds = if table == SCHEMA_TABLE { &SCHEMA_CHUNK } else { &self.copy };
        Served::Held { begins: chunk_begins(&rows, bounds), rows }
    }

    /// The rows of a chunk, and whether it is the last one. Nothing for one that was not to be asked for.
    pub(super) fn chunk(&self, table: TableId, served: &mut Served, number: u64) -> Option<(CopyRows, bool)> {
        match served {
            Served::Held { rows, begins } => {
                let chunk = usize::try_from(number).ok()?;
                let end = begins.get(chunk + 1).copied().unwrap_or(rows.len());
                Some((rows[*begins.get(chunk)?..end].to_vec(), chunk + 1 == begins.len()))
            }
            Served::Read { wanted, upto, chunk, behind } => {
                let begin = match number {
                    0 => None,
                    again if again == *chunk => behind[0].clone(),
                    next if next == *chunk + 1 => Some(behind[1].clone()?),
                    _ => return None,
                };
                let (rows, last) = self.read_chunk(table, wanted, *upto, begin.as_ref())?;
                (*chunk, *behind) = (number, [begin, rows.last().map(|(key, ..)| key.clone())]);
                Some((rows, last))
            }
        }
    }

    /// The rows behind a key: as many as make a chunk, and whether there are no more. Nothing where one cannot be read.
    fn read_chunk(
        &self,
        table: TableId,
        wanted: &Wanted,
        upto: Timestamp,
        behind: Option<&Key>,
    ) -> Option<(CopyRows, bool)> {
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, true);
        let read = self.store.table(table)?.visit_stored_behind(behind, upto, |key, body, ts| {
            if !wanted.has(key, ts) {
                return ControlFlow::Continue(());
            }
            bytes += row_bytes(key, body);
            if !rows.is_empty() && (bytes > self.copy.chunk_bytes || rows.len() == self.copy.chunk_rows) {
                last = false;
                return ControlFlow::Break(());
            }
            rows.push((key.clone(), ts, body.clone()));
            ControlFlow::Continue(())
        });
        read.ok().map(|()| (rows, last))
    }

    /// Those of the newest rows of a table in memory that are wanted.
    pub(super) fn newest_rows(&self, table: TableId, wanted: impl Fn(&Key, Timestamp) -> bool) -> CopyRows {
        self.stored_rows(table, Timestamp::MAX, wanted)
    }

    /// The same of what was committed up to then.
    fn stored_rows(
        &self,
        table: TableId,
        upto: Timestamp,
        wanted: impl Fn(&Key, Timestamp) -> bool,
    ) -> CopyRows {
        let mut rows = Vec::new();
        if let Some(table) = self.store.table(table) {
            let show = |key: &Key, body: &Body, at| {
                if wanted(key, at) {
                    rows.push((key.clone(), at, body.clone()));
                }
            };
            // Nothing is read from disc.
            let _ = table.visit_stored(upto, show);
        }
        // In an order that does not depend on the hash table's history.
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }
}

/// Where chunks begin: always at least one, so that an empty table is said to be empty.
fn chunk_begins(rows: &[(Key, Timestamp, Body)], bounds: &CopyBounds) -> Vec<usize> {
    let mut begins = vec![0];
    let (mut bytes, mut count) = (0, 0);
    for (at, (key, _, body)) in rows.iter().enumerate() {
        let size = row_bytes(key, body);
        if count > 0 && (bytes + size > bounds.chunk_bytes || count == bounds.chunk_rows) {
            begins.push(at);
            (bytes, count) = (0, 0);
        }
        bytes += size;
        count += 1;
    }
    begins
}
