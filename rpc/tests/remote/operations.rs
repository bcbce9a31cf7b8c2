//! Aim: the pipelined stream carries many operations at a time, each answered for itself. Method: thousands of operations
//! from many tasks over one stream, some of them wrong.

use hypermnesia_rpc::client::Transact;
use hypermnesia_rpc::{ErrorKind, Value};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn many_are_in_flight_and_each_gets_its_own_answer() {
    let served = Served::with_numbers(0).await;
    let operations = served.client.operations().await.expect("a stream");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..3_000_i64 {
        let operations = operations.clone();
        tasks.spawn(async move {
            operations.put("numbers", (n, format!("text {n}"))).await.expect("fits");
            let rows = operations.get("numbers", n).await.expect("read");
            assert_eq!(rows, [[Value::Int(n), Value::Text(format!("text {n}"))]]);
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    assert_eq!(served.client.describe_table("numbers").await.expect("there").rows, 3_000);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_operation_fails_alone() {
    let served = Served::with_accounts().await;
    let operations = served.client.operations().await.expect("a stream");
    let (wrong, unknown, right) = tokio::join!(
        operations.put("accounts", ("alice", "x")),
        operations.get("nothing", 1),
        operations.transact(Transact::new().when_exists("accounts", "bob").delete("accounts", "bob")),
    );
    assert_eq!(wrong.expect_err("wrong type").kind(), ErrorKind::Invalid);
    assert_eq!(unknown.expect_err("no table").kind(), ErrorKind::NotFound);
    assert!(right.expect("it runs").applied());
    operations.delete("accounts", "alice").await.expect("the stream goes on");
    assert_eq!(served.client.describe_table("accounts").await.expect("there").rows, 0);
    served.stop().await;
}
