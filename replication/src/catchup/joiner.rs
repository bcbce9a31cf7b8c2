//! The joiner's side of a copy: one table after the other, one question at a time, asked again while no answer comes.

use std::sync::atomic::Ordering;

use hypermnesia_store::{Ack, Key, TableId};

use super::SCHEMA_TABLE;
use super::difference::{Comparing, Differing};
use super::place::Whole;
use super::reading::Needs;
use super::survey::Survey;
use crate::effect::{Event, LogToken};
use crate::epoch::source;
use crate::era::Era;
use crate::lacks::Lacks;
use crate::limits::{COPY_RETRY_DOUBLINGS, COPY_RETRY_NS};
use crate::message::{CopyChunk, CopyStep, Message, Part};
use crate::own::{Own, Replaced};
use crate::replica::{Replica, Turn};

/// A joiner's work.
#[derive(Debug)]
pub(crate) struct Loading {
    /// Tables still to come, the next one last.
    queue: Vec<TableId>,
    current: Option<Incoming>,
    /// When it last asked, ns.
    asked_ns: u64,
    /// How often for the same.
    asked: u32,
}

/// The table being loaded.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) table: TableId,
    pub(super) source: usize,
    pub(super) stage: Stage,
    /// Its rows here are being read: nothing is asked before that is done.
    pub(super) reads: bool,
    /// What is here, kept right while differences come; nothing before it was read, and in a whole copy.
    pub(super) own: Option<Survey>,
    /// A row came that is older than what is here: it takes a whole copy.
    pub(super) is_ahead: bool,
    pub(super) replaced: Replaced,
    /// Rows that came. A chunk may come twice.
    pub(super) rows: u64,
}

/// What is awaited.
#[derive(Debug)]
pub(super) enum Stage {
    /// The answer to its digest.
    Asked,
    Whole(Whole),
    /// This chunk of newer rows.
    Newer {
        chunk: u64,
    },
    Comparing(Comparing),
    Leaves(Differing),
    /// All rows are here; transactions that were taken for the table have to end.
    Draining,
}

impl Incoming {
    fn new(table: TableId, source: usize, stage: Stage) -> Incoming {
        let replaced = Replaced::default();
        Incoming { table, source, stage, reads: false, own: None, is_ahead: false, replaced, rows: 0 }
    }

    /// Has it read, once at a time.
    pub(super) fn read(&mut self, epoch: u64, needs: Needs, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut self.reads, true) {
            turn.read_own(epoch, self.table, needs);
        }
    }

    /// What has to be read here before it can ask.
    fn needs(&self) -> Option<Needs> {
        match &self.stage {
            Stage::Asked if self.own.is_none() => Some(Needs::Survey),
            Stage::Leaves(differing) => differing.needs(),
            _ => None,
        }
    }

    /// What it asks for.
    fn question(&self) -> Option<CopyStep> {
        Some(match &self.stage {
            Stage::Asked => CopyStep::Request(self.own.as_ref()?.request()),
            Stage::Whole(whole) => CopyStep::Next { part: Part::Whole, chunk: whole.chunk },
            Stage::Newer { chunk } => CopyStep::Next { part: Part::Newer, chunk: *chunk },
            Stage::Comparing(comparing) => CopyStep::Compare { from: comparing.from },
            Stage::Leaves(differing) => differing.question(),
            Stage::Draining => return None,
        })
    }

    pub(super) fn take_survey(&mut self, survey: Survey) -> bool {
        let awaited = matches!(self.stage, Stage::Asked) && self.own.is_none();
        if awaited {
            self.own = Some(survey);
        }
        awaited
    }

    pub(super) fn take_rows(&mut self, own: Own) -> bool {
        match &mut self.stage {
            Stage::Whole(whole) => whole.take_own(own),
            _ => false,
        }
    }

    pub(super) fn take_keys(&mut self, keys: Vec<Key>) -> bool {
        match &mut self.stage {
            Stage::Leaves(differing) => differing.take_keys(keys),
            _ => false,
        }
    }

    /// The first answer says which way the table comes. The schema comes as a whole: tables follow from each of its rows.
    pub(super) fn follow(&mut self, part: Part) {
        match (&self.stage, part) {
            (Stage::Asked, Part::Whole) => self.stage = Stage::Whole(Whole::default()),
            (Stage::Asked, Part::Newer) if self.own.is_some() && self.table != SCHEMA_TABLE => {
                self.stage = Stage::Newer { chunk: 0 };
            }
            _ => {}
        }
    }
}

impl Loading {
    pub(super) fn current(&self) -> Option<&Incoming> {
        self.current.as_ref()
    }

    /// Whether this node's copy of a table is not to be given to others yet.
    pub(super) fn has_yet_to_load(&self, table: TableId) -> bool {
        let awaiting = self.current.as_ref().map(|incoming| incoming.table);
        awaiting == Some(SCHEMA_TABLE) || awaiting == Some(table) || self.queue.contains(&table)
    }

