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
//! | [`word`] | what two members say to each other about it |
//! | [`carrier`] | carries requests of the consensus |
//! | [`machine`] | the register as what the consensus replicates |
//! | [`steward`] | begins the control plane and, where this member leads it, keeps its voters right |

mod carrier;
mod machine;
mod steward;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hypermnesia_replication::register::Register;
use hypermnesia_replication::{NodeSet, Peer};
use hypermnesia_store::disc::Disc;
use hypermnesia_store::{Incarnation, NodeId};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::life::spawn;
use crate::limits::{
    CONTROL_ELECTION_MAX, CONTROL_ELECTION_MIN, CONTROL_HEARTBEAT, CONTROL_PATIENCE, CONTROL_REQUESTS_MAX,
};
use crate::plane::{Config, OpenError, Place, Plane, RaftId, View};

use carrier::Carrier;
use machine::RegisterMachine;
use word::Beat;
pub(crate) use word::Word;

/// How long the steward sleeps when nothing happens.
const LOOK: Duration = CONTROL_HEARTBEAT;

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
    plane: Arc<Plane>,
    carrier: Arc<Carrier>,
    register: watch::Receiver<Arc<Register>>,
    /// By member, of those that are connected. Held for a look or a move.
    heard: Mutex<BTreeMap<NodeId, Heard>>,
    /// Somebody said something new.
    news: Notify,
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
        let (shown, register) = watch::channel(Arc::default());
        let machine = Box::new(RegisterMachine::new(shown));
        let wire: Arc<dyn crate::plane::Wire> = Arc::<Carrier>::clone(&carrier);
        let plane = Plane::open(config(core, disc), machine, wire).await.map_err(|error| refused(&error))?;
        Ok(Control {
            core: Arc::downgrade(core),
            plane: Arc::new(plane),
            carrier,
            register,
            heard: Mutex::default(),
            news: Notify::new(),
            places: Arc::new(Semaphore::new(CONTROL_REQUESTS_MAX)),
            runtime: Handle::current(),
        })
    }

    /// Runs until the node is closed.
    pub(crate) fn begin(core: &Arc<Core>) {
        spawn(core, beat(Arc::clone(core)));
        spawn(core, steward::run(Arc::clone(core)));
    }

    /// How the consensus stands.
    pub(crate) fn view(&self) -> View {
        self.plane.view()
    }

    /// What was agreed on, as far as it has come here.
    pub(crate) fn register(&self) -> Arc<Register> {
        Arc::clone(&self.register.borrow())
    }

    /// The members whose votes do not count in full: who is here with a store of votes that is not among the voters, and who has
    /// one beside an old one that still counts. Until there are voters it is nobody.
    pub(crate) fn without_vote(&self, view: &View) -> BTreeSet<NodeId> {
        if view.voters.is_empty() {
            return BTreeSet::new();
        }
        let heard = self.heard.lock();
        let heard = heard.iter().map(|(node, heard)| (*node, RaftId(heard.beat.raft)));
        let own = self.core.upgrade().map(|core| (core.me.node, view.me));
        let counts_alone = |(node, raft): &(NodeId, RaftId)| {
            let mut stores = view.voters.iter().filter(|(_, voter)| voter.node == *node);
            stores.next().is_some_and(|(id, _)| id == raft) && stores.next().is_none()
        };
        heard.chain(own).filter(|one| !counts_alone(one)).map(|(node, _)| node).collect()
    }

    /// A word came, on whatever thread reads.
    pub(crate) fn on_word(&self, from: Peer, word: Word) {
        match word {
            Word::Beat(beat) => {
                let heard = Heard { life: from.incarnation, beat };
                let before = self.heard.lock().insert(from.node, heard.clone());
                if before.as_ref() != Some(&heard) {
                    self.news.notify_one();
                }
            }
            Word::Request { id, bytes } => self.on_request(from, id, bytes),
            Word::Answer { id, bytes } => self.carrier.answered(id, bytes),
        }
    }

    /// Handles a request beside everything else: it may wait for the disc. With too many of them it is dropped, as the network
    /// may drop it; whoever asks asks again.
    fn on_request(&self, from: Peer, id: u64, bytes: Vec<u8>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let Some(core) = self.core.upgrade() else { return };
        let plane = Arc::clone(&self.plane);
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
        }
        self.news.notify_one();
    }

    /// Takes part no longer, and waits for that.
    pub(crate) async fn shutdown(&self) {
        self.plane.shutdown().await;
    }
}

fn config(core: &Core, disc: Option<Arc<dyn Disc>>) -> Config {
    Config {
        cluster: core.cluster.clone(),
        place: disc.map_or(Place::Memory, Place::Disc),
        heartbeat: CONTROL_HEARTBEAT,
        election_min: CONTROL_ELECTION_MIN,
        election_max: CONTROL_ELECTION_MAX,
        patience: CONTROL_PATIENCE,
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

/// Says over and over that this member lives.
async fn beat(core: Arc<Core>) {
    let Some(control) = core.control() else { return };
    let mut beats = tokio::time::interval(CONTROL_HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !core.is_closed() {
        beats.tick().await;
        let word = Word::Beat(control.own_beat(&core));
        for link in core.peers.links() {
            core.say(link.node, &word);
        }
    }
}

impl Control {
    fn own_beat(&self, core: &Core) -> Beat {
        let view = self.view();
        let connected = |(_, (node, _)): &(usize, &(NodeId, String))| {
            *node == core.me.node || core.peers.link(*node).is_some_and(|link| link.is_up())
        };
        let hears = core.members.iter().enumerate().filter(connected);
        Beat {
            raft: self.plane.raft_id().0,
            begun: !view.voters.is_empty(),
            hears: hears.fold(NodeSet::EMPTY, |set, (at, _)| set.with(at)),
        }
    }
}
