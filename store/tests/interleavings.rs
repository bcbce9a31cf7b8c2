//! The protocols between writers and readers that lock nothing, step by step in random orders that a scheduler can choose:
//! models of a few lines each, with the names of `version`, `txn` and `cells`, run by shuttle. A model has the same loads,
//! stores and exchanges as the code, in the same order, and nothing else.
//!
//! What this shows and what not: shuttle interleaves steps but every step is seen at once by all, so mistakes in the order
//! of steps are found here, and mistakes in the memory orderings by miri (see docs/trust.md).
//!
//! Three mistakes are planted on purpose and must be caught: a stamp that is stored without a look at the floor, a proposal
//! that is drawn before the marks are placed, and a tag that is stored before its place. Each test with a plant runs the same model as the test of the protocol.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use shuttle::{check_pct, check_random, hint, thread};

/// Schedules of each test: some seconds together.
const SCHEDULES: usize = 2_000;
/// Changes of mind at the worst moment that a schedule may have (Burckhardt et al., A Randomized Scheduler, 2010).
const DEPTH: usize = 4;

fn every_order(model: impl Fn() + Send + Sync + Clone + 'static) {
    check_random(model.clone(), SCHEDULES);
    check_pct(model, SCHEDULES, DEPTH);
}

fn is_caught(model: impl Fn() + Send + Sync + Clone + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| every_order(model))).is_err()
}

#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    /// The stamp is stored, whatever floor was left in it.
    StampWithoutFloor,
    /// The timestamp is proposed before the marks are placed.
    ProposedFirst,
    /// The tag is stored before the place.
    TagFirst,
}

const FLOOR: u64 = 1 << 63;

fn is_timestamp(stamp: u64) -> bool {
    stamp != 0 && stamp & FLOOR == 0
}

/// The clock: a read-modify-write draws, a load is a snapshot.
struct Clock(AtomicU64);

impl Clock {
    fn propose(&self) -> u64 {
        self.0.fetch_add(1, SeqCst) + 1
    }

