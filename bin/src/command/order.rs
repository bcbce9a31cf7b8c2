//! `first`, `last`, `next`, `prev`: single rows by their place in the order of an ordered set's keys.

use anyhow::{Result, bail};
use clap::Args;

use hypermnesia_rpc::client::{TableDefinition, TableKind};

use super::rows::{print_rows, typed};
use super::table::show::kind_name;
use super::{connect, definition, key_types, loaded_table};
use crate::args::Global;

/// An end of a table.
#[derive(Debug, Args)]
pub(crate) struct EndArgs {
    /// Name of the table, an ordered set.
    table: String,
}

/// A place beside a key.
#[derive(Debug, Args)]
pub(crate) struct BesideArgs {
    /// Name of the table, an ordered set.
    table: String,
    /// The key: a value for each key attribute. It need not be there.
    #[arg(required = true, allow_negative_numbers = true)]
    key: Vec<String>,
}

/// Refuses a table whose keys have no order, saying which do.
fn check_ordered(table: &TableDefinition) -> Result<()> {
    if table.kind() == TableKind::OrderedSet {
        return Ok(());
    }
    bail!(
        "table {:?} is a {}: only the keys of an ordered_set have an order (`hmn table create --kind ordered_set`)",
        table.name,
        kind_name(table)
    )
}

/// Prints the row of the smallest key, or of the greatest; fails when the table is empty.
pub(crate) async fn end(global: &Global, args: EndArgs, last: bool) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    check_ordered(definition(&info)?)?;
    let table = client.table(&args.table);
    let found = if last { table.last().await? } else { table.first().await? };
    let Some(row) = found else { bail!("table {:?} is empty", args.table) };
    print_rows(global, definition(&info)?, &[row])
}

/// Prints the row behind a key, or before it; fails when there is none.
pub(crate) async fn beside(global: &Global, args: BesideArgs, before: bool) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    check_ordered(definition(&info)?)?;
    let key = typed("key", &key_types(definition(&info)?), &args.key)?;
    let table = client.table(&args.table);
    let found = if before { table.prev(key).await? } else { table.next(key).await? };
    let Some(row) = found else {
        let place = if before { "before" } else { "behind" };
        bail!("table {:?} has no row {place} the key {}", args.table, args.key.join(" "));
    };
    print_rows(global, definition(&info)?, &[row])
}
