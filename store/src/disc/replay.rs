//! Reading a data directory at the start: the image, then the log from the image's position on: every segment in order, every frame checked, every record applied to the store. The log
//! ends at the first blank or broken frame; whatever stands behind it was never acknowledged, unless a later frame proves
//! that the place had been synced: then the file is damaged and nothing of it is served.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Checkpointer;
use super::error::{DiscError, Result};
use super::file::{Disc, LockGuard};
use super::image::{IMAGE_NAME, Image, State};
use super::log::{Closed, Current, LogWriter};
use super::record::Record;
use super::segment::{
    HEADER_BYTES, Header, Position, Spot, offset_at, position_at, proof_of_damage, segment_index,
    segment_name, spot,
};
use crate::catalog::SCHEMA_TABLE;
use crate::clock::Timestamp;
use crate::codec;
use crate::ids::{Incarnation, NodeId, TableId, TxId};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::schema::Storage;
use crate::store::Store;
use crate::work::{Work, Write};

/// A data directory that was opened: the store holds what it held.
#[derive(Debug)]
pub struct Opened {
    /// Where the log goes on.
    pub writer: LogWriter,
    /// Keeps the image behind the log.
    pub checkpointer: Checkpointer,
    /// What else image and log knew.
    pub replayed: Replayed,
    /// Keeps other processes out while it lives.
    pub lock: LockGuard,
}

/// What image and log knew beside the rows.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Prepared and without an outcome: transaction, epoch, work.
    pub prepared: Vec<(TxId, u64, Arc<Work>)>,
    /// Outcomes: committed when, or aborted.
    pub outcomes: Vec<(TxId, Option<Timestamp>)>,
    /// The last record about epochs.
    pub epoch: Option<Vec<u8>>,
    /// The highest commit timestamp.
    pub last_commit: Timestamp,
    /// The last life that wrote here.
    pub incarnation: Option<Incarnation>,
}

/// Opens a data directory and reads it into a store that has nothing yet: the image, then the log behind it. New segments
/// get this size. Rows of tables that `me` keeps in memory only are passed over.
///
/// # Errors
/// `Locked`, `Corrupt` with file and offset, `Version`, `Io`; the directory is as it was.
pub fn open(disc: Arc<dyn Disc>, store: &Store, me: NodeId, segment_bytes: u64) -> Result<Opened> {
    let lock = disc.lock()?;
    let names = disc.list().map_err(|error| DiscError::io(disc.path(""), "listing", error))?;
    let mut indexes: Vec<u64> = names.iter().filter_map(|name| segment_index(name)).collect();
    indexes.sort_unstable();
    check_pair(&*disc, &names, &indexes)?;
    let image = Image::open(&*disc)?;
    let mut reader = Reader { store, me, open: HashMap::new(), replayed: Replayed::default() };
    reader.image(&image)?;
    let applied = image.state().applied;
    let checkpointer = Checkpointer::new(Arc::clone(&disc), image, me)?;
    let writer = match indexes.is_empty() {
        true => LogWriter::begin(disc, segment_bytes, 1, Position(0))?,
        false => reader.segments(disc, &indexes, applied, segment_bytes)?,
    };
    Ok(Opened { writer, checkpointer, replayed: reader.finish(), lock })
}

/// An image without its log, or a log whose beginning went into an image that is not there, is no data directory.
fn check_pair(disc: &dyn Disc, names: &[String], indexes: &[u64]) -> Result<()> {
    let image = names.iter().any(|name| name == IMAGE_NAME);
    match (image, indexes.first()) {
        (false, None) | (false, Some(1)) | (true, Some(_)) => Ok(()),
        (true, None) => {
            // Made before the first segment: a crash between the two leaves an image that says nothing.
            let unused = Image::open(disc)?.state() == &State::default();
            let what = "there is no log segment, and the image has rows: the log is missing";
            if unused { Ok(()) } else { Err(DiscError::corrupt(disc.path(&segment_name(1)), 0, what)) }
        }
        (false, Some(_)) => {
            let what = "the log begins in its middle, and the image that holds what came before is missing";
            Err(DiscError::corrupt(disc.path(IMAGE_NAME), 0, what))
        }
    }
}

