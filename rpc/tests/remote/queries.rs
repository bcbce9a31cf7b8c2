//! Aim: queries stream what they found, wrong ones show where, and a stream that is left frees the server. Method: one
//! node, the Rust client.

use hypermnesia_rpc::{ErrorKind, Value};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn statements_read_and_change_rows() {
    let served = Served::with_accounts().await;
    let client = &served.client;
    let insert =
        client.query("INSERT INTO accounts (id, balance) VALUES (?, ?)", ("carol", 50)).await.expect("valid");
    assert_eq!(insert.finish().await.expect("done"), 1);
    let mut rows = client
        .query("SELECT id, balance FROM accounts WHERE balance > ? ORDER BY id", [10])
        .await
        .expect("valid");
    assert_eq!(rows.columns(), ["id", "balance"]);
    assert_eq!(rows.next().await.expect("a row"), Some(vec!["alice".into(), 100.into()]));
    assert_eq!(rows.next().await.expect("a row"), Some(vec!["carol".into(), 50.into()]));
    assert_eq!(rows.next().await.expect("the end"), None);
    assert_eq!(rows.affected(), Some(2));
    let update = client.query("UPDATE accounts SET balance = balance + 1", ()).await.expect("valid");
    assert_eq!(update.finish().await.expect("done"), 3);
    let explain = client.query("EXPLAIN SELECT * FROM accounts WHERE id = 'bob'", ()).await.expect("valid");
    assert!(!explain.collect().await.expect("a plan").is_empty());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_statement_shows_its_place() {
    let served = Served::with_accounts().await;
    let error = match served.client.query("SELECT id FROM accounts\nWHERE colour = 1", ()).await {
        Ok(rows) => rows.collect().await.expect_err("no such column"),
        Err(error) => error,
    };
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Invalid, true));
    assert_eq!(error.position(), Some((2, 7)));
    assert!(error.message().contains('^') && error.message().contains("colour"), "{error}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_left_half_way_ends_at_the_server() {
    let served = Served::with_numbers(50_000).await;
    // More streams than may run at a time: the later ones only begin if the ones that were left are freed.
    for _ in 0..hypermnesia_rpc::limits::BLOCKING_CALLS_MAX + 8 {
        let mut rows = served.client.query("SELECT n, text FROM numbers", ()).await.expect("valid");
        assert!(matches!(rows.next().await.expect("a row").expect("not the end")[0], Value::Int(0)));
    }
    let count = served.client.query("SELECT count(*) FROM numbers", ()).await.expect("valid");
    assert_eq!(count.collect().await.expect("a row"), [[Value::Int(50_000)]]);
    served.stop().await;
}
