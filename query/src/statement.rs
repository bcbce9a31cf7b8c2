//! A statement: parsed once from text, executed many times. It holds no plan: names are bound and access paths chosen at
//! every execution, for the tables and parameters of that moment, which costs microseconds and is never stale.

use std::sync::Arc;

use hypermnesia_store::{TableDef, Value};

use crate::access::Access;
use crate::alter::{self, Alteration};
use crate::bind::Scope;
use crate::error::{Error, ErrorKind, Fault, QueryError};
use crate::limits::Limits;
use crate::schema::SchemaChange;
use crate::sink::{Column, Sink};
use crate::{execute, explain, parse, syntax, write};

/// What has to stand ready for a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Reads: a snapshot is enough. SELECT, EXPLAIN, SHOW TABLES, DESCRIBE.
    Read,
    /// Writes rows: needs a transaction. INSERT, UPDATE, DELETE.
    Write,
    /// Changes the schema: the caller takes [`Statement::schema_change`], or [`Statement::alteration`] where there is none,
    /// and executes it itself.
    Schema,
}

/// What an execution did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Rows given to the sink by a read, or inserted, updated or deleted by a write.
    pub rows: u64,
}

/// A parsed statement. Cloning it counts a reference; it may be kept and shared between threads.
#[derive(Clone, Debug)]
pub struct Statement(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    text: String,
    statement: syntax::Statement,
    parameters: usize,
}

impl Statement {
    /// Parses one statement, with or without a semicolon behind it.
    ///
    /// # Errors
    /// [`QueryError`] with the place in the text.
    pub fn parse(sql: &str) -> Result<Statement, QueryError> {
        let (statement, parameters) = parse::statement(sql)?;
        Ok(Statement(Arc::new(Parsed { text: sql.to_owned(), statement, parameters })))
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether it reads, writes or changes the schema.
    pub fn kind(&self) -> StatementKind {
        match &self.0.statement {
            syntax::Statement::Insert(_) | syntax::Statement::Update(_) | syntax::Statement::Delete(_) => {
                StatementKind::Write
            }
            syntax::Statement::Schema(_) | syntax::Statement::Alter(_) => StatementKind::Schema,
            _ => StatementKind::Read,
        }
    }

    /// How many parameters it takes: the greatest `$n`, or the number of `?`.
    pub fn parameters(&self) -> usize {
        self.0.parameters
    }

    /// The change it asks for, if its kind is [`StatementKind::Schema`] and it is not ALTER TABLE.
    pub fn schema_change(&self) -> Option<&SchemaChange> {
        match &self.0.statement {
            syntax::Statement::Schema(change) => Some(change),
            _ => None,
        }
    }

    /// What ALTER TABLE makes of its table, which is one of these. `None` when nothing is to be done (IF EXISTS, IF NOT
    /// EXISTS), and for every other statement. Whoever carries it out asks once more under the schema's lock: it is made
    /// for exactly these definitions.
    ///
    /// # Errors
    /// [`QueryError`] for what the table does not have, or cannot become.
    pub fn alteration(&self, tables: &[Arc<TableDef>]) -> Result<Option<Alteration>, QueryError> {
        let syntax::Statement::Alter(asked) = &self.0.statement else { return Ok(None) };
        alter::alteration(asked, tables, self.text()).map_err(|fault| fault.in_text(self.text()))
    }

    /// The columns of its result: none for a write or a change of the schema. Parameters count as of any type.
    ///
    /// # Errors
    /// As [`Statement::execute`].
    pub fn columns<A: Access>(&self, access: &A) -> Result<Vec<Column>, Error<A::Error>> {
        let nulls = vec![Value::Null; self.0.parameters];
        let scope = Scope { access, parameters: &nulls, describe: true };
        let columns = match &self.0.statement {
            syntax::Statement::Select(select) => {
                crate::plan::plan_select(&scope, select).map(|plan| plan.columns())
            }
            syntax::Statement::Explain(_) => Ok(explain::columns()),
            syntax::Statement::ShowTables => Ok(explain::show_columns()),
            syntax::Statement::Describe(_) => Ok(explain::describe_columns()),
            _ => Ok(Vec::new()),
        };
        columns.map_err(|stop| self.error(stop))
    }

    /// Executes it with these values for its parameters. A read calls the sink; a write does not. What the sink is given
    /// before an error is not to be used.
    ///
    /// # Errors
    /// [`Error::Query`] for what is wrong with the statement or the values it meets, also for a statement of kind
    /// [`StatementKind::Schema`]; [`Error::Access`] for what the access refused. A write may have changed rows before it
    /// failed: abort the transaction.
    pub fn execute<A: Access>(
        &self,
        access: &A,
        parameters: &[Value],
        limits: Limits,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error<A::Error>> {
        self.check_parameters(parameters).map_err(|fault| fault.in_text(self.text()))?;
        let scope = Scope { access, parameters, describe: false };
        let rows = match &self.0.statement {
            syntax::Statement::Select(select) => execute::select(&scope, select, limits, sink),
            syntax::Statement::Insert(insert) => write::insert(&scope, insert, limits),
            syntax::Statement::Update(update) => write::update(&scope, update, limits),
            syntax::Statement::Delete(delete) => write::delete(&scope, delete, limits),
            syntax::Statement::Explain(inner) => explain::explain(&scope, inner, sink),
            syntax::Statement::ShowTables => explain::show_tables(&scope, sink),
            syntax::Statement::Describe(name) => explain::describe(&scope, name, sink),
            syntax::Statement::Schema(_) | syntax::Statement::Alter(_) => Err(Stop::Fault(Fault::new(
                ErrorKind::Unsupported,
                crate::error::Span::NONE,
                "a change of the schema cannot run inside a query or a transaction of rows",
            ))),
        };
        rows.map(|rows| Outcome { rows }).map_err(|stop| self.error(stop))
    }

    fn check_parameters(&self, given: &[Value]) -> Result<(), Fault> {
        let wanted = self.0.parameters;
        if given.len() == wanted {
            return Ok(());
        }
        let message = format!("parameters of the statement: {wanted}, given: {}", given.len());
        Err(Fault::new(ErrorKind::Parameters, crate::error::Span::NONE, message))
    }

    fn error<E>(&self, stop: Stop<E>) -> Error<E> {
        match stop {
            Stop::Fault(fault) => Error::Query(fault.in_text(self.text())),
            Stop::Access(error) => Error::Access(error),
        }
    }
}

/// Why work on a statement stops, before the text is put to it.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    Fault(Fault),
    Access(E),
}

impl<E> From<Fault> for Stop<E> {
    fn from(fault: Fault) -> Stop<E> {
        Stop::Fault(fault)
    }
}
