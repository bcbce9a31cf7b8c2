//! Aim: every call of `Tables` does what its comment says, and wrong input is named. Method: one node, the Rust client.

use std::time::{Duration, UNIX_EPOCH};

use hypermnesia_rpc::client::{
    AttributeType, Lifetime, Scan, Storage, TableKind, TableSpec, TransactionOptions,
};
use hypermnesia_rpc::{ErrorKind, Value, proto};

use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_created_described_altered_and_dropped() {
    let served = Served::start().await;
    let client = &served.client;
    let spec = TableSpec::ordered_set("cities")
        .attribute("id", AttributeType::Int)
        .attribute("country", AttributeType::Text)
        .nullable("name", AttributeType::Text)
        .key(["country", "id"]);
    let made = client.create_table(spec.clone()).await.expect("new");
    assert_eq!((made.kind(), made.key.len(), made.copies.len()), (TableKind::OrderedSet, 2, 1));
    assert_eq!((made.copies[0].member.as_str(), made.copies[0].storage()), ("n1", Storage::Ram));
    let again = client.create_table(spec).await.expect_err("the name is taken");
    assert_eq!((again.kind(), again.changed_nothing()), (ErrorKind::AlreadyExists, true));

    client.table("cities").put((1, "BE", "Ghent")).await.expect("fits");
    let altered = client.add_index("cities", "by_name", ["name"], false).await.expect("new index");
    assert_eq!(altered.indexes[0].attributes, ["name"]);
    let found =
        client.table("cities").scan(Scan::prefix("Ghent").index("by_name")).await.expect("index is there");
    assert_eq!(found.collect().await.expect("one row").len(), 1);
    let twice = client.add_index("cities", "by_name", ["id"], false).await.expect_err("the name is taken");
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    client.drop_index("cities", "by_name").await.expect("was there");
    assert_eq!(client.drop_index("cities", "by_name").await.expect_err("gone").kind(), ErrorKind::NotFound);

    let described = client.describe_table("cities").await.expect("there");
    assert_eq!((described.rows, described.loaded), (1, true));
    assert_eq!(client.tables().await.expect("a list").len(), 1);
    client.drop_table("cities").await.expect("was there");
    assert_eq!(client.describe_table("cities").await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(client.drop_table("cities").await.expect_err("gone").kind(), ErrorKind::NotFound);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_comes_back_as_it_was() {
    let served = Served::start().await;
    let spec =
        TableSpec::set("any").attribute("id", AttributeType::Int).nullable("value", AttributeType::Any);
    served.client.create_table(spec).await.expect("new");
    let any = served.client.table("any");
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::Uint(u64::MAX),
        Value::Float(0.1),
        Value::from("tëxt"),
        Value::Bytes(vec![0, 255]),
        Value::Timestamp(-1),
        Value::List(vec![Value::Int(1), Value::Null]),
        Value::Map(vec![(Value::from("a"), Value::List(vec![])), (Value::from("b"), Value::Float(1.5))]),
    ];
    for (id, value) in values.iter().enumerate() {
        any.put((id as u32, value.clone())).await.expect("fits");
    }
    for (id, value) in values.iter().enumerate() {
        let row = any.get_one(id as u32).await.expect("readable").expect("there");
        assert_eq!(row[1], *value);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_put_read_and_deleted_alone_and_in_batches() {
    let served = Served::with_accounts().await;
    let accounts = served.client.table("accounts");
    let first = accounts.put(("alice", 1)).await.expect("fits");
    let second = accounts.put(("alice", 2)).await.expect("fits");
    assert!(first > 0 && second > first, "commit timestamps grow: {first} {second}");
    assert_eq!(accounts.get_one("alice").await.expect("read"), Some(vec!["alice".into(), 2.into()]));
    assert_eq!(accounts.dirty_get("alice").await.expect("read").len(), 1);
    assert_eq!(accounts.get_one("nobody").await.expect("read"), None);
    accounts.dirty_put(("carol", 7)).await.expect("fits");
    let many = accounts.get_many(["carol", "nobody", "bob"]).await.expect("read");
    assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
    accounts.delete("alice").await.expect("there");
    accounts.delete("alice").await.expect("deleting what is not there succeeds");
    accounts.dirty_delete("carol").await.expect("there");
    accounts.delete_many(["bob", "nobody"]).await.expect("there");
    assert_eq!(served.client.describe_table("accounts").await.expect("there").rows, 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bag_keeps_different_rows_of_one_key() {
    let served = Served::start().await;
    let spec =
        TableSpec::bag("tags").attribute("item", AttributeType::Int).attribute("tag", AttributeType::Text);
    served.client.create_table(spec).await.expect("new");
    let tags = served.client.table("tags");
    for tag in ["b", "a", "b"] {
        tags.put((1, tag)).await.expect("fits");
    }
    let rows = tags.get(1).await.expect("read");
    assert_eq!(
        rows,
        [vec![1.into(), "b".into()], vec![1.into(), "a".into()]],
        "in the order they came, each once"
    );
    tags.delete_row((1, "b")).await.expect("there");
    assert_eq!(tags.get(1).await.expect("read").len(), 1);
    tags.delete(1).await.expect("there");
    assert!(tags.get(1).await.expect("read").is_empty());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_walk_ranges_both_ways_and_stop_at_their_limit() {
    let served = Served::with_numbers(1_000).await;
    let numbers = served.client.table("numbers");
    let scan = async |scan: Scan| -> Vec<i64> {
        let rows = numbers.scan(scan).await.expect("a scan").collect().await.expect("rows");
        rows.into_iter().map(|row| if let Value::Int(n) = row[0] { n } else { -1 }).collect()
    };
    assert_eq!(scan(Scan::all()).await, (0..1_000).collect::<Vec<_>>());
    assert_eq!(scan(Scan::all().descending().limit(3)).await, [999, 998, 997]);
    assert_eq!(scan(Scan::all().from(300).before(900)).await, (300..900).collect::<Vec<_>>());
    assert_eq!(scan(Scan::all().after(997).to(999)).await, [998, 999]);
    assert_eq!(scan(Scan::all().from(700).before(100)).await, [0; 0], "an empty range is no error");
    assert_eq!(scan(Scan::prefix("row 000000007").index("by_text")).await, [7]);
    let indexed = scan(Scan::all().index("by_text").from("row 000000400").descending()).await;
    assert_eq!(indexed, (400..1_000).rev().collect::<Vec<_>>());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_named_and_changes_nothing() {
    let served = Served::with_accounts().await;
    let client = &served.client;
    let accounts = client.table("accounts");
    let kind = |result: Result<u64, hypermnesia_rpc::Error>, word: &str| {
        let error = result.expect_err("refused");
        assert!(error.message().contains(word), "{error} should name {word}");
        assert!(error.changed_nothing());
        error.kind()
    };
    assert_eq!(kind(client.table("nothing").put((1, 2)).await, "nothing"), ErrorKind::NotFound);
    assert_eq!(kind(accounts.put(("alice", 1, 2)).await, "2 values, 3"), ErrorKind::Invalid);
    assert_eq!(kind(accounts.put(("alice", "rich")).await, "balance"), ErrorKind::Invalid);
    assert_eq!(kind(accounts.put(("alice", Value::Null)).await, "balance"), ErrorKind::Invalid);
    assert_eq!(kind(accounts.put((1, 1)).await, "id"), ErrorKind::Invalid);
    assert_eq!(kind(accounts.delete(("alice", 1)).await, "key"), ErrorKind::Invalid);
    assert_eq!(kind(accounts.put(("k".repeat(20_000), 1)).await, "key is too large"), ErrorKind::Invalid);
    let twice = Value::Map(vec![(1.into(), 1.into()), (1.into(), 2.into())]);
    assert_eq!(kind(accounts.put(("alice", twice)).await, "row.values[1]"), ErrorKind::Invalid);
    let index = accounts.scan(Scan::all().index("by_colour")).await.map(|_| 0);
    let index = match index {
        Ok(_) => panic!("a scan of no index began"),
        Err(error) => error,
    };
    assert_eq!(index.kind(), ErrorKind::NotFound);
    let none = client.create_table(TableSpec::set("empty")).await.expect_err("no attributes");
    assert_eq!(none.kind(), ErrorKind::Invalid);
    let where_to = TableSpec::set("far").attribute("id", AttributeType::Int).copy("n9", Storage::Ram);
    let where_to = client.create_table(where_to).await.expect_err("no such member");
    assert_eq!(where_to.field(), Some("table.copies[0].member"));
    assert_eq!(accounts.get_one("alice").await.expect("read"), Some(vec!["alice".into(), 100.into()]));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_with_unknown_numbers_or_members_is_refused_by_its_field() {
    // Aim: what a newer client asks for is never made as something else, and members are named as people name them. Method:
    // one field at a time gets a number that nobody knows; then a member that is not there, and one twice.
    let served = Served::start().await;
    let good = || {
        proto::Table::from(TableSpec::set("t").attribute("id", AttributeType::Int).copy("n1", Storage::Ram))
    };
    type Change = fn(&mut proto::Table);
    let wrong: [(&str, Change); 7] = [
        ("table.kind", |table| table.kind = 99),
        ("table.acknowledge", |table| table.acknowledge = 99),
        ("table.storage", |table| table.storage = 99),
        ("table.attributes[0].type", |table| table.attributes[0].r#type = 99),
        ("table.copies[0].storage", |table| table.copies[0].storage = 99),
        ("table.copies[0].member", |table| table.copies[0].member = "n7".into()),
        ("table.copies[1].member", |table| table.copies.push(table.copies[0].clone())),
    ];
    for (field, change) in wrong {
        let mut table = good();
        change(&mut table);
        let error = served.client.create_table(table).await.expect_err("refused");
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)), "{error}");
        assert!(error.message().contains("n1") || !field.ends_with("member"), "{error}");
    }
    served.client.create_table(good()).await.expect("the rest is right");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_may_live_for_a_time_and_tables_be_bounded() {
    let served = Served::start().await;
    let client = &served.client;
    let spec = TableSpec::set("pages")
        .attribute("path", AttributeType::Text)
        .attribute("hits", AttributeType::Int)
        .nullable("tags", AttributeType::List)
        .default("hits", 3)
        .multi_index("by_tag", "tags")
        .ttl(Duration::from_secs(3600))
        .rows_max(2)
        .bytes_max(1 << 20)
        .local()
        .evict();
    let made = client.create_table(spec).await.expect("new");
    let retention = made.retention.expect("it was asked for");
    assert_eq!(
        (retention.ttl_ms, retention.rows_max, retention.evict, made.local),
        (3_600_000, 2, true, true)
    );
    assert!(made.indexes[0].multi && made.attributes[1].default.is_some());
    let pages = client.table("pages");
    let tags = |tag: &str| Value::List(vec![tag.into()]);
    pages.put_with(("gone", 1, tags("a")), Lifetime::Until(UNIX_EPOCH)).await.expect("written");
    assert!(pages.get("gone").await.expect("read").is_empty());
    pages.put_with(("here", 1, tags("b")), Lifetime::Forever).await.expect("written");
    let found = pages.scan(Scan::prefix("b").index("by_tag")).await.expect("the index is there");
    assert_eq!(found.collect().await.expect("one row").len(), 1);
    for n in 0..20 {
        pages.put((format!("p{n}"), n, Value::Null)).await.expect("there is always room");
    }
    let info = client.describe_table("pages").await.expect("there");
    assert!(info.rows <= 2 && info.usage.expect("told").evictions > 0, "{info:?}");
    let full = TableSpec::set("full").attribute("id", AttributeType::Int).rows_max(1);
    client.create_table(full).await.expect("new");
    client.table("full").put(1).await.expect("fits");
    let refused = client.table("full").put(2).await.expect_err("it is full");
    assert_eq!((refused.kind(), refused.changed_nothing()), (ErrorKind::Limit, true));
    let torn = TableSpec::set("torn").attribute("id", AttributeType::Int).rows_max(1).evict();
    assert_eq!(client.create_table(torn).await.expect_err("copies would differ").kind(), ErrorKind::Invalid);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_leaves_a_row_its_deadline() {
    // By a statement of its own and in an interactive transaction, whatever the table's time to live is.
    let served = Served::start().await;
    let client = &served.client;
    let spec = TableSpec::set("t").attribute("id", AttributeType::Int).attribute("n", AttributeType::Int);
    client.create_table(spec.ttl(Duration::from_secs(3600))).await.expect("new");
    let far = UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    client.table("t").put_with((1, 1), Lifetime::Until(far)).await.expect("written");
    client.table("t").put_with((2, 1), Lifetime::Forever).await.expect("written");
    client.query("UPDATE t SET n = n + 1", ()).await.expect("valid").collect().await.expect("done");
    let mut tx = client.begin(TransactionOptions::new()).await.expect("begins");
    tx.query("UPDATE t SET n = n + 1", ()).await.expect("valid");
    tx.commit().await.expect("commits");
    let deadline = |id: i64| served.node.dyn_table("t").expect("there").deadline(&[id.into()]).expect("read");
    assert_eq!((deadline(1), deadline(2)), (Some(far), None));
    assert_eq!(client.table("t").get(1).await.expect("read")[0][1], Value::Int(3));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_renamed_cleared_and_given_attributes() {
    let served = Served::with_accounts().await;
    let client = &served.client;
    let attribute = |name: &str, default: Option<Value>| proto::Attribute {
        name: name.into(),
        r#type: AttributeType::Text.into(),
        nullable: default.is_none(),
        default: default.map(Into::into),
    };
    let added = [attribute("city", Some("Ghent".into())), attribute("note", None)];
    let altered = client.add_attributes("accounts", added).await.expect("they fit");
    assert_eq!((altered.attributes.len(), altered.version), (4, 2));
    let row = client.table("accounts").get_one("alice").await.expect("read").expect("there");
    assert_eq!(row, ["alice".into(), 100.into(), "Ghent".into(), Value::Null]);
    let misfit = proto::Attribute { nullable: false, ..attribute("x", None) };
    let refused = client.add_attributes("accounts", [misfit]).await.expect_err("what would rows have?");
    assert_eq!((refused.kind(), refused.changed_nothing()), (ErrorKind::Invalid, true));
    assert_eq!(client.rename_table("accounts", "clients").await.expect("free").name, "clients");
    assert_eq!(client.rename_table("accounts", "x").await.expect_err("gone").kind(), ErrorKind::NotFound);
    client.clear_table("clients").await.expect("there");
    assert_eq!(client.describe_table("clients").await.expect("there").rows, 0);
    assert_eq!(client.clear_table("accounts").await.expect_err("gone").kind(), ErrorKind::NotFound);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_over_the_values_of_a_list_is_added_to_a_table() {
    // Aim: what the request says of an index is what the table gets. Method: one over each value and a plain one on the same
    // attribute, by the client; over two attributes, by the request itself.
    let served = Served::start().await;
    let client = &served.client;
    let spec =
        TableSpec::set("posts").attribute("id", AttributeType::Int).attribute("tags", AttributeType::List);
    client.create_table(spec).await.expect("new");
    let tags = |tags: &[&str]| Value::List(tags.iter().map(|&tag| tag.into()).collect());
    let posts = client.table("posts");
    posts.put_many([(1, tags(&["a", "b"])), (2, tags(&["b"]))]).await.expect("rows fit");
    client.add_index("posts", "whole", ["tags"], false).await.expect("added");
    let defined = client.add_multi_index("posts", "each", "tags", false).await.expect("added");
    let multi: Vec<_> = defined.indexes.iter().map(|index| (index.name.as_str(), index.multi)).collect();
    assert_eq!(multi, [("whole", false), ("each", true)]);
    let text = "EXPLAIN SELECT id FROM posts WHERE contains(tags, 'b')";
    let plan = client.query(text, ()).await.expect("valid").collect().await.expect("a plan");
    assert!(format!("{plan:?}").contains("each"), "{plan:?}");
    let attributes = vec!["tags".into(), "id".into()];
    let index = Some(proto::Index { name: "both".into(), attributes, unique: false, multi: true });
    let mut raw = proto::tables_client::TablesClient::new(client.channel());
    let status =
        raw.add_index(proto::AddIndexRequest { table: "posts".into(), index }).await.expect_err("two");
    assert_eq!(hypermnesia_rpc::Error::from(status).field(), Some("index.attributes"));
    served.stop().await;
}
