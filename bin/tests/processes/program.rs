//! Starts `hmn` and reads what it says. A server is ended when its handle is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::loopback::free_ports;

/// How long a command may wait for a member, in seconds, as an option.
pub(crate) const WAIT: &str = "60";

/// A running `hmn serve`.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Where clients reach it.
    pub(crate) addr: String,
    /// What it said when it was ready.
    pub(crate) ready: serde_json::Value,
}

impl Server {
    /// Starts a member and returns when it has said where it listens.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        Server::started(Command::new(env!("CARGO_BIN_EXE_hmn")), arguments)
    }

    /// Starts a member that may have so many descriptors.
    pub(crate) fn with_descriptors(most: u32, arguments: &[&str]) -> Server {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_hmn");
        shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\""), program]);
        Server::started(shell, arguments)
    }

    /// Starts a member whose standard error goes into a file.
    pub(crate) fn telling(told: &Path, arguments: &[&str]) -> Server {
        let mut program = Command::new(env!("CARGO_BIN_EXE_hmn"));
        program.stderr(File::create(told).expect("the test holds this")).env_remove("RUST_LOG");
        Server::started(program, arguments)
    }

    /// Starts a member by this command.
    pub(crate) fn started(mut program: Command, arguments: &[&str]) -> Server {
        let mut child = program
            .arg("serve")
            .args(arguments)
            .args(["--client", "127.0.0.1:0", "--with-parent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test holds this");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("the test holds this"))
            .read_line(&mut line)
            .expect("the test holds this");
        let ready: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("said {line:?}"));
        let addr = ready["client"].as_str().expect("the test holds this").to_owned();
        Server { child, addr, ready }
    }

    /// Stops it as an operator does, and waits for its end, which must be a good one.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("the test holds this");
        let ended = self.child.wait().expect("the test holds this");
        assert!(told.success() && ended.success(), "{ended:?}");
    }

    /// Runs a command against it.
    pub(crate) fn hmn(&self, arguments: &[&str]) -> Output {
        hmn(&[&["--addr", &self.addr], arguments].concat(), "")
    }

    /// What a command that must succeed prints.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        said(self.hmn(arguments))
    }

    /// What `exec` answers to these lines.
    pub(crate) fn exec(&self, lines: &str) -> Vec<serde_json::Value> {
        let answers = said(hmn(&["--addr", &self.addr, "exec"], lines));
        answers.lines().map(|line| serde_json::from_str(line).expect("the test holds this")).collect()
    }
}

/// What these files have, when one of them has these words.
pub(crate) fn told(files: &[impl AsRef<Path>], words: &str) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let read = |file| std::fs::read_to_string(file).expect("the test holds this");
        let text: String = files.iter().map(read).collect();
        if text.contains(words) {
            return text;
        }
        assert!(Instant::now() < until, "nobody said {words:?}, only: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command to its end.
pub(crate) fn hmn(arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hmn"))
        .args(arguments)
        .env_remove("HMN_ADDR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test holds this");
    // A command that reads nothing may have ended: its exit code tells the test.
    drop(child.stdin.take().expect("the test holds this").write_all(input.as_ref()));
    child.wait_with_output().expect("the test holds this")
}

/// The standard output of a command that must have succeeded.
pub(crate) fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("the test holds this")
}

/// `--members` for n1, n2, ... with ports that are free now.
pub(crate) fn members(count: usize) -> String {
    let bound = free_ports(count);
    let each = bound.iter().enumerate();
    let named: Vec<_> = each
        .map(|(n, listener)| format!("n{}={}", n + 1, listener.local_addr().expect("the test holds this")))
        .collect();
    named.join(",")
}
