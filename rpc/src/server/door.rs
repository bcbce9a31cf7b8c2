//! The door to the node: requests are checked, carried out, and answered. All services go through it, so that a call, the
//! same operation on a stream, and the same step of a transaction mean the same.

use std::sync::Arc;
use std::time::Instant;

use hypermnesia::{AsyncTransaction, DynTable, Lifetime, Node, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::change::Change;
use super::convert;
use super::deadline::Deadline;
use super::places::Places;
use super::transact::{LastRun, Plan};
use crate::errors::{Error, ErrorKind};
use crate::limits::{BATCH_ITEMS_MAX, HEALTH_INTERVAL};
use crate::proto;

/// See the file's header.
pub(super) struct Door {
    pub(super) node: Node,
    pub(super) places: Places,
    /// A restore.
    restoring: Arc<Semaphore>,
    /// Becomes true when the server is to stop.
    stopped: watch::Receiver<bool>,
    pub(super) since: Instant,
}

impl Door {
    pub(super) fn new(node: Node, stopped: watch::Receiver<bool>) -> Door {
        Door {
            node,
            places: Places::of_member(),
            restoring: Arc::new(Semaphore::new(1)),
            stopped,
            since: Instant::now(),
        }
    }

    /// Becomes true when the server is to stop.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }

    /// The place of the one restore.
    pub(super) fn restore_place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let taken = |_| {
            Error::new(ErrorKind::Limit, "another restore is running on this member; nothing was changed")
        };
        Arc::clone(&self.restoring).try_acquire_owned().map_err(taken)
    }

    /// A handle on a table.
    pub(super) fn table(&self, name: &str) -> Result<DynTable, Error> {
        Ok(self.node.dyn_table(name)?)
    }

    pub(super) async fn get(
        &self,
        request: proto::GetRequest,
        by: Deadline,
    ) -> Result<proto::GetResponse, Error> {
        let (table, key) = (self.table(&request.table)?, convert::key(request.key, "key")?);
        let wanted = positions(&table, &request.attributes)?;
        let mut response = if request.dirty {
            found(table.dirty_get(&key)?.as_slice(), Timestamp::NEVER)
        } else {
            let reads = vec![(table, key)];
            let response = self.run(Plan { reads, ..Plan::new(by) }).await?;
            response.reads.into_iter().next().unwrap_or_default()
        };
        if !wanted.is_empty() {
            for row in &mut response.rows {
                row.values = wanted.iter().filter_map(|at| row.values.get(*at).cloned()).collect();
            }
        }
        Ok(response)
    }

    pub(super) async fn put(
        &self,
        request: proto::PutRequest,
        by: Deadline,
    ) -> Result<proto::PutResponse, Error> {
        let (table, row) = (self.table(&request.table)?, convert::row(request.row, "row")?);
        let lifetime = convert::lifetime(request.lifetime);
        if request.dirty {
            // A blind write. Where it waits for other members it lets the runtime's other tasks go on on another thread.
            self.node.transaction_with(&by.options(), |tx| tx.insert_with(&table, &row, lifetime))?;
            return Ok(proto::PutResponse { committed_at: 0 });
        }
        let committed_at = self.change_all(vec![Change::Put(table, row, lifetime)], by).await?;
        Ok(proto::PutResponse { committed_at })
    }

    pub(super) async fn delete(
        &self,
        request: proto::DeleteRequest,
        by: Deadline,
    ) -> Result<proto::DeleteResponse, Error> {
        let table = self.table(&request.table)?;
        if request.row.is_some() {
            if request.key.is_some() || request.dirty {
                return Err(Error::invalid("row", "excludes key and dirty"));
            }
            let row = convert::row(request.row, "row")?;
            let committed_at = self.change_all(vec![Change::DeleteRow(table, row)], by).await?;
            return Ok(proto::DeleteResponse { committed_at });
        }
        let key = convert::key(request.key, "key")?;
        if request.dirty {
            self.node.transaction_with(&by.options(), |tx| tx.delete(&table, &key))?;
            return Ok(proto::DeleteResponse { committed_at: 0 });
        }
        let committed_at = self.change_all(vec![Change::Delete(table, key)], by).await?;
        Ok(proto::DeleteResponse { committed_at })
    }

    pub(super) async fn batch_get(
        &self,
        request: proto::BatchGetRequest,
        by: Deadline,
    ) -> Result<proto::BatchGetResponse, Error> {
        check_items(request.keys.len(), "keys")?;
        let table = self.table(&request.table)?;
        let reads = keys(request.keys)?.into_iter().map(|key| (table.clone(), key)).collect();
        let response = self.run(Plan { reads, ..Plan::new(by) }).await?;
        Ok(proto::BatchGetResponse { results: response.reads })
    }

    pub(super) async fn batch_put(
        &self,
        request: proto::BatchPutRequest,
        by: Deadline,
    ) -> Result<proto::BatchPutResponse, Error> {
        check_items(request.rows.len(), "rows")?;
        let table = self.table(&request.table)?;
        let lifetime = convert::lifetime(request.lifetime);
        let values =
            |(n, row): (usize, proto::Row)| convert::values(row.values, &format!("rows[{n}].values"));
        let rows = request.rows.into_iter().enumerate().map(values).collect::<Result<Vec<_>, Error>>()?;
        if request.only_new {
            return self.put_new(table, rows, lifetime, by).await;
        }
        let put = |row| Change::Put(table.clone(), row, lifetime);
        let changes = rows.into_iter().map(put).collect();
        let committed_at = self.change_all(changes, by).await?;
        Ok(proto::BatchPutResponse { committed_at, existed: false })
    }

    async fn put_new(
        &self,
        table: DynTable,
        rows: Vec<Vec<hypermnesia::Value>>,
        lifetime: Lifetime,
        by: Deadline,
    ) -> Result<proto::BatchPutResponse, Error> {
        let (all, last_run) = (Arc::new((table, rows)), LastRun::default());
        let program = |tx: AsyncTransaction| {
            last_run.is(&tx);
            let all = Arc::clone(&all);
            async move {
                let rows = all.1.iter().map(|row| &row[..]);
                Ok::<_, Error>(tx.insert_new_many_with(&all.0, rows, lifetime).await?)
            }
        };
        let written = self.node.try_transaction_async(&by.options(), program).await?;
        let committed_at = if written { last_run.committed_at(&self.node) } else { 0 };
        Ok(proto::BatchPutResponse { committed_at, existed: !written })
    }

    pub(super) async fn batch_delete(
        &self,
        request: proto::BatchDeleteRequest,
        by: Deadline,
    ) -> Result<proto::BatchDeleteResponse, Error> {
        check_items(request.keys.len(), "keys")?;
        let table = self.table(&request.table)?;
        let changes = keys(request.keys)?.into_iter().map(|key| Change::Delete(table.clone(), key)).collect();
        Ok(proto::BatchDeleteResponse { committed_at: self.change_all(changes, by).await? })
    }

    async fn change_all(&self, changes: Vec<Change>, by: Deadline) -> Result<u64, Error> {
        Ok(self.run(Plan { changes, ..Plan::new(by) }).await?.committed_at)
    }
}

