//! Tables that change while they are used: a new name, no rows, more attributes, other attributes. Each is one transaction
//! on the definition, on all members or on none; writers of the table wait for it where rows are touched, readers do not.
//!
//! Attributes that are added behind the others touch no row: a row that was written before is completed with their defaults
//! when it is read, and has them when it is written next. Everything else is a function over the rows, either all of them in
//! the transaction that changes the definition ([`Node::transform`]), or batch by batch behind it
//! ([`Table::rewrite`]). A row knows the schema version it was written under, so work that was interrupted goes on where it
//! was, and no row is rewritten twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::work::{LockMode, Op};
use hypermnesia_store::{
    Attribute, IndexDef, IndexId, Kind, Layout, Row, Table as Open, TableBuilder, TableDef, ValueRef,
};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::SCHEMA_DEADLINE_DEFAULT;
use crate::node::Node;
use crate::options::{Span, TxOptions};
use crate::record::{Record, check_definition};
use crate::schema::{check_unique, redefine};
use crate::table::{DynTable, Table};
use crate::transaction::{self, Transaction};

mod rewrite;
mod statement;

pub(crate) use statement::by_statement;

/// Changes of whole tables.
impl Node {
    /// Gives a table another name. Handles go on working: they know the table by its id.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::TableExists`], [`Error::Schema`], [`Error::SystemTable`]; otherwise as
    /// [`Node::create_table`].
    pub fn rename_table(&self, name: &str, to: &str) -> Result<()> {
        self.rename_table_within(name, to, SCHEMA_DEADLINE_DEFAULT)
    }

