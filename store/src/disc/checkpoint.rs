//! The checkpoint: closed segments of the log are read again and put into the image, several in one step, so that they can
//! be trimmed. Nothing of the tables in memory is touched, so no writer ever waits for it, and what the image says follows
//! from the log alone. A step gathers the last state of every key before it writes, in order: keys that change often are
//! written once, and neighbours together.
//!
//! The image's position is where a restart goes on reading: behind all that was read, but not behind a prepare that has no
//! outcome yet. What lies behind it may be in the image already. Reading it again changes nothing: a row that has a newer
//! timestamp stays, and a row that was deleted meanwhile is deleted again by the same records, which all come again, since
//! a key stays locked from prepare to outcome.
//!
//! In between it would: a step that reads only a part of it again puts rows back which a later record deletes, and clears
//! tables whose rows come later, and tables on disc alone are read through the image. So the first step behind an opening
//! reads all of it ([`Checkpointer::batches`]).

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::database::guarded;
use super::error::{DiscError, Result};
use super::file::Disc;
use super::image::{IMAGE_NAME, Image, Outcomes, Rows, State};
use super::record::Record;
use super::replay::{Past, each_record, read_segment};
use super::segment::{Position, segment_name};
use super::view::View;
use crate::catalog::{SCHEMA_TABLE, defined_by, table_of_schema_key};
use crate::change::changed;
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
    /// Through which it is read meanwhile.
    view: Arc<View>,
    progress: Progress,
    /// What a step that failed would have brought, and up to where: it may have.
    unsure: Option<(Position, Imaged)>,
}

/// What a step brought into the image of tables that live on disc alone: memory need not keep it any more. Handed to
/// [`Store::imaged`](crate::Store::imaged), which sees it in the image already.
#[derive(Clone, Debug, Default)]
#[must_use = "memory keeps what nobody tells it is on disc"]
pub struct Imaged {
    /// Tables that were cleared, once for each record that says so and was not told before.
    pub(crate) cleared: Vec<TableId>,
    /// What keys hold since when; whatever the table held of them before.
    pub(crate) keys: Vec<(TableId, Key, Timestamp)>,
}

/// How this node keeps a table.
#[derive(Clone, Copy, Debug)]
struct Kept {
    kind: Kind,
    on_disc: bool,
    alone: bool,
    /// Rows up to here were cleared away.
    cleared: Timestamp,
}

/// What was read so far.
#[derive(Debug)]
struct Progress {
    me: NodeId,
    /// The image says so.
    applied: Position,
    /// The next record stands here.
    read_to: Position,
    /// The record that is being read stands here.
    at: Position,
    /// Prepared, without an outcome yet, and where.
    open: HashMap<TxId, (Position, Arc<Work>)>,
    /// Tables that the schema knows.
    tables: HashMap<TableId, Kept>,
    /// Outcomes since the last step.
    outcomes: Outcomes,
    /// What keys hold after the records of this step.
    gathered: HashMap<(TableId, Key), (Timestamp, Option<Body>), FixedState>,
    /// What this step brings.
    imaged: Imaged,
    /// From here on every record is new to the image, so a row there is older.
    new_from: Position,
    /// From here on clearings are told: memory has heard of those before.
    clearings_from: Position,
    /// No step ends before this: see the file's header.
    whole_to: Position,
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

impl Kept {
    const SCHEMA: Kept = Kept { kind: Kind::Set, on_disc: true, alone: false, cleared: Timestamp::NEVER };
}

impl Checkpointer {
    pub(super) fn new(
        disc: Arc<dyn Disc>,
        image: Image,
        view: Arc<View>,
        me: NodeId,
    ) -> Result<Checkpointer> {
        // Memory was filled from the log from there on, and counts every clearing in it.
        let counted = image.state().applied;
        let (image, progress) = Progress::of(&*disc, image, me, counted)?;
        Ok(Checkpointer { disc, image: Some(image), view, progress, unsure: None })
    }

