//! Aim: rows by what they hold mean remotely what they mean in the process, stream without holding writers up, and let go of
//! everything when the client does. Method: one node, the Rust client; what the node itself answers is the measure.

use std::time::{Duration, Instant};

use hypermnesia_rpc::client::{AttributeType, Filter, Pattern, Row, TableSpec, TransactionOptions};
use hypermnesia_rpc::{Error, ErrorKind, Value};

use crate::served::Served;

/// An ordered set `posts` of (id, author, stars or null, tags).
async fn with_posts(count: i64) -> Served {
    let served = Served::start().await;
    let spec = TableSpec::ordered_set("posts")
        .attribute("id", AttributeType::Int)
        .attribute("author", AttributeType::Text)
        .nullable("stars", AttributeType::Int)
        .attribute("tags", AttributeType::List)
        .index("by_author", ["author"])
        .multi_index("by_tag", "tags");
    served.client.create_table(spec).await.expect("new");
    let post = |id: i64| -> (i64, String, Value, Value) {
        let stars = if id % 5 == 0 { Value::Null } else { Value::Int(id % 7) };
        let tags = Value::List(vec![Value::from(format!("t{}", id % 3)), Value::Int(id % 4)]);
        (id, format!("a{}", id % 10), stars, tags)
    };
    served.client.table("posts").put_many((0..count).map(post)).await.expect("fits");
    served
}

