//! `bench rejoin`: what a member costs the others when it comes back.

use anyhow::{Context, Result};
use clap::Args;

use super::{Printer, StorageArg};
use crate::args::Global;
use crate::bench::rejoin::{Wanted, measure};
use crate::output;

const ABOUT: &str = "\
Starts three members on this machine, each a process of its own, and ends them. Clients
of one of them write random rows of a large table. Another one is killed (SIGKILL) and
started again: in memory it comes back with nothing, on disc with what it had, of which
one row of a hundred was changed meanwhile. Prints one JSON line per storage (or a
table, if --format is given): writes acknowledged in a second before, and from when the
member took part again until it had the table; how long that took; the longest time in
which no client was answered. Fails when the members have different rows in the end.

Examples:
  hmn bench rejoin
  hmn bench rejoin --rows 1000000 --clients 64 --storage ram,disc";

/// What a member costs the others when it comes back.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct RejoinArgs {
    /// Rows of the table, of about a hundred bytes.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    rows: u64,
    /// Clients that write, all on one member.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Where the table is.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ram,disc")]
    storage: Vec<StorageArg>,
}

pub(super) async fn run(global: &Global, args: RejoinArgs) -> Result<()> {
    let mut printer = Printer::new(global);
    for storage in args.storage {
        let home = tempfile::tempdir().context("no temporary directory")?;
        let on_disc = storage != StorageArg::Ram;
        let wanted = Wanted {
            rows: args.rows,
            clients: args.clients.into(),
            changed_of: if on_disc { 100 } else { 0 },
            storage: storage.remote(),
            name: storage.name(),
        };
        output::note(format_args!(
            "{} rows, {}: filled, then written while a member is away",
            args.rows, wanted.name
        ));
        printer.print(&measure(wanted, on_disc.then(|| home.path())).await?)?;
    }
    printer.finish()
}
