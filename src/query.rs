//! SQL over this node: reads run on one snapshot, writes as one transaction, changes of the schema as what they are. The
//! language, its plans and its bounds are the room `query`'s; here is only where its rows come from.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use hypermnesia_query::{
    Access, Column, CreateTable, Direction, Error as Stop, Late, Limits, Rows, SchemaChange, Sink, Statement,
    StatementKind, Visit,
};
use hypermnesia_store::work::Op;
use hypermnesia_store::{
    Body, IndexDef, Key, KeyRange, NodeId, Row, Storage, Table as Open, TableBuilder, TableDef, Value,
};

use crate::alter;
use crate::core::Core;
use crate::decision::timed;
use crate::error::{Error, Result};
use crate::limits::{DEADLINE_DEFAULT, SCHEMA_DEADLINE_DEFAULT};
use crate::options::{Lifetime, Span, TxOptions, Walk};
use crate::schema;
use crate::snapshot::{Again, Snapshot};
use crate::transaction::{self, Transaction};
use crate::vouch::passes;

/// The result of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResult {
    /// What the columns are; empty for a statement that gives no rows.
    pub columns: Vec<Column>,
    /// The rows, in order.
    pub rows: Vec<Vec<Value>>,
    /// Rows given, inserted, updated or deleted.
    pub count: u64,
}

/// Runs a statement; rows go to the sink one at a time. Without options each kind of statement has its own default.
pub(crate) fn run(
    core: &Arc<Core>,
    sql: &str,
    parameters: &[Value],
    options: Option<&TxOptions>,
    sink: &mut dyn Sink,
) -> Result<u64> {
    let statement = Statement::parse(sql)?;
    let within = |default| options.map_or(default, |options| options.deadline);
    match statement.kind() {
        StatementKind::Read => {
            let (mut late, mut again) = (Late::new(sink), Again::default());
            loop {
                let read = match read_here(core, &statement, parameters, within(DEADLINE_DEFAULT), &mut late)
                {
                    Err(Error::NoCopy { .. } | Error::Unavailable { .. }) if late.begin_anew() => {
                        let options = options.cloned().unwrap_or_default();
                        read_agreed(core, &statement, parameters, &options, &mut late)
                    }
                    read => read,
                };
                match read {
                    // A definition changed in the middle, or a copy came or went.
                    Err(error) if passes(&error) && late.begin_anew() && again.pause() => {}
                    Err(error) => return Err(error),
                    Ok(rows) => {
                        late.finish();
                        return Ok(rows);
                    }
                }
            }
        }
        StatementKind::Write => {
            let options = options.cloned().unwrap_or_default();
            transaction::run(core, &options, |tx| execute(tx, &statement, parameters, &mut Rows::default()))
        }
        StatementKind::Schema => {
            let time = within(SCHEMA_DEADLINE_DEFAULT);
            let done = match statement.schema_change() {
                Some(change) => change_schema(core, change, time),
                None => alter::by_statement(core, &statement, time),
            };
            done.map(|()| 0)
        }
    }
}

/// Reads at a snapshot of this node.
fn read_here(
    core: &Arc<Core>,
    statement: &Statement,
    parameters: &[Value],
    time: Duration,
    late: &mut Late<'_>,
) -> Result<u64> {
    let snapshot = Snapshot::take_within(core, time)?;
    let reading = Reading { snapshot: &snapshot };
    let outcome = statement.execute(&reading, parameters, Limits::default(), late);
    outcome.map(|outcome| outcome.rows).map_err(told)
}

/// Reads tables without a whole copy here: in a transaction, which asks others for their rows. They are held until all are known to
/// be of one state.
fn read_agreed(
    core: &Arc<Core>,
    statement: &Statement,
    parameters: &[Value],
    options: &TxOptions,
    late: &mut Late<'_>,
) -> Result<u64> {
    let read = transaction::run(core, options, |tx| {
        let mut rows = Rows::default();
        execute(tx, statement, parameters, &mut rows).map(|count| (rows, count))
    });
    let (rows, count) = read?;
    late.columns(&rows.columns);
    let _ = rows.rows.into_iter().try_for_each(|row| late.row(row));
    Ok(count)
}

/// Runs a statement and holds its result.
pub(crate) fn collect(core: &Arc<Core>, sql: &str, parameters: &[Value]) -> Result<QueryResult> {
    let mut rows = Rows::default();
    let count = run(core, sql, parameters, None, &mut rows)?;
    Ok(QueryResult { columns: rows.columns, rows: rows.rows, count })
}

/// Runs a statement inside a transaction.
pub(crate) fn execute(
    tx: &mut Transaction,
    statement: &Statement,
    parameters: &[Value],
    sink: &mut dyn Sink,
) -> Result<u64> {
    let writing = Writing { core: Arc::clone(&tx.attempt.core), tx: RefCell::new(tx) };
    Ok(statement.execute(&writing, parameters, Limits::default(), sink).map_err(told)?.rows)
}

fn told(stop: Stop<Error>) -> Error {
    match stop {
        Stop::Query(error) => Error::Query(error),
        Stop::Access(error) => error,
    }
}

