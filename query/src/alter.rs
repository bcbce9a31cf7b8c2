//! ALTER TABLE, worked out against the definition that it changes: what the table becomes, and how a row of before becomes
//! one of after. Whoever has the rows carries it out. All clauses of a statement are one change; their expressions see the
//! row as it was before all of them.

use std::sync::Arc;

use hypermnesia_store::{Attribute, Row, TableDef, Type, Value};

use crate::bind::{Binder, BoundTable, as_moment, no_column, position, table_among};
use crate::error::{ErrorKind, Fault, QueryError, Span};
use crate::eval::{self, Datum, Tuple};
use crate::expression::{Expr, Place};
use crate::syntax::{self, Alter, AlterColumn, Name};
use crate::write::{constant, fits};

/// What ALTER TABLE makes of a table.
#[derive(Debug)]
pub struct Alteration {
    /// The table as it was looked at.
    pub table: Arc<TableDef>,
    /// What is to be done.
    pub change: Change,
}

/// See [`Alteration`].
#[derive(Debug)]
pub enum Change {
    /// Another name.
    Rename(String),
    /// Attributes behind the others. Rows need not be touched.
    Add(Vec<Attribute>),
    /// Other attributes: every row gets a new form.
    Reform(Reform),
}

/// A definition with other attributes, and its rows.
#[derive(Debug)]
pub struct Reform {
    definition: TableDef,
    /// One for each attribute of the definition.
    sources: Vec<Source>,
    text: String,
}

/// Where the values of an attribute come from.
#[derive(Debug)]
struct Source {
    /// Its position before.
    old: Option<usize>,
    /// Instead of the value there, with its place in the text.
    made: Option<Expr>,
    /// The clause that changed it.
    span: Span,
}

impl Reform {
    /// The table with its new attributes, key and indexes. Version, id and all else are as before.
    pub fn definition(&self) -> &TableDef {
        &self.definition
    }

    /// The new form of a row of the table as it was.
    ///
    /// # Errors
    /// [`QueryError`] with the key of the row when there is no new form: a cast or an expression that fails, a value that
    /// does not fit.
    pub fn row(&self, row: &Row) -> Result<Vec<Value>, QueryError> {
        self.values(row).map_err(|fault| fault.in_text(&self.text))
    }

    fn values(&self, row: &Row) -> Result<Vec<Value>, Fault> {
        let rows = [Some(row.clone())];
        let tuple = Tuple { rows: &rows, slots: &[] };
        let mut values = Vec::with_capacity(self.sources.len());
        for (at, source) in self.sources.iter().enumerate() {
            let value = match (&source.made, source.old) {
                (Some(made), _) => eval::value(made, tuple).map(Datum::into_value),
                (None, Some(old)) => Ok(row.attribute(old).to_value()),
                (None, None) => Ok(self.definition.attributes[at].default.clone().unwrap_or_default()),
            };
            let fitting = value
                .and_then(|value| fits(&self.definition, at, &value, source.span).map(|()| value))
                .map_err(|fault| self.of_row(fault, row))?;
            values.push(fitting);
        }
        Ok(values)
    }

    /// A fault that says which row it was. The key is found at the same values as before.
    fn of_row(&self, mut fault: Fault, row: &Row) -> Fault {
        let old = |at: &usize| self.sources[*at].old.map(|old| row.attribute(old).to_value().to_string());
        let key: Vec<String> = self.definition.key.iter().filter_map(old).collect();
        let shown: String = key.join(", ").chars().take(60).collect();
        fault.message = format!("{} in the row with the key {shown}; no row was changed", fault.message);
        fault
    }
}

/// Works a statement out. `None` when there is nothing to do.
pub(crate) fn alteration(
    alter: &Alter,
    tables: &[Arc<TableDef>],
    text: &str,
) -> Result<Option<Alteration>, Fault> {
    let table = match table_among(tables, &alter.table) {
        Ok(table) => table,
        Err(_) if alter.if_exists => return Ok(None),
        Err(fault) => return Err(fault),
    };
    if let [syntax::Alteration::RenameTable(to)] = &alter.operations[..] {
        if tables.iter().any(|other| other.name == to.text) {
            let message = format!("there is a table {:?} already", to.text);
            return Err(Fault::new(ErrorKind::Name, to.span, message));
        }
        return Ok(Some(Alteration { table, change: Change::Rename(to.text.clone()) }));
    }
    let mut draft = Draft::of(table);
    alter.operations.iter().try_for_each(|operation| draft.apply(operation))?;
    draft.finish(alter.table.span, text)
}

