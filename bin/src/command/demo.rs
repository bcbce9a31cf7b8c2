//! `demo`: three members on this machine, shown to a newcomer in eight steps. Each step says in plain words what it does
//! and what came of it, and checks that what it says is true: the demo fails, and names the step, when it is not.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser};
use hypermnesia_rpc::client::{AttributeType, Client, TableSpec, TransactionOptions, Values};
use hypermnesia_rpc::{ErrorKind, Value};

use super::import;
use crate::args::Global;
use crate::child::{self, Member, Spec};
use crate::output::{self, say};

/// Shipped with the program, so that the demo runs from anywhere.
const CITIES: &[u8] = include_bytes!("../../../examples/data/cities.csv");
const REGIONS: &[u8] = include_bytes!("../../../examples/data/admin1.csv");

/// How long the cluster may take to be whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

const JOINED: &str = "SELECT c.name, a.name AS region, c.lat FROM cities c JOIN admin1 a ON a.code = c.admin1 \
                      WHERE c.country = 'NA' ORDER BY c.lat DESC LIMIT 3";
const CHECKED: &str = "SELECT count(*), sum(id), min(name), max(name) FROM cities";
const MONEY: &str = "SELECT sum(balance) FROM accounts";

/// See what it does: three members, import, transactions, SQL, a crash, and back.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the cluster running at the end, until Ctrl-C, and say how to talk to it.
    #[arg(long)]
    keep: bool,
}

struct Demo {
    members: Vec<Member>,
    folder: PathBuf,
}

