//! Aim: whoever says nothing keeps nobody out and does not stay. Method: more silent connections than there are places, and
//! ones that stop speaking at different points, beside a real client.

use std::time::{Duration, Instant};

use hypermnesia::Node;
use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::Client;
use hypermnesia_rpc::limits::{GREETING_WAIT_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STRANGERS_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::served::Served;

const PLACES: usize = 2;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn served() -> Served {
    Served::bounded(Node::builder().name("n1").build().expect("an embedded node needs nothing"), PLACES).await
}

/// A connection that says this and no more.
async fn saying(served: &Served, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(&served.address).await.expect("the port is open");
    socket.write_all(bytes).await.expect("it is new");
    socket
}

/// How long it takes until the server closes a connection.
async fn closed_within(mut socket: TcpStream, time: Duration) -> Duration {
    let begin = Instant::now();
    let mut bytes = [0; 1024];
    // An error is an end too.
    let ended = async { while matches!(socket.read(&mut bytes).await, Ok(1..)) {} };
    timeout(time, ended).await.expect("it is closed");
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_no_client_out_and_are_closed() {
    let served = served().await;
    let mut silent = Vec::new();
    for _ in 0..3 * STRANGERS_MAX {
        silent.push(saying(&served, b"").await);
    }
    let begin = Instant::now();
    let client = Client::connect(&served.address).await.expect("the port is open");
    client.status().await.expect("answered");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let last = silent.pop().expect("there are many");
    for socket in silent.drain(..STRANGERS_MAX) {
        // Newer ones took their places.
        closed_within(socket, Duration::from_secs(3)).await;
    }
    closed_within(last, 2 * GREETING_WAIT_MAX).await;
    served.client.status().await.expect("an earlier client goes on");
    drop(client);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_place_is_turned_away_until_one_goes() {
    let served = served().await;
    let second = Client::connect(&served.address).await.expect("the port is open");
    second.status().await.expect("the last place");
    let third = Client::connect(&served.address).await.expect("the port is open");
    let error = third.status().await.expect_err("every place is taken");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    drop(second);
    let until = Instant::now() + Duration::from_secs(30);
    while third.status().await.is_err() {
        assert!(Instant::now() < until, "the place is free");
    }
    drop(third);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_speaking_is_closed_whereever_that_is() {
    let served = served().await;
    let other = saying(&served, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        closed_within(other, GREETING_WAIT_MAX).await < GREETING_WAIT_MAX / 2,
        "it speaks something else"
    );
    let half = saying(&served, &PREFACE[..10]).await;
    closed_within(half, 2 * GREETING_WAIT_MAX).await;
    // It has a place, and never answers when it is asked whether it is there.
    let greeted = saying(&served, PREFACE).await;
    closed_within(greeted, 2 * (KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT)).await;
    served.stop().await;
}
