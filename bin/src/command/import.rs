//! `import`: a CSV or JSON lines file into a table, made if it is not there. The file is read twice: once to infer the type
//! of every column from all of its values and to find bad lines before anything is written, once to write it in batches.
//! Batches are transactions of their own, so after a failure the table holds the rows before it, and the error says how many.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hypermnesia_rpc::client::{AttributeType, Client, Table, TableDefinition, Values};
use hypermnesia_rpc::{ErrorKind, Value};
use tokio::task::JoinSet;

use super::table::{AttributeSpec, Shape, spec, type_named};
use super::{attributes, connect, definition, loaded_table};
use crate::args::Global;
use crate::file::{self, Line};
use crate::infer::Inference;
use crate::literal;
use crate::progress;

/// Rows of one batch: one transaction of about a hundred kilobytes for ordinary rows.
const BATCH_ROWS: usize = 1000;
/// Batches on their way at a time: enough that reading, sending and committing overlap.
const BATCHES_AT_A_TIME: usize = 4;

/// Load a file into a table.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Name of the table. Created from the file's columns if it is not there.
    table: String,
    /// A CSV file with a header line, or JSON lines (by the ending: .json, .jsonl, .ndjson).
    file: PathBuf,
    #[command(flatten)]
    shape: Shape,
    /// The type of a column, instead of the inferred one; may be given several times.
    #[arg(long = "type", value_name = "COL:TYPE")]
    types: Vec<ColumnType>,
}

#[derive(Clone, Debug)]
struct ColumnType(String, AttributeType);

impl std::str::FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<ColumnType, String> {
        let (name, ty) = text.rsplit_once(':').ok_or("COL:TYPE is wanted, as in `code:text`")?;
        Ok(ColumnType(name.to_owned(), type_named(ty)?))
    }
}

/// Imports the file.
pub(crate) async fn run(global: &Global, args: ImportArgs) -> Result<()> {
    let begin = Instant::now();
    let client = connect(global).await?;
    let (inferred, lines) = survey(&args)?;
    let table = target(&client, global, &args, &inferred).await?;
    let rows = load(&client, &table, &args.file, &inferred, lines).await?;
    eprintln!("{rows} rows into {} in {:.1} s", args.table, begin.elapsed().as_secs_f64());
    Ok(())
}

/// Reads the whole file for the types of its columns. Nothing has been written when this fails.
fn survey(args: &ImportArgs) -> Result<(Inference, u64)> {
    let mut reader = file::open(&args.file)?;
    let bar = progress::bytes("reading", file_len(&args.file)?);
    let mut inference = Inference::new(reader.columns());
    let mut lines = 0;
    while let Some(line) = reader.next()? {
        inference.see(&line);
        lines += 1;
        bar.at(line.end);
    }
    for ColumnType(name, ty) in &args.types {
        let known = inference.state(name, *ty);
        if !known {
            bail!(
                "--type {name}: {} has no column of that name ({})",
                args.file.display(),
                inference.names().join(", ")
            );
        }
    }
    if inference.names().is_empty() {
        bail!("{} has no columns: a CSV file begins with a line of column names", args.file.display());
    }
    Ok((inference, lines))
}

fn file_len(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
}

/// The table to load into: as it is, or made from the columns.
async fn target(
    client: &Client,
    global: &Global,
    args: &ImportArgs,
    inferred: &Inference,
) -> Result<TableDefinition> {
    match loaded_table(client, global, &args.table).await {
        Ok(info) => return Ok(definition(&info)?.clone()),
        Err(error) if error.downcast_ref().is_some_and(is_not_found) => {}
        Err(error) => return Err(error),
    }
    let keys = if args.shape.key.is_empty() { &inferred.names()[..1] } else { &args.shape.key[..] };
    let wanted: Vec<AttributeSpec> = inferred.attributes(keys);
    if let Some(missing) = keys.iter().find(|key| !inferred.names().contains(key)) {
        bail!("--key {missing}: the file has no column of that name ({})", inferred.names().join(", "));
    }
    Ok(client.create_table(spec(&args.table, &wanted, &args.shape)).await?)
}

