//! Aim: a member says what is missing, and what it cannot do now. Method: a member of two whose other half never comes, and
//! two members of which one goes.

use std::net::TcpListener;
use std::time::Duration;

use hypermnesia::Node;
use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{AttributeType, Outcome, TableSpec, Transact};

use crate::served::Served;

pub(crate) fn addresses() -> (Vec<(String, String)>, Vec<TcpListener>) {
    named((0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect())
}

/// Members n1, n2 and so on that listen there.
pub(crate) fn named(listeners: Vec<TcpListener>) -> (Vec<(String, String)>, Vec<TcpListener>) {
    let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
    let members =
        listeners.iter().enumerate().map(|(at, listener)| (format!("n{}", at + 1), address(listener)));
    (members.collect(), listeners)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone_says_for_whom_it_waits() {
    let (members, mut listeners) = addresses();
    let builder = Node::builder().name("n1").members(members).peer_listener(listeners.remove(0));
    let served = Served::over(builder.build().expect("a good configuration")).await;
    let client = &served.client;
    let status = client.status().await.expect("the status is always answered");
    assert!(!status.ready && status.waits_for.contains("n2"), "{status:?}");
    let spec = TableSpec::set("t").attribute("id", AttributeType::Int);
    let error = client.create_table(spec).await.expect_err("n2 is missing");
    assert_eq!(
        (error.kind(), error.changed_nothing(), error.is_retry_safe()),
        (ErrorKind::Unavailable, true, true)
    );
    assert!(error.message().contains("n2"), "{error}");
    let waited = client.wait_for_tables(Vec::<String>::new(), Duration::from_millis(50)).await;
    let error = waited.expect_err("n2 is missing");
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.message().contains("n2"), "{error}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_commits_the_other_reads_and_without_it_writes_are_refused() {
    let (members, listeners) = addresses();
    let start = |(at, listener): (usize, TcpListener)| {
        let builder =
            Node::builder().name(format!("n{}", at + 1)).members(members.clone()).peer_listener(listener);
        builder.build().expect("a good configuration")
    };
    let mut nodes: Vec<_> = listeners.into_iter().enumerate().map(start).collect();
    let second = Served::over(nodes.pop().expect("two nodes")).await;
    let first = Served::over(nodes.pop().expect("two nodes")).await;
    for served in [&first, &second] {
        let none = Vec::<String>::new();
        served.client.wait_for_tables(none, Duration::from_secs(30)).await.expect("the members meet");
    }
    let spec = TableSpec::set("t").attribute("id", AttributeType::Int);
    let table = first.client.create_table(spec).await.expect("both are there");
    assert_eq!(table.copies.len(), 2);
    let done = first.client.transact(Transact::new().put("t", 1)).await.expect("both are there");
    assert!(done.committed_at > 0);
    assert_eq!(second.client.table("t").get(1).await.expect("read").len(), 1);
    let mut tx = first.client.begin(Default::default()).await.expect("begun");
    let id = tx.id().expect("it has an id");
    tx.put("t", 2).await.expect("buffered");
    let committed_at = tx.commit().await.expect("committed");
    assert_eq!(first.client.outcome(id).await.expect("answered"), (Outcome::Committed, committed_at));

    second.stop().await;
    let refused = async {
        loop {
            // Until the loss is noticed a write may be sent and its outcome be unknown.
            match first.client.table("t").put(3).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => return error,
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}"),
                Ok(_) => {}
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), refused).await.expect("the loss is noticed");
    assert_eq!((error.member(), error.changed_nothing()), (Some("n2"), true));
    let status = first.client.status().await.expect("answered");
    let away = status.members.iter().find(|member| member.name == "n2").expect("it is configured");
    assert!(!status.ready && !away.connected && !away.ready, "{status:?}");
    first.stop().await;
}
