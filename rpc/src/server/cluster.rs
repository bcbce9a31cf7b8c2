//! The service `Cluster`, and what all services tell about tables: the node's status as messages.

use std::time::Duration;

use hypermnesia::limits::SCHEMA_DEADLINE_DEFAULT;
use hypermnesia::status::Status as NodeStatus;
use hypermnesia::{Error as NodeError, NodeId, Outcome, TableDef, TxId};
use tonic::{Request, Response, Status};

use super::Services;
use super::convert;
use super::deadline::Deadline;
use super::door::Door;
use crate::errors::{Error, ErrorKind};
use crate::limits::TIMEOUT_DEFAULT;
use crate::proto::cluster_server::Cluster;
use crate::proto::{
    self, DrainMemberRequest, DrainMemberResponse, InDoubtRequest, InDoubtResponse, MembersRequest,
    MembersResponse, OutcomeRequest, OutcomeResponse, RemoveMemberRequest, RemoveMemberResponse,
    ReplaceMemberRequest, ReplaceMemberResponse, StatusRequest, StatusResponse, WaitForTablesRequest,
    WaitForTablesResponse,
};

#[tonic::async_trait]
impl Cluster for Services {
    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.door.status()))
    }

    async fn members(&self, _request: Request<MembersRequest>) -> Result<Response<MembersResponse>, Status> {
        Ok(Response::new(MembersResponse { members: self.door.status().members }))
    }

    async fn in_doubt(&self, _request: Request<InDoubtRequest>) -> Result<Response<InDoubtResponse>, Status> {
        Ok(Response::new(InDoubtResponse { transactions: self.door.status().in_doubt }))
    }

    async fn outcome(&self, request: Request<OutcomeRequest>) -> Result<Response<OutcomeResponse>, Status> {
        let id =
            request.into_inner().transaction.ok_or_else(|| Error::invalid("transaction", "is required"))?;
        Ok(Response::new(self.door.outcome(convert::transaction_id(id))))
    }

    async fn drain_member(
        &self,
        request: Request<DrainMemberRequest>,
    ) -> Result<Response<DrainMemberResponse>, Status> {
        let by = Deadline::of(request.metadata());
        let DrainMemberRequest { member, undo } = request.into_inner();
        let change = move |node: &hypermnesia::Node, time| match undo {
            true => node.undrain_member(&member, time),
            false => node.drain_member(&member, time),
        };
        self.door.on_thread(by, change).await?;
        Ok(Response::new(DrainMemberResponse {}))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let by = Deadline::of(request.metadata());
        let RemoveMemberRequest { member } = request.into_inner();
        self.door.on_thread(by, move |node, time| node.remove_member(&member, time)).await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn replace_member(
        &self,
        request: Request<ReplaceMemberRequest>,
    ) -> Result<Response<ReplaceMemberResponse>, Status> {
        let by = Deadline::of(request.metadata());
        let ReplaceMemberRequest { member, by: other } = request.into_inner();
        self.door.on_thread(by, move |node, time| node.replace_member(&member, &other, time)).await?;
        Ok(Response::new(ReplaceMemberResponse {}))
    }

    async fn wait_for_tables(
        &self,
        request: Request<WaitForTablesRequest>,
    ) -> Result<Response<WaitForTablesResponse>, Status> {
        let by = Deadline::of(request.metadata());
        self.door.wait_for_tables(request.into_inner(), by).await?;
        Ok(Response::new(WaitForTablesResponse {}))
    }
}

fn control(control: hypermnesia::status::ControlStatus) -> proto::ControlPlane {
    proto::ControlPlane {
        cluster_id: control.cluster_id.unwrap_or_default(),
        leader: control.leader.unwrap_or_default(),
        term: control.term,
        voters: control.voters,
        without_vote: control.without_vote,
        lease_ms: control.lease_ms,
        stopped: control.stopped.unwrap_or_default(),
    }
}

