//! How a joiner gets its tables, and how a source gives them. Described in `docs/protocol.md`.
//!
//! No table changes while a copy of it loads: every write needs every replica, and a replica that has not said Ready is
//! not written to. So a copy is the newest committed rows, compared by digest first and sent whole, in chunks, when they
//! differ. The schema comes first, since it says which tables there are. Rows that were here and are not in the chain are
//! taken away and counted, never silently: see [`Event::RowsReplaced`]. A table that lives on disc alone may be larger than
//! memory: the source reads each chunk when it is asked for, and the joiner keeps of its own rows what tells them apart.
//!
//! A row that cannot be read stops the node that has it (see `Store::disc_fault`): it answers nothing, as if it had died. One
//! that cannot be read now is asked for again.
//!
//! A joiner that dies while loading has said so in its log (opened, not complete, these tables loaded) and is nobody's first choice as a
//! source. A source that dies leads to a new epoch, in which loading starts over, from whoever is the best then.

use std::ops::ControlFlow;

use hypermnesia_store::{Ack, Body, Key, TableId, Timestamp};

use crate::effect::{Event, Fact, LogToken};
use crate::epoch::source;
use crate::era::Era;
use crate::limits::{COPY_CHUNK_BYTES, COPY_CHUNK_ROWS, COPY_RETRY_DOUBLINGS, COPY_RETRY_NS};
use crate::message::{CopyStep, Message};
use crate::own::{Own, Replaced};
use crate::replica::{Replica, Turn};

/// The system table that holds the definitions of all others. Every member has a copy.
pub const SCHEMA_TABLE: TableId = hypermnesia_store::SCHEMA_TABLE;

/// A joiner's work.
#[derive(Debug)]
pub(crate) struct Loading {
    /// Tables still to come, the next one last.
    queue: Vec<TableId>,
    current: Option<Incoming>,
    /// When it last asked, ns; nothing where reading the table took its time before, so that it counts from the next tick on.
    asked_ns: Option<u64>,
    /// How often for the same.
    asked: u32,
}

/// The table being loaded.
#[derive(Debug)]
pub(crate) struct Incoming {
    table: TableId,
    source: usize,
    /// The chunk that is awaited; before the first one, the digest was sent.
    chunk: u64,
    /// Of what is here: it does not change before the first chunk comes, and a large table takes its time.
    digest: Option<u64>,
    /// What was here when the first chunk came.
    own: Option<Own>,
    /// Chunks that were compared with it, and their rows. One may come twice.
    counted: u64,
    rows: u64,
}

/// Rows as they travel.
type CopyRows = Vec<(Key, Timestamp, Body)>;

/// A source's work for one joiner and table.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) joiner: usize,
    table: TableId,
    /// Of the table, which does not change as long as the epoch lasts and the joiner loads.
    digest: u64,
    /// Nothing where none are wanted, or all of them were sent.
    rows: Option<Served>,
}

/// Rows as they were at the first request; the table does not change meanwhile.
#[derive(Debug)]
enum Served {
    /// All of them, and where each chunk begins.
    Held { rows: CopyRows, begins: Vec<usize> },
    /// They are read when they are asked for: behind which keys the chunk that was sent last begins, and the one after it.
    Read { chunk: u64, behind: [Option<Key>; 2] },
}

impl Replica {
    // The joiner.

    pub(crate) fn begin_loading(&self, era: &mut Era, turn: &mut Turn<'_>) {
        self.end_tenure();
        era.loading = Some(Loading { queue: vec![SCHEMA_TABLE], current: None, asked_ns: None, asked: 0 });
        self.load_next(era, turn);
    }

    fn load_next(&self, era: &mut Era, turn: &mut Turn<'_>) {
        while let Some(table) = era.loading.as_mut().and_then(|loading| loading.queue.pop()) {
            match self.source_of(era, table, turn) {
                Some(source) if source != self.at => {
                    let incoming =
                        Incoming { table, source, chunk: 0, digest: None, own: None, counted: 0, rows: 0 };
                    turn.event(Event::Loading { table, source: self.slots.node(source) });
                    era.loading.as_mut().expect("just popped from it").current = Some(incoming);
                    return self.ask_first(era, turn);
                }
                None if self.had_members_before(era) && !self.is_empty(table) => {
                    // Left over from a copy that was interrupted: rows of different times.
                    self.place(table, true, Vec::new(), turn);
                    self.loaded(era, table, 0, turn);
                }
                _ => self.loaded(era, table, 0, turn),
            }
        }
        self.all_loaded(era, turn);
    }

