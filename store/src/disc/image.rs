//! The image: what tables on disc held at some position of the log, so that the log before it can go. One redb file;
//! `checkpoint` writes it, `replay` reads it at the start and goes on with the log.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rows` | table id (big endian), key | checksum over key and value, commit timestamp, body |
//! | `outcomes` | a position | checksum, outcomes of transactions that ended before it |
//! | `meta` | `state` | envelope of [`State`] |
//!
//! redb's own checksums are looked at after a crash only, so every value carries one, and the state counts the rows and
//! adds up their checksums: what is damaged or gone is noticed before anything is served.

use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::error::{DiscError, Result};
use super::file::Disc;
use super::identity::DirectoryId;
use super::limits::{IMAGE_CACHE_BYTES, OUTCOMES_KEPT};
use super::segment::Position;
use crate::clock::Timestamp;
use crate::codec;
use crate::ids::{Incarnation, TableId, TxId};
use crate::key::Key;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::row::Body;

/// The image's file.
pub(crate) const IMAGE_NAME: &str = "image.redb";
/// The same while it is made.
const NEW_NAME: &str = "image-new.tmp";
/// The form of what is inside; the one before is read too: its state did not name the directory.
const IMAGE_FORMAT: u16 = 2;
const NAMELESS_FORMAT: u16 = 1;
/// Kind of the state's envelope.
const STATE_KIND: u16 = 11;

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
const OUTCOMES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("outcomes");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// Outcomes as one value holds them: committed when, or aborted.
pub(super) type Outcomes = Vec<(TxId, Option<Timestamp>)>;

/// What the image says beside rows and outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The log is to be read from here on. Everything before it is in the image, and maybe some of what follows.
    pub(super) applied: Position,
    /// Nothing from here on is in the image.
    pub(super) read_to: Position,
    /// The last record about epochs.
    pub(super) epoch: Option<Vec<u8>>,
    /// The last life.
    pub(super) incarnation: Option<Incarnation>,
    /// The highest commit timestamp.
    pub(super) last_commit: Timestamp,
    /// Rows.
    pub(super) rows: u64,
    /// Their checksums, added up.
    pub(super) sum: u64,
    /// The directory it was made for. Last, so that a state without it is the beginning of one with it.
    pub(super) directory: Option<DirectoryId>,
}

/// An open image.
#[derive(Debug)]
pub(super) struct Image {
    /// Dropped under guard: redb writes when it is closed.
    db: ManuallyDrop<Database>,
    path: PathBuf,
    state: State,
}

/// One step forward of the image: all of it or nothing.
pub(super) struct Step<'i> {
    txn: WriteTransaction,
    state: State,
    image: &'i mut Image,
}

/// The rows within a step.
pub(super) struct Rows<'t> {
    table: Table<'t, &'static [u8], &'static [u8]>,
    /// How many, and their checksums added up.
    counts: (u64, u64),
    path: &'t PathBuf,
}

