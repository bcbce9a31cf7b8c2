//! This member's part in the control plane: who the voters are, what they agree on, and how that reaches them. Consensus itself
//! is in `plane`; what its commands mean is in `hypermnesia_replication::register`.
//!
//! A cluster begins once. Voters begin together, all configured members at the same time, or not at all: whoever does not
//! know the voters waits for somebody who does, or until everybody is there and nobody does. So two halves of a list never
//! become two clusters. A member whose store of votes is lost comes back as another voter, and whoever leads puts the new one in
//! the place of the old one.
//!
//! | module | noun |
//! |---|---|
//! | [`membership`] | with whom a node takes part, for the rest of it |
//! | [`alone`] | the register of a node without others |
//! | [`timing`] | how long things take, which follows from the length of a lease |
//! | [`lease`] | whether what is read here may be shown |
//! | [`word`] | what two members say to each other about it |
//! | [`carrier`] | carries requests of the consensus |
//! | [`machine`] | the register as what the consensus replicates |
//! | [`heartbeat`], [`follow`] | what it says over and over; what the replica is told |
//! | [`leading`] | its leadership, while it has one |
//! | [`admit`] | takes nodes in |
//! | [`steward`] | begins the control plane and, where this member leads it, keeps its voters right |

mod admit;
mod alone;
mod carrier;
mod follow;
mod heartbeat;
mod leading;
mod lease;
mod machine;
mod membership;
mod steward;
mod timing;
mod word;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use hypermnesia_replication::lease::Grant;
use hypermnesia_replication::register::{Change, Command, Register};
use hypermnesia_replication::{Opened, Peer};
use hypermnesia_store::disc::Disc;
use hypermnesia_store::{Incarnation, NodeId};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::life::spawn;
use crate::limits::{CHANGES_WANTED_MAX, CONTROL_REQUESTS_MAX};
use crate::machine::boottime_ns;
use crate::plane::{Config, OpenError, Place, Plane, RaftId, View};

use alone::Alone;
use carrier::Carrier;
use leading::Leading;
use lease::Lease;
use machine::RegisterMachine;
pub(crate) use membership::Membership;
pub(crate) use timing::Timing;
use word::Beat;
pub(crate) use word::Word;

/// What a member said last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    life: Incarnation,
    beat: Beat,
}

/// See the file's header.
pub(crate) struct Control {
    /// Not for good: the core holds this.
    core: Weak<Core>,
    timing: Timing,
    /// Replaced when its voters are lost. Held for a copy.
    plane: Mutex<Arc<Plane>>,
    /// Where its file is, if it has one.
    disc: Option<Arc<dyn Disc>>,
    carrier: Arc<Carrier>,
    register: watch::Sender<Arc<Register>>,
    /// By member, of those that are connected. Held for a look or a move.
    heard: Mutex<BTreeMap<NodeId, Heard>>,
    /// Somebody said something new.
    news: Notify,
    /// While this member leads. Held for a step of it.
    leading: Mutex<Option<Leading>>,
    /// The epoch that this member wants to have opened, or that others want who asked this one. Held for a move.
    to_open: Mutex<Option<Command>>,
    /// Changes of the roster that somebody wants. Held for a move.
    to_change: Mutex<VecDeque<Change>>,
    /// A place for each request that is being handled.
    places: Arc<Semaphore>,
    /// Where requests are handled.
    runtime: Handle,
}

impl Control {
    /// Opens this member's store of votes, in its data directory if it has one, and takes part from then on. On the runtime that
    /// runs everything of it.
    pub(crate) async fn open(core: &Arc<Core>, disc: Option<Arc<dyn Disc>>) -> Result<Control> {
        let carrier = Arc::new(Carrier::new(core));
        let (register, _) = watch::channel(Arc::default());
        let plane = plane(core, disc.clone(), &carrier, &register).await?;
        Ok(Control {
            core: Arc::downgrade(core),
            timing: core.membership.timing,
            plane: Mutex::new(Arc::new(plane)),
            disc,
            carrier,
            register,
            heard: Mutex::default(),
            news: Notify::new(),
            leading: Mutex::default(),
            to_open: Mutex::default(),
            to_change: Mutex::default(),
            places: Arc::new(Semaphore::new(CONTROL_REQUESTS_MAX)),
            runtime: Handle::current(),
        })
    }

    /// Runs until the node is closed.
    pub(crate) fn begin(core: &Arc<Core>) {
        spawn(core, heartbeat::beat(Arc::clone(core)));
        spawn(core, steward::run(Arc::clone(core)));
        spawn(core, follow::follow(Arc::clone(core)));
    }

