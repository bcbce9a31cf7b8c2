//! What is wrong with a message.

use hypermnesia_rpc::limits::{HALF_MESSAGES_BYTES_MAX, MESSAGE_BYTES_MAX};
use hypermnesia_rpc::{Value, proto};
use prost::Message;

use crate::victim::{SERVED_WITHIN, Victim};
use crate::wire::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PAYLOAD_MAX, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire,
    call, envelope, frame,
};

const BATCH_PUT: &str = "/hypermnesia.v1.Tables/BatchPut";

/// A write of two rows to the table that nobody may change.
fn write() -> Vec<u8> {
    let row = |id: &str| proto::Row { values: vec![Value::from(id).into(), Value::from(1).into()] };
    let rows = vec![row("alice"), row("eve")];
    proto::BatchPutRequest { table: "accounts".into(), rows, ..Default::default() }.encode_to_vec()
}

fn enveloped(message: &[u8]) -> Vec<u8> {
    [&envelope(message.len() as u32)[..], message].concat()
}

/// A call of the write with this instead of its message.
fn called(stream: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &call(BATCH_PUT));
    for part in data.chunks(PAYLOAD_MAX) {
        bytes.extend(frame(DATA, 0, stream, part));
    }
    bytes.extend(frame(DATA, END_STREAM, stream, &[]));
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_that_is_broken_below_is_a_good_one() {
    // Aim: what the next test refuses would change rows if it were whole. Method: it is.
    let victim = Victim::with_places(8).await;
    let mut wire = Wire::greeting(victim.address());
    wire.say(&called(1, &enveloped(&write())));
    assert!(wire.answered(1, SERVED_WITHIN));
    let accounts = victim.served.client.table("accounts");
    assert_eq!(accounts.get_one("alice").await.expect("read"), Some(vec!["alice".into(), 1.into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_broken_is_refused_and_its_connection_stays() {
    // Aim: nothing of a broken message is applied, also when it begins well. Method: a write that would be done if it were
    // whole, cut at every byte, with half a field behind it, and in envelopes that are wrong.
    let victim = Victim::with_places(8).await;
    let (write, mut broken) = (write(), Vec::new());
    let whole = enveloped(&write);
    for cut in 1..whole.len() {
        broken.push((format!("cut at byte {cut}"), whole[..cut].to_vec()));
    }
    // Whole rows, and then half of one: a message that ends in its midst has no valid beginning.
    for more in
        [&[0x12, 200][..], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[0xff], &[0x13]]
    {
        broken.push((format!("{more:?} behind its rows"), enveloped(&[&write, more].concat())));
    }
    broken.push(("4 GiB said".into(), [&envelope(u32::MAX)[..], &write].concat()));
    broken.push(("one byte too many said".into(), envelope(MESSAGE_BYTES_MAX as u32 + 1)));
    broken.push(("compressed, it says".into(), [&[1], &whole[1..]].concat()));
    broken.push(("another kind of envelope".into(), [&[7], &whole[1..]].concat()));
    broken.push(("nothing".into(), Vec::new()));
    broken.push(("text that is none".into(), enveloped(&[0x0a, 2, 0xc3, 0x28])));
    let mut wire = Wire::greeting(victim.address());
    for (n, (what, data)) in broken.iter().enumerate() {
        let stream = 2 * n as u32 + 1;
        wire.say(&called(stream, data));
        assert!(!wire.answered(stream, SERVED_WITHIN), "{what}: it was carried out");
    }
    assert!(wire.pings(SERVED_WITHIN), "the connection stays");
    victim.unchanged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_bound_is_refused_before_it_is_read() {
    // Aim: the length alone is enough to refuse it. Method: four times the bound is said, nothing follows, and the call
    // stays open.
    let victim = Victim::with_places(8).await;
    let mut wire = Wire::greeting(victim.address());
    wire.say(&frame(HEADERS, END_HEADERS, 1, &call(BATCH_PUT)));
    wire.say(&frame(DATA, 0, 1, &envelope(4 * MESSAGE_BYTES_MAX as u32)));
    assert!(!wire.answered(1, SERVED_WITHIN));
    assert!(wire.pings(SERVED_WITHIN), "the connection stays");
    victim.unchanged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_reset_before_its_end_changes_nothing() {
    // Aim: as above, for calls that never end. Method: whole but for its last byte, a thousand times.
    let victim = Victim::with_places(8).await;
    let whole = enveloped(&write());
    let mut wire = Wire::greeting(victim.address());
    for stream in (1..2_000).step_by(2) {
        wire.say(&frame(HEADERS, END_HEADERS, stream, &call(BATCH_PUT)));
        wire.say(&frame(DATA, 0, stream, &whole[..whole.len() - 1]));
        wire.say(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    wire.pings(SERVED_WITHIN);
    victim.unchanged().await;
}

/// Sends so much of a message of the greatest length, as the server gives room; whether the call was refused meanwhile.
fn refused_half_way(wire: &mut Wire, stream: u32, most: usize) -> bool {
    wire.say(&frame(HEADERS, END_HEADERS, stream, &call(BATCH_PUT)));
    wire.say(&frame(DATA, 0, stream, &envelope(MESSAGE_BYTES_MAX as u32)));
    // Half of what the server grants at first, so that the beginning of the message fits too.
    let (mut sent, mut granted) = (0, 1 << 19);
    while sent < most {
        while sent < granted {
            wire.say(&frame(DATA, 0, stream, &[0x1a; PAYLOAD_MAX]));
            sent += PAYLOAD_MAX;
        }
        let frame = wire.hear(SERVED_WITHIN).expect("the connection stays");
        match frame.kind {
            WINDOW_UPDATE if frame.stream == stream => {
                granted += u32::from_be_bytes(frame.payload[..4].try_into().expect("four")) as usize;
            }
            HEADERS | RST_STREAM if frame.stream == stream => return true,
            _ => {}
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_never_whole_have_bounded_room() {
    // Aim: a client that answers pings does not fill the memory with the beginnings of messages, and gives the room back
    // when it goes. Method: messages of the greatest length, each whole but for its last MiB, until one is refused; again by
    // another client when the first is gone.
    let victim = Victim::with_places(8).await;
    let most = MESSAGE_BYTES_MAX - (1 << 20);
    let fit = HALF_MESSAGES_BYTES_MAX / most;
    for _ in 0..2 {
        let mut wire = Wire::greeting(victim.address());
        // Its settings come first; behind them it opens the window of the connection.
        while wire.hear(SERVED_WITHIN).expect("it greets").kind != WINDOW_UPDATE {}
        wire.say(&frame(SETTINGS, ACK, 0, &[]));
        let refused = (0..=fit as u32).position(|n| refused_half_way(&mut wire, 2 * n + 1, most));
        // Frames are not cut to size, so each takes a little more.
        assert!(refused.is_some_and(|n| n <= fit && n + 2 >= fit), "{refused:?} of {fit} fit");
        victim.is_served().await;
        assert!(wire.pings(SERVED_WITHIN), "the connection stays");
        drop(wire);
        // Whole messages need room too while they come.
        let rows: Vec<_> = (0..9_000).map(|n| (format!("{n:0200}"), n)).collect();
        let deadline = std::time::Instant::now() + 4 * SERVED_WITHIN;
        while victim.served.client.table("beside").put_many(rows.clone()).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "the room comes back");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    victim.unchanged().await;
}
