//! Which rows of a table have a deadline, in the order in which they come due: what the removal of expired rows works
//! from. Whether a row is seen is never decided here but by the timestamp of who reads it.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::limits::STRIPES;
use crate::memory::QUEUED_BYTES;
use crate::row::Body;

/// Deadlines and whose they are, in their order.
type Queue = BTreeSet<(u64, Key)>;

/// One entry for each row with a deadline, striped by key.
pub(crate) struct Deadlines {
    /// Deadline in milliseconds since 1970, and whose. Held for one operation of the tree; a leaf lock.
    stripes: Box<[CachePadded<Mutex<Queue>>]>,
    count: AtomicUsize,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        let stripes = (0..STRIPES).map(|_| CachePadded::default()).collect();
        Deadlines { stripes, count: AtomicUsize::new(0) }
    }
}

fn deadline(body: Option<&Body>) -> Option<u64> {
    match body {
        Some(Body::Row(row)) => row.deadline_ms(),
        _ => None,
    }
}

impl Deadlines {
    /// The key's row was replaced. Under the key's write lock or lock shard.
    pub(crate) fn moved(&self, key: &Key, old: Option<&Body>, new: Option<&Body>) {
        let (old, new) = (deadline(old), deadline(new));
        if old == new {
            return;
        }
        let stripe = FixedState::default().hash_one(key) as usize % STRIPES;
        let mut stripe = self.stripes[stripe].lock();
        if let Some(old) = old
            && stripe.remove(&(old, key.clone()))
        {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(new) = new
            && stripe.insert((new, key.clone()))
        {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keys whose deadline is not later than this, the oldest of each stripe first.
    pub(crate) fn due(&self, wall_ms: u64, limit: usize) -> Vec<Key> {
        let mut due = Vec::new();
        if self.len() == 0 {
            return due;
        }
        let share = limit.div_ceil(STRIPES);
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            let passed = stripe.iter().take_while(|(deadline, _)| *deadline <= wall_ms);
            due.extend(passed.take(share).map(|(_, key)| key.clone()));
        }
        due.truncate(limit);
        due
    }

    /// Bytes of the queues, without what keys hold beyond themselves: those are the cells' own.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.stripes) + self.len() * QUEUED_BYTES
    }

    /// Keys whose deadline came after one moment and not after another: not later than the second, later than the first.
    pub(crate) fn between(&self, after: Timestamp, upto: Timestamp) -> Vec<Key> {
        let mut passed = Vec::new();
        if self.len() == 0 {
            return passed;
        }
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            let later = stripe.range((after.wall_ms() + 1, Key::from_encoded(&[]))..);
            let due = later.take_while(|(deadline, _)| *deadline <= upto.wall_ms());
            passed.extend(due.map(|(_, key)| key.clone()));
        }
        passed
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            self.count.fetch_sub(stripe.len(), Ordering::Relaxed);
            stripe.clear();
        }
    }
}
