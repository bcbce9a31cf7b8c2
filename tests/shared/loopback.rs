//! Ports for servers that are stopped and started again. On 127.0.0.1 the system hands a port that was let go of to whoever
//! connects to somewhere next; nobody connects from an address of the loopback network that only one test knows.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// This many free ports of one such address. Where the system has only 127.0.0.1, of that.
pub(crate) fn free_ports(count: usize) -> Vec<TcpListener> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own =
        Ipv4Addr::new(127, 64 + high % 128, low, 1 + (TAKEN.fetch_add(1, Ordering::Relaxed) % 250) as u8);
    let host = if TcpListener::bind((own, 0)).is_ok() { own } else { Ipv4Addr::LOCALHOST };
    (0..count).map(|_| TcpListener::bind((host, 0)).expect("there is a free port")).collect()
}
