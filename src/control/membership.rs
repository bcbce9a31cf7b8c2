//! With whom a node takes part, as the rest of it uses that: with others, by the control plane, or alone, by a register of its own.

use std::sync::OnceLock;

use hypermnesia_replication::{Opened, Peer};
use hypermnesia_store::NodeId;

use super::{Alone, Control, Lease, Timing, Word};
use crate::carry::Carry;
use crate::core::{Core, Parts};

/// See the file's header.
pub(crate) struct Membership {
    /// How long a lease lasts, and what follows from that. The same on all members.
    pub(crate) timing: Timing,
    /// Whether what is read here may be shown.
    pub(crate) lease: Lease,
    /// The register of a node that is alone.
    alone: Option<Alone>,
    /// Its part in the control plane, from when its threads begin; a node that is alone has none.
    control: OnceLock<Control>,
}

impl Membership {
    /// Takes part in nothing yet.
    pub(crate) fn new(parts: &Parts) -> Membership {
        let alone = parts.alone;
        let carried = || parts.replica.carried();
        Membership {
            timing: parts.timing,
            lease: Lease::new(parts.timing.terms(), parts.me, alone),
            alone: alone.then(|| Alone::new(&parts.cluster, &parts.name, parts.me, carried())),
            control: OnceLock::new(),
        }
    }
}

impl Core {
    /// Begins: a node that is alone takes part in an epoch of its own from here on.
    pub(crate) fn start(&self) {
        self.event(|core, now, out| core.replica.start(now, out));
        if let Some(alone) = &self.membership.alone {
            self.event(|core, now, out| core.replica.on_agreed(now, alone.agreement(), out));
        }
    }

    /// All members of an epoch have staged it: the control plane is to record that it is open. Asked for again until that is so.
    pub(crate) fn open(&self, opened: &Opened, out: &mut Carry<'_>) {
        match (&self.membership.alone, self.control()) {
            (Some(alone), _) => {
                alone.open(opened);
                self.replica.on_agreed(self.now(), alone.agreement(), out);
            }
            (None, Some(control)) => control.open_epoch(opened),
            (None, None) => {}
        }
    }

    /// The id of the cluster, from when it is founded and known here.
    pub(crate) fn founded(&self) -> Option<u128> {
        self.replica.cluster()
    }

    /// Its part in the control plane, if it has other members.
    pub(crate) fn control(&self) -> Option<&Control> {
        self.membership.control.get()
    }

    /// It takes part in the control plane from now on.
    pub(crate) fn take_control(&self, control: Control) {
        // Once, by who begins the threads.
        drop(self.membership.control.set(control));
    }

    /// Says something to the life of a member that is connected now, beside the numbered stream. False when there is none, or
    /// too much is on its way already; what was said may be lost all the same.
    pub(crate) fn say(&self, node: NodeId, word: &Word) -> bool {
        self.peers.link(node).is_some_and(|link| link.say(&word.encode()))
    }

    /// Something was said beside the numbered stream.
    pub(crate) fn on_word(&self, from: Peer, word: Word) {
        if let Some(control) = self.control() {
            control.on_word(from, word);
        }
    }
}