impl Image {
    /// Opens the image, if there is one.
    pub(super) fn find(disc: &dyn Disc) -> Result<Option<Image>> {
        let path = disc.path(IMAGE_NAME);
        match disc.open(IMAGE_NAME) {
            Ok(file) => {
                let (db, state) = guarded(&path, || {
                    let mut builder = Database::builder();
                    builder.set_cache_size(IMAGE_CACHE_BYTES);
                    let db = builder.create_with_backend(Backend(file));
                    let mut db = ManuallyDrop::new(db.map_err(|error| told(&path, "opening", error))?);
                    // Reads the whole file: pages that say what is free carry no checksum of ours, and a wrong one would
                    // have rows overwritten later. What it can mend it mends.
                    db.check_integrity().map_err(|error| told(&path, "checking", error))?;
                    let state = read_state(&db, &path)?;
                    Ok((db, state))
                })?;
                Ok(Some(Image { db, path, state }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DiscError::io(path, "opening", error)),
        }
    }

    /// Makes an empty image that begins at position 0; under another name, so that an image that has its name is whole.
    pub(super) fn make(disc: &dyn Disc, directory: DirectoryId) -> Result<Image> {
        let path = disc.path(IMAGE_NAME);
        let failed = |doing| {
            let path = path.clone();
            move |error| DiscError::io(path, doing, error)
        };
        let file = disc.create(NEW_NAME).map_err(failed("creating"))?;
        let mut builder = Database::builder();
        builder.set_cache_size(IMAGE_CACHE_BYTES);
        let db = builder
            .create_with_backend(Backend(Arc::clone(&file)))
            .map_err(|error| told(&path, "creating", error))?;
        let state = State { directory: Some(directory), ..State::default() };
        let mut image = Image { db: ManuallyDrop::new(db), path: path.clone(), state };
        image.step()?.commit(Position(0), &Outcomes::new())?;
        file.sync().map_err(failed("syncing"))?;
        disc.rename(NEW_NAME, IMAGE_NAME).map_err(failed("naming"))?;
        disc.sync_names().map_err(failed("naming"))?;
        Ok(image)
    }

    /// An image of a version that did not name the directory gets the name.
    pub(super) fn take_over(&mut self, directory: DirectoryId) -> Result<()> {
        let path = self.path.clone();
        guarded(&path, || {
            let mut step = self.step()?;
            step.state().directory = Some(directory);
            let at = step.state().read_to;
            step.commit(at, &Outcomes::new())
        })
    }

    /// Whether nothing was put into it yet.
    pub(super) fn is_unused(&self) -> bool {
        self.state == State { directory: self.state.directory, ..State::default() }
    }

    /// What it says beside rows and outcomes.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Shows every row, system tables first, and then proves that none is missing.
    pub(super) fn each_row(
        &self,
        mut show: impl FnMut(TableId, Key, Timestamp, Body) -> std::result::Result<(), String>,
    ) -> Result<()> {
        guarded(&self.path, || {
            let told = |error: redb::Error| told(&self.path, "reading", error);
            let txn = self.db.begin_read().map_err(|error| told(error.into()))?;
            let table = txn.open_table(ROWS).map_err(|error| told(error.into()))?;
            let (mut rows, mut sum) = (0, 0_u64);
            for row in table.iter().map_err(|error| told(error.into()))? {
                let (key, value) = row.map_err(|error| told(error.into()))?;
                let found = decode_row(key.value(), value.value());
                let (id, key, ts, body, check) = found.map_err(|what| self.damaged(&what))?;
                rows += 1;
                sum = sum.wrapping_add(check);
                show(id, key, ts, body).map_err(|what| self.damaged(&what))?;
            }
            if (rows, sum) != (self.state.rows, self.state.sum) {
                return Err(self.damaged(&format!("{rows} rows are there and {} should be", self.state.rows)));
            }
            Ok(())
        })
    }

    /// All outcomes it remembers, oldest first.
    pub(super) fn outcomes(&self) -> Result<Outcomes> {
        guarded(&self.path, || {
            let told = |error: redb::Error| told(&self.path, "reading", error);
            let txn = self.db.begin_read().map_err(|error| told(error.into()))?;
            let table = txn.open_table(OUTCOMES).map_err(|error| told(error.into()))?;
            let mut all = Outcomes::new();
            for batch in table.iter().map_err(|error| told(error.into()))? {
                let (position, value) = batch.map_err(|error| told(error.into()))?;
                let batch = checked(&position.value().to_be_bytes(), value.value());
                let batch = batch.and_then(|(_, bytes)| decoded::<Outcomes>(bytes));
                all.extend(batch.map_err(|what| self.damaged(&what))?);
            }
            Ok(all)
        })
    }

    /// Begins a step.
    pub(super) fn step(&mut self) -> Result<Step<'_>> {
        let txn = self.db.begin_write().map_err(|error| told(&self.path, "writing", error))?;
        Ok(Step { txn, state: self.state.clone(), image: self })
    }

    fn damaged(&self, what: &str) -> DiscError {
        DiscError::corrupt(&self.path, 0, what)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it is not used again: this is the only place that takes it, and it runs once.
        let db = unsafe { ManuallyDrop::take(&mut self.db) };
        // What goes wrong here is found at the next opening.
        drop(catch_unwind(AssertUnwindSafe(|| drop(db))));
    }
}

impl Step<'_> {
    /// What the image will say.
    pub(super) fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// Its rows, to be read and changed.
    pub(super) fn rows<R>(&mut self, change: impl FnOnce(&mut Rows<'_>) -> Result<R>) -> Result<R> {
        let path = &self.image.path;
        let table = self.txn.open_table(ROWS).map_err(|error| told(path, "writing", error))?;
        let mut rows = Rows { table, counts: (self.state.rows, self.state.sum), path };
        let changed = change(&mut rows)?;
        (self.state.rows, self.state.sum) = rows.counts;
        Ok(changed)
    }

    /// Makes it so, durably.
    pub(super) fn commit(mut self, at: Position, outcomes: &Outcomes) -> Result<()> {
        let path = self.image.path.clone();
        let told = |error: redb::Error| told(&path, "writing", error);
        {
            // Made here if they are not there, so that readers find them.
            self.txn.open_table(ROWS).map_err(|error| told(error.into()))?;
            let mut table = self.txn.open_table(OUTCOMES).map_err(|error| told(error.into()))?;
            if !outcomes.is_empty() {
                let value = with_check(&at.0.to_be_bytes(), &[], &codec::encode(outcomes)).0;
                table.insert(at.0, value.as_slice()).map_err(|error| told(error.into()))?;
            }
            forget_oldest(&mut table).map_err(told)?;
            let mut meta = self.txn.open_table(META).map_err(|error| told(error.into()))?;
            let sealed = codec::seal(STATE_KIND, IMAGE_FORMAT, &codec::encode(&self.state));
            meta.insert("state", sealed.as_slice()).map_err(|error| told(error.into()))?;
        }
        // A restart after a crash then need not walk the whole file.
        self.txn.set_quick_repair(true);
        self.txn.commit().map_err(|error| told(error.into()))?;
        self.image.state = std::mem::take(&mut self.state);
        Ok(())
    }
}

/// Keeps the newest outcomes; whole batches go, never the newest one.
fn forget_oldest(table: &mut Table<'_, u64, &'static [u8]>) -> std::result::Result<(), redb::Error> {
    let (mut kept, mut drop_below) = (0, None);
    for batch in table.iter()?.rev() {
        let (position, value) = batch?;
        if kept >= OUTCOMES_KEPT {
            drop_below = Some(position.value());
            break;
        }
        // 30 bytes are about what one outcome takes.
        kept += value.value().len() / 30 + 1;
    }
    if let Some(below) = drop_below {
        table.retain(|position, _| position > below)?;
    }
    Ok(())
}

impl Rows<'_> {
    /// What a key holds and since when.
    pub(super) fn get(&self, table: TableId, key: &Key) -> Result<Option<(Timestamp, Body)>> {
        let place = place(table, key);
        let found = self.table.get(place.as_slice()).map_err(|error| told(self.path, "reading", error))?;
        let Some(value) = found else { return Ok(None) };
        let (_, _, ts, body, _) =
            decode_row(&place, value.value()).map_err(|what| DiscError::corrupt(self.path, 0, what))?;
        Ok(Some((ts, body)))
    }

