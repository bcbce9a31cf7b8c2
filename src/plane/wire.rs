//! What the control plane needs of the network: one request to one voter, and its answer or none. Requests may be lost,
//! doubled, reordered and answered too late; an answer must belong to its request.

use std::future::Future;
use std::pin::Pin;

use super::voter::{RaftId, Voter};

/// What becomes of a request.
pub(crate) type Reply = Pin<Box<dyn Future<Output = Result<Vec<u8>, Unreachable>> + Send>>;

/// Nobody answered. The request may have been handled all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer: {0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// Carries requests to [`Plane::on_request`](super::Plane::on_request) of others.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Sends a request. The plane stops waiting by itself, so the wire need not; dropping the future gives the request up.
    fn send(&self, to: RaftId, voter: &Voter, request: Vec<u8>) -> Reply;
}
