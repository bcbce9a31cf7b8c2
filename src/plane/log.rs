//! The log and the votes, as the consensus library wants them. Whatever is reported as written is durable.
//!
//! **Readers.** A task that replicates reads the log while it may be cut and written anew: its node may have stopped leading,
//! and the task hears of it later. It would put entries of the new leader behind its own old ones and send them in the name
//! of the old term, and a follower that has not heard of the new one would take a log that never was (openraft#1077). So a
//! reader belongs to the leadership in which it was made, and gives nothing once the vote is another: a vote is saved before
//! the log is touched in its name, and entries and vote are read in one call.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, RaftLogReader, StorageIOError};

use super::error::StoreError;
use super::keeper::Keeper;
use super::kind::{Entry, Kind, LogId, StorageError, Vote};
use super::store::Store;
use super::voter::Term;

pub(super) struct Log(pub(super) Arc<Keeper>);

/// The log of one leadership.
pub(super) struct Reader {
    keeper: Arc<Keeper>,
    term: Term,
}

impl RaftLogReader<Kind> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let (from, end) = bounds(&range);
        let entries = self.0.run(move |store| store.entries(from, end)).await;
        entries.map_err(|error| StorageIOError::read_logs(&error).into())
    }
}

impl RaftLogReader<Kind> for Reader {
    /// Nothing at all is taken for a heartbeat, at which the task finds out that it is over.
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let ((from, end), term) = (bounds(&range), self.term);
        let read = move |store: &mut Store| {
            let same = voted(store)? == term;
            if same { store.entries(from, end) } else { Ok(Vec::new()) }
        };
        self.keeper.run(read).await.map_err(|error| StorageIOError::read_logs(&error).into())
    }
}

fn voted(store: &mut Store) -> Result<Term, StoreError> {
    Ok(store.vote()?.map_or(Term::default(), |vote| vote.leader_id.into()))
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, end)
}

impl RaftLogStorage<Kind> for Log {
    type LogReader = Reader;

    async fn get_log_state(&mut self) -> Result<LogState<Kind>, StorageError> {
        let ends = self.0.run(|store| store.log_ends()).await;
        let (last_purged_log_id, last_log_id) = ends.map_err(|error| StorageIOError::read_logs(&error))?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Reader {
        // The term 0 of nobody, when it cannot be read: nothing is replicated then, and the error has stopped the plane.
        let term = self.0.run(voted).await.unwrap_or_default();
        Reader { keeper: self.0.clone(), term }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        let saved = self.0.run(move |store| store.save_vote(vote)).await;
        saved.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.0.run(|store| store.vote()).await;
        vote.map_err(|error| StorageIOError::read_vote(&error).into())
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Kind>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let appended = self.0.run(move |store| store.append(&entries)).await;
        let told = appended.clone().map_err(io::Error::other);
        flushed.log_io_completed(told);
        appended.map_err(written)
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.0.run(move |store| store.truncate(from.index)).await.map_err(written)
    }

    async fn purge(&mut self, last: LogId) -> Result<(), StorageError> {
        self.0.run(move |store| store.purge(last)).await.map_err(written)
    }
}

fn written(error: StoreError) -> StorageError {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}
