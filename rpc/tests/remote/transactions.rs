//! Aim: one-shot transactions are atomic, checked, and done once per request id. Method: one node, the Rust client.

use std::time::Duration;

use hypermnesia_rpc::client::{Comparison, Outcome, Transact, TransactionId, TransactionOptions};
use hypermnesia_rpc::{ErrorKind, Value};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn conditions_reads_and_writes_are_one() {
    let served = Served::with_accounts().await;
    let client = &served.client;
    let transfer = || {
        Transact::new()
            .when("accounts", "alice", "balance", Comparison::GreaterOrEqual, 60)
            .when_absent("accounts", "carol")
            .read("accounts", "bob")
            .put("accounts", ("alice", 40))
            .put("accounts", ("bob", 60))
    };
    let first = client.transact(transfer()).await.expect("it runs");
    assert!(first.applied() && first.committed_at > 0);
    assert_eq!(
        first.reads,
        [[vec![Value::from("bob"), Value::Int(0)]]],
        "reads see the state before the writes"
    );
    let second = client.transact(transfer()).await.expect("it runs");
    assert_eq!((second.failed_condition, second.committed_at), (Some(0), 0));
    assert_eq!(second.reads, [[vec![Value::from("bob"), Value::Int(60)]]]);
    let alice = client.table("accounts").get_one("alice").await.expect("read");
    assert_eq!(alice, Some(vec!["alice".into(), 40.into()]), "nothing is written when a condition fails");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_condition_tells_true_from_false() {
    let served = Served::with_accounts().await;
    let held =
        async |transaction: Transact| served.client.transact(transaction).await.expect("it runs").applied();
    let compare =
        |comparison, value: Value| Transact::new().when("accounts", "alice", "balance", comparison, value);
    for (comparison, less, same, more) in [
        (Comparison::Equal, false, true, false),
        (Comparison::NotEqual, true, false, true),
        (Comparison::Less, false, false, true),
        (Comparison::LessOrEqual, false, true, true),
        (Comparison::Greater, true, false, false),
        (Comparison::GreaterOrEqual, true, true, false),
    ] {
        assert_eq!(held(compare(comparison, Value::Int(99))).await, less, "100 {comparison:?} 99");
        assert_eq!(held(compare(comparison, Value::Float(100.0))).await, same, "100 {comparison:?} 100.0");
        assert_eq!(held(compare(comparison, Value::Int(101))).await, more, "100 {comparison:?} 101");
    }
    assert!(held(Transact::new().when_exists("accounts", "alice")).await);
    assert!(!held(Transact::new().when_exists("accounts", "carol")).await);
    assert!(!held(Transact::new().when_absent("accounts", "alice")).await);
    assert!(held(Transact::new().when_equals("accounts", "alice", ("alice", 100))).await);
    assert!(!held(Transact::new().when_equals("accounts", "alice", ("alice", 101))).await);
    assert!(
        !held(Transact::new().when("accounts", "carol", "balance", Comparison::NotEqual, 0)).await,
        "no row"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_part_is_named_and_spoils_the_whole() {
    let served = Served::with_accounts().await;
    let client = &served.client;
    let wrong = Transact::new().put("accounts", ("alice", 1)).put("accounts", ("bob", "x"));
    let error = client.transact(wrong).await.expect_err("wrong type");
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("writes[1].put.row")));
    let unknown = Transact::new().put("accounts", ("alice", 1)).put("nothing", ("bob", 1));
    assert_eq!(client.transact(unknown).await.expect_err("no table").kind(), ErrorKind::NotFound);
    let attribute = Transact::new().when("accounts", "bob", "colour", Comparison::Equal, 1);
    let error = client.transact(attribute).await.expect_err("no attribute");
    assert_eq!(error.field(), Some("conditions[0].attribute.attribute"));
    let alice = client.table("accounts").get_one("alice").await.expect("read");
    assert_eq!(alice, Some(vec!["alice".into(), 100.into()]));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_done_once() {
    let served = Served::with_accounts().await;
    let client = &served.client;
    let request = |id: &str, balance| {
        let options = TransactionOptions::new().request_id(id);
        Transact::new().read("accounts", "alice").put("accounts", ("alice", balance)).options(options)
    };
    let first = client.transact(request("r1", 1)).await.expect("it runs");
    client.table("accounts").put(("alice", 2)).await.expect("fits");
    let again = client.transact(request("r1", 1)).await.expect("it is answered");
    assert_eq!(again, first, "the first outcome, with what was read then");
    let alice = client.table("accounts").get_one("alice").await.expect("read");
    assert_eq!(alice, Some(vec!["alice".into(), 2.into()]), "it was not written again");
    let other = client.transact(request("r1", 3)).await.expect_err("another request under the same id");
    assert_eq!(other.field(), Some("options.request_id"));
    let long = client.transact(request(&"x".repeat(129), 3)).await.expect_err("too long");
    assert_eq!((long.kind(), long.field()), (ErrorKind::Invalid, Some("options.request_id")));
    // How long it may take is no part of what is asked for, nor what has become of the table since.
    client.drop_table("accounts").await.expect("it is there");
    let options = TransactionOptions::new().request_id("r1").timeout(Duration::from_secs(3));
    let patient = Transact::new().read("accounts", "alice").put("accounts", ("alice", 1)).options(options);
    assert_eq!(client.transact(patient).await.expect("it is answered"), first);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_with_one_request_id_have_one_answer() {
    // Aim: the second call waits for the first and is told what that did. Method: sixteen with one
    // id add to a balance that only the first finds as it was.
    let served = Served::with_accounts().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let client = served.client.clone();
        let options = TransactionOptions::new().request_id("once");
        let swap = Transact::new().when_equals("accounts", "alice", ("alice", 100));
        let swap = swap.put("accounts", ("alice", 101)).options(options);
        tasks.spawn(async move { client.transact(swap).await.expect("answered") });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.applied() && *answer == answers[0]), "{answers:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_sender_went_away_is_not_done_again() {
    let served = Served::with_accounts().await;
    for round in 0..40_i64 {
        let request = move || {
            let options = TransactionOptions::new().request_id(format!("round {round}"));
            let (old, new) = (("alice", 100 + round), ("alice", 101 + round));
            Transact::new().when_equals("accounts", "alice", old).put("accounts", new).options(options)
        };
        let client = served.client.clone();
        let first = tokio::spawn(async move { client.transact(request()).await });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        first.abort();
        // Done a second time, the condition would not hold.
        assert!(served.client.transact(request()).await.expect("it runs").applied(), "round {round}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_compare_and_swap_loses_nothing() {
    let served = Served::with_accounts().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = served.client.clone();
        tasks.spawn(async move {
            for _ in 0..25 {
                loop {
                    let bob = client.table("accounts").get_one("bob").await.expect("read").expect("there");
                    let Value::Int(balance) = bob[1] else { panic!("an integer") };
                    let swap = Transact::new()
                        .when_equals("accounts", "bob", bob)
                        .put("accounts", ("bob", balance + 1));
                    match client.transact(swap).await {
                        Ok(outcome) if outcome.applied() => break,
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    let bob = served.client.table("accounts").get_one("bob").await.expect("read");
    assert_eq!(bob, Some(vec!["bob".into(), 200.into()]));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_calls_a_transaction_aborted_that_is_not_known() {
    let served = Served::start().await;
    let stranger = TransactionId { age: 1, node: 2, sequence: 3 };
    assert_eq!(served.client.outcome(stranger).await.expect("answered").0, Outcome::Unknown);
    served.stop().await;
}
