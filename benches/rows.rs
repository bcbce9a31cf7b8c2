//! Operations on single rows of one node, in the shapes of `benches/peers` (1 M rows of a u64 key, 100 bytes and a small
//! integer), beside the maps of `benches/peers/maps` and ETS. One JSON line per figure on the standard output:
//! `cargo bench --bench rows`, with `PEER_RECORDS`, `PEER_MS` and `PEER_REPS` as there, `PEER_KINDS`
//! (`set,ordered_set`), and `PEER_ONLY` for a part of a workload's name. A read gives a counted handle of the row, as the maps do; a counter adds to one attribute
//! and gives the sum, as ETS does.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hypermnesia::{Node, Record, Row, Span, Table, ValueRef};

#[path = "peers/keys.rs"]
mod keys;

use keys::{SCATTERED_MAX, scattered, zipf};

#[derive(Record)]
#[record(table = "set")]
struct InSet {
    #[record(key)]
    key: u64,
    value: Vec<u8>,
    small: i64,
}

#[derive(Record)]
#[record(table = "ordered", kind = "ordered_set")]
struct Ordered {
    #[record(key)]
    key: u64,
    value: Vec<u8>,
    small: i64,
}

/// A record of either table.
trait Keyed: Record<Key = u64> + Sync {
    fn of(key: u64, small: i64) -> Self;
}

fn value(key: u64) -> Vec<u8> {
    let mut value = vec![0; 100];
    value[..8].copy_from_slice(&key.to_be_bytes());
    value
}

impl Keyed for InSet {
    fn of(key: u64, small: i64) -> InSet {
        InSet { key, value: value(key), small }
    }
}

impl Keyed for Ordered {
    fn of(key: u64, small: i64) -> Ordered {
        Ordered { key, value: value(key), small }
    }
}

/// One key in a hundred.
fn passes(row: &Row) -> bool {
    matches!(row.attribute(0), ValueRef::Int(key) if key % 1000 < 10)
}

/// What a closed loop chooses keys with.
struct Choices {
    random: fastrand::Rng,
    /// Where it is among the keys of Zipf's law.
    at: usize,
}

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.u64(0..bound)
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
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Operations per second of `threads` closed loops.
fn drive(threads: usize, window: Duration, batch: usize, work: &(dyn Fn(&mut Choices) + Sync)) -> f64 {
    let stop = AtomicBool::new(false);
    let one = |seed: usize| {
        let mut choices = Choices { random: fastrand::Rng::with_seed(seed as u64), at: seed * 524_287 };
        let (mut count, begin) = (0_usize, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            (0..batch).for_each(|_| work(&mut choices));
            count += batch;
        }
        count as f64 / begin.elapsed().as_secs_f64()
    };
    let one = &one;
    std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads).map(|seed| scope.spawn(move || one(seed))).collect();
        std::thread::sleep(window);
        stop.store(true, Ordering::Relaxed);
        loops.into_iter().map(|each| each.join().expect("a loop does not panic")).sum()
    })
}

fn line(workload: &str, table: &str, threads: usize, settings: &Settings, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    println!(
        "{{\"peer\":\"hypermnesia\",\"workload\":\"{workload}\",\"table\":\"{table}\",\"threads\":{threads},\"nodes\":1,\
         \"ops_per_s\":{:.0},\"p50_us\":null,\"p99_us\":null,\"bytes_per_record\":null,\"ops_min\":{:.0},\"ops_max\":{:.0},\
         \"reps\":{},\"records\":{}}}",
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        rates.len(),
        settings.records
    );
}

fn fill<R: Keyed>(table: &Table<R>, threads: u64, records: u64) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for n in (thread..records).step_by(threads as usize) {
                    let key = scattered(n, records);
                    table.insert(&R::of(key, (key % 1000) as i64)).expect("it fits");
                }
            });
        }
    });
    records as f64 / begin.elapsed().as_secs_f64()
}

