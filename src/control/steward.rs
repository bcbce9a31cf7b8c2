//! What a member does for the control plane as a whole: it begins one with the others, and where it leads it founds the cluster
//! and puts new stores of votes in the place of lost ones. One step at a time, each decided anew by what is so then, and each
//! safe to be made twice: another member may lead meanwhile and do the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hypermnesia_replication::Member;
use hypermnesia_replication::register::{Change, Command, Enlisted, Enlisting, Register, Role};
use hypermnesia_store::NodeId;
use tokio::time::sleep;

use super::Control;
use crate::core::Core;
use crate::error::Error;
use crate::limits::VOTERS_MAX;
use crate::plane::{ChangeError, InitializeError, RaftId, View, Voter};

/// Runs until the node is closed.
pub(super) async fn run(core: Arc<Core>) {
    let Some(control) = core.control() else { return };
    let mut register = control.register.subscribe();
    while !core.is_closed() {
        let mut views = control.plane().watch();
        // Whichever comes first.
        tokio::select! {
            () = sleep(control.rest()) => {}
            () = control.news.notified() => {}
            _ = views.changed() => {}
            _ = register.changed() => {}
        }
        // What stops while the node ends is no failure of it.
        if !core.is_closed() {
            Steward { core: &core, control }.step().await;
        }
    }
}

struct Steward<'a> {
    core: &'a Core,
    control: &'a Control,
}

/// A member whose store is another one than the cluster knows, or has no vote yet.
struct Lost {
    slot: Enlisted,
    new: RaftId,
}

