//! The source's side of a copy: it compares, chooses the way, and answers what it is asked for, however often.

use hypermnesia_store::{LeafCount, LeafSet, Leaves, TableId, Timestamp};

use super::SCHEMA_TABLE;
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
    /// In as many as the joiner has; nothing where it said a number that no table is divided in.
    leaves: Option<Leaves>,
    digest: u64,
    all: Amount,
    /// What the joiner cannot have, as far as it says.
    lacking: Amount,
    /// The leaves that the joiner has found to differ.
    differ: Option<LeafSet>,
    /// Rows that are being sent; nothing where none are wanted, or all of them were sent.
    served: Option<(Part, Served)>,
}

/// How a joiner gets a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Same,
    Rows(Part),
    Digests,
}

impl Serving {
    fn way(&self, bounds: &CopyBounds) -> Way {
        if self.digest == self.asked.digest {
            return Way::Same;
        }
        let fits = self.all.rows <= bounds.chunk_rows as u64 && self.all.bytes <= bounds.chunk_bytes;
        let most = self.lacking.rows * NEWER_SHARE_MAX.1 > self.all.rows * NEWER_SHARE_MAX.0;
        if self.table == SCHEMA_TABLE || self.leaves.is_none() || self.asked.rows == 0 || fits || most {
            return Way::Rows(Part::Whole);
        }
        if self.lacking.rows == 0 { Way::Digests } else { Way::Rows(Part::Newer) }
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
        if self.serving(era, from, table).is_none_or(|known| known.asked != asked) {
            let upto = self.upto(era, table);
            let Some(serving) = self.begin_serving(from, table, asked, upto) else { return };
            era.serving.retain(|one| one.joiner != from);
            era.serving.push(serving);
        }
        let way = self.serving(era, from, table).map(|serving| serving.way(&self.copy));
        match way {
            Some(Way::Same) => {
                self.send_carried(era, from, table, turn);
                self.answer_copy(era, from, table, CopyStep::Same, turn);
            }
            Some(Way::Rows(part)) => self.send_chunk(era, from, table, part, 0, turn),
            Some(Way::Digests) => self.send_digests(era, from, table, 0, turn),
            None => {}
        }
    }

    /// Reads the table. Nothing where a row cannot be read.
    fn begin_serving(
        &self,
        joiner: usize,
        table: TableId,
        asked: CopyRequest,
        upto: Timestamp,
    ) -> Option<Serving> {
        let count = LeafCount::of(asked.leaves);
        let mut leaves = Leaves::empty(count.unwrap_or(LeafCount::for_rows(0)));
        let (mut all, mut lacking) = (Amount::default(), Amount::default());
        let read = self.store.table(table)?.visit_stored(upto, |key, body, at| {
            leaves.add(key, body, at);
            all.add(key, body);
            if asked.lacks(key, at) {
                lacking.add(key, body);
            }
        });
        read.ok()?;
        let digest = leaves.whole();
        let leaves = count.map(|_| leaves);
        Some(Serving { joiner, table, asked, leaves, digest, all, lacking, differ: None, served: None })
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
        let upto = self.upto(era, table);
        let serving = era.serving.iter_mut().find(|one| one.joiner == joiner && one.table == table);
        let Some(serving) = serving else { return };
        if serving.served.as_ref().is_none_or(|(of, _)| *of != part) {
            let Some(wanted) = serving.wanted(part) else { return };
            serving.served = Some((part, self.serve_rows(table, wanted, upto)));
        }
        let Some((_, served)) = &mut serving.served else { return };
        let Some((rows, last)) = self.chunk(table, served, chunk) else { return };
        if last && served.is_held() {
            // On an ordered stream it arrives, or the joiner is gone. Should it ask once more they are taken together again.
            serving.served = None;
        }
        let last = last.then_some(serving.digest);
        if last.is_some() {
            self.send_carried(era, joiner, table, turn);
        }
        self.answer_copy(era, joiner, table, CopyStep::Chunk(CopyChunk { part, chunk, rows, last }), turn);
    }

    pub(super) fn send_digests(
        &self,
        era: &Era,
        joiner: usize,
        table: TableId,
        from: u32,
        turn: &mut Turn<'_>,
    ) {
        let leaves = self.serving(era, joiner, table).and_then(|serving| serving.leaves.as_ref());
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
        let count = serving.leaves.as_ref().map(Leaves::count);
        let Some(differ) = count.and_then(|count| LeafSet::of_bits(count, bits)) else { return };
        if serving.differ.as_ref() != Some(&differ) {
            (serving.differ, serving.served) = (Some(differ), None);
        }
        self.send_chunk(era, joiner, table, Part::Leaves, 0, turn);
    }
}
