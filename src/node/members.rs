//! Members that leave: drained, so that nothing is on its way to them any more, and removed for good. Whoever leads the control
//! plane decides; this node asks it until what it was asked for is so. Each step is safe to be asked for again.

use std::time::{Duration, Instant};

use hypermnesia_replication::register::{Change, Register};
use hypermnesia_store::{NodeId, TableDef};

use super::Node;
use super::copies::counting_anew;
use crate::error::{Error, Result};
use crate::limits::TICK;
use crate::request;
use crate::schema::{redefine, redefine_system};
use crate::wait::{Answer, deadline_in};

impl Node {
    /// Takes a member out of the epochs in good order, and keeps it out: what is under way ends, then it takes part in no
    /// transaction and serves nothing, until [`Node::undrain_member`]. It stays a member, and votes. Returns when the others go
    /// on without it. Writes wait for that for a moment and do not fail.
    ///
    /// # Errors
    /// [`Error::NoSuchMember`]; [`Error::Config`] for this node itself (ask another one), and where the cluster has no other member;
    /// [`Error::DeadlineExceeded`] when it has not happened in time: it may happen yet, and asking again is safe.
    pub fn drain_member(&self, name: &str, time: Duration) -> Result<()> {
        let (deadline, node) = (deadline_in(time), self.other_member(name)?);
        self.settle_change(deadline, &Change::Drain(node), |register| {
            let named = |epoch: &hypermnesia_replication::register::Agreed| {
                epoch.members.iter().any(|member| member.node == node)
            };
            let is_draining = register.enlisted(node).is_none_or(|one| one.draining);
            let epochs = register.latest().into_iter().chain(register.opened());
            is_draining && !epochs.into_iter().any(named)
        })
    }

    /// Lets a drained member take part again. It loads what has changed and is a member of the next epoch.
    ///
    /// # Errors
    /// As [`Node::drain_member`].
    pub fn undrain_member(&self, name: &str, time: Duration) -> Result<()> {
        let (deadline, node) = (deadline_in(time), self.known_member(name)?);
        self.settle_change(deadline, &Change::Undrain(node), |register| {
            register.enlisted(node).is_none_or(|one| !one.draining)
        })
    }

    /// Removes a member for good, whether it is there or not: it is drained, its copies of tables are taken out of their
    /// definitions, and it votes no more. A process of it that still runs ends. What it had on disc stays where it is; to have it
    /// back, start it with an empty data directory and [`NodeBuilder::join`](crate::NodeBuilder::join).
    ///
    /// # Errors
    /// [`Error::LastCopy`] where it has the only copy of a table, [`Error::Unavailable`] where one that it has a copy of is not served
    /// now: nothing changed. Otherwise as [`Node::drain_member`]; what was
    /// done by then stays done, and asking again goes on from there.
    pub fn remove_member(&self, name: &str, time: Duration) -> Result<()> {
        let (deadline, node) = (deadline_in(time), self.other_member(name)?);
        let held = |def: &TableDef| def.copy_on(node).is_some() && !def.is_system();
        let tables: Vec<TableDef> = self.tables().into_iter().filter(|def| held(def)).collect();
        // A copy that is still being made is none yet.
        let is_last = |def: &&TableDef| !def.local && !self.core.replica.has_other_copy(def.id, node);
        let only: Vec<String> = tables
            .iter()
            .filter(|def| def.copies.len() == 1 || self.core.check_served(def).is_ok() && is_last(def))
            .map(|def| def.name.clone())
            .collect();
        if !only.is_empty() {
            return Err(Error::LastCopy { member: name.to_owned(), tables: only.join(", ") });
        }
        // Its copy may be the good one that is waited for.
        tables.iter().try_for_each(|def| self.core.check_served(def))?;
        self.keep_requests(node, deadline)?;
        self.drain_member(name, deadline.saturating_duration_since(Instant::now()))?;
        for table in tables {
            let left = deadline.saturating_duration_since(Instant::now());
            match redefine(&self.core, &table.name, left, |_, _, def| without_copy(def, node, name)) {
                // Dropped meanwhile.
                Ok(()) | Err(Error::NoSuchTable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_copy_of_requests(node, name, deadline)?;
        self.settle_change(deadline, &Change::Strike(node), |register| register.enlisted(node).is_none())
    }

    /// Where others are to have what it alone knew, and it was lost before they had, they begin without.
    fn forget_copy_of_requests(&self, node: NodeId, name: &str, deadline: Instant) -> Result<()> {
        let shared = |def: &TableDef| def.copy_on(node).is_some() && def.copies.len() > 1;
        let table = self.core.store.table_named(request::TABLE);
        if !table.is_some_and(|open| shared(open.def())) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        redefine_system(&self.core, request::TABLE, left, |_, _, def| {
            let served = self.core.check_served(&def).is_ok();
            let def = without_copy(def, node, name)?;
            // A later epoch finds that nobody has it whom one could wait for.
            Ok(if served { def } else { counting_anew(&self.core, def) })
        })
    }

    pub(super) fn known_member(&self, name: &str) -> Result<NodeId> {
        let known = self.core.members().find(|member| member.name == name).map(|member| member.node);
        known.ok_or_else(|| Error::NoSuchMember {
            name: name.to_owned(),
            members: self.core.members().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    pub(super) fn other_member(&self, name: &str) -> Result<NodeId> {
        let node = self.known_member(name)?;
        if self.core.members().count() == 1 {
            return Err(Error::Config(format!("{name} is the only member: to end the cluster, stop it")));
        }
        if node == self.core.me.node {
            return Err(Error::Config(format!(
                "a member does not take itself out: ask another one than {name}"
            )));
        }
        Ok(node)
    }

    /// Has whoever leads agree on a change, until that is so as far as this node knows.
    fn settle_change(
        &self,
        deadline: Instant,
        change: &Change,
        is_so: impl Fn(&Register) -> bool,
    ) -> Result<()> {
        let mut asked: Option<Instant> = None;
        loop {
            self.core.check_open()?;
            let control = self.core.control().ok_or(Error::NotReady { waits_for: self.core.waits_for() })?;
            let register = control.register();
            if register.cluster().is_some() && is_so(&register) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::DeadlineExceeded);
            }
            if asked.is_none_or(|asked| asked.elapsed() > self.core.membership.timing.heartbeat * 2) {
                asked = Some(Instant::now());
                control.want(&self.core, change);
            }
            Answer::<()>::new().wait((Instant::now() + TICK).min(deadline));
        }
    }
}

fn without_copy(mut def: TableDef, node: NodeId, name: &str) -> Result<TableDef> {
    def.copies.retain(|copy| copy.node != node);
    if def.copies.is_empty() {
        return Err(Error::LastCopy { member: name.to_owned(), tables: def.name });
    }
    def.version = def.version.next();
    Ok(def)
}
