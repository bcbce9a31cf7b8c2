//! Aim: a call ends within the time that its caller names, and waits that long for what it needs. Method: a member of two
//! whose other half comes late or never, and a row that somebody has locked.

use std::time::{Duration, Instant};

use hypermnesia::Node;
use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{AttributeType, Client, Scan, TableSpec, Transact, TransactionOptions};

use crate::cluster::addresses;
use crate::served::Served;

/// Well above what is named below, well below every default.
const SOON: Duration = Duration::from_secs(3);

async fn alone() -> Served {
    let (members, mut listeners) = addresses();
    let builder = Node::builder().name("n1").members(members).peer_listener(listeners.remove(0));
    Served::over(builder.build().expect("a good configuration")).await
}

/// How every call about tables fails at a member that waits for another.
async fn failures(client: &Client) -> Vec<(&'static str, hypermnesia_rpc::Error)> {
    let spec = TableSpec::set("t").attribute("id", AttributeType::Int);
    vec![
        ("query", client.query("SELECT * FROM t", ()).await.expect_err("loading")),
        ("update", client.query("DELETE FROM t", ()).await.expect_err("loading")),
        ("get", client.table("t").get(1).await.expect_err("loading")),
        ("dirty get", client.table("t").dirty_get(1).await.expect_err("loading")),
        ("put", client.table("t").put(1).await.expect_err("loading")),
        ("scan", client.table("t").scan(Scan::all()).await.expect_err("loading")),
        ("transact", client.transact(Transact::new().put("t", 1)).await.expect_err("loading")),
        ("begin", client.begin(TransactionOptions::new()).await.expect_err("loading")),
        ("create", client.create_table(spec).await.expect_err("loading")),
        ("describe", client.describe_table("t").await.expect_err("loading")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_deadline_waits_for_loading_tables_and_no_longer() {
    let served = alone().await;
    let begin = Instant::now();
    failures(&served.client).await;
    assert!(begin.elapsed() < SOON, "without a deadline nothing waits: {:?}", begin.elapsed());
    let named = Duration::from_millis(300);
    let begin = Instant::now();
    let failures = failures(&served.client.clone().with_timeout(named)).await;
    let waited = begin.elapsed() / failures.len() as u32;
    assert!(waited > named / 2 && waited < 2 * named, "{waited:?} each");
    for (call, error) in failures {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{call}: {error}");
        assert!(error.message().contains("n2") && error.changed_nothing(), "{call}: {error}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_goes_on_when_the_tables_are_there() {
    let (members, mut listeners) = addresses();
    let (late, early) = (listeners.pop().expect("two"), listeners.pop().expect("two"));
    let builder = |name: &str| Node::builder().name(name).members(members.clone());
    let early = builder("n1").peer_listener(early).build().expect("a good configuration");
    let served = Served::over(early).await;
    let client = served.client.clone().with_timeout(Duration::from_secs(30));
    let waiting = tokio::spawn(async move { client.query("SELECT * FROM t", ()).await });
    let late = builder("n2").peer_listener(late).build().expect("a good configuration");
    let error = waiting.await.expect("no panic").expect_err("there is no such table");
    assert!(served.node.is_ready() && error.message().contains('t'), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid, "it was looked for: {error}");
    tokio::task::spawn_blocking(move || late.close()).await.expect("closed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ends_when_its_caller_says() {
    let served = Served::with_accounts().await;
    let mut holder = served.client.begin(TransactionOptions::new()).await.expect("begun");
    holder.get_for_update("accounts", "alice").await.expect("locked");
    let client = served.client.clone().with_timeout(Duration::from_millis(300));
    let accounts = client.table("accounts");
    for dirty in [false, true] {
        let begin = Instant::now();
        let failed = match dirty {
            false => accounts.put(("alice", 1)).await.map(drop),
            true => accounts.dirty_put(("alice", 1)).await,
        };
        let error = failed.expect_err("alice is locked");
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        assert!(error.changed_nothing(), "{error:?}");
    }
    let begin = Instant::now();
    let update = client.query("UPDATE accounts SET balance = 1 WHERE id = 'alice'", ()).await;
    let error = update.expect_err("alice is locked");
    assert!(begin.elapsed() < SOON && error.changed_nothing(), "{:?}: {error:?}", begin.elapsed());
    let mut second = client.begin(TransactionOptions::new()).await.expect("begun");
    let begin = Instant::now();
    second.get_for_update("accounts", "alice").await.expect_err("alice is locked");
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    holder.abort().await.expect("aborted");
    assert_eq!(accounts.get_one("alice").await.expect("read"), Some(vec!["alice".into(), 100.into()]));
    served.stop().await;
}
