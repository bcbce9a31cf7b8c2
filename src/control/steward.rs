//! What a member does for the control plane as a whole: it begins one with the others, and where it leads it founds the cluster
//! and puts new stores of votes in the place of lost ones. One step at a time, each decided anew by what is so then, and each
//! safe to be made twice: another member may lead meanwhile and do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hypermnesia_replication::register::{Answer, Change, Command, Enlisted, Enlisting, Register, Role};
use hypermnesia_store::NodeId;
use tokio::time::sleep;

use super::{Control, LOOK};
use crate::core::Core;
use crate::plane::{ChangeError, InitializeError, RaftId, View, Voter};

/// Runs until the node is closed.
pub(super) async fn run(core: Arc<Core>) {
    let Some(control) = core.control() else { return };
    let (mut views, mut register) = (control.plane.watch(), control.register.clone());
    while !core.is_closed() {
        // Whichever comes first.
        tokio::select! {
            () = sleep(LOOK) => {}
            () = control.news.notified() => {}
            _ = views.changed() => {}
            _ = register.changed() => {}
        }
        Steward { core: &core, control }.step().await;
    }
}

struct Steward<'a> {
    core: &'a Core,
    control: &'a Control,
}

/// A voter whose store is another one than the cluster knows.
struct Lost {
    slot: Enlisted,
    new: RaftId,
}

impl Steward<'_> {
    async fn step(&self) {
        let view = self.control.view();
        if view.stopped.is_some() {
            return;
        }
        if view.voters.is_empty() {
            return self.begin(&view).await;
        }
        // Only a leader that a majority has answered.
        if !view.leading || view.authority.is_none() {
            return;
        }
        let register = self.control.register();
        if register.cluster().is_none() {
            return self.found(&view).await;
        }
        if let Some(lost) = self.lost(&view, &register) {
            return self.replace(&view, &register, lost).await;
        }
        if let Some(left) = self.left_behind(&view) {
            let removed = self.control.plane.remove_learner(left).await;
            self.told(removed, "a store of votes that is gone cannot be removed");
        }
    }

    /// A store that was to become a voter, of a member that has another one by now.
    fn left_behind(&self, view: &View) -> Option<RaftId> {
        let heard = self.heard();
        let is_gone = |(id, voter): &(&RaftId, &Voter)| {
            heard.iter().any(|(node, beat)| *node == voter.node && beat.raft != id.0)
        };
        view.learners.iter().find(is_gone).map(|(id, _)| *id)
    }

    /// Begins the control plane when all configured members are here and none of them knows the voters: the one with the lowest
    /// id does it for all.
    async fn begin(&self, view: &View) {
        if self.core.members.first().is_none_or(|(lowest, _)| *lowest != self.core.me.node) {
            return;
        }
        let mut voters = BTreeMap::from([(view.me, self.voter(self.core.me.node))]);
        for (node, beat) in self.heard() {
            if beat.begun {
                return;
            }
            voters.insert(RaftId(beat.raft), self.voter(node));
        }
        if voters.len() < self.core.members.len() {
            return;
        }
        match self.control.plane.initialize(voters).await {
            Ok(()) | Err(InitializeError::Already) => {}
            Err(error) => tracing::warn!(node = %self.core.name, %error, "the control plane does not begin"),
        }
    }

    /// What the connected members said last.
    fn heard(&self) -> Vec<(NodeId, super::Beat)> {
        let heard = self.control.heard.lock();
        heard.iter().map(|(node, heard)| (*node, heard.beat.clone())).collect()
    }

    fn voter(&self, node: NodeId) -> Voter {
        Voter { node, name: self.core.member_name(node), address: self.core.member_address(node) }
    }

    /// Gives the cluster its id, and its members their slots.
    async fn found(&self, view: &View) {
        let raft =
            |node: NodeId| view.voters.iter().find(|(_, voter)| voter.node == node).map(|(id, _)| id.0);
        let enlisting = |(node, name): &(NodeId, String)| Enlisting {
            name: name.clone(),
            address: self.core.member_address(*node),
            role: Role::Data,
            raft: raft(*node),
        };
        let nodes = self.core.members.iter().map(enlisting).collect();
        let cluster = crate::machine::fresh_number();
        self.propose(&Command::Found { cluster, name: self.core.cluster.clone(), nodes }).await;
    }

    /// A member that is here with another store of votes than the cluster has of it, or beside one of its own that is gone: it
    /// may have lost several, and whoever led may have been lost half-way.
    fn lost(&self, view: &View, register: &Register) -> Option<Lost> {
        let mut here =
            self.heard().into_iter().map(|(node, beat)| (node, RaftId(beat.raft))).collect::<Vec<_>>();
        here.push((self.core.me.node, view.me));
        register.nodes().find_map(|(_, slot)| {
            let (_, new) = here.iter().find(|(node, _)| *node == slot.node)?;
            let votes = view.voters.iter().filter(|(_, voter)| voter.node == slot.node).map(|(id, _)| id);
            let is_so = slot.raft == Some(new.0) && votes.eq([new]);
            (!is_so).then(|| Lost { slot: slot.clone(), new: *new })
        })
    }

    /// First a learner, which holds nobody up while it catches up, then a voter for all that the member had before, then known to
    /// all.
    async fn replace(&self, view: &View, register: &Register, lost: Lost) {
        let Lost { slot, new } = lost;
        let plane = &self.control.plane;
        if !view.voters.contains_key(&new) && !view.learners.contains_key(&new) {
            let added = plane.add_learner(new, self.voter(slot.node)).await;
            return self.told(added, "a new store of votes cannot be added");
        }
        let others = view.voters.iter().filter(|(_, voter)| voter.node != slot.node).map(|(id, _)| *id);
        let wanted: BTreeSet<RaftId> = others.chain([new]).collect();
        if !view.settled || !wanted.iter().eq(view.voters.keys()) {
            let changed = plane.change_voters(wanted).await;
            return self.told(changed, "the voters cannot be changed");
        }
        let (node, address) = (slot.node, slot.address);
        let change = Change::Readdress { node, address, raft: Some(new.0) };
        self.propose(&Command::Roster { seen: register.revision(), change }).await;
        tracing::info!(node = %self.core.name, member = %slot.name, "it votes with a new store from now on");
    }

    fn told(&self, done: Result<(), ChangeError>, what: &str) {
        // All of them pass, or are the matter of whoever leads then.
        if let Err(error) = done {
            tracing::debug!(node = %self.core.name, %error, "{what}");
        }
    }

    async fn propose(&self, command: &Command) {
        let answered = self.control.plane.propose(command.encode()).await;
        match answered.map(|(_, answer)| Answer::decode(&answer)) {
            Ok(Ok(Answer::Done | Answer::Already)) => {}
            Ok(Ok(Answer::Refused(refusal))) => {
                tracing::debug!(node = %self.core.name, %refusal, "the register refuses a command");
            }
            Ok(Err(error)) => {
                tracing::warn!(node = %self.core.name, %error, "an answer of the register is none")
            }
            Err(error) => tracing::debug!(node = %self.core.name, %error, "a command was not agreed"),
        }
    }
}
