//! Own writes: visible inside, invisible outside, in the right order, nested.

use hypermnesia::{Error, Kind, Span, Value};

use crate::{key, node, row, sorted, table};

#[test]
fn abort_and_panic_and_early_return_leave_the_old_value_and_no_lock() {
    // Aim: contract case 1. Method: three ways out of a transaction that wrote and locked, then look and write again.
    let node = node();
    let t = table(&node, Kind::Set);
    t.insert(&row(1, 1)).expect("written");
    let aborted = node.transaction(|tx| {
        tx.get_for_update(&t, &key(1))?;
        tx.insert(&t, &row(1, 2))?;
        Err::<(), _>(Error::abort("no"))
    });
    assert_eq!(aborted, Err(Error::abort("no")));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        node.transaction(|tx| -> hypermnesia::Result<()> {
            tx.get_for_update(&t, &key(1))?;
            tx.insert(&t, &row(1, 3))?;
            panic!("inside")
        })
    }));
    assert!(panicked.is_err());
    #[derive(Debug, PartialEq)]
    enum Mine {
        Why(u8),
        Engine(Error),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Mine {
            Mine::Engine(error)
        }
    }
    let typed = node.try_transaction(&hypermnesia::TxOptions::new(), |tx| {
        tx.insert(&t, &row(1, 4))?;
        Err::<(), Mine>(Mine::Why(7))
    });
    assert_eq!(typed, Err(Mine::Why(7)));
    assert_eq!(t.get(&key(1)).expect("read"), Some(row(1, 1).to_vec()));
    assert_eq!(node.status().locks, (0, 0));
    t.insert(&row(1, 5)).expect("nothing stands in the way");
}

#[test]
fn uncommitted_writes_are_seen_inside_and_nowhere_else() {
    // Aim: contract case 6, in get, range, index, fold, first and next. Method: look from both sides before the commit.
    let node = node();
    let t = table(&node, Kind::OrderedSet);
    t.insert_many([&row(1, 10)[..], &row(3, 30)[..]]).expect("written");
    let committed = vec![row(1, 10).to_vec(), row(3, 30).to_vec()];
    node.transaction(|tx| {
        tx.insert(&t, &row(2, 20))?;
        tx.insert(&t, &row(3, 31))?;
        tx.delete(&t, &key(1))?;
        let inside = vec![row(2, 20).to_vec(), row(3, 31).to_vec()];
        assert_eq!(tx.range(&t, &Span::all())?, inside);
        assert_eq!(tx.range(&t, &Span::all().backward().limit(1))?, [row(3, 31).to_vec()]);
        assert_eq!(tx.first(&t)?, Some(row(2, 20).to_vec()));
        assert_eq!(tx.next(&t, &key(2))?, Some(row(3, 31).to_vec()));
        assert_eq!(tx.prev(&t, &key(2))?, None);
        assert_eq!(tx.get(&t, &key(1))?, None);
        assert_eq!(tx.index_read(&t, "by_n", &[Value::Int(31)])?, [row(3, 31).to_vec()]);
        assert!(tx.index_read(&t, "by_n", &[Value::Int(30)])?.is_empty());
        assert!(tx.index_read(&t, "by_n", &[Value::Int(10)])?.is_empty());
        assert_eq!(tx.fold(&t, 0, |sum, row| sum + row.len())?, 4);
        assert_eq!(tx.query("SELECT count(*) FROM t WHERE n > 15", &[])?.rows, [[Value::Int(2)]]);
        assert_eq!(t.to_vec()?, committed, "outside");
        assert_eq!(t.get(&key(2))?, None);
        assert_eq!(t.index_read("by_n", &[Value::Int(30)])?.len(), 1);
        assert_eq!(t.dirty_get(&key(3))?, Some(row(3, 30).to_vec()));
        Ok(())
    })
    .expect("committed");
    assert_eq!(t.to_vec().expect("read"), [row(2, 20).to_vec(), row(3, 31).to_vec()]);
}

