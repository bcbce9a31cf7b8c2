//! Bare concurrent maps of Rust, holding a handle per record as a table would give one out. They keep no versions,
//! take no part in transactions and keep no second order: they bound what a table can reach, on the same keys and
//! records, in the same run. One JSON line per figure on stdout; workloads as in ../README.md.
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[path = "../../keys.rs"]
mod keys;

use keys::{SCATTERED_MAX, scattered, zipf};

type Hasher = foldhash::fast::FixedState;
type Handle = Arc<Record>;

struct Record {
    value: [u8; 100],
    small: i64,
}

fn record(key: u64, small: i64) -> Handle {
    let mut value = [0; 100];
    value[..8].copy_from_slice(&key.to_be_bytes());
    Arc::new(Record { value, small })
}

trait Map: Send + Sync {
    fn put(&self, key: u64, handle: Handle);
    fn get(&self, key: u64) -> Option<Handle>;
    fn add(&self, key: u64) -> i64;
    /// Collects up to `count` handles from `key` on; `None` where the map has no order.
    fn range(&self, key: u64, count: usize) -> Option<Vec<Handle>>;
    /// Collects the handles whose key passes a guard that one in a hundred passes.
    fn scan(&self) -> Vec<Handle>;
}

fn passes(key: u64) -> bool {
    key % 1000 < 10
}

struct Papaya(papaya::HashMap<u64, Handle, Hasher>);
impl Map for Papaya {
    fn put(&self, key: u64, handle: Handle) {
        self.0.pin().insert(key, handle);
    }
    fn get(&self, key: u64) -> Option<Handle> {
        self.0.pin().get(&key).cloned()
    }
    fn add(&self, key: u64) -> i64 {
        let map = self.0.pin();
        map.update(key, |r| Arc::new(Record { value: r.value, small: r.small + 1 })).map_or(0, |r| r.small)
    }
    fn range(&self, _: u64, _: usize) -> Option<Vec<Handle>> {
        None
    }
    fn scan(&self) -> Vec<Handle> {
        self.0.pin().iter().filter(|(k, _)| passes(**k)).map(|(_, r)| r.clone()).collect()
    }
}

struct SccHash(scc::HashMap<u64, Handle, Hasher>);
impl Map for SccHash {
    fn put(&self, key: u64, handle: Handle) {
        self.0.upsert_sync(key, handle);
    }
    fn get(&self, key: u64) -> Option<Handle> {
        self.0.read_sync(&key, |_, r| r.clone())
    }
    fn add(&self, key: u64) -> i64 {
        let next = |r: &mut Handle| {
            *r = Arc::new(Record { value: r.value, small: r.small + 1 });
            r.small
        };
        self.0.update_sync(&key, |_, r| next(r)).unwrap_or(0)
    }
    fn range(&self, _: u64, _: usize) -> Option<Vec<Handle>> {
        None
    }
    fn scan(&self) -> Vec<Handle> {
        let mut found = Vec::new();
        self.0.iter_sync(|k, r| {
            if passes(*k) {
                found.push(r.clone());
            }
            true
        });
        found
    }
}

struct Dash(dashmap::DashMap<u64, Handle, Hasher>);
impl Map for Dash {
    fn put(&self, key: u64, handle: Handle) {
        self.0.insert(key, handle);
    }
    fn get(&self, key: u64) -> Option<Handle> {
        self.0.get(&key).map(|r| r.clone())
    }
    fn add(&self, key: u64) -> i64 {
        self.0.get_mut(&key).map_or(0, |mut r| {
            *r = Arc::new(Record { value: r.value, small: r.small + 1 });
            r.small
        })
    }
    fn range(&self, _: u64, _: usize) -> Option<Vec<Handle>> {
        None
    }
    fn scan(&self) -> Vec<Handle> {
        self.0.iter().filter(|e| passes(*e.key())).map(|e| e.value().clone()).collect()
    }
}

struct LockedBTree(parking_lot::RwLock<BTreeMap<u64, Handle>>);
impl Map for LockedBTree {
    fn put(&self, key: u64, handle: Handle) {
        self.0.write().insert(key, handle);
    }
    fn get(&self, key: u64) -> Option<Handle> {
        self.0.read().get(&key).cloned()
    }
    fn add(&self, key: u64) -> i64 {
        self.0.write().get_mut(&key).map_or(0, |r| {
            *r = Arc::new(Record { value: r.value, small: r.small + 1 });
            r.small
        })
    }
    fn range(&self, key: u64, count: usize) -> Option<Vec<Handle>> {
        Some(self.0.read().range(key..).take(count).map(|(_, r)| r.clone()).collect())
    }
    fn scan(&self) -> Vec<Handle> {
        self.0.read().iter().filter(|(k, _)| passes(**k)).map(|(_, r)| r.clone()).collect()
    }
}

struct SccTree(scc::TreeIndex<u64, Handle>);
impl Map for SccTree {
    fn put(&self, key: u64, handle: Handle) {
        self.0.upsert_sync(key, handle);
    }
    fn get(&self, key: u64) -> Option<Handle> {
        self.0.peek_with(&key, |_, r| r.clone())
    }
    fn add(&self, key: u64) -> i64 {
        let Some(r) = self.get(key) else { return 0 };
        let next = Arc::new(Record { value: r.value, small: r.small + 1 });
        let small = next.small;
        self.put(key, next); // not atomic: a bound on speed only
        small
    }
    fn range(&self, key: u64, count: usize) -> Option<Vec<Handle>> {
        let guard = scc::Guard::new();
        Some(self.0.range(key.., &guard).take(count).map(|(_, r)| r.clone()).collect())
    }
    fn scan(&self) -> Vec<Handle> {
        let guard = scc::Guard::new();
        self.0.iter(&guard).filter(|(k, _)| passes(**k)).map(|(_, r)| r.clone()).collect()
    }
}

/// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)
struct Random(u64);
impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 32) * bound) >> 32
    }
}

/// What a closed loop chooses keys with.
struct Choices {
    random: Random,
    /// Where it is among the keys of Zipf's law.
    at: usize,
}

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn next_of(&mut self, keys: &[u32]) -> u64 {
        self.at = (self.at + 1) % keys.len();
        keys[self.at].into()
    }
}

struct Settings {
    records: u64,
    window: Duration,
    reps: usize,
    zipf: Vec<u32>,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Operations per second of `threads` closed loops.
fn drive(threads: usize, window: Duration, batch: usize, work: &(dyn Fn(&mut Choices) + Sync)) -> f64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|t| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut choices = Choices { random: Random(t as u64 * 7919 + 17), at: t * 524_287 };
                    let (mut count, begin) = (0usize, Instant::now());
                    while !stop.load(Ordering::Relaxed) {
                        (0..batch).for_each(|_| work(&mut choices));
                        count += batch;
                    }
                    count as f64 / begin.elapsed().as_secs_f64()
                })
            })
            .collect();
        std::thread::sleep(window);
        stop.store(true, Ordering::Relaxed);
        loops.into_iter().map(|l| l.join().expect("a loop panicked")).sum()
    })
}

fn fill(map: &dyn Map, threads: u64, records: u64) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for t in 0..threads {
            scope.spawn(move || {
                for i in (t..records).step_by(threads as usize) {
                    let key = scattered(i, records);
                    map.put(key, record(key, (key % 1000) as i64));
                }
            });
        }
    });
    records as f64 / begin.elapsed().as_secs_f64()
}

fn line(peer: &str, workload: &str, threads: usize, settings: &Settings, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    println!(
        "{{\"peer\":\"{peer}\",\"workload\":\"{workload}\",\"threads\":{threads},\"nodes\":1,\"ops_per_s\":{:.0},\"p50_us\":null,\"p99_us\":null,\
         \"bytes_per_record\":null,\"ops_min\":{:.0},\"ops_max\":{:.0},\"reps\":{},\"records\":{}}}",
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        rates.len(),
        settings.records
    );
}

fn figures(peer: &str, threads: usize, settings: &Settings, new: &dyn Fn() -> Box<dyn Map>) {
    let n = settings.records;
    let fills: Vec<_> = (0..settings.reps)
        .map(|_| {
            let map = new();
            (fill(&*map, threads as u64, n), map)
        })
        .collect();
    line(peer, "insert", threads, settings, fills.iter().map(|f| f.0).collect());
    let map = fills.into_iter().next().expect("at least one repetition").1;
    let map = &*map;
    let timed = |workload: &str, batch: usize, work: &(dyn Fn(&mut Choices) + Sync)| {
        let rates = (0..settings.reps).map(|_| drive(threads, settings.window, batch, work)).collect();
        line(peer, workload, threads, settings, rates);
    };
    let put = |r: &mut Choices| {
        let key = r.below(n);
        map.put(key, record(key, 1));
    };
    let get = |r: &mut Choices| {
        black_box(map.get(r.below(n)).map(|h| h.value[7]));
    };
    timed("lookup_uniform", 32, &get);
    timed("lookup_zipf", 32, &|r| {
        black_box(map.get(r.next_of(&settings.zipf)).map(|h| h.value[7]));
    });
    for (workload, share) in [("mixed_95_5", 95), ("mixed_50_50", 50)] {
        timed(workload, 32, &|r| if r.below(100) < share { get(r) } else { put(r) });
    }
    timed("update_counter", 32, &|r| {
        black_box(map.add(r.below(n)));
    });
    if map.range(0, 1).is_some() {
        timed("range100", 1, &|r| {
            black_box(map.range(r.below(n - 101), 100));
        });
    }
    timed("select_guard_1pct_full", 1, &|_| {
        black_box(map.scan());
    });
}

fn main() {
    let records = number("PEER_RECORDS", 1_000_000);
    assert!(records <= SCATTERED_MAX, "at most {SCATTERED_MAX} records can be scattered");
    let settings = Settings {
        records,
        zipf: zipf(records),
        window: Duration::from_millis(number("PEER_MS", 400)),
        reps: number("PEER_REPS", 3).max(1) as usize,
    };
    for threads in [1, 2] {
        figures("papaya", threads, &settings, &|| Box::new(Papaya(papaya::HashMap::default())));
        figures("scc_hash", threads, &settings, &|| Box::new(SccHash(scc::HashMap::default())));
        figures("dashmap", threads, &settings, &|| Box::new(Dash(dashmap::DashMap::default())));
        figures("locked_btree", threads, &settings, &|| Box::new(LockedBTree(Default::default())));
        figures("scc_tree", threads, &settings, &|| Box::new(SccTree(scc::TreeIndex::new())));
    }
}
