//! Commands against one member: formats, the shell by a pipe, configuration files, imports with bad lines, figures.

use std::process::Command;

use crate::program::{Server, hmn, said};

fn table_of_two(server: &Server) {
    server.says(&[
        "table",
        "create",
        "t",
        "--attribute",
        "id:int",
        "--attribute",
        "name:text",
        "--key",
        "id",
    ]);
    server.says(&["put", "t", "1", "Ada"]);
    server.says(&["put", "t", "2", "Bob, \"the\" builder"]);
}

#[test]
fn every_command_that_prints_data_has_three_formats() {
    // Aim: table for people, one JSON object a line, CSV with a header, and options on both sides. Method: each command.
    let server = Server::start(&[]);
    table_of_two(&server);
    let commands: [&[&str]; 5] = [
        &["get", "t", "1"],
        &["query", "SELECT * FROM t ORDER BY id"],
        &["export", "t"],
        &["table", "list"],
        &["status"],
    ];
    for command in commands {
        let json = server.says(&[command, &["--format", "json"]].concat());
        assert!(json.lines().count() > 0, "{command:?}");
        for line in json.lines() {
            let object: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|_| panic!("{command:?}: {line}"));
            assert!(object.is_object(), "{command:?}: {line}");
        }
        let before = said(hmn(&[&["--format", "json", "--addr", &server.addr], command].concat(), ""));
        if command[0] != "status" {
            assert_eq!(before, json, "{command:?}");
        }
        let csv = server.says(&[command, &["--format", "csv"]].concat());
        let header = csv.lines().next().unwrap_or_default();
        assert!(!header.is_empty() && !header.contains('{'), "{command:?}: {csv}");
        assert!(!server.says(command).is_empty());
    }
    let quoted = server.says(&["get", "t", "2", "--format", "csv"]);
    assert_eq!(quoted, "id,name\n2,\"Bob, \"\"the\"\" builder\"\n");
}

#[test]
fn the_shell_takes_a_script() {
    // Aim: several lines, commands, errors with a caret, an exit code. Method: what a person types, by a pipe.
    let server = Server::start(&[]);
    table_of_two(&server);
    let shell = |script: &str| hmn(&["shell", "--addr", &server.addr, "--format", "csv"], script);
    let good = said(shell(
        "SELECT name\nFROM t\nWHERE id = 1;\n\\d\n\\d t\n\\format json\nSELECT id FROM t WHERE id = 2",
    ));
    assert!(good.contains("name\nAda\n") && good.contains("{\"id\":2}"), "{good}");
    assert!(good.contains("t,set"), "the list of tables: {good}");
    let bad = shell("SELECT nme FROM t;\n\\x\nSELECT count(*) FROM t;\n");
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let (out, err) = (String::from_utf8_lossy(&bad.stdout), String::from_utf8_lossy(&bad.stderr));
    assert!(out.contains('2'), "it went on: {out}");
    assert!(err.contains('^') && err.contains("nme") && err.contains("\\x"), "{err}");
    assert!(err.contains("2 statements or commands failed"), "a command that is none fails too: {err}");
}

#[test]
fn a_script_with_a_line_that_is_no_text_ends_there() {
    // Aim: what stands around such a line is not run without it, and the line is named. Method: bytes between good
    // statements, and within one.
    let server = Server::start(&[]);
    table_of_two(&server);
    for (script, line, rows) in [
        (&b"INSERT INTO t VALUES (3, 'x');\nSELECT '\xff';\nDELETE FROM t;\n"[..], "line 2 ", 3),
        (b"EXPLAIN\nSELECT '\xff',\n1;\nDELETE FROM t;\n", "line 2 ", 3),
        (b"\xfe;\n", "line 1 ", 3),
    ] {
        let ended = hmn(&["shell", "--addr", &server.addr], script);
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{told}");
        assert!(told.contains(line) && told.contains("UTF-8"), "{told}");
        let count = server.says(&["query", "SELECT count(*) FROM t", "--format", "csv"]);
        assert_eq!(count.lines().nth(1), Some(rows.to_string().as_str()), "{told}");
    }
}