    fn source_of(&self, era: &Era, table: TableId, turn: &mut Turn<'_>) -> Option<usize> {
        let standings = &era.opening.as_ref().expect("it loads in an epoch that it entered").standings;
        let chosen = source(standings, table, self.holders_of(era, table));
        if chosen.is_none() && self.had_members_before(era) && table != SCHEMA_TABLE {
            turn.event(Event::CameBackEmpty { table });
            self.loads.lock().came_back_empty.push(table);
        }
        chosen
    }

    /// Asks for what is awaited now.
    fn ask_first(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if let Some(loading) = era.loading.as_mut() {
            loading.asked = 0;
        }
        self.ask_for_copy(era, turn);
    }

    fn ask_for_copy(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let epoch = era.number();
        let Some(loading) = era.loading.as_mut() else { return };
        loading.asked_ns = Some(turn.now.mono_ns);
        loading.asked += 1;
        let Some(incoming) = &mut loading.current else { return };
        let (table, source) = (incoming.table, incoming.source);
        let step = match (incoming.chunk, incoming.digest) {
            (0, Some(digest)) => CopyStep::Request { digest },
            (0, None) => {
                loading.asked_ns = None;
                incoming.digest = self.digest(table);
                let Some(digest) = incoming.digest else { return };
                CopyStep::Request { digest }
            }
            (chunk, _) => CopyStep::Next { chunk },
        };
        turn.send(era.life(source), Message::Copy { epoch, table, step });
    }

    /// A source that was not ready to answer is asked again.
    pub(crate) fn retry_copy(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let Some(loading) = era.loading.as_mut() else { return };
        let asked_ns = *loading.asked_ns.get_or_insert(turn.now.mono_ns);
        let wait_ns = COPY_RETRY_NS << loading.asked.saturating_sub(1).min(COPY_RETRY_DOUBLINGS);
        if turn.now.mono_ns.saturating_sub(asked_ns) > wait_ns {
            self.ask_for_copy(era, turn);
        }
    }

    pub(crate) fn on_copy(
        &self,
        era: &mut Era,
        from: usize,
        epoch: u64,
        table: TableId,
        step: CopyStep,
        turn: &mut Turn<'_>,
    ) {
        if !era.is_open() || epoch != era.number() || !era.present().has(from) {
            return;
        }
        match step {
            CopyStep::Request { digest } => self.on_copy_request(era, from, table, digest, turn),
            CopyStep::Next { chunk } => self.send_chunk(era, from, table, chunk, turn),
            CopyStep::InDoubt { txid, work } => {
                if self.copies(era, from, table) {
                    self.on_carried(era, txid, work, turn);
                }
            }
            CopyStep::Settled(outcomes) => {
                if self.copies(era, from, table) {
                    self.on_kept(era, outcomes, turn);
                }
            }
            CopyStep::Same => {
                if self.awaits(era, from, table, 0) {
                    self.loaded_current(era, turn);
                }
            }
            CopyStep::Chunk { chunk, rows, last } => {
                if self.awaits(era, from, table, chunk) {
                    self.on_chunk(era, chunk, rows, last, turn);
                }
            }
        }
    }

    fn copies(&self, era: &Era, from: usize, table: TableId) -> bool {
        let current = era.loading.as_ref().and_then(|loading| loading.current.as_ref());
        current.is_some_and(|one| one.table == table && one.source == from)
    }

    fn awaits(&self, era: &Era, from: usize, table: TableId, chunk: u64) -> bool {
        let current = era.loading.as_ref().and_then(|loading| loading.current.as_ref());
        current.is_some_and(|one| one.table == table && one.source == from && one.chunk == chunk)
    }

    fn on_chunk(
        &self,
        era: &mut Era,
        chunk: u64,
        rows: Vec<(Key, Timestamp, Body)>,
        last: bool,
        turn: &mut Turn<'_>,
    ) {
        let current = era.loading.as_ref().and_then(|loading| loading.current.as_ref());
        let table = current.expect("it is awaited").table;
        let first = chunk == 0;
        if first {
            era.whole.remove(&table);
            self.log_epoch(era, Ack::Memory, None, turn);
        }
        let incoming =
            era.loading.as_mut().and_then(|loading| loading.current.as_mut()).expect("it is awaited");
        if first && incoming.own.is_none() {
            incoming.own = Some(self.own(table));
        }
        if incoming.counted == chunk {
            incoming.counted += 1;
            incoming.rows += rows.len() as u64;
            if let Some(own) = &mut incoming.own {
                rows.iter().for_each(|(key, ts, body)| own.came(key, *ts, body));
            }
        }
        if table == SCHEMA_TABLE && first {
            self.drop_what_is_not_in_the_chain(era, &rows, turn);
        }
        let rows = rows.into_iter().map(|(key, ts, body)| (key, ts, Some(body))).collect();
        if !self.place(table, first, rows, turn) {
            return;
        }
        let incoming =
            era.loading.as_mut().and_then(|loading| loading.current.as_mut()).expect("it is awaited");
        incoming.chunk += 1;
        if last { self.loaded_current(era, turn) } else { self.ask_first(era, turn) }
    }

