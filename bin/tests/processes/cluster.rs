//! Three members: what is written on one is read on all, that two go on without the third, and that it comes back equal.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::program::{Server, WAIT, hmn, members, said, told};

#[test]
fn three_members_agree_lose_one_and_agree_again() {
    // Aim: two of three go on, one of three does not, who comes back is equal. Method: write, kill hard, write and look, kill another
    // one, look, restart both.
    let list = members(3);
    let start = |name: &str| Server::start(&["--name", name, "--members", &list]);
    let (one, two, mut three) = (start("n1"), start("n2"), start("n3"));
    one.says(&["status", "--wait", WAIT]);
    one.says(&["table", "create", "t", "--attribute", "id:int", "--attribute", "name:text", "--key", "id"]);
    one.says(&["put", "t", "1", "Ada"]);
    for member in [&one, &two, &three] {
        member.says(&["status", "--wait", WAIT]);
        assert_eq!(member.says(&["get", "t", "1", "--format", "csv"]), "id,name\n1,Ada\n");
    }
    three.child.kill().expect("the test holds this");
    three.child.wait().expect("the test holds this");
    // Refused at first, until the other two have agreed to go on.
    let until = Instant::now() + Duration::from_secs(30);
    while !one.hmn(&["put", "t", "2", "Bob"]).status.success() {
        assert!(Instant::now() < until, "two of three do not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(two.says(&["get", "t", "2", "--format", "csv"]), "id,name\n2,Bob\n");
    assert_eq!(one.hmn(&["status"]).status.code(), Some(1));
    let mut two = two;
    two.child.kill().expect("the test holds this");
    two.child.wait().expect("the test holds this");
    let refused = one.hmn(&["put", "t", "3", "Eve"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("n2"), "{refused:?}");
    let (two, three) = (start("n2"), start("n3"));
    for member in [&one, &two, &three] {
        member.says(&["status", "--wait", WAIT]);
    }
    assert_eq!(three.says(&["query", "SELECT id FROM t ORDER BY id", "--format", "csv"]), "id\n1\n2\n");
}

#[test]
fn what_nobody_knows_is_said_to_be_unknown() {
    // Aim: `exec` answers info, not fail, when a member may have taken part and does not answer. Method: stop a member's
    // process between two transactions, and let it go on; then all agree on what became of it.
    let list = members(3);
    let start = |name: &str| Server::start(&["--name", name, "--members", &list]);
    let servers = [start("n1"), start("n2"), start("n3")];
    servers.iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
    servers[0].exec("{\"f\":\"add\",\"value\":1}\n");
    let signal = |name: &str| {
        let pid = servers[2].child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("the test holds this").success());
    };
    signal("-STOP");
    let one_second = ["--addr", &servers[0].addr, "--timeout", "1", "exec"];
    let answer = said(hmn(&one_second, "{\"f\":\"add\",\"value\":10}\n"));
    signal("-CONT");
    let answer: serde_json::Value = serde_json::from_str(answer.trim()).expect("one line");
    assert_eq!(answer["type"], "info", "{answer}");
    servers.iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
    let until = Instant::now() + Duration::from_secs(30);
    let read = |server: &Server| server.exec("{\"f\":\"read\"}\n")[0].clone();
    loop {
        let read: Vec<_> = servers.iter().map(read).collect();
        let agreed = read.windows(2).all(|pair| pair[0] == pair[1]);
        if agreed && (read[0]["value"] == 1 || read[0]["value"] == 11) {
            break;
        }
        assert!(Instant::now() < until, "{read:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_refused_member_is_mentioned() {
    // Aim: who is kept out, and why, can be read where a member runs. Method: two members of different clusters; the one that
    // is dialled says so on its standard error.
    let (list, home) = (members(2), tempfile::tempdir().expect("the test holds this"));
    let said = |name: &str| home.path().join(name);
    let _members = ["n1", "n2"]
        .map(|name| Server::telling(&said(name), &["--name", name, "--members", &list, "--cluster", name]));
    let text = told(&["n1", "n2"].map(said), "refused");
    let line = text.lines().find(|line| line.contains("refused")).expect("it was there");
    assert!(line.contains("WARN") && line.contains("cluster") && !line.contains('\u{1b}'), "{line}");
}
