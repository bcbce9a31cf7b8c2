//! The connections to the other members: one TCP connection per pair. The member with the lower id dials. Messages travel
//! on numbered streams between two lives (`hypermnesia_replication::stream`), so a connection that breaks and comes back
//! loses and doubles nothing; acknowledgements ride on whatever goes the other way.
//!
//! With TLS the handshake comes before the hello (see `handshake`), and every byte behind it goes through it on its way between
//! frames and socket (see `wire`). Which member is at the other end is what its certificate and its hello both say.
//!
//! A frame is written by whoever has it, straight to the socket; only what the socket does not take is left to the I/O
//! thread. Messages are handled by the I/O thread in place, as they are cut out of the bytes that came in.

mod admission;
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
use hypermnesia_replication::{Member, Peer, Placed, SlotTaken, Slots};
use hypermnesia_store::NodeId;
use tokio::sync::Notify;

pub(crate) use admission::{Admission, Asking, ask};
pub(crate) use door::{attend, run};
pub(crate) use link::Link;

/// The links to all other members, by slot. They come and go with the members.
#[derive(Default)]
pub(crate) struct Peers {
    links: Slots<Arc<Link>>,
    /// Something was queued and not written.
    left: Notify,
}

impl Placed for Link {
    fn node(&self) -> NodeId {
        self.node
    }
}

impl Peers {
    /// A link to a member from now on; nothing where there is one.
    pub(crate) fn add(&self, slot: usize, member: &Member) -> Result<Option<&Arc<Link>>, SlotTaken> {
        let new = Arc::new(Link::new(member.node, member.name.clone(), member.address.clone()));
        let is_new = self.links.fill(slot, new)?;
        Ok(self.links.get(slot).filter(|_| is_new))
    }

    /// No link to who is at a slot any more.
    pub(crate) fn remove(&self, slot: usize) {
        self.links.give_back(slot);
        if let Some(link) = self.links.get(slot) {
            link.close();
        }
    }

    /// All links.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().map(|(_, link)| link)
    }

    /// The link to a member.
    pub(crate) fn link(&self, node: NodeId) -> Option<&Arc<Link>> {
        self.links().find(|link| link.node == node)
    }

    /// Queues a message on the stream to that life; the slot of its link when there is something to flush.
    pub(crate) fn push(&self, to: Peer, payload: Bytes) -> Option<usize> {
        let (slot, link) = self.links.iter().find(|(_, link)| link.node == to.node)?;
        link.push(to, payload).then_some(slot)
    }

    /// Writes what is queued as far as the socket takes it.
    pub(crate) fn flush(&self, slot: usize) {
        if let Some(link) = self.links.get(slot) {
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
