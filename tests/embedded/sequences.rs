//! Sequences and unique ids on one node.

use std::collections::BTreeSet;

use hypermnesia::limits::SEQUENCE_BLOCK_MAX;
use hypermnesia::{Error, Node, Value};

use crate::{hard_stop::killed, node};

#[test]
fn numbers_come_once_and_in_order() {
    // Aim: what a handle promises. Method: one by one, in blocks, by two handles, from eight threads, across reservations.
    let node = node();
    let orders = node.sequence("orders").expect("made");
    assert_eq!(orders.current(), Ok(0));
    assert_eq!((orders.next(), orders.next()), (Ok(1), Ok(2)));
    let again = node.sequence("orders").expect("there");
    assert_eq!((again.next_block(5), orders.next()), (Ok(3..8), Ok(8)));
    let taken: Vec<Vec<i64>> = std::thread::scope(|scope| {
        let take = || (0..2_000).map(|_| orders.next().expect("given")).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(taken.iter().all(|own| own.windows(2).all(|two| two[0] < two[1])), "each thread sees them grow");
    let all: BTreeSet<i64> = taken.into_iter().flatten().collect();
    assert_eq!(
        (all.len(), all.first(), all.last()),
        (16_000, Some(&9), Some(&16_008)),
        "without a gap on one node"
    );
    assert!(orders.current().expect("read") >= 16_008);
    let large = orders.next_block(5_000).expect("more than a reservation");
    assert_eq!(large.end - large.start, 5_000);
}

#[test]
fn a_reset_holds_everywhere_and_a_dropped_sequence_is_gone() {
    // Aim: after a reset no number of before it is given out; other sequences go on; errors are typed and change nothing.
    let node = node();
    let (a, b) = (node.sequence("a").expect("made"), node.sequence("b").expect("made"));
    assert_eq!((a.next(), b.next()), (Ok(1), Ok(1)));
    a.reset(-5).expect("done");
    assert_eq!((a.next(), a.next_block(2), b.next()), (Ok(-5), Ok(-4..-2), Ok(2)));
    a.reset(i64::MAX - 2).expect("done");
    assert_eq!(a.next_block(2), Ok(i64::MAX - 2..i64::MAX));
    assert_eq!(a.next(), Err(Error::SequenceExhausted { name: "a".into() }));
    assert_eq!(
        b.next_block(SEQUENCE_BLOCK_MAX + 1).map(drop),
        Err(Error::TooLarge { what: "numbers in a block", bound: 1_000_000 })
    );
    assert!(matches!(b.next_block(0), Err(Error::Config(_))));
    assert_eq!(b.next(), Ok(3));
    let listed = node.sequences().expect("listed");
    assert_eq!(listed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    node.drop_sequence("a").expect("there");
    let gone = Error::NoSuchSequence { name: "a".into() };
    assert_eq!(
        (a.next(), a.reset(1), a.current()),
        (Err(gone.clone()), Err(gone.clone()), Err(gone.clone()))
    );
    assert_eq!(
        (node.drop_sequence("a"), node.existing_sequence("a").map(drop)),
        (Err(gone.clone()), Err(gone))
    );
    let anew = node.sequence("a").expect("made anew");
    assert_eq!((anew.next(), a.next().is_err()), (Ok(1), true), "an old handle is not of the new one");
    for wrong in ["", "a\n", "\u{1}a", &"x".repeat(128)] {
        assert!(matches!(node.sequence(wrong), Err(Error::Schema(_))), "{wrong:?}");
    }
    assert!(node.tables().is_empty(), "no table shows");
}

#[test]
fn tables_and_sequences_do_not_meet() {
    // Aim: names and numbers of tables and sequences are apart, also after a restart. Method: both by turns under one name.
    let home = tempfile::tempdir().expect("a directory");
    let build = || Node::builder().data_dir(home.path()).build().expect("free");
    let node = build();
    let define = |name: &str| hypermnesia::TableDef::builder(name).attribute("id", hypermnesia::Type::Int);
    for name in ["x", "y", "z"] {
        node.sequence(name).expect("made").next().expect("given");
        node.create_table(define(name)).expect("made").insert(&[Value::Int(1)]).expect("written");
    }
    node.drop_table("y").expect("there");
    node.drop_sequence("z").expect("there");
    drop(node);
    let node = build();
    let names: Vec<String> = node.tables().into_iter().map(|def| def.name).collect();
    assert_eq!(names, ["x", "z"]);
    assert_eq!(node.sequences().expect("listed").len(), 2);
    assert!(node.sequence("y").expect("there").next().expect("given") > 1);
    assert!(node.create_table(define("y")).is_ok());
}

#[test]
fn no_number_comes_again_after_a_stop_or_a_crash() {
    // Aim: survives restart and crash without repeating. Method: take numbers; stop cleanly or copy the files of the running
    // node, as a kill would leave them; go on from there; five lives.
    let first = tempfile::tempdir().expect("a directory");
    let mut home = first.path().to_owned();
    let mut left = Vec::new();
    let mut seen = BTreeSet::new();
    for life in 0..5 {
        let node = Node::builder().name("n").data_dir(&home).build().expect("free");
        let orders = node.sequence("orders").expect("there");
        for _ in 0..1_500 {
            assert!(seen.insert(orders.next().expect("given")), "life {life}");
        }
        if life % 2 == 0 {
            let files = killed(&home);
            home = files.path().to_owned();
            left.push(files);
        }
        let current = orders.current().expect("read");
        assert!(seen.last().is_some_and(|last| *last <= current));
    }
}

#[tokio::test]
async fn tasks_take_numbers_too() {
    // Aim: the form for tasks, on a runtime of one thread, across reservations. Method: four tasks at a time.
    let node = node();
    let orders = node.sequence("orders").expect("made");
    let take = async || {
        let mut own = Vec::new();
        for _ in 0..700 {
            own.push(orders.next_async().await.expect("given"));
        }
        own
    };
    let (a, b, c, d) = tokio::join!(take(), take(), take(), take());
    let all: BTreeSet<i64> = [a, b, c, d].concat().into_iter().collect();
    assert_eq!(all.len(), 2_800);
}
