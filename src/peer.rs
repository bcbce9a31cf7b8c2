//! The connections to the other members: one TCP connection per pair. The member with the lower id dials. Messages travel
//! on numbered streams between two lives (`hypermnesia_replication::stream`), so a connection that breaks and comes back
//! loses and doubles nothing; acknowledgements ride on whatever goes the other way.
//!
//! With TLS the handshake comes before the hello (see `handshake`), and every byte behind it goes through it on its way between
//! frames and socket (see `wire`). Which member is at the other end is what its certificate and its hello both say.
//!
//! A frame is written by whoever has it, straight to the socket; only what the socket does not take is left to the I/O
//! thread. Messages are handled by the I/O thread in place, as they are cut out of the bytes that came in.

mod door;
mod frame;
mod handshake;
mod hello;
mod link;
mod reader;
mod refusals;
#[cfg(test)]
mod secured;
mod strangers;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use hypermnesia_replication::Peer;
use hypermnesia_store::NodeId;
use tokio::sync::Notify;

pub(crate) use door::run;
pub(crate) use hello::fingerprint;
pub(crate) use link::Link;

/// All links, by the member's position among the members.
pub(crate) struct Peers {
    links: Vec<Option<Arc<Link>>>,
    /// Something was queued and not written.
    left: Notify,
    nodes: Vec<NodeId>,
    /// Where each is reached.
    addresses: Vec<String>,
}

impl Peers {
    /// A link for every member but `me`; members are sorted by id.
    pub(crate) fn new(me: NodeId, members: &[(NodeId, String, String)]) -> Peers {
        let link = |(node, name, address): &(NodeId, String, String)| {
            (*node != me).then(|| Arc::new(Link::new(*node, name.clone(), address.clone())))
        };
        Peers {
            links: members.iter().map(link).collect(),
            left: Notify::new(),
            nodes: members.iter().map(|(node, ..)| *node).collect(),
            addresses: members.iter().map(|(.., address)| address.clone()).collect(),
        }
    }

    /// All links.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().flatten()
    }

    /// The link to a member.
    pub(crate) fn link(&self, node: NodeId) -> Option<&Arc<Link>> {
        let at = self.nodes.binary_search(&node).ok()?;
        self.links[at].as_ref()
    }

    /// Where a member is reached, as all members were told.
    pub(crate) fn address(&self, node: NodeId) -> Option<&str> {
        let at = self.nodes.binary_search(&node).ok()?;
        Some(&self.addresses[at])
    }

    /// Queues a message on the stream to that life; the position of its link when there is something to flush.
    pub(crate) fn push(&self, to: Peer, payload: Bytes) -> Option<usize> {
        let at = self.nodes.binary_search(&to.node).ok()?;
        self.links[at].as_ref()?.push(to, payload).then_some(at)
    }

    /// Writes what is queued as far as the socket takes it.
    pub(crate) fn flush(&self, at: usize) {
        if let Some(link) = &self.links[at] {
            link.flush();
        }
    }

    /// Writes whatever is queued anywhere.
    pub(crate) fn flush_all(&self) {
        self.links().filter(|link| link.has_unsent()).for_each(|link| link.flush());
    }

    /// What is queued is written by the I/O thread when it comes by, unless something else takes it along before.
    pub(crate) fn leave_to_io(&self) {
        self.left.notify_one();
    }

    /// Until something is left.
    pub(crate) async fn left(&self) {
        self.left.notified().await;
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.links().for_each(|link| link.close());
    }
}
