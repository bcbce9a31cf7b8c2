//! The command line: what may be said, and the help that says so.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench::member;
use crate::command::{
    backup, bench, cert, check, demo, dev, exec, export, import, node, order, query, restore, rows, select,
    sequence, serve, status, table, watch,
};
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

/// Under which the options of [`Global`] stand in the help, behind those of the command.
const SHARED: &str = "Options of every command";

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
    #[arg(long, global = true, help_heading = SHARED, env = "HMN_ADDR", default_value = "127.0.0.1:7400", value_name = "HOST:PORT", value_parser = address)]
    pub(crate) addr: String,
    /// How to print data.
    #[arg(long, global = true, help_heading = SHARED, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// How long to wait for an answer or a loading table, in seconds.
    #[arg(long, global = true, help_heading = SHARED, default_value_t = 10.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
    /// The address stands on the command line.
    #[arg(skip)]
    pub(crate) addr_given: bool,
    /// The time does.
    #[arg(skip)]
    pub(crate) timeout_given: bool,
    /// The format does.
    #[arg(skip)]
    pub(crate) format_given: bool,
}

impl Cli {
    /// Reads the command line, or ends the process with what is wrong with it.
    pub(crate) fn read() -> Cli {
        let matches = command().try_get_matches().unwrap_or_else(|error| wrong(&error));
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let behind = matches.subcommand().map(|(_, matches)| matches);
        let stands = |option: &str| {
            let here = |matches: &ArgMatches| matches.value_source(option) == Some(ValueSource::CommandLine);
            here(&matches) || behind.is_some_and(here)
        };
        (cli.global.addr_given, cli.global.format_given) = (stands("addr"), stands("format"));
        cli.global.timeout_given = stands("timeout");
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
            timeout_given: false,
            format_given: false,
        }
    }

    /// The time that a command has.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }
}

/// The command line, without the shared options in the help of commands where they mean nothing. A command that has an option
/// of the name gets no copy of the shared one.
fn command() -> clap::Command {
    let shared: Vec<clap::Arg> =
        Cli::command().get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let hidden = |own: clap::Command| own.args(shared.iter().map(|arg| arg.clone().hide(true)));
    let mut command = Cli::command();
    for own in ["serve", "dev", "demo"] {
        command = command.mut_subcommand(own, hidden);
    }
    // These print, and ask no member.
    let alone =
        |own: clap::Command| own.args(shared.iter().map(|arg| arg.clone().hide(arg.get_id() != "format")));
    command = command.mut_subcommand("cert", |cert| {
        hidden(cert.mut_subcommand("ca", hidden).mut_subcommand("member", hidden))
    });
    command = command.mut_subcommand("check", alone);
    command = command.mut_subcommand("backup", |backup| {
        backup.mut_subcommand("show", alone).mut_subcommand("merge", alone)
    });
    // It measures a cluster of its own unless an address is given, prints JSON and waits for answers unless told otherwise.
    command.mut_subcommand("bench", |bench| {
        let bench = bench.args(shared.iter().map(|arg| arg.clone().hide_default_value(true).hide_env(true)));
        bench.mut_subcommand("failover", alone).mut_subcommand("rejoin", alone)
    })
}

/// Ends the process with what is wrong. Where no command is given the list of commands says more than the parser does, which
/// would also name the hidden ones.
fn wrong(error: &clap::Error) -> ! {
    if error.kind() != clap::error::ErrorKind::MissingSubcommand {
        error.exit();
    }
    let help = help_for(std::env::args().skip(1));
    match crate::output::is_watched() {
        true => crate::output::note(help.ansi()),
        false => crate::output::note(help),
    }
    std::process::exit(2)
}

/// The help of the innermost command that these words name.
fn help_for(words: impl Iterator<Item = String>) -> clap::builder::StyledStr {
    let mut whole = command();
    whole.build();
    let mut named = &mut whole;
    for word in words {
        // Looked for twice, since the first finding would be borrowed on both ways out.
        if named.find_subcommand(&word).is_some() {
            named = named.find_subcommand_mut(&word).expect("it was found just now");
        }
    }
    named.render_help()
}

