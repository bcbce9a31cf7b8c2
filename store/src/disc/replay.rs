//! Reading a data directory at the start: the image, then the log from the image's position on: every segment in order, every
//! frame checked, every record applied to the store. The log ends at the first blank or broken frame. What stands behind it was
//! never acknowledged, and is cut off; unless something proves that the place had been written for good: then the file is
//! damaged and nothing of it is served. Proofs are what the identity says of the log, a later frame that knew of a sync, the
//! next segment, and, as long as the machine has not been started anew since, any later frame at all.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::Checkpointer;
use super::cut::{Warning, end_log};
use super::error::{DiscError, Result};
use super::file::{Disc, LockGuard};
use super::identity::{Identity, Opener, Promise, refuse_named};
use super::image::{IMAGE_NAME, Image};
use super::log::{Closed, Current, LogWriter, Tip};
use super::record::Record;
use super::segment::{
    HEADER_BYTES, Header, Position, Spot, offset_at, position_at, proof_of_damage, segment_index,
    segment_name, spot,
};
use super::view::View;
use crate::catalog::SCHEMA_TABLE;
use crate::clock::Timestamp;
use crate::codec;
use crate::ids::{Incarnation, NodeId, TableId, TxId};
use crate::limits::MESSAGE_BYTES_MAX;
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
    /// What whoever runs the node should hear of.
    pub warnings: Vec<Warning>,
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
/// get this size. Rows of tables that the opener keeps in memory only are passed over.
///
/// # Errors
/// `Locked`, `Foreign`, `Stray`, `Corrupt` with file and offset, `Version`, `Io`; the directory is as it was. `Full` when
/// there is no space for the first files, or for what has to be cut off the log; nothing is lost then.
pub fn open(disc: Arc<dyn Disc>, store: &Store, opener: &Opener, segment_bytes: u64) -> Result<Opened> {
    let lock = disc.lock()?;
    let mut warnings = Vec::new();
    let names = disc.list().map_err(|error| DiscError::io(disc.path(""), "listing", error))?;
    let mut indexes: Vec<u64> = names.iter().filter_map(|name| segment_index(name)).collect();
    indexes.sort_unstable();
    let known = Identity::find(&*disc, opener)?;
    let headers = indexes.iter().map(|index| read_header(&*disc, *index)).collect::<Result<Vec<_>>>()?;
    check_pair(&*disc, &names, &indexes, known.as_ref())?;
    let image = Image::find(&*disc)?;
    let (identity, image) = admit(&*disc, known, opener, &headers, image, &mut warnings)?;
    let alone = image.tables_alone(opener.node)?;
    let view = Arc::new(View::new(disc.path(IMAGE_NAME)));
    view.show(image.seen()?);
    store.attach(opener.node, Arc::clone(&view));
    let mut reader = Reader { store, me: opener.node, open: HashMap::new(), replayed: Replayed::default() };
    reader.image(&image, &alone)?;
    let applied = image.state().applied;
    let checkpointer = Checkpointer::new(Arc::clone(&disc), image, Arc::clone(&view), opener.node)?;
    let tip = match headers.is_empty() {
        true => LogWriter::begin(&*disc, segment_bytes, &identity)?,
        false => {
            let promised = identity.log.unwrap_or(Promise { boot: None, synced: Position(0) });
            let unbroken = opener.boot.is_some() && opener.boot == promised.boot;
            let past = Past { synced: promised.synced, unbroken };
            reader.segments(&*disc, &headers, applied, past, &mut warnings)?
        }
    };
    // Met while rows or indexes of tables on disc alone were read.
    if let Some(fault) = view.fault() {
        return Err(fault.clone());
    }
    let mut writer = LogWriter::resume(disc, segment_bytes, identity, opener.boot, tip);
    if let Err(error) = writer.note() {
        warnings.push(Warning::NotNoted { error });
    }
    Ok(Opened { writer, checkpointer, replayed: reader.finish(), lock, warnings })
}