impl Door {
    pub(super) fn status(&self) -> StatusResponse {
        let status = self.node.status();
        let tables = self.tables_in(&status);
        let mut members: Vec<_> = status.members.into_iter().map(|member| self.member(member)).collect();
        members.sort_unstable_by_key(|member| member.node);
        let ready = status.ready && all_serve(&members);
        let (streams, interactive, watches, bounds) = self.places.counts();
        StatusResponse {
            name: status.node,
            node: self.node.id().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: status.epoch,
            ready,
            members,
            tables,
            in_doubt: status.in_doubt.into_iter().map(in_doubt).collect(),
            uptime_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            waits_for: status.waits_for.unwrap_or_default(),
            came_back_empty: status.came_back_empty,
            snapshots: status.snapshots as u64,
            memory_bytes: status.memory_bytes,
            oldest_snapshot_age_ms: status.oldest_snapshot_age_ms,
            log_bytes: status.log_bytes,
            image_bytes: status.image_bytes,
            continuations: status.continuations as u64,
            streams,
            interactive,
            watches,
            bounds: Some(bounds),
            locks_held: status.locks.0 as u64,
            locks_waited_for: status.locks.1 as u64,
            waits: status.waits.into_iter().map(waiting).collect(),
            control: status.control.map(control),
            copied_bytes: status.copied_bytes,
        }
    }

    fn member(&self, member: hypermnesia::status::MemberStatus) -> proto::Member {
        let node = NodeId::of_name(&member.name);
        proto::Member {
            itself: node == self.node.id(),
            name: member.name,
            node: node.0,
            connected: member.connected,
            // The last that was heard of one that is away says nothing about now.
            ready: member.connected && member.ready,
            peer_address: member.peer_address,
            draining: member.draining,
            in_epoch: member.in_epoch,
            votes: member.votes,
        }
    }

    /// All tables, by name.
    pub(super) fn tables(&self) -> Vec<proto::TableInfo> {
        self.tables_in(&self.node.status())
    }

    fn tables_in(&self, status: &NodeStatus) -> Vec<proto::TableInfo> {
        self.node.tables().iter().map(|def| info(self.table_message(def), status)).collect()
    }

    /// One table. That there is none is only said once all are loaded, where the caller waits for that.
    pub(super) async fn describe_by(&self, name: &str, by: Deadline) -> Result<proto::TableInfo, Error> {
        if let Ok(info) = self.describe(name) {
            return Ok(info);
        }
        self.loaded(by).await?;
        self.describe(name)
    }

    /// One table.
    fn describe(&self, name: &str) -> Result<proto::TableInfo, Error> {
        let missing = || Error::from(NodeError::NoSuchTable { name: name.to_owned() });
        self.tables()
            .into_iter()
            .find(|info| info.table.as_ref().is_some_and(|table| table.name == name))
            .ok_or_else(missing)
    }

    /// A definition with the names of its members.
    pub(super) fn table_message(&self, def: &TableDef) -> proto::Table {
        let named = |id: NodeId| self.node.member_name(id).map_or_else(|| id.to_string(), str::to_owned);
        convert::table_message(def, &named)
    }

    fn outcome(&self, id: TxId) -> OutcomeResponse {
        let (outcome, committed_at) = match self.node.outcome(id) {
            Outcome::Committed(at) => (proto::Outcome::Committed, at.0),
            Outcome::Aborted => (proto::Outcome::Aborted, 0),
            Outcome::Unknown => {
                // The next call may know more.
                self.node.ask_outcome(id);
                (proto::Outcome::Unknown, 0)
            }
        };
        OutcomeResponse { outcome: outcome.into(), committed_at }
    }

