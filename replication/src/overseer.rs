//! The overseer: what the leader of the control plane makes of what it hears. It says which epoch is to be proposed next, if
//! any, and who is granted a lease. One is made with each leadership; it reads no clock and sends nothing. Which epoch it wants
//! stands in `overseer/plan.rs`, what it knows of a peer in `overseer/life.rs`; what membership and leases are for, in
//! `docs/protocol.md`.
//!
//! *What is believed.* That a later life of a node is heard only when the earlier one is over, and that heartbeats and reports
//! are of the life that they name. Whoever is silent may be alive: it is excluded only when its lease has surely run out
//! ([`lease`](crate::lease)). So that it does run out, nobody is granted one whom the next epoch will not have.
//!
//! *One proposal at a time.* As long as nobody knows what became of it, the same one is made again: the number it has can go
//! to it at any time. Its members may be dead by then; it will not open, and the epoch behind it is without them. Only
//! after a refusal another one is made with the same number. The refused one may still be agreed on, if it comes again
//! when its cause is gone, so what it excluded is granted nothing until the number is taken, by whichever; and if all
//! is well again meanwhile, by an epoch with the same members.
//!
//! *What has to be done outside.* A proposal goes only into the term of the leadership that this is, and is not carried on into
//! a later one, on this node or another: the leader of that term may have granted a lease to whom it excludes. Each
//! one is answered, if only with "nobody knows".
//!
//! *What never happens:* a proposal before everything agreed before the election is applied; one without somebody who may
//! hold a lease; one that keeps nobody of the last opened epoch while one of its lives may be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypermnesia_store::NodeId;

use crate::lease::{Ask, Denied, Grant, Grantor, Release, Terms};
use crate::limits::OVERSEER_LOOKS_PER_HEARTBEAT;
use crate::member::{NodeSet, Peer};
use crate::register::{Answer, Cause, Command, Register, Role};
use crate::suspicion::Pace;

mod life;
mod plan;

use life::Life;
use plan::{Plan, View};

/// How it stands with a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was handed out and is not answered.
    UnderWay,
    /// Nobody knows: it may be agreed on at any time, or never.
    Unknown,
    /// It is agreed on, which the register has not told yet.
    Agreed,
}

/// The epoch that was proposed.
#[derive(Clone, Debug)]
struct Proposal {
    number: u64,
    members: Vec<Peer>,
    why: Cause,
    fate: Fate,
}

impl Proposal {
    fn command(&self) -> Command {
        Command::Agree { number: self.number, members: self.members.clone(), why: self.why }
    }
}

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Overseer {
    pace: Pace,
    me: Peer,
    grantor: Grantor,
    register: Arc<Register>,
    caught_up: bool,
    /// The present life of each enlisted data node, as far as one is known. No others are kept, so it is bounded.
    lives: BTreeMap<NodeId, Life>,
    proposal: Option<Proposal>,
    /// An epoch is wanted whoever its members are.
    anew: bool,
    /// The number of a proposal that was refused: somebody is granted nothing until it is taken.
    refused: Option<u64>,
    /// Nothing is proposed before.
    retry_ns: u64,
    look_ns: u64,
}

impl Overseer {
    /// One leadership of the process `me`, which need not be a member nor a data node. It began at `leading_since`, read on
    /// this clock after the election was won.
    pub fn new(terms: Terms, pace: Pace, me: Peer, leading_since_ns: u64) -> Overseer {
        Overseer {
            pace,
            me,
            grantor: Grantor::new(terms, leading_since_ns),
            register: Arc::new(Register::default()),
            caught_up: false,
            lives: BTreeMap::new(),
            proposal: None,
            anew: false,
            refused: None,
            retry_ns: 0,
            look_ns: leading_since_ns,
        }
    }

    /// The register as it stands: once at first, and then each time it has changed.
    pub fn on_register(&mut self, now_ns: u64, register: &Arc<Register>) {
        self.register = Arc::clone(register);
        self.lives.retain(|node, _| is_data(register, *node));
        let Some(latest) = register.latest() else { return };
        latest.members.iter().for_each(|member| self.watch(now_ns, *member));
        self.grantor.on_agreed(latest.number, register.by_slot(latest));
        if self.proposal.as_ref().is_some_and(|proposal| proposal.number <= latest.number) {
            self.proposal = None;
            self.retry_ns = 0;
        }
        self.refused = self.refused.filter(|number| *number > latest.number);
    }

    /// Everything that was agreed before the election is applied, and told with [`Overseer::on_register`].
    pub fn on_caught_up(&mut self) {
        self.caught_up = true;
        self.grantor.on_caught_up();
    }

    /// A majority has acknowledged, in this leader's term, a round that it sent then: see [`Grantor::on_authority`].
    pub fn on_authority(&mut self, sent_ns: u64) {
        self.grantor.on_authority(sent_ns);
    }