fn is_not_found(error: &hypermnesia_rpc::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// Writes the file's rows, several batches at a time.
async fn load(
    client: &Client,
    table: &TableDefinition,
    path: &Path,
    inferred: &Inference,
    lines: u64,
) -> Result<u64> {
    let order = column_order(table, inferred, path)?;
    let handle = client.table(&table.name);
    let bar = progress::rows("writing", lines);
    let mut reader = file::open(path)?;
    let mut running = JoinSet::new();
    let (mut done, mut batch, mut first_line) = (0, Vec::with_capacity(BATCH_ROWS), 0);
    while let Some(line) = reader.next()? {
        if batch.is_empty() {
            first_line = line.number;
        }
        batch.push(row(&line, &order).with_context(|| failure(path, &line, done))?);
        if batch.len() == BATCH_ROWS {
            if running.len() == BATCHES_AT_A_TIME {
                done += joined(&mut running, done).await?;
                bar.at(done);
            }
            start(&mut running, &handle, std::mem::take(&mut batch), first_line);
        }
    }
    if !batch.is_empty() {
        start(&mut running, &handle, batch, first_line);
    }
    while !running.is_empty() {
        done += joined(&mut running, done).await?;
        bar.at(done);
    }
    Ok(done)
}

type Written = (u64, u64, Result<u64, hypermnesia_rpc::Error>);

fn start(running: &mut JoinSet<Written>, table: &Table, rows: Vec<Values>, first_line: u64) {
    let table = table.clone();
    running.spawn(async move {
        let count = rows.len() as u64;
        (first_line, count, table.put_many(rows).await)
    });
}

async fn joined(running: &mut JoinSet<Written>, done: u64) -> Result<u64> {
    let Some(finished) = running.join_next().await else { return Ok(0) };
    let (first_line, count, outcome) = finished.map_err(|error| anyhow!("a writer ended: {error}"))?;
    outcome.with_context(|| {
        format!("the {count} rows from line {first_line} on were not acknowledged; {done} other rows were, and stay")
    })?;
    Ok(count)
}

fn failure(path: &Path, line: &Line, done: u64) -> String {
    format!("{}, line {}: {done} rows before it are in the table", path.display(), line.number)
}

/// For each attribute of the table: its name, its type, and the column of the file.
fn column_order(
    table: &TableDefinition,
    inferred: &Inference,
    path: &Path,
) -> Result<Vec<(String, AttributeType, Option<usize>)>> {
    let names = inferred.names();
    if let Some(extra) =
        names.iter().find(|name| !attributes(table).any(|(attribute, _)| attribute == name.as_str()))
    {
        bail!("{} has a column {extra:?}, table {:?} has no such attribute", path.display(), table.name);
    }
    Ok(attributes(table)
        .map(|(name, ty)| (name.to_owned(), ty, names.iter().position(|column| column == name)))
        .collect())
}

fn row(line: &Line, order: &[(String, AttributeType, Option<usize>)]) -> Result<Values> {
    let values: Result<Vec<Value>> = order
        .iter()
        .map(|(name, ty, column)| {
            let Some(column) = column else { return Ok(Value::Null) };
            line.value(*column, name, *ty).with_context(|| format!("column {name:?}"))
        })
        .collect();
    Ok(Values(values?))
}

impl Line {
    /// The value of one column as an attribute of this type.
    fn value(&self, column: usize, name: &str, ty: AttributeType) -> Result<Value> {
        match &self.fields {
            file::Fields::Text(texts) => literal::of_type(texts.get(column).map_or("", String::as_str), ty),
            file::Fields::Json(object) => {
                let json = object.get(name).unwrap_or(&serde_json::Value::Null);
                json_of_type(json, ty)
            }
        }
    }
}

/// JSON says itself what it is, except that bytes, timestamps and whole floats are written as text and numbers.
fn json_of_type(json: &serde_json::Value, ty: AttributeType) -> Result<Value> {
    match (literal::from_json(json), ty) {
        (Value::Text(text), AttributeType::Bytes | AttributeType::Timestamp) => literal::of_type(&text, ty),
        (Value::Int(us), AttributeType::Timestamp) => Ok(Value::Timestamp(us)),
        (value, AttributeType::Text) if !matches!(value, Value::Text(_) | Value::Null) => {
            Ok(Value::Text(crate::output::plain(&value)))
        }
        (value, _) => Ok(value),
    }
}
