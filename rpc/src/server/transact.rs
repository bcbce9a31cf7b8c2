//! One-shot transactions. The request is checked and encoded once, outside the transaction, which may run several times.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hypermnesia::{
    AsyncTransaction, DynTable, Node, Outcome, RequestId, Timestamp, TxId, TxOptions, Type, Value, ValueRef,
    Versioned,
};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::change::Change;
use super::convert;
use super::deadline::Deadline;
use super::door::{Door, check_items, found};
use crate::errors::{Error, ErrorKind};
use crate::limits::{REQUEST_ID_BYTES_MAX, TIMEOUT_DEFAULT};
use crate::proto::transactions_server::Transactions;
use crate::proto::{self, Comparison, TransactRequest, TransactResponse, condition};

#[tonic::async_trait]
impl Transactions for Services {
    type InteractStream = super::interactive::Answers;

    async fn transact(
        &self,
        request: Request<TransactRequest>,
    ) -> Result<Response<TransactResponse>, Status> {
        let by = Deadline::of(request.metadata());
        Ok(Response::new(self.door.transact(request.into_inner(), by).await?))
    }

    async fn interact(
        &self,
        request: Request<Streaming<proto::InteractRequest>>,
    ) -> Result<Response<Self::InteractStream>, Status> {
        let by = Deadline::of(request.metadata());
        Ok(Response::new(super::interactive::run(&self.door, request.into_inner(), by)))
    }
}

/// What must hold.
pub(super) struct Condition {
    table: DynTable,
    key: Vec<Value>,
    test: Test,
}

enum Test {
    Exists(bool),
    Equals(Vec<Value>),
    Attribute { position: usize, comparison: Comparison, value: Value },
    Version(Timestamp),
}

/// A whole transaction, checked: conditions, then reads, then changes.
pub(super) struct Plan {
    pub(super) conditions: Vec<Condition>,
    pub(super) reads: Vec<(DynTable, Vec<Value>)>,
    pub(super) changes: Vec<Change>,
    pub(super) options: TxOptions,
}

/// The run of a transaction that was begun last: the one that was committed, if any was.
#[derive(Default)]
pub(super) struct LastRun(Mutex<Option<TxId>>);

impl LastRun {
    pub(super) fn is(&self, tx: &AsyncTransaction) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tx.id());
    }

    /// 0 where it has written nothing.
    pub(super) fn committed_at(&self, node: &Node) -> u64 {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|id| node.outcome(id)) {
            Some(Outcome::Committed(at)) => at.0,
            _ => 0,
        }
    }
}

impl Door {
    pub(super) async fn transact(
        self: &Arc<Door>,
        request: TransactRequest,
        by: Deadline,
    ) -> Result<TransactResponse, Error> {
        let by = by.named(request.options.as_ref().map_or(0, |options| options.timeout_ms));
        self.loaded(by).await?;
        if request.options.as_ref().is_none_or(|options| options.request_id.is_empty()) {
            return self.run(self.plan(request, by)?).await;
        }
        self.transact_once(request, by).await
    }

