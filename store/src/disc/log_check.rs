//! Looks through the log of a data directory that nobody serves, and through its identity, as a start does, but goes on behind
//! what is damaged, applies nothing and cuts nothing off. What a start would refuse is named here, each file by itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{DiscError, Result};
use super::file::Disc;
use super::identity::{BootId, IDENTITY_NAME, Identity, Promise, refuse_named};
use super::image::{IMAGE_NAME, Image};
use super::replay::{Past, check_pair, each_record, leftovers, read_segment};
use super::segment::{Header, Position, offset_at, segment_index, segment_name, used_bytes};

/// What was found of the identity or of a segment.
#[derive(Clone, Debug)]
pub struct CheckedFile {
    /// The file.
    pub file: PathBuf,
    /// Whole records in it, up to the damage if there is any. Of a segment that the image has whole none are read.
    pub records: u64,
    /// What is wrong with it, the first thing only.
    pub damage: Option<DiscError>,
    /// Where the log ends although bytes behind that are not zero, as a power cut or a kill leaves it, and how many of them a start
    /// would cut off and keep aside.
    pub torn: Option<(u64, u64)>,
}

impl CheckedFile {
    fn of(file: PathBuf, damage: Option<DiscError>) -> CheckedFile {
        CheckedFile { file, records: 0, damage, torn: None }
    }
}

/// A segment whose header is whole.
struct Segment {
    header: Header,
    bytes: Vec<u8>,
}

/// Reads the identity and the log of a data directory. `boot` is the present boot of the machine: within the one in which the
/// log was written more is known to be damage. Nothing is changed but the mark that says that the image was open.
///
/// # Errors
/// `Locked` while a node has it open; `Io`.
pub fn check_log(disc: &Arc<dyn Disc>, boot: Option<BootId>) -> Result<Vec<CheckedFile>> {
    let _lock = disc.lock()?;
    let disc = &**disc;
    let names = disc.list().map_err(|error| DiscError::io(disc.path(""), "listing", error))?;
    let mut indexes: Vec<u64> = names.iter().filter_map(|name| segment_index(name)).collect();
    indexes.sort_unstable();
    let mut files = Vec::new();
    let identity = tell(&mut files, disc.path(IDENTITY_NAME), Identity::read(disc))?;
    let is_missing = matches!(identity, Some(None));
    let identity = identity.flatten();
    // What is wrong with the image is told by whoever looks through it.
    let image = Image::find(disc).ok().flatten();
    if let Err(DiscError::Corrupt { file, offset, what, advice }) =
        check_pair(disc, &names, &indexes, identity.as_ref())
        && file != disc.path(IMAGE_NAME)
    {
        let damage = DiscError::Corrupt { file: file.clone(), offset, what, advice };
        files.push(CheckedFile::of(file, Some(damage)));
    }
    let mut segments = Vec::new();
    for index in &indexes {
        let read = read_segment(disc, *index).and_then(|(header, bytes)| {
            admitted(disc, *index, &header, identity.as_ref())?;
            Ok(Segment { header, bytes })
        });
        segments.extend(tell(&mut files, disc.path(&segment_name(*index)), read)?);
    }
    if is_missing {
        let named = |segment: &Segment| {
            refuse_named(disc, &segment_name(segment.header.index), segment.header.directory).err()
        };
        files[0].damage = segments.iter().find_map(named);
    }
    let promised =
        identity.and_then(|identity| identity.log).unwrap_or(Promise { boot: None, synced: Position(0) });
    let past = Past { synced: promised.synced, unbroken: boot.is_some() && boot == promised.boot };
    let applied = image.map(|image| image.state().applied);
    let log = Log { disc, segments, indexes, applied, past };
    log.records(&mut files);
    Ok(files)
}

/// Enters what is damaged, and goes on; other errors end it.
fn tell<T>(files: &mut Vec<CheckedFile>, file: PathBuf, read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => {
            files.push(CheckedFile::of(file, None));
            Ok(Some(read))
        }
        Err(error) if error.is_corruption() => {
            files.push(CheckedFile::of(file, Some(error)));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn admitted(disc: &dyn Disc, index: u64, header: &Header, identity: Option<&Identity>) -> Result<()> {
    if header.index != index {
        let what = format!("this is the log's segment {}", header.index);
        return Err(DiscError::corrupt(disc.path(&segment_name(index)), 0, what));
    }
    match identity {
        Some(identity) => identity.admit_segment(disc, header),
        None => Ok(()),
    }
}

/// All of the log that can be read.
struct Log<'d> {
    disc: &'d dyn Disc,
    segments: Vec<Segment>,
    /// Of all files of segments, those included that cannot be read.
    indexes: Vec<u64>,
    /// Up to where the image has it, where that can be said.
    applied: Option<Position>,
    past: Past,
}

impl Log<'_> {
    /// Reads the records of every segment that a start would read.
    fn records(&self, files: &mut [CheckedFile]) {
        let headers: Vec<Header> = self.segments.iter().map(|segment| segment.header).collect();
        let (whole, _) = leftovers(&headers, self.applied.unwrap_or_default());
        let segments = &self.segments[whole.len()..];
        let mut before: Option<(u64, Option<Position>)> = None;
        for (at, segment) in segments.iter().enumerate() {
            let header = &segment.header;
            let path = self.disc.path(&segment_name(header.index));
            let Some(found) = files.iter_mut().find(|found| found.file == path) else { continue };
            if !self.goes_on(before, header) {
                let what = "the segment does not go on where the one before it, or the image, ends";
                found.damage = Some(DiscError::corrupt(&path, 0, what));
            }
            // Unless the one behind this one is there and cannot be read.
            let next = segments.get(at + 1).filter(|next| {
                !self.indexes.contains(&(header.index + 1)) || next.header.index == header.index + 1
            });
            let synced = match next {
                // It was full and synced before the next one got its name.
                Some(next) => next.header.start,
                None => self.past.synced.max(self.applied.unwrap_or_default()),
            };
            let is_last = self.indexes.last() == Some(&header.index);
            let end = look(segment, Past { synced, ..self.past }, &path, found, is_last);
            before = Some((header.index, end));
        }
    }

    /// Whether a segment begins where the one before it, which has this index and this end, leaves off. Nothing is said where
    /// the one before it cannot be read: that is told of itself.
    fn goes_on(&self, before: Option<(u64, Option<Position>)>, header: &Header) -> bool {
        match before {
            None => self
                .applied
                .is_none_or(|applied| header.start <= applied || self.indexes.first() != Some(&header.index)),
            Some((index, end)) if index + 1 == header.index => end.is_none_or(|end| end == header.start),
            Some((index, _)) => self.indexes.contains(&(index + 1)),
        }
    }
}

/// Reads the records of one segment; where they end, unless it is damaged.
fn look(
    segment: &Segment,
    past: Past,
    path: &Path,
    found: &mut CheckedFile,
    is_last: bool,
) -> Option<Position> {
    let Segment { header, bytes } = segment;
    let records = &mut found.records;
    let read = each_record(bytes, header, header.start, past, path, |_, _| {
        *records += 1;
        Ok(())
    });
    match read {
        Ok(end) => {
            let from = offset_at(end, header.start);
            let behind = used_bytes(bytes).saturating_sub(from);
            found.torn = (is_last && behind > 0).then_some((from, behind));
            Some(end)
        }
        Err(damage) => {
            found.damage.get_or_insert(damage);
            None
        }
    }
}
