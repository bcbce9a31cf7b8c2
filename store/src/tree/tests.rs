//! The tree beside a `BTreeMap`, under threads, and beside the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, Ordering};

use seize::Collector;

use super::*;
use crate::key::KeyRange;
use crate::table::Direction;

/// Counts what this thread has asked for and not given back.
struct Counting;

thread_local! {
    static HELD: std::cell::Cell<isize> = const { std::cell::Cell::new(0) };
}

fn held() -> isize {
    HELD.get()
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| held.set(held.get() + layout.size() as isize));
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get() - layout.size() as isize));
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that look like chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn number(n: u64) -> Key {
    Key::of_whole(n as i64).expect("small")
}

/// Long, with the same beginning for some: where the difference comes late separators are long too.
fn long(n: u64) -> Key {
    Key::from_encoded(format!("a beginning that many share {}/{n:08}", n % 3).as_bytes())
}

/// Short and long ones among each other, beginnings of others, zeros.
fn mixed(n: u64) -> Key {
    let bytes: Vec<u8> = (0..n % 40).map(|at| if at % 7 == 6 { (n / 40) as u8 } else { 0 }).collect();
    Key::from_encoded(&[&bytes[..], &(n / 40).to_be_bytes()[6..]].concat())
}

fn cell(key: &Key) -> CellRef {
    CellRef::new(Cell::new(key.clone()))
}

fn bound(dice: &mut Dice, key: Key) -> Bound<Key> {
    match dice.below(5) {
        0 | 1 => Bound::Included(key),
        2 | 3 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    }
}

