//! `hmn`: serves, queries and looks after a Hypermnesia cluster from the command line.
//!
//! The story of the process: read the command line, run the command, say what went wrong and end with 0 (done), 1 (failed)
//! or 2 (wrong usage).

mod args;
mod authority;
mod bench;
mod child;
mod command;
mod csv;
mod descriptors;
mod events;
mod file;
mod infer;
mod json;
mod literal;
mod metrics;
mod output;
mod progress;
mod secured;

use std::process::ExitCode;

use anyhow::Result;
use args::{Cli, Command, Usage};

fn main() -> ExitCode {
    let cli = Cli::read();
    let global = cli.global.clone();
    match on_runtime(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough (`hmn query ... | head`): no failure of ours.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(format_args!("hmn: {}", command::told(&error, &global)));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn on_runtime(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(run(cli));
    // What still blocks a thread (a terminal that is read, a disc that hangs) ends with the process.
    runtime.shutdown_background();
    outcome
}

async fn run(cli: Cli) -> Result<()> {
    let global = &cli.global;
    if matches!(cli.command, Command::Serve(_) | Command::Bench(_) | Command::BenchMember(_)) {
        events::to_stderr();
    }
    match cli.command {
        Command::Demo(args) => command::demo::run(args).await,
        Command::Serve(args) => command::serve::run(args).await,
        Command::Cert(command) => command::cert::run(command),
        Command::Dev(args) => command::dev::run(args).await,
        Command::Check(args) => command::check::run(global, args).await,
        Command::Status(args) => command::status::run(global, args).await,
        Command::Table(command) => command::table::run(global, command).await,
        Command::Get(args) => command::rows::get(global, args).await,
        Command::Put(args) => command::rows::put(global, args).await,
        Command::Delete(args) => command::rows::delete(global, args).await,
        Command::Node(command) => command::node::run(global, command).await,
        Command::Sequence(command) => command::sequence::run(global, command).await,
        Command::Id(args) => command::sequence::ids(global, args).await,
        Command::Select(args) => command::select::run(global, args).await,
        Command::Watch(args) => command::watch::run(global, args).await,
        Command::First(args) => command::order::end(global, args, false).await,
        Command::Last(args) => command::order::end(global, args, true).await,
        Command::Next(args) => command::order::beside(global, args, false).await,
        Command::Prev(args) => command::order::beside(global, args, true).await,
        Command::Import(args) => command::import::run(global, args).await,
        Command::Export(args) => command::export::run(global, args).await,
        Command::Backup(args) => command::backup::run(global, args).await,
        Command::Restore(args) => command::restore::run(global, args).await,
        Command::Query(args) => command::query::run(global, args).await,
        Command::Exec(args) => command::exec::run(global, args).await,
        Command::Bench(args) => command::bench::run(global, args).await,
        Command::BenchMember(args) => tokio::task::spawn_blocking(|| bench::member::run(args)).await?,
        Command::Shell => command::shell::run(global).await,
    }
}