    /// As [`Node::rename_table`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn rename_table_within(&self, name: &str, to: &str, time: Duration) -> Result<()> {
        redefine(&self.core, name, time, |_, _, def| renamed(&self.core, def, to))
    }

    /// Clears a table: see [`Table::clear`].
    ///
    /// # Errors
    /// As there.
    pub fn clear_table_within(&self, name: &str, time: Duration) -> Result<()> {
        let table = self.dyn_table(name)?;
        let open = table.open()?;
        clear(&self.core, &open, time)
    }

    /// Adds attributes behind those of a table; each is nullable or has a default. No row is touched but in a bag, whose
    /// rows are rewritten within the same transaction.
    ///
    /// ```
    /// use hypermnesia::{Attribute, Node, TableDef, Type, Value};
    /// let node = Node::builder().build()?;
    /// let people = node.create_table(TableDef::builder("people").attribute("id", Type::Int))?;
    /// people.insert(&[Value::Int(1)])?;
    /// let city = Attribute { name: "city".into(), ty: Type::Text, nullable: false, default: Some("Ghent".into()) };
    /// node.add_attributes("people", &[city])?;
    /// assert_eq!(people.get(&[Value::Int(1)])?, Some(vec![Value::Int(1), "Ghent".into()]));
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Schema`], [`Error::NoSuchTable`], [`Error::SystemTable`]; [`Error::TooLarge`] for a bag with more rows than
    /// one transaction may write; otherwise as [`Node::create_table`].
    pub fn add_attributes(&self, table: &str, added: &[Attribute]) -> Result<()> {
        self.add_attributes_within(table, added, SCHEMA_DEADLINE_DEFAULT)
    }

    /// As [`Node::add_attributes`], within this time.
    ///
    /// # Errors
    /// As there.
    pub fn add_attributes_within(&self, table: &str, added: &[Attribute], time: Duration) -> Result<()> {
        redefine(&self.core, table, time, |tx, open, def| {
            let grown = def.with_attributes(added, def.layout().record)?;
            filled(&self.core, tx, open, grown)
        })
    }

    /// Brings the table of a record to the record's version: what the record has more, attributes behind the others and
    /// indexes, is added. Nothing happens when the table is as new already. Every member of a cluster may call it at its start.
    ///
    /// # Errors
    /// [`Error::Record`] when the record is not newer and differs, or differs in what the table has; [`Error::Unique`] when
    /// rows break a unique index that is added; otherwise as [`Node::add_attributes`].
    pub fn upgrade_table_of<R: Record>(&self) -> Result<Table<R>> {
        let wanted = R::definition().build()?;
        let misfit = |def: &TableDef| {
            check_definition(&wanted, def).map_err(|mismatch| Error::Record {
                record: std::any::type_name::<R>(),
                table: def.name.clone(),
                reason: mismatch.to_string(),
            })
        };
        let there = self.dyn_table(R::TABLE)?.definition()?;
        misfit(&there)?;
        if wanted.layout().record <= there.layout().record {
            return self.table();
        }
        redefine(&self.core, R::TABLE, SCHEMA_DEADLINE_DEFAULT, |tx, open, def| {
            misfit(&def)?;
            let added = wanted.attributes.get(def.attributes.len()..).unwrap_or_default();
            let mut grown = def.with_attributes(added, wanted.layout().record)?;
            for index in &wanted.indexes {
                add_missing(&self.core, tx, open, &mut grown, index)?;
            }
            filled(&self.core, tx, open, grown)
        })?;
        self.table()
    }

    /// Gives a table other attributes, and every row of it a new form by a function, in one transaction: wholly done, or
    /// wholly undone, whatever is interrupted. Name, id, copies and options stay; attributes, key and indexes are those of
    /// the new definition. The key of a row must stay what it is. The function may be called more than once for a row.
    ///
    /// Writers of the table wait meanwhile; readers do not. All rows have to fit one transaction: for larger tables add
    /// attributes and use [`Table::rewrite`]. A unique index over attributes that move is better dropped before and added
    /// after: both the old and the new one are kept while rows are rewritten.
    ///
    /// ```
    /// use hypermnesia::{Node, TableDef, Type, Value};
    /// let node = Node::builder().build()?;
    /// let people = node.create_table(
    ///     TableDef::builder("people").attribute("id", Type::Int).attribute("name", Type::Text))?;
    /// people.insert(&[Value::Int(1), "Ada Lovelace".into()])?;
    /// let split = TableDef::builder("people")
    ///     .attribute("id", Type::Int).attribute("first", Type::Text).attribute("last", Type::Text);
    /// node.transform("people", split, |row| {
    ///     let Value::Text(name) = &row[1] else { return Err(hypermnesia::Error::abort("no text")) };
    ///     let (first, last) = name.split_once(' ').unwrap_or((name, ""));
    ///     Ok(vec![row[0].clone(), first.into(), last.into()])
    /// })?;
    /// assert_eq!(people.get(&[Value::Int(1)])?, Some(vec![Value::Int(1), "Ada".into(), "Lovelace".into()]));
    /// # Ok::<(), hypermnesia::Error>(())
    /// ```
    ///
    /// # Errors
    /// The function's own; [`Error::WrongKind`] for another kind, [`Error::Aborted`] for a key that changes, [`Error::Row`]
    /// for a row that does not fit, [`Error::Unique`], [`Error::TooLarge`]; otherwise as [`Node::create_table`]. Nothing has
    /// changed then.
    pub fn transform(
        &self,
        table: &str,
        definition: TableBuilder,
        form: impl Fn(Vec<hypermnesia_store::Value>) -> Result<Vec<hypermnesia_store::Value>>,
    ) -> Result<DynTable> {
        let wanted = definition.build()?;
        let reformed = |row: &Row, def: &TableDef| Ok(def.encode_row(&form(row.to_values())?)?);
        self.reform(table, &wanted, &reformed)?;
        self.dyn_table(table)
    }

    /// As [`Node::transform`], from one record to another of the same table.
    ///
    /// # Errors
    /// As there, and [`Error::Record`] when the table is not the old record's.
    pub fn transform_of<Old: Record, New: Record>(&self, form: impl Fn(Old) -> New) -> Result<Table<New>> {
        let old: Table<Old> = self.dyn_table(New::TABLE)?.of()?;
        let wanted = New::definition().build()?;
        let reformed = |row: &Row, def: &TableDef| {
            let damaged = |error: crate::record::RecordError| Error::Damaged {
                table: def.name.clone(),
                reason: error.to_string(),
            };
            Ok(form(Old::decode(row).map_err(damaged)?).encode(def)?)
        };
        self.reform(old.name(), &wanted, &reformed)?;
        self.table()
    }

    fn reform(
        &self,
        table: &str,
        wanted: &TableDef,
        form: &dyn Fn(&Row, &TableDef) -> Result<Row>,
    ) -> Result<()> {
        redefine(&self.core, table, SCHEMA_DEADLINE_DEFAULT, |tx, open, old| {
            reformed(&self.core, tx, open, old, wanted, form)
        })
    }
}