    /// Puts what a key holds, or nothing.
    pub(super) fn put(
        &mut self,
        table: TableId,
        key: &Key,
        ts: Timestamp,
        body: Option<&Body>,
    ) -> Result<()> {
        let place = place(table, key);
        let told = |error: redb::StorageError| told(self.path, "writing", error);
        let old = match body {
            Some(body) => {
                let (value, check) = with_check(&place, &ts.0.to_le_bytes(), &codec::encode(body));
                self.count(1, check);
                let old = self.table.insert(place.as_slice(), value.as_slice()).map_err(told)?;
                old.map(|old| check_of(old.value()))
            }
            None => {
                let old = self.table.remove(place.as_slice()).map_err(told)?;
                old.map(|old| check_of(old.value()))
            }
        };
        if let Some(check) = old {
            self.uncount(1, check);
        }
        Ok(())
    }

    fn count(&mut self, rows: u64, check: u64) {
        self.counts = (self.counts.0 + rows, self.counts.1.wrapping_add(check));
    }

    fn uncount(&mut self, rows: u64, check: u64) {
        self.counts = (self.counts.0.saturating_sub(rows), self.counts.1.wrapping_sub(check));
    }

    /// Drops every row of a table.
    pub(super) fn clear(&mut self, table: TableId) -> Result<()> {
        let told = |error: redb::StorageError| told(self.path, "writing", error);
        let (from, to) = (table.0.to_be_bytes(), table.0.saturating_add(1).to_be_bytes());
        let (mut rows, mut sum) = (0, 0_u64);
        let gone = self.table.extract_from_if(from.as_slice()..to.as_slice(), |_, _| true).map_err(told)?;
        for row in gone {
            let (_, value) = row.map_err(told)?;
            rows += 1;
            sum = sum.wrapping_add(check_of(value.value()));
        }
        self.uncount(rows, sum);
        Ok(())
    }

