//! The workloads against a running cluster over gRPC: clients are tasks, each call is one operation or one interactive
//! transaction. The tables are its own, made before and dropped after.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{
    AttributeType, Client, Interactive, Row, Scan, Storage, TableSpec, Transact, TransactionOptions,
};

use super::bank::{ACCOUNTS, TELLERS, Transfer};
use super::cluster::Wanted;
use super::records::{Indexed, Plain};
use super::run::{Done, Job, Loop, wall_ms};
use super::workload::{Choices, Workload};
use crate::args::Global;
use crate::command;

/// Connections over which clients are spread: one carries many calls at once, and is one task at the server.
const CONNECTIONS_MAX: usize = 8;
/// Rows of one loading call.
const LOADED_AT_ONCE: u64 = 1000;
/// From the order to the beginning of a window.
const AHEAD_MS: u64 = 50;
/// How often an interactive transaction is run again after a conflict.
const RUNS_MAX: usize = 10_000;

const PLAIN: &str = "bench_records";
const INDEXED: &str = "bench_indexed";
const BRANCHES: &str = "bench_branches";
const BANK_TELLERS: &str = "bench_tellers";
const BANK_ACCOUNTS: &str = "bench_accounts";
const HISTORY: &str = "bench_history";

/// A running cluster that is measured.
pub(crate) struct Remote {
    connections: Vec<Client>,
    made: Vec<&'static str>,
    round: u64,
}

impl Remote {
    /// Connects as often as so many clients need. Calls take as long as they take, unless somebody says how long.
    pub(crate) async fn connect(global: &Global, clients: usize) -> Result<Remote> {
        let mut connections = Vec::new();
        for _ in 0..clients.clamp(1, CONNECTIONS_MAX) {
            connections.push(match global.timeout_given {
                true => command::connect(global).await?,
                false => command::reach(global).await?,
            });
        }
        Ok(Remote { connections, made: Vec::new(), round: 0 })
    }

    /// Members of the cluster.
    pub(crate) async fn members(&self) -> Result<usize> {
        Ok(self.connections[0].members().await?.len())
    }

    /// Makes and fills the tables of a workload, unless they are there.
    pub(crate) async fn prepare(&mut self, wanted: &Wanted, storage: Storage) -> Result<()> {
        let spec = |name: &str, numbers: &[&str], filler: &str| {
            let spec = TableSpec::set(name).attribute(numbers[0], AttributeType::Int).key([numbers[0]]);
            let spec = numbers[1..].iter().fold(spec, |spec, name| spec.attribute(*name, AttributeType::Int));
            spec.attribute(filler, AttributeType::Bytes).storage(storage)
        };
        if wanted.workload == Workload::IndexRead10Txn {
            let rows = spec(INDEXED, &["key", "small"], "value").index("by_small", ["small"]);
            let make = |key| {
                let Indexed { key, value, small } = Indexed::new(key, wanted.records);
                row(&[key, small], value)
            };
            return self.table(INDEXED, rows, wanted.records, make).await;
        }
        if wanted.workload != Workload::Tpcb {
            let rows = spec(PLAIN, &["key", "small"], "value");
            return self
                .table(PLAIN, rows, wanted.records, |key| row(&[key, 0], Plain::new(key).value))
                .await;
        }
        let (filler, scale) = (|| vec![0; 84], wanted.scale);
        self.table(BRANCHES, spec(BRANCHES, &["id", "balance"], "filler"), scale, |id| {
            row(&[id, 0], filler())
        })
        .await?;
        let tellers = spec(BANK_TELLERS, &["id", "branch", "balance"], "filler");
        self.table(BANK_TELLERS, tellers, scale * TELLERS, |id| row(&[id, id / TELLERS, 0], filler()))
            .await?;
        let accounts = spec(BANK_ACCOUNTS, &["id", "branch", "balance"], "filler");
        self.table(BANK_ACCOUNTS, accounts, scale * ACCOUNTS, |id| row(&[id, id / ACCOUNTS, 0], filler()))
            .await?;
        let history = spec(HISTORY, &["id", "account", "teller", "branch", "delta"], "filler");
        self.table(HISTORY, history, 0, |id| row(&[id], Vec::new())).await
    }

    async fn table(
        &mut self,
        name: &'static str,
        spec: TableSpec,
        rows: u64,
        make: impl Fn(u64) -> Vec<Value>,
    ) -> Result<()> {
        if self.made.contains(&name) {
            return Ok(());
        }
        let client = &self.connections[0];
        client.create_table(spec).await.with_context(|| {
            format!("cannot create {name}; if it is left from a run that was cut off: hmn table drop {name}")
        })?;
        self.made.push(name);
        let table = client.table(name);
        for first in (0..rows).step_by(LOADED_AT_ONCE as usize) {
            table.put_many((first..rows.min(first + LOADED_AT_ONCE)).map(&make)).await?;
        }
        Ok(())
    }

    /// Drops what was made.
    pub(crate) async fn clear(&mut self) -> Result<()> {
        for name in std::mem::take(&mut self.made) {
            self.connections[0].drop_table(name).await.with_context(|| format!("{name} is left behind"))?;
        }
        Ok(())
    }

