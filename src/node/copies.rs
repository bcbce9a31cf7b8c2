//! Copies of tables that come, go and move while the tables are used. A copy that comes is in the definition from one epoch on in which
//! all members know of it; whoever leads the control plane has that epoch agreed on with the same members. Its member loads the rows
//! then, and takes part in every write from the same moment on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hypermnesia_store::{NodeId, Storage, Table as Open, TableCopy, TableDef};

use super::Node;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits::TICK;
use crate::request;
use crate::schema::{check, redefine, redefine_system};
use crate::wait::{Answer, deadline_in};

/// Copies of tables, one by one.
impl Node {
    /// Gives a member a copy of a table, and returns when that member has all rows and serves it. Reads and writes of the table go on
    /// meanwhile; they wait for a moment while the epoch changes. Where the member has such a copy already it is only waited for.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use hypermnesia::{Node, Storage};
    /// # fn main() -> Result<(), hypermnesia::Error> {
    /// # let node = Node::builder().build()?;
    /// node.add_copy("people", "n4", Storage::Disc, Duration::from_secs(60))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchMember`], [`Error::SystemTable`]; [`Error::Config`] for a local table, for a member that keeps a
    /// copy in another way, and where this node is alone; [`Error::Unavailable`] where the member has no data directory for a copy on
    /// disc, or is not there: nothing changed. [`Error::DeadlineExceeded`] when it is not there in time: it is
    /// still being made, and asking again waits for it.
    pub fn add_copy(&self, table: &str, member: &str, storage: Storage, time: Duration) -> Result<()> {
        let (deadline, node) = (deadline_in(time), self.known_member(member)?);
        self.check_takes_part(node, member)?;
        let known = |def: &TableDef| def.copy_on(node).copied();
        let def = self.shared_definition(table)?;
        match known(&def) {
            Some(copy) if copy.storage == storage => {}
            Some(_) => return Err(kept_otherwise(table, member)),
            None => redefine(&self.core, table, left(deadline), |_, _, mut def| {
                if known(&def).is_some() {
                    return Err(Error::Config(format!(
                        "table {table:?} has just been given a copy on {member}"
                    )));
                }
                def = with_copies(&self.core, def, &[node], storage);
                check(&self.core, &def)?;
                Ok(def)
            })?,
        }
        self.wait_for_copy(table, node, deadline)
    }

    /// Takes the copy of a table away that a member keeps. Reads and writes of the table go on; on that member it is read from others.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`], [`Error::NoSuchMember`], [`Error::SystemTable`]; [`Error::Config`] for a local table, or where the member
    /// keeps none; [`Error::LastCopy`] where no other copy of it is there and complete. Nothing changed. Otherwise as
    /// [`Node::create_table`].
    pub fn drop_copy(&self, table: &str, member: &str, time: Duration) -> Result<()> {
        let node = self.known_member(member)?;
        self.shared_definition(table)?;
        redefine(&self.core, table, time, |_, _, mut def| {
            if def.copy_on(node).is_none() {
                return Err(Error::Config(format!("table {table:?} has no copy on {member}")));
            }
            if !self.core.replica.has_other_copy(def.id, node) {
                return Err(Error::LastCopy { member: member.to_owned(), tables: def.name });
            }
            def.copies.retain(|copy| copy.node != node);
            def.coming.retain(|(coming, _)| *coming != node);
            def.version = def.version.next();
            Ok(def)
        })
    }

    /// Moves the copy of a table from one member to another one, where it is kept in the same way: [`Node::add_copy`], then
    /// [`Node::drop_copy`].
    ///
    /// # Errors
    /// As there. What was done by then stays done, and asking again goes on from there.
    pub fn move_copy(&self, table: &str, from: &str, to: &str, time: Duration) -> Result<()> {
        let (deadline, node) = (deadline_in(time), self.known_member(from)?);
        let def = self.shared_definition(table)?;
        let Some(copy) = def.copy_on(node) else {
            return Err(Error::Config(format!("table {table:?} has no copy on {from}")));
        };
        if from == to {
            return Ok(());
        }
        self.add_copy(table, to, copy.storage, left(deadline))?;
        self.drop_copy(table, from, left(deadline))
    }

    /// Puts a member in the place of another one, there or not: it gets a copy of every table of which that one keeps one, kept in the same
    /// way, and that one is removed ([`Node::remove_member`]).
    ///
    /// # Errors
    /// As [`Node::add_copy`] and [`Node::remove_member`]. What was done by then stays done, and asking again goes on from there.
    pub fn replace_member(&self, name: &str, by: &str, time: Duration) -> Result<()> {
        let (deadline, node, other) = (deadline_in(time), self.other_member(name)?, self.known_member(by)?);
        if node == other {
            return Err(Error::Config(format!("{name} does not take its own place")));
        }
        for def in self.tables().into_iter().filter(|def| !def.is_system() && !def.local) {
            // One that it has by its definition may still be loading: it is waited for.
            let kept = def.copy_on(other).map(|copy| copy.storage);
            if let Some(copy) = def.copy_on(node) {
                self.add_copy(&def.name, by, kept.unwrap_or(copy.storage), left(deadline))?;
            }
        }
        self.remove_member(name, left(deadline))
    }

