//! The source's side of a copy: it compares, chooses the way, and answers what it is asked for, however often.

use hypermnesia_store::{LeafSet, Leaves, TableId, Timestamp};

use super::SCHEMA_TABLE;
use super::reading::Gives;
use super::served::{Served, Wanted};
use super::survey::Amount;
use crate::era::Era;
use crate::limits::{CopyBounds, NEWER_SHARE_MAX};
use crate::message::{CopyChunk, CopyRequest, CopyStep, Message, Part};
use crate::replica::{Replica, Turn};

/// A source's work for one joiner and table, of which it shows the state that the epoch began with.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) joiner: usize,
    table: TableId,
    /// What the joiner said of its copy: an answer to the same needs no other look at the table.
    asked: CopyRequest,
    /// Nothing as long as it is read.
    surveyed: Option<Surveyed>,
    /// The leaves that the joiner has found to differ.
    differ: Option<LeafSet>,
    /// Rows that are being sent; nothing where none are wanted, or all of them were sent.
    served: Option<(Part, Served)>,
    /// Rows that are being read.
    reads: Option<(Part, Wanted)>,
}

/// What the table has, and how much of it the joiner lacks.
#[derive(Debug)]
pub(super) struct Surveyed {
    /// In as many as the joiner has; nothing where it said a number that no table is divided in.
    pub(super) leaves: Option<Leaves>,
    pub(super) digest: u64,
    pub(super) all: Amount,
    /// What the joiner cannot have, as far as it says.
    pub(super) lacking: Amount,
}

/// How a joiner gets a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Same,
    Rows(Part),
    Digests,
}

impl Serving {
    /// Nothing before the table is read.
    fn way(&self, bounds: &CopyBounds) -> Option<Way> {
        let Surveyed { leaves, digest, all, lacking } = self.surveyed.as_ref()?;
        if *digest == self.asked.digest {
            return Some(Way::Same);
        }
        let fits = all.rows <= bounds.chunk_rows as u64 && all.bytes <= bounds.chunk_bytes;
        let most = lacking.rows * NEWER_SHARE_MAX.1 > all.rows * NEWER_SHARE_MAX.0;
        if self.table == SCHEMA_TABLE || leaves.is_none() || self.asked.rows == 0 || fits || most {
            return Some(Way::Rows(Part::Whole));
        }
        Some(if lacking.rows == 0 { Way::Digests } else { Way::Rows(Part::Newer) })
    }

    fn leaves(&self) -> Option<&Leaves> {
        self.surveyed.as_ref()?.leaves.as_ref()
    }

    /// Which rows a part has; nothing before the joiner has said it.
    fn wanted(&self, part: Part) -> Option<Wanted> {
        match part {
            Part::Whole => Some(Wanted::All),
            Part::Newer => Some(Wanted::Lacking(self.asked.clone())),
            Part::Leaves => self.differ.clone().map(Wanted::Leaves),
        }
    }
}

impl Replica {
    /// A source that still loads its own schema does not know the table yet: it is asked again.
    pub(super) fn on_copy_request(
        &self,
        era: &mut Era,
        from: usize,
        table: TableId,
        asked: CopyRequest,
        turn: &mut Turn<'_>,
    ) {
        let busy = era.loading.as_ref().is_some_and(|loading| loading.has_yet_to_load(table));
        if busy || self.store.table(table).is_none() {
            return;
        }
        match self.serving(era, from, table).filter(|known| known.asked == asked) {
            Some(_) => self.answer_request(era, from, table, turn),
            None => {
                let upto = self.upto(era, table);
                turn.read_for(from, era.number(), table, upto, Gives::Survey(asked.clone()));
                era.serving.retain(|one| one.joiner != from);
                era.serving.push(Serving {
                    joiner: from,
                    table,
                    asked,
                    surveyed: None,
                    differ: None,
                    served: None,
                    reads: None,
                });
            }
        }
    }

    /// The table was read, or could not be: then it is when the joiner asks once more.
    pub(super) fn on_surveyed(
        &self,
        era: &mut Era,
        joiner: usize,
        table: TableId,
        asked: &CopyRequest,
        surveyed: Option<Surveyed>,
        turn: &mut Turn<'_>,
    ) {
        let awaits = |one: &Serving| {
            one.joiner == joiner && one.table == table && one.asked == *asked && one.surveyed.is_none()
        };
        let Some(at) = era.serving.iter().position(awaits) else { return };
        if surveyed.is_none() {
            era.serving.remove(at);
            return;
        }
        era.serving[at].surveyed = surveyed;
        self.answer_request(era, joiner, table, turn);
    }

