//! The command line: what may be said, and the help that says so.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench::member;
use crate::command::{bench, demo, dev, exec, export, import, query, rows, serve, status, table};
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  hmn status --addr 127.0.0.1:7400
  hmn table create accounts -a id:int -a owner:text -a balance:int --key id
  hmn put accounts 1 Ada 100
  hmn get accounts 1
  hmn import cities cities.csv --key id --index country --storage disc
  hmn query \"SELECT country, count(*) FROM cities GROUP BY country ORDER BY 2 DESC LIMIT 5\" --format json

Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// Hypermnesia: replicated in-memory tables.
#[derive(Debug, Parser)]
#[command(name = "hmn", version, about, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes, before or behind its name.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Client address of the member to talk to.
    #[arg(long, global = true, env = "HMN_ADDR", default_value = "127.0.0.1:7400", value_name = "HOST:PORT")]
    pub(crate) addr: String,
    /// How to print data.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// How long to wait for an answer or a loading table, in seconds.
    #[arg(long, global = true, default_value_t = 10.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
    /// The address stands on the command line.
    #[arg(skip)]
    pub(crate) addr_given: bool,
    /// The format does.
    #[arg(skip)]
    pub(crate) format_given: bool,
}

impl Cli {
    /// Reads the command line, or ends the process with what is wrong with it.
    pub(crate) fn read() -> Cli {
        let matches = Cli::command().get_matches();
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let behind = matches.subcommand().map(|(_, matches)| matches);
        let stands = |option: &str| {
            let here = |matches: &ArgMatches| matches.value_source(option) == Some(ValueSource::CommandLine);
            here(&matches) || behind.is_some_and(here)
        };
        (cli.global.addr_given, cli.global.format_given) = (stands("addr"), stands("format"));
        cli
    }
}

impl Global {
    /// The options as they are by default, for another member.
    pub(crate) fn for_member(addr: &str) -> Global {
        Global {
            addr: addr.to_owned(),
            format: Format::Table,
            timeout: 10.0,
            addr_given: true,
            format_given: false,
        }
    }

    /// The time that a command has.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.001 to 3600 is wanted".to_owned()),
    }
}

/// Wrong usage that only the command itself can see; it ends the process as the parser's findings do.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    /// An error that says what would be right.
    pub(crate) fn error(what: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Usage(what.into()))
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See what it does: three members, import, transactions, SQL, a crash, and back.
    Demo(demo::DemoArgs),
    /// Run one member in the foreground.
    Serve(serve::ServeArgs),
    /// Run a cluster on this machine, in the foreground.
    Dev(dev::DevArgs),
    /// The state of the cluster as one member sees it; exits 0 only when all is well.
    Status(status::StatusArgs),
    /// List, show, create and drop tables.
    #[command(subcommand)]
    Table(table::TableCommand),
    /// Print the rows of a key.
    Get(rows::GetArgs),
    /// Write a row.
    Put(rows::PutArgs),
    /// Delete the rows of a key.
    Delete(rows::DeleteArgs),
    /// Load a CSV or JSON lines file into a table.
    Import(import::ImportArgs),
    /// Write a table to the standard output or a file.
    Export(export::ExportArgs),
    /// Run one SQL statement.
    Query(query::QueryArgs),
    /// Run transactions from JSON lines and answer each with a line.
    Exec(exec::ExecArgs),
    /// Measure workloads on a cluster of its own, or on a running one.
    Bench(bench::BenchArgs),
    /// One member of a measured cluster, for the process that measures.
    #[command(hide = true)]
    BenchMember(member::MemberArgs),
    /// Type statements and commands, with history.
    Shell,
}
