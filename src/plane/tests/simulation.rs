//! The nodes of a simulation, and what can be done to them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hypermnesia_store::NodeId;
use hypermnesia_store::disc::{Crash, MemDisc};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::wire::SimulatedWire;
use super::world::{Applied, List, World};
use crate::plane::{Config, Place, Plane, RaftId, View, Voter};

pub(super) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(super) const ELECTION_MIN: Duration = Duration::from_millis(300);
pub(super) const ELECTION_MAX: Duration = Duration::from_millis(600);
/// Longest way of a message.
pub(super) const WAY_MS_MAX: u64 = 20;

/// Runs a simulation on its own clock.
pub(super) fn simulate<F: Future<Output = ()>>(seed: u64, run: impl FnOnce(Cluster) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let _named = Named(seed);
    runtime.expect("a runtime needs nothing").block_on(async {
        let cluster = Cluster::new(seed);
        let world = cluster.world.clone();
        run(cluster).await;
        let left: Vec<_> = world.lock().planes.values().map(|(_, plane)| plane.clone()).collect();
        left.iter().for_each(|plane| no_panic(&world, plane));
        let wrong = world.lock().wrong.clone();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    });
}

/// Tells the seed of what fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("it was seed {}", self.0);
        }
    }
}

/// The nodes, by slot.
pub(super) struct Cluster {
    pub(super) world: Arc<Mutex<World>>,
    discs: Arc<Mutex<BTreeMap<usize, MemDisc>>>,
    lists: BTreeMap<usize, Applied>,
    lives: u64,
    pub(super) random: fastrand::Rng,
    told: Arc<Mutex<BTreeMap<u64, Vec<u8>>>>,
}

impl Cluster {
    fn new(seed: u64) -> Cluster {
        Cluster {
            world: Arc::new(Mutex::new(World::new(seed))),
            discs: Arc::default(),
            lists: BTreeMap::new(),
            lives: 0,
            random: fastrand::Rng::with_seed(!seed),
            told: Arc::default(),
        }
    }

    /// Some nodes that have begun together.
    pub(super) async fn begin(&mut self, count: usize) {
        for slot in 0..count {
            self.start(slot).await;
        }
        let voters = (0..count).map(|slot| (self.plane(slot).raft_id(), voter(slot))).collect();
        self.plane(0).initialize(voters).await.expect("it is new");
        // Until then nobody else knows who the voters are.
        let know = |cluster: &Cluster| cluster.views().iter().all(|view| view.settled).then_some(());
        self.until(ELECTION_MAX * 10, "all know the voters", know).await;
    }

    /// Starts the node of a slot, on its disc or a new one.
    pub(super) async fn start(&mut self, slot: usize) -> Arc<Plane> {
        self.lives += 1;
        let life = self.lives;
        let disc = self.discs.lock().entry(slot).or_default().clone();
        let list = Arc::new(Mutex::new(Vec::new()));
        self.lists.insert(slot, list.clone());
        let (clock, dice) = (self.world.clone(), self.world.clone());
        let config = Config {
            cluster: "simulated".to_owned(),
            place: Place::Simulated(Arc::new(disc)),
            heartbeat: HEARTBEAT,
            election_min: ELECTION_MIN,
            election_max: ELECTION_MAX,
            patience: ELECTION_MAX * 5,
            clock: Arc::new(move || clock.lock().now_ns()),
            random: Arc::new(move || dice.lock().random.u64(..)),
        };
        let machine = Box::new(List { applied: list, world: self.world.clone() });
        let wire = SimulatedWire { slot, life, world: self.world.clone(), discs: self.discs.clone() };
        let plane = Arc::new(Plane::open(config, machine, Arc::new(wire)).await.expect("its disc is whole"));
        self.world.lock().planes.insert(slot, (life, plane.clone()));
        let (world, mut views) = (self.world.clone(), plane.watch());
        tokio::spawn(async move {
            while views.changed().await.is_ok() {
                let view = views.borrow_and_update().clone();
                let mut world = world.lock();
                if !world.lives(slot, life) {
                    break;
                }
                world.look(&view);
            }
        });
        plane
    }

    /// Ends a node as a power cut does; its disc is what was synced of it, torn.
    pub(super) async fn crash(&mut self, slot: usize) {
        let Some((_, plane)) = self.world.lock().planes.remove(&slot) else { return };
        no_panic(&self.world, &plane);
        let torn = Crash::Torn(self.random.u64(..));
        let left = self.discs.lock()[&slot].crash(torn);
        self.discs.lock().insert(slot, left);
        plane.shutdown().await;
    }

    pub(super) fn disc(&self, slot: usize) -> MemDisc {
        self.discs.lock()[&slot].clone()
    }

