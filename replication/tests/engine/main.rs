//! One event in, all effects out: the steps of a transaction and of an epoch change, and the simpler texts of the protocol
//! that look right and are wrong, each as its smallest case.

mod disc_alone;
mod fetch;
mod outcomes;
mod reading;
mod trio;

use std::sync::Arc;

use hypermnesia_replication::message::{CopyChunk, CopyStep, FlushStep, Prepare, Refusal, Vote};
use hypermnesia_replication::{
    Agreement, Effect, Epoch, Fact, LogState, LogToken, Message, NodeSet, Outcome, Peer, Reply, Unavailable,
    Why,
};
use hypermnesia_store::{
    Ack, Blocked, Body, Incarnation, NodeId, Row, SCHEMA_TABLE, SchemaVersion, TxId, Value,
};

use trio::{TABLE, Trio, key, put, sent};

#[test]
fn a_write_costs_one_round_trip_and_three_messages_per_peer() {
    // Aim: the price of a commit. Method: three members; carry by hand and count; Commit is queued before the caller hears.
    let mut trio = Trio::open(3, false);
    let (txid, effects) = trio.commit(0, 1, 10);
    assert!(matches!(sent(&effects)[..], [Message::Prepare(_), Message::Prepare(_)]), "{effects:?}");
    assert!(matches!(sent(&trio.carry_to(1))[..], [Message::Vote { vote: Vote::Yes { .. }, .. }]));
    assert!(matches!(sent(&trio.carry_to(2))[..], [Message::Vote { vote: Vote::Yes { .. }, .. }]));
    assert!(trio.carry_to(0).is_empty(), "one vote is missing");
    let decided = trio.carry_to(0);
    let [
        Effect::Send { message: Message::Commit { ts, .. }, .. },
        Effect::Send { .. },
        Effect::Done { reply, .. },
    ] = &decided[..]
    else {
        panic!("{decided:?}");
    };
    assert_eq!(reply, &Reply::Committed(*ts));
    assert!(trio.carry_to(1).is_empty() && trio.carry_to(2).is_empty());
    assert!(trio.wire.is_empty(), "3 messages per remote replica");
    assert_eq!(trio.nodes[1].outcome(txid), Outcome::Committed(*ts));
    assert!((0..3).all(|at| trio.value(at, 1) == Some(10.into())));
}

#[test]
fn the_commit_timestamp_is_the_largest_proposal() {
    // Aim: "commit_ts from the coordinator alone" is wrong. Method: a participant whose clock is ahead.
    let mut trio = Trio::open(3, false);
    trio.stores[2].clock().advance(5_000);
    let (txid, _) = trio.commit(0, 1, 10);
    trio.carry_all();
    let Some(Reply::Committed(ts)) = trio.reply(txid) else { panic!("{:?}", trio.replies) };
    assert_eq!(ts.wall_ms(), 5_000);
}

#[test]
fn a_reader_waits_for_a_proposal_below_its_snapshot_also_when_the_mark_is_gone() {
    // Aim: wrong text 1. Method: C proposes low, the commit is high; a snapshot of C between the two.
    let mut trio = Trio::open(3, false);
    trio.stores[0].clock().advance(5_000);
    trio.commit(0, 1, 10);
    trio.carry_to(2);
    let snapshot = trio.stores[2].snapshot();
    let table = trio.stores[2].table(TABLE).expect("it exists");
    assert!(matches!(table.read(&key(1), snapshot.at()), Err(Blocked::Pending(_))));
    trio.carry_all();
    match table.read(&key(1), snapshot.at()) {
        Err(Blocked::Raise(to)) => assert!(to > snapshot.at()),
        other => panic!("the old row: {other:?}"),
    };
}

