//! Programs of this node that hold or await locks while they run, so that one which loses to them can wait for their end.
//! Once they commit the replica knows them.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use hypermnesia_store::{TxId, Txn};
use parking_lot::Mutex;

/// Parts of the table: above the number of threads.
const PARTS: usize = 16;

/// Transactions by sequence number.
type Running = HashMap<u64, Arc<Txn>>;

/// See the file's header.
pub(crate) struct Lockers {
    /// Each guards one part; held for a map operation. A leaf lock.
    parts: Box<[CachePadded<Mutex<Running>>]>,
}

impl Lockers {
    pub(crate) fn new() -> Lockers {
        Lockers { parts: (0..PARTS).map(|_| CachePadded::default()).collect() }
    }

    fn part(&self, txid: TxId) -> &Mutex<Running> {
        &self.parts[txid.sequence as usize % PARTS]
    }

    /// It is about to ask for its first lock.
    pub(crate) fn enter(&self, txn: &Arc<Txn>) {
        self.part(txn.id).lock().insert(txn.id.sequence, Arc::clone(txn));
    }

    /// It is handed to the replica, or over.
    pub(crate) fn leave(&self, txid: TxId) {
        self.part(txid).lock().remove(&txid.sequence);
    }

    /// One that is running.
    pub(crate) fn get(&self, txid: TxId) -> Option<Arc<Txn>> {
        self.part(txid).lock().get(&txid.sequence).filter(|txn| txn.id == txid).cloned()
    }
}
