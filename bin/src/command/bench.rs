//! `bench`: measures workloads on a cluster of its own, or with `--addr` on a running one; how soon one writes again after a kill
//! is `failover`'s, what a member costs that comes back `rejoin`'s.

mod failover;
mod rejoin;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, Subcommand};
use hypermnesia::{Ack, Storage};
use hypermnesia_rpc::client;

use crate::args::{Global, Usage};
use crate::bench::cluster::{Cluster, Placement, Wanted};
use crate::bench::echo;
use crate::bench::figure::{Figure, Setting, hundredth};
use crate::bench::records::{Kept, RECORDS_OF_VALUE};
use crate::bench::remote::Remote;
use crate::bench::run::Clients;
use crate::bench::workload::Workload;
use crate::json;
use crate::output::{self, Format};
use crate::progress;

/// Alternations of echo and bench.
const ECHO_ROUNDS: usize = 10;
/// Length of each of their windows.
const ECHO_WINDOW: Duration = Duration::from_secs(1);

const ABOUT: &str = "\
Unless --addr is given it starts a cluster for the time of the run: the first node
inside this process, where a program that embeds a node has it, the others as
processes of their own. With --addr it measures that running cluster over gRPC, in
tables of its own whose names begin with bench_ and which it drops at the end;
HMN_ADDR alone does not count, so that no cluster is put under load by accident.

Prints one JSON line per figure (or a table or CSV at the end, if --format is given):
operations per second, median and 99th percentile in microseconds, of the median of
the repetitions. Workloads, fields, and how other systems are measured alike:
benches/peers/README.md.

Examples:
  hmn bench write_txn read_txn
  hmn bench write_txn --nodes 3 --clients 1,64 --seconds 3 --storage disc --placement one,spread
  hmn bench write_txn --clients 1 --echo
  hmn bench dirty_read write_txn --clients 16 --addr 127.0.0.1:7400
  hmn bench failover --kills 10";

/// Measure workloads on a cluster of its own, or on a running one.
#[derive(Debug, Args)]
#[command(after_help = ABOUT, args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    other: Option<Other>,
    /// What to measure; all when none is named.
    #[arg(value_enum, value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// Nodes of the cluster, each with a copy of every table.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// Clients at a time, each waiting for its answer before it asks again.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64], value_parser = clap::value_parser!(u16).range(1..=4096))]
    clients: Vec<u16>,
    /// Length of a window.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,
    /// Where the tables are.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [StorageArg::Ram])]
    storage: Vec<StorageArg>,
    /// What has happened on every copy on disc when a write is acknowledged; a cluster of its own only.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = AckArg::Logged)]
    ack: AckArg,
    /// Where the clients are: all in the first node, or spread over all.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Placement::One])]
    placement: Vec<Placement>,
    /// Records in the table of the plain workloads.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(2..=100_000_000))]
    records: u64,
    /// Branches of tpcb, each with 100,000 accounts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    scale: u64,
    /// Windows per figure.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    reps: u16,
    /// What clients are. Default: threads up to 2 clients, tasks above.
    #[arg(long, value_enum, value_name = "KIND")]
    clients_as: Option<Clients>,
    /// Where a cluster of its own keeps its logs, which stay there. Default: a temporary directory, which goes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Measure with one client only, alternating with an echo of 128 bytes over a loopback socket, and print the ratio of
    /// the medians.
    #[arg(long)]
    echo: bool,
}

/// What is measured otherwise than by a workload.
#[derive(Debug, Subcommand)]
pub(crate) enum Other {
    /// How soon a cluster writes again when a member is killed.
    Failover(failover::FailoverArgs),
    /// What a member costs the others when it comes back.
    Rejoin(rejoin::RejoinArgs),
}

/// Ack levels, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AckArg {
    /// It is in the memory of every copy.
    Memory,
    /// It was handed to the operating system: survives the end of all processes.
    Logged,
    /// It is on the disc: survives the loss of power.
    Synced,
}

impl AckArg {
    fn name(self) -> &'static str {
        match self {
            AckArg::Memory => "memory",
            AckArg::Logged => "logged",
            AckArg::Synced => "synced",
        }
    }

    fn own(self) -> Ack {
        match self {
            AckArg::Memory => Ack::Memory,
            AckArg::Logged => Ack::Logged,
            AckArg::Synced => Ack::Synced,
        }
    }
}

/// Where tables are, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StorageArg {
    /// In memory.
    Ram,
    /// In memory and on disc.
    Disc,
    /// On disc, with a cache in memory.
    #[value(name = "disc_only", alias = "disc-only")]
    DiscOnly,
}

