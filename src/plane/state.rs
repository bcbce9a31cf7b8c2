//! The machine and its snapshots, as the consensus library wants them. The machine lives in memory: after a restart it is the
//! last snapshot, and becomes what was agreed once a leader says how far that goes.

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, RaftSnapshotBuilder, StorageIOError};

use super::error::{OpenError, StoreError};
use super::keeper::Keeper;
use super::kind::{Entry, Kind, LogId, Members, Meta, Snapshot, StorageError};
use super::machine::Machine;
use super::store::Held;
use crate::limits::PLANE_SNAPSHOT_BYTES_MAX;

pub(super) struct State {
    machine: Box<dyn Machine>,
    applied: Option<LogId>,
    members: Members,
    keeper: Arc<Keeper>,
}

impl State {
    /// The machine as the last snapshot has it.
    pub(super) async fn restored(
        mut machine: Box<dyn Machine>,
        keeper: Arc<Keeper>,
    ) -> Result<State, OpenError> {
        let held = keeper.run(|store| store.held()).await;
        let held = held.map_err(|error| OpenError::Raft(error.to_string()))?;
        let Some(held) = held else {
            return Ok(State { machine, applied: None, members: Members::default(), keeper });
        };
        machine.restore(&held.bytes).map_err(OpenError::Machine)?;
        Ok(State { machine, applied: held.last, members: held.members, keeper })
    }
}

impl RaftStateMachine<Kind> for State {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Members), StorageError> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<u8>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut answers = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(command) => self.machine.apply(entry.log_id.index, &command),
                EntryPayload::Membership(members) => {
                    self.members = Members::new(Some(entry.log_id), members);
                    Vec::new()
                }
            });
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let bytes = self.machine.snapshot();
        let held = Held { last: self.applied, members: self.members.clone(), bytes };
        Builder { held, keeper: self.keeper.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, bytes: Box<Vec<u8>>) -> Result<(), StorageError> {
        let held = Held { last: meta.last_log_id, members: meta.last_membership.clone(), bytes: *bytes };
        // First the machine, so that what it does not understand is not kept.
        self.machine.restore(&held.bytes).map_err(|what| unheld(&StoreError::Machine(what)))?;
        (self.applied, self.members) = (held.last, held.members.clone());
        self.keeper.run(move |store| store.hold(&held)).await.map_err(|error| unheld(&error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let held = self.keeper.run(|store| store.held()).await;
        let held = held.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(held.map(snapshot))
    }
}

/// A state of the machine on its way to the store.
pub(super) struct Builder {
    held: Held,
    keeper: Arc<Keeper>,
}

impl RaftSnapshotBuilder<Kind> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let held = self.held.clone();
        self.keeper
            .run(move |store| bounded(&held).and_then(|()| store.hold(&held)))
            .await
            .map_err(|error| unheld(&error))?;
        Ok(snapshot(self.held.clone()))
    }
}

fn bounded(held: &Held) -> Result<(), StoreError> {
    let (bytes, limit) = (held.bytes.len(), PLANE_SNAPSHOT_BYTES_MAX);
    if bytes <= limit { Ok(()) } else { Err(StoreError::TooLong { bytes, limit }) }
}

/// The name only tells transfers apart, which are whole here.
pub(super) fn snapshot(held: Held) -> Snapshot {
    let snapshot_id = held.last.map_or_else(String::new, |id| id.to_string());
    let meta = Meta { last_log_id: held.last, last_membership: held.members, snapshot_id };
    Snapshot { meta, snapshot: Box::new(held.bytes) }
}

fn unheld(error: &StoreError) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}
