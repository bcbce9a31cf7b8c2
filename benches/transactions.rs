//! Transactions on one embedded node: empty, reading, writing one row and ten, read-modify-write, and two threads on
//! disjoint keys beside one thread, which shows what they share. Criterion measures; nothing here checks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hypermnesia::{Node, Record, Table};

const ROWS: u64 = 100_000;

#[derive(Clone, Record)]
struct Account {
    #[record(key)]
    id: u64,
    balance: i64,
    filler: Vec<u8>,
}

fn account(id: u64) -> Account {
    Account { id, balance: 0, filler: vec![0; 84] }
}

fn filled(node: &Node) -> Table<Account> {
    let table = node.create_table_of::<Account>().expect("a new table");
    for first in (0..ROWS).step_by(1000) {
        let rows: Vec<_> = (first..first + 1000).map(account).collect();
        table.insert_many(&rows).expect("written");
    }
    table
}

fn next_key() -> u64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed) as u64;
    (n.wrapping_mul(0x9E37_79B9) & 0x7fff_ffff) % ROWS
}

fn add_one(node: &Node, table: &Table<Account>, id: u64) {
    let added = node.transaction(|tx| {
        let mut account = tx.get_for_update(table, &id)?.ok_or(hypermnesia::Error::abort("gone"))?;
        account.balance += 1;
        tx.insert(table, &account)
    });
    added.expect("committed");
}

fn transactions(c: &mut Criterion) {
    let node = Node::builder().build().expect("embedded");
    let table = filled(&node);
    let mut group = c.benchmark_group("transaction");
    group.throughput(Throughput::Elements(1));
    group.bench_function("empty", |b| b.iter(|| node.transaction(|_| Ok(())).expect("committed")));
    group.bench_function("read", |b| {
        b.iter(|| node.transaction(|tx| tx.get(&table, &next_key())).expect("committed"))
    });
    group.bench_function("write", |b| {
        b.iter(|| node.transaction(|tx| tx.insert(&table, &account(next_key()))).expect("committed"))
    });
    group.bench_function("write 10", |b| {
        b.iter(|| {
            let ten =
                node.transaction(|tx| (0..10).try_for_each(|_| tx.insert(&table, &account(next_key()))));
            ten.expect("committed");
        })
    });
    group.bench_function("read and write", |b| b.iter(|| add_one(&node, &table, next_key())));
    for threads in [1_u64, 2] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(format!("write, disjoint keys, {threads} threads"), |b| {
            b.iter_custom(|rounds| {
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (node, table) = (&node, &table);
                        scope.spawn(move || {
                            for n in 0..rounds {
                                let id = thread * (ROWS / 2) + n % (ROWS / 2);
                                node.transaction(|tx| tx.insert(table, &account(id))).expect("committed");
                            }
                        });
                    }
                });
                began.elapsed()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, transactions);
criterion_main!(benches);