/// The definition under another name.
fn renamed(core: &Core, mut def: TableDef, to: &str) -> Result<TableDef> {
    check_table_name(to)?;
    if core.store.table_named(to).is_some() {
        return Err(Error::TableExists { name: to.to_owned() });
    }
    to.clone_into(&mut def.name);
    def.version = def.version.next();
    Ok(def)
}

/// The definition with the attributes, key and indexes of the wanted one, and every row in its new form.
fn reformed(
    core: &Arc<Core>,
    tx: &mut Transaction,
    open: &Arc<Open>,
    old: TableDef,
    wanted: &TableDef,
    form: &dyn Fn(&Row, &TableDef) -> Result<Row>,
) -> Result<TableDef> {
    if wanted.kind != old.kind {
        let kind = crate::operation::kind_name(old.kind);
        return Err(Error::WrongKind { table: old.name, operation: "a transform to another kind", kind });
    }
    let mut def = old.clone();
    (def.attributes, def.key) = (wanted.attributes.clone(), wanted.key.clone());
    def.indexes = numbered(&old, wanted);
    def.version = old.version.next();
    // No row of before is left.
    def.layouts = vec![Layout { since: def.version, record: wanted.layout().record }];
    rewritten(core, tx, open, def, form)
}

/// Clears a table in one step.
pub(crate) fn clear(core: &Arc<Core>, open: &Arc<Open>, time: Duration) -> Result<()> {
    core.check_copy(open.def())?;
    if open.def().is_system() {
        return Err(Error::SystemTable { table: open.def().name.clone() });
    }
    if open.def().local {
        return clear_own(core, open, time);
    }
    redefine(core, &open.def().name, time, |tx, open, mut def| {
        tx.step(|attempt, waker| attempt.lock_table(open, LockMode::Write, waker))?;
        // Whoever wrote before has let go of the table, and this clock has heard of the commit; whoever writes after is later.
        def.cleared = core.store.clock().read();
        def.version = def.version.next();
        Ok(def)
    })
}

/// Rows of a local table are this node's alone: nobody else is asked.
fn clear_own(core: &Arc<Core>, open: &Arc<Open>, time: Duration) -> Result<()> {
    transaction::run(core, &TxOptions::new().deadline(time), |tx| {
        tx.step(|attempt, waker| attempt.lock_table(open, LockMode::Write, waker))?;
        let mut cleared = None;
        core.event(|core, now, out| cleared = core.replica.clear_own(now, open.id(), out));
        cleared.map(drop).ok_or_else(|| Error::NoSuchTable { name: open.def().name.clone() })
    })
}

