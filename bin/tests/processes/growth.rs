//! A cluster that begins with one member, grows, and loses some, as an operator sees it.

use std::path::Path;

use crate::program::{Server, WAIT, hmn, told};
use crate::until::until;

fn start(home: &Path, name: &str, more: &[&str]) -> Server {
    let data = home.join(name).to_str().expect("plain").to_owned();
    let common = ["--name", name, "--data", &data, "--peer", "127.0.0.1:0"];
    Server::telling(&home.join(format!("{name}.told")), &[&common, more].concat())
}

fn peer(server: &Server) -> &str {
    server.ready["peer"].as_str().expect("it listens for members")
}

/// Members by name, and whether each takes part, votes and is draining.
fn listed(server: &Server) -> Vec<(String, [bool; 3])> {
    let table = server.says(&["node", "list", "--format", "csv"]);
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].to_owned(), [4, 5, 6].map(|at| fields[at] == "true"))
    };
    let mut rows: Vec<_> = table.lines().skip(1).map(row).collect();
    rows.sort();
    rows
}

#[test]
fn a_cluster_of_one_grows_loses_members_and_gets_one_back() {
    // Aim: docs/operations.md, as it stands. Method: one begins, two join, one is drained and comes back, is killed and removed; its
    // old directory is refused and an empty one is taken in, with all rows.
    let home = tempfile::tempdir().expect("the test holds this");
    let one = start(home.path(), "n1", &[]);
    one.says(&["status", "--wait", WAIT]);
    let two = start(home.path(), "n2", &["--join", peer(&one)]);
    let three = start(home.path(), "n3", &["--join", peer(&two)]);
    for server in [&one, &two, &three] {
        server.says(&["status", "--wait", WAIT]);
    }
    until(|| listed(&one) == ["n1", "n2", "n3"].map(|name| (name.to_owned(), [true, true, false])));
    one.says(&["table", "create", "t", "-a", "id:int", "-a", "name:text", "--storage", "disc"]);
    one.says(&["put", "t", "1", "Ada"]);
    one.says(&["node", "drain", "n3"]);
    assert_eq!(listed(&two)[2], ("n3".to_owned(), [false, true, true]));
    one.says(&["status", "--wait", WAIT]);
    two.says(&["put", "t", "2", "Bob"]);
    one.says(&["node", "undrain", "n3"]);
    three.says(&["status", "--wait", WAIT]);
    assert_eq!(three.says(&["get", "t", "2", "--format", "csv"]), "id,name\n2,Bob\n");
    let refused = two.hmn(&["node", "remove", "n2"]);
    let why = String::from_utf8(refused.stderr).expect("text");
    assert!(!refused.status.success() && why.contains("ask another one"), "{why}");
    drop(three);
    two.says(&["node", "remove", "n3"]);
    until(|| listed(&one).len() == 2);
    // Its directory is one of a member that was removed.
    let gone = start(home.path(), "n3", &["--join", peer(&one)]);
    told(&[home.path().join("n3.told")], "was removed from the cluster");
    drop(gone);
    std::fs::remove_dir_all(home.path().join("n3")).expect("the test holds this");
    let three = start(home.path(), "n3", &["--join", peer(&one)]);
    three.says(&["status", "--wait", WAIT]);
    assert_eq!(listed(&three).len(), 3);
    one.says(&["put", "t", "3", "Cleo"]);
    assert_eq!(two.says(&["get", "t", "3", "--format", "csv"]), "id,name\n3,Cleo\n");
}

#[test]
fn a_member_finds_the_others_by_a_file_that_comes_later() {
    // Aim: docs/operations.md, "Find members". Method: a second member is started with a file that is not there, which it says; then
    // the file comes with a bad line and the address of the first one, and it is let in, having said which line is bad.
    let home = tempfile::tempdir().expect("the test holds this");
    let one = start(home.path(), "n1", &[]);
    one.says(&["status", "--wait", WAIT]);
    let (list, said) = (home.path().join("members"), home.path().join("n2.told"));
    std::fs::write(&said, "").expect("the test holds this");
    let source = format!("file:{}", list.display());
    let two = std::thread::scope(|scope| {
        let coming = scope.spawn(|| start(home.path(), "n2", &["--join", &source]));
        told(&[&said], "members: the file is not there yet");
        std::fs::write(home.path().join("new"), format!("# us\nn1\n{} # n1\n", peer(&one)))
            .expect("the test holds this");
        std::fs::rename(home.path().join("new"), &list).expect("the test holds this");
        coming.join().expect("it is let in")
    });
    two.says(&["status", "--wait", WAIT]);
    told(&[&said], "members, line 2: \"n1\": there is no port");
    assert_eq!(listed(&one).len(), 2);
}