#[test]
fn every_participant_validates_the_reads() {
    // Aim: wrong text 2. Method: write skew whose two halves prepare in different order at B and C: not both commit.
    let mut trio = Trio::open(3, false);
    let skew = |read: i64, write: i64| {
        let mut work = put(write, 1);
        let version = hypermnesia_store::Timestamp::NEVER;
        work.reads.push(hypermnesia_store::ReadNote { table: TABLE, key: key(read), version });
        Arc::new(work)
    };
    let mut txids = Vec::new();
    for (at, read, write) in [(0, 1, 2), (1, 2, 1)] {
        let txid = trio.txid(at);
        let txn = trio.stores[at].begin(txid);
        let request = hypermnesia_replication::CommitRequest {
            work: skew(read, write),
            ack: Ack::Memory,
            sync: false,
            deadline_ns: trio.now.mono_ns + 400_000_000,
        };
        trio.event(at, |replica, now, out| replica.commit(now, txn, request, out));
        txids.push(txid);
    }
    trio.carry_all();
    let committed = |txid: &&TxId| matches!(trio.reply(**txid), Some(Reply::Committed(_)));
    assert!(txids.iter().filter(committed).count() <= 1, "{:?}", trio.replies);
    assert_eq!(trio.replies.len(), 2);
}

#[test]
fn nothing_is_sent_when_a_replica_is_away() {
    // Aim: (a) of the static cluster. Method: cut, commit, connect again: a blip leads to no new epoch.
    let mut trio = Trio::open(3, false);
    let away = trio.peers[2];
    trio.event(0, |replica, now, out| replica.on_disconnected(now, away, out));
    let (txid, effects) = trio.commit(0, 1, 10);
    let why = Unavailable { member: NodeId(3), why: Why::NotConnected };
    assert_eq!(effects, [Effect::Done { txid, reply: Reply::Unavailable(why) }]);
    trio.event(0, |replica, now, out| replica.on_connected(now, away, out));
    trio.carry_all();
    let (txid, _) = trio.commit(0, 1, 11);
    trio.carry_all();
    assert!(matches!(trio.reply(txid), Some(Reply::Committed(_))));
    assert_eq!(trio.nodes[0].status(trio.now).epoch, 1);
}

#[test]
fn nothing_is_logged_where_the_log_takes_nothing() {
    // Aim: a member whose log has no space, or whose disc is too slow for it, refuses, where the commit begins and as a
    // participant, and says why; it takes part again once that is over. Method: each reason at A, then at B, then nowhere.
    for (state, why) in [(LogState::NoSpace, Why::NoSpace), (LogState::Slow, Why::SlowDisc)] {
        let mut trio = Trio::open(3, true);
        let mut refusing_at = |at: usize| {
            let of = |node| if node == at { state } else { LogState::Open };
            (0..3).for_each(|node| trio.nodes[node].set_log(of(node)));
            let (txid, _) = trio.commit(0, 1, 10);
            trio.carry_all();
            trio.reply(txid).cloned()
        };
        for (at, member) in [(0, NodeId(1)), (1, NodeId(2))] {
            assert_eq!(refusing_at(at), Some(Reply::Unavailable(Unavailable { member, why })));
        }
        assert!(matches!(refusing_at(3), Some(Reply::Committed(_))));
    }
}

#[test]
fn a_member_that_goes_away_in_mid_vote_keeps_nobody_for_long() {
    // Aim: (b) of the static cluster without sitting out the deadline, and a blip that costs nothing. Method: a long
    // deadline, the link goes down with the Prepare on it; once it comes back at once, once it does not.
    for returns in [true, false] {
        let mut trio = Trio::open(3, false);
        let (txid, _) = trio.commit_within(0, 1, 10, 10_000);
        trio.carry_to(1);
        trio.carry_to(0);
        let away = trio.peers[2];
        trio.event(0, |replica, now, out| replica.on_disconnected(now, away, out));
        trio.pass_ms(500);
        trio.tick(0);
        assert_eq!(trio.reply(txid), None, "it may come back");
        if returns {
            trio.event(0, |replica, now, out| replica.on_connected(now, away, out));
            trio.carry_all();
            assert!(matches!(trio.reply(txid), Some(Reply::Committed(_))));
            continue;
        }
        for _ in 0..10 {
            trio.pass_ms(100);
            trio.tick(0);
        }
        assert_eq!(trio.reply(txid), Some(&Reply::Unknown));
    }
}

/// A commit at A of a key that an older transaction has locked at B.
fn refused_at_one(trio: &mut Trio) -> TxId {
    let old = TxId { age: hypermnesia_store::Timestamp(1), ..trio.txid(1) };
    let holder = trio.stores[1].begin(old);
    let mode = hypermnesia_store::LockMode::Write;
    let locked = trio.stores[1].lock(&holder, TABLE, &key(1), mode, std::task::Waker::noop());
    assert_eq!(locked, hypermnesia_store::Locked::Granted);
    trio.commit(0, 1, 10).0
}

