//! The page of numbers that `serve --metrics` answers with over HTTP: `GET /metrics`, for Prometheus and whatever reads the
//! same format. A connection carries one question and has a few seconds for it, and there are only so many at a time: who
//! asks slowly, or not at all, keeps nobody out for long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hypermnesia::{Node, metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Readers at a time; the next ones wait at the door.
const READERS_MAX: usize = 64;

/// How long a connection may take for its question and the answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Between two tries to take a connection where the system has refused one.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the address, before a node is started in vain.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen for readers of metrics on {address}"))
}

/// Serves the page until the process ends.
pub(crate) async fn serve(listener: TcpListener, node: Node) {
    let places = Arc::new(Semaphore::new(READERS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answered = tokio::time::timeout(ANSWERED_WITHIN, answer(stream, node.clone()));
                tokio::spawn(async move {
                    // Late or broken off: the reader asks again.
                    drop(answered.await);
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answer(stream: TcpStream, node: Node) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let node = node.clone();
        async move { Ok::<_, Infallible>(response(&request, node).await) }
    });
    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await
}

async fn response(request: &Request<Incoming>, node: Node) -> Response<String> {
    let mut response = Response::new(String::new());
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            // Reading the state of many tables takes a moment.
            let page = tokio::task::spawn_blocking(move || metrics::page(&node.status())).await;
            *response.body_mut() = page.unwrap_or_default();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
        }
        (_, "/metrics") => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        _ => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            "there is /metrics and nothing else\n".clone_into(response.body_mut());
        }
    }
    response
}
