//! What stands behind the cells of a table that lives on disc alone: the image, and which of its rows are in memory too.
//! Memory has a cell for a key only while it needs one, and then the cell is what counts and the image is not asked:
//!
//! * a version that the image does not have yet: what the log has that no checkpoint has taken;
//! * several versions, a mark, or a lock; or a version newer than the oldest live snapshot;
//! * the row is in the cache: as the image has it, kept because it was asked for.
//!
//! Everything else is in the image alone. Why nothing is lost or seen twice on the way between the two:
//!
//! | step | what holds |
//! |---|---|
//! | a row is written | the writer has the key's lock and has fetched the row first, so the old version stands in the chain for whoever still reads it, whatever the image says later; [`Backing::written`] takes it out of the cache |
//! | a checkpoint takes it | the step is committed, then shown through the view, then told ([`crate::Store::imaged`]): so whoever leaves memory can be read in the image before it leaves |
//! | a row leaves memory | under its lock shard with nobody holding the lock, alone in the chain, not above the oldest snapshot, and with the very timestamp that the image was said to have |
//! | a point is read | cell, then image, and where the image has nothing for the snapshot the cell again: what changed the image in between stands in a cell, as the snapshot holds the version below it |
//! | a row becomes a cell | it has its version before anybody can find it: an empty cell would say that there is no row |
//! | a row is fetched for the cache | it becomes a cell only if since before the first look no cell of its stripe has left: else the image may have moved on |
//! | a range is read | image and cells under `gate`, which those that leave take alone: a key is in one of the two |
//! | a deletion | its cell stays until the image has the deletion, and as long as deletions stay anyway (`history`) |
//! | the table is cleared for a copy | the image is passed over until it has taken the clearing, all rows that came since are cells until then |
//!
//! Lock order: `gate`, then a lock shard; the queues and the cache are leaves.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use foldhash::fast::FixedState;
use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::clock::Timestamp;
use crate::disc::{Held, View};
use crate::ids::{NodeId, TableId};
use crate::key::Key;
use crate::limits::{CACHED_ROW_BYTES, EVICTION_SHARDS, STRIPES};
use crate::lock::LockTable;
use crate::row::Body;
use crate::schema::{Storage, TableDef};
use crate::snapshot::Snapshots;
use crate::work::{Blocked, Unreadable};

/// What tables on disc alone need of their node.
pub(crate) struct Attached {
    pub(crate) me: NodeId,
    pub(crate) view: Arc<View>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) snapshots: Arc<Snapshots>,
}

/// A key, and since when the image holds what it holds, a deletion included.
pub(crate) type Imprint = (Key, Timestamp);

/// See the file's header.
pub(crate) struct Backing {
    table: TableId,
    view: Arc<View>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Rows in memory as the image has them.
    cache: Cache<Key, Cached, ByBytes, FixedState, Out>,
    /// Told to be in the image while somebody had the key's lock.
    pub(crate) settling: Mutex<VecDeque<Imprint>>,
    /// Pushed out of the cache, or deleted in the image too, and not gone yet.
    pub(crate) leaving: Mutex<VecDeque<Imprint>>,
    /// Shared by who reads image and cells as one, for a chunk; alone for whom takes cells away.
    pub(crate) gate: RwLock<()>,
    /// Cells that left, by stripe of keys.
    departed: Box<[CachePadded<AtomicU64>]>,
    /// Clearings of the table that the image has not taken yet: until then it is passed over.
    hidden: AtomicU64,
    /// Rows that were looked for in the image.
    fetched: AtomicU64,
}

#[derive(Clone, Copy)]
struct Cached {
    at: Timestamp,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Cached> for ByBytes {
    fn weight(&self, _: &Key, cached: &Cached) -> u64 {
        cached.bytes
    }
}

/// Hands out what was pushed out.
#[derive(Clone)]
struct Out;

impl Lifecycle<Key, Cached> for Out {
    type RequestState = Vec<Imprint>;

    fn on_evict(&self, out: &mut Self::RequestState, key: Key, cached: Cached) {
        out.push((key, cached.at));
    }
}

impl Backing {
    /// Whether a table lives on disc alone at this node.
    pub(crate) fn is_wanted(def: &TableDef, attached: Option<&Attached>) -> bool {
        let copy = attached.and_then(|attached| def.copy_on(attached.me));
        copy.is_some_and(|copy| copy.storage.is_disc_only())
    }

    /// For a table that lives on disc alone at this node.
    pub(crate) fn of(def: &TableDef, attached: Option<&Attached>) -> Option<Backing> {
        let attached = attached?;
        let Some(Storage::DiscOnly { cache_bytes }) = def.copy_on(attached.me).map(|copy| copy.storage)
        else {
            return None;
        };
        let options = OptionsBuilder::new()
            .shards(EVICTION_SHARDS)
            .estimated_items_capacity((cache_bytes / (4 * CACHED_ROW_BYTES)) as usize)
            .weight_capacity(cache_bytes)
            .build()
            .expect("all that it needs is given");
        Some(Backing {
            table: def.id,
            view: Arc::clone(&attached.view),
            locks: Arc::clone(&attached.locks),
            snapshots: Arc::clone(&attached.snapshots),
            cache: Cache::with_options(options, ByBytes, FixedState::default(), Out),
            settling: Mutex::default(),
            leaving: Mutex::default(),
            gate: RwLock::new(()),
            departed: (0..STRIPES).map(|_| CachePadded::default()).collect(),
            hidden: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
        })
    }

