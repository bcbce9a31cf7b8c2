//! Who waits for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hypermnesia_store::work::{Op, Prepared, Role, Work, Write};
use hypermnesia_store::{NodeId, Row, TableDef, Timestamp, TxId, Type, Value};

use crate::Node;

#[test]
fn who_holds_a_lock_waits_for_no_older_transaction() {
    // Aim: waits for rows that are being committed go one way only, as those for locks do: a row that an older transaction has prepared
    // may wait elsewhere for what waits for this one's lock. Method: a row is prepared by an older transaction; another one locks a
    // second row and reads the first: it lets go of its lock until that one is decided, and runs again.
    let node = Node::builder().build().expect("an embedded node needs nothing");
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int);
    let table = node.create_table(def).expect("a good definition");
    for id in [1, 2] {
        table.insert(&[Value::Int(id), Value::Int(0)]).expect("it has room");
    }
    let store = &node.core.store;
    let version = table.definition().expect("it is there").version;
    let row = Row::encode(version, &[Value::Int(1), Value::Int(7)]).expect("it fits");
    let write =
        Write { table: table.id(), key: table.key(&[Value::Int(1)]).expect("a key"), op: Op::Put(row) };
    let work = Work { writes: vec![write], schema: vec![(table.id(), version)], ..Work::default() };
    let older = store.begin(TxId { age: Timestamp(1), node: NodeId(9), sequence: 1 });
    let prepared = store.prepare(&older, &Arc::new(work), 0, Role::Participant);
    let Prepared::Yes { proposal } = prepared else { panic!("{prepared:?}") };
    let runs = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            node.transaction(|tx| {
                runs.fetch_add(1, Ordering::SeqCst);
                tx.get_for_update(&table, &[Value::Int(2)])?;
                tx.get(&table, &[Value::Int(1)])
            })
        });
        while runs.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
        let _ = store.commit(&older, proposal);
        let read = reads.join().expect("it does not panic");
        assert_eq!(read, Ok(Some(vec![Value::Int(1), Value::Int(7)])));
    });
    assert_eq!(store.lock_counts().0, 0, "nobody holds anything");
}
