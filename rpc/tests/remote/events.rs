//! Watching tables and members over the wire.

use std::net::TcpListener;
use std::time::Duration;

use hypermnesia_rpc::client::{Changes, Client, MemberEvent, Row, TableChange, Watch, Watched};
use hypermnesia_rpc::{ErrorKind, Value};
use tokio::time::timeout;

use crate::served::Served;

/// No step of these tests takes that long.
const LONG: Duration = Duration::from_secs(30);

async fn next(changes: &mut Changes) -> Watched {
    timeout(LONG, changes.next()).await.expect("in time").expect("no error")
}

async fn change(changes: &mut Changes) -> TableChange {
    match next(changes).await {
        Watched::Change(change) => change,
        other => panic!("{other:?}"),
    }
}

fn account(name: &str, balance: i64) -> Row {
    vec![name.into(), Value::Int(balance)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_each_change_once_with_old_rows_when_asked() {
    // Aim: exact events over the wire. Method: each sort of write, two watches of different detail.
    let served = Served::with_accounts().await;
    let (client, accounts) = (&served.client, served.client.table("accounts"));
    let mut simple = client.watch("accounts", Watch::new()).await.expect("watched");
    let mut full = client.watch("accounts", Watch::new().with_old_rows()).await.expect("watched");
    let at = accounts.put(("alice", 90)).await.expect("written");
    accounts.delete("bob").await.expect("done");
    accounts.delete("nobody").await.expect("nothing to do");
    let first = change(&mut full).await;
    assert_eq!((first.sequence, first.committed_at, first.key), (1, at, vec!["alice".into()]));
    assert_eq!((first.rows, first.old_rows), (vec![account("alice", 90)], vec![account("alice", 100)]));
    let second = change(&mut full).await;
    assert_eq!((second.sequence, second.rows, second.old_rows), (2, vec![], vec![account("bob", 0)]));
    assert_eq!(change(&mut simple).await.old_rows, Vec::<Row>::new());
    assert_eq!(change(&mut simple).await.sequence, 2);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was_cut_off() {
    // Aim: resume gives neither gap nor double (26). Method: a client that goes in the middle of what it was sent, changes
    // meanwhile, another client that goes on from where the first stood; positions that are none, of others, and too late.
    let served = Served::with_accounts().await;
    let accounts = served.client.table("accounts");
    let first = Client::connect(&served.address).await.expect("it listens");
    let mut changes = first.watch("accounts", Watch::new()).await.expect("watched");
    for n in 1..=10 {
        accounts.put(("alice", n)).await.expect("written");
    }
    for n in 1..=4 {
        assert_eq!(change(&mut changes).await.rows, [account("alice", n)]);
    }
    let position = changes.position().expect("it began without rows");
    drop((changes, first));
    accounts.put(("alice", 11)).await.expect("written");
    let mut changes =
        served.client.watch("accounts", Watch::new().from(&position)).await.expect("it was kept");
    accounts.put(("alice", 12)).await.expect("written");
    for n in 5..=12 {
        let change = change(&mut changes).await;
        assert_eq!((change.sequence, change.rows), (n as u64, vec![account("alice", n)]));
    }
    for (wrong, kind) in [("1.2.3", ErrorKind::Invalid), ("1.2.3.4.5.6", ErrorKind::Expired)] {
        let refused = served.client.watch("accounts", Watch::new().from(wrong)).await.expect_err(wrong);
        assert_eq!((refused.kind(), refused.changed_nothing()), (kind, true), "{refused}");
    }
    let both =
        served.client.watch("accounts", Watch::new().with_rows().from(&position)).await.expect_err("both");
    assert_eq!((both.kind(), both.field()), (ErrorKind::Invalid, Some("from")));
    let nowhere = served.client.watch("nothing", Watch::new()).await.expect_err("no table");
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_then_changes_are_all_there_is() {
    // Aim: no gap and nothing twice between rows and changes. Method: a table of several messages, written on all the while
    // by another client; what was told, put together, is what the table holds at the end.
    let served = Served::with_numbers(2_000).await;
    let writer = Client::connect(&served.address).await.expect("it listens");
    let writing = tokio::spawn(async move {
        let numbers = writer.table("numbers");
        for n in 0..600_i64 {
            match n % 3 {
                0 => drop(numbers.delete(n).await.expect("done")),
                _ => drop(numbers.put((n * 7, format!("new {n}"))).await.expect("written")),
            }
        }
        numbers.put((-1, "end")).await.expect("written");
    });
    let mut changes = served.client.watch("numbers", Watch::new().with_rows()).await.expect("watched");
    let number = |row: &Row| match row[0] {
        Value::Int(n) => n,
        ref other => panic!("{other:?}"),
    };
    let (mut held, mut complete) = (std::collections::BTreeMap::new(), false);
    loop {
        match next(&mut changes).await {
            Watched::Row(row, _) => {
                assert!(!complete && changes.position().is_none());
                assert!(held.insert(number(&row), row).is_none(), "a row came twice");
            }
            Watched::Complete => complete = true,
            Watched::Change(change) => {
                assert!(complete);
                match change.rows.into_iter().next() {
                    Some(row) => drop(held.insert(number(&row), row)),
                    None => {
                        assert!(held.remove(&number(&change.key)).is_some(), "what was not there was deleted")
                    }
                }
                if change.key == [Value::Int(-1)] {
                    break;
                }
            }
            Watched::Missed(count) => panic!("missed {count}"),
        }
    }
    writing.await.expect("no panic");
    let found =
        served.client.table("numbers").scan(hypermnesia_rpc::client::Scan::all()).await.expect("rows");
    assert_eq!(held.into_values().collect::<Vec<_>>(), found.collect().await.expect("rows"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_table_and_with_the_server() {
    // Aim: nobody waits for what cannot come, and a server that is to stop need not wait for watches. Method: drop the table;
    // stop the server, and see that it does so before it has to.
    let served = Served::with_accounts().await;
    let mut changes = served.client.watch("accounts", Watch::new()).await.expect("watched");
    served.client.table("accounts").put(("alice", 1)).await.expect("written");
    served.client.drop_table("accounts").await.expect("there");
    assert_eq!(change(&mut changes).await.rows, [account("alice", 1)], "what came before is told first");
    let ended = timeout(LONG, changes.next()).await.expect("in time").expect_err("it is gone");
    assert_eq!(ended.kind(), ErrorKind::NotFound, "{ended}");
    let spec = hypermnesia_rpc::client::TableSpec::set("accounts");
    let spec = spec.attribute("id", hypermnesia_rpc::client::AttributeType::Int);
    served.client.create_table(spec).await.expect("new");
    let mut changes = served.client.watch("accounts", Watch::new()).await.expect("watched");
    let mut member = served.client.watch_member().await.expect("watched");
    let ends = tokio::spawn(async move {
        let ended = [changes.next().await.expect_err("it stops"), member.next().await.expect_err("it stops")];
        ended.map(|ended| ended.kind())
    });
    timeout(LONG, served.stop()).await.expect("in time");
    assert_eq!(ends.await.expect("no panic"), [ErrorKind::Unavailable, ErrorKind::Unavailable]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_are_bounded_and_their_places_come_back() {
    // Aim: everything has a bound. Method: as many as there are places, on connections that have half of them each; one more on
    // either and on a third one; and one in the place of one that went.
    let served = Served::with_accounts().await;
    let second = Client::connect(&served.address).await.expect("it listens");
    let third = Client::connect(&served.address).await.expect("it listens");
    let mut open = Vec::new();
    for n in 0..hypermnesia_rpc::limits::WATCHES_MAX {
        let client = if n % 2 == 0 { &served.client } else { &second };
        open.push(client.watch("accounts", Watch::new()).await.expect("there is a place"));
    }
    for client in [&served.client, &second, &third] {
        let refused = client.watch("accounts", Watch::new()).await.expect_err("one too many");
        assert_eq!(refused.kind(), ErrorKind::Limit);
    }
    open.pop();
    let again = async {
        loop {
            match third.watch("accounts", Watch::new()).await {
                Ok(watch) => return watch,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Limit),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, again).await.expect("its place came back");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed() {
    // Aim: back-pressure ends at the list of events. Method: more changes than are kept and than the connection takes, with no
    // reader; then it reads: every change is either told or counted.
    let served = Served::start().await;
    served.node.query("CREATE TABLE t (id INT PRIMARY KEY, text TEXT)", &[]).expect("new");
    let t = served.node.dyn_table("t").expect("there");
    let mut changes = served.client.watch("t", Watch::new()).await.expect("watched");
    let (writes, text) = (150_000_u64, "x".repeat(100));
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..writes {
            t.insert(&[(n as i64 % 100).into(), text.as_str().into()]).expect("written");
        }
    });
    writing.await.expect("nobody waited");
    let (mut told, mut missed, mut last) = (0, 0, 0);
    while last < writes {
        match next(&mut changes).await {
            Watched::Change(change) => {
                assert_eq!(change.sequence, last + 1, "what was missed is told before what comes behind it");
                (told, last) = (told + 1, change.sequence);
            }
            Watched::Missed(count) => (missed, last) = (missed + count, last + count),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told + missed, writes);
    assert!(missed > 0, "the test asks for more than is kept");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_member_is_told() {
    // Aim: system events over the wire. Method: a member of three that two others join.
    use hypermnesia::Node;
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let (members, mut listeners) = crate::cluster::named(listeners);
    let mut node = |n: usize| {
        let builder = Node::builder().name(format!("n{n}")).members(members.clone());
        builder.peer_listener(listeners.remove(0)).build().expect("it starts")
    };
    let served = Served::over(node(1)).await;
    let mut events = served.client.watch_member().await.expect("watched");
    let others = [node(2), node(3)];
    let mut up = Vec::new();
    loop {
        let event = timeout(LONG, events.next()).await.expect("in time").expect("no error");
        assert!(!event.text.is_empty());
        match event.event() {
            MemberEvent::MemberUp => up.push(event.member),
            MemberEvent::Ready => break,
            _ => (),
        }
    }
    up.sort();
    up.dedup();
    assert_eq!(up, ["n2", "n3"]);
    let [one, two] = others;
    one.close();
    let down = loop {
        let event = timeout(LONG, events.next()).await.expect("in time").expect("no error");
        if event.event() == MemberEvent::MemberDown {
            break event.member;
        }
    };
    assert_eq!(down, "n2");
    two.close();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_no_message_has_room_for_is_told_as_missed() {
    // Aim: one change does not end a watch for good, and what is missed is told in its place. Method: a bag key that grows
    // past a message, between small changes; positions behind each go on without a gap.
    let served = Served::start().await;
    let spec = hypermnesia_rpc::client::TableSpec::bag("b");
    let spec = spec.attribute("id", hypermnesia_rpc::client::AttributeType::Int);
    let spec = spec.attribute("bytes", hypermnesia_rpc::client::AttributeType::Bytes);
    served.client.create_table(spec).await.expect("new");
    let b = served.client.table("b");
    let mut changes = served.client.watch("b", Watch::new()).await.expect("watched");
    let large = |n: u8| (1, Value::Bytes(vec![n; 7 << 20]));
    b.put((2, Value::Bytes(vec![]))).await.expect("written");
    for n in 0..3 {
        b.put(large(n)).await.expect("written");
    }
    b.put((3, Value::Bytes(vec![]))).await.expect("written");
    let mut told = Vec::new();
    while told.last() != Some(&5) {
        match next(&mut changes).await {
            Watched::Change(change) => told.push(change.sequence),
            Watched::Missed(1) => {
                assert_eq!(told, [1, 2, 3], "in its place");
                let position = changes.position().expect("no rows");
                let mut behind =
                    served.client.watch("b", Watch::new().from(position)).await.expect("it goes on");
                assert_eq!(change(&mut behind).await.sequence, 5);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, [1, 2, 3, 5]);
    served.stop().await;
}
