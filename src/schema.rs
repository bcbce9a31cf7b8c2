//! Changes of the schema: transactions on the schema table, which has a copy on every member; those that are away load it when
//! they come back. Every change writes the schema table's row 0 as well, which holds the next table id: two changes never run at once,
//! and an id is never used again.

use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::work::{LockMode, Op, Write};
use hypermnesia_store::{
    IndexDef, IndexId, Row, SCHEMA_TABLE, SchemaError, SchemaVersion, Storage, Table as Open, TableCopy,
    TableDef, TableId, Value, define, schema_key, undefine,
};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::options::TxOptions;
use crate::table::DynTable;
use crate::transaction::{self, Transaction};

/// The row of the schema table that is no table.
pub(crate) const COUNTER: TableId = TableId(0);

/// The first id of a table that is not the system's.
pub(crate) const FIRST_ID: u32 = 16;

pub(crate) fn create(core: &Arc<Core>, mut def: TableDef, time: Duration) -> Result<DynTable> {
    if def.copies.is_empty() {
        def.copies =
            core.members().map(|member| TableCopy { node: member.node, storage: Storage::Ram }).collect();
    }
    check(core, &def)?;
    change(core, time, |tx, schema, next| {
        if core.store.table_named(&def.name).is_some() {
            return Err(Error::TableExists { name: def.name.clone() });
        }
        def.id = TableId(next);
        write(tx, schema, define(&def))?;
        Ok(next + 1)
    })?;
    DynTable::named(core, &def.name)
}

/// Whether a table of this definition can be created here, its name apart.
pub(crate) fn check(core: &Core, def: &TableDef) -> Result<()> {
    if def.is_system() {
        return Err(Error::SystemTable { table: def.name.clone() });
    }
    if let Some(copy) = def.copies.iter().find(|copy| core.member(copy.node).is_none()) {
        return Err(Error::Config(format!(
            "table {:?} has a copy on {}, which is no member",
            def.name, copy.node
        )));
    }
    if core.disc.is_none() && def.copy_on(core.me.node).is_some_and(|copy| copy.storage.is_on_disc()) {
        return Err(Error::NoDataDirectory { table: def.name.clone() });
    }
    Ok(def.check_copies()?)
}

pub(crate) fn drop_table(core: &Arc<Core>, name: &str, time: Duration) -> Result<()> {
    change(core, time, |tx, schema, next| {
        let def = existing(core, name)?;
        write(tx, schema, undefine(def.id))?;
        Ok(next)
    })
}

/// An index that is to be added.
pub(crate) struct NewIndex<'a> {
    pub(crate) name: &'a str,
    /// Names, in the order of the index.
    pub(crate) attributes: &'a [&'a str],
    pub(crate) unique: bool,
    /// An entry for each value of a list.
    pub(crate) multi: bool,
}

pub(crate) fn add_index(core: &Arc<Core>, table: &str, index: &NewIndex<'_>, time: Duration) -> Result<()> {
    change(core, time, |tx, schema, next| {
        let mut def = existing(core, table)?;
        if def.index_named(index.name).is_some() {
            return Err(Error::IndexExists { table: table.to_owned(), index: index.name.to_owned() });
        }
        let new = defined(&def, index)?;
        if new.unique {
            // Locked until the commit: every write is prepared here too, so none comes between the look and the index.
            let open =
                core.store.table(def.id).ok_or_else(|| Error::NoSuchTable { name: table.to_owned() })?;
            tx.step(|attempt, waker| attempt.lock_table(&open, LockMode::Read, waker))?;
            check_unique(core, &open, &def, &new)?;
        } else if def.copy_on(core.me.node).is_some_and(|copy| copy.storage.is_disc_only()) {
            check_readable(core, def.id)?;
        }
        def.indexes.push(new);
        def.version = def.version.next();
        write(tx, schema, define(&def))?;
        Ok(next)
    })
}

/// The index as one of a table of this definition, by the rules of definitions.
fn defined(def: &TableDef, index: &NewIndex<'_>) -> Result<IndexDef> {
    if let Some(name) = index.attributes.iter().find(|name| def.position(name).is_none()) {
        return Err(Error::NoSuchAttribute { table: def.name.clone(), attribute: (*name).to_owned() });
    }
    let names = |positions: &[usize]| -> Vec<&str> {
        positions.iter().map(|&position| def.attributes[position].name.as_str()).collect()
    };
    let mut builder = TableDef::builder(&def.name);
    for attribute in &def.attributes {
        builder = builder.nullable(&attribute.name, attribute.ty);
    }
    // That there are not too many depends on those that are there.
    for known in &def.indexes {
        builder = builder.index(&known.name, names(&known.attributes));
    }
    builder = match (index.multi, index.unique, index.attributes) {
        (true, false, [only]) => builder.multi_index(index.name, *only),
        (true, true, [only]) => builder.unique_multi_index(index.name, *only),
        (true, ..) => {
            let (table, index) = (def.name.clone(), index.name.to_owned());
            return Err(SchemaError::BadMulti { table, index }.into());
        }
        (false, true, _) => builder.unique_index(index.name, index.attributes.iter().copied()),
        (false, false, _) => builder.index(index.name, index.attributes.iter().copied()),
    };
    let new = builder.build()?.indexes.pop().expect("it was added last");
    // Ids of dropped indexes are not used again while a later one exists; a new definition replaces the whole table.
    let id = def.indexes.iter().map(|index| index.id.0 + 1).max().unwrap_or(1);
    Ok(IndexDef { id: IndexId(id), ..new })
}