    /// A transaction with a request id, which is committed with the work: a caller that goes away or asks another member next
    /// is answered with what became of it.
    async fn transact_once(&self, request: TransactRequest, by: Deadline) -> Result<TransactResponse, Error> {
        let (id, last_run) = (request_id(&request)?, LastRun::default());
        let wanted = request.options.clone().unwrap_or_default();
        let program = |tx: AsyncTransaction| {
            last_run.is(&tx);
            // Checked behind the look at the id: what was done before is told, also when its tables are gone.
            let plan = self.plan(request.clone(), by);
            async move { Ok::<_, Error>(plan?.run(&tx).await?.encode_to_vec()) }
        };
        let options = options(wanted, by.time(TIMEOUT_DEFAULT));
        let done = self.node.try_transaction_once_async(&id, &options, program).await?;
        let mut response = TransactResponse::decode(&*done.answer)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("the remembered answer: {error}")))?;
        if response.applied && !request.writes.is_empty() {
            // The answer is older than its commit, so it does not tell it.
            response.committed_at = done.earlier.map_or_else(|| last_run.committed_at(&self.node), |at| at.0);
        }
        Ok(response)
    }

    /// Runs a plan as a transaction, several times if others are in the way.
    pub(super) async fn run(&self, plan: Plan) -> Result<TransactResponse, Error> {
        let (plan, last_run) = (Arc::new(plan), LastRun::default());
        let options = plan.options.clone();
        let program = |tx: AsyncTransaction| {
            last_run.is(&tx);
            let plan = Arc::clone(&plan);
            async move { plan.run(&tx).await }
        };
        let mut response = self.node.try_transaction_async(&options, program).await?;
        if response.applied && !plan.changes.is_empty() {
            response.committed_at = last_run.committed_at(&self.node);
        }
        Ok(response)
    }

    fn plan(&self, request: TransactRequest, by: Deadline) -> Result<Plan, Error> {
        check_items(request.conditions.len(), "conditions")?;
        check_items(request.reads.len(), "reads")?;
        check_items(request.writes.len(), "writes")?;
        let conditions = request.conditions.into_iter().enumerate();
        let reads = request.reads.into_iter().enumerate();
        let writes = request.writes.into_iter().enumerate();
        Ok(Plan {
            conditions: conditions
                .map(|(n, condition)| self.condition(condition, n))
                .collect::<Result<_, _>>()?,
            reads: reads
                .map(|(n, read)| self.read(read, &format!("reads[{n}]")))
                .collect::<Result<_, _>>()?,
            changes: writes
                .map(|(n, write)| self.change(write, &format!("writes[{n}]")))
                .collect::<Result<_, _>>()?,
            options: options(request.options.unwrap_or_default(), by.time(TIMEOUT_DEFAULT)),
        })
    }

    fn condition(&self, condition: proto::Condition, n: usize) -> Result<Condition, Error> {
        let path = format!("conditions[{n}]");
        let table = self.table(&condition.table)?;
        let key = self.checked_key(&table, condition.key, &format!("{path}.key"))?;
        let test = match condition
            .test
            .ok_or_else(|| Error::invalid(format!("{path}.test"), "is required"))?
        {
            condition::Test::Exists(exists) => Test::Exists(exists),
            condition::Test::Equals(row) => {
                Test::Equals(self.checked_row(&table, Some(row), &format!("{path}.equals"))?)
            }
            condition::Test::Attribute(test) => attribute_test(&table, test, &format!("{path}.attribute"))?,
            condition::Test::Version(version) => Test::Version(Timestamp(version)),
        };
        Ok(Condition { table, key, test })
    }

    /// A read with its table and key.
    pub(super) fn read(&self, read: proto::Read, path: &str) -> Result<(DynTable, Vec<Value>), Error> {
        let table = self.table(&read.table)?;
        let key = self.checked_key(&table, read.key, &format!("{path}.key"))?;
        Ok((table, key))
    }

    pub(super) fn checked_key(
        &self,
        table: &DynTable,
        key: Option<proto::Key>,
        path: &str,
    ) -> Result<Vec<Value>, Error> {
        let key = convert::key(key, path)?;
        table.definition()?.encode_key(&key).map_err(|error| Error::invalid(path, error))?;
        Ok(key)
    }

    pub(super) fn checked_row(
        &self,
        table: &DynTable,
        row: Option<proto::Row>,
        path: &str,
    ) -> Result<Vec<Value>, Error> {
        let row = convert::row(row, path)?;
        let stored = table.definition()?.encode_row(&row).map_err(|error| Error::invalid(path, error))?;
        // As it will be stored: an int in an attribute of type float has become a float.
        Ok(stored.to_values())
    }
}

