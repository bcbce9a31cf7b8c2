//! Aim: numbers and ids are given out once, whoever asks. Method: several clients at a time over one node, then the edges.

use std::collections::BTreeSet;

use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::Client;

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_given_out_once() {
    let served = Served::start().await;
    let client = &served.client;
    assert_eq!(client.current("orders").await.expect_err("not yet").kind(), ErrorKind::NotFound);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let own = Client::connect(&served.address).await.expect("it listens");
        tasks.spawn(async move {
            let mut taken = Vec::new();
            for n in 0..300 {
                taken.extend(own.next_block("orders", 1 + n % 7).await.expect("given"));
            }
            taken
        });
    }
    let all = tasks.join_all().await.concat();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "none twice");
    let current = client.current("orders").await.expect("there");
    assert!(all.iter().all(|n| *n <= current));
    client.reset_sequence("orders", 7).await.expect("there");
    assert_eq!(client.next("orders").await.expect("given"), 7);
    assert_eq!(client.sequences().await.expect("listed").len(), 1);
    client.drop_sequence("orders").await.expect("there");
    for gone in [client.drop_sequence("orders").await, client.reset_sequence("orders", 1).await] {
        assert_eq!(gone.expect_err("gone").kind(), ErrorKind::NotFound);
    }
    assert_eq!(client.next("orders").await.expect("made anew"), 1);
    let refused = client.next_block("orders", 2_000_000).await.expect_err("too many");
    assert_eq!((refused.kind(), refused.changed_nothing()), (ErrorKind::Limit, true));
    assert_eq!(client.next("").await.expect_err("no name").kind(), ErrorKind::Invalid);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_ascend() {
    let served = Served::start().await;
    let ids = served.client.unique_ids(1_000).await.expect("made");
    let more = served.client.unique_ids(0).await.expect("one");
    assert!(ids.windows(2).all(|two| two[0] < two[1]) && ids[999] < more[0]);
    assert_eq!((ids.len(), more.len()), (1_000, 1));
    let refused = served.client.unique_ids(10_001).await.expect_err("too many");
    assert_eq!((refused.kind(), refused.field()), (ErrorKind::Invalid, Some("count")));
    served.stop().await;
}
