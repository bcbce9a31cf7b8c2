//! `dev`: a whole cluster of processes on this machine, in the foreground: all of them or none.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::child::{Member, Spec, member_list};
use crate::output::say;

/// Ports between one member and the next.
const PORTS_APART: u16 = 10;

/// Run a cluster on this machine, in the foreground. When one member ends, however it ends, all others are stopped; to see
/// a cluster live on without one, start each with `hmn serve`, or see `hmn demo`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// Where the members keep tables on disc: a directory for each inside this one. Without it there are none on disc.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Client port of the first member; the next has ten more. Each member's peer port is one above its client port.
    #[arg(long, default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    base_port: u16,
}

/// Runs the members until it is interrupted or one of them ends.
pub(crate) async fn run(args: DevArgs) -> Result<()> {
    let names: Vec<_> = (1..=args.nodes).map(|number| format!("n{number}")).collect();
    let port = |number: usize| args.base_port + number as u16 * PORTS_APART;
    let peers: Vec<_> = (0..names.len()).map(|number| format!("127.0.0.1:{}", port(number) + 1)).collect();
    let members = member_list(&names, &peers);
    let mut running = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let client = format!("127.0.0.1:{}", port(number));
        let data = args.data.as_ref().map(|folder| folder.join(name));
        let member = Member::start(Spec {
            name: name.clone(),
            client,
            members: members.clone(),
            data,
            lease: None,
            quiet: false,
        })
        .await?;
        say(format_args!("{} for clients at {}, process {}", member.spec.name, member.client, member.pid))?;
        running.push(member);
    }
    let first = &running[0].client;
    say(format_args!("\nin another terminal:  hmn status --addr {first}"))?;
    say(format_args!("                      hmn shell --addr {first}"))?;
    say("Ctrl-C stops all.")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = tokio::select! {
        signal = tokio::signal::ctrl_c() => { signal?; None }
        _ = terminate.recv() => None,
        name = first_to_end(&mut running) => Some(name),
    };
    for member in running {
        member.stop().await?;
    }
    match ended {
        None => Ok(()),
        Some(name) => bail!("member {name} ended by itself; all others were stopped"),
    }
}

async fn first_to_end(members: &mut [Member]) -> String {
    let mut waits: Vec<_> = members.iter_mut().map(|member| Box::pin(member.ended())).collect();
    std::future::poll_fn(|context| {
        for wait in &mut waits {
            if let std::task::Poll::Ready(name) = wait.as_mut().poll(context) {
                return std::task::Poll::Ready(name);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
