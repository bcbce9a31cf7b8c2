//! Backups as streams of bytes: out of a member, and into one. What the bytes are is of no concern here.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Client;
use crate::limits::{MESSAGE_BYTES_MAX, STREAM_BATCHES_QUEUED};
use crate::proto::backups_client::BackupsClient;
use crate::proto::{self, backup_response, restore_request, restore_response};
use crate::{Error, ErrorKind};

/// A part of a backup that arrives.
#[derive(Clone, Debug, PartialEq)]
pub enum BackupPart {
    /// The next bytes of the file.
    Chunk(Vec<u8>),
    /// Rows that were looked at, and rows there are, more or less.
    Progress(u64, u64),
    /// The end: the chunks before are the whole file.
    Done(proto::BackupDone),
}

/// A backup as it arrives. Dropping it ends it at the server.
#[derive(Debug)]
pub struct Backup {
    stream: Streaming<proto::BackupResponse>,
    done: bool,
}

impl Backup {
    /// The next part; `None` behind [`BackupPart::Done`].
    pub async fn next(&mut self) -> Result<Option<BackupPart>, Error> {
        while !self.done {
            let Some(message) = self.stream.message().await? else {
                return Err(ended("the backup ended before it was whole"));
            };
            return Ok(Some(match message.part {
                Some(backup_response::Part::Chunk(bytes)) => BackupPart::Chunk(bytes),
                Some(backup_response::Part::Progress(at)) => BackupPart::Progress(at.rows, at.rows_total),
                Some(backup_response::Part::Done(done)) => {
                    self.done = true;
                    BackupPart::Done(done)
                }
                // A newer server has something more to tell.
                None => continue,
            }));
        }
        Ok(None)
    }
}

/// A backup on its way to a member, file by file. Nothing is restored before [`Restore::finish`], and nothing at all when it
/// is dropped before.
#[derive(Debug)]
pub struct Restore {
    requests: mpsc::Sender<proto::RestoreRequest>,
    answers: Streaming<proto::RestoreResponse>,
}

impl Restore {
    /// A file begins: the full backup first, incremental ones in their order behind it. The name stands in errors.
    pub async fn file(&mut self, name: impl Into<String>) -> Result<(), Error> {
        self.send(restore_request::Part::File(proto::RestoreFile { name: name.into() })).await
    }

    /// The next bytes of the file, at most a few MiB.
    pub async fn chunk(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.send(restore_request::Part::Chunk(bytes)).await
    }

    async fn send(&mut self, part: restore_request::Part) -> Result<(), Error> {
        let request = proto::RestoreRequest { part: Some(part) };
        if self.requests.send(request).await.is_ok() {
            return Ok(());
        }
        // The server takes no more: it says why.
        match self.answers.message().await {
            Err(status) => Err(status.into()),
            Ok(_) => Err(ended("the restore ended before all of the backup was sent")),
        }
    }

    /// Everything was sent: restores it. `told` hears of rows that are in, and rows that will be, more or less.
    pub async fn finish(mut self, mut told: impl FnMut(u64, u64)) -> Result<proto::RestoreDone, Error> {
        self.send(restore_request::Part::End(proto::RestoreEnd {})).await?;
        let Restore { requests: _open, mut answers } = self;
        while let Some(message) = answers.message().await? {
            match message.part {
                Some(restore_response::Part::Progress(at)) => told(at.rows, at.rows_total),
                Some(restore_response::Part::Done(done)) => return Ok(done),
                None => {}
            }
        }
        Err(ended("the answer ended before it said what became of the restore"))
    }
}

impl Client {
    /// Streams a backup. [`Client::with_timeout`] bounds the time until it begins.
    pub async fn backup(&self, request: proto::BackupRequest) -> Result<Backup, Error> {
        let client = BackupsClient::with_interceptor(self.channel(), self.timeout);
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Backup { stream: client.backup(request).await?.into_inner(), done: false })
    }

    /// Begins a restore. [`Client::with_timeout`] bounds the time until the member takes it in.
    pub async fn restore(&self, options: proto::RestoreOptions) -> Result<Restore, Error> {
        let (requests, outgoing) = mpsc::channel(STREAM_BATCHES_QUEUED);
        let first = proto::RestoreRequest { part: Some(restore_request::Part::Options(options)) };
        let queued = requests.try_send(first);
        debug_assert!(queued.is_ok(), "the queue is new");
        let client = BackupsClient::with_interceptor(self.channel(), self.timeout);
        let mut client = client.max_encoding_message_size(MESSAGE_BYTES_MAX);
        let answers = client.restore(ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Restore { requests, answers })
    }
}

fn ended(message: &str) -> Error {
    Error::new(ErrorKind::Cancelled, message)
}