/// Lets only files of this directory pass, and gives it an identity and an image if it has none. Whatever is refused stays
/// as it is, and nothing is written into an image whose pages were not looked at.
fn admit(
    disc: &dyn Disc,
    known: Option<Identity>,
    opener: &Opener,
    headers: &[Header],
    image: Option<Image>,
    warnings: &mut Vec<Warning>,
) -> Result<(Identity, Image)> {
    let is_new = known.is_none();
    let named = image.as_ref().and_then(|image| image.state().directory);
    if is_new {
        for header in headers {
            refuse_named(disc, &segment_name(header.index), header.directory)?;
        }
        refuse_named(disc, IMAGE_NAME, named)?;
    }
    let identity =
        known.unwrap_or_else(|| Identity::new(opener, headers.last().map_or(0, |last| last.index)));
    headers.iter().try_for_each(|header| identity.admit_segment(disc, header))?;
    if let Some(id) = named.filter(|id| *id != identity.id) {
        return Err(identity.stray(disc, IMAGE_NAME, Some(id)));
    }
    let image = match image {
        Some(image) if image.is_plain() => Some(image.checked(disc)?),
        // What redb keeps for itself is not looked at otherwise, and its checksums are its own: a block that was made to look
        // whole is met here. With tables on disc alone it would take as long as they are large.
        Some(mut image) if named.is_none() || image.tables_alone(opener.node)?.is_empty() => {
            image.check_pages()?;
            Some(image)
        }
        other => other,
    };
    if is_new {
        identity.write(disc)?;
        if image.is_some() || !headers.is_empty() {
            warnings.push(Warning::TakenOver { path: disc.path("") });
        }
    }
    let mut image = match image {
        None => Image::make(disc, identity.id)?,
        Some(image) => image,
    };
    if image.state().directory.is_none() {
        image.take_over(identity.id)?;
    }
    Ok((identity, image))
}

/// An image without its log, or a log whose beginning went into an image that is not there, is no data directory; nor is
/// one without both whose identity says that there was a log.
pub(super) fn check_pair(
    disc: &dyn Disc,
    names: &[String],
    indexes: &[u64],
    known: Option<&Identity>,
) -> Result<()> {
    let image = names.iter().any(|name| name == IMAGE_NAME);
    let no_log = |what| Err(DiscError::corrupt(disc.path(&segment_name(1)), 0, what));
    match (image, indexes.first()) {
        (false, Some(1)) | (true, Some(_)) => Ok(()),
        (_, None) if known.is_some_and(|identity| identity.log.is_some()) => {
            no_log("there is no log segment, and the directory had some: the log is missing")
        }
        (false, None) => Ok(()),
        (true, None) => {
            // Made before the first segment: a crash between the two leaves an image that says nothing.
            let unused = Image::find(disc)?.is_none_or(|image| image.is_unused());
            if unused {
                Ok(())
            } else {
                no_log("there is no log segment, and the image has rows: the log is missing")
            }
        }
        (false, Some(_)) => {
            let what = "the log begins in its middle, and the image that holds what came before is missing";
            Err(DiscError::corrupt(disc.path(IMAGE_NAME), 0, what))
        }
    }
}

/// Segments that the image has whole, to be removed at the next trimming, and the others. Of those that were being removed
/// when the machine stopped any may be left, so nothing more is asked of them.
pub(super) fn leftovers(headers: &[Header], applied: Position) -> (VecDeque<Closed>, &[Header]) {
    let first = headers.iter().rposition(|header| header.start <= applied).unwrap_or(0);
    let (whole, rest) = headers.split_at(first);
    let closed = |header: &Header| Closed { index: header.index, end: header.start, bytes: header.capacity };
    (whole.iter().map(closed).collect(), rest)
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
    let header = Header::decode(&bytes, &path)?;
    if header.index != index {
        return Err(DiscError::corrupt(path, 0, format!("this is the log's segment {}", header.index)));
    }
    Ok(header)
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

/// What is known of a stretch of the log before it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past {
    /// Everything before it was synced: it is there, or the file is damaged.
    pub(super) synced: Position,
    /// Every write that returned is there: the machine has not been started anew since.
    pub(super) unbroken: bool,
}