#[test]
fn deletes_and_objects_shadow_in_order_on_a_bag() {
    // Aim: contract case 7. Method: a bag with two rows under one key, changed both ways round in one transaction.
    let node = node();
    let t = table(&node, Kind::Bag);
    t.insert_many([&row(1, 10)[..], &row(1, 11)[..], &row(1, 10)[..]]).expect("written");
    assert_eq!(
        t.read(&key(1)).expect("read"),
        [row(1, 10).to_vec(), row(1, 11).to_vec()],
        "identical rows once"
    );
    node.transaction(|tx| {
        assert!(tx.delete_object(&t, &row(1, 10))?);
        assert!(!tx.delete_object(&t, &row(1, 99))?);
        tx.insert(&t, &row(1, 12))?;
        assert_eq!(tx.read(&t, &key(1))?, [row(1, 11).to_vec(), row(1, 12).to_vec()]);
        tx.delete(&t, &key(1))?;
        tx.insert(&t, &row(1, 13))?;
        assert_eq!(tx.read(&t, &key(1))?, [row(1, 13).to_vec()]);
        Ok(())
    })
    .expect("committed");
    assert_eq!(t.read(&key(1)).expect("read"), [row(1, 13).to_vec()]);
    let set = node
        .create_table(hypermnesia::TableDef::builder("s").attribute("id", hypermnesia::Type::Int))
        .expect("it is new");
    set.insert(&key(1)).expect("written");
    assert!(!set.delete_object(&key(2)).expect("done"));
    assert!(set.delete_object(&key(1)).expect("done"));
    assert!(set.is_empty().expect("read"));
}

#[test]
fn nested_transactions_keep_or_drop_their_writes() {
    // Aim: contract case 8. Method: all four endings of child and parent.
    let node = node();
    let t = table(&node, Kind::Set);
    for (child, parent) in [(true, true), (false, true), (true, false), (false, false)] {
        t.clear().expect("cleared");
        let end = |commits: bool| if commits { Ok(()) } else { Err(Error::abort("no")) };
        let ended = node.transaction(|tx| {
            tx.insert(&t, &row(1, 1))?;
            let nested = tx.nested(|tx| {
                tx.insert(&t, &row(1, 2))?;
                tx.insert(&t, &row(2, 2))?;
                end(child)
            });
            assert_eq!(nested.is_ok(), child);
            let seen = tx.get(&t, &key(1))?;
            assert_eq!(seen, Some(row(1, if child { 2 } else { 1 }).to_vec()));
            end(parent)
        });
        assert_eq!(ended.is_ok(), parent);
        let expected = match (child, parent) {
            (true, true) => vec![row(1, 2).to_vec(), row(2, 2).to_vec()],
            (false, true) => vec![row(1, 1).to_vec()],
            (_, false) => vec![],
        };
        assert_eq!(sorted(t.to_vec().expect("read")), expected, "child {child}, parent {parent}");
    }
}

#[test]
fn a_nested_panic_that_is_caught_leaves_nothing() {
    // Aim: who catches a panic of a nested transaction goes on as if it had failed. Method: one panic after a write, then
    // as many as there may be levels, which would use them up if one stayed.
    let node = node();
    let t = table(&node, Kind::Set);
    node.transaction(|tx| {
        tx.insert(&t, &row(1, 1))?;
        for _ in 0..=hypermnesia::limits::NESTING_MAX {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                tx.nested(|tx| -> hypermnesia::Result<()> {
                    tx.insert(&t, &row(1, 2))?;
                    tx.insert(&t, &row(2, 2))?;
                    std::panic::resume_unwind(Box::new("inside"))
                })
            }));
            assert!(caught.is_err());
        }
        assert_eq!(tx.get(&t, &key(1))?, Some(row(1, 1).to_vec()));
        tx.nested(|tx| tx.insert(&t, &row(3, 3)))
    })
    .expect("the outer one commits");
    assert_eq!(sorted(t.to_vec().expect("read")), [row(1, 1).to_vec(), row(3, 3).to_vec()]);
}

#[test]
fn a_nested_future_that_is_dropped_leaves_nothing() {
    // Aim: a nested transaction that a task gives up on has not happened. Method: a future that writes and then waits for
    // ever, polled once and dropped.
    let node = node();
    let t = table(&node, Kind::Set);
    let done = node.transaction_async(|tx| {
        let t = t.clone();
        async move {
            tx.insert(&t, &row(1, 1)).await?;
            {
                let mut nested = std::pin::pin!(tx.nested(|tx| {
                    let t = t.clone();
                    async move {
                        tx.insert(&t, &row(1, 2)).await?;
                        std::future::pending::<hypermnesia::Result<()>>().await
                    }
                }));
                std::future::poll_fn(|context| {
                    assert!(nested.as_mut().poll(context).is_pending());
                    std::task::Poll::Ready(())
                })
                .await;
                assert_eq!(tx.get(&t, &key(1)).await?, Some(row(1, 2).to_vec()), "it has written");
            }
            tx.nested(|tx| {
                let t = t.clone();
                async move { tx.insert(&t, &row(2, 2)).await }
            })
            .await
        }
    });
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(done)
        .expect("commits");
    assert_eq!(sorted(t.to_vec().expect("read")), [row(1, 1).to_vec(), row(2, 2).to_vec()]);
}
