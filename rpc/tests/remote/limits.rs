//! Aim: what is too large or not said is refused by name, and the server goes on. Method: raw messages that the client crate
//! would not send, and too many rows.

use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{Client, TransactionOptions};
use hypermnesia_rpc::limits::{
    BATCH_ITEMS_MAX, INTERACTIVE_MAX, INTERACTIVE_PER_CONNECTION, MESSAGE_BYTES_MAX,
};
use hypermnesia_rpc::proto::{self, tables_client::TablesClient, transactions_client::TransactionsClient};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn oversized_messages_and_batches_are_refused() {
    let served = Served::with_numbers(0).await;
    let numbers = served.client.table("numbers");
    let too_many = (0..=BATCH_ITEMS_MAX as i64).map(|n| (n, "x"));
    let error = numbers.put_many(too_many).await.expect_err("one too many");
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("rows")));
    let row_too_large = numbers.put((1, "x".repeat(9 * 1024 * 1024))).await.expect_err("more than 8 MiB");
    assert_eq!(row_too_large.kind(), ErrorKind::Invalid);
    let mut raw = TablesClient::new(served.client.channel()).max_encoding_message_size(4 * MESSAGE_BYTES_MAX);
    let values = vec![
        hypermnesia_rpc::Value::Int(1).into(),
        hypermnesia_rpc::Value::from("x".repeat(MESSAGE_BYTES_MAX)).into(),
    ];
    let request = proto::PutRequest {
        table: "numbers".into(),
        row: Some(proto::Row { values }),
        dirty: false,
        lifetime: None,
    };
    let status = raw.put(request).await.expect_err("larger than a message may be");
    assert!(matches!(status.code(), tonic::Code::OutOfRange | tonic::Code::ResourceExhausted), "{status:?}");
    numbers.put((1, "x")).await.expect("the server goes on");
    assert_eq!(served.client.describe_table("numbers").await.expect("there").rows, 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_said_is_named() {
    let served = Served::with_accounts().await;
    let mut raw = TablesClient::new(served.client.channel());
    let field = |status: tonic::Status| hypermnesia_rpc::Error::from(status).field().map(str::to_owned);
    let no_row = proto::PutRequest { table: "accounts".into(), ..Default::default() };
    assert_eq!(field(raw.put(no_row).await.expect_err("no row")).as_deref(), Some("row"));
    let no_key = proto::GetRequest { table: "accounts".into(), ..Default::default() };
    assert_eq!(field(raw.get(no_key).await.expect_err("no key")).as_deref(), Some("key"));
    let no_kind = proto::Row { values: vec![proto::Value { kind: None }, proto::Value { kind: None }] };
    let no_kind =
        proto::PutRequest { table: "accounts".into(), row: Some(no_kind), dirty: false, lifetime: None };
    assert_eq!(field(raw.put(no_kind).await.expect_err("no kind")).as_deref(), Some("row.values[0]"));
    let mut raw = TransactionsClient::new(served.client.channel());
    let no_write =
        proto::TransactRequest { writes: vec![proto::Write { write: None }], ..Default::default() };
    assert_eq!(
        field(raw.transact(no_write).await.expect_err("no write")).as_deref(),
        Some("writes[0].write")
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_does_not_take_the_places_of_the_others() {
    // Aim: a bound for a connection and one for the node, both shown in the status. Method: as many interactive transactions on
    // one connection as it may have, one more there, and one on another; then one of the first goes.
    let served = Served::with_accounts().await;
    let other = Client::connect(&served.address).await.expect("it listens");
    let begin = async |client: &Client| client.begin(TransactionOptions::new()).await;
    let mut open = Vec::new();
    for _ in 0..INTERACTIVE_PER_CONNECTION {
        open.push(begin(&served.client).await.expect("there is a place"));
    }
    let refused = begin(&served.client).await.expect_err("one too many");
    assert_eq!((refused.kind(), refused.changed_nothing()), (ErrorKind::Limit, true));
    let elsewhere = begin(&other).await.expect("the node has places");
    let status = other.status().await.expect("served");
    let bounds = status.bounds.expect("told");
    assert_eq!(
        (status.interactive, bounds.interactive_per_connection, bounds.interactive),
        (open.len() as u64 + 1, INTERACTIVE_PER_CONNECTION as u64, INTERACTIVE_MAX as u64)
    );
    open.pop().expect("some are open").abort().await.expect("open");
    drop(elsewhere);
    begin(&served.client).await.expect("its place came back");
    served.stop().await;
}
