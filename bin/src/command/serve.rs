//! `serve`: one member in the foreground. It listens before it says so, serves clients from the first moment (what is not
//! loaded yet answers "unavailable"), and stops cleanly on SIGTERM and Ctrl-C. When its node fails it says why and ends too.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use hypermnesia::{Node, NodeBuilder};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::has_host_and_port;
use crate::command::retention::{Length, Size};
use crate::secured::TlsArgs;
use crate::{child, descriptors, metrics, output};

/// How long the threads of a node that has failed may take to end.
const CLOSES_WITHIN: Duration = Duration::from_secs(3);

/// Run one member in the foreground.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// The member's name, kept for good.
    #[arg(long)]
    name: Option<String>,
    /// Where tables on disc are kept. Without it this member creates none, and all it has is gone with the process.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where clients reach it; port 0 takes a free one. Default: 127.0.0.1:7400.
    #[arg(long, value_name = "ADDR", value_parser = ip_and_port)]
    client: Option<SocketAddr>,
    /// Where the other members reach it. Default: its address in the list of members.
    #[arg(long, value_name = "ADDR")]
    peer: Option<String>,
    /// All members with the addresses at which they reach each other. Default: this one alone.
    #[arg(long, value_delimiter = ',', value_name = "NAME=PEER_ADDR,...")]
    members: Vec<String>,
    /// Become a member of a cluster that is there: addresses of members, as they reach each other, of which one is asked for the
    /// list. In place of --members; --peer says where this one is reached. Once it has a data directory it asks no more. Also
    /// dns:NAME or dns:NAME:PORT, all addresses of a name (without a port at this member's own), and file:PATH, a file with one HOST:PORT
    /// a line and # before comments; both are looked at again at each try, and may come later than the member.
    #[arg(long, value_delimiter = ',', value_name = "PEER_ADDR|dns:NAME[:PORT]|file:PATH,...")]
    join: Vec<String>,
    /// Most memory that all its tables may hold (64MiB, 2GiB); what would grow them past it is refused. Default: no bound.
    #[arg(long, value_name = "SIZE")]
    memory_max: Option<Size>,
    /// The cluster's name; members of different clusters refuse each other.
    #[arg(long)]
    cluster: Option<String>,
    /// How long a member may show what it has read after it has last asked the leader, 100ms to 60s; the same for all members. With
    /// a shorter one the cluster writes sooner again when a member is lost, and gives up members that are only slow. Default: 500ms.
    #[arg(long, value_name = "TIME")]
    lease: Option<Length>,
    /// Read these settings from a TOML file; options given here stand above it.
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Answer `GET /metrics` there over HTTP, for Prometheus; port 0 takes a free one. Default: nowhere.
    #[arg(long, value_name = "ADDR", value_parser = ip_and_port)]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Allow addresses that other machines can reach although nobody who connects is asked who they are: those of clients and
    /// metrics, and of members without TLS.
    #[arg(long)]
    insecure: bool,
    /// Stop when the standard input ends: for processes that start this one.
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// The file of `--config`: the options by their names, members as a table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: Option<String>,
    data: Option<PathBuf>,
    client: Option<SocketAddr>,
    peer: Option<String>,
    #[serde(default)]
    members: BTreeMap<String, String>,
    #[serde(default)]
    join: Vec<String>,
    memory_max: Option<Size>,
    cluster: Option<String>,
    lease: Option<Length>,
    metrics: Option<SocketAddr>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    #[serde(default)]
    insecure: bool,
}

impl Settings {
    fn tls(&self) -> TlsArgs {
        let (tls_ca, tls_cert, tls_key) = (self.tls_ca.clone(), self.tls_cert.clone(), self.tls_key.clone());
        TlsArgs { tls_ca, tls_cert, tls_key }
    }
}

/// Serves until it is told to stop.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    let with_parent = args.with_parent;
    let settings = settings(args)?;
    let tls = settings.tls().files()?;
    let client = settings.client.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 7400)));
    check_peers(&settings)?;
    check_reach(&settings, client)?;
    let listener =
        TcpListener::bind(client).await.with_context(|| format!("cannot listen for clients on {client}"))?;
    let client = listener.local_addr()?;
    let metrics = match settings.metrics {
        Some(address) => Some(metrics::bind(address).await?),
        None => None,
    };
    // Reading a data directory takes a while and blocks.
    let node = tokio::task::spawn_blocking(move || builder(&settings, tls).build()).await??;
    let told = metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    if let Some(listener) = metrics {
        tokio::spawn(metrics::serve(listener, node.clone()));
    }
    output::say(ready_line(&node, client, told))?;
    let clients = descriptors::for_clients();
    let end = end(stop(with_parent)?, node.clone());
    hypermnesia_rpc::server::serve_bounded(node.clone(), listener, clients, end)
        .await
        .context("the client service ended")?;
    let (name, failure) = (node.name().to_owned(), node.failure());
    // Closing waits for the node's threads, so it is not done on a thread that runs tasks. Those of a node that has failed
    // may hang in what failed.
    let closed = tokio::task::spawn_blocking(move || node.close());
    match failure {
        None => Ok(closed.await?),
        Some(failure) => {
            // Ended or given up: the process goes.
            drop(tokio::time::timeout(CLOSES_WITHIN, closed).await);
            bail!("{name} has failed and serves no longer: {failure}")
        }
    }
}

