//! What the hot path may allocate, and that bytes which lie about their lengths get no memory for it. Method: an allocator
//! that counts the calls and bytes of each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use hypermnesia_store::{Key, Row, SchemaVersion, TableDef, Type, Value, ValueRef, codec};

struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // A thread that is ending has no counters any more; nobody asks it.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    let _ = BYTES.try_with(|total| total.set(total.get() + bytes));
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` or `realloc` here, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations, and of how many bytes, this took.
fn cost<T>(work: impl FnOnce() -> T) -> (usize, usize) {
    let before = (CALLS.get(), BYTES.get());
    let result = black_box(work());
    let after = (CALLS.get() - before.0, BYTES.get() - before.1);
    drop(result);
    after
}

fn values() -> Vec<Value> {
    vec![
        Value::Int(7),
        Value::from("a text of some length"),
        Value::Float(1.5),
        Value::Null,
        Value::List(vec![Value::Int(1)]),
    ]
}

#[test]
fn a_row_costs_one_allocation_and_reading_it_none() {
    // Aim: the promise of the row encoding. Method: count encode, attribute, clone, and the checked form of a table.
    let (values, wide) = (values(), vec![Value::Bytes(vec![1; 100_000])]);
    // Kept, since a row may have the block of one that was freed a moment ago.
    let mut kept = Vec::with_capacity(8);
    assert_eq!(cost(|| kept.push(Row::encode(SchemaVersion(1), &values).expect("small"))).0, 1);
    assert_eq!(cost(|| kept.push(Row::encode(SchemaVersion(1), &wide).expect("small"))).0, 1);
    let row = Row::encode(SchemaVersion(1), &values).expect("small");
    let read = || row.iter().filter(|value| matches!(value, ValueRef::Text(_))).count();
    assert_eq!(cost(read).0, 0);
    assert_eq!(cost(|| row.clone()).0, 0);
    assert_eq!(cost(|| kept.push(Row::parse(row.as_bytes()).expect("a row"))).0, 1);

    let table = TableDef::builder("t")
        .attribute("id", Type::Int)
        .attribute("text", Type::Text)
        .attribute("x", Type::Float)
        .nullable("y", Type::Any)
        .attribute("list", Type::List);
    let table = table.build().expect("good");
    assert_eq!(cost(|| kept.push(table.encode_row(&values).expect("it fits"))).0, 1);
    drop(kept);
    assert_eq!(cost(|| table.encode_row(&values)).0, 0, "the block of a row that was freed");
    assert_eq!(cost(|| table.key_of(&row)).0, 0);
}

#[test]
fn short_keys_cost_nothing() {
    // Aim: the promise of the key. Method: count encode, clone and join within 22 bytes, and one step beyond.
    let (number, pair, text) =
        ([Value::Int(-3)], [Value::Int(1), Value::Int(2)], [Value::from("nineteen characters")]);
    for short in [&number[..], &pair, &text] {
        assert_eq!(cost(|| Key::encode(short)).0, 0, "{short:?}");
    }
    let key = Key::encode(&number).expect("small");
    assert_eq!(cost(|| key.clone()).0, 0);
    assert_eq!(cost(|| key.join(&key)).0, 0);
    assert_ne!(cost(|| Key::encode(&[Value::from("twenty characters ..")])).0, 0);
}

#[test]
fn lying_lengths_cost_no_memory() {
    // Aim: memory asked for is bounded by the input. Method: counts and lengths of 4 GiB in a few bytes, at every level.
    let text = [0xfc, 0xff, 0xff, 0xff, 0x03, 1];
    // One row of one attribute: a list that claims 2^32-1 elements.
    let list = [1, 1, 0, 0, 0, 1, 0, 5, 0, 9, 255, 255, 255, 255];
    let few = 64 * 1024;
    assert!(cost(|| codec::decode::<Row>(&text, 1 << 30)).1 < few);
    assert!(cost(|| codec::decode::<Key>(&text, 1 << 30)).1 < few);
    assert!(cost(|| codec::decode::<Value>(&text, 1 << 30)).1 < few);
    assert!(cost(|| Row::parse(&list[..])).1 < few);
    assert!(Row::parse(&list[..]).is_err());
    assert!(cost(|| Key::from_encoded(&[0x70; 4096]).decode()).1 < few);
    // Sequences may be given room in advance, up to the cap of serde's cautious hint (1 MiB).
    assert!(cost(|| codec::decode::<Vec<Row>>(&text, 1 << 30)).1 <= 1024 * 1024 + few);
}
