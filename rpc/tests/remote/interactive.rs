//! Aim: an interactive transaction sees itself, hides from others, and never keeps a lock behind its stream. Method: one
//! node, two transactions over the Rust client; expiry is watched for its true time, so that test takes ten seconds.

use std::time::{Duration, Instant};

use hypermnesia_rpc::client::{Scan, TransactionOptions};
use hypermnesia_rpc::limits::IDLE_MAX;
use hypermnesia_rpc::{ErrorKind, Value};
use tokio::time::timeout;

use crate::served::Served;

/// Well below the idle limit: a lock that comes within it was freed by what the test did, not by expiry.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_its_own_writes_and_shows_them_at_commit() {
    let served = Served::with_accounts().await;
    let mut tx = served.client.begin(TransactionOptions::new()).await.expect("begun");
    let alice = tx.get_for_update("accounts", "alice").await.expect("read");
    assert_eq!(alice, [[Value::from("alice"), Value::Int(100)]]);
    tx.put("accounts", ("alice", 90)).await.expect("buffered");
    tx.put("accounts", ("carol", 10)).await.expect("buffered");
    tx.delete("accounts", "bob").await.expect("buffered");
    assert_eq!(tx.get("accounts", "carol").await.expect("read").len(), 1);
    assert_eq!(tx.scan("accounts", Scan::all()).await.expect("scan").len(), 2);
    let (rows, count) = tx.query("SELECT sum(balance) FROM accounts", ()).await.expect("query");
    assert_eq!((rows[0][0].clone(), count), (Value::Int(100), 1));
    let (_, changed) =
        tx.query("UPDATE accounts SET balance = 11 WHERE id = ?", ["carol"]).await.expect("query");
    assert_eq!(changed, 1);
    let accounts = served.client.table("accounts");
    assert_eq!(accounts.get("carol").await.expect("read").len(), 0, "not visible before the commit");
    assert!(tx.commit().await.expect("committed") > 0);
    assert_eq!(accounts.get_one("carol").await.expect("read"), Some(vec!["carol".into(), 11.into()]));
    assert_eq!(accounts.get("bob").await.expect("read").len(), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_step_does_not_end_it_and_an_abort_leaves_nothing() {
    let served = Served::with_accounts().await;
    let mut tx = served.client.begin(TransactionOptions::new()).await.expect("begun");
    tx.put("accounts", ("alice", 1)).await.expect("buffered");
    let error = tx.put("accounts", ("alice", "x")).await.expect_err("wrong type");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(tx.get("nothing", 1).await.expect_err("no table").kind(), ErrorKind::NotFound);
    assert_eq!(tx.get("accounts", "alice").await.expect("it goes on")[0][1], Value::Int(1));
    tx.abort().await.expect("aborted");
    let alice = served.client.table("accounts").get_one("alice").await.expect("read");
    assert_eq!(alice, Some(vec!["alice".into(), 100.into()]));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_one_frees_its_locks_at_once() {
    let served = Served::with_accounts().await;
    let mut abandoned = served.client.begin(TransactionOptions::new()).await.expect("begun");
    abandoned.get_for_update("accounts", "alice").await.expect("locked");
    drop(abandoned);
    let mut next = served.client.begin(TransactionOptions::new()).await.expect("begun");
    let locked = timeout(SOON, next.get_for_update("accounts", "alice")).await;
    locked.expect("the lock was freed long before the idle limit").expect("locked");
    next.put("accounts", ("alice", 5)).await.expect("buffered");
    timeout(SOON, next.commit()).await.expect("at once").expect("committed");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_one_expires_and_frees_its_locks() {
    let served = Served::with_accounts().await;
    let mut idle = served.client.begin(TransactionOptions::new()).await.expect("begun");
    idle.get_for_update("accounts", "alice").await.expect("locked");
    let since = Instant::now();
    let put = timeout(IDLE_MAX + SOON, async {
        loop {
            // Waits for the lock, within the time of one call, as often as it takes.
            match served.client.table("accounts").put(("alice", 7)).await {
                Ok(_) => return,
                Err(error) => assert!(error.changed_nothing(), "{error}"),
            }
        }
    });
    put.await.expect("freed soon after the idle limit");
    assert!(
        since.elapsed() + Duration::from_millis(500) > IDLE_MAX,
        "freed too early: {:?}",
        since.elapsed()
    );
    let error = idle.get("accounts", "bob").await.expect_err("it has expired");
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Expired, true));
    assert_eq!(idle.put("accounts", ("bob", 1)).await.expect_err("it is over").kind(), ErrorKind::Expired);
    served.stop().await;
}