/// The table in the making.
struct Draft {
    table: Arc<TableDef>,
    /// Its attributes are the new ones; key and indexes are still told by the old positions.
    def: TableDef,
    sources: Vec<Source>,
}

impl Draft {
    fn of(table: Arc<TableDef>) -> Draft {
        let kept = |old| Source { old: Some(old), made: None, span: Span::NONE };
        let sources = (0..table.attributes.len()).map(kept).collect();
        Draft { def: TableDef::clone(&table), table, sources }
    }

    fn apply(&mut self, operation: &syntax::Alteration) -> Result<(), Fault> {
        match operation {
            syntax::Alteration::AddColumn { column, attribute, if_not_exists } => {
                self.add(column, attribute, *if_not_exists)
            }
            syntax::Alteration::DropColumn { column, if_exists } => self.drop(column, *if_exists),
            syntax::Alteration::RenameColumn { column, to } => self.rename(column, to),
            syntax::Alteration::AlterColumn { column, change } => {
                let at = self.find(column)?;
                self.alter(at, column.span, change)
            }
            syntax::Alteration::RenameTable(to) => {
                let message = "RENAME TO stands alone";
                Err(Fault::new(ErrorKind::Unsupported, to.span, message))
            }
        }
    }

    fn find(&self, column: &Name) -> Result<usize, Fault> {
        position(&self.def, column).ok_or_else(|| no_column(&self.def, column))
    }

    fn add(&mut self, column: &Name, attribute: &Attribute, if_not_exists: bool) -> Result<(), Fault> {
        if self.def.position(&column.text).is_some() {
            return if if_not_exists { Ok(()) } else { Err(self.taken(column)) };
        }
        if !attribute.nullable && attribute.default.as_ref().is_none_or(Value::is_null) {
            let message = format!("column {:?} is NOT NULL and has no default", column.text);
            let fault = Fault::new(ErrorKind::Constraint, column.span, message);
            return Err(fault.hint("rows that are there get its default: add DEFAULT and a value"));
        }
        self.def.attributes.push(attribute.clone());
        self.sources.push(Source { old: None, made: None, span: column.span });
        Ok(())
    }

    fn taken(&self, column: &Name) -> Fault {
        let message = format!("table {:?} has a column {:?} already", self.def.name, column.text);
        Fault::new(ErrorKind::Name, column.span, message)
    }

    fn drop(&mut self, column: &Name, if_exists: bool) -> Result<(), Fault> {
        let at = match self.find(column) {
            Err(_) if if_exists => return Ok(()),
            found => found?,
        };
        self.check_not_of_key(at, column.span, "be dropped")?;
        if let Some(index) = self.index_over(at) {
            let message = format!("column {:?} is one of the index {index:?}", column.text);
            let fault = Fault::new(ErrorKind::Constraint, column.span, message);
            return Err(fault.hint(format!("DROP INDEX {index} ON {} first", self.def.name)));
        }
        self.def.attributes.remove(at);
        self.sources.remove(at);
        Ok(())
    }

    fn rename(&mut self, column: &Name, to: &Name) -> Result<(), Fault> {
        let at = self.find(column)?;
        if self.def.position(&to.text).is_some() {
            return Err(self.taken(to));
        }
        self.def.attributes[at].name.clone_from(&to.text);
        self.sources[at].span = to.span;
        Ok(())
    }

    fn alter(&mut self, at: usize, span: Span, change: &AlterColumn) -> Result<(), Fault> {
        match change {
            AlterColumn::Type { ty, using } => self.retype(at, span, *ty, using.as_ref())?,
            AlterColumn::NotNull => self.def.attributes[at].nullable = false,
            AlterColumn::Nullable => {
                self.check_not_of_key(at, span, "be null")?;
                self.def.attributes[at].nullable = true;
            }
            AlterColumn::Default(expr) => {
                let ty = self.def.attributes[at].ty;
                self.def.attributes[at].default = expr.as_ref().map(|expr| constant(expr, ty)).transpose()?;
            }
        }
        self.sources[at].span = span;
        Ok(())
    }

