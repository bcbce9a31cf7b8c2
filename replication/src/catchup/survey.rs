//! What either side of a copy knows of its own table, read once: it does not change before the copy does it, and a large table
//! takes its time.

use hypermnesia_store::{Body, Key, LeafCount, Leaves, TableId, Timestamp};

use super::row_bytes;
use crate::message::CopyRequest;
use crate::replica::Replica;

/// See the file's header.
#[derive(Debug)]
pub(super) struct Survey {
    /// The digests of its leaves; of all of it their sum.
    pub(super) leaves: Leaves,
    rows: u64,
    newest: Timestamp,
    last: Option<Key>,
}

/// How much of a table something is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amount {
    pub(super) rows: u64,
    pub(super) bytes: usize,
}

impl Amount {
    pub(super) fn add(&mut self, key: &Key, body: &Body) {
        self.rows += 1;
        self.bytes += row_bytes(key, body);
    }
}

impl Survey {
    fn empty(count: LeafCount) -> Survey {
        Survey { leaves: Leaves::empty(count), rows: 0, newest: Timestamp::NEVER, last: None }
    }

    fn saw(&mut self, key: &Key, body: &Body, at: Timestamp) {
        self.leaves.add(key, body, at);
        self.rows += 1;
        self.newest = self.newest.max(at);
        if self.last.as_ref().is_none_or(|last| last < key) {
            self.last = Some(key.clone());
        }
    }

    /// What the source is told of it.
    pub(super) fn request(&self) -> CopyRequest {
        CopyRequest {
            digest: self.leaves.whole(),
            leaves: self.leaves.count().get(),
            rows: self.rows,
            newest: self.newest,
            last: self.last.clone(),
        }
    }
}

impl CopyRequest {
    /// Whether the joiner cannot have this row, if its copy is as right as it may be.
    pub(super) fn lacks(&self, key: &Key, at: Timestamp) -> bool {
        at > self.newest || self.last.as_ref().is_none_or(|last| key > last)
    }
}

impl Replica {
    /// Reads this node's copy of a table. Nothing where a row cannot be read.
    pub(super) fn survey(&self, table: TableId) -> Option<Survey> {
        let open = self.store.table(table);
        let mut survey = Survey::empty(LeafCount::for_rows(open.as_ref().map_or(0, |open| open.len())));
        if let Some(open) = open {
            open.visit_newest(|key, body, at| survey.saw(key, body, at)).ok()?;
        }
        Some(survey)
    }
}
