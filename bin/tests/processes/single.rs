//! One member: rows, files, transactions as JSON lines, wrong inputs, stop.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::{Server, hmn, said};

#[test]
fn a_file_comes_back_as_it_went_in() {
    // Aim: import keeps `NA` text and empty null, export gives it back. Method: there and back through a table.
    let server = Server::start(&[]);
    let dir = tempfile::tempdir().expect("the test holds this");
    let file = dir.path().join("places.csv");
    let text = "id,country,lat\n1,NA,1.5\n2,,2.5\n3,DE,\n";
    std::fs::write(&file, text).expect("the test holds this");
    let path = file.to_str().expect("the test holds this");
    server.says(&["import", "places", path, "--key", "id", "--index", "country"]);
    assert_eq!(server.says(&["query", "SELECT * FROM places ORDER BY id", "--format", "csv"]), text);
    let found = server.says(&["query", "SELECT id FROM places WHERE country = 'NA'", "--format", "json"]);
    assert_eq!(found, "{\"id\":1}\n");
    let row = server.says(&["get", "places", "2", "--format", "json"]);
    assert_eq!(row, "{\"id\":2,\"country\":null,\"lat\":2.5}\n");
}

#[test]
fn a_table_on_disc_alone_comes_back_after_a_kill() {
    // Aim: `disc_only` wherever a storage can be named, a kill that loses nothing acknowledged, `check` on a directory in use,
    // on one that was killed and on what is none. Method: both ways to make a table, rows, kill, start, read, kill, check.
    let home = tempfile::tempdir().expect("the test holds this");
    let data = home.path().join("n1");
    let data = data.to_str().expect("a name");
    let server = Server::start(&["--data", data]);
    server.says(&[
        "table",
        "create",
        "large",
        "-a",
        "id:int",
        "-a",
        "v:text",
        "--storage",
        "disc_only",
        "--cache",
        "2MiB",
    ]);
    let sql = "CREATE TABLE larger (id INT PRIMARY KEY, v TEXT) WITH (storage = 'disc_only', cache = '4MiB')";
    server.says(&["query", sql]);
    for id in 0..20 {
        server.says(&["put", "large", &id.to_string(), &format!("row {id}")]);
    }
    let shown = server.hmn(&["table", "show", "large"]);
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains("n1: disc_only") && said.contains("2MiB"), "{said}");
    let alone = server.hmn(&["table", "create", "x", "-a", "id:int", "--cache", "2MiB"]);
    assert!(String::from_utf8_lossy(&alone.stderr).contains("disc_only"), "{alone:?}");
    let wrong = server.hmn(&["query", "CREATE TABLE y (id INT PRIMARY KEY) WITH (cache = '4MiB')"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("disc_only"), "{wrong:?}");
    let busy = hmn(&["check", data], "");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("in use"), "{busy:?}");
    drop(server);
    let server = Server::start(&["--data", data]);
    let counted = server.says(&["query", "SELECT count(*) AS n FROM large", "--format", "csv"]);
    assert_eq!(counted, "n\n20\n");
    assert_eq!(server.says(&["get", "large", "7", "--format", "csv"]), "id,v\n7,row 7\n");
    drop(server);
    let checked = hmn(&["check", data], "");
    assert!(checked.status.success(), "{checked:?}");
    let above = hmn(&["check", home.path().to_str().expect("a name")], "");
    let said = String::from_utf8_lossy(&above.stderr).into_owned();
    assert!(said.contains("no data directory") && said.contains(data), "{said}");
}