    async fn wait_for_tables(&self, request: WaitForTablesRequest, by: Deadline) -> Result<(), Error> {
        let by = by.named(request.timeout_ms);
        if let Err(error) = self.loaded(by).await {
            let late = by.time(TIMEOUT_DEFAULT).is_zero();
            return Err(if late { Error::new(ErrorKind::Deadline, error.message()) } else { error });
        }
        // Loaded, or nothing was named: the default, and for tables that are not there yet.
        let place = self.places.thread(by).await?;
        let node = self.node.clone();
        let waited = tokio::task::spawn_blocking(move || {
            let names: Vec<_> = request.tables.iter().map(String::as_str).collect();
            let result = node.wait_for_tables(&names, by.time(TIMEOUT_DEFAULT));
            drop(place);
            result
        });
        match waited.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NodeError::NotReady { waits_for })) => Err(Error::new(ErrorKind::Deadline, waits_for)),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::new(ErrorKind::Internal, "waiting for tables failed")),
        }
    }

    /// Creates a table.
    pub(super) async fn create_table(
        &self,
        request: proto::CreateTableRequest,
        by: Deadline,
    ) -> Result<proto::CreateTableResponse, Error> {
        let table = request.table.ok_or_else(|| Error::invalid("table", "is required"))?;
        let mut members: Vec<_> = self.node.status().members.into_iter().map(|member| member.name).collect();
        members.sort();
        let name = table.name.clone();
        let definition = convert::definition(table, &members)?;
        self.change_schema(by, name, move |node, time| node.create_table_within(definition, time).map(drop))
            .await
            .map(|table| proto::CreateTableResponse { table: Some(table) })
    }

    /// Drops a table.
    pub(super) async fn drop_table(
        &self,
        request: proto::DropTableRequest,
        by: Deadline,
    ) -> Result<proto::DropTableResponse, Error> {
        self.on_thread(by, move |node, time| node.drop_table_within(&request.table, time)).await?;
        Ok(proto::DropTableResponse {})
    }

    /// Renames a table.
    pub(super) async fn rename_table(
        &self,
        request: proto::RenameTableRequest,
        by: Deadline,
    ) -> Result<proto::RenameTableResponse, Error> {
        let proto::RenameTableRequest { table, to } = request;
        let name = to.clone();
        self.change_schema(by, name, move |node, time| node.rename_table_within(&table, &to, time))
            .await
            .map(|table| proto::RenameTableResponse { table: Some(table) })
    }

    /// Gives a member a copy of a table.
    pub(super) async fn add_copy(
        &self,
        request: proto::AddCopyRequest,
        by: Deadline,
    ) -> Result<proto::AddCopyResponse, Error> {
        let copy = request.copy.ok_or_else(|| Error::invalid("copy", "is required"))?;
        let storage = convert::storage_of_copy(&copy, "copy")?;
        let table = request.table.clone();
        self.change_schema(by, request.table, move |node, time| {
            node.add_copy(&table, &copy.member, storage, time)
        })
        .await
        .map(|table| proto::AddCopyResponse { table: Some(table) })
    }

    /// Takes a copy of a table away.
    pub(super) async fn drop_copy(
        &self,
        request: proto::DropCopyRequest,
        by: Deadline,
    ) -> Result<proto::DropCopyResponse, Error> {
        let proto::DropCopyRequest { table, member } = request;
        let name = table.clone();
        self.change_schema(by, name, move |node, time| node.drop_copy(&table, &member, time))
            .await
            .map(|table| proto::DropCopyResponse { table: Some(table) })
    }

    /// Moves a copy of a table.
    pub(super) async fn move_copy(
        &self,
        request: proto::MoveCopyRequest,
        by: Deadline,
    ) -> Result<proto::MoveCopyResponse, Error> {
        let proto::MoveCopyRequest { table, from, to } = request;
        let name = table.clone();
        self.change_schema(by, name, move |node, time| node.move_copy(&table, &from, &to, time))
            .await
            .map(|table| proto::MoveCopyResponse { table: Some(table) })
    }

    /// Clears a table.
    pub(super) async fn clear_table(
        &self,
        request: proto::ClearTableRequest,
        by: Deadline,
    ) -> Result<proto::ClearTableResponse, Error> {
        self.on_thread(by, move |node, time| node.clear_table_within(&request.table, time)).await?;
        Ok(proto::ClearTableResponse {})
    }

    /// Adds attributes.
    pub(super) async fn add_attributes(
        &self,
        request: proto::AddAttributesRequest,
        by: Deadline,
    ) -> Result<proto::AddAttributesResponse, Error> {
        let numbered = request.attributes.into_iter().enumerate();
        let added = numbered.map(|(n, one)| convert::attribute(one, &format!("attributes[{n}]")));
        let added = added.collect::<Result<Vec<_>, Error>>()?;
        let table = request.table.clone();
        self.change_schema(by, request.table, move |node, time| {
            node.add_attributes_within(&table, &added, time)
        })
        .await
        .map(|table| proto::AddAttributesResponse { table: Some(table) })
    }

    /// Adds an index.
    pub(super) async fn add_index(
        &self,
        request: proto::AddIndexRequest,
        by: Deadline,
    ) -> Result<proto::AddIndexResponse, Error> {
        let index = request.index.ok_or_else(|| Error::invalid("index", "is required"))?;
        if index.multi && index.attributes.len() != 1 {
            return Err(Error::invalid("index.attributes", "a multi-value index is over one attribute"));
        }
        let table = request.table.clone();
        self.change_schema(by, request.table, move |node, time| {
            let attributes: Vec<_> = index.attributes.iter().map(String::as_str).collect();
            match (index.multi, &attributes[..]) {
                (true, [only]) => node.add_multi_index_within(&table, &index.name, only, index.unique, time),
                _ => node.add_index_within(&table, &index.name, &attributes, index.unique, time),
            }
        })
        .await
        .map(|table| proto::AddIndexResponse { table: Some(table) })
    }

    /// Drops an index.
    pub(super) async fn drop_index(
        &self,
        request: proto::DropIndexRequest,
        by: Deadline,
    ) -> Result<proto::DropIndexResponse, Error> {
        let table = request.table.clone();
        self.change_schema(by, request.table, move |node, time| {
            node.drop_index_within(&table, &request.index, time)
        })
        .await
        .map(|table| proto::DropIndexResponse { table: Some(table) })
    }

    async fn change_schema(
        &self,
        by: Deadline,
        table: String,
        change: impl FnOnce(&hypermnesia::Node, Duration) -> hypermnesia::Result<()> + Send + 'static,
    ) -> Result<proto::Table, Error> {
        self.on_thread(by, change).await?;
        Ok(self.table_message(&self.table(&table)?.definition()?))
    }

    async fn on_thread(
        &self,
        by: Deadline,
        change: impl FnOnce(&hypermnesia::Node, Duration) -> hypermnesia::Result<()> + Send + 'static,
    ) -> Result<(), Error> {
        let place = self.places.thread(by).await?;
        let node = self.node.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let result = change(&node, by.time(SCHEMA_DEADLINE_DEFAULT));
            drop(place);
            result
        });
        changed.await.map_err(|_| Error::new(ErrorKind::Internal, "a change of the schema failed"))??;
        Ok(())
    }
}

