//! The service `Patterns`, and its steps inside interactive transactions. A selection streams from a thread that walks a
//! snapshot, as a scan does; counts and changes have a thread too, since they may look at a whole table.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use hypermnesia::limits::DEADLINE_DEFAULT;
use hypermnesia::{AsyncTransaction, DynTable, Filter, Pattern, TableDef, Transaction, Value};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::deadline::Deadline;
use super::door::{Door, found};
use super::outlet::Outlet;
use super::scan::Batch;
use super::{Services, convert};
use crate::errors::{Error, ErrorKind};
use crate::limits::{AGE_MAX, QUERY_TIMEOUT_DEFAULT, TIMEOUT_MAX};
use crate::proto::patterns_server::Patterns;
use crate::proto::{
    self, DeleteMatchingRequest, ExplainResponse, GetResponse, MatchRequest, MatchResponse, NeighbourRequest,
    ScanResponse, SelectRequest, UpdateMatchingRequest, filter::Test,
};

type Selected = Pin<Box<dyn Stream<Item = Result<ScanResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Patterns for Services {
    type SelectStream = Selected;

    async fn select(&self, request: Request<SelectRequest>) -> Result<Response<Selected>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(Box::pin(self.door.select(request, by).await?)))
    }

    async fn count(&self, request: Request<MatchRequest>) -> Result<Response<MatchResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.count_matching(request, by).await?))
    }

    async fn delete_matching(
        &self,
        request: Request<DeleteMatchingRequest>,
    ) -> Result<Response<MatchResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.delete_matching(request, by).await?))
    }

    async fn update_matching(
        &self,
        request: Request<UpdateMatchingRequest>,
    ) -> Result<Response<MatchResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        Ok(Response::new(self.door.update_matching(request, by).await?))
    }

    async fn explain(&self, request: Request<MatchRequest>) -> Result<Response<ExplainResponse>, Status> {
        let (request, _) = self.admit(request).await?;
        let meant = self.door.meant(request.pattern)?;
        let path = meant.table.explain(&meant.pattern).map_err(Error::from)?;
        Ok(Response::new(ExplainResponse { path }))
    }

    async fn neighbour(&self, request: Request<NeighbourRequest>) -> Result<Response<GetResponse>, Status> {
        let (request, by) = self.admit(request).await?;
        let beside = Arc::new(self.door.beside(request)?);
        let program = |tx: AsyncTransaction| {
            let beside = Arc::clone(&beside);
            async move { beside.find(&tx).await }
        };
        Ok(Response::new(self.door.node.try_transaction_async(&by.options(), program).await?))
    }
}

/// A pattern with its table.
#[derive(Clone)]
pub(super) struct Meant {
    table: DynTable,
    pattern: Pattern,
}

/// A change of the rows of a pattern.
pub(super) struct Changes {
    meant: Meant,
    /// None: the rows are deleted.
    set: Option<Vec<(String, Value)>>,
}

/// A row beside a key, or at an end.
pub(super) struct Beside {
    table: DynTable,
    place: proto::Place,
    key: Vec<Value>,
}