    /// What the image holds of the table.
    pub(crate) fn held(&self) -> Held {
        // A view that is not open has nobody to serve.
        self.view.held(self.table).unwrap_or_default()
    }

    /// The row of a key in the image.
    pub(crate) fn fetch(&self, key: &Key) -> Result<Option<(Timestamp, Body)>, Box<Unreadable>> {
        if self.is_hidden() {
            return Ok(None);
        }
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let told = |error| Box::new(Unreadable { table: self.table, key: Some(key.clone()), error });
        self.view.get(self.table, key).map_err(told)
    }

    /// The image of the table, unless it is to be passed over.
    pub(crate) fn view(&self) -> Option<&View> {
        // Looked at first: who finds it shown finds a step in it that has taken every clearing.
        (!self.is_hidden()).then_some(&*self.view)
    }

    pub(crate) fn unreadable(&self, error: crate::disc::DiscError) -> Blocked {
        Blocked::Unreadable(Box::new(Unreadable { table: self.table, key: None, error }))
    }

    /// Rows that had to be read could not be, and nobody will ask again: the node stops.
    pub(crate) fn give_up(&self, blocked: &Blocked) {
        if let Blocked::Unreadable(unreadable) = blocked {
            self.view.give_up(&unreadable.error);
        }
    }

    /// Whether all that had to be read could be.
    pub(crate) fn check_readable(&self) -> Result<(), Blocked> {
        match self.view.fault() {
            Some(fault) => Err(self.unreadable(fault.clone())),
            None => Ok(()),
        }
    }

    fn is_hidden(&self) -> bool {
        self.hidden.load(Ordering::SeqCst) != 0
    }

    /// The image has taken a clearing of the table.
    pub(crate) fn cleared(&self) {
        let less = |hidden: u64| Some(hidden.saturating_sub(1));
        let _ = self.hidden.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// How many cells of this key's stripe have left: to be asked before the first look for a cell.
    pub(crate) fn departed(&self, key: &Key) -> u64 {
        self.departed[stripe(key)].load(Ordering::SeqCst)
    }

    /// A cell has left. In its lock shard, or under its write lock.
    pub(crate) fn has_left(&self, key: &Key) {
        self.departed[stripe(key)].fetch_add(1, Ordering::SeqCst);
    }

    /// A row in memory is as the image has it: keeps it in the cache. Whom it pushes out, perhaps itself, is to leave.
    pub(crate) fn keep(&self, key: &Key, at: Timestamp, body: &Body) {
        let bytes = (2 * key.heap_bytes() + body.bytes()) as u64 + CACHED_ROW_BYTES;
        let mut out = Vec::new();
        self.cache.insert_with_lifecycle(key.clone(), Cached { at, bytes }, &mut out);
        // The key's own former place is given back too; it is pushed out itself if it has none now.
        out.retain(|(gone, _)| gone != key || self.cache.peek(key).is_none());
        if !out.is_empty() {
            self.leaving.lock().extend(out);
        }
    }

    /// A row in memory was asked for.
    pub(crate) fn touched(&self, key: &Key) {
        let _ = self.cache.get(key);
    }

    /// The key holds something that the image has not. Under its write lock or lock shard.
    pub(crate) fn written(&self, key: &Key) {
        self.cache.remove(key);
    }

    /// The deletion of a key is in the image.
    pub(crate) fn leave(&self, key: Key, at: Timestamp) {
        self.leaving.lock().push_back((key, at));
    }

    /// Whether some rows are on their way in or out of the cache.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.settling.lock().is_empty() || !self.leaving.lock().is_empty()
    }

    /// Every row of the table goes at once; the image follows with the log.
    pub(crate) fn empty(&self) {
        self.hidden.fetch_add(1, Ordering::SeqCst);
        for departed in &self.departed {
            departed.fetch_add(1, Ordering::SeqCst);
        }
        self.cache.clear();
        self.settling.lock().clear();
        self.leaving.lock().clear();
    }

    /// Bytes of the cache's own order and of the queues, without the rows.
    pub(crate) fn bytes(&self) -> usize {
        let queued = self.settling.lock().capacity() + self.leaving.lock().capacity();
        self.cache.memory_used().total() + queued * size_of::<Imprint>() + size_of_val(&*self.departed)
    }

    /// Bytes that rows in the cache take.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// How often a row was looked for in the image.
    pub(crate) fn image_reads(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }
}

fn stripe(key: &Key) -> usize {
    FixedState::default().hash_one(key) as usize % STRIPES
}
