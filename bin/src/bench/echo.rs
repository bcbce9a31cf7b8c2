//! The bare socket that bounds a commit: a blocking echo of 128 bytes over loopback, client and server a thread each.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;

const MESSAGE_BYTES: usize = 128;
/// Longest round trip told apart, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

/// The median round trip of one window, in microseconds.
pub(crate) fn median_us(window: Duration) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (server, _) = listener.accept()?;
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || serve(server));
        let median = ask(&mut client, window);
        drop(client);
        echo.join().map_err(|_| anyhow!("the echo's thread panicked"))??;
        median
    })
}

fn serve(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut bytes = [0; MESSAGE_BYTES];
    // The client closing its end is the end.
    while socket.read_exact(&mut bytes).is_ok() {
        socket.write_all(&bytes)?;
    }
    Ok(())
}

fn ask(socket: &mut TcpStream, window: Duration) -> Result<f64> {
    let mut took = Histogram::<u64>::new_with_max(LONGEST_NS, 3)?;
    let mut bytes = [7; MESSAGE_BYTES];
    let until = Instant::now() + window;
    loop {
        let began = Instant::now();
        socket.write_all(&bytes)?;
        socket.read_exact(&mut bytes)?;
        let ended = Instant::now();
        took.saturating_record((ended - began).as_nanos() as u64);
        if ended >= until {
            return Ok(took.value_at_quantile(0.5) as f64 / 1000.0);
        }
    }
}