impl Door {
    /// A pattern of a request, checked as far as that goes without its table.
    fn meant(&self, pattern: Option<proto::Pattern>) -> Result<Meant, Error> {
        let asked = pattern.ok_or_else(|| Error::invalid("pattern", "is required"))?;
        let filter = asked
            .filter
            .map_or_else(|| Ok(Filter::everything()), |filter| filter_of(filter, "pattern.filter"))?;
        let mut pattern = Pattern::of(filter);
        pattern = match convert::known(asked.along, "pattern.along")? {
            proto::Along::Unspecified if asked.index.is_empty() => pattern,
            proto::Along::Unspecified | proto::Along::Key if !asked.index.is_empty() => {
                return Err(Error::invalid("pattern.index", "is for along index"));
            }
            proto::Along::Index => pattern.along_index(asked.index),
            proto::Along::Key | proto::Along::Unspecified => pattern.in_key_order(),
        };
        if convert::known::<proto::Direction>(asked.direction, "pattern.direction")?
            == proto::Direction::Descending
        {
            pattern = pattern.backward();
        }
        if asked.limit > 0 {
            pattern = pattern.limit(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        }
        let table = self.table(&asked.table)?;
        // What does not fit the table is told at once, not by a stream or after waiting for a place.
        table.explain(&pattern)?;
        Ok(Meant { table, pattern })
    }

    async fn select(
        self: &Arc<Door>,
        request: SelectRequest,
        by: Deadline,
    ) -> Result<impl Stream<Item = Result<ScanResponse, Status>> + Send + use<>, Error> {
        let meant = self.meant(request.pattern)?;
        let positions = positions(&meant.table.definition()?, &request.attributes)?;
        let place = self.places.thread(by).await?;
        let (outlet, messages) = Outlet::open();
        let door = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let (began, closed) = (Instant::now(), outlet.watcher());
            // Looked at also while no row is meant, and so none is sent.
            let over = || began.elapsed() >= AGE_MAX;
            let mut batch = Batch::new(outlet, |rows| ScanResponse { rows });
            let mut show = |row: &hypermnesia::Row| -> ControlFlow<()> {
                batch.push(match &positions {
                    Some(positions) => convert::projected_message(row, positions),
                    None => convert::row_message(row),
                })
            };
            let stop = || over() || closed.is_closed();
            let snapshot = door.node.snapshot_within(by.time(DEADLINE_DEFAULT));
            let result = snapshot.and_then(|snapshot| {
                snapshot.each_matching_unless(&meant.table, &meant.pattern, stop, &mut show)
            });
            let result = result.map_err(Error::from).and_then(|()| match over() {
                true => Err(Error::new(ErrorKind::Expired, "the stream was open for too long")),
                false => Ok(()),
            });
            batch.finish(result);
            drop(place);
        });
        Ok(ReceiverStream::new(messages))
    }

    async fn count_matching(&self, request: MatchRequest, by: Deadline) -> Result<MatchResponse, Error> {
        let meant = self.meant(request.pattern)?;
        let node = self.node.clone();
        let count = move || {
            let until = Instant::now() + by.time(QUERY_TIMEOUT_DEFAULT);
            let snapshot = node.snapshot_within(by.time(DEADLINE_DEFAULT))?;
            let (stop, mut count) = (|| Instant::now() >= until, 0);
            snapshot.each_matching_unless(&meant.table, &meant.pattern, stop, |_| {
                count += 1;
                ControlFlow::Continue(())
            })?;
            if stop() { Err(hypermnesia::Error::DeadlineExceeded) } else { Ok(count) }
        };
        self.apart(by, count).await
    }

    async fn delete_matching(
        &self,
        request: DeleteMatchingRequest,
        by: Deadline,
    ) -> Result<MatchResponse, Error> {
        let changes = Changes { meant: self.meant(request.pattern)?, set: None };
        self.change_matching(changes, request.chunk_rows, by).await
    }

    async fn update_matching(
        &self,
        request: UpdateMatchingRequest,
        by: Deadline,
    ) -> Result<MatchResponse, Error> {
        let changes = self.updates(request.pattern, request.changes)?;
        self.change_matching(changes, request.chunk_rows, by).await
    }

    fn updates(
        &self,
        pattern: Option<proto::Pattern>,
        changes: Vec<proto::Assignment>,
    ) -> Result<Changes, Error> {
        let assigned = |(n, change): (usize, proto::Assignment)| {
            let field = format!("changes[{n}].value");
            let value = change.value.ok_or_else(|| Error::invalid(&field, "is required"))?;
            Ok((change.attribute, convert::one_value(value, &field)?))
        };
        let set = changes.into_iter().enumerate().map(assigned).collect::<Result<Vec<_>, Error>>()?;
        Ok(Changes { meant: self.meant(pattern)?, set: Some(set) })
    }

    async fn change_matching(
        &self,
        changes: Changes,
        chunk_rows: u32,
        by: Deadline,
    ) -> Result<MatchResponse, Error> {
        let node = self.node.clone();
        let change = move || match chunk_rows {
            0 => node.transaction_with(&by.options(), |tx| changes.make(tx)),
            rows => changes.make_in_chunks(rows as usize, by),
        };
        self.apart(by, change).await
    }

    /// Work on many rows, on a thread of its own.
    async fn apart(
        &self,
        by: Deadline,
        work: impl FnOnce() -> hypermnesia::Result<u64> + Send + 'static,
    ) -> Result<MatchResponse, Error> {
        let place = self.places.thread(by).await?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        let rows =
            done.await.map_err(|_| Error::new(ErrorKind::Internal, "the work on a pattern failed"))??;
        Ok(MatchResponse { rows })
    }

    fn beside(&self, request: NeighbourRequest) -> Result<Beside, Error> {
        let table = self.table(&request.table)?;
        let place = convert::known(request.place, "place")?;
        let key = match place {
            proto::Place::Unspecified => return Err(Error::invalid("place", "is required")),
            proto::Place::First | proto::Place::Last if request.key.is_some() => {
                return Err(Error::invalid("key", "is for next and previous"));
            }
            proto::Place::First | proto::Place::Last => Vec::new(),
            proto::Place::Next | proto::Place::Previous => self.checked_key(&table, request.key, "key")?,
        };
        Ok(Beside { table, place, key })
    }
}

