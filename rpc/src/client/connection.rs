//! The connection, and the calls about whole tables.

use std::time::Duration;

use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{
    Interactive, Operations, QueryRows, Table, TableDefinition, TableInfo, TableSpec, Transact, Transacted,
};
use super::{TransactionOptions, Values};
use crate::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX};
use crate::proto::{self, cluster_client::ClusterClient, operations_client::OperationsClient};
use crate::proto::{
    events_client::EventsClient, patterns_client::PatternsClient, query_client::QueryClient,
    sequences_client::SequencesClient, tables_client::TablesClient, transactions_client::TransactionsClient,
};
use crate::{Error, ErrorKind};

/// A connection to one member. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    pub(super) timeout: Timeout,
}

/// Puts the time that a call may take into its headers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeout(Option<Duration>);

impl Interceptor for Timeout {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(time) = self.0 {
            request.set_timeout(time);
        }
        Ok(request)
    }
}

/// The connection, with a time for each call.
pub(super) type Timed = InterceptedService<Channel, Timeout>;

impl Client {
    /// Connects to a member: `host:port`, or `http://host:port`. Fails with [`ErrorKind::Unavailable`] when nobody answers
    /// there within 5 s.
    pub async fn connect(address: impl AsRef<str>) -> Result<Client, Error> {
        let address = address.as_ref();
        let channel = endpoint(address)?.connect().await.map_err(|error| {
            let cause = innermost(&error);
            Error::new(ErrorKind::Unavailable, format!("cannot connect to {address}: {cause}"))
        })?;
        Ok(Client { channel, timeout: Timeout::default() })
    }

    /// Like [`connect`](Client::connect), but connects with the first call. Must be called inside a tokio runtime.
    pub fn connect_lazy(address: impl AsRef<str>) -> Result<Client, Error> {
        let channel = endpoint(address.as_ref())?.connect_lazy();
        Ok(Client { channel, timeout: Timeout::default() })
    }

