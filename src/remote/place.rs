//! Where somebody is in a table who fetches more of it than one answer has: a cursor, and the snapshot that it reads at.
//!
//! The newest state is read at a snapshot that is settled and alive from the first chunk to the last. A state of before is read
//! without one: it is shown only once nothing of what was read has changed since, which the last chunk finds out.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use hypermnesia_replication::fetch::{At, Fetched, NotFetched};
use hypermnesia_store::work::Blocked;
use hypermnesia_store::{
    Cursor, Direction, Found, IndexId, Key, KeyRange, Kind, Snapshot, Store, Table, Timestamp,
};

use crate::limits::{FETCH_BYTES, FETCH_ROWS};

/// A range as somebody wants it.
pub(super) struct Wanted {
    pub(super) index: Option<IndexId>,
    pub(super) range: KeyRange,
    pub(super) backward: bool,
    pub(super) limit: u64,
}

/// See the file's header.
pub(super) struct Place {
    table: Arc<Table>,
    wanted: Wanted,
    cursor: Cursor,
    live: Snapshot,
    /// What it reads at.
    at: Timestamp,
    /// It is to be that state, although no snapshot was alive.
    exactly: bool,
    /// Of its node, when it began.
    pub(super) tenure: u64,
    /// Until when it is kept for the next question.
    pub(super) until: Instant,
    /// What was read and not yet sent.
    ready: Vec<Found>,
}

/// What stands in the way of a chunk.
pub(super) enum Stop {
    Blocked(Blocked),
    Refused(NotFetched),
}

impl From<Blocked> for Stop {
    fn from(blocked: Blocked) -> Stop {
        Stop::Blocked(blocked)
    }
}

/// A snapshot at which the newest state is read from now on.
///
/// # Errors
/// What has to be waited for; ask again then.
pub(super) fn settled(store: &Store, live: &mut Snapshot) -> Result<(), Blocked> {
    loop {
        match store.settled(live.at()) {
            Ok(()) => {
                live.settle();
                return Ok(());
            }
            Err(Blocked::Raise(to)) => live.raise(to),
            Err(blocked) => return Err(blocked),
        }
    }
}

impl Place {
    /// The beginning of a range, at a snapshot that is settled where the newest state is wanted.
    pub(super) fn begin(table: Arc<Table>, wanted: Wanted, at: At, live: Snapshot, tenure: u64) -> Place {
        let (exactly, at) = match at {
            At::Newest(_) => (false, live.at()),
            At::Exactly(at) => (true, at),
        };
        let direction = if wanted.backward { Direction::Backward } else { Direction::Forward };
        let range = wanted.range.clone();
        let cursor = match wanted.index {
            None => table.cursor(range, direction, at),
            Some(index) => table.index_cursor(index, range, direction, at),
        };
        let until = Instant::now();
        Place { table, wanted, cursor, live, at, exactly, tenure, until, ready: Vec::new() }
    }

    /// The next rows. What was read before it was blocked is not lost.
    pub(super) fn chunk(&mut self) -> Result<Fetched, Stop> {
        let mut bytes: usize = self.ready.iter().map(size_of).sum();
        let more = loop {
            if self.ready.len() as u64 >= self.wanted.limit {
                break false;
            }
            if self.ready.len() >= FETCH_ROWS || bytes >= FETCH_BYTES {
                break true;
            }
            match self.cursor.next() {
                None => break false,
                Some(Ok(found)) => {
                    bytes += size_of(&found);
                    self.ready.push(found);
                }
                // What was proposed at or below what is read at, and committed above it.
                Some(Err(Blocked::Raise(_))) => return Err(Stop::Refused(NotFetched::Changed)),
                Some(Err(blocked)) => return Err(blocked.into()),
            }
        };
        if !more && self.exactly {
            self.check()?;
        }
        let rows = std::mem::take(&mut self.ready);
        self.wanted.limit -= rows.len() as u64;
        debug_assert!(self.exactly || self.live.at() == self.at, "it is settled");
        Ok(Fetched::Rows { at: self.at, rows, more })
    }

    /// Nothing of what was read has changed since the state that was wanted.
    fn check(&self) -> Result<(), Stop> {
        let last = self.ready.last().filter(|_| self.ready.len() as u64 >= self.wanted.limit);
        let range = match (last, self.wanted.index) {
            (Some((last, ..)), None) if self.table.def().kind == Kind::OrderedSet => self.up_to(last),
            _ => self.wanted.range.clone(),
        };
        match self.table.is_range_unchanged(self.wanted.index, &range, self.at) {
            Some(true) => Ok(()),
            Some(false) => Err(Stop::Refused(NotFetched::Changed)),
            None => Err(Stop::Refused(NotFetched::Schema)),
        }
    }