/// Rows of one key as an answer.
pub(super) fn found(rows: &[Vec<hypermnesia::Value>], version: Timestamp) -> proto::GetResponse {
    let rows = rows.iter().map(|row| convert::values_message(row)).collect();
    proto::GetResponse { rows, version: version.0 }
}

/// Where the attributes of these names stand in a row.
fn positions(table: &DynTable, names: &[String]) -> Result<Vec<usize>, Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let def = table.definition()?;
    let numbered = names.iter().enumerate();
    let missing = |n, name| Error::invalid(format!("attributes[{n}]"), format!("no attribute {name:?}"));
    numbered.map(|(n, name)| def.position(name).ok_or_else(|| missing(n, name))).collect()
}

/// Refuses more items than one request may have.
pub(super) fn check_items(count: usize, field: &str) -> Result<(), Error> {
    if count <= BATCH_ITEMS_MAX {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{count} items, at most {BATCH_ITEMS_MAX} are possible")))
}

fn keys(keys: Vec<proto::Key>) -> Result<Vec<Vec<hypermnesia::Value>>, Error> {
    let numbered = keys.into_iter().enumerate();
    numbered.map(|(n, key)| convert::values(key.values, &format!("keys[{n}].values"))).collect()
}

/// Keeps the health service up to date for as long as it is served: looks at the node now and then, since it tells nobody
/// when it becomes ready.
pub(super) async fn report_health(door: std::sync::Weak<Door>, reporter: HealthReporter) {
    loop {
        let Some(ready) = door.upgrade().map(|door| door.node.is_ready()) else { return };
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "hypermnesia"] {
            reporter.set_service_status(service, status).await;
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}
