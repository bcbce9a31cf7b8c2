//! Transactions with marks. Keeps each alive until its last mark is folded or unlinked, and remembers for a while who
//! committed above its local proposal, so that a snapshot can be settled before it streams.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use seize::{Collector, Guard as _, LocalGuard};

use crate::clock::Timestamp;
use crate::limits::{LOCK_SHARDS, STRETCHED_KEPT};
use crate::txn::{Status, Txn};
use crate::work::Blocked;

/// Sharded by sequence number, so that concurrent transactions rarely meet.
pub(crate) struct Flight {
    /// Held for a push, a removal, or a look at a handful of transactions; a leaf lock.
    shards: Box<[CachePadded<Mutex<Shard>>]>,
}

#[derive(Default)]
struct Shard {
    txns: Vec<Arc<Txn>>,
    /// (proposal, commit timestamp) of those that lately committed above their local proposal.
    stretched: VecDeque<(Timestamp, Timestamp)>,
    /// The greatest commit timestamp that had to be forgotten from there.
    forgotten: Timestamp,
}

impl Default for Flight {
    fn default() -> Flight {
        Flight { shards: (0..LOCK_SHARDS).map(|_| CachePadded::default()).collect() }
    }
}

impl Flight {
    /// Keeps a transaction alive for its marks. Before the first of them.
    pub(crate) fn enter(&self, txn: &Arc<Txn>) {
        self.shard(txn).lock().txns.push(Arc::clone(txn));
    }

    /// Its last mark is gone: the reference goes when no reader can still be looking through a mark.
    pub(crate) fn leave(&self, txn: &Arc<Txn>, guard: &LocalGuard<'_>) {
        let kept = {
            let mut shard = self.shard(txn).lock();
            let Some(at) = shard.txns.iter().position(|known| Arc::ptr_eq(known, txn)) else { return };
            if let (Status::Committed(commit), Some(proposal)) = (txn.status.get(), txn.proposal())
                && proposal < commit
            {
                shard.remember(proposal, commit);
            }
            shard.txns.swap_remove(at)
        };
        // SAFETY: a counted reference, given up here once; every mark that points to it was folded or unlinked before, so
        // no reader that enters from now on finds it.
        unsafe { guard.defer_retire(Arc::into_raw(kept).cast_mut(), drop_txn) };
    }

    /// See [`crate::Store::settled`].
    pub(crate) fn settled(&self, at: Timestamp) -> Result<(), Blocked> {
        self.shards.iter().try_for_each(|shard| shard.lock().settled(at))
    }

    /// Those that voted yes and are not decided.
    pub(crate) fn undecided(&self) -> Vec<Arc<Txn>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let open =
                shard.txns.iter().filter(|t| t.status.get() == Status::Pending && t.proposal().is_some());
            all.extend(open.cloned());
        }
        all
    }

    fn shard(&self, txn: &Txn) -> &Mutex<Shard> {
        &self.shards[txn.id.sequence as usize % self.shards.len()]
    }
}

impl Shard {
    fn remember(&mut self, proposal: Timestamp, commit: Timestamp) {
        self.stretched.push_back((proposal, commit));
        if self.stretched.len() > STRETCHED_KEPT
            && let Some((_, commit)) = self.stretched.pop_front()
        {
            self.forgotten = self.forgotten.max(commit);
        }
    }

    fn settled(&self, at: Timestamp) -> Result<(), Blocked> {
        for txn in &self.txns {
            let Some(proposal) = txn.proposal().filter(|proposal| *proposal <= at) else { continue };
            match txn.status.get() {
                Status::Pending => return Err(Blocked::Pending(Arc::clone(txn))),
                Status::Committed(commit) if at < commit && proposal < commit => {
                    return Err(Blocked::Raise(commit));
                }
                Status::Committed(_) | Status::Aborted => {}
            }
        }
        let above = self.stretched.iter().filter(|(proposal, commit)| *proposal <= at && at < *commit);
        let forgotten = Some(self.forgotten).filter(|forgotten| *forgotten > at);
        match above.map(|(_, commit)| *commit).max().or(forgotten) {
            Some(raise) => Err(Blocked::Raise(raise)),
            None => Ok(()),
        }
    }
}

/// # Safety
/// Called by the collector once, with a pointer made by `Arc::into_raw` in `Flight::leave`.
unsafe fn drop_txn(txn: *mut Txn, _: &Collector) {
    // SAFETY: see above.
    drop(unsafe { Arc::from_raw(txn.cast_const()) });
}
