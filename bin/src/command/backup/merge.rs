//! `backup merge`: a full backup and the incremental ones behind it become one full backup, without any member. Never one of
//! those that are read, and what is not in it is said.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use hypermnesia::backup::{BackupSummary, Chain};
use hypermnesia_rpc::Value;

use super::{checked, counted, figure, names, seconds, sequences, size, tell_left_out};
use crate::args::Global;
use crate::output::{self, Format, map, note};

/// What becomes one file.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The file that is written. It appears under this name when it is whole.
    new: PathBuf,
    /// The full backup and the incremental ones behind it, in their order.
    // At least two: with one, whoever leaves out the name of the new file would have a backup written over.
    #[arg(required = true, num_args = 2.., value_names = ["FULL", "INCREMENTAL"])]
    files: Vec<PathBuf>,
}

/// Writes the file.
pub(crate) fn run(global: &Global, args: &MergeArgs) -> Result<()> {
    check_target(args)?;
    let begun = Instant::now();
    let files = args.files.iter().map(|path| checked(path)).collect::<Result<Vec<_>>>()?;
    let chain = Chain::of(files)?;
    let summary = chain.rewrite(&args.new, |_, row| Ok(Some(row)))?;
    told(global, args, &chain, &summary, begun.elapsed())
}

/// Refuses to write over what is read: with it the way back would be lost.
fn check_target(args: &MergeArgs) -> Result<()> {
    let Ok(new) = args.new.canonicalize() else { return Ok(()) };
    if args.files.iter().any(|file| file.canonicalize().is_ok_and(|file| file == new)) {
        bail!(
            "{} is one of the backups that are merged and would be lost: the first name is that of the new file, give it another",
            args.new.display()
        );
    }
    Ok(())
}

fn told(
    global: &Global,
    args: &MergeArgs,
    chain: &Chain,
    done: &BackupSummary,
    took: Duration,
) -> Result<()> {
    let path = args.new.display();
    if global.format == Format::Json {
        let tables = done.tables.iter().map(|table| {
            map([
                ("table", table.name.as_str().into()),
                ("rows", table.rows.into()),
                ("bytes", table.bytes.into()),
            ])
        });
        let columns = [
            "file",
            "id",
            "position",
            "tables",
            "left_out",
            "sequences",
            "rows",
            "bytes",
            "file_bytes",
            "seconds",
        ];
        let mut out = output::stdout(Format::Json, &columns)?;
        out.row(&[
            path.to_string().into(),
            done.id.to_string().into(),
            done.position.0.into(),
            Value::List(tables.collect()),
            names(&chain.left_out()),
            sequences(done.sequences.iter().map(|sequence| (sequence.name.as_str(), sequence.next))),
            done.rows.into(),
            done.bytes.into(),
            done.file_bytes.into(),
            seconds(took),
        ])?;
        return out.finish().map(drop);
    }
    let mut out = output::stdout(global.format, &["table", "rows", "bytes"])?;
    for table in &done.tables {
        out.row(&[table.name.as_str().into(), table.rows.into(), table.bytes.into()])?;
    }
    out.finish()?;
    tell_left_out(&chain.left_out());
    let text = figure(done.rows, done.bytes, took) + &counted(done.sequences.len());
    note(format_args!("{text} into {path}, {} of file", size(done.file_bytes)));
    Ok(())
}
