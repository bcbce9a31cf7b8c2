//! Member processes that a command starts: the same program, `serve`. They end with their parent however it ends, because
//! their standard input is a pipe that only the parent holds open.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::secured;

/// How long a member may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// How long a member may take to stop before it is killed.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// What a quiet member tells. As to the consensus library see `events`.
const QUIET: &str = "error,openraft=off";

/// A member as it is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Its name.
    pub(crate) name: String,
    /// Where clients reach it.
    pub(crate) client: String,
    /// All members as `--members` takes them.
    pub(crate) members: String,
    /// Its data directory, if it has one.
    pub(crate) data: Option<PathBuf>,
    /// How long its leases last; as usual where nothing is said.
    pub(crate) lease: Option<Duration>,
    /// It tells its errors only, no warnings, unless `RUST_LOG` asks for them: for a terminal on which others speak.
    pub(crate) quiet: bool,
}

/// A running member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) spec: Spec,
    /// Its client address, with the port it has taken.
    pub(crate) client: String,
    pub(crate) pid: u32,
    child: Child,
    /// The other end of its standard input: it ends when this is closed. Held apart from the child, whose `wait` would
    /// close it.
    lifeline: Option<ChildStdin>,
}

#[derive(Deserialize)]
struct ReadyLine {
    client: String,
    pid: u32,
}

impl Member {
    /// Starts a member and waits until it listens.
    pub(crate) async fn start(spec: Spec) -> Result<Member> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut command = Command::new(program);
        if let Some(data) = &spec.data {
            command.arg("serve").arg("--data").arg(data);
        } else {
            command.arg("serve");
        }
        if let Some(lease) = spec.lease {
            command.args(["--lease", &format!("{}ms", lease.as_millis())]);
        }
        if spec.quiet && std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", QUIET);
        }
        // Files of one member, which is not this one.
        for variable in secured::VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .args([
                "--with-parent",
                "--name",
                &spec.name,
                "--client",
                &spec.client,
                "--members",
                &spec.members,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start member {}", spec.name))?;
        let lifeline = child.stdin.take();
        let out = child.stdout.take().context("a piped output is there")?;
        let mut lines = BufReader::new(out).lines();
        let line = match tokio::time::timeout(LISTENS_WITHIN, lines.next_line()).await {
            Ok(line) => line?,
            Err(_) => bail!("member {} does not listen after {} s", spec.name, LISTENS_WITHIN.as_secs()),
        };
        let Some(line) = line else { bail!("member {} ended before it listened", spec.name) };
        let ready: ReadyLine =
            serde_json::from_str(&line).with_context(|| format!("member {} said {line:?}", spec.name))?;
        Ok(Member { client: ready.client, pid: ready.pid, spec, child, lifeline })
    }

    /// Kills it, as a crash would.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill member {}", self.spec.name))
    }

    /// Asks it to stop, and kills it when it does not.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.lifeline.take());
        if tokio::time::timeout(STOPS_WITHIN, self.child.wait()).await.is_err() {
            self.kill().await?;
        }
        Ok(())
    }

    /// Comes back when it ends by itself, with its name.
    pub(crate) async fn ended(&mut self) -> String {
        // A process that cannot be waited for has ended as far as we can tell.
        drop(self.child.wait().await);
        self.spec.name.clone()
    }
}

/// Addresses for so many members on loopback, with ports that are free now. Of 127.0.0.1 the system hands a port that was let go
/// of to whoever connects to somewhere next, and that may be before the member listens; nobody connects from an address of the
/// loopback network that this process alone uses. Where the system has only 127.0.0.1, of that.
pub(crate) fn free_addresses(count: usize) -> Result<Vec<String>> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 192 + high % 63, low, 1);
    let host = if TcpListener::bind((own, 0)).is_ok() { own } else { Ipv4Addr::LOCALHOST };
    // All bound at once, so that they differ; let go only after all are known.
    let bound: std::io::Result<Vec<_>> = (0..count).map(|_| TcpListener::bind((host, 0))).collect();
    let addresses: std::io::Result<Vec<_>> =
        bound?.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
    Ok(addresses?)
}

/// The value of `--members`.
pub(crate) fn member_list(names: &[String], addresses: &[String]) -> String {
    let each: Vec<_> =
        names.iter().zip(addresses).map(|(name, address)| format!("{name}={address}")).collect();
    each.join(",")
}

/// Comes back when the standard input ends: the process that holds its other end is gone.
pub(crate) async fn parent_gone() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(input.read(&mut bytes).await, Ok(1..)) {}
}