fn change_schema(core: &Arc<Core>, change: &SchemaChange, time: Duration) -> Result<()> {
    let pass = |result: Result<()>, ignore: bool, expected: fn(&Error) -> bool| match result {
        Err(error) if ignore && expected(&error) => Ok(()),
        other => other,
    };
    match change {
        SchemaChange::CreateTable(table) => {
            let created = definition(core, table).and_then(|def| schema::create(core, def, time)).map(drop);
            pass(created, table.if_not_exists, |error| matches!(error, Error::TableExists { .. }))
        }
        SchemaChange::DropTable { name, if_exists } => {
            let dropped = schema::drop_table(core, name, time);
            pass(dropped, *if_exists, |error| matches!(error, Error::NoSuchTable { .. }))
        }
        SchemaChange::CreateIndex(create) => {
            let attributes: Vec<&str> = create.index.attributes.iter().map(String::as_str).collect();
            let hypermnesia_query::NewIndex { name, unique, multi, .. } = &create.index;
            let index = schema::NewIndex { name, attributes: &attributes, unique: *unique, multi: *multi };
            let added = schema::add_index(core, &create.table, &index, time);
            pass(added, create.if_not_exists, |error| matches!(error, Error::IndexExists { .. }))
        }
        SchemaChange::DropIndex { name, table, if_exists } => {
            let dropped = table_of_index(core, table.as_deref(), name)
                .and_then(|table| schema::drop_index(core, &table, name, time));
            pass(dropped, *if_exists, |error| matches!(error, Error::NoSuchIndex { .. }))
        }
    }
}

fn table_of_index(core: &Core, table: Option<&str>, index: &str) -> Result<String> {
    if let Some(table) = table {
        return Ok(table.to_owned());
    }
    let tables = core.store.tables();
    let mut having = tables
        .iter()
        .map(|table| table.def())
        .filter(|def| !def.is_system() && def.index_named(index).is_some());
    match (having.next(), having.next()) {
        (Some(only), None) => Ok(only.name.clone()),
        (Some(_), Some(_)) => {
            Err(Error::Config(format!("several tables have an index {index:?}: say ON table")))
        }
        (None, _) => Err(Error::NoSuchIndex { table: String::new(), index: index.to_owned() }),
    }
}

fn definition(core: &Core, table: &CreateTable) -> Result<TableDef> {
    let mut builder = TableDef::builder(&table.name).kind(table.kind).key(&table.key);
    for attribute in &table.attributes {
        builder = match attribute.nullable {
            true => builder.nullable(&attribute.name, attribute.ty),
            false => builder.attribute(&attribute.name, attribute.ty),
        };
    }
    for index in &table.indexes {
        builder = match index.unique {
            true => builder.unique_index(&index.name, &index.attributes),
            false => builder.index(&index.name, &index.attributes),
        };
    }
    for attribute in &table.attributes {
        if let Some(value) = &attribute.default {
            builder = builder.default(&attribute.name, value.clone());
        }
    }
    builder = retained(builder, table);
    if let Some(ack) = table.ack {
        builder = builder.ack(ack);
    }
    let storage = table.storage.unwrap_or(Storage::Ram);
    let nodes: Vec<NodeId> = match &table.copies {
        None => core.members().map(|member| member.node).collect(),
        Some(names) => names.iter().map(|name| member(core, name)).collect::<Result<_>>()?,
    };
    for node in nodes {
        builder = builder.copy(node, storage);
    }
    Ok(builder.build()?)
}

/// How long its rows stay, how many there may be, and whose they are.
fn retained(mut builder: TableBuilder, table: &CreateTable) -> TableBuilder {
    builder = table.ttl.into_iter().fold(builder, TableBuilder::ttl);
    builder = table.max_idle.into_iter().fold(builder, TableBuilder::max_idle);
    builder = table.rows_max.into_iter().fold(builder, TableBuilder::rows_max);
    builder = table.bytes_max.into_iter().fold(builder, TableBuilder::bytes_max);
    builder = if table.evict { builder.evict() } else { builder };
    builder = if table.local { builder.local() } else { builder };
    if table.duplicates { builder.duplicates() } else { builder }
}

fn member(core: &Core, name: &str) -> Result<NodeId> {
    let known = core.members().find(|member| member.name == name);
    known.map(|member| member.node).ok_or_else(|| Error::Config(format!("there is no member {name:?}")))
}

/// The table of a definition that the planner looked at, if it is still that one.
fn same(core: &Core, def: &TableDef) -> Result<Arc<Open>> {
    let open = core.store.table(def.id).filter(|open| open.def().version == def.version);
    open.ok_or_else(|| Error::SchemaChanged { table: def.name.clone() })
}

fn span(range: &KeyRange, direction: Direction) -> Span {
    let mut span = Span::of(range.clone());
    span.walk = match direction {
        Direction::Forward => Walk::Forward,
        Direction::Backward => Walk::Backward,
    };
    span
}

fn show(rows: &[Row], visit: &mut Visit<'_>) -> ControlFlow<()> {
    rows.iter().try_for_each(visit)
}

