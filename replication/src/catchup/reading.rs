//! Reading a table for a copy takes its time, changes nothing, and holds nobody up: it is asked of the engine
//! ([`Effect::Read`](crate::effect::Effect::Read)), done on some other thread, and comes back as an event. What is read does not change meanwhile: a source reads the
//! table as it was when the epoch opened, which it keeps until all members are ready, and nobody but the copy writes to a
//! joiner's table. In another epoch what was read counts for nothing.
//!
//! | who | reads | for |
//! |---|---|---|
//! | joiner | its own rows | what it asks its source with |
//! | joiner | its own rows | which of them go when all rows come |
//! | joiner | its own keys | which of them go in leaves that differ |
//! | source | the joiner's table | in which way it comes |
//! | source | the rows that come | their chunks |
//!
//! A table on disc alone is not read for keys and chunks: those are taken in its own order, some at a time.

use hypermnesia_store::{Key, LeafCount, LeafSet, Leaves, TableId, Timestamp};

use super::served::{Served, Wanted};
use super::source::Surveyed;
use super::survey::{Amount, Survey};
use crate::effect::{Effect, Sink};
use crate::era::Era;
use crate::message::{CopyRequest, Part};
use crate::own::Own;
use crate::replica::{Replica, Turn};
use crate::time::Now;

/// A table that is to be read: [`Replica::read`] does it, [`Replica::on_read`] takes what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    epoch: u64,
    table: TableId,
    purpose: Purpose,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Own(Needs),
    /// For this joiner, as it was at that time.
    Given {
        joiner: usize,
        upto: Timestamp,
        gives: Gives,
    },
}

/// What a joiner needs to know of its own copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Survey,
    /// What all rows are compared with.
    Rows,
    /// The keys in these leaves.
    Keys(LeafSet),
}

/// What a source needs to know of its own, for a joiner that says this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Survey(CopyRequest),
    Rows(Part, Wanted),
}

/// What was read.
#[derive(Debug)]
pub struct Read {
    reading: Reading,
    /// Nothing where a row could not be read.
    found: Option<Found>,
}

#[derive(Debug)]
enum Found {
    Survey(Survey),
    Own(Own),
    Keys(Vec<Key>),
    Surveyed(Surveyed),
    Served(Served),
}

impl Reading {
    /// Which table.
    pub fn table(&self) -> TableId {
        self.table
    }
}

impl Turn<'_> {
    pub(super) fn read_own(&mut self, epoch: u64, table: TableId, needs: Needs) {
        let reading = Reading { epoch, table, purpose: Purpose::Own(needs) };
        self.out.effect(Effect::Read(reading));
    }

    pub(super) fn read_for(
        &mut self,
        joiner: usize,
        epoch: u64,
        table: TableId,
        upto: Timestamp,
        gives: Gives,
    ) {
        let reading = Reading { epoch, table, purpose: Purpose::Given { joiner, upto, gives } };
        self.out.effect(Effect::Read(reading));
    }
}

impl Replica {
    /// Reads a table, on whatever thread; nothing else waits for it.
    pub fn read(&self, reading: Reading) -> Read {
        let table = reading.table;
        let found = match &reading.purpose {
            Purpose::Own(Needs::Survey) => self.survey(table).map(Found::Survey),
            Purpose::Own(Needs::Rows) => Some(Found::Own(self.own(table))),
            Purpose::Own(Needs::Keys(leaves)) => Some(Found::Keys(self.held_keys(table, leaves))),
            Purpose::Given { upto, gives: Gives::Survey(asked), .. } => {
                self.surveyed(table, asked, *upto).map(Found::Surveyed)
            }
            Purpose::Given { upto, gives: Gives::Rows(_, wanted), .. } => {
                Some(Found::Served(self.serve_rows(table, wanted.clone(), *upto)))
            }
        };
        Read { reading, found }
    }

    /// What was read goes on from where it was wanted.
    pub fn on_read(&self, now: Now, read: Read, out: &mut dyn Sink) {
        let mut era = self.alone();
        let mut turn = Turn { now, out, freed: Vec::new() };
        if era.is_open() && era.number() == read.reading.epoch {
            self.take_read(&mut era, read, &mut turn);
        }
        self.finish_in(&era, &mut turn);
    }

    fn take_read(&self, era: &mut Era, Read { reading, found }: Read, turn: &mut Turn<'_>) {
        let table = reading.table;
        match (reading.purpose, found) {
            (Purpose::Own(_), found) => {
                let Some(incoming) = self.incoming_of(era, table) else { return };
                incoming.reads = false;
                let taken = match found {
                    Some(Found::Survey(survey)) => incoming.take_survey(survey),
                    Some(Found::Own(own)) => incoming.take_rows(own),
                    Some(Found::Keys(keys)) => incoming.take_keys(keys),
                    // Asked for again at a later tick.
                    _ => false,
                };
                if taken {
                    self.ask_first(era, turn);
                }
            }
            (Purpose::Given { joiner, gives: Gives::Survey(asked), .. }, found) => {
                let surveyed = match found {
                    Some(Found::Surveyed(surveyed)) => Some(surveyed),
                    _ => None,
                };
                self.on_surveyed(era, joiner, table, &asked, surveyed, turn);
            }
            (Purpose::Given { joiner, gives: Gives::Rows(part, wanted), .. }, found) => {
                if let Some(Found::Served(served)) = found {
                    self.on_served(era, joiner, table, (part, wanted, served), turn);
                }
            }
        }
    }

    /// Reads the table for a joiner: how much there is, and how much of it that one cannot have. Nothing where a row cannot be read.
    fn surveyed(&self, table: TableId, asked: &CopyRequest, upto: Timestamp) -> Option<Surveyed> {
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
        Some(Surveyed { leaves: count.map(|_| leaves), digest, all, lacking })
    }
}
