//! Rows of tables that have no copy on this node: asked of a member that has one. The questions and answers are
//! `hypermnesia_replication::fetch`; here is who asks, and waits, and who reads.
//!
//! Nobody waits in a thread that carries messages: a question is taken in under the handler's locks and answered by a task of
//! the I/O thread, which lets another thread do what may take longer than a look at a key in memory; an answer wakes whoever
//! asked.
//!
//! | module | noun |
//! |---|---|
//! | [`asked`] | the questions of this node |
//! | [`asking`] | one question and its answers, chunk by chunk |
//! | [`served`] | the questions of others |
//! | [`place`] | where somebody is in a table who fetches it chunk by chunk |
//! | [`outside`] | reads outside of transactions |

mod asked;
mod asking;
mod outside;
mod place;
mod served;

pub(crate) use asking::{Asking, Unanswered, Whole};
pub(crate) use outside::newest;
pub(crate) use served::{Question, begin};

use std::time::Instant;

use hypermnesia_replication::Peer;

use crate::core::Core;

/// See the file's header.
#[derive(Default)]
pub(crate) struct Remote {
    pub(crate) asked: asked::Asked,
    pub(crate) served: served::Served,
}

impl Remote {
    /// Time has passed.
    pub(crate) fn tick(&self, core: &Core) {
        let now = Instant::now();
        self.asked.tick(core, now);
        self.served.tick(now);
    }

    /// There is no stream to this life of a member any more, for now.
    pub(crate) fn on_disconnected(&self, peer: Peer) {
        self.asked.on_disconnected(peer);
        self.served.on_disconnected(peer);
    }
}