impl StorageArg {
    fn name(self) -> &'static str {
        match self {
            StorageArg::Ram => "ram",
            StorageArg::Disc => "disc",
            StorageArg::DiscOnly => "disc_only",
        }
    }

    fn own(self) -> Storage {
        match self {
            StorageArg::Ram => Storage::Ram,
            StorageArg::Disc => Storage::Disc,
            StorageArg::DiscOnly => Storage::DISC_ONLY,
        }
    }

    fn remote(self) -> client::Storage {
        match self {
            StorageArg::Ram => client::Storage::Ram,
            StorageArg::Disc => client::Storage::Disc,
            StorageArg::DiscOnly => client::Storage::DiscOnly,
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.05 to 3600 is wanted".to_owned()),
    }
}

/// Measures what is asked for.
pub(crate) async fn run(global: &Global, mut args: BenchArgs) -> Result<()> {
    match args.other.take() {
        Some(Other::Failover(args)) => return failover::run(global, args).await,
        Some(Other::Rejoin(args)) => return rejoin::run(global, args).await,
        None => {}
    }
    args.check()?;
    if global.addr_given {
        return on_running_cluster(global, &args).await;
    }
    if std::env::var_os("HMN_ADDR").is_some() {
        output::note("HMN_ADDR is not used: without --addr a cluster of its own is measured");
    }
    let printer = Printer::new(global);
    // Blocks for its whole life, on a thread that runs no tasks.
    let thread =
        std::thread::Builder::new().name("bench".into()).spawn(move || on_own_cluster(&args, printer))?;
    tokio::task::spawn_blocking(move || thread.join()).await?.map_err(|_| anyhow!("the bench panicked"))?
}

/// The figures over gRPC. The tables go again also when something fails.
async fn on_running_cluster(global: &Global, args: &BenchArgs) -> Result<()> {
    if args.echo {
        return Err(Usage::error("--echo compares with a cluster of its own: leave --addr away"));
    }
    if args.data.is_some() {
        return Err(Usage::error("--data is for a cluster of its own: leave it or --addr away"));
    }
    let most = args.clients.iter().copied().max().unwrap_or(1);
    let mut remote = Remote::connect(global, most.into()).await?;
    let mut printer = Printer::new(global);
    let measured = measure_remote(&mut remote, args, &mut printer).await;
    let cleared = remote.clear().await;
    measured.and(cleared).and(printer.finish())
}

async fn measure_remote(remote: &mut Remote, args: &BenchArgs, printer: &mut Printer) -> Result<()> {
    let nodes = remote.members().await?;
    for storage in &args.storage {
        for workload in args.workloads() {
            for wanted in
                args.wanted(workload).into_iter().filter(|wanted| wanted.placement == Placement::One)
            {
                remote.prepare(&wanted, storage.remote()).await?;
                let setting =
                    Setting { nodes, clients: "grpc", ack: None, ..args.setting(&wanted, *storage) };
                let mut windows = Vec::new();
                for rep in 0..args.reps {
                    note(&format!(
                        "{} clients {} {}/{}",
                        setting.workload,
                        setting.threads,
                        rep + 1,
                        args.reps
                    ));
                    windows.push(remote.measure(&wanted).await?);
                }
                printer.print(&Figure::of(setting, windows))?;
            }
        }
        remote.clear().await?;
    }
    Ok(())
}

fn on_own_cluster(args: &BenchArgs, mut printer: Printer) -> Result<()> {
    let workloads = args.workloads();
    for storage in &args.storage {
        // The bank's tables stand in a cluster of their own, as in the peers' runs.
        let (bank, plain): (Vec<_>, Vec<_>) =
            workloads.iter().partition(|workload| **workload == Workload::Tpcb);
        for group in [plain, bank] {
            if !group.is_empty() {
                figures(args, *storage, &group, &mut printer)?;
            }
        }
    }
    printer.finish()
}

/// The figures of some workloads on one cluster.
fn figures(
    args: &BenchArgs,
    storage: StorageArg,
    workloads: &[Workload],
    printer: &mut Printer,
) -> Result<()> {
    let temporary = tempfile::tempdir().context("no temporary directory")?;
    let data = match &args.data {
        _ if storage == StorageArg::Ram => None,
        None => Some(temporary.path().to_owned()),
        Some(kept) => Some(fresh(kept, storage, workloads)?),
    };
    let mut cluster = Cluster::start(args.nodes.into(), data.as_deref())?;
    for workload in workloads {
        for wanted in args.wanted(*workload) {
            cluster.prepare(&wanted, Kept { storage: storage.own(), ack: args.ack.own() })?;
            let setting = args.setting(&wanted, storage);
            if args.echo {
                printer.print(&against_echo(&mut cluster, &wanted, setting)?)?;
            } else {
                let windows: Result<Vec<_>> = (0..args.reps)
                    .map(|rep| {
                        note(&format!(
                            "{} clients {} {}/{}",
                            setting.workload,
                            setting.threads,
                            rep + 1,
                            args.reps
                        ));
                        cluster.measure(&wanted)
                    })
                    .collect();
                printer.print(&Figure::of(setting, windows?))?;
            }
        }
        cluster.check(*workload)?;
    }
    Ok(())
}

