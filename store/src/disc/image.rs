//! The image: what tables on disc held at some position of the log, so that the log before it can go. One redb file;
//! `checkpoint` writes it, `replay` reads it at the start and goes on with the log.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rows` | table id (big endian), key | checksum over key and value, commit timestamp, body |
//! | `outcomes` | a position | checksum, outcomes of transactions that ended before it |
//! | `meta` | `state`, `held` | envelopes of [`State`], and of [`Held`] for each table |
//!
//! redb's own checksums are looked at after a crash only. So every block of the file has one that is looked at whenever it is
//! read ([`super::blocks`]); every value carries one too, and the state counts the rows and adds up their checksums: what is
//! damaged or gone is noticed before it is served. Rows of tables that live on disc alone are not read at the start, but when
//! they are asked for (`view`), and all of them by [`super::check`].
//!
//! Images of earlier versions have no checksums of blocks. They get them at the next start ([`Image::checked`]).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::database::{OpenDatabase, guarded, read_or_failed, told};
use super::error::{DiscError, Result};
use super::file::Disc;
use super::held::{Held, HeldTables};
use super::identity::DirectoryId;
use super::limits::{IMAGE_CACHE_BYTES, LOADERS_MAX, SHARED_ROWS_MIN};
use super::segment::Position;
use super::shared::{Give, Hand, shared};
use super::view::Seen;
use crate::catalog::{SCHEMA_NAME, SCHEMA_TABLE, defined_by};
use crate::clock::Timestamp;
use crate::codec;
use crate::ids::{Incarnation, NodeId, TableId, TxId};
use crate::key::Key;
use crate::load::LoadedRow;
use crate::row::Body;

mod older;
mod step;
mod stored;
#[cfg(test)]
mod tests;

pub(super) use step::Rows;
use stored::{Found, behind, checked, decoded, named};
pub(super) use stored::{decode_row, place};

/// The image's file.
pub const IMAGE_NAME: &str = "image.redb";
/// The same while it is made.
const NEW_NAME: &str = "image-new.tmp";
/// The form of what is inside. Those before are read too: the second did not say what each table holds, and the state of
/// the first did not name the directory.
const IMAGE_FORMAT: u16 = 3;
const SUMMARY_FORMAT: u16 = 2;
const NAMELESS_FORMAT: u16 = 1;
/// Kinds of the envelopes.
const STATE_KIND: u16 = 11;
const HELD_KIND: u16 = 12;

pub(super) const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
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
    db: OpenDatabase,
    /// Without checksums of blocks.
    is_plain: bool,
    path: PathBuf,
    state: State,
    held: HeldTables,
}