    /// What was asked for by id is not forgotten with a member that alone knows it: the others get copies of that before.
    pub(super) fn keep_requests(&self, node: NodeId, deadline: Instant) -> Result<()> {
        let status = self.status();
        let here: Vec<NodeId> = (status.members.iter().filter(|one| one.connected && one.in_epoch))
            .filter_map(|one| self.known_member(&one.name).ok())
            .chain([self.core.me.node])
            .collect();
        // Who is away gives no copies any more, and where nobody has it who is there nothing is left to be kept.
        let known = || self.core.store.table_named(request::TABLE).filter(|_| here.contains(&node));
        let alone = |open: &Arc<Open>| {
            let def = open.def();
            let others_have = || self.core.replica.has_other_copy(def.id, node);
            def.copy_on(node).is_some() && !others_have() && self.core.check_served(def).is_ok()
        };
        let Some(table) = known().filter(alone) else { return Ok(()) };
        let lacks = |one: &NodeId| *one != node && table.def().copy_on(*one).is_none();
        let others: Vec<NodeId> = here.iter().copied().filter(lacks).collect();
        if !others.is_empty() {
            redefine_system(&self.core, request::TABLE, left(deadline), |_, _, def| {
                let lack: Vec<NodeId> =
                    others.iter().copied().filter(|one| def.copy_on(*one).is_none()).collect();
                Ok(with_copies(&self.core, def, &lack, Storage::Disc))
            })?;
        }
        while known().is_some_and(|open| alone(&open)) {
            if Instant::now() >= deadline {
                return Err(Error::DeadlineExceeded);
            }
            self.core.check_open()?;
            Answer::<()>::new().wait((Instant::now() + TICK).min(deadline));
        }
        Ok(())
    }

    fn shared_definition(&self, table: &str) -> Result<TableDef> {
        let def = self.dyn_table(table)?.definition()?;
        if def.is_system() {
            return Err(Error::SystemTable { table: table.to_owned() });
        }
        if def.local {
            return Err(Error::Config(format!(
                "table {table:?} is local: every member has rows of its own, and no copies"
            )));
        }
        Ok(def)
    }

    /// A member that is away would keep the copy from being made, and one that is drained as well.
    fn check_takes_part(&self, node: NodeId, member: &str) -> Result<()> {
        if self.core.is_alone() {
            return Err(Error::Config("this node is alone: there is no member to give a copy to".to_owned()));
        }
        let status = self.status();
        let takes_part =
            |one: &crate::status::MemberStatus| one.name == member && one.connected && one.in_epoch;
        if node == self.core.me.node || status.members.iter().any(takes_part) {
            return Ok(());
        }
        let why = "is not there, or drained: it takes part in nothing now".to_owned();
        Err(Error::Unavailable { member: member.to_owned(), why })
    }

    /// Until a member has all of a table.
    fn wait_for_copy(&self, table: &str, node: NodeId, deadline: Instant) -> Result<()> {
        loop {
            self.core.check_open()?;
            let def = self.shared_definition(table)?;
            if def.copy_on(node).is_none() {
                return Err(Error::Config(format!("the copy of table {table:?} was taken away again")));
            }
            if self.core.replica.is_copied(&def, node) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::DeadlineExceeded);
            }
            Answer::<()>::new().wait((Instant::now() + TICK).min(deadline));
        }
    }
}

/// A definition with copies on these members too, from the epoch on in which they can count.
fn with_copies(core: &Core, mut def: TableDef, nodes: &[NodeId], storage: Storage) -> TableDef {
    let epoch = core.replica.copies_count_from();
    def.coming.retain(|(coming, since)| !nodes.contains(coming) && *since > epoch - 2);
    for &node in nodes {
        def.coming.push((node, epoch));
        def.copies.push(TableCopy { node, storage });
    }
    def.version = def.version.next();
    def
}

/// A definition whose copies all count from a later epoch on: until then the table is served by nobody.
pub(super) fn counting_anew(core: &Core, mut def: TableDef) -> TableDef {
    let epoch = core.replica.copies_count_from();
    def.coming = def.copies.iter().map(|copy| (copy.node, epoch)).collect();
    def
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn kept_otherwise(table: &str, member: &str) -> Error {
    Error::Config(format!(
        "{member} keeps a copy of table {table:?} already, in another way: drop that copy first, then add it as it is to be"
    ))
}