    /// Bytes of disc the image takes; 0 when the file system does not say. Asks it, so it may wait for the disc.
    pub fn disc_bytes(&self) -> u64 {
        self.disc.open(IMAGE_NAME).and_then(|file| file.len()).unwrap_or(0)
    }

    /// Whether segments are taken: not after a failure, before [`reopen`](Self::reopen).
    pub fn is_open(&self) -> bool {
        self.image.is_some()
    }

    /// What of these closed segments is new, in steps of so many bytes of log, more or less: each is for one
    /// [`take`](Self::take), in order.
    pub fn batches(&self, closed: &[(u64, Position)], bytes: u64) -> Vec<Vec<(u64, Position)>> {
        let (mut batches, mut batch, mut from) = (Vec::new(), Vec::new(), self.read_to());
        for &(index, end) in closed.iter().filter(|(_, end)| *end > self.read_to()) {
            batch.push((index, end));
            if end.0 - from.0 >= bytes && end >= self.progress.whole_to {
                batches.push(std::mem::take(&mut batch));
                from = end;
            }
        }
        // What does not reach that far waits for more.
        batches.extend(batch.last().is_some_and(|(_, end)| *end >= self.progress.whole_to).then_some(batch));
        batches
    }

    /// Up to where records were read: segments that end at or before it have nothing more to give.
    pub fn read_to(&self) -> Position {
        self.progress.read_to
    }

    /// Up to where the log can be trimmed.
    pub fn applied(&self) -> Position {
        self.progress.applied
    }

    /// Puts one of the [`batches`](Self::batches) of closed segments (see [`LogWriter::closed`](super::LogWriter::closed)) into
    /// the image, in one step. Gives what memory need not keep any more.
    ///
    /// # Errors
    /// `Poisoned` behind one that failed, and for less than such a batch: nothing was changed. `Io`, `Full`, `Corrupt`: the image is as it was or as it should be; the log is untouched. [`reopen`](Self::reopen) finds
    /// out which, and nothing is taken or read before that.
    pub fn take(&mut self, segments: &[(u64, Position)]) -> Result<Imaged> {
        let path = self.disc.path(IMAGE_NAME);
        let Some(image) = &mut self.image else {
            return Err(DiscError::Poisoned { first: "an earlier checkpoint failed".into() });
        };
        let Some(&(_, end)) = segments.last() else { return Ok(Imaged::default()) };
        if end < self.progress.whole_to {
            return Err(DiscError::Poisoned { first: "a checkpoint would end before the image does".into() });
        }
        let taken = guarded(&path, || {
            self.progress.take(&*self.disc, image, segments)?;
            image.seen()
        });
        let imaged = std::mem::take(&mut self.progress.imaged);
        match taken {
            Ok(seen) => {
                self.view.show(seen);
                Ok(imaged)
            }
            Err(error) => {
                // Where the image stands if the step has come to pass after all, however far its segments were read.
                self.unsure = Some((end, imaged));
                self.close();
                Err(error)
            }
        }
    }

    /// Lets go of the image: whoever opens the directory next finds nobody at it. Nothing is taken or read any more.
    pub fn close(&mut self) {
        self.view.close();
        self.image = None;
    }

