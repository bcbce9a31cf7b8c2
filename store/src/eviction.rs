//! Which rows of a bounded table go when it is full, and which have lain idle too long. This file only names victims; they
//! are deleted by ordinary transactions, so that events, indexes and logs hear of it as of any deletion.
//!
//! The order is quick_cache's: Clock-PRO with the small first queue and the ghosts of S3-FIFO (Yang et al., SOSP 2023), so
//! that a scan of keys that are asked for once does not push out those that are asked for often.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::key::Key;
use crate::limits::{EVICTION_ESTIMATE_ROWS, EVICTION_SHARDS, KEY_BYTES_MAX, ROW_BYTES_MAX};
use crate::memory::QUEUED_BYTES;
use crate::schema::Retention;

/// One row's place.
struct Seat {
    weight: u64,
    /// When the row was written or read last, in milliseconds since 1970.
    touched_ms: AtomicU64,
    /// Under which moment it stands in `idle`; changed under that lock.
    queued_ms: AtomicU64,
}

thread_local! {
    /// Who is pushed out while this thread makes an order smaller: the cache does not tell otherwise.
    static SQUEEZED: RefCell<Option<Vec<Key>>> = const { RefCell::new(None) };
}

/// The rows of one table in the order in which they may go.
pub(crate) struct Eviction {
    seats: Cache<Key, Arc<Seat>, ByWeight, FixedState, Victims>,
    scale: Scale,
    idle_ms: Option<u64>,
    /// Every row by when it was touched last, as far as that has been looked at. A leaf lock, held for a tree operation.
    idle: Mutex<BTreeSet<(u64, Key)>>,
    /// Named and not yet deleted. A leaf lock.
    victims: Mutex<Vec<Key>>,
    /// Most that one row may weigh while the order is smaller than it is defined; else the largest number.
    weight_max: AtomicU64,
}

/// What a row weighs, so that one bound serves for both.
#[derive(Clone, Copy)]
struct Scale {
    rows_max: Option<u64>,
    bytes_max: Option<u64>,
    /// By how many bits rows or bytes are finer than they are: so that the order may become smaller and larger again very
    /// often before its parts, which are rounded down each time, have lost anything.
    finer: u32,
}

/// An order that is squeezed lets go of one of so many parts.
const SQUEEZED_PARTS: u64 = 16;

/// Bytes of the bound for each part of the order: a part takes no row that is longer than 97 % of it.
const PART_BYTES_MIN: u64 = (ROW_BYTES_MAX + KEY_BYTES_MAX) as u64 / 31 * 32 + 32;

/// What is left of 2^40 parts when rows and bytes are both bounded.
const PARTS: u64 = 1 << 40;

impl Scale {
    fn of(retention: &Retention) -> Scale {
        let bound = |bound: Option<u64>| bound.filter(|_| retention.evict);
        match (bound(retention.rows_max), bound(retention.bytes_max)) {
            // One row passes no bound in bytes that it was let in by, and fills what is kept for new ones.
            (Some(1), _) => Scale { rows_max: Some(1), bytes_max: None, finer: 0 },
            (rows_max, bytes_max) => {
                let finer = rows_max.or(bytes_max).map_or(0, |most| PARTS.checked_div(most).unwrap_or(0));
                Scale { rows_max, bytes_max, finer: finer.checked_ilog2().unwrap_or(0) }
            }
        }
    }

    /// Parts of the order, a power of two: each must have room for the longest row that there is, or for all there is.
    fn shards(self) -> usize {
        let most = EVICTION_SHARDS as u64;
        let room = self.bytes_max.map_or(most, |bytes| bytes / PART_BYTES_MIN);
        1 << room.clamp(1, most).ilog2()
    }

    fn capacity(self) -> u64 {
        match (self.rows_max, self.bytes_max) {
            (None, None) => u64::MAX >> 8,
            (Some(rows), None) => rows << self.finer,
            (None, Some(bytes)) => bytes << self.finer,
            (Some(_), Some(_)) => PARTS,
        }
    }