async fn ids(rows: Result<hypermnesia_rpc::client::ScanRows, Error>) -> Vec<i64> {
    let rows = rows.expect("valid").collect().await.expect("whole");
    rows.into_iter().map(|row| if let Value::Int(id) = row[0] { id } else { -1 }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_test_of_a_filter_finds_what_the_node_itself_finds() {
    use hypermnesia::Filter as Own;
    let served = with_posts(300).await;
    let (posts, own) = (served.client.table("posts"), served.node.dyn_table("posts").expect("there"));
    let pairs: Vec<(Filter, Own)> = vec![
        (Filter::everything(), Own::everything()),
        (Filter::equal("author", "a3"), Own::equal("author", "a3")),
        (Filter::equal("stars", Value::Null), Own::equal("stars", hypermnesia::Value::Null)),
        (Filter::not_equal("stars", 3), Own::not_equal("stars", 3)),
        (Filter::less("id", 20), Own::less("id", 20)),
        (Filter::at_most("id", 20), Own::at_most("id", 20)),
        (Filter::greater("stars", 5), Own::greater("stars", 5)),
        (Filter::at_least("stars", 5), Own::at_least("stars", 5)),
        (Filter::between("id", 7, 99), Own::between("id", 7, 99)),
        (Filter::one_of("id", [4, 5, 900]), Own::one_of("id", [4, 5, 900])),
        (Filter::prefix("author", "a1"), Own::prefix("author", "a1")),
        (Filter::is_null("stars"), Own::is_null("stars")),
        (Filter::contains("tags", "t2"), Own::contains("tags", "t2")),
        (!Filter::contains("tags", 2), !Own::contains("tags", 2)),
        (
            Filter::equal("author", "a3").or(Filter::equal("author", "a4")).and(!Filter::is_null("stars")),
            Own::equal("author", "a3").or(Own::equal("author", "a4")).and(!Own::is_null("stars")),
        ),
        (Filter::any([]), Own::any([])),
        (Filter::sql("stars * 2 > id % ?", [9]), Own::sql("stars * 2 > id % ?", [9])),
    ];
    for (filter, same) in pairs {
        let by_key = |pattern: Pattern| pattern.in_key_order();
        let expected: Vec<i64> = own
            .project(hypermnesia::Pattern::of(same.clone()).in_key_order(), &["id"])
            .expect("fits")
            .into_iter()
            .map(|row| if let hypermnesia::Value::Int(id) = row[0] { id } else { -1 })
            .collect();
        let found = ids(posts.project(by_key(filter.clone().into()), &["id"]).await).await;
        assert_eq!(found, expected, "{same}");
        assert_eq!(
            posts.count_matching(filter.clone()).await.expect("valid"),
            expected.len() as u64,
            "{same}"
        );
        assert_eq!(posts.explain(filter.clone()).await.expect("valid"), own.explain(&same).expect("fits"));
        let few = ids(posts.matching(by_key(filter.into()).backward().limit(2)).await).await;
        assert_eq!(few, expected.iter().rev().take(2).copied().collect::<Vec<_>>(), "{same}");
    }
    let by_sql = served.client.query("SELECT id FROM posts WHERE 't2' = ANY(tags) ORDER BY id", ()).await;
    let by_sql = by_sql.expect("valid").collect().await.expect("whole");
    let same = own.project(hypermnesia::Pattern::of(Own::contains("tags", "t2")).in_key_order(), &["id"]);
    assert_eq!(by_sql.len(), same.expect("fits").len());
    let along = Pattern::of(Filter::less("id", 25)).along_index("by_author");
    assert_eq!(ids(posts.matching(along).await).await[..4], [0, 10, 20, 1]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_scanned_by_equality_prefix_range_and_key() {
    // Aim: the stretches of an index that a scan may ask for, both ways, with whole numbers for floats. Method: an index over
    // a float and a text of a table whose key is a float.
    use hypermnesia_rpc::client::Scan;
    let served = Served::start().await;
    let spec = TableSpec::ordered_set("m")
        .attribute("at", AttributeType::Float)
        .attribute("grade", AttributeType::Float)
        .attribute("name", AttributeType::Text)
        .index("by_grade", ["grade", "name"]);
    served.client.create_table(spec).await.expect("new");
    let m = served.client.table("m");
    for (at, grade, name) in
        [(1.0, 2.0, "b"), (2.0, 2.0, "a"), (3.0, 1.5, "c"), (4.0, 2.0, "a"), (5.0, 3.0, "z")]
    {
        m.put((at, grade, name)).await.expect("fits");
    }
    let by_grade = async |scan: Scan| -> Vec<f64> {
        let rows = m.scan(scan.index("by_grade")).await.expect("valid").collect().await.expect("whole");
        rows.into_iter().map(|row| if let Value::Float(at) = row[0] { at } else { -1.0 }).collect()
    };
    assert_eq!(by_grade(Scan::prefix(2)).await, [2.0, 4.0, 1.0]);
    assert_eq!(by_grade(Scan::prefix((2, "a"))).await, [2.0, 4.0]);
    assert_eq!(by_grade(Scan::prefix((2, "a", 4))).await, [4.0], "on into the key");
    assert_eq!(by_grade(Scan::all().from((2, "a", 3)).to(2)).await, [4.0, 1.0]);
    assert_eq!(by_grade(Scan::all().to(2).descending().limit(2)).await, [1.0, 4.0]);
    assert_eq!(by_grade(Scan::all().after(2)).await, [5.0]);
    assert_eq!(by_grade(Scan::all().before(2)).await, [3.0]);
    let keys = m.scan(Scan::prefix(4)).await.expect("valid").collect().await.expect("whole");
    assert_eq!(keys.len(), 1);
    let own = served.node.dyn_table("m").expect("there");
    assert_eq!(own.range(&own.prefix(&[4_i64.into()]).expect("fits")).expect("read").len(), 1);
    let mut tx = served.client.begin(TransactionOptions::new()).await.expect("begun");
    tx.put("m", (6.0, 2.0, "a")).await.expect("buffered");
    let inside = tx.scan("m", Scan::prefix((2, "a")).index("by_grade").descending()).await.expect("read");
    assert_eq!(
        inside.iter().map(|row| row[0].clone()).collect::<Vec<_>>(),
        [6.0, 4.0, 2.0].map(Value::Float)
    );
    tx.abort().await.expect("aborted");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_changed_and_deleted_by_pattern_at_once_and_in_chunks() {
    let served = with_posts(100).await;
    let posts = served.client.table("posts");
    let of = |author: &str| Filter::equal("author", author);
    assert_eq!(posts.update_matching(of("a1"), [("stars", 99.into())]).await.expect("done"), 10);
    assert_eq!(posts.count_matching(Filter::equal("stars", 99)).await.expect("read"), 10);
    assert_eq!(posts.update_matching_in_chunks(of("a2"), [("stars", 98.into())], 3).await.expect("done"), 10);
    assert_eq!(posts.delete_matching(Filter::equal("stars", 99)).await.expect("done"), 10);
    assert_eq!(posts.delete_matching_in_chunks(Filter::at_least("id", 50), 7).await.expect("done"), 45);
    assert_eq!(posts.count_matching(Filter::everything()).await.expect("read"), 45);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_meets_its_own_writes_by_pattern_and_by_order() {
    let served = with_posts(20).await;
    let posts = served.client.table("posts");
    let mut tx = served.client.begin(TransactionOptions::new()).await.expect("begun");
    assert_eq!(tx.delete_matching("posts", Filter::less("id", 5)).await.expect("buffered"), 5);
    assert_eq!(
        tx.update_matching("posts", Filter::equal("id", 9), [("author", "me".into())]).await.expect("done"),
        1
    );
    assert_eq!(tx.matching("posts", Filter::equal("author", "me")).await.expect("read")[0][0], Value::Int(9));
    assert_eq!(tx.count_matching("posts", Filter::everything()).await.expect("read"), 15);
    let projected: Vec<Row> =
        tx.project("posts", Filter::at_most("id", 6), &["author", "id"]).await.expect("read");
    assert_eq!(projected, [[Value::from("a5"), Value::Int(5)], [Value::from("a6"), Value::Int(6)]]);
    let id = |row: Option<Row>| row.map(|row| row[0].clone());
    assert_eq!(id(tx.first("posts").await.expect("read")), Some(Value::Int(5)));
    assert_eq!(id(tx.last("posts").await.expect("read")), Some(Value::Int(19)));
    assert_eq!(id(tx.next("posts", 2).await.expect("read")), Some(Value::Int(5)));
    assert_eq!(id(tx.prev("posts", 5).await.expect("read")), None);
    assert_eq!(id(posts.first().await.expect("outside")), Some(Value::Int(0)));
    let wrong = tx.count_matching("posts", Filter::equal("colour", 1)).await.expect_err("no such attribute");
    assert_eq!(wrong.kind(), ErrorKind::Invalid);
    tx.commit().await.expect("a wrong step ends nothing");
    assert_eq!(id(posts.first().await.expect("read")), Some(Value::Int(5)));
    assert_eq!(id(posts.next(7).await.expect("read")), Some(Value::Int(8)));
    assert_eq!(id(posts.prev(5).await.expect("read")), None);
    assert_eq!(id(posts.prev(1_000).await.expect("an absent key is a place")), Some(Value::Int(19)));
    assert_eq!(posts.last().await.expect("read").expect("there").len(), 4, "the whole row");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_a_stream_begins() {
    let served = with_posts(3).await;
    let posts = served.client.table("posts");
    let refused = async |pattern: Pattern| posts.matching(pattern).await.map(drop).expect_err("refused");
    for (pattern, kind, word) in [
        (Filter::equal("author", 1).into(), ErrorKind::Invalid, "cannot compare text with int"),
        (Filter::equal("auther", "x").into(), ErrorKind::Invalid, "did you mean \"author\"?"),
        (Filter::sql("author = ", ()).into(), ErrorKind::Invalid, "expression"),
        (Pattern::of(Filter::everything()).along_index("by_colour"), ErrorKind::Invalid, "no index"),
        (Pattern::of(Filter::everything()).along_index("by_tag"), ErrorKind::Invalid, "values of a list"),
    ] {
        let error = refused(pattern).await;
        assert_eq!((error.kind(), error.changed_nothing()), (kind, true), "{error}");
        assert!(error.message().contains(word), "{error}");
    }
    let unknown =
        posts.project(Filter::everything(), &["id", "colour"]).await.map(drop).expect_err("refused");
    assert_eq!(unknown.field(), Some("attributes[1]"));
    let missing =
        served.client.table("nothing").count_matching(Filter::everything()).await.expect_err("none");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    served.client.create_table(TableSpec::set("s").attribute("id", AttributeType::Int)).await.expect("new");
    let unordered = served.client.table("s").first().await.expect_err("a set has no first");
    assert_eq!((unordered.kind(), unordered.changed_nothing()), (ErrorKind::Refused, true));
    let moved =
        posts.update_matching(Filter::everything(), [("id", 1.into())]).await.expect_err("the key stays");
    assert_eq!((moved.kind(), moved.changed_nothing()), (ErrorKind::Refused, true));
    assert_eq!(posts.count_matching(Filter::equal("id", 2)).await.expect("read"), 1);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_bounded_in_depth_and_size() {
    // Aim: what is promised fits, and what is far beyond is refused and harms nobody. Method: nests and lists on both sides.
    let served = with_posts(10).await;
    let posts = served.client.table("posts");
    let nested = |levels: usize| {
        (0..levels).fold(Filter::less("id", 4), |inner, n| match n % 2 {
            0 => Filter::all([inner]),
            _ => Filter::any([inner]),
        })
    };
    assert_eq!(posts.count_matching(nested(40)).await.expect("fits"), 4);
    for levels in [60, 1_000] {
        let refused = posts.count_matching(nested(levels)).await.expect_err("too deep");
        assert!(!matches!(refused.kind(), ErrorKind::Unavailable), "the connection goes on: {refused}");
    }
    assert_eq!(posts.count_matching(Filter::one_of("id", 5..15_000)).await.expect("fits"), 5);
    let refused = posts.count_matching(Filter::one_of("id", 0..30_000)).await.expect_err("too long");
    assert_eq!((refused.kind(), refused.changed_nothing()), (ErrorKind::Limit, true));
    served.stop().await;
}

/// Waits until the server holds nothing for clients any more.
async fn released(served: &Served) {
    let end = Instant::now() + Duration::from_secs(8);
    loop {
        let status = served.client.status().await.expect("answers");
        if (status.streams, status.snapshots) == (0, 0) {
            return;
        }
        assert!(Instant::now() < end, "{} streams, {} snapshots", status.streams, status.snapshots);
        tokio::task::yield_now().await;
    }
}

/// Waits until the server says that its oldest snapshot has an age.
async fn older(served: &Served) {
    let begun = Instant::now();
    while served.client.status().await.expect("answers").oldest_snapshot_age_ms == 0 {
        assert!(begun.elapsed() < Duration::from_secs(8), "it never gets older");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_instant_and_is_let_go_with_its_client() {
    // Aim: writes between the chunks are not seen; a stream that is left, and a connection that is lost, release the snapshot
    // well before any limit of time; meanwhile its age is told. Method: more rows than all buffers hold, read in part, changed
    // in between.
    let served = Served::start().await;
    let spec = TableSpec::ordered_set("texts")
        .attribute("n", AttributeType::Int)
        .attribute("text", AttributeType::Text);
    served.client.create_table(spec).await.expect("new");
    let texts = served.client.table("texts");
    for part in 0..20_i64 {
        texts.put_many((0..20).map(|n| (part * 20 + n, "x".repeat(32_000)))).await.expect("fits");
    }
    let mut rows = texts.matching(Filter::at_least("n", 0)).await.expect("valid");
    let mut found = 0;
    while let Some(row) = rows.next().await.expect("whole") {
        assert_eq!(row[0], Value::Int(found), "in order, none twice, none left out");
        if found == 3 {
            let status = served.client.status().await.expect("answers");
            assert_eq!((status.streams, status.snapshots), (1, 1), "shown while it is open");
            older(&served).await;
            assert_eq!(
                texts.delete_matching(Filter::sql("n % 2 = 1", ())).await.expect("nobody is held up"),
                200
            );
        }
        found += 1;
    }
    assert_eq!(found, 400);
    released(&served).await;
    assert_eq!(texts.count_matching(Filter::everything()).await.expect("read"), 200);
    let mut left = texts.matching(Filter::everything()).await.expect("valid");
    assert!(left.next().await.expect("a row").is_some());
    drop(left);
    released(&served).await;
    let other = hypermnesia_rpc::client::Client::connect(&served.address).await.expect("listens");
    let mut lost = other.table("texts").matching(Filter::everything()).await.expect("valid");
    assert!(lost.next().await.expect("a row").is_some());
    drop((lost, other));
    released(&served).await;
    served.stop().await;
}