/// Shows every record of a segment from a position on; the position behind the last one.
pub(super) fn each_record(
    bytes: &[u8],
    header: &Header,
    from: Position,
    past: Past,
    path: &Path,
    mut show: impl FnMut(Position, Record<'_>) -> Result<()>,
) -> Result<Position> {
    let mut offset = offset_at(from, header.start);
    loop {
        let position = position_at(offset, header.start);
        let frame = match spot(bytes, offset, position) {
            Spot::Frame(frame) => frame,
            Spot::Blank => return ends(bytes, header, offset, past, path, "there is nothing"),
            Spot::Broken(what) => return ends(bytes, header, offset, past, path, what),
        };
        if !frame.payload.is_empty() {
            let record = codec::decode(frame.payload, MESSAGE_BYTES_MAX)
                .map_err(|error| DiscError::corrupt(path, offset, error.to_string()))?;
            show(position, record)?;
        }
        offset += frame.bytes();
    }
}

/// There is no whole frame at this offset: whether the log may end here.
fn ends(bytes: &[u8], header: &Header, offset: u64, past: Past, path: &Path, what: &str) -> Result<Position> {
    let position = position_at(offset, header.start);
    let why = if position < past.synced {
        format!("{what}, and the log had been synced up to position {}", past.synced)
    } else if let Some(later) = proof_of_damage(bytes, offset, header.start, past.unbroken) {
        format!("{what}, and a later record stands at byte {later}")
    } else {
        return Ok(position);
    };
    Err(DiscError::corrupt(path, offset, why))
}

struct Reader<'s> {
    store: &'s Store,
    me: NodeId,
    /// Prepared so far and without an outcome.
    open: HashMap<TxId, (u64, Arc<Work>)>,
    replayed: Replayed,
}

