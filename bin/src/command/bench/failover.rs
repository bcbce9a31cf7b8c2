//! `bench failover`: kills members of a cluster of its own, and says how soon the others write again.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use hypermnesia::limits::LEASE_DEFAULT;

use super::{Printer, StorageArg, fresh};
use crate::args::Global;
use crate::bench::failover::{Failover, Kill, Summary};
use crate::command::retention::Length;
use crate::output::{self, Format};
use crate::progress;

const ABOUT: &str = "\
Starts three members on this machine, each a process of its own, and ends them. One
after the other is killed (SIGKILL), whoever leads the control plane at every third
time; a client of one that is left writes row after row; the member is started again
and the cluster waited for. Prints one JSON line per kill (or a table, if --format is
given): the time from the kill to the first acknowledgement of a write that began when
the process was gone. Then a summary, with the bars beside it, of all and of leaders
and followers. Fails when a write was lost or done twice.

Examples:
  hmn bench failover
  hmn bench failover --kills 50 --lease 150ms --storage ram,disc";

/// How soon a cluster writes again when a member is killed.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct FailoverArgs {
    /// How many members are killed, one after the other.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    kills: u16,
    /// How long leases last, 100ms to 60s. Default: 500ms.
    #[arg(long, value_name = "TIME")]
    lease: Option<Length>,
    /// Where the tables are. Default: ram, and with --data disc.
    #[arg(long, value_enum, value_delimiter = ',')]
    storage: Vec<StorageArg>,
    /// Where members on disc keep their logs, which stay there. Default: a temporary directory, which goes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl FailoverArgs {
    fn storages(&self) -> Vec<StorageArg> {
        match (self.storage.is_empty(), &self.data) {
            (false, _) => self.storage.clone(),
            (true, None) => vec![StorageArg::Ram],
            (true, Some(_)) => vec![StorageArg::Disc],
        }
    }
}

pub(super) async fn run(global: &Global, args: FailoverArgs) -> Result<()> {
    let mut printer = Printer::new(global);
    for storage in args.storages() {
        let summary = one(&args, storage, &mut printer).await?;
        match printer.format {
            Format::Json => printer.print(&summary)?,
            Format::Table | Format::Csv => tell(&summary),
        }
        summary.rows.check()?;
    }
    printer.finish()
}

/// All kills of one cluster.
async fn one(args: &FailoverArgs, storage: StorageArg, printer: &mut Printer) -> Result<Summary> {
    let temporary = tempfile::tempdir().context("no temporary directory")?;
    let data = match &args.data {
        _ if storage == StorageArg::Ram => None,
        None => Some(temporary.path().to_owned()),
        Some(kept) => Some(fresh(kept, storage, &[])?),
    };
    let lease = args.lease.map_or(LEASE_DEFAULT, |Length(lease)| lease);
    let mut failover = Failover::start((storage.remote(), storage.name()), lease, data.as_deref()).await?;
    let bar = progress::steps(format!("killing members, {}", storage.name()), args.kills.into());
    let mut kills: Vec<Kill> = Vec::new();
    for number in 0..args.kills {
        bar.at(number.into());
        let kill = failover.kill(number.into()).await?;
        printer.print(&kill)?;
        kills.push(kill);
    }
    drop(bar);
    Summary::of(&kills, failover.finish().await?)
}

/// The summary in words.
fn tell(summary: &Summary) {
    let Summary { storage, lease_ms, kills, followers, leaders, .. } = summary;
    output::note(format_args!(
        "{storage}, leases of {lease_ms} ms, {kills} kills, ms until a write is acknowledged:"
    ));
    let each = [
        (format!("{followers} followers"), summary.follower_p50, summary.follower_worst),
        (format!("{leaders} leaders"), summary.leader_p50, summary.leader_worst),
        ("all".to_owned(), summary.p50, summary.worst),
        ("bars".to_owned(), summary.p50_bar, summary.worst_bar),
    ];
    for (who, p50, worst) in each {
        output::note(format_args!("  {who}: median {p50}, worst {worst}"));
    }
    let rows = &summary.rows;
    output::note(format_args!(
        "  {} rows acknowledged, {} lost, {} twice",
        rows.acknowledged, rows.lost, rows.twice
    ));
}
