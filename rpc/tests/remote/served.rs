//! A node, its server and a client, gone with the value.

use hypermnesia::Node;
use hypermnesia_rpc::client::{AttributeType, Client, TableSpec};
use hypermnesia_rpc::limits::CONNECTIONS_MAX;
use hypermnesia_rpc::server;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// See the module.
pub(crate) struct Served {
    /// Connected to the server.
    pub(crate) client: Client,
    /// Where the server listens.
    pub(crate) address: String,
    /// What it serves.
    pub(crate) node: Node,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Starts all three.
    pub(crate) async fn start() -> Served {
        Served::over(Node::builder().name("n1").build().expect("an embedded node needs nothing")).await
    }

    /// Starts server and client over a node.
    pub(crate) async fn over(node: Node) -> Served {
        Served::bounded(node, CONNECTIONS_MAX).await
    }

    /// Starts server and client over a node, for so many connections at a time, the client's among them.
    pub(crate) async fn bounded(node: Node, connections_max: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let server = tokio::spawn(server::serve_bounded(node.clone(), listener, connections_max, shutdown));
        let client = Client::connect(&address).await.expect("the server is listening");
        Served { client, address, node, stop: Some(stop), server }
    }

    /// Starts all three, with a set `accounts` (id text, balance int) that holds alice (100) and bob (0).
    pub(crate) async fn with_accounts() -> Served {
        let served = Served::start().await;
        let spec = TableSpec::set("accounts")
            .attribute("id", AttributeType::Text)
            .attribute("balance", AttributeType::Int)
            .index("by_balance", ["balance"]);
        served.client.create_table(spec).await.expect("a new table");
        served.client.table("accounts").put_many([("alice", 100), ("bob", 0)]).await.expect("rows fit");
        served
    }

    /// Starts all three, with an ordered set `numbers` (n int, text text) of so many rows.
    pub(crate) async fn with_numbers(count: i64) -> Served {
        let served = Served::start().await;
        let spec = TableSpec::ordered_set("numbers")
            .attribute("n", AttributeType::Int)
            .attribute("text", AttributeType::Text)
            .index("by_text", ["text"]);
        served.client.create_table(spec).await.expect("a new table");
        let rows: Vec<_> = (0..count).map(|n| (n, format!("row {n:09}"))).collect();
        for part in rows.chunks(5_000) {
            served.client.table("numbers").put_many(part.to_vec()).await.expect("rows fit");
        }
        served
    }

    /// Stops the server as a signal would, and waits for it.
    pub(crate) async fn stop(mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        drop(self.client);
        self.node.close();
        self.server.await.expect("no panic").expect("no error");
    }
}
