//! Who holds what a transaction touches: which members have copies of a table, whether this one is alone with it, who has to
//! log, and which part of a transaction concerns whom.

use std::sync::Arc;

use hypermnesia_store::{Ack, NodeId, Storage, TableDef, TableId, Work, schema_key};

use crate::catchup::SCHEMA_TABLE;
use crate::effect::Event;
use crate::era::Era;
use crate::member::NodeSet;
use crate::replica::{Replica, Turn};
use crate::shard::Logging;

impl Replica {
    /// Whether no other member has a copy of a table, and no log waits for what is written to it.
    pub fn is_alone_with(&self, def: &TableDef) -> bool {
        let here = NodeSet::only(self.at);
        let copies = self.copies_by(def, |_| true);
        let holders = if def.local { copies.common(here) } else { copies };
        let is_logged = || self.durable && !self.copies_by(def, Storage::is_on_disc).is_empty();
        !def.is_system() && holders == here && !is_logged()
    }

    /// The same for all that a transaction touches.
    pub(crate) fn is_alone_in(&self, work: &Work) -> bool {
        let alone = |table| self.store.table(table).is_some_and(|table| self.is_alone_with(table.def()));
        let mut last = None;
        let mut tables = (work.reads.iter().map(|note| note.table))
            .chain(work.ranges.iter().map(|note| note.table))
            .chain(work.writes.iter().map(|write| write.table));
        tables.all(|table| last.replace(table) == Some(table) || alone(table))
    }

    /// Each touched table and its holders among the members of the entered epoch.
    pub(crate) fn holders(&self, era: &Era, work: &Work) -> Vec<(TableId, NodeSet)> {
        tables_of(work).into_iter().map(|table| (table, self.holders_of(era, table))).collect()
    }

    /// Each touched table and who has a copy of it, there or not: for what was prepared in an epoch that is over. Who was not in
    /// that one does not speak for the table now.
    pub(crate) fn holders_in_any(&self, work: &Work) -> Vec<(TableId, NodeSet)> {
        tables_of(work).into_iter().map(|table| (table, self.copies_of(table))).collect()
    }

    /// The members of the entered epoch with a copy of a table that counts in it: all of them for the schema, and for what is not
    /// known here (they will say so). None when all its copies are on others.
    pub(crate) fn holders_of(&self, era: &Era, table: TableId) -> NodeSet {
        if self.is_local(table) {
            return self.copies_of(table).common(NodeSet::only(self.at));
        }
        self.copies_in(table, era.number()).common(era.present())
    }

