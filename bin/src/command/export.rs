//! `export`: all rows of a table, read at one instant, as CSV or JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use hypermnesia_rpc::client::{Client, Scan, TableDefinition};

use super::{attributes, connect, definition, loaded_table};
use crate::args::Global;
use crate::output::{Format, Output};
use crate::progress;

/// Write a table to the standard output or a file.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Name of the table.
    table: String,
    /// The file; its ending (.csv, .json, .jsonl, .ndjson) says the format. Default: the standard output, as --format says.
    file: Option<PathBuf>,
}

/// Exports the table.
pub(crate) async fn run(global: &Global, args: ExportArgs) -> Result<()> {
    let client = connect(global).await?;
    let info = loaded_table(&client, global, &args.table).await?;
    let table = definition(&info)?;
    let Some(path) = &args.file else {
        return write(&client, table, info.rows, global.format, BufWriter::new(std::io::stdout()))
            .await
            .map(drop);
    };
    // Beside the file and then in its place, so that a half-written file never stands under its name.
    let beside = path.with_added_extension("part");
    let file = File::create(&beside).with_context(|| format!("cannot write {}", beside.display()))?;
    let rows = write(&client, table, info.rows, format_of(path), BufWriter::new(file)).await?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{rows} rows of {} into {}", args.table, path.display());
    Ok(())
}

fn format_of(path: &Path) -> Format {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json" | "jsonl" | "ndjson") => Format::Json,
        _ => Format::Csv,
    }
}

async fn write(
    client: &Client,
    table: &TableDefinition,
    total: u64,
    format: Format,
    writer: impl Write,
) -> Result<u64> {
    let columns = attributes(table).map(|(name, _)| name.to_owned()).collect();
    let mut out = Output::new(format, columns, writer)?;
    let bar = progress::rows("reading", total);
    let mut rows = client.table(&table.name).scan(Scan::all()).await?;
    let mut count = 0;
    while let Some(row) = rows.next().await? {
        out.row(&row)?;
        count += 1;
        bar.at(count);
    }
    out.finish()?;
    Ok(count)
}
