//! Rows with versions, many rows as one step, and the operations that look before they write: on each kind, as plain values
//! and as records, from threads and from tasks.

use hypermnesia::{
    Body, Count, DynTable, Error, EventDetail, Heard, Kind, Node, Record, Subscription, Timestamp, Value,
};

use crate::{key, node, row, table};

const KINDS: [Kind; 3] = [Kind::Set, Kind::OrderedSet, Kind::Bag];

#[test]
fn a_version_is_of_the_last_change_of_its_key() {
    // Aim: versions grow with every change of their key and with nothing else. Method: each operation, then the version.
    let node = node();
    let t = table(&node, Kind::Set);
    assert_eq!(t.get_versioned(&key(1)), Ok(None));
    t.insert(&row(1, 1)).expect("written");
    t.insert(&row(2, 1)).expect("written");
    let first = t.get_versioned(&key(1)).expect("read").expect("it is there");
    assert_eq!(first.row, row(1, 1));
    t.insert(&row(2, 2)).expect("another key");
    assert_eq!(t.get_versioned(&key(1)).expect("read").expect("there").version, first.version);
    let changes: [&dyn Fn(); 3] = [
        &|| t.insert(&row(1, 1)).expect("the same values again"),
        &|| assert!(t.increment(&key(1), "n", 1).expect("counted").is_some()),
        &|| assert!(t.update_attributes(&key(1), &[("n", Value::Int(7))]).expect("changed")),
    ];
    let mut last = first.version;
    for change in changes {
        change();
        let now = t.get_versioned(&key(1)).expect("read").expect("there").version;
        assert!(now > last, "{now:?} after {last:?}");
        last = now;
    }
}

#[test]
fn a_row_is_swapped_by_version_only_where_nobody_wrote_meanwhile() {
    // Aim: compare and swap on a version: once with the right one, then never; the given version is the next one to use;
    // an absent row has no version. Method: right, stale, absent and never; a chain; deletion.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    t.insert(&row(1, 0)).expect("written");
    let mut version = t.get_versioned(&key(1)).expect("read").expect("there").version;
    for n in 1..5 {
        let stale = version;
        version =
            t.swap_if_version(&key(1), version, Some(&row(1, n))).expect("runs").expect("it is the last");
        assert_eq!(t.get_versioned(&key(1)).expect("read").map(|now| now.version), Some(version));
        assert_eq!(t.swap_if_version(&key(1), stale, None), Ok(None), "another one wrote");
    }
    assert_eq!(t.swap_if_version(&key(9), version, Some(&row(9, 9))), Ok(None), "there is no row");
    assert_eq!(
        t.swap_if_version(&key(9), Timestamp::NEVER, Some(&row(9, 9))),
        Ok(None),
        "nor a version of none"
    );
    let other_key = t.swap_if_version(&key(1), version, Some(&row(2, 2)));
    assert!(matches!(other_key, Err(Error::Aborted { .. })), "{other_key:?}");
    assert!(t.swap_if_version(&key(1), version, None).expect("runs").is_some(), "deleted");
    assert!(t.is_empty().expect("read"));
}

#[test]
fn of_many_that_swap_one_version_one_wins() {
    // Aim: no two swaps from one version succeed. Method: threads race over one counter by read and swap; the sum is exact.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 0)).expect("written");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut done = 0;
                while done < 50 {
                    let seen = t.get_versioned(&key(1)).expect("read").expect("there");
                    let Value::Int(n) = seen.row[1] else { panic!("a number") };
                    let swapped = t.swap_if_version(&key(1), seen.version, Some(&row(1, n + 1)));
                    done += i32::from(swapped.expect("runs").is_some());
                }
            });
        }
    });
    assert_eq!(t.get(&key(1)), Ok(Some(row(1, 200).to_vec())));
}

#[test]
fn own_writes_have_no_version_before_the_commit() {
    // Aim: inside a transaction a version is that of what was committed. Method: read, write, read, swap; and a bag.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 1)).expect("written");
    let before = t.get_versioned(&key(1)).expect("read").expect("there").version;
    node.transaction(|tx| {
        assert_eq!(tx.get_versioned(&t, &key(1))?.map(|seen| seen.version), Some(before));
        assert!(tx.swap_if_version(&t, &key(1), before, Some(&row(1, 2)))?);
        let own = tx.get_versioned(&t, &key(1))?.expect("it is there");
        assert_eq!((own.row, own.version), (row(1, 2).to_vec(), Timestamp::NEVER));
        assert!(!tx.swap_if_version(&t, &key(1), before, None)?, "it is not that one any more");
        assert!(!tx.swap_if_version(&t, &key(1), Timestamp::NEVER, None)?, "and has no other");
        Ok(())
    })
    .expect("committed");
    node.drop_table("t").expect("it is there");
    let bag = table(&node, Kind::Bag);
    bag.insert_many([&row(1, 1)[..], &row(1, 2)]).expect("written");
    let seen = node.transaction(|tx| tx.read_versioned(&bag, &key(1))).expect("read");
    assert_eq!(seen.row, [row(1, 1), row(1, 2)]);
    assert!(seen.version > before);
    let refused = bag.swap_if_version(&key(1), seen.version, None);
    assert!(matches!(refused, Err(Error::WrongKind { .. })), "{refused:?}");
}

