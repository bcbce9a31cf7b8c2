//! The service `Backups`: a thread writes a backup into the answer, or takes one in, into a file without a name, and restores
//! it from there once all of it is there and whole.

use std::fs::File;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;

use hypermnesia::backup::{
    Action, BackedUpSequence, BackupBase, BackupFile, BackupId, BackupOptions, BackupSummary, Baseline,
    Chain, RestoreMode, RestoreOptions, RestoreSummary, Scope, SequenceRestore, TableBackup, TableRestore,
};
use hypermnesia::{TableId, Timestamp};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::convert::{known, storage};
use super::deadline::Deadline;
use super::door::Door;
use super::outlet::Outlet;
use crate::errors::{Error, ErrorKind};
use crate::limits::{BACKUP_CHUNK_BYTES_MAX, IDLE_MAX, UPLOAD_BYTES_MAX};
use crate::proto::backups_server::Backups;
use crate::proto::{self, backup_response, restore_request, restore_response};

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Backups for Services {
    type BackupStream = Answer<proto::BackupResponse>;
    type RestoreStream = Answer<proto::RestoreResponse>;

    async fn backup(
        &self,
        request: Request<proto::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.backup(request, by).await?))
    }

    async fn restore(
        &self,
        request: Request<Streaming<proto::RestoreRequest>>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        let (requests, by) = self.admit(request).await?;
        Ok(Response::new(self.door.restore(requests, by).await?))
    }
}

impl Door {
    async fn backup(
        self: &Arc<Door>,
        request: proto::BackupRequest,
        by: Deadline,
    ) -> Result<Answer<proto::BackupResponse>, Error> {
        let options = backup_options(request)?;
        let place = self.places.thread(by).await?;
        let (outlet, messages) = Outlet::of_any_age();
        let door = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let mut chunks = Chunks(&outlet);
            let mut told = |rows, rows_total| {
                let progress = backup_response::Part::Progress(proto::BackupProgress { rows, rows_total });
                outlet.offer(proto::BackupResponse { part: Some(progress) });
            };
            let result = door.node.backup_into(&mut chunks, &options, &mut told);
            match result {
                Ok(summary) => {
                    let part = Some(backup_response::Part::Done(backup_done(summary)));
                    // Nobody takes it: there is nobody to tell.
                    drop(outlet.send(proto::BackupResponse { part }));
                }
                Err(error) => outlet.fail(error.into()),
            }
            drop(place);
        });
        Ok(Box::pin(ReceiverStream::new(messages)))
    }

    async fn restore(
        self: &Arc<Door>,
        requests: Streaming<proto::RestoreRequest>,
        by: Deadline,
    ) -> Result<Answer<proto::RestoreResponse>, Error> {
        let alone = self.restore_place()?;
        let place = self.places.thread(by).await?;
        let (outlet, messages) = Outlet::of_any_age();
        let (door, runtime) = (Arc::clone(self), Handle::current());
        tokio::task::spawn_blocking(move || {
            let mut told = |rows, rows_total| {
                // A client that has gone away or is slow does not hold up what was begun.
                let progress = restore_response::Part::Progress(proto::BackupProgress { rows, rows_total });
                outlet.offer(proto::RestoreResponse { part: Some(progress) });
            };
            let restored = Upload { requests, runtime, bytes: 0 }
                .take()
                .and_then(|(options, chain)| Ok(door.node.restore_chain(&chain, &options, &mut told)?));
            // Before the answer: whoever has it may begin the next one.
            drop((place, alone));
            match restored {
                Ok(summary) => {
                    let part = Some(restore_response::Part::Done(restore_done(summary)));
                    drop(outlet.send(proto::RestoreResponse { part }));
                }
                Err(error) => outlet.fail(error),
            }
        });
        Ok(Box::pin(ReceiverStream::new(messages)))
    }
}

/// The bytes of a backup into messages.
struct Chunks<'a>(&'a Outlet<proto::BackupResponse>);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(BACKUP_CHUNK_BYTES_MAX)];
        let part = Some(backup_response::Part::Chunk(bytes.to_vec()));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the backup any more");
        self.0.send(proto::BackupResponse { part }).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A backup on its way in.
struct Upload {
    requests: Streaming<proto::RestoreRequest>,
    runtime: Handle,
    /// So far.
    bytes: u64,
}

impl Upload {
    /// Takes in everything, and finds all of it whole.
    fn take(mut self) -> Result<(RestoreOptions, Chain), Error> {
        use restore_request::Part;
        let Some(Part::Options(options)) = self.next()? else {
            return Err(Error::invalid("options", "is required, and comes first"));
        };
        let options = restore_options(options)?;
        let mut files: Vec<(String, File)> = Vec::new();
        loop {
            // A client that went away in the middle is no client that has sent everything.
            let Some(part) = self.next()? else {
                return Err(Error::invalid("end", "is required, and comes last; nothing was changed"));
            };
            match (part, files.last_mut()) {
                (Part::End(_), _) => break,
                (Part::File(file), _) => {
                    let number = files.len() + 1;
                    let name = if file.name.is_empty() { format!("file {number}") } else { file.name };
                    files.push((name, tempfile::tempfile().map_err(|error| spooling(&error))?));
                }
                (Part::Chunk(chunk), Some((_, file))) => {
                    self.count(chunk.len())?;
                    file.write_all(&chunk).map_err(|error| spooling(&error))?;
                }
                (Part::Chunk(_), None) => return Err(Error::invalid("file", "comes before its chunks")),
                (Part::Options(_), _) => return Err(Error::invalid("options", "comes once")),
            }
        }
        let files = files.into_iter().map(|(name, file)| BackupFile::of_file(file, name));
        Ok((options, Chain::of(files.collect::<hypermnesia::Result<_>>()?)?))
    }

