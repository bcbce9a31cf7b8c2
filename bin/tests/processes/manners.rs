//! How the program behaves towards those who call it: closed and full outputs, wrong usage, members that are not there or go
//! away, tables that are elsewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::program::{Server, WAIT, hmn, members};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hmn"));
    command
        .args(arguments)
        .env_remove("HMN_ADDR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn an_output_that_is_closed_or_full_ends_it_without_a_panic() {
    // Aim: a reader that has seen enough is no failure, a full disc is one, and neither is a panic. Method: pipes whose
    // other end is closed, for data and for both outputs; a device that is always full.
    let server = Server::start(&[]);
    server.says(&["table", "create", "t", "-a", "id:int"]);
    server.says(&["put", "t", "1"]);
    let mut query = program(&["query", "SELECT * FROM t", "--addr", &server.addr]).spawn().expect("it runs");
    drop(query.stdout.take());
    let ended = query.wait_with_output().expect("it ends");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let mut shell = program(&["shell", "--addr", &server.addr]).spawn().expect("it runs");
    drop((shell.stdout.take(), shell.stderr.take()));
    let script = "SELECT * FROM t;\nSELECT nonsense;\n\\d\n".repeat(3);
    // It may have ended before it has read all.
    drop(shell.stdin.take().expect("it is piped").write_all(script.as_bytes()));
    let ended = shell.wait().expect("it ends");
    assert!(matches!(ended.code(), Some(0 | 1)), "{ended:?}");
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    for arguments in [&["serve", "--client", "127.0.0.1:0"][..], &["table", "list", "--addr", &server.addr]] {
        let ended = program(arguments).stdout(full()).output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("hmn: No space left"), "{said}");
    }
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    // Aim: a typing error is not taken for a member that is away. Method: each kind of wrong word, its exit code and hint.
    let cases: [(&[&str], i32, &str); 8] = [
        (&["status", "--addr", "127.0.0.1:99999"], 2, "HOST:PORT"),
        (&["status", "--addr", "127.0.0.1"], 2, "HOST:PORT"),
        (
            &["serve", "--name", "n1", "--client", "127.0.0.1:0", "--members", "n1=foo"],
            1,
            "n1=foo: HOST:PORT",
        ),
        (&["import", "t", "-", "--format", "table"], 2, "csv and json"),
        (&[], 2, "Commands:"),
        (&["table"], 2, "rename"),
        (&["sequence", "--format", "json"], 2, "reset"),
        (&["serve", "--client", "localhost:0"], 2, "127.0.0.1:7400"),
    ];
    for (arguments, code, hint) in cases {
        let ended = hmn(arguments, "");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(hint) && !said.contains("bench-member"), "{arguments:?}: {said}");
        assert!(!said.contains('\u{1b}'), "nobody looks at colours: {said:?}");
    }
    let bare = program(&[]).env("HMN_ADDR", "127.0.0.1:7400").output().expect("it runs");
    let said = String::from_utf8_lossy(&bare.stderr).into_owned();
    assert!(
        bare.status.code() == Some(2) && said.contains("Commands:") && !said.contains("bench-member"),
        "{said}"
    );
}

#[test]
fn a_connection_that_ends_before_the_answer_leaves_open_what_happened() {
    // Aim: nobody takes a lost answer for a refusal. Method: a listener that closes as soon as the statement has come.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound").to_string();
    let closing = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        let (mut seen, mut bytes) = (Vec::new(), [0; 1024]);
        while !seen.windows(6).any(|word| word == b"DELETE") {
            let read = stream.read(&mut bytes).expect("it sends");
            assert!(read > 0, "it sends the statement");
            seen.extend_from_slice(&bytes[..read]);
        }
    });
    let ended = hmn(&["query", "DELETE FROM t", "--addr", &addr], "");
    closing.join().expect("it has seen the statement");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains(&addr) && said.contains("may or may not have been applied"), "{said}");
}

#[test]
fn a_shell_whose_member_is_gone_says_where_it_was() {
    // Aim: what could not be sent is told as that, with the address. Method: a statement, kill the member, more of them; the
    // first ones may still find the old connection.
    let mut server = Server::start(&[]);
    let mut shell = program(&["shell", "--addr", &server.addr, "--format", "csv"]).spawn().expect("it runs");
    let mut typed = shell.stdin.take().expect("it is piped");
    let mut shown = BufReader::new(shell.stdout.take().expect("it is piped"));
    let mut said = BufReader::new(shell.stderr.take().expect("it is piped"));
    typed.write_all(b"SELECT 1 AS one;\n").expect("it reads");
    let mut lines = String::new();
    while lines.lines().count() < 2 {
        assert!(shown.read_line(&mut lines).expect("it answers") > 0, "{lines}");
    }
    server.child.kill().expect("it runs");
    server.child.wait().expect("it ends");
    let nobody_there = format!("{}: cannot connect", server.addr);
    let mut told = String::new();
    said.read_line(&mut told).expect("it greets");
    for _ in 0..100 {
        typed.write_all(b"SELECT 2;\n").expect("it reads");
        told.clear();
        said.read_line(&mut told).expect("it says what happened");
        assert!(told.starts_with(&format!("{}: ", server.addr)), "{told}");
        if told.contains(&nobody_there) {
            break;
        }
    }
    drop(typed);
    assert!(told.contains(&nobody_there), "{told}");
    assert_eq!(shell.wait().expect("it ends").code(), Some(1));
}

#[test]
fn members_and_copies_are_named_where_they_are_wanted() {
    // Aim: whoever asks a member for what it cannot give, or names one that is not there, is told the right ones. Method: two
    // members, a table on one of them; rows are read on the other one all the same, a stream of all of them is not.
    let list = members(2);
    let start = |name: &str| Server::start(&["--name", name, "--members", &list]);
    let (one, two) = (start("n1"), start("n2"));
    [&one, &two].into_iter().for_each(|server| drop(server.says(&["status", "--wait", WAIT])));
    let create = |copies: &str| {
        let ended = one.hmn(&["table", "create", "t", "-a", "id:int", "--copies", copies]);
        (ended.status.success(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (made, said) = create("n1,n1");
    assert!(!made && said.contains("\"n1\" is named twice"), "{said}");
    let (made, said) = create("n1,n7");
    assert!(!made && said.contains("no member \"n7\"; there are n1, n2"), "{said}");
    assert!(create("n1").0);
    one.says(&["put", "t", "1"]);
    let shown = one.hmn(&["table", "show", "t"]);
    let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(shown.contains("set") && shown.contains("key id") && shown.contains("n1: ram"), "{shown}");
    assert_eq!(two.says(&["get", "t", "1", "--format", "csv"]), "id\n1\n");
    let ended = two.hmn(&["export", "t"]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && said.contains("n1"), "{said}");
}
