//! `exec`: transactions as JSON lines, for scripts and for checkers of histories. One line in is one transaction, one line
//! out is its end: `ok` with what it read, `fail` when it certainly did not happen, `info` when nobody knows. An error
//! after the commit was sent is `info` unless the server says that nothing was changed.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::Args;
use hypermnesia_rpc::client::{
    AttributeType, Change, Changed, Client, Count, Expected, Interactive, Scan, TableSpec,
    TransactionOptions, Values,
};
use hypermnesia_rpc::{Error, ErrorKind, Value};
use serde_json::{Map, Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use super::{connect, loaded_table};
use crate::args::Global;
use crate::{json, output};

/// How often a transaction that lost against another, and so certainly did not happen, is run again.
const RUNS_MAX: u32 = 20;
/// What `setup` opens where it is not told: so many accounts with so much each.
const ACCOUNTS: i64 = 8;
const BALANCE: i64 = 10;

const LINES: &str = "\
Lines in, each one transaction:
  {\"value\":[[\"append\",K,V],[\"r\",K,null],[\"w\",K,V]]}
      append to a list, read, write a register
  {\"value\":[[\"cas\",K,[OLD,NEW]],[\"new\",K,V],[\"incr\",K,N],[\"take\",K,null]]}
      compare and swap (null: no register), write one that is not there,
      count, read and delete; a cas or new that finds another one fails
  {\"f\":\"setup\",\"value\":{\"accounts\":8,\"balance\":10}}
      make accounts 0 to 7 and no others (value may be left out)
  {\"f\":\"transfer\",\"value\":{\"from\":A,\"to\":B,\"amount\":N}}
      fails rather than overdraw A
  {\"f\":\"add\",\"value\":N}
      add to the counter
  {\"f\":\"read\"}
      all accounts if there are any, else the counter
      (\"value\":\"accounts\" or \"counter\" to choose)
Lines out, in the same order:
  {\"type\":\"ok\",\"value\":...}     it happened; reads are filled in
  {\"type\":\"fail\",\"error\":...}   it certainly did not happen
  {\"type\":\"info\",\"error\":...}   nobody knows

Example:
  echo '{\"value\":[[\"append\",1,7],[\"r\",1,null]]}' | hmn exec";

/// Run transactions from JSON lines on the standard input, and answer each with a line.
#[derive(Debug, Args)]
#[command(after_help = LINES)]
pub(crate) struct ExecArgs {
    /// Table for everything, made (in memory, a copy on every member) when it is missing.
    #[arg(long, default_value = "exec")]
    table: String,
}

/// Why a transaction did not end well.
enum Failed {
    /// It certainly did not happen.
    No(String),
    /// It lost against another and did not happen; it may be run again.
    Lost(String),
    /// Nobody knows.
    Unknown(String),
}

impl From<Error> for Failed {
    /// An error before the commit was sent: nothing happened.
    fn from(error: Error) -> Failed {
        match error.kind() {
            ErrorKind::Conflict | ErrorKind::SchemaChanged => Failed::Lost(error.to_string()),
            _ => Failed::No(error.to_string()),
        }
    }
}

/// Answers line by line until the input ends.
pub(crate) async fn run(global: &Global, args: ExecArgs) -> Result<()> {
    let client = connect(global).await?;
    ensure_table(&client, global, &args.table).await?;
    let options = TransactionOptions::new().timeout(global.deadline());
    let session = Session { client, table: args.table, options };
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line.trim().is_empty() {
            continue;
        }
        let answer = session.answer(&line).await;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// Makes the table unless it is there; another process may do the same at the same time.
async fn ensure_table(client: &Client, global: &Global, name: &str) -> Result<()> {
    let spec = TableSpec::ordered_set(name)
        .attribute("space", AttributeType::Text)
        .attribute("key", AttributeType::Any)
        .nullable("value", AttributeType::Any)
        .key(["space", "key"]);
    let missing = matches!(client.describe_table(name).await, Err(e) if e.kind() == ErrorKind::NotFound);
    if missing
        && let Err(error) = client.create_table(spec).await
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error.into());
    }
    loaded_table(client, global, name).await?;
    Ok(())
}

struct Session {
    client: Client,
    table: String,
    options: TransactionOptions,
}

impl Session {
    async fn answer(&self, line: &str) -> Json {
        let request = match request(line) {
            Ok(request) => request,
            Err(error) => return json!({"type": "fail", "error": format!("{error:#}")}),
        };
        let mut run = 1;
        loop {
            match self.transact(&request).await {
                Ok(value) => return json!({"type": "ok", "value": value}),
                Err(Failed::Lost(_)) if run < RUNS_MAX => run += 1,
                Err(Failed::Lost(why) | Failed::No(why)) => return json!({"type": "fail", "error": why}),
                Err(Failed::Unknown(why)) => return json!({"type": "info", "error": why}),
            }
        }
    }

    /// One run of one transaction.
    async fn transact(&self, request: &Json) -> Result<Json, Failed> {
        let interactive = self.client.begin(self.options.clone()).await?;
        let mut steps = Steps { tx: interactive, table: &self.table };
        let value = &request["value"];
        let f = &request["f"];
        let done = match f.as_str() {
            None if f.is_null() => steps.operations(value).await?,
            Some("txn") => steps.operations(value).await?,
            Some("setup") => steps.set_up(value).await?,
            Some("transfer") => steps.transfer(value).await?,
            Some("add") => steps.add(value).await?,
            Some("read") => steps.read(value).await?,
            _ => return Err(Failed::No(format!("unknown f {f}"))),
        };
        match steps.tx.commit().await {
            Ok(_) => Ok(done),
            Err(error) if error.changed_nothing() => Err(error.into()),
            Err(error) => Err(Failed::Unknown(error.to_string())),
        }
    }
}

/// The steps of one open transaction. Registers, accounts and the counter live in spaces of their own.
struct Steps<'a> {
    tx: Interactive,
    table: &'a str,
}

impl Steps<'_> {
    async fn operations(&mut self, operations: &Json) -> Result<Json, Failed> {
        let Some(operations) = operations.as_array() else {
            return Err(Failed::No("\"value\" is to be a list of operations".to_owned()));
        };
        let mut done = Vec::with_capacity(operations.len());
        for operation in operations {
            done.push(self.operation(operation).await?);
        }
        Ok(Json::Array(done))
    }

    async fn operation(&mut self, operation: &Json) -> Result<Json, Failed> {
        let wrong = || {
            Failed::No(format!(
                "{operation} is none of the operations, or not a whole one: see hmn exec --help"
            ))
        };
        let (name, key, given) = match operation.as_array().map(Vec::as_slice) {
            Some([Json::String(name), key, given]) => (name.as_str(), value_of(key)?, given),
            Some([Json::String(name), key]) if name == "r" => ("r", value_of(key)?, &Json::Null),
            _ => return Err(wrong()),
        };
        match name {
            "r" if given.is_null() => {
                let found = self.get("register", key).await?;
                return Ok(json!(["r", operation[1], found.as_ref().map_or(Json::Null, json::of)]));
            }
            "take" if given.is_null() => {
                let taken = self.change(Change::take(self.table, ("register", key))).await?;
                return Ok(json!([
                    "take",
                    operation[1],
                    last(taken.rows).as_ref().map_or(Json::Null, json::of)
                ]));
            }
            "incr" => return self.count(operation, key, given).await,
            "cas" => self.swap(operation, key, given).await?,
            "new" => {
                let new = Change::insert_new(self.table, ("register", key, value_of(given)?));
                if !self.change(new).await?.applied {
                    return Err(Failed::No(format!("{} is there already", operation[1])));
                }
            }
            "w" => self.put("register", key, value_of(given)?).await?,
            "append" => {
                let given = value_of(given)?;
                let list = match self.get_for_update("register", key.clone()).await? {
                    None | Some(Value::Null) => vec![given],
                    Some(Value::List(mut list)) => {
                        list.push(given);
                        list
                    }
                    Some(_) => return Err(Failed::No(format!("{} is not a list", operation[1]))),
                };
                self.put("register", key, Value::List(list)).await?;
            }
            _ => return Err(wrong()),
        }
        Ok(operation.clone())
    }

    /// Replaces a register that holds the first value by the second; null stands for no register.
    async fn swap(&mut self, operation: &Json, key: Value, given: &Json) -> Result<(), Failed> {
        let Some([old, new]) = given.as_array().map(Vec::as_slice) else {
            return Err(Failed::No(format!("{operation} is to be [\"cas\",K,[OLD,NEW]]")));
        };
        let row = |value: Value| Values::from(("register", key.clone(), value));
        let expected = match old {
            Json::Null => Expected::Absent,
            old => Expected::Equals(row(value_of(old)?)),
        };
        let new = match new {
            Json::Null => None,
            new => Some(row(value_of(new)?)),
        };
        let swap = Change::swap(self.table, ("register", key.clone()), expected, new);
        match self.change(swap).await?.applied {
            true => Ok(()),
            false => Err(Failed::No(format!("{} is not {old}", operation[1]))),
        }
    }

    /// Adds to a register, which begins at 0; the answer has the sum.
    async fn count(&mut self, operation: &Json, key: Value, by: &Json) -> Result<Json, Failed> {
        let Some(by) = by.as_i64() else {
            return Err(Failed::No(format!("{operation} is to have a whole number to add")));
        };
        let count = Change::count(self.table, ("register", key.clone()), [Count::new("value", by)]);
        let counted = self.change(count.or_from(("register", key, 0))).await?;
        Ok(json!(["incr", operation[1], counted.sums.first()]))
    }

    async fn change(&mut self, change: Change) -> Result<Changed, Failed> {
        Ok(self.tx.change(change).await?)
    }

    /// Makes the accounts exactly as asked: others that are there are gone with it.
    async fn set_up(&mut self, value: &Json) -> Result<Json, Failed> {
        let none = Map::new();
        let asked = match value {
            Json::Null => &none,
            Json::Object(asked) => asked,
            _ => return Err(Failed::No(format!("setup takes accounts and balance, not {value}"))),
        };
        let accounts = not_below_zero(asked, "accounts", ACCOUNTS)?;
        let balance = not_below_zero(asked, "balance", BALANCE)?;
        if let Some(other) = asked.keys().find(|name| !["accounts", "balance"].contains(&name.as_str())) {
            return Err(Failed::No(format!("setup takes accounts and balance, not {other:?}")));
        }
        for row in self.tx.scan(self.table, Scan::prefix("account")).await? {
            // A row has three attributes: space, key, value.
            if !matches!(&row[1], Value::Int(account) if (0..accounts).contains(account)) {
                self.tx.delete(self.table, ("account", row[1].clone())).await?;
            }
        }
        for account in 0..accounts {
            self.put("account", account.into(), balance.into()).await?;
        }
        Ok(json!({"accounts": accounts, "balance": balance}))
    }

    async fn transfer(&mut self, value: &Json) -> Result<Json, Failed> {
        let Some(amount) = value["amount"].as_i64().filter(|amount| *amount >= 0) else {
            return Err(Failed::No("\"amount\" is to be a whole number, not below 0".to_owned()));
        };
        let from = self.balance(&value["from"]).await?;
        if from < amount {
            return Err(Failed::No(format!("account {} has only {from}", value["from"])));
        }
        self.put("account", value_of(&value["from"])?, (from - amount).into()).await?;
        let to = self.balance(&value["to"]).await?;
        let Some(sum) = to.checked_add(amount) else { return Err(Failed::No("too much".to_owned())) };
        self.put("account", value_of(&value["to"])?, sum.into()).await?;
        Ok(value.clone())
    }

    async fn balance(&mut self, account: &Json) -> Result<i64, Failed> {
        match self.get_for_update("account", value_of(account)?).await? {
            Some(Value::Int(balance)) => Ok(balance),
            _ => Err(Failed::No(format!("there is no account {account}"))),
        }
    }

    async fn add(&mut self, value: &Json) -> Result<Json, Failed> {
        let Some(by) = value.as_i64() else {
            return Err(Failed::No("\"value\" is to be a whole number".to_owned()));
        };
        let now = match self.get_for_update("counter", 0.into()).await? {
            Some(Value::Int(now)) => now,
            _ => 0,
        };
        let Some(sum) = now.checked_add(by) else { return Err(Failed::No("too much".to_owned())) };
        self.put("counter", 0.into(), sum.into()).await?;
        Ok(value.clone())
    }

    async fn read(&mut self, value: &Json) -> Result<Json, Failed> {
        if !value.is_null() && value != "counter" && value != "accounts" {
            return Err(Failed::No(format!("read takes \"accounts\" or \"counter\", not {value}")));
        }
        if value != "counter" {
            let rows = self.tx.scan(self.table, Scan::prefix("account")).await?;
            if !rows.is_empty() || value == "accounts" {
                let each = rows.iter().map(|row| (output::plain(&row[1]), json::of(&row[2])));
                return Ok(json!(each.collect::<BTreeMap<_, _>>()));
            }
        }
        let counter = self.get("counter", 0.into()).await?;
        Ok(counter.as_ref().map_or(json!(0), json::of))
    }

    async fn get(&mut self, space: &str, key: Value) -> Result<Option<Value>, Failed> {
        Ok(last(self.tx.get(self.table, (space, key)).await?))
    }

    async fn get_for_update(&mut self, space: &str, key: Value) -> Result<Option<Value>, Failed> {
        Ok(last(self.tx.get_for_update(self.table, (space, key)).await?))
    }

    async fn put(&mut self, space: &str, key: Value, value: Value) -> Result<(), Failed> {
        Ok(self.tx.put(self.table, (space, key, value)).await?)
    }
}

/// A line that is one JSON object, without numbers that would be bent and keys that stand twice.
fn request(line: &str) -> Result<Json> {
    let request: Json = serde_json::from_str(line).context("not a JSON line")?;
    if let Some(read) = json::read(line) {
        read?;
    }
    match request.is_object() {
        true => Ok(request),
        false => bail!("not a JSON object: {line}"),
    }
}

fn value_of(json: &Json) -> Result<Value, Failed> {
    json::from(json).map_err(|error| Failed::No(format!("{error:#}")))
}

fn not_below_zero(asked: &Map<String, Json>, name: &str, default: i64) -> Result<i64, Failed> {
    match asked.get(name) {
        None => Ok(default),
        Some(number) => number.as_i64().filter(|number| *number >= 0).ok_or_else(|| {
            Failed::No(format!("{name:?} is to be a whole number, not below 0, and is {number}"))
        }),
    }
}

/// The last attribute of the only row.
fn last(rows: Vec<Vec<Value>>) -> Option<Value> {
    rows.into_iter().next().and_then(|mut row| row.pop())
}
