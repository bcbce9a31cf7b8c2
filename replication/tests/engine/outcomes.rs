//! What became of a transaction whose coordinator is gone for good, as every member tells it that goes on.

use std::sync::Arc;

use hypermnesia_replication::message::Vote;
use hypermnesia_replication::{Fact, Message, Outcome, Recovered};
use hypermnesia_store::{Incarnation, Storage, Store, StoreConfig, Timestamp, TxId, define};

use crate::trio::{TABLE, Trio, key, nodes, replay, table};

/// Four members in memory, or with logs; the table is in the memory of the first three.
fn four(durable: bool) -> Trio {
    let mut trio = Trio::started(
        (0..4).map(|_| (store(), Recovered::default(), Vec::new())).collect(),
        durable,
        Incarnation(1),
    );
    trio.begin();
    trio.carry_all();
    assert!(trio.nodes.iter().all(|node| node.status(trio.now).complete));
    trio
}

fn store() -> Arc<Store> {
    let store = Arc::new(Store::new(StoreConfig { wall_ms: 1_000 }));
    store.load_writes(Timestamp(1), &[define(&table(&nodes(3), Storage::Ram))]).expect("an empty store");
    store
}

/// The first member ends, with all that it has said and nobody has heard; the others go on without it.
fn lost(trio: &mut Trio) {
    let peer = trio.peers[0];
    for at in 1..4 {
        trio.event(at, |replica, now, out| replica.on_disconnected(now, peer, out));
    }
    trio.agree(&[1, 2, 3]);
    carry(trio);
    assert!((1..4).all(|at| trio.nodes[at].status(trio.now).epoch == 2), "the others go on");
}

/// Carries everything but what the first member says and hears.
fn carry(trio: &mut Trio) {
    loop {
        trio.wire.retain(|(from, to, _)| *from != 0 && *to != 0);
        if !trio.carry_one() {
            return;
        }
    }
}

/// Carries the oldest messages.
fn carry_some(trio: &mut Trio, count: usize) {
    for _ in 0..count {
        trio.carry_one();
    }
}

/// What each of the others says, once it has asked.
fn told(trio: &mut Trio, txid: TxId) -> Vec<Outcome> {
    for at in 1..4 {
        trio.event(at, |replica, now, out| replica.ask(now, txid, out));
        carry(trio);
    }
    (1..4).map(|at| trio.nodes[at].outcome(txid)).collect()
}

#[test]
fn who_goes_on_tells_what_became_of_everything_that_anyone_has_heard_of() {
    // Aim: once the next epoch is open each of its members answers, also one that has no copy and took no part, and as the rows
    // say. Method: a write whose coordinator ends after each step of its messages in turn.
    let mut seen = Vec::new();
    for steps in 0..8 {
        let mut trio = four(false);
        let (txid, _) = trio.commit(0, 1, 10);
        carry_some(&mut trio, steps);
        lost(&mut trio);
        let told = told(&mut trio, txid);
        assert!(told.iter().all(|one| *one == told[0]), "after {steps} messages: {told:?}");
        let is_there = matches!(told[0], Outcome::Committed(_));
        assert!((1..3).all(|at| trio.value(at, 1).is_some() == is_there), "after {steps} messages");
        assert_eq!(told[0] == Outcome::Unknown, steps == 0, "only what nobody has heard of is unknown");
        seen.push(told[0]);
    }
    assert_eq!(seen[1], Outcome::Aborted, "prepared at one of two: {seen:?}");
    assert!(matches!(seen[2], Outcome::Committed(_)), "prepared at both: {seen:?}");
}

#[test]
fn an_abort_is_told_when_its_coordinator_is_gone() {
    // Aim: what was aborted in good order is not unknown for ever because the one who decided it has ended. Method: the vote of
    // one member is lost, so the coordinator decides to abort; both have recorded that when it ends, and it has heard it of nobody.
    let mut trio = four(false);
    let (txid, _) = trio.commit(0, 1, 10);
    trio.carry_to(1);
    trio.carry_to(2);
    trio.wire.retain(|(from, _, message)| {
        !(*from == 2 && matches!(message, Message::Vote { vote: Vote::Yes { .. }, .. }))
    });
    trio.carry_to(0);
    trio.pass_ms(350);
    trio.tick(0);
    trio.carry_to(1);
    trio.carry_to(2);
    assert_eq!((trio.stores[1].lock_counts(), trio.stores[2].lock_counts()), ((0, 0), (0, 0)), "recorded");
    assert_eq!(trio.nodes[1].outcome(txid), Outcome::Unknown, "not before the next epoch is open");
    lost(&mut trio);
    assert_eq!(told(&mut trio, txid), [Outcome::Aborted; 3]);
    let stale = trio.stores[1].table(TABLE).expect("there").newest(&key(1)).expect("in memory");
    assert!(stale.is_none());
}

#[test]
fn what_an_epoch_has_settled_is_known_behind_a_restart_of_all() {
    // Aim: with logs the answer outlives the processes, also of transactions that are in no log. Method: a write to memory is
    // settled by the next epoch; a member starts anew from its log and is asked before it hears anything.
    for steps in [1, 2] {
        let mut trio = four(true);
        let (txid, _) = trio.commit(0, 1, 10);
        carry_some(&mut trio, steps);
        lost(&mut trio);
        let known = trio.nodes[3].outcome(txid);
        assert_ne!(known, Outcome::Unknown);
        let logged = |fact: &Fact| matches!(fact, Fact::Prepared { .. });
        assert!(!trio.logs[1].iter().any(logged), "it is in no log");
        let again = |at: usize| {
            let (store, log) = (store(), trio.logs[at].clone());
            let recovered = replay(&log, &store);
            (store, recovered, log)
        };
        let again = Trio::started((0..4).map(again).collect(), true, Incarnation(2));
        assert_eq!([1, 2, 3].map(|at| again.nodes[at].outcome(txid)), [known; 3]);
    }
}