    fn next(&mut self) -> Result<Option<restore_request::Part>, Error> {
        let message = self.runtime.block_on(timeout(IDLE_MAX, self.requests.message()));
        let idle = |_| Error::new(ErrorKind::Expired, "nothing was sent for too long; nothing was changed");
        match message.map_err(idle)?? {
            None => Ok(None),
            Some(request) => request
                .part
                .map(Some)
                .ok_or_else(|| Error::invalid("part", "is required, and of a known kind")),
        }
    }

    fn count(&mut self, more: usize) -> Result<(), Error> {
        self.bytes += more as u64;
        if self.bytes <= UPLOAD_BYTES_MAX {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Limit, format!("a restore takes in {UPLOAD_BYTES_MAX} bytes at most")))
    }
}

fn spooling(error: &io::Error) -> Error {
    let folder = std::env::temp_dir();
    let text = format!(
        "the member cannot keep the backup in {} (TMPDIR of its process names another directory): {error}; nothing was changed",
        folder.display()
    );
    Error::new(ErrorKind::Refused, text)
}

fn backup_options(request: proto::BackupRequest) -> Result<BackupOptions, Error> {
    let mut options = BackupOptions::new();
    options.tables = request.tables;
    options.without_sequences = request.without_sequences;
    let Some(base) = request.base else { return Ok(options) };
    let id = base.id.try_into().map_err(|_| Error::invalid("base.id", "has 16 bytes"))?;
    Ok(options.since_baseline(Baseline {
        base: BackupBase { id: BackupId(id), position: Timestamp(base.position) },
        cluster: base.cluster,
        node: base.node,
        tables: base.tables.into_iter().map(TableId).collect(),
        path: None,
    }))
}

fn backup_done(summary: BackupSummary) -> proto::BackupDone {
    let table = |table: TableBackup| proto::BackedUpTable {
        name: table.name,
        incremental: table.scope == Scope::Changes,
        rows: table.rows,
        bytes: table.bytes,
        unchanged: table.unchanged,
    };
    proto::BackupDone {
        id: summary.id.0.to_vec(),
        position: summary.position.0,
        tables: summary.tables.into_iter().map(table).collect(),
        rows: summary.rows,
        bytes: summary.bytes,
        file_bytes: summary.file_bytes,
        sequences: summary.sequences.into_iter().map(backed_up_sequence).collect(),
    }
}

fn backed_up_sequence(sequence: BackedUpSequence) -> proto::BackedUpSequence {
    proto::BackedUpSequence { name: sequence.name, next: sequence.next }
}

fn restore_options(message: proto::RestoreOptions) -> Result<RestoreOptions, Error> {
    let mut options = RestoreOptions::new();
    if let Some(mode) = mode(message.mode, "options.mode")? {
        options = options.mode(mode);
    }
    for (n, one) in message.modes.into_iter().enumerate() {
        if let Some(mode) = mode(one.mode, &format!("options.modes[{n}].mode"))? {
            options = options.table_mode(one.table, mode);
        }
    }
    options.only = message.tables;
    options.without_sequences = message.without_sequences;
    let wanted = known(message.storage, "options.storage")?;
    let created = storage(wanted, message.cache_bytes, "options.cache_bytes")?;
    options.storage = (wanted != proto::Storage::Unspecified).then_some(created);
    Ok(options)
}

fn mode(number: i32, field: &str) -> Result<Option<RestoreMode>, Error> {
    Ok(match known(number, field)? {
        proto::RestoreMode::Unspecified => None,
        proto::RestoreMode::Skip => Some(RestoreMode::Skip),
        proto::RestoreMode::Clear => Some(RestoreMode::Clear),
        proto::RestoreMode::Keep => Some(RestoreMode::Keep),
        proto::RestoreMode::Recreate => Some(RestoreMode::Recreate),
    })
}

fn restore_done(summary: RestoreSummary) -> proto::RestoreDone {
    let action = |action| match action {
        Action::Skipped => proto::RestoreAction::Skipped,
        Action::Created => proto::RestoreAction::Created,
        Action::Cleared => proto::RestoreAction::Cleared,
        Action::Kept => proto::RestoreAction::Kept,
        Action::Recreated => proto::RestoreAction::Recreated,
    };
    let table = |table: TableRestore| proto::RestoredTable {
        name: table.name,
        action: action(table.action).into(),
        rows: table.rows,
        expired: table.expired,
    };
    proto::RestoreDone {
        tables: summary.tables.into_iter().map(table).collect(),
        rows: summary.rows,
        bytes: summary.bytes,
        sequences: summary.sequences.into_iter().map(restored_sequence).collect(),
    }
}

fn restored_sequence(sequence: SequenceRestore) -> proto::RestoredSequence {
    let SequenceRestore { name, created, next } = sequence;
    proto::RestoredSequence { name, created, next }
}