#[test]
fn check_counts_what_a_stop_has_left_and_finds_one_flipped_bit() {
    // Aim: `check` has read what it says it has, and its exit code is the answer. Method: a table on disc alone, another one
    // of more bytes than a part of the log has, so that a clean stop brings the first into the image; then one bit of a row.
    let home = tempfile::tempdir().expect("the test holds this");
    let path = |name: &str| home.path().join(name).to_str().expect("a name").to_owned();
    let data = path("n1");
    let file = |name: &str, rows: i64, text: &dyn Fn(i64) -> String| {
        let rows: String = (0..rows).map(|n| format!("{n},{}\n", text(n))).collect();
        std::fs::write(path(name), format!("id,v\n{rows}")).expect("the test holds this");
    };
    file("small.csv", 20, &|n| format!("row number {n}"));
    file("large.csv", 18, &|_| "x".repeat(1 << 20));
    let server = Server::start(&["--data", &data]);
    server.says(&["import", "small", &path("small.csv"), "--storage", "disc_only", "--cache", "2MiB"]);
    server.says(&["import", "large", &path("large.csv"), "--storage", "disc"]);
    server.stop();
    let keys = |table: &str| {
        let checked = said(hmn(&["check", &data, "--format", "json"], ""));
        let lines = checked.lines().map(|line| serde_json::from_str(line).expect("an object"));
        let found = lines.into_iter().find(|line: &serde_json::Value| line["table"] == table);
        let found = found.unwrap_or_else(|| panic!("{table}: {checked}"));
        assert!(found["damage"].is_null(), "{found}");
        found["keys"].as_u64().expect("a number")
    };
    assert_eq!(keys("small"), 20);
    assert!((1..=18).contains(&keys("large")));
    assert!(keys("_schema") >= 2, "the definitions are a table too, and have its name");
    let image = home.path().join("n1/image.redb");
    let whole = std::fs::read(&image).expect("it is there");
    let mut bytes = whole.clone();
    let row = b"row number 7";
    let found: Vec<_> = bytes.windows(row.len()).enumerate().filter(|(_, found)| found == row).collect();
    let places: Vec<_> = found.into_iter().map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the row is in the image");
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    std::fs::write(&image, bytes).expect("the test holds this");
    let damaged = hmn(&["check", &data], "");
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    assert!(String::from_utf8_lossy(&damaged.stderr).contains("damaged"), "{damaged:?}");
    // The head of the file, checksums of the first pages, redb's header, and those pages: told as damage, not as a fault of
    // the program.
    let block = |number: usize| number * 4096;
    for at in
        [2, block(1) + 6, block(1) + 10, block(2) + 2, block(3) + 2, block(4) + 2, block(5) + 2, block(6) + 2]
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        std::fs::write(&image, bytes).expect("the test holds this");
        let damaged = hmn(&["check", &data], "");
        let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
        assert_eq!(damaged.status.code(), Some(1), "{said}");
        assert!(!said.contains("panicked") && said.contains("damaged"), "{said}");
    }
}

#[test]
fn a_member_with_a_bound_of_memory_refuses_and_serves_on() {
    // Aim: the option reaches the node, and its refusal the caller. Method: import more than the bound, delete,
    // and put a row.
    let server = Server::start(&["--memory-max", "2MiB"]);
    let dir = tempfile::tempdir().expect("the test holds this");
    let file = dir.path().join("large.csv");
    let rows: String = (0..4_000).map(|n| format!("{n},{n:01000}\n")).collect();
    std::fs::write(&file, format!("id,v\n{rows}")).expect("the test holds this");
    let path = file.to_str().expect("a name");
    server.says(&["table", "create", "large", "-a", "id:int", "-a", "v:text"]);
    let refused = server.hmn(&["import", "large", path]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("n1") && said.contains("may hold 2097152"), "{said}");
    server.says(&["query", "DELETE FROM large"]);
    server.says(&["put", "large", "1", "small"]);
}