#[test]
fn many_rows_are_put_all_or_none() {
    // Aim: insert many and insert new many are one step. Method: a row that does not fit, a key that has a row, two rows of
    // one key, each kind; a reader that never sees a part.
    for kind in KINDS {
        let node = node();
        let t = table(&node, kind);
        let misfit = [Value::Int(5), Value::from("x")];
        assert!(matches!(t.insert_many([&row(1, 1)[..], &misfit]), Err(Error::Row(_))));
        assert!(matches!(t.insert_new_many([&row(1, 1)[..], &misfit]), Err(Error::Row(_))));
        assert!(t.is_empty().expect("nothing was written"), "{kind:?}");
        assert_eq!(t.insert_new_many([&row(1, 1)[..], &row(2, 2), &row(2, 3)]), Ok(true));
        let two = if kind == Kind::Bag {
            vec![row(2, 2).to_vec(), row(2, 3).to_vec()]
        } else {
            vec![row(2, 3).to_vec()]
        };
        assert_eq!(t.read(&key(2)), Ok(two), "{kind:?}");
        assert_eq!(t.insert_new_many([&row(3, 3)[..], &row(2, 9)]), Ok(false));
        assert_eq!(t.contains(&key(3)), Ok(false), "{kind:?}: none of them");
        assert_eq!(t.insert_new_many(std::iter::empty()), Ok(true), "nothing is in the way of nothing");
        let inside = node.transaction(|tx| {
            tx.delete(&t, &key(2))?;
            tx.insert_new_many(&t, [&row(2, 7)[..], &row(3, 7)])
        });
        assert_eq!((inside, t.read(&key(2))), (Ok(true), Ok(vec![row(2, 7).to_vec()])), "{kind:?}");
    }
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    // Aim: contract case 10 for the operations that look before they write. Method: wrong attribute, key attribute, type,
    // sum that overflows, wrong default, kinds that do not have it, a table that is gone; then the table is as it was.
    let node = node();
    for kind in KINDS {
        let t = table(&node, kind);
        t.insert(&row(1, i64::MAX)).expect("written");
        let nope = |result: Result<(), Error>| match kind {
            Kind::Bag => assert!(matches!(result, Err(Error::WrongKind { .. })), "{result:?}"),
            _ => assert!(matches!(result, Err(Error::NoSuchAttribute { .. })), "{result:?}"),
        };
        let refused = |result: Result<(), Error>| match kind {
            Kind::Bag => assert!(matches!(result, Err(Error::WrongKind { .. })), "{result:?}"),
            _ => assert!(matches!(result, Err(Error::Aborted { .. } | Error::Row(_))), "{result:?}"),
        };
        for id in [1, 9] {
            nope(t.increment(&key(id), "nope", 1).map(drop));
            nope(t.update_attributes(&key(id), &[("n", Value::Int(1)), ("nope", Value::Null)]).map(drop));
            refused(t.update_attributes(&key(id), &[("id", Value::Int(4))]).map(drop));
            refused(t.update_counter(&key(id), &[Count::new("id", 1)], None).map(drop));
            refused(t.update_counter(&key(id), &[Count::new("n", 1)], Some(&row(id + 1, 1))).map(drop));
        }
        refused(t.update_counter(&key(1), &[Count::new("n", -1), Count::new("n", 2)], None).map(drop));
        refused(t.update_attributes(&key(1), &[("n", Value::from("x"))]).map(drop));
        refused(t.update_attributes(&key(1), &[("n", Value::Null)]).map(drop));
        refused(t.compare_and_swap(&key(1), Some(&row(1, i64::MAX)), Some(&row(2, 0))).map(drop));
        assert!(matches!(t.lookup(&key(1), "nope", Value::Null), Err(Error::NoSuchAttribute { .. })));
        assert_eq!(t.to_vec(), Ok(vec![row(1, i64::MAX).to_vec()]), "{kind:?}");
        node.drop_table("t").expect("it is there");
        let gone = [
            t.insert_new_many([&row(1, 1)[..]]).map(drop),
            t.get_versioned(&key(1)).map(drop),
            t.swap_if_version(&key(1), Timestamp::NEVER, None).map(drop),
            t.take(&key(1)).map(drop),
        ];
        gone.into_iter().for_each(|gone| assert_eq!(gone, Err(Error::NoSuchTable { name: "t".into() })));
    }
}

