//! A whole transaction in one call.

use std::time::Duration;

use super::{Change, Changed, Comparison, Row, Values, values};
use crate::proto::{self, condition::Test};
use crate::{Error, Value};

/// How a transaction is run.
#[derive(Clone, Debug, Default)]
pub struct TransactionOptions(proto::TransactionOptions);

impl TransactionOptions {
    /// The server's defaults: 5 s, answered when all copies have promised the commit.
    pub fn new() -> TransactionOptions {
        TransactionOptions::default()
    }

    /// How long the server may work on it, waiting for others included; at most 60 s.
    pub fn timeout(mut self, timeout: Duration) -> TransactionOptions {
        self.0.timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        self
    }

    /// Answer only when all copies have applied the commit.
    pub fn sync(mut self) -> TransactionOptions {
        self.0.sync = true;
        self
    }

    /// Names this piece of work: sent again under the same name within 10 minutes, to any member, also after restarts, it is
    /// answered with the first outcome and not done twice. One-shot transactions only.
    pub fn request_id(mut self, id: impl Into<String>) -> TransactionOptions {
        self.0.request_id = id.into();
        self
    }

    /// How often a conflict is retried by the server.
    pub fn retries(mut self, retries: u32) -> TransactionOptions {
        self.0.retries = retries;
        self
    }

    pub(super) fn into_message(self) -> proto::TransactionOptions {
        self.0
    }
}

/// A transaction to be run in one call: conditions, reads, writes.
///
/// ```
/// use hypermnesia_rpc::client::{Comparison, Transact};
/// let transfer = Transact::new()
///     .when("accounts", "alice", "balance", Comparison::GreaterOrEqual, 10)
///     .put("accounts", ("alice", 90))
///     .put("accounts", ("bob", 110));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Transact(proto::TransactRequest);

impl Transact {
    /// One that does nothing yet.
    pub fn new() -> Transact {
        Transact::default()
    }

    /// Goes on only if there is a row of this key.
    pub fn when_exists(self, table: impl Into<String>, key: impl Into<Values>) -> Transact {
        self.condition(table.into(), key.into(), Test::Exists(true))
    }

    /// Goes on only if there is no row of this key.
    pub fn when_absent(self, table: impl Into<String>, key: impl Into<Values>) -> Transact {
        self.condition(table.into(), key.into(), Test::Exists(false))
    }

    /// Goes on only if the row of this key equals `row`: compare and swap.
    pub fn when_equals(
        self,
        table: impl Into<String>,
        key: impl Into<Values>,
        row: impl Into<Values>,
    ) -> Transact {
        self.condition(table.into(), key.into(), Test::Equals(row.into().into()))
    }

    /// Goes on only if the rows of this key have this version: nobody has written it since it was read.
    pub fn when_version(self, table: impl Into<String>, key: impl Into<Values>, version: u64) -> Transact {
        self.condition(table.into(), key.into(), Test::Version(version))
    }

    /// Goes on only if an attribute of the row of this key compares so.
    pub fn when(
        self,
        table: impl Into<String>,
        key: impl Into<Values>,
        attribute: impl Into<String>,
        comparison: Comparison,
        value: impl Into<Value>,
    ) -> Transact {
        let value = Some(value.into().into());
        let test = proto::AttributeTest { attribute: attribute.into(), comparison: comparison.into(), value };
        self.condition(table.into(), key.into(), Test::Attribute(test))
    }

    /// Reads a key, before the writes.
    pub fn read(mut self, table: impl Into<String>, key: impl Into<Values>) -> Transact {
        self.0.reads.push(proto::Read { table: table.into(), key: Some(key.into().into()) });
        self
    }

    /// Writes a row.
    pub fn put(self, table: impl Into<String>, row: impl Into<Values>) -> Transact {
        self.change(Change::put(table, row))
    }

    /// Deletes all rows of a key.
    pub fn delete(self, table: impl Into<String>, key: impl Into<Values>) -> Transact {
        self.change(Change::delete(table, key))
    }

    /// Deletes one row of a bag.
    pub fn delete_row(self, table: impl Into<String>, row: impl Into<Values>) -> Transact {
        self.change(Change::delete_row(table, row))
    }

    /// Makes any change.
    pub fn change(mut self, change: Change) -> Transact {
        self.0.writes.push(change.into_message());
        self
    }

    /// How to run it.
    pub fn options(mut self, options: TransactionOptions) -> Transact {
        self.0.options = Some(options.into_message());
        self
    }

    pub(super) fn into_message(self) -> proto::TransactRequest {
        self.0
    }

    fn condition(mut self, table: String, key: Values, test: Test) -> Transact {
        self.0.conditions.push(proto::Condition { table, key: Some(key.into()), test: Some(test) });
        self
    }
}

/// What became of a one-shot transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Transacted {
    /// Position of the first condition that did not hold; then nothing was written.
    pub failed_condition: Option<usize>,
    /// For each read, in order, the rows it found; also when a condition did not hold.
    pub reads: Vec<Vec<Row>>,
    /// For each read, the version of its key; 0 where it has no rows.
    pub versions: Vec<u64>,
    /// For each change, in order, what it did; empty when a condition did not hold.
    pub results: Vec<Changed>,
    /// The commit's timestamp; 0 when nothing was written.
    pub committed_at: u64,
}

impl Transacted {
    /// Whether all conditions held.
    pub fn applied(&self) -> bool {
        self.failed_condition.is_none()
    }

    pub(super) fn from_message(response: proto::TransactResponse) -> Result<Transacted, Error> {
        let versions = response.reads.iter().map(|found| found.version).collect();
        let results: Result<_, _> = response.results.into_iter().map(Changed::from_message).collect();
        let reads: Result<_, _> = response.reads.into_iter().map(|found| values::rows(found.rows)).collect();
        let failed_condition = (!response.applied).then_some(response.failed_condition as usize);
        let (reads, results, committed_at) = (reads?, results?, response.committed_at);
        Ok(Transacted { failed_condition, reads, versions, results, committed_at })
    }
}
