//! The page of metrics over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::program::{Server, hmn};

/// What is answered to these bytes.
fn asked(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    stream.write_all(bytes.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn numbers_are_served_to_who_reads_metrics() {
    // Aim: `--metrics` answers with the page, wrong questions with what is wrong, and silent readers keep nobody out for good.
    // Method: raw HTTP; then more silent connections and half questions than there are places, and one reader behind them.
    let server = Server::start(&["--metrics", "127.0.0.1:0"]);
    let address = server.ready["metrics"].as_str().expect("it says where").to_owned();
    server.says(&["table", "create", "t", "-a", "id:int", "--key", "id"]);
    server.says(&["put", "t", "1"]);
    let page = asked(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"), "{page}");
    assert!(page.contains("hypermnesia_table_rows{table=\"t\"} 1\n"), "{page}");
    for (question, code) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
        ("what is this\r\n\r\n", "400"),
    ] {
        let answer = asked(&address, question);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{question:?}: {answer:?}");
    }
    let silent: Vec<_> = (0..80)
        .map(|n| {
            let mut stream = TcpStream::connect(&address).expect("it listens");
            if n % 2 == 0 {
                stream.write_all(b"GET /metrics HTT").expect("it reads");
            }
            stream
        })
        .collect();
    assert!(asked(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200"));
    drop(silent);
    let open = hmn(&["serve", "--client", "127.0.0.1:0", "--metrics", "0.0.0.0:0"], "");
    let said = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(!open.status.success() && said.contains("--insecure"), "{said}");
}
