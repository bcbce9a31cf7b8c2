//! A cluster under load: members in their own networks, clients beside each, faults between calm phases, and at the end
//! everything that must hold.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::client::{ACCOUNTS, BALANCE, Exec, Kind, look, spawn};
use crate::judge;
use crate::member::{CLIENT, Member};
use crate::network::Network;
use crate::record::Record;

/// Clients have written so many lines before the first fault: two for each transaction.
const CALM_LINES: usize = 300;
const CALM_MAX: Duration = Duration::from_secs(20);

/// A majority goes on within this: twice a lease, an election and the silence after which somebody is given up, and as much again
/// for a machine that is busy with all the members and clients at once.
const GOES_ON_WITHIN_MS: u64 = 3500;
const LIVELY_MS: u64 = 1000;

/// So many of the things that are wrong are told.
const TOLD_MAX: usize = 12;

/// What a run is made of.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) members: usize,
    /// Whether the table is on disc, so that all members may die.
    pub(crate) disc: bool,
    pub(crate) seed: u64,
    /// How long a client's call may take, in seconds.
    pub(crate) timeout: String,
}

/// A time in which some members did not reach a majority, and so acknowledge no write.
pub(crate) struct Cut {
    /// Before the first link is cut; `from` is behind the last one.
    pub(crate) began: u64,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) members: Vec<usize>,
}

