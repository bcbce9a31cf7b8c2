//! The checkpoint: closed segments of the log are read again and put into the image, several in one step, so that they can
//! be trimmed. Nothing of the tables in memory is touched, so no writer ever waits for it, and what the image says follows
//! from the log alone. A step gathers the last state of every key before it writes, in order: keys that change often are
//! written once, and neighbours together.
//!
//! The image's position is where a restart goes on reading: behind all that was read, but not behind a prepare that has no
//! outcome yet. What lies behind it may be in the image already. Reading it again changes nothing: a row that has a newer
//! timestamp stays, and a row that was deleted meanwhile is deleted again by the same records, which all come again, since
//! a key stays locked from prepare to outcome.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::error::{DiscError, Result};
use super::file::Disc;
use super::image::{IMAGE_NAME, Image, Outcomes, Rows, State, guarded};
use super::record::Record;
use super::replay::{Past, each_record, read_segment};
use super::segment::{Position, segment_name};
use crate::catalog::{SCHEMA_TABLE, defined_by, table_of_schema_key};
use crate::change::change;
use crate::clock::Timestamp;
use crate::ids::{NodeId, TableId, TxId};
use crate::key::Key;
use crate::row::Body;
use crate::schema::{Kind, Storage};
use crate::work::{Op, Work, Write};

/// Keeps the image behind the log. Owned by one thread.
#[derive(Debug)]
pub struct Checkpointer {
    disc: Arc<dyn Disc>,
    /// `None` after a failure: what redb holds in memory may not be what the file holds.
    image: Option<Image>,
    progress: Progress,
}

/// What was read so far.
#[derive(Debug)]
struct Progress {
    me: NodeId,
    /// The image says so.
    applied: Position,
    /// The next record stands here.
    read_to: Position,
    /// Prepared, without an outcome yet, and where.
    open: HashMap<TxId, (Position, Arc<Work>)>,
    /// Tables that the schema knows.
    tables: HashMap<TableId, Known>,
    /// Outcomes since the last step.
    outcomes: Outcomes,
    /// What keys hold after the records of this step.
    gathered: HashMap<(TableId, Key), (Timestamp, Option<Body>), FixedState>,
    /// From here on every record is new to the image, so a row there is older.
    new_from: Position,
}

/// What matters here about a table.
#[derive(Clone, Copy, Debug)]
struct Known {
    kind: Kind,
    /// Whether this node keeps it on disc.
    kept: bool,
    /// Rows up to here were cleared away.
    cleared: Timestamp,
}

/// What stops the reading of a segment.
enum Stop {
    Damage(String),
    Failed(DiscError),
}

impl From<DiscError> for Stop {
    fn from(error: DiscError) -> Stop {
        Stop::Failed(error)
    }
}

impl Known {
    const SCHEMA: Known = Known { kind: Kind::Set, kept: true, cleared: Timestamp::NEVER };
}

impl Checkpointer {
    pub(super) fn new(disc: Arc<dyn Disc>, image: Image, me: NodeId) -> Result<Checkpointer> {
        let (image, progress) = Progress::of(&*disc, image, me)?;
        Ok(Checkpointer { disc, image: Some(image), progress })
    }

    /// Up to where records were read: segments that end at or before it have nothing more to give.
    pub fn read_to(&self) -> Position {
        self.progress.read_to
    }

    /// Up to where the log can be trimmed.
    pub fn applied(&self) -> Position {
        self.progress.applied
    }

    /// Puts these closed segments (see [`LogWriter::closed`](super::LogWriter::closed)), which follow each other, into the
    /// image, in one step.
    ///
    /// # Errors
    /// `Io`, `Full`, `Corrupt`: the image is as it was or as it should be; the log is untouched. [`reopen`](Self::reopen) finds
    /// out which, and nothing is taken before that.
    pub fn take(&mut self, segments: &[(u64, Position)]) -> Result<()> {
        let path = self.disc.path(IMAGE_NAME);
        let Some(mut image) = self.image.take() else {
            return Err(DiscError::Poisoned { first: "an earlier checkpoint failed".into() });
        };
        guarded(&path, || self.progress.take(&*self.disc, &mut image, segments))?;
        self.image = Some(image);
        Ok(())
    }

