//! The next segment, made ready before it is needed: a file full of zeros that gets its header and its name when the log
//! comes to it. Making one changes nothing of the log, so it may fail and be tried again.

use std::sync::Arc;

use super::error::{DiscError, Result};
use super::file::{Disc, File};
use super::identity::DirectoryId;
use super::limits::ZERO_CHUNK_BYTES;
use super::log::Current;
use super::segment::{Header, Position, segment_name};

/// The name under which the next segment is made ready ahead of time.
const SPARE_NAME: &str = "log-spare.tmp";

/// The name under which rotation makes a segment when none is ready: another one, since the job that makes the spare may be
/// at work at that moment.
pub(crate) const NEXT_NAME: &str = "log-next.tmp";

/// The making of the next segment.
#[derive(Debug)]
pub struct SpareJob {
    pub(crate) disc: Arc<dyn Disc>,
    pub(crate) bytes: u64,
}

impl SpareJob {
    /// Writes and syncs a segment full of zeros.
    ///
    /// # Errors
    /// `Io` and `Full`; to be handed to `LogWriter::give_spare`.
    pub fn run(self) -> Result<Spare> {
        Spare::make(&*self.disc, SPARE_NAME, self.bytes)
    }
}

/// A segment full of zeros, synced, without a place in the log yet.
#[derive(Debug)]
pub struct Spare {
    file: Arc<dyn File>,
    /// Its name until it is installed.
    name: &'static str,
    pub(crate) bytes: u64,
}

impl Spare {
    /// Made under a name that says nothing.
    pub(crate) fn make(disc: &dyn Disc, name: &'static str, bytes: u64) -> Result<Spare> {
        let failed = |doing| move |e| DiscError::io(disc.path(name), doing, e);
        let file = disc.create(name).map_err(failed("creating"))?;
        fill(&*file, bytes).map_err(failed("filling")).inspect_err(|_| {
            // Others can use what space is left; the file is made anew the next time.
            let _ = file.set_len(0);
        })?;
        Ok(Spare { file, name, bytes })
    }

    /// Gives it its place in the log, durably.
    pub(crate) fn install(
        self,
        disc: &dyn Disc,
        directory: DirectoryId,
        index: u64,
        start: Position,
    ) -> Result<Current> {
        let name = segment_name(index);
        let header = Header { index, start, capacity: self.bytes, directory: Some(directory) };
        let place = || -> std::io::Result<()> {
            self.file.write_at(0, &header.encode())?;
            self.file.sync()?;
            disc.rename(self.name, &name)?;
            disc.sync_names()
        };
        place().map_err(|e| DiscError::io(disc.path(&name), "creating", e))?;
        Ok(Current { header, file: self.file })
    }
}

fn fill(file: &dyn File, bytes: u64) -> std::io::Result<()> {
    let zeros = vec![0; ZERO_CHUNK_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let chunk = (bytes - at).min(zeros.len() as u64);
        file.write_at(at, &zeros[..chunk as usize])?;
        at += chunk;
    }
    file.sync()
}
