//! Questions for rows of tables that have no copy at the asker, and transactions that only read.

use std::sync::Arc;

use hypermnesia_replication::fetch::{Ask, At, Fetch, Fetched, NotFetched};
use hypermnesia_replication::{CommitRequest, Effect, Message, Reply, Unavailable, Why};
use hypermnesia_store::{
    Ack, NodeId, ReadNote, SCHEMA_TABLE, SchemaVersion, Storage, Timestamp, Work, define,
};

use crate::trio::{TABLE, Trio, key, nodes, sent, table};

/// Three members of an epoch; the table is on the second and third one.
fn without_the_first() -> Trio {
    let mut trio = Trio::open(3, false);
    for store in &trio.stores {
        let mut def = table(&nodes(3)[1..], Storage::Ram);
        def.version = def.version.next();
        store.load_writes(Timestamp(2), &[define(&def)]).expect("nobody serves");
    }
    trio.effects.clear();
    trio
}

fn fetch(at: At) -> Fetch {
    let version = SchemaVersion::FIRST.next();
    Fetch { table: TABLE, version, at, ask: Ask::Key(key(1)), wait_ms: 100 }
}

#[test]
fn a_question_goes_to_a_holder_of_the_same_epoch() {
    // Aim: who may be asked, and who may answer. Method: a table on two of three: each of them is picked, one that is not connected
    // is not, nobody is left when both are not; a question of this epoch comes out as an effect, one of another epoch nowhere.
    let mut trio = without_the_first();
    let (two, three) = (trio.peers[1], trio.peers[2]);
    let picked = |trio: &Trio, pick, not| trio.nodes[0].holder_to_ask(TABLE, pick, not);
    assert_eq!((picked(&trio, 0, None), picked(&trio, 1, None)), (Ok((two, 1)), Ok((three, 1))));
    assert_eq!(picked(&trio, 0, Some(two)), Ok((three, 1)));
    trio.event(0, |replica, now, out| replica.on_disconnected(now, three, out));
    assert_eq!(picked(&trio, 1, Some(two)), Ok((two, 1)), "the only one left");
    trio.event(0, |replica, now, out| replica.on_disconnected(now, two, out));
    let away = Unavailable { member: NodeId(2), why: Why::NotConnected };
    assert_eq!(picked(&trio, 0, None), Err(away));

    let one = trio.peers[0];
    let asked = |epoch| Message::Fetch { epoch, id: 7, fetch: fetch(At::Newest(Timestamp(5))) };
    let came = trio.event(1, |replica, now, out| replica.on_message(now, one, asked(1), out));
    let wanted = Effect::Fetch { from: one, epoch: 1, id: 7, fetch: fetch(At::Newest(Timestamp(5))) };
    assert_eq!(came, [wanted]);
    for epoch in [0, 2] {
        assert!(
            trio.event(1, |replica, now, out| replica.on_message(now, one, asked(epoch), out)).is_empty()
        );
    }
    let answer = |epoch| Message::Fetched { epoch, id: 7, answer: Fetched::Count(3) };
    let came = trio.event(0, |replica, now, out| replica.on_message(now, two, answer(1), out));
    assert_eq!(came, [Effect::Fetched { id: 7, answer: Fetched::Count(3) }]);
    assert!(trio.event(0, |replica, now, out| replica.on_message(now, two, answer(2), out)).is_empty());
}

#[test]
fn who_has_no_copy_answers_nothing() {
    // Aim: rows come from copies alone. Method: the member without one is asked.
    let mut trio = without_the_first();
    let two = trio.peers[1];
    let asked = Message::Fetch { epoch: 1, id: 7, fetch: fetch(At::Exactly(Timestamp(5))) };
    let came = trio.event(0, |replica, now, out| replica.on_message(now, two, asked, out));
    let refused = |message: &Message| {
        matches!(message, Message::Fetched { answer: Fetched::Refused { why: NotFetched::NotReady, .. }, .. })
    };
    assert!(matches!(sent(&came)[..], [message] if refused(message)), "{came:?}");
    assert_ne!(TABLE, SCHEMA_TABLE);
}

#[test]
fn what_only_reads_is_agreed_on_and_costs_no_log() {
    // Aim: a transaction that read on other members is validated there, and leaves nothing on a disc. Method: a table on disc on all
    // of three, whose logs count; a read of a key as it is, and one of a version that it never had.
    let mut trio = Trio::open(3, true);
    let logs = |trio: &Trio| trio.logs.iter().map(Vec::len).collect::<Vec<_>>();
    let before = logs(&trio);
    for (version, committed) in [(Timestamp::NEVER, true), (Timestamp(9), false)] {
        let txid = trio.txid(0);
        let txn = trio.stores[0].begin(txid);
        let note = ReadNote { table: TABLE, key: key(1), version };
        let work = Work { reads: vec![note], schema: vec![(TABLE, SchemaVersion::FIRST)], ..Work::default() };
        let deadline_ns = trio.now.mono_ns + 400_000_000;
        let request = CommitRequest { work: Arc::new(work), ack: Ack::Logged, sync: false, deadline_ns };
        trio.event(0, |replica, now, out| replica.commit(now, txn, request, out));
        trio.carry_all();
        let reply = trio.reply(txid);
        assert_eq!(matches!(reply, Some(Reply::Committed(_))), committed, "{reply:?}");
        assert_eq!(logs(&trio), before);
        assert!(trio.stores.iter().all(|store| store.lock_counts() == (0, 0)));
    }
}