    /// Every row of a table.
    pub(super) fn each(&self, table: TableId, mut show: impl FnMut(&Key, &Body)) -> Result<()> {
        let told = |error: redb::StorageError| told(self.path, "reading", error);
        let (from, to) = (table.0.to_be_bytes(), table.0.saturating_add(1).to_be_bytes());
        for row in self.table.range(from.as_slice()..to.as_slice()).map_err(told)? {
            let (key, value) = row.map_err(told)?;
            let found = decode_row(key.value(), value.value());
            let (_, key, _, body, _) = found.map_err(|what| DiscError::corrupt(self.path, 0, what))?;
            show(&key, &body);
        }
        Ok(())
    }
}

fn read_state(db: &Database, path: &PathBuf) -> Result<State> {
    let reading = |error: redb::Error| told(path, "reading", error);
    let txn = db.begin_read().map_err(|error| reading(error.into()))?;
    let meta = txn.open_table(META).map_err(|error| reading(error.into()))?;
    let sealed = meta.get("state").map_err(|error| reading(error.into()))?;
    let sealed = sealed.ok_or_else(|| DiscError::corrupt(path, 0, "the image has no state"))?;
    let (found, payload) = codec::open(STATE_KIND, sealed.value())
        .map_err(|error| DiscError::corrupt(path, 0, format!("the image's state: {error}")))?;
    let state = match found {
        IMAGE_FORMAT => decoded(payload),
        // The field that was added is the last, and this is how its absence is written.
        NAMELESS_FORMAT => decoded(&[payload, &codec::encode(&None::<DirectoryId>)].concat()),
        _ => {
            let (found, expected) = (found.into(), IMAGE_FORMAT.into());
            return Err(DiscError::Version { file: path.clone(), found, expected });
        }
    };
    state.map_err(|what| DiscError::corrupt(path, 0, what))
}

/// Where a row stands.
fn place(table: TableId, key: &Key) -> Vec<u8> {
    let mut place = Vec::with_capacity(4 + key.as_bytes().len());
    place.extend_from_slice(&table.0.to_be_bytes());
    place.extend_from_slice(key.as_bytes());
    place
}

/// A value with the checksum over its place and itself in front, and that checksum.
fn with_check(place: &[u8], head: &[u8], rest: &[u8]) -> (Vec<u8>, u64) {
    let mut value = Vec::with_capacity(4 + head.len() + rest.len());
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(head);
    value.extend_from_slice(rest);
    let check = crc(place, &value[4..]);
    value[..4].copy_from_slice(&check.to_le_bytes());
    (value, u64::from(check))
}

/// The checksum that a value states.
fn check_of(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |check| u64::from(u32::from_le_bytes(*check)))
}

fn crc(place: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(place);
    hasher.update(rest);
    hasher.finalize()
}

fn checked<'v>(place: &[u8], value: &'v [u8]) -> std::result::Result<(u64, &'v [u8]), String> {
    let (check, rest) = value.split_first_chunk::<4>().ok_or("a value is cut off")?;
    if u32::from_le_bytes(*check) != crc(place, rest) {
        return Err("the checksum of a value does not match".to_owned());
    }
    Ok((check_of(value), rest))
}

fn decoded<T: for<'v> Deserialize<'v>>(bytes: &[u8]) -> std::result::Result<T, String> {
    codec::decode(bytes, MESSAGE_BYTES_MAX).map_err(|error| error.to_string())
}

type Found = (TableId, Key, Timestamp, Body, u64);

fn decode_row(place: &[u8], value: &[u8]) -> std::result::Result<Found, String> {
    let (check, rest) = checked(place, value)?;
    let (table, key) = place.split_first_chunk::<4>().ok_or("a row has no table")?;
    let (ts, body) = rest.split_first_chunk::<8>().ok_or("a row has no timestamp")?;
    let (table, ts) = (TableId(u32::from_be_bytes(*table)), Timestamp(u64::from_le_bytes(*ts)));
    Ok((table, Key::from_encoded(key), ts, decoded(body)?, check))
}

/// What redb says, in our words.
fn told(path: &PathBuf, doing: &'static str, error: impl Into<redb::Error>) -> DiscError {
    match error.into() {
        // The disc did what it was asked to: what it gave is not what was written.
        redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            DiscError::corrupt(path, 0, error.to_string())
        }
        redb::Error::Io(error) => DiscError::io(path, doing, error),
        redb::Error::Corrupted(what) => DiscError::corrupt(path, 0, what),
        other => DiscError::corrupt(path, 0, other.to_string()),
    }
}

/// redb asserts on pages that are not what they should be: that is damage, and no end of the process.
pub(super) fn guarded<T>(path: &PathBuf, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(DiscError::corrupt(path, 0, "a page of the image is not what it should be")))
}