/// Runs the demo.
pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    let begin = Instant::now();
    let folder = std::env::temp_dir().join(format!("hmn-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut demo = Demo { members: Vec::new(), folder };
    let outcome = demo.steps(args.keep).await;
    for member in demo.members.drain(..) {
        member.stop().await?;
    }
    std::fs::remove_dir_all(&demo.folder)
        .with_context(|| format!("cannot remove {}", demo.folder.display()))?;
    outcome?;
    say(format_args!(
        "\nAll of it held, in {:.1} s. The three processes are gone again.",
        begin.elapsed().as_secs_f64()
    ))?;
    Ok(())
}

impl Demo {
    async fn steps(&mut self, keep: bool) -> Result<()> {
        self.start().await.context("step 1, starting three members")?;
        self.import().await.context("step 2, importing")?;
        self.read_elsewhere().await.context("step 3, reading on another member")?;
        self.move_money().await.context("step 4, a transaction across tables")?;
        self.query().await.context("step 5, a query with an index and a join")?;
        self.kill().await.context("step 6, killing a member")?;
        self.restart().await.context("step 7, restarting it")?;
        self.compare().await.context("step 8, comparing the members")?;
        if keep { self.keep().await } else { Ok(()) }
    }

    async fn start(&mut self) -> Result<()> {
        step(
            1,
            "Three members start, each a process of its own. They agree on who takes part: their first epoch.",
        )?;
        let names: Vec<_> = (1..=3).map(|number| format!("n{number}")).collect();
        let members = child::member_list(&names, &child::free_addresses(3)?);
        for name in names {
            let client = "127.0.0.1:0".to_owned();
            let spec = Spec { name, client, members: members.clone(), data: None, lease: None, quiet: true };
            self.members.push(Member::start(spec).await?);
        }
        self.whole().await?;
        for member in &self.members {
            said(&format!(
                "{} is process {}, clients reach it at {}",
                member.spec.name, member.pid, member.client
            ))?;
        }
        Ok(())
    }

    async fn import(&mut self) -> Result<()> {
        step(
            2,
            "Places and regions of 23 countries (GeoNames, CC BY 4.0) are imported on n1, with a copy on every member.",
        )?;
        for (table, bytes, options) in [
            (
                "cities",
                CITIES,
                &["--key", "id", "--kind", "ordered-set", "--index", "country", "--index", "admin1"][..],
            ),
            ("admin1", REGIONS, &["--key", "code"][..]),
        ] {
            let file = self.folder.join(format!("{table}.csv"));
            std::fs::write(&file, bytes)?;
            import::run(&self.global(0), import_args(table, &file, options)?).await?;
        }
        Ok(())
    }

    async fn read_elsewhere(&self) -> Result<()> {
        step(3, "n2 has it all. A read there is answered from its own memory; nobody else is asked.")?;
        let client = self.client(1).await?;
        let begin = Instant::now();
        let rows = rows_of(&client, "SELECT count(*) FROM cities").await?;
        let lines = CITIES.iter().filter(|byte| **byte == b'\n').count() as i64 - 1;
        ensure!(rows == [[Value::Int(lines)]], "n2 counts {rows:?}, the file has {lines} lines");
        said(&format!("n2 counts {lines} places in {:.1} ms", begin.elapsed().as_secs_f64() * 1000.0))?;
        Ok(())
    }

    async fn move_money(&self) -> Result<()> {
        step(
            4,
            "Ada sends Bob 30: two accounts and a line in the journal change together, on all members or on none.",
        )?;
        let client = self.client(0).await?;
        let accounts = TableSpec::set("accounts")
            .attribute("owner", AttributeType::Text)
            .attribute("balance", AttributeType::Int);
        let journal = TableSpec::ordered_set("journal")
            .attribute("number", AttributeType::Int)
            .attribute("text", AttributeType::Text);
        client.create_table(accounts).await?;
        client.create_table(journal).await?;
        client.table("accounts").put_many([("Ada", 100), ("Bob", 20)]).await?;
        self.transfer(&client, "Ada", "Bob", 30).await?;
        // On another member, at once: what was acknowledged is there.
        let seen =
            rows_of(&self.client(2).await?, "SELECT owner, balance FROM accounts ORDER BY owner").await?;
        let wanted: [[Value; 2]; 2] = [["Ada".into(), 70.into()], ["Bob".into(), 50.into()]];
        ensure!(seen == wanted, "n3 shows {seen:?}");
        said("n3 shows Ada 70, Bob 50, and the journal has its line")?;
        match self.transfer(&client, "Ada", "Bob", 1000).await {
            Err(error) if error.to_string().contains("only 70") => {
                said("1000 more are refused by the program, and nothing is changed")
            }
            other => bail!("a transfer of 1000 ended with {other:?}"),
        }
    }

    /// Moves money in an interactive transaction, with both accounts locked for it.
    async fn transfer(&self, client: &Client, from: &str, to: &str, amount: i64) -> Result<()> {
        let mut tx = client.begin(TransactionOptions::new()).await?;
        let (mut source, mut target) = (0, 0);
        for (owner, balance) in [(from, &mut source), (to, &mut target)] {
            *balance = match tx.get_for_update("accounts", owner).await?.as_slice() {
                [row] => match row.get(1) {
                    Some(Value::Int(balance)) => *balance,
                    other => bail!("the balance of {owner} is {other:?}"),
                },
                rows => bail!("{owner} has {} accounts", rows.len()),
            };
        }
        if source < amount {
            tx.abort().await?;
            bail!("{from} has only {source}");
        }
        tx.put("accounts", (from, source - amount)).await?;
        tx.put("accounts", (to, target + amount)).await?;
        tx.put("journal", (1, format!("{from} to {to}: {amount}"))).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn query(&self) -> Result<()> {
        step(
            5,
            "n2 joins the northernmost places of Namibia with their regions. EXPLAIN says how it finds them.",
        )?;
        let client = self.client(1).await?;
        say(format_args!("    {JOINED};"))?;
        let rows = rows_of(&client, JOINED).await?;
        ensure!(rows.len() == 3, "{} rows came, 3 were asked for", rows.len());
        for row in &rows {
            said(&row.iter().map(output::plain).collect::<Vec<_>>().join("  "))?;
        }
        let plan = rows_of(&client, &format!("EXPLAIN {JOINED}")).await?;
        let plan: Vec<_> = plan.iter().flatten().map(output::plain).collect();
        ensure!(plan.iter().any(|line| line.contains("by_country")), "the plan uses no index: {plan:?}");
        plan.iter().try_for_each(|line| say(format_args!("    | {line}")))
    }

    async fn kill(&mut self) -> Result<()> {
        step(
            6,
            "n3 is killed, as a crash would. The others agree to go on without it, once it can serve no old rows any more; a write waits for that.",
        )?;
        self.members[2].kill().await?;
        let (client, begin) = (self.client(0).await?, Instant::now());
        // One that was on its way to n3 may end without a known outcome, and that is said.
        while let Err(error) = client.table("accounts").put(("Eve", 0)).await {
            let passes = error.kind() == ErrorKind::OutcomeUnknown && begin.elapsed() < WHOLE_WITHIN;
            ensure!(passes, "a write ended with {error}");
            said(&format!("a write on n1: {error}"))?;
        }
        said(&format!("a write on n1 is done after {:.1} s", begin.elapsed().as_secs_f64()))?;
        let begin = Instant::now();
        let rows = rows_of(&self.client(1).await?, MONEY).await?;
        ensure!(rows == [[Value::Int(120)]], "n2 sums {rows:?}");
        said(&format!(
            "a read on n2: 120 in all accounts, in {:.1} ms",
            begin.elapsed().as_secs_f64() * 1000.0
        ))?;
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        step(
            7,
            "n3 starts again, with empty memory. It fetches all tables from the others before it serves: a new epoch.",
        )?;
        let begin = Instant::now();
        let spec = self.members[2].spec.clone();
        self.members[2] = Member::start(spec).await?;
        self.whole().await?;
        self.client(0).await?.table("accounts").put(("Cleo", 0)).await?;
        said(&format!("whole again and writing after {:.1} s", begin.elapsed().as_secs_f64()))?;
        Ok(())
    }

    async fn compare(&self) -> Result<()> {
        step(8, "All three are equal: each answers from its own copy.")?;
        let mut answers = Vec::new();
        for at in 0..self.members.len() {
            let client = self.client(at).await?;
            let mut rows = rows_of(&client, CHECKED).await?;
            rows.extend(rows_of(&client, "SELECT owner, balance FROM accounts ORDER BY owner").await?);
            said(&format!(
                "{}: {}",
                self.members[at].spec.name,
                rows[0].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ))?;
            answers.push(rows);
        }
        ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "they differ: {answers:?}");
        Ok(())
    }

    async fn keep(&self) -> Result<()> {
        say(format_args!("\nThe cluster stays until Ctrl-C. Talk to it:"))?;
        say(format_args!("  hmn shell --addr {}", self.members[0].client))?;
        say(format_args!(
            "  hmn query \"SELECT country, count(*) FROM cities GROUP BY country ORDER BY 2 DESC LIMIT 5\" --addr {}",
            self.members[1].client
        ))?;
        tokio::signal::ctrl_c().await?;
        Ok(())
    }

    /// Waits until every member says that all is well.
    async fn whole(&self) -> Result<()> {
        let until = Instant::now() + WHOLE_WITHIN;
        for at in 0..self.members.len() {
            loop {
                let status = self.client(at).await?.status().await?;
                if status.ready {
                    break;
                }
                ensure!(
                    Instant::now() < until,
                    "{} still waits after {} s",
                    status.name,
                    WHOLE_WITHIN.as_secs()
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    async fn client(&self, at: usize) -> Result<Client> {
        Ok(Client::connect(&self.members[at].client).await?)
    }

    fn global(&self, at: usize) -> Global {
        Global::for_member(&self.members[at].client)
    }
}

/// The arguments of `import`, as the command line would give them.
fn import_args(table: &str, file: &Path, options: &[&str]) -> Result<import::ImportArgs> {
    #[derive(Parser)]
    struct Wrapped {
        #[command(flatten)]
        args: import::ImportArgs,
    }
    let file = file.to_str().context("the folder for temporary files has a name that is not UTF-8")?;
    let words = ["import", table, file].into_iter().chain(options.iter().copied());
    Ok(Wrapped::try_parse_from(words)?.args)
}

async fn rows_of(client: &Client, statement: &str) -> Result<Vec<Vec<Value>>> {
    Ok(client.query(statement, Values::default()).await?.collect().await?)
}

fn step(number: u32, what: &str) -> Result<()> {
    say(format_args!("\n{number}. {what}"))
}

fn said(what: &str) -> Result<()> {
    say(format_args!("    {what}"))
}