    /// Opens the image again after a failure, to go on where it is. Reads the whole image, unless it has tables on disc
    /// alone. Gives what the step that failed has brought, if it has.
    ///
    /// # Errors
    /// `Io`, `Full`, `Corrupt`; may be called again.
    pub fn reopen(&mut self) -> Result<Imaged> {
        self.close();
        let (disc, me) = (Arc::clone(&self.disc), self.progress.me);
        let (image, progress) = self.view.reopen(|| {
            let Some(mut image) = Image::find(&*disc)? else {
                return Err(DiscError::corrupt(disc.path(IMAGE_NAME), 0, "the image is missing"));
            };
            if image.tables_alone(me)?.is_empty() {
                image.check_pages()?;
            }
            // Memory was told of everything before, but for the step that failed: see below.
            let told = image.state().read_to;
            let (image, progress) = Progress::of(&*disc, image, me, told)?;
            let seen = image.seen()?;
            Ok(((image, progress), seen))
        })?;
        let reached = image.state().read_to;
        (self.image, self.progress) = (Some(image), progress);
        let unsure = self.unsure.take().filter(|(position, _)| *position == reached);
        Ok(unsure.map(|(_, imaged)| imaged).unwrap_or_default())
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Progress {
    /// Where an image stands, whose clearings memory has heard of up to a position.
    fn of(
        disc: &dyn Disc,
        mut image: Image,
        me: NodeId,
        clearings_from: Position,
    ) -> Result<(Image, Progress)> {
        let mut progress = Progress {
            me,
            applied: image.state().applied,
            read_to: image.state().applied,
            at: image.state().applied,
            open: HashMap::new(),
            tables: HashMap::from([(SCHEMA_TABLE, Kept::SCHEMA)]),
            outcomes: Outcomes::new(),
            gathered: HashMap::default(),
            imaged: Imaged::default(),
            new_from: image.state().read_to,
            clearings_from,
            whole_to: image.state().read_to,
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
            let alone = self.tables.get(&table).is_some_and(|kept| kept.alone);
            rows.put(table, &key, ts, body.as_ref(), alone)?;
            if alone {
                self.imaged.keys.push((table, key, ts));
            }
        }
        Ok(())
    }

    /// Takes all rows of a table away, as this record says.
    fn clear(&mut self, rows: &mut Rows<'_>, table: TableId) -> Result<()> {
        self.gathered.retain(|(of, _), _| *of != table);
        // Cleared, and not dropped.
        if self.at >= self.clearings_from && self.tables.get(&table).is_some_and(|kept| kept.alone) {
            self.imaged.cleared.push(table);
        }
        rows.clear(table)
    }

    fn record(
        &mut self,
        rows: &mut Rows<'_>,
        state: &mut State,
        position: Position,
        record: Record<'_>,
    ) -> std::result::Result<(), Stop> {
        self.at = position;
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
            Record::Released { txid } => {
                self.open.remove(&txid);
            }
            Record::Applied { txid, ts, writes } => {
                // Prepared before, where a part of it is left to a copy that is being made.
                self.open.remove(&txid);
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
                    self.put(rows, table, key, *ts, true, |_, _| Some(body.clone()))?;
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
            let Some(Kept { kind, on_disc: true, .. }) = self.tables.get(&table).copied() else { continue };
            // What is there matters to bags, to conditional removal, and where the record may have been read before.
            let replaces = kind != Kind::Bag && !matches!(same[0].op, Op::BagRemove(_) | Op::Expire(_));
            let looks = !replaces || position < self.new_from;
            let held =
                |kind, old: Option<Body>| changed(kind, old.as_ref(), same.iter().map(|write| &write.op));
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
        body: impl FnOnce(Kind, Option<Body>) -> Option<Option<Body>>,
    ) -> std::result::Result<(), Stop> {
        let Some(Kept { kind, cleared, .. }) = self.tables.get(&table).copied() else {
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
        let looked = looks || old.is_some();
        let new = match body(kind, old.and_then(|(_, body)| body)) {
            Some(new) => new,
            None if looked => return Ok(()),
            // A deletion of what was not looked for.
            None => None,
        };
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
            let storage = def.copy_on(self.me).map_or(Storage::Ram, |copy| copy.storage);
            let (on_disc, alone) = (storage.is_on_disc(), storage.is_disc_only());
            let kept = Kept { kind: def.kind, on_disc, alone, cleared: def.cleared };
            let before = self.tables.insert(def.id, kept);
            let goes = |before: &Kept| before.cleared < def.cleared || before.on_disc && !on_disc;
            return Ok(before.filter(goes).map(|_| def.id));
        }
        Ok(None)
    }

    fn is_kept(&self, table: TableId) -> bool {
        self.tables.get(&table).is_some_and(|kept| kept.on_disc)
    }
}