    /// Whether nothing new is taken for the table just now.
    pub(super) fn is_draining(&self, table: TableId) -> bool {
        let draining = |one: &Incoming| one.table == table && matches!(one.stage, Stage::Draining);
        self.current.as_ref().is_some_and(draining)
    }
}

impl Replica {
    pub(crate) fn begin_loading(&self, era: &mut Era, turn: &mut Turn<'_>) {
        self.end_tenure();
        let queue = vec![SCHEMA_TABLE];
        era.loading = Some(Loading { queue, current: None, asked_ns: turn.now.mono_ns, asked: 0 });
        era.lacks = Lacks::Everything;
        if self.stayed_whole(era, SCHEMA_TABLE) {
            // It was here all the time, and some of its copies are not whole, or new.
            self.know_tables(era, turn);
        }
        self.load_next(era, turn);
    }

    fn load_next(&self, era: &mut Era, turn: &mut Turn<'_>) {
        while let Some(table) = era.loading.as_mut().and_then(|loading| loading.queue.pop()) {
            match self.source_of(era, table, turn) {
                Some(source) if source != self.at => {
                    turn.event(Event::Loading { table, source: self.slots.node(source) });
                    let loading = era.loading.as_mut().expect("just popped from it");
                    loading.current = Some(Incoming::new(table, source, Stage::Asked));
                    return self.ask_first(era, turn);
                }
                None if self.had_members_before(era) && !self.is_empty(table) => {
                    // Left over from a copy that was interrupted: rows of different times.
                    self.place(table, true, Vec::new(), turn);
                }
                _ => {}
            }
            let here = Incoming::new(table, self.at, Stage::Draining);
            era.loading.as_mut().expect("just popped from it").current = Some(here);
            if !self.end_table(era, turn) {
                return;
            }
        }
        self.all_loaded(era, turn);
    }

    fn source_of(&self, era: &Era, table: TableId, turn: &mut Turn<'_>) -> Option<usize> {
        let standings = &era.opening.as_ref().expect("it loads in an epoch that it entered").standings;
        if self.begins_empty(era, table) {
            turn.event(Event::CameBackEmpty { table });
            self.loads.lock().came_back_empty.push(table);
        }
        source(standings, table, self.holders_of(era, table))
    }

    /// Whether the entered epoch serves a table of which nobody had anything when it opened, though there were members before.
    pub(crate) fn begins_empty(&self, era: &Era, table: TableId) -> bool {
        let standings = era.opening.as_ref().map_or(&[][..], |stage| &stage.standings);
        let nobody = || source(standings, table, self.holders_of(era, table)).is_none();
        let shared = table != SCHEMA_TABLE && !self.is_local(table);
        shared && era.serves(table) && self.had_members_before(era) && nobody()
    }

    /// Whether any member of the entered epoch was in one before.
    fn had_members_before(&self, era: &Era) -> bool {
        let standings = era.opening.iter().flat_map(|stage| &stage.standings);
        standings.into_iter().any(|standing| standing.opened > 0)
    }

    pub(super) fn is_empty(&self, table: TableId) -> bool {
        self.store.table(table).is_none_or(|table| table.len() == 0)
    }

    /// Asks for what is awaited now.
    pub(super) fn ask_first(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if let Some(loading) = era.loading.as_mut() {
            loading.asked = 0;
        }
        self.ask_for_copy(era, turn);
    }

    fn ask_for_copy(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let epoch = era.number();
        let Some(loading) = era.loading.as_mut() else { return };
        loading.asked_ns = turn.now.mono_ns;
        loading.asked += 1;
        let Some(incoming) = &mut loading.current else { return };
        let (table, source) = (incoming.table, incoming.source);
        if let Some(needs) = incoming.needs() {
            return incoming.read(epoch, needs, turn);
        }
        if let Some(step) = incoming.question() {
            turn.send(era.life(source), Message::Copy { epoch, table, step });
        }
    }

    /// A source that was not ready to answer is asked again.
    pub(crate) fn retry_copy(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let Some(loading) = era.loading.as_mut() else { return };
        if loading.current.as_ref().is_some_and(|one| matches!(one.stage, Stage::Draining)) {
            if self.end_table(era, turn) {
                self.load_next(era, turn);
            }
            return;
        }
        let wait_ns = COPY_RETRY_NS << loading.asked.saturating_sub(1).min(COPY_RETRY_DOUBLINGS);
        if turn.now.mono_ns.saturating_sub(loading.asked_ns) > wait_ns {
            self.ask_for_copy(era, turn);
        }
    }

