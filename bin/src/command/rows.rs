//! Single rows: `get`, `put`, `delete`.

use anyhow::{Context, Result, bail};
use clap::Args;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{AttributeType, TableDefinition, Values};

use super::retention::LifetimeArgs;
use super::{attributes, connect, definition, key_types, loaded_table};
use crate::args::Global;
use crate::literal;
use crate::output::{self, many};

/// Print the rows of a key.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Name of the table.
    table: String,
    /// The key: a value for each key attribute.
    #[arg(required = true, allow_negative_numbers = true)]
    key: Vec<String>,
    /// Read the newest committed rows of the member itself, waiting for nothing.
    #[arg(long)]
    dirty: bool,
}

/// Write a row.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Name of the table.
    table: String,
    /// A value for each attribute; an empty one is null.
    #[arg(required = true, allow_negative_numbers = true)]
    values: Vec<String>,
    #[command(flatten)]
    lifetime: LifetimeArgs,
}

/// Delete the rows of a key.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Name of the table.
    table: String,
    /// The key: a value for each key attribute.
    #[arg(required = true, allow_negative_numbers = true)]
    key: Vec<String>,
}

/// Prints the rows of a key; fails when there are none.
pub(crate) async fn get(global: &Global, args: GetArgs) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    let table = definition(&info)?;
    let key = typed("key", &key_types(table), &args.key)?;
    let handle = client.table(&args.table);
    let rows = if args.dirty { handle.dirty_get(key).await? } else { handle.get(key).await? };
    if rows.is_empty() {
        bail!("table {:?} has no row with the key {}", args.table, args.key.join(" "));
    }
    print_rows(global, table, &rows)
}

/// Writes a row.
pub(crate) async fn put(global: &Global, args: PutArgs) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    let wanted: Vec<_> = attributes(definition(&info)?).collect();
    let row = typed("row", &wanted, &args.values)?;
    client.table(&args.table).put_with(row, args.lifetime.lifetime()).await?;
    Ok(())
}

/// Deletes the rows of a key; deleting what is not there succeeds.
pub(crate) async fn delete(global: &Global, args: DeleteArgs) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    let key = typed("key", &key_types(definition(&info)?), &args.key)?;
    client.table(&args.table).delete(key).await?;
    Ok(())
}

pub(super) fn print_rows(global: &Global, table: &TableDefinition, rows: &[Vec<Value>]) -> Result<()> {
    let columns: Vec<_> = attributes(table).map(|(name, _)| name).collect();
    let types = attributes(table).map(|(_, ty)| ty);
    let mut out = output::stdout(global.format, &columns)?.of_types(types);
    for row in rows {
        out.row(row)?;
    }
    out.finish().map(drop)
}

/// The texts as values of these attributes.
pub(super) fn typed(what: &str, wanted: &[(&str, AttributeType)], texts: &[String]) -> Result<Values> {
    if wanted.len() != texts.len() {
        let names: Vec<_> = wanted.iter().map(|(name, _)| *name).collect();
        bail!(
            "the {what} has {} ({}), {} given",
            many(wanted.len() as u64, "value", "values"),
            names.join(", "),
            many(texts.len() as u64, "was", "were")
        );
    }
    let each = wanted.iter().zip(texts);
    let values: Result<Vec<Value>> = each
        .map(|((name, ty), text)| literal::of_type(text, *ty).with_context(|| format!("attribute {name:?}")))
        .collect();
    Ok(Values(values?))
}
