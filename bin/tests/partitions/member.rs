//! One member: a process in its own network, killed, stopped, continued and started again by its id.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::network::{Network, address};

/// Where a member's own clients reach it.
pub(crate) const CLIENT: &str = "127.0.0.1:7400";

/// A member that runs, or has been killed.
pub(crate) struct Member {
    pub(crate) at: usize,
    members: String,
    child: Option<Child>,
}

impl Member {
    pub(crate) fn new(at: usize, count: usize) -> Member {
        let each = (0..count).map(|at| format!("n{}={}:7401", at + 1, address(at)));
        Member { at, members: each.collect::<Vec<_>>().join(","), child: None }
    }

    pub(crate) fn name(&self) -> String {
        format!("n{}", self.at + 1)
    }

    /// Starts it and returns when it listens. `clock` is the environment of a clock that is wrong.
    pub(crate) fn start(&mut self, network: &Network, home: &Path, disc: bool, clock: &[(String, String)]) {
        let name = self.name();
        let said = std::fs::File::options().create(true).append(true).open(home.join(format!("{name}.err")));
        let mut program = network.at(self.at, env!("CARGO_BIN_EXE_hmn"));
        program.args(["serve", "--name", &name, "--members", &self.members, "--client", CLIENT]);
        program.args(["--cluster", "partitions", "--insecure", "--with-parent"]);
        if disc {
            program.arg("--data").arg(home.join(&name));
        }
        program.envs(clock.iter().cloned()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.stderr(said.expect("there is room")).spawn().expect("it is there");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("it says so");
        assert!(line.contains("\"ready\":true"), "{name} said {line:?}");
        self.child = Some(child);
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is ours");
        child.wait().expect("it was started");
    }

    /// Stops the process in the midst of whatever it does.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("it is there").success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