#[test]
fn check_finds_a_flipped_bit_in_the_log_and_in_the_identity() {
    // Aim: the exit code is the answer for the whole directory, and the file is named with the place. Method: a bit in each
    // file but the image of a directory that was stopped, one at a time; and none.
    let home = tempfile::tempdir().expect("the test holds this");
    let data = home.path().to_str().expect("a name");
    let server = Server::start(&["--data", data]);
    server.says(&["table", "create", "t", "-a", "id:int", "--storage", "disc"]);
    (0..20).for_each(|id| drop(server.says(&["put", "t", &id.to_string()])));
    server.stop();
    let checked = said(hmn(&["check", data, "--format", "json"], ""));
    let files =
        checked.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object"));
    let records =
        files.filter(|line| line["file"] == "log-000000000001.seg").map(|line| line["records"].as_u64());
    assert!(records.sum::<Option<u64>>() > Some(20), "{checked}");
    for name in ["log-000000000001.seg", "IDENTITY"] {
        let file = home.path().join(name);
        let whole = std::fs::read(&file).expect("it is there");
        let used = whole.iter().rposition(|byte| *byte != 0).expect("something");
        let mut bytes = whole.clone();
        bytes[used / 2] ^= 1;
        std::fs::write(&file, &bytes).expect("the test holds this");
        let damaged = hmn(&["check", data, "--format", "json"], "");
        assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
        let lines = String::from_utf8_lossy(&damaged.stdout).into_owned();
        let lines =
            lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object"));
        let hit: Vec<_> = lines.filter(|line| !line["damage"].is_null()).collect();
        assert_eq!(hit.len(), 1, "{hit:?}");
        assert_eq!(hit[0]["file"], name);
        let place = hit[0]["damage"].as_str().expect("a text");
        assert!(place.contains("is damaged") && (name == "IDENTITY" || place.contains("at byte")), "{place}");
        std::fs::write(&file, &whole).expect("the test holds this");
    }
}

#[test]
fn transactions_as_json_lines() {
    // Aim: each kind of line is one transaction with the right end. Method: lines in, all answers out.
    let server = Server::start(&[]);
    let answers = server.exec(concat!(
        "{\"value\":[[\"append\",1,7],[\"r\",1,null],[\"w\",\"x\",3],[\"r\",\"x\",null],[\"r\",2,null]]}\n",
        "{\"f\":\"add\",\"value\":5}\n",
        "{\"f\":\"read\"}\n",
        "{\"f\":\"setup\",\"value\":{\"accounts\":2,\"balance\":10}}\n",
        "{\"f\":\"transfer\",\"value\":{\"from\":0,\"to\":1,\"amount\":4}}\n",
        "{\"f\":\"transfer\",\"value\":{\"from\":0,\"to\":1,\"amount\":40}}\n",
        "{\"f\":\"read\"}\n",
        "not json\n",
    ));
    let reads = json!([["append", 1, 7], ["r", 1, [7]], ["w", "x", 3], ["r", "x", 3], ["r", 2, null]]);
    assert_eq!(answers[0], json!({"type": "ok", "value": reads}));
    assert_eq!(answers[2], json!({"type": "ok", "value": 5}));
    assert_eq!(answers[5]["type"], "fail");
    assert_eq!(answers[6], json!({"type": "ok", "value": {"0": 6, "1": 14}}));
    assert_eq!(answers[7]["type"], "fail");
    assert_eq!(answers.len(), 8);
}

#[test]
fn numbers_are_given_out_once_through_a_kill() {
    // Aim: `sequence` and `id`, and that a killed process repeats no number. Method: each command; numbers; kill hard; numbers.
    let home = tempfile::tempdir().expect("the test holds this");
    let start = || Server::start(&["--data", home.path().to_str().expect("a name")]);
    let next = |server: &Server, count: &str| -> Vec<i64> {
        let said = server.says(&["sequence", "next", "orders", "-n", count, "--format", "csv"]);
        said.lines().skip(1).map(|line| line.parse().expect("a number")).collect()
    };
    let server = start();
    assert_eq!(next(&server, "3"), [1, 2, 3]);
    assert_eq!(next(&server, "1"), [4]);
    let current = server.says(&["sequence", "current", "orders", "--format", "csv"]);
    assert_eq!(
        server.says(&["sequence", "list", "--format", "csv"]),
        current.replace("current\n", "sequence,current\norders,")
    );
    let id = server.says(&["id", "-n", "2", "--format", "csv"]);
    drop(server);
    let server = start();
    let behind = next(&server, "1")[0];
    assert!(behind > 4, "{behind}");
    assert!(server.says(&["id", "--format", "csv"]).lines().nth(1) > id.lines().nth(2), "ids go on growing");
    server.says(&["sequence", "reset", "orders", "-7"]);
    assert_eq!(next(&server, "2"), [-7, -6]);
    server.says(&["sequence", "drop", "orders"]);
    assert_eq!(server.hmn(&["sequence", "current", "orders"]).status.code(), Some(1));
    assert_eq!(server.hmn(&["sequence", "next", "orders", "-n", "0"]).status.code(), Some(2));
}

