//! What differs between a joiner's copy and its source's comes alone: rows that the joiner cannot have, or, where that was not
//! all, the rows of the leaves whose digests differ. Each row is put, or taken away, and the digests of the joiner's leaves follow
//! from what its table says before and after. So they tell in the end whether the two are equal.
//!
//! What goes, goes by a deletion right behind its own version. Whatever the chain has written under that key since is newer,
//! whether it comes now, in another copy, or as the outcome of a transaction that is still in doubt.

use std::ops::ControlFlow;

use hypermnesia_store::{Body, Key, LeafSet, Table, TableId, Timestamp};

use super::joiner::{Incoming, Stage};
use super::reading::Needs;
use super::survey::Survey;
use super::{CopyRows, SCHEMA_TABLE};
use crate::effect::Event;
use crate::era::Era;
use crate::limits::LEAVES_SHARE_MAX;
use crate::message::{CopyStep, Part};
use crate::own::Replaced;
use crate::replica::{Replica, Turn};

/// Digests of leaves are being compared.
#[derive(Debug)]
pub(super) struct Comparing {
    /// The first that is awaited.
    pub(super) from: u32,
    differ: LeafSet,
}

/// The rows of leaves that differ are coming.
#[derive(Debug)]
pub(super) struct Differing {
    /// The chunk that is awaited.
    pub(super) chunk: u64,
    leaves: LeafSet,
    /// The last key that came; the next one has only greater ones.
    behind: Option<Key>,
    /// Up to here what did not come has been taken away; the same or further.
    passed: Option<Key>,
    keys: Keys,
}

/// The keys that this node has in leaves that differ.
#[derive(Debug)]
enum Keys {
    /// Still to be read.
    Unread,
    /// In order.
    Held(Vec<Key>),
    /// Its table has an order of its own to be read in.
    InTable,
}

/// What a key is to hold: a row since then, or none.
type Wanted = (Key, Option<(Timestamp, Body)>);

impl Comparing {
    fn new(own: &Survey) -> Comparing {
        Comparing { from: 0, differ: LeafSet::none(own.leaves.count()) }
    }

    /// Takes the digests that were awaited. False for more than there are, or none.
    fn take(&mut self, own: &Survey, digests: &[u64]) -> bool {
        let own = &own.leaves.digests()[self.from as usize..];
        if digests.is_empty() || digests.len() > own.len() {
            return false;
        }
        for (at, _) in digests.iter().zip(own).enumerate().filter(|(_, (theirs, own))| theirs != own) {
            self.differ.insert(self.from as usize + at);
        }
        self.from += digests.len() as u32;
        true
    }
}

impl Differing {
    pub(super) fn needs(&self) -> Option<Needs> {
        matches!(self.keys, Keys::Unread).then(|| Needs::Keys(self.leaves.clone()))
    }

    pub(super) fn take_keys(&mut self, keys: Vec<Key>) -> bool {
        let awaited = matches!(self.keys, Keys::Unread);
        if awaited {
            self.keys = Keys::Held(keys);
        }
        awaited
    }

    pub(super) fn question(&self) -> CopyStep {
        match self.chunk {
            0 => CopyStep::Differ { leaves: self.leaves.bits().to_vec() },
            chunk => CopyStep::Next { part: Part::Leaves, chunk },
        }
    }

    /// Whether these are rows of its leaves, behind those that came, in order, and some unless they are the last.
    fn fits(&self, rows: &CopyRows, last: bool) -> bool {
        let behind = self.behind.as_ref();
        rows.is_sorted_by(|(a, ..), (b, ..)| a < b)
            && rows.first().is_none_or(|(first, ..)| behind.is_none_or(|behind| behind < first))
            && rows.iter().all(|(key, ..)| self.leaves.covers(key))
            && (last || !rows.is_empty())
    }
}

