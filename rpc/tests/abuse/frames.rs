//! What is wrong before there is a message.

use std::time::Duration;

use hypermnesia_rpc::client::Client;
use hypermnesia_rpc::limits::{GREETING_WAIT_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

use crate::victim::{SERVED_WITHIN, Victim};
use crate::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PAYLOAD_MAX, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, Wire, call, field, frame, head,
};

const PUT: &str = "/hypermnesia.v1.Tables/Put";

/// One more than the places that are left: whoever does not give its place back keeps the last one out.
const TIMES: usize = 4;
const PLACES: usize = 2 + TIMES - 1;

/// What closes a connection at once.
fn closing() -> Vec<(&'static str, Vec<u8>)> {
    let greeted = |rest: &[Vec<u8>]| [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[]), rest.concat()].concat();
    let part = frame(CONTINUATION, 0, 1, &field("x-more", &"y".repeat(100)));
    let begun = frame(HEADERS, 0, 1, &call(PUT));
    let mut flood = vec![begun.clone()];
    flood.extend(std::iter::repeat_n(part, 50_000));
    let mut empty = vec![begun.clone()];
    empty.extend(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]), 50_000));
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        ("noise", noise.clone()),
        ("another protocol", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("noise behind the preface", [PREFACE.to_vec(), noise].concat()),
        ("settings of another length", greeted(&[frame(SETTINGS, 0, 0, &[0; 5])])),
        ("a frame that is too long", greeted(&[frame(0xee, 0, 0, &vec![0; PAYLOAD_MAX + 1])])),
        ("the head of the longest frame", greeted(&[head(0x00ff_ffff, HEADERS, END_HEADERS, 1)])),
        ("another frame within a header block", greeted(&[begun.clone(), frame(PING, 0, 0, b"whatever")])),
        ("a flood of continuations", greeted(&flood)),
        ("a flood of empty continuations", greeted(&empty)),
        ("a continuation of nothing", greeted(&[frame(CONTINUATION, END_HEADERS, 1, &call(PUT))])),
        ("headers that decode to nothing", greeted(&[frame(HEADERS, END_HEADERS, 1, &[0xff; 64])])),
        ("a stream that only a server opens", greeted(&[frame(HEADERS, END_HEADERS, 2, &call(PUT))])),
        ("data of a stream that was not opened", greeted(&[frame(DATA, END_STREAM, 7, &[0; 5])])),
        ("a window without end", greeted(&[frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_http2_is_closed_and_gives_its_place_back() {
    // Aim: nothing that breaks HTTP/2 takes a place for longer than it takes to see it. Method: each more often than there
    // are places, then a client that needs one.
    let victim = Victim::with_places(PLACES).await;
    for (what, bytes) in closing() {
        for _ in 0..TIMES {
            let mut wire = Wire::saying(victim.address(), &bytes).called(what);
            let reason = wire.closed(GREETING_WAIT_MAX / 2);
            assert_ne!(reason, Some(0), "{what}: closed as if all was well");
        }
        victim.is_served().await;
    }
    let client = Client::connect(victim.address()).await.expect("the port is open");
    client.status().await.expect("there is a place");
    drop(client);
    victim.unchanged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_within_a_frame_is_closed() {
    // Aim: half of something holds nothing for longer than keepalive takes. Method: all at once, listened to until keepalive finds that they do not answer, which they cannot within a frame.
    let victim = Victim::with_places(64).await;
    let greeting = [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    let open = frame(HEADERS, END_HEADERS, 1, &call(PUT));
    let silent = [
        (
            "half a frame of settings",
            [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[0; 12])[..13].to_vec()].concat(),
        ),
        ("half the head of a frame", [greeting.clone(), head(8, PING, 0, 0)[..5].to_vec()].concat()),
        ("half a header block", [greeting.clone(), frame(HEADERS, 0, 1, &call(PUT)[..40])].concat()),
        ("half a frame of headers", [greeting.clone(), open[..30].to_vec()].concat()),
        ("half a frame of data", [greeting, open, head(100, DATA, 0, 1), vec![0; 50]].concat()),
    ];
    let mut wires: Vec<_> =
        silent.iter().map(|(what, bytes)| Wire::saying(victim.address(), bytes).called(what)).collect();
    for wire in &mut wires {
        wire.closed(2 * (KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT));
        victim.is_served().await;
    }
    victim.unchanged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_opened_and_reset_cost_no_one_else_anything() {
    // Aim: rapid resets. Method: ten times as many streams as a connection takes at a time, in one go; then the connection is
    // closed for it, or still answers. Then the same with every stream beginning a message.
    let victim = Victim::with_places(PLACES).await;
    for begun in [&[][..], &[0, 0, 0, 0, 100, 1, 2, 3]] {
        for _ in 0..TIMES {
            let mut wire = Wire::greeting(victim.address());
            for stream in (1..20_000).step_by(2) {
                let open = frame(HEADERS, END_HEADERS, stream, &call(PUT));
                let data = frame(DATA, 0, stream, begun);
                let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                wire.say(&[open, data, reset].concat());
            }
            wire.pings(SERVED_WITHIN);
            victim.is_served().await;
        }
    }
    let client = Client::connect(victim.address()).await.expect("the port is open");
    client.status().await.expect("there is a place");
    assert_eq!(victim.served.node.status().locks, (0, 0), "nothing is left of them");
    drop(client);
    victim.unchanged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_whose_answers_nobody_reads_are_bounded() {
    // Aim: answers are not piled up. Method: pings and settings without end from somebody who never reads, until the server takes no more of them.
    let victim = Victim::with_places(PLACES).await;
    for question in [frame(PING, 0, 0, b"whatever"), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])] {
        let mut wire = Wire::greeting(victim.address());
        wire.socket.set_write_timeout(Some(Duration::from_millis(500))).expect("more than nothing");
        let many = question.repeat(10_000);
        let taken =
            (0..4_000).take_while(|_| std::io::Write::write_all(&mut wire.socket, &many).is_ok()).count();
        assert!(taken < 4_000, "it took {} MiB of questions", (taken * many.len()) >> 20);
        victim.is_served().await;
    }
    victim.unchanged().await;
}
