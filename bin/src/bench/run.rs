//! Closed loops on one node: so many clients, each waits for its answer before it asks again, from a common beginning until
//! the time is over. What they took is counted in logarithmic slots.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::threads::Tables;
use super::workload::{Choices, Workload};

/// Runs before the window begins, uncounted.
const WARM: Duration = Duration::from_millis(200);
/// Longest operation that is told apart, in nanoseconds: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// More clients than this are tasks unless it is said otherwise: so many threads still find a processor quickly.
const THREADS_MAX: usize = 2;

/// How clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clients {
    /// Each on a thread of its own, with the blocking calls.
    Threads,
    /// Tasks that share one thread per processor, with the futures.
    Tasks,
}

impl Clients {
    /// As figures say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clients::Threads => "threads",
            Clients::Tasks => "tasks",
        }
    }

    /// What so many clients are when nobody says.
    pub(crate) fn usual(count: usize) -> Clients {
        if count <= THREADS_MAX { Clients::Threads } else { Clients::Tasks }
    }
}

/// What one node has to do in one window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) workload: Workload,
    pub(crate) kind: Clients,
    /// Clients of this node.
    pub(crate) clients: usize,
    /// Clients of nodes before this one, so that no two have the same number.
    pub(crate) first: usize,
    /// Counts windows, for the clients' choices.
    pub(crate) round: u64,
    pub(crate) records: u64,
    pub(crate) scale: u64,
    /// Milliseconds since 1970.
    pub(crate) begin_ms: u64,
    pub(crate) window_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Operations per second.
    pub(crate) rate: f64,
    /// Nanoseconds to how many operations took that long, 1 % wide.
    pub(crate) took: BTreeMap<u64, u64>,
}

impl Done {
    /// Both together.
    pub(crate) fn join(mut self, other: Done) -> Done {
        self.rate += other.rate;
        for (took, count) in other.took {
            *self.took.entry(took).or_default() += count;
        }
        self
    }

    /// The time within which that share of the operations ended, in microseconds.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let total: u64 = self.took.values().sum();
        let mut left = (total as f64 * share).ceil() as u64;
        for (took, count) in &self.took {
            if *count >= left {
                return *took as f64 / 1000.0;
            }
            left -= count;
        }
        0.0
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// One client's loop: when it counts, and what it has counted.
pub(crate) struct Loop {
    from: Instant,
    until: Instant,
    count: u64,
    took: Histogram<u64>,
}

impl Loop {
    /// Waits for the beginning, which is `WARM` before the window.
    pub(crate) fn new(job: &Job) -> Result<Loop> {
        let begin = Instant::now() + Duration::from_millis(job.begin_ms.saturating_sub(wall_ms()));
        let from = begin + WARM;
        let until = from + Duration::from_millis(job.window_ms);
        Ok(Loop { from, until, count: 0, took: Histogram::new_with_max(LONGEST_NS, 2)? })
    }

    /// When clients begin.
    pub(crate) fn begins(&self) -> Instant {
        self.from - WARM
    }

    /// Operations that began at one moment and ended at another; the first took so long. False when the time is over.
    pub(crate) fn counts(&mut self, began: Instant, first: Instant, ended: Instant, operations: u64) -> bool {
        if began < self.from {
            return ended < self.until;
        }
        self.count += operations;
        self.took.saturating_record((first - began).as_nanos() as u64);
        ended < self.until
    }

    /// What the client did.
    pub(crate) fn done(self) -> Done {
        let seconds = self.from.elapsed().as_secs_f64();
        let took = self.took.iter_recorded().map(|slot| (slot.value_iterated_to(), slot.count_at_value()));
        Done { rate: self.count as f64 / seconds, took: took.collect() }
    }
}

/// Runs a job to its end. Fails when an operation does.
pub(crate) fn run(tables: &Tables, job: &Job) -> Result<Done> {
    match job.kind {
        Clients::Threads => on_threads(tables, job),
        Clients::Tasks => on_tasks(tables, job),
    }
}

fn on_threads(tables: &Tables, job: &Job) -> Result<Done> {
    let each = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..job.clients).map(|client| scope.spawn(move || one_thread(tables, job, client))).collect();
        clients.into_iter().map(joined).collect::<Result<Vec<_>>>()
    })?;
    Ok(each.into_iter().fold(Done::default(), Done::join))
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a client's thread panicked"))?
}

fn choices(job: &Job, client: usize) -> Choices {
    Choices::new((job.first + client) as u64, job.round, job.records, job.scale)
}

fn one_thread(tables: &Tables, job: &Job, client: usize) -> Result<Done> {
    let mut choices = choices(job, client);
    let mut counted = Loop::new(job)?;
    std::thread::sleep(counted.begins().saturating_duration_since(Instant::now()));
    let batch = job.workload.batch();
    loop {
        let began = Instant::now();
        tables.operate(job.workload, &mut choices)?;
        let first = Instant::now();
        for _ in 1..batch {
            tables.operate(job.workload, &mut choices)?;
        }
        let ended = if batch == 1 { first } else { Instant::now() };
        if !counted.counts(began, first, ended, batch) {
            return Ok(counted.done());
        }
    }
}

fn on_tasks(tables: &Tables, job: &Job) -> Result<Done> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(job.clients.max(1));
    let each = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors)
            .map(|part| scope.spawn(move || tasks_of_thread(tables, job, part, processors)))
            .collect();
        threads.into_iter().map(joined).collect::<Result<Vec<_>>>()
    })?;
    Ok(each.into_iter().fold(Done::default(), Done::join))
}

/// The tasks of one of the threads: every so-manieth client.
fn tasks_of_thread(tables: &Tables, job: &Job, part: usize, parts: usize) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let local = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for client in (part..job.clients).step_by(parts) {
        let (tables, job) = (tables.clone(), job.clone());
        tasks.push(local.spawn_local(async move { one_task(&tables, &job, client).await }));
    }
    runtime.block_on(local.run_until(async {
        let mut done = Done::default();
        for task in tasks {
            done = done.join(task.await.context("a client's task panicked")??);
        }
        Ok(done)
    }))
}

async fn one_task(tables: &Tables, job: &Job, client: usize) -> Result<Done> {
    let mut choices = choices(job, client);
    let mut counted = Loop::new(job)?;
    tokio::time::sleep_until(counted.begins().into()).await;
    let batch = job.workload.batch();
    loop {
        let began = Instant::now();
        tables.operate_task(job.workload, &mut choices).await?;
        let first = Instant::now();
        for _ in 1..batch {
            tables.operate_task(job.workload, &mut choices).await?;
        }
        let ended = if batch == 1 { first } else { Instant::now() };
        if !counted.counts(began, first, ended, batch) {
            return Ok(counted.done());
        }
        if job.workload.is_local() {
            // It never waits, so the other clients of the thread have to be let in.
            tokio::task::yield_now().await;
        }
    }
}