/// What a walk shows, at most so many.
fn shown(
    tree: &Tree,
    range: &KeyRange,
    direction: Direction,
    most: usize,
    guard: &LocalGuard<'_>,
) -> Vec<(Key, *const Cell)> {
    let mut shown = Vec::new();
    walk_tree(tree, range, direction, guard, |key, cell| {
        shown.push((key.clone(), &raw const *cell));
        Ok(if shown.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
    .expect("showing does not fail");
    shown
}

struct Beside {
    tree: Tree,
    known: BTreeMap<Key, CellRef>,
    collector: Collector,
}

impl Beside {
    fn new() -> Beside {
        Beside { tree: Tree::new(), known: BTreeMap::new(), collector: Collector::new() }
    }

    fn change(&mut self, key: &Key, put: bool) {
        let guard = self.collector.enter();
        if put {
            let cell = cell(key);
            let is_new = self.tree.put(key, &cell, &guard);
            assert_eq!(is_new, self.known.insert(key.clone(), cell).is_none());
        } else {
            assert_eq!(self.tree.remove(key, &guard), self.known.remove(key).is_some());
        }
    }

    fn look(&self, dice: &mut Dice, key: Key, other: Key) {
        let guard = self.collector.enter();
        let found = self.tree.get(&key, &guard).map(|cell| &raw const *cell);
        assert_eq!(found, self.known.get(&key).map(CellRef::as_ptr));
        let range = KeyRange { start: bound(dice, key), end: bound(dice, other) };
        let most = 1 + dice.below(100) as usize;
        let entry = |(key, cell): (&Key, &CellRef)| (key.clone(), CellRef::as_ptr(cell));
        let forward = shown(&self.tree, &range, Direction::Forward, most, &guard);
        let backward = shown(&self.tree, &range, Direction::Backward, most, &guard);
        if range.is_empty() {
            return assert!(forward.is_empty() && backward.is_empty());
        }
        let known = || self.known.range::<Key, _>((range.start.as_ref(), range.end.as_ref())).map(entry);
        assert_eq!(forward, known().take(most).collect::<Vec<_>>());
        assert_eq!(backward, known().rev().take(most).collect::<Vec<_>>());
    }

    fn check(&self) {
        let guard = self.collector.enter();
        let nodes = self.tree.check();
        let all = shown(&self.tree, &KeyRange::all(), Direction::Forward, usize::MAX, &guard);
        assert!(all.iter().map(|(key, _)| key).eq(self.known.keys()));
        // Leaves that few entries are left in have been joined, up to those that stand beside full ones.
        assert!(nodes <= 2 + self.known.len() / 2, "{nodes} nodes for {} entries", self.known.len());
    }
}

const KINDS: [fn(u64) -> Key; 3] = [number, long, mixed];

#[test]
fn it_says_the_same_as_a_map() {
    // Aim: no entry is lost, left over or out of order, whatever comes and goes, and every range is walked from both ends.
    // Method: a map beside it; keys short, long and mixed, few and many, while the tree grows and while it shrinks.
    let mut dice = Dice(1);
    for kind in KINDS {
        for space in [20, 300, 30_000] {
            let mut beside = Beside::new();
            for round in 0..if cfg!(miri) { 6 } else { 40 } {
                for _ in 0..if cfg!(miri) { 60 } else { 3_000 } {
                    let key = kind(dice.below(space));
                    let put = dice.below(10) < if round % 4 < 2 { 8 } else { 1 };
                    beside.change(&key, put);
                    if dice.below(10) == 0 {
                        let (key, other) = (kind(dice.below(space)), kind(dice.below(space)));
                        beside.look(&mut dice, key, other);
                    }
                }
                beside.check();
            }
            for key in beside.known.keys().cloned().collect::<Vec<_>>() {
                beside.change(&key, false);
            }
            beside.check();
            assert_eq!(beside.tree.check(), 1, "one empty leaf is left");
        }
    }
}

#[test]
fn keys_in_order_fill_its_leaves() {
    // Aim: keys that come in ascending or descending order, alone or in several rows at a time, take the memory of full
    // leaves. Method: count nodes.
    let keys: u64 = if cfg!(miri) { 200 } else { 6_000 };
    for (rows, descending) in [(1, false), (1, true), (5, false), (5, true)] {
        let (tree, collector) = (Tree::new(), Collector::new());
        let cell = cell(&number(0));
        for n in 0..keys {
            let n = if descending { keys - n } else { n };
            tree.put(&number(n / rows + n % rows * (1 << 20)), &cell, &collector.enter());
        }
        let nodes = tree.check() as u64;
        assert!(nodes <= keys / 15 * 10 / 8 + 10, "{nodes} nodes for {keys} keys in {rows} rows");
    }
}

#[test]
fn it_holds_what_it_says() {
    // Aim: `bytes` is what the allocator says, to the byte, and keys and cells are let go with their entries. Method: count
    // what this thread holds while the tree grows, shrinks and is cleared; the collector is dropped before each look, so that
    // it has freed everything.
    let many: u64 = if cfg!(miri) { 120 } else { 20_000 };
    for kind in KINDS {
        let (shared, other) = (cell(&number(0)), cell(&number(1)));
        crate::spare::give_back();
        let before = held();
        let tree = Tree::new();
        let round = |left: &dyn Fn(u64) -> bool, change: &dyn Fn(u64, &LocalGuard<'_>)| {
            let collector = Collector::new();
            (0..many).for_each(|n| change(n * 7_919 % many, &collector.enter()));
            drop(collector);
            crate::spare::give_back();
            let left = (0..many).filter(|n| left(*n)).map(|n| kind(n).heap_bytes());
            assert_eq!(CellRef::count(&shared) + CellRef::count(&other), left.clone().count() + 2);
            assert_eq!(held() - before, (tree.bytes() + left.sum::<usize>()) as isize);
        };
        round(&|_| true, &|n, guard| assert!(tree.put(&kind(n), &shared, guard)));
        round(&|_| true, &|n, guard| assert!(!tree.put(&kind(n), &other, guard)));
        round(&|_| true, &|n, guard| assert!(!tree.put(&kind(n), &shared, guard)));
        round(&|n| n % 3 == 0, &|n, guard| assert!(n % 3 == 0 || tree.remove(&kind(n), guard)));
        round(&|_| false, &|n, guard| assert_eq!(tree.remove(&kind(n), guard), n % 3 == 0));
        assert_eq!(tree.check(), 1);
        round(&|_| true, &|n, guard| assert!(tree.put(&kind(n), &shared, guard)));
        tree.check();
        round(&|_| false, &|n, guard| {
            if n == 0 {
                tree.clear(guard)
            }
        });
        assert_eq!((tree.check(), tree.bytes()), (0, 0));
        round(&|_| true, &|n, guard| assert!(tree.put(&kind(n), &shared, guard)));
        drop(tree);
        crate::spare::give_back();
        assert_eq!((held(), CellRef::count(&shared)), (before, 1));
    }
}

/// Every tenth key stays; others come and go.
const STAYS: u64 = 10;

/// Puts and removes keys of its own: at random, then all in order.
fn churn(tree: &Tree, collector: &Collector, kind: fn(u64) -> Key, space: u64, own: u64, rounds: u64) {
    let (mut dice, cell) = (Dice(own), cell(&number(own)));
    for round in 0..rounds {
        let mine = (0..space).filter(|n| n % STAYS != 0 && n % 2 == own);
        for n in mine {
            let n = if round % 3 == 0 { n } else { dice.below(space / 2) * 2 + own };
            if n % STAYS == 0 {
                continue;
            }
            let guard = collector.enter();
            if (round + u64::from(dice.below(8) == 0)).is_multiple_of(2) {
                tree.put(&kind(n), &cell, &guard);
            } else {
                tree.remove(&kind(n), &guard);
            }
        }
    }
}

/// Looks whether a walk shows what stays, once and in order, and nothing twice.
fn watch(tree: &Tree, collector: &Collector, stay: &[Key], dice: &mut Dice) {
    let guard = collector.enter();
    let at = |dice: &mut Dice| stay[dice.below(stay.len() as u64) as usize].clone();
    let (start, end) = (at(dice), at(dice));
    let range = KeyRange { start: bound(dice, start), end: bound(dice, end) };
    let direction = if dice.below(2) == 0 { Direction::Forward } else { Direction::Backward };
    let mut shown = shown(tree, &range, direction, usize::MAX, &guard);
    if direction == Direction::Backward {
        shown.reverse();
    }
    assert!(shown.windows(2).all(|two| two[0].0 < two[1].0), "out of order, or twice");
    assert!(shown.iter().all(|(key, _)| range.contains(key)));
    let stayed = shown.iter().map(|(key, _)| key).filter(|key| stay.binary_search(key).is_ok());
    assert!(stayed.eq(stay.iter().filter(|key| range.contains(key))), "one that stays was not shown");
}

#[test]
fn walks_show_what_stays_whatever_comes_and_goes() {
    // Aim: the promise of the file's header, in the code itself. Method: two writers that split, copy, join and empty
    // leaves around keys that stay, two readers that walk random ranges both ways until the writers are done. With weak
    // memory as miri has it a node or a key that was freed too early shows too.
    let (space, rounds): (u64, u64) = if cfg!(miri) { (60, 4) } else { (2_000, 60) };
    for kind in KINDS {
        let (tree, collector) = (Tree::new(), Collector::new().batch_size(1));
        let mut stay: Vec<Key> = (0..space).step_by(STAYS as usize).map(kind).collect();
        stay.sort_unstable();
        assert!(stay.iter().all(|key| tree.put(key, &cell(key), &collector.enter())));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (tree, collector, stay, over) = (&tree, &collector, &stay, &over);
            for reader in 0..2 {
                scope.spawn(move || {
                    let mut dice = Dice(reader + 77);
                    while !over.load(Ordering::Relaxed) {
                        watch(tree, collector, stay, &mut dice);
                    }
                });
            }
            let writers =
                [0, 1].map(|own| scope.spawn(move || churn(tree, collector, kind, space, own, rounds)));
            let ended = writers.map(|writer| writer.join());
            over.store(true, Ordering::Relaxed);
            assert!(ended.iter().all(Result::is_ok));
        });
        watch(&tree, &collector, &stay, &mut Dice(3));
        tree.check();
    }
}

/// Nanoseconds that this thread was at work.
fn busy() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[test]
#[ignore = "measures: cargo test --release -p hypermnesia-store --lib -- --ignored --nocapture how_long"]
fn how_long_its_steps_take() {
    // Aim: a first look at what an insert and a step of a walk take. Method: a million entries, in order and in none, which here
    // are steps of one length.
    const MANY: u64 = 1_000_000;
    let collector = Collector::new();
    let cell = cell(&number(0));
    for (what, step) in [("in order", 1), ("in no order", 7_368_787 % MANY)] {
        let tree = Tree::new();
        let each = |what: &str, count: u64, run: &mut dyn FnMut(u64)| {
            let begun = busy();
            (0..count).for_each(&mut *run);
            println!("  {what}: {:.0} ns", (busy() - begun) as f64 / count as f64);
        };
        println!("{what}");
        let at = |n: u64| n * step % MANY;
        each("insert", MANY, &mut |n| {
            tree.put(&number(at(n)), &cell, &collector.enter());
        });
        println!("  {:.1} bytes an entry", tree.bytes() as f64 / MANY as f64);
        let mut seen = 0;
        for (what, places) in
            [("walk of 100 anywhere", MANY - 100), ("walk of 100 where it was before", 1_000)]
        {
            each(what, 20_000, &mut |n| {
                let start = Bound::Included(number(n * 7_368_787 % places));
                let range = KeyRange { start, end: Bound::Unbounded };
                let (guard, mut left) = (collector.enter(), 100);
                walk_tree(&tree, &range, Direction::Forward, &guard, |_, cell| {
                    (seen, left) = (seen + usize::from(!cell.is_empty()), left - 1);
                    Ok(if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
                })
                .expect("showing does not fail");
            });
        }
        assert_eq!(seen, 0);
        each("remove", MANY, &mut |n| {
            tree.remove(&number(at(n)), &collector.enter());
        });
    }
}
