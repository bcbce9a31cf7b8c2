//! Numbers of one sequence from three members.

use std::collections::BTreeSet;

use crate::trio::Trio;

#[test]
fn three_members_never_give_one_number() {
    // Aim: no number twice over members, a reset, and the crash of all. Method: all members take at the same time, in four
    // lives; a reset to above everything in between is heeded by every member at once.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let mut seen = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for life in 0..4 {
        let taken: Vec<Vec<i64>> = std::thread::scope(|scope| {
            let take = |at: usize| {
                let node = trio.node(at);
                move || {
                    let orders = node.sequence("orders").expect("there");
                    (0..1_200).map(|_| orders.next().expect("given")).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (0..3).map(|at| scope.spawn(take(at))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        for number in taken.into_iter().flatten() {
            assert!(seen.insert(number), "life {life}: {number} came twice");
        }
        for at in 0..3 {
            (0..100).for_each(|_| assert!(ids.insert(trio.node(at).unique_id()), "life {life}"));
        }
        if life == 1 {
            let far = seen.last().expect("some") + 1_000_000;
            trio.node(2).sequence("orders").expect("there").reset(far).expect("done");
            for at in 0..3 {
                let next = trio.node(at).sequence("orders").expect("there").next().expect("given");
                assert!(next >= far && seen.insert(next), "member {at} heeds the reset: {next}");
            }
        }
        match life % 2 {
            0 => trio.crash(&[0, 1, 2]),
            _ => (0..3).for_each(|at| trio.stop(at)),
        }
        (0..3).for_each(|at| trio.restart(at));
        trio.settle();
    }
}