    /// With both bounds a row weighs its share of the tighter one, rounded up: neither is passed.
    fn weight(self, bytes: u64) -> u64 {
        match (self.rows_max, self.bytes_max) {
            (None, None) | (Some(_), None) => 1 << self.finer,
            (None, Some(_)) => bytes.max(1) << self.finer,
            (Some(rows), Some(most)) => {
                let share = |part: u64, whole: u64| part.saturating_mul(PARTS).div_ceil(whole.max(1));
                share(1, rows)
                    .max((u128::from(bytes) * u128::from(PARTS)).div_ceil(u128::from(most.max(1))) as u64)
            }
        }
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Arc<Seat>> for ByWeight {
    fn weight(&self, _: &Key, seat: &Arc<Seat>) -> u64 {
        seat.weight
    }
}

/// Hands out what was pushed out.
#[derive(Clone)]
struct Victims;

impl Lifecycle<Key, Arc<Seat>> for Victims {
    type RequestState = Vec<(Key, Arc<Seat>)>;

    fn on_evict(&self, out: &mut Self::RequestState, key: Key, seat: Arc<Seat>) {
        SQUEEZED.with_borrow_mut(|squeezed| match squeezed {
            Some(squeezed) => squeezed.push(key),
            None => out.push((key, seat)),
        });
    }
}

impl Eviction {
    /// For a table that evicts or lets idle rows go.
    pub(crate) fn of(retention: &Retention) -> Option<Eviction> {
        if !retention.evict && retention.idle_ms.is_none() {
            return None;
        }
        let scale = Scale::of(retention);
        let rows = scale.rows_max.unwrap_or(u64::MAX).min(EVICTION_ESTIMATE_ROWS);
        let options = OptionsBuilder::new()
            .shards(scale.shards())
            .estimated_items_capacity(rows as usize)
            .weight_capacity(scale.capacity())
            .build()
            .expect("all that it needs is given");
        Some(Eviction {
            seats: Cache::with_options(options, ByWeight, FixedState::default(), Victims),
            scale,
            idle_ms: retention.idle_ms,
            idle: Mutex::default(),
            victims: Mutex::default(),
            weight_max: AtomicU64::new(u64::MAX),
        })
    }

    /// A row was written. Names whom it pushes out, perhaps itself.
    pub(crate) fn written(&self, key: &Key, bytes: usize, now_ms: u64) {
        let seat = Arc::new(Seat {
            weight: self.scale.weight(bytes as u64),
            touched_ms: AtomicU64::new(now_ms),
            queued_ms: AtomicU64::new(now_ms),
        });
        self.leave_idle(key);
        if self.idle_ms.is_some() {
            self.idle.lock().insert((now_ms, key.clone()));
        }
        let mut out = Vec::new();
        self.seats.insert_with_lifecycle(key.clone(), Arc::clone(&seat), &mut out);
        // Its own former seat is no victim.
        out.retain(|(gone, old)| gone != key || Arc::ptr_eq(old, &seat));
        if !out.is_empty() {
            self.victims.lock().extend(out.into_iter().map(|(key, _)| key));
        }
    }

    /// Lets go of a sixteenth of what it holds, and takes no more than the rest until it is relaxed.
    pub(crate) fn squeeze(&self) {
        let held = self.seats.weight();
        self.resize(held - held.div_ceil(SQUEEZED_PARTS));
        let part = self.seats.shard_capacity();
        self.weight_max.store(part - part.div_ceil(32), Ordering::Relaxed);
    }

    /// May fill up again.
    pub(crate) fn relax(&self) {
        self.resize(self.scale.capacity());
        self.weight_max.store(u64::MAX, Ordering::Relaxed);
    }

    fn resize(&self, capacity: u64) {
        SQUEEZED.set(Some(Vec::new()));
        self.seats.set_capacity(capacity.max(1));
        let gone = SQUEEZED.take().unwrap_or_default();
        self.victims.lock().extend(gone);
    }

    /// Whether a row of so many bytes finds a place by pushing others out; nothing where none are pushed out.
    pub(crate) fn takes(&self, bytes: u64) -> Option<bool> {
        let bounded = self.scale.rows_max.is_some() || self.scale.bytes_max.is_some();
        bounded.then(|| self.scale.weight(bytes) <= self.weight_max.load(Ordering::Relaxed))
    }

    /// A row was read.
    pub(crate) fn touched(&self, key: &Key, now_ms: u64) {
        if let Some(seat) = self.seats.get(key) {
            seat.touched_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// A row is gone.
    pub(crate) fn removed(&self, key: &Key) {
        self.leave_idle(key);
        self.seats.remove(key);
    }

    fn leave_idle(&self, key: &Key) {
        if self.idle_ms.is_some()
            && let Some(seat) = self.seats.peek(key)
        {
            self.idle.lock().remove(&(seat.queued_ms.load(Ordering::Relaxed), key.clone()));
        }
    }

    /// Whom to delete, at most `limit`; whom the caller could not delete it gives back.
    pub(crate) fn victims(&self, now_ms: u64, limit: usize) -> Vec<Key> {
        self.name_idle(now_ms, limit);
        let mut victims = self.victims.lock();
        let keep = victims.len().saturating_sub(limit);
        victims.split_off(keep)
    }

    pub(crate) fn has_victims(&self) -> bool {
        !self.victims.lock().is_empty()
    }

    pub(crate) fn give_back(&self, keys: impl IntoIterator<Item = Key>) {
        self.victims.lock().extend(keys);
    }

    /// Looks at the rows that were touched longest ago; who was read since moves back in the order.
    fn name_idle(&self, now_ms: u64, limit: usize) {
        let Some(idle_ms) = self.idle_ms else { return };
        let mut idle = self.idle.lock();
        for _ in 0..limit {
            let Some((queued_ms, _)) = idle.first() else { break };
            if queued_ms.saturating_add(idle_ms) > now_ms {
                break;
            }
            let (_, key) = idle.pop_first().expect("just looked at");
            let Some(seat) = self.seats.peek(&key) else { continue };
            let touched_ms = seat.touched_ms.load(Ordering::Relaxed);
            if touched_ms.saturating_add(idle_ms) > now_ms {
                seat.queued_ms.store(touched_ms, Ordering::Relaxed);
                idle.insert((touched_ms, key));
            } else {
                self.victims.lock().push(key);
            }
        }
    }

    /// Bytes of the order of rows.
    pub(crate) fn bytes(&self) -> usize {
        let queued = self.idle.lock().len() * QUEUED_BYTES;
        let victims = self.victims.lock().capacity() * size_of::<Key>();
        let seats = self.seats.len() * (size_of::<Seat>() + 2 * size_of::<usize>());
        self.seats.memory_used().total() + seats + queued + victims
    }

    pub(crate) fn clear(&self) {
        self.seats.clear();
        self.idle.lock().clear();
        self.victims.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn key(k: i64) -> Key {
        Key::encode(&[Value::Int(k)]).expect("small")
    }

    #[test]
    fn what_is_asked_for_often_stays() {
        // Aim: eviction resists scans. Method: 50 keys read often, then ten times the bound of keys written once.
        let eviction = Eviction::of(&Retention { rows_max: Some(100), evict: true, ..Retention::default() })
            .expect("on");
        (0..50).for_each(|k| eviction.written(&key(k), 10, 0));
        for _ in 0..4 {
            (0..50).for_each(|k| eviction.touched(&key(k), 1));
        }
        let mut gone = Vec::new();
        for k in 1_000..2_000 {
            eviction.written(&key(k), 10, 2);
            (0..50).for_each(|k| eviction.touched(&key(k), 3));
            gone.extend(eviction.victims(2, 10));
        }
        let often = gone.iter().filter(|gone| (0..50).any(|k| key(k) == **gone)).count();
        assert!(often <= 10, "{often} of 50 were pushed out");
        assert!(gone.len() >= 940 && gone.len() <= 1_050, "{} went", gone.len());
    }

    #[test]
    fn bytes_and_rows_are_bounded_together() {
        // Aim: neither bound is passed. Method: light rows against the rows' bound, heavy ones against the bytes'.
        let both =
            Retention { rows_max: Some(100), bytes_max: Some(10_000), evict: true, ..Retention::default() };
        for bytes in [1_usize, 1_000] {
            let eviction = Eviction::of(&both).expect("on");
            (0..1_000).for_each(|k| eviction.written(&key(k), bytes, 0));
            let left = 1_000 - eviction.victims(0, 10_000).len();
            assert!(left <= 100 && left * bytes <= 10_000 && left >= 3, "{left} of {bytes} bytes are left");
        }
    }

    #[test]
    fn the_largest_row_that_is_let_in_stays() {
        // Aim: no row vanishes as it is written. Method: bounds around those of parts, with and without one in rows; one
        // largest row each, alone and with others there.
        let mb = 1 << 20;
        for bytes_max in [100, 1_000, 1_033, mb, 16 * mb, 17 * mb, 40 * mb, 150 * mb, 1 << 34] {
            for rows_max in [None, Some(1), Some(2), Some(50), Some(1_000_000)] {
                let retention =
                    Retention { rows_max, bytes_max: Some(bytes_max), evict: true, ..Retention::default() };
                let let_in = retention.row_bytes_max().expect("it has one");
                let bytes = let_in.min((ROW_BYTES_MAX + KEY_BYTES_MAX) as u64) as usize;
                for others in [0, 1_000] {
                    let eviction = Eviction::of(&retention).expect("on");
                    (1..=others).for_each(|k| eviction.written(&key(k), 50, 0));
                    eviction.victims(0, 10_000);
                    eviction.written(&key(0), bytes, 0);
                    let gone = eviction.victims(0, 10_000);
                    assert!(!gone.contains(&key(0)), "{bytes} of {bytes_max}, {rows_max:?} rows");
                }
            }
        }
    }

    #[test]
    fn idle_rows_go_and_those_that_are_read_stay() {
        // Aim: max idle counts from the last read or write. Method: three rows, one read, one written again.
        let eviction = Eviction::of(&Retention { idle_ms: Some(100), ..Retention::default() }).expect("on");
        (1..=3).for_each(|k| eviction.written(&key(k), 1, 0));
        eviction.touched(&key(1), 60);
        eviction.written(&key(2), 1, 70);
        assert_eq!(eviction.victims(99, 10), []);
        assert_eq!(eviction.victims(100, 10), [key(3)]);
        assert_eq!(eviction.victims(159, 10), []);
        eviction.removed(&key(2));
        assert_eq!(eviction.victims(1_000, 10), [key(1)]);
        assert!(!eviction.has_victims());
        eviction.give_back([key(1)]);
        assert_eq!(eviction.victims(1_000, 10), [key(1)]);
    }
}