    /// Puts rows into a table, and into the log what was put. False where one cannot be put: what is there could not be read,
    /// or it is a definition that this version does not know. Then the chunk is asked for again, or the node stops.
    fn place(
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
        if self.durable && self.is_on_disc_here(table) {
            turn.log(Fact::Loaded { table, clear, rows }, Ack::Memory, None);
        }
        failed.is_none()
    }

    /// Tables that this node knows and the chain does not go first: clearing the schema table would leave them standing.
    /// Definitions fit one chunk ([`COPY_CHUNK_ROWS`]) or the tables of later chunks are dropped and loaded anew.
    fn drop_what_is_not_in_the_chain(&self, era: &Era, rows: &[(Key, Timestamp, Body)], turn: &mut Turn<'_>) {
        let stamp = era.opening.as_ref().expect("it loads in an epoch that it entered").stamp;
        let mut gone = self.newest_rows(SCHEMA_TABLE);
        gone.retain(|(key, ..)| !rows.iter().any(|(kept, ..)| kept == key));
        if !gone.is_empty() {
            let gone = gone.into_iter().map(|(key, ..)| (key, stamp, None)).collect();
            self.place(SCHEMA_TABLE, false, gone, turn);
        }
    }

    /// Nothing where a row cannot be read.
    fn digest(&self, table: TableId) -> Option<u64> {
        self.store.table(table).map_or(Some(0), |table| table.digest_with_versions().ok())
    }

    /// Whether any member of the entered epoch was in one before.
    fn had_members_before(&self, era: &Era) -> bool {
        let standings = era.opening.iter().flat_map(|stage| &stage.standings);
        standings.into_iter().any(|standing| standing.opened > 0)
    }

    fn is_empty(&self, table: TableId) -> bool {
        self.store.table(table).is_none_or(|table| table.len() == 0)
    }

    fn own(&self, table: TableId) -> Own {
        let mut own = Own::default();
        if let Some(table) = self.store.table(table) {
            // What cannot be read is not counted as replaced; the node stops for it, or the disc is full.
            let _ = table.visit_newest(|key, body, at| own.was(key, at, body));
        }
        own
    }

    fn newest_rows(&self, table: TableId) -> Vec<(Key, Timestamp, Body)> {
        let mut rows = Vec::new();
        if let Some(table) = self.store.table(table) {
            // Of a table in memory: nothing is read from disc.
            let _ = table.visit_newest(|key, body, ts| rows.push((key.clone(), ts, body.clone())));
        }
        // In an order that does not depend on the hash table's history.
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }

    fn loaded_current(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let current = era.loading.as_mut().and_then(|loading| loading.current.take());
        let Some(incoming) = current else { return };
        let Replaced { rows, newer } = incoming.own.map(Own::end).unwrap_or_default();
        if rows > 0 {
            let table = incoming.table;
            self.loads.lock().replaced.push((table, rows, newer));
            turn.event(Event::RowsReplaced { table, rows, newer });
        }
        self.loaded(era, incoming.table, incoming.rows, turn);
        self.load_next(era, turn);
    }

    fn loaded(&self, era: &mut Era, table: TableId, rows: u64, turn: &mut Turn<'_>) {
        turn.event(Event::Loaded { table, rows });
        let number = era.number();
        if era.whole.insert(table, number) != Some(number) {
            self.log_epoch(era, Ack::Memory, None, turn);
        }
        if table == SCHEMA_TABLE {
            let tables = self.store.tables();
            let mut mine: Vec<TableId> = tables.iter().map(|one| one.id()).collect();
            // Rows of local tables are on no other member.
            mine.retain(|id| {
                *id != SCHEMA_TABLE
                    && !self.is_local(*id)
                    && era.serves(*id)
                    && self.holders_of(era, *id).has(self.at)
            });
            mine.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(loading) = era.loading.as_mut() {
                loading.queue = mine;
            }
        }
    }

    fn all_loaded(&self, era: &mut Era, turn: &mut Turn<'_>) {
        era.loading = None;
        self.hold_all_carried(era, turn);
        era.complete = true;
        let number = era.number();
        if self.durable {
            self.log_epoch(era, Ack::Logged, Some(LogToken::Complete(number)), turn);
        } else {
            self.on_complete_logged(era, number, turn);
        }
    }

    pub(crate) fn on_complete_logged(&self, era: &mut Era, number: u64, turn: &mut Turn<'_>) {
        if era.is_open() && era.number() == number && era.complete {
            self.become_ready(era, turn);
        }
    }

    // The source.

