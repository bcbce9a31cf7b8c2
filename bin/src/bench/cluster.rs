//! A cluster for the time of a measurement: the first node lives in this process, as a program's node does; the others are
//! processes that end with it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hypermnesia::Node;

use super::bank::Bank;
use super::member::{Order, Report};
use super::records::{self, Indexed, Kept, Plain};
use super::run::{self, Clients, Done, Job, wall_ms};
use super::threads::Tables;
use super::workload::Workload;
use crate::child::{free_addresses, member_list};

/// The cluster's name.
pub(crate) const NAME: &str = "bench";
/// How long members may take to meet.
const MET_WITHIN: Duration = Duration::from_secs(30);
/// How long a member may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// From the order to the beginning of a window.
const ORDERED_AHEAD_MS: u64 = 100;

/// Where the clients of a figure are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Placement {
    /// All on the first node.
    One,
    /// Evenly over all nodes.
    Spread,
}

impl Placement {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Placement::One => "one",
            Placement::Spread => "spread",
        }
    }
}

/// The figure that is wanted from a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) workload: Workload,
    pub(crate) clients: usize,
    pub(crate) kind: Clients,
    pub(crate) placement: Placement,
    pub(crate) window: Duration,
    pub(crate) records: u64,
    pub(crate) scale: u64,
}

/// See the file's header. Members end when it is dropped.
pub(crate) struct Cluster {
    tables: Tables,
    members: Vec<Member>,
    round: u64,
}

struct Member {
    name: String,
    child: Child,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Cluster {
    /// Starts so many nodes and waits until they have met. With a directory each keeps a log in it.
    pub(crate) fn start(nodes: usize, data: Option<&Path>) -> Result<Cluster> {
        let names: Vec<_> = (1..=nodes).map(|number| format!("n{number}")).collect();
        let home = |name: &String| data.map(|data| data.join(name));
        let mut builder = Node::builder().name(&names[0]).cluster(NAME);
        let mut members = Vec::new();
        if nodes > 1 {
            let addresses = free_addresses(nodes)?;
            let list = member_list(&names, &addresses);
            builder = builder.members(names.iter().zip(&addresses));
            for name in &names[1..] {
                members.push(Member::start(name, &list, home(name))?);
            }
        }
        if let Some(home) = home(&names[0]) {
            builder = builder.data_dir(home);
        }
        let node = builder.build()?;
        node.wait_for_members(MET_WITHIN).context("the cluster did not come up")?;
        Ok(Cluster { tables: Tables { node, plain: None, indexed: None, bank: None }, members, round: 0 })
    }

    /// Creates and fills the tables of the workload, unless they are there.
    pub(crate) fn prepare(&mut self, wanted: &Wanted, kept: Kept) -> Result<()> {
        let node = self.tables.node.clone();
        let names: &[&str] = match wanted.workload {
            Workload::Tpcb => {
                if self.tables.bank.is_some() {
                    return Ok(());
                }
                self.tables.bank = Some(Bank::create(&node, kept, wanted.scale)?);
                &["bench_branches", "bench_tellers", "bench_accounts", "bench_history"]
            }
            Workload::IndexRead10Txn => {
                if self.tables.indexed.is_some() {
                    return Ok(());
                }
                let table = records::create(&node, kept)?;
                records::load(&table, wanted.records, |key| Indexed::new(key, wanted.records))?;
                self.tables.indexed = Some(table);
                &["bench_indexed"]
            }
            _ => {
                if self.tables.plain.is_some() {
                    return Ok(());
                }
                let table = records::create(&node, kept)?;
                records::load(&table, wanted.records, Plain::new)?;
                self.tables.plain = Some(table);
                &["bench_records"]
            }
        };
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        for member in &mut self.members {
            member.order(&Order::Open(names.clone()))?;
            member.hear()?;
        }
        Ok(())
    }

    /// Measures one window.
    pub(crate) fn measure(&mut self, wanted: &Wanted) -> Result<Done> {
        self.round += 1;
        let jobs = self.jobs(wanted);
        for (member, job) in self.members.iter_mut().zip(&jobs[1..]) {
            member.order(&Order::Run(job.clone()))?;
        }
        let mut done = run::run(&self.tables, &jobs[0])?;
        for (member, _) in self.members.iter_mut().zip(&jobs[1..]) {
            done = done.join(member.hear()?);
        }
        Ok(done)
    }

    /// What each node has to do: all clients on the first, or as even as it goes.
    fn jobs(&self, wanted: &Wanted) -> Vec<Job> {
        let nodes = if wanted.placement == Placement::One { 1 } else { 1 + self.members.len() };
        let begin_ms = wall_ms() + ORDERED_AHEAD_MS;
        let mut first = 0;
        let job = |node: usize| {
            let clients = (wanted.clients + nodes - 1 - node) / nodes;
            let job = Job {
                workload: wanted.workload,
                kind: wanted.kind,
                clients,
                first,
                round: self.round,
                records: wanted.records,
                scale: wanted.scale,
                begin_ms,
                window_ms: wanted.window.as_millis() as u64,
            };
            first += clients;
            job
        };
        (0..nodes).map(job).collect()
    }

    /// What must hold after a workload.
    pub(crate) fn check(&self, workload: Workload) -> Result<()> {
        match &self.tables.bank {
            Some(bank) if workload == Workload::Tpcb => bank.check(&self.tables.node),
            _ => Ok(()),
        }
    }
}

impl Member {
    fn start(name: &str, list: &str, home: Option<PathBuf>) -> Result<Member> {
        let program = std::env::current_exe().context("cannot find this program's file")?;
        let mut command = Command::new(program);
        command.args(["bench-member", "--name", name, "--members", list]);
        if let Some(home) = home {
            command.arg("--data").arg(home);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start member {name}"))?;
        let out = child.stdout.take().context("a piped output is there")?;
        let orders = child.stdin.take();
        let mut member = Member { name: name.to_owned(), child, orders, reports: BufReader::new(out) };
        member.hear()?;
        Ok(member)
    }

    fn order(&mut self, order: &Order) -> Result<()> {
        let orders = self.orders.as_mut().context("a piped input is there")?;
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        orders.write_all(&line).with_context(|| format!("member {} takes no orders", self.name))
    }

    fn hear(&mut self) -> Result<Done> {
        let mut line = String::new();
        self.reports.read_line(&mut line)?;
        if line.is_empty() {
            bail!("member {} ended by itself", self.name);
        }
        match serde_json::from_str(&line).with_context(|| format!("member {} said {line:?}", self.name))? {
            Report::Ready => Ok(Done::default()),
            Report::Done(done) => Ok(done),
            Report::Failed(why) => bail!("member {}: {why}", self.name),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(self.orders.take());
        let until = Instant::now() + ENDS_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        // It has ended, or is made to: nothing is left to do if that fails.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
