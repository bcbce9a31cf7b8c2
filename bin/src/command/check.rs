//! `check`: looks through a data directory that nobody serves.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use hypermnesia_rpc::Value;

use crate::args::Global;
use crate::output;

/// Read every row in the image of a data directory and say what is damaged. The log is checked by a start of the member.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The data directory of a member that does not run.
    directory: PathBuf,
}

/// Prints what was found of each table; fails when anything is damaged.
pub(crate) async fn run(global: &Global, args: CheckArgs) -> Result<()> {
    let directory = args.directory.clone();
    let tables = tokio::task::spawn_blocking(move || hypermnesia::check_directory(directory)).await??;
    let mut out = output::stdout(global.format, &["table", "keys", "damage"])?;
    for table in &tables {
        let damage = table.damage.as_ref().map_or(Value::Null, |damage| Value::from(damage.to_string()));
        let name = table.name.clone().unwrap_or_else(|| table.table.to_string());
        out.row(&[name.into(), table.keys.into(), damage])?;
    }
    out.finish()?;
    output::note(
        "keys are those in the image: what only the log has yet is not among them; a start of the member checks the log",
    );
    match tables.iter().filter(|table| table.damage.is_some()).count() {
        0 => Ok(()),
        count => bail!("{count} of {} tables in {} are damaged", tables.len(), args.directory.display()),
    }
}