#[test]
fn whom_to_join_is_looked_at_before_anything_starts() {
    // Aim: a slip in a source ends the start with what is wanted, on the command line as in the file of settings. Method: a name with a
    // port that is none, both ways.
    let home = tempfile::tempdir().expect("the test holds this");
    let config = home.path().join("n2.toml");
    std::fs::write(&config, "join = [\"dns:members.example:70000\"]\n").expect("the test holds this");
    let common = ["serve", "--name", "n2", "--client", "127.0.0.1:0", "--peer", "127.0.0.1:0"];
    let config = config.to_str().expect("plain");
    for more in [["--join", "dns:members.example:70000"], ["--config", config]] {
        let refused = hmn(&[&common[..], &more].concat(), "");
        let why = String::from_utf8(refused.stderr).expect("text");
        assert!(!refused.status.success() && why.contains("a port is a number from 1 to 65535"), "{why}");
        assert!(why.contains("\"dns:members.example:70000\"") && why.contains("file:PATH"), "{why}");
    }
}

/// Who keeps a copy of a table, by name.
fn copies(server: &Server, table: &str) -> Vec<String> {
    let shown: serde_json::Value =
        serde_json::from_str(&server.says(&["table", "show", table, "--format", "json"])).expect("JSON");
    let copies = shown["copies"].as_array().expect("a list");
    copies.iter().map(|copy| copy["member"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn copies_go_where_they_are_wanted_and_a_dead_member_is_replaced() {
    // Aim: docs/operations.md, "Copies of tables" and "Replace". Method: a table that was there before others joined is read on one without a
    // copy, copied, moved; the member that has one of its copies is killed, another one joins and takes its place.
    let home = tempfile::tempdir().expect("the test holds this");
    let one = start(home.path(), "n1", &[]);
    one.says(&["status", "--wait", WAIT]);
    one.says(&["table", "create", "t", "-a", "id:int", "-a", "name:text", "--storage", "disc"]);
    one.says(&["put", "t", "1", "Ada"]);
    let two = start(home.path(), "n2", &["--join", peer(&one)]);
    let three = start(home.path(), "n3", &["--join", peer(&one)]);
    for server in [&one, &two, &three] {
        server.says(&["status", "--wait", WAIT]);
    }
    assert_eq!(three.says(&["get", "t", "1", "--format", "csv"]), "id,name\n1,Ada\n");
    let last = one.hmn(&["table", "copy", "drop", "t", "n1"]);
    let why = String::from_utf8(last.stderr).expect("text");
    assert!(!last.status.success() && why.contains("only copy"), "{why}");
    one.says(&["table", "copy", "add", "t", "n2", "--storage", "disc"]);
    assert_eq!(copies(&three, "t"), ["n1", "n2"]);
    one.says(&["table", "copy", "move", "t", "n1", "n3"]);
    assert_eq!(copies(&one, "t"), ["n2", "n3"]);
    one.says(&["put", "t", "2", "Bob"]);

    drop(two);
    let four = start(home.path(), "n4", &["--join", peer(&one)]);
    let takes_part = |name: &str| listed(&one).iter().any(|(one, facts)| one == name && facts[0]);
    until(|| takes_part("n4") && !takes_part("n2"));
    one.says(&["node", "replace", "n2", "n4"]);
    assert_eq!(copies(&one, "t"), ["n3", "n4"]);
    assert_eq!(listed(&one).len(), 3);
    for server in [&one, &three, &four] {
        assert_eq!(server.says(&["get", "t", "2", "--format", "csv"]), "id,name\n2,Bob\n");
    }
}
