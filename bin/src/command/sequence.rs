//! Sequences and unique ids: `sequence`, `id`.

use anyhow::Result;
use clap::{Args, Subcommand};
use hypermnesia_rpc::Value;

use super::connect;
use crate::args::Global;
use crate::output;

/// Give out numbers once; list, reset and drop sequences.
#[derive(Debug, Subcommand)]
pub(crate) enum SequenceCommand {
    /// Print the next number, or the next numbers in a row; makes the sequence if it is not there.
    Next {
        /// Name of the sequence.
        name: String,
        /// How many numbers.
        #[arg(long, short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        count: u32,
    },
    /// Print the largest number that may have been given out.
    Current {
        /// Name of the sequence.
        name: String,
    },
    /// Go on with a number. Numbers that were given out before come again when it lies below them.
    Reset {
        /// Name of the sequence.
        name: String,
        /// The number that comes next.
        #[arg(allow_negative_numbers = true)]
        next: i64,
    },
    /// All sequences.
    List,
    /// Drop a sequence.
    Drop {
        /// Name of the sequence.
        name: String,
    },
}

/// Print ids that nobody else is given, in the form of UUIDs of version 7.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// How many.
    #[arg(long, short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

/// Runs a command about sequences.
pub(crate) async fn run(global: &Global, command: SequenceCommand) -> Result<()> {
    let client = connect(global).await?;
    match command {
        SequenceCommand::Next { name, count } => {
            let numbers = client.next_block(name, count).await?;
            print(global, "next", numbers.map(Value::from))
        }
        SequenceCommand::Current { name } => {
            let current = client.current(name).await?;
            print(global, "current", [Value::from(current)])
        }
        SequenceCommand::Reset { name, next } => Ok(client.reset_sequence(name, next).await?),
        SequenceCommand::Drop { name } => Ok(client.drop_sequence(name).await?),
        SequenceCommand::List => {
            let mut out = output::stdout(global.format, &["sequence", "current"])?;
            for (name, current) in client.sequences().await? {
                out.row(&[Value::from(name), Value::from(current)])?;
            }
            out.finish().map(drop)
        }
    }
}

/// Prints ids.
pub(crate) async fn ids(global: &Global, args: IdArgs) -> Result<()> {
    let ids = connect(global).await?.unique_ids(args.count).await?;
    print(global, "id", ids.into_iter().map(|id| Value::from(uuid(id))))
}

fn print(global: &Global, column: &str, values: impl IntoIterator<Item = Value>) -> Result<()> {
    let mut out = output::stdout(global.format, &[column])?;
    for value in values {
        out.row(&[value])?;
    }
    out.finish().map(drop)
}

fn uuid(id: [u8; 16]) -> String {
    let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