impl Replica {
    /// The awaited chunk of rows that this node cannot have.
    pub(super) fn on_newer(&self, era: &mut Era, rows: CopyRows, last: Option<u64>, turn: &mut Turn<'_>) {
        let incoming = self.incoming(era);
        let came = rows.len() as u64;
        if !self.put(incoming, rows.into_iter().map(wanted), turn) {
            return;
        }
        incoming.rows += came;
        if let Stage::Newer { chunk } = &mut incoming.stage {
            *chunk += 1;
        }
        match last {
            None => self.ask_first(era, turn),
            Some(digest) if self.is_equal(incoming, digest) => self.loaded_current(era, turn),
            Some(_) if incoming.is_ahead => self.ask_for_all(era, turn),
            Some(_) => {
                if let Some(own) = &incoming.own {
                    incoming.stage = Stage::Comparing(Comparing::new(own));
                }
                self.ask_first(era, turn);
            }
        }
    }

    pub(super) fn on_digests(&self, era: &mut Era, from: u32, digests: &[u64], turn: &mut Turn<'_>) {
        let incoming = self.incoming(era);
        let Some(own) = &incoming.own else { return };
        if matches!(incoming.stage, Stage::Asked) && incoming.table != SCHEMA_TABLE {
            incoming.stage = Stage::Comparing(Comparing::new(own));
        }
        let Stage::Comparing(comparing) = &mut incoming.stage else { return };
        if comparing.from != from {
            return;
        }
        if !comparing.take(own, digests) {
            return self.ask_for_all(era, turn);
        }
        self.count_copied(size_of_val(digests));
        let count = own.leaves.count().get();
        if comparing.from < count {
            return self.ask_first(era, turn);
        }
        let differ = comparing.differ.len();
        // None differ, and all of them together do: somebody has added up wrong.
        if differ == 0 || differ * LEAVES_SHARE_MAX.1 > count * LEAVES_SHARE_MAX.0 {
            return self.ask_for_all(era, turn);
        }
        let leaves = comparing.differ.clone();
        let is_read = self.store.table(incoming.table).is_some_and(|open| open.is_on_disc_alone());
        let keys = if is_read { Keys::InTable } else { Keys::Unread };
        incoming.stage = Stage::Leaves(Differing { chunk: 0, leaves, behind: None, passed: None, keys });
        self.ask_first(era, turn);
    }

    /// The awaited chunk of rows of leaves that differ.
    pub(super) fn on_leaves(&self, era: &mut Era, rows: CopyRows, last: Option<u64>, turn: &mut Turn<'_>) {
        let incoming = self.incoming(era);
        let Stage::Leaves(differing) = &incoming.stage else { return };
        if !differing.fits(&rows, last.is_some()) {
            return self.ask_for_all(era, turn);
        }
        let end = rows.last().map(|(key, ..)| key.clone());
        let upto = end.as_ref().filter(|_| last.is_none());
        let came = rows.len() as u64;
        let put = self.take_away(incoming, upto, &rows, turn)
            && self.put(incoming, rows.into_iter().map(wanted), turn);
        if !put {
            return;
        }
        incoming.rows += came;
        if let Stage::Leaves(differing) = &mut incoming.stage {
            differing.chunk += 1;
            (differing.behind, differing.passed) = (end.clone(), end);
        }
        match last {
            None => self.ask_first(era, turn),
            Some(digest) if self.is_equal(incoming, digest) => self.loaded_current(era, turn),
            Some(_) => {
                if !incoming.is_ahead {
                    turn.event(Event::CopyDiffers { table: incoming.table });
                }
                self.ask_for_all(era, turn);
            }
        }
    }

    /// Whether what is here is what the source has.
    fn is_equal(&self, incoming: &Incoming, digest: u64) -> bool {
        let own = incoming.own.as_ref().map(|own| own.leaves.whole());
        debug_assert!(
            self.survey(incoming.table).is_none_or(|read| Some(read.leaves.whole()) == own),
            "the digests of its leaves are not those of its rows"
        );
        own == Some(digest)
    }

    /// Takes away what this node has in the leaves that differ, up to a key, and did not come. False where it cannot be done now.
    fn take_away(
        &self,
        incoming: &mut Incoming,
        upto: Option<&Key>,
        came: &CopyRows,
        turn: &mut Turn<'_>,
    ) -> bool {
        loop {
            let Stage::Leaves(differing) = &incoming.stage else { return false };
            let Some(keys) = self.next_keys(incoming.table, differing, upto) else { return false };
            let Some(end) = keys.last().cloned() else { return true };
            let has_come = |key: &Key| came.binary_search_by(|(one, ..)| one.cmp(key)).is_ok();
            let gone = keys.into_iter().filter(|key| !has_come(key)).map(|key| (key, None));
            if !self.put(incoming, gone, turn) {
                return false;
            }
            if let Stage::Leaves(differing) = &mut incoming.stage {
                differing.passed = Some(end);
            }
        }
    }

