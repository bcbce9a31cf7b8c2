//! Reading the image while it goes on: rows of tables that live on disc alone. One view serves a node as long as it runs; what
//! is seen through it moves from one step of the checkpointer to the next, all of a step at once. Every page is checked when it
//! is read ([`super::blocks`]), and every row: its checksum is over table, key, timestamp and body, so neither a changed row
//! nor one of another key is served, and none is hidden by a page above it.
//!
//! A read takes the lock below shared for as long as it looks at pages: a point, or a chunk of bounded size. The
//! checkpointer takes it alone to show the next step, or to close the image: never while redb writes.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::OnceLock;

use parking_lot::RwLock;
use redb::ReadOnlyTable;

use super::database::{guarded, told};
use super::error::{DiscError, Result};
use super::held::{Held, HeldTables};
use super::image::{decode_row, place};
use super::limits::CHUNK_BYTES;
use crate::clock::Timestamp;
use crate::ids::TableId;
use crate::key::{Key, KeyRange};
use crate::row::Body;
use crate::table::Direction;

/// The image as one step left it. Its pages stay as they are while this lives.
pub(crate) struct Seen {
    pub(super) rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) held: HeldTables,
}

/// See the file's header.
pub(crate) struct View {
    /// Nothing before the image is open, between a step that failed and the next opening, and after the end.
    seen: RwLock<Option<Seen>>,
    path: PathBuf,
    /// The first failure that no retry passes: the node stops serving for it.
    fault: OnceLock<DiscError>,
}

/// Rows in the order that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) rows: VecDeque<(Key, Timestamp, Body)>,
    /// There may be more behind them.
    pub(crate) more: bool,
}

impl View {
    pub(super) fn new(path: PathBuf) -> View {
        View { seen: RwLock::new(None), path, fault: OnceLock::new() }
    }

    /// Shows another step.
    pub(super) fn show(&self, seen: Seen) {
        *self.seen.write() = Some(seen);
    }

    /// Waits for whoever reads and shows nothing any more.
    pub(super) fn close(&self) {
        *self.seen.write() = None;
    }

    /// Closes it, and lets readers wait for what `open` comes to.
    pub(super) fn reopen<T>(&self, open: impl FnOnce() -> Result<(T, Seen)>) -> Result<T> {
        let mut shown = self.seen.write();
        *shown = None;
        let (opened, seen) = open()?;
        *shown = Some(seen);
        Ok(opened)
    }

    /// Why the node should serve no longer: a row or page that is not what was written, or a disc that fails.
    pub(crate) fn fault(&self) -> Option<&DiscError> {
        self.fault.get()
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> Result<T>) -> Result<T> {
        let seen = self.seen.read();
        let Some(seen) = &*seen else {
            return Err(DiscError::Poisoned { first: "the image is not open".into() });
        };
        let looked = guarded(&self.path, || look(seen));
        match (looked, self.fault.get()) {
            // Behind a fault redb reads no more, and this is why.
            (Err(DiscError::Poisoned { .. }), Some(fault)) => Err(fault.clone()),
            // Behind a step that failed neither: whoever makes the steps was told why, and opens it again.
            (Err(error), _) => {
                if matches!(error, DiscError::Io { .. } | DiscError::Corrupt { .. }) {
                    self.give_up(&error);
                }
                Err(error)
            }
            (looked, _) => looked,
        }
    }

    /// Something that had to be read could not be, and nobody can ask again.
    pub(crate) fn give_up(&self, error: &DiscError) {
        self.fault.get_or_init(|| error.clone());
    }

    /// What the image says that a table holds.
    pub(crate) fn held(&self, table: TableId) -> Result<Held> {
        self.look(|seen| Ok(seen.held.get(table)))
    }

    /// What a key holds and since when.
    pub(crate) fn get(&self, table: TableId, key: &Key) -> Result<Option<(Timestamp, Body)>> {
        self.look(|seen| {
            let place = place(table, key);
            let found = seen.rows.get(place.as_slice());
            let found = found
                .map_err(|error| self.unread(error, format_args!("at the row of {table} with key {key}")))?;
            let Some(value) = found else { return Ok(None) };
            let (_, _, ts, body, _) =
                decode_row(&place, value.value()).map_err(|what| self.damaged(table, key, &what))?;
            Ok(Some((ts, body)))
        })
    }

    /// The first rows of a range, seen from the given end: so many, or as many as make a chunk.
    pub(crate) fn chunk(
        &self,
        table: TableId,
        range: &KeyRange,
        direction: Direction,
        most: usize,
    ) -> Result<Chunk> {
        if range.is_empty() {
            return Ok(Chunk::default());
        }
        self.look(|seen| {
            let bounds = bounds(table, range);
            let slices = (as_slice(&bounds.0), as_slice(&bounds.1));
            let (side, last) = match direction {
                Direction::Forward => ("behind", key_of(&range.start)),
                Direction::Backward => ("before", key_of(&range.end)),
            };
            let told = |error: redb::StorageError, last: Option<&Key>| match last {
                Some(key) => self.unread(error, format_args!("{side} the row of {table} with key {key}")),
                None => self.unread(error, format_args!("among the rows of {table}")),
            };
            let mut rows = seen.rows.range::<&[u8]>(slices).map_err(|error| told(error, last))?;
            let (mut chunk, mut bytes) = (Chunk::default(), 0);
            loop {
                let next = match direction {
                    Direction::Forward => rows.next(),
                    Direction::Backward => rows.next_back(),
                };
                let Some(row) = next else { return Ok(chunk) };
                let (stored, value) =
                    row.map_err(|error| told(error, chunk.rows.back().map(|(key, ..)| key).or(last)))?;
                let named = || Key::from_encoded(stored.value().get(4..).unwrap_or_default());
                let found = decode_row(stored.value(), value.value());
                let (_, key, ts, body, _) = found.map_err(|what| self.damaged(table, &named(), &what))?;
                bytes += key.len() + body.bytes();
                chunk.rows.push_back((key, ts, body));
                if chunk.rows.len() >= most || bytes >= CHUNK_BYTES {
                    chunk.more = true;
                    return Ok(chunk);
                }
            }
        })
    }

