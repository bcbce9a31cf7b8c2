//! `backup`: tables of a running member into a file, which appears under its name when it is whole and on the disc. And
//! `backup show`: what is in such a file, without any member.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use hypermnesia::backup::{BackupFile, BackupId, BackupOptions, Baseline, Target};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{BackupBase, BackupDone, BackupPart, BackupRequest, Client};

use super::connect;
use crate::args::{Global, Usage};
use crate::output::{self, Format, many, map, note};
use crate::progress;

mod merge;
mod show;

/// Write tables into a backup file; show what is in such files, or merge them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The file. It appears under this name when it is whole.
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Take this table, and only those named so (repeatable). Default: all.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Take what has changed since this backup, which may be an incremental one itself.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Leave the sequences out.
    #[arg(long)]
    no_sequences: bool,
}

/// What else can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Read a backup file to its end: what is in it, or where it is damaged. Needs no member.
    Show(show::ShowArgs),
    /// Make one full backup of a full one and the incremental ones behind it. Needs no member.
    Merge(merge::MergeArgs),
}

/// Makes the backup, shows one, or puts several together.
pub(crate) async fn run(global: &Global, args: BackupArgs) -> Result<()> {
    match args.command {
        Some(BackupCommand::Show(args)) => return tokio::task::block_in_place(|| show::run(global, &args)),
        Some(BackupCommand::Merge(args)) => return tokio::task::block_in_place(|| merge::run(global, &args)),
        None => {}
    }
    let path = args.file.context("no file is named")?;
    if path == Path::new("-") {
        return Err(Usage::error(
            "a backup is written into a file, which takes its name when it is whole: name one",
        ));
    }
    let base = args.since.as_deref().map(checked).transpose()?;
    let options = base.iter().fold(BackupOptions::new(), BackupOptions::since);
    options.check_target(&path)?;
    let client = connect(global).await?;
    let request = BackupRequest {
        tables: args.tables,
        base: options.base.map(base_message),
        without_sequences: args.no_sequences,
    };
    let begun = Instant::now();
    let done = taken(&client, request, &path).await?;
    told(global, &path, &done, base.as_ref(), begun.elapsed())
}

/// A backup that was read to its end.
pub(super) fn checked(path: &Path) -> Result<BackupFile> {
    let mut bar = None;
    let file = BackupFile::open_with(path, |seen, total| {
        bar.get_or_insert_with(|| progress::bytes("checking", total)).at(seen);
    })?;
    Ok(file)
}

fn base_message(base: Baseline) -> BackupBase {
    BackupBase {
        id: base.base.id.0.to_vec(),
        position: base.base.position.0,
        cluster: base.cluster,
        node: base.node,
        tables: base.tables.iter().map(|table| table.0).collect(),
    }
}

async fn taken(client: &Client, request: BackupRequest, path: &Path) -> Result<BackupDone> {
    let target = Target::create(path)?;
    let cannot = || format!("cannot write {}", path.display());
    let mut parts = client.backup(request).await?;
    let (mut done, mut bar) = (None, None);
    while let Some(part) = parts.next().await? {
        match part {
            BackupPart::Chunk(bytes) => target.file().write_all(&bytes).with_context(cannot)?,
            BackupPart::Progress(rows, total) => {
                bar.get_or_insert_with(|| progress::rows("backing up", total)).at(rows);
            }
            BackupPart::Done(told) => done = Some(told),
        }
    }
    drop(bar);
    let done = done.context("the backup ended before it was whole")?;
    let written = target.file().metadata().with_context(cannot)?.len();
    if written != done.file_bytes {
        bail!("{} bytes of the backup came, and the member sent {}", written, done.file_bytes);
    }
    target.keep()?;
    Ok(done)
}

fn told(
    global: &Global,
    path: &Path,
    done: &BackupDone,
    base: Option<&BackupFile>,
    took: Duration,
) -> Result<()> {
    let id = <[u8; 16]>::try_from(done.id.as_slice()).map(BackupId).unwrap_or_default();
    if global.format == Format::Json {
        let tables = done.tables.iter().map(|table| {
            map([
                ("table", table.name.as_str().into()),
                ("incremental", table.incremental.into()),
                ("rows", table.rows.into()),
                ("bytes", table.bytes.into()),
                ("unchanged", table.unchanged.into()),
            ])
        });
        let columns = [
            "file",
            "id",
            "position",
            "base",
            "tables",
            "sequences",
            "rows",
            "bytes",
            "file_bytes",
            "seconds",
            "rows_per_s",
        ];
        let base = base.map(|base| base.contents().opening.id.to_string());
        let mut out = output::stdout(Format::Json, &columns)?;
        out.row(&[
            path.display().to_string().into(),
            id.to_string().into(),
            done.position.into(),
            base.into(),
            Value::List(tables.collect()),
            sequences(done.sequences.iter().map(|sequence| (sequence.name.as_str(), sequence.next))),
            done.rows.into(),
            done.bytes.into(),
            done.file_bytes.into(),
            seconds(took),
            rate(done.rows, took).into(),
        ])?;
        return out.finish().map(drop);
    }
    let mut out = output::stdout(global.format, &["table", "what", "rows", "bytes", "unchanged"])?;
    for table in &done.tables {
        let what = if table.incremental { "changes" } else { "all rows" };
        let (name, what) = (table.name.as_str().into(), what.into());
        out.row(&[name, what, table.rows.into(), table.bytes.into(), table.unchanged.into()])?;
    }
    out.finish()?;
    note(format_args!(
        "{}{} into {}, {} of file, position {}",
        figure(done.rows, done.bytes, took),
        counted(done.sequences.len()),
        path.display(),
        size(done.file_bytes),
        done.position
    ));
    Ok(())
}

/// Rows, bytes, time and rate, for people.
pub(super) fn figure(rows: u64, bytes: u64, took: Duration) -> String {
    let mut text = format!("{}, {}", many(rows, "row", "rows"), size(bytes));
    // Writing to a text does not fail.
    let _ = write!(text, " in {:.1} s ({} rows/s)", took.as_secs_f64(), rate(rows, took));
    text
}

/// Says which tables a chain leaves out, and why that may be.
pub(super) fn tell_left_out(left_out: &[(&str, &BackupFile)]) {
    for (table, file) in left_out {
        note(format_args!(
            "table {table} is left out: {} has it and the last file has not, as it was dropped in between or not chosen there",
            file.name()
        ));
    }
}

/// The names of these tables.
pub(super) fn names(left_out: &[(&str, &BackupFile)]) -> Value {
    Value::List(left_out.iter().map(|(table, _)| (*table).into()).collect())
}

/// How many sequences there are beside the rows, for people; nothing where there are none.
pub(super) fn counted(sequences: usize) -> String {
    match sequences {
        0 => String::new(),
        1 => " and 1 sequence".to_owned(),
        more => format!(" and {more} sequences"),
    }
}

/// Sequences, each with the number it goes on with.
pub(super) fn sequences<'a>(all: impl Iterator<Item = (&'a str, i64)>) -> Value {
    Value::List(all.map(|(name, next)| map([("sequence", name.into()), ("next", next.into())])).collect())
}

pub(super) fn rate(rows: u64, took: Duration) -> u64 {
    (rows as f64 / took.as_secs_f64().max(1e-6)) as u64
}

pub(super) fn seconds(took: Duration) -> Value {
    Value::Float((took.as_secs_f64() * 1e3).round() / 1e3)
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => many(bytes, "byte", "bytes"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
