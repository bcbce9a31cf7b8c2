//! Aim: tables on disc alone over gRPC: made, described, written, read, and read again after a restart of the node. Method: one
//! node with a directory, twice.

use hypermnesia::Node;
use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{AttributeType, Scan, Storage, TableSpec};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_on_disc_alone_is_there_after_a_restart() {
    let home = tempfile::tempdir().expect("a directory");
    let start = || {
        let node = Node::builder().name("n1").data_dir(home.path()).build().expect("its directory is free");
        Served::over(node)
    };
    let served = start().await;
    let spec = |name: &str| {
        TableSpec::ordered_set(name).attribute("id", AttributeType::Int).attribute("v", AttributeType::Text)
    };
    let made = served.client.create_table(spec("usual").disc_only(0)).await.expect("new");
    assert_eq!((made.copies[0].storage(), made.copies[0].cache_bytes), (Storage::DiscOnly, 64 << 20));
    let made = served.client.create_table(spec("large").copy_disc_only("n1", 2 << 20)).await.expect("new");
    assert_eq!((made.copies[0].storage(), made.copies[0].cache_bytes), (Storage::DiscOnly, 2 << 20));
    let small = served.client.create_table(spec("small").disc_only(5)).await.expect_err("below the least");
    assert!(small.to_string().contains("cache"), "{small}");
    let ram = spec("ram").disc_only(1 << 20).storage(Storage::Ram);
    let refused = served.client.create_table(ram).await.expect_err("memory has no cache of itself");
    assert!(refused.to_string().contains("cache"), "{refused}");
    served.client.table("large").put_many((0..100_i64).map(|n| (n, format!("row {n}")))).await.expect("fits");
    served.stop().await;
    let served = start().await;
    let described = served.client.describe_table("large").await.expect("kept");
    assert_eq!(described.rows, 100);
    let found = served.client.table("large").scan(Scan::all()).await.expect("kept");
    assert_eq!(found.collect().await.expect("rows").len(), 100);
    assert!(served.client.table("large").get_one(42_i64).await.expect("readable").is_some());
    let again = served.client.create_table(spec("large")).await.expect_err("the name is taken");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    served.stop().await;
}