/// Segments that the image has whole, to be removed at the next trimming, and the others. Of those that were being removed
/// when the machine stopped any may be left, so nothing is asked of them.
fn leftovers<'i>(
    disc: &dyn Disc,
    indexes: &'i [u64],
    applied: Position,
) -> Result<(VecDeque<Closed>, &'i [u64])> {
    let mut headers = Vec::new();
    for &index in indexes {
        headers.push(read_header(disc, index)?);
    }
    let first = headers.iter().rposition(|header| header.start <= applied).unwrap_or(0);
    let (whole, rest) = indexes.split_at(first);
    let closed = whole.iter().zip(&headers);
    let closed =
        closed.map(|(index, header)| Closed { index: *index, end: header.start, bytes: header.capacity });
    Ok((closed.collect(), rest))
}

fn read_header(disc: &dyn Disc, index: u64) -> Result<Header> {
    let name = segment_name(index);
    let path = disc.path(&name);
    let read = || {
        let file = disc.open(&name)?;
        let mut bytes = vec![0; file.len()?.min(HEADER_BYTES) as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| DiscError::io(&path, "reading", error))?;
    Header::decode(&bytes, &path)
}

pub(super) fn read_segment(disc: &dyn Disc, index: u64) -> Result<(Header, Vec<u8>)> {
    let name = segment_name(index);
    let path = disc.path(&name);
    let read = || {
        let file = disc.open(&name)?;
        let mut bytes = vec![0; file.len()? as usize];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| DiscError::io(&path, "reading", error))?;
    let header = Header::decode(&bytes, &path)?;
    // It had its whole length before it had its name.
    if bytes.len() as u64 != header.capacity {
        let what = format!("the file has {} bytes and was made with {}", bytes.len(), header.capacity);
        return Err(DiscError::corrupt(path, bytes.len() as u64, what));
    }
    Ok((header, bytes))
}

/// Shows every record of a segment from a position on; the position behind the last one.
pub(super) fn each_record(
    bytes: &[u8],
    header: &Header,
    from: Position,
    path: &Path,
    mut show: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Position> {
    let mut offset = offset_at(from, header.start);
    loop {
        let position = position_at(offset, header.start);
        let frame = match spot(bytes, offset, position) {
            Spot::Frame(frame) => frame,
            Spot::Blank | Spot::Broken(_) => {
                return match proof_of_damage(bytes, offset, header.start) {
                    Some(later) => {
                        let what =
                            format!("a synced record is missing here; a later one stands at byte {later}");
                        Err(DiscError::corrupt(path, offset, what))
                    }
                    None => Ok(position),
                };
            }
        };
        if !frame.payload.is_empty() {
            let record = codec::decode(frame.payload, MESSAGE_BYTES_MAX)
                .map_err(|error| DiscError::corrupt(path, offset, error.to_string()))?;
            show(position, record)?;
        }
        offset += frame.bytes();
    }
}

/// Zeros what stands behind the end: it was never acknowledged, and must not look like a record later.
fn wipe(file: &dyn super::file::File, bytes: &[u8], from: u64) -> std::io::Result<()> {
    let tail = &bytes[(from as usize).min(bytes.len())..];
    let used = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used > 0 { file.write_at(from, &vec![0; used]) } else { Ok(()) }
}

struct Reader<'s> {
    store: &'s Store,
    me: NodeId,
    /// Prepared so far and without an outcome.
    open: HashMap<TxId, (u64, Arc<Work>)>,
    replayed: Replayed,
}

impl Reader<'_> {
    /// Loads what the image holds.
    fn image(&mut self, image: &Image) -> Result<()> {
        let state = image.state();
        self.replayed.epoch.clone_from(&state.epoch);
        self.replayed.incarnation = state.incarnation;
        self.replayed.outcomes = image.outcomes()?;
        self.saw(state.last_commit);
        image.each_row(|table, key, ts, body| match self.is_kept(table) {
            true => self.store.load_row(table, &key, ts, Some(body)).map_err(|error| error.to_string()),
            false => Ok(()),
        })
    }

    /// Applies the segments from a position on, and says where writing goes on.
    fn segments(
        &mut self,
        disc: Arc<dyn Disc>,
        indexes: &[u64],
        applied: Position,
        segment_bytes: u64,
    ) -> Result<LogWriter> {
        let (mut closed, indexes) = leftovers(&*disc, indexes, applied)?;
        let mut next: Option<Position> = None;
        let mut last: Option<(Current, Vec<u8>)> = None;
        for &index in indexes {
            let (header, bytes) = read_segment(&*disc, index)?;
            let path = disc.path(&segment_name(index));
            let misplaced = header.index != index || next.is_some_and(|next| next != header.start);
            if misplaced || (next.is_none() && header.start > applied) {
                let what = "the segment does not go on where the one before it, or the image, ends";
                return Err(DiscError::corrupt(path, 0, what));
            }
            if let (Some((before, _)), Some(end)) = (last.take(), next) {
                let Header { index, capacity, .. } = before.header;
                closed.push_back(Closed { index, end, bytes: capacity });
            }
            // Read from its beginning also where the image has it: its end is what the next one must go on from.
            let end = each_record(&bytes, &header, header.start, &path, |position, record| {
                if position < applied {
                    return Ok(());
                }
                let offset = offset_at(position, header.start);
                self.record(record).map_err(|what| DiscError::corrupt(&path, offset, what))
            })?;
            next = Some(end);
            let file =
                disc.open(&segment_name(index)).map_err(|error| DiscError::io(&path, "opening", error))?;
            last = Some((Current { header, file }, bytes));
        }
        let (Some((current, bytes)), Some(end)) = (last, next) else {
            return Err(DiscError::corrupt(disc.path(""), 0, "there is no segment"));
        };
        let path = disc.path(&segment_name(current.header.index));
        if end < applied {
            let offset = offset_at(end, current.header.start);
            return Err(DiscError::corrupt(path, offset, "the log ends before what the image has of it"));
        }
        let from = offset_at(end, current.header.start);
        wipe(&*current.file, &bytes, from).map_err(|error| DiscError::io(&path, "clearing", error))?;
        current.file.sync().map_err(|error| DiscError::io(&path, "syncing", error))?;
        Ok(LogWriter::resume(disc, segment_bytes, closed, current, end))
    }

    fn record(&mut self, record: Record<'_>) -> std::result::Result<(), String> {
        match record {
            Record::Started(life) => self.replayed.incarnation = Some(life),
            Record::Prepared { txid, epoch, work, .. } => {
                self.open.insert(txid, (epoch, Arc::new(work.into_owned())));
            }
            Record::Committed { txid, ts } => {
                self.replayed.outcomes.push((txid, Some(ts)));
                if let Some((_, work)) = self.open.remove(&txid) {
                    self.apply(ts, &work.writes)?;
                }
            }
            Record::Aborted { txid } => {
                self.open.remove(&txid);
                self.replayed.outcomes.push((txid, None));
            }
            Record::Applied { txid, ts, writes } => {
                self.replayed.outcomes.push((txid, Some(ts)));
                self.apply(ts, &writes)?;
            }
            Record::Epoch(bytes) => self.replayed.epoch = Some(bytes.into_owned()),
            Record::Loaded { table, clear, rows } if self.is_kept(table) => {
                if clear {
                    self.store.clear(table).map_err(|error| error.to_string())?;
                }
                for (key, ts, body) in rows.iter() {
                    self.saw(*ts);
                    self.store.load_row(table, key, *ts, body.clone()).map_err(|error| error.to_string())?;
                }
            }
            Record::Loaded { .. } => {}
        }
        Ok(())
    }

    fn apply(&mut self, ts: Timestamp, writes: &[Write]) -> std::result::Result<(), String> {
        self.saw(ts);
        let schema: Vec<Write> = writes.iter().filter(|write| write.table == SCHEMA_TABLE).cloned().collect();
        self.store.load_writes(ts, &schema).map_err(|error| error.to_string())?;
        let kept = |write: &&Write| write.table != SCHEMA_TABLE && self.is_kept(write.table);
        let rows: Vec<Write> = writes.iter().filter(kept).cloned().collect();
        self.store.load_writes(ts, &rows).map_err(|error| error.to_string())
    }

    fn saw(&mut self, ts: Timestamp) {
        self.replayed.last_commit = self.replayed.last_commit.max(ts);
    }

    /// Whether this node keeps the table on disc. One that was dropped later is not there any more and not kept.
    fn is_kept(&self, table: TableId) -> bool {
        table == SCHEMA_TABLE
            || self.store.table(table).is_some_and(|open| {
                open.def().copy_on(self.me).is_some_and(|copy| copy.storage == Storage::Disc)
            })
    }

    fn finish(mut self) -> Replayed {
        self.replayed.prepared =
            self.open.into_iter().map(|(txid, (epoch, work))| (txid, epoch, work)).collect();
        self.replayed.prepared.sort_by_key(|(txid, ..)| *txid);
        self.replayed
    }
}