    /// The same of this table, if it is that one.
    pub(super) fn incoming_of<'e>(&self, era: &'e mut Era, table: TableId) -> Option<&'e mut Incoming> {
        let current = era.loading.as_mut().and_then(|loading| loading.current.as_mut());
        current.filter(|one| one.table == table)
    }

    /// The table being loaded. Only while there is one.
    pub(super) fn incoming<'e>(&self, era: &'e mut Era) -> &'e mut Incoming {
        era.loading.as_mut().and_then(|loading| loading.current.as_mut()).expect("an answer was awaited")
    }

    pub(super) fn on_same(&self, era: &mut Era, turn: &mut Turn<'_>) {
        if matches!(self.incoming(era).stage, Stage::Asked) {
            self.loaded_current(era, turn);
        }
    }

    /// Rows that are not awaited, or no longer, are passed over.
    pub(super) fn on_chunk(&self, era: &mut Era, chunk: CopyChunk, turn: &mut Turn<'_>) {
        let incoming = self.incoming(era);
        incoming.follow(chunk.part);
        let awaited = match (&incoming.stage, chunk.part) {
            (Stage::Whole(whole), Part::Whole) => whole.chunk,
            (Stage::Newer { chunk }, Part::Newer) => *chunk,
            (Stage::Leaves(differing), Part::Leaves) => differing.chunk,
            _ => return,
        };
        if awaited != chunk.chunk {
            return;
        }
        let bytes: usize = chunk.rows.iter().map(|(key, _, body)| super::row_bytes(key, body)).sum();
        self.count_copied(bytes);
        self.begin_changing(era, turn);
        match chunk.part {
            Part::Whole => self.on_whole(era, chunk.rows, chunk.last.is_some(), turn),
            Part::Newer => self.on_newer(era, chunk.rows, chunk.last, turn),
            Part::Leaves => self.on_leaves(era, chunk.rows, chunk.last, turn),
        }
    }

    pub(super) fn count_copied(&self, bytes: usize) {
        self.loads.lock().copied_bytes += bytes as u64;
    }

    /// Before the first row is changed it stands in the log that the copy is of no one time from now on.
    fn begin_changing(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let table = self.incoming(era).table;
        if era.whole.remove(&table).is_some() {
            self.log_epoch(era, Ack::Memory, None, turn);
        }
    }

    pub(super) fn loaded_current(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let incoming = self.incoming(era);
        let (table, mut replaced) = (incoming.table, incoming.replaced);
        if let Stage::Whole(whole) = std::mem::replace(&mut incoming.stage, Stage::Draining) {
            replaced.add(whole.replaced());
        }
        let Replaced { rows, newer } = replaced;
        if rows > 0 {
            self.loads.lock().replaced.push((table, rows, newer));
            turn.event(Event::RowsReplaced { table, rows, newer });
        }
        if self.end_table(era, turn) {
            self.load_next(era, turn);
        }
    }

    /// All rows of the table are here. False while the outcome of a transaction on it is awaited; then it is tried again.
    fn end_table(&self, era: &mut Era, turn: &mut Turn<'_>) -> bool {
        let Incoming { table, rows, .. } = *self.incoming(era);
        if self.is_under_way(table) {
            return false;
        }
        let Some(commits) = self.catch_up(table, turn) else { return false };
        if let Some(loading) = era.loading.as_mut() {
            loading.current = None;
        }
        turn.event(Event::Loaded { table, rows, commits });
        self.loaded(era, table, turn);
        true
    }

    fn loaded(&self, era: &mut Era, table: TableId, turn: &mut Turn<'_>) {
        let number = era.number();
        if era.whole.insert(table, number) != Some(number) {
            self.log_epoch(era, Ack::Memory, None, turn);
        }
        match table {
            SCHEMA_TABLE => self.know_tables(era, turn),
            table => {
                // Rows have come under other timestamps than those that a snapshot was taken beside.
                self.end_tenure();
                era.lacks.got(table);
            }
        }
    }

    /// Whether it was here all the time with a copy that has all of a table.
    fn stayed_whole(&self, era: &Era, table: TableId) -> bool {
        let survivor = era.opening.as_ref().is_some_and(|stage| stage.standing(self.at).survivor);
        survivor && era.says_whole(table)
    }

    /// The schema of the epoch is here: all that it says has a copy here is loaded, but for what stayed whole, and writes go on.
    fn know_tables(&self, era: &mut Era, turn: &mut Turn<'_>) {
        let tables = self.store.tables();
        let mut mine: Vec<TableId> = tables.iter().map(|one| one.id()).collect();
        // Rows of local tables are on no other member.
        mine.retain(|id| {
            *id != SCHEMA_TABLE
                && !self.is_local(*id)
                && !self.stayed_whole(era, *id)
                && era.serves(*id)
                && self.holders_of(era, *id).has(self.at)
        });
        mine.sort_unstable_by(|a, b| b.cmp(a));
        era.lacks = Lacks::of(mine.iter().copied());
        if let Some(loading) = era.loading.as_mut() {
            loading.queue = mine;
        }
        self.begin_taking(era, turn);
        self.serve_what_is_here(era);
    }

    /// Tables that are loaded are read while others load, unless something is in doubt whose locks are to be taken first.
    fn serve_what_is_here(&self, era: &Era) {
        if !era.carries_any() && self.store.disc_fault().is_none() {
            self.partial.store(true, Ordering::Release);
            self.serve(true);
        }
    }

    fn all_loaded(&self, era: &mut Era, turn: &mut Turn<'_>) {
        era.loading = None;
        era.lacks = Lacks::Nothing;
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
}