pub(crate) fn drop_index(core: &Arc<Core>, table: &str, index: &str, time: Duration) -> Result<()> {
    change(core, time, |tx, schema, next| {
        let mut def = existing(core, table)?;
        let before = def.indexes.len();
        def.indexes.retain(|known| known.name != index);
        if def.indexes.len() == before {
            return Err(Error::NoSuchIndex { table: table.to_owned(), index: index.to_owned() });
        }
        def.version = def.version.next();
        write(tx, schema, define(&def))?;
        Ok(next)
    })
}

/// Changes the definition of a table: `edit` gives it its next version.
pub(crate) fn redefine(
    core: &Arc<Core>,
    table: &str,
    time: Duration,
    edit: impl FnMut(&mut Transaction, &Arc<Open>, TableDef) -> Result<TableDef>,
) -> Result<()> {
    redefine_found(core, time, || existing(core, table), edit)
}

/// The same of a table of the system, for the system itself.
pub(crate) fn redefine_system(
    core: &Arc<Core>,
    table: &str,
    time: Duration,
    edit: impl FnMut(&mut Transaction, &Arc<Open>, TableDef) -> Result<TableDef>,
) -> Result<()> {
    redefine_found(core, time, || there(core, table), edit)
}

fn redefine_found(
    core: &Arc<Core>,
    time: Duration,
    find: impl Fn() -> Result<TableDef>,
    mut edit: impl FnMut(&mut Transaction, &Arc<Open>, TableDef) -> Result<TableDef>,
) -> Result<()> {
    change(core, time, |tx, schema, next| {
        let def = find()?;
        let table = def.name.clone();
        let open = core.store.table(def.id).ok_or(Error::NoSuchTable { name: table })?;
        let edited = edit(tx, &open, def)?;
        write(tx, schema, define(&edited))?;
        Ok(next)
    })
}

/// Runs a change with row 0 locked and noted; it is given the next table id and gives it back.
pub(crate) fn change(
    core: &Arc<Core>,
    time: Duration,
    mut change: impl FnMut(&mut Transaction, &Arc<Open>, u32) -> Result<u32>,
) -> Result<()> {
    let schema = core.store.table(SCHEMA_TABLE).expect("every store has its schema table");
    // Every member has followed it when it is told: the next call may go to another member.
    let options = TxOptions::new().deadline(time).sync();
    transaction::run(core, &options, |tx| {
        let key = schema_key(COUNTER);
        let held = tx.step(|attempt, waker| attempt.read(&schema, &key, Some(LockMode::Write), waker))?;
        let next = held.as_ref().and_then(|body| body.rows().first()).map_or(FIRST_ID, next_id);
        let next = change(tx, &schema, next)?;
        write(tx, &schema, counter(next))
    })
}

/// The next table id, as row 0 has it.
pub(crate) fn next_id(row: &Row) -> u32 {
    match row.attribute(2).to_value() {
        Value::Bytes(bytes) => bytes.try_into().map_or(FIRST_ID, u32::from_le_bytes),
        _ => FIRST_ID,
    }
}

/// Row 0 with this as the next table id.
pub(crate) fn counter(next: u32) -> Write {
    let values = [Value::Int(0), Value::from("_next"), Value::Bytes(next.to_le_bytes().to_vec())];
    let row = Row::encode(SchemaVersion::FIRST, &values).expect("three short values are a row");
    Write { table: SCHEMA_TABLE, key: schema_key(COUNTER), op: Op::Put(row) }
}

fn write(tx: &mut Transaction, schema: &Arc<Open>, write: Write) -> Result<()> {
    tx.step(|attempt, _| attempt.write_system(schema, write.key.clone(), write.op.clone()))
}

fn existing(core: &Core, name: &str) -> Result<TableDef> {
    let def = there(core, name)?;
    if def.is_system() {
        return Err(Error::SystemTable { table: name.to_owned() });
    }
    Ok(def)
}

fn there(core: &Core, name: &str) -> Result<TableDef> {
    let table = core.store.table_named(name).ok_or_else(|| Error::NoSuchTable { name: name.to_owned() })?;
    Ok(table.def().clone())
}

/// Whether every row can be read, so that an index can have an entry of each.
fn check_readable(core: &Core, id: TableId) -> Result<()> {
    let open = core.store.table(id).ok_or_else(|| Error::NoSuchTable { name: id.to_string() })?;
    open.visit_newest(|_, _, _| ()).map_err(|blocked| core.unanswered(blocked))
}

/// Whether the rows that are there may stand under a new unique index.
pub(crate) fn check_unique(core: &Core, table: &Open, def: &TableDef, index: &IndexDef) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    let mut twice = None;
    let visited = table.visit_newest(|_, body, _| {
        for row in body.rows() {
            for key in def.unique_keys(index, row).unwrap_or_default() {
                if !seen.insert(key.clone()) {
                    twice = Some(key);
                }
            }
        }
    });
    visited.map_err(|blocked| core.unanswered(blocked))?;
    twice.map_or(Ok(()), |key| {
        Err(Error::Unique { table: def.name.clone(), index: index.name.clone(), key: key.to_string() })
    })
}