fn info(table: proto::Table, status: &NodeStatus) -> proto::TableInfo {
    let Some(size) = status.tables.iter().find(|size| size.name == table.name) else {
        return proto::TableInfo { table: Some(table), ..proto::TableInfo::default() };
    };
    let entries =
        |(index, entries): &(String, u64)| proto::IndexEntries { index: index.clone(), entries: *entries };
    proto::TableInfo {
        table: Some(table),
        rows: size.rows,
        bytes: size.bytes,
        loaded: size.loaded,
        usage: Some(proto::Usage {
            hits: size.hits,
            misses: size.misses,
            evictions: size.evictions,
            expirations: size.expirations,
        }),
        memory_bytes: size.memory_bytes,
        old_versions: size.old_versions,
        deletions: size.deletions,
        deadlines: size.deadlines,
        index_entries: size.index_entries.iter().map(entries).collect(),
        listeners: size.listeners as u64,
        events: size.events as u64,
    }
}

/// Whether every member that is not to leave is connected and has loaded all its tables.
fn all_serve(members: &[proto::Member]) -> bool {
    members.iter().filter(|member| !member.draining).all(|member| member.connected && member.ready)
}

fn in_doubt(status: hypermnesia::status::InDoubtStatus) -> proto::InDoubtTransaction {
    proto::InDoubtTransaction {
        transaction: status.txid.parse().ok().map(convert::transaction_message),
        age_ms: status.age_ms,
        keys: status.keys as u64,
        coordinator: status.coordinator,
    }
}

fn waiting(wait: hypermnesia::status::WaitStatus) -> proto::WaitingTransaction {
    let id = |text: &String| text.parse().ok().map(convert::transaction_message);
    proto::WaitingTransaction {
        transaction: id(&wait.txid),
        coordinator: wait.coordinator,
        table: wait.table,
        index: wait.index.unwrap_or_default(),
        key: wait.key.unwrap_or_default(),
        write: wait.mode == "write",
        behind: wait.behind.iter().filter_map(id).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_ready_when_the_last_member_has_loaded() {
        // Aim: "ready" is about all members, not only about the one that is asked. Method: one other member in each state.
        let with = |connected, ready| {
            let itself = proto::Member { itself: true, connected: true, ready: true, ..Default::default() };
            all_serve(&[itself, proto::Member { connected, ready, ..Default::default() }])
        };
        assert!(with(true, true));
        assert!(!with(true, false), "it is loading");
        assert!(!with(false, true), "it is away, and was ready when it was last heard of");
    }
}