    /// A heartbeat of a life, with the slots of those that it hears; whether its own is among them is all the same. The leader
    /// tells of itself as well. Nothing is kept of an earlier life than the present one of its node, nor of a node that is
    /// not enlisted as a data node.
    pub fn on_beat(&mut self, now_ns: u64, peer: Peer, hears: NodeSet) {
        self.watch(now_ns, peer);
        if let Some(life) = self.life(peer) {
            life.on_beat(now_ns, hears);
        }
    }

    /// The connection to a life was closed: it is suspect until it is heard again.
    pub fn on_closed(&mut self, peer: Peer) {
        if let Some(life) = self.life(peer) {
            life.on_closed();
        }
    }

    /// This process stood still for `gap_ns` before `now`. To be called before anything that has arrived meanwhile is told.
    pub fn on_pause(&mut self, now_ns: u64, gap_ns: u64) {
        self.lives.values_mut().for_each(|life| life.on_pause(now_ns, gap_ns));
    }

    /// A life asks for a lease. Nobody gets one whom the next epoch will not have: else theirs would never be over.
    ///
    /// # Errors
    /// [`Denied`]: nothing has changed; whether to ask again is said there.
    pub fn on_ask(&mut self, now_ns: u64, ask: &Ask) -> Result<Grant, Denied> {
        let is_member = self.register.latest().is_some_and(|latest| latest.members.contains(&ask.peer));
        let plan = self.plan(now_ns).filter(|_| self.caught_up && is_member);
        match plan.filter(|plan| !plan.members.contains(&ask.peer)) {
            Some(plan) => Err(Denied::Excluding { node: ask.peer.node, epoch: plan.number }),
            None => self.grantor.grant(now_ns, ask),
        }
    }

    /// Whether an epoch is wanted even if its members are those of the latest one: what was agreed on counts from a later one.
    pub fn on_wanted(&mut self, anew: bool) {
        self.anew = anew;
    }

    /// A life gives its lease back.
    pub fn on_release(&mut self, release: &Release) {
        self.grantor.on_release(release);
    }

    /// What is to be proposed now: a [`Command::Agree`], or nothing. To be asked after every event, and at the latest at
    /// [`Overseer::look_ns`]. Nothing more comes before [`Overseer::on_answer`], or before the register tells that the number is
    /// taken.
    pub fn next(&mut self, now_ns: u64) -> Option<Command> {
        self.look_ns = now_ns.saturating_add(self.pace.heartbeat_ns / OVERSEER_LOOKS_PER_HEARTBEAT);
        if !self.caught_up || now_ns < self.retry_ns {
            return None;
        }
        if let Some(proposal) = &mut self.proposal {
            let again = proposal.fate == Fate::Unknown;
            proposal.fate = if again { Fate::UnderWay } else { proposal.fate };
            return again.then(|| proposal.command());
        }
        let Plan { number, members, why, leaving } = self.plan(now_ns)?;
        if let Err(held) = self.grantor.exclude(leaving, number, now_ns) {
            self.look_ns = self.look_ns.min(held.until_ns);
            return None;
        }
        let proposal = Proposal { number, members, why, fate: Fate::UnderWay };
        Some(self.proposal.insert(proposal).command())
    }

    /// When to ask [`Overseer::next`] again at the latest, even if nothing happens until then.
    pub fn look_ns(&self) -> u64 {
        self.look_ns
    }

    /// What became of the proposal of the epoch with this number: an answer, or `None` when nobody knows. The register may have
    /// told of it before.
    pub fn on_answer(&mut self, now_ns: u64, number: u64, answer: Option<&Answer>) {
        let Some(proposal) = self.proposal.as_mut().filter(|proposal| proposal.number == number) else {
            return;
        };
        match answer {
            Some(answer) if answer.is_done() => proposal.fate = Fate::Agreed,
            Some(_) => {
                self.proposal = None;
                self.refused = Some(number);
                self.retry_ns = now_ns.saturating_add(self.pace.heartbeat_ns);
            }
            None => {
                proposal.fate = Fate::Unknown;
                self.retry_ns = now_ns.saturating_add(self.pace.heartbeat_ns);
            }
        }
    }

    fn plan(&self, now_ns: u64) -> Option<Plan> {
        let view = View {
            now_ns,
            heartbeat_ns: self.pace.heartbeat_ns,
            me: self.me,
            register: &self.register,
            lives: &self.lives,
            anew: self.anew || self.refused.is_some(),
        };
        view.plan()
    }

    /// Knows of this life from now on, unless a later one of that node is known.
    fn watch(&mut self, now_ns: u64, peer: Peer) {
        let known = self.lives.get(&peer.node).is_some_and(|life| life.peer >= peer);
        if !known && is_data(&self.register, peer.node) {
            self.lives.insert(peer.node, Life::new(peer, self.pace, now_ns));
        }
    }

    fn life(&mut self, peer: Peer) -> Option<&mut Life> {
        self.lives.get_mut(&peer.node).filter(|life| life.peer == peer)
    }
}

fn is_data(register: &Register, node: NodeId) -> bool {
    register.enlisted(node).is_some_and(|one| one.role == Role::Data)
}

#[cfg(test)]
mod tests;
