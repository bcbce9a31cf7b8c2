//! Ranges that prepared transactions have read, per table. Who reads a range announces it here and then looks for marks
//! and newer versions inside; who writes places its marks and then looks here. Between announcing and looking both have a
//! full fence, so of two that meet at least one sees the other and is refused: no phantom, no write skew over ranges.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use crate::ids::IndexId;
use crate::key::{Key, KeyRange};
use crate::txn::Txn;

#[derive(Default)]
pub(crate) struct RangeLocks {
    /// How many notes there are, so that writers of a table nobody reads by range take no lock.
    count: AtomicUsize,
    /// Held for a push, a search or a removal; a leaf lock.
    notes: Mutex<Vec<Note>>,
}

struct Note {
    txn: Arc<Txn>,
    index: Option<IndexId>,
    range: KeyRange,
}

impl RangeLocks {
    pub(crate) fn announce(&self, txn: &Arc<Txn>, index: Option<IndexId>, range: KeyRange) {
        let mut notes = self.notes.lock();
        notes.push(Note { txn: Arc::clone(txn), index, range });
        self.count.store(notes.len(), Ordering::SeqCst);
        drop(notes);
        fence(Ordering::SeqCst);
    }

    /// Whether anybody has a note. The caller has fenced after placing its marks.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) != 0
    }

    /// Whether another transaction than this one, or any, has read a range with this key in it.
    pub(crate) fn covers(&self, txn: Option<&Arc<Txn>>, index: Option<IndexId>, key: &Key) -> bool {
        let other = |note: &Note| txn.is_none_or(|txn| !Arc::ptr_eq(&note.txn, txn));
        self.notes.lock().iter().any(|n| n.index == index && other(n) && n.range.contains(key))
    }

    /// Whether another transaction has any note here.
    pub(crate) fn held_by_other(&self, txn: &Arc<Txn>) -> bool {
        self.notes.lock().iter().any(|note| !Arc::ptr_eq(&note.txn, txn))
    }

    pub(crate) fn withdraw(&self, txn: &Arc<Txn>) {
        let mut notes = self.notes.lock();
        notes.retain(|note| !Arc::ptr_eq(&note.txn, txn));
        self.count.store(notes.len(), Ordering::SeqCst);
    }
}