/// Steps of interactive transactions.
impl Door {
    pub(super) async fn selected_inside(
        &self,
        tx: &AsyncTransaction,
        request: SelectRequest,
    ) -> Result<Vec<Vec<Value>>, Error> {
        let meant = self.meant(request.pattern)?;
        if request.attributes.is_empty() {
            return Ok(tx.matching(&meant.table, meant.pattern).await?);
        }
        positions(&meant.table.definition()?, &request.attributes)?;
        let names: Vec<&str> = request.attributes.iter().map(String::as_str).collect();
        Ok(tx.project(&meant.table, meant.pattern, &names).await?)
    }

    pub(super) async fn counted_inside(
        &self,
        tx: &AsyncTransaction,
        request: MatchRequest,
    ) -> Result<MatchResponse, Error> {
        let meant = self.meant(request.pattern)?;
        Ok(MatchResponse { rows: tx.count_matching(&meant.table, meant.pattern).await? })
    }

    pub(super) async fn deleted_inside(
        &self,
        tx: &AsyncTransaction,
        request: DeleteMatchingRequest,
    ) -> Result<MatchResponse, Error> {
        in_one_piece(request.chunk_rows)?;
        Changes { meant: self.meant(request.pattern)?, set: None }.make_inside(tx).await
    }

    pub(super) async fn updated_inside(
        &self,
        tx: &AsyncTransaction,
        request: UpdateMatchingRequest,
    ) -> Result<MatchResponse, Error> {
        in_one_piece(request.chunk_rows)?;
        self.updates(request.pattern, request.changes)?.make_inside(tx).await
    }

    pub(super) async fn neighbour_inside(
        &self,
        tx: &AsyncTransaction,
        request: NeighbourRequest,
    ) -> Result<GetResponse, Error> {
        self.beside(request)?.find(tx).await
    }
}

impl Changes {
    fn set(&self) -> Option<Vec<(&str, Value)>> {
        let set = self.set.as_ref()?;
        Some(set.iter().map(|(name, value)| (name.as_str(), value.clone())).collect())
    }

    fn make(&self, tx: &mut Transaction) -> hypermnesia::Result<u64> {
        let Meant { table, pattern } = &self.meant;
        match self.set() {
            None => tx.delete_matching(table, pattern),
            Some(set) => tx.update_matching(table, pattern, &set),
        }
    }

    async fn make_inside(&self, tx: &AsyncTransaction) -> Result<MatchResponse, Error> {
        let Meant { table, pattern } = &self.meant;
        let rows = match self.set() {
            None => tx.delete_matching(table, pattern).await?,
            Some(set) => tx.update_matching(table, pattern, &set).await?,
        };
        Ok(MatchResponse { rows })
    }

    fn make_in_chunks(&self, rows: usize, by: Deadline) -> hypermnesia::Result<u64> {
        let (Meant { table, pattern }, time) = (&self.meant, by.time(TIMEOUT_MAX));
        match self.set() {
            None => table.delete_matching_in_chunks_within(pattern, rows, time),
            Some(set) => table.update_matching_in_chunks_within(pattern, &set, rows, time),
        }
    }
}