    fn retype(&mut self, at: usize, span: Span, ty: Type, using: Option<&syntax::Expr>) -> Result<(), Fault> {
        self.check_not_of_key(at, span, "get another type")?;
        let Source { old: Some(old), made: None, .. } = self.sources[at] else {
            let message = "one statement gives a column one type";
            return Err(Fault::new(ErrorKind::Unsupported, span, message));
        };
        self.sources[at].made = Some(match using {
            Some(using) => self.bound(using, ty)?,
            None => {
                let column = Expr::Column { slot: 0, attribute: old, place: Place(span) };
                Expr::Cast(Box::new(column), ty, Place(span))
            }
        });
        let attribute = &mut self.def.attributes[at];
        attribute.ty = ty;
        if let Some(default) = attribute.default.take() {
            let cast = Expr::Cast(Box::new(Expr::Constant(default)), ty, Place(span));
            let cast = eval::value(&cast, Tuple::EMPTY).map(Datum::into_value).map_err(|mut fault| {
                fault.message = format!("the default of column {:?}: {}", attribute.name, fault.message);
                fault.hint("DROP DEFAULT or SET DEFAULT before TYPE, in the same statement")
            })?;
            attribute.default = Some(cast);
        }
        Ok(())
    }

    /// An expression over the row as it was.
    fn bound(&self, using: &syntax::Expr, ty: Type) -> Result<Expr, Fault> {
        let tables = [BoundTable::new(self.table.clone(), None)];
        let mut binder =
            Binder { tables: &tables, parameters: &[], describe: false, aggregates: None, clause: "USING" };
        let (mut bound, given) = binder.expr(using)?;
        if ty == Type::Timestamp && given == Type::Text {
            as_moment(&mut bound, using.span)?;
        }
        Ok(bound)
    }

    fn check_not_of_key(&self, at: usize, span: Span, what: &str) -> Result<(), Fault> {
        let of_key = self.sources[at].old.is_some_and(|old| self.table.key.contains(&old));
        if !of_key {
            return Ok(());
        }
        let attribute = &self.def.attributes[at].name;
        let message =
            format!("column {attribute:?} is of the key of table {:?} and cannot {what}", self.def.name);
        let fault = Fault::new(ErrorKind::Constraint, span, message);
        Err(fault.hint("another key is another table: create it and INSERT INTO .. SELECT"))
    }

    fn index_over(&self, at: usize) -> Option<&str> {
        let old = self.sources[at].old?;
        let over = self.table.indexes.iter().find(|index| index.attributes.contains(&old))?;
        Some(&over.name)
    }

    fn finish(mut self, span: Span, text: &str) -> Result<Option<Alteration>, Fault> {
        let wrong = |error: &dyn std::fmt::Display| Fault::new(ErrorKind::Name, span, error.to_string());
        if self.keeps_all() {
            let added = self.def.attributes.split_off(self.table.attributes.len());
            if added.is_empty() {
                return Ok(None);
            }
            self.table.with_attributes(&added, self.table.layout().record).map_err(|error| wrong(&error))?;
            return Ok(Some(Alteration { table: self.table, change: Change::Add(added) }));
        }
        self.check_attributes().map_err(|error| wrong(&error))?;
        let moved = |old: &usize| self.sources.iter().position(|each| each.old == Some(*old)).unwrap_or(*old);
        self.def.key = self.table.key.iter().map(moved).collect();
        for index in &mut self.def.indexes {
            index.attributes = index.attributes.iter().map(moved).collect();
            index.check(&self.def.name, &self.def.attributes).map_err(|error| wrong(&error))?;
        }
        let reform = Reform { definition: self.def, sources: self.sources, text: text.to_owned() };
        Ok(Some(Alteration { table: self.table, change: Change::Reform(reform) }))
    }

    /// Whether every attribute of before is what it was, in its place.
    fn keeps_all(&self) -> bool {
        let kept = |(at, before): (usize, &Attribute)| {
            let source = self.sources.get(at);
            self.def.attributes.get(at) == Some(before)
                && source.is_some_and(|source| source.old == Some(at) && source.made.is_none())
        };
        self.table.attributes.iter().enumerate().all(kept)
    }

    /// What the builder of definitions says of these attributes.
    fn check_attributes(&self) -> Result<(), hypermnesia_store::SchemaError> {
        let mut builder = TableDef::builder(&self.def.name);
        for attribute in &self.def.attributes {
            builder = match attribute.nullable {
                true => builder.nullable(&attribute.name, attribute.ty),
                false => builder.attribute(&attribute.name, attribute.ty),
            };
            if let Some(default) = &attribute.default {
                builder = builder.default(&attribute.name, default.clone());
            }
        }
        builder.build().map(drop)
    }
}
