//! `import`: a CSV or JSON lines file into a table, made if it is not there. The file is read twice: once to infer the type
//! of every column from all of its values and to find lines that cannot be read before anything is written, once to write it
//! in batches. Batches are transactions of their own, so after a failure the table holds some of the rows: the error names
//! the line that was refused and counts what is in. A table that was made for nothing is dropped again.

mod agree;
mod check;
mod load;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{AttributeType, Client, TableDefinition, TableInfo, TableKind};

use super::table::{AttributeSpec, Shape, spec, type_named};
use super::{attributes, connect, definition, loaded_table};
use crate::args::{Global, Usage};
use crate::file::{Layout, Source};
use crate::infer::Inference;
use crate::output::{Format, many, note};
use crate::progress;
use load::Loaded;

/// Load a file into a table.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Name of the table. Created from the file's columns if it is not there.
    table: String,
    /// A CSV file with a header line, or JSON lines: by --format, else by the ending (.csv, .json, .jsonl, .ndjson), else by
    /// its first character. `-` is the standard input.
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
    args.shape.check()?;
    let layout = match (global.format_given, global.format) {
        (false, _) => None,
        (true, Format::Csv) => Some(Layout::Csv),
        (true, Format::Json) => Some(Layout::Json),
        (true, Format::Table) => return Err(Usage::error("--format table: import reads csv and json")),
    };
    let client = connect(global).await?;
    let there = find(&client, global, &args.table).await?;
    if let Some(info) = &there {
        agree::check(definition(info)?, &args)?;
    }
    let source = Source::open(&args.file, layout)?;
    let survey = survey(&source, &args, there.as_ref())?;
    let table = match &there {
        Some(info) => definition(info)?.clone(),
        None => create(&client, &args, &survey.columns).await?,
    };
    let loaded = load::run(&client, &table, &source, &survey).await;
    let failed = match loaded {
        Ok(loaded) if loaded.failed.is_none() => {
            let before = there.as_ref().map_or(Some(0), |info| info.loaded.then_some(info.rows));
            note(finished(&client, &table, &loaded, before, begin).await);
            return Ok(());
        }
        Ok(loaded) => failure(&loaded, &source, &table, survey.rows),
        Err(error) => (error, true),
    };
    match failed {
        (error, true) if there.is_none() => Err(dropped(&client, &args.table, error).await),
        (error, _) => Err(error),
    }
}

/// The table, if it is there.
async fn find(client: &Client, global: &Global, name: &str) -> Result<Option<TableInfo>> {
    match loaded_table(client, global, name).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.downcast_ref().is_some_and(is_not_found) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &hypermnesia_rpc::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// What the first reading found.
struct Survey {
    columns: Inference,
    rows: u64,
}

/// Reads the whole file for the types of its columns. Nothing has been written when this fails.
fn survey(source: &Source, args: &ImportArgs, there: Option<&TableInfo>) -> Result<Survey> {
    let mut reader = source.reader()?;
    let bar = progress::bytes("reading", source.bytes);
    let table = there.and_then(|info| info.table.as_ref());
    let known = table.into_iter().flat_map(attributes).map(|(name, ty)| (name.to_owned(), ty));
    let stated = args.types.iter().map(|ColumnType(name, ty)| (name.clone(), *ty));
    let mut columns = Inference::new(reader.columns(), stated.chain(known).collect());
    let mut rows = 0;
    while let Some(line) = reader.next()? {
        columns.see(&line).map_err(|error| anyhow!("{}, line {}: {error:#}", source.name, line.number))?;
        rows += 1;
        bar.at(line.end);
    }
    let names = columns.names();
    if names.is_empty() {
        bail!("{} has no columns: a CSV file begins with a line of column names", source.name);
    }
    if let Some(ColumnType(name, _)) = args.types.iter().find(|ColumnType(name, _)| !names.contains(name)) {
        bail!("--type {name}: {} has no column of that name ({})", source.name, names.join(", "));
    }
    Ok(Survey { columns, rows })
}

/// A new table from the columns.
async fn create(client: &Client, args: &ImportArgs, columns: &Inference) -> Result<TableDefinition> {
    let names = columns.names();
    let keys = if args.shape.key.is_empty() { &names[..1] } else { &args.shape.key[..] };
    if let Some(missing) = keys.iter().find(|key| !names.contains(key)) {
        bail!("--key {missing}: the file has no column of that name ({})", names.join(", "));
    }
    let wanted: Vec<AttributeSpec> = columns.attributes(keys);
    Ok(client.create_table(spec(&args.table, &wanted, &args.shape)).await?)
}

/// What was loaded, and where fewer rows are there than were read, why.
async fn finished(
    client: &Client,
    table: &TableDefinition,
    loaded: &Loaded,
    before: Option<u64>,
    begin: Instant,
) -> String {
    let (read, seconds) = (loaded.rows_in, begin.elapsed().as_secs_f64());
    let said = format!("{} into {} in {seconds:.1} s", rows(read), table.name);
    // Sizes are this member's; where it has no copy, or does not say, there is nothing to compare.
    let after = client.describe_table(&table.name).await.ok().filter(|info| info.loaded);
    match (before, after) {
        (Some(before), Some(info)) if info.rows != before + read => {
            let why = match table.kind() {
                TableKind::Bag => "rows that are equal are one row",
                _ => "a row takes the place of an earlier one with the same key",
            };
            format!("{said}; the table had {} and has {} now: {why}", rows(before), info.rows)
        }
        _ => said,
    }
}

/// The error of an import that did not get through, and whether it certainly left no row behind.
fn failure(loaded: &Loaded, source: &Source, table: &TableDefinition, total: u64) -> (anyhow::Error, bool) {
    let Some(failed) = &loaded.failed else { return (anyhow!("no error"), false) };
    let kept = format!("{} of the file's {} in {:?}", loaded.rows_in, are(total), table.name);
    let unknown = match loaded.rows_unknown {
        0 => String::new(),
        count => format!("; of {count} more nobody knows"),
    };
    let error = anyhow!("{}, {failed} ({kept}{unknown})", source.name);
    (error, loaded.rows_in == 0 && loaded.rows_unknown == 0)
}

fn rows(count: u64) -> String {
    many(count, "row", "rows")
}

fn are(total: u64) -> String {
    many(total, "row is", "rows are")
}

/// Takes back the table that was made for nothing, unless somebody else has written into it.
async fn dropped(client: &Client, name: &str, error: anyhow::Error) -> anyhow::Error {
    match client.describe_table(name).await {
        Ok(info) if info.rows > 0 => return error,
        Err(_) => return anyhow!("{error:#}; the new table {name:?} is left as it is"),
        Ok(_) => {}
    }
    match client.drop_table(name).await {
        Ok(()) => anyhow!("{error:#}; the new table {name:?} was dropped again"),
        Err(why) => anyhow!("{error:#}; the new table {name:?} is empty and could not be dropped: {why}"),
    }
}