impl Steward<'_> {
    async fn step(&self) {
        let view = self.control.view();
        if let Some(why) = &view.stopped {
            // It would hear of no epoch any more. Whoever starts it again has it back.
            return self
                .core
                .fail(Error::Disc(format!("the control plane of this member has stopped: {why}")));
        }
        if view.voters.is_empty() {
            return self.begin(&view).await;
        }
        if self.is_over(&view) {
            return self.give_up().await;
        }
        let next = self.control.lead(self.core, &view);
        // Only a leader that a majority has answered.
        if !view.leading || view.authority.is_none() {
            // Whoever wants it asks again.
            self.control.to_change.lock().clear();
            return;
        }
        if self.is_to_go(&view) {
            return self.control.plane().hand_over();
        }
        if let Some(command) = next {
            return self.agree(&view, &command).await;
        }
        let to_open = self.control.to_open.lock().take();
        if let Some(command) = to_open {
            self.control.propose(self.core, &command).await;
            return;
        }
        let register = self.control.register();
        if register.cluster().is_none() {
            return self.found(&view).await;
        }
        let wanted = self.control.to_change.lock().pop_front();
        if let Some(change) = wanted {
            if let Change::Strike(node) = change
                && view.voters.values().any(|voter| voter.node == node)
            {
                // Its vote goes first: it ends when it hears that it is no member, and might be one that was needed for this.
                // Whoever wants it asks again.
                let voters =
                    view.voters.iter().filter(|(_, voter)| voter.node != node).map(|(id, _)| *id).collect();
                let changed = self.control.plane().change_voters(voters).await;
                return self.told(changed, "the vote of a member that is to be removed cannot be taken away");
            }
            let command = Command::Roster { seen: register.revision(), change };
            self.control.propose(self.core, &command).await;
            return;
        }
        if let Some(lost) = self.lost(&view, &register) {
            return self.replace(&view, &register, lost).await;
        }
        if let Some(left) = self.left_behind(&view, &register) {
            let removed = self.control.plane().remove_learner(left).await;
            self.told(removed, "a store of votes that is gone cannot be removed");
        }
    }

    /// Whether this leader is to leave, and there is a voter that is not.
    fn is_to_go(&self, view: &View) -> bool {
        let register = self.control.register();
        let leaves = |node: NodeId| register.enlisted(node).is_some_and(|one| one.draining);
        let heard = self.control.heard();
        let stays = |voter: &Voter| {
            voter.node != self.core.me.node
                && !leaves(voter.node)
                && heard.iter().any(|(node, _)| *node == voter.node)
        };
        leaves(self.core.me.node) && view.voters.values().any(stays)
    }

    /// A store that follows, of a member that has another one by now, or is none any more.
    fn left_behind(&self, view: &View, register: &Register) -> Option<RaftId> {
        let heard = self.control.heard();
        let is_gone = |(id, voter): &(&RaftId, &Voter)| {
            let another = heard.iter().any(|(node, beat)| *node == voter.node && beat.raft != id.0);
            another || register.enlisted(voter.node).is_none()
        };
        view.learners.iter().find(is_gone).map(|(id, _)| *id)
    }

    /// Whether these voters can never again agree on anything: all members are here, and too many that kept their votes in memory
    /// have others by now, so the old ones are gone for good. Nobody is led: who follows may know the voters of long ago. A
    /// store that was on a disc may come back, with more than anybody here knows: whether it is lost is for people to say.
    fn is_over(&self, view: &View) -> bool {
        let heard = self.control.heard();
        let lives = |id: &RaftId, voter: &Voter| {
            *id == view.me || heard.iter().any(|(node, beat)| *node == voter.node && beat.raft == id.0)
        };
        let own = |voter: &Voter| voter.node == self.core.me.node && self.control.disc.is_some();
        let kept = |voter: &Voter| {
            own(voter) || heard.iter().any(|(node, beat)| *node == voter.node && beat.durable)
        };
        let lost = view.voters.iter().filter(|(id, voter)| !lives(id, voter));
        let living = view.voters.iter().filter(|(id, voter)| lives(id, voter)).map(|(id, _)| *id).collect();
        let all = heard.len() + 1 == self.core.members().count();
        let led = heard.iter().any(|(_, beat)| beat.led) || self.control.is_led(view);
        all && !led && !view.enough(&living) && !lost.into_iter().any(|(_, voter)| kept(voter))
    }

    /// Begins anew with all others: what the cluster has agreed on about its epochs, its members know themselves.
    async fn give_up(&self) {
        let node = &self.core.name;
        tracing::warn!(%node, "most stores of votes were lost together: the members begin a new control plane");
        if let Err(error) = self.control.renew(self.core).await {
            self.core.fail(error);
        }
    }

    /// Begins the control plane when all configured members are here and none of them knows the voters: the one with the lowest
    /// id does it for all.
    async fn begin(&self, view: &View) {
        let lowest = self.core.members().map(|member| member.node).min();
        if lowest != Some(self.core.me.node) {
            return;
        }
        let mut voters = BTreeMap::from([(view.me, self.voter(self.core.me.node))]);
        for (node, beat) in self.control.heard() {
            if beat.begun {
                return;
            }
            voters.insert(RaftId(beat.raft), self.voter(node));
        }
        if voters.len() < self.core.members().count() {
            return;
        }
        // All others follow once it has begun.
        let mut all: Vec<(RaftId, Voter)> = voters.into_iter().collect();
        all.sort_by_key(|(_, voter)| voter.node);
        let voters = all.into_iter().take(VOTERS_MAX).collect();
        match self.control.plane().initialize(voters).await {
            Ok(()) | Err(InitializeError::Already) => {}
            Err(error) => tracing::warn!(node = %self.core.name, %error, "the control plane does not begin"),
        }
    }

    fn voter(&self, node: NodeId) -> Voter {
        Voter { node, name: self.core.member_name(node), address: self.core.member_address(node) }
    }

    /// Has the next epoch agreed on, in the leadership that wants it: a later one may have granted leases to whom it excludes.
    async fn agree(&self, view: &View, command: &Command) {
        let Command::Agree { number, .. } = command else { return };
        let same = self.control.view().term == view.term;
        let answer = if same { self.control.propose(self.core, command).await } else { None };
        let now_ns = crate::machine::boottime_ns();
        self.control.oversee(|overseer| overseer.on_answer(now_ns, *number, answer.as_ref()));
    }

    /// Gives the cluster its id, and its members their slots.
    async fn found(&self, view: &View) {
        let heard = self.control.heard();
        if heard.len() + 1 < self.core.members().count() {
            return;
        }
        // What the last of them took part in: nobody has a later epoch, for all are here.
        let own = self.core.replica.carried();
        let floor =
            heard.iter().map(|(_, beat)| beat.highest).fold(self.core.replica.highest_epoch(), u64::max);
        // The same, where a control plane begins anew.
        let known = heard.iter().filter_map(|(_, beat)| beat.founded).chain(self.core.founded()).max();
        let cluster = known.unwrap_or_else(crate::machine::fresh_number);
        let carried = heard.into_iter().filter_map(|(_, beat)| beat.carried).chain(own);
        let carried = carried.max_by_key(|carried| carried.number);
        let raft =
            |node: NodeId| view.voters.iter().find(|(_, voter)| voter.node == node).map(|(id, _)| id.0);
        let enlisting = |member: &Member| Enlisting {
            name: member.name.clone(),
            address: self.core.member_address(member.node),
            role: Role::Data,
            raft: raft(member.node),
        };
        let nodes = self.core.members().map(enlisting).collect();
        // As all know them: a cluster that begins anew may have grown.
        let slots =
            self.core.replica.slots().here().iter().filter_map(|slot| u8::try_from(slot).ok()).collect();
        self.control
            .propose(
                self.core,
                &Command::Found { cluster, name: self.core.cluster.clone(), nodes, slots, carried, floor },
            )
            .await;
    }

    /// A member that is here with another store of votes than the cluster has of it, or beside one of its own that is gone: it
    /// may have lost several, and whoever led may have been lost half-way.
    fn lost(&self, view: &View, register: &Register) -> Option<Lost> {
        let mut here = self
            .control
            .heard()
            .into_iter()
            .map(|(node, beat)| (node, RaftId(beat.raft)))
            .collect::<Vec<_>>();
        here.push((self.core.me.node, view.me));
        let has_room = view.has_room();
        // Who is to leave gets no vote: it may be the next to be struck.
        register.nodes().filter(|(_, slot)| !slot.draining).find_map(|(_, slot)| {
            let (_, new) = here.iter().find(|(node, _)| *node == slot.node)?;
            let votes = view.voters.iter().filter(|(_, voter)| voter.node == slot.node).map(|(id, _)| id);
            let mut votes = votes.peekable();
            let follows = votes.peek().is_none() && !has_room && view.learners.contains_key(new);
            let is_so = slot.raft == Some(new.0) && (follows || votes.eq([new]));
            (!is_so).then(|| Lost { slot: slot.clone(), new: *new })
        })
    }

    /// Where there are voters enough it stays a learner. First a learner, which holds nobody up while it catches up, then a voter for all that the member had before, then known to
    /// all.
    async fn replace(&self, view: &View, register: &Register, lost: Lost) {
        let Lost { slot, new } = lost;
        let plane = self.control.plane();
        if !view.voters.contains_key(&new) && !view.learners.contains_key(&new) {
            let added = plane.add_learner(new, self.voter(slot.node)).await;
            return self.told(added, "a new store of votes cannot be added");
        }
        let votes = view.voters.values().any(|voter| voter.node == slot.node);
        let others = view.voters.iter().filter(|(_, voter)| voter.node != slot.node).map(|(id, _)| *id);
        let wanted: BTreeSet<RaftId> = others.chain([new]).collect();
        let votes = votes || view.has_room();
        if !view.settled || votes && !wanted.iter().eq(view.voters.keys()) {
            let changed = plane.change_voters(wanted).await;
            return self.told(changed, "the voters cannot be changed");
        }
        let (node, address) = (slot.node, slot.address);
        let change = Change::Readdress { node, address, raft: Some(new.0) };
        self.control.propose(self.core, &Command::Roster { seen: register.revision(), change }).await;
        tracing::info!(node = %self.core.name, member = %slot.name, "its store of votes is known now");
    }

    fn told(&self, done: Result<(), ChangeError>, what: &str) {
        // All of them pass, or are the matter of whoever leads then.
        if let Err(error) = done {
            tracing::debug!(node = %self.core.name, %error, "{what}");
        }
    }
}