fn named(core: &Core, name: &str) -> Option<Arc<TableDef>> {
    core.store.table_named(name).map(|open| Arc::new(open.def().clone()))
}

/// The tables that are not the system's.
pub(crate) fn all(core: &Core) -> Vec<Arc<TableDef>> {
    let tables = core.store.tables();
    tables.iter().filter(|open| !open.def().is_system()).map(|open| Arc::new(open.def().clone())).collect()
}

fn rows_in(core: &Core, def: &TableDef) -> u64 {
    core.store.table(def.id).map_or(0, |open| open.len())
}

/// Rows of a snapshot.
struct Reading<'s> {
    snapshot: &'s Snapshot,
}

impl Access for Reading<'_> {
    type Error = Error;

    fn table(&self, name: &str) -> Result<Option<Arc<TableDef>>> {
        Ok(named(&self.snapshot.core, name))
    }

    fn tables(&self) -> Result<Vec<Arc<TableDef>>> {
        Ok(all(&self.snapshot.core))
    }

    fn row_count(&self, table: &TableDef) -> u64 {
        rows_in(&self.snapshot.core, table)
    }

    fn get(&self, table: &TableDef, key: &Key, visit: &mut Visit<'_>) -> Result<()> {
        let body = self.snapshot.body(&*same(&self.snapshot.core, table)?, key)?;
        let _ = show(body.as_ref().map_or(&[][..], Body::rows), visit);
        Ok(())
    }

    fn scan(
        &self,
        table: &TableDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let open = same(&self.snapshot.core, table)?;
        self.snapshot.visit(&open, &span(range, direction), |_, body| show(body.rows(), visit))
    }

    fn index_scan(
        &self,
        table: &TableDef,
        index: &IndexDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let open = same(&self.snapshot.core, table)?;
        self.snapshot.visit_index(&open, index, &span(range, direction), |_, body| show(body.rows(), visit))
    }

    fn put(&self, table: &TableDef, _key: &Key, _row: Row) -> Result<()> {
        Err(read_only(table))
    }

    fn delete(&self, table: &TableDef, _key: &Key) -> Result<()> {
        Err(read_only(table))
    }

    fn delete_row(&self, table: &TableDef, _key: &Key, _row: &Row) -> Result<()> {
        Err(read_only(table))
    }
}

/// The planner never writes through a read; this is what it would hear.
fn read_only(table: &TableDef) -> Error {
    Error::abort(format!("a snapshot of table {:?} cannot be written", table.name))
}

/// Rows of a transaction, own writes included. Rows are gathered before they are shown, because a visitor may look up more.
struct Writing<'t> {
    core: Arc<Core>,
    tx: RefCell<&'t mut Transaction>,
}

impl Writing<'_> {
    fn write(&self, table: &TableDef, key: &Key, op: Op) -> Result<()> {
        let open = same(&self.core, table)?;
        self.tx.borrow_mut().step(|attempt, _| attempt.write(&open, key.clone(), op.clone()))
    }
}

impl Access for Writing<'_> {
    type Error = Error;

    fn table(&self, name: &str) -> Result<Option<Arc<TableDef>>> {
        Ok(named(&self.core, name))
    }

    fn tables(&self) -> Result<Vec<Arc<TableDef>>> {
        Ok(all(&self.core))
    }

    fn row_count(&self, table: &TableDef) -> u64 {
        rows_in(&self.core, table)
    }

    fn get(&self, table: &TableDef, key: &Key, visit: &mut Visit<'_>) -> Result<()> {
        let open = same(&self.core, table)?;
        let body = self.tx.borrow_mut().step(|attempt, waker| attempt.read(&open, key, None, waker))?;
        let _ = show(body.as_ref().map_or(&[][..], Body::rows), visit);
        Ok(())
    }

    fn scan(
        &self,
        table: &TableDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let open = same(&self.core, table)?;
        let span = span(range, direction);
        let found = self.tx.borrow_mut().step(|attempt, waker| attempt.scan(&open, &span, waker))?;
        let _ = found.iter().try_for_each(|(_, body)| show(body.rows(), visit));
        Ok(())
    }

    fn index_scan(
        &self,
        table: &TableDef,
        index: &IndexDef,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let open = same(&self.core, table)?;
        let span = span(range, direction);
        let found =
            self.tx.borrow_mut().step(|attempt, waker| attempt.index_scan(&open, index, &span, waker))?;
        let _ = found.iter().try_for_each(|(_, row)| visit(row));
        Ok(())
    }

    fn put(&self, table: &TableDef, key: &Key, row: Row) -> Result<()> {
        let row = timed(table, row, Lifetime::OfTable)?;
        self.write(table, key, Op::Put(row))
    }

    fn replace(&self, table: &TableDef, key: &Key, row: Row) -> Result<()> {
        self.write(table, key, Op::Put(row))
    }

    fn delete(&self, table: &TableDef, key: &Key) -> Result<()> {
        self.write(table, key, Op::Delete)
    }

    fn delete_row(&self, table: &TableDef, key: &Key, row: &Row) -> Result<()> {
        self.write(table, key, Op::BagRemove(row.clone()))
    }
}