    fn read(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

/// A key with a version for each value from 1 on; value 0 is there from the beginning, at timestamp 1.
struct Chain {
    /// The value on top.
    head: AtomicUsize,
    stamps: [AtomicU64; 3],
}

impl Chain {
    fn new() -> Chain {
        Chain { head: AtomicUsize::new(0), stamps: [1, 0, 0].map(AtomicU64::new) }
    }

    /// `Cell::place` and `Version::commit_single`.
    fn write(&self, value: usize, clock: &Clock, planted: Planted) {
        self.head.store(value, SeqCst);
        let stamp = &self.stamps[value];
        loop {
            let at = clock.propose();
            if planted == Planted::StampWithoutFloor {
                return stamp.store(at, SeqCst);
            }
            let mut seen = stamp.load(SeqCst);
            while seen & !FLOOR < at {
                match stamp.compare_exchange(seen, at, SeqCst, SeqCst) {
                    Ok(_) => return,
                    Err(newer) => seen = newer,
                }
            }
        }
    }

    /// `Version::keep_above`.
    fn keep_above(&self, value: usize, snapshot: u64) -> Option<u64> {
        let mut seen = self.stamps[value].load(SeqCst);
        loop {
            if is_timestamp(seen) {
                return Some(seen);
            }
            if seen & !FLOOR >= snapshot {
                return None;
            }
            match self.stamps[value].compare_exchange(seen, FLOOR | snapshot, SeqCst, SeqCst) {
                Ok(_) => return None,
                Err(newer) => seen = newer,
            }
        }
    }

    /// `Cell::read`.
    fn read(&self, snapshot: u64) -> usize {
        let mut value = self.head.load(SeqCst);
        loop {
            let stamp = self.stamps[value].load(SeqCst);
            let at = if is_timestamp(stamp) { Some(stamp) } else { self.keep_above(value, snapshot) };
            if at.is_some_and(|at| at <= snapshot) {
                return value;
            }
            value -= 1;
        }
    }

    /// `Table::latest`: what is on top when it is committed, else the newest at the clock, again when that moved.
    fn latest(&self, clock: &Clock) -> usize {
        let top = self.head.load(SeqCst);
        if is_timestamp(self.stamps[top].load(SeqCst)) {
            return top;
        }
        loop {
            let now = clock.read();
            let seen = self.read(now);
            let top = self.head.load(SeqCst);
            let newest = (0..=top).rev().find(|value| is_timestamp(self.stamps[*value].load(SeqCst)));
            if newest.is_none_or(|value| self.stamps[value].load(SeqCst) <= now) {
                return seen;
            }
        }
    }
}

/// A writer of two keys, one behind the other, and readers of both kinds. Neither side waits: the model has no lock, and a
/// loop in it goes round again only when another thread has made a step.
fn singles(planted: Planted) {
    let keys = Arc::new(([Chain::new(), Chain::new()], Clock(AtomicU64::new(1))));
    let writer = {
        let keys = Arc::clone(&keys);
        thread::spawn(move || {
            for value in 1..3 {
                keys.0.iter().for_each(|key| key.write(value, &keys.1, planted));
            }
        })
    };
    let newest = {
        let keys = Arc::clone(&keys);
        thread::spawn(move || {
            let (first, clock) = (&keys.0[0], &keys.1);
            let (before, behind) = (first.latest(clock), first.latest(clock));
            assert!(before <= behind, "the newest went back");
            assert!(first.read(clock.read()) >= behind, "a snapshot is behind what was shown before it");
        })
    };
    let ([first, second], clock) = (&keys.0, &keys.1);
    let snapshot = clock.read();
    let (b, a) = (second.read(snapshot), first.read(snapshot));
    assert!(a == b || a == b + 1, "a snapshot has write {b} of the second key and write {a} of the first");
    assert_eq!((second.read(snapshot), first.read(snapshot)), (b, a), "a snapshot changed");
    writer.join().expect("it does not panic");
    newest.join().expect("it does not panic");
    assert_eq!((second.read(snapshot), first.read(snapshot)), (b, a), "a snapshot changed behind the writer");
    assert_eq!((first.latest(clock), second.latest(clock)), (2, 2));
}

#[test]
fn single_operations_are_at_one_time_for_all_readers() {
    // Aim: a snapshot that has the second of two writes has the first, and reads the same twice; the newest never goes
    // back and no later snapshot is behind it. Method: the model in random orders.
    every_order(|| singles(Planted::Nothing));
}

#[test]
fn a_stamp_that_ignores_its_floor_is_caught() {
    assert!(is_caught(|| singles(Planted::StampWithoutFloor)));
}

const NOT_DRAWN: u64 = 0;
const DRAWING: u64 = u64::MAX;

/// A transaction with a mark on each of two keys, and whether it is marked.
#[derive(Default)]
struct Marks {
    marks: [AtomicUsize; 2],
    proposal: AtomicU64,
    status: AtomicU64,
}

impl Marks {
    /// `Store::commit_local`: marks, `Txn::draw`, the status word.
    fn commit(&self, clock: &Clock, early: bool) {
        if !early {
            self.marks.iter().for_each(|mark| mark.store(1, SeqCst));
        }
        self.proposal.store(DRAWING, SeqCst);
        let at = clock.propose();
        self.proposal.store(at, SeqCst);
        if early {
            self.marks.iter().for_each(|mark| mark.store(1, SeqCst));
        }
        self.status.store(at, SeqCst);
    }

    /// What a snapshot sees of a key: the new value or not, or that it has to wait for the outcome.
    fn read(&self, key: usize, snapshot: u64) -> Option<bool> {
        if self.marks[key].load(SeqCst) == 0 {
            return Some(false);
        }
        let status = self.status.load(SeqCst);
        if status != 0 {
            return Some(status <= snapshot);
        }
        loop {
            match self.proposal.load(SeqCst) {
                NOT_DRAWN => return Some(false),
                DRAWING => hint::spin_loop(),
                at if at <= snapshot => return None,
                _ => return Some(false),
            }
        }
    }
}

fn marks(planted: Planted) {
    let early = planted == Planted::ProposedFirst;
    let shared = Arc::new((Marks::default(), Clock(AtomicU64::new(1))));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || shared.0.commit(&shared.1, early))
    };
    let (marks, clock) = (&shared.0, &shared.1);
    let snapshot = clock.read();
    let seen = [marks.read(0, snapshot), marks.read(1, snapshot)];
    writer.join().expect("it does not panic");
    let then = [marks.read(0, snapshot), marks.read(1, snapshot)];
    assert_eq!(then[0], then[1], "half of a transaction");
    for (seen, then) in seen.into_iter().zip(then) {
        assert!(seen.is_none() || seen == then, "a snapshot changed");
    }
}

