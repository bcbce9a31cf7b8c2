//! A node: the handle that the program holds, and the threads behind it. Clones are handles to the same node; the last one
//! to go stops it, from wherever it is dropped.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia_query::Sink;
use hypermnesia_replication::Outcome;
use hypermnesia_store::{NodeId, TableBuilder, TableDef, TxId, Value};

use crate::async_transaction::{self, AsyncTransaction};
use crate::builder::NodeBuilder;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::{EventDetail, Subscription, SystemEvents};
use crate::life::Life;
use crate::limits::{DEADLINE_DEFAULT, SCHEMA_DEADLINE_DEFAULT};
use crate::options::TxOptions;
use crate::query::{self, QueryResult};
use crate::record::{Record, check_definition};
use crate::snapshot::Snapshot;
use crate::status::{MemberStatus, Status};
use crate::survey;
use crate::table::{DynTable, Table};
use crate::transaction::{self, Transaction};
use crate::wait::{Answer, deadline_in};

mod copies;
mod members;
mod once;
mod start;

/// One member of a cluster, or an embedded node without a network. See the [crate's page](crate).
#[derive(Clone)]
pub struct Node {
    pub(crate) core: Arc<Core>,
    life: Arc<Life>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.core.name).finish_non_exhaustive()
    }
}

impl Node {
    /// Begins a configuration.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Its id, which follows from its name.
    pub fn id(&self) -> NodeId {
        self.core.me.node
    }