    /// The part of the range that was read when its limit was met at this key.
    fn up_to(&self, last: &Key) -> KeyRange {
        let (mut range, last) = (self.wanted.range.clone(), Bound::Included(last.clone()));
        *(if self.wanted.backward { &mut range.start } else { &mut range.end }) = last;
        range
    }
}

fn size_of((key, body, _): &Found) -> usize {
    key.as_bytes().len() + body.bytes()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use hypermnesia_store::{TableDef, Type, Value};

    use super::*;
    use crate::{DynTable, Node};

    fn node_with(rows: i64, bytes: usize, kind: Kind) -> (Node, DynTable) {
        let node = Node::builder().build().expect("an embedded node needs nothing");
        let def = TableDef::builder("t").attribute("id", Type::Int).attribute("text", Type::Text).kind(kind);
        let table = node.create_table(def.index("by_id", ["id"])).expect("a good definition");
        let text = "x".repeat(bytes);
        for id in 0..rows {
            table.insert(&[Value::Int(id), Value::from(text.as_str())]).expect("short enough");
        }
        (node, table)
    }

    fn place(node: &Node, table: &DynTable, limit: u64, at: impl Fn(Timestamp) -> At) -> Place {
        let store = &node.core.store;
        let open = store.table(table.id()).expect("created");
        let mut live = store.snapshot();
        assert!(settled(store, &mut live).is_ok(), "nothing is under way");
        let wanted = Wanted { index: None, range: KeyRange::all(), backward: false, limit };
        let at = at(live.at());
        Place::begin(open, wanted, at, live, 0)
    }

    /// How many rows each chunk has.
    fn chunks(mut place: Place) -> Vec<usize> {
        let mut sizes = Vec::new();
        let mut next = || {
            let Ok(Fetched::Rows { rows, more, .. }) = place.chunk() else { panic!("nothing blocks it") };
            sizes.push(rows.len());
            if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        while next().is_continue() {}
        sizes
    }

    #[test]
    fn a_chunk_has_its_bounds() {
        // Aim: no answer is longer than its bounds, and a limit ends it. Method: more rows than a chunk has, with order and without;
        // rows of which few fill a chunk; limits below and above that.
        let many = FETCH_ROWS as i64 + 10;
        for kind in [Kind::Set, Kind::OrderedSet] {
            let (node, table) = node_with(many, 1, kind);
            assert_eq!(chunks(place(&node, &table, u64::MAX, At::Newest)), [FETCH_ROWS, 10]);
            assert_eq!(chunks(place(&node, &table, FETCH_ROWS as u64, At::Newest)), [FETCH_ROWS]);
            assert_eq!(chunks(place(&node, &table, FETCH_ROWS as u64 + 3, At::Newest)), [FETCH_ROWS, 3]);
            assert_eq!(chunks(place(&node, &table, 7, At::Newest)), [7]);
        }
        let (node, table) = node_with(5, FETCH_BYTES / 2, Kind::OrderedSet);
        assert_eq!(chunks(place(&node, &table, u64::MAX, At::Newest)), [2, 2, 1]);
    }

    #[test]
    fn the_state_of_before_is_shown_only_where_it_still_is() {
        // Aim: what was deleted or written since is not taken for what was there. Method: the state of a moment is asked for, at once,
        // and behind a write, a deletion, and a write outside of what is read.
        let changed = |chunk| matches!(chunk, Err(Stop::Refused(NotFetched::Changed)));
        for (write, limit, goes_wrong) in
            [(0, 9, false), (1, 9, true), (2, 9, true), (3, 9, true), (3, 4, false)]
        {
            let (node, table) = node_with(6, 1, Kind::OrderedSet);
            let then = node.core.store.clock().read();
            match write {
                0 => {}
                1 => table.insert(&[Value::Int(2), Value::from("y")]).expect("written"),
                2 => table.delete(&[Value::Int(2)]).expect("deleted"),
                _ => table.insert(&[Value::Int(7), Value::from("y")]).expect("written"),
            }
            let mut place = place(&node, &table, limit, |_| At::Exactly(then));
            assert_eq!(changed(place.chunk()), goes_wrong, "write {write}, limit {limit}");
        }
    }
}