#[test]
fn tables_are_given_attributes_renamed_and_cleared() {
    // Aim: `table add`, `rename` and `clear`. Method: each, on a table on disc, then a kill and a look.
    let home = tempfile::tempdir().expect("the test holds this");
    let start = || Server::start(&["--data", home.path().to_str().expect("a name")]);
    let server = start();
    server.says(&["table", "create", "t", "-a", "id:int", "--key", "id", "--storage", "disc"]);
    server.says(&["table", "create", "u", "-a", "id:int", "--key", "id", "--storage", "disc"]);
    server.says(&["put", "t", "1"]);
    server.says(&["put", "u", "1"]);
    server.says(&["table", "create", "log", "-a", "id:int", "--kind", "bag", "--local", "--duplicates"]);
    (0..3).for_each(|_| drop(server.says(&["put", "log", "1"])));
    assert_eq!(server.says(&["get", "log", "1", "--format", "csv"]), "id\n1\n1\n1\n");
    server.says(&["table", "add", "t", "-a", "city:text=Ghent", "-a", "note:text?"]);
    server.says(&["table", "rename", "t", "v"]);
    server.says(&["table", "clear", "u"]);
    assert_eq!(server.hmn(&["table", "rename", "v", "u"]).status.code(), Some(1));
    drop(server);
    let server = start();
    assert_eq!(server.says(&["get", "v", "1", "--format", "csv"]), "id,city,note\n1,Ghent,\n");
    assert_eq!(server.says(&["query", "SELECT count(*) FROM u", "--format", "csv"]), "count(*)\n0\n");
}

#[test]
fn registers_are_swapped_counted_and_taken() {
    // Aim: the operations that look before they write, with `fail` where what they need is not so. Method: lines in, answers
    // out; a failed one leaves nothing of its transaction.
    let server = Server::start(&[]);
    let answers = server.exec(concat!(
        "{\"value\":[[\"new\",1,5],[\"cas\",1,[5,6]],[\"incr\",1,4],[\"incr\",2,1]]}\n",
        "{\"value\":[[\"w\",3,3],[\"new\",1,7]]}\n",
        "{\"value\":[[\"w\",3,3],[\"cas\",1,[6,7]]]}\n",
        "{\"value\":[[\"cas\",4,[null,8]],[\"cas\",1,[10,null]]]}\n",
        "{\"value\":[[\"take\",4,null],[\"take\",4,null],[\"r\",1,null],[\"r\",3,null]]}\n",
        "{\"value\":[[\"cas\",1,5]]}\n",
        "{\"value\":[[\"incr\",1,\"x\"]]}\n",
    ));
    let done = json!([["new", 1, 5], ["cas", 1, [5, 6]], ["incr", 1, 10], ["incr", 2, 1]]);
    assert_eq!(answers[0], json!({"type": "ok", "value": done}));
    for failed in [1, 2, 5, 6] {
        assert_eq!(answers[failed]["type"], "fail", "{}", answers[failed]);
    }
    assert_eq!(answers[3]["type"], "ok");
    let gone = json!([["take", 4, 8], ["take", 4, null], ["r", 1, null], ["r", 3, null]]);
    assert_eq!(answers[4], json!({"type": "ok", "value": gone}));
}