    /// Opens the image again after a failure, to go on where it is. Reads the whole image.
    ///
    /// # Errors
    /// `Io`, `Full`, `Corrupt`; may be called again.
    pub fn reopen(&mut self) -> Result<()> {
        self.image = None;
        let Some(image) = Image::find(&*self.disc)? else {
            return Err(DiscError::corrupt(self.disc.path(IMAGE_NAME), 0, "the image is missing"));
        };
        let (image, progress) = Progress::of(&*self.disc, image, self.progress.me)?;
        (self.image, self.progress) = (Some(image), progress);
        Ok(())
    }
}

impl Progress {
    /// Where an image stands.
    fn of(disc: &dyn Disc, mut image: Image, me: NodeId) -> Result<(Image, Progress)> {
        let mut progress = Progress {
            me,
            applied: image.state().applied,
            read_to: image.state().applied,
            open: HashMap::new(),
            tables: HashMap::from([(SCHEMA_TABLE, Known::SCHEMA)]),
            outcomes: Outcomes::new(),
            gathered: HashMap::default(),
            new_from: image.state().read_to,
        };
        // Nothing is changed by this step: it only reads, and is dropped.
        let path = disc.path(IMAGE_NAME);
        guarded(&path, || {
            image.step()?.rows(|rows| {
                rows.each(SCHEMA_TABLE, |key, body| {
                    // It defines a table, so none goes.
                    let _ = progress.follow(key, Some(body));
                })
            })
        })?;
        Ok((image, progress))
    }

    fn take(&mut self, disc: &dyn Disc, image: &mut Image, segments: &[(u64, Position)]) -> Result<()> {
        let mut step = image.step()?;
        let mut said = step.state().clone();
        step.rows(|rows| {
            for &(index, end) in segments {
                self.segment(rows, &mut said, disc, index, end)?;
            }
            self.write(rows)
        })?;
        let end = self.read_to;
        let oldest = self.open.values().map(|(position, _)| *position).min();
        let applied = oldest.unwrap_or(end);
        let state = step.state();
        // The rows have counted themselves.
        *state = State { applied, read_to: end, rows: state.rows, sum: state.sum, ..said };
        step.commit(end, &self.outcomes)?;
        self.outcomes.clear();
        (self.applied, self.new_from) = (applied, end);
        Ok(())
    }

    fn segment(
        &mut self,
        rows: &mut Rows<'_>,
        said: &mut State,
        disc: &dyn Disc,
        index: u64,
        end: Position,
    ) -> Result<()> {
        let (header, bytes) = read_segment(disc, index)?;
        let path = disc.path(&segment_name(index));
        let from = self.read_to.max(header.start);
        // All of it was synced before the next segment got its name.
        let past = Past { synced: end, unbroken: true };
        self.read_to = each_record(&bytes, &header, from, past, &path, |position, record| {
            match self.record(rows, said, position, record) {
                Ok(()) => Ok(()),
                Err(Stop::Damage(what)) => Err(DiscError::corrupt(&path, position.0, what)),
                Err(Stop::Failed(error)) => Err(error),
            }
        })?;
        Ok(())
    }

    /// Writes what was gathered, in the order of the image.
    fn write(&mut self, rows: &mut Rows<'_>) -> Result<()> {
        let mut gathered: Vec<_> = self.gathered.drain().collect();
        gathered.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for ((table, key), (ts, body)) in gathered {
            rows.put(table, &key, ts, body.as_ref())?;
        }
        Ok(())
    }

    fn clear(&mut self, rows: &mut Rows<'_>, table: TableId) -> Result<()> {
        self.gathered.retain(|(of, _), _| *of != table);
        rows.clear(table)
    }