impl Reader<'_> {
    /// Loads what the image holds, but for tables that live on disc alone.
    fn image(&mut self, image: &Image, alone: &[TableId]) -> Result<()> {
        let state = image.state();
        self.replayed.epoch.clone_from(&state.epoch);
        self.replayed.incarnation = state.incarnation;
        self.replayed.outcomes = image.outcomes()?;
        self.saw(state.last_commit);
        image.each_definition(|table, key, ts, body| match self.is_kept(table) {
            true => self.store.load_row(table, &key, ts, Some(body)).map_err(|error| error.to_string()),
            false => Ok(()),
        })?;
        let mut kept = BTreeSet::new();
        for (table, held) in image.held().filter(|(table, _)| !alone.contains(table) && self.is_kept(*table))
        {
            self.store.reserve(table, held.keys);
            kept.insert(table);
        }
        image.rows_but(alone, |mut rows| {
            rows.retain(|row| kept.contains(&row.table));
            self.store.load_rows(rows).map_err(|error| error.to_string())
        })
    }

    /// Applies the segments from a position on, ends the log behind the last record, and says where writing goes on.
    fn segments(
        &mut self,
        disc: &dyn Disc,
        headers: &[Header],
        applied: Position,
        past: Past,
        warnings: &mut Vec<Warning>,
    ) -> Result<Tip> {
        let (mut closed, headers) = leftovers(headers, applied);
        let missing = |header: &Header| {
            let what = "the segment does not go on where the one before it, or the image, ends";
            Err(DiscError::corrupt(disc.path(&segment_name(header.index)), 0, what))
        };
        if let Some(first) = headers.first().filter(|first| first.start > applied) {
            return missing(first);
        }
        for pair in headers.windows(2) {
            let (header, end) = (pair[0], pair[1].start);
            // It was full and synced before the next one got its name; of what is behind its end nothing is asked.
            let past = Past { synced: end, ..past };
            if self.segment(disc, &header, applied, past)?.0 != end {
                return missing(&pair[1]);
            }
            closed.push_back(Closed { index: header.index, end, bytes: header.capacity });
        }
        let Some(&header) = headers.last() else {
            return Err(DiscError::corrupt(disc.path(""), 0, "there is no segment"));
        };
        let past = Past { synced: past.synced.max(applied), ..past };
        let (end, bytes) = self.segment(disc, &header, applied, past)?;
        let name = segment_name(header.index);
        let file = disc.open(&name).map_err(|error| DiscError::io(disc.path(&name), "opening", error))?;
        let from = offset_at(end, header.start);
        warnings.extend(end_log(disc, header.index, &*file, &bytes, from, past.unbroken)?);
        Ok(Tip { closed, current: Current { header, file }, end })
    }

    /// Applies one segment; where its records end, and its bytes.
    fn segment(
        &mut self,
        disc: &dyn Disc,
        header: &Header,
        applied: Position,
        past: Past,
    ) -> Result<(Position, Vec<u8>)> {
        let bytes = read_segment(disc, header.index)?.1;
        let path = disc.path(&segment_name(header.index));
        // Read from its beginning also where the image has it: its end is what the next one must go on from.
        let end = each_record(&bytes, header, header.start, past, &path, |position, record| {
            if position < applied {
                return Ok(());
            }
            let offset = offset_at(position, header.start);
            self.record(record).map_err(|what| DiscError::corrupt(&path, offset, what))
        })?;
        Ok((end, bytes))
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
            Record::Released { txid } => {
                self.open.remove(&txid);
            }
            Record::Applied { txid, ts, writes } => {
                // Prepared before, where a part of it is left to a copy that is being made.
                self.open.remove(&txid);
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
            || self
                .store
                .table(table)
                .is_some_and(|open| open.def().copy_on(self.me).is_some_and(|copy| copy.storage.is_on_disc()))
    }

    fn finish(mut self) -> Replayed {
        self.replayed.prepared =
            self.open.into_iter().map(|(txid, (epoch, work))| (txid, epoch, work)).collect();
        self.replayed.prepared.sort_by_key(|(txid, ..)| *txid);
        self.replayed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disc::image::Outcomes;
    use crate::disc::mem::{Crash, MemDisc};
    use crate::disc::{BootId, DirectoryId};
    use crate::store::StoreConfig;

    fn opened(disc: &MemDisc) -> Result<Opened> {
        let opener = Opener {
            node: NodeId(7),
            name: "n7".to_owned(),
            cluster: "unit".to_owned(),
            fresh: DirectoryId([7; 16]),
            boot: Some(BootId([1; 16])),
        };
        open(Arc::new(disc.clone()), &Store::new(StoreConfig { wall_ms: 1 }), &opener, 8 << 10)
    }

    #[test]
    fn nothing_is_written_into_an_image_that_is_damaged() {
        // Aim: an image of a version that did not name its directory is looked at before it gets the name. Method: bytes
        // flipped all over such a one; whatever is refused has no name afterwards.
        let disc = MemDisc::new();
        drop(opened(&disc).expect("new"));
        let mut image = Image::find(&disc).expect("well").expect("there");
        let mut step = image.step().expect("well");
        step.state().directory = None;
        step.commit(Position(0), &Outcomes::new()).expect("well");
        drop(image);
        let whole = disc.bytes(IMAGE_NAME).expect("there");
        let (mut refused, mut named) = (0, 0);
        for at in (0..whole.len()).step_by(whole.len() / 400) {
            let changed = disc.crash(Crash::Kill);
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            changed.overwrite(IMAGE_NAME, bytes);
            let well = opened(&changed).map(drop).is_ok();
            let has_name = Image::find(&changed).ok().flatten().is_some_and(|mut image| {
                let has_name = image.state().directory.is_some();
                // redb closes what it has looked at; what it has not, and is damaged, may end the process.
                let _ = image.check_pages();
                has_name
            });
            assert_eq!(has_name, well, "byte {at}");
            (refused, named) = (refused + usize::from(!well), named + usize::from(well));
        }
        assert!(refused > 10 && named > 10, "{refused} were refused, {named} taken over");
    }
}
