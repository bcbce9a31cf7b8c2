//! Table operations on one node: reads and writes of a key, ranges, index reads, for each kind. Criterion measures, and
//! compares with its last run; nothing here checks.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hypermnesia::{DynTable, Kind, Node, Span, TableDef, Type, Value};

const ROWS: i64 = 100_000;

fn row(id: i64) -> [Value; 3] {
    [Value::Int(id), Value::Int(id % 1000), Value::Bytes(vec![id as u8; 100])]
}

/// Spreads consecutive numbers over the keys.
fn scattered(n: i64) -> i64 {
    (n.wrapping_mul(0x9E37_79B9) & 0x7fff_ffff) % ROWS
}

fn filled(node: &Node, name: &str, kind: Kind) -> DynTable {
    let definition = TableDef::builder(name).kind(kind).attribute("id", Type::Int);
    let definition = definition.attribute("group", Type::Int).attribute("value", Type::Bytes);
    let table = node.create_table(definition.index("by_group", ["group"])).expect("a new table");
    for first in (0..ROWS).step_by(1000) {
        let rows: Vec<_> = (first..first + 1000).map(row).collect();
        table.insert_many(rows.iter().map(|row| &row[..])).expect("written");
    }
    table
}

fn tables(c: &mut Criterion) {
    let node = Node::builder().build().expect("embedded");
    for (name, kind) in [("set", Kind::Set), ("ordered_set", Kind::OrderedSet), ("bag", Kind::Bag)] {
        let table = filled(&node, name, kind);
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(1));
        let mut n = 0;
        let mut key = || {
            n += 1;
            [Value::Int(scattered(n))]
        };
        group.bench_function("view", |b| {
            b.iter(|| table.view(&key()[..], |row| row.as_bytes().len()).expect("read"))
        });
        group.bench_function("get", |b| b.iter(|| table.get(&key()[..]).expect("read")));
        group.bench_function("dirty_get", |b| b.iter(|| table.dirty_get(&key()[..]).expect("read")));
        if kind != Kind::Bag {
            let make = || row(scattered(rand_like()));
            group.bench_function("insert", |b| {
                b.iter_batched(make, |row| table.insert(&row).expect("written"), BatchSize::SmallInput)
            });
        }
        group.bench_function("index_read of 100", |b| {
            b.iter(|| table.index_read("by_group", &[Value::Int(7)]).expect("read").len())
        });
        if kind == Kind::OrderedSet {
            group.throughput(Throughput::Elements(100));
            group.bench_function("range of 100", |b| {
                b.iter(|| {
                    let from = table.key(&key()[..]).expect("a key");
                    table.range(&Span::between(from..).limit(100)).expect("read").len()
                })
            });
        }
        group.finish();
    }
}

/// A different number each time, for inputs made outside the measured part.
fn rand_like() -> i64 {
    use std::sync::atomic::{AtomicI64, Ordering};
    static NEXT: AtomicI64 = AtomicI64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

criterion_group!(benches, tables);
criterion_main!(benches);
