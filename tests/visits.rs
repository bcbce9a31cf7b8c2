//! The visits example as its users run it: real processes, HTTP. Method: one process, then three; a killed one; its return.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "shared/loopback.rs"]
mod loopback;

use loopback::free_ports;

/// Long enough for any machine; every wait ends as soon as it can.
const LONG: Duration = Duration::from_secs(30);

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/PROFILE/deps");
    let program = profile.join("examples").join("visits");
    assert!(program.exists(), "{} is not built: cargo build --example visits", program.display());
    program
}

/// A running service. It is killed when the test ends, however it ends.
struct Service {
    child: Child,
    address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(arguments: &[&str]) -> Service {
        let mut child = Command::new(program())
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it says where it listens");
        let said: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        let address = said["listen"].as_str().expect("an address").to_owned();
        Service { child, address }
    }

    fn ask(&self, method: &str, path: &str) -> (u16, serde_json::Value) {
        let mut socket = TcpStream::connect(&self.address).expect("it listens");
        socket.set_read_timeout(Some(LONG)).expect("a good timeout");
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nHost: visits\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        (status, serde_json::from_str(body).expect("JSON"))
    }

    fn visit(&self, user: &str) -> (u16, serde_json::Value) {
        self.ask("POST", &format!("/visits/{user}"))
    }

    fn visits(&self, user: &str) -> u64 {
        let (status, body) = self.ask("GET", &format!("/visits/{user}"));
        assert_eq!(status, 200, "{body}");
        body["visits"].as_u64().expect("a number")
    }

    fn until_ready(&self) {
        let until = Instant::now() + LONG;
        while self.ask("GET", "/health").0 != 200 {
            assert!(Instant::now() < until, "it gets ready: {:?}", self.ask("GET", "/health"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn one_node_counts() {
    let service = Service::start(&[]);
    service.until_ready();
    for n in 1..=20 {
        let (status, body) = service.visit("ann");
        assert_eq!((status, &body["visits"]), (200, &n.into()));
    }
    assert_eq!((service.visits("ann"), service.visits("bob")), (20, 0));
    // A name that no key can hold is the caller's mistake, not the service's.
    let (status, body) = service.visit(&"a".repeat(17 << 10));
    assert_eq!(status, 400, "{body}");
}

#[test]
fn three_nodes_count_together_and_a_killed_one_comes_back() {
    let free = free_ports(3);
    let peers: Vec<_> = free.iter().map(|port| port.local_addr().expect("bound")).collect();
    drop(free);
    let list: Vec<_> = peers.iter().enumerate().map(|(at, peer)| format!("n{}={peer}", at + 1)).collect();
    let list = list.join(",");
    let start = |name: &str| Service::start(&["--name", name, "--members", &list]);
    let mut services = vec![start("n1"), start("n2"), start("n3")];
    services.iter().for_each(Service::until_ready);
    for n in 0..300 {
        let (status, body) = services[n % 3].visit("ann");
        assert_eq!((status, &body["visits"]), (200, &(n as u64 + 1).into()), "{body}");
    }
    assert_eq!(services.iter().map(|service| service.visits("ann")).collect::<Vec<_>>(), [300; 3]);

    // The node that served last is killed hard: counts stay readable, and counting goes on once the others have agreed to.
    drop(services.remove(2));
    assert_eq!(services.iter().map(|service| service.visits("ann")).collect::<Vec<_>>(), [300; 2]);
    let until = Instant::now() + LONG;
    loop {
        let (status, body) = services[0].visit("bob");
        match status {
            200 => break,
            // One that was on its way when the node was lost; nobody knows of it.
            500 | 503 => assert!(Instant::now() < until, "{status} {body}"),
            _ => panic!("{status} {body}"),
        }
    }
    assert_eq!(services[1].visits("bob"), services[0].visits("bob"));
    assert_eq!(services[1].visits("ann"), 300);

    services.push(start("n3"));
    services.iter().for_each(Service::until_ready);
    for n in 300..330 {
        let (status, body) = services[n % 3].visit("ann");
        assert_eq!((status, &body["visits"]), (200, &(n as u64 + 1).into()), "{body}");
    }
    assert_eq!(services.iter().map(|service| service.visits("ann")).collect::<Vec<_>>(), [330; 3]);
}
