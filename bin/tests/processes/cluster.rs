//! Three members: what is written on one is read on all, that two go on without the third, and that it comes back equal.

use std::process::Command;

use crate::program::{Server, WAIT, hmn, members, said, told};
use crate::until::until;

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
    until(|| one.hmn(&["put", "t", "2", "Bob"]).status.success());
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
    // Sooner than the others can have agreed to go on without it.
    let not_long = ["--addr", &servers[0].addr, "--timeout", "0.3", "exec"];
    let answer = said(hmn(&not_long, "{\"f\":\"add\",\"value\":10}\n"));
    signal("-CONT");
    let answer: serde_json::Value = serde_json::from_str(answer.trim()).expect("one line");
    assert_eq!(answer["type"], "info", "{answer}");
    servers.iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
    let read = |server: &Server| server.exec("{\"f\":\"read\"}\n")[0].clone();
    until(|| {
        let read: Vec<_> = servers.iter().map(read).collect();
        let agreed = read.windows(2).all(|pair| pair[0] == pair[1]);
        agreed && (read[0]["value"] == 1 || read[0]["value"] == 11)
    });
}

#[test]
fn members_that_are_stopped_have_not_failed() {
    // Aim: who ends a member as an operator does is told of no failure of it. Method: three members on disc, stopped one after the
    // other and started again, twice; what they say on their standard error.
    let (list, home) = (members(3), tempfile::tempdir().expect("the test holds this"));
    let told = |name: &str| home.path().join(format!("{name}.told"));
    for round in 0..2 {
        let servers = ["n1", "n2", "n3"].map(|name| {
            let data = home.path().join(name).to_str().expect("plain").to_owned();
            Server::telling(&told(name), &["--name", name, "--members", &list, "--data", &data])
        });
        servers.iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
        servers.into_iter().for_each(Server::stop);
        for name in ["n1", "n2", "n3"] {
            let text = std::fs::read_to_string(told(name)).expect("the test holds this");
            assert!(!text.contains("ERROR"), "{name} in round {round}: {text}");
        }
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