    /// Where it listens for the other members; `None` for an embedded node.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.life.address()
    }

    /// Whether reads are served: an epoch has opened and all tables with a copy here are loaded.
    pub fn is_ready(&self) -> bool {
        self.core.check_ready().is_ok()
    }

    /// Why the node has stopped serving by itself: its disc failed, or a part of it did. `None` while all is well, and after
    /// [`Node::close`].
    pub fn failure(&self) -> Option<Error> {
        self.core.failure()
    }

    /// Comes back with [`Node::failure`] when there is one. A server that waits for it ends with the node, instead of
    /// refusing every call until somebody looks.
    pub async fn failed(&self) -> Error {
        self.core.failed().await
    }

    /// Stops the node: no call begins any more, its threads end, its files are closed. Calls that are waiting hear
    /// [`Error::Unknown`]. Dropping the last handle does the same.
    pub fn close(self) {
        self.life.end(&self.core);
    }

    /// Creates a table on all members. A definition without copies gets one in memory on every member.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::Schema`]; otherwise as [`Node::transaction`]. Members that are away get it when they come back.
    pub fn create_table(&self, definition: TableBuilder) -> Result<DynTable> {
        self.create_table_within(definition, SCHEMA_DEADLINE_DEFAULT)
    }

    /// The table of this definition: the one that is there, or a new one. For programs that do not care which of them runs
    /// first, on one node or on all members at once: it waits, at most ten seconds, until this node serves, and creates the
    /// table once that is possible.
    ///
    /// ```
    /// use hypermnesia::{Node, TableDef, Type};
    /// let home = tempfile::tempdir()?;
    /// for run in 0..2 {
    ///     let node = Node::builder().data_dir(home.path()).build()?;
    ///     let hits = node.open_table(TableDef::builder("hits").attribute("page", Type::Text))?; // created once
    ///     assert_eq!(hits.name(), "hits");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Record`] when a table of that name has other attributes, another key or kind; otherwise as
    /// [`Node::create_table`].
    pub fn open_table(&self, definition: TableBuilder) -> Result<DynTable> {
        let deadline = deadline_in(DEADLINE_DEFAULT);
        let wanted = definition.clone().build()?;
        loop {
            let tried = self.open_or_create(&wanted, &definition);
            let passes = matches!(
                tried,
                Err(Error::NotReady { .. } | Error::Unavailable { .. } | Error::TableExists { .. })
            );
            if !passes || Instant::now() >= deadline {
                return tried;
            }
            Answer::<()>::new().wait((Instant::now() + crate::limits::TICK).min(deadline));
        }
    }

    fn open_or_create(&self, wanted: &TableDef, definition: &TableBuilder) -> Result<DynTable> {
        self.core.check_serving()?;
        let table = match self.dyn_table(&wanted.name) {
            Err(Error::NoSuchTable { .. }) => return self.create_table(definition.clone()),
            other => other?,
        };
        check_definition(wanted, &table.definition()?).map_err(|mismatch| Error::Record {
            record: "the definition",
            table: wanted.name.clone(),
            reason: mismatch.to_string(),
        })?;
        Ok(table)
    }

    /// As [`Node::open_table`], for the table of a record.
    ///
    /// # Errors
    /// As there.
    pub fn open_table_of<R: Record>(&self) -> Result<Table<R>> {
        self.open_table(R::definition())?.of()
    }

    /// Creates the table of a record.
    ///
    /// # Errors
    /// As [`Node::create_table`].
    pub fn create_table_of<R: Record>(&self) -> Result<Table<R>> {
        self.create_table(R::definition())?.of()
    }

    /// Drops a table and all its rows on all members.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::SystemTable`]; otherwise as [`Node::transaction`].
    pub fn drop_table(&self, name: &str) -> Result<()> {
        self.drop_table_within(name, SCHEMA_DEADLINE_DEFAULT)
    }

    /// Adds an index to a table; when it returns, every member has it filled.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchAttribute`], [`Error::IndexExists`], [`Error::Schema`], [`Error::Unique`] when
    /// rows that are there have the same values; otherwise as [`Node::transaction`].
    pub fn add_index(&self, table: &str, index: &str, attributes: &[&str], unique: bool) -> Result<()> {
        self.add_index_within(table, index, attributes, unique, SCHEMA_DEADLINE_DEFAULT)
    }

    /// Adds an index with an entry for each value of a list; when it returns, every member has it filled.
    ///
    /// # Errors
    /// As [`Node::add_index`]; [`Error::Schema`] for an attribute that is no list.
    pub fn add_multi_index(&self, table: &str, index: &str, attribute: &str, unique: bool) -> Result<()> {
        self.add_multi_index_within(table, index, attribute, unique, SCHEMA_DEADLINE_DEFAULT)
    }

    /// Drops an index.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchIndex`]; otherwise as [`Node::transaction`].
    pub fn drop_index(&self, table: &str, index: &str) -> Result<()> {
        self.drop_index_within(table, index, SCHEMA_DEADLINE_DEFAULT)
    }

    /// The definitions of all tables, by name, the system's own left out.
    pub fn tables(&self) -> Vec<TableDef> {
        let mut tables: Vec<TableDef> =
            self.core.store.tables().iter().map(|table| table.def().clone()).collect();
        tables.retain(|def| !def.is_system());
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }

    /// A table of records: the one that the record names.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::Record`] when its attributes are not the record's.
    pub fn table<R: Record>(&self) -> Result<Table<R>> {
        self.dyn_table(R::TABLE)?.of()
    }

    /// A table of plain values.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn dyn_table(&self, name: &str) -> Result<DynTable> {
        DynTable::named(&self.core, name)
    }

    /// Runs a transaction: the program may run several times (after conflicts), and what it wrote in its last run is
    /// committed on every copy or nowhere. Strictly serializable. The program aborts by returning an error, for example
    /// [`Error::abort`]; a panic aborts too. Blocks the thread; works from any thread, also inside a runtime.
    ///
    /// ```
    /// use hypermnesia::{Error, Node, Record};
    ///
    /// #[derive(Record)]
    /// struct Account {
    ///     #[record(key)]
    ///     id: i64,
    ///     balance: i64,
    /// }
    ///
    /// let node = Node::builder().build()?;
    /// let accounts = node.create_table_of::<Account>()?;
    /// accounts.insert_many(&[Account { id: 1, balance: 50 }, Account { id: 2, balance: 0 }])?;
    /// node.transaction(|tx| {
    ///     let mut from = tx.get(&accounts, &1)?.ok_or_else(|| Error::abort("no such account"))?;
    ///     let mut to = tx.get(&accounts, &2)?.ok_or_else(|| Error::abort("no such account"))?;
    ///     if from.balance < 20 {
    ///         return Err(Error::abort("not enough money"));
    ///     }
    ///     from.balance -= 20;
    ///     to.balance += 20;
    ///     tx.insert(&accounts, &from)?;
    ///     tx.insert(&accounts, &to)
    /// })?;
    /// assert_eq!(accounts.get(&2)?.map(|account| account.balance), Some(20));
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// The program's own, and: [`Error::Conflict`], [`Error::DeadlineExceeded`], [`Error::Unavailable`],
    /// [`Error::Overloaded`], [`Error::NotReady`] (nothing changed), [`Error::Unique`], and [`Error::Unknown`] when nobody
    /// knows.
    pub fn transaction<T>(&self, program: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        transaction::run(&self.core, &TxOptions::default(), program)
    }

    /// As [`Node::transaction`], with options.
    ///
    /// # Errors
    /// As there.
    pub fn transaction_with<T>(
        &self,
        options: &TxOptions,
        program: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        transaction::run(&self.core, options, program)
    }

    /// As [`Node::transaction_with`], for programs that abort with an error of their own type.
    ///
    /// # Errors
    /// As there.
    pub fn try_transaction<T, E: From<Error>>(
        &self,
        options: &TxOptions,
        program: impl FnMut(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        transaction::run(&self.core, options, program)
    }

    /// As [`Node::transaction`], for tasks of any runtime: nothing blocks. The program gets an owned handle, so that its
    /// future can be spawned.
    ///
    /// ```
    /// use hypermnesia::{Error, Node, TableDef, Type, Value};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let node = Node::builder().build()?;
    /// let hits = node.create_table(TableDef::builder("hits").attribute("page", Type::Text).attribute("n", Type::Int))?;
    /// let key = [Value::from("/")];
    /// node.transaction_async(|tx| {
    ///     let (hits, key) = (hits.clone(), key.clone());
    ///     async move {
    ///         let n = tx.get(&hits, &key).await?.map_or(0, |row| if let Value::Int(n) = row[1] { n } else { 0 });
    ///         tx.insert(&hits, &[key[0].clone(), Value::Int(n + 1)]).await
    ///     }
    /// })
    /// .await?;
    /// assert_eq!(hits.get(&key)?, Some(vec![key[0].clone(), Value::Int(1)]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Node::transaction`].
    pub async fn transaction_async<T, F>(&self, program: impl FnMut(AsyncTransaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        async_transaction::run(&self.core, &TxOptions::default(), program).await
    }

    /// As [`Node::transaction_async`], with options and an error type of the program's own.
    ///
    /// # Errors
    /// As there.
    pub async fn try_transaction_async<T, E, F>(
        &self,
        options: &TxOptions,
        program: impl FnMut(AsyncTransaction) -> F,
    ) -> Result<T, E>
    where
        E: From<Error>,
        F: Future<Output = Result<T, E>>,
    {
        async_transaction::run(&self.core, options, program).await
    }

    /// Begins a transaction that is committed by hand, for callers who decide step by step. It runs once; a conflict is
    /// told and not retried.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Closed`].
    pub fn begin(&self, options: &TxOptions) -> Result<AsyncTransaction> {
        AsyncTransaction::begin(&self.core, options)
    }

    /// Takes a snapshot of all tables: a read-only transaction. It waits, bounded, for what is being committed at this
    /// moment, and for nothing afterwards; it sends nothing.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::InDoubt`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.core)
    }

    /// Runs one SQL statement: a read on one snapshot, a write as one transaction, a change of the schema.
    ///
    /// ```
    /// use hypermnesia::{Node, Value};
    ///
    /// let node = Node::builder().build()?;
    /// node.query("CREATE TABLE cities (id INT PRIMARY KEY, country TEXT, name TEXT)", &[])?;
    /// node.query("INSERT INTO cities (id, country, name) VALUES (1, 'BE', 'Ghent'), (2, 'FR', 'Lyon')", &[])?;
    /// let found = node.query("SELECT name FROM cities WHERE country = $1", &[Value::from("BE")])?;
    /// assert_eq!(found.rows, [[Value::from("Ghent")]]);
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Query`] with the place in the text; otherwise as [`Node::transaction`] and [`Node::create_table`].
    pub fn query(&self, sql: &str, parameters: &[Value]) -> Result<QueryResult> {
        query::collect(&self.core, sql, parameters)
    }

    /// As [`Node::query`], with options for a write, whose deadline also ends the waits of a read and a change of the
    /// schema, and with rows given one at a time to a [`Sink`] instead of held: for large results. Returns how many rows were
    /// given or changed.
    ///
    /// # Errors
    /// As there.
    pub fn query_into(
        &self,
        sql: &str,
        parameters: &[Value],
        options: &TxOptions,
        sink: &mut dyn Sink,
    ) -> Result<u64> {
        query::run(&self.core, sql, parameters, Some(options), sink)
    }

    /// Changes of a table from now on. See [`Table::subscribe`].
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoCopy`], [`Error::NotReady`].
    pub fn subscribe(&self, table: &str, detail: EventDetail) -> Result<Subscription> {
        self.dyn_table(table)?.subscribe(detail)
    }

    /// Events of the node and its cluster from now on.
    pub fn system_events(&self) -> SystemEvents {
        self.core.events.subscribe()
    }

    /// What became of a transaction, as far as this node may say. "Unknown" may become known later: when this node has asked
    /// the others ([`Node::ask_outcome`]), and when the members have agreed to go on without one that is gone. Outcomes are known for
    /// ten minutes.
    pub fn outcome(&self, txid: TxId) -> Outcome {
        self.core.outcome(txid)
    }

    /// Asks the other members about a transaction whose outcome is unknown here; the answer, if there is one, is an event
    /// of [`Node::system_events`] and then known to [`Node::outcome`].
    pub fn ask_outcome(&self, txid: TxId) {
        self.core.event(|core, now, out| core.replica.ask(now, txid, out));
    }

    /// The name of a member, if it is one.
    pub fn member_name(&self, node: NodeId) -> Option<&str> {
        self.core.member(node).map(|member| &*member.name)
    }

    /// Where the node and its cluster stand. For people and dashboards, not for hot paths.
    pub fn status(&self) -> Status {
        survey::status(&self.core)
    }

    /// Waits until these tables exist and are loaded here (all that exist, when none are named). A member loads one table after the
    /// other, and serves each as soon as it is loaded. An embedded node is ready at once.
    ///
    /// # Errors
    /// [`Error::NotReady`] or [`Error::Unavailable`] with what is missing when the time is over; [`Error::NoSuchTable`] for one
    /// that does not exist then.
    pub fn wait_for_tables(&self, names: &[&str], timeout: Duration) -> Result<()> {
        let deadline = deadline_in(timeout);
        loop {
            let ready = if names.is_empty() { self.core.check_ready() } else { self.core.check_lease() };
            let missing = match ready {
                Ok(()) => match names.iter().find_map(|name| self.missing(name)) {
                    None => return Ok(()),
                    Some(missing) => missing,
                },
                Err(Error::NotReady { waits_for }) => Error::NotReady { waits_for },
                Err(other) => return Err(other),
            };
            if Instant::now() >= deadline {
                return Err(missing);
            }
            Answer::<()>::new().wait((Instant::now() + crate::limits::TICK).min(deadline));
        }
    }

    /// What keeps a table from being read here.
    fn missing(&self, name: &str) -> Option<Error> {
        match self.core.store.table_named(name) {
            None => Some(Error::NoSuchTable { name: name.to_owned() }),
            Some(open) if self.core.has_copy(open.def()) => self.core.check_served(open.def()).err(),
            Some(_) => None,
        }
    }

    /// Waits until this node serves and every member that is not drained is connected and serves too, so that writes are not refused for a
    /// member that is still coming up. An embedded node is ready at once.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Unavailable`] with a member that is missing when the time is over.
    pub fn wait_for_members(&self, timeout: Duration) -> Result<()> {
        let deadline = deadline_in(timeout);
        loop {
            self.core.check_open()?;
            let missing = match self.core.check_ready() {
                Ok(()) => {
                    let missing =
                        |member: &MemberStatus| !(member.draining || member.connected && member.ready);
                    match self.status().members.into_iter().find(missing) {
                        None => return Ok(()),
                        Some(MemberStatus { name, connected: false, .. }) => {
                            Error::Unavailable { member: name, why: "is not connected".into() }
                        }
                        Some(member) => {
                            Error::Unavailable { member: member.name, why: "is loading its tables".into() }
                        }
                    }
                }
                Err(waiting) => waiting,
            };
            if Instant::now() >= deadline {
                return Err(missing);
            }
            Answer::<()>::new().wait((Instant::now() + crate::limits::TICK).min(deadline));
        }
    }
}
