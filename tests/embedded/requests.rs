//! Requests that are done once, on one node.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use hypermnesia::limits::{REQUEST_ANSWER_BYTES_MAX, REQUEST_ID_BYTES_MAX, REQUEST_ID_KEPT};
use hypermnesia::{
    Answered, DynTable, Error, Kind, Node, Outcome, RequestId, Storage, TableDef, TxOptions, Type, Value,
};

use crate::hard_stop::killed;
use crate::{key, node, row, table};

/// Adds one to row 1 and says what it is then.
fn counted(node: &Node, t: &DynTable, id: &RequestId) -> Result<i64, Error> {
    node.transaction_once(id, |tx| {
        let n = match tx.lookup(t, &key(1), "n", Value::Int(0))? {
            Value::Int(n) => n + 1,
            other => panic!("{other:?}"),
        };
        tx.insert(t, &row(1, n)).map(|()| n)
    })
}

fn held(t: &DynTable) -> Value {
    t.lookup(&key(1), "n", Value::Int(0)).expect("read")
}

#[test]
fn an_id_does_its_work_once_and_a_wrong_one_does_nothing() {
    // Aim: what an id promises on one node. Method: each twice; with other digests, another type, no digest; programs that abort,
    // answers that cannot be kept, ids that are none.
    let node = node();
    let t = table(&node, Kind::Set);
    let (one, two) = (RequestId::new("1"), RequestId::new("2"));
    assert_eq!((counted(&node, &t, &one), counted(&node, &t, &one)), (Ok(1), Ok(1)));
    assert_eq!((counted(&node, &t, &two), counted(&node, &t, &one)), (Ok(2), Ok(1)));
    assert_eq!(held(&t), Value::Int(2));

    let asked = RequestId::new("3").asking(b"apples");
    let reused = |id: &str| Err(Error::RequestReused { id: id.into() });
    assert_eq!((counted(&node, &t, &asked), counted(&node, &t, &asked)), (Ok(3), Ok(3)));
    assert_eq!(counted(&node, &t, &RequestId::new("3").asking(b"pears")), reused("3"));
    assert_eq!(counted(&node, &t, &RequestId::new("3")), reused("3"));
    assert_eq!(counted(&node, &t, &RequestId::new("1").asking(b"")), reused("1"));
    let other = node.transaction_once(&one, |_| Ok(String::from("not a number")));
    assert_eq!(other.map(drop), reused("1").map(drop));

    let refused = RequestId::new("4");
    let abort = node.transaction_once::<()>(&refused, |tx| {
        tx.insert(&t, &row(1, 100))?;
        Err(Error::abort("not today"))
    });
    assert_eq!(abort, Err(Error::abort("not today")));
    let large = |bytes: usize| node.transaction_once(&refused, |_| Ok(vec![0_u8; bytes])).map(drop);
    assert!(matches!(large(REQUEST_ANSWER_BYTES_MAX), Err(Error::TooLarge { .. })));
    // It can be written down and not read again: that takes a format which says what comes.
    let unfit = node.transaction_once(&refused, |_| Ok(serde_json::json!([1])));
    assert!(matches!(unfit, Err(Error::Aborted { .. })), "{unfit:?}");
    assert_eq!(counted(&node, &t, &refused), Ok(4), "nothing was remembered of those");

    for wrong in [String::new(), "x".repeat(REQUEST_ID_BYTES_MAX + 1)] {
        assert!(matches!(counted(&node, &t, &RequestId::new(wrong)), Err(Error::Config(_))));
    }
    assert_eq!(counted(&node, &t, &RequestId::new("x".repeat(REQUEST_ID_BYTES_MAX))), Ok(5));
    assert!(node.tables().iter().all(|def| def.name == "t"), "the table of ids is the system's");
    assert!(matches!(node.drop_table("_requests"), Err(Error::SystemTable { .. })));
}