/// Where one cluster keeps its logs below a directory that somebody named. Each has a place of its own there, since none can
/// begin with what another one left.
fn fresh(kept: &Path, storage: StorageArg, workloads: &[Workload]) -> Result<PathBuf> {
    let bank = if workloads.contains(&Workload::Tpcb) { "-tpcb" } else { "" };
    let data = kept.join(format!("{}{bank}", storage.name()));
    ensure!(!data.exists(), "{} is there already: remove it, or name another --data", data.display());
    output::note(format_args!("the logs of this cluster stay in {}", data.display()));
    Ok(data)
}

/// One-client medians against the bare socket's, in alternating windows.
fn against_echo(cluster: &mut Cluster, wanted: &Wanted, setting: Setting) -> Result<serde_json::Value> {
    let (mut echoes, mut ours) = (Vec::new(), Vec::new());
    let bar = progress::steps(format!("measuring {} and echo", setting.workload), 2 * ECHO_ROUNDS as u64);
    for round in 0..ECHO_ROUNDS as u64 {
        bar.at(2 * round);
        echoes.push(echo::median_us(ECHO_WINDOW)?);
        bar.at(2 * round + 1);
        ours.push(cluster.measure(&Wanted { window: ECHO_WINDOW, ..*wanted })?.quantile_us(0.5));
    }
    drop(bar);
    let middle = |list: &[f64]| {
        let mut sorted = list.to_vec();
        sorted.sort_by(f64::total_cmp);
        (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0
    };
    let (echo, own) = (middle(&echoes), middle(&ours));
    Ok(serde_json::json!({
        "peer": "hypermnesia", "workload": setting.workload, "threads": 1, "nodes": setting.nodes,
        "storage": setting.storage, "p50_us": hundredth(own), "echo_p50_us": hundredth(echo),
        "echo_round_trips": hundredth(own / echo), "p50_us_rounds": ours, "echo_p50_us_rounds": echoes,
    }))
}

impl BenchArgs {
    /// What clap cannot tell.
    fn check(&self) -> Result<()> {
        if self.records < RECORDS_OF_VALUE && self.workloads().contains(&Workload::IndexRead10Txn) {
            let message = format!(
                "index_read10_txn reads {RECORDS_OF_VALUE} records: --records must be as many at least"
            );
            return Err(Usage::error(message));
        }
        Ok(())
    }

    fn workloads(&self) -> Vec<Workload> {
        if self.workloads.is_empty() {
            return <Workload as clap::ValueEnum>::value_variants().to_vec();
        }
        self.workloads.clone()
    }

    /// Every figure of a workload: clients by placement. One client is nowhere but on one node.
    fn wanted(&self, workload: Workload) -> Vec<Wanted> {
        let mut all = Vec::new();
        let one = [1];
        for clients in if self.echo { &one[..] } else { &self.clients } {
            for placement in &self.placement {
                let clients = usize::from(*clients);
                if *placement == Placement::Spread
                    && (clients == 1 || self.nodes == 1)
                    && self.placement.len() > 1
                {
                    continue;
                }
                all.push(Wanted {
                    workload,
                    clients,
                    kind: self.clients_as.unwrap_or(Clients::usual(clients)),
                    placement: *placement,
                    window: Duration::from_secs_f64(self.seconds),
                    records: self.records,
                    scale: self.scale,
                });
            }
        }
        all
    }

    fn setting(&self, wanted: &Wanted, storage: StorageArg) -> Setting {
        Setting {
            workload: wanted.workload.name(),
            threads: wanted.clients,
            nodes: self.nodes.into(),
            storage: storage.name(),
            ack: (storage != StorageArg::Ram).then(|| self.ack.name()),
            placement: wanted.placement.name(),
            records: wanted.records,
            clients: wanted.kind.name(),
        }
    }
}

/// Where figures go: JSON lines as they come, unless another format was asked for, which is printed at the end.
struct Printer {
    format: Format,
    later: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Printer {
    fn new(global: &Global) -> Printer {
        let format = if global.format_given { global.format } else { Format::Json };
        Printer { format, later: Vec::new() }
    }

    fn print(&mut self, line: &impl serde::Serialize) -> Result<()> {
        if self.format != Format::Json {
            if let serde_json::Value::Object(line) = serde_json::to_value(line)? {
                self.later.push(line);
            }
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    fn finish(self) -> Result<()> {
        let Some(first) = self.later.first() else { return Ok(()) };
        let columns: Vec<&str> = first.keys().map(String::as_str).collect();
        let mut out = output::stdout(self.format, &columns)?;
        for line in &self.later {
            let null = serde_json::Value::Null;
            let cells = columns.iter().map(|column| json::from(line.get(*column).unwrap_or(&null)));
            out.row(&cells.collect::<Result<Vec<_>>>()?)?;
        }
        out.finish().map(drop)
    }
}

/// Says to whoever watches what is being measured.
fn note(what: &str) {
    if output::is_watched() {
        output::note(format_args!("measuring {what}"));
    }
}