/// A running cluster with its clients.
pub(crate) struct Cluster {
    pub(crate) shape: Shape,
    pub(crate) network: Network,
    pub(crate) members: Vec<Member>,
    pub(crate) record: Arc<Record>,
    pub(crate) cuts: Vec<Cut>,
    /// Times in which a majority saw each other for long enough to go on: somebody acknowledges a write then.
    pub(crate) lively: Vec<(u64, u64)>,
    /// When the first fault began.
    pub(crate) calm_until: Option<u64>,
    /// When the last one had healed.
    pub(crate) healed: u64,
    /// Whether no caller may hear that nobody knows.
    pub(crate) none_unknown: bool,
    home: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Cluster {
    pub(crate) fn start(shape: Shape) -> Cluster {
        let network = Network::new(shape.members);
        let members = (0..shape.members).map(|at| Member::new(at, shape.members)).collect();
        let home = tempfile::tempdir().expect("there is room");
        let mut cluster = Cluster {
            shape,
            network,
            members,
            record: Arc::new(Record::new()),
            cuts: Vec::new(),
            lively: Vec::new(),
            calm_until: None,
            healed: 0,
            none_unknown: false,
            home,
            stop: Arc::new(AtomicBool::new(false)),
            clients: Vec::new(),
        };
        (0..cluster.members.len()).for_each(|at| cluster.start_member(at, &[]));
        cluster.whole();
        cluster.prepare();
        cluster.record.fault("the clients begin");
        cluster.start_clients();
        cluster.calm();
        cluster
    }

    /// Waits until the clients have done something, however fast they are today.
    fn calm(&self) {
        let until = Instant::now() + CALM_MAX;
        while self.record.len() < CALM_LINES && Instant::now() < until {
            self.work(100);
        }
    }

    fn prepare(&self) {
        let storage = if self.shape.disc { "disc" } else { "ram" };
        let attributes = ["-a", "space:text", "-a", "key", "-a", "value:any?", "--key", "space,key"];
        let options = ["--kind", "ordered_set", "--storage", storage];
        let create = ["table", "create", "exec"];
        self.says(0, &[&create[..], &attributes[..], &options[..]].concat());
        // Each member knows the table before anybody uses it there.
        (0..self.members.len()).for_each(|at| drop(self.says(at, &["status", "--wait", "60"])));
        let mut exec = Exec::start(&self.network, 0, 900, "10", &self.record);
        let made = exec.run("setup", &json!({"accounts": ACCOUNTS, "balance": BALANCE}), false);
        assert_eq!(made["type"], "ok", "{made}");
    }

    fn start_clients(&mut self) {
        for at in 0..self.members.len() {
            for (number, kind) in [(0, Kind::Lists), (1, Kind::Sums)] {
                let process = at as u64 * 2 + number;
                let exec = Exec::start(&self.network, at, process, &self.shape.timeout, &self.record);
                self.clients.push(spawn(exec, kind, self.shape.seed * 100 + process, &self.stop));
            }
        }
    }

    /// Runs `hmn` beside a member.
    pub(crate) fn hmn(&self, at: usize, arguments: &[&str]) -> Output {
        let mut program = self.network.at(at, env!("CARGO_BIN_EXE_hmn"));
        program.args(["--addr", CLIENT]).args(arguments).output().expect("it is there")
    }

    pub(crate) fn says(&self, at: usize, arguments: &[&str]) -> String {
        let output = self.hmn(at, arguments);
        let name = self.members[at].name();
        let log =
            || std::fs::read_to_string(self.home.path().join(format!("{name}.err"))).unwrap_or_default();
        assert!(output.status.success(), "{name}, {arguments:?}: {output:?}\nit said:\n{}", log());
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// The clients work for so long.
    pub(crate) fn work(&self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    pub(crate) fn fault(&mut self, what: &str) -> u64 {
        let now = self.record.fault(what);
        self.calm_until.get_or_insert(now);
        now
    }

    pub(crate) fn start_member(&mut self, at: usize, clock: &[(String, String)]) {
        let (home, disc) = (self.home.path().to_owned(), self.shape.disc);
        self.members[at].start(&self.network, &home, disc, clock);
    }

    pub(crate) fn kill(&mut self, at: usize) {
        self.fault(&format!("n{} is killed", at + 1));
        self.members[at].kill();
    }

    pub(crate) fn restart(&mut self, at: usize) {
        self.record.fault(&format!("n{} starts", at + 1));
        self.start_member(at, &[]);
    }

    /// Kills a member while what it asks of another one is under way there: the other one finds it when it goes on, and
    /// whoever asked hears nothing.
    pub(crate) fn kill_in_flight(&mut self, at: usize, other: usize) {
        self.fault(&format!("n{} is stopped and n{} killed", other + 1, at + 1));
        self.members[other].pause();
        self.work(300);
        self.members[at].kill();
        self.members[other].resume();
    }

    /// Stops a process for so long.
    pub(crate) fn pause(&mut self, at: usize, ms: u64) {
        self.fault(&format!("n{} is stopped for {ms} ms", at + 1));
        self.members[at].pause();
        self.work(ms);
        self.members[at].resume();
    }

    /// The clients work for as long as a majority may take to go on without a member, and then for a while in which somebody has to
    /// acknowledge a write.
    pub(crate) fn goes_on(&mut self) {
        self.work(GOES_ON_WITHIN_MS);
        let from = self.record.fault("a majority must have gone on by now");
        self.work(LIVELY_MS);
        self.lively.push((from, self.record.fault("for so long")));
    }

    /// Cuts links for so long, each from one to another; who then reaches no majority acknowledges no write, and a majority of which
    /// each reaches each goes on.
    pub(crate) fn cut(&mut self, links: &[(usize, usize)], ms: u64) {
        let text: Vec<_> = links.iter().map(|(from, to)| format!("n{} to n{}", from + 1, to + 1)).collect();
        let began = self.fault(&format!("cut for {ms} ms: {}", text.join(", ")));
        links.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        let from = self.record.fault("it is cut");
        self.work(ms);
        let until = self.record.fault("it heals");
        self.network.heal();
        let count = self.members.len();
        let linked = |a: usize, b: usize| !links.contains(&(a, b)) && !links.contains(&(b, a));
        let reaches = |at: usize| (0..count).filter(|other| linked(at, *other)).count() * 2 > count;
        let members = (0..count).filter(|at| !reaches(*at)).collect();
        self.cuts.push(Cut { began, from, until, members });
        let lively = from + GOES_ON_WITHIN_MS * 1_000_000;
        let meshed = |set: u32| {
            let within = |at: &usize| set & (1 << *at) != 0;
            (0..count).filter(within).all(|a| (0..a).filter(within).all(|b| linked(a, b)))
        };
        let majority = (0..1_u32 << count).any(|set| set.count_ones() as usize * 2 > count && meshed(set));
        if majority && until > lively + LIVELY_MS * 1_000_000 {
            self.lively.push((lively, until));
        }
    }

    /// Cuts links both ways for a moment, and frees what goes to one member after the other, in any order.
    pub(crate) fn flap(&mut self, links: &[(usize, usize)], ms: u64, freed: &[usize]) {
        self.fault(&format!("{links:?} are gone for {ms} ms and come back in the order {freed:?}"));
        for (a, b) in links {
            self.network.cut(*a, *b);
            self.network.cut(*b, *a);
        }
        self.work(ms);
        for at in freed {
            self.network.heal_at(*at);
            self.work(20);
        }
    }

    /// Waits until all members are connected and have all tables.
    pub(crate) fn whole(&mut self) {
        for at in 0..self.members.len() {
            self.says(at, &["status", "--wait", "60"]);
        }
        self.healed = self.record.fault("all are there again");
    }

    /// The position of who leads the control plane, which somebody does.
    pub(crate) fn who_leads(&self) -> usize {
        let until = Instant::now() + CALM_MAX;
        loop {
            let led = self.status(0)["control"]["leader"].clone();
            if let Some(at) = self.members.iter().position(|member| led == member.name()) {
                return at;
            }
            assert!(Instant::now() < until, "nobody leads: {led}");
            self.work(50);
        }
    }

    pub(crate) fn status(&self, at: usize) -> Json {
        let output = self.hmn(at, &["status", "--format", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    fn name(&self) -> String {
        format!("{}-{}", self.shape.name, self.shape.seed)
    }

    /// The clients stop, everything is read on every member, and judged.
    pub(crate) fn finish(mut self) {
        self.whole();
        self.work(500);
        let mut found = Vec::from_iter(judge::silent(&self));
        self.stop.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut self.clients);
        clients
            .into_iter()
            .for_each(|client| client.join().expect("a client met what it did not understand"));
        found.extend(judge::unsettled(&self));
        for at in 0..self.members.len() {
            let mut exec = Exec::start(&self.network, at, 910 + at as u64, "10", &self.record);
            found.extend(look(&mut exec, self.record.values()));
        }
        found.extend(judge::judge(&self));
        if let Some(directory) = std::env::var_os("HMN_PARTITIONS_KEEP") {
            self.record.keep(&PathBuf::from(directory), &self.name());
        }
        let name = self.name();
        let many = found.len();
        found.truncate(TOLD_MAX);
        assert!(many == 0, "{name}, {many} things are wrong, of which the first:\n{}", found.join("\n"));
    }
}

impl Drop for Cluster {
    /// What went wrong is looked into later.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.record.keep(Path::new(env!("CARGO_TARGET_TMPDIR")), &self.name());
        }
    }
}
