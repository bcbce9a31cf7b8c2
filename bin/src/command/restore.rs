//! `restore`: backup files into the tables of a cluster. They are read to their end here first, so that nothing is sent that
//! is not whole; the member checks them again before it changes anything.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use hypermnesia::backup::{BackupFile, Chain};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{
    Client, Restore, RestoreAction, RestoreDone, RestoreMode, RestoreOptions, TableInfo, TableRestoreMode,
};
use hypermnesia_rpc::proto::Copy;

use super::backup::{checked, counted, figure, names, rate, seconds, sequences, tell_left_out};
use super::connect;
use super::retention::Size;
use super::table::show::storage_names;
use super::table::{CACHE_ALONE, StorageArg, storage_of};
use crate::args::{Global, Usage};
use crate::output::{self, Format, map, note};
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
    /// The memory that each copy of a table that is created may use for rows that are on disc alone; with --storage
    /// disc_only. Default: 64MiB.
    #[arg(long, value_name = "SIZE")]
    cache: Option<Size>,
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
    args.check()?;
    let files = args.files.iter().map(|path| checked(path)).collect::<Result<Vec<_>>>()?;
    let total = files.iter().map(|file| file.contents().file_bytes).sum();
    // Refused here rather than there, before anything is sent.
    let chain = Chain::of(files)?;
    let client = connect(global).await?;
    tell_storage(&args, &chain, &client.tables().await?);
    let begun = Instant::now();
    let done = restored(&client, options(&args), &args.files, total).await?;
    // Whoever names tables misses no others.
    let left_out = if args.tables.is_empty() { chain.left_out() } else { Vec::new() };
    told(global, &left_out, &done, begun.elapsed())
}

impl RestoreArgs {
    /// What clap cannot tell: options that say different things of one table.
    fn check(&self) -> Result<()> {
        if self.cache.is_some() && !matches!(self.storage, Some(StorageArg::DiscOnly)) {
            return Err(Usage::error(CACHE_ALONE));
        }
        let modes = self.modes();
        for (at, (option, tables, _)) in modes.iter().enumerate() {
            for table in tables.iter() {
                if let Some((other, ..)) = modes[..at].iter().find(|(_, tables, _)| tables.contains(table)) {
                    let text =
                        format!("{other} {table} and {option} {table}: a table is restored in one way");
                    return Err(Usage::error(text));
                }
                if !self.tables.is_empty() && !self.tables.contains(table) {
                    let only = self.tables.join(", ");
                    let text = format!("{option} {table}: --table restores only {only}; name it there too");
                    return Err(Usage::error(text));
                }
            }
        }
        Ok(())
    }

    /// The options that name single tables.
    fn modes(&self) -> [(&'static str, &[String], ModeArg); 4] {
        [
            ("--skip", &self.skip, ModeArg::Skip),
            ("--clear", &self.clear, ModeArg::Clear),
            ("--keep", &self.keep, ModeArg::Keep),
            ("--recreate", &self.recreate, ModeArg::Recreate),
        ]
    }

    /// What is done with a table that is there.
    fn mode_of(&self, table: &str) -> ModeArg {
        if !self.tables.is_empty() && !self.tables.iter().any(|name| name == table) {
            return ModeArg::Skip;
        }
        let own = self.modes().into_iter().find(|(_, tables, _)| tables.iter().any(|name| name == table));
        own.map_or(self.mode, |(_, _, mode)| mode)
    }
}

/// Says which tables stay where they are although a storage was named: only those that are created are put there.
fn tell_storage(args: &RestoreArgs, chain: &Chain, there: &[TableInfo]) {
    let Some(storage) = args.storage.map(storage_of) else { return };
    for table in chain.tables() {
        let name = table.def.name.as_str();
        let stays = matches!(args.mode_of(name), ModeArg::Clear | ModeArg::Keep);
        let there = there.iter().filter_map(|info| info.table.as_ref()).find(|there| there.name == name);
        let Some(there) = there.filter(|_| stays) else { continue };
        let differs = |copy: &Copy| {
            copy.storage() != storage || args.cache.is_some_and(|Size(bytes)| copy.cache_bytes != bytes)
        };
        if there.copies.iter().any(differs) {
            note(format_args!(
                "table {name} is there and stays as it is kept ({}): --storage is for tables that are created, as with --recreate {name}",
                storage_names(there)
            ));
        }
    }
}

fn options(args: &RestoreArgs) -> RestoreOptions {
    let modes = args.modes().into_iter().flat_map(|(_, tables, mode)| {
        let mode = RestoreMode::from(mode).into();
        tables.iter().map(move |table| TableRestoreMode { table: table.clone(), mode })
    });
    RestoreOptions {
        tables: args.tables.clone(),
        mode: RestoreMode::from(args.mode).into(),
        modes: modes.collect(),
        storage: args.storage.map_or(0, |storage| storage_of(storage).into()),
        without_sequences: args.no_sequences,
        cache_bytes: args.cache.map_or(0, |Size(bytes)| bytes),
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

fn told(global: &Global, left_out: &[(&str, &BackupFile)], done: &RestoreDone, took: Duration) -> Result<()> {
    if global.format == Format::Json {
        let tables = done.tables.iter().map(|table| {
            map([
                ("table", table.name.as_str().into()),
                ("action", action(table.action()).into()),
                ("rows", table.rows.into()),
                ("expired", table.expired.into()),
            ])
        });
        let columns = ["tables", "left_out", "sequences", "rows", "bytes", "seconds", "rows_per_s"];
        let mut out = output::stdout(Format::Json, &columns)?;
        out.row(&[
            Value::List(tables.collect()),
            names(left_out),
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
    tell_left_out(left_out);
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
