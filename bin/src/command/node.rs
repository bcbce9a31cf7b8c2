//! `node`: the members of a cluster, and how they leave it. They come by `serve --join`.

use anyhow::Result;
use clap::Subcommand;
use hypermnesia_rpc::Value;

use super::connect;
use crate::args::Global;
use crate::output;

/// List, drain, replace and remove members.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// All members: who is there, who takes part, who votes.
    List,
    /// Take a member out in good order, before it is stopped or removed: the others go on without it, nothing fails. It stays a
    /// member. Ask another one than that (--addr).
    Drain {
        /// Name of the member.
        name: String,
    },
    /// Let a drained member take part again.
    Undrain {
        /// Name of the member.
        name: String,
    },
    /// Put another member, which has joined, in the place of one, also of one that is dead: it gets a copy of every table of which that
    /// one keeps one, and that one is removed. Ask another one than that (--addr).
    Replace {
        /// Name of the member that goes.
        name: String,
        /// Name of the member that takes its place.
        by: String,
    },
    /// Remove a member for good, also one that is dead: it takes part no more, its copies are dropped, its process ends. Refused
    /// where it has the only copy of a table. Ask another one than that (--addr).
    Remove {
        /// Name of the member.
        name: String,
    },
}

/// Runs a command about members.
pub(crate) async fn run(global: &Global, command: NodeCommand) -> Result<()> {
    let client = connect(global).await?;
    match command {
        NodeCommand::List => {
            let head = ["member", "address", "connected", "ready", "in epoch", "votes", "draining"];
            let mut out = output::stdout(global.format, &head)?;
            for member in client.members().await? {
                let facts = [member.connected, member.ready, member.in_epoch, member.votes, member.draining];
                let texts = [member.name, member.peer_address].map(Value::from);
                let row: Vec<Value> = texts.into_iter().chain(facts.map(Value::from)).collect();
                out.row(&row)?;
            }
            return out.finish().map(drop);
        }
        NodeCommand::Drain { name } => {
            client.drain_member(&name, false).await?;
            output::note(format_args!("{name} takes part in nothing any more; it may be stopped"));
        }
        NodeCommand::Undrain { name } => {
            client.drain_member(&name, true).await?;
            output::note(format_args!("{name} takes part again as soon as it is there and has its tables"));
        }
        NodeCommand::Replace { name, by } => {
            client.replace_member(&name, &by).await?;
            output::note(format_args!("{by} has what {name} had; {name} is no member any more"));
        }
        NodeCommand::Remove { name } => {
            client.remove_member(&name).await?;
            output::note(format_args!("{name} is no member any more"));
        }
    }
    Ok(())
}
