//! A handle on one table: single rows, batches, scans.

use super::connection::Timed;
use super::{Change, Changed, Count, Expected, Lifetime, Row, Scan, ScanRows, Transact, Values, values};
use crate::proto::patterns_client::PatternsClient;
use crate::proto::{self, tables_client::TablesClient, transactions_client::TransactionsClient};
use crate::{Error, Value};

/// A table of the cluster. Cheap to clone. Every write is a transaction of its own and returns its commit timestamp.
#[derive(Clone, Debug)]
pub struct Table {
    client: TablesClient<Timed>,
    transactions: TransactionsClient<Timed>,
    pub(super) patterns: PatternsClient<Timed>,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(
        client: TablesClient<Timed>,
        transactions: TransactionsClient<Timed>,
        patterns: PatternsClient<Timed>,
        name: String,
    ) -> Table {
        Table { client, transactions, patterns, name }
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
        let request =
            proto::BatchPutRequest { table: self.name.clone(), rows, lifetime: None, only_new: false };
        Ok(self.client.clone().batch_put(request).await?.into_inner().committed_at)
    }

    /// Writes many rows in one transaction if none of their keys has a row; the commit's timestamp, `None` when one has.
    pub async fn insert_new_many<R: Into<Values>>(
        &self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Option<u64>, Error> {
        let rows = rows.into_iter().map(|row| row.into().into()).collect();
        let table = self.name.clone();
        let request = proto::BatchPutRequest { table, rows, lifetime: None, only_new: true };
        let response = self.client.clone().batch_put(request).await?.into_inner();
        Ok((!response.existed).then_some(response.committed_at))
    }

    /// Writes one row if its key has none; says whether it did.
    pub async fn insert_new(&self, row: impl Into<Values>) -> Result<bool, Error> {
        Ok(self.change(Change::insert_new(&self.name, row)).await?.applied)
    }

    /// Deletes all rows of a key and gives them back.
    pub async fn take(&self, key: impl Into<Values>) -> Result<Vec<Row>, Error> {
        Ok(self.change(Change::take(&self.name, key)).await?.rows)
    }

    /// Changes attributes of the row of a key; says whether there is one.
    pub async fn update<N: Into<String>, V: Into<Value>>(
        &self,
        key: impl Into<Values>,
        changes: impl IntoIterator<Item = (N, V)>,
    ) -> Result<bool, Error> {
        Ok(self.change(Change::update(&self.name, key, changes)).await?.applied)
    }

    /// Adds to one integer attribute of the row of a key and gives the sum; `None` when there is no row. For more, see
    /// [`Change::count`].
    pub async fn increment(
        &self,
        key: impl Into<Values>,
        attribute: impl Into<String>,
        by: i64,
    ) -> Result<Option<i64>, Error> {
        let counted = self.change(Change::count(&self.name, key, [Count::new(attribute, by)])).await?;
        Ok(counted.sums.first().copied())
    }

    /// Replaces the row of a key, or deletes it for `None`, if it is what it is taken for; says whether it was.
    pub async fn swap<R: Into<Values>>(
        &self,
        key: impl Into<Values>,
        expected: Expected,
        new: Option<R>,
    ) -> Result<bool, Error> {
        Ok(self.change(Change::swap(&self.name, key, expected, new)).await?.applied)
    }

    /// Makes one change as a transaction of its own.
    pub async fn change(&self, change: Change) -> Result<Changed, Error> {
        let request = Transact::new().change(change).into_message();
        let response = self.transactions.clone().transact(request).await?.into_inner();
        Changed::from_message(response.results.into_iter().next().unwrap_or_default())
    }

    /// All rows of a key with its version: 0 where there are none. See [`Expected::Version`].
    pub async fn get_versioned(&self, key: impl Into<Values>) -> Result<(Vec<Row>, u64), Error> {
        let found = self.ask(key.into(), false, Vec::new()).await?;
        Ok((values::rows(found.rows)?, found.version))
    }

    /// One attribute of the row of a key (of a bag: of the first), or the default when there is none.
    pub async fn lookup(
        &self,
        key: impl Into<Values>,
        attribute: impl Into<String>,
        default: impl Into<Value>,
    ) -> Result<Value, Error> {
        let found = self.ask(key.into(), false, vec![attribute.into()]).await?;
        let row = values::rows(found.rows)?.into_iter().next();
        Ok(row.and_then(|mut row| row.pop()).unwrap_or_else(|| default.into()))
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
        values::rows(self.ask(key, dirty, Vec::new()).await?.rows)
    }

    async fn ask(
        &self,
        key: Values,
        dirty: bool,
        attributes: Vec<String>,
    ) -> Result<proto::GetResponse, Error> {
        let (table, key) = (self.name.clone(), Some(key.into()));
        let request = proto::GetRequest { table, key, dirty, attributes };
        Ok(self.client.clone().get(request).await?.into_inner())
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