fn figures<R>(threads: usize, settings: &Settings)
where
    R: Keyed + hypermnesia::shape::Shape<Given = R, Shown = R> + hypermnesia::shape::ShapeKey<u64>,
{
    let n = settings.records;
    let fills: Vec<_> = (0..settings.reps)
        .map(|_| {
            let node = Node::builder().build().expect("an embedded node needs nothing");
            let table = node.create_table_of::<R>().expect("it is new");
            (fill(&table, threads as u64, n), node, table)
        })
        .collect();
    line("insert", R::TABLE, threads, settings, fills.iter().map(|fill| fill.0).collect());
    let (_, node, table) = fills.into_iter().next().expect("at least one repetition");
    let only = std::env::var("PEER_ONLY").unwrap_or_default();
    let timed = |workload: &str, batch: usize, work: &(dyn Fn(&mut Choices) + Sync)| {
        if !workload.contains(&only) {
            return;
        }
        let rates = (0..settings.reps).map(|_| drive(threads, settings.window, batch, work)).collect();
        line(workload, R::TABLE, threads, settings, rates);
    };
    let get = |choices: &mut Choices| {
        black_box(table.view(&choices.below(n), Row::clone).expect("it is there"));
    };
    let put = |choices: &mut Choices| table.insert(&R::of(choices.below(n), 1)).expect("it fits");
    timed("lookup_uniform", 32, &get);
    timed("lookup_zipf", 32, &|choices| {
        black_box(table.view(&choices.next_of(&settings.zipf), Row::clone).expect("it is there"));
    });
    for (workload, share) in [("mixed_95_5", 95), ("mixed_50_50", 50)] {
        timed(workload, 32, &|choices| if choices.below(100) < share { get(choices) } else { put(choices) });
    }
    timed("update_counter", 32, &|choices| {
        black_box(table.increment(&choices.below(n), "small", 1).expect("it is there"));
    });
    if R::TABLE == "ordered" {
        timed("range100", 1, &|choices| {
            let span = table.span(choices.below(n - 101)..).expect("a key").limit(100);
            let mut rows = Vec::with_capacity(100);
            let snapshot = node.snapshot().expect("it serves");
            let keep = |row: &Row| {
                rows.push(row.clone());
                ControlFlow::Continue(())
            };
            snapshot.each_stored(&table, &span, keep).expect("nothing is in the way");
            black_box(rows);
        });
    }
    for (workload, keeps) in [("select_guard_1pct_full", true), ("select_count_full", false)] {
        timed(workload, 1, &|_| {
            let (mut rows, mut count) = (Vec::new(), 0_u64);
            let snapshot = node.snapshot().expect("it serves");
            let look = |row: &Row| {
                if passes(row) {
                    count += 1;
                    rows.extend(keeps.then(|| row.clone()));
                }
                ControlFlow::Continue(())
            };
            snapshot.each_stored(&table, &Span::all(), look).expect("nothing is in the way");
            black_box((rows, count));
        });
    }
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let records = number("PEER_RECORDS", if test { 1_000 } else { 1_000_000 });
    assert!(records <= SCATTERED_MAX, "at most {SCATTERED_MAX} records can be scattered");
    let settings = Settings {
        records,
        zipf: zipf(records),
        window: Duration::from_millis(number("PEER_MS", if test { 5 } else { 400 })),
        reps: number("PEER_REPS", if test { 1 } else { 3 }).max(1) as usize,
    };
    let kinds = std::env::var("PEER_KINDS").unwrap_or_else(|_| "set,ordered_set".to_owned());
    let kinds: Vec<_> = kinds.split(',').map(str::trim).collect();
    let unknown = kinds.iter().find(|kind| !["set", "ordered_set"].contains(*kind));
    assert!(unknown.is_none(), "PEER_KINDS: {unknown:?} is neither set nor ordered_set");
    let wanted = |kind: &str| kinds.contains(&kind);
    for threads in [1, 2] {
        if wanted("set") {
            figures::<InSet>(threads, &settings);
        }
        if wanted("ordered_set") {
            figures::<Ordered>(threads, &settings);
        }
    }
}