/// A host and a port, as `--addr` takes them.
fn address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    match has_host_and_port(bare) {
        true => Ok(text.to_owned()),
        false => Err("HOST:PORT is wanted, with a port from 1 to 65535, as in 127.0.0.1:7400".to_owned()),
    }
}

/// Whether this is a host and a port that somebody can be reached at.
pub(crate) fn has_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        // Colons within a host are those of an IPv6 address, which then stands in brackets.
        let whole = !host.is_empty() && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
        whole && !host.contains(['/', '@', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
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
    /// Make an authority and certificates for TLS between members.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Run a cluster on this machine, in the foreground.
    Dev(dev::DevArgs),
    /// Read every row in the image of a data directory that nobody serves, its log and its identity, and say what is damaged.
    Check(check::CheckArgs),
    /// The state of the cluster as one member sees it; exits 0 only when all is well.
    Status(status::StatusArgs),
    /// List, show, create, change, clear and drop tables.
    #[command(subcommand)]
    Table(table::TableCommand),
    /// Print the rows of a key.
    Get(rows::GetArgs),
    /// Write a row.
    Put(rows::PutArgs),
    /// Delete the rows of a key.
    Delete(rows::DeleteArgs),
    /// List, drain and remove members.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Give out numbers once; list, reset and drop sequences.
    #[command(subcommand)]
    Sequence(sequence::SequenceCommand),
    /// Print ids that nobody else is given.
    Id(sequence::IdArgs),
    /// Print the rows of a table that fulfil a condition.
    Select(select::SelectArgs),
    /// Print the changes of a table as they are committed, or what happens to the member.
    Watch(watch::WatchArgs),
    /// Print the row of the smallest key of an ordered set.
    First(order::EndArgs),
    /// Print the row of the greatest key.
    Last(order::EndArgs),
    /// Print the row behind a key, which need not be there.
    Next(order::BesideArgs),
    /// Print the row before a key, which need not be there.
    Prev(order::BesideArgs),
    /// Load a CSV or JSON lines file into a table.
    Import(import::ImportArgs),
    /// Write a table to the standard output or a file.
    Export(export::ExportArgs),
    /// Write tables into a backup file; show what is in such files, or merge them.
    Backup(backup::BackupArgs),
    /// Write the rows of a backup into tables.
    Restore(restore::RestoreArgs),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        // Aim: what cannot be an address is wrong usage, not a member that does not answer. Method: good and bad ones.
        for good in ["127.0.0.1:7400", "db7:1", "[::1]:7400", "http://db7:7400"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:99999", "127.0.0.1", "db7:", ":7400", "db7:0", "::1:7400", "a/b:1", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_without_its_second_word_lists_those_there_are() {
        // Aim: `hmn table` tells about tables. Method: with options around it, and with nothing.
        let help = |words: &[&str]| help_for(words.iter().map(|word| (*word).to_owned())).to_string();
        assert!(help(&["--format", "json", "table"]).contains("rename"));
        assert!(help(&["sequence", "--addr", "a:1"]).contains("reset") && help(&[]).contains("sequence"));
    }

    #[test]
    fn help_shows_shared_options_only_where_they_mean_something() {
        // Aim: nobody gives --addr to a command that starts members. Method: the help of each, and of one that takes them.
        let help = |name: &str| {
            let mut command = command();
            command.build();
            let own = command.find_subcommand_mut(name).unwrap();
            own.render_long_help().to_string()
        };
        for option in ["--addr", "--timeout"] {
            assert!(!help("check").contains(option), "{option}");
        }
        assert!(help("check").contains("--format"));
        let restore = help("restore");
        assert!(
            restore.find("--no-sequences") < restore.find("--addr"),
            "its own options come first: {restore}"
        );
        for own in ["serve", "dev", "demo", "cert"] {
            for option in ["--addr", "--timeout", "--format"] {
                assert!(!help(own).contains(option), "{own} {option}");
            }
        }
        assert!(help("bench").contains("--addr") && !help("bench").contains("[default: 127.0.0.1:7400]"));
        assert!(help("get").contains("[default: 127.0.0.1:7400]") && help("get").contains("--timeout"));
        // Hidden, not gone: scripts set them for every command.
        assert!(command().try_get_matches_from(["hmn", "dev", "--addr", "127.0.0.1:1"]).is_ok());
    }
}