#[test]
fn an_abort_is_told_when_everyone_who_did_not_refuse_has_recorded_it() {
    // Aim: the abort rule. Method: B refuses, C has voted yes; the caller hears after C's record and not before.
    let mut trio = Trio::open(3, false);
    let txid = refused_at_one(&mut trio);
    let no = trio.carry_to(1);
    let refused = |m: &&Message| matches!(m, Message::Vote { vote: Vote::Refused(Refusal::Conflict(_)), .. });
    assert!(sent(&no).iter().all(refused), "{no:?}");
    trio.carry_to(2);
    let decided = trio.carry_to(0);
    assert!(matches!(sent(&decided)[..], [Message::Abort { .. }]), "only to who did not refuse: {decided:?}");
    assert_eq!(trio.reply(txid), None);
    assert_eq!(trio.nodes[0].outcome(txid), Outcome::Unknown, "nobody may hear it yet");
    trio.carry_all();
    assert!(matches!(trio.reply(txid), Some(Reply::Conflict(_))));
    assert_eq!(trio.nodes[0].outcome(txid), Outcome::Aborted);
    assert_eq!(
        trio.nodes[2].outcome(txid),
        Outcome::Unknown,
        "wrong text 6: not any member may answer \"aborted\""
    );
    assert_eq!(trio.stores[2].lock_counts(), (0, 0));
}

#[test]
fn a_missing_vote_ends_in_unknown_until_the_missing_one_has_recorded() {
    // Aim: (b) of the static cluster; "coordinator decides on timeout and tells" is wrong. Method: C's messages are held.
    let mut trio = Trio::open(3, false);
    let (txid, _) = trio.commit(0, 1, 10);
    trio.carry_to(1);
    trio.carry_to(0);
    trio.pass_ms(350);
    let decided = trio.tick(0);
    assert!(sent(&decided).iter().filter(|m| matches!(m, Message::Abort { .. })).count() == 2, "{decided:?}");
    trio.carry_to(1);
    trio.carry_to(0);
    assert_eq!(trio.stores[1].lock_counts(), (0, 0), "live replicas free the keys");
    trio.pass_ms(60);
    trio.tick(0);
    assert_eq!(trio.reply(txid), Some(&Reply::Unknown));
    assert_eq!(trio.nodes[0].in_doubt(trio.now).len(), 1);
    trio.carry_all();
    assert!(trio.effects.contains(&(0, Effect::Settled { txid, outcome: Outcome::Aborted })));
    assert_eq!(trio.nodes[0].outcome(txid), Outcome::Aborted);
}

#[test]
fn the_vote_waits_for_the_log() {
    // Aim: ack levels. Method: a disc table at level `logged`; the vote leaves with the token and not before.
    let mut trio = Trio::open(2, true);
    let (txid, _) = trio.commit(0, 1, 10);
    let prepared = trio.carry_to(1);
    assert!(sent(&prepared).is_empty());
    let logged = |effect: &Effect| {
        matches!(effect, Effect::Log { fact: Fact::Prepared { .. }, level: Ack::Logged, token: Some(_) })
    };
    assert!(prepared.iter().any(logged), "{prepared:?}");
    let token = LogToken::Prepared(txid);
    let voted = trio.event(1, |replica, now, out| replica.on_logged(now, token, out));
    assert!(matches!(sent(&voted)[..], [Message::Vote { vote: Vote::Yes { .. }, .. }]));
    assert!(trio.carry_to(0).is_empty(), "the coordinator's own vote waits for its log as well");
    let decided = trio.event(0, |replica, now, out| replica.on_logged(now, token, out));
    assert!(decided.iter().any(|effect| matches!(effect, Effect::Done { reply: Reply::Committed(_), .. })));
}

