//! Durable commits of one row (a u64 key, 100 bytes and a small integer) from closed loops: `redb_alone` commits each in redb
//! itself; `raw_log` appends it to a file that is allocated and written once over, and syncs for all who wait at a time
//! (group commit), which is what the disc allows. One JSON line per figure, as ../README.md has it.
//! Settings, by environment: `PEER_DIR` (target of the files, default the current directory), `PEER_CLIENTS` (64),
//! `PEER_SECONDS` (3), `PEER_REPS` (3), `PEER_RECORDS` (100000).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};

const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");
/// Key, value, integer.
const RECORD: usize = 8 + 100 + 8;
/// The log's file: longer than a run fills.
const LOG_BYTES: u64 = 256 * 1024 * 1024;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn record(key: u64) -> [u8; RECORD] {
    let mut record = [7; RECORD];
    record[..8].copy_from_slice(&key.to_be_bytes());
    record
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A log whose waiters are synced together: one of them writes and syncs for all that came before.
struct Log {
    file: File,
    state: Mutex<State>,
    synced: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Bytes handed in, and bytes that are safe.
    taken: u64,
    safe: u64,
    syncing: bool,
}

impl Log {
    fn create(path: &Path) -> Log {
        let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).expect("a new file");
        let zeros = vec![0; 1024 * 1024];
        (0..LOG_BYTES / zeros.len() as u64).for_each(|_| file.write_all(&zeros).expect("there is room"));
        rustix::fs::fdatasync(&file).expect("it can be synced");
        Log { file, state: Mutex::default(), synced: Condvar::new() }
    }

    fn commit(&self, record: &[u8]) {
        let mut state = self.state.lock().expect("no panic inside");
        state.waiting.extend_from_slice(record);
        state.taken += record.len() as u64;
        let mine = state.taken;
        while state.safe < mine {
            if state.syncing {
                state = self.synced.wait(state).expect("no panic inside");
                continue;
            }
            state.syncing = true;
            let (bytes, from) = (std::mem::take(&mut state.waiting), state.safe);
            drop(state);
            self.file.write_all_at(&bytes, from % (LOG_BYTES - bytes.len() as u64)).expect("written");
            rustix::fs::fdatasync(&self.file).expect("synced");
            state = self.state.lock().expect("no panic inside");
            state.safe = from + bytes.len() as u64;
            state.syncing = false;
            self.synced.notify_all();
        }
    }
}

/// Commits per second of closed loops.
fn drive(clients: u64, window: Duration, commit: &(dyn Fn(u64) + Sync), records: u64) -> f64 {
    let (stop, count, begin) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for seed in 0..clients {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !stop.load(Ordering::Relaxed) {
                    commit(random.below(records));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(window);
        stop.store(true, Ordering::Relaxed);
    });
    count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

fn figure(workload: &str, clients: u64, commit: &(dyn Fn(u64) + Sync)) {
    let seconds = std::env::var("PEER_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let window = Duration::from_secs_f64(seconds);
    let records = number("PEER_RECORDS", 100_000);
    let mut rates: Vec<f64> =
        (0..number("PEER_REPS", 3).max(1)).map(|_| drive(clients, window, commit, records)).collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "{{\"peer\":\"disc\",\"workload\":\"{workload}\",\"threads\":{clients},\"nodes\":1,\"ops_per_s\":{:.0},\"p50_us\":null,\
         \"p99_us\":null,\"bytes_per_record\":null,\"ops_min\":{:.0},\"ops_max\":{:.0},\"reps\":{}}}",
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        rates.len()
    );
}

fn main() {
    let dir = std::env::var_os("PEER_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let clients = number("PEER_CLIENTS", 64);
    let (image, log) = (dir.join("peer-disc.redb"), dir.join("peer-disc.log"));
    let database = Database::create(&image).expect("a new database");
    figure("redb_alone", clients, &|key| {
        let writing = database.begin_write().expect("one at a time");
        writing.open_table(ROWS).expect("a table").insert(key, &record(key)[8..]).expect("it fits");
        writing.commit().expect("durable");
    });
    drop(database);
    let raw = Log::create(&log);
    figure("raw_log", clients, &|key| raw.commit(&record(key)));
    drop(raw);
    for file in [image, log] {
        if let Err(error) = std::fs::remove_file(&file) {
            eprintln!("{}: {error}", file.display());
        }
    }
}
