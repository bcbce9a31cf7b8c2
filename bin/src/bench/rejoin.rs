//! What a member costs the others when it comes back: three members, each a process, one of which is killed and started again while clients
//! of another one write rows of a large table. How many are written in a second before, and while it loads the table.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{AttributeType, Client, Storage, TableSpec};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::figure::hundredth;
use crate::child::{Member, Spec, free_addresses, member_list};

const MEMBERS: usize = 3;
/// Who goes and comes back.
const AWAY: usize = MEMBERS - 1;
const TABLE: &str = "bench_rejoin";
/// With a row's number and counter about a hundred bytes.
const FILLER_BYTES: usize = 84;
const LOADED_AT_ONCE: u64 = 1_000;
const CALM: Duration = Duration::from_secs(3);
const WHOLE_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) rows: u64,
    pub(crate) clients: usize,
    /// One of so many rows is changed while the member is away; none are where it comes back with nothing.
    pub(crate) changed_of: u64,
    pub(crate) storage: Storage,
    pub(crate) name: &'static str,
}

/// One return, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Return {
    pub(crate) bench: &'static str,
    pub(crate) storage: &'static str,
    pub(crate) rows: u64,
    pub(crate) clients: usize,
    /// Writes acknowledged in a second with all three there.
    pub(crate) calm_per_s: f64,
    /// From when it took part again until it had all of the table.
    pub(crate) loading_per_s: f64,
    pub(crate) ratio: f64,
    pub(crate) loading_ms: f64,
    /// The longest time without an acknowledgement to any client meanwhile.
    pub(crate) longest_ms: f64,
    pub(crate) copied_bytes: u64,
    pub(crate) table_bytes: u64,
}

/// Writers of random rows, and when one of them was answered last.
struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

impl Writers {
    fn start(client: &Client, wanted: Wanted) -> Writers {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..wanted.clients {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                let mut random = fastrand::Rng::new();
                while !stop.load(Ordering::Relaxed) {
                    let (id, n) = (random.u64(0..wanted.rows), random.i64(1..1_000_000));
                    client.table(TABLE).put(row(id, n)).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Writers { stop, done, tasks }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client ended")?.context("a write failed")?;
        }
        Ok(())
    }
}

fn row(id: u64, n: i64) -> (i64, i64, Vec<u8>) {
    (id as i64, n, vec![(id % 251) as u8; FILLER_BYTES])
}

/// Measures one return.
pub(crate) async fn measure(wanted: Wanted, data: Option<&Path>) -> Result<Return> {
    let names: Vec<_> = (1..=MEMBERS).map(|number| format!("n{number}")).collect();
    let list = member_list(&names, &free_addresses(MEMBERS)?);
    let mut members = Vec::new();
    for name in names {
        let data = data.map(|data| data.join(&name));
        let client = "127.0.0.1:0".to_owned();
        members.push(
            Member::start(Spec { name, client, members: list.clone(), data, lease: None, quiet: true })
                .await?,
        );
    }
    let client = Client::connect(&members[0].client).await?;
    whole(&client).await?;
    fill(&client, wanted).await?;

    let writers = Writers::start(&client, wanted);
    let calm_per_s = calm(&writers).await;
    // None is on its way when it is killed: whose outcome would nobody know?
    writers.end().await?;
    members[AWAY].kill().await?;
    takes_part(&client, &members[AWAY], false).await?;
    if wanted.changed_of > 0 {
        for id in (0..wanted.rows).step_by(wanted.changed_of as usize) {
            client.table(TABLE).put(row(id, -1)).await?;
        }
    }
    let writers = Writers::start(&client, wanted);
    members[AWAY] = Member::start(members[AWAY].spec.clone()).await?;
    let (took, written, longest) = loading(&client, &members[AWAY], &writers).await?;
    writers.end().await?;

    let status = Client::connect(&members[AWAY].client).await?.status().await?;
    let loading_per_s = written as f64 / took.as_secs_f64();
    let measured = Return {
        bench: "rejoin",
        storage: wanted.name,
        rows: wanted.rows,
        clients: wanted.clients,
        calm_per_s: hundredth(calm_per_s),
        loading_per_s: hundredth(loading_per_s),
        ratio: hundredth(loading_per_s / calm_per_s),
        loading_ms: hundredth(took.as_secs_f64() * 1_000.0),
        longest_ms: hundredth(longest.as_secs_f64() * 1_000.0),
        copied_bytes: status.copied_bytes,
        table_bytes: status.tables.iter().map(|table| table.bytes).sum(),
    };
    compare(&members).await?;
    for member in members {
        member.stop().await?;
    }
    Ok(measured)
}

async fn calm(writers: &Writers) -> f64 {
    sleep(Duration::from_secs(1)).await;
    let (before, began) = (writers.done(), Instant::now());
    sleep(CALM).await;
    (writers.done() - before) as f64 / began.elapsed().as_secs_f64()
}

/// From when it takes part until it has all tables: how long, how many writes, and the longest time without one.
async fn loading(client: &Client, away: &Member, writers: &Writers) -> Result<(Duration, u64, Duration)> {
    let until = Instant::now() + WHOLE_WITHIN;
    let own = Client::connect(&away.client).await?;
    takes_part(client, away, true).await?;
    let (began, before) = (Instant::now(), writers.done());
    let (mut last, mut last_at, mut longest) = (before, began, Duration::ZERO);
    loop {
        let (now, done) = (Instant::now(), writers.done());
        if done > last {
            (last, last_at) = (done, now);
        }
        longest = longest.max(now - last_at);
        if own.status().await?.ready {
            return Ok((began.elapsed(), writers.done() - before, longest));
        }
        if now > until {
            bail!("{} does not load its table", away.spec.name);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until a member takes part, or does not any more.
async fn takes_part(client: &Client, which: &Member, wanted: bool) -> Result<()> {
    let (until, name) = (Instant::now() + WHOLE_WITHIN, &which.spec.name);
    loop {
        let members = client.members().await?;
        if members.iter().any(|member| member.name == *name && member.in_epoch == wanted) {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("{name} is still {}", if wanted { "away" } else { "there" });
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn fill(client: &Client, wanted: Wanted) -> Result<()> {
    let spec = TableSpec::set(TABLE).attribute("id", AttributeType::Int).attribute("n", AttributeType::Int);
    client.create_table(spec.attribute("filler", AttributeType::Bytes).storage(wanted.storage)).await?;
    let table = client.table(TABLE);
    let mut from = 0;
    while from < wanted.rows {
        let to = (from + LOADED_AT_ONCE).min(wanted.rows);
        table.put_many((from..to).map(|id| row(id, 0))).await?;
        from = to;
    }
    Ok(())
}

async fn whole(client: &Client) -> Result<()> {
    let until = Instant::now() + WHOLE_WITHIN;
    while !client.status().await?.ready {
        if Instant::now() > until {
            bail!("the members do not come together");
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Fails where the members have different rows.
async fn compare(members: &[Member]) -> Result<()> {
    let mut sums = Vec::new();
    for member in members {
        let client = Client::connect(&member.client).await?;
        let statement = format!("SELECT count(*), sum(n) FROM {TABLE}");
        sums.push(
            client.query(&statement, hypermnesia_rpc::client::Values::default()).await?.collect().await?,
        );
    }
    let same = sums.windows(2).all(|pair: &[Vec<Vec<Value>>]| pair[0] == pair[1]);
    if same { Ok(()) } else { bail!("the members have different rows: {sums:?}") }
}