#[test]
fn what_comes_twice_late_or_from_another_life_changes_nothing() {
    // Aim: duplicates, wrong epoch, wrong incarnation. Method: one prepare in four disguises.
    let mut trio = Trio::open(2, false);
    let txid = trio.txid(0);
    let prepare = |epoch: u64| {
        Message::Prepare(Prepare {
            epoch,
            txid,
            holders: vec![(TABLE, NodeSet::first(2))],
            work: Arc::new(put(1, 10)),
            level: Ack::Memory,
            wait_ms: 100,
        })
    };
    let from = trio.peers[0];
    let stranger = Peer { incarnation: Incarnation(9), ..from };
    for (peer, epoch, votes) in [(from, 7, 0), (stranger, 1, 0), (from, 1, 1), (from, 1, 0)] {
        let effects = trio.event(1, |replica, now, out| replica.on_message(now, peer, prepare(epoch), out));
        assert_eq!(sent(&effects).len(), votes, "{peer:?} {epoch}: {effects:?}");
    }
}

#[test]
fn schema_versions_are_compared_at_every_participant() {
    // Aim: a newer one here refuses, an older one here waits, bounded. Method: prepares that noted other versions.
    let mut trio = Trio::open(2, false);
    let from = trio.peers[0];
    let mut prepare = |noted: u32| {
        let txid = trio.txid(0);
        let mut work = put(noted.into(), 1);
        work.schema = vec![(TABLE, SchemaVersion(noted))];
        let holders = vec![(TABLE, NodeSet::first(2))];
        let prepare =
            Prepare { epoch: 1, txid, holders, work: Arc::new(work), level: Ack::Memory, wait_ms: 50 };
        trio.event(1, |replica, now, out| replica.on_message(now, from, Message::Prepare(prepare), out))
    };
    let older = prepare(0);
    assert!(
        matches!(sent(&older)[..], [Message::Vote { vote: Vote::Refused(Refusal::SchemaChanged), .. }]),
        "{older:?}"
    );
    assert!(prepare(2).is_empty(), "it waits for the newer schema");
    trio.pass_ms(60);
    let waited = trio.tick(1);
    assert!(matches!(sent(&waited)[..], [Message::Vote { vote: Vote::Refused(_), .. }]), "{waited:?}");
}

#[test]
fn a_fenced_member_records_no_abort() {
    // Aim: wrong text 10. Method: C votes yes, is fenced and reports "prepared"; then the Abort arrives.
    let mut trio = Trio::open(3, false);
    let (txid, _) = trio.commit(0, 1, 10);
    trio.carry_to(2);
    let epoch = Epoch { number: 2, parent: 1, members: vec![None, Some(trio.peers[1]), Some(trio.peers[2])] };
    let agreed = Agreement { opened: trio.agreed.opened.clone(), latest: Some(epoch), chain: vec![1] };
    let report = trio.event(2, |replica, now, out| replica.on_agreed(now, agreed, out));
    let Message::Flush { step: FlushStep::Report(report), .. } = sent(&report)[0] else {
        panic!("{report:?}")
    };
    assert_eq!(report.prepared.len(), 1);
    let coordinator = trio.peers[0];
    let abort = Message::Abort { epoch: 1, txid };
    let effects = trio.event(2, |replica, now, out| replica.on_message(now, coordinator, abort, out));
    assert!(effects.is_empty(), "{effects:?}");
    assert_eq!(trio.nodes[2].in_doubt(trio.now).len(), 1);
}

#[test]
fn a_single_member_opens_its_epoch_at_once() {
    // Aim: an embedded node needs no network. Method: start, commit, read the outcome.
    let mut trio = Trio::open(1, false);
    assert!(trio.nodes[0].is_serving());
    let (txid, effects) = trio.commit(0, 1, 10);
    assert!(matches!(effects[..], [Effect::Done { reply: Reply::Committed(_), .. }]));
    assert!(matches!(trio.nodes[0].outcome(txid), Outcome::Committed(_)));
}

#[test]
fn nobody_serves_before_the_epoch_is_open() {
    // Aim: wrong text 8. Method: all have staged it and nobody has recorded that; the member still serves and votes nothing.
    let mut trio = Trio::apart(2, false);
    trio.begin();
    while trio.opens.is_none() {
        assert!(trio.carry_one());
    }
    assert!(!trio.nodes[1].is_serving() && !trio.nodes[1].status(trio.now).open);
    let why = trio.nodes[1].available(&[TABLE]).expect_err("not open");
    assert_eq!(why.why, Why::EpochChange);
    trio.carry_all();
    assert!(trio.nodes[1].is_serving());
}