impl Plan {
    /// One that does nothing yet, and ends by then.
    pub(super) fn new(by: Deadline) -> Plan {
        Plan { conditions: Vec::new(), reads: Vec::new(), changes: Vec::new(), options: by.options() }
    }

    async fn run(&self, tx: &AsyncTransaction) -> Result<TransactResponse, Error> {
        let mut failed = None;
        for (n, condition) in self.conditions.iter().enumerate() {
            if !condition.holds(tx).await? {
                failed = Some(n);
                break;
            }
        }
        let mut reads = Vec::with_capacity(self.reads.len());
        for (table, key) in &self.reads {
            let seen = tx.read_versioned(table, key).await?;
            reads.push(found(&seen.row, seen.version));
        }
        let mut results = Vec::new();
        for change in self.changes.iter().filter(|_| failed.is_none()) {
            results.push(change.make(tx).await?);
        }
        let failed_condition = failed.unwrap_or_default() as u32;
        Ok(TransactResponse { applied: failed.is_none(), failed_condition, reads, committed_at: 0, results })
    }
}

impl Condition {
    async fn holds(&self, tx: &AsyncTransaction) -> Result<bool, Error> {
        let Versioned { row: rows, version } = tx.read_versioned(&self.table, &self.key).await?;
        Ok(match &self.test {
            Test::Version(wanted) => !rows.is_empty() && version == *wanted && version != Timestamp::NEVER,
            Test::Exists(exists) => rows.is_empty() != *exists,
            Test::Equals(row) => rows.contains(row),
            Test::Attribute { position, comparison, value } => match rows.as_slice() {
                [row] => compares(&row[*position], *comparison, value),
                _ => false,
            },
        })
    }
}

/// The id of a request, with what it asks for. How long it may take is no part of that.
fn request_id(request: &TransactRequest) -> Result<RequestId, Error> {
    let id = request.options.as_ref().map_or("", |options| &options.request_id);
    if id.len() > REQUEST_ID_BYTES_MAX {
        let message = format!("longer than {REQUEST_ID_BYTES_MAX} bytes");
        return Err(Error::invalid("options.request_id", message));
    }
    let asked = TransactRequest { options: None, ..request.clone() };
    Ok(RequestId::new(id).asking(&asked.encode_to_vec()))
}

/// The engine's options for those of a request, which may take so long.
pub(super) fn options(options: proto::TransactionOptions, time: Duration) -> TxOptions {
    let mut wanted = TxOptions::new().deadline(time);
    if options.sync {
        wanted = wanted.sync();
    }
    if options.retries > 0 {
        wanted = wanted.retries(options.retries);
    }
    wanted
}

fn attribute_test(table: &DynTable, test: proto::AttributeTest, path: &str) -> Result<Test, Error> {
    let missing =
        || Error::invalid(format!("{path}.attribute"), format!("no attribute {:?}", test.attribute));
    let position = table.definition()?.position(&test.attribute).ok_or_else(missing)?;
    let comparison = test.comparison();
    if comparison == Comparison::Unspecified {
        return Err(Error::invalid(format!("{path}.comparison"), "is required"));
    }
    let value = convert::values(test.value.into_iter().collect(), &format!("{path}.value"))?.pop();
    let value = value.ok_or_else(|| Error::invalid(format!("{path}.value"), "is required"))?;
    Ok(Test::Attribute { position, comparison, value })
}

/// An int and a float that are worth the same; the order of values keeps them apart.
fn same_number(a: &Value, b: &Value) -> bool {
    let float = |value: &Value| match Type::Float.admit(value.as_ref()) {
        Some(ValueRef::Float(x)) => Some(x),
        _ => None,
    };
    float(a).is_some_and(|a| float(b) == Some(a))
}

fn compares(found: &Value, comparison: Comparison, value: &Value) -> bool {
    let order = if same_number(found, value) { Ordering::Equal } else { found.cmp(value) };
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
        Comparison::Unspecified => false,
    }
}
