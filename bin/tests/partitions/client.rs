//! A client beside a member: one `hmn exec` in the member's network, one transaction after another, each recorded before it
//! is sent and when it is answered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value as Json, json};

use crate::member::CLIENT;
use crate::network::Network;
use crate::record::Record;

/// Between two transactions of a client: several clients and members share few processors.
const PAUSE: Duration = Duration::from_millis(25);
/// After so many values other lists and registers are taken.
const ROUND: u64 = 200;
pub(crate) const ACCOUNTS: u64 = 6;
pub(crate) const BALANCE: i64 = 100;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Appends to lists and reads them.
    Lists,
    /// Registers, accounts, and the counter.
    Sums,
}

/// A running `hmn exec`.
pub(crate) struct Exec {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    process: u64,
    member: String,
    record: Arc<Record>,
}

impl Exec {
    /// Starts it beside a member that serves. `process` is below 1000 and nobody else's.
    pub(crate) fn start(
        network: &Network,
        member: usize,
        process: u64,
        timeout: &str,
        record: &Arc<Record>,
    ) -> Exec {
        let mut child = network
            .at(member, env!("CARGO_BIN_EXE_hmn"))
            .args(["--addr", CLIENT, "--timeout", timeout, "exec"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is there");
        let (input, output) =
            (child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
        let (output, record) = (BufReader::new(output), record.clone());
        Exec { child, input, output, process, member: format!("n{}", member + 1), record }
    }

    /// Runs one transaction. Its answer, which is in the record.
    pub(crate) fn run(&mut self, f: &str, value: &Json, lists: bool) -> Json {
        let line = json!({"process": self.process, "type": "invoke", "f": f, "value": value, "lists": lists});
        let mut asked = line.clone();
        asked["note"] = self.member.as_str().into();
        self.record.note(asked);
        drop(writeln!(self.input, "{}", json!({"f": f, "value": value})));
        let mut text = String::new();
        self.output.read_line(&mut text).expect("exec answers");
        // It may have ended, and said why elsewhere: nobody knows what became of this.
        let answer =
            serde_json::from_str(&text).unwrap_or(json!({"type": "info", "error": "exec has ended"}));
        let mut end = line;
        end["type"] = answer["type"].clone();
        if answer["type"] == "ok" {
            end["value"] = answer["value"].clone();
        } else {
            end["error"] = answer["error"].clone();
        }
        self.record.note(end);
        if answer["type"] == "info" {
            // It may still be under way, and a client has one at a time.
            self.process += 1000;
        }
        answer
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Goes on until it is told to stop.
pub(crate) fn spawn(mut exec: Exec, kind: Kind, seed: u64, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut rng = Rng::with_seed(seed);
        let mut known = BTreeMap::new();
        let mut was_refused = false;
        while !stop.load(Ordering::Relaxed) {
            match kind {
                Kind::Lists => was_refused = !lists(&mut exec, &mut rng, was_refused),
                Kind::Sums => sums(&mut exec, &mut rng, &mut known),
            }
            std::thread::sleep(PAUSE);
        }
    })
}

/// Says whether it was done. Who was refused writes next, so that on a member that is cut off somebody tries to.
fn lists(exec: &mut Exec, rng: &mut Rng, was_refused: bool) -> bool {
    let step = |exec: &Exec, append: bool, rng: &mut Rng| {
        let value = exec.record.value();
        let key = value / ROUND * 10 + rng.u64(0..4);
        if append { json!(["append", key, value]) } else { json!(["r", key, null]) }
    };
    let first = |at: u8| at == 0 && was_refused;
    let steps = (0..rng.u8(1..4)).map(|at| step(exec, first(at) || rng.bool(), rng)).collect();
    exec.run("txn", &Json::Array(steps), true)["type"] == "ok"
}

fn sums(exec: &mut Exec, rng: &mut Rng, known: &mut BTreeMap<u64, Json>) {
    match rng.u8(0..10) {
        0..4 => swap(exec, rng, known),
        4..7 => {
            let (from, to) = (rng.u64(0..ACCOUNTS), rng.u64(0..ACCOUNTS));
            exec.run("transfer", &json!({"from": from, "to": to, "amount": rng.u8(1..6)}), false);
        }
        7 => drop(exec.run("read", &json!("accounts"), false)),
        8 => drop(exec.run("add", &json!(rng.u8(1..9)), false)),
        _ => drop(exec.run("read", &json!("counter"), false)),
    }
}

/// Swaps a register from what it was seen to hold, or looks at it.
fn swap(exec: &mut Exec, rng: &mut Rng, known: &mut BTreeMap<u64, Json>) {
    let value = exec.record.value();
    let key = value / ROUND * 10 + 5 + rng.u64(0..2);
    let seen = known.remove(&key);
    let step = match &seen {
        Some(old) => json!(["cas", key, [old, value]]),
        None => json!(["r", key, null]),
    };
    let answer = exec.run("txn", &json!([step]), false);
    if answer["type"] == "ok" {
        known.insert(key, if seen.is_some() { json!(value) } else { answer["value"][0][2].clone() });
    }
}

/// Reads everything at the end, when nothing may fail any more. What failed.
pub(crate) fn look(exec: &mut Exec, values: u64) -> Option<String> {
    let rounds = || (0..=values / ROUND).map(|round| round * 10);
    let read = |keys: Vec<u64>| Json::Array(keys.into_iter().map(|key| json!(["r", key, null])).collect());
    let lists = read(rounds().flat_map(|round| round..round + 4).collect());
    let registers = read(rounds().flat_map(|round| round + 5..round + 7).collect());
    let looks = [("txn", lists, true), ("txn", registers, false)];
    let sums = [("read", json!("accounts"), false), ("read", json!("counter"), false)];
    for (f, value, lists) in looks.into_iter().chain(sums) {
        let answer = exec.run(f, &value, lists);
        if answer["type"] != "ok" {
            return Some(format!("{} cannot be read after everything has healed: {answer}", exec.member));
        }
    }
    None
}