/// Comes back when the process is told to stop, or the node has failed.
async fn end(stop: impl Future<Output = ()>, node: Node) {
    tokio::select! {
        () = stop => {}
        _ = node.failed() => {}
    }
}

/// The line that says that the member listens, and where: one JSON object.
fn ready_line(node: &Node, client: SocketAddr, metrics: Option<SocketAddr>) -> serde_json::Value {
    serde_json::json!({
        "ready": true,
        "name": node.name(),
        "client": client.to_string(),
        "peer": node.peer_addr().map(|address| address.to_string()),
        "metrics": metrics.map(|address| address.to_string()),
        "pid": std::process::id(),
    })
}

fn builder(settings: &Settings, tls: Option<[PathBuf; 3]>) -> NodeBuilder {
    let mut builder = Node::builder().members(settings.members.clone()).join(settings.join.clone());
    if let Some([ca, cert, key]) = tls {
        builder = builder.tls(ca, cert, key);
    }
    if let Some(name) = &settings.name {
        builder = builder.name(name);
    }
    if let Some(data) = &settings.data {
        builder = builder.data_dir(data);
    }
    if let Some(cluster) = &settings.cluster {
        builder = builder.cluster(cluster);
    }
    if let Some(Size(bytes)) = settings.memory_max {
        builder = builder.memory_max(bytes);
    }
    if let Some(Length(lease)) = settings.lease {
        builder = builder.lease(lease);
    }
    if let Some(peer) = &settings.peer {
        builder = builder.peer_addr(peer);
    }
    builder
}

fn settings(args: ServeArgs) -> Result<Settings> {
    let mut settings = match &args.config {
        None => Settings::default(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            from_toml(&text).with_context(|| format!("{} is no configuration", path.display()))?
        }
    };
    if !args.members.is_empty() {
        settings.members.clear();
    }
    for member in &args.members {
        let Some((name, address)) = member.split_once('=') else {
            bail!("--members {member:?}: NAME=PEER_ADDR is wanted, as in n1=127.0.0.1:7401");
        };
        if settings.members.insert(name.to_owned(), address.to_owned()).is_some() {
            bail!("--members names {name:?} twice");
        }
    }
    if !args.join.is_empty() {
        settings.join = args.join;
    }
    settings.name = args.name.or(settings.name);
    settings.data = args.data.or(settings.data);
    settings.client = args.client.or(settings.client);
    settings.peer = args.peer.or(settings.peer);
    settings.memory_max = args.memory_max.or(settings.memory_max);
    settings.cluster = args.cluster.or(settings.cluster);
    settings.lease = args.lease.or(settings.lease);
    settings.metrics = args.metrics.or(settings.metrics);
    let tls = args.tls.above(settings.tls());
    (settings.tls_ca, settings.tls_cert, settings.tls_key) = (tls.tls_ca, tls.tls_cert, tls.tls_key);
    settings.insecure |= args.insecure;
    Ok(settings)
}

/// Settings from a file's text. The parser's own words name the place well and a text without quotes badly (it asks for a
/// number), so that is said beside them.
fn from_toml(text: &str) -> Result<Settings> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line = text[begin..].lines().next().unwrap_or_default();
        let value = line.split_once('=').map_or("", |(_, value)| value.trim());
        let bare = value.starts_with(|first: char| first.is_ascii_alphanumeric() || "/._-".contains(first));
        let known = matches!(value, "true" | "false") || value.parse::<f64>().is_ok();
        match bare && !known {
            true => anyhow!(
                "line {}: {line}\ntexts stand in quotes: {value:?} is wanted",
                text[..at].lines().count().max(1)
            ),
            false => error.into(),
        }
    })
}

/// Refuses peer addresses that nobody can be reached at. Port 0 takes a free one, which a member's own may be.
fn check_peers(settings: &Settings) -> Result<()> {
    let own = settings.peer.iter().map(|address| ("peer", address));
    let members = settings.members.iter().map(|(name, address)| (name.as_str(), address));
    for (name, address) in own.chain(members) {
        let bound = address.strip_suffix(":0").map(|host| format!("{host}:1"));
        if !has_host_and_port(bound.as_ref().unwrap_or(address)) {
            bail!("{name}={address}: HOST:PORT is wanted, as in {name}=127.0.0.1:7401");
        }
    }
    Ok(())
}

