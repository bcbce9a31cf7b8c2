//! The other members of a measured cluster: the same program in a process of its own, which holds a node and, when clients
//! are spread, runs its share of them. It hears orders as JSON lines and answers each with one, and ends with its input.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use hypermnesia::Node;
use serde::{Deserialize, Serialize};

use super::bank::Bank;
use super::run::{self, Done, Job};
use super::threads::Tables;

/// How long tables may take to be there.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

/// One member of a measured cluster.
#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    #[arg(long)]
    name: String,
    #[arg(long, value_delimiter = ',')]
    members: Vec<String>,
    #[arg(long)]
    data: Option<PathBuf>,
}

/// What it is told to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Wait for these tables, and open them.
    Open(Vec<String>),
    /// Run clients.
    Run(Job),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Ready,
    Done(Done),
    Failed(String),
}

/// Serves orders until the input ends.
pub(crate) fn run(args: MemberArgs) -> Result<()> {
    let members = args.members.iter().filter_map(|member| member.split_once('='));
    let mut builder = Node::builder().name(&args.name).cluster(super::cluster::NAME).members(members);
    if let Some(data) = &args.data {
        builder = builder.data_dir(data);
    }
    let mut tables = Tables { node: builder.build()?, plain: None, indexed: None, bank: None };
    say(&Report::Ready)?;
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("no order")?;
        let report = obey(&mut tables, order).unwrap_or_else(|error| Report::Failed(format!("{error:#}")));
        say(&report)?;
    }
    Ok(())
}

fn obey(tables: &mut Tables, order: Order) -> Result<Report> {
    match order {
        Order::Open(names) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            tables.node.wait_for_tables(&names, LOADED_WITHIN)?;
            tables.plain = tables.node.table().ok();
            tables.indexed = tables.node.table().ok();
            tables.bank = Bank::open(&tables.node).ok();
            Ok(Report::Ready)
        }
        Order::Run(job) => Ok(Report::Done(run::run(tables, &job)?)),
    }
}

fn say(report: &Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, report)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}
