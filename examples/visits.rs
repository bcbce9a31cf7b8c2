//! A distributed counter: an HTTP service that counts visits per user, on one node or on three. Between the two only the
//! call that builds the node differs: see `build`.
//!
//! One node:
//! ```sh
//! cargo run --example visits -- --listen 127.0.0.1:8001
//! curl -X POST http://127.0.0.1:8001/visits/ann
//! curl http://127.0.0.1:8001/visits/ann
//! ```
//! Three nodes, each in a terminal of its own (`n1` as below; `n2` and `n3` with ports 8002 and 8003):
//! ```sh
//! cargo run --example visits -- --name n1 --listen 127.0.0.1:8001 \
//!     --members n1=127.0.0.1:9001,n2=127.0.0.1:9002,n3=127.0.0.1:9003
//! ```
//! Visits may go to any of them, and any of them answers. When one is killed, counts stay readable on the others; counting
//! goes on when it is back.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hypermnesia::{Error, Node, Record, Table, TxOptions};
use serde_json::json;

const USAGE: &str = "\
Counts visits per user over HTTP, on one node or on several that agree.

usage: visits --listen ADDR [--name NAME --members NAME=PEER_ADDR,...]

  --listen ADDR     where HTTP is served, as 127.0.0.1:8001; port 0 takes a free one
  --name NAME       this node's name among the members
  --members LIST    all nodes, with the addresses at which they reach each other

  POST /visits/USER   count a visit             {\"user\":\"ann\",\"visits\":1,\"node\":\"n1\"}
  GET  /visits/USER   how many there were
  GET  /health        200 once counting works, 503 with the reason before";

/// How long a visit may take to be counted.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many visits a user made.
#[derive(Clone, Debug, Record)]
#[record(table = "visits")]
struct Visits {
    #[record(key)]
    user: String,
    count: u64,
}

#[derive(Debug, Default)]
struct Settings {
    listen: Option<String>,
    name: Option<String>,
    members: Vec<(String, String)>,
}

/// The one place where one node and three differ.
fn build(settings: &Settings) -> hypermnesia::Result<Node> {
    match &settings.name {
        None => Node::builder().build(),
        Some(name) => Node::builder().name(name).members(settings.members.clone()).build(),
    }
}

struct Service {
    node: Node,
    visits: OnceLock<Table<Visits>>,
}

impl Service {
    fn table(&self) -> hypermnesia::Result<&Table<Visits>> {
        self.visits.get().ok_or_else(|| Error::NotReady { waits_for: "the other members".into() })
    }

    /// Waits for the others, then for the table, which whoever comes first creates.
    fn prepare(&self) {
        let table = loop {
            match self.node.open_table_of::<Visits>() {
                Ok(table) => break table,
                Err(Error::Closed) => return,
                Err(error) => eprintln!("waiting for the other members: {error}"),
            }
        };
        let _ = self.visits.set(table);
    }

    async fn visit(&self, user: &str) -> hypermnesia::Result<u64> {
        let table = self.table()?;
        let options = TxOptions::new().deadline(PATIENCE);
        let count = |tx: hypermnesia::AsyncTransaction| async move {
            let before = tx.get_for_update(table, user).await?.map_or(0, |visits| visits.count);
            let visits = Visits { user: user.to_owned(), count: before + 1 };
            tx.insert(table, &visits).await?;
            Ok::<u64, Error>(visits.count)
        };
        self.node.try_transaction_async(&options, count).await
    }

    fn counted(&self, user: &str) -> hypermnesia::Result<u64> {
        Ok(self.table()?.get(user)?.map_or(0, |visits| visits.count))
    }

    fn answer(&self, user: &str, counted: hypermnesia::Result<u64>) -> Response {
        match counted {
            Ok(visits) => {
                let body = json!({ "user": user, "visits": visits, "node": self.node.name() });
                (StatusCode::OK, body.to_string()).into_response()
            }
            Err(error) => refusal(&error),
        }
    }
}

/// 400 when the user cannot be stored (too long a name); 503 when nothing changed and asking again is safe; 500 when nobody
/// knows.
fn refusal(error: &Error) -> Response {
    let body = json!({ "error": error.to_string() }).to_string();
    match error.is_retryable() {
        _ if matches!(error, Error::Row(_) | Error::Value(_)) => {
            (StatusCode::BAD_REQUEST, body).into_response()
        }
        true => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], body).into_response(),
        false => (StatusCode::INTERNAL_SERVER_ERROR, body).into_response(),
    }
}

async fn post_visit(State(service): State<Arc<Service>>, Path(user): Path<String>) -> Response {
    let counted = service.visit(&user).await;
    service.answer(&user, counted)
}

async fn get_visits(State(service): State<Arc<Service>>, Path(user): Path<String>) -> Response {
    let counted = service.counted(&user);
    service.answer(&user, counted)
}

async fn health(State(service): State<Arc<Service>>) -> Response {
    match service.table().and_then(|_| service.node.wait_for_members(Duration::ZERO)) {
        Ok(()) => (StatusCode::OK, json!({ "ready": true }).to_string()).into_response(),
        Err(error) => refusal(&error),
    }
}

fn settings(mut arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
    let mut settings = Settings::default();
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} wants a value"));
        match option.as_str() {
            "--listen" => settings.listen = Some(value()?),
            "--name" => settings.name = Some(value()?),
            "--members" => {
                for member in value()?.split(',') {
                    let pair =
                        member.split_once('=').ok_or(format!("{member:?}: NAME=PEER_ADDR is wanted"))?;
                    settings.members.push((pair.0.to_owned(), pair.1.to_owned()));
                }
            }
            "-h" | "--help" => return Err(String::new()),
            other => return Err(format!("{other:?} is no option")),
        }
    }
    match (&settings.listen, &settings.name, settings.members.is_empty()) {
        (None, ..) => Err("--listen is missing".to_owned()),
        (_, Some(_), true) | (_, None, false) => Err("--name and --members go together".to_owned()),
        _ => Ok(settings),
    }
}

async fn serve(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind(settings.listen.as_deref().unwrap_or_default()).await?;
    let address: SocketAddr = listener.local_addr()?;
    let service = Arc::new(Service { node: build(&settings)?, visits: OnceLock::new() });
    println!("{}", json!({ "node": service.node.name(), "listen": address.to_string() }));
    let preparing = Arc::clone(&service);
    // It waits for other processes, so it gets a thread of its own.
    std::thread::spawn(move || preparing.prepare());
    let app = Router::new()
        .route("/visits/{user}", post(post_visit).get(get_visits))
        .route("/health", get(health))
        .with_state(service);
    axum::serve(listener, app).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match settings(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(wrong) if wrong.is_empty() => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("visits: {wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("visits: {error}");
            ExitCode::FAILURE
        }
    }
}