    fn record(
        &mut self,
        rows: &mut Rows<'_>,
        state: &mut State,
        position: Position,
        record: Record<'_>,
    ) -> std::result::Result<(), Stop> {
        match record {
            Record::Started(life) => state.incarnation = Some(life),
            Record::Prepared { txid, work, .. } => {
                self.open.insert(txid, (position, Arc::new(work.into_owned())));
            }
            Record::Committed { txid, ts } => {
                self.outcomes.push((txid, Some(ts)));
                if let Some((_, work)) = self.open.remove(&txid) {
                    self.apply(rows, position, ts, &work.writes)?;
                }
                state.last_commit = state.last_commit.max(ts);
            }
            Record::Aborted { txid } => {
                self.open.remove(&txid);
                self.outcomes.push((txid, None));
            }
            Record::Applied { txid, ts, writes } => {
                self.outcomes.push((txid, Some(ts)));
                self.apply(rows, position, ts, &writes)?;
                state.last_commit = state.last_commit.max(ts);
            }
            Record::Epoch(bytes) => state.epoch = Some(bytes.into_owned()),
            Record::Loaded { table, clear, rows: loaded } if self.is_kept(table) => {
                if clear {
                    self.clear(rows, table)?;
                }
                for (key, ts, body) in loaded.iter() {
                    state.last_commit = state.last_commit.max(*ts);
                    self.put(rows, table, key, *ts, true, |_, _| body.clone())?;
                }
            }
            Record::Loaded { .. } => {}
        }
        Ok(())
    }

    /// The writes of a transaction, whose outcome stands at this position.
    fn apply(
        &mut self,
        rows: &mut Rows<'_>,
        position: Position,
        ts: Timestamp,
        writes: &[Write],
    ) -> std::result::Result<(), Stop> {
        let mut order: Vec<&Write> = writes.iter().collect();
        order.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        for same in order.chunk_by(|a, b| a.table == b.table && a.key == b.key) {
            let (table, key) = (same[0].table, &same[0].key);
            let Some(Known { kind, kept: true, .. }) = self.tables.get(&table).copied() else { continue };
            // What is there matters to bags, to conditional removal, and where the record may have been read before.
            let replaces = kind != Kind::Bag && !matches!(same[0].op, Op::BagRemove(_) | Op::Expire(_));
            let looks = !replaces || position < self.new_from;
            let held = |kind, old| same.iter().fold(old, |held, write| change(kind, held, &write.op));
            self.put(rows, table, key, ts, looks, held)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        rows: &mut Rows<'_>,
        table: TableId,
        key: &Key,
        ts: Timestamp,
        looks: bool,
        body: impl FnOnce(Kind, Option<Body>) -> Option<Body>,
    ) -> std::result::Result<(), Stop> {
        let Some(Known { kind, cleared, .. }) = self.tables.get(&table).copied() else {
            return Err(Stop::Damage(format!("a row of {table}, which the schema does not know")));
        };
        if ts <= cleared && cleared != Timestamp::NEVER {
            return Ok(());
        }
        let place = (table, key.clone());
        let old = match self.gathered.get(&place) {
            Some((newest, body)) => Some((*newest, body.clone())),
            None if looks => rows.get(table, key)?.map(|(newest, body)| (newest, Some(body))),
            None => None,
        };
        if old.as_ref().is_some_and(|(newest, _)| *newest >= ts) {
            return Ok(());
        }
        let new = body(kind, old.and_then(|(_, body)| body));
        if table == SCHEMA_TABLE
            && let Some(gone) = self.follow(key, new.as_ref())?
        {
            self.clear(rows, gone)?;
        }
        self.gathered.insert(place, (ts, new));
        Ok(())
    }

    /// Follows a change of the schema; names a table whose rows are no more.
    fn follow(&mut self, key: &Key, body: Option<&Body>) -> std::result::Result<Option<TableId>, Stop> {
        let Some(row) = body.and_then(|body| body.rows().first()) else {
            let gone = table_of_schema_key(key).filter(|table| self.tables.remove(table).is_some());
            return Ok(gone);
        };
        // The schema table has a row of its own as well: the counter of table ids, which defines none.
        if let Some(def) = defined_by(row).map_err(|wrong| Stop::Damage(wrong.to_string()))? {
            let kept = def.copy_on(self.me).is_some_and(|copy| copy.storage == Storage::Disc);
            let known = Known { kind: def.kind, kept, cleared: def.cleared };
            let before = self.tables.insert(def.id, known);
            return Ok(before.filter(|before| before.cleared < def.cleared).map(|_| def.id));
        }
        Ok(None)
    }

    fn is_kept(&self, table: TableId) -> bool {
        self.tables.get(&table).is_some_and(|known| known.kept)
    }
}
