//! The server: the services of `hypermnesia.v1` over a running node, with health and reflection beside them.
//!
//! It decodes and checks once, at the door; behind it nobody sees protobuf. It holds no data of its own.
//! The node's calls never run on a thread that serves sockets where they could wait: writes are
//! awaited, scans, queries and interactive transactions have threads of their own, bounded in number.

mod backups;
mod change;
mod cluster;
mod connections;
mod convert;
mod deadline;
mod door;
mod events;
mod intake;
mod interactive;
mod operations;
mod outlet;
mod patterns;
mod places;
mod query;
mod scan;
mod sequences;
mod tables;
mod transact;

use std::future::Future;
use std::io;
use std::sync::Arc;

use hypermnesia::Node;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tonic::service::Routes;
use tonic::transport::Server;

use crate::limits::{
    CONNECTIONS_MAX, DRAIN_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX,
    STREAMS_PER_CONNECTION,
};
use crate::proto;
use crate::proto::backups_server::BackupsServer;
use crate::proto::cluster_server::ClusterServer;
use crate::proto::events_server::EventsServer;
use crate::proto::operations_server::OperationsServer;
use crate::proto::patterns_server::PatternsServer;
use crate::proto::query_server::QueryServer;
use crate::proto::sequences_server::SequencesServer;
use crate::proto::tables_server::TablesServer;
use crate::proto::transactions_server::TransactionsServer;
use door::Door;
use intake::Intake;

pub(crate) use convert::transaction_message;

/// The services of `hypermnesia.v1` over one node. All of them share it.
#[derive(Clone)]
struct Services {
    door: Arc<Door>,
    /// For messages that are on their way in.
    room: Arc<Semaphore>,
}

/// Serves a node on a bound listener until `shutdown` is ready; then takes no more calls and waits up to 5 s for those that
/// are being worked on. The node itself is not closed.
///
/// At most [`CONNECTIONS_MAX`] clients are connected at a time; [`serve_bounded`] takes another number.
///
/// # Errors
/// When the server fails.
pub async fn serve(node: Node, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    serve_bounded(node, listener, CONNECTIONS_MAX, shutdown).await
}

/// As [`serve`], for so many clients at a time. The next one finds its connection closed; so does one that says nothing for
/// 5 s. Besides the clients at most [`STRANGERS_MAX`](crate::limits::STRANGERS_MAX) connections that have said nothing yet
/// take a descriptor each.
///
/// # Errors
/// As there.
pub async fn serve_bounded(
    node: Node,
    listener: TcpListener,
    connections_max: usize,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let signal = async move {
        shutdown.await;
        // Nobody waits for it when the server has failed already.
        let _ = stopping.send(true);
    };
    let (guests, door_open) = connections::open(listener, connections_max);
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .add_routes(routes(node, stopped.clone()))
        .serve_with_incoming_shutdown(guests, signal);
    let drained = async move {
        tokio::select! {
            () = door_open => {}
            () = told(stopped.clone()) => {}
        }
        // The port is closed now; calls that were begun may end.
        told(stopped).await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        result = serving => result.map_err(io::Error::other),
        () = drained => Ok(()),
    }
}

/// Comes back when the server is to stop; never when it has failed before.
async fn told(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// All services as routes, to be served beside others or under settings of one's own.
pub fn router(node: Node) -> Routes {
    // Nobody will say that it stops.
    routes(node, watch::channel(false).1)
}

/// The same; streams that have no end of their own end when the server is told to stop.
fn routes(node: Node, stopped: watch::Receiver<bool>) -> Routes {
    let services = Services { door: Arc::new(Door::new(node, stopped)), room: intake::room() };
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(door::report_health(Arc::downgrade(&services.door), reporter));
    let mut routes = Routes::builder();
    routes
        .add_service(sized!(TablesServer, services))
        .add_service(sized!(TransactionsServer, services))
        .add_service(sized!(PatternsServer, services))
        .add_service(sized!(QueryServer, services))
        .add_service(sized!(OperationsServer, services))
        .add_service(sized!(ClusterServer, services))
        .add_service(sized!(SequencesServer, services))
        .add_service(sized!(EventsServer, services))
        .add_service(sized!(BackupsServer, services))
        .add_service(Intake::of(health, &services.room));
    if let Ok(reflection) = reflection().build_v1() {
        routes.add_service(Intake::of(reflection, &services.room));
    }
    if let Ok(reflection) = reflection().build_v1alpha() {
        routes.add_service(Intake::of(reflection, &services.room));
    }
    routes.routes()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// A service with the bounds on its messages.
macro_rules! sized {
    ($server:ident, $services:expr) => {
        Intake::of(
            $server::new($services.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            &$services.room,
        )
    };
}
use sized;