#[test]
fn a_bench_says_what_it_needs_and_what_it_leaves() {
    // Aim: a figure is of what its name says; what stays on disc is told and never measured again; an address in the
    // environment alone puts nobody under load; --timeout bounds calls. Method: each once, with short windows.
    let short = [
        "bench",
        "write_txn",
        "--seconds",
        "0.1",
        "--reps",
        "1",
        "--records",
        "50",
        "--nodes",
        "1",
        "--clients",
        "1",
    ];
    let few = hmn(&["bench", "index_read10_txn", "--records", "9", "--nodes", "1"], "");
    let told = String::from_utf8_lossy(&few.stderr);
    assert!(few.status.code() == Some(2) && told.contains("--records") && told.contains("10"), "{told}");
    let home = tempfile::tempdir().expect("a directory");
    let kept = home.path().to_str().expect("a name");
    let on_disc = [&short[..], &["--storage", "disc", "--data", kept]].concat();
    let first = hmn(&on_disc, "");
    let told = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success() && told.contains("stay in") && told.contains(kept), "{told}");
    assert!(home.path().join("disc").join("n1").is_dir());
    let again = hmn(&on_disc, "");
    let told = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.code() == Some(1) && told.contains(kept) && told.contains("--data"), "{told}");
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_hmn"));
    let own = elsewhere.args(short).env("HMN_ADDR", "127.0.0.1:1").output().expect("it runs");
    let told = String::from_utf8_lossy(&own.stderr);
    assert!(own.status.success() && told.contains("HMN_ADDR is not used"), "{told}");
    // Listens and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = silent.local_addr().expect("it is bound").to_string();
    let late = hmn(&[&short[..], &["--addr", &addr, "--timeout", "0.2"]].concat(), "");
    let told = String::from_utf8_lossy(&late.stderr);
    assert!(late.status.code() == Some(1) && told.contains("--timeout"), "{told}");
}

#[test]
fn a_member_by_its_configuration_file() {
    // Aim: settings from a file, and a wrong one is named with its line. Method: a good file, a misspelt key, no file.
    let home = tempfile::tempdir().expect("the test holds this");
    let path = home.path().join("n1.toml");
    let config = path.to_str().expect("the test holds this");
    std::fs::write(&path, format!("name = \"alone\"\ndata = {:?}\n", home.path().join("data")))
        .expect("written");
    let server = Server::start(&["--config", config]);
    assert!(server.says(&["status"]).contains("alone"));
    server.says(&["table", "create", "t", "--attribute", "id:int", "--key", "id", "--storage", "disc"]);
    drop(server);
    std::fs::write(&path, "name = \"alone\"\nclint = \"127.0.0.1:0\"\n").expect("written");
    let wrong = hmn(&["serve", "--config", config], "");
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(1), "{text}");
    assert!(text.contains("clint") && text.contains("line 2"), "{text}");
    let none = hmn(&["serve", "--config", "no-such-file.toml"], "");
    assert!(String::from_utf8_lossy(&none.stderr).contains("no-such-file.toml"));
}

#[test]
fn a_bad_line_is_named_and_what_came_before_it_is_told() {
    // Aim: no row is lost without a word. Method: a bad line in CSV and in JSON lines, against a table with types.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    server.says(&["table", "create", "t", "--attribute", "id:int", "--attribute", "n:float", "--key", "id"]);
    let cases = [
        ("a.csv", "id,n\n1,1.5\n2,2.5\nthree,3.5\n4,4.5\n", "line 4"),
        ("b.csv", "id,n\n11,1.5\n12,1.5,9\n", "line 3"),
        ("c.jsonl", "{\"id\":21,\"n\":1.5}\n{\"id\":22,\"n\":\n", "line 2"),
    ];
    for (name, text, line) in cases {
        let file = home.path().join(name);
        std::fs::write(&file, text).expect("written");
        let failed = server.hmn(&["import", "t", file.to_str().expect("a name"), "--key", "id"]);
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{said}");
        assert!(said.contains(name) && said.contains(line), "{said}");
    }
    let file = home.path().join("d.jsonl");
    std::fs::write(&file, "{\"id\":31,\"country\":\"NA\"}\n{\"id\":32,\"country\":null}\n{\"id\":33}\n")
        .expect("written");
    server.says(&["import", "j", file.to_str().expect("a name"), "--key", "id"]);
    let rows = server.says(&["query", "SELECT * FROM j ORDER BY id", "--format", "json"]);
    let wanted =
        "{\"id\":31,\"country\":\"NA\"}\n{\"id\":32,\"country\":null}\n{\"id\":33,\"country\":null}\n";
    assert_eq!(rows, wanted);
}