    /// The members with a copy of a table that counts in an epoch, whether they take part or not.
    pub(crate) fn copies_in(&self, table: TableId, epoch: u64) -> NodeSet {
        let copies = self.copies_of(table);
        let Some(open) = self.store.table(table).filter(|open| !open.def().coming.is_empty()) else {
            return copies;
        };
        let counts = |slot: &usize| open.def().counts(self.slots.node(*slot), epoch);
        copies.iter().filter(counts).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Whether this node has a copy of a table that counts in an epoch.
    pub(crate) fn has_copy_in(&self, table: TableId, epoch: u64) -> bool {
        self.copies_in(table, epoch).has(self.at)
    }

    /// Whether copies have been added that count from a later epoch on than the one that is open, which is to come therefore.
    pub fn awaits_epoch(&self) -> bool {
        let era = self.shared();
        let comes = |def: &TableDef| def.coming.iter().any(|(_, since)| *since > era.number());
        era.is_open() && era.complete && self.store.tables().iter().any(|table| comes(table.def()))
    }

    /// From which epoch on a copy can count that is added now. The change of the definition may be settled in the flush that leads to
    /// the next one, in which everybody has said before what it has.
    pub fn copies_count_from(&self) -> u64 {
        self.shared().number() + 2
    }

    /// Whether a member that takes part has all of a table, as far as this one has heard.
    pub fn is_copied(&self, def: &TableDef, node: NodeId) -> bool {
        let era = self.shared();
        let is_ready = |at: usize| era.peers[at].ready == era.number();
        era.is_open()
            && def.counts(node, era.number())
            && self.slots.position_of(node).is_some_and(|at| era.present().has(at) && is_ready(at))
    }

    /// Whether another member than this one takes part with a copy that has all of the table.
    pub fn has_other_copy(&self, table: TableId, node: NodeId) -> bool {
        let era = self.shared();
        let others = self.holders_of(&era, table).iter().filter(|at| self.slots.node(*at) != node);
        era.is_open() && era.serves(table) && { others }.any(|at| era.peers[at].ready == era.number())
    }

    /// Takes the rows away of tables of which this node keeps no copy any more, when no snapshot of before is alive: whoever took
    /// one later has met the definition that says so. Who listens to them hears that nothing comes any more.
    pub(crate) fn drop_what_is_kept_no_longer(&self, turn: &mut Turn<'_>) {
        for table in self.store.tables() {
            let (id, def) = (table.id(), table.def());
            let gone = !def.is_system() && !def.local && def.copy_on(self.me.node).is_none();
            if !gone || self.is_under_way(id) {
                continue;
            }
            table.end_events();
            if !table.is_empty() && self.is_read_no_longer(id) && self.store.clear(id).is_ok() {
                turn.event(Event::CopyDropped { table: id });
            }
        }
    }

    /// Whether nobody can read a table by its definition of before.
    fn is_read_no_longer(&self, table: TableId) -> bool {
        let agreed = self.store.table(SCHEMA_TABLE).map(|schema| schema.newest(&schema_key(table)));
        match agreed {
            Some(Ok(Some((_, at)))) => self.store.oldest_snapshot() >= at,
            _ => false,
        }
    }

    /// Whether a copy of this definition that is to be here counts by now.
    pub fn counts_here(&self, def: &TableDef) -> bool {
        def.coming.is_empty() || def.counts(self.me.node, self.shared().number())
    }

    /// The members with a copy of a table by its definition, whether they take part or not.
    pub(crate) fn copies_of(&self, table: TableId) -> NodeSet {
        if table == SCHEMA_TABLE || self.store.table(table).is_none() {
            return self.slots.here();
        }
        self.copies_where(table, |_| true)
    }

    /// Whether this node's copy of a table is kept on disc.
    pub(crate) fn is_on_disc_here(&self, table: TableId) -> bool {
        table == SCHEMA_TABLE || self.copies_where(table, Storage::is_on_disc).has(self.at)
    }

    /// Whether each member has rows of its own in the table.
    pub(crate) fn is_local(&self, table: TableId) -> bool {
        self.store.table(table).is_some_and(|open| open.def().local)
    }

    /// The members whose copy of a table is kept in a certain way.
    pub(crate) fn copies_where(&self, table: TableId, wanted: impl Fn(Storage) -> bool) -> NodeSet {
        self.store.table(table).map_or(NodeSet::EMPTY, |table| self.copies_by(table.def(), wanted))
    }

    fn copies_by(&self, def: &TableDef, wanted: impl Fn(Storage) -> bool) -> NodeSet {
        let kept = def.copies.iter().filter(|copy| wanted(copy.storage));
        kept.filter_map(|copy| self.slots.position_of(copy.node)).fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Logged on every member with a log as soon as one touched table is kept on disc anywhere: after a restart of all,
    /// the members with logs are the ones that decide.
    pub(crate) fn logging(&self, holders: &[(TableId, NodeSet)], level: Ack) -> Logging {
        let on_disc = |table: TableId| {
            table == SCHEMA_TABLE || !self.copies_where(table, Storage::is_on_disc).is_empty()
        };
        Logging { on: self.durable && holders.iter().any(|(table, _)| on_disc(*table)), level }
    }

    /// The same for what a transaction does: what writes nothing leaves nothing to be found after a restart.
    pub(crate) fn logging_of(&self, work: &Work, holders: &[(TableId, NodeSet)], level: Ack) -> Logging {
        let logging = self.logging(holders, level);
        Logging { on: logging.on && !work.writes.is_empty(), ..logging }
    }

    /// The part of a transaction that concerns the tables of this node that are loaded: nearly always the whole.
    pub(crate) fn part_held_here(
        &self,
        era: &Era,
        work: &Arc<Work>,
        holders: &[(TableId, NodeSet)],
    ) -> Arc<Work> {
        let here =
            |(table, holders): &(TableId, NodeSet)| holders.has(self.at) && !self.is_behind_with(era, *table);
        if holders.iter().all(here) {
            return Arc::clone(work);
        }
        part_of(work, |table| holders.iter().any(|one| one.0 == table && here(one)))
    }

    /// What goes to other members: all but what concerns local tables, which never leaves this node.
    pub(crate) fn shared_part(&self, work: &Arc<Work>) -> Arc<Work> {
        if !work.schema.iter().any(|(table, _)| self.is_local(*table)) {
            return Arc::clone(work);
        }
        part_of(work, |table| !self.is_local(table))
    }
}

/// The tables that a transaction touches.
fn tables_of(work: &Work) -> Vec<TableId> {
    let reads = work.reads.iter().map(|note| note.table);
    let ranges = work.ranges.iter().map(|note| note.table);
    let mut tables: Vec<TableId> =
        reads.chain(ranges).chain(work.writes.iter().map(|write| write.table)).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// What concerns these tables.
pub(crate) fn part_of(work: &Work, wanted: impl Fn(TableId) -> bool) -> Arc<Work> {
    let mut part = work.clone();
    part.reads.retain(|note| wanted(note.table));
    part.ranges.retain(|note| wanted(note.table));
    part.writes.retain(|write| wanted(write.table));
    part.schema.retain(|(table, _)| wanted(*table));
    Arc::new(part)
}
