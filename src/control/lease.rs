//! This member's lease, as the rest of the node uses it: whoever has read something here may show it once a lease is held
//! after the reading. See `hypermnesia_replication::lease`.

use std::sync::atomic::{AtomicU64, Ordering};

use hypermnesia_replication::Peer;
use hypermnesia_replication::lease::{Ask, Grant, Holder, Terms};
use parking_lot::Mutex;

use crate::machine::boottime_ns;

/// Of a node that is alone: nobody else can take part without it.
const FOR_EVER: u64 = u64::MAX;

/// See the file's header.
pub(crate) struct Lease {
    /// When it ends, on the clock of [`boottime_ns`]; written under the lock of `holder`. Release: what was agreed before is seen.
    until_ns: AtomicU64,
    /// Held for a step of it.
    holder: Mutex<Holder>,
}

impl Lease {
    /// One that has to be asked for; or one for good, of a node that is alone.
    pub(crate) fn new(terms: Terms, me: Peer, alone: bool) -> Lease {
        let until_ns = AtomicU64::new(if alone { FOR_EVER } else { 0 });
        Lease { until_ns, holder: Mutex::new(Holder::new(terms, me)) }
    }

    /// Whether it is held now. What was read before this was asked is the newest.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        match self.until_ns.load(Ordering::Acquire) {
            FOR_EVER => true,
            0 => false,
            until => boottime_ns() < until,
        }
    }

    /// A question to the leader, which leaves after this.
    pub(super) fn ask(&self) -> Ask {
        self.holder.lock().ask(boottime_ns())
    }

    pub(super) fn granted(&self, grant: &Grant) {
        self.step(|holder| holder.on_grant(boottime_ns(), grant));
    }

    /// This member takes part in an epoch with this number, or is fenced for it.
    pub(super) fn on_epoch(&self, number: u64) {
        self.step(|holder| holder.on_epoch(number));
    }

    fn step(&self, step: impl FnOnce(&mut Holder)) {
        let mut holder = self.holder.lock();
        step(&mut holder);
        self.until_ns.store(holder.until_ns(), Ordering::Release);
    }
}
