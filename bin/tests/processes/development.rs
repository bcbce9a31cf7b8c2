//! `hmn dev`: a cluster in the foreground. What it prints, that it keeps data, and that nothing is left when it ends, however
//! it ends.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::program::{WAIT, hmn, said};

/// A running `hmn dev` of three members.
struct Dev {
    child: Child,
    addresses: Vec<String>,
    /// Of the members.
    processes: Vec<String>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A base port whose six ports are free now.
fn free_base() -> u16 {
    // Tests run beside each other, and what one has found free is taken only when its members listen.
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Below those that connections are given (32768 and more on Linux), which come and go with whatever else runs.
    let start = 20_000 + (std::process::id() % 10_000) as u16;
    let bases = std::iter::repeat_with(|| start + 30 * GIVEN.fetch_add(1, Ordering::Relaxed)).take(60);
    let mut bases = bases.filter(|base| (0..3).all(|n| free(base + 10 * n) && free(base + 10 * n + 1)));
    bases.next().expect("ports are free")
}

impl Dev {
    fn start(base: u16, more: &[&str]) -> Dev {
        let base = base.to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hmn"))
            .args(["dev", "--base-port", &base])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test holds this");
        let out = BufReader::new(child.stdout.take().expect("the test holds this"));
        let (mut addresses, mut processes) = (Vec::new(), Vec::new());
        for line in out.lines().map_while(Result::ok) {
            // "n1 for clients at 127.0.0.1:7400, process 123"
            if let Some((_, rest)) = line.split_once(" for clients at ") {
                let (addr, process) = rest.split_once(", process ").expect("an address and a process");
                addresses.push(addr.to_owned());
                processes.push(process.to_owned());
            }
            if line.contains("Ctrl-C") {
                break;
            }
        }
        let dev = Dev { child, addresses, processes };
        assert_eq!(dev.addresses.len(), 3, "{:?}", dev.addresses);
        for addr in &dev.addresses {
            said(hmn(&["status", "--addr", addr, "--wait", WAIT], ""));
        }
        dev
    }

    fn says(&self, member: usize, arguments: &[&str]) -> String {
        said(hmn(&[&["--addr", &self.addresses[member]], arguments].concat(), ""))
    }

    /// Until no member's process is there any more.
    fn until_all_gone(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        let runs = |process: &String| {
            let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while self.processes.iter().any(runs)
            || self.addresses.iter().any(|addr| TcpStream::connect(addr).is_ok())
        {
            assert!(Instant::now() < until, "a member is left over");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_cluster_in_the_foreground_keeps_its_data_and_leaves_nothing_behind() {
    // Aim: dev is three members that agree, that end with it when it is killed hard, and that find their tables again.
    // Method: write, kill -9, start again, stop by SIGTERM.
    let home = tempfile::tempdir().expect("the test holds this");
    let data = ["--data", home.path().to_str().expect("the test holds this")];
    let base = free_base();
    let mut dev = Dev::start(base, &data);
    dev.says(0, &["table", "create", "t", "--attribute", "id:int", "--key", "id", "--storage", "disc"]);
    dev.says(0, &["put", "t", "1"]);
    dev.says(1, &["put", "t", "2"]);
    dev.child.kill().expect("the test holds this");
    dev.child.wait().expect("the test holds this");
    dev.until_all_gone();
    drop(dev);

    let mut dev = Dev::start(base, &data);
    for member in 0..3 {
        assert_eq!(
            dev.says(member, &["query", "SELECT id FROM t ORDER BY id", "--format", "csv"]),
            "id\n1\n2\n"
        );
    }
    let pid = dev.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("the test holds this").success());
    assert!(dev.child.wait().expect("the test holds this").success(), "a clean stop");
    dev.until_all_gone();
}

#[test]
fn a_port_in_use_is_named() {
    // Aim: an error that says what to do. Method: take the second member's port before.
    let base = free_base();
    let taken = TcpListener::bind(("127.0.0.1", base + 10)).expect("the test holds this");
    let failed = hmn(&["dev", "--base-port", &base.to_string()], "");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains(&(base + 10).to_string()) && text.contains("n2"), "{text}");
    drop(taken);
}

#[test]
fn the_demo_leaves_a_cluster_when_asked_to() {
    // Aim: every step of the demo passes, it prints how to talk to the cluster, and the cluster ends with it. Method: run it
    // with --keep, talk to what it names, kill it hard.
    let mut child = Command::new(env!("CARGO_BIN_EXE_hmn"))
        .args(["demo", "--keep"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test holds this");
    let out = BufReader::new(child.stdout.take().expect("the test holds this"));
    let mut demo = Dev { child, addresses: Vec::new(), processes: Vec::new() };
    let mut steps = 0;
    for line in out.lines().map_while(Result::ok) {
        steps += u32::from(line.starts_with(|first: char| first.is_ascii_digit()));
        if let Some((_, addr)) = line.rsplit_once("--addr ") {
            demo.addresses.push(addr.trim().to_owned());
        }
        if demo.addresses.len() == 2 {
            break;
        }
    }
    assert_eq!((steps, demo.addresses.len()), (8, 2), "all steps, and two addresses");
    let counted = ["query", "SELECT count(*) AS n FROM cities", "--format", "json"];
    assert_eq!(demo.says(0, &counted), demo.says(1, &counted));
    demo.child.kill().expect("the test holds this");
    demo.child.wait().expect("the test holds this");
    demo.until_all_gone();
}
