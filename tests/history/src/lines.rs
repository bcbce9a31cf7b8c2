//! Histories as lines of JSON, in the form that Jepsen writes and that Elle and `adya` read: one line when a transaction is
//! asked for, one with its end. What it asks for is written as `hmn exec` takes and answers it.
//!
//! ```text
//! {"index":0,"time":12,"process":3,"type":"invoke","f":"txn","value":[["append",1,7],["r",1,null]]}
//! {"index":1,"time":90,"process":3,"type":"ok","f":"txn","value":[["append",1,7],["r",1,[7]]]}
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde_json::{Value as Json, json};

use crate::{Found, History, Op, Outcome, Transaction};

/// A line that is none of a history. Nothing of the text was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Unreadable {}

/// A transaction that has no end yet.
struct Asked {
    invoked: u64,
    f: String,
    value: Json,
    note: String,
}

impl History {
    /// Reads lines. Time is `time`, or where that is missing the place in the text. What has no end is unknown. Lines of
    /// processes without a number (faults) and empty ones are passed over.
    ///
    /// # Errors
    /// The first line that is none of a history.
    pub fn from_lines(text: &str) -> Result<History, Unreadable> {
        let mut history = History::default();
        let mut open = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            history.take(&mut open, at as u64, line).map_err(|why| Unreadable { line: at + 1, why })?;
        }
        for (process, asked) in open {
            history
                .end(process, &asked, (u64::MAX, Outcome::Unknown), &asked.value)
                .map_err(|why| Unreadable { line: text.lines().count(), why })?;
        }
        Ok(history)
    }

    fn take(&mut self, open: &mut BTreeMap<u64, Asked>, at: u64, line: &str) -> Result<(), String> {
        let event: Json = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
        let Some(process) = event["process"].as_u64() else { return Ok(()) };
        let time = event["time"].as_u64().unwrap_or(at);
        let outcome = match event["type"].as_str() {
            Some("invoke") => {
                let f = event["f"].as_str().unwrap_or("txn").to_owned();
                let note = event["note"].as_str().unwrap_or_default().to_owned();
                let asked = Asked { invoked: time, f, value: event["value"].clone(), note };
                return match open.insert(process, asked) {
                    None => Ok(()),
                    Some(_) => Err(format!("process {process} has one under way already")),
                };
            }
            Some("ok") => Outcome::Ok,
            Some("fail") => Outcome::Failed,
            Some("info") => Outcome::Unknown,
            _ => return Err("its type is none of invoke, ok, fail and info".to_owned()),
        };
        let asked = open.remove(&process).ok_or(format!("process {process} has asked for nothing"))?;
        let value = if outcome == Outcome::Ok { &event["value"] } else { &asked.value };
        self.end(process, &asked, (time, outcome), value)
    }

    fn end(
        &mut self,
        process: u64,
        asked: &Asked,
        (completed, outcome): (u64, Outcome),
        value: &Json,
    ) -> Result<(), String> {
        if asked.f == "setup" {
            let (accounts, balance) = (value["accounts"].as_u64(), value["balance"].as_i64());
            let (Some(accounts), Some(balance)) = (accounts, balance) else {
                return Err(format!("a setup has accounts and a balance: {value}"));
            };
            self.opening = (0..accounts).map(|account| (account, balance)).collect();
            return Ok(());
        }
        let ops = ops(&asked.f, value, outcome == Outcome::Ok)?;
        let (invoked, note) = (asked.invoked, asked.note.clone());
        self.transactions.push(Transaction { process, invoked, completed, outcome, ops, note });
        Ok(())
    }

    /// Writes lines that [`History::from_lines`] reads back. A transaction is of one kind: steps on lists and registers,
    /// one transfer, one addition, or one read of the accounts or the counter; of others the first step is written.
    #[must_use]
    pub fn to_lines(&self) -> String {
        let mut events = Vec::new();
        if let Some(balance) = self.opening.values().next() {
            let value = json!({"accounts": self.opening.len(), "balance": balance});
            events.push((0, 0, json!({"process": 0, "type": "invoke", "f": "setup", "value": value})));
            events.push((0, 1, json!({"process": 0, "type": "ok", "f": "setup", "value": value})));
        }
        for one in &self.transactions {
            let (f, asked, value) = written(one);
            let begin =
                json!({"process": one.process, "type": "invoke", "f": f, "value": asked, "note": one.note});
            events.push((one.invoked, 2, begin));
            let (name, value) = match one.outcome {
                Outcome::Ok => ("ok", value),
                Outcome::Failed => ("fail", asked),
                Outcome::Unknown => ("info", asked),
            };
            let end = json!({"process": one.process, "type": name, "f": f, "value": value});
            events.push((one.completed, 3, end));
        }
        events.sort_by_key(|(time, place, _)| (*time, *place));
        let mut text = String::new();
        for (index, (time, _, mut event)) in events.into_iter().enumerate() {
            event["index"] = index.into();
            event["time"] = time.into();
            writeln!(text, "{event}").expect("a text takes all");
        }
        text
    }
}

