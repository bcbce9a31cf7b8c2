//! A node with one table on disc, of 1 M rows of a u64 key, 100 bytes and a small integer: how long a new process takes until
//! it serves them again, a backup of them, and a restore of that backup over them. The shapes of `benches/peers/bulk.sh`, which
//! does the same with Mnesia. One JSON line per figure and repetition: `cargo bench --bench bulk`, with `PEER_RECORDS`,
//! `PEER_REPS` and `PEER_DIR` (the disc; default the directory of temporary files) as there.
//!
//! A repetition is two processes of this program: the first fills the table and ends as a node does that is closed, the second
//! is measured. Nothing was synced on purpose between rows, and everything is before the clock begins. What the restart reads is
//! what the first process left: the image, and the log as far as no checkpoint had taken it (64 MiB or so by default).

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hypermnesia::backup::{BackupOptions, RestoreOptions};
use hypermnesia::{Node, NodeId, Record, Storage};

/// Rows of one filling transaction.
const FILLED_AT_ONCE: u64 = 1000;
/// How long the table may take to be there.
const LOADED_WITHIN: Duration = Duration::from_secs(600);

type Failed = Box<dyn std::error::Error>;

#[derive(Clone, Record)]
#[record(table = "bulk_rows")]
struct Bulk {
    #[record(key)]
    key: u64,
    value: Vec<u8>,
    small: i64,
}

impl Bulk {
    fn new(key: u64) -> Bulk {
        let mut value = vec![0; 100];
        value[..8].copy_from_slice(&key.to_be_bytes());
        Bulk { key, value, small: (key % 1000) as i64 }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// First process: the table, filled, in a directory that is let go of.
fn fill(home: &Path, records: u64) -> Result<(), Failed> {
    let node = Node::builder().data_dir(home).build()?;
    let definition = Bulk::definition().copy(NodeId::of_name(node.name()), Storage::Disc);
    let table = node.create_table(definition)?.of::<Bulk>()?;
    for first in (0..records).step_by(FILLED_AT_ONCE as usize) {
        let rows: Vec<_> = (first..records.min(first + FILLED_AT_ONCE)).map(Bulk::new).collect();
        table.insert_many(&rows)?;
    }
    node.close();
    Ok(())
}

/// Second process: the figures.
fn measure(home: &Path, records: u64) -> Result<(), Failed> {
    let disc_bytes = bytes_in(home)?;
    rustix::fs::sync();
    let began = Instant::now();
    let node = Node::builder().data_dir(home).build()?;
    node.wait_for_tables(&[Bulk::TABLE], LOADED_WITHIN)?;
    let table = node.table::<Bulk>()?;
    check(table.len()? == records, "rows after the restart")?;
    line("restart", records, began.elapsed(), disc_bytes);

    let file = home.with_extension("hmb");
    rustix::fs::sync();
    let began = Instant::now();
    let made = node.backup(&file, &BackupOptions::new())?;
    line("backup", records, began.elapsed(), made.file_bytes);
    check(made.rows == records, "rows in the backup")?;

    table.delete(&1)?;
    table.insert(&Bulk::new(records))?;
    rustix::fs::sync();
    let began = Instant::now();
    node.restore(&[&file], &RestoreOptions::new())?;
    line("restore", records, began.elapsed(), made.file_bytes);
    let restored = table.len()? == records && table.contains(&1)? && !table.contains(&records)?;
    check(restored, "rows after the restore")?;
    node.close();
    Ok(())
}

fn check(holds: bool, what: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("wrong {what}").into()) }
}

fn line(workload: &str, records: u64, took: Duration, disc_bytes: u64) {
    let (seconds, load) = (took.as_secs_f64(), std::fs::read_to_string("/proc/loadavg").unwrap_or_default());
    let rate = records as f64 / seconds;
    println!(
        "{{\"peer\":\"hypermnesia\",\"workload\":\"{workload}\",\"threads\":1,\"nodes\":1,\"ops_per_s\":{rate:.0},\"p50_us\":null,\
         \"p99_us\":null,\"bytes_per_record\":null,\"ops_min\":{rate:.0},\"ops_max\":{rate:.0},\"reps\":1,\"loadavg\":{},\
         \"storage\":\"disc\",\"records\":{records},\"ms\":{:.1},\"disc_bytes\":{disc_bytes}}}",
        load.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("null"),
        seconds * 1000.0,
    );
}

/// Of all files of a directory.
fn bytes_in(directory: &Path) -> io::Result<u64> {
    std::fs::read_dir(directory)?.try_fold(0, |sum, entry| {
        let about = entry?.metadata()?;
        Ok(sum + if about.is_dir() { 0 } else { about.len() })
    })
}

/// One repetition, in a directory of its own.
fn repetition(records: u64) -> Result<(), Failed> {
    let parent = std::env::var_os("PEER_DIR").map_or_else(std::env::temp_dir, Into::into);
    let directory = tempfile::Builder::new().prefix("bulk").tempdir_in(parent)?;
    for part in ["fill", "measure"] {
        let mut child = Command::new(std::env::current_exe()?);
        child.env("PEER_PART", part).env("PEER_HOME", directory.path().join("n1"));
        let ended = child.env("PEER_RECORDS", records.to_string()).status()?;
        check(ended.success(), &format!("end of the process that had to {part}: {ended}"))?;
    }
    Ok(())
}

fn main() -> Result<(), Failed> {
    let test = std::env::args().any(|argument| argument == "--test");
    let records = number("PEER_RECORDS", if test { 2_000 } else { 1_000_000 });
    let home = std::env::var_os("PEER_HOME").unwrap_or_default();
    match std::env::var("PEER_PART").as_deref() {
        Ok("fill") => fill(home.as_ref(), records),
        Ok("measure") => measure(home.as_ref(), records),
        _ => (0..number("PEER_REPS", if test { 1 } else { 3 })).try_for_each(|_| repetition(records)),
    }
}