    /// The next keys that this node has in these leaves, up to a key: none when there are no more, and nothing where a row
    /// cannot be read.
    fn next_keys(&self, table: TableId, differing: &Differing, upto: Option<&Key>) -> Option<Vec<Key>> {
        let is_beyond = |key: &Key| upto.is_some_and(|upto| key > upto);
        if let Keys::Held(keys) = &differing.keys {
            let first =
                differing.passed.as_ref().map_or(0, |passed| keys.partition_point(|key| key <= passed));
            let next = keys[first..].iter().take_while(|key| !is_beyond(key));
            return Some(next.take(self.copy.chunk_rows).cloned().collect());
        }
        let mut next = Vec::new();
        let read = self.store.table(table)?.visit_stored_behind(
            differing.passed.as_ref(),
            Timestamp::MAX,
            |key, _, _| {
                if is_beyond(key) || next.len() == self.copy.chunk_rows {
                    return ControlFlow::Break(());
                }
                next.extend(differing.leaves.covers(key).then(|| key.clone()));
                ControlFlow::Continue(())
            },
        );
        read.ok().map(|()| next)
    }

    /// The keys of a table in memory that belong to some leaves, in order.
    pub(super) fn held_keys(&self, table: TableId, leaves: &LeafSet) -> Vec<Key> {
        let rows = self.newest_rows(table, |key, _| leaves.covers(key));
        rows.into_iter().map(|(key, ..)| key).collect()
    }

    /// Brings keys to what they are to hold, and into the log what that changed. False where one cannot be read or written now;
    /// those before it are done, and doing them again changes nothing.
    fn put(
        &self,
        incoming: &mut Incoming,
        wanted: impl Iterator<Item = Wanted>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let table = incoming.table;
        let Some(open) = self.store.table(table) else { return false };
        let (mut changed, mut all) = (Vec::new(), true);
        for (key, wanted) in wanted {
            match self.put_one(&open, incoming, key, wanted) {
                Some(change) => changed.extend(change),
                None => {
                    all = false;
                    break;
                }
            }
        }
        if !changed.is_empty() {
            self.log_loaded(table, false, changed, turn);
        }
        all
    }

    /// One of them: gives the change, if it is one. Nothing where it cannot be read or written now.
    fn put_one(
        &self,
        open: &Table,
        incoming: &mut Incoming,
        key: Key,
        wanted: Option<(Timestamp, Body)>,
    ) -> Option<Option<(Key, Timestamp, Option<Body>)>> {
        let before = open.newest_stored(&key).ok()?;
        let (at, body) = match (wanted, &before) {
            (None, None) => return Some(None),
            (None, Some((_, at))) => (self.store.unload_row(incoming.table, &key, *at).ok()?, None),
            (Some((at, body)), Some((own, own_at))) if at == *own_at && body == *own => return Some(None),
            (Some((at, body)), _) => {
                self.store.load_row(incoming.table, &key, at, Some(body.clone())).ok()?;
                (at, Some(body))
            }
        };
        let after = open.newest_stored(&key).ok()?;
        if after.as_ref().map(|(body, at)| (body, *at)) != body.as_ref().map(|body| (body, at)) {
            incoming.is_ahead = true;
            return Some(None);
        }
        if let Some(own) = &mut incoming.own {
            before.iter().for_each(|(body, at)| own.leaves.remove(&key, body, *at));
            after.iter().for_each(|(body, at)| own.leaves.add(&key, body, *at));
        }
        let replaced = before.is_some_and(|(own, _)| Some(&own) != body.as_ref());
        incoming.replaced.add(Replaced { rows: u64::from(replaced), newer: 0 });
        Some(Some((key, at, body)))
    }
}

fn wanted((key, at, body): (Key, Timestamp, Body)) -> Wanted {
    (key, Some((at, body)))
}