impl Image {
    /// Opens the image, if there is one.
    pub(super) fn find(disc: &dyn Disc) -> Result<Option<Image>> {
        let path = disc.path(IMAGE_NAME);
        match disc.open(IMAGE_NAME) {
            Ok(file) => {
                let image = guarded(&path, || {
                    let backend =
                        Backend::find(file).map_err(|error| read_or_failed(&path, "opening", error))?;
                    let is_plain = backend.is_plain();
                    let db = open_database(backend, &path, "opening")?;
                    let (state, held) = read_meta(&db, &path)?;
                    let known = held.is_some();
                    let held = held.unwrap_or_default();
                    let mut image = Image { db, is_plain, path: path.clone(), state, held };
                    if !known {
                        image.add_up()?;
                    }
                    Ok(image)
                })?;
                Ok(Some(image))
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
        let backend = Backend::make(Arc::clone(&file)).map_err(failed("creating"))?;
        let db = open_database(backend, &path, "creating")?;
        let state = State { directory: Some(directory), ..State::default() };
        let held = HeldTables::default();
        let mut image = Image { db, is_plain: false, path: path.clone(), state, held };
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

    /// Reads the whole file and compares it with redb's own checksums, those of pages that say what is free included: they find
    /// blocks that were made to look whole, writes that a disc acknowledged and lost, and in an image without checksums of
    /// blocks what nobody else would. What redb can mend it mends.
    pub(super) fn check_pages(&mut self) -> Result<()> {
        let path = self.path.clone();
        guarded(&path, || {
            self.db.check_integrity().map_err(|error| told(&path, "checking", error))?;
            let (state, held) = read_meta(&self.db, &path)?;
            self.state = state;
            self.held = held.unwrap_or_else(|| std::mem::take(&mut self.held));
            Ok(())
        })
    }

    /// What it says that it holds of each table.
    pub(super) fn held(&self) -> impl Iterator<Item = (TableId, Held)> {
        self.held.each()
    }

    /// What it can be read through while it goes on: what it holds now.
    pub(super) fn seen(&self) -> Result<Seen> {
        guarded(&self.path, || {
            let told = |error: redb::Error| told(&self.path, "reading", error);
            let txn = self.db.begin_read().map_err(|error| told(error.into()))?;
            let rows = txn.open_table(ROWS).map_err(|error| told(error.into()))?;
            let there = rows.len().map_err(|error| told(error.into()))?;
            self.complete((there, self.state.sum), (self.state.rows, self.state.sum))?;
            Ok(Seen { rows, held: self.held.clone() })
        })
    }

    /// Reads every row of a table, and says what is wrong with it.
    pub(super) fn check_table(&self, table: TableId, held: &Held) -> Result<()> {
        let seen = self.each_between(table.0, Some(table.0.saturating_add(1)), |_, _, _, _| Ok(()))?;
        self.complete(seen, (held.keys, held.sum))
    }

    /// The names of all tables.
    pub(super) fn names(&self) -> Result<BTreeMap<TableId, String>> {
        let mut names = BTreeMap::from([(SCHEMA_TABLE, SCHEMA_NAME.to_owned())]);
        self.each_definition(|_, _, _, body| {
            for row in body.rows() {
                let def = defined_by(row).map_err(|error| error.to_string())?;
                names.extend(def.map(|def| (def.id, def.name)));
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Tables that live on disc alone at this member, in order.
    pub(super) fn tables_alone(&self, me: NodeId) -> Result<Vec<TableId>> {
        let mut alone = Vec::new();
        self.each_definition(|_, _, _, body| {
            for row in body.rows() {
                let def = defined_by(row).map_err(|error| error.to_string())?;
                let copy = def.as_ref().and_then(|def| def.copy_on(me));
                if copy.is_some_and(|copy| copy.storage.is_disc_only()) {
                    alone.extend(def.map(|def| def.id));
                }
            }
            Ok(())
        })?;
        alone.sort_unstable();
        Ok(alone)
    }

    /// Shows every row of the schema table, in which it says which tables there are.
    pub(super) fn each_definition(
        &self,
        show: impl FnMut(TableId, Key, Timestamp, Body) -> std::result::Result<(), String>,
    ) -> Result<()> {
        let held = self.held.get(SCHEMA_TABLE);
        let seen = self.each_between(SCHEMA_TABLE.0, Some(SCHEMA_TABLE.0 + 1), show)?;
        self.complete(seen, (held.keys, held.sum))
    }

    /// Shows every row that is not one of the schema table or of these, which are in order, some hundred at a time, and then
    /// proves that none of those it had to show is missing. Where there are many, several threads show them, in no order.
    pub(super) fn rows_but(
        &self,
        passed: &[TableId],
        show: impl Fn(Vec<LoadedRow>) -> std::result::Result<(), String> + Sync,
    ) -> Result<()> {
        let mut wanted = (self.state.rows, self.state.sum);
        for id in std::iter::once(&SCHEMA_TABLE).chain(passed) {
            let held = self.held.get(*id);
            wanted = (wanted.0.saturating_sub(held.keys), wanted.1.wrapping_sub(held.sum));
        }
        let threads = match wanted.0 < SHARED_ROWS_MIN {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, |all| all.get().min(LOADERS_MAX)),
        };
        let show = |hand: &Hand| guarded(&self.path, || self.show_all(hand, &show));
        let seen = shared(threads, show, |give| self.each_place_but(passed, give))?;
        self.complete(seen, wanted)
    }

    /// Every row of tables but these, as it stands.
    fn each_place_but(&self, passed: &[TableId], give: &mut Give<'_>) -> Result<()> {
        let mut from = 0;
        for id in std::iter::once(&SCHEMA_TABLE).chain(passed) {
            self.each_stored(from, Some(id.0), &mut *give)?;
            from = id.0.saturating_add(1);
        }
        self.each_stored(from, None, give)
    }

    /// Shows rows as they stand, and adds up their checksums.
    fn show_all(
        &self,
        hand: &Hand,
        show: impl Fn(Vec<LoadedRow>) -> std::result::Result<(), String>,
    ) -> Result<u64> {
        let (mut rows, mut sum) = (Vec::with_capacity(hand.len()), 0_u64);
        hand.each(|place, value| {
            let put = |table, key, at, body| {
                rows.push(LoadedRow { table, key, at, body });
                Ok(())
            };
            sum = sum.wrapping_add(self.show(place, value, put)?);
            Ok(())
        })?;
        show(rows).map_err(|what| self.damaged(&what))?;
        Ok(sum)
    }

    /// Shows a row as it stands, and gives its checksum.
    fn show(
        &self,
        place: &[u8],
        value: &[u8],
        mut show: impl FnMut(TableId, Key, Timestamp, Body) -> std::result::Result<(), String>,
    ) -> Result<u64> {
        let (id, key, ts, body, check) = self.decode(place, value)?;
        show(id, key, ts, body).map_err(|what| self.damaged(&what))?;
        Ok(check)
    }

    fn decode(&self, place: &[u8], value: &[u8]) -> Result<Found> {
        decode_row(place, value).map_err(|what| self.damaged(&format!("{}: {what}", named(place))))
    }

    /// Rows of tables from one id to another: how many, and their checksums added up.
    fn each_between(
        &self,
        from: u32,
        to: Option<u32>,
        mut show: impl FnMut(TableId, Key, Timestamp, Body) -> std::result::Result<(), String>,
    ) -> Result<(u64, u64)> {
        let (mut rows, mut sum) = (0, 0_u64);
        self.each_stored(from, to, &mut |place, value| {
            rows += 1;
            sum = sum.wrapping_add(self.show(place, value, &mut show)?);
            Ok(())
        })?;
        Ok((rows, sum))
    }

    /// The same as they stand. Of a page that is damaged it is said behind which row it was met.
    fn each_stored(&self, from: u32, to: Option<u32>, give: &mut Give<'_>) -> Result<()> {
        let (mut last, mut given) = (from.to_be_bytes().to_vec(), false);
        let read = guarded(&self.path, || {
            let told = |error: redb::Error| told(&self.path, "reading", error);
            let txn = self.db.begin_read().map_err(|error| told(error.into()))?;
            let table = txn.open_table(ROWS).map_err(|error| told(error.into()))?;
            let (from, to) = (from.to_be_bytes(), to.map(u32::to_be_bytes));
            let end = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(to.as_slice()));
            let range = table.range::<&[u8]>((Bound::Included(from.as_slice()), end));
            for row in range.map_err(|error| told(error.into()))? {
                let (place, value) = row.map_err(|error| told(error.into()))?;
                last.clear();
                last.extend_from_slice(place.value());
                given = true;
                give(place.value(), value.value())?;
                given = false;
            }
            Ok(())
        });
        read.map_err(|error| match error {
            DiscError::Corrupt { offset, what, .. } if !given => {
                DiscError::corrupt(&self.path, offset, format!("{what}, {}", behind(&last)))
            }
            other => other,
        })
    }

    fn complete(&self, seen: (u64, u64), wanted: (u64, u64)) -> Result<()> {
        if seen == wanted {
            return Ok(());
        }
        Err(self.damaged(&format!("{} rows are there and {} should be", seen.0, wanted.0)))
    }

    /// Adds up what each table holds, for an image that does not say so. Such a one has no table on disc alone, so all of it
    /// is read at the start anyway.
    fn add_up(&mut self) -> Result<()> {
        let mut tables: BTreeMap<TableId, Held> = BTreeMap::new();
        self.each_stored(0, None, &mut |place, value| {
            let (id, .., check) = self.decode(place, value)?;
            let held = tables.entry(id).or_default();
            *held = held.plus(&Held::of_check(check));
            Ok(())
        })?;
        self.held = tables.into_iter().collect();
        Ok(())
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

    fn damaged(&self, what: &str) -> DiscError {
        DiscError::corrupt(&self.path, 0, what)
    }
}

fn open_database(backend: Backend, path: &PathBuf, doing: &'static str) -> Result<OpenDatabase> {
    let mut builder = Database::builder();
    builder.set_cache_size(IMAGE_CACHE_BYTES);
    let opened = builder.create_with_backend(backend);
    opened.map(OpenDatabase::new).map_err(|error| told(path, doing, error))
}

/// The state, and what each table holds where the image says so.
fn read_meta(db: &Database, path: &PathBuf) -> Result<(State, Option<HeldTables>)> {
    let reading = |error: redb::Error| told(path, "reading", error);
    let damaged = |what| DiscError::corrupt(path, 0, what);
    let txn = db.begin_read().map_err(|error| reading(error.into()))?;
    let meta = txn.open_table(META).map_err(|error| reading(error.into()))?;
    let sealed = meta.get("state").map_err(|error| reading(error.into()))?;
    let sealed = sealed.ok_or_else(|| damaged("the image has no state".to_owned()))?;
    let (found, payload) = codec::open(STATE_KIND, sealed.value())
        .map_err(|error| damaged(format!("the image's state: {error}")))?;
    let state = match found {
        IMAGE_FORMAT | SUMMARY_FORMAT => decoded(payload),
        // The field that was added is the last, and this is how its absence is written.
        NAMELESS_FORMAT => decoded(&[payload, &codec::encode(&None::<DirectoryId>)].concat()),
        _ => {
            let (found, expected) = (found.into(), IMAGE_FORMAT.into());
            return Err(DiscError::Version { file: path.clone(), found, expected });
        }
    };
    let state = state.map_err(damaged)?;
    if found != IMAGE_FORMAT {
        return Ok((state, None));
    }
    let sealed = meta.get("held").map_err(|error| reading(error.into()))?;
    let sealed = sealed.ok_or_else(|| damaged("the image does not say what its tables hold".to_owned()))?;
    let (_, payload) = codec::open(HELD_KIND, sealed.value())
        .map_err(|error| damaged(format!("what the image's tables hold: {error}")))?;
    let held: HeldTables = decoded(payload).map_err(damaged)?;
    if held.total() != (state.rows, state.sum) {
        return Err(damaged("its tables do not add up".to_owned()));
    }
    Ok((state, Some(held)))
}
