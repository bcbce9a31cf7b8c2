//! A disc that takes 200 kB a second, and what goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hypermnesia_store::disc::Crash;

use super::between::{Before, Between};
use super::until::until;
use crate::{Ack, DiscOptions, Error, Storage, TableDef, TxOptions, Type, Value};

/// Of faults 15.
const BYTES_PER_SECOND: u64 = 200_000;

/// Makes every byte that is written take its time, one write after the other, as a disc does.
#[derive(Debug, Default)]
struct Slowness {
    is_slow: AtomicBool,
    /// Bytes that were slow.
    bytes: AtomicU64,
    turn: parking_lot::Mutex<()>,
}

impl Before for Slowness {
    fn write(&self, _name: &str, bytes: usize) {
        if self.is_slow.load(Ordering::Relaxed) {
            let _turn = self.turn.lock();
            thread::sleep(Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND as f64));
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn sync(&self, _name: &str) {
        if self.is_slow.load(Ordering::Relaxed) {
            drop(self.turn.lock());
        }
    }
}

/// Makes it fast again at the end, also of a test that fails: a node writes what is left when it goes.
struct Ends(Arc<Slowness>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.is_slow.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_slow_disc_slows_only_those_who_wait_for_it() {
    // Aim: faults 15: beside a disc of 200 kB/s tables in memory are served as ever, whoever waits for it has his answer by his
    // deadline and leaves no lock, and what was acknowledged as synced survives a power cut. Method: writers of rows of 2 kB
    // at level `synced`, to keys of their own and to one they share, with a deadline that the shared one often misses, for as
    // long as another thread takes for its rows in memory; then each key is written once more, and the power goes.
    const WRITERS: i64 = 4;
    const SHARED: i64 = -1;
    const IN_MEMORY: i64 = 3_000;
    let slow = Between::<Slowness>::default();
    let node = slow.node(DiscOptions::new().segment_bytes(64 << 10).checkpoint_bytes(128 << 10));
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int);
    let def = def.attribute("filler", Type::Bytes).ack(Ack::Synced).copy(node.id(), Storage::Disc);
    let rows = node.create_table(def).expect("new");
    let memory = node.create_table(TableDef::builder("ram").attribute("id", Type::Int)).expect("new");
    let row = |id: i64, n: i64| [Value::Int(id), Value::Int(n), Value::Bytes(vec![7; 2_000])];
    slow.before.is_slow.store(true, Ordering::Relaxed);
    let ends = Ends(Arc::clone(&slow.before));
    let (beside, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let acknowledged = thread::scope(|scope| {
        let writer = |id: i64| {
            let (node, rows, row, beside, done) = (&node, &rows, &row, &beside, &done);
            scope.spawn(move || {
                let (mut last, hurried) = (0, TxOptions::new().deadline(Duration::from_millis(30)));
                for n in 1.. {
                    rows.insert(&row(id, n)).expect("slow, and written");
                    last = n;
                    beside.fetch_add(1, Ordering::Relaxed);
                    let told = node.transaction_with(&hurried, |tx| tx.insert(rows, &row(SHARED, n)));
                    let is_known = matches!(
                        told,
                        Ok(())
                            | Err(Error::Unknown { .. } | Error::Conflict { .. } | Error::DeadlineExceeded)
                    );
                    assert!(is_known, "{told:?}");
                    if done.load(Ordering::Relaxed) {
                        return last;
                    }
                }
                last
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        for id in 0..IN_MEMORY {
            memory.insert(&[Value::Int(id)]).expect("no disc is asked");
            assert!(memory.get(&[Value::Int(id)]).expect("served").is_some());
        }
        until(|| beside.load(Ordering::Relaxed) >= 2 * WRITERS as u64);
        done.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("it ends")).collect::<Vec<_>>()
    });
    assert_eq!(memory.len(), Ok(IN_MEMORY as u64));
    assert!(slow.before.bytes.load(Ordering::Relaxed) > 10_000, "the disc was slow");
    drop(ends);
    rows.insert(&row(SHARED, 0)).expect("no lock is left");
    let left = Between::<Slowness>::over(slow.disc.crash(Crash::DropUnsynced));
    let restarted = left.node(DiscOptions::new());
    let again = restarted.dyn_table("t").expect("kept");
    for (id, last) in (0..).zip(acknowledged) {
        let kept = again.get(&[Value::Int(id)]).expect("served").expect("it was acknowledged");
        assert_eq!(kept[1], Value::Int(last), "writer {id}");
    }
    assert_eq!(again.get(&[Value::Int(SHARED)]), Ok(Some(row(SHARED, 0).to_vec())));
}