/// An address to listen at.
fn ip_and_port(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "an IP address and a port are wanted, as in 127.0.0.1:7400 or [::1]:7400".to_owned();
    text.parse().map_err(wrong)
}

/// Refuses addresses that other machines can reach, unless that is wanted.
fn check_reach(settings: &Settings, client: SocketAddr) -> Result<()> {
    let own = settings.name.as_ref().and_then(|name| settings.members.get(name));
    let peer = settings.peer.as_ref().or(own);
    let listens = [Some(client), settings.metrics].into_iter().flatten().find(|own| !own.ip().is_loopback());
    // Members with TLS know each other.
    let peer = peer.filter(|address| !settings.tls().is_named() && !is_loopback(address));
    let peer_alone = listens.is_none();
    let open = listens.map(|address| address.to_string()).or_else(|| peer.cloned());
    let Some(address) = open.filter(|_| !settings.insecure) else { return Ok(()) };
    bail!(
        "{address} can be reached from other machines, and nobody who connects there is asked who they are: give --insecure if \
         that is meant{}",
        if peer_alone { " (members know each other by --tls-ca, --tls-cert and --tls-key)" } else { "" }
    );
}

fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Comes back when the process is told to stop.
fn stop(with_parent: bool) -> Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = child::parent_gone(), if with_parent => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_above_the_file_and_strange_keys_are_refused() {
        // Aim: one way to read settings. Method: a file with everything, options over it, then a misspelt key.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.toml");
        let text =
            "name = 'n1'\nclient = '127.0.0.1:1'\nmemory_max = '2GiB'\nlease = '1s'\n[members]\nn1 = 'a:1'\n";
        std::fs::write(&path, text).unwrap();
        let args =
            || ServeArgs { config: Some(path.clone()), name: Some("n2".into()), ..ServeArgs::default() };
        let read = settings(args()).unwrap();
        assert_eq!((read.name.as_deref(), read.members.len()), (Some("n2"), 1));
        assert_eq!(read.memory_max, Some(Size(2 << 30)));
        let length = |ms| Some(Length(Duration::from_millis(ms)));
        assert_eq!(read.lease, length(1000));
        assert_eq!(settings(ServeArgs { lease: length(150), ..args() }).unwrap().lease, length(150));
        std::fs::write(&path, "nam = 'n1'").unwrap();
        let wrong = settings(ServeArgs { config: Some(path), ..ServeArgs::default() }).unwrap_err();
        assert!(format!("{wrong:#}").contains("nam"), "{wrong:#}");
        let bare = from_toml("insecure = true\nname = n1\n").unwrap_err().to_string();
        assert!(bare.contains("line 2: name = n1") && bare.contains("\"n1\" is wanted"), "{bare}");
    }

    #[test]
    fn a_peer_address_without_a_port_is_named() {
        // Aim: a missing port is not taken for an open address. Method: good and bad lists of members.
        let with = |address: &str| Settings {
            members: BTreeMap::from([("n1".to_owned(), address.to_owned())]),
            ..Settings::default()
        };
        assert!(check_peers(&with("127.0.0.1:7401")).is_ok() && check_peers(&with("127.0.0.1:0")).is_ok());
        for bad in ["foo", "foo:", "foo:99999"] {
            let error = check_peers(&with(bad)).unwrap_err().to_string();
            assert!(error.contains("n1=") && error.contains("HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_served_without_being_asked() {
        // Aim: nothing is open to a network by accident. Method: both addresses, both ways.
        let loopback = SocketAddr::from(([127, 0, 0, 1], 1));
        let open = SocketAddr::from(([0, 0, 0, 0], 1));
        let with_peer = |peer: &str| Settings { peer: Some(peer.into()), ..Settings::default() };
        assert!(check_reach(&with_peer("[::1]:7"), loopback).is_ok());
        assert!(check_reach(&with_peer("db7:7"), loopback).is_err());
        let sealed = Settings { tls_key: Some("key".into()), ..with_peer("db7:7") };
        assert!(check_reach(&sealed, loopback).is_ok() && check_reach(&sealed, open).is_err());
        assert!(check_reach(&Settings::default(), open).is_err());
        let told = Settings { metrics: Some(open), ..Settings::default() };
        assert!(check_reach(&told, loopback).is_err());
        assert!(check_reach(&Settings { insecure: true, ..Settings::default() }, open).is_ok());
    }
}
