//! `restore`: backup files into the tables of a cluster. They are read to their end here first, so that nothing is sent that
//! is not whole; the member checks them again before it changes anything.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hypermnesia::backup::Chain;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{
    Client, Restore, RestoreAction, RestoreDone, RestoreMode, RestoreOptions, TableRestoreMode,
};

use super::backup::{checked, counted, figure, map, rate, seconds, sequences};
use super::connect;
use super::table::{StorageArg, storage_of};
use crate::args::Global;
use crate::output::{self, Format, note};
use crate::progress;

/// Bytes that are sent at a time.
const SENT_AT_A_TIME: usize = 256 * 1024;

/// Write the rows of a backup into tables.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The file; or a full backup and the incremental ones behind it, in their order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What to do with tables that are there. Those that are not are created.
    #[arg(long, value_enum, default_value_t = ModeArg::Clear)]
    mode: ModeArg,
    /// Leave this table as it is (repeatable).
    #[arg(long, value_name = "TABLE")]
    skip: Vec<String>,
    /// Delete the rows of this table first (repeatable).
    #[arg(long, value_name = "TABLE")]
    clear: Vec<String>,
    /// Write over the rows of this table (repeatable).
    #[arg(long, value_name = "TABLE")]
    keep: Vec<String>,
    /// Drop this table and create it as the backup has it (repeatable).
    #[arg(long, value_name = "TABLE")]
    recreate: Vec<String>,
    /// Restore this table, and only those named so (repeatable). Default: all of the backup.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Create tables with a copy of this storage on every member. Default: the copies they had.
    #[arg(long, value_enum)]
    storage: Option<StorageArg>,
    /// Leave the sequences as they are: numbers that the rows have may be given out again then.
    #[arg(long)]
    no_sequences: bool,
}

/// What to do with a table that is there.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    /// Leave it as it is.
    Skip,
    /// Delete its rows, then write the backup's.
    Clear,
    /// Write the backup's rows over its own.
    Keep,
    /// Drop it and create it as the backup has it.
    Recreate,
}

impl From<ModeArg> for RestoreMode {
    fn from(mode: ModeArg) -> RestoreMode {
        match mode {
            ModeArg::Skip => RestoreMode::Skip,
            ModeArg::Clear => RestoreMode::Clear,
            ModeArg::Keep => RestoreMode::Keep,
            ModeArg::Recreate => RestoreMode::Recreate,
        }
    }
}

/// Restores the files.
pub(crate) async fn run(global: &Global, args: RestoreArgs) -> Result<()> {
    let files = args.files.iter().map(|path| checked(path)).collect::<Result<Vec<_>>>()?;
    let total = files.iter().map(|file| file.contents().file_bytes).sum();
    // Refused here rather than there, before anything is sent.
    Chain::of(files)?;
    let client = connect(global).await?;
    let begun = Instant::now();
    let done = restored(&client, options(&args), &args.files, total).await?;
    told(global, &done, begun.elapsed())
}

fn options(args: &RestoreArgs) -> RestoreOptions {
    let of = |tables: &[String], mode: RestoreMode| {
        let one = |table: &String| TableRestoreMode { table: table.clone(), mode: mode.into() };
        tables.iter().map(one).collect::<Vec<_>>()
    };
    let modes = [
        of(&args.skip, RestoreMode::Skip),
        of(&args.clear, RestoreMode::Clear),
        of(&args.keep, RestoreMode::Keep),
        of(&args.recreate, RestoreMode::Recreate),
    ];
    RestoreOptions {
        tables: args.tables.clone(),
        mode: RestoreMode::from(args.mode).into(),
        modes: modes.concat(),
        storage: args.storage.map_or(0, |storage| storage_of(storage).into()),
        without_sequences: args.no_sequences,
    }
}

async fn restored(
    client: &Client,
    options: RestoreOptions,
    files: &[PathBuf],
    total: u64,
) -> Result<RestoreDone> {
    let mut restore = client.restore(options).await?;
    let bar = progress::bytes("sending", total);
    let mut sent = 0;
    for file in files {
        send(&mut restore, file, |bytes| {
            sent += bytes;
            bar.at(sent);
        })
        .await?;
    }
    drop(bar);
    let mut bar = None;
    let told = |rows, total| bar.get_or_insert_with(|| progress::rows("restoring", total)).at(rows);
    Ok(restore.finish(told).await?)
}

async fn send(restore: &mut Restore, file: &Path, mut told: impl FnMut(u64)) -> Result<()> {
    let cannot = || format!("cannot read {}", file.display());
    restore.file(file.display().to_string()).await?;
    let mut from = File::open(file).with_context(cannot)?;
    loop {
        let mut chunk = Vec::with_capacity(SENT_AT_A_TIME);
        let read = (&mut from).take(SENT_AT_A_TIME as u64).read_to_end(&mut chunk).with_context(cannot)?;
        if read == 0 {
            return Ok(());
        }
        restore.chunk(chunk).await?;
        told(read as u64);
    }
}

fn told(global: &Global, done: &RestoreDone, took: Duration) -> Result<()> {
    if global.format == Format::Json {
        let tables = done.tables.iter().map(|table| {
            map([
                ("table", table.name.as_str().into()),
                ("action", action(table.action()).into()),
                ("rows", table.rows.into()),
                ("expired", table.expired.into()),
            ])
        });
        let mut out =
            output::stdout(Format::Json, &["tables", "sequences", "rows", "bytes", "seconds", "rows_per_s"])?;
        out.row(&[
            Value::List(tables.collect()),
            sequences(done.sequences.iter().map(|sequence| (sequence.name.as_str(), sequence.next))),
            done.rows.into(),
            done.bytes.into(),
            seconds(took),
            rate(done.rows, took).into(),
        ])?;
        return out.finish().map(drop);
    }
    let mut out = output::stdout(global.format, &["table", "what", "rows", "expired"])?;
    for table in &done.tables {
        let what = action(table.action()).into();
        out.row(&[table.name.as_str().into(), what, table.rows.into(), table.expired.into()])?;
    }
    out.finish()?;
    let sequences = counted(done.sequences.len());
    note(format_args!("{}{sequences} restored", figure(done.rows, done.bytes, took)));
    Ok(())
}

fn action(action: RestoreAction) -> &'static str {
    match action {
        RestoreAction::Skipped => "skipped",
        RestoreAction::Created => "created",
        RestoreAction::Cleared => "cleared",
        RestoreAction::Kept => "kept",
        RestoreAction::Recreated => "recreated",
        RestoreAction::Unspecified => "",
    }
}
