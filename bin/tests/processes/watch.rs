//! Changes as they come, from the command line.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::program::{Server, hmn};

/// A running `hmn watch` and its lines.
struct Watching {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(server: &Server, arguments: &[&str]) -> Watching {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hmn"))
            .args(["--addr", &server.addr, "--format", "json", "watch"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is built");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Watching { child, lines }
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().expect("it has not ended").expect("it is text");
        serde_json::from_str(&line).expect("it is JSON")
    }

    /// How it ended by itself: its code and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        assert!(self.lines.next().is_none(), "more than was to come");
        let ended = self.child.wait_with_output().expect("it can be waited for");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

#[test]
fn a_table_is_watched_and_the_watch_goes_on_where_it_ended() {
    // Aim: rows, then each change once, as JSON lines at once; `--from` goes on without a gap; what cannot be says why.
    // Method: a watch beside commands that write; one more from where it stood; then the wrong ones.
    let server = Server::start(&[]);
    server.says(&["table", "create", "t", "-a", "id:int", "-a", "who:text", "--key", "id"]);
    server.says(&["put", "t", "1", "ada"]);
    let mut watching = Watching::start(&server, &["t", "--rows", "--old", "--limit", "2"]);
    assert_eq!(watching.next(), json!({"event": "row", "row": {"id": 1, "who": "ada"}}));
    assert_eq!(watching.next(), json!({"event": "complete", "rows": 1}));
    server.says(&["put", "t", "1", "bob"]);
    let first = watching.next();
    assert_eq!(first["old_rows"], json!([{"id": 1, "who": "ada"}]), "{first}");
    assert_eq!((&first["key"], &first["rows"]), (&json!({"id": 1}), &json!([{"id": 1, "who": "bob"}])));
    server.says(&["delete", "t", "1"]);
    assert_eq!(watching.next()["rows"], json!([]));
    let (code, said) = watching.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("--from"), "{said}");
    server.says(&["put", "t", "2", "cy"]);
    let position = first["position"].as_str().expect("it is text").to_owned();
    let mut again = Watching::start(&server, &["t", "--from", &position, "--limit", "2"]);
    let sequences = [again.next(), again.next()].map(|change| change["sequence"].as_u64());
    let before = first["sequence"].as_u64().expect("it is a number");
    assert_eq!(sequences, [Some(before + 1), Some(before + 2)]);
    assert_eq!(again.end().0, Some(0));
    for (args, code, word) in [
        (&["watch", "t", "--from", "1.2"][..], 1, "six numbers"),
        (&["watch", "t", "--from", "1.2.3.4.5.6"], 1, "another member"),
        (&["watch", "nothing"], 1, "no table"),
        (&["watch", "--rows"], 2, "TABLE"),
        (&["watch", "t", "--format", "csv"], 2, "JSON lines"),
    ] {
        let failed = hmn(&[args, &["--addr", &server.addr]].concat(), "");
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    }
    let mut renamed = Watching::start(&server, &["t", "--rows", "--limit", "2"]);
    while renamed.next()["event"] != "complete" {}
    server.says(&["query", "ALTER TABLE t RENAME COLUMN who TO name"]);
    assert_eq!(
        renamed.next()["rows"],
        json!([{"id": 2, "name": "cy"}]),
        "in the attributes of their definition"
    );
    server.says(&["put", "t", "3", "di"]);
    assert_eq!(renamed.next()["rows"], json!([{"id": 3, "name": "di"}]));
    server.says(&["table", "create", "u", "-a", "id:int", "--key", "id"]);
    let [dropped, stopped] = ["t", "u"].map(|table| {
        let mut watching = Watching::start(&server, &[table, "--rows"]);
        while watching.next()["event"] != "complete" {}
        watching
    });
    server.says(&["table", "drop", "t"]);
    let (code, said) = dropped.end();
    assert_eq!((code, said.contains("no table")), (Some(1), true), "{said}");
    server.stop();
    let (code, said) = stopped.end();
    assert_eq!((code, said.contains("stops")), (Some(1), true), "{said}");
}