#[test]
fn a_transaction_is_seen_whole_by_snapshots_taken_while_it_draws() {
    // Aim: a mark without a proposal is above every snapshot that meets it; one with a proposal at or below is waited for.
    // Method: the model in random orders; then with the proposal drawn before the marks are placed, which must be caught.
    every_order(|| marks(Planted::Nothing));
    assert!(is_caught(|| marks(Planted::ProposedFirst)));
}

/// A shard with one place, its tag, and room for longer groups behind it. A cell is its key; 0 is none, which no tag leads
/// to. Cells that were freed are remembered.
struct Shard {
    groups: AtomicUsize,
    tags: [AtomicU64; 2],
    places: [AtomicUsize; 2],
    /// Readers inside, at each time of entering: what the collector waits for.
    inside: AtomicUsize,
    freed: AtomicUsize,
}

const REMOVED: u64 = 1;

impl Shard {
    fn new() -> Shard {
        Shard {
            groups: AtomicUsize::new(0),
            tags: Default::default(),
            places: Default::default(),
            inside: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
        }
    }

    /// `Groups::put`. All keys have the same tag.
    fn put(&self, cell: usize, planted: Planted) {
        let at = self.groups.load(SeqCst);
        if planted == Planted::TagFirst {
            self.tags[at].store(0x80, SeqCst);
        }
        self.places[at].store(cell, SeqCst);
        self.tags[at].store(0x80, SeqCst);
    }

    /// `Cells::remove`: the place still names the cell. It is freed at once when no reader is inside.
    fn remove(&self, cell: usize) {
        self.tags[self.groups.load(SeqCst)].store(REMOVED, SeqCst);
        if self.inside.load(SeqCst) == 0 {
            self.freed.fetch_or(1 << cell, SeqCst);
        }
    }

    /// `Cells::grow`, of a shard with one cell.
    fn grow(&self, cell: usize) {
        self.places[1].store(cell, SeqCst);
        self.tags[1].store(0x80, SeqCst);
        self.groups.store(1, SeqCst);
    }

    /// `Cells::get` under a guard.
    fn get(&self, key: usize) -> bool {
        self.inside.store(1, SeqCst);
        let at = self.groups.load(SeqCst);
        let mut found = false;
        if self.tags[at].load(SeqCst) & 0x80 != 0 {
            let cell = self.places[at].load(SeqCst);
            assert!(cell != 0, "a tag without a cell");
            assert_eq!(self.freed.load(SeqCst) & (1 << cell), 0, "cell {cell} was freed");
            found = cell == key;
        }
        self.inside.store(0, SeqCst);
        found
    }
}

fn hash(planted: Planted) {
    let shard = Arc::new(Shard::new());
    let done = Arc::new(AtomicUsize::new(0));
    let writer = {
        let (shard, done) = (Arc::clone(&shard), Arc::clone(&done));
        thread::spawn(move || {
            shard.put(1, planted);
            shard.remove(1);
            shard.put(2, planted);
            done.store(1, SeqCst);
            shard.grow(2);
            shard.remove(2);
            shard.put(3, planted);
            done.store(2, SeqCst);
        })
    };
    for _ in 0..3 {
        let before = done.load(SeqCst);
        let (second, third) = (shard.get(2), shard.get(3));
        let behind = done.load(SeqCst);
        assert!(before != 2 || (third && !second), "the third cell is lost, or the second came back");
        assert!(behind != 0 || !third, "a cell before it was put");
    }
    writer.join().expect("it does not panic");
    assert!(shard.get(3) && !shard.get(2) && !shard.get(1));
}

#[test]
fn no_cell_is_lost_or_found_after_it_was_freed() {
    // Aim: who finds a tag finds its cell or a later one, alive, while cells come and go in one place and the shard grows.
    // Method: the model in random orders.
    every_order(|| hash(Planted::Nothing));
}

#[test]
fn a_tag_before_its_place_is_caught() {
    assert!(is_caught(|| hash(Planted::TagFirst)));
}