fn ops(f: &str, value: &Json, told: bool) -> Result<Vec<Op>, String> {
    let wrong = || format!("{f} {value} is no transaction");
    let amount = |name: &str| value[name].as_u64().ok_or_else(wrong);
    match f {
        "txn" => value.as_array().ok_or_else(wrong)?.iter().map(|op| step(op).ok_or_else(wrong)).collect(),
        "transfer" => Ok(vec![Op::Transfer {
            from: amount("from")?,
            to: amount("to")?,
            amount: i64::try_from(amount("amount")?).map_err(|_| wrong())?,
        }]),
        "add" => Ok(vec![Op::Add(value.as_i64().ok_or_else(wrong)?)]),
        "read" if !told => Ok(Vec::new()),
        "read" => match (value.as_i64(), value.as_object()) {
            (Some(sum), _) => Ok(vec![Op::Counter(sum)]),
            (_, Some(balances)) => {
                let each =
                    balances.iter().map(|(name, balance)| Some((name.parse().ok()?, balance.as_i64()?)));
                Ok(vec![Op::Accounts(each.collect::<Option<_>>().ok_or_else(wrong)?)])
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

fn step(op: &Json) -> Option<Op> {
    let key = op[1].as_u64()?;
    match op[0].as_str()? {
        "append" => Some(Op::Append { key, value: op[2].as_u64()? }),
        "new" => Some(Op::Swap { key, old: None, new: op[2].as_u64()? }),
        "cas" => {
            let old = if op[2][0].is_null() { None } else { Some(op[2][0].as_u64()?) };
            Some(Op::Swap { key, old, new: op[2][1].as_u64()? })
        }
        "r" => Some(Op::Read { key, found: found(&op[2])? }),
        _ => None,
    }
}

fn found(value: &Json) -> Option<Found> {
    match value {
        Json::Null => Some(Found::Nothing),
        Json::Array(list) => list.iter().map(Json::as_u64).collect::<Option<_>>().map(Found::List),
        value => value.as_u64().map(Found::Register),
    }
}

/// A transaction as it is written: what kind, what was asked for, and with what was found.
fn written(one: &Transaction) -> (&'static str, Json, Json) {
    match one.ops.first() {
        Some(Op::Transfer { from, to, amount }) => {
            let value = json!({"from": from, "to": to, "amount": amount});
            ("transfer", value.clone(), value)
        }
        Some(Op::Add(by)) => ("add", json!(by), json!(by)),
        Some(Op::Counter(sum)) => ("read", json!("counter"), json!(sum)),
        Some(Op::Accounts(balances)) => {
            let each = balances.iter().map(|(account, balance)| (account.to_string(), json!(balance)));
            ("read", json!("accounts"), Json::Object(each.collect()))
        }
        _ => {
            let asked = one.ops.iter().map(|op| written_step(op, false)).collect();
            ("txn", Json::Array(asked), one.ops.iter().map(|op| written_step(op, true)).collect())
        }
    }
}

fn written_step(op: &Op, told: bool) -> Json {
    match op {
        Op::Append { key, value } => json!(["append", key, value]),
        Op::Swap { key, old, new } => json!(["cas", key, [old, new]]),
        Op::Read { key, found: Found::List(list) } if told => json!(["r", key, list]),
        Op::Read { key, found: Found::Register(value) } if told => json!(["r", key, value]),
        Op::Read { key, .. } => json!(["r", key, null]),
        // Not of this kind.
        _ => Json::Null,
    }
}