    /// Measures one window.
    pub(crate) async fn measure(&mut self, wanted: &Wanted) -> Result<Done> {
        self.round += 1;
        let job = Job {
            workload: wanted.workload,
            kind: wanted.kind,
            clients: wanted.clients,
            first: 0,
            round: self.round,
            records: wanted.records,
            scale: wanted.scale,
            begin_ms: wall_ms() + AHEAD_MS,
            window_ms: wanted.window.as_millis() as u64,
        };
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..wanted.clients {
            let client = self.connections[number % self.connections.len()].clone();
            tasks.spawn(one(client, job.clone(), number));
        }
        let mut done = Done::default();
        while let Some(one) = tasks.join_next().await {
            done = done.join(one??);
        }
        Ok(done)
    }
}

async fn one(client: Client, job: Job, number: usize) -> Result<Done> {
    let mut choices = Choices::new(number as u64, job.round, job.records, job.scale);
    let mut counted = Loop::new(&job)?;
    tokio::time::sleep_until(counted.begins().into()).await;
    loop {
        let began = Instant::now();
        operate(&client, job.workload, &mut choices).await?;
        let ended = Instant::now();
        if !counted.counts(began, ended, ended, 1) {
            return Ok(counted.done());
        }
    }
}

async fn operate(client: &Client, workload: Workload, choices: &mut Choices) -> Result<()> {
    let plain = |key: u64| row(&[key, 0], Plain::new(key).value);
    match workload {
        Workload::WriteTxn => drop(client.transact(Transact::new().put(PLAIN, plain(choices.key()))).await?),
        Workload::Write10Txn => {
            let ten = (0..10).fold(Transact::new(), |all, _| all.put(PLAIN, plain(choices.key())));
            client.transact(ten).await?;
        }
        Workload::ReadTxn => {
            let found = client.transact(Transact::new().read(PLAIN, choices.key() as i64)).await?;
            there(found.reads.first().and_then(|rows| rows.first()))?;
        }
        Workload::IndexRead10Txn => index_read(client, choices).await?,
        Workload::RmwTxnUniform => again(client, Program::AddOne(choices.key())).await?,
        Workload::RmwTxn1key => again(client, Program::AddOne(1)).await?,
        Workload::Tpcb => again(client, Program::Transfer(choices.transfer())).await?,
        Workload::DirtyRead => {
            there(client.table(PLAIN).dirty_get(choices.key() as i64).await?.first())?;
        }
        Workload::DirtyWrite => client.table(PLAIN).dirty_put(plain(choices.key())).await?,
    }
    Ok(())
}

fn row(numbers: &[u64], filler: Vec<u8>) -> Vec<Value> {
    numbers.iter().map(|number| Value::Int(*number as i64)).chain([Value::Bytes(filler)]).collect()
}

fn there(row: Option<&Row>) -> Result<&Row> {
    row.context("a row of the workload is missing")
}

/// Reads the rows of a value of the index. Nobody writes that table, so there is no conflict.
async fn index_read(client: &Client, choices: &mut Choices) -> Result<()> {
    let mut tx = client.begin(TransactionOptions::new()).await?;
    let found = tx.scan(INDEXED, Scan::prefix(choices.value() as i64).index("by_small")).await?;
    ensure!(found.len() >= choices.rows_of_value(), "rows of the workload are missing");
    tx.commit().await?;
    Ok(())
}

/// Reads a row with a write lock, adds to one of its numbers and writes it back.
async fn add(
    tx: &mut Interactive,
    table: &str,
    key: u64,
    at: usize,
    by: i64,
) -> Result<(), hypermnesia_rpc::Error> {
    let found = tx.get_for_update(table, key as i64).await?;
    let mut row = found.into_iter().next().unwrap_or_default();
    if let Some(Value::Int(number)) = row.get_mut(at) {
        *number += by;
    }
    tx.put(table, row).await
}

/// What an interactive transaction of a workload does.
#[derive(Clone, Copy)]
enum Program {
    AddOne(u64),
    Transfer(Transfer),
}

impl Program {
    async fn run(self, client: &Client) -> Result<u64, hypermnesia_rpc::Error> {
        let mut tx = client.begin(TransactionOptions::new()).await?;
        match self {
            Program::AddOne(key) => add(&mut tx, PLAIN, key, 1, 1).await?,
            Program::Transfer(transfer) => {
                let Transfer { row: id, account, teller, branch, delta } = transfer;
                add(&mut tx, BANK_ACCOUNTS, account, 2, delta).await?;
                add(&mut tx, BANK_TELLERS, teller, 2, delta).await?;
                add(&mut tx, BRANCHES, branch, 1, delta).await?;
                let mut line = row(&[id, account, teller, branch], transfer.history().filler);
                line.insert(4, Value::Int(delta));
                tx.put(HISTORY, line).await?;
            }
        }
        tx.commit().await
    }
}

/// An interactive transaction is told of a conflict and run again by its client.
async fn again(client: &Client, program: Program) -> Result<()> {
    for run in 0..RUNS_MAX {
        match program.run(client).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_retry_safe() => {
                tokio::time::sleep(Duration::from_micros(50 << run.min(6))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    bail!("conflicts without end")
}