impl Beside {
    async fn find(&self, tx: &AsyncTransaction) -> Result<GetResponse, Error> {
        let row = match self.place {
            proto::Place::First => tx.first(&self.table).await?,
            proto::Place::Last => tx.last(&self.table).await?,
            proto::Place::Next => tx.next(&self.table, &self.key).await?,
            proto::Place::Previous | proto::Place::Unspecified => tx.prev(&self.table, &self.key).await?,
        };
        let Some(row) = row else { return Ok(GetResponse::default()) };
        let def = self.table.definition()?;
        let key: Vec<Value> = def.key.iter().filter_map(|position| row.get(*position).cloned()).collect();
        let seen = tx.read_versioned(&self.table, &key).await?;
        Ok(found(&seen.row, seen.version))
    }
}

fn in_one_piece(chunk_rows: u32) -> Result<(), Error> {
    if chunk_rows == 0 {
        return Ok(());
    }
    Err(Error::invalid("chunk_rows", "a transaction is one piece"))
}

/// Where the wanted attributes stand; `None` for whole rows.
fn positions(def: &TableDef, attributes: &[String]) -> Result<Option<Vec<usize>>, Error> {
    let position = |(n, name): (usize, &String)| {
        let missing =
            || Error::invalid(format!("attributes[{n}]"), format!("there is no attribute {name:?}"));
        def.position(name).ok_or_else(missing)
    };
    let all = attributes.iter().enumerate().map(position).collect::<Result<Vec<_>, Error>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// A filter of a request. How deep it may be nested is bounded by the decoder.
fn filter_of(filter: proto::Filter, path: &str) -> Result<Filter, Error> {
    let value = |value: Option<proto::Value>, field: &str| {
        let field = format!("{path}.{field}");
        convert::one_value(value.ok_or_else(|| Error::invalid(&field, "is required"))?, &field)
    };
    let compared = |test: proto::AttributeValue, name: &str, make: fn(String, Value) -> Filter| {
        Ok(make(test.attribute, value(test.value, &format!("{name}.value"))?))
    };
    let parts = |filters: proto::Filters, name: &str| {
        let each = filters.filters.into_iter().enumerate();
        each.map(|(n, part)| filter_of(part, &format!("{path}.{name}[{n}]"))).collect::<Result<Vec<_>, _>>()
    };
    match filter.test.ok_or_else(|| Error::invalid(path, "one of its tests is required"))? {
        Test::Equal(test) => compared(test, "equal", Filter::equal),
        Test::NotEqual(test) => compared(test, "not_equal", Filter::not_equal),
        Test::Less(test) => compared(test, "less", Filter::less),
        Test::AtMost(test) => compared(test, "at_most", Filter::at_most),
        Test::Greater(test) => compared(test, "greater", Filter::greater),
        Test::AtLeast(test) => compared(test, "at_least", Filter::at_least),
        Test::Contains(test) => compared(test, "contains", Filter::contains),
        Test::Between(test) => {
            let (low, high) = (value(test.low, "between.low")?, value(test.high, "between.high")?);
            Ok(Filter::between(test.attribute, low, high))
        }
        Test::OneOf(test) => {
            let values = convert::values(test.values, &format!("{path}.one_of.values"))?;
            Ok(Filter::one_of(test.attribute, values))
        }
        Test::Prefix(test) => Ok(Filter::prefix(test.attribute, test.text)),
        Test::IsNull(attribute) => Ok(Filter::is_null(attribute)),
        Test::All(filters) => Ok(Filter::all(parts(filters, "all")?)),
        Test::Any(filters) => Ok(Filter::any(parts(filters, "any")?)),
        Test::Not(inner) => Ok(filter_of(*inner, &format!("{path}.not"))?.not()),
        Test::Sql(sql) => Ok(Filter::sql(
            sql.condition,
            convert::values(sql.parameters, &format!("{path}.sql.parameters"))?,
        )),
    }
}
