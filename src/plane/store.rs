//! What a voter must not forget, in one redb file: its raft id, its vote, its log, and the snapshot in front of the log.
//!
//! Every change is one transaction, synced before it is reported, in two phases: with one, redb takes a damaged last commit
//! for one that was cut off, goes back to the one before, and the voter has forgotten a vote that others count. After an
//! error on a change nobody knows whether it is there, so nothing is changed or read any more until the file is opened
//! again. Below redb every block has a checksum, as the image's have, and opening reads all of it, so damage is found before
//! anybody is answered. The file is made under another name, so that one which was never whole is never opened.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use hypermnesia_store::codec;
use hypermnesia_store::disc::{Backend, Disc, OpenDatabase, caught};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};
use serde::{Deserialize, Serialize};

use super::error::{OpenError, StoreError};
use super::kind::{Entry, LogId, Members, Vote};
use super::voter::RaftId;
use crate::limits::PLANE_MESSAGE_BYTES_MAX;

/// The file's name in its directory.
pub(super) const FILE_NAME: &str = "plane.redb";
const NEW_NAME: &str = "plane.redb.tmp";

/// Version of what is in it.
const FORMAT: u16 = 1;

/// Bytes of it that redb may hold in memory.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

const WHOSE: &str = "whose";
const VOTE: &str = "vote";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";

/// Each value stands in an envelope of its kind.
const KIND: u16 = 23;

/// Whose file it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Whose {
    #[serde(deserialize_with = "codec::text")]
    cluster: String,
    raft: RaftId,
}

/// The state after all entries up to one of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) last: Option<LogId>,
    pub(super) members: Members,
    pub(super) bytes: Vec<u8>,
}

/// An open file, or the same in memory.
pub(super) struct Store {
    database: OpenDatabase,
    path: PathBuf,
    raft: RaftId,
    /// The first error on a change.
    failed: Option<StoreError>,
}

impl Store {
    /// In memory, for a node without a directory: as new in each life.
    pub(super) fn in_memory(cluster: &str, fresh: RaftId) -> Result<Store, OpenError> {
        let path = PathBuf::from("the control plane in memory");
        let mut store = Store::over(InMemoryBackend::new(), path, fresh)?;
        store.mark(&Whose { cluster: cluster.to_owned(), raft: fresh })?;
        Ok(store)
    }