#[tokio::test]
async fn tasks_hear_when_an_earlier_call_did_it() {
    // Aim: the same for tasks, with the moment of the commit. Method: twice; the second program is not even called.
    let node = node();
    let t = table(&node, Kind::Set);
    let (id, calls) = (RequestId::new("a"), AtomicI64::new(0));
    let call = async || {
        let program = |tx: hypermnesia::AsyncTransaction| {
            let (t, n) = (t.clone(), calls.fetch_add(1, Ordering::Relaxed));
            async move {
                tx.insert(&t, &row(1, n)).await.map(|()| (tx.id().node.0, tx.id().sequence, tx.id().age.0))
            }
        };
        node.try_transaction_once_async::<_, Error, _>(&id, &TxOptions::new(), program).await
    };
    let first = call().await.expect("done");
    let (node_id, sequence, age) = first.answer;
    let txid =
        hypermnesia::TxId { node: hypermnesia::NodeId(node_id), sequence, age: hypermnesia::Timestamp(age) };
    let Outcome::Committed(at) = node.outcome(txid) else { panic!("it was committed") };
    assert_eq!((first.earlier, call().await), (None, Ok(Answered { earlier: Some(at), ..first })));
    assert_eq!((calls.load(Ordering::Relaxed), held(&t)), (1, Value::Int(0)));
}

#[test]
fn calls_at_once_with_one_id_hear_one_answer() {
    // Aim: no two of them do the work. Method: eight threads with the same hundred ids, the first of which makes the table of ids.
    let node = node();
    let t = table(&node, Kind::Set);
    let together = std::sync::Barrier::new(8);
    let answers: Vec<Vec<i64>> = std::thread::scope(|scope| {
        let all = || {
            together.wait();
            let one = |n: i64| counted(&node, &t, &RequestId::new(format!("request {n}"))).expect("answered");
            (0..100).map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(all)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(held(&t), Value::Int(100));
    assert!(answers.iter().all(|own| *own == answers[0]), "{answers:?}");
}

#[test]
fn an_id_outlives_the_process_and_has_an_end() {
    // Aim: on disc it is there after a kill, with the work; it ends ten minutes after the commit and not sooner. Method: a table
    // on disc and one in memory, killed, opened again; the deadline of the id's row.
    let home = tempfile::tempdir().expect("a directory");
    let open = |path: &std::path::Path| Node::builder().data_dir(path).build().expect("it starts");
    let node = open(home.path());
    let def = TableDef::builder("t").attribute("id", Type::Int).attribute("n", Type::Int);
    let t = node.create_table(def.copy(node.id(), Storage::Disc)).expect("new");
    let id = RequestId::new("1").asking(b"one");
    let before = SystemTime::now();
    assert_eq!(counted(&node, &t, &id), Ok(1));
    let ends = node.dyn_table("_requests").expect("there").deadline(&[Value::from("1")]);
    let ends = ends.expect("read").expect("it has one");
    assert!(ends > before + REQUEST_ID_KEPT, "{ends:?}");
    assert!(ends < SystemTime::now() + REQUEST_ID_KEPT + Duration::from_secs(11), "{ends:?}");
    let left = killed(home.path());
    drop((t, node));
    let node = open(left.path());
    let t = node.dyn_table("t").expect("kept");
    assert_eq!(counted(&node, &t, &id), Ok(1), "it is told and not done again");
    assert_eq!(counted(&node, &t, &RequestId::new("2")), Ok(2));
}

#[test]
fn ids_have_a_place_in_the_bound_of_memory() {
    // Aim: ids do not grow past what the node may hold; the work is refused with them. Method: a small bound, answers of 64 KiB.
    let node = Node::builder().memory_max(4 << 20).build().expect("it starts");
    let t = table(&node, Kind::Set);
    let done = |n: usize| {
        node.transaction_once(&RequestId::new(format!("request {n}")), |tx| {
            tx.insert(&t, &row(1, n as i64 % 2)).map(|()| vec![b'x'; 64 << 10])
        })
    };
    let refused = (0..1_000).find_map(|n| done(n).err().map(|error| (n, error)));
    let (n, error) = refused.expect("it is full before that");
    assert!(matches!(error, Error::MemoryFull { .. }), "{error}");
    assert_eq!(held(&t), Value::Int((n as i64 - 1) % 2), "the work that was refused is not there");
    assert_eq!(done(0).expect("it is remembered").len(), 64 << 10);
}
