//! Readers beside a writer that does not get on.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use hypermnesia::{DynTable, Filter, Kind, LockMode, Node, Span, TableDef, TxOptions, Type, Value};

use crate::{key, node, row, sorted, table};

/// Longer than any machine takes for a few reads.
const LONG: Duration = Duration::from_secs(20);
const ROWS: i64 = 100;

fn wanted() -> Vec<Vec<Value>> {
    (0..ROWS).map(|id| row(id, id % 7).to_vec()).collect()
}

/// Every way to read a table: alone, at a snapshot, in a transaction.
fn read(node: &Node, table: &DynTable) {
    let threes = wanted().into_iter().filter(|row| row[1] == Value::Int(3)).collect::<Vec<_>>();
    assert_eq!(table.get(&key(3)).expect("read"), Some(row(3, 3).to_vec()));
    assert_eq!(table.len().expect("read"), ROWS as u64);
    assert_eq!(sorted(table.to_vec().expect("read")), wanted());
    assert_eq!(sorted(table.matching(Filter::equal("n", 3)).expect("read")), threes);
    assert_eq!(sorted(table.index_read("by_n", &[Value::Int(3)]).expect("read")), threes);
    let snapshot = node.snapshot().expect("served");
    assert_eq!(snapshot.get(table, &key(5)).expect("read"), Some(row(5, 5).to_vec()));
    assert_eq!(sorted(snapshot.range(table, &Span::all()).expect("read")), wanted());
}

#[test]
fn a_writer_that_does_not_get_on_blocks_no_reader() {
    // Aim: while a transaction holds the lock of a whole table and of one of its keys, and has written all of its rows, that
    // table and others are read in every way. Method: it stops before its end; another thread reads, and says so.
    for kind in [Kind::Set, Kind::OrderedSet, Kind::Bag] {
        let node = node();
        let locked = table(&node, kind);
        let other =
            TableDef::builder("other").kind(kind).attribute("id", Type::Int).attribute("n", Type::Int);
        let other = node.create_table(other.index("by_n", ["n"])).expect("new");
        for id in 0..ROWS {
            [&locked, &other].iter().for_each(|table| table.insert(&row(id, id % 7)).expect("written"));
        }
        let (reader, tables) = (node.clone(), [locked.clone(), other.clone()]);
        let options = TxOptions::new().deadline(2 * LONG);
        node.transaction_with(&options, |tx| {
            tx.lock_table(&locked, LockMode::Write)?;
            drop(tx.get(&locked, &key(1))?);
            (0..ROWS).try_for_each(|id| tx.delete(&locked, &key(id)).map(drop))?;
            let (say, heard) = sync_channel(1);
            let (reader, tables) = (reader.clone(), tables.clone());
            let reads = thread::spawn(move || {
                tables.iter().for_each(|table| read(&reader, table));
                let seen =
                    reader.transaction(|tx| tx.get(&tables[1], &key(9))).expect("nobody is in the way");
                assert_eq!(seen, Some(row(9, 2).to_vec()));
                say.send(()).expect("the writer waits to hear it");
            });
            let told = heard.recv_timeout(LONG);
            assert!(told.is_ok(), "{kind:?}: the reader has not come through: {told:?}");
            reads.join().expect("it said so");
            Ok(())
        })
        .expect("nobody is in the way");
        assert_eq!((locked.len(), other.len()), (Ok(0), Ok(ROWS as u64)));
        assert_eq!(node.status().locks, (0, 0));
    }
}