#[test]
fn figures_have_the_format_of_the_peers() {
    // Aim: one JSON object per figure with every field, on one node, on three with spread clients, and over gRPC; tpcb
    // checks its sums. Method: short windows.
    let short = ["--seconds", "0.1", "--reps", "1", "--records", "500"];
    let figures = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let out = said(hmn(&[&["bench"], arguments, &short].concat(), ""));
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let check = |figures: &[serde_json::Value], workloads: &[&str], nodes: u64| {
        let named: Vec<_> =
            figures.iter().map(|figure| figure["workload"].as_str().expect("a name")).collect();
        assert_eq!(named, workloads);
        for figure in figures {
            assert_eq!(
                (&figure["peer"], &figure["nodes"]),
                (&"hypermnesia".into(), &nodes.into()),
                "{figure}"
            );
            assert!(figure["ops_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{figure}");
            for field in ["threads", "p50_us", "p99_us", "ops_min", "ops_max", "reps", "storage", "placement"]
            {
                assert!(!figure[field].is_null(), "{field} in {figure}");
            }
            assert!(figure.get("bytes_per_record").is_some_and(serde_json::Value::is_null), "{figure}");
        }
    };
    let all = [
        "write_txn",
        "read_txn",
        "rmw_txn_uniform",
        "rmw_txn_1key",
        "write10_txn",
        "index_read10_txn",
        "dirty_read",
        "dirty_write",
        "tpcb",
    ];
    check(&figures(&[&all[..8], &["--nodes", "1", "--clients", "4"]].concat()), &all[..8], 1);
    check(&figures(&["index_read10_txn", "--nodes", "1", "--clients", "1"]), &["index_read10_txn"], 1);
    let spread = ["write_txn", "index_read10_txn"];
    check(
        &figures(&[&spread[..], &["--clients", "6", "--placement", "spread", "--storage", "disc"]].concat()),
        &spread,
        3,
    );
    let server = Server::start(&[]);
    let asked = ["write_txn", "rmw_txn_1key", "index_read10_txn", "dirty_read"];
    let remote = figures(&[&asked[..], &["--clients", "2", "--addr", &server.addr]].concat());
    check(&remote, &asked, 1);
    assert_eq!(server.says(&["table", "list", "--format", "csv"]).lines().count(), 1, "its tables are gone");
}

#[test]
fn one_table_is_shown_with_all_that_was_said_of_it() {
    // Aim: `table show` has the defaults, as people read it and as one object with nothing beside it; numbers go with their
    // words; bounds have units and are never nothing. Method: a table with one of each, shown both ways; wrong bounds.
    let server = Server::start(&[]);
    let create = ["table", "create", "t", "-a", "id:int", "-a", "city:text=Ghent", "-a", "n:int?"];
    server.says(&[&create[..], &["--index", "city", "--rows-max", "1", "--bytes-max", "64MiB"]].concat());
    server.says(&["put", "t", "1", "Ghent", ""]);
    server.says(&["query", "CREATE TABLE e (id INT PRIMARY KEY, v TEXT NOT NULL DEFAULT '')"]);
    let shown = server.hmn(&["table", "show", "t"]);
    let told = String::from_utf8_lossy(&shown.stderr).into_owned();
    for word in ["1 row,", "1 entry in by_city", "waits for memory", "beyond 1 row\n", "beyond 64MiB"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let csv = server.says(&["table", "show", "t", "--format", "csv"]);
    assert_eq!(csv.lines().nth(2), Some("city,text,false,Ghent,,by_city"), "{csv}");
    let csv = server.says(&["table", "show", "e", "--format", "csv"]);
    let empty = csv.lines().nth(2).is_some_and(|line| line.starts_with("v,text,false,\"\"\"\"\"\","));
    assert!(empty, "an empty default is one: {csv}");
    let shown = server.hmn(&["table", "show", "t", "--format", "json"]);
    assert!(shown.stderr.is_empty(), "{shown:?}");
    let object: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("one object");
    let city = serde_json::json!({"name": "city", "type": "text", "null": false, "default": "Ghent"});
    assert_eq!((&object["attributes"][1], &object["attributes"][2]["default"]), (&city, &().into()));
    assert_eq!((&object["bytes_max"], &object["rows"]), (&(64 << 20).into(), &1.into()), "{object}");
    assert_eq!((&object["acknowledge"], &object["indexes"][0]["entries"]), (&"memory".into(), &1.into()));
    for bound in [["--rows-max", "0"], ["--bytes-max", "0"], ["--bytes-max", "64MB"]] {
        let wrong = server.hmn(&[&["table", "create", "u", "-a", "id:int"][..], &bound].concat());
        assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_stream_that_nobody_reads_is_seen_in_the_status() {
    // Aim: whoever looks why memory grows finds the snapshot that holds it, and its age. Method: an export into a pipe that
    // nobody empties, of more than all buffers hold; the status as an object and as a sentence; then the export ends.
    let server = Server::start(&[]);
    let home = tempfile::tempdir().expect("the test holds this");
    let file = home.path().join("t.csv");
    let rows: String = (0..400).map(|n| format!("{n},{}\n", "x".repeat(32_000))).collect();
    std::fs::write(&file, format!("id,v\n{rows}")).expect("written");
    server.says(&["import", "t", file.to_str().expect("a name"), "--key", "id"]);
    let mut export = std::process::Command::new(env!("CARGO_BIN_EXE_hmn"))
        .args(["export", "t", "--addr", &server.addr])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let status: serde_json::Value =
            serde_json::from_str(&server.says(&["status", "--format", "json"])).expect("JSON");
        let held = &status["held"];
        if held["snapshots"] == 1 && held["oldest_snapshot_age_ms"].as_u64() > Some(0) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{held}");
    }
    let told = server.hmn(&["status"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("1 snapshot is open, the oldest for "), "{told}");
    export.kill().expect("it runs");
    export.wait().expect("it ends");
}

#[test]
fn tables_of_rows_that_do_not_stay() {
    // Aim: times to live, bounds and defaults from the command line, and what help promises of them. Method: one of each.
    let server = Server::start(&[]);
    let create =
        ["table", "create", "pages", "-a", "path:text", "-a", "hits:int=7", "--local", "--rows-max", "2"];
    server.says(&[&create[..], &["--evict", "--max-idle", "1h", "--ttl", "30m"]].concat());
    let shown = server.hmn(&["table", "show", "pages"]);
    let told = String::from_utf8_lossy(&shown.stderr).into_owned();
    for word in ["local to each member", "rows live 30m", "idle for 1h", "evicts beyond 2 rows"] {
        assert!(told.contains(word), "{told}");
    }
    server.says(&["put", "pages", "/", "1", "--ttl", "1ms"]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while server.hmn(&["get", "pages", "/"]).status.success() {
        assert!(std::time::Instant::now() < end, "it never expired");
    }
    server.says(&["query", "INSERT INTO pages (path) VALUES ('/a')"]);
    assert_eq!(server.says(&["get", "pages", "/a", "--format", "csv"]), "path,hits\n/a,7\n");
    for n in 0..9 {
        server.says(&["put", "pages", &format!("/{n}"), "1", "--forever"]);
    }
    let rows = server.says(&["query", "SELECT count(*) AS n FROM pages", "--format", "csv"]);
    assert!(["n\n1\n", "n\n2\n"].contains(&rows.as_str()), "{rows}");
    let status: serde_json::Value =
        serde_json::from_str(&server.says(&["status", "--format", "json"])).expect("JSON");
    let pages = &status["tables"][0];
    assert!(pages["evictions"].as_u64() >= Some(8) && pages["misses"].as_u64() >= Some(1), "{pages}");
    let (bytes, memory) = (pages["bytes"].as_u64(), pages["memory_bytes"].as_u64());
    assert!(memory > bytes && status["held"]["memory_bytes"].as_u64() > memory, "{status}");
    assert!(told.contains("0 bytes of keys and rows, "), "{told}");
    let wrong = server.hmn(&["table", "create", "x", "-a", "id:int", "--ttl", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(server.hmn(&["table", "create", "x", "-a", "id:int", "--evict"]).status.code(), Some(2));
}
