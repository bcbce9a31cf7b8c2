//! The log and the votes, as the consensus library wants them. Whatever is reported as written is durable.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, RaftLogReader, StorageIOError};

use super::error::StoreError;
use super::gate::Gate;
use super::keeper::Keeper;
use super::kind::{Entry, Kind, LogId, StorageError, Vote};
use super::voter::Term;

#[derive(Clone)]
pub(super) struct Log {
    pub(super) keeper: Arc<Keeper>,
    pub(super) gate: Arc<Gate>,
}

impl RaftLogReader<Kind> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let (from, end) = bounds(&range);
        let entries = self.keeper.run(move |store| store.entries(from, end)).await;
        entries.map_err(|error| StorageIOError::read_logs(&error).into())
    }
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
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Kind>, StorageError> {
        let ends = self.keeper.run(|store| store.log_ends()).await;
        let (last_purged_log_id, last_log_id) = ends.map_err(|error| StorageIOError::read_logs(&error))?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        // Before, so that nothing of an older leadership leaves once the log may change.
        self.gate.note(vote.leader_id.into());
        let saved = self.keeper.run(move |store| store.save_vote(vote)).await;
        saved.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.keeper.run(|store| store.vote()).await;
        let vote = vote.map_err(|error| StorageIOError::read_vote(&error))?;
        self.gate.note(vote.map_or(Term::default(), |vote| vote.leader_id.into()));
        Ok(vote)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Kind>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let appended = self.keeper.run(move |store| store.append(&entries)).await;
        let told = appended.clone().map_err(io::Error::other);
        flushed.log_io_completed(told);
        appended.map_err(written)
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.keeper.run(move |store| store.truncate(from.index)).await.map_err(written)
    }

    async fn purge(&mut self, last: LogId) -> Result<(), StorageError> {
        self.keeper.run(move |store| store.purge(last)).await.map_err(written)
    }
}

fn written(error: StoreError) -> StorageError {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}