    fn answer_request(&self, era: &mut Era, from: usize, table: TableId, turn: &mut Turn<'_>) {
        match self.serving(era, from, table).and_then(|serving| serving.way(&self.copy)) {
            Some(Way::Same) => {
                self.send_carried(era, from, table, turn);
                self.answer_copy(era, from, table, CopyStep::Same, turn);
            }
            Some(Way::Rows(part)) => self.send_chunk(era, from, table, part, 0, turn),
            Some(Way::Digests) => self.send_digests(era, from, table, 0, turn),
            None => {}
        }
    }

    /// Up to when its rows are given: the schema does not change before all are ready.
    fn upto(&self, era: &Era, table: TableId) -> Timestamp {
        let base = era.base.as_ref().filter(|_| table != SCHEMA_TABLE);
        base.map_or(Timestamp::MAX, |base| base.at())
    }

    fn serving<'e>(&self, era: &'e Era, joiner: usize, table: TableId) -> Option<&'e Serving> {
        era.serving.iter().find(|one| one.joiner == joiner && one.table == table)
    }

    fn answer_copy(&self, era: &Era, joiner: usize, table: TableId, step: CopyStep, turn: &mut Turn<'_>) {
        turn.send(era.life(joiner), Message::Copy { epoch: era.number(), table, step });
    }

    pub(super) fn send_chunk(
        &self,
        era: &mut Era,
        joiner: usize,
        table: TableId,
        part: Part,
        chunk: u64,
        turn: &mut Turn<'_>,
    ) {
        let (upto, epoch) = (self.upto(era, table), era.number());
        let serving = era.serving.iter_mut().find(|one| one.joiner == joiner && one.table == table);
        let Some(serving) = serving else { return };
        let Some(digest) = serving.surveyed.as_ref().map(|surveyed| surveyed.digest) else { return };
        if serving.served.as_ref().is_none_or(|(of, _)| *of != part) {
            let Some(wanted) = serving.wanted(part) else { return };
            if self.is_to_be_read(table) {
                let reads = Some((part, wanted.clone()));
                if serving.reads != reads {
                    serving.reads = reads;
                    turn.read_for(joiner, epoch, table, upto, Gives::Rows(part, wanted));
                }
                return;
            }
            serving.served = Some((part, self.serve_rows(table, wanted, upto)));
        }
        let Some((_, served)) = &mut serving.served else { return };
        let Some((rows, last)) = self.chunk(table, served, chunk) else { return };
        if last && served.is_held() {
            // On an ordered stream it arrives, or the joiner is gone. Should it ask once more they are taken together again.
            serving.served = None;
        }
        let last = last.then_some(digest);
        if last.is_some() {
            self.send_carried(era, joiner, table, turn);
        }
        self.answer_copy(era, joiner, table, CopyStep::Chunk(CopyChunk { part, chunk, rows, last }), turn);
    }

    /// Rows that a joiner has asked for were read: the first of them go.
    pub(super) fn on_served(
        &self,
        era: &mut Era,
        joiner: usize,
        table: TableId,
        (part, wanted, served): (Part, Wanted, Served),
        turn: &mut Turn<'_>,
    ) {
        let awaited = Some((part, wanted));
        let serving = era.serving.iter_mut().find(|one| one.joiner == joiner && one.table == table);
        if let Some(serving) = serving.filter(|serving| serving.reads == awaited) {
            (serving.served, serving.reads) = (Some((part, served)), None);
            self.send_chunk(era, joiner, table, part, 0, turn);
        }
    }

    pub(super) fn send_digests(
        &self,
        era: &Era,
        joiner: usize,
        table: TableId,
        from: u32,
        turn: &mut Turn<'_>,
    ) {
        let leaves = self.serving(era, joiner, table).and_then(Serving::leaves);
        let Some(behind) = leaves.and_then(|leaves| leaves.digests().get(from as usize..)) else { return };
        let digests = behind[..behind.len().min(self.copy.chunk_rows)].to_vec();
        self.answer_copy(era, joiner, table, CopyStep::Digests { from, digests }, turn);
    }

    pub(super) fn send_leaves(
        &self,
        era: &mut Era,
        joiner: usize,
        table: TableId,
        bits: Vec<u8>,
        turn: &mut Turn<'_>,
    ) {
        let serving = era.serving.iter_mut().find(|one| one.joiner == joiner && one.table == table);
        let Some(serving) = serving else { return };
        let count = serving.leaves().map(Leaves::count);
        let Some(differ) = count.and_then(|count| LeafSet::of_bits(count, bits)) else { return };
        if serving.differ.as_ref() != Some(&differ) {
            (serving.differ, serving.served, serving.reads) = (Some(differ), None, None);
        }
        self.send_chunk(era, joiner, table, Part::Leaves, 0, turn);
    }
}