#[test]
fn a_malformed_transaction_certainly_does_not_happen() {
    // Aim: a checker is never told that something happened which it did not ask for. Method: lines of each wrong form, which
    // must fail naming what is wrong; then a set-up with fewer accounts leaves no other.
    let server = Server::start(&[]);
    let wrong = [
        (r#"{"value":[["append",1]]}"#, "append"),
        (r#"{"value":[["r",1,7]]}"#, "[\"r\",1,7]"),
        (r#"{"value":[["w",1,2,3]]}"#, "none of"),
        (r#"{"value":[["w",1,99999999999999999999]]}"#, "99999999999999999999"),
        (r#"{"value":7}"#, "list of operations"),
        (r#"{"value":[],"value":[]}"#, "twice"),
        (r#"["append",1,2]"#, "not a JSON object"),
        (r#"{"f":7,"value":[]}"#, "unknown f 7"),
        (r#"{"f":"setup","value":{"accounts":-1}}"#, "accounts"),
        (r#"{"f":"setup","value":{"balance":-10}}"#, "balance"),
        (r#"{"f":"setup","value":{"acounts":2}}"#, "acounts"),
        (r#"{"f":"setup","value":8}"#, "not 8"),
        (r#"{"f":"read","value":"frob"}"#, "frob"),
    ];
    let lines: String = wrong.iter().map(|(line, _)| format!("{line}\n")).collect();
    for (answer, (line, named)) in server.exec(&lines).iter().zip(wrong) {
        assert_eq!(answer["type"], "fail", "{line}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(named)), "{line}: {answer}");
    }
    let answers = server.exec(concat!(
        "{\"f\":\"setup\"}\n",
        "{\"f\":\"setup\",\"value\":{\"accounts\":2}}\n",
        "{\"f\":\"read\",\"value\":\"accounts\"}\n",
        "{\"f\":\"setup\",\"value\":{\"accounts\":0}}\n",
        "{\"f\":\"read\",\"value\":\"accounts\"}\n",
    ));
    assert_eq!(answers[2], json!({"type": "ok", "value": {"0": 10, "1": 10}}));
    assert_eq!(answers[4], json!({"type": "ok", "value": {}}));
}

#[test]
fn counters_of_many_processes_add_up() {
    // Aim: no increment is lost or doubled. Method: three processes, 50 additions each, one sum.
    let server = Server::start(&[]);
    server.exec("{\"f\":\"read\"}\n");
    let lines = "{\"f\":\"add\",\"value\":1}\n".repeat(50);
    let added: usize = std::thread::scope(|scope| {
        let each: Vec<_> = (0..3).map(|_| scope.spawn(|| server.exec(&lines))).collect();
        let ok = |answers: Vec<serde_json::Value>| answers.iter().filter(|a| a["type"] == "ok").count();
        each.into_iter().map(|thread| ok(thread.join().expect("the test holds this"))).sum()
    });
    assert_eq!(server.exec("{\"f\":\"read\"}\n")[0]["value"], added);
    assert!(added > 0);
}

#[test]
fn exit_codes_and_refusals() {
    // Aim: 2 for wrong usage, 1 for what failed, with the reason on stderr only. Method: one case of each.
    let server = Server::start(&[]);
    assert_eq!(hmn(&["no-such-command"], "").status.code(), Some(2));
    let wrong = server.hmn(&["query", "SELEC 1"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stdout.is_empty() && String::from_utf8_lossy(&wrong.stderr).contains('^'), "{wrong:?}");
    assert_eq!(server.hmn(&["get", "nowhere", "1"]).status.code(), Some(1));
    let open = hmn(&["serve", "--client", "0.0.0.0:0"], "");
    assert_eq!(open.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&open.stderr).contains("--insecure"), "{open:?}");
    assert!(server.hmn(&["status", "--wait", "10"]).status.success());
}

#[test]
fn a_member_ends_with_its_parent() {
    // Aim: nothing is left over when the starter is gone. Method: close the pipe that only the starter holds.
    let mut server = Server::start(&[]);
    drop(server.child.stdin.take());
    let until = Instant::now() + Duration::from_secs(20);
    while server.child.try_wait().expect("the test holds this").is_none() {
        assert!(Instant::now() < until, "still running");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_data_directory_has_one_owner_and_keeps_its_rows() {
    // Aim: a second process is refused, a kill loses nothing acknowledged. Method: two processes, kill, start again.
    let dir = tempfile::tempdir().expect("the test holds this");
    let data = dir.path().to_str().expect("the test holds this");
    let mut server = Server::start(&["--data", data]);
    server.says(&["table", "create", "t", "--attribute", "id:int", "--key", "id", "--storage", "disc"]);
    server.says(&["put", "t", "1"]);
    let second = hmn(&["serve", "--client", "127.0.0.1:0", "--data", data, "--with-parent"], "");
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    server.child.kill().expect("the test holds this");
    server.child.wait().expect("the test holds this");
    let again = Server::start(&["--data", data]);
    assert_eq!(again.says(&["get", "t", "1", "--format", "csv"]), "id\n1\n");
}

#[test]
fn every_place_of_a_file_is_counted_in_its_country() {
    // Aim: a real file goes in whole, texts that look like something else included. Method: import the places that come with
    // the project, or the file that HMN_CITIES names, and count by country here and there.
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/cities.csv").to_owned();
    let file = std::env::var("HMN_CITIES").unwrap_or(shipped);
    let mut counted = std::collections::BTreeMap::<String, u64>::new();
    let mut reader = csv::Reader::from_path(&file).expect("the file is there");
    let column =
        reader.headers().expect("a header").iter().position(|name| name == "country").expect("a column");
    for record in reader.records() {
        *counted.entry(record.expect("a row")[column].to_owned()).or_default() += 1;
    }
    let server = Server::start(&[]);
    server.says(&["import", "cities", &file, "--key", "id", "--index", "country", "--timeout", "120"]);
    let query = "SELECT country, count(*) FROM cities GROUP BY country ORDER BY country";
    let said = server.says(&["query", query, "--format", "csv", "--timeout", "120"]);
    let expected: String = counted.iter().map(|(country, count)| format!("{country},{count}\n")).collect();
    assert_eq!(said.split_once('\n').expect("a header").1, expected);
    // The same one by one, by the index.
    for (country, count) in counted.iter().take(5) {
        let one = server.says(&[
            "query",
            "SELECT count(*) FROM cities WHERE country = ?",
            "-p",
            country,
            "--format",
            "csv",
        ]);
        assert_eq!(one, format!("count(*)\n{count}\n"));
    }
}

#[test]
fn silent_connections_take_no_descriptors_from_the_disc() {
    // Aim: a member with few descriptors goes on when many connections say nothing, and they are closed. Method: more of
    // them than it may have descriptors, then a write to disc and a read by a new client, and a look at what is left.
    let dir = tempfile::tempdir().expect("the test holds this");
    let data = dir.path().to_str().expect("the test holds this");
    let server = Server::with_descriptors(300, &["--data", data]);
    server.says(&["table", "create", "t", "-a", "id:int", "--key", "id", "--storage", "disc"]);
    let _silent: Vec<_> =
        (0..400).map(|_| std::net::TcpStream::connect(&server.addr).expect("the port is open")).collect();
    let begin = Instant::now();
    server.says(&["put", "t", "1"]);
    assert_eq!(server.says(&["get", "t", "1", "--format", "csv"]), "id\n1\n");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).map_or(0, Iterator::count);
    let until = Instant::now() + Duration::from_secs(30);
    while open() > 60 {
        assert!(Instant::now() < until, "{} descriptors", open());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_member_whose_disc_fails_says_so_and_ends() {
    // Aim: nobody takes a node that serves no longer for a running one. Method: take its directory away and write until it
    // needs another file; then its exit code and what it said.
    let home = tempfile::tempdir().expect("the test holds this");
    let (data, said) = (home.path().join("data"), home.path().join("stderr"));
    let mut program = Command::new(env!("CARGO_BIN_EXE_hmn"));
    program.stderr(std::fs::File::create(&said).expect("the test holds this")).env_remove("RUST_LOG");
    let mut server = Server::started(program, &["--data", data.to_str().expect("a name")]);
    server.says(&["table", "create", "t", "-a", "id:int", "-a", "text:text", "--storage", "disc"]);
    std::fs::remove_dir_all(&data).expect("the test holds this");
    let file = home.path().join("t.csv");
    let row = |n| format!("{n},{}\n", "x".repeat(1 << 20));
    std::fs::write(&file, format!("id,text\n{}", (0..10).map(row).collect::<String>())).expect("written");
    let until = Instant::now() + Duration::from_secs(60);
    let ended = loop {
        // It fails once the node has.
        drop(server.hmn(&["import", "t", file.to_str().expect("a name")]));
        if let Some(ended) = server.child.try_wait().expect("the test holds this") {
            break ended;
        }
        assert!(Instant::now() < until, "still running");
    };
    let said = std::fs::read_to_string(&said).expect("the test holds this");
    assert_eq!(ended.code(), Some(1), "{said}");
    assert!(said.contains("ERROR") && said.contains("disc"), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("hmn: ")), "{said}");
}
