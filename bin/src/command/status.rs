//! `status`: the cluster as one member sees it. The exit code is 0 only when every member is connected and every table is
//! loaded on every member, so that scripts can wait for a cluster with `--wait`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{Client, ClusterStatus, TableInfo, TransactionId, WaitingTransaction};

use super::{connect, table};
use crate::args::Global;
use crate::output::{self, Format, many, map};

/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The state of the cluster.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Wait until all is well, at most this many seconds.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// Prints the state; fails when something is missing.
pub(crate) async fn run(global: &Global, args: StatusArgs) -> Result<()> {
    let status = match args.wait {
        None => connect(global).await?.status().await?,
        Some(seconds) => ready_within(global, Duration::from_secs(seconds)).await?,
    };
    print(global, &status)?;
    match missing(&status) {
        None => Ok(()),
        Some(what) => bail!("{what}"),
    }
}

/// The status as soon as all is well, else the last one. Nobody answering yet is waited for too.
async fn ready_within(global: &Global, time: Duration) -> Result<ClusterStatus> {
    let until = tokio::time::Instant::now() + time;
    loop {
        let seen = look(global).await;
        let over = tokio::time::Instant::now() >= until;
        match seen {
            Ok(status) if status.ready || over => return Ok(status),
            Err(error) if over => return Err(error),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn look(global: &Global) -> Result<ClusterStatus> {
    let client: Client = connect(global).await?;
    Ok(client.status().await?)
}

/// What is not as it should be, in words.
fn missing(status: &ClusterStatus) -> Option<String> {
    if status.ready {
        return None;
    }
    let away = status
        .members
        .iter()
        .filter(|member| !member.connected && !member.draining)
        .map(|member| format!("{} is away", member.name));
    let loading =
        status.members.iter().filter(|member| member.connected && !member.ready && !member.draining);
    let loading = loading.map(|member| format!("{} is loading", member.name));
    let tables = status.tables.iter().filter(|info| !info.loaded).filter_map(|info| info.table.as_ref());
    let tables = tables.map(|table| format!("table {} is not loaded here", table.name));
    let drained = status.members.iter().find(|member| member.itself && member.draining);
    let drained = drained.map(|member| format!("{} is drained", member.name));
    let all: Vec<_> = away.chain(loading).chain(drained).chain(tables).collect();
    Some(if all.is_empty() { "no epoch is open yet".to_owned() } else { all.join(", ") })
}

fn print(global: &Global, status: &ClusterStatus) -> Result<()> {
    if global.format == Format::Json {
        return print_json(status);
    }
    output::note(format_args!(
        "{} (epoch {}, up {} s, {} bytes of memory in tables)",
        status.name,
        status.epoch,
        status.uptime_ms / 1000,
        status.memory_bytes
    ));
    if status.log_bytes > 0 {
        output::note(format_args!(
            "on disc: {} of log, {} of image",
            many(status.log_bytes, "byte", "bytes"),
            many(status.image_bytes, "byte", "bytes")
        ));
    }
    if status.copied_bytes > 0 {
        let bytes = many(status.copied_bytes, "byte", "bytes");
        output::note(format_args!("{bytes} came in copies of tables from other members"));
    }
    if status.snapshots > 0 {
        output::note(format_args!(
            "{} open, the oldest for {} ms: what they read is kept",
            many(status.snapshots, "snapshot is", "snapshots are"),
            status.oldest_snapshot_age_ms
        ));
    }
    if let Some(control) = &status.control {
        let leads = if control.leader.is_empty() { "nobody" } else { control.leader.as_str() };
        let voters = control.voters.join(", ");
        let lease = control.lease_ms;
        output::note(format_args!("control plane: {leads} leads; voters {voters}; leases of {lease} ms"));
        if !control.without_vote.is_empty() {
            output::note(format_args!("votes that do not count yet: {}", control.without_vote.join(", ")));
        }
        if !control.stopped.is_empty() {
            output::note(format_args!("its part here has stopped: {}", control.stopped));
        }
    }
    let mut out = output::stdout(global.format, &["member", "connected", "ready", "address"])?;
    for member in &status.members {
        let name = if member.itself { format!("{} (this one)", member.name) } else { member.name.clone() };
        out.row(&[
            name.into(),
            member.connected.into(),
            member.ready.into(),
            member.peer_address.as_str().into(),
        ])?;
    }
    out.finish()?;
    if !status.tables.is_empty() {
        table::show::list(global, &status.tables)?;
    }
    print_waits(global, status)?;
    if status.in_doubt.is_empty() {
        return Ok(());
    }
    let mut out = output::stdout(global.format, &["in doubt", "age ms", "keys"])?;
    for doubt in &status.in_doubt {
        out.row(&[transaction(doubt).into(), doubt.age_ms.into(), doubt.keys.into()])?;
    }
    out.finish().map(drop)
}

fn print_waits(global: &Global, status: &ClusterStatus) -> Result<()> {
    if status.waits.is_empty() {
        return Ok(());
    }
    let mut out = output::stdout(global.format, &["waits", "for", "behind"])?;
    for wait in &status.waits {
        let behind: Vec<_> = wait.behind.iter().map(id_text).collect();
        out.row(&[waiter(wait).into(), lock(wait).into(), behind.join(", ").into()])?;
    }
    out.finish().map(drop)
}

/// Who waits.
fn waiter(wait: &WaitingTransaction) -> String {
    wait.transaction.as_ref().map_or_else(String::new, id_text)
}

/// What for, in words.
fn lock(wait: &WaitingTransaction) -> String {
    let mode = if wait.write { "alone" } else { "shared" };
    match (wait.index.as_str(), wait.key.as_str()) {
        (_, "") => format!("{} as a whole, {mode}", wait.table),
        ("", key) => format!("{} {key}, {mode}", wait.table),
        (index, value) => format!("{} by {index} {value}, {mode}", wait.table),
    }
}

fn names(names: &[String]) -> Value {
    Value::List(names.iter().map(|name| name.as_str().into()).collect())
}

fn print_json(status: &ClusterStatus) -> Result<()> {
    let members = status.members.iter().map(|member| {
        map([
            ("name", member.name.as_str().into()),
            ("connected", member.connected.into()),
            ("ready", member.ready.into()),
            ("peer_address", member.peer_address.as_str().into()),
        ])
    });
    let tables = status.tables.iter().filter_map(|info| {
        let name = info.table.as_ref()?.name.as_str();
        let usage = info.usage.unwrap_or_default();
        Some(map([
            ("name", name.into()),
            ("rows", info.rows.into()),
            ("bytes", info.bytes.into()),
            ("memory_bytes", info.memory_bytes.into()),
            ("old_versions", info.old_versions.into()),
            ("deletions", info.deletions.into()),
            ("deadlines", info.deadlines.into()),
            ("index_entries", index_entries(info)),
            ("loaded", info.loaded.into()),
            ("hits", usage.hits.into()),
            ("misses", usage.misses.into()),
            ("evictions", usage.evictions.into()),
            ("expirations", usage.expirations.into()),
            ("listeners", info.listeners.into()),
            ("events", info.events.into()),
        ]))
    });
    let in_doubt = status.in_doubt.iter().map(|doubt| {
        map([
            ("transaction", transaction(doubt).into()),
            ("age_ms", doubt.age_ms.into()),
            ("keys", doubt.keys.into()),
        ])
    });
    let waits = status.waits.iter().map(|wait| {
        map([
            ("transaction", waiter(wait).into()),
            ("coordinator", wait.coordinator.as_str().into()),
            ("for", lock(wait).into()),
            ("behind", Value::List(wait.behind.iter().map(|id| id_text(id).into()).collect())),
        ])
    });
    let control = status.control.as_ref().map_or(Value::Null, |control| {
        map([
            ("cluster_id", control.cluster_id.as_str().into()),
            ("leader", control.leader.as_str().into()),
            ("term", control.term.into()),
            ("lease_ms", control.lease_ms.into()),
            ("voters", names(&control.voters)),
            ("without_vote", names(&control.without_vote)),
            ("stopped", control.stopped.as_str().into()),
        ])
    });
    let bounds = status.bounds.unwrap_or_default();
    let held = map([
        ("snapshots", status.snapshots.into()),
        ("continuations", status.continuations.into()),
        ("streams", status.streams.into()),
        ("interactive", status.interactive.into()),
        ("watches", status.watches.into()),
        ("streams_max", bounds.streams.into()),
        ("interactive_max", bounds.interactive.into()),
        ("watches_max", bounds.watches.into()),
        ("streams_per_connection", bounds.streams_per_connection.into()),
        ("interactive_per_connection", bounds.interactive_per_connection.into()),
        ("watches_per_connection", bounds.watches_per_connection.into()),
        ("locks", status.locks_held.into()),
        ("locks_waited_for", status.locks_waited_for.into()),
        ("memory_bytes", status.memory_bytes.into()),
        ("oldest_snapshot_age_ms", status.oldest_snapshot_age_ms.into()),
        ("log_bytes", status.log_bytes.into()),
        ("image_bytes", status.image_bytes.into()),
        ("copied_bytes", status.copied_bytes.into()),
    ]);
    let columns = [
        "name",
        "version",
        "epoch",
        "ready",
        "uptime_ms",
        "members",
        "tables",
        "in_doubt",
        "waits",
        "held",
        "control",
    ];
    let mut out = output::stdout(Format::Json, &columns)?;
    out.row(&[
        status.name.as_str().into(),
        status.version.as_str().into(),
        status.epoch.into(),
        status.ready.into(),
        status.uptime_ms.into(),
        Value::List(members.collect()),
        Value::List(tables.collect()),
        Value::List(in_doubt.collect()),
        Value::List(waits.collect()),
        held,
        control,
    ])?;
    out.finish().map(drop)
}

fn index_entries(info: &TableInfo) -> Value {
    let entries = info.index_entries.iter();
    Value::Map(entries.map(|index| (index.index.as_str().into(), index.entries.into())).collect())
}

fn transaction(doubt: &hypermnesia_rpc::client::InDoubtTransaction) -> String {
    doubt.transaction.as_ref().map_or_else(String::new, id_text)
}

fn id_text(id: &TransactionId) -> String {
    format!("{:x}-{:x}-{:x}", id.age, id.node, id.sequence)
}