    fn plane(&self) -> Arc<Plane> {
        Arc::clone(&self.plane.lock())
    }

    /// Gives this member's store of votes up and begins with a new one, which knows of no voters.
    async fn renew(&self, core: &Core) -> Result<()> {
        let old = self.plane();
        old.shutdown().await;
        *self.leading.lock() = None;
        if let Some(disc) = &self.disc {
            crate::plane::remove(disc.as_ref()).map_err(|error| Error::Disc(error.to_string()))?;
        }
        let new = plane(core, self.disc.clone(), &self.carrier, &self.register).await?;
        *self.plane.lock() = Arc::new(new);
        Ok(())
    }

    /// How the consensus stands.
    pub(crate) fn view(&self) -> View {
        self.plane().view()
    }

    /// What was agreed on, as far as it has come here.
    pub(crate) fn register(&self) -> Arc<Register> {
        Arc::clone(&self.register.borrow())
    }

    /// What the members said last that are connected, each in the life that said it.
    fn heard(&self) -> Vec<(NodeId, Beat)> {
        let Some(core) = self.core.upgrade() else { return Vec::new() };
        let heard = self.heard.lock();
        // A word may have been on its way when its connection ended.
        let is_here = |(node, heard): &(&NodeId, &Heard)| {
            core.peers.link(**node).is_some_and(|link| link.is_up_to(heard.life))
        };
        heard.iter().filter(is_here).map(|(node, heard)| (*node, heard.beat.clone())).collect()
    }

    /// Whether a member is there.
    fn hears(&self, node: NodeId) -> bool {
        self.heard().iter().any(|(heard, _)| *heard == node)
    }

    /// The members whose votes do not count in full: who is here with a store of votes that is not among the voters, and who has
    /// one beside an old one that still counts. Until there are voters it is nobody.
    pub(crate) fn without_vote(&self, view: &View) -> BTreeSet<NodeId> {
        if view.voters.is_empty() {
            return BTreeSet::new();
        }
        let heard = self.heard().into_iter().map(|(node, beat)| (node, RaftId(beat.raft)));
        let own = self.core.upgrade().map(|core| (core.me.node, view.me));
        let counts_alone = |(node, raft): &(NodeId, RaftId)| {
            let mut stores = view.voters.iter().filter(|(_, voter)| voter.node == *node);
            let follows = !view.has_room() && view.learners.contains_key(raft);
            stores.next().map_or(follows, |(id, _)| id == raft) && stores.next().is_none()
        };
        heard.chain(own).filter(|one| !counts_alone(one)).map(|(node, _)| node).collect()
    }

    /// What people have to do where members know of later epochs than the control plane: most of its votes are older copies. Who
    /// leads says it.
    pub(crate) fn forgotten(&self, core: &Core) -> Option<String> {
        // Who leads is behind nobody in what was agreed on.
        let view = self.view();
        if !view.leading || !view.caught_up || !self.is_led(&view) {
            return None;
        }
        let known = self.register.borrow().latest()?.number;
        let own = (core.me.node, core.replica.highest_epoch());
        let heard = self.heard().into_iter().map(|(node, beat)| (node, beat.highest));
        let (ahead, epoch) =
            heard.chain([own]).filter(|(_, highest)| *highest > known).max_by_key(|(_, highest)| *highest)?;
        Some(format!(
            "epochs that the control plane has forgotten: {} has taken part up to epoch {epoch}, and most votes know of {known}. Most \
             data directories are older copies: start those members with the directories that they had, or with empty ones",
            core.member_name(ahead)
        ))
    }

    /// What people have to do where nobody leads and the stores of votes of members with data directories are new ones.
    pub(crate) fn lost_votes(&self, core: &Core) -> Option<String> {
        let view = self.view();
        let lost = self.without_vote(&view);
        if lost.is_empty() || self.is_led(&view) {
            return None;
        }
        let mut lost: Vec<String> = lost.into_iter().map(|node| core.member_name(node)).collect();
        lost.sort();
        Some(format!(
            "most votes of the control plane: {} came without theirs. Start them with the data directories that they had; if those \
             are lost for good, stop all members, move plane.redb out of the directories that are left, and start all again",
            lost.join(", ")
        ))
    }

