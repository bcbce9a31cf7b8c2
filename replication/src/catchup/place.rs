//! Rows of a whole copy, which take the place of all that was here, and how rows get into a table and its log.

use hypermnesia_store::{Ack, Body, Key, TableId, Timestamp};

use super::joiner::Stage;
use super::reading::Needs;
use super::{CopyRows, SCHEMA_TABLE};
use crate::effect::Fact;
use crate::era::Era;
use crate::own::{Own, Replaced};
use crate::replica::{Replica, Turn};

/// A copy that comes whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The chunk that is awaited.
    pub(super) chunk: u64,
    /// What was here when the first one came.
    own: Option<Own>,
    /// Chunks that were compared with it. One may come twice.
    counted: u64,
}

impl Whole {
    /// What went, once all has come.
    pub(super) fn replaced(self) -> Replaced {
        self.own.map(Own::end).unwrap_or_default()
    }

    /// What was here was read.
    pub(super) fn take_own(&mut self, own: Own) -> bool {
        self.chunk == 0 && self.own.replace(own).is_none()
    }

    /// Compares what has come with what was here. False where it was done before.
    fn count(&mut self, rows: &CopyRows) -> bool {
        if self.counted > self.chunk {
            return false;
        }
        self.counted += 1;
        let own = self.own.get_or_insert_default();
        rows.iter().for_each(|(key, ts, body)| own.came(key, *ts, body));
        true
    }
}

impl Replica {
    /// The awaited chunk.
    pub(super) fn on_whole(&self, era: &mut Era, rows: CopyRows, last: bool, turn: &mut Turn<'_>) {
        let epoch = era.number();
        let incoming = self.incoming(era);
        let (table, came) = (incoming.table, rows.len() as u64);
        incoming.own = None;
        let Stage::Whole(whole) = &mut incoming.stage else { return };
        let first = whole.chunk == 0;
        if whole.own.is_none() && !self.is_empty(table) {
            // The chunk is asked for again when that is read.
            return incoming.read(epoch, Needs::Rows, turn);
        }
        if whole.count(&rows) {
            incoming.rows += came;
        }
        if table == SCHEMA_TABLE && first {
            self.drop_what_is_not_in_the_chain(era, &rows, turn);
        }
        let rows = rows.into_iter().map(|(key, ts, body)| (key, ts, Some(body))).collect();
        if !self.place(table, first, rows, turn) {
            return;
        }
        if let Stage::Whole(whole) = &mut self.incoming(era).stage {
            whole.chunk += 1;
        }
        if last { self.loaded_current(era, turn) } else { self.ask_first(era, turn) }
    }

    /// What differs is not to be had, or cannot be put right: the table comes whole.
    pub(super) fn ask_for_all(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let incoming = self.incoming(era);
        (incoming.stage, incoming.own) = (Stage::Whole(Whole::default()), None);
        self.ask_first(era, turn);
    }

    /// Puts rows into a table, and into the log what was put. False where one cannot be put: what is there could not be read,
    /// or it is a definition that this version does not know. Then the chunk is asked for again, or the node stops.
    pub(super) fn place(
        &self,
        table: TableId,
        clear: bool,
        mut rows: Vec<(Key, Timestamp, Option<Body>)>,
        turn: &mut Turn<'_>,
    ) -> bool {
        if clear && self.store.clear(table).is_err() {
            return false;
        }
        let fails = |(key, ts, body): &(Key, Timestamp, Option<Body>)| {
            self.store.load_row(table, key, *ts, body.clone()).is_err()
        };
        let failed = rows.iter().position(fails);
        rows.truncate(failed.unwrap_or(rows.len()));
        self.log_loaded(table, clear, rows, turn);
        failed.is_none()
    }

    pub(super) fn log_loaded(
        &self,
        table: TableId,
        clear: bool,
        rows: Vec<(Key, Timestamp, Option<Body>)>,
        turn: &mut Turn<'_>,
    ) {
        if self.durable && self.is_on_disc_here(table) {
            turn.log(Fact::Loaded { table, clear, rows }, Ack::Memory, None);
        }
    }

    /// Tables that this node knows and the chain does not go first: clearing the schema table would leave them standing.
    /// Definitions fit one chunk ([`SCHEMA_CHUNK`]) or the tables of later chunks are dropped and loaded anew.
    ///
    /// [`SCHEMA_CHUNK`]: crate::limits::SCHEMA_CHUNK
    fn drop_what_is_not_in_the_chain(&self, era: &Era, rows: &CopyRows, turn: &mut Turn<'_>) {
        let stamp = era.opening.as_ref().expect("it loads in an epoch that it entered").stamp;
        let mut gone = self.newest_rows(SCHEMA_TABLE, |_, _| true);
        gone.retain(|(key, ..)| !rows.iter().any(|(kept, ..)| kept == key));
        if !gone.is_empty() {
            let gone = gone.into_iter().map(|(key, ..)| (key, stamp, None)).collect();
            self.place(SCHEMA_TABLE, false, gone, turn);
        }
    }

    pub(super) fn own(&self, table: TableId) -> Own {
        let mut own = Own::default();
        if let Some(table) = self.store.table(table) {
            // What cannot be read is not counted as replaced; the node stops for it, or the disc is full.
            let _ = table.visit_newest(|key, body, at| own.was(key, at, body));
        }
        own
    }
}
