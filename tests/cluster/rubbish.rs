//! Whatever comes to a peer port without TLS from who is no member.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hypermnesia::{TableDef, Type, Value};

use crate::trio::Trio;

/// Who says nothing is closed after three seconds.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// What is sent: some of it is seen to be wrong at once, of some the rest is waited for.
fn rubbish() -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(20);
    let mut all: Vec<Vec<u8>> = (0..60)
        .map(|_| {
            let count = random.usize(1..5_000);
            (0..count).map(|_| random.u8(..)).collect()
        })
        .collect();
    // Lengths that claim everything, in either order of bytes, and nothing at all.
    all.push(vec![0xff; 64]);
    all.push(vec![0; 64]);
    all.push([&0xffff_ff00_u32.to_be_bytes()[..], &[7; 40_000]].concat());
    all.push([&0x7fff_ffff_u32.to_le_bytes()[..], &[7; 40_000]].concat());
    // Other protocols.
    all.push(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec());
    all.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    all.push([&[22, 3, 1, 2, 0, 1][..], &[0; 512]].concat());
    all
}

/// Whether the other end has closed it, or does so before it has to.
fn is_closed(mut socket: &TcpStream) -> bool {
    socket.set_read_timeout(Some(CLOSED_WITHIN)).expect("it is not nothing");
    let mut answer = Vec::new();
    let ended = Read::by_ref(&mut socket).take(100_000).read_to_end(&mut answer);
    let waits = |error: std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    answer.len() < 100_000 && !ended.is_err_and(waits)
}

#[test]
fn rubbish_and_silence_at_a_peer_port_cost_nobody_anything() {
    // Aim: faults rows 19 and 20 at the port for members: who is none takes no place and no memory that they need, is closed,
    // and no member is lost for it. Method: bytes at random, lengths that claim everything and other protocols, at each member,
    // beside connections that say nothing or stop in the middle; writes all the while, in one epoch from beginning to end.
    let trio = Trio::start();
    let def = TableDef::builder("t").attribute("id", Type::Int);
    let table = trio.node(0).create_table(def).expect("all members are up");
    let epoch = trio.node(0).status().epoch;
    let stop = AtomicBool::new(false);
    let addresses = trio.addresses();
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut id = 0;
            while !stop.load(Ordering::Relaxed) {
                table.insert(&[Value::Int(id)]).expect("no member is lost");
                id += 1;
            }
            id
        });
        let mut silent = Vec::new();
        for (_, address) in &addresses {
            for bytes in rubbish() {
                let mut socket = TcpStream::connect(address).expect("it listens");
                // It may be closed before all of it has gone.
                drop(socket.write_all(&bytes));
                silent.push(socket);
            }
            silent.push(TcpStream::connect(address).expect("it listens"));
        }
        // All are closed by the other end, those that say nothing too.
        let left = silent.into_iter().filter(|socket| !is_closed(socket)).count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(left, 0, "so many connections stay open");
        writer.join().expect("it writes")
    });
    assert!(written > 0);
    for at in 0..3 {
        let node = trio.node(at);
        node.wait_for_members(Duration::from_secs(10)).expect("all are there");
        assert_eq!(node.status().epoch, epoch, "no member was lost by it");
        let rows = node.dyn_table("t").expect("created").to_vec().expect("served");
        assert_eq!(rows.len(), written as usize);
    }
}
