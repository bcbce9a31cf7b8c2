//! A server with a table that nobody may change, and a client that uses another one all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hypermnesia::Node;
use hypermnesia_rpc::Value;
use hypermnesia_rpc::client::{AttributeType, Client, TableSpec};
use tokio::task::JoinHandle;

use crate::served::Served;

/// Within this a call of a real client is answered, whatever others do. Far above what it takes, far below what a place or
/// a buffer that never comes back would take.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Victim {
    pub(crate) served: Served,
    version: u64,
    beside: Beside,
}

struct Beside {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Victim {
    /// With places for so many connections; two of them are its own.
    pub(crate) async fn with_places(places: usize) -> Victim {
        let node = Node::builder().name("n1").build().expect("an embedded node needs nothing");
        let served = Served::bounded(node, places).await;
        for name in ["accounts", "beside"] {
            let spec = TableSpec::set(name)
                .attribute("id", AttributeType::Text)
                .attribute("balance", AttributeType::Int);
            served.client.create_table(spec).await.expect("a new table");
        }
        served.client.table("accounts").put(("alice", 100)).await.expect("it fits");
        let version = served.client.table("accounts").get_versioned("alice").await.expect("there").1;
        let beside = Beside::of(Client::connect(&served.address).await.expect("the port is open"));
        Victim { served, version, beside }
    }

    pub(crate) fn address(&self) -> &str {
        &self.served.address
    }

    /// Lets the client beside go on, and fails when it cannot.
    pub(crate) async fn is_served(&self) {
        let before = self.beside.calls.load(Ordering::Relaxed);
        // One that was begun before counts for nothing.
        let answered = async {
            while self.beside.calls.load(Ordering::Relaxed) < before + 2 {
                assert!(!self.beside.task.is_finished(), "the client beside failed");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(2 * SERVED_WITHIN, answered).await.expect("the client beside is served");
    }

    /// The table is what it was, to the version, and everything goes away.
    pub(crate) async fn unchanged(self) {
        self.is_served().await;
        let accounts = self.served.client.table("accounts");
        let (rows, version) = accounts.get_versioned("alice").await.expect("answered");
        assert_eq!((rows, version), (vec![vec![Value::from("alice"), 100.into()]], self.version));
        assert_eq!(self.served.client.describe_table("accounts").await.expect("there").rows, 1);
        self.beside.stop.store(true, Ordering::Relaxed);
        self.beside.task.await.expect("every call was answered");
        self.served.stop().await;
    }
}

impl Beside {
    fn of(client: Client) -> Beside {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&calls));
        let task = tokio::spawn(async move {
            let table = client.with_timeout(SERVED_WITHIN).table("beside");
            while !stopped.load(Ordering::Relaxed) {
                let n = counted.load(Ordering::Relaxed) as i64;
                table.put(("row", n)).await.expect("put");
                let row = table.get_one("row").await.expect("read");
                assert_eq!(row, Some(vec!["row".into(), n.into()]));
                counted.fetch_add(1, Ordering::Relaxed);
                // It is there to be served, not to take the processor.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Beside { stop, calls, task }
    }
}
