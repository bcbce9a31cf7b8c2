//! `check`: looks through a data directory that nobody serves.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use hypermnesia::CheckedFile;
use hypermnesia_rpc::Value;

use crate::args::Global;
use crate::output;

/// The file in which the tables are.
const IMAGE_NAME: &str = "image.redb";

/// Read identity, log and image of a data directory, every record and every row, and say what is damaged.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The data directory of a member that does not run.
    directory: PathBuf,
}

/// Prints what was found of each file and each table; fails when anything is damaged.
pub(crate) async fn run(global: &Global, args: CheckArgs) -> Result<()> {
    let directory = args.directory.clone();
    let look = move || {
        Ok::<_, hypermnesia::Error>((
            hypermnesia::check_log(&directory)?,
            hypermnesia::check_directory(&directory),
        ))
    };
    let (files, tables) = tokio::task::spawn_blocking(look).await??;
    let mut out = output::stdout(global.format, &["file", "records", "table", "keys", "damage"])?;
    let told = |damage: Option<String>| damage.map_or(Value::Null, Value::from);
    for file in &files {
        let name = file.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let damage = file.damage.as_ref().map(ToString::to_string);
        out.row(&[name.into(), file.records.into(), Value::Null, Value::Null, told(damage)])?;
    }
    for table in tables.as_deref().unwrap_or_default() {
        let name = table.name.clone().unwrap_or_else(|| table.table.to_string());
        let damage = table.damage.as_ref().map(ToString::to_string);
        out.row(&[IMAGE_NAME.into(), Value::Null, name.into(), table.keys.into(), told(damage)])?;
    }
    out.finish()?;
    files.iter().for_each(tell_torn);
    output::note("keys are those in the image: what only the log has yet is not among them");
    let damaged = files.iter().filter(|file| file.damage.is_some()).count();
    let (tables, damaged) = match tables {
        Ok(tables) => (tables.len(), damaged + tables.iter().filter(|table| table.damage.is_some()).count()),
        Err(image) if damaged == 0 => return Err(image.into()),
        Err(image) => bail!("{image}; {damaged} other files in {} are damaged", args.directory.display()),
    };
    if damaged == 0 {
        return Ok(());
    }
    let all = files.len() + tables;
    bail!("{damaged} of {all} files and tables in {} are damaged", args.directory.display())
}

fn tell_torn(file: &CheckedFile) {
    if let Some((offset, bytes)) = file.torn {
        output::note(format!(
            "the log ends at byte {offset} of {}, and what stands behind it is no whole record, as a power cut or an end by force \
             leaves it: a start cuts off {bytes} bytes and keeps them aside",
            file.file.display()
        ));
    }
}
