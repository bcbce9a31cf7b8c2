//! Aim: queries stream what they found, wrong ones show where, and a stream that is left frees the server. Method: one
//! node, the Rust client.

use hypermnesia_rpc::client::{AttributeType, TableSpec};
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
async fn a_table_gets_other_columns_by_a_statement() {
    // Aim: transforms reach a table over the wire, wholly or not at all. Method: a cast that one row refuses, then one that
    // all take, with a column that goes and one that comes.
    let served = Served::with_accounts().await;
    let client = &served.client;
    let run = async |text: &str| client.query(text, ()).await?.finish().await;
    run("ALTER TABLE accounts ADD COLUMN note TEXT NOT NULL DEFAULT '7'").await.expect("added");
    client.table("accounts").put(("carol", 3, "x")).await.expect("it fits");
    let error = run("ALTER TABLE accounts\nALTER COLUMN note TYPE INT").await.expect_err("x is no number");
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Invalid, true));
    assert_eq!(error.position(), Some((2, 14)));
    assert!(error.message().contains("'carol'"), "{error}");
    let bob = client.table("accounts").get_one("bob").await.expect("read");
    assert_eq!(bob, Some(vec!["bob".into(), 0.into(), "7".into()]));
    let text = "ALTER TABLE accounts ALTER COLUMN note TYPE INT USING balance + length(note), RENAME note TO sum, \
                ADD COLUMN on BOOL DEFAULT TRUE";
    run(text).await.expect("altered");
    let carol = client.table("accounts").get_one("carol").await.expect("read");
    assert_eq!(carol, Some(vec!["carol".into(), 3.into(), 4.into(), true.into()]));
    run("ALTER TABLE accounts RENAME TO people").await.expect("renamed");
    assert_eq!(client.describe_table("people").await.expect("there").rows, 3);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_changed_by_statements() {
    let served = Served::start().await;
    let run = async |statement: &str| served.client.query(statement, ()).await.expect("valid").finish().await;
    run("CREATE TABLE cities (id INT PRIMARY KEY, name TEXT) WITH (kind = 'ordered_set')")
        .await
        .expect("new");
    run("CREATE TABLE IF NOT EXISTS cities (id INT PRIMARY KEY)").await.expect("there");
    run("CREATE INDEX by_name ON cities (name)").await.expect("new");
    let table = served.client.describe_table("cities").await.expect("there").table.expect("described");
    assert_eq!((table.indexes.len(), table.copies.len()), (1, 1));
    run("DROP INDEX by_name").await.expect("there");
    run("DROP TABLE cities").await.expect("there");
    let gone = served.client.query("DROP TABLE cities", ()).await;
    let gone = match gone {
        Ok(rows) => rows.finish().await.expect_err("gone"),
        Err(error) => error,
    };
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_expires() {
    let served = Served::start().await;
    let spec = TableSpec::ordered_set("texts")
        .attribute("n", AttributeType::Int)
        .attribute("text", AttributeType::Text);
    served.client.create_table(spec).await.expect("new");
    let numbers = served.client.table("texts");
    // 16 MB: more than all buffers on the way together.
    for part in 0..32_i64 {
        let rows = (0..16).map(|n| (part * 16 + n, "x".repeat(32_000)));
        numbers.put_many(rows).await.expect("fits");
    }
    let mut rows = numbers.scan(hypermnesia_rpc::client::Scan::all()).await.expect("a scan");
    rows.next().await.expect("a row").expect("not the end");
    let patience = hypermnesia_rpc::limits::IDLE_MAX + std::time::Duration::from_secs(1);
    tokio::time::sleep(patience).await;
    let error = loop {
        match rows.next().await {
            Ok(row) => assert!(row.is_some(), "the scan ended as if it were complete"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Expired, true));
    served.stop().await;
}