/// Adds an index of the wanted definition, which has the same attributes at the same places, if there is none of its name.
fn add_missing(
    core: &Core,
    tx: &mut Transaction,
    open: &Arc<Open>,
    def: &mut TableDef,
    wanted: &IndexDef,
) -> Result<()> {
    if def.index_named(&wanted.name).is_some() {
        return Ok(());
    }
    let id = def.indexes.iter().map(|index| index.id.0 + 1).max().unwrap_or(1);
    let index = IndexDef { id: IndexId(id), ..wanted.clone() };
    if index.unique {
        tx.step(|attempt, waker| attempt.lock_table(open, LockMode::Read, waker))?;
        check_unique(core, open, def, &index)?;
    }
    def.indexes.push(index);
    Ok(())
}

/// The indexes of the new definition: one that is the same as before keeps its number and its entries.
fn numbered(old: &TableDef, wanted: &TableDef) -> Vec<IndexDef> {
    let mut next = old.indexes.iter().map(|index| index.id.0 + 1).max().unwrap_or(1);
    let number = |index: &IndexDef| {
        let same = old
            .index_named(&index.name)
            .filter(|known| IndexDef { id: known.id, ..index.clone() } == **known);
        let id = same.map_or_else(
            || {
                next += 1;
                IndexId(next - 1)
            },
            |known| known.id,
        );
        IndexDef { id, ..index.clone() }
    };
    wanted.indexes.iter().map(number).collect()
}

/// A definition that has grown. The rows of a bag are compared as they are stored, so they are all written anew.
fn filled(core: &Arc<Core>, tx: &mut Transaction, open: &Arc<Open>, grown: TableDef) -> Result<TableDef> {
    if grown.kind != Kind::Bag {
        return Ok(grown);
    }
    let longer = |row: &Row, def: &TableDef| {
        let values: Vec<ValueRef<'_>> =
            (0..def.attributes.len()).map(|position| def.value_of(row, position)).collect();
        Ok(def.encode_row_refs(values)?)
    };
    rewritten(core, tx, open, grown, &longer)
}

/// Writes every row in its new form, under the table's lock.
fn rewritten(
    core: &Arc<Core>,
    tx: &mut Transaction,
    open: &Arc<Open>,
    mut def: TableDef,
    form: &dyn Fn(&Row, &TableDef) -> Result<Row>,
) -> Result<TableDef> {
    if def.local {
        return Err(Error::abort(format!(
            "rows of local table {:?} are each member's own: add them anew",
            def.name
        )));
    }
    tx.step(|attempt, waker| attempt.lock_table(open, LockMode::Write, waker))?;
    let found = tx.step(|attempt, waker| attempt.scan(open, &Span::all(), waker))?;
    // A look at what was there before would find rows of other attributes than the definition has.
    def.reshaped = core.store.clock().read();
    let mut taken = HashSet::new();
    for (key, body) in found {
        if def.kind == Kind::Bag {
            tx.step(|attempt, _| attempt.write(open, key.clone(), Op::Delete))?;
        }
        for row in body.rows() {
            let new = form(row, &def)?.with_deadline(row.deadline_ms())?;
            if def.key_of(&new)? != key {
                let what = format!("the transform of table {:?} changes the key {key} of a row", def.name);
                return Err(Error::abort(what));
            }
            check_values(&def, &new, &mut taken)?;
            tx.step(|attempt, _| attempt.write(open, key.clone(), Op::Put(new.clone())))?;
        }
    }
    Ok(def)
}

fn check_values(
    def: &TableDef,
    row: &Row,
    taken: &mut HashSet<(IndexId, hypermnesia_store::Key)>,
) -> Result<()> {
    for index in &def.indexes {
        for value in def.unique_keys(index, row)? {
            let key = value.to_string();
            if !taken.insert((index.id, value)) {
                let (table, index) = (def.name.clone(), index.name.clone());
                return Err(Error::Unique { table, index, key });
            }
        }
    }
    Ok(())
}

fn check_table_name(name: &str) -> Result<()> {
    let probe = TableDef::builder(name).attribute("id", hypermnesia_store::Type::Any).build()?;
    if probe.is_system() {
        return Err(Error::SystemTable { table: name.to_owned() });
    }
    Ok(())
}
