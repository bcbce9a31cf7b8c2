//! ALTER TABLE of SQL: what a statement makes of a table is worked out by the room `query`, against the definition as it is
//! under the schema's lock; here it is carried out as the change of the library that it is.

use std::sync::Arc;
use std::time::Duration;

use hypermnesia_query::{Alteration, Change, Reform, Statement};
use hypermnesia_store::{Row, Table as Open, TableDef};

use super::{filled, reformed, renamed};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::schema::redefine;
use crate::transaction::Transaction;

/// Does what the statement says, wholly or not at all.
pub(crate) fn by_statement(core: &Arc<Core>, statement: &Statement, time: Duration) -> Result<()> {
    let Some(Alteration { table, .. }) = asked(core, statement)? else { return Ok(()) };
    redefine(core, &table.name, time, |tx, open, def| match asked(core, statement)? {
        Some(alteration) if alteration.table.id == def.id => {
            carry_out(core, tx, open, def, alteration.change)
        }
        // Somebody else has changed the schema meanwhile, and nothing is to be done any more, or elsewhere.
        _ => Err(Error::SchemaChanged { table: def.name }),
    })
}

/// What the statement means for the tables as they are.
fn asked(core: &Core, statement: &Statement) -> Result<Option<Alteration>> {
    Ok(statement.alteration(&crate::query::all(core))?)
}

fn carry_out(
    core: &Arc<Core>,
    tx: &mut Transaction,
    open: &Arc<Open>,
    def: TableDef,
    change: Change,
) -> Result<TableDef> {
    match change {
        Change::Rename(to) => renamed(core, def, &to),
        Change::Add(added) => {
            let grown = def.with_attributes(&added, def.layout().record)?;
            filled(core, tx, open, grown)
        }
        Change::Reform(reform) => by_expressions(core, tx, open, def, &reform),
    }
}

fn by_expressions(
    core: &Arc<Core>,
    tx: &mut Transaction,
    open: &Arc<Open>,
    def: TableDef,
    reform: &Reform,
) -> Result<TableDef> {
    let form = |row: &Row, new: &TableDef| Ok(new.encode_row(&reform.row(row)?)?);
    reformed(core, tx, open, def, reform.definition(), &form)
}