    /// In its file on this disc, made if there is none; `fresh` is its raft id then.
    pub(super) fn open(disc: &dyn Disc, cluster: &str, fresh: RaftId) -> Result<Store, OpenError> {
        let path = disc.path(FILE_NAME);
        let failed =
            |doing| move |error: io::Error| OpenError::Io { file: disc.path(FILE_NAME), doing, error };
        let file = match disc.open(FILE_NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let new = disc.create(NEW_NAME).and_then(Backend::make).map_err(failed("making"))?;
                let mut store = Store::over(new, path.clone(), fresh)?;
                store.mark(&Whose { cluster: cluster.to_owned(), raft: fresh })?;
                drop(store);
                disc.rename(NEW_NAME, FILE_NAME).map_err(failed("naming"))?;
                disc.sync_names().map_err(failed("naming"))?;
                disc.open(FILE_NAME).map_err(failed("opening"))?
            }
            Err(error) => return Err(failed("opening")(error)),
        };
        let found = Backend::find(file).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => OpenError::Damaged { file: path.clone(), what: error.to_string() },
            _ => failed("reading")(error),
        })?;
        guarded(&path.clone(), || {
            let mut store = Store::over(found, path, fresh)?;
            store.check(cluster)?;
            Ok(store)
        })
    }

    fn over(backend: impl StorageBackend, path: PathBuf, raft: RaftId) -> Result<Store, OpenError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        match database {
            Ok(database) => Ok(Store { database: OpenDatabase::new(database), path, raft, failed: None }),
            Err(error) => Err(OpenError::Damaged { file: path, what: error.to_string() }),
        }
    }

    fn mark(&mut self, whose: &Whose) -> Result<(), OpenError> {
        let marked = self.change(|facts, _| put(facts, WHOSE, whose));
        marked.map_err(|error| OpenError::Damaged { file: self.path.clone(), what: error.to_string() })
    }

    /// Reads all of it and finds out whose it is.
    fn check(&mut self, cluster: &str) -> Result<(), OpenError> {
        let file = self.path.clone();
        let damaged = |what: String| OpenError::Damaged { file: file.clone(), what };
        match self.database.check_integrity() {
            Ok(true) => {}
            Ok(false) => return Err(damaged("redb would have to repair it".to_owned())),
            Err(error) => return Err(damaged(error.to_string())),
        }
        let whose = self.fact_bytes(WHOSE).map_err(|_| OpenError::Foreign { file: file.clone() })?;
        let whose = whose.ok_or(OpenError::Foreign { file: file.clone() })?;
        if let Ok((found, _)) = codec::open(KIND, &whose)
            && found != FORMAT
        {
            return Err(OpenError::Version { file, found, known: FORMAT });
        }
        let whose: Whose = taken(&whose).map_err(damaged)?;
        if whose.cluster != cluster {
            return Err(OpenError::OtherCluster { file, found: whose.cluster, wanted: cluster.to_owned() });
        }
        self.raft = whose.raft;
        let all = || {
            self.vote()?;
            self.log_ends()?;
            self.held()?;
            self.entries(0, u64::MAX)
        };
        let entries = all().map_err(|error| damaged(error.to_string()))?;
        let (purged, _) = self.log_ends().map_err(|error| damaged(error.to_string()))?;
        let first = purged.map_or(0, |id| id.index + 1);
        let gap = entries.iter().zip(first..).find(|(entry, index)| entry.log_id.index != *index);
        gap.map_or(Ok(()), |(_, index)| Err(damaged(format!("entry {index} of the log is missing"))))
    }

    pub(super) fn raft(&self) -> RaftId {
        self.raft
    }

    pub(super) fn vote(&self) -> Result<Option<Vote>, StoreError> {
        self.fact(VOTE)
    }

    pub(super) fn save_vote(&mut self, vote: Vote) -> Result<(), StoreError> {
        self.change(|facts, _| put(facts, VOTE, &vote))
    }

    /// The last entry that was purged, and the last one there is.
    pub(super) fn log_ends(&self) -> Result<(Option<LogId>, Option<LogId>), StoreError> {
        let purged: Option<LogId> = self.fact(PURGED)?;
        let last = self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            log.last()?.map(|(_, value)| entry_of(value.value())).transpose()
        })?;
        Ok((purged, last.map_or(purged, |entry| Some(entry.log_id))))
    }

    /// The entries from `from` to before `end`, as far as they are there.
    pub(super) fn entries(&self, from: u64, end: u64) -> Result<Vec<Entry>, StoreError> {
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            let values = log.range(from..end)?;
            values.map(|value| entry_of(value?.1.value())).collect()
        })
    }

    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.change(|_, log| {
            for entry in entries {
                log.insert(entry.log_id.index, sealed(entry).as_slice())?;
            }
            Ok(())
        })
    }

    /// Drops the entries from `from` on.
    pub(super) fn truncate(&mut self, from: u64) -> Result<(), StoreError> {
        self.change(|_, log| Ok(log.retain_in(from.., |_, _| false)?))
    }

    /// Drops the entries up to `last`, which the snapshot holds.
    pub(super) fn purge(&mut self, last: LogId) -> Result<(), StoreError> {
        self.change(|facts, log| {
            log.retain_in(..=last.index, |_, _| false)?;
            put(facts, PURGED, &last)
        })
    }

    pub(super) fn held(&self) -> Result<Option<Held>, StoreError> {
        self.fact(SNAPSHOT)
    }

    /// Keeps a snapshot, unless it has a newer one: they may be made while others come in.
    pub(super) fn hold(&mut self, held: &Held) -> Result<(), StoreError> {
        if self.held()?.is_some_and(|older| older.last > held.last) {
            return Ok(());
        }
        self.change(|facts, _| put(facts, SNAPSHOT, held))
    }

    /// What went wrong for good, if anything did.
    pub(super) fn failed(&self) -> Option<&StoreError> {
        self.failed.as_ref()
    }

    /// Notes that a call ended in a panic: whatever it was about, its outcome is unknown.
    pub(super) fn fail(&mut self, what: String) -> StoreError {
        self.failed.get_or_insert(StoreError::Unknown { file: self.path.clone(), what }).clone()
    }

    fn fact<T: for<'a> Deserialize<'a>>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        let bytes = self.fact_bytes(name)?;
        let taken = bytes.map(|bytes| taken(&bytes)).transpose();
        taken.map_err(|what| StoreError::Unreadable {
            file: self.path.clone(),
            what: format!("{name}: {what}"),
        })
    }

    fn fact_bytes(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let facts = transaction.open_table(FACTS)?;
            Ok(facts.get(name)?.map(|value| value.value().to_vec()))
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, Wrong>,
    ) -> Result<T, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let transaction = self.database.begin_read().map_err(Wrong::from);
        let outcome = transaction.and_then(|transaction| read(&transaction));
        outcome.map_err(|Wrong(what)| StoreError::Unreadable { file: self.path.clone(), what })
    }

    /// Makes a change durable. After an error it is not known whether it is there.
    fn change(
        &mut self,
        change: impl FnOnce(
            &mut Table<'_, &'static str, &'static [u8]>,
            &mut Table<'_, u64, &'static [u8]>,
        ) -> Done,
    ) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let attempt = || -> Done {
            let mut transaction = self.database.begin_write()?;
            // In two phases, and nothing to be mended after a crash.
            transaction.set_quick_repair(true);
            let (mut facts, mut log) = (transaction.open_table(FACTS)?, transaction.open_table(LOG)?);
            change(&mut facts, &mut log)?;
            drop((facts, log));
            Ok(transaction.commit()?)
        };
        attempt().map_err(|Wrong(what)| self.fail(what))
    }
}

type Done = Result<(), Wrong>;

/// What redb or the codec said.
struct Wrong(String);

impl<E: Into<redb::Error>> From<E> for Wrong {
    fn from(error: E) -> Wrong {
        Wrong(error.into().to_string())
    }
}

fn put<T: Serialize>(facts: &mut Table<'_, &'static str, &'static [u8]>, name: &str, value: &T) -> Done {
    facts.insert(name, sealed(value).as_slice())?;
    Ok(())
}

fn sealed<T: Serialize>(value: &T) -> Vec<u8> {
    codec::seal(KIND, FORMAT, &codec::encode(value))
}

fn taken<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    let (_, payload) = codec::open(KIND, bytes).map_err(|wrong| wrong.to_string())?;
    codec::decode(payload, PLANE_MESSAGE_BYTES_MAX).map_err(|wrong| wrong.to_string())
}

fn entry_of(bytes: &[u8]) -> Result<Entry, Wrong> {
    taken(bytes).map_err(|what| Wrong(format!("an entry of the log: {what}")))
}

/// redb asserts on pages that are not what they should be: that is damage, and no end of the process.
fn guarded(path: &Path, open: impl FnOnce() -> Result<Store, OpenError>) -> Result<Store, OpenError> {
    caught(open).unwrap_or_else(|_| {
        let what = "a page of it is not what it should be".to_owned();
        Err(OpenError::Damaged { file: path.to_owned(), what })
    })
}