    /// A word came, on whatever thread reads.
    pub(crate) fn on_word(&self, from: Peer, word: Word) {
        match word {
            Word::Beat(beat) => {
                self.oversee(|overseer| overseer.on_beat(boottime_ns(), from, beat.hears));
                let heard = Heard { life: from.incarnation, beat };
                let before = self.heard.lock().insert(from.node, heard.clone());
                if before.as_ref() != Some(&heard) {
                    self.news.notify_one();
                }
            }
            Word::Request { id, bytes } => self.on_request(from, id, bytes),
            Word::Answer { id, bytes } => self.carrier.answered(id, bytes),
            Word::Ask(ask) => {
                if let Some(grant) = self.asked(from, &ask)
                    && let Some(core) = self.core.upgrade()
                {
                    core.say(from.node, &Word::Grant(grant));
                }
            }
            Word::Grant(grant) => self.granted(&grant),
            Word::Open(bytes) => {
                // Only this: whoever leads decides about all else by itself.
                if let Ok(command @ Command::Open { .. }) = Command::decode(&bytes) {
                    self.wants_open(command);
                }
            }
            Word::Change(change) => self.wanted(change),
        }
    }

    fn granted(&self, grant: &Grant) {
        if let Some(core) = self.core.upgrade() {
            core.membership.lease.granted(grant);
        }
    }

    /// All members of an epoch have staged it.
    pub(crate) fn open_epoch(&self, opened: &Opened) {
        let command = opened.command();
        let leader = self.view().leader;
        match (leader, self.core.upgrade()) {
            (Some((_, leader)), Some(core)) if leader.node != core.me.node => {
                core.say(leader.node, &Word::Open(command.encode()));
            }
            _ => self.wants_open(command),
        }
    }

    fn wants_open(&self, command: Command) {
        *self.to_open.lock() = Some(command);
        self.news.notify_one();
    }

    /// Somebody is to be drained, kept or struck. Whoever leads hears of it, if it can be reached.
    pub(crate) fn want(&self, core: &Core, change: &Change) {
        match self.view().leader {
            Some((_, leader)) if leader.node != core.me.node => {
                core.say(leader.node, &Word::Change(change.clone()));
            }
            _ => self.wanted(change.clone()),
        }
    }

    fn wanted(&self, change: Change) {
        // Nobody else is enlisted or moved by hearsay.
        if !matches!(change, Change::Drain(_) | Change::Undrain(_) | Change::Strike(_)) {
            return;
        }
        let mut to_change = self.to_change.lock();
        if to_change.len() < CHANGES_WANTED_MAX && !to_change.contains(&change) {
            to_change.push_back(change);
        }
        self.news.notify_one();
    }

    /// Handles a request beside everything else: it may wait for the disc. With too many of them it is dropped, as the network
    /// may drop it; whoever asks asks again.
    fn on_request(&self, from: Peer, id: u64, bytes: Vec<u8>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let Some(core) = self.core.upgrade() else { return };
        let plane = self.plane();
        self.runtime.spawn(async move {
            let _place = place;
            match plane.on_request(&bytes).await {
                Ok(bytes) => drop(core.say(from.node, &Word::Answer { id, bytes })),
                Err(error) => {
                    let member = core.member_name(from.node);
                    tracing::warn!(node = %core.name, %member, %error, "a request of the control plane is none");
                }
            }
        });
    }

    /// There is a connection with a life of a member, or none any more.
    pub(crate) fn on_connection(&self, peer: Peer, connected: bool) {
        if !connected {
            self.heard.lock().remove(&peer.node);
            self.oversee(|overseer| overseer.on_closed(peer));
        }
        self.news.notify_one();
    }

    /// Takes part no longer, and waits for that.
    pub(crate) async fn shutdown(&self) {
        self.plane().shutdown().await;
    }
}

/// Opens this member's store of votes, or makes one.
async fn plane(
    core: &Core,
    disc: Option<Arc<dyn Disc>>,
    carrier: &Arc<Carrier>,
    register: &watch::Sender<Arc<Register>>,
) -> Result<Plane> {
    let machine = Box::new(RegisterMachine::new(register.clone()));
    let wire: Arc<dyn crate::plane::Wire> = Arc::<Carrier>::clone(carrier);
    Plane::open(config(core, disc), machine, wire).await.map_err(|error| refused(&error))
}

fn config(core: &Core, disc: Option<Arc<dyn Disc>>) -> Config {
    let timing = core.membership.timing;
    Config {
        cluster: core.cluster.clone(),
        place: disc.map_or(Place::Memory, Place::Disc),
        heartbeat: timing.heartbeat,
        election_min: timing.election_min,
        election_max: timing.election_max,
        patience: timing.patience,
        clock: Arc::new(crate::machine::boottime_ns),
        random: Arc::new(crate::machine::dice),
    }
}

fn refused(error: &OpenError) -> Error {
    match error {
        OpenError::Config(_) | OpenError::OtherCluster { .. } => Error::Config(error.to_string()),
        _ => Error::Disc(error.to_string()),
    }
}
