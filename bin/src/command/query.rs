//! `query`: one SQL statement, its rows printed as they come.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{Client, Values};

use super::connect;
use crate::args::Global;
use crate::literal;
use crate::output::{Format, Output, note};

/// Run one SQL statement.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The statement. Parameters stand in it as $1, $2, ... or ?.
    statement: String,
    /// A parameter's value, in order.
    #[arg(long = "param", short = 'p', value_name = "VALUE", allow_hyphen_values = true)]
    params: Vec<String>,
}

/// Runs the statement.
pub(crate) async fn run(global: &Global, args: QueryArgs) -> Result<()> {
    let client = connect(global).await?;
    let params = args.params.iter().map(|text| literal::guess(text)).collect::<Result<_>>()?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let said = execute(&client, global.format, &args.statement, params, &mut out).await?;
    if let Some(said) = said {
        note(said);
    }
    Ok(())
}

/// Runs a statement and prints its rows; says how many rows it changed if it is one that changes rows.
pub(crate) async fn execute(
    client: &Client,
    format: Format,
    statement: &str,
    params: Vec<Value>,
    writer: &mut impl Write,
) -> Result<Option<String>> {
    let mut rows = client.query(statement, Values(params)).await?;
    if rows.columns().is_empty() {
        let changed = rows.finish().await?;
        return Ok(Some(format!("{changed} {}", if changed == 1 { "row" } else { "rows" })));
    }
    let mut out = Output::new(format, rows.columns().to_vec(), writer)?;
    while let Some(row) = rows.next().await? {
        out.row(&row)?;
    }
    out.finish()?;
    Ok(None)
}
