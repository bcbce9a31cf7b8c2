//! Where calls may come from: any thread, any runtime, any task.

use hypermnesia::{Error, Kind, Node, TxOptions, Value};

use crate::{key, node, row, table};

fn bump(node: &Node, t: &hypermnesia::DynTable) {
    node.transaction(|tx| {
        let n = match tx.get_for_update(t, &key(1))?.map(|row| row[1].clone()) {
            Some(Value::Int(n)) => n,
            _ => 0,
        };
        tx.insert(t, &row(1, n + 1))
    })
    .expect("it ends");
}

async fn bump_async(node: &Node, t: &hypermnesia::DynTable) {
    node.transaction_async(|tx| {
        let t = t.clone();
        async move {
            let n = match tx.get_for_update(&t, &key(1)).await?.map(|row| row[1].clone()) {
                Some(Value::Int(n)) => n,
                _ => 0,
            };
            tx.insert(&t, &row(1, n + 1)).await
        }
    })
    .await
    .expect("it ends");
}

#[test]
fn calls_work_from_threads_and_both_runtimes_and_tasks() {
    // Aim: a node never needs nor hurts the caller's runtime. Method: one contended counter, bumped from everywhere.
    let node = node();
    let t = table(&node, Kind::Set);
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let single = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    std::thread::scope(|scope| {
        scope.spawn(|| (0..50).for_each(|_| bump(&node, &t)));
        scope.spawn(|| {
            single.block_on(async {
                for _ in 0..50 {
                    bump(&node, &t);
                    bump_async(&node, &t).await;
                }
            });
        });
        scope.spawn(|| {
            let (node, t) = (node.clone(), t.clone());
            multi.block_on(async move {
                let tasks: Vec<_> = (0..4)
                    .map(|_| {
                        let (node, t) = (node.clone(), t.clone());
                        tokio::spawn(async move {
                            for _ in 0..25 {
                                bump(&node, &t);
                                bump_async(&node, &t).await;
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
        });
    });
    assert_eq!(t.get(&key(1)).expect("read"), Some(row(1, 50 + 100 + 200).to_vec()));
    assert_eq!(node.status().locks, (0, 0));
}

#[test]
fn the_last_handle_may_go_in_async_code() {
    // Aim: dropping a node in a task neither panics nor hangs. Method: both runtimes.
    for runtime in [
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime"),
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
    ] {
        runtime.block_on(async {
            let node = node();
            let t = table(&node, Kind::Set);
            t.insert(&row(1, 1)).expect("written");
            drop(node);
            assert_eq!(t.insert(&row(1, 2)), Err(Error::Closed));
        });
    }
}

#[test]
fn a_transaction_by_hand_commits_or_releases() {
    // Aim: interactive transactions. Method: commit one, abort one, drop one; then look at rows and locks.
    let node = node();
    let t = table(&node, Kind::Set);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let tx = node.begin(&TxOptions::new()).expect("ready");
        tx.insert(&t, &row(1, 1)).await.expect("buffered");
        let mark = tx.mark().expect("running");
        tx.insert(&t, &row(2, 2)).await.expect("buffered");
        tx.roll_back(&mark).expect("running");
        assert!(tx.commit().await.expect("committed").is_some());
        assert_eq!(tx.get(&t, &key(1)).await, Err(Error::Ended));
        let aborted = node.begin(&TxOptions::new()).expect("ready");
        aborted.get_for_update(&t, &key(1)).await.expect("locked");
        aborted.abort();
        let dropped = node.begin(&TxOptions::new()).expect("ready");
        dropped.get_for_update(&t, &key(1)).await.expect("locked, so the first one let go");
    });
    assert_eq!(t.to_vec().expect("read"), [row(1, 1).to_vec()]);
    assert_eq!(node.status().locks, (0, 0));
}