type Rows = Vec<Vec<Value>>;

/// What was heard: rows before and after.
fn heard(changes: &Subscription) -> Vec<(Rows, Rows)> {
    let rows = |body: Option<Body>| {
        body.map_or(vec![], |body| body.rows().iter().map(|row| row.to_values()).collect())
    };
    std::iter::from_fn(|| changes.try_next())
        .map(|next| match next {
            Heard::Event(event) => (rows(event.old), rows(event.new)),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn expect_event(t: &DynTable, changes: &Subscription, what: &str, operation: impl FnOnce()) {
    let before = t.read(&key(1)).expect("read");
    operation();
    let after = t.read(&key(1)).expect("read");
    let wanted = if before == after { vec![] } else { vec![(before, after)] };
    assert_eq!(heard(changes), wanted, "{what}");
}

#[test]
fn every_operation_is_heard_with_its_old_rows() {
    // Aim: contract case 26 for the operations that look before they write: one event each where they change something, with
    // the rows before and after, and none where they do not. Method: each on each kind, once to succeed, once to fail.
    for kind in KINDS {
        let node = node();
        let t = table(&node, kind);
        let changes = t.subscribe(EventDetail::WithOldRows).expect("served");
        let event = |what: &str, operation: &dyn Fn()| {
            expect_event(&t, &changes, &format!("{kind:?} {what}"), operation);
        };
        let ok = |done: Result<bool, Error>, wanted: bool| assert_eq!(done, Ok(wanted), "{kind:?}");
        event("insert_new", &|| ok(t.insert_new(&row(1, 1)), true));
        event("insert_new again", &|| ok(t.insert_new(&row(1, 2)), false));
        event("insert_new_many", &|| ok(t.insert_new_many([&row(1, 2)[..]]), false));
        if kind != Kind::Bag {
            let version = || t.get_versioned(&key(1)).expect("read").expect("there").version;
            event("update", &|| ok(t.update_attributes(&key(1), &[("n", Value::Int(5))]), true));
            event("count", &|| assert_eq!(t.increment(&key(1), "n", 1), Ok(Some(6))));
            event("swap", &|| ok(t.compare_and_swap(&key(1), Some(&row(1, 6)), Some(&row(1, 7))), true));
            event("swap another", &|| ok(t.compare_and_swap(&key(1), Some(&row(1, 6)), None), false));
            event("swap version", &|| {
                assert!(t.swap_if_version(&key(1), version(), Some(&row(1, 8))).expect("runs").is_some());
            });
            event("swap no version", &|| {
                assert_eq!(t.swap_if_version(&key(1), Timestamp::NEVER, None), Ok(None))
            });
        }
        event("delete_object of another", &|| ok(t.delete_object(&row(1, 99)), false));
        event("take", &|| assert_eq!(t.take(&key(1)).map(|rows| rows.len()), Ok(1)));
        event("take nothing", &|| assert_eq!(t.take(&key(1)), Ok(vec![])));
        let from = row(1, 3);
        if kind != Kind::Bag {
            let count = [Count::new("n", 1)];
            event("count on nothing", &|| assert_eq!(t.update_counter(&key(1), &count, None), Ok(None)));
            event("count a default", &|| {
                assert_eq!(t.update_counter(&key(1), &count, Some(&from)), Ok(Some(vec![4])))
            });
        }
        drop(changes);
        t.insert(&row(1, 1)).expect("nobody listens");
    }
}

/// A hit counter that begins anew at midnight.
#[derive(Record, Debug, PartialEq, Clone)]
struct Hits {
    #[record(key)]
    page: String,
    today: i64,
    ever: i64,
}

#[test]
fn records_have_versions_and_counters_too() {
    // Aim: the typed forms. Method: two counters at once with a threshold, from a default; swap by version; new ones.
    let node = node();
    let hits = node.create_table_of::<Hits>().expect("new");
    let none = Hits { page: "/".into(), today: 0, ever: 0 };
    let visit = [Count::new("today", 1).wrapping(2, 0), Count::new("ever", 1)];
    let sums: Vec<_> =
        (0..4).map(|_| hits.update_counter("/", &visit, Some(&none)).expect("counted")).collect();
    assert_eq!(sums, [vec![1, 1], vec![2, 2], vec![0, 3], vec![1, 4]].map(Some));
    let seen = hits.get_versioned("/").expect("read").expect("there");
    assert_eq!(seen.row, Hits { today: 1, ever: 4, ..none.clone() });
    assert!(hits.swap_if_version("/", seen.version, Some(&none)).expect("runs").is_some());
    let more = Hits { page: "/more".into(), ..none.clone() };
    assert_eq!(hits.insert_new_many(&[more.clone(), none]), Ok(false));
    assert_eq!(hits.insert_new_many(&[more]), Ok(true));
    assert_eq!(hits.lookup("/nowhere", "ever", Value::Int(-1)), Ok(Value::Int(-1)));
}

#[test]
fn counters_of_a_table_that_is_counted_often_go_on_as_they_began() {
    // Aim: where numbers change in place (after some thousand counts, while no snapshot lives) all is as before: sums, thresholds,
    // defaults, numbers that get longer or shorter, refusals that change nothing. Method: plain numbers beside it; snapshots now
    // and then, so that it goes both ways.
    let node = node();
    let hits = node.create_table_of::<Hits>().expect("new");
    let none = Hits { page: "/".into(), today: 0, ever: 0 };
    let (mut today, mut ever) = (0, 0);
    for n in 0..6_000 {
        let by = [1, -3, 100, 40_000, -40_000][n % 5];
        let visit = [Count::new("today", 1).wrapping(99, 0), Count::new("ever", by), Count::new("ever", 1)];
        today = if today == 99 { 0 } else { today + 1 };
        ever += by;
        let sums = hits.update_counter("/", &visit, Some(&none)).expect("counted");
        assert_eq!(sums, Some(vec![today, ever, ever + 1]), "count {n}");
        ever += 1;
        assert_eq!(hits.increment("/", "ever", -1), Ok(Some(ever - 1)), "count {n}");
        ever -= 1;
        if n % 500 == 0 {
            let snapshot = node.snapshot().expect("it serves");
            assert_eq!(hits.increment("/", "ever", 1), Ok(Some(ever + 1)));
            assert_eq!(snapshot.get(&hits, "/").expect("read").map(|row| row.ever), Some(ever));
            ever += 1;
        }
        if n % 100 == 0 {
            assert!(ever > 0 && hits.increment("/", "ever", i64::MAX).is_err(), "count {n} at {ever}");
            assert!(hits.increment("/", "page", 1).is_err() && hits.increment("/", "no", 1).is_err());
            assert_eq!(hits.increment("/nowhere", "ever", 1), Ok(None));
        }
        assert_eq!(hits.get("/").expect("read"), Some(Hits { page: "/".into(), today, ever }), "count {n}");
    }
}

#[tokio::test]
async fn tasks_have_them_too() {
    // Aim: the forms for tasks do what those for threads do. Method: each of them in one transaction.
    let node: Node = node();
    let t = table(&node, Kind::OrderedSet);
    t.insert_many([&row(1, 10)[..], &row(3, 30)]).expect("written");
    let version = t.get_versioned(&key(1)).expect("read").expect("there").version;
    let folded = node
        .transaction_async(|tx| {
            let t = t.clone();
            async move {
                assert_eq!(tx.get_versioned(&t, &key(1)).await?.map(|seen| seen.version), Some(version));
                assert!(tx.swap_if_version(&t, &key(1), version, Some(&row(1, 11))).await?);
                assert!(!tx.insert_new_many(&t, [&row(2, 20)[..], &row(3, 31)]).await?);
                assert!(tx.insert_new_many(&t, [&row(2, 20)[..]]).await?);
                tx.insert_many(&t, [&row(3, 33)[..], &row(4, 44)]).await?;
                assert_eq!(tx.lookup(&t, &key(2), "n", Value::Null).await?, Value::Int(20));
                assert_eq!(tx.lookup(&t, &key(7), "n", Value::Null).await?, Value::Null);
                assert_eq!(tx.first(&t).await?, Some(row(1, 11).to_vec()));
                assert_eq!(tx.last(&t).await?, Some(row(4, 44).to_vec()));
                assert_eq!(tx.next(&t, &key(2)).await?, Some(row(3, 33).to_vec()));
                assert_eq!(tx.prev(&t, &key(2)).await?, Some(row(1, 11).to_vec()));
                tx.fold(&t, 0, |sum, row| if let Value::Int(n) = row[1] { sum + n } else { sum }).await
            }
        })
        .await;
    assert_eq!(folded, Ok(11 + 20 + 33 + 44));
}