    /// A source that still loads its own schema does not know the table yet: it is asked again.
    fn on_copy_request(&self, era: &mut Era, from: usize, table: TableId, digest: u64, turn: &mut Turn<'_>) {
        let epoch = era.number();
        let busy = era.loading.as_ref().is_some_and(|loading| {
            let awaiting = loading.current.as_ref().map(|incoming| incoming.table);
            awaiting == Some(SCHEMA_TABLE) || awaiting == Some(table) || loading.queue.contains(&table)
        });
        if busy || self.store.table(table).is_none() {
            return;
        }
        let known = era.serving.iter().find(|one| one.joiner == from && one.table == table);
        let own = match known.map(|one| one.digest) {
            Some(own) => own,
            None => {
                let Some(own) = self.digest(table) else { return };
                era.serving.retain(|one| one.joiner != from);
                era.serving.push(Serving { joiner: from, table, digest: own, rows: None });
                own
            }
        };
        match own == digest {
            true => {
                self.send_carried(era, from, table, turn);
                turn.send(era.life(from), Message::Copy { epoch, table, step: CopyStep::Same });
            }
            false => self.send_chunk(era, from, table, 0, turn),
        }
    }

    fn send_chunk(&self, era: &mut Era, from: usize, table: TableId, chunk: u64, turn: &mut Turn<'_>) {
        let epoch = era.number();
        let Some(at) = era.serving.iter().position(|one| one.joiner == from && one.table == table) else {
            return;
        };
        let served = era.serving[at].rows.get_or_insert_with(|| self.serve_rows(table));
        let Some((rows, last)) = self.chunk(table, served, chunk) else { return };
        if last {
            self.send_carried(era, from, table, turn);
        }
        let step = CopyStep::Chunk { chunk, rows, last };
        turn.send(era.life(from), Message::Copy { epoch, table, step });
        if last && matches!(era.serving[at].rows, Some(Served::Held { .. })) {
            // On an ordered stream it arrives, or the joiner is gone. Should it ask once more they are taken together again.
            era.serving[at].rows = None;
        }
    }

    fn serve_rows(&self, table: TableId) -> Served {
        if self.store.table(table).is_some_and(|open| open.is_on_disc_alone()) {
            return Served::Read { chunk: 0, behind: [None, None] };
        }
        let rows = self.newest_rows(table);
        Served::Held { begins: chunk_begins(&rows), rows }
    }
}

impl Replica {
    /// The rows of a chunk, and whether it is the last one. Nothing for one that was not to be asked for.
    fn chunk(&self, table: TableId, served: &mut Served, wanted: u64) -> Option<(CopyRows, bool)> {
        match served {
            Served::Held { rows, begins } => {
                let chunk = usize::try_from(wanted).ok()?;
                let end = begins.get(chunk + 1).copied().unwrap_or(rows.len());
                Some((rows[*begins.get(chunk)?..end].to_vec(), chunk + 1 == begins.len()))
            }
            Served::Read { chunk, behind } => {
                let begin = match wanted {
                    0 => None,
                    again if again == *chunk => behind[0].clone(),
                    next if next == *chunk + 1 => Some(behind[1].clone()?),
                    _ => return None,
                };
                let (rows, last) = self.read_chunk(table, begin.as_ref())?;
                (*chunk, *behind) = (wanted, [begin, rows.last().map(|(key, ..)| key.clone())]);
                Some((rows, last))
            }
        }
    }

    /// The rows behind a key: as many as make a chunk, and whether there are no more. Nothing where one cannot be read.
    fn read_chunk(&self, table: TableId, behind: Option<&Key>) -> Option<(CopyRows, bool)> {
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, true);
        let read = self.store.table(table)?.visit_newest_behind(behind, |key, body, ts| {
            bytes += row_bytes(key, body);
            if !rows.is_empty() && (bytes > COPY_CHUNK_BYTES || rows.len() == COPY_CHUNK_ROWS) {
                last = false;
                return ControlFlow::Break(());
            }
            rows.push((key.clone(), ts, body.clone()));
            ControlFlow::Continue(())
        });
        read.ok().map(|()| (rows, last))
    }
}

fn row_bytes(key: &Key, body: &Body) -> usize {
    key.as_bytes().len() + body.bytes() + 16
}

/// Where chunks begin: always at least one, so that an empty table is said to be empty.
fn chunk_begins(rows: &[(Key, Timestamp, Body)]) -> Vec<usize> {
    let mut begins = vec![0];
    let (mut bytes, mut count) = (0, 0);
    for (at, (key, _, body)) in rows.iter().enumerate() {
        let size = row_bytes(key, body);
        if count > 0 && (bytes + size > COPY_CHUNK_BYTES || count == COPY_CHUNK_ROWS) {
            begins.push(at);
            (bytes, count) = (0, 0);
        }
        bytes += size;
        count += 1;
    }
    begins
}
