//! A world of its own for one test: the test binary runs itself again in new network, process and mount namespaces. All that
//! the test makes there, interfaces, rules and processes, is gone with the first process, however that ends; nothing has a
//! name outside, and nothing outside can be hit.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Set for the run inside.
const INSIDE: &str = "HMN_PARTITIONS_INSIDE";

/// One at a time: they share few processors, and thresholds are for an idle machine.
static ONE: Mutex<()> = Mutex::new(());

/// As root, and as anybody who may have a user namespace.
const WAYS: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];

/// What a test needs there, said by the first thing that fails.
const PROBE: &str = "ip link add p0 type veth peer name p1 && ip link add p2 type bridge && nft add table inet p && \
    nft 'add chain inet p in { type filter hook input priority 0; }'";

/// Runs `body` inside. Where that cannot be, the test is skipped with a message, or fails when `CI` is set.
pub(crate) fn inside(test: &str, bound: Duration, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        end_with_parent();
        end_after(bound);
        return body();
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    match way(PROBE) {
        Ok(way) => run(way, test),
        Err(why) if std::env::var_os("CI").is_some() => {
            panic!(
                "{test} cannot run, and CI is set: {why}\nroot, iproute2, nftables and util-linux are needed"
            )
        }
        Err(why) => tell(&format!("{test} is skipped, no network of its own can be made: {why}")),
    }
}

/// Says something that is seen although the test passes.
pub(crate) fn tell(what: &str) {
    // Nobody to hear it is no failure.
    drop(writeln!(std::io::stderr(), "{what}"));
}

fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// Whether one more thing can be done inside; where nothing can, [`inside`] says so.
pub(crate) fn can(probe: &str) -> Result<(), String> {
    match way(PROBE) {
        Ok(_) => way(probe).map(drop),
        Err(_) => Ok(()),
    }
}

/// The first way in which this works, else why it does in none.
fn way(probe: &str) -> Result<&'static [&'static str], String> {
    let mut whys = Vec::new();
    for way in WAYS {
        match unshare(way).args(["sh", "-c", probe]).output() {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => whys.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => whys.push(format!("unshare: {error}")),
        }
    }
    Err(whys.join("; as a user: "))
}

fn run(way: &[&str], test: &str) {
    let program = std::env::current_exe().expect("the test runs");
    let child = unshare(way)
        .arg(program)
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it ran a moment ago");
    let mut child = child;
    // Held until the end: when this process dies, the one inside reads the end of it.
    let held = child.stdin.take();
    let output = child.wait_with_output().expect("it was started");
    drop(held);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    println!("{text}");
    text.lines().filter_map(|line| line.strip_prefix("told: ")).for_each(tell);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} failed inside: its output is above"
    );
}

/// The first process of the namespace takes all others with it.
fn end_with_parent() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // An end or an error: nobody is there any more.
        drop(std::io::stdin().read_to_end(&mut rest));
        std::process::exit(3);
    });
}

fn end_after(bound: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(bound);
        println!("it hangs: {} seconds are over", bound.as_secs());
        std::process::exit(4);
    });
}