    /// Takes the disc of a slot away.
    pub(super) fn lose_disc(&mut self, slot: usize) {
        self.discs.lock().remove(&slot);
    }

    pub(super) fn running(&self) -> Vec<usize> {
        self.world.lock().planes.keys().copied().collect()
    }

    pub(super) fn plane(&self, slot: usize) -> Arc<Plane> {
        self.world.lock().planes[&slot].1.clone()
    }

    pub(super) fn id(&self, slot: usize) -> RaftId {
        self.plane(slot).raft_id()
    }

    pub(super) fn cut(&self, from: usize, to: usize) {
        self.world.lock().cut.insert((from, to));
    }

    /// Cuts a node off, both ways.
    pub(super) fn isolate(&self, slot: usize, count: usize) {
        for other in (0..count).filter(|other| *other != slot) {
            self.cut(slot, other);
            self.cut(other, slot);
        }
    }

    pub(super) fn heal(&self) {
        self.world.lock().cut.clear();
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.world.lock().now_ns()
    }

    /// Who leads in the latest term, of those that run.
    pub(super) fn leader(&self) -> Option<usize> {
        let planes: Vec<_> =
            self.world.lock().planes.iter().map(|(slot, (_, plane))| (*slot, plane.clone())).collect();
        let led =
            planes.into_iter().map(|(slot, plane)| (slot, plane.view())).filter(|(_, view)| view.leading);
        led.max_by_key(|(_, view)| view.term).map(|(slot, _)| slot)
    }

    /// Waits for something, up to a time.
    pub(super) async fn until<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&Cluster) -> Option<T>,
    ) -> T {
        let looking = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                sleep(Duration::from_millis(3)).await;
            }
        };
        let found = timeout(within, looking).await;
        found.unwrap_or_else(|_| panic!("not within {within:?}: {what}; {:#?}", self.views()))
    }

    /// A leader that a majority has confirmed just now.
    pub(super) async fn led(&self) -> usize {
        let since = self.now_ns();
        self.until(ELECTION_MAX * 20, "a leader", |cluster| {
            let slot = cluster.leader()?;
            let view = cluster.plane(slot).view();
            view.authority.is_some_and(|proof| proof.sent_ns >= since).then_some(slot)
        })
        .await
    }

    /// Proposes at a slot and remembers what was told.
    pub(super) fn propose(&self, slot: usize, command: Vec<u8>) -> impl Future<Output = bool> + use<> {
        let (plane, told) = (self.plane(slot), self.told.clone());
        async move {
            let answer = plane.propose(command.clone()).await;
            answer.is_ok_and(|(index, _)| told.lock().insert(index, command).is_none())
        }
    }

    /// Has a last command agreed, and compares what all voters' machines hold and what proposers were told.
    pub(super) async fn settle(&self) {
        let (leader, last) = loop {
            let slot = self.led().await;
            if let Ok((last, _)) = self.plane(slot).propose(b"last".to_vec()).await {
                break (slot, last);
            }
        };
        let voters = self.plane(leader).view().voters;
        for slot in self.running().into_iter().filter(|slot| voters.contains_key(&self.id(*slot))) {
            self.until(ELECTION_MAX * 20, "everybody has the last command", |cluster| {
                let applied = cluster.plane(slot).view().applied;
                applied.is_some_and(|applied| applied >= last).then_some(())
            })
            .await;
            let list: BTreeMap<_, _> = self.lists[&slot].lock().iter().cloned().collect();
            for (index, command) in self.told.lock().iter() {
                assert_eq!(
                    list.get(index),
                    Some(command),
                    "slot {slot} lost a command that was told as agreed"
                );
            }
        }
    }

    pub(super) fn told(&self) -> usize {
        self.told.lock().len()
    }

    pub(super) fn list(&self, slot: usize) -> Vec<(u64, Vec<u8>)> {
        self.lists[&slot].lock().clone()
    }

    /// Entries in the log of a slot.
    pub(super) async fn stored(&self, slot: usize) -> u64 {
        let keeper = self.plane(slot).core.keeper.clone();
        keeper.run(|store| store.entries(0, u64::MAX)).await.expect("it runs").len() as u64
    }

    pub(super) fn views(&self) -> Vec<View> {
        self.running().into_iter().map(|slot| self.plane(slot).view()).collect()
    }
}

/// A panic below is no failure of a test by itself.
fn no_panic(world: &Mutex<World>, plane: &Plane) {
    let view = plane.view();
    if view.stopped.as_ref().is_some_and(|why| why.contains("panic")) {
        world.lock().wrong.push(format!("{view:?}"));
    }
}

pub(super) fn voter(slot: usize) -> Voter {
    let name = format!("n{slot}");
    Voter { node: NodeId::of_name(&name), name, address: slot.to_string() }
}
