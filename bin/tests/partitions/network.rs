//! A bridge, and for each member a network namespace with one end of a pair on it. A member's namespace lives as long as
//! the process that holds it. Packets are dropped where they arrive, so a link can be cut one way.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// The network of some members.
pub(crate) struct Network {
    /// A process in each member's namespace that does nothing and ends with this one.
    holders: Vec<Child>,
}

impl Network {
    pub(crate) fn new(members: usize) -> Network {
        run(&mut Command::new("ip"), "link add hub type bridge\nlink set hub up\n", &["-batch", "-"]);
        let network = Network { holders: (0..members).map(|_| holder()).collect() };
        for member in 0..members {
            network.join(member);
        }
        network
    }

    fn join(&self, member: usize) {
        let holder = self.holders[member].id();
        let pair = format!("link add m{member} type veth peer name eth0 netns {holder}\n");
        let plug = format!("link set m{member} master hub\nlink set m{member} up\n");
        run(&mut Command::new("ip"), &(pair + &plug), &["-batch", "-"]);
        let address = address(member);
        let own = format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n");
        run(&mut self.at(member, "ip"), &own, &["-batch", "-"]);
        let table =
            "add table inet faults\nadd chain inet faults in { type filter hook input priority 0; }\n";
        run(&mut self.at(member, "nft"), table, &["-f", "-"]);
    }

    /// A command in a member's namespace; it keeps the id that it is started with.
    pub(crate) fn at(&self, member: usize, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.holders[member].id().to_string(), "--", program]);
        command
    }

    /// From now on nothing that `from` sends arrives at `to`.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        let rule = format!("add rule inet faults in ip saddr {} drop\n", address(from));
        run(&mut self.at(to, "nft"), &rule, &["-f", "-"]);
    }

    /// Everything arrives again.
    pub(crate) fn heal(&self) {
        (0..self.holders.len()).for_each(|member| self.heal_at(member));
    }

    /// Everything arrives again at one member.
    pub(crate) fn heal_at(&self, member: usize) {
        run(&mut self.at(member, "nft"), "flush chain inet faults in\n", &["-f", "-"]);
    }

    /// Nothing arrives anywhere for a moment. What is meant is 5 ms; one command takes about two of them.
    pub(crate) fn blip(&self) {
        let blip = "link set hub down\nlink set hub up\n";
        let mut child =
            Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("it is there");
        let mut lines = child.stdin.take().expect("it is piped");
        let (down, up) = blip.split_at("link set hub down\n".len());
        lines.write_all(down.as_bytes()).expect("it reads");
        std::thread::sleep(std::time::Duration::from_millis(5));
        lines.write_all(up.as_bytes()).expect("it reads");
        drop(lines);
        assert!(child.wait().expect("it was started").success());
    }

    /// Delays what a member sends, and loses some of it.
    pub(crate) fn weather(&self, member: usize) {
        run(
            &mut self.at(member, "tc"),
            "qdisc replace dev eth0 root netem delay 20ms 5ms loss 5%\n",
            &["-batch", "-"],
        );
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What is not there need not go. One end of a pair takes the other one with it.
        let names = (0..self.holders.len()).map(|member| format!("m{member}"));
        for name in names.chain(["hub".to_owned()]) {
            drop(Command::new("ip").args(["link", "delete", &name]).status());
        }
        for holder in &mut self.holders {
            // Gone already is as good.
            drop(holder.kill());
            drop(holder.wait());
        }
    }
}

/// Whether this kernel has the queue that delays and loses packets.
pub(crate) const WEATHER: &str = "tc qdisc add dev lo root netem delay 1ms";

/// Where the others reach a member.
pub(crate) fn address(member: usize) -> String {
    format!("10.77.0.{}", member + 1)
}

fn holder() -> Child {
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo made; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was tried before");
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("it says so");
    assert_eq!(line, "made\n");
    holder
}

fn run(command: &mut Command, input: &str, arguments: &[&str]) {
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is there");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it was started");
    assert!(output.status.success(), "{input}: {}", String::from_utf8_lossy(&output.stderr));
}