#[test]
fn outcomes_are_settled_when_every_participant_has_answered_the_mark() {
    // Aim: "outcome forgotten on apply" is wrong, and memory is bounded all the same. Method: marks go round.
    let mut trio = Trio::open(2, false);
    let (txid, _) = trio.commit(0, 1, 10);
    trio.carry_all();
    trio.pass_ms(1_100);
    let marked = trio.tick(0);
    assert!(matches!(sent(&marked)[..], [Message::Mark { generation: 1, settled: 0, .. }]), "{marked:?}");
    trio.carry_all();
    trio.pass_ms(1_100);
    let marked = trio.tick(0);
    assert!(matches!(sent(&marked)[..], [Message::Mark { settled: 1, .. }]), "{marked:?}");
    trio.carry_all();
    for at in 0..2 {
        assert!(matches!(trio.nodes[at].outcome(txid), Outcome::Committed(_)), "kept for who asks");
        trio.pass_ms(700_000);
        trio.tick(at);
        assert_eq!(trio.nodes[at].outcome(txid), Outcome::Unknown, "and then forgotten, never guessed");
    }
}

#[test]
fn an_acknowledged_write_outlives_all_processes_and_one_disc() {
    // Aim: a member whose disc was lost is no witness against what the others prepared, also when it dies again in the
    // middle of the flush. Method: a write is told, nobody has logged the commit, all die; each one in turn comes back empty.
    for again in [false, true] {
        for lost in [None, Some(0), Some(1), Some(2)] {
            let mut trio = Trio::open(3, true);
            let (txid, _) = trio.commit(0, 7, 42);
            while trio.reply(txid).is_none() {
                trio.carry_one();
            }
            assert!(matches!(trio.reply(txid), Some(Reply::Committed(_))));
            let mut after = trio.reborn(lost);
            if again && lost.is_some() {
                // To the moment where the empty one has staged the next epoch, and has written that down.
                while !after
                    .logged
                    .iter()
                    .any(|(at, token)| Some(*at) == lost && matches!(token, LogToken::Staged(2)))
                {
                    after.carry_one();
                }
                after = after.reborn(None);
            }
            after.settle();
            let values: Vec<_> = (0..3).map(|at| after.value(at, 7)).collect();
            assert_eq!(values, vec![Some(Value::Int(42)); 3], "lost {lost:?}, dies again: {again}");
        }
    }
}

#[test]
fn a_definition_that_a_joiner_does_not_know_ends_nobody() {
    // Aim: rows of the schema table that this version cannot read, from a newer member or a broken one, do not end a node
    // that takes a copy: it asks again, and takes what it can read. Method: a member comes back empty; the first copy of the
    // schema on its way is made unreadable.
    let trio = Trio::open(3, true);
    let mut after = trio.reborn(Some(2));
    let schema = |message: &Message| {
        let step = match message {
            Message::Copy { table: SCHEMA_TABLE, step, .. } => Some(step),
            _ => None,
        };
        matches!(step, Some(CopyStep::Chunk(chunk)) if !chunk.rows.is_empty())
    };
    while !after.wire.front().is_some_and(|(_, to, message)| *to == 2 && schema(message)) {
        assert!(
            after.carry_one() || {
                after.pass_ms(50);
                after.tick(2);
                true
            }
        );
    }
    let (from, to, mut message) = after.wire.pop_front().expect("it is the next one");
    let Message::Copy { step: CopyStep::Chunk(CopyChunk { rows, .. }), .. } = &mut message else {
        panic!("{message:?}")
    };
    let values = [Value::Int(9), Value::Int(9), Value::Bytes(vec![255; 9])];
    rows[0].2 = Body::Row(Row::encode(SchemaVersion::FIRST, &values).expect("small"));
    after.wire.push_front((from, to, message));
    after.carry_one();
    assert!(after.stores[2].table(TABLE).is_none(), "nothing was taken of it");
    after.settle();
    let status = after.nodes[2].status(after.now);
    assert!(status.open && status.complete && after.stores[2].table(TABLE).is_some(), "{status:?}");
}