    /// The same connection, with a time for each call: the server hears of it and ends its waits within it, loading tables
    /// included, and here the call fails with [`ErrorKind::Deadline`] when no answer has come by then. A query has it as a
    /// whole, a scan until its rows come, an interactive transaction from its begin to its commit; a stream of
    /// [`operations`](Client::operations) is not bounded by it.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = Timeout(Some(timeout));
        self
    }

    /// A handle on a table; whether there is one shows with the first operation.
    pub fn table(&self, name: impl Into<String>) -> Table {
        Table::new(self.tables_client(), self.transactions_client(), self.patterns_client(), name.into())
    }

    /// Creates a table on every member that shall have a copy. Members that are away get it when they come back.
    pub async fn create_table(&self, spec: impl Into<proto::Table>) -> Result<TableDefinition, Error> {
        let request = proto::CreateTableRequest { table: Some(spec.into()) };
        let response = self.tables_client().create_table(request).await?.into_inner();
        Ok(response.table.unwrap_or_default())
    }

    /// Drops a table with all its rows and indexes.
    pub async fn drop_table(&self, table: impl Into<String>) -> Result<(), Error> {
        self.tables_client().drop_table(proto::DropTableRequest { table: table.into() }).await?;
        Ok(())
    }

    /// Adds an index over `attributes`; returns when it can be used.
    pub async fn add_index<S: Into<String>>(
        &self,
        table: impl Into<String>,
        index: impl Into<String>,
        attributes: impl IntoIterator<Item = S>,
        unique: bool,
    ) -> Result<TableDefinition, Error> {
        let attributes = attributes.into_iter().map(Into::into).collect();
        let index = proto::Index { name: index.into(), attributes, unique, multi: false };
        let request = proto::AddIndexRequest { table: table.into(), index: Some(index) };
        Ok(self.tables_client().add_index(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Adds an index with an entry for each value of a list; returns when it can be used.
    pub async fn add_multi_index(
        &self,
        table: impl Into<String>,
        index: impl Into<String>,
        attribute: impl Into<String>,
        unique: bool,
    ) -> Result<TableDefinition, Error> {
        let attributes = vec![attribute.into()];
        let index = proto::Index { name: index.into(), attributes, unique, multi: true };
        let request = proto::AddIndexRequest { table: table.into(), index: Some(index) };
        Ok(self.tables_client().add_index(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Gives a table another name.
    pub async fn rename_table(
        &self,
        table: impl Into<String>,
        to: impl Into<String>,
    ) -> Result<TableDefinition, Error> {
        let request = proto::RenameTableRequest { table: table.into(), to: to.into() };
        Ok(self.tables_client().rename_table(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Gives a member a copy of a table; returns when that member has all rows and serves them. The cache of one on disc alone has the
    /// usual size.
    pub async fn add_copy(
        &self,
        table: impl Into<String>,
        member: impl Into<String>,
        storage: proto::Storage,
    ) -> Result<TableDefinition, Error> {
        let copy = proto::Copy { member: member.into(), storage: storage.into(), cache_bytes: 0 };
        let request = proto::AddCopyRequest { table: table.into(), copy: Some(copy) };
        Ok(self.tables_client().add_copy(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Takes the copy of a table away that a member keeps.
    pub async fn drop_copy(
        &self,
        table: impl Into<String>,
        member: impl Into<String>,
    ) -> Result<TableDefinition, Error> {
        let request = proto::DropCopyRequest { table: table.into(), member: member.into() };
        Ok(self.tables_client().drop_copy(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Moves the copy of a table from one member to another one.
    pub async fn move_copy(
        &self,
        table: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
    ) -> Result<TableDefinition, Error> {
        let request = proto::MoveCopyRequest { table: table.into(), from: from.into(), to: to.into() };
        Ok(self.tables_client().move_copy(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Takes every row of a table away in one step; of a local table those of the connected member.
    pub async fn clear_table(&self, table: impl Into<String>) -> Result<(), Error> {
        let request = proto::ClearTableRequest { table: table.into() };
        self.tables_client().clear_table(request).await.map(drop).map_err(Error::from)
    }

    /// Adds attributes behind those of a table: name, type, whether null is allowed, default.
    pub async fn add_attributes(
        &self,
        table: impl Into<String>,
        attributes: impl IntoIterator<Item = proto::Attribute>,
    ) -> Result<TableDefinition, Error> {
        let attributes = attributes.into_iter().collect();
        let request = proto::AddAttributesRequest { table: table.into(), attributes };
        Ok(self.tables_client().add_attributes(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Drops an index. The rows stay.
    pub async fn drop_index(
        &self,
        table: impl Into<String>,
        index: impl Into<String>,
    ) -> Result<TableDefinition, Error> {
        let request = proto::DropIndexRequest { table: table.into(), index: index.into() };
        Ok(self.tables_client().drop_index(request).await?.into_inner().table.unwrap_or_default())
    }

    /// All tables, by name.
    pub async fn tables(&self) -> Result<Vec<TableInfo>, Error> {
        Ok(self.tables_client().list_tables(proto::ListTablesRequest {}).await?.into_inner().tables)
    }

    /// One table: definition, size, state.
    pub async fn describe_table(&self, table: impl Into<String>) -> Result<TableInfo, Error> {
        let request = proto::DescribeTableRequest { table: table.into() };
        Ok(self.tables_client().describe_table(request).await?.into_inner().table.unwrap_or_default())
    }

    /// Runs a whole transaction in one call. Fails with [`ErrorKind::OutcomeUnknown`] when nobody can tell yet what became
    /// of it: ask [`outcome`](Client::outcome), or send it again under the same request id.
    pub async fn transact(&self, transaction: Transact) -> Result<Transacted, Error> {
        let response = self.transactions_client().transact(transaction.into_message()).await?;
        Transacted::from_message(response.into_inner())
    }

    /// Begins an interactive transaction. Dropping it aborts it.
    pub async fn begin(&self, options: TransactionOptions) -> Result<Interactive, Error> {
        Interactive::begin(self.transactions_client(), options).await
    }

    /// Runs one statement and streams its rows.
    pub async fn query(
        &self,
        statement: impl Into<String>,
        parameters: impl Into<Values>,
    ) -> Result<QueryRows, Error> {
        let request = proto::ExecuteRequest {
            statement: statement.into(),
            parameters: crate::value::into_messages(parameters.into().0),
            timeout_ms: 0,
        };
        QueryRows::open(QueryClient::execute(&mut self.query_client(), request).await?.into_inner()).await
    }

    /// Opens a stream for many small operations at a time, each several times cheaper than a call.
    pub async fn operations(&self) -> Result<Operations, Error> {
        let client = OperationsClient::new(self.channel.clone());
        let client =
            client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        Operations::open(client).await
    }

    /// The connection itself, for services of other packages (health, reflection).
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn cluster_client(&self) -> ClusterClient<Timed> {
        ClusterClient::with_interceptor(self.channel.clone(), self.timeout)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn events_client(&self) -> EventsClient<Timed> {
        EventsClient::with_interceptor(self.channel.clone(), self.timeout)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn sequences_client(&self) -> SequencesClient<Timed> {
        SequencesClient::with_interceptor(self.channel.clone(), self.timeout)
    }

    fn tables_client(&self) -> TablesClient<Timed> {
        let client = TablesClient::with_interceptor(self.channel.clone(), self.timeout);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn patterns_client(&self) -> PatternsClient<Timed> {
        let client = PatternsClient::with_interceptor(self.channel.clone(), self.timeout);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn transactions_client(&self) -> TransactionsClient<Timed> {
        let client = TransactionsClient::with_interceptor(self.channel.clone(), self.timeout);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn query_client(&self) -> QueryClient<Timed> {
        let client = QueryClient::with_interceptor(self.channel.clone(), self.timeout);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl From<TableSpec> for proto::Table {
    fn from(spec: TableSpec) -> proto::Table {
        spec.into_message()
    }
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("{address} is not an address: {error}")))?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        cause = source.to_string();
        next = source.source();
    }
    cause
}
