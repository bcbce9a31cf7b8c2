//! A handle on one table: single rows, batches, scans.

use super::connection::Timed;
use super::{Lifetime, Row, Scan, ScanRows, Values, values};
use crate::Error;
use crate::proto::{self, tables_client::TablesClient};

/// A table of the cluster. Cheap to clone. Every write is a transaction of its own and returns its commit timestamp.
#[derive(Clone, Debug)]
pub struct Table {
    client: TablesClient<Timed>,
    name: String,
}

impl Table {
    pub(super) fn new(client: TablesClient<Timed>, name: String) -> Table {
        Table { client, name }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All rows of a key: none or one; in a bag, any number.
    pub async fn get(&self, key: impl Into<Values>) -> Result<Vec<Row>, Error> {
        self.read(key.into(), false).await
    }

    /// The row of a key (of a bag: the first).
    pub async fn get_one(&self, key: impl Into<Values>) -> Result<Option<Row>, Error> {
        Ok(self.get(key).await?.into_iter().next())
    }

    /// The newest committed row of the connected member (in a bag: the oldest row of the key), waiting for no transaction
    /// that is being committed.
    pub async fn dirty_get(&self, key: impl Into<Values>) -> Result<Vec<Row>, Error> {
        self.read(key.into(), true).await
    }

    /// The rows of many keys, all read at one instant.
    pub async fn get_many<K: Into<Values>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Vec<Row>>, Error> {
        let keys = keys.into_iter().map(|key| key.into().into()).collect();
        let request = proto::BatchGetRequest { table: self.name.clone(), keys };
        let response = self.client.clone().batch_get(request).await?.into_inner();
        response.results.into_iter().map(|found| values::rows(found.rows)).collect()
    }

    /// Writes one row: replaces the row of its key; in a bag, adds it.
    pub async fn put(&self, row: impl Into<Values>) -> Result<u64, Error> {
        self.write(row.into(), false, None).await
    }

    /// Writes one row with a lifetime of its own. Not for bags.
    pub async fn put_with(&self, row: impl Into<Values>, lifetime: Lifetime) -> Result<u64, Error> {
        self.write(row.into(), false, lifetime.into_message()).await
    }

    /// Writes one row blindly; conflicts are retried by the server.
    pub async fn dirty_put(&self, row: impl Into<Values>) -> Result<(), Error> {
        self.write(row.into(), true, None).await.map(drop)
    }

    /// Writes many rows in one transaction.
    pub async fn put_many<R: Into<Values>>(&self, rows: impl IntoIterator<Item = R>) -> Result<u64, Error> {
        let rows = rows.into_iter().map(|row| row.into().into()).collect();
        let request = proto::BatchPutRequest { table: self.name.clone(), rows, lifetime: None };
        Ok(self.client.clone().batch_put(request).await?.into_inner().committed_at)
    }

    /// Deletes all rows of a key.
    pub async fn delete(&self, key: impl Into<Values>) -> Result<u64, Error> {
        self.remove(Some(key.into().into()), None, false).await
    }

    /// Deletes one row of a bag.
    pub async fn delete_row(&self, row: impl Into<Values>) -> Result<u64, Error> {
        self.remove(None, Some(row.into().into()), false).await
    }

    /// Deletes all rows of a key blindly; conflicts are retried by the server.
    pub async fn dirty_delete(&self, key: impl Into<Values>) -> Result<(), Error> {
        self.remove(Some(key.into().into()), None, true).await.map(drop)
    }

    /// Deletes many keys in one transaction.
    pub async fn delete_many<K: Into<Values>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, Error> {
        let keys = keys.into_iter().map(|key| key.into().into()).collect();
        let request = proto::BatchDeleteRequest { table: self.name.clone(), keys };
        Ok(self.client.clone().batch_delete(request).await?.into_inner().committed_at)
    }

    /// Streams rows in order, all read at one instant.
    pub async fn scan(&self, scan: Scan) -> Result<ScanRows, Error> {
        let request = scan.into_message(self.name.clone());
        Ok(ScanRows::new(self.client.clone().scan(request).await?.into_inner()))
    }

    async fn read(&self, key: Values, dirty: bool) -> Result<Vec<Row>, Error> {
        let request = proto::GetRequest { table: self.name.clone(), key: Some(key.into()), dirty };
        values::rows(self.client.clone().get(request).await?.into_inner().rows)
    }

    async fn write(&self, row: Values, dirty: bool, lifetime: Option<proto::Lifetime>) -> Result<u64, Error> {
        let table = self.name.clone();
        let request = proto::PutRequest { table, row: Some(row.into()), dirty, lifetime };
        Ok(self.client.clone().put(request).await?.into_inner().committed_at)
    }

    async fn remove(
        &self,
        key: Option<proto::Key>,
        row: Option<proto::Row>,
        dirty: bool,
    ) -> Result<u64, Error> {
        let request = proto::DeleteRequest { table: self.name.clone(), key, row, dirty };
        Ok(self.client.clone().delete(request).await?.into_inner().committed_at)
    }
}
