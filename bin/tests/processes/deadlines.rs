//! `--timeout`: how long a command waits, for a table that loads and for a row whose transaction nobody has settled.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::program::{Server, WAIT, hmn, members, said};

#[test]
fn commands_wait_for_a_member_that_is_loading() {
    // Aim: every command about rows waits for loading tables until its time is over. Method: two members with tables on
    // disc, both killed; one comes back and has to wait for the other, with a short time and with a long one.
    let (list, home) = (members(2), tempfile::tempdir().expect("the test holds this"));
    let start = |name: &str| {
        let data = home.path().join(name);
        Server::start(&["--name", name, "--members", &list, "--data", data.to_str().expect("a name")])
    };
    let (one, two) = (start("n1"), start("n2"));
    one.says(&["status", "--wait", WAIT]);
    one.says(&["table", "create", "t", "--attribute", "id:int", "--key", "id", "--storage", "disc"]);
    one.says(&["put", "t", "1"]);
    drop((one, two));
    let one = start("n1");
    let file = home.path().join("t.csv");
    std::fs::write(&file, "id\n2\n").expect("written");
    let import = ["import", "t", file.to_str().expect("a name")];
    let commands: [(&[&str], &str); 5] = [
        (&["query", "SELECT id FROM t WHERE id = 1", "--format", "csv"], ""),
        (&["get", "t", "1", "--format", "csv"], ""),
        (&["export", "t"], ""),
        (&["exec", "--table", "e"], "{\"f\":\"add\",\"value\":1}\n"),
        (&import, ""),
    ];
    let run = |(command, input): (&[&str], &str), time: &str| -> Output {
        hmn(&[&["--addr", &one.addr, "--timeout", time], command].concat(), input)
    };
    for command in commands {
        let begin = Instant::now();
        let failed = run(command, "1");
        let (waited, text) = (begin.elapsed(), String::from_utf8_lossy(&failed.stderr).into_owned());
        assert_eq!(failed.status.code(), Some(1), "{command:?}: {failed:?}");
        assert!(text.contains("n2"), "{command:?}: {text}");
        assert!((Duration::from_millis(800)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    }
    std::thread::scope(|scope| {
        let run = &run;
        let waiting: Vec<_> =
            commands.into_iter().map(|command| scope.spawn(move || run(command, "60"))).collect();
        // They wait by now, or else they find it loaded: both must go well.
        let _two = start("n2");
        for (command, waiting) in commands.into_iter().zip(waiting) {
            let mut output = waiting.join().expect("no panic");
            // A write may come between the tables of n1 and those of n2, which is refused.
            let end = Instant::now() + Duration::from_secs(30);
            while String::from_utf8_lossy(&output.stderr).contains("n2 is still loading")
                && Instant::now() < end
            {
                output = run(command, "60");
            }
            said(output);
        }
    });
}

#[test]
fn a_member_that_says_nothing_is_named_with_the_time_it_had() {
    // Aim: whoever meets the end of the time learns whom it was waited for, and which option says how long. Method: a listener
    // that accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = silent.local_addr().expect("it is bound").to_string();
    for command in [&["status"][..], &["get", "t", "1"], &["query", "SELECT 1"]] {
        let failed = hmn(&[command, &["--addr", &addr, "--timeout", "0.3"]].concat(), "");
        let text = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(1), "{command:?}: {text}");
        assert!(text.contains(&addr) && text.contains("--timeout") && text.contains("0.3"), "{text}");
    }
}

#[test]
fn a_row_in_doubt_is_waited_for_as_long_as_was_said() {
    // Aim: `--timeout` bounds every command at a row whose transaction nobody can settle. Method: three members; n3 does not
    // answer while n1 writes, and n1 dies before it has decided: n2 has promised and cannot tell; nor, once its lease is over,
    // whether the others go on without it.
    let list = members(3);
    let start = |name: &str| Server::start(&["--name", name, "--members", &list]);
    let mut servers = [start("n1"), start("n2"), start("n3")];
    servers.iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
    servers[0].says(&["table", "create", "t", "-a", "id:int", "-a", "n:int", "--key", "id"]);
    servers[0].says(&["put", "t", "1", "1"]);
    let stopped = servers[2].child.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &stopped]).status().expect("the test holds this").success());
    let address = servers[0].addr.clone();
    let writer = std::thread::spawn(move || hmn(&["--addr", &address, "put", "t", "1", "2"], ""));
    let until = Instant::now() + Duration::from_secs(30);
    while !in_doubt(&servers[1]) {
        assert!(Instant::now() < until, "n2 has promised nothing");
    }
    servers[0].child.kill().expect("the test holds this");
    assert!(!writer.join().expect("no panic").status.success(), "nobody acknowledged it");
    for command in [
        &["get", "t", "1"][..],
        &["query", "SELECT n FROM t"],
        &["query", "UPDATE t SET n = n + 1 WHERE id = 1"],
        &["export", "t"],
    ] {
        let begin = Instant::now();
        let failed = servers[1].hmn(&[command, &["--timeout", "0.5"]].concat());
        let (waited, text) = (begin.elapsed(), String::from_utf8_lossy(&failed.stderr).into_owned());
        assert_eq!(failed.status.code(), Some(1), "{command:?}: {failed:?}");
        let alone = text.contains("not ready") && text.contains("n1");
        assert!(text.contains("in doubt") || alone, "{command:?}: {text}");
        assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    }
}

/// Whether a member has promised something and does not know what came of it.
fn in_doubt(server: &Server) -> bool {
    let status = server.hmn(&["status", "--format", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).expect("one object");
    status["in_doubt"].as_array().is_some_and(|transactions| !transactions.is_empty())
}