    /// What redb said, and of damage where it was met: a page may lead to many rows.
    fn unread(&self, error: redb::StorageError, place: fmt::Arguments<'_>) -> DiscError {
        match told(&self.path, "reading", error) {
            DiscError::Corrupt { offset, what, .. } => {
                DiscError::corrupt(&self.path, offset, format!("{what}, {place}"))
            }
            other => other,
        }
    }

    fn damaged(&self, table: TableId, key: &Key, what: &str) -> DiscError {
        DiscError::corrupt(&self.path, 0, format!("the row of {table} with key {key}: {what}"))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("path", &self.path).field("fault", &self.fault).finish_non_exhaustive()
    }
}

/// Where the rows of a range of keys stand.
fn bounds(table: TableId, range: &KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let behind = TableId(table.0.saturating_add(1));
    let start = match &range.start {
        Bound::Included(key) => Bound::Included(place(table, key)),
        Bound::Excluded(key) => Bound::Excluded(place(table, key)),
        Bound::Unbounded => Bound::Included(table.0.to_be_bytes().to_vec()),
    };
    let end = match &range.end {
        Bound::Included(key) => Bound::Included(place(table, key)),
        Bound::Excluded(key) => Bound::Excluded(place(table, key)),
        Bound::Unbounded => Bound::Excluded(behind.0.to_be_bytes().to_vec()),
    };
    (start, end)
}

fn key_of(bound: &Bound<Key>) -> Option<&Key> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(place) => Bound::Included(place),
        Bound::Excluded(place) => Bound::Excluded(place),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::Disc;
    use super::super::identity::DirectoryId;
    use super::super::image::{Image, Outcomes};
    use super::super::limits::IMAGE_CACHE_BYTES;
    use super::super::mem::{Fault, FaultKind, MemDisc};
    use super::super::segment::Position;
    use super::*;
    use crate::ids::SchemaVersion;
    use crate::row::Row;
    use crate::value::Value;

    const TABLE: TableId = TableId(20);
    const ROW_BYTES: usize = 256 << 10;
    /// Twice what redb keeps of the image in memory.
    const ROWS: i64 = (2 * IMAGE_CACHE_BYTES / ROW_BYTES) as i64;

    fn key(k: i64) -> Key {
        Key::encode(&[Value::Int(k)]).expect("small")
    }

    fn put(image: &mut Image, keys: std::ops::Range<i64>) -> Result<()> {
        let values = [Value::Bytes(vec![7; ROW_BYTES])];
        let body = Body::Row(Row::encode(SchemaVersion::FIRST, &values).expect("fits"));
        let mut step = image.step()?;
        step.rows(|rows| {
            keys.into_iter().try_for_each(|k| rows.put(TABLE, &key(k), Timestamp(1), Some(&body), false))
        })?;
        step.commit(Position(1), &Outcomes::new())
    }

    #[test]
    fn a_full_disc_is_no_damage_for_whoever_reads_meanwhile() {
        // Aim: between a step that found no space and the next opening a reader is told that the image is not open, and the
        // node goes on. Method: more rows than redb keeps in memory, a step on a disc that is full, reads through what is
        // still shown.
        let disc = MemDisc::new();
        let mut image = Image::make(&disc, DirectoryId([1; 16])).expect("no fault is planted");
        put(&mut image, 0..ROWS).expect("no fault is planted");
        let view = View::new(disc.path("image"));
        view.show(image.seen().expect("it is open"));
        disc.set_fault(Some(Fault { at: disc.operations(), kind: FaultKind::Full }));
        let failed = put(&mut image, ROWS..2 * ROWS);
        assert!(matches!(failed, Err(DiscError::Full { .. })), "{failed:?}");
        let told: Vec<_> = (0..ROWS).filter_map(|k| view.get(TABLE, &key(k)).err()).collect();
        assert!(!told.is_empty(), "nothing was read from the file");
        assert!(told.iter().all(|error| matches!(error, DiscError::Poisoned { .. })), "{:?}", told[0]);
        assert!(view.fault().is_none(), "{:?}", view.fault());
        disc.set_fault(None);
        drop(image);
        let image = Image::find(&disc).expect("it is well").expect("it is there");
        view.show(image.seen().expect("it is open"));
        assert!((0..ROWS).all(|k| view.get(TABLE, &key(k)).expect("it is well").is_some()));
    }
}
