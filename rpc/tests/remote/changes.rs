//! Aim: changes that look before they write say what they did, and what they were given wrong is named. Method: one node, the
//! Rust client, each change in a call, in a whole transaction and step by step.

use hypermnesia_rpc::client::{
    AttributeType, Change, Changed, Count, Expected, TableSpec, Transact, TransactionOptions,
};
use hypermnesia_rpc::{ErrorKind, Value, proto};

use crate::served::Served;

fn row(id: &str, balance: i64) -> Vec<Value> {
    vec![id.into(), balance.into()]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_says_what_it_did() {
    let served = Served::with_accounts().await;
    let accounts = served.client.table("accounts");
    assert!(!accounts.insert_new(("bob", 1)).await.expect("runs"));
    assert!(accounts.insert_new(("carol", 1)).await.expect("runs"));
    assert!(accounts.update("carol", [("balance", 5)]).await.expect("runs"));
    assert!(!accounts.update("dave", [("balance", 5)]).await.expect("runs"));
    assert_eq!(accounts.increment("carol", "balance", 2).await.expect("runs"), Some(7));
    assert_eq!(accounts.increment("dave", "balance", 2).await.expect("runs"), None);
    let wrapping = [Count::new("balance", 5).wrapping(10, -1)];
    let counted = accounts.change(Change::count("accounts", "carol", wrapping)).await.expect("runs");
    assert_eq!(counted, Changed { applied: true, rows: vec![], sums: vec![-1] });
    let from = Change::count("accounts", "dave", [Count::new("balance", 1)]).or_from(("dave", 40));
    assert_eq!(accounts.change(from).await.expect("runs").sums, [41]);
    assert_eq!(accounts.lookup("dave", "balance", 0).await.expect("read"), Value::Int(41));
    assert_eq!(accounts.lookup("erin", "balance", 0).await.expect("read"), Value::Int(0));
    assert_eq!(accounts.take("dave").await.expect("runs"), [row("dave", 41)]);
    assert_eq!(accounts.take("dave").await.expect("runs"), Vec::<Vec<Value>>::new());
    assert_eq!(accounts.insert_new_many([("erin", 1), ("bob", 1)]).await.expect("runs"), None);
    assert!(accounts.get("erin").await.expect("read").is_empty());
    let many = accounts.insert_new_many([("erin", 1), ("frank", 1)]).await.expect("runs");
    assert!(many.is_some_and(|at| at > 0));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_read_compared_and_swapped() {
    let served = Served::with_accounts().await;
    let (client, accounts) = (&served.client, served.client.table("accounts"));
    let (rows, version) = accounts.get_versioned("alice").await.expect("read");
    assert!(version > 0 && rows == [row("alice", 100)]);
    assert_eq!(accounts.get_versioned("nobody").await.expect("read"), (vec![], 0));
    let by = |version: u64, balance: i64| {
        Transact::new().when_version("accounts", "alice", version).put("accounts", ("alice", balance))
    };
    let first = client.transact(by(version, 1).read("accounts", "alice")).await.expect("runs");
    assert_eq!((first.applied(), &first.versions), (true, &vec![version]));
    assert!(first.results[0].applied);
    let (_, now) = accounts.get_versioned("alice").await.expect("read");
    assert_eq!(now, first.committed_at, "a version is the commit of its last change");
    let stale = client.transact(by(version, 2)).await.expect("runs");
    assert_eq!((stale.failed_condition, stale.results.len()), (Some(0), 0));
    assert!(!accounts.swap("alice", Expected::Version(version), Some(("alice", 3))).await.expect("runs"));
    assert!(accounts.swap("alice", Expected::Version(now), Some(("alice", 3))).await.expect("runs"));
    assert!(accounts.swap("alice", Expected::equals(("alice", 3)), None::<(&str, i64)>).await.expect("runs"));
    assert!(accounts.swap("alice", Expected::Absent, Some(("alice", 4))).await.expect("runs"));
    assert!(!accounts.swap("alice", Expected::Absent, Some(("alice", 5))).await.expect("runs"));

    let mut tx = client.begin(TransactionOptions::new()).await.expect("open");
    let (_, version) = tx.get_versioned("accounts", "alice").await.expect("read");
    let swap = |n: i64| Change::swap("accounts", "alice", Expected::Version(version), Some(("alice", n)));
    assert!(tx.change(swap(6)).await.expect("runs").applied);
    assert_eq!(tx.get_versioned("accounts", "alice").await.expect("read"), (vec![row("alice", 6)], 0));
    assert!(!tx.change(swap(7)).await.expect("runs").applied, "it is its own now");
    assert_eq!(tx.change(Change::take("accounts", "bob")).await.expect("runs").rows, [row("bob", 0)]);
    tx.commit().await.expect("nobody else wrote");
    assert_eq!(accounts.get("alice").await.expect("read"), [row("alice", 6)]);
    assert!(accounts.get("bob").await.expect("read").is_empty());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_changes_are_named_and_change_nothing() {
    // Aim: contract case 10 over the wire. Method: each field wrong once; the error has its path; then the rows are as before.
    let served = Served::with_accounts().await;
    let (client, accounts) = (&served.client, served.client.table("accounts"));
    let wrong = [
        (Change::update("accounts", "alice", [("nope", 1)]), "writes[0].update.changes[0].attribute"),
        (Change::update("accounts", "alice", [("id", "x")]), "writes[0].update.changes[0].attribute"),
        (Change::count("accounts", "alice", [Count::new("nope", 1)]), "writes[0].count.counts[0].attribute"),
        (Change::count("accounts", (1,), [Count::new("balance", 1)]), "writes[0].count.key"),
        (Change::count("accounts", "x", []).or_from(("x", "y")), "writes[0].count.default"),
        (Change::insert_new("accounts", ("x", "y")), "writes[0].insert_new.row"),
        (Change::take("accounts", (1, 2)), "writes[0].take.key"),
        (Change::swap("accounts", "alice", Expected::Version(1), Some(("alice",))), "writes[0].swap.new"),
        (
            Change::swap("accounts", "alice", Expected::equals((1,)), Some(("alice", 1))),
            "writes[0].swap.equals",
        ),
    ];
    for (change, field) in wrong {
        let put = Change::put("accounts", ("alice", 1));
        let refused = client.transact(Transact::new().change(change).change(put)).await.expect_err(field);
        assert_eq!((refused.kind(), refused.field()), (ErrorKind::Invalid, Some(field)), "{refused}");
    }
    let overflow = Change::count("accounts", "alice", [Count::new("balance", i64::MAX)]);
    let refused = accounts.change(overflow).await.expect_err("beyond 64 bits");
    assert!(refused.changed_nothing(), "{refused}");
    let bag = TableSpec::bag("log").attribute("id", AttributeType::Int).attribute("n", AttributeType::Int);
    client.create_table(bag).await.expect("new");
    let refused = client.table("log").increment(1, "n", 1).await.expect_err("a bag has no counters");
    assert_eq!((refused.kind(), refused.changed_nothing()), (ErrorKind::Refused, true));
    let swap = proto::SwapWrite { table: "log".into(), ..proto::SwapWrite::default() };
    let write = proto::Write { write: Some(proto::write::Write::Swap(swap)) };
    let request = proto::TransactRequest { writes: vec![write], ..proto::TransactRequest::default() };
    let mut raw = proto::transactions_client::TransactionsClient::new(client.channel());
    assert!(raw.transact(request).await.is_err(), "a swap without a key");
    assert_eq!(accounts.get("alice").await.expect("read"), [row("alice", 100)]);
    served.stop().await;
}
